/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The contactless slot.
 *
 * No event tells of a card, so the field is polled, and a poll activates the card that it finds, which resets it.
 * Hence: an empty field is polled back to back; a fresh card (nothing was sent to it for a client since it was
 * activated) is polled again by the command that opened it, and is gone after two misses in a row; a card in session is
 * never polled, but asked where its kind can be asked without harm (vicinity.c, storage.c, raw.c).
 *
 * Which poll: 2C-0E hands over the ATS, but only newer readers have it, and no page shows its layout; so it is tried,
 * and where the reader does not know it, or its answer cannot be read, 2C-0C 0001 takes its place, then 2C-02. A card
 * of type 07 is MIFARE and ISO 14443-4: 2C-0C 0001 opens it for APDUs, 2C-02 as MIFARE, whatever found it.
 */
#include "vivopay/internal.h"

#include <string.h>
#include "reader/device.h"

enum {
    MISSES_GONE = 2,
    SILENT_MAX = 2,
    SHARED_POLL_MS = 20, /* while another slot is in session */
    SHARED_EVERY_MS = 1000,
    AFTER_FAILURE_MS = 100, /* a poll that asks whether the card is still there */
    FELICA_TURN = 4,        /* every fourth poll of an empty field */
    FELICA_SECONDS = 1,     /* 2C-40 counts in seconds */
    SEEN_MS = 1500,         /* a fresh card that was seen that long ago needs no poll before it is powered up */
    RNAK_EVERY_MS = 2000,
    RNAK_AGAIN_MS = 250,
    TYPE_BOTH = 0x07,
    TYPE_TOPAZ = 0x0A,
    TYPE_FELICA = 0x0C
};

void vivo_field_init(struct vivo *v)
{
    memset(&v->field, 0, sizeof v->field);
}

static bool prefers_mifare(const struct vivo *v)
{
    return v->reader.settings->prefer == PREFER_MIFARE;
}

bool vivo_field_takes_apdus(const struct vivo *v)
{
    const struct vivo_card_type *t = vivo_card_type(v->field.card.type);

    return t && (t->kind == CARD_APDU || (t->kind == CARD_BOTH && !prefers_mifare(v)));
}

/* ---- one poll -------------------------------------------------------------------------------------------------- */

/* The poll for an empty field that this reader is known to have. */
static enum vivo_opener best_poll(const struct vivo *v)
{
    if (!v->field.no_0e)
        return OPEN_BY_0E;
    return v->field.no_0c || prefers_mifare(v) ? OPEN_BY_02 : OPEN_BY_0C;
}

/* The poll that opens a card of type 07 as the configuration wants it. */
static enum vivo_opener best_opener(const struct vivo *v)
{
    return v->field.no_0c || prefers_mifare(v) ? OPEN_BY_02 : OPEN_BY_0C;
}

static struct vivo_request poll_request(enum vivo_opener opener, unsigned ms, uint8_t data[4])
{
    struct vivo_request q = {.command = VIVO_CMD_PASS_THROUGH, .part1 = data, .extra_ms = ms};

    data[0] = (uint8_t)(ms / 1000);
    data[1] = (uint8_t)(ms % 1000 / 10);
    data[2] = 0;
    data[3] = 1; /* 2C-0C: force ISO 14443-4 */
    q.n1 = 2;
    switch (opener) {
    case OPEN_BY_0E:
        q.sub = VIVO_SUB_POLL_ATS;
        break;
    case OPEN_BY_0C:
        q.sub = VIVO_SUB_ENHANCED_POLL;
        q.n1 = 4;
        break;
    case OPEN_BY_02:
        q.sub = VIVO_SUB_POLL;
        break;
    case OPEN_BY_40:
        q.sub = VIVO_SUB_NFC;
        data[0] = 0xFF;
        data[1] = FELICA_SECONDS;
        q.extra_ms = FELICA_SECONDS * 1000;
        break;
    case OPEN_BY_RAW:
        break; /* vicinity.c */
    }
    return q;
}

/* The reader has no such poll: it is not tried again. R_NOT_SUPPORTED if another can take its place. */
static enum result poll_absent(struct vivo *v, enum vivo_opener opener, const char *why)
{
    static const char *const name[] = {"2C-0E", "2C-0C", "2C-02", "2C-40", "2C-04"};
    struct vivo_field *f = &v->field;

    if (opener == OPEN_BY_02)
        return R_COMM;
    log_line(v->reader.log, PLOG_INFO, "poll %s is not used on this reader (%s)", name[opener], why);
    f->no_0e |= opener == OPEN_BY_0E;
    f->no_0c |= opener == OPEN_BY_0C;
    f->no_40 |= opener == OPEN_BY_40;
    if (opener == OPEN_BY_40)
        vivo_contradicted(v, 29, "2C-40 was refused");
    return R_NOT_SUPPORTED;
}

