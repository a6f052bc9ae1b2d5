# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a client may get wrong, and what it may ask of the reader itself."""
import struct

import rig
from rig import READER, Rig, case, fails, h, lost, same
from winscard import (ATTR_ATR, ATTR_CHANNEL_ID, ATTR_ICC_PRESENCE, ATTR_ICC_STATUS, ATTR_MAXINPUT, ATTR_PROTOCOL_TYPE,
                      ATTR_VENDOR_NAME, ATTR_VENDOR_SERIAL, ATTR_VENDOR_TYPE, ATTR_VENDOR_VERSION, ESCAPE, ESCAPE_3500,
                      GET_FEATURES, GET_FEATURES_WINDOWS, SCARD_E_INSUFFICIENT_BUFFER, SCARD_E_NOT_TRANSACTED,
                      SCARD_E_PROTO_MISMATCH, SCARD_E_UNSUPPORTED_FEATURE, SHARE_DIRECT, T0, T1, TLV_PROPERTIES)

SETTINGS = "[072F:8002]\n"
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
LENGTH = h("67 00")
MALFORMED = ("00 E0 00 00 05 01 02", "00 E0 00 00 01 01 02 03", "00 E0 00 00 00 00 05 01 02", "00 E0 00 00 00 00",
             "00 E0 00 00 00 01")


# ---- APDUs that are none ---------------------------------------------------------------------------------------------


@case("T=0: APDUs of 0 to 4 bytes, wrong Lc, 300 bytes: answered without the card, which goes on")
def short_t0():
    with Rig("aet63:card=echo-t0") as r, r.connect(T0) as card:
        before = r.count("executions")
        fails(SCARD_E_NOT_TRANSACTED, card.transmit, b"")
        for n in (1, 2, 3):
            same("%d bytes" % n, card.transmit(h("00 A4 00")[:n]), LENGTH)
        for apdu in MALFORMED:
            same(apdu, card.transmit(apdu), LENGTH)
        same("300 bytes", card.transmit(h("00 E0 00 00 FF") + bytes(295)), LENGTH)
        same("commands that reached the card", r.count("executions"), before)
        frames = r.sent(lambda: same("case 1", card.transmit("00 A4 00 00"), h("90 00")), 0xA0)
        same("what case 1 is on the wire", frames, [h("01 A0 06 00 A4 00 00 00 00 03")])
        same("a good one", card.transmit(GET_8), EIGHT)


@case("T=1: the same; what has any length goes to the card, and its 67 00 comes back")
def short_t1():
    with Rig("aet63:card=echo-t1") as r, r.connect(T1) as card:
        fails(SCARD_E_NOT_TRANSACTED, card.transmit, b"")
        same("APDUs of the card", r.count("t1_apdus"), 0)
        for n in (1, 2, 3):
            same("%d bytes" % n, card.transmit(h("00 A4 00")[:n]), LENGTH)
        for apdu in MALFORMED:
            same(apdu, card.transmit(apdu), LENGTH)
        same("300 bytes", card.transmit(h("00 E0 00 00 FF") + bytes(295)), LENGTH)
        same("APDUs of the card", r.count("t1_apdus"), 4 + len(MALFORMED))
        same("case 1", card.transmit("00 A4 00 00"), h("90 00"))
        same("a good one", card.transmit(GET_8), EIGHT)


@case("a protocol that the card or the connection does not have is refused, and nothing is sent")
def protocols():
    with Rig("aet63:card=echo-t0") as r:
        with r.connect(T0) as card:
            before = r.count("executions")
            fails(SCARD_E_PROTO_MISMATCH, card.transmit, GET_8, protocol=T1)
            same("commands that reached the card", r.count("executions"), before)
            same("with the right one", card.transmit(GET_8), EIGHT)
        fails(SCARD_E_PROTO_MISMATCH, r.connect, T1)
        r.swap("echo-t1")
        fails(SCARD_E_PROTO_MISMATCH, r.connect, T0)
        with r.connect(T0 | T1) as card:
            same("protocol", card.protocol, T1)
            same("an APDU", card.transmit(GET_8), EIGHT)


