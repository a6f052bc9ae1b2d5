# SPDX-License-Identifier: LGPL-2.1-or-later
"""Transports, settings and the log: each setting that concerns this reader changes something that is seen."""
import os
import re
import time

import rig
import winscard
from rig import READER, Background, Rig, case, fails, h, same
from winscard import ESCAPE, SCARD_E_NOT_TRANSACTED, SHARE_DIRECT, T0, T1

SETTINGS = "[072F:8002]\n"
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")


def works(r, protocol=T0 | T1, reader=READER):
    with r.connect(protocol, reader=reader) as card:
        same("an APDU", card.transmit(GET_8), EIGHT)
        return card


def long_echo(card, n=200):
    data = bytes(i & 0xFF for i in range(n))
    if card.protocol == T0:
        same("SW", card.transmit(h("00 E0 00 00") + bytes([n]) + data), bytes([0x61, n]))
        return same("echo", card.transmit(h("00 C0 00 00") + bytes([n])), data + b"\x90\x00")
    return same("echo", card.transmit(h("00 E0 00 00") + bytes([n]) + data + b"\0"), data + b"\x90\x00")


def pipes(r, call):
    """The pipes that carry anything during the call: ">control", "<int" ..."""
    r.sim("0 wire on")
    call()
    trace = r.sim("0 wire dump").split()
    r.sim("0 wire off")
    return sorted({t.split(":")[0] for t in trace})


# ---- transports ------------------------------------------------------------------------------------------------------

FORMS = {"a": [">control", "<int"], "b": [">bulk", "<bulk"], "c": [">int", "<int"]}


@case("transports A, B and C are recognised, with both protocols, card events and removal")
def transports():
    for form, used in FORMS.items():
        for name in ("echo-t0", "echo-t1"):
            with Rig("aet63:transport=%s,card=%s" % (form, name)) as r:
                r.wait_log("form %s" % form.upper())
                with r.connect() as card:
                    same("pipes", pipes(r, lambda: long_echo(card)), sorted(used))
                r.sim("0 remove")
                r.pc.wait_empty(READER)
                r.sim("0 insert " + name)
                works(r)


@case("transport B with events on an interrupt pipe of their own")
def b_with_events():
    with Rig("aet63:transport=b,intin=1,card=echo-t0") as r:
        works(r)
        r.sim("0 remove")
        r.pc.wait_empty(READER)
        r.wait_log("asking it no more")
        r.sim("0 insert echo-t1")
        works(r)


@case("transport = A, B or C is obeyed: on a reader that has more pipes, and refused on one that has not")
def transport_setting():
    with Rig("aet63:transport=b,intin=1,card=echo-t0", settings=SETTINGS + "transport = B\n") as r:
        r.wait_log("form B")
        works(r)
    with Rig("aet63:transport=a,card=echo-t0", settings=SETTINGS + "transport = A\n") as r:
        works(r)
    # The reader has no bulk pipe: it cannot be driven so, and the log says why.
    with Rig("aet63:transport=a,card=echo-t0", settings=SETTINGS + "transport = B\n", wait=0) as r:
        r.wait_log("(?i)transport|form b|bulk")
        r.wait_log("init failed|Open Port")
        same("readers", r.pc.readers(), [])


@case("junk behind the end of a frame, the other form of NAK, lower case, extended frames: no difference")
def dialects():
    for option in ("pad=random", "nak=raw", "case=lower", "form=extended", "events=race", "interval=real"):
        with Rig("aet63:card=echo-t0," + option) as r:
            with r.connect() as card:
                long_echo(card, 60)
                r.sim("0 fault nak at=A0")
                same("after a NAK", card.transmit(GET_8), EIGHT)
            r.sim("0 remove")
            r.pc.wait_empty(READER)
            r.sim("0 insert echo-t1")
            works(r)


@case("a kernel driver is detached, and given back at the end")
def kernel_driver():
    with Rig("aet63:card=echo-t0,kdriver=usbhid") as r:
        works(r)
        assert "usbhid" not in r.sim("0 kdriver"), r.sim("0 kdriver")
        os.kill(r.pid(), 14)          # SIGALRM: pcscd closes its readers first
        while "usbhid" not in r.try_sim("0 kdriver", "usbhid"):
            r.nudge()


# ---- settings --------------------------------------------------------------------------------------------------------


@case("sections: the serial number's wins over the model's, the environment over both")
def sections():
    text = "[072F:8002]\nslots = card.sam\n[072F:8002:ONE]\nslots = card\n"
    with Rig("aet63:serial=ONE", settings=text, wait=1) as r:
        same("slots", len(r.pc.readers()), 1)
        r.wait_log("polling thread")
        same("slots", len(r.pc.readers()), 1)
    with Rig("aet63:serial=TWO", settings=text, wait=2) as r:
        same("slots", len(r.pc.readers()), 2)
    with Rig("aet63:serial=ONE", settings=text, env={"IFD_PURSE_SLOTS": "card.sam"}, wait=2) as r:
        same("slots", len(r.pc.readers()), 2)


