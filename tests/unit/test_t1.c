/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The T=1 engine against two cards of the test's own, which share no code with it (not even the checksums).
 *
 * The scripted card knows, step by step, the block it must get and what it says to that; the scenarios are those of the
 * annex of ISO/IEC 7816-3 and every case that could go on for ever. Blocks are written as in the standard:
 *
 *     I0 00A4      I-block, N(S) = 0                 R1     R-block, N(R) = 1
 *     I1+ 0102     with the M bit                    R1.2   the same with error code 2
 *     IFS? FE      S(IFS request)  IFS! FE response; likewise WTX, ABT (ABORT) and RES (RESYNCH)
 *
 * and the card may also say:
 *
 *     *I0 9000     the block with a broken EDC       -      nothing (R_TIMEOUT)
 *     =00E0        these very bytes                  ~      a broken answer (R_COMM)
 *     late         nothing until the deadline        empty  no byte (R_SUCCESS)
 *     #2I0 9000    the block with an EDC of form 2 of enum edc (in either column)
 *     gone         R_GONE                            huge   more bytes than there is room for
 *
 * The honest card keeps the rules of the standard and executes commands; a seeded line between the two loses, breaks
 * and cuts blocks. It shows that nothing is executed twice, whatever gets lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "card/apdu.h"
#include "card/t1.h"
#include "unhex.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

enum edc { EDC_LRC, EDC_ISO, EDC_PLAIN_HIGH_FIRST, EDC_ISO_HIGH_FIRST, EDC_PLAIN, EDC_COUNT };

/* ---- blocks, as the test computes them -------------------------------------------------------------------- */

static unsigned crc_13239(const uint8_t *p, size_t n)
{
    unsigned reg = 0xFFFF, bit;

    for (size_t i = 0; i < n; i++)
        for (bit = 0; bit < 8; bit++) {
            unsigned out = (reg ^ (unsigned)p[i] >> bit) & 1;

            reg = reg >> 1 ^ (out ? 0x8408u : 0);
        }
    return reg ^ 0xFFFF;
}

static size_t edc_size(enum edc edc)
{
    return edc == EDC_LRC ? 1 : 2;
}

/* Writes the EDC of the n bytes at p behind them. */
static void put_edc(enum edc edc, uint8_t *p, size_t n)
{
    unsigned crc = crc_13239(p, n);

    if (edc == EDC_LRC) {
        p[n] = 0;
        for (size_t i = 0; i < n; i++)
            p[n] ^= p[i];
        return;
    }
    if (edc == EDC_PLAIN || edc == EDC_PLAIN_HIGH_FIRST)
        crc ^= 0xFFFF;
    if (edc == EDC_PLAIN_HIGH_FIRST || edc == EDC_ISO_HIGH_FIRST)
        crc = (crc & 0xFF) << 8 | crc >> 8;
    p[n] = (uint8_t)(crc & 0xFF);
    p[n + 1] = (uint8_t)(crc >> 8);
}

static size_t make_block(enum edc edc, unsigned pcb, const uint8_t *inf, size_t n, uint8_t *out)
{
    out[0] = 0;
    out[1] = (uint8_t)pcb;
    out[2] = (uint8_t)n;
    if (n > 0)
        memmove(out + 3, inf, n);
    put_edc(edc, out, 3 + n);
    return 3 + n + edc_size(edc);
}

/* The PCB of a block in the notation above; *rest is where its INF begins. */
static unsigned pcb_of(const char *text, const char **rest)
{
    static const char *const s_names[] = {"RES", "IFS", "ABT", "WTX"};
    unsigned pcb, i;

    if (text[0] == 'I' && text[1] != 'F') {
        pcb = (text[1] == '1' ? 0x40u : 0) | (text[2] == '+' ? 0x20u : 0);
        *rest = text + (text[2] == '+' ? 3 : 2);
        return pcb;
    }
    if (text[0] == 'R' && text[1] != 'E') {
        pcb = 0x80 | (text[1] == '1' ? 0x10u : 0) | (text[2] == '.' ? (unsigned)(text[3] - '0') : 0);
        *rest = text + (text[2] == '.' ? 4 : 2);
        return pcb;
    }
    for (i = 0; i < LEN(s_names); i++)
        if (strncmp(text, s_names[i], 3) == 0) {
            *rest = text + 4;
            return (text[3] == '!' ? 0xE0 : 0xC0) | i;
        }
    fail_msg("bad block in a script: %s", text);
    return 0;
}

static size_t parse_block(enum edc edc, const char *text, uint8_t *out)
{
    uint8_t inf[300];
    const char *rest = "";
    unsigned pcb;

    if (text[0] == '=')
        return unhex(text + 1, out);
    if (text[0] == '#') {
        edc = (enum edc)(text[1] - '0');
        text += 2;
    }
    pcb = pcb_of(text, &rest);
    return make_block(edc, pcb, inf, unhex(rest, inf), out);
}

/* ---- the scripted card ------------------------------------------------------------------------------------ */

struct step {
    const char *expect, *answer;
    unsigned wtx; /* the multiplier that the exchange must be given; 0 means 1 */
};

struct script {
    const struct step *steps;
    size_t count, at;
    enum edc edc;     /* the form that both speak where a step names none */
    deadline_t until; /* as last given */
};

static bool is_no_block(const char *answer)
{
    static const char *const names[] = {"-", "~", "gone", "empty", "huge", "late"};

    for (size_t i = 0; i < LEN(names); i++)
        if (strcmp(answer, names[i]) == 0)
            return true;
    return false;
}

static enum result no_block(const char *answer, size_t cap, size_t *got, deadline_t until)
{
    struct timespec end = deadline_timespec(until);

    switch (answer[0]) {
    case '-':
        return R_TIMEOUT;
    case '~':
        return R_COMM;
    case 'g':
        return R_GONE;
    case 'h':
        *got = cap + 1;
        return R_SUCCESS;
    case 'l':
        while (!deadline_passed(until))
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
        return R_TIMEOUT;
    default:
        return R_SUCCESS;
    }
}

static enum result script_exchange(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap, size_t *got,
                                   unsigned wtx, deadline_t until)
{
    struct script *s = arg;
    uint8_t want[300], say[300];
    const struct step *step;
    size_t len;

    if (s->at == s->count)
        fail_msg("a block of PCB %02X too many after %zu steps", block[1], s->at);
    step = &s->steps[s->at++];
    len = parse_block(s->edc, step->expect, want);
    if (len != n || memcmp(want, block, n) != 0)
        fail_msg("step %zu: want %s, got PCB %02X LEN %02X of %zu bytes, EDC byte %02X", s->at, step->expect, block[1],
                 block[2], n, block[n - 1]);
    if (wtx != (step->wtx != 0 ? step->wtx : 1))
        fail_msg("step %zu (%s): multiplier %u", s->at, step->expect, wtx);
    s->until = until;
    *got = 0;
    if (is_no_block(step->answer))
        return no_block(step->answer, cap, got, until);
    len = parse_block(s->edc, step->answer + (step->answer[0] == '*'), say);
    if (step->answer[0] == '*')
        say[len - 1] ^= 0x01;
    assert_true(len <= cap);
    memcpy(answer, say, len);
    *got = len;
    return R_SUCCESS;
}

