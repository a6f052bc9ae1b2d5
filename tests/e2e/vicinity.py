# SPDX-License-Identifier: LGPL-2.1-or-later
"""ISO 15693 cards behind a simulated ViVOpay reader that can reach them, and behind one that cannot."""
import os
import re
import time

import rig
from rig import case, fails, h, lost, same
from vivo import ON_HID as READER, LINKS, Neo
from winscard import SCARD_E_NO_SMARTCARD, SCARD_W_REMOVED_CARD, SCARD_W_RESET_CARD, UNPOWER

READER = "ID TECH ViVOpay VP3300 (630Z000001) 00 00"
CARD, UID = "tag15693,uid=E004015059379F1D", "1D 9F 37 59 50 01 04 E0"
OTHER, OTHER_UID = "tag15693,uid=E004015059379CAA,dsfid=11", "AA 9C 37 59 50 01 04 E0"
THIRD, THIRD_UID = "tag15693,uid=E004015059379F2D,afi=07,dsfid=22", "2D 9F 37 59 50 01 04 E0"
NOBODY = "64 01"


class Tags(Neo):
    """A reader with cards in its field from the start."""

    def __init__(self, cards, *args, **kw):
        super().__init__(*args, **kw)
        self.cards = [cards] if isinstance(cards, str) else cards or []

    def start(self):
        super().start()
        for card in self.cards:
            self.sim("0 insert " + card)

    def card(self):
        return self.connect()


def vicinity(option="crc3309", setting="on", more="", card=None, link="hid"):
    """A reader with this way of reaching such cards, and its driver's setting."""
    return Tags(card, link, "iso15693=" + option, settings="iso15693 = %s\n%s" % (setting, more))


def run(card, *pairs):
    """Commands and their answers, one after the other."""
    for command, answer in pairs:
        same("answer to " + command, card.transmit(command), h(answer))


# ---- what a card is to a client ------------------------------------------------------------------------------------


@case("the ATR names the chip, and the UID is as it is on the air")
def chips():
    chips = [("E00401008A5C982E", "0014", "77"), ("E007000012345678", "0012", "71"), ("E002140012345678", "0021", "42"),
             ("E005400012345678", "000F", "6C"), ("E004030012345678", "0000", "63"), ("E016040012345678", "0000", "63")]
    with vicinity() as r:
        for n, (uid, name, tck) in enumerate(chips):
            if n == 0:
                r.sim("0 insert tag15693,uid=" + uid)
                atr = r.pc.wait_card(READER)[1]
            else:
                atr = r.swap("tag15693,uid=" + uid, reader=READER)
            same("ATR of " + uid, atr, h("3B 8F 80 01 80 4F 0C A0 00 00 03 06 0B" + name + "00 00 00 00" + tck))
            with r.card() as card:
                run(card, ("FF CA 00 00 00", bytes.fromhex(uid)[::-1].hex() + "90 00"),
                    ("FF CA F1 00 00", "0B" + name + "90 00"), ("FF CA FA 00 00", atr.hex() + "90 00"),
                    ("FF CA 01 00 00", "6A 81"), ("00 A4 04 00", "6E 00"))


