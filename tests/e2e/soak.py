# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing lost and nothing twice, over many APDUs: two clients on each slot of two AET63, a ViVOpay reader on a serial
line and one on USB-HID, all at the same time, under the stock pcscd. SOAK_APDUS says how many (20 000; make soak:
200 000).

How every answer is known beforehand: most commands return what was sent, or a pattern of the length that was asked for.
The others add 1 to the card's counter and return it. The card has one counter for all clients, so the numbers that they
get must be all different, rising for each client, and 1 to N together: a lost command, one that was executed twice, and
an answer that came from another slot or at another time all break this. At the end the simulated readers are asked how
many commands their cards have executed: as many as were sent, and not one more. An error, of whatever kind, is a lost
APDU; only the word that the other client has reset the card (the command was not sent then) is none, as clients do
that. They do it while the other one is in no call: pcscd 1.9.9 changes what it knows of a card outside of its mutex,
and a call at the same moment can fail with SCARD_E_PROTO_MISMATCH without ever reaching a driver. Nor is the other one
in a call between a command to a T=0 card and its GET RESPONSE; a transaction would do, but who meets one waits 100 ms.

Each client is a process. Several in the threads of one process can crash it: libpcsclite 1.9.9 frees what it knows of a
connection (SCardDisconnect) without the lock under which other threads look through all connections (SCardTransmit).

