/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The sessions of the fault matrix, and the links that they run on. Each has an exchange that is broken (act), what has
 * to be so before (prepare), and exchanges with answers of their own that show afterwards whether the line is in step
 * (next). What a client is told is held against what is known to be right; nothing here looks at the driver's insides.
 */
#include "matrix.h"

#include <PCSC/reader.h>
#include <stdio.h>
#include <string.h>

const struct link links[] = {
    {"aet63", "aet63:interval=none", "[072F:8002]", true, false},
    {"aet63-b", "aet63:interval=none,transport=b", "[072F:8002]", true, false},
    {"aet63-c", "aet63:interval=none,transport=c", "[072F:8002]", true, false},
    {"serial", "neo:tty=ttyUSB0", "[/dev/ttyUSB0]", false, true},
    {"hid", "neo:link=hid,interval=none", "[0ACD:3530]", false, false},
};
const size_t links_count = sizeof links / sizeof links[0];

#define AET63_ALL "aet63 aet63-b aet63-c "
#define NEO_ALL   "serial hid "

/* What an exchange has come to: exactly this answer, an error, or something else. */
static enum told judge(bool ok, const uint8_t *answer, size_t n, const void *right, size_t right_n)
{
    if (!ok)
        return TOLD_ERROR;
    if (n == right_n && memcmp(answer, right, n) == 0)
        return TOLD_RIGHT;
    bed_wrong(answer, n);
    return TOLD_WRONG;
}

/* The driver itself tells a client of an error by a status word, in class FF; and, of an APDU that the reader finds too
 * long (a length that was spoilt on the way makes it so), by that of ISO/IEC 7816-4. */
static bool is_error(const uint8_t *apdu, const uint8_t *answer, size_t n)
{
    return n == 2 && (apdu[0] == 0xFF ? answer[0] != 0x90 : answer[0] == 0x67 && answer[1] == 0x00);
}

static enum told ask(const uint8_t *apdu, size_t n, const void *right, size_t right_n)
{
    uint8_t answer[ANSWER_MAX];
    size_t len;
    bool ok = bed_transmit(apdu, n, answer, &len);

    if (ok && is_error(apdu, answer, len))
        return TOLD_ERROR;
    return judge(ok, answer, len, right, right_n);
}

/* ---- an echo card ----------------------------------------------------------------------------------------------- */

static const uint8_t challenge[] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};

static enum told ask_challenge(uint8_t n)
{
    const uint8_t apdu[] = {0x00, 0x84, 0x00, 0x00, n};
    uint8_t right[sizeof challenge + 2] = {0};

    memcpy(right, challenge, n);
    right[n] = 0x90;
    return ask(apdu, sizeof apdu, right, n + 2u);
}

static enum told next_challenge(unsigned n)
{
    static const uint8_t lengths[] = {3, 7, 5};

    return ask_challenge(lengths[n % 3]);
}

static enum told act_read(void)
{
    return ask_challenge(8);
}

static enum told act_chain(void)
{
    uint8_t apdu[46] = {0x00, 0xE0, 0x00, 0x00, 40}, right[42];

    for (uint8_t i = 0; i < 40; i++)
        apdu[5 + i] = right[i] = (uint8_t)(0xA0 ^ i);
    right[40] = 0x90;
    right[41] = 0x00;
    return ask(apdu, sizeof apdu, right, sizeof right);
}

static uint32_t counted; /* by the card, before */
static bool added;

static bool read_counter(uint32_t *value)
{
    static const uint8_t apdu[] = {0x00, 0xEC, 0x00, 0x00, 0x04};
    uint8_t a[ANSWER_MAX];
    size_t n;

    if (!bed_transmit(apdu, sizeof apdu, a, &n) || n != 6)
        return false;
    *value = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];
    return true;
}

static bool prepare_add(void)
{
    added = false;
    return bed_ready() && read_counter(&counted);
}

static enum told act_add(void)
{
    static const uint8_t apdu[] = {0x00, 0xEA, 0x00, 0x00, 0x04};
    uint32_t v = counted + 1;
    const uint8_t right[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v, 0x90, 0x00};
    enum told told = ask(apdu, sizeof apdu, right, sizeof right);