ALL_FIFTEEN = [
    ("FF F6 01 00 01 00 00", "00" + UID + "90 00"),
    ("FF F6 01 10 02 00 00 00", "00" + UID + "90 00"),
    ("FF F6 01 20 01 00 00", "00" + UID + "90 00"),
    ("FF F6 20 00 01 0A 00", "00 00 00 00 90 00"),
    ("FF F6 20 40 01 0A 00", "00 00 00 00 00 90 00"),
    ("FF F6 21 00 05 0A 11 22 33 44", "90 00"),
    ("FF F6 21 01 05 0B 55 66 77 88", "90 00"),
    ("FF F6 23 00 02 0A 01 00", "11 22 33 44 55 66 77 88 90 00"),
    ("FF F6 23 40 02 0A 01 00", "00 11 22 33 44 00 55 66 77 88 90 00"),
    ("FF F6 24 00 0A 0C 01 99 AA BB CC DD EE FF 00", "90 00"),
    ("FF F6 24 00 16 09 05 01010101 02020202 03030303 04040404 05050505", "6A 80"),  # six blocks, it says: refused
    ("FF F6 24 00 16 0C 04 99AABBCC DDEEFF00 03030303 04040404 05050505", "90 00"),
    ("FF F6 22 00 01 0B", "90 00"),
    ("FF F6 2C 00 02 0A 02 00", "00 01 00 90 00"),
    ("FF F6 21 00 05 0B 00 00 00 00", "12 69 86"),
    ("FF F6 22 00 01 0B", "11 69 86"),
    ("FF F6 25 00", "90 00"),
    ("FF F6 20 02 01 0B 00", "55 66 77 88 90 00"),
    ("FF F6 26 02", "90 00"),
    ("FF F6 20 02 01 0B 00", "69 85"),
    ("FF F6 27 00 01 07", "90 00"),
    ("FF F6 29 00 01 11", "90 00"),
    ("FF F6 2B 00 00", "0F" + UID + "11 07 1B 03 01 90 00"),
    ("FF F6 28 00", "90 00"),
    ("FF F6 27 00 01 08", "12 69 86"),
    ("FF F6 28 00", "11 69 86"),
    ("FF F6 2A 00", "90 00"),
    ("FF F6 29 00 01 08", "12 69 86"),
    ("FF F6 02 00", "90 00"),
    ("FF F6 01 00 01 00 00", NOBODY),
    ("FF F6 20 01 01 0A 00", NOBODY),
    ("FF F6 20 00 01 0A 00", "11 22 33 44 90 00"),
    ("FF F6 26 00", "90 00"),
    ("FF F6 01 00 01 00 00", "11" + UID + "90 00"),
    ("FF F6 20 00 01 1C 00", "10 6A 82"),
]


@case("all fifteen commands by FF F6, addressed, not addressed and to the selected card, on both links")
def springcard():
    for link in LINKS:
        with vicinity(card=CARD, link=link) as r, r.card() as card:
            run(card, *ALL_FIFTEEN)
            same("block 0E", r.sim("0 mem read 14").replace(" ", ""), "03030303")


@case("the same on a reader whose front end cannot make the CRC")
def driver_crc():
    with vicinity("drivercrc", card=CARD) as r, r.card() as card:
        run(card, *ALL_FIFTEEN)
        r.wait_log("the driver makes it from now on")
        same("lines that say so", len(re.findall("the driver makes it from now on", r.log())), 1)


@case("all fifteen commands in Identiv's form")
def identiv():
    with vicinity(card=CARD) as r, r.card() as card:
        run(card, ("FF FC 00 00 02 01 00 00", "00" + UID + "90 00"), ("FF FC 00 00 06 21 0A 11 22 33 44", "90 00"),
            ("FF FC 00 00 02 20 0A 00", "11 22 33 44 90 00"), ("FF FC 00 00 0B 24 0B 01 01010101 02020202", "90 00"),
            ("FF FC 00 00 03 23 0A 02 00", "11 22 33 44 01010101 02020202 90 00"), ("FF FC 00 00 02 22 0A", "90 00"),
            ("FF FC 00 00 02 22 0A", "11 69 86"), ("FF FC 00 00 01 25", "90 00"), ("FF FC 00 00 01 26", "90 00"),
            ("FF FC 00 00 02 27 35", "90 00"), ("FF FC 00 00 02 29 36", "90 00"),
            ("FF FC 00 00 01 2B 00", "0F" + UID + "36 35 1B 03 01 90 00"),
            ("FF FC 00 00 03 2C 0A 01 00", "01 00 90 00"), ("FF FC 00 00 01 28", "90 00"), ("FF FC 00 00 01 2A", "90 00"), ("FF FC 00 00 02 29 37", "12 69 86"),
            ("FF FC 00 00 01 02", "90 00"), ("FF FC 00 00 02 01 00 00", NOBODY), ("FF FC 00 00 01 26", "90 00"))


