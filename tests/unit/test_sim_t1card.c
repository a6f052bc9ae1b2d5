/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The card's end of T=1, against a small host written here from the standard: chaining both ways with every mix of
 * sizes, and then each exchange again with each single block lost or spoilt in turn, in both directions. Whatever is
 * lost, the response must be right and the card must have executed the command exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim_cards.h"
#include "sim_t1card.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- time: one timer of the engine's and one of the card's ------------------------------------------------- */

static struct timer {
    unsigned id, ms;
    sim_timer_fn fn;
    void *arg;
} timers[4];
static unsigned next_id;

unsigned sim_timer_add(unsigned ms, sim_timer_fn fn, void *arg)
{
    for (size_t i = 0; i < LEN(timers); i++)
        if (timers[i].id == 0) {
            timers[i] = (struct timer){.id = ++next_id, .ms = ms, .fn = fn, .arg = arg};
            return next_id;
        }
    fail_msg("too many timers");
    return 0;
}

void sim_timer_cancel(unsigned id)
{
    for (size_t i = 0; i < LEN(timers); i++)
        if (timers[i].id == id)
            timers[i].id = 0;
}

/* Runs the timer that is due next; false if none is set. */
static bool next_timer(void)
{
    struct timer *t = NULL;

    for (size_t i = 0; i < LEN(timers); i++)
        if (timers[i].id != 0 && (t == NULL || timers[i].ms < t->ms))
            t = &timers[i];
    if (t == NULL)
        return false;
    struct timer due = *t;
    t->id = 0;
    for (size_t i = 0; i < LEN(timers); i++)
        timers[i].ms -= timers[i].id != 0 ? due.ms : 0;
    due.fn(due.arg);
    return true;
}

void sim_lock(void)
{
}

void sim_unlock(void)
{
}

/* ---- the card behind, and what it sends ------------------------------------------------------------------- */

static const struct sim_card_ops *ops;
static struct sim_card *card;
static struct sim_t1card *t1;
static enum sim_t1_edc edc;
static uint8_t rapdu[SIM_RAPDU_MAX];
static size_t rapdu_n;
static unsigned card_timer, cancelled;
static uint8_t got[SIM_T1_BLOCK_MAX + 8];
static size_t got_n;

static void card_ready(void *arg)
{
    (void)arg;
    card_timer = 0;
    sim_t1card_answer(t1, rapdu, rapdu_n);
}

static void execute(void *arg, const uint8_t *apdu, size_t n)
{
    unsigned delay = 0;

    (void)arg;
    rapdu_n = ops->execute(card, apdu, n, rapdu, &delay);
    if (delay == 0)
        sim_t1card_answer(t1, rapdu, rapdu_n);
    else
        card_timer = sim_timer_add(delay, card_ready, NULL);
}

static void cancel(void *arg)
{
    (void)arg;
    cancelled++;
    if (card_timer != 0)
        sim_timer_cancel(card_timer);
    card_timer = 0;
}

static void from_card(void *arg, const uint8_t *block, size_t n)
{
    (void)arg;
    assert_int_equal(got_n, 0); /* one block for one block */
    assert_true(n <= sizeof got);
    memcpy(got, block, n);
    got_n = n;
}

static void start(const char *name, const char *options, unsigned ifsc, enum sim_t1_edc kind)
{
    static const struct sim_t1card_calls calls = {.execute = execute, .cancel = cancel, .send = from_card};

    memset(timers, 0, sizeof timers);
    ops = sim_card_find(name);
    card = ops->create(options);
    assert_non_null(card);
    t1 = sim_t1card_new(&calls, NULL);
    assert_non_null(t1);
    edc = kind;
    cancelled = card_timer = 0;
    sim_t1card_start(t1, ifsc, kind, 100);
}

static int stop(void **state)
{
    (void)state;
    if (t1 != NULL) {
        sim_t1card_free(t1);
        ops->destroy(card);
    }
    t1 = NULL;
    for (size_t i = 0; i < LEN(timers); i++)
        assert_true(timers[i].id == 0 || timers[i].id == card_timer);
    return 0;
}

