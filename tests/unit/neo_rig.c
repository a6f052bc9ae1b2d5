/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The test front and APDU cards: "fake" answers a payment application's first steps as recorded, "fake-t0"
 * speaks T=0 with 61xx, "fake-t1" T=1 only, "fake-mute" has no ATR, "fake-async" is behind a socket, as it were.
 */
#define _POSIX_C_SOURCE 200809L
#include "neo_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TIMERS = 64, HEADER = 10, REPORT = 64 };

struct sim_reader {
    uint8_t out[RIG_OUT];
    size_t n, read;
};

static struct sim_reader reader;
static struct sim_model *model;
static bool hid;
static unsigned long now;
static char text[2 * RIG_OUT + 1];

static struct timer {
    unsigned id;
    unsigned long due;
    sim_timer_fn fn;
    void *arg;
} timers[TIMERS];
static unsigned last_id;

/* ---- what a model asks of its front ---------------------------------------------------------------------------- */

void sim_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    assert_ptr_equal(r, &reader);
    assert_int_equal(pipe, hid ? SIM_PIPE_INT_IN : SIM_PIPE_SERIAL);
    assert_true(!hid || n == REPORT);
    assert_true(r->n + n <= sizeof r->out);
    memcpy(r->out + r->n, data, n);
    r->n += n;
}

void sim_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    (void)r;
    (void)pipe;
}

void sim_log(struct sim_reader *r, const char *fmt, ...)
{
    (void)r;
    (void)fmt;
}

unsigned sim_timer_add(unsigned ms, sim_timer_fn fn, void *arg)
{
    for (size_t i = 0; i < TIMERS; i++) {
        if (timers[i].id == 0) {
            timers[i] = (struct timer){++last_id, now + ms, fn, arg};
            return last_id;
        }
    }
    fail_msg("too many timers");
    return 0;
}

void sim_timer_cancel(unsigned id)
{
    for (size_t i = 0; i < TIMERS; i++) {
        if (timers[i].id == id)
            timers[i].id = 0;
    }
}

static struct timer *next_timer(void)
{
    struct timer *next = NULL;

    for (size_t i = 0; i < TIMERS; i++) {
        if (timers[i].id != 0 &&
            (next == NULL || timers[i].due < next->due || (timers[i].due == next->due && timers[i].id < next->id)))
            next = &timers[i];
    }
    return next;
}

bool rig_step(void)
{
    struct timer *t = next_timer(), copy;

    if (t == NULL)
        return false;
    copy = *t;
    t->id = 0;
    now = copy.due;
    copy.fn(copy.arg);
    return true;
}

void rig_wait(unsigned ms)
{
    unsigned long end = now + ms;
    struct timer *t;

    while ((t = next_timer()) != NULL && t->due <= end)
        rig_step();
    now = end;
}

unsigned long rig_now(void)
{
    return now;
}

/* ---- cards ----------------------------------------------------------------------------------------------------- */

struct sim_card {
    unsigned long executions;
    bool t0;
    sim_card_changed changed;
    void *changed_arg;
    sim_card_done done;
    void *done_arg;
    bool present;
};

static struct sim_card *async; /* the last one made */

static struct sim_card *make(bool t0)
{
    struct sim_card *c = calloc(1, sizeof *c);

    c->t0 = t0;
    return c;
}

static struct sim_card *make_t1(const char *options)
{
    return strcmp(options, "bad=1") == 0 ? NULL : make(false);
}

static struct sim_card *make_t0(const char *options)
{
    (void)options;
    return make(true);
}

static void destroy(struct sim_card *c)
{
    free(c);
}

static size_t atr_t1(struct sim_card *c, uint8_t atr[SIM_ATR_MAX])
{
    (void)c;
    return rig_unhex("3B828001AABB10", atr, SIM_ATR_MAX);
}

