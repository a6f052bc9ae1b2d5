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

# every kind of fault at every byte; ./check takes a sample
matrix: all tests/driver/matrix
	$(SHELL) $(top_srcdir)/tests/driver/matrix.sh $(abs_builddir) all
endif
.PHONY: matrix

# ---- every call failed in turn; hostile input; secrets ---------------------------------------------------------------

if ENABLE_TESTS
nth_rig = tests/driver/nth_rig.c tests/driver/nth_rig.h
# What takes the place of libraries' functions is to be seen by the driver, and is there before a sanitizer is.
nth_ldflags = $(AM_LDFLAGS) -rdynamic
check_LIBRARIES += libnth.a
libnth_a_SOURCES = tests/driver/nth_calls.c tests/driver/nth_calls.h
libnth_a_CFLAGS = -std=gnu11 $(WARN_CFLAGS) $(HARDEN_CFLAGS)
driver_tests += tests/driver/nth_failure
tests_driver_nth_failure_SOURCES = tests/driver/nth_failure.c $(nth_rig)
tests_driver_nth_failure_LDFLAGS = $(nth_ldflags)
tests_driver_nth_failure_LDADD = libnth.a -ldl
check_PROGRAMS += tests/driver/secrets
tests_driver_secrets_SOURCES = tests/driver/secrets.c $(nth_rig)
tests_driver_secrets_LDFLAGS = $(nth_ldflags)
tests_driver_secrets_LDADD = libnth.a -ldl
endif
EXTRA_DIST += tests/driver/secrets.sh

# a simulator with one model more: a reader that turns hostile
if ENABLE_TESTS
check_PROGRAMS += tests/driver/purse-sim-hostile tests/driver/hostile
tests_driver_purse_sim_hostile_CPPFLAGS = $(model_cppflags) -DSIM_EXTRA_MODEL=sim_hostile
tests_driver_purse_sim_hostile_SOURCES = tests/sim/sim_main.c tests/sim/sim_models.c tests/driver/hostile_model.c
tests_driver_purse_sim_hostile_LDADD = libsim.a $(UMOCKDEV_LIBS)
tests_driver_hostile_SOURCES = tests/driver/hostile.c $(nth_rig)
tests_driver_hostile_LDFLAGS = $(nth_ldflags)
tests_driver_hostile_LDADD = -ldl -lpthread
endif
EXTRA_DIST += tests/driver/hostile.sh

# ---- the storm: sixteen slots, all of pcscd's threads, and no pcscd; under sanitizers --------------------------------

EXTRA_DIST += tests/driver/storm.sh
if ENABLE_TESTS
check_PROGRAMS += tests/driver/storm
tests_driver_storm_CPPFLAGS = -D_GNU_SOURCE $(PCSCLITE_CFLAGS)
tests_driver_storm_SOURCES = tests/driver/storm.c tests/driver/storm.h tests/driver/storm_pcscd.c \
	tests/driver/storm_sim.c
tests_driver_storm_LDFLAGS = $(AM_LDFLAGS) -rdynamic
tests_driver_storm_LDADD = -ldl -lpthread
endif

# ---- the long soak under pcscd: tests/e2e/soak.py with ten times what ./check has ------------------------------------

SOAK_APDUS = 200000
soak: all
	@test -x tests/sim/purse-sim || { \
	    echo "make soak needs the simulated readers: ./configure --enable-tests says what they are made of"; exit 1; }
	SOAK_APDUS=$(SOAK_APDUS) $(srcdir)/tests/e2e/soak.sh .
.PHONY: soak