static enum result poll_done(struct vivo *v, enum vivo_opener opener, const struct vivo_frame *a,
                             struct vivo_card *card)
{
    bool ok = opener == OPEN_BY_0E ? vivo_parse_poll_ats(a->data, a->n, &v->field.layout, card)
                                   : vivo_parse_poll(a->data, a->n, card);

    if (ok && card->type != 0 && (!vivo_card_type(card->type) || card->type == VIVO_TYPE_VICINITY) &&
        !vivo_vicinity_adopt(v, card)) {
        log_fault(v->reader.log, "card type %02X is not known; ignored", card->type);
        vivo_contradicted(v, 21, "a poll found a card type that is not in the list");
        card->type = 0;
    }
    if (ok) {
        v->field.unreadable = false;
        return R_SUCCESS;
    }
    if (opener == OPEN_BY_0E && !v->layout_told) {
        v->layout_told = true;
        log_line(v->reader.log, PLOG_INFO,
                 "an answer to 2C-0E of %zu bytes cannot be read in one way; asking without ATS", a->n);
        vivo_contradicted(v, 17, "an answer to 2C-0E has another form");
    } else if (opener != OPEN_BY_0E) {
        log_fault(v->reader.log, "a poll answer of %zu bytes makes no sense", a->n);
        vivo_contradicted(v, 16, "a poll was answered in no known way");
        v->in_sync = v->in_sync && v->field.unreadable; /* the first may be another command's, and its own come next */
        v->field.unreadable = true;
    }
    card->type = 0;
    return opener == OPEN_BY_0E ? R_NOT_SUPPORTED : R_COMM;
}

/* What a poll's status means. R_NOT_SUPPORTED: ask by another command. */
static enum result poll_status(struct vivo *v, enum vivo_opener opener, const struct vivo_frame *a,
                               struct vivo_card *card)
{
    const struct vivo_status *s = vivo_status(a->status);

    switch (s->outcome) {
    case OUTCOME_DONE:
        return poll_done(v, opener, a, card);
    case OUTCOME_NO_ANSWER:
    case OUTCOME_FAILED:
        return R_SUCCESS; /* no card */
    case OUTCOME_ABSENT:
    case OUTCOME_WRONG:
    case OUTCOME_BLOCKED:
        return poll_absent(v, opener, s->meaning);
    case OUTCOME_WRONG_MODE:
        v->up = false; /* pass-through mode is off: the next command enters it again */
        vivo_sessions_lost(v);
        return R_COMM;
    case OUTCOME_TOO_LONG:
    case OUTCOME_BROKEN:
        break;
    }
    log_fault(v->reader.log, "poll: status %02X, %s", a->status, s->meaning);
    return R_COMM;
}

enum result vivo_poll(struct vivo *v, enum vivo_opener opener, unsigned ms, bool periodic, struct vivo_card *card,
                      deadline_t until)
{
    uint8_t data[4];
    struct vivo_request q = poll_request(opener, ms, data);
    struct vivo_frame answer;
    enum result r;

    if (opener == OPEN_BY_RAW)
        return vivo_vicinity_poll(v, periodic, card, until);
    memset(card, 0, sizeof *card);
    q.periodic = periodic;
    r = vivo_exchange(v, &q, &answer, until);
    if (opener == OPEN_BY_0E && r == R_TIMEOUT && ++v->field.silent_0e == SILENT_MAX)
        (void)poll_absent(v, opener, "no answer");
    if (r != R_SUCCESS)
        return r;
    v->field.silent_0e = 0;
    return poll_status(v, opener, &answer, card);
}

/* 2C-40 finds cards of ISO 14443 as well, and calls them by other types. What the usual poll finds as well is the usual
 * poll's; what it does not find is asked for once more, having been disturbed. */
static enum result by_usual_poll(struct vivo *v, unsigned ms, struct vivo_card *card, enum vivo_opener *by,
                                 deadline_t until)
{
    struct vivo_card usual;
    enum result r;

    if (*by != OPEN_BY_40 || card->type == 0 || card->type == TYPE_TOPAZ || card->type == TYPE_FELICA)
        return R_SUCCESS;
    r = vivo_poll(v, best_poll(v), ms, false, &usual, until);
    if (r == R_SUCCESS && usual.type != 0) {
        *card = usual;
        *by = best_poll(v);
        return R_SUCCESS;
    }
    return r == R_SUCCESS ? vivo_poll(v, OPEN_BY_40, ms, false, card, until) : r;
}

