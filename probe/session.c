/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One reader from end to end (probe.h): the line to it, the rows in the order of what they need, the report. The order
 * spares the user: what needs nothing comes first, then each kind of card is asked for once, for all the rows that
 * need it and for the documented exchanges; what is judged from the whole run comes last.
 */
#include "probe/exchange.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe/hostlog.h"
#include "transport/serial.h"

enum { CLASS_CCID = 0x0B };

/* ---- the line ---------------------------------------------------------------------------------------------------- */

/* Input that comes by itself is fetched when somebody listens. */
static void input_came(void *arg)
{
    (void)arg;
}

bool session_open_usb(struct probe *p, enum usb_form form)
{
    struct usb_open_options o = {
        .address = {.vid = p->usb.vid, .pid = p->usb.pid, .bus = p->usb.bus, .device = p->usb.device, .interface = -1},
        .form = form,
        .refuse_class = p->family == 'a' ? CLASS_CCID : 0,
        .notify = input_came,
        .log = &p->log};

    return usb_open(&p->t, &o) == R_SUCCESS;
}

bool session_open_serial(struct probe *p, unsigned baud)
{
    p->baud = baud;
    return serial_open(&p->t, p->path, baud, &p->log) == R_SUCCESS;
}

void session_close(struct probe *p)
{
    if (p->t)
        p->t->ops->close(p->t);
    p->t = NULL;
}

/* ---- stopping -----------------------------------------------------------------------------------------------------
 */

static volatile sig_atomic_t stop_asked;

void session_stop(int signal)
{
    (void)signal;
    stop_asked = 1;
}

