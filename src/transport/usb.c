/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The operations of a USB transport. All of them but cancel() and pending() run on the thread that owns the device;
 * the waits are on `changed`, and what ends them happens on the event thread (usb_event.c).
 *
 * Messages out are copied into a buffer that lives as long as the transport, because a transfer that the kernel does
 * not give back in time may still read it; while one is out like that (`out.flying`) nothing more is sent.
 */
#include <string.h>
#include "transport/usb_internal.h"

static struct usb *usb_of(struct transport *t)
{
    return (struct usb *)t;
}

/* ---- out ---- */

/* Waits for the OUT transfer and takes it back at the deadline. R_SUCCESS: it came back by itself (see out.status),
 * else why it was taken back. Lock held. */
static enum result await_out(struct usb *u, deadline_t until)
{
    enum result ended;

    while (u->out.flying && u->ended == R_SUCCESS && usb_wait(u, until))
        ;
    if (!u->out.flying)
        return R_SUCCESS;
    ended = u->ended;
    pthread_mutex_unlock(&u->lock);
    libusb_cancel_transfer(u->out.transfer);
    pthread_mutex_lock(&u->lock);
    for (deadline_t back = deadline_in(USB_RETURN_WAIT); u->out.flying && usb_wait(u, back);)
        ;
    if (!u->out.flying && u->out.status == LIBUSB_TRANSFER_COMPLETED)
        return R_SUCCESS; /* it was quicker than the cancel */
    return ended != R_SUCCESS ? ended : R_TIMEOUT;
}

/* What a transfer that came back by itself, but did not do all it should, has come to. */
static enum result out_failed(struct usb *u, enum libusb_transfer_status status, int actual, int length)
{
    uint8_t endpoint = u->out.transfer->endpoint;

    switch (status) {
    case LIBUSB_TRANSFER_COMPLETED:
        log_fault(u->t.log, "USB output: %d of %d bytes left", actual, length);
        return R_COMM;
    case LIBUSB_TRANSFER_NO_DEVICE:
        usb_lose(u);
        return R_GONE;
    case LIBUSB_TRANSFER_STALL:
        log_fault(u->t.log, "USB output: the reader refused it (stall)");
        if (endpoint != 0 && libusb_clear_halt(u->session.handle, endpoint) == LIBUSB_ERROR_NO_DEVICE) {
            usb_lose(u);
            return R_GONE;
        }
        return R_COMM; /* a stall of the control pipe ends by itself */
    case LIBUSB_TRANSFER_ERROR:
    case LIBUSB_TRANSFER_TIMED_OUT:
    case LIBUSB_TRANSFER_CANCELLED:
    case LIBUSB_TRANSFER_OVERFLOW:
    default:
        log_fault(u->t.log, "USB output failed (libusb transfer status %d)", (int)status);
        return R_COMM;
    }
}

/* Takes the OUT transfer, so that its buffer may be filled; run_out() follows. */
static enum result take_out(struct usb *u, deadline_t until)
{
    enum result ended = u->ended;

    if (ended != R_SUCCESS)
        return ended;
    if (u->out.flying) {
        log_fault(u->t.log, "USB output: an earlier transfer has not come back");
        return R_COMM;
    }
    if (deadline_passed(until))
        return R_TIMEOUT;
    u->out.flying = true;
    return R_SUCCESS;
}

/* Runs the OUT transfer as its fields say: `length` data bytes, for an IN request at most. *actual may be NULL. */
static enum result run_out(struct usb *u, int length, size_t *actual, deadline_t until)
{
    enum libusb_transfer_status status;
    enum result r;
    int rc, done;

    rc = libusb_submit_transfer(u->out.transfer);
    pthread_mutex_lock(&u->lock);
    if (rc != LIBUSB_SUCCESS) {
        u->out.flying = false;
        pthread_mutex_unlock(&u->lock);
        if (rc == LIBUSB_ERROR_NO_DEVICE) {
            usb_lose(u);
            return R_GONE;
        }
        log_fault(u->t.log, "USB output: %s", libusb_error_name(rc));
        return R_COMM;
    }
    r = await_out(u, until);
    status = u->out.status;
    done = u->out.actual;
    pthread_mutex_unlock(&u->lock);
    if (r != R_SUCCESS)
        return r;
    if (actual)
        *actual = done > 0 ? (size_t)done : 0;
    if (status == LIBUSB_TRANSFER_COMPLETED && (actual || done == length))
        return R_SUCCESS;
    return out_failed(u, status, done, length);
}

