/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay link: one command out, one answer in. internal.h explains synchronism.
 *
 * CRC order. A command of the pass-through family carries its CRC high byte first, any other low byte first; for some
 * newer commands no recorded frame proves it (doc/ASSUMPTIONS.md). A reader that sees the wrong order answers status
 * 04, which says as well that it did not run the command, or nothing at all. So after 04 the same command goes out once
 * more in the other order, and the order that was understood is remembered for its row of the table; from then on 04
 * means noise on the line, and the command goes out once more as it was. After silence the other order is tried only
 * for what may be sent twice anyway.
 *
 * When is an answer missing? A card may take as long as the caller's deadline; but once a frame has begun, or bytes
 * went by that can only be the rest of a spoilt one, silence of frame_gap milliseconds means that it will not come.
 */
#include "vivopay/internal.h"

#include <stdio.h>
#include <string.h>

enum { ORDER_TRIES = 2, PING_TRIES = 3, BOOT_STATUS = 0x01 };

/* ---- the log ------------------------------------------------------------------------------------------------- */

static enum log_level level_of(const struct vivo_request *q)
{
    return q->periodic ? PLOG_PERIODIC : PLOG_FRAME;
}

static void log_request(struct vivo *v, const struct vivo_request *q, const struct vivo_command *row)
{
    struct log *log = v->reader.log;
    size_t first = row->visible < q->n1 ? row->visible : q->n1;
    char what[24];

    snprintf(what, sizeof what, "-> %02X-%02X", q->command, q->sub);
    log_bytes_masked(log, level_of(q), what, q->part1, q->n1, first, 0);
    if (q->n2 > 0)
        log_bytes_masked(log, level_of(q), "-> and", q->part2, q->n2, row->visible - first, 0);
}

static void log_answer(struct vivo *v, const struct vivo_request *q, const struct vivo_command *row,
                       const struct vivo_frame *f)
{
    struct log *log = v->reader.log;
    char what[80];

    snprintf(what, sizeof what, "<- %02X status %02X (%.40s)", f->command, f->status, vivo_status(f->status)->meaning);
    log_bytes_masked(log, level_of(q), what, f->data, f->n, row->visible_answer, 0);
}

void vivo_contradicted(struct vivo *v, unsigned row, const char *what)
{
    log_contradicted(v->reader.log, 'V', row, what);
}

/* ---- sending ------------------------------------------------------------------------------------------------- */

/* A frame is one message of a serial line, or one report after the other. */
static enum result send_frame(struct vivo *v, size_t n, deadline_t until)
{
    struct transport *t = v->line;
    uint8_t report[VIVO_REPORT_SIZE];
    enum result r = R_SUCCESS;
    size_t at = 0;

    if (!v->hid) {
        r = t->ops->write(t, v->frame, n, until);
    } else {
        while (r == R_SUCCESS && vivo_next_report(v->frame, n, &at, report))
            r = t->ops->write(t, report, sizeof report, until);
        explicit_bzero(report, sizeof report);
    }
    explicit_bzero(v->frame, n);
    return r;
}

/* The order is fixed by the configuration for the pass-through family. */
static bool order_is_set(const struct vivo *v, const struct vivo_command *row)
{
    return row->pass_through && v->reader.settings->crc_order != CRC_AUTO;
}

static enum vivo_order first_guess(const struct vivo *v, const struct vivo_command *row,
                                   const struct vivo_order_state *own)
{
    if (order_is_set(v, row))
        return v->reader.settings->crc_order == CRC_MSB ? VIVO_MSB_FIRST : VIVO_LSB_FIRST;
    if (!own->known && row->crc_like)
        own = &v->orders[vivo_command_index(vivo_command(row->command, row->crc_like))];
    if (own->known)
        return own->order;
    return row->pass_through ? VIVO_MSB_FIRST : VIVO_LSB_FIRST;
}

static enum vivo_order other(enum vivo_order order)
{
    return order == VIVO_MSB_FIRST ? VIVO_LSB_FIRST : VIVO_MSB_FIRST;
}