@case("a wrong value is told in the log and leaves the default; a file that is not there is no fault")
def wrong_values():
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "apdu_cap = soon\nno_such = 1\nslots = card.card\n") as r:
        works(r)
        for key in ("apdu_cap", "no_such", "slots"):
            assert any(key in line for line in r.driver_log()), "%s is not in the log" % key
    with Rig("aet63:card=echo-t0", env={"IFD_PURSE_CONF": rig.base + "/nowhere"}) as r:
        works(r)


def gives_up(r, call):
    """The call fails; with the default of the setting it would not return before the rig's patience is over."""
    fails(SCARD_E_NOT_TRANSACTED, Background(call).result, 12)


@case("apdu_cap: an APDU that takes longer fails")
def apdu_cap():
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "apdu_cap = 300\nresync_quiet = 20\n") as r, r.connect() as card:
        same("shorter", card.transmit("00 E8 00 64 01 55"), h("61 01"))
        fails(SCARD_E_NOT_TRANSACTED, card.transmit, "00 E8 02 58 01 55")
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "apdu_cap = 3000\n") as r, r.connect() as card:
        same("the same APDU", card.transmit("00 E8 02 58 01 55"), h("61 01"))


@case("power_cap and reset_wait: a reader that does not answer RESET gives a mute card")
def power_cap():
    for setting in ("power_cap = 300", "reset_wait = 300"):
        with Rig("aet63", settings=SETTINGS + setting + "\nresync_quiet = 20\n") as r:
            r.sim("0 fault delay=1500 at=80 times=3")
            r.sim("0 insert echo-t0")
            r.pc.wait_state(READER, winscard.STATE_PRESENT | winscard.STATE_MUTE)
            r.sim("0 fault clear")
    with Rig("aet63") as r:
        r.sim("0 fault delay=700 at=80")
        r.sim("0 insert echo-t0")
        works(r)


@case("reader_cap and command_wait: a reader command that is not answered")
def reader_cap():
    with Rig("aet63", settings=SETTINGS + "reader_cap = 300\n") as r, r.connect(0, SHARE_DIRECT) as card:
        r.sim("0 fault delay=600 at=9A")
        fails(SCARD_E_NOT_TRANSACTED, card.control, ESCAPE, "9A 00 00 01")
    with Rig("aet63", settings=SETTINGS + "reader_cap = 3000\n") as r, r.connect(0, SHARE_DIRECT) as card:
        r.sim("0 fault delay=600 at=9A")
        same("with time", card.control(ESCAPE, "9A 00 00 01"), h("90 00 FF"))


@case("tfm_cap: how long a finger is waited for")
def tfm_cap():
    with Rig("aet63:tfmbusy=600,tfm=*:AA", settings=SETTINGS + "tfm_cap = 200\n") as r, \
            r.connect(0, SHARE_DIRECT) as card:
        fails(SCARD_E_NOT_TRANSACTED, card.control, ESCAPE, "9C 01")
    with Rig("aet63:tfmbusy=1500,tfm=*:AA", settings=SETTINGS + "reader_cap = 1000\n") as r, \
            r.connect(0, SHARE_DIRECT) as card:
        same("with time, whatever reader_cap says", card.control(ESCAPE, "9C 01"), h("90 00 AA"))


@case("frame_gap: silence inside a frame ends the wait long before the cap")
def frame_gap():
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "frame_gap = 100\nresync_quiet = 20\n") as r, \
            r.connect() as card:
        r.sim("0 fault noetx at=A0")
        gives_up(r, lambda: card.transmit(GET_8))
        same("the next", card.transmit(GET_8), EIGHT)


@case("nak: a broken answer is asked for again, in the form that was chosen; off: it is an error")
def nak():
    for value, expected in (("off", 0), ("framed", 1), ("raw", 1)):
        with Rig("aet63:card=echo-t0", settings=SETTINGS + "nak = %s\nresync_quiet = 20\n" % value) as r:
            with r.connect(T0) as card:
                r.sim("0 fault badsum at=A0")
                if value == "off":
                    fails(SCARD_E_NOT_TRANSACTED, card.transmit, "00 EA 00 00 04")
                else:
                    same("counter", card.transmit("00 EA 00 00 04"), h("00 00 00 01 90 00"))
                same("executed once", card.transmit("00 EC 00 00 04"), h("00 00 00 01 90 00"))
            same("NAKs of the host", r.count("host_naks"), expected)


