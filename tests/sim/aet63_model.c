/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A simulated ACS AET63 BioTRUSTKey: the reader as its manual and its siblings' manuals describe it, written without
 * looking at the driver. Bytes from the host come in by receive(), packets go out by sim_send().
 *
 * The way of a command: receive() feeds the frame receiver; a sound message becomes the command in flight (m->cmd);
 * after the processing time its instruction is executed; whatever happens then ends in exactly one aet63m_answer(),
 * which builds the frame, lets an armed fault damage it, and sends it. A second command before that is a fault of the
 * host's and counted as one. Events go out between commands only, unless an option asks for the race.
 *
 * Options and control verbs: aet63_control.c. Faults: aet63_fault.c. Cards: aet63_slot.c.
 */
#include "aet63_model.h"
#include "sim_message.h"

#include <stdlib.h>
#include <string.h>

static void start_command(struct sim_model *m, const uint8_t *raw, size_t n);

uint32_t aet63m_random(struct sim_model *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 17;
    m->random ^= m->random << 5;
    return m->random;
}

/* ---- towards the host ------------------------------------------------------------------------------------- */

/* Junk after the end of a frame; framing bytes among it, for a host must not look at them. */
static uint8_t pad_byte(struct sim_model *m)
{
    uint32_t r;

    if (!m->opt.pad_random)
        return 0x00;
    r = aet63m_random(m);
    switch (r & 3) {
    case 0:
        return 0x02;
    case 1:
        return 0x03;
    default:
        return (uint8_t)(r >> 8);
    }
}

static void send_interrupt(struct sim_model *m, const uint8_t *p, size_t n, bool zero_pad)
{
    uint8_t packet[8];

    for (size_t at = 0; at < n; at += sizeof packet) {
        size_t k = n - at < sizeof packet ? n - at : sizeof packet;
        memcpy(packet, p + at, k);
        for (; k < sizeof packet; k++)
            packet[k] = zero_pad ? 0x00 : pad_byte(m);
        sim_send(m->r, SIM_PIPE_INT_IN, packet, sizeof packet);
    }
}

struct sending {
    struct sim_model *m;
    bool interrupt, raw_nak;
};

static void send_packets(void *arg, const uint8_t *frame, size_t n)
{
    const struct sending *s = arg;

    if (s->interrupt) {
        send_interrupt(s->m, frame, n, s->raw_nak); /* nothing marks the end of a raw NAK, so no junk after it */
        return;
    }
    for (size_t at = 0; at < n; at += 64)
        sim_send(s->m->r, SIM_PIPE_BULK_IN, frame + at, n - at < 64 ? n - at : 64);
}

/* The transport by which the reader hears and answers. */
static char spoken(const struct sim_model *m)
{
    return m->opt.speaks != 0 ? m->opt.speaks : m->opt.transport;
}

void aet63m_send(struct sim_model *m, bool event, const uint8_t *frame, size_t n)
{
    struct sending s = {m, spoken(m) != 'b' || (event && m->opt.int_in), n == 2};

    sim_message_in(m->r, frame, n, send_packets, &s);
}

void aet63m_send_event(struct sim_model *m, unsigned code)
{
    static const uint8_t baud = 0x12;
    bool swap = m->opt.codes_swapped && code != EVENT_RESET;
    struct aet63s_msg msg = {.header = 0x01,
                             .code = {0xFF, (uint8_t)(swap ? 3 - code : code)},
                             .data = &baud,
                             .n = code == 0 ? 1 : 0};
    uint8_t raw[8], frame[18];
    size_t n = aet63s_build(raw, AET63S_RESPONSE, &msg, AET63S_LENGTH_NORMAL);

    m->counts.events++;
    aet63m_send(m, true, frame, aet63s_frame(frame, raw, n, m->opt.lower_case));
}

void aet63m_event(struct sim_model *m, enum aet63m_event e)
{
    if (!m->on || !m->notify || m->opt.events == EVENTS_NEVER)
        return;
    if (!m->cmd.active || m->opt.events == EVENTS_RACE)
        aet63m_send_event(m, e);
    else if (m->opt.events == EVENTS_AFTER)
        m->due_event |= 1U << e;
}