/* The reader understood a command in this order. */
static void learn_order(struct vivo *v, const struct vivo_request *q, const struct vivo_command *row,
                        struct vivo_order_state *own, enum vivo_order order)
{
    if ((own->known && own->order == order) || order_is_set(v, row))
        return;
    if (order != (row->pass_through ? VIVO_MSB_FIRST : VIVO_LSB_FIRST)) {
        log_line(v->reader.log, PLOG_INFO, "this reader takes the CRC of %02X-%02X %s byte first", q->command, q->sub,
                 order == VIVO_MSB_FIRST ? "high" : "low");
        vivo_contradicted(v, 7, "a command's CRC went in the other order");
    }
    own->known = true;
    own->order = order;
}

/* ---- receiving ----------------------------------------------------------------------------------------------- */

void vivo_link_reset(struct vivo *v)
{
    vivo_decoder_reset(&v->decoder);
    vivo_assembly_reset(&v->assembly);
    v->rest_n = 0;
}

/* In the middle of a frame, or behind what may have been one. */
static bool frame_open(const struct vivo *v)
{
    bool open = v->hid ? v->assembly.open : vivo_decoder_open(&v->decoder);

    return open || v->decoder.dropped >= VIVO_STRAY;
}

/* Waits for one chunk. R_TIMEOUT: nothing by `until`; R_COMM: a frame broke off. */
static enum result take_chunk(struct vivo *v, deadline_t until)
{
    struct transport *t = v->line;
    bool open = frame_open(v);
    deadline_t gap = open ? deadline_min(until, deadline_in(v->reader.settings->frame_gap)) : until;
    unsigned pipe;
    size_t n;
    enum result r = t->ops->read(t, v->chunk, sizeof v->chunk, &n, &pipe, gap);

    if (r == R_TIMEOUT && open) {
        vivo_link_reset(v);
        return R_COMM;
    }
    if (r != R_SUCCESS)
        return r;
    v->rest = v->chunk;
    v->rest_n = n;
    if (v->hid) {
        bool whole = vivo_assemble(&v->assembly, v->chunk, n);
        v->rest = v->assembly.bytes;
        v->rest_n = whole ? v->assembly.len : 0;
        vivo_decoder_reset(&v->decoder);
    }
    return R_SUCCESS;
}

static void found_frame(struct vivo *v, const struct vivo_frame *f)
{
    struct log *log = v->reader.log;

    if (v->hid)
        v->rest_n = 0; /* the last report's padding */
    else if (v->decoder.dropped > 0)
        log_line(log, PLOG_INFO, "%zu bytes that belong to no frame", v->decoder.dropped);
    v->decoder.dropped = 0;
    if (f->order == VIVO_LSB_FIRST)
        vivo_contradicted(v, 9, "an answer has its CRC low byte first");
}

/* Decodes what is there. */
static enum vivo_input decode(struct vivo *v, struct vivo_frame *f)
{
    if (v->rest_n == 0 && !vivo_decoder_open(&v->decoder))
        return VIVO_MORE;
    return vivo_decode(&v->decoder, &v->rest, &v->rest_n, f);
}

/* Waits for a frame. R_COMM: a broken one came. */
static enum result receive(struct vivo *v, struct vivo_frame *f, deadline_t until)
{
    enum result r;

    for (bool first = true;; first = false) {
        switch (decode(v, f)) {
        case VIVO_FRAME:
            found_frame(v, f);
            return R_SUCCESS;
        case VIVO_BROKEN:
            return R_COMM;
        case VIVO_MORE:
            break;
        }
        if (v->hid && vivo_decoder_open(&v->decoder)) { /* the reports are over, the frame is not */
            vivo_link_reset(v);
            return R_COMM;
        }
        if (!first && deadline_passed(until))
            return R_TIMEOUT; /* input without end is no answer */
        r = take_chunk(v, until);
        if (r != R_SUCCESS)
            return r;
    }
}

static void heed_boot(struct vivo *v)
{
    log_line(v->reader.log, PLOG_CRITICAL, "the reader restarted; its cards have lost their sessions");
    v->restarted = true;
    v->up = v->in_sync = false;
    vivo_sessions_lost(v);
}

