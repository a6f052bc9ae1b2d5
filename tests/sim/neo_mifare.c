/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * MIFARE Classic memory: sectors with two keys and access bits, value blocks with an internal register between load
 * and transfer. The cipher itself is not modelled: on both levels the reader does it, and a test sees only whether
 * key, access bits and block layout allow the operation. Every refusal ends the session as on the real card, which
 * falls back to idle and is silent until it is selected again.
 */
#include "neo_cards.h"

#include <string.h>

enum { TRAILER_KEY_A = 0, TRAILER_ACCESS = 6, TRAILER_KEY_B = 10, KEY_LEN = 6 };
enum { NEVER = 0, KEY_A = 1, KEY_B = 2, EITHER = 3 };

/* Rights by C1 C2 C3 (as a number, C1 first): which keys may do it. */
static const struct data_rights {
    uint8_t read, write, increment, decrement; /* decrement: transfer and restore too */
} data_rights[8] = {
    {EITHER, EITHER, EITHER, EITHER}, {EITHER, NEVER, NEVER, EITHER}, {EITHER, NEVER, NEVER, NEVER},
    {KEY_B, KEY_B, NEVER, NEVER},     {EITHER, KEY_B, NEVER, NEVER},  {KEY_B, NEVER, NEVER, NEVER},
    {EITHER, KEY_B, KEY_B, EITHER},   {NEVER, NEVER, NEVER, NEVER},
};

static const struct trailer_rights {
    uint8_t write_a, read_access, write_access, read_b, write_b;
} trailer_rights[8] = {
    {KEY_A, KEY_A, NEVER, KEY_A, KEY_A},  {KEY_A, KEY_A, KEY_A, KEY_A, KEY_A},  {NEVER, KEY_A, NEVER, KEY_A, NEVER},
    {KEY_B, EITHER, KEY_B, NEVER, KEY_B}, {KEY_B, EITHER, NEVER, NEVER, KEY_B}, {NEVER, EITHER, KEY_B, NEVER, NEVER},
    {NEVER, EITHER, NEVER, NEVER, NEVER}, {NEVER, EITHER, NEVER, NEVER, NEVER},
};

unsigned neo_mf_sector(unsigned block)
{
    return block < 128 ? block / 4 : 32 + (block - 128) / 16;
}

unsigned neo_mf_trailer(unsigned block)
{
    return block < 128 ? block | 3U : block | 15U;
}

static uint8_t *at_block(struct neo_card *c, unsigned block)
{
    return c->mem + (size_t)block * NEO_MF_BLOCK;
}

void neo_mf_format(struct neo_card *c, size_t bytes, const uint8_t key_a[6], const uint8_t access[4],
                   const uint8_t key_b[6])
{
    memset(c->mem, 0, sizeof c->mem);
    c->mem_len = bytes;
    for (unsigned b = 0; b < bytes / NEO_MF_BLOCK; b++) {
        if (b != neo_mf_trailer(b))
            continue;
        memcpy(at_block(c, b) + TRAILER_KEY_A, key_a, KEY_LEN);
        memcpy(at_block(c, b) + TRAILER_ACCESS, access, 4);
        memcpy(at_block(c, b) + TRAILER_KEY_B, key_b, KEY_LEN);
    }
}

enum neo_result neo_card_refuse(struct neo_card *c)
{
    if (!c->stays) {
        c->air = NEO_IDLE;
        c->auth = false;
    }
    c->reg_full = false;
    c->pending_cmd = 0;
    return NEO_NAK;
}

/* C1 C2 C3 of the group a block belongs to (data groups 0 to 2, trailer 3), -1 if the stored complements disagree:
 * such a sector is lost for good. */
static int access_bits(const struct neo_card *c, unsigned block)
{
    unsigned trailer = neo_mf_trailer(block);
    unsigned group = block < 128 ? block % 4 : (block % 16 == 15 ? 3 : block % 16 / 5);
    const uint8_t *a = c->mem + (size_t)trailer * NEO_MF_BLOCK + TRAILER_ACCESS;
    unsigned c1 = a[1] >> 4, c2 = a[2] & 0x0F, c3 = a[2] >> 4;

    if ((a[0] & 0x0F) != (~c1 & 0x0F) || a[0] >> 4 != (~c2 & 0x0F) || (a[1] & 0x0F) != (~c3 & 0x0F))
        return -1;
    return (int)(((c1 >> group) & 1) << 2 | ((c2 >> group) & 1) << 1 | ((c3 >> group) & 1));
}

/* The rights of the authenticated key: KEY_A or KEY_B; NEVER if there is none, or if key B can be read and so is data,
 * no key. */
static unsigned key_in_use(const struct neo_card *c, unsigned block)
{
    int bits = access_bits(c, neo_mf_trailer(block));

    if (c->air != NEO_ACTIVE || !c->auth || c->auth_sector != neo_mf_sector(block) || bits < 0)
        return NEVER;
    if (!c->auth_b)
        return KEY_A;
    return trailer_rights[bits].read_b != NEVER ? NEVER : KEY_B;
}

static bool usable(const struct neo_card *c, unsigned block)
{
    return (size_t)block * NEO_MF_BLOCK < c->mem_len && block != c->bad_block && access_bits(c, block) >= 0;
}

