/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Presence towards pcscd, checked over all interleavings. The world of this test is a card slot, a reader that sends an
 * event for a removal and answers when asked, the driver's presence state (the real presence.c), pcscd's event thread
 * as its source has it (eventhandler.c, ifdwrapper.c of 1.9.9, step by step), and one client that connects, transmits and
 * disconnects (winscard.c). From the start every order of steps is walked, up to a number of card movements.
 *
 *   safety    a client never gets an answer from another card than the one it connected to, nor from the same card after
 *             it lost power behind the client's back;
 *   liveness  from every state that can be reached: when the card stays as it is and pcscd runs on, it comes to rest, its
 *             idea of the slot is right, and a new connection to a card that is there works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reader/presence.h"

enum { EVENT_THREAD = 1, CLIENT_THREAD = 2, MOVES_MAX = 5, STATES_MAX = 1 << 22, REST_STEPS = 200 };

enum step { /* where pcscd's event thread stands */
    FIRST_CHECK, /* EHSpawnEventHandler: another thread asks once */
    STATUS,      /* IFDStatusICC of the loop */
    UP_STATUS,   /* IFDPowerICC(UP): its own IFDStatusICC */
    UP_POWER,
    ENTER,       /* the polling function is called */
    INSIDE,      /* it waits */
    AFTER,       /* it returned */
    DOWN_STATUS, /* IFDPowerICC(DOWN) of an unused card */
    DOWN_POWER
};
enum power { UNPOWERED, POWERED, GRACE, IN_USE };
enum client {
    IDLE,
    UP_ASK,
    UP_DO,
    PROTOCOL,
    CONNECTED,
    TOLD /* the driver has answered "no card"; pcscd's thread has yet to mark the slot empty */
};

struct world {
    struct presence p;
    /* the slot and the reader */
    uint8_t card, id, lit;     /* a card; which; whether it has power */
    uint8_t unseen;            /* a removal whose event the driver has not taken yet */
    uint8_t moves;
    /* the driver */
    uint8_t powered;
    /* pcscd */
    uint8_t step, current, present, has_power, power;
    /* the client: its pcscd thread, the card (and power-up) it is connected to, whether it was told of a removal */
    uint8_t client, client_session, told_removed;
    uint8_t session, next_session; /* of the driver's last power-up */
};

/* ---- the driver's half (what device.c and aet63.c do with presence.c) --------------------------------------------- */

static void take_events(struct world *w)
{
    if (w->unseen) {
        w->unseen = 0;
        w->powered = 0;
        (void)presence_observe(&w->p, false);
    }
}

static void ask_reader(struct world *w)
{
    take_events(w);
    if (!w->card) {
        w->powered = 0;
    } else if (w->powered && !w->lit) {
        w->powered = 0;
        (void)presence_lost(&w->p);
    }
    (void)presence_observe(&w->p, w->card);
}

static bool icc_presence(struct world *w, uintptr_t thread)
{
    if (!w->p.latched)
        ask_reader(w);
    bool present = presence_tell(&w->p, thread);
    if (!present && thread != w->p.poller)
        (void)presence_refuse(&w->p);
    return present;
}

static bool no_card(struct world *w)
{
    w->powered = 0;
    (void)presence_refuse(&w->p);
    return false;
}

static bool power_up(struct world *w)
{
    if (!presence_usable(&w->p))
        return no_card(w);
    take_events(w);
    if (!w->card) {
        (void)presence_lost(&w->p); /* 60 02 */
        return no_card(w);
    }
    w->lit = 1;
    if (!presence_usable(&w->p))
        return no_card(w);
    w->powered = 1;
    w->session = w->next_session = (uint8_t)((w->next_session + 1) % 4);
    return true;
}

static void power_down(struct world *w)
{
    take_events(w);
    w->powered = 0;
    w->lit = 0;
}

static bool usable(struct world *w)
{
    if (presence_usable(&w->p) && w->powered)
        return true;
    return no_card(w);
}

static bool transmit(struct world *w)
{
    if (!usable(w))
        return false;
    take_events(w);
    if (w->card && w->lit)
        return true;
    (void)presence_lost(&w->p); /* 60 04 */
    return no_card(w);
}

/* ---- pcscd's event thread ------------------------------------------------------------------------------------------ */

static void removed_event(struct world *w)
{
    if (w->client != IDLE)
        w->told_removed = 1;
}

static void event_status(struct world *w)
{
    bool present = icc_presence(w, EVENT_THREAD);

    w->step = ENTER;
    if (!present && w->current) {
        w->current = w->present = w->has_power = 0;
        removed_event(w);
    } else if (present && !w->current) {
        w->step = UP_STATUS;
    }
}