/* Frames that nobody asked for. True: it was one. */
static bool heed(struct vivo *v, const struct vivo_frame *f)
{
    bool boot = f->command == VIVO_CMD_BOOT && f->status == BOOT_STATUS;

    if (!boot && f->status != VIVO_UI_EVENT && f->status != VIVO_AUTO_SWITCH && f->status != VIVO_AUTO_SWITCH_FAILED)
        return false;
    if (boot) {
        heed_boot(v);
    } else {
        log_line(v->reader.log, PLOG_INFO, "unsolicited frame %02X status %02X; ignored", f->command, f->status);
        vivo_contradicted(v, 14, "a frame came that was not switched on");
    }
    return true;
}

/* Waits for the answer to `command`; everything else that comes is dropped. R_COMM also for a restart. */
static enum result await(struct vivo *v, uint8_t command, struct vivo_frame *f, deadline_t until)
{
    for (bool first = true;; first = false) {
        enum result r = !first && deadline_passed(until) ? R_TIMEOUT : receive(v, f, until);

        if (r != R_SUCCESS)
            return r;
        if (heed(v, f)) {
            if (v->restarted)
                return R_COMM;
        } else if (f->command == command) {
            return R_SUCCESS;
        } else {
            log_fault(v->reader.log, "a frame %02X status %02X came that nobody waits for; dropped", f->command,
                      f->status);
            if (v->in_sync)
                vivo_contradicted(v, 12, "a late answer came behind the one to Ping");
        }
    }
}

enum result vivo_drain(struct vivo *v, unsigned quiet_ms, deadline_t until)
{
    deadline_t end = deadline_min(until, deadline_in(v->reader.settings->open_drain));
    struct vivo_frame f;
    enum result r;

    do {
        r = receive(v, &f, deadline_min(end, deadline_in(quiet_ms)));
        if (r == R_SUCCESS && !heed(v, &f))
            log_line(v->reader.log, PLOG_INFO, "a late frame %02X status %02X; dropped", f.command, f.status);
    } while ((r == R_SUCCESS || r == R_COMM) && !deadline_passed(end));
    vivo_link_reset(v);
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}

/* USB only: it costs no system call there. */
static bool input_waits(struct vivo *v)
{
    struct transport *t = v->line;

    return t && t->ops->pending && (t->ops->pending(t) || v->assembly.open);
}

/* Takes what has come since the last answer, as long as more comes; for command_wait at most, and not beyond `end`. */
static enum result take_input(struct vivo *v, deadline_t end)
{
    deadline_t until = deadline_min(end, deadline_in(v->reader.settings->command_wait));
    struct vivo_frame f;

    for (;;) {
        unsigned gap = frame_open(v) ? v->reader.settings->frame_gap : 0;
        enum result r = receive(v, &f, deadline_min(until, deadline_in(gap)));

        if (r == R_GONE || r == R_CANCELLED)
            return r;
        if (r == R_SUCCESS && !heed(v, &f))
            log_fault(v->reader.log, "a frame %02X status %02X came that nobody waits for; dropped", f.command,
                      f.status);
        if (r == R_TIMEOUT && !frame_open(v) && !input_waits(v))
            return R_SUCCESS;
        if (deadline_passed(until)) {
            log_fault(v->reader.log, "the reader does not stop sending");
            v->in_sync = false;
            return R_SUCCESS;
        }
    }
}

enum result vivo_take_input(struct vivo *v, deadline_t until)
{
    return input_waits(v) ? take_input(v, until) : R_SUCCESS;
}

/* ---- one exchange -------------------------------------------------------------------------------------------- */

static deadline_t answer_due(const struct vivo *v, const struct vivo_command *row, const struct vivo_request *q,
                             deadline_t until)
{
    const struct settings *s = v->reader.settings;
    unsigned ms = 0;

    if (row->wait == WAIT_CALLER)
        return until;
    switch ((enum vivo_wait)row->wait) {
    case WAIT_PING:
        ms = s->ping_wait;
        break;
    case WAIT_SHORT:
        ms = s->command_wait / 2;
        break;
    case WAIT_COMMAND:
        ms = s->command_wait;
        break;
    case WAIT_PURSE:
        ms = s->command_wait + s->command_wait / 2;
        break;
    case WAIT_RESET:
        ms = s->reset_wait;
        break;
    case WAIT_CALLER:
        break;
    }
    return deadline_min(until, deadline_in(ms + q->extra_ms));
}

