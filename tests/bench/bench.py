# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints what this driver costs beside a null handler, the bare transport and two other drivers: libccid with a simulated
CCID reader, and vpcd (Debian's packages; without them their columns stay empty). First the table of goals, then every
figure.

    bench.py BUILDDIR [quick]

Everything runs on the tests' private pcscd with simulated readers (tests/e2e/rig.py). Counts (system calls, transfers,
frames, instructions, wake-ups) are stable; times depend on the machine and are medians of interleaved runs. Nothing here
passes or fails. What cannot be measured is named with the reason.

Counts per APDU are differences: N1 APDUs and N2 APDUs are counted, and what both have in common (starting, connecting)
cancels. Under umockdev an ioctl is played by messages on a socket and a zero nanosleep: these are left out, and each
ioctl that the simulated kernel saw counts as the one system call that it is.
"""
import datetime
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "e2e"))
import rig  # noqa: E402

NULL, AET63, SERIAL, HID, CCID, VPCD = "Null", "AET63", "Bench serial", "VP3300", "Gem", "Virtual PCD"
DRIVERS = "/usr/lib/pcsc/drivers"
CCID_BUNDLE, VPCD_LIBRARY = DRIVERS + "/ifd-ccid.bundle", DRIVERS + "/serial/libifdvpcd.so"
VPCD_PORT = 36123
TTY = "ttyUSB3"
build = None
rows = []
missing = []
COLUMNS = ("AET63", "serial", "HID", "libccid", "vpcd")
# The goals: what is measured, the goal as text, and the most that each column of ours may have.
GOALS = (
    ("system calls that a driver adds in pcscd per short APDU", "≤ 3, serial", {"serial": 3}),
    ("USB transfers per short APDU", "the fewest that the protocol allows: AET63 3, HID 2", {"AET63": 3.1, "HID": 2.1}),
    ("instructions of the driver itself per short APDU", "≤ 1500", {"AET63": 1500, "serial": 1500, "HID": 1500}),
    ("added p50 over the null handler ÷ bare round trip", "≤ 2.0", {"AET63": 2, "serial": 2, "HID": 2}),
    ("reader frames on the wire per APDU", "≤ 1.02", {"AET63": 1.02, "serial": 1.02, "HID": 1.02}),
    ("idle without card: wake-ups per second and slot, less the null handler's", "AET63 0 once events are proven",
     {"AET63": 0.05}),
    ("idle without card: frames to the reader per second", "ViVOpay ≤ 4", {"AET63": 0, "serial": 4, "HID": 4}),
    ("insertion to ATR, ms", "AET63 ≤ 20", {"AET63": 20}),
    ("a MIFARE Classic 1K read ÷ time of its bytes at 115 200 baud", "≤ 1.10", {"serial": 1.10}),
    # (one exchange's time-out: the setting command_wait)
    ("removal during an APDU to the client's error, ms", "one exchange's time-out, slot empty in the same call",
     {"AET63": 2000}),
    ("resident memory over the null handler, kB", "≤ +300", {"AET63": 300, "serial": 300, "HID": 300}),
    ("longest function, 90th percentile, lines", "≤ 80, ≤ 40", {}),
)
(CALLS, TRANSFERS, INSTRUCTIONS, LATENCY, FRAMES, WAKES, IDLE_FRAMES, INSERTION, DUMP, REMOVAL, MEMORY,
 FUNCTIONS) = range(len(GOALS))
cells = {}


def cell(goal, column, value, text=None):
    cells[goal, column] = (value, text or "%.10g" % value)


def tell(what, value, goal=""):
    rows.append((what, value, goal))
    print("  %-62s %s" % (what, value), file=sys.stderr, flush=True)


def lacks(what, why):
    missing.append("%s: %s" % (what, why))
    tell(what, "not measured: " + why)


def middle(values):
    values = sorted(values)
    n = len(values)
    return values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2


def pairs(text):
    return dict(p.split("=", 1) for p in text.split() if "=" in p)


class Bench(rig.Rig):
    """The tests' pcscd, with the null handler and perhaps a serial reader in its reader.conf."""

    last = None

    def __init__(self, *readers, null=False, serial=False, peer=None, **more):
        Bench.last = self
        self.null, self.serial, self.peer, self.vicc = null, serial, peer, None
        if peer == "libccid":
            self.simulator = "/tests/bench/purse-sim-ccid"
        usb = sum("tty=" not in r for r in readers)
        two = 2 * (peer == "vpcd")  # it has two slots
        super().__init__(*(readers or ("aet63:unplugged",)), debug="--critical",
                         wait=(usb if readers else 0) + null + serial + two, **more)

    def prepare(self):
        super().prepare()
        records = []
        if self.peer == "libccid":
            shutil.copytree(CCID_BUNDLE, rig.base + "/drivers/ifd-ccid.bundle")
        if self.peer == "vpcd":
            shutil.copy(VPCD_LIBRARY, rig.base + "/vpcd.so")  # its own directory is hidden there
            records.append((VPCD, "/dev/null:0x%04X" % VPCD_PORT, rig.base + "/vpcd.so"))
        if self.null:
            records.append(("Null", "/dev/null", build + "/tests/bench/null_handler.so"))
        if self.serial:
            records.append((SERIAL, "/dev/%s:baud=115200" % TTY, build + "/libifdpurse-serial.so"))
        with open(rig.base + "/conf/bench", "w") as f:
            for name, port, library in records:
                f.write('FRIENDLYNAME "%s"\nDEVICENAME %s\nLIBPATH %s\n' % (name, port, library))

    def start(self):
        super().start()
        if self.peer == "vpcd":
            self.vicc = subprocess.Popen([build + "/tests/bench/vicc", str(VPCD_PORT)])
            self.pc.wait_card(self.name(VPCD))

    def stop(self):
        if self.vicc:
            self.vicc.kill()
            self.vicc.wait()
            self.vicc = None
        return super().stop()

    def client(self, *args, seconds=300):
        return pairs(self.run(build + "/tests/bench/client", *[str(a) for a in args], seconds=seconds))

    def name(self, part):
        return next(n for n in self.pc.readers() if part in n)

    def wire(self, reader=0):
        """The front's and the model's counters in one."""
        return {k: int(v) for k, v in pairs(self.sim("%d stats" % reader) + " " + self.sim("%d count" % reader)).items()}


