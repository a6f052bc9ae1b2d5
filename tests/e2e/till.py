# SPDX-License-Identifier: LGPL-2.1-or-later
"""A till: a client that asks for value commands while the line breaks, and holds what it is told against the card.

The model's card is the truth: it counts what it carried out, and it knows what its blocks hold. A command that goes out
with a fault on the way may have been carried out once or not at all; then
  90 00                       only if it was, and the blocks hold what it makes of them;
  64 00, and 65 81            only if it was not, and the blocks hold what they held;
  65 81, "outcome unknown"    (a line in the log) in either case, but only where the card could not be asked.
Whatever it was, a client that reads balance and backup next is told what the card holds.

    MONEY=cut:7 tests/e2e/money.sh BUILD 'hid: debit'       repeats one case: one kind of fault, one byte
"""
import os

import rig
from neo import ALL_FF, HEADER, Neo, authenticate, ok, sw
from rig import h, same
from winscard import Failed

BALANCE, BACKUP = 4, 5
START, SPARE = 1000, 500  # what they hold before each case
AMOUNT = 7
HEAD = 16        # bytes of a frame around its data; so long is an answer without data, too
BLOCK = 16
READ = HEAD + BLOCK
DONE = (HEADER + h("2C 00 00 00 1C 9B")).hex()  # the answer to a command of this family that was done

# So short that thousands of cases take a minute or two; longer where pcscd runs under a tool that slows it down.
SLOW = 5 if os.environ.get("RUNNER") or os.environ.get("PRE") else 1
COMMAND_WAIT = 80 * SLOW
PURSE_WAIT = COMMAND_WAIT * 3 // 2
WAITS = ("command_wait = %d\nframe_gap = %d\nresync_quiet = %d\nping_wait = %d\npoll_time = 50\nopen_quiet = 10\n"
         "apdu_cap = %d\n" % (COMMAND_WAIT, 30 * SLOW, 5 * SLOW, 80 * SLOW, 5000 * SLOW))


EACH_BYTE = ("cut", "lose", "dup", "late", "again", "cmdcut", "cmdflip")


class Form:
    """A value command. functions: the reader's own data, as it goes over the wire, or None for a stored value. balance,
    backup: what the blocks hold afterwards, as (value, address byte). operations: of the card, each with a transfer.
    reads: how often the driver reads beforehand. kinds: of faults, but for those that every form is tried with."""

    def __init__(self, apdu, functions, balance=(START, BALANCE), backup=(SPARE, BACKUP), operations=1, reads=1,
                 kinds=EACH_BYTE):
        self.apdu, self.balance, self.backup, self.operations = apdu, balance, backup, operations
        self.reads, self.kinds = reads, ("flip", "whole", "past", "around") + kinds
        self.batch = apdu.startswith("FF F5 2C 0A")
        self.store = functions is None
        self.code = "2C08" if self.store else "2C0A"
        self.wait = COMMAND_WAIT if self.store else PURSE_WAIT
        self.frame = HEAD + (2 + BLOCK if self.store else len(h(functions)))
        self.changes = (balance, backup) != ((START, BALANCE), (SPARE, BACKUP))


def batch(functions, **more):
    return Form("FF F5 2C 0A %02X " % len(h(functions)) + functions, functions, **more)


MORE, LESS = (START + AMOUNT, BALANCE), (START - AMOUNT, BALANCE)
SEVEN = "07 00 00 00"
OWN_KEY = "01 FF FF FF FF FF FF"

