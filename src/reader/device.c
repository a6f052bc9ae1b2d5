/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The generic half of a reader; device.h says who owns what.
 *
 * Every call of a slot has the same shape: judge the slot's state under the mutex, acquire the device, call the family
 * without the mutex, release, and take the result into the slot's state under the mutex again. The family has
 * meanwhile told what it learnt by slot_observe() and slot_lost(), which only touch that state.
 */
#include "reader/device.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "transport/usb.h"

/* ---- waking pollers -------------------------------------------------------------------------------------------- */

/* With the mutex held. Only a poller that runs needs it: one that is about to enter looks anyway. */
static void wake_locked(struct slot *s)
{
    if (s->polling && s->wake_fd >= 0)
        (void)eventfd_write(s->wake_fd, 1);
}

static void wake_all_locked(struct device *d)
{
    for (unsigned i = 0; i < READER_SLOTS_MAX; i++)
        wake_locked(&d->slots[i]);
}

void slot_wake(struct device *d, unsigned slot)
{
    pthread_mutex_lock(&d->mutex);
    wake_locked(&d->slots[slot]);
    pthread_mutex_unlock(&d->mutex);
}

void device_input(void *device)
{
    struct device *d = device;

    pthread_mutex_lock(&d->mutex);
    if (d->busy)
        d->input_missed = true; /* the owner takes it, or device_release wakes */
    else
        wake_all_locked(d);
    pthread_mutex_unlock(&d->mutex);
}

/* ---- what the family tells --------------------------------------------------------------------------------------- */

static void unpowered_locked(struct slot *s)
{
    s->powered = s->in_session = s->protocol_set = false;
    s->atr.len = 0;
}

void slot_observe(struct device *d, unsigned slot, bool card)
{
    struct slot *s = &d->slots[slot];

    pthread_mutex_lock(&d->mutex);
    if (!card)
        unpowered_locked(s);
    if (presence_observe(&s->presence, card))
        wake_locked(s);
    pthread_mutex_unlock(&d->mutex);
}

void slot_lost(struct device *d, unsigned slot)
{
    struct slot *s = &d->slots[slot];

    pthread_mutex_lock(&d->mutex);
    unpowered_locked(s);
    if (presence_lost(&s->presence))
        wake_locked(s);
    pthread_mutex_unlock(&d->mutex);
}

/* ---- the right to talk to the reader ----------------------------------------------------------------------------- */

/* Waits until nobody has the device, or it is of no use any more. With the mutex held, but for the wait. */
static enum result await_free_locked(struct device *d, deadline_t until)
{
    struct timespec ts = deadline_timespec(until);

    while (d->busy && !d->cancelled && !d->gone)
        if (pthread_cond_timedwait(&d->changed, &d->mutex, &ts) == ETIMEDOUT && d->busy)
            return R_TIMEOUT;
    return R_SUCCESS;
}

/* With the mutex held, but for the wait. */
static enum result acquire_locked(struct device *d, deadline_t until)
{
    enum result r = d->busy ? await_free_locked(d, until) : R_SUCCESS;

    if (d->gone)
        r = R_GONE;
    else if (d->cancelled)
        r = R_CANCELLED;
    if (r == R_SUCCESS)
        d->busy = true;
    return r;
}

enum result device_acquire(struct device *d, deadline_t until)
{
    enum result r;

    pthread_mutex_lock(&d->mutex);
    r = acquire_locked(d, until);
    pthread_mutex_unlock(&d->mutex);
    return r;
}

/* Did input come behind the answer, so that a poller has to fetch it? The family may replace its transport, so this is
 * asked while the device is still ours; what comes after the question is announced again (device_input). */
static bool input_left_locked(struct device *d)
{
    struct transport *t = d->reader ? d->reader->transport : NULL;
    bool left = d->input_missed && t && t->ops->pending && t->ops->pending(t);

    d->input_missed = false;
    return left;
}

static void release_locked(struct device *d)
{
    bool left = input_left_locked(d);
    unsigned slots = d->reader ? d->reader->slot_count : 0;

    d->busy = false;
    for (unsigned i = 0; i < slots; i++) {
        if (left || d->slots[i].watch_wanted)
            wake_locked(&d->slots[i]);
        d->slots[i].watch_wanted = false;
    }
    pthread_cond_signal(&d->changed);
}

