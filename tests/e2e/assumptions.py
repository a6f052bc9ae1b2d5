# SPDX-License-Identifier: LGPL-2.1-or-later
"""A reader that is not as doc/ASSUMPTIONS.md takes it to be: the log names the row, once, and the client gets an answer or
an honest error."""
import rig
from rig import Rig, case, fails, h, lost, same
from winscard import RESET, SCARD_E_NOT_TRANSACTED, T0, T1
from vivo import QUICK, Neo

GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")


def said(r, row, what, times=1):
    line = r"against assumption %s of doc/ASSUMPTIONS.md: .*%s" % (row, what)
    r.wait_log(line)
    same("lines about " + row, len([x for x in r.log().splitlines() if "against assumption " + row in x]), times)


@case("a reader as assumed: no line about assumptions")
def as_assumed():
    with Rig("aet63:card=echo-t0") as r:
        with r.connect() as card:
            same("answer", card.transmit(GET_8), EIGHT)
        r.swap("echo-t1,dual=1")
        with r.connect(T0) as card:
            same("answer", card.transmit(GET_8), EIGHT)
            card.disconnect(RESET)
        with r.connect(T1) as card:
            same("answer", card.transmit(GET_8), EIGHT)
        assert "against assumption" not in r.log(), r.log()


@case("A25: an event that GET_ACR_STAT does not confirm is a removal all the same")
def odd_event():
    with Rig("aet63:card=echo-t0") as r:
        with r.connect() as card:
            r.sim("0 fault event after code=2 at=A0")
            same("answer", card.transmit(GET_8), EIGHT)
            said(r, "A25", "disagree")
            lost(r, card, GET_8)
        with r.connect() as card:
            same("answer", card.transmit(GET_8), EIGHT)


@case("A31: a protocol that the ATR does not offer")
def odd_protocol():
    with Rig("aet63:card=none") as r:
        r.sim("0 fault status=9007 at=80")
        r.sim("0 insert echo-t0")
        said(r, "A31", "neither 00 nor 01")


@case("A30, A32: a reader that refuses the automatic type, a card that runs with a named type only")
def named_type():
    for fault in ("status=6003 at=02", "status=6020 at=80"):
        with Rig("aet63:card=none") as r:
            r.sim("0 fault " + fault)
            r.sim("0 insert echo-t0")
            with r.connect() as card:
                same("answer", card.transmit(GET_8), EIGHT)
            said(r, "A32", "not with the automatic one")


@case("A37: a status that no manual has, said once")
def odd_status():
    with Rig("aet63:card=echo-t0") as r:
        with r.connect() as card:
            for _ in range(3):
                r.sim("0 fault status=6342 at=A0")
                fails(SCARD_E_NOT_TRANSACTED, card.transmit, GET_8)
            same("answer", card.transmit(GET_8), EIGHT)
        said(r, "A37", "not in the table")


@case("A38: the length of EXCHANGE_APDU is refused")
def odd_length():
    with Rig("aet63:card=echo-t0") as r:
        with r.connect() as card:
            r.sim("0 fault status=6703 at=A0")
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, "00 84 00 00 00")
        said(r, "A38", "EXCHANGE_APDU was refused")


@case("A10: the extended form is refused")
def extended_form():
    with Rig("aet63:card=echo-t0") as r:
        with r.connect() as card:
            r.sim("0 fault nak at=A0 times=4")
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, h("00 E0 00 00 FF") + bytes(255))
        said(r, "A10", "extended form was refused")


@case("A43: a T=1 card whose CRC is not the standard's works, and the log says so")
def crc_form():
    with Rig("aet63:crc=plain,card=echo-t1+crc=1") as r:
        with r.connect() as card:
            same("answer", card.transmit(GET_8), EIGHT)
            same("answer", card.transmit(GET_8), EIGHT)
        said(r, "A43", "CRC in another form")


@case("A44: no answer after the card had asked for more time")
def wtx():
    with Rig("aet63:card=echo-t1") as r:
        with r.connect() as card:
            same("answer", card.transmit(GET_8), EIGHT)
            r.sim("0 fault t1wtx=5 n=1")
            r.sim("0 fault t1mute at=S")
            same("answer, after an R-block", card.transmit(GET_8), EIGHT)
        said(r, "A44", "asked for more time")


@case("a ViVOpay reader as assumed: no line about assumptions")
def vivo_as_assumed():
    with Neo("hid", settings=QUICK) as r:
        r.put("iso:echo-t1")
        r.works()
        assert "against assumption" not in r.log(), r.log()


@case("V07: a ViVOpay reader that takes each CRC in the other order works, and the log says so")
def crc_order():
    with Neo("serial", "crc=swapped-all", settings=QUICK) as r:
        r.put("iso:echo-t1")
        r.works()
        said(r, "V07", "other order")


@case("V44: a ViVOpay front end without the CRC of ISO 15693 works, and the log says so")
def front_end_crc():
    with Neo("hid", "iso15693=drivercrc", settings=QUICK + "iso15693 = on\n") as r:
        r.sim("0 insert tag15693")
        said(r, "V44", "not that of ISO 15693")


rig.main()
