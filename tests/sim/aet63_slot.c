/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A card in the AET63 model: coming and going, activation, and the exchange of APDUs and T=1 blocks.
 *
 * The reader does what the firmware is said to do: it reads the ATR, picks a protocol, runs T=0 by itself and carries
 * T=1 blocks without looking into them, except for S(WTX response), which lengthens its wait if it is that kind of
 * reader. Its own wait for a T=1 card is one block waiting time; the card's end (sim_t1card.c) asks for more time
 * before that is over. Every exchange ends by aet63m_answer(): with the card's data, with a status after the wait, or
 * with 60 04 because the card was pulled.
 */
#include <stdlib.h>
#include <string.h>

#include "aet63_model.h"
#include "sim_cards.h"

/* ---- ATR -------------------------------------------------------------------------------------------------- */

/* One interface byte at most; false past the end. */
static bool next_byte(const uint8_t *atr, size_t n, size_t *at, uint8_t *b)
{
    if (*at >= n)
        return false;
    *b = atr[(*at)++];
    return true;
}

/* TAi, TBi, TCi of group i, which follows TD(i-1) (t: its protocol). Returns false past the end. */
static bool interface_group(const uint8_t *atr, size_t n, size_t *at, uint8_t y, int i, int t, struct aet63m_atr *out)
{
    uint8_t b;

    if ((y & 0x1) != 0) {
        if (!next_byte(atr, n, at, &b))
            return false;
        if (i == 2) {
            out->specific = b & 0x0F;
            if ((b & 0x10) != 0) /* parameters by default values this reader cannot know */
                return false;
        }
        if (i > 2 && t == 1)
            out->ifsc = b;
    }
    if ((y & 0x2) != 0) {
        if (!next_byte(atr, n, at, &b))
            return false;
        if (i > 2 && t == 1)
            out->bwi = b >> 4;
    }
    if ((y & 0x4) != 0) {
        if (!next_byte(atr, n, at, &b))
            return false;
        if (i > 2 && t == 1)
            out->crc = (b & 1) != 0;
    }
    return true;
}

bool aet63m_parse_atr(const uint8_t *atr, size_t n, struct aet63m_atr *out)
{
    size_t at = 2;
    bool tck = false;
    int t = 0;

    *out = (struct aet63m_atr){.first = -1, .specific = -1, .ifsc = 32, .bwi = 4};
    if (n < 2 || n > SIM_ATR_MAX || (atr[0] != 0x3B && atr[0] != 0x3F))
        return false;
    uint8_t y = atr[1] >> 4;
    for (int i = 1;; i++) {
        uint8_t td;
        if (!interface_group(atr, n, &at, y, i, t, out))
            return false;
        if ((y & 0x8) == 0)
            break;
        if (!next_byte(atr, n, &at, &td))
            return false;
        t = td & 0x0F;
        y = td >> 4;
        out->t0 = out->t0 || t == 0;
        out->t1 = out->t1 || t == 1;
        if (out->first < 0)
            out->first = t;
        tck = tck || t != 0;
    }
    if (out->first < 0) {
        out->first = 0;
        out->t0 = true;
    }
    at += atr[1] & 0x0F;
    if (n != at + (tck ? 1 : 0) || (tck && sim_xor(atr + 1, n - 1) != 0))
        return false;
    return (out->t0 || out->t1) && out->ifsc >= 1 && out->ifsc <= 254 && out->bwi <= 9;
}

/* ---- T=1 wiring ------------------------------------------------------------------------------------------- */

static unsigned block_wait(const struct aet63m_slot *s)
{
    if (s->m->opt.bwt_ms != 0)
        return s->m->opt.bwt_ms;
    return (unsigned)((960UL * 372UL << s->atr.bwi) / 4000UL) + 1; /* at 4 MHz */
}

static void run_card(struct aet63m_slot *s, const uint8_t *apdu, size_t n, bool for_t1);

static void t1_execute(void *arg, const uint8_t *apdu, size_t n)
{
    run_card(arg, apdu, n, true);
}

static void stop_card(struct aet63m_slot *s)
{
    if (s->timer != 0)
        sim_timer_cancel(s->timer);
    s->timer = 0;
    if (s->running && s->ops->cancel != NULL)
        s->ops->cancel(s->card);
    s->running = false;
}

static void t1_cancel(void *arg)
{
    stop_card(arg);
}

static void t1_send(void *arg, const uint8_t *block, size_t n)
{
    struct aet63m_slot *s = arg;

    if (!aet63m_uses(s->m, s)) /* nobody listens: the reader has given up */
        return;
    aet63m_command_timer(s->m, 0, NULL);
    aet63m_answer(s->m, 0x9000, block, n);
}

