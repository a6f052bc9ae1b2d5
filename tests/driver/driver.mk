## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The tests that load the built handler and call IFDH… directly; included by Makefile.am.

# ---- the fault matrix: the built handler, called as pcscd calls it, under the simulated readers

EXTRA_DIST += tests/driver/matrix.sh
if ENABLE_TESTS
check_PROGRAMS += tests/driver/matrix
tests_driver_matrix_CPPFLAGS = -D_GNU_SOURCE $(PCSCLITE_CFLAGS)
tests_driver_matrix_SOURCES = tests/driver/matrix.c tests/driver/matrix.h tests/driver/matrix_bed.c \
	tests/driver/matrix_sessions.c
# the handler finds pcscd's log in the program that loads it
tests_driver_matrix_LDFLAGS = $(AM_LDFLAGS) -rdynamic
tests_driver_matrix_LDADD = -ldl -lpthread
endif
