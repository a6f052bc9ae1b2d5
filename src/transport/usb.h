/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * USB readers by libusb.
 *
 * Why its threading works. Each open reader has a libusb context of its own and one event thread, which alone runs
 * libusb's event handling; every completion callback runs there. On each IN endpoint one asynchronous transfer stands
 * for as long as the reader is open: it is submitted at open and again from its own callback, so no packet can come
 * while nobody listens. The callback puts the packet into a ring and wakes read(). An OUT transfer is submitted by write()
 * and waited for on the same condition variable. One mutex (`lock`) guards the ring, the states and the counters; what
 * is looked at without it is atomic. It is never held across a libusb call that can call back. A pipe whose transfer
 * failed is not submitted again by the callback (a broken device would make it spin) but by the next read() or write(),
 * after libusb_clear_halt. That call and libusb_reset_device are the kernel's own exchanges with the reader; it gives a
 * mute one 5 s for each of its requests, and nobody can cancel them: a call that meets one of them may end so much later.
 * Unplug is seen by the transfer's status, sets `ended` and wakes everybody.
 */
#ifndef PURSE_TRANSPORT_USB_H
#define PURSE_TRANSPORT_USB_H

#include "transport/transport.h"

/* How the bytes travel (doc/ASSUMPTIONS.md, A02 and V02). */
enum usb_form {
    USB_FORM_AUTO,
    USB_FORM_A,  /* vendor control request out, interrupt in */
    USB_FORM_B,  /* bulk out and in; an interrupt in, if there, is pipe 1 */
    USB_FORM_C,  /* interrupt out and in */
    USB_FORM_HID /* interrupt in; reports out by interrupt OUT or SET_REPORT */
};

/* A USB endpoint as the choice of a form needs it. */
struct usb_endpoint {
    uint8_t address;    /* bit 7: IN */
    uint8_t type;       /* bits 1..0 of bmAttributes: 2 bulk, 3 interrupt */
    uint16_t packet;    /* wMaxPacketSize, 1 … TRANSPORT_CHUNK_MAX */
};

enum { USB_ENDPOINTS_MAX = 16 };

struct usb_interface {
    uint8_t number, class_code;
    struct usb_endpoint endpoints[USB_ENDPOINTS_MAX];
    size_t endpoint_count;
};

/* The pipes to be used. Endpoint address 0 means "none" (for out: the control pipe). */
struct usb_pipes {
    enum usb_form form;
    struct usb_endpoint out, in, in2;
};

/* Chooses the form that an interface offers (pure): bulk both ways is B, interrupt IN with interrupt OUT is C,
 * interrupt IN alone is A; for want == USB_FORM_HID an interrupt IN is enough. A form that is asked for (not AUTO) is
 * taken if the interface has its endpoints. R_NOT_SUPPORTED otherwise. */
enum result usb_choose_form(const struct usb_interface *ifc, enum usb_form want, struct usb_pipes *pipes);

/* Which of the reader's interfaces is the reader (pure): 0 if it has a usable IN endpoint, else the first that has; for HID
 * the first of class 03 with an interrupt IN. Returns its index or -1. */
int usb_choose_interface(const struct usb_interface *ifcs, size_t count, enum usb_form want);

/* pcscd's device string: "usb:vvvv/pppp:libudev:<interface>:/dev/bus/usb/BBB/DDD" or
 * "usb:vvvv/pppp:libusb-1.0:<bus>:<address>:<interface>"; tails that are not known are ignored. */
struct usb_address {
    uint16_t vid, pid;
    unsigned bus, device;
    int interface; /* -1: not told */
};
bool usb_parse_address(const char *name, struct usb_address *a);

/* Reads what is needed to find the settings of a reader: its serial number, before it is opened for good.
 * R_SUCCESS or R_GONE (not there), R_SYSTEM (no permission: logged with the cure). */
enum result usb_read_facts(const struct usb_address *a, struct transport_facts *facts, struct log *log);

struct usb_open_options {
    struct usb_address address;
    enum usb_form form;         /* AUTO or the one that the configuration wants */
    uint8_t refuse_class;       /* an interface of this class is refused (0B: CCID); 0: none */
    void (*notify)(void *arg);
    void *notify_arg;
    struct log *log;
};

/* Opens, detaches a kernel driver (given back at close), claims, starts the event thread and the standing transfers.
 * R_NOT_SUPPORTED: another interface of a composite device is the reader (quiet), or none can be used (logged).
 * R_GONE, R_SYSTEM, R_NO_MEMORY. On success *out is to be closed by its ops. */
enum result usb_open(struct transport **out, const struct usb_open_options *o);

/* HID only: the report descriptor of the claimed interface. R_SUCCESS with *n bytes. */
enum result usb_hid_report_descriptor(struct transport *t, uint8_t *buf, size_t cap, size_t *n, deadline_t until);

#endif
