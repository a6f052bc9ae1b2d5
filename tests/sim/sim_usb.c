/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The device side of a USB reader.
 *
 * Each endpoint has the queue of transfers that the host submitted and, if it is an IN endpoint, the queue of packets
 * that the model sent. pump() lets pass what can pass: it is called after every change to one of the two. A transfer
 * that goes to the model is taken off its queue first, because the model may answer, or a test's fault unplug the
 * reader, from inside the call; both come back into this file.
 *
 * An IN transfer ends as on a real bus: with a packet shorter than the endpoint's, or when its buffer is full; a packet
 * that is larger than the room left is an overflow. A driver that asks for more than one packet of a reader that only
 * sends full ones therefore waits here just as it would wait for the hardware.
 */
#include "sim_usb.h"

#include <errno.h>
#include <string.h>

enum {
    REQ_GET_STATUS = 0,
    REQ_CLEAR_FEATURE = 1,
    REQ_SET_FEATURE = 3,
    REQ_GET_DESCRIPTOR = 6,
    REQ_GET_CONFIGURATION = 8,
    REQ_SET_CONFIGURATION = 9,
    REQ_GET_INTERFACE = 10,
    REQ_SET_INTERFACE = 11,
    HID_GET_IDLE = 2,
    HID_GET_PROTOCOL = 3,
    HID_SET_IDLE = 10,
    HID_SET_PROTOCOL = 11,
    DESC_DEVICE = 1,
    DESC_CONFIG = 2,
    DESC_STRING = 3,
    DESC_INTERFACE = 4,
    DESC_ENDPOINT = 5,
    DESC_HID = 0x21,
    DESC_REPORT = 0x22,
    DEVICE_DESC_LEN = 18,
    TYPE_MASK = 0x60,
    TYPE_CLASS = 0x20,
    RECIPIENT_MASK = 0x1f,
    RECIPIENT_INTERFACE = 1,
    RECIPIENT_ENDPOINT = 2
};

struct packet {
    bool checked; /* its break, if it had one, has struck */
    size_t n;
    uint8_t data[];
};

static void pump(struct usb_dev *dev, struct usb_ep *ep);

/* ---- descriptors ---- */

static unsigned interval_ms(const struct usb_dev *dev, const struct usb_ep *ep, uint8_t b_interval)
{
    if (ep->type != 3 || b_interval == 0)
        return 0;
    if (strcmp(dev->id->speed, "480") == 0) /* an exponent, in units of 125 us */
        return b_interval < 4 ? 1 : 1u << MIN(b_interval - 4, 12);
    return b_interval;
}

static void add_endpoint(struct usb_dev *dev, const uint8_t *d, uint8_t ifnum)
{
    if (dev->n_eps == USB_MAX_EPS || usb_dev_ep(dev, d[2])) /* the same address in another alternate setting */
        return;
    struct usb_ep *ep = &dev->eps[dev->n_eps++];
    bool in = d[2] & 0x80;

    ep->dev = dev;
    ep->addr = d[2];
    ep->type = d[3] & 3;
    ep->packet = (uint16_t)((d[4] | d[5] << 8) & 0x7ff);
    ep->ifnum = ifnum;
    ep->interval_ms = interval_ms(dev, ep, d[6]);
    if (ep->type == 3)
        ep->pipe = in ? SIM_PIPE_INT_IN : SIM_PIPE_INT_OUT;
    else
        ep->pipe = in ? SIM_PIPE_BULK_IN : SIM_PIPE_BULK_OUT;
}

static void add_interface(struct usb_dev *dev, const uint8_t *d)
{
    if (d[3] != 0 || dev->n_ifs == USB_MAX_IFS) /* only the first alternate setting makes an interface */
        return;
    dev->ifs[dev->n_ifs++] = (struct usb_if){
        .number = d[2], .endpoints = d[4], .cls = d[5], .subclass = d[6], .protocol = d[7]};
}

