/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The line to an AET63 (aet63_wire.h).
 */
#include "probe/aet63_wire.h"

#include <string.h>

#include "base/buf.h"

enum { SETTLE_QUIET = 150, SETTLE_MOST = 3000, SETTLE_TRIES = 3, EVENT = 0xFF };

/* ---- the record -------------------------------------------------------------------------------------------------- */

/* How much of a command's data, and of its answer's, may be shown: never what a card or the fingerprint module says. */
static void shown(uint8_t instruction, size_t *command, size_t *answer, bool *secret)
{
    *command = *answer = 0;
    *secret = false;
    switch (instruction) {
    case AET63_GET_ACR_STAT:
        *answer = AET63_STATUS_SIZE;
        break;
    case AET63_SELECT_CARD_TYPE:
    case AET63_SET_NOTIFICATION:
        *command = 1;
        break;
    case AET63_RESET:
    case AET63_ACTIVATE_SAM:
        *command = 1;
        *answer = ATR_MAX;
        break;
    case AET63_EXCHANGE_APDU:
        *command = 7;
        break;
    case AET63_EXCHANGE_T1_FRAME:
        *command = 8;
        *answer = 3;
        break;
    default: /* EEPROM, fingerprint module */
        *command = 3;
        *secret = true;
        break;
    }
}

static void record_command(struct probe *p, uint8_t instruction, const uint8_t *data, size_t n)
{
    struct masked m = {.bytes = data, .n = n};
    size_t answer;
    char what[16];

    shown(instruction, &m.clear, &answer, &m.secret);
    (void)snprintf(what, sizeof what, "-> %02X", instruction);
    trace_bytes(p, what, &m);
}

