/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The AET63 link: one command out, one answer in. internal.h explains the receive path and synchronism.
 *
 * When is an answer missing? A reader may take as long as the caller's deadline for the work; but once a frame has
 * begun, or the end of one whose beginning was lost went by, silence of frame_gap milliseconds means that the rest will
 * not come, and waiting on would only make the client wait.
 */
#include "aet63/internal.h"

#include <stdio.h>
#include <string.h>

enum { NAK_TRIES = 3, RESYNC_TRIES = 3, FAILURES_BEFORE_RESET = 2 };
enum { MANY_CHUNKS = 20000 }; /* the longest frame, in packets of 8 bytes, is shorter */

enum heard { HEARD_NOTHING, HEARD_RESPONSE, HEARD_NAK, HEARD_BROKEN };

/* ---- the log ------------------------------------------------------------------------------------------------- */

/* What of a message may be shown: `command` bytes of a command's data, `answer` bytes of its answer's. Card and finger
 * data stay out: they may hold PINs, keys, templates. */
struct visible {
    uint8_t instruction;
    uint8_t command, answer;
};

static const struct visible visibility[] = {
    {AET63_GET_ACR_STAT, 0, 16},        {AET63_SELECT_CARD_TYPE, 1, 0}, {AET63_SET_NOTIFICATION, 1, 0},
    {AET63_RESET, 0, ATR_MAX},          {AET63_ACTIVATE_SAM, 1, ATR_MAX}, {AET63_EXCHANGE_APDU, 4, 0},
    {AET63_EXCHANGE_T1_FRAME, 3, 3},    {AET63_EXCHANGE_SAM_APDU, 4, 0}, {AET63_EXCHANGE_SAM_T1_FRAME, 3, 3},
    {AET63_EEPROM_READ_DATA, 3, 0},
};

static struct visible visible_of(uint8_t instruction)
{
    for (size_t i = 0; i < sizeof visibility / sizeof visibility[0]; i++)
        if (visibility[i].instruction == instruction)
            return visibility[i];
    return (struct visible){instruction, 0, 0};
}

static void log_request(struct aet63 *a, const struct aet63_request *q)
{
    struct log *log = a->reader.log;
    char what[16];

    if (!(log->mask & PLOG_FRAME))
        return;
    snprintf(what, sizeof what, "-> %02X data", q->instruction);
    log_bytes_masked(log, PLOG_FRAME, what, q->part1, q->n1, visible_of(q->instruction).command, 0);
}

static void log_answer(struct aet63 *a, const struct aet63_request *q, const struct aet63_response *m)
{
    struct log *log = a->reader.log;

    if (!(log->mask & PLOG_FRAME))
        return;
    log_line(log, PLOG_FRAME, "<- %02X %02X (%s)", m->sw1, m->sw2, aet63_status(m->sw1, m->sw2)->meaning);
    if (m->n > 0)
        log_bytes_masked(log, PLOG_FRAME, "<- data", m->data, m->n, visible_of(q->instruction).answer, 0);
}

void aet63_contradicted(struct aet63 *a, unsigned row, const char *what)
{
    log_contradicted(a->reader.log, 'A', row, what);
}

/* ---- receiving ----------------------------------------------------------------------------------------------- */

static void decoders_reset(struct aet63 *a)
{
    aet63_decoder_reset(&a->decoder[0]);
    aet63_decoder_reset(&a->decoder[1]);
}

/* Judges the raw message in decoder d. Events are dealt with here and count as nothing heard. */
static enum heard judge(struct aet63 *a, struct aet63_decoder *d, struct aet63_response *m)
{
    if (aet63_parse_response(d->raw, d->raw_len, m) != R_SUCCESS)
        return HEARD_BROKEN;
    if (m->sw1 != AET63_SW1_EVENT)
        return HEARD_RESPONSE;
    aet63_event(a, m);
    return HEARD_NOTHING;
}

/* Takes one chunk of pipe `pipe`: what was heard in it (an answer wins over an event before or after it). */
static enum heard hear(struct aet63 *a, unsigned pipe, size_t n, struct aet63_response *m)
{
    struct aet63_decoder *d = &a->decoder[pipe ? 1 : 0];
    const uint8_t *p = a->chunk;
    enum heard h = HEARD_NOTHING;

