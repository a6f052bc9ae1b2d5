# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed driver on a real kernel: kernel.sh has booted one (boot), and runs this in it as root: guest.py BUILD

Real here are the kernel's USB core, usbfs, usbhid, cdc-acm and 8250 drivers, systemd-udevd with the installed rules,
and pcscd with the installed bundle. Simulated are the devices alone: USB readers and a USB-serial adapter on vhci_hcd,
and a reader at the far end of a null modem cable (purse-sim-vhci). There is no umockdev.

The first half of the cases has a pcscd that runs as root and no group pcscd; the second half has the group, and a pcscd
that runs as a user of its own. These cases stand on each other; after a failure the others are not run. Then come cases
of the end-to-end tests, the very same (bed.py), and each of them begins with nothing.
"""
import glob
import grp
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

build = sys.argv[1]
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../e2e")
import bed  # noqa: E402
import picture  # noqa: E402
import winscard  # noqa: E402
from bed import attribute, driver_of, settle, wait  # noqa: E402

AET63, VIVOPAY = "ACS AET63 BioTRUSTKey ", "ID TECH ViVOpay VP3300 (630Z000001) "
DOOR, DESK = "At the door", "At the desk"
BY_NAME = "/dev/ifd-purse/1209-0001-SIM1"  # the adapter, by its serial number
GET_8, EIGHT = "00 84 00 00 08", bytes.fromhex("11 22 33 44 55 66 77 88 90 00")
PATIENCE = 30  # seconds of the guest's own clock; nothing here is a time that is measured
CASE_SECONDS = 150  # a case that takes longer stands still, and there is a picture of it (picture.py)
HEARTBEAT = 10  # what is silent for much longer does not run at all (attend)
LOG = "/run/pcscd.log"
POSTINST = "/var/lib/dpkg/info/ifd-purse.postinst"
READERS = ("aet63:card=echo-t0,unplugged", "neo:link=hid,unplugged", "neo:tty=ttyACM0,serial=DOOR,unplugged",
           "neo:tty=ttyS2,serial=DESK")
SIM_AET63, SIM_VIVOPAY, SIM_DOOR, SIM_DESK = range(4)


def up():
    with open("/proc/uptime") as f:
        return f.read().split()[0]


def same(what, is_, should):
    assert is_ == should, "%s: %s, and not %s" % (what, is_, should)


def run(*command):
    p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=PATIENCE)
    assert p.returncode == 0, "%s: status %d: %s" % (" ".join(command), p.returncode, p.stdout)
    return p.stdout


# ---- the devices and what the kernel says of them ------------------------------------------------------------------


class Simulator:
    def __init__(self):
        ready, ready_w = os.pipe()
        args = [a for r in READERS for a in ("--reader", r)]
        self.process = subprocess.Popen([build + "/tests/kernel/purse-sim-vhci", "--ctl", "/run/sim", "--ready",
                                         str(ready_w), "--hold"] + args, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, pass_fds=[ready_w])
        os.close(ready_w)
        assert os.read(ready, 16) == b"ready\n", "the simulator did not start"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect("/run/sim")
        self.file = self.socket.makefile("r")

    def __call__(self, request):
        self.socket.sendall(request.encode() + b"\n")
        reply = self.file.readline().rstrip("\n")
        assert reply.startswith("ok"), "simulator: %s: %s" % (request, reply)
        return reply[2:].strip()


def usb_device(vid, pid):
    """Its directory in sysfs, or None."""
    for path in glob.glob("/sys/bus/usb/devices/*"):
        if (attribute(path, "idVendor"), attribute(path, "idProduct")) == (vid, pid):
            return path
    return None


def node_of(device):
    numbers = attribute(device, "busnum"), attribute(device, "devnum")
    return "/dev/bus/usb/%03d/%03d" % (int(numbers[0]), int(numbers[1]))


def hidraw(device):
    """The node that usbhid makes of it, or None."""
    found = glob.glob(device + "/*:1.0/*/hidraw/hidraw*")
    node = "/dev/" + os.path.basename(found[0]) if found else ""
    return node if os.path.exists(node) else None


def who_may(path):
    """owner:group mode"""
    s = os.stat(path)
    return "%s:%s %04o" % (pwd.getpwuid(s.st_uid).pw_name, grp.getgrgid(s.st_gid).gr_name, stat.S_IMODE(s.st_mode))


def plug(number, vid, pid):
    sim("%d plug" % number)
    device = wait("enumeration of %s:%s" % (vid, pid), lambda: usb_device(vid, pid))
    wait("its node", lambda: attribute(device, "devnum") and os.path.exists(node_of(device)))
    return device


def vivopay():
    return usb_device("0acd", "3530")


def aet63():
    return usb_device("072f", "8002")


# ---- pcscd ---------------------------------------------------------------------------------------------------------


class Daemon:
    """pcscd, started as a service would start it."""

    def __init__(self, user=None):
        shutil.rmtree("/run/pcscd", ignore_errors=True)
        os.mkdir("/run/pcscd", 0o755)
        command = ["pcscd", "--foreground", "--debug"]
        if user:
            shutil.chown("/run/pcscd", user, user)
            command = ["setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups"] + command
        with open(LOG, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.context = wait("pcscd", self.connect)

    def connect(self):
        assert self.process.poll() is None, "pcscd has ended with %s" % self.process.poll()
        try:
            return winscard.Context()
        except winscard.Failed:
            return None

    def reader(self, name):
        """The reader's full name, when it is there."""
        return wait(name, lambda: next((n for n in self.context.readers() if n.startswith(name)), None))

    def gone(self, name):
        wait("the end of " + name, lambda: not any(n.startswith(name) for n in self.context.readers()))

    def works(self, name):
        name = self.reader(name)
        self.context.wait_card(name, PATIENCE)
        with self.context.connect(name) as card:
            same("an APDU to " + name, card.transmit(GET_8), EIGHT)

    def stop(self):
        """SIGALRM makes it close its readers first. It may have gone back to sleep before it saw the signal: a client
        wakes it."""
        self.context.release()
        self.process.send_signal(signal.SIGALRM)

        def ended():
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect("/run/pcscd/pcscd.comm")
                except OSError:
                    pass
            return self.process.poll() is not None
        wait("the end of pcscd", ended)
        same("pcscd's exit status", self.process.returncode, 0)