# Each way through the driver; where dialects share one but for the decoder, one of them stands for it with all faults.
FORMS = {
    "credit": Form("FF D7 00 04 05 01 00 00 00 07", "B1 04 04" + SEVEN, MORE),
    "debit": Form("FF D7 00 04 05 02 00 00 00 07", "31 04 04" + SEVEN, LESS, kinds=EACH_BYTE + ("shifted", "unasked")),
    "credit, data objects": Form("FF C2 00 03 0B A0 09 80 01 04 81 04 07 00 00 00 00", "B1 04 04" + SEVEN, MORE,
                                 kinds=()),
    "debit, data objects": Form("FF C2 00 03 0B A1 09 80 01 04 81 04 07 00 00 00 00", "31 04 04" + SEVEN, LESS),
    "credit, OMNIKEY": Form("FF D4 00 04 04 07 00 00 00", "B1 04 04" + SEVEN, MORE, kinds=()),
    "debit, SpringCard": Form("FF F5 C0 04 04 07 00 00 00", "31 04 04" + SEVEN, LESS, kinds=()),
    "credit into another block": Form("FF F5 C1 04 05 07 00 00 00 05", "B2 05 01 04 05 04" + SEVEN, backup=MORE,
                                      operations=2, reads=2, kinds=()),
    "debit into another block": Form("FF F5 C0 04 05 07 00 00 00 05", "32 05 01 04 05 04" + SEVEN, backup=LESS,
                                     operations=2, reads=2),
    "store": Form("FF D7 00 04 05 00 00 00 00 07", None, (AMOUNT, BALANCE), kinds=EACH_BYTE + ("shifted", "unasked")),
    "copy": Form("FF D7 00 04 02 03 05", "31 05 01 04", backup=(START, BALANCE), reads=2),
    "restore": Form("FF F5 C2 05 05 00 00 00 00 04", "31 04 01 05", (SPARE, BACKUP), reads=2, kinds=()),
    "restore in place": Form("FF F5 C2 04 04 00 00 00 00", "31 04 01 04", kinds=()),
    "batch, debit": batch("31 04 04" + SEVEN, balance=LESS, kinds=()),
    "batch, credit": batch("B1 04 04" + SEVEN, balance=MORE, kinds=()),
    "batch, debit and backup": batch("32 04 04" + SEVEN + "05 01 04", balance=LESS, backup=LESS, operations=2),
    "batch, own keys": batch("32 04 0B" + SEVEN + OWN_KEY + "05 08 04" + OWN_KEY, balance=LESS, backup=LESS,
                             operations=2),
    "batch, fifteen operations": batch("3F" + "04 04 01 00 00 00" * 14 + "05 01 04", balance=(START - 14, BALANCE),
                                       backup=(START - 14, BALANCE), operations=15),
}


class Kind:
    """A kind of fault. fault: with {K} for the byte, {CODE} for the command and {E} for whether the reader carries it
    out; length: how many bytes there are to be tried, of a form."""

    def __init__(self, title, fault, length, executed=(1, 0), links=("hid", "serial"), asked=True):
        self.title, self.fault, self.length = title, fault, length
        self.executed, self.links, self.asked = executed, links, asked


def of_answer(_):
    return range(HEAD)


def of_command(form):
    return range(form.frame)


# A byte less or more is nothing that USB does to a report. A command that is spoilt is not carried out; the reader may
# say so (04), and then it comes again. After the answer is lost, the driver asks by 2C-07, and that may fail for good.
KINDS = {
    "cut": Kind("the answer cut", "cut={K} at={CODE} exec={E}", of_answer),
    "flip": Kind("a bit of the answer flipped", "flip={K} at={CODE} exec={E}", of_answer),
    "lose": Kind("a byte of the answer lost", "lose={K} at={CODE} exec={E}", of_answer, links=("serial",)),
    "dup": Kind("a byte of the answer doubled", "dup={K} at={CODE} exec=1", of_answer, (1,), ("serial",)),
    "late": Kind("the answer late but for its first bytes", "late={K} at={CODE} exec={E}", of_answer),
    "whole": Kind("the answer lost, or with a wrong CRC", "{WHOLE} at={CODE} exec={E}", lambda _: range(2)),
    "past": Kind("the answer after its wait", "delay={PAST} at={CODE}", lambda _: range(8), (1,)),
    "around": Kind("something before the answer, or a copy", "{AROUND} at={CODE}", lambda _: range(4), (1,)),
    "again": Kind("the answer again, before the next one", "again at={CODE}", lambda _: range(1), (1,)),
    "shifted": Kind("the answer to the read before it in place of its own",
                    "again skip={LAST} at=2C07|badcrc at={CODE} exec={E}", lambda _: range(1)),
    "cmdcut": Kind("the command cut", "cmdcut={K} at={CODE}", of_command, (None,)),
    "cmdflip": Kind("a bit of the command flipped", "cmdflip={K} at={CODE}", of_command, (None,)),
    "unasked": Kind("the answer lost, and each answer of the card flipped when it is asked",
                    "drop at={CODE} exec={E}|flip={K} times=0 skip={READS} at=2C07", lambda _: range(READ),
                    asked=False),
}


