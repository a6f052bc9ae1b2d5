/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows of the AET63 about frames and the line, and about what else is built into the reader. Whatever is broken on
 * purpose here is broken around commands that change nothing: GET_ACR_STAT and SELECT_CARD_TYPE.
 */
#include "probe/aet63_rows.h"

#include <stdlib.h>
#include <string.h>

enum { NAK_WAIT = 1000, HALF_WAIT = 1500, RESTART_WAIT = 2000, LATE_WAIT = 3000, IN_STEP_MOST = 10000 };

static struct aet63_heard h;

/* ---- frames ------------------------------------------------------------------------------------------------------ */

void row_a10(struct probe *p)
{
    static const uint8_t zeros[AET63_LONG_FORM];

    aet63_do(p, AET63_GET_ACR_STAT, zeros, sizeof zeros, &h);
    if (h.kind == HEARD_ANSWER)
        confirmed(p, "a frame in the extended form is understood (answered %02X %02X)", h.sw1, h.sw2);
    else if (h.kind == HEARD_REFUSAL)
        contradicted(p, "t1 = apdu", "a frame in the extended form was refused (NAK)");
    else
        contradicted(p, "t1 = apdu", "a frame in the extended form brings no answer");
}

/* GET_ACR_STAT and SELECT_CARD_TYPE 0D, each with one bit wrong in its checksum. */
static const char broken_stat[] = "\x02"
                                  "01010001"
                                  "\x03";
static const char broken_select[] = "\x02"
                                    "0102010D0E"
                                    "\x03";

static void send_broken(struct probe *p, const char *text)
{
    memset(&h, 0, sizeof h);
    p->a->instruction = 0;
    trace_line(p, "-> %.*s, whose checksum is wrong", (int)strlen(text) - 2, text + 1);
    if (aet63_send_text(p, text, strlen(text)))
        aet63_hear(p, &h, NAK_WAIT);
    aet63_record(p, &h);
    p->a->doubt = true;
}

void row_a11(struct probe *p)
{
    send_broken(p, broken_stat);
    if (h.kind == HEARD_REFUSAL)
        confirmed(p, "NAK came as 05 05 %s", h.raw_nak ? "bare" : "between STX and ETX");
    else if (h.kind == HEARD_ANSWER)
        contradicted(p, NULL, "a frame with a wrong checksum was answered %02X %02X", h.sw1, h.sw2);
    else
        contradicted(p, NULL, "no NAK came within a second");
}

void row_a12(struct probe *p)
{
    static const uint8_t automatic = AET63_TYPE_AUTO;

    if (!aet63_do(p, AET63_SELECT_CARD_TYPE, &automatic, 1, &h) || !aet63_done(&h)) {
        not_tried(p, "SELECT_CARD_TYPE is not answered 90 00");
        return;
    }
    send_broken(p, broken_select);
    if (h.kind != HEARD_REFUSAL) {
        not_tried(p, "no NAK came that could be tried");
        return;
    }
    aet63_settle(p);
    if (!aet63_stat(p, &h))
        not_tried(p, "GET_ACR_STAT is not answered");
    else if (h.data[14] == AET63_TYPE_T1)
        contradicted(p, NULL, "a command that was answered NAK was executed: C_SEL is 0D");
    else
        confirmed(p, "a command that was answered NAK was not executed: C_SEL is %02X", h.data[14]);
}

/* NAK in one form behind a good answer. True: that answer came again. */
static bool nak_repeats(struct probe *p, const char *text, const char *form)
{
    static struct aet63_heard again;

    if (!aet63_stat(p, &h))
        return false;
    trace_line(p, "-> NAK, %s", form);
    memset(&again, 0, sizeof again);
    if (aet63_send_text(p, text, strlen(text)))
        aet63_hear(p, &again, NAK_WAIT);
    aet63_record(p, &again);
    p->a->doubt = true;
    aet63_settle(p);
    return again.kind == HEARD_ANSWER && again.n == h.n && memcmp(again.data, h.data, AET63_IDENTITY_SIZE) == 0;
}

