/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The log on top of pcscd's log_msg. A line is built in a buffer on the caller's stack and handed over whole, so two
 * threads cannot mix their lines; the only shared state is the limiter's, and its lock is never held while
 * pcscd's log is called (that can block on a terminal or on syslog).
 *
 * What a reader says of itself (its firmware name) may come into a line, so control characters are replaced: nobody
 * can forge a second line or move a terminal's cursor. The mask is read without a lock: the owner sets it while it
 * opens the reader, before another thread knows the struct.
 */
#include "base/log.h"

#include <debuglog.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum {
    LINE_CHARS = 200,  /* of a formatted line */
    BYTES_SHOWN = 320, /* of a dump: a whole short APDU in its frame */
    DUMP_CHARS = 1280, /* of a dump line, see log_bytes_masked */
    WINDOW_S = 10
};

void log_init(struct log *log, unsigned mask, const char *name)
{
    memset(log, 0, sizeof *log);
    log->mask = mask;
    (void)snprintf(log->name, sizeof log->name, "%s", name ? name : "");
    (void)pthread_mutex_init(&log->limit_lock, NULL); /* a default mutex: glibc and musl cannot fail here */
    log->limit_since = clock_now();
}

static int pcscd_priority(enum log_level level)
{
    switch (level) {
    case PLOG_CRITICAL:
        return PCSC_LOG_CRITICAL;
    case PLOG_INFO:
        return PCSC_LOG_INFO;
    case PLOG_FRAME:
    case PLOG_PERIODIC:
        break;
    }
    return PCSC_LOG_DEBUG;
}

static void emit(const struct log *log, enum log_level level, const char *text)
{
    log_msg(pcscd_priority(level), "%s%s%s", log->name, log->name[0] ? ": " : "", text);
}

static void emit_format(const struct log *log, enum log_level level, const char *fmt, va_list ap)
{
    char text[LINE_CHARS + 1];
    int n = vsnprintf(text, sizeof text, fmt, ap);

    if (n < 0)
        return; /* an encoding error: nothing sensible to print */
    if ((size_t)n >= sizeof text)
        memcpy(text + LINE_CHARS - 3, "...", 3); /* show that it was cut */
    for (char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c < 0x20 || c == 0x7F)
            *p = '?';
    }
    emit(log, level, text);
}

static void emit_dropped(const struct log *log, unsigned dropped, const char *what, int burst)
{
    char text[LINE_CHARS];

    if (dropped == 0)
        return;
    (void)snprintf(text, sizeof text, "%u further %s%s left out (no more than %d in %d seconds are shown)", dropped, what,
                   dropped == 1 ? "" : "s", burst, WINDOW_S);
    emit(log, PLOG_CRITICAL, text);
}

static void emit_left_out(const struct log *log, unsigned faults, unsigned lines)
{
    if (!(log->mask & PLOG_CRITICAL))
        return;
    emit_dropped(log, faults, "fault", LOG_FAULT_BURST);
    emit_dropped(log, lines, "line", LOG_LINE_BURST);
}

/* Whether one more line may be printed now, of those that *used counts. What the window that has just ended left out is
 * told first. */
static bool admitted(struct log *log, unsigned *used, unsigned *dropped, unsigned burst)
{
    const int64_t window = WINDOW_S * (int64_t)CLOCK_NS_PER_S;
    int64_t now = clock_now();
    unsigned faults = 0, lines = 0;
    bool yes;

    (void)pthread_mutex_lock(&log->limit_lock);
    if (now - log->limit_since >= window) {
        faults = log->limit_dropped;
        lines = log->lines_dropped;
        log->limit_since = now;
        log->limit_used = log->limit_dropped = log->lines_used = log->lines_dropped = 0;
    }
    yes = *used < burst;
    if (yes)
        ++*used;
    else if (*dropped < ~0U)
        ++*dropped;
    (void)pthread_mutex_unlock(&log->limit_lock);
    emit_left_out(log, faults, lines);
    return yes;
}

void log_line(struct log *log, enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if (!(log->mask & level))
        return;
    if (level & (PLOG_CRITICAL | PLOG_INFO) && !admitted(log, &log->lines_used, &log->lines_dropped, LOG_LINE_BURST))
        return;
    va_start(ap, fmt);
    emit_format(log, level, fmt, ap);
    va_end(ap);
}

void log_fault(struct log *log, const char *fmt, ...)
{
    va_list ap;

    if (!(log->mask & PLOG_CRITICAL) || !admitted(log, &log->limit_used, &log->limit_dropped, LOG_FAULT_BURST))
        return;
    va_start(ap, fmt);
    emit_format(log, PLOG_CRITICAL, fmt, ap);
    va_end(ap);
}

void log_outcome(struct log *log, const char *fmt, ...)
{
    va_list ap;

    if (!(log->mask & PLOG_CRITICAL))
        return;
    va_start(ap, fmt);
    emit_format(log, PLOG_CRITICAL, fmt, ap);
    va_end(ap);
}

/* Without a limit: each row is named once. */
void log_contradicted(struct log *log, char family, unsigned row, const char *what)
{
    uint64_t bit = (uint64_t)1 << (row & 63);
    char text[LINE_CHARS];

    if (!(log->contradicted & bit) && log->mask & PLOG_INFO) {
        (void)snprintf(text, sizeof text, "against assumption %c%02u of doc/ASSUMPTIONS.md: %s", family, row, what);
        emit(log, PLOG_INFO, text);
    }
    log->contradicted |= bit;
}

void log_done(struct log *log)
{
    /* The last user: no lock needed. What the open window left out would otherwise never be told. */
    emit_left_out(log, log->limit_dropped, log->lines_dropped);
    (void)pthread_mutex_destroy(&log->limit_lock);
}

/* " 0A 1B": three characters a byte. The caller has made sure that they fit. */
static char *put_hex(char *out, const uint8_t *p, size_t n)
{
    static const char digit[] = "0123456789ABCDEF";

    for (size_t i = 0; i < n; i++) {
        *out++ = ' ';
        *out++ = digit[p[i] >> 4];
        *out++ = digit[p[i] & 15];
    }
    return out;
}

void log_bytes_masked(struct log *log, enum log_level level, const char *what, const uint8_t *p, size_t n, size_t clear,
                      size_t tail)
{
    char text[DUMP_CHARS], *out = text;
    size_t room = sizeof text;

    if (!(log->mask & level))
        return;
    clear = clear < n ? clear : n;
    tail = tail < n - clear ? tail : n - clear;
    if (clear > BYTES_SHOWN)
        clear = BYTES_SHOWN;
    if (tail > BYTES_SHOWN - clear)
        tail = BYTES_SHOWN - clear;

    /* 64 + 24 + 3 * 320 + 32 characters at most */
    out += snprintf(out, room, "%.64s [%zu]", what, n);
    out = put_hex(out, p, clear);
    room = sizeof text - (size_t)(out - text);
    if (clear + tail < n)
        out += snprintf(out, room, " (%zu not shown)", n - clear - tail);
    out = put_hex(out, tail ? p + n - tail : p, tail);
    *out = '\0';
    emit(log, level, text);
}
