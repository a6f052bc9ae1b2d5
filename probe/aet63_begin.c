/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The opening of an AET63, and the rows that are judged from it: which interface, which form of transport, what an
 * answer looks like. If the form that the driver would take brings no answer, each other form that the endpoints allow
 * is tried; a reader that works in one of those is a reader that can be used today, by one line of configuration.
 */
#include "probe/aet63_rows.h"
#include "probe/exchange.h"

#include <stdlib.h>
#include <string.h>

enum {
    DESCRIPTORS_MAX = 4096,
    INTERFACE_SIZE = 9,
    ENDPOINT_SIZE = 7,
    TYPE_INTERFACE = 4,
    TYPE_ENDPOINT = 5,
    CCID = 0x0B
};

/* ---- the descriptors, as the system keeps them ------------------------------------------------------------------- */

static void take_interface(struct aet63_wire *a, const uint8_t *d, struct usb_interface **now)
{
    *now = NULL;
    if (d[3] != 0) { /* an alternate setting */
        if (a->interface_count > 0)
            a->alternates[a->interface_count - 1]++;
        return;
    }
    if (a->interface_count == AET63_INTERFACES)
        return;
    *now = &a->interfaces[a->interface_count];
    a->alternates[a->interface_count++] = 1;
    **now = (struct usb_interface){.number = d[2], .class_code = d[5]};
}

static void take_endpoint(struct usb_interface *now, const uint8_t *d)
{
    if (now && now->endpoint_count < USB_ENDPOINTS_MAX)
        now->endpoints[now->endpoint_count++] = (struct usb_endpoint){
            .address = d[2], .type = d[3] & 3, .packet = (uint16_t)((d[4] | d[5] << 8) & 0x7ff)};
}

static void read_descriptors(struct probe *p)
{
    char name[PATH_MAX], path[PATH_MAX];
    uint8_t d[DESCRIPTORS_MAX];
    struct usb_interface *now = NULL;
    size_t n;
    FILE *f;

    (void)snprintf(name, sizeof name, "/sys/bus/usb/devices/%s/descriptors", p->usb.sysname);
    if (!system_path(p->o->root, name, path) || !(f = fopen(path, "re")))
        return;
    n = fread(d, 1, sizeof d, f);
    fclose(f);
    for (size_t at = 0; at + 2 <= n && d[at] >= 2 && at + d[at] <= n; at += d[at]) {
        if (d[at + 1] == TYPE_INTERFACE && d[at] >= INTERFACE_SIZE)
            take_interface(p->a, d + at, &now);
        else if (d[at + 1] == TYPE_ENDPOINT && d[at] >= ENDPOINT_SIZE)
            take_endpoint(now, d + at);
    }
    p->a->chosen = usb_choose_interface(p->a->interfaces, p->a->interface_count, USB_FORM_AUTO);
}

