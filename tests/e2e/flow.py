# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PBoC card is read, step by step (S1 to S5), by the programs that people use."""
import os
import re

import rig
from rig import READER, Rig, case, h, same
from winscard import T0

ATR = h("3B 6D 00 00 80 65 08 49 04 86 53 00 00 00 00 00 00")
SELECT_PSE = "00 A4 04 00 0E 31 50 41 59 2E 53 59 53 2E 44 44 46 30 31"
PSE = ("6F 26 84 0E 31 50 41 59 2E 53 59 53 2E 44 44 46 30 31 A5 14 88 01 01 5F 2D 02 7A 68 9F 11 01 01 BF 0C 05 9F 4D "
       "02 0B 0A 90 00")
DIRECTORY = ("70 25 61 23 4F 08 A0 00 00 03 33 01 01 01 50 0A 50 42 4F 43 20 44 45 42 49 54 9F 12 0A 50 42 4F 43 20 44 "
             "45 42 49 54 90 00")
SELECT_AID = "00 A4 04 00 08 A0 00 00 03 33 01 01 01"
APPLICATION = ("6F 45 84 08 A0 00 00 03 33 01 01 01 A5 39 50 0A 50 42 4F 43 20 44 45 42 49 54 87 01 01 9F 38 09 9F 7A "
               "01 9F 02 06 5F 2A 02 5F 2D 02 7A 68 9F 11 01 01 9F 12 0A 50 42 4F 43 20 44 45 42 49 54 BF 0C 05 9F 4D "
               "02 0B 0A 90 00")

# What goes to the card and what it says, as T=0 has it.
STEPS = [
    (SELECT_PSE, "61 28"),
    ("00 C0 00 00 28", PSE),
    ("00 B2 01 0C 00", "6C 27"),
    ("00 B2 01 0C 27", DIRECTORY),
    (SELECT_AID, "61 47"),
    ("00 C0 00 00 47", APPLICATION),
    ("80 CA 9F 79 00", "6C 09"),
    ("80 CA 9F 79 09", "9F 79 06 00 00 00 00 00 00 90 00"),
]
# The same for a client that has whole APDUs: a T=1 card, or a program that fetches by itself.
WHOLE = [
    (SELECT_PSE + " 00", PSE),
    ("00 B2 01 0C 00", DIRECTORY),
    (SELECT_AID + " 00", APPLICATION),
    ("80 CA 9F 79 00", "9F 79 06 00 00 00 01 23 45 90 00"),
]


def scriptor(r, commands):
    """Runs a script and returns the answers, in hex."""
    out = r.run("scriptor", "-r", READER, stdin="\n".join(commands) + "\n")
    answers = []
    for line in out.splitlines():
        if line.startswith("< "):
            answers.append(line[2:].split(" : ")[0])
        elif answers and re.match(r"^([0-9A-F]{2} )+", line):
            answers[-1] += " " + line.split(" : ")[0]
    return [" ".join(a.split()) for a in answers], out


@case("S1 to S5 byte for byte with scriptor on a T=0 card")
def scriptor_t0():
    with Rig("aet63:card=pboc-t0") as r:
        _, atr = r.pc.wait_card(READER)
        same("S1", atr, ATR)
        answers, out = scriptor(r, [c for c, _ in STEPS])
        assert "T=0" in out, out
        for i, (command, answer) in enumerate(STEPS):
            same("answer to " + command, answers[i], answer)
        same("answers", len(answers), len(STEPS))
        # 61xx and 6Cxx went up untouched, and nothing was fetched behind the client's back.
        same("commands that the card has seen", r.count("card_executions"), len(STEPS))


@case("S2 to S5 with scriptor on a T=1 card, whole answers in one step")
def scriptor_t1():
    with Rig("aet63:card=pboc-t1+balance=12345") as r:
        r.pc.wait_card(READER)
        answers, out = scriptor(r, [c for c, _ in WHOLE])
        assert "T=1" in out, out
        same("answers", answers, [a for _, a in WHOLE])


@case("every byte as the card sees it, with a client that names T=0")
def exact_t0():
    with Rig("aet63:card=pboc-t0") as r:
        with r.connect(T0) as card:
            same("protocol", card.protocol, T0)
            for command, answer in STEPS:
                same("answer to " + command, card.transmit(command), h(answer))
        same("commands that the card has seen", r.count("card_executions"), len(STEPS))


