# SPDX-License-Identifier: LGPL-2.1-or-later
"""ViVOpay readers come and go: a serial port that hangs up, comes back, or is not there yet; USB readers that are
pulled out at any report; sixteen slots, twins, and devices that are none of ours."""
import os
import re
import threading

import rig
import winscard
from rig import Background, at_most, case, descriptors, fails, h, lost, nothing_more, same, settled
from vivo import ADD, COUNTER, EIGHT, GET_8, ON_SERIAL, PORT, QUICK, SERIAL_NUMBER, Neo
from winscard import SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED, SCARD_E_READER_UNAVAILABLE, SHARE_DIRECT

CARD = "iso:echo-t1"
PATIENT = QUICK + "reopen_min = 50\nreopen_max = 200\n"
GONE = (SCARD_E_READER_UNAVAILABLE, SCARD_E_NO_SMARTCARD)


def threads(pid):
    return len(os.listdir("/proc/%d/task" % pid))


# ---- a serial port --------------------------------------------------------------------------------------------------


@case("a serial port hangs up while empty, with a card, in a session, in mid APDU: the slot stays, goes on by itself")
def hang_up():
    with Neo("serial", settings=PATIENT) as r:
        pid = r.pid()
        for n, when in enumerate(("empty", "card", "session", "apdu")):
            if when != "empty":
                r.put(CARD)
            in_use = when in ("session", "apdu")
            before = r.changes()
            if in_use:
                card = r.connect()
                value = int.from_bytes(card.transmit(COUNTER)[:4], "big")
            if when == "apdu":
                r.sim("0 fault delay=60000 at=2C03 exec=1")
                call = Background(card.transmit, ADD)
                r.until("faults=1", "count")
            r.sim("0 unplug")
            if when == "session":   # nothing is sent in a session but what the client wants to be sent
                fails(SCARD_E_NO_SMARTCARD, card.transmit, ADD)
            r.wait_log("the port hung up", times=n + 1)
            if when == "apdu":
                fails(SCARD_E_NO_SMARTCARD, call.result)
            r.pc.wait_empty(r.name)
            same("readers while it is away", r.pc.readers(), [r.name])
            fails(SCARD_E_NO_SMARTCARD, r.pc.connect, r.name)
            r.sim("0 fault clear")
            r.sim("0 plug")
            if when == "empty":
                r.put(CARD)
            else:
                r.wait_changes(before + 2)
            if in_use:
                lost(r, card, ADD)
                with r.connect() as new:
                    now = int.from_bytes(new.transmit(COUNTER)[:4], "big")
                    assert now - value in ((0, 1) if when == "apdu" else (0,)), (value, now)
            r.works()
            r.wait_log("the reader is there again", times=n + 1)
            r.take()
        same("pcscd", r.pid(), pid)


@case("a serial port that hangs up at each byte of an exchange: an error, and the slot goes on")
def hang_up_anywhere():
    with Neo("serial", settings=PATIENT + "open_quiet = 10\nreopen_min = 10") as r:
        for direction, k in [("out", k) for k in (1, 9, 21)] + [("in", k) for k in (1, 8, 14, 21)]:
            if not r.count("executions"):
                r.put(CARD)
            card = r.connect()
            value = int.from_bytes(card.transmit(COUNTER)[:4], "big")
            r.sim("0 break %s serial unplug %d" % (direction, k))
            fails((SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED), card.transmit, ADD)
            r.pc.wait_empty(r.name)
            r.sim("0 plug")
            with r.connect() as new:
                now = int.from_bytes(new.transmit(COUNTER)[:4], "big")
                assert now - value in ((0,) if direction == "out" else (0, 1)), (direction, k, value, now)


@case("a serial port that is not there yet: it is opened as soon as it comes")
def absent():
    with Neo("serial", "unplugged", settings=PATIENT) as r:
        same("readers", r.pc.readers(), [ON_SERIAL])
        r.pc.wait_empty(r.name)
        fails(SCARD_E_NO_SMARTCARD, r.pc.connect, r.name)
        with r.connect(0, SHARE_DIRECT) as card:
            fails((SCARD_E_NOT_TRANSACTED, SCARD_E_NO_SMARTCARD, winscard.SCARD_F_COMM_ERROR,
                   winscard.SCARD_E_UNSUPPORTED_FEATURE), card.control, winscard.ESCAPE, "18 01")
        r.sim("0 plug")
        r.put(CARD)
        r.works()
        with r.connect() as card:
            same("serial number", card.attribute(winscard.ATTR_VENDOR_SERIAL).rstrip(b"\0"), SERIAL_NUMBER.encode())
    with Neo("serial", options="") as r:
        r.put(CARD)
        r.works()


