/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ISO 15693 frames against recorded ones (spec: 27 frames with a correct CRC, 3 completed), and the search for several
 * cards against a field whose cards are written down here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "card/iso15693.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static size_t unhex(const char *text, uint8_t *out, size_t cap)
{
    size_t n = 0;
    unsigned v;
    int used;

    while (sscanf(text, " %2x%n", &v, &used) == 1) {
        assert_true(n < cap);
        out[n++] = (uint8_t)v;
        text += used;
    }
    return n;
}

#define CARD  "1D 9F 37 59 50 01 04 E0"
#define OTHER "AA 9C 37 59 50 01 04 E0"

/* ---- the recorded requests ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *frame;
    uint8_t flags, code;
    const char *uid, *params;
    enum result check;
} requests[] = {
    {"I01", "17 01 00 00 82 32", 0x17, 0x01, "", "00 00", R_SUCCESS},
    {"I02", "07 01 00 11 53", 0x07, 0x01, "", "00", R_SUCCESS},
    {"I05", "63 20 1D 9F 37 59 50 01 04 E0 0A 08 99", 0x63, 0x20, CARD, "0A", R_SUCCESS},
    {"I08", "23 21 1D 9F 37 59 50 01 04 E0 0A 11 22 33 44 4A 18", 0x23, 0x21, CARD, "0A 11 22 33 44", R_SUCCESS},
    {"I09", "23 21 1D 9F 37 59 50 01 04 E0 0B 55 66 77 88 24 3F", 0x23, 0x21, CARD, "0B 55 66 77 88", R_SUCCESS},
    {"I10", "23 21 1D 9F 37 59 50 01 04 E0 0C 99 AA BB CC 06 6B", 0x23, 0x21, CARD, "0C 99 AA BB CC", R_SUCCESS},
    {"I12", "23 22 AA 9C 37 59 50 01 04 E0 0A 0B A3", 0x23, 0x22, OTHER, "0A", R_SUCCESS},
    {"I13", "63 23 1D 9F 37 59 50 01 04 E0 0A 01 93 93", 0x63, 0x23, CARD, "0A 01", R_SUCCESS},
    {"I14", "63 23 1D 9F 37 59 50 01 04 E0 0A 02 08 A1", 0x63, 0x23, CARD, "0A 02", R_SUCCESS},
    {"I16", "23 24 1D 9F 37 59 50 01 04 E0 09 05 01 01 01 01 02 02 02 02 03 03 03 03 04 04 04 04 05 05 05 05 B3 81",
     0x23, 0x24, CARD, "09 05 01 01 01 01 02 02 02 02 03 03 03 03 04 04 04 04 05 05 05 05", R_INVALID},
    {"I18", "23 25 1D 9F 37 59 50 01 04 E0 A3 05", 0x23, 0x25, CARD, "", R_SUCCESS},
    {"I19", "23 26 1D 9F 37 59 50 01 04 E0 A4 D3", 0x23, 0x26, CARD, "", R_SUCCESS},
    {"I20", "23 27 1D 9F 37 59 50 01 04 E0 00 A2 3F", 0x23, 0x27, CARD, "00", R_SUCCESS},
    {"I21", "23 28 1D 9F 37 59 50 01 04 E0 71 08", 0x23, 0x28, CARD, "", R_SUCCESS},
    {"I22", "23 29 1D 9F 37 59 50 01 04 E0 11 51 BF", 0x23, 0x29, CARD, "11", R_SUCCESS},
    {"I23", "23 2A 1D 9F 37 59 50 01 04 E0 8B 93", 0x23, 0x2A, CARD, "", R_SUCCESS},
    {"I24", "23 2B 1D 9F 37 59 50 01 04 E0 76 DE", 0x23, 0x2B, CARD, "", R_SUCCESS},
    {"I25", "23 2C 1D 9F 37 59 50 01 04 E0 09 06 68 86", 0x23, 0x2C, CARD, "09 06", R_SUCCESS},
    {"I27", "23 02 AA 9C 37 59 50 01 04 E0 72 09", 0x23, 0x02, OTHER, "", R_SUCCESS},
};

/* A request's fields in memory of just their size. */
static void request_of(size_t i, struct iso15693_request *q, uint8_t uid[8], uint8_t params[64])
{
    *q = (struct iso15693_request){.flags = requests[i].flags, .code = requests[i].code, .params = params};
    q->uid = unhex(requests[i].uid, uid, 8) == 8 ? uid : NULL;
    q->n = unhex(requests[i].params, params, 64);
}