static void send_nak(struct sim_model *m)
{
    static const uint8_t raw[] = {0x05, 0x05};
    uint8_t frame[6];

    m->counts.naks++;
    if (m->opt.nak_none)
        return;
    if (m->opt.nak_raw)
        aet63m_send(m, false, raw, sizeof raw);
    else
        aet63m_send(m, false, frame, aet63s_frame(frame, raw, sizeof raw, m->opt.lower_case));
}

/* ---- the answer ------------------------------------------------------------------------------------------- */

bool aet63m_uses(const struct sim_model *m, const struct aet63m_slot *s)
{
    if (!m->cmd.active)
        return false;
    switch (m->cmd.ins) {
    case INS_RESET:
    case INS_EXCHANGE_APDU:
    case INS_EXCHANGE_T1:
        return s == &m->slot;
    case INS_ACTIVATE_SAM:
    case INS_EXCHANGE_SAM_APDU:
    case INS_EXCHANGE_SAM_T1:
        return s == &m->sam;
    default:
        return false;
    }
}

void aet63m_command_timer(struct sim_model *m, unsigned ms, sim_timer_fn fn)
{
    if (m->cmd.timer != 0)
        sim_timer_cancel(m->cmd.timer);
    m->cmd.timer = fn == NULL ? 0 : sim_timer_add(ms, fn, m);
}

/* An answer held back goes out before the answer it was to precede. */
static void send_late(struct sim_model *m)
{
    if (m->late == NULL || --m->late_in > 0)
        return;
    aet63m_send(m, false, m->late, m->late_n);
    free(m->late);
    m->late = NULL;
}

static void hold_back(struct sim_model *m, const struct aet63m_fault *f)
{
    m->late = malloc(m->wire_n);
    if (m->late == NULL)
        return;
    memcpy(m->late, m->wire, m->wire_n);
    m->late_n = m->wire_n;
    m->late_in = f->has_value && f->value > 0 ? f->value : 1;
}

static void send_wire(struct sim_model *m, const struct aet63m_fault *f)
{
    switch (f->kind) {
    case FAULT_DROP:
        return;
    case FAULT_LATE:
        hold_back(m, f);
        return;
    case FAULT_EVENT:
        if (!f->after)
            aet63m_send_event(m, f->event);
        aet63m_send(m, false, m->wire, m->wire_n);
        if (f->after)
            aet63m_send_event(m, f->event);
        return;
    case FAULT_TWICE:
        aet63m_send(m, false, m->wire, m->wire_n);
        break;
    case FAULT_STALL:
        sim_stall(m->r, m->opt.transport == 'b' ? SIM_PIPE_BULK_IN : SIM_PIPE_INT_IN);
        break;
    default:
        break;
    }
    aet63m_send(m, false, m->wire, m->wire_n);
}

/* The answer leaves and the reader is idle again. */
static void deliver(struct sim_model *m)
{
    struct aet63m_fault f = m->cmd.fault;
    unsigned due = m->due_event;

    m->cmd.active = false;
    m->counts.answers++;
    send_late(m);
    send_wire(m, &f);
    m->due_event = 0;
    if ((due & 1U << EVENT_REMOVED) != 0)
        aet63m_event(m, EVENT_REMOVED);
    if ((due & 1U << EVENT_INSERTED) != 0)
        aet63m_event(m, EVENT_INSERTED);
    if (m->queued != NULL) {
        uint8_t *raw = m->queued;
        m->queued = NULL;
        start_command(m, raw, m->queued_n);
        free(raw);
    }
}

static void delayed(void *arg)
{
    struct sim_model *m = arg;

    m->cmd.timer = 0;
    deliver(m);
}

/* Removal just after the card was done with the command. True if the command was the card's, so that it is lost. */
static bool removed_after(struct sim_model *m)
{
    bool lost = aet63m_uses(m, &m->slot), back = m->cmd.fault.back;

    m->cmd.fault.kind = FAULT_NONE;
    if (lost) {
        aet63m_slot_unpower(&m->slot);
        m->slot.present = m->slot.present && back;
    } else {
        aet63m_slot_pull(&m->slot, back);
    }
    return lost;
}