/* A card after its reset with S(IFS) behind it (or not), and an IFSC of 8 so that short commands are chained. */
struct bench {
    struct t1 t;
    struct script s;
    uint8_t response[64];
    size_t len, cap;
    deadline_t until;
};

static void bench_reset(struct bench *b, enum edc edc)
{
    struct atr_info atr = {.t1_ifsc = 8, .t1_crc = edc != EDC_LRC};

    b->s = (struct script){.edc = edc};
    t1_reset(&b->t, &atr, script_exchange, &b->s);
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.cap = sizeof b->response, .until = DEADLINE_NEVER};
    bench_reset(b, EDC_LRC);
    b->t.ifsd_done = true;
}

/* One APDU through the steps, all of which must be taken. */
static enum result play(struct bench *b, const char *apdu, const struct step *steps, size_t count)
{
    uint8_t command[300], *exact;
    size_t n = unhex(apdu, command);
    enum result r;

    exact = malloc(n > 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, command, n);
    b->s.steps = steps;
    b->s.count = count;
    b->s.at = 0;
    memset(b->response, 0xEE, sizeof b->response);
    b->len = 99;
    r = t1_transmit(&b->t, exact, n, b->response, b->cap, &b->len, b->until);
    free(exact);
    if (b->s.at != count)
        fail_msg("only %zu of %zu steps were taken, result %d", b->s.at, count, (int)r);
    for (size_t i = b->cap; i < sizeof b->response; i++)
        assert_int_equal(b->response[i], 0xEE);
    if (r != R_SUCCESS)
        assert_int_equal(b->len, 0);
    return r;
}

static void assert_response(const struct bench *b, const char *hex)
{
    uint8_t want[64];

    assert_int_equal(b->len, unhex(hex, want));
    assert_memory_equal(b->response, want, b->len);
}

#define PLAY(b, apdu, ...)                                                                                             \
    play((b), (apdu), (const struct step[]){__VA_ARGS__}, LEN(((const struct step[]){__VA_ARGS__})))

/* Nothing may be sent. */
static enum result play_nothing(struct bench *b, const char *apdu)
{
    return play(b, apdu, NULL, 0);
}

/* The card works as after a reset or resynchronisation: sequence numbers 0 and S(IFS) first. */
static void assert_fresh(struct bench *b)
{
    assert_int_equal(PLAY(b, "00B0", {"IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 019000", 0}), R_SUCCESS);
    assert_response(b, "019000");
}

/* ---- scenarios of the standard ---------------------------------------------------------------------------- */

static void sequence_numbers_alternate(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A40000", {"I0 00A40000", "I0 9000", 0}), R_SUCCESS);
    assert_response(&b, "9000");
    assert_int_equal(PLAY(&b, "00B00000", {"I1 00B00000", "I1 6A82", 0}), R_SUCCESS);
    assert_response(&b, "6A82");
    assert_int_equal(PLAY(&b, "00C00000", {"I0 00C00000", "I0 9000", 0}), R_SUCCESS);
}

static void wtx_is_answered_and_passed_on(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(
        PLAY(&b, "00A4", {"I0 00A4", "WTX? 05", 0}, {"WTX! 05", "WTX? FF", 5}, {"WTX! FF", "I0 9000", 255}), R_SUCCESS);
    assert_response(&b, "9000");
    /* the multiplier holds for one wait only */
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "WTX? 07", 0}, {"WTX! 07", "I1+ 01", 7}, {"R0", "I0 9000", 0}),
                     R_SUCCESS);
}

static void card_changes_ifsc(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "0102030405060708090A", {"I0+ 0102030405060708", "IFS? 02", 0}, {"IFS! 02", "R1", 0},
                          {"I1 090A", "IFS? FE", 0}, {"IFS! FE", "I0 9000", 0}),
                     R_SUCCESS);
    assert_int_equal(b.t.ifsc, 254);
    /* a block that the card found too long is cut to the new size when the card asks for it again */
    assert_int_equal(PLAY(&b, "010203", {"I0 010203", "IFS? 02", 0}, {"IFS! 02", "R0.2", 0}, {"I0+ 0102", "R1", 0},
                          {"I1 03", "I1 9000", 0}),
                     R_SUCCESS);
}

static void chaining_both_ways(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I0+ 0001020304050607", "R1", 0}, {"I1 0809", "I0+ 1112", 0},
                          {"R1", "I1+ 1314", 0}, {"R0", "I0 9000", 0}),
                     R_SUCCESS);
    assert_response(&b, "111213149000");
    assert_int_equal(PLAY(&b, "0001020304050607", {"I0 0001020304050607", "I1 9000", 0}), R_SUCCESS); /* IFSC exactly */
}

static void card_asks_for_the_block_again(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "R0.1", 0}, {"I0 00A4", "R0.2", 0}, {"I0 00A4", "I0 9000", 0}),
                     R_SUCCESS);
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "R1", 0}, {"I1 00A4", "I1 9000", 0}),
                     R_SUCCESS); /* error code 0 counts */
    /* in a chain; only the block asked for goes out again */
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I0+ 0001020304050607", "R0.1", 0},
                          {"I0+ 0001020304050607", "R1", 0}, {"I1 0809", "R1.1", 0}, {"I1 0809", "I0 9000", 0}),
                     R_SUCCESS);
}

static void broken_answer_gets_an_r_block(void **state)
{
    static const struct {
        const char *answer, *r;
    } rows[] = {{"*I0 9000", "R0.1"}, {"-", "R0.2"}, {"~", "R0.2"}, {"empty", "R0.2"}, {"huge", "R0.2"}};

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct bench b;

        bench_init(&b);
        assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", rows[i].answer, 0}, {rows[i].r, "I0 9000", 0}), R_SUCCESS);
        assert_response(&b, "9000");
        /* twice in a row is borne, too */
        bench_init(&b);
        assert_int_equal(
            PLAY(&b, "00A4", {"I0 00A4", rows[i].answer, 0}, {rows[i].r, rows[i].answer, 0}, {rows[i].r, "I0 9000", 0}),
            R_SUCCESS);
    }
}

