/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * PC/SC part 3: what is known of the card, and (in its oldest form) authentication.
 *   FF CA item 00 Le               GET DATA
 *   FF 88 msb lsb 60|61 nn         AUTHENTICATE of the first drafts: six bytes, which is no APDU (60 would be an Lc)
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