void aet63m_answer(struct sim_model *m, unsigned sw, const uint8_t *data, size_t n)
{
    struct aet63m_fault *f = &m->cmd.fault;
    struct aet63s_msg msg = {.header = m->cmd.header, .code = {(uint8_t)(sw >> 8), (uint8_t)sw}, .data = data, .n = n};

    if (!m->cmd.active)
        return;
    aet63m_command_timer(m, 0, NULL);
    if (f->kind == FAULT_REMOVE && removed_after(m)) {
        msg.code[0] = 0x60;
        msg.code[1] = 0x04;
        msg.n = 0;
    }
    if (f->kind == FAULT_DATA) {
        msg.data = f->bytes;
        msg.n = f->bytes_n;
    }
    if (f->kind == FAULT_STATUS) {
        msg.code[0] = (uint8_t)(f->value >> 8);
        msg.code[1] = (uint8_t)f->value;
        msg.n = 0;
    }
    size_t raw_n = aet63s_build(m->raw_out, AET63S_RESPONSE, &msg,
                                m->opt.extended ? AET63S_LENGTH_EXTENDED : AET63S_LENGTH_NORMAL);
    m->answer_n = aet63s_frame(m->answer, m->raw_out, raw_n, m->opt.lower_case);
    aet63m_fault_frame(m, f, &msg);
    if (f->kind != FAULT_DELAY) {
        deliver(m);
        return;
    }
    f->kind = FAULT_NONE; /* a removal meanwhile changes the answer, and that one goes out at once */
    aet63m_command_timer(m, f->value, delayed);
}

/* ---- instructions ----------------------------------------------------------------------------------------- */

static void done(struct sim_model *m)
{
    aet63m_answer(m, 0x9000, NULL, 0);
}

static void refuse(struct sim_model *m, unsigned sw)
{
    aet63m_answer(m, sw, NULL, 0);
}

static void do_get_acr_stat(struct sim_model *m)
{
    uint8_t stat[AET63M_STAT_SIZE] = {0};

    memcpy(stat, m->opt.internal, 10);
    stat[10] = (uint8_t)m->opt.max_c;
    stat[11] = (uint8_t)m->opt.max_r;
    stat[12] = 0x30; /* types 0C and 0D */
    stat[13] = 0x00;
    stat[14] = m->c_sel;
    stat[15] = !m->slot.present ? 0x00 : m->slot.powered ? 0x03 : 0x01;
    aet63m_answer(m, 0x9000, stat, sizeof stat);
}

static void do_select_card_type(struct sim_model *m)
{
    uint8_t type = m->cmd.data[0];

    if (type != 0x00 && type != 0x0C && type != 0x0D) {
        refuse(m, 0x6003);
        return;
    }
    m->c_sel = type;
    done(m);
}

static void do_set_notification(struct sim_model *m)
{
    uint8_t how = m->cmd.data[0];

    if (how != 0x01 && how != 0x02) {
        refuse(m, 0x6703);
        return;
    }
    m->notify = how == 0x01;
    done(m);
}

static void do_set_option(struct sim_model *m)
{
    m->option = m->cmd.data[0];
    done(m);
}

static void do_reset(struct sim_model *m)
{
    aet63m_slot_reset(&m->slot, false);
}

static void do_power_off(struct sim_model *m)
{
    aet63m_slot_unpower(&m->slot);
    done(m);
}

/* A reader without a SAM slot does not know these instructions. */
static bool no_sam(struct sim_model *m)
{
    if (m->sam.card != NULL)
        return false;
    refuse(m, 0x6005);
    return true;
}

static void do_activate_sam(struct sim_model *m)
{
    if (no_sam(m))
        return;
    if (m->cmd.data[0] != 0x00)
        refuse(m, 0x6002);
    else
        aet63m_slot_reset(&m->sam, true);
}

static void do_deactivate_sam(struct sim_model *m)
{
    if (no_sam(m))
        return;
    aet63m_slot_unpower(&m->sam);
    done(m);
}

static void do_eeprom_read(struct sim_model *m)
{
    size_t at = (size_t)m->cmd.data[0] << 8 | m->cmd.data[1], n = m->cmd.data[2];

    if (n == 0 || n > m->opt.max_r)
        refuse(m, 0x6703);
    else if (at + n > AET63M_EEPROM_SIZE)
        refuse(m, 0x6702);
    else
        aet63m_answer(m, 0x9000, m->eeprom + at, n);
}