The run is cut into ten parts. Between two of them all clients have gone; pcscd then has as many descriptors and threads
as after the first part, and no more memory than MEMORY_KB above it: 256 kB in 18 000 APDUs is 15 bytes each, in 180 000
one and a half. MALLOC_ARENA_MAX keeps all threads in one heap, for with several its size depends on which thread met
which.
"""
import fcntl
import multiprocessing
import os
import random
import tempfile
import time

import rig
import winscard
from rig import Rig, case, same
from winscard import RESET, SCARD_W_RESET_CARD, LEAVE, Failed

APDUS = int(os.environ.get("SOAK_APDUS", "20000"))
PARTS, CLIENTS, MEMORY_KB, EXPECTED_PER_SECOND = 10, 2, 256, 40
PORT = "/dev/ttyUSB0"
# A machine that stands still for half a second is no broken frame.
PATIENCE = "frame_gap = 20000\ncommand_wait = 20000\nreader_cap = 60000\n"
READERS = ("aet63:interval=none,serial=T0,card=echo-t0", "aet63:interval=none,serial=T1,card=echo-t1",
           "neo:tty=ttyUSB0", "neo:link=hid,interval=none,serial=H1")
SETTINGS = ("[072F:8002]\n" + PATIENCE + "".join(
    "[%s]\nslots = cl.icc\nping_wait = 20000\n" % who + PATIENCE for who in ("0ACD:3530", PORT)))
ADD, COUNTER = "00 EA 00 00 04", "00 EC 00 00 04"
OK = b"\x90\x00"


class Gate:
    """Any number of clients inside, or one alone; who wants to be alone goes first. A process enters through a door, and
    keeps it until it is inside."""

    def __init__(self, path):
        self.door, self.room = open(path + ".door", "w"), open(path + ".room", "w")

    def enter(self, alone=False):
        fcntl.flock(self.door, fcntl.LOCK_EX)
        fcntl.flock(self.room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self.door, fcntl.LOCK_UN)

    def leave(self):
        fcntl.flock(self.room, fcntl.LOCK_UN)


class Outcome:
    """What one client did in one part of the run."""

    def __init__(self):
        self.sent = self.resets = 0
        self.numbers, self.lost, self.wrong = [], [], []


class Slot:
    def __init__(self, what, reader, part, index, counter, t0=False):
        self.what, self.reader, self.part = what, reader, part      # where: a part of the name, and its last digits
        self.index, self.counter, self.t0 = index, counter, t0      # the simulator's reader, and what it counts
        self.sent = self.resets = 0
        self.numbers = [[] for _ in range(CLIENTS)]
        self.lost, self.wrong = [], []

    def add(self, number, outcome):
        self.sent, self.resets = self.sent + outcome.sent, self.resets + outcome.resets
        self.numbers[number] += outcome.numbers
        self.lost += outcome.lost
        self.wrong += outcome.wrong


def slots():
    return [Slot("AET63, T=0", "(T0)", "00", 0, "card_executions", t0=True),
            Slot("AET63, T=1", "(T1)", "00", 1, "card_executions"),
            Slot("serial, field", "till", "00", 2, "executions"),
            Slot("serial, contact", "till", "01", 2, "icc_executions"),
            Slot("HID, field", "(H1)", "00", 3, "executions"),
            Slot("HID, contact, T=0", "(H1)", "01", 3, "icc_executions", t0=True)]


class Client(Outcome):
    """One of a slot's clients, for one part of the run: sessions of some commands each, until its share is done."""

    def __init__(self, slot, share, seed):
        super().__init__()
        self.slot, self.share, self.dice = slot, share, random.Random(seed)

    def run(self, pipe):
        """In a process of its own; tells what came of it."""
        self.gate = Gate(self.slot.gate)
        with winscard.Context() as pc:
            while self.sent < self.share:
                card = self.call(pc.connect, self.slot.name)
                for _ in range(min(self.share - self.sent, self.dice.randint(1, 60))):
                    self.one(card)
                reset = self.dice.random() < 0.05
                self.call(card.disconnect, RESET if reset else LEAVE, alone=reset)
        pipe.send({name: getattr(self, name) for name in vars(Outcome())})

    def call(self, function, *args, alone=False):
        self.gate.enter(alone)
        try:
            return function(*args)
        finally:
            self.gate.leave()

    def one(self, card):
        """One exchange, of one APDU or, to fetch the answer of a T=0 card, of two."""
        choice = self.dice.random()
        if choice < 0.5:
            self.judge(self.call(self.exchange, card, [rig.h(ADD)]), None)
        elif self.slot.t0 and choice < 0.75:
            n = self.dice.randint(1, 200)
            data = self.dice.randbytes(n)
            apdus = [b"\x00\xE0\0\0" + bytes([n]) + data, b"\x00\xC0\0\0" + bytes([n])]
            self.judge(self.call(self.exchange, card, apdus, alone=True), bytes([0x61, n]) + data + OK)
        elif choice < 0.75:
            data = self.dice.randbytes(self.dice.choice((1, 8, 31, 32, 100, 255, 255, 600)))
            self.judge(self.call(self.exchange, card, [echo(data)]), data + OK)
        else:
            n = self.dice.randint(1, 255)
            self.judge(self.call(self.exchange, card, [bytes((0, 0xE2, 0, n, n))]), bytes(range(n)) + OK)

    def exchange(self, card, apdus):
        """The answers to the commands, or None for a lost one."""
        answer = b""
        for apdu in apdus:
            try:
                answer += self.transmit(card, apdu)
            except Failed as e:
                self.lost.append("%s after %d bytes" % (e, len(answer)))
                return None
        return answer

    def transmit(self, card, apdu):
        """Sends it, again if the card had been reset before."""
        while True:
            try:
                answer = card.transmit(apdu)
            except Failed as e:
                if e.code == SCARD_W_RESET_CARD:
                    self.resets += 1
                    card.reconnect()
                    continue
                self.sent += 1
                raise
            self.sent += 1
            return answer

    def judge(self, answer, expected):
        if answer is None:
            return
        if expected is not None:
            if answer != expected:
                self.wrong.append("%s, and not %s" % (winscard.hexa(answer[:40]), winscard.hexa(expected[:40])))
        elif len(answer) != 6 or answer[4:] != OK:
            self.wrong.append("%s as a number" % winscard.hexa(answer[:40]))
        else:
            self.numbers.append(int.from_bytes(answer[:4], "big"))


def echo(data):
    """A command that returns its data: short if that is possible, else extended."""
    if len(data) < 256:
        return b"\x00\xE0\0\0" + bytes([len(data)]) + data + b"\0"
    return b"\x00\xE0\0\0\0" + len(data).to_bytes(2, "big") + data + b"\0\0"


# ---- judging the whole -----------------------------------------------------------------------------------------------


def judge_counter(r, slot):
    """The numbers that the clients got are 1 to N, each once and in order."""
    with r.pc.connect(slot.name) as card:
        total = int.from_bytes(card.transmit(COUNTER)[:4], "big")
        slot.sent += 1
    for client, numbers in enumerate(slot.numbers):
        if any(a >= b for a, b in zip(numbers, numbers[1:])):
            slot.wrong.append("client %d: numbers do not rise" % client)
    together = sorted(n for numbers in slot.numbers for n in numbers)
    if together != list(range(1, total + 1)):
        slot.wrong.append("the card has counted to %d, the clients got %d numbers, %d different ones" %
                          (total, len(together), len(set(together))))
    executed = r.count(slot.counter, slot.index)
    if executed != slot.sent:
        slot.wrong.append("%d commands sent, and %d executed by the card" % (slot.sent, executed))


