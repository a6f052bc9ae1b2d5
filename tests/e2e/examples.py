# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each script of examples/ (those for ISO 15693 tags have a scenario of their own) is run by scriptor, as a user would,
and does what its first line says."""
import os
import re

import neo
import rig
from neo import Neo
from rig import Rig, case, same

TOP = os.environ.get("IFD_PURSE_TOP") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
EXAMPLES = os.path.join(TOP, "examples")
RUN = set()


def run(r, name, reader=neo.READER):
    """Runs a script; returns its answers."""
    RUN.add(name)
    r.pc.wait_card(reader)
    out = r.run("scriptor", "-r", reader, os.path.join(EXAMPLES, name))
    # An answer begins behind "< " and goes on over lines until " : " and its meaning end it.
    return [" ".join(a.split()) for a in re.findall(r"^< ([0-9A-F \n]*) : ", out, re.M)]


@case("read a whole 1K")
def read_1k():
    with Neo("mifare1k") as r:
        for block in (1, 17, 62):
            r.sim("0 mem write %d %s" % (block, ("%02X" % block) * 16))
        answers = run(r, "read-1k.scriptor")
        same("answers", (len(answers), answers[0]), (33, "90 00"))
        same("authentications", answers[1::2], ["90 00"] * 16)
        data = b"".join(bytes.fromhex(a) for a in (b[:-5] for b in answers[2::2]))
        same("length", len(data), 1024)
        for block in (1, 17, 62):
            same("block %d" % block, data[16 * block:16 * block + 16], bytes([block]) * 16)


@case("make a purse, top it up, pay")
def purse():
    with Neo("mifare1k") as r:
        answers = run(r, "make-purse.scriptor")
        same("make", answers, ["90 00"] * 4 + ["00 00 00 00 90 00"] * 2)
        same("purse", (r.value(4)[:2], r.value(5)[:2]), ((0, 4), (0, 4)))
        answers = run(r, "top-up.scriptor")
        same("top up", answers, ["90 00", "90 00", "C0 03 00 90 00 90 00", "90 00", "00 00 09 C4 90 00"])
        same("purse", (r.value(4)[0], r.value(5)[0]), (2500, 2500))
        answers = run(r, "pay.scriptor")
        same("pay", answers, ["90 00", "90 00", "00 00 09 C4 90 00", "90 00", "00 00 08 CA 90 00"])
        same("purse", (r.value(4)[0], r.value(5)[0]), (2250, 2250))


@case("the balance of a bank card, with contacts and without")
def balance():
    with Rig("aet63:card=pboc-t0+balance=12345") as r:
        answers = run(r, "pboc-balance.scriptor", rig.READER)
        same("steps", [a[:2] if a.startswith("6C") or a.startswith("61") else a[-5:] for a in answers],
             ["61", "90 00", "6C", "90 00", "61", "90 00", "6C", "90 00"])
        same("balance", answers[-1], "9F 79 06 00 00 00 01 23 45 90 00")
    with Neo("iso:pboc-cl,balance=6850") as r:
        answers = run(r, "pboc-balance-contactless.scriptor")
        same("steps", [a[-5:] for a in answers], ["90 00"] * 3)
        same("balance", answers[-1], "9F 79 06 00 00 00 00 68 50 90 00")


@case("no script is left untried")
def all_of_them():
    scripts = {name for name in os.listdir(EXAMPLES) if name.endswith(".scriptor") and not name.startswith("vicinity-")}
    assert scripts, "there are none"
    for function in (read_1k, purse, balance) if not RUN else ():
        function()
    same("scripts tried", sorted(RUN), sorted(scripts))


rig.main()
