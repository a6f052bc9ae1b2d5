/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Raw exchange with the card in the field, 2C-04 (IDG p285-289), and what the driver uses it for by itself.
 *
 * Both uses are assumptions, off by default (doc/ASSUMPTIONS.md). The SAK probe selects a card of types 03 and 04 anew
 * by hand to read ATQA and SAK, which no poll hands over. The presence check sends an R(NAK) block to an ISO 14443-4
 * card that is in session and idle: such a card answers it with R(ACK), or with its last block again, and changes
 * nothing.
 */
#include "vivopay/internal.h"

#include <string.h>
#include "base/buf.h"

enum {
    TRANSCEIVE = 0x1E,
    RAW_HEADER = 7,
    RAW_ANSWER = 5,
    SHORT_ETU = 0x200,  /* activation commands answer at once */
    SHORT_FRAME = 0x1D, /* 7 bits in the last byte, no disturbance filter */
    WUPA = 0x52,
    SELECT_1 = 0x93,
    CASCADE_BIT = 0x04,
    CASCADES = 3
};

uint32_t vivo_etu(uint32_t us)
{
    return (uint32_t)(((uint64_t)us * 1000 + VIVO_ETU_NS - 1) / VIVO_ETU_NS);
}

enum result vivo_raw_exchange(struct vivo *v, const struct vivo_raw *raw, const bool *only_while,
                              struct vivo_raw_answer *answer, deadline_t until)
{
    uint8_t head[RAW_HEADER];
    struct wbuf w = wbuf_over(head, sizeof head);
    struct vivo_request q = {.command = VIVO_CMD_PASS_THROUGH,
                             .sub = VIVO_SUB_RAW,
                             .part1 = head,
                             .n1 = sizeof head,
                             .part2 = raw->data,
                             .n2 = raw->n,
                             .periodic = raw->periodic,
                             .only_while = only_while};
    struct vivo_frame f;
    struct rbuf b;
    enum result r;

    memset(answer, 0, sizeof *answer);
    wbuf_u8(&w, TRANSCEIVE);
    wbuf_be32(&w, raw->etu);
    wbuf_u8(&w, raw->flags);
    wbuf_u8(&w, raw->redundancy);
    q.extra_ms = (unsigned)((uint64_t)raw->etu * VIVO_ETU_NS / 1000000);
    r = vivo_exchange(v, &q, &f, until);
    if (r != R_SUCCESS)
        return r;
    answer->reader = f.status;
    b = rbuf_over(f.data, f.n);
    if (f.n < RAW_ANSWER)
        return R_SUCCESS;
    answer->judged = true;
    answer->pcd = rbuf_u8(&b);
    answer->bits = rbuf_be32(&b);
    answer->n = b.left;
    answer->data = rbuf_bytes(&b, b.left);
    return R_SUCCESS;
}

/* ---- ATQA and SAK ------------------------------------------------------------------------------------------------ */

/* One raw exchange that has to bring n bytes. R_CARD: it did not. */
static enum result probe(struct vivo *v, uint8_t flags, uint8_t redundancy, const uint8_t *data, size_t n, uint8_t *out,
                         size_t out_n, deadline_t until)
{
    struct vivo_raw raw = {.etu = SHORT_ETU, .flags = flags, .redundancy = redundancy, .data = data, .n = n};
    struct vivo_raw_answer a;
    enum result r = vivo_raw_exchange(v, &raw, NULL, &a, until);

    if (r != R_SUCCESS)
        return r;
    if (!a.judged || a.pcd != PCD_OK || a.n < out_n)
        return R_CARD;
    if (out_n > 0)
        memcpy(out, a.data, out_n);
    return R_SUCCESS;
}

/* The card is active: HLTA puts it to sleep, WUPA wakes it up, and each cascade level is selected by the bytes that it
 * sends. */
static enum result select_by_hand(struct vivo *v, deadline_t until)
{
    static const uint8_t hlta[] = {0x50, 0x00}, wupa[] = {WUPA};
    struct vivo_field *f = &v->field;
    uint8_t select[7], sak = CASCADE_BIT;
    enum result r = probe(v, 0, VIVO_RAW_A_TX_CRC, hlta, sizeof hlta, NULL, 0, until);