# ---- system calls ------------------------------------------------------------------------------------------------------

# Those that a thread of pcscd or of the driver makes for an APDU. perf counts them without slowing anything down.
NAMED = ["futex", "poll", "ppoll", "read", "write", "writev", "ioctl", "sendto", "recvfrom", "sendmsg", "recvmsg",
         "rt_sigprocmask", "clock_nanosleep", "select", "pselect6", "timerfd_settime", "eventfd2"]
# What the umockdev preload library does in place of an ioctl; the driver itself makes none of these calls for an APDU.
PLAYED = {"ioctl", "sendto", "recvfrom", "sendmsg", "recvmsg", "rt_sigprocmask", "clock_nanosleep"}


def can_perf():
    return shutil.which("perf") is not None and subprocess.run(
        ["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"], capture_output=True).returncode == 0


def perf(b, reader, n):
    """System calls of all of pcscd's threads while the client sends n APDUs: {name: count}."""
    out = rig.base + "/perf"
    events = ",".join(["raw_syscalls:sys_enter"] + ["syscalls:sys_enter_" + name for name in NAMED])
    begun, begun_w = os.pipe()
    command, command_w = os.pipe()
    p = subprocess.Popen(["perf", "stat", "-x", ",", "-o", out, "-D", "-1", "--control", "fd:%d,%d" % (command, begun_w), "-e",
                          events, "-p", str(b.pid())], pass_fds=[command, begun_w], stderr=subprocess.DEVNULL)
    os.write(command_w, b"enable\n")
    os.read(begun, 16)
    b.client("loop", reader, n)
    p.send_signal(signal.SIGINT)
    p.wait()
    for fd in (begun, begun_w, command, command_w):
        os.close(fd)
    counts = {}
    for line in open(out):
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit():
            counts[fields[2].split("_", 2)[-1] if fields[2].startswith("syscalls:") else "all"] = int(fields[0])
    counts["others"] = counts.pop("all") - sum(v for k, v in counts.items() if k != "all")
    return counts


def attach(b, *args):
    """strace on all threads of pcscd, attached."""
    p = subprocess.Popen(["strace", "-f", "-p", str(b.pid())] + list(args), stderr=subprocess.PIPE, text=True)
    line = p.stderr.readline()
    while line and "attached" not in line:
        if "ptrace" in line or "not permitted" in line:
            raise rig.Skip(line.strip())
        line = p.stderr.readline()
    return p


