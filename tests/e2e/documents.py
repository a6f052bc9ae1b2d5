# SPDX-License-Identifier: LGPL-2.1-or-later
"""What README.md and doc/APDU.md show is what happens: each example in them is run, and its answer compared.

An example is a block between ``` lines that has lines beginning with "> " or "$ ". The reader and card that it is for
are named by a comment, which a reader of the page does not see; it holds until the next one:

    <!-- try: hid mifare1k -->
    > FF CA 00 00 00            # a remark
    < 01 02 03 04 90 00         # bytes; a text in quotes; or the name of the error that the call fails with
    > control 42000001 18 01    # SCardControl
    > attribute VENDOR_NAME     # SCardGetAttrib
    $ pcsc_scan -r              # a program; what it prints follows, … stands for any lines

The first word is a key of BEDS below, or "probe" (a reader without pcscd), the rest is for that bed; settings of the
driver follow behind a semicolon. All examples of one bed are one case, over one connection. An answer goes on in lines
that begin with two blanks.

With DOCUMENTS_WRITE=1 the answers are not compared but written into the documents: for who changes an example.
"""
import os
import re
import shlex
import subprocess

import neo
import rig
import winscard
from rig import Rig, Skip, case, same

TOP = os.environ.get("IFD_PURSE_TOP") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
WRITE = bool(os.environ.get("DOCUMENTS_WRITE"))

# How a bed is made of the words behind its name: the rig, and the reader that the examples talk to.
EXAMPLE = re.search(r'^FRIENDLYNAME "(.*)"\nDEVICENAME +(\S+)',
                    open(os.path.join(TOP, "etc/reader.conf.d/ifd-purse-serial.in"), encoding="utf-8").read(), re.M)


def bed_aet63(words, settings):
    return Rig("aet63:" + words, settings="[072F:8002]\n" + settings), rig.READER


def bed_hid(words, settings):
    card, _, options = words.partition(" ")
    return neo.Neo(card, options, settings=settings), neo.READER


class Serial(Rig):
    """A reader on the serial port of the example for reader.conf.d, under the name that stands there."""

    def __init__(self, card, settings):
        super().__init__("neo:tty=" + os.path.basename(EXAMPLE[2].split(":")[0]), settings=settings,
                         serial={EXAMPLE[1]: EXAMPLE[2]})
        self.card = card

    def start(self):
        super().start()
        self.sim("0 insert " + self.card)


def bed_serial(words, settings):
    return Serial(words, settings), EXAMPLE[1] + " 00 00"


BEDS = {"aet63": bed_aet63, "hid": bed_hid, "serial": bed_serial}


class Example:
    """A command, and the lines of the document (from first up to last) that hold its answer."""

    def __init__(self, text, first):
        self.text, self.first, self.last, self.answer = text, first, first, []


class Bed:
    def __init__(self, words, settings, line):
        self.words, self.settings, self.line, self.examples = words, settings, line, []


def remark(line):
    return re.sub(r"\s{2,}#\s.*", "", line).rstrip()


def read_block(lines, at, bed):
    """The examples of the block whose first line is `at`, which tells their kind; returns the line behind the block."""
    example, prompt = None, lines[at][:2]
    while at < len(lines) and not lines[at].startswith("```"):
        line = lines[at]
        if prompt in ("> ", "$ ", "# ") and line.startswith("$ " if prompt == "$ " else "> "):
            assert bed, "line %d: an example, and no reader is named for it" % (at + 1)
            example = Example(remark(line) if line[0] == ">" else line, at + 1)
            bed.examples.append(example)
        elif example and line and (prompt == "$ " or not line.startswith("# ")):
            example.answer.append(line)
            example.last = at + 1
        at += 1
    return at + 1