static size_t atr_t0(struct sim_card *c, uint8_t atr[SIM_ATR_MAX])
{
    (void)c;
    return rig_unhex("3B651100000102030405", atr, SIM_ATR_MAX);
}

static size_t atr_t1_only(struct sim_card *c, uint8_t atr[SIM_ATR_MAX])
{
    (void)c;
    return rig_unhex("3B8101AA2A", atr, SIM_ATR_MAX);
}

static size_t atr_none(struct sim_card *c, uint8_t atr[SIM_ATR_MAX])
{
    (void)c;
    (void)atr;
    return 0;
}

static void power(struct sim_card *c, bool on)
{
    (void)c;
    (void)on;
}

static void reset(struct sim_card *c)
{
    (void)c;
}

/* INS FE: silence; FD: 50 ms; B2: a record; A4, A8: as recorded; T=0 with data: 61xx; else the APDU and 9000. */
static size_t execute(struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *rapdu, unsigned *delay_ms)
{
    uint8_t ins = n > 1 ? apdu[1] : 0;

    c->executions++;
    *delay_ms = ins == 0xFD ? 50 : 0;
    if (ins == 0xFE)
        return 0;
    if (c->t0 && n > 5)
        return rig_unhex("6105", rapdu, SIM_RAPDU_MAX);
    if (ins == 0xA4 && n > 10 && apdu[5] == 0x32)
        return rig_unhex("6F23840E325041592E5359532E4444463031A511BF0C0E610C4F07A00000000410108701019000", rapdu,
                         SIM_RAPDU_MAX);
    if (ins == 0xA4 && n > 10)
        return rig_unhex("6F1C8407A0000000041010A511500F505043204D43442030312020763230"
                         "9000",
                         rapdu, SIM_RAPDU_MAX);
    if (ins == 0xA8)
        return rig_unhex("771682025980941008010100100101011801020020010200"
                         "9000",
                         rapdu, SIM_RAPDU_MAX);
    if (ins == 0xB2)
        return rig_unhex("70045F2001419000", rapdu, SIM_RAPDU_MAX);
    memcpy(rapdu, apdu, n);
    rapdu[n] = 0x90;
    rapdu[n + 1] = 0x00;
    return n + 2;
}

static unsigned long executions(struct sim_card *c)
{
    return c->executions;
}

static struct sim_card *make_async(const char *options)
{
    (void)options;
    async = make(false);
    return async;
}

static void destroy_async(struct sim_card *c)
{
    async = NULL;
    free(c);
}

static bool begin(struct sim_card *c, const uint8_t *apdu, size_t n, sim_card_done done, void *arg)
{
    (void)apdu;
    (void)n;
    assert_null(c->done); /* one at a time */
    if (!c->present)
        return false;
    c->done = done;
    c->done_arg = arg;
    return true;
}

static void cancel(struct sim_card *c)
{
    c->done = NULL;
}

static void watch(struct sim_card *c, sim_card_changed changed, void *arg)
{
    c->changed = changed;
    c->changed_arg = arg;
}

void rig_async_present(bool present)
{
    async->present = present;
    async->changed(async->changed_arg, present);
}

bool rig_async_answer(const char *rapdu_hex)
{
    uint8_t rapdu[256];
    size_t n = rig_unhex(rapdu_hex, rapdu, sizeof rapdu);
    sim_card_done done = async->done;

    if (done == NULL)
        return false;
    async->done = NULL;
    done(async->done_arg, rapdu, n);
    return true;
}