    switch (aet63_decode(d, &p, &n)) {
    case AET63_MORE:
        return HEARD_NOTHING;
    case AET63_NAKED:
        h = HEARD_NAK;
        break;
    case AET63_BROKEN:
        h = HEARD_BROKEN;
        break;
    case AET63_RAW:
        h = judge(a, d, m);
        break;
    }
    while (h == HEARD_NOTHING && aet63_decode_rest(d, &p, &n))
        h = judge(a, d, m);
    return h;
}

/* In the middle of a frame, or behind the end of one that began unseen. */
static bool frame_open(const struct aet63 *a)
{
    return a->decoder[0].state == AET63_BODY || a->decoder[1].state == AET63_BODY || a->decoder[0].stray ||
           a->decoder[1].stray;
}

/* Waits for one chunk and hears it: *h may be HEARD_NOTHING. R_TIMEOUT: nothing by `until`; R_COMM: a frame broke off,
 * or the pipe failed. */
static enum result receive_chunk(struct aet63 *a, enum heard *h, struct aet63_response *m, deadline_t until)
{
    struct transport *t = a->reader.transport;
    bool open = frame_open(a);
    deadline_t gap = open ? deadline_min(until, deadline_in(a->reader.settings->frame_gap)) : until;
    size_t n;
    unsigned pipe;
    enum result r = t->ops->read(t, a->chunk, sizeof a->chunk, &n, &pipe, gap);

    if (r == R_TIMEOUT && open) {
        decoders_reset(a);
        return R_COMM;
    }
    if (r == R_SUCCESS)
        *h = hear(a, pipe, n, m);
    return r;
}

/* Waits until something is heard that is no event, or the reader restarted. R_SUCCESS with *h and, for a response, *m.
 * R_COMM also for a reader that sends events or noise beyond the deadline and beyond the length of any frame. */
static enum result receive(struct aet63 *a, enum heard *h, struct aet63_response *m, deadline_t until)
{
    for (unsigned chunks = 0; chunks < MANY_CHUNKS || !deadline_passed(until); chunks++) {
        *h = HEARD_NOTHING;
        enum result r = receive_chunk(a, h, m, until);

        if (r != R_SUCCESS || *h != HEARD_NOTHING || a->restarted)
            return r;
    }
    log_fault(a->reader.log, "the reader does not stop sending");
    decoders_reset(a);
    return R_COMM;
}

enum result aet63_drain(struct aet63 *a, unsigned quiet_ms, deadline_t until)
{
    struct aet63_response m;
    enum heard h;

    for (;;) {
        enum result r = receive(a, &h, &m, deadline_min(until, deadline_in(quiet_ms)));
        if (r == R_TIMEOUT) {
            decoders_reset(a);
            return R_SUCCESS;
        }
        if (r == R_GONE || r == R_CANCELLED)
            return r;
        if (deadline_passed(until) || a->restarted)
            return R_SUCCESS;
    }
}

static bool input_waits(const struct aet63 *a)
{
    struct transport *t = a->reader.transport;

    return t->ops->pending(t) || frame_open(a);
}

enum result aet63_take_input(struct aet63 *a, deadline_t until)
{
    struct aet63_response m;

    while (!a->restarted && input_waits(a)) {
        if (deadline_passed(until)) {
            log_fault(a->reader.log, "the reader does not stop sending");
            decoders_reset(a);
            a->in_sync = false;
            break;
        }
        enum heard h = HEARD_NOTHING;
        enum result r = receive_chunk(a, &h, &m, deadline_min(until, deadline_in(a->reader.settings->frame_gap)));

        if (r == R_GONE || r == R_CANCELLED)
            return r;
        if (r != R_SUCCESS || h == HEARD_BROKEN)
            aet63_ask_soon(a); /* it may have been an event */
        if (r == R_SUCCESS && h == HEARD_RESPONSE) {
            log_fault(a->reader.log, "an answer came that nobody waits for; dropped");
            aet63_contradicted(a, 15, "an answer came after the line had been silent");
        }
    }
    return R_SUCCESS;
}

/* ---- one exchange -------------------------------------------------------------------------------------------- */

