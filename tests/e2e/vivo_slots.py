# SPDX-License-Identifier: LGPL-2.1-or-later
"""Contact and SAM slots beside the field; what the reader tells of itself, and which of its commands a client may send;
readers that keep back or encrypt what cards say."""
import rig
import winscard
from rig import Background, case, fails, h, lost, same
from vivo import ADD, COUNTER, EIGHT, GET_8, LINKS, Neo, number
from winscard import (ESCAPE, ESCAPE_3500, GET_FEATURES, SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED,
                      SCARD_E_UNSUPPORTED_FEATURE, SHARE_DIRECT, T0, T1, TLV_PROPERTIES)

CARD = "iso:echo-t1"
ECHO_T0 = h("3B 04 45 43 48 4F")
SLOTS = "slots = cl.icc.sam1\n"

# What 09-20 answers: the text of a real reader, its NUL included.
MODULES = bytes.fromhex(
    "46572C56656E64692056312E30302C2C0D0A2046532644422056312E30302C2C0D0A20434C2041707053656C2C50505345204D6F64756C65"
    "2C2076312E30302C2C0D0A20434C204149442C4D6173746572436172642050617950617373204D2F436869702076332E302E322C2056656E"
    "64692076312E302E302C2C0D0A20434C204149442C56697361205643505320322E312E332C2076302E39392C2C0D0A20434C204149442C41"
    "6D6578204578707265737350617920332E302C2076312E30302C2C0D0A20434C204149442C446973636F766572204450415320312E30205A"
    "697020332E312E322C2076312E30302C2C0D0A20434C204149442C496E746572616320312E352C2076312E30302C2C0D0A20434C204C312C"
    "454D5620342E33204C312C2076312E303000")


def slot(r, n):
    return r.name[:-2] + "%02X" % n


# ---- contact and SAM slots ------------------------------------------------------------------------------------------


@case("contact and SAM slots: ATR, APDUs, at the same time as the field, on one reader")
def three():
    for link in LINKS:
        with Neo(link, settings=SLOTS, options="slots=cl.icc.sam1", wait=3) as r:
            same("slots", sorted(r.pc.readers()), [slot(r, n) for n in range(3)])
            r.pc.wait_empty(slot(r, 2))     # a SAM is asked for when the reader comes up: there was none
            r.put("iso:echo-t1,start=100")
            r.sim("0 icc insert echo-t1,start=200")
            same("ATR of the contact card", r.pc.wait_card(slot(r, 1))[1][:2], h("3B 84"))
            with r.connect() as air, r.connect(reader=slot(r, 1)) as contact:
                for n in range(1, 20):
                    same("contactless", air.transmit(ADD), number(100 + n))
                    same("contact", contact.transmit(ADD), number(200 + n))
                same("the contact card's own APDU size", size_of(contact), size_of(air) - 1)
                data = bytes(n & 0xFF for n in range(1474))
                same("echo", contact.transmit(h("00 E0 00 00 00 05 C2") + data + b"\x00\x00"), data + b"\x90\x00")
                same("one byte more", contact.transmit(h("00 E0 00 00 00 05 C3") + data + b"\x00\x00\x00"), h("67 00"))
            threads = [Background(traffic, slot(r, n)) for n in (0, 1)]
            for t in threads:
                t.result()
            # Each card is reset by its own client only.
            with r.connect() as air, r.connect(reader=slot(r, 1)) as contact:
                same("contactless", air.transmit(COUNTER)[-2:], b"\x90\x00")
                before = r.count("icc_activations")
                air.reconnect(initialization=winscard.RESET)
                same("activations of the contact card", r.count("icc_activations"), before)
                same("contact", contact.transmit(GET_8), EIGHT)
                before = r.count("activations")
                contact.reconnect(initialization=winscard.RESET)
                same("contact", contact.transmit(GET_8), EIGHT)
                same("contactless", air.transmit(GET_8), EIGHT)
                same("activations of the other card", r.count("activations"), before)


def size_of(card):
    data = card.control(TLV_PROPERTIES)
    at = data.index(b"\x0A\x04")
    return int.from_bytes(data[at + 2:at + 6], "little")


