# SPDX-License-Identifier: LGPL-2.1-or-later
"""Presence at a ViVOpay reader: it is polled only as often as promised, a session is never disturbed, a removal shows
in the call that meets it, and power-down takes the field away."""
import time

import rig
import winscard
from rig import Background, case, fails, h, lost, same
from vivo import ADD, COUNTER, EIGHT, GET_8, LINKS, UID, Neo, number
from winscard import SCARD_E_NO_SMARTCARD, SCARD_W_RESET_CARD, STATE_EMPTY, STATE_PRESENT, T1

CARD = "iso:echo-t1"
LEFT_ALONE = 11     # seconds: beyond pcscd's five, and beyond the ten of the promise


# ---- left alone for eleven seconds ----------------------------------------------------------------------------------


class Left:
    """A reader in a large rig, what it is left with, and what must be so afterwards."""

    def __init__(self, model, port=None, options="", card=None):
        self.model, self.port, self.options, self.card = model, port, options, card

    def count(self, key):
        return self.r.count(key, self.index)

    def begin(self):
        pass

    def end(self, seconds):
        pass

    def frames(self, seconds, most):
        sent = self.count("commands") - self.sent
        assert sent <= most * seconds + most, "%s: %d frames in %.1f s" % (self.model, sent, seconds)
        return sent


class Empty(Left):
    """Polled back to back by 250 ms polls: four frames a second at the most, and found at once."""

    def end(self, seconds):
        assert self.frames(seconds, 4) >= 8, "it is hardly polled at all"
        same("events", self.r.pc.state(self.reader)[0] >> 16, 0)
        self.r.put(CARD, self.reader, self.index)
        self.r.works(self.reader)


class Unused(Left):
    """A card without a client: no removals, no insertions, four frames a second, and a client gets it afterwards."""

    def begin(self):
        self.atr = self.r.pc.wait_card(self.reader)[1]

    def end(self, seconds):
        self.frames(seconds, 4)
        same("events of " + self.card, self.r.pc.state(self.reader)[0] >> 16, 1)
        with self.r.connect(reader=self.reader) as card:
            same("ATR", card.status()[2], self.atr)
            same("UID's SW", card.transmit(UID)[-2:], b"\x90\x00")
        same("events of " + self.card, self.r.pc.state(self.reader)[0] >> 16, 1)


class Session(Left):
    """A session that pauses: not one frame, and it goes on where it was."""

    def begin(self):
        self.r.pc.wait_card(self.reader)
        self.context = winscard.Context()
        self.client = self.context.connect(self.reader)
        self.first()
        self.sent, self.activated = self.count("commands"), self.count("activations")

    def first(self):
        same("the counter", self.client.transmit(ADD), number(1))

    def then(self):
        same("the counter", self.client.transmit(ADD), number(2))

    def silent(self):
        same("frames during the pause", self.count("commands") - self.sent, 0)

    def end(self, seconds):
        self.silent()
        self.then()
        same("activations", self.count("activations"), self.activated)
        same("events", self.r.pc.state(self.reader)[0] >> 16, 1)
        self.client.disconnect()


class Storage(Session):
    """A MIFARE card whose sector is authenticated stays so."""

    def first(self):
        same("key", self.client.transmit("FF 82 00 00 06 FF FF FF FF FF FF"), h("90 00"))
        same("authenticate", self.client.transmit("FF 86 00 00 05 01 00 04 60 00"), h("90 00"))

    def then(self):
        same("read", self.client.transmit("FF B0 00 04 10"), bytes(16) + b"\x90\x00")

    def silent(self):
        assert self.count("commands") - self.sent <= LEFT_ALONE + 2, "asked too often"


class Asked(Session):
    """With presence_check = rnak: asked, but not disturbed; and its removal shows although the client is idle."""

    def begin(self):
        super().begin()
        self.asked = self.count("2C04")     # an empty field was asked for ISO 15693 cards so

    def silent(self):
        asked = self.count("2C04") - self.asked
        assert 2 <= asked <= LEFT_ALONE, "asked %d times" % asked
        same("other frames", self.count("commands") - self.sent, 2 * asked)     # 2C-05 tells how to ask

    def end(self, seconds):
        super().end(seconds)
        other = self.context.connect(self.reader)
        same("an APDU", other.transmit(GET_8), EIGHT)
        self.r.sim("%d remove" % self.index)
        self.r.pc.wait_empty(self.reader, 10)
        lost(self.r, other, GET_8)


