/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The Lun table. One mutex guards it; it is held for a look-up only, never while a reader is opened, asked or closed,
 * so no slot waits for another one's reader. An entry goes FREE -> OPENING -> OPEN -> CLOSING -> FREE, and stays where
 * it is in the array all the time: a pointer to it is good for as long as it is held. `changed` is signalled when an
 * entry becomes free and when the last user leaves a closing one.
 *
 * The waits in here have no deadline of their own: what they wait for is a call of this driver, and each of those ends
 * by its cap, or at once when the device is cancelled.
 */
#include "lun.h"

#include <pthread.h>
#include <string.h>

#include "reader/device.h"

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct log log;
    struct lun luns[LUN_TABLE_SIZE];
} table = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .log = {.mask = PLOG_CRITICAL | PLOG_INFO, .name = "ifd-purse", .limit_lock = PTHREAD_MUTEX_INITIALIZER},
};

static unsigned slot_of(unsigned long number)
{
    return (unsigned)(number & 0xFFFF);
}

struct log *handler_log(void)
{
    return &table.log;
}

/* ---- with the mutex held ---------------------------------------------------------------------------------- */

static struct lun *find(unsigned long number)
{
    for (unsigned i = 0; i < LUN_TABLE_SIZE; i++) {
        if (table.luns[i].state != LUN_FREE && table.luns[i].number == number)
            return &table.luns[i];
    }
    return NULL;
}

static struct lun *find_free(void)
{
    for (unsigned i = 0; i < LUN_TABLE_SIZE; i++) {
        if (table.luns[i].state == LUN_FREE)
            return &table.luns[i];
    }
    return NULL;
}

/* An open slot, other than number's own, of the same reader number. */
static struct lun *find_sibling(unsigned long number)
{
    for (unsigned i = 0; i < LUN_TABLE_SIZE; i++) {
        struct lun *l = &table.luns[i];

        if (l->state == LUN_OPEN && l->number != number && l->number >> 16 == number >> 16)
            return l;
    }
    return NULL;
}

/* Does a call run on any slot of this reader number, closing or not? */
static bool calls_run(unsigned long number)
{
    for (unsigned i = 0; i < LUN_TABLE_SIZE; i++) {
        if (table.luns[i].state != LUN_FREE && table.luns[i].number >> 16 == number >> 16 && table.luns[i].users > 0)
            return true;
    }
    return false;
}

static void set_free(struct lun *l)
{
    *l = (struct lun){.state = LUN_FREE};
    (void)pthread_cond_broadcast(&table.changed);
}

/* Takes an entry for a Lun that is to be opened. */
static enum result reserve(unsigned long number, struct lun **out)
{
    struct lun *l;

    while ((l = find(number)) != NULL && l->state == LUN_CLOSING)
        (void)pthread_cond_wait(&table.changed, &table.mutex);
    if (l) {
        log_line(&table.log, PLOG_CRITICAL,
                 "Lun %lx is open already, the second reader is refused. Two LIBPATH lines that reach this file by "
                 "different names (a link) make pcscd do this: write the same path in both",
                 number);
        return R_INVALID;
    }
    l = find_free();
    if (!l) {
        log_line(&table.log, PLOG_CRITICAL, "no more than %d slots can be open at a time", LUN_TABLE_SIZE);
        return R_NO_MEMORY;
    }
    *l = (struct lun){.number = number, .state = LUN_OPENING};
    *out = l;
    return R_SUCCESS;
}

static void set_open(struct lun *l, struct device *device)
{
    l->slot = &device->slots[slot_of(l->number)];
    l->state = LUN_OPEN;
}

/* Opens a reserved Lun as a further slot of the device that is open under the same reader number. R_NOT_SUPPORTED: no
 * slot of that reader is open. */
static enum result attach(struct lun *l, const char *name)
{
    struct lun *sibling = find_sibling(l->number);
    unsigned slot = slot_of(l->number);
    struct device *d;