void device_release(struct device *d)
{
    pthread_mutex_lock(&d->mutex);
    release_locked(d);
    pthread_mutex_unlock(&d->mutex);
}

/* The reader went away: all slots are empty for good. */
static void mark_gone(struct device *d)
{
    pthread_mutex_lock(&d->mutex);
    if (!d->gone)
        log_line(&d->log, PLOG_INFO, "the reader is gone");
    d->gone = true;
    for (unsigned i = 0; i < READER_SLOTS_MAX; i++) {
        unpowered_locked(&d->slots[i]);
        (void)presence_observe(&d->slots[i].presence, false);
        wake_locked(&d->slots[i]);
    }
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
}

/* Any client with a handle can set the attribute by which pcscd tells of a removal (SCardSetAttrib passes it through).
 * pcscd itself says it of USB readers only, and their node is away then. */
static bool node_is_missing(const struct device *d)
{
    struct usb_address a;
    char node[64];

    if (!usb_parse_address(d->name, &a))
        return false;
    snprintf(node, sizeof node, "/dev/bus/usb/%03u/%03u", a.bus, a.device);
    return access(node, F_OK) != 0;
}

void device_removed(struct device *d)
{
    bool believed = node_is_missing(d);

    pthread_mutex_lock(&d->mutex);
    believed |= d->gone;
    for (unsigned i = 0; believed && i < READER_SLOTS_MAX; i++)
        d->slots[i].gone_told = ~0U;
    pthread_mutex_unlock(&d->mutex);
    if (!believed) {
        log_fault(&d->log, "a program says that this reader was removed, but it is there: ignored");
        return;
    }
    mark_gone(d);
    d->reader->ops->cancel(d->reader);
}

void device_cancel(struct device *d)
{
    pthread_mutex_lock(&d->mutex);
    d->cancelled = true;
    wake_all_locked(d);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    d->reader->ops->cancel(d->reader);
}

/* Ends a call that had acquired the device: releases it and gives the result its final form. A failure may have left
 * the reader's state in doubt, so the pollers look at it. What slot_status() tells of APDUs' sizes is asked while the
 * device is ours, for the family's state may change at any time that it is not. */
static enum result finish(struct device *d, enum result r)
{
    const struct reader *reader = d->reader;

    if (r == R_GONE)
        mark_gone(d);
    pthread_mutex_lock(&d->mutex);
    for (unsigned i = 0; i < reader->slot_count; i++)
        d->slots[i].max_apdu_data = reader->ops->max_apdu_data(reader, i);
    release_locked(d);
    if (r == R_CANCELLED && d->gone)
        r = R_GONE;
    if (r != R_SUCCESS)
        wake_all_locked(d);
    pthread_mutex_unlock(&d->mutex);
    return r;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static enum result init_locks(struct device *d)
{
    pthread_condattr_t attr;

    if (pthread_mutex_init(&d->mutex, NULL) != 0)
        return R_SYSTEM;
    if (pthread_condattr_init(&attr) != 0)
        goto no_attr;
    if (pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 || pthread_cond_init(&d->changed, &attr) != 0)
        goto no_cond;
    pthread_condattr_destroy(&attr);
    return R_SUCCESS;
no_cond:
    pthread_condattr_destroy(&attr);
no_attr:
    pthread_mutex_destroy(&d->mutex);
    return R_SYSTEM;
}

static struct device *new_device(const char *name)
{
    struct device *d = calloc(1, sizeof *d);

    if (!d)
        return NULL;
    if (init_locks(d) != R_SUCCESS) {
        free(d);
        return NULL;
    }
    snprintf(d->name, sizeof d->name, "%s", name);
    d->refs = 1;
    for (unsigned i = 0; i < READER_SLOTS_MAX; i++) {
        d->slots[i].device = d;
        d->slots[i].index = i;
        d->slots[i].wake_fd = -1;
        presence_init(&d->slots[i].presence);
    }
    settings_defaults(&d->settings);
    log_init(&d->log, d->settings.log, "ifd-purse");
    return d;
}

static void free_device(struct device *d)
{
    if (d->reader)
        d->reader->ops->close(d->reader);
    for (unsigned i = 0; i < READER_SLOTS_MAX; i++)
        if (d->slots[i].wake_fd >= 0)
            close(d->slots[i].wake_fd);
    log_done(&d->log);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    explicit_bzero(d, sizeof *d);
    free(d);
}

/* Settings first: how a reader is opened depends on them, and they may depend on its serial number. */
static enum result prepare_usb(struct device *d, const struct reader_family **family)
{
    struct usb_address a;
    struct transport_facts facts = {0};
    struct settings_subject who = {0};
    enum result r;

