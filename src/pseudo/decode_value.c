/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Value blocks of MIFARE Classic, as four worlds of scripts ask for them (a fifth, the PC/SC amendment, is in
 * decode_session.c). bb is a block, v a value or amount of four bytes.
 *   FF B1 00 bb 04|00                read value (ACS); comes back high byte first
 *   FF D7 00 bb 05 00 v              store                 \
 *   FF D7 00 bb 05 01|02 v           increment, decrement   | ACS: v high byte first
 *   FF D7 00 bb 02 03 to             copy                  /
 *   FF D4 msb lsb 04 v               increment \ HID OMNIKEY: v low byte first
 *   FF D8 msb lsb 04 v               decrement /
 *   FF F5 C1|C0 bb 04 v              increment, decrement  \ SpringCard: v low byte first; a fifth byte names the block
 *   FF F5 C2 bb 04 00000000          restore and transfer  / that the result goes to
 *   FF F5 2C 0A Lc data              several operations in the reader's own form
 * SpringCard's older FF F0 is not here: vendors disagree whether its C0 adds or takes away.
 */
#include "base/buf.h"
#include "pseudo/decode.h"

static uint16_t value_on(struct operation *op, enum storage_value_op what, uint16_t block, uint32_t amount)
{
    op->kind = OP_VALUE;
    op->value_op = what;
    op->block = block;
    op->target = (uint8_t)block;
    op->amount = amount;
    return DECODED;
}

static uint32_t le32(const uint8_t *p)
{
    struct rbuf r = rbuf_over(p, 4);

    return rbuf_le32(&r);
}

uint16_t decode_value_read(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p1 != 0)
        return SW_P1P2;
    if (apdu->lc != 0 || !apdu->has_le)
        return SW_LENGTH;
    if (apdu->le != 4 && apdu->le != (apdu->extended ? 65536U : 256U))
        return SW_EXACT_LE | 4;
    op->kind = OP_VALUE_READ;
    op->block = apdu->p2;
    return DECODED;
}

static uint16_t acs_operation(const struct apdu *apdu, struct operation *op)
{
    struct rbuf r = rbuf_over(apdu->data, apdu->lc);
    uint8_t what = rbuf_u8(&r);
    uint32_t v = rbuf_be32(&r);

    switch (what) {
    case 0x00:
        op->kind = OP_VALUE_STORE;
        op->block = apdu->p2;
        op->amount = v;
        return DECODED;
    case 0x01:
        return value_on(op, VALUE_INCREMENT, apdu->p2, v);
    case 0x02:
        return value_on(op, VALUE_DECREMENT, apdu->p2, v);
    default:
        return SW_WRONG_DATA;
    }
}

uint16_t decode_value_acs(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p1 != 0)
        return SW_P1P2;
    if (apdu->lc == 5)
        return acs_operation(apdu, op);
    if (apdu->lc != 2)
        return SW_LENGTH;
    if (apdu->data[0] != 3)
        return SW_WRONG_DATA;
    (void)value_on(op, VALUE_COPY, apdu->p2, 0);
    op->target = apdu->data[1];
    return DECODED;
}

static uint16_t omnikey(const struct apdu *apdu, struct operation *op, enum storage_value_op what)
{
    if (apdu->lc != 4)
        return SW_LENGTH;
    return value_on(op, what, (uint16_t)(apdu->p1 << 8 | apdu->p2), le32(apdu->data));
}

uint16_t decode_increment_omnikey(const struct apdu *apdu, struct operation *op)
{
    return omnikey(apdu, op, VALUE_INCREMENT);
}

uint16_t decode_decrement_omnikey(const struct apdu *apdu, struct operation *op)
{
    return omnikey(apdu, op, VALUE_DECREMENT);
}

/* P1 is the command that the card gets. */
uint16_t decode_value_springcard(const struct apdu *apdu, struct operation *op)
{
    static const enum storage_value_op what[] = {VALUE_DECREMENT, VALUE_INCREMENT, VALUE_COPY};
    uint32_t amount;

    if (apdu->p1 < 0xC0 || apdu->p1 > 0xC2)
        return NOT_MINE;
    if (apdu->lc != 4 && apdu->lc != 5)
        return SW_LENGTH;
    amount = le32(apdu->data);
    if (apdu->p1 == 0xC2 && amount != 0)
        return SW_WRONG_DATA;
    (void)value_on(op, what[apdu->p1 - 0xC0], apdu->p2, amount);
    if (apdu->lc == 5)
        op->target = apdu->data[4];
    return DECODED;
}

uint16_t decode_purse(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p1 != 0x2C || apdu->p2 != 0x0A)
        return NOT_MINE;
    if (apdu->lc == 0)
        return SW_LENGTH;
    op->kind = OP_PURSE;
    op->data = apdu->data;
    op->data_len = apdu->lc;
    return DECODED;
}