void row_a13(struct probe *p)
{
    if (nak_repeats(p,
                    "\x02"
                    "0505"
                    "\x03",
                    "05 05 between STX and ETX"))
        confirmed(p, "the reader repeats its answer after a NAK between STX and ETX (nak = framed would work)");
    else if (nak_repeats(p, "\x05\x05", "bare 05 05"))
        confirmed(p, "the reader repeats its answer after a bare NAK (nak = raw would work)");
    else
        contradicted(p, NULL, "the reader repeats nothing after a NAK, in neither form");
}

/* ---- times and doubt --------------------------------------------------------------------------------------------- */

void row_a14(struct probe *p)
{
    char setting[SETTING_MAX];
    unsigned gap = p->a->longest_gap;

    (void)snprintf(setting, sizeof setting, "frame_gap = %u", 2 * gap);
    if (gap >= p->settings.frame_gap)
        contradicted(p, setting, "%u ms passed between two packets of one answer; %u are allowed", gap,
                     p->settings.frame_gap);
    else if (p->a->pieced == 0)
        not_tried(p, "no answer came in more than one packet");
    else
        confirmed(p, "the longest gap inside an answer was %u ms", gap);
}

/* Is the answer in h this reader's status block? */
static bool is_own(const struct probe *p)
{
    return h.kind == HEARD_ANSWER && h.n >= AET63_STATUS_SIZE &&
           memcmp(h.data, p->a->identity, AET63_IDENTITY_SIZE) == 0;
}

/* After a command that nobody waited for: what the driver does to be in step again. True: it thinks that it is. */
static bool in_step(struct probe *p)
{
    for (unsigned i = 0; i < 3; i++) {
        deadline_t until = deadline_in(IN_STEP_MOST);

        do
            aet63_hear(p, &h, p->settings.resync_quiet);
        while (h.kind != HEARD_SILENCE && h.kind != HEARD_END && !deadline_passed(until));
        if (!aet63_send(p, AET63_GET_ACR_STAT, NULL, 0))
            return false;
        do {
            aet63_hear(p, &h, p->settings.command_wait);
            if (is_own(p)) {
                aet63_hear(p, &h, p->settings.resync_quiet);
                if (h.kind == HEARD_SILENCE)
                    return true;
            }
        } while (h.kind == HEARD_ANSWER && !deadline_passed(until));
    }
    return false;
}

void row_a15(struct probe *p)
{
    static const uint8_t automatic = AET63_TYPE_AUTO;

    if (p->now->judged && p->now->verdict != NOT_TRIED)
        return; /* with another card; it is about the line */
    aet63_do(p, AET63_POWER_OFF, NULL, 0, &h);
    aet63_do(p, AET63_SELECT_CARD_TYPE, &automatic, 1, &h);
    p->a->doubt = true;
    trace_line(p, "RESET is sent, and its answer not waited for");
    if (!aet63_send(p, AET63_RESET, NULL, 0) || !in_step(p)) {
        contradicted(p, "resync_quiet = 500", "the reader could not be brought in step again");
        return;
    }
    aet63_hear(p, &h, LATE_WAIT);
    if (h.kind == HEARD_SILENCE && aet63_do(p, AET63_GET_ACR_STAT, NULL, 0, &h) && is_own(p))
        confirmed(p, "after %u ms of silence and GET_ACR_STAT no late answer followed", p->settings.resync_quiet);
    else if (h.kind == HEARD_ANSWER)
        contradicted(p, "resync_quiet = 500", "an answer came after the line had been silent for %u ms",
                     p->settings.resync_quiet);
    else
        contradicted(p, NULL, "the reader, brought in step, does not answer GET_ACR_STAT");
}

