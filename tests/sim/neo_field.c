/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The RF field and the contact sockets: polls, sessions, APDUs.
 *
 * A poll activates a card anew, and so ends whatever session the card was in; without a card it waits its whole time,
 * and a card that comes meanwhile ends the wait. The session remembers how the card was opened, for a card that is
 * MIFARE and ISO 14443-4 in one can be opened either way. A card that has left keeps its session open as an empty
 * one: the reader learns of it only by the time-out of the next exchange.
 */
#include "neo_model.h"

#include <string.h>

enum { TYPE_NONE = 0x00, TYPE_A4 = 0x01, TYPE_B4 = 0x02, TYPE_DUAL = 0x07, TYPE_TAG4 = 0x0D };
enum { FORCE_ISO = 0x0001, POLL_BITS = 0x0003 };

/* ---- field --------------------------------------------------------------------------------------------------- */

void neo_field_off(struct sim_model *m)
{
    neo_apdu_cancel(m);
    m->rf = false;
    memset(&m->session, 0, sizeof m->session);
    for (size_t i = 0; i < m->cards; i++)
        neo_card_power_off(m->field[i]);
}

void neo_antenna(struct sim_model *m, const struct neo_cmd *c)
{
    if (c->data[0] > 1) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    if (c->data[0] == 0)
        neo_field_off(m);
    else
        m->rf = true;
    neo_answer_status(m, NEO_ST_OK);
}

/* ---- polls --------------------------------------------------------------------------------------------------- */

static uint8_t type_of(const struct sim_model *m, const struct neo_card *c, bool nfc)
{
    if (c->kind == NEO_VICINITY)
        return (uint8_t)m->opt.vicinity_type;
    return nfc ? c->nfc_type : c->type;
}

/* Is a card of this kind, reported as this type, opened for APDUs? */
static bool opens_iso(const struct sim_model *m, const struct neo_card *c, uint8_t type, bool force)
{
    if (!neo_card_is_iso(c))
        return false;
    if (c->kind == NEO_DUAL)
        return force || m->opt.dual_loose;
    return type == TYPE_A4 || type == TYPE_B4 || type == TYPE_TAG4;
}

static bool activate(struct sim_model *m, struct neo_card *c, bool force, bool nfc)
{
    uint8_t type = type_of(m, c, nfc);
    bool iso = opens_iso(m, c, type, force);

    c->stays = m->opt.stays != 0;
    /* The loose reader decides between MIFARE and APDUs by the first command, so it leaves RATS for later. */
    if (type == TYPE_NONE || !neo_card_activate(c, iso && (c->kind != NEO_DUAL || force)))
        return false;
    m->session = (struct neo_session){.open = true, .iso = iso, .type = type, .card = c};
    m->count.activations++;
    return true;
}

static size_t poll_data(struct sim_model *m, bool with_ats, uint8_t out[2 + NEO_UID_MAX + 1 + NEO_ATS_MAX])
{
    const struct neo_card *c = m->session.card;
    size_t ats = c->kind == NEO_ISO_A || c->kind == NEO_DUAL ? c->ats_len : 0, n = 0;

    out[n++] = m->session.type;
    if (with_ats && m->opt.ats_poll == NEO_ATS_A)
        out[n++] = (uint8_t)c->uid_len;
    memcpy(out + n, c->uid, c->uid_len);
    n += c->uid_len;
    if (!with_ats)
        return n;
    if (m->opt.ats_poll == NEO_ATS_A)
        out[n++] = (uint8_t)ats;
    memcpy(out + n, c->ats, ats);
    return n + ats;
}

/* Answers the poll if a card is there. */
static bool try_poll(struct sim_model *m)
{
    uint8_t data[2 + NEO_UID_MAX + 1 + NEO_ATS_MAX];

    for (size_t i = 0; i < m->cards; i++) {
        if (!activate(m, m->field[i], m->poll.iso, m->poll.nfc))
            continue;
        neo_poll_cancel(m);
        neo_answer_later(m, m->opt.poll_time, NEO_ST_OK, data, poll_data(m, m->poll.with_ats, data));
        return true;
    }
    return false;
}

