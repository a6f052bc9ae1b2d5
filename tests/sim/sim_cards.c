/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The table of simulated cards and what they share (sim_cards.h).
 *
 * T=0 in one paragraph: the card gets a header whose P3 is either the number of data bytes to come or the number it
 * shall send. If P3 says the wrong number the card answers 6Cxx and does nothing; if a command with data also has
 * response data, the card keeps them and answers 61xx, and the host fetches them with GET RESPONSE. What is kept is
 * forgotten at the next other command.
 */
#include "sim_cards.h"

#include <stdlib.h>
#include <string.h>

#include "sim_vpcd.h"

static const struct sim_card_ops *const cards[] = {
    &sim_card_pboc_t0, &sim_card_pboc_t1, &sim_card_pboc_cl, &sim_card_echo_t0,
    &sim_card_echo_t1, &sim_card_mute,    &sim_card_badatr,
};

const struct sim_card_ops *sim_card_find(const char *name)
{
    if (strncmp(name, "vpcd:", 5) == 0)
        return &sim_card_vpcd;
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++)
        if (strcmp(cards[i]->name, name) == 0)
            return cards[i];
    return NULL;
}

struct sim_card *sim_card_make(const char *spec, const struct sim_card_ops **ops, char *why, size_t why_size)
{
    char name[64], options[256];
    size_t n = strcspn(spec, ",");
    const char *rest = spec[n] == ',' ? spec + n + 1 : "";

    if (n == 0 || n >= sizeof name) {
        snprintf(why, why_size, "no card name");
        return NULL;
    }
    memcpy(name, spec, n);
    name[n] = '\0';
    *ops = sim_card_find(name);
    if (*ops == NULL) {
        snprintf(why, why_size, "unknown card %s", name);
        return NULL;
    }
    int len = *ops == &sim_card_vpcd
                  ? snprintf(options, sizeof options, "port=%s%s%s", name + 5, *rest ? "," : "", rest)
                  : snprintf(options, sizeof options, "%s", rest);
    struct sim_card *c = len < 0 || (size_t)len >= sizeof options ? NULL : (*ops)->create(options);
    if (c == NULL)
        snprintf(why, why_size, "card %s does not take \"%s\"", name, rest);
    return c;
}

/* ---- options and hex -------------------------------------------------------------------------------------- */

bool sim_option(const char *options, const char *key, char *value, size_t size)
{
    size_t k = strlen(key);

    for (const char *p = options; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n > k && p[k] == '=' && memcmp(p, key, k) == 0) {
            if (n - k - 1 >= size)
                return false;
            memcpy(value, p + k + 1, n - k - 1);
            value[n - k - 1] = '\0';
            return true;
        }
        p += n;
        if (*p == ',')
            p++;
    }
    return false;
}

bool sim_option_number(const char *options, const char *key, unsigned long max, unsigned long *value)
{
    char text[24], *end;

    if (!sim_option(options, key, text, sizeof text))
        return true;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long v = strtoul(text, &end, 10);
    if (*end != '\0' || v > max)
        return false;
    *value = v;
    return true;
}