/* The chip counts up within the page only: a write across the end of its page goes on at the page's begin. */
static void do_eeprom_write(struct sim_model *m)
{
    size_t at, page;

    if (m->cmd.n < 3) {
        refuse(m, 0x6703);
        return;
    }
    at = (size_t)m->cmd.data[0] << 8 | m->cmd.data[1];
    page = at / AET63M_EEPROM_PAGE * AET63M_EEPROM_PAGE;
    for (size_t i = 2; i < m->cmd.n; i++, at++)
        m->eeprom[page + at % AET63M_EEPROM_PAGE] = m->cmd.data[i];
    done(m);
}

static void do_tfm_command(struct sim_model *m)
{
    for (unsigned i = 0; i < m->n_tfm; i++) {
        const struct aet63m_tfm_script *t = &m->tfm[i];
        if (t->any || (t->request_n == m->cmd.n && memcmp(t->request, m->cmd.data, m->cmd.n) == 0)) {
            aet63m_answer(m, 0x9000, t->reply, t->reply_n);
            return;
        }
    }
    refuse(m, 0x6005);
}

static void do_tfm_reset(struct sim_model *m)
{
    aet63m_answer(m, 0x9000, m->tfm_atr, m->tfm_atr_n);
}

static void do_exchange_apdu(struct sim_model *m)
{
    aet63m_slot_apdu(&m->slot, m->cmd.data, m->cmd.n);
}

static void do_exchange_t1(struct sim_model *m)
{
    aet63m_slot_block(&m->slot, m->cmd.data, m->cmd.n);
}

static void do_exchange_sam_apdu(struct sim_model *m)
{
    if (!no_sam(m))
        aet63m_slot_apdu(&m->sam, m->cmd.data, m->cmd.n);
}

static void do_exchange_sam_t1(struct sim_model *m)
{
    if (!no_sam(m))
        aet63m_slot_block(&m->sam, m->cmd.data, m->cmd.n);
}

enum { ANY_LENGTH = -1 };

static const struct instruction {
    uint8_t ins;
    int length; /* of the data, else 67 03 */
    void (*run)(struct sim_model *m);
} instructions[] = {
    {INS_GET_ACR_STAT, 0, do_get_acr_stat},
    {INS_SELECT_CARD_TYPE, 1, do_select_card_type},
    {INS_SET_NOTIFICATION, 1, do_set_notification},
    {INS_SET_OPTION, 1, do_set_option},
    {INS_RESET, 0, do_reset},
    {INS_POWER_OFF, 0, do_power_off},
    {INS_ACTIVATE_SAM, 1, do_activate_sam},
    {INS_DEACTIVATE_SAM, 0, do_deactivate_sam},
    {INS_EEPROM_READ, 3, do_eeprom_read},
    {INS_EEPROM_WRITE, ANY_LENGTH, do_eeprom_write},
    {INS_TFM_COMMAND, ANY_LENGTH, do_tfm_command},
    {INS_TFM_RESET, 0, do_tfm_reset},
    {INS_TFM_OPEN_SESSION, 24, done},
    {INS_EXCHANGE_APDU, ANY_LENGTH, do_exchange_apdu},
    {INS_EXCHANGE_T1, ANY_LENGTH, do_exchange_t1},
    {INS_EXCHANGE_SAM_APDU, ANY_LENGTH, do_exchange_sam_apdu},
    {INS_EXCHANGE_SAM_T1, ANY_LENGTH, do_exchange_sam_t1},
};

/* ---- the command in flight -------------------------------------------------------------------------------- */

static void dispatch(struct sim_model *m)
{
    for (size_t i = 0; i < sizeof instructions / sizeof instructions[0]; i++) {
        const struct instruction *in = &instructions[i];
        if (in->ins != m->cmd.ins)
            continue;
        if (in->length != ANY_LENGTH && m->cmd.n != (size_t)in->length)
            refuse(m, 0x6703);
        else
            in->run(m);
        return;
    }
    refuse(m, 0x6005); /* also 9E, of which only the number is known */
}