def traffic(name):
    with winscard.Context() as pc, pc.connect(name) as card:
        for n in range(1, 60):
            data = bytes([n] * n)
            same("echo", card.transmit(h("00 E0 00 00") + bytes([n]) + data + b"\x00"), data + b"\x90\x00")


@case("a T=0 card in the contact slot: 61xx and 6Cxx come up as they are, T=1 is refused; or the reader fetches itself")
def contact_t0():
    with Neo("hid", settings="slots = icc") as r:
        r.sim("0 icc insert pboc-t0")
        same("ATR", r.pc.wait_card(r.name)[1], h("3B 6D 00 00 80 65 08 49 04 86 53 00 00 00 00 00 00"))
        fails((winscard.SCARD_E_PROTO_MISMATCH, winscard.SCARD_W_UNRESPONSIVE_CARD), r.pc.connect, r.name, T1)
        with r.connect(T0) as card:
            same("SELECT", card.transmit("00 A4 04 00 08 A0 00 00 03 33 01 01 01"), h("61 47"))
            same("GET RESPONSE", len(card.transmit("00 C0 00 00 47")), 0x47 + 2)
            same("wrong Le", card.transmit("80 CA 9F 79 00"), h("6C 09"))
            same("balance", card.transmit("80 CA 9F 79 09"), h("9F 79 06 00 00 00 00 00 00 90 00"))
    with Neo("hid", "getresponse=auto", settings="slots = icc") as r:
        r.sim("0 icc insert pboc-t0")
        with r.connect(T0) as card:
            same("SELECT", len(card.transmit("00 A4 04 00 08 A0 00 00 03 33 01 01 01")), 0x47 + 2)
            same("balance", card.transmit("80 CA 9F 79 00"), h("9F 79 06 00 00 00 00 00 00 90 00"))


@case("a contact card comes, goes in a session, and comes again; another one in its place")
def contact_removed():
    for link, rounds in zip(LINKS, (2, 1)):
        with Neo(link, settings="slots = cl.icc", options="slots=cl.icc", wait=2) as r:
            icc = slot(r, 1)
            for n in range(rounds):
                r.sim("0 icc insert echo-t1,start=%d" % n)
                r.pc.wait_card(icc)
                with r.connect(reader=icc) as card:
                    same("the counter", card.transmit(ADD), number(n + 1))
                    r.sim("0 icc remove")
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    assert r.pc.state(icc)[0] & winscard.STATE_EMPTY
                    r.sim("0 icc insert echo-t1,start=50")
                    r.pc.wait_card(icc)
                    lost(r, card, ADD)
                with r.connect(reader=icc) as card:
                    same("the new card's counter", card.transmit(COUNTER), number(50))
                    card.disconnect(winscard.UNPOWER)
                r.sim("0 icc remove")
                r.pc.wait_empty(icc)
            # Pulled and put back while a session pauses: it has lost its power, and its client hears of it.
            r.sim("0 icc insert echo-t1,start=1")
            r.pc.wait_card(icc)
            with r.connect(reader=icc) as card:
                same("the counter", card.transmit(COUNTER), number(1))
                before = r.changes(icc)
                r.sim("0 icc remove")
                r.sim("0 icc insert echo-t1,start=2")
                fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                r.wait_changes(before + 2, icc)
            with r.connect(reader=icc) as card:
                same("the counter", card.transmit(COUNTER), number(2))


@case("a SAM that is there when the reader comes up")
def sam():
    for link in LINKS:
        with Neo(link, "unplugged", settings=SLOTS, options="slots=cl.icc.sam1", wait=0 if link == "hid" else 3) as r:
            r.sim("0 sam 1 insert echo-t0,start=7")
            r.sim("0 plug")
            r.pc.wait_readers(lambda names: len(names) == 3)
            same("ATR", r.pc.wait_card(slot(r, 2))[1], ECHO_T0)
            with r.connect(T0, reader=slot(r, 2)) as card:
                same("the counter", card.transmit(COUNTER), number(7))
                same("an APDU", card.transmit(GET_8), EIGHT)
            with r.connect(T0, reader=slot(r, 2)) as card:
                same("the counter", card.transmit(ADD), number(8))