    added = told == TOLD_RIGHT;
    return told;
}

/* The card's own count, between two other commands. */
static enum told next_add(unsigned n)
{
    uint32_t v;

    if (n != 1)
        return next_challenge(n);
    if (!read_counter(&v))
        return TOLD_ERROR;
    return v == counted + 1 || (v == counted && !added) ? TOLD_RIGHT : TOLD_WRONG;
}

/* ---- power, presence, identity ---------------------------------------------------------------------------------- */

static uint8_t right_atr[ATR_SIZE_MAX];
static size_t right_atr_n;

/* A ViVOpay reader that left two 2C-0E polls unanswered is taken for one that does not know them: until it is opened
 * again its cards' ATRs are without historical bytes, a valid ATR all the same. */
static bool poorer;

static bool is_poorer(void)
{
    static const uint8_t bare[] = {0x3B, 0x80, 0x80, 0x01, 0x01};

    return !bed.link->aet63 && bed_atr_n == sizeof bare && memcmp(bed_atr, bare, sizeof bare) == 0;
}

static bool prepare_power(void)
{
    if (poorer)
        bed_close();
    poorer = false;
    if (!bed_ready() || (right_atr_n == 0 && bed_atr_n == 0))
        return false;
    if (right_atr_n == 0) {
        memcpy(right_atr, bed_atr, bed_atr_n);
        right_atr_n = bed_atr_n;
    }
    return bed_power_down() && bed_present();
}

static enum told act_power(void)
{
    bool ok = bed_power_up();

    poorer = ok && is_poorer();
    if (poorer)
        return TOLD_ERROR;
    if (ok && judge(ok, bed_atr, bed_atr_n, right_atr, right_atr_n) == TOLD_WRONG)
        return TOLD_WRONG;
    return ok && bed_protocol() ? TOLD_RIGHT : TOLD_ERROR;
}

/* The slot is empty, pcscd knows it, and the driver has nothing more to find out. */
static bool prepare_empty(void)
{
    if (!bed_open() || (bed.powered && !bed_power_down()))
        return false;
    bed_sim("remove");
    bed_poll(bed.link->aet63 ? 20 : 300);
    if (bed_present())
        return false;
    bed_poll(bed.link->aet63 ? 20 : 300);
    return !bed_present();
}

static enum told act_insert(void)
{
    bed_sim("%s", bed.session->card);
    bed_poll(bed.real ? 3000 : bed.link->aet63 ? 60 : 300);
    return bed_present() ? TOLD_RIGHT : TOLD_ERROR;
}

static bool prepare_fresh(void)
{
    if (strstr(bed_sim(bed.link->aet63 ? "status" : "state"), bed.link->aet63 ? "card=none" : "cards=0"))
        bed_sim("%s", bed.session->card);
    return bed_ready() && bed_power_down() && bed_present();
}

static enum told act_remove(void)
{
    bed_sim("remove");
    bed_poll(bed.real ? 3000 : bed.link->aet63 ? 60 : 600);
    enum told told = bed_present() ? TOLD_ERROR : TOLD_RIGHT;
    bed_sim("%s", bed.session->card);
    return told;
}

static char right_type[64];

static bool read_type(char *type)
{
    uint8_t value[64];
    size_t n = bed_attribute(SCARD_ATTR_VENDOR_IFD_TYPE, value, sizeof value - 1);

    memcpy(type, value, n);
    type[n] = '\0';
    return n > 0;
}

static bool prepare_closed(void)
{
    if (right_type[0] == '\0' && (!bed_ready() || !read_type(right_type)))
        return false;
    bed_close();
    return true;
}

/* A reader that does not say what it is has no type, or its family's name for its type. */
static enum told act_open(void)
{
    char type[64];

