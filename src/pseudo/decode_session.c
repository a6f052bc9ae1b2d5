/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Dialects made of data objects, and raw frames.
 *   FF C2 00 00 Lc objects [00]   manage session: 80 version, 81 start, 82 end, 83 / 84 field off / on, 5F46 wait
 *                                 (µs), FF6D / FF6E get / set parameters
 *   FF C2 00 01 Lc objects [00]   exchange: 90 flags, 91 / 92 valid bits, 5F46 time-out, 93 transmit, 94 receive,
 *                                 95 transceive, FF6D / FF6E as above
 *   FF C2 00 02 Lc objects [00]   switch protocol: 8F protocol layer
 *   FF C2 00 03 Lc object [00]    value block: A0 increment, A1 decrement { 80 block, 81 amount low byte first }
 *   FF FE P1 P2 Lc frame Le       one frame: P1 00 APDU, 01 / 02 ISO 14443 A / B, 04 / 05 ISO 15693; P2 time-out
 * FF C2 is PC/SC part 3 with its amendment, FF FE is SpringCard's.
 *
 * Objects that are well-formed each become a step, also those that make no sense: the answer names the object that
 * failed, and those before it are carried out. What is no object at all refuses the whole command. These commands are
 * answered in objects whose length the client cannot know, and some must not run twice; a Le that is neither absent nor
 * "all there is" would lose the answer of a command that was carried out, so it is refused before.
 */
#include "pseudo/decode.h"
#include "pseudo/tlv.h"

enum { ANY_LENGTH = 0xFFFF };

static const struct object {
    uint8_t command; /* P2 */
    uint16_t tag;
    uint16_t len;
    enum step_kind kind;
} objects[] = {
    {0, 0x80, 0, STEP_VERSION},
    {0, 0x81, 0, STEP_START},
    {0, 0x82, 0, STEP_END},
    {0, 0x83, 0, STEP_RF_OFF},
    {0, 0x84, 0, STEP_RF_ON},
    {0, 0x5F46, 4, STEP_WAIT},
    {0, 0xFF6D, ANY_LENGTH, STEP_GET_PARAMETERS},
    {0, 0xFF6E, ANY_LENGTH, STEP_SET_PARAMETERS},
    {1, 0x90, 2, STEP_FLAGS},
    {1, 0x91, 1, STEP_TX_BITS},
    {1, 0x92, 1, STEP_RX_BITS},
    {1, 0x5F46, 4, STEP_TIMEOUT},
    {1, 0xFF6D, ANY_LENGTH, STEP_GET_PARAMETERS},
    {1, 0xFF6E, ANY_LENGTH, STEP_SET_PARAMETERS},
    {1, 0x93, ANY_LENGTH, STEP_TRANSMIT},
    {1, 0x94, 0, STEP_RECEIVE},
    {1, 0x95, ANY_LENGTH, STEP_TRANSCEIVE},
    {2, 0x8F, 2, STEP_SELECT},
};

static const struct object *find(uint8_t command, uint16_t tag)
{
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++)
        if (objects[i].command == command && objects[i].tag == tag)
            return &objects[i];
    return NULL;
}

/* Numbers come low byte first. Of the two bytes of flags the standard's text and its readers disagree which one holds
 * the bits; no bit is defined in the other one. */
static uint32_t number_of(const struct tlv *t, enum step_kind kind)
{
    struct rbuf r = rbuf_over(t->value, t->len);

    if (kind == STEP_FLAGS)
        return rbuf_u8(&r) | (uint32_t)rbuf_u8(&r);
    return t->len == 4 ? rbuf_le32(&r) : t->len == 1 ? rbuf_u8(&r) : 0;
}

static struct step bad(uint16_t sw)
{
    return (struct step){.kind = STEP_BAD, .number = sw};
}

static struct step make_step(uint8_t command, const struct tlv *t)
{
    const struct object *o = find(command, t->tag);
    struct step s;