class Shared(Left):
    """A contact card in session beside an empty field: the field is polled once a second, for a moment."""

    def begin(self):
        self.r.sim("%d icc insert echo-t1" % self.index)
        name = self.reader[:-2] + "01"
        self.r.pc.wait_card(name)
        self.context = winscard.Context()
        self.client = self.context.connect(name)
        same("the counter", self.client.transmit(ADD), number(1))
        self.sent, self.on = self.count("commands"), self.count("icc_activations")

    def end(self, seconds):
        assert self.frames(seconds, 1.5) >= 4, "the field is not polled"
        same("the counter", self.client.transmit(ADD), number(2))
        same("activations of the contact card", self.count("icc_activations"), self.on)
        self.r.put(CARD, self.reader, self.index)       # and a card in the field is still found
        with self.r.connect(reader=self.reader) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
        same("the counter", self.client.transmit(ADD), number(3))
        self.client.disconnect()


class TwoSlots(Left):
    """Field and contact slot empty, a SAM beside them: four frames a second in all."""

    def end(self, seconds):
        self.frames(seconds, 4)
        assert self.count("2C12") >= 4, "the contact slot is not asked"


@case("eleven seconds alone: four frames a second at most, no storm with a random UID, sessions are not disturbed")
def alone():
    serial, hid = "neo:tty=ttyUSB%d,serial=S%d", "neo:link=hid,serial=H%d"
    all_ = [Empty(serial, 0, "slots=cl"), Unused(serial, 1, "slots=cl", CARD + ",random=1"),
            Session(serial, 2, "slots=cl", CARD), TwoSlots(serial, 3, "slots=cl.icc.sam1"),
            Shared(serial, 4, "slots=cl.icc"), Empty(hid), Unused(hid, card="mifare1k"),
            Unused(hid, card="isob:echo-t1,random=1"), Session(hid, card="iso:echo-t1,random=1"),
            Storage(hid, card="mifare1k"), Asked(serial, 10, "presence_check=rnak", CARD)]
    ports = {"Reader %d" % x.port: "/dev/ttyUSB%d:%s" % (x.port, x.options) for x in all_ if x.port is not None}
    models = [x.model % (i if x.port is None else (x.port, i)) for i, x in enumerate(all_)]
    with rig.Rig(*models, serial=ports, wait=14) as r:
        names = r.pc.readers()
        r.put = lambda card, reader, index: (r.sim("%d insert %s" % (index, card)), r.pc.wait_card(reader))
        r.works = lambda reader: Background(use, r, reader).result()
        for i, x in enumerate(all_):
            x.r, x.index = r, i
            part = "Reader %d " % x.port if x.port is not None else "(H%d)" % i
            x.reader = [n for n in names if part in n and n.endswith(" 00")][0]
            if x.card:
                r.sim("%d insert %s" % (i, x.card))
        for x in all_:
            x.begin()
        start = time.monotonic()
        for x in all_:
            x.sent = x.count("commands")
        # Nothing may happen, so there is nothing to wait for but the time.
        time.sleep(LEFT_ALONE)
        wrong = []
        for x in all_:
            try:
                x.end(time.monotonic() - start)
            except (AssertionError, winscard.Failed) as e:
                wrong.append("%s %s: %s" % (type(x).__name__, x.reader, e))
        assert not wrong, "; ".join(wrong)


def use(r, reader):
    with r.connect(reader=reader) as card:
        same("an APDU", card.transmit(GET_8), EIGHT)


# ---- removal --------------------------------------------------------------------------------------------------------


@case("a card taken out of a session: the next APDU says so itself, the slot is empty at once, and works again")
def removed():
    for link in LINKS:
        with Neo(link) as r:
            for n in range(3):
                r.put("iso:echo-t1,start=%d" % (10 * n))
                with r.connect() as card:
                    same("the counter", card.transmit(ADD), number(10 * n + 1))
                    r.sim("0 remove")
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    state = r.pc.state(r.name)[0]
                    assert state & STATE_EMPTY and not state & STATE_PRESENT, "%08X" % state
                    lost(r, card, ADD)
                r.pc.wait_empty(r.name)


@case("a card taken away in mid APDU: the same, and the APDU ran once or not at all")
def removed_in_apdu():
    for link in LINKS:
        with Neo(link) as r:
            r.put(CARD)
            value = 0
            for executed in (0, 1):
                with r.connect() as card:
                    same("the counter", card.transmit(COUNTER), number(value))
                    r.sim("0 fault remove at=2C03 exec=%d" % executed)
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    r.pc.wait_empty(r.name)
                    r.sim("0 insert same")
                    r.pc.wait_card(r.name)
                    lost(r, card, ADD)
                with r.connect() as card:
                    now = int.from_bytes(card.transmit(COUNTER)[:4], "big")
                    assert now - value in (0, executed), (value, now)
                    value = now