static void poll_over(void *arg)
{
    struct sim_model *m = arg;
    uint8_t none = TYPE_NONE;

    m->poll.timer = 0;
    m->poll.active = false;
    neo_answer_data(m, (uint8_t)m->opt.nocard, &none, m->opt.nocard == NEO_ST_OK ? 1 : 0);
}

void neo_poll_cancel(struct sim_model *m)
{
    if (m->poll.timer != 0)
        sim_timer_cancel(m->poll.timer);
    m->poll.timer = 0;
    m->poll.active = false;
}

void neo_poll_start(struct sim_model *m, unsigned ms, bool iso, bool with_ats, bool nfc)
{
    if (ms == 0) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    m->count.polls++;
    m->rf = true;
    memset(&m->session, 0, sizeof m->session);
    m->poll.iso = iso;
    m->poll.with_ats = with_ats;
    m->poll.nfc = nfc;
    if (try_poll(m))
        return;
    m->poll.active = true;
    m->poll.timer = sim_timer_add(ms, poll_over, m);
}

static unsigned poll_ms(const uint8_t *t)
{
    return t[0] * 1000U + t[1] * 10U;
}

void neo_poll(struct sim_model *m, const struct neo_cmd *c)
{
    neo_poll_start(m, poll_ms(c->data), false, false, false);
}

void neo_poll_ats(struct sim_model *m, const struct neo_cmd *c)
{
    neo_poll_start(m, poll_ms(c->data), false, true, false);
}

void neo_poll_enhanced(struct sim_model *m, const struct neo_cmd *c)
{
    unsigned type = (unsigned)c->data[2] << 8 | c->data[3];

    if ((type & ~(unsigned)POLL_BITS) != 0)
        neo_answer_status(m, NEO_ST_PARAMETER);
    else
        neo_poll_start(m, poll_ms(c->data), (type & FORCE_ISO) != 0, false, false);
}

/* 2C-0B: one command that may light, beep, switch the field and poll. Lamps and text change nothing here. */
void neo_single_shot(struct sim_model *m, const struct neo_cmd *c)
{
    enum { ACTIVATE = 0x01, DEACTIVATE = 0x02, POLL = 0x04, INTERFACE = 0x20, KNOWN = 0x3F };
    uint8_t mask = c->data[0], interface = (mask & INTERFACE) != 0 ? c->data[c->n - 1] : 0x00;

    if ((mask & ~KNOWN) != 0 || c->data[2] > 8 || ((mask & INTERFACE) != 0 && c->n < 8)) {
        neo_answer_status(m, NEO_ST_PARAMETER);
    } else if (interface != 0x00) {
        struct neo_cmd on = {.cmd = c->cmd, .sub = c->sub, .data = &interface, .n = 1};

        neo_contact_on(m, &on);
    } else if ((mask & POLL) != 0) {
        neo_poll_start(m, poll_ms(c->data + 5), false, false, false);
    } else {
        if ((mask & DEACTIVATE) != 0)
            neo_field_off(m);
        else if ((mask & ACTIVATE) != 0)
            m->rf = true;
        neo_answer_status(m, NEO_ST_OK);
    }
}

/* The auto-switch: a reader so configured goes to pass-through mode by itself when it sees a card. */
static void auto_switch(struct sim_model *m)
{
    uint8_t data[2 + NEO_UID_MAX + 1 + NEO_ATS_MAX];

    if (!m->opt.auto_switch || m->pass || m->poll_mode != 0 || !m->powered || m->cards == 0)
        return;
    if (!activate(m, m->field[0], false, false))
        return;
    m->pass = m->rf = true;
    neo_send_unasked(m, 0x2C, NEO_ST_AUTO_SWITCH, data, poll_data(m, false, data));
}

void neo_field_changed(struct sim_model *m)
{
    if (m->poll.active)
        try_poll(m);
    else
        auto_switch(m);
}

void neo_card_gone(struct sim_model *m, struct neo_card *c)
{
    if (m->session.card == c)
        m->session.card = NULL;
    if (m->apdu.active && m->apdu.card == c) {
        neo_apdu_cancel(m);
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    }
}

/* ---- what the host gets to see -------------------------------------------------------------------------------- */