static void lost_command_is_sent_when_the_card_asks(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "-", 0}, {"R0.2", "R0", 0}, {"I0 00A4", "I0 9000", 0}), R_SUCCESS);
    /* in a chain: the card repeats its acknowledgement, which asks for the second block */
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I1+ 0001020304050607", "R0", 0}, {"I0 0809", "-", 0},
                          {"R1.2", "R0", 0}, {"I0 0809", "I1 9000", 0}),
                     R_SUCCESS);
}

static void lost_acknowledgement_in_a_chain(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I0+ 0001020304050607", "*R1", 0}, {"R0.1", "R1", 0},
                          {"I1 0809", "I0 9000", 0}),
                     R_SUCCESS);
}

static void lost_response_is_asked_for(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    /* the card did not understand our R-block and says what it expects: it has the command */
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "-", 0}, {"R0.2", "R1.1", 0}, {"R0.2", "I0 9000", 0}), R_SUCCESS);
    assert_response(&b, "9000");
}

static void faults_in_the_cards_chain(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0+ 01", 0}, {"R1", "*I1 9000", 0}, {"R1.1", "I1 9000", 0}),
                     R_SUCCESS);
    assert_response(&b, "019000");
    /* our R-block did not arrive whole; the card says so, whatever N(R) it names we have no I-block to repeat */
    assert_int_equal(
        PLAY(&b, "00A4", {"I1 00A4", "I0+ 01", 0}, {"R1", "R0.1", 0}, {"R1", "R1.1", 0}, {"R1", "I1 9000", 0}),
        R_SUCCESS);
    /* it sends the same I-block again: that is no new data */
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0+ 01", 0}, {"R1", "I0+ 01", 0}, {"R1.2", "I1 9000", 0}),
                     R_SUCCESS);
    assert_response(&b, "019000");
}

static void lost_wtx_response(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "WTX? 02", 0}, {"WTX! 02", "R1.1", 2}, {"R0.2", "WTX? 02", 0},
                          {"WTX! 02", "I0 9000", 2}),
                     R_SUCCESS);
}

/* A card that asked for time has the command. Should it then ask for the command, it would execute it twice. */
static void no_repetition_after_wtx(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "WTX? 02", 0}, {"WTX! 02", "R0.1", 2}, {"R0.2", "I0 9000", 0}),
                     R_SUCCESS);
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "R0", 0}, {"R1.2", "R1", 0}, {"R1.2", "I1 9000", 0}), R_SUCCESS);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "WTX? 02", 0}, {"WTX! 02", "R0.1", 2}, {"R0.2", "R0.1", 0},
                          {"R0.2", "R0.1", 0}, {"RES?", "RES!", 0}),
                     R_COMM);
}

/* That holds for the block in flight only: the next one of the chain may be asked for. */
static void repetition_after_wtx_in_a_chain(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I0+ 0001020304050607", "WTX? 02", 0}, {"WTX! 02", "R1", 2},
                          {"I1 0809", "R1.1", 0}, {"I1 0809", "I0 9000", 0}),
                     R_SUCCESS);
}

/* Three invalid blocks in a row are too many, not three in all: any valid one begins a new row. */
static void valid_blocks_begin_a_new_row(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "-", 0}, {"R0.2", "-", 0}, {"R0.2", "R0", 0}, {"I0 00A4", "-", 0},
                          {"R0.2", "-", 0}, {"R0.2", "WTX? 01", 0}, {"WTX! 01", "-", 1}, {"R0.2", "-", 0},
                          {"R0.2", "I0+", 0}, {"R1", "-", 0}, {"R1.2", "-", 0}, {"R1.2", "I1 9000", 0}),
                     R_SUCCESS);
}

static void resynch_and_never_again(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    b.t.ifsd = 254;
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0 9000", 0}), R_SUCCESS);
    assert_int_equal(
        PLAY(&b, "00D0", {"I1 00D0", "*I1 9000", 0}, {"R1.1", "-", 0}, {"R1.2", "~", 0}, {"RES?", "RES!", 0}), R_COMM);
    assert_int_equal(b.t.ifsd, 32); /* the initial value, until it is told again */
    assert_fresh(&b);
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00D0", {"I0 00D0", "-", 0}, {"R0.2", "-", 0}, {"R0.2", "-", 0}, {"RES?", "-", 0},
                          {"RES?", "RES! 00", 0}, {"RES?", "RES!", 0}),
                     R_TIMEOUT);
    assert_fresh(&b);
}

/* The card, too, is back at its ATR. */
static void resynch_takes_back_a_raised_ifsc(void **state)
{
    struct bench b;
    uint8_t ifsc;

    (void)state;
    bench_init(&b);
    ifsc = b.t.ifsc;
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "IFS? FE", 0}, {"IFS! FE", "I0 9000", 0}), R_SUCCESS);
    assert_int_equal(b.t.ifsc, 254);
    assert_int_equal(
        PLAY(&b, "00D0", {"I1 00D0", "-", 0}, {"R1.2", "-", 0}, {"R1.2", "~", 0}, {"RES?", "RES!", 0}), R_COMM);
    assert_int_equal(b.t.ifsc, ifsc);
    assert_fresh(&b);
}

static void dead_card_is_left_alone(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00D0", {"I0 00D0", "-", 0}, {"R0.2", "-", 0}, {"R0.2", "-", 0}, {"RES?", "-", 0},
                          {"RES?", "I0 9000", 0}, {"RES?", "-", 0}),
                     R_TIMEOUT);
    assert_int_equal(play_nothing(&b, "00B0"), R_COMM);
    assert_int_equal(play_nothing(&b, "00B0"), R_COMM);
    bench_reset(&b, EDC_LRC);
    assert_fresh(&b);
}

static void abort_ends_the_apdu(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b); /* while we chain */
    assert_int_equal(
        PLAY(&b, "00010203040506070809", {"I0+ 0001020304050607", "ABT?", 0}, {"ABT!", "R1", 0}, {"RES?", "RES!", 0}),
        R_COMM);
    assert_fresh(&b);
    bench_init(&b); /* while the card chains; silence after the response does no harm */
    assert_int_equal(
        PLAY(&b, "00A4", {"I0 00A4", "I0+ 01", 0}, {"R1", "ABT?", 0}, {"ABT!", "-", 0}, {"RES?", "RES!", 0}), R_COMM);
    assert_fresh(&b);
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "ABT?", 0}, {"ABT!", "gone", 0}), R_GONE);
}

/* ---- S(IFS) ----------------------------------------------------------------------------------------------- */

static void ifsd_is_told_once(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_LRC);
    assert_int_equal(b.t.ifsd, 32);
    assert_fresh(&b);
    assert_int_equal(b.t.ifsd, 254);
    assert_int_equal(PLAY(&b, "00B0", {"I1 00B0", "I1 9000", 0}), R_SUCCESS);
}

