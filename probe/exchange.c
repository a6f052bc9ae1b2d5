/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Sending the documented exchanges and telling their verdicts (exchange.h). They run in the stages of the rows, so that
 * each card is asked for once, and are told together at the end. A verdict comes from the bytes alone: the status, how
 * many bytes there are, and with which they begin.
 */
#include "probe/exchange.h"

#include <string.h>

enum { AET63_UNKNOWN_INSTRUCTION = 0x6005, VIVO_UNKNOWN = 0x02, VIVO_UNKNOWN_SUB = 0x03, TEXT = 64 };

static size_t status_size(const struct probe *p)
{
    return p->family == 'a' ? 2 : 1;
}

const char *exchange_code(char family, unsigned code, char out[8])
{
    if (code == EXCHANGE_NO_CODE)
        return "-";
    if (family == 'a')
        (void)snprintf(out, 8, "%02X", code & 0xFF);
    else if ((code & 0xFF) == EXCHANGE_ANY_SUB)
        (void)snprintf(out, 8, "%02X-xx", code >> 8 & 0xFF);
    else
        (void)snprintf(out, 8, "%02X-%02X", code >> 8 & 0xFF, code & 0xFF);
    return out;
}

/* ---- the verdict ------------------------------------------------------------------------------------------------- */

static bool is_status(const struct probe *p, const struct exchange *x, size_t i, unsigned status)
{
    const uint8_t *s = x->status.p + i * status_size(p);

    if (status_size(p) == 1)
        return s[0] == status;
    return s[0] == status >> 8 && (s[1] == EXCHANGE_ANY_SW2 || s[1] == (status & 0xFF));
}

static const char *status_text(const struct probe *p, unsigned status, char out[TEXT])
{
    if (status_size(p) == 1)
        (void)snprintf(out, TEXT, "status %02X", status & 0xFF);
    else if ((status & 0xFF) == EXCHANGE_ANY_SW2)
        (void)snprintf(out, TEXT, "%02X xx", status >> 8 & 0xFF);
    else
        (void)snprintf(out, TEXT, "%02X %02X", status >> 8 & 0xFF, status & 0xFF);
    return out;
}

static const char *bytes_text(size_t n, char out[TEXT])
{
    if (n == 0)
        return "no data";
    (void)snprintf(out, TEXT, "%zu byte%s", n, n == 1 ? "" : "s");
    return out;
}

/* "90 00 and 16 bytes", "status 00 and 5 to 11 bytes that begin with 0C". */
static const char *documented(const struct probe *p, const struct exchange *x, char out[2 * TEXT])
{
    const uint8_t *s = x->status.p;
    char status[TEXT], bytes[TEXT];
    size_t n;

    status_text(p, status_size(p) == 1 ? s[0] : (unsigned)(s[0] << 8 | s[1]), status);
    if (x->comes.min == x->comes.max)
        n = (size_t)snprintf(out, 2 * TEXT, "%s and %s", status, bytes_text(x->comes.min, bytes));
    else
        n = (size_t)snprintf(out, 2 * TEXT, "%s and %zu to %zu bytes", status, x->comes.min, x->comes.max);
    for (size_t i = 0; i < x->comes.head.n && n + 20 < 2 * TEXT; i++)
        n += (size_t)snprintf(out + n, 2 * TEXT - n, "%s %02X", i == 0 ? " that begin with" : "", x->comes.head.p[i]);
    return out;
}

static bool is_unsupported(const struct probe *p, unsigned status)
{
    if (p->family == 'a')
        return status == AET63_UNKNOWN_INSTRUCTION;
    return status == VIVO_UNKNOWN || status == VIVO_UNKNOWN_SUB;
}

