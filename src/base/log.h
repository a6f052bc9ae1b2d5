/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The log: lines in pcscd's own log (its exported log_msg and log_xxd), chosen by a bit mask that the configuration
 * or IFD_PURSE_LOG sets. A struct log belongs to one reader and names it in each line. A line that tells of a fault
 * names the cause and, where there is one, the cure. No key, PIN, APDU data or fingerprint template is ever given to
 * these functions: callers cut or mask first (log_bytes_masked).
 *
 * A hostile reader can provoke lines without end. In ten seconds a struct log therefore prints at most LOG_FAULT_BURST
 * lines of log_fault() and LOG_LINE_BURST others of PLOG_CRITICAL and PLOG_INFO; before its next line after them, or in
 * log_done(), it says once how many it left out. What a user asks for, PLOG_FRAME and PLOG_PERIODIC, has no limit; nor has
 * log_outcome(), for the line that says what became of somebody's money must not be among those left out.
 */
#ifndef PURSE_LOG_H
#define PURSE_LOG_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    PLOG_CRITICAL = 1, /* the reader or a card cannot be used, and why */
    PLOG_INFO = 2,     /* what was found, chosen, contradicted */
    PLOG_FRAME = 4,    /* every frame, secrets masked */
    PLOG_PERIODIC = 8  /* what repeats all the time: polls, presence */
};

enum { LOG_NAME_MAX = 64, LOG_FAULT_BURST = 20, LOG_LINE_BURST = 100 };

struct log {
    unsigned mask;           /* of enum log_level */
    char name[LOG_NAME_MAX]; /* the reader, e.g. "AET63 1:2" */
    pthread_mutex_t limit_lock;
    int64_t limit_since;     /* start of the ten seconds */
    unsigned limit_used, limit_dropped; /* faults */
    unsigned lines_used, lines_dropped; /* other lines */
    uint64_t contradicted; /* bit n: row n of doc/ASSUMPTIONS.md was named; the reader's owner's alone */
};

void log_init(struct log *log, unsigned mask, const char *name);
void log_done(struct log *log);

/* A line at one level; PLOG_CRITICAL and PLOG_INFO within the limit above. The format's output is cut at 200
 * characters. */
void log_line(struct log *log, enum log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A rate-limited PLOG_CRITICAL line: for whatever a reader, a card or a client can provoke again and again. */
void log_fault(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A PLOG_CRITICAL line without a limit: that it is not known whether a client's command changed the card. At most one for
 * each command of a client. */
void log_outcome(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The reader contradicted a row of doc/ASSUMPTIONS.md, 'A' or 'V' and a number below 64: a PLOG_INFO line that names
 * it, the first time only. */
void log_contradicted(struct log *log, char family, unsigned row, const char *what);

/* A PLOG_FRAME (or PERIODIC) line: what, then n bytes in hex, of which only the first `clear` and the last `tail`
 * are shown; the rest appears as a count. Builds nothing when the level is off. */
void log_bytes_masked(struct log *log, enum log_level level, const char *what, const uint8_t *p, size_t n, size_t clear,
                      size_t tail);

#endif
