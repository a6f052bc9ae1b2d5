#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The installed driver on a real kernel: guest.py in a guest that boot starts. Usage: kernel.sh BUILD
# What is installed there is what make install installs; tests/package/debian.sh sees that the package has all of it.
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
# (installed_dirs: the record of directories is for make uninstall, and another test's, which may run beside this one)
make -C "$build" install DESTDIR="$work/package" installed_dirs=: >"$work/log" 2>&1 || {
    tail -n 20 "$work/log"
    echo "FAIL $what: make install"
    exit 1
}
if [ -d "$work/package/lib" ] && [ -L /lib ]; then # a directory would hide the link
    mkdir -p "$work/package/usr" && cp -a "$work/package/lib" "$work/package/usr/" && rm -r "$work/package/lib"
fi
"$top/tests/kernel/attend" "$work" "$top/tests/kernel/boot" "$kernel" "$work" "$work/package" \
    "/usr/bin/python3 -B $top/tests/kernel/guest.py $build" | tee "$work/out"
grep -qx END "$work/out" || echo "FAIL $what: the guest ended before its cases did"
! grep -q '^FAIL' "$work/out"