def read_document(path):
    """The beds of a document, each with its examples."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    beds, at = [], 0
    while at < len(lines):
        named = re.match(r"<!-- try: (\w+) ?([^;]*?)(?:; *(.*?))? *-->$", lines[at])
        if named:
            settings = "".join(s.strip() + "\n" for s in (named[3] or "").split(","))
            beds.append(Bed((named[1], named[2]), settings, at + 1))
        if lines[at].startswith("```"):
            at = read_block(lines, at + 1, beds[-1] if beds else None)
        else:
            at += 1
    return lines, beds


# ---- running them ----------------------------------------------------------------------------------------------------


def text_of(answer):
    """Text in quotes where it is nothing else, bytes in hexadecimal otherwise."""
    if not answer:
        return "(empty)"
    plain = answer[:-1] if answer.endswith(b"\0") else answer
    if len(plain) > 2 and all(32 <= b < 127 for b in plain):
        return '"%s"' % plain.decode()
    return winscard.hexa(answer)


def ask(card, text):
    """What follows "> "; returns the answer's text."""
    words = text.split()
    try:
        if words[0] == "control":
            return text_of(card.control(int(words[1], 16), "".join(words[2:])))
        if words[0] == "attribute":
            return text_of(card.attribute(int(words[1], 16)))
        return winscard.hexa(card.transmit(text))
    except winscard.Failed as e:
        return winscard.CODES[e.code]


def folded(answer):
    """An answer as the documents show it: lines of 32 bytes, the first begins with "< "."""
    if not re.match(r"[0-9A-F]{2}( |$)", answer):
        return ["< " + answer]
    n = 32 * 3
    return [("  " if at else "< ") + answer[at:at + n].rstrip() for at in range(0, len(answer), n)]


def unfolded(lines):
    return " ".join(remark(line)[2:].strip() for line in lines)


def fits(shown, answer):
    """… in an answer stands for any bytes."""
    begin, some, end = shown.partition("…")
    return shown == answer if not some else answer.startswith(begin) and answer[len(begin):].endswith(end)


def run_program(command, before, cwd):
    """A command line as a user types it, `before` that of a program that runs it."""
    env = dict(os.environ, LC_ALL="C", HOME=rig.base, XDG_CACHE_HOME=rig.base)
    p = subprocess.run(before + ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                       stderr=subprocess.STDOUT, timeout=100, cwd=cwd, env=env)
    assert p.returncode == 0, "%s: status %d: %s" % (command, p.returncode, p.stdout)
    return [line.rstrip() for line in p.stdout.split("\n") if line.strip()]


def matches(shown, printed):
    """… stands for any lines."""
    if not shown:
        return not printed
    if shown[0].strip() == "…":
        return any(matches(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and shown[0].rstrip() == printed[0] and matches(shown[1:], printed[1:])


def try_program(example, before=(), cwd=os.path.join(TOP, "examples")):
    printed = run_program(example.text[2:], list(before), cwd)
    if WRITE and not any(line.strip() == "…" for line in example.answer):
        example.answer = printed
    assert matches(example.answer, printed), "%s: it printed %r" % (example.text, printed)


def try_probe(bed):
    """A simulated reader and no pcscd: the probe has it to itself."""
    assert bed.words[0] == "probe" and rig.build
    for example in bed.examples:
        example.text = re.sub(r"sudo (ifd-purse-probe)", rig.build + r"/\1", example.text)
        before = [rig.build + Rig.simulator, "--ctl", rig.base + "/ctl", "--reader", bed.words[1], "--"]
        try_program(example, before, rig.base)


def try_bed(bed):
    if bed.words[0] == "probe":
        return try_probe(bed)
    for program in {shlex.split(e.text)[1] for e in bed.examples if e.text[0] == "$"}:
        if subprocess.run(["which", program], capture_output=True).returncode != 0:
            raise Skip("%s is not installed" % program)
    made, reader = BEDS[bed.words[0]](bed.words[1], bed.settings)
    with made as r:
        r.pc.wait_card(reader)
        card = r.connect(reader=reader) if any(e.text[0] == ">" for e in bed.examples) else None
        for example in bed.examples:
            if example.text[0] == "$":
                try_program(example)
                continue
            answer = ask(card, example.text[2:])
            if WRITE and not fits(unfolded(example.answer), answer):
                example.answer = folded(answer)
            assert fits(unfolded(example.answer), answer), "line %d: %s: %s, and not %s" % (
                example.first, example.text, answer, unfolded(example.answer))
        if card:
            card.disconnect()


def write_back(path):
    """The answers into the document, from its end on, so that line numbers stay right."""
    lines, _ = read_document(path)
    for bed in reversed(DOCUMENTS[path]):
        for example in reversed(bed.examples):
            lines[example.first:example.last] = example.answer
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))


