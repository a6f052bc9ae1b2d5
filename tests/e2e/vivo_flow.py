# SPDX-License-Identifier: LGPL-2.1-or-later
"""A contactless PBoC card is read by the programs that people use: on a serial port, on USB-HID, and on both at once
with an AET63 beside them."""
import re

import rig
import vivo
import winscard
from rig import Background, case, h, same
from vivo import LINKS, ON_HID, ON_SERIAL, Neo
from winscard import T0, T1

AET63 = "ACS AET63 BioTRUSTKey 01 00"  # pcscd counts the readers of one driver
CARD = "iso:pboc-cl,balance=12345,records=10"
ATR = h("3B 80 80 01 01")  # the card has no historical bytes
PPSE = "00 A4 04 00 0E 32 50 41 59 2E 53 59 53 2E 44 44 46 30 31 00"
AID = "00 A4 04 00 08 A0 00 00 03 33 01 01 01 00"
GPO = "80 A8 00 00 23 83 21 36 00 00 00 " + "00 " * 12 + "01 56 " + "00 " * 5 + "01 56 26 11 20 00 11 22 33 44 00"
BALANCE = "80 CA 9F 79 00"
LOG_FORMAT = "80 CA 9F 4F 00"
# Each step and what the card says, as the card's page has it.
STEPS = [
    (PPSE,
     "6F 30 84 0E 32 50 41 59 2E 53 59 53 2E 44 44 46 30 31 A5 1E BF 0C 1B 61 19 4F 08 A0 00 00 03 33 "
     "01 01 01 50 0A 50 42 4F 43 20 44 45 42 49 54 87 01 01 90 00"),
    (AID,
     "6F 43 84 08 A0 00 00 03 33 01 01 01 A5 37 50 0A 50 42 4F 43 20 44 45 42 49 54 87 01 01 9F 38 18 "
     "9F 66 04 9F 02 06 9F 03 06 9F 1A 02 95 05 5F 2A 02 9A 03 9C 01 9F 37 04 5F 2D 02 7A 68 BF 0C 05 "
     "9F 4D 02 0B 0A 90 00"),
    (GPO,
     "77 23 82 02 7C 00 94 04 10 01 01 00 57 12 62 28 00 01 00 00 11 11 11 7D 30 12 22 00 00 00 00 0F "
     "9F 36 02 00 11 90 00"),
    ("00 B2 01 14 00",
     "70 37 57 12 62 28 00 01 00 00 11 11 11 7D 30 12 22 00 00 00 00 0F 5F 20 09 54 45 53 54 2F 43 41 "
     "52 44 5A 0A 62 28 00 01 00 00 11 11 11 7F 5F 24 03 30 12 31 5F 28 02 01 56 90 00"),
    (BALANCE,
     "9F 79 06 00 00 00 01 23 45 90 00"),
    (LOG_FORMAT,
     "9F 4F 19 9A 03 9F 21 03 9F 02 06 9F 03 06 9F 1A 02 5F 2A 02 9F 4E 14 9C 01 9F 36 02 90 00"),
    ("00 B2 01 5C 00",
     "26 11 19 09 01 30 00 00 00 00 01 50 00 00 00 00 00 00 01 56 01 56 42 4F 4F 4B 53 48 4F 50 20 20 "
     "20 20 20 20 20 20 20 20 20 20 00 00 11 90 00"),
]


def all_steps(card):
    """The whole flow with this card, and every record of the log."""
    for command, answer in STEPS:
        same("answer to " + command, card.transmit(command), h(answer))
    for n in range(1, 11):
        record = card.transmit("00 B2 %02X 5C 00" % n)
        same("record %d: length, amount, end" % n, (len(record), record[6:12].hex(), record[-2:]),
             (47, "%012d" % (100 * n + 50), b"\x90\x00"))
    same("no more records", card.transmit("00 B2 0B 5C 00"), h("6A 83"))


@case("the flow byte for byte on both links, and each command is one frame of the reader's and one of the card's")
def exact():
    for link in LINKS:
        with Neo(link) as r:
            same("ATR", r.put(CARD), ATR)
            with r.connect() as card:
                same("protocol", card.protocol, T1)
                same("an answer", card.transmit(PPSE), h(STEPS[0][1]))  # the session has begun: nothing is polled now
                before = r.count()
                all_steps(card)
                after = r.count()
            n = len(STEPS) + 11
            for key in ("executions", "2C03", "commands"):
                same("%s: %s" % (link, key), after[key] - before[key], n)