AROUND = ("unsolicited=5000", "noise=5669ABCD", "noise=" + DONE, "delay=10")


def value_block(value, address):
    v, w = value.to_bytes(4, "little"), (~value & 0xFFFFFFFF).to_bytes(4, "little")
    return v + w + v + bytes((address, 255 - address)) * 2


class Till:
    def __init__(self, r):
        self.r, self.card, self.read_to = r, None, 0

    def ready(self):
        """Connected and authenticated, with START and SPARE in the blocks."""
        self.r.sim("0 fault clear")
        for block, value in ((BALANCE, START), (BACKUP, SPARE)):
            self.r.sim("0 mem write %d %s" % (block, value_block(value, block).hex()))
        if self.card:
            try:
                authenticate(self.card, BALANCE)
                return
            except (Failed, AssertionError):
                pass
        self.connect()

    def connect(self):
        self.r.pc.wait_card(self.r.name)
        self.card = self.r.connect()
        ok(self.card, ALL_FF)
        authenticate(self.card, BALANCE)

    def unknown(self):
        """Whether the log has said since the last call that an outcome is unknown. Half a line is left for later."""
        with open(self.r.log_path, "rb") as f:
            f.seek(self.read_to)
            text = f.read()
        whole = text.rfind(b"\n") + 1
        self.read_to += whole
        return b"outcome unknown" in text[:whole]

    def executed(self, form):
        """How often the card has carried the command out, since the simulator began."""
        counts = self.r.count()
        return counts["writes"] if form.store else counts["value_ops"] / form.operations

    def holds(self):
        return self.r.value(BALANCE)[:2], self.r.value(BACKUP)[:2]

    def transmit(self, apdu):
        """The status word (of the value command itself where data objects wrap it), or the error of the call."""
        try:
            told = sw(self.card, apdu)
        except Failed as e:
            return str(e)
        return told[9:14] if told.startswith("C0 03 ") else told[-5:]

    def read(self, block):
        told = self.card.transmit("FF B1 00 %02X 04" % block)
        if told == h("69 82"):  # the driver had to select the card again
            authenticate(self.card, block)
            told = self.card.transmit("FF B1 00 %02X 04" % block)
        same("the status of block %d as a client reads it" % block, told[4:], h("90 00"))
        return int.from_bytes(told[:4], "big", signed=True)

    def report(self, stays):
        """Balance and backup as a client reads them; one that connects anew if the session need not stay."""
        try:
            return self.read(BALANCE), self.read(BACKUP)
        except Failed:
            if stays:
                raise
        self.connect()
        return self.read(BALANCE), self.read(BACKUP)

    def under(self, form, faults, asked=None):
        """Runs a form under faults. asked: whether the card can be asked what became of it; None: it depends. Returns
        what the client was told, and whether the card has carried it out, after both were held against each other."""
        self.ready()
        before = self.executed(form)
        self.unknown()
        for fault in faults:
            self.r.sim("0 fault " + fault)
        told = self.transmit(form.apdu)
        same("faults that hit nothing", self.r.count("armed"), sum("times=0" in fault for fault in faults))
        self.r.sim("0 fault clear")
        done, holds, unknown = self.executed(form) - before, self.holds(), self.unknown()
        assert done in (0, 1), "carried out %g times; the client was told %s" % (done, told)
        old, new = ((START, BALANCE), (SPARE, BACKUP)), (form.balance, form.backup)
        same("what the card holds", holds, new if done else old)
        judge(form, told, done == 1 or not form.changes, unknown, asked)
        same("balance and backup, as a client reads them", self.report(asked), (holds[0][0], holds[1][0]))
        same("carried out after the client was told", self.executed(form) - before, done)
        return told, done


