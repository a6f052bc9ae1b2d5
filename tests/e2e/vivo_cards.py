# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every type of card that a ViVOpay reader tells of: the ATR byte for byte, the name that pcsc_scan gives it, the UID;
cards that are two in one; cards that change faster than anybody looks."""
import os
import re
import shutil
import subprocess
import time

import rig
import winscard
from rig import case, fails, h, lost, same
from vivo import ADD, COUNTER, EIGHT, GET_8, LINKS, ON_HID, ON_SERIAL, UID, Neo, number
from winscard import SCARD_E_NO_SMARTCARD, T1


def storage(ss, nn, tck):
    return h("3B 8F 80 01 80 4F 0C A0 00 00 03 06 %s %s 00 00 00 00 %s" % (ss, nn, tck))


CLASSIC_1K = storage("03", "00 01", "6A")
CLASSIC_4K = storage("03", "00 02", "69")
ULTRALIGHT = storage("03", "00 03", "68")
MINI = storage("03", "00 26", "4D")
UNKNOWN_A = storage("03", "00 00", "6B")
UNKNOWN_B = storage("07", "00 00", "6F")
TOPAZ = storage("03", "00 30", "5B")
FELICA = storage("11", "00 3B", "42")
PLAIN = h("3B 80 80 01 01")  # ISO 14443-4, nothing known
ECHO = h("3B 84 80 01 45 43 48 4F 04")
DESFIRE = h("3B 81 80 01 80 80")

# Card, ATR, what pcsc_scan says of it, UID.
CARDS = [
    ("mifare1k", CLASSIC_1K, "MIFARE Classic 1K", "01 02 03 04"),
    ("mifare1k,uid=04010203040506", CLASSIC_1K, "MIFARE Classic 1K", "04 01 02 03 04 05 06"),
    ("mifare4k,uid=01020305", CLASSIC_1K, "MIFARE Classic 1K", "01 02 03 05"),  # nothing tells, unless it is asked
    ("ultralight", ULTRALIGHT, "MIFARE Ultralight", "04 11 22 33 44 55 66"),
    ("ntag,uid=04112233445567", ULTRALIGHT, "MIFARE Ultralight", "04 11 22 33 44 55 67"),
    ("typea", UNKNOWN_A, "Card name not given", "04 A1 B2 C3 D4 E5 F6"),
    ("typea,uid=01020304050607080910", UNKNOWN_A, "Card name not given", "01 02 03 04 05 06 07 08 09 10"),
    ("typeb", UNKNOWN_B, "ISO 14443 Type B Part 3", "11 22 33 44"),
    ("desfire", DESFIRE, "DESFire", "04 A1 B2 C3 D4 E5 F6"),
    ("iso:echo-t1", ECHO, None, "04 A1 B2 C3 D4 E5 F6"),
    ("iso:echo-t1,ats=0C78807002C1052F2F0035C7", h("3B 87 80 01 C1 05 2F 2F 00 35 C7 30"), "MIFARE Plus",
     "04 A1 B2 C3 D4 E5 F6"),
    ("iso:echo-t1,ats=0E788070024A434F503431563231,uid=04A1B2C3",
     h("3B 89 80 01 4A 43 4F 50 34 31 56 32 31 4E"), None, "04 A1 B2 C3"),
    ("iso:pboc-cl", PLAIN, None, "04 A1 B2 C3 D4 E5 F6"),
    ("isob:echo-t1", PLAIN, None, "11 22 33 44"),
    ("dual:echo-t1", ECHO, None, "01 02 03 04"),
]


class Scan:
    """pcsc_scan, running. It would look for a newer list of cards in the network, so that it gets a home of its own
    with the packaged list."""

    def __init__(self):
        home = rig.base + "/home"
        os.makedirs(home + "/.cache", exist_ok=True)
        shutil.copy("/usr/share/pcsc/smartcard_list.txt", home + "/.cache")
        self.path = rig.base + "/scan"
        env = dict(os.environ, HOME=home, XDG_CACHE_HOME=home + "/.cache")
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(["pcsc_scan"], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def said(self):
        with open(self.path, errors="replace") as f:
            return re.sub(r"\x1b\[[0-9;]*m", "", f.read())

    def wait(self, atr, name):
        """Waits until it has shown this ATR after all that it has shown before, and the name of the card."""
        end = time.monotonic() + 20
        while True:
            seen = self.said()[self.at:] if hasattr(self, "at") else self.said()
            shown = seen.find("ATR: " + atr.hex(" ").upper())
            if shown >= 0 and name.lower() in seen[shown:].lower():
                return
            running = time.monotonic() < end and self.process.poll() is None
            assert running, "no %s of %s in: %s" % (name, atr.hex(" "), seen)
            time.sleep(0.02)

    def forget(self):
        self.at = len(self.said())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


@case("every type on both links: the ATR byte for byte, the UID, and pcsc_scan's name for it")
def types():
    with Neo("serial", "", "neo:link=hid", settings="poll_time = 50") as r, Scan() as scan:
        both = ((0, ON_SERIAL), (1, ON_HID))
        for n, (card, atr, name, uid) in enumerate(CARDS):
            scan.forget()
            before = [r.changes(reader) for _, reader in both]
            for i, _ in both:
                r.sim("%d swap %s" % (i, card))
            for (_, reader), changes in zip(both, before):
                r.wait_changes(changes + (2 if n else 1), reader)
                same("ATR of " + card, r.pc.wait_card(reader)[1], atr)
                with r.connect(reader=reader) as c:
                    same("UID of " + card, c.transmit(UID), h(uid) + b"\x90\x00")
                    same("ATR attribute of " + card, c.attribute(winscard.ATTR_ATR), atr)
            if name:
                scan.wait(atr, name)


# ---- what the reader or the configuration changes -------------------------------------------------------------------


@case("the ATS: in either layout, cut after 15 historical bytes, and nothing invented where there is none")
def ats():
    sixteen = "".join("%02X" % (0x40 + n) for n in range(16))
    # An ATS that is its length byte alone: the answer could be a UID of ten bytes as well, so neither is believed.
    for model, card, atr, known in (("2c0e=b", "iso:echo-t1", ECHO, True), ("2c0e=off", "iso:echo-t1", PLAIN, False),
                                    ("generation=neo1", "iso:echo-t1", PLAIN, False),
                                    ("2c0e=off", "desfire", PLAIN, False),
                                    ("", "iso:echo-t1,ats=1208" + sixteen, with_history(h(sixteen)[:15]), True),
                                    ("", "iso:echo-t1,ats=01", PLAIN, False), ("", "iso:echo-t1,ats=0200", PLAIN, True),
                                    ("", "isob:echo-t1,uid=07A1B2C3", PLAIN, False)):
        with Neo("hid", model, settings="poll_time = 50") as r:
            same("ATR of %s, %s" % (card, model), r.put(card), atr)
            with r.connect() as c:
                if card != "desfire":
                    same("an APDU", c.transmit(GET_8), EIGHT)
                # FF CA 01: the whole ATS, or that there is none to be had.
                whole = c.transmit("FF CA 01 00 00")
                same("ATS or none", whole[-2:], h("90 00" if known else "6A 81"))


def with_history(history):
    atr = bytes([0x3B, 0x80 + len(history), 0x80, 0x01]) + history
    tck = 0
    for byte in atr[1:]:
        tck ^= byte
    return atr + bytes([tck])


@case("type 07 is a smart card; with prefer = mifare it is a MIFARE; on strict readers and loose ones")
def both():
    for link in LINKS:
        for dual in ("strict", "loose"):
            with Neo(link, "dual=" + dual) as r:
                same("ATR", r.put("dual:echo-t1"), ECHO)
                with r.connect() as card:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    same("UID", card.transmit(UID), h("01 02 03 04 90 00"))
            with Neo(link, "dual=" + dual, settings="prefer = mifare") as r:
                same("ATR", r.put("dual:echo-t1"), CLASSIC_1K)
                with r.connect() as card:
                    same("load key", card.transmit("FF 82 00 00 06 FF FF FF FF FF FF"), h("90 00"))
                    same("authenticate", card.transmit("FF 86 00 00 05 01 00 04 60 00"), h("90 00"))
                    same("read", card.transmit("FF B0 00 04 10"), bytes(16) + b"\x90\x00")
                    same("an APDU", card.transmit(GET_8), h("6E 00"))
                    same("SELECT", card.transmit("00 A4 04 00"), h("6E 00"))
                same("APDUs that the card has seen", r.count("executions"), 0)


@case("FeliCa and Topaz: found with felica = on, and not otherwise")
def felica():
    lying = ((0, ON_SERIAL, "felica", FELICA, "01 2E 3D 4C 5B 6A 79 88"), (1, ON_HID, "topaz", TOPAZ, "01 02 03 04"))
    with Neo("serial", "", "neo:link=hid", settings="felica = on\npoll_time = 50") as r:
        for i, _, card, _, _ in lying:
            r.sim("%d insert %s" % (i, card))
        for i, reader, card, atr, uid in lying:
            same("ATR of " + card, r.pc.wait_card(reader)[1], atr)
            with r.connect(reader=reader) as c:
                same("UID of " + card, c.transmit(UID), h(uid) + b"\x90\x00")
                same("an APDU", c.transmit(GET_8), h("6E 00"))
        # Nothing was sent to them: they are polled as ever, by what found them, and stay as long as they lie there.
        asked = [r.count("2C40", i) for i in (0, 1)]
        for i, reader, *_ in lying:
            r.until("2C40=%d" % (asked[i] + 2), "count", reader=i)
            same("changes", r.changes(reader), 1)
            r.sim("%d remove" % i)
        for _, reader, *_ in lying:
            r.pc.wait_empty(reader)
    with Neo("serial", settings="poll_time = 20") as r:
        r.sim("0 insert felica")
        r.until("polls=%d" % (r.count("polls") + 8), "count")
        same("changes", r.changes(), 0)
        same("2C-40", r.count("2C40"), 0)


@case("sak_probe = on: 4K and Mini by name, SAK and ATQA for who asks; off: neither is sent a raw frame")
def sak():
    for link in LINKS:
        with Neo(link, settings="sak_probe = on\npoll_time = 50") as r:
            for card, atr, tell, atqa in (("mifare1k", CLASSIC_1K, "08", "04 00"),
                                          ("mifare4k", CLASSIC_4K, "18", "02 00"),
                                          ("mini", MINI, "09", "04 00"), ("ultralight", ULTRALIGHT, "00", "44 00")):
                same("ATR of " + card, r.put(card), atr)
                with r.connect() as c:
                    same("SAK of " + card, c.transmit("FF CA 02 00 00"), h(tell + "90 00"))
                    same("ATQA of " + card, c.transmit("FF CA 03 00 00"), h(atqa + "90 00"))
                    if card == "mifare4k":   # the probe has left the card usable
                        same("load key", c.transmit("FF 82 00 00 06 FF FF FF FF FF FF"), h("90 00"))
                        same("authenticate", c.transmit("FF 86 00 00 05 01 00 F0 60 00"), h("90 00"))
                        c.disconnect(winscard.UNPOWER)   # or its removal would show at the next command only
                r.take()
    with Neo("hid") as r:
        r.put("mifare4k")
        with r.connect() as c:
            same("SAK", c.transmit("FF CA 02 00 00"), h("6A 81"))
        same("raw frames", r.count("2C04"), 0)


# ---- cards that change ----------------------------------------------------------------------------------------------


@case("a random UID, and a type B PUPI: not another card at each poll, and told as it is now")
def random_uid():
    for card, start in (("iso:echo-t1,random=1", "08"), ("isob:echo-t1,random=1", "")):
        with Neo("serial", settings="poll_time = 20") as r:
            r.put(card)
            polled(r, 6)   # the fresh card is, and has another UID each time
            same("changes", r.changes(), 1)
            with r.connect() as c:
                uid = c.transmit(UID)
                same("length and SW of the UID", (len(uid), uid[-2:]), (6, b"\x90\x00"))
                same("start of the UID", uid[:len(h(start))], h(start))
                same("an APDU", c.transmit(GET_8), EIGHT)
                now = r.count("activations")
                same("UID in session", c.transmit(UID), c.transmit(UID))
                same("activations by that", r.count("activations"), now)
            same("changes", r.changes(), 1)


@case("two cards swapped quickly: the last one is there, with its own ATR and UID")
def swapped():
    for link in LINKS:
        with Neo(link) as r:
            r.put("mifare1k")
            for last, atr, uid in (("ultralight", ULTRALIGHT, "04 11 22 33 44 55 66"),
                                   ("mifare1k", CLASSIC_1K, "01 02 03 04"),
                                   ("iso:echo-t1", ECHO, "04 A1 B2 C3 D4 E5 F6")):
                before = r.changes()
                for quick in ("typea", "mifare1k,uid=0A0B0C0D", last):
                    r.sim("0 swap " + quick)
                r.wait_changes(before + 2)
                same("ATR", r.pc.wait_card(r.name)[1], atr)
                with r.connect() as card:
                    same("UID", card.transmit(UID), h(uid) + b"\x90\x00")


@case("a card swapped under a client's session: no card, and never an answer of the other one")
def swapped_in_session():
    for link in LINKS:
        with Neo(link) as r:
            r.put("iso:echo-t1,start=1")
            for n in range(3):
                with r.connect() as card:
                    value = int.from_bytes(card.transmit(COUNTER)[:4], "big")
                    same("add", card.transmit(ADD), number(value + 1))
                    before = r.changes()
                    start = 100 * (n + 1)
                    r.sim("0 swap iso:echo-t1,start=%d,uid=0%dA1B2C3D4E5F6" % (start, n + 5))
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    r.wait_changes(before + 2)
                    lost(r, card, ADD)
                with r.connect() as card:
                    same("the new card's counter", card.transmit(COUNTER), number(start))


def polled(r, times=1):
    """Waits until the card was activated so often from now on."""
    r.until("activations=%d" % (r.count("activations") + times), "count")


@case("a card put back within a poll: to an unused one nothing happened; a session is lost, and told so")
def put_back():
    for link in LINKS:
        with Neo(link) as r:
            r.put("iso:echo-t1,start=7")
            for _ in range(3):
                r.sim("0 remove")
                r.sim("0 insert same")
            polled(r)
            with r.connect() as card:
                same("changes", r.changes(), 1)
                same("the counter", card.transmit(COUNTER), number(7))
                for _ in range(2):
                    before = r.changes()
                    r.sim("0 remove")
                    r.sim("0 insert same")
                    # Its power was away: it is at the start of its life again, and the client has to hear of it.
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    r.wait_changes(before + 2)
                    lost(r, card, ADD)
                    card.reconnect(protocols=T1)
                    same("the counter", card.transmit(COUNTER), number(7))
            r.works()


rig.main()
