# SPDX-License-Identifier: LGPL-2.1-or-later
"""Money: the answer to a value command is lost, cut, corrupted or late at every byte, before and after the card has
carried it out, and so is the command; the reader says that it failed, restarts, the card leaves. Whatever happens, the
card has done it at most once, and what the client was told agrees with the card's own count. till.py says how; this is
the half on USB, and money_serial.py the one on a serial line."""
import rig
import till
from neo import Neo, sw
from rig import case, same
from till import FORMS, Till
from winscard import Failed


def each(names, faults):
    """Every form under every fault: what the client was told, and whether the command was carried out."""
    with Neo("mifare1k", settings=till.WAITS) as r:
        t = Till(r)
        for name in names:
            for fault in faults:
                told, done = t.under(FORMS[name], ["%s at=%s" % (fault, FORMS[name].code)])
                yield "%s under %s" % (name, fault), t, told, done


till.on("hid")


@case("whole reports lost and doubled on USB")
def reports():
    for what, _, told, done in each(FORMS, ("hidlose=0", "hiddup=0")):
        if "hidlose" in what and what.startswith("batch"):
            same(what, (told, done), ("65 81", 1))
        else:
            same(what, (told, done), ("90 00", 1))


@case("the reader says that it failed, done or not done: the card is asked, and selected again")
def refused():
    for what, t, told, done in each(FORMS, ("status=0A exec=1", "status=0A exec=0")):
        same(what, done, what[-1] == "1")
        if what.startswith("batch"):  # no block is named: how far did it come?
            same(what, told, "65 81")
        elif "in place" in what:
            same(what, told, "90 00")
        else:
            same(what, told, "90 00" if done else "64 00")


@case("after a refusal the card is selected again, and its authentication forgotten")
def selected_again():
    with Neo("mifare1k", settings=till.WAITS) as r:
        t = Till(r)
        for name in ("debit", "store", "copy", "batch, debit"):
            t.ready()
            r.sim("0 fault status=0A at=" + FORMS[name].code)
            t.transmit(FORMS[name].apdu)
            same(name, sw(t.card, "FF B0 00 04 10"), "69 82")


@case("the reader says that the card was silent: the truth is told, and then the session is over")
def silent():
    with Neo("mifare1k", settings=till.WAITS) as r:
        t = Till(r)
        for name in ("debit", "copy", "store"):
            for executed in (1, 0):
                t.ready()
                before = t.executed(FORMS[name])
                r.sim("0 fault status=08 exec=%d at=%s" % (executed, FORMS[name].code))
                told = t.transmit(FORMS[name].apdu)
                what = "%s, %d" % (name, executed)
                same(what, (told, t.executed(FORMS[name]) - before), ("90 00" if executed else "65 81", executed))
                try:
                    sw(t.card, "FF B0 00 04 10")
                    raise AssertionError(what + ": the session goes on")
                except Failed:
                    t.card = None


@case("the reader restarts, leaves pass-through mode, answers with statuses that nobody knows")
def worse():
    faults = ("boot exec=0", "status=0C", "status=0B", "status=70", "status=77 exec=1", "status=04")
    for what, _, told, done in each(("debit", "credit", "store", "copy", "batch, debit and backup"), faults):
        if "status=04" in what:  # the proof that it was not carried out: it may come again, and is no riddle
            assert (told, done) in (("90 00", 1), ("65 81", 0)), "%s: %s, done %d times" % (what, told, done)


@case("the card leaves while the command is carried out")
def leaves():
    with Neo("mifare1k", "fwt=10", settings=till.WAITS) as r:
        t = Till(r)
        for name in ("debit", "store", "batch, debit and backup"):
            for executed in (1, 0):
                t.ready()
                before = t.executed(FORMS[name])
                t.unknown()
                r.sim("0 fault remove exec=%d at=%s" % (executed, FORMS[name].code))
                told = t.transmit(FORMS[name].apdu)
                same("%s, the card gone, %d" % (name, executed), (told, t.unknown()), ("65 81", True))
                r.pc.wait_empty(r.name)
                r.sim("0 insert same")
                t.connect()
                done = t.executed(FORMS[name]) - before
                same("%s, carried out" % name, done, executed)
                same("balance and backup", t.report(True), tuple(value for value, _ in t.holds()))


rig.main()
