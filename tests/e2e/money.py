# SPDX-License-Identifier: LGPL-2.1-or-later
"""Money: the answer to a value command is lost, cut, corrupted, doubled or late at every byte, before and after the card
has carried it out; the reader restarts, the card leaves. Whatever happens, the card has done it at most once, and what
the client was told agrees with the card's own count."""
import rig
from neo import ALL_FF, Neo, authenticate, ok, sw
from rig import case, same
from winscard import Failed

START = 1000
ANSWER = 16  # bytes of an answer without data

# What is asked, by which command of the reader it is carried out, and what blocks 4 and 5 hold afterwards.
FORMS = {
    "debit": ("FF D7 00 04 05 02 00 00 00 07", "2C0A", START - 7, START),
    "credit": ("FF C2 00 03 0B A0 09 80 01 04 81 04 07 00 00 00 00", "2C0A", START + 7, START),
    "debit, OMNIKEY": ("FF D8 00 04 04 07 00 00 00", "2C0A", START - 7, START),
    "debit into another block": ("FF F5 C0 04 05 07 00 00 00 05", "2C0A", START, START - 7),
    "store": ("FF D7 00 04 05 00 00 00 00 07", "2C08", 7, START),
    "backup": ("FF D7 00 04 02 03 05", "2C0A", START, START),
    "batch": ("FF F5 2C 0A 0A 32 04 04 07 00 00 00 05 01 04", "2C0A", START - 7, START - 7),
}


class Till:
    """A card with a purse, and a client that is connected to it."""

    def __init__(self, rig_):
        self.r = rig_
        self.card = None

    def ready(self):
        """Connected and authenticated, 1000 in blocks 4 and 5 (a backup shows there by its address byte)."""
        self.r.sim("0 fault clear")
        if self.card:
            try:
                authenticate(self.card, 4)
            except (Failed, AssertionError):
                self.card = None
        if not self.card:
            self.r.pc.wait_card(self.r.name)
            self.card = self.r.connect()
            ok(self.card, ALL_FF)
            authenticate(self.card, 4)
        ok(self.card, "FF D7 00 04 05 00 00 00 03 E8", "FF D7 00 05 05 00 00 00 03 E8")

    def outcome(self, form, fault):
        """Runs a form under a fault. Returns what the client was told, after it was held against the card."""
        apdu, code, four, five = FORMS[form]
        self.ready()
        before, sent, unknown = self.r.count(), self.r.count(code), self.r.log().count("outcome unknown")
        self.r.sim("0 fault " + fault + " at=" + code)
        try:
            told = sw(self.card, apdu)
        except Failed as e:
            told = str(e)
        self.r.sim("0 fault clear")
        if told.startswith("C0 03 "):
            told = told[9:14]
        what = "%s under %s: %s" % (form, fault, told)
        now = (self.r.value(4)[:2], self.r.value(5)[:2])
        old, new = ((START, 4), (START, 5)), ((four, 4), (five, 4 if five != START or form == "backup" else 5))
        if "status=04" not in fault:  # which proves that it was not carried out
            same(what + ", commands sent", self.r.count(code), sent + 1)
        unknown = self.r.log().count("outcome unknown") > unknown
        if told == "90 00":
            same(what + ", the card", now, new)
        elif told[-5:] == "64 00" or (told == "65 81" and not unknown):
            same(what + ", the card", now, old)
        else:
            assert told == "65 81" and unknown, what
            assert now in (old, new), "%s, the card has %r" % (what, now)
        done = self.r.count("value_ops") - before["value_ops"]
        assert done <= (2 if "F5" in apdu and new[1] != old[1] else 1), "%s: %d value operations" % (what, done)
        return told, now == new

    def settled(self, form, fault, executed):
        """As outcome, where the card can be asked: the report is the truth itself."""
        told, changed = self.outcome(form, fault)
        what = "%s under %s" % (form, fault)
        if form == "batch":  # is not asked for
            same(what, told, "65 81")
            return
        if form == "store":
            same(what, told, "90 00" if executed else "65 81")
            return
        same(what, told, "90 00" if executed else "65 81")
        same(what + ", the card has changed", changed, executed)