@case("while the port is away nobody spins: few tries, and pcscd hardly wakes up")
def no_spin():
    with Neo("serial", settings="reopen_min = 50\nreopen_max = 400") as r:
        r.put(CARD)
        r.works()
        r.sim("0 unplug")
        r.pc.wait_empty(r.name)
        before = switches(r.pid())
        same("an event", r.pc.change_or_not(r.name, r.pc.state(r.name)[0] & ~2, 2000), None)
        # 50, 100, 200, 400, 400 … ms apart; each try may wake a thread a few times. A loop does it a thousand times.
        assert switches(r.pid()) - before < 200, switches(r.pid()) - before
        r.sim("0 plug")
        r.pc.wait_card(r.name)
        r.works()


def switches(pid):
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/status" % (pid, task)) as f:
                total += sum(int(n) for n in re.findall(r"ctxt_switches:\s*(\d+)", f.read()))
        except OSError:
            pass
    return total


@case("baud: what is set is used, else each speed is tried, the usual one first; no flow control, DTR and RTS off")
def baud():
    with Neo("serial") as r:
        lines = dict(p.split("=") for p in r.sim("0 lines").split())
        same("the line", {k: lines[k] for k in ("baud", "bits", "parity", "stop", "flow", "raw", "dtr", "rts")},
             dict(baud="115200", bits="8", parity="n", stop="1", flow="none", raw="1", dtr="0", rts="0"))
    with Neo("serial", options="baud=57600") as r:
        assert "baud=57600 " in r.sim("0 lines")
        r.put(CARD)
        r.works()
    # A pty has no speed, so a reader at another one is a reader that does not answer: two Pings at each speed.
    for deaf, rate in ((2, "57600"), (4, "38400"), (6, "19200"), (8, "9600")):
        with Neo("serial", "unplugged", settings=PATIENT.replace("ping_wait = 200", "ping_wait = 60")) as r:
            r.sim("0 fault drop at=1801 times=%d" % deaf)
            r.sim("0 plug")
            r.wait_log("a reader answers at " + rate)
            assert "baud=%s " % rate in r.sim("0 lines"), r.sim("0 lines")
            r.put(CARD)
            r.works()
            same("baud rate commands", r.count("3001") + r.count("3002"), 0)


# ---- USB ------------------------------------------------------------------------------------------------------------


@case("unplugged at every report of a short and a long exchange: an error, and the next reader works")
def every_report():
    data = bytes(n & 0xFF for n in range(100))
    apdu = h("00 E0 00 00 64") + data + b"\x00"     # two reports out, two in
    with Neo("hid", "", *["neo:link=hid,serial=B%d" % n for n in range(1, 4)], settings=QUICK) as r:
        for i in range(4):
            r.sim("%d insert %s" % (i, CARD))
        points = [(d, k, a) for a in (GET_8, apdu) for d in ("out", "in") for k in ((1,) if a == GET_8 else (1, 2))]

        def broken(i, where):
            direction, k, command = where
            name = hid_name(i)
            with winscard.Context() as pc:
                pc.wait_card(name)
                card = pc.connect(name)
                same("an APDU", card.transmit(GET_8), EIGHT)
                with lock:
                    r.sim("%d break %s int unplug %d" % (i, direction, k))
                fails(GONE, card.transmit, command)

        for at in range(0, len(points), 4):
            batch = points[at:at + 4]
            for call in [Background(broken, i, where) for i, where in enumerate(batch)]:
                call.result()
            r.pc.wait_readers(lambda names: len(names) == 4 - len(batch))
            for i in range(len(batch)):
                r.sim("%d plug" % i)
            r.pc.wait_readers(lambda names: len(names) == 4)
        for i in range(4):
            r.works(hid_name(i))


lock = threading.Lock()


def hid_name(i):
    """By serial number; pcscd counts the readers of one driver, in the order in which they come."""
    serial = "B%d" % i if i else SERIAL_NUMBER
    with winscard.Context() as pc:
        names = pc.wait_readers(lambda names: any("(%s)" % serial in n for n in names))
    return [n for n in names if "(%s)" % serial in n][0]