static bool parse(struct usb_dev *dev)
{
    const uint8_t *d = dev->id->descriptors;
    size_t n = dev->id->descriptors_len;
    uint8_t ifnum = 0;

    if (n < DEVICE_DESC_LEN + 9 || d[0] != DEVICE_DESC_LEN || d[1] != DESC_DEVICE ||
        d[DEVICE_DESC_LEN + 1] != DESC_CONFIG)
        return false;
    dev->eps[0].packet = d[7];
    dev->config_value = d[DEVICE_DESC_LEN + 5];
    for (size_t at = DEVICE_DESC_LEN; at < n; at += d[at]) {
        size_t len = d[at];
        if (len < 2 || len > n - at)
            return false;
        if (d[at + 1] == DESC_INTERFACE && len >= 9) {
            ifnum = d[at + 2];
            add_interface(dev, d + at);
        } else if (d[at + 1] == DESC_ENDPOINT && len >= 7) {
            add_endpoint(dev, d + at, ifnum);
        }
    }
    return dev->n_ifs > 0;
}

struct usb_dev *usb_dev_new(struct sim_reader *r, const struct sim_usb_identity *id)
{
    struct usb_dev *dev = g_new0(struct usb_dev, 1);

    dev->reader = r;
    dev->id = id;
    dev->n_eps = 1;
    dev->eps[0].dev = dev;
    dev->eps[0].pipe = SIM_PIPE_CONTROL;
    if (parse(dev))
        return dev;
    g_free(dev);
    return NULL;
}

void usb_dev_free(struct usb_dev *dev)
{
    usb_dev_flush(dev, -ESHUTDOWN);
    g_free(dev);
}

struct usb_ep *usb_dev_ep(struct usb_dev *dev, uint8_t addr)
{
    for (size_t i = 0; i < dev->n_eps; i++)
        if (dev->eps[i].addr == addr)
            return &dev->eps[i];
    return NULL;
}

struct usb_if *usb_dev_if(struct usb_dev *dev, unsigned number)
{
    for (size_t i = 0; i < dev->n_ifs; i++)
        if (dev->ifs[i].number == number)
            return &dev->ifs[i];
    return NULL;
}

/* ---- transfers ---- */

static void complete(struct usb_xfer *x, int status)
{
    x->status = status;
    x->done(x);
}

void usb_cancel(struct usb_xfer *x)
{
    g_queue_remove(&x->ep->pending, x);
    pump(x->ep->dev, x->ep); /* it may have been one that never ends, and kept the next waiting */
}

static void hold_over(void *arg)
{
    struct usb_ep *ep = arg;

    ep->hold = 0;
    pump(ep->dev, ep);
}

static void hold_ep(struct usb_ep *ep, unsigned ms)
{
    if (ep->hold)
        sim_timer_cancel(ep->hold);
    ep->hold = sim_timer_add(ms, hold_over, ep);
}

static void packet_passed(struct usb_dev *dev, struct usb_ep *ep)
{
    if (dev->reader->real_interval && ep->interval_ms > 0 && ep->hold == 0)
        hold_ep(ep, ep->interval_ms);
}

/* What a break does to a whole pipe, the same for both directions. True: it is dealt with, the caller returns *again.
 */
static bool strike_pipe(struct usb_ep *ep, const struct sim_break *b, bool *again)
{
    *again = false;
    switch (b->what) {
    case SIM_BREAK_DELAY:
        hold_ep(ep, (unsigned)b->arg[0]);
        return true;
    case SIM_BREAK_STALL:
        ep->halted = true;
        *again = true;
        return true;
    case SIM_BREAK_UNPLUG:
        sim_reader_yank(ep->dev->reader);
        return true;
    default:
        return false;
    }
}

static struct packet *packet_new(const uint8_t *data, size_t n)
{
    struct packet *p = g_malloc(sizeof *p + n);

    p->checked = false;
    p->n = n;
    if (n > 0)
        memcpy(p->data, data, n);
    return p;
}

/* The break of the packet at the head of the queue, if it has one. True: the caller returns *again. */
static bool check_packet(struct usb_dev *dev, struct usb_ep *ep, struct packet *p, bool *again)
{
    p->checked = true;
    struct sim_break *b = sim_wire_strike(dev->reader, SIM_IN, ep->pipe);
    if (!b)
        return false;
    bool over = strike_pipe(ep, b, again);
    if (!over && b->what == SIM_BREAK_LOSE) {
        g_free(g_queue_pop_head(&ep->packets));
        over = *again = true;
    } else if (!over && b->what == SIM_BREAK_DUP) {
        struct packet *twin = packet_new(p->data, p->n);
        twin->checked = true;
        g_queue_push_nth(&ep->packets, twin, 1);
    } else if (!over) {
        p->n = sim_break_alter(b, p->data, p->n);
    }
    g_free(b);
    return over;
}

