/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The table of decoders. A row belongs to one INS; several rows may have the same, where dialects share it, and are
 * asked in order. What no row knows is 6D 00, whatever its length: the question whether a length is right only makes
 * sense for a command that exists. What no row of its INS takes is 6B 00, for P1 and P2 is what tells dialects apart.
 */
#include "pseudo/decode.h"

#include <stdbool.h>

static const struct {
    uint8_t ins;
    decode_raw_fn raw; /* one of the two */
    decode_fn decode;
} decoders[] = {
    {0x00, NULL, decode_acs_reader},
    {0x30, NULL, decode_vicinity_omnikey},
    {0x70, NULL, decode_reader_command},
    {0x82, NULL, decode_load_key},
    {0x86, NULL, decode_authenticate},
    {0x88, decode_authenticate_raw, NULL},
    {0x88, NULL, decode_authenticate_shape},
    {0xB0, NULL, decode_read},
    {0xB1, NULL, decode_value_read},
    {0xC2, NULL, decode_session},
    {0xCA, NULL, decode_get_data},
    {0xD4, NULL, decode_increment_omnikey},
    {0xD6, NULL, decode_write},
    {0xD7, NULL, decode_value_acs},
    {0xD8, NULL, decode_decrement_omnikey},
    {0xF5, NULL, decode_value_springcard},
    {0xF5, NULL, decode_purse},
    {0xF6, NULL, decode_vicinity_springcard},
    {0xFC, NULL, decode_vicinity_identiv},
    {0xFE, NULL, decode_encapsulate},
};

enum { DECODERS = sizeof decoders / sizeof decoders[0] };

static uint16_t decode_raw(const uint8_t *p, size_t n, struct operation *op, bool *known)
{
    *known = false;
    for (size_t i = 0; i < DECODERS; i++) {
        uint16_t sw;

        if (decoders[i].ins != p[1])
            continue;
        *known = true;
        sw = decoders[i].raw ? decoders[i].raw(p, n, op) : NOT_MINE;
        if (sw != NOT_MINE)
            return sw;
    }
    return NOT_MINE;
}

uint16_t pseudo_decode(const uint8_t *p, size_t n, struct operation *op)
{
    struct apdu apdu;
    uint16_t sw;
    bool known;

    *op = (struct operation){0};
    if (n < 2)
        return SW_LENGTH;
    if (p[0] != 0xFF)
        return SW_CLASS;
    sw = decode_raw(p, n, op, &known);
    if (sw != NOT_MINE)
        return sw;
    if (!known)
        return SW_INS;
    if (apdu_parse(&apdu, p, n) != R_SUCCESS)
        return SW_LENGTH;
    op->has_le = apdu.has_le;
    op->le = apdu.le;
    op->extended = apdu.extended;
    for (size_t i = 0; i < DECODERS; i++) {
        if (decoders[i].ins != apdu.ins || !decoders[i].decode)
            continue;
        sw = decoders[i].decode(&apdu, op);
        if (sw != NOT_MINE)
            return sw;
    }
    return SW_P1P2;
}
