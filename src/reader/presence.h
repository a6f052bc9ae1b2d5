/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Presence: what a slot tells pcscd about its card, and when. Pure state, no I/O, no lock of its own: the device's
 * mutex guards it (device.h). A test walks all interleavings of it.
 *
 * pcscd keeps its own idea of a slot in the one thread that calls the polling function; that thread learns only from
 * its own ICCPresence calls. A call of another thread that says "no card" makes pcscd forget the card for the clients,
 * but not in the polling thread: if ICCPresence went on answering "present" there, no insertion would ever be reported
 * again and the slot would be dead. And a card that was swapped between two of its ICCPresence calls would be taken for
 * the old one. Therefore:
 *
 *   latch   Every removal that was seen, and every "no card" given to a client, holds the slot absent until the polling
 *           thread itself has been told so: the latch is set unless all that this thread was told since it last entered
 *           the polling function was "absent" already, and it ends only when the polling function is entered after an
 *           ICCPresence of the same thread that answered "absent" (and none since the previous entry that answered
 *           "present", for pcscd would then hold the card for present).
 *   level   On entry, and whenever it is woken, the polling function compares what the slot shows now with what its
 *           thread was told last; it returns early only if they differ, if the thread was told different things since the
 *           previous entry, or for a stop.
 *   stop    A stop request is kept until a polling call has returned for it.
 *
 * Threads are told apart by an id that is never 0 (pthread_self() as an integer). The polling thread is known from its
 * first entry on; before that the answers of a few threads are remembered, and a thread whose answers were forgotten
 * is treated as one that was told different things: it asks once more, and no harm is done.
 */
#ifndef PURSE_PRESENCE_H
#define PURSE_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

enum { PRESENCE_THREADS = 6 };

struct presence_told { /* what one thread was told since it last entered the polling function */
    uintptr_t thread;
    unsigned stamp; /* for replacing the oldest */
    bool any, present, absent, last_present;
};

struct presence {
    bool card;     /* the reader's word: a card is there */
    bool latched;
    bool stop;
    uintptr_t poller; /* the polling thread; 0 until it came */
    bool told_known, told_present, told_mixed; /* what the poller had been told at its last entry */
    unsigned stamp;
    struct presence_told told[PRESENCE_THREADS];
};

void presence_init(struct presence *p);

/* What the slot shows to the polling thread: a card that is there and not latched away. */
bool presence_shown(const struct presence *p);

/* What it shows to everybody else. A card that the polling thread does not know of yet is nobody's: a client thread that
 * began to connect before a removal could otherwise power up the next card, pcscd would hold it for present by that
 * thread's word, and its removal would never be reported, the polling thread having known of no card. */
bool presence_usable(const struct presence *p);

/* The reader says that a card is, or is not, in the slot. A card that leaves is latched. Returns true if what the slot
 * shows has changed (the poller is to be woken). */
bool presence_observe(struct presence *p, bool card);

/* The card was removed and is there again, or lost its session (power, another card): a removal and an insertion for
 * the client. Same return. */
bool presence_lost(struct presence *p);

/* An ICCPresence of `thread` is about to answer. Returns the answer, and remembers it. */
bool presence_tell(struct presence *p, uintptr_t thread);

/* A call other than ICCPresence is about to answer "no card". Same return as presence_observe. */
bool presence_refuse(struct presence *p);

/* The polling function is entered by `thread`. Returns true if it has to return at once. */
bool presence_enter(struct presence *p, uintptr_t thread);

/* Inside the polling function: true if it has to return now. */
bool presence_due(const struct presence *p);

/* The polling function returns: a stop that it served is over. */
void presence_leave(struct presence *p);

/* Stop request, from any thread. */
void presence_stop(struct presence *p);

#endif
