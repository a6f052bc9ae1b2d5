/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The AET63 as a reader: opening it, whether a card is in it, raw commands.
 *
 * Presence. The reader tells of insertion and removal by itself, but only while it is idle, and nobody has seen it do so
 * on this model: so events are trusted once one was seen, and never alone. Each is confirmed by GET_ACR_STAT. A removal
 * counts even if the answer says that a card is there: it is another one. Until the first event, and after a card command
 * that was answered "no card" until an event agrees with the answer again, the reader is asked twice a second.
 */
#include "aet63/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "transport/usb.h"

enum { SILENT_MAX = 3, CLASS_CCID = 0x0B };

/* ---- presence -------------------------------------------------------------------------------------------------- */

void aet63_card_lost(struct aet63 *a, unsigned slot)
{
    if (slot >= a->reader.slot_count)
        return;
    aet63_icc_off(&a->icc[slot]);
    slot_lost(a->reader.device, slot);
    if (slot == 0)
        a->doubt = true;
}

void aet63_ask_soon(struct aet63 *a)
{
    a->ask_now = true;
    slot_wake(a->reader.device, 0); /* a command of the SAM's, or a client's, has no poller of the card's slot with it */
}

void aet63_event(struct aet63 *a, const struct aet63_response *m)
{
    struct log *log = a->reader.log;

    switch (m->sw2) {
    case AET63_EVENT_RESET:
        if (!a->opening) {
            log_line(log, PLOG_CRITICAL, "the reader restarted; its cards have lost their sessions");
            a->restarted = true;
        }
        return;
    case AET63_EVENT_INSERTED:
    case AET63_EVENT_REMOVED:
        log_line(log, PLOG_PERIODIC, "event: card %s", m->sw2 == AET63_EVENT_INSERTED ? "inserted" : "removed");
        if (!a->proven)
            log_line(log, PLOG_INFO, "the reader sends card events: asking it no more");
        a->proven = true;
        aet63_ask_soon(a);
        a->last_event = m->sw2;
        if (m->sw2 == AET63_EVENT_REMOVED) {
            aet63_icc_off(&a->icc[0]);
            slot_observe(a->reader.device, 0, false);
        }
        return;
    default:
        log_fault(log, "event FF %02X is not known; ignored", m->sw2);
        aet63_contradicted(a, 24, "an event with an unknown code");
    }
}

/* Whether the last event and the reader's answer tell the same. */
static void compare_event(struct aet63 *a, bool card)
{
    if (a->last_event == 0)
        return;
    a->doubt = (a->last_event == AET63_EVENT_INSERTED) != card;
    a->last_event = 0;
    if (a->doubt)
        aet63_contradicted(a, 25, "an event and GET_ACR_STAT disagree (a card that is swapped quickly does that, too)");
}

void aet63_apply_status(struct aet63 *a)
{
    uint8_t stat = a->status[AET63_C_STAT];
    struct aet63_icc *icc = &a->icc[0];

    a->next_ask = deadline_in(a->reader.settings->presence_retry);
    a->ask_now = false;
    a->silent = 0;
    compare_event(a, stat != AET63_STAT_NO_CARD);
    if (stat == AET63_STAT_NO_CARD) {
        aet63_icc_off(icc);
        slot_observe(a->reader.device, 0, false);
        return;
    }
    if (icc->powered && stat == AET63_STAT_UNPOWERED) {
        log_line(a->reader.log, PLOG_INFO, "the card lost its power: taken for another card");
        aet63_icc_off(icc);
        slot_lost(a->reader.device, 0);
    }
    if (stat != AET63_STAT_UNPOWERED && stat != AET63_STAT_POWERED)
        aet63_contradicted(a, 28, "C_STAT has an undefined value; taken for a card");
    slot_observe(a->reader.device, 0, true);
}

static enum result ask(struct aet63 *a, deadline_t until)
{
    enum result r = aet63_get_status(a, deadline_min(until, deadline_in(a->reader.settings->command_wait)));

    if (r == R_SUCCESS)
        aet63_apply_status(a);
    return r;
}

/* ICCPresence: asks as often as time allows. The SAM does not come and go. */
static enum result aet63_look(struct reader *reader, unsigned slot, deadline_t until)
{
    struct aet63 *a = aet63_of(reader);
    enum result r;