@case("a card that refuses to answer once and is still there: its session is lost, and told so")
def mute_once():
    for link in LINKS:
        for status in ("08", "0A"):
            with Neo(link) as r:
                r.put(CARD)
                with r.connect() as card:
                    same("the counter", card.transmit(ADD), number(1))
                    before = r.changes()
                    r.sim("0 fault status=%s at=2C03" % status)
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    r.wait_changes(before + 2)
                    lost(r, card, ADD)
                with r.connect() as card:
                    same("the counter", card.transmit(COUNTER), number(1))


@case("a fresh card that misses one poll is still there; after two it is gone")
def misses():
    for link in LINKS:
        with Neo(link, settings="poll_time = 20") as r:
            r.put(CARD)
            for n in (1, 2):
                polls, before = r.count("2C0E"), r.changes()
                r.sim("0 fault status=08 at=2C0E times=%d" % n)
                r.until("2C0E=%d" % (polls + n + 3), "count")
                if n == 1:
                    same("changes after one miss", r.changes(), before)
                else:
                    r.wait_changes(before + 2)
            r.works()


@case("insertions and removals faster than anybody looks end in the true state")
def level():
    for link in LINKS:
        with Neo(link) as r:
            for last in ("insert " + CARD, "remove", "insert mifare1k", "remove"):
                for _ in range(10):
                    r.sim("0 insert " + CARD) if last != "remove" else r.sim("0 remove")
                    r.sim("0 remove") if last != "remove" else r.sim("0 insert typea")
                r.sim("0 " + last)
                if last == "remove":
                    r.pc.wait_empty(r.name)
                else:
                    with r.connect() as card:
                        uid = "04 A1 B2 C3 D4 E5 F6" if CARD in last else "01 02 03 04"
                        same("UID", card.transmit(UID)[:-2], h(uid))


@case("a card is found by the poll that runs when it comes")
def found():
    for link in LINKS:
        with Neo(link, settings="poll_time = 5000\nreader_cap = 20000") as r:
            r.until("polling=1", "state")
            polls = r.count("polls")
            r.put(CARD)
            assert r.count("polls") - polls <= 1, "%d polls" % (r.count("polls") - polls)
            r.works()


# ---- power ----------------------------------------------------------------------------------------------------------


@case("power-down takes the field from the card, for as long as it is said, and polling resumes")
def power_down():
    for link in LINKS:
        with Neo(link, settings="rf_off = 600\npoll_time = 50") as r:
            r.put(CARD)
            with r.connect() as card:
                same("the counter", card.transmit(ADD), number(1))
                off = r.count("2801")
                card.disconnect(winscard.UNPOWER)
            r.until("rf=0", "state")
            begin = time.monotonic()
            same("antenna commands", r.count("2801"), off + 1)
            r.until("rf=1", "state")
            took = time.monotonic() - begin
            assert took > 0.4, "the field came back after %.3f s" % took    # a busy machine makes it longer only
            with r.connect() as card:
                same("the counter", card.transmit(COUNTER), number(1))
            same("changes", r.changes(), 1)


@case("a reset begins the card's life anew, and the other client is told; no removal")
def reset():
    for link in LINKS:
        with Neo(link) as r:
            r.put("iso:pboc-cl")
            select = "00 A4 04 00 08 A0 00 00 03 33 01 01 01 00"
            with r.connect() as a, r.connect() as b:
                for how in (winscard.RESET, winscard.UNPOWER):
                    same("SELECT", a.transmit(select)[-2:], b"\x90\x00")
                    same("balance", a.transmit("80 CA 9F 79 00")[-2:], b"\x90\x00")
                    a.reconnect(initialization=how)
                    same("balance after a reset", a.transmit("80 CA 9F 79 00"), h("69 85"))
                    fails(SCARD_W_RESET_CARD, b.transmit, select)
                    b.reconnect(protocols=T1)
            same("changes", r.changes(), 1)


@case("a client that stays connected keeps the card; the last one that goes leaves it its five seconds")
def grace():
    with Neo("serial", settings="rf_off = 600\npoll_time = 50") as r:  # (off for long enough to be seen)
        r.put(CARD)
        with r.connect() as card:
            same("the counter", card.transmit(ADD), number(1))
        begin = time.monotonic()
        r.until("rf=0", "state", 20)
        took = time.monotonic() - begin
        assert took > 3.5, "powered down after %.1f s: the poller returned early" % took
        same("changes", r.changes(), 1)
        r.works()


rig.main()
