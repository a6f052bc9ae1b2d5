/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows of the AET63 about contact cards. The APDUs are SELECT, READ BINARY and GET CHALLENGE, which change nothing on a
 * card; no PIN is ever sent.
 */
#include "probe/aet63_rows.h"

#include <string.h>

enum { NO_DATA_LE = 0, READ_BINARY = 0xB0, GET_CHALLENGE = 0x84 };

static struct aet63_heard h;

/* Header, Lc, data, Le: the form that is assumed. */
static const uint8_t select_mf[] = {0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00, NO_DATA_LE};
/* What a bank card answers 61xx to (its directory), and a SIM 9Fxx. */
static const uint8_t select_pse[] = {0x00, 0xA4, 0x04, 0x00, 0x0E, '1', 'P', 'A', 'Y', '.',
                                     'S',  'Y',  'S',  '.',  'D',  'D', 'F', '0', '1', NO_DATA_LE};
static const uint8_t select_sim[] = {0xA0, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00, NO_DATA_LE};

static bool power_or_say(struct probe *p, uint8_t type)
{
    if (aet63_power(p, type, &h))
        return true;
    not_tried(p, "the card does not run (%02X %02X)", h.sw1, h.sw2);
    return false;
}

/* ---- power and protocols ----------------------------------------------------------------------------------------- */

void row_a29(struct probe *p)
{
    if (!aet63_power(p, AET63_TYPE_AUTO, &h) && !aet63_power(p, AET63_TYPE_T0, &h)) {
        contradicted(p, NULL, "the card cannot be powered: %02X %02X", h.sw1, h.sw2);
        return;
    }
    if (!aet63_apdu(p, select_mf, sizeof select_mf, &h))
        contradicted(p, NULL, "EXCHANGE_APDU A0 is answered %02X %02X", h.sw1, h.sw2);
    else if (!aet63_do(p, AET63_POWER_OFF, NULL, 0, &h) || !aet63_done(&h))
        contradicted(p, NULL, "POWER_OFF 81 is answered %02X %02X", h.sw1, h.sw2);
    else
        confirmed(p, "02, 80, A0 and 81 do what they should");
}

/* True: the type is taken, and C_SEL tells it. */
static bool select_type(struct probe *p, uint8_t type)
{
    if (!aet63_do(p, AET63_SELECT_CARD_TYPE, &type, 1, &h) || !aet63_done(&h)) {
        contradicted(p, NULL, "card type %02X is refused: %02X %02X", type, h.sw1, h.sw2);
        return false;
    }
    return aet63_stat(p, &h);
}

void row_a30(struct probe *p)
{
    static const uint8_t types[] = {AET63_TYPE_AUTO, AET63_TYPE_T0, AET63_TYPE_T1};

    for (size_t i = 0; i < sizeof types; i++) {
        if (!select_type(p, types[i]))
            return;
        if (h.data[14] != types[i])
            contradicted(p, NULL, "after card type %02X C_SEL is %02X", types[i], h.data[14]);
    }
    aet63_do(p, AET63_POWER_OFF, NULL, 0, &h);
    if (aet63_stat(p, &h))
        confirmed(p, "types 00, 0C, 0D are taken; after POWER_OFF C_SEL is %02X", h.data[14]);
}

void row_a31(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (!power_or_say(p, AET63_TYPE_AUTO))
        return;
    if (a->protocol > 1)
        contradicted(p, NULL, "SW2 of RESET is %02X, neither 00 nor 01", (unsigned)a->protocol);
    else if (a->info_valid && !(a->info.protocols & (1u << a->protocol)))
        contradicted(p, NULL, "SW2 of RESET tells T=%d, which the card's ATR does not offer", a->protocol);
    else
        confirmed(p, "SW2 of RESET tells T=%d, which the ATR offers", a->protocol);
}