/* The structure of encrypted answers; the cipher is a stand-in, for nobody is meant to read it. */
static size_t encrypt(struct sim_model *m, const uint8_t *data, size_t n, bool sw, uint8_t out[NEO_FRAME_MAX])
{
    size_t plain = sw ? n - 2 : n, padded = (2 + plain + 15) / 16 * 16, len = 2;

    if (padded + 64 > NEO_FRAME_MAX)
        return NEO_FRAME_MAX; /* too long to be sent */
    memset(out, 0, padded + 2);
    out[0] = (uint8_t)(padded >> 8);
    out[1] = (uint8_t)(padded & 0xFF);
    out[2] = (uint8_t)(plain >> 8);
    out[3] = (uint8_t)(plain & 0xFF);
    memcpy(out + 4, data, plain);
    for (size_t i = 0; i < padded; i++)
        out[len + i] = (uint8_t)(out[len + i] ^ (0xA5 + 7 * i));
    len += padded;
    if (m->opt.enc == NEO_ENC_OTHER) /* a shape that nobody knows: ciphertext and no more */
        return len;
    if (sw) {
        memcpy(out + len, data + plain, 2);
        len += 2;
    }
    out[len++] = 0x00;
    out[len++] = 0x0A;
    for (uint8_t i = 0; i < 9; i++)
        out[len++] = (uint8_t)(0xF0 + i);
    out[len++] = (uint8_t)(0xF9 + (m->opt.ksn_stays ? 0 : m->ksn++));
    out[len++] = 0x00;
    out[len++] = m->opt.enc == NEO_ENC_MAC ? 0x10 : 0x00;
    for (uint8_t i = 0; i < 16 && m->opt.enc == NEO_ENC_MAC; i++)
        out[len++] = (uint8_t)(0x30 + i);
    return len;
}

/* READ RECORD and GENERATE AC of a payment card bring what a SRED reader keeps to itself. */
static bool sensitive(const struct sim_model *m, const uint8_t *data, size_t n, bool sw)
{
    return m->opt.sred && sw && n > 2 && data[n - 2] == 0x90 && (m->ins == 0xB2 || m->ins == 0xAE);
}

void neo_answer_card(struct sim_model *m, unsigned ms, const uint8_t *data, size_t n, bool sw)
{
    uint8_t out[NEO_FRAME_MAX];

    if (sensitive(m, data, n, sw)) {
        neo_answer_later(m, ms, NEO_ST_BLOCKED, NULL, 0);
        return;
    }
    switch (m->opt.enc) {
    case NEO_ENC_OFF:
        neo_answer_later(m, ms, NEO_ST_OK, data, n);
        break;
    case NEO_ENC_NOKEY:
        neo_answer_later(m, ms, NEO_ST_NO_KEY, NULL, 0);
        break;
    case NEO_ENC_EXHAUSTED:
        neo_answer_later(m, ms, NEO_ST_KSN_EXHAUSTED, NULL, 0);
        break;
    default:
        neo_answer_later(m, ms, NEO_ST_OK, out, n > NEO_DATA_MAX ? NEO_FRAME_MAX : encrypt(m, data, n, sw, out));
        break;
    }
}

/* ---- APDUs --------------------------------------------------------------------------------------------------- */

void neo_apdu_cancel(struct sim_model *m)
{
    if (!m->apdu.active)
        return;
    m->apdu.active = false;
    if (m->apdu.contact != NULL)
        m->apdu.contact->ops->cancel(m->apdu.contact->card);
    else
        m->apdu.card->ops->cancel(m->apdu.card->apdu);
}

/* The card's answer, whichever way it came. */
static void apdu_answer(struct sim_model *m, bool contact, unsigned ms, const uint8_t *rapdu, size_t n)
{
    if (n < 2 && (contact || n == 0))
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    else if (contact)
        neo_answer_later(m, ms, NEO_ST_OK, rapdu, n);
    else
        neo_answer_card(m, ms, rapdu, n, n >= 2);
}

static void apdu_done(void *arg, const uint8_t *rapdu, size_t n)
{
    struct sim_model *m = arg;

    if (!m->apdu.active)
        return;
    m->apdu.active = false;
    apdu_answer(m, m->apdu.contact != NULL, 0, rapdu, n);
}