enum neo_result neo_mf_auth(struct neo_card *c, unsigned block, bool key_b, const uint8_t key[6])
{
    const uint8_t *trailer;

    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    c->auth = false;
    c->reg_full = false;
    if ((size_t)block * NEO_MF_BLOCK >= c->mem_len)
        return neo_card_refuse(c);
    trailer = at_block(c, neo_mf_trailer(block));
    if (memcmp(trailer + (key_b ? TRAILER_KEY_B : TRAILER_KEY_A), key, KEY_LEN) != 0)
        return neo_card_refuse(c);
    c->auth = true;
    c->auth_b = key_b;
    c->auth_sector = neo_mf_sector(block);
    return NEO_OK;
}

enum neo_result neo_mf_read(struct neo_card *c, unsigned block, uint8_t out[NEO_MF_BLOCK])
{
    unsigned key = key_in_use(c, block);

    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    if (!usable(c, block) || key == NEVER)
        return neo_card_refuse(c);
    memcpy(out, at_block(c, block), NEO_MF_BLOCK);
    if (block == neo_mf_trailer(block)) {
        const struct trailer_rights *r = &trailer_rights[access_bits(c, block)];

        if ((r->read_access & key) == 0)
            return neo_card_refuse(c);
        memset(out + TRAILER_KEY_A, 0, KEY_LEN);
        if ((r->read_b & key) == 0)
            memset(out + TRAILER_KEY_B, 0, KEY_LEN);
        return NEO_OK;
    }
    return (data_rights[access_bits(c, block)].read & key) != 0 ? NEO_OK : neo_card_refuse(c);
}

/* Each part of a trailer is written only if the key may write it; a write that may change nothing is refused. */
static bool write_trailer(struct neo_card *c, unsigned block, unsigned key, const uint8_t *in)
{
    const struct trailer_rights *r = &trailer_rights[access_bits(c, block)];
    uint8_t *trailer = at_block(c, block);

    if (((r->write_a | r->write_access | r->write_b) & key) == 0)
        return false;
    if ((r->write_a & key) != 0)
        memcpy(trailer + TRAILER_KEY_A, in + TRAILER_KEY_A, KEY_LEN);
    if ((r->write_access & key) != 0)
        memcpy(trailer + TRAILER_ACCESS, in + TRAILER_ACCESS, 4);
    if ((r->write_b & key) != 0)
        memcpy(trailer + TRAILER_KEY_B, in + TRAILER_KEY_B, KEY_LEN);
    return true;
}

enum neo_result neo_mf_write(struct neo_card *c, unsigned block, const uint8_t in[NEO_MF_BLOCK])
{
    unsigned key = key_in_use(c, block);

    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    if (!usable(c, block) || key == NEVER || block == 0)
        return neo_card_refuse(c);
    if (block == neo_mf_trailer(block)) {
        if (!write_trailer(c, block, key, in))
            return neo_card_refuse(c);
    } else if ((data_rights[access_bits(c, block)].write & key) == 0) {
        return neo_card_refuse(c);
    } else {
        memcpy(at_block(c, block), in, NEO_MF_BLOCK);
    }
    c->writes++;
    return NEO_OK;
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i) & 0xFF);
}

static bool value_layout(const uint8_t *b)
{
    uint8_t inverse = (uint8_t)~b[12];

    return get_le32(b) == get_le32(b + 8) && get_le32(b) == ~get_le32(b + 4) && b[13] == inverse && b[14] == b[12] &&
           b[15] == inverse;
}

bool neo_mf_value(const struct neo_card *c, unsigned block, int32_t *value)
{
    const uint8_t *b = c->mem + (size_t)block * NEO_MF_BLOCK;

    if ((size_t)block * NEO_MF_BLOCK >= c->mem_len || !value_layout(b))
        return false;
    *value = (int32_t)get_le32(b);
    return true;
}

enum neo_result neo_mf_load(struct neo_card *c, uint8_t op, unsigned block, uint32_t amount)
{
    unsigned key = key_in_use(c, block);
    int64_t value;

    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    if (!usable(c, block) || key == NEVER || block == neo_mf_trailer(block) || !value_layout(at_block(c, block)))
        return neo_card_refuse(c);
    const struct data_rights *r = &data_rights[access_bits(c, block)];
    if (((op == 0xC1 ? r->increment : r->decrement) & key) == 0)
        return neo_card_refuse(c);
    memcpy(c->reg, at_block(c, block), NEO_MF_BLOCK);
    value = (int32_t)get_le32(c->reg);
    if (op == 0xC0)
        value -= (int64_t)amount;
    else if (op == 0xC1)
        value += (int64_t)amount;
    if (value > INT32_MAX || value < INT32_MIN)
        return neo_card_refuse(c);
    put_le32(c->reg, (uint32_t)value);
    put_le32(c->reg + 4, ~(uint32_t)value);
    put_le32(c->reg + 8, (uint32_t)value);
    c->reg_full = true;
    return NEO_OK;
}

enum neo_result neo_mf_transfer(struct neo_card *c, unsigned block)
{
    unsigned key = key_in_use(c, block);

    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    if (!usable(c, block) || key == NEVER || block == neo_mf_trailer(block) || block == 0 || !c->reg_full)
        return neo_card_refuse(c);
    if ((data_rights[access_bits(c, block)].decrement & key) == 0)
        return neo_card_refuse(c);
    memcpy(at_block(c, block), c->reg, NEO_MF_BLOCK);
    c->writes++;
    c->value_ops++;
    c->block_ops[block & 0xFF]++;
    return NEO_OK;
}
