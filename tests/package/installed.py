# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package in a clean root: debian.sh has made one, and runs this inside it, in namespaces of its own.

    installed.py BUILD PACKAGE NEXT_PACKAGE

The root is the system's own under an overlay: all that the package needs is there, the package is not, and whatever it
does is gone with the overlay. pcscd is the system's, started by its own init script, which is how the maintainer scripts
start it again; its simulated readers come by the environment that the script reads. Nothing else tells it of the package:
that it finds the readers is the package's doing.
"""
import ast
import contextlib
import os
import signal
import subprocess
import sys
import time

build, package, following = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../e2e")
import winscard  # noqa: E402

# (which of them gets which number depends on the order in which pcscd finds them)
AET63, VIVOPAY = "ACS AET63 BioTRUSTKey ", "ID TECH ViVOpay VP3300 (630Z000001) "
PATIENCE = 30
CONF = "/etc/ifd-purse.conf"
# What dpkg and the system keep for themselves: databases, logs, caches.
OTHERS = ("/var/lib/dpkg", "/var/log", "/var/cache", "/var/backups", "/var/tmp", "/etc/ld.so.cache")

good = True


def run(*command, env=None):
    p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       env=env, timeout=120)
    if p.returncode != 0:
        raise AssertionError("%s: status %d: %s" % (" ".join(command), p.returncode, p.stdout))
    return p.stdout


def files():
    """All names in the root, but for its mounts."""
    names = set()
    for top in ("/etc", "/usr", "/var", "/opt", "/srv", "/lib"):
        out = run("find", os.path.realpath(top), "-xdev", "-print0")
        names.update(n for n in out.split("\0") if n and not n.startswith(OTHERS))
    return names


def daemon():
    """The process id of pcscd; None: it does not run."""
    try:
        with open("/run/pcscd/pcscd.pid") as f:
            pid = int(f.read().strip("\0\n "))
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return None


def wait(what, question):
    end = time.monotonic() + PATIENCE
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s; pcscd has %s" % (PATIENCE, what, readers()))
        time.sleep(0.02)


def client(function, *args):
    """What a client answers: a process of its own, since the client library is not made for more than one pcscd."""
    out, out_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = function(*args)
        except BaseException as e:
            answer = e
        os.write(out_w, repr(answer).encode())
        os._exit(isinstance(answer, BaseException))
    os.close(out_w)
    with os.fdopen(out) as f:
        text = f.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise AssertionError(text)
    return ast.literal_eval(text)


def list_readers():
    try:
        context = winscard.Context()
    except winscard.Failed:
        return None
    try:
        return context.readers()
    except winscard.Failed:
        return []


def readers():
    """The readers that pcscd has; None if it does not answer (yet)."""
    return client(list_readers)


def ours():
    """The AET63's and the ViVOpay's names; None as long as not both are there."""
    names = readers() or ()
    found = [n for reader in (AET63, VIVOPAY) for n in names if n.startswith(reader)]
    return found if len(found) == 2 else None


def transmit(reader):
    context = winscard.Context()
    context.wait_card(reader)
    with context.connect(reader, winscard.T0) as card:
        return card.transmit("00 A4 04 00 0E 31 50 41 59 2E 53 59 53 2E 44 44 46 30 31")


def uses_readers():
    reader, _ = wait("both readers", ours)
    answer = client(transmit, reader)
    assert answer == bytes.fromhex("61 28"), answer


def install(name):
    return run("dpkg", "--force-confdef", "--force-confold", "-i", name)


@contextlib.contextmanager
def simulator():
    """The simulated readers, and the environment in which a program sees them."""
    ready, ready_w = os.pipe()
    p = subprocess.Popen([build + "/tests/sim/purse-sim", "--ready", str(ready_w), "--hold", "--reader",
                          "aet63:card=pboc-t0", "--reader", "neo:link=hid"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, pass_fds=[ready_w])
    os.close(ready_w)
    try:
        if os.read(ready, 16) != b"ready\n":
            raise AssertionError("the simulator did not start")
        environment = {}
        while not {"LD_PRELOAD", "UMOCKDEV_DIR"} <= set(environment):
            name, _, value = p.stdout.readline().rstrip("\n").partition("=")
            if not name:
                raise AssertionError("the simulator names no environment")
            environment[name] = value
        yield environment
    finally:
        p.terminate()
        p.wait(PATIENCE)


def prepare(environment):
    """A root in which services may be started, and a pcscd that will see the simulated readers."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/usr/sbin/policy-rc.d")
    if os.path.lexists("/sbin/runlevel"):
        os.unlink("/sbin/runlevel")
    with open("/sbin/runlevel", "w") as f:  # there is no init to tell it, and without one no service is touched
        f.write("#!/bin/sh\necho N 2\n")
    os.chmod("/sbin/runlevel", 0o755)
    for name in ("/etc/reader.conf.d", "/etc/default"):
        os.makedirs(name, exist_ok=True)
    for name in os.listdir("/etc/reader.conf.d"):
        os.unlink("/etc/reader.conf.d/" + name)  # a reader of this machine's is none of ours
    with open("/etc/default/pcscd", "w") as f:
        f.writelines("export %s='%s'\n" % pair for pair in environment.items())
    os.makedirs("/run/pcscd", exist_ok=True)