def look(pid):
    """(descriptors, threads, resident kB, and of these anonymous: heap, stacks, changed data)"""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in f if line.rstrip().endswith("kB")}
    return (len(os.listdir("/proc/%d/fd" % pid)), len(os.listdir("/proc/%d/task" % pid)), sizes["Rss"],
            sizes["Anonymous"])


def rested(pid, level, seconds=20):
    """What pcscd has when its clients have gone, which it sees to in its own time: as many descriptors and threads as
    `level` says, or after that time whatever there are."""
    end = time.monotonic() + seconds
    now = look(pid)
    while now[:2] != level and time.monotonic() < end:
        time.sleep(0.02)
        now = look(pid)
    return now


def part(slots_, number):
    share, fork, running = APDUS // (PARTS * len(slots_) * CLIENTS), multiprocessing.get_context("fork"), []
    end = time.monotonic() + 30 + APDUS // EXPECTED_PER_SECOND
    for s in slots_:
        for c in range(CLIENTS):
            here, there = fork.Pipe(duplex=False)
            client = Client(s, share, "%d %s %d" % (number, s.what, c))
            process = fork.Process(target=client.run, args=(there,), daemon=True)
            process.start()
            there.close()
            running.append((s, c, process, here))
    for s, c, process, here in running:
        assert here.poll(max(0, end - time.monotonic())), "client %d of %s does not end" % (c, s.what)
        try:
            outcome = Outcome()
            vars(outcome).update(here.recv())
        except EOFError:
            process.join()
            raise AssertionError("client %d of %s failed, exit code %s" % (c, s.what, process.exitcode)) from None
        s.add(c, outcome)
        process.join()


def tell(slots_, levels, seconds):
    sent = sum(s.sent for s in slots_)
    print("  %d APDUs in %d s (%d a second), %d resets by clients" %
          (sent, seconds, sent / seconds, sum(s.resets for s in slots_)))
    for s in slots_:
        print("  %s: %d APDUs, %d counted, %d lost, %d wrong" %
              (s.what, s.sent, sum(map(len, s.numbers)), len(s.lost), len(s.wrong)))
    print("  pcscd after each part, descriptors: %s; threads: %s" %
          tuple(" ".join(str(v[i]) for v in levels) for i in (0, 1)))
    print("  resident kB: %s; anonymous kB: %s" %
          tuple(" ".join(str(v[i]) for v in levels) for i in (2, 3)), flush=True)


def bed():
    return Rig(*READERS, settings=SETTINGS, debug="", wait=6,
               serial={"ViVOpay at the till": PORT}, env={"MALLOC_ARENA_MAX": "1"})


def find(r, all_):
    names = r.pc.readers()
    for s in all_:
        s.name, = (n for n in names if s.reader in n and n.endswith(s.part))
    r.sim("2 insert iso:echo-t1")
    r.sim("2 icc insert echo-t1")
    r.sim("3 insert iso:echo-t1")
    r.sim("3 icc insert echo-t0")
    for s in all_:
        r.pc.wait_card(s.name)


@case("%d APDUs over all readers: 0 lost, 0 wrong, 0 twice; descriptors and memory stay level" % APDUS,
      seconds=120 + APDUS // EXPECTED_PER_SECOND)
def soak():
    all_, levels = slots(), []
    with bed() as r, tempfile.TemporaryDirectory() as gates:
        find(r, all_)
        for number, s in enumerate(all_):
            s.gate = os.path.join(gates, str(number))
        idle = look(r.pid())[:2]
        begin = time.monotonic()
        for n in range(PARTS):
            part(all_, n)
            levels.append(rested(r.pid(), idle))
        seconds = time.monotonic() - begin
        for s in all_:
            judge_counter(r, s)
        tell(all_, levels, seconds)
    bad = ["%s: %s" % (s.what, text) for s in all_ for text in s.lost + s.wrong]
    same("APDUs lost or wrong", bad[:5], [])
    assert sum(s.sent for s in all_) >= APDUS * 0.99, "only %d APDUs" % sum(s.sent for s in all_)
    same("descriptors and threads after the last part", levels[-1][:2], levels[0][:2])
    if os.environ.get("PRE") or os.environ.get("RUNNER"):
        return  # a sanitizer and valgrind keep books of their own, which grow
    for kind, first, last in zip(("resident", "anonymous"), levels[0][2:], levels[-1][2:]):
        assert last - first <= MEMORY_KB, "%s memory went from %d kB to %d kB" % (kind, first, last)


rig.main()
