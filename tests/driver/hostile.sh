#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A reader that answers anything, a client that asks anything: hostile.c, once for each kind of reader, in this build
# and in one with sanitizers that stands beside it (whose memory is not judged by its size: a sanitizer keeps what was
# freed). All at a time, for they wait more than they work.
#
#   hostile.sh BUILD                            all
#   BUILD/tests/driver/hostile serial huge      one mode of the reader, with the driver's log
set -u
build=$(cd "$1" && pwd) || exit 2
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
links="aet63 aet63-t1 serial hid"

# begin BUILD NAME
begin() {
    make -s -C "$1" libifdpurse.so libifdpurse-serial.so tests/driver/hostile tests/driver/purse-sim-hostile \
        >"$results/make" 2>&1 || {
        echo "FAIL build $(tail -n 1 "$results/make")"
        return
    }
    for link in $links; do
        out=$results/$2-$link
        {
            "$1/tests/driver/hostile" "$link" >"$out" 2>&1 ||
                grep -q '^FAIL' "$out" || echo "FAIL $link: $(tail -n 1 "$out")" >>"$out"
        } &
    done
}

begin "$build" gcc
sanitized=${build%/*}/clang
if [ "$sanitized" != "$build" ] && [ -f "$sanitized/Makefile" ]; then
    HOSTILE_NO_MEMORY=1
    export HOSTILE_NO_MEMORY
    begin "$sanitized" clang
fi
wait
for out in "$results"/*-*; do
    name=${out##*/}
    sed "s/^\(PASS\|FAIL\|#\) /\1 ${name%%-*} /" "$out"
done
