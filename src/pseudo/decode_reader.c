/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Dialects that talk to the reader itself.
 *   FF 70 vidhi vidlo Lc code data [Le]   a raw reader command, marked by its vendor's USB id (the form of Identiv and
 *                                         HID OMNIKEY readers)
 *   FF 00 48 00 Le                        firmware version  \
 *   FF 00 40 P2 04 4 bytes [Le]           LED and buzzer     | ACS
 *   FF 00 52 pp [Le]                      sound for cards   /
 */
#include "pseudo/decode.h"

uint16_t decode_reader_command(const struct apdu *apdu, struct operation *op)
{
    if (apdu->lc == 0)
        return SW_LENGTH;
    op->kind = OP_READER_COMMAND;
    op->vendor = (uint16_t)(apdu->p1 << 8 | apdu->p2);
    op->data = apdu->data;
    op->data_len = apdu->lc;
    return DECODED;
}

static uint16_t decode_firmware(const struct apdu *apdu, struct operation *op)
{
    if (apdu->p2 != 0)
        return SW_P1P2;
    if (apdu->lc != 0 || !apdu->has_le)
        return SW_LENGTH;
    op->kind = OP_FIRMWARE;
    return DECODED;
}

/* P2: what the LEDs do; data: the times and the number of blinks, and whether it is heard. */
static uint16_t decode_led(const struct apdu *apdu, struct operation *op)
{
    if (apdu->lc != 4)
        return SW_LENGTH;
    op->kind = OP_LED;
    op->target = apdu->p2;
    op->data = apdu->data;
    op->data_len = apdu->lc;
    return DECODED;
}

static uint16_t decode_buzzer(const struct apdu *apdu, struct operation *op)
{
    if (apdu->lc != 0)
        return SW_LENGTH;
    op->kind = OP_BUZZER;
    op->target = apdu->p2;
    return DECODED;
}

uint16_t decode_acs_reader(const struct apdu *apdu, struct operation *op)
{
    switch (apdu->p1) {
    case 0x40:
        return decode_led(apdu, op);
    case 0x48:
        return decode_firmware(apdu, op);
    case 0x52:
        return decode_buzzer(apdu, op);
    default:
        return NOT_MINE;
    }
}
