/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A ViVOpay reader of a few lines behind a fake transport, and a device that writes down what it is told: for tests of
 * src/vivopay without a device, a port or time. A program that links this links neither src/reader/device.c nor the
 * transports.
 *
 * The fake transport has no clock: a read with nothing to hand over is a time-out at once. "Late" is counted in such
 * time-outs.
 */
#ifndef PURSE_VIVO_RIG_H
#define PURSE_VIVO_RIG_H

#include "poller_turn.h"
#include "vivopay/internal.h"

enum { RIG_SENT_MAX = 400, RIG_DATA_MAX = 1500 };

/* A command as the driver sent it. */
struct rig_sent {
    uint8_t command, sub;
    uint8_t data[RIG_DATA_MAX];
    size_t n;
    enum vivo_order order;
};

/* What the reader does with a command. True: it has dealt with it (by rig_say, or by silence). */
typedef bool (*rig_handler)(const struct rig_sent *q);

struct rig {
    /* to be laid down */
    rig_handler handler;   /* asked first; NULL: the obedient reader answers everything */
    bool hid;              /* which opener succeeds, and how frames travel */
    bool node;             /* the serial node is there */
    bool mute;             /* commands reach nobody */
    bool hang_up;          /* read and write find the port gone */
    unsigned deaf_to_baud; /* at this speed and above nothing is understood */
    uint8_t card_type;     /* in the field; 0: none */
    uint8_t uid[10];
    size_t uid_len;
    const char *contact_atr; /* hex; NULL: no contact card */
    unsigned fail_at;        /* the transport's call of this number (1 …) ends in fail_with; 0: none */
    enum result fail_with;
    unsigned then_at;        /* and so does this one */
    enum result then_with;
    unsigned calls; /* of the transport's read and write, since the reset */
    /* records */
    struct rig_sent sent[RIG_SENT_MAX];
    size_t sent_count;
    unsigned opened, closed, resets;
    unsigned baud;
    bool pass_through;
    unsigned lost[READER_SLOTS_MAX]; /* slot_lost calls */
    bool present[READER_SLOTS_MAX];  /* the last slot_observe */
    unsigned observed[READER_SLOTS_MAX];
};

extern struct rig rig;
extern struct settings rig_settings;

void rig_reset(void);
/* Opens the reader with rig_settings; NULL and *r on failure. */
struct reader *rig_open(bool patient, enum result *r);
/* Opens a serial reader with an ISO 14443-4 card that is powered up, and forgets what was sent. */
struct reader *rig_open_powered(void);
void rig_close(struct reader *r);

/* An answer with a right CRC, at once or behind `timeouts` reads without one. */
void rig_say(uint8_t command, uint8_t status, const char *hex);
void rig_say_late(unsigned timeouts, uint8_t command, uint8_t status, const char *hex);
/* Bytes as they are, in one chunk. */
void rig_say_raw(const void *bytes, size_t n);
/* An answer two times in one: one chunk, or (HID) the same reports again. */
void rig_say_twice(uint8_t command, uint8_t status, const char *hex);
/* An answer cut to n bytes. */
void rig_say_cut(uint8_t command, uint8_t status, const char *hex, size_t n);
/* What the obedient reader does. */
void rig_obey(const struct rig_sent *q);

/* How often a command was sent; SUB_ANY. */
enum { RIG_ANY = 0x100 };
unsigned rig_count(unsigned command, unsigned sub);
/* Place of its n-th sending (0 …) in rig.sent; -1. */
int rig_find(unsigned command, unsigned sub, unsigned n);
void rig_forget(void);

#endif
