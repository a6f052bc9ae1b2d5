# SPDX-License-Identifier: LGPL-2.1-or-later
"""A long life: readers known by their serial numbers, a hundred cards one after the other, a card that is a program behind
a socket; under the sanitizers, too, when there is a build with them beside this one (./check has one)."""
import os
import re
import shutil
import socket
import struct
import subprocess
import threading

import rig
import winscard
from rig import READER, Background, Rig, Skip, case, descriptors, fails, h, lost, nothing_more, same, settled
from winscard import (ATTR_VENDOR_SERIAL, ESCAPE, SCARD_E_NO_SMARTCARD, SCARD_E_UNSUPPORTED_FEATURE, SHARE_DIRECT, T0,
                      T1, Failed)

rig.orderly = True  # what is closed well is seen to be closed
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
COUNTER = "00 EC 00 00 04"


def number(n):
    return n.to_bytes(4, "big") + b"\x90\x00"


# ---- four readers --------------------------------------------------------------------------------------------------------

SERIALS = ("A1", "B2", "C3", "D4")
PER_READER = """
[072F:8002]
escape = safe
[072F:8002:B2]
escape = all
[072F:8002:D4]
slots = card.sam
"""


def by_serial(r, serial, slot=0):
    """pcscd's name for the reader with this serial number."""
    end = " %02X" % slot
    names = r.pc.wait_readers(lambda names: [n for n in names if "(%s)" % serial in n and n.endswith(end)])
    return [n for n in names if "(%s)" % serial in n and n.endswith(end)][0]


@case("four readers by serial number: each has its own settings and its own card, also after it was plugged in again")
def serials():
    readers = ["aet63:serial=%s,card=echo-t0+start=%d,sam=echo-t0+start=%d" % (s, i, 100 + i) for i, s in enumerate(SERIALS)]
    with Rig(*readers, settings=PER_READER, wait=5) as r:
        for turn in range(2):
            same("slots", len(r.pc.wait_readers(lambda names: len(names) == 5)), 5)
            for i, serial in enumerate(SERIALS):
                name = by_serial(r, serial)
                with r.connect(T0, reader=name) as card:
                    same("serial number of " + name, card.attribute(ATTR_VENDOR_SERIAL).rstrip(b"\0"), serial.encode())
                    same("card of " + name, card.transmit(COUNTER), number(i))
                    if serial == "B2":
                        same("escape = all", card.control(ESCAPE, "07 00"), h("90 00"))
                    else:
                        fails(SCARD_E_UNSUPPORTED_FEATURE, card.control, ESCAPE, "07 00")
            with r.connect(T0, reader=by_serial(r, "D4", 1)) as sam:
                same("the SAM of D4", sam.transmit(COUNTER), number(103))
            if turn == 0:
                for i in (1, 3):
                    r.sim("%d unplug" % i)
                r.pc.wait_readers(lambda names: len(names) == 2)
                for i in (3, 1):
                    r.sim("%d plug" % i)


# ---- a hundred cards -----------------------------------------------------------------------------------------------------


def hundred_cards(r, rounds=100):
    """Cards of all kinds come and go, some of them in the middle of a command."""
    kinds = ("echo-t0", "echo-t1", "pboc-t0", "echo-t1,ifsc=254", "echo-t0,start=9")
    for n in range(rounds):
        kind = {6: "mute", 16: "badatr"}.get(n % 20) or kinds[n % len(kinds)]
        r.sim("0 insert " + kind)
        if kind in ("mute", "badatr"):
            r.pc.wait_state(READER, winscard.STATE_PRESENT | winscard.STATE_MUTE, 0, 60)
            r.sim("0 remove")
        else:
            r.pc.wait_card(READER, 60)
            with r.pc.connect(READER) as card:
                if kind == "pboc-t0":
                    same("SELECT", card.transmit("00 A4 04 00 08 A0 00 00 03 33 01 01 01"), h("61 47"))
                    r.sim("0 remove")
                elif n % 4 < 2:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    r.sim("0 remove")
                else:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    call = Background(card.transmit, h("00 E8 27 10 01 AA") + (b"\0" if card.protocol == T1 else b""))
                    r.until("busy=1", "status")
                    r.sim("0 remove")
                    fails(SCARD_E_NO_SMARTCARD, call.result)
                r.pc.wait_empty(READER, 60)
                lost(r, card, GET_8)
        r.pc.wait_empty(READER, 60)


@case("a hundred cards one after the other: nothing grows, and each change is counted once")
def cards():
    with Rig("aet63") as r:
        hundred_cards(r, 10)
        before = descriptors(r.pid())
        hundred_cards(r)
        settled(lambda: nothing_more(descriptors(r.pid()), before))
        same("pcscd's count of changes", r.pc.state(READER)[0] >> 16, 220)


# ---- sanitizers ----------------------------------------------------------------------------------------------------------

