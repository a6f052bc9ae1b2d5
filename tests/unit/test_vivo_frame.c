/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The driver's ViVOpay codec against the 49 recorded frames and all derived ones: commands leave as they were recorded,
 * with the CRC order that the command table says; everything is read whole, byte by byte, behind garbage, behind a
 * broken frame, with the CRC in either order, and through HID reports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "neo_vectors.h"
#include "vivopay/codes.h"
#include "vivopay/frame.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { MISPRINT = 7, PALINDROME = 6, LONGEST_ANSWER = 47 };

static const uint8_t head[] = {0x56, 0x69, 0x56, 0x4F, 0x74, 0x65, 0x63, 0x68, 0x32, 0x00};
static struct vivo_decoder decoder;

/* A vector as a whole frame. */
struct wire {
    uint8_t bytes[VIVO_FRAME_MAX];
    size_t n;
};

static unsigned nibble(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

static struct wire wire_of(const struct vector *v)
{
    struct wire w;

    memcpy(w.bytes, head, sizeof head);
    w.n = sizeof head;
    for (const char *p = v->hex; *p; p += 2)
        w.bytes[w.n++] = (uint8_t)(nibble(p[0]) << 4 | nibble(p[1]));
    return w;
}

static void swap_crc(struct wire *w)
{
    uint8_t last = w->bytes[w->n - 1];

    w->bytes[w->n - 1] = w->bytes[w->n - 2];
    w->bytes[w->n - 2] = last;
}

/* Feeds n bytes, `step` at a time. What the first thing found is; *f is it. */
static enum vivo_input feed(const uint8_t *bytes, size_t n, size_t step, struct vivo_frame *f)
{
    while (n > 0) {
        size_t now = n < step ? n : step;
        const uint8_t *p = bytes;
        size_t left = now;
        enum vivo_input i = vivo_decode(&decoder, &p, &left, f);

        if (i != VIVO_MORE)
            return i;
        assert_int_equal(left, 0);
        bytes += now;
        n -= now;
    }
    return VIVO_MORE;
}

static void check_frame(const struct wire *w, const struct vivo_frame *f, enum vivo_order order)
{
    assert_int_equal(f->command, w->bytes[10]);
    assert_int_equal(f->status, w->bytes[11]);
    assert_int_equal(f->n, w->n - VIVO_OVERHEAD);
    assert_memory_equal(f->data, w->bytes + 14, f->n);
    assert_int_equal(f->order, order);
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static enum vivo_order table_order(uint8_t command, uint8_t sub)
{
    return vivo_command(command, sub)->pass_through ? VIVO_MSB_FIRST : VIVO_LSB_FIRST;
}

static void encode_again(const struct vector *v)
{
    struct wire w = wire_of(v);
    size_t n = w.n - VIVO_OVERHEAD;
    uint8_t frame[VIVO_FRAME_MAX];

    for (size_t cut = 0; cut <= n; cut++) { /* the data in two parts, wherever it is cut */
        memset(frame, 0, sizeof frame);
        assert_int_equal(vivo_encode(w.bytes[10], w.bytes[11], w.bytes + 14, cut, w.bytes + 14 + cut, n - cut,
                                     table_order(w.bytes[10], w.bytes[11]), frame, sizeof frame),
                         w.n);
        assert_memory_equal(frame, w.bytes, w.n);
    }
}

static void commands_leave_as_recorded(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(commands); i++)
        encode_again(&commands[i]);
    for (size_t i = 0; i < COUNT(derived_commands); i++)
        encode_again(&derived_commands[i]);
    assert_int_equal(COUNT(commands) + COUNT(answers), 49);
}

static void what_is_too_long_is_not_encoded(void **state)
{
    static uint8_t data[VIVO_DATA_MAX + 1];
    uint8_t frame[VIVO_FRAME_MAX];

    (void)state;
    assert_int_equal(vivo_encode(0x2C, 0x03, data, VIVO_DATA_MAX, NULL, 0, VIVO_MSB_FIRST, frame, sizeof frame), 1500);
    assert_int_equal(vivo_encode(0x2C, 0x03, data, VIVO_DATA_MAX + 1, NULL, 0, VIVO_MSB_FIRST, frame, sizeof frame), 0);
    assert_int_equal(vivo_encode(0x2C, 0x03, data, 1, data, VIVO_DATA_MAX, VIVO_MSB_FIRST, frame, sizeof frame), 0);
    assert_int_equal(vivo_encode(0x2C, 0x03, data, SIZE_MAX, data, 2, VIVO_MSB_FIRST, frame, sizeof frame), 0);
    for (size_t cap = 0; cap < 17; cap++)
        assert_int_equal(vivo_encode(0x2C, 0x01, data, 1, NULL, 0, VIVO_MSB_FIRST, frame, cap), 0);
    assert_int_equal(vivo_encode(0x2C, 0x01, data, 1, NULL, 0, VIVO_MSB_FIRST, frame, 17), 17);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Whole, byte by byte and in uneven pieces; then with the CRC the other way round. */
static void decode(const struct vector *v)
{
    static const size_t steps[] = {1, 2, 7, 63, VIVO_FRAME_MAX};
    struct wire w = wire_of(v);
    struct vivo_frame f;

    for (int swapped = 0; swapped < 2; swapped++, swap_crc(&w)) {
        for (size_t i = 0; i < COUNT(steps); i++) {
            vivo_decoder_reset(&decoder);
            assert_int_equal(feed(w.bytes, w.n, steps[i], &f), VIVO_FRAME);
            check_frame(&w, &f, swapped ? VIVO_LSB_FIRST : VIVO_MSB_FIRST);
            assert_false(vivo_decoder_open(&decoder));
            assert_int_equal(decoder.dropped, 0);
        }
    }
}

static void all_answers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++)
        if (answers[i].number != MISPRINT)
            decode(&answers[i]);
    for (size_t i = 0; i < COUNT(derived_answers); i++)
        decode(&derived_answers[i]);
}

