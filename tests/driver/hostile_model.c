/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A reader that turns hostile when a test says so. It stands between the front and an ordinary model: as long as it is
 * good, everything goes through to that model; in a hostile mode the model hears nothing (or not everything), and what
 * the host gets is made here. What it makes is random, from a seed, so that a run can be repeated. Built into a
 * purse-sim of its own with -DSIM_EXTRA_MODEL=sim_hostile.
 *
 * Options at creation: of=MODEL (aet63, neo), and the model's own behind it.
 * Verb: hostile MODE [SEED]; MODE is a row of MODES below. All other verbs are the model's.
 */
#include "aet63_frame.h"
#include "neo_frame.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_MS = 1, PACKET = 8, BATCH = 4, LONGEST = 65535, NOISE_MAX = 2000, BLOCK_MAX = 258 };
enum { EXCHANGE_T1 = 0xA1, EVENT = 0xFF };

enum mode {
    GOOD,
    SILENT,   /* no answer */
    NOISE,    /* random bytes for an answer */
    STATUS,   /* an answer with any status and any data */
    HUGE_ONE, /* an answer that says it is 65535 bytes long, and has a few */
    LONG,     /* an answer that is as long as it says: 65535 bytes, in small packets 8191 */
    MIXED,    /* most commands are answered well, the others by one of the above */
    EVENTS,   /* events without an end, and good answers among them */
    ANSWERS,  /* answers without an end, to what nobody asked */
    FLOOD,    /* random bytes without an end */
    TRICKLE,  /* a frame without an end, a few bytes at a time */
    T1_WTX,   /* from here on only blocks of T=1 are answered otherwise: with time extensions, for ever */
    T1_IFS,   /* new sizes, for ever */
    T1_AGAIN, /* "send that again", for ever */
    T1_CHAIN, /* an answer in blocks without an end */
    T1_SYNC,  /* what only a host may say */
    T1_ANY    /* any block whose checksum is right */
};

static const struct {
    const char *name;
    enum mode mode;
    bool unasked; /* sends by itself, each tick */
} MODES[] = {
    {"off", GOOD, false},       {"silent", SILENT, false},   {"noise", NOISE, false},     {"status", STATUS, false},
    {"huge", HUGE_ONE, false},  {"long", LONG, false},       {"mixed", MIXED, false},     {"events", EVENTS, true},
    {"answers", ANSWERS, true}, {"flood", FLOOD, true},      {"trickle", TRICKLE, true},  {"t1-wtx", T1_WTX, false},
    {"t1-ifs", T1_IFS, false},  {"t1-again", T1_AGAIN, false}, {"t1-chain", T1_CHAIN, false},
    {"t1-sync", T1_SYNC, false}, {"t1-any", T1_ANY, false},
};

enum link { TEXT, SERIAL, REPORTS };

struct sim_model {
    struct sim_reader *reader;
    const struct sim_model_ops *ops;
    struct sim_model *model; /* the ordinary one: it never looks into this structure, nor this file into its */
    enum link link;
    enum mode mode;
    unsigned timer;
    uint32_t random;
    size_t sent; /* since the mode was set: what waits when it ends has to be read before anything else */
    bool trickling;
    uint8_t block_number; /* of the card's next I-block */
    struct aet63s_rx rx;
    struct neo_parser parser;
    uint8_t raw[AET63S_RAW_MAX], frame[AET63S_FRAME_MAX];
};

static uint32_t roll(struct sim_model *m, uint32_t n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 17;
    m->random ^= m->random << 5;
    return m->random % n;
}

static void fill(struct sim_model *m, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)roll(m, 256);
}

/* ---- to the host ------------------------------------------------------------------------------------------------ */

static void send_text(struct sim_model *m, const uint8_t *data, size_t n)
{
    for (size_t at = 0; at < n; at += PACKET) {
        uint8_t packet[PACKET] = {0};
        memcpy(packet, data + at, n - at < PACKET ? n - at : PACKET);
        sim_send(m->reader, SIM_PIPE_INT_IN, packet, PACKET);
    }
}

/* Reports of a message that may be longer than any that is allowed: 1 alone, 2 first, 3 between, 4 last. */
static void send_reports(struct sim_model *m, const uint8_t *data, size_t n)
{
    for (size_t at = 0; at < n; at += NEO_REPORT - 1) {
        uint8_t report[NEO_REPORT] = {0};
        size_t now = n - at < NEO_REPORT - 1 ? n - at : NEO_REPORT - 1;
        bool last = at + now == n;
        report[0] = (uint8_t)(at == 0 ? (last ? 1 : 2) : last ? 4 : 3);
        memcpy(report + 1, data + at, now);
        sim_send(m->reader, SIM_PIPE_INT_IN, report, sizeof report);
    }
}