void row_a16(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    if (a->identity_asked < 2)
        not_tried(p, "GET_ACR_STAT was answered %u times only", a->identity_asked);
    else if (a->identity_other > 0)
        contradicted(p, NULL, "%u of %u answers to GET_ACR_STAT began otherwise than the first", a->identity_other,
                     a->identity_asked);
    else
        confirmed(p, "%u answers, in every state there was, began alike", a->identity_asked);
}

void row_a17(struct probe *p)
{
    size_t n = 0;

    if (!aet63_do(p, AET63_GET_ACR_STAT, NULL, 0, &h) || !aet63_done(&h)) {
        not_tried(p, "GET_ACR_STAT is not answered");
        return;
    }
    while (n < 10 && n < h.n && h.data[n] >= 0x20 && h.data[n] < 0x7F)
        n++;
    if (h.n < AET63_STATUS_SIZE)
        contradicted(p, NULL, "GET_ACR_STAT brings %zu bytes", h.n);
    else if (n < 10 && h.data[n] != 0)
        contradicted(p, NULL, "INTERNAL is not text: byte %zu is %02X", n, h.data[n]);
    else
        confirmed(p, "%zu bytes; INTERNAL is \"%.*s\"", h.n, (int)n, (const char *)h.data);
}

void row_a18(struct probe *p)
{
    uint8_t apdu[4 + 1 + 255 + 1] = {0x00, 0xA4, 0x04, 0x00};
    unsigned max = p->a->identity[10], lc = max > 250 ? 255 : max;

    /* SELECT of a name that no card has: harmless. */
    apdu[4] = (uint8_t)lc;
    if (!aet63_power(p, AET63_TYPE_AUTO, &h) || p->a->protocol != 0) {
        not_tried(p, "no T=0 card runs");
        return;
    }
    if (!aet63_do(p, AET63_EXCHANGE_APDU, apdu, lc + 6, &h))
        contradicted(p, NULL, "a command of %u bytes brings no answer; MAX_C is %u", lc + 6, max);
    else if (h.sw1 != 0x90)
        contradicted(p, NULL, "a command of %u bytes is refused (%02X %02X); MAX_C is %u", lc + 6, h.sw1, h.sw2, max);
    else
        confirmed(p, "a command of %u bytes is taken; MAX_C is %u", lc + 6, max);
}

/* Sends a command twice. False: the second answer was another one. */
static bool twice(struct probe *p, uint8_t instruction, const uint8_t *data, size_t n)
{
    static struct aet63_heard first;

    if (!aet63_do(p, instruction, data, n, &first) || !aet63_do(p, instruction, data, n, &h))
        return false;
    return first.sw1 == h.sw1 && first.sw2 == h.sw2 && first.n == h.n && memcmp(first.data, h.data, h.n) == 0;
}

void row_a19(struct probe *p)
{
    static const uint8_t on = 1, place[] = {0, 0, 16};
    const char *what = NULL;

    if (!twice(p, AET63_GET_ACR_STAT, NULL, 0))
        what = "GET_ACR_STAT";
    else if (!twice(p, AET63_SET_NOTIFICATION, &on, 1))
        what = "SET_NOTIFICATION";
    else if (!twice(p, AET63_POWER_OFF, NULL, 0))
        what = "POWER_OFF";
    else if (!twice(p, AET63_EEPROM_READ_DATA, place, sizeof place))
        what = "EEPROM_READ_DATA";
    if (what)
        contradicted(p, NULL, "%s, sent twice, was answered in two ways", what);
    else
        confirmed(p, "each of the four, sent twice, was answered alike");
}

void row_a20(struct probe *p)
{
    static const char half[] = "\x02"
                               "0101";

    trace_line(p, "-> STX 0101, the half of GET_ACR_STAT");
    p->a->instruction = 0;
    if (aet63_send_text(p, half, strlen(half)))
        aet63_hear(p, &h, HALF_WAIT);
    if (aet63_stat(p, &h))
        confirmed(p, "a whole frame after half a one is answered");
    else
        contradicted(p, NULL, "after half a frame a whole one is not answered");
    p->a->doubt = true;
}

/* ---- restart ----------------------------------------------------------------------------------------------------- */

