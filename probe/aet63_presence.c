/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows of the AET63 about cards that come and go. The user moves a card; what the reader sends by itself is compared
 * with what it answers when it is asked.
 */
#include "probe/aet63_rows.h"

#include <string.h>

enum { EVENT_GRACE = 700, ASK_EVERY = 500, BUSY_ENOUGH = 80 };

static struct aet63_heard h;

/* ---- moving a card ----------------------------------------------------------------------------------------------- */

struct move {
    bool in;        /* wanted: a card that is in */
    bool seen;      /* an event came */
    uint8_t code;   /* of the first one */
    unsigned extra; /* further ones */
};

static bool state_is(int state, bool in)
{
    return state >= 0 && (state != AET63_STAT_NO_CARD) == in;
}

/* Has the card been moved as it was asked for? Listens first: asking might keep an event from being sent. */
static bool was_moved(struct probe *p, void *arg)
{
    struct move *m = arg;

    if (aet63_hear_event(p, ASK_EVERY)) {
        if (!m->seen)
            m->code = p->a->last_event;
        m->extra += m->seen;
        m->seen = true;
    }
    if (!state_is(aet63_card_state(p), m->in))
        return false;
    if (aet63_hear_event(p, EVENT_GRACE)) { /* one that was on its way */
        if (!m->seen)
            m->code = p->a->last_event;
        m->extra += m->seen;
        m->seen = true;
    }
    return true;
}

static bool move_card(struct probe *p, bool in, struct move *m)
{
    *m = (struct move){.in = in};
    return ask_to(p, in ? "put the card in" : "take the card out", was_moved, m);
}

static bool notify(struct probe *p, bool on)
{
    uint8_t value = on ? 1 : 2;

    return aet63_do(p, AET63_SET_NOTIFICATION, &value, 1, &h) && aet63_done(&h);
}

static void judge_move(struct aet63_wire *a, const struct move *m)
{
    a->moves++;
    a->missing += !m->seen;
    a->disagreeing += m->seen && m->code != (m->in ? AET63_EVENT_INSERTED : AET63_EVENT_REMOVED);
    a->odd += m->extra > 0;
}

/* Once with notification off, then as often as wished with it on. Begins with a card in place. False: nobody moved
 * it. */
static bool move_once(struct probe *p)
{
    struct aet63_wire *a = p->a;
    struct move m;

    if (a->moved) {
        trace_line(p, "the card was moved for the row before: its bytes are there");
        return a->moves > 0;
    }
    a->moved = true;
    if (!notify(p, false) || !move_card(p, false, &m))
        return false;
    a->events_off += m.seen;
    if (!move_card(p, true, &m))
        return false;
    a->events_off += m.seen;
    notify(p, true);
    for (unsigned i = 0; i < p->o->insertions; i++) {
        if (!move_card(p, false, &m))
            return a->moves > 0;
        judge_move(a, &m);
        if (!move_card(p, true, &m))
            return a->moves > 0;
        judge_move(a, &m);
    }
    return true;
}

void row_a23(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (!notify(p, false) || !notify(p, true))
        contradicted(p, NULL, "SET_NOTIFICATION is answered %02X %02X", h.sw1, h.sw2);
    else if (!move_once(p))
        not_tried(p, "the card was not moved");
    else if (a->events_off > 0)
        contradicted(p, NULL, "events came although they were switched off (06 02)");
    else if (a->missing == a->moves)
        contradicted(p, NULL, "no event came although they were switched on (06 01)");
    else
        confirmed(p, "no event after 06 02, %u after 06 01", a->moves - a->missing);
}

void row_a24(struct probe *p)
{
    const struct aet63_wire *a = p->a;
    unsigned others = 0;

    if (!move_once(p)) {
        not_tried(p, "the card was not moved");
        return;
    }
    for (unsigned i = 3; i < 256; i++)
        others += a->events[i];
    if (others > 0)
        contradicted(p, NULL, "%u events came with codes that are not known; the last is FF %02X", others,
                     a->last_event);
    else if (a->missing == a->moves)
        not_tried(p, "no event came");
    else if (a->disagreeing > 0)
        contradicted(p, NULL, "%u of %u events told the other thing", a->disagreeing, a->moves - a->missing);
    else
        confirmed(p, "each insertion was FF 01, each removal FF 02");
}

void row_a25(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (!move_once(p))
        not_tried(p, "the card was not moved");
    else if (a->missing > 0)
        contradicted(p, NULL, "%u of %u movements sent no event", a->missing, a->moves);
    else if (a->odd > 0 || a->disagreeing > 0)
        contradicted(p, NULL, "%u of %u movements sent more than one event, %u another than GET_ACR_STAT tells", a->odd,
                     a->moves, a->disagreeing);
    else
        confirmed(p, "%u movements, one event each, and GET_ACR_STAT agreed", a->moves);
}

/* ---- a removal during a command ---------------------------------------------------------------------------------- */

