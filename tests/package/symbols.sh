#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The two shared objects as pcscd's loader sees them: the ten entry points and nothing else is exported, only pcscd's own
# log functions are left for pcscd to bring, and the hardening asked for at compile time is really in the file.
set -u
build=$1
for so in libifdpurse.so libifdpurse-serial.so; do
    file=$build/$so
    [ -f "$file" ] || { echo "SKIP $so is not built"; continue; }

    got=$(nm -D --defined-only "$file" | awk '{ print $3 }' | sort | tr '\n' ' ')
    want=$(printf '%s\n' IFDHCreateChannelByName IFDHCreateChannel IFDHCloseChannel IFDHGetCapabilities \
        IFDHSetCapabilities IFDHSetProtocolParameters IFDHPowerICC IFDHTransmitToICC IFDHICCPresence IFDHControl |
        sort | tr '\n' ' ')
    if [ "$got" = "$want" ]; then echo "PASS $so exports exactly the ten entry points"
    else echo "FAIL $so exports exactly the ten entry points: it exports $got"; fi

    # ldd -r resolves every symbol against the libraries the file names.
    left=$(ldd -r "$file" 2>&1 | sed -n 's/^undefined symbol: \([^[:space:]]*\).*/\1/p' | sort -u |
        grep -vxE 'log_msg|log_xxd' | tr '\n' ' ')
    if [ -z "$left" ]; then echo "PASS $so leaves nothing undefined but pcscd's log"
    else echo "FAIL $so leaves nothing undefined but pcscd's log: $left"; fi

    if readelf -dW "$file" | grep -q BIND_NOW && readelf -lW "$file" | grep -q GNU_RELRO &&
        readelf -lW "$file" | grep GNU_STACK | grep -qv 'RWE'; then
        echo "PASS $so is bound at load, its tables read-only, its stack not executable"
    else
        echo "FAIL $so is bound at load, its tables read-only, its stack not executable"
    fi
done
inode() { stat -L -c %d:%i "$1"; }
if [ "$(inode "$build/libifdpurse-serial.so")" != "$(inode "$build/libifdpurse.so")" ]; then
    echo "PASS the serial handler is a file of its own"
else
    echo "FAIL the serial handler is a file of its own"
fi
