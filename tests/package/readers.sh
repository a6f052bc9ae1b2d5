#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The one list of readers and what is made from it agree, and a list with a mistake ends the build instead of losing a
# reader in one of the files.
set -u
build=$1
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

list=$(grep -v '^#' "$top/ifdhandler/readers.list" | grep .)
ids=$(printf '%s\n' "$list" | cut -d: -f1,2)

# the n-th strings of the array behind a key of Info.plist
array() {
    awk -v key="$1" '$0 ~ "<key>" key "</key>" { on = 1; next } on && /<\/array>/ { exit }
        on && /<string>/ { gsub(/^.*<string>|<\/string>.*$/, ""); print }' "$build/ifdhandler/Info.plist"
}
array ifdVendorID | sed 's/^0x//' >"$dir/v"
array ifdProductID | sed 's/^0x//' >"$dir/p"
array ifdFriendlyName >"$dir/n"
if [ "$(paste -d: "$dir/v" "$dir/p" "$dir/n")" = "$(printf '%s\n' "$list" | cut -d: -f1,2,4)" ]; then
    echo "PASS Info.plist has the list's readers, the three arrays in step"
else
    echo "FAIL Info.plist has the list's readers, the three arrays in step"
fi

rules=$(sed -n 's/^SUBSYSTEM=="usb", ATTR{idVendor}=="\(....\)", ATTR{idProduct}=="\(....\)".*/\1:\2/p' \
    "$build/udev/92-ifd-purse.rules" | tr a-f A-F)
if [ "$rules" = "$ids" ]; then echo "PASS the udev rules have the list's readers"
else echo "FAIL the udev rules have the list's readers: $rules"; fi

modaliases=$(sed -n 's,^ *<modalias>usb:v\(....\)p\(....\)d\*</modalias>$,\1:\2,p' "$build"/metainfo/*.metainfo.xml)
if [ "$modaliases" = "$ids" ]; then echo "PASS the AppStream metainfo has the list's readers"
else echo "FAIL the AppStream metainfo has the list's readers: $modaliases"; fi

header=$(sed -n 's/^ *{0x\(....\), 0x\(....\), .*/\1:\2/p' "$build/src/reader/readers_generated.h")
if [ "$header" = "$ids" ]; then echo "PASS the driver's table has the list's readers"
else echo "FAIL the driver's table has the list's readers: $header"; fi

refused() { # refused NAME LINE…: a list of these lines is refused with a message
    name=$1
    shift
    printf '%s\n' "$@" >"$dir/list"
    if sh "$top/ifdhandler/make-readers.sh" "$dir/list" 1 /x header >"$dir/out" 2>"$dir/err"; then
        echo "FAIL a list with $name is refused"
    elif [ ! -s "$dir/err" ]; then
        echo "FAIL a list with $name is refused, but without a word"
    else
        echo "PASS a list with $name is refused"
    fi
}
refused "a short PID" "072F:802:a:X"
refused "small letters" "072f:8002:a:X"
refused "an unknown family" "072F:8002:z:X"
refused "no name" "072F:8002:a:"
refused "a name that is no plain ASCII" "072F:8002:a:<X>"
refused "a colon in the name" "072F:8002:a:X:Y"
refused "a reader twice" "072F:8002:a:X" "072F:8002:a:Y"
refused "no reader" "# nothing"
