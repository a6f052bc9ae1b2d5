# SPDX-License-Identifier: LGPL-2.1-or-later
"""The line between the driver and a ViVOpay reader, broken in every way that the protocol knows: the client gets the
right answer or an error, no answer is ever taken for another's, no command runs twice, and the next exchange is
right."""
import binascii

import rig
import winscard
from rig import Background, case, fails, h, lost, same
from vivo import ADD, COUNTER, EIGHT, GET_8, LINKS, ON_HID, ON_SERIAL, QUICK, Neo, number
from winscard import SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED, SCARD_W_REMOVED_CARD

CARD = "iso:echo-t1"
SHORT = QUICK.replace("apdu_cap = 1500", "apdu_cap = 800").replace("ping_wait = 200", "ping_wait = 100")


class Client:
    """One connection and what it knows of its card."""

    def __init__(self, r, reader, index=0):
        self.r, self.reader, self.index = r, reader, index
        self.context = winscard.Context()
        self.context.wait_card(reader)
        self.card = self.context.connect(reader)
        self.value = int.from_bytes(self.card.transmit(COUNTER)[:4], "big")

    def sim(self, request):
        with lock:
            return self.r.sim("%d %s" % (self.index, request))

    def add(self, what, must=None):
        """An APDU that counts: its answer is right, or it is an error. must: "work" or "fail"."""
        try:
            answer = self.card.transmit(ADD)
        except winscard.Failed as e:
            same("code of " + what, e.code, SCARD_E_NOT_TRANSACTED)
            assert must != "work", "%s: %s" % (what, e)
        else:
            same("answer with " + what, answer, number(self.value + 1))
            assert must != "fail", "%s: answered" % what

    def settle(self, what):
        """What comes next is right, and the APDU before ran once at most."""
        for n in (3, 7, 5):
            same("after " + what, self.card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + b"\x90\x00")
        now = int.from_bytes(self.card.transmit(COUNTER)[:4], "big")
        assert now in (self.value, self.value + 1), "%s: executed %d times" % (what, now - self.value)
        self.value = now
        self.sim("fault clear")


lock = rig.threading.Lock()


def on_both(work, settings=QUICK, models=("", "")):
    """The work on a serial reader and on an HID reader at the same time."""
    other = "neo:link=hid" + ("," + models[1] if models[1] else "")
    with Neo("serial", models[0], other, settings=settings) as r:
        for i, name in enumerate((ON_SERIAL, ON_HID)):
            r.put(CARD, name, i)
        for call in [Background(work, Client(r, name, i)) for i, name in enumerate((ON_SERIAL, ON_HID))]:
            call.result(90)
        return r.log()


# ---- broken answers -------------------------------------------------------------------------------------------------


@case("an answer lost, cut, turned over, of another command, half and then silence: an error, and the next is right")
def broken():
    def work(c):
        for fault in ("badcrc", "half", "wrongcmd", "cut=1", "cut=13", "cut=19", "drop"):
            c.sim("fault %s at=2C03" % fault)
            c.add(fault, "fail")
            c.settle(fault)
        for fault in ("badcrc", "half"):   # three times running, with nothing in between
            c.sim("fault %s at=2C03 times=3" % fault)
            for _ in range(3):
                c.add(fault, "fail")
            c.value = int.from_bytes(c.card.transmit(COUNTER)[:4], "big")
            c.settle(fault)
    on_both(work, SHORT)


@case("each byte of an answer turned over, lost, doubled, and the line cut before it: right or an error")
def each_byte():
    def work(c):
        for kind in ("flip", "lose", "dup", "cut"):
            for k in range(22):      # the answer's frame: 14 + 6 + 2 bytes
                c.sim("fault %s=%d at=2C03" % (kind, k))
                c.add("%s=%d" % (kind, k))
                same("after %s=%d" % (kind, k), c.card.transmit("00 84 00 00 05"), EIGHT[:5] + b"\x90\x00")
                now = int.from_bytes(c.card.transmit(COUNTER)[:4], "big")
                assert now in (c.value, c.value + 1), "%s=%d: executed %d times" % (kind, k, now - c.value)
                c.value = now
                c.sim("fault clear")
    on_both(work, SHORT.replace("frame_gap = 100", "frame_gap = 30").replace("resync_quiet = 20", "resync_quiet = 5"))


