#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Keys, PINs, card data and templates are neither in the log nor in memory once a reader is closed: secrets.c. A build
# with a sanitizer is not asked: what lies in its memory is the sanitizer's doing.
set -u
exec "$1/tests/driver/secrets"