void neo_exchange_iso(struct sim_model *m, const uint8_t *apdu, size_t n)
{
    struct neo_card *c = m->session.card;
    unsigned ms = 0;
    size_t len;

    if (!m->session.open || !m->session.iso) {
        neo_answer_status(m, NEO_ST_FAILED);
        return;
    }
    if (c != NULL && c->kind == NEO_DUAL && c->air == NEO_ACTIVE)
        c->air = NEO_PROTOCOL;
    if (c == NULL || c->air != NEO_PROTOCOL) {
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
        return;
    }
    m->ins = n > 1 ? apdu[1] : 0;
    c->block_number ^= 1;
    c->last_len = 0;
    if (c->ops->begin == NULL) {
        len = neo_card_apdu(c, apdu, n, m->rapdu, &ms);
        apdu_answer(m, false, ms, m->rapdu, len);
        return;
    }
    c->executions++;
    m->apdu.active = true;
    m->apdu.contact = NULL;
    m->apdu.card = c;
    if (!c->ops->begin(c->apdu, apdu, n, apdu_done, m)) {
        m->apdu.active = false;
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    }
}

void neo_exchange(struct sim_model *m, const struct neo_cmd *c)
{
    neo_exchange_iso(m, c->data, c->n);
}

/* Reader's buffer, card's frame size, CID, block number, CID support, FWT and its margin, in ETU. */
void neo_picc_parameters(struct sim_model *m, const struct neo_cmd *c)
{
    static const uint16_t sizes[] = {16, 24, 32, 40, 48, 64, 96, 128, 256};
    const struct neo_card *card = m->session.card;
    uint8_t out[15] = {0x01, 0x00};
    unsigned fsci = 2, fwi = 4;
    uint32_t fwt;

    (void)c;
    if (!m->session.open || card == NULL) {
        neo_answer_status(m, NEO_ST_FAILED);
        return;
    }
    if (m->session.iso) {
        fsci = card->ats_len > 1 ? card->ats[1] & 0x0F : 8;
        fwi = card->ats_len > 3 && (card->ats[1] & 0x30) == 0x30 ? card->ats[3] >> 4 : 4;
        fsci = fsci > 8 ? 8 : fsci;
        out[2] = (uint8_t)(sizes[fsci] >> 8);
        out[3] = (uint8_t)(sizes[fsci] & 0xFF);
        out[5] = card->block_number ^ 1;
        out[6] = 1;
    }
    fwt = 32U << fwi;
    for (int i = 0; i < 4; i++)
        out[7 + i] = (uint8_t)(fwt >> (24 - 8 * i) & 0xFF);
    out[13] = 0x01;
    out[14] = 0x80; /* delta FWT: 384 ETU */
    neo_answer_data(m, NEO_ST_OK, out, sizeof out);
}

void neo_halt(struct sim_model *m, const struct neo_cmd *c)
{
    if (!m->rf) {
        neo_answer_status(m, NEO_ST_MODE);
        return;
    }
    if (c->data[0] != 1 && c->data[0] != 2) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    if (m->session.card != NULL)
        m->session.card->air = NEO_HALT;
    memset(&m->session, 0, sizeof m->session);
    neo_answer_status(m, NEO_ST_OK);
}

void neo_terminate(struct sim_model *m, const struct neo_cmd *c)
{
    bool session = m->session.open && m->session.iso;

    (void)c;
    neo_field_off(m);
    m->rf = true;
    neo_answer_status(m, session ? NEO_ST_OK : NEO_ST_NO_SESSION);
}

/* ---- contact card and SAMs ------------------------------------------------------------------------------------ */

static struct neo_contact *contact(struct sim_model *m, uint8_t interface)
{
    return m->opt.icc && interface >= 0x20 && interface <= 0x28 ? &m->contact[interface - 0x20] : NULL;
}

static bool contact_there(const struct neo_contact *k)
{
    return k->card != NULL && (k->ops->watch == NULL || k->here);
}

void neo_contact_removed(struct sim_model *m, struct neo_contact *k)
{
    if (m->apdu.active && m->apdu.contact == k) {
        neo_apdu_cancel(m);
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    }
    if (k->card != NULL)
        k->ops->destroy(k->card);
    k->card = NULL;
    k->powered = k->here = false;
}

