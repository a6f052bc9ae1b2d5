/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The fake device. One lock guards the record, for the Lun table is tested from several threads. A blocked call waits
 * on a condition variable for what would end it in a real device, a cancel or a stop: a test that forgets to end it
 * hangs and is ended by the harness; it never depends on time.
 */
#include "fake_device.h"

#include <stdlib.h>
#include <string.h>

struct fake fake;
struct reader fake_reader;
struct reader_ops fake_ops;
struct reader_family fake_family;
struct transport fake_transport;

static const uint8_t vendor_ids[] = {0x07, 0x2F, 0x0A, 0xCD};
static struct device lone;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void init_device(struct device *d, const char *name)
{
    memset(d, 0, sizeof *d);
    (void)strncpy(d->name, name, sizeof d->name - 1);
    log_init(&d->log, PLOG_CRITICAL | PLOG_INFO, "fake");
    d->refs = 1;
    d->reader = &fake_reader;
    fake_reader.slot_count = fake.slot_count;
    fake_ops.storage = fake.storage;
    for (unsigned i = 0; i < READER_SLOTS_MAX; i++) {
        d->slots[i].device = d;
        d->slots[i].index = i;
    }
}

void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.slot_count = 1;
    fake.present = true;
    fake.status = (struct slot_status){.present = true, .powered = true, .protocol_set = true};
    fake.atr = (struct atr){.bytes = {0x3B, 0x00}, .len = 2};
    fake.transmit.answer[0] = 0x90;
    fake.transmit.answer_len = 2;
    fake_family = (struct reader_family){.id = 'f',
                                         .name = "FAKE",
                                         .vendor = "Vendor",
                                         .type = "Vendor Reader",
                                         .vendor_ids = vendor_ids,
                                         .vendor_id_count = 2};
    memset(&fake_ops, 0, sizeof fake_ops);
    memset(&fake_transport, 0, sizeof fake_transport);
    fake_transport.facts.vid = 0x072F;
    fake_transport.facts.pid = 0x8002;
    fake_transport.facts.bus = 3;
    fake_transport.facts.address = 17;
    memset(&fake_reader, 0, sizeof fake_reader);
    fake_reader.ops = &fake_ops;
    fake_reader.identified = true;
    fake_reader.family = &fake_family;
    fake_reader.transport = &fake_transport;
    init_device(&lone, "lone");
}

struct slot *fake_slot(void)
{
    init_device(&lone, "lone");
    return &lone.slots[0];
}

void fake_wait_blocked(unsigned n)
{
    (void)pthread_mutex_lock(&lock);
    while (fake.blocked < n)
        (void)pthread_cond_wait(&changed, &lock);
    (void)pthread_mutex_unlock(&lock);
}

/* With the lock held. */
static void block(struct slot *s, bool ends_by_stop)
{
    fake.blocked++;
    (void)pthread_cond_broadcast(&changed);
    while (!s->device->cancelled && !s->device->gone && !(ends_by_stop && s->presence.stop))
        (void)pthread_cond_wait(&changed, &lock);
    fake.blocked--;
}

static enum result record(struct fake_call *c, const uint8_t *p, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    c->calls++;
    c->asked_len = n;
    if (n > 0 && n <= sizeof c->asked)
        memcpy(c->asked, p, n);
    *len = 0;
    if (c->result != R_SUCCESS)
        return c->result;
    if (c->answer_len > cap)
        return R_SPACE;
    memcpy(out, c->answer, c->answer_len);
    *len = c->answer_len;
    return R_SUCCESS;
}

/* ---- device.h --------------------------------------------------------------------------------------------------- */

enum result device_open(struct device **out, const char *name)
{
    enum result r;

    (void)pthread_mutex_lock(&lock);
    r = fake.open_result;
    if (r == R_SUCCESS) {
        *out = malloc(sizeof **out);
        if (!*out)
            abort();
        init_device(*out, name);
        fake.opened++;
    }
    (void)pthread_mutex_unlock(&lock);
    return r;
}

void device_ref(struct device *d)
{
    (void)pthread_mutex_lock(&lock);
    d->refs++;
    (void)pthread_mutex_unlock(&lock);
}

void device_unref(struct device *d)
{
    bool last;

    (void)pthread_mutex_lock(&lock);
    last = --d->refs == 0;
    if (last)
        fake.closed++;
    (void)pthread_mutex_unlock(&lock);
    if (last) {
        log_done(&d->log);
        free(d);
    }
}