    if (!usb_parse_address(d->name, &a))
        return R_INVALID;
    *family = reader_family_for_usb(a.vid, a.pid, &d->log);
    if (!*family) {
        log_line(&d->log, PLOG_CRITICAL, "%04X:%04X is no reader of this driver; usb_id in ifd-purse.conf can add it", a.vid,
                 a.pid);
        return R_NOT_SUPPORTED;
    }
    r = usb_read_facts(&a, &facts, &d->log);
    if (r != R_SUCCESS)
        return r;
    who.family = (*family)->id;
    who.vid = a.vid;
    who.pid = a.pid;
    who.serial = facts.serial[0] ? facts.serial : NULL;
    settings_load(&d->settings, &who, &d->log);
    snprintf(d->log.name, sizeof d->log.name, "%s %03u/%03u", (*family)->name, a.bus, a.device);
    return R_SUCCESS;
}

static enum result prepare_serial(struct device *d, const struct reader_family **family, char *path, size_t cap,
                                  bool *patient)
{
    struct settings_subject who = {0};

    if (!devicename_split(d->name, path, cap, &who.options))
        return R_INVALID;
    *family = reader_family_for_serial();
    *patient = who.options != NULL;
    who.device = path;
    who.family = *family ? (*family)->id : 0;
    settings_load(&d->settings, &who, &d->log);
    snprintf(d->log.name, sizeof d->log.name, "%s %.40s", *family ? (*family)->name : "serial", path);
    return *family ? R_SUCCESS : R_NOT_SUPPORTED;
}

static enum result make_wake_fds(struct device *d)
{
    for (unsigned i = 0; i < d->reader->slot_count; i++) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return R_SYSTEM;
        d->slots[i].wake_fd = fd;
    }
    return R_SUCCESS;
}

enum result device_open(struct device **out, const char *name)
{
    const struct reader_family *family = NULL;
    char path[DEVICE_NAME_MAX];
    struct reader_target target = {.name = name};
    struct device *d;
    enum result r;

    if (strlen(name) >= DEVICE_NAME_MAX)
        return R_INVALID;
    d = new_device(name);
    if (!d)
        return R_NO_MEMORY;
    d->busy = true; /* until it is open nobody else talks to it */
    if (strncmp(name, "usb:", 4) == 0) {
        r = prepare_usb(d, &family);
    } else {
        target.path = path;
        r = prepare_serial(d, &family, path, sizeof path, &target.patient);
    }
    d->log.mask = d->settings.log;
    if (r == R_SUCCESS)
        r = family->open(&d->reader, d, &target, &d->settings, &d->log, deadline_in(d->settings.reader_cap));
    if (r == R_SUCCESS)
        r = make_wake_fds(d);
    if (r != R_SUCCESS) {
        free_device(d);
        return r;
    }
    device_release(d);
    *out = d;
    return R_SUCCESS;
}

void device_ref(struct device *d)
{
    pthread_mutex_lock(&d->mutex);
    d->refs++;
    pthread_mutex_unlock(&d->mutex);
}

void device_unref(struct device *d)
{
    pthread_mutex_lock(&d->mutex);
    bool last = --d->refs == 0;
    pthread_mutex_unlock(&d->mutex);
    if (last)
        free_device(d);
}

/* ---- presence ------------------------------------------------------------------------------------------------------ */

enum result slot_refuse(struct slot *s)
{
    struct device *d = s->device;

    pthread_mutex_lock(&d->mutex);
    s->settled = deadline_in(REFUSAL_SETTLES_MS);
    if (presence_refuse(&s->presence))
        wake_locked(s);
    pthread_mutex_unlock(&d->mutex);
    return R_NO_CARD;
}

enum result slot_late(struct slot *s)
{
    log_fault(&s->device->log, "a command came that was meant for the card before it was reset or swapped: not sent");
    return R_NOT_NOW;
}

