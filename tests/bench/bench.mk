## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The benchmark; included by Makefile.am.

# make bench prints one table of figures (doc/BENCHMARK.md holds one); BENCH=quick takes four minutes instead of ten.
bench_programs = tests/bench/null_handler.so tests/bench/client tests/bench/bare tests/bench/vicc
if ENABLE_TESTS
bench_programs += tests/bench/purse-sim-ccid
endif
EXTRA_PROGRAMS = $(bench_programs)
CLEANFILES += $(bench_programs)
EXTRA_DIST += tests/bench/bench.py
BENCH =
tests_bench_null_handler_so_CPPFLAGS = -D_GNU_SOURCE $(PCSCLITE_CFLAGS)
tests_bench_null_handler_so_SOURCES = tests/bench/null_handler.c
tests_bench_null_handler_so_LDFLAGS = $(AM_LDFLAGS) -shared
tests_bench_null_handler_so_LDADD =
tests_bench_client_CPPFLAGS = -D_GNU_SOURCE $(PCSCLITE_CFLAGS)
tests_bench_client_SOURCES = tests/bench/client.c
tests_bench_client_LDADD = $(PCSCLITE_LIBS)
tests_bench_bare_CPPFLAGS = -D_GNU_SOURCE $(LIBUSB_CFLAGS)
tests_bench_bare_SOURCES = tests/bench/bare.c
tests_bench_bare_LDADD = $(LIBUSB_LIBS)
tests_bench_vicc_CPPFLAGS = -D_GNU_SOURCE
tests_bench_vicc_SOURCES = tests/bench/vicc.c
tests_bench_vicc_LDADD =
# The simulator with one reader more, for libccid.
tests_bench_purse_sim_ccid_CPPFLAGS = $(model_cppflags) -DSIM_EXTRA_MODEL=sim_ccid
tests_bench_purse_sim_ccid_SOURCES = tests/sim/sim_main.c tests/sim/sim_models.c tests/bench/ccid_model.c
tests_bench_purse_sim_ccid_LDADD = libsim.a $(UMOCKDEV_LIBS)

bench: all $(bench_programs)
	@test -x tests/sim/purse-sim || { \
	    echo "make bench needs the simulated readers: ./configure --enable-tests says what they are made of"; exit 1; }
	@test -x /usr/bin/python3 || { echo "make bench needs /usr/bin/python3"; exit 1; }
	@/usr/bin/python3 -B $(srcdir)/tests/bench/bench.py . $(BENCH)
.PHONY: bench