/* ---- the host --------------------------------------------------------------------------------------------- */

static uint8_t host_ns, host_nr;

/* Sends a block; true if the card answered, at once or after the time it takes. */
static bool exchange(uint8_t pcb, const uint8_t *inf, size_t n)
{
    uint8_t b[SIM_T1_BLOCK_MAX] = {0x00, pcb, (uint8_t)n};

    if (n > 0)
        memcpy(b + 3, inf, n);
    n += 3;
    n += sim_t1_edc(edc, b, n, b + n);
    got_n = 0;
    sim_t1card_block(t1, b, n);
    while (got_n == 0 && next_timer())
        ;
    return got_n > 0;
}

static bool valid(void)
{
    uint8_t want[2];
    size_t k = edc == SIM_T1_LRC ? 1 : 2;

    if (got_n < 3 + k || got_n != 3 + (size_t)got[2] + k || got[0] != 0x00)
        return false;
    (void)sim_t1_edc(edc, got, got_n - k, want);
    return memcmp(want, got + got_n - k, k) == 0;
}

/* Exchanges and, for a lost or broken answer, asks again by R-blocks. False if nothing helps. */
static bool exchange_safely(uint8_t pcb, const uint8_t *inf, size_t n)
{
    bool s_request = (pcb & 0xE0) == 0xC0;

    if (exchange(pcb, inf, n) && valid())
        return true;
    for (int tries = 0; tries < 4; tries++) {
        if (s_request ? exchange(pcb, inf, n) : exchange((uint8_t)(0x80 | host_nr << 4), NULL, 0))
            if (valid())
                return true;
    }
    return false;
}

/* Answers S(WTX request)s until something else comes. */
static bool grant_time(void)
{
    while (got_n >= 4 && got[1] == 0xC3) {
        uint8_t multiplier = got[3];
        if (!exchange_safely(0xE3, &multiplier, 1))
            return false;
    }
    return true;
}

/* Sends a command in blocks of at most ifsc, each until the card says it has it. The first I-block of the response is
 * in got[] then. */
static bool send_command(const uint8_t *apdu, size_t n, size_t ifsc)
{
    size_t at = 0;

    for (unsigned rounds = 0; rounds < 5000; rounds++) {
        size_t k = n - at < ifsc ? n - at : ifsc;
        bool more = at + k < n;
        if (!exchange_safely((uint8_t)(host_ns << 6 | (more ? 0x20 : 0)), apdu + at, k) || !grant_time())
            return false;
        if ((got[1] & 0x80) == 0) { /* the response begins: all was taken */
            host_ns ^= 1;
            return !more;
        }
        if ((got[1] & 0xC0) != 0x80)
            return false;
        if ((got[1] >> 4 & 1) == host_ns)
            continue; /* the card asks for this block again, so it does not have it */
        if (!more)
            return false;
        host_ns ^= 1;
        at += k;
    }
    return false;
}

/* A whole APDU. Returns the response's length, 0 if it failed. */
static size_t transmit(const uint8_t *apdu, size_t n, size_t ifsc, uint8_t *out)
{
    size_t k = edc == SIM_T1_LRC ? 1 : 2, out_n = 0;

    if (!send_command(apdu, n, ifsc))
        return 0;
    for (;;) {
        if ((got[1] & 0x80) != 0 || (got[1] >> 6 & 1) != host_nr || out_n + got[2] > SIM_RAPDU_MAX)
            return 0;
        bool more = (got[1] & 0x20) != 0;
        memcpy(out + out_n, got + 3, got_n - 3 - k);
        out_n += got_n - 3 - k;
        host_nr ^= 1;
        if (!more)
            return out_n;
        for (int tries = 0; tries == 0 || (got[1] & 0xC0) == 0x80; tries++) /* an R-block says that ours came spoilt */
            if (tries == 4 || !exchange_safely((uint8_t)(0x80 | host_nr << 4), NULL, 0))
                return 0;
    }
}

