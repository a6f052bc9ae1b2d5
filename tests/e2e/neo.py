# SPDX-License-Identifier: LGPL-2.1-or-later
"""A simulated ViVOpay reader with a storage card in its field, for the scenarios of storage cards and the purse."""
import re

import vivo
from rig import h

READER = vivo.ON_HID
ALL_FF = "FF 82 00 00 06 FF FF FF FF FF FF"
HEADER = b"ViVOtech2\0"

# Short waits: the answers of the simulated reader come at once or not at all.
BRISK = "command_wait = 120\nframe_gap = 40\nresync_quiet = 15\nping_wait = 100\npoll_time = 50\nopen_quiet = 20\n"


def hexa(data):
    return bytes(data).hex(" ").upper()


class Neo(vivo.Neo):
    """card: what lies in the field. options: of the simulated reader, "key=value" joined by commas."""

    def __init__(self, card=None, options="", settings=BRISK, link="hid", **more):
        super().__init__(link, options, settings=settings, **more)
        self.first = card

    def start(self):
        super().start()
        if self.first:
            self.put(self.first)

    # ---- what the card holds

    def memory(self, block):
        return h(self.sim("0 mem read %d" % block))

    def value(self, block):
        """(value, address, number of value operations), or (None, None, operations) for a block that is none."""
        reply = self.sim("0 value %d" % block)
        m = re.match(r"value=(-?\d+) addr=([0-9A-F]{2}) ops=(\d+)", reply)
        if m:
            return int(m[1]), int(m[2], 16), int(m[3])
        return None, None, int(re.search(r"ops=(\d+)", reply)[1])

    def operations(self):
        return self.count("value_ops")

    # ---- the wire

    def frames(self, call):
        """The command frames that go to the reader on USB during the call, Pings and field polls left out."""
        self.sim("0 wire on")
        try:
            call()
        finally:
            trace = self.sim("0 wire dump").split()
            self.sim("0 wire off")
        found, open_frame = [], b""
        for entry in trace:
            if not entry.startswith(">"):
                continue
            report = bytes.fromhex(entry.split(":")[-1])
            open_frame = report[1:] if report[0] in (1, 2) else open_frame + report[1:]
            if report[0] in (1, 4):
                assert open_frame.startswith(HEADER), open_frame
                found.append(open_frame[:16 + int.from_bytes(open_frame[12:14], "big")])
        return [f for f in found if f[10:12] not in (h("18 01"), h("2C 0E"), h("2C 0C"), h("2C 02"))]


def command(code, data):
    """A frame as the specification writes it, without its CRC."""
    data = h(data)
    return HEADER + h(code) + len(data).to_bytes(2, "big") + data


def sw(card, apdu):
    """Data and status word, in hex."""
    answer = card.transmit(apdu)
    return (hexa(answer[:-2]) + " " + hexa(answer[-2:])).strip()


def ok(card, *apdus):
    for apdu in apdus:
        answer = sw(card, apdu)
        if answer != "90 00":
            raise AssertionError("%s: %s" % (apdu, answer))


def authenticate(card, block, kind=0x60, number=0):
    ok(card, "FF 86 00 00 05 01 %02X %02X %02X %02X" % (block >> 8, block & 255, kind, number))
