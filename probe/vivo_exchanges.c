/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What ID TECH's guide documents of a ViVOpay reader, as far as it concerns a reader of cards (exchange.h). Some
 * commands work outside pass-through mode only: the table leaves it for them, once, and enters it again as the driver
 * does.
 */
#include "probe/exchange.h"
#include "probe/vivo_rows.h"

#define NOTHING    NEED_NOTHING
#define APDU       NEED_APDU
#define BOTH       NEED_BOTH
#define TYPE_B     NEED_TYPE_B
#define MIFARE     NEED_MIFARE
#define ULTRALIGHT NEED_ULTRALIGHT
#define FELICA     NEED_FELICA
#define ICC        NEED_ICC
#define OK         "\x00"
#define NONE       COMES(0, 0, "")
#define TEXT       COMES(1, VIVO_DATA_MAX, "")
#define CARD       COMES(2, VIVO_DATA_MAX, "") /* data, and the card's status word */
#define ATR        COMES(2, 33, "")
#define ANY_CARD   COMES(5, 11, "") /* its type, its serial number */
#define SELECT_PPSE "\x00\xA4\x04\x00\x0E" "2PAY.SYS.DDF01\x00"

/* What a guide documents and this program has no business with. */
#define PAYMENT  "it is for payments; a reader of cards has no use for it"
#define SECURITY "it concerns keys, or what the reader's owner has set"

/* ---- what has to be there ---------------------------------------------------------------------------------------- */

static const char *passing(const struct probe *p)
{
    return p->v->ordinary ? NULL : "pass-through mode could not be left";
}

static const char *no_felica(const struct probe *p)
{
    return p->v->card.type == 0x0C ? NULL : "it is no FeliCa card";
}

