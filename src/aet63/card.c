/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cards in the AET63: power, protocols, APDUs (manual 7.4 and 7.5). The card slot and the SAM differ in four
 * instruction codes and in one thing: only the card has a type to select.
 *
 * The reader does PPS inside RESET; the host chooses a protocol by the type it selects before. Status SW2 of RESET tells
 * what the card runs. T=0 commands go by EXCHANGE_APDU with Lc and Le always present, case 4 without its Le: the client
 * fetches with GET RESPONSE. T=1 runs in the driver's engine, block by block, over EXCHANGE_T1_FRAME.
 */
#include "aet63/internal.h"

#include <string.h>
#include "card/apdu.h"

struct aet63_contacts {
    uint8_t activate, deactivate, apdu, block;
    bool typed; /* SELECT_CARD_TYPE concerns it */
};

static const struct aet63_contacts contacts[AET63_SLOTS] = {
    {AET63_RESET, AET63_POWER_OFF, AET63_EXCHANGE_APDU, AET63_EXCHANGE_T1_FRAME, true},
    {AET63_ACTIVATE_SAM, AET63_DEACTIVATE_SAM, AET63_EXCHANGE_SAM_APDU, AET63_EXCHANGE_SAM_T1_FRAME, false},
};

static const uint8_t sam_number = 0;

void aet63_icc_init(struct aet63 *a)
{
    for (unsigned i = 0; i < AET63_SLOTS; i++) {
        a->icc[i].owner = a;
        a->icc[i].contacts = &contacts[i];
    }
}

void aet63_icc_off(struct aet63_icc *icc)
{
    icc->powered = false;
    icc->atr.len = 0;
    icc->info_valid = false;
}

static unsigned slot_of(const struct aet63_icc *icc)
{
    return (unsigned)(icc - icc->owner->icc);
}

/* What a failure status means for the card; R_SUCCESS for success. The session is lost when the reader says that the card
 * is gone or without power. */
static enum result card_status(struct aet63_icc *icc, const struct aet63_response *m)
{
    const struct aet63_status *s = aet63_status(m->sw1, m->sw2);

    if (s->result == R_SUCCESS)
        return R_SUCCESS;
    log_fault(icc->owner->reader.log, "status %02X %02X: %s", m->sw1, m->sw2, s->meaning);
    if (s->sw1 == 0)
        aet63_contradicted(icc->owner, 37, "a status that is not in the table; taken for a failure");
    if (s->result == R_NO_CARD)
        aet63_card_lost(icc->owner, slot_of(icc));
    return s->result;
}

/* ---- power --------------------------------------------------------------------------------------------------- */

static enum result switch_off(struct aet63_icc *icc, deadline_t until)
{
    struct aet63_response m;
    deadline_t wait = deadline_min(until, deadline_in(2 * icc->owner->reader.settings->command_wait));
    enum result r = aet63_simple(icc->owner, icc->contacts->deactivate, NULL, &m, wait);

    aet63_icc_off(icc);
    if (r == R_SUCCESS && m.sw1 != AET63_SW1_DONE && aet63_status(m.sw1, m.sw2)->result != R_NO_CARD)
        aet63_contradicted(icc->owner, 36, "switching the card off was refused; taken for off");
    return r; /* whatever status: 60 02 and 60 04 also mean that it is off */
}

static enum result select_type(struct aet63_icc *icc, uint8_t type, deadline_t until)
{
    struct aet63_response m;
    deadline_t wait = deadline_min(until, deadline_in(icc->owner->reader.settings->command_wait));
    enum result r = aet63_simple(icc->owner, AET63_SELECT_CARD_TYPE, &type, &m, wait);

    if (r != R_SUCCESS)
        return r;
    r = card_status(icc, &m);
    return r == R_COMM ? R_CARD : r; /* refused: the next type may do */
}

/* The answer to RESET or ACTIVATE_SAM. */
static enum result take_atr(struct aet63_icc *icc, const struct aet63_response *m)
{
    struct log *log = icc->owner->reader.log;