static void event_powered(struct world *w, bool ok)
{
    w->current = w->present = 1;
    w->has_power = ok;
    w->power = ok ? POWERED : UNPOWERED;
    w->step = ENTER;
}

static bool client_has_lock(const struct world *w);

static bool event_after(struct world *w)
{
    if (client_has_lock(w))
        return false;
    presence_leave(&w->p);
    w->step = STATUS;
    if (w->power == POWERED)
        w->step = DOWN_STATUS;
    if (w->power == GRACE)
        w->power = POWERED;
    return true;
}

/* One step of the event thread. False: it waits. */
static bool event_step(struct world *w)
{
    switch (w->step) {
    case FIRST_CHECK:
        (void)icc_presence(w, CLIENT_THREAD + 1);
        w->step = STATUS;
        return true;
    case STATUS:
        event_status(w);
        return true;
    case UP_STATUS:
        if (icc_presence(w, EVENT_THREAD))
            w->step = UP_POWER;
        else
            event_powered(w, false);
        return true;
    case UP_POWER:
        event_powered(w, power_up(w));
        return true;
    case ENTER:
        if (w->client == TOLD)
            return false; /* REFUSAL_SETTLES_MS */
        w->step = presence_enter(&w->p, EVENT_THREAD) ? AFTER : INSIDE;
        if (w->step == INSIDE)
            ask_reader(w); /* watch() at entry */
        return true;
    case INSIDE:
        if (!presence_due(&w->p))
            return false;
        w->step = AFTER;
        return true;
    case AFTER:
        return event_after(w);
    case DOWN_STATUS:
        w->step = icc_presence(w, EVENT_THREAD) ? DOWN_POWER : STATUS;
        w->power = UNPOWERED;
        return true;
    default:
        power_down(w);
        w->step = STATUS;
        return true;
    }
}

/* ---- the client ----------------------------------------------------------------------------------------------------- */

/* pcscd's powerState_lock: held over a power-down for want of use, and over the client's power-up. */
static bool event_has_lock(const struct world *w)
{
    return w->step == DOWN_STATUS || w->step == DOWN_POWER;
}

static bool client_has_lock(const struct world *w)
{
    return w->client == UP_ASK || w->client == UP_DO;
}

static bool client_connect(struct world *w)
{
    if (!w->present || event_has_lock(w))
        return false;
    w->told_removed = 0;
    w->client = w->power == UNPOWERED ? UP_ASK : PROTOCOL;
    if (w->client == PROTOCOL && w->has_power)
        w->power = IN_USE;
    else if (w->client == PROTOCOL)
        w->client = IDLE; /* SCARD_W_UNPOWERED_CARD */
    return true;
}

static void client_up(struct world *w, bool ok)
{
    if (ok)
        w->present = w->has_power = 1;
    w->client = w->has_power ? PROTOCOL : IDLE; /* after a failure pcscd looks at its old state */
    if (w->client == PROTOCOL)
        w->power = IN_USE;
}

static void client_protocol(struct world *w)
{
    w->client = usable(w) ? CONNECTED : IDLE;
    w->client_session = w->session;
}

/* SCardTransmit. Returns false if the client saw what it must never see. */
static bool client_transmit(struct world *w)
{
    if (w->told_removed)
        return true;
    if (!transmit(w)) {
        w->client = TOLD;
        return true;
    }
    return w->session == w->client_session;
}

static void client_told(struct world *w)
{
    w->present = w->has_power = 0;
    w->client = CONNECTED;
}

static bool client_disconnect(struct world *w)
{
    if (event_has_lock(w))
        return false;
    w->client = IDLE;
    w->told_removed = 0;
    if (w->power != UNPOWERED)
        w->power = GRACE;
    presence_stop(&w->p);
    return true;
}

/* ---- all interleavings ---------------------------------------------------------------------------------------------- */

enum action { A_INSERT, A_REMOVE, A_EVENT, A_WATCH, A_TIMEOUT, A_CLIENT, A_TRANSMIT, A_DISCONNECT, ACTIONS };

static void insert(struct world *w)
{
    w->card = 1;
    w->id ^= 1;
    w->lit = 0;
    w->moves++;
}

static void remove_card(struct world *w)
{
    w->card = w->lit = 0;
    w->unseen = 1;
    w->moves++;
}

