#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The driver under AddressSanitizer, UBSan and LeakSanitizer inside of the stock pcscd, and under valgrind: a choice of
# the end-to-end scenarios, with the clang build of ./check that stands beside the build that is given.
#
#   sanitized.sh BUILD            all
#   sanitized.sh BUILD asan       with the sanitizers          sanitized.sh BUILD valgrind
#
# pcscd is not compiled for them, so the sanitizers' library is preloaded. It looks for leaks when pcscd ends, which is
# after pcscd has closed its readers; a second preloaded library keeps pcscd from unloading the driver then, for a stack
# without the driver's name could not be told from one of pcscd's own. It also names the file for reports (the option
# log_path is looked at so early that umockdev's library ends the program). Each paragraph of a report that has a frame
# of the driver fails the run, whoever allocated, freed or read the memory. What is pcscd's alone is left out, and the
# exit status that a leak would give it.
#
# valgrind.supp names what valgrind finds below calls of the driver's and is not its doing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
gcc=$(cd "$1" && pwd) || exit 2
clang=${gcc%/*}/clang
which=${2-all}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TMPDIR="$tmp"

# Every frame of the driver has its library's name, or in UBSan's first line and valgrind's stacks a file of its source.
ours='libifdpurse|runtime error|[(/](src|ifdhandler)/[a-z0-9_/]*[.]c:'

# What the tools wrote, by paragraphs: only those that name the driver. Left out are devices that libusb_init() listed
# and libusb 1.0.26 forgot, as it does with one that goes away in that moment (tests/driver/storm_pcscd.c says why). A
# context or handle that the driver forgets is no such thing, and a device's reference would be seen by the storm, which
# leaves out nothing.
complaints() {
    for report in "$tmp"/report.*; do
        [ -f "$report" ] || continue
        sed 's/^==[0-9]*== \{0,1\}//' "$report" | awk -v RS= -v ours="$ours" '
            / leak of / && / in libusb_init / && !/#1 [^\n]* in libusb_init / { next }
            $0 ~ ours { print $0 "\n" }'
    done
}

# One scenario, some of its cases: run LABEL BUILD SCENARIO CASE…
run() {
    label=$1 build=$2 scenario=$3
    shift 3
    /usr/bin/python3 -B - "$here/$scenario.py" "$build" "$@" >"$tmp/out" 2>&1 <<'PYTHON'
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
import rig
rig.orderly = True
runpy.run_path(sys.argv[0], run_name="__main__")
PYTHON
    status=$?
    sed -n "s/^\(PASS\|SKIP\|FAIL\) /&$label, $scenario: /p; s/^  /  /p" "$tmp/out"
    if ! grep -q '^\(PASS\|SKIP\|FAIL\) ' "$tmp/out" || { [ $status -ne 0 ] && ! grep -q '^FAIL' "$tmp/out"; }; then
        tail -n 20 "$tmp/out"
        echo "FAIL $label, $scenario: exit status $status"
    fi
}

# Judges all reports of one tool: verdict LABEL
verdict() {
    complaints >"$tmp/complaints"
    if [ -s "$tmp/complaints" ]; then
        head -n 150 "$tmp/complaints"
        echo "FAIL $1: it complains of the driver: $(grep -m 1 -E 'ERROR|runtime error|leak|Invalid|ninit|lost' \
            "$tmp/complaints")"
    else
        echo "PASS $1: no complaint about the driver"
    fi
    rm -f "$tmp"/report.*
}

# The driver of the clang build, and everything else as it is.
sanitized_build() {
    mkdir "$tmp/build"
    ln -s "$gcc"/* "$tmp/build/"
    ln -sf "$clang/libifdpurse.so" "$clang/libifdpurse-serial.so" "$tmp/build/"
    cat >"$tmp/keep.c" <<'C'
#include <stdlib.h>
void __sanitizer_set_report_path(const char *path);
int dlclose(void *h);
int dlclose(void *h) { return h == 0; }
__attribute__((constructor)) static void begin(void) { __sanitizer_set_report_path(getenv("REPORT")); }
C
    cc -shared -fPIC -o "$tmp/keep.so" "$tmp/keep.c"
}

with_sanitizers() {
    runtime=$(clang -print-file-name="libclang_rt.asan-$(uname -m).so" 2>/dev/null)
    if [ ! -f "$runtime" ] || ! nm -D "$clang/libifdpurse.so" 2>/dev/null | grep -q __asan_init; then
        echo "SKIP sanitizers there is no clang build with AddressSanitizer beside $gcc"
        return
    fi
    sanitized_build || { echo "FAIL sanitizers: the build cannot be prepared"; return; }
    export PRE="$runtime:$tmp/keep.so"
    export REPORT="$tmp/report" ASAN_OPTIONS="detect_leaks=1:fast_unwind_on_malloc=0:exitcode=0"
    export UBSAN_OPTIONS="print_stacktrace=1"
    run sanitizers "$tmp/build" flow 'every byte*' 'S2 to S5 with opensc-tool on a T=1 card'
    run sanitizers "$tmp/build" vivo_flow 'the flow byte*' 'a serial reader, an HID*' 'what the reader tells*'
    run sanitizers "$tmp/build" wrong 'T=0: APDUs*' 'features*' 'reader commands*' 'slots = card.sam*'
    run sanitizers "$tmp/build" failures 'a mute card*' 'T=1: blocks*' 'a broken answer*' 'a late answer*'
    run sanitizers "$tmp/build" plug 'card in*' 'unplugged while*' 'unplugged at every packet of a T=1*'
    run sanitizers "$tmp/build" purse 'a purse:*' 'a whole 1K*' 'the transparent session: raw*' 'FeliCa*'
    run sanitizers "$tmp/build" vicinity 'the recorded*' 'a whole card*' 'three cards*'
    run sanitizers "$tmp/build" vivo_port 'a serial port hangs up while*' 'unplugged at every report while*'
    SOAK_APDUS=2400 run sanitizers "$tmp/build" soak '*'
    verdict sanitizers
    unset PRE REPORT ASAN_OPTIONS UBSAN_OPTIONS
}

with_valgrind() {
    if ! command -v valgrind >/dev/null; then
        echo "SKIP valgrind is not installed"
        return
    fi
    RUNNER="valgrind -q --leak-check=full --show-leak-kinds=definite,indirect --keep-debuginfo=yes --num-callers=30"
    RUNNER="$RUNNER --fair-sched=try --fullpath-after= --suppressions=$here/valgrind.supp --log-file=$tmp/report.%p"
    export RUNNER
    run valgrind "$gcc" vivo_flow 'a serial reader, an HID*'
    run valgrind "$gcc" failures 'T=1: blocks*'
    run valgrind "$gcc" plug 'unplugged while*'
    run valgrind "$gcc" purse 'a purse:*'
    verdict valgrind
    unset RUNNER
}

case $which in
all | asan) with_sanitizers ;;
esac
case $which in
all | valgrind) with_valgrind ;;
esac
