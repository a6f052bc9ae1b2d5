/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * APDUs: 2C-03 through the field, 2C-13 through contacts. The reader does all of ISO 14443-4, T=0 and T=1 by itself;
 * what goes down and comes up are whole APDUs, and 61xx and 6Cxx are the client's business.
 */
#include "vivopay/internal.h"

#include <string.h>
#include "base/buf.h"
#include "card/apdu.h"

enum {
    SW_BLOCKED = 0x6982,
    SW_WRONG_LENGTH = 0x6700,
    SW_WRONG_DATA = 0x6A80,
    SW_NOT_SUPPORTED = 0x6A81,
    SW_CLASS = 0x6E00,
    EXTENDED_OVERHEAD = 9 /* header, three bytes of Lc, two of Le */
};

static enum result put_sw(uint16_t sw, uint8_t *response, size_t cap, size_t *len)
{
    struct wbuf w = wbuf_over(response, cap);

    wbuf_be16(&w, sw);
    *len = w.failed ? 0 : 2;
    return w.failed ? R_SPACE : R_SUCCESS;
}

static bool is_extended(const uint8_t *apdu, size_t n)
{
    struct apdu a;

    return n > APDU_SHORT_MAX || (apdu_parse(&a, apdu, n) == R_SUCCESS && a.extended);
}

/* The reader takes no APDU of this length or form. */
static uint16_t refused_length(struct vivo *v, const uint8_t *apdu, size_t n)
{
    if (is_extended(apdu, n) && !v->short_only) {
        v->short_only = true;
        log_line(v->reader.log, PLOG_INFO,
                 "this reader refuses extended APDUs; clients are told that it takes short ones only");
        vivo_contradicted(v, 24, "an APDU was refused for its length");
    }
    return SW_WRONG_LENGTH;
}

static uint16_t refused_request(struct vivo *v, const uint8_t *apdu, size_t n)
{
    struct apdu a;

    if (is_extended(apdu, n) || apdu_parse(&a, apdu, n) != R_SUCCESS)
        return refused_length(v, apdu, n);
    return SW_WRONG_DATA;
}

static enum result card_failed(struct vivo *v, unsigned slot, const struct vivo_frame *f, deadline_t until)
{
    log_line(v->reader.log, PLOG_INFO, "the card does not answer (status %02X): its session is over", f->status);
    return v->slot[slot].kind == SLOT_CL ? vivo_field_failed(v, slot, until) : vivo_contact_failed(v, slot, until);
}

/* Status 00: the card's answer, unless the reader has made something else of it. */
static enum result take_answer(struct vivo *v, const struct vivo_frame *f, uint8_t *response, size_t cap, size_t *len)
{
    if (f->n < 2) {
        log_fault(v->reader.log, "an answer of %zu bytes is no response APDU", f->n);
        v->in_sync = false; /* it may be another command's, and this one's the next command's */
        return R_COMM;
    }
    if (vivo_is_encrypted(f->data, f->n)) {
        vivo_explain_encrypted(v);
        return put_sw(SW_BLOCKED, response, cap, len);
    }
    if (f->n > cap)
        return R_SPACE;
    memcpy(response, f->data, f->n);
    *len = f->n;
    return R_SUCCESS;
}

static enum result refused(struct vivo *v, unsigned slot, const struct vivo_frame *f, const uint8_t *apdu, size_t n,
                           uint16_t *sw, deadline_t until)
{
    switch (vivo_status(f->status)->outcome) {
    case OUTCOME_ABSENT:
        *sw = SW_NOT_SUPPORTED;
        return R_SUCCESS;
    case OUTCOME_WRONG:
        *sw = refused_request(v, apdu, n);
        return R_SUCCESS;
    case OUTCOME_TOO_LONG:
        *sw = refused_length(v, apdu, n);
        return R_SUCCESS;
    case OUTCOME_BLOCKED:
        vivo_explain_blocked(v, f->status);
        *sw = SW_BLOCKED;
        return R_SUCCESS;
    case OUTCOME_NO_ANSWER:
    case OUTCOME_FAILED:
        return card_failed(v, slot, f, until);
    case OUTCOME_WRONG_MODE:
        log_fault(v->reader.log, "the reader has left pass-through mode: the cards have lost their sessions");
        v->up = false;
        vivo_sessions_lost(v);
        return R_NO_CARD;
    case OUTCOME_DONE:
    case OUTCOME_BROKEN:
        break;
    }
    log_fault(v->reader.log, "APDU: status %02X, %s", f->status, vivo_status(f->status)->meaning);
    return R_CARD;
}

enum result vivo_transmit(struct reader *reader, unsigned slot, const uint8_t *apdu, size_t n, uint8_t *response,
                          size_t cap, size_t *len, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    struct vivo_slot *s = &v->slot[slot];
    bool contactless = s->kind == SLOT_CL;
    uint8_t interface = contactless ? 0 : vivo_interface(s);
    struct vivo_request q = {.command = VIVO_CMD_PASS_THROUGH,
                             .sub = contactless ? VIVO_SUB_APDU : VIVO_SUB_CONTACT_APDU,
                             .part1 = contactless ? apdu : &interface,
                             .n1 = contactless ? n : 1,
                             .part2 = contactless ? NULL : apdu,
                             .n2 = contactless ? 0 : n,
                             .only_while = &s->powered};
    struct vivo_frame f;
    uint16_t sw = 0;
    enum result r;

    *len = 0;
    if (!s->powered)
        return R_NO_CARD;
    if (contactless && !vivo_field_takes_apdus(v))
        return put_sw(SW_CLASS, response, cap, len);
    if (q.n1 + q.n2 > VIVO_DATA_MAX)
        return put_sw(SW_WRONG_LENGTH, response, cap, len);
    s->session = true;
    r = vivo_exchange(v, &q, &f, until);
    s->traffic = clock_now();
    if (r != R_SUCCESS)
        return r;
    if (f.status == VIVO_OK)
        return take_answer(v, &f, response, cap, len);
    r = refused(v, slot, &f, apdu, n, &sw, until);
    return r == R_SUCCESS ? put_sw(sw, response, cap, len) : r;
}

size_t vivo_max_apdu_data(const struct reader *reader, unsigned slot)
{
    const struct vivo *v = (const struct vivo *)reader;
    bool contactless = v->slot[slot].kind == SLOT_CL;

    if (v->short_only || (contactless && !vivo_field_takes_apdus(v)))
        return 0;
    return VIVO_DATA_MAX - EXTENDED_OVERHEAD - (contactless ? 0 : 1);
}
