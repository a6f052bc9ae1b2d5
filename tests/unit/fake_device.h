/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A device without a reader: every function of reader/device.h, with answers that a test lays down and a record of what
 * was asked. For the tests of what stands above the device: ifdhandler/ and src/pseudo/. A program that links this does
 * not link src/reader/device.c.
 */
#ifndef PURSE_FAKE_DEVICE_H
#define PURSE_FAKE_DEVICE_H

#include "reader/device.h"

enum { FAKE_BYTES_MAX = 70000 };

/* What one call is to answer, and what it was asked. */
struct fake_call {
    enum result result;
    uint8_t answer[FAKE_BYTES_MAX];
    size_t answer_len;
    unsigned calls;
    uint8_t asked[FAKE_BYTES_MAX];
    size_t asked_len;
    int argument; /* protocol, warm … */
};

struct fake {
    /* to be laid down */
    enum result open_result;
    unsigned slot_count;
    bool block;                /* transmit and poll wait until they are cancelled or stopped */
    bool present;              /* what presence answers */
    struct slot_status status; /* slot_status */
    struct atr atr;            /* slot_atr; none while !status.powered */
    struct fake_call transmit, command, power, protocol, presence;
    const struct storage_ops *storage; /* of the reader; NULL: none */
    /* records */
    unsigned opened, closed, cancelled, removed, stopped, refused, polls;
    unsigned blocked; /* calls that wait right now */
    unsigned poll_timeout;
    unsigned lost; /* slot_lost */
    unsigned operated[3]; /* slot_operate, by level */
    unsigned pauses;
};

extern struct fake fake;
extern struct reader fake_reader;
extern struct reader_ops fake_ops;
extern struct reader_family fake_family;
extern struct transport fake_transport;

/* All as new: one slot, everything succeeds, a powered card with ATR 3B 00 that runs T=0. */
void fake_reset(void);

/* Waits until n calls are blocked. */
void fake_wait_blocked(unsigned n);

/* A slot that no Lun table knows. */
struct slot *fake_slot(void);

#endif