static void set_ifsd(uint8_t ifsd)
{
    assert_true(exchange_safely(0xC1, &ifsd, 1));
    assert_int_equal(got[1], 0xE1);
    assert_int_equal(got[3], ifsd);
}

static void fresh_host(void)
{
    host_ns = host_nr = 0;
}

static void arm(enum sim_t1_fault_kind kind, bool exec, unsigned skip)
{
    struct sim_t1_fault f = {.kind = kind, .exec = exec, .skip = skip, .times = 1, .value = 0x15, .n = 1};
    assert_true(sim_t1card_fault(t1, &f));
}

/* The host's block, in hex without EDC, and the card's answer (NULL: silence), LRC only. */
static void block(const char *in, const char *out)
{
    uint8_t b[64], want[64];
    long n = sim_hex(in, b, sizeof b - 1), k = out == NULL ? 0 : sim_hex(out, want, sizeof want - 1);

    assert_true(n >= 3 && k >= 0);
    b[n] = sim_xor(b, (size_t)n);
    got_n = 0;
    sim_t1card_block(t1, b, (size_t)n + 1);
    if (out == NULL) {
        assert_int_equal(got_n, 0);
        return;
    }
    want[k] = sim_xor(want, (size_t)k);
    assert_int_equal(got_n, (size_t)k + 1);
    assert_memory_equal(got, want, (size_t)k + 1);
}

/* ---- tests ------------------------------------------------------------------------------------------------ */

/* The published check values of both CRCs, and an LRC from the AET63 vectors. */
static void edc_values(void **state)
{
    static const uint8_t digits[] = "123456789", ifs[] = {0x00, 0xC1, 0x01, 0xFE};
    uint8_t out[2];

    (void)state;
    assert_int_equal(sim_t1_edc(SIM_T1_CRC, digits, 9, out), 2);
    assert_memory_equal(out, "\x6E\x90", 2);
    assert_int_equal(sim_t1_edc(SIM_T1_CRC_PLAIN, digits, 9, out), 2);
    assert_memory_equal(out, "\x6F\x91", 2);
    assert_int_equal(sim_t1_edc(SIM_T1_LRC, ifs, 4, out), 1);
    assert_int_equal(out[0], 0x3E);
}

/* 00 E0 with nc bytes of data, extended when needed, asking for everything back. */
static size_t echo_command(uint8_t *apdu, size_t nc)
{
    size_t n = 0;
    bool extended = nc > 255;

    apdu[n++] = 0x00;
    apdu[n++] = 0xE0;
    apdu[n++] = 0x00;
    apdu[n++] = 0x00;
    if (extended) {
        apdu[n++] = 0x00;
        apdu[n++] = (uint8_t)(nc >> 8);
    }
    apdu[n++] = (uint8_t)nc;
    for (size_t i = 0; i < nc; i++)
        apdu[n++] = (uint8_t)(i * 7 + 1);
    apdu[n++] = 0x00;
    if (extended)
        apdu[n++] = 0x00;
    return n;
}

static void chaining_both_ways(void **state)
{
    static const size_t sizes[] = {1, 26, 27, 30, 31, 32, 33, 247, 248, 249, 252, 253, 254, 255, 256, 1000, 65535};
    static const unsigned frames[] = {1, 32, 254};
    static uint8_t apdu[SIM_T1_APDU_MAX], out[SIM_RAPDU_MAX];

    (void)state;
    for (int kind = SIM_T1_LRC; kind <= SIM_T1_CRC_PLAIN; kind++)
        for (size_t f = 0; f < LEN(frames); f++)
            for (size_t s = 0; s < LEN(sizes); s++) {
                if (frames[f] == 1 && sizes[s] > 300)
                    continue;
                start("echo-t1", "", frames[f], (enum sim_t1_edc)kind);
                fresh_host();
                set_ifsd((uint8_t)frames[f]);
                size_t n = echo_command(apdu, sizes[s]);
                size_t r = transmit(apdu, n, frames[f], out);
                assert_int_equal(r, sizes[s] + 2);
                assert_memory_equal(out, apdu + (sizes[s] > 255 ? 7 : 5), sizes[s]);
                assert_memory_equal(out + sizes[s], "\x90\x00", 2);
                assert_int_equal(ops->executions(card), 1);
                assert_int_equal(sim_t1card_counts(t1)->bad, 0);
                stop(NULL);
            }
}

