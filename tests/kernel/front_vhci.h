/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A simulated USB device on the kernel's vhci_hcd: what front_vhci.c (readers on USB) and front_acm.c (readers on a
 * serial line, behind a USB-serial adapter) share.
 */
#ifndef PURSE_FRONT_VHCI_H
#define PURSE_FRONT_VHCI_H

#include "sim_usb.h"

struct vhci_port;

/* A port of the virtual hub for a device. The three functions below are what a front's plug(), cut() and vanish() need:
 * see sim_front.h. */
struct vhci_port *vhci_port_new(struct usb_dev *dev, unsigned number);
/* Main thread, lock not held. power_on is the reader whose model is told that it has power. */
bool vhci_port_plug(struct vhci_port *p, struct sim_reader *power_on);
void vhci_port_cut(struct vhci_port *p);    /* lock held */
void vhci_port_vanish(struct vhci_port *p); /* main thread: returns when the kernel has let go of the device */

#endif
