/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The device side of a USB reader, apart from how the host reaches it (usbfs ioctls, USB/IP): endpoints as the model's
 * descriptors declare them, queues, halts, standard requests. Everything here is called with the simulator's lock held.
 */
#ifndef PURSE_SIM_USB_H
#define PURSE_SIM_USB_H

#include "sim_front.h"

enum { USB_MAX_EPS = 31, USB_MAX_IFS = 8, USB_SETUP = 8 };

struct usb_dev;

struct usb_ep {
    struct usb_dev *dev;
    uint8_t addr; /* 0: endpoint zero */
    uint8_t type; /* bmAttributes & 3: 0 control, 2 bulk, 3 interrupt */
    uint16_t packet;
    unsigned interval_ms;
    uint8_t ifnum;
    enum sim_pipe pipe;
    bool halted;
    bool pumping;
    unsigned hold;  /* timer until which nothing passes; 0: none */
    GQueue packets; /* IN: what the model sent and the host did not read yet */
    GQueue pending; /* struct usb_xfer, in the order of their submission */
};

/* One transfer of the host. The front owns it; between usb_submit and done it must stay where it is. */
struct usb_xfer {
    uint8_t setup[USB_SETUP]; /* endpoint zero only */
    uint8_t *data;
    size_t len, actual;
    int status; /* 0 or a negative errno as usbfs reports it */
    bool checked, mute;
    struct usb_ep *ep;
    void (*done)(struct usb_xfer *x);
};

struct usb_if {
    uint8_t number, cls, subclass, protocol, endpoints;
    bool kernel_driver; /* the pretended one is bound now */
};

struct usb_dev {
    struct sim_reader *reader;
    const struct sim_usb_identity *id;
    struct usb_ep eps[USB_MAX_EPS];
    size_t n_eps;
    struct usb_if ifs[USB_MAX_IFS];
    size_t n_ifs;
    uint8_t config_value;
    bool connected;
    GByteArray *reply; /* data stage of the device to host request that the model is just answering, else NULL */
};

struct usb_dev *usb_dev_new(struct sim_reader *r, const struct sim_usb_identity *id); /* NULL: bad descriptors */
void usb_dev_free(struct usb_dev *dev);
void usb_dev_connect(struct usb_dev *dev); /* fresh on the bus: queues empty, no halt, kernel drivers bound */
/* Completes every transfer with this status (-ESHUTDOWN: unplugged) and empties the queues. */
void usb_dev_flush(struct usb_dev *dev, int status);
struct usb_ep *usb_dev_ep(struct usb_dev *dev, uint8_t addr); /* NULL: no such endpoint */
struct usb_if *usb_dev_if(struct usb_dev *dev, unsigned number);

void usb_submit(struct usb_dev *dev, struct usb_ep *ep, struct usb_xfer *x);
void usb_cancel(struct usb_xfer *x); /* takes it back; done is not called */
void usb_clear_halt(struct usb_dev *dev, struct usb_ep *ep);

void usb_dev_send(struct usb_dev *dev, enum sim_pipe pipe, const uint8_t *data, size_t n);
void usb_dev_stall(struct usb_dev *dev, enum sim_pipe pipe);

#endif
