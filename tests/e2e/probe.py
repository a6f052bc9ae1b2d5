# SPDX-License-Identifier: LGPL-2.1-or-later
"""ifd-purse-probe before simulated readers. One that is as assumed: every row that can be tried is confirmed, and
nothing in the reader or on a card has changed. One that contradicts a row: the row says so, and the setting that
follows. A reader that falls silent, or goes: nothing is confirmed that was not seen. The exchanges that the manuals
document: each as documented, or told as what it was; and no command ever that no table has. And what the report shows,
and does not show.

Most of the time here is waiting: for silence that a reader has to keep, for an answer that does not come. So cases that
need no pcscd are run by a few threads before their turn comes, each with a directory of its own; they are told in their
order."""
import collections
import concurrent.futures
import fnmatch
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import rig
from rig import Rig, case, same

PROBE_SECONDS = 120
# The simulated reader answers at once, or never. Where it answers, the waits are long, for a machine that is busy with
# other things; where its silence has to be waited for they are short.
EASY = ("command_wait = 9000\nreset_wait = 20000\nping_wait = 5000\nframe_gap = 9000\nresync_quiet = 700\n"
        "open_quiet = 20\npower_cap = 20000\n")
MUTE = "command_wait = 300\nreset_wait = 1000\nping_wait = 150\nopen_quiet = 20\nopen_drain = 300\npower_cap = 1500\n"
TOLD = re.compile(r"^\[ *\d+/\d+\] ([AV]\d\d) .*? \.\.\. (confirmed|CONTRADICTED|not tried): (.*)$")
SETTING = "      setting that follows: "
DOCUMENTED = re.compile(r"^\[ *\d+/\d+\] (\S+) (.*?) \.\.\. "
                        r"(as documented|ANSWERED DIFFERENTLY|not supported by this reader|not tried): (.*)$")
AET63 = "aet63:card=none"
HID = "neo:link=hid"
SERIAL = "neo:tty=ttyUSB0"
PORT = "/dev/ttyUSB0"
NODES = {AET63: (), HID: (), SERIAL: (PORT,)}
AHEAD = 3  # cases at a time
ahead, started = {}, {}


def bed_case(name):
    """A case whose only process besides the probe is its simulated reader."""
    def mark(function):
        assert name not in ahead, name
        ahead[name] = function
        case(name)(lambda: outcome(name))
        return function
    return mark


def outcome(name):
    if not started:
        pool = concurrent.futures.ThreadPoolExecutor(AHEAD)
        for each in ahead:
            if len(sys.argv) == 2 or any(fnmatch.fnmatch(each, g) for g in sys.argv[2:]):
                started[each] = pool.submit(ahead[each])
    started[name].result()


class Run:
    """What one run of the probe said."""

    def __init__(self, status, text, report):
        self.status, self.text, self.report = status, text, report
        self.verdict, self.why, self.setting, row = {}, {}, {}, None
        self.exchange = {}  # (code, name): (verdict, why)
        for line in text.splitlines():
            told, documented = TOLD.match(line), DOCUMENTED.match(line)
            if told:
                row = told[1]
                assert row not in self.verdict, "%s is told twice" % row
                self.verdict[row], self.why[row] = told[2], told[3]
            elif documented:
                assert documented.group(1, 2) not in self.exchange, "%s is told twice" % line
                self.exchange[documented.group(1, 2)] = documented.group(3, 4)
            elif line.startswith(SETTING):
                self.setting[row] = line[len(SETTING):]

    def rows(self, verdict):
        return {row for row, v in self.verdict.items() if v == verdict}

    def trace(self, row):
        """The row's lines of the report: bytes."""
        part = re.search(r"^%s .*\n((?:  .*\n)*)" % row, self.report, re.M)
        assert part, "the report has no %s: %s" % (row, self.report)
        return [line for line in part[1].splitlines() if line.startswith("    ") and not line.startswith(SETTING)]

    def differing(self):
        return {name: why for (_, name), (verdict, why) in self.exchange.items() if verdict == "ANSWERED DIFFERENTLY"}

    def exchanged(self, code, name):
        """The bytes of an exchange, from the report."""
        part = re.search(r"^%s \.\.\. .*\n((?:    .*\n)*)" % re.escape("%s %s" % (code, name)), self.report, re.M)
        assert part, "the report has no %s: %s" % (name, self.report)
        return part[1]