    if (m->sw2 != 0 && m->sw2 != AET63_DONE_T1) {
        log_fault(log, "the card runs no protocol that this driver knows (status %02X %02X)", m->sw1, m->sw2);
        aet63_contradicted(icc->owner, 31, "SW2 of RESET is neither 00 nor 01");
        return R_POWER;
    }
    if (m->n < 2 || m->n > ATR_MAX) {
        log_fault(log, "an ATR of %zu bytes", m->n);
        return R_POWER;
    }
    memcpy(icc->atr.bytes, m->data, m->n);
    icc->atr.len = m->n;
    icc->protocol = m->sw2 == AET63_DONE_T1;
    icc->powered = true;
    icc->info_valid = atr_parse(&icc->info, icc->atr.bytes, icc->atr.len) == R_SUCCESS;
    if (!icc->info_valid)
        log_line(log, PLOG_INFO, "the ATR is not well formed; it is passed on as the card gave it");
    else if (icc->info.tck_wrong)
        log_line(log, PLOG_INFO, "the ATR's check byte is wrong; it is passed on as the card gave it");
    /* 90 01 is told of RESET alone: a SAM that was activated by 90 00 runs what its ATR says. */
    if (!icc->contacts->typed && icc->info_valid && icc->protocol == 0)
        icc->protocol = (icc->info.specific ? icc->info.specific_t : icc->info.first) == 1;
    if (icc->info_valid && !(icc->info.protocols & (1u << icc->protocol)))
        aet63_contradicted(icc->owner, 31, "SW2 of RESET names a protocol that the ATR does not offer");
    return R_SUCCESS;
}

static enum result t1_block(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap, size_t *got,
                            unsigned wtx, deadline_t until);

static enum result activate(struct aet63_icc *icc, deadline_t until)
{
    static const struct atr_info plain = {.t1_ifsc = 32, .t1_bwi = 4, .t1_cwi = 13};
    struct aet63 *a = icc->owner;
    struct aet63_response m;
    deadline_t wait = deadline_min(until, deadline_in(a->reader.settings->reset_wait));
    enum result r = aet63_simple(a, icc->contacts->activate, icc->contacts->typed ? NULL : &sam_number, &m, wait);

    aet63_icc_off(icc);
    if (r == R_SUCCESS)
        r = card_status(icc, &m);
    if (r == R_SUCCESS)
        r = take_atr(icc, &m);
    if (r == R_SUCCESS)
        t1_reset(&icc->t1, icc->info_valid ? &icc->info : &plain, t1_block, icc);
    return r;
}

static enum result cold_reset(struct aet63_icc *icc, uint8_t type, deadline_t until)
{
    enum result r = switch_off(icc, until);

    if (r == R_SUCCESS && icc->contacts->typed)
        r = select_type(icc, type, until);
    return r == R_SUCCESS ? activate(icc, until) : r;
}

enum result aet63_power_up(struct reader *reader, unsigned slot, bool warm, deadline_t until, struct atr *atr,
                           int *protocol)
{
    static const uint8_t types[] = {AET63_TYPE_AUTO, AET63_TYPE_T0, AET63_TYPE_T1};
    struct aet63_icc *icc = &aet63_of(reader)->icc[slot];
    enum result r = R_CARD;

    if (slot != 0)
        aet63_ask_soon(icc->owner);
    if (warm && icc->powered) {
        r = activate(icc, until);
    } else {
        size_t n = icc->contacts->typed ? sizeof types : 1;
        for (size_t i = 0; i < n && r == R_CARD; i++) {
            r = cold_reset(icc, types[i], until);
            if (r == R_SUCCESS && i > 0)
                aet63_contradicted(icc->owner, 32, "the card runs with a type that is named, not with the automatic one");
        }
    }
    if (r == R_SUCCESS) {
        *atr = icc->atr;
        *protocol = icc->protocol;
    }
    return r == R_CARD || r == R_NOT_SUPPORTED ? R_POWER : r;
}

enum result aet63_power_down(struct reader *reader, unsigned slot, deadline_t until)
{
    struct aet63 *a = aet63_of(reader);