    if (slot != 0)
        return R_SUCCESS;
    do
        r = ask(a, until);
    while ((r == R_TIMEOUT || r == R_COMM) && !deadline_passed(until));
    if (r != R_SUCCESS)
        a->doubt = true;
    return r;
}

static enum result aet63_watch(struct reader *reader, unsigned slot, deadline_t until, unsigned *again_ms)
{
    struct aet63 *a = aet63_of(reader);
    deadline_t wait = deadline_min(until, deadline_in(reader->settings->command_wait));
    enum result r = slot == 0 ? aet63_take_input(a, wait) : R_SUCCESS;

    *again_ms = READER_WATCH_NEVER;
    if (slot != 0 || r != R_SUCCESS)
        return r;
    bool due = (!a->proven || a->doubt || !a->in_sync) && deadline_passed(a->next_ask);
    if (a->ask_now || a->restarted || due) {
        r = ask(a, until);
        if (r == R_GONE || r == R_CANCELLED)
            return r;
        if (r != R_SUCCESS) {
            a->next_ask = deadline_in(reader->settings->presence_retry);
            a->doubt = true;
            a->ask_now = false;
            if (++a->silent == SILENT_MAX)
                slot_observe(reader->device, 0, false);
        }
    }
    if (!a->proven || a->doubt || !a->in_sync)
        *again_ms = (unsigned)deadline_left_ms(a->next_ask);
    return R_SUCCESS;
}

/* ---- raw commands (escape) ------------------------------------------------------------------------------------- */

enum effect { EFFECT_NONE, EFFECT_CARD, EFFECT_SAM };

struct raw_command {
    uint8_t instruction;
    bool safe;
    bool finger;     /* waits for the fingerprint module; may carry header 02 */
    enum effect effect; /* whose session it takes away */
};

/* The whitelist. What is not here needs escape = all. */
static const struct raw_command raw_commands[] = {
    {AET63_GET_ACR_STAT, true, false, EFFECT_NONE},
    {AET63_SELECT_CARD_TYPE, false, false, EFFECT_CARD},
    {AET63_RESET, false, false, EFFECT_CARD},
    {AET63_POWER_OFF, false, false, EFFECT_CARD},
    {AET63_ACTIVATE_SAM, true, false, EFFECT_SAM},
    {AET63_DEACTIVATE_SAM, true, false, EFFECT_SAM},
    {AET63_EEPROM_READ_DATA, true, false, EFFECT_NONE},
    {AET63_EEPROM_WRITE_DATA, false, false, EFFECT_NONE},
    {AET63_TFM_COMMAND, true, true, EFFECT_NONE},
    {AET63_TFM_RESET, true, true, EFFECT_NONE},
    {AET63_TFM_UNNAMED, true, true, EFFECT_NONE},
    {AET63_TFM_OPEN_SECURE_SESSION, true, true, EFFECT_NONE},
    {AET63_EXCHANGE_APDU, false, false, EFFECT_CARD},
    {AET63_EXCHANGE_T1_FRAME, false, false, EFFECT_CARD},
    {AET63_EXCHANGE_SAM_APDU, true, false, EFFECT_SAM},
    {AET63_EXCHANGE_SAM_T1_FRAME, true, false, EFFECT_SAM},
};

static const struct raw_command *find_raw(uint8_t instruction)
{
    for (size_t i = 0; i < sizeof raw_commands / sizeof raw_commands[0]; i++)
        if (raw_commands[i].instruction == instruction)
            return &raw_commands[i];
    return NULL;
}

/* Takes "instruction data" or, for the fingerprint module, "02 instruction data" apart. False: too short. An instruction
 * 02 that is not followed by a fingerprint instruction is SELECT_CARD_TYPE. */
static bool split_raw(const uint8_t *p, size_t n, struct aet63_request *q)
{
    const struct raw_command *c;

    if (n < 1)
        return false;
    q->header = AET63_HEADER;
    if (n >= 2 && p[0] == AET63_HEADER_ENCRYPTED && (c = find_raw(p[1])) != NULL && c->finger) {
        q->header = AET63_HEADER_ENCRYPTED;
        p++;
        n--;
    }
    q->instruction = p[0];
    q->part1 = p + 1;
    q->n1 = n - 1;
    q->part2 = NULL;
    q->n2 = 0;
    return n - 1 <= AET63_DATA_MAX;
}