/* Moves one packet into the oldest transfer. False: nothing can move now. */
static bool step_in(struct usb_dev *dev, struct usb_ep *ep, struct usb_xfer *x)
{
    struct packet *p = g_queue_peek_head(&ep->packets);
    bool again;

    if (!p)
        return false;
    if (!p->checked && check_packet(dev, ep, p, &again))
        return again;
    g_queue_pop_head(&ep->packets);
    size_t room = x->len - x->actual;
    size_t n = MIN(p->n, room);
    if (n > 0)
        memcpy(x->data + x->actual, p->data, n);
    x->actual += n;
    sim_wire_passed(dev->reader, SIM_IN, ep->pipe, NULL, p->data, p->n);
    packet_passed(dev, ep);
    if (p->n > room || p->n < ep->packet || x->actual == x->len) {
        g_queue_pop_head(&ep->pending);
        complete(x, p->n > room ? -EOVERFLOW : 0);
    }
    g_free(p);
    return true;
}

static bool deliver(struct usb_dev *dev, struct usb_xfer *x, size_t n)
{
    struct sim_reader *r = dev->reader;
    const uint8_t *setup = x->ep->addr == 0 ? x->setup : NULL;

    sim_wire_passed(r, SIM_OUT, x->ep->pipe, setup, x->data, n);
    bool ok = r->ops->receive(r->model, x->ep->pipe, setup, x->data, n);
    return ok || !setup;
}

/* Hands the oldest OUT transfer, or the data stage of an OUT request, to the model. */
static bool step_out(struct usb_dev *dev, struct usb_ep *ep, struct usb_xfer *x)
{
    struct sim_break *b = x->checked ? NULL : sim_wire_strike(dev->reader, SIM_OUT, ep->pipe);
    bool again, ok = true;
    size_t n = x->len;

    x->checked = true;
    if (b && strike_pipe(ep, b, &again)) {
        g_free(b);
        return again;
    }
    g_queue_remove(&ep->pending, x);
    if (b)
        n = sim_break_alter(b, x->data, n);
    if (!b || b->what != SIM_BREAK_LOSE)
        ok = deliver(dev, x, n);
    if (b && b->what == SIM_BREAK_DUP && dev->connected)
        ok = deliver(dev, x, n);
    g_free(b);
    x->actual = x->len;
    packet_passed(dev, ep);
    complete(x, !dev->connected ? -ESHUTDOWN : ok ? 0 : -EPIPE);
    return true;
}

/* ---- endpoint zero ---- */

static bool answer(struct usb_xfer *x, const uint8_t *data, size_t n)
{
    x->actual = MIN(n, x->len);
    if (x->actual > 0)
        memcpy(x->data, data, x->actual);
    return true;
}

static bool answer_string(struct usb_dev *dev, struct usb_xfer *x, uint8_t index)
{
    const uint8_t *d = dev->id->descriptors;
    const char *text = NULL;
    uint8_t out[2 + 2 * 126] = {4, DESC_STRING, 0x09, 0x04};
    size_t n = 0;

    if (index == 0)
        return answer(x, out, 4); /* the one language: English (United States) */
    if (index == d[14])
        text = dev->id->manufacturer;
    else if (index == d[15])
        text = dev->id->product;
    else if (index == d[16])
        text = dev->id->serial;
    if (!text)
        return false;
    for (; text[n] && n < 126; n++) {
        out[2 + 2 * n] = (uint8_t)text[n];
        out[3 + 2 * n] = 0;
    }
    out[0] = (uint8_t)(2 + 2 * n);
    return answer(x, out, out[0]);
}