void row_a32(struct probe *p)
{
    uint8_t sw[2];

    if (aet63_power(p, AET63_TYPE_AUTO, &h)) {
        confirmed(p, "the automatic type runs the card (T=%d)", p->a->protocol);
        return;
    }
    sw[0] = p->a->reset_sw[0];
    sw[1] = p->a->reset_sw[1];
    if (aet63_power(p, AET63_TYPE_T0, &h) || aet63_power(p, AET63_TYPE_T1, &h))
        contradicted(p, NULL, "with the automatic type RESET is answered %02X %02X, with a named one the card runs",
                     sw[0], sw[1]);
    else
        not_tried(p, "the card runs with no type");
}

void row_a33(struct probe *p)
{
    static const uint8_t types[] = {AET63_TYPE_T0, AET63_TYPE_T1};
    struct atr first = {.len = 0};

    for (int t = 0; t < 2; t++) {
        if (!aet63_power(p, types[t], &h)) {
            contradicted(p, NULL, "with type %02X the card does not run: %02X %02X", types[t], h.sw1, h.sw2);
            return;
        }
        if (p->a->protocol != t) {
            contradicted(p, NULL, "with type %02X the card runs T=%d", types[t], p->a->protocol);
            return;
        }
        if (t == 0)
            first = p->a->atr;
    }
    if (first.len != p->a->atr.len || memcmp(first.bytes, p->a->atr.bytes, first.len) != 0)
        contradicted(p, NULL, "with the other protocol the card gives another ATR");
    else
        confirmed(p, "types 0C and 0D give T=0 and T=1 with the same ATR");
}

void row_a34(struct probe *p)
{
    const struct aet63_wire *a = p->a;
    uint8_t ta1;

    if (!power_or_say(p, AET63_TYPE_AUTO))
        return;
    if (a->atr.len < 3 || !(a->atr.bytes[1] & 0x10) || a->atr.bytes[2] == 0x11) {
        not_tried(p, "the card's ATR asks for no other speed (no TA1)");
        return;
    }
    ta1 = a->atr.bytes[2];
    if (a->protocol == 0 && !aet63_apdu(p, select_mf, sizeof select_mf, &h))
        contradicted(p, NULL, "a card with TA1 %02X fails at its first APDU: %02X %02X", ta1, h.sw1, h.sw2);
    else if (a->protocol == 0)
        confirmed(p, "a card with TA1 %02X answers its first APDU", ta1);
    else
        not_tried(p, "the card with TA1 %02X runs T=1; row A40 tells whether it answers", ta1);
}

void row_a35(struct probe *p)
{
    struct atr cold;

    if (!power_or_say(p, AET63_TYPE_AUTO))
        return;
    cold = p->a->atr;
    if (!aet63_do(p, AET63_RESET, NULL, 0, &h) || !aet63_done(&h))
        contradicted(p, NULL, "RESET of a powered card is answered %02X %02X", h.sw1, h.sw2);
    else if (h.n != cold.len || memcmp(h.data, cold.bytes, h.n) != 0)
        confirmed(p, "the card answers the second RESET with another ATR: it was a warm one");
    else
        not_tried(p, "this card answers cold and warm resets alike");
}

/* ---- T=0 --------------------------------------------------------------------------------------------------------- */

/* Asks by INS for as many bytes as Le says. The reader's status, or 0 if there was no answer; *data without the status
 * word. */
static unsigned ask_bytes(struct probe *p, uint8_t ins, uint8_t le, size_t *data, unsigned *sw)
{
    const uint8_t ask[] = {0x00, ins, 0x00, 0x00, 0x00, le};

    *data = 0;
    *sw = 0;
    if (!aet63_do(p, AET63_EXCHANGE_APDU, ask, sizeof ask, &h))
        return 0;
    if (h.n >= 2) {
        *data = h.n - 2;
        *sw = (unsigned)(h.data[h.n - 2] << 8 | h.data[h.n - 1]);
    }
    return (unsigned)(h.sw1 << 8 | h.sw2);
}

