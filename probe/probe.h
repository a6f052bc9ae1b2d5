/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The probe: what its files share.
 *
 *   main.c          options
 *   session.c       one reader: opening it, running the rows in an order that asks for each card once, closing
 *   rows.c          the verdicts
 *   exchange.c      the documented exchanges: sending them and telling their verdicts (exchange.h)
 *   ask.c           asking the user for a card
 *   report.c        what is printed and what goes into the report
 *   aet63_wire.c    one AET63 command and its answer;  vivo_wire.c  the same for a ViVOpay reader
 *   aet63_*.c       the rows of the AET63, and its documented exchanges;  vivo_*.c  those of a ViVOpay reader
 *
 * A row is one assumption of doc/ASSUMPTIONS.md. The tables have every one of them: what cannot be tried by software
 * says why. A row's function sends what it needs and gives a verdict from the bytes that came back, never from anything
 * else. It uses the driver's codecs and transports, but not its links: a link would try again, wait and choose, and
 * hide what the reader really did.
 *
 * Nothing is changed for good: no EEPROM write, no key that stays, no baud rate, no value on a card. What a row changes
 * until the next power-off (card type, notification, pass-through mode) is what the driver itself sets at each start.
 */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include <stdio.h>
#include "base/clock.h"
#include "base/result.h"
#include "base/settings.h"
#include "probe/system.h"
#include "transport/transport.h"
#include "transport/usb.h"

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* What a row needs, in the order in which it is asked for. */
enum need {
    NEED_OPENING, /* judged from the opening, also if nobody answered: such a row sends nothing */
    NEED_NOTHING,
    NEED_NEVER, /* cannot be tried by software */
    NEED_EMPTY, /* no card in the reader, nor in its field */
    /* AET63 */
    NEED_T0,
    NEED_T1,
    NEED_DUAL,
    NEED_MOVES,    /* the user moves any contact card in and out */
    NEED_T0_MOVES, /* the user pulls out a T=0 card */
    /* ViVOpay */
    NEED_APDU,
    NEED_BOTH,
    NEED_TYPE_B,
    NEED_MIFARE,
    NEED_ULTRALIGHT,
    NEED_FELICA,
    NEED_TAG,
    NEED_APDU_MOVES,
    NEED_ICC,
    NEED_ICC_T0,
    NEED_POWER,  /* the user takes the reader's power */
    NEED_REPLUG, /* the user pulls the serial adapter */
    NEED_LAST,   /* judged from all that came before */
    NEEDS
};

enum { ROWS_MAX = 64, EXCHANGES_MAX = 128, WHY_MAX = 240, SETTING_MAX = 64, TRACE_MAX = 24576 };

#define NEEDS_BIT(need) (1u << (need))

/* UNSUPPORTED: of a documented exchange alone. */
enum verdict { NOT_TRIED, CONFIRMED, CONTRADICTED, UNSUPPORTED, VERDICTS };

struct probe;
struct exchange;
struct exchange_heard;

struct row {
    const char *id;      /* "A01" */
    const char *assumed; /* in a few words */
    unsigned needs;      /* NEEDS_BIT of each need under which run() is called */
    void (*run)(struct probe *p);
    const char *why_never; /* NEED_NEVER: the reason */
};

struct outcome {
    enum verdict verdict;
    bool judged;
    char why[WHY_MAX];
    char setting[SETTING_MAX]; /* the line of ifd-purse.conf that follows; "" none */
    char *trace;               /* the bytes, for the report */
};

extern const struct row aet63_rows[], vivo_rows[];
extern const size_t aet63_row_count, vivo_row_count;

/* ---- options ----------------------------------------------------------------------------------------------------- */

enum asking {
    ASK_NOT,   /* no card: rows that need one are not tried */
    ASK_GIVEN, /* the cards named are in place now */
    ASK_USER,  /* by prompt, answered at the keyboard */
    ASK_WAIT   /* by prompt, answered by what the reader sees */
};

struct options {
    enum asking asking;
    unsigned given;      /* ASK_GIVEN: NEEDS_BIT of each */
    unsigned wait_s;     /* how long a card or a movement is waited for */
    unsigned insertions; /* how often a card is asked to be moved */
    unsigned listen_s;   /* how long silence is listened to */
    unsigned packets;    /* how many are recorded */
    bool unmask, keys, sam, verbose;
    bool rows, exchanges; /* what is run */
    const char *only;   /* rows to run, "A11,A12"; NULL: all */
    const char *report; /* path; NULL: none */
    const char *root;
};

/* ---- one reader -------------------------------------------------------------------------------------------------- */

struct aet63_wire;
struct vivo_wire;

struct probe {
    const struct options *o;
    char family;
    bool serial;
    struct usb_seen usb;      /* a USB reader */
    char path[PATH_MAX];      /* a serial one */
    const char *conf_options; /* of its DEVICENAME */
    unsigned baud;
    struct settings settings;
    struct log log;
    struct transport *t;
    enum usb_form form; /* in which it answered; AUTO: in what is usual */
    int64_t opened;