bool session_stopped(void)
{
    return stop_asked != 0;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static bool wanted(const struct probe *p, const struct row *row)
{
    return p->o->rows && (!p->o->only || strstr(p->o->only, row->id) != NULL);
}

void session_keep_trace(struct probe *p, struct outcome *o)
{
    size_t had = o->trace ? strlen(o->trace) : 0;
    char *all = realloc(o->trace, had + p->trace_len + 1);

    if (!all)
        return;
    memcpy(all + had, p->trace, p->trace_len);
    all[had + p->trace_len] = '\0';
    o->trace = all;
}

void session_show_progress(const char *id, const char *name, enum need need)
{
    if (!isatty(STDOUT_FILENO))
        return;
    printf("\r\033[K... %s %s", id, name);
    if (need > NEED_NEVER && need < NEED_LAST)
        printf(" (%s)", need_word(need));
    fflush(stdout);
}

void session_clear_progress(void)
{
    if (isatty(STDOUT_FILENO))
        printf("\r\033[K");
}

static void run_row(struct probe *p, const struct family *f, size_t i, enum need need)
{
    const struct row *row = &p->rows[i];
    bool was_gone = p->gone;
    struct outcome before;

    session_show_progress(row->id, row->assumed, need);
    if (need != NEED_OPENING && !p->gone)
        f->settle(p);
    p->now = &p->outcomes[i];
    if (need != NEED_OPENING && need != NEED_LAST && p->gone) {
        not_tried(p, "the reader does not answer");
        return;
    }
    p->need = need;
    if (need != NEED_OPENING) { /* else it is judged by the bytes of the opening, which are there still */
        p->trace_len = 0;
        p->trace[0] = '\0';
    }
    before = *p->now;
    p->gone_tells = false;
    row->run(p);
    if (p->gone && !was_gone && !p->gone_tells && need != NEED_LAST) { /* no verdict from what did not come */
        before.trace = p->now->trace;
        *p->now = before;
        not_tried(p, "the reader went away while it was tried");
    }
    session_keep_trace(p, p->now);
    p->now = NULL;
}

/* Is this the last need under which the row runs? Then its verdict can be told. */
static bool is_last(const struct row *row, enum need need)
{
    return row->needs >> need == 1;
}

static void tell(struct probe *p, size_t i, unsigned *number)
{
    const struct row *row = &p->rows[i];

    session_clear_progress();
    if (!wanted(p, row))
        return;
    printf("[%2u/%zu] %s %s ... ", ++*number, p->wanted, row->id, row->assumed);
    report_row(p, row, &p->outcomes[i]);
}

static bool pending(const struct probe *p, enum need need)
{
    for (size_t i = 0; i < p->row_count; i++)
        if (p->rows[i].needs & NEEDS_BIT(need) && wanted(p, &p->rows[i]))
            return true;
    return exchange_pending(p, need);
}

const char *session_idle_because(const struct probe *p)
{
    return p->gone ? "the reader does not answer" : session_stopped() ? "it was stopped before that" : NULL;
}

/* One row under one need; `missing` says why what it needs is not there, or is NULL. */
static void run_or_say(struct probe *p, const struct family *f, size_t i, enum need need, const char *missing)
{
    const struct row *row = &p->rows[i];
    bool sends = need != NEED_OPENING && need != NEED_NEVER && need != NEED_LAST;

    p->now = &p->outcomes[i];
    if (!wanted(p, row))
        not_tried(p, "it was not asked for");
    else if (need == NEED_NEVER)
        not_tried(p, "%s", row->why_never);
    else if (!missing && !(sends && session_idle_because(p)))
        run_row(p, f, i, need);
    else if (!p->now->judged)
        not_tried(p, "%s (%s)", missing ? missing : session_idle_because(p), need_word(need));
}

static void run_stage(struct probe *p, const struct family *f, enum need need, unsigned *number)
{
    const char *missing = NULL, *why = NULL;

    if (!pending(p, need))
        return;
    if (need > NEED_NEVER && need < NEED_LAST && !session_idle_because(p) &&
        !((!f->offers || f->offers(p, need, &why)) && ask_for(p, need, f->has, &why)))
        missing = why;
    for (size_t i = 0; i < p->row_count; i++) {
        if (!(p->rows[i].needs & NEEDS_BIT(need)))
            continue;
        run_or_say(p, f, i, need, missing);
        if (is_last(&p->rows[i], need))
            tell(p, i, number);
    }
    exchange_run(p, f, need, missing);
}

/* ---- one reader -------------------------------------------------------------------------------------------------- */

static void load_settings(struct probe *p)
{
    struct settings_subject who = {.vid = p->usb.vid,
                                   .pid = p->usb.pid,
                                   .serial = p->usb.serial[0] ? p->usb.serial : NULL,
                                   .device = p->serial ? p->path : NULL,
                                   .options = p->conf_options,
                                   .family = p->family};

    settings_load(&p->settings, &who, &p->log);
}

static void free_outcomes(struct probe *p)
{
    for (size_t i = 0; i < p->row_count; i++)
        free(p->outcomes[i].trace);
    for (size_t i = 0; i < p->exchange_count; i++)
        free(p->answers[i].trace);
}

/* Rows that nothing has judged: a reader that went away while they were due. */
static void close_open_rows(struct probe *p)
{
    for (size_t i = 0; i < p->row_count; i++) {
        p->now = &p->outcomes[i];
        if (!p->now->judged)
            not_tried(p, wanted(p, &p->rows[i]) ? "the reader went away" : "it was not asked for");
    }
    p->now = NULL;
}

int session_run(struct probe *p)
{
    const struct family *f = p->family == 'a' ? &aet63_probe : &vivo_probe;
    unsigned number = 0, against = 0;
    bool answered;

    log_init(&p->log, PLOG_CRITICAL | PLOG_INFO, "");
    hostlog_clear();
    p->rows = p->family == 'a' ? aet63_rows : vivo_rows;
    p->row_count = p->family == 'a' ? aet63_row_count : vivo_row_count;
    p->exchanges = p->family == 'a' ? aet63_exchanges : vivo_exchanges;
    p->exchange_count = p->family == 'a' ? aet63_exchange_count : vivo_exchange_count;
    for (size_t i = 0; i < p->row_count; i++)
        p->wanted += wanted(p, &p->rows[i]);
    report_open(p);
    load_settings(p);
    p->opened = clock_now();
    answered = f->begin(p);
    if (!answered) {
        p->gone = true;
        report_and_print(p, "The reader does not answer.");
    }
    for (enum need need = NEED_OPENING; need < NEEDS; need++)
        if (need != NEED_LAST || answered)
            run_stage(p, f, need, &number);
    close_open_rows(p);
    f->end(p);
    for (size_t i = 0; i < p->row_count; i++)
        against += p->outcomes[i].verdict == CONTRADICTED;
    against += exchange_tell(p);
    report_end(p);
    free_outcomes(p);
    log_done(&p->log);
    return (int)against;
}