@case("t1 = apdu: whole APDUs to the reader's own T=1, short ones only")
def t1_apdu():
    with Rig("aet63:card=echo-t1", settings=SETTINGS + "t1 = apdu\n") as r, r.connect(T1) as card:
        # Le 00 is "none" for this command of the reader, so 256 cannot be asked for.
        same("case 4", card.transmit("00 E0 00 00 03 0A 0B 0C 03"), h("0A 0B 0C 90 00"))
        same("case 2", card.transmit(GET_8), EIGHT)
        same("extended", card.transmit("00 E2 00 10 00 00 10"), h("67 00"))
        counts = r.count()
        assert counts.get("ins_A0", 0) > 0 and counts.get("ins_A1", 0) == 0, counts


@case("presence_retry: how often a reader that has not shown events yet is asked")
def presence_retry():
    # Slower than the rig is patient: then a removal without an event is not seen.
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "presence_retry = 60\n") as r:
        first = r.count("ins_01")
        r.until("ins_01=%d" % (first + 5), "count")
    with Rig("aet63:card=echo-t0", settings=SETTINGS + "presence_retry = 60000\n") as r:
        r.wait_log("Card ATR")
        works(r)
        first = r.count("ins_01")
        same("no change in a second", r.pc.change_or_not(READER, r.pc.state(READER)[0] & ~2, 1000), None)
        assert r.count("ins_01") <= first + 1, "asked %d times" % (r.count("ins_01") - first)


@case("open_quiet, open_drain, resync_quiet: each is how long the line has to be silent")
def silences():
    def opening(text):
        with Rig("aet63:card=echo-t0,unplugged", settings=SETTINGS + text) as r:
            begin = time.monotonic()
            r.sim("0 plug")
            r.until("ins_01=*", "count", 20)
            took = time.monotonic() - begin
            r.pc.wait_readers(lambda names: names)
            works(r)
            return took
    # Lower bounds only: nothing is wrong with a slow machine. If the cap did nothing the case would not end.
    opening("open_quiet = 0\n")
    took = opening("open_quiet = 800\n")
    assert took >= 0.8, "open_quiet: %.2f s" % took
    opening("open_quiet = 60000\nopen_drain = 10\n")
    for quiet, least in ((0, 0), (600, 0.5)):
        with Rig("aet63:card=echo-t0", settings=SETTINGS + "resync_quiet = %d\n" % quiet) as r, r.connect() as card:
            r.sim("0 fault badsum at=A0")
            begin = time.monotonic()
            fails(SCARD_E_NOT_TRANSACTED, card.transmit, GET_8)
            same("the next", card.transmit(GET_8), EIGHT)
            assert time.monotonic() - begin >= least


# ---- the log ---------------------------------------------------------------------------------------------------------


def driver_lines(level, how):
    if how == "file":
        r = Rig("aet63:card=echo-t0", settings=SETTINGS + "log = %d\n" % level)
    else:
        r = Rig("aet63:card=echo-t0", env={"IFD_PURSE_LOG": str(level)})
    with r:
        works(r)
        r.sim("0 remove")
        r.pc.wait_empty(READER)
        return "\n".join(r.driver_log())


@case("log: each bit shows its kind of line, in the file and in the environment")
def log_levels():
    for how in ("file", "environment"):
        quiet, info, frames, all_ = [driver_lines(n, how) for n in (0, 3, 7, 15)]
        same("lines with log = 0", [x for x in quiet.splitlines() if "AET63 " in x and "BioTRUST" not in x], [])
        assert "firmware" in info and "->" not in info, info
        assert "-> A0 data" in frames and "<- 90 00" in frames and "event: card" not in frames, frames
        assert "event: card" in all_, all_


SECRET = "31 32 33 34 35 36 37 38"


@case("no PIN and no card data in the log, at any level, with both protocols")
def secrets():
    forms = [SECRET, SECRET.replace(" ", ""), SECRET.replace(" ", "").lower(), "12345678",
             # as the text on the wire has it
             "33 31 33 32 33 33", "313233"]
    answer = "11 22 33 44 55 66 77 88"
    for name in ("echo-t0", "echo-t1"):
        for level in (1, 7, 15):
            with Rig("aet63:card=" + name, settings=SETTINGS + "log = %d\nnak = framed\n" % level) as r:
                with r.connect() as card:
                    for fault in ("", "nak at=%s" % ("A0" if name == "echo-t0" else "A1"), "badsum at=any"):
                        if fault:
                            r.sim("0 fault " + fault)
                        try:
                            card.transmit("00 20 00 80 08 " + SECRET)      # VERIFY
                            card.transmit("00 E0 00 00 08 " + SECRET)
                            card.transmit(GET_8)
                            card.control(ESCAPE, "9C " + SECRET)
                        except winscard.Failed:
                            pass
                        r.sim("0 fault clear")
                lines = "\n".join(x for x in r.driver_log())
                if level == 15:
                    assert "->" in lines
                for form in forms + [answer, answer.replace(" ", "")]:
                    assert form not in lines, "level %d: %s is in the log: %s" % (
                        level, form, re.findall(".*%s.*" % form, lines)[0])


rig.main()