def strace(b, reader, n):
    """The same by strace, which makes threads wait for each other a little more often than they would."""
    out = rig.base + "/strace"
    p = attach(b, "-c", "-o", out)
    b.client("loop", reader, n)
    p.send_signal(signal.SIGINT)
    p.communicate()
    counts = {}
    for line in open(out):
        fields = line.split()
        if len(fields) >= 5 and re.match(r"^[0-9.]+$", fields[0]) and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    return counts


def calls_per_apdu(b, counter, reader, few, many, index=None):
    """{name: calls per APDU}, the simulated kernel's ioctls per APDU"""
    def run(n):
        before = b.wire(index)["ioctls"] if index is not None else 0
        calls = counter(b, reader, n)
        return calls, (b.wire(index)["ioctls"] if index is not None else 0) - before
    (a, ioctls_a), (z, ioctls_z) = run(few), run(many)
    per = {k: (z.get(k, 0) - a.get(k, 0)) / (many - few) for k in set(a) | set(z)}
    return per, (ioctls_z - ioctls_a) / (many - few)


def system_calls(b, what, reader, index, few, many, goal="", played=PLAYED):
    counter = perf if can_perf() else strace if shutil.which("strace") else None
    if not counter:
        return lacks(what + ": system calls", "neither perf (with tracepoints) nor strace is here")
    null, _ = calls_per_apdu(b, counter, NULL, few, many)
    own, ioctls = calls_per_apdu(b, counter, reader, few, many, index)
    added = {k: own.get(k, 0) - null.get(k, 0) for k in set(own) | set(null)}
    real = {k: v for k, v in added.items() if k not in played and abs(v) >= 0.05}
    if ioctls:
        real["ioctl"] = ioctls
    detail = ", ".join("%s %.1f" % (k, v) for k, v in sorted(real.items(), key=lambda kv: -kv[1]))
    tell("%s: system calls added in pcscd per short APDU (by %s)" % (what, counter.__name__),
         "%.1f (%s); pcscd itself %.1f" % (sum(real.values()), detail, sum(null.values())), goal)
    cell(CALLS, what, round(sum(real.values()), 1))


# ---- times -------------------------------------------------------------------------------------------------------------


def bare(what, n):
    """p50 of the bare transport, in its own simulator."""
    sim = build + "/tests/sim/purse-sim"
    program = build + "/tests/bench/bare"
    ctl = rig.base + "/barectl"
    if what == "AET63":
        command = [sim, "--ctl", ctl, "--reader", "aet63:card=echo-t0", "--", program, "aet63", str(n)]
    elif what == "libccid":
        command = [build + "/tests/bench/purse-sim-ccid", "--ctl", ctl, "--reader", "ccid:card=echo-t0", "--", program, "ccid",
                   str(n)]
    elif what == "vpcd":
        command = ["sh", "-c", '"$1" vpcd $2 %d & "$3" $2 & wait $!; wait' % n, "sh", program, str(VPCD_PORT + 8),
                   build + "/tests/bench/vicc"]
    else:
        reader = "neo:tty=" + TTY if what == "serial" else "neo:link=hid"
        port = "neo /dev/" + TTY if what == "serial" else "hid"
        command = [sim, "--ctl", ctl, "--reader", reader, "--", "sh", "-c",
                   '"$1" "$2" 0 insert iso:echo-t1 && exec "$3" %s %d' % (port, n), "sh", build + "/tests/sim/simctl", ctl,
                   program]
    p = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if p.returncode != 0 or "p50=" not in p.stdout:
        raise AssertionError("bare %s: %s" % (what, p.stderr))
    return float(pairs(p.stdout)["p50"])


def latency(drivers, rounds, block, times):
    """Added p50 over the null handler, and that by the bare round trip. All drivers take turns, `times` of them, so that
    whatever else the machine does falls on each; medians. drivers: {column: (part of the reader's name, make)}"""
    taken = {what: ([], [], []) for what in drivers}
    for _ in range(times):
        for what, (reader, make) in drivers.items():
            base, added, null = taken[what]
            base.append(bare(what, rounds * block // 2))
            with make() as b:
                t = b.client("compare", reader, NULL, rounds, block)
            added.append(float(t["a"]) - float(t["b"]))
            null.append(float(t["b"]))
    for what, (base, added, null) in taken.items():
        tell(what + ": p50 of a short APDU over the null handler", "%.0f µs more (null handler %.0f µs)" %
             (middle(added), middle(null)))
        tell(what + ": the bare transport's round trip, p50", "%.0f µs" % middle(base))
        tell(what + ": added p50 ÷ bare round trip", "%.2f" % (middle(added) / middle(base)),
             "≤ 2.0" if what in ("AET63", "serial", "HID") else "")
        cell(LATENCY, what, round(middle(added) / middle(base), 2))


# ---- idle ----------------------------------------------------------------------------------------------------------------


def switches(pid):
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            text = open("/proc/%d/task/%s/status" % (pid, task)).read()
            total += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M).group(1))
        except FileNotFoundError:
            pass
    return total


