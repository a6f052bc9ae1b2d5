#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs every fuzzer under AddressSanitizer and UBSan for FUZZ_SECONDS (30), beginning with its corpus, two at a time;
# make fuzz MINUTES=n runs them longer. $1 is the build's directory. An input that breaks something is kept, and the
# command that repeats it printed.
set -u
build=$(cd "$1" && pwd) || exit 1
here=$(cd "$(dirname "$0")" && pwd)
seconds=${FUZZ_SECONDS:-30}

# One fuzzer: prints its PASS or FAIL line.
run() {
    fuzzer=$build/fuzz/fuzz_$1
    log=$fuzzer.log
    python3 "$here/corpus.py" expand "$here/corpus/$1.hex" "$fuzzer.corpus" || {
        echo "FAIL fuzz_$1: its corpus cannot be read"
        return 1
    }
    rm -f "$fuzzer"-crash-* "$fuzzer"-leak-* "$fuzzer"-timeout-* "$fuzzer"-oom-*
    if "$fuzzer" -max_total_time="$seconds" -timeout=60 -print_final_stats=1 -artifact_prefix="$fuzzer-" \
        "$fuzzer.corpus" >"$log" 2>&1; then
        inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        edges=$(sed -n 's/.*DONE *cov: *\([0-9]*\) .*/\1/p' "$log")
        [ "${inputs:-0}" -gt 0 ] && echo "PASS fuzz_$1 for $seconds s: $inputs inputs, $edges edges" && return
        echo "FAIL fuzz_$1: it ran no input, see $log"
        return 1
    fi
    grep -E 'ERROR|SUMMARY|runtime error' "$log" | head -n 3
    artefact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "FAIL fuzz_$1: see $log; to repeat it: $fuzzer $artefact"
    return 1
}

if [ "${2-}" = one ]; then
    run "$3"
    exit
fi
make -C "$build" fuzz-programs >"$build/fuzz-build.log" 2>&1 || {
    tail -n 20 "$build/fuzz-build.log"
    echo "FAIL the fuzzers are built"
    exit 1
}
for source in "$here"/fuzz_*.c; do
    name=${source##*/fuzz_}
    echo "${name%.c}"
done | xargs -P "${FUZZ_JOBS:-2}" -I '{}' sh "$0" "$build" one '{}'
