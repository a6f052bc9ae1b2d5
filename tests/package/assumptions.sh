#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# doc/ASSUMPTIONS.md and the driver agree: every row is there once, every row that the driver names in its log is in the
# list and quotes that line, and every setting that a row offers exists. With the build directory as its argument:
# ifd-purse-probe knows every row and no other, and says why it cannot try one.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
doc=$top/doc/ASSUMPTIONS.md
verdict() { # verdict NAME WHAT_IS_WRONG
    if [ -z "$2" ]; then echo "PASS $1"; else echo "FAIL $1: $2"; fi
}

rows=$(sed -n 's/^| \([AV][0-9][0-9]\) |.*/\1/p' "$doc")
if [ "$(printf '%s\n' "$rows" | wc -l)" -lt 50 ]; then
    echo "FAIL the rows can be read from ASSUMPTIONS.md: $rows"
    exit 1
fi
wrong=
for family in A V; do
    n=0
    for row in $(printf '%s\n' "$rows" | grep "^$family"); do
        n=$((n + 1))
        [ "$row" = "$(printf '%s%02d' $family $n)" ] || wrong="$wrong $row"
    done
done
verdict "the rows of each family are numbered without a gap" "$wrong"

wrong=$(awk -F'|' '/^\| [AV][0-9][0-9] \|/ && NF != 9 { printf "%s", $2 }' "$doc")
verdict "every row has its seven fields" "$wrong"

# Both alternatives of "cond ? 41 : 40" are rows.
for family in A:aet63 V:vivo; do
    letter=${family%%:*}
    named=$(cat "$top"/src/aet63/*.c "$top"/src/vivopay/*.c | sed 's/==* *[0-9][0-9]*//g' |
        sed -n "s/.*${family##*:}_contradicted([^,]*, \([^\"]*\),.*/\1/p" | grep -owE '[0-9]+' | sort -u)
    [ -n "$named" ] || named=none
    wrong=
    for n in $named; do
        row=$(printf '%s%02d' "$letter" "$n" 2>/dev/null) || row=$n
        grep "^| $row |" "$doc" | grep -q "against assumption $row" || wrong="$wrong $row"
    done
    verdict "every row $letter that the driver's log names is there and quotes the line" "$wrong"

    quoted=$(grep -o "against assumption ${letter}[0-9]*" "$doc" | grep -o '[0-9]*$' | sed 's/^0//' | sort -u)
    wrong=
    for n in $quoted; do
        printf '%s\n' "$named" | grep -qx "$n" || wrong="$wrong $letter$n"
    done
    verdict "every such line of family $letter that the rows quote is in the driver" "$wrong"
done

wrong=
for setting in $(awk -F'|' '/^\| [AV][0-9][0-9] \|/ { print $7 }' "$doc" | grep -o '`[a-z0-9_]*' | tr -d '`' | sort -u); do
    grep -q "^;$setting = " "$top/etc/ifd-purse.conf" || wrong="$wrong $setting"
done
verdict "every setting that a row offers exists" "$wrong"

if [ -x "${1-}/ifd-purse-probe" ]; then
    table=$("$1/ifd-purse-probe" --table)
    known=$(printf '%s\n' "$table" | cut -f1)
    wrong=$(printf '%s\n' "$rows" "$known" | sort | uniq -c | awk '$1 != 2 { printf " %s", $2 }')
    verdict "ifd-purse-probe knows every row, once, and no other" "$wrong"
    verdict "it tells them in their order" "$([ "$rows" = "$known" ] || echo "another order")"
    wrong=$(printf '%s\n' "$table" |
        awk -F'\t' 'NF != 3 || length($2) < 8 || (length($3) > 0 && length($3) < 20) { printf " %s", $1 }')
    verdict "each row of it has its text, and a reason if it cannot be tried" "$wrong"
else
    echo "SKIP ifd-purse-probe knows every row, once, and no other: no build directory was given"
fi
