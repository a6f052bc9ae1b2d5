/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The simulator's three kinds of part and the contracts between them.
 *
 *   a model   is a reader: bytes from the host in, bytes to the host out. It is written from the specification
 *             and uses nothing of the driver (no header, no object of src/ or ifdhandler/).
 *   a front   carries a model's bytes: usbfs ioctls under umockdev, a pty behind a umockdev tty, USB/IP.
 *   a card    is what a model has in its slot: it answers APDUs.
 *
 * One process (`purse-sim`) holds any number of readers, starts the program under test as its child inside the
 * umockdev testbed, and listens on a control socket (a unix stream socket; one request line, one reply line) by
 * which a test inserts cards, plugs readers, arms faults and reads counters.
 *
 * Threads: everything of the simulator runs under ONE lock (sim_lock/sim_unlock). A front takes it before it calls
 * into a model; a timer's function is called with it held; the control code takes it for each request. Models and
 * cards therefore never lock anything and never block.
 */
#ifndef PURSE_SIM_H
#define PURSE_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sim_reader; /* one reader: a front with a model behind it */
struct sim_model;  /* a model's own state; each model defines it */
struct sim_card;   /* a card's own state */

void sim_lock(void);
void sim_unlock(void);

/* ---- what a model may ask of its front ---- */

enum sim_pipe {
    SIM_PIPE_CONTROL,  /* vendor or class request on endpoint 0 (host to device data stage) */
    SIM_PIPE_INT_OUT,  /* interrupt OUT */
    SIM_PIPE_BULK_OUT, /* bulk OUT */
    SIM_PIPE_INT_IN,   /* interrupt IN */
    SIM_PIPE_BULK_IN,  /* bulk IN */
    SIM_PIPE_SERIAL    /* both directions of a serial line */
};

/* Queues n bytes towards the host, on a USB pipe as exactly one packet (the model cuts and pads packets itself).
 * Bytes stay queued until the host reads them; they are lost when the reader is unplugged. */
void sim_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n);

/* Makes the next host transfer on this pipe fail with a stall (EPIPE). As on a real bus an endpoint stays halted until
 * the host clears it; a stall of the control pipe ends with the request that it hit. */
void sim_stall(struct sim_reader *r, enum sim_pipe pipe);

/* The speed in baud that the host has set on a serial line; 0: not a serial line, or not known. A model whose own speed
 * is another one can then neither understand nor be understood. */
unsigned sim_line_speed(struct sim_reader *r);

typedef void (*sim_timer_fn)(void *arg);
/* Calls fn(arg) once after ms milliseconds, with the lock held. Returns an id, never 0. */
unsigned sim_timer_add(unsigned ms, sim_timer_fn fn, void *arg);
void sim_timer_cancel(unsigned id);

/* One line on the simulator's standard error, prefixed with the reader's name. */
void sim_log(struct sim_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- a model ---- */

struct sim_usb_identity {
    uint16_t vid, pid;
    const uint8_t *descriptors; /* device descriptor and configuration, as in sysfs "descriptors" */
    size_t descriptors_len;
    const uint8_t *report_descriptor; /* HID only, else NULL */
    size_t report_descriptor_len;
    const char *manufacturer, *product, *serial; /* NULL: no such string */
    const char *kernel_driver;                   /* driver pretended to be bound, e.g. "usbhid"; NULL: none */
    const char *speed;                           /* sysfs text: "1.5", "12", "480" */
};

struct sim_model_ops {
    const char *name; /* as on the command line: "aet63", "neo" */

    /* Makes a reader from "key=value,key=value" options (may be ""). NULL and a message on stderr for a bad one. */
    struct sim_model *(*create)(struct sim_reader *r, const char *options);
    void (*destroy)(struct sim_model *m);

    /* The descriptors of a USB reader; NULL for a serial one. */
    const struct sim_usb_identity *(*usb)(struct sim_model *m);

    /* Bus or line power came (plug) or went (unplug). State that a real reader loses with its power is lost. */
    void (*power)(struct sim_model *m, bool on);

    /* The host sent one transfer (USB: one control data stage, one packet or bulk transfer; serial: what was read).
     * setup: the 8 setup bytes of a control request, else NULL. Returns false to stall a control request. For a request
     * with a device to host data stage n is 0, and what the model sends to SIM_PIPE_CONTROL during the call is the
     * data. Standard requests, and the HID class requests SET_IDLE, GET_IDLE, SET_PROTOCOL, GET_PROTOCOL, never come
     * here. */
    bool (*receive)(struct sim_model *m, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data, size_t n);

    /* One control request "verb args" from a test. Writes ONE line (no newline) to reply; returns false, with the
     * reason as the reply, if it cannot be done. Verbs of every model: insert NAME, remove, swap NAME, count, fault …,
     * option KEY=VALUE. */
    bool (*control)(struct sim_model *m, const char *verb, const char *args, FILE *reply);
};

extern const struct sim_model_ops sim_aet63; /* tests/sim/aet63_model.c */
extern const struct sim_model_ops sim_neo;   /* tests/sim/neo_model.c */

/* ---- a card ---- */

enum { SIM_ATR_MAX = 33, SIM_RAPDU_MAX = 65538 };

typedef void (*sim_card_done)(void *arg, const uint8_t *rapdu, size_t n);
typedef void (*sim_card_changed)(void *arg, bool present);

/* A card answers APDUs at application level, whatever the model's transmission protocol is. T=0 specifics that the
 * card itself decides (61xx, 6Cxx) are the card's business: a T=0 card gets the five-byte header and data as sent. */
struct sim_card_ops {
    const char *name; /* "pboc-t0", "pboc-t1", "echo-t0", "echo-t1", … ; "vpcd:PORT" waits for a vpcd client */
    struct sim_card *(*create)(const char *options);
    void (*destroy)(struct sim_card *c);
    size_t (*atr)(struct sim_card *c, uint8_t atr[SIM_ATR_MAX]); /* 0: mute */
    void (*power)(struct sim_card *c, bool on);
    void (*reset)(struct sim_card *c);
    /* Executes one command APDU; returns the length of the response including SW1 SW2; 0: the card stays silent. Sets
     * *delay_ms to the time the card needs. */
    size_t (*execute)(struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *rapdu, unsigned *delay_ms);
    /* How often execute() ran since creation: the test's proof of "at most once". */
    unsigned long (*executions)(struct sim_card *c);

    /* What follows is NULL for an ordinary card. */

    /* Tells a card that offers both protocols which one the reader runs (0 or 1), after each activation. */
    void (*protocol)(struct sim_card *c, int t);
    /* For a card that cannot answer within the call (it is behind a socket): begins one command APDU, and later, with
     * the lock held, done() is called exactly once with the response (n = 0: silent), unless cancel() came before.
     * Where begin is set it is used in place of execute. Returns false if the card is not there. */
    bool (*begin)(struct sim_card *c, const uint8_t *apdu, size_t n, sim_card_done done, void *arg);
    void (*cancel)(struct sim_card *c);
    /* For a card that comes and goes by itself: it counts as absent until changed() says otherwise. */
    void (*watch)(struct sim_card *c, sim_card_changed changed, void *arg);
};

/* Finds a card by the name alone, without options. "vpcd:PORT" finds the vpcd card, whose create() wants "port=PORT";
 * sim_card_make (sim_cards.h) takes "NAME[,options]" and hides that difference. */
const struct sim_card_ops *sim_card_find(const char *name);

#endif