def sent(counters):
    return counters.get("frames", counters.get("commands", 0))


def sleeps(b, seconds):
    """How often a thread of pcscd goes to sleep, per second, leaving out what umockdev does in place of an ioctl: what a real
    kernel would wake."""
    out = rig.base + "/sleeps"
    p = attach(b, "-e", "trace=poll,ppoll,futex,select,pselect6,epoll_wait,read", "-o", out)
    open(out, "w").close()
    begin = time.monotonic()
    time.sleep(seconds)
    t = time.monotonic() - begin
    p.send_signal(signal.SIGINT)
    p.communicate()
    n = 0
    for line in open(out):
        if "resumed>" in line or "EAGAIN" in line or "restart_syscall" in line:
            continue
        n += bool(re.search(r" (poll|ppoll|select|pselect6|epoll_wait|read)\(|FUTEX_WAIT", line))
    return n / t


null_wakes = 0  # of the null handler alone, per second


def measure_null(seconds):
    global null_wakes
    with Bench(null=True) as b:
        null_wakes = sleeps(b, seconds) if shutil.which("strace") else 0
        tell("null handler alone: wake-ups per second in pcscd, idle", "%.2f" % null_wakes)


def wakes(b, seconds, index=None, column=None):
    """Wake-ups of pcscd's threads per second, and frames to the reader per second, while nobody asks for anything: on this
    bed (voluntary context switches) and as a real kernel would have them, as text."""
    frames = sent(b.wire(index)) if index is not None else 0
    begin, t = switches(b.pid()), time.monotonic()
    time.sleep(seconds)
    end, t = switches(b.pid()), time.monotonic() - t
    frames = sent(b.wire(index)) - frames if index is not None else 0
    text, real = "%.2f" % ((end - begin) / t), (end - begin) / t
    if index is not None:
        text += "; %.2f frames to the reader" % (frames / t)
    if shutil.which("strace") and end > begin:
        real = sleeps(b, seconds)
        text += "; %.2f without umockdev's own" % real
    if column:
        cell(WAKES, column, round(max(0, real - null_wakes), 2))
        if index is not None:
            cell(IDLE_FRAMES, column, round(frames / t, 2))
    return text


def unpowered(b):
    """Until pcscd has taken the unused card's power, five seconds after it came."""
    b.until("*present=1 powered=1*", "status", 20)
    b.until("*present=1 powered=0*", "status", 20)


def idle_aet63(seconds):
    idle = "AET63: wake-ups per second, idle, "
    with Bench("aet63:card=none") as b:
        tell(idle + "no card, events not proven yet", wakes(b, seconds, 0))
        b.sim("0 insert echo-t0")
        unpowered(b)
        tell(idle + "card, events proven", wakes(b, seconds, 0))
        b.sim("0 remove")
        b.pc.wait_empty(b.name(AET63))
        tell(idle + "no card, events proven", wakes(b, seconds, 0, "AET63"), "0")
    with Bench("aet63:card=echo-t0") as b:
        unpowered(b)
        tell(idle + "card, events not proven yet", wakes(b, seconds, 0))


def idle_neo(what, make, reader, seconds):
    with make() as b:
        tell("%s: wake-ups per second, idle, no card" % what, wakes(b, seconds, 0, what), "≤ 4 frames")
        b.sim("0 insert iso:echo-t1")
        with b.connect(reader=b.name(reader)) as card:
            card.transmit("00 A4 00 00")
            tell("%s: wake-ups per second, in session, nothing to do" % what, wakes(b, seconds, 0), "0 frames")
            b.sim("0 remove")


