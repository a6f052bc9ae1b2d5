# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the reader tells of its cards, what it cannot tell, and what is lost on the way. Each card has a counter of its own
(start=N): an answer shows which card gave it."""
import time

import rig
from rig import READER, Background, Rig, case, fails, h, lost, same
from winscard import (ATTR_ATR, ESCAPE, SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED, SCARD_W_REMOVED_CARD,
                      SCARD_W_UNPOWERED_CARD, SHARE_DIRECT, STATE_EMPTY, STATE_MUTE, STATE_PRESENT, T0, T1)

ALL = "[072F:8002]\nescape = all\n"
SAM = "[072F:8002]\nslots = card.sam\n"
SAM_READER = READER[:-1] + "1"
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
COUNTER = "00 EC 00 00 04"
BOTH = (("T=0", "echo-t0", T0, "A0"), ("T=1", "echo-t1", T1, "A1"))


def number(n):
    return n.to_bytes(4, "big") + b"\x90\x00"


def changes(r):
    """pcscd's count of insertions and removals."""
    return r.pc.state(READER)[0] >> 16


def wait_changes(r, n):
    """Waits until pcscd has counted n and counts no more: n, or an insertion and a removal above it. (A command that was
    let pass for the card before, and came when the next one was powered up already, costs that one its session, too.)"""
    end = time.monotonic() + 10
    state = r.pc.state(READER)[0]
    while True:
        assert time.monotonic() < end, "%d changes, and not %d" % (state >> 16, n)
        quiet = state >> 16 >= n and (state >> 16) % 2 == n % 2
        new = r.pc.change_or_not(READER, state & ~2, 60 if quiet else 200)
        if new is None and quiet:
            return state
        state = new[0] if new else state


def back_again(r, before):
    """pcscd has seen the card go and come; whoever connects now gets answers, and the card stays."""
    now = wait_changes(r, before + 2) >> 16
    with r.connect() as card:
        same("an APDU of a new connection", card.transmit(GET_8), EIGHT)
    same("changes", changes(r), now)


# ---- during a command ----------------------------------------------------------------------------------------------------


@case("pulled in a chain of blocks: NO_SMARTCARD")
def pulled_in_chain():
    data = bytes(range(100))
    for skip in range(5):  # S(IFS), four blocks of 32 bytes
        with Rig("aet63:card=echo-t1") as r, r.connect(T1) as card:
            r.sim("0 fault remove at=A1 skip=%d" % skip)
            fails(SCARD_E_NO_SMARTCARD, card.transmit, h("00 E0 00 00 64") + data + b"\0")
            r.pc.wait_empty(READER)


# ---- between commands ----------------------------------------------------------------------------------------------------


@case("swapped while a client is connected: the client never gets the new card's answer")
def swapped():
    for _, name, protocol, _ in BOTH:
        with Rig("aet63:card=%s+start=1" % name) as r:
            for i in range(1, 6):
                with r.connect(protocol) as card:
                    same("counter", card.transmit(COUNTER), number(i))
                    before = changes(r)
                    r.sim("0 swap %s,start=%d" % (name, i + 1))
                    lost(r, card, COUNTER)
                    back_again(r, before)
                    fails(SCARD_W_REMOVED_CARD, card.transmit, COUNTER)


def wait_still(r, seconds=10):
    """Waits until the reader has had nothing to do for a while."""
    end = time.monotonic() + seconds
    while True:
        state, frames = r.pc.state(READER)[0], r.count("frames")
        if r.pc.change_or_not(READER, state & ~2, 400) is None and r.count("frames") == frames:
            return
        assert time.monotonic() < end, "there is no end of commands"


@case("level: what changes while a SAM's command keeps the reader busy is seen after it, also once events are trusted")
def level():
    # The reader tells nothing while it works (idle), or before the answer (race), or after it: no matter. The command is
    # the SAM's, so it does not fail by what happens to the card.
    for events in ("idle", "race", "after"):
        with Rig("aet63:sam=echo-t0,events=" + events, settings=SAM, wait=2) as r:
            r.sim("0 insert echo-t0")
            r.pc.wait_card(READER)
            r.wait_log("asking it no more")
            with r.connect(T0, reader=SAM_READER) as sam:
                for verb, wait in (("remove", r.pc.wait_empty), ("insert echo-t0", r.pc.wait_card)):
                    wait_still(r)
                    call = Background(sam.transmit, "00 E8 01 F4 01 AA")
                    r.until("busy=1", "status")
                    r.sim("0 " + verb)
                    same("the SAM's command", call.result(), h("61 01"))
                    wait(READER)