static void ifsd_refused(void **state)
{
    static const char *const refusals[] = {"R0.2", "*IFS! FE", "I0 9000", "RES!", "~"};

    (void)state;
    for (size_t i = 0; i < LEN(refusals); i++) {
        struct bench b;
        const char *no = refusals[i];

        bench_init(&b);
        bench_reset(&b, EDC_LRC);
        assert_int_equal(
            PLAY(&b, "00B0", {"IFS? FE", no, 0}, {"IFS? FE", no, 0}, {"IFS? FE", no, 0}, {"I0 00B0", "I0 9000", 0}),
            R_SUCCESS);
        assert_int_equal(b.t.ifsd, 32);
        assert_int_equal(PLAY(&b, "00B0", {"I1 00B0", "I1 9000", 0}), R_SUCCESS);
    }
}

static void ifsd_another_value(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_LRC);
    assert_int_equal(PLAY(&b, "00B0", {"IFS? FE", "IFS! 20", 0}, {"I0 00B0", "I0 9000", 0}), R_SUCCESS);
    assert_int_equal(b.t.ifsd, 32);
}

static void ifsd_lost_once(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_LRC);
    assert_int_equal(PLAY(&b, "00B0", {"IFS? FE", "-", 0}, {"IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    assert_int_equal(b.t.ifsd, 254);
}

static void ifsd_and_a_silent_card(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_LRC); /* deaf to S(IFS) only: S(RESYNCH) shows that it lives; it is not asked again */
    assert_int_equal(PLAY(&b, "00B0", {"IFS? FE", "-", 0}, {"IFS? FE", "-", 0}, {"IFS? FE", "empty", 0},
                          {"RES?", "RES!", 0}, {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    assert_int_equal(PLAY(&b, "00B0", {"I1 00B0", "I1 9000", 0}), R_SUCCESS);
    bench_reset(&b, EDC_LRC); /* deaf to everything */
    assert_int_equal(PLAY(&b, "00B0", {"IFS? FE", "-", 0}, {"IFS? FE", "-", 0}, {"IFS? FE", "-", 0}, {"RES?", "-", 0},
                          {"RES?", "-", 0}, {"RES?", "-", 0}),
                     R_COMM);
    assert_int_equal(play_nothing(&b, "00B0"), R_COMM);
}

static void ifsd_and_the_cards_own_requests(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_LRC);
    assert_int_equal(PLAY(&b, "00B001", {"IFS? FE", "WTX? 03", 0}, {"WTX! 03", "IFS? 02", 3}, {"IFS! 02", "IFS! FE", 0},
                          {"I0+ 00B0", "R1", 0}, {"I1 01", "I0 9000", 0}),
                     R_SUCCESS);
    assert_int_equal(b.t.ifsd, 254);
}

/* ---- CRC -------------------------------------------------------------------------------------------------- */

/* The card answers what it does not understand with R(0), EDC error, in its own form: S(IFS) is repeated in that. */
static void crc_form_learnt_from_an_r_block(void **state)
{
    struct bench b;

    (void)state;
    for (unsigned form = EDC_ISO; form < EDC_COUNT; form++) {
        bench_init(&b);
        bench_reset(&b, form);
        if (form == EDC_ISO)
            assert_fresh(&b);
        else
            assert_int_equal(
                PLAY(&b, "00B0", {"#1IFS? FE", "R0.1", 0}, {"IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}),
                R_SUCCESS);
        assert_int_equal(b.t.ifsd, 254);
        assert_int_equal(PLAY(&b, "00B0", {"I1 00B0", "I1 9000", 0}), R_SUCCESS);
    }
}

/* A card that is silent until it is spoken to in its own form. */
static void crc_form_found_by_trying(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_PLAIN_HIGH_FIRST);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "-", 0}, {"#2IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    bench_reset(&b, EDC_ISO_HIGH_FIRST);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "-", 0}, {"#2IFS? FE", "-", 0}, {"#3IFS? FE", "IFS! FE", 0},
                          {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    bench_reset(&b, EDC_PLAIN);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "-", 0}, {"#2IFS? FE", "-", 0}, {"#3IFS? FE", "-", 0},
                          {"#4IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    bench_reset(&b, EDC_PLAIN); /* the last try shows the form: S(IFS) is given its tries in it */
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "-", 0}, {"#2IFS? FE", "-", 0}, {"#3IFS? FE", "-", 0},
                          {"#4IFS? FE", "R0", 0}, {"IFS? FE", "-", 0}, {"IFS? FE", "R0", 0}, {"IFS? FE", "IFS! FE", 0},
                          {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    /* a card that takes any form and answers in its own: adopted from the first answer */
    bench_reset(&b, EDC_PLAIN_HIGH_FIRST);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}), R_SUCCESS);
}

static void only_the_adopted_form_is_valid(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_PLAIN_HIGH_FIRST);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "IFS! FE", 0}, {"I0 00B0", "#1I0 9000", 0},
                          {"R0.1", "#3I0 9000", 0}, {"R0.1", "I0 6A82", 0}),
                     R_SUCCESS);
    assert_response(&b, "6A82");
}

/* Some contents have a CRC that fits two forms: nothing is adopted from them. S(IFS request 0A) is one. */
static void ambiguous_crc_settles_nothing(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_ISO_HIGH_FIRST);
    assert_int_equal(
        PLAY(&b, "00B0", {"#1IFS? FE", "IFS? 0A", 0}, {"#1IFS! 0A", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}),
        R_SUCCESS);
    assert_int_equal(b.t.ifsc, 10);
}

