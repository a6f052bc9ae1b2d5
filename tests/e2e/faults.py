# SPDX-License-Identifier: LGPL-2.1-or-later
"""An exchange broken at every byte, in every way: the right answer or an error, never another command's answer, and never
executed twice.

The command is the one that must not be repeated: 00 EA adds 1 to the card's counter and returns it. After each fault the
card's own count tells how often it was executed, and commands with answers of their own show that the line is in step.
Eight readers are broken at the same time, each by an eighth of the faults; a reader has its serial number in its name.
"""
import threading

import rig
import winscard
from rig import Background, Rig, case, fails, h, lost, same
from winscard import (SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED, SCARD_W_REMOVED_CARD, T0, T1, Failed)

# The cap is what a fault costs after which no answer comes at all, and what a command that has to succeed may take,
# resynchronisation included, on a machine that has much else to do: the longer the fewer such faults there are.
CAP = "apdu_cap = 4000"
SETTINGS = ("[072F:8002]\n" + CAP + "\npower_cap = 9000\nreader_cap = 9000\ncommand_wait = 2000\nreset_wait = 3000\n"
            "frame_gap = 300\nresync_quiet = 100\nopen_quiet = 20\n")
SHORT = SETTINGS.replace(CAP, "apdu_cap = 1200")
MEDIUM = SETTINGS.replace(CAP, "apdu_cap = 2500")
LONG = SETTINGS.replace(CAP, "apdu_cap = 9000")
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
ADD, COUNTER = "00 EA 00 00 04", "00 EC 00 00 04"
OK = b"\x90\x00"
READERS = 8
lock = threading.Lock()


def answer_of(n):
    return n.to_bytes(4, "big") + OK


class Broken:
    """One reader of several, with a client of its own in a thread of its own."""

    def __init__(self, r, index, protocol):
        self.r, self.index, self.protocol = r, index, protocol
        self.name = next(n for n in r.pc.readers() if "(S%d)" % index in n)
        self.pc = winscard.Context()
        self.pc.wait_card(self.name)
        self.card = self.pc.connect(self.name, protocol)

    def sim(self, request):
        with lock:
            return self.r.sim("%d %s" % (self.index, request))

    def in_step(self, what):
        for n in (1, 2, 3):
            same("the next answer, after " + what, self.card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + OK)

    def counter(self):
        return int.from_bytes(self.card.transmit(COUNTER)[:4], "big")

    def add(self, fault, mended):
        """00 EA under a fault. mended: nothing but the right answer will do."""
        before = self.counter()
        self.sim(fault)
        try:
            same("answer, with " + fault, self.card.transmit(ADD), answer_of(before + 1))
            expected = (before + 1,)
        except Failed as e:
            if mended or e.code != SCARD_E_NOT_TRANSACTED:
                raise AssertionError("%s: %s" % (fault, e))
            expected = (before, before + 1)
        self.sim("fault clear")
        self.sim("break clear")
        self.in_step(fault)
        after = self.counter()
        assert after in expected, "%s: executed %d times" % (fault, after - before)

    def close(self):
        self.card.disconnect()
        self.pc.release()


def broken(card, protocol, faults, mended=(), options="", settings=SETTINGS):
    readers = ["aet63:interval=none,serial=S%d,card=%s%s" % (i, card, options) for i in range(READERS)]

    def work(r, i):
        b = Broken(r, i, protocol)
        for fault in faults[i::READERS]:
            b.add(fault, fault in mended)
        b.close()
        return len(faults[i::READERS])

    with Rig(*readers, settings=settings) as r:
        same("faults tried", sum(t.result(240) for t in [Background(work, r, i) for i in range(READERS)]), len(faults))
        same("commands sent before an answer", [r.count("host_errors", i) for i in range(READERS)], [0] * READERS)


# The answer to 00 EA: 11 bytes (T=0), 16 with the block around them (T=1), two digits each, STX and ETX.
FRAME = {T0: 2 + 2 * 11, T1: 2 + 2 * 15}
IN_BYTES = ["flip=%d bit=0", "flip=%d bit=1", "flip=%d bit=4", "flip=%d bit=6", "flip=%d bit=7", "cut=%d", "lose=%d", "dup=%d",
            "noise=%d"]


def at_every_byte(protocol):
    at = "A0" if protocol == T0 else "A1"
    return ["fault %s at=%s" % (kind % k, at) for kind in IN_BYTES for k in range(FRAME[protocol])]


@case("T=0: each byte of the answer turned over, lost, doubled, with noise before it, the rest cut off")
def t0_bytes():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        r.sim("0 wire on")
        same("answer", card.transmit(ADD), answer_of(1))
        text = b"".join(bytes.fromhex(t.split(":")[-1]) for t in r.sim("0 wire dump").split() if t.startswith("<"))
        same("length of the frame", text.index(b"\3") + 1, FRAME[T0])
    broken("echo-t0", T0, at_every_byte(T0))