static enum result host_nak(struct aet63 *a, deadline_t until)
{
    static const uint8_t framed[] = {AET63_STX, '0', '5', '0', '5', AET63_ETX}, raw[] = {AET63_NAK, AET63_NAK};
    struct transport *t = a->reader.transport;

    if (a->reader.settings->nak == NAK_FRAMED)
        return t->ops->write(t, framed, sizeof framed, until);
    return t->ops->write(t, raw, sizeof raw, until);
}

/* GET_ACR_STAT answers: 16 bytes or more, and the part that never changes as it was at open. */
static bool is_own_status(const struct aet63 *a, const struct aet63_response *m)
{
    return m->sw1 == AET63_SW1_DONE && m->n >= AET63_STATUS_SIZE &&
           (!a->identity_known || memcmp(m->data, a->status, AET63_IDENTITY_SIZE) == 0);
}

/* On a slow line the answer to a question that resynchronised it may come late: it must not pass for the answer to what
 * was sent since. A card would have to answer with the reader's own identity to be taken for it. */
static bool is_late_status(const struct aet63 *a, const struct aet63_request *q, const struct aet63_response *m)
{
    return q->instruction != AET63_GET_ACR_STAT && a->identity_known && m->n == AET63_STATUS_SIZE && is_own_status(a, m);
}

/* What await_answer() waits for: late answers to GET_ACR_STAT go by. */
static enum result receive_answer(struct aet63 *a, const struct aet63_request *q, enum heard *h,
                                  struct aet63_response *m, deadline_t until)
{
    enum result r;

    while ((r = receive(a, h, m, until)) == R_SUCCESS && !a->restarted && *h == HEARD_RESPONSE &&
           is_late_status(a, q, m)) {
        log_fault(a->reader.log, "an answer to GET_ACR_STAT came late; dropped");
        aet63_contradicted(a, 15, "an answer came after the line had been silent");
        if (deadline_passed(until))
            return R_TIMEOUT;
    }
    return r;
}

/* Waits for the answer to q. A broken one is asked for again by NAK if the configuration says so. */
static enum result await_answer(struct aet63 *a, const struct aet63_request *q, enum heard *h, struct aet63_response *m,
                                deadline_t until)
{
    for (unsigned naks = 0;; naks++) {
        enum result r = receive_answer(a, q, h, m, until);

        if (r == R_SUCCESS && a->restarted)
            return R_COMM;
        if (r == R_SUCCESS && *h == HEARD_RESPONSE && m->header != AET63_HEADER && m->header != q->header)
            *h = HEARD_BROKEN;
        if (r == R_SUCCESS && *h == HEARD_NAK && naks > 0)
            return R_COMM; /* it refuses our NAK, not the command: that one it may have executed */
        if (r == R_SUCCESS && *h != HEARD_BROKEN) {
            a->in_sync = a->in_sync && naks == 0; /* each NAK may have brought an answer */
            return R_SUCCESS;
        }
        if (r != R_SUCCESS && r != R_COMM)
            return r;
        log_fault(a->reader.log, "broken answer to command %02X", q->instruction);
        if (a->reader.settings->nak == NAK_OFF || naks == NAK_TRIES)
            return R_COMM;
        r = host_nak(a, until);
        if (r != R_SUCCESS)
            return r;
    }
}

/* Behind a NAK: a second one, if it came after the command had gone out again, would send it once more although the reader
 * works on it; so the line has to be quiet first. R_COMM: an answer came, too, so the NAK proved nothing. */
static enum result quiet_after_nak(struct aet63 *a, deadline_t until)
{
    struct aet63_response m;
    enum heard h;
    enum result r;

    do
        r = receive(a, &h, &m, deadline_min(until, deadline_in(a->reader.settings->resync_quiet)));
    while (r == R_SUCCESS && h == HEARD_NAK && !a->restarted && !deadline_passed(until));
    return r == R_TIMEOUT ? R_SUCCESS : r == R_SUCCESS ? R_COMM : r;
}