enum result slot_presence(struct slot *s, uintptr_t thread, bool *present)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(d->settings.reader_cap);
    enum result r;

    pthread_mutex_lock(&d->mutex);
    bool ask = !d->gone && !s->presence.latched;
    pthread_mutex_unlock(&d->mutex);
    if (ask && device_acquire(d, until) == R_SUCCESS) {
        r = d->reader->ops->look(d->reader, s->index, until);
        if (r == R_TIMEOUT || r == R_COMM) {
            log_fault(&d->log, "the reader does not say whether a card is there (%s): taken for empty", result_name(r));
            slot_observe(d, s->index, false);
        }
        (void)finish(d, r);
    }
    pthread_mutex_lock(&d->mutex);
    bool gone = d->gone;
    *present = presence_tell(&s->presence, thread);
    if (!*present && thread != s->presence.poller && presence_refuse(&s->presence))
        wake_locked(s);
    pthread_mutex_unlock(&d->mutex);
    return gone ? R_GONE : R_SUCCESS;
}

/* One turn of watch(), if the device is free; else device_release wakes the poller. Returns when to come again. Called
 * and returns with the mutex held. */
static deadline_t watch_locked(struct slot *s)
{
    struct device *d = s->device;
    unsigned again = READER_WATCH_NEVER;
    enum result r;

    if (d->gone || d->cancelled)
        return DEADLINE_NEVER;
    if (d->busy) {
        s->watch_wanted = true;
        return DEADLINE_NEVER;
    }
    d->busy = true;
    pthread_mutex_unlock(&d->mutex);
    r = d->reader->ops->watch(d->reader, s->index, deadline_in(d->settings.reader_cap), &again);
    if (r == R_GONE)
        mark_gone(d);
    device_release(d);
    pthread_mutex_lock(&d->mutex);
    return again == READER_WATCH_NEVER ? DEADLINE_NEVER : deadline_in(again);
}

/* Sleeps until woken or `until`. Called and returns with the mutex held. */
static void sleep_locked(struct slot *s, deadline_t until)
{
    struct pollfd p = {.fd = s->wake_fd, .events = POLLIN};
    eventfd_t n;

    pthread_mutex_unlock(&s->device->mutex);
    if (poll(&p, 1, deadline_left_ms(until)) > 0)
        (void)eventfd_read(s->wake_fd, &n);
    pthread_mutex_lock(&s->device->mutex);
}

void slot_poll(struct slot *s, uintptr_t thread, unsigned timeout_ms)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(timeout_ms);

    pthread_mutex_lock(&d->mutex);
    s->polling = true;
    while (!d->cancelled && !s->presence.stop && !deadline_passed(s->settled))
        sleep_locked(s, s->settled);
    if (!presence_enter(&s->presence, thread)) {
        while (!d->cancelled && !presence_due(&s->presence) && !deadline_passed(until)) {
            deadline_t again = watch_locked(s);
            if (!d->cancelled && !presence_due(&s->presence))
                sleep_locked(s, deadline_min(until, again));
        }
    }
    presence_leave(&s->presence);
    s->polling = false;
    pthread_mutex_unlock(&d->mutex);
}

void slot_stop_poll(struct slot *s)
{
    struct device *d = s->device;

    pthread_mutex_lock(&d->mutex);
    presence_stop(&s->presence);
    wake_locked(s);
    pthread_mutex_unlock(&d->mutex);
}

/* ---- power and protocol ------------------------------------------------------------------------------------------ */

/* Whether a client can use the slot right now, for a call that needs a card in it (a powered one, if told). R_NO_CARD: it
 * cannot; R_GONE: the reader is gone. With the mutex held. */
static enum result usable_locked(const struct slot *s, bool need_power)
{
    if (s->device->gone)
        return R_GONE;
    return presence_usable(&s->presence) && (s->powered || !need_power) ? R_SUCCESS : R_NO_CARD;
}

/* Acquires the device for such a call. With the mutex held, but for the wait. */
static enum result acquire_for_card_locked(struct slot *s, bool need_power, deadline_t until)
{
    struct device *d = s->device;
    bool wait = d->busy;
    enum result r = usable_locked(s, need_power);

