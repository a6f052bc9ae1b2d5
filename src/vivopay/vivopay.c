/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay reader as a reader: opening it, its operations, raw commands; internal.h says where the rest is.
 */
#include "vivopay/internal.h"
#include "vivopay/storage.h"

#include <stdlib.h>
#include <string.h>

/* ---- slots ----------------------------------------------------------------------------------------------------- */

void vivo_sessions_lost(struct vivo *v)
{
    v->field.active = false;
    for (unsigned i = 0; i < v->reader.slot_count; i++) {
        struct vivo_slot *s = &v->slot[i];
        bool had = s->powered;

        s->powered = s->session = s->fresh = false;
        s->asked = 0;
        if (had)
            slot_lost(v->reader.device, i);
    }
}

void vivo_slots_empty(struct vivo *v)
{
    vivo_sessions_lost(v);
    for (unsigned i = 0; i < v->reader.slot_count; i++) {
        if (v->slot[i].kind == SLOT_CL) {
            vivo_field_gone(v, i);
        } else {
            v->slot[i].present = false;
            slot_observe(v->reader.device, i, false);
        }
    }
}

bool vivo_others_in_session(const struct vivo *v, unsigned slot)
{
    for (unsigned i = 0; i < v->reader.slot_count; i++)
        if (i != slot && v->slot[i].session)
            return true;
    return false;
}

/* ---- presence --------------------------------------------------------------------------------------------------- */

/* The poller keeps what is known; this sends nothing, but for a contact card that was not asked for yet. */
static enum result vivo_look(struct reader *reader, unsigned slot, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    unsigned again;

    vivo_check_suspend(v);
    if (v->line && v->slot[slot].kind == SLOT_ICC && v->slot[slot].asked == 0 && !deadline_passed(until))
        return vivo_contact_watch(v, slot, until, &again);
    return R_SUCCESS;
}

static enum result vivo_watch(struct reader *reader, unsigned slot, deadline_t until, unsigned *again_ms)
{
    struct vivo *v = vivo_of(reader);
    enum result r;

    *again_ms = READER_WATCH_NEVER;
    vivo_check_suspend(v);
    r = vivo_take_input(v, until);
    if (r != R_SUCCESS)
        return r;
    if (!v->line) {
        r = vivo_bring_up(v, until);
        if (r != R_SUCCESS) {
            *again_ms = (unsigned)deadline_left_ms(v->next_try) + 1;
            return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
        }
    }
    if (v->slot[slot].kind == SLOT_CL)
        return vivo_field_watch(v, slot, until, again_ms);
    return vivo_contact_watch(v, slot, until, again_ms);
}

/* ---- power and protocol ------------------------------------------------------------------------------------------ */

static enum result vivo_power_up(struct reader *reader, unsigned slot, bool warm, deadline_t until, struct atr *atr,
                                 int *protocol)
{
    struct vivo *v = vivo_of(reader);
    enum result r;

    (void)warm; /* a card that a client worked with loses its power for either: nothing less is known to reset it */
    vivo_check_suspend(v);
    *protocol = 1;
    if (v->slot[slot].kind == SLOT_CL)
        r = vivo_field_power_up(v, slot, until, atr);
    else
        r = vivo_contact_power_up(v, slot, until, atr, protocol);
    return r == R_NOT_SUPPORTED ? R_POWER : r;
}

static enum result vivo_power_down(struct reader *reader, unsigned slot, deadline_t until)
{
    struct vivo *v = vivo_of(reader);

    if (v->slot[slot].kind == SLOT_CL)
        return vivo_field_power_down(v, slot, until);
    return vivo_contact_power_down(v, slot, until);
}

/* A contactless card runs neither T=0 nor T=1; by convention it counts as T=1. What a contact card runs is the reader's
 * business: it takes APDUs. */
static enum result vivo_set_protocol(struct reader *reader, unsigned slot, int t, deadline_t until, int *protocol)
{
    struct vivo *v = vivo_of(reader);
    const struct vivo_slot *s = &v->slot[slot];
    bool ok;

    (void)until;
    if (s->kind == SLOT_CL)
        ok = t == 1 || reader->settings->contactless_t0 == SWITCH_ON;
    else
        ok = (s->info.protocols & (1u << t)) != 0;
    *protocol = ok ? t : s->kind == SLOT_CL || s->info.first == 1;
    return ok ? R_SUCCESS : R_PROTOCOL;
}

/* ---- raw commands (escape) --------------------------------------------------------------------------------------- */

/* Of commands that do many things, what is harmless: the first data byte decides. */
static const struct {
    uint8_t command, sub, first;
} safe_parts[] = {{0x2C, 0x40, 0x11}, {0x2C, 0x40, 0x21}, {0x2C, 0x41, 0x06}};

static enum reader_command_class vivo_classify(const struct reader *reader, const uint8_t *command, size_t n)
{
    const struct vivo_command *row;

