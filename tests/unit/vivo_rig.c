/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The fakes; vivo_rig.h says what they are for.
 */
#include "vivo_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/checksum.h"
#include "reader/device.h"
#include "transport/serial.h"
#include "unhex.h"

enum { CHUNKS = 64, FRAME = 1600 };

static const uint8_t header[] = {'V', 'i', 'V', 'O', 't', 'e', 'c', 'h', '2', 0};

struct chunk {
    uint8_t bytes[FRAME];
    size_t n, at;
    unsigned timeouts;
};

struct rig rig;
struct settings rig_settings;
static struct chunk queue[CHUNKS];
static size_t queued;
static struct log quiet_log;
static struct transport fake;
static struct vivo_assembly assembly;
static bool cancelled;
static int dummy_device;

/* ---- the device ----------------------------------------------------------------------------------------------------
 */

void slot_observe(struct device *d, unsigned slot, bool card)
{
    (void)d;
    rig.present[slot] = card;
    rig.observed[slot]++;
}

void slot_lost(struct device *d, unsigned slot)
{
    (void)d;
    rig.lost[slot]++;
}

void slot_wake(struct device *d, unsigned slot)
{
    (void)d;
    (void)slot;
}

enum result device_pause(struct device *d, deadline_t until)
{
    struct timespec ts = deadline_timespec(until);

    (void)d;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
    return R_SUCCESS;
}

void device_input(void *device)
{
    (void)device;
}

/* ---- what the reader says ------------------------------------------------------------------------------------------
 */

static void put(const uint8_t *bytes, size_t n, unsigned timeouts)
{
    if (queued == CHUNKS || n > FRAME)
        abort();
    queue[queued] = (struct chunk){.n = n, .timeouts = timeouts};
    memcpy(queue[queued].bytes, bytes, n);
    queued++;
}

static size_t build(uint8_t command, uint8_t status, const char *hex, uint8_t frame[FRAME])
{
    size_t n = unhex(hex, frame + 14);
    uint16_t crc;

    memcpy(frame, header, sizeof header);
    frame[10] = command;
    frame[11] = status;
    frame[12] = (uint8_t)(n >> 8);
    frame[13] = (uint8_t)n;
    crc = crc16_ccitt_false(frame, n + 14);
    frame[14 + n] = (uint8_t)(crc >> 8);
    frame[15 + n] = (uint8_t)crc;
    return n + 16;
}

static void send_up(const uint8_t *bytes, size_t n, unsigned timeouts)
{
    uint8_t report[VIVO_REPORT_SIZE];
    size_t at = 0;

    if (!rig.hid) {
        put(bytes, n, timeouts);
        return;
    }
    for (; vivo_next_report(bytes, n, &at, report); timeouts = 0)
        put(report, sizeof report, timeouts);
}

void rig_say_late(unsigned timeouts, uint8_t command, uint8_t status, const char *hex)
{
    uint8_t frame[FRAME];

    send_up(frame, build(command, status, hex, frame), timeouts);
}

void rig_say(uint8_t command, uint8_t status, const char *hex)
{
    rig_say_late(0, command, status, hex);
}

void rig_say_raw(const void *bytes, size_t n)
{
    put(bytes, n, 0);
}

void rig_say_twice(uint8_t command, uint8_t status, const char *hex)
{
    uint8_t frame[FRAME], both[2 * FRAME];
    size_t n = build(command, status, hex, frame);

    memcpy(both, frame, n);
    memcpy(both + n, frame, n);
    if (rig.hid) {
        send_up(frame, n, 0);
        send_up(frame, n, 0);
    } else {
        put(both, 2 * n, 0);
    }
}

void rig_say_cut(uint8_t command, uint8_t status, const char *hex, size_t n)
{
    uint8_t frame[FRAME];

    if (build(command, status, hex, frame) < n)
        abort();
    put(frame, n, 0);
}

/* ---- an obedient reader --------------------------------------------------------------------------------------------
 */

static void say_poll(void)
{
    static const char digits[] = "0123456789ABCDEF";
    char hex[32];
    size_t n = 0;

    if (rig.card_type == 0) {
        rig_say(0x2C, VIVO_TIMEOUT, "");
        return;
    }
    hex[n++] = digits[rig.card_type >> 4];
    hex[n++] = digits[rig.card_type & 15];
    for (size_t i = 0; i < rig.uid_len; i++) {
        hex[n++] = digits[rig.uid[i] >> 4];
        hex[n++] = digits[rig.uid[i] & 15];
    }
    hex[n] = '\0';
    rig_say(0x2C, VIVO_OK, hex);
}

