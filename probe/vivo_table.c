/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every row of the ViVOpay readers in doc/ASSUMPTIONS.md, in its order. A test compares the two.
 */
#include "probe/vivo_rows.h"

#define OPENING    NEEDS_BIT(NEED_OPENING)
#define NOTHING    NEEDS_BIT(NEED_NOTHING)
#define NEVER      NEEDS_BIT(NEED_NEVER)
#define EMPTY      NEEDS_BIT(NEED_EMPTY)
#define APDU       NEEDS_BIT(NEED_APDU)
#define BOTH       NEEDS_BIT(NEED_BOTH)
#define TYPE_B     NEEDS_BIT(NEED_TYPE_B)
#define MIFARE     NEEDS_BIT(NEED_MIFARE)
#define ULTRALIGHT NEEDS_BIT(NEED_ULTRALIGHT)
#define FELICA     NEEDS_BIT(NEED_FELICA)
#define TAG        NEEDS_BIT(NEED_TAG)
#define PULL       NEEDS_BIT(NEED_APDU_MOVES)
#define ICC        NEEDS_BIT(NEED_ICC)
#define ICC_T0     NEEDS_BIT(NEED_ICC_T0)
#define POWER      NEEDS_BIT(NEED_POWER)
#define REPLUG     NEEDS_BIT(NEED_REPLUG)
#define LAST       NEEDS_BIT(NEED_LAST)
#define CARDS      (APDU | BOTH | TYPE_B | MIFARE | ULTRALIGHT)

const struct row vivo_rows[] = {
    {"V01", "it speaks the protocol of its family", OPENING, row_v01, NULL},
    {"V02", "HID: the endpoints tell how reports travel", OPENING, row_v02, NULL},
    {"V03", "a CDC port carries the frames of the serial line", OPENING, row_v03, NULL},
    {"V04", "the serial line: 8N1, 115200 baud or less", OPENING, row_v04, NULL},
    {"V05", "a frame has up to 1500 bytes", NOTHING, row_v05, NULL},
    {"V06", "no long silence inside a frame", LAST, row_v06, NULL},
    {"V07", "the order of the CRC", NOTHING, row_v07, NULL},
    {"V08", "status 04 means not executed", NOTHING, row_v08, NULL},
    {"V09", "answers have their CRC high byte first", LAST, row_v09, NULL},
    {"V10", "pass-through mode is silent", NOTHING, row_v10, NULL},
    {"V11", "answers come in time", LAST, row_v11, NULL},
    {"V12", "silence and a Ping bring the line in step", EMPTY, row_v12, NULL},
    {"V13", "a frame 14 means that the reader restarted", POWER, row_v13, NULL},
    {"V14", "frames that nobody asked for are switched off", LAST, row_v14, NULL},
    {"V15", "a serial line comes back under its name", REPLUG, row_v15, NULL},
    {"V16", "a poll of an empty field: 08, type 00 or nothing", EMPTY, row_v16, NULL},
    {"V17", "2C-0E has one of two layouts", APDU, row_v17, NULL},
    {"V18", "2C-0C 0001 opens a card of both kinds for APDUs", BOTH, row_v18, NULL},
    {"V19", "every poll activates the card anew", APDU | TYPE_B, row_v19, NULL},
    {"V20", "a poll of 250 ms finds a card", CARDS, row_v20, NULL},
    {"V21", "card types are those of the list", LAST, row_v21, NULL},
    {"V22", "PUPI and 08... are random, other numbers fixed", CARDS, row_v22, NULL},
    {"V23", "without an ATS the ATR is 3B 80 80 01 01", APDU, row_v23, NULL},
    {"V24", "an APDU may have 1484 bytes", APDU, row_v24, NULL},
    {"V25", "a card that leaves shows as 08 or 0A", PULL, row_v25, NULL},
    {"V26", "10 ms without field reset a card", APDU, row_v26, NULL},
    {"V27", "R(NAK) asks for the card without harm", APDU, row_v27, NULL},
    {"V28", "T=0 is not offered for contactless cards", NEVER, NULL,
     "it is a convention of PC/SC and says nothing about the reader"},
    {"V29", "2C-40 FF finds FeliCa and Topaz cards", FELICA, row_v29, NULL},
    {"V30", "2C-44 passes a raw FeliCa frame", FELICA, row_v30, NULL},
    {"V31", "2C-06 stores a key only", MIFARE, row_v31, NULL},
    {"V32", "the card type of 2C-07 is that of the poll", MIFARE | ULTRALIGHT, row_v32, NULL},
    {"V33", "reading many blocks leaves trailers out", MIFARE, row_v33, NULL},
    {"V34", "an Ultralight wraps at its end as the card does", ULTRALIGHT, row_v34, NULL},
    {"V35", "2C-0A: bit 7 is increment, low byte first", NEVER, NULL,
     "it would change a value on a card; try it with make-purse.scriptor and top-up.scriptor on a card of no worth"},
    {"V36", "behind a purse error come block and error", MIFARE, row_v36, NULL},
    {"V37", "a failed raw exchange has its status bytes", MIFARE, row_v37, NULL},
    {"V38", "SAK and ATQA can be had by raw exchange", MIFARE | ULTRALIGHT, row_v38, NULL},
    {"V39", "2C-12 powers a contact card up", ICC, row_v39, NULL},
    {"V40", "61xx of a contact card comes up to the client", ICC_T0, row_v40, NULL},
    {"V41", "2C-18 powers the contact card off", ICC, row_v41, NULL},
    {"V42", "SAMs are interfaces 21 to 28", NOTHING | LAST, row_v42, NULL},
    {"V43", "encrypted answers are told by their shape", APDU | LAST, row_v43, NULL},
    {"V44", "raw exchange reaches ISO 15693 tags", TAG, row_v44, NULL},
    {"V45", "eight bytes with E0 are an ISO 15693 tag", TAG, row_v45, NULL},
    {"V46", "2C-09 and 2C-16 are answered", APDU, row_v46, NULL},
    {"V47", "reading the trailer in an idle session is harmless", MIFARE, row_v47, NULL},
};

const size_t vivo_row_count = sizeof vivo_rows / sizeof vivo_rows[0];
