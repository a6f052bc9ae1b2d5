/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The event thread and what runs on it: the callbacks of the transfers. usb.h tells why the threading works,
 * usb_internal.h how a transfer changes hands.
 *
 * The thread sleeps in libusb until a transfer comes back or until it is told to end: no transfer has a time-out of
 * libusb's (the deadlines are ours, kept by whoever waits), so an idle reader costs no wake-up. Only a pipe that
 * fails again and again makes it set an alarm, see fail_pipe().
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "transport/usb_internal.h"

/* libusb 1.0.26 turns this into an int of milliseconds; the thread wakes once in eleven days for nothing. */
enum { SLEEP_SECONDS = 1000000 };

/* ---- news: what a callback found out under the lock and acts on without it ---- */

struct news {
    bool notify;           /* call notify */
    bool alarm;            /* announce_at was set: the event thread has to look */
    unsigned long dropped; /* to be logged: chunks dropped so far, 0: nothing to log */
    const char *failure;   /* to be logged */
};

static inline void tell(struct usb *u, unsigned pipe, const struct news *news)
{
    if (news->dropped)
        log_fault(u->t.log, "USB input overflows: nobody reads it, %lu packets dropped so far", news->dropped);
    if (news->failure)
        log_fault(u->t.log, "USB input pipe %u failed: %s", pipe, news->failure);
    if (news->alarm)
        libusb_interrupt_event_handler(u->session.context);
    if (news->notify)
        u->t.notify(u->t.notify_arg);
}

/* Somebody should come and read. Once is enough until somebody does; whoever waits in read() is woken anyway. */
static bool announce(struct usb *u)
{
    if (u->reading || u->announced)
        return false;
    u->announced = true;
    return true;
}

/* The pipe stands still until its owner comes. Each of the first failures calls him; but a reader that does nothing
 * but fail would keep him busy for ever (he comes, the pipe fails, he is called), so further calls wait a while.
 * Returns false: the pipe's transfer is not to be submitted. */
static bool fail_pipe(struct usb_in *in, const char *why, struct news *news)
{
    struct usb *u = in->usb;

    in->empty = 0;
    news->failure = why;
    if (++in->failures <= USB_QUICK_FAILURES) {
        news->notify |= announce(u);
    } else if (u->announce_at == 0) {
        u->announce_at = deadline_in(USB_FAILURE_PAUSE);
        news->alarm = true;
    }
    u->failed |= 1u << in->index; /* last: whoever looks without the lock is to see announce_at, too */
    return false;
}

/* The device is gone: lock held. */
static void lose(struct usb *u, struct news *news)
{
    if (u->ended != R_GONE)
        news->notify = true;
    u->ended = R_GONE;
    pthread_cond_broadcast(&u->changed);
}

void usb_lose(struct usb *u)
{
    struct news news = {0};

    pthread_mutex_lock(&u->lock);
    lose(u, &news);
    pthread_mutex_unlock(&u->lock);
    tell(u, 0, &news);
}

/* ---- IN pipes ---- */

/* A transfer could not be submitted. Rare, and kept apart: submit_in() runs for each packet. */
__attribute__((noinline)) static void submit_failed(struct usb_in *in, int why)
{
    struct usb *u = in->usb;
    struct news news = {0};

    pthread_mutex_lock(&u->lock);
    in->flying = false;
    if (why == LIBUSB_ERROR_NO_DEVICE)
        lose(u, &news);
    else
        (void)fail_pipe(in, libusb_error_name(why), &news);
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
    tell(u, in->index, &news);
}

/* Submits a transfer that its caller has marked as flying. Without the lock: libusb takes locks of its own here that it
 * also holds around callbacks. */
static void submit_in(struct usb_in *in)
{
    int r = libusb_submit_transfer(in->transfer);

    if (r != LIBUSB_SUCCESS)
        submit_failed(in, r);
    else if (in->usb->stopping)
        libusb_cancel_transfer(in->transfer);
}

static void keep_packet(struct usb_in *in, size_t n, struct news *news)
{
    struct usb *u = in->usb;

    in->empty = in->failures = 0;
    if (usb_ring_put(&u->ring, in->index, in->packet, n) > 0 && !u->overflow_told) {
        u->overflow_told = true;
        news->dropped = u->ring.dropped;
    }
    news->notify |= announce(u);
}

