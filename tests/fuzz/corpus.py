#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fuzzers' corpora: tests/fuzz/corpus/NAME.hex holds all inputs of one fuzzer as text.

An input is hexadecimal lines up to an empty line; a line that begins with # says what it is. As text the corpus is one
file that can be read, reviewed and packed, where libFuzzer wants a directory with hundreds of nameless files. The first
part is written by hand: frames and commands from the descriptions of the protocols. What stands below the line
"# ---- grown" was found by running.

  corpus.py expand NAME.hex DIRECTORY          one file for each input, as libFuzzer reads them
  corpus.py grow NAME.hex FUZZER DIRECTORY...  replaces the grown part by the smallest inputs out of the directories
                                               that reach what the hand-written part does not
"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile

GROWN = "# ---- grown"
INPUTS, SIZE = 200, 100_000
WIDTH = 116


def inputs(text):
    """The inputs of a corpus as bytes, in order."""
    found, digits = [], ""
    for line in text.splitlines() + [""]:
        line = line.strip()
        if line and not line.startswith("#"):
            digits += line
        elif not line and digits:
            found.append(bytes.fromhex(digits))
            digits = ""
    return found


def expand(corpus, directory):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for data in inputs(pathlib.Path(corpus).read_text()):
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def wrap(data):
    digits = data.hex()
    return "\n".join(digits[i:i + WIDTH] for i in range(0, len(digits), WIDTH)) + "\n"


def grow(corpus, fuzzer, *directories):
    path = pathlib.Path(corpus)
    seeds = path.read_text().partition(GROWN)[0].rstrip() + "\n"
    known = set(inputs(seeds))
    with tempfile.TemporaryDirectory() as room:
        room = pathlib.Path(room)
        (room / "seeds").mkdir()
        (room / "merged").mkdir()
        expand_text = room / "seeds.hex"
        expand_text.write_text(seeds)
        expand(expand_text, room / "merged")
        # Without counters an input is kept only for an edge that no smaller one reaches.
        subprocess.run([fuzzer, "-merge=1", "-use_counters=0", "-max_len=4096", room / "merged", *directories],
                       check=True, stderr=subprocess.DEVNULL)
        new = sorted({f.read_bytes() for f in (room / "merged").iterdir()} - known - {b""}, key=lambda d: (len(d), d))
    kept, size = [], 0
    for data in new[:INPUTS]:
        size += len(data)
        if size <= SIZE:
            kept.append(data)
    text = "\n".join(wrap(data) for data in kept)
    path.write_text(seeds + (f"\n{GROWN}\n\n{text}" if kept else ""))
    print(f"{path.name}: {len(known)} by hand, {len(kept)} of {len(new)} grown, {sum(map(len, kept))} bytes")


if __name__ == "__main__":
    {"expand": expand, "grow": grow}[sys.argv[1]](*sys.argv[2:])
