/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * MIFARE Classic: the map of sectors block by block, the access conditions against the data sheet's tables written out
 * anew, value blocks as recorded from a real card, and arithmetic at its edges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "card/mifare.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static void every_block_lies_in_its_sector(void **state)
{
    unsigned sector = 0, first = 0;

    (void)state;
    for (unsigned b = 0; b < MIFARE_BLOCKS_MAX; b++) {
        unsigned size = sector < 32 ? 4 : 16;

        assert_int_equal(mifare_sector(b), sector);
        assert_int_equal(mifare_sector_first(b), first);
        assert_int_equal(mifare_trailer(b), first + size - 1);
        assert_int_equal(mifare_is_trailer(b), b == first + size - 1);
        assert_int_equal(mifare_sector_trailer(sector), first + size - 1);
        if (b == first + size - 1) {
            first += size;
            sector++;
        }
    }
    assert_int_equal(sector, 40);
}

static void the_sak_tells_the_size_of_some(void **state)
{
    (void)state;
    assert_int_equal(mifare_blocks_by_sak(0x08), 64);
    assert_int_equal(mifare_blocks_by_sak(0x18), 256);
    assert_int_equal(mifare_blocks_by_sak(0x09), 20);
    assert_int_equal(mifare_blocks_by_sak(0x00), 0);
    assert_int_equal(mifare_blocks_by_sak(0x20), 0);
}

/* Access bytes that give group g the bits c1 c2 c3, and the other groups 000. */
static void make_access(uint8_t access[3], unsigned g, unsigned c1, unsigned c2, unsigned c3)
{
    unsigned a = c1 << g, b = c2 << g, c = c3 << g;

    access[0] = (uint8_t)((~b & 15) << 4 | (~a & 15));
    access[1] = (uint8_t)(a << 4 | (~c & 15));
    access[2] = (uint8_t)(c << 4 | b);
}

static void access_bits_must_agree_with_their_complements(void **state)
{
    static const uint8_t transport[3] = {0xFF, 0x07, 0x80};
    uint8_t access[3];

    (void)state;
    assert_true(mifare_access_valid(transport));
    for (unsigned bit = 0; bit < 24; bit++) { /* each bit occurs once as it is or inverted: any change contradicts */
        memcpy(access, transport, 3);
        access[bit / 8] = (uint8_t)(access[bit / 8] ^ 1U << bit % 8);
        assert_false(mifare_access_valid(access));
    }
    memset(access, 0, 3);
    assert_false(mifare_access_valid(access));
    memset(access, 0xFF, 3);
    assert_false(mifare_access_valid(access));
    for (unsigned i = 0; i < 32; i++) {
        make_access(access, i / 8, i >> 2 & 1, i >> 1 & 1, i & 1);
        assert_true(mifare_access_valid(access));
    }
}

/* MF1S50, table 8: who may read, write, increment, decrement/transfer/restore. */
static const struct {
    const char *bits;
    const char *allowed[4];
} conditions[] = {
    {"000", {"AB", "AB", "AB", "AB"}}, {"010", {"AB", "-", "-", "-"}},  {"100", {"AB", "B", "-", "-"}},
    {"110", {"AB", "B", "B", "AB"}},   {"001", {"AB", "-", "-", "AB"}}, {"011", {"B", "B", "-", "-"}},
    {"101", {"B", "-", "-", "-"}},     {"111", {"-", "-", "-", "-"}},
};

static unsigned keys_of(const char *text)
{
    return (strchr(text, 'A') ? 1U : 0U) | (strchr(text, 'B') ? 2U : 0U);
}

static void access_conditions_are_those_of_the_data_sheet(void **state)
{
    /* a block of each group, in a small and in a large sector */
    static const unsigned small[] = {4, 5, 6}, large[][2] = {{128, 132}, {133, 137}, {138, 142}};

    (void)state;
    for (size_t i = 0; i < LEN(conditions); i++) {
        const char *c = conditions[i].bits;

        for (unsigned group = 0; group < 3; group++) {
            uint8_t access[3];

            make_access(access, group, c[0] == '1', c[1] == '1', c[2] == '1');
            for (unsigned use = 0; use < 4; use++) {
                unsigned want = keys_of(conditions[i].allowed[use]);

                assert_int_equal(mifare_allowed(access, small[group], use), want);
                assert_int_equal(mifare_allowed(access, large[group][0], use), want);
                assert_int_equal(mifare_allowed(access, large[group][1], use), want);
                assert_int_equal(mifare_allowed(access, small[(group + 1) % 3], use), 3); /* a neighbour, 000 */
            }
        }
    }
}

static const struct {
    uint8_t block[16];
    int32_t value;
    uint8_t address;
} values[] = {
    {{0x87, 0x19, 0, 0, 0x78, 0xE6, 0xFF, 0xFF, 0x87, 0x19, 0, 0, 0, 0xFF, 0, 0xFF}, 0x1987, 0}, /* recorded */
    {{0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 4, 0xFB, 4, 0xFB}, 0, 4},
    {{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0}, -1, 0xFF},
    {{0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0x80, 0xFF, 0xFF, 0xFF, 0x7F, 5, 0xFA, 5, 0xFA}, INT32_MAX, 5},
    {{0, 0, 0, 0x80, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0x80, 5, 0xFA, 5, 0xFA}, INT32_MIN, 5},
};

static void value_blocks_are_read_and_made(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(values); i++) {
        struct mifare_value v;
        uint8_t block[16];

        assert_true(mifare_parse_value(values[i].block, &v));
        assert_int_equal(v.value, values[i].value);
        assert_int_equal(v.address, values[i].address);
        mifare_build_value(block, &v);
        assert_memory_equal(block, values[i].block, 16);
        for (unsigned bit = 0; bit < 128; bit++) { /* every bit counts */
            memcpy(block, values[i].block, 16);
            block[bit / 8] = (uint8_t)(block[bit / 8] ^ 1U << bit % 8);
            assert_false(mifare_parse_value(block, &v));
        }
    }
}

static void arithmetic_ends_at_the_range(void **state)
{
    static const struct {
        int32_t value;
        uint32_t amount;
        bool decrement, good;
        int32_t result;
    } rows[] = {
        {0, 1, false, true, 1},
        {0, 1, true, true, -1},
        {5, 5, true, true, 0},
        {INT32_MAX, 0, false, true, INT32_MAX},
        {INT32_MAX, 1, false, false, 0},
        {INT32_MAX - 1, 1, false, true, INT32_MAX},
        {INT32_MIN, 1, true, false, 0},
        {INT32_MIN + 1, 1, true, true, INT32_MIN},
        {INT32_MIN, INT32_MAX, false, true, -1},
        {-1, INT32_MAX, true, true, INT32_MIN},
        {-2, INT32_MAX, true, false, 0},
        {1, INT32_MAX, false, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        int32_t result = 0x5A5A;

        assert_int_equal(mifare_change(rows[i].value, rows[i].amount, rows[i].decrement, &result), rows[i].good);
        assert_int_equal(result, rows[i].good ? rows[i].result : 0x5A5A);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_lies_in_its_sector),
        cmocka_unit_test(the_sak_tells_the_size_of_some),
        cmocka_unit_test(access_bits_must_agree_with_their_complements),
        cmocka_unit_test(access_conditions_are_those_of_the_data_sheet),
        cmocka_unit_test(value_blocks_are_read_and_made),
        cmocka_unit_test(arithmetic_ends_at_the_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