def idle_vicinity(seconds):
    """What looking for ISO 15693 cards costs a reader whose field is empty, and how soon such a card is seen."""
    for how in ("off", "auto", "on"):
        what = "HID, iso15693 = %s: " % how
        with Bench("neo:link=hid,iso15693=crc3309", null=True, settings="[0ACD:3530]\niso15693 = %s\n" % how) as b:
            before, t = b.wire(), time.monotonic()
            time.sleep(seconds)
            after, t = b.wire(), time.monotonic() - t
            polls, raw = after["polls"] - before["polls"], after.get("2C04", 0) - before.get("2C04", 0)
            tell(what + "polls and inventories of an empty field, per second", "%.2f, %.2f" % (polls / t, raw / t),
                 "≤ 4 frames")
            tell(what + "wake-ups per second, idle, no card", wakes(b, seconds, 0))
            if how != "off":
                insertion(b, what + "tag in the field to ATR, field empty for a second", HID, "tag15693", 5, 1000)


def dump_1k(times):
    """A whole MIFARE Classic 1K over a line that is as slow as a real one: each byte takes its time at 115 200 baud."""
    what = "serial, 115 200 baud: MIFARE Classic 1K read whole"
    with Bench("neo:tty=%s,pace=115200" % TTY, null=True, serial=True) as b:
        name = b.name(SERIAL)
        b.sim("0 insert mifare1k")
        b.pc.wait_card(name)
        took, line, frames = [], [], 0
        with b.pc.connect(name) as card:
            card.transmit(bytes.fromhex("FF82000006FFFFFFFFFFFF"))
            for _ in range(times):
                before, t = b.wire(), time.monotonic()
                for first in range(0, 64, 4):
                    card.transmit(bytes.fromhex("FF8600000501%04X6000" % first))
                    blocks = card.transmit(bytes.fromhex("FFB0%04X30" % first))
                    trailer = card.transmit(bytes.fromhex("FFB0%04X10" % (first + 3)))
                    if len(blocks) != 50 or len(trailer) != 18:
                        return lacks(what, "sector %d answered %s %s" % (first // 4, blocks.hex(), trailer.hex()))
                took.append(time.monotonic() - t)
                after = b.wire()
                line.append(sum(after[k] - before[k] for k in ("bytes_in", "bytes_out")) * 10 / 115200)
                frames = sent(after) - sent(before)
        tell(what + ", median", "%.0f ms, %d frames" % (middle(took) * 1e3, frames))
        ratio = middle(a / z for a, z in zip(took, line))
        tell(what + ", ÷ time of the bytes on the line", "%.2f" % ratio, "≤ 1.10")
        cell(DUMP, "serial", round(ratio, 2))
        tell("the same ÷ time of the card's 1024 bytes alone", "%.2f" % (middle(took) / (1024 * 10 / 115200)))


# ---- the wire, memory, instructions --------------------------------------------------------------------------------------


def per_apdu(b, reader, index, few, many):
    """The wire's counters per APDU."""
    def run(n):
        before = b.wire(index)
        b.client("loop", reader, n)
        after = b.wire(index)
        return {k: after[k] - before.get(k, 0) for k in after}
    a, z = run(few), run(many)
    return {k: (z[k] - a.get(k, 0)) / (many - few) for k in z}


def rss(pid):
    """Resident memory in kB: all of it, and what is not a file's (heap and stacks)."""
    text = open("/proc/%d/status" % pid).read()
    return [int(re.search(r"^%s:\s*(\d+)" % key, text, re.M).group(1)) for key in ("VmRSS", "RssAnon")]


def memory(what, make, reader, times):
    """pcscd's resident memory after a hundred APDUs, with a driver less with the null handler."""
    own, null = [], []
    for _ in range(times):
        with make() as b:
            b.client("loop", reader, 100)
            own.append(rss(b.pid()))
        with Bench(null=True) as b:
            b.client("loop", NULL, 100)
            null.append(rss(b.pid()))
    total, anonymous = [middle([m[i] for m in own]) - middle([m[i] for m in null]) for i in (0, 1)]
    tell("%s: resident memory over the null handler" % what, "%+d kB (%+d kB heap and stacks, the rest is code)" %
         (total, anonymous), "≤ +300 kB")
    cell(MEMORY, what, total, "%+d" % total)


def object_costs(path):
    """Instructions of each object in a callgrind file."""
    costs, names, current, inclusive = {}, {}, "?", False
    for line in open(path):
        m = re.match(r"^ob=\((\d+)\)(?: (.*))?$", line)
        if m:
            if m.group(2):
                names[m.group(1)] = os.path.basename(m.group(2))
            current = names.get(m.group(1), "?")
            continue
        m = re.match(r"^cob=\((\d+)\) (.*)$", line)
        if m:
            names[m.group(1)] = os.path.basename(m.group(2))
        elif line.startswith("calls="):
            inclusive = True  # the next line is the cost of the call, counted in the callee already
        elif re.match(r"^[0-9+*-]", line):
            if not inclusive:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            inclusive = False
    return costs


def callgrind(make, reader, n):
    out = rig.base + "/callgrind.out"
    if os.path.exists(out):
        os.unlink(out)
    with make(runner="valgrind --tool=callgrind --callgrind-out-file=%s" % out) as b:
        b.client("loop", reader, n, seconds=600)
    return object_costs(out)


def instructions(what, make, reader, library, few, many):
    if shutil.which("valgrind") is None:
        return lacks(what + ": instructions per APDU", "valgrind is not installed")
    a, z = callgrind(make, reader, few), callgrind(make, reader, many)
    per = {k: (z[k] - a.get(k, 0)) / (many - few) for k in z}
    others = ", ".join("%s %.0f" % (k, v) for k, v in sorted(per.items(), key=lambda kv: -kv[1])
                       if re.match("libusb|libserialport", k))
    tell("%s: instructions of the driver itself per short APDU" % what,
         "%.0f%s" % (per.get(library, 0), " (besides: %s)" % others if others else ""), "≤ 1500")
    cell(INSTRUCTIONS, what, round(per.get(library, 0)))


# ---- the two readers --------------------------------------------------------------------------------------------------------


def aet63_rows(quick):
    def make(**more):
        return Bench("aet63:card=echo-t0", null=True, **more)

    few, many = (50, 250) if quick else (200, 1200)
    with make() as b:
        system_calls(b, "AET63", AET63, 0, few, many)
        per = per_apdu(b, AET63, 0, few, many)
        tell("AET63: USB transfers per short APDU (control out, interrupt in)",
             "%.2f (%.2f, %.2f)" % (per["control"] + per["in"], per["control"], per["in"]), "3: one command, two packets")
        tell("AET63: command frames per APDU", "%.3f" % per["frames"], "≤ 1.02")
        cell(TRANSFERS, "AET63", round(per["control"] + per["in"], 2))
        cell(FRAMES, "AET63", round(per["frames"], 3))
        with b.connect(reader=b.name(AET63)) as card:
            counters = b.wire()["control"], b.wire()["in"]
            card.transmit("00 84 00 00 08")
            now = b.wire()["control"], b.wire()["in"]
            tell("AET63: the same for an answer of 8 bytes", "%d (%d, %d)" % (sum(now) - sum(counters), now[0] - counters[0],
                                                                          now[1] - counters[1]), "5")
    idle_aet63(3 if quick else 10)
    with Bench("aet63:card=none") as b:
        insertion(b, "AET63: insertion to ATR", AET63, "echo-t0", 5 if quick else 20, 0, "≤ 20 ms beyond the reader's own time",
                  "AET63")
        removal(b, "AET63", AET63, "echo-t0", 3 if quick else 10)
    memory("AET63", lambda: Bench("aet63:card=echo-t0"), AET63, 1 if quick else 5)
    instructions("AET63", make, AET63, "libifdpurse.so", 20, 120)


def insertion(b, what, reader, card, times, pause, goal="", column=None):
    t = b.client("insert", reader, rig.base + "/ctl", times, card, "0 insert", pause)
    tell(what + ", median (longest)", "%.1f ms (%.1f)" % (float(t["median"]) / 1e3, float(t["max"]) / 1e3), goal)
    if column:
        cell(INSERTION, column, round(float(t["median"]) / 1e3, 1))


def removal(b, what, reader, card, times):
    t = b.client("remove", reader, rig.base + "/ctl", times, card, "0 insert")
    if t["code"] == "00000000":
        return lacks("%s: removal during an APDU" % what, "the simulated card's answer came although it had left")
    tell("%s: removal during an APDU to the client's error, median" % what, "%.1f ms, code %s, slot empty %s of %s times" %
         (float(t["median"]) / 1e3, t["code"], t["empty"], t["of"]), "one exchange, slot empty in the same call")
    cell(REMOVAL, what, float(t["median"]) / 1e3, "%.1f, empty %s of %s" % (float(t["median"]) / 1e3, t["empty"], t["of"]))


def inserted(b):
    """The same bench with a card in the field from the start."""
    start = b.start

    def start_with_card():
        start()
        b.sim("0 insert iso:echo-t1")
    b.start = start_with_card
    return b


def neo_rows(what, make, reader, quick):
    few, many = (50, 250) if quick else (200, 1200)
    with make() as b:
        b.sim("0 insert iso:echo-t1")
        b.pc.wait_card(b.name(reader))
        per = per_apdu(b, reader, 0, few, many)
        tell("%s: command frames on the wire per APDU" % what, "%.3f" % sent(per), "≤ 1.02")
        cell(FRAMES, what, round(sent(per), 3))
        if what == "HID":
            cell(TRANSFERS, what, round(per["out"] + per["in"], 2))
        tell("%s: bytes on the wire per short APDU, to and from the reader" % what, "%.1f, %.1f" %
             (per["bytes_out"], per["bytes_in"]))
        system_calls(b, what, reader, 0 if what == "HID" else None, few, many, "≤ 3" if what == "serial" else "")
    idle_neo(what, make, reader, 3 if quick else 10)
    memory(what, lambda: inserted(make()), reader, 1 if quick else 5)
    instructions(what, lambda **m: inserted(make(**m)), reader, "libifdpurse-serial.so" if what == "serial" else "libifdpurse.so",
                 20, 120)
    with make() as b:
        times = 5 if quick else 20
        insertion(b, what + ": card in the field to ATR, field empty for a second", reader, "iso:echo-t1", times, 1000,
                  column=what)
        insertion(b, what + ": card in the field to ATR, just after another left", reader, "iso:echo-t1", times, 0)
        removal(b, what, reader, "iso:echo-t1", 3 if quick else 10)


# ---- other drivers ---------------------------------------------------------------------------------------------------------


def ccid_bench(**more):
    return Bench("ccid:card=echo-t0", null=True, peer="libccid", **more)


def vpcd_bench(**more):
    return Bench(null=True, peer="vpcd", **more)


def libccid_rows(quick):
    few, many = (50, 250) if quick else (200, 1200)
    with ccid_bench() as b:
        per = per_apdu(b, CCID, 0, few, many)
        tell("libccid: USB transfers per short APDU", "%.2f" % (per["out"] + per["in"]))
        cell(TRANSFERS, "libccid", round(per["out"] + per["in"], 2))
        cell(FRAMES, "libccid", round(per["frames"], 3))
        system_calls(b, "libccid", CCID, 0, few, many)
        b.sim("0 remove")
        b.pc.wait_empty(b.name(CCID))
        insertion(b, "libccid: insertion to ATR", CCID, "echo-t0", 5 if quick else 20, 0, "", "libccid")
        tell("libccid: wake-ups per second, idle, no card", wakes(b, 3 if quick else 10, 0, "libccid"))
    memory("libccid", lambda: Bench("ccid:card=echo-t0", peer="libccid"), CCID, 1 if quick else 5)
    instructions("libccid", ccid_bench, CCID, "libccid.so", 20, 120)


def vpcd_rows(quick):
    few, many = (50, 250) if quick else (200, 1200)
    with vpcd_bench() as b:
        system_calls(b, "vpcd", VPCD, None, few, many, played=())
        b.vicc.kill()
        b.pc.wait_empty(b.name(VPCD))
        tell("vpcd: wake-ups per second, idle, no card", wakes(b, 3 if quick else 10, None, "vpcd"))
    memory("vpcd", lambda: Bench(peer="vpcd"), VPCD, 1 if quick else 5)
    instructions("vpcd", vpcd_bench, VPCD, "vpcd.so", 20, 120)


# ---- the table -------------------------------------------------------------------------------------------------------------


def function_lengths():
    """Lines of each function of the driver, from its opening brace to its closing one."""
    top, lengths = os.path.join(here, "..", ".."), []
    for root in ("src", "ifdhandler"):
        for folder, _, files in os.walk(os.path.join(top, root)):
            for name in (n for n in files if n.endswith(".c")):
                begin = None
                for i, line in enumerate(open(os.path.join(folder, name))):
                    if line == "{\n":
                        begin = i
                    elif line == "}\n" and begin is not None:
                        lengths.append(i - begin + 1)
                        begin = None
    return sorted(lengths)


def verdict(goal, limits):
    if goal == FUNCTIONS:
        longest, most = cells[goal, "AET63"][0]
        return "met" if longest <= 80 and most <= 40 else "missed"
    wrong = [c for c, most in limits.items() if (goal, c) in cells and cells[goal, c][0] > most]
    unknown = [c for c in limits if (goal, c) not in cells]
    return ", ".join((["missed: " + ", ".join(wrong)] if wrong else []) +
                     (["not measured: " + ", ".join(unknown)] if unknown else [])) or ("met" if limits else "")


def print_goals():
    lengths = function_lengths()
    longest, most = lengths[-1], lengths[len(lengths) * 9 // 10]
    cells[FUNCTIONS, "AET63"] = ((longest, most), "%d, %d" % (longest, most))
    print("| what | %s | goal | verdict |\n|---|%s---|---|" % (" | ".join(COLUMNS), "---|" * len(COLUMNS)))
    for goal, (what, text, limits) in enumerate(GOALS):
        shown = [cells[goal, c][1] if (goal, c) in cells else "" for c in COLUMNS]
        print("| %s | %s | %s | %s |" % (what, " | ".join(shown), text, verdict(goal, limits)))
    print("| branch coverage of src/ and ifdhandler/ |%s ≥ 95 %% | make coverage counts it |" % (" |" * len(COLUMNS)))
    print()


def print_table():
    model = re.search(r"^model name\s*:\s*(.*)$", open("/proc/cpuinfo").read(), re.M)
    print("%s, %s, %d cores, Linux %s, pcscd %s\n" % (
        datetime.date.today().isoformat(), model.group(1) if model else platform.machine(), os.cpu_count(),
        re.match(r"[0-9]+\.[0-9]+", platform.release()).group(0), pcscd_version()))
    print_goals()
    print("| what | measured | goal |\n|---|---|---|")
    for row in rows:
        print("| %s | %s | %s |" % row)
    for line in missing:
        print("\nnot measured: " + line)


def pcscd_version():
    text = subprocess.run(["pcscd", "--version"], capture_output=True, text=True,
                          env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin")).stdout
    return (re.search(r"version ([0-9.]+[0-9])", text) or re.search(r"()", text)).group(1)


def section(what, call, *args):
    """One part failing must not cost the others."""
    try:
        call(*args)
    except (rig.Skip, AssertionError, rig.Failed, OSError, subprocess.SubprocessError, KeyError, StopIteration) as e:
        lacks(what + ", the rest", " ".join(str(e).split())[:200] or repr(e))
        if Bench.last:
            print("  pcscd ended with %s; its log:\n%s" % (Bench.last.status, Bench.last.log()[-2000:]), file=sys.stderr)
        if rig.Rig.current:
            rig.Rig.current.stop()
            rig.Rig.current = None


def main():
    global build
    if len(sys.argv) < 2:
        sys.exit("usage: bench.py BUILDDIR [quick]")
    build = rig.build = os.path.abspath(sys.argv[1])
    quick = "quick" in sys.argv[2:]
    try:
        rig.unshare()
    except rig.Skip as e:
        sys.exit("bench: %s (root, or user namespaces, are needed)" % e)
    serial = os.path.exists(build + "/libifdpurse-serial.so")
    have = {"libccid": os.path.exists(CCID_BUNDLE) and os.path.exists(build + "/tests/bench/purse-sim-ccid"),
            "vpcd": os.path.exists(VPCD_LIBRARY)}

    def on_serial(**m):
        return Bench("neo:tty=" + TTY, null=True, serial=True, **m)

    def on_hid(**m):
        return Bench("neo:link=hid", null=True, **m)

    try:
        measure_null(3 if quick else 10)
        drivers = {"AET63": (AET63, lambda: Bench("aet63:card=echo-t0", null=True)), "HID": (HID, lambda: inserted(on_hid()))}
        if serial:
            drivers["serial"] = SERIAL, lambda: inserted(on_serial())
        for peer, bench in (("libccid", (CCID, ccid_bench)), ("vpcd", (VPCD, vpcd_bench))):
            if have[peer]:
                drivers[peer] = bench
            else:
                lacks(peer, "it is not installed (Debian: %s)" % ("libccid" if peer == "libccid" else "vsmartcard-vpcd"))
        section("latency", latency, drivers, 20 if quick else 40, 25, 1 if quick else 5)
        section("AET63", aet63_rows, quick)
        if serial:
            section("serial", neo_rows, "serial", on_serial, SERIAL, quick)
            section("MIFARE", dump_1k, 3 if quick else 9)
        else:
            lacks("serial", "the build has no serial handler")
        section("HID", neo_rows, "HID", on_hid, HID, quick)
        section("ISO 15693", idle_vicinity, 3 if quick else 10)
        if have["libccid"]:
            section("libccid", libccid_rows, quick)
        if have["vpcd"]:
            section("vpcd", vpcd_rows, quick)
        print_table()
    finally:
        if rig.Rig.current:
            rig.Rig.current.stop()
        shutil.rmtree(rig.base, ignore_errors=True)


main()
