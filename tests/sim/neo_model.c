/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The simulated reader's outside: what comes from the host is parsed and queued, what goes to the host is framed,
 * spoilt if a fault says so, and cut into reports on HID.
 *
 * The reader works on one frame at a time. What arrives meanwhile is a mistake of the host (the protocol allows one
 * command outstanding); it is counted and, as in the reader's FIFO, dealt with afterwards. A queued entry shorter
 * than any frame stands for a command whose length field was too large.
 */
#include "neo_model.h"
#include "sim_message.h"

#include <stdlib.h>
#include <string.h>

enum { CMD_BOOT = 0x14, CMD_BURST = 0x02, HID_SET_REPORT = 0x09, HID_SET_IDLE = 0x0A, HID_SET_PROTOCOL = 0x0B };
enum { REPORT_OUTPUT = 0x02, REPORT_FEATURE = 0x03, FEATURE_LEN = 8 };

static const char boot_text[] = "NEO 2.0 v1.00"; /* with its NUL the 0Eh bytes of a boot notification */

/* ---- to the host --------------------------------------------------------------------------------------------- */

static void send_reports(struct sim_model *m, const uint8_t *bytes, size_t n, const struct neo_fault *f)
{
    uint8_t report[NEO_REPORT];

    for (size_t i = 0; neo_hid_cut(bytes, n, i, report); i++) {
        bool hit = f != NULL && f->number == i;

        if (hit && f->kind == NEO_FAULT_HIDLOSE)
            continue;
        sim_send(m->reader, SIM_PIPE_INT_IN, report, sizeof report);
        if (hit && f->kind == NEO_FAULT_HIDDUP)
            sim_send(m->reader, SIM_PIPE_INT_IN, report, sizeof report);
    }
}

struct sending {
    struct sim_model *m;
    const struct neo_fault *f;
};

static void send_out(void *arg, const uint8_t *bytes, size_t n)
{
    const struct sending *s = arg;
    struct sim_model *m = s->m;

    if (!m->opt.link_hid)
        sim_send(m->reader, SIM_PIPE_SERIAL, bytes, n);
    else if (!m->opt.keyboard) /* a keyboard's answer waits in a feature report that nobody fetches */
        send_reports(m, bytes, n, s->f);
}

static void send_bytes(struct sim_model *m, const uint8_t *bytes, size_t n, const struct neo_fault *f)
{
    struct sending s = {m, f};

    if (n > 0 && m->powered)
        sim_message_in(m->reader, bytes, n, send_out, &s);
}

void neo_send_unasked(struct sim_model *m, uint8_t cmd, uint8_t status, const uint8_t *data, size_t n)
{
    uint8_t frame[NEO_FRAME_MAX];

    send_bytes(m, frame, neo_frame_build(cmd, status, data, n, frame), NULL);
}

static void pump(struct sim_model *m);

static void end_command(struct sim_model *m)
{
    m->busy = false;
    pump(m);
}

static void send_held(struct sim_model *m)
{
    send_bytes(m, m->held.frame, m->held.n, NULL);
    m->held.n = 0;
}

/* What the line has carried is there; the rest comes before the next answer. A report is whole or spoilt: on HID the
 * whole answer comes late, behind a spoilt copy. */
static void hold_back(struct sim_model *m, const uint8_t *frame, size_t n)
{
    size_t in_time = m->fault.number < n ? m->fault.number : n, from = m->opt.link_hid && in_time < n ? 0 : in_time;

    send_bytes(m, frame, in_time, NULL);
    memcpy(m->held.frame, frame + from, n - from);
    m->held.n = n - from;
}

/* The answer is due: frame it, let the fault have its way, send it. */
static void deliver(struct sim_model *m)
{
    struct neo_answer *a = &m->answer;
    const struct neo_fault *f = &m->fault;
    uint8_t frame[NEO_FRAME_MAX + 1];
    size_t n;

    if (f->kind == NEO_FAULT_BOOT) {
        neo_restart(m);
        return;
    }
    if (f->kind == NEO_FAULT_REMOVE && f->execute) {
        neo_remove_all(m, false);
        a->status = NEO_ST_TIMEOUT;
        a->n = 0;
    }
    if (f->kind == NEO_FAULT_STATUS) {
        a->status = (uint8_t)f->number;
        a->n = 0;
    }
    if (f->kind == NEO_FAULT_DATA) {
        a->status = NEO_ST_OK;
        a->n = f->bytes_len;
        memcpy(a->data, f->bytes, f->bytes_len);
    }
    if (f->kind == NEO_FAULT_WRONGCMD)
        a->cmd ^= 0x01;
    n = neo_frame_build(a->cmd, a->status, a->data, a->n, frame);
    if (m->opt.answer_crc != 0) {
        uint8_t high = frame[n - 2];

        frame[n - 2] = frame[n - 1];
        frame[n - 1] = high;
    }
    m->count.answers++;
    if (f->kind == NEO_FAULT_DROP) {
        end_command(m);
        return;
    }
    send_held(m);
    if (f->kind == NEO_FAULT_LATE) {
        hold_back(m, frame, n);
    } else {
        if (f->kind == NEO_FAULT_NOISE)
            send_bytes(m, f->bytes, f->bytes_len, NULL);
        if (f->kind == NEO_FAULT_UNSOLICITED)
            neo_send_unasked(m, f->bytes[0], f->bytes[1], f->bytes + 2, f->bytes_len - 2);
        send_bytes(m, frame, neo_fault_bytes(f, frame, n), f);
        if (f->kind == NEO_FAULT_AGAIN) {
            memcpy(m->held.frame, frame, n);
            m->held.n = n;
        }
    }
    end_command(m);
}

