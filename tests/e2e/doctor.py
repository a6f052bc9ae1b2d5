# SPDX-License-Identifier: LGPL-2.1-or-later
"""ifd-purse-probe --doctor: a machine on which nothing is wrong, and then each thing that can be wrong with one, each found
by itself and with the command that mends it. The machine is a directory: the doctor looks below --root."""
import os
import shutil
import socket
import subprocess

import rig
from rig import case, same

DROP = "/usr/lib/pcsc/drivers"
BUNDLE = DROP + "/ifd-purse.bundle/Contents"
SERIAL = DROP + "/serial/libifdpurse-serial.so"
CONF = "/etc/reader.conf.d/purse"
RECORD = 'FRIENDLYNAME "%s"\nDEVICENAME %s\nLIBPATH %s\n'
PLIST = """<plist><dict><key>ifdVendorID</key><array>%s</array><key>ifdProductID</key><array>%s</array></dict></plist>"""


class Machine:
    """A machine with pcscd, this driver, an AET63 and a serial reader, all well. `change` breaks one thing."""

    def __init__(self):
        self.root = rig.base + "/machine"
        shutil.rmtree(self.root, ignore_errors=True)
        self.pcscd("pcsc-lite version 1.9.9.\nEnabled features: serial usb usbdropdir=%s ipcdir=/run/pcscd "
                   "configdir=/etc/reader.conf.d" % DROP)
        self.write("/proc/500/comm", "pcscd\n")
        self.write("/proc/500/status", "Name:\tpcscd\nUid:\t990\t990\t990\t990\nGid:\t980\t980\t980\t980\nGroups:\t \n")
        self.write(BUNDLE + "/Info.plist", open(rig.build + "/ifdhandler/Info.plist").read())
        self.write(BUNDLE + "/Linux/libifdpurse.so", "")
        self.write(SERIAL, "")
        self.usb()
        self.tty("/dev/ttyUSB0")
        self.write(CONF, RECORD % ("a reader", "/dev/ttyUSB0:slots=cl", SERIAL))

    def path(self, name):
        return self.root + name

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)

    def pcscd(self, text, status=0):
        self.write("/usr/sbin/pcscd", "#!/bin/sh\ncat <<'END'\n%s\nEND\nexit %d\n" % (text, status))
        os.chmod(self.path("/usr/sbin/pcscd"), 0o755)

    def node(self, name, mode=0o660, gid=980):
        self.write(name, "")
        os.chmod(self.path(name), mode)
        if os.geteuid() == 0:
            os.chown(self.path(name), 0, gid)

    def tty(self, name, **more):
        self.node(name, **more)

    def usb(self, sysname="1-2", vid="072f", pid="8002", number=4):
        at = "/sys/bus/usb/devices/" + sysname
        for name, value in (("idVendor", vid), ("idProduct", pid), ("busnum", "1"), ("devnum", str(number))):
            self.write("%s/%s" % (at, name), value + "\n")
        self.node("/dev/bus/usb/001/%03d" % number)
        self.open_by(500, "/dev/bus/usb/001/%03d" % number)

    def open_by(self, pid, node):
        folder = self.path("/proc/%d/fd" % pid)
        os.makedirs(folder, exist_ok=True)
        os.symlink(self.path(node), "%s/%d" % (folder, len(os.listdir(folder)) + 3))

    def doctor(self, status, *wanted):
        """Runs it; every text wanted is in what it says. Nothing else may be wrong."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("IFD_PURSE_")}
        p = subprocess.run([rig.build + "/ifd-purse-probe", "--doctor", "--root", self.root], env=env, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        for text in wanted:
            assert text in p.stdout, "no %r in:\n%s" % (text, p.stdout)
        same("status (%s)" % p.stdout, p.returncode, status)
        same("things wrong (%s)" % p.stdout, p.stdout.count("WRONG"), status)
        return p.stdout


def wrong(name, *wanted):
    """A case: the machine changed by the function, one finding with these texts."""
    def mark(change):
        @case("doctor: " + name)
        def run():
            m = Machine()
            change(m)
            m.doctor(1, *wanted)
        return change
    return mark


def well(name, *wanted):
    def mark(change):
        @case("doctor: " + name)
        def run():
            m = Machine()
            change(m)
            m.doctor(0, *wanted)
        return change
    return mark


@well("a machine on which all is well", "Nothing is wrong here", "pcscd 1.9.9", "pcscd has /dev/bus/usb/001/004 open",
      '"a reader" at /dev/ttyUSB0:slots=cl')
def all_well(m):
    pass


@well("no readers at all are no fault", "none.", "no file in /etc/reader.conf.d names this driver")
def nothing_plugged(m):
    shutil.rmtree(m.path("/sys"))
    os.unlink(m.path(CONF))


# ---- pcscd and the bundle ------------------------------------------------------------------------------------------------


@wrong("pcscd is not installed", "pcscd is not installed", "apt-get install pcscd")
def no_pcscd(m):
    os.unlink(m.path("/usr/sbin/pcscd"))


@wrong("pcscd is too old", "version 1.8.26", "1.9.0 or later")
def old_pcscd(m):
    m.pcscd("pcsc-lite version 1.8.26.\nusbdropdir=" + DROP)


@wrong("pcscd cannot be run", "cannot be run", "--reinstall pcscd")
def broken_pcscd(m):
    m.pcscd("error while loading shared libraries", 127)


@wrong("pcscd does not run", "does not run, and nothing will start it", "systemctl enable --now pcscd.socket")
def pcscd_stopped(m):
    shutil.rmtree(m.path("/proc"))


@well("pcscd does not run, but systemd listens for it", "systemd starts it")
def pcscd_on_demand(m):
    shutil.rmtree(m.path("/proc"))
    os.makedirs(m.path("/run/pcscd"))
    s = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(m.path("/run/pcscd"))  # a socket's name is short
    s.bind("pcscd.comm")
    os.chdir(here)
    s.close()


@wrong("the bundle is not in pcscd's directory", "there is no ifd-purse.bundle in /usr/lib/pcsc/drivers", "make install")
def no_bundle(m):
    shutil.rmtree(m.path(BUNDLE))


@wrong("pcscd looks for drivers elsewhere", "there is no ifd-purse.bundle in /opt/pcsc",
       "./configure --with-usbdropdir=/opt/pcsc")
def other_directory(m):
    m.pcscd("pcsc-lite version 2.0.0.\nEnabled features: usbdropdir=/opt/pcsc configdir=/etc/reader.conf.d")


@wrong("the handler is missing in the bundle", "libifdpurse.so cannot be read", "make install")
def no_handler(m):
    os.unlink(m.path(BUNDLE + "/Linux/libifdpurse.so"))


@wrong("another bundle claims the reader", "other.bundle claims 072F:8002", "mv %s/other.bundle" % DROP)
def rival(m):
    m.write(DROP + "/other.bundle/Contents/Info.plist",
            PLIST % ("<string>0x1111</string><string>0x072F</string>", "<string>0x2222</string><string>0x8002</string>"))


@well("a bundle that names the ids only in a comment, or apart from each other, is no rival")
def no_rival(m):
    m.write(DROP + "/other.bundle/Contents/Info.plist",
            PLIST % ("<!--<string>0x072F</string>--><string>0x072F</string><string>0x1111</string>",
                     "<string>0x2222</string><string>0x8002</string>"))


@wrong("a reader of a usb_id line that the bundle does not name", "0ACD:1234 is plugged in and is not in the bundle's",
       "0x0ACD, 0x1234")
def not_claimed(m):
    m.write("/etc/ifd-purse.conf", "[usb]\nusb_id = 0ACD:1234:vivopay\n")
    m.usb("1-3", "0acd", "1234", 5)


# ---- nodes -----------------------------------------------------------------------------------------------------------------


@wrong("pcscd may not use the reader's node", "as user 990, may not use /dev/bus/usb/001/004",
       "udevadm trigger /dev/bus/usb/001/004")
def forbidden_node(m):
    os.chmod(m.path("/dev/bus/usb/001/004"), 0o600)


@wrong("pcscd would not be allowed to, once it runs", "as user 991, may not use /dev/ttyUSB0")
def forbidden_later(m):
    pcscd_on_demand(m)
    m.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\npcscd:x:991:970::/:/bin/false\n")
    m.write("/etc/group", "dialout:x:20:somebody\npcscd:x:970:\nreaders:x:980:somebody,pcscd\n")
    m.tty("/dev/ttyUSB0", gid=20)


@well("a further group of pcscd's is enough")
def further_group(m):
    m.write("/proc/500/status", "Name:\tpcscd\nUid:\t990\t990\t990\t990\nGid:\t970\t970\t970\t970\nGroups:\t971 980\n")


@wrong("another program has the reader", "oldtool (process 600) has /dev/bus/usb/001/004 open", "kill 600")
def held(m):
    m.write("/proc/600/comm", "oldtool\n")
    m.open_by(600, "/dev/bus/usb/001/004")
    shutil.rmtree(m.path("/proc/500/fd"))


@wrong("the kernel's driver has the reader", "the kernel's driver usbserial holds interface 0 of 072F:8002",
       "echo -n 1-2:1.0 > /sys/bus/usb/drivers/usbserial/unbind")
def kernel_driver(m):
    at = m.path("/sys/bus/usb/devices/1-2:1.0")
    os.makedirs(at)
    os.symlink("../../../bus/usb/drivers/usbserial", at + "/driver")


@well("usbhid is detached by the driver")
def usbhid(m):
    m.usb("1-3", "0acd", "3530", 5)
    at = m.path("/sys/bus/usb/devices/1-3:1.0")
    os.makedirs(at)
    os.symlink("../../../bus/usb/drivers/usbhid", at + "/driver")


@wrong("pcscd may not use the port", "may not use /dev/ttyUSB0", "udevadm trigger /dev/ttyUSB0")
def forbidden_port(m):
    os.chmod(m.path("/dev/ttyUSB0"), 0o600)


@wrong("ModemManager has the port", "ModemManager tries /dev/ttyUSB0", "systemctl disable --now ModemManager")
def modem(m):
    m.write("/proc/600/comm", "ModemManager\n")
    m.open_by(600, "/dev/ttyUSB0")


@wrong("a login sits on the port", "a login (agetty, process 600)", "systemctl disable --now serial-getty@ttyUSB0")
def login(m):
    m.write("/proc/600/comm", "agetty\n")
    m.open_by(600, "/dev/ttyUSB0")


# ---- reader.conf.d ------------------------------------------------------------------------------------------------------------


@wrong("CHANNELID behind LIBPATH goes to the next reader", "CHANNELID stands behind LIBPATH and goes to the next reader",
       "LIBPATH is the last line")
def channel_behind(m):
    m.tty("/dev/ttyUSB1")
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", SERIAL) + "CHANNELID 0\n" +
            RECORD % ("two", "/dev/ttyUSB1:slots=cl", SERIAL))


@well("CHANNELID before LIBPATH, or behind the last record, does no harm")
def channel_before(m):
    m.write(CONF, 'FRIENDLYNAME "one"\nDEVICENAME /dev/ttyUSB0:slots=cl\nCHANNELID 0\nLIBPATH %s\nCHANNELID 1\n' % SERIAL)


@wrong("a CHANNELID in place of the port", "this driver needs the port's name", "DEVICENAME /dev/ttyUSB0:slots=cl")
def channel_only(m):
    m.write(CONF, 'FRIENDLYNAME "one"\nCHANNELID 0\nLIBPATH %s\n' % SERIAL)


@wrong("DEVICENAME in quotes", "DEVICENAME is in quotes", "DEVICENAME /dev/ttyUSB0:slots=cl")
def quoted(m):
    m.write(CONF, RECORD % ("one", '"/dev/ttyUSB0:slots=cl"', SERIAL))


@wrong("a character that pcscd does not take", "has a character that pcscd does not take", "/dev/ifd-purse/")
def characters(m):
    m.tty("/dev/serial/by-id/usb-A+B")
    m.write(CONF, RECORD % ("one", "/dev/serial/by-id/usb-A+B:slots=cl", SERIAL))


@wrong("a port that is not there, without an option", "/dev/ttyUSB7 is not there, and without an option",
       "DEVICENAME /dev/ttyUSB7:slots=cl")
def missing_port(m):
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB7", SERIAL))


@well("a port that is not there, with an option", "the driver opens it when it comes")
def late_port(m):
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB7:slots=cl", SERIAL))


@wrong("an option of DEVICENAME that does not exist", "did you mean slots?")
def wrong_option(m):
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slotz=cl", SERIAL))


@wrong("two readers of one name", 'FRIENDLYNAME "one" stands in', "FRIENDLYNAME of its own")
def same_name(m):
    m.tty("/dev/ttyUSB1")
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", SERIAL))
    m.write(CONF + "2", RECORD % ("one", "/dev/ttyUSB1:slots=cl", SERIAL))


@wrong("two readers on one port", "is given to two readers", "delete one of the two records")
def same_port(m):
    os.makedirs(m.path("/dev/ifd-purse"))
    os.symlink("../ttyUSB0", m.path("/dev/ifd-purse/one"))
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", SERIAL) +
            RECORD % ("two", "/dev/ifd-purse/one:slots=cl", SERIAL))


@wrong("the handler is not there", "LIBPATH /usr/lib/libifdpurse-serial.so is not there", "LIBPATH " + SERIAL)
def no_library(m):
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", "/usr/lib/libifdpurse-serial.so"))


@wrong("the USB readers' handler for a serial reader", "LIBPATH names the handler of the USB readers", "LIBPATH " + SERIAL)
def usb_library(m):
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", BUNDLE + "/Linux/libifdpurse.so"))


@wrong("the handler by a symbolic link", "LIBPATH is a symbolic link", "LIBPATH " + SERIAL)
def linked_library(m):
    os.symlink("libifdpurse-serial.so", m.path(DROP + "/serial/libifdpurse-link.so"))
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", DROP + "/serial/libifdpurse-link.so"))


@wrong("two names of one handler", "are one file: two readers get the same number", "write the same path in both")
def two_paths(m):
    m.tty("/dev/ttyUSB1")
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", SERIAL) +
            RECORD % ("two", "/dev/ttyUSB1:slots=cl", SERIAL.replace("/serial/", "/serial/../serial/")))


@wrong("a record without LIBPATH", "the last record has no LIBPATH", "write three lines")
def incomplete(m):
    m.write(CONF, RECORD % ("one", "/dev/ttyUSB0:slots=cl", SERIAL) + 'FRIENDLYNAME "two"\nDEVICENAME /dev/ttyS0:slots=cl\n')


@wrong("a USB reader in reader.conf.d", "USB readers are found by pcscd itself", "delete the record")
def usb_record(m):
    m.write(CONF, RECORD % ("one", "usb:072f/8002", SERIAL))


@well("another driver's record is its own business")
def foreign_record(m):
    m.write("/etc/reader.conf.d/other", RECORD % ("x", '"/dev/ttyS9+"', "/usr/lib/other.so"))


# ---- the configuration file --------------------------------------------------------------------------------------------------


@wrong("a setting that does not exist", "did you mean transport?", "ifd-purse.conf(5)")
def wrong_key(m):
    m.write("/etc/ifd-purse.conf", "[072F:8002]\ntransprt = B\n")


@wrong("a value that may not be", 'transport = "D" is refused')
def wrong_value(m):
    m.write("/etc/ifd-purse.conf", "# of a reader that is not plugged in\n[072F:8002:1234]\ntransport = D\n")


@wrong("a section that names no reader", "names no reader; write [072F:8002]")
def wrong_section(m):
    m.write("/etc/ifd-purse.conf", "[072F-8002]\nlog = 7\n[0ACD:3530]\nlog = 7\n")


@well("a configuration file without a mistake", "/etc/ifd-purse.conf")
def right_file(m):
    m.write("/etc/ifd-purse.conf", "[072F:8002]\ntransport = B\n[/dev/ttyUSB0]\nbaud = 57600\n")


@case("doctor: an option that does not exist is told, with status 2")
def usage():
    p = subprocess.run([rig.build + "/ifd-purse-probe", "--cure"], capture_output=True, text=True)
    same("status", p.returncode, 2)
    assert "usage" in p.stderr, p.stderr


rig.main()