@case("scriptor, opensc-tool and pyscard on both links")
def programs():
    for link in LINKS:
        with Neo(link) as r:
            r.put(CARD)
            same("scriptor", scriptor(r, r.name, [c for c, _ in STEPS]), [a for _, a in STEPS])
            same("opensc-tool", opensc(r, [c for c, _ in STEPS if c != GPO]), [a for c, a in STEPS if c != GPO])
            commands = [c for c, _ in STEPS[3:] + STEPS[:2]]
            out = r.run("/usr/bin/python3", "-c", PYSCARD, stdin="\n".join(commands)).splitlines()
            same("pyscard: reader, ATR", out[:2], [r.name, ATR.hex(" ").upper()])
            same("pyscard", out[-2:], [a for _, a in STEPS[:2]])
            assert r.name in r.run("opensc-tool", "-l")


def scriptor(r, reader, commands):
    out = r.run("scriptor", "-r", reader, stdin="\n".join(commands) + "\n")
    assert "T=1" in out, out
    answers = []
    for line in out.splitlines():
        if line.startswith("< "):
            answers.append(line[2:].split(" : ")[0])
        elif answers and re.match(r"^([0-9A-F]{2} )+", line):
            answers[-1] += " " + line.split(" : ")[0]
    return [" ".join(a.split()) for a in answers]


def opensc(r, commands):
    args = [a for c in commands for a in ("-s", c.replace(" ", ":"))]
    out = r.run("opensc-tool", "-r", "0", "-c", "default", *args)
    answers = []
    for part in re.split(r"^Sending: .*$", out, flags=re.M)[1:]:
        sw = re.search(r"Received \(SW1=0x(..), SW2=0x(..)\)", part)
        data = "".join(re.match(r"^((?:[0-9A-F]{2} )*)", line).group(1) for line in part.splitlines())
        answers.append(" ".join(data.split() + [sw.group(1), sw.group(2)]))
    return answers


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


@case("a serial reader, an HID reader and an AET63 at once: the flow on all three at the same time")
def all_three():
    contact = [("00 A4 04 00 0E 31 50 41 59 2E 53 59 53 2E 44 44 46 30 31 00", None),
               ("00 A4 04 00 08 A0 00 00 03 33 01 01 01 00", None), (BALANCE, "9F 79 06 00 00 00 00 98 76 90 00")]
    with Neo("serial", "", "neo:link=hid", "aet63:card=pboc-t1+balance=9876") as r:
        same("readers", sorted(r.pc.readers()), sorted([ON_SERIAL, ON_HID, AET63]))
        r.put(CARD)
        r.put(CARD, ON_HID, 1)

        def contactless(name):
            with winscard.Context() as pc:
                with pc.connect(name) as card:
                    for _ in range(5):
                        for command, answer in STEPS[:2] + STEPS[3:6]:
                            same("%s: %s" % (name, command), card.transmit(command), h(answer))

        def in_contact():
            with winscard.Context() as pc:
                pc.wait_card(AET63)
                with pc.connect(AET63, T1) as card:
                    for _ in range(5):
                        for command, answer in contact:
                            got = card.transmit(command)
                            same(AET63 + ": " + command, got[-2:] if answer is None else got, h(answer or "90 00"))

        for call in [Background(contactless, n) for n in (ON_SERIAL, ON_HID)] + [Background(in_contact)]:
            call.result()
        out = r.run("pcsc_scan", "-r")
        for name in (ON_SERIAL, ON_HID, AET63):
            assert name in out, "no %s: %s" % (name, out)


@case("a client that allows T=0 only is let in by contactless_t0 = on, and not otherwise")
def t0_only():
    for setting, works in (("off", False), ("on", True)):
        with Neo("serial", options="slots=cl:contactless_t0=" + setting) as r:
            r.put(CARD)
            if not works:
                rig.fails((winscard.SCARD_W_UNRESPONSIVE_CARD, winscard.SCARD_E_PROTO_MISMATCH), r.connect, T0)
            with r.connect(T0 if works else T1) as card:
                same("protocol", card.protocol, T0 if works else T1)
                same("an answer", card.transmit(PPSE), h(STEPS[0][1]))


@case("what the reader tells of itself becomes its attributes")
def attributes():
    for link in LINKS:
        with Neo(link, "model=VP3350 FW v2.03.117") as r:
            r.put(CARD)
            with r.connect() as card:
                text = {tag: card.attribute(tag).rstrip(b"\0").decode() for tag in
                        (winscard.ATTR_VENDOR_NAME, winscard.ATTR_VENDOR_TYPE, winscard.ATTR_VENDOR_SERIAL)}
                same("vendor", text[winscard.ATTR_VENDOR_NAME], "ID TECH")
                assert "VP3350" in text[winscard.ATTR_VENDOR_TYPE], text
                same("serial number", text[winscard.ATTR_VENDOR_SERIAL], vivo.SERIAL_NUMBER)
                version = card.attribute(winscard.ATTR_VENDOR_VERSION)
                same("version", int.from_bytes(version[:4], "little"), 0x02030075)
                same("ATR", card.attribute(winscard.ATTR_ATR), ATR)


rig.main()
