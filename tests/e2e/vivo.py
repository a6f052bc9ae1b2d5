# SPDX-License-Identifier: LGPL-2.1-or-later
"""ViVOpay readers in a rig: on a serial port, which reader.conf names, or on USB-HID, which needs no word.

    with Neo("hid", "latency=20", settings="poll_time = 100") as r:
        r.put("iso:echo-t1")
        with r.connect() as card:
            ...

What the two links have in common is tested on both: for link in LINKS.
"""
import time

import winscard
from rig import Rig, h, same

LINKS = ("serial", "hid")
SERIAL_NUMBER = "630Z000001"
TILL = "ViVOpay at the till"
PORT = "/dev/ttyUSB0"
ON_SERIAL = TILL + " 00 00"
ON_HID = "ID TECH ViVOpay VP3300 (%s) 00 00" % SERIAL_NUMBER
READERS = {"serial": ON_SERIAL, "hid": ON_HID}
MODELS = {"serial": "neo:tty=ttyUSB0", "hid": "neo:link=hid"}

GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
COUNTER = "00 EC 00 00 04"
ADD = "00 EA 00 00 04"
UID = "FF CA 00 00 00"
# Waits that keep a case short. None of them is a time that a test measures.
QUICK = ("apdu_cap = 1500\npower_cap = 3000\nreader_cap = 2500\nframe_gap = 100\nresync_quiet = 20\nping_wait = 200\n"
         "open_drain = 300\n")


def number(n):
    return n.to_bytes(4, "big") + b"\x90\x00"


class Neo(Rig):
    """One simulated ViVOpay reader, number 0 of the simulator, and perhaps more readers beside it."""

    def __init__(self, link="serial", model="", *others, settings="", options="slots=cl", serial=None, **more):
        self.link, self.name = link, READERS[link]
        sections = "".join("[%s]\n%s\n" % (who, settings) for who in ("0ACD:3530", PORT)) if settings else ""
        ports = {TILL: PORT + (":" + options if options else "")} if link == "serial" else {}
        ports.update(serial or {})
        model = MODELS[link] + ("," + model if model else "")
        super().__init__(model, *others, settings=sections, serial=ports, **more)

    def connect(self, protocols=winscard.T0 | winscard.T1, share=winscard.SHARE_SHARED, reader=None):
        return super().connect(protocols, share, reader or self.name)

    def put(self, card, reader=None, index=0):
        """A card into the empty field; returns its ATR."""
        self.sim("%d insert %s" % (index, card))
        return self.pc.wait_card(reader or self.name)[1]

    def take(self, reader=None, index=0):
        self.sim("%d remove" % index)
        self.pc.wait_empty(reader or self.name)

    def change(self, card, reader=None, index=0):
        return self.swap(card, reader or self.name, index)

    def changes(self, reader=None):
        """How many insertions and removals pcscd has counted."""
        return self.pc.state(reader or self.name)[0] >> 16

    def wait_changes(self, at_least, reader=None, seconds=10):
        reader = reader or self.name
        state = self.pc.state(reader)[0]
        end = time.monotonic() + seconds
        while state >> 16 < at_least:
            assert time.monotonic() < end, "pcscd has counted %d changes, and not %d" % (state >> 16, at_least)
            state = (self.pc.change_or_not(reader, state & ~2, 200) or (state, b""))[0]
        return state

    def works(self, reader=None):
        """A new client gets an answer from an echo card, and leaves it without power: the field is polled again."""
        with self.connect(reader=reader) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            card.disconnect(winscard.UNPOWER)

    def lines(self, text):
        """How many lines of the log have this text."""
        return sum(text in line for line in self.log().splitlines())