/* Executes the command, unless a fault says otherwise. */
static void execute(struct sim_model *m)
{
    struct aet63m_fault *f = &m->cmd.fault;

    if (f->kind == FAULT_STATUS && !f->exec) {
        aet63m_answer(m, f->value, NULL, 0);
        return;
    }
    if (f->kind == FAULT_REMOVE && !f->exec) {
        bool during = aet63m_uses(m, &m->slot) && m->slot.present;
        f->kind = FAULT_NONE;
        aet63m_slot_pull(&m->slot, f->back);
        if (during)
            return;
    }
    dispatch(m);
}

static void processed(void *arg)
{
    struct sim_model *m = arg;

    m->cmd.timer = 0;
    execute(m);
}

static void start_command(struct sim_model *m, const uint8_t *raw, size_t n)
{
    struct aet63s_msg msg;

    memcpy(m->cmd.raw, raw, n);
    m->cmd.raw_n = n;
    if (!aet63s_parse(m->cmd.raw, n, AET63S_COMMAND, &msg))
        return;
    m->cmd.header = msg.header;
    m->cmd.ins = msg.code[0];
    m->cmd.data = msg.data;
    m->cmd.n = msg.n;
    m->counts.commands[m->cmd.ins]++;
    if (m->cmd.fault.kind == FAULT_NAK) {
        send_nak(m);
        return;
    }
    m->cmd.active = true;
    bool tfm = m->cmd.ins >= INS_TFM_COMMAND && m->cmd.ins <= INS_TFM_OPEN_SESSION;
    unsigned ms = m->opt.busy_ms + (tfm ? m->opt.tfm_ms : 0);
    if (ms != 0)
        aet63m_command_timer(m, ms, processed);
    else
        execute(m);
}

/* A command while another is in flight: the host may not do that. Returns false to stall the transfer. */
static bool too_early(struct sim_model *m, const uint8_t *raw, size_t n)
{
    m->counts.host_errors++;
    sim_log(m->r, "host error: command %02X while %02X is in flight", raw[1], m->cmd.ins);
    if (m->opt.overlap == OVERLAP_QUEUE && m->queued == NULL) {
        m->queued = malloc(n);
        if (m->queued != NULL) {
            memcpy(m->queued, raw, n);
            m->queued_n = n;
        }
    }
    return m->opt.overlap != OVERLAP_STALL;
}

/* The option careless: a card type is selected by a frame whose checksum is wrong. */
static void run_silently(struct sim_model *m)
{
    if (m->rx.n == 5 && m->rx.raw[1] == INS_SELECT_CARD_TYPE && m->rx.raw[2] == 1)
        m->c_sel = m->rx.raw[3];
}

/* A frame came in whole. Returns false to stall the transfer. */
static bool take_message(struct sim_model *m)
{
    struct aet63s_msg msg;

    if (!aet63s_parse(m->rx.raw, m->rx.n, AET63S_COMMAND, &msg)) {
        m->counts.bad_frames++;
        if (m->cmd.active)
            m->counts.host_errors++;
        else
            send_nak(m);
        if (m->opt.careless && !m->cmd.active)
            run_silently(m);
        return true;
    }
    m->counts.frames++;
    memcpy(m->last_raw, m->rx.raw, m->rx.n);
    m->last_raw_n = m->rx.n;
    if (m->cmd.active)
        return too_early(m, m->rx.raw, m->rx.n);
    m->cmd.fault = aet63m_fault_take(m, msg.code[0]);
    if (m->cmd.fault.kind == FAULT_STALL && m->cmd.fault.out)
        return false;
    start_command(m, m->rx.raw, m->rx.n);
    return true;
}

static bool take_event(struct sim_model *m, enum aet63s_event e)
{
    switch (e) {
    case AET63S_MESSAGE:
        return take_message(m);
    case AET63S_BAD:
        m->counts.bad_frames++;
        if (m->cmd.active)
            m->counts.host_errors++;
        else
            send_nak(m);
        return true;
    case AET63S_NAK:
        m->counts.host_naks++;
        if (m->cmd.active)
            m->counts.host_errors++;
        else if (m->answer_n > 0 && !m->opt.no_repeat)
            aet63m_send(m, false, m->answer, m->answer_n);
        return true;
    case AET63S_NOTHING:
    default:
        return true;
    }
}