/* No valid block in any form: the command must not go out in a form that the card may misread. */
static void no_command_before_the_form_is_known(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    bench_reset(&b, EDC_ISO);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "=00E101FE0000", 0}, {"#2IFS? FE", "-", 0}, {"#3IFS? FE", "-", 0},
                          {"#4IFS? FE", "-", 0}, {"#1RES?", "-", 0}, {"#2RES?", "-", 0}, {"#3RES?", "-", 0}),
                     R_COMM);
    assert_int_equal(play_nothing(&b, "00B0"), R_COMM);
    bench_reset(&b, EDC_PLAIN_HIGH_FIRST);
    assert_int_equal(PLAY(&b, "00B0", {"#1IFS? FE", "-", 0}, {"#2IFS? FE", "-", 0}, {"#3IFS? FE", "-", 0},
                          {"#4IFS? FE", "-", 0}, {"#1RES?", "-", 0}, {"#2RES?", "RES!", 0}, {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
}

/* ---- what no card may say --------------------------------------------------------------------------------- */

static void invalid_blocks(void **state)
{
    /* EDC right in all of them; NAD PCB LEN INF LRC */
    static const char *const rows[] = {
        "=11 00 02 9000 83", /* NAD of somebody else */
        "=01 00 02 9000 93", /* … */
        "=00 00 FF 9000 6F", /* LEN FF */
        "=00 00 03 9000 93", /* LEN too large for what came */
        "=00 00 01 9000 91", /* … too small */
        "=00 00 00 00 00",   /* … */
        "=00",
        "=00 00",
        "=00 00 00",         /* no block at all */
        "=00 01 02 9000 93", /* I-block, reserved bits */
        "=00 10 02 9000 82", /* … */
        "=00 83 00 83",      /* R-block, reserved error code */
        "=00 8F 00 8F",      /* … */
        "=00 A0 00 A0",      /* R-block, b6 */
        "=00 80 01 00 81",   /* R-block with INF */
        "=00 C4 00 C4",      /* S-blocks that do not exist (C4 was VPP error once) */
        "=00 E4 00 E4",      /* … */
        "=00 D3 01 01 D3",   /* … */
        "WTX? 00",
        "WTX?",
        "WTX? 0101",
        "IFS? 00",
        "IFS? FF",
        "IFS?",
        "IFS? 2020",
        "ABT? 00",
        "RES?",
        "RES? 00",
        "RES!",
        "IFS! FE",
        "WTX! 01",
        "ABT!",    /* answers to what was not asked */
        "I1 9000", /* not the N(S) expected */
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct bench b;
        struct step steps[] = {{"I0 00A4", rows[i], 0}, {"R0.2", "I0 6A82", 0}};

        bench_init(&b);
        if (play(&b, "00A4", steps, LEN(steps)) != R_SUCCESS)
            fail_msg("%s", rows[i]);
        assert_response(&b, "6A82");
        assert_int_equal(b.t.ifsc, 8);
    }
}

/* LEN FF is reserved even where all of its 255 bytes have come. */
static void len_ff(void **state)
{
    char say[1 + 2 * T1_BLOCK_MAX + 1] = "=0000FF";
    struct step steps[] = {{"I0 00A4", say, 0}, {"R0.2", "I0 6A82", 0}};
    struct bench b;

    (void)state;
    for (unsigned i = 0; i < 255; i++)
        strcat(say, "00");
    strcat(say, "FF");
    assert_int_equal(strlen(say), sizeof say - 1);
    bench_init(&b);
    assert_int_equal(play(&b, "00A4", steps, LEN(steps)), R_SUCCESS);
    assert_response(&b, "6A82");
}

/* Whoever fills the ATR's fields by hand and leaves IFSC 0 gets the default. */
static void ifsc_from_the_atr(void **state)
{
    static const struct {
        uint8_t atr, ifsc;
    } rows[] = {{0, 32}, {1, 1}, {254, 254}, {255, 32}};

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct atr_info atr = {.t1_ifsc = rows[i].atr};
        struct t1 t;

        t1_reset(&t, &atr, script_exchange, NULL);
        assert_int_equal(t.ifsc, rows[i].ifsc);
    }
}

/* The response to a command that has not been sent to its end is none. */
static void i_block_before_the_command_is_complete(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I0+ 0001020304050607", "I0 9000", 0}, {"R0.2", "R1", 0},
                          {"I1 0809", "I0 6A82", 0}),
                     R_SUCCESS);
    assert_response(&b, "6A82");
}

/* ---- lengths ---------------------------------------------------------------------------------------------- */

static void too_short(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(play_nothing(&b, ""), R_INVALID);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0 90", 0}), R_COMM);
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "I1", 0}), R_COMM);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0 9000", 0}), R_SUCCESS); /* in step all the same */
}

static void response_larger_than_the_buffer(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    b.cap = 4;
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0+ 010203", 0}, {"R1", "I1+ 0405", 0}, {"R0", "I0 9000", 0}),
                     R_SPACE);
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "I1+ 0102", 0}, {"R0", "I0 9000", 0}), R_SUCCESS);
    b.cap = 0;
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I1 9000", 0}), R_SPACE);
}

/* ---- time ------------------------------------------------------------------------------------------------- */

static void chained_blocks_extend_the_deadline(void **state)
{
    const int64_t second = 1000000000;
    struct bench b;
    deadline_t begin = deadline_in(3600000);

    (void)state;
    bench_init(&b);
    b.until = begin;
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "WTX? 05", 0}, {"WTX! 05", "*I0 9000", 5}, {"R0.1", "I0 9000", 0}),
                     R_SUCCESS);
    assert_true(b.s.until == begin); /* neither WTX nor a fault does */
    assert_int_equal(PLAY(&b, "00010203040506070809", {"I1+ 0001020304050607", "R1.1", 0},
                          {"I1+ 0001020304050607", "R0", 0}, {"I0 0809", "I1+", 0}, {"R0", "I0 9000", 0}),
                     R_SUCCESS);
    assert_true(b.s.until == begin + second); /* one block taken; a repetition and an empty block are nothing */
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "I1+ 01", 0}, {"R0", "I0+ 02", 0}, {"R1", "I1 9000", 0}), R_SUCCESS);
    assert_true(b.s.until == begin + 2 * second);
    b.until = DEADLINE_NEVER;
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "I0+ 01", 0}, {"R1", "I1 9000", 0}), R_SUCCESS);
    assert_true(b.s.until == DEADLINE_NEVER);
    b.until = DEADLINE_NEVER - 1; /* no overflow either */
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "I0+ 01", 0}, {"R1", "I1 9000", 0}), R_SUCCESS);
    assert_true(b.s.until == DEADLINE_NEVER - 1);
}

static void deadline_ends_it_and_the_next_apdu_resynchronises(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    b.until = deadline_in(0);
    assert_int_equal(play_nothing(&b, "00A4"), R_TIMEOUT);
    b.until = deadline_in(500);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "late", 0}), R_TIMEOUT);
    b.until = DEADLINE_NEVER; /* the late answer must not become that of the next command */
    assert_int_equal(PLAY(&b, "00B0", {"RES?", "I0 9000", 0}, {"RES?", "RES!", 0}, {"IFS? FE", "IFS! FE", 0},
                          {"I0 00B0", "I0 6A82", 0}),
                     R_SUCCESS);
    assert_response(&b, "6A82");
    /* a resynchronisation that runs out of time is tried once more, then the card is dead */
    b.until = deadline_in(500);
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "late", 0}), R_TIMEOUT);
    b.until = deadline_in(500);
    assert_int_equal(PLAY(&b, "00A4", {"RES?", "late", 0}), R_TIMEOUT);
    b.until = DEADLINE_NEVER;
    assert_int_equal(play_nothing(&b, "00A4"), R_COMM);
}