void aet63_record(struct probe *p, const struct aet63_heard *h)
{
    struct masked m = {.bytes = h->data, .n = h->n};
    size_t command;
    char what[64];

    shown(p->a->instruction, &command, &m.clear, &m.secret);
    m.own = p->a->instruction <= AET63_RESET || p->a->instruction == AET63_ACTIVATE_SAM;
    if (p->a->instruction == AET63_EXCHANGE_APDU)
        m.tail = 2;
    switch (h->kind) {
    case HEARD_ANSWER:
        (void)snprintf(what, sizeof what, "<- %02X %02X after %u ms", h->sw1, h->sw2, h->ms);
        trace_bytes(p, what, &m);
        break;
    case HEARD_REFUSAL:
        trace_line(p, "<- NAK, %s", h->raw_nak ? "bare 05 05" : "05 05 between STX and ETX");
        break;
    case HEARD_GARBAGE:
        trace_line(p, "<- a broken answer");
        break;
    case HEARD_SILENCE:
        trace_line(p, "<- nothing");
        break;
    case HEARD_END:
        trace_line(p, "<- the reader is gone");
        break;
    }
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static void count_status(struct aet63_wire *a, uint8_t sw1, uint8_t sw2)
{
    for (size_t i = 0; i < a->status_count; i++)
        if (a->statuses[i][0] == sw1 && a->statuses[i][1] == sw2)
            return;
    if (a->status_count == AET63_STATUSES)
        return;
    a->statuses[a->status_count][0] = sw1;
    a->statuses[a->status_count++][1] = sw2;
}

static void count_event(struct probe *p, uint8_t code)
{
    struct aet63_wire *a = p->a;

    a->events[code]++;
    a->event_now++;
    a->last_event = code;
    trace_line(p, "<- event FF %02X", code);
}

/* A raw message. True: it is an answer, in *h. */
static bool judge(struct probe *p, struct aet63_decoder *d, struct aet63_heard *h)
{
    struct aet63_response m;

    if (aet63_parse_response(d->raw, d->raw_len, &m) != R_SUCCESS) {
        h->kind = HEARD_GARBAGE;
        return true;
    }
    if (m.sw1 == EVENT) {
        count_event(p, m.sw2);
        return false;
    }
    if (h->kind == HEARD_ANSWER) { /* a second one in the same packet */
        p->a->unasked++;
        return true;
    }
    h->kind = HEARD_ANSWER;
    h->sw1 = m.sw1;
    h->sw2 = m.sw2;
    h->n = m.n < sizeof h->data ? m.n : sizeof h->data;
    memcpy(h->data, m.data, h->n);
    count_status(p->a, m.sw1, m.sw2);
    return true;
}

/* What stands behind an ETX is junk, unless the next packet goes on with it. */
static void look_behind(struct aet63_wire *a, const uint8_t *rest, size_t n)
{
    const uint8_t *stx = n > 0 ? memchr(rest, AET63_STX, n) : NULL;

    a->tail_n = 0;
    if (!stx || (size_t)(rest + n - stx) > sizeof a->tail || memchr(stx, AET63_ETX, (size_t)(rest + n - stx)))
        return;
    a->tail_n = (size_t)(rest + n - stx);
    memcpy(a->tail, stx, a->tail_n);
}

/* Does this packet complete a frame whose beginning was taken for junk? */
static void join_tail(struct aet63_wire *a, const uint8_t *chunk, size_t n)
{
    static struct aet63_decoder d;
    struct aet63_response m;
    uint8_t joined[AET63_TAIL + TRANSPORT_CHUNK_MAX];
    const uint8_t *p = joined;
    size_t left = a->tail_n + n;

    if (a->tail_n == 0)
        return;
    memcpy(joined, a->tail, a->tail_n);
    memcpy(joined + a->tail_n, chunk, n);
    aet63_decoder_reset(&d);
    switch (aet63_decode(&d, &p, &left)) {
    case AET63_RAW:
        if (aet63_parse_response(d.raw, d.raw_len, &m) == R_SUCCESS)
            a->behind_etx++;
        a->tail_n = 0;
        return;
    case AET63_MORE:
        if (a->tail_n + n <= sizeof a->tail) {
            memcpy(a->tail, joined, a->tail_n + n);
            a->tail_n += n;
            return;
        }
        break;
    case AET63_NAKED:
    case AET63_BROKEN:
        break;
    }
    a->tail_n = 0;
}

static void note_gap(struct aet63_wire *a, const struct aet63_decoder *d)
{
    int64_t now = clock_now();
    unsigned gap = (unsigned)((now - a->last_chunk) / CLOCK_NS_PER_MS);

    a->pieced += d->state == AET63_BODY;
    if (d->state == AET63_BODY && gap > a->longest_gap)
        a->longest_gap = gap;
    a->last_chunk = now;
    a->packets++;
}

/* Takes the chunk of n bytes apart. True: something was heard that is no event. */
static bool take_chunk(struct probe *p, unsigned pipe, size_t n, struct aet63_heard *h)
{
    struct aet63_wire *a = p->a;
    struct aet63_decoder *d = &a->decoder[pipe ? 1 : 0];
    const uint8_t *at = a->chunk;
    bool heard = false, was_hunting = d->state == AET63_HUNT;
    enum aet63_input in;

    note_gap(a, d);
    if (was_hunting)
        join_tail(a, a->chunk, n);
    if (n > 0 && was_hunting)
        a->framing[0] = a->chunk[0];
    in = aet63_decode(d, &at, &n);
    if (in == AET63_MORE)
        return false;
    a->framing[2] = at[-1];
    if (in == AET63_NAKED) {
        h->kind = HEARD_REFUSAL;
        h->raw_nak = at[-1] == AET63_NAK;
        return true;
    }
    if (in == AET63_BROKEN)
        h->kind = HEARD_GARBAGE;
    heard = in == AET63_BROKEN || judge(p, d, h);
    if (n > 0)
        a->framing[1] = at[0];
    look_behind(a, at, n);
    while (aet63_decode_rest(d, &at, &n))
        heard = judge(p, d, h) || heard;
    return heard;
}

static bool frame_is_open(const struct aet63_wire *a)
{
    return a->decoder[0].state == AET63_BODY || a->decoder[1].state == AET63_BODY;
}

static void drop_frames(struct aet63_wire *a)
{
    aet63_decoder_reset(&a->decoder[0]);
    aet63_decoder_reset(&a->decoder[1]);
}

void aet63_hear(struct probe *p, struct aet63_heard *h, unsigned ms)
{
    struct aet63_wire *a = p->a;
    int64_t begin = clock_now();
    deadline_t until = deadline_in(ms);

    h->kind = HEARD_SILENCE;
    h->n = 0;
    for (;;) {
        unsigned pipe;
        size_t n;
        enum result r = p->t->ops->read(p->t, a->chunk, sizeof a->chunk, &n, &pipe, until);

        if (r == R_GONE || r == R_CANCELLED) {
            h->kind = HEARD_END;
            p->gone = true;
        } else if (r == R_TIMEOUT && frame_is_open(a)) {
            h->kind = HEARD_GARBAGE;
            drop_frames(a);
        } else if (r == R_COMM && !deadline_passed(until)) {
            continue; /* a pipe that had failed and works again */
        } else if (r == R_SUCCESS && !take_chunk(p, pipe, n, h) && !deadline_passed(until)) {
            continue; /* past the deadline: input without end is no answer */
        }
        break;
    }
    h->ms = (unsigned)((clock_now() - begin) / CLOCK_NS_PER_MS);
}

bool aet63_hear_event(struct probe *p, unsigned ms)
{
    struct aet63_wire *a = p->a;
    deadline_t until = deadline_in(ms);
    static struct aet63_heard h;

    a->event_now = 0;
    a->instruction = 0;
    while (a->event_now == 0 && !deadline_passed(until) && !p->gone) {
        unsigned pipe;
        size_t n;
        enum result r = p->t->ops->read(p->t, a->chunk, sizeof a->chunk, &n, &pipe, until);

        p->gone = r == R_GONE;
        h.kind = HEARD_SILENCE;
        if (r == R_SUCCESS && take_chunk(p, pipe, n, &h))
            a->unasked++;
    }
    return a->event_now > 0;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

bool aet63_send_text(struct probe *p, const void *text, size_t n)
{
    enum result r = p->t->ops->write(p->t, text, n, deadline_in(p->settings.command_wait));

    if (r == R_GONE)
        p->gone = true;
    if (r != R_SUCCESS)
        trace_line(p, "-> could not be sent: %s", result_name(r));
    return r == R_SUCCESS;
}

bool aet63_send(struct probe *p, uint8_t instruction, const uint8_t *data, size_t n)
{
    struct aet63_wire *a = p->a;
    size_t length = aet63_encode(AET63_HEADER, instruction, data, n, NULL, 0, a->text, sizeof a->text);

    a->instruction = instruction;
    a->event_now = 0;
    record_command(p, instruction, data, n);
    return length > 0 && aet63_send_text(p, a->text, length);
}

unsigned aet63_patience(const struct probe *p, uint8_t instruction)
{
    const struct settings *s = &p->settings;

    switch (instruction) {
    case AET63_RESET:
    case AET63_ACTIVATE_SAM:
        return 2 * s->reset_wait;
    case AET63_EXCHANGE_APDU:
    case AET63_EXCHANGE_T1_FRAME:
        return s->power_cap;
    case AET63_TFM_RESET:
        return s->tfm_cap;
    default:
        return 4 * s->command_wait;
    }
}

static void note_time(struct aet63_wire *a, uint8_t instruction, unsigned ms)
{
    if (instruction == AET63_RESET)
        a->longest_reset = ms > a->longest_reset ? ms : a->longest_reset;
    else if (instruction < AET63_RESET || instruction == AET63_POWER_OFF || instruction == AET63_EEPROM_READ_DATA)
        a->longest_own = ms > a->longest_own ? ms : a->longest_own;
}

bool aet63_do(struct probe *p, uint8_t instruction, const uint8_t *data, size_t n, struct aet63_heard *h)
{
    memset(h, 0, sizeof *h);
    if (!aet63_send(p, instruction, data, n)) {
        p->a->doubt = true;
        h->kind = p->gone ? HEARD_END : HEARD_SILENCE;
        return false;
    }
    aet63_hear(p, h, aet63_patience(p, instruction));
    aet63_record(p, h);
    if (h->kind != HEARD_ANSWER) {
        p->a->doubt = true;
        p->a->silent += h->kind == HEARD_SILENCE;
        return false;
    }
    note_time(p->a, instruction, h->ms);
    return true;
}

/* ---- what is asked often ----------------------------------------------------------------------------------------- */

bool aet63_done(const struct aet63_heard *h)
{
    return h->kind == HEARD_ANSWER && h->sw1 == AET63_SW1_DONE;
}

bool aet63_stat(struct probe *p, struct aet63_heard *h)
{
    struct aet63_wire *a = p->a;

    if (!aet63_do(p, AET63_GET_ACR_STAT, NULL, 0, h) || !aet63_done(h) || h->n < AET63_STATUS_SIZE)
        return false;
    a->identity_asked++;
    if (!a->identity_known) {
        memcpy(a->identity, h->data, AET63_STATUS_SIZE);
        a->identity_known = true;
    }
    a->identity_other += memcmp(a->identity, h->data, AET63_IDENTITY_SIZE) != 0;
    return true;
}

int aet63_card_state(struct probe *p)
{
    static struct aet63_heard h;

    aet63_settle(p);
    return aet63_stat(p, &h) ? h.data[AET63_C_STAT] : -1;
}

void aet63_take_atr(struct probe *p, const struct aet63_heard *h)
{
    struct aet63_wire *a = p->a;

    a->protocol = h->sw2;
    a->atr.len = h->n < ATR_MAX ? h->n : ATR_MAX;
    memcpy(a->atr.bytes, h->data, a->atr.len);
    a->info_valid = atr_parse(&a->info, a->atr.bytes, a->atr.len) == R_SUCCESS;
}

bool aet63_power(struct probe *p, uint8_t type, struct aet63_heard *h)
{
    struct aet63_wire *a = p->a;

    a->protocol = -1;
    a->info_valid = false;
    aet63_settle(p);
    aet63_do(p, AET63_POWER_OFF, NULL, 0, h);
    if (!aet63_do(p, AET63_SELECT_CARD_TYPE, &type, 1, h) || !aet63_done(h))
        return false;
    if (!aet63_do(p, AET63_RESET, NULL, 0, h))
        return false;
    a->reset_sw[0] = h->sw1;
    a->reset_sw[1] = h->sw2;
    if (!aet63_done(h))
        return false;
    aet63_take_atr(p, h);
    return true;
}

bool aet63_apdu(struct probe *p, const uint8_t *apdu, size_t n, struct aet63_heard *h)
{
    return aet63_do(p, AET63_EXCHANGE_APDU, apdu, n, h) && h->sw1 == 0x90 && h->sw2 == 0 && h->n >= 2;
}

void aet63_settle(struct probe *p)
{
    static struct aet63_heard h;

    for (unsigned i = 0; i < SETTLE_TRIES && p->a->doubt && !p->gone; i++) {
        deadline_t until = deadline_in(SETTLE_MOST);

        do
            aet63_hear(p, &h, SETTLE_QUIET);
        while (h.kind != HEARD_SILENCE && h.kind != HEARD_END && !deadline_passed(until));
        if (aet63_stat(p, &h))
            p->a->doubt = false;
    }
    p->gone = p->gone || p->a->doubt; /* it does not answer any more: every further command would only be waited for */
}