def judge(form, told, done, unknown, asked):
    """What the client was told, and whether the log says that the outcome is unknown, against what was done."""
    if told == "90 00":
        assert done and not unknown, "told 90 00; done: %s, unknown: %s" % (done, unknown)
    elif told == "64 00":
        assert not done and not unknown, "told 64 00; done: %s, unknown: %s" % (done, unknown)
    else:
        same("told", told, "65 81")
        assert unknown or not done, "told 65 81 as if nothing had been done"
        assert unknown or not form.batch, "told 65 81, and nothing in the log"
    if asked and not form.batch:
        same("told, and unknown", (told, unknown), ("90 00" if done else "65 81", False))
    elif asked is False:
        same("told, and unknown", (told, unknown), ("65 81", True))


def faults_of(kind, form, byte, executed):
    words = {"K": byte, "CODE": form.code, "E": executed, "READS": form.reads, "LAST": form.reads - 1,
             "PAST": form.wait + byte * 4 * SLOW + 1, "WHOLE": ("drop", "badcrc")[byte % 2], "AROUND": AROUND[byte % 4]}
    return kind.fault.format(**words).split("|")


def every_byte(till, form, word, only):
    """All cases of a kind; returns how many bytes were tried."""
    kind = KINDS[word]
    tried = [byte for byte in kind.length(form) if only is None or byte == only]
    for byte in tried:
        for executed in kind.executed:
            try:
                told, done = till.under(form, faults_of(kind, form, byte, executed), kind.asked)
                if executed is not None:
                    same("carried out, and told %s" % told, done, executed)
            except (AssertionError, Failed) as e:
                till.card = None
                raise AssertionError("byte %d%s: %s" % (byte, {1: ", done", 0: ", not done", None: ""}[executed], e))
    return len(tried)


def run(link, name):
    """The case of a form on a link: a line for each kind of fault, and one for all of it."""
    form = FORMS[name]
    word, _, byte = os.environ.get("MONEY", "").partition(":")
    failed = []
    with Neo("mifare1k", link=link, settings=WAITS, debug="--info") as r:
        till = Till(r)
        same("with nothing in the way", till.under(form, (), True), ("90 00", 1))
        till.ready()
        same("told", till.transmit(form.apdu), "90 00")
        same("the length of the command", len(h(r.sim("0 last"))), form.frame)
        for kind, about in KINDS.items():
            if link not in about.links or kind not in form.kinds or word not in ("", kind):
                continue
            title = "%s: %s: %s" % (link, name, about.title)
            try:
                tried = every_byte(till, form, kind, int(byte) if byte else None)
                print("PASS %s (%d)" % (title, tried), flush=True)
            except AssertionError as e:
                failed.append(kind)
                again = str(e).split(",")[0].split(":")[0].replace("byte ", "")
                print("FAIL %s %s; again: MONEY=%s:%s tests/e2e/%s.sh BUILD '%s: %s'" %
                      (title, e, kind, again, "money" if link == "hid" else "money_serial", link, name), flush=True)
    assert not failed, "failed above: " + ", ".join(failed)


def on(link):
    """Makes the cases of a link."""
    for name in FORMS:
        rig.case("%s: %s" % (link, name), 400)(lambda name=name: run(link, name))