static void test_recorded_requests(void **state)
{
    uint8_t want[64], uid[8], params[64], frame[ISO15693_REQUEST_MAX];
    struct iso15693_request q, again;

    (void)state;
    for (size_t i = 0; i < LEN(requests); i++) {
        size_t n = unhex(requests[i].frame, want, sizeof want);

        print_message("%s\n", requests[i].name);
        request_of(i, &q, uid, params);
        assert_int_equal(iso15693_check(&q, 4), requests[i].check);
        assert_int_equal(iso15693_check(&q, 0), requests[i].check);
        assert_int_equal(iso15693_build(&q, true, frame, sizeof frame), n);
        assert_memory_equal(frame, want, n);
        assert_int_equal(iso15693_build(&q, false, frame, sizeof frame), n - 2);
        assert_memory_equal(frame, want, n - 2);
        for (size_t cap = 0; cap < n; cap++)
            assert_int_equal(iso15693_build(&q, true, frame, cap), 0);
        assert_int_equal(iso15693_parse_request(want, n - 2, &again), R_SUCCESS);
        assert_int_equal(again.flags, q.flags);
        assert_int_equal(again.code, q.code);
        assert_int_equal(again.uid != NULL, q.uid != NULL);
        if (q.uid)
            assert_memory_equal(again.uid, q.uid, 8);
        assert_int_equal(again.n, q.n);
        if (q.n > 0)
            assert_memory_equal(again.params, q.params, q.n);
    }
}

/* ---- the recorded answers ------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *frame;
    uint8_t error;
    const char *data;
    const char *request; /* what it answers */
} answers[] = {
    {"I03", "00 00 5F 02 1F 9E 50 01 04 E0 C8 F4", 0, "00 5F 02 1F 9E 50 01 04 E0", "I02"},
    {"I04", "00 11 AA 9C 37 59 50 01 04 E0 3D F8", 0, "11 AA 9C 37 59 50 01 04 E0", "I01"},
    {"I06", "00 00 00 00 00 00 8F F7", 0, "00 00 00 00 00", "I05"},
    {"I07", "00 00 11 22 33 44 FC 06", 0, "00 11 22 33 44", "I05"},
    {"I11", "00 78 F0", 0, "", "I08"},
    {"I15", "00 00 11 22 33 44 00 55 66 77 88 22 B1", 0, "00 11 22 33 44 00 55 66 77 88", "I13"},
    {"I17", "01 0F 68 EE", 0x0F, "", "I16"},
    {"I26", "00 00 00 00 00 00 00 00 73 83", 0, "00 00 00 00 00 00 00", "I25"},
    {"I28", "00 0F 1D 9F 37 59 50 01 04 E0 11 00 1B 03 01 51 5C", 0, "0F 1D 9F 37 59 50 01 04 E0 11 00 1B 03 01",
     "I24"},
    {"I29", "00 0F C7 C2 37 59 50 01 04 E0 00 00 1B 03 01 33 F2", 0, "0F C7 C2 37 59 50 01 04 E0 00 00 1B 03 01", NULL},
    {"I30", "00 00 11 22 33 44 00 55 66 77 88 00 99 AA BB CC EE 7D", 0, "00 11 22 33 44 00 55 66 77 88 00 99 AA BB CC",
     "I14"},
};

static void expect_answers(const char *request, const struct iso15693_response *a, unsigned block, bool want)
{
    uint8_t uid[8], params[64];
    struct iso15693_request q;

    for (size_t i = 0; i < LEN(requests); i++) {
        if (strcmp(requests[i].name, request) != 0)
            continue;
        request_of(i, &q, uid, params);
        assert_int_equal(iso15693_answers(&q, a, block), want);
        return;
    }
    fail_msg("no request %s", request);
}

static void test_recorded_answers(void **state)
{
    uint8_t frame[64], data[64];
    struct iso15693_response a;

    (void)state;
    for (size_t i = 0; i < LEN(answers); i++) {
        size_t n = unhex(answers[i].frame, frame, sizeof frame), len = unhex(answers[i].data, data, sizeof data);

        print_message("%s\n", answers[i].name);
        for (unsigned crc = 0; crc < 2; crc++) {
            assert_int_equal(iso15693_parse_response(frame, crc ? n : n - 2, crc, &a), R_SUCCESS);
            assert_int_equal(a.error, answers[i].error);
            assert_int_equal(a.n, len);
            if (len > 0)
                assert_memory_equal(a.data, data, len);
        }
        if (answers[i].request) {
            expect_answers(answers[i].request, &a, 4, true);
            expect_answers(answers[i].request, &a, 0, true);
        }
    }
}