/* How a reader spent its time while the card was taken out. */
struct labour {
    int64_t began, ended;
    unsigned busy_ms, events; /* events: how many telling of a removal there were before */
};

/* Keeps the reader at work by resets of the card, the longest thing that it does without harm; true when the card has
 * gone. */
static bool gone_while_busy(struct probe *p, void *arg)
{
    struct labour *l = arg;
    size_t mark = p->trace_len;

    for (unsigned i = 0; i < 20 && !p->gone; i++) {
        p->trace_len = mark; /* the last one stands for all */
        aet63_do(p, AET63_RESET, NULL, 0, &h);
        l->busy_ms += h.ms;
        l->ended = clock_now();
        if (!aet63_done(&h))
            return aet63_card_state(p) == AET63_STAT_NO_CARD;
    }
    return false;
}

void row_a26(struct probe *p)
{
    struct aet63_wire *a = p->a;
    struct labour l = {.began = clock_now(), .events = a->events[AET63_EVENT_REMOVED]};
    unsigned busy;

    if (!notify(p, true) || !aet63_power(p, AET63_TYPE_AUTO, &h)) {
        not_tried(p, "the card does not run, or SET_NOTIFICATION is refused");
        return;
    }
    l.began = clock_now();
    if (!ask_to(p, "take the card out while the reader is kept at work", gone_while_busy, &l)) {
        not_tried(p, "the card was not taken out");
        return;
    }
    busy = l.busy_ms * 100u / (unsigned)((l.ended - l.began) / 1000000 + 1);
    if (a->events[AET63_EVENT_REMOVED] == l.events)
        aet63_hear_event(p, 2 * EVENT_GRACE);
    if (a->events[AET63_EVENT_REMOVED] == l.events)
        confirmed(p, "no event came for a card that left while the reader worked (%u %% of the time)", busy);
    else if (busy >= BUSY_ENOUGH)
        contradicted(p, NULL, "an event came for a card that left while the reader worked (it does no harm)");
    else
        not_tried(p,
                  "an event came; but the reader worked for %u %% of the time only, so the card may have left between",
                  busy);
}

struct last_status {
    uint8_t sw1, sw2;
    bool answered;
};

/* Sends APDUs until the reader no longer takes one. GET CHALLENGE changes nothing. */
static bool gone_during_apdu(struct probe *p, void *arg)
{
    static const uint8_t challenge[] = {0x00, 0x84, 0x00, 0x00, 0x00, 0x08};
    struct last_status *last = arg;
    size_t mark = p->trace_len;

    for (unsigned i = 0; i < 50 && !p->gone; i++) {
        p->trace_len = mark;
        last->answered = aet63_do(p, AET63_EXCHANGE_APDU, challenge, sizeof challenge, &h);
        last->sw1 = h.sw1;
        last->sw2 = h.sw2;
        if (!last->answered || h.sw1 != 0x90)
            return true;
    }
    return false;
}

void row_a27(struct probe *p)
{
    struct last_status last = {0};

    if (!aet63_power(p, AET63_TYPE_T0, &h)) {
        not_tried(p, "the card does not run");
        return;
    }
    if (!ask_to(p, "take the card out while it is spoken to", gone_during_apdu, &last)) {
        not_tried(p, "the card was not taken out");
        return;
    }
    aet63_settle(p);
    if (!last.answered)
        contradicted(p, NULL, "the command during which the card left brought no answer");
    else if (last.sw1 == 0x60 && (last.sw2 == 0x02 || last.sw2 == 0x04))
        confirmed(p, "a card that leaves shows as %02X %02X", last.sw1, last.sw2);
    else
        contradicted(p, NULL, "a card that leaves shows as %02X %02X", last.sw1, last.sw2);
}

/* ---- C_STAT ------------------------------------------------------------------------------------------------------ */

static void expect_state(struct probe *p, const char *when, int wanted)
{
    int state = aet63_card_state(p);

    if (state < 0)
        not_tried(p, "GET_ACR_STAT is not answered");
    else if (state != wanted)
        contradicted(p, NULL, "C_STAT is %02X %s, not %02X", (unsigned)state, when, (unsigned)wanted);
    else
        confirmed(p, "C_STAT is %02X %s", (unsigned)state, when);
}

void row_a28(struct probe *p)
{
    if (p->need == NEED_EMPTY) {
        expect_state(p, "without a card", AET63_STAT_NO_CARD);
        return;
    }
    aet63_do(p, AET63_POWER_OFF, NULL, 0, &h);
    expect_state(p, "with an unpowered card", AET63_STAT_UNPOWERED);
    if (aet63_power(p, AET63_TYPE_AUTO, &h))
        expect_state(p, "with a powered card", AET63_STAT_POWERED);
    aet63_do(p, AET63_POWER_OFF, NULL, 0, &h);
    expect_state(p, "after POWER_OFF", AET63_STAT_UNPOWERED);
    if (p->now && p->now->verdict == CONFIRMED)
        confirmed(p, "C_STAT is 01 unpowered, 03 powered, 01 after POWER_OFF");
}