@case("a reader without contact slots, or in which they are switched off: empty slots, and the field works")
def no_contacts():
    with Neo("hid", "icc=off", settings="slots = cl.icc") as r:
        r.pc.wait_readers(lambda names: len(names) == 2)
        r.pc.wait_empty(slot(r, 1))
        r.wait_log("no contact slots")
        r.put(CARD)
        r.works()


@case("slots share the reader: unplugged with clients on two of them, plugged in again, closed with the last one")
def shared():
    with Neo("hid", settings="slots = cl.icc.sam1\nopen_quiet = 10", wait=3) as r:
        r.sim("0 insert " + CARD)
        r.sim("0 icc insert echo-t1")
        for _ in range(3):
            r.pc.wait_readers(lambda names: len(names) == 3)
            clients = [r.connect(reader=slot(r, n)) for n in (0, 1)]
            for card in clients:
                same("an APDU", card.transmit(GET_8), EIGHT)
            opens = int(dict(p.split("=") for p in r.sim("0 stats").split())["open"])
            same("opened", opens, 1)
            r.sim("0 unplug")
            r.pc.wait_readers(lambda names: not names)
            r.sim("0 plug")
        r.pc.wait_readers(lambda names: len(names) == 3)
        r.works(slot(r, 0))
        r.works(slot(r, 1))


# ---- the reader's own commands --------------------------------------------------------------------------------------


@case("the module versions, byte for byte, by FF 70, by both control codes, and 09-00 the same")
def modules():
    for link in LINKS:
        with Neo(link) as r:
            with r.connect(0, SHARE_DIRECT) as card:
                for code in (ESCAPE, ESCAPE_3500):
                    same("09-20", card.control(code, "09 20"), b"\x00" + MODULES)
                    same("09-00", card.control(code, "09 00"), b"\x00" + MODULES)
                    same("by class FF", card.control(code, "FF 70 0A CD 00 00 02 09 20 00 00"),
                         b"\x00" + MODULES + b"\x90\x00")
            r.put(CARD)
            with r.connect() as card:
                for vid in ("0A CD", "1D 5F"):
                    same("FF 70", card.transmit("FF 70 %s 00 00 02 09 20 00 00" % vid), b"\x00" + MODULES + b"\x90\x00")
                for le in ("", "00", "05"):  # it may not run twice
                    same("all of it, whatever Le says", card.transmit("FF 70 0A CD 02 09 20 " + le),
                         b"\x00" + MODULES + b"\x90\x00")
                sent = r.count("0920")
                same("and again", card.transmit("FF 70 0A CD 00 00 02 09 20 00 00")[1:299], MODULES)
                same("what the reader was asked", r.count("0920"), sent)    # pass-through mode would have refused it
                same("an APDU in the same session", card.transmit(GET_8), EIGHT)


SAFE = ["18 01", "29 00", "29 01 01", "29 04", "29 06", "12 01", "09 01", "09 14", "0A 02 00 01", "0B 01 01",
        "0B 02 00"]
UNSAFE = ["2C 01 00", "2C 02 00 14", "2C 03 00 84 00 00 08", "2C 08 31 04" + " 00" * 16, "2C 0A 31 10 04 01 00 00 00",
          "04 00 DF EE 7E 01 00", "30 01 05", "90 19 00", "81 01", "C7 01", "28 01 00", "05 01", "01 01 00",
          "2C 40 22 04 00 00 00 00", "29 17", "77 01"]


@case("the whitelist: what is harmless passes; everything else is refused, and never sent, unless escape = all")
def whitelist():
    for link in LINKS:
        with Neo(link) as r:
            r.put(CARD)
            with r.connect() as card:
                for command in SAFE:
                    same("status of " + command, card.control(ESCAPE, command)[:1], b"\x00")
                before = r.count()
                for command in UNSAFE:
                    n = len(h(command))
                    apdu = h("FF 70 0A CD") + bytes([n]) + h(command) + b"\x00"
                    same("FF 70 " + command, card.transmit(apdu), h("69 82"))
                    fails((SCARD_E_UNSUPPORTED_FEATURE, SCARD_E_NOT_TRANSACTED), card.control, ESCAPE, command)
                after = r.count()
                same("what was sent", after["commands"], before["commands"])
                same("an APDU in the same session", card.transmit(GET_8), EIGHT)
                same("another vendor's", card.transmit("FF 70 07 2F 01 01 00")[-2:-1] >= b"\x69", True)
    with Neo("hid", settings="escape = all") as r:
        r.put(CARD)
        with r.connect() as card:
            same("raw APDU", card.control(ESCAPE, "2C 03 00 84 00 00 08"), b"\x00" + EIGHT)
            same("an APDU in the same session", card.transmit(GET_8), EIGHT)
            before = r.changes()
            same("a poll", card.control(ESCAPE, "2C 02 00 14")[:2], h("00 01"))    # this takes the card's session
            r.wait_changes(before + 2)
        with r.connect() as card:
            same("29-17", card.control(ESCAPE, "29 17"), b"\x0C")     # sent, and refused by the reader in this mode
            same("count", r.count("2917"), 1)
        r.works()


