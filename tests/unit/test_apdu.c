/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Command APDUs: each of the seven cases, each length that is one byte off, and what T=0 makes of the short ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "card/apdu.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A command of n bytes in memory of exactly n bytes, so that a sanitizer sees a read behind it; begins with head. */
static uint8_t *command(size_t n, const uint8_t *head, size_t head_len)
{
    uint8_t *p = malloc(n > 0 ? n : 1);
    size_t i;

    assert_non_null(p);
    for (i = 0; i < n; i++)
        p[i] = i < head_len ? head[i] : (uint8_t)(i * 7 + 3);
    return p;
}

struct want {
    const char *what;
    size_t n;
    uint8_t tail[5]; /* P3 and, if it is 00, what follows; the header is 80 CA 9F 79 */
    size_t tail_len;
    uint8_t end[2]; /* the last bytes, end_len of them */
    size_t end_len;
    enum result result;
    size_t lc, le; /* le 0: none */
    size_t data_at;
    bool extended;
};

static const struct want wants[] = {
    {"case 1", 4, {0}, 0, {0}, 0, R_SUCCESS, 0, 0, 0, false},
    {"case 2S", 5, {0x09}, 1, {0}, 0, R_SUCCESS, 0, 9, 0, false},
    {"case 2S, Le 00", 5, {0x00}, 1, {0}, 0, R_SUCCESS, 0, 256, 0, false},
    {"case 2S, Le FF", 5, {0xFF}, 1, {0}, 0, R_SUCCESS, 0, 255, 0, false},
    {"case 3S, Lc 1", 6, {0x01}, 1, {0}, 0, R_SUCCESS, 1, 0, 5, false},
    {"case 3S, Lc FF", 260, {0xFF}, 1, {0}, 0, R_SUCCESS, 255, 0, 5, false},
    {"case 4S, Le 00", 7, {0x01}, 1, {0x00}, 1, R_SUCCESS, 1, 256, 5, false},
    {"case 4S, Le 10", 7, {0x01}, 1, {0x10}, 1, R_SUCCESS, 1, 16, 5, false},
    {"case 4S, the longest", 261, {0xFF}, 1, {0xFF}, 1, R_SUCCESS, 255, 255, 5, false},
    {"case 2E, Le 0000", 7, {0x00, 0x00, 0x00}, 3, {0}, 0, R_SUCCESS, 0, 65536, 0, true},
    {"case 2E, Le 0001", 7, {0x00, 0x00, 0x01}, 3, {0}, 0, R_SUCCESS, 0, 1, 0, true},
    {"case 2E, Le FFFF", 7, {0x00, 0xFF, 0xFF}, 3, {0}, 0, R_SUCCESS, 0, 65535, 0, true},
    {"case 3E, Lc 0001", 8, {0x00, 0x00, 0x01}, 3, {0}, 0, R_SUCCESS, 1, 0, 7, true},
    {"case 3E, Lc 0100", 263, {0x00, 0x01, 0x00}, 3, {0}, 0, R_SUCCESS, 256, 0, 7, true},
    {"case 3E, Lc FFFF", 65542, {0x00, 0xFF, 0xFF}, 3, {0}, 0, R_SUCCESS, 65535, 0, 7, true},
    {"case 4E, Le 0000", 10, {0x00, 0x00, 0x01}, 3, {0x00, 0x00}, 2, R_SUCCESS, 1, 65536, 7, true},
    {"case 4E, Le 0102", 10, {0x00, 0x00, 0x01}, 3, {0x01, 0x02}, 2, R_SUCCESS, 1, 258, 7, true},
    {"case 4E, the longest", APDU_EXTENDED_MAX, {0x00, 0xFF, 0xFF}, 3, {0}, 2, R_SUCCESS, 65535, 65536, 7, true},
    {"nothing", 0, {0}, 0, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"three bytes", 3, {0}, 0, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"short Lc, a byte missing", 6, {0x02}, 1, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"short Lc, a byte behind Le", 8, {0x01}, 1, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"short Lc, an extended Le", 9, {0x02}, 1, {0}, 2, R_INVALID, 0, 0, 0, false},
    {"Lc FF, a byte missing", 259, {0xFF}, 1, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"Lc FF, a byte too many", 262, {0xFF}, 1, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"extended, cut in the length", 6, {0x00, 0x01}, 2, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"extended Lc 0000 before data", 8, {0x00, 0x00, 0x00}, 3, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"extended Lc 0000 before Le", 9, {0x00, 0x00, 0x00}, 3, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"extended Lc, a byte missing", 9, {0x00, 0x00, 0x03}, 3, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"extended Lc, a short Le", 9, {0x00, 0x00, 0x01}, 3, {0}, 1, R_INVALID, 0, 0, 0, false},
    {"extended, a byte behind Le", 11, {0x00, 0x00, 0x01}, 3, {0}, 2, R_INVALID, 0, 0, 0, false},
    {"extended FFFF, a byte missing", 65541, {0x00, 0xFF, 0xFF}, 3, {0}, 0, R_INVALID, 0, 0, 0, false},
    {"beyond the longest", 65545, {0x00, 0xFF, 0xFF}, 3, {0}, 0, R_INVALID, 0, 0, 0, false},
};