/* What came behind the last answer came before the next command, so it cannot be the answer to that: a second copy
 * would shift every later answer by one. False: it was a boot frame. */
static bool drop_stale(struct vivo *v)
{
    bool restarted = v->restarted;
    struct vivo_frame f;
    enum vivo_input input;

    while ((input = decode(v, &f)) != VIVO_MORE)
        if (input == VIVO_FRAME && !heed(v, &f))
            log_fault(v->reader.log, "a frame %02X status %02X came behind the last answer; dropped", f.command,
                      f.status);
    return restarted || !v->restarted;
}

/* Sends q once, and after status 04 once more: in the other order, or in the same if that one is known, for then it was
 * noise. `flip`: begin with the order that is not the first guess. */
static enum result talk(struct vivo *v, const struct vivo_request *q, const struct vivo_command *row, bool flip,
                        struct vivo_frame *f, deadline_t until)
{
    struct vivo_order_state *own = &v->orders[vivo_command_index(row)];
    enum vivo_order order = first_guess(v, row, own);
    bool logged = v->reader.log->mask & level_of(q);
    enum result r = R_COMM;

    if (flip)
        order = other(order);
    if (logged)
        log_request(v, q, row);
    for (unsigned tries = 0; tries < ORDER_TRIES; tries++) {
        size_t n = vivo_encode(q->command, q->sub, q->part1, q->n1, q->part2, q->n2, order, v->frame, sizeof v->frame);
        if (n == 0)
            return R_INVALID;
        r = drop_stale(v) ? send_frame(v, n, until) : R_COMM;
        if (r == R_SUCCESS)
            r = await(v, q->command, f, answer_due(v, row, q, until));
        if (r != R_SUCCESS)
            break;
        if (logged)
            log_answer(v, q, row, f);
        if (f->status != VIVO_CRC_ERROR) {
            learn_order(v, q, row, own, order);
            return R_SUCCESS;
        }
        log_fault(v->reader.log, "the reader found a wrong CRC in command %02X-%02X; it did not run it", q->command,
                  q->sub);
        r = R_COMM;
        if (tries > 0)
            own->known = false; /* what is remembered does not help */
        else if (!order_is_set(v, row) && !own->known)
            order = other(order);
    }
    v->in_sync = false;
    if (r != R_CANCELLED && r != R_GONE)
        log_fault(v->reader.log, "command %02X-%02X: %s", q->command, q->sub, result_name(r));
    return r;
}

enum result vivo_ping(struct vivo *v, deadline_t until)
{
    static const struct vivo_request ping = {.command = VIVO_CMD_PING, .sub = 0x01};
    struct vivo_frame f;
    enum result r = talk(v, &ping, vivo_command(ping.command, ping.sub), false, &f, until);

    if (r == R_SUCCESS) {
        v->in_sync = true;
        v->restarted = false;
    }
    return r;
}

/* Until a Ping is answered, at most PING_TRIES times running over all calls: then the reader is lost. */
static enum result resync(struct vivo *v, deadline_t until)
{
    unsigned quiet = v->reader.settings->resync_quiet;
    enum result r = R_TIMEOUT;

    while (v->silent < PING_TRIES) {
        r = vivo_drain(v, quiet, until);
        if (r == R_SUCCESS)
            r = vivo_ping(v, until);
        if (r == R_SUCCESS && v->identity_known)
            r = vivo_ping(v, until); /* what was held back may pass the first by; it shall not meet a card command */
        if (r == R_SUCCESS && v->silent > 0)
            r = vivo_drain(v, v->reader.settings->ping_wait, until); /* the answers to the Pings before */
        if (r == R_SUCCESS) {
            if (v->identity_known)
                log_line(v->reader.log, PLOG_INFO, "in step with the reader again");
            v->silent = 0;
            return R_SUCCESS;
        }
        if (r == R_GONE || r == R_CANCELLED)
            break;
        if (deadline_passed(until))
            return r;
        v->silent += !v->restarted; /* a reader that boots is not silent */
        v->restarted = false;
    }
    return r == R_CANCELLED ? r : vivo_line_lost(v, r);
}

