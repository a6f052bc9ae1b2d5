#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A reader that answers anything, a client that asks anything: hostile.c, once for each kind of reader, in this build and
# in one with sanitizers that stands beside it (whose memory is not judged by its size: a sanitizer keeps what was freed).
#
#   hostile.sh BUILD                     all
#   BUILD/tests/driver/hostile serial huge      one mode of the reader, with the driver's log
set -u
build=$(cd "$1" && pwd) || exit 2
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# run BUILD NAME: all kinds of readers at a time, for they wait more than they work
run() {
    make -s -C "$1" libifdpurse.so libifdpurse-serial.so tests/driver/hostile tests/driver/purse-sim-hostile \
        >"$results/make" 2>&1 || {
        echo "FAIL build $(tail -n 1 "$results/make")"
        return
    }
    for link in aet63 aet63-t1 serial hid; do
        (
            "$1/tests/driver/hostile" $link >"$results/$link" 2>&1 ||
                grep -q '^FAIL' "$results/$link" || echo "FAIL $link: $(tail -n 1 "$results/$link")" >>"$results/$link"
        ) &
    done
    wait
    for link in aet63 aet63-t1 serial hid; do
        sed "s/^\(PASS\|FAIL\|#\) /\1 $2 /" "$results/$link"
    done
}

run "$build" gcc
sanitized=${build%/*}/clang
if [ "$sanitized" != "$build" ] && [ -f "$sanitized/Makefile" ]; then
    HOSTILE_NO_MEMORY=1 run "$sanitized" clang
fi