# ---- unused cards --------------------------------------------------------------------------------------------------------


@case("no early return: an unused card keeps its power for five seconds, whatever the reader says meanwhile")
def early_return():
    with Rig("aet63") as r:
        r.sim("0 fault event after code=1 at=01 times=4")  # tells of the insertion again and again
        r.sim("0 insert echo-t0")
        r.until("powered=1", "status")
        begin = time.monotonic()
        r.until("present=1 powered=0", "status", 20)
        # Were it powered down by an early return it would be within some 250 ms.
        assert time.monotonic() - begin > 3, "powered down after %.1f s" % (time.monotonic() - begin)
        same("resets", r.count("cold"), 1)
        same("state", r.pc.state(READER)[0] & (STATE_PRESENT | STATE_EMPTY | STATE_MUTE), STATE_PRESENT)
        with r.connect(T0) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
        same("resets", r.count("cold"), 2)
        same("changes", changes(r), 1)


@case("a card without power is swapped: seen by the events, and the connection is to the new one")
def unpowered_swap():
    with Rig("aet63:card=echo-t0+start=1") as r:
        with r.connect(T0) as card:
            same("counter", card.transmit(COUNTER), number(1))
            card.disconnect(rig.winscard.UNPOWER)
        r.until("present=1 powered=0", "status")
        before = changes(r)
        r.sim("0 swap echo-t0,start=2")
        wait_changes(r, before + 2)
        with r.connect(T0) as card:
            same("counter", card.transmit(COUNTER), number(2))


# ---- events --------------------------------------------------------------------------------------------------------------


@case("a reader that never sends an event is asked: insertion, removal, quick swap")
def no_events():
    with Rig("aet63", settings=ALL) as r:
        with r.connect(0, SHARE_DIRECT) as direct:
            same("events off", direct.control(ESCAPE, "06 02"), h("90 00"))
        before = r.count("events")
        r.sim("0 insert echo-t0,start=1")
        with r.connect(T0) as card:
            same("counter", card.transmit(COUNTER), number(1))
            r.sim("0 swap echo-t0,start=2")
            wait_changes(r, 3)
            fails(SCARD_W_REMOVED_CARD, card.transmit, COUNTER)
        with r.connect(T0) as card:
            same("counter", card.transmit(COUNTER), number(2))
            r.sim("0 remove")
            r.pc.wait_empty(READER)
            fails(SCARD_W_REMOVED_CARD, card.transmit, COUNTER)
        r.sim("0 insert echo-t0")
        r.pc.wait_card(READER)
        same("events", r.count("events"), before)


@case("half an event is lost on the way: the reader is asked what it was")
def half_events():
    with Rig("aet63") as r:
        r.sim("0 insert echo-t0")
        r.pc.wait_card(READER)
        for packet in (1, 2):
            for verb, wait in (("remove", r.pc.wait_empty), ("insert echo-t0", r.pc.wait_card)):
                wait_still(r)
                r.sim("0 break in int lose %d" % packet)
                r.sim("0 " + verb)
                wait(READER)


@case("a removal whose event is lost: the next command says NO_SMARTCARD, then the reader is asked until events agree")
def lost_removal():
    with Rig("aet63") as r:
        r.sim("0 insert echo-t0,start=1")
        with r.connect(T0) as card:
            same("counter", card.transmit(COUNTER), number(1))
            wait_still(r)
            for _ in range(4):  # removal and insertion, two packets each
                r.sim("0 break in int lose 1")
            r.sim("0 swap echo-t0,start=2")
            r.sim("0 until 10000 *armed=0* stats")
            fails(SCARD_E_NO_SMARTCARD, card.transmit, COUNTER)
        wait_changes(r, 3)
        with r.connect(T0) as card:
            same("counter", card.transmit(COUNTER), number(2))
        # Events are in doubt now: a removal that no event tells is noticed all the same.
        wait_changes(r, 3)
        for _ in range(2):
            r.sim("0 break in int lose 1")
        r.sim("0 remove")
        r.pc.wait_empty(READER)