static bool client_step(struct world *w)
{
    switch (w->client) {
    case IDLE:
        return client_connect(w);
    case UP_ASK:
        if (icc_presence(w, CLIENT_THREAD))
            w->client = UP_DO;
        else
            client_up(w, false);
        return true;
    case UP_DO:
        client_up(w, power_up(w));
        return true;
    case PROTOCOL:
        client_protocol(w);
        return true;
    case TOLD:
        client_told(w);
        return true;
    default:
        return false;
    }
}

/* Applies one action. False: it is not possible here. *safe tells whether the client saw the right thing. */
static bool apply(struct world *w, enum action a, bool *safe)
{
    *safe = true;
    switch (a) {
    case A_INSERT:
        return !w->card && w->moves < MOVES_MAX && (insert(w), true);
    case A_REMOVE:
        return w->card && w->moves < MOVES_MAX && (remove_card(w), true);
    case A_EVENT:
        return event_step(w);
    case A_WATCH:
        return w->step == INSIDE && (ask_reader(w), true);
    case A_TIMEOUT:
        /* five seconds: longer than a client needs from its power-up to its protocol */
        return w->step == INSIDE && w->power == POWERED && w->client != PROTOCOL && (w->step = AFTER, true);
    case A_CLIENT:
        return client_step(w);
    case A_TRANSMIT:
        return w->client == CONNECTED && (*safe = client_transmit(w), true);
    default:
        return w->client == CONNECTED && client_disconnect(w);
    }
}

/* The card stays; pcscd and the driver run on. True if they come to rest with the right idea and a connection works. */
static bool rests_well(struct world w)
{
    bool safe;

    for (int i = 0; i < REST_STEPS && w.client != IDLE && w.client != CONNECTED; i++)
        (void)client_step(&w);
    while (event_has_lock(&w))
        (void)event_step(&w);
    if (w.client == CONNECTED)
        (void)client_disconnect(&w);
    for (int i = 0; i < REST_STEPS; i++) {
        if (w.step == INSIDE)
            ask_reader(&w);
        if (!event_step(&w))
            break;
        if (i == REST_STEPS - 1)
            return false; /* it runs in circles */
    }
    if (w.present != w.card || w.current != w.card)
        return false;
    if (!w.card)
        return true;
    for (int i = 0; i < 4 && w.client != CONNECTED; i++)
        if (!client_step(&w))
            return false;
    if (w.client != CONNECTED)
        return false;
    safe = client_transmit(&w);
    return safe && w.client == CONNECTED;
}

static struct world *seen;
static uint32_t *table;
static struct { uint32_t parent; uint8_t action; } *origin; /* how each state was reached first */

static uint32_t hash(const struct world *w)
{
    const uint8_t *p = (const uint8_t *)w;
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < sizeof *w; i++)
        h = (h ^ p[i]) * 16777619u;
    return h;
}

/* Remembers a state; true if it is new. Stamps only order threads, of which there are fewer than places: left out. */
static bool remember(struct world *w, uint32_t *count)
{
    w->p.stamp = 0;
    for (int i = 0; i < PRESENCE_THREADS; i++)
        w->p.told[i].stamp = 0;
    for (uint32_t h = hash(w) % (2 * STATES_MAX);; h = (h + 1) % (2 * STATES_MAX)) {
        if (table[h] == 0) {
            assert_true(*count < STATES_MAX - 1);
            memcpy(&seen[*count], w, sizeof *w);
            table[h] = ++*count;
            return true;
        }
        if (memcmp(&seen[table[h] - 1], w, sizeof *w) == 0)
            return false;
    }
}

/* The way to a state, for whoever has to understand a failure. */
static void print_way(uint32_t i)
{
    static const char *const names[ACTIONS] = {"insert", "remove", "event thread", "watch", "time-out", "client",
                                               "transmit", "disconnect"};
    const struct world *w = &seen[i];

    if (origin[i].action < ACTIONS)
        print_way(origin[i].parent);
    print_message("%-12s step %u current %u present %u power %u | client %u told %u | card %u lit %u unseen %u powered %u | "
                  "p: card %u latched %u known %u told %u mixed %u\n",
                  origin[i].action < ACTIONS ? names[origin[i].action] : "start", w->step, w->current, w->present, w->power,
                  w->client, w->told_removed, w->card, w->lit, w->unseen, w->powered, w->p.card, w->p.latched,
                  w->p.told_known, w->p.told_present, w->p.told_mixed);
}

static void expect(bool ok, const char *what, uint32_t i)
{
    if (ok)
        return;
    print_message("%s fails after:\n", what);
    print_way(i);
    fail();
}