/* One control request with n data bytes. */
static void fill_control(struct usb *u, uint8_t type, uint8_t request, uint16_t value, const uint8_t *data, size_t n)
{
    uint16_t index = (type & 0x1f) == LIBUSB_RECIPIENT_INTERFACE ? u->interface : 0;
    struct libusb_transfer *transfer = u->out.transfer;

    libusb_fill_control_setup(u->out.buffer, type, request, value, index, (uint16_t)n);
    if (data)
        memcpy(u->out.buffer + LIBUSB_CONTROL_SETUP_SIZE, data, n);
    transfer->endpoint = 0;
    transfer->type = LIBUSB_TRANSFER_TYPE_CONTROL;
    transfer->timeout = 0;
    transfer->buffer = u->out.buffer;
    transfer->length = (int)(LIBUSB_CONTROL_SETUP_SIZE + n);
}

static void fill_packets(struct usb *u, const uint8_t *data, size_t n)
{
    struct libusb_transfer *transfer = u->out.transfer;
    bool bulk = u->pipes.out.type == LIBUSB_TRANSFER_TYPE_BULK;

    memcpy(u->out.buffer, data, n);
    transfer->endpoint = u->pipes.out.address;
    transfer->type = bulk ? LIBUSB_TRANSFER_TYPE_BULK : LIBUSB_TRANSFER_TYPE_INTERRUPT;
    transfer->timeout = 0;
    transfer->buffer = u->out.buffer;
    transfer->length = (int)n;
}

/* Sends one piece: all of a message but in form C. */
static enum result send_piece(struct usb *u, const uint8_t *data, size_t n, deadline_t until)
{
    enum { OUT_VENDOR = 0x40, OUT_CLASS_INTERFACE = 0x21, SET_REPORT = 0x09, OUTPUT_REPORT = 0x0200 };
    enum result r = take_out(u, until);

    if (r != R_SUCCESS)
        return r;
    if (u->pipes.out.address != 0)
        fill_packets(u, data, n);
    else if (u->pipes.form == USB_FORM_HID) /* HID 1.11 §7.2.2; V02 of doc/ASSUMPTIONS.md */
        fill_control(u, OUT_CLASS_INTERFACE, SET_REPORT, OUTPUT_REPORT | data[0], data, n);
    else /* A04 of doc/ASSUMPTIONS.md */
        fill_control(u, OUT_VENDOR, 0, 0, data, n);
    r = run_out(u, (int)n, NULL, until);
    /* The message may hold a PIN or a key. In case the kernel still has the buffer: it made its copy long ago. */
    explicit_bzero(u->out.buffer + (u->pipes.out.address ? 0 : LIBUSB_CONTROL_SETUP_SIZE), n);
    return r;
}

static enum result usb_write(struct transport *t, const uint8_t *data, size_t n, deadline_t until)
{
    struct usb *u = usb_of(t);
    size_t most = u->pipes.form == USB_FORM_HID ? USB_HID_REPORT : USB_MESSAGE_MAX;
    size_t piece = u->pipes.form == USB_FORM_C ? u->pipes.out.packet : most;
    enum result r;

    if (n == 0 || n > most)
        return R_INVALID;
    /* a pipe that failed before this message concerns no answer to it */
    if (u->failed && usb_recover_input(u) == R_GONE)
        return R_GONE;
    do {
        size_t now = n < piece ? n : piece;

        r = send_piece(u, data, now, until);
        data += now;
        n -= now;
    } while (r == R_SUCCESS && n > 0);
    return r;
}

/* ---- in ---- */

