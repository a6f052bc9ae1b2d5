# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every length of APDU that a ViVOpay reader's frame carries, both ways, on both links; and an honest word beyond."""
import struct

import rig
import winscard
from rig import Background, case, h, same
from vivo import EIGHT, GET_8, LINKS, ON_HID, ON_SERIAL, Neo
from winscard import TLV_PROPERTIES

OK = b"\x90\x00"
FRAME = 1484                    # data bytes of one frame
MAX_IN = FRAME - 4 - 3 - 2      # header, extended Lc, extended Le
MAX_OUT = FRAME - 2             # status word


def pattern(n, start=0):
    """Data that is different at every length and does not repeat at a power of two."""
    return bytes((start + i * 7 + i // 256) & 0xFF for i in range(n))


def echo(n, data):
    """00 E0: the card returns the data. Extended from where it must be."""
    if n < 256:
        return h("00 E0 00 00") + bytes([n]) + data + b"\x00"
    return h("00 E0 00 00 00") + struct.pack(">H", n) + data + b"\x00\x00"


def source(n):
    """00 E2: the card returns n bytes 00 01 02 ..."""
    return h("00 E2") + struct.pack(">H", n) + (b"\x00" if n <= 256 else b"\x00\x00\x00")


def every_length(name, lengths):
    with winscard.Context() as pc, pc.connect(name) as card:
        for n in lengths:
            if 1 <= n <= MAX_IN:
                data = pattern(n, n)
                same("%s: echo of %d bytes" % (name, n), card.transmit(echo(n, data)), data + OK)
            same("%s: %d bytes out" % (name, n), card.transmit(source(n)), bytes(i & 0xFF for i in range(n)) + OK)
        return len(lengths)


@case("every length up to the longest frame, in and out, on both links at once")
def lengths():
    with Neo("serial", "", "neo:link=hid") as r:
        for i, name in enumerate((ON_SERIAL, ON_HID)):
            r.put("iso:echo-t1", name, i)
        # On HID a frame is cut into reports: every length around their edges, and every seventh in between.
        edges = [n for n in range(MAX_OUT + 1)
                 if n <= 300 or n > MAX_IN - 70 or n % 7 == 0 or (n + 16) % 63 in (0, 1, 61, 62)]
        calls = [Background(every_length, ON_SERIAL, range(MAX_OUT + 1)), Background(every_length, ON_HID, edges)]
        same("lengths", [c.result(120) for c in calls], [MAX_OUT + 1, len(edges)])
        for i in (0, 1):
            bad = [r.count(k, i) for k in ("crc_errors", "too_long", "busy", "hid_ignored")]
            same("bad frames at the reader", bad, [0] * 4)


def properties(card):
    found, data = {}, card.control(TLV_PROPERTIES)
    while data:
        found[data[0]] = data[2:2 + data[1]]
        data = data[2 + data[1]:]
    return int.from_bytes(found[0x0A], "little")


@case("beyond: 67 00 with nothing sent, and the property says where the end is")
def beyond():
    for link in LINKS:
        with Neo(link) as r:
            r.put("iso:echo-t1")
            with r.connect() as card:
                same("dwMaxAPDUDataSize", properties(card), MAX_IN)
                same("the longest", card.transmit(echo(MAX_IN, pattern(MAX_IN))), pattern(MAX_IN) + OK)
                sent = r.count("2C03")
                for n in (MAX_IN + 1, MAX_IN + 2, 2000, 4096, 65535):
                    same("%d bytes" % n, card.transmit(echo(n, pattern(n))), h("67 00"))
                same("what was sent", r.count("2C03"), sent)
                same("an APDU", card.transmit(GET_8), EIGHT)
                same("the longest", card.transmit(echo(MAX_IN, pattern(MAX_IN))), pattern(MAX_IN) + OK)
                # An answer that the reader cannot hold: the same word, and the slot goes on.
                same("an answer too long", card.transmit(source(MAX_OUT + 1)), h("67 00"))
                same("an APDU", card.transmit(GET_8), EIGHT)


@case("a reader that takes short APDUs only: 67 00, and the property says so from then on; short ones work")
def short_only():
    for status in ("0D", "19", "05"):
        with Neo("hid") as r:
            r.put("iso:echo-t1")
            with r.connect() as card:
                r.sim("0 fault status=%s at=2C03" % status)
                same("status " + status, card.transmit(echo(300, pattern(300))), h("67 00"))
                same("dwMaxAPDUDataSize", properties(card), 0)
                same("a short one", card.transmit(echo(255, pattern(255))), pattern(255) + OK)
                r.sim("0 fault status=%s at=2C03" % status)
                refusal = h("6A 80" if status == "05" else "67 00")
                same("a short one that is refused", card.transmit(echo(9, pattern(9))), refusal)
            r.wait_log("refuses extended APDUs")


@case("APDUs too short to be one: an error or the card's word, and the slot goes on")
def stumps():
    with Neo("serial") as r:
        r.put("iso:echo-t1")
        with r.connect() as card:
            for stump in ("00", "00 84", "00 84 00"):
                try:
                    answer = card.transmit(stump)
                except winscard.Failed as e:
                    same("code", e.code, winscard.SCARD_E_NOT_TRANSACTED)
                else:
                    same("SW for " + stump, answer[-2:-1] >= b"\x61", True)
                same("an APDU", card.transmit(GET_8), EIGHT)


rig.main()