@case("reports of a long answer lost and doubled on HID: right or an error")
def reports():
    data = bytes(n & 0xFF for n in range(400))
    with Neo("hid", settings=SHORT) as r:
        r.put(CARD)
        with r.connect() as card:
            for kind in ("hidlose", "hiddup"):
                for k in range(7):   # 416 bytes: 02, five times 03, 04
                    r.sim("0 fault %s=%d at=2C03" % (kind, k))
                    try:
                        same("%s=%d" % (kind, k), card.transmit("00 E2 01 90 00 00 00"), data + b"\x90\x00")
                    except winscard.Failed as e:
                        same("code of %s=%d" % (kind, k), e.code, SCARD_E_NOT_TRANSACTED)
                    r.sim("0 fault clear")
                    for n in (3, 7):
                        same("after %s=%d" % (kind, k), card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + b"\x90\x00")


@case("each report or byte of the command lost: executed once or not at all, and the next is right")
def command_lost():
    def work(c):
        points = (1, 5, 11, 14, 18, 21) if c.index == 0 else (1,)
        for k in points:
            for what in ("lose", "flip"):  # not doubled: USB rules that out, and a second answer has no number
                c.sim("break out * %s %d" % (what, k) + (" 20 1" if c.index == 1 and what == "flip" else ""))
                try:
                    answer = c.card.transmit(ADD)
                except winscard.Failed as e:
                    same("code", e.code, SCARD_E_NOT_TRANSACTED)
                else:
                    same("answer", answer, number(c.value + 1))
                c.sim("break clear")
                c.settle("%s %d of the command" % (what, k))
    on_both(work, SHORT)


# ---- late -----------------------------------------------------------------------------------------------------------


@case("a time-out, then the late answer: it is nobody's")
def late():
    def work(c):
        for fault in ("late", "delay=900"):
            c.sim("fault %s at=2C03" % fault)
            c.add(fault, None)
            c.settle(fault)
        # Late answers of other commands: a poll's, a Ping's.
        for fault, at in (("late", "1801"), ("delay=150", "1801"), ("drop", "1801")):
            c.sim("fault drop at=2C03")
            c.sim("fault %s at=%s" % (fault, at))
            c.add(fault + " at " + at, "fail")
            c.settle(fault + " at " + at)
    on_both(work, SHORT)


@case("a command that takes longer than the cap ran once, whatever its client was told")
def slow_card():
    def work(c):
        for _ in range(2):
            c.sim("fault delay=900 at=2C03")
            c.add("a slow answer", "fail")
            c.value += 1
            same("executed", c.card.transmit(COUNTER), number(c.value))
            c.settle("a slow answer")
    on_both(work, SHORT)


# ---- what nobody asked for ------------------------------------------------------------------------------------------

UNASKED = {
    "auto-switch": "2C5003 01020304", "auto-switch failed": "2C51", "burst": "0200 0102254234373631",
    "an EMV request": "6101 00", "UI event": "2C0E 01", "a Ping nobody sent": "1800",
    "an error of another command": "090A",
}


@case("unsolicited frames and noise before an answer: the answer is the card's")
def unasked():
    def work(c):
        for what, frame in UNASKED.items():
            c.sim("fault unsolicited=%s at=2C03" % frame.replace(" ", ""))
            c.add(what, "work")
            c.value += 1
            same("the next after " + what, c.card.transmit(GET_8), EIGHT)
        if c.index == 0:    # a report that is no frame is another matter: HID has no noise
            for noise in ("FF", "56", "5669564F7465636832", "5669564F746563683200", "5669564F7465636832002C000001",
                          "00" * 40, "4E454F20322E302076312E30300D0A", "5669564F746563683200FFFFFFFF"):
                c.sim("fault noise=%s at=2C03" % noise)
                c.add("noise " + noise)
                c.settle("noise " + noise)
    log = on_both(work)
    assert "belong to no frame" in log, log[-2000:]


