## SPDX-License-Identifier: LGPL-2.1-or-later
##
## What the Debian package and AppStream need; included by Makefile.am.

# AppStream: which hardware the driver is for.
metainfodir = $(datadir)/metainfo
nodist_metainfo_DATA = metainfo/org.ifd_purse.driver.metainfo.xml
metainfo/org.ifd_purse.driver.metainfo.xml: metainfo/org.ifd_purse.driver.metainfo.xml.in $(readers_deps)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
		$(make_readers) template $(srcdir)/metainfo/org.ifd_purse.driver.metainfo.xml.in >$@.tmp && mv $@.tmp $@
EXTRA_DIST += metainfo/org.ifd_purse.driver.metainfo.xml.in
CLEANFILES += metainfo/org.ifd_purse.driver.metainfo.xml

# dpkg-buildpackage works in the unpacked tarball as well as in a clone (after autogen.sh).
EXTRA_DIST += \
	debian/changelog \
	debian/control \
	debian/copyright \
	debian/ifd-purse.lintian-overrides \
	debian/ifd-purse.postinst \
	debian/ifd-purse.postrm \
	debian/rules \
	debian/source/format \
	tests/package/build-deb \
	tests/package/debian.sh \
	tests/package/installed.py

# ./check cannot be in EXTRA_DIST: it has the name of a target, and make dist would run all unit tests.
dist-hook:
	cp -p "$(srcdir)/check" "$(distdir)/check"

# The same tree makes the same tarball, byte for byte, whoever packs it and when: in the order of names, with no owner,
# and with the date of SOURCE_DATE_EPOCH; without it, of the last commit, which is what an unpacked tarball's files have.
am__tar = epoch=$${SOURCE_DATE_EPOCH:-`{ test -e "$(srcdir)/.git" && git -C "$(srcdir)" log -1 --format=%ct; } \
	2>/dev/null || stat -c %Y "$(srcdir)/configure.ac"`}; LC_ALL=C tar --format=ustar --sort=name --owner=0 --group=0 \
	--numeric-owner --mode=u+rw,go=rX --mtime=@$$epoch -chf - "$$tardir"
