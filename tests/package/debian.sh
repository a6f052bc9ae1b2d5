#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The tarball is the same whoever packs it; the Debian package builds from it, lintian has nothing to say, and in a clean
# root (this system's own under an overlay, in a mount namespace) it installs, upgrades, is removed and purged: what
# installed.py does there with a stock pcscd and simulated readers.
set -u
build=$(cd "$1" && pwd)
top=$(cd "$(dirname "$0")/../.." && pwd)
verdict() { # verdict CONDITION NAME [REASON]
    if [ "$1" -eq 0 ]; then echo "PASS $2"; else echo "FAIL $2${3:+: $3}"; fi
}
for tool in dpkg-buildpackage dh lintian appstreamcli; do
    command -v $tool >/dev/null || { echo "SKIP the Debian package: $tool is not installed"; exit 0; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! "$top/tests/package/build-deb" "$build"; then
    echo "FAIL dpkg-buildpackage builds the package from the tarball"
    exit 1
fi
echo "PASS dpkg-buildpackage builds the package from the tarball"
tarball=$(echo "$build"/package/ifd-purse-*.tar.xz)
out=$build/package/out
deb=$(echo "$out"/ifd-purse_*.deb)

# ---- the tarball

# From another place, on another day (in touched files), by somebody with another mask.
(umask 077 && cd "$work" && tar -xf "$tarball" && mkdir again && find ifd-purse-* -name '*.md' -exec touch {} + &&
    cd again && sh ../ifd-purse-*/configure --prefix=/usr --enable-tests=no && LC_ALL=C.UTF-8 TZ=Asia/Tokyo make dist) \
    >"$work/log" 2>&1 || tail -n 20 "$work/log"
cmp "$tarball" "$work"/again/ifd-purse-*.tar.xz
verdict $? "make dist in the unpacked tarball packs the same tarball, byte for byte"

# ---- the package's files

version=$(sed -n 's/^AC_INIT(\[ifd-purse\],\[\(.*\)\])$/\1/p' "$top/configure.ac")
news=$(sed -n 's/^\([0-9][0-9.]*\)\( .*\)*$/\1/p' "$top/NEWS" | head -n 1)
packaged=$(sed -n '1s/^ifd-purse (\(.*\)-[^-]*) .*/\1/p' "$top/debian/changelog")
if grep -q "^$version (not released)" "$top/NEWS"; then
    echo "SKIP configure.ac, NEWS and debian/changelog name the same version: NEWS says that $version is not released"
else
    [ "$version" = "$news" ] && [ "$version" = "$packaged" ]
    verdict $? "configure.ac, NEWS and debian/changelog name the same version" "$version, $news, $packaged"
fi

# Whether the override of the manual pages has a use depends on where the tables of this edition end.
(cd "$out" && lintian --allow-root --display-info ./*.changes) >"$work/log" 2>&1
status=$?
grep -v -e '^N:' -e '^I: ifd-purse: unused-override groff-message' "$work/log" >"$work/lintian"
[ $status -eq 0 ] && [ ! -s "$work/lintian" ]
verdict $? "lintian has nothing to say" "$(tr '\n' ' ' <"$work/lintian")"
dpkg-deb -x "$deb" "$work/x" && dpkg-deb -e "$deb" "$work/x/DEBIAN"
[ "$(cat "$work/x/DEBIAN/conffiles")" = /etc/ifd-purse.conf ] && [ ! -e "$work/x/etc/reader.conf.d" ]
verdict $? "the one conffile is /etc/ifd-purse.conf; reader.conf.d is left alone"
# Everything make install installs is in it, but for what Debian has under another name.
# (installed_dirs: the record of directories is for make uninstall, and another test's, which may run beside this one)
(cd "$build" && make install DESTDIR="$work/i" installed_dirs=:) >"$work/log" 2>&1 || tail -n 20 "$work/log"
missing=$(cd "$work/i" && find . -type f ! -name COPYING ! -name NEWS | while IFS= read -r file; do
    [ -e "$work/x/$file" ] || [ -e "$work/x/$file.gz" ] || echo "$file"
done)
[ -d "$work/i/usr" ] && [ -z "$missing" ]
verdict $? "the package has all that make install installs" "$missing"
appstreamcli validate --no-net --pedantic "$work"/x/usr/share/metainfo/*.xml >"$work/log" 2>&1
verdict $? "appstreamcli finds the metainfo valid" "$(tr '\n' ' ' <"$work/log")"
vendors=$(sed -n 's/^ *for vendor in \(.*\); do$/\1/p' "$work/x/DEBIAN/postinst" | tr ' ' '\n')
[ "$vendors" = "$(sed -n 's/^\([0-9A-F]*\):.*/\1/p' "$top/ifdhandler/readers.list" | tr A-F a-f | sort -u)" ]
verdict $? "the postinst asks udev for readers of the list's vendors" "$vendors"

# ---- install, upgrade, remove, purge

if [ "$(id -u)" -ne 0 ]; then
    echo "SKIP install, upgrade, remove and purge in a clean root: only root can install packages"
    exit 0
fi
# An upgrade: the next version, with another line in its configuration file.
mkdir "$work/next"
cp -a "$work/x/." "$work/next/"
sed -i 's/^Version: .*/&.1/' "$work/next/DEBIAN/control"
echo "# (a line of the next version)" >>"$work/next/etc/ifd-purse.conf"
sed -i '/ifd-purse.conf$/d' "$work/next/DEBIAN/md5sums"
dpkg-deb --root-owner-group -b "$work/next" "$work/next.deb" >"$work/log" 2>&1 || cat "$work/log"

mkdir "$work/root"
export build top work deb
# shellcheck disable=SC2016 # the inner shell's variables
unshare -m -p -f --kill-child --mount-proc sh -ec '
    all=$work/root/all
    { mount -t tmpfs none "$work/root" && mkdir "$work/root/upper" "$work/root/work" "$all" && mount -t overlay -o \
        "lowerdir=/,upperdir=$work/root/upper,workdir=$work/root/work" none "$all"; } 2>"$work/refused" || exit 77
    mount -t tmpfs none "$all/run"
    mount -t tmpfs none "$all/tmp"
    for dir in "$top" "$build" "$work"; do  # they may lie in another file system
        mkdir -p "$all$dir"
        mount --bind "$dir" "$all$dir"
    done
    for dir in proc sys dev; do mount --rbind "/$dir" "$all/$dir"; done
    # (no exec: this shell is process 1 here, and as such buries the daemons that end)
    chroot "$all" /usr/bin/python3 -B "$top/tests/package/installed.py" "$build" "$deb" "$work/next.deb"'
status=$?
case $status in
0 | 1) ;;
77) echo "SKIP install, upgrade, remove and purge in a clean root: no overlay to be had: $(cat "$work/refused")" ;;
*) echo "FAIL install, upgrade, remove and purge in a clean root: status $status" ;;
esac
