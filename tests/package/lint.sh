#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Every file says its licence, and the shell scripts are clean under shellcheck.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1

without=$(find src ifdhandler tests udev etc build-aux .ci check demo autogen.sh configure.ac Makefile.am \
    \( -name '*.c' -o -name '*.h' -o -name '*.sh' -o -name '*.in' -o -name '*.am' -o -name '*.ac' -o -name '*.list' \
    -o -name '*.map' -o -name '*.py' -o -path .ci/run -o -name check -o -name demo \) -type f \
    ! -name Makefile.in 2>/dev/null |
    while IFS= read -r file; do head -n 4 "$file" | grep -q SPDX-License-Identifier || echo "$file"; done | tr '\n' ' ')
if [ -z "$without" ]; then echo "PASS every source file says its licence"
else echo "FAIL every source file says its licence: $without"; fi

if ! command -v shellcheck >/dev/null; then
    echo "SKIP shellcheck: not installed"
    exit 0
fi
grep -lE '^#!/bin/(ba)?sh' check demo autogen.sh .ci/run build-aux/installed-dirs udev/ifd-purse-port ifdhandler/*.sh \
    tests/case-driver tests/need-packages tests/*/*.sh 2>/dev/null |
    while IFS= read -r script; do
        if found=$(shellcheck -S warning -x "$script" 2>&1); then echo "PASS shellcheck $script"
        else echo "FAIL shellcheck $script"; printf '%s\n' "$found"; fi
    done