@case("a reader that does not say whether a card is there: empty, asked on, and there again when it answers")
def silent_reader():
    # Shorter than they are otherwise, and long enough for a machine that has much else to do.
    settings = "[072F:8002]\ncommand_wait = 1000\nreader_cap = 3000\npower_cap = 3000\n"
    with Rig("aet63:card=echo-t0", settings=settings) as r:
        with r.connect(T0) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
        r.sim("0 fault drop at=01 times=0")
        r.sim("0 bounce")
        r.pc.wait_empty(READER, 30)
        asked = r.count("ins_01")
        r.until("ins_01=%d" % (asked + 3), "count", 30)
        r.sim("0 fault clear")
        r.pc.wait_card(READER, 30)
        with r.connect(T0) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)


# ---- cards that do not work ----------------------------------------------------------------------------------------------


def bad_card(r):
    """A card that cannot be powered up, as clients see it."""
    r.pc.wait_state(READER, STATE_PRESENT | STATE_MUTE, STATE_EMPTY)
    fails(SCARD_W_UNPOWERED_CARD, r.pc.connect, READER)
    with r.connect(0, SHARE_DIRECT) as direct:
        same("length of the ATR", len(direct.attribute(ATTR_ATR)), 0)


@case("short circuit: UNPOWERED_CARD; a new connection tries again and works")
def short_circuit():
    with Rig("aet63") as r:
        r.sim("0 fault status=6022 at=80 times=0")
        r.sim("0 insert echo-t0")
        bad_card(r)
        r.sim("0 fault clear")
        card = r.pc.connect(READER)
        same("an APDU", card.transmit(GET_8), EIGHT)


@case("a T=1 card that does not answer any more: NOT_TRANSACTED until it is reset")
def silent_t1():
    for kind in ("6020", "6712", "empty"):
        with Rig("aet63:card=echo-t1,mute=" + kind) as r:
            with r.connect(T1) as card:
                same("an APDU", card.transmit(GET_8), EIGHT)
                fails(SCARD_E_NOT_TRANSACTED, card.transmit, "00 F0 00 00")
                before = r.count("ins_A1")
                fails(SCARD_E_NOT_TRANSACTED, card.transmit, GET_8)
                same("%s: blocks to a dead card" % kind, r.count("ins_A1"), before)
                card.reconnect(initialization=rig.winscard.RESET)
                same("an APDU after the reset", card.transmit(GET_8), EIGHT)


# ---- the SAM -------------------------------------------------------------------------------------------------------------


@case("a SAM that lost its power: NO_SMARTCARD, then a new connection works; the card does not notice")
def sam_lost():
    with Rig("aet63:card=echo-t0+start=1,sam=echo-t0+start=7", settings=SAM, wait=2) as r:
        with r.connect(T0) as card, r.connect(T0, reader=SAM_READER) as sam:
            same("the SAM", sam.transmit(COUNTER), number(7))
            r.sim("0 sam echo-t0+start=8")
            fails(SCARD_E_NO_SMARTCARD, sam.transmit, COUNTER)
            same("the card", card.transmit(COUNTER), number(1))
            lost(r, sam, COUNTER)
            with r.connect(T0, reader=SAM_READER) as again:
                same("the SAM", again.transmit(COUNTER), number(8))
            same("the card", card.transmit(COUNTER), number(1))
        same("changes of the card", changes(r), 0)


@case("a SAM that offers both protocols runs its first: who would also take the other has a connection, and answers")
def sam_dual():
    with Rig("aet63:sam=echo-t1+dual=1", settings=SAM, wait=2) as r:
        for mask in (T0 | T1, T0):
            with r.connect(mask, reader=SAM_READER) as sam:
                same("protocol", sam.protocol, T0)
                same("an APDU", sam.transmit(GET_8), EIGHT)
                sam.disconnect(rig.winscard.RESET)


rig.main()