static void fatal_result_ends_it_at_once(void **state)
{
    struct bench b;

    (void)state;
    bench_init(&b);
    assert_int_equal(PLAY(&b, "00A4", {"I0 00A4", "gone", 0}), R_GONE);
    assert_int_equal(PLAY(&b, "00A4", {"RES?", "gone", 0}), R_GONE);
    assert_int_equal(PLAY(&b, "00B0", {"RES?", "RES!", 0}, {"IFS? FE", "gone", 0}), R_GONE);
    assert_int_equal(PLAY(&b, "00B0", {"RES?", "RES!", 0}, {"IFS? FE", "IFS! FE", 0}, {"I0 00B0", "I0 9000", 0}),
                     R_SUCCESS);
    /* … and wins over the error that made us resynchronise */
    assert_int_equal(PLAY(&b, "00A4", {"I1 00A4", "-", 0}, {"R1.2", "-", 0}, {"R1.2", "-", 0}, {"RES?", "gone", 0}),
                     R_GONE);
}

/* ---- cards that never come to an end ---------------------------------------------------------------------- */

/* Says the same thing for ever (two things in turn), only never to S(RESYNCH). */
struct stubborn {
    const char *say[2];
    bool alternate_i; /* say[0] is an I-block to be sent with N(S) 0 and 1 in turn */
    unsigned long blocks, i_blocks, resynchs;
    uint8_t inf[254];
    size_t inf_len;
};

static enum result stubborn_exchange(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap,
                                     size_t *got, unsigned wtx, deadline_t until)
{
    struct stubborn *s = arg;
    const char *say = s->say[s->blocks % 2];
    uint8_t out[300];

    (void)n;
    (void)wtx;
    (void)until;
    if (block[1] == 0xC0) {
        s->resynchs++;
        *got = make_block(EDC_LRC, 0xE0, NULL, 0, out);
        memcpy(answer, out, *got);
        return R_SUCCESS;
    }
    s->blocks++;
    if (s->blocks > 300000)
        fail_msg("it goes on for ever: %s", say);
    if (block[1] < 0x80)
        s->i_blocks++;
    if (strcmp(say, "-") == 0)
        return R_TIMEOUT;
    if (s->alternate_i)
        *got = make_block(EDC_LRC, 0x20 | ((s->blocks - 1) % 2 ? 0x40 : 0), s->inf, s->inf_len, out);
    else
        *got = parse_block(EDC_LRC, say, out);
    assert_true(*got <= cap);
    memcpy(answer, out, *got);
    return R_SUCCESS;
}

static enum result run_stubborn(struct stubborn *s, uint8_t *response, size_t cap, size_t *len)
{
    static const uint8_t apdu[] = {0x00, 0xB0, 0x00, 0x00};
    struct atr_info atr = {.t1_ifsc = 32};
    struct t1 t;

    t1_reset(&t, &atr, stubborn_exchange, s);
    t.ifsd_done = true;
    return t1_transmit(&t, apdu, sizeof apdu, response, cap, len, DEADLINE_NEVER);
}

static void endless_answers_end(void **state)
{
    static const struct {
        const char *one, *two;
        unsigned long blocks_min, blocks_max, i_blocks;
    } rows[] = {
        {"-", "-", 3, 3, 1},
        {"R0", "R0", 3, 3, 3},
        {"R1", "R1", 3, 3, 1},
        {"R0", "R1", 3, 16, 2}, /* asks and gets it, has it, asks: not again */
        {"R0", "-", 3, 16, 3},
        {"WTX? 01", "WTX? 01", 1000, 5000, 1}, /* a card may wait long: 1000 are borne */
        {"WTX? FF", "-", 1000, 10000, 1},
        {"WTX? 01", "R1", 4, 10000, 1},
        {"WTX? 01", "R0", 4, 10000, 1},
        {"IFS? 20", "IFS? FE", 4, 64, 1},
        {"IFS? 20", "-", 4, 64, 1},
        {"IFS? 20", "R0", 4, 64, 3},
        {"I1 9000", "I1 9000", 3, 3, 1},
        {"I1+ 01", "I1+ 01", 3, 3, 1},
        {"WTX? 00", "IFS? 00", 3, 3, 1},
        {"IFS! FE", "RES!", 3, 3, 1},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct stubborn s = {.say = {rows[i].one, rows[i].two}};
        uint8_t response[300];
        size_t len;
        enum result r;

        r = run_stubborn(&s, response, sizeof response, &len);
        if (r != R_COMM && r != R_TIMEOUT)
            fail_msg("%s, %s: result %d", rows[i].one, rows[i].two, (int)r);
        if (s.blocks < rows[i].blocks_min || s.blocks > rows[i].blocks_max || s.i_blocks > rows[i].i_blocks)
            fail_msg("%s, %s: %lu blocks, %lu I-blocks", rows[i].one, rows[i].two, s.blocks, s.i_blocks);
        assert_int_equal(s.resynchs, 1);
        assert_int_equal(len, 0);
    }
}

/* Before the first APDU, too: a card that answers S(IFS) with requests of its own without end. Where it never answers,
 * the command goes out after all, with 32; it goes on with its requests, and that ends it. */
static void endless_requests_before_the_first_apdu_end(void **state)
{
    static const char *const rows[] = {"WTX? 01", "IFS? 20", "ABT?"};

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        static const uint8_t apdu[] = {0x00, 0xB0, 0x00, 0x00};
        struct stubborn s = {.say = {rows[i], rows[i]}};
        struct atr_info atr = {.t1_ifsc = 32};
        uint8_t response[300];
        struct t1 t;
        size_t len;

        t1_reset(&t, &atr, stubborn_exchange, &s);
        assert_int_equal(t1_transmit(&t, apdu, sizeof apdu, response, sizeof response, &len, DEADLINE_NEVER), R_COMM);
        assert_in_range(s.blocks, 4, 5000);
        assert_int_equal(s.i_blocks, 1);
        assert_int_equal(s.resynchs, 1);
    }
}

static void endless_chains_end(void **state)
{
    static uint8_t response[RAPDU_MAX];
    static const size_t lens[] = {254, 1, 0};

    (void)state;
    for (size_t i = 0; i < LEN(lens); i++) {
        struct stubborn s = {.say = {"chain", "chain"}, .alternate_i = true, .inf_len = lens[i]};
        size_t len;

        assert_int_equal(run_stubborn(&s, response, sizeof response, &len), R_COMM);
        assert_int_equal(s.resynchs, 1);
        assert_int_equal(s.i_blocks, 1);
        assert_in_range(s.blocks, lens[i] == 0 ? 2 : RAPDU_MAX / lens[i], lens[i] == 0 ? 64 : RAPDU_MAX / lens[i] + 1);
    }
}

/* ---- the honest card -------------------------------------------------------------------------------------- */

