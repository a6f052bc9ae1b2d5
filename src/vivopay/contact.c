/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Contact and SAM slots (IDG p279-280, p300-301).
 *
 * No command tells whether a card is in the contact slot; 2C-12 brings its ATR, powering it up, and that is presence.
 * So while no client works with the card it is asked once a second, and never in a session. A SAM does not come and go:
 * it is asked when the reader comes up. 2C-18 carries no interface byte in the pages known, so it may take every
 * contact card's power: it is not sent while another one is in use.
 */
#include "vivopay/internal.h"

#include <string.h>

enum { ASK_EVERY_MS = 1000, FRESH_MS = 1500 };

uint8_t vivo_interface(const struct vivo_slot *s)
{
    return (uint8_t)(s->kind == SLOT_ICC ? VIVO_ICC_INTERFACE : VIVO_ICC_INTERFACE + 1 + (s->kind - SLOT_SAM1));
}

static bool is_sam(const struct vivo_slot *s)
{
    return s->kind != SLOT_ICC;
}

/* The answer to 2C-12: the ATR, or no card. True: there is one, and it is not the one that was there before. */
static bool take_atr(struct vivo *v, struct vivo_slot *s, const struct vivo_frame *f)
{
    bool card = f->status == VIVO_OK && f->n >= 2 && f->n <= ATR_MAX;
    bool other = card && s->present && (f->n != s->atr.len || memcmp(f->data, s->atr.bytes, f->n) != 0);

    if (f->status == VIVO_OK && f->n > ATR_MAX)
        log_fault(v->reader.log, "an ATR of %zu bytes", f->n);
    s->present = s->fresh = card;
    s->asked = clock_now();
    s->atr.len = 0;
    if (!card)
        return false;
    memcpy(s->atr.bytes, f->data, f->n);
    s->atr.len = f->n;
    if (atr_parse(&s->info, s->atr.bytes, s->atr.len) != R_SUCCESS)
        s->info = (struct atr_info){.protocols = 1};
    return other;
}

/* Sends 2C-12 and tells the device what it says. */
static enum result ask(struct vivo *v, unsigned slot, bool coming_up, bool periodic, deadline_t until)
{
    struct vivo_slot *s = &v->slot[slot];
    uint8_t interface = vivo_interface(s);
    struct vivo_request q = {
        .command = VIVO_CMD_PASS_THROUGH, .sub = VIVO_SUB_GET_ATR, .part1 = &interface, .n1 = 1, .periodic = periodic};
    struct vivo_frame f;
    enum result r = coming_up ? vivo_ask(v, &q, &f, until) : vivo_exchange(v, &q, &f, until);

    if (r != R_SUCCESS)
        return r;
    if (vivo_status(f.status)->outcome == OUTCOME_WRONG_MODE) {
        v->up = false;
        vivo_sessions_lost(v);
        return R_COMM;
    }
    if (vivo_status(f.status)->outcome == OUTCOME_ABSENT)
        log_fault(v->reader.log, "this reader has no contact slots (status %02X): take them out of \"slots\"",
                  f.status);
    bool other = take_atr(v, s, &f);
    if (!s->present || other)
        s->powered = s->session = false;
    if (other)
        slot_lost(v->reader.device, slot);
    slot_observe(v->reader.device, slot, s->present);
    return R_SUCCESS;
}

enum result vivo_contact_ask_all(struct vivo *v, deadline_t until)
{
    enum result r = R_SUCCESS;

    for (unsigned i = 0; i < v->reader.slot_count && r != R_GONE && r != R_CANCELLED; i++)
        if (v->slot[i].kind != SLOT_CL && !deadline_passed(until))
            r = ask(v, i, true, false, until);
    return r;
}

enum result vivo_contact_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms)
{
    struct vivo_slot *s = &v->slot[slot];
    int64_t now = clock_now(), due = s->asked + ASK_EVERY_MS * CLOCK_NS_PER_MS;
    unsigned left = vivo_pace_left(&v->pace, now);
    enum result r = R_SUCCESS;