/* Every bit of every recorded answer turned, and every answer cut: none passes its check. */
static void test_broken_answers(void **state)
{
    uint8_t frame[64];
    struct iso15693_response a;

    (void)state;
    for (size_t i = 0; i < LEN(answers); i++) {
        size_t n = unhex(answers[i].frame, frame, sizeof frame);

        for (size_t bit = 0; bit < 8 * n; bit++) {
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(iso15693_parse_response(frame, n, true, &a), R_COMM);
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(iso15693_parse_response(frame, cut, true, &a), R_COMM);
    }
    assert_int_equal(iso15693_parse_response(NULL, 0, false, &a), R_COMM);
    assert_int_equal(iso15693_parse_response((const uint8_t *)"\x01", 1, false, &a), R_COMM);
    assert_int_equal(iso15693_parse_response((const uint8_t *)"\x01\x00", 2, false, &a), R_SUCCESS);
    assert_int_equal(a.error, ISO15693_NO_REASON);
}

/* An answer of the wrong shape is none. */
static void test_unfit_answers(void **state)
{
    uint8_t data[32] = {0};
    struct iso15693_response a = {.data = data};
    static const struct {
        const char *request;
        size_t n; /* the only right one, block size 4 */
    } rows[] = {{"I02", 9}, {"I05", 5}, {"I08", 0}, {"I12", 0}, {"I13", 10}, {"I14", 15}, {"I18", 0}, {"I25", 7}};

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++)
        for (a.n = 0; a.n <= sizeof data; a.n++)
            expect_answers(rows[i].request, &a, 4, a.n == rows[i].n);
    for (a.n = 0; a.n <= sizeof data; a.n++) {
        expect_answers("I27", &a, 4, false);                    /* stay quiet: none is right */
        expect_answers("I13", &a, 0, a.n >= 4 && a.n % 2 == 0); /* unknown block size: two equal parts */
    }
    /* System information of another card. */
    a.n = unhex("0F C7 C2 37 59 50 01 04 E0 00 00 1B 03 01", data, sizeof data);
    expect_answers("I24", &a, 4, false);
    a.error = 0x0F;
    expect_answers("I24", &a, 4, true);
}

/* ---- requests that are not sent ------------------------------------------------------------------------------- */

static enum result judge(uint8_t flags, uint8_t code, const char *params, unsigned block)
{
    uint8_t bytes[64];
    struct iso15693_request q = {.flags = flags, .code = code, .uid = (const uint8_t *)"12345678", .params = bytes};

    q.n = unhex(params, bytes, sizeof bytes);
    return iso15693_check(&q, block);
}