/* One count-up with 40 bytes of padding in the command (two blocks) and an answer that fits one; then an echo of 80
 * bytes: chains both ways. Returns how many blocks the card received. */
static unsigned long session(void)
{
    static uint8_t apdu[SIM_T1_APDU_MAX], out[SIM_RAPDU_MAX];
    uint8_t count[46] = {0x00, 0xEA, 0x00, 0x00, 40};

    fresh_host();
    for (uint8_t i = 1; i <= 2; i++) {
        assert_int_equal(transmit(count, sizeof count, 32, out), 6);
        assert_int_equal(out[3], i); /* executed once: the counter says so */
    }
    size_t n = echo_command(apdu, 80);
    assert_int_equal(transmit(apdu, n, 32, out), 82);
    assert_memory_equal(out, apdu + 5, 80);
    assert_int_equal(ops->executions(card), 3);
    assert_int_equal(sim_t1card_counts(t1)->apdus, 3);
    return sim_t1card_counts(t1)->blocks;
}

static void every_single_block_lost_or_spoilt(void **state)
{
    static const struct {
        enum sim_t1_fault_kind kind;
        bool exec;
    } faults[] = {
        {SIM_T1_MUTE, false}, {SIM_T1_MUTE, true}, {SIM_T1_EDC, false},
        {SIM_T1_EDC, true},   {SIM_T1_NAD, true},  {SIM_T1_LEN, true},
    };

    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    unsigned long blocks = session();
    stop(NULL);
    assert_int_equal(blocks, 9); /* 2, 2, and 3 with two R-blocks for the rest of the response */
    for (size_t f = 0; f < LEN(faults); f++)
        for (unsigned k = 0; k < blocks; k++) {
            start("echo-t1", "", 32, SIM_T1_LRC);
            arm(faults[f].kind, faults[f].exec, k);
            assert_true(session() > blocks); /* it took at least one block more */
            assert_int_equal(sim_t1card_armed(t1), 0);
            assert_int_equal(sim_t1card_counts(t1)->repeated, 0);
            stop(NULL);
        }
}

/* A host that repeats an I-block unasked gets an R-block, and nothing is executed. */
static void repeated_i_block_is_not_executed(void **state)
{
    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    block("00 00 05 00 EA 00 00 04", "00 00 06 00 00 00 01 90 00");
    block("00 00 05 00 EA 00 00 04", "00 92 00");
    block("00 00 05 00 EA 00 00 04", "00 92 00");
    block("00 80 00", "00 00 06 00 00 00 01 90 00"); /* the answer itself can be had as often as wanted */
    block("00 80 00", "00 00 06 00 00 00 01 90 00");
    block("00 40 05 00 EA 00 00 04", "00 40 06 00 00 00 02 90 00");
    block("00 80 00", "00 80 00"); /* nothing more to send: R with the number expected */
    assert_int_equal(ops->executions(card), 2);
    assert_int_equal(sim_t1card_counts(t1)->repeated, 2);
}