def service(action):
    run("/etc/init.d/pcscd", action)


# ---- the steps, each on what the one before left -------------------------------------------------------------------------


def step(name):
    def mark(function):
        steps.append((name, function))
        return function
    return mark


steps = []
before = set()
state = {}


@step("installed while pcscd runs: it finds the readers, without a manual step")
def first_installation():
    service("start")
    wait("pcscd", lambda: readers() is not None)
    assert readers() == [], "readers before the package: %s" % readers()
    install(package)
    uses_readers()


@step("upgraded while pcscd runs: the new driver is used, the user's configuration file kept")
def upgrade():
    with open(CONF, "a") as f:
        f.write("# mine\n")
    with open(CONF) as f:
        mine = f.read()
    old = daemon()
    install(following)
    wait("another pcscd", lambda: daemon() not in (None, old))
    uses_readers()
    with open(CONF) as f:
        assert f.read() == mine, "the user's file was overwritten"


@step("removed while pcscd runs: the readers are gone, and all files but the configuration file")
def remove():
    run("dpkg", "-r", "ifd-purse")
    wait("no reader", lambda: readers() == [])
    left = files() - before
    # The user's file, and beside it the package's own that dpkg put there in the upgrade.
    assert left <= {CONF, CONF + ".dpkg-dist"}, "left: " + " ".join(sorted(left))
    assert os.path.exists(CONF)


@step("installed again and purged: nothing is left")
def purge():
    install(package)
    with open(CONF) as f:
        assert f.read().endswith("# mine\n"), "the user's file of last time was overwritten"
    uses_readers()
    run("dpkg", "-P", "ifd-purse")
    after = files()
    assert after == before, "left: %s; missing: %s" % (sorted(after - before), sorted(before - after))


@step("installed while pcscd does not run: it is not started, and finds the readers when it is")
def idle():
    service("stop")
    wait("the end of pcscd", lambda: daemon() is None)
    install(package)
    assert daemon() is None, "installation started pcscd"
    service("start")
    uses_readers()


@step("an upgrade brings a new configuration file if the user has not changed the old one")
def new_configuration():
    install(following)
    with open(CONF) as f:
        assert f.read().endswith("# (a line of the next version)\n")


def main():
    global good, before
    with simulator() as environment:
        prepare(environment)
        before = files()
        for name, function in steps:
            try:
                function()
                print("PASS " + name, flush=True)
            except Exception as e:  # the others stand on it
                print("FAIL %s: %s" % (name, str(e).replace("\n", " ")), flush=True)
                good = False
                break
        if daemon():
            os.kill(daemon(), signal.SIGTERM)
    sys.exit(0 if good else 1)


main()
