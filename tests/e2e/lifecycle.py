# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start and stop of pcscd with the driver in it; memory, watched by valgrind."""
import os
import re
import shutil
import signal

import rig
import winscard
from rig import READER, Background, Rig, Skip, case, fails, h, same
from winscard import SCARD_E_NO_SERVICE, SCARD_E_NO_SMARTCARD, SCARD_E_NOT_TRANSACTED, SCARD_F_COMM_ERROR, T0, T1

rig.orderly = True
GET_8 = "00 84 00 00 08"
EIGHT = h("11 22 33 44 55 66 77 88 90 00")
SLOW = "00 E8 07 D0 01 55"        # the card takes two seconds
STOPPED = (SCARD_E_NO_SERVICE, SCARD_F_COMM_ERROR, winscard.SCARD_E_SERVICE_STOPPED, SCARD_E_NOT_TRANSACTED,
           SCARD_E_NO_SMARTCARD, winscard.SCARD_E_READER_UNAVAILABLE)


def works(r, protocol=T0 | T1, reader=READER):
    with r.connect(protocol, reader=reader) as card:
        same("an APDU", card.transmit(GET_8), EIGHT)


@case("a reader and a card that are there when pcscd starts")
def there_at_start():
    for name in ("echo-t0", "echo-t1"):
        with Rig("aet63:card=" + name) as r:
            works(r)


@case("a reader is opened in step, whatever it was doing: an old answer, half a frame, an event in between")
def dirty_start():
    for fault in ("late at=01", "truncate=2 at=01", "noetx at=01", "event before code=1 at=01", "twice at=01",
                  "drop at=01", "badsum at=01", "nak at=01", "garbage at=01"):
        with Rig("aet63:card=echo-t0,unplugged", settings="[072F:8002]\ncommand_wait = 1500\n") as r:
            r.sim("0 fault " + fault)
            r.sim("0 plug")
            r.pc.wait_readers(lambda names: names == [READER], 30)
            works(r)


def stopped_while(what, number, during=None):
    """pcscd gets a signal while a client has a connection (and an APDU under way); it ends, and not by a crash."""
    r = Rig("aet63:card=echo-t0")
    with r:
        card = r.connect(T0)
        same("an APDU", card.transmit(GET_8), EIGHT)
        running = None
        if during:
            running = Background(card.transmit, during)
            r.until("busy=1", "status")
        os.kill(r.pid(), number)
        if running:
            fails(STOPPED, running.result)
        # The rig waits for pcscd's end and wants status 0.


@case("SIGTERM while a client is connected, and while an APDU is under way")
def sigterm():
    rig.orderly = False
    try:
        stopped_while("connected", signal.SIGTERM)
        stopped_while("in an APDU", signal.SIGTERM, SLOW)
    finally:
        rig.orderly = True


@case("an orderly end, in which pcscd closes the readers, while a client is connected: the card is powered down")
def orderly_end():
    r = Rig("aet63:card=echo-t0")
    with r:
        card = r.connect(T0)
        same("an APDU", card.transmit(GET_8), EIGHT)
        before = r.count("ins_81")
        os.kill(r.pid(), signal.SIGALRM)
        # One more POWER_OFF; or the simulator has ended before it could be asked.
        while "ins_81=%d" % (before + 1) not in r.try_sim("0 count", "ins_81=%d" % (before + 1)):
            r.nudge()


@case("an orderly end while an APDU is under way: the wait is cancelled")
def orderly_in_apdu():
    stopped_while("in an APDU", signal.SIGALRM, SLOW)


@case("a client that dies in the middle leaves a slot that works")
def client_dies():
    with Rig("aet63:card=echo-t0") as r:
        for _ in range(3):
            freed = r.log().count("Freeing SCONTEXT")
            child = os.fork()
            if child == 0:
                try:
                    with winscard.Context() as pc:
                        pc.wait_card(READER)
                        card = pc.connect(READER)
                        card.begin()
                        card.transmit("00 E8 01 F4 01 55")
                finally:
                    os._exit(0)
            r.until("busy=1", "status")
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            # pcscd resets the card on its behalf, which a connection made before that would feel.
            r.wait_log("Freeing SCONTEXT", times=freed + 1)
            works(r)


