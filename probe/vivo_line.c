/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The opening of a ViVOpay reader, and its rows about links and frames.
 */
#include "probe/exchange.h"
#include "probe/vivo_rows.h"

#include <stdlib.h>
#include <string.h>

#include "transport/serial.h"

enum { PINGS = 2, LATE_WAIT = 2500, POLL_GIVEN_UP = 1000, SYNC_TRIES = 5, REOPEN_WAIT = 5000 };

static struct vivo_heard h;

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static const unsigned rates[] = {115200, 57600, 38400, 19200, 9600};

static bool answers(struct probe *p)
{
    vivo_decoder_reset(&p->v->decoder);
    vivo_assembly_reset(&p->v->assembly);
    p->v->rest_n = 0;
    vivo_hear(p, VIVO_CMD_PING, p->settings.open_quiet, &h); /* old bytes */
    for (unsigned i = 0; i < PINGS && !p->gone; i++)
        if (vivo_ping_now(p, &h))
            return true;
    return false;
}

static bool answers_at(struct probe *p, unsigned baud)
{
    if (!session_open_serial(p, baud))
        return false;
    if (answers(p))
        return true;
    session_close(p);
    p->gone = false;
    return false;
}

static bool find_on_line(struct probe *p)
{
    if (p->settings.baud && answers_at(p, p->settings.baud))
        return true;
    p->v->wrong_baud = p->settings.baud;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (rates[i] != p->settings.baud && answers_at(p, rates[i]))
            return true;
    return false;
}

static bool find_on_usb(struct probe *p)
{
    const char *why = vivo_refused_pid(p->usb.vid, p->usb.pid);

    if (why)
        report_and_print(p, "%04X:%04X is no reader for this driver: %s", p->usb.vid, p->usb.pid, why);
    if (why || !session_open_usb(p, USB_FORM_HID))
        return false;
    (void)snprintf(p->v->form, sizeof p->v->form, "%s", p->t->facts.form);
    if (answers(p))
        return true;
    session_close(p);
    return false;
}

static bool begin(struct probe *p)
{
    struct vivo_wire *v = p->v = calloc(1, sizeof *v);
    size_t n;

    if (!v)
        return false;
    v->answered = p->serial ? find_on_line(p) : find_on_usb(p);
    if (!v->answered)
        return false;
    v->doubt = false;
    if (vivo_do(p, VIVO_CMD_VERSION, 0x00, NULL, 0, 0, &h) && vivo_ok(&h)) {
        n = h.n < sizeof v->version - 1 ? h.n : sizeof v->version - 1;
        for (size_t i = 0; i < n; i++)
            v->version[i] = h.data[i] >= 0x20 && h.data[i] < 0x7F ? (char)h.data[i] : '?';
        report_and_print(p, "  it says: \"%s\"", v->version);
    }
    if (p->serial)
        report_and_print(p, "  at %u baud", p->baud);
    vivo_enter(p, &h);
    return true;
}

static void end(struct probe *p)
{
    static const uint8_t off = 0;

    if (p->t && !p->gone)
        vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &off, 1, 0, &h);
    session_close(p);
    if (p->v)
        explicit_bzero(p->v, sizeof *p->v);
    free(p->v);
    p->v = NULL;
}

/* ---- which card is there ----------------------------------------------------------------------------------------- */

static bool offers(struct probe *p, enum need need, const char **why)
{
    static const uint8_t icc = VIVO_ICC_INTERFACE;

    if (need == NEED_ICC || need == NEED_ICC_T0) {
        *why = "the reader has no contact slot";
        vivo_settle(p);
        return !vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_GET_ATR, &icc, 1, 0, &h) ||
               (h.status != VIVO_UNKNOWN_COMMAND && h.status != VIVO_UNKNOWN_SUB_COMMAND);
    }
    *why = "it concerns readers on a serial port";
    return (need != NEED_POWER && need != NEED_REPLUG) || p->serial;
}