    aet63_ask_soon(a);
    return switch_off(&a->icc[slot], until);
}

static bool same_atr(const struct atr *x, const struct atr *y)
{
    return x->len == y->len && memcmp(x->bytes, y->bytes, x->len) == 0;
}

enum result aet63_set_protocol(struct reader *reader, unsigned slot, int t, deadline_t until, int *protocol)
{
    struct aet63_icc *icc = &aet63_of(reader)->icc[slot];
    struct atr before = icc->atr;
    enum result r;

    *protocol = icc->protocol;
    if (t == icc->protocol)
        return R_SUCCESS;
    if (!icc->contacts->typed || !icc->info_valid || !(icc->info.protocols & (1u << t)))
        return R_PROTOCOL;
    r = cold_reset(icc, t == 1 ? AET63_TYPE_T1 : AET63_TYPE_T0, until);
    if (r != R_SUCCESS)
        return r == R_CARD ? R_POWER : r;
    *protocol = icc->protocol;
    if (!same_atr(&before, &icc->atr) || icc->protocol != t)
        aet63_contradicted(icc->owner, 33, "selecting a protocol gave another protocol or another ATR");
    if (!same_atr(&before, &icc->atr)) {
        log_fault(reader->log, "another ATR after the protocol was selected: another card?");
        aet63_card_lost(icc->owner, slot);
        return R_NO_CARD;
    }
    return icc->protocol == t ? R_SUCCESS : R_PROTOCOL;
}

enum result aet63_look_for_sam(struct aet63 *a, deadline_t until)
{
    enum result r = activate(&a->icc[1], until);

    if (r == R_SUCCESS)
        (void)switch_off(&a->icc[1], until);
    return r;
}

/* ---- APDUs ----------------------------------------------------------------------------------------------------- */

/* A card exchange failed, or the reader reported a failure. GET_ACR_STAT tells whether the card still has its power; if
 * not, its session is lost and the client hears so in this very call. */
static enum result after_failure(struct aet63_icc *icc, enum result r, deadline_t until)
{
    struct aet63 *a = icc->owner;

    if (r != R_COMM && r != R_CARD && r != R_TIMEOUT)
        return r;
    if (deadline_passed(until) || slot_of(icc) != 0) {
        a->doubt = true;
        return r;
    }
    if (aet63_get_status(a, deadline_min(until, deadline_in(a->reader.settings->command_wait))) != R_SUCCESS) {
        a->doubt = true;
        return r;
    }
    aet63_apply_status(a);
    if (a->status[AET63_C_STAT] == AET63_STAT_POWERED)
        return r;
    if (icc->powered)
        aet63_card_lost(a, 0);
    return R_NO_CARD;
}

static enum result t1_block(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap, size_t *got,
                            unsigned wtx, deadline_t until)
{
    struct aet63_icc *icc = arg;
    struct aet63_request q = {AET63_HEADER, icc->contacts->block, block, NULL, n, 0};
    struct aet63_response m;
    enum result r = aet63_exchange(icc->owner, &q, &m, until);

    /* nothing tells the reader of wtx; it waits as it waits (doc/ASSUMPTIONS.md, A44) */
    *got = 0;
    if (r != R_SUCCESS)
        return r;
    r = card_status(icc, &m);
    if (r == R_CARD && wtx > 1)
        aet63_contradicted(icc->owner, 44, "no answer after the card had asked for more time");
    if (r == R_COMM)
        aet63_contradicted(icc->owner, n >= AET63_LONG_FORM ? 41 : 40, "the reader refused a T=1 block");
    if (r == R_CARD)
        return R_SUCCESS; /* the card stayed silent: an invalid block, the engine asks again */
    if (r != R_SUCCESS)
        return r;
    if (m.n > cap)
        return R_SUCCESS; /* no T=1 block is that long: invalid, too */
    if (m.n > 0)
        memcpy(answer, m.data, m.n);
    *got = m.n;
    return R_SUCCESS;
}