    if (!bed_open())
        return TOLD_ERROR;
    bed_present();
    if (!read_type(type))
        return TOLD_ERROR;
    if (strcmp(type, right_type) == 0)
        return TOLD_RIGHT;
    if (strcmp(type, "ID TECH ViVOpay") == 0)
        return TOLD_ERROR;
    bed_wrong((const uint8_t *)type, strlen(type));
    return TOLD_WRONG;
}

static enum told ask_eeprom(uint8_t at, uint8_t count)
{
    const uint8_t command[] = {0x9A, 0x00, at, count};
    uint8_t right[10] = {0x90, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, answer[ANSWER_MAX];
    size_t n;
    bool ok = bed_control(command, sizeof command, answer, &n);

    return judge(ok, answer, n, right, 2u + count);
}

static bool prepare_open(void)
{
    return bed_open();
}

static enum told act_eeprom(void)
{
    return ask_eeprom(0x10, 8);
}

static enum told next_eeprom(unsigned n)
{
    return ask_eeprom(0x20, (uint8_t)(1 + n));
}

/* ---- a purse ---------------------------------------------------------------------------------------------------- */

enum { PURSE_BLOCK = 4, AMOUNT = 7 };

static bool authenticated(void)
{
    static const uint8_t key[] = {0xFF, 0x82, 0x00, 0x00, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    static const uint8_t general[] = {0xFF, 0x86, 0x00, 0x00, 0x05, 0x01, 0x00, PURSE_BLOCK, 0x60, 0x00};

    return ask(key, sizeof key, "\x90\x00", 2) == TOLD_RIGHT &&
           ask(general, sizeof general, "\x90\x00", 2) == TOLD_RIGHT;
}

static enum told next_block(unsigned n)
{
    const uint8_t apdu[] = {0xFF, 0xB0, 0x00, n == 1 ? 6 : 5, 0x10};
    uint8_t right[18] = {0};

    memset(right, n == 1 ? 0x66 : 0x55, 16);
    right[16] = 0x90;
    enum told told = ask(apdu, sizeof apdu, right, sizeof right);
    if (told == TOLD_ERROR && bed.powered)
        (void)authenticated();
    return told;
}

static bool prepare_purse(void)
{
    static bool filled;

    if (!filled) {
        bed_sim("mem write 5 55555555555555555555555555555555");
        bed_sim("mem write 6 66666666666666666666666666666666");
        bed_sim("mem write 4 00E1F505FF1E0AFA00E1F50504FB04FB"); /* 100 000 000 */
        filled = true;
    }
    return bed_ready() && authenticated() && next_block(0) == TOLD_RIGHT;
}

static enum told act_debit(void)
{
    static const uint8_t apdu[] = {0xFF, 0xD7, 0x00, PURSE_BLOCK, 0x05, 0x02, 0x00, 0x00, 0x00, AMOUNT};

    return ask(apdu, sizeof apdu, "\x90\x00", 2);
}

static long debits(void)
{
    long value = 0;
    const char *text = bed_sim("value %d", PURSE_BLOCK);

    if (!text || sscanf(text, "value=%ld", &value) != 1)
        return -1;
    return (100000000 - value) / AMOUNT;
}

/* ---- an ISO 15693 card ------------------------------------------------------------------------------------------ */

enum { TAG_BLOCK = 11 };

static enum told next_tag(unsigned n)
{
    const uint8_t apdu[] = {0xFF, 0xF6, 0x20, 0x00, 0x01, (uint8_t)(1 + n), 0x00};
    uint8_t right[6];

    memset(right, (int)(0xA1 + n), 4);
    right[4] = 0x90;
    right[5] = 0x00;
    return ask(apdu, sizeof apdu, right, sizeof right);
}

static bool prepare_tag(void)
{
    static bool filled;

    for (unsigned n = 0; n < 3 && !filled; n++)
        bed_sim("mem write %u %02X%02X%02X%02X", 1 + n, 0xA1 + n, 0xA1 + n, 0xA1 + n, 0xA1 + n);
    filled = true;
    return bed_ready() && next_tag(0) == TOLD_RIGHT;
}

static enum told act_write(void)
{
    static uint8_t turn;
    uint8_t apdu[] = {0xFF, 0xF6, 0x21, 0x00, 0x05, TAG_BLOCK, 0, 0, 0, 0};
    char block[16];

    turn++;
    for (unsigned i = 0; i < 4; i++)
        apdu[6 + i] = (uint8_t)(turn + i);
    enum told told = ask(apdu, sizeof apdu, "\x90\x00", 2);
    snprintf(block, sizeof block, "%02X%02X%02X%02X", apdu[6], apdu[7], apdu[8], apdu[9]);
    const char *text = bed_sim("mem read %d", TAG_BLOCK);
    return told == TOLD_RIGHT && (!text || strncmp(text, block, 8) != 0) ? TOLD_WRONG : told;
}

static long writes(void)
{
    return (long)bed_count("count", "writes");
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

const struct session sessions[] = {
    {"identity", AET63_ALL, ",card=echo-t0", "", NULL, 0, true, prepare_closed, act_open, next_challenge, NULL, NULL},
    {"power-up", AET63_ALL, ",card=echo-t0", "", NULL, 0, false, prepare_power, act_power, next_challenge, NULL, NULL},
    {"power-up-t1", AET63_ALL, ",card=echo-t1", "", NULL, 1, false, prepare_power, act_power, next_challenge, NULL,
     NULL},
    {"read", AET63_ALL, ",card=echo-t0", "", NULL, 0, false, bed_ready, act_read, next_challenge, NULL, "executions"},
    {"count", AET63_ALL, ",card=echo-t0", "", NULL, 0, false, prepare_add, act_add, next_add, NULL, "executions"},
    {"count-t1", AET63_ALL, ",card=echo-t1", "", NULL, 1, false, prepare_add, act_add, next_add, NULL, "executions"},
    {"chain-t1", AET63_ALL, ",card=echo-t1", "", NULL, 1, false, bed_ready, act_chain, next_challenge, NULL,
     "executions"},
    {"eeprom", AET63_ALL, ",card=echo-t0", "", NULL, 0, false, prepare_open, act_eeprom, next_eeprom, NULL, NULL},
    {"poll", AET63_ALL, "", "", "insert echo-t0", 0, false, prepare_empty, act_insert, next_challenge, NULL, NULL},
    {"leave", AET63_ALL, "", "", "insert echo-t0", 0, false, prepare_fresh, act_remove, next_challenge, NULL, NULL},

    {"identity", NEO_ALL, "", "", "insert iso:echo-t1", 1, true, prepare_closed, act_open, next_challenge, NULL, NULL},
    {"power-up", NEO_ALL, "", "", "insert iso:echo-t1", 1, false, prepare_power, act_power, next_challenge, NULL, NULL},
    {"read", NEO_ALL, "", "", "insert iso:echo-t1", 1, false, bed_ready, act_read, next_challenge, NULL, "executions"},
    {"count", NEO_ALL, "", "", "insert iso:echo-t1", 1, false, prepare_add, act_add, next_add, NULL, "executions"},
    {"chain", NEO_ALL, "", "", "insert iso:echo-t1", 1, false, bed_ready, act_chain, next_challenge, NULL,
     "executions"},
    {"contact", NEO_ALL, "", "slots = icc\n", "icc insert echo-t0", 0, false, prepare_add, act_add, next_add, NULL,
     "icc_executions"},
    {"debit", NEO_ALL, "", "", "insert mifare1k", 1, false, prepare_purse, act_debit, next_block, debits, NULL},
    {"write-15693", NEO_ALL, ",iso15693=crc3309", "iso15693 = on\n", "insert tag15693", 1, false, prepare_tag,
     act_write,
     next_tag, writes, NULL},
    {"poll", NEO_ALL, "", "iso15693 = off\n", "insert iso:echo-t1", 1, false, prepare_empty, act_insert,
     next_challenge, NULL, NULL},
    {"leave", NEO_ALL, "", "iso15693 = off\n", "insert iso:echo-t1", 1, false, prepare_fresh, act_remove,
     next_challenge, NULL, NULL},
};
const size_t sessions_count = sizeof sessions / sizeof sessions[0];
