#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The tarball builds, tests, installs and uninstalls by itself, from a source directory that cannot be written.
set -u
if make -C "$1" distcheck; then echo "PASS make distcheck"; else echo "FAIL make distcheck"; fi
