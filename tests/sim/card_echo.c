/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The echo card, made for tests: data of any length in and out, delays, and counters that show how often a command was
 * executed. Also two cards that never get as far as an APDU: `mute` (no ATR) and `badatr`.
 *
 *   00 A4 …             selects anything: 90 00
 *   00 84 00 00 Le      Le bytes 11 22 33 … (for Le = 08: 11 … 88)
 *   00 C0 00 00 Le      GET RESPONSE (T=0 only)
 *   00 E0 00 00 [data]  returns the data
 *   00 E2 P1 P2         returns P1P2 bytes 00 01 02 … FF 00 …
 *   00 E4 00 00 data    takes data that must run 00 01 02 … (else 6A 80), returns their number, 4 bytes
 *   00 E6 00 00         returns how often the card executed a command since it was made, 4 bytes, this one included
 *   00 E8 P1 P2 [data]  takes P1P2 milliseconds, returns the data
 *   00 EA 00 00         adds 1 to the counter and returns it, 4 bytes; with T=0 and Le other than 4: 6C 04, nothing
 * added 00 EC 00 00         returns the counter without adding 00 EE P1 P2         answers SW = P1P2 00 F0 … stays
 * silent
 *
 * Numbers are big-endian. Counters live as long as the card object: no reset and no removal of power clears them.
 * With T=0 a command that has data and an answer is answered 61xx, and a wrong Le 6Cxx. With T=1 the data comes only
 * if the command has an Le field (cases 2 and 4), short or extended.
 *
 * Options of echo-t1: ifsc=1…254 (TA3; 32, the default, is told by leaving TA3 out), bwi=0…9 (TB3; 0 by default, so
 * that a block waiting time is 90 ms at 4 MHz and tests are quick), crc=1 (TC3: CRC as ISO/IEC 13239, see
 * sim_t1card.h), dual=1 (offers T=0 first, then T=1). Both: delay=MS for each command, start=N for the counter.
 * Option of badatr: kind=tck|cut|ts|ta2 (wrong TCK by default, last byte missing, TS = 00, TA2 with b5 set).
 */
#include <stdlib.h>
#include <string.h>

#include "sim_cards.h"

enum kind { KIND_ECHO, KIND_MUTE, KIND_BADATR };

struct sim_card {
    enum kind kind;
    bool offers_t1, dual;
    int protocol;
    unsigned long ifsc, bwi, crc, delay, counter, executions;
    char bad[8];
    struct sim_t0 t0;
};

static size_t put_number(uint8_t *out, unsigned long v)
{
    out[0] = (uint8_t)(v >> 24);
    out[1] = (uint8_t)(v >> 16);
    out[2] = (uint8_t)(v >> 8);
    out[3] = (uint8_t)v;
    return 4 + sim_sw(out + 4, 0x9000);
}

static size_t do_echo(const struct sim_apdu *a, uint8_t *out)
{
    size_t n = a->nc;

    if (n > 0)
        memcpy(out, a->data, n);
    return n + sim_sw(out + n, 0x9000);
}

static size_t do_source(size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)i;
    return n + sim_sw(out + n, 0x9000);
}

static size_t do_sink(const struct sim_apdu *a, uint8_t *out)
{
    for (size_t i = 0; i < a->nc; i++)
        if (a->data[i] != (uint8_t)i)
            return sim_sw(out, 0x6A80);
    return put_number(out, a->nc);
}

static size_t do_challenge(const struct sim_apdu *a, uint8_t *out)
{
    size_t n = a->ne > 256 ? 256 : a->ne;

    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(0x11 * (i + 1));
    return n + sim_sw(out + n, 0x9000);
}

/* A T=0 card that answers 6C has not executed the command, so the length is looked at before the counter moves. */
static size_t do_count(struct sim_card *c, const struct sim_apdu *a, uint8_t *out)
{
    if (!(a->t0 && a->ne != 4))
        c->counter++;
    return put_number(out, c->counter);
}

static size_t application(struct sim_card *c, const struct sim_apdu *a, uint8_t *out, unsigned *delay_ms)
{
    unsigned p1p2 = (unsigned)a->p1 << 8 | a->p2;

    *delay_ms = (unsigned)c->delay;
    if (a->cla != 0x00)
        return sim_sw(out, 0x6E00);
    switch (a->ins) {
    case 0xA4:
        return sim_sw(out, 0x9000);
    case 0x84:
        return do_challenge(a, out);
    case 0xE8:
        *delay_ms += p1p2;
        return do_echo(a, out);
    case 0xE0:
        return do_echo(a, out);
    case 0xE2:
        return do_source(p1p2, out);
    case 0xE4:
        return do_sink(a, out);
    case 0xE6:
        return put_number(out, c->executions);
    case 0xEA:
        return do_count(c, a, out);
    case 0xEC:
        return put_number(out, c->counter);
    case 0xEE:
        return sim_sw(out, p1p2);
    case 0xF0:
        return 0;
    default:
        return sim_sw(out, 0x6D00);
    }
}

/* ---- the cards -------------------------------------------------------------------------------------------- */

static struct sim_card *checked(struct sim_card *c, bool good)
{
    if (good)
        return c;
    free(c);
    return NULL;
}