# ---- the cases -----------------------------------------------------------------------------------------------------


def case(name):
    def mark(function):
        cases.append((name, function))
        return function
    return mark


cases = []
sim = daemon = None

# What of tests/e2e runs here: the scenario, whether its serial reader is at the end of a cable, patterns of its cases.
SCENARIOS = [
    ("flow", False, ("S1 to S5 byte for byte with scriptor*", "S2 to S5 with opensc-tool on a T=1 card")),
    ("lengths", False, ("T=0: every length in*", "T=1: extended APDUs pass by chaining*")),
    ("presence", False, ("removal while idle *", "bounce while idle*", "swap: *")),
    ("plug", False, ("unplugged while idle*", "unplugged and plugged again at once", "four readers at once*")),
    ("vivo_flow", False, ("the flow byte for byte*", "a serial reader, an HID reader and an AET63*")),
    ("vivo_flow", True, ("what the reader tells*",)),
    ("vivo_lengths", False, ("beyond: 67 00*",)),
    ("vivo_presence", False, ("a card taken out of a session*",)),
    ("vivo_presence", True, ("a client that stays connected keeps the card*",)),
    ("vivo_port", False, ("a serial port hangs up while empty*", "a serial port that is not there yet*",
                          "an HID reader that takes its reports by SET_REPORT*")),
    ("vivo_slots", False, ("contact and SAM slots*",)),
    ("purse", False, ("data and keys*", "the purse command: its examples*")),
    ("vicinity", False, ("the recorded transcript of an ICODE SLI*",)),
]


def prepare():
    """A system without group pcscd and without a reader.conf; udev runs."""
    global sim
    os.environ["SYSTEMD_IGNORE_CHROOT"] = "1"  # udevadm refuses to work in what it takes for a chroot
    for name in ("passwd", "group"):
        with open("/etc/" + name) as f:
            lines = [line for line in f if not line.startswith("pcscd:")]
        with open("/etc/" + name, "w") as f:
            f.writelines(lines)
    for name in glob.glob("/etc/reader.conf.d/*"):
        os.unlink(name)
    run("/lib/systemd/systemd-udevd", "--daemon")
    wait("udev", lambda: os.path.exists("/run/udev/control"))
    sim = Simulator()


@case("the kernel enumerates both USB readers; usbhid takes the ViVOpay; without a group pcscd their nodes stay root's")
def enumeration():
    reader = plug(SIM_AET63, "072f", "8002")
    same("the AET63's kernel driver", driver_of(reader), None)
    reader = plug(SIM_VIVOPAY, "0acd", "3530")
    wait("usbhid", lambda: driver_of(reader) == "usbhid" and hidraw(reader))
    settle()
    same("the ViVOpay's serial number", attribute(reader, "serial"), "630Z000001")
    for path, mode in ((node_of(aet63()), "root:root 0664"), (node_of(reader), "root:root 0664"),
                       (hidraw(reader), "root:root 0600")):
        same(path, who_may(path), mode)