@case("unplugged at every report while it is opened: an error, and the next one works")
def every_report_open():
    others = ["neo:link=hid,serial=B%d,unplugged" % n for n in range(1, 4)]
    with Neo("hid", "unplugged", *others, settings=QUICK, wait=0) as r:
        r.sim("0 insert " + CARD)
        r.sim("0 wire on")
        r.sim("0 plug")
        r.pc.wait_card(hid_name(0))
        trace = r.sim("0 wire dump").split()
        r.sim("0 wire off")
        r.sim("0 unplug")
        r.pc.wait_readers(lambda names: not names)
        points = [(d, k) for d, sign in (("out int", ">int"), ("in int", "<int"))
                  for k in range(1, 1 + sum(t.startswith(sign) for t in trace))]
        assert len(points) >= 20, trace
        points = points[::2]
        for at in range(0, len(points), 4):
            batch = points[at:at + 4]
            for i, where in enumerate(batch):
                r.sim("%d break %s unplug %d" % (i, where[0], where[1]))
                r.sim("%d plug" % i)
            for i in range(len(batch)):
                r.sim("%d until 10000 *plugged=0*breaks=%d* stats" % (i, at // 4 + 1))
            r.pc.wait_readers(lambda names: not names)
        r.sim("0 plug")
        r.works(hid_name(0))


@case("a hundred times unplugged and plugged, with and without an APDU under way: no descriptor and no thread is left")
def cycles():
    serials = [SERIAL_NUMBER] + ["B%d" % n for n in range(1, 5)]
    with Neo("hid", "", *["neo:link=hid,serial=%s" % s for s in serials[1:]], settings="open_quiet = 10\n") as r:
        for i in range(5):
            r.sim("%d insert %s" % (i, CARD))
        levels = []
        for turn in range(20):
            names = r.pc.wait_readers(lambda names: len(names) == 5)
            for name in names:
                with winscard.Context() as pc:
                    pc.wait_card(name)
                    with pc.connect(name) as card:
                        same("an APDU", card.transmit(GET_8), EIGHT)
            levels.append((descriptors(r.pid()), threads(r.pid())))
            if turn % 4 == 3:    # in mid APDU
                contexts = [winscard.Context() for _ in names]
                for i in range(5):
                    r.sim("%d fault delay=60000 at=2C03" % i)
                calls = [Background(pc.connect(n).transmit, GET_8) for pc, n in zip(contexts, names)]
                for i in range(5):
                    r.sim("%d until 5000 *faults=[1-9]* count" % i)
            for i in range(5):
                r.sim("%d unplug" % i)
            if turn % 4 == 3:
                for call in calls:
                    fails(GONE, call.result)
                for pc in contexts:
                    pc.release()
            r.pc.wait_readers(lambda names: not names)
            for i in range(5):
                r.sim("%d plug" % i)
                r.sim("%d fault clear" % i)
        files = min((level[0] for level in levels[1:6]), key=lambda names: names.total())
        tasks = min(level[1] for level in levels[1:6])
        for name in r.pc.wait_readers(lambda names: len(names) == 5):
            r.pc.wait_card(name)
        settled(lambda: nothing_more(descriptors(r.pid()), files))
        settled(lambda: at_most("threads", threads(r.pid()), tasks))


@case("an HID reader that takes its reports by SET_REPORT, and whose kernel driver is in the way")
def set_report():
    with Neo("hid", "out=setreport") as r:
        r.put(CARD)
        with r.connect() as card:
            data = bytes(range(200))
            same("echo", card.transmit(h("00 E0 00 00 C8") + data + b"\x00"), data + b"\x90\x00")
        r.works()


@case("a reader in keyboard mode and foreign PIDs are refused, with a line that says why")
def refused():
    for vid_pid, model, why in (("0ACD:3531", "pid=3531,keyboard=1", "keyboard mode"),
                                ("0ACD:4451", "pid=4451", "keyboard mode"), ("0ACD:4650", "pid=4650", "keyboard mode"),
                                ("0ACD:2810", "pid=2810", "another protocol"),
                                ("0ACD:3920", "pid=3920", "another protocol")):
        # pcscd asks the driver only about what its bundle names: a bundle that names too much.
        with Named("hid", model, vid_pid=vid_pid) as r:
            r.wait_log("%s is refused: .*%s" % (vid_pid, why))
            r.pc.wait_readers(lambda names: not names)
            same("commands that it got", r.count("commands"), 0)
    # The same, with the PID of a good one: its report descriptor tells.
    with Neo("hid", "keyboard=1", wait=0) as r:
        r.wait_log("the reader is in keyboard mode")
        r.pc.wait_readers(lambda names: not names)
        same("commands that it got", r.count("commands"), 0)


class Named(Neo):
    """With an Info.plist that names one reader more, and a configuration that wants it driven."""

    def __init__(self, *args, vid_pid, **more):
        self.vid_pid = vid_pid
        super().__init__(*args, wait=0, **more)

    def prepare(self):
        super().prepare()
        with open(rig.base + "/ifd-purse.conf", "a") as f:
            f.write("usb_id = %s:vivopay\n" % self.vid_pid)
        path = rig.base + "/drivers/ifd-purse.bundle/Contents/Info.plist"
        with open(path) as f:
            text = f.read()
        for key, value in (("ifdVendorID", "0x" + self.vid_pid[:4]), ("ifdProductID", "0x" + self.vid_pid[5:]),
                           ("ifdFriendlyName", "A stranger")):
            text = re.sub(r"(<key>%s</key>\s*<array>)" % key, r"\1<string>%s</string>" % value, text)
        with open(path, "w") as f:
            f.write(text)


# ---- many -----------------------------------------------------------------------------------------------------------


@case("sixteen slots at once, with traffic on all of them")
def sixteen():
    others = ["neo:tty=ttyUSB%d,serial=S%d" % (n, n) for n in range(1, 6)]
    others += ["neo:link=hid,serial=H%d" % n for n in range(5)]
    ports = {"Serial %d" % n: "/dev/ttyUSB%d:slots=cl" % n for n in range(1, 5)}
    ports["Serial 5"] = "/dev/ttyUSB5:slots=cl.icc.sam1"
    with Neo("serial", "serial=S0", *others, options="slots=cl.icc.sam1.sam2", serial=ports, wait=16) as r:
        # 6 serial readers with 1 (4 times), 3 and 4 slots; 5 on USB: sixteen.
        same("slots", len(r.pc.readers()), 16)
        for i in range(11):
            r.sim("%d insert iso:echo-t1,start=%d" % (i, 100 * i))
        for i in (0, 5):
            r.sim("%d icc insert echo-t1,start=%d" % (i, 5000 + i))

        def traffic(name):
            with winscard.Context() as pc:
                pc.wait_card(name, 20)
                with pc.connect(name) as card:
                    counter = card.transmit(COUNTER)[:4]
                    for n in range(1, 30):
                        answer = bytes(0x11 * (k + 1) & 0xFF for k in range(n)) + b"\x90\x00"
                        same("an APDU", card.transmit("00 84 00 00 %02X" % n), answer)
                    return int.from_bytes(counter, "big")

        air = [n for n in r.pc.readers() if n.endswith(" 00")]
        contact = [n for n in r.pc.readers() if n.endswith(" 01")]
        same("first and second slots", (len(air), len(contact)), (11, 2))
        calls = [Background(traffic, n) for n in air + contact]
        same("each slot has its own card", sorted(c.result(60) for c in calls),
             sorted([100 * i for i in range(11)] + [5000, 5005]))


@case("two readers of one kind are told apart by their serial numbers, in name, attribute and settings")
def twins():
    settings = "[0ACD:3530:LEFT]\nprefer = iso\n[0ACD:3530:RIGHT]\nprefer = mifare\n"
    with rig.Rig("neo:link=hid,serial=LEFT", "neo:link=hid,serial=RIGHT", settings=settings) as r:
        for i in (0, 1):
            r.sim("%d insert dual:echo-t1,start=%d" % (i, 10 * i))
        for turn in range(2):
            names = r.pc.wait_readers(lambda names: len(names) == 2)
            for serial, start in (("LEFT", "3B 84 80 01"), ("RIGHT", "3B 8F 80 01")):
                name = [n for n in names if "(%s)" % serial in n]
                same("names with " + serial, len(name), 1)
                atr = r.pc.wait_card(name[0])[1]
                same("ATR of " + serial, atr[:4], h(start))
                with r.connect(reader=name[0]) as card:
                    same("serial number", card.attribute(winscard.ATTR_VENDOR_SERIAL).rstrip(b"\0"), serial.encode())
            # Plugged in again in the other order.
            for i in (0, 1):
                r.sim("%d unplug" % i)
            r.pc.wait_readers(lambda names: not names)
            for i in (1, 0) if turn == 0 else ():
                r.sim("%d plug" % i)


@case("two entries for one port: the second is refused with a word, the first works")
def same_port():
    with Neo("serial", serial={"The same again": PORT + ":slots=cl"}, wait=1) as r:
        r.wait_log("is in use by another program or reader|in use")
        r.sim("0 insert " + CARD)
        r.works()


rig.main()
