## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The tests that load the built handler and call IFDH… directly; included by Makefile.am.

# ---- every call failed in turn; hostile input; secrets ----------------------------------------------------------------

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
endif