static void obey_2c(const struct rig_sent *q)
{
    if (q->sub == VIVO_SUB_PASS_THROUGH) {
        rig.pass_through = q->n == 1 && q->data[0] == 1;
        rig_say(0x2C, VIVO_OK, "");
        return;
    }
    if (!rig.pass_through) {
        rig_say(0x2C, VIVO_SUB_NOT_ALLOWED, "");
        return;
    }
    switch (q->sub) {
    case VIVO_SUB_POLL:
    case VIVO_SUB_ENHANCED_POLL:
    case VIVO_SUB_POLL_ATS:
        say_poll();
        return;
    case VIVO_SUB_APDU:
    case VIVO_SUB_CONTACT_APDU:
        rig_say(0x2C, VIVO_OK, "01029000");
        return;
    case VIVO_SUB_GET_ATR:
        rig_say(0x2C, rig.contact_atr ? VIVO_OK : VIVO_FAILED, rig.contact_atr ? rig.contact_atr : "");
        return;
    case VIVO_SUB_CONTACT_OFF:
        rig_say(0x2C, VIVO_OK, "");
        return;
    default:
        rig_say(0x2C, VIVO_UNKNOWN_SUB_COMMAND, "");
    }
}

void rig_obey(const struct rig_sent *q)
{
    if (q->command == VIVO_CMD_PASS_THROUGH)
        obey_2c(q);
    else if (q->command == VIVO_CMD_VERSION && q->sub == 0)
        rig_say(q->command, VIVO_OK, "565033333030205553422076312E30312E313037"); /* VP3300 USB v1.01.107 */
    else if (q->command == VIVO_CMD_SERIAL_NUMBER)
        rig_say(q->command, VIVO_OK, "3633305A3030303030310000000000"); /* 630Z000001 */
    else if (q->command == VIVO_CMD_MODULES)
        rig_say(q->command, q->sub == 0x20 ? VIVO_OK : VIVO_UNKNOWN_SUB_COMMAND, q->sub == 0x20 ? "46572C0D0A00" : "");
    else
        rig_say(q->command, VIVO_OK, "");
}

/* ---- the transport --------------------------------------------------------------------------------------------------
 */

/* A whole command frame. */
static void take_command(const uint8_t *p, size_t n)
{
    struct rig_sent *q = &rig.sent[rig.sent_count];
    uint16_t crc;

    if (rig.sent_count == RIG_SENT_MAX || n < 16 || memcmp(p, header, sizeof header) != 0)
        abort();
    rig.sent_count++;
    q->command = p[10];
    q->sub = p[11];
    q->n = (size_t)p[12] << 8 | p[13];
    if (n < q->n + 16)
        abort();
    memcpy(q->data, p + 14, q->n);
    crc = crc16_ccitt_false(p, q->n + 14);
    q->order = p[14 + q->n] == crc >> 8 && p[15 + q->n] == (crc & 0xFF) ? VIVO_MSB_FIRST : VIVO_LSB_FIRST;
    if (q->order == VIVO_LSB_FIRST && (p[15 + q->n] != crc >> 8 || p[14 + q->n] != (crc & 0xFF)))
        abort();
    if (rig.mute || (rig.deaf_to_baud && rig.baud >= rig.deaf_to_baud))
        return;
    if (!rig.handler || !rig.handler(q))
        rig_obey(q);
}

static enum result state(void)
{
    if (++rig.calls == rig.fail_at)
        return rig.fail_with;
    if (rig.calls == rig.then_at)
        return rig.then_with;
    return cancelled ? R_CANCELLED : rig.hang_up ? R_GONE : R_SUCCESS;
}

static enum result fake_write(struct transport *t, const uint8_t *data, size_t n, deadline_t until)
{
    enum result r = state();

    (void)t;
    (void)until;
    if (r != R_SUCCESS)
        return r;
    if (!rig.hid)
        take_command(data, n);
    else if (n != VIVO_REPORT_SIZE)
        abort();
    else if (vivo_assemble(&assembly, data, n))
        take_command(assembly.bytes, assembly.len);
    return R_SUCCESS;
}

static enum result fake_read(struct transport *t, uint8_t *out, size_t cap, size_t *n, unsigned *pipe, deadline_t until)
{
    struct chunk *c = &queue[0];
    enum result r = state();

    (void)t;
    (void)until;
    *pipe = 0;
    if (r != R_SUCCESS)
        return r;
    if (queued == 0)
        return R_TIMEOUT;
    if (c->timeouts > 0) {
        c->timeouts--;
        return R_TIMEOUT;
    }
    *n = c->n - c->at < cap ? c->n - c->at : cap;
    memcpy(out, c->bytes + c->at, *n);
    c->at += *n;
    if (c->at == c->n)
        memmove(queue, queue + 1, --queued * sizeof queue[0]);
    return R_SUCCESS;
}

