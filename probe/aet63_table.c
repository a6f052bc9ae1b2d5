/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every row of the AET63 in doc/ASSUMPTIONS.md, in its order. A test compares the two.
 */
#include "probe/aet63_rows.h"

#define OPENING NEEDS_BIT(NEED_OPENING)
#define NOTHING NEEDS_BIT(NEED_NOTHING)
#define NEVER   NEEDS_BIT(NEED_NEVER)
#define EMPTY   NEEDS_BIT(NEED_EMPTY)
#define T0      NEEDS_BIT(NEED_T0)
#define T1      NEEDS_BIT(NEED_T1)
#define DUAL    NEEDS_BIT(NEED_DUAL)
#define MOVES   NEEDS_BIT(NEED_MOVES)
#define PULL    NEEDS_BIT(NEED_T0_MOVES)
#define LAST    NEEDS_BIT(NEED_LAST)
#define CARDS   (T0 | T1 | DUAL)

const struct row aet63_rows[] = {
    {"A01", "it is an AET63 and no CCID reader", OPENING, row_a01, NULL},
    {"A02", "the endpoints tell how bytes travel", OPENING, row_a02, NULL},
    {"A03", "interface 0 with its first setting is the reader", OPENING, row_a03, NULL},
    {"A04", "form A: one vendor request carries the frame", OPENING, row_a04, NULL},
    {"A05", "forms B and C: the frame is one transfer", NOTHING, row_a05, NULL},
    {"A06", "a message is STX, hex text, ETX", OPENING, row_a06, NULL},
    {"A07", "bytes behind ETX are junk", NOTHING, row_a07, NULL},
    {"A08", "packet boundaries mean nothing", NOTHING, row_a08, NULL},
    {"A09", "after a stall the endpoint can be cleared", NEVER, NULL, "a stall cannot be provoked safely"},
    {"A10", "the extended form is understood", NOTHING, row_a10, NULL},
    {"A11", "NAK is 05 05", NOTHING, row_a11, NULL},
    {"A12", "what was answered NAK was not executed", NOTHING, row_a12, NULL},
    {"A13", "a NAK makes the reader repeat its answer", NOTHING, row_a13, NULL},
    {"A14", "no long silence inside a frame", LAST, row_a14, NULL},
    {"A15", "silence and GET_ACR_STAT bring the line in step", CARDS, row_a15, NULL},
    {"A16", "GET_ACR_STAT begins alike at all times", LAST, row_a16, NULL},
    {"A17", "GET_ACR_STAT brings 16 bytes, the first 10 text", NOTHING, row_a17, NULL},
    {"A18", "MAX_C limits nothing", T0, row_a18, NULL},
    {"A19", "four commands may be sent twice", NOTHING, row_a19, NULL},
    {"A20", "a half command does no harm", NOTHING, row_a20, NULL},
    {"A21", "a Reset Message means a restart", NOTHING, row_a21, NULL},
    {"A22", "a USB port reset restarts the reader", NOTHING, row_a22, NULL},
    {"A23", "notification: 01 is on, 02 off", MOVES, row_a23, NULL},
    {"A24", "FF 01 is an insertion, FF 02 a removal", MOVES, row_a24, NULL},
    {"A25", "each movement sends one event", MOVES, row_a25, NULL},
    {"A26", "no event while the reader works", MOVES, row_a26, NULL},
    {"A27", "a card that leaves shows as 60 02 or 60 04", PULL, row_a27, NULL},
    {"A28", "C_STAT: 00 none, 01 unpowered, 03 powered", EMPTY | CARDS, row_a28, NULL},
    {"A29", "02, 80, 81 and A0 are what they are taken for", T0, row_a29, NULL},
    {"A30", "card types 00, 0C, 0D", CARDS, row_a30, NULL},
    {"A31", "SW2 of RESET tells the protocol", CARDS, row_a31, NULL},
    {"A32", "the automatic type runs every card", CARDS, row_a32, NULL},
    {"A33", "a type changes the protocol of a card with both", DUAL, row_a33, NULL},
    {"A34", "the card's speed is the reader's business", CARDS, row_a34, NULL},
    {"A35", "RESET of a powered card is a warm reset", CARDS, row_a35, NULL},
    {"A36", "POWER_OFF may be sent at any time", EMPTY | CARDS, row_a36, NULL},
    {"A37", "the status codes are those of the table", LAST, row_a37, NULL},
    {"A38", "EXCHANGE_APDU has Lc and Le; Le 00 is 256", T0, row_a38, NULL},
    {"A39", "61xx and 6Cxx come up to the client", T0, row_a39, NULL},
    {"A40", "EXCHANGE_T1_FRAME carries whole blocks", T1, row_a40, NULL},
    {"A41", "blocks of up to 259 bytes fit", T1, row_a41, NULL},
    {"A42", "S(IFS 254) after the reset", T1, row_a42, NULL},
    {"A43", "a CRC as ISO/IEC 13239 says", T1, row_a43, NULL},
    {"A44", "a card that asks for time gets it", T1, row_a44, NULL},
    {"A45", "EXCHANGE_APDU runs T=1 by itself", T1, row_a45, NULL},
    {"A46", "2 s are enough for a command, 10 s for RESET", LAST, row_a46, NULL},
    {"A47", "cards get 5 V", NEVER, NULL, "it needs a voltmeter: no command tells the voltage"},
    {"A48", "ACTIVATE_SAM tells whether there is a SAM", NOTHING, row_a48, NULL},
    {"A49", "reading the EEPROM is harmless", NOTHING, row_a49, NULL},
    {"A50", "fingerprint commands are passed on", NOTHING, row_a50, NULL},
    {"A51", "after suspend the reader is a new device", NEVER, NULL,
     "the machine would have to sleep: suspend it once with the driver running, and look at pcscd's log"},
    {"A52", "old bytes are out after 100 ms of silence", NOTHING, row_a52, NULL},
};

const size_t aet63_row_count = sizeof aet63_rows / sizeof aet63_rows[0];