static uint8_t *wanted_command(const struct want *w)
{
    uint8_t head[9] = {0x80, 0xCA, 0x9F, 0x79};
    uint8_t *p;

    memcpy(head + 4, w->tail, w->tail_len);
    p = command(w->n, head, 4 + w->tail_len);
    if (w->end_len > 0)
        memcpy(p + w->n - w->end_len, w->end, w->end_len);
    return p;
}

static void every_case_and_every_wrong_length(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < LEN(wants); i++) {
        const struct want *w = &wants[i];
        uint8_t *p = wanted_command(w);
        struct apdu a;
        enum result r = apdu_parse(&a, p, w->n);

        if (r != w->result)
            fail_msg("%s: result %d", w->what, (int)r);
        if (r == R_SUCCESS) {
            if (a.lc != w->lc || a.has_le != (w->le != 0) || (a.has_le && a.le != w->le) || a.extended != w->extended)
                fail_msg("%s: lc %zu le %d %zu extended %d", w->what, a.lc, a.has_le, a.le, a.extended);
            assert_ptr_equal(a.data, w->lc > 0 ? p + w->data_at : NULL);
            assert_int_equal(a.cla, 0x80);
            assert_int_equal(a.ins, 0xCA);
            assert_int_equal(a.p1, 0x9F);
            assert_int_equal(a.p2, 0x79);
        }
        free(p);
    }
}

static void t0_takes_short_commands_only(void **state)
{
    size_t i, taken = 0;

    (void)state;
    for (i = 0; i < LEN(wants); i++) {
        const struct want *w = &wants[i];
        uint8_t *p = wanted_command(w);
        struct t0_command t;
        enum result r = t0_from_apdu(&t, p, w->n);

        if (r != (w->extended ? R_INVALID : w->result))
            fail_msg("%s: result %d", w->what, (int)r);
        if (r == R_SUCCESS) {
            taken++;
            assert_memory_equal(t.header, p, 4);
            assert_int_equal(t.lc, w->lc);
            assert_int_equal(t.le, w->lc > 0 ? 0 : w->le & 0xFF);
            assert_ptr_equal(t.data, w->lc > 0 ? p + 5 : NULL);
        }
        free(p);
    }
    assert_int_equal(taken, 9);
}

/* Case 4 over T=0: the Le goes, the data stays (the client fetches with GET RESPONSE). */
static void t0_drops_le_of_case_4(void **state)
{
    static const uint8_t select[] = {0x00, 0xA4, 0x04, 0x00, 0x02, 0x3F, 0x00, 0x00};
    struct t0_command t;

    (void)state;
    assert_int_equal(t0_from_apdu(&t, select, sizeof select), R_SUCCESS);
    assert_int_equal(t.lc, 2);
    assert_int_equal(t.le, 0);
    assert_memory_equal(t.data, "\x3F\x00", 2);
}

/* Case 1 and case 2 with 256 expected have the same P3. */
static void t0_case_1_and_le_256_look_alike(void **state)
{
    static const uint8_t apdu[] = {0x00, 0xB0, 0x00, 0x00, 0x00};
    struct t0_command one, two;

    (void)state;
    assert_int_equal(t0_from_apdu(&one, apdu, 4), R_SUCCESS);
    assert_int_equal(t0_from_apdu(&two, apdu, 5), R_SUCCESS);
    assert_int_equal(one.lc, 0);
    assert_int_equal(one.le, 0);
    assert_int_equal(two.lc, 0);
    assert_int_equal(two.le, 0);
    assert_null(two.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_and_every_wrong_length),
        cmocka_unit_test(t0_takes_short_commands_only),
        cmocka_unit_test(t0_drops_le_of_case_4),
        cmocka_unit_test(t0_case_1_and_le_256_look_alike),
    };

    return cmocka_run_group_tests_name("apdu", tests, NULL, NULL);
}
