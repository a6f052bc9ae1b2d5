/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A bank card of PBoC with e-cash, in three forms that share one application:
 *
 *   pboc-t0   contact, T=0: answers byte for byte as the card of the specification page does (steps S1 to S5)
 *   pboc-t1   the same application behind T=1, whole APDUs
 *   pboc-cl   contactless: entered through the PPSE, its PDOL and the answer of GET PROCESSING OPTIONS as qPBOC has
 * them
 *
 * Options: balance=N (hundredths, 0 by default: balance=12345 reads as 123.45), records=N (log records, 0..10, 3 by
 * default), delay=MS (time taken by every command).
 *
 * Commands: SELECT by name, READ RECORD, GET DATA, GET PROCESSING OPTIONS; with T=0 also GET RESPONSE. The PAN is an
 * invented one of a range that is not issued.
 */
#include <stdlib.h>
#include <string.h>

#include "sim_cards.h"

enum form { FORM_T0, FORM_T1, FORM_CL };
enum df { DF_NONE, DF_DIRECTORY, DF_APPLICATION };

struct sim_card {
    enum form form;
    enum df df;
    unsigned long balance, records, delay;
    unsigned atc;
    unsigned long executions;
    struct sim_t0 t0;
};

#define PSE        "31 50 41 59 2E 53 59 53 2E 44 44 46 30 31"
#define PPSE       "32 50 41 59 2E 53 59 53 2E 44 44 46 30 31"
#define AID        "A0 00 00 03 33 01 01 01"
#define LABEL      "50 42 4F 43 20 44 45 42 49 54" /* "PBOC DEBIT" */
#define HISTORICAL "80 65 08 49 04 86 53 00 00 00 00 00 00"

#define PSE_FCI    "6F 26 84 0E " PSE " A5 14 88 01 01 5F 2D 02 7A 68 9F 11 01 01 BF 0C 05 9F 4D 02 0B 0A"
#define PSE_RECORD "70 25 61 23 4F 08 " AID " 50 0A " LABEL " 9F 12 0A " LABEL
#define APP_FCI                                                                                                        \
    "6F 45 84 08 " AID " A5 39 50 0A " LABEL                                                                           \
    " 87 01 01 9F 38 09 9F 7A 01 9F 02 06 5F 2A 02 5F 2D 02 7A 68 9F 11 01 01 9F 12 0A " LABEL                         \
    " BF 0C 05 9F 4D 02 0B 0A"
enum { APP_PDOL_DATA = 1 + 6 + 2 };

#define PPSE_FCI "6F 30 84 0E " PPSE " A5 1E BF 0C 1B 61 19 4F 08 " AID " 50 0A " LABEL " 87 01 01"
/* PDOL: 9F66 terminal transaction qualifiers, 9F02, 9F03 amounts, 9F1A country, 95 TVR, 5F2A currency, 9A date, 9C
 * type, 9F37 unpredictable number */
#define CL_FCI                                                                                                         \
    "6F 43 84 08 " AID " A5 37 50 0A " LABEL                                                                           \
    " 87 01 01 9F 38 18 9F 66 04 9F 02 06 9F 03 06 9F 1A 02 95 05 5F 2A 02 9A 03 9C 01 9F 37 04"                       \
    " 5F 2D 02 7A 68 BF 0C 05 9F 4D 02 0B 0A"
enum { CL_PDOL_DATA = 4 + 6 + 6 + 2 + 5 + 2 + 3 + 1 + 4 };

/* SFI 2 record 1: track 2 equivalent, holder, PAN, expiry, issuer country */
#define APP_RECORD                                                                                                     \
    "70 37 57 12 62 28 00 01 00 00 11 11 11 7D 30 12 22 00 00 00 00 0F 5F 20 09 54 45 53 54 2F 43 41 52 44"            \
    " 5A 0A 62 28 00 01 00 00 11 11 11 7F 5F 24 03 30 12 31 5F 28 02 01 56"
#define LOG_FORMAT "9A 03 9F 21 03 9F 02 06 9F 03 06 9F 1A 02 5F 2A 02 9F 4E 14 9C 01 9F 36 02"

/* ---- small parts ------------------------------------------------------------------------------------------ */

/* Appends bytes written as hex; the texts are constants, so they are right by construction. */
static size_t put(uint8_t *out, const char *hex)
{
    long n = sim_hex(hex, out, 256);
    return n < 0 ? 0 : (size_t)n;
}

static size_t put_sw(uint8_t *out, size_t n, unsigned sw)
{
    return n + sim_sw(out + n, sw);
}

static bool equals(const uint8_t *p, size_t n, const char *hex)
{
    uint8_t want[32];
    long k = sim_hex(hex, want, sizeof want);
    return k >= 0 && (size_t)k == n && memcmp(p, want, n) == 0;
}