/* In packets of eight bytes, each of which takes a millisecond on a real bus, much less is much. */
static bool may_send(struct sim_model *m, size_t n)
{
    m->sent += n;
    return m->mode >= T1_WTX /* one block for one */ || m->sent <= (m->link == TEXT ? 48u : 256u) << 10;
}

static void emit(struct sim_model *m, const uint8_t *data, size_t n)
{
    if (!may_send(m, n))
        return;
    if (m->link == TEXT)
        send_text(m, data, n);
    else if (m->link == SERIAL)
        sim_send(m->reader, SIM_PIPE_SERIAL, data, n);
    else
        send_reports(m, data, n);
}

/* Without any form: on USB, packets of their own. */
static void emit_noise(struct sim_model *m, size_t n)
{
    uint8_t bytes[NOISE_MAX];

    fill(m, bytes, n);
    if (m->link != REPORTS) {
        emit(m, bytes, n);
        return;
    }
    for (size_t at = 0; at + NEO_REPORT <= n && may_send(m, NEO_REPORT); at += NEO_REPORT)
        sim_send(m->reader, SIM_PIPE_INT_IN, bytes + at, NEO_REPORT);
}

/* A frame that is right in all but its content. code: SW1 and SW2, or the command and the status. */
static void emit_frame(struct sim_model *m, uint8_t code0, uint8_t code1, const uint8_t *data, size_t n)
{
    if (m->link == TEXT) {
        struct aet63s_msg msg = {.header = 0x01, .code = {code0, code1}, .data = data, .n = n};
        enum aet63s_length form = n > 254 ? AET63S_LENGTH_EXTENDED : AET63S_LENGTH_NORMAL;
        size_t len = aet63s_build(m->raw, AET63S_RESPONSE, &msg, form);
        emit(m, m->frame, aet63s_frame(m->frame, m->raw, len, false));
        return;
    }
    memcpy(m->frame, neo_header, NEO_HEADER_LEN);
    m->frame[NEO_CMD_AT] = code0;
    m->frame[NEO_CMD_AT + 1] = code1;
    m->frame[NEO_LEN_AT] = (uint8_t)(n >> 8);
    m->frame[NEO_LEN_AT + 1] = (uint8_t)n;
    memcpy(m->frame + NEO_DATA_AT, data, n);
    uint16_t crc = neo_crc(m->frame, NEO_DATA_AT + n);
    m->frame[NEO_DATA_AT + n] = (uint8_t)(crc >> 8);
    m->frame[NEO_DATA_AT + n + 1] = (uint8_t)crc;
    emit(m, m->frame, NEO_DATA_AT + n + 2);
}

static void emit_any_status(struct sim_model *m, uint8_t command)
{
    uint8_t data[512];
    size_t n = roll(m, 3) ? roll(m, 40) : roll(m, sizeof data);
    bool done = roll(m, 2) == 0; /* "done" leads furthest */

    fill(m, data, n);
    if (m->link == TEXT)
        emit_frame(m, done ? 0x90 : (uint8_t)roll(m, 256), done ? 0 : (uint8_t)roll(m, 256), data, n);
    else
        emit_frame(m, command, done ? 0 : (uint8_t)roll(m, 256), data, n);
}

static void emit_huge(struct sim_model *m, uint8_t command, bool whole)
{
    static uint8_t data[LONGEST];

    fill(m, data, 64);
    if (whole) {
        emit_frame(m, m->link == TEXT ? 0x90 : command, 0, data, m->link == TEXT ? LONGEST / 8 : LONGEST);
    } else if (m->link == TEXT) {
        emit(m, (const uint8_t *)"\x02" "019000FFFFFF00112233445566778899", 33);
    } else {
        memcpy(m->frame, neo_header, NEO_HEADER_LEN);
        memcpy(m->frame + NEO_CMD_AT, (const uint8_t[4]){command, 0, 0xFF, 0xFF}, 4);
        memcpy(m->frame + NEO_DATA_AT, data, 40);
        emit(m, m->frame, NEO_DATA_AT + 40);
    }
}

/* ---- blocks of T=1 ---------------------------------------------------------------------------------------------- */

static void emit_block(struct sim_model *m, uint8_t pcb, const uint8_t *inf, uint8_t n)
{
    uint8_t block[BLOCK_MAX] = {0, pcb, n}, edc = 0;

    memcpy(block + 3, inf, n);
    for (size_t i = 0; i < 3u + n; i++)
        edc ^= block[i];
    block[3 + n] = edc;
    emit_frame(m, 0x90, 0x00, block, 4u + n);
}

