## SPDX-License-Identifier: LGPL-2.1-or-later
##
## ifd-purse-probe, the tool for the first hour with a reader; included by Makefile.am. It stands beside ifdhandler/:
## it uses the driver's lower layers and nothing uses it.

bin_PROGRAMS = ifd-purse-probe
ifd_purse_probe_CPPFLAGS = $(driver_cppflags) -DPROBE_USBDROPDIR='"$(usbdropdir)"' -DPROBE_VERSION='"$(VERSION)"'
ifd_purse_probe_SOURCES = \
	probe/aet63_begin.c \
	probe/aet63_cards.c \
	probe/aet63_exchanges.c \
	probe/aet63_frames.c \
	probe/aet63_presence.c \
	probe/aet63_rows.h \
	probe/aet63_table.c \
	probe/aet63_wire.c probe/aet63_wire.h \
	probe/ask.c \
	probe/doctor.c probe/doctor.h \
	probe/doctor_conf.c \
	probe/doctor_nodes.c \
	probe/exchange.c probe/exchange.h \
	probe/find.c probe/find.h \
	probe/hostlog.c probe/hostlog.h \
	probe/main.c \
	probe/ports.h \
	probe/probe.h \
	probe/report.c \
	probe/rows.c \
	probe/session.c \
	probe/system.c probe/system.h \
	probe/vivo_contact.c \
	probe/vivo_exchanges.c \
	probe/vivo_field.c \
	probe/vivo_line.c \
	probe/vivo_rows.h \
	probe/vivo_storage.c \
	probe/vivo_table.c \
	probe/vivo_wire.c probe/vivo_wire.h
if WITH_SERIAL
ifd_purse_probe_SOURCES += probe/ports.c
else
ifd_purse_probe_SOURCES += probe/ports_none.c
endif
ifd_purse_probe_LDFLAGS = $(AM_LDFLAGS) $(PIE_LDFLAGS)
ifd_purse_probe_LDADD = libpurse.a $(driver_libs)