/* ---- from the host ---------------------------------------------------------------------------------------- */

static void frame_too_slow(void *arg)
{
    struct sim_model *m = arg;

    m->rx_timer = 0;
    m->counts.bad_frames++;
    aet63s_rx_reset(&m->rx);
}

/* One transfer. What follows the end of a frame within it is dropped. */
static bool feed(struct sim_model *m, const uint8_t *data, size_t n)
{
    bool good = true;

    if (m->rx_timer != 0)
        sim_timer_cancel(m->rx_timer);
    m->rx_timer = 0;
    for (size_t i = 0; i < n; i++) {
        enum aet63s_event e = aet63s_rx_byte(&m->rx, data[i]);
        m->rx_bytes++;
        if (e == AET63S_NOTHING)
            continue;
        sim_message_end(m->r, m->rx_bytes);
        m->rx_bytes = 0;
        good = take_event(m, e);
        break;
    }
    if (aet63s_rx_inside(&m->rx))
        m->rx_timer = sim_timer_add(m->opt.etx_ms, frame_too_slow, m);
    return good;
}

struct feeding {
    struct sim_model *m;
    bool good;
};

static void feed_message(void *arg, const uint8_t *data, size_t n)
{
    struct feeding *f = arg;

    f->good = feed(f->m, data, n) && f->good;
}

static bool receive(struct sim_model *m, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data, size_t n)
{
    static const uint8_t vendor_out[6] = {0x40, 0x00, 0x00, 0x00, 0x00, 0x00};
    enum sim_pipe mine = spoken(m) == 'a'   ? SIM_PIPE_CONTROL
                         : spoken(m) == 'b' ? SIM_PIPE_BULK_OUT
                                                   : SIM_PIPE_INT_OUT;

    if (!m->on)
        return false;
    if (pipe != mine || (pipe == SIM_PIPE_CONTROL && (setup == NULL || memcmp(setup, vendor_out, 6) != 0))) {
        m->counts.host_errors++;
        sim_log(m->r, "host error: transfer on a pipe or request that this reader does not have");
        return false;
    }
    struct feeding f = {m, true};
    sim_message_out(m->r, data, n, pipe == SIM_PIPE_CONTROL, feed_message, &f);
    if (f.good)
        return true;
    if (pipe != SIM_PIPE_CONTROL)
        sim_stall(m->r, pipe);
    return false;
}

/* ---- power and life --------------------------------------------------------------------------------------- */

/* Whatever was under way is gone. */
static void forget(struct sim_model *m)
{
    aet63m_command_timer(m, 0, NULL);
    m->cmd.active = false;
    if (m->rx_timer != 0)
        sim_timer_cancel(m->rx_timer);
    m->rx_timer = 0;
    aet63s_rx_reset(&m->rx);
    aet63m_slot_unpower(&m->slot);
    aet63m_slot_unpower(&m->sam);
    free(m->late);
    m->late = NULL;
    free(m->queued);
    m->queued = NULL;
    m->due_event = 0;
    m->answer_n = 0;
}

static void power(struct sim_model *m, bool on)
{
    forget(m);
    if (on)
        aet63m_fault_reset(m);
    m->on = on;
    if (!on || m->opt.restart == RESTART_NONE)
        return;
    if (m->opt.restart == RESTART_FULL) {
        m->notify = true;
        m->option = 0x00;
        m->c_sel = 0x00;
    }
    aet63m_send_event(m, EVENT_RESET);
}

static void destroy(struct sim_model *m)
{
    forget(m);
    m->on = false;
    aet63m_slot_free(&m->slot);
    aet63m_slot_free(&m->sam);
    free(m->tfm);
    free(m);
}

/* "key=value,key=value" at creation. */
static bool set_options(struct sim_model *m, const char *options)
{
    char text[512], *rest = text, *one;

    if (strlen(options) >= sizeof text)
        return false;
    strcpy(text, options);
    while ((one = strsep(&rest, ",")) != NULL) {
        char *value = strchr(one, '=');
        if (*one == '\0')
            continue;
        if (value == NULL) {
            fprintf(stderr, "aet63: option \"%s\" has no value\n", one);
            return false;
        }
        *value++ = '\0';
        if (!aet63m_set_option(m, one, value)) {
            fprintf(stderr, "aet63: bad option %s=%s\n", one, value);
            return false;
        }
    }
    return true;
}