@case("two clients at once, each in its own transactions")
def two_clients():
    with Rig("aet63:card=echo-t1") as r:
        r.pc.wait_card(READER)

        def client(start):
            with winscard.Context() as pc, pc.connect(READER) as card:
                for n in range(1, 40):
                    card.begin()
                    for part in range(3):
                        data = bytes([(start + n * 3 + part) & 0xFF] * n)
                        same("echo", card.transmit(h("00 E0 00 00") + bytes([n]) + data + b"\0"), data + b"\x90\x00")
                    card.end()

        for c in [Background(client, s) for s in (0, 128)]:
            c.result(60)


SUPPRESSIONS = """
{
   umockdev sends structures with holes
   Memcheck:Param
   socketcall.sendto(msg)
   ...
   obj:*libumockdev-preload*
}
{
   umockdev's own memory
   Memcheck:Leak
   ...
   obj:*libumockdev-preload*
}
{
   libusb's monitor of libudev
   Memcheck:Leak
   ...
   fun:udev_monitor_new_from_netlink*
}
"""


OURS = re.compile(r"libifdpurse|IFDH|(src|ifdhandler)/\S+\.c:|\((aet63|card|link|frame|device|lun|usb\w*|presence|"
                  r"control|ifdhandler|settings|log|pseudo|decode\w*|t1|buf)\.c:\d+\)")
COMPLAINT = re.compile(r"Invalid |ninitialised|lost in loss record|Mismatched|overlap|Process terminating")


def errors_of(path):
    """Valgrind's complaints that have the driver in them."""
    with open(path, errors="replace") as f:
        blocks = re.split(r"\n==\d+== \n", f.read())
    return [block for block in blocks if COMPLAINT.search(block) and OURS.search(block)]


@case("under valgrind: all kinds of calls, unplug and replug; no invalid access, no byte of ours lost", seconds=240)
def memory():
    if shutil.which("valgrind") is None:
        raise Skip("valgrind is not installed")
    suppressions, log = rig.base + "/valgrind.supp", rig.base + "/valgrind.log"
    with open(suppressions, "w") as f:
        f.write(SUPPRESSIONS)
    # The driver stays loaded while leaks are looked for, so that functions have names.
    # Its threads take turns: otherwise one may wait for another for minutes on a busy machine.
    runner = ("valgrind -q --fair-sched=try --leak-check=full --show-leak-kinds=definite,indirect --keep-debuginfo=yes "
              "--num-callers=30 --suppressions=%s --log-file=%s" % (suppressions, log))
    with Rig("aet63:card=echo-t0", "aet63:card=echo-t1", runner=runner) as r:
        for _ in range(2):
            for reader in sorted(r.pc.wait_readers(lambda names: len(names) == 2, 60)):
                r.pc.wait_card(reader, 60)
                with r.pc.connect(reader) as card:
                    same("an APDU", card.transmit(GET_8), EIGHT)
                    card.transmit(h("00 E0 00 00 FF") + bytes(255))
                    card.transmit("FF 00 48 00 00")
                    card.control(winscard.ESCAPE, "9A 00 00 10")
                    card.control(winscard.TLV_PROPERTIES)
                    card.reconnect(initialization=winscard.RESET)
                    try:
                        card.transmit(b"\0")
                    except winscard.Failed:
                        pass
            r.sim("0 bounce")
            r.pc.wait_card(READER, 60)
            for i in (0, 1):
                r.sim("%d unplug" % i)
            r.pc.wait_readers(lambda names: not names, 60)
            for i in (0, 1):
                r.sim("%d plug" % i)
        r.pc.wait_readers(lambda names: len(names) == 2, 60)
        status = r.stop()
        same("pcscd's status", status, 0)
        found = errors_of(log)
        if found:
            print("\n".join("  | " + line for f in found for line in f.splitlines()))
        same("valgrind's complaints about the driver", len(found), 0)


rig.main()
