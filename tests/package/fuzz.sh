#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A short turn of every fuzzer, always the same one, under AddressSanitizer and UBSan: what was found once stays found.
# The long turns are make fuzz-run.
set -u
build=$1
make -C "$build" fuzz || { echo "FAIL the fuzzers are built"; exit 1; }
ran=0
for fuzzer in "$build"/fuzz/fuzz_*; do
    case ${fuzzer##*/} in *.*) continue ;; esac
    if [ ! -x "$fuzzer" ] || [ ! -f "$fuzzer" ]; then continue; fi
    ran=$((ran + 1))
    if "$fuzzer" -seed=1 -runs=20000 -max_len=600 -artifact_prefix="$fuzzer-"; then echo "PASS $(basename "$fuzzer"), 20000 inputs"
    else echo "FAIL $(basename "$fuzzer"), 20000 inputs: see the log"; fi
done
[ $ran -gt 0 ] || echo "FAIL there is a fuzzer to be run"
