## SPDX-License-Identifier: LGPL-2.1-or-later
##
## ifd-purse-probe, the tool for the first hour with a reader; included by Makefile.am. It stands beside ifdhandler/:
## it uses the driver's lower layers and nothing uses it.

bin_PROGRAMS = ifd-purse-probe
ifd_purse_probe_CPPFLAGS = $(driver_cppflags) -DPROBE_USBDROPDIR='"$(usbdropdir)"'
ifd_purse_probe_SOURCES = \
	probe/doctor.c probe/doctor.h \
	probe/doctor_conf.c \
	probe/doctor_nodes.c \
	probe/hostlog.c probe/hostlog.h \
	probe/main.c \
	probe/system.c probe/system.h
ifd_purse_probe_LDFLAGS = $(AM_LDFLAGS) $(PIE_LDFLAGS)
ifd_purse_probe_LDADD = libpurse.a $(driver_libs)