const struct sim_card_ops *sim_card_find(const char *name)
{
    static const struct sim_card_ops cards[] = {
        {.name = "fake",
         .create = make_t1,
         .destroy = destroy,
         .atr = atr_t1,
         .power = power,
         .reset = reset,
         .execute = execute,
         .executions = executions},
        {.name = "fake-t0",
         .create = make_t0,
         .destroy = destroy,
         .atr = atr_t0,
         .power = power,
         .reset = reset,
         .execute = execute,
         .executions = executions},
        {.name = "fake-t1",
         .create = make_t1,
         .destroy = destroy,
         .atr = atr_t1_only,
         .power = power,
         .reset = reset,
         .execute = execute,
         .executions = executions},
        {.name = "fake-mute",
         .create = make_t1,
         .destroy = destroy,
         .atr = atr_none,
         .power = power,
         .reset = reset,
         .execute = execute,
         .executions = executions},
        {.name = "fake-async",
         .create = make_async,
         .destroy = destroy_async,
         .atr = atr_t1,
         .power = power,
         .reset = reset,
         .execute = execute,
         .executions = executions,
         .begin = begin,
         .cancel = cancel,
         .watch = watch},
    };

    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) {
        if (strcmp(cards[i].name, name) == 0)
            return &cards[i];
    }
    return NULL;
}

/* ---- bytes ----------------------------------------------------------------------------------------------------- */

unsigned rig_crc(const uint8_t *data, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t i = 0; i < 8 * n; i++) {
        unsigned in = (unsigned)data[i / 8] >> (7 - i % 8) & 1U, top = crc >> 15;

        crc = (crc << 1 & 0xFFFF) ^ (in != top ? 0x1021U : 0U);
    }
    return crc;
}

size_t rig_unhex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = strlen(hex) / 2;

    assert_true(strlen(hex) % 2 == 0 && n <= max);
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'}, *end = NULL;

        out[i] = (uint8_t)strtoul(pair, &end, 16);
        assert_true(*end == '\0');
    }
    return n;
}

static void to_text(const uint8_t *data, size_t n)
{
    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02X", data[i]);
}

void rig_start(const char *options)
{
    assert_null(model);
    memset(&reader, 0, sizeof reader);
    memset(timers, 0, sizeof timers);
    now = 0;
    hid = strstr(options, "link=hid") != NULL;
    model = sim_neo.create(&reader, options);
    assert_non_null(model);
    sim_neo.power(model, true);
}

void rig_stop(void)
{
    sim_neo.destroy(model);
    model = NULL;
    assert_null(next_timer()); /* a model that is gone has no timers */
}

struct sim_model *rig_model(void)
{
    return model;
}

void rig_feed_bytes(const uint8_t *data, size_t n)
{
    sim_neo.receive(model, hid ? SIM_PIPE_INT_OUT : SIM_PIPE_SERIAL, NULL, data, n);
}

void rig_feed(const char *hex)
{
    uint8_t bytes[RIG_TEXT];

    rig_feed_bytes(bytes, rig_unhex(hex, bytes, sizeof bytes));
}

bool rig_control_transfer(const char *setup_hex, const char *data_hex)
{
    uint8_t setup[8], data[256];
    size_t n = rig_unhex(data_hex, data, sizeof data);

    assert_int_equal(rig_unhex(setup_hex, setup, sizeof setup), 8);
    return sim_neo.receive(model, SIM_PIPE_CONTROL, setup, data, n);
}

size_t rig_out_len(void)
{
    return reader.n - reader.read;
}

const char *rig_out(void)
{
    to_text(reader.out + reader.read, rig_out_len());
    reader.n = reader.read = 0;
    return text;
}