/* The HID descriptor stands inside the configuration, behind its interface. */
static bool answer_hid(struct usb_dev *dev, struct usb_xfer *x, uint16_t ifnum)
{
    const uint8_t *d = dev->id->descriptors;
    bool mine = false;

    for (size_t at = DEVICE_DESC_LEN; at < dev->id->descriptors_len; at += d[at]) {
        if (d[at + 1] == DESC_INTERFACE)
            mine = d[at + 2] == ifnum;
        else if (d[at + 1] == DESC_HID && mine)
            return answer(x, d + at, d[at]);
    }
    return false;
}

static bool get_descriptor(struct usb_dev *dev, struct usb_xfer *x)
{
    const struct sim_usb_identity *id = dev->id;
    const uint8_t *config = id->descriptors + DEVICE_DESC_LEN;

    switch (x->setup[3]) {
    case DESC_DEVICE:
        return answer(x, id->descriptors, DEVICE_DESC_LEN);
    case DESC_CONFIG:
        return x->setup[2] == 0 &&
               answer(x, config, MIN((size_t)(config[2] | config[3] << 8), id->descriptors_len - DEVICE_DESC_LEN));
    case DESC_STRING:
        return answer_string(dev, x, x->setup[2]);
    case DESC_HID:
        return answer_hid(dev, x, x->setup[4]);
    case DESC_REPORT:
        return id->report_descriptor && answer(x, id->report_descriptor, id->report_descriptor_len);
    default:
        return false;
    }
}

/* Requests that every USB device answers; false: stall. */
static bool standard_request(struct usb_dev *dev, struct usb_xfer *x)
{
    static const uint8_t zero[2];
    struct usb_ep *ep = (x->setup[0] & RECIPIENT_MASK) == RECIPIENT_ENDPOINT ? usb_dev_ep(dev, x->setup[4]) : NULL;
    uint8_t status[2] = {ep && ep->halted, 0};

    switch (x->setup[1]) {
    case REQ_GET_DESCRIPTOR:
        return get_descriptor(dev, x);
    case REQ_GET_STATUS:
        return answer(x, status, sizeof status);
    case REQ_CLEAR_FEATURE:
        if (ep)
            usb_clear_halt(dev, ep);
        return true;
    case REQ_SET_FEATURE:
        if (ep)
            ep->halted = true;
        return true;
    case REQ_GET_CONFIGURATION:
        return answer(x, &dev->config_value, 1);
    case REQ_SET_CONFIGURATION:
        return x->setup[2] == dev->config_value;
    case REQ_GET_INTERFACE:
        return answer(x, zero, 1);
    case REQ_SET_INTERFACE:
        return x->setup[2] == 0;
    default:
        return false;
    }
}

/* 1 done, 0 stall, -1 not one of the HID housekeeping requests that a model need not know. */
static int hid_request(struct usb_dev *dev, struct usb_xfer *x)
{
    static const uint8_t idle = 0, report_protocol = 1;

    if (!dev->id->report_descriptor || (x->setup[0] & TYPE_MASK) != TYPE_CLASS ||
        (x->setup[0] & RECIPIENT_MASK) != RECIPIENT_INTERFACE)
        return -1;
    switch (x->setup[1] | (x->setup[0] & 0x80) << 1) {
    case HID_SET_IDLE:
    case HID_SET_PROTOCOL:
        return 1;
    case HID_GET_IDLE | 0x100:
        return answer(x, &idle, 1);
    case HID_GET_PROTOCOL | 0x100:
        return answer(x, &report_protocol, 1);
    default:
        return -1;
    }
}

/* A device to host request of the model's. */
static bool step_control_in(struct usb_dev *dev, struct usb_xfer *x)
{
    struct sim_reader *r = dev->reader;
    struct sim_break *b = x->checked ? NULL : sim_wire_strike(r, SIM_IN, SIM_PIPE_CONTROL);
    bool again;

    x->checked = true;
    if (b && (strike_pipe(x->ep, b, &again) || b->what == SIM_BREAK_LOSE)) {
        x->mute = b->what == SIM_BREAK_LOSE; /* never answered: the host will cancel it */
        again = again && !x->mute;
        g_free(b);
        return again;
    }
    g_queue_remove(&x->ep->pending, x);
    dev->reply = g_byte_array_new();
    bool ok = r->ops->receive(r->model, SIM_PIPE_CONTROL, x->setup, NULL, 0);
    size_t n = dev->reply->len;
    if (b)
        n = sim_break_alter(b, dev->reply->data, n);
    answer(x, dev->reply->data, n);
    sim_wire_passed(r, SIM_IN, SIM_PIPE_CONTROL, x->setup, x->data, x->actual);
    g_byte_array_unref(dev->reply);
    dev->reply = NULL;
    g_free(b);
    complete(x, !dev->connected ? -ESHUTDOWN : ok ? 0 : -EPIPE);
    return true;
}