/* A small generator of the test's own: the same seeds fail on every machine. */
static uint32_t rnd(uint32_t *s, uint32_t below)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s % below;
}

enum { HONEST_MAX = RAPDU_MAX + 16 };

struct honest {
    uint32_t seed;
    unsigned loss; /* blocks per thousand that get lost or broken, each way */
    bool careless; /* takes any I-block, whatever its N(S): would execute a duplicate */
    enum edc edc;
    unsigned expect, ns; /* N(S) of the host's next I-block, of its own in flight */
    uint8_t command[HONEST_MAX];
    size_t command_len;
    uint8_t response[HONEST_MAX];
    size_t response_len, sent, chunk, ifs;
    bool responding; /* an I-block of its own is in flight */
    unsigned wtx_left;
    uint8_t last[300];
    size_t last_len;
    unsigned long executed; /* commands, since the test last set it to 0 */
    uint8_t executed_command[HONEST_MAX];
    size_t executed_len;
    unsigned long faults;
};

static void honest_reset(struct honest *h)
{
    h->expect = h->ns = 0;
    h->command_len = h->last_len = 0;
    h->responding = false;
    h->wtx_left = 0;
}

static void honest_say(struct honest *h, unsigned pcb, const uint8_t *inf, size_t n)
{
    h->last_len = make_block(h->edc, pcb, inf, n, h->last);
}

static void honest_say_r(struct honest *h, unsigned error)
{
    honest_say(h, 0x80 | h->expect << 4 | error, NULL, 0);
}

static void honest_say_i(struct honest *h)
{
    size_t left = h->response_len - h->sent;

    h->chunk = left < h->ifs ? left : h->ifs;
    h->responding = true;
    honest_say(h, h->ns << 6 | (h->chunk < left ? 0x20u : 0), h->response + h->sent, h->chunk);
}

/* The response is the command backwards and 90 00, so a mixed-up answer shows. */
static void honest_execute(struct honest *h)
{
    h->executed++;
    h->executed_len = h->command_len;
    memcpy(h->executed_command, h->command, h->command_len);
    for (size_t i = 0; i < h->command_len; i++)
        h->response[i] = h->command[h->command_len - 1 - i];
    memcpy(h->response + h->command_len, "\x90", 2);
    h->response_len = h->command_len + 2;
    h->command_len = h->sent = 0;
    h->ifs = 1 + rnd(&h->seed, 254);
    h->wtx_left = rnd(&h->seed, 4) == 0 ? 1 + rnd(&h->seed, 3) : 0;
}

static void honest_work(struct honest *h)
{
    uint8_t times = (uint8_t)(1 + rnd(&h->seed, 255));

    if (h->wtx_left > 0) {
        h->wtx_left--;
        honest_say(h, 0xC3, &times, 1);
    } else {
        honest_say_i(h);
    }
}

static void honest_got_i(struct honest *h, const uint8_t *b)
{
    if (!h->careless && (b[1] >> 6 & 1) != (uint8_t)h->expect) {
        honest_say_r(h, 2);
        return;
    }
    if (h->responding) { /* the host goes on: it has our last block */
        h->responding = false;
        h->ns ^= 1;
    }
    assert_true(h->command_len + b[2] <= sizeof h->command);
    memcpy(h->command + h->command_len, b + 3, b[2]);
    h->command_len += b[2];
    h->expect = (b[1] >> 6 & 1) ^ 1u;
    if (b[1] & 0x20) {
        honest_say_r(h, 0);
        return;
    }
    honest_execute(h);
    honest_work(h);
}

static void honest_got_r(struct honest *h, const uint8_t *b)
{
    unsigned nr = b[1] >> 4 & 1;

    if (h->responding && nr != h->ns && h->sent + h->chunk < h->response_len) {
        h->sent += h->chunk;
        h->ns ^= 1;
        honest_say_i(h);
    } else if (h->responding && nr != h->ns) { /* the host waits for an answer to what we did not get */
        honest_say_r(h, 2);
    } else if (h->last_len == 0) {
        honest_say_r(h, 0);
    } else if (!h->responding && h->last[1] < 0x80) {
        honest_say_r(h, 0);
    } /* else: what was said last once more */
}

/* One whole block has come. */
static void honest_got(struct honest *h, const uint8_t *b)
{
    if (b[1] < 0x80)
        honest_got_i(h, b);
    else if (b[1] < 0xC0)
        honest_got_r(h, b);
    else if (b[1] == 0xC0) {
        honest_reset(h);
        honest_say(h, 0xE0, NULL, 0);
    } else if (b[1] == 0xC1)
        honest_say(h, 0xE1, b + 3, 1);
    else if (b[1] == 0xE3)
        honest_work(h);
    else
        fail_msg("the host sent PCB %02X", b[1]);
}

/* What the line does to a block: nothing, loses it, flips a bit, cuts it. Returns the length that arrives. */
static size_t line(struct honest *h, uint8_t *b, size_t n)
{
    if (rnd(&h->seed, 1000) >= h->loss)
        return n;
    h->faults++;
    switch (rnd(&h->seed, 4)) {
    case 0:
        return 0;
    case 1:
        return rnd(&h->seed, (uint32_t)n);
    default:
        b[rnd(&h->seed, (uint32_t)n)] ^= (uint8_t)(1u << rnd(&h->seed, 8));
        return n;
    }
}

static bool whole(const struct honest *h, const uint8_t *b, size_t n)
{
    uint8_t copy[300];

    if (n < 3 + edc_size(h->edc) || n != 3u + b[2] + edc_size(h->edc) || b[0] != 0)
        return false;
    memcpy(copy, b, n);
    put_edc(h->edc, copy, n - edc_size(h->edc));
    return memcmp(copy, b, n) == 0;
}

static enum result honest_exchange(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap, size_t *got,
                                   unsigned wtx, deadline_t until)
{
    struct honest *h = arg;
    uint8_t b[300];

    (void)wtx;
    (void)until;
    memcpy(b, block, n);
    n = line(h, b, n);
    if (n == 0)
        return R_TIMEOUT;
    if (whole(h, b, n))
        honest_got(h, b);
    else
        honest_say_r(h, 1);
    memcpy(b, h->last, h->last_len);
    n = line(h, b, h->last_len);
    if (n == 0)
        return R_TIMEOUT;
    assert_true(n <= cap);
    memcpy(answer, b, n);
    *got = n;
    return R_SUCCESS;
}

struct tally {
    unsigned long ok, failed, faults, executed_though_failed;
};