/* What a transfer's end means for its pipe. True: submit it again. */
static bool judge(struct usb_in *in, const struct libusb_transfer *transfer, struct news *news)
{
    size_t n = transfer->actual_length > 0 ? (size_t)transfer->actual_length : 0;

    switch (transfer->status) {
    case LIBUSB_TRANSFER_COMPLETED:
    case LIBUSB_TRANSFER_TIMED_OUT:
    case LIBUSB_TRANSFER_CANCELLED: /* what came before the cancel did come */
        if (n > 0 && n <= sizeof in->packet)
            keep_packet(in, n, news);
        else if (transfer->status == LIBUSB_TRANSFER_COMPLETED && ++in->empty >= USB_EMPTY_MAX)
            return fail_pipe(in, "nothing but empty packets", news);
        if (transfer->status == LIBUSB_TRANSFER_CANCELLED && !in->usb->stopping)
            return fail_pipe(in, "cancelled, but not by this driver", news);
        return !in->usb->stopping;
    case LIBUSB_TRANSFER_NO_DEVICE:
        lose(in->usb, news);
        return false;
    case LIBUSB_TRANSFER_STALL:
        return fail_pipe(in, "stall", news);
    case LIBUSB_TRANSFER_OVERFLOW:
        return fail_pipe(in, "packet longer than the endpoint allows", news);
    case LIBUSB_TRANSFER_ERROR:
    default:
        return fail_pipe(in, "transfer error", news);
    }
}

static void LIBUSB_CALL in_done(struct libusb_transfer *transfer)
{
    struct usb_in *in = transfer->user_data;
    struct usb *u = in->usb;
    struct news news = {0};
    bool again;

    pthread_mutex_lock(&u->lock);
    again = judge(in, transfer, &news);
    in->flying = again;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
    /* After this, and if not submitted again, the memory may only be used until the thread is told to end; it is
     * this thread, so it is there until we return. */
    if (again)
        submit_in(in); /* first: the sooner, the shorter nobody listens */
    tell(u, in->index, &news);
}

enum result usb_recover_input(struct usb *u)
{
    enum result r = R_SUCCESS;

    for (unsigned i = 0; i < u->in_count; i++) {
        struct usb_in *in = &u->in[i];
        bool failed;
        int rc;

        pthread_mutex_lock(&u->lock);
        failed = u->failed & 1u << i && !in->flying && u->ended != R_GONE;
        pthread_mutex_unlock(&u->lock);
        if (!failed)
            continue;
        r = R_COMM;
        rc = libusb_clear_halt(u->session.handle, in->endpoint);
        if (rc == LIBUSB_ERROR_NO_DEVICE) {
            usb_lose(u);
            return R_GONE;
        }
        if (rc != LIBUSB_SUCCESS) /* go on: a pipe that is not halted may refuse it */
            log_fault(u->t.log, "USB input pipe %u: clear halt: %s", i, libusb_error_name(rc));
        pthread_mutex_lock(&u->lock);
        u->failed &= ~(1u << i);
        in->flying = true;
        pthread_mutex_unlock(&u->lock);
        submit_in(in);
    }
    return r;
}

void usb_start_input(struct usb *u)
{
    pthread_mutex_lock(&u->lock);
    u->stopping = false;
    u->failed = 0;
    for (unsigned i = 0; i < u->in_count; i++) {
        u->in[i].empty = u->in[i].failures = 0;
        u->in[i].flying = true;
    }
    pthread_mutex_unlock(&u->lock);
    for (unsigned i = 0; i < u->in_count; i++)
        submit_in(&u->in[i]);
}

/* Lock held. */
static bool any_flying(const struct usb *u)
{
    bool flying = u->out.flying;

    for (unsigned i = 0; i < u->in_count; i++)
        flying |= u->in[i].flying;
    return flying;
}

/* A transfer that does not fly, or was never submitted, is not found: no harm. */
static void cancel_all(struct usb *u)
{
    for (unsigned i = 0; i < u->in_count; i++)
        libusb_cancel_transfer(u->in[i].transfer);
    if (u->out.transfer)
        libusb_cancel_transfer(u->out.transfer);
}