@case("OMNIKEY's forms")
def omnikey():
    with vicinity(card=CARD) as r, r.card() as card:
        run(card, ("FF 30 00 02 05 01 00 00 00 0A", "90 00"), ("FF 30 00 03 05 01 00 00 00 0A 01", "01 90 00"),
            ("FF 30 00 03 05 01 00 00 00 0B 01", "00 90 00"), ("FF 30 00 02 05 01 00 00 00 0A", "69 86"),
            ("FF 30 00 02 05 01 00 00 00 40", "6A 82"), ("FF 30 00 01 04 01 02 00 07", "90 00"),
            ("FF 30 02 00 00", "07 90 00"), ("FF 30 00 01 04 01 03 00 5A", "90 00"), ("FF 30 03 00 00", "5A 90 00"),
            ("FF 30 04 00 00", "1B 03 90 00"), ("FF 30 05 00 00", "01 90 00"), ("FF 30 00 02 03 01 02 00", "90 00"),
            ("FF 30 00 02 03 01 03 00", "90 00"), ("FF 30 00 01 04 01 02 00 08", "69 86"),
            ("FF 30 00 01 04 01 03 00 08", "69 86"), ("FF 30 00 01 03 01 00 01", "90 00"),
            ("FF F6 01 00 01 00 00", NOBODY))


# ---- the transparent session ---------------------------------------------------------------------------------------


def object_of(frame):
    """The APDU that sends a frame, with the length bytes it takes."""
    data = h(frame)
    return "FF C2 00 01 %02X 95 %02X %s 00" % (len(data) + 2, len(data), data.hex())


def answer_of(frame):
    data = h(frame)
    return "C0 03 00 90 00 92 01 00 96 02 00 00 97 %02X %s 90 00" % (len(data), data.hex())


FRAMES = [
    ("26 01 00", "00 00" + UID), ("22 21" + UID + "0A 11223344", "00"), ("22 20" + UID + "0A", "00 11223344"),
    ("62 20" + UID + "0A", "00 00 11223344"), ("22 24" + UID + "0B 01 55667788 99AABBCC", "00"),
    ("22 23" + UID + "0A 02", "00 11223344 55667788 99AABBCC"), ("22 22" + UID + "0A", "00"),
    ("22 22" + UID + "0A", "01 11"), ("22 2C" + UID + "0A 01", "00 01 00"), ("22 25" + UID, "00"),
    ("12 20 0B", "00 55667788"), ("12 26", "00"), ("22 27" + UID + "35", "00"), ("22 29" + UID + "36", "00"),
    ("22 28" + UID, "00"), ("22 2A" + UID, "00"), ("22 27" + UID + "37", "01 12"),
    ("22 2B" + UID, "00 0F" + UID + "36 35 1B 03 01"),
]


@case("all fifteen commands by the transparent session, and as single frames")
def transparent():
    with vicinity(card=CARD) as r, r.card() as card:
        run(card, (object_of("02 2B"), "C0 03 01 69 85 90 00"), ("FF C2 00 00 02 81 00 00", "C0 03 00 90 00 90 00"),
            ("FF C2 00 02 04 8F 02 02 03", "C0 03 00 90 00 8F 01 00 90 00"))
        run(card, *((object_of(frame), answer_of(answer)) for frame, answer in FRAMES))
        quiet = h("22 02" + UID)
        run(card, ("FF C2 00 01 0C 93 0A" + quiet.hex() + "00", "C0 03 00 90 00 90 00"),
            (object_of("26 01 00"), "C0 03 01 64 01 90 00"), (object_of("22 26" + UID), answer_of("00")),
            (object_of("26 01 00"), answer_of("00 36" + UID)), ("FF C2 00 00 02 82 00 00", "C0 03 00 90 00 90 00"),
            ("FF FE 04 00 02 02 2B 00", "00 0F" + UID + "36 35 1B 03 01 90 00"))


@case("while a transparent session is open the card is left alone; when it ends its absence is noticed")
def left_alone():
    with vicinity(card=CARD) as r, r.card() as card:
        run(card, ("FF C2 00 00 02 81 00 00", "C0 03 00 90 00 90 00"),
            (object_of("02 2B"), answer_of("00 0F" + UID + "0000 1B 03 01")))
        asked, state = r.count("2C04"), r.pc.state(READER)[0]
        r.pc.change_or_not(READER, state & ~2, 2500)  # nothing is to happen: presence is asked once a second otherwise
        same("exchanges with the card", r.count("2C04"), asked)
        run(card, ("FF C2 00 00 02 82 00 00", "C0 03 00 90 00 90 00"))
        r.sim("0 remove")
        r.pc.wait_empty(READER)