static void test_refused_requests(void **state)
{
    static const struct {
        uint8_t flags, code;
        const char *params;
        unsigned block;
        enum result want;
    } rows[] = {
        /* write multiple: the count byte is the number of blocks less one */
        {0x22, 0x24, "09 04 01010101 02020202 03030303 04040404 05050505", 4, R_SUCCESS},
        {0x22, 0x24, "09 05 01010101 02020202 03030303 04040404 05050505", 4, R_INVALID},
        {0x22, 0x24, "09 05 01010101 02020202 03030303 04040404 05050505", 0, R_INVALID},
        {0x22, 0x24, "09 03 01010101 02020202 03030303 04040404 05050505", 4, R_INVALID},
        {0x22, 0x24, "09 03 01010101 02020202 03030303 04040404 05050505", 0, R_SUCCESS}, /* blocks of 5 */
        {0x22, 0x24, "09 00 01010101", 4, R_SUCCESS},
        {0x22, 0x24, "09 00", 4, R_INVALID},
        {0x22, 0x24, "09 00", 0, R_INVALID},
        {0x22, 0x24, "09", 4, R_INVALID},
        {0x22, 0x24, "", 0, R_INVALID},
        {0x22, 0x24, "FF 01 01010101 02020202", 4, R_INVALID}, /* there is no block 100 */
        {0x22, 0x20, "", 4, R_INVALID},
        {0x22, 0x20, "0A", 4, R_SUCCESS},
        {0x22, 0x20, "0A 00", 4, R_INVALID},
        {0x22, 0x21, "0A", 0, R_INVALID},
        {0x22, 0x21, "0A 01", 0, R_SUCCESS},
        {0x22, 0x21, "0A 01", 4, R_INVALID},
        {0x22, 0x21, "0A 0102030405", 4, R_INVALID},
        {0x22, 0x22, "", 4, R_INVALID},
        {0x22, 0x23, "0A", 4, R_INVALID},
        {0x22, 0x23, "F0 0F", 4, R_SUCCESS},
        {0x22, 0x23, "F0 10", 4, R_INVALID},
        {0x22, 0x27, "", 4, R_INVALID},
        {0x22, 0x28, "00", 4, R_INVALID},
        {0x22, 0x2B, "00", 4, R_INVALID},
        {0x22, 0xA2, "", 4, R_INVALID}, /* the manufacturer's byte is missing */
        {0x22, 0xA2, "04", 4, R_SUCCESS},
        {0x22, 0xDF, "04 01 02", 4, R_SUCCESS},
        {0x22, 0x9F, "04", 4, R_NOT_SUPPORTED},
        {0x22, 0xE0, "04", 4, R_NOT_SUPPORTED},
        {0x22, 0x2D, "", 4, R_NOT_SUPPORTED},
        {0x2A, 0x20, "0A", 4, R_NOT_SUPPORTED}, /* protocol extension */
        {0x02, 0x02, "", 4, R_PROTOCOL},        /* stay quiet, select: with a UID only */
        {0x12, 0x02, "", 4, R_PROTOCOL},
        {0x02, 0x25, "", 4, R_PROTOCOL},
        {0x02, 0x26, "", 4, R_SUCCESS},
        {0x12, 0x20, "0A", 4, R_SUCCESS},
        {0x32, 0x20, "0A", 4, R_PROTOCOL},
        {0x22, 0x01, "00", 4, R_PROTOCOL}, /* inventory without its flag, others with it */
        {0x26, 0x20, "0A", 4, R_PROTOCOL},
        {0x26, 0x01, "00", 4, R_SUCCESS},
        {0x26, 0x01, "", 4, R_INVALID},
        {0x36, 0x01, "00", 4, R_INVALID},
        {0x36, 0x01, "07 00", 4, R_SUCCESS},
        {0x26, 0x01, "08", 4, R_INVALID},
        {0x26, 0x01, "08 AA", 4, R_SUCCESS},
        {0x26, 0x01, "09 AA", 4, R_INVALID},
        {0x26, 0x01, "09 AA 01", 4, R_SUCCESS},
        {0x26, 0x01, "40 0102030405060708", 4, R_SUCCESS},
        {0x26, 0x01, "41 010203040506070809", 4, R_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        print_message("%02X %02X %s\n", rows[i].flags, rows[i].code, rows[i].params);
        assert_int_equal(judge(rows[i].flags, rows[i].code, rows[i].params, rows[i].block), rows[i].want);
    }
}

static void test_custom_command(void **state)
{
    uint8_t frame[32], want[32];
    const uint8_t params[] = {0x04, 0xAA, 0xBB};
    uint8_t uid[8];
    struct iso15693_request q = {.flags = 0x22, .code = 0xA2, .uid = uid, .params = params, .n = 3}, again;
    size_t n = unhex("22 A2 04 1D 9F 37 59 50 01 04 E0 AA BB", want, sizeof want);

    (void)state;
    unhex(CARD, uid, 8);
    assert_int_equal(iso15693_build(&q, false, frame, sizeof frame), n);
    assert_memory_equal(frame, want, n);
    assert_int_equal(iso15693_parse_request(frame, n, &again), R_SUCCESS);
    assert_memory_equal(again.uid, uid, 8);
    q.flags = 0x02;
    n = unhex("02 A2 04 AA BB", want, sizeof want);
    assert_int_equal(iso15693_build(&q, false, frame, sizeof frame), n);
    assert_memory_equal(frame, want, n);
    q.n = 0;
    assert_int_equal(iso15693_build(&q, false, frame, sizeof frame), 0);
    q = (struct iso15693_request){.flags = 0x22, .code = 0x2B};
    assert_int_equal(iso15693_build(&q, false, frame, sizeof frame), 0); /* addressed to nobody */
}

static void test_command_table(void **state)
{
    static const uint8_t all[] = {0x01, 0x02, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25,
                                  0x26, 0x27, 0x28, 0x29, 0x2A, 0x2B, 0x2C};
    unsigned known = 0, locks = 0, repeatable = 0;

    (void)state;
    for (unsigned code = 0; code < 0x100; code++) {
        const struct iso15693_command *c = iso15693_command((uint8_t)code);

        if (!c)
            continue;
        known++;
        locks += c->lock;
        repeatable += c->repeatable;
        assert_false(c->lock && c->repeatable);
        assert_non_null(c->name);
        assert_true(c->wait_us >= 1000);
        if (code >= 0xA0 && code <= 0xDF)
            assert_int_equal(c->shape, SHAPE_ANY);
        else
            assert_non_null(memchr(all, (int)code, sizeof all));
        /* What writes gets the 20 ms that a card may take, and is not repeated. */
        if (c->lock || c->answer == ANSWER_ANY || memchr("\x21\x24\x27\x29", (int)code, 4)) {
            assert_true(c->writes && c->wait_us >= 20000);
            assert_false(c->repeatable);
        }
    }
    assert_int_equal(known, LEN(all) + 0x40);
    assert_int_equal(locks, 3);
    assert_int_equal(repeatable, 5); /* inventory, reads, system information, security status */
}

/* ---- system information ---------------------------------------------------------------------------------------- */

static void test_system(void **state)
{
    uint8_t data[64];
    struct iso15693_system s;
    struct iso15693_card card;
    size_t n = unhex("0F 1D 9F 37 59 50 01 04 E0 11 07 1B 03 01", data, sizeof data);

    (void)state;
    assert_int_equal(iso15693_parse_system(data, n, &s), R_SUCCESS);
    assert_true(s.has_dsfid && s.has_afi && s.has_memory && s.has_reference);
    assert_int_equal(s.dsfid, 0x11);
    assert_int_equal(s.afi, 0x07);
    assert_int_equal(s.blocks, 28);
    assert_int_equal(s.block_size, 4);
    assert_int_equal(s.reference, 0x01);
    assert_memory_equal(s.uid, data + 1, 8);
    iso15693_card_init(&card, s.uid);
    assert_int_equal(card.block_size, 4);
    assert_int_equal(card.blocks, 0);
    iso15693_card_learn(&card, &s);
    assert_int_equal(card.blocks, 28);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(iso15693_parse_system(data, cut, &s), R_COMM);
    /* Each set of fields: they follow in order, each only if announced. */
    for (unsigned flags = 0; flags < 16; flags++) {
        size_t m = 9;

        data[0] = (uint8_t)flags;
        m += (flags & 1) + (flags >> 1 & 1) + (flags & 4 ? 2 : 0) + (flags >> 3 & 1);
        memcpy(data + 9, "\xFF\xFE\xFD\xFC\xFB", 5);
        assert_int_equal(iso15693_parse_system(data, m, &s), R_SUCCESS);
        assert_int_equal(iso15693_parse_system(data, m - 1, &s), R_COMM);
        assert_int_equal(iso15693_parse_system(data, m, &s), R_SUCCESS);
        assert_int_equal(s.has_dsfid, flags & 1);
        if (flags & 1)
            assert_int_equal(s.dsfid, 0xFF);
        if ((flags & 7) == 4) {
            assert_int_equal(s.blocks, 256);
            assert_int_equal(s.block_size, 31);
        }
        if (flags == 8)
            assert_int_equal(s.reference, 0xFF);
        iso15693_card_init(&card, s.uid);
        iso15693_card_learn(&card, &s);
        assert_int_equal(card.blocks != 0, (flags & 4) != 0);
    }
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    static const struct {
        const char *uid;
        uint16_t name;
    } rows[] = {
        {"2E 98 5C 8A 00 01 04 E0", 0x0014}, {"1D 9F 37 59 50 01 04 E0", 0x0014}, /* ICODE SLI */
        {"00 00 00 00 00 02 04 E0", 0x0000}, {"00 00 00 00 00 03 04 E0", 0x0000}, /* SLI-S, SLI-L have no name */
        {"00 00 00 00 00 00 07 E0", 0x0012}, {"00 00 00 00 00 C0 07 E0", 0x0012}, /* Tag-it */
        {"00 00 00 00 00 14 02 E0", 0x0021}, {"00 00 00 00 00 17 02 E0", 0x0021}, /* LRI64 */
        {"00 00 00 00 00 20 02 E0", 0x0000},                                      /* LRI2K */
        {"00 00 00 00 00 00 05 E0", 0x000E}, {"00 00 00 00 00 40 05 E0", 0x000F}, {"00 00 00 00 00 10 05 E0", 0x0010},
        {"00 00 00 00 00 50 05 E0", 0x0011}, {"00 00 00 00 00 A1 05 E0", 0x0000}, /* Infineon my-d */
        {"00 00 00 00 00 01 08 E0", 0x0000}, {"00 00 00 00 00 01 04 E1", 0x0000},
    };
    uint8_t uid[8];

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        assert_int_equal(unhex(rows[i].uid, uid, sizeof uid), 8);
        print_message("%s\n", rows[i].uid);
        assert_int_equal(iso15693_card_name(uid), rows[i].name);
    }
}

