/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the manual of the AET63 documents, and the manuals of its family where pages of it are missing (exchange.h): its
 * commands, the statuses of a slot that is empty or unpowered, and the messages that come by themselves.
 */
#include "probe/aet63_rows.h"
#include "probe/exchange.h"

#include <string.h>

#define NOTHING NEED_NOTHING
#define EMPTY   NEED_EMPTY
#define T0      NEED_T0
#define T1      NEED_T1
#define DONE    "\x90\x00"
#define ATR     "\x90\xFF" /* SW2 is the protocol */
#define NONE    COMES(0, 0, "")
#define CARD    COMES(2, 258, "") /* data, and the card's status word */

/* ---- what has to be there ---------------------------------------------------------------------------------------- */

static const char *off(const struct probe *p)
{
    return p->a->protocol < 0 ? "the card does not run" : NULL;
}

static const char *no_lrc(const struct probe *p)
{
    if (p->a->protocol != 1 || !p->a->info_valid)
        return "the card does not run T=1";
    return p->a->info.t1_crc ? "this card's blocks end with a CRC, and the block here with an LRC" : NULL;
}

static const char *no_sam_t0(const struct probe *p)
{
    return p->a->sam_protocol == 0 ? NULL : "no SAM runs T=0";
}

static const char *no_sam_t1(const struct probe *p)
{
    return p->a->sam_protocol == 1 ? NULL : "no SAM runs T=1";
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

const struct exchange aet63_exchanges[] = {
    SEND(0x01, "GET_ACR_STAT", NOTHING, "", DONE, COMES(16, 16, "")),
    BY_ROW("A10", 0x01, "GET_ACR_STAT in the extended form"),
    SEND(0x02, "SELECT_CARD_TYPE T=0", NOTHING, "\x0C", DONE, NONE),
    SEND(0x02, "SELECT_CARD_TYPE T=1", NOTHING, "\x0D", DONE, NONE),
    SEND(0x02, "SELECT_CARD_TYPE automatic", NOTHING, "\x00", DONE, NONE),
    NEVER_SENT(0x03, "SET_PROTOCOL", "it sets the speed of a serial line"),
    SEND(0x06, "SET_NOTIFICATION off", NOTHING, "\x02", DONE, NONE),
    SEND(0x06, "SET_NOTIFICATION on", NOTHING, "\x01", DONE, NONE),
    NEVER_SENT(0x07, "SET_OPTION", "the driver does not set it, and no page that was read tells whether it stays"),
    BY_ROW("A21", 0xFF, "Reset Message FF 00"),
    BY_ROW("A24", 0xFF, "Card Status Messages FF 01 and FF 02"),
    BY_ROW("A11", EXCHANGE_NO_CODE, "NAK by the reader to a broken frame"),
    BY_ROW("A13", EXCHANGE_NO_CODE, "NAK by the host: the reader repeats its answer"),

    SEND(0x88, "ACTIVATE_SAM", NOTHING, "\x00", ATR "\x60\x02", COMES(2, 33, "")),
    SEND_UNLESS(no_sam_t0, 0xB0, "EXCHANGE_SAM_APDU, GET CHALLENGE", NOTHING, "\x00\x84\x00\x00\x00\x08", DONE, CARD),
    SEND_UNLESS(no_sam_t1, 0xB1, "EXCHANGE_SAM_T1_FRAME, S(IFS 254)", NOTHING, "\x00\xC1\x01\xFE\x3E", DONE,
                COMES(5, 6, "\x00\xE1\x01\xFE")),
    SEND(0x89, "DEACTIVATE_SAM", NOTHING, "", DONE, NONE),

    SEND(0x9A, "EEPROM_READ_DATA, 16 bytes", NOTHING, "\x00\x00\x10", DONE, COMES(16, 16, "")),
    SEND(0x9A, "EEPROM_READ_DATA, 64 bytes", NOTHING, "\x01\x40\x40", DONE, COMES(64, 64, "")),
    NEVER_SENT(0x9B, "EEPROM_WRITE_DATA", "it would change the EEPROM for good"),
    NEVER_SENT(0x9C, "TFM_COMMAND",
               "what it asks of the fingerprint module is in no page that was read; it might erase"),
    BY_ROW("A50", 0x9D, "TFM_RESET"),
    NEVER_SENT(0x9E, "a command of the fingerprint module", "its name and its data are in no page that was read"),
    NEVER_SENT(0x9F, "TFM_OPEN_SECURE_SESSION", "it makes a key that only the maker's software can use"),
    NEVER_SENT(EXCHANGE_NO_CODE, "messages with header 02", "how they are encrypted is not published"),

    SEND(0x80, "RESET, no card", EMPTY, "", "\x60\x02", NONE),
    SEND(0xA0, "EXCHANGE_APDU, no card", EMPTY, "\x00\xA4\x00\x00\x00\x00", "\x60\x02\x60\x04", NONE),
    BY_ROW("A36", 0x81, "POWER_OFF, no card"),

    SEND(0x81, "POWER_OFF, T=0 card", T0, "", DONE, NONE),
    SEND(0xA0, "EXCHANGE_APDU, unpowered", T0, "\x00\xA4\x00\x00\x00\x00", "\x60\x04", NONE),
    SEND(0x02, "SELECT_CARD_TYPE automatic, with a card", T0, "\x00", DONE, NONE),
    SEND(0x80, "RESET, cold", T0, "", DONE, COMES(2, 33, "")),
    SEND_UNLESS(off, 0xA0, "EXCHANGE_APDU without data", T0, "\x00\xA4\x00\x00\x00\x00", DONE, CARD),
    SEND_UNLESS(off, 0xA0, "EXCHANGE_APDU with Le, GET CHALLENGE", T0, "\x00\x84\x00\x00\x00\x08", DONE, CARD),
    SEND_UNLESS(off, 0xA0, "EXCHANGE_APDU with Lc, SELECT", T0, "\x00\xA4\x00\x00\x02\x3F\x00\x00", DONE, CARD),
    SEND_UNLESS(off, 0xA0, "EXCHANGE_APDU, GET RESPONSE", T0, "\x00\xC0\x00\x00\x00\x12", DONE, CARD),
    SEND_UNLESS(off, 0xA0, "EXCHANGE_APDU with Lc and Le", T0, "\x00\xA4\x00\x00\x02\x3F\x00\x10", "\x67\xFF\x60\xFF",
                NONE),
    SEND_UNLESS(off, 0xA1, "EXCHANGE_T1_FRAME to a T=0 card", T0, "\x00\xC1\x01\xFE\x3E", "\x67\x01", NONE),
    SEND_UNLESS(off, 0x80, "RESET, warm", T0, "", DONE, COMES(2, 33, "")),
    SEND(0x81, "POWER_OFF of a powered card", T0, "", DONE, NONE),

    SEND(0x81, "POWER_OFF, T=1 card", T1, "", DONE, NONE),
    SEND(0x02, "SELECT_CARD_TYPE T=1, with a card", T1, "\x0D", DONE, NONE),
    SEND(0x80, "RESET of a T=1 card", T1, "", "\x90\x01", COMES(2, 33, "")),
    SEND_UNLESS(no_lrc, 0xA1, "EXCHANGE_T1_FRAME, S(IFS 254)", T1, "\x00\xC1\x01\xFE\x3E", DONE,
                COMES(5, 5, "\x00\xE1\x01\xFE\x1E")),
    SEND_UNLESS(no_lrc, 0xA1, "EXCHANGE_T1_FRAME, GET CHALLENGE", T1, "\x00\x00\x05\x00\x84\x00\x00\x08\x89", DONE,
                COMES(4, 258, "\x00")),
    BY_ROW("A45", 0xA0, "EXCHANGE_APDU to a T=1 card"),
    BY_ROW("A33", 0x02, "SELECT_CARD_TYPE chooses the protocol of a card with both"),
    BY_ROW("A27", 0xA0, "EXCHANGE_APDU while the card leaves: 60 04"),

    NEVER_SENT(0x90, "READ_DATA", "it is for memory cards, which the AET63 does not take"),
    NEVER_SENT(0x91, "WRITE_DATA", "it is for memory cards, and writes"),
    NEVER_SENT(0x92, "PRESENT_CODE", "it is for memory cards, and may lock one"),
    NEVER_SENT(0x93, "CHANGE_CODE", "it is for memory cards, and writes"),
    NEVER_SENT(0x94, "WRITE_PROTECTION", "it is for memory cards, and writes"),
};

const size_t aet63_exchange_count = sizeof aet63_exchanges / sizeof aet63_exchanges[0];
_Static_assert(sizeof aet63_exchanges / sizeof aet63_exchanges[0] <= EXCHANGES_MAX, "EXCHANGES_MAX is too small");

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static const char *instead_of_answer(enum heard_kind kind)
{
    return kind == HEARD_REFUSAL ? "a NAK" : kind == HEARD_GARBAGE ? "a broken answer" : "nothing";
}

/* What a later line has to know: does a card run, does a SAM? */
static void follow(struct probe *p, uint8_t instruction, const struct aet63_heard *h)
{
    struct aet63_wire *a = p->a;

    if (instruction == AET63_RESET || instruction == AET63_POWER_OFF)
        a->protocol = -1;
    if (instruction == AET63_RESET && aet63_done(h))
        aet63_take_atr(p, h);
    if (instruction == AET63_ACTIVATE_SAM)
        a->sam_protocol = aet63_done(h) ? h->sw2 : -1;
}

void aet63_try_exchange(struct probe *p, const struct exchange *x, struct exchange_heard *heard)
{
    static struct aet63_heard h;
    uint8_t instruction = (uint8_t)x->code;

    if (!aet63_do(p, instruction, x->data.p, x->data.n, &h))
        heard->instead = instead_of_answer(h.kind);
    heard->status = (unsigned)(h.sw1 << 8 | h.sw2);
    heard->data = h.data;
    heard->n = h.n;
    follow(p, instruction, &h);
}
