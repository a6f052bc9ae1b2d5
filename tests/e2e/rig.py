# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stock pcscd of the test's own, with this driver and simulated readers.

    with Rig("aet63:card=pboc-t0") as rig:
        with rig.connect() as card:
            card.transmit("00 A4 00 00")

pcscd sees a mount namespace in which its run directory and its driver directory are the test's; it is the child of
purse-sim, so that it sees the simulated readers as devices. Everything is in one temporary directory, and whatever
happens it ends with the test: purse-sim and pcscd get the death signal of their parents.

A scenario is a file of functions marked @case("name"), run one after the other by main(); each makes its own Rig. A case
that returns has passed, provided that pcscd ended well: a crash of the driver at any time, also while it is closed, is a
failed case. Environment: PRE (libraries to preload into pcscd: a sanitizer's), RUNNER (a program to run pcscd with).

The same cases run under a real kernel: tests/kernel/bed.py puts a rig in this one's place that only starts otherwise.
"""
import collections
import fnmatch
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

READER = "ACS AET63 BioTRUSTKey 00 00"
CASE_SECONDS = 150

base = tempfile.mkdtemp(prefix="purse-e2e-")
os.environ["PCSCLITE_CSOCK_NAME"] = base + "/ipc/pcscd.comm"
import winscard  # noqa: E402 (the library reads the path above)
from winscard import Failed  # noqa: E402

NAMESPACE = r"""
[ -d /run/pcscd ] || { mount -t tmpfs none /run && mkdir /run/pcscd; }
mount --bind "$RIG/ipc" /run/pcscd
mount --bind "$RIG/drivers" /usr/lib/pcsc/drivers
exec setpriv --pdeathsig TERM "$RIG_SIM" --ctl "$RIG/ctl" --ready "$RIG_READY" "$@" -- \
    sh -c 'exec env LD_PRELOAD="${PRE:+$PRE:}$LD_PRELOAD" ${RUNNER-} pcscd --foreground $RIG_DEBUG --config "$RIG/conf"'
"""


class Skip(Exception):
    pass


def unshare():
    """The command that gives us a mount namespace."""
    command = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    if shutil.which("pcscd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
        raise Skip("pcscd is not installed")
    if subprocess.run(command + ["true"], capture_output=True).returncode != 0:
        raise Skip("%s is refused here: no mount namespace, no private pcscd" % " ".join(command))
    return command


class Rig:
    current = None
    simulator = "/tests/sim/purse-sim"

    def __init__(self, *readers, settings="", env=None, debug="--debug", runner=None, wait=None, serial=None):
        """readers: as purse-sim takes them. settings: text of ifd-purse.conf. serial: the readers on serial ports that
        reader.conf names, as {FRIENDLYNAME: DEVICENAME}. wait: how many readers to wait for; they are all by default."""
        self.readers, self.settings, self.env, self.debug = readers, settings, env or {}, debug
        self.runner = runner
        self.ports = serial or {}
        on_usb = sum("unplugged" not in r and "tty=" not in r for r in readers)
        self.wait = on_usb + len(self.ports) if wait is None else wait
        self.log_path = base + "/log"
        self.process = self.socket = self.pc = None
        self.status = None

    # ---- start and end

    def prepare(self):
        for name in ("ipc", "drivers", "conf", "ctl", "log", "ifd-purse.conf"):
            path = base + "/" + name
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
        contents = base + "/drivers/ifd-purse.bundle/Contents"
        for path in (base + "/ipc", base + "/conf", contents + "/Linux"):
            os.makedirs(path)
        shutil.copy(build + "/ifdhandler/Info.plist", contents)
        shutil.copy(build + "/libifdpurse.so", contents + "/Linux")
        with open(base + "/ifd-purse.conf", "w") as f:
            f.write(self.settings)
        if self.ports:
            self.write_reader_conf(base + "/conf/serial", build + "/libifdpurse-serial.so")

    def write_reader_conf(self, path, library):
        """One record for each serial reader; LIBPATH ends a record, so it stands last."""
        with open(path, "w") as f:
            for name, device in self.ports.items():
                f.write('FRIENDLYNAME "%s"\nDEVICENAME %s\nLIBPATH %s\n' % (name, device, library))

    def start(self):
        self.launch()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(base + "/ctl")
        self.file = self.socket.makefile("r")
        self.pc = self.wait_daemon()
        if self.wait:
            self.pc.wait_readers(lambda names: len(names) >= self.wait, 20 if not self.slow() else 60)

    def launch(self):
        """Starts the simulator, whose child pcscd is, and waits until its readers are plugged in."""
        command = unshare()
        self.prepare()
        ready, ready_w = os.pipe()
        env = {k: v for k, v in os.environ.items() if not k.startswith("IFD_PURSE_")}
        env.update(RIG=base, RIG_SIM=build + self.simulator, RIG_READY=str(ready_w), RIG_DEBUG=self.debug,
                   IFD_PURSE_CONF=base + "/ifd-purse.conf", PATH=env.get("PATH", "") + ":/usr/sbin:/sbin")
        if self.runner:
            env["RUNNER"] = self.runner
        # pcscd and libudev leak by themselves, and the driver is unloaded before anybody looks: valgrind finds leaks
        # (lifecycle.py), a sanitizer what is read and written wrongly.
        env.setdefault("ASAN_OPTIONS", "detect_leaks=0")
        env.update(self.env)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command + ["sh", "-ec", NAMESPACE, "sh"] + self.arguments(), env=env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[ready_w])
        Rig.current = self
        self.wait_simulator(ready, ready_w)

    def arguments(self):
        return [a for r in self.readers for a in ("--reader", r)]

    def wait_simulator(self, ready, ready_w):
        """It says so on a pipe."""
        os.close(ready_w)
        told = os.read(ready, 16)
        os.close(ready)
        if told != b"ready\n":
            raise AssertionError("the simulator did not start: " + self.log())

    def slow(self):
        return bool(self.runner or os.environ.get("RUNNER"))

    def wait_daemon(self):
        """pcscd has no event to tell that it listens; the first context that it grants is one."""
        end = time.monotonic() + (60 if self.slow() else 20)
        while True:
            try:
                return winscard.Context()
            except Failed:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise AssertionError("pcscd did not start")
                time.sleep(0.01)

    def pid(self):
        with open(base + "/ipc/pcscd.pid") as f:
            return int(f.read().strip("\0\n "))

    def stop(self):
        """Ends pcscd and the simulator; returns pcscd's exit status."""
        if self.process is None:
            return self.status
        if self.pc:
            try:
                self.pc.release()
            except Failed:
                pass
        if orderly:
            self.end_gently()
        elif self.process.poll() is None:
            self.process.terminate()
        end = time.monotonic() + (40 if self.slow() else 20)
        while self.process.poll() is None and time.monotonic() < end:
            self.nudge()
        self.status = self.process.poll()
        if self.status is None:
            self.kill()
            self.status = "nothing: it had to be killed"
        if self.socket:
            self.socket.close()
        self.process = None
        return self.status

    def end_gently(self):
        """SIGTERM makes pcscd leave at once, SIGALRM makes it close its readers first: the driver has to go through that.
        Where there is no pcscd (any more) the simulator is told."""
        try:
            os.kill(self.pid(), signal.SIGALRM)
        except (OSError, ValueError):
            if self.process.poll() is None:
                self.process.terminate()

    def nudge(self):
        """pcscd's main loop may have gone back to sleep before the signal was seen to; a client wakes it."""
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(base + "/ipc/pcscd.comm")
            except OSError:
                pass
        try:
            self.process.wait(0.05)
        except subprocess.TimeoutExpired:
            pass

    def kill(self):
        """For the end of all patience."""
        try:
            os.kill(self.pid(), signal.SIGKILL)
        except (OSError, ValueError):
            pass
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, value, trace):
        status = self.stop()
        Rig.current = None
        if kind is None and status != 0:
            raise AssertionError("pcscd ended with %s" % status)

    # ---- what a test does with it

    def sim(self, request):
        """One request to the simulator; returns what follows "ok"."""
        self.socket.sendall(request.encode() + b"\n")
        reply = self.file.readline().rstrip("\n")
        if not reply.startswith("ok"):
            raise AssertionError("simulator: %s: %s" % (request, reply or "(no reply)"))
        return reply[2:].strip()

    def try_sim(self, request, gone):
        """The same; `gone` when the simulator has ended."""
        try:
            return self.sim(request)
        except (AssertionError, OSError):
            return gone

    def until(self, glob, request, seconds=10, reader=0):
        """Waits until the simulator's reply to `request` matches."""
        return self.sim("%s until %d ok*%s* %s" % (reader, seconds * 1000, glob.replace(" ", "?"), request))

    def count(self, key=None, reader=0):
        counts = {k: int(v) for k, v in (pair.split("=") for pair in self.sim("%s count" % reader).split())}
        return counts if key is None else counts.get(key, 0)

    def sent(self, call, instruction, index=0):
        """The frames with this instruction that go to the reader during the call, decoded."""
        self.sim("%d wire on" % index)
        try:
            call()
        finally:
            trace = self.sim("%d wire dump" % index).split()
            self.sim("%d wire off" % index)
        text = b"".join(bytes.fromhex(t.split(":")[-1]) for t in trace if t.startswith(">"))
        frames = [bytes.fromhex(f.split(b"\3")[0].decode()) for f in text.split(b"\2")[1:]]
        return [f for f in frames if f[1] == instruction]

    def connect(self, protocols=winscard.T0 | winscard.T1, share=winscard.SHARE_SHARED, reader=READER):
        if share != winscard.SHARE_DIRECT:
            self.pc.wait_readers(lambda names: reader in names)
            self.pc.wait_card(reader)
        return self.pc.connect(reader, protocols, share)

    def swap(self, card, reader=READER, index=0):
        """Another card in place of the one that is there; waits until pcscd has it."""
        before = self.pc.state(reader)[0] >> 16
        self.sim("%d swap %s" % (index, card))
        end = time.monotonic() + 10
        while True:
            state, atr = self.pc.wait_card(reader)
            if (state >> 16) - before >= 2:
                return atr
            if time.monotonic() > end:
                raise AssertionError("the swap was not seen")
            self.pc.change_or_not(reader, state, 100)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def driver_log(self):
        """The lines that the driver wrote."""
        return [line for line in self.log().splitlines() if re.search("AET63 |ViVOpay [0-9/]|ifd-purse", line)]

    def wait_log(self, pattern, seconds=10, times=1):
        end = time.monotonic() + seconds
        while len(re.findall(pattern, self.log())) < times:
            if time.monotonic() > end:
                raise AssertionError("the log has no %r (%d times)" % (pattern, times))
            time.sleep(0.01)

    def run(self, *command, stdin=None, check=True, seconds=60):
        """A client program; returns what it printed."""
        p = subprocess.run(command, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds)
        if check and p.returncode != 0:
            raise AssertionError("%s: status %d: %s" % (shlex.join(command), p.returncode, p.stdout))
        return p.stdout