/* The protocol a card without PPS runs: that of the first TD byte, T=0 without one. */
static bool runs_t0(const uint8_t *atr, size_t n)
{
    size_t at = 2;

    if (n < 2 || (atr[1] & 0x80) == 0)
        return true;
    for (unsigned bit = 0x10; bit < 0x80; bit <<= 1)
        at += (atr[1] & bit) != 0 ? 1U : 0U;
    return at < n && (atr[at] & 0x0F) == 0;
}

void neo_contact_on(struct sim_model *m, const struct neo_cmd *c)
{
    struct neo_contact *k = contact(m, c->data[0]);
    uint8_t atr[SIM_ATR_MAX];
    size_t n;

    if (k == NULL) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    if (!contact_there(k)) {
        neo_answer_status(m, (uint8_t)m->opt.nocontact);
        return;
    }
    if (k->powered)
        k->ops->power(k->card, false);
    k->ops->power(k->card, true);
    n = k->ops->atr(k->card, atr);
    k->powered = n > 0;
    if (n == 0) {
        neo_answer_later(m, m->opt.fwt, (uint8_t)m->opt.nocontact, NULL, 0);
        return;
    }
    k->t0 = runs_t0(atr, n);
    k->activations++;
    if (k->ops->protocol != NULL)
        k->ops->protocol(k->card, k->t0 ? 0 : 1);
    neo_answer_data(m, NEO_ST_OK, atr, n);
}

void neo_contact_off(struct sim_model *m, const struct neo_cmd *c)
{
    struct neo_contact *k = contact(m, c->n > 0 ? c->data[0] : 0x20);

    if (k == NULL) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    if (k->powered)
        k->ops->power(k->card, false);
    k->powered = false;
    neo_answer_status(m, NEO_ST_OK);
}

/* A T=0 card never sees the Le of a command that carries data. */
static size_t strip_le(const struct neo_contact *k, const uint8_t *apdu, size_t n)
{
    return k->t0 && n > 5 && n == 6U + apdu[4] ? n - 1 : n;
}

static size_t contact_execute(struct sim_model *m, struct neo_contact *k, const uint8_t *apdu, size_t n, unsigned *ms)
{
    uint8_t again[5] = {0, 0xC0, 0, 0, 0};
    size_t len = k->ops->execute(k->card, apdu, strip_le(k, apdu, n), m->rapdu, ms);

    k->executions++;
    if (!m->opt.get_response || !k->t0 || len != 2 || (m->rapdu[0] != 0x61 && (m->rapdu[0] != 0x6C || n != 5)))
        return len;
    if (m->rapdu[0] == 0x6C)
        memcpy(again, apdu, 4);
    else
        again[0] = apdu[0];
    again[4] = m->rapdu[1];
    k->executions++;
    return k->ops->execute(k->card, again, sizeof again, m->rapdu, ms);
}

static void exchange_contact(struct sim_model *m, struct neo_contact *k, const uint8_t *apdu, size_t n)
{
    unsigned ms = 0;
    size_t len;

    if (!contact_there(k)) {
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
        return;
    }
    if (!k->powered) {
        neo_answer_status(m, NEO_ST_FAILED);
        return;
    }
    if (k->ops->begin == NULL) {
        len = contact_execute(m, k, apdu, n, &ms);
        apdu_answer(m, true, ms, m->rapdu, len);
        return;
    }
    k->executions++;
    m->apdu.active = true;
    m->apdu.contact = k;
    m->apdu.card = NULL;
    if (!k->ops->begin(k->card, apdu, strip_le(k, apdu, n), apdu_done, m)) {
        m->apdu.active = false;
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    }
}

void neo_exchange_interface(struct sim_model *m, const struct neo_cmd *c)
{
    struct neo_contact *k = contact(m, c->data[0]);

    if (c->data[0] == 0x00)
        neo_exchange_iso(m, c->data + 1, c->n - 1);
    else if (k == NULL)
        neo_answer_status(m, NEO_ST_PARAMETER);
    else
        exchange_contact(m, k, c->data + 1, c->n - 1);
}
