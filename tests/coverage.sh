#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make coverage: runs the unit tests and every script that loads the driver against a build made with --enable-coverage
# ($1), and prints how many branches of src/ and ifdhandler/ were taken, file by file. What failed is named; its branches
# count nevertheless. Further arguments are words: then only scripts whose names contain one are run, and what ran before
# is counted, too. COVERAGE_JOBS (2) scripts run at a time.
set -u
build=$(cd "$1" && pwd) || exit 2
top=$(cd "$(dirname "$0")/.." && pwd)
shift
find "$build" -name '*.gcno' | grep -q . || {
    echo "coverage: $build was not built with --enable-coverage"
    exit 2
}

if [ $# -eq 0 ]; then
    find "$build" -name '*.gcda' -exec rm -f {} +
    make -C "$build" -k check >"$build/coverage-unit.log" 2>&1 ||
        echo "make check failed, see $build/coverage-unit.log"
fi

# The scripts, the longest first.
for script in "$top"/tests/driver/*.sh "$top"/tests/e2e/*.sh; do
    [ -x "$script" ] || continue
    [ $# -eq 0 ] && echo "$script"
    for word in "$@"; do
        case ${script##*/} in *"$word"*) echo "$script" && break ;; esac
    done
done | xargs -P "${COVERAGE_JOBS:-2}" -I '{}' sh -c '
    log=$2/coverage-$(basename "$1" .sh).log
    timeout -k 10 1800 "$1" "$2" >"$log" 2>&1 </dev/null || echo "$(basename "$1") failed, see $log"
    grep "^FAIL" "$log"' sh '{}' "$build"

cd "$build" && gcovr --root "$top" --object-directory . --filter "$top/src/" --filter "$top/ifdhandler/" \
    --branches --exclude-throw-branches --print-summary
