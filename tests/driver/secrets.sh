#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Keys, PINs, card data and templates are neither in the log nor in memory once a reader is closed: secrets.c. A build
# with a sanitizer is not asked: what lies in its memory is the sanitizer's doing.
set -u
said=$(make -s -C "$1" libifdpurse.so libifdpurse-serial.so tests/sim/purse-sim tests/driver/secrets 2>&1) || {
    echo "FAIL build $(printf '%s\n' "$said" | tail -n 1)"
    exit 1
}
exec "$1/tests/driver/secrets"