static void answer_due(void *arg)
{
    struct sim_model *m = arg;

    m->answer_timer = 0;
    deliver(m);
}

void neo_answer_later(struct sim_model *m, unsigned ms, uint8_t status, const uint8_t *data, size_t n)
{
    m->answer.cmd = m->cmd;
    m->answer.status = n > NEO_DATA_MAX ? NEO_ST_TOO_LONG : status;
    m->answer.n = n > NEO_DATA_MAX ? 0 : n;
    if (m->answer.n > 0)
        memcpy(m->answer.data, data, n);
    ms += m->opt.latency;
    if (m->fault.kind == NEO_FAULT_DELAY)
        ms += m->fault.number;
    if (ms == 0)
        deliver(m);
    else
        m->answer_timer = sim_timer_add(ms, answer_due, m);
}

void neo_answer_data(struct sim_model *m, uint8_t status, const uint8_t *data, size_t n)
{
    neo_answer_later(m, 0, status, data, n);
}

void neo_answer_status(struct sim_model *m, uint8_t status)
{
    neo_answer_later(m, 0, status, NULL, 0);
}

/* ---- from the host ------------------------------------------------------------------------------------------- */

/* Runs queued frames until one of them does not end at once. Answers come from inside neo_run() as well as from
 * timers; only the outermost caller loops. */
static void pump(struct sim_model *m)
{
    if (m->pumping)
        return;
    m->pumping = true;
    while (!m->busy && m->queued > 0) {
        m->last = m->queue[0];
        m->queued--;
        memmove(&m->queue[0], &m->queue[1], m->queued * sizeof m->queue[0]);
        m->busy = true;
        neo_run(m, m->last.frame, m->last.n);
    }
    m->pumping = false;
}

static void enqueue(struct sim_model *m, const uint8_t *frame, size_t n)
{
    if (m->busy)
        m->count.busy++;
    if (m->queued == NEO_QUEUE)
        return;
    memcpy(m->queue[m->queued].frame, frame, n);
    m->queue[m->queued++].n = n;
    pump(m);
}

static void parse(void *arg, const uint8_t *data, size_t n)
{
    struct sim_model *m = arg;

    for (size_t i = 0; i < n; i++) {
        enum neo_parse r = neo_parser_byte(&m->parser, data[i]);

        if (r == NEO_PARSE_FRAME)
            sim_message_end(m->reader, m->parser.len);
        if (r != NEO_PARSE_MORE)
            enqueue(m, m->parser.buf, r == NEO_PARSE_FRAME ? m->parser.len : NEO_DATA_AT);
    }
}

void neo_receive_bytes(struct sim_model *m, const uint8_t *data, size_t n)
{
    if (m->powered && !m->booting)
        sim_message_out(m->reader, data, n, m->opt.link_hid != 0, parse, m);
}

/* A fault waits for a command: that has to be whole, for a line delivers it in pieces. */
static void receive_spoilt(struct sim_model *m, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (neo_parser_byte(&m->wire, data[i]) == NEO_PARSE_FRAME)
            neo_receive_bytes(m, m->wire.buf, neo_fault_command(m, m->wire.buf, m->wire.len));
    }
}

/* Behind a cut a report has zeros, and the reports that would follow it are missing: then nothing is complete. */
static void spoil_reports(struct sim_model *m)
{
    size_t n = m->hid.len, left = neo_fault_command(m, m->hid.buf, n);

    memset(m->hid.buf + left, 0, n - left);
    if (left + NEO_REPORT - 1 <= n)
        m->hid.len = 0;
}

static bool receive_report(struct sim_model *m, const uint8_t *data, size_t n)
{
    if (neo_hid_report(&m->hid, data, n)) {
        if (neo_fault_commands(m))
            spoil_reports(m);
        memset(&m->parser, 0, sizeof m->parser);
        neo_receive_bytes(m, m->hid.buf, m->hid.len);
    }
    return true;
}

static bool receive_control(struct sim_model *m, const uint8_t *setup, const uint8_t *data, size_t n)
{
    if (setup == NULL || setup[0] != 0x21)
        return false;
    if (setup[1] == HID_SET_IDLE || setup[1] == HID_SET_PROTOCOL)
        return true;
    if (setup[1] != HID_SET_REPORT)
        return false;
    if (setup[3] == REPORT_OUTPUT && !m->opt.keyboard)
        return n == NEO_REPORT && setup[2] == data[0] && receive_report(m, data, n);
    if (setup[3] == REPORT_FEATURE && m->opt.keyboard && setup[2] == 1 && n == 1 + FEATURE_LEN) {
        neo_receive_bytes(m, data + 1, FEATURE_LEN);
        return true;
    }
    return false;
}