bool usb_stop_transfers(struct usb *u)
{
    deadline_t until = deadline_in(USB_RETURN_WAIT);
    bool back;

    pthread_mutex_lock(&u->lock);
    u->stopping = true;
    do { /* again, for a cancel may fail, and nothing can be freed before all are back */
        deadline_t again = deadline_min(until, deadline_in(USB_CANCEL_AGAIN));

        pthread_mutex_unlock(&u->lock);
        cancel_all(u);
        pthread_mutex_lock(&u->lock);
        while (any_flying(u) && usb_wait(u, again))
            ;
        back = !any_flying(u);
    } while (!back && !deadline_passed(until));
    pthread_mutex_unlock(&u->lock);
    return back;
}

/* ---- OUT ---- */

static void LIBUSB_CALL out_done(struct libusb_transfer *transfer)
{
    struct usb *u = transfer->user_data;

    pthread_mutex_lock(&u->lock);
    u->out.status = transfer->status;
    u->out.actual = transfer->actual_length;
    u->out.flying = false;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
}

enum result usb_prepare_transfers(struct usb *u)
{
    const struct usb_endpoint *ends[USB_IN_PIPES] = {&u->pipes.in, &u->pipes.in2};

    u->out.transfer = libusb_alloc_transfer(0);
    if (!u->out.transfer)
        return R_NO_MEMORY;
    u->out.transfer->callback = out_done;
    u->out.transfer->user_data = u;
    u->out.transfer->dev_handle = u->session.handle;
    for (unsigned i = 0; i < USB_IN_PIPES && ends[i]->address != 0; i++) {
        struct usb_in *in = &u->in[i];
        struct libusb_transfer *transfer = libusb_alloc_transfer(0);

        if (!transfer)
            return R_NO_MEMORY;
        libusb_fill_bulk_transfer(transfer, u->session.handle, ends[i]->address, in->packet, ends[i]->packet, in_done,
                                  in, 0);
        if (ends[i]->type == LIBUSB_TRANSFER_TYPE_INTERRUPT)
            transfer->type = LIBUSB_TRANSFER_TYPE_INTERRUPT;
        in->usb = u;
        in->index = i;
        in->endpoint = ends[i]->address;
        in->transfer = transfer;
        u->in_count++;
    }
    return R_SUCCESS;
}

/* ---- the thread ---- */

/* Announces a failing pipe whose time has come, or shortens the sleep until then. */
static void look_at_alarm(struct usb *u, struct timeval *sleep)
{
    int ms = deadline_left_ms(u->announce_at);
    struct news news = {0};

    if (ms > 0) {
        *sleep = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
        return;
    }
    pthread_mutex_lock(&u->lock);
    u->announce_at = 0;
    news.notify = u->failed && announce(u);
    pthread_mutex_unlock(&u->lock);
    tell(u, 0, &news);
}

static void *run_events(void *arg)
{
    enum { ERRORS_MAX = 16 };
    struct usb *u = arg;
    unsigned errors = 0;

    while (!u->thread_ends) {
        struct timeval sleep = {.tv_sec = SLEEP_SECONDS};
        int r;

        if (u->announce_at != 0)
            look_at_alarm(u, &sleep);
        r = libusb_handle_events_timeout_completed(u->session.context, &sleep, NULL);

        if (r == LIBUSB_SUCCESS || r == LIBUSB_ERROR_INTERRUPTED) {
            errors = 0;
        } else if (++errors == ERRORS_MAX) { /* no event will ever come: better no reader than a busy loop */
            log_fault(u->t.log, "USB events cannot be had any more: %s", libusb_error_name(r));
            usb_lose(u);
            return NULL;
        }
    }
    return NULL;
}

enum result usb_start_thread(struct usb *u)
{
    char name[16];
    sigset_t all, before;
    int r;

    /* pcscd's signals are for pcscd's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&u->thread, NULL, run_events, u);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        log_line(u->t.log, PLOG_CRITICAL, "no event thread: %s", strerror(r));
        return R_SYSTEM;
    }
    u->thread_runs = true;
    snprintf(name, sizeof name, "purse %u-%u", u->t.facts.bus & 0xffu, u->t.facts.address & 0xffu);
    pthread_setname_np(u->thread, name);
    return R_SUCCESS;
}

void usb_end_thread(struct usb *u)
{
    if (!u->thread_runs)
        return;
    u->thread_ends = true;
    libusb_interrupt_event_handler(u->session.context);
    pthread_join(u->thread, NULL);
    u->thread_runs = false;
}
