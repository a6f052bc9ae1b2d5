/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Verdicts and the record of bytes behind them (probe.h). The record is made while bytes go by, and masked then: what
 * is not to be shown is never in it.
 */
#include "probe/probe.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

enum { BYTES_SHOWN = 64, HEX_MAX = 3 * BYTES_SHOWN + 8, PAN_MIN = 13, PAN_MAX = 19 };

const char *verdict_text(enum verdict v)
{
    return v == CONFIRMED ? "confirmed" : v == CONTRADICTED ? "CONTRADICTED" : "not tried";
}

static void judge(struct probe *p, enum verdict v, const char *setting, const char *fmt, va_list ap)
{
    struct outcome *o = p->now;

    /* A row may run several times, with different cards: not tried < confirmed < contradicted. */
    if (!o || (o->judged && v < o->verdict) || (o->judged && o->verdict == CONTRADICTED))
        return;
    o->judged = true;
    o->verdict = v;
    (void)vsnprintf(o->why, sizeof o->why, fmt, ap);
    (void)snprintf(o->setting, sizeof o->setting, "%s", setting ? setting : "");
}

void confirmed(struct probe *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    judge(p, CONFIRMED, NULL, fmt, ap);
    va_end(ap);
}

void contradicted(struct probe *p, const char *setting, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    judge(p, CONTRADICTED, setting, fmt, ap);
    va_end(ap);
}

void not_tried(struct probe *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    judge(p, NOT_TRIED, NULL, fmt, ap);
    va_end(ap);
}

bool judge_get_response(struct probe *p, const uint8_t *answer, size_t n, unsigned *sw)
{
    *sw = (unsigned)(answer[n - 2] << 8 | answer[n - 1]);
    if (n > 2)
        contradicted(p, NULL, "SELECT without Le brought %zu bytes: the reader sent GET RESPONSE by itself", n - 2);
    else if (*sw >> 8 == 0x61 || *sw >> 8 == 0x6C || *sw >> 8 == 0x9F)
        confirmed(p, "the card's %04X came up", *sw);
    else
        return false;
    return true;
}

void unsupported(struct probe *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    judge(p, UNSUPPORTED, NULL, fmt, ap);
    va_end(ap);
}

void suggest(struct probe *p, const char *setting)
{
    if (p->now && p->now->verdict == CONFIRMED)
        (void)snprintf(p->now->setting, sizeof p->now->setting, "%s", setting);
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

void trace_line(struct probe *p, const char *fmt, ...)
{
    size_t left = sizeof p->trace - p->trace_len;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(p->trace + p->trace_len, left, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n + 2 > left) {
        p->trace[p->trace_len] = '\0'; /* full: what comes later is left out whole */
        return;
    }
    p->trace_len += (size_t)n;
    p->trace[p->trace_len++] = '\n';
    p->trace[p->trace_len] = '\0';
}

static char *put_hex(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out += sprintf(out, " %02X", p[i]);
    return out;
}

static unsigned luhn(const char *digits, size_t n)
{
    unsigned sum = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned d = (unsigned)(digits[n - 1 - i] - '0');

        sum += i % 2 == 0 ? d : d < 5 ? 2 * d : 2 * d - 9;
    }
    return sum % 10;
}

/* The longest card number that begins at digits[0]; 0: none. */
static size_t card_number(const char *digits, size_t n)
{
    for (size_t k = n < PAN_MAX ? n : PAN_MAX; k >= PAN_MIN; k--)
        if (digits[0] != '0' && luhn(digits, k) == 0)
            return k;
    return 0;
}

void mask_card_numbers(char *hex)
{
    char digits[2 * BYTES_SHOWN + 8];
    char *at[2 * BYTES_SHOWN + 8];
    size_t n = 0;

    for (char *c = hex;; c++) {
        if (*c == ' ' && c[1])
            continue;
        if (isdigit((unsigned char)*c) && n < sizeof digits) {
            at[n] = c;
            digits[n++] = *c;
            continue;
        }
        for (size_t i = 0; i + PAN_MIN <= n; i++) {
            size_t k = card_number(digits + i, n - i);

            for (size_t j = 0; j < k; j++)
                *at[i + j] = '*';
            i += k > 0 ? k - 1 : 0;
        }
        n = 0;
        if (!*c)
            return;
    }
}

void trace_bytes(struct probe *p, const char *what, const struct masked *m)
{
    char text[HEX_MAX], *out = text;
    bool all = p->o->unmask && !m->secret;
    size_t clear = all ? m->n : m->clear < m->n ? m->clear : m->n;
    size_t tail = all ? 0 : m->tail < m->n - clear ? m->tail : m->n - clear;

    if (clear > BYTES_SHOWN)
        clear = BYTES_SHOWN;
    if (tail > BYTES_SHOWN - clear)
        tail = BYTES_SHOWN - clear;
    text[0] = '\0';
    out = put_hex(out, m->bytes, clear);
    if (clear + tail < m->n)
        out += sprintf(out, " ..");
    put_hex(out, m->bytes + m->n - tail, tail);
    if (!m->own)
        mask_card_numbers(text);
    trace_line(p, "%s [%zu]%s", what, m->n, text);
}
