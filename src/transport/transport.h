/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A transport carries bytes between this driver and one reader: USB in its three vendor forms, USB-HID, a serial line.
 * It knows nothing of frames. Only the files of this folder know libusb and libserialport.
 *
 * How input comes in. A transport hands over *chunks*: what one USB packet (or HID report) held, or what a serial line
 * had ready. Chunk boundaries of USB are kept, because a reader may pad its packets with junk. Whoever waits for an
 * answer calls read(); there is at most one reader of input at a time (the owner of the device, see reader/device.h).
 * Input that comes while nobody reads is kept (up to a bound; what does not fit is dropped, oldest first, and counted)
 * and announced by one call of `notify`, so that the device's poller can come and fetch it.
 *
 * Threads. write() and read() are called by one thread at a time. cancel() and notify may come from any thread at any
 * time; notify is called without any lock of the transport held and must not call back into it. close() is called by
 * the last user, after cancel(), with no read() or write() running.
 *
 * Every wait ends at the deadline given. A transport never sends anything twice.
 */
#ifndef PURSE_TRANSPORT_H
#define PURSE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"

enum { TRANSPORT_CHUNK_MAX = 512, TRANSPORT_TEXT_MAX = 64 };

struct transport;

struct transport_ops {
    /* Sends n bytes as one message (USB: one control data stage, or packets of the endpoint's size; HID: one report;
     * serial: the bytes) and returns when they have left, R_SUCCESS. R_TIMEOUT: they may have left or not.
     * R_COMM: the transfer failed (stall). R_GONE, R_CANCELLED. R_INVALID: too long for this transport, nothing sent.
     */
    enum result (*write)(struct transport *t, const uint8_t *data, size_t n, deadline_t until);

    /* Waits for one chunk: R_SUCCESS with *n bytes (1 … cap; cap is at least TRANSPORT_CHUNK_MAX) from pipe *pipe (0,
     * or 1 for the second IN pipe of a reader that has two). R_TIMEOUT, R_COMM (the pipe had failed; it works again),
     * R_GONE, R_CANCELLED. With a deadline in the past it takes what is there and does not wait. */
    enum result (*read)(struct transport *t, uint8_t *chunk, size_t cap, size_t *n, unsigned *pipe, deadline_t until);

    /* Is there input that read() would hand over at once, or a failed pipe that it would tell of? No lock and no system
     * call. NULL for a transport that cannot tell. */
    bool (*pending)(struct transport *t);

    /* Makes a running and every later read() and write() end with R_CANCELLED at once. Any thread. */
    void (*cancel)(struct transport *t);

    /* Tries to bring a reader that does not answer any more back to life (USB: port reset; serial: close and open).
     * R_SUCCESS: try again; R_NOT_SUPPORTED; R_GONE. May be NULL. */
    enum result (*reset)(struct transport *t);

    /* Frees everything. */
    void (*close)(struct transport *t);
};

/* What the transport found out about the reader at open; constant afterwards. */
struct transport_facts {
    uint16_t vid, pid;     /* 0 for serial */
    uint16_t release;      /* USB bcdDevice */
    unsigned bus, address; /* USB */
    char serial[TRANSPORT_TEXT_MAX];
    char product[TRANSPORT_TEXT_MAX];
    char manufacturer[TRANSPORT_TEXT_MAX];
    const char *form; /* how bytes travel: "A (control and interrupt)" …, for the log */
    /* Serial: the USB adapter between us and the reader, zeros and empty where there is none. What stands above is
     * never the adapter's: a client that asks for the reader's vendor must not be told the cable's. */
    struct {
        uint16_t vid, pid;
        char serial[TRANSPORT_TEXT_MAX];
        char product[TRANSPORT_TEXT_MAX];
    } adapter;
};

struct transport {
    const struct transport_ops *ops;
    struct transport_facts facts;
    void (*notify)(void *arg); /* see above; set before open returns, never changed */
    void *notify_arg;
    struct log *log;
};

/* Takes and drops input until `quiet_ms` of silence, at most until `until`. R_SUCCESS or R_GONE, R_CANCELLED. */
enum result transport_drain(struct transport *t, unsigned quiet_ms, deadline_t until);

#endif
