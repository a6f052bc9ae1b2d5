# SPDX-License-Identifier: LGPL-2.1-or-later
"""Presence, as a client of stock pcscd sees it: every removal is told once, no card is taken for another, and no slot
stays dead."""
import threading
import time

import rig
import winscard
from rig import READER, Background, Rig, case, fails, h, lost, same
from winscard import (SCARD_E_NO_SMARTCARD, SCARD_W_REMOVED_CARD, STATE_EMPTY, STATE_PRESENT, T0, T1)

rig.orderly = True
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
LONG_APDU = "00 E8 01 F4 01 55"      # the card takes half a second
SETTINGS = "[072F:8002]\n"
CARDS = (("echo-t0", T0), ("echo-t1", T1))


def changes(r):
    return r.pc.state(READER)[0] >> 16


def wait_changes(r, at_least):
    """Waits until pcscd has counted so many insertions and removals."""
    state = r.pc.state(READER)[0]
    end = time.monotonic() + 10
    while state >> 16 < at_least:
        assert time.monotonic() < end, "pcscd has counted %d changes, and not %d" % (state >> 16, at_least)
        state = (r.pc.change_or_not(READER, state & ~2, 200) or (state, b""))[0]
    return state


def new_connection_works(r, protocol=T0 | T1):
    with r.connect(protocol) as card:
        same("an APDU on a new connection", card.transmit(GET_8), EIGHT)


def removed_and_back(r, card, before):
    """The old connection is dead, a removal and an insertion were told, and a new connection works."""
    wait_changes(r, before + 2)
    lost(r, card, GET_8)
    new_connection_works(r)


@case("removal while idle is told at once, and the next card is a new one")
def idle_removal():
    for name, _ in CARDS:
        with Rig("aet63:card=" + name) as r, r.connect() as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            r.sim("0 remove")
            r.pc.wait_empty(READER)
            lost(r, card, GET_8)
            r.sim("0 insert " + name)
            r.pc.wait_card(READER)
            fails(SCARD_W_REMOVED_CARD, card.transmit, GET_8)
            new_connection_works(r)


@case("latch: a card pulled during an APDU is told by that very call, and a card put back is a new one")
def latch():
    for name, protocol in CARDS:
        for executed in (0, 1):
            with Rig("aet63:card=" + name) as r:
                for _ in range(3):
                    with r.connect(protocol) as card:
                        same("an APDU", card.transmit(GET_8), EIGHT)
                        r.sim("0 fault remove at=%s exec=%d" % ("A0" if protocol == T0 else "A1", executed))
                        fails(SCARD_E_NO_SMARTCARD, card.transmit, GET_8)
                        r.pc.wait_empty(READER)
                        r.sim("0 remove")       # (it is out; now the simulator forgets it)
                        r.sim("0 insert " + name)
                        r.pc.wait_card(READER)
                        lost(r, card, GET_8)
                    new_connection_works(r, protocol)


@case("bounce during an APDU: pulled and back before the answer, and still the session is lost")
def bounce_in_command():
    for name, protocol in CARDS:
        with Rig("aet63:card=" + name) as r:
            for _ in range(3):
                with r.connect(protocol) as card:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    before = changes(r)
                    r.sim("0 fault remove at=%s back=1" % ("A0" if protocol == T0 else "A1"))
                    fails(SCARD_E_NO_SMARTCARD, card.transmit, GET_8)
                    removed_and_back(r, card, before)


@case("bounce while idle: out and in at once is a removal and an insertion")
def bounce_idle():
    for name, protocol in CARDS:
        with Rig("aet63:card=" + name) as r:
            for _ in range(3):
                with r.connect(protocol) as card:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    before = changes(r)
                    r.sim("0 bounce")
                    removed_and_back(r, card, before)


@case("bounce of a card without power: nothing but the reader's event tells, and it is a removal and an insertion")
def bounce_unpowered():
    with Rig("aet63") as r:
        r.sim("0 insert echo-t0")
        for _ in range(3):
            r.connect().disconnect(winscard.UNPOWER)
            r.until("present=1 powered=0", "status")
            before = changes(r)
            r.sim("0 bounce")
            wait_changes(r, before + 2)
        new_connection_works(r)