static void blocks_that_are_not_valid(void **state)
{
    static const uint8_t bad_lrc[] = {0x00, 0xC1, 0x01, 0xFE, 0x3F}, cut[] = {0x00, 0xC1, 0x01};

    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    got_n = 0;
    sim_t1card_block(t1, bad_lrc, sizeof bad_lrc);
    assert_memory_equal(got, "\x00\x81\x00\x81", 4);
    got_n = 0;
    sim_t1card_block(t1, cut, sizeof cut);
    assert_memory_equal(got, "\x00\x82\x00\x82", 4);
    block("12 C1 01 FE", "00 82 00");    /* NAD */
    block("00 C1 02 FE", "00 82 00");    /* LEN */
    block("00 C1 01 FF", "00 82 00");    /* IFS out of range */
    block("00 C4 00", "00 82 00");       /* no such S-block */
    block("00 E3 01 01", "00 82 00");    /* time that was not asked for */
    block("00 1F 02 00 A4", "00 82 00"); /* bits of an I-block that are reserved */
    block("00 00 21 00 E0 00 00 1B 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 15 16 17 18 19 1A 00",
          "00 82 00"); /* 33 bytes with IFSC 32 */
    assert_int_equal(ops->executions(card), 0);
    assert_int_equal(sim_t1card_counts(t1)->too_long, 1);
    block("00 00 05 00 EA 00 00 04", "00 00 06 00 00 00 01 90 00");
}

static void ifsd_is_obeyed(void **state)
{
    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    block("00 C1 01 04", "00 E1 01 04");
    block("00 00 05 00 EA 00 00 04", "00 20 04 00 00 00 01");
    block("00 90 00", "00 40 02 90 00");
    arm(SIM_T1_NOIFS, true, 0);
    block("00 C1 01 FE", "00 92 00");
    block("00 40 05 00 EC 00 00 04", "00 20 04 00 00 00 01"); /* as before */
    block("00 90 00", "00 40 02 90 00");
}

static void time_extension(void **state)
{
    struct sim_t1_fault wtx = {.kind = SIM_T1_WTX, .value = 9, .n = 2, .times = 1};

    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    block("00 00 04 00 E8 00 C8", NULL); /* 200 ms, BWT is 100 */
    assert_true(next_timer());
    assert_memory_equal(got, "\x00\xC3\x01\x01\xC3", 5); /* at 75 */
    block("00 80 00", "00 C3 01 01");                    /* asked again: the same again */
    block("00 E3 01 02", "00 92 00");                    /* another multiplier than asked for */
    block("00 E3 01 01", NULL);
    assert_true(next_timer());
    assert_memory_equal(got, "\x00\xC3\x01\x01\xC3", 5); /* at 150 */
    block("00 E3 01 01", NULL);
    assert_true(next_timer());
    assert_memory_equal(got, "\x00\x00\x02\x90\x00\x92", 6); /* at 200 */
    assert_int_equal(sim_t1card_counts(t1)->wtx, 2);
    assert_true(sim_t1card_fault(t1, &wtx));
    block("00 40 05 00 EA 00 00 04", "00 C3 01 09");
    block("00 E3 01 09", "00 C3 01 09");
    block("00 E3 01 09", "00 40 06 00 00 00 01 90 00");
    wtx.n = 0;
    assert_true(sim_t1card_fault(t1, &wtx));
    block("00 00 05 00 EA 00 00 04", "00 C3 01 09");
    for (int i = 0; i < 100; i++)
        block("00 E3 01 09", "00 C3 01 09");
    block("00 C0 00", "00 E0 00");
    assert_int_equal(ops->executions(card), 3);
}

static void resynch_starts_anew_and_executes_nothing(void **state)
{
    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    block("00 C1 01 FE", "00 E1 01 FE");
    block("00 00 05 00 EA 00 00 04", "00 00 06 00 00 00 01 90 00");
    block("00 60 02 00 EA", "00 80 00"); /* the first half of a command */
    block("00 C0 00", "00 E0 00");
    block("00 00 05 00 E2 00 28 00",
          "00 20 20 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 15 16 17 18 19 1A 1B 1C 1D 1E 1F");
    block("00 C0 00", "00 E0 00"); /* in the middle of the response */
    block("00 90 00", "00 80 00");
    block("00 00 04 00 E8 10 00", NULL);
    assert_true(next_timer());
    assert_int_equal(got[1], 0xC3);
    block("00 C0 00", "00 E0 00"); /* while the card computes */
    assert_int_equal(cancelled, 1);
    assert_false(next_timer());
    arm(SIM_T1_NORESYNCH, true, 0);
    block("00 C0 00", NULL);
    block("00 00 05 00 EC 00 00 04", "00 00 06 00 00 00 01 90 00");
    assert_int_equal(sim_t1card_counts(t1)->resynch, 3);
}