@case("the recorded transcript of an ICODE SLI, APDU for APDU, the write included")
def transcript():
    with vicinity(card="tag15693,uid=E00401008A5C982E") as r:
        r.sim("0 mem write 0 00112233")
        with r.card() as card:
            run(card, ("FF C2 00 00 02 81 00 00", "C0 03 00 90 00 90 00"),
                ("FF C2 00 02 04 8F 02 02 03", "C0 03 00 90 00 8F 01 00 90 00"),
                ("FF C2 00 01 04 95 02 02 2B 00",
                 "C0 03 00 90 00 92 01 00 96 02 00 00 97 0F 00 0F 2E 98 5C 8A 00 01 04 E0 00 00 1B 03 01 90 00"),
                ("FF C2 00 01 05 95 03 42 20 00 00",
                 "C0 03 00 90 00 92 01 00 96 02 00 00 97 06 00 00 00 11 22 33 90 00"),
                ("FF C2 00 01 09 95 07 02 21 00 12 34 56 78 00", "C0 03 00 90 00 92 01 00 96 02 00 00 97 01 00 90 00"))
            same("block 0", r.sim("0 mem read 0").replace(" ", ""), "12345678")
            run(card, ("FF C2 00 01 10 5F 46 04 40 42 0F 00 95 07 02 21 00 00 01 02 03 00",
                       "C0 03 00 90 00 92 01 00 96 02 00 00 97 01 00 90 00"),
                ("FF C2 00 00 02 82 00 00", "C0 03 00 90 00 90 00"))
            same("block 0", r.sim("0 mem read 0").replace(" ", ""), "00010203")


# ---- errors --------------------------------------------------------------------------------------------------------


@case("the error codes of a card become their status words")
def errors():
    with vicinity(card=CARD) as r:
        with r.card() as card:
            run(card, ("FF F6 2B 40 00", "03 6A 81"), ("FF F6 20 00 01 1C 00", "10 6A 82"),
                ("FF F6 22 00 01 0A", "90 00"), ("FF F6 22 00 01 0A", "11 69 86"), ("FF F6 21 00 05 0A 01020304", "12 69 86"),
                ("FF FC 00 00 02 22 0A", "11 69 86"), ("FF D6 00 0A 04 01020304", "69 86"),
                ("FF 30 00 02 05 01 00 00 00 0A", "69 86"))
        r.swap(OTHER + ",program=13", reader=READER)
        with r.card() as card:
            before = r.count("2C04")
            run(card, ("FF F6 21 00 05 0A 11 22 33 44", "13 65 81"), ("FF FC 00 00 06 21 0A 11 22 33 44", "13 65 81"),
                ("FF D6 00 0A 04 11 22 33 44", "65 81"), ("FF F6 22 00 01 0A", "14 65 81"),
                ("FF 30 00 02 05 01 00 00 00 0A", "65 81"), ("FF F6 27 00 01 07", "13 65 81"))
            same("frames to the card", r.count("2C04") - before, 6)
        r.swap(THIRD + ",sysinfo=0,wm=0F", reader=READER)
        with r.card() as card:
            run(card, ("FF F6 2B 00 00", "01 6A 81"), ("FF F6 21 00 04 0A 11 22 33", "02 6A 81"),
                ("FF F6 24 00 06 0A 00 11 22 33 44", "0F 64 00"), ("FF 30 04 00 00", "6A 81"))


@case("a card without Write multiple is written block by block")
def no_write_multiple():
    data = bytes(range(1, 41)).hex()
    with vicinity() as r:
        for n, code in enumerate(("01", "0F")):
            if n == 0:
                r.sim("0 insert %s,wm=%s" % (CARD, code))
                r.pc.wait_card(READER)
            else:
                r.swap("%s,wm=%s" % (OTHER, code), reader=READER)
            with r.card() as card:
                run(card, ("FF F6 24 00 0A 00 01 11111111 22222222", code + ("6A 81" if code == "01" else "64 00")))
                before = r.count("2C04")
                run(card, ("FF D6 00 02 28" + data, "90 00"), ("FF B0 00 02 28", data + "90 00"))
                same("frames: one in vain, ten blocks, one read", r.count("2C04") - before, 12)
                before = r.count("2C04")
                run(card, ("FF D6 00 02 28" + data, "90 00"))
                same("frames, now that it is known", r.count("2C04") - before, 10)


# ---- a whole card --------------------------------------------------------------------------------------------------