    if (!sibling)
        return R_NOT_SUPPORTED;
    d = sibling->slot->device;
    if (strcmp(d->name, name) != 0) {
        log_line(&table.log, PLOG_CRITICAL, "slot %u of reader %lx is refused: that number belongs to %s, not to %s",
                 slot, l->number >> 16, d->name, name);
        return R_INVALID;
    }
    if (slot >= d->reader->slot_count) {
        log_line(&d->log, PLOG_CRITICAL, "there is no slot %u, this reader has %u", slot, d->reader->slot_count);
        return R_INVALID;
    }
    device_ref(d);
    set_open(l, d);
    return R_SUCCESS;
}

/* ---- without it ------------------------------------------------------------------------------------------- */

/* Opens the reader for the first of its slots, which has to be slot 0. */
static enum result bring_up(struct lun *l, const char *name)
{
    struct device *d = NULL;
    enum result r = R_INVALID;

    if (slot_of(l->number) == 0)
        r = device_open(&d, name);
    else
        log_line(&table.log, PLOG_CRITICAL, "slot %u of %s is refused: its reader is not open under number %lx",
                 slot_of(l->number), name, l->number >> 16);
    (void)pthread_mutex_lock(&table.mutex);
    if (r == R_SUCCESS)
        set_open(l, d);
    else
        set_free(l);
    (void)pthread_mutex_unlock(&table.mutex);
    return r;
}

enum result lun_open(unsigned long number, const char *name)
{
    struct lun *l;
    enum result r;

    (void)pthread_mutex_lock(&table.mutex);
    r = reserve(number, &l);
    if (r == R_SUCCESS) {
        r = attach(l, name);
        if (r != R_SUCCESS && r != R_NOT_SUPPORTED)
            set_free(l);
    }
    (void)pthread_mutex_unlock(&table.mutex);
    return r == R_NOT_SUPPORTED ? bring_up(l, name) : r;
}

/* Whoever waits in a call on a closing Lun is to return. A device that is cancelled cannot talk to its reader any more; so
 * when nobody waits it is not, and closing it powers the card down. */
static void end_calls(struct slot *slot, bool last)
{
    if (last)
        device_cancel(slot->device);
    else
        slot_stop_poll(slot);
}

enum result lun_close(unsigned long number)
{
    struct device *device;
    struct lun *l;
    bool last, running;

    (void)pthread_mutex_lock(&table.mutex);
    l = find(number);
    if (!l || l->state != LUN_OPEN) {
        (void)pthread_mutex_unlock(&table.mutex);
        return R_INVALID;
    }
    l->state = LUN_CLOSING; /* no new call finds it; of two slots that close at a time, the second is the last */
    last = find_sibling(number) == NULL;
    device = l->slot->device;
    running = last ? calls_run(number) : l->users > 0;
    (void)pthread_mutex_unlock(&table.mutex);

    if (running)
        end_calls(l->slot, last);

    (void)pthread_mutex_lock(&table.mutex);
    while (l->users > 0)
        (void)pthread_cond_wait(&table.changed, &table.mutex);
    (void)pthread_mutex_unlock(&table.mutex);

    device_unref(device); /* may talk to the reader and close it; until then nobody can open this Lun anew */

    (void)pthread_mutex_lock(&table.mutex);
    set_free(l);
    (void)pthread_mutex_unlock(&table.mutex);
    return R_SUCCESS;
}

struct lun *lun_hold(unsigned long number)
{
    struct lun *l;

    (void)pthread_mutex_lock(&table.mutex);
    l = find(number);
    if (l && l->state != LUN_OPEN)
        l = NULL;
    if (l)
        l->users++;
    (void)pthread_mutex_unlock(&table.mutex);
    return l;
}

void lun_drop(struct lun *l)
{
    (void)pthread_mutex_lock(&table.mutex);
    if (--l->users == 0 && l->state == LUN_CLOSING)
        (void)pthread_cond_broadcast(&table.changed);
    (void)pthread_mutex_unlock(&table.mutex);
}
