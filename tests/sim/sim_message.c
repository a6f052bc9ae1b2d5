/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Faults of one byte of one message, for the fault matrix. The other faults ("fault", "break") begin with what goes wrong
 * in a reader or on a wire; here a test says which message of which direction, which byte of it, and what becomes of it,
 * and that means the same with every model and on every link. A message is what the protocol sends as one: a frame of
 * text (AET63), a frame (ViVOpay), before it is cut into packets or reports, and after these were put together again.
 *
 * Nothing of this runs for a reader until its first "message" request, so a model costs nothing by coming through here.
 * The state is found by the reader's address and not in struct sim_reader: the models are also tested without fronts.
 *
 *   message clear            forgets the counts, the fault, and bytes held back; messages are counted from here on
 *   message list             the messages since, in order: "out:14 in:46 …", by their lengths
 *   message arm in|out M BYTE KIND LEN [ARG]
 *                            the M-th message of that direction (from 0), LEN bytes long, at BYTE:
 *     lose     the byte is missing           flip   ARG is XORed into it (1)     dup    it comes twice
 *     trunc    it and all behind are missing noise  ARG bytes of noise (4) follow it
 *     late     it and all behind are held back, and come right before the ARG-th (1) later message of that direction
 *     gone     the connection ends before it
 *   message state            struck=0|1 held=BYTES out=N in=N
 */
#include "sim_message.h"

#include <stdlib.h>
#include <string.h>

enum { READERS = 16, MESSAGES = 256, BYTES = 8192, GONE_MS = 3 };
enum direction { TO_HOST, FROM_HOST };
enum kind { LOSE, FLIP, DUP, TRUNC, NOISE, LATE, GONE, KINDS };

static const char *const names[KINDS] = {"lose", "flip", "dup", "trunc", "noise", "late", "gone"};

struct watch {
    struct sim_reader *reader;
    void (*yank)(struct sim_reader *r);
    /* what was seen */
    struct {
        enum direction direction;
        size_t n;
    } seen[MESSAGES];
    size_t messages, count[2];
    size_t pos; /* in the message that the host is sending */
    /* the fault */
    bool armed, struck, over; /* over: the message that was hit has passed */
    enum direction direction;
    enum kind kind;
    size_t message, byte, length;
    unsigned long arg;
    uint8_t held[BYTES];
    size_t held_n;
    unsigned long held_for; /* messages */
    uint8_t out[BYTES];
    uint32_t random;
    unsigned timer;
};

static struct watch *watches[READERS];

static struct watch *watch_of(const struct sim_reader *r)
{
    for (size_t i = 0; i < READERS; i++)
        if (watches[i] != NULL && watches[i]->reader == r)
            return watches[i];
    return NULL;
}

static struct watch *watch_new(struct sim_reader *r, void (*yank)(struct sim_reader *r))
{
    for (size_t i = 0; i < READERS; i++) {
        if (watches[i] != NULL)
            continue;
        watches[i] = calloc(1, sizeof *watches[i]);
        if (watches[i] != NULL) {
            watches[i]->reader = r;
            watches[i]->yank = yank;
        }
        return watches[i];
    }
    return NULL;
}

static void note(struct watch *w, enum direction d, size_t n)
{
    if (w->messages < MESSAGES) {
        w->seen[w->messages].direction = d;
        w->seen[w->messages++].n = n;
    }
    w->count[d]++;
}

static uint8_t noise(struct watch *w)
{
    w->random = w->random * 1103515245U + 12345U;
    return (uint8_t)(w->random >> 16);
}

static void gone(void *arg)
{
    struct watch *w = arg;

    w->timer = 0;
    w->yank(w->reader);
}

/* The byte at `at` of the message that is hit goes into out[*k]… or somewhere else. */
static void hit(struct watch *w, size_t at, uint8_t byte, size_t *k)
{
    w->struck = true;
    if (at < w->byte || (at > w->byte && w->kind != TRUNC && w->kind != LATE && w->kind != GONE)) {
        w->out[(*k)++] = byte;
        return;
    }
    switch (w->kind) {
    case FLIP:
        w->out[(*k)++] = (uint8_t)(byte ^ w->arg);
        break;
    case DUP:
        w->out[(*k)++] = byte;
        w->out[(*k)++] = byte;
        break;
    case NOISE:
        w->out[(*k)++] = byte;
        for (unsigned long i = 0; i < w->arg; i++)
            w->out[(*k)++] = noise(w);
        break;
    case LATE:
        w->held[w->held_n++] = byte;
        w->held_for = w->arg;
        break;
    case GONE: /* what came before is to be seen first */
        if (w->timer == 0)
            w->timer = sim_timer_add(GONE_MS, gone, w);
        break;
    default:
        break;
    }
}

