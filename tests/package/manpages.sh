#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The man pages say what the driver does: ifd-purse.conf(5) has an entry for every setting of the table in settings.c and
# for no other, with the default that the example configuration shows and with every value that the table takes;
# ifd-purse(7) names every reader of the list. And man can show them.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
page=$top/man/ifd-purse.conf.5
source=$top/src/base/settings.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
verdict() { # verdict NAME WHAT_IS_WRONG
    if [ -z "$2" ]; then echo "PASS $1"; else echo "FAIL $1: $(echo "$2" | tr '\n' ' ')"; fi
}

awk '/^static const struct row table\[\]/ { on = 1; next } on && /^};/ { exit } on' "$source" >"$work/table"
sed -n -e 's/^ *\(CHOICE\|MS\|MS_OR_0\|MS_RANGE\)(\([a-z0-9_]*\),.*/\2/p' -e 's/.*\.key = "\([a-z0-9_]*\)".*/\1/p' \
    "$work/table" | sort >"$work/keys"
if [ "$(wc -l <"$work/keys")" -lt 20 ]; then
    echo "FAIL the keys can be read from settings.c"
    exit 1
fi

# A setting is .TP and then .BR key " = " default …
awk 'tag && /^\.BR [a-z0-9_]+ " = " / { print $2, $6 } { tag = /^\.TP/ }' "$page" | sort >"$work/entries"
cut -d' ' -f1 "$work/entries" >"$work/entered"
verdict "ifd-purse.conf(5) has one entry for every setting and for no other" "$(sort "$work/keys" "$work/entered" | uniq -c |
    awk '$1 != 2 { print $2 }')"

sed -n 's/^;\([a-z0-9_]*\) = \([^ ]*\).*/\1 \2/p' "$top/etc/ifd-purse.conf" | sort -u -k1,1 >"$work/example"
verdict "its defaults are those of the example configuration" "$(diff "$work/example" "$work/entries" |
    sed -n 's/^[<>] //p' | grep -v '^usb_id ')"

sed -n -e 's/^ *\(MS\|MS_OR_0\)(\([a-z0-9_]*\), \([0-9]*\),.*/\2 \3/p' \
    -e 's/^ *MS_RANGE(\([a-z0-9_]*\),.*, \([0-9]*\), FOR.*/\1 \2/p' "$work/table" | sort >"$work/times"
verdict "the times in it are those of the table" "$(comm -23 "$work/times" "$work/entries")"

# The text of one setting's entry, without its tag.
entry() { awk -v key="$1" 'on && /^\.(TP|S[HS])/ { exit } on { print } $0 ~ "^\\.BR " key " " { on = 1 }' "$page"; }
wrong=
sed -n 's/^ *CHOICE(\([a-z0-9_]*\), \([a-z0-9_]*\),.*/\1 \2/p' "$work/table" >"$work/choices"
while read -r key list; do
    # the words of "static const struct choice NAME[] = {{"word", …", up to the semicolon
    words=$(awk -v name="$list" 'index($0, "struct choice " name "[]") { on = 1 } on { print } on && /;/ { exit }' "$source" |
        grep -o '{"[a-z0-9]*"' | tr -d '{"' | grep -vx 0)
    for word in $words; do
        { entry "$key"; grep "^\.BR $key " "$page"; } | grep -qiw "$word" || wrong="$wrong $key=$word"
    done
done <"$work/choices"
verdict "every value of a setting is in its entry" "$wrong"

wrong=$(grep -v '^#' "$top/ifdhandler/readers.list" | while IFS=: read -r vid pid _ name; do
    grep -q "$vid:$pid" "$top/man/ifd-purse.7" && grep -q "$name" "$top/man/ifd-purse.7" || echo "$vid:$pid"
done)
verdict "ifd-purse(7) names every reader of the list" "$wrong"

wrong=
sed -n 's/^ *{0x\([0-9A-F][0-9A-F]\), .*decode_.*/\1/p' "$top/src/pseudo/decode.c" | sort -u >"$work/ins"
[ -s "$work/ins" ] || wrong="(none found in decode.c)"
while read -r ins; do
    grep -qE "FF ([0-9A-F]{2}\|)*$ins" "$top/man/ifd-purse.7" || wrong="$wrong $ins"
done <"$work/ins"
verdict "ifd-purse(7) has every command of class FF" "$wrong"

if command -v groff >/dev/null; then
    verdict "groff has nothing to complain of" "$(for man in "$top"/man/*.[0-9]; do
        groff -t -man -ww -Tascii -z "$man" 2>&1
    done)"
else
    echo "SKIP groff has nothing to complain of: groff is not installed"
fi