class Bed:
    """A simulated reader, and the probe as often as wished."""

    sim = Rig.sim

    def __init__(self, reader, conf=EASY):
        self.reader, self.conf = reader, conf

    def __enter__(self):
        self.base = tempfile.mkdtemp(dir=rig.base)
        self.report = self.base + "/report.txt"
        conf = self.base + "/ifd-purse.conf"
        with open(conf, "w") as f:
            f.write("".join("[%s]\n%s\n" % (who, self.conf)
                            for who in ("072F:8002", "0ACD:3530", PORT, "/dev/ttyACM0")))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("IFD_PURSE_")}
        ready, ready_w = os.pipe()
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", rig.build + "/tests/sim/purse-sim", "--ctl", self.base + "/ctl",
             "--ready", str(ready_w), "--hold", "--reader", self.reader],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, pass_fds=[ready_w], env=self.env)
        os.close(ready_w)
        told = os.read(ready, 16)
        os.close(ready)
        if told != b"ready\n":
            self.process.kill()
            self.process.wait()
            raise AssertionError("the simulator did not start")
        self.env.update(line.split("=", 1) for line in (self.process.stdout.readline().rstrip("\n") for _ in range(2)))
        self.env["IFD_PURSE_CONF"] = conf
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(self.base + "/ctl")
        self.file = self.socket.makefile("r")
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()

    def probe(self, *args, user=()):
        """Runs it to its end. `user` does what it asks for: pairs of words of its request, and what the simulator is to
        be told, or what is to be called with the process."""
        if os.path.exists(self.report):
            os.unlink(self.report)
        p = subprocess.Popen([rig.build + "/ifd-purse-probe", "--report", self.report] + list(args), env=self.env,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        late = threading.Timer(PROBE_SECONDS, p.kill)
        late.start()
        text = ""
        try:
            for line in p.stdout:
                text += line
                self.act(p, line, user)
            status = p.wait(20)
        finally:
            late.cancel()
            p.kill()
            p.stdout.close()
        assert status != -signal.SIGKILL, "the probe does not end: " + text
        return Run(status, text, open(self.report).read() if os.path.exists(self.report) else "")

    def act(self, p, line, user):
        if "Please" not in line:
            return
        for words, what in user:
            if words in line:
                for request in what:
                    if callable(request):
                        request(p)
                    else:
                        self.sim(request)
                return


# What a patient user does, in the order in which the words are looked for.
USER = (("every card out", ["0 remove"]),
        ("both T=0 and T=1", ["0 swap echo-t1,dual=1,ifsc=254"]),
        ("will be asked to pull", ["0 swap echo-t0"]),
        ("speaks T=0 (", ["0 swap echo-t0"]),
        ("speaks T=1", ["0 swap echo-t1,ifsc=254"]),
        ("will be asked to move", ["0 swap echo-t0"]),
        ("put the card in", ["0 insert echo-t0"]),
        ("kept at work", ["0 fault remove at=80"]),
        ("while it is spoken to", ["0 fault remove at=A0"]),
        ("take the card out", ["0 remove"]))


def field(card):
    return ["0 remove", "0 insert " + card]


NEO_USER = (("away while it is spoken to", ["0 remove"]),
            ("bank or identity card on the", ["0 insert iso:echo-t1"]),
            ("ISO 14443-4 in one", field("dual:echo-t1")),
            ("of type B", field("isob:echo-t1,random=1")),
            ("MIFARE Classic", field("mifare1k")),
            ("Ultralight", field("ultralight")),
            ("FeliCa", field("felica")),
            ("ISO 15693", field("tag15693")),
            ("asked to take away", field("iso:echo-t1")),
            ("any contact card", ["0 icc insert echo-t1"]),
            ("T=0 into the reader's", ["0 icc remove", "0 icc insert pboc-t0"]),
            ("power away", ["0 unasked 1400"]),
            ("pull out", ["0 unplug"]),
            ("plug the adapter", ["0 plug"]))


# ---- readers as assumed ---------------------------------------------------------------------------------------------


Line = collections.namedtuple("Line", "code name how data")  # how: sent, never, or the row that shows it


def exchange_table(family):
    """The exchanges that the probe knows of this family ("A" or "V")."""
    text = subprocess.run([rig.build + "/ifd-purse-probe", "--exchange-table"], stdout=subprocess.PIPE, text=True,
                          check=True, timeout=60).stdout
    lines = [Line(*line.split("\t")) for line in text.splitlines()]
    return [line for line in lines if (family == "V") == ("-" in line.code and line.code != "-")]


SHOWN = {"confirmed": "as documented", "CONTRADICTED": "ANSWERED DIFFERENTLY"}


def documented(r, family, otherwise):
    """Each exchange, once and in order: as documented, by bytes; but for those named otherwise, with what they are."""
    table = exchange_table(family)
    same("exchanges", list(r.exchange), [(line.code, line.name) for line in table])
    for line in table:
        verdict, why = r.exchange[line.code, line.name]
        if line.how == "never":
            same(line.name, (verdict, why.startswith("never sent: ")), ("not tried", True))
        elif line.how != "sent":
            same("%s, row %s" % (line.name, line.how), verdict, SHOWN.get(r.verdict.get(line.how), "not tried"))
        else:
            same("%s (%s)" % (line.name, why), verdict, otherwise.get(line.name, "as documented"))
        if verdict == "as documented" and line.how == "sent":
            trace = r.exchanged(line.code, line.name)
            assert "-> " + line.code in trace and "<- " in trace, "%s: %s" % (line.name, trace)


# What rows send besides: commands of ViVOpay readers with the first byte of their data.
ROWS_SEND = """1801:00 2C02:01 2C03:00 2C03:A0 2C04:1E 2C06:03 2C06:07 2C07:31 2C07:35 2C07:71 2C0A:31 2C0B:00 2C12:20
    2C12:21 2C12:22 2C12:23 2C12:24 2C12:25 2C12:26 2C12:27 2C12:28 2C13:20 2C44:05""".split()


# Whatever the tables say: what would write, and what concerns keys, payments or the line.
FORBIDDEN = {"A": "03|07|9[0-4BCEF]",
             "V": "(0[234]|24|30|6[012]|77|81|90|C7)..|0930|0101:00|0501:01|2C08|2C4[23]|2C04:(19|0C)|2C0A:[0-24-F]|"
                  "2C40:(1[34578]|2[23]|42)|2C41:08"}


def nothing_else(b, family):
    """Every command that the reader got is one that the tables have, as one that is sent."""
    table = exchange_table(family)
    if family == "A":
        got = set(re.findall(r"ins_(..)=", b.sim("0 count")))
        may = {line.code for line in table if line.how != "never"}
    else:
        got = set(b.sim("0 seen").split())
        may = {line.code.replace("-", "") + (":" + line.data[:2] if line.data else "")
               for line in table if line.how == "sent"}.union(ROWS_SEND)
    assert len(got) > 8, got
    same("commands that no table has", got - may, set())
    same("forbidden commands", {c for c in got if re.match(FORBIDDEN[family], c)}, set())


def whole(r, rows, not_tried):
    """Each row of the family, once; those that are not tried are these, and the others confirmed, by bytes."""
    same("contradicted (%s)" % r.text, r.rows("CONTRADICTED"), set())
    same("not tried (%s)" % r.text, sorted(r.rows("not tried")), sorted(not_tried.split()))
    same("rows", sorted(r.verdict), rows)
    same("status", r.status, 0)


@bed_case("an AET63 as assumed: rows are confirmed, exchanges as documented, and its EEPROM is as it was")
def aet63_as_assumed():
    with Bed("aet63:card=none,sam=echo-t0,busy=20") as b:
        before = b.sim("0 eeprom 0 200")
        r = b.probe("--wait", "60", "--packets", "50", "--moves", "2", "--sam", user=USER)
        whole(r, ["A%02d" % n for n in range(1, 53)], "A05 A09 A34 A35 A39 A43 A44 A47 A51")
        documented(r, "A", {"EXCHANGE_SAM_T1_FRAME, S(IFS 254)": "not tried"})
        nothing_else(b, "A")
        same("EEPROM", b.sim("0 eeprom 0 200"), before)
        assert "notify=1" in b.sim("0 status"), b.sim("0 status")
        # These are judged from all the others' bytes, from the movements of A23, or from the reset of A21.
        for row in r.rows("confirmed") - set("A14 A16 A22 A24 A25 A37 A46".split()):
            assert any("<- " in line or "->" in line for line in r.trace(row)), "%s has no bytes: %s" % (row, r.report)


NEO_OTHERWISE = {"Light sensor": "not supported by this reader", "NFC tag 1, read all": "not tried",
                 "NFC tag 1, read a byte": "not tried"}


def neo_as_assumed(reader, not_tried):
    with Bed(reader + ",iso15693=crc3309,vicinitytype=05") as b:
        def note(_):
            blocks.append([b.sim("0 mem read %d" % n) for n in range(64)])
        blocks = []
        user = (("Ultralight", [note] + field("ultralight")), ("MIFARE Classic", field("mifare1k") + [note])) + NEO_USER
        # V13: no simulated reader loses its power while its line stays.
        rows = ["V%02d" % n for n in range(1, 48) if n != 13]
        r = b.probe("--wait", "60", "--listen", "1", "--keys", "--exchanges", "--rows", ",".join(rows), *NODES[reader],
                    user=user)
        whole(r, rows, not_tried)
        same("times the card was looked at", len(blocks), 2)
        same("the card's blocks", blocks[0], blocks[1])
        counts = dict(pair.split("=") for pair in b.sim("0 count").split())
        same("written", (counts["writes"], counts["value_ops"], counts["forbidden"]), ("0", "0", "0"))
        documented(r, "V", NEO_OTHERWISE)
        nothing_else(b, "V")
        assert "pass=0" in b.sim("0 state"), b.sim("0 state")
        assert "--keys" not in r.text and "felica = on" in r.setting["V29"], r.text


@bed_case("a ViVOpay reader on USB as assumed: confirmed, as documented, and no card was changed")
def hid_as_assumed():
    neo_as_assumed(HID, "V03 V04 V15 V23 V28 V35 V42 V43")


@bed_case("a ViVOpay reader on a serial port as assumed: confirmed, as documented, and no card was changed")
def serial_as_assumed():
    neo_as_assumed(SERIAL, "V01 V02 V03 V06 V23 V28 V35 V42 V43")


def card(kind):
    return "--card", kind


T0, T1, MOVED = card("t0"), card("t1"), ("--wait", "60", "--moves", "1")
# Rows that the readers above could not show: rows, reader, what the simulator is told, arguments.
CONFIRMED = (
    ("A02 A05 A06 A07 A08 A10", "aet63:card=none,transport=b", (), ()),
    ("A02 A05 A06 A07 A08 A10", "aet63:card=none,transport=c,pad=random,case=lower", (), ()),
    ("A11 A13", AET63 + ",nak=raw", (), ()),
    ("A34", AET63, ("0 insert echo-t0", "0 fault data=3B14964543484F at=80 times=0"), T0),
    ("A35", AET63, ("0 insert echo-t0", "0 fault data=3B0445434857 at=80 skip=2"), T0),
    ("A39", AET63, ("0 insert pboc-t0",), T0),
    ("A43", AET63, ("0 insert echo-t1,crc=1",), T1),
    ("A44", AET63, ("0 insert echo-t1", "0 fault t1wtx=2 n=1"), T1),
    ("V03 V04", "neo:tty=ttyACM0", (), ("/dev/ttyACM0",)),
    ("V16", HID + ",nocard=00", (), card("none")),
    ("V17", HID + ",2c0e=b", ("0 insert iso:echo-t1",), card("apdu")),
    ("V23", HID, ("0 insert iso:echo-t1,ats=0578807002",), card("apdu")),
    ("V23", HID + ",2c0e=off", ("0 insert iso:echo-t1,ats=0578807002",), card("apdu")),
    ("V42", HID, ("0 sam 1 insert echo-t1",), ("--sam",)),
    ("V43", HID + ",enc=mac", ("0 insert iso:echo-t1",), card("apdu")),
    ("V44", HID + ",iso15693=drivercrc", ("0 insert tag15693",), card("15693")),
)


def confirms(rows, reader, requests, args):
    with Bed(reader) as b:
        for request in requests:
            b.sim(request)
        r = b.probe("--rows", rows.replace(" ", ","), "--packets", "20", "--listen", "1", *args)
        for row in rows.split():
            same("%s (%s)" % (row, r.text), r.verdict.get(row), "confirmed")


for entry in CONFIRMED:
    bed_case("confirmed: %s, %s" % (entry[0], entry[1]))(lambda entry=entry: confirms(*entry))


# ---- readers that are otherwise -------------------------------------------------------------------------------------


def against(row, setting, *requests, reader=None, args=(), conf=EASY, rows=None, user=()):
    reader = reader or (AET63 if row[0] == "A" else HID)
    with Bed(reader, conf) as b:
        for request in requests:
            b.sim(request)
        r = b.probe("--rows", rows or row, "--packets", "20", "--listen", "1", *args, user=user + USER)
        same("%s (%s)" % (row, r.text), r.verdict.get(row), "CONTRADICTED")
        same("status", r.status, 1)
        proposed = r.setting.get(row, "")
        if setting.endswith("= "):
            assert re.fullmatch(re.escape(setting) + r"[1-9]\d*", proposed), r.text
        else:
            same("the setting", proposed, setting)
        for where in (r.text, r.report):
            lines = where.partition("Lines for ifd-purse.conf:")[2].splitlines()
            assert not proposed or "  " + proposed in lines, where


CLASSIC = ("0 insert mifare1k",), card("mifare") + ("--keys",)
APDU = "0 insert iso:echo-t1"
AGAINST = (
    # row, the setting that follows ("": none; "name = ": some number), requests, more
    ("A01", "", ["0 fault drop at=01 times=0"], dict(conf=MUTE)),
    ("A02", "transport = A", [], dict(reader="aet63:card=none,transport=b,intin=1,speaks=a", conf=MUTE)),
    ("A03", "", [], dict(reader="aet63:card=none,endpoints=none")),
    ("A04", "", ["0 fault drop at=01 times=0"], dict(conf=MUTE)),
    ("A05", "transport = A", ["0 fault drop at=01 skip=1"], dict(reader="aet63:card=none,transport=b", conf=MUTE)),
    ("A06", "", ["0 fault noetx at=01 times=0"], dict(conf=MUTE)),
    ("A07", "", ["0 fault badsum at=01 skip=1"], {}),
    ("A08", "", ["0 fault badsum at=9A"], {}),
    ("A10", "t1 = apdu", ["0 fault nak at=01 skip=1"], {}),
    ("A11", "", [], dict(reader=AET63 + ",refusal=none")),
    ("A12", "", [], dict(reader=AET63 + ",careless=1")),
    ("A13", "", [], dict(reader=AET63 + ",repeat=0")),
    ("A14", "frame_gap = ", [], dict(reader=AET63 + ",interval=real", conf=EASY + "frame_gap = 5\n", rows="A14,A17")),
    ("A15", "resync_quiet = 500", ["0 insert echo-t0", "0 fault late=2 at=80 skip=1"], dict(args=T0)),
    ("A16", "", ["0 fault data=4F5448455220524541444552FFFF0000 at=01 skip=1"], dict(rows="A16,A07")),
    ("A17", "", ["0 fault data=0102030405060708090A0B0C0D0E0F00 at=01 skip=1"], {}),
    ("A18", "", ["0 insert echo-t0", "0 fault status=6703 at=A0"], dict(args=T0)),
    ("A19", "", ["0 fault status=6005 at=06 skip=1"], {}),
    ("A20", "", ["0 fault drop at=01 skip=1"], dict(conf=MUTE)),
    ("A21", "", [], dict(reader=AET63 + ",restart=message")),
    ("A22", "", [], dict(reader=AET63 + ",restart=none")),
    ("A23", "", [], dict(reader="aet63:card=echo-t0,events=never", args=MOVED)),
    ("A24", "", [], dict(reader="aet63:card=echo-t0,codes=swapped", args=MOVED)),
    ("A25", "", [], dict(reader="aet63:card=echo-t0,events=never", args=MOVED)),
    ("A26", "", [], dict(reader="aet63:card=echo-t0,events=after,busy=400", args=MOVED)),
    ("A27", "", [], dict(reader="aet63:card=echo-t0", args=MOVED,
                         user=(("while it is spoken to", ["0 fault status=6342 at=A0"]),))),
    ("A28", "", ["0 insert echo-t0", "0 fault data=41455436332D302E3637FFFF30000002 at=01 skip=2"], dict(args=T0)),
    ("A29", "", ["0 insert echo-t0", "0 fault status=6005 at=A0"], dict(args=T0)),
    ("A30", "", ["0 insert echo-t0", "0 fault status=6003 at=02 skip=1"], dict(args=T0)),
    ("A31", "", ["0 insert echo-t0", "0 fault status=9007 at=80 skip=1"], dict(args=T0)),
    ("A32", "", ["0 insert echo-t0", "0 fault status=6020 at=80 skip=1"], dict(args=T0)),
    ("A33", "", ["0 insert echo-t1,dual=1", "0 fault status=6020 at=80 skip=2"], dict(args=card("dual"))),
    ("A34", "", ["0 insert echo-t0", "0 fault data=3B14964543484F at=80 times=0", "0 fault status=6020 at=A0"],
     dict(args=T0)),
    ("A35", "", ["0 insert echo-t0", "0 fault status=6020 at=80 skip=2"], dict(args=T0)),
    ("A36", "", ["0 insert echo-t0", "0 fault status=6003 at=81 skip=2"], dict(args=T0)),
    ("A37", "", ["0 fault status=6342 at=06"], dict(rows="A37,A19")),
    ("A38", "", ["0 insert echo-t0", "0 fault status=6703 at=A0 skip=1"], dict(args=T0)),
    ("A39", "", ["0 insert echo-t0", "0 fault data=6F028401119000 at=A0"], dict(args=T0)),
    ("A40", "t1 = apdu", ["0 insert echo-t1", "0 fault status=6005 at=A1 times=0"], dict(args=T1)),
    ("A41", "t1 = apdu", ["0 insert echo-t1,ifsc=254", "0 fault status=6703 at=A1 skip=1 times=0"], dict(args=T1)),
    ("A42", "t1 = apdu", ["0 insert echo-t1", "0 fault status=6005 at=A1 skip=1 times=0"], dict(args=T1)),
    ("A43", "", ["0 insert echo-t1,crc=1"], dict(reader=AET63 + ",crc=plain", args=T1)),
    ("A44", "t1 = apdu", ["0 insert echo-t1", "0 fault t1wtx=5 n=1", "0 fault t1mute at=S skip=1"], dict(args=T1)),
    ("A45", "t1 = blocks", ["0 insert echo-t1", "0 fault status=6005 at=A0"], dict(args=T1)),
    ("A46", "command_wait = ", [], dict(reader=AET63 + ",busy=120", conf=EASY + "command_wait = 80\n", rows="A46,A17")),
    ("A48", "", [], dict(args=("--sam",))),
    ("A49", "", ["0 fault data=%s at=9A skip=1" % ("5A" * 64)], {}),
    ("A50", "", ["0 fault status=6005 at=9D"], {}),
    ("A52", "open_quiet = 500", ["0 fault drop at=01 skip=3"], dict(conf=MUTE)),
    ("V01", "", ["0 fault drop at=1801 times=0"], dict(conf=MUTE)),
    ("V02", "", ["0 fault drop at=1801 times=0"], dict(conf=MUTE)),
    ("V03", "", ["0 fault drop at=1801 times=0"], dict(reader="neo:tty=ttyACM0", args=("/dev/ttyACM0",), conf=MUTE)),
    ("V04", "baud = 115200", ["0 fault drop at=1801 times=2"],
     dict(reader=SERIAL, args=(PORT,), conf=EASY + "ping_wait = 400\nbaud = 57600\n")),
    ("V05", "", ["0 fault status=0D at=1801 skip=1"], {}),
    ("V06", "frame_gap = ", [],
     dict(reader=SERIAL + ",pace=1200", args=(PORT,), conf=EASY + "frame_gap = 1\n", rows="V06,V08")),
    ("V07", "crc_order = lsb", [], dict(reader=HID + ",crc=swapped-all")),
    ("V07", "", [], dict(reader=HID + ",crc=swapped")),
    ("V08", "", ["0 fault status=04 exec=1 at=2C01 skip=2"], dict(reader=HID + ",crc=lenient")),
    ("V09", "", [], dict(reader=HID + ",answercrc=lsb")),
    ("V10", "", ["0 fault status=0B at=2C01 skip=3 times=0"], {}),
    ("V11", "command_wait = ", [], dict(reader=HID + ",latency=300", conf=EASY + "command_wait = 200\n")),
    ("V12", "ping_wait = 1000", ["0 fault delay=4000 at=2C02 skip=1"],
     dict(args=card("none"), conf=EASY + "ping_wait = 200\nresync_quiet = 100\n")),
    ("V13", "", [], dict(reader=SERIAL, args=(PORT,) + MOVED, user=(("power away", ["0 unasked 1400"]),))),
    ("V14", "", ["0 fault unsolicited=2C50 at=1801 skip=1"], dict(rows="V14,V05")),
    ("V15", "", [], dict(reader=SERIAL, args=(PORT,) + MOVED, conf=EASY + "ping_wait = 300\n",
                         user=(("pull out", ["0 unplug"]),
                               ("plug the adapter", ["0 fault drop at=1801 times=0", "0 plug"])))),
    ("V16", "", [], dict(reader=HID + ",nocard=0A", args=card("none"))),
    ("V17", "", [APDU, "0 fault data=0199 at=2C0E"], dict(args=card("apdu"))),
    ("V18", "prefer = mifare", ["0 insert dual:echo-t1", "0 fault status=0A at=2C03"], dict(args=card("both"))),
    ("V19", "", [APDU + ",random=1", "0 fault data=0108112233 at=2C02 skip=3 times=2"], dict(args=card("apdu"))),
    ("V20", "poll_time = 500", [APDU, "0 fault status=08 at=2C02 skip=5"], dict(args=card("apdu"))),
    ("V21", "", [APDU + ",type=5E"], dict(args=card("apdu"), rows="V21,V17")),
    ("V22", "", ["0 insert isob:echo-t1"], dict(args=card("typeb"))),
    ("V23", "", [APDU], dict(reader=HID + ",2c0e=off", args=card("apdu"))),
    ("V24", "", [APDU, "0 fault status=0D at=2C03 skip=2"], dict(args=card("apdu"))),
    ("V25", "", [APDU], dict(args=MOVED, user=(("while it is spoken to", ["0 fault status=0B at=2C03"]),))),
    ("V26", "rf_off = 50", [APDU, "0 fault data=9000 at=2C03 skip=1"], dict(args=card("apdu"))),
    ("V27", "", [APDU, "0 fault status=0B at=2C04"], dict(args=card("apdu"))),
    ("V29", "felica = off", ["0 insert felica", "0 fault status=08 at=2C40 skip=1"], dict(args=card("felica"))),
    ("V30", "", ["0 insert felica"], dict(reader=HID + ",2c44=off", args=card("felica"))),
    ("V31", "", ["0 insert mifare1k"], dict(reader=HID + ",auth=eager", args=CLASSIC[1])),
    ("V32", "", ["0 insert ultralight", "0 fault status=05 at=2C07"],
     dict(reader=HID + ",nibble=any", args=card("ultralight"))),
    ("V33", "", ["0 insert mifare1k", "0 fault data=%s at=2C07 skip=3" % ("11" * 80)], dict(args=CLASSIC[1])),
    ("V34", "", ["0 insert ultralight", "0 fault data=%s at=2C07" % ("11" * 16)], dict(args=card("ultralight"))),
    ("V36", "", ["0 insert mifare1k", "0 fault status=0A at=2C0A"], dict(args=CLASSIC[1])),
    ("V37", "", ["0 insert mifare1k", "0 fault status=0A at=2C04"], dict(args=card("mifare"))),
    ("V38", "sak_probe = off", ["0 insert mifare1k", "0 fault status=0A at=2C04 times=0"], dict(args=card("mifare"))),
    ("V39", "", ["0 icc insert echo-t1", "0 fault status=0A at=2C12 skip=2"], dict(args=card("icc"))),
    ("V40", "", ["0 icc insert pboc-t0"], dict(reader=HID + ",getresponse=auto", args=card("icc-t0"))),
    ("V41", "", ["0 icc insert echo-t1", "0 fault status=0B at=2C18"], dict(args=card("icc"))),
    ("V42", "", [], dict(args=("--sam",))),
    ("V43", "", [APDU], dict(reader=HID + ",enc=mac,ksn=stays", args=card("apdu"))),
    ("V43", "", [APDU], dict(reader=HID + ",enc=other", args=card("apdu"))),
    ("V44", "iso15693 = off", ["0 insert tag15693"], dict(reader=HID + ",iso15693=off", args=card("15693"))),
    ("V45", "iso15693 = off", ["0 insert tag15693", "0 fault data=050411223344 at=2C02 times=0"],
     dict(reader=HID + ",iso15693=crc3309", args=card("15693"))),
    ("V46", "", [APDU, "0 fault drop at=2C16"], dict(args=card("apdu"), conf=MUTE)),
    ("V47", "", ["0 insert mifare1k", "0 fault status=08 at=2C07 skip=5"], dict(args=CLASSIC[1])),
)
for row, setting, requests, more in AGAINST:
    bed_case(", ".join(filter(None, ("contradicted: " + row, setting, more.get("reader")))))(
        lambda e=(row, setting, requests, more): against(e[0], e[1], *e[2], **e[3]))


# ---- exchanges that are otherwise -----------------------------------------------------------------------------------

# Requests to the simulator, and what is told then: (code, name): (verdict, words of the reason).
DIFFERENT, ABSENT = "ANSWERED DIFFERENTLY", "not supported by this reader"
AET63_OTHERWISE = (
    ("0 fault status=6703 at=06", "SET_NOTIFICATION off", DIFFERENT,
     "67 03 and no data; documented: 90 00 and no data"),
    ("0 fault badsum at=06", "SET_NOTIFICATION on", DIFFERENT, "a broken answer came back"),
    ("0 fault nak at=88", "ACTIVATE_SAM", DIFFERENT, "a NAK came back; documented: 90 xx and 2 to 33 bytes"),
    ("0 fault status=6005 at=89", "DEACTIVATE_SAM", ABSENT, "60 05"),
    ("0 fault data=0102030405060708090A0B0C0D0E0F at=9A", "EEPROM_READ_DATA, 16 bytes", DIFFERENT,
     "90 00 and 15 bytes; documented: 90 00 and 16 bytes"),
    ("0 fault drop at=9A", "EEPROM_READ_DATA, 64 bytes", DIFFERENT, "nothing came back"),
    ("0 fault data=00C101FE3E at=A1 skip=1", "EXCHANGE_T1_FRAME, S(IFS 254)", DIFFERENT,
     "90 00 and 5 bytes; documented: 90 00 and 5 bytes that begin with 00 E1 01 FE 1E"),
    ("0 fault status=6004 at=A0 skip=5", "EXCHANGE_APDU, GET RESPONSE", DIFFERENT, "60 04 and no data"),
    ("0 fault status=9000 at=A0", "EXCHANGE_APDU with Lc and Le", DIFFERENT, "documented: 67 xx"),
)
NEO_DIFFERENT = (
    ("0 fault status=05 at=0901", "Product type", DIFFERENT,
     "status 05 and no data; documented: status 00 and 6 bytes"),
    ("0 fault data=DF62024D00 at=0902", "Processor type", DIFFERENT, "that begin with DF 61 02"),
    ("0 fault drop at=0914", "Hardware information", DIFFERENT, "nothing came back"),
    ("0 fault badcrc at=0920", "Module version information", DIFFERENT, "a broken answer came back"),
    ("0 fault status=03 at=2904", "Boot loader version", ABSENT, "status 03"),
    ("0 fault status=0B at=1201", "Get Serial Number", "as documented", "status 0B, a refusal that the manual has"),
    ("0 fault data=00112233445566778899AABBCCDDEE at=2917", "UID of the microcontroller", DIFFERENT, "and 15 bytes"),
    ("0 fault status=02 at=0A03", "Front LED off", ABSENT, "status 02"),
    ("0 fault data=0102 at=2C05 skip=1", "PCD and PICC parameters", DIFFERENT, "status 00 and 2 bytes"),
    ("0 fault status=08 at=2C13", "Exchange APDU, SELECT", DIFFERENT, "status 08"),
    ("0 fault data=55 at=2C16", "Terminate ISO session", DIFFERENT, "1 byte; documented: status 00 and no data"),
)


def otherwise(reader, user, faults, same_as_ever):
    with Bed(reader, MUTE) as b:
        for request, *_ in faults:
            b.sim(request)
        r = b.probe("--wait", "60", "--exchanges", user=user)
        family = "A" if reader.startswith("aet63") else "V"
        expected = dict(same_as_ever)
        expected.update((name, verdict) for _, name, verdict, _ in faults)
        documented(r, family, expected)
        why = {name: why for (_, name), (_, why) in r.exchange.items()}
        for _, name, verdict, words in faults:
            assert words in why[name], "%s: %s" % (name, why[name])
            line = next(t for t in r.text.splitlines() if " %s ... %s" % (name, verdict) in t)
            shown = r.text.partition(line)[2].startswith("\n      -> ")
            same("its bytes are shown: %s" % name, shown, verdict == DIFFERENT)
        same("rows", r.verdict, {})
        same("status", r.status, 1)
        assert "%d answered differently" % sum(f[2] == DIFFERENT for f in faults) in r.report, r.report
        left = re.search(r"\bfaults=(\d+)", b.sim("0 status"))[1] if family == "A" else b.sim("0 count armed")
        same("faults that never struck", left, "0")
        nothing_else(b, family)
        return r


@bed_case("exchanges of an AET63: what is answered otherwise is told as what it was, and the rest goes on")
def aet63_otherwise():
    otherwise("aet63:card=none,sam=echo-t0", USER, AET63_OTHERWISE,
              {"EXCHANGE_SAM_T1_FRAME, S(IFS 254)": "not tried", "EXCHANGE_SAM_APDU, GET CHALLENGE": "not tried"})


@bed_case("exchanges of a ViVOpay reader: what is answered otherwise is told as what it was, and the rest goes on")
def neo_otherwise():
    r = otherwise(HID, NEO_USER, NEO_DIFFERENT, NEO_OTHERWISE)
    assert "00 11 22 33" not in r.report, r.report


@bed_case("exchanges: a reader that cannot leave pass-through mode is not asked what works outside of it alone")
def stays_in_mode():
    with Bed(HID) as b:
        b.sim("0 fault status=0B at=2C01 skip=2")  # two are of the opening
        r = b.probe("--no-card", "--exchanges")
        same("differing", set(r.differing()), {"Pass-through stop"})
        same("Product type", r.exchange["09-01", "Product type"], ("not tried", "pass-through mode could not be left"))
        same("Antenna on", r.exchange["28-01", "Antenna on"][0], "as documented")
        same("Poll for Token", r.exchange["2C-02", "Poll for Token"],
             ("not tried", "it needs a card, and none was to be asked for (apdu)"))
        same("0901", b.sim("0 count 0901"), "0")


@bed_case("exchanges: Topaz cards and SAMs that run T=1 have theirs")
def other_cards():
    with Bed(HID) as b:
        b.sim("0 insert topaz")
        r = b.probe("--exchanges", *card("felica"))
        same("differing", r.differing(), {})
        for code, name in (("2C-40", "NFC tag 1, read all"), ("2C-40", "NFC tag 1, read a byte")):
            same(name, r.exchange[code, name][0], "as documented")
        same("FeliCa, read", r.exchange["2C-41", "FeliCa, read"], ("not tried", "it is no FeliCa card (felica)"))
    with Bed("aet63:card=none,sam=echo-t1,samsw2=1") as b:
        r = b.probe("--exchanges", "--no-card")
        same("differing", r.differing(), {})
        same("SAM", r.exchange["B1", "EXCHANGE_SAM_T1_FRAME, S(IFS 254)"][0], "as documented")
        same("SAM", r.exchange["B0", "EXCHANGE_SAM_APDU, GET CHALLENGE"], ("not tried", "no SAM runs T=0"))
    with Bed(AET63) as b:
        r = b.probe("--exchanges", "--no-card")
        same("no SAM", r.exchange["88", "ACTIVATE_SAM"], (ABSENT, "60 05"))


@bed_case("exchanges are left out with --rows and --no-exchanges, and the reader's number is masked in them")
def chosen():
    with Bed(HID) as b:
        r = b.probe("--rows", "V05")
        same("with --rows", (r.rows("confirmed"), r.exchange), ({"V05"}, {}))
        r = b.probe("--no-exchanges", "--no-card", "--listen", "0")
        same("with --no-exchanges", (len(r.verdict), r.exchange, "exchanges" in r.report), (47, {}, False))
        r = b.probe("--exchanges", "--no-card", "--rows", "V05")
        same("with both", (r.rows("confirmed"), len(r.exchange) > 90), ({"V05"}, True))
        for args, there in (((), False), (("--unmask",), True)):
            r = b.probe("--exchanges", "--no-card", *args)
            same("serial number in hex", "36 33 30 5A" in r.report, there)
            same("UID of the microcontroller", "4E 45 4F 32" in r.report, there)


@bed_case("exchanges of a reader that falls silent: those before it are told, the others are not tried")
def silent_exchanges():
    with Bed(HID, MUTE) as b:
        b.sim("0 fault drop skip=9 times=0")
        r = b.probe("--exchanges", "--no-card")
        told = [verdict for verdict, why in r.exchange.values() if not why.startswith("never sent: ")]
        same("verdicts", sorted(set(told)), [DIFFERENT, "as documented", "not tried"])
        same("differing", len(r.differing()), 1)
        same("in order", told.index(DIFFERENT), told.count("as documented"))


# ---- nothing is confirmed that was not seen -------------------------------------------------------------------------


def only_confirmed(r, rows):
    same("confirmed (%s)" % r.text, r.rows("confirmed") - set(rows.split()), set())
    assert r.rows("not tried"), r.text


ALL_NEO = "none,apdu,both,typeb,mifare,ultralight,felica,15693,icc,icc-t0"


@bed_case("readers that never answer: nothing is confirmed")
def never_answers():
    for reader, fault, args in ((AET63, "at=any", card("t0,t1,dual")), (HID, "", card(ALL_NEO))):
        with Bed(reader, MUTE) as b:
            b.sim("0 fault drop %s times=0" % fault)
            r = b.probe("--listen", "1", "--sam", "--keys", *args)
            same("confirmed (%s)" % r.text, r.rows("confirmed"), set())
            same("status", r.status, 1)


@bed_case("readers that fall silent after the opening: only the opening is confirmed")
def falls_silent():
    with Bed(AET63, MUTE + "tfm_cap = 500\n") as b:
        b.sim("0 fault drop skip=1 times=0")
        only_confirmed(b.probe("--no-card", "--sam", "--packets", "5"), "A01 A02 A03 A04 A06 A14 A37")
    with Bed(HID, MUTE) as b:
        b.sim("0 fault drop skip=5 times=0")
        only_confirmed(b.probe("--no-card", "--listen", "1", "--sam"), "V01 V02 V09 V10")


@bed_case("a reader that is unplugged meanwhile: what was not seen is not tried, and the report is whole")
def unplugged():
    with Bed("aet63:card=echo-t0") as b:
        r = b.probe("--rows", "A01,A27,A46", *MOVED, user=(("while it is spoken to", ["0 unplug"]),))
        same("verdicts (%s)" % r.text, (r.rows("CONTRADICTED"), r.verdict["A27"]), (set(), "not tried"))
        assert "went away" in r.why["A27"] and "not tried." in r.report, r.text


@bed_case("Ctrl-C: the rest is not tried, the report is whole, the reader sends its events again")
def interrupted():
    with Bed("aet63:card=echo-t0") as b:
        r = b.probe("--rows", "A17,A23,A24,A27", *MOVED, user=(("take the card out", [lambda p: p.send_signal(2)]),))
        same("verdicts (%s)" % r.text, (r.verdict["A17"], r.rows("not tried")), ("confirmed", {"A23", "A24", "A27"}))
        assert "1 confirmed, 0 contradicted, 3 not tried." in r.report, r.report
        assert "notify=1" in b.sim("0 status"), b.sim("0 status")
        b.sim("0 remove")
        r = b.probe("--exchanges", "--wait", "60", user=(("speaks T=0", [lambda p: p.send_signal(2)]),))
        same("before it", r.exchange["80", "RESET, no card"][0], "as documented")
        same("behind it", {r.exchange["80", name][0] for name in ("RESET, cold", "RESET of a T=1 card")}, {"not tried"})
        assert "0 answered differently" in r.report and "notify=1" in b.sim("0 status"), r.report


# ---- the report -----------------------------------------------------------------------------------------------------


@bed_case("the report has no serial number, UID, card data or key; with --unmask it has all but the key")
def masked():
    secrets = ("SN12345678",)
    with Bed("aet63:card=echo-t0,serial=SN12345678") as b:
        for args, there in (((), False), (("--unmask",), True)):
            r = b.probe("--rows", "A17,A38,A49", *T0, *args)
            same("the serial number in the report", secrets[0] in r.report, there)
            same("what the EEPROM holds", "9A [3] 00 00 40" in r.report and "<- 90 00 after" in r.report, True)
            same("the EEPROM's bytes are in the report", bool(re.search(r"\[64\]( [0-9A-F]{2}){4}", r.report)), False)
            same("the card's bytes are in the report", bool(re.search(r"\[258\]( [0-9A-F*]{2}){4}", r.report)), there)
    with Bed(HID) as b:
        for args, there in (((), False), (("--unmask",), True)):
            b.sim("0 insert mifare1k,uid=C1D2E3F4")
            r = b.probe("--rows", "V20,V31,V38", "--keys", *card("mifare"), *args)
            b.sim("0 remove")
            same("confirmed (%s)" % r.text, len(r.rows("confirmed")), 3)
            same("the serial number in the report", "630Z000001" in r.report, there)
            same("the UID in the report", "C1 D2 E3 F4" in r.report or "C1D2E3F4" in r.report, there)
            assert "FF FF FF FF FF FF" not in r.report and "12 34 56 78 9A BC" not in r.report, r.report


@bed_case("a serial port's name that tells the adapter's serial number is masked in the report")
def masked_port():
    name = "/dev/serial/by-id/usb-FTDI_A5069RR4-if00-port0"
    with Bed(SERIAL) as b:
        os.makedirs(b.env["UMOCKDEV_DIR"] + os.path.dirname(name))
        os.symlink("../../ttyUSB0", b.env["UMOCKDEV_DIR"] + name)
        r = b.probe("--rows", "V04", name)
        same("V04 (%s)" % r.text, r.verdict["V04"], "confirmed")
        assert "A5069RR4" in r.text and "A5069RR4" not in r.report and "by-id/***" in r.report, r.report


# ---- the user -------------------------------------------------------------------------------------------------------


def typed(b, answers, *args):
    """The probe at a terminal: answers are (words to wait for, requests, what is typed)."""
    master, slave = pty.openpty()
    p = subprocess.Popen([rig.build + "/ifd-purse-probe", "--no-report"] + list(args), env=b.env, stdin=slave,
                         stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    late = threading.Timer(PROBE_SECONDS, p.kill)
    late.start()
    text, at = "", 0
    try:
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:
                break
            if not piece:
                break
            text += piece.decode()
            for words, requests, key in answers:
                found = text.find(words, at)
                if found >= 0 and "Press Enter" in text[found:].replace("press", "Press"):
                    at = len(text)
                    for request in requests:
                        b.sim(request)
                    os.write(master, key)
                    break
        status = p.wait(20)
    finally:
        late.cancel()
        p.kill()
        os.close(master)
    assert status != -signal.SIGKILL, "the probe does not end: " + text
    return status, re.sub(r"\r\x1b\[K[^\r\n]*(?=\r\x1b)|\r|\x1b\[K", "", text)


@bed_case("at a terminal: it asks for each card, takes Enter and s, and says what it is at")
def at_a_terminal():
    with Bed(AET63) as b:
        status, text = typed(b, (("speaks T=0 (", ["0 insert echo-t0"], b"\n"), ("speaks T=1 (", [], b"s\n")),
                             "--rows", "A29,A40")
        r = Run(status, text, "")
        same("verdicts (%s)" % text, (r.verdict.get("A29"), r.verdict.get("A40")), ("confirmed", "not tried"))


@bed_case("without a terminal: no card is asked for, and it says so")
def no_terminal():
    with Bed(AET63) as b:
        r = b.probe("--rows", "A29,A17")
        same("verdicts", (r.verdict["A17"], r.verdict["A29"]), ("confirmed", "not tried"))
        assert "No card will be asked for" in r.text and "Please" not in r.text, r.text


@case("pcscd has the reader: it is left alone, and the command that stops pcscd is named")
def beside_pcscd():
    with Rig("aet63:card=echo-t0") as r:
        with open("/proc/%d/environ" % r.pid(), "rb") as f:
            env = dict(pair.split("=", 1) for pair in f.read().decode().split("\0") if "=" in pair)
        before = r.count("frames")
        p = subprocess.run([rig.build + "/ifd-purse-probe", "--no-report", "--no-card"], env=env, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        same("status", p.returncode, 1)
        assert "systemctl stop pcscd.socket pcscd.service" in p.stdout and "A01" not in p.stdout, p.stdout
        with r.connect() as client:
            same("an APDU", client.transmit("00 84 00 00 08"), rig.h("11 22 33 44 55 66 77 88 90 00"))
        assert before <= r.count("frames")


@bed_case("readers are found and named, and a port that nobody named is not written to")
def found():
    with Bed(SERIAL) as b:
        r = b.probe("--list")
        assert "There is no reader on the USB bus" in r.text and PORT in r.text, r.text
        same("answers of the reader", b.sim("0 count answers"), "0")
    with Bed(AET63) as b:
        r = b.probe("--list")
        assert "072F:8002  AET63" in r.text, r.text
        for name in ("0ACD:3530", "/dev/ttyUSB7", "/dev/ttyUSB7:baud=57600"):
            r = b.probe(name)
            same("status of %s, which is not there" % name, (r.status, r.verdict), (2, {}))


@case("wrong words are refused, and the help names every option")
def usage():
    def run(*args):
        return subprocess.run([rig.build + "/ifd-purse-probe"] + list(args), text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    for args in (("--card", "t9"), ("--rows", "A01,a11"), ("--moves", "x"), ("--nothing",), ("--doctor", "x"),
                 ("usb",)):
        same("status of %s" % (args,), run(*args).returncode, 2)
    page = open(os.path.dirname(__file__) + "/../../man/ifd-purse-probe.1").read().replace("\\-", "-")
    for option in re.findall(r"^(--[a-z-]+)", run("--help").stdout, re.M):
        assert option in page, "%s is not in the manual page" % option


if __name__ == "__main__":
    rig.main()