@case("a card with both protocols: T=1 is preferred, either can be had, a change needs a reset")
def dual():
    with Rig("aet63:card=echo-t1+dual=1") as r:
        for mask, protocol in ((T0 | T1, T1), (T0, T0), (T1, T1), (T0, T0)):
            with r.connect(mask) as card:
                same("protocol of mask %d" % mask, card.protocol, protocol)
                same("what the card runs", "protocol=T%d" % (protocol - 1) in r.sim("0 status"), True)
                same("an APDU", card.transmit(GET_8), EIGHT)
                card.disconnect(rig.winscard.RESET)


# ---- class FF --------------------------------------------------------------------------------------------------------

CLASS_FF = [
    ("FF 00 48 00 00", "41 45 54 36 33 2D 30 2E 36 37 90 00"),  # firmware
    ("FF CA FA 00 00", "3B 04 45 43 48 4F 90 00"),              # the ATR
    ("FF CA 00 00 00", "6A 81"),                                # no UID
    ("FF 70 07 2F 04 9A 00 00 02 00", "90 00 FF FF 90 00"),     # a command of the reader
    ("FF 70 0A CD 02 18 01 00", "6A 81"),                       # another maker's
    ("FF 70 07 2F 04 9B 01 00 55", "69 82"),                    # not allowed
    ("FF 10 00 00", "6D 00"),
    ("FF 00 48 00", "67 00"),
    ("FF CA", "67 00"),
    ("FF", "67 00"),
]


@case("class FF on a contact card is answered by the driver and never reaches the card")
def class_ff():
    for name, protocol in (("echo-t0", T0), ("echo-t1", T1)):
        with Rig("aet63:card=" + name) as r, r.connect(protocol) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            before = r.count()
            for apdu, answer in CLASS_FF:
                if name == "echo-t0" or not apdu.startswith("FF CA FA"):
                    same(apdu, card.transmit(apdu), h(answer))
            for ins in range(256):
                answer = card.transmit(bytes([0xFF, ins, 0, 0]))
                assert len(answer) >= 2, ins
            after = r.count()
            same("executions", after["executions"], before["executions"])
            same("blocks", after.get("ins_A1", 0), before.get("ins_A1", 0))
            same("APDUs", after.get("ins_A0", 0), before.get("ins_A0", 0))
            same("resets", after["activations"], before["activations"])
            same("the session goes on", card.transmit(GET_8), EIGHT)


# ---- controls --------------------------------------------------------------------------------------------------------