@case("bounce of a card that nobody uses: the next client gets a working card")
def bounce_unused():
    with Rig("aet63:card=echo-t0") as r:
        for _ in range(5):
            r.pc.wait_card(READER)
            before = changes(r)
            r.sim("0 bounce")
            wait_changes(r, before + 2)
            new_connection_works(r)


@case("swap: another card in the same moment has its own ATR, and the old connection is dead")
def swap():
    with Rig("aet63:card=echo-t0") as r:
        for name in ("echo-t1", "pboc-t0", "echo-t0", "pboc-t1"):
            with r.connect() as card:
                old = card.status()[2]
                card.transmit("00 A4 04 00")
                atr = r.swap(name)
                assert atr != old, "the ATR is still " + old.hex(" ")
                lost(r, card, "00 A4 04 00")
            with r.connect() as card:
                same("ATR of the new connection", card.status()[2], atr)


@case("swap during an APDU: never an answer of the new card to the old connection")
def swap_in_command():
    with Rig("aet63:card=echo-t0+start=1") as r, r.connect(T0) as card:
        same("counter", card.transmit("00 EA 00 00 04"), h("00 00 00 02 90 00"))
        before = changes(r)
        running = Background(card.transmit, LONG_APDU)
        r.until("busy=1", "status")
        r.sim("0 swap echo-t0,start=100")
        fails(SCARD_E_NO_SMARTCARD, running.result)
        wait_changes(r, before + 2)
        lost(r, card, "00 EA 00 00 04")
        with r.connect(T0) as other:
            same("counter of the new card", other.transmit("00 EC 00 00 04"), h("00 00 00 64 90 00"))


@case("a transaction is broken by a removal, not carried over to the next card")
def transaction():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        card.begin()
        same("an APDU", card.transmit(GET_8), EIGHT)
        before = changes(r)
        r.sim("0 bounce")
        removed_and_back(r, card, before)


@case("level: insertions and removals faster than pcscd looks end in the true state")
def level():
    with Rig("aet63") as r:
        for last in ("insert echo-t0", "remove", "insert echo-t1"):
            for _ in range(10):
                if last != "remove":
                    r.sim("0 insert echo-t0")
                    r.sim("0 remove")
            r.sim("0 " + last)
            if last == "remove":
                r.pc.wait_empty(READER)
            else:
                new_connection_works(r)


@case("random removals and insertions under traffic: the slot always comes back")
def storm():
    with Rig("aet63:card=echo-t0") as r:
        stop = threading.Event()

        def client():
            done = lost = 0
            with winscard.Context() as pc:
                while not stop.is_set():
                    try:
                        pc.wait_card(READER, 20)
                        with pc.connect(READER) as card:
                            for _ in range(50):
                                same("an APDU", card.transmit(GET_8), EIGHT)
                                done += 1
                                if stop.is_set():
                                    break
                    except winscard.Failed:
                        lost += 1
            return done, lost

        clients = [Background(client) for _ in range(2)]
        for i in range(30):
            r.until("present=1 powered=1" if i % 3 else "present=1", "status")
            r.sim("0 bounce" if i % 2 else "0 fault remove at=A0 back=1")
            start = r.count("card_executions")
            end = time.monotonic() + 10
            while r.count("card_executions") < start + 5:
                assert time.monotonic() < end, "round %d: no more APDUs: the slot is dead" % i
                time.sleep(0.005)
        stop.set()
        done, lost = [sum(x) for x in zip(*[c.result() for c in clients])]
        assert done > 100 and lost >= 10, (done, lost)
        new_connection_works(r)