    if (r == R_SUCCESS)
        r = acquire_locked(d, until);
    if (r == R_SUCCESS && wait) {
        r = usable_locked(s, need_power); /* it may have left while we waited */
        if (r != R_SUCCESS)
            release_locked(d);
    }
    return r;
}

static enum result acquire_for_card(struct slot *s, bool need_power, deadline_t until)
{
    enum result r;

    pthread_mutex_lock(&s->device->mutex);
    r = acquire_for_card_locked(s, need_power, until);
    pthread_mutex_unlock(&s->device->mutex);
    return r == R_NO_CARD ? slot_refuse(s) : r;
}

/* Ends such a call. */
static enum result finish_for_card(struct slot *s, enum result r)
{
    r = finish(s->device, r);
    return r == R_NO_CARD ? slot_refuse(s) : r;
}

enum result slot_power_up(struct slot *s, bool warm, struct atr *atr)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(d->settings.power_cap);
    int protocol = 0;
    enum result r = acquire_for_card(s, false, until);

    if (r != R_SUCCESS)
        return r;
    r = d->reader->ops->power_up(d->reader, s->index, warm, until, atr, &protocol);
    pthread_mutex_lock(&d->mutex);
    unpowered_locked(s);
    if (r == R_SUCCESS && !presence_usable(&s->presence)) {
        r = R_NO_CARD; /* it left, or was swapped, while it was powered up */
    } else if (r == R_SUCCESS) {
        s->powered = true;
        s->power_ups++;
        s->protocol = protocol;
        s->atr = *atr;
    }
    pthread_mutex_unlock(&d->mutex);
    return finish_for_card(s, r);
}

enum result slot_power_down(struct slot *s)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(d->settings.reader_cap);
    enum result r;

    pthread_mutex_lock(&d->mutex);
    unpowered_locked(s);
    pthread_mutex_unlock(&d->mutex);
    r = device_acquire(d, until);
    if (r != R_SUCCESS)
        return r;
    return finish(d, d->reader->ops->power_down(d->reader, s->index, until));
}

enum result slot_set_protocol(struct slot *s, int t)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(d->settings.power_cap);
    int protocol = 0;
    enum result r = acquire_for_card(s, true, until);

    if (r != R_SUCCESS)
        return r;
    r = d->reader->ops->set_protocol(d->reader, s->index, t, until, &protocol);
    pthread_mutex_lock(&d->mutex);
    if (r == R_SUCCESS || r == R_PROTOCOL) {
        s->protocol = protocol;
        s->protocol_set = true; /* refused, too: pcscd then goes on with the card's own protocol if the client allows it */
    } else {
        unpowered_locked(s);
    }
    pthread_mutex_unlock(&d->mutex);
    return finish_for_card(s, r);
}

/* ---- exchange ---------------------------------------------------------------------------------------------------- */

/* Every connection begins with SetProtocolParameters, once after each power-up. A command without it is one that pcscd
 * had let pass before: while it waited for the reader's mutex the card was reset for another client, or swapped and the
 * next one powered up by pcscd's event thread. It must not reach a card that has lost the session it was meant for. pcscd
 * knows of the reset or the swap already and tells this client at its next call, so this is no removal. */
enum result slot_transmit(struct slot *s, int protocol, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                          size_t *len)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(d->settings.apdu_cap);
    enum result r;

    *len = 0;
    if (n == 0)
        return R_INVALID;
    pthread_mutex_lock(&d->mutex);
    r = acquire_for_card_locked(s, true, until);
    bool other = protocol != s->protocol;
    bool late = !s->protocol_set;
    s->in_session |= r == R_SUCCESS && !late;
    pthread_mutex_unlock(&d->mutex);
    if (r != R_SUCCESS)
        return r == R_NO_CARD ? slot_refuse(s) : r;
    if (late)
        return finish(d, slot_late(s));
    if (other)
        return finish(d, R_PROTOCOL);
    return finish_for_card(s, d->reader->ops->transmit(d->reader, s->index, apdu, n, response, cap, len, until));
}

enum result slot_command(struct slot *s, const uint8_t *command, size_t n, uint8_t *answer, size_t cap, size_t *len)
{
    struct device *d = s->device;
    const struct reader_ops *ops = d->reader->ops;
    deadline_t until = deadline_in(ops->command_cap(d->reader, command, n));
    enum result r;