static struct sim_card *make_t0(const char *options)
{
    static const char *const keys[] = {"delay", "start", NULL};
    struct sim_card *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    return checked(c, sim_options_known("echo-t0", options, keys) &&
                          sim_option_number(options, "delay", 600000, &c->delay) &&
                          sim_option_number(options, "start", 0xFFFFFFFF, &c->counter));
}

static struct sim_card *make_t1(const char *options)
{
    static const char *const keys[] = {"delay", "start", "ifsc", "bwi", "crc", "dual", NULL};
    struct sim_card *c = calloc(1, sizeof *c);
    unsigned long dual = 0;

    if (c == NULL)
        return NULL;
    c->offers_t1 = true;
    c->protocol = 1;
    c->ifsc = 32;
    bool good = sim_options_known("echo-t1", options, keys) && sim_option_number(options, "delay", 600000, &c->delay) &&
                sim_option_number(options, "start", 0xFFFFFFFF, &c->counter) &&
                sim_option_number(options, "ifsc", 254, &c->ifsc) && c->ifsc > 0 &&
                sim_option_number(options, "bwi", 9, &c->bwi) && sim_option_number(options, "crc", 1, &c->crc) &&
                sim_option_number(options, "dual", 1, &dual);
    c->dual = dual != 0;
    return checked(c, good);
}

static struct sim_card *make_mute(const char *options)
{
    static const char *const keys[] = {NULL};
    struct sim_card *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->kind = KIND_MUTE;
    return checked(c, sim_options_known("mute", options, keys));
}

static struct sim_card *make_badatr(const char *options)
{
    static const char *const keys[] = {"kind", NULL};
    static const char *const kinds[] = {"tck", "cut", "ts", "ta2"};
    struct sim_card *c = calloc(1, sizeof *c);
    bool good = false;

    if (c == NULL)
        return NULL;
    c->kind = KIND_BADATR;
    if (!sim_option(options, "kind", c->bad, sizeof c->bad))
        strcpy(c->bad, "tck");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        good = good || strcmp(kinds[i], c->bad) == 0;
    return checked(c, good && sim_options_known("badatr", options, keys));
}

static void destroy(struct sim_card *c)
{
    free(c);
}

static size_t put_historical(uint8_t *out)
{
    memcpy(out, "ECHO", 4);
    return 4;
}

static size_t atr_t1(const struct sim_card *c, uint8_t *out)
{
    size_t n = 0;

    out[n++] = 0x3B;
    out[n++] = 0x84;
    out[n++] = c->dual ? 0x80 : 0x81;
    out[n++] = (uint8_t)(0x01 | (c->ifsc != 32 ? 0x10 : 0) | 0x20 | (c->crc ? 0x40 : 0));
    if (c->ifsc != 32)
        out[n++] = (uint8_t)c->ifsc;
    out[n++] = (uint8_t)(c->bwi << 4 | 5);
    if (c->crc)
        out[n++] = 0x01;
    n += put_historical(out + n);
    out[n] = sim_xor(out + 1, n - 1);
    return n + 1;
}

static size_t atr_bad(const struct sim_card *c, uint8_t *out)
{
    size_t n = (size_t)sim_hex("3B 84 80 01 45 43 48 4F", out, SIM_ATR_MAX);

    if (strcmp(c->bad, "ta2") == 0)
        n = (size_t)sim_hex("3B 84 90 10 45 43 48 4F", out, SIM_ATR_MAX); /* TD1 = 90: TA2 follows, T=0 */
    if (strcmp(c->bad, "ts") == 0)
        out[0] = 0x00;
    if (strcmp(c->bad, "ta2") == 0 || strcmp(c->bad, "cut") == 0)
        return n;
    out[n] = (uint8_t)(sim_xor(out + 1, n - 1) ^ (strcmp(c->bad, "tck") == 0 ? 0x55 : 0));
    return n + 1;
}

static size_t atr(struct sim_card *c, uint8_t out[SIM_ATR_MAX])
{
    if (c->kind == KIND_MUTE)
        return 0;
    if (c->kind == KIND_BADATR)
        return atr_bad(c, out);
    if (c->offers_t1)
        return atr_t1(c, out);
    out[0] = 0x3B;
    out[1] = 0x04;
    return 2 + put_historical(out + 2);
}

static void reset(struct sim_card *c)
{
    c->t0.n = c->t0.at = 0;
}

static void power(struct sim_card *c, bool on)
{
    (void)on;
    reset(c);
}

static void protocol(struct sim_card *c, int t)
{
    c->protocol = t;
}

static size_t execute(struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *rapdu, unsigned *delay_ms)
{
    c->executions++;
    if (c->protocol == 0)
        return sim_run_t0(&c->t0, application, c, apdu, n, rapdu, delay_ms);
    return sim_run_whole(SIM_LE_STRICT, application, c, apdu, n, rapdu, delay_ms);
}

static unsigned long executions(struct sim_card *c)
{
    return c->executions;
}

const struct sim_card_ops sim_card_echo_t0 = {
    .name = "echo-t0",
    .create = make_t0,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
};

const struct sim_card_ops sim_card_echo_t1 = {
    .name = "echo-t1",
    .create = make_t1,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
    .protocol = protocol,
};

const struct sim_card_ops sim_card_mute = {
    .name = "mute",
    .create = make_mute,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
};

const struct sim_card_ops sim_card_badatr = {
    .name = "badatr",
    .create = make_badatr,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
};