    (void)reader;
    if (n < 2)
        return COMMAND_UNKNOWN;
    for (size_t i = 0; n > 2 && i < sizeof safe_parts / sizeof safe_parts[0]; i++)
        if (safe_parts[i].command == command[0] && safe_parts[i].sub == command[1] && safe_parts[i].first == command[2])
            return COMMAND_SAFE;
    row = vivo_command(command[0], command[1]);
    if (row->safe)
        return COMMAND_SAFE;
    return row->sub == VIVO_ANY_SUB ? COMMAND_UNKNOWN : COMMAND_DANGEROUS;
}

/* How long a command works beyond its own time, by its parameters: polls say how long they poll, 2C-04 how long the
 * card may take. */
static unsigned extra_time(const uint8_t *command, size_t n)
{
    const uint8_t *p = command + 2;
    uint64_t etu;

    if (n < 4 || command[0] != VIVO_CMD_PASS_THROUGH)
        return 0;
    switch (command[1]) {
    case VIVO_SUB_POLL:
    case VIVO_SUB_ENHANCED_POLL:
    case VIVO_SUB_POLL_ATS:
        return p[0] * 1000u + p[1] * 10u;
    case VIVO_SUB_NFC:
        return p[0] == 0xFF ? p[1] * 1000u : 0;
    case VIVO_SUB_RAW:
        if (n < 7)
            return 0;
        etu = (uint64_t)p[1] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 8 | p[4];
        return (unsigned)(etu * VIVO_ETU_NS / 1000000);
    default:
        return 0;
    }
}

static unsigned vivo_command_cap(const struct reader *reader, const uint8_t *command, size_t n)
{
    unsigned cap = reader->settings->reader_cap, extra = extra_time(command, n), most = reader->settings->apdu_cap;

    if (n >= 2 && vivo_command(command[0], command[1])->wait == WAIT_CALLER)
        return most;
    return extra < most && cap + extra < most ? cap + extra : most > cap ? most : cap;
}

static enum result put_answer(uint8_t status, const uint8_t *data, size_t n, uint8_t *answer, size_t cap, size_t *len)
{
    if (cap < n + 1)
        return R_SPACE;
    answer[0] = status;
    if (n > 0)
        memcpy(answer + 1, data, n);
    *len = n + 1;
    return R_SUCCESS;
}

/* Commands that exchange data with a card, but do not activate, reset or power it. */
static bool leaves_session(const uint8_t *command)
{
    static const uint8_t subs[] = {0x03, 0x04, 0x06, 0x07, 0x08, 0x0A, 0x13};

    return command[0] == VIVO_CMD_PASS_THROUGH && memchr(subs, command[1], sizeof subs) != NULL;
}

/* Such a command begins the session of its card as an APDU does: no poll may reset the card from then on. */
static void begin_session(struct vivo *v, const uint8_t *command, size_t n)
{
    for (unsigned i = 0; i < v->reader.slot_count; i++) {
        struct vivo_slot *s = &v->slot[i];
        bool meant = command[1] == VIVO_SUB_CONTACT_APDU
                         ? s->kind != SLOT_CL && n > 2 && vivo_interface(s) == command[2]
                         : s->kind == SLOT_CL;

        s->session |= meant && s->powered;
    }
}

static enum result vivo_send_command(struct reader *reader, unsigned slot, const uint8_t *command, size_t n,
                                     uint8_t *answer, size_t cap, size_t *len, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    struct vivo_request q = {.part1 = command + 2, .n1 = n - 2, .extra_ms = extra_time(command, n)};
    const struct vivo_command *row;
    const struct vivo_kept *kept;
    struct vivo_frame f;
    enum result r;

    (void)slot;
    *len = 0;
    if (n < 2 || n - 2 > VIVO_DATA_MAX)
        return R_INVALID;
    row = vivo_command(command[0], command[1]);
    if (row->safe && !row->pass_through && !row->works_always) { /* pass-through mode would refuse it */
        kept = vivo_kept_answer(v, command, n);
        return kept ? put_answer(kept->status, v->cache_bytes + kept->at, kept->n, answer, cap, len) : R_NOT_NOW;
    }
    q.command = command[0];
    q.sub = command[1];
    if (leaves_session(command))
        begin_session(v, command, n);
    r = vivo_exchange(v, &q, &f, until);
    if (r == R_SUCCESS)
        r = put_answer(f.status, f.data, f.n, answer, cap, len);
    if (vivo_classify(reader, command, n) != COMMAND_SAFE && !leaves_session(command)) {
        v->up = false; /* it may have changed the mode or the field */
        vivo_sessions_lost(v);
    }
    return r == R_NO_CARD ? R_COMM : r;
}

/* ---- open and close ------------------------------------------------------------------------------------------------
 */

/* Walks the short items of the descriptor: the first collection tells by page and usage what the interface is. */
bool vivo_is_keyboard(const uint8_t *p, size_t n)
{
    enum { PAGE = 0x04, USAGE = 0x08, COLLECTION = 0xA0, KIND = 0xFC, DESKTOP = 0x01, KEYBOARD = 0x06, KEYPAD = 0x07 };
    unsigned page = 0, usage = 0;

    while (n > 0) {
        size_t size = (p[0] & 3u) == 3 ? 4 : p[0] & 3u;
        unsigned value = 0;

        if (size + 1 > n)
            return false;
        for (size_t i = size; i > 0; i--)
            value = value << 8 | p[i];
        if ((p[0] & KIND) == PAGE)
            page = value;
        else if ((p[0] & KIND) == USAGE)
            usage = value;
        else if ((p[0] & KIND) == COLLECTION)
            return page == DESKTOP && (usage == KEYBOARD || usage == KEYPAD);
        p += size + 1;
        n -= size + 1;
    }
    return false;
}