# ---- what tests say ------------------------------------------------------------------------------------------------------


def same(what, is_, should):
    if is_ != should:
        if isinstance(is_, (bytes, bytearray)):
            is_, should = winscard.hexa(is_), winscard.hexa(should)
        raise AssertionError("%s: %.300s, and not %.300s" % (what, is_, should))


def at_most(what, is_, limit):
    assert is_ <= limit, "%s: %d, and not %d at most" % (what, is_, limit)


def settled(check, seconds=10):
    """The check holds within some seconds; else what it said last."""
    end = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def descriptors(pid):
    """What a process has open, without the numbers that differ from one to the next."""
    names = collections.Counter()
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            names[re.sub(r"\d+", "N", os.readlink("/proc/%d/fd/%s" % (pid, fd)))] += 1
        except OSError:
            pass
    return names


def nothing_more(now, before):
    """No descriptor is open that was not then. (pcscd closes a client's socket a moment after the client has gone, so
    there may have been one more.)"""
    assert not now - before, "left open: %s" % dict(now - before)


def fails(code, call, *args, **more):
    """The call fails with just this code (or one of several)."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        result = call(*args, **more)
    except Failed as e:
        if e.code not in codes:
            raise AssertionError("%s, and not %s" % (e, ", ".join(winscard.CODES[c] for c in codes)))
        return e.code
    raise AssertionError("no failure but %r, where %s was due" % (result, winscard.CODES[codes[0]]))


NOT_SENT = "meant for the card before it was reset or swapped: not sent"


def lost(r, card, apdu):
    """The session with the card is over. The driver says it, or pcscd; or, where pcscd has powered up the next card while
    this command waited for the reader, the driver has refused to send it that one, and its log says so."""
    before = r.log().count(NOT_SENT)
    code = fails((winscard.SCARD_E_NO_SMARTCARD, winscard.SCARD_W_REMOVED_CARD, winscard.SCARD_E_NOT_TRANSACTED),
                 card.transmit, apdu)
    assert code != winscard.SCARD_E_NOT_TRANSACTED or r.log().count(NOT_SENT) > before, "SCARD_E_NOT_TRANSACTED"


def h(text):
    return bytes.fromhex(text)


class Background:
    """A call in a thread of its own; result() waits for it and gives its value, or raises what it raised."""

    def __init__(self, call, *args, **more):
        self.value = self.error = None

        def work():
            try:
                self.value = call(*args, **more)
            except BaseException as e:
                self.error = e

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def done(self):
        return not self.thread.is_alive()

    def result(self, seconds=30):
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise AssertionError("a call has not returned after %d s" % seconds)
        if self.error:
            raise self.error
        return self.value


# ---- running them ----------------------------------------------------------------------------------------------------------

cases = []
build = None
orderly = False  # a scenario can want that pcscd closes its readers at the end of each case; it sleeps a second then


def case(name, seconds=CASE_SECONDS):
    def mark(function):
        cases.append((name, function, seconds))
        return function
    return mark


def watch(name, seconds):
    """A call into the client library cannot be interrupted: when a case takes far too long its pcscd is killed, and the
    call fails."""
    def end():
        print("  %s: not done after %d s, pcscd is killed" % (name, seconds), flush=True)
        if Rig.current and Rig.current.process:
            Rig.current.kill()
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def tell_failure(name, reason, log):
    for line in log.splitlines()[-60:]:
        print("  | " + line)
    for line in traceback.format_exc().splitlines():
        print("  " + line)
    print("FAIL %s %s" % (name, " ".join(reason.split())[:400]), flush=True)


def run_case(name, function, seconds):
    """True unless it failed."""
    timer = watch(name, seconds)
    begin = time.monotonic()
    try:
        function()
        print("PASS %s" % name, flush=True)
        if os.environ.get("RIG_TIMES"):
            print("  %.1f s" % (time.monotonic() - begin), flush=True)
    except Skip as e:
        print("SKIP %s %s" % (name, e), flush=True)
    except Exception as e:
        log = open(base + "/log", errors="replace").read() if os.path.exists(base + "/log") else ""
        tell_failure(name, "%s" % e if isinstance(e, (AssertionError, Failed)) else repr(e), log)
        return False
    finally:
        timer.cancel()
        rig, Rig.current = Rig.current, None
        if rig:
            rig.stop()
    return True


def main():
    """scenario BUILDDIR [GLOB…]: runs the cases, all or those whose names match."""
    global build
    if len(sys.argv) < 2:
        sys.exit("usage: %s BUILDDIR [CASE…]" % sys.argv[0])
    build = os.path.abspath(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    good = True
    try:
        for name, function, seconds in cases:
            if len(sys.argv) == 2 or any(fnmatch.fnmatch(name, g) for g in sys.argv[2:]):
                good = run_case(name, function, seconds) and good
    finally:
        if Rig.current:
            Rig.current.stop()
        if os.environ.get("RIG_KEEP"):
            print("  kept: " + base)
        else:
            shutil.rmtree(base, ignore_errors=True)
    sys.exit(0 if good else 1)
