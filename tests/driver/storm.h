/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The storm: the built handlers, loaded and called as pcscd calls them, by as many threads as pcscd has for sixteen
 * slots, while somebody plugs readers, swaps cards and closes channels at the worst moments. No pcscd is there, so the
 * whole program, the driver included, can be compiled for ThreadSanitizer.
 *
 *   storm_pcscd.c   pcscd's part: opening and closing readers, one presence thread for each slot, a client's calls
 *   storm_sim.c     the simulated readers: cards in and out, plug and unplug
 *   storm.c         clients, and the cases
 *
 * pcscd's mutex of a reader (of a slot, where the handler says that its slots can run at once) is kept as pcscd keeps
 * it: around every call but the polling function, its stop function, SetCapabilities, and a CloseChannel that has lost
 * its patience. What is guarded by it is marked "mutex".
 */
#ifndef PURSE_STORM_H
#define PURSE_STORM_H

#include <PCSC/ifdhandler.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { READERS = 10, READER_SLOTS = 2, SLOTS = 16, LIFE_SHIFT = 16, LIVES = 4096, PCSCD_GRACE_MS = 30 };

enum kind { KIND_AET63, KIND_HID, KIND_SERIAL };

typedef RESPONSECODE (*poll_fn)(DWORD lun, int timeout_ms);
typedef RESPONSECODE (*stop_fn)(DWORD lun);

struct handler { /* the entry points of one loaded handler */
    RESPONSECODE (*create)(DWORD, LPSTR);
    RESPONSECODE (*close)(DWORD);
    RESPONSECODE (*get)(DWORD, DWORD, PDWORD, PUCHAR);
    RESPONSECODE (*set)(DWORD, DWORD, DWORD, PUCHAR);
    RESPONSECODE (*protocol)(DWORD, DWORD, UCHAR, UCHAR, UCHAR, UCHAR);
    RESPONSECODE (*power)(DWORD, DWORD, PUCHAR, PDWORD);
    RESPONSECODE (*transmit)(DWORD, SCARD_IO_HEADER, PUCHAR, DWORD, PUCHAR, PDWORD, PSCARD_IO_HEADER);
    RESPONSECODE (*presence)(DWORD);
    RESPONSECODE (*control)(DWORD, DWORD, PUCHAR, DWORD, PUCHAR, DWORD, LPDWORD);
};

struct slot {
    struct reader *reader;
    unsigned index, number; /* of its reader, of the storm */
    DWORD lun;
    pthread_mutex_t *mutex; /* pcscd's */
    poll_fn poll;
    stop_fn stop;
    pthread_t poller;
    bool poller_runs;        /* who opens and closes */
    atomic_bool leaving;     /* pcscd's word to the presence thread to end */
    atomic_bool in_transmit; /* a client is inside IFDHTransmitToICC */
    atomic_int sessions;     /* clients that are connected */
    /* mutex */
    bool present, powered; /* what pcscd believes */
    bool linked;           /* a protocol is set since the last power-up */
    DWORD protocol;
    unsigned long life, count;  /* of the card that answered last, and its counter then */
    unsigned long sent;         /* commands that count, since then */
    unsigned long done, failed; /* commands that count, ever */
};

struct reader {
    enum kind kind;
    unsigned sim; /* the simulator's number */
    const struct handler *handler;
    char name[128];
    unsigned slot_count;
    atomic_bool open;
    pthread_mutex_t mutexes[READER_SLOTS];
    struct slot slots[READER_SLOTS];
};

extern struct reader readers[READERS];
struct slot *slot_at(unsigned number);

/* ---- storm.c ---- */

/* Tells and counts a failure; the case that runs has failed. */
void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A number below n, from the thread's own sequence. */
unsigned dice(unsigned n);
void pause_us(unsigned us);

/* ---- storm_sim.c ---- */

/* One request to the simulator. False: it was refused, which some may be (a card that is out already). */
bool sim(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Ends this thread's connection. */
void sim_hang_up(void);
/* What the hand does to a slot's card. A new card's counter begins at its life, a number that no other card ever has.
 */
void card_insert(struct slot *s);
void card_remove(struct slot *s);
void card_swap(struct slot *s);
/* The slot that the card of this life was put into; NULL: there is no such card. */
struct slot *life_owner(unsigned long life);
/* Connects a reader to its bus or line; learns the name of its USB node. */
void reader_plug(struct reader *r);
void reader_unplug(struct reader *r);

/* ---- storm_pcscd.c ---- */

void pcscd_load(const char *directory);
/* Opens a reader with all its slots and starts their presence threads. */
bool pcscd_open(struct reader *r);
/* Removes it: presence threads stopped and joined, channels closed, without waiting longer than `patience_us` for a
 * client's call to end. `removed`: udev has told that it is gone. */
void pcscd_close(struct reader *r, bool removed, unsigned patience_us);
/* How long a card that nobody uses stays powered (5 s in pcscd), in milliseconds. */
extern atomic_int pcscd_grace;
/* CloseChannels that found a client inside Transmit. */
extern atomic_ulong closes_in_transmit;

/* Between these two no list of USB devices is made: storm_pcscd.c says why. */
void bus_hold(void);
void bus_let_go(void);

/* Stops a slot's presence thread and waits for its end. */
void pcscd_end_poller(struct slot *s);

/* A client's calls. All take the mutex but client_transmit, whose caller holds it and judges the answer under it. */
bool client_connect(struct slot *s);
void client_disconnect(struct slot *s, DWORD action);
RESPONSECODE client_reset(struct slot *s);
RESPONSECODE client_transmit(struct slot *s, const uint8_t *apdu, size_t n, uint8_t *answer, size_t *len);
void client_ask(struct slot *s);

/* Every call of a handler runs between these two; one that does not come back ends the program with a word. */
void watch_begin(const char *call, DWORD lun);
void watch_end(void);
void watch_start(void);

#endif
