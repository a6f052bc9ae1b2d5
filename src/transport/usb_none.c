/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * In place of usb.c and usb_open.c in the handler for serial readers: the same functions, which say where USB readers are
 * driven. So that handler does not load libusb into a pcscd that has no use for it.
 */
#include "transport/usb.h"

enum result usb_read_facts(const struct usb_address *a, struct transport_facts *facts, struct log *log)
{
    (void)facts;
    log_fault(log,
              "%04X:%04X: this file drives serial readers. pcscd finds USB readers by itself, through "
              "ifd-purse.bundle: take the entry out of reader.conf",
              a->vid, a->pid);
    return R_NOT_SUPPORTED;
}

enum result usb_open(struct transport **out, const struct usb_open_options *o)
{
    *out = NULL;
    (void)o;
    return R_NOT_SUPPORTED;
}

enum result usb_hid_report_descriptor(struct transport *t, uint8_t *buf, size_t cap, size_t *n, deadline_t until)
{
    (void)t;
    (void)buf;
    (void)cap;
    (void)until;
    *n = 0;
    return R_NOT_SUPPORTED;
}