    *len = 0;
    if (n == 0)
        return R_INVALID;
    if (ops->classify(d->reader, command, n) != COMMAND_SAFE && d->settings.escape != ESCAPE_ALL) {
        log_fault(&d->log, "reader command %02X refused: escape = all in ifd-purse.conf allows it", command[0]);
        return R_DENIED;
    }
    r = device_acquire(d, until);
    if (r != R_SUCCESS)
        return r;
    r = finish(d, ops->command(d->reader, s->index, command, n, answer, cap, len, until));
    slot_wake(d, s->index);
    return r;
}

/* ---- operations of several steps ----------------------------------------------------------------------------------- */

/* Operations on a card that was powered up anew begin with nothing. */
static void begin_operation(struct slot *s, enum operate_level level)
{
    struct device *d = s->device;

    pthread_mutex_lock(&d->mutex);
    if (level == OPERATE_CARD)
        s->in_session = true;
    unsigned power_up = s->power_ups;
    pthread_mutex_unlock(&d->mutex);
    if (s->storage.power_up != power_up) {
        explicit_bzero(&s->storage, sizeof s->storage);
        s->storage.power_up = power_up;
    }
}

enum result slot_operate(struct slot *s, enum operate_level level, operate_fn fn, void *arg)
{
    struct device *d = s->device;
    deadline_t until = deadline_in(level == OPERATE_READER ? d->settings.reader_cap : d->settings.apdu_cap);
    enum result r;

    r = level == OPERATE_READER ? device_acquire(d, until) : acquire_for_card(s, true, until);
    if (r != R_SUCCESS)
        return r;
    begin_operation(s, level);
    r = fn(s, arg, until);
    return level == OPERATE_READER ? finish(d, r) : finish_for_card(s, r);
}

enum result device_pause(struct device *d, deadline_t until)
{
    struct timespec ts = deadline_timespec(until);
    enum result r;

    pthread_mutex_lock(&d->mutex);
    while (!d->cancelled && !d->gone && !deadline_passed(until))
        (void)pthread_cond_timedwait(&d->changed, &d->mutex, &ts);
    r = d->gone ? R_GONE : d->cancelled ? R_CANCELLED : R_SUCCESS;
    pthread_mutex_unlock(&d->mutex);
    return r;
}

void device_store_key(struct device *d, uint8_t number, const uint8_t key[STORAGE_KEY_SIZE])
{
    pthread_mutex_lock(&d->mutex);
    memcpy(d->keys.key[number], key, STORAGE_KEY_SIZE);
    d->keys.loaded[number] = true;
    pthread_mutex_unlock(&d->mutex);
}

bool device_key(struct device *d, uint8_t number, uint8_t key[STORAGE_KEY_SIZE])
{
    pthread_mutex_lock(&d->mutex);
    bool loaded = d->keys.loaded[number];
    if (loaded)
        memcpy(key, d->keys.key[number], STORAGE_KEY_SIZE);
    pthread_mutex_unlock(&d->mutex);
    return loaded;
}

/* ---- snapshots ----------------------------------------------------------------------------------------------------- */

bool slot_atr(struct slot *s, struct atr *atr)
{
    struct device *d = s->device;

    pthread_mutex_lock(&d->mutex);
    bool powered = s->powered;
    *atr = s->atr;
    pthread_mutex_unlock(&d->mutex);
    return powered;
}

void slot_status(struct slot *s, struct slot_status *st)
{
    struct device *d = s->device;

    pthread_mutex_lock(&d->mutex);
    st->present = presence_usable(&s->presence);
    st->powered = s->powered;
    st->in_session = s->in_session;
    st->protocol_set = s->protocol_set;
    st->gone = d->gone;
    st->protocol = s->protocol;
    st->max_apdu_data = s->powered ? s->max_apdu_data : 0;
    pthread_mutex_unlock(&d->mutex);
}

bool slot_gone_first(struct slot *s, unsigned site)
{
    struct device *d = s->device;

    pthread_mutex_lock(&d->mutex);
    bool first = !(s->gone_told & (1u << site));
    s->gone_told |= 1u << site;
    pthread_mutex_unlock(&d->mutex);
    return first;
}