static bool has_contact(struct probe *p, bool t0)
{
    static const uint8_t icc = VIVO_ICC_INTERFACE;
    struct atr_info info;

    return vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_GET_ATR, &icc, 1, 0, &h) && vivo_ok(&h) &&
           atr_parse(&info, h.data, h.n) == R_SUCCESS && (!t0 || (info.protocols & 1));
}

static bool has_tag(struct probe *p)
{
    static const uint8_t inventory[] = {0x26, 0x01, 0x00};
    uint8_t pcd;

    return vivo_raw(p, 0x01, VIVO_RAW_B, inventory, sizeof inventory, &pcd, &h) && pcd == PCD_OK;
}

static bool has_card(struct probe *p, enum need need)
{
    const struct vivo_card_type *type;
    bool found;

    vivo_settle(p);
    if (need == NEED_ICC || need == NEED_ICC_T0)
        return has_contact(p, need == NEED_ICC_T0);
    if (need == NEED_POWER || need == NEED_REPLUG)
        return ask_can(p);
    if (need == NEED_FELICA)
        return vivo_poll_by(p, VIVO_SUB_NFC, &h) && (p->v->card.type == 0x0A || p->v->card.type == 0x0C);
    found = vivo_poll_by(p, VIVO_SUB_POLL, &h);
    if (need == NEED_TAG)
        return has_tag(p);
    type = found ? vivo_card_type(p->v->card.type) : NULL;
    switch (need) {
    case NEED_EMPTY:
        return !found;
    case NEED_APDU:
    case NEED_APDU_MOVES:
        return type && (type->kind == CARD_APDU || type->kind == CARD_BOTH);
    case NEED_BOTH:
        return type && type->kind == CARD_BOTH;
    case NEED_TYPE_B:
        return type && type->kind == CARD_APDU && type->type_b;
    case NEED_MIFARE:
        return found && p->v->card.type == 0x03;
    case NEED_ULTRALIGHT:
        return found && p->v->card.type == 0x04;
    default:
        return false;
    }
}

const struct family vivo_probe = {.begin = begin,
                                  .end = end,
                                  .offers = offers,
                                  .has = has_card,
                                  .settle = vivo_settle,
                                  .exchange = vivo_try_exchange};

/* ---- rows: the opening ------------------------------------------------------------------------------------------- */

void row_v01(struct probe *p)
{
    if (p->serial)
        not_tried(p, "it concerns USB readers");
    else if (!p->v->answered)
        contradicted(p, NULL, "Ping (18-01) is not answered");
    else if (!p->v->version[0])
        contradicted(p, NULL, "Ping is answered, Get Version (29-00) is not");
    else
        confirmed(p, "Ping and Get Version are answered");
}

void row_v02(struct probe *p)
{
    if (p->serial)
        not_tried(p, "it concerns USB readers");
    else if (!p->v->form[0])
        contradicted(p, NULL, "no interface of it can be used as HID");
    else if (!p->v->answered)
        contradicted(p, NULL, "nothing is answered in form %s", p->v->form);
    else
        confirmed(p, "it answers in form %s", p->v->form);
}

void row_v03(struct probe *p)
{
    if (!p->serial || !strstr(p->path, "ttyACM"))
        not_tried(p, "this is no CDC port (/dev/ttyACM...)");
    else if (p->v->answered)
        confirmed(p, "Ping is answered on a CDC port");
    else
        contradicted(p, NULL, "no frame is answered on this CDC port");
}

void row_v04(struct probe *p)
{
    char setting[SETTING_MAX];

    (void)snprintf(setting, sizeof setting, "baud = %u", p->baud);
    if (!p->serial)
        not_tried(p, "it concerns readers on a serial port");
    else if (!p->v->answered)
        contradicted(p, NULL, "Ping is answered at none of 115200, 57600, 38400, 19200, 9600 baud");
    else if (p->v->wrong_baud)
        contradicted(p, setting, "nobody answers at the %u baud of the configuration, but at %u", p->v->wrong_baud,
                     p->baud);
    else
        confirmed(p, "a reader answers at %u baud, 8N1, DTR and RTS off", p->baud);
}

