/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * XOR sum and the two CRCs of polynomial x^16 + x^12 + x^5 + 1. Each CRC takes half a byte at a time through a table of
 * 16 entries, the remainders of the half-bytes 0 … 15: two look-ups a byte, 32 bytes of table in one cache line, and
 * small enough to check by hand against the polynomial.
 */
#include "base/checksum.h"

/* Entry i: i in the top four bits, shifted out towards the left through 1021. */
static const uint16_t crc_left[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
};

/* Entry i: i in the low four bits, shifted out towards the right through 8408 (1021 mirrored). */
static const uint16_t crc_right[16] = {
    0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
    0x8408, 0x9489, 0xA50A, 0xB58B, 0xC60C, 0xD68D, 0xE70E, 0xF78F,
};

uint8_t xor_sum(const uint8_t *p, size_t n)
{
    unsigned sum = 0;

    for (size_t i = 0; i < n; i++)
        sum ^= p[i];
    return (uint8_t)sum;
}

uint16_t crc16_ccitt_more(uint16_t before, const uint8_t *p, size_t n)
{
    unsigned crc = before;

    for (size_t i = 0; i < n; i++) {
        crc = (crc << 4 & 0xFFFF) ^ crc_left[(crc >> 12 ^ p[i] >> 4) & 15];
        crc = (crc << 4 & 0xFFFF) ^ crc_left[(crc >> 12 ^ p[i]) & 15];
    }
    return (uint16_t)crc;
}

uint16_t crc16_ccitt_false(const uint8_t *p, size_t n)
{
    return crc16_ccitt_more(0xFFFF, p, n);
}

uint16_t crc16_x25(const uint8_t *p, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t i = 0; i < n; i++) {
        crc = crc >> 4 ^ crc_right[(crc ^ p[i]) & 15];
        crc = crc >> 4 ^ crc_right[(crc ^ p[i] >> 4) & 15];
    }
    return (uint16_t)~crc;
}
