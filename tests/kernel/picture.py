# SPDX-License-Identifier: LGPL-2.1-or-later
"""A case that stands still ends all the same, and shows where everybody stood.

    with Watch("the case's name", 120, others):
        ...

Not everything that a case does can be given a deadline: a call into the PC/SC client library waits as long as pcscd
does. So a thread of its own looks at the clock. When a case's time is over it prints what the kernel says of tasks that
sleep without a wakeup, where each thread of the processes in question waits (in the kernel, in its own code by gdb if
that is installed, in Python), what the simulator and the last lines of the logs say; then FAIL and END, and it turns
the machine off. It cannot raise an exception in the thread that hangs, and a process with a thread that never wakes up
cannot even exit.

All that is imported is imported before: what stands still may well be the file system.
"""
import faulthandler
import glob
import os
import socket
import subprocess
import sys
import threading

LINES = 60
GDB_SECONDS = 120
ASK_SECONDS = 5


def say(text, most=None):
    lines = text.splitlines()
    for line in lines[-most:] if most else lines:
        print("  | " + line[:200], flush=True)


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read().strip("\0\n ")
    except OSError as e:
        return "(%s)" % e.strerror


def kernel_log(most=LINES):
    """The kernel's last lines, without a program to read them."""
    lines = []
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError as e:
        return "/dev/kmsg: %s" % e.strerror
    try:
        while True:
            record = os.read(fd, 8192).decode(errors="replace")
            lines.append(record.split(";", 1)[-1].split("\n")[0])
    except OSError:  # EAGAIN: that was the last one
        os.close(fd)
    return "\n".join(lines[-most:])


def processes(names):
    """The ids of processes with these names (as the kernel cuts them), and our own."""
    found = [os.getpid()]
    for path in glob.glob("/proc/[0-9]*"):
        if read(path + "/comm") in [n[:15] for n in names] and int(path[6:]) not in found:
            found.append(int(path[6:]))
    return found


def tasks(pid):
    for task in sorted(glob.glob("/proc/%d/task/*" % pid)):
        state = read(task + "/stat").rpartition(")")[2][1:2]
        say("%s %s (%s): wchan %s, syscall %s" % (task[6:], read(task + "/comm"), state, read(task + "/wchan"),
                                                  read(task + "/syscall")))
        say("\n".join("    " + line for line in read(task + "/stack").splitlines()))


def backtrace(pid):
    try:
        out = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all bt"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             timeout=GDB_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired) as e:
        out = "gdb: %s" % e
    say("\n".join(line for line in out.splitlines() if not line.startswith("[New LWP")))


def ask(path, requests):
    """What the simulator answers; on a connection of our own, since the case's may be in use."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(ASK_SECONDS)
            s.connect(path)
            f = s.makefile("r")
            for request in requests:
                s.sendall(request.encode() + b"\n")
                say("%s: %s" % (request, f.readline().strip()))
    except OSError as e:
        say("the simulator at %s: %s" % (path, e))


class Watch:
    """names: processes to be shown. control: the simulator's socket, and how many readers it has. logs: files."""

    names, control, readers, logs = ("pcscd", "purse-sim-vhci", "systemd-udevd"), "/run/sim", 0, ()

    def __init__(self, name, seconds):
        self.name, self.seconds = name, seconds
        self.timer = threading.Timer(seconds, self.over)
        self.timer.daemon = True

    def __enter__(self):
        self.timer.start()

    def __exit__(self, kind, value, trace):
        self.timer.cancel()

    def over(self):
        try:
            print("  %s: not done after %d s; the picture:" % (self.name, self.seconds), flush=True)
            show()
        finally:
            print("FAIL %s: it stands still, see the picture above\nEND" % self.name, flush=True)
            with open("/proc/sysrq-trigger", "w") as f:
                f.write("o")


def show():
    print("  -- this program's threads", flush=True)
    sys.stdout.flush()
    faulthandler.dump_traceback(file=sys.stdout, all_threads=True)
    print("  -- tasks that wait without an end, as the kernel logs them", flush=True)
    with open("/proc/sysrq-trigger", "w") as f:
        f.write("w")
    say(kernel_log(), LINES)
    pids = processes(Watch.names)
    for pid in pids:
        print("  -- process %d" % pid, flush=True)
        tasks(pid)
    print("  -- the ports of vhci_hcd that are not free, and the simulator", flush=True)
    say("\n".join(line for line in read("/sys/devices/platform/vhci_hcd.0/status").splitlines() if " 004 " not in line))
    ask(Watch.control, ["readers"] + ["%d %s" % (n, what) for n in range(Watch.readers)
                                      for what in ("stats", "status", "state", "count")])
    for path in Watch.logs:
        print("  -- " + path, flush=True)
        say("\n".join(line for line in read(path).splitlines() if "Received command" not in line), LINES)
    for pid in pids[1:]:
        print("  -- process %d, by gdb" % pid, flush=True)
        backtrace(pid)