/* True: the row is judged. */
static bool judge_le(struct probe *p, uint8_t ins)
{
    size_t with_00, with_ff;
    unsigned sw, sw_ff, status = ask_bytes(p, ins, 0, &with_00, &sw);

    if (status != 0x9000) {
        contradicted(p, NULL, "EXCHANGE_APDU with Le 00 was refused: %04X", status);
        return true;
    }
    if (with_00 == 256)
        confirmed(p, "Le 00 brings 256 bytes");
    else if (with_00 > 0 || sw >> 8 == 0x6C)
        confirmed(p, "the card was asked with Le 00: %zu bytes, %04X", with_00, sw);
    else if (ask_bytes(p, ins, 0xFF, &with_ff, &sw_ff) == 0x9000 && with_ff > 0)
        contradicted(p, NULL, "Le FF brings %zu bytes and Le 00 none (%04X)", with_ff, sw);
    else
        return false;
    return true;
}

void row_a38(struct probe *p)
{
    if (!power_or_say(p, AET63_TYPE_T0))
        return;
    if (!aet63_apdu(p, select_mf, sizeof select_mf, &h)) {
        contradicted(p, NULL, "EXCHANGE_APDU with Lc and Le was refused: %02X %02X", h.sw1, h.sw2);
        return;
    }
    if (!judge_le(p, READ_BINARY) && !judge_le(p, GET_CHALLENGE))
        not_tried(p, "the form is taken; but the card has nothing to read (%02X%02X), so Le 00 stays open",
                  h.n >= 2 ? h.data[h.n - 2] : 0, h.n >= 2 ? h.data[h.n - 1] : 0);
}

void row_a39(struct probe *p)
{
    static const struct {
        const uint8_t *apdu;
        size_t n;
    } tries[] = {{select_mf, sizeof select_mf}, {select_pse, sizeof select_pse}, {select_sim, sizeof select_sim}};
    unsigned sw = 0;

    if (!power_or_say(p, AET63_TYPE_T0))
        return;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        if (!aet63_apdu(p, tries[i].apdu, tries[i].n, &h)) {
            not_tried(p, "SELECT brings no answer of the card");
            return;
        }
        if (judge_get_response(p, h.data, h.n, &sw))
            return;
    }
    not_tried(p, "the card answers %04X to SELECT, so 61xx was not seen", sw);
}

/* ---- T=1 --------------------------------------------------------------------------------------------------------- */

/* Carries the engine's blocks. */
static enum result exchange_block(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap, size_t *got,
                                  unsigned wtx, deadline_t until)
{
    struct probe *p = arg;
    struct aet63_wire *a = p->a;

    (void)until;
    *got = 0;
    a->wtx_asked += wtx > 1;
    a->longest_block = n > a->longest_block ? n : a->longest_block;
    if (!aet63_do(p, AET63_EXCHANGE_T1_FRAME, block, n, &h)) {
        a->wtx_lost += wtx > 1;
        return h.kind == HEARD_END ? R_GONE : h.kind == HEARD_REFUSAL ? R_CARD : R_TIMEOUT;
    }
    if (h.sw1 != 0x90) {
        a->block_sw[0] = h.sw1;
        a->block_sw[1] = h.sw2;
        a->wtx_lost += wtx > 1;
        /* A card that stayed silent: the engine asks again. */
        return (h.sw1 == 0x60 && h.sw2 == 0x20) || (h.sw1 == 0x67 && h.sw2 == 0x12) ? R_COMM : R_CARD;
    }
    if (h.n > cap)
        return R_COMM;
    memcpy(answer, h.data, h.n);
    *got = h.n;
    a->wtx_lost += wtx > 1 && h.n == 0;
    return R_SUCCESS;
}

/* A T=1 card, fresh from its reset, and an engine for it. */
static bool begin_t1(struct probe *p, struct t1 *t1)
{
    struct aet63_wire *a = p->a;

    if (!power_or_say(p, AET63_TYPE_T1))
        return false;
    if (a->protocol != 1 || !a->info_valid) {
        not_tried(p, "the card does not run T=1");
        return false;
    }
    a->block_sw[0] = a->block_sw[1] = 0;
    t1_reset(t1, &a->info, exchange_block, p);
    return true;
}