@case("T=0: the same with random bytes behind the end of each frame, and the raw form of NAK")
def t0_bytes_random():
    broken("echo-t0", T0, at_every_byte(T0)[::2], options=",pad=random,nak=raw")


@case("T=1: each byte of the answer broken in each way: the engine asks again, and the answer is always the right one")
def t1_bytes():
    with Rig("aet63:card=echo-t1") as r, r.connect(T1) as card:
        same("answer", card.transmit(GET_8), EIGHT)
        r.sim("0 wire on")
        same("answer", card.transmit(ADD), answer_of(1))
        text = b"".join(bytes.fromhex(t.split(":")[-1]) for t in r.sim("0 wire dump").split() if t.startswith("<"))
        same("length of the frame", text.index(b"\3") + 1, FRAME[T1])
    faults = at_every_byte(T1)
    # An answer of which nothing at all has come is waited for until the cap; of any other the end of waiting is near.
    mended = [f for f in faults if f != "fault cut=0 at=A1"]
    broken("echo-t1", T1, faults, mended)


def command_faults(length):
    return (["break out * flip 1 %d %d" % (k, mask) for mask in (1, 2, 16, 64, 128) for k in range(length)] +
            ["break out * trunc 1 %d" % k for k in range(length)] + ["break out * lose 1"])


@case("each byte of the command turned over, the rest cut off: executed once or not at all")
def command_bytes():
    # 01 A0 06, header, Lc, Le, checksum: ten bytes
    broken("echo-t0", T0, command_faults(2 + 2 * 10), settings=MEDIUM + "nak = framed\n")


@case("transport B and C: each packet of a command and of its answer lost, doubled, cut, turned over")
def packets():
    faults = ["break %s * %s" % (way, what % k) for way in ("in", "out") for k in (1, 2, 3)
              for what in ("lose %d", "dup %d", "trunc %d 3", "flip %d 2 1", "delay %d 30", "stall %d")]
    # Bulk packets carry a whole frame: to double one is to send the command, or its answer, twice. No driver can help the
    # former, and nothing tells a copy of an answer that is still on its way from the next answer (failures.py, "twice").
    bulk = [f for f in faults if "dup" not in f and ("out" not in f or not f.split()[4] > "1")]
    broken("echo-t0", T0, faults, options=",transport=c")
    broken("echo-t0", T0, bulk, options=",transport=b")


@case("T=1: each block of a long exchange broken in each way: right answer, and one execution")
def t1_blocks():
    data = bytes(range(100))
    kinds = ["t1mute exec=0", "t1mute exec=1", "t1edc exec=0", "t1edc exec=1", "t1nr", "t1nad", "t1dup", "t1len", "t1len=05"]
    with Rig("aet63:interval=none,card=echo-t1", settings=LONG) as r:
        with r.connect(T1) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            for kind in kinds:
                for skip in range(5):  # four blocks of 32 bytes there; two back, as S(IFS) said 254 the answer is one
                    before = r.count("executions")
                    r.sim("0 fault %s skip=%d" % (kind, skip))
                    same("echo, with %s at block %d" % (kind, skip),
                         card.transmit(h("00 E0 00 00 64") + data + b"\0"), data + OK)
                    r.sim("0 fault clear")
                    same("executions, with %s at block %d" % (kind, skip), r.count("executions") - before, 1)


@case("T=1: a long answer in blocks of 32, each broken in each way")
def t1_answer_blocks():
    kinds = ["t1mute", "t1edc", "t1nr", "t1dup", "badsum at=A1", "drop at=A1"]
    with Rig("aet63:interval=none,card=echo-t1", settings=LONG) as r:
        r.sim("0 fault t1noifs times=3")  # the card refuses S(IFS 254), so it sends no more than 32
        with r.connect(T1) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            for kind in kinds[:-1]:
                for skip in range(4):
                    before = r.count("executions")
                    r.sim("0 fault %s skip=%d" % (kind, skip))
                    same("100 bytes, with %s at block %d" % (kind, skip), card.transmit("00 E2 00 64 64"),
                         bytes(range(100)) + OK)
                    r.sim("0 fault clear")
                    same("executions, with %s at block %d" % (kind, skip), r.count("executions") - before, 1)
            same("the card was refused its 254", r.count("t1_ifs") >= 1, True)