/* ---- rows: frames ------------------------------------------------------------------------------------------------ */

void row_v05(struct probe *p)
{
    static const uint8_t zeros[VIVO_DATA_MAX];
    unsigned baud = p->serial ? p->baud : 115200;

    if (!vivo_do(p, VIVO_CMD_PING, 0x01, zeros, sizeof zeros, VIVO_FRAME_MAX * 10000u / baud + 1000, &h))
        contradicted(p, NULL, "a Ping of %d bytes brings no answer", VIVO_FRAME_MAX);
    else if (h.status == VIVO_TOO_LONG || h.status == VIVO_FRAME_TOO_LARGE)
        contradicted(p, NULL, "a frame of %d bytes is too long: status %02X", VIVO_FRAME_MAX, h.status);
    else
        confirmed(p, "a frame of %d bytes is understood (status %02X)", VIVO_FRAME_MAX, h.status);
}

void row_v06(struct probe *p)
{
    char setting[SETTING_MAX];
    unsigned gap = p->v->longest_gap;

    (void)snprintf(setting, sizeof setting, "frame_gap = %u", 2 * gap);
    if (gap >= p->settings.frame_gap)
        contradicted(p, setting, "%u ms passed inside one answer; %u are allowed", gap, p->settings.frame_gap);
    else if (p->v->pieced == 0)
        not_tried(p, "no answer came in more than one piece");
    else
        confirmed(p, "the longest gap inside an answer was %u ms", gap);
}

/* Commands whose order the manual leaves open, and two whose order it proves; none of them does anything. */
static const struct ordered {
    uint8_t command, sub;
    uint8_t n, data[7];
} ordered[] = {
    {0x2C, 0x05, 0, {0}},
    {0x28, 0x01, 1, {1}},
    {0x2C, 0x0B, 7, {0x00, 0xFF}},
    {0x2C, 0x12, 1, {0x20}},
    {0x2C, 0x13, 5, {0x20, 0x00, 0xA4, 0x00, 0x00}},
    {0x2C, 0x18, 0, {0}},
    {0x0A, 0x03, 3, {0}},
};

static bool understood(struct probe *p, const struct ordered *c, enum vivo_order order)
{
    vivo_settle(p);
    return vivo_do_in_order(p, c->command, c->sub, c->data, c->n, order, &h) && h.status != VIVO_CRC_ERROR;
}

void row_v07(struct probe *p)
{
    unsigned low = 0, both = 0, high = 0, none = 0;
    size_t count = sizeof ordered / sizeof ordered[0];
    char which[WHY_MAX / 2];
    size_t n = 0;

    which[0] = '\0';
    for (size_t i = 0; i < count && !p->gone; i++) {
        bool msb = understood(p, &ordered[i], VIVO_MSB_FIRST), lsb = understood(p, &ordered[i], VIVO_LSB_FIRST);

        both += msb && lsb;
        high += msb && !lsb;
        none += !msb && !lsb;
        if (lsb && !msb) {
            low++;
            n += (size_t)snprintf(which + n, sizeof which - n, " %02X-%02X", ordered[i].command, ordered[i].sub);
        }
    }
    if (low > 0)
        contradicted(p, high + both == 0 ? "crc_order = lsb" : NULL, "low byte first:%s%s", which,
                     high + both == 0 ? "" : " (the driver finds that out by itself)");
    else if (high + both == 0)
        not_tried(p, "none of the commands was understood in either order");
    else
        confirmed(p, "%u of %zu are taken with the high byte first only, %u in both orders, %u in neither", high, count,
                  both, none);
}