def tlvs(data):
    found, at = {}, 0
    while at < len(data):
        found[data[at]] = data[at + 2:at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


@case("features and TLV properties, with a card and without")
def features():
    with Rig("aet63") as r, r.connect(0, SHARE_DIRECT) as card:
        for code in (GET_FEATURES, GET_FEATURES_WINDOWS):
            same("features", card.control(code), h("12 04 42 33 00 12 13 04 42 00 00 01"))
            fails(SCARD_E_INSUFFICIENT_BUFFER, card.control, code, room=11)
        properties = tlvs(card.control(TLV_PROPERTIES))
        same("VID, PID", (properties[0x0B], properties[0x0C]), (h("2F 07"), h("02 80")))
        same("firmware", properties[0x08], b"AET63-0.67")
        same("PPDU, display", (properties[0x09], properties[0x01]), (b"\0", b"\0\0"))
        fails(SCARD_E_INSUFFICIENT_BUFFER, card.control, TLV_PROPERTIES, room=10)
        fails(SCARD_E_UNSUPPORTED_FEATURE, card.control, 0x42000123)


@case("reader commands by both escape codes, with no card: status and data of the reader")
def escapes():
    with Rig("aet63:tfmatr=3B112233,tfm=010203:A1B2") as r, r.connect(0, SHARE_DIRECT) as card:
        for code in (ESCAPE, ESCAPE_3500):
            same("GET_ACR_STAT", card.control(code, "01"), h("90 00") + b"AET63-0.67" + h("FF FF 30 00 00 00"))
            same("EEPROM", card.control(code, "9A 00 00 10"), h("90 00") + b"\xFF" * 16)
            same("TFM_RESET", card.control(code, "9D"), h("90 00 3B 11 22 33"))
            frames = r.sent(lambda: same("TFM_COMMAND", card.control(code, "9C 01 02 03"), h("90 00 A1 B2")), 0x9C)
            same("on the wire", frames, [h("01 9C 03 01 02 03 9E")])
            same("unknown to the module", card.control(code, "9C 07"), h("60 05"))
            same("unnamed", card.control(code, "9E"), h("60 05"))
            same("session", card.control(code, "9F" + "00" * 24), h("90 00"))
            same("no SAM", card.control(code, "88 00"), h("60 05"))
            same("class FF", card.control(code, "FF 00 48 00 00"), b"AET63-0.67" + h("90 00"))
        fails(SCARD_E_INSUFFICIENT_BUFFER, card.control, ESCAPE, "01", room=17)
        fails(SCARD_E_NOT_TRANSACTED, card.control, ESCAPE, "FF CA FA 00 00")  # all that pcscd makes of "no card" here
        fails(SCARD_E_NOT_TRANSACTED, card.control, ESCAPE, b"")


@case("header 02 goes through as it is, both ways")
def header_02():
    with Rig("aet63:tfm=A1B2C3:D4E5") as r, r.connect(0, SHARE_DIRECT) as card:
        frames = r.sent(lambda: same("answer", card.control(ESCAPE, "02 9C A1 B2 C3"), h("90 00 D4 E5")), 0x9C)
        same("on the wire", frames, [h("02 9C 03 A1 B2 C3 4D")])


@case("a payload for the fingerprint module of any length")
def tfm_lengths():
    with Rig("aet63:tfm=*:" + "5A" * 60) as r, r.connect(0, SHARE_DIRECT) as card:
        answer = h("90 00") + b"\x5A" * 60
        for n in (1, 253, 254, 255, 256, 1000):
            payload = bytes(i & 0xFF for i in range(n))
            sent = r.sent(lambda: same("%d bytes" % n, card.control(ESCAPE, b"\x9C" + payload), answer), 0x9C)[0]
            head = h("01 9C") + (bytes([n]) if n < 255 else b"\xFF" + struct.pack(">H", n))
            same("frame", sent[:-1], head + payload)


@case("what may do harm is refused, unless escape = all")
def whitelist():
    refused = ("9B 01 00 DE AD", "80", "81", "02 0C", "A0 00 84 00 00 00 08", "A1 00 C1 01 FE 3E", "06 02", "07 01",
               "42")
    with Rig("aet63:card=echo-t0") as r, r.connect(0, SHARE_DIRECT) as card:
        def commands():
            """What the reader got, but for the driver's own GET_ACR_STAT."""
            return {k: v for k, v in r.count().items() if k.startswith("ins_") and k != "ins_01"}

        r.pc.wait_card(READER)
        before = commands()
        for command in refused:
            fails(SCARD_E_UNSUPPORTED_FEATURE, card.control, ESCAPE, command)
        same("commands", commands(), before)
        same("EEPROM", r.sim("0 eeprom 0100 2"), "FF FF")
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "escape = all\n") as r, r.connect(0, SHARE_DIRECT) as card:
        same("write", card.control(ESCAPE, "9B 01 00 DE AD"), h("90 00"))
        same("EEPROM", r.sim("0 eeprom 0100 2"), "DE AD")
        same("any other", card.control(ESCAPE, "42"), h("60 05"))


@case("escape = all: a raw RESET of the card ends the client's session, and says so")
def raw_reset():
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "escape = all\n") as r:
        with r.connect(T0) as card:
            same("an APDU", card.transmit(GET_8), EIGHT)
            same("RESET", card.control(ESCAPE, "80")[:2], h("90 00"))
            lost(r, card, GET_8)
        with r.connect(T0) as card:
            same("a new connection", card.transmit(GET_8), EIGHT)