/* ---- a card's state -------------------------------------------------------------------------------------------- */

static const struct iso15693_response fine = {0}, refused = {.flags = 1, .error = 0x0F};

static void sent(struct iso15693_card *card, const char *frame, const struct iso15693_response *a)
{
    uint8_t bytes[32];
    size_t n = unhex(frame, bytes, sizeof bytes);

    iso15693_card_track(card, bytes, n, a);
}

static void expect_state(const struct iso15693_card *card, bool selected, bool quiet)
{
    assert_int_equal(card->selected, selected);
    assert_int_equal(card->quiet, quiet);
}

static void test_state(void **state)
{
    struct iso15693_card card;
    uint8_t uid[8];

    (void)state;
    unhex(CARD, uid, 8);
    iso15693_card_init(&card, uid);
    expect_state(&card, false, false);
    sent(&card, "22 25 " CARD, &refused);
    expect_state(&card, false, false);
    sent(&card, "22 25 " CARD, &fine);
    expect_state(&card, true, false);
    sent(&card, "22 20 " CARD " 00", &fine);
    expect_state(&card, true, false);
    sent(&card, "22 25 " OTHER, &fine);
    expect_state(&card, false, false);
    sent(&card, "22 25 " CARD, NULL); /* lost: it may be selected */
    expect_state(&card, true, false);
    sent(&card, "12 26", &fine);
    expect_state(&card, false, false);
    sent(&card, "22 02 " OTHER, NULL);
    expect_state(&card, false, false);
    sent(&card, "22 25 " CARD, &fine);
    sent(&card, "22 02 " CARD, NULL);
    expect_state(&card, false, true);
    sent(&card, "02 26", &fine); /* another card answered: a quiet one obeys its UID only */
    expect_state(&card, false, true);
    sent(&card, "12 26", &fine);
    expect_state(&card, false, true);
    sent(&card, "22 26 " CARD, NULL);
    expect_state(&card, false, true);
    sent(&card, "22 26 " CARD, &fine);
    expect_state(&card, false, false);
    sent(&card, "22 02 " CARD, NULL);
    sent(&card, "22 25 " CARD, &fine);
    expect_state(&card, true, false);
    sent(&card, "02 26", &fine);
    expect_state(&card, false, false);
    sent(&card, "22 02", NULL); /* cut */
    sent(&card, "02", NULL);
    sent(&card, "02 02", NULL); /* no card obeys it */
    expect_state(&card, false, false);
}