static void the_misprint_is_broken(void **state)
{
    struct vivo_frame f;
    size_t seen = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        if (answers[i].number != MISPRINT)
            continue;
        struct wire w = wire_of(&answers[i]);
        vivo_decoder_reset(&decoder);
        assert_int_equal(feed(w.bytes, w.n, w.n, &f), VIVO_BROKEN);
        seen++;
    }
    assert_int_equal(seen, 1);
}

static const struct vector *answer(int number)
{
    for (size_t i = 0; i < COUNT(answers); i++)
        if (answers[i].number == number)
            return &answers[i];
    fail();
    return NULL;
}

static void every_bit_is_covered_by_the_crc(void **state)
{
    struct wire w = wire_of(answer(36));
    struct vivo_frame f;

    (void)state;
    for (size_t i = 10; i < w.n; i++) {
        if (i == 12 || i == 13)
            continue; /* another length: nothing complete */
        for (unsigned bit = 0; bit < 8; bit++) {
            struct wire bad = w;
            bad.bytes[i] ^= (uint8_t)(1u << bit);
            vivo_decoder_reset(&decoder);
            assert_int_equal(feed(bad.bytes, bad.n, bad.n, &f), VIVO_BROKEN);
        }
    }
}

static void garbage_in_front_is_skipped(void **state)
{
    static const char *const garbage[] = {"NEO 2.0 v1.00\r\n", "V",           "ViV", "ViVOtech2",
                                          "ViVOtechViVOtech",  "\xFF\x56\x69"};
    struct wire w = wire_of(answer(44));
    struct vivo_frame f;

    (void)state;
    for (size_t i = 0; i < COUNT(garbage); i++) {
        for (size_t step = 1; step < 70; step += 23) {
            size_t n = strlen(garbage[i]);
            vivo_decoder_reset(&decoder);
            assert_int_equal(feed((const uint8_t *)garbage[i], n, step, &f), VIVO_MORE);
            assert_int_equal(feed(w.bytes, w.n, step, &f), VIVO_FRAME);
            check_frame(&w, &f, VIVO_MSB_FIRST);
            assert_int_equal(decoder.dropped, n);
        }
    }
}

static void two_frames_at_once_come_one_after_the_other(void **state)
{
    struct wire a = wire_of(answer(2)), b = wire_of(answer(32));
    uint8_t both[2 * VIVO_FRAME_MAX];
    const uint8_t *p = both;
    size_t n = a.n + b.n;
    struct vivo_frame f;

    (void)state;
    memcpy(both, a.bytes, a.n);
    memcpy(both + a.n, b.bytes, b.n);
    vivo_decoder_reset(&decoder);
    assert_int_equal(vivo_decode(&decoder, &p, &n, &f), VIVO_FRAME);
    check_frame(&a, &f, VIVO_MSB_FIRST);
    assert_int_equal(n, b.n);
    assert_int_equal(vivo_decode(&decoder, &p, &n, &f), VIVO_FRAME);
    check_frame(&b, &f, VIVO_MSB_FIRST);
    assert_int_equal(vivo_decode(&decoder, &p, &n, &f), VIVO_MORE);
}