static bool neo_receive(struct sim_model *m, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data, size_t n)
{
    switch (pipe) {
    case SIM_PIPE_SERIAL:
        if (!m->opt.link_hid && neo_fault_commands(m))
            receive_spoilt(m, data, n);
        else if (!m->opt.link_hid)
            neo_receive_bytes(m, data, n);
        return true;
    case SIM_PIPE_INT_OUT:
        return m->opt.link_hid && !m->opt.out_setreport && receive_report(m, data, n);
    case SIM_PIPE_CONTROL:
        return m->opt.link_hid && receive_control(m, setup, data, n);
    default:
        return false;
    }
}

/* ---- power --------------------------------------------------------------------------------------------------- */

static void cancel(unsigned *timer)
{
    if (*timer != 0)
        sim_timer_cancel(*timer);
    *timer = 0;
}

/* Everything that goes with the supply voltage. */
static void lose_state(struct sim_model *m)
{
    cancel(&m->answer_timer);
    cancel(&m->boot_timer);
    cancel(&m->burst_timer);
    neo_poll_cancel(m);
    neo_apdu_cancel(m);
    neo_field_off(m);
    for (size_t i = 0; i < NEO_CONTACTS; i++) {
        if (m->contact[i].powered)
            m->contact[i].ops->power(m->contact[i].card, false);
        m->contact[i].powered = false;
    }
    memset(&m->parser, 0, sizeof m->parser);
    memset(&m->wire, 0, sizeof m->wire);
    memset(&m->hid, 0, sizeof m->hid);
    m->queued = m->held.n = 0;
    m->busy = m->booting = m->pass = m->burst_off = false;
    m->key_known = m->pcd_key_known = false;
    m->poll_mode = 0;
    m->fault.kind = NEO_FAULT_NONE;
}

static void booted(void *arg)
{
    struct sim_model *m = arg;

    m->boot_timer = 0;
    m->booting = false;
    if (m->opt.boot == NEO_BOOT_TEXT && !m->restarted)
        send_bytes(m, (const uint8_t *)boot_text, sizeof boot_text - 1, NULL);
    else if (m->opt.boot == NEO_BOOT_FRAME || m->restarted)
        neo_send_unasked(m, CMD_BOOT, 0x01, (const uint8_t *)boot_text, sizeof boot_text);
    neo_burst_update(m);
}

static void power_up(struct sim_model *m)
{
    lose_state(m);
    m->powered = true;
    m->booting = true;
    if (m->opt.boot_ms == 0)
        booted(m);
    else
        m->boot_timer = sim_timer_add(m->opt.boot_ms, booted, m);
}

/* A restart in the middle of work always tells of itself by a frame: that is what a driver must notice. */
void neo_restart(struct sim_model *m)
{
    m->restarted = true;
    power_up(m);
}

static void neo_power(struct sim_model *m, bool on)
{
    m->restarted = false;
    if (on) {
        power_up(m);
        return;
    }
    lose_state(m);
    m->powered = false;
}

static void burst(void *arg)
{
    static const uint8_t track[] = {0x01, 0x02, '%', 'B', '4', '7', '6', '1', '7', '3', '9', '0', '0', '1', '?'};
    struct sim_model *m = arg;

    m->burst_timer = 0;
    m->count.bursts++;
    neo_send_unasked(m, CMD_BURST, NEO_ST_OK, track, sizeof track);
    neo_burst_update(m);
}

/* Burst frames come as long as the reader polls by itself; a test that wants them sets their period. */
void neo_burst_update(struct sim_model *m)
{
    bool wanted = m->powered && !m->booting && m->opt.burst > 0 && m->poll_mode == 0 && !m->pass && !m->burst_off;

    if (!wanted)
        cancel(&m->burst_timer);
    else if (m->burst_timer == 0)
        m->burst_timer = sim_timer_add(m->opt.burst, burst, m);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static struct sim_model *neo_create(struct sim_reader *r, const char *options)
{
    struct sim_model *m = calloc(1, sizeof *m);
    char why[128];

    if (m == NULL)
        return NULL;
    m->reader = r;
    neo_options_default(&m->opt);
    if (!neo_options_parse(&m->opt, options, why, sizeof why)) {
        fprintf(stderr, "neo: %s\n", why);
        free(m);
        return NULL;
    }
    for (size_t i = 0; i < NEO_CONTACTS; i++)
        m->contact[i].model = m;
    return m;
}

static void neo_destroy(struct sim_model *m)
{
    if (m == NULL)
        return;
    neo_power(m, false);
    neo_remove_all(m, true);
    for (size_t i = 0; i < NEO_CONTACTS; i++)
        neo_contact_removed(m, &m->contact[i]);
    free(m);
}

const struct sim_model_ops sim_neo = {
    .name = "neo",
    .create = neo_create,
    .destroy = neo_destroy,
    .usb = neo_usb_identity,
    .power = neo_power,
    .receive = neo_receive,
    .control = neo_control,
};
