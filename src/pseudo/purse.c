/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The check of a purse batch. It is complete before anything is sent: the reader stops at the first function block that
 * fails, and what the blocks before it did stays done, so whatever can be known beforehand must be.
 */
#include "pseudo/purse.h"

#include "base/buf.h"
#include "card/mifare.h"
#include "pseudo/decode.h"
#include "pseudo/operation.h"

enum { CARD_TYPE_MIFARE = 3, KEY_A = 1, KEY_B = 2 };

/* The kinds of function blocks by their length byte. */
static const struct function {
    uint8_t length;
    bool value;
    bool own_key;
} functions[] = {
    {0x04, true, false},
    {0x0B, true, true},
    {0x01, false, false},
    {0x08, false, true},
};

static const struct function *find(uint8_t length)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (functions[i].length == length)
            return &functions[i];
    return NULL;
}

static uint16_t check_block(unsigned block, unsigned blocks)
{
    if (blocks > 0 && block >= blocks)
        return SW_NO_BLOCK;
    return block == 0 || mifare_is_trailer(block) ? SW_NOT_ALLOWED : DECODED;
}

static uint16_t check_backup(unsigned to, unsigned from, unsigned blocks)
{
    uint16_t sw = check_block(from, blocks);

    if (sw == DECODED && mifare_sector(to) != mifare_sector(from))
        sw = SW_NOT_ALLOWED;
    return sw;
}

static uint16_t check_key(struct rbuf *r)
{
    uint8_t type = rbuf_u8(r);

    (void)rbuf_bytes(r, STORAGE_KEY_SIZE);
    return type == KEY_A || type == KEY_B ? DECODED : SW_WRONG_DATA;
}

static uint16_t check_function(struct rbuf *r, unsigned blocks, bool *own_key, unsigned *sector)
{
    uint8_t block = rbuf_u8(r);
    const struct function *f = find(rbuf_u8(r));
    uint16_t sw;

    if (r->failed || !f)
        return SW_WRONG_DATA;
    *own_key = f->own_key;
    *sector = mifare_sector(block);
    sw = check_block(block, blocks);
    if (f->value) {
        if (rbuf_le32(r) > INT32_MAX)
            return SW_WRONG_DATA;
    } else if (sw == DECODED) {
        sw = check_backup(block, rbuf_u8(r), blocks);
    } else {
        (void)rbuf_u8(r);
    }
    if (f->own_key && check_key(r) != DECODED)
        return SW_WRONG_DATA;
    return r->failed ? SW_WRONG_DATA : sw;
}

uint16_t purse_check(const uint8_t *p, size_t n, unsigned blocks, struct purse_facts *f)
{
    struct rbuf r = rbuf_over(p, n);
    unsigned head = rbuf_u8(&r), count = head & 0x0F;
    uint16_t sw = DECODED;

    *f = (struct purse_facts){0};
    if (r.failed || count == 0)
        return SW_WRONG_DATA;
    if ((head >> 4 & 7) != CARD_TYPE_MIFARE)
        return SW_WRONG_CARD;
    for (unsigned i = 0; i < count; i++) {
        bool own_key = false;
        unsigned sector = 0;
        uint16_t one = check_function(&r, blocks, &own_key, &sector);

        if (one == SW_WRONG_DATA)
            return one; /* where the next one begins is not known */
        if (sw == DECODED)
            sw = one;
        f->needs_key |= i == 0 && !own_key;
        f->own_keys |= own_key;
        f->several |= i > 0 && sector != f->sector;
        if (i == 0)
            f->sector = sector;
    }
    return r.left > 0 ? SW_WRONG_DATA : sw;
}
