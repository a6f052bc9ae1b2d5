/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * PC/SC part 3: what is known of the card, keys, and blocks.
 *   FF CA item 00 Le               GET DATA
 *   FF 82 00|20 nn 06 key          LOAD KEYS (20: "non-volatile"; kept in memory all the same)
 *   FF 86 00 00 05 01 msb lsb 60|61 nn   GENERAL AUTHENTICATE
 *   FF 88 msb lsb 60|61 nn         AUTHENTICATE of the first drafts: six bytes, which is no APDU (60 would be an Lc)
 *   FF B0 msb lsb Le               READ BINARY
 *   FF D6 msb lsb Lc data          UPDATE BINARY
 * A Le behind a command that gets no data is let pass: some scripts send one.
 */
#include "pseudo/decode.h"

static const struct {
    uint8_t p1;
    enum operation_kind kind;
    enum data_item item;
} items[] = {
    {0x00, OP_GET_DATA, ITEM_UID},  {0x01, OP_GET_DATA, ITEM_ATS},       {0x02, OP_GET_DATA, ITEM_SAK},
    {0x03, OP_GET_DATA, ITEM_ATQA}, {0xF1, OP_GET_DATA, ITEM_CARD_TYPE}, {0xFA, OP_GET_ATR, 0},
};

uint16_t decode_get_data(const struct apdu *apdu, struct operation *op)
{
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        if (items[i].p1 != apdu->p1 || apdu->p2 != 0)
            continue;
        if (apdu->lc != 0 || !apdu->has_le)
            return SW_LENGTH;
        op->kind = items[i].kind;
        op->item = items[i].item;
        return DECODED;
    }
    return NOT_MINE;
}

uint16_t decode_authenticate_raw(const uint8_t *p, size_t n, struct operation *op)
{
    if (n != 6)
        return NOT_MINE;
    if (p[4] != 0x60 && p[4] != 0x61)
        return SW_WRONG_DATA;
    op->kind = OP_AUTHENTICATE;
    op->block = (uint16_t)(p[2] << 8 | p[3]);
    op->key_type = p[4];
    op->key_number = p[5];
    return DECODED;
}

/* FF 88 in the shape of an APDU was never defined. */
uint16_t decode_authenticate_shape(const struct apdu *apdu, struct operation *op)
{
    (void)apdu;
    (void)op;
    return SW_LENGTH;
}

uint16_t decode_load_key(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p1 != 0x00 && apdu->p1 != 0x20)
        return SW_P1P2;
    if (apdu->lc != STORAGE_KEY_SIZE)
        return SW_KEY_LENGTH;
    op->kind = OP_LOAD_KEY;
    op->key_number = apdu->p2;
    op->data = apdu->data;
    op->data_len = apdu->lc;
    return DECODED;
}

uint16_t decode_authenticate(const struct apdu *apdu, struct operation *op)
{
    const uint8_t *d = apdu->data;

    if (apdu->p1 != 0 || apdu->p2 != 0)
        return SW_P1P2;
    if (apdu->lc != 5)
        return SW_LENGTH;
    if (d[0] != 1 || (d[3] != 0x60 && d[3] != 0x61))
        return SW_WRONG_DATA;
    op->kind = OP_AUTHENTICATE;
    op->block = (uint16_t)(d[1] << 8 | d[2]);
    op->key_type = d[3];
    op->key_number = d[4];
    return DECODED;
}

uint16_t decode_read(const struct apdu *apdu, struct operation *op)
{
    if (apdu->lc != 0 || !apdu->has_le)
        return SW_LENGTH;
    op->kind = OP_READ;
    op->block = (uint16_t)(apdu->p1 << 8 | apdu->p2);
    return DECODED;
}

uint16_t decode_write(const struct apdu *apdu, struct operation *op)
{
    if (apdu->lc == 0)
        return SW_LENGTH;
    op->kind = OP_WRITE;
    op->block = (uint16_t)(apdu->p1 << 8 | apdu->p2);
    op->data = apdu->data;
    op->data_len = apdu->lc;
    return DECODED;
}
