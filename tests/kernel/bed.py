# SPDX-License-Identifier: LGPL-2.1-or-later
"""A rig for the end-to-end scenarios under a real kernel, on the installed package.

    bed.use(build)
    bed.run("flow", "S1*")        # these cases of tests/e2e/flow.py

The scenarios are those of tests/e2e, unchanged, and so is most of their rig (rig.py); what differs is how a rig starts
and ends. The readers are devices of the running kernel (purse-sim-vhci): USB readers on vhci_hcd, and what a scenario
takes for a reader on ttyUSB0 is one behind a USB-serial adapter (cdc-acm), or with cable=True one at the far end of a
null modem cable between two ports of the machine. pcscd runs as a user of its own, as a service would be started, and
finds the driver, its settings and reader.conf where they are installed; what it may open is what udev's rules give it.

When a rig starts, the devices have been enumerated and udev is done with them before pcscd is started, and when it ends
they are gone: a case begins with nothing of the one before.
"""
import fnmatch
import glob
import importlib
import os
import pwd
import shutil
import subprocess
import sys
import time

import picture
import rig

USER = "pcscd"
SOCKETS = "/run/pcscd"
SETTINGS = "/etc/ifd-purse.conf"
READER_CONF = "/etc/reader.conf.d/scenario"
PATIENCE = 30  # seconds of the guest's own clock
PORT = "/dev/ttyUSB0"  # as the scenarios call it
ADAPTER = "/dev/ifd-purse/1209-0001-SIM1"  # by its serial number; it may be another ttyACM when it is back
OURS = {"072f": None, "0acd": "usbhid", "1209": "cdc_acm"}  # vendors of the simulated devices, their kernel drivers

os.environ["PCSCLITE_CSOCK_NAME"] = SOCKETS + "/pcscd.comm"  # (rig.py has named its own)


def wait(what, call, seconds=PATIENCE):
    """The first true value of the call."""
    end = time.monotonic() + seconds
    while True:
        value = call()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s: not within %d s" % (what, seconds))
        time.sleep(0.02)


def attribute(path, name):
    try:
        with open(path + "/" + name) as f:
            return f.read().strip()
    except OSError:
        return None


def devices():
    """The simulated devices that the kernel has."""
    return [path for path in glob.glob("/sys/bus/usb/devices/*") if attribute(path, "idVendor") in OURS]


def driver_of(device):
    """The kernel driver of its first interface; None: it has none."""
    try:
        return os.path.basename(os.readlink(glob.glob(device + "/*:1.0")[0] + "/driver"))
    except (OSError, IndexError):
        return None


def bound(device):
    """The kernel is done with it."""
    driver = OURS[attribute(device, "idVendor")]
    return driver is None or driver_of(device) == driver


def settle():
    """Until udev has done all that it was told."""
    subprocess.run(["udevadm", "settle", "--timeout=%d" % PATIENCE], check=True, timeout=2 * PATIENCE)


class KernelRig(rig.Rig):
    simulator = "/tests/kernel/purse-sim-vhci"
    cable = False  # what a scenario has on ttyUSB0 is at the end of a cable, not behind an adapter

    def __init__(self, *readers, settings="", serial=None, env=None, runner=None, **more):
        assert not env and not runner, "the pcscd of a service has no environment of its own"
        far, near = ("tty=ttyS2", "/dev/ttyS1") if self.cable else ("tty=ttyACM0", ADAPTER)
        super().__init__(*[r.replace("tty=ttyUSB0", far) for r in readers], settings=settings.replace(PORT, near),
                         serial={name: device.replace(PORT, near) for name, device in (serial or {}).items()}, **more)
        self.bed = None

    def prepare(self):
        for path in (rig.base + "/ipc", READER_CONF):
            if os.path.lexists(path):
                os.unlink(path)
        os.symlink(SOCKETS, rig.base + "/ipc")
        shutil.rmtree(SOCKETS, ignore_errors=True)
        os.mkdir(SOCKETS, 0o755)
        shutil.chown(SOCKETS, USER, USER)
        with open(SETTINGS, "w") as f:
            f.write(self.settings)
        if self.ports:
            self.write_reader_conf(READER_CONF, glob.glob("/usr/lib/pcsc/drivers/serial/libifdpurse-serial.so")[0])
        if self.cable:
            subprocess.run(["udevadm", "trigger", "/dev/ttyS1"], check=True, timeout=PATIENCE)

    def launch(self):
        self.prepare()
        ready, ready_w = os.pipe()
        with open(self.log_path, "wb") as log:
            self.bed = subprocess.Popen(
                [rig.build + self.simulator, "--ctl", rig.base + "/ctl", "--ready", str(ready_w), "--hold"] +
                self.arguments(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, pass_fds=[ready_w])
        rig.Rig.current = self
        self.wait_simulator(ready, ready_w)
        usb = sum("unplugged" not in r and "tty=ttyS" not in r for r in self.readers)
        wait("enumeration", lambda: len(devices()) == usb and all(bound(d) for d in devices()))
        settle()
        user = pwd.getpwnam(USER)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["pcscd", "--foreground", self.debug], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, user=user.pw_uid, group=user.pw_gid, extra_groups=[])

    def kill(self):
        """For a pcscd that does not end."""
        picture.show()
        super().kill()

    def stop(self):
        status = super().stop()
        if self.bed:
            self.bed.terminate()
            try:
                self.bed.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                picture.show()
                raise AssertionError("the simulator does not end")
            self.bed = None
            wait("the end of the devices", lambda: not devices())
            settle()
        return status


def watch(name, seconds):
    """In the place of rig.watch: the case is not cut off, but shown."""
    watcher = picture.Watch(name, seconds)
    watcher.timer.start()
    return watcher.timer


def use(build):
    """From now on a rig is one of ours. Once in a process, before a scenario is imported."""
    rig.build, rig.Rig, rig.watch, rig.main = build, KernelRig, watch, lambda: None
    picture.Watch.control, picture.Watch.logs = rig.base + "/ctl", (rig.base + "/log",)


def run(scenario, *names, cable=False):
    """The cases of this scenario that match one of the names. True: they passed."""
    rig.cases.clear()
    rig.orderly, KernelRig.cable = False, cable
    sys.modules.pop(scenario, None)
    importlib.import_module(scenario)
    good = True
    for glob_ in names:
        found = [c for c in rig.cases if fnmatch.fnmatch(c[0], glob_)]
        if not found:
            print("FAIL %s: no case is called %s" % (scenario, glob_), flush=True)
        for name, function, seconds in found:
            name = "%s%s: %s" % (scenario, ", on ttyS1" if cable else "", name)
            good = rig.run_case(name, function, seconds) and good
    return good