static void end_hit(struct watch *w)
{
    w->armed = false;
    w->over = true;
    w->pos = 0;
}

/* A later message comes: is what was held back due? */
static void release(struct watch *w, enum direction d, sim_message_emit emit, void *arg)
{
    size_t n = w->held_n;

    if (!w->over || w->direction != d || n == 0 || --w->held_for > 0)
        return;
    w->held_n = 0;
    emit(arg, w->held, n);
}

static bool due(const struct watch *w, enum direction d)
{
    return w->armed && w->direction == d && w->count[d] == w->message;
}

void sim_message_in(struct sim_reader *r, const uint8_t *data, size_t n, sim_message_emit emit, void *arg)
{
    struct watch *w = watch_of(r);
    size_t k = 0;

    if (w == NULL || n > BYTES / 2) {
        emit(arg, data, n);
        return;
    }
    release(w, TO_HOST, emit, arg);
    bool mine = due(w, TO_HOST) && n == w->length; /* another message in its place is left alone */
    note(w, TO_HOST, n);
    if (!mine) {
        emit(arg, data, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        hit(w, i, data[i], &k);
    end_hit(w);
    if (k > 0)
        emit(arg, w->out, k);
}

void sim_message_out(struct sim_reader *r, const uint8_t *data, size_t n, bool whole, sim_message_emit emit, void *arg)
{
    struct watch *w = watch_of(r);
    size_t k = 0;

    if (w == NULL || n > BYTES / 2) {
        emit(arg, data, n);
        return;
    }
    release(w, FROM_HOST, emit, arg);
    bool mine = due(w, FROM_HOST);
    if (whole)
        w->pos = 0;
    for (size_t i = 0; i < n; i++) {
        if (!mine || w->pos >= w->length)
            w->out[k++] = data[i];
        else
            hit(w, w->pos, data[i], &k);
        w->pos++;
    }
    if (mine && (whole || w->pos >= w->length))
        end_hit(w);
    if (k > 0)
        emit(arg, w->out, k);
}

void sim_message_end(struct sim_reader *r, size_t n)
{
    struct watch *w = watch_of(r);

    if (w == NULL || w->struck) /* where a message ends is no longer to be told */
        return;
    note(w, FROM_HOST, n);
    w->pos = 0;
}

/* ---- requests ------------------------------------------------------------------------------------------------- */

static bool arm(struct watch *w, const char *args, FILE *reply)
{
    char direction[4], kind[8];
    unsigned long message, byte, length, value;
    size_t k = 0;
    int n = sscanf(args, "%3s %lu %lu %7s %lu %lu", direction, &message, &byte, kind, &length, &value);

    while (n >= 5 && k < KINDS && strcmp(names[k], kind) != 0)
        k++;
    bool in = n >= 5 && strcmp(direction, "in") == 0;
    if (n < 5 || k == KINDS || (!in && strcmp(direction, "out") != 0) || byte >= length || length > BYTES / 2) {
        fputs("message arm in|out M BYTE KIND LEN [ARG]", reply);
        return false;
    }
    w->direction = in ? TO_HOST : FROM_HOST;
    w->kind = (enum kind)k;
    w->message = message;
    w->byte = byte;
    w->length = length;
    w->arg = n == 6 && value > 0 && value < 256 ? value : k == NOISE ? 4 : 1;
    w->random = (uint32_t)(byte * 97 + message);
    w->armed = true;
    return true;
}

static void clear(struct watch *w)
{
    struct sim_reader *r = w->reader;
    void (*yank)(struct sim_reader *) = w->yank;

    if (w->timer != 0)
        sim_timer_cancel(w->timer);
    memset(w, 0, sizeof *w);
    w->reader = r;
    w->yank = yank;
}

bool sim_message_control(struct sim_reader *r, const char *args, void (*yank)(struct sim_reader *r), FILE *reply)
{
    struct watch *w = watch_of(r);

    if (w == NULL && (w = watch_new(r, yank)) == NULL) {
        fputs("too many readers", reply);
        return false;
    }
    if (strcmp(args, "clear") == 0) {
        clear(w);
    } else if (strcmp(args, "list") == 0) {
        for (size_t i = 0; i < w->messages; i++)
            fprintf(reply, "%s%s:%zu", i ? " " : "", w->seen[i].direction == TO_HOST ? "in" : "out", w->seen[i].n);
    } else if (strcmp(args, "state") == 0) {
        fprintf(reply, "struck=%d held=%zu out=%zu in=%zu", w->struck, w->held_n, w->count[FROM_HOST],
                w->count[TO_HOST]);
    } else if (strncmp(args, "arm ", 4) == 0) {
        return arm(w, args + 4, reply);
    } else {
        fputs("message clear|list|arm|state", reply);
        return false;
    }
    return true;
}
