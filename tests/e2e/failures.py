# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cards and readers that fail: the client gets the error that it can expect, within the cap, and the slot works again.

The caps are short here, so that a case takes no longer than the driver does. No case measures how long something took;
but every wait of the rig has an end, far below the caps that hold without these settings.
"""
import rig
import winscard
from rig import READER, Rig, case, fails, h, same
from winscard import (SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED, SCARD_W_UNPOWERED_CARD, SCARD_W_UNRESPONSIVE_CARD,
                      SHARE_DIRECT, STATE_MUTE, STATE_PRESENT, T0, T1)

rig.orderly = True
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
COUNTER = "00 EC 00 00 04"
ADD = "00 EA 00 00 04"
CAPS = ("[072F:8002]\napdu_cap = 1500\npower_cap = 2000\nreader_cap = 1500\ncommand_wait = 700\nreset_wait = 700\n"
        "frame_gap = 400\nresync_quiet = 100\nopen_quiet = 20\n")
# Where commands have to succeed behind a fault, resynchronisation included, on a machine that has much else to do.
WIDE = (CAPS.replace("apdu_cap = 1500", "apdu_cap = 4000").replace("reader_cap = 1500", "reader_cap = 6000")
        .replace("command_wait = 700", "command_wait = 2000"))


def works(r, protocol=T0 | T1):
    with r.connect(protocol) as card:
        same("an APDU", card.transmit(GET_8), EIGHT)


# ---- cards -----------------------------------------------------------------------------------------------------------


@case("no card: SCARD_E_NO_SMARTCARD, direct connections work")
def no_card():
    with Rig("aet63") as r:
        r.pc.wait_empty(READER)
        for _ in range(3):
            fails(SCARD_E_NO_SMARTCARD, r.pc.connect, READER)
        with r.connect(0, SHARE_DIRECT) as card:
            fails((SCARD_E_NO_SMARTCARD, winscard.SCARD_E_NOT_TRANSACTED), card.transmit, GET_8, protocol=T0)
            same("ATR", card.status()[2], b"")
        r.sim("0 insert echo-t0")
        works(r)


def unusable(name):
    """A card that gives no usable ATR is present and mute; no client gets in; the next card is fine."""
    with Rig("aet63:card=" + name, settings=CAPS) as r:
        r.pc.wait_state(READER, STATE_PRESENT | STATE_MUTE)
        for _ in range(2):
            fails((SCARD_W_UNPOWERED_CARD, SCARD_W_UNRESPONSIVE_CARD), r.pc.connect, READER)
        with r.connect(0, SHARE_DIRECT) as card:
            same("ATR", card.status()[2], b"")
            same("the reader answers", card.control(winscard.ESCAPE, "01")[:2], h("90 00"))
        r.sim("0 remove")
        r.pc.wait_empty(READER)
        r.sim("0 insert echo-t1")
        works(r)


@case("a mute card: present, mute, SCARD_W_UNPOWERED_CARD; the next card works")
def mute():
    unusable("mute")


@case("a card whose ATR the reader refuses: the same")
def refused():
    for kind in ("ts", "ta2"):
        with Rig("aet63:card=badatr+kind=" + kind, settings=CAPS) as r:
            state, _ = r.pc.wait_state(READER, STATE_PRESENT)
            if state & STATE_MUTE:
                fails((SCARD_W_UNPOWERED_CARD, SCARD_W_UNRESPONSIVE_CARD), r.pc.connect, READER)
            r.swap("echo-t0")
            works(r)


@case("a wrong or missing check byte in the ATR is passed on, and the slot goes on")
def tck():
    for kind in ("tck", "cut"):
        with Rig("aet63:card=badatr+kind=" + kind, settings=CAPS) as r:
            r.pc.wait_state(READER, STATE_PRESENT)
            try:
                with r.pc.connect(READER):
                    pass
            except winscard.Failed as e:
                assert e.code in (SCARD_W_UNPOWERED_CARD, SCARD_W_UNRESPONSIVE_CARD, winscard.SCARD_E_PROTO_MISMATCH), e
            r.swap("echo-t0")
            works(r)


@case("a short circuit is an unpowered card")
def short_circuit():
    with Rig("aet63", settings=CAPS) as r:
        r.sim("0 fault status=6022 at=80 times=0")
        r.sim("0 insert echo-t0")
        r.pc.wait_state(READER, STATE_PRESENT | STATE_MUTE)
        fails(SCARD_W_UNPOWERED_CARD, r.pc.connect, READER)
        r.sim("0 fault clear")
        r.sim("0 bounce")
        r.pc.wait_state(READER, STATE_PRESENT, STATE_MUTE)
        works(r)


@case("T=0: a card that stays silent: SCARD_E_NOT_TRANSACTED, and it goes on after a reset")
def silent_t0():
    with Rig("aet63:card=echo-t0,wwt=200", settings=CAPS) as r, r.connect(T0) as card:
        fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD), card.transmit, "00 F0 00 00")
        r.pc.wait_card(READER)
        works(r, T0)


@case("T=1: a card that stays silent: SCARD_E_NOT_TRANSACTED within the cap, works after a reset")
def silent_t1():
    for answer in ("6020", "6712", "empty"):
        with Rig("aet63:card=echo-t1,mute=" + answer, settings=CAPS) as r, r.connect(T1) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD), card.transmit, "00 F0 00 00")
            try:
                card.reconnect(initialization=winscard.RESET)
            except winscard.Failed:
                pass
            card.disconnect(winscard.RESET)
            r.pc.wait_card(READER)
            works(r, T1)


@case("no answer within the APDU cap: SCARD_E_NOT_TRANSACTED; and the next APDU gets its own answer")
def apdu_cap():
    with Rig("aet63:card=echo-t0", settings=WIDE.replace("apdu_cap = 4000", "apdu_cap = 2000")) as r:
        with r.connect(T0) as card:
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, "00 E8 0B B8 01 55")     # the card takes three seconds
            r.until("busy=0", "status")
            for n in range(1, 6):
                same("the next one", card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + h("90 00"))


@case("more time asked for (WTX): answered, within the cap; without end: an error")
def wtx():
    with Rig("aet63:card=echo-t1", settings=WIDE) as r:
        with r.connect(T1) as card:
            for n in (1, 5, 20):
                r.sim("0 fault t1wtx=2 n=%d" % n)
                same("an APDU after %d WTX" % n, card.transmit(GET_8), EIGHT)
            same("S(WTX)", r.count("t1_wtx"), 26)
            r.sim("0 fault t1wtx=1 n=0")
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, GET_8)
            r.sim("0 fault clear")
            try:
                card.disconnect(winscard.UNPOWER)
            except winscard.Failed:
                pass
        works(r, T1)


T1_FAULTS_MENDED = ["t1mute at=I exec=0", "t1mute at=I exec=1", "t1edc exec=0", "t1edc exec=1", "t1nr", "t1nad",
                    "t1dup", "t1len"]
T1_FAULTS_FATAL = ["t1rloop times=0", "t1chain", "t1edc times=0", "t1mute times=0", "t1abort", "t1nr times=0"]


@case("T=1: blocks lost or spoilt once are mended, and the card executes once")
def t1_mended():
    with Rig("aet63:card=echo-t1", settings=WIDE) as r, r.connect(T1) as card:
        value = 0
        for fault in T1_FAULTS_MENDED:
            r.sim("0 fault " + fault)
            value += 1
            same("counter, " + fault, card.transmit(ADD), value.to_bytes(4, "big") + h("90 00"))
            same("faults left", "t1_faults=0" in r.sim("0 status"), True)


@case("T=1: a card that keeps failing: an error within the cap, never a wrong answer, and a reset helps")
def t1_fatal():
    with Rig("aet63:card=echo-t1", settings=CAPS) as r:
        for fault in T1_FAULTS_FATAL:
            with r.connect(T1) as card:
                before = int.from_bytes(card.transmit(COUNTER)[:4], "big")
                r.sim("0 fault " + fault)
                fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD), card.transmit, ADD)
                r.sim("0 fault clear")
                try:
                    card.disconnect(winscard.RESET)
                except winscard.Failed:
                    pass
            with r.connect(T1) as card:
                after = int.from_bytes(card.transmit(COUNTER)[:4], "big")
                assert after in (before, before + 1), "%s: executed %d times" % (fault, after - before)


@case("the reader's own statuses: an error, and the next APDU works")
def statuses():
    with Rig("aet63:card=echo-t0", settings=WIDE) as r, r.connect(T0) as card:
        for sw in ("6001", "6003", "6005", "6020", "6201", "6701", "6702", "6703", "6704", "6705", "6712"):
            r.sim("0 fault status=%s at=A0" % sw)
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, GET_8)
            same("after " + sw, card.transmit(GET_8), EIGHT)


@case("60 02 and 60 04 in mid session: no card, then a new one")
def card_gone_statuses():
    with Rig("aet63:card=echo-t0", settings=CAPS) as r:
        for sw in ("6002", "6004"):
            with r.connect(T0) as card:
                before = r.pc.state(READER)[0] >> 16
                r.sim("0 fault status=%s at=A0" % sw)
                fails(SCARD_E_NO_SMARTCARD, card.transmit, GET_8)
                while r.pc.state(READER)[0] >> 16 < before + 2:
                    r.pc.change_or_not(READER, r.pc.state(READER)[0] & ~2, 1000)
            works(r)


@case("a card pulled while it is powered up: no card; put back, it works")
def pulled_at_power_up():
    for back in ("", " back=1"):
        with Rig("aet63", settings=CAPS) as r:
            r.sim("0 fault remove at=80" + back)
            r.sim("0 insert echo-t0")
            if back:
                r.pc.wait_card(READER)
            else:
                r.pc.wait_empty(READER)
                r.until("present=0", "status")
                r.sim("0 remove")
                r.sim("0 insert echo-t0")
            works(r)


@case("resets: warm, cold and by reconnect; the other client is told")
def resets():
    with Rig("aet63:card=echo-t1") as r:
        with r.connect(T1) as a, r.connect(T1) as b:
            start = r.count()
            a.reconnect(initialization=winscard.RESET)
            same("warm resets", r.count("warm") - start["warm"], 1)
            fails(winscard.SCARD_W_RESET_CARD, b.transmit, GET_8)
            b.reconnect()
            same("an APDU", b.transmit(GET_8), EIGHT)
            a.reconnect(initialization=winscard.UNPOWER)
            same("cold resets", r.count("cold") - start["cold"], 1)
            same("an APDU", a.transmit(GET_8), EIGHT)


# ---- the wire --------------------------------------------------------------------------------------------------------


@case("NAK up to three times: sent again, executed once; more: an error")
def nak():
    for form in ("framed", "raw"):
        with Rig("aet63:card=echo-t0,nak=" + form, settings=WIDE) as r, r.connect(T0) as card:
            for n in (1, 2, 3):
                r.sim("0 fault nak at=A0 times=%d" % n)
                same("after %d NAKs" % n, card.transmit(ADD), n.to_bytes(4, "big") + h("90 00"))
            r.sim("0 fault nak at=A0 times=0")
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, ADD)
            r.sim("0 fault clear")
            same("executed", card.transmit(COUNTER), h("00 00 00 03 90 00"))


BROKEN = ["badsum", "badlen", "badhex", "truncate=3", "noetx", "drop", "stall", "stall out", "flip=7", "cut=9",
          "lose=5", "dup=6"]
HARMLESS = ["extended", "lowercase", "garbage", "noise=0", "event before code=1"]


@case("a broken answer is an error, never data, and never executed twice; the next APDU has its own answer")
def broken():
    with Rig("aet63:card=echo-t0", settings=WIDE) as r, r.connect(T0) as card:
        for fault in BROKEN:
            value = int.from_bytes(card.transmit(COUNTER)[:4], "big")
            r.sim("0 fault %s at=A0" % fault)
            try:
                answer = card.transmit(ADD)
            except winscard.Failed as e:
                same("code after " + fault, e.code, SCARD_E_NOT_TRANSACTED)
            else:
                # Only what does not hurt the answer may be answered.
                same("answer after " + fault, (fault.split("=")[0] in ("stall", "stall out"), answer),
                     (True, (value + 1).to_bytes(4, "big") + h("90 00")))
            r.sim("0 fault clear")
            after = int.from_bytes(card.transmit(COUNTER)[:4], "big")
            assert after in (value, value + 1), "%s: executed %d times" % (fault, after - value)
            for n in range(1, 4):
                same("after " + fault, card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + h("90 00"))


@case("an answer sent twice: the second copy is dropped")
def twice():
    with Rig("aet63:card=echo-t0", settings=WIDE) as r, r.connect(T0) as card:
        r.sim("0 fault twice at=A0")
        same("with the copy", card.transmit("00 84 00 00 03"), EIGHT[:3] + h("90 00"))
        # Nothing tells a copy that is still on its way from the next answer: it has to have come.
        r.wait_log("an answer came that nobody waits for")
        for n in range(4, 8):
            same("the next", card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + h("90 00"))


@case("what is unusual but right is no error: extended, lower case, junk between frames")
def harmless():
    with Rig("aet63:card=echo-t0", settings=WIDE) as r, r.connect(T0) as card:
        for fault in HARMLESS:
            r.sim("0 fault %s at=A0" % fault)
            same("with " + fault, card.transmit(GET_8), EIGHT)
            for n in range(1, 4):
                same("after " + fault, card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + h("90 00"))


@case("a late answer is never taken for that of the next command")
def late():
    for name, protocol, at in (("echo-t0", T0, "A0"), ("echo-t1", T1, "A1")):
        with Rig("aet63:card=" + name, settings=WIDE.replace("apdu_cap = 4000", "apdu_cap = 2000")) as r:
            for k in (1, 2):
                with r.connect(protocol) as card:
                    r.sim("0 fault late=%d at=%s" % (k, at))
                    try:
                        same("the APDU itself", card.transmit("00 84 00 00 07"), EIGHT[:7] + h("90 00"))
                    except winscard.Failed as e:
                        same("code", e.code, SCARD_E_NOT_TRANSACTED)
                    for n in range(1, 6):
                        try:
                            same("the next", card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + h("90 00"))
                        except winscard.Failed as e:
                            assert protocol == T1 and e.code == SCARD_E_NOT_TRANSACTED, e  # needs a reset
                    r.sim("0 fault clear")
                    card.disconnect(winscard.RESET)
                works(r, protocol)


@case("every packet of an answer lost, turned over, doubled: an error or the right answer, and all goes on")
def every_packet():
    with Rig("aet63:card=echo-t0", settings=WIDE) as r, r.connect(T0) as card:
        for what in ("lose", "dup", "flip", "stall"):
            for k in range(1, 5):
                r.sim("0 break in int %s %d" % (what, k) + (" 1 1" if what == "flip" else ""))
                try:
                    same("%s %d" % (what, k), card.transmit(GET_8), EIGHT)
                except winscard.Failed as e:
                    same("code at %s %d" % (what, k), e.code, SCARD_E_NOT_TRANSACTED)
                r.sim("0 break clear")
                for n in range(1, 3):
                    same("after %s %d" % (what, k), card.transmit("00 84 00 00 0%d" % n), EIGHT[:n] + h("90 00"))


@case("a reader that does not answer at all: an error within the cap, and it is used again when it does")
def dead_reader():
    with Rig("aet63:card=echo-t0", settings=CAPS) as r:
        with r.connect(T0) as card:
            r.sim("0 fault drop at=any times=0")
            fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD), card.transmit, GET_8)
            r.sim("0 fault clear")
        works(r)


rig.main()