void rig_send(const char *code, const char *data_hex)
{
    uint8_t frame[RIG_TEXT];
    size_t n = rig_unhex(RIG_HEADER, frame, sizeof frame), len;
    unsigned crc;
    bool family;

    n += rig_unhex(code, frame + n, 2);
    len = rig_unhex(data_hex, frame + n + 2, sizeof frame - 16);
    frame[n++] = (uint8_t)(len >> 8);
    frame[n++] = (uint8_t)(len & 0xFF);
    n += len;
    crc = rig_crc(frame, n);
    family = frame[HEADER] == 0x2C || frame[HEADER] == 0x28 || frame[HEADER] == 0x0A || frame[HEADER] == 0x0B;
    frame[n++] = (uint8_t)(family ? crc >> 8 : crc & 0xFF);
    frame[n++] = (uint8_t)(family ? crc & 0xFF : crc >> 8);
    if (!hid) {
        rig_feed_bytes(frame, n);
        return;
    }
    for (size_t at = 0; at < n; at += REPORT - 1) {
        uint8_t report[REPORT] = {0};
        size_t left = n - at;

        report[0] = at == 0 ? (left > 63 ? 2 : 1) : (left > 63 ? 3 : 4);
        memcpy(report + 1, frame + at, left > 63 ? 63 : left);
        rig_feed_bytes(report, sizeof report);
    }
}

/* Takes one frame from the front of what came; its length, 0 if it is not complete. */
static size_t take_frame(uint8_t *frame)
{
    static uint8_t bytes[RIG_OUT];
    size_t n = 0, at = reader.read, len;

    while (at < reader.n) {
        size_t piece = hid ? REPORT - 1 : reader.n - at;

        memcpy(bytes + n, reader.out + at + (hid ? 1 : 0), piece);
        n += piece;
        at += hid ? REPORT : piece;
        if (hid && (reader.out[at - REPORT] == 1 || reader.out[at - REPORT] == 4))
            break;
    }
    if (n < 16)
        return 0;
    len = 16 + ((size_t)bytes[12] << 8 | bytes[13]);
    if (n < len)
        return 0;
    memcpy(frame, bytes, len);
    reader.read = hid ? at : reader.read + len;
    return len;
}

static const char *frame_text(const uint8_t *f, size_t n, bool with_command)
{
    static char line[2 * RIG_TEXT];
    uint8_t header[HEADER];
    int at;

    rig_unhex(RIG_HEADER, header, HEADER);
    assert_memory_equal(f, header, HEADER);
    assert_int_equal(rig_crc(f, n - 2), (unsigned)f[n - 2] << 8 | f[n - 1]);
    at = with_command ? snprintf(line, sizeof line, "%02X:", f[HEADER]) : 0;
    at += snprintf(line + at, sizeof line - (size_t)at, "%02X:", f[HEADER + 1]);
    for (size_t i = 14; i < n - 2; i++)
        at += snprintf(line + at, sizeof line - (size_t)at, "%02X", f[i]);
    return line;
}

const char *rig_next(unsigned ms)
{
    static uint8_t frame[RIG_TEXT];
    unsigned long end = now + ms;
    struct timer *t;
    size_t n;

    while ((n = take_frame(frame)) == 0) {
        t = next_timer();
        if (t == NULL || t->due > end) {
            now = end;
            return "";
        }
        rig_step();
    }
    return frame_text(frame, n, true);
}

const char *rig_ask(const char *code, const char *data_hex)
{
    static uint8_t frame[RIG_TEXT];
    uint8_t command[2];
    size_t n;

    rig_unhex(code, command, 2);
    assert_int_equal(rig_out_len(), 0);
    rig_send(code, data_hex);
    while ((n = take_frame(frame)) == 0)
        assert_true(rig_step());
    assert_int_equal(rig_out_len(), 0);
    assert_int_equal(frame[HEADER], command[0]);
    reader.n = reader.read = 0;
    return frame_text(frame, n, false);
}

const char *rig_control(const char *verb, const char *args)
{
    static char line[RIG_TEXT];
    char reply[RIG_TEXT - 1] = "";
    FILE *f = fmemopen(reply, sizeof reply, "w");
    bool ok;

    assert_non_null(f);
    ok = sim_neo.control(model, verb, args, f);
    fclose(f);
    assert_null(strchr(reply, '\n'));
    snprintf(line, sizeof line, "%s%s", ok ? "" : "!", reply);
    return line;
}

unsigned long rig_count(const char *key)
{
    return strtoul(rig_control("count", key), NULL, 10);
}