/* Whatever bytes a frame lost: the next one is heard, after as many broken ones as there seem to be. */
static void a_frame_behind_a_cut_one_is_found(void **state)
{
    struct wire a = wire_of(answer(36)), b = wire_of(answer(45));
    struct vivo_frame f;
    enum vivo_input i;

    (void)state;
    for (size_t cut = 1; cut < a.n; cut++) {
        uint8_t both[2 * VIVO_FRAME_MAX];
        const uint8_t *p = both;
        size_t n = cut + b.n;

        memcpy(both, a.bytes, cut);
        memcpy(both + cut, b.bytes, b.n);
        vivo_decoder_reset(&decoder);
        while ((i = vivo_decode(&decoder, &p, &n, &f)) == VIVO_BROKEN)
            ;
        if (cut ==
            13) { /* half a length; with the other frame's first byte it is one that asks for more than there is */
            assert_int_equal(i, VIVO_MORE);
            assert_true(vivo_decoder_open(&decoder)); /* so that silence ends it */
            continue;
        }
        assert_int_equal(i, VIVO_FRAME);
        check_frame(&b, &f, VIVO_MSB_FIRST);
    }
}

static void a_length_beyond_the_limit_is_no_header(void **state)
{
    struct wire b = wire_of(answer(2)), a = b;
    struct vivo_frame f;

    (void)state;
    a.bytes[12] = (VIVO_DATA_MAX + 1) >> 8;
    a.bytes[13] = (VIVO_DATA_MAX + 1) & 0xFF;
    vivo_decoder_reset(&decoder);
    assert_int_equal(feed(a.bytes, a.n, a.n, &f), VIVO_MORE);
    assert_false(vivo_decoder_open(&decoder));
    assert_int_equal(feed(b.bytes, b.n, b.n, &f), VIVO_FRAME);
    a.bytes[13] = VIVO_DATA_MAX & 0xFF; /* the longest that there is: waits for the rest */
    vivo_decoder_reset(&decoder);
    assert_int_equal(feed(a.bytes, a.n, a.n, &f), VIVO_MORE);
    assert_true(vivo_decoder_open(&decoder));
}

/* ---- HID ----------------------------------------------------------------------------------------------------------
 */

/* Cuts a frame into reports and puts them together again; returns how many there were. */
static size_t through_reports(const struct wire *w, uint8_t ids[32], uint8_t last[VIVO_REPORT_SIZE])
{
    static struct vivo_assembly a;
    uint8_t report[VIVO_REPORT_SIZE];
    size_t at = 0, reports = 0;

    vivo_assembly_reset(&a);
    while (vivo_next_report(w->bytes, w->n, &at, report)) {
        bool done = vivo_assemble(&a, report, sizeof report);
        assert_int_equal(done, at == w->n);
        ids[reports++] = report[0];
        memcpy(last, report, sizeof report);
    }
    assert_true(a.len >= w->n);
    assert_memory_equal(a.bytes, w->bytes, w->n);
    for (size_t i = w->n; i < a.len; i++)
        assert_int_equal(a.bytes[i], 0);
    return reports;
}

static void reports_carry_every_frame(void **state)
{
    uint8_t ids[32], last[VIVO_REPORT_SIZE];

    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct wire w = wire_of(&answers[i]);
        assert_int_equal(through_reports(&w, ids, last), (w.n + 62) / 63);
    }
}

/* The manual's sample: a Ping fills one report. */
static void one_report_is_enough_for_a_ping(void **state)
{
    struct wire w = wire_of(&commands[0]);
    uint8_t expected[VIVO_REPORT_SIZE] = {0x01}, ids[32], last[VIVO_REPORT_SIZE];

    (void)state;
    memcpy(expected + 1, w.bytes, w.n);
    assert_int_equal(through_reports(&w, ids, last), 1);
    assert_memory_equal(last, expected, sizeof expected);
}