@case("features: only what works is told, and a card is not needed")
def features():
    with Neo("serial") as r:
        with r.connect(0, SHARE_DIRECT) as card:
            found, data = {}, card.control(GET_FEATURES)
            while data:
                found[data[0]] = int.from_bytes(data[2:6], "big")
                data = data[2 + data[1]:]
            same("features", found, {0x12: TLV_PROPERTIES, 0x13: ESCAPE})
            same("firmware", card.control(ESCAPE, "FF 00 48 00 00")[:6], b"VP3300")
            fails(SCARD_E_UNSUPPORTED_FEATURE, card.control, 0x42000D49)


# ---- readers made for payment ---------------------------------------------------------------------------------------

SELECT = "00 A4 04 00 08 A0 00 00 03 33 01 01 01 00"
RECORD = "00 B2 01 14 00"


@case("a SRED reader keeps a record back: 69 82 with a line that says why, everything else works")
def sred():
    for link in LINKS:
        with Neo(link, "sred=1") as r:
            r.put("iso:pboc-cl,balance=12345")
            with r.connect() as card:
                same("SELECT", card.transmit(SELECT)[-2:], b"\x90\x00")
                for _ in range(3):
                    same("READ RECORD", card.transmit(RECORD), h("69 82"))
                same("balance", card.transmit("80 CA 9F 79 00"), h("9F 79 06 00 00 00 01 23 45 90 00"))
            r.wait_log("status 06: this reader .SRED. keeps the card's answer back")
            same("changes", r.changes(), 1)


@case("encrypted answers are refused with a line that says why, and never handed up")
def encrypted():
    for link in LINKS:
        for enc in ("mac", "nomac"):
            with Neo(link, "enc=" + enc) as r:
                r.put("iso:pboc-cl,balance=12345")
                with r.connect() as card:
                    for command in (SELECT, "80 CA 9F 79 00", "80 CA 9F 36 00", "00 B2 0B 5C 00"):
                        same(command, card.transmit(command), h("69 82"))
                    card.disconnect(winscard.UNPOWER)
                r.wait_log("the reader returns encrypted data")
                r.take()
                r.put("mifare1k")
                with r.connect() as card:
                    same("key", card.transmit("FF 82 00 00 06 FF FF FF FF FF FF"), h("90 00"))
                    assert card.transmit("FF 86 00 00 05 01 00 04 60 00") != h("90 00")
                    answer = card.transmit("FF B0 00 04 10")
                    same("length of a refusal to read", len(answer), 2)
                    assert answer != h("90 00")
        for enc, status in (("nokey", "90"), ("exhausted", "91")):
            with Neo(link, "enc=" + enc) as r:
                r.put("iso:pboc-cl")
                with r.connect() as card:
                    same("SELECT", card.transmit(SELECT), h("69 82"))
                r.wait_log("status %s, " % status)


@case("an answer that looks encrypted by chance, but is the card's own, is handed up")
def by_chance():
    with Neo("hid") as r:
        r.put(CARD)
        with r.connect() as card:
            for data in ("00 04 01 02 03 04 90 00", "00 0A" + " 00" * 10, "00 10" + " 11" * 16 + "00 0A" + " 22" * 10):
                n = len(h(data))
                same("echo", card.transmit(h("00 E0 00 00") + bytes([n]) + h(data) + b"\x00"), h(data) + b"\x90\x00")


rig.main()
