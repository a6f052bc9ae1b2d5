/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the files of the USB transport share: usb_choose.c (pure choices), usb_ring.c (kept input), usb_open.c (finding,
 * opening, freeing), usb_event.c (the event thread and the IN pipes), usb.c (the operations of the header).
 *
 * The life of an IN transfer, which everything else hangs on. `flying` says whose it is: true, it is libusb's (or
 * about to be: it is set under the lock *before* the submission, which happens without the lock); false, it is ours. It
 * falls only in the transfer's callback or after a submission that failed, and each fall wakes `changed`. Whoever wants
 * all transfers back sets `stopping`, cancels, and waits for the falls. A callback that is just then between its
 * unlock and its submission cannot be hit by that cancel; it looks at `stopping` after the submission and cancels by
 * itself. So no order of the two threads leaves a transfer behind.
 */
#ifndef PURSE_USB_INTERNAL_H
#define PURSE_USB_INTERNAL_H

#include <errno.h>
#include <libusb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "transport/usb.h"

enum {
    USB_MESSAGE_MAX = 4096, /* longest message: what usbfs takes as the data stage of one control request */
    USB_HID_REPORT = 64,    /* report ID and 63 bytes (ViVOpay) */
    USB_RING_SIZE = 16384,  /* kept input, with USB_RING_HEADER bytes for each chunk */
    USB_RING_HEADER = 3,    /* pipe, length (low byte first) */
    USB_IN_PIPES = 2,
    USB_EMPTY_MAX = 1000,     /* empty packets in a row after which a pipe counts as failed */
    USB_QUICK_FAILURES = 3,   /* failures without input in between that are announced at once */
    USB_FAILURE_PAUSE = 1000, /* milliseconds before each further one is announced */
    USB_RETURN_WAIT = 1000,   /* milliseconds within which a cancelled transfer has to come back */
    USB_CANCEL_AGAIN = 100    /* milliseconds after which one that has not is cancelled once more */
};

/* Chunks in the order of their arrival: `used` bytes from `head` on. Guarded by the owner's lock. */
struct usb_ring {
    uint8_t bytes[USB_RING_SIZE];
    size_t head;
    atomic_size_t used;    /* may be looked at without the lock */
    unsigned long dropped; /* chunks, ever */
};

/* Makes room for `need` bytes behind what is kept, by moving it and by dropping the oldest chunks. Returns how many it
 * dropped. */
unsigned usb_ring_make_room(struct usb_ring *ring, size_t need);

/* Keeps a chunk of n bytes (1 … TRANSPORT_CHUNK_MAX); drops the oldest ones until it fits. Returns how many it dropped.
 */
static inline unsigned usb_ring_put(struct usb_ring *ring, unsigned pipe, const uint8_t *data, size_t n)
{
    bool fits = USB_RING_SIZE - ring->used - ring->head >= USB_RING_HEADER + n;
    unsigned dropped = fits ? 0 : usb_ring_make_room(ring, USB_RING_HEADER + n);
    size_t used = ring->used;
    uint8_t *at = ring->bytes + ring->head + used;

    at[0] = (uint8_t)pipe;
    at[1] = (uint8_t)n;
    at[2] = (uint8_t)(n >> 8);
    memcpy(at + USB_RING_HEADER, data, n);
    ring->used = used + USB_RING_HEADER + n;
    return dropped;
}

/* The oldest chunk goes. Returns its length. */
static inline size_t usb_ring_forget(struct usb_ring *ring)
{
    const uint8_t *oldest = ring->bytes + ring->head;
    size_t n = oldest[1] | (size_t)oldest[2] << 8, used = ring->used - USB_RING_HEADER - n;

    ring->used = used;
    ring->head = used > 0 ? ring->head + USB_RING_HEADER + n : 0;
    return n;
}

