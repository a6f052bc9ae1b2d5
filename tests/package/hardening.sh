#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the compiler and the linker were asked for against broken memory is really in the files that are installed: tables
# read-only after loading, no executable stack, no writable code, guarded stacks, checked copies, and programs that lie
# at another address each time. Each property is one that a single forgotten flag would lose.
set -u
build=$1

# verdict TEXT COMMAND…: PASS if the command succeeds
verdict() {
    text=$1
    shift
    if "$@"; then echo "PASS $text"; else echo "FAIL $text"; fi
}

segments() { readelf -lW "$1"; }
dynamic() { readelf -dW "$1"; }
imports() { nm -D --undefined-only "$1" | awk '{ sub(/@.*/, "", $2); print $2 }'; }

bound_at_load() { dynamic "$1" | grep -Eq 'BIND_NOW|FLAGS_1.*NOW' && segments "$1" | grep -q GNU_RELRO; }
stack_is_data() { segments "$1" | awk '$1 == "GNU_STACK" { seen = 1; if (/RWE/) bad = 1 } END { exit !seen || bad }'; }
# A segment is never writable and executable, and no code is changed when it is loaded.
code_is_fixed() { ! segments "$1" | awk '$1 == "LOAD"' | grep -q 'RWE' && ! dynamic "$1" | grep -q TEXTREL; }
stacks_guarded() { imports "$1" | grep -qx __stack_chk_fail; }
copies_checked() { imports "$1" | grep -E '^__.*_chk$' | grep -qvx __stack_chk_fail; }
no_search_path() { ! dynamic "$1" | grep -Eq 'RPATH|RUNPATH'; }
moves() { readelf -hW "$1" | grep -q 'Type:.*DYN' && dynamic "$1" | grep -q 'FLAGS_1.*PIE'; }

for name in libifdpurse.so libifdpurse-serial.so ifd-purse-probe; do
    file=$build/$name
    [ -f "$file" ] || { echo "SKIP $name is not built"; continue; }
    verdict "$name: its tables are read-only once it is loaded" bound_at_load "$file"
    verdict "$name: its stack cannot be executed" stack_is_data "$file"
    verdict "$name: what can be executed cannot be written" code_is_fixed "$file"
    verdict "$name: its stacks are guarded" stacks_guarded "$file"
    verdict "$name: its libraries are searched where the system says only" no_search_path "$file"
    if grep -Eq '^HARDEN_CFLAGS = .*_FORTIFY_SOURCE' "$build/Makefile"; then
        verdict "$name: its copies are checked against the size of their target" copies_checked "$file"
    else
        echo "SKIP $name: its copies are not checked in this build (no optimisation, or a sanitizer)"
    fi
    case $name in
    *.so) ;;
    *) verdict "$name: it lies at another address each time" moves "$file" ;;
    esac
done