static void reset_once(struct probe *p)
{
    static const uint8_t type = AET63_TYPE_T1;
    struct aet63_wire *a = p->a;
    unsigned before = a->events[0];

    if (a->reset_done)
        trace_line(p, "the port was reset for the row before: its bytes are there");
    if (a->reset_done || !p->t->ops->reset)
        return;
    a->reset_done = true;
    aet63_do(p, AET63_SELECT_CARD_TYPE, &type, 1, &h);
    trace_line(p, "the USB port is reset");
    if (p->t->ops->reset(p->t) == R_GONE) {
        p->gone = p->gone_tells = true;
        return;
    }
    aet63_hear_event(p, RESTART_WAIT);
    a->doubt = true;
    aet63_settle(p);
    a->reset_answered = aet63_stat(p, &h);
    a->reset_forgot = a->reset_answered && h.data[14] != type;
    a->reset_messages = a->events[0] - before;
}

void row_a21(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    reset_once(p);
    if (a->events[0] == 0)
        not_tried(p, "no Reset Message came, not even when the USB port was reset");
    else if (!a->reset_answered)
        not_tried(p, "the reader does not answer after the reset of its port");
    else if (a->reset_messages > 0 && !a->reset_forgot)
        contradicted(p, NULL, "a Reset Message came, and the reader had forgotten nothing");
    else if (a->reset_messages == 0)
        not_tried(p, "a Reset Message came, but not with the reset of the port");
    else
        confirmed(p, "with the Reset Message the card type was forgotten");
}

void row_a22(struct probe *p)
{
    const struct aet63_wire *a = p->a;

    reset_once(p);
    if (!a->reset_done)
        not_tried(p, "the port cannot be reset");
    else if (!a->reset_answered)
        contradicted(p, NULL, "after a reset of its USB port the reader does not answer%s",
                     p->gone ? ": it is gone" : "");
    else if (!a->reset_forgot)
        contradicted(p, NULL, "the reset of the USB port did not restart the reader: it kept its card type");
    else
        confirmed(p, "after the reset of its port the reader answers and has forgotten its card type");
}

/* ---- the rest of the reader -------------------------------------------------------------------------------------- */

static void power_off_in(struct probe *p, const char *state)
{
    if (!aet63_do(p, AET63_POWER_OFF, NULL, 0, &h))
        contradicted(p, NULL, "POWER_OFF %s brings no answer", state);
    else if ((h.sw1 == 0x90 && h.sw2 == 0) || (h.sw1 == 0x60 && (h.sw2 == 2 || h.sw2 == 4)))
        confirmed(p, "POWER_OFF %s: %02X %02X", state, h.sw1, h.sw2);
    else
        contradicted(p, NULL, "POWER_OFF %s is answered %02X %02X", state, h.sw1, h.sw2);
}

void row_a36(struct probe *p)
{
    if (p->need == NEED_EMPTY) {
        power_off_in(p, "without a card");
        return;
    }
    if (aet63_power(p, AET63_TYPE_AUTO, &h)) {
        power_off_in(p, "of a powered card");
        if (aet63_card_state(p) == AET63_STAT_POWERED)
            contradicted(p, NULL, "after POWER_OFF the card is powered still");
    }
    power_off_in(p, "of an unpowered card");
}

void row_a37(struct probe *p)
{
    const struct aet63_wire *a = p->a;
    char all[WHY_MAX / 2];
    size_t n = 0;

    all[0] = '\0';
    for (size_t i = 0; i < a->status_count; i++) {
        const uint8_t *sw = a->statuses[i];

        if (strcmp(aet63_status(sw[0], sw[1])->meaning, "status unknown") == 0)
            contradicted(p, NULL, "status %02X %02X is in no table", sw[0], sw[1]);
        if (n + 8 < sizeof all)
            n += (size_t)snprintf(all + n, sizeof all - n, "%s%02X %02X", n ? ", " : "", sw[0], sw[1]);
    }
    confirmed(p, "seen: %s", all);
}