static bool fake_pending(struct transport *t)
{
    (void)t;
    return queued > 0 && queue[0].timeouts == 0;
}

static void fake_cancel(struct transport *t)
{
    (void)t;
    cancelled = true;
}

static enum result fake_reset_reader(struct transport *t)
{
    (void)t;
    rig.resets++;
    rig.pass_through = false;
    queued = 0;
    return R_SUCCESS;
}

static void fake_close(struct transport *t)
{
    (void)t;
    rig.closed++;
    queued = 0;
}

static const struct transport_ops serial_ops = {
    .write = fake_write, .read = fake_read, .cancel = fake_cancel, .close = fake_close};
static const struct transport_ops hid_ops = {.write = fake_write,
                                             .read = fake_read,
                                             .pending = fake_pending,
                                             .cancel = fake_cancel,
                                             .reset = fake_reset_reader,
                                             .close = fake_close};

static enum result open_fake(struct transport **out, const struct transport_ops *ops)
{
    rig.opened++;
    queued = 0;
    rig.pass_through = false;
    vivo_assembly_reset(&assembly);
    fake = (struct transport){.ops = ops, .log = &quiet_log};
    *out = &fake;
    return R_SUCCESS;
}

enum result serial_open(struct transport **out, const char *path, unsigned baud, struct log *log)
{
    (void)path;
    (void)log;
    rig.baud = baud;
    return rig.node ? open_fake(out, &serial_ops) : R_GONE;
}

enum result serial_set_baud(struct transport *t, unsigned baud)
{
    (void)t;
    rig.baud = baud;
    queued = 0;
    return state();
}

bool serial_node_exists(const char *path)
{
    (void)path;
    return rig.node;
}

enum result usb_open(struct transport **out, const struct usb_open_options *o)
{
    (void)o;
    return open_fake(out, &hid_ops);
}

bool usb_parse_address(const char *name, struct usb_address *a)
{
    *a = (struct usb_address){.vid = 0x0ACD, .pid = strcmp(name, "keyboard") == 0 ? 0x3531 : 0x3530};
    return strcmp(name, "no address") != 0;
}

enum result usb_hid_report_descriptor(struct transport *t, uint8_t *buf, size_t cap, size_t *n, deadline_t until)
{
    static const uint8_t vendor[] = {0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0xC0};

    (void)t;
    (void)cap;
    (void)until;
    memcpy(buf, vendor, sizeof vendor);
    *n = sizeof vendor;
    return R_SUCCESS;
}

/* ---- for the tests --------------------------------------------------------------------------------------------------
 */

void rig_reset(void)
{
    memset(&rig, 0, sizeof rig);
    queued = 0;
    cancelled = false;
    rig.node = true;
    settings_defaults(&rig_settings);
    rig_settings.iso15693 = SWITCH_OFF;
    log_init(&quiet_log, PLOG_CRITICAL | PLOG_INFO, "test");
}

struct reader *rig_open(bool patient, enum result *r)
{
    struct reader_target target = {.name = "usb", .path = rig.hid ? NULL : "/dev/ttyTEST", .patient = patient};
    struct reader *reader = NULL;

    *r = vivopay_family.open(&reader, (struct device *)&dummy_device, &target, &rig_settings, &quiet_log,
                             deadline_in(60000));
    return *r == R_SUCCESS ? reader : NULL;
}

struct reader *rig_open_powered(void)
{
    enum result r;
    struct reader *reader = rig_open(false, &r);
    unsigned again;
    struct atr atr;
    int protocol;

    rig.card_type = 0x01;
    rig.uid_len = 4;
    memcpy(rig.uid, "\x11\x22\x33\x44", 4);
    if (!reader || poller_turn(reader, 0, &again) != R_SUCCESS || !rig.present[0] ||
        reader->ops->power_up(reader, 0, false, deadline_in(60000), &atr, &protocol) != R_SUCCESS)
        abort();
    rig_forget();
    return reader;
}

void rig_close(struct reader *r)
{
    r->ops->close(r);
    log_done(&quiet_log);
}

unsigned rig_count(unsigned command, unsigned sub)
{
    unsigned count = 0;

    for (size_t i = 0; i < rig.sent_count; i++)
        count += rig.sent[i].command == command && (sub == RIG_ANY || rig.sent[i].sub == sub);
    return count;
}

int rig_find(unsigned command, unsigned sub, unsigned n)
{
    for (size_t i = 0; i < rig.sent_count; i++)
        if (rig.sent[i].command == command && (sub == RIG_ANY || rig.sent[i].sub == sub) && n-- == 0)
            return (int)i;
    return -1;
}

void rig_forget(void)
{
    rig.sent_count = 0;
    memset(rig.lost, 0, sizeof rig.lost);
    memset(rig.observed, 0, sizeof rig.observed);
}