/* A poll of an empty field, or for any card; falls back to the next command where one is not there. *by: what found it.
 */
static enum result poll_any(struct vivo *v, unsigned ms, struct vivo_card *card, enum vivo_opener *by, deadline_t until)
{
    enum result r;

    *by = best_poll(v);
    if (vivo_vicinity_turn(v))
        *by = OPEN_BY_RAW;
    else if (!v->field.no_40 && v->reader.settings->felica == SWITCH_ON && !vivo_others_in_session(v, UINT32_MAX) &&
             ++v->field.cycle % FELICA_TURN == 0)
        *by = OPEN_BY_40;
    r = vivo_poll(v, *by, ms, true, card, until);
    for (int i = 0; r == R_NOT_SUPPORTED && i < 2; i++) {
        *by = *by == OPEN_BY_0E ? best_opener(v) : best_poll(v);
        r = vivo_poll(v, *by, ms, true, card, until);
    }
    if (r == R_SUCCESS)
        r = by_usual_poll(v, ms, card, by, until);
    v->vicinity.due = *by != OPEN_BY_RAW; /* the field is on now */
    return r == R_NOT_SUPPORTED ? R_COMM : r;
}

/* ---- what a poll found ------------------------------------------------------------------------------------------- */

void vivo_field_gone(struct vivo *v, unsigned slot)
{
    struct vivo_field *f = &v->field;
    struct vivo_slot *s = &v->slot[slot];

    if (f->present)
        log_line(v->reader.log, PLOG_PERIODIC, "the card left the field");
    f->present = f->active = f->probed = f->sak_known = false;
    f->misses = f->rnak_misses = f->trailer_misses = 0;
    memset(&f->card, 0, sizeof f->card);
    s->powered = s->session = false;
    slot_observe(v->reader.device, slot, false);
}

static void seen(struct vivo_field *f, const struct vivo_card *card)
{
    f->active = true;
    f->misses = 0;
    f->seen = clock_now();
    f->card.uid_len = card->uid_len;
    memcpy(f->card.uid, card->uid, sizeof card->uid); /* a random one is another each time */
}

/* A new card: opened as the configuration wants it, and probed if it says so, before anybody hears of it. */
static enum result take_new(struct vivo *v, unsigned slot, const struct vivo_card *found, enum vivo_opener by,
                            deadline_t until)
{
    const unsigned ms = v->reader.settings->poll_time;
    struct vivo_field *f = &v->field;
    const struct vivo_card_type *t = vivo_card_type(found->type);
    struct vivo_card card;
    enum result r = R_SUCCESS;

    f->card = *found;
    f->opener = by == OPEN_BY_40 && found->type <= TYPE_BOTH ? best_poll(v) : by;
    if (t->kind == CARD_BOTH && by != best_opener(v)) {
        f->opener = best_opener(v);
        r = vivo_poll(v, f->opener, ms, false, &card, until);
        if (r != R_SUCCESS || card.type != found->type)
            return r;
        seen(f, &card);
    }
    if (v->reader.settings->sak_probe == SWITCH_ON && (found->type == 0x03 || found->type == 0x04)) {
        r = vivo_sak_probe(v, until);
        f->probed = true;
        if (r == R_SUCCESS)
            r = vivo_poll(v, f->opener, ms, false, &card, until); /* the probe left it half-way */
        if (r != R_SUCCESS || !vivo_same_card(found, &card))
            return r;
    }
    seen(f, &f->card);
    f->present = true;
    log_line(v->reader.log, PLOG_INFO, "card: %s%s", t->name, f->card.ats_len > 0 ? ", with ATS" : "");
    slot_observe(v->reader.device, slot, true);
    return R_SUCCESS;
}

/* What a poll by f->opener of a card that is there has found. */
static enum result take_again(struct vivo *v, unsigned slot, const struct vivo_card *card, unsigned misses,
                              deadline_t until)
{
    struct vivo_field *f = &v->field;
    enum vivo_opener by = f->opener;

    if (card->type == 0) {
        f->active = false;
        f->misses += misses;
        if (f->misses >= MISSES_GONE)
            vivo_field_gone(v, slot);
        return R_SUCCESS;
    }
    if (vivo_same_card(&f->card, card)) {
        seen(f, card);
        return R_SUCCESS;
    }
    log_line(v->reader.log, PLOG_INFO, "another card is in the field");
    vivo_field_gone(v, slot);
    return by == best_poll(v) ? take_new(v, slot, card, by, until) : R_SUCCESS; /* else the next poll finds it anew */
}