/* Amount in hundredths as six bytes BCD. */
static void put_amount(uint8_t out[6], unsigned long v)
{
    for (size_t i = 6; i-- > 0; v /= 100)
        out[i] = (uint8_t)((v / 10 % 10) << 4 | v % 10);
}

/* ---- the application -------------------------------------------------------------------------------------- */

static size_t do_select(struct sim_card *c, const struct sim_apdu *a, uint8_t *out)
{
    if (a->p1 != 0x04 || (a->p2 & 0xFD) != 0)
        return sim_sw(out, 0x6A86);
    if (a->nc == 0 || a->nc > 16)
        return sim_sw(out, 0x6700);
    if (a->p2 == 0x02) /* next occurrence: there is one application only */
        return sim_sw(out, 0x6A82);
    bool cl = c->form == FORM_CL;
    if (equals(a->data, a->nc, cl ? PPSE : PSE)) {
        c->df = DF_DIRECTORY;
        return put_sw(out, put(out, cl ? PPSE_FCI : PSE_FCI), 0x9000);
    }
    uint8_t aid[8];
    (void)put(aid, AID);
    if (a->nc >= 5 && a->nc <= sizeof aid && memcmp(a->data, aid, a->nc) == 0) {
        c->df = DF_APPLICATION;
        return put_sw(out, put(out, cl ? CL_FCI : APP_FCI), 0x9000);
    }
    return sim_sw(out, 0x6A82);
}

/* One record of the transaction log in the common format: 45 bytes. Record 1 is the newest. */
static size_t log_record(const struct sim_card *c, unsigned nr, uint8_t *out)
{
    static const char *const merchants[] = {"METRO LINE 2", "BOOKSHOP", "TEA HOUSE"};
    const char *merchant = merchants[nr % 3];
    unsigned day = 20 - nr;
    unsigned atc = c->atc - nr + 1;

    memset(out, 0, 45);
    out[0] = 0x26;
    out[1] = 0x11;
    out[2] = (uint8_t)((day / 10) << 4 | day % 10);
    out[3] = 0x09;
    out[4] = (uint8_t)((nr / 10) << 4 | nr % 10);
    out[5] = 0x30;
    put_amount(out + 6, 100UL * nr + 50);
    out[18] = out[20] = 0x01; /* country and currency 0156 */
    out[19] = out[21] = 0x56;
    memset(out + 22, ' ', 20);
    memcpy(out + 22, merchant, strlen(merchant));
    out[43] = (uint8_t)(atc >> 8);
    out[44] = (uint8_t)atc;
    return 45;
}

static size_t do_read_record(struct sim_card *c, const struct sim_apdu *a, uint8_t *out)
{
    unsigned sfi = a->p2 >> 3;

    if ((a->p2 & 7) != 4)
        return sim_sw(out, 0x6A86);
    if (c->df == DF_DIRECTORY && c->form != FORM_CL && sfi == 1)
        return a->p1 == 1 ? put_sw(out, put(out, PSE_RECORD), 0x9000) : sim_sw(out, 0x6A83);
    if (c->df == DF_APPLICATION && sfi == 2)
        return a->p1 == 1 ? put_sw(out, put(out, APP_RECORD), 0x9000) : sim_sw(out, 0x6A83);
    if (c->df == DF_APPLICATION && sfi == 0x0B) {
        if (a->p1 == 0 || a->p1 > c->records)
            return sim_sw(out, 0x6A83);
        return put_sw(out, log_record(c, a->p1, out), 0x9000);
    }
    return sim_sw(out, 0x6A82);
}

/* Tag, length, value for GET DATA; 0 if the card has no such object. */
static size_t put_object(const struct sim_card *c, unsigned tag, uint8_t *out)
{
    static const struct {
        unsigned tag;
        const char *value;
    } objects[] = {
        {0x9F77, "00 00 00 10 00 00"}, /* balance limit 1000.00 */
        {0x9F78, "00 00 00 03 00 00"}, /* single transaction limit 300.00 */
        {0x9F6D, "00 00 00 00 00 00"}, /* reset threshold */
        {0x9F13, "00 00"},             /* last online ATC */
        {0x9F17, "03"},                /* PIN tries left */
        {0x9F4F, LOG_FORMAT},
        {0xDF79, "00 00 00 00 00 00"}, /* second balance */
        {0xDF71, "03 44"},             /* its currency */
    };
    size_t n = 0;

    if (tag == 0x9F79 || tag == 0x9F5D) {
        put_amount(out + 3, c->balance);
        n = 6;
    } else if (tag == 0x9F36) {
        out[3] = (uint8_t)(c->atc >> 8);
        out[4] = (uint8_t)c->atc;
        n = 2;
    }
    for (size_t i = 0; n == 0 && i < sizeof objects / sizeof objects[0]; i++)
        if (objects[i].tag == tag)
            n = put(out + 3, objects[i].value);
    if (n == 0)
        return 0;
    out[0] = (uint8_t)(tag >> 8);
    out[1] = (uint8_t)tag;
    out[2] = (uint8_t)n;
    return 3 + n;
}