static enum reader_command_class aet63_classify(const struct reader *reader, const uint8_t *command, size_t n)
{
    struct aet63_request q;
    const struct raw_command *c;

    (void)reader;
    if (!split_raw(command, n, &q) || (c = find_raw(q.instruction)) == NULL)
        return COMMAND_UNKNOWN;
    return c->safe ? COMMAND_SAFE : COMMAND_DANGEROUS;
}

static unsigned aet63_command_cap(const struct reader *reader, const uint8_t *command, size_t n)
{
    struct aet63_request q;
    const struct raw_command *c = split_raw(command, n, &q) ? find_raw(q.instruction) : NULL;

    if (c && c->finger)
        return reader->settings->tfm_cap;
    if (c && (c->instruction == AET63_RESET || c->instruction == AET63_ACTIVATE_SAM))
        return reader->settings->power_cap;
    if (c && c->effect != EFFECT_NONE)
        return reader->settings->apdu_cap;
    return reader->settings->reader_cap;
}

static enum result aet63_command(struct reader *reader, unsigned slot, const uint8_t *command, size_t n, uint8_t *answer,
                                 size_t cap, size_t *len, deadline_t until)
{
    struct aet63 *a = aet63_of(reader);
    struct aet63_request q;
    struct aet63_response m;
    const struct raw_command *c;
    enum result r;

    (void)slot;
    *len = 0;
    if (!split_raw(command, n, &q))
        return R_INVALID;
    c = find_raw(q.instruction);
    r = aet63_exchange(a, &q, &m, until);
    aet63_ask_soon(a);
    if (c && c->effect == EFFECT_CARD && a->icc[0].powered)
        aet63_card_lost(a, 0);
    if (c && c->effect == EFFECT_SAM && a->icc[1].powered)
        aet63_card_lost(a, 1);
    if (r != R_SUCCESS)
        return r;
    if (cap < m.n + 2)
        return R_SPACE;
    answer[0] = m.sw1;
    answer[1] = m.sw2;
    if (m.n > 0)
        memcpy(answer + 2, m.data, m.n);
    *len = m.n + 2;
    return R_SUCCESS;
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

static void aet63_cancel(struct reader *reader)
{
    reader->transport->ops->cancel(reader->transport);
}

static void free_reader(struct aet63 *a)
{
    if (a->reader.transport)
        a->reader.transport->ops->close(a->reader.transport);
    explicit_bzero(a, sizeof *a);
    free(a);
}

static void aet63_close(struct reader *reader)
{
    struct aet63 *a = aet63_of(reader);
    deadline_t until = deadline_in(reader->settings->command_wait);

    for (unsigned i = 0; i < reader->slot_count; i++)
        if (a->icc[i].powered && a->in_sync)
            (void)aet63_power_down(reader, i, until);
    free_reader(a);
}

static const struct reader_ops ops = {
    .cancel = aet63_cancel,
    .close = aet63_close,
    .look = aet63_look,
    .watch = aet63_watch,
    .power_up = aet63_power_up,
    .power_down = aet63_power_down,
    .set_protocol = aet63_set_protocol,
    .transmit = aet63_transmit,
    .max_apdu_data = aet63_max_apdu_data,
    .classify = aet63_classify,
    .command_cap = aet63_command_cap,
    .command = aet63_command,
};

static enum result open_transport(struct aet63 *a, const struct reader_target *target)
{
    static const enum usb_form forms[] = {USB_FORM_AUTO, USB_FORM_A, USB_FORM_B, USB_FORM_C};
    struct usb_open_options o = {.refuse_class = CLASS_CCID,
                                 .notify = device_input,
                                 .notify_arg = a->reader.device,
                                 .log = a->reader.log,
                                 .form = forms[a->reader.settings->transport]};

    if (!usb_parse_address(target->name, &o.address))
        return R_INVALID;
    return usb_open(&a->reader.transport, &o);
}

/* INTERNAL is readable text in this family of readers, but nobody promised: print what is printable. */
static void take_identity(struct aet63 *a)
{
    struct reader *r = &a->reader;
    size_t n = 0;
    unsigned high, low;
    const char *dash;

    for (; n < 10 && a->status[n] >= 0x20 && a->status[n] < 0x7F; n++)
        r->identity.firmware[n] = (char)a->status[n];
    r->identity.firmware[n] = 0;
    if (n < 10 && a->status[n] != 0)
        aet63_contradicted(a, 17, "INTERNAL is not text");
    snprintf(r->identity.serial, sizeof r->identity.serial, "%s", r->transport->facts.serial);
    dash = strrchr(r->identity.firmware, '-');
    if (dash && sscanf(dash + 1, "%2u.%2u", &high, &low) == 2)
        r->identity.version = (uint32_t)(high << 24 | low << 16);
    else
        r->identity.version = (uint32_t)(r->transport->facts.release >> 8) << 24 |
                     (uint32_t)(r->transport->facts.release & 0xFF) << 16;
    log_line(r->log, PLOG_INFO, "firmware \"%s\", MAX_C %u, MAX_R %u, card types %02X%02X", r->identity.firmware, a->status[10],
             a->status[11], a->status[12], a->status[13]);
}

static enum result greet(struct aet63 *a, deadline_t until)
{
    static const uint8_t on = 1;
    struct aet63_response m;
    enum result r;

    a->opening = true;
    r = ask(a, until);
    if (r == R_TIMEOUT || r == R_COMM)
        r = ask(a, until); /* one lost answer is no reason to leave a reader out */
    a->opening = false;
    if (r != R_SUCCESS) {
        log_line(a->reader.log, PLOG_CRITICAL,
                 "no answer to GET_ACR_STAT (%s): replug the reader; if it stays so try another transport in "
                 "ifd-purse.conf (transport = A, B or C)",
                 result_name(r));
        return r;
    }
    take_identity(a);
    atomic_store_explicit(&a->reader.identified, true, memory_order_release);
    r = aet63_simple(a, AET63_SET_NOTIFICATION, &on, &m, until);
    if (r == R_SUCCESS && m.sw1 != AET63_SW1_DONE) {
        log_line(a->reader.log, PLOG_INFO, "card events cannot be switched on (%02X %02X): asking instead", m.sw1, m.sw2);
        aet63_contradicted(a, 23, "SET_NOTIFICATION was refused");
    }
    if (r == R_GONE || r == R_CANCELLED)
        return r;
    a->ask_now = true;
    return R_SUCCESS;
}

static void choose_slots(struct aet63 *a)
{
    const struct settings *s = a->reader.settings;
    struct reader *r = &a->reader;

    r->slots[0] = SLOT_CARD;
    r->slot_count = 1;
    for (unsigned i = 0; i < s->slot_count; i++) {
        if (s->slots[i] == SLOT_CARD)
            continue;
        if (s->slots[i] == SLOT_SAM1 && r->slot_count < AET63_SLOTS)
            r->slots[r->slot_count++] = SLOT_SAM1;
        else
            log_line(r->log, PLOG_CRITICAL, "slots: an AET63 has \"card\" and \"card.sam\"; the rest is left out");
    }
}

static enum result aet63_open(struct reader **out, struct device *device, const struct reader_target *target,
                              const struct settings *settings, struct log *log, deadline_t until)
{
    struct aet63 *a = calloc(1, sizeof *a);
    enum result r;

    if (!a)
        return R_NO_MEMORY;
    a->reader.ops = &ops;
    a->reader.family = &aet63_family;
    a->reader.device = device;
    a->reader.settings = settings;
    a->reader.log = log;
    choose_slots(a);
    aet63_icc_init(a);
    r = open_transport(a, target);
    if (r == R_SUCCESS)
        r = greet(a, until);
    if (r == R_SUCCESS && a->reader.slot_count > 1) {
        enum result sam = aet63_look_for_sam(a, until);
        slot_observe(device, 1, sam == R_SUCCESS);
        log_line(log, PLOG_INFO, "SAM: %s", sam == R_SUCCESS ? "in place" : result_name(sam));
        r = sam == R_GONE || sam == R_CANCELLED ? sam : R_SUCCESS;
    }
    if (r != R_SUCCESS) {
        free_reader(a);
        return r;
    }
    *out = &a->reader;
    return R_SUCCESS;
}

static const uint8_t vendor_ids[] = {0x07, 0x2F};

const struct reader_family aet63_family = {
    .id = 'a',
    .name = "AET63",
    .vendor = "ACS",
    .type = "ACS AET63 BioTRUSTKey",
    .vendor_ids = vendor_ids,
    .vendor_id_count = 1,
    .open = aet63_open,
};