static enum result put_sw(uint8_t sw1, uint8_t sw2, uint8_t *response, size_t cap, size_t *len)
{
    if (cap < 2)
        return R_SPACE;
    response[0] = sw1;
    response[1] = sw2;
    *len = 2;
    return R_SUCCESS;
}

/* EXCHANGE_APDU: header, Lc, data, Le. */
static enum result exchange_apdu(struct aet63_icc *icc, const struct t0_command *c, uint8_t *response, size_t cap,
                                 size_t *len, deadline_t until)
{
    uint8_t body[5 + 255 + 1];
    struct aet63_request q = {AET63_HEADER, icc->contacts->apdu, body, NULL, (size_t)c->lc + 6, 0};
    struct aet63_response m;
    enum result r;

    memcpy(body, c->header, 4);
    body[4] = c->lc;
    if (c->lc > 0)
        memcpy(body + 5, c->data, c->lc);
    body[5 + c->lc] = c->le;
    r = aet63_exchange(icc->owner, &q, &m, until);
    explicit_bzero(body, sizeof body);
    if (r == R_SUCCESS && m.sw1 == 0x67 && m.sw2 != 0x12)
        aet63_contradicted(icc->owner, icc->protocol == 1 ? 45 : 38, "EXCHANGE_APDU was refused");
    if (r == R_SUCCESS)
        r = card_status(icc, &m);
    if (r != R_SUCCESS)
        return r;
    if (m.n < 2)
        return R_COMM;
    if (m.n > cap)
        return R_SPACE;
    memcpy(response, m.data, m.n);
    *len = m.n;
    return R_SUCCESS;
}

static enum result transmit_t0(struct aet63_icc *icc, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                               size_t *len, deadline_t until)
{
    struct t0_command t;

    if (t0_from_apdu(&t, apdu, n) != R_SUCCESS)
        return put_sw(0x67, 0x00, response, cap, len);
    return exchange_apdu(icc, &t, response, cap, len, until);
}

/* T=1 left to the reader's firmware (t1 = apdu): short APDUs, Lc and Le both allowed. */
static enum result transmit_t1_apdu(struct aet63_icc *icc, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                                    size_t *len, deadline_t until)
{
    struct apdu a;
    struct t0_command c; /* but with both Lc and Le */

    if (apdu_parse(&a, apdu, n) != R_SUCCESS || a.extended)
        return put_sw(0x67, 0x00, response, cap, len);
    c = (struct t0_command){{a.cla, a.ins, a.p1, a.p2}, a.data, (uint8_t)a.lc, (uint8_t)(a.has_le ? a.le : 0)};
    return exchange_apdu(icc, &c, response, cap, len, until);
}

enum result aet63_transmit(struct reader *reader, unsigned slot, const uint8_t *apdu, size_t n, uint8_t *response,
                           size_t cap, size_t *len, deadline_t until)
{
    struct aet63_icc *icc = &aet63_of(reader)->icc[slot];
    enum result r;

    *len = 0;
    if (!icc->powered)
        return R_NO_CARD;
    if (slot != 0)
        aet63_ask_soon(icc->owner); /* the card in the other slot may come or go meanwhile */
    if (icc->protocol == 0)
        r = transmit_t0(icc, apdu, n, response, cap, len, until);
    else if (reader->settings->t1 == T1_APDU)
        r = transmit_t1_apdu(icc, apdu, n, response, cap, len, until);
    else
        r = t1_transmit(&icc->t1, apdu, n, response, cap, len, until);
    if (icc->t1.crc && icc->t1.edc_known && icc->t1.crc_form != 0)
        aet63_contradicted(icc->owner, 43, "a T=1 card writes its CRC in another form than ISO/IEC 13239");
    if (r != R_SUCCESS)
        *len = 0;
    return after_failure(icc, r, until);
}

size_t aet63_max_apdu_data(const struct reader *reader, unsigned slot)
{
    const struct aet63_icc *icc = &((const struct aet63 *)reader)->icc[slot];

    return icc->powered && icc->protocol == 1 && reader->settings->t1 == T1_BLOCKS ? 65536 : 0;
}