static void tell_descriptors(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    for (size_t i = 0; i < a->interface_count; i++) {
        const struct usb_interface *ifc = &a->interfaces[i];

        report_and_print(p, "  interface %u, class %02X, %u setting%s", ifc->number, ifc->class_code, a->alternates[i],
                         a->alternates[i] == 1 ? "" : "s");
        for (size_t e = 0; e < ifc->endpoint_count; e++)
            report_and_print(p, "    endpoint %02X, %s, %u bytes", ifc->endpoints[e].address,
                             ifc->endpoints[e].type == 2   ? "bulk"
                             : ifc->endpoints[e].type == 3 ? "interrupt"
                                                           : "other",
                             ifc->endpoints[e].packet);
    }
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static char form_letter(enum usb_form form)
{
    return form == USB_FORM_A ? 'A' : form == USB_FORM_B ? 'B' : 'C';
}

static enum usb_form usual_form(const struct aet63_wire *a)
{
    struct usb_pipes pipes;

    if (a->chosen < 0 || usb_choose_form(&a->interfaces[a->chosen], USB_FORM_AUTO, &pipes) != R_SUCCESS)
        return USB_FORM_AUTO;
    return pipes.form;
}

/* Old bytes out, as the driver does at its opening. */
static void drain(struct probe *p)
{
    deadline_t until = deadline_in(p->settings.open_drain);
    static struct aet63_heard h;

    do
        aet63_hear(p, &h, p->settings.open_quiet);
    while (h.kind != HEARD_SILENCE && h.kind != HEARD_END && !deadline_passed(until));
}

static bool try_form(struct probe *p, enum usb_form form)
{
    static struct aet63_heard h;
    struct aet63_wire *a = p->a;

    if (!session_open_usb(p, form))
        return false;
    aet63_decoder_reset(&a->decoder[0]);
    aet63_decoder_reset(&a->decoder[1]);
    drain(p);
    if (!p->gone && aet63_stat(p, &h)) {
        a->answered = true;
        a->form = form;
        a->text_frame = a->framing[0] == AET63_STX && a->framing[2] == AET63_ETX;
        a->doubt = false;
        return true;
    }
    session_close(p);
    p->gone = false;
    return false;
}

static bool begin(struct probe *p)
{
    static const enum usb_form forms[] = {USB_FORM_A, USB_FORM_B, USB_FORM_C};
    struct aet63_wire *a = calloc(1, sizeof *a);
    enum usb_form usual;
    struct usb_pipes pipes;

    p->a = a;
    if (!a)
        return false;
    a->chosen = -1;
    a->protocol = a->sam_protocol = -1;
    read_descriptors(p);
    tell_descriptors(p);
    usual = usual_form(a);
    if (a->chosen < 0 || a->interfaces[a->chosen].class_code == CCID)
        return false;
    a->first_form = try_form(p, usual);
    for (size_t i = 0; i < 3 && !a->answered; i++)
        if (forms[i] != usual && usb_choose_form(&a->interfaces[a->chosen], forms[i], &pipes) == R_SUCCESS)
            try_form(p, forms[i]);
    return a->answered;
}

static void end(struct probe *p)
{
    static const uint8_t on = 1;
    static struct aet63_heard h;

    if (p->t && !p->gone) {
        aet63_do(p, AET63_POWER_OFF, NULL, 0, &h);
        aet63_do(p, AET63_SET_NOTIFICATION, &on, 1, &h);
    }
    session_close(p);
    if (p->a)
        explicit_bzero(p->a, sizeof *p->a);
    free(p->a);
    p->a = NULL;
}

/* ---- which card is in the slot ----------------------------------------------------------------------------------- */

static bool has_card(struct probe *p, enum need need)
{
    static struct aet63_heard h;
    struct aet63_wire *a = p->a;
    int state = aet63_card_state(p);

    if (need == NEED_EMPTY)
        return state == AET63_STAT_NO_CARD;
    if (state <= AET63_STAT_NO_CARD)
        return false;
    if (need == NEED_MOVES)
        return true;
    a->runs_only_named = false;
    if (!aet63_power(p, AET63_TYPE_AUTO, &h))
        a->runs_only_named = aet63_power(p, AET63_TYPE_T0, &h) || (!p->gone && aet63_power(p, AET63_TYPE_T1, &h));
    if (a->protocol < 0 || !a->info_valid)
        return false;
    if (need == NEED_DUAL)
        return (a->info.protocols & 3) == 3;
    if (need == NEED_T1)
        return (a->info.protocols & 2) != 0 || a->protocol == 1;
    return (a->info.protocols & 1) != 0 || a->protocol == 0;
}

const struct family aet63_probe = {
    .begin = begin, .end = end, .has = has_card, .settle = aet63_settle, .exchange = aet63_try_exchange};

/* ---- rows -------------------------------------------------------------------------------------------------------- */

void row_a01(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (a->interface_count == 0)
        not_tried(p, "the descriptors cannot be read");
    else if (a->chosen >= 0 && a->interfaces[a->chosen].class_code == CCID)
        contradicted(p, NULL, "its interface has class 0B: it is a CCID reader, which the package libccid serves");
    else if (!a->answered)
        contradicted(p, NULL, "no form of GET_ACR_STAT (01) is answered");
    else
        confirmed(p, "interface class %02X, GET_ACR_STAT is answered", a->interfaces[a->chosen].class_code);
}

void row_a02(struct probe *p)
{
    const struct aet63_wire *a = p->a;
    char setting[SETTING_MAX];

    if (!a->answered) {
        contradicted(p, NULL, "no answer in any form that the endpoints allow");
    } else if (a->first_form) {
        confirmed(p, "the endpoints mean form %c, and the reader answers in it", form_letter(a->form));
    } else {
        (void)snprintf(setting, sizeof setting, "transport = %c", form_letter(a->form));
        contradicted(p, setting, "silent in form %c, which its endpoints mean; it answers in form %c",
                     form_letter(usual_form(a)), form_letter(a->form));
    }
}

void row_a03(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (a->interface_count == 0)
        not_tried(p, "the descriptors cannot be read");
    else if (a->chosen < 0)
        contradicted(p, NULL, "none of its %zu interfaces has the endpoints of a reader", a->interface_count);
    else if (a->alternates[a->chosen] > 1 && !a->answered)
        contradicted(p, NULL, "interface %u has %u settings, and the first does not answer",
                     a->interfaces[a->chosen].number, a->alternates[a->chosen]);
    else if (a->answered)
        confirmed(p, "interface %u of %zu", a->interfaces[a->chosen].number, a->interface_count);
    else
        not_tried(p, "the reader does not answer at all");
}

void row_a04(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (a->answered && a->form == USB_FORM_A)
        confirmed(p, "request 40 00 with the whole frame is taken and answered");
    else if (usual_form(a) == USB_FORM_A)
        contradicted(p, NULL, "the vendor request 40 00 brings no answer");
    else
        not_tried(p, "this reader has not the endpoints of form A alone");
}

void row_a06(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (a->answered && a->text_frame)
        confirmed(p, "the answer began with %02X and ended with %02X", AET63_STX, AET63_ETX);
    else if (a->packets > 0)
        contradicted(p, NULL, "%u packets came, and no frame of STX, hex text, ETX; the first byte is %02X", a->packets,
                     a->framing[0]);
    else
        not_tried(p, "nothing at all came from the reader");
}

static void send_long(struct probe *p, size_t data)
{
    static const uint8_t zeros[512];
    static struct aet63_heard h;

    if (!aet63_do(p, AET63_GET_ACR_STAT, zeros, data, &h) && h.kind != HEARD_REFUSAL)
        contradicted(p, "transport = A", "a command of %zu bytes of text brings no answer", 2 * (data + 4) + 2);
    else
        confirmed(p, "commands of 64 and of 300 bytes are answered");
}

void row_a05(struct probe *p)
{
    if (p->a->form == USB_FORM_A) {
        not_tried(p, "this reader works in form A");
        return;
    }
    send_long(p, 27); /* 64 bytes of text: whole packets */
    send_long(p, 145);
}

/* ---- packets ----------------------------------------------------------------------------------------------------- */

void row_a07(struct probe *p)
{
    static struct aet63_heard h;
    struct aet63_wire *a = p->a;
    unsigned begin = a->packets, lost = 0, before = a->behind_etx;
    deadline_t until = deadline_in(p->settings.power_cap);
    size_t mark = p->trace_len;

    while (a->packets - begin < p->o->packets && !deadline_passed(until) && !p->gone) {
        p->trace_len = mark; /* the last one stands for all */
        if (!aet63_stat(p, &h)) {
            lost++;
            aet63_settle(p);
            if (lost == 3)
                break;
        }
    }
    if (a->packets == begin)
        not_tried(p, "no packet came");
    else if (a->behind_etx > before)
        contradicted(p, NULL, "%u frame(s) began behind an ETX and went on in the next packet", a->behind_etx - before);
    else if (lost > 0)
        contradicted(p, NULL, "%u of the answers in %u packets could not be read", lost, a->packets - begin);
    else
        confirmed(p, "%u packets, all answers whole; behind the last ETX stood %02X", a->packets - begin,
                  a->framing[1]);
}

void row_a08(struct probe *p)
{
    static struct aet63_heard h;
    uint8_t ask[3] = {0, 0, 0};
    unsigned good = 0;

    for (unsigned n = 1; n <= 25; n++) {
        ask[2] = (uint8_t)n;
        if (!aet63_do(p, AET63_EEPROM_READ_DATA, ask, sizeof ask, &h)) {
            contradicted(p, NULL, "the answer of %u bytes came broken, or not at all", n + 5);
            return;
        }
        if (!aet63_done(&h)) {
            not_tried(p, "EEPROM_READ_DATA, which can bring answers of each length, is refused (%02X %02X)", h.sw1,
                      h.sw2);
            return;
        }
        good += h.n == n;
    }
    if (good == 25)
        confirmed(p, "answers of 6 to 30 bytes came whole");
    else
        contradicted(p, NULL, "%u of 25 answers had another length than was asked for", 25 - good);
}

void row_a52(struct probe *p)
{
    static struct aet63_heard h;
    unsigned good = 0;

    for (unsigned i = 0; i < 10 && !p->gone; i++) {
        session_close(p);
        if (!session_open_usb(p, p->a->form))
            break;
        drain(p);
        good += aet63_stat(p, &h);
    }
    p->gone = p->gone || !p->t;
    if (good == 10)
        confirmed(p, "ten openings, ten answers");
    else
        contradicted(p, "open_quiet = 500", "%u of ten openings were answered at once", good);
}