static bool may_repeat(enum result r, deadline_t until)
{
    return (r == R_TIMEOUT || r == R_COMM) && !deadline_passed(until);
}

/* As vivo_exchange, without `up`. */
static enum result exchange(struct vivo *v, const struct vivo_request *q, bool need_up, struct vivo_frame *f,
                            deadline_t until);

enum result vivo_ask(struct vivo *v, const struct vivo_request *q, struct vivo_frame *answer, deadline_t until)
{
    return exchange(v, q, false, answer, until);
}

enum result vivo_exchange(struct vivo *v, const struct vivo_request *q, struct vivo_frame *answer, deadline_t until)
{
    return exchange(v, q, true, answer, until);
}

void vivo_check_suspend(struct vivo *v)
{
    int64_t now = clock_suspended();

    if (now <= v->suspended)
        return;
    v->suspended = now;
    if (!v->line)
        return;
    log_line(v->reader.log, PLOG_INFO, "the machine was asleep: the line is synchronised, the cards count as swapped");
    v->up = v->in_sync = false;
    vivo_sessions_lost(v);
}

/* Brings up what is down, from below. */
static enum result bring_up(struct vivo *v, bool need_up, deadline_t until)
{
    enum result r = R_SUCCESS;

    if (!v->line) {
        if (!need_up)
            return R_NO_CARD;
        r = vivo_line_reopen(v, until);
    } else if (need_up && !v->up && !deadline_passed(v->next_try)) {
        return R_NO_CARD; /* it failed a moment ago */
    }
    if (r == R_SUCCESS && !v->in_sync)
        r = resync(v, until);
    if (r == R_SUCCESS && !v->in_sync)
        r = R_COMM; /* it was reset: the next try begins anew */
    if (r == R_SUCCESS && need_up && !v->up)
        r = vivo_greet(v, until);
    if (r == R_SUCCESS && !v->in_sync) /* it has asked the contact slots last, in vain: the next try begins anew */
        r = v->line ? R_COMM : R_NO_CARD;
    if (r == R_GONE && !v->hid)
        r = vivo_line_lost(v, r);
    return r;
}

/* On a line only a system call more tells whether anything came. It is worth it where the answer may say no more than
 * "done": a second copy of the last one, in a read of its own, would be taken for that. Not for APDUs, which are counted
 * in system calls (doc/BENCHMARK.md): no reader is known to send such copies. */
static bool looks_first(const struct vivo *v, const struct vivo_command *row)
{
    return row->wait != WAIT_CALLER && !v->hid && v->line && v->in_sync;
}

/* Before a command: what came since the last answer is taken, what is down is brought up. */
static enum result prepare(struct vivo *v, bool look, bool need_up, deadline_t until)
{
    enum result r = look || input_waits(v) ? take_input(v, until) : R_SUCCESS;

    if (r != R_SUCCESS)
        return r;
    if (clock_may_have_suspended(v->suspended))
        vivo_check_suspend(v);
    return v->in_sync && (v->up || !need_up) ? R_SUCCESS : bring_up(v, need_up, until);
}

enum result vivo_bring_up(struct vivo *v, deadline_t until)
{
    return prepare(v, false, true, until);
}

static enum result exchange(struct vivo *v, const struct vivo_request *q, bool need_up, struct vivo_frame *f,
                            deadline_t until)
{
    const struct vivo_command *row = vivo_command(q->command, q->sub);
    bool flip = false;
    enum result r;

    for (unsigned tries = row->repeatable ? 2 : 1;;) {
        r = prepare(v, looks_first(v, row), need_up, until);
        if (r != R_SUCCESS)
            break;
        if (q->only_while && !*q->only_while)
            return R_NO_CARD;
        r = talk(v, q, row, flip, f, until);
        if (r == R_SUCCESS) {
            v->was_reset = false;
            return R_SUCCESS;
        }
        if (--tries == 0 || !may_repeat(r, until))
            break;
        flip = r == R_TIMEOUT && !v->orders[vivo_command_index(row)].known && !order_is_set(v, row);
    }
    if (r == R_GONE && !v->hid)
        r = vivo_line_lost(v, r);
    if (q->only_while && !*q->only_while && r != R_GONE && r != R_CANCELLED)
        r = R_NO_CARD;
    return r;
}