static const char *no_topaz(const struct probe *p)
{
    return p->v->card.type == 0x0A ? NULL : "it is no Topaz card";
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define ORDINARY(command, text, bytes, statuses, ...)                                                                  \
    SEND_UNLESS(passing, command, text, NOTHING, bytes, statuses, __VA_ARGS__)

const struct exchange vivo_exchanges[] = {
    SEND(0x1801, "Ping", NOTHING, "", OK, NONE),
    SEND(0x2C01, "Pass-through stop", NOTHING, "\x00", OK, NONE),
    ORDINARY(0x0101, "Set Poll Mode, on demand", "\x01", OK, NONE),
    ORDINARY(0x0501, "Cancel Transaction, none runs", "", OK, NONE),
    ORDINARY(0x2900, "Get Version", "", OK, TEXT),
    ORDINARY(0x1201, "Get Serial Number", "", OK "\x0B", COMES(15, 15, "")),
    ORDINARY(0x0900, "Module versions", "", OK, TEXT),
    ORDINARY(0x0901, "Product type", "", OK, COMES(6, 6, "\xDF\x60\x03")),
    ORDINARY(0x0902, "Processor type", "", OK, COMES(5, 5, "\xDF\x61\x02")),
    ORDINARY(0x0903, "Main firmware", "", OK, TEXT),
    ORDINARY(0x0914, "Hardware information", "", OK, TEXT),
    ORDINARY(0x0920, "Module version information", "", OK, TEXT),
    ORDINARY(0x2901, "Product information, contact", "\x00", OK, TEXT),
    ORDINARY(0x2901, "Product information, contactless", "\x01", OK, TEXT),
    ORDINARY(0x2904, "Boot loader version", "", OK, TEXT),
    ORDINARY(0x2906, "Contact kernel version", "", OK, TEXT),
    ORDINARY(0x2917, "UID of the microcontroller", "", OK, COMES(16, 16, "")),
    ORDINARY(0x8350, "Light sensor", "", OK, COMES(2, 2, "")),
    ORDINARY(0x2801, "Antenna off, outside pass-through mode", "\x00", OK "\x0C", NONE),
    ORDINARY(0x2C05, "PCD and PICC parameters, outside pass-through mode", "", "\x0C\x0B", NONE),
    SEND(0x2C01, "Pass-through start", NOTHING, "\x01", OK, NONE),
    SEND(0x1801, "Ping in pass-through mode", NOTHING, "", OK, NONE),
    SEND(0x2900, "Get Version in pass-through mode", NOTHING, "", OK, TEXT),
    SEND(0x1201, "Get Serial Number in pass-through mode", NOTHING, "", OK "\x0B", COMES(15, 15, "")),
    SEND(0x0902, "Processor type in pass-through mode", NOTHING, "", "\x0C\x0B", NONE),
    SEND(0x2801, "Antenna on", NOTHING, "\x01", OK, NONE),
    SEND(0x2801, "Antenna off", NOTHING, "\x00", OK, NONE),
    SEND(0x0A02, "LED 1 off", NOTHING, "\x01\x00", OK, NONE),
    SEND(0x0A03, "Front LED off", NOTHING, "\x00\x00\x00", OK, NONE),
    SEND(0x0B01, "One short beep", NOTHING, "\x01", OK, NONE),
    SEND(0x0B02, "One long beep, 200 ms", NOTHING, "\x00", OK, NONE),
    BY_ROW("V16", 0x2C02, "Poll for Token, no card"),
    BY_ROW("V42", 0x2C12, "Get ATR of a SAM"),
    BY_ROW("V13", 0x14FF, "Boot notification"),

    SEND(0x2C02, "Poll for Token", APDU, "\x00\x19", OK, ANY_CARD),
    SEND(0x2C05, "PCD and PICC parameters", APDU, "", OK, COMES(15, 15, "")),
    SEND(0x2C0B, "Enhanced Pass-Through, poll", APDU, "\x05\xFF\x00\x00\x00\x00\x19", OK, ANY_CARD),
    SEND(0x2C0E, "Poll for Token with ATS", APDU, "\x00\x19", OK, COMES(5, 64, "")),
    SEND(0x2C0C, "Enhanced Poll", APDU, "\x00\x19\x00\x00", OK, ANY_CARD),
    SEND(0x2C0C, "Enhanced Poll for APDUs", APDU, "\x00\x19\x00\x01", OK, ANY_CARD),
    SEND(0x2C03, "Exchange Contactless Data, SELECT", APDU, SELECT_PPSE, OK, CARD),
    SEND(0x2C13, "Exchange APDU, SELECT", APDU, "\x00" SELECT_PPSE, OK, CARD),
    SEND(0x2C40, "NFC poll", APDU, "\xFF\x01", OK, ANY_CARD),
    SEND(0x2C40, "NFC tag 4, SELECT", APDU, "\x81" SELECT_PPSE, OK, CARD),
    SEND(0x2C16, "Terminate ISO session", APDU, "", OK "\x01", NONE),
    SEND(0x2C02, "Poll for Token, once more", APDU, "\x00\x19", OK, ANY_CARD),
    SEND(0x2C09, "High Level Halt, type A", APDU, "\x01", OK "\x0C", NONE),
    BY_ROW("V24", 0x2C03, "Exchange Contactless Data, up to a frame of 1500 bytes"),

    SEND(0x2C0C, "Enhanced Poll for APDUs, card of both kinds", BOTH, "\x00\x19\x00\x01", OK, ANY_CARD),
    BY_ROW("V18", 0x2C02, "Poll for Token opens a card of both kinds for MIFARE"),
    SEND(0x2C02, "Poll for Token, type B", TYPE_B, "\x00\x19", OK, COMES(5, 5, "\x02")),
    SEND(0x2C09, "High Level Halt, type B", TYPE_B, "\x02", OK "\x0C", NONE),

    SEND(0x2C02, "Poll for Token, MIFARE", MIFARE, "\x00\x19", OK, COMES(5, 11, "\x03")),
    SEND(0x2C04, "PCD Single Command Exchange, HLTA: no answer", MIFARE,
         "\x1E\x00\x00\x00\x6A\x00\x07\x50\x00", "\x08", COMES(5, 5, "\xE5")),
    BY_ROW("V37", 0x2C04, "PCD Single Command Exchange, READ without a key"),
    NEVER_SENT(0x2C04, "PCD Single Command Exchange, load key and authenticate", "the driver has 2C-06 for it"),
    BY_ROW("V31", 0x2C06, "MIFARE Authenticate Block"),
    BY_ROW("V33", 0x2C07, "MIFARE Read Blocks"),
    NEVER_SENT(0x2C08, "MIFARE Write Blocks", "it would change a card"),
    NEVER_SENT(0x2C0A, "MIFARE ePurse", "it would change a value on a card"),
    BY_ROW("V36", 0x2C0A, "MIFARE ePurse, refused"),

    SEND(0x2C02, "Poll for Token, Ultralight", ULTRALIGHT, "\x00\x19", OK, COMES(8, 8, "\x04")),
    SEND(0x2C07, "Read Blocks of an Ultralight", ULTRALIGHT, "\x41\x04", OK, COMES(16, 16, "")),
    SEND(0x2C04, "PCD Single Command Exchange, READ", ULTRALIGHT, "\x1E\x00\x00\x29\x68\x01\x0F\x30\x04", OK,
         COMES(21, 21, "\x00\x00\x00\x00\x80")),
    SEND(0x2C40, "NFC poll, tag 2", ULTRALIGHT, "\xFF\x01", OK, COMES(8, 8, "\x0B")),
    SEND(0x2C40, "NFC tag 2, read", ULTRALIGHT, "\x21\x04", OK, COMES(16, 16, "")),
    NEVER_SENT(0x2C40, "NFC tags, write (13, 14, 17, 18, 22, 42)", "it would change a card"),
    NEVER_SENT(0x2C40, "NFC tag 2, sector select (23)", "the driver does not use it, and most tags have one sector"),

    SEND(0x2C40, "NFC poll, FeliCa or Topaz", FELICA, "\xFF\x01", OK, ANY_CARD),
    SEND_UNLESS(no_topaz, 0x2C40, "NFC tag 1, read all", FELICA, "\x11", OK, COMES(122, 122, "")),
    SEND_UNLESS(no_topaz, 0x2C40, "NFC tag 1, read a byte", FELICA, "\x12\x08", OK, COMES(2, 2, "\x08")),
    NEVER_SENT(0x2C40, "NFC tag 1, read segments (15, 16)", "few of these cards have them"),
    SEND_UNLESS(no_felica, 0x2C40, "NFC tag 3, read", FELICA, "\x41\x01\x0B\x00\x01\x80\x00", OK, COMES(2, 19, "")),
    SEND_UNLESS(no_felica, 0x2C41, "FeliCa, read", FELICA, "\x06\x01\x0B\x00\x01\x80\x00", OK, COMES(2, 19, "")),
    BY_ROW("V30", 0x2C44, "FeliCa, raw frame"),
    NEVER_SENT(0x2C41, "FeliCa, write (08)", "it would change a card"),
    NEVER_SENT(0x2C42, "FeliCa Lite, authenticate", "it needs the card's key"),
    NEVER_SENT(0x2C43, "FeliCa Lite, read or write with MAC", "it needs the card's key"),

    SEND(0x2C12, "Get ATR of a contact card", ICC, "\x20", OK, ATR),
    SEND(0x2C13, "Exchange APDU with a contact card, SELECT", ICC, "\x20\x00\xA4\x00\x00\x02\x3F\x00", OK, CARD),
    SEND(0x2C18, "Contact power off", ICC, "", OK, NONE),

    NEVER_SENT(0x0101, "Set Poll Mode, automatic (00)", "cards would be read out and sent by themselves"),
    NEVER_SENT(0x0501, "Cancel and reset status (01)", "it is for payments"),
    NEVER_SENT(0x02FF, "Activate Transaction and its like", PAYMENT),
    NEVER_SENT(0x03FF, "Get Configuration, Update Balance", "what it tells belongs to the reader's owner"),
    NEVER_SENT(0x04FF, "Set Configuration", "it is kept for good"),
    NEVER_SENT(0x0930, "Device memory", "what it answers is in no page that was read"),
    NEVER_SENT(0x24FF, "Key management", SECURITY),
    NEVER_SENT(0x3001, "Set Baud Rate", "it is kept for good"),
    NEVER_SENT(0x3002, "Set Temporary Baud Rate", "the line would be lost until the next power-off"),
    NEVER_SENT(0x60FF, "Contact EMV", PAYMENT),
    NEVER_SENT(0x61FF, "Display and messages of contact EMV", PAYMENT),
    NEVER_SENT(0x62FF, "PIN pad", PAYMENT),
    NEVER_SENT(0x77FF, "Bluetooth", "this driver does not use it"),
    NEVER_SENT(0x81FF, "Security", SECURITY),
    NEVER_SENT(0x90FF, "Encryption of data", SECURITY),
    NEVER_SENT(0xC7FF, "Security", SECURITY),
};

const size_t vivo_exchange_count = sizeof vivo_exchanges / sizeof vivo_exchanges[0];
_Static_assert(sizeof vivo_exchanges / sizeof vivo_exchanges[0] <= EXCHANGES_MAX, "EXCHANGES_MAX is too small");

/* ---- sending ----------------------------------------------------------------------------------------------------- */

enum { POLL_TIME = 1000 }; /* of the longest poll above */

/* What a later line, and the settling before it, has to know: the mode, and which card was found. */
static void follow(struct probe *p, const struct exchange *x, const struct vivo_heard *h)
{
    struct vivo_wire *v = p->v;

    if (x->code == 0x2C01) {
        v->pass_through = vivo_ok(h) ? x->data.p[0] == 1 : v->pass_through;
        v->ordinary = vivo_ok(h) && x->data.p[0] == 0;
    }
    if (x->code == 0x2C40 && x->data.p[0] == 0xFF && (!vivo_ok(h) || !vivo_parse_poll(h->data, h->n, &v->card)))
        v->card.type = 0;
}

void vivo_try_exchange(struct probe *p, const struct exchange *x, struct exchange_heard *heard)
{
    static struct vivo_heard h;
    uint8_t command = (uint8_t)(x->code >> 8), sub = (uint8_t)x->code;
    bool card = command == VIVO_CMD_PASS_THROUGH && sub != VIVO_SUB_PASS_THROUGH;

    if (!vivo_do(p, command, sub, x->data.p, x->data.n, card ? POLL_TIME : 0, &h))
        heard->instead = h.kind == VIVO_GARBAGE ? "a broken answer" : "nothing";
    heard->status = h.status;
    heard->data = h.data;
    heard->n = h.n;
    follow(p, x, &h);
}
