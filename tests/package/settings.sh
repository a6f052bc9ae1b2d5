#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The example configuration names every setting that the driver has and no other, all commented out; the man page too.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
conf=$top/etc/ifd-purse.conf

# the keys of the table in settings.c
keys=$(awk '/^static const struct row table\[\]/ { on = 1; next } on && /^};/ { exit } on' "$top/src/base/settings.c" |
    sed -n -e 's/^ *\(CHOICE\|MS\|MS_OR_0\|MS_RANGE\)(\([a-z0-9_]*\),.*/\2/p' -e 's/.*\.key = "\([a-z0-9_]*\)".*/\1/p' | sort -u)
if [ "$(printf '%s\n' "$keys" | wc -l)" -lt 20 ]; then
    echo "FAIL the keys can be read from settings.c: $keys"
    exit 1
fi
told=$(sed -n 's/^;\([a-z0-9_]*\) = .*/\1/p' "$conf" | sort -u)
if [ "$told" = "$keys" ]; then echo "PASS the example configuration has every setting and no other"
else echo "FAIL the example configuration has every setting and no other: $(printf '%s\n%s\n' "$told" "$keys" | sort | uniq -u | tr '\n' ' ')"; fi

if ! grep -qvE '^;|^$' "$conf"; then echo "PASS everything in it is commented out"
else echo "FAIL everything in it is commented out"; fi

page=$top/man/ifd-purse.conf.5
if [ ! -f "$page" ]; then
    echo "SKIP the man page names every setting: it is not there"
else
    missing=
    for key in $keys; do grep -qE "(^|[^a-z_])$key([^a-z_]|\$)" "$page" || missing="$missing $key"; done
    if [ -z "$missing" ]; then echo "PASS the man page names every setting"
    else echo "FAIL the man page names every setting:$missing"; fi
fi