bool sim_options_known(const char *card, const char *options, const char *const *keys)
{
    for (const char *p = options; *p != '\0';) {
        size_t n = strcspn(p, ","), i = 0;
        while (keys[i] != NULL &&
               !(strlen(keys[i]) < n && p[strlen(keys[i])] == '=' && memcmp(keys[i], p, strlen(keys[i])) == 0))
            i++;
        if (keys[i] == NULL) {
            fprintf(stderr, "%s: unknown option \"%.*s\"\n", card, (int)n, p);
            return false;
        }
        p += n;
        if (*p == ',')
            p++;
    }
    return true;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

long sim_hex(const char *text, uint8_t *out, size_t max)
{
    size_t n = 0;

    for (;;) {
        while (*text == ' ')
            text++;
        if (*text == '\0')
            return (long)n;
        int hi = digit(text[0]), lo = hi < 0 ? -1 : digit(text[1]);
        if (lo < 0 || n == max)
            return -1;
        out[n++] = (uint8_t)(hi << 4 | lo);
        text += 2;
    }
}

uint8_t sim_xor(const uint8_t *p, size_t n)
{
    uint8_t x = 0;
    for (size_t i = 0; i < n; i++)
        x = (uint8_t)(x ^ p[i]);
    return x;
}

size_t sim_sw(uint8_t *out, unsigned sw)
{
    out[0] = (uint8_t)(sw >> 8);
    out[1] = (uint8_t)sw;
    return 2;
}

/* ---- T=0 -------------------------------------------------------------------------------------------------- */

/* SW 61xx or 6Cxx, in which 256 and more are written 00. */
static size_t sw_length(uint8_t *out, unsigned sw1, size_t n)
{
    return sim_sw(out, sw1 << 8 | (n > 255 ? 0 : (unsigned)n));
}

/* Hands out at most p3 (0: 256) of the kept bytes, then 9000 or 61xx. */
static size_t hand_out(struct sim_t0 *t0, uint8_t p3, uint8_t *out)
{
    size_t left = t0->n - t0->at, want = p3 == 0 ? 256 : p3, n = want < left ? want : left;

    memcpy(out, t0->held + t0->at, n);
    t0->at += n;
    if (t0->at < t0->n)
        return n + sw_length(out + n, 0x61, t0->n - t0->at);
    t0->n = t0->at = 0;
    return n + sim_sw(out + n, 0x9000);
}

static size_t get_response(struct sim_t0 *t0, uint8_t p3, uint8_t *out)
{
    size_t left = t0->n - t0->at, want = p3 == 0 ? 256 : p3;

    if (left == 0)
        return sim_sw(out, 0x6985);
    if (want > left)
        return sw_length(out, 0x6C, left);
    return hand_out(t0, p3, out);
}

size_t sim_run_t0(struct sim_t0 *t0, sim_apdu_fn fn, struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *out,
                  unsigned *delay_ms)
{
    if (n < 5 || (n > 5 && n != 5 + (size_t)apdu[4]))
        return sim_sw(out, 0x6700);
    if (apdu[1] == 0xC0)
        return get_response(t0, apdu[4], out);
    t0->n = t0->at = 0;

    struct sim_apdu a = {.cla = apdu[0], .ins = apdu[1], .p1 = apdu[2], .p2 = apdu[3], .t0 = true};
    a.data = apdu + 5;
    a.nc = n - 5;
    a.has_le = n == 5;
    a.ne = apdu[4] == 0 ? 256 : apdu[4];
    size_t r = fn(c, &a, out, delay_ms);
    if (r <= 2)
        return r;
    if (out[r - 2] != 0x90 && a.nc > 0)
        return sim_sw(out, (unsigned)out[r - 2] << 8 | out[r - 1]);
    if (a.nc == 0 && r - 2 <= 256 && a.ne == r - 2)
        return r;
    if (a.nc == 0 && r - 2 <= 256)
        return sw_length(out, 0x6C, r - 2);
    memcpy(t0->held, out, r - 2);
    t0->n = r - 2;
    return a.nc == 0 ? hand_out(t0, apdu[4], out) : sw_length(out, 0x61, t0->n);
}

/* ---- whole APDUs ------------------------------------------------------------------------------------------ */

static size_t be16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* Cases 2E, 3E and 4E: n >= 7, byte 4 is 00. */
static bool parse_extended(const uint8_t *p, size_t n, struct sim_apdu *a)
{
    size_t len = be16(p + 5);

    if (n == 7) {
        a->has_le = true;
        a->ne = len == 0 ? 65536 : len;
        return true;
    }
    if (len == 0 || (n != 7 + len && n != 9 + len))
        return false;
    a->data = p + 7;
    a->nc = len;
    a->has_le = n == 9 + len;
    if (a->has_le)
        a->ne = be16(p + 7 + len) == 0 ? 65536 : be16(p + 7 + len);
    return true;
}

static bool parse_apdu(const uint8_t *p, size_t n, struct sim_apdu *a)
{
    if (n < 4)
        return false;
    *a = (struct sim_apdu){.cla = p[0], .ins = p[1], .p1 = p[2], .p2 = p[3]};
    if (n == 4)
        return true;
    if (n >= 7 && p[4] == 0)
        return parse_extended(p, n, a);
    if (n == 5) {
        a->has_le = true;
        a->ne = p[4] == 0 ? 256 : p[4];
        return true;
    }
    if (p[4] == 0 || (n != 5 + (size_t)p[4] && n != 6 + (size_t)p[4]))
        return false;
    a->data = p + 5;
    a->nc = p[4];
    a->has_le = n == 6 + a->nc;
    if (a->has_le)
        a->ne = p[5 + a->nc] == 0 ? 256 : p[5 + a->nc];
    return true;
}

size_t sim_run_whole(enum sim_le le, sim_apdu_fn fn, struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *out,
                     unsigned *delay_ms)
{
    struct sim_apdu a;

    if (!parse_apdu(apdu, n, &a))
        return sim_sw(out, 0x6700);
    size_t r = fn(c, &a, out, delay_ms);
    if (r <= 2)
        return r;
    if (!a.has_le)
        return le == SIM_LE_LENIENT ? r : sim_sw(out, (unsigned)out[r - 2] << 8 | out[r - 1]);
    if (r - 2 <= a.ne)
        return r;
    return r - 2 <= 256 ? sw_length(out, 0x6C, r - 2) : sim_sw(out, 0x6700);
}