@case("unsolicited frames and noise while nobody waits, with a session and without")
def unasked_idle():
    def work(c):
        for what, frame in UNASKED.items():
            c.sim("unasked %s" % frame.replace(" ", ""))
            same("after " + what, c.card.transmit(GET_8), EIGHT)
        for noise in ("FF00FF", "5669564F7465", "4E454F20322E30"):
            c.sim("send " + (noise if c.index == 0 else ("07" + noise).ljust(128, "0")))
            c.add("noise while idle")
            c.settle("noise while idle")
    on_both(work)
    for link in LINKS:
        with Neo(link, settings=QUICK) as r:
            for frame in list(UNASKED.values()):
                r.sim("0 unasked " + frame.replace(" ", ""))
            r.until("polls=%d" % (r.count("polls") + 2), "count")
            same("changes", r.changes(), 0)
            r.put(CARD)
            r.works()


def frame(command, status, data):
    """A frame as the reader sends it."""
    f = b"ViVOtech2\0" + bytes([command, status]) + len(data).to_bytes(2, "big") + data
    return f + binascii.crc_hqx(f, 0xFFFF).to_bytes(2, "big")


@case("a second copy of an answer is not the answer of the next command")
def twice():
    with Neo("serial", settings=QUICK) as r:
        r.put(CARD)
        with r.connect() as card:
            for n in range(1, 5):
                # The reader's own answer is held back, and two copies of another come in one go.
                answer = frame(0x2C, 0x00, number(n))
                r.sim("0 fault drop at=2C03")
                call = Background(card.transmit, COUNTER)
                r.until("faults=%d" % n, "count")
                r.sim("0 send " + (answer + answer).hex())
                same("the answer", call.result(), number(n))
                same("the next", card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + b"\x90\x00")
            r.wait_log("came behind the last answer", times=4)
    with Neo("hid", settings=QUICK) as r:
        r.put(CARD)
        with r.connect() as card:
            for n in range(1, 5):
                # The copy stands before the true answer: that one is spoilt by it, but only that one.
                r.sim("0 fault unsolicited=2C00%08X9000 at=2C03" % n)
                same("the answer", card.transmit(COUNTER), number(n))
                r.wait_log("nobody waits for|behind the last answer", times=n)
                same("the next", card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + b"\x90\x00")


@case("auto-poll and burst frames of a reader as it comes are switched off, and do no harm until then")
def burst():
    for link in LINKS:
        with Neo(link, "burst=20,autoswitch=1,boot=text", settings=QUICK) as r:
            r.put(CARD)
            r.works()
            bursts = r.count("bursts")
            r.until("polls=%d" % (r.count("polls") + 3), "count")
            same("bursts since", r.count("bursts") - bursts, 0)
            same("commands that the driver has no business to send", r.count("forbidden"), 0)


# ---- the reader restarts --------------------------------------------------------------------------------------------


@case("a boot frame in mid command and while idle: the session is lost and told so; the reader is set up again")
def boot():
    for link in LINKS:
        with Neo(link, settings=QUICK) as r:
            r.put(CARD)
            value = 0
            for executed in (0, 1):
                with r.connect() as card:
                    same("the counter", card.transmit(COUNTER), number(value))
                    before = r.changes()
                    r.sim("0 fault boot at=2C03 exec=%d" % executed)
                    fails((SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED), card.transmit, ADD)
                    r.wait_changes(before + 2)
                    lost(r, card, ADD)
                with r.connect() as card:
                    value = int.from_bytes(card.transmit(COUNTER)[:4], "big")
                    same("executions", value, executed)
                    r.sim("0 fault clear")
                    card.disconnect(winscard.UNPOWER)
            r.wait_log("the reader restarted", times=2)
            # In a poll, with a fresh card.
            r.sim("0 fault boot at=2C0E")
            r.wait_log("the reader restarted", times=3)
            r.works()


@case("pass-through mode left behind the driver's back: the session is lost, the mode entered again")
def mode():
    for link in LINKS:
        for status in ("0C", "0B"):
            with Neo(link, settings=QUICK) as r:
                r.put(CARD)
                with r.connect() as card:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    before, starts = r.changes(), r.count("2C01")
                    r.sim("0 fault status=%s at=2C03" % status)
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
                    r.wait_changes(before + 2)
                    assert r.count("2C01") > starts
                with r.connect() as card:
                    same("the counter", card.transmit(COUNTER), number(0))


