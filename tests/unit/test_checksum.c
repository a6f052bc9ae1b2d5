/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The checksums against their published check values, against frames whose checksum the protocol pages print, and
 * against a bit-by-bit computation that shares nothing with the tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/checksum.h"

static const uint8_t nine[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};

static void check_values(void **state)
{
    (void)state;
    assert_int_equal(crc16_ccitt_false(nine, sizeof nine), 0x29B1);
    assert_int_equal(crc16_x25(nine, sizeof nine), 0x906E);
    assert_int_equal(xor_sum(nine, sizeof nine), 0x31);
}

static void nothing_gives_the_initial_value(void **state)
{
    (void)state;
    assert_int_equal(crc16_ccitt_false(NULL, 0), 0xFFFF);
    assert_int_equal(crc16_x25(NULL, 0), 0x0000); /* FFFF inverted */
    assert_int_equal(xor_sum(NULL, 0), 0);
}

/* Frames of the AET63: EXCHANGE_APDU of 00 84 00 00 08, and the Reset Message. */
static void xor_of_known_frames(void **state)
{
    static const uint8_t apdu[] = {0x01, 0xA0, 0x06, 0x00, 0x84, 0x00, 0x00, 0x00, 0x08, 0x2B};
    static const uint8_t reset[] = {0x01, 0xFF, 0x00, 0x01, 0x12, 0xED};

    (void)state;
    assert_int_equal(xor_sum(apdu, sizeof apdu - 1), 0x2B);
    assert_int_equal(xor_sum(apdu, sizeof apdu), 0); /* with its own sum, every intact frame is 0 */
    assert_int_equal(xor_sum(reset, sizeof reset - 1), 0xED);
}

/* A receiver may compute over data and CRC together: the remainder is then a constant. */
static void residues(void **state)
{
    uint8_t frame[sizeof nine + 2];

    (void)state;
    memcpy(frame, nine, sizeof nine);
    frame[9] = 0x29;
    frame[10] = 0xB1;
    assert_int_equal(crc16_ccitt_false(frame, sizeof frame), 0);
    frame[9] = 0x6E; /* X-25 is sent low byte first */
    frame[10] = 0x90;
    assert_int_equal((uint16_t)~crc16_x25(frame, sizeof frame), 0xF0B8);
}

static uint16_t slow_left(const uint8_t *p, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t bit = 0; bit < 8 * n; bit++) {
        unsigned in = (unsigned)p[bit / 8] >> (7 - bit % 8) & 1, out = crc >> 15 & 1;

        crc = (crc << 1 & 0xFFFF) ^ (in != out ? 0x1021 : 0);
    }
    return (uint16_t)crc;
}

static uint16_t slow_right(const uint8_t *p, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t bit = 0; bit < 8 * n; bit++) {
        unsigned in = (unsigned)p[bit / 8] >> bit % 8 & 1, out = crc & 1;

        crc = crc >> 1 ^ (in != out ? 0x8408 : 0);
    }
    return (uint16_t)(crc ^ 0xFFFF);
}

static void every_byte_value_and_length(void **state)
{
    uint8_t bytes[600];
    uint32_t x = 1;

    (void)state;
    for (unsigned v = 0; v < 256; v++) {
        uint8_t b = (uint8_t)v;

        assert_int_equal(crc16_ccitt_false(&b, 1), slow_left(&b, 1));
        assert_int_equal(crc16_x25(&b, 1), slow_right(&b, 1));
    }
    for (size_t n = 0; n < sizeof bytes; n++) {
        assert_int_equal(crc16_ccitt_false(bytes, n), slow_left(bytes, n));
        assert_int_equal(crc16_x25(bytes, n), slow_right(bytes, n));
        x = x * 1664525 + 1013904223;
        bytes[n] = (uint8_t)(x >> 24);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_values),
        cmocka_unit_test(nothing_gives_the_initial_value),
        cmocka_unit_test(xor_of_known_frames),
        cmocka_unit_test(residues),
        cmocka_unit_test(every_byte_value_and_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