/* ---- several cards --------------------------------------------------------------------------------------------- */

struct field {
    struct iso15693_tag tags[40];
    size_t count;
    unsigned frames;
    bool weak;         /* collisions come as broken frames */
    unsigned fail_at;  /* a frame that ends the search; 0: none */
    uint8_t flags;     /* of the last frame */
    uint8_t afi;
    bool liar;         /* every frame is answered by the first tag, whatever it asks */
};

static bool matches(const struct iso15693_tag *tag, const uint8_t *mask, unsigned bits)
{
    for (unsigned i = 0; i < bits; i++)
        if ((tag->uid[i / 8] >> i % 8 & 1) != (mask[i / 8] >> i % 8 & 1))
            return false;
    return true;
}

static enum result field_exchange(void *context, const uint8_t *frame, size_t n, enum iso15693_air *air,
                                  uint8_t *answer, size_t cap, size_t *len)
{
    struct field *f = context;
    const struct iso15693_tag *heard = NULL;
    const uint8_t *p = frame + 2;
    size_t matched = 0;

    assert_true(++f->frames <= ISO15693_INVENTORY_STEPS);
    if (f->frames == f->fail_at)
        return R_GONE;
    assert_true(n >= 3 && cap >= 10);
    f->flags = frame[0];
    assert_int_equal(frame[0] & 0x2C, 0x24);
    assert_int_equal(frame[1], 1);
    if (frame[0] & 0x10)
        f->afi = *p++;
    assert_int_equal(n, (size_t)(p + 1 - frame) + (p[0] + 7u) / 8);
    for (unsigned i = p[0]; i % 8; i++)
        assert_int_equal(p[1 + i / 8] >> i % 8 & 1, 0); /* the mask is padded with zeros */
    for (size_t i = 0; i < f->count; i++) {
        if (!f->liar && !matches(&f->tags[i], p + 1, p[0]))
            continue;
        matched++;
        heard = &f->tags[i];
    }
    *air = matched == 0 ? AIR_SILENCE : matched == 1 ? AIR_ANSWER : f->weak ? AIR_BROKEN : AIR_COLLISION;
    if (matched == 1) {
        answer[0] = 0;
        answer[1] = heard->dsfid;
        memcpy(answer + 2, heard->uid, 8);
        *len = 10;
    }
    return R_SUCCESS;
}

static void put_tag(struct field *f, const char *uid)
{
    struct iso15693_tag *tag = &f->tags[f->count];

    assert_int_equal(unhex(uid, tag->uid, 8), 8);
    tag->dsfid = (uint8_t)(0x40 + f->count++);
}

static bool holds(const struct iso15693_found *found, const struct iso15693_tag *tag)
{
    for (size_t i = 0; i < found->count; i++)
        if (memcmp(&found->tags[i], tag, sizeof *tag) == 0)
            return true;
    return false;
}

static void search(struct field *f, const struct iso15693_search *s, struct iso15693_found *found)
{
    f->frames = 0;
    assert_int_equal(iso15693_inventory(s, field_exchange, f, found), R_SUCCESS);
    assert_int_equal(found->steps, f->frames);
    for (size_t i = 1; i < found->count; i++)
        assert_memory_not_equal(&found->tags[i - 1], &found->tags[i], sizeof found->tags[0]);
}

static const struct iso15693_search all_cards = {.wanted = ISO15693_TAGS_MAX};