@case("pcscd finds them; APDUs pass; usbhid is detached from the ViVOpay")
def found():
    global daemon
    daemon = Daemon()
    daemon.works(AET63)
    sim("%d insert iso:echo-t1" % SIM_VIVOPAY)
    daemon.works(VIVOPAY)
    same("the ViVOpay's kernel driver", driver_of(vivopay()), "usbfs")
    same("its hidraw node", hidraw(vivopay()), None)


@case("a card goes and comes on each")
def cards():
    for number, name, card in ((SIM_AET63, AET63, "echo-t0"), (SIM_VIVOPAY, VIVOPAY, "iso:echo-t1")):
        name = daemon.reader(name)
        sim("%d remove" % number)
        daemon.context.wait_empty(name, PATIENCE)
        sim("%d insert %s" % (number, card))
        daemon.works(name)


@case("pulled out in a session and plugged in again, each: an error, the reader is gone, and works when it is back")
def pulled():
    for number, name, ids in ((SIM_AET63, AET63, ("072f", "8002")), (SIM_VIVOPAY, VIVOPAY, ("0acd", "3530"))):
        full = daemon.reader(name)
        card = daemon.context.connect(full)
        same("an APDU", card.transmit(GET_8), EIGHT)
        sim("%d unplug" % number)
        try:
            raise AssertionError("an answer without a reader: %s" % card.transmit(GET_8).hex())
        except winscard.Failed:
            pass
        daemon.gone(name)
        wait("the end of the device", lambda: usb_device(*ids) is None)
        plug(number, *ids)
        daemon.works(name)


@case("pcscd ends, and usbhid has the ViVOpay again")
def given_back():
    daemon.stop()
    wait("usbhid", lambda: driver_of(vivopay()) == "usbhid" and hidraw(vivopay()))


@case("with a group pcscd: asked by the package's postinst, udev gives it the readers' nodes")
def group():
    with open("/etc/group", "a") as f:
        f.write("pcscd:x:977:\n")
    with open("/etc/passwd", "a") as f:
        f.write("pcscd:x:977:977::/nonexistent:/usr/sbin/nologin\n")
    if os.path.exists(POSTINST):
        run("sh", POSTINST, "configure", "")
    else:
        for vendor in ("072f", "0acd"):
            run("udevadm", "trigger", "--action=change", "--subsystem-match=usb", "--attr-match=idVendor=" + vendor)
        run("udevadm", "trigger", "--action=change", "--subsystem-match=hidraw")
    settle()
    for path in (node_of(aet63()), node_of(vivopay()), hidraw(vivopay())):
        same(path, who_may(path), "root:pcscd 0660")


def tool(*args):
    """ifd-purse-probe's exit status, and what it says."""
    p = subprocess.run(("ifd-purse-probe",) + args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=2 * PATIENCE)
    return p.returncode, p.stdout


@case("without pcscd: the doctor says so, the probe asks both USB readers, and then usbhid has the ViVOpay again")
def probed():
    status, said = tool("--doctor")
    same("the doctor's status", status, 1)
    assert "WRONG  pcscd does not run" in said and "1 thing to mend" in said, said
    status, said = tool("--no-card", "--no-report", "--rows", "A01,A02,A03,A04,V01,V02")
    same("the probe's status", status, 0)
    for words in ("4 confirmed, 0 contradicted, 0 not tried", "2 confirmed, 0 contradicted, 0 not tried",
                  "A04 form A: one vendor request carries the frame ... confirmed",
                  "it answers in form HID (interrupt both ways)"):
        assert words in said, "no %s: %s" % (words, said)
    wait("usbhid", lambda: driver_of(vivopay()) == "usbhid" and hidraw(vivopay()))
    settle()


@case("a port of the machine that reader.conf.d names is the group's; the others are left alone")
def ports():
    library = glob.glob("/usr/lib/pcsc/drivers/serial/libifdpurse-serial.so")[0]
    with open("/etc/reader.conf.d/purse", "w") as f:
        # (with an option: pcscd does not start if a record without one names a port that is not there)
        for name, device in ((DESK, "/dev/ttyS1"), (DOOR, BY_NAME + ":slots=cl")):
            f.write('FRIENDLYNAME "%s"\nDEVICENAME %s\nLIBPATH %s\n' % (name, device, library))
    before = who_may("/dev/ttyS2")
    run("udevadm", "trigger", "/dev/ttyS1", "/dev/ttyS2")
    settle()
    same("/dev/ttyS1", who_may("/dev/ttyS1"), "root:pcscd 0660")
    assert "pcscd" not in who_may("/dev/ttyS2"), (before, who_may("/dev/ttyS2"))


