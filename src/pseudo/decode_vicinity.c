/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ISO 15693 commands, in three dialects:
 *   FF F6 cc P2 Lc parameters Le   (SpringCard) cc: command code; P2: 00 addressed to the slot's card, 01 not addressed,
 *                                  02 to the selected card, + 40 option flag; of an inventory (01): + 10 an AFI byte
 *                                  stands first, + 20 one slot
 *   FF FC 00 00 Lc cc parameters   (Identiv) addressed to the slot's card
 *   FF 30 P1 P2 …                  (OMNIKEY) a fixed set, see below
 * The parameters are what follows the UID on the air; those of a custom command begin with the manufacturer's byte.
 * Their form is judged here as far as it does not depend on the card: nothing that contradicts itself is ever sent.
 */
#include <string.h>

#include "card/iso15693.h"
#include "pseudo/decode.h"

enum { MODE_ADDRESSED = 0x00, MODE_ANY = 0x01, MODE_SELECTED = 0x02 };

static uint16_t flags_of(uint8_t code, uint8_t p2, uint8_t *flags)
{
    const uint8_t inventory = ISO15693_HAS_AFI | ISO15693_ONE_SLOT;
    uint8_t mode = p2 & 0x0F;

    *flags = ISO15693_HIGH_RATE;
    if (code == ISO15693_INVENTORY_CARDS) {
        *flags |= (uint8_t)(ISO15693_INVENTORY | (p2 & inventory));
        return (p2 & ~inventory) == 0 ? DECODED : SW_P1P2;
    }
    if ((p2 & ~(0x0F | ISO15693_OPTION)) != 0 || mode > MODE_SELECTED)
        return SW_P1P2;
    *flags |= p2 & ISO15693_OPTION;
    if (mode == MODE_ADDRESSED)
        *flags |= ISO15693_ADDRESSED;
    else if (mode == MODE_SELECTED)
        *flags |= ISO15693_SELECTED;
    return DECODED;
}

/* Parameters whose length is right, but not what they say: the count byte of a write, the length of a mask. */
static uint16_t refusal(const struct iso15693_request *q)
{
    switch (iso15693_command(q->code)->shape) {
    case SHAPE_RANGE:
        return q->n == 2 ? SW_WRONG_DATA : SW_LENGTH;
    case SHAPE_RANGE_DATA:
        return q->n > 2 ? SW_WRONG_DATA : SW_LENGTH;
    case SHAPE_MASK:
        return q->n > 0 ? SW_WRONG_DATA : SW_LENGTH;
    default:
        return SW_LENGTH;
    }
}

static uint16_t take(struct operation *op, uint8_t code, uint8_t p2, const uint8_t *params, size_t n)
{
    struct iso15693_request q = {.code = code, .params = params, .n = n};
    uint16_t sw;

    if (!iso15693_command(code))
        return SW_NOT_SUPPORTED;
    sw = flags_of(code, p2, &q.flags);
    if (sw != DECODED)
        return sw;
    switch (iso15693_check(&q, 0)) {
    case R_SUCCESS:
        break;
    case R_PROTOCOL:
        return SW_P1P2;
    default:
        return refusal(&q);
    }
    op->kind = OP_VICINITY;
    if (iso15693_command(code)->writes)
        op->has_le = false; /* 6C xx would have it sent again */
    op->vicinity.code = code;
    op->vicinity.flags = q.flags;
    op->data = n > 0 ? params : NULL;
    op->data_len = n;
    return DECODED;
}

uint16_t decode_vicinity_springcard(const struct apdu *apdu, struct operation *op)
{
    op->vicinity.tell_error = true;
    return take(op, apdu->p1, apdu->p2, apdu->data, apdu->lc);
}

uint16_t decode_vicinity_identiv(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p1 != 0 || apdu->p2 != 0)
        return NOT_MINE;
    if (apdu->lc == 0)
        return SW_LENGTH;
    op->vicinity.tell_error = true;
    return take(op, apdu->data[0], MODE_ADDRESSED, apdu->data + 1, apdu->lc - 1);
}

/* OMNIKEY: two bytes select, three bytes of data say what is meant (01, a version; then what), then comes a block's
 * address (high byte first) or a value. */
enum omnikey_rest { REST_NONE, REST_BYTE, REST_BLOCK, REST_STATUS };

static const struct {
    uint8_t p1, p2;
    uint8_t head[3];
    enum omnikey_rest rest;
    uint8_t code;
} omnikey[] = {
    {0x00, 0x01, {0x01, 0x00, 0x01}, REST_NONE, ISO15693_STAY_QUIET},
    {0x00, 0x01, {0x01, 0x02, 0x00}, REST_BYTE, ISO15693_WRITE_AFI},
    {0x00, 0x01, {0x01, 0x03, 0x00}, REST_BYTE, ISO15693_WRITE_DSFID},
    {0x00, 0x02, {0x01, 0x00, 0x00}, REST_BLOCK, ISO15693_LOCK_BLOCK},
    {0x00, 0x02, {0x01, 0x02, 0x00}, REST_NONE, ISO15693_LOCK_AFI},
    {0x00, 0x02, {0x01, 0x03, 0x00}, REST_NONE, ISO15693_LOCK_DSFID},
    {0x00, 0x03, {0x01, 0x00, 0x00}, REST_STATUS, ISO15693_SECURITY_STATUS},
};

static uint16_t take_omnikey(struct operation *op, uint8_t code, enum omnikey_rest rest, const uint8_t *p, size_t n)
{
    static const uint8_t lengths[] = {[REST_NONE] = 0, [REST_BYTE] = 1, [REST_BLOCK] = 2, [REST_STATUS] = 2};

    if (n != lengths[rest])
        return SW_LENGTH;
    op->kind = OP_VICINITY;
    op->vicinity.code = code;
    op->vicinity.flags = ISO15693_HIGH_RATE | ISO15693_ADDRESSED;
    if (rest == REST_NONE)
        return DECODED;
    if (rest != REST_BYTE && p[0] != 0)
        return SW_NO_BLOCK; /* block numbers have one byte */
    op->vicinity.params[0] = p[n - 1];
    op->vicinity.params[1] = 0; /* one block */
    op->vicinity.params_len = rest == REST_STATUS ? 2 : 1;
    return DECODED;
}

static uint16_t decode_item(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p2 != 0)
        return NOT_MINE;
    if (apdu->lc != 0 || !apdu->has_le)
        return SW_LENGTH;
    op->kind = OP_VICINITY_ITEM;
    op->vicinity.code = ISO15693_SYSTEM_INFORMATION;
    op->vicinity.flags = ISO15693_HIGH_RATE | ISO15693_ADDRESSED;
    op->vicinity.item = (enum vicinity_item)(apdu->p1 - 2);
    return DECODED;
}

uint16_t decode_vicinity_omnikey(const struct apdu *apdu, struct operation *op)
{
    bool known = false;

    if (apdu->p1 >= 2 && apdu->p1 <= 5)
        return decode_item(apdu, op);
    for (size_t i = 0; i < sizeof omnikey / sizeof omnikey[0]; i++) {
        if (omnikey[i].p1 != apdu->p1 || omnikey[i].p2 != apdu->p2)
            continue;
        known = true;
        if (apdu->lc >= 3 && memcmp(apdu->data, omnikey[i].head, 3) == 0)
            return take_omnikey(op, omnikey[i].code, omnikey[i].rest, apdu->data + 3, apdu->lc - 3);
    }
    if (!known)
        return NOT_MINE;
    return apdu->lc < 3 ? SW_LENGTH : SW_WRONG_DATA;
}