void device_cancel(struct device *d)
{
    (void)pthread_mutex_lock(&lock);
    d->cancelled = true;
    fake.cancelled++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

void device_removed(struct device *d)
{
    (void)pthread_mutex_lock(&lock);
    d->gone = true;
    for (unsigned i = 0; i < READER_SLOTS_MAX; i++)
        d->slots[i].gone_told = ~0U;
    fake.removed++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

enum result slot_presence(struct slot *s, uintptr_t thread, bool *present)
{
    (void)s;
    fake.presence.calls++;
    fake.presence.argument = thread != 0;
    *present = fake.present;
    return fake.presence.result;
}

void slot_poll(struct slot *s, uintptr_t thread, unsigned timeout_ms)
{
    (void)thread;
    (void)pthread_mutex_lock(&lock);
    fake.polls++;
    fake.poll_timeout = timeout_ms;
    if (fake.block)
        block(s, true);
    (void)pthread_mutex_unlock(&lock);
}

void slot_stop_poll(struct slot *s)
{
    (void)pthread_mutex_lock(&lock);
    s->presence.stop = true;
    fake.stopped++;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

enum result slot_power_up(struct slot *s, bool warm, struct atr *atr)
{
    (void)s;
    fake.power.calls++;
    fake.power.argument = warm ? 2 : 1;
    *atr = fake.atr; /* as a careless family would, also on an error */
    return fake.power.result;
}

enum result slot_power_down(struct slot *s)
{
    (void)s;
    fake.power.calls++;
    fake.power.argument = 0;
    return fake.power.result;
}

enum result slot_set_protocol(struct slot *s, int t)
{
    (void)s;
    fake.protocol.calls++;
    fake.protocol.argument = t;
    return fake.protocol.result;
}

enum result slot_transmit(struct slot *s, int protocol, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                          size_t *len)
{
    enum result r;

    (void)pthread_mutex_lock(&lock);
    fake.transmit.argument = protocol;
    r = record(&fake.transmit, apdu, n, response, cap, len);
    if (fake.block) {
        block(s, false);
        *len = 0;
        r = R_CANCELLED;
    }
    (void)pthread_mutex_unlock(&lock);
    return r;
}

enum result slot_refuse(struct slot *s)
{
    (void)s;
    fake.refused++;
    return R_NO_CARD;
}

enum result slot_command(struct slot *s, const uint8_t *command, size_t n, uint8_t *answer, size_t cap, size_t *len)
{
    (void)s;
    return record(&fake.command, command, n, answer, cap, len);
}

enum result slot_operate(struct slot *s, enum operate_level level, operate_fn fn, void *arg)
{
    enum result r;

    if (level != OPERATE_READER && (!fake.status.present || !fake.status.powered))
        return slot_refuse(s);
    fake.operated[level]++;
    r = fn(s, arg, deadline_in(60000));
    return r == R_NO_CARD && level != OPERATE_READER ? slot_refuse(s) : r;
}

enum result device_pause(struct device *d, deadline_t until)
{
    (void)d;
    (void)until;
    fake.pauses++;
    return R_SUCCESS;
}

void device_store_key(struct device *d, uint8_t number, const uint8_t key[STORAGE_KEY_SIZE])
{
    memcpy(d->keys.key[number], key, STORAGE_KEY_SIZE);
    d->keys.loaded[number] = true;
}

bool device_key(struct device *d, uint8_t number, uint8_t key[STORAGE_KEY_SIZE])
{
    memcpy(key, d->keys.key[number], STORAGE_KEY_SIZE);
    return d->keys.loaded[number];
}

void slot_lost(struct device *d, unsigned slot)
{
    (void)d;
    (void)slot;
    fake.lost++;
    fake.status.present = fake.status.powered = false;
}

bool slot_atr(struct slot *s, struct atr *atr)
{
    (void)s;
    *atr = fake.atr;
    return fake.status.powered;
}

void slot_status(struct slot *s, struct slot_status *st)
{
    (void)s;
    *st = fake.status;
}

enum result slot_late(struct slot *s)
{
    (void)s;
    return R_NOT_NOW;
}

bool slot_gone_first(struct slot *s, unsigned site)
{
    bool first = !(s->gone_told & 1U << site);

    s->gone_told |= 1U << site;
    return first;
}
