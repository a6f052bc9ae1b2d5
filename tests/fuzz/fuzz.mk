## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The fuzzers; included by Makefile.am.

# make fuzz builds every tests/fuzz/fuzz_*.c with clang's libFuzzer and the sanitizers, beside the ordinary objects:
# fuzz/NAME. make fuzz-run gives each FUZZ_SECONDS (60).
fuzz_sources = \
	tests/fuzz/fuzz_apdu.c \
	tests/fuzz/fuzz_atr.c \
	tests/fuzz/fuzz_iso15693.c \
	tests/fuzz/fuzz_pseudo.c \
	tests/fuzz/fuzz_settings.c \
	tests/fuzz/fuzz_t1.c \
	tests/fuzz/fuzz_tlv.c
FUZZ_CFLAGS = -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_SECONDS = 60
fuzz_driver = $(filter %.c,$(libpurse_a_SOURCES)) tests/unit/stub_log.c
fuzz_objects = $(patsubst %.c,fuzz/%.o,$(fuzz_driver))
fuzz_programs = $(patsubst tests/fuzz/%.c,fuzz/%,$(fuzz_sources))
EXTRA_DIST += $(fuzz_sources)

fuzz/%.o: %.c $(BUILT_SOURCES)
	$(AM_V_CC)$(MKDIR_P) $(@D) && $(FUZZ_CC) $(DEFS) $(AM_CPPFLAGS) $(CPPFLAGS) -std=gnu11 -fPIC $(FUZZ_CFLAGS) -MMD -c -o $@ $<

fuzz/libfuzz.a: $(fuzz_objects)
	$(AM_V_AR)rm -f $@ && $(AR) cr $@ $(fuzz_objects)

fuzz/fuzz_%: tests/fuzz/fuzz_%.c fuzz/libfuzz.a
	$(AM_V_CCLD)$(FUZZ_CC) $(DEFS) $(AM_CPPFLAGS) $(CPPFLAGS) -std=gnu11 $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< \
		fuzz/libfuzz.a $(driver_libs)

fuzz: $(fuzz_programs)
	@test "$(FUZZ_CC)" != none || { echo "make fuzz needs clang (Debian: clang libclang-rt-14-dev)"; exit 1; }
	@test -n "$(fuzz_programs)" || echo "there are no fuzzers yet"

fuzz-run: fuzz
	@for fuzzer in $(fuzz_programs); do \
	    $(MKDIR_P) $$fuzzer.corpus && echo "$$fuzzer, $(FUZZ_SECONDS) s" && \
	    $$fuzzer -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=$$fuzzer- $$fuzzer.corpus \
		>$$fuzzer.log 2>&1 || { tail -n 40 $$fuzzer.log; exit 1; }; \
	done
.PHONY: fuzz fuzz-run