/* ---- coming and going ------------------------------------------------------------------------------------- */

bool aet63m_slot_init(struct sim_model *m, struct aet63m_slot *s)
{
    static const struct sim_t1card_calls calls = {.execute = t1_execute, .cancel = t1_cancel, .send = t1_send};

    s->m = m;
    s->t1 = sim_t1card_new(&calls, s);
    return s->t1 != NULL;
}

void aet63m_slot_free(struct aet63m_slot *s)
{
    aet63m_slot_clear(s);
    sim_t1card_free(s->t1);
    s->t1 = NULL;
}

void aet63m_slot_unpower(struct aet63m_slot *s)
{
    stop_card(s);
    sim_t1card_stop(s->t1);
    if (s->powered && s->card != NULL)
        s->ops->power(s->card, false);
    s->powered = false;
    s->protocol = 0;
}

void aet63m_slot_clear(struct aet63m_slot *s)
{
    aet63m_slot_unpower(s);
    if (s->card != NULL)
        s->ops->destroy(s->card);
    s->card = NULL;
    s->ops = NULL;
    s->present = false;
    s->name[0] = '\0';
}

void aet63m_slot_pull(struct aet63m_slot *s, bool again)
{
    struct sim_model *m = s->m;
    bool seen = s->present && s == &m->slot && m->on;
    bool during = s->present && aet63m_uses(m, s);

    aet63m_slot_unpower(s);
    s->present = s->present && again;
    if (during) {
        aet63m_command_timer(m, 0, NULL);
        aet63m_answer(m, 0x6004, NULL, 0);
        if (m->opt.events == EVENTS_AFTER)
            aet63m_event(m, EVENT_REMOVED);
        return;
    }
    if (seen)
        aet63m_event(m, EVENT_REMOVED);
    if (seen && again)
        aet63m_event(m, EVENT_INSERTED);
}

/* A vpcd client came or went. */
static void presence_changed(void *arg, bool present)
{
    struct aet63m_slot *s = arg;

    if (present == s->present)
        return;
    if (!present) {
        aet63m_slot_pull(s, false);
        return;
    }
    s->present = true;
    if (s == &s->m->slot && s->m->on)
        aet63m_event(s->m, EVENT_INSERTED);
}

bool aet63m_slot_put(struct aet63m_slot *s, const char *spec, char *why, size_t why_size)
{
    const struct sim_card_ops *ops;

    if (strlen(spec) >= sizeof s->name) {
        snprintf(why, why_size, "name too long");
        return false;
    }
    struct sim_card *c = sim_card_make(spec, &ops, why, why_size);
    if (c == NULL)
        return false;
    s->card = c;
    s->ops = ops;
    strcpy(s->name, spec);
    s->present = ops->watch == NULL;
    if (ops->watch != NULL)
        ops->watch(c, presence_changed, s);
    return true;
}

/* ---- activation ------------------------------------------------------------------------------------------- */

/* The selected type is a preference among what the card offers; a card in specific mode runs what TA2 says. */
static int pick_protocol(const struct sim_model *m, const struct aet63m_atr *a, bool sam)
{
    if (a->specific >= 0)
        return a->specific;
    if (a->t0 && a->t1 && !sam && m->c_sel == 0x0C)
        return 0;
    if (a->t0 && a->t1 && ((!sam && m->c_sel == 0x0D) || m->opt.auto_last))
        return 1;
    if (a->first == 0 || a->first == 1)
        return a->first;
    return a->t0 ? 0 : 1;
}

void aet63m_slot_reset(struct aet63m_slot *s, bool sam)
{
    struct sim_model *m = s->m;
    uint8_t atr[SIM_ATR_MAX];

    if (!s->present) {
        aet63m_answer(m, 0x6002, NULL, 0);
        return;
    }
    stop_card(s);
    sim_t1card_stop(s->t1);
    m->counts.cold += s->powered ? 0 : 1;
    m->counts.warm += s->powered ? 1 : 0;
    if (s->powered)
        s->ops->reset(s->card);
    else
        s->ops->power(s->card, true);
    s->powered = true;
    size_t n = s->ops->atr(s->card, atr);
    if (n == 0 || !aet63m_parse_atr(atr, n, &s->atr) || s->atr.specific > 1) {
        aet63m_slot_unpower(s);
        aet63m_answer(m, 0x6020, NULL, 0);
        return;
    }
    s->protocol = pick_protocol(m, &s->atr, sam);
    if (s->ops->protocol != NULL)
        s->ops->protocol(s->card, s->protocol);
    if (s->protocol == 1) {
        enum sim_t1_edc edc = !s->atr.crc ? SIM_T1_LRC : m->opt.crc_plain ? SIM_T1_CRC_PLAIN : SIM_T1_CRC;
        sim_t1card_start(s->t1, s->atr.ifsc, edc, block_wait(s));
    }
    aet63m_answer(m, 0x9000U | (s->protocol == 1 && (!sam || m->opt.sam_sw2) ? 1 : 0), atr, n);
}

