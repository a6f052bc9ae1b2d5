#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# udev/ifd-purse-port gives pcscd's group to the ports that reader.conf.d gives to this driver, and to no other.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/bin" "$dir/conf"
# shellcheck disable=SC2016 # the script's own arguments
printf '#!/bin/sh\n[ "$1 $2" = "group pcscd" ] && [ -e "%s/group" ]\n' "$dir" >"$dir/bin/getent"
chmod +x "$dir/bin/getent"
touch "$dir/group"

ask() { # ask NODE LINKS
    PATH=$dir/bin:$PATH IFD_PURSE_READER_CONF_D=$dir/conf DEVNAME=$1 DEVLINKS=$2 sh "$top/udev/ifd-purse-port"
}
expect() { # expect NAME WANTED NODE LINKS
    got=$(ask "$3" "$4")
    if [ "$got" = "$2" ]; then echo "PASS $1"; else echo "FAIL $1: answered '$got'"; fi
}

expect "an empty reader.conf.d" "" /dev/ttyUSB0 ""
cat >"$dir/conf/ours" <<'EOR'
FRIENDLYNAME "A reader"
DEVICENAME /dev/ttyUSB0:slots=cl
LIBPATH /usr/lib/pcsc/drivers/serial/libifdpurse-serial.so

FRIENDLYNAME "Another"
DEVICENAME /dev/ifd-purse/0403-6001-A1
LIBPATH /usr/lib/pcsc/drivers/serial/libifdpurse-serial.so
# FRIENDLYNAME "switched off"
# DEVICENAME /dev/ttyUSB7
# LIBPATH /usr/lib/pcsc/drivers/serial/libifdpurse-serial.so
EOR
cat >"$dir/conf/foreign" <<'EOR'
FRIENDLYNAME "Gem"
DEVICENAME /dev/ttyUSB3
LIBPATH /usr/lib/pcsc/drivers/serial/libccidtwin.so
EOR
expect "a port with options" pcscd /dev/ttyUSB0 ""
expect "a port named by a link" pcscd /dev/ttyUSB5 "/dev/serial/by-id/x /dev/ifd-purse/0403-6001-A1"
expect "a port nobody gave us" "" /dev/ttyUSB1 "/dev/serial/by-id/y"
expect "a name that only begins the same" "" /dev/ttyUSB ""
expect "another driver's port" "" /dev/ttyUSB3 ""
expect "a record that is commented out" "" /dev/ttyUSB7 ""
rm "$dir/group"
expect "no group pcscd" "" /dev/ttyUSB0 ""