    if (!o)
        return bad(SW_NOT_SUPPORTED);
    if (o->len == ANY_LENGTH ? t->len == 0 : t->len != o->len)
        return bad(SW_LENGTH);
    s = (struct step){.kind = o->kind, .data = t->value, .len = t->len};
    if (o->len != ANY_LENGTH)
        s.number = number_of(t, o->kind);
    if ((s.kind == STEP_TX_BITS || s.kind == STEP_RX_BITS) && s.number > 7)
        return bad(SW_WRONG_DATA);
    return s;
}

static uint16_t decode_steps(const struct apdu *apdu, struct operation *op)
{
    struct rbuf r = rbuf_over(apdu->data, apdu->lc);
    struct tlv t;

    op->kind = OP_SESSION;
    while (tlv_next(&r, &t)) {
        if (op->step_count == STEPS_MAX)
            return SW_WRONG_DATA;
        op->steps[op->step_count++] = make_step(apdu->p2, &t);
    }
    return r.failed ? SW_WRONG_DATA : DECODED;
}

/* One object, in it block and amount in this order. */
static uint16_t decode_value_objects(const struct apdu *apdu, struct operation *op)
{
    struct rbuf r = rbuf_over(apdu->data, apdu->lc), in;
    struct tlv t, block, amount;

    if (!tlv_next(&r, &t) || r.left > 0 || (t.tag != 0xA0 && t.tag != 0xA1))
        return SW_WRONG_DATA;
    in = rbuf_over(t.value, t.len);
    if (!tlv_next(&in, &block) || !tlv_next(&in, &amount) || in.left > 0)
        return SW_WRONG_DATA;
    if (block.tag != 0x80 || block.len != 1 || amount.tag != 0x81 || amount.len != 4)
        return SW_WRONG_DATA;
    in = rbuf_over(amount.value, amount.len);
    op->kind = OP_VALUE;
    op->value_op = t.tag == 0xA0 ? VALUE_INCREMENT : VALUE_DECREMENT;
    op->block = op->target = block.value[0];
    op->amount = rbuf_le32(&in);
    return DECODED;
}

static bool answer_is_limited(const struct apdu *apdu)
{
    return apdu->has_le && apdu->le != (apdu->extended ? 65536U : 256U);
}

uint16_t decode_session(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p1 != 0 || apdu->p2 > 3)
        return SW_P1P2;
    if (apdu->lc == 0 || answer_is_limited(apdu))
        return SW_LENGTH;
    op->objects = true;
    return apdu->p2 == 3 ? decode_value_objects(apdu, op) : decode_steps(apdu, op);
}

uint16_t decode_encapsulate(const struct apdu *apdu, struct operation *op)
{
    static const struct {
        uint8_t p1;
        enum storage_protocol protocol;
    } protocols[] = {
        {0x00, STORAGE_ISO_DEP},  {0x01, STORAGE_ISO14443A}, {0x02, STORAGE_ISO14443B},
        {0x04, STORAGE_ISO15693}, {0x05, STORAGE_ISO15693},
    };
    /* µs; 0 leaves the time-out to the reader */
    static const uint32_t timeouts[] = {0, 106, 424, 1700, 6800, 27200, 109000, 435000, 1740000};

    if (apdu->p2 >= sizeof timeouts / sizeof timeouts[0])
        return SW_P1P2;
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++) {
        if (protocols[i].p1 != apdu->p1)
            continue;
        if (apdu->lc == 0 || answer_is_limited(apdu))
            return SW_LENGTH;
        op->kind = OP_ENCAPSULATE;
        op->protocol = protocols[i].protocol;
        op->steps[0] = (struct step){.kind = STEP_TIMEOUT, .number = timeouts[apdu->p2]};
        op->steps[1] = (struct step){.kind = STEP_TRANSCEIVE, .data = apdu->data, .len = apdu->lc};
        op->step_count = 2;
        return DECODED;
    }
    return SW_P1P2;
}