@case("a card that nobody uses loses its power after five seconds, not earlier, and a client gets it back")
def grace():
    with Rig("aet63") as r:
        begin = time.monotonic()
        r.sim("0 insert echo-t0")
        _, atr = r.pc.wait_card(READER)
        r.until("present=1 powered=0", "status", 20)
        took = time.monotonic() - begin
        assert took > 3.5, "powered down after %.1f s: the poller returned early" % took
        with r.connect() as card:
            same("ATR", card.status()[2], atr)
            same("an APDU", card.transmit(GET_8), EIGHT)
        state, _ = r.pc.state(READER)
        assert state & STATE_PRESENT and not state & STATE_EMPTY
        same("changes that were told", changes(r), 1)


@case("events that are never sent: removal and insertion are still noticed")
def no_events():
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "presence_retry = 100\nescape = all\n") as r:
        with r.connect() as card:
            same("SET_NOTIFICATION off", card.control(winscard.ESCAPE, "06 02"), h("90 00"))
            same("an APDU", card.transmit(GET_8), EIGHT)
        before = r.count("events")
        for _ in range(3):
            r.sim("0 remove")
            r.pc.wait_empty(READER)
            r.sim("0 insert echo-t0")
            new_connection_works(r)
        same("events", r.count("events"), before)


@case("a reader that refuses SET_NOTIFICATION is asked instead")
def refused_events():
    with Rig("aet63:card=echo-t0,unplugged", settings=SETTINGS + "presence_retry = 100\n") as r:
        r.sim("0 fault status=6005 at=06")
        r.sim("0 plug")
        r.pc.wait_readers(lambda names: names)
        new_connection_works(r)
        r.sim("0 remove")
        r.pc.wait_empty(READER)


@case("an event that is lost in mid session shows at the next command")
def lost_event():
    with Rig("aet63") as r:
        r.sim("0 insert echo-t0")     # proves events to the driver
        with r.connect() as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            r.sim("0 break in int lose 1")
            r.sim("0 break in int lose 2")
            r.sim("0 remove")
            lost(r, card, GET_8)
        r.pc.wait_empty(READER)
        r.sim("0 insert echo-t0")
        new_connection_works(r)


@case("events are trusted once proven: an idle reader is asked no more")
def proven():
    with Rig("aet63", settings=SETTINGS + "presence_retry = 50\n") as r:
        asked = r.count("ins_01")
        r.until("ins_01=%d" % (asked + 3), "count")    # not yet
        r.sim("0 insert echo-t0")
        new_connection_works(r)
        r.sim("0 remove")
        r.pc.wait_empty(READER)
        r.wait_log("asking it no more")
        settled = r.count("ins_01")
        same("no state change in a second", r.pc.change_or_not(READER, r.pc.state(READER)[0] & ~2, 1000), None)
        assert r.count("ins_01") <= settled + 1, "asked %d times in a second" % (r.count("ins_01") - settled)


@case("an event right before, during or after an answer is no answer")
def mixed_events():
    for events in ("idle", "race", "after"):
        with Rig("aet63:card=echo-t0,events=" + events) as r:
            with r.connect() as card:
                running = Background(card.transmit, LONG_APDU)
                r.until("busy=1", "status")
                r.sim("0 remove")
                fails(SCARD_E_NO_SMARTCARD, running.result)
            r.pc.wait_empty(READER)
            r.sim("0 insert echo-t0")
            new_connection_works(r)
    with Rig("aet63:card=echo-t0") as r, r.connect() as card:
        for where in ("before", "after"):
            r.sim("0 fault event %s code=1 at=A0" % where)
            same("an APDU, an event %s its answer" % where, card.transmit(GET_8), EIGHT)
            same("the next one", card.transmit("00 84 00 00 02"), h("11 22 90 00"))


@case("a reset message: the reader restarted, the card's session is lost, and the slot works again")
def restart():
    with Rig("aet63:card=echo-t0") as r, r.connect() as card:
        same("an APDU", card.transmit(GET_8), EIGHT)
        before = changes(r)
        r.sim("0 fault event before code=0 at=A0")
        try:
            card.transmit(GET_8)
        except winscard.Failed:
            pass
        removed_and_back(r, card, before)


rig.main()