@case("pcscd as user pcscd: both USB readers and the one on ttyS1 work; an adapter that is not there is an empty slot")
def unprivileged():
    global daemon
    daemon = Daemon("pcscd")
    same("pcscd's user", os.stat("/proc/%d" % daemon.process.pid).st_uid, pwd.getpwnam("pcscd").pw_uid)
    sim("%d insert iso:echo-t1" % SIM_DESK)
    for name in (AET63, VIVOPAY, DESK):
        daemon.works(name)
    same("the ViVOpay's kernel driver", driver_of(vivopay()), "usbfs")
    daemon.context.wait_empty(daemon.reader(DOOR), PATIENCE)


@case("a serial adapter is plugged in: cdc-acm, its names in /dev/ifd-purse, the group, and the slot works")
def adapter():
    sim("%d insert iso:echo-t1" % SIM_DOOR)
    sim("%d plug" % SIM_DOOR)
    port = wait("its name", lambda: os.path.exists(BY_NAME) and os.path.realpath(BY_NAME))
    same("the port", port, "/dev/ttyACM0")
    settle()
    places = glob.glob("/dev/ifd-purse/at-*")
    same("names by place", [os.path.realpath(p) for p in places], [port])
    same(port, who_may(port), "root:pcscd 0660")
    daemon.works(DOOR)


@case("the doctor finds nothing wrong, and the probe all four readers, of which pcscd has the two on USB")
def healthy():
    status, said = tool("--doctor")
    same("what is wrong", (status, [line for line in said.splitlines() if "WRONG" in line]), (0, []))
    for device in (aet63(), vivopay()):
        assert "pcscd has %s open" % node_of(device) in said, said
    status, said = tool("--list")
    same("status", status, 0)
    for words in ("072F:8002  AET63 BioTRUSTKey at " + node_of(aet63()), "0ACD:3530  ViVOpay ViVOpay USB Reader at ",
                  "/dev/ttyS1  ViVOpay, by reader.conf.d", BY_NAME + ":slots=cl  ViVOpay, by reader.conf.d",
                  "/dev/ttyACM0  Serial adapter - SIM1"):
        assert words in said, "no %s: %s" % (words, said)


@case("the adapter is pulled out in a session: an error, an empty slot; plugged in again, the slot goes on")
def adapter_pulled():
    name = daemon.reader(DOOR)
    card = daemon.context.connect(name)
    same("an APDU", card.transmit(GET_8), EIGHT)
    sim("%d unplug" % SIM_DOOR)
    try:
        raise AssertionError("an answer without an adapter: %s" % card.transmit(GET_8).hex())
    except winscard.Failed:
        pass
    daemon.context.wait_empty(name, PATIENCE)
    wait("the end of its name", lambda: not os.path.lexists(BY_NAME))
    sim("%d plug" % SIM_DOOR)
    daemon.works(name)
    for other in (AET63, VIVOPAY, DESK):
        daemon.works(other)


@case("pcscd ends, and usbhid has the ViVOpay again, with the group's node")
def the_end():
    daemon.stop()
    wait("usbhid", lambda: driver_of(vivopay()) == "usbhid" and hidraw(vivopay()))
    settle()
    same(hidraw(vivopay()), who_may(hidraw(vivopay())), "root:pcscd 0660")


def scenarios():
    """The end-to-end tests' own, with rigs that begin with nothing."""
    sim("quit")
    sim.process.wait(PATIENCE)
    os.unlink("/etc/reader.conf.d/purse")
    wait("the end of the devices", lambda: not bed.devices())
    os.environ["RIG_TIMES"] = "1"  # (none of them is judged)
    bed.use(build)
    for scenario, cable, names in SCENARIOS:
        bed.run(scenario, *names, cable=cable)
        print("  (%s s)" % up(), flush=True)


def tell_failure(name, error):
    """With the same picture as of a case that stands still: what had a deadline may have met what has none."""
    print("  %s: %s" % (name, error), flush=True)
    picture.show()
    print("FAIL %s: %s" % (name, " ".join(str(error).split())[:400]), flush=True)


def beat():
    while True:
        time.sleep(HEARTBEAT)
        os.write(1, ("  (%s s)\n" % up()).encode())  # (in no line of print's)


def main():
    print("  (%s s after power on)" % up(), flush=True)
    threading.Thread(target=beat, daemon=True).start()
    picture.Watch.readers, picture.Watch.logs = len(READERS), (LOG,)
    name = "udev and the simulated readers start"
    try:
        with picture.Watch(name, CASE_SECONDS):
            prepare()
        for name, function in cases:
            with picture.Watch(name, CASE_SECONDS):
                function()
            print("PASS %s\n  (%s s)" % (name, up()), flush=True)
        name = "the scenarios of tests/e2e"
        scenarios()
    except Exception as e:
        tell_failure(name, e if isinstance(e, AssertionError) else repr(e))
    print("END", flush=True)


main()