def opensc(r, *commands):
    """opensc-tool with these APDUs; returns (data, SW) for each."""
    args = [a for c in commands for a in ("-s", c.replace(" ", ":"))]
    out = r.run("opensc-tool", "-r", "0", "-c", "default", *args)
    answers = []
    for part in re.split(r"^Sending: .*$", out, flags=re.M)[1:]:
        sw = re.search(r"Received \(SW1=0x(..), SW2=0x(..)\)", part)
        data = "".join(re.match(r"^((?:[0-9A-F]{2} )*)", line).group(1) for line in part.splitlines())
        answers.append((" ".join(data.split()), sw.group(1) + " " + sw.group(2)))
    return answers, out


def opensc_case(card):
    with Rig("aet63:card=%s+balance=12345" % card) as r:
        r.pc.wait_card(READER)
        answers, out = opensc(r, *[c for c, _ in WHOLE])
        for (command, should), (data, sw) in zip(WHOLE, answers):
            same("opensc-tool, " + command, data + " " + sw, should)
        same("answers", len(answers), len(WHOLE))
        assert READER in r.run("opensc-tool", "-l")
        return r.count("card_executions")


@case("S2 to S5 with opensc-tool on a T=0 card; it fetches 61xx and 6Cxx itself")
def opensc_t0():
    assert opensc_case("pboc-t0") >= len(STEPS)


@case("S2 to S5 with opensc-tool on a T=1 card")
def opensc_t1():
    opensc_case("pboc-t1")


@case("pcsc_scan names the reader and the ATR")
def scan():
    with Rig("aet63:card=pboc-t0") as r:
        r.pc.wait_card(READER)
        # The packaged list of cards, in a home of its own: pcsc_scan would look for a newer one in the network.
        home = rig.base + "/home"
        os.makedirs(home + "/.cache", exist_ok=True)
        for name in ("/usr/share/pcsc/smartcard_list.txt",):
            if os.path.exists(name):
                with open(name) as f, open(home + "/.cache/smartcard_list.txt", "w") as g:
                    g.write(f.read())
        out = r.run("env", "HOME=" + home, "XDG_CACHE_HOME=" + home + "/.cache", "pcsc_scan", "-n", "-c", "-q")
        assert READER in out, out
        assert "3B 6D 00 00 80 65 08 49 04 86 53 00 00 00 00 00 00" in re.sub(r"\x1b\[[0-9;]*m", "", out), out
        assert "Card inserted" in out, out


PYSCARD = """
import sys
from smartcard.System import readers
from smartcard.util import toHexString
connection = readers()[0].createConnection()
connection.connect()
print(readers()[0])
print(toHexString(connection.getATR()))
for line in sys.stdin:
    data, sw1, sw2 = connection.transmit(list(bytes.fromhex(line)))
    print(toHexString(data + [sw1, sw2]))
"""


@case("the same with pyscard")
def pyscard():
    with Rig("aet63:card=pboc-t0") as r:
        r.pc.wait_card(READER)
        out = r.run("/usr/bin/python3", "-c", PYSCARD, stdin="\n".join(c for c, _ in STEPS)).splitlines()
        same("reader and ATR", out[:2], [READER, ATR.hex(" ").upper()])
        same("answers", out[2:], [a for _, a in STEPS])


@case("the log of a card and its other objects are read")
def objects():
    with Rig("aet63:card=pboc-t0+balance=12345+records=10") as r:
        with r.connect(T0) as card:
            for command in (SELECT_PSE, SELECT_AID):
                card.transmit(command)
            fmt = card.transmit("80 CA 9F 4F 1C")
            same("log format", fmt,
                 h("9F 4F 19 9A 03 9F 21 03 9F 02 06 9F 03 06 9F 1A 02 5F 2A 02 9F 4E 14 9C 01 9F 36 02 90 00"))
            for n in range(1, 11):
                record = card.transmit("00 B2 %02X 5C 2D" % n)
                same("length of record %d" % n, (len(record), record[-2:]), (47, b"\x90\x00"))
            same("no more records", card.transmit("00 B2 0B 5C 2D"), h("6A 83"))


rig.main()
