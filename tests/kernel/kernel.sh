#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The installed driver on a real kernel: guest.py in a guest that boot starts. Usage: kernel.sh BUILD
# What is installed there is the Debian package, unpacked: the one that tests/package/debian.sh tests, too, built by who
# comes first. Where Debian's tools for that are missing it is what make install installs.
# Needs Debian's kernel package (get-kernel fetches it; nothing is installed) and QEMU. KERNEL_DIR names a directory
# that keeps the kernel from one run to the next; it is in BUILD otherwise.
set -u
build=$(cd "$1" && pwd)
top=$(cd "$(dirname "$0")/../.." && pwd)
what="the driver on a real kernel"
PATH=$PATH:/usr/sbin:/sbin
for tool in qemu-system-x86_64 busybox cpio modprobe depmod udevadm pcscd setpriv; do
    command -v $tool >/dev/null || { echo "SKIP $what: $tool is not installed"; exit 0; }
done
kernel=${KERNEL_DIR:-$build/kernel}
version=$("$top/tests/kernel/get-kernel" "$kernel" | tail -n 1)
[ -f "$kernel/boot/vmlinuz-$version" ] || { echo "SKIP $what: no kernel: $version"; exit 0; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if command -v dpkg-buildpackage >/dev/null && command -v dh >/dev/null; then
    "$top/tests/package/build-deb" "$build" >"$work/log" 2>&1 && deb=$(echo "$build"/package/out/ifd-purse_*.deb) &&
        dpkg-deb -x "$deb" "$work/package" && dpkg-deb -e "$deb" "$work/control" &&
        install -D "$work/control/postinst" "$work/package/var/lib/dpkg/info/ifd-purse.postinst" &&
        echo "  installed is ${deb##*/}"
else # (installed_dirs: the record of directories is for make uninstall, and of tests that may run beside this one)
    make -C "$build" install DESTDIR="$work/package" installed_dirs=: >"$work/log" 2>&1 &&
        echo "  installed is what make install installs"
fi || {
    tail -n 20 "$work/log"
    echo "FAIL $what: there is nothing to install"
    exit 1
}
if [ -d "$work/package/lib" ] && [ -L /lib ]; then # a directory would hide the link
    mkdir -p "$work/package/usr" && cp -a "$work/package/lib" "$work/package/usr/" && rm -r "$work/package/lib"
fi
"$top/tests/kernel/attend" "$work" "$top/tests/kernel/boot" "$kernel" "$work" "$work/package" \
    "/usr/bin/python3 -B $top/tests/kernel/guest.py $build" | tee "$work/out"
grep -qx END "$work/out" || echo "FAIL $what: the guest ended before its cases did"
! grep -q '^FAIL' "$work/out"