    if (r == R_SUCCESS || r == R_CARD) /* HLTA is never answered */
        r = probe(v, SHORT_FRAME, VIVO_RAW_A_NO_CRC, wupa, sizeof wupa, f->atqa, sizeof f->atqa, until);
    for (unsigned level = 0; r == R_SUCCESS && level < CASCADES && (sak & CASCADE_BIT); level++) {
        select[0] = (uint8_t)(SELECT_1 + 2 * level);
        select[1] = 0x20;
        r = probe(v, 0, VIVO_RAW_A_NO_CRC, select, 2, select + 2, 5, until);
        select[1] = 0x70;
        if (r == R_SUCCESS)
            r = probe(v, 0, VIVO_RAW_A, select, sizeof select, &sak, 1, until);
    }
    if (r == R_SUCCESS && (sak & CASCADE_BIT))
        r = R_CARD;
    f->sak = sak;
    return r;
}

enum result vivo_sak_probe(struct vivo *v, deadline_t until)
{
    struct vivo_field *f = &v->field;
    enum result r = select_by_hand(v, until);

    f->sak_known = r == R_SUCCESS;
    if (f->sak_known) {
        log_line(v->reader.log, PLOG_INFO, "ATQA %02X%02X, SAK %02X", f->atqa[1], f->atqa[0], f->sak);
    } else {
        log_line(v->reader.log, PLOG_INFO, "the SAK probe brought nothing (%s)", result_name(r));
        vivo_contradicted(v, 38, "the raw SAK probe brought nothing");
    }
    return r == R_CARD ? R_SUCCESS : r;
}

/* ---- presence ------------------------------------------------------------------------------------------------------
 */

/* What the reader knows of the card's protocol (2C-05): block number, CID, waiting time. */
static enum result ask_parameters(struct vivo *v, unsigned slot, uint8_t *block, size_t *n, uint32_t *etu,
                                  deadline_t until)
{
    struct vivo_request q = {.command = VIVO_CMD_PASS_THROUGH,
                             .sub = VIVO_SUB_PARAMETERS,
                             .periodic = true,
                             .only_while = &v->slot[slot].powered};
    struct vivo_frame f;
    enum result r = vivo_exchange(v, &q, &f, until);

    block[0] = 0xB2; /* R(NAK), block number 0, no CID */
    *n = 1;
    *etu = VIVO_USUAL_ETU;
    if (r != R_SUCCESS || f.status != VIVO_OK || f.n < 15)
        return r;
    block[0] |= f.data[5] & 1;
    if (f.data[6] != 0 && (f.data[4] & 0x0F) != 0) { /* a card of CID 0 heeds blocks without CID */
        block[0] |= 0x08;
        block[1] = f.data[4] & 0x0F;
        *n = 2;
    }
    uint32_t fwt = (uint32_t)f.data[7] << 24 | (uint32_t)f.data[8] << 16 | (uint32_t)f.data[9] << 8 | f.data[10];
    if (fwt > *etu && fwt < 10 * (uint32_t)VIVO_USUAL_ETU)
        *etu = fwt;
    return R_SUCCESS;
}

enum result vivo_rnak(struct vivo *v, unsigned slot, bool *there, deadline_t until)
{
    const struct vivo_card_type *t = vivo_card_type(v->field.card.type);
    uint8_t block[2] = {0};
    struct vivo_raw raw = {.flags = 0x01, .redundancy = t && t->type_b ? VIVO_RAW_B : VIVO_RAW_A, .data = block};
    struct vivo_raw_answer a;
    enum result r = ask_parameters(v, slot, block, &raw.n, &raw.etu, until);

    if (r == R_SUCCESS)
        r = vivo_raw_exchange(v, &raw, &v->slot[slot].powered, &a, until);
    if (r != R_SUCCESS)
        return r;
    if (!a.judged && a.reader != VIVO_TIMEOUT && a.reader != VIVO_FAILED)
        return R_NOT_SUPPORTED;
    *there = a.judged && a.pcd != PCD_NO_TAG && a.pcd != PCD_TIMEOUT;
    return R_SUCCESS;
}