static enum result poll_again(struct vivo *v, unsigned slot, unsigned ms, bool periodic, unsigned misses,
                              deadline_t until)
{
    struct vivo_field *f = &v->field;
    struct vivo_card card;
    enum result r = vivo_poll(v, f->opener, ms, periodic, &card, until);

    if (r == R_NOT_SUPPORTED && f->opener == OPEN_BY_0E && !f->no_0e)
        r = vivo_poll(v, best_opener(v), ms, periodic, &card, until); /* this answer can be read */
    if (r == R_NOT_SUPPORTED) { /* the command that opened it serves no more: found anew by another */
        vivo_field_gone(v, slot);
        return R_SUCCESS;
    }
    return r == R_SUCCESS && f->present ? take_again(v, slot, &card, misses, until) : r;
}

/* ---- the poller's turn ---------------------------------------------------------------------------------------------
 */

/* The next poll's earliest start. A moment at least, so that a call that waits for the device gets it. */
static unsigned next_poll(const struct vivo *v, unsigned slot)
{
    unsigned left = vivo_pace_left(&v->pace, clock_now()), off = (unsigned)deadline_left_ms(v->field.off_until);

    if (vivo_others_in_session(v, slot) && v->pace.any) {
        unsigned shared = (unsigned)deadline_left_ms(v->pace.last + SHARED_EVERY_MS * CLOCK_NS_PER_MS);
        left = left > shared ? left : shared;
    }
    left = left > off ? left : off;
    return left > 2 ? left : 2;
}

static enum result watch_session(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms)
{
    struct vivo_field *f = &v->field;
    const struct settings *s = v->reader.settings;
    int64_t now = clock_now(), due;
    bool there = true;
    enum result r;

    *again_ms = READER_WATCH_NEVER;
    if (vivo_is_vicinity(v))
        return vivo_vicinity_watch(v, slot, until, again_ms);
    if (!vivo_field_takes_apdus(v))
        return vivo_storage_watch(v, slot, until, again_ms);
    if (s->presence_check != PRESENCE_RNAK || f->no_rnak)
        return R_SUCCESS;
    due = v->slot[slot].traffic + RNAK_EVERY_MS * CLOCK_NS_PER_MS;
    due = due > f->rnak_at ? due : f->rnak_at;
    if (now >= due) {
        r = vivo_rnak(v, slot, &there, deadline_min(until, deadline_in(s->command_wait)));
        if (r == R_GONE || r == R_CANCELLED)
            return r;
        if (r == R_NOT_SUPPORTED) {
            log_line(v->reader.log, PLOG_INFO, "presence_check = rnak does not work on this reader");
            vivo_contradicted(v, 27, "the raw exchange of R(NAK) was refused");
            f->no_rnak = true;
            return R_SUCCESS;
        }
        f->rnak_misses = r == R_SUCCESS && !there ? f->rnak_misses + 1 : 0;
        if (f->rnak_misses >= MISSES_GONE) {
            vivo_field_gone(v, slot);
            *again_ms = next_poll(v, slot);
            return R_SUCCESS;
        }
        f->rnak_at = clock_now() + (there ? RNAK_EVERY_MS : RNAK_AGAIN_MS) * CLOCK_NS_PER_MS;
        due = f->rnak_at;
    }
    *again_ms = (unsigned)deadline_left_ms(due) + 1;
    return R_SUCCESS;
}

enum result vivo_field_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms)
{
    struct vivo_field *f = &v->field;
    unsigned ms = v->reader.settings->poll_time;
    struct vivo_card card;
    enum vivo_opener by;
    bool taken;
    enum result r;

    if (v->slot[slot].session)
        return watch_session(v, slot, until, again_ms);
    if (f->present && f->opener == OPEN_BY_40 && vivo_others_in_session(v, slot)) { /* it would take up to a second */
        *again_ms = SHARED_EVERY_MS;
        return R_SUCCESS;
    }
    if (vivo_pace_left(&v->pace, clock_now()) > 0 || next_poll(v, slot) > 2) {
        *again_ms = next_poll(v, slot);
        return R_SUCCESS;
    }
    r = vivo_contact_turn(v, until, &taken);
    if (taken) {
        *again_ms = next_poll(v, slot);
        return r;
    }
    if (vivo_others_in_session(v, slot) && ms > SHARED_POLL_MS)
        ms = SHARED_POLL_MS;
    vivo_pace_take(&v->pace, clock_now());
    if (f->present) {
        r = poll_again(v, slot, ms, true, 1, until);
    } else {
        r = poll_any(v, ms, &card, &by, until);
        if (r == R_SUCCESS && card.type != 0)
            r = take_new(v, slot, &card, by, until);
    }
    *again_ms = next_poll(v, slot);
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}