static bool step_control(struct usb_dev *dev, struct usb_xfer *x)
{
    int done = (x->setup[0] & TYPE_MASK) == 0 ? standard_request(dev, x) : hid_request(dev, x);

    if (done < 0)
        return x->setup[0] & 0x80 ? step_control_in(dev, x) : step_out(dev, x->ep, x);
    g_queue_remove(&x->ep->pending, x);
    if (!(x->setup[0] & 0x80))
        x->actual = x->len;
    complete(x, done ? 0 : -EPIPE);
    return true;
}

static bool step(struct usb_dev *dev, struct usb_ep *ep, struct usb_xfer *x)
{
    if (ep->halted) {
        if (ep->addr == 0) /* the next setup packet ends the stall of endpoint zero */
            ep->halted = false;
        g_queue_pop_head(&ep->pending);
        complete(x, -EPIPE);
        return true;
    }
    if (ep->addr == 0)
        return step_control(dev, x);
    return ep->addr & 0x80 ? step_in(dev, ep, x) : step_out(dev, ep, x);
}

static void pump(struct usb_dev *dev, struct usb_ep *ep)
{
    if (ep->pumping)
        return; /* called from inside a step: the loop below goes on by itself */
    ep->pumping = true;
    for (;;) {
        struct usb_xfer *x = g_queue_peek_head(&ep->pending);
        if (!x || x->mute || !dev->connected || ep->hold || !step(dev, ep, x))
            break;
    }
    ep->pumping = false;
}

void usb_submit(struct usb_dev *dev, struct usb_ep *ep, struct usb_xfer *x)
{
    x->ep = ep;
    x->actual = 0;
    g_queue_push_tail(&ep->pending, x);
    pump(dev, ep);
}

void usb_clear_halt(struct usb_dev *dev, struct usb_ep *ep)
{
    ep->halted = false;
    pump(dev, ep);
}

void usb_dev_flush(struct usb_dev *dev, int status)
{
    for (size_t i = 0; i < dev->n_eps; i++) {
        struct usb_ep *ep = &dev->eps[i];
        struct usb_xfer *x;
        while ((x = g_queue_pop_head(&ep->pending)))
            complete(x, status);
        g_queue_clear_full(&ep->packets, g_free);
        if (ep->hold)
            sim_timer_cancel(ep->hold);
        ep->hold = 0;
        ep->halted = false;
    }
}

void usb_dev_connect(struct usb_dev *dev)
{
    usb_dev_flush(dev, -ESHUTDOWN);
    for (size_t i = 0; i < dev->n_ifs; i++)
        dev->ifs[i].kernel_driver = dev->id->kernel_driver != NULL;
    dev->connected = true;
}

/* ---- from the model ---- */

static struct usb_ep *ep_of_pipe(struct usb_dev *dev, enum sim_pipe pipe)
{
    for (size_t i = 0; i < dev->n_eps; i++)
        if (dev->eps[i].pipe == pipe)
            return &dev->eps[i];
    sim_log(dev->reader, "the model uses a pipe that its descriptors do not declare");
    return NULL;
}

void usb_dev_send(struct usb_dev *dev, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    if (pipe == SIM_PIPE_CONTROL) {
        if (dev->reply)
            g_byte_array_append(dev->reply, data, (guint)n);
        return;
    }
    struct usb_ep *ep = ep_of_pipe(dev, pipe);
    if (ep) {
        g_queue_push_tail(&ep->packets, packet_new(data, n));
        pump(dev, ep);
    }
}

void usb_dev_stall(struct usb_dev *dev, enum sim_pipe pipe)
{
    struct usb_ep *ep = ep_of_pipe(dev, pipe);

    if (ep) {
        ep->halted = true;
        pump(dev, ep);
    }
}