static struct sim_model *create(struct sim_reader *r, const char *options)
{
    struct sim_model *m = calloc(1, sizeof *m);

    if (m == NULL)
        return NULL;
    m->r = r;
    m->opt = (struct aet63m_options){
        .transport = 'a',
        .mute_sw = 0x6020,
        .wwt_ms = 1000,
        .etx_ms = 1000,
        .max_c = 0xFF,
        .max_r = 0xFF,
        .internal = "AET63-0.67",
    };
    m->notify = true;
    m->random = 0x2545F491;
    memset(m->eeprom, 0xFF, sizeof m->eeprom);
    memcpy(m->tfm_atr, "\x54\x46\x4D", 3);
    m->tfm_atr_n = 3;
    m->tfm = calloc(AET63M_TFM_SCRIPTS, sizeof *m->tfm);
    if (m->tfm == NULL || !aet63m_slot_init(m, &m->slot) || !aet63m_slot_init(m, &m->sam) || !set_options(m, options)) {
        destroy(m);
        return NULL;
    }
    return m;
}

/* ---- descriptors ------------------------------------------------------------------------------------------ */

static size_t put_endpoint(uint8_t *p, uint8_t address, uint8_t type, uint8_t size, uint8_t interval)
{
    const uint8_t d[] = {7, 5, address, type, size, 0, interval};
    memcpy(p, d, sizeof d);
    return sizeof d;
}

static size_t put_endpoints(const struct sim_model *m, uint8_t *p, uint8_t *count)
{
    enum { BULK = 2, INTERRUPT = 3 };
    size_t n = 0;

    *count = 0;
    if (m->opt.no_endpoints)
        return 0;
    if (m->opt.transport != 'b') {
        n += put_endpoint(p + n, 0x81, INTERRUPT, 8, 10);
        *count = 1;
        if (m->opt.transport == 'c') {
            n += put_endpoint(p + n, 0x02, INTERRUPT, 8, 10);
            *count = 2;
        }
        return n;
    }
    n += put_endpoint(p + n, 0x02, BULK, 64, 0);
    n += put_endpoint(p + n, 0x82, BULK, 64, 0);
    *count = 2;
    if (m->opt.int_in) {
        n += put_endpoint(p + n, 0x81, INTERRUPT, 8, 10);
        *count = 3;
    }
    return n;
}

/* USB 1.1, class by interface (FF), one configuration of one interface, bus powered, 100 mA. */
static const struct sim_usb_identity *usb(struct sim_model *m)
{
    uint8_t ep[32], count, *d = m->descriptors;
    size_t ep_n = put_endpoints(m, ep, &count), total = 9 + 9 + ep_n;
    uint8_t serial = m->opt.serial[0] != '\0' ? 3 : 0;
    const uint8_t device[18] = {18, 1, 0x10, 0x01, 0, 0, 0, 8, 0x2F, 0x07, 0x02, 0x80, 0x67, 0x00, 1, 2, serial, 1};
    const uint8_t config[9] = {9, 2, (uint8_t)total, 0, 1, 1, 0, 0x80, 50};
    const uint8_t interface[9] = {9, 4, 0, 0, count, 0xFF, 0, 0, 0};

    memcpy(d, device, 18);
    memcpy(d + 18, config, 9);
    memcpy(d + 27, interface, 9);
    memcpy(d + 36, ep, ep_n);
    m->usb = (struct sim_usb_identity){
        .vid = 0x072F,
        .pid = 0x8002,
        .descriptors = d,
        .descriptors_len = 18 + total,
        .manufacturer = "ACS",
        .product = "BioTRUSTKey",
        .serial = serial != 0 ? m->opt.serial : NULL,
        .kernel_driver = m->opt.kdriver[0] != '\0' ? m->opt.kdriver : NULL,
        .speed = m->opt.transport == 'b' ? "12" : "1.5",
    };
    return &m->usb;
}

const struct sim_model_ops sim_aet63 = {
    .name = "aet63",
    .create = create,
    .destroy = destroy,
    .usb = usb,
    .power = power,
    .receive = receive,
    .control = aet63m_control,
};