def complaints(log):
    """The sanitizers' reports, without what others keep until the end: pcscd forgets ten bytes, and libudev the monitor
    that libusb had. (The driver is unloaded when leaks are looked for, so its functions have no names any more.)"""
    found = re.findall(r".*(?:ERROR: AddressSanitizer|runtime error:).*", log)
    for leak in re.findall(r"Direct leak of .*\n.*\n.*", log):
        if not re.search(r"#1 .*(libudev\.so|/pcscd\+)", leak):
            found.append(leak.split("\n")[0])
    return found


class Sanitized(Rig):
    """pcscd with the driver of the build with the sanitizers; the simulator is the ordinary one."""

    def __init__(self, directory, *readers, **more):
        self.directory = directory
        super().__init__(*readers, **more)

    def prepare(self):
        super().prepare()
        shutil.copy(self.directory + "/libifdpurse.so", rig.base + "/drivers/ifd-purse.bundle/Contents/Linux")


def sanitizer():
    """The build with the sanitizers, and the library that pcscd has to have first."""
    directory = os.path.dirname(rig.build) + "/clang"
    if not os.path.exists(directory + "/libifdpurse.so"):
        raise Skip("there is no build with sanitizers beside this one")
    names = subprocess.run(["nm", "-D", "--undefined-only", directory + "/libifdpurse.so"], capture_output=True, text=True)
    if "__asan_init" not in names.stdout:
        raise Skip("the build beside this one has no AddressSanitizer")
    machine = os.uname().machine
    library = subprocess.run(["clang", "-print-file-name=libclang_rt.asan-%s.so" % machine], capture_output=True, text=True)
    if not os.path.exists(library.stdout.strip()):
        raise Skip("clang's runtime library is not installed")
    return directory, library.stdout.strip()


@case("under AddressSanitizer and UBSan: cards, faults, unplugging; no complaint, and no byte lost")
def sanitized():
    directory, library = sanitizer()
    # An error aborts; leaks are only told, for not all of them are ours.
    env = {"PRE": library, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:exitcode=0"}
    r = Sanitized(directory, "aet63", env=env, settings="[072F:8002]\napdu_cap = 20000\nframe_gap = 60\nresync_quiet = 20\n")
    with r:
        hundred_cards(r)
        for name, at in (("echo-t0", "A0"), ("echo-t1", "A1")):
            r.sim("0 insert " + name)
            with r.connect() as card:
                for fault in ("badsum", "badlen", "badhex", "truncate=4", "noetx", "garbage", "twice", "extended", "lose=3",
                              "dup=4", "noise=5", "nak", "stall", "event before"):
                    r.sim("0 fault %s at=%s" % (fault, at))
                    try:
                        card.transmit(h("00 E0 00 00 C8") + bytes(200) + (b"\0" if card.protocol == T1 else b""))
                    except Failed:
                        pass
                    r.sim("0 fault clear")
            r.sim("0 remove")
            r.pc.wait_empty(READER)
        for _ in range(3):
            r.sim("0 unplug")
            r.pc.wait_readers(lambda names: not names)
            r.sim("0 plug")
            r.pc.wait_readers(lambda names: names)
        assert "libclang_rt.asan" in open("/proc/%d/maps" % r.pid()).read(), "pcscd runs without the sanitizer"
    assert "LeakSanitizer" in r.log(), "leaks were not looked for"
    same("complaints", complaints(r.log()), [])


# ---- a card that is a program --------------------------------------------------------------------------------------------


class VirtualCard:
    """A card of ten lines behind the vpcd protocol: it answers every APDU with its length and 90 00."""

    ATR = h("3B 84 80 01 56 50 43 44 04")

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.powered = []
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise OSError("closed")
            data += part
        return data

    def work(self):
        try:
            while True:
                message = self.read(struct.unpack(">H", self.read(2))[0])
                if len(message) == 1 and message[0] != 4:
                    self.powered.append(message[0])
                    continue
                answer = self.ATR if len(message) == 1 else struct.pack(">H", len(message)) + b"\x90\x00"
                self.socket.sendall(struct.pack(">H", len(answer)) + answer)
        except OSError:
            pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@case("a virtual card behind the vpcd protocol: comes, answers, goes, comes again")
def vpcd():
    with Rig("aet63") as r:
        port = int(r.sim("0 insert vpcd:0").split("port=")[1])
        same("a card that is not there yet", r.pc.state(READER)[0] & winscard.STATE_PRESENT, 0)
        for _ in range(2):
            virtual = VirtualCard(port)
            _, atr = r.pc.wait_card(READER)
            same("ATR", atr, VirtualCard.ATR)
            with r.connect(T1) as card:
                same("5 bytes", card.transmit(GET_8), h("00 05 90 00"))
                same("106 bytes", card.transmit(h("00 E0 00 00 64") + bytes(100) + b"\0"), h("00 6A 90 00"))
                virtual.close()
                r.pc.wait_empty(READER)
                lost(r, card, GET_8)
            assert 1 in virtual.powered, "the card was never switched on: %s" % virtual.powered


rig.main()