@case("a whole card is dumped, written anew, and locked in part")
def whole():
    new = bytes((i * 7 + 1) & 0xFF for i in range(28 * 4))
    newer = bytes((i * 5 + 3) & 0xFF for i in range(28 * 4))
    with vicinity(card=CARD) as r, r.card() as card:
        run(card, ("FF B0 00 00 70", "00" * 112 + "90 00"), ("FF D6 00 00 70" + new.hex(), "90 00"),
            ("FF B0 00 00 70", new.hex() + "90 00"))
        for block in range(28):
            same("block %d in the card" % block, h(r.sim("0 mem read %d" % block)), new[4 * block:4 * block + 4])
        for block in (9, 20):
            run(card, ("FF F6 22 00 01 %02X" % block, "90 00"))
        run(card, ("FF F6 2C 00 02 00 1B 00", "00" * 9 + "01" + "00" * 10 + "01" + "00" * 7 + "90 00"),
            ("FF D6 00 00 70" + newer.hex(), "00 09 69 86"))
        same("what was written before it stopped", card.transmit("FF B0 00 00 70"),
             newer[:36] + new[36:] + b"\x90\x00")
        run(card, ("FF D6 00 0A 28" + newer[40:80].hex(), "90 00"), ("FF D6 00 14 04 01020304", "69 86"),
            ("FF D6 00 15 1C" + newer[84:].hex(), "90 00"))
        same("all but the locked blocks", card.transmit("FF B0 00 00 70"),
             newer[:36] + new[36:40] + newer[40:80] + new[80:84] + newer[84:] + b"\x90\x00")
        run(card, ("FF B0 00 1A 10", newer[104:].hex() + "62 82"), ("FF B0 00 1C 04", "6A 82"),
            ("FF D6 00 1B 08 0102030405060708", "6A 82"), ("FF B0 00 00 06", "6C 04"),
            ("FF D6 00 00 06 010203040506", "67 00"))