# ---- the SAM ---------------------------------------------------------------------------------------------------------


@case("the SAM by reader commands")
def sam_escape():
    with Rig("aet63:card=echo-t0,sam=echo-t0+start=7") as r, r.connect(T0) as card:
        same("ATR", card.control(ESCAPE, "88 00"), h("90 00 3B 04 45 43 48 4F"))
        same("an APDU", card.control(ESCAPE, "B0 00 EC 00 00 00 04"), h("90 00 00 00 00 07 90 00"))
        same("off", card.control(ESCAPE, "89"), h("90 00"))
        same("off", card.control(ESCAPE, "B0 00 EC 00 00 00 04"), h("60 04"))
        same("the card is another one", card.transmit("00 EC 00 00 04"), h("00 00 00 00 90 00"))


@case("slots = card.sam: the SAM is a slot of its own, beside the card")
def sam_slot():
    sam_reader = READER[:-1] + "1"
    for name, protocol in (("echo-t0", T0), ("echo-t1", T1)):
        reader = "aet63:card=echo-t0+start=1,sam=%s+start=7" % name
        with Rig(reader, settings=SETTINGS + "slots = card.sam\n", wait=2) as r:
            same("readers", sorted(r.pc.readers()), [READER, sam_reader])
            with r.connect(T0) as card, r.connect(T0 | T1, reader=sam_reader) as sam:
                # The reader's answer does not tell a T=1 SAM (status 90 00): its ATR does.
                same("protocol of the SAM", sam.protocol, protocol)
                for _ in range(3):
                    same("the card", card.transmit("00 EC 00 00 04"), h("00 00 00 01 90 00"))
                    same("the SAM", sam.transmit("00 EC 00 00 04"), h("00 00 00 07 90 00"))
                r.sim("0 remove")
                r.pc.wait_empty(READER)
                same("the SAM stays", sam.transmit("00 EC 00 00 04"), h("00 00 00 07 90 00"))
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "slots = card.sam\n", wait=2) as r:
        r.pc.wait_empty(sam_reader)


# ---- attributes ------------------------------------------------------------------------------------------------------


@case("attributes")
def attributes():
    with Rig("aet63:card=echo-t1,serial=ABC123", wait=1) as r:
        reader = r.pc.readers()[0]
        with r.connect(reader=reader) as card:
            text = {t: card.attribute(t).rstrip(b"\0")
                    for t in (ATTR_VENDOR_NAME, ATTR_VENDOR_TYPE, ATTR_VENDOR_SERIAL)}
            same("vendor", text[ATTR_VENDOR_NAME], b"ACS")
            assert b"AET63" in text[ATTR_VENDOR_TYPE], text
            same("serial number", text[ATTR_VENDOR_SERIAL], b"ABC123")
            same("version", struct.unpack("<I", card.attribute(ATTR_VENDOR_VERSION)[:4])[0] >> 16, 0x0043)
            same("channel", struct.unpack("<I", card.attribute(ATTR_CHANNEL_ID)[:4])[0] >> 16, 0x0020)
            same("ATR", card.attribute(ATTR_ATR), card.status()[2])
            fails(SCARD_E_INSUFFICIENT_BUFFER, card.attribute, ATTR_ATR, room=3)
            same("present", card.attribute(ATTR_ICC_PRESENCE)[0], 2)
            same("contact active", card.attribute(ATTR_ICC_STATUS)[0], 1)
            same("protocol", struct.unpack("<I", card.attribute(ATTR_PROTOCOL_TYPE)[:4])[0], T1)
            assert struct.unpack("<I", card.attribute(ATTR_MAXINPUT)[:4])[0] >= 261
            fails(SCARD_E_UNSUPPORTED_FEATURE, card.attribute, 0x12345)


rig.main()