def every_byte(form, kinds, link="hid"):
    with Neo("mifare1k", link=link) as r:
        till = Till(r)
        for executed in (True, False):
            for kind in kinds:
                for byte in range(ANSWER):
                    fault = "%s=%d exec=%d" % (kind, byte, executed)
                    till.settled(form, fault, executed)
            for fault in ("drop", "badcrc", "late"):
                till.settled(form, "%s exec=%d" % (fault, executed), executed)


@case("a debit, its answer cut, flipped or with a byte lost, at every byte, done or not done")
def debit():
    every_byte("debit", ("cut", "flip", "lose"))


@case("a credit in data objects, its answer cut, flipped or with a byte lost, at every byte")
def credit():
    every_byte("credit", ("cut", "flip", "lose"))


@case("a debit on a serial line, its answer cut, flipped or with a byte lost, at every byte")
def on_serial():
    every_byte("debit", ("cut", "flip", "lose"), "serial")


@case("a debit into another block, at every byte")
def elsewhere():
    every_byte("debit into another block", ("cut", "flip"))


@case("a stored value, at every byte")
def store():
    every_byte("store", ("cut", "flip"))


@case("a backup, at every byte")
def backup():
    every_byte("backup", ("cut", "flip"))


@case("a batch, at every byte: never sent again, and said to be unknown")
def batch():
    every_byte("batch", ("cut", "flip"))


@case("an answer with a byte too many, noise before it, twice, after another frame: the command counts as done")
def good_in_the_end():
    with Neo("mifare1k") as r:
        till = Till(r)
        for form in ("debit", "credit", "store", "backup", "debit into another block"):
            for fault in ["dup=%d" % byte for byte in range(ANSWER)] + ["unsolicited=5000", "delay=30"]:
                told, changed = till.outcome(form, fault)
                same("%s under %s" % (form, fault), (told, changed), ("90 00", True))


@case("whole reports lost and doubled on USB")
def reports():
    with Neo("mifare1k") as r:
        till = Till(r)
        for form in ("debit", "store", "backup"):
            till.settled(form, "hidlose=0", True)
            same("doubled", till.outcome(form, "hiddup=0"), ("90 00", True))


@case("the reader says that it failed, done or not done: the card is asked, and selected again")
def refused():
    with Neo("mifare1k") as r:
        till = Till(r)
        for form in ("debit", "credit", "debit, OMNIKEY", "debit into another block", "backup", "store"):
            for executed in (True, False):
                told, changed = till.outcome(form, "status=0A exec=%d" % executed)
                same("%s, %d" % (form, executed), (told, changed), ("90 00" if executed else "64 00", executed))
                same("the authentication is forgotten", sw(till.card, "FF B0 00 04 10"), "69 82")
        for executed in (True, False):  # no block is named: how far did it come?
            same("batch, %d" % executed, till.outcome("batch", "status=0A exec=%d" % executed), ("65 81", executed))


@case("the reader says that the card was silent: the truth is told, and then the session is over")
def silent():
    with Neo("mifare1k") as r:
        till = Till(r)
        for form in ("debit", "backup"):
            for executed in (True, False):
                told, changed = till.outcome(form, "status=08 exec=%d" % executed)
                same("%s, %d" % (form, executed), (told, changed), ("90 00" if executed else "65 81", executed))
                try:
                    sw(till.card, "FF B0 00 04 10")
                    raise AssertionError("the session goes on")
                except Failed:
                    pass


@case("the reader restarts, leaves pass-through mode, answers with statuses that nobody knows; the card leaves")
def worse():
    with Neo("mifare1k") as r:
        till = Till(r)
        for form in ("debit", "credit", "batch", "backup"):
            for fault in ("boot exec=0", "status=0C", "status=0B", "status=70", "status=77 exec=1", "status=04"):
                till.outcome(form, fault)
        for form in ("debit", "batch"):
            till.ready()
            apdu, code, four, five = FORMS[form]
            operations = r.value(4)[2]
            r.sim("0 fault remove at=" + code)
            told = sw(till.card, apdu)
            same("%s, the card gone" % form, told, "65 81")
            r.pc.wait_empty(r.name)
            till.card = None
            r.sim("0 insert same")
            r.pc.wait_card(r.name)
            assert r.value(4)[0] in (START, four), r.value(4)
            assert r.value(4)[2] - operations <= (2 if form == "batch" else 1)
            assert "outcome unknown" in r.log()


rig.main()
