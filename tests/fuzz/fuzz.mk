## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The fuzzers; included by Makefile.am.

# make fuzz builds every tests/fuzz/fuzz_*.c with clang's libFuzzer and the sanitizers, beside the ordinary objects
# (fuzz/NAME), and runs each for MINUTES, beginning with its corpus (tests/fuzz/corpus/). What one run finds stays in
# fuzz/NAME.corpus for the next. make fuzz-programs builds only; make fuzz-grow takes what was found into the tree.
fuzz_sources = \
	tests/fuzz/fuzz_aet63.c \
	tests/fuzz/fuzz_apdu.c \
	tests/fuzz/fuzz_atr.c \
	tests/fuzz/fuzz_devicename.c \
	tests/fuzz/fuzz_hid.c \
	tests/fuzz/fuzz_iso15693.c \
	tests/fuzz/fuzz_poll.c \
	tests/fuzz/fuzz_pseudo.c \
	tests/fuzz/fuzz_reader.c \
	tests/fuzz/fuzz_settings.c \
	tests/fuzz/fuzz_t1.c \
	tests/fuzz/fuzz_tlv.c \
	tests/fuzz/fuzz_vivopay.c
fuzz_corpora = $(patsubst tests/fuzz/fuzz_%.c,tests/fuzz/corpus/%.hex,$(fuzz_sources))
FUZZ_CFLAGS = -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
MINUTES = 1
fuzz_driver = $(filter %.c,$(libpurse_a_SOURCES)) tests/unit/stub_log.c
fuzz_objects = $(patsubst %.c,fuzz/%.o,$(fuzz_driver))
fuzz_programs = $(patsubst tests/fuzz/%.c,fuzz/%,$(fuzz_sources))
EXTRA_DIST += $(fuzz_sources) $(fuzz_corpora) tests/fuzz/corpus.py tests/fuzz/fuzz.sh

fuzz/%.o: %.c $(BUILT_SOURCES)
	$(AM_V_CC)$(MKDIR_P) $(@D) && $(FUZZ_CC) $(DEFS) $(AM_CPPFLAGS) $(CPPFLAGS) -std=gnu11 -fPIC $(FUZZ_CFLAGS) -MMD -c -o $@ $<

fuzz/libfuzz.a: $(fuzz_objects)
	$(AM_V_AR)rm -f $@ && $(AR) cr $@ $(fuzz_objects)

# The driver on the clock of fuzz_reader.c, in which no wait takes time.
fuzz_clock = poll clock_gettime pthread_cond_timedwait
fuzz/libfuzz-clock.a: fuzz/libfuzz.a
	$(AM_V_GEN)$(OBJCOPY) $(foreach call,$(fuzz_clock),--redefine-sym $(call)=fuzz_$(call)) $< $@

fuzz/fuzz_reader: tests/fuzz/fuzz_reader.c fuzz/libfuzz-clock.a
	$(AM_V_CCLD)$(FUZZ_CC) $(DEFS) $(AM_CPPFLAGS) $(CPPFLAGS) -std=gnu11 $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< \
		fuzz/libfuzz-clock.a $(driver_libs)

fuzz/fuzz_%: tests/fuzz/fuzz_%.c fuzz/libfuzz.a
	$(AM_V_CCLD)$(FUZZ_CC) $(DEFS) $(AM_CPPFLAGS) $(CPPFLAGS) -std=gnu11 $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< \
		fuzz/libfuzz.a $(driver_libs)

fuzz-clang:
	@test "$(FUZZ_CC)" != none || { echo "the fuzzers need clang (Debian: clang libclang-rt-14-dev)"; exit 1; }

fuzz-programs: fuzz-clang $(fuzz_programs)

fuzz: fuzz-programs
	FUZZ_SECONDS=`expr 60 '*' $(MINUTES)` $(SHELL) $(srcdir)/tests/fuzz/fuzz.sh .

fuzz-grow: fuzz-programs
	@for name in $(fuzz_programs); do \
	    $(MKDIR_P) $$name.corpus && \
	    $(srcdir)/tests/fuzz/corpus.py grow $(srcdir)/tests/fuzz/corpus/$${name#fuzz/fuzz_}.hex $$name $$name.corpus || exit 1; \
	done
.PHONY: fuzz fuzz-clang fuzz-grow fuzz-programs