/* Takes the oldest chunk into chunk (at least TRANSPORT_CHUNK_MAX bytes). Returns its length, 0 when there is none. */
static inline size_t usb_ring_take(struct usb_ring *ring, unsigned *pipe, uint8_t *chunk)
{
    const uint8_t *oldest = ring->bytes + ring->head;
    size_t n;

    if (ring->used == 0)
        return 0;
    *pipe = oldest[0];
    n = usb_ring_forget(ring); /* its bytes stay where they are */
    memcpy(chunk, oldest + USB_RING_HEADER, n);
    return n;
}

void usb_ring_clear(struct usb_ring *ring);

struct usb;

struct usb_in {
    struct usb *usb;
    unsigned index; /* the pipe number of read() */
    uint8_t endpoint;
    struct libusb_transfer *transfer;
    uint8_t packet[TRANSPORT_CHUNK_MAX];
    /* guarded by usb->lock */
    bool flying;
    unsigned empty;    /* empty packets in a row */
    unsigned failures; /* since input came last */
};

struct usb_out {
    struct libusb_transfer *transfer;
    uint8_t buffer[LIBUSB_CONTROL_SETUP_SIZE + USB_MESSAGE_MAX]; /* ours while not flying */
    atomic_bool flying; /* set by the owner of the device; falls with the lock held */
    /* guarded by usb->lock */
    enum libusb_transfer_status status; /* of the last one that came back */
    int actual;
};

/* A device found and opened in a libusb context of its own. */
struct usb_session {
    libusb_context *context;
    libusb_device_handle *handle;
    struct libusb_device_descriptor descriptor;
};

struct usb {
    struct transport t; /* first: a struct transport pointer is a struct usb pointer */
    struct usb_session session;
    struct usb_pipes pipes;
    uint8_t interface;
    bool claimed;
    pthread_t thread;
    bool thread_runs;
    struct usb_in in[USB_IN_PIPES];
    unsigned in_count;
    struct usb_out out;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC; input, a transfer that came back, the end */
    /* set with the lock held, looked at without it as well */
    _Atomic enum result ended;   /* why no call can do anything any more: R_GONE, R_CANCELLED; R_SUCCESS: they can */
    atomic_uint failed;          /* a bit for each IN pipe that has failed and that nobody has brought back yet */
    atomic_bool stopping;        /* IN transfers are wanted back: submit none */
    atomic_bool thread_ends;     /* the event thread is to return; set without the lock */
    _Atomic int64_t announce_at; /* when the event thread announces a pipe that fails again and again; 0: not */
    /* guarded by lock */
    struct usb_ring ring;
    bool reading;        /* read() waits on `changed` */
    bool announced;      /* notify was called since the last read() */
    bool overflow_told;  /* logged since the last read() */
};

/* ---- usb_open.c ---- */

/* Frees what usb_open() got so far, or all of it. */
void usb_free(struct usb *u);

/* ---- usb_event.c ---- */

enum result usb_start_thread(struct usb *u);
void usb_end_thread(struct usb *u);

/* Allocates the transfers of the IN pipes and of the OUT direction. */
enum result usb_prepare_transfers(struct usb *u);
/* Submits all IN transfers. */
void usb_start_input(struct usb *u);
/* Cancels all transfers and waits for them, bounded. False: libusb has not given one back. */
bool usb_stop_transfers(struct usb *u);
/* Brings IN pipes that failed back to work; by the owner of the device, if `failed` says that there are any. R_SUCCESS;
 * R_COMM: at least one had failed; R_GONE. */
enum result usb_recover_input(struct usb *u);
/* The device has gone: wakes everybody and tells the owner of the transport, once. No lock held. */
void usb_lose(struct usb *u);

/* Waits for `changed` with the lock held; false when the deadline has passed. What is waited for may be there even so,
 * and may be missing otherwise: the caller looks. */
static inline bool usb_wait(struct usb *u, deadline_t until)
{
    struct timespec at = deadline_timespec(until);

    return pthread_cond_timedwait(&u->changed, &u->lock, &at) != ETIMEDOUT;
}

#endif