/* SELECT of a name of `data` zeros, which no card has. */
static enum result select_long(struct probe *p, struct t1 *t1, size_t data)
{
    uint8_t apdu[5 + 255] = {0x00, 0xA4, 0x04, 0x00, (uint8_t)data}, answer[258];
    size_t n;

    return t1_transmit(t1, apdu, 5 + data, answer, sizeof answer, &n, deadline_in(p->settings.power_cap));
}

void row_a40(struct probe *p)
{
    struct t1 t1;
    enum result r;

    if (!begin_t1(p, &t1))
        return;
    r = select_long(p, &t1, 2);
    if (r == R_SUCCESS)
        confirmed(p, "whole blocks go to the card, and its blocks come back");
    else if (p->a->block_sw[0])
        contradicted(p, "t1 = apdu", "EXCHANGE_T1_FRAME is answered %02X %02X", p->a->block_sw[0], p->a->block_sw[1]);
    else
        contradicted(p, "t1 = apdu", "no valid block of the card comes back (%s)", result_name(r));
}

void row_a41(struct probe *p)
{
    static const size_t inf[] = {250, 251, 254};
    size_t done = 0;
    struct t1 t1;

    for (size_t i = 0; i < 3; i++) {
        if (!begin_t1(p, &t1))
            return;
        if (inf[i] > p->a->info.t1_ifsc)
            break;
        p->a->longest_block = 0;
        if (select_long(p, &t1, inf[i] - 5) != R_SUCCESS) {
            contradicted(p, "t1 = apdu", "a block of %zu bytes fails (%02X %02X)", p->a->longest_block,
                         p->a->block_sw[0], p->a->block_sw[1]);
            return;
        }
        done = p->a->longest_block;
    }
    if (done > 254)
        confirmed(p, "blocks of up to %zu bytes pass", done);
    else
        not_tried(p, "the card takes blocks with %u bytes at most (its IFSC)", p->a->info.t1_ifsc);
}

void row_a42(struct probe *p)
{
    struct t1 t1;

    if (!begin_t1(p, &t1))
        return;
    if (select_long(p, &t1, 2) != R_SUCCESS)
        contradicted(p, "t1 = apdu", "after S(IFS) the first APDU fails");
    else
        confirmed(p, "S(IFS 254) was %s, and the APDU behind it answered",
                  t1.ifsd == 254 ? "taken" : "refused, the card stays at 32");
}

void row_a43(struct probe *p)
{
    struct t1 t1;

    if (!begin_t1(p, &t1))
        return;
    if (!p->a->info.t1_crc)
        not_tried(p, "the card uses no CRC");
    else if (select_long(p, &t1, 2) != R_SUCCESS)
        contradicted(p, "t1 = apdu", "the card takes its CRC in no known form");
    else if (t1.crc_form != 0)
        contradicted(p, NULL, "the card writes its CRC in another form than ISO/IEC 13239 (it was learnt)");
    else
        confirmed(p, "the card writes its CRC as ISO/IEC 13239 says");
}

void row_a44(struct probe *p)
{
    const struct aet63_wire *a = p->a;
    struct t1 t1;

    if (!begin_t1(p, &t1))
        return;
    select_long(p, &t1, 2);
    if (a->wtx_asked == 0)
        not_tried(p, "the card did not ask for more time");
    else if (a->wtx_lost > 0)
        contradicted(p, "t1 = apdu", "no answer after the card had asked for more time (%u of %u)", a->wtx_lost,
                     a->wtx_asked);
    else
        confirmed(p, "the card asked for more time %u times, and answered", a->wtx_asked);
}

void row_a45(struct probe *p)
{
    static const uint8_t case_4[] = {0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00, 0x10};

    if (!power_or_say(p, AET63_TYPE_T1))
        return;
    if (p->a->protocol != 1)
        not_tried(p, "the card does not run T=1");
    else if (aet63_apdu(p, case_4, sizeof case_4, &h))
        confirmed(p, "the reader runs T=1 itself behind EXCHANGE_APDU");
    else
        contradicted(p, "t1 = blocks", "EXCHANGE_APDU with a T=1 card is answered %02X %02X", h.sw1, h.sw2);
}