static size_t do_get_data(const struct sim_card *c, const struct sim_apdu *a, uint8_t *out)
{
    if (c->df != DF_APPLICATION)
        return sim_sw(out, 0x6985);
    size_t n = put_object(c, (unsigned)a->p1 << 8 | a->p2, out);
    return n == 0 ? sim_sw(out, 0x6A88) : put_sw(out, n, 0x9000);
}

/* The terminal's data must be as long as the PDOL says; what it says does not matter to this card. */
static size_t do_gpo(struct sim_card *c, const struct sim_apdu *a, uint8_t *out)
{
    size_t want = c->form == FORM_CL ? CL_PDOL_DATA : APP_PDOL_DATA, n;

    if (c->df != DF_APPLICATION)
        return sim_sw(out, 0x6985);
    if (a->nc != want + 2 || a->data[0] != 0x83 || a->data[1] != want)
        return sim_sw(out, 0x6700);
    c->atc++;
    if (c->form != FORM_CL)
        return put_sw(out, put(out, "80 06 7C 00 10 01 01 00"), 0x9000);
    n = put(out, "77 23 82 02 7C 00 94 04 10 01 01 00 57 12 62 28 00 01 00 00 11 11 11 7D 30 12 22 00 00 00 00 0F"
                 " 9F 36 02");
    out[n++] = (uint8_t)(c->atc >> 8);
    out[n++] = (uint8_t)c->atc;
    return put_sw(out, n, 0x9000);
}

static size_t application(struct sim_card *c, const struct sim_apdu *a, uint8_t *out, unsigned *delay_ms)
{
    *delay_ms = (unsigned)c->delay;
    switch (a->cla << 8 | a->ins) {
    case 0x00A4:
        return do_select(c, a, out);
    case 0x00B2:
        return do_read_record(c, a, out);
    case 0x80CA:
        return do_get_data(c, a, out);
    case 0x80A8:
        return do_gpo(c, a, out);
    default:
        return sim_sw(out, a->cla == 0x00 || a->cla == 0x80 ? 0x6D00 : 0x6E00);
    }
}

/* ---- the card --------------------------------------------------------------------------------------------- */

static struct sim_card *make(enum form form, const char *name, const char *options)
{
    static const char *const keys[] = {"balance", "records", "delay", NULL};
    struct sim_card *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->form = form;
    c->records = 3;
    c->atc = 16;
    if (!sim_options_known(name, options, keys) ||
        !sim_option_number(options, "balance", 999999999999UL, &c->balance) ||
        !sim_option_number(options, "records", 10, &c->records) ||
        !sim_option_number(options, "delay", 600000, &c->delay)) {
        free(c);
        return NULL;
    }
    return c;
}

static struct sim_card *make_t0(const char *options)
{
    return make(FORM_T0, "pboc-t0", options);
}

static struct sim_card *make_t1(const char *options)
{
    return make(FORM_T1, "pboc-t1", options);
}

static struct sim_card *make_cl(const char *options)
{
    return make(FORM_CL, "pboc-cl", options);
}

static void destroy(struct sim_card *c)
{
    free(c);
}

/* The T=1 form has the same TB1, TC1 and historical bytes, TA3 = IFSC 254, TB3 = BWI 4, CWI 5, and the TCK that T=1
 * demands. The contactless form has no ATR of its own: this is the one a PC/SC reader makes up when it has no
 * historical bytes. */
static size_t atr(struct sim_card *c, uint8_t out[SIM_ATR_MAX])
{
    size_t n;

    switch (c->form) {
    case FORM_T0:
        return put(out, "3B 6D 00 00 " HISTORICAL);
    case FORM_T1:
        n = put(out, "3B ED 00 00 81 31 FE 45 " HISTORICAL);
        out[n] = sim_xor(out + 1, n - 1);
        return n + 1;
    default:
        return put(out, "3B 80 80 01 01");
    }
}

static void reset(struct sim_card *c)
{
    c->df = DF_NONE;
    c->t0.n = c->t0.at = 0;
}

static void power(struct sim_card *c, bool on)
{
    (void)on;
    reset(c);
}

static size_t execute(struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *rapdu, unsigned *delay_ms)
{
    c->executions++;
    if (c->form == FORM_T0)
        return sim_run_t0(&c->t0, application, c, apdu, n, rapdu, delay_ms);
    return sim_run_whole(SIM_LE_LENIENT, application, c, apdu, n, rapdu, delay_ms);
}

static unsigned long executions(struct sim_card *c)
{
    return c->executions;
}

const struct sim_card_ops sim_card_pboc_t0 = {
    .name = "pboc-t0",
    .create = make_t0,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
};

const struct sim_card_ops sim_card_pboc_t1 = {
    .name = "pboc-t1",
    .create = make_t1,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
};

const struct sim_card_ops sim_card_pboc_cl = {
    .name = "pboc-cl",
    .create = make_cl,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
};