/* ---- APDUs ------------------------------------------------------------------------------------------------ */

static void silent_card(void *arg)
{
    struct sim_model *m = arg;

    m->cmd.timer = 0;
    aet63m_answer(m, 0x6020, NULL, 0);
}

static void card_answered(struct aet63m_slot *s, const uint8_t *rapdu, size_t n)
{
    s->running = false;
    if (s->for_t1) {
        sim_t1card_answer(s->t1, rapdu, n);
    } else if (!aet63m_uses(s->m, s)) {
        return; /* the reader has given up */
    } else if (n == 0 && s->protocol == 0) {
        aet63m_command_timer(s->m, s->m->opt.wwt_ms, silent_card);
    } else if (n == 0 || n > AET63S_DATA_MAX) {
        aet63m_answer(s->m, 0x6712, NULL, 0);
    } else {
        aet63m_answer(s->m, 0x9000, rapdu, n);
    }
}

static void delay_over(void *arg)
{
    struct aet63m_slot *s = arg;

    s->timer = 0;
    card_answered(s, s->rapdu, s->rapdu_n);
}

static void vpcd_answered(void *arg, const uint8_t *rapdu, size_t n)
{
    card_answered(arg, rapdu, n);
}

static void run_card(struct aet63m_slot *s, const uint8_t *apdu, size_t n, bool for_t1)
{
    unsigned delay = 0;

    s->m->counts.executions++;
    s->for_t1 = for_t1;
    s->running = true;
    if (s->ops->begin != NULL) {
        if (!s->ops->begin(s->card, apdu, n, vpcd_answered, s))
            card_answered(s, NULL, 0);
        return;
    }
    s->rapdu_n = s->ops->execute(s->card, apdu, n, s->rapdu, &delay);
    if (delay == 0)
        card_answered(s, s->rapdu, s->rapdu_n);
    else
        s->timer = sim_timer_add(delay, delay_over, s);
}

/* 0 if the slot's card is ready for an exchange, else the status to answer. */
static unsigned not_ready(const struct aet63m_slot *s)
{
    if (!s->present)
        return 0x6002;
    return s->powered ? 0 : 0x6004;
}

/* A T=1 card gets a proper APDU: no Lc without data, no Le where it is 00. */
static size_t apdu_for_t1(uint8_t *out, const uint8_t *data, size_t n)
{
    size_t lc = data[4];

    memcpy(out, data, n);
    if (lc == 0) {
        out[4] = data[5];
        return data[5] == 0 ? 4 : 5;
    }
    return data[n - 1] == 0 ? n - 1 : n;
}

void aet63m_slot_apdu(struct aet63m_slot *s, const uint8_t *data, size_t n)
{
    uint8_t apdu[6 + 255];
    unsigned sw = not_ready(s);

    if (sw == 0 && (n < 6 || n != (size_t)data[4] + 6))
        sw = 0x6703;
    if (sw == 0 && s->protocol == 0 && data[4] != 0 && data[n - 1] != 0)
        sw = 0x6703; /* T=0 cannot do both ways in one command */
    if (sw != 0) {
        aet63m_answer(s->m, sw, NULL, 0);
        return;
    }
    if (s->protocol == 1) {
        n = apdu_for_t1(apdu, data, n);
    } else { /* header with P3 = Lc, or Le if there are no data; then the data */
        memcpy(apdu, data, n - 1);
        if (data[4] == 0)
            apdu[4] = data[5];
        n = n - 1;
    }
    run_card(s, apdu, n, false);
}

static void mute_card(void *arg)
{
    struct sim_model *m = arg;

    m->cmd.timer = 0;
    aet63m_answer(m, m->opt.mute_sw, NULL, 0);
}

void aet63m_slot_block(struct aet63m_slot *s, const uint8_t *data, size_t n)
{
    struct sim_model *m = s->m;
    unsigned sw = not_ready(s);

    if (sw == 0 && s->protocol != 1)
        sw = 0x6701;
    if (sw == 0 && (n < 4 || n > SIM_T1_BLOCK_MAX))
        sw = 0x6703;
    if (sw != 0) {
        aet63m_answer(m, sw, NULL, 0);
        return;
    }
    bool granted = data[1] == 0xE3 && data[2] == 1 && n >= 5 && !m->opt.wtx_ignored;
    aet63m_command_timer(m, block_wait(s) * (granted && data[3] > 0 ? data[3] : 1U), mute_card);
    sim_t1card_block(s->t1, data, n);
}
