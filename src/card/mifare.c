/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * MIFARE Classic; mifare.h says what is known here. The access conditions are tables, as the data sheet prints them:
 * indexed by C1 C2 C3, the row's entries say which keys may read, write, increment and decrement.
 */
#include "card/mifare.h"

#include <string.h>
#include "base/buf.h"

enum { SMALL_SECTORS = 32, SMALL = 4, LARGE = 16, LARGE_FROM = SMALL_SECTORS * SMALL };

static unsigned blocks_of(unsigned block)
{
    return block < LARGE_FROM ? SMALL : LARGE;
}

unsigned mifare_sector(unsigned block)
{
    return block < LARGE_FROM ? block / SMALL : SMALL_SECTORS + (block - LARGE_FROM) / LARGE;
}

unsigned mifare_sector_first(unsigned block)
{
    return block - block % blocks_of(block); /* 128 is a multiple of 16 */
}

unsigned mifare_trailer(unsigned block)
{
    return mifare_sector_first(block) + blocks_of(block) - 1;
}

bool mifare_is_trailer(unsigned block)
{
    return block == mifare_trailer(block);
}

unsigned mifare_sector_trailer(unsigned sector)
{
    return sector < SMALL_SECTORS ? sector * SMALL + SMALL - 1 : LARGE_FROM + (sector - SMALL_SECTORS) * LARGE + LARGE - 1;
}

unsigned mifare_blocks_by_sak(uint8_t sak)
{
    static const struct {
        uint8_t sak;
        unsigned blocks;
    } cards[] = {
        {0x08, 64}, {0x88, 64}, {0x28, 64}, {0x18, 256}, {0x38, 256}, {0x98, 256}, {0x09, 20}, {0x19, 128},
    };

    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++)
        if (cards[i].sak == sak)
            return cards[i].blocks;
    return 0;
}

/* ---- access bits ------------------------------------------------------------------------------------------------ */

/* Byte 6: ~C2 ~C1, byte 7: C1 ~C3, byte 8: C3 C2; high nibble first, bit n of a nibble for group n of the sector. */
static unsigned nibble(uint8_t byte, bool high)
{
    return high ? byte >> 4 : byte & 0x0FU;
}

bool mifare_access_valid(const uint8_t access[3])
{
    return (nibble(access[1], true) ^ nibble(access[0], false)) == 0x0F && /* C1 */
           (nibble(access[2], false) ^ nibble(access[0], true)) == 0x0F && /* C2 */
           (nibble(access[2], true) ^ nibble(access[1], false)) == 0x0F;   /* C3 */
}

unsigned mifare_allowed(const uint8_t access[3], unsigned block, enum mifare_use use)
{
    enum { o = 0, A = MIFARE_BY_A, B = MIFARE_BY_B, AB = A | B };
    static const uint8_t conditions[8][4] = {
        /* read, write, increment, decrement */
        [0] = {AB, AB, AB, AB}, [2] = {AB, o, o, o}, [4] = {AB, B, o, o}, [6] = {AB, B, B, AB},
        [1] = {AB, o, o, AB},   [3] = {B, B, o, o},  [5] = {B, o, o, o},  [7] = {o, o, o, o},
    };
    unsigned place = block - mifare_sector_first(block);
    unsigned group = blocks_of(block) == LARGE ? place / 5 : place; /* five blocks of a large sector share their bits */
    unsigned c1 = nibble(access[1], true) >> group & 1;
    unsigned c2 = nibble(access[2], false) >> group & 1;
    unsigned c3 = nibble(access[2], true) >> group & 1;

    return conditions[c1 << 2 | c2 << 1 | c3][use];
}

/* ---- value blocks ----------------------------------------------------------------------------------------------- */

void mifare_build_value(uint8_t block[MIFARE_BLOCK_SIZE], const struct mifare_value *v)
{
    struct wbuf w = wbuf_over(block, MIFARE_BLOCK_SIZE);
    uint32_t bits = (uint32_t)v->value;

    wbuf_le32(&w, bits);
    wbuf_le32(&w, ~bits);
    wbuf_le32(&w, bits);
    for (int i = 0; i < 4; i++)
        wbuf_u8(&w, i % 2 ? (uint8_t)~v->address : v->address);
}

static int32_t to_signed(uint32_t bits)
{
    return bits <= INT32_MAX ? (int32_t)bits : -1 - (int32_t)~bits;
}

bool mifare_parse_value(const uint8_t block[MIFARE_BLOCK_SIZE], struct mifare_value *v)
{
    struct rbuf r = rbuf_over(block, MIFARE_BLOCK_SIZE);
    uint8_t should[MIFARE_BLOCK_SIZE];

    v->value = to_signed(rbuf_le32(&r));
    v->address = block[12];
    mifare_build_value(should, v);
    return memcmp(block, should, sizeof should) == 0;
}

bool mifare_change(int32_t value, uint32_t amount, bool decrement, int32_t *result)
{
    int64_t sum = decrement ? (int64_t)value - (int64_t)amount : (int64_t)value + (int64_t)amount;

    if (sum < INT32_MIN || sum > INT32_MAX)
        return false;
    *result = (int32_t)sum;
    return true;
}
