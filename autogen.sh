#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Makes ./configure in a git clone. A release tarball brings it along and does not need this.
set -e
cd "$(dirname "$0")"
missing=
command -v autoreconf >/dev/null || missing="$missing autoconf"
command -v automake >/dev/null || missing="$missing automake"
command -v pkg-config >/dev/null || missing="$missing pkg-config"
if [ -n "$missing" ]; then
    echo "autogen.sh: needed first: apt-get install$missing" >&2
    exit 1
fi
exec autoreconf -fi