void row_a46(struct probe *p)
{
    const struct settings *s = &p->settings;
    const struct aet63_wire *a = p->a;
    char setting[SETTING_MAX];

    if (a->longest_own > s->command_wait) {
        (void)snprintf(setting, sizeof setting, "command_wait = %u", 2 * a->longest_own);
        contradicted(p, setting, "a command of its own took %u ms; %u are allowed", a->longest_own, s->command_wait);
    } else if (a->longest_reset > s->reset_wait) {
        (void)snprintf(setting, sizeof setting, "reset_wait = %u", 2 * a->longest_reset);
        contradicted(p, setting, "RESET took %u ms; %u are allowed", a->longest_reset, s->reset_wait);
    } else if (a->silent > 0) {
        not_tried(p, "%u command(s) brought no answer at all; the others took %u ms at most", a->silent,
                  a->longest_own);
    } else if (a->reset_sw[0] == 0) {
        not_tried(p, "its own commands took %u ms at most; no card was reset", a->longest_own);
    } else {
        confirmed(p, "its own commands took %u ms at most, RESET %u ms", a->longest_own, a->longest_reset);
    }
}

void row_a48(struct probe *p)
{
    static const uint8_t sam = 0;
    struct atr_info info;

    if (!aet63_do(p, AET63_ACTIVATE_SAM, &sam, 1, &h)) {
        contradicted(p, NULL, "ACTIVATE_SAM brings no answer");
        return;
    }
    if (h.sw1 != 0x90) {
        if (p->o->sam)
            contradicted(p, NULL, "there is a SAM, and ACTIVATE_SAM is answered %02X %02X", h.sw1, h.sw2);
        else
            not_tried(p, "no SAM answers (%02X %02X); if there is one say so by --sam", h.sw1, h.sw2);
        return;
    }
    if (atr_parse(&info, h.data, h.n) != R_SUCCESS)
        contradicted(p, NULL, "ACTIVATE_SAM is answered 90 %02X without an ATR", h.sw2);
    else if (h.sw2 > 1 || !(info.protocols & (1u << h.sw2)))
        contradicted(p, NULL, "ACTIVATE_SAM tells T=%u, which the SAM's ATR does not offer", h.sw2);
    else
        confirmed(p, "a SAM answers with an ATR, T=%u", h.sw2);
    suggest(p, "slots = card.sam");
    aet63_do(p, AET63_DEACTIVATE_SAM, NULL, 0, &h);
}

void row_a49(struct probe *p)
{
    static const uint8_t place[] = {0, 0, 64};
    static struct aet63_heard first;

    if (!aet63_do(p, AET63_EEPROM_READ_DATA, place, sizeof place, &first) || !aet63_done(&first))
        not_tried(p, "EEPROM_READ_DATA is not answered 90 00 (%02X %02X)", first.sw1, first.sw2);
    else if (!aet63_do(p, AET63_EEPROM_READ_DATA, place, sizeof place, &h) || !aet63_done(&h) || h.n != first.n ||
             memcmp(h.data, first.data, h.n) != 0)
        contradicted(p, NULL, "64 bytes read twice were not the same");
    else if (h.n == 0)
        not_tried(p, "EEPROM_READ_DATA brings no bytes");
    else
        confirmed(p, "%zu bytes read twice were the same", h.n);
    explicit_bzero(&first, sizeof first);
    explicit_bzero(&h, sizeof h);
}

void row_a50(struct probe *p)
{
    if (!aet63_do(p, AET63_TFM_RESET, NULL, 0, &h))
        contradicted(p, NULL, "TFM_RESET brings no answer in %u ms", p->settings.tfm_cap);
    else if (!aet63_done(&h))
        contradicted(p, NULL, "TFM_RESET is answered %02X %02X", h.sw1, h.sw2);
    else
        confirmed(p, "TFM_RESET is passed on: %zu bytes came after %u ms", h.n, h.ms);
}
