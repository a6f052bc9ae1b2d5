# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every length of data that a card can take and give, over T=0 and T=1."""
import struct

import rig
from rig import Rig, case, fails, h, same
from winscard import SCARD_E_INSUFFICIENT_BUFFER, SHARE_DIRECT, T0, T1, TLV_PROPERTIES

OK = b"\x90\x00"


def pattern(n, start=0):
    """Data that is different at every length and does not repeat at a power of two."""
    return bytes((start + i * 7 + i // 256) & 0xFF for i in range(n))


def counting(n):
    return bytes(i & 0xFF for i in range(n))


def short_in(n):
    """00 E4: the card takes n bytes 00 01 02 ... and answers with their number."""
    return h("00 E4 00 00") + (bytes([n]) + counting(n) if n else b"")


def source(n, le):
    return h("00 E2") + struct.pack(">H", n) + le


@case("T=0: every length in, 0 to 255")
def t0_in():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        for n in range(256):
            sw = card.transmit(short_in(n))
            # P3 = 00 is "all 256" for a T=0 card: it says how many there really are.
            same("SW after %d bytes" % n, sw, h("61 04") if n else h("6C 04"))
            if n == 0:
                same("no bytes", card.transmit("00 E4 00 00 04"), h("00 00 00 00 90 00"))
                continue
            same("number of bytes that came", card.transmit("00 C0 00 00 04"), struct.pack(">I", n) + OK)
        same("commands of the card", r.count("card_executions"), 512)


@case("T=0: every length out, 0 to 256, and all data come back that went in")
def t0_out():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        for n in range(257):
            answer = card.transmit(source(n, bytes([n & 0xFF])) if n else source(0, b""))
            same("%d bytes out" % n, answer, counting(n) + OK)
        for n in range(1, 256):
            data = pattern(n, n)
            same("SW", card.transmit(h("00 E0 00 00") + bytes([n]) + data), bytes([0x61, n]))
            same("echo of %d bytes" % n, card.transmit(h("00 C0 00 00") + bytes([n])), data + OK)


@case("T=0: the Le of a case 4 command is not sent to the card")
def t0_case4():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        # EXCHANGE_APDU has Lc and Le always; the last 00 is Le.
        frames = r.sent(lambda: same("SW", card.transmit("00 E0 00 00 03 0A 0B 0C 07"), h("61 03")), 0xA0)
        same("command on the wire", [f[:-1] for f in frames], [h("01 A0 09 00 E0 00 00 03 0A 0B 0C 00")])
        same("data", card.transmit("00 C0 00 00 03"), h("0A 0B 0C 90 00"))


@case("T=0: extended APDUs are refused with 67 00, nothing is sent, and the card goes on")
def t0_extended():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        before = r.count("executions")
        for apdu in ("00 E2 00 10 00 00 10", "00 E2 00 10 00 00 00", "00 E0 00 00 00 00 03 0A 0B 0C",
                     "00 E0 00 00 00 00 03 0A 0B 0C 00 00"):
            same(apdu, card.transmit(apdu), h("67 00"))
        same("long data", card.transmit(h("00 E0 00 00 00 01 00") + bytes(256)), h("67 00"))
        same("commands that reached the card", r.count("executions"), before)
        same("a short one", card.transmit("00 84 00 00 08"), h("11 22 33 44 55 66 77 88 90 00"))


def t1_short(ifsc):
    with Rig("aet63:card=echo-t1+ifsc=%d" % ifsc) as r, r.connect(T1) as card:
        for n in range(256):
            same("%d bytes in" % n, card.transmit(short_in(n) + b"\x00"), struct.pack(">I", n) + OK)
        for n in range(257):
            answer = card.transmit(source(n, bytes([n & 0xFF])) if n else source(0, b"\x00"))
            same("%d bytes out" % n, answer, counting(n) + OK)
        for n in range(1, 256):
            data = pattern(n, n)
            same("echo of %d" % n, card.transmit(h("00 E0 00 00") + bytes([n]) + data + b"\x00"), data + OK)
        counts = r.count()
        same("APDUs that the card executed", counts["t1_apdus"], 256 + 257 + 255)
        same("blocks of the host that were wrong, repeated or too long",
             (counts["t1_bad"], counts["t1_repeated"], counts["t1_too_long"]), (0, 0, 0))
        same("S(IFS)", counts["t1_ifs"], 1)


@case("T=1, IFSC 32: every length in and out")
def t1_32():
    t1_short(32)


@case("T=1, IFSC 254: every length in and out")
def t1_254():
    t1_short(254)


@case("T=1: smallest IFSC, and a card with CRC")
def t1_odd():
    for options in ("ifsc=1", "ifsc=5", "crc=1+ifsc=254", "crc=1"):
        with Rig("aet63:card=echo-t1+" + options) as r, r.connect(T1) as card:
            for n in (1, 2, 32, 33, 100, 255):
                data = pattern(n)
                answer = card.transmit(h("00 E0 00 00") + bytes([n]) + data + b"\x00")
                same("%s: echo of %d" % (options, n), answer, data + OK)
            same("too long or bad", (r.count("t1_too_long"), r.count("t1_bad")), (0, 0))


def extended(r, card, n):
    if n:
        data = pattern(n)
        apdu = h("00 E0 00 00 00") + struct.pack(">H", n) + data + b"\x00\x00"
        same("echo of %d" % n, card.transmit(apdu), data + OK)
    same("%d bytes out" % n, card.transmit(source(n, b"\x00" + struct.pack(">H", n))), counting(n) + OK)
    same("blocks of the host that were wrong, repeated or too long",
         tuple(r.count()[k] for k in ("t1_bad", "t1_repeated", "t1_too_long")), (0, 0, 0))


@case("T=1: extended APDUs pass by chaining, in and out, up to 4096 bytes")
def t1_extended():
    with Rig("aet63:card=echo-t1+ifsc=254") as r, r.connect(T1) as card:
        for n in (0, 1, 255, 256, 257, 1000, 4096):
            extended(r, card, n)


@case("T=1: the longest extended APDU, 65535 bytes in and out")
def t1_longest():
    # Bulk transfers carry eight times as much as interrupt packets do.
    with Rig("aet63:transport=b,card=echo-t1+ifsc=254") as r, r.connect(T1) as card:
        extended(r, card, 65535)


def max_data(card):
    """dwMaxAPDUDataSize of the TLV properties."""
    tlv, at = card.control(TLV_PROPERTIES), 0
    while at < len(tlv):
        tag, n = tlv[at], tlv[at + 1]
        if tag == 0x0A:
            return struct.unpack("<I", tlv[at + 2:at + 2 + n])[0]
        at += 2 + n
    raise AssertionError("no dwMaxAPDUDataSize in " + tlv.hex())


@case("dwMaxAPDUDataSize: 65536 while T=1 runs, 0 with T=0 and without a card")
def properties():
    with Rig("aet63:card=echo-t1") as r:
        with r.connect(T1) as card:
            same("T=1", max_data(card), 65536)
        r.swap("echo-t0")
        with r.connect(T0) as card:
            same("T=0", max_data(card), 0)
            r.sim("0 remove")
            r.pc.wait_empty(rig.READER)
        with r.connect(share=SHARE_DIRECT, protocols=0) as card:
            same("no card", max_data(card), 0)


@case("an answer that does not fit the client's buffer is an error, and the next one is right")
def room():
    for name, protocol in (("echo-t0", T0), ("echo-t1", T1)):
        with Rig("aet63:card=" + name) as r, r.connect(protocol) as card:
            fails(SCARD_E_INSUFFICIENT_BUFFER, card.transmit, source(32, b"\x20"), room=33)
            same("with room", card.transmit(source(32, b"\x20"), room=34), counting(32) + OK)
            same("executions", r.count("card_executions"), 2)


rig.main()