@case("every status of the reader's: an error or its status word, and the next APDU works")
def statuses():
    words = {0x02: "6A 81", 0x03: "6A 81", 0x05: "6A 80", 0x06: "69 82", 0x07: "6A 80", 0x0D: "67 00", 0x19: "67 00",
             0x90: "69 82", 0x91: "69 82"}

    def work(c):
        for status in (1, 2, 3, 5, 6, 7, 9, 0x0D, 0x10, 0x11, 0x13, 0x19, 0x1D, 0x20, 0x70, 0x90, 0x91, 0xFF):
            c.sim("fault status=%02X at=2C03" % status)
            if status in words:
                same("status %02X" % status, c.card.transmit(ADD), h(words[status]))
            else:
                fails(SCARD_E_NOT_TRANSACTED, c.card.transmit, ADD)
            c.settle("status %02X" % status)
            same("executed", c.value, 0)
    on_both(work)


# ---- the order of the CRC -------------------------------------------------------------------------------------------


@case("status 04: the other order once, then remembered; a reader that takes either is never asked twice")
def order():
    for model, errors in (("crc=strict", 0), ("crc=lenient", 0), ("crc=swapped-all", None)):
        def work(c, errors=errors, model=model):
            if errors is not None:
                same("CRC errors with " + model, int(c.sim("count crc_errors")), errors)
            learned = int(c.sim("count crc_errors"))
            for _ in range(5):
                c.add(model, "work")
                c.value += 1
            same("CRC errors while working with " + model, int(c.sim("count crc_errors")), learned)
        log = on_both(work, "", (model, model))
        same(model + ": told", "low byte first" in log, model == "crc=swapped-all")


@case("status 04 to one APDU: sent again, run once")
def once():
    def work(c):
        c.sim("fault status=4 at=2C03 times=1")
        c.add("status 04, once", "work")
        c.settle("status 04, once")
        c.sim("fault status=4 at=2C03 times=2")
        c.add("status 04 for ever", "fail")
        c.sim("fault clear")
        c.settle("status 04 for ever")
    on_both(work)


@case("crc_order: lsb and msb are obeyed; a contact slot's own order is learned once")
def order_set():
    for setting, model, works in (("lsb", "swapped-all", True), ("msb", "strict", True), ("msb", "swapped-all", False),
                                  ("lsb", "strict", False)):
        with Neo("serial", "crc=" + model, settings=QUICK + "crc_order = " + setting) as r:
            if works:
                r.put(CARD)
                r.works()
                same("CRC errors with crc_order = " + setting, r.count("crc_errors"), 0)
            else:
                r.wait_log("the reader found a wrong CRC in command 2C-01")
                r.sim("0 insert " + CARD)
                same("changes", r.changes(), 0)
    with Neo("hid", "crc=swapped", settings=QUICK + "slots = icc") as r:
        r.sim("0 icc insert echo-t1")
        with r.connect() as card:
            for n in range(1, 4):
                same("an APDU", card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + b"\x90\x00")
        # 2C-12 has paid for 2C-13 as well.
        same("CRC errors", r.count("crc_errors"), 1)


@case("a reader that does not answer at all: an error within the cap; when it answers again the slot works by itself")
def mute_reader():
    for link in LINKS:
        with Neo(link, settings=SHORT + "reopen_min = 50\nreopen_max = 100") as r:
            r.put(CARD)
            with r.connect() as card:
                same("an APDU", card.transmit(GET_8), EIGHT)
                r.sim("0 fault drop times=0")
                fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD, winscard.SCARD_E_READER_UNAVAILABLE),
                      card.transmit, ADD)
                if link == "serial":
                    fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD, SCARD_W_REMOVED_CARD), card.transmit, ADD)
                    r.pc.wait_empty(r.name)
                r.sim("0 fault clear")
            if link == "hid" and r.name not in r.pc.readers():
                r.sim("0 replug")
            r.works()


rig.main()