static void judge(struct probe *p, const struct exchange *x, const struct exchange_heard *h)
{
    char status[TEXT], bytes[TEXT], manual[2 * TEXT];
    const char *came;
    bool data_fits = h->n >= x->comes.min && h->n <= x->comes.max && h->n >= x->comes.head.n;

    if (h->instead) {
        contradicted(p, NULL, "%s came back; documented: %s", h->instead, documented(p, x, manual));
        return;
    }
    status_text(p, h->status, status);
    came = bytes_text(h->n, bytes);
    if (is_status(p, x, 0, h->status) && data_fits && memcmp(h->data, x->comes.head.p, x->comes.head.n) == 0) {
        confirmed(p, "%s and %s", status, came);
        return;
    }
    for (size_t i = 1; i < x->status.n / status_size(p); i++)
        if (is_status(p, x, i, h->status)) {
            confirmed(p, "%s, a refusal that the manual has", status);
            return;
        }
    if (is_unsupported(p, h->status))
        unsupported(p, "%s", status);
    else
        contradicted(p, NULL, "%s and %s; documented: %s", status, came, documented(p, x, manual));
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

bool exchange_pending(const struct probe *p, enum need need)
{
    for (size_t i = 0; p->o->exchanges && i < p->exchange_count; i++)
        if (p->exchanges[i].need == need)
            return true;
    return false;
}

static void run_one(struct probe *p, const struct family *f, const struct exchange *x, const char *missing)
{
    struct exchange_heard h = {0};
    const char *why;
    bool card = x->need > NEED_NEVER && x->need < NEED_LAST;
    char code[8];

    session_show_progress(exchange_code(p->family, x->code, code), x->name, x->need);
    if (!missing && !session_idle_because(p))
        f->settle(p);
    why = missing ? missing : session_idle_because(p);
    if (!why && x->unless)
        why = x->unless(p);
    if (why) {
        not_tried(p, "%s%s%s%s", why, card ? " (" : "", card ? need_word(x->need) : "", card ? ")" : "");
        return;
    }
    p->trace_len = 0;
    p->trace[0] = '\0';
    f->exchange(p, x, &h);
    if (p->gone)
        not_tried(p, "the reader went away while it was tried");
    else
        judge(p, x, &h);
    session_keep_trace(p, p->now);
}

void exchange_run(struct probe *p, const struct family *f, enum need need, const char *missing)
{
    for (size_t i = 0; p->o->exchanges && i < p->exchange_count; i++) {
        if (p->exchanges[i].need != need || p->exchanges[i].row || need == NEED_NEVER)
            continue;
        p->now = &p->answers[i];
        run_one(p, f, &p->exchanges[i], missing);
    }
    p->now = NULL;
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

/* The verdict of a row that shows the exchange is its verdict, too. */
static void judge_by_row(struct probe *p, const struct exchange *x)
{
    for (size_t i = 0; i < p->row_count; i++) {
        const struct outcome *o = &p->outcomes[i];

        if (strcmp(p->rows[i].id, x->row) != 0)
            continue;
        if (o->verdict == CONFIRMED)
            confirmed(p, "row %s: %s", x->row, o->why);
        else if (o->verdict == CONTRADICTED)
            contradicted(p, NULL, "row %s: %s", x->row, o->why);
        else
            not_tried(p, "row %s tries it: %s", x->row, o->why);
    }
}

static const char *word(enum verdict v)
{
    return v == CONFIRMED      ? "as documented"
           : v == CONTRADICTED ? "ANSWERED DIFFERENTLY"
           : v == UNSUPPORTED  ? "not supported by this reader"
                               : "not tried";
}

unsigned exchange_tell(struct probe *p)
{
    unsigned counts[VERDICTS] = {0};
    char code[8];

    if (!p->o->exchanges)
        return 0;
    session_clear_progress();
    report_and_print(p, "\nThe exchanges that the manuals document:");
    for (size_t i = 0; i < p->exchange_count; i++) {
        const struct exchange *x = &p->exchanges[i];

        p->now = &p->answers[i];
        if (x->row)
            judge_by_row(p, x);
        else if (x->need == NEED_NEVER)
            not_tried(p, "never sent: %s", x->why_never);
        else if (!p->now->judged)
            not_tried(p, "the reader does not answer");
        counts[p->now->verdict]++;
        printf("[%2zu/%zu] ", i + 1, p->exchange_count);
        report_outcome(p, exchange_code(p->family, x->code, code), x->name, word(p->now->verdict), p->now);
    }
    p->now = NULL;
    report_and_print(p,
                     "\nDocumented exchanges: %u as documented, %u answered differently, %u not supported, %u not "
                     "tried.",
                     counts[CONFIRMED], counts[CONTRADICTED], counts[UNSUPPORTED], counts[NOT_TRIED]);
    return counts[CONTRADICTED];
}