/* 314 bytes: one 02 (63), three 03 (189), one 04 with 62 bytes and one of padding. */
static void the_module_versions_take_five_reports(void **state)
{
    static const uint8_t expected[] = {2, 3, 3, 3, 4};
    struct wire w = wire_of(answer(LONGEST_ANSWER));
    uint8_t ids[32], last[VIVO_REPORT_SIZE];

    (void)state;
    assert_int_equal(w.n, 314);
    assert_int_equal(through_reports(&w, ids, last), 5);
    assert_memory_equal(ids, expected, sizeof expected);
    assert_int_equal(last[62], 0x33); /* the CRC's second byte */
    assert_int_equal(last[63], 0x00);
}

static void lengths_around_a_report(void **state)
{
    static const struct {
        size_t n;
        uint8_t ids[4];
        size_t reports;
    } cases[] = {{62, {1}, 1},     {63, {1}, 1},        {64, {2, 4}, 2},
                 {126, {2, 4}, 2}, {127, {2, 3, 4}, 3}, {189, {2, 3, 4}, 3}};
    struct wire w;
    uint8_t ids[32], last[VIVO_REPORT_SIZE];

    (void)state;
    memset(w.bytes, 0x5A, sizeof w.bytes);
    for (size_t i = 0; i < COUNT(cases); i++) {
        w.n = cases[i].n;
        assert_int_equal(through_reports(&w, ids, last), cases[i].reports);
        assert_memory_equal(ids, cases[i].ids, cases[i].reports);
    }
    w.n = VIVO_FRAME_MAX;
    assert_int_equal(through_reports(&w, ids, last), 24);
}

static void reports_out_of_order_are_ignored(void **state)
{
    static struct vivo_assembly a;
    uint8_t r[VIVO_REPORT_SIZE] = {0};

    (void)state;
    vivo_assembly_reset(&a);
    for (unsigned id = 0; id < 256; id++) { /* nothing was begun */
        r[0] = (uint8_t)id;
        if (id != 1 && id != 2)
            assert_false(vivo_assemble(&a, r, sizeof r));
        assert_int_equal(a.open, false);
        if (id == 2)
            vivo_assembly_reset(&a);
    }
    r[0] = 2;
    assert_false(vivo_assemble(&a, r, sizeof r));
    r[0] = 5; /* another ID in between does no harm */
    assert_false(vivo_assemble(&a, r, sizeof r));
    r[0] = 1; /* a new frame drops the open one */
    r[1] = 0x77;
    assert_true(vivo_assemble(&a, r, sizeof r));
    assert_int_equal(a.len, 63);
    assert_int_equal(a.bytes[0], 0x77);
    r[0] = 4;
    assert_false(vivo_assemble(&a, r, sizeof r));
    assert_false(vivo_assemble(&a, r, 1));
    assert_false(vivo_assemble(&a, r, 0));
}

/* A reader that never ends its frame fills no more than there is. */
static void endless_reports_end_the_frame(void **state)
{
    static struct vivo_assembly a;
    uint8_t r[VIVO_REPORT_SIZE] = {2};

    (void)state;
    vivo_assembly_reset(&a);
    assert_false(vivo_assemble(&a, r, sizeof r));
    r[0] = 3;
    for (size_t i = 0; i < 100; i++) {
        assert_false(vivo_assemble(&a, r, sizeof r));
        assert_true(a.len <= sizeof a.bytes);
    }
    assert_false(a.open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_leave_as_recorded),
        cmocka_unit_test(what_is_too_long_is_not_encoded),
        cmocka_unit_test(all_answers_are_read),
        cmocka_unit_test(the_misprint_is_broken),
        cmocka_unit_test(every_bit_is_covered_by_the_crc),
        cmocka_unit_test(garbage_in_front_is_skipped),
        cmocka_unit_test(two_frames_at_once_come_one_after_the_other),
        cmocka_unit_test(a_frame_behind_a_cut_one_is_found),
        cmocka_unit_test(a_length_beyond_the_limit_is_no_header),
        cmocka_unit_test(reports_carry_every_frame),
        cmocka_unit_test(one_report_is_enough_for_a_ping),
        cmocka_unit_test(the_module_versions_take_five_reports),
        cmocka_unit_test(lengths_around_a_report),
        cmocka_unit_test(reports_out_of_order_are_ignored),
        cmocka_unit_test(endless_reports_end_the_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