static void aborts(void **state)
{
    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    arm(SIM_T1_ABORT, false, 0);
    block("00 00 05 00 EA 00 00 04", "00 C2 00");
    block("00 90 00", "00 C2 00");
    block("00 E2 00", "00 90 00");
    arm(SIM_T1_ABORT, true, 0);
    block("00 40 05 00 EA 00 00 04", "00 C2 00");
    block("00 E2 00", "00 80 00");
    block("00 00 05 00 EA 00 00 04", "00 00 06 00 00 00 02 90 00"); /* the second one was executed, the first not */
    arm(SIM_T1_CHAIN, true, 0);
    block("00 40 05 00 EC 00 00 04",
          "00 60 20 EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE EE");
    for (int i = 0; i < 50; i++) {
        assert_true(exchange(i % 2 == 0 ? 0x80 : 0x90, NULL, 0));
        assert_int_equal(got[1], i % 2 == 0 ? 0x20 : 0x60);
    }
    block("00 C2 00", "00 E2 00"); /* the host has enough */
    block("00 00 05 00 EC 00 00 04", "00 00 06 00 00 00 02 90 00");
}

static void other_faults(void **state)
{
    struct sim_t1_fault loop = {.kind = SIM_T1_RLOOP, .times = 3};

    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    arm(SIM_T1_NR, true, 0);
    block("00 20 02 00 EA", "00 80 00"); /* R-block with the wrong number: should be 90 */
    block("00 40 03 00 00 04", "00 00 06 00 00 00 01 90 00");
    arm(SIM_T1_NR, true, 0);
    block("00 00 05 00 EC 00 00 04", "00 00 06 00 00 00 01 90 00"); /* N(S) should be 1 */
    block("00 90 00", "00 40 06 00 00 00 01 90 00");
    arm(SIM_T1_DUP, true, 0);
    block("00 40 05 00 EA 00 00 04", "00 40 06 00 00 00 01 90 00"); /* the block before */
    block("00 80 00", "00 00 06 00 00 00 02 90 00");
    assert_true(sim_t1card_fault(t1, &loop));
    block("00 00 05 00 EA 00 00 04", "00 82 00");
    block("00 90 00", "00 82 00");
    block("00 00 05 00 EA 00 00 04", "00 82 00");
    block("00 00 05 00 EA 00 00 04", "00 40 06 00 00 00 03 90 00");
    assert_int_equal(ops->executions(card), 4);
    for (int i = 0; i < 16; i++)
        arm(SIM_T1_MUTE, true, 0);
    assert_false(sim_t1card_fault(t1, &loop)); /* no more room */
}

static void silent_card_until_reset(void **state)
{
    (void)state;
    start("echo-t1", "", 32, SIM_T1_LRC);
    block("00 00 04 00 F0 00 00", NULL);
    block("00 80 00", NULL);
    block("00 C0 00", NULL);
    assert_false(next_timer());
    sim_t1card_start(t1, 32, SIM_T1_LRC, 100);
    block("00 C0 00", "00 E0 00");
    sim_t1card_stop(t1);
    block("00 C0 00", NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, stop)
    const struct CMUnitTest tests[] = {
        T(edc_values),
        T(chaining_both_ways),
        T(every_single_block_lost_or_spoilt),
        T(repeated_i_block_is_not_executed),
        T(blocks_that_are_not_valid),
        T(ifsd_is_obeyed),
        T(time_extension),
        T(resynch_starts_anew_and_executes_nothing),
        T(aborts),
        T(other_faults),
        T(silent_card_until_reset),
    };

    return cmocka_run_group_tests_name("card end of T=1", tests, NULL, NULL);
}