    const struct row *rows;
    size_t row_count, wanted; /* wanted: how many of them the user wants */
    struct outcome outcomes[ROWS_MAX];
    const struct exchange *exchanges;
    size_t exchange_count;
    struct outcome answers[EXCHANGES_MAX]; /* to the exchanges */
    struct outcome *now;   /* of the row that runs */
    char trace[TRACE_MAX]; /* of the row that runs */
    size_t trace_len;
    enum need need;  /* under which it runs */
    unsigned have;   /* NEEDS_BIT of what the user has put in place */
    bool gone;       /* the reader is: nothing more can be tried */
    bool gone_tells; /* that it went is what the row that runs has found out */

    struct aet63_wire *a;
    struct vivo_wire *v;
    FILE *report;
};

/* ---- rows.c: verdicts, given from within a row. The first contradiction stands; a confirmation does not undo one.  */

void confirmed(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* setting: the line for ifd-purse.conf, or NULL. */
void contradicted(struct probe *p, const char *setting, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void not_tried(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void unsupported(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Judges from a T=0 card's answer to SELECT without Le, n >= 2 bytes, whether 61xx and its like come up or the reader
 * sends GET RESPONSE by itself. False: this answer does not tell; *sw is its status word in any case. */
bool judge_get_response(struct probe *p, const uint8_t *answer, size_t n, unsigned *sw);
/* A setting that is of use although nothing was contradicted; for a row just confirmed. */
void suggest(struct probe *p, const char *setting);
const char *verdict_text(enum verdict v);

/* A line of the bytes' record. */
void trace_line(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "what: [n] bytes": the first `clear` and the last `tail` are shown, the others counted; all with --unmask, but for
 * what looks like a card number. `secret` bytes are never shown. */
struct masked {
    const uint8_t *bytes;
    size_t n, clear, tail;
    bool secret;
    bool own; /* an ATR, or of the reader itself: digits that look like a card number are none */
};
void trace_bytes(struct probe *p, const char *what, const struct masked *m);

/* Masks runs of 13 to 19 digits that pass as a card number in hex text, in place. */
void mask_card_numbers(char *hex);

/* ---- report.c ---------------------------------------------------------------------------------------------------- */

void report_open(struct probe *p);
/* To the report alone; to both. */
void report_line(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_and_print(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_row(struct probe *p, const struct row *row, const struct outcome *o);
/* The same for what is no row; on the screen its bytes are shown only if they contradict. */
void report_outcome(struct probe *p, const char *id, const char *name, const char *verdict, const struct outcome *o);
void report_end(struct probe *p);
/* "1234****" unless --unmask. */
const char *report_serial(const struct probe *p, const char *serial, char out[SEEN_TEXT]);

/* ---- ask.c ------------------------------------------------------------------------------------------------------- */

/* Is a card in place that serves this need? Called again and again while one is waited for. */
typedef bool (*card_test_fn)(struct probe *p, enum need need);

/* Sees to it that there is one, by asking if it must. False: not to be had; the reason is in *why. */
bool ask_for(struct probe *p, enum need need, card_test_fn test, const char **why);
/* Tells the user to do something and waits until `done` says that it was done. False: it was not, in time. */
bool ask_to(struct probe *p, const char *what, bool (*done)(struct probe *p, void *arg), void *arg);
/* Can the user be asked to do things? */
bool ask_can(const struct probe *p);
/* The name of what is asked for: "t0", "a T=0 card". */
const char *need_word(enum need need);
const char *need_text(enum need need);

/* ---- session.c --------------------------------------------------------------------------------------------------- */

/* Opens the line to the reader of p (transport and wire); false: it said why. */
bool session_open_usb(struct probe *p, enum usb_form form);
bool session_open_serial(struct probe *p, unsigned baud);
void session_close(struct probe *p);
/* A signal handler: the rows that are left are not tried, the reader is put back and the report finished. */
void session_stop(int signal);
bool session_stopped(void);
/* Takes the line that says what goes on off the screen. */
void session_clear_progress(void);
/* A word of what goes on, where somebody sits before the screen; the verdict takes its place. */
void session_show_progress(const char *id, const char *name, enum need need);
/* Why nothing can be asked of the reader now, or NULL. */
const char *session_idle_because(const struct probe *p);
/* Keeps the bytes of a run behind those of the runs before. */
void session_keep_trace(struct probe *p, struct outcome *o);
/* Probes one reader from end to end. The number of rows that were contradicted, and of exchanges answered otherwise. */
int session_run(struct probe *p);

/* What a family brings to session.c. */
struct family {
    /* Makes the wire and finds the reader on it. False: nobody answers; rows that can say why have judged. */
    bool (*begin)(struct probe *p);
    void (*end)(struct probe *p);
    /* Can this reader have such a card at all? False: *why says it; NULL: it can have every one. */
    bool (*offers)(struct probe *p, enum need need, const char **why);
    card_test_fn has;
    /* Before each row: nothing of the last one may be under way. */
    void (*settle)(struct probe *p);
    /* Sends a documented exchange (exchange.h). */
    void (*exchange)(struct probe *p, const struct exchange *x, struct exchange_heard *heard);
};
extern const struct family aet63_probe, vivo_probe;

#endif
