/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A physical reader and its slots, as ifdhandler/ and pseudo/ use them.
 *
 * Locks and owners.
 *   struct device.mutex   guards everything in struct device and struct slot below "guarded", and nothing else. It is
 *                         held for a few instructions, never across I/O.
 *   `busy`                the right to talk to the reader. Whoever acquires the device (device_acquire) may call its
 *                         reader_ops; the mutex is not held meanwhile. Waiting for it ends at a deadline.
 *   a slot's wake_fd      an eventfd; writing it makes the slot's polling function look again.
 * Order: the handler's Lun table, then the device's mutex, then a transport's lock. notify comes with no lock held.
 *
 * Life. The Lun table holds one reference for each open slot. close: device_cancel() makes every wait end, the last
 * user of the slot leaves, then device_unref(); the last reference closes the reader.
 */
#ifndef PURSE_DEVICE_H
#define PURSE_DEVICE_H

#include <pthread.h>
#include "reader/presence.h"
#include "reader/reader.h"
#include "reader/storage.h"

enum {
    DEVICE_NAME_MAX = 512,
    /* A call that answered "no card" is over for us when it returns, but pcscd marks the slot empty only after that, in the
     * same thread. Did its polling thread see the card leave and come back in between, the mark would be the last word, and
     * the card would stay unseen. So the polling function is not entered (and no latch ends) within this time of such an
     * answer: a few instructions of the other thread, or what a loaded machine makes of them. */
    REFUSAL_SETTLES_MS = 100
};

struct slot {
    struct device *device;
    unsigned index;
    int wake_fd;
    /* guarded */
    struct presence presence;
    bool powered;
    bool in_session;   /* a client command was sent since the card was activated */
    int protocol;      /* what the card runs, 0 or 1 */
    size_t max_apdu_data; /* of the powered card, as the family said at the end of the last call */
    bool protocol_set; /* pcscd has called SetProtocolParameters since the power-up */
    bool polling;      /* the polling function runs */
    bool watch_wanted; /* it waits for the device to become free */
    deadline_t settled;  /* when the last "no card" has reached pcscd's books, see REFUSAL_SETTLES_MS */
    unsigned gone_told; /* bit mask of call sites that have answered "no such device" */
    unsigned power_ups;
    struct atr atr;    /* of the powered card */
    /* used with the device acquired */
    struct storage_session storage;
};

struct device {
    char name[DEVICE_NAME_MAX]; /* pcscd's device string */
    struct settings settings;
    struct log log;
    struct reader *reader; /* constant after open */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* busy fell, or cancelled, or gone */
    /* guarded */
    unsigned refs;
    bool busy, cancelled, gone;
    bool input_missed; /* input was announced while the device was busy */
    struct storage_keys keys;
    struct slot slots[READER_SLOTS_MAX];
};

/* Opens the reader behind pcscd's device string. On success *out has one reference. */
enum result device_open(struct device **out, const char *name);
void device_ref(struct device *d);
void device_unref(struct device *d);

/* Ends every wait of the device at once, and every later one. */
void device_cancel(struct device *d);
/* pcscd says that the reader is gone: every running and later call ends with R_GONE, and no call site has to tell pcscd
 * (slot_gone_first). Ignored of a serial reader, whose line says itself when it is gone, and while a USB node is there. */
void device_removed(struct device *d);

enum result device_acquire(struct device *d, deadline_t until);
void device_release(struct device *d);

/* ---- the calls of ifdhandler, one each ------------------------------------------------------------------- */

/* ICCPresence. Only R_SUCCESS (*present) and R_GONE. Never a passing error: what cannot be asked is not present. */
enum result slot_presence(struct slot *s, uintptr_t thread, bool *present);

/* The polling function: returns when presence has changed for this thread, at a stop, or after timeout_ms. */
void slot_poll(struct slot *s, uintptr_t thread, unsigned timeout_ms);
void slot_stop_poll(struct slot *s);

enum result slot_power_up(struct slot *s, bool warm, struct atr *atr);
enum result slot_power_down(struct slot *s);
enum result slot_set_protocol(struct slot *s, int t);

/* An APDU to the card; R_NO_CARD for an absent, latched or unpowered slot. */
enum result slot_transmit(struct slot *s, int protocol, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                          size_t *len);

/* A call is about to answer "no card" to pcscd without one of the functions above having found so (they do it
 * themselves): latches the slot away. Returns R_NO_CARD. */
enum result slot_refuse(struct slot *s);
/* Says in the log that a command of a connection to an earlier card was not sent. Returns R_NOT_NOW. */
enum result slot_late(struct slot *s);

/* A raw reader command; R_DENIED when the whitelist and the configuration do not let it pass. Leaves presence alone. */
enum result slot_command(struct slot *s, const uint8_t *command, size_t n, uint8_t *answer, size_t cap, size_t *len);

/* What an operation of several steps needs, all of them under one acquisition of the device and one deadline. */
enum operate_level {
    OPERATE_READER, /* nothing: presence and cards are left alone */
    OPERATE_FACTS,  /* a powered card, of which only what is known is told: the card stays fresh */
    OPERATE_CARD    /* a powered card, to which something is sent */
};

/* Carries one out: calls fn with the device acquired. R_NO_CARD for an absent, latched or unpowered slot, or if fn says so: the
 * slot is latched away then. */
typedef enum result (*operate_fn)(struct slot *s, void *arg, deadline_t until);
enum result slot_operate(struct slot *s, enum operate_level level, operate_fn fn, void *arg);

/* Waits, with the device acquired, and ends at once when it is cancelled (R_CANCELLED, R_GONE). */
enum result device_pause(struct device *d, deadline_t until);

/* The keys of class FF: in memory only, until the reader is closed. device_key: false if that number was never loaded. */
void device_store_key(struct device *d, uint8_t number, const uint8_t key[STORAGE_KEY_SIZE]);
bool device_key(struct device *d, uint8_t number, uint8_t key[STORAGE_KEY_SIZE]);

/* Snapshots for attributes. */
bool slot_atr(struct slot *s, struct atr *atr); /* false: unpowered */
struct slot_status {
    bool present, powered, in_session, gone;
    bool protocol_set; /* since the power-up: a connection to this card was made */
    int protocol;
    size_t max_apdu_data;
};
void slot_status(struct slot *s, struct slot_status *st);

/* First "no such device" of this call site? (IFD_NO_SUCH_DEVICE is said once per site: pcscd sleeps a second and
 * signals itself for each.) site: 0 … 31. */
bool slot_gone_first(struct slot *s, unsigned site);

#endif