    *again_ms = READER_WATCH_NEVER;
    if (s->session || (is_sam(s) && v->up))
        return R_SUCCESS;
    if (now >= due && left == 0) {
        vivo_pace_take(&v->pace, now);
        r = ask(v, slot, false, true, until);
        if (r != R_SUCCESS)
            s->asked = clock_now();
        due = s->asked + ASK_EVERY_MS * CLOCK_NS_PER_MS;
        now = clock_now();
        left = 0;
    }
    if (!is_sam(s) || !v->up) {
        unsigned ms = due <= now ? 0 : (unsigned)((due - now) / CLOCK_NS_PER_MS + 1);
        *again_ms = ms > left ? ms : left + 1;
    }
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}

enum result vivo_contact_turn(struct vivo *v, deadline_t until, bool *taken)
{
    unsigned again;

    *taken = false;
    for (unsigned i = 0; i < v->reader.slot_count; i++) {
        const struct vivo_slot *s = &v->slot[i];

        *taken = s->kind == SLOT_ICC && !s->session && clock_now() - s->asked >= ASK_EVERY_MS * CLOCK_NS_PER_MS;
        if (*taken)
            return vivo_contact_watch(v, i, until, &again);
    }
    return R_SUCCESS;
}

/* ---- power ---------------------------------------------------------------------------------------------------------
 */

static bool others_powered(const struct vivo *v, unsigned slot)
{
    for (unsigned i = 0; i < v->reader.slot_count; i++)
        if (i != slot && v->slot[i].kind != SLOT_CL && v->slot[i].powered)
            return true;
    return false;
}

static enum result switch_off(struct vivo *v, unsigned slot, deadline_t until)
{
    struct vivo_request q = {.command = VIVO_CMD_PASS_THROUGH, .sub = VIVO_SUB_CONTACT_OFF};
    struct vivo_frame f;

    v->slot[slot].fresh = false;
    return others_powered(v, slot) ? R_SUCCESS : vivo_exchange(v, &q, &f, until); /* whatever status */
}

enum result vivo_contact_power_up(struct vivo *v, unsigned slot, deadline_t until, struct atr *atr, int *protocol)
{
    struct vivo_slot *s = &v->slot[slot];
    bool ready = s->present && s->fresh && !s->session && clock_now() - s->asked < FRESH_MS * CLOCK_NS_PER_MS;
    enum result r = R_SUCCESS;

    if (!ready && s->session)
        r = switch_off(v, slot, until);
    s->powered = s->session = false;
    if (r == R_SUCCESS && !ready)
        r = ask(v, slot, false, false, until);
    if (r != R_SUCCESS)
        return r;
    if (!s->present)
        return R_NO_CARD;
    *atr = s->atr;
    *protocol = s->info.first == 1;
    s->powered = true;
    slot_wake(v->reader.device, slot);
    return R_SUCCESS;
}

enum result vivo_contact_power_down(struct vivo *v, unsigned slot, deadline_t until)
{
    struct vivo_slot *s = &v->slot[slot];
    bool on = s->powered || s->session;
    enum result r = R_SUCCESS;

    s->powered = s->session = false;
    if (on && v->line)
        r = switch_off(v, slot, until);
    s->asked = clock_now(); /* it stays without power for a second */
    slot_wake(v->reader.device, slot);
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}

enum result vivo_contact_failed(struct vivo *v, unsigned slot, deadline_t until)
{
    struct vivo_slot *s = &v->slot[slot];
    enum result r;

    s->powered = s->session = s->fresh = false;
    r = ask(v, slot, false, false, until);
    if (r == R_GONE || r == R_CANCELLED)
        return r;
    if (s->present) /* 2C-12 was a reset: the session is over in any case */
        slot_lost(v->reader.device, slot);
    slot_wake(v->reader.device, slot);
    return R_NO_CARD;
}
