/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The fault matrix: what its files share.
 *
 *   matrix.c           the cases of one link and session, their verdicts, the program
 *   matrix_bed.c       the built handler, loaded as pcscd loads it, and what pcscd would do with it; the simulator
 *   matrix_sessions.c  the sessions: how each is prepared, what it does, what it must come to
 *
 * One thread plays all of pcscd's: it asks for presence, sleeps in the polling function, powers up, transmits. So the
 * messages of a session are the same each time it is run, which is what lets a case name one of them.
 */
#ifndef PURSE_MATRIX_H
#define PURSE_MATRIX_H

#include <PCSC/ifdhandler.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ANSWER_MAX = 512, REPLY_MAX = 8192, ATR_SIZE_MAX = 33 };

/* Where a session runs. */
struct link {
    const char *name;
    const char *reader;   /* for purse-sim */
    const char *settings; /* section of the configuration file */
    bool aet63, serial;
};
extern const struct link links[];
extern const size_t links_count;

/* What a client was told. */
enum told { TOLD_RIGHT, TOLD_ERROR, TOLD_WRONG };

struct session {
    const char *name;
    const char *where;                 /* names of links, with a space behind each */
    const char *reader, *settings;     /* further options of the reader, further lines of the configuration */
    const char *card;                  /* the request that puts it in */
    unsigned protocol;                 /* 0 or 1 */
    bool many;                         /* many exchanges in one call: the cap of a call to the reader is longer */
    bool (*prepare)(void);             /* brings about the state before; false: not yet */
    enum told (*act)(void);            /* what is broken */
    enum told (*next)(unsigned n);     /* an exchange with an answer of its own, for n = 0, 1, 2 */
    /* How often the card has done what act() asks for, where the simulator can tell; else this is NULL, and `counter`
     * names its count of APDUs, those of next() among them; NULL: act() sends none. */
    long (*executed)(void);
    const char *counter;
};
extern const struct session sessions[];
extern const size_t sessions_count;

/* ---- matrix_bed.c ----------------------------------------------------------------------------------------------- */

struct bed {
    const struct link *link;
    const struct session *session;
    bool real;           /* the driver's own waits */
    unsigned scale;      /* else: how many times the shortest ones */
    bool open, powered;  /* as pcscd knows */
    long last;           /* what the last call returned */
    unsigned long asked, failed; /* APDUs of next() that were answered, and that failed */
    unsigned late_calls; /* that went beyond their cap */
    unsigned long nudges; /* times that a command had to be sent so that a card was noticed */
    char late[160], wrong[100];
};
extern struct bed bed;

/* Starts the simulator with this program inside; only returns if that fails. */
int bed_enter(char **argv);
bool bed_start(const char *handler);
/* From the next opening on, the driver's waits are that many times the shortest;
 * closes the reader if that is a change. */
void bed_waits(unsigned scale);
/* One request to the simulator; what follows "ok" in its reply, or NULL. */
const char *bed_sim(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
unsigned long bed_count(const char *request, const char *key);
/* The log of the driver since the last call of bed_log_clear(). */
void bed_log_print(void);
void bed_log_clear(void);

bool bed_open(void);
void bed_close(void);
/* Ask for presence; in between sleep in the polling function. */
bool bed_present(void);
void bed_poll(unsigned ms);
bool bed_power_down(void);
bool bed_power_up(void);
bool bed_protocol(void);
/* One step of what pcscd does until a client has a powered card; true: it has. */
bool bed_ready(void);
extern uint8_t bed_atr[ATR_SIZE_MAX];
extern size_t bed_atr_n;
/* An APDU. False: an error (bed.last). */
bool bed_transmit(const uint8_t *apdu, size_t n, uint8_t *answer, size_t *len);
bool bed_control(const uint8_t *command, size_t n, uint8_t *answer, size_t *len);
/* Remembers an answer that is wrong, for the report. */
void bed_wrong(const uint8_t *answer, size_t n);
size_t bed_attribute(DWORD tag, uint8_t *value, size_t cap);

int64_t now_ms(void);

#endif