static void test_all_interleavings(void **state)
{
    uint32_t count = 0, steps = 0;
    struct world start;

    (void)state;
    seen = malloc(sizeof *seen * STATES_MAX);
    table = calloc(2 * (size_t)STATES_MAX, sizeof *table);
    origin = calloc(STATES_MAX, sizeof *origin);
    assert_true(seen && table && origin);
    for (int card = 0; card < 2; card++) {
        memset(&start, 0, sizeof start);
        presence_init(&start.p);
        start.card = (uint8_t)card;
        origin[count].action = ACTIONS;
        (void)remember(&start, &count);
    }
    for (uint32_t i = 0; i < count; i++) {
        expect(rests_well(seen[i]), "coming to rest", i);
        for (enum action a = 0; a < ACTIONS; a++) {
            struct world w;
            bool safe;
            memcpy(&w, &seen[i], sizeof w);
            if (!apply(&w, a, &safe))
                continue;
            expect(safe, "the client's session", i);
            steps++;
            origin[count].parent = i;
            origin[count].action = (uint8_t)a;
            (void)remember(&w, &count);
        }
    }
    print_message("%u states, %u steps\n", count, steps);
    assert_true(count > 10000);
    free(seen);
    free(table);
    free(origin);
}

/* ---- single rules ------------------------------------------------------------------------------------------------- */

static void test_refusal_is_latched_until_the_poller_was_told(void **state)
{
    struct presence p;

    (void)state;
    presence_init(&p);
    (void)presence_observe(&p, true);
    assert_true(presence_tell(&p, EVENT_THREAD));
    assert_false(presence_enter(&p, EVENT_THREAD));
    assert_true(presence_refuse(&p)); /* a client was told "no card" */
    assert_true(presence_due(&p));
    presence_leave(&p);
    assert_false(presence_tell(&p, CLIENT_THREAD)); /* another thread's answer does not end it */
    assert_true(p.latched);
    assert_false(presence_tell(&p, EVENT_THREAD));
    assert_true(presence_enter(&p, EVENT_THREAD)); /* ends it, and the card shows again at once */
    assert_false(p.latched);
    assert_true(presence_tell(&p, EVENT_THREAD));
}

static void test_swap_between_two_questions_is_a_removal(void **state)
{
    struct presence p;

    (void)state;
    presence_init(&p);
    (void)presence_observe(&p, true);
    (void)presence_tell(&p, EVENT_THREAD);
    assert_false(presence_enter(&p, EVENT_THREAD));
    (void)presence_observe(&p, false);
    (void)presence_observe(&p, true);
    assert_true(presence_due(&p));
    assert_false(presence_tell(&p, EVENT_THREAD));
}

static void test_stop_is_kept_until_a_poll_returned_for_it(void **state)
{
    struct presence p;

    (void)state;
    presence_init(&p);
    presence_stop(&p); /* between two polls */
    (void)presence_tell(&p, EVENT_THREAD);
    assert_true(presence_enter(&p, EVENT_THREAD));
    presence_leave(&p);
    (void)presence_tell(&p, EVENT_THREAD);
    assert_false(presence_enter(&p, EVENT_THREAD));
}

static void test_no_latch_on_a_slot_that_the_poller_holds_for_empty(void **state)
{
    struct presence p;

    (void)state;
    presence_init(&p);
    assert_false(presence_tell(&p, EVENT_THREAD));
    assert_false(presence_enter(&p, EVENT_THREAD));
    (void)presence_refuse(&p); /* a client that asked for a card in vain */
    (void)presence_observe(&p, true);
    assert_true(presence_due(&p)); /* the insertion is reported all the same */
}

static void test_forgotten_thread_asks_once_more(void **state)
{
    struct presence p;

    (void)state;
    presence_init(&p);
    (void)presence_tell(&p, EVENT_THREAD);
    for (uintptr_t t = 10; t < 10 + PRESENCE_THREADS; t++)
        (void)presence_tell(&p, t);
    assert_true(presence_enter(&p, EVENT_THREAD));
    presence_leave(&p);
    (void)presence_tell(&p, EVENT_THREAD);
    for (uintptr_t t = 20; t < 20 + 3 * PRESENCE_THREADS; t++)
        (void)presence_tell(&p, t); /* now it is known and not forgotten any more */
    assert_false(presence_enter(&p, EVENT_THREAD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusal_is_latched_until_the_poller_was_told),
        cmocka_unit_test(test_swap_between_two_questions_is_a_removal),
        cmocka_unit_test(test_stop_is_kept_until_a_poll_returned_for_it),
        cmocka_unit_test(test_no_latch_on_a_slot_that_the_poller_holds_for_empty),
        cmocka_unit_test(test_forgotten_thread_asks_once_more),
        cmocka_unit_test(test_all_interleavings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