void row_v08(struct probe *p)
{
    static const uint8_t off = 0;
    enum vivo_order usual = p->v->other_order[VIVO_SUB_PASS_THROUGH] ? VIVO_LSB_FIRST : VIVO_MSB_FIRST;

    /* Leaving pass-through mode, with the wrong CRC: what was executed shows at once, and harms nothing. */
    if (!vivo_do_in_order(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &off, 1,
                          usual == VIVO_MSB_FIRST ? VIVO_LSB_FIRST : VIVO_MSB_FIRST, &h)) {
        not_tried(p, "a wrong CRC is not answered at all");
        return;
    }
    if (h.status != VIVO_CRC_ERROR) {
        p->v->pass_through = false;
        not_tried(p, "the wrong order is answered %02X and not 04", h.status);
        return;
    }
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PARAMETERS, NULL, 0, 0, &h))
        not_tried(p, "2C-05 is not answered");
    else if (h.status == VIVO_SUB_NOT_ALLOWED)
        contradicted(p, NULL, "2C-01 00 was answered 04 and executed: pass-through mode is off");
    else
        confirmed(p, "2C-01 00, answered 04, was not executed: pass-through mode is still on");
    p->v->pass_through = h.status != VIVO_SUB_NOT_ALLOWED;
}

void row_v09(struct probe *p)
{
    if (p->v->low_first > 0)
        contradicted(p, NULL, "%u of %u answers had their CRC low byte first (they are taken, too)", p->v->low_first,
                     p->v->answers);
    else
        confirmed(p, "all %u answers had their CRC high byte first", p->v->answers);
}

void row_v10(struct probe *p)
{
    unsigned before = p->v->unasked;

    if (!vivo_enter(p, &h)) {
        contradicted(p, NULL, "2C-01 01 is answered %s %02X", h.kind == VIVO_ANSWER ? "with status" : "not at all,",
                     h.status);
        return;
    }
    vivo_hear(p, 0xFF, p->o->listen_s * 1000, &h);
    if (p->v->unasked > before)
        contradicted(p, NULL, "%u frames came by themselves, the last %02X status %02X", p->v->unasked - before,
                     p->v->unasked_command, p->v->unasked_status);
    else
        confirmed(p, "pass-through mode is on, and nothing came for %u s", p->o->listen_s);
}

void row_v11(struct probe *p)
{
    const struct vivo_wire *v = p->v;
    char setting[SETTING_MAX];

    if (v->over_ms > 0) {
        if (v->over_command == VIVO_CMD_PING)
            (void)snprintf(setting, sizeof setting, "ping_wait = %u", 2 * v->over_ms);
        else
            (void)snprintf(setting, sizeof setting, "command_wait = %u", 4 * v->over_ms);
        contradicted(p, setting, "the answer to %02X-%02X took %u ms; %u are allowed", v->over_command, v->over_sub,
                     v->over_ms, v->over_limit);
    } else if (v->silent > 0) {
        not_tried(p, "%u command(s) brought no answer at all; the others took %u ms at most", v->silent,
                  v->longest_command);
    } else {
        confirmed(p, "the longest time of a command without a card was %u ms", v->longest_command);
    }
}

/* Silence and Ping, as the driver does after a time-out. True: it thinks that it is in step. */
static bool in_step(struct probe *p)
{
    for (unsigned i = 0; i < SYNC_TRIES && !p->gone; i++) {
        deadline_t until = deadline_in(LATE_WAIT);

        do
            vivo_hear(p, 0xFF, p->settings.resync_quiet, &h);
        while (h.kind == VIVO_GARBAGE && !deadline_passed(until));
        if (!vivo_send(p, VIVO_CMD_PING, 0x01, NULL, 0, VIVO_LSB_FIRST))
            return false;
        vivo_hear(p, VIVO_CMD_PING, p->settings.ping_wait, &h);
        vivo_record(p, VIVO_CMD_PING, 0x01, &h);
        if (!vivo_ok(&h))
            continue;
        if (i > 0) /* the answers to the Pings before */
            vivo_hear(p, 0xFF, p->settings.ping_wait, &h);
        return true;
    }
    return false;
}

