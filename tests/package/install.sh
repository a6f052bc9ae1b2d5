#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make install puts every file where pcscd, udev and the user look for it, and make uninstall leaves nothing behind,
# not even a directory, except what the user changed and directories that were there before.
set -u
build=$1
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
var() { make -s -C "$build" --eval="show-var: ; @echo \$($1)" show-var | tail -n 1; }
drivers=$(var usbdropdir) etc=$(var sysconfdir) rules=$(var udevrulesdir) examples=$(var examplesdir) man=$(var mandir)
bin=$(var bindir)
quiet() { "$@" >"$dest.log" 2>&1 || { cat "$dest.log"; rm -f "$dest.log"; return 1; }; rm -f "$dest.log"; }
verdict() { # verdict CONDITION NAME
    if [ "$1" -eq 0 ]; then echo "PASS $2"; else echo "FAIL $2"; fi
}

mkdir -p "$dest/a$etc"
quiet make -C "$build" install DESTDIR="$dest/a"
verdict $? "make install"
for file in "$drivers/ifd-purse.bundle/Contents/Info.plist" "$drivers/ifd-purse.bundle/Contents/Linux/libifdpurse.so" \
    "$drivers/serial/libifdpurse-serial.so" "$etc/ifd-purse.conf" "$rules/92-ifd-purse.rules" \
    "${rules%/*}/ifd-purse-port" "$examples/ifd-purse-serial" "$examples/ifd-purse.conf" \
    "$bin/ifd-purse-probe"; do
    [ -f "$dest/a$file" ] && [ ! -L "$dest/a$file" ]
    verdict $? "$file is installed"
done
for page in "$(dirname "$0")"/../../man/*.[157]; do
    [ -f "$page" ] || continue
    [ -n "$(find "$dest/a$man" -name "$(basename "$page")")" ]
    verdict $? "$(basename "$page") is installed"
done
cmp -s "$build/libifdpurse.so" "$dest/a$drivers/ifd-purse.bundle/Contents/Linux/libifdpurse.so"
verdict $? "the bundle's executable is the library that was built"

grep -qx "LIBPATH *$drivers/serial/libifdpurse-serial.so" "$dest/a$examples/ifd-purse-serial"
verdict $? "the reader.conf example names the library where it is installed"
[ "$(grep -v '^ *#' "$dest/a$examples/ifd-purse-serial" | awk 'NF { last = $1 } END { print last }')" = LIBPATH ]
verdict $? "LIBPATH is the last line of the reader.conf example"

echo "# mine" >>"$dest/a$etc/ifd-purse.conf"
cp "$dest/a$etc/ifd-purse.conf" "$dest/mine"
quiet make -C "$build" install DESTDIR="$dest/a" && cmp -s "$dest/mine" "$dest/a$etc/ifd-purse.conf"
verdict $? "a second installation keeps the configuration the user changed"
quiet make -C "$build" uninstall DESTDIR="$dest/a"
verdict $? "make uninstall"
left=$(cd "$dest/a" && find . -mindepth 1 ! -type d -o -mindepth 1 -type d -empty | tr '\n' ' ')
[ "$left" = ".$etc/ifd-purse.conf " ]
verdict $? "it leaves only the changed configuration, in the directory that was there before (left: $left)"

quiet make -C "$build" install DESTDIR="$dest/b" && quiet make -C "$build" uninstall DESTDIR="$dest/b" &&
    [ ! -e "$dest/b" ]
verdict $? "installed into nothing and uninstalled, nothing is left"