static enum result usb_read(struct transport *t, uint8_t *chunk, size_t cap, size_t *n, unsigned *pipe,
                            deadline_t until)
{
    struct usb *u = usb_of(t);
    bool in_time = true;
    enum result r;

    if (cap < TRANSPORT_CHUNK_MAX)
        return R_INVALID;
    pthread_mutex_lock(&u->lock);
    u->announced = u->overflow_told = false;
    while ((r = u->ended) == R_SUCCESS) {
        *n = usb_ring_take(&u->ring, pipe, chunk);
        if (*n > 0 || u->failed || !in_time)
            break;
        u->reading = true;
        in_time = usb_wait(u, until);
        u->reading = false;
    }
    if (r != R_SUCCESS || *n > 0) {
        pthread_mutex_unlock(&u->lock);
        return r;
    }
    pthread_mutex_unlock(&u->lock);
    r = u->failed ? usb_recover_input(u) : R_SUCCESS;
    return r == R_SUCCESS ? R_TIMEOUT : r;
}

static bool usb_pending(struct transport *t)
{
    struct usb *u = usb_of(t);

    return u->ring.used > 0 || u->ended == R_GONE || (u->failed && u->announce_at == 0);
}

/* ---- the rest ---- */

static void usb_cancel(struct transport *t)
{
    struct usb *u = usb_of(t);

    pthread_mutex_lock(&u->lock);
    if (u->ended == R_SUCCESS)
        u->ended = R_CANCELLED;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
}

static enum result usb_reset(struct transport *t)
{
    struct usb *u = usb_of(t);
    enum result r;
    int rc;

    pthread_mutex_lock(&u->lock);
    r = u->ended;
    pthread_mutex_unlock(&u->lock);
    if (r != R_SUCCESS)
        return r;
    if (!usb_stop_transfers(u)) {
        log_fault(u->t.log, "USB reset not tried: a cancelled transfer has not come back");
        return R_NOT_SUPPORTED;
    }
    /* Claims the interface again by itself; what cannot be claimed, or comes back as another device, is "not found". */
    rc = libusb_reset_device(u->session.handle);
    log_line(u->t.log, PLOG_INFO, "USB reset: %s", libusb_error_name(rc));
    if (rc == LIBUSB_ERROR_NOT_FOUND || rc == LIBUSB_ERROR_NO_DEVICE) {
        usb_lose(u);
        return R_GONE;
    }
    pthread_mutex_lock(&u->lock);
    usb_ring_clear(&u->ring); /* of the reader's former life */
    pthread_mutex_unlock(&u->lock);
    usb_start_input(u);
    pthread_mutex_lock(&u->lock);
    r = u->ended;
    pthread_mutex_unlock(&u->lock);
    return r != R_SUCCESS ? r : rc == LIBUSB_SUCCESS ? R_SUCCESS : R_NOT_SUPPORTED;
}

static void usb_close(struct transport *t)
{
    usb_free(usb_of(t));
}

const struct transport_ops usb_transport_ops = {
    .write = usb_write,
    .read = usb_read,
    .pending = usb_pending,
    .cancel = usb_cancel,
    .reset = usb_reset,
    .close = usb_close,
};

enum result usb_hid_report_descriptor(struct transport *t, uint8_t *buf, size_t cap, size_t *n, deadline_t until)
{
    enum { IN_STANDARD_INTERFACE = 0x81, GET_DESCRIPTOR = 0x06, REPORT_DESCRIPTOR = 0x2200 };
    struct usb *u = usb_of(t);
    enum result r;

    *n = 0;
    if (u->pipes.form != USB_FORM_HID || cap == 0)
        return R_NOT_SUPPORTED;
    r = take_out(u, until);
    if (r != R_SUCCESS)
        return r;
    if (cap > USB_MESSAGE_MAX)
        cap = USB_MESSAGE_MAX;
    fill_control(u, IN_STANDARD_INTERFACE, GET_DESCRIPTOR, REPORT_DESCRIPTOR, NULL, cap);
    r = run_out(u, 0, n, until); /* HID 1.11 §7.1.1 */
    if (r != R_SUCCESS)
        return r;
    if (*n > cap)
        return R_COMM;
    memcpy(buf, u->out.buffer + LIBUSB_CONTROL_SETUP_SIZE, *n);
    return R_SUCCESS;
}