/* Sends q until it is not answered by NAK, and waits for the answer. No synchronisation, no repetition but after NAK. */
static enum result send_and_await(struct aet63 *a, const struct aet63_request *q, struct aet63_response *m,
                                  deadline_t until)
{
    struct transport *t = a->reader.transport;
    enum heard h = HEARD_NOTHING;

    for (unsigned tries = 0; tries <= NAK_TRIES; tries++) {
        size_t n = aet63_encode(q->header, q->instruction, q->part1, q->n1, q->part2, q->n2, a->text, sizeof a->text);
        enum result r = n ? t->ops->write(t, a->text, n, until) : R_INVALID;

        explicit_bzero(a->text, n); /* a PIN may stand in it */
        if (r == R_SUCCESS)
            r = await_answer(a, q, &h, m, until);
        if (r != R_SUCCESS || h == HEARD_RESPONSE)
            return r;
        log_fault(a->reader.log, "the reader refused the frame of command %02X (NAK)", q->instruction);
        if (q->n1 + q->n2 >= AET63_LONG_FORM)
            aet63_contradicted(a, 10, "a frame in the extended form was refused");
        r = quiet_after_nak(a, until);
        if (r != R_SUCCESS)
            return r;
    }
    return R_COMM;
}

static void keep_status(struct aet63 *a, const struct aet63_response *m)
{
    memcpy(a->status, m->data, AET63_STATUS_SIZE);
    a->identity_known = true;
}

/* Asks for the status block: R_SUCCESS when it is the last thing that the reader said. */
static enum result ask_own_status(struct aet63 *a, deadline_t until)
{
    static const struct aet63_request ask = {AET63_HEADER, AET63_GET_ACR_STAT, NULL, NULL, 0, 0};
    const struct settings *s = a->reader.settings;
    struct aet63_response m;
    enum heard h;
    bool own = false;
    deadline_t wait = deadline_min(until, deadline_in(s->command_wait));
    enum result r = send_and_await(a, &ask, &m, wait);

    while (r == R_SUCCESS || r == R_COMM) {
        own = r == R_SUCCESS && is_own_status(a, &m);
        if (own)
            keep_status(a, &m);
        /* whatever it was: nothing may follow it */
        h = HEARD_NOTHING;
        r = receive(a, &h, &m, own ? deadline_min(until, deadline_in(s->resync_quiet)) : wait);
        if (r == R_SUCCESS && h != HEARD_RESPONSE)
            r = R_COMM;
        if (a->restarted || deadline_passed(wait))
            break;
    }
    if (r == R_GONE || r == R_CANCELLED)
        return r;
    return own && r == R_TIMEOUT ? R_SUCCESS : R_TIMEOUT;
}

/* One try of resynchronisation: silence, then the right answer, twice: an answer held back may pass the first question by,
 * and it shall not meet a card command. At open no command came before. */
static enum result resync_once(struct aet63 *a, deadline_t until)
{
    const struct settings *s = a->reader.settings;
    enum result r = aet63_drain(a, a->opening ? s->open_quiet : s->resync_quiet,
                                a->opening ? deadline_min(until, deadline_in(s->open_drain)) : until);

    for (unsigned i = 0; i < (a->opening ? 1u : 2u) && r == R_SUCCESS && !a->restarted; i++)
        r = ask_own_status(a, until);
    return r;
}

/* The last resort: a USB port reset brings back a reader that stays silent. It forgets its cards. */
static enum result reset_reader(struct aet63 *a)
{
    struct transport *t = a->reader.transport;
    enum result r;

    if (!t->ops->reset)
        return R_TIMEOUT;
    log_line(a->reader.log, PLOG_CRITICAL, "the reader does not answer: resetting it");
    r = t->ops->reset(t);
    decoders_reset(a);
    if (r == R_SUCCESS)
        a->restarted = true;
    return r == R_NOT_SUPPORTED ? R_TIMEOUT : r; /* of the reset; of the command nothing is known */
}

static enum result resync(struct aet63 *a, deadline_t until)
{
    enum result r = R_TIMEOUT;

    for (unsigned i = 0; i < RESYNC_TRIES && r == R_TIMEOUT && !deadline_passed(until) && !a->restarted; i++)
        r = resync_once(a, until);
    if (r == R_TIMEOUT && !a->restarted && ++a->resync_failures >= FAILURES_BEFORE_RESET) {
        a->resync_failures = 0;
        r = reset_reader(a);
    }
    if (a->restarted && r != R_GONE && r != R_CANCELLED)
        return R_SUCCESS;
    if (r == R_SUCCESS) {
        if (!a->opening)
            log_line(a->reader.log, PLOG_INFO, "in step with the reader again");
        a->in_sync = true;
        a->resync_failures = 0;
        aet63_apply_status(a);
    }
    return r;
}