static void answer_block(struct sim_model *m, const uint8_t *block, size_t n)
{
    uint8_t pcb = n > 1 ? block[1] : 0, any[254];

    fill(m, any, sizeof any);
    switch (m->mode) {
    case T1_WTX:
        any[0] = (uint8_t)(1 + roll(m, 255));
        emit_block(m, 0xC3, any, 1);
        break;
    case T1_IFS:
        any[0] = (uint8_t)(1 + roll(m, 254));
        emit_block(m, 0xC1, any, 1);
        break;
    case T1_AGAIN: /* to an I-block: its own number; to all else the other answer that is never right */
        emit_block(m, (uint8_t)(0x80 | ((pcb & 0x80) == 0 && pcb & 0x40 ? 0x10 : 0)), any, 0);
        break;
    case T1_CHAIN:
        emit_block(m, (uint8_t)(0x20 | (m->block_number ? 0x40 : 0)), any, 254);
        m->block_number ^= 1;
        break;
    case T1_SYNC:
        emit_block(m, roll(m, 2) ? 0xC0 : 0xC2, any, 0);
        break;
    default:
        emit_block(m, (uint8_t)roll(m, 256), any, (uint8_t)roll(m, 255));
        break;
    }
}

/* ---- from the host ---------------------------------------------------------------------------------------------- */

/* One command, by the byte that names it: `raw` is the whole of an AET63's. True: the ordinary model shall have it. */
static bool wanted(struct sim_model *m, uint8_t command, const struct aet63s_msg *text)
{
    enum mode mode = m->mode;

    if (mode >= T1_WTX) {
        if (!text || text->code[0] != EXCHANGE_T1)
            return true;
        answer_block(m, text->data, text->n);
        return false;
    }
    if (mode == MIXED)
        mode = roll(m, 3) ? GOOD : (enum mode)(SILENT + roll(m, LONG - SILENT));
    if (mode == NOISE)
        emit_noise(m, 1 + roll(m, NOISE_MAX - 1));
    else if (mode == STATUS)
        emit_any_status(m, command);
    else if (mode == HUGE_ONE || mode == LONG)
        emit_huge(m, command, mode == LONG);
    return mode == GOOD || mode == EVENTS || mode == ANSWERS;
}

static bool text_wanted(struct sim_model *m, const uint8_t *data, size_t n)
{
    struct aet63s_msg msg;

    for (size_t i = 0; i < n; i++)
        if (aet63s_rx_byte(&m->rx, data[i]) == AET63S_MESSAGE)
            return aet63s_parse(m->rx.raw, m->rx.n, AET63S_COMMAND, &msg) && wanted(m, msg.code[0], &msg);
    return false;
}

/* A serial line brings a command in pieces: only its last one decides, so a model that is to have it gets it here. */
static void serial_bytes(struct sim_model *m, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (neo_parser_byte(&m->parser, data[i]) == NEO_PARSE_FRAME && wanted(m, m->parser.buf[NEO_CMD_AT], NULL))
            m->ops->receive(m->model, SIM_PIPE_SERIAL, NULL, m->parser.buf, m->parser.len);
}

static bool hostile_receive(struct sim_model *m, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data,
                            size_t n)
{
    bool command = m->link == TEXT ? pipe == SIM_PIPE_CONTROL && setup && setup[0] == 0x40 : pipe != SIM_PIPE_CONTROL;

    if (m->mode == GOOD || !command)
        return m->ops->receive(m->model, pipe, setup, data, n);
    if (m->link == TEXT)
        return text_wanted(m, data, n) ? m->ops->receive(m->model, pipe, setup, data, n) : true;
    if (m->link == SERIAL) {
        serial_bytes(m, data, n);
        return true;
    }
    /* commands of more than one report go by: the model takes no notice of half a message */
    if (n > NEO_CMD_AT + 1 && data[0] == 1 && !wanted(m, data[1 + NEO_CMD_AT], NULL))
        return true;
    return m->ops->receive(m->model, pipe, setup, data, n);
}

/* ---- by itself -------------------------------------------------------------------------------------------------- */