void row_v12(struct probe *p)
{
    static const uint8_t second[] = {1, 0};
    enum vivo_order order = p->v->other_order[VIVO_SUB_POLL] ? VIVO_LSB_FIRST : VIVO_MSB_FIRST;
    unsigned before = p->v->unasked;

    p->v->doubt = true;
    trace_line(p, "a poll of a second is sent, and its answer not waited for");
    if (!vivo_send(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_POLL, second, sizeof second, order))
        return;
    if (!in_step(p)) {
        contradicted(p, "ping_wait = 1000", "Ping is not answered after a poll that was not waited for");
        p->v->unasked = before;
        return;
    }
    p->v->unasked = before; /* the poll's own answer, in time, is none that nobody asked for */
    vivo_hear(p, 0xFF, LATE_WAIT, &h);
    if (p->v->unasked > before)
        contradicted(p, "resync_quiet = 500", "after silence and a Ping a late frame came: %02X status %02X",
                     p->v->unasked_command, p->v->unasked_status);
    else
        confirmed(p, "after %u ms of silence and a Ping nothing late followed", p->settings.resync_quiet);
    p->v->unasked = before;
}

/* ---- rows: restart and unplugging -------------------------------------------------------------------------------- */

static bool has_booted(struct probe *p, void *arg)
{
    const unsigned *before = arg;

    vivo_hear(p, 0xFF, 200, &h);
    return p->v->boots > *before;
}

void row_v13(struct probe *p)
{
    unsigned before = p->v->boots;

    if (!ask_to(p, "take the reader's power away and give it back (its data cable stays)", has_booted, &before)) {
        not_tried(p, "no boot notification came (it may be switched off)");
        return;
    }
    p->v->doubt = true;
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PARAMETERS, NULL, 0, 0, &h))
        not_tried(p, "a boot notification came, and then no answer to 2C-05");
    else if (h.status == VIVO_SUB_NOT_ALLOWED)
        confirmed(p, "a frame 14 came, and pass-through mode was off: the reader restarted");
    else
        contradicted(p, NULL, "a frame 14 came, and the reader is still in pass-through mode");
    p->v->pass_through = false;
}

void row_v14(struct probe *p)
{
    if (p->v->unasked > 0)
        contradicted(p, NULL, "%u frames came that nobody asked for, the last %02X status %02X", p->v->unasked,
                     p->v->unasked_command, p->v->unasked_status);
    else if (p->gone)
        not_tried(p, "the reader does not answer any more");
    else
        confirmed(p, "no such frame came in %d s", (int)((clock_now() - p->opened) / CLOCK_NS_PER_S));
}

static bool node_is(struct probe *p, void *arg)
{
    const bool *there = arg;

    return serial_node_exists(p->path) == *there;
}

/* The node is there before its permissions are, and before everybody who wants a look at it has had one. */
static bool answers_again(struct probe *p)
{
    static const struct timespec pause = {0, 100000000};
    deadline_t until = deadline_in(REOPEN_WAIT);

    do {
        if (answers_at(p, p->baud))
            return true;
        nanosleep(&pause, NULL);
    } while (!deadline_passed(until));
    return false;
}

void row_v15(struct probe *p)
{
    bool there = false;

    session_close(p);
    if (ask_to(p, "pull out the reader's USB-serial adapter", node_is, &there)) {
        there = true;
        if (!ask_to(p, "plug the adapter in again", node_is, &there))
            not_tried(p, "%s did not come back", p->path);
        else if (answers_again(p))
            confirmed(p, "%s came back, and the reader answers", p->path);
        else
            contradicted(p, NULL, "%s came back, and the reader does not answer", p->path);
        p->gone_tells = true;
    } else {
        not_tried(p, "the adapter was not pulled out");
    }
    if (!p->t && !answers_at(p, p->baud))
        p->gone = true;
    p->v->pass_through = false;
}
