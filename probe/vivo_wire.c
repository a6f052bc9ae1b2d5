/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The line to a ViVOpay reader (vivo_wire.h).
 */
#include "probe/vivo_wire.h"

#include <string.h>

#include "base/buf.h"

enum { SETTLE_QUIET = 150, SETTLE_MOST = 3000, SETTLE_TRIES = 3 };
enum { RAW_HEAD = 7, TRANSCEIVE = 0x1E, RAW_ETU = 0x2968 };
enum { VIVO_SUB_SINGLE_SHOT = 0x0B, MCU_UID = 0x17 };

static bool hid(const struct probe *p)
{
    return !p->serial;
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

/* How much of an answer may be shown: a poll's card type, an APDU's status word, the reader's own texts. */
static void shown(uint8_t command, uint8_t sub, uint8_t asked, struct masked *m)
{
    m->clear = m->tail = 0;
    m->own = command != VIVO_CMD_PASS_THROUGH || sub == VIVO_SUB_GET_ATR;
    if (command == VIVO_CMD_SERIAL_NUMBER || (command == VIVO_CMD_VERSION && sub == MCU_UID))
        return;
    if (command != VIVO_CMD_PASS_THROUGH) {
        m->clear = m->n;
        return;
    }
    m->secret = sub == 0x07; /* a trailer may show a key */
    switch (sub) {
    case VIVO_SUB_POLL:
    case VIVO_SUB_ENHANCED_POLL:
    case VIVO_SUB_POLL_ATS:
    case VIVO_SUB_SINGLE_SHOT:
        m->clear = 1;
        break;
    case VIVO_SUB_NFC: /* a poll, or what a card says */
        m->clear = asked == 0xFF;
        break;
    case VIVO_SUB_APDU:
    case VIVO_SUB_CONTACT_APDU:
        m->tail = 2;
        break;
    case VIVO_SUB_RAW:
        m->clear = 5;
        break;
    case VIVO_SUB_GET_ATR:
    case VIVO_SUB_PARAMETERS:
    case 0x0A:
        m->clear = m->n;
        break;
    default:
        break;
    }
}

static void record_command(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n,
                           enum vivo_order order)
{
    struct masked m = {.bytes = data, .n = n, .clear = vivo_command(command, sub)->visible};
    char what[48];

    m.secret = command == VIVO_CMD_PASS_THROUGH && (sub == 0x06 || sub == 0x0A); /* keys */
    (void)snprintf(what, sizeof what, "-> %02X-%02X (CRC %s byte first)", command, sub,
                   order == VIVO_MSB_FIRST ? "high" : "low");
    trace_bytes(p, what, &m);
}

void vivo_record(struct probe *p, uint8_t command, uint8_t sub, const struct vivo_heard *h)
{
    struct masked m = {.bytes = h->data, .n = h->n};
    char what[96];

    if (h->kind != VIVO_ANSWER) {
        trace_line(p, "<- %s",
                   h->kind == VIVO_SILENCE   ? "nothing"
                   : h->kind == VIVO_GARBAGE ? "a broken answer"
                                             : "the reader is gone");
        return;
    }
    shown(command, sub, p->v->asked, &m);
    (void)snprintf(what, sizeof what, "<- %02X status %02X (%.40s) after %u ms", h->command, h->status,
                   vivo_status(h->status)->meaning, h->ms);
    trace_bytes(p, what, &m);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static bool frame_is_open(const struct vivo_wire *v, bool on_hid)
{
    return on_hid ? v->assembly.open : vivo_decoder_open(&v->decoder);
}

static void drop_frame(struct vivo_wire *v)
{
    vivo_decoder_reset(&v->decoder);
    vivo_assembly_reset(&v->assembly);
    v->rest_n = 0;
}

static void note_gap(struct vivo_wire *v, bool open)
{
    int64_t now = clock_now();
    unsigned gap = (unsigned)((now - v->last_chunk) / CLOCK_NS_PER_MS);

    v->pieced += open;
    if (open && gap > v->longest_gap)
        v->longest_gap = gap;
    v->last_chunk = now;
}

static enum result take_chunk(struct probe *p, deadline_t until)
{
    struct vivo_wire *v = p->v;
    bool open = frame_is_open(v, hid(p));
    unsigned pipe;
    size_t n;
    enum result r = p->t->ops->read(p->t, v->chunk, sizeof v->chunk, &n, &pipe, until);

    if (r != R_SUCCESS)
        return r;
    note_gap(v, open);
    v->rest = v->chunk;
    v->rest_n = n;
    if (hid(p)) {
        bool whole = vivo_assemble(&v->assembly, v->chunk, n);

        v->rest = v->assembly.bytes;
        v->rest_n = whole ? v->assembly.len : 0;
        vivo_decoder_reset(&v->decoder);
    }
    return R_SUCCESS;
}

static void take_frame(struct probe *p, const struct vivo_frame *f, struct vivo_heard *h)
{
    struct vivo_wire *v = p->v;

    h->kind = VIVO_ANSWER;
    h->command = f->command;
    h->status = f->status;
    h->order = f->order;
    h->n = f->n < sizeof h->data ? f->n : sizeof h->data;
    memcpy(h->data, f->data, h->n);
    v->answers++;
    v->low_first += f->order == VIVO_LSB_FIRST;
    if (hid(p))
        v->rest_n = 0; /* the padding */
}

/* Waits for one frame, whatever it is. */
static void hear_frame(struct probe *p, struct vivo_heard *h, deadline_t until)
{
    struct vivo_wire *v = p->v;
    struct vivo_frame f;

    h->kind = VIVO_SILENCE;
    h->n = 0;
    for (bool first = true;; first = false) {
        enum vivo_input in = vivo_decode(&v->decoder, &v->rest, &v->rest_n, &f);
        enum result r = R_TIMEOUT;

        if (in == VIVO_FRAME) {
            take_frame(p, &f, h);
            return;
        }
        if (in == VIVO_BROKEN) {
            h->kind = VIVO_GARBAGE;
            return;
        }
        if (first || !deadline_passed(until)) /* input without end is no answer */
            r = take_chunk(p, until);
        if (r == R_GONE || r == R_CANCELLED) {
            h->kind = VIVO_END;
            p->gone = true;
            return;
        }
        if (r == R_SUCCESS || (r == R_COMM && !deadline_passed(until)))
            continue;
        if (frame_is_open(v, hid(p)))
            h->kind = VIVO_GARBAGE;
        drop_frame(v);
        return;
    }
}

static void count_unasked(struct probe *p, const struct vivo_heard *h)
{
    struct vivo_wire *v = p->v;

    trace_line(p, "<- unasked: %02X status %02X [%zu]", h->command, h->status, h->n);
    if (h->command == VIVO_CMD_BOOT) {
        v->boots++;
        return;
    }
    v->unasked++;
    v->unasked_command = h->command;
    v->unasked_status = h->status;
}

void vivo_hear(struct probe *p, uint8_t command, unsigned ms, struct vivo_heard *h)
{
    int64_t begin = clock_now();
    deadline_t until = deadline_in(ms);

    for (;;) {
        hear_frame(p, h, until);
        if (h->kind != VIVO_ANSWER)
            break;
        if (h->command == command && h->status != VIVO_AUTO_SWITCH && h->status != VIVO_AUTO_SWITCH_FAILED &&
            h->status != VIVO_UI_EVENT)
            break;
        count_unasked(p, h);
        h->kind = VIVO_SILENCE;
        if (deadline_passed(until))
            break;
    }
    h->ms = (unsigned)((clock_now() - begin) / CLOCK_NS_PER_MS);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static enum result send_bytes(struct probe *p, const uint8_t *frame, size_t n, deadline_t until)
{
    uint8_t report[VIVO_REPORT_SIZE];
    enum result r = R_SUCCESS;
    size_t at = 0;

    if (!hid(p))
        return p->t->ops->write(p->t, frame, n, until);
    while (r == R_SUCCESS && vivo_next_report(frame, n, &at, report))
        r = p->t->ops->write(p->t, report, sizeof report, until);
    return r;
}

bool vivo_send(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n, enum vivo_order order)
{
    uint8_t frame[VIVO_FRAME_MAX];
    size_t length = vivo_encode(command, sub, data, n, NULL, 0, order, frame, sizeof frame);
    enum result r;

    p->v->asked = n > 0 ? data[0] : 0;
    record_command(p, command, sub, data, n, order);
    r = length > 0 ? send_bytes(p, frame, length, deadline_in(2 * p->settings.command_wait)) : R_INVALID;
    explicit_bzero(frame, sizeof frame); /* a key may stand in it */
    if (r == R_GONE)
        p->gone = true;
    if (r != R_SUCCESS)
        trace_line(p, "-> could not be sent: %s", result_name(r));
    return r == R_SUCCESS;
}

enum vivo_order vivo_usual_order(uint8_t command, uint8_t sub)
{
    return vivo_command(command, sub)->pass_through ? VIVO_MSB_FIRST : VIVO_LSB_FIRST;
}

/* Beyond what the driver allows, so that a slow reader is seen as slow and not as silent. */
static unsigned patience(const struct probe *p, uint8_t command, uint8_t sub)
{
    const struct settings *s = &p->settings;

    switch ((enum vivo_wait)vivo_command(command, sub)->wait) {
    case WAIT_PING:
        return 4 * s->ping_wait;
    case WAIT_RESET:
        return s->reset_wait;
    case WAIT_CALLER:
        return s->power_cap;
    case WAIT_SHORT:
    case WAIT_COMMAND:
    case WAIT_PURSE:
        break;
    }
    return 2 * s->command_wait;
}

/* What the driver allows; 0: as long as its caller does. */
static unsigned limit(const struct probe *p, uint8_t command, uint8_t sub)
{
    const struct settings *s = &p->settings;

    switch ((enum vivo_wait)vivo_command(command, sub)->wait) {
    case WAIT_PING:
        return s->ping_wait;
    case WAIT_SHORT:
        return s->command_wait / 2;
    case WAIT_COMMAND:
        return s->command_wait;
    case WAIT_PURSE:
        return s->command_wait + s->command_wait / 2;
    case WAIT_RESET:
        return s->reset_wait;
    case WAIT_CALLER:
        break;
    }
    return 0;
}

static void note_time(struct probe *p, uint8_t command, uint8_t sub, unsigned extra_ms, unsigned ms)
{
    struct vivo_wire *v = p->v;
    unsigned most = limit(p, command, sub);

    if (most == 0)
        return;
    if (extra_ms == 0 && ms > v->longest_command)
        v->longest_command = ms;
    if (ms > most + extra_ms && ms > v->over_ms) {
        v->over_ms = ms;
        v->over_limit = most + extra_ms;
        v->over_command = command;
        v->over_sub = sub;
    }
}

static bool exchange(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n, unsigned extra_ms,
                     enum vivo_order order, struct vivo_heard *h)
{
    memset(h, 0, sizeof *h);
    if (!vivo_send(p, command, sub, data, n, order)) {
        p->v->doubt = true;
        h->kind = p->gone ? VIVO_END : VIVO_SILENCE;
        return false;
    }
    vivo_hear(p, command, patience(p, command, sub) + extra_ms, h);
    vivo_record(p, command, sub, h);
    if (h->kind != VIVO_ANSWER) {
        p->v->doubt = true;
        p->v->silent += h->kind == VIVO_SILENCE;
        return false;
    }
    note_time(p, command, sub, extra_ms, h->ms);
    return true;
}

bool vivo_do_in_order(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n,
                      enum vivo_order order, struct vivo_heard *h)
{
    return exchange(p, command, sub, data, n, 0, order, h);
}

static enum vivo_order other(enum vivo_order order)
{
    return order == VIVO_MSB_FIRST ? VIVO_LSB_FIRST : VIVO_MSB_FIRST;
}

bool vivo_do(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n, unsigned extra_ms,
             struct vivo_heard *h)
{
    bool *learnt = command == VIVO_CMD_PASS_THROUGH ? &p->v->other_order[sub] : NULL;
    enum vivo_order order = vivo_usual_order(command, sub);

    if (learnt && *learnt)
        order = other(order);
    if (!exchange(p, command, sub, data, n, extra_ms, order, h))
        return false;
    if (h->status != VIVO_CRC_ERROR)
        return true;
    if (!exchange(p, command, sub, data, n, extra_ms, other(order), h))
        return false;
    if (learnt && h->status != VIVO_CRC_ERROR)
        *learnt = !*learnt;
    return true;
}

/* ---- what is asked often ----------------------------------------------------------------------------------------- */

bool vivo_ok(const struct vivo_heard *h)
{
    return h->kind == VIVO_ANSWER && h->status == VIVO_OK;
}

bool vivo_ping_now(struct probe *p, struct vivo_heard *h)
{
    return vivo_do(p, VIVO_CMD_PING, 0x01, NULL, 0, 0, h) && vivo_ok(h);
}

bool vivo_enter(struct probe *p, struct vivo_heard *h)
{
    static const uint8_t off = 0, on = 1;

    vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &off, 1, 0, h);
    vivo_do(p, VIVO_CMD_POLL_MODE, 0x01, &on, 1, 0, h);
    p->v->pass_through = vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &on, 1, 0, h) && vivo_ok(h);
    return p->v->pass_through;
}

static void note_type(struct vivo_wire *v, uint8_t type)
{
    if (type == 0 || memchr(v->types, type, v->type_count) || v->type_count == sizeof v->types)
        return;
    v->types[v->type_count++] = type;
}

bool vivo_poll_by(struct probe *p, uint8_t sub, struct vivo_heard *h)
{
    unsigned ms = p->settings.poll_time;
    uint8_t data[4] = {(uint8_t)(ms / 1000), (uint8_t)(ms % 1000 / 10), 0, 1};
    size_t n = sub == VIVO_SUB_ENHANCED_POLL ? 4 : 2;

    if (sub == VIVO_SUB_NFC) {
        data[0] = 0xFF;
        data[1] = 1;
        ms = 1000;
    }
    memset(&p->v->card, 0, sizeof p->v->card);
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, sub, data, n, ms, h) || !vivo_ok(h) ||
        !vivo_parse_poll(h->data, h->n, &p->v->card))
        return false;
    note_type(p->v, p->v->card.type);
    return p->v->card.type != 0;
}