static void trickle(struct sim_model *m)
{
    static const uint8_t text[] = "\x02" "019000FFFFFF", more[] = "0";

    if (m->link == TEXT) {
        emit(m, m->trickling ? more : text, m->trickling ? 1 : sizeof text - 1);
    } else if (m->link == SERIAL && m->trickling) {
        emit(m, more, 1);
    } else if (m->link == SERIAL) {
        emit_huge(m, 0x2C, false);
    } else { /* a message of ever more middle parts */
        uint8_t report[NEO_REPORT] = {(uint8_t)(m->trickling ? 3 : 2)};
        memcpy(report + 1, neo_header, NEO_HEADER_LEN);
        memcpy(report + 1 + NEO_CMD_AT, (const uint8_t[4]){0x2C, 0, 0xFF, 0xFF}, 4);
        sim_send(m->reader, SIM_PIPE_INT_IN, report, sizeof report);
    }
    m->trickling = true;
}

static void one_event(struct sim_model *m)
{
    static const uint8_t codes[] = {0x01, 0x02, 0x00, 0x01};
    uint8_t data[40], n = (uint8_t)roll(m, sizeof data);

    fill(m, data, n);
    if (m->link == TEXT)
        emit_frame(m, EVENT, codes[roll(m, sizeof codes)], data, roll(m, 8) ? 0 : n);
    else
        emit_frame(m, (uint8_t)(roll(m, 2) ? 0xC7 : roll(m, 256)), (uint8_t)roll(m, 256), data, n);
}

static void tick(void *arg)
{
    static const uint8_t commands[] = {0x2C, 0x18, 0x28, 0x29, 0x01, 0x09};
    struct sim_model *m = arg;

    m->timer = sim_timer_add(TICK_MS, tick, m);
    for (unsigned i = 0; i < BATCH; i++)
        if (m->mode == EVENTS)
            one_event(m);
        else if (m->mode == ANSWERS)
            emit_any_status(m, commands[roll(m, sizeof commands)]);
        else if (m->mode == FLOOD)
            emit_noise(m, m->link == TEXT ? PACKET : NEO_REPORT);
        else if (i == 0)
            trickle(m);
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

static const struct sim_model_ops *const ordinary[] = {&sim_aet63, &sim_neo};

static struct sim_model *hostile_create(struct sim_reader *r, const char *options)
{
    char name[16] = "";
    int used = 0;
    struct sim_model *m = calloc(1, sizeof *m);

    if (!m || sscanf(options, "of=%15[a-z0-9]%n", name, &used) != 1) {
        fprintf(stderr, "hostile: of=MODEL\n");
        free(m);
        return NULL;
    }
    m->reader = r;
    for (size_t i = 0; i < sizeof ordinary / sizeof ordinary[0]; i++)
        if (strcmp(ordinary[i]->name, name) == 0)
            m->ops = ordinary[i];
    m->link = strcmp(name, "aet63") == 0 ? TEXT : strstr(options, "link=hid") ? REPORTS : SERIAL;
    m->model = m->ops ? m->ops->create(r, options + used + (options[used] == ',')) : NULL;
    if (!m->model) {
        free(m);
        return NULL;
    }
    return m;
}

static void stop(struct sim_model *m)
{
    if (m->timer)
        sim_timer_cancel(m->timer);
    m->timer = 0;
    m->mode = GOOD;
}

static void hostile_destroy(struct sim_model *m)
{
    stop(m);
    m->ops->destroy(m->model);
    free(m);
}

static const struct sim_usb_identity *hostile_usb(struct sim_model *m)
{
    return m->ops->usb(m->model);
}

static void hostile_power(struct sim_model *m, bool on)
{
    m->ops->power(m->model, on);
}

static bool set_mode(struct sim_model *m, const char *args, FILE *reply)
{
    char name[16] = "";
    unsigned seed = 1;

    sscanf(args, "%15s %u", name, &seed);
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++) {
        if (strcmp(MODES[i].name, name) != 0)
            continue;
        stop(m);
        m->mode = MODES[i].mode;
        m->random = seed * 2654435761u | 1;
        m->sent = 0;
        m->trickling = false;
        m->block_number = 0;
        if (MODES[i].unasked)
            m->timer = sim_timer_add(TICK_MS, tick, m);
        return true;
    }
    fputs("no such mode", reply);
    return false;
}

static bool hostile_control(struct sim_model *m, const char *verb, const char *args, FILE *reply)
{
    if (strcmp(verb, "hostile") == 0)
        return set_mode(m, args, reply);
    return m->ops->control(m->model, verb, args, reply);
}

extern const struct sim_model_ops sim_hostile;
const struct sim_model_ops sim_hostile = {
    .name = "hostile",
    .create = hostile_create,
    .destroy = hostile_destroy,
    .usb = hostile_usb,
    .power = hostile_power,
    .receive = hostile_receive,
    .control = hostile_control,
};