static void test_inventory(void **state)
{
    struct field f = {0};
    struct iso15693_found found;

    (void)state;
    search(&f, &all_cards, &found);
    assert_int_equal(found.count, 0);
    assert_int_equal(f.frames, 1);
    assert_int_equal(f.flags, 0x26);
    assert_false(found.more);
    put_tag(&f, CARD);
    search(&f, &all_cards, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(f.frames, 1);
    put_tag(&f, OTHER);                     /* differs in the first nibble */
    put_tag(&f, "AD 9F 37 59 50 01 04 E0"); /* shares the first nibble with CARD, not the second */
    put_tag(&f, "1D 9F 37 59 50 01 04 C0"); /* differs in the last nibble only */
    for (unsigned weak = 0; weak < 2; weak++) {
        f.weak = weak;
        search(&f, &all_cards, &found);
        assert_int_equal(found.count, 4);
        assert_false(found.more);
        for (size_t i = 0; i < f.count; i++)
            assert_true(holds(&found, &f.tags[i]));
    }
    search(&f, &(struct iso15693_search){.wanted = 1}, &found);
    assert_int_equal(found.count, 1);
    assert_true(found.more);
    assert_true(holds(&found, &f.tags[1])); /* nibble A comes before D */
    f.fail_at = 5;
    f.frames = 0;
    assert_int_equal(iso15693_inventory(&all_cards, field_exchange, &f, &found), R_GONE);
    assert_int_equal(f.frames, 5);
}

/* A search that begins with a mask, of any length, finds just the cards that match it. */
static void test_inventory_mask(void **state)
{
    struct field f = {0};
    struct iso15693_found found;

    (void)state;
    put_tag(&f, CARD);
    put_tag(&f, OTHER);
    put_tag(&f, "1D 9F 37 59 50 01 04 C0");
    put_tag(&f, "1C 9F 37 59 50 01 04 E0");
    for (unsigned bits = 0; bits <= 64; bits++) {
        struct iso15693_search s = {
            .bits = bits, .wanted = ISO15693_TAGS_MAX, .flags = 0x03, .has_afi = true, .afi = 0x30};
        size_t should = 0;

        s.mask = UINT64_C(0xE0040150) << 32 | UINT64_C(0x59379F1D);
        search(&f, &s, &found);
        for (size_t i = 0; i < f.count; i++) {
            bool in = matches(&f.tags[i], f.tags[0].uid, bits);

            should += in;
            assert_int_equal(holds(&found, &f.tags[i]), in);
        }
        assert_int_equal(found.count, should);
        assert_false(found.more);
        assert_int_equal(f.flags, 0x37);
        assert_int_equal(f.afi, 0x30);
    }
}

/* Fields as they come: cards with any UIDs, in any number up to the bound. */
static void test_inventory_many(void **state)
{
    struct iso15693_found found;
    uint32_t random = 15693;

    (void)state;
    for (unsigned turn = 0; turn < 300; turn++) {
        struct field f = {.count = turn % (ISO15693_TAGS_MAX + 1)};

        for (size_t i = 0; i < f.count; i++) {
            for (size_t k = 0; k < 8; k++) {
                random = random * 1664525 + 1013904223;
                f.tags[i].uid[k] = (uint8_t)(random >> 24 & (turn % 3 ? 0xFF : 0x11));
            }
            f.tags[i].uid[3] = (uint8_t)i; /* no two the same */
        }
        search(&f, &all_cards, &found);
        assert_int_equal(found.count, f.count);
        for (size_t i = 0; i < f.count; i++)
            assert_true(holds(&found, &f.tags[i]));
    }
}

/* What cannot be told apart, lies or never ends must not take the search with it. */
static void test_inventory_bounds(void **state)
{
    struct field f = {0};
    struct iso15693_found found;

    (void)state;
    put_tag(&f, CARD);
    put_tag(&f, CARD); /* two cards with one UID */
    search(&f, &all_cards, &found);
    assert_int_equal(found.count, 0);
    assert_true(found.more);
    f = (struct field){.liar = true};
    put_tag(&f, CARD); /* one that answers every mask: only the right one counts */
    search(&f, &(struct iso15693_search){.bits = 4, .mask = 0x0A, .wanted = ISO15693_TAGS_MAX}, &found);
    assert_int_equal(found.count, 0);
    put_tag(&f, OTHER); /* noise: something is heard at every mask */
    search(&f, &all_cards, &found);
    assert_int_equal(found.count, 0);
    assert_int_equal(found.steps, ISO15693_INVENTORY_STEPS);
    assert_true(found.more);
    f = (struct field){0};
    for (unsigned i = 0; i < 40; i++) {
        put_tag(&f, CARD);
        f.tags[i].uid[0] = (uint8_t)i;
    }
    search(&f, &all_cards, &found);
    assert_int_equal(found.count, ISO15693_TAGS_MAX);
    assert_true(found.more);
    assert_int_equal(iso15693_inventory(&(struct iso15693_search){.bits = 65}, field_exchange, &f, &found), R_INVALID);
}

static void test_parse_mask(void **state)
{
    static const struct {
        const char *params;
        bool has_afi;
        enum result want;
        unsigned bits;
        uint64_t mask;
    } rows[] = {
        {"00", false, R_SUCCESS, 0, 0},
        {"30 00", true, R_SUCCESS, 0, 0},
        {"", false, R_INVALID, 0, 0},
        {"30", true, R_INVALID, 0, 0},
        {"04 FD", false, R_SUCCESS, 4, 0x0D},
        {"0C FD AA", false, R_SUCCESS, 12, 0xAFD},
        {"0C FD", false, R_INVALID, 0, 0},
        {"04 FD 00", false, R_INVALID, 0, 0},
        {"40 0102030405060780", false, R_SUCCESS, 64, UINT64_C(0x8007060504030201)},
        {"41 010203040506070809", false, R_INVALID, 0, 0},
    };
    uint8_t bytes[16];

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct iso15693_search s = {.has_afi = rows[i].has_afi};
        size_t n = unhex(rows[i].params, bytes, sizeof bytes);

        print_message("%s\n", rows[i].params);
        assert_int_equal(iso15693_parse_mask(&s, bytes, n), rows[i].want);
        if (rows[i].want != R_SUCCESS)
            continue;
        assert_int_equal(s.bits, rows[i].bits);
        assert_true(s.mask == rows[i].mask);
        if (rows[i].has_afi)
            assert_int_equal(s.afi, 0x30);
    }
}