void vivo_field_off(struct probe *p, unsigned ms)
{
    static const uint8_t off = 0;
    static struct vivo_heard h;
    struct timespec t = {ms / 1000, (long)(ms % 1000) * CLOCK_NS_PER_MS};

    vivo_do(p, VIVO_CMD_ANTENNA, 0x01, &off, 1, 0, &h);
    nanosleep(&t, NULL);
}

bool vivo_apdu(struct probe *p, const uint8_t *apdu, size_t n, struct vivo_heard *h)
{
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_APDU, apdu, n, 0, h) || !vivo_ok(h))
        return false;
    p->v->apdus++;
    p->v->encrypted += vivo_is_encrypted(h->data, h->n);
    return h->n >= 2;
}

bool vivo_raw(struct probe *p, uint8_t flags, uint8_t redundancy, const uint8_t *data, size_t n, uint8_t *pcd,
              struct vivo_heard *h)
{
    uint8_t request[64];
    struct wbuf w = wbuf_over(request, sizeof request);

    wbuf_u8(&w, TRANSCEIVE);
    wbuf_be32(&w, RAW_ETU);
    wbuf_u8(&w, flags);
    wbuf_u8(&w, redundancy);
    wbuf_bytes(&w, data, n);
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_RAW, request, w.len, 0, h) || h->n < 5)
        return false;
    *pcd = h->data[0];
    return true;
}

void vivo_settle(struct probe *p)
{
    static struct vivo_heard h;

    for (unsigned i = 0; i < SETTLE_TRIES && p->v->doubt && !p->gone; i++) {
        deadline_t until = deadline_in(SETTLE_MOST);

        do
            hear_frame(p, &h, deadline_in(SETTLE_QUIET));
        while (h.kind != VIVO_SILENCE && h.kind != VIVO_END && !deadline_passed(until));
        if (vivo_ping_now(p, &h))
            p->v->doubt = false;
    }
    p->gone = p->gone || p->v->doubt; /* it does not answer any more: every further command would only be waited for */
    if (!p->gone && !p->v->pass_through && !p->v->ordinary && p->v->answered)
        vivo_enter(p, &h);
}