@case("T=1: a card that does not even answer S(RESYNCH): an error within the cap, and a reset helps")
def t1_no_resynch():
    with Rig("aet63:card=echo-t1", settings=MEDIUM) as r:
        for fault in ("t1rloop times=0", "t1edc times=0", "t1chain times=0"):
            with r.connect(T1) as card:
                same("an APDU", card.transmit(GET_8), EIGHT)
                r.sim("0 fault t1noresynch times=0")
                r.sim("0 fault " + fault)
                fails(SCARD_E_NOT_TRANSACTED, card.transmit, GET_8)
                r.sim("0 fault clear")
                card.reconnect(initialization=winscard.RESET)
                same("an APDU after the reset", card.transmit(GET_8), EIGHT)


# ---- a reader that is late, busy, or starts anew -------------------------------------------------------------------------


@case("a card slower than the cap: an error, and the answer that comes at last is nobody's")
def slow_card():
    for overlap in ("ignore", "stall", "queue"):
        for name, protocol in (("echo-t0", T0), ("echo-t1", T1)):
            with Rig("aet63:card=%s,overlap=%s" % (name, overlap), settings=SHORT) as r:
                with r.connect(protocol) as card:
                    tail = "" if protocol == T0 else " 00"
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD), card.transmit, "00 E8 07 D0 02 AB CD" + tail)
                    r.until("busy=0", "status")
                    step(card, overlap, name)
                with r.connect(protocol) as card:
                    card.reconnect(initialization=winscard.RESET)
                    same("an APDU", card.transmit(GET_8), EIGHT)


def step(card, overlap, name):
    """Commands with answers of their own, until three in a row are answered, or the session is over: a T=1 card may have
    been lost over it, a reader that stalls may have been reset. An error is no shame, another's answer is."""
    good = 0
    for n in [1, 2, 3, 4, 5, 6, 7] * 4:
        try:
            same("%s, %s: the next" % (overlap, name), card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + OK)
            good += 1
        except Failed as e:
            if e.code in (SCARD_E_NO_SMARTCARD, SCARD_W_REMOVED_CARD):
                return
            same("code", e.code, SCARD_E_NOT_TRANSACTED)
            good = 0
        if good == 3:
            return
    same("protocol of a card that does not come back", card.protocol, T1)


@case("a late answer to each kind of command is never taken for another's")
def late():
    for ins in ("A0", "01", "9A"):
        for k in (1, 2):
            with Rig("aet63:card=echo-t0", settings=SHORT + "presence_retry = 60\n") as r, r.connect(T0) as card:
                before = int.from_bytes(card.transmit(COUNTER)[:4], "big")
                r.sim("0 fault late=%d at=%s" % (k, ins))
                done = 0
                for n in range(1, 6):
                    try:
                        if ins == "9A":
                            same("EEPROM", card.control(winscard.ESCAPE, "9A 00 %02X 01" % n), h("90 00 FF"))
                        value = int.from_bytes(card.transmit(ADD)[:4], "big")
                        assert before + done < value <= before + n, "late=%d at %s: %d" % (k, ins, value)
                        done = value - before
                        same("late=%d at %s: challenge" % (k, ins), card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + OK)
                    except Failed as e:
                        same("code", e.code, SCARD_E_NOT_TRANSACTED)
                r.sim("0 fault clear")
                value = int.from_bytes(card.transmit(COUNTER)[:4], "big") - before
                assert 0 < value <= 5, "five commands were executed %d times" % value


@case("the reader restarts: at any command, before or after its answer: the session is lost, never silently continued")
def restart():
    for name, protocol, ins in (("echo-t0", T0, "A0"), ("echo-t1", T1, "A1")):
        for where in ("before", "after"):
            with Rig("aet63:card=" + name, settings=SETTINGS) as r:
                with r.connect(protocol) as card:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    r.sim("0 fault event %s code=0 at=%s" % (where, ins))
                    if where == "before":
                        fails(SCARD_E_NO_SMARTCARD, card.transmit, GET_8)
                    else:
                        same("the answer came first", card.transmit(GET_8), EIGHT)
                    lost(r, card, GET_8)
                with r.connect(protocol) as card:
                    same("an APDU of a new connection", card.transmit(GET_8), EIGHT)
    for ins in ("01", "02", "06", "80", "81"):
        with Rig("aet63", settings=SETTINGS) as r:
            r.sim("0 fault event before code=0 at=" + ins)
            r.sim("0 insert echo-t0")
            with r.connect(T0) as card:
                same("an APDU", card.transmit(GET_8), EIGHT)


@case("a reader that stays silent is reset as the last resort, and its card is a new one")
def last_resort():
    with Rig("aet63:card=echo-t0", settings=SETTINGS) as r:
        with r.connect(T0) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            r.sim("0 fault drop times=0 reset")
            fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD), card.transmit, GET_8)
            r.sim("0 until 20000 *resets=1* stats")
            executed = r.count("card_executions")
            lost(r, card, GET_8)
            same("commands executed", r.count("card_executions"), executed)
        with r.connect(T0) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)


rig.main()