def add_cases(name):
    path = os.path.join(TOP, name)
    DOCUMENTS[path] = read_document(path)[1]
    for bed in DOCUMENTS[path]:
        assert bed.examples, "%s, line %d: a reader is named, and no example follows" % (name, bed.line)
        case("%s, line %d: %s" % (name, bed.line, " ".join(bed.words).strip()))(lambda bed=bed: try_bed(bed))


# ---- nothing is left out ---------------------------------------------------------------------------------------------


def source(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as f:
        return f.read()


@case("doc/APDU.md has an example of every command, object, control code and attribute, and every status word")
def complete():
    beds = read_document(os.path.join(TOP, "doc/APDU.md"))[1]
    tried = [e.text[2:] for bed in beds for e in bed.examples]
    commands = [re.sub(r"\s", "", t) for t in tried]
    page = source("doc/APDU.md")
    missing = []

    def need(what, pattern):
        if not any(re.match(pattern, c) for c in commands):
            missing.append(what)

    ins = set(re.findall(r"^    \{0x([0-9A-F]{2}),", source("src/pseudo/decode.c"), re.M))
    assert len(ins) > 10, ins
    for i in ins:
        need("FF " + i, "FF" + i)
    items = re.findall(r"\{0x([0-9A-F]{2}), OP_GET_", source("src/pseudo/decode_data.c"))
    assert len(items) == 6, items
    for p1 in items:
        need("FF CA " + p1, "FFCA%s00" % p1)
    objects = re.findall(r"^    \{([012]), 0x([0-9A-F]+),", source("src/pseudo/decode_session.c"), re.M)
    assert len(objects) > 15, objects
    for p2, tag in objects:
        need("FF C2 00 0%s with %s" % (p2, tag), "FFC2000%s..(..)*?%s" % (p2, tag))
    protocols = re.findall(r"\{0x(0[0-9]), STORAGE_", source("src/pseudo/decode_session.c"))
    assert len(protocols) == 5, protocols
    for p1 in protocols:
        need("FF FE " + p1, "FFFE" + p1)
    omnikey = re.findall(r"\{0x(..), 0x(..), \{(0x.., 0x.., 0x..)\}, REST", source("src/pseudo/decode_vicinity.c"))
    assert len(omnikey) == 7, omnikey
    for p1, p2, head in omnikey:
        need("FF 30 %s %s %s" % (p1, p2, head), "FF30%s%s..%s" % (p1, p2, head.replace("0x", "").replace(", ", "")))
    for p1 in ("02", "03", "04", "05"):
        need("FF 30 %s 00" % p1, "FF30%s00" % p1)
    for code in re.findall(r"CODE_\w+ = 0x([0-9A-F]+)", source("ifdhandler/control.c")):
        need("control " + code, "control0*" + code.lstrip("0"))
    names = set(re.findall(r"\{SCARD_ATTR_(\w+),", source("ifdhandler/attributes.c")))
    shown = set(re.findall(r"> attribute [0-9A-F]+ +# (\w+)", page))
    missing += ["attribute " + n for n in names - shown]
    words = re.findall(r"SW_\w+ = 0x([0-9A-F]{4})", source("src/pseudo/operation.h"))
    assert len(words) > 15, words
    told = set(re.findall(r"^\| `([0-9A-F]{2} [0-9A-F]{2}|6C xx)` \|", page, re.M))
    missing += ["status word " + w for w in words if (w[:2] + " " + w[2:] if w != "6C00" else "6C xx") not in told]
    same("without an example", sorted(missing), [])


@case("each message that README.md explains is one of the driver's")
def messages():
    table = re.search(r"^\| what you see .*?\n\n", source("README.md"), re.M | re.S)[0]
    texts = [t for row in table.split("\n")[2:] if row for t in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(texts) > 5, texts
    code = ""
    for folder, _, names in os.walk(os.path.join(TOP, "src")):
        code += "".join(source(os.path.join(folder, name)) for name in names if name.endswith(".c"))
    code = re.sub(r'"\s*\n\s*"', "", code)
    same("not in the driver", [t for t in texts if not all(part.strip() in code for part in t.split("…"))], [])


@case("doc/READERS.md lists the readers that the driver knows by their USB ids, and each is one in pcscd")
def readers():
    known = re.findall(r"^([0-9A-F]{4}:[0-9A-F]{4}):[av]:(.*)$", source("ifdhandler/readers.list"), re.M)
    rows = re.findall(r"^\| (.*?) \| USB ([0-9A-F:]{9}) \|", source("doc/READERS.md"), re.M)
    same("readers", sorted((i, name) for name, i in rows), sorted(known))
    models = ["aet63:" if name.startswith("ACS") else "neo:link=hid,vid=%s,pid=%s,serial=%d" % (*i.split(":"), n)
              for n, (i, name) in enumerate(known)]
    with Rig(*models) as r:
        names = r.pc.wait_readers(lambda names: len(names) == len(known))
        for _, name in known:
            mine = [n for n in names if n.startswith(name + " ")]
            same("readers of this name: " + name, len(mine), 1)
            with r.pc.connect(mine[0], 0, winscard.SHARE_DIRECT) as reader:
                firmware = reader.control(winscard.ESCAPE, "FF 00 48 00 00")
                same("firmware is told", (len(firmware) > 2, firmware[-2:]), (True, b"\x90\0"))


@case("the settings that README.md shows are taken")
def settings():
    block = re.search(r"```ini\n(.*?)```", source("README.md"), re.S)[1]
    sections = re.findall(r"^\[.*\]$", block, re.M)
    same("sections", sections, ["[072F:8002]", "[/dev/ttyUSB0]", "[0ACD:3530]"])
    with Rig("aet63:", "neo:link=hid", "neo:tty=ttyUSB0", settings=block, serial={EXAMPLE[1]: EXAMPLE[2]}, wait=2) as r:
        r.wait_log("AET63 [0-9]")
        r.pc.wait_readers(lambda names: sum("ViVOpay" in name for name in names) >= 2)
        same("complaints", [line for line in r.driver_log() if "ifd-purse.conf" in line], [])


# What a folder may include, besides itself: what stands below it in the picture.
BELOW = {"src/base": "", "src/card": "base", "src/transport": "base", "src/reader": "base card transport",
         "src/aet63": "base card reader transport", "src/vivopay": "base card reader transport",
         "src/pseudo": "base card reader", "ifdhandler": "base card pseudo reader",
         "probe": "base card reader transport aet63 vivopay"}


@case("the house is as doc/ARCHITECTURE.md draws it: its folders, what each includes, and the names in the text")
def house():
    page, everything = source("doc/ARCHITECTURE.md"), ""
    folders = ["src/" + name for name in sorted(os.listdir(os.path.join(TOP, "src")))] + ["ifdhandler", "probe"]
    same("folders", folders, sorted(BELOW, key=folders.index))
    for folder in folders:
        assert "`%s/`" % folder in page, "%s is not in the table" % folder
        names = [n for n in os.listdir(os.path.join(TOP, folder)) if n.endswith((".c", ".h"))]
        code = "".join(source(folder + "/" + n) for n in names)
        everything += code
        used = set(re.findall(r'^#include "(\w+)/', code, re.M)) - {os.path.basename(folder), "config.h"}
        same("what %s includes of what it should not" % folder, sorted(used - set(BELOW[folder].split())), [])
        outside = re.search(r"^#include <(libusb|libserialport|.*/libusb)", code, re.M)
        assert folder in ("src/transport", "probe") or not outside, "%s includes %s" % (folder, outside)
    for name in re.findall(r"`([a-z0-9_]+)`", page):
        known = re.search(r"\b%s\b" % name, everything) or os.path.exists(os.path.join(TOP, name))
        assert known or re.search(r"^%s\b" % name, source("Makefile.am"), re.M), "there is no %s" % name
    for name in re.findall(r"`([\w/-]+/|[\w/-]+\.[chmd]+|[\w/]+\.list)`", page):
        found = [d for d in ["", "doc"] + folders if os.path.exists(os.path.join(TOP, d, name))]
        assert found, "there is no %s" % name


DOCUMENTS = {}
for document in ("README.md", "doc/APDU.md"):
    add_cases(document)
try:
    rig.main()
finally:
    if WRITE:
        for document in DOCUMENTS:
            write_back(document)