/* ---- power ---------------------------------------------------------------------------------------------------------
 */

/* Takes the field from the card; it stays off for rf_off milliseconds at least. */
static enum result field_off(struct vivo *v, deadline_t until)
{
    static const uint8_t off = 0;
    struct vivo_request q = {.command = VIVO_CMD_ANTENNA, .sub = 0x01, .part1 = &off, .n1 = 1};
    struct vivo_frame answer;
    enum result r = vivo_exchange(v, &q, &answer, until);

    v->field.active = v->vicinity.due = false;
    v->field.off_until = deadline_in(v->reader.settings->rf_off);
    if (r == R_SUCCESS && vivo_status(answer.status)->outcome == OUTCOME_WRONG_MODE) {
        v->up = false; /* the way back into pass-through mode passes through "stop", which takes the field off, too */
        vivo_sessions_lost(v);
    }
    return r;
}

static void build_atr(const struct vivo *v, struct atr *atr)
{
    const struct vivo_field *f = &v->field;
    const struct vivo_card_type *t = vivo_card_type(f->card.type);
    uint16_t nn = t->nn;

    if (vivo_field_takes_apdus(v)) {
        if (f->card.ats_len > 0)
            atr_from_ats(atr, f->card.ats, f->card.ats_len);
        else
            atr_from_historical(atr, NULL, 0);
        return;
    }
    if (f->sak_known && t->type == 0x03 && f->sak == 0x18)
        nn = 0x0002; /* Classic 4K */
    else if (f->sak_known && t->type == 0x03 && f->sak == 0x09)
        nn = 0x0026; /* Mini */
    else if (vivo_is_vicinity(v))
        nn = iso15693_card_name(f->card.uid);
    atr_storage(atr, t->ss, nn);
}

/* Activates the card that is known to be there; misses count as ever. */
static enum result activate(struct vivo *v, unsigned slot, deadline_t until)
{
    struct vivo_field *f = &v->field;
    enum result r = R_SUCCESS;

    while (r == R_SUCCESS && f->present && !f->active) {
        r = device_pause(v->reader.device, f->off_until);
        if (r != R_SUCCESS)
            break;
        r = poll_again(v, slot, v->reader.settings->poll_time, false, 1, until);
    }
    return r;
}

enum result vivo_field_power_up(struct vivo *v, unsigned slot, deadline_t until, struct atr *atr)
{
    struct vivo_field *f = &v->field;
    struct vivo_slot *s = &v->slot[slot];
    enum result r = R_SUCCESS;

    if (s->session && f->active)
        r = field_off(v, until); /* a card that a client worked with starts from nothing */
    if (f->active && clock_now() - f->seen > SEEN_MS * CLOCK_NS_PER_MS)
        f->active = false;
    s->powered = s->session = false;
    if (r == R_SUCCESS)
        r = activate(v, slot, until);
    if (r == R_SUCCESS && f->present && vivo_is_vicinity(v))
        r = vivo_vicinity_activate(v, slot, until);
    if (r != R_SUCCESS)
        return r;
    if (!f->present) {
        vivo_field_gone(v, slot);
        return R_NO_CARD;
    }
    build_atr(v, atr);
    s->powered = true;
    slot_wake(v->reader.device, slot);
    return R_SUCCESS;
}

enum result vivo_field_power_down(struct vivo *v, unsigned slot, deadline_t until)
{
    struct vivo_slot *s = &v->slot[slot];
    bool on = v->field.active || s->powered || s->session;
    enum result r = R_SUCCESS;

    s->powered = s->session = false;
    if (on && v->line)
        r = field_off(v, until);
    slot_wake(v->reader.device, slot); /* polling resumes */
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}

enum result vivo_field_failed(struct vivo *v, unsigned slot, deadline_t until)
{
    struct vivo_field *f = &v->field;
    struct vivo_slot *s = &v->slot[slot];
    unsigned ms = v->reader.settings->poll_time;
    enum result r;

    s->powered = s->session = f->active = false;
    r = poll_again(v, slot, ms < AFTER_FAILURE_MS ? ms : AFTER_FAILURE_MS, false, MISSES_GONE, until);
    vivo_pace_take(&v->pace, clock_now());
    if (r == R_GONE || r == R_CANCELLED)
        return r;
    if (f->present) /* a card is there, but not in the session that the client had */
        slot_lost(v->reader.device, slot);
    slot_wake(v->reader.device, slot);
    return R_NO_CARD;
}