/* A few commands to one card over one line. */
static void run_seed(uint32_t seed, struct tally *tally)
{
    static struct honest h;
    struct atr_info atr = {0};
    struct t1 t;

    honest_reset(&h);
    h.seed = seed * 2654435761u + 1;
    h.faults = 0;
    atr.t1_ifsc = (uint8_t)(1 + rnd(&h.seed, 254));
    h.loss = (seed % 5) * 60;
    h.careless = seed % 2;
    h.edc = (enum edc)(rnd(&h.seed, EDC_COUNT));
    atr.t1_crc = h.edc != EDC_LRC;
    t1_reset(&t, &atr, honest_exchange, &h);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t apdu[1000], response[1002];
        size_t n = 4 + rnd(&h.seed, i % 2 ? 996 : 60), len;
        enum result r;

        for (size_t k = 0; k < n; k++)
            apdu[k] = (uint8_t)rnd(&h.seed, 256);
        h.executed = 0;
        r = t1_transmit(&t, apdu, n, response, sizeof response, &len, DEADLINE_NEVER);
        if (h.executed > 1)
            fail_msg("seed %u, command %u: executed %lu times", seed, i, h.executed);
        if (h.executed == 1 && (h.executed_len != n || memcmp(h.executed_command, apdu, n) != 0))
            fail_msg("seed %u, command %u: something else was executed", seed, i);
        if (r == R_SUCCESS) {
            if (h.executed != 1 || len != n + 2 || memcmp(response, h.response, len) != 0)
                fail_msg("seed %u, command %u: R_SUCCESS, executed %lu, %zu bytes", seed, i, h.executed, len);
            tally->ok++;
        } else {
            if (h.loss == 0)
                fail_msg("seed %u, command %u: result %d on a line without faults", seed, i, (int)r);
            tally->failed++;
            tally->executed_though_failed += h.executed;
        }
        if (t.dead) {
            honest_reset(&h);
            t1_reset(&t, &atr, honest_exchange, &h);
        }
    }
    tally->faults += h.faults;
}

static void nothing_is_executed_twice(void **state)
{
    struct tally tally = {0};

    (void)state;
    for (uint32_t seed = 1; seed <= 4000; seed++)
        run_seed(seed, &tally);
    /* the line was bad enough to matter and good enough to work */
    print_message("%lu answered, %lu failed (%lu of them executed), %lu faults\n", tally.ok, tally.failed,
                  tally.executed_though_failed, tally.faults);
    assert_true(tally.faults > 10000);
    assert_true(tally.ok > 20000);
    assert_true(tally.failed > 100);
    assert_true(tally.executed_though_failed > 0);
}

/* The longest command, the longest response: exactly as they went in, and one byte more is no response. */
static void the_longest_command_and_response(void **state)
{
    static uint8_t apdu[APDU_EXTENDED_MAX], response[RAPDU_MAX];
    static struct honest h;
    struct stubborn s = {.say = {"R1", "R0"}};
    struct atr_info atr = {.t1_ifsc = 254};
    struct t1 t;
    size_t len;

    (void)state;
    h = (struct honest){.seed = 1};
    for (size_t i = 0; i < sizeof apdu; i++)
        apdu[i] = (uint8_t)rnd(&h.seed, 256);
    t1_reset(&t, &atr, honest_exchange, &h);
    assert_int_equal(t1_transmit(&t, apdu, RAPDU_MAX - 2, response, sizeof response, &len, DEADLINE_NEVER), R_SUCCESS);
    assert_int_equal(len, RAPDU_MAX);
    assert_memory_equal(response, h.response, RAPDU_MAX);
    assert_int_equal(t1_transmit(&t, apdu, RAPDU_MAX - 1, response, sizeof response, &len, DEADLINE_NEVER), R_COMM);
    assert_int_equal(len, 0);
    assert_int_equal(h.executed, 2);
    /* a card that acknowledges each block; the last one it claims to have but never answers */
    t1_reset(&t, &atr, stubborn_exchange, &s);
    t.ifsd_done = true;
    assert_int_equal(t1_transmit(&t, apdu, sizeof apdu, response, sizeof response, &len, DEADLINE_NEVER), R_COMM);
    assert_int_equal(s.i_blocks, (sizeof apdu + 253) / 254);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequence_numbers_alternate),
        cmocka_unit_test(wtx_is_answered_and_passed_on),
        cmocka_unit_test(card_changes_ifsc),
        cmocka_unit_test(chaining_both_ways),
        cmocka_unit_test(card_asks_for_the_block_again),
        cmocka_unit_test(broken_answer_gets_an_r_block),
        cmocka_unit_test(lost_command_is_sent_when_the_card_asks),
        cmocka_unit_test(lost_acknowledgement_in_a_chain),
        cmocka_unit_test(lost_response_is_asked_for),
        cmocka_unit_test(faults_in_the_cards_chain),
        cmocka_unit_test(lost_wtx_response),
        cmocka_unit_test(no_repetition_after_wtx),
        cmocka_unit_test(repetition_after_wtx_in_a_chain),
        cmocka_unit_test(valid_blocks_begin_a_new_row),
        cmocka_unit_test(resynch_and_never_again),
        cmocka_unit_test(resynch_takes_back_a_raised_ifsc),
        cmocka_unit_test(dead_card_is_left_alone),
        cmocka_unit_test(abort_ends_the_apdu),
        cmocka_unit_test(ifsd_is_told_once),
        cmocka_unit_test(ifsd_refused),
        cmocka_unit_test(ifsd_another_value),
        cmocka_unit_test(ifsd_lost_once),
        cmocka_unit_test(ifsd_and_a_silent_card),
        cmocka_unit_test(ifsd_and_the_cards_own_requests),
        cmocka_unit_test(crc_form_learnt_from_an_r_block),
        cmocka_unit_test(crc_form_found_by_trying),
        cmocka_unit_test(only_the_adopted_form_is_valid),
        cmocka_unit_test(ambiguous_crc_settles_nothing),
        cmocka_unit_test(no_command_before_the_form_is_known),
        cmocka_unit_test(invalid_blocks),
        cmocka_unit_test(len_ff),
        cmocka_unit_test(ifsc_from_the_atr),
        cmocka_unit_test(i_block_before_the_command_is_complete),
        cmocka_unit_test(too_short),
        cmocka_unit_test(response_larger_than_the_buffer),
        cmocka_unit_test(chained_blocks_extend_the_deadline),
        cmocka_unit_test(deadline_ends_it_and_the_next_apdu_resynchronises),
        cmocka_unit_test(fatal_result_ends_it_at_once),
        cmocka_unit_test(endless_answers_end),
        cmocka_unit_test(endless_requests_before_the_first_apdu_end),
        cmocka_unit_test(endless_chains_end),
        cmocka_unit_test(the_longest_command_and_response),
        cmocka_unit_test(nothing_is_executed_twice),
    };

    return cmocka_run_group_tests_name("t1", tests, NULL, NULL);
}