/* The reader restarted: it has forgotten the notification setting and its cards. */
static enum result reinitialise(struct aet63 *a, deadline_t until)
{
    static const uint8_t on = 1;
    const struct aet63_request notify = {AET63_HEADER, AET63_SET_NOTIFICATION, &on, NULL, 1, 0};
    struct aet63_response m;

    a->restarted = false;
    for (unsigned i = 0; i < AET63_SLOTS; i++)
        aet63_card_lost(a, i);
    a->in_sync = false;
    enum result r = resync(a, until);
    if (r == R_SUCCESS && !a->restarted)
        r = send_and_await(a, &notify, &m, deadline_min(until, deadline_in(a->reader.settings->command_wait)));
    if (r != R_SUCCESS)
        a->in_sync = false;
    return r;
}

/* Instructions that may be sent twice: they change nothing (design rule "at most once"). */
static bool repeatable(uint8_t instruction)
{
    return instruction == AET63_GET_ACR_STAT || instruction == AET63_SET_NOTIFICATION || instruction == AET63_POWER_OFF ||
           instruction == AET63_EEPROM_READ_DATA;
}

static bool is_card_command(uint8_t instruction)
{
    return (instruction & 0xF0) == 0xA0 || (instruction & 0xF0) == 0xB0;
}

/* Before a command goes out: input that waits is taken, a restart or a doubt is dealt with. */
static enum result prepare(struct aet63 *a, uint8_t instruction, deadline_t until)
{
    enum result r = R_SUCCESS;
    bool restarted;

    if (input_waits(a))
        r = aet63_take_input(a, deadline_min(until, deadline_in(a->reader.settings->command_wait)));
    restarted = a->restarted;
    if (r == R_SUCCESS && restarted)
        r = reinitialise(a, until);
    if (r == R_SUCCESS && !a->in_sync) {
        r = resync(a, until);
        if (r == R_SUCCESS && a->restarted) {
            restarted = true;
            r = reinitialise(a, until);
        }
    }
    if (r == R_SUCCESS && restarted && is_card_command(instruction))
        return R_NO_CARD; /* the session that it belongs to is over */
    return r == R_SUCCESS && !a->in_sync ? R_COMM : r;
}

enum result aet63_exchange(struct aet63 *a, const struct aet63_request *q, struct aet63_response *answer,
                           deadline_t until)
{
    enum result r = R_COMM;

    for (unsigned tries = 0; tries < (repeatable(q->instruction) ? 2u : 1u); tries++) {
        r = prepare(a, q->instruction, until);
        if (r != R_SUCCESS)
            return r;
        log_request(a, q);
        r = send_and_await(a, q, answer, until);
        if (r == R_SUCCESS) {
            log_answer(a, q, answer);
            return R_SUCCESS;
        }
        if (r == R_GONE || r == R_CANCELLED || r == R_INVALID)
            return r;
        a->in_sync = false;
        log_fault(a->reader.log, "command %02X: %s", q->instruction, result_name(r));
        if (deadline_passed(until))
            break;
    }
    return a->restarted && is_card_command(q->instruction) ? R_NO_CARD : r;
}

enum result aet63_simple(struct aet63 *a, uint8_t instruction, const uint8_t *byte, struct aet63_response *answer,
                         deadline_t until)
{
    struct aet63_request q = {AET63_HEADER, instruction, byte, NULL, byte ? 1 : 0, 0};

    return aet63_exchange(a, &q, answer, until);
}

enum result aet63_get_status(struct aet63 *a, deadline_t until)
{
    struct aet63_response m;
    enum result r = aet63_simple(a, AET63_GET_ACR_STAT, NULL, &m, until);

    if (r != R_SUCCESS)
        return r;
    if (!is_own_status(a, &m)) {
        aet63_contradicted(a, 16, "GET_ACR_STAT was answered by something else than this reader's status block");
        a->in_sync = false;
        return R_COMM;
    }
    keep_status(a, &m);
    return R_SUCCESS;
}
