# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage cards and the purse, on a simulated ViVOpay reader: the contract of class FF row by row, whole cards, access
bits, tags, and the life of a purse. What the card holds is asked of the card, not of the driver."""
import rig
from neo import ALL_FF, BRISK, HEADER, Neo, authenticate, command, hexa, ok, sw
from rig import case, fails, h, same
from winscard import ESCAPE, ESCAPE_3500, RESET, SCARD_E_UNSUPPORTED_FEATURE, SCARD_W_REMOVED_CARD, SHARE_DIRECT

SIXTEEN = "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F"
ZEROS = " ".join(["00"] * 16)
TRAILER = "00 00 00 00 00 00 FF 07 80 69 FF FF FF FF FF FF"


def rows(card, table):
    for apdu, answer in table:
        same(apdu, sw(card, apdu), answer)


def told(answer):
    """The status word, also of an answer in data objects."""
    return answer[9:14] if answer.startswith("C0 03 ") else answer


# ---- the contract --------------------------------------------------------------------------------------------------


@case("data and keys, each row on a MIFARE 1K")
def data_and_keys():
    with Neo("mifare1k") as r, r.connect() as card:
        rows(card, [
            ("FF CA 00 00 00", "01 02 03 04 90 00"),
            ("FF CA 00 00 04", "01 02 03 04 90 00"),
            ("FF CA 00 00 07", "01 02 03 04 62 82"),
            ("FF CA 00 00 02", "6C 04"),
            ("FF CA 00 00 00 00 00", "01 02 03 04 90 00"),
            ("FF CA 01 00 00", "6A 81"),
            ("FF CA 02 00 00", "6A 81"),
            ("FF CA 03 00 00", "6A 81"),
            ("FF CA F1 00 00", "03 00 01 90 00"),
            ("FF CA FA 00 00", "3B 8F 80 01 80 4F 0C A0 00 00 03 06 03 00 01 00 00 00 00 6A 90 00"),
            ("FF CA 04 00 00", "6B 00"),
            ("FF 86 00 00 05 01 00 04 60 00", "69 88"),
            (ALL_FF, "90 00"),
            ("FF 82 20 07 06 A0 A1 A2 A3 A4 A5", "90 00"),
            ("FF 82 00 00 05 FF FF FF FF FF", "69 89"),
            ("FF 82 00 00 07 FF FF FF FF FF FF FF", "69 89"),
            ("FF 82 00 00", "69 89"),
            ("FF 82 01 00 06 FF FF FF FF FF FF", "6B 00"),
            ("FF 82 00 00 00 00 06 FF FF FF FF FF FF", "90 00"),
            ("FF 86 00 01 05 01 00 04 60 00", "6B 00"),
            ("FF 86 00 00 04 01 00 04 60", "67 00"),
            ("FF 86 00 00 05 02 00 04 60 00", "6A 80"),
            ("FF 86 00 00 05 01 00 04 62 00", "6A 80"),
            ("FF 88 00 04 62 00", "6A 80"),
            ("FF 88 00 04 60 09", "69 88"),
            ("FF 88 00 04 05 01 00 04 60 00", "67 00"),
            ("FF 88 01 04 60 00", "6A 82"),
            ("FF 86 00 00 05 01 01 04 60 00", "6A 82"),
            ("FF B0 00 04", "67 00"),
            ("FF D6 00 04", "67 00"),
            ("FF CA 00 00", "67 00"),
            ("FF B0 00 04 10", "69 82"),
            ("FF D6 00 04 10 " + SIXTEEN, "69 82"),
            ("FF 86 00 00 05 01 00 04 60 00", "90 00"),
            ("FF D6 00 04 10 " + SIXTEEN, "90 00"),
            ("FF B0 00 04 10", SIXTEEN + " 90 00"),
            ("FF B0 00 04 00", SIXTEEN + " 90 00"),
            ("FF B0 00 04 20", SIXTEEN + " " + ZEROS + " 90 00"),
            ("FF B0 00 06 20", ZEROS + " " + TRAILER + " 90 00"),
            ("FF B0 00 06 40", ZEROS + " " + TRAILER + " 62 82"),
            ("FF B0 00 04 0F", "6C 10"),
            ("FF B0 01 00 10", "6A 82"),
            ("FF B0 00 08 10", "69 82"),
            ("FF D6 00 05 20 " + ZEROS + " " + SIXTEEN, "90 00"),
            ("FF D6 00 06 20 " + ZEROS + " " + SIXTEEN, "69 86"),
            ("FF D6 00 06 30 " + ZEROS + " " + SIXTEEN + " " + ZEROS, "69 86"), # into the next sector
            ("FF D6 00 08 10 " + ZEROS, "69 82"),
            ("FF D6 01 04 10 " + ZEROS, "6A 82"),
            ("FF D6 00 05 00 00 20 " + ZEROS + " " + SIXTEEN, "90 00"),
            ("FF D6 00 07 10 FF FF FF FF FF FF FF 07 81 69 FF FF FF FF FF FF", "6A 80"),
            ("FF D6 00 04 0F " + SIXTEEN[:-3], "67 00"),
            ("FF 88 00 08 61 00", "63 00"), # key B is data here: it can be read
            ("FF 88 00 08 60 00", "90 00"),
            ("FF B0 00 08 10", ZEROS + " 90 00"),
            ("FF 86 00 00 05 01 00 04 60 07", "63 00"),
            ("FF B0 00 08 10", "69 82"),
            ("FF 86 00 00 05 01 00 04 60 00", "90 00"), # without lifting the card
            ("FF 86 00 00 05 01 00 04 60 01", "69 88"),
            ("FF 82 20 60 06 FF FF FF FF FF FF", "90 00"),
            ("FF 86 00 00 05 01 00 04 60 01", "90 00"), # Identiv
            ("00 A4 04 00", "6E 00"),
            ("80 CA 9F 79 00", "6E 00"),
        ])
        same("block 6", r.memory(6), h(SIXTEEN))
        quiet = [(ALL_FF, "90 00"), ("00 A4 04 00", "6E 00"), ("FF CA 00 00 00", "01 02 03 04 90 00")]
        same("sent for keys and other classes", r.frames(lambda: rows(card, quiet)), [])


@case("a write that stopped half-way names the first block that was not written")
def half_way():
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF)
        apdu = "FF D6 00 04 30 " + " ".join([SIXTEEN] * 3)
        for written, answer in ((0, "64 00"), (1, "00 05 64 00"), (2, "00 06 64 00")):
            authenticate(card, 4)
            ok(card, "FF D6 00 04 30 " + " ".join([ZEROS] * 3))
            for block in range(4, 4 + written):
                r.sim("0 mem write %d %s" % (block, SIXTEEN.replace(" ", "")))
            r.sim("0 fault status=0A at=2C08")  # the card holds what a write that stopped there leaves
            same("%d written" % written, sw(card, apdu), answer)
            authenticate(card, 4)
            r.sim("0 fault drop exec=0 at=2C08")
            same("%d written, the answer lost" % written, sw(card, apdu), "00 %02X 65 81" % (4 + written))
        r.sim("0 fault drop exec=1 at=2C08")
        same("all", sw(card, apdu), "90 00")


@case("what the reader tells of a card only if asked: ATS, and by the probe SAK and ATQA")
def told_if_asked():
    for options, ats in (("", True), ("2c0e=b", True), ("2c0e=off", False)):
        with Neo("iso:pboc-cl,balance=6850", options) as r, r.connect() as card:
            answer = card.transmit("FF CA 01 00 00")
            if not ats:
                same("no ATS", hexa(answer), "6A 81")
                continue
            same("length of the ATS", (answer[0], answer[-2:]), (len(answer) - 2, h("90 00")))
            atr = card.status()[2]
            assert answer[2:-2].endswith(atr[4:-1]), "the historical bytes of %s in %s" % (hexa(atr), hexa(answer))
            rows(card, [("FF CA 01 00 %02X" % answer[0], hexa(answer)),
                        ("FF CA 01 00 %02X" % (answer[0] - 1), "6C %02X" % answer[0]),
                        ("FF CA 01 00 %02X" % (answer[0] + 1), hexa(answer[:-2]) + " 62 82"),
                        ("FF CA 02 00 00", "6A 81"), ("FF CA 03 00 00", "6A 81")])
    for name, sak, atqa in (("mifare1k", "08", "04 00"), ("mifare4k", "18", "02 00"), ("ultralight", "00", "44 00")):
        with Neo(name, settings=BRISK + "sak_probe = on\n") as r, r.connect() as card:
            rows(card, [("FF CA 02 00 00", sak + " 90 00"), ("FF CA 02 00 01", sak + " 90 00"),
                        ("FF CA 03 00 00", atqa + " 90 00"), ("FF CA 03 00 01", "6C 02"), ("FF CA 01 00 00", "6A 81"),
                        ("FF C2 00 00 02 81 00 00", "C0 03 00 90 00 90 00"),
                        ("FF C2 00 02 04 8F 02 00 03 00", "C0 03 00 90 00 8F 01 %s 90 00" % sak),
                        ("FF C2 00 02 04 8F 02 00 02 00", "C0 03 00 90 00 8F 01 00 90 00"),
                        ("FF C2 00 02 04 8F 02 03 03 00", "C0 03 01 64 01 90 00")])


@case("values, each row in each dialect")
def values():
    changes = [
        ("FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00", +1, "C0 03 00 90 00 90 00"),
        ("FF C2 00 03 0B A1 09 80 01 04 81 04 01 00 00 00 00", -1, "C0 03 00 90 00 90 00"),
        ("FF D7 00 04 05 01 00 00 00 01", +1, "90 00"),
        ("FF D7 00 04 05 02 00 00 00 01", -1, "90 00"),
        ("FF D4 00 04 04 01 00 00 00", +1, "90 00"),
        ("FF D8 00 04 04 01 00 00 00", -1, "90 00"),
        ("FF F5 C1 04 04 01 00 00 00", +1, "90 00"),
        ("FF F5 C0 04 04 01 00 00 00", -1, "90 00"),
        ("FF D7 00 04 00 00 05 01 00 00 01 00", +256, "90 00"), # extended length
    ]
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF)
        authenticate(card, 4)
        rows(card, [("FF D7 00 04 05 00 00 00 00 01", "90 00"), ("FF B1 00 04 04", "00 00 00 01 90 00"),
                    ("FF B1 00 04 00", "00 00 00 01 90 00"), ("FF B1 00 04 05", "6C 04")])
        same("block 4", r.memory(4), h("01 00 00 00 FE FF FF FF 01 00 00 00 04 FB 04 FB"))
        balance, operations = 1, r.value(4)[2]
        for apdu, amount, answer in changes:
            if apdu.startswith("FF D7 00 04 00 00 05"):
                apdu = "FF D7 00 04 00 00 05 01 00 00 01 00"
            same(apdu, sw(card, apdu), answer)
            balance, operations = balance + amount, operations + 1
            same("after " + apdu, r.value(4), (balance, 4, operations))
        rows(card, [("FF D7 00 04 02 03 05", "90 00")])
        same("the copy", r.value(5)[:2], (balance, 4))
        rows(card, [("FF F5 C2 04 05 00 00 00 00 06", "90 00"), ("FF F5 C2 04 04 00 00 00 00", "90 00")])
        same("the copy", r.value(6)[:2], (balance, 4))
        rows(card, [("FF F5 C1 04 05 01 00 00 00 05", "90 00"), ("FF F5 C0 04 05 01 00 00 00 06", "90 00")])
        same("results in other blocks", [r.value(b)[0] for b in (4, 5, 6)], [balance, balance + 1, balance - 1])


@case("what a value command refuses, nothing changed")
def refused_values():
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF)
        authenticate(card, 4)
        ok(card, "FF D7 00 04 05 00 00 00 00 64")
        before, sent = r.value(4), r.count("2C0A")
        rows(card, [
            ("FF D7 00 05 05 01 00 00 00 01", "69 86"), # no value block
            ("FF D4 00 05 04 01 00 00 00", "69 86"),
            ("FF F5 C2 05 04 00 00 00 00", "69 86"),
            ("FF B1 00 05 04", "69 86"),
            ("FF C2 00 03 0B A1 09 80 01 05 81 04 01 00 00 00 00", "C0 03 01 69 86 90 00"),
            ("FF D7 00 07 05 01 00 00 00 01", "69 86"), # a trailer
            ("FF D7 00 07 05 00 00 00 00 01", "69 86"),
            ("FF D7 00 08 05 01 00 00 00 01", "69 82"), # a foreign sector
            ("FF D7 00 04 02 03 08", "69 86"),
            ("FF D7 00 04 05 01 80 00 00 00", "6A 80"), # bit 31
            ("FF D4 00 04 04 00 00 00 80", "6A 80"),
            ("FF C2 00 03 0B A0 09 80 01 04 81 04 00 00 00 80 00", "C0 03 01 6A 80 90 00"),
            ("FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00 04", "67 00"),
            ("FF D7 00 04 04 01 00 00 01", "67 00"),
            ("FF D7 00 04 05 03 00 00 00 01", "6A 80"),
            ("FF F0 00 04 05 C0 01 00 00 00", "6D 00"),
            ("FF F0 00 04 06 C1 01 00 00 00 00", "6D 00"),
            ("FF F5 C3 04 04 01 00 00 00", "6B 00"),
        ])
        same("block 4", r.value(4), before)
        same("purse commands sent", r.count("2C0A"), sent)


def in_each_dialect(block, amount, target=None):
    """What adds and takes away, (dialect, APDU, decrement?)."""
    lsb, msb = hexa(amount.to_bytes(4, "little")), hexa(amount.to_bytes(4, "big"))
    for down in (0, 1):
        yield "amendment", "FF C2 00 03 0B %02X 09 80 01 %02X 81 04 %s 00" % (0xA0 + down, block, lsb), down
        yield "ACS", "FF D7 00 %02X 05 %02X %s" % (block, 1 + down, msb), down
        yield "OMNIKEY", "FF %02X 00 %02X 04 %s" % (0xD8 if down else 0xD4, block, lsb), down
        yield "SpringCard", "FF F5 %02X %02X 04 %s" % (0xC0 if down else 0xC1, block, lsb), down
        yield "SpringCard, elsewhere", "FF F5 %02X %02X 05 %s 06" % (0xC0 if down else 0xC1, block, lsb), down
        yield "extended", "FF D7 00 %02X 00 00 05 %02X %s" % (block, 1 + down, msb), down


@case("each refusal in each dialect of value commands, nothing sent that changes anything")
def refused_everywhere():
    with Neo("mifare1k", settings=BRISK + "sak_probe = on\n") as r, r.connect() as card:
        def all_refused(block, amount, want, down=None):
            for dialect, apdu, takes in in_each_dialect(block, amount):
                if down in (None, takes):
                    same("%s: %s" % (dialect, apdu), told(sw(card, apdu)), want)

        ok(card, ALL_FF)
        all_refused(4, 1, "69 82")  # nothing is authenticated
        authenticate(card, 4)
        ok(card, "FF D7 00 04 05 00 80 00 00 00")
        all_refused(4, 1, "69 85", 1)
        ok(card, "FF D7 00 04 05 00 7F FF FF FF")
        sent = (r.count("2C0A"), r.count("2C08"))
        all_refused(4, 1, "69 85", 0)
        all_refused(4, 2**31, "6A 80")
        all_refused(4, 2**32 - 1, "6A 80")
        all_refused(5, 1, "69 86")  # no value block
        all_refused(7, 1, "69 86")  # a trailer
        all_refused(0, 1, "69 86")  # the manufacturer's
        for dialect, apdu, _ in in_each_dialect(8, 1):  # a foreign sector, or from one to another
            same(apdu, told(sw(card, apdu)), "69 86" if dialect.endswith("elsewhere") else "69 82")
        all_refused(0x40, 1, "6A 82")
        copies = ["FF D7 00 %02X 02 03 06", "FF F5 C2 %02X 05 00 00 00 00 06", "FF F5 C2 %02X 04 00 00 00 00"]
        for n, copy in enumerate(copies):
            for block, answer in ((5, "69 86"), (7, "69 86"), (0, "69 86"), (8, "69 82" if n == 2 else "69 86"),
                                  (0x40, "6A 82")):
                same(copy % block, sw(card, copy % block), answer)
        rows(card, [
            ("FF F5 C2 04 04 01 00 00 00", "6A 80"), ("FF F5 C2 04 03 00 00 00", "67 00"), ("FF F5 C2 04", "67 00"),
            ("FF F5 C2 04 05 00 00 00 00 08", "69 86"), ("FF F5 C2 04 05 00 00 00 00 07", "69 86"),
            ("FF F5 C2 04 05 00 00 00 00 40", "6A 82"), ("FF D7 00 04 02 03 07", "69 86"),
            ("FF D7 00 04 02 03 40", "6A 82"), ("FF D7 00 04 02 04 05", "6A 80"), ("FF D7 00 04 03 03 05 00", "67 00"),
            ("FF D7 01 04 05 01 00 00 00 01", "6B 00"), ("FF D4 01 04 04 01 00 00 00", "6A 82"),
            ("FF D4 00 04 05 01 00 00 00 05", "67 00"), ("FF D8 00 04 03 01 00 00", "67 00"),
            ("FF F5 C1 04 06 01 00 00 00 05 00", "67 00"), ("FF F5 C1 04 05 01 00 00 00 07", "69 86"),
            ("FF F5 C1 04 05 01 00 00 00 08", "69 86"),
            ("FF C2 00 03 0B A2 09 80 01 04 81 04 01 00 00 00 00", "6A 80"),  # no such object
            ("FF C2 00 03 0A A0 08 80 01 04 81 03 01 00 00 00", "6A 80"), ("FF C2 00 03 00", "67 00"),
            ("FF C2 00 04 0B A0 09 80 01 04 81 04 01 00 00 00 00", "6B 00"),
            ("FF B1 00 05 04", "69 86"), ("FF B1 00 07 04", "69 86"), ("FF B1 00 08 04", "69 82"),
            ("FF B1 00 40 04", "6A 82"), ("FF B1 01 04 04", "6B 00"), ("FF B1 00 04", "67 00"),
            ("FF D7 00 00 05 00 00 00 00 01", "69 86"), ("FF D7 00 08 05 00 00 00 00 01", "69 82"),
            ("FF D7 00 40 05 00 00 00 00 01", "6A 82"),
            ("FF F5 2C 0A 07 31 00 04 01 00 00 00", "69 86"), ("FF F5 2C 0A 07 31 40 04 01 00 00 00", "6A 82"),
            ("FF F5 2C 0A 04 31 05 01 07", "69 86"), ("FF F5 2C 0A 05 31 05 01 04 00", "6A 80"),
            ("FF F5 2C 0A 0E 31 04 0B 01 00 00 00 03 FF FF FF FF FF FF", "6A 80"),
        ])
        same("sent", (r.count("2C0A"), r.count("2C08")), sent)
        same("block 4", r.value(4)[0], 2**31 - 1)
    with Neo("ultralight") as r, r.connect() as card:
        for dialect, apdu, _ in in_each_dialect(4, 1):
            same(apdu, told(sw(card, apdu)), "69 81")


@case("the purse command: its examples byte for byte on the wire, and what it answers")
def batch():
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF, "FF 82 00 01 06 11 22 33 44 55 66")
        for block in (0x10, 0x20, 0x34):
            authenticate(card, block)
            ok(card, "FF D7 00 %02X 05 00 00 00 00 05" % block)
        authenticate(card, 0x34)
        ok(card, "FF D6 00 37 10 11 22 33 44 55 66 FF 07 80 69 FF FF FF FF FF FF")
        authenticate(card, 0x10)
        for apdu, data, frame in [
            ("FF F5 2C 0A 0A", "32 10 04 01 00 00 00 12 01 10",
             HEADER + h("2C 0A 00 0A 32 10 04 01 00 00 00 12 01 10 83 5E")),
            ("FF F5 2C 0A 0D", "32 10 04 01 00 00 00 20 04 01 00 00 00", None),
            ("FF F5 2C 0A 19", "32 34 0B 01 00 00 00 01 11 22 33 44 55 66 36 08 34 01 11 22 33 44 55 66", None),
        ]:
            apdu = "%s %02X %s" % (apdu[:-3], len(h(data)), data)
            sent = r.frames(lambda: same(apdu, sw(card, apdu), "90 00"))
            same("frames", len(sent), 1)
            same("frame", sent[0][:-2], command("2C 0A", data))
            if frame:
                same("with its CRC", sent[0], frame)
        same("values", [r.value(b)[0] for b in (0x10, 0x12, 0x20, 0x34, 0x36)], [3, 4, 4, 4, 4])


@case("the documented frames of the MIFARE commands, byte for byte")
def vectors():
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF)
        recorded = [
            ("FF 86 00 00 05 01 00 03 60 00", "2C 06 00 08 03 01 FF FF FF FF FF FF C4 6E"),
            ("FF B0 00 00 10", "2C 07 00 02 31 00 4B DC"),
            ("FF B0 00 01 10", "2C 07 00 02 31 01 5B FD"),
            ("FF B0 00 02 10", "2C 07 00 02 31 02 6B 9E"),
            ("FF 86 00 00 05 01 00 07 60 00", "2C 06 00 08 07 01 FF FF FF FF FF FF CB 03"),
            ("FF 86 00 00 05 01 00 04 60 00", "2C 06 00 08 04 01 FF FF FF FF FF FF 03 76"),
            ("FF B0 00 04 10", "2C 07 00 02 31 04 0B 58"),
            ("FF D6 00 04 10 " + " ".join(["44"] * 16), "2C 08 00 12 31 04 " + " ".join(["44"] * 16) + " 1C 9C"),
            ("FF D6 00 04 10 " + ZEROS, "2C 08 00 12 31 04 " + ZEROS + " 4C A5"),
        ]
        for apdu, frame in recorded:
            sent = r.frames(lambda: card.transmit(apdu))
            same(apdu, sent[0], HEADER + h(frame))
            # the proof of an authentication is one read of the sector's trailer; all else is one frame
            more = [HEADER + command("2C 07", "31 %02X" % (int(apdu[21:23], 16) | 3))[10:]] if apdu[3:5] == "86" else []
            same("and then", [f[:-2] for f in sent[1:]], more)
        same("value operations are one command", [f[10:-2] for f in r.frames(
            lambda: ok(card, "FF D7 00 04 05 00 00 00 00 05", "FF D8 00 04 04 01 00 00 00"))],
            [h("2C 07 00 02 31 04"), h("2C 08 00 12 31 04 05 00 00 00 FA FF FF FF 05 00 00 00 04 FB 04 FB"),
             h("2C 07 00 02 31 04"), h("2C 0A 00 07 31 04 04 01 00 00 00")])
        same("also into another block", [f[10:-2] for f in r.frames(
            lambda: ok(card, "FF F5 C1 04 05 02 00 00 00 05"))][-1], h("2C 0A 00 0A B2 05 01 04 05 04 02 00 00 00"))
    with Neo("ultralight") as r, r.connect() as card:
        same("Ultralight",
             r.frames(lambda: (card.transmit("FF B0 00 04 10"), card.transmit("FF D6 00 04 04 01 02 03 04"))),
             [HEADER + h("2C 07 00 02 41 04 03 01"), HEADER + h("2C 08 00 06 41 04 01 02 03 04 F8 7D")])


@case("the purse command refused and failing")
def batch_refused():
    with Neo("mifare1k") as r, r.connect() as card:
        rows(card, [("FF F5 2C 0A 07 31 04 04 01 00 00 00", "69 82"), (ALL_FF, "90 00")])
        authenticate(card, 4)
        ok(card, "FF D7 00 04 05 00 00 00 00 05")
        before, sent = r.value(4), r.count("2C0A")
        rows(card, [
            ("FF F5 2C 0A 07 31 07 04 01 00 00 00", "69 86"),
            ("FF F5 2C 0A 04 31 08 01 04", "69 86"),
            ("FF F5 2C 0A 07 31 04 04 00 00 00 80", "6A 80"),
            ("FF F5 2C 0A 06 31 04 04 01 00 00", "6A 80"),
            ("FF F5 2C 0A 01 30", "6A 80"),
            ("FF F5 2C 0A 07 21 04 04 01 00 00 00", "69 81"),
            ("FF F5 2C 0A", "67 00"),
            ("FF F5 2C 0B 01 31", "6B 00"),
        ])
        same("nothing was sent", (r.value(4), r.count("2C0A")), (before, sent))
        # the second one is no value block: the first stays done, the third is not begun
        answer = sw(card, "FF F5 2C 0A 13 33 04 04 01 00 00 00 05 04 01 00 00 00 04 04 01 00 00 00")
        same("a batch that fails in the middle", (answer[:3], answer[-5:]), ("05 ", "64 00"))
        same("length of its answer", len(answer), len("05 FC 64 00"))
        same("the first was done", r.value(4)[0], 4)
        rows(card, [("FF B0 00 04 10", "69 82")])
        authenticate(card, 4) # without lifting the card
        ok(card, "FF F5 2C 0A 07 B1 04 04 0A 00 00 00")
        same("credit", r.value(4)[0], 14)
        answer = sw(card, "FF F5 2C 0A 0E 31 04 0B 01 00 00 00 01 01 02 03 04 05 06")
        same("a wrong own key", answer[-5:], "64 00")
        same("nothing taken", r.value(4)[0], 14)


# ---- what the reader says of it, and what is true -------------------------------------------------------------------


FORMS = [  # block 4 holds 100, block 5 holds 7: the command, what carries it out, and what 4 and 5 hold afterwards
    ("FF D7 00 04 05 02 00 00 00 01", "2C0A", 99, 7),
    ("FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00 00", "2C0A", 101, 7),
    ("FF F5 C1 04 05 01 00 00 00 05", "2C0A", 100, 101),
    ("FF D7 00 04 02 03 05", "2C0A", 100, 100),
    ("FF D7 00 04 05 00 00 00 00 01", "2C08", 1, 7),
]
STATUSES = [("05", "6A 80"), ("07", "6A 80"), ("06", "69 82"), ("02", "6A 81"), ("0D", "67 00"), ("0A", "64 00")]


@case("a value command that the reader calls wrong: the card is asked, and the answer is what it holds")
def called_wrong():
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF)
        for apdu, code, four, five in FORMS:
            for status, refusal in STATUSES:
                for executed in (0, 1):
                    what = "%s, status %s, %d" % (apdu, status, executed)
                    authenticate(card, 4)
                    ok(card, "FF D7 00 04 05 00 00 00 00 64", "FF D7 00 05 05 00 00 00 00 07")
                    sent = r.count(code)
                    r.sim("0 fault status=%s exec=%d at=%s" % (status, executed, code))
                    same(what, told(sw(card, apdu)), "90 00" if executed else refusal)
                    same(what + ": sent", r.count(code), sent + 1)
                    same(what + ": the card", [r.value(b)[0] for b in (4, 5)], [four, five] if executed else [100, 7])
                    if status != "0A":  # and the card has its session
                        same("read", sw(card, "FF B1 00 04 04")[-5:], "90 00")
        assert "outcome unknown" not in r.log()


@case("a value command, and a read-back that brings nothing: said to be unknown")
def read_back_fails():
    for apdu, code, four, five in FORMS:
        for status in ("05", "08"):
            with Neo("mifare1k") as r, r.connect() as card:
                ok(card, ALL_FF)
                authenticate(card, 4)
                ok(card, "FF D7 00 04 05 00 00 00 00 64", "FF D7 00 05 05 00 00 00 00 07")
                reads = 2 if five != 7 else 1  # before the command
                r.sim("0 fault status=%s exec=1 at=%s" % (status, code))
                r.sim("0 fault status=0A skip=%d times=20 at=2C07" % reads)
                same(apdu, told(sw(card, apdu)), "65 81")
                same("the card", [r.value(b)[0] for b in (4, 5)], [four, five])
                assert " of block 4: outcome unknown" in r.log()


@case("a stored value that the card was silent at: the truth, and then the session is over")
def silent_store():
    for executed in (0, 1):
        with Neo("mifare1k") as r:
            card = r.connect()
            ok(card, ALL_FF)
            authenticate(card, 4)
            ok(card, "FF D7 00 04 05 00 00 00 00 64")
            r.sim("0 fault status=08 exec=%d at=2C08" % executed)
            same("told", sw(card, "FF D7 00 04 05 00 00 00 00 01"), "90 00" if executed else "65 81")
            same("the card", r.value(4)[0], 1 if executed else 100)
            assert "outcome unknown" not in r.log()
            fails((SCARD_W_REMOVED_CARD, 0x8010000C, 0x80100069), card.transmit, "FF B1 00 04 04")


@case("a purse command that fails: the block that the reader names is passed on, whatever the status; else unknown")
def batch_fails():
    apdu = "FF F5 2C 0A 0D 32 04 04 01 00 00 00 05 04 01 00 00 00"
    with Neo("mifare1k") as r:
        for status, named in [(s, n) for s in ("0A", "05", "06", "70", "08") for n in (True, False)]:
            r.pc.wait_card(r.name)
            card = r.connect()
            ok(card, ALL_FF)
            authenticate(card, 4)
            ok(card, "FF D7 00 04 05 00 00 00 00 64", "FF D7 00 05 05 00 00 00 00 07")
            lines, sent = r.lines("purse command: outcome unknown"), r.count("2C0A")
            # the frame that stands before the reader's own is the one that counts
            r.sim("0 fault unsolicited=2C%s%s at=2C0A" % (status, "05FC" if named else ""))
            same("status %s, %s" % (status, named), sw(card, apdu), "05 FC 64 00" if named else "65 81")
            same("said to be unknown", r.lines("purse command: outcome unknown") - lines, int(not named))
            same("sent", r.count("2C0A"), sent + 1)
            card = None


# ---- the life of a purse -------------------------------------------------------------------------------------------


@case("a purse: stored, credited, debited to zero and below, to both ends of the range and not beyond, backup, restore")
def life():
    with Neo("mifare1k") as r, r.connect() as card:
        def value(should, block=4):
            same("balance", r.value(block)[0], should)
            same("as read", sw(card, "FF B1 00 %02X 04" % block),
                 hexa((should & 0xFFFFFFFF).to_bytes(4, "big")) + " 90 00")

        ok(card, ALL_FF)
        authenticate(card, 4)
        ok(card, "FF D7 00 04 05 00 00 00 00 00")
        value(0)
        ok(card, "FF D7 00 04 05 01 00 00 03 E8")
        value(1000)
        ok(card, "FF D7 00 04 05 02 00 00 03 E7")
        value(1)
        ok(card, "FF D7 00 04 02 03 05") # backup
        value(1, 5)
        ok(card, "FF D7 00 04 05 02 00 00 00 01")
        value(0)
        ok(card, "FF D7 00 04 05 02 00 00 00 05")
        value(-5)
        ok(card, "FF D7 00 04 05 02 7F FF FF FB")
        value(-2**31)
        same("below the range", sw(card, "FF D7 00 04 05 02 00 00 00 01"), "69 85")
        value(-2**31)
        ok(card, "FF D7 00 05 02 03 04") # restore
        value(1)
        ok(card, "FF D7 00 04 05 01 7F FF FF FE")
        value(2**31 - 1)
        same("above the range", sw(card, "FF D7 00 04 05 01 00 00 00 01"), "69 85")
        same("into another block too", sw(card, "FF F5 C1 04 05 01 00 00 00 05"), "69 85")
        value(2**31 - 1)
        value(1, 5)
        ok(card, "FF F5 2C 0A 0A 32 04 04 0A 00 00 00 05 01 04") # debit and backup in one
        value(2**31 - 11)
        value(2**31 - 11, 5)
        operations = r.operations()
        ok(card, "FF F5 2C 0A 5B BF" + " 05 04 00 00 00 00" * 15) # fifteen operations
        same("operations", r.operations(), operations + 15)
        value(2**31 - 11, 5)


# ---- whole cards ---------------------------------------------------------------------------------------------------


def sectors(blocks):
    first = 0
    while first < blocks:
        size = 4 if first < 128 else 16
        yield first, size
        first += size


def dump(card, blocks, key=lambda first: (0x60, 0)):
    """All blocks, sector by sector, as a script reads them."""
    data = b""
    for first, size in sectors(blocks):
        authenticate(card, first, *key(first))
        le = "%02X" % (16 * size) if size == 4 else "00 01 00"
        answer = card.transmit("FF B0 00 %02X %s" % (first, le))
        same("sector at %d" % first, answer[-2:], h("90 00"))
        data += answer[:-2]
    return data


def whole(name, blocks, frames_per_sector):
    with Neo(name) as r, r.connect() as card:
        ok(card, ALL_FF, "FF 82 00 0A 06 A0 A1 A2 A3 A4 A5", "FF 82 00 0B 06 B0 B1 B2 B3 B4 B5")
        before = r.count()
        data = dump(card, blocks)
        after = r.count()
        same("length", len(data), 16 * blocks)
        count = len(list(sectors(blocks)))
        same("frames", sum(after.get(c, 0) - before.get(c, 0) for c in ("2C06", "2C07")), frames_per_sector * count)
        for b in range(blocks):
            trailer = b == 3 or (b % 4 == 3 if b < 128 else b % 16 == 15)
            same("block %d" % b, data[16 * b:16 * b + 16], (bytes(6) if trailer else r.memory(b)[:6]) + r.memory(b)[6:])
        # every data block anew, then the trailers: own keys, key B to write and to top up
        for first, size in sectors(blocks):
            authenticate(card, first)
            begin = 1 if first == 0 else 0
            content = b"".join(bytes([b ^ 0x5A]) * 16 for b in range(first + begin, first + size - 1))
            lc = "%02X" % len(content) if len(content) < 256 else "00 01 00"
            ok(card, "FF D6 00 %02X %s %s" % (first + begin, lc, hexa(content)))
            ok(card, "FF D6 00 %02X 10 A0 A1 A2 A3 A4 A5 78 77 88 00 B0 B1 B2 B3 B4 B5" % (first + size - 1))
        same("the old key", sw(card, "FF 86 00 00 05 01 00 00 60 00"), "63 00")
        data = dump(card, blocks, lambda first: (0x61, 0x0B))
        for b in range(1, blocks):
            trailer = b % 4 == 3 if b < 128 else b % 16 == 15
            same("block %d" % b, data[16 * b:16 * b + 16],
                 bytes(6) + h("78 77 88 00") + bytes(6) if trailer else bytes([b ^ 0x5A]) * 16)
        authenticate(card, 4, 0x60, 0x0A) # key A reads, and does not write
        same("write with key A", sw(card, "FF D6 00 04 10 " + ZEROS), "69 82")
        same("block 4", r.memory(4), bytes([4 ^ 0x5A]) * 16)


@case("a whole 1K: read, written, read with its own keys; four frames a sector")
def whole_1k():
    whole("mifare1k", 64, 4)


@case("a whole 4K, large sectors too")
def whole_4k():
    whole("mifare4k", 256, 4)


@case("a Mini ends where it ends; 4K and Mini by name if the SAK is asked")
def by_name():
    with Neo("mini", settings=BRISK + "sak_probe = on\n") as r:
        with r.connect() as card:
            rows(card, [("FF CA F1 00 00", "03 00 26 90 00"), ("FF CA 02 00 00", "09 90 00"), (ALL_FF, "90 00"),
                        ("FF 86 00 00 05 01 00 14 60 00", "6A 82"), ("FF 86 00 00 05 01 00 13 60 00", "90 00"),
                        ("FF B0 00 13 10", TRAILER + " 90 00"), ("FF B0 00 14 10", "6A 82")])
        r.take()
        atr = r.put("mifare4k")
        same("ATR", atr, h("3B 8F 80 01 80 4F 0C A0 00 00 03 06 03 00 02 00 00 00 00 69"))
        with r.connect() as card:
            rows(card, [("FF CA 02 00 00", "18 90 00"), ("FF B0 00 FF 10", "69 82"), ("FF B0 01 00 10", "6A 82")])


@case("access bits that forbid: said before anything is sent, and the authentication holds")
def access_bits():
    # block 4 read only (010), block 5 decrement by both, increment by B (110), block 6 nothing ever (111),
    # the trailer 011
    c1, c2, c3 = 0b0110, 0b1111, 0b1100
    bits = bytes([(~c2 & 15) << 4 | (~c1 & 15), c1 << 4 | (~c3 & 15), c3 << 4 | c2])
    with Neo("mifare1k") as r, r.connect() as card:
        ok(card, ALL_FF)
        authenticate(card, 4)
        ok(card, "FF D7 00 04 05 00 00 00 00 05", "FF D7 00 05 05 00 00 00 00 05", "FF D7 00 06 05 00 00 00 00 05",
           "FF D6 00 07 10 FF FF FF FF FF FF %s 69 FF FF FF FF FF FF" % hexa(bits))
        sent = r.count("2C08") + r.count("2C0A")
        rows(card, [
            ("FF D6 00 04 10 " + ZEROS, "69 86"), ("FF D7 00 04 05 01 00 00 00 01", "69 86"),
            ("FF D7 00 04 05 02 00 00 00 01", "69 86"), ("FF D7 00 04 02 03 05", "69 86"),
            ("FF D7 00 05 05 01 00 00 00 01", "69 82"), ("FF D6 00 05 10 " + ZEROS, "69 82"),
            ("FF B0 00 06 10", "69 86"), ("FF B1 00 06 04", "69 86"), ("FF B0 00 04 30", "69 86"),
            ("FF B1 00 04 04", "00 00 00 05 90 00"),
        ])
        same("writing commands sent", r.count("2C08") + r.count("2C0A"), sent)
        ok(card, "FF D7 00 05 05 02 00 00 00 01")
        same("values", [r.value(b)[0] for b in (4, 5, 6)], [5, 4, 5])
        authenticate(card, 4, 0x61)
        ok(card, "FF D7 00 05 05 01 00 00 00 02")
        same("values", [r.value(b)[0] for b in (4, 5, 6)], [5, 6, 5])


@case("a refused key, in every temper of reader and card: the next attempt works without lifting the card")
def wrong_key():
    for options in ("", "auth=eager", "aftererror=stay", "auth=eager,aftererror=stay"):
        with Neo("mifare1k", options) as r, r.connect() as card:
            ok(card, ALL_FF, "FF 82 00 01 06 11 22 33 44 55 66")
            for _ in range(3):
                same("wrong key", sw(card, "FF 86 00 00 05 01 00 04 60 01"), "63 00")
                authenticate(card, 4)
                same("read", sw(card, "FF B0 00 04 10"), ZEROS + " 90 00")


# ---- tags ----------------------------------------------------------------------------------------------------------


@case("Ultralight and NTAG: pages, lengths, the end of memory")
def tags():
    for name, pages in (("ultralight", 16), ("ntag", None)):
        with Neo(name) as r, r.connect() as card:
            for page in range(4, 12):
                ok(card, "FF D6 00 %02X 04 %s" % (page, hexa([page] * 4)))
            rows(card, [
                ("FF B0 00 04 00", "04 04 04 04 05 05 05 05 06 06 06 06 07 07 07 07 90 00"),
                ("FF B0 00 04 10", "04 04 04 04 05 05 05 05 06 06 06 06 07 07 07 07 90 00"),
                ("FF B0 00 04 0C", "04 04 04 04 05 05 05 05 06 06 06 06 90 00"),
                ("FF B0 00 04 08", "04 04 04 04 05 05 05 05 90 00"), ("FF B0 00 04 04", "04 04 04 04 90 00"),
                ("FF B0 00 04 02", "6C 04"), ("FF B0 00 04 14", "6C 10"),
                ("FF D6 00 08 10 AA BB CC DD 01 02 03 04 05 06 07 08 09 0A 0B 0C", "90 00"),
                ("FF B0 00 08 08", "AA BB CC DD 09 09 09 09 90 00"),
                ("FF D6 00 08 08 01 02 03 04 05 06 07 08", "67 00"),
                ("FF D7 00 04 05 01 00 00 00 01", "69 81"), ("FF 82 00 00 06 FF FF FF FF FF FF", "90 00"),
                ("FF 86 00 00 05 01 00 04 60 00", "69 81"), ("FF F5 2C 0A 07 31 04 04 01 00 00 00", "69 81"),
            ])
            if not pages: # found by reading on until there is nothing
                pages = next(p for p in range(4, 256) if sw(card, "FF B0 00 %02X 04" % p)[-5:] == "6A 82")
                assert pages > 16, pages
            same("the last two", sw(card, "FF B0 00 %02X 10" % (pages - 2))[-5:], "62 82")
            rows(card, [("FF B0 00 %02X 10" % pages, "6A 82"), ("FF D6 00 %02X 04 01 02 03 04" % pages, "6A 82"),
                        ("FF B0 01 00 10", "6A 82"), ("FF CA 00 00 00", sw(card, "FF CA 00 00 07"))])


@case("FeliCa and plain cards: UID and raw frames, and nothing else")
def others():
    with Neo("felica", settings=BRISK + "felica = on\n") as r, r.connect() as card:
        idm = sw(card, "FF CA 00 00 00")
        same("IDm", (len(idm), idm[-5:]), (29, "90 00"))
        rows(card, [("FF CA F1 00 00", "11 00 3B 90 00"), ("FF B0 00 04 10", "69 81"),
                    ("FF 86 00 00 05 01 00 04 60 00", "69 81")])
        ok_objects = "C0 03 00 90 00"
        same("session", sw(card, "FF C2 00 00 02 81 00 00"), ok_objects + " 90 00")
        same("switch", sw(card, "FF C2 00 02 04 8F 02 03 03 00"), ok_objects + " 8F 01 00 90 00")
        polled = sw(card, "FF C2 00 01 08 95 06 06 00 FF FF 01 01 00")
        begin = ok_objects + " 92 01 00 96 02 00 00 97 14 14 01 "
        same("polling", polled[:len(begin) + 23], begin + idm[:-6])
        assert sw(card, "FF C2 00 02 04 8F 02 00 03 00").startswith("C0 03 01 64 01"), "it is no type A card"
    for name in ("typea", "typeb"):
        with Neo(name) as r, r.connect() as card:
            same("UID", sw(card, "FF CA 00 00 00")[-5:], "90 00")
            rows(card, [("FF B0 00 04 10", "69 81"), ("FF D6 00 04 04 01 02 03 04", "69 81"), ("00 A4 04 00", "6E 00")])


# ---- the reader itself, the transparent session --------------------------------------------------------------------


@case("the transparent session: raw frames of a tag, the field switched, protocols switched")
def transparent():
    with Neo("ultralight") as r, r.connect() as card:
        ok(card, "FF D6 00 04 04 DE AD BE EF")
        rows(card, [
            ("FF C2 00 01 04 95 02 30 04 00", "C0 03 01 69 85 90 00"),
            ("FF C2 00 00 02 81 00 00", "C0 03 00 90 00 90 00"),
            ("FF C2 00 00 02 80 00 00", "C0 03 00 90 00 80 03 01 00 00 90 00"),
            ("FF C2 00 01 04 95 02 30 04 00",
             "C0 03 00 90 00 92 01 00 96 02 00 00 97 10 DE AD BE EF 00 00 00 00 00 00 00 00 00 00 00 00 90 00"),
            ("FF C2 00 00 0B 83 00 5F 46 04 10 27 00 00 84 00 00", "C0 03 00 90 00 90 00"),
            ("FF C2 00 01 04 95 02 30 04 00", "C0 03 01 64 01 90 00"), # nobody has selected it
            ("FF C2 00 02 04 8F 02 00 03 00", "C0 03 00 90 00 8F 01 00 90 00"),
            ("FF FE 01 00 02 30 04 00", "DE AD BE EF 00 00 00 00 00 00 00 00 00 00 00 00 90 00"),
            ("FF C2 00 02 04 8F 02 01 03 00", "C0 03 01 64 01 90 00"),
            ("FF C2 00 02 04 8F 02 00 03 00", "C0 03 00 90 00 8F 01 00 90 00"),
            ("FF C2 00 00 02 83 00 00", "C0 03 00 90 00 90 00"),
            ("FF B0 00 04 04", "69 85"),
            ("FF C2 00 00 02 82 00 00", "C0 03 00 90 00 90 00"),
            ("FF B0 00 04 04", "DE AD BE EF 90 00"),
            ("FF C2 00 00 02 82 00 00", "C0 03 01 69 85 90 00"),
            ("FF C2 00 00 02 81 00 04", "67 00"),
            ("FF C2 00 00 03 81 00 5F 00", "6A 80"),
        ])


@case("the transparent session: transmit and receive, parameters, the client's waiting time, what cannot be had")
def parameters():
    done = "C0 03 00 90 00 "
    page = "92 01 00 96 02 00 00 97 10 DE AD BE EF 00 00 00 00 00 00 00 00 00 00 00 00 90 00"
    with Neo("ultralight") as r, r.connect() as card:
        ok(card, "FF D6 00 04 04 DE AD BE EF")
        rows(card, [("FF C2 00 00 02 81 00 00", done + "90 00"),
                    ("FF C2 00 01 06 93 02 30 04 94 00 00", done + page),
                    ("FF C2 00 01 02 94 00 00", "C0 03 01 6A 81 90 00"),
                    ("FF C2 00 00 05 FF 6D 02 04 00 00", "C0 03 01 6A 81 90 00"),
                    ("FF C2 00 00 06 FF 6E 03 05 01 02 00", "C0 03 01 6A 81 90 00"),
                    ("FF C2 00 00 06 FF 6E 03 03 01 0F 00", "C0 03 01 6A 80 90 00")])

        def timeout(apdu):
            sent = r.frames(lambda: same(apdu, sw(card, apdu), done + page))
            same("one exchange", [f[10:12] for f in sent], [h("2C 04")])
            return int.from_bytes(sent[0][15:19], "big")

        read = "FF C2 00 01 04 95 02 30 04 00"
        same("the reader's own", timeout(read), 0x2968)
        same("set", sw(card, "FF C2 00 00 06 FF 6E 03 03 01 08 00"), done + "90 00")
        same("told", sw(card, "FF C2 00 00 05 FF 6D 02 03 00 00"), done + "FF 6D 03 03 01 08 90 00")
        assert 32 << 8 <= timeout(read) <= (32 << 8) + 2, timeout(read)
        same("a timer goes before it", timeout("FF C2 00 01 0B 5F 46 04 10 27 00 00 95 02 30 04 00"), 1060)
        rows(card, [("FF C2 00 00 02 82 00 00", done + "90 00"),
                    ("FF C2 00 00 06 FF 6E 03 03 01 08 00", "C0 03 01 69 85 90 00")])
    with Neo("iso:pboc-cl,balance=6850") as r, r.connect() as card:
        same("session", sw(card, "FF C2 00 00 02 81 00 00"), done + "90 00")
        apdu = "FF C2 00 00 0B FF 6D 08 01 00 02 00 03 00 08 00 00"  # frame sizes, waiting time, CID
        told_of = done + "FF 6D 0C 01 01 08 02 01 08 03 01 07 08 01 00 90 00"
        sent = r.frames(lambda: same(apdu, sw(card, apdu), told_of))
        same("asked by", [f[10:12] for f in sent], [h("2C 05")])


@case("the transparent session: flags and valid bits, each form of a single frame, what ends a session")
def frames_of_a_tag():
    done = "C0 03 00 90 00 "
    with Neo("ultralight") as r, r.connect() as card:
        page = sw(card, "FF B0 00 00 10")
        rows(card, [
            ("FF C2 00 00 02 81 00 00", done + "90 00"),
            ("FF C2 00 01 04 93 02 50 00 00", done + "90 00"),  # HLTA is not answered
            ("FF C2 00 01 0A 90 02 03 00 91 01 07 95 01 52 00",  # WUPA: seven bits, no CRC either way
             done + "92 01 00 96 02 00 00 97 02 44 00 90 00"),
            ("FF C2 00 01 0D 92 01 00 5F 46 04 10 27 00 00 91 01 08 00", "C0 03 03 6A 80 90 00"),
            ("FF C2 00 01 03 95 02 30 00", "6A 80"),
            ("FF C2 00 01 02 99 00 00", "C0 03 01 6A 81 90 00"),
            ("FF C2 00 02 04 8F 02 04 03 00", "C0 03 01 6A 80 90 00"),
            ("FF C2 01 00 02 81 00 00", "6B 00"),
            ("FF C2 00 00", "67 00"),
            ("FF C2 00 00 02 82 00 00", done + "90 00"),
            ("FF B0 00 00 10", page),
            ("FF FE 01 00 02 30 00 00", page),  # without a session, too
            ("FF FE 01 05 02 30 00 00", page),
            ("FF FE 00 00 02 30 00 00", "6A 81"),  # it has no APDUs
            ("FF FE 03 00 02 30 00 00", "6B 00"),
            ("FF FE 01 09 02 30 00 00", "6B 00"),
            ("FF FE 01 00", "67 00"),
            ("FF C2 00 00 02 81 00 00", done + "90 00"),
        ])
        card.reconnect(initialization=RESET)
        rows(card, [("FF C2 00 01 04 95 02 30 00 00", "C0 03 01 69 85 90 00"), ("FF B0 00 00 10", page)])


@case("an APDU card: its UID, its APDUs in the transparent session, nothing of storage cards")
def apdu_card():
    with Neo("iso:pboc-cl,balance=6850") as r, r.connect() as card:
        same("UID", sw(card, "FF CA 00 00 00")[-5:], "90 00")
        rows(card, [("FF B0 00 04 10", "69 81"), ("FF 86 00 00 05 01 00 04 60 00", "69 81"),
                    ("FF CA F1 00 00", "6A 81")])
        select = "00 A4 04 00 0E 32 50 41 59 2E 53 59 53 2E 44 44 46 30 31 00"
        answer = sw(card, select)
        same("SELECT", answer[-5:], "90 00")
        same("in an envelope", sw(card, "FF FE 00 00 14 " + select + " 00"), answer + " 90 00")


@case("the reader itself: commands and their whitelist, firmware, lamps, on an empty slot too")
def reader_commands():
    with Neo() as r, r.connect(share=SHARE_DIRECT, protocols=0) as card:
        def control(apdu, code=ESCAPE):
            return hexa(card.control(code, h(apdu)))

        same("firmware", bytes.fromhex(control("FF 00 48 00 00").replace(" ", ""))[:-2], b"VP3300 USB NEO v1.01.107")
        same("Ping", control("FF 70 0A CD 02 18 01 00"), "00 90 00")
        same("its other vendor id", control("FF 70 1D 5F 02 18 01 00"), "00 90 00")
        same("somebody else's", control("FF 70 07 2F 02 18 01 00"), "6A 81")
        modules = card.control(ESCAPE, h("FF 70 0A CD 00 00 02 09 20 00 00"))
        same("module version", (modules[:1], modules[-2:]), (h("00"), h("90 00")))
        same("module version, however short the command", card.control(ESCAPE, h("FF 70 0A CD 02 09 20 05")), modules)
        assert b"VP3300" in modules or b"Vendi" in modules, modules
        same("by SCardControl", card.control(ESCAPE_3500, h("09 20")), modules[:-2])
        for dangerous in ("30 01 01 05", "2C 06 04 01 FF FF FF FF FF FF", "2C 0A 31 04 04 01 00 00 00",
                          "2C 08 41 04 01 02 03 04", "2C 04 1E 00 00 29 68 01 0F 30 04", "28 01 00", "04 00"):
            data = h(dangerous)
            same(dangerous, control("FF 70 0A CD %02X %s 00" % (len(data), dangerous)), "69 82")
            fails(SCARD_E_UNSUPPORTED_FEATURE, card.control, ESCAPE, data)
        for harmless in ("29 00", "29 01 00", "29 01 01", "29 04", "29 06", "12 01", "09 00", "09 01", "09 02", "09 20",
                         "0A 02 FF 00", "0B 01 01", "0B 02 00"):
            data = h(harmless)
            answer = card.control(ESCAPE, h("FF 70 0A CD 00 00 %02X %s 00 00" % (len(data), harmless)))
            same(harmless, answer[-2:], h("90 00"))
            same("the same by SCardControl", card.control(ESCAPE_3500, data), answer[:-2])
        same("not cached", control("FF 70 0A CD 03 29 01 07 00"), "69 85")
        same("nothing", control("FF 70 0A CD"), "67 00")
        for apdu, frames in [
            ("FF 00 40 0F 04 01 01 01 00", [command("0A 02", "FF 04")]),
            ("FF 00 40 0D 04 01 01 01 00", [command("0A 02", "FF 03")]),
            ("FF 00 40 0E 04 01 01 01 00", [command("0A 02", "FF 02")]),
            ("FF 00 40 0C 04 01 01 02 01", [command("0A 02", "FF 00"), command("0B 01", "02")]),
        ]:
            same(apdu, [f[:-2] for f in r.frames(lambda: same(apdu, control(apdu), "90 00"))], frames)
        for apdu, answer in [("FF 00 40 0F 03 01 01 01", "67 00"), ("FF 00 40 0F 04 01 01 01 04", "6A 80"),
                             ("FF 00 41 0F 04 01 01 01 00", "6B 00"), ("FF 00 48 01 00", "6B 00"),
                             ("FF 00 48 00", "67 00"), ("FF 00 52 00 01 00", "67 00")]:
            same(apdu, control(apdu), answer)
        same("a sound for each card", control("FF 00 52 FF 00"), "6A 81")
        same("none", control("FF 00 52 00 00"), "90 00")
        same("keys", control("FF 82 00 00 06 FF FF FF FF FF FF"), "90 00")


@case("a card that is taken away: no status word, the slot is empty, the next card starts anew")
def taken_away():
    with Neo("mifare1k") as r:
        card = r.connect()
        ok(card, ALL_FF)
        authenticate(card, 4)
        r.sim("0 remove")
        fails((SCARD_W_REMOVED_CARD, 0x8010000C, 0x80100069), card.transmit, "FF B0 00 04 10")
        r.pc.wait_empty(r.name)
        r.put("mifare1k")
        with r.connect() as again:
            same("not authenticated", sw(again, "FF B0 00 04 10"), "69 82")
            authenticate(again, 4)
        card = None


@case("an idle session with an open sector: asked by its trailer, not disturbed, and a card that leaves is missed")
def asked_by_trailer():
    with Neo("mifare1k") as r:
        card = r.connect()
        ok(card, ALL_FF)
        authenticate(card, 0x14)
        ok(card, "FF D7 00 14 05 00 00 00 00 05")
        before = r.count()
        r.until("2C07=%d *" % (before["2C07"] + 3), "count")
        after = r.count()
        same("sent but for reads", {c: n for c, n in after.items() if c.startswith("2C") and n != before.get(c, 0)},
             {"2C07": after["2C07"]})
        same("the trailer", r.sim("0 last")[20:32], "2C0700023117")
        ok(card, "FF D8 00 14 04 01 00 00 00")  # still authenticated
        same("balance", r.value(0x14)[0], 4)
        polls = [r.count(c) for c in ("2C02", "2C0C", "2C0E")]
        r.sim("0 fault drop at=2C07")  # an answer that is lost is no removal
        reads = r.count("2C07")
        r.until("2C07=%d *" % (reads + 3), "count")
        same("polls", [r.count(c) for c in ("2C02", "2C0C", "2C0E")], polls)
        ok(card, "FF D8 00 14 04 01 00 00 00")
        r.sim("0 remove")
        r.pc.wait_empty(r.name)
        fails((SCARD_W_REMOVED_CARD, 0x8010000C, 0x80100069), card.transmit, "FF B0 00 14 10")
        card = None


@case("keys are in no log at any level, in no form")
def no_keys():
    env = {"IFD_PURSE_LOG": "15"}
    with Neo("mifare1k", env=env) as r, r.connect() as card:
        ok(card, ALL_FF, "FF 82 00 01 06 DE AD BE EF 12 34")
        authenticate(card, 4)
        ok(card, "FF D7 00 04 05 00 00 00 00 05", "FF D6 00 07 10 DE AD BE EF 12 34 FF 07 80 69 DE AD BE EF 12 34")
        authenticate(card, 4, 0x60, 1)
        ok(card, "FF F5 2C 0A 0E 31 04 0B 01 00 00 00 01 DE AD BE EF 12 34")
        same("wrong key", sw(card, "FF 86 00 00 05 01 00 08 60 01"), "63 00")
        for kind in ("drop", "badcrc", "status=0A"):
            r.sim("0 fault %s at=2C06" % kind)
            try:
                card.transmit("FF 86 00 00 05 01 00 04 60 01")
            except Exception:
                pass
        frames = [line for line in r.log().splitlines() if "ViVOpay " in line]
        assert any("2C 06" in line or "2C-06" in line for line in frames), "the frame log is off"
        text = "".join(c for c in "".join(frames).lower() if c in "0123456789abcdef")
        assert "deadbeef" not in text and "beef1234" not in text


rig.main()