@case("a large card, one with blocks of eight bytes, one that does not tell its size")
def sizes():
    with vicinity(card="tag15693,blocks=256,blocksize=32") as r:
        with r.card() as card:
            data = bytes((i * 3 + i // 256) & 0xFF for i in range(8192))
            for at in range(0, 256, 7):
                part = data[32 * at:32 * at + 224]
                run(card, ("FF D6 00 %02X %02X" % (at, len(part)) + part.hex(), "90 00"))
            run(card, ("FF B0 00 00 00 20 00", data.hex() + "90 00"), ("FF B0 01 00 20", "6A 82"))
        r.swap(OTHER + ",blocks=80,blocksize=8", reader=READER)
        with r.card() as card:
            run(card, ("FF D6 00 00 08 0102030405060708", "90 00"), ("FF B0 00 00 00", "0102030405060708 90 00"),
                ("FF B0 00 00 04", "6C 08"), ("FF F6 21 00 05 00 01020304", "67 00"))
        r.swap(THIRD + ",sysinfo=0", reader=READER)
        with r.card() as card:
            run(card, ("FF F6 2B 00 00", "01 6A 81"), ("FF D6 00 00 08 0102030405060708", "90 00"),
                ("FF B0 00 00 08", "0102030405060708 90 00"), ("FF B0 00 1A 10", "00" * 8 + "62 82"))


# ---- several cards -------------------------------------------------------------------------------------------------


@case("three cards in the field: one is the slot's, all answer the inventory")
def three():
    with vicinity(card=[CARD, OTHER, THIRD]) as r, r.card() as card:
        all_three = "11" + OTHER_UID + "00" + UID + "22" + THIRD_UID
        mine = card.transmit("FF CA 00 00 00")[:8]
        assert mine in (h(UID), h(OTHER_UID), h(THIRD_UID)), mine
        run(card, ("FF F6 01 00 01 00 00", all_three + "90 00"), ("FF F6 01 20 01 00 00", all_three + "90 00"),
            ("FF F6 01 10 02 07 00 00", "22" + THIRD_UID + "90 00"), ("FF F6 01 10 02 09 00 00", NOBODY),
            ("FF F6 01 00 02 04 0D 00", "00" + UID + "22" + THIRD_UID + "90 00"),
            ("FF F6 01 00 02 08 2D 00", "22" + THIRD_UID + "90 00"),
            ("FF F6 01 00 03 0C 1D 0F 00", "00" + UID + "90 00"),
            ("FF F6 01 00 09 40" + OTHER_UID + "00", "11" + OTHER_UID + "90 00"))
        # Only the slot's card hears what is meant for it.
        run(card, ("FF F6 21 00 05 00 CAFECAFE", "90 00"))
        memories = sorted(r.sim("0 mem read 0 %d" % tag).replace(" ", "") for tag in range(3))
        same("block 0 of the three", memories, ["00000000", "00000000", "CAFECAFE"])
        run(card, ("FF F6 02 00", "90 00"))
        rest = card.transmit("FF F6 01 00 01 00 00")
        same("the others", len(rest), 2 * 9 + 2)
        assert mine not in rest
        run(card, ("FF F6 20 00 01 00 00", "CAFECAFE 90 00"), ("FF F6 26 00", "90 00"),
            ("FF F6 01 00 01 00 00", all_three + "90 00"))


@case("a card that is set quiet stays the slot's, and a power cycle wakes it")
def quiet():
    with vicinity(card=CARD) as r:
        with r.card() as card:
            run(card, ("FF F6 02 00", "90 00"))
            wait_count(r, "2C04", r.count("2C04") + 2)  # the driver has asked twice whether it is there
            run(card, ("FF F6 20 00 01 00 00", "00000000 90 00"), ("FF F6 01 00 01 00 00", NOBODY))
            card.reconnect(initialization=UNPOWER)
            run(card, ("FF F6 01 00 01 00 00", "00" + UID + "90 00"))


def wait_count(r, key, n, seconds=30):
    end = time.monotonic() + seconds
    while r.count(key) < n:
        if time.monotonic() > end:
            raise AssertionError("%s is %d after %d s" % (key, r.count(key), seconds))
        time.sleep(0.02)


@case("a card is swapped for another, fresh and in session")
def swapped():
    with vicinity(card=CARD) as r:
        r.pc.wait_card(READER)
        r.swap(OTHER, reader=READER)
        with r.card() as card:
            run(card, ("FF CA 00 00 00", OTHER_UID + "90 00"), ("FF F6 20 00 01 00 00", "00000000 90 00"))
            r.sim("0 swap " + THIRD)
            left = (SCARD_E_NO_SMARTCARD, SCARD_W_REMOVED_CARD, SCARD_W_RESET_CARD)
            fails(left, card.transmit, "FF F6 20 00 01 00 00")
            fails(left, card.transmit, "FF CA 00 00 00")
        with r.card() as card:
            run(card, ("FF CA 00 00 00", THIRD_UID + "90 00"))


@case("a card that leaves while its client is idle is missed, one that leaves in a command is told by it")
def removed():
    with vicinity(card=CARD) as r:
        with r.card() as card:
            run(card, ("FF F6 20 00 01 00 00", "00000000 90 00"))
            r.sim("0 remove")
            r.pc.wait_empty(READER)
        r.sim("0 insert same")
        with r.card() as card:
            run(card, ("FF F6 20 00 01 00 00", "00000000 90 00"))
            r.sim("0 fault remove at=2C04 exec=0")
            lost(r, card, "FF F6 21 00 05 00 01020304")
            r.pc.wait_empty(READER)


# ---- the setting ---------------------------------------------------------------------------------------------------


@case("iso15693 = off: nothing is ever sent for such cards")
def off():
    with vicinity(setting="off", card=CARD) as r:
        wait_count(r, "polls", r.count("polls") + 6)
        same("raw exchanges", r.count("2C04"), 0)
        assert not r.pc.state(READER)[0] & 0x20
        r.sim("0 remove")
        r.sim("0 insert mifare1k")
        r.pc.wait_card(READER)
        with r.card() as card:
            run(card, ("FF F6 2B 00 00", "6A 81"), ("FF FC 00 00 01 2B 00", "6A 81"), ("FF 30 04 00 00", "6A 81"))
    with vicinity(option="off", setting="off") as r:  # a reader that knows no such cards
        wait_count(r, "polls", r.count("polls") + 6)
        same("raw exchanges", r.count("2C04"), 0)


@case("iso15693 = auto: one inventory in a second, and the card is found")
def auto():
    with vicinity(setting="auto") as r:
        wait_count(r, "2C04", r.count("2C04") + 1)
        polls, raw = r.count("polls"), r.count("2C04")
        wait_count(r, "2C04", raw + 3)
        ratio = (r.count("polls") - polls) / 3
        assert 2 <= ratio <= 3.4, "%.1f polls for each inventory" % ratio
        r.sim("0 insert " + CARD)
        r.pc.wait_card(READER)
        with r.card() as card:
            run(card, ("FF CA 00 00 00", UID + "90 00"))


@case("iso15693 = auto and on with a reader that has no such cards: silence is no refusal")
def none_there():
    for setting in ("auto", "on"):
        with vicinity("off", setting=setting, card=CARD) as r:
            wait_count(r, "2C04", r.count("2C04") + 5)
            assert not r.pc.state(READER)[0] & 0x20
            assert "not asked for such cards again" not in r.log()
            r.sim("0 remove")
            r.sim("0 insert mifare1k")
            r.pc.wait_card(READER)
            with r.card() as card:
                run(card, ("FF F6 2B 00 00", "69 81"))


@case("iso15693 = auto: a reader that refuses raw exchange three times is not asked again; on asks on")
def refusing():
    for status in ("03", "05", "0B"):
        with vicinity(setting="auto") as r:
            r.sim("0 fault status=%s at=2C04 times=0" % status)
            r.wait_log("it is not asked for such cards again")
            raw, polls = r.count("2C04"), r.count("polls")
            wait_count(r, "polls", polls + 8)
            same("raw exchanges after that, status " + status, r.count("2C04"), raw)
            same("lines that say so", len(re.findall("not asked for such cards again", r.log())), 1)
            r.sim("0 fault clear")
            r.sim("0 insert mifare1k")  # all else goes on
            r.pc.wait_card(READER)
    with vicinity(setting="on") as r:
        r.sim("0 fault status=03 at=2C04 times=0")
        wait_count(r, "2C04", r.count("2C04") + 8)
        r.sim("0 fault clear")
        r.sim("0 insert " + CARD)
        r.pc.wait_card(READER)


@case("a card that the reader's own poll finds, by a type that nobody knows")
def own_poll():
    for kind in ("A5", "F5"):
        with vicinity(setting="auto", card=CARD, more="") as r:
            r.sim("0 remove")
            r.pc.wait_empty(READER)
            r.sim("0 option vicinitytype=" + kind)
            r.sim("0 insert " + CARD)
            r.pc.wait_card(READER)
            with r.card() as card:
                run(card, ("FF CA 00 00 00", UID + "90 00"), ("FF F6 21 00 05 0A 01020304", "90 00"),
                    ("FF B0 00 0A 04", "01020304 90 00"))


# ---- faults --------------------------------------------------------------------------------------------------------

SHORT = "command_wait = 400\nping_wait = 100\nresync_quiet = 20\nframe_gap = 60\nreader_cap = 4000\napdu_cap = 6000\n"
OVERHEAD = 16 + 5  # a frame's own bytes, the PCD status and the number of bits


def under(r, card, fault, command, answer):
    """A command while this fault waits for its exchange with the card."""
    before = r.count("faults")
    r.sim("0 " + fault)
    same("answer to %s, with %s" % (command, fault), card.transmit(command), h(answer))
    r.sim("0 fault clear")
    assert r.count("faults") > before, fault + " hit nothing"


def broken_answers(n):
    """Every fault at every byte of an answer with n bytes from the card."""
    for at in range(OVERHEAD + n):
        for kind in ("flip", "cut", "lose"):
            yield "fault %s=%d at=2C04" % (kind, at)
    for kind in ("badcrc", "drop", "half", "late"):
        yield "fault %s at=2C04" % kind


def broken(what, option="", seconds=500):
    """A case for each link."""
    def mark(function):
        for link in LINKS:
            def both(link=link):
                with vicinity(card=CARD + option, more=SHORT, link=link) as r, r.card() as card:
                    function(r, card)
            case("%s (%s)" % (what, link), seconds)(both)
        return function
    return mark


@broken("a read whose answer is broken at any byte, lost or late brings the right data")
def broken_reads(r, card):
    r.sim("0 mem write 10 A1B2C3D4")
    for fault in broken_answers(5):
        under(r, card, fault, "FF F6 20 00 01 0A 00", "A1B2C3D4 90 00")


@broken("a write whose answer is broken at any byte, lost or late is sent once and confirmed")
def broken_writes(r, card):
    for n, fault in enumerate(broken_answers(1)):
        data = "%08X" % (0x01020304 * (n + 1) & 0xFFFFFFFF)
        writes = r.count("writes")
        under(r, card, fault, "FF F6 21 00 05 0B" + data, "90 00")
        same("block 0B", r.sim("0 mem read 11").replace(" ", "").upper(), data)
        same("writes, with " + fault, r.count("writes") - writes, 1)
    # The command itself was lost: the card shows that nothing was written.
    before = r.sim("0 mem read 11")
    under(r, card, "fault drop at=2C04 exec=0", "FF F6 21 00 05 0B DEADBEEF", "65 81")
    same("block 0B", r.sim("0 mem read 11"), before)
    run(card, ("FF F6 21 00 05 0B DEADBEEF", "90 00"))


@broken("a lock whose answer is broken at any byte, lost or late is sent once and confirmed", ",blocks=256")
def broken_locks(r, card):
    # A lock that is sent again is refused by the card (11), so 90 00 shows that it was not.
    faults = list(broken_answers(1))
    for block, fault in enumerate(faults):
        under(r, card, fault, "FF F6 22 00 01 %02X" % block, "90 00")
        run(card, ("FF F6 2C 00 02 %02X 00 00" % block, "01 90 00"))
    under(r, card, "fault drop at=2C04 exec=0", "FF F6 22 00 01 F0", "65 81")
    run(card, ("FF F6 2C 00 02 F0 00 00", "00 90 00"))


@case("a card that takes its time to write gets it; one that takes too long is asked")
def slow():
    for wait in (20, 150):
        with vicinity(card=CARD + ",writems=%d" % wait) as r, r.card() as card:
            before = r.count("2C04")
            run(card, ("FF F6 21 00 05 0A 01020304", "90 00"))
            same("exchanges, writing taking %d ms" % wait, r.count("2C04") - before, 1 if wait < 100 else 2)
            run(card, ("FF F6 22 00 01 0A", "90 00"), ("FF F6 2C 00 02 0A 00 00", "01 90 00"),
                ("FF D6 00 0B 08 0102030405060708", "90 00"), ("FF B0 00 0B 08", "0102030405060708 90 00"))


# ---- examples ------------------------------------------------------------------------------------------------------


def scriptor(r, name):
    """Runs an example; returns the answers, in hex, and their number of commands."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", name + ".scriptor")
    with open(path) as f:
        commands = [line for line in f if re.match(r"^FF ", line)]
    r.pc.wait_card(READER)
    out = r.run("scriptor", "-r", READER, path)
    # An answer may go over several lines; " : " and what it means stand at its end.
    answers = re.findall(r"^< ((?:[0-9A-F]{2}\s+)+): ", out, flags=re.M)
    same("answers of " + name, len(answers), len(commands))
    return ["".join(a.split()) for a in answers]


def plain(text):
    return text.replace(" ", "").upper()


@case("the examples do what they say, with scriptor")
def examples():
    with vicinity(card=CARD) as r:
        same("dump", scriptor(r, "vicinity-dump"),
             [plain(a) for a in (UID + "9000", "0B 00 14 90 00", "0F" + UID + "00 00 1B 03 01 90 00",
                                 "00" * 112 + "9000", "00" * 5 + "9000", "00" * 28 + "9000")])
        same("write", scriptor(r, "vicinity-write"),
             ["9000", "112233449000", "9000", "5566778899AABBCCDDEEFF009000", "9000", "010203049000", "9000",
              "10101010202020209000"])
        same("lock", scriptor(r, "vicinity-lock"),
             ["9000", "9000", "019000", "126986", "4C4F434B9000", "9000", "019000"])
        same("AFI", scriptor(r, "vicinity-afi"),
             [plain(a) for a in ("9000", "9000", "0F" + UID + "11 35 1B 03 01 90 00", "9000", "07 9000",
                                 "11" + UID + "9000", "6401")])
        r.sim("0 insert " + OTHER)
        both, mine = plain("11" + OTHER_UID + "11" + UID), plain("11" + UID)
        same("inventory", scriptor(r, "vicinity-inventory"),
             [both + "9000", mine + "9000", "9000", plain("11" + OTHER_UID) + "9000",
              plain("0F" + UID + "11 07 1B 03 01") + "9000", "9000", both + "9000"])


rig.main()