/* Something answers that is no card's answer to an inventory: looked for further down, and never counted as a card. */
static enum result odd_exchange(void *context, const uint8_t *frame, size_t n, enum iso15693_air *air, uint8_t *answer,
                                size_t cap, size_t *len)
{
    (void)n;
    *air = frame[2] == 0 ? AIR_ANSWER : AIR_SILENCE; /* the mask is empty */
    *len = unhex(context, answer, cap);
    return R_SUCCESS;
}

static void test_odd_answers_to_an_inventory(void **state)
{
    static char *const heard[] = {"01 0F", "00", "", "00 11 22", "01", "00 00 1D 9F 37 59 50 01 04 E0 55"};
    struct iso15693_search s = {.wanted = 1};
    struct iso15693_found found;

    (void)state;
    for (size_t i = 0; i < LEN(heard); i++) {
        assert_int_equal(iso15693_inventory(&s, odd_exchange, heard[i], &found), R_SUCCESS);
        assert_int_equal(found.count, 0);
        assert_int_equal(found.steps, 17);
    }
    s.bits = 65;
    assert_int_equal(iso15693_inventory(&s, odd_exchange, heard[0], &found), R_INVALID);
}

static void test_room_for_the_crc(void **state)
{
    uint8_t frame[8] = {0x02, 0x2B, 0};

    (void)state;
    assert_int_equal(iso15693_add_crc(frame, 2, 1), 0);
    assert_int_equal(iso15693_add_crc(frame, 2, 3), 0);
    assert_int_equal(iso15693_add_crc(frame, 2, 4), 4);
}

/* A custom command's manufacturer goes in front of the UID; an inventory has none, whatever its code. */
static void test_custom_inventory(void **state)
{
    static const uint8_t params[] = {0x04, 0x00};
    const struct iso15693_request q = {.flags = 0x26, .code = 0xA5, .params = params, .n = sizeof params};
    uint8_t frame[8];

    (void)state;
    assert_int_equal(iso15693_build(&q, false, frame, sizeof frame), 4);
    assert_memory_equal(frame, "\x26\xA5\x04\x00", 4);
}

/* Which answers a request can have, where the answer names a card or nobody knows the command. */
static void test_whose_answer_it_is(void **state)
{
    uint8_t mine[8], other[8], system[16];
    struct iso15693_request q = {.flags = 0x22, .code = 0x2B, .uid = mine};
    struct iso15693_response a = {.data = system};

    (void)state;
    (void)unhex("1D 9F 37 59 50 01 04 E0", mine, 8);
    (void)unhex("2D 9F 37 59 50 01 04 E0", other, 8);
    a.n = unhex("00 1D 9F 37 59 50 01 04 E0", system, sizeof system);
    assert_true(iso15693_answers(&q, &a, 4));
    q.uid = other;
    assert_false(iso15693_answers(&q, &a, 4));
    q.flags = 0x02; /* to everybody */
    assert_true(iso15693_answers(&q, &a, 4));
    a.n = 3;
    assert_false(iso15693_answers(&q, &a, 4));
    q.code = 0x55; /* a command that is in no table */
    assert_true(iso15693_answers(&q, &a, 4));
    q.code = 0x2B;
    a.error = 0x0F; /* an error answers anything */
    assert_true(iso15693_answers(&q, &a, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_odd_answers_to_an_inventory),
        cmocka_unit_test(test_room_for_the_crc),
        cmocka_unit_test(test_custom_inventory),
        cmocka_unit_test(test_whose_answer_it_is),
        cmocka_unit_test(test_recorded_requests), cmocka_unit_test(test_recorded_answers),
        cmocka_unit_test(test_broken_answers),    cmocka_unit_test(test_unfit_answers),
        cmocka_unit_test(test_refused_requests),  cmocka_unit_test(test_custom_command),
        cmocka_unit_test(test_command_table),     cmocka_unit_test(test_system),
        cmocka_unit_test(test_names),             cmocka_unit_test(test_state),
        cmocka_unit_test(test_inventory),         cmocka_unit_test(test_inventory_mask),
        cmocka_unit_test(test_inventory_many),    cmocka_unit_test(test_inventory_bounds),
        cmocka_unit_test(test_parse_mask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
