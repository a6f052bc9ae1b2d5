/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The presence rules; presence.h explains why they are what they are.
 */
#include "reader/presence.h"

#include <string.h>

void presence_init(struct presence *p)
{
    memset(p, 0, sizeof *p);
}

bool presence_shown(const struct presence *p)
{
    return p->card && !p->latched;
}

static const struct presence_told *look_up(const struct presence *p, uintptr_t thread)
{
    for (unsigned i = 0; i < PRESENCE_THREADS; i++)
        if (p->told[i].thread == thread)
            return &p->told[i];
    return NULL;
}

static struct presence_told *find_told(struct presence *p, uintptr_t thread)
{
    return (struct presence_told *)look_up(p, thread);
}

/* A place for a thread not seen before: a free one, else the oldest that is not the poller's. */
static struct presence_told *claim_told(struct presence *p, uintptr_t thread)
{
    struct presence_told *best = NULL;

    for (unsigned i = 0; i < PRESENCE_THREADS; i++) {
        struct presence_told *t = &p->told[i];
        if (t->thread != 0 && t->thread == p->poller)
            continue;
        if (t->thread == 0) {
            best = t;
            break;
        }
        if (!best || (int)(t->stamp - best->stamp) < 0)
            best = t;
    }
    memset(best, 0, sizeof *best);
    best->thread = thread;
    return best;
}

/* Whether the polling thread holds the slot for empty: all that it was told since it last entered the polling function,
 * or, if it was told nothing since then, all that it had been told before, was "absent". */
static bool poller_knows_absent(const struct presence *p)
{
    const struct presence_told *t;

    if (p->poller == 0 || !p->told_known || p->told_mixed || p->told_present)
        return false;
    t = look_up(p, p->poller);
    return !t || !t->present;
}

bool presence_usable(const struct presence *p)
{
    return presence_shown(p) && !poller_knows_absent(p);
}

static bool latch(struct presence *p)
{
    bool shown = presence_shown(p);

    if (!poller_knows_absent(p))
        p->latched = true;
    return shown != presence_shown(p);
}

bool presence_observe(struct presence *p, bool card)
{
    bool shown = presence_shown(p);

    if (p->card && !card)
        (void)latch(p);
    p->card = card;
    return shown != presence_shown(p);
}

bool presence_lost(struct presence *p)
{
    return latch(p);
}

bool presence_refuse(struct presence *p)
{
    return latch(p);
}

bool presence_tell(struct presence *p, uintptr_t thread)
{
    struct presence_told *t = find_told(p, thread);
    bool shown = thread == p->poller ? presence_shown(p) : presence_usable(p);

    if (!t)
        t = claim_told(p, thread);
    t->stamp = ++p->stamp;
    t->any = true;
    t->present |= shown;
    t->absent |= !shown;
    t->last_present = shown;
    return shown;
}

bool presence_enter(struct presence *p, uintptr_t thread)
{
    struct presence_told *t = find_told(p, thread);

    if (t && t->any) {
        p->told_known = true;
        p->told_present = t->last_present;
        p->told_mixed = t->present && t->absent;
        if (t->absent && !t->present)
            p->latched = false;
        t->any = t->present = t->absent = false;
    } else if (thread != p->poller) {
        p->told_known = false;
    }
    p->poller = thread;
    return presence_due(p);
}

bool presence_due(const struct presence *p)
{
    return p->stop || !p->told_known || p->told_mixed || p->told_present != presence_shown(p);
}

void presence_leave(struct presence *p)
{
    p->stop = false;
}

void presence_stop(struct presence *p)
{
    p->stop = true;
}