static void free_reader(struct vivo *v)
{
    vivo_line_close(v);
    pthread_mutex_destroy(&v->gate);
    explicit_bzero(v, sizeof *v);
    free(v);
}

/* Leaves the reader as it was found: cards without power, pass-through mode off, which takes the field away as well. */
static void vivo_close(struct reader *reader)
{
    static const uint8_t off = 0;
    struct vivo *v = vivo_of(reader);
    deadline_t until = deadline_in(reader->settings->command_wait);
    struct vivo_request stop = {.command = VIVO_CMD_PASS_THROUGH, .sub = VIVO_SUB_PASS_THROUGH, .part1 = &off, .n1 = 1};
    struct vivo_frame f;

    for (unsigned i = 0; i < reader->slot_count; i++)
        if (v->in_sync && v->up && v->slot[i].kind != SLOT_CL && v->slot[i].powered)
            (void)vivo_contact_power_down(v, i, until);
    if (v->line && v->in_sync && v->up)
        (void)vivo_ask(v, &stop, &f, until);
    free_reader(v);
}

static const struct reader_ops ops = {
    .cancel = vivo_cancel,
    .close = vivo_close,
    .look = vivo_look,
    .watch = vivo_watch,
    .power_up = vivo_power_up,
    .power_down = vivo_power_down,
    .set_protocol = vivo_set_protocol,
    .transmit = vivo_transmit,
    .max_apdu_data = vivo_max_apdu_data,
    .classify = vivo_classify,
    .command_cap = vivo_command_cap,
    .command = vivo_send_command,
    .storage = &vivo_storage_ops,
};

static void choose_slots(struct vivo *v)
{
    const struct settings *s = v->reader.settings;
    struct reader *r = &v->reader;

    for (unsigned i = 0; i < s->slot_count && r->slot_count < READER_SLOTS_MAX; i++) {
        if (s->slots[i] == SLOT_CARD)
            log_line(r->log, PLOG_CRITICAL,
                     "slots: a ViVOpay reader has cl, icc and sam1 to sam8; \"card\" is left out");
        else
            r->slots[r->slot_count++] = s->slots[i];
    }
    if (r->slot_count == 0)
        r->slots[r->slot_count++] = SLOT_CL;
    for (unsigned i = 0; i < r->slot_count; i++)
        v->slot[i].kind = r->slots[i];
    vivo_field_init(v);
}

/* Opens the line and asks who is there, before the reader is announced. */
static enum result verify(struct vivo *v, const struct reader_target *target, deadline_t until)
{
    struct log *log = v->reader.log;
    enum result r = vivo_line_open(v, target, until);

    if (r == R_SUCCESS)
        r = vivo_greet(v, until);
    if (r == R_SUCCESS)
        return r;
    if (r == R_TIMEOUT || r == R_COMM || r == R_NO_CARD)
        log_line(log, PLOG_CRITICAL, "no ViVOpay reader answers (%s): check its power, its cable%s",
                 result_name(r == R_NO_CARD ? R_TIMEOUT : r),
                 v->hid ? "" : " and the port's name; baud = in ifd-purse.conf");
    if (v->hid || !target->patient || r == R_CANCELLED)
        return r == R_NO_CARD ? R_TIMEOUT : r;
    log_line(log, PLOG_INFO, "%s: waiting for the reader (%s)", v->path, result_name(r));
    if (v->line)
        vivo_line_close(v);
    v->down_told = true;
    vivo_line_rest(v);
    return R_SUCCESS;
}

static enum result vivo_open(struct reader **out, struct device *device, const struct reader_target *target,
                             const struct settings *settings, struct log *log, deadline_t until)
{
    struct vivo *v = calloc(1, sizeof *v);
    enum result r;

    if (!v)
        return R_NO_MEMORY;
    if (pthread_mutex_init(&v->gate, NULL) != 0) {
        free(v);
        return R_SYSTEM;
    }
    v->reader.ops = &ops;
    v->reader.family = &vivopay_family;
    v->reader.device = device;
    v->reader.settings = settings;
    v->reader.log = log;
    choose_slots(v);
    r = verify(v, target, until);
    if (r != R_SUCCESS) {
        free_reader(v);
        return r;
    }
    *out = &v->reader;
    return R_SUCCESS;
}

static const uint8_t vendor_ids[] = {0x0A, 0xCD, 0x1D, 0x5F};

const struct reader_family vivopay_family = {
    .id = 'v',
    .name = "ViVOpay",
    .vendor = "ID TECH",
    .type = "ID TECH ViVOpay",
    .vendor_ids = vendor_ids,
    .vendor_id_count = 2,
    .open = vivo_open,
};
