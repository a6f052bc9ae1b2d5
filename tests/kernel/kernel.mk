## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The tests on a real kernel; included by Makefile.am.

# The simulator with other fronts: its readers are devices of the running kernel (which has to have vhci_hcd).
if ENABLE_TESTS
noinst_PROGRAMS += tests/kernel/purse-sim-vhci
tests_kernel_purse_sim_vhci_CPPFLAGS = $(model_cppflags) -I$(top_srcdir)/tests/kernel
tests_kernel_purse_sim_vhci_SOURCES = \
	tests/sim/sim_main.c \
	tests/kernel/front_serial.c \
	tests/kernel/front_vhci.c tests/kernel/front_vhci.h
tests_kernel_purse_sim_vhci_LDADD = libsim.a $(UMOCKDEV_LIBS)
endif
EXTRA_DIST += \
	tests/kernel/attend \
	tests/kernel/bed.py \
	tests/kernel/boot \
	tests/kernel/get-kernel \
	tests/kernel/guest.py \
	tests/kernel/kernel.sh \
	tests/kernel/picture.py
