#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The storm (storm.h) under ThreadSanitizer, and under AddressSanitizer, UBSan and LeakSanitizer, in the builds of
# ./check that stand beside this one. Four AET63 with one slot, three ViVOpay readers on USB and three on serial lines
# with two: sixteen slots, as many as pcscd has.
#
#   storm.sh BUILD              all cases, in both builds
#   storm.sh BUILD unplug …     these cases
#
# STORM_SEED and STORM_ROUNDS (percent of the usual) go to the program. STORM_BUILDS names other builds than "thread
# clang", by their directories beside BUILD.
#
# No report of ThreadSanitizer is suppressed. libusb, libserialport and the simulator's preloaded library are not
# compiled for it: it sees their locks and not what they guard. Those locks put threads of ours in an order that they
# do not have by themselves, above all the one that umockdev holds around every ioctl, and so could hide a race; in the
# second run with ThreadSanitizer it is told not to look at what these libraries do.
set -u
build=$(cd "$1" && pwd) || exit 2
shift
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
export TMPDIR="$base"

# Waits are short, so that what a broken exchange costs is; the caps are not, for machines that have much else to do.
{
    echo "[072F:8002]"
    echo "command_wait = 3000"
    for who in 0ACD:3530 /dev/ttyUSB0 /dev/ttyUSB1 /dev/ttyUSB2; do
        printf '[%s]\nslots = cl.icc\nframe_gap = 400\nresync_quiet = 50\nping_wait = 800\npoll_time = 50\n' "$who"
        printf 'open_drain = 300\nreader_cap = 20000\napdu_cap = 5000\npower_cap = 10000\n'
    done
} >"$base/conf"

readers() {
    for i in 0 1 2 3; do printf ' --reader aet63:unplugged,serial=A%s' $i; done
    for i in 0 1 2; do printf ' --reader neo:link=hid,unplugged,serial=H%s' $i; done
    for i in 0 1 2; do printf ' --reader neo:tty=ttyUSB%s,unplugged,serial=S%s' $i $i; done
}

# An older kernel's way of placing memory, where it may be chosen: some versions of the sanitizers cannot do with more.
placed=
setarch -R true 2>/dev/null && placed="setarch -R"

# run LABEL DIRECTORY CASE…: the cases' results with the label before their names, and one for the sanitizer
run() {
    label=$1 dir=$2
    shift 2
    mine=$(mktemp -d)
    log=$mine/log
    # shellcheck disable=SC2046,SC2086 # lists of words
    IFD_PURSE_CONF=$base/conf "$build/tests/sim/purse-sim" --ctl "$mine/ctl" $(readers) -- \
        $placed "$dir/tests/driver/storm" "$dir" "$@" >"$log" 2>&1
    status=$?
    if grep -q 'ThreadSanitizer: unexpected memory mapping' "$log"; then
        echo "SKIP $label ThreadSanitizer cannot run on this kernel: its memory lies elsewhere"
        return
    fi
    sed -n -e "s/^PASS /&$label: /p; s/^FAIL /&$label: /p" -e "s/^  /  $label: /p" "$log"
    if grep -q -E '^(WARNING|==[0-9]+==ERROR|SUMMARY): |runtime error:' "$log"; then
        grep -v '^purse-sim' "$log" | head -n 200
        echo "FAIL $label: the sanitizer: $(grep -m 1 -E '^SUMMARY:|runtime error:' "$log")"
    elif [ "$status" -ne 0 ] && ! grep -q '^FAIL' "$log"; then
        tail -n 40 "$log"
        echo "FAIL $label: exit status $status"
    elif [ "$status" -eq 0 ]; then
        echo "PASS $label: the sanitizer has nothing to say"
    fi
}

# They wait more than they work: all at the same time.
n=0
for name in ${STORM_BUILDS-thread clang}; do
    dir=${build%/*}/$name
    n=$((n + 1))
    if [ ! -x "$dir/tests/driver/storm" ] || [ ! -f "$dir/libifdpurse-serial.so" ]; then
        echo "SKIP $name there is no such build beside $build, with serial readers and tests/driver/storm in it"
        continue
    fi
    TSAN_OPTIONS=exitcode=66 run "$name" "$dir" "$@" >"$base/out.$n" &
    [ "$name" = thread ] || continue
    TSAN_OPTIONS="exitcode=66 ignore_noninstrumented_modules=1" STORM_ROUNDS=${STORM_ROUNDS-50} \
        run "$name, the driver alone" "$dir" "$@" >"$base/out.$n-alone" &
done
wait
cat "$base"/out.* 2>/dev/null || true
