/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The choices of the USB transport that need no device: which interface of a reader is the reader, how bytes travel
 * through its endpoints, and what pcscd's device string says. Pure functions over descriptors already read, so that
 * every layout a reader might have can be tested without one (no manual shows the AET63's: doc/ASSUMPTIONS.md, A02).
 */
#include <string.h>
#include "transport/usb.h"

enum { ENDPOINT_IN = 0x80, TYPE_BULK = 2, TYPE_INTERRUPT = 3, CLASS_HID = 3 };

/* The first endpoint of a type and direction that this transport can serve; address 0: none. */
static struct usb_endpoint find_endpoint(const struct usb_interface *ifc, unsigned type, unsigned direction)
{
    struct usb_endpoint none = {0};

    for (size_t i = 0; i < ifc->endpoint_count && i < USB_ENDPOINTS_MAX; i++) {
        const struct usb_endpoint *e = &ifc->endpoints[i];

        if ((e->type & 3u) == type && (e->address & ENDPOINT_IN) == direction && (e->address & 0x0fu) != 0 &&
            e->packet > 0 && e->packet <= TRANSPORT_CHUNK_MAX)
            return *e;
    }
    return none;
}

enum result usb_choose_form(const struct usb_interface *ifc, enum usb_form want, struct usb_pipes *pipes)
{
    struct usb_endpoint none = {0};
    struct usb_endpoint bulk_in = find_endpoint(ifc, TYPE_BULK, ENDPOINT_IN);
    struct usb_endpoint bulk_out = find_endpoint(ifc, TYPE_BULK, 0);
    struct usb_endpoint int_in = find_endpoint(ifc, TYPE_INTERRUPT, ENDPOINT_IN);
    struct usb_endpoint int_out = find_endpoint(ifc, TYPE_INTERRUPT, 0);
    bool bulk = bulk_in.address && bulk_out.address;

    if (want == USB_FORM_AUTO)
        want = bulk ? USB_FORM_B : int_out.address ? USB_FORM_C : USB_FORM_A;
    if (want == USB_FORM_B ? !bulk : !int_in.address)
        return R_NOT_SUPPORTED;
    if (want == USB_FORM_C && !int_out.address)
        return R_NOT_SUPPORTED;
    pipes->form = want;
    pipes->out = want == USB_FORM_B ? bulk_out : want == USB_FORM_A ? none : int_out;
    pipes->in = want == USB_FORM_B ? bulk_in : int_in;
    pipes->in2 = want == USB_FORM_B ? int_in : none;
    return R_SUCCESS;
}

int usb_choose_interface(const struct usb_interface *ifcs, size_t count, enum usb_form want)
{
    struct usb_pipes pipes;
    int first = -1;

    for (size_t i = 0; i < count; i++) {
        if (want == USB_FORM_HID && ifcs[i].class_code != CLASS_HID)
            continue;
        if (usb_choose_form(&ifcs[i], want, &pipes) != R_SUCCESS)
            continue;
        if (want == USB_FORM_HID || ifcs[i].number == 0)
            return (int)i;
        if (first < 0)
            first = (int)i;
    }
    return first;
}

/* ---- pcscd's device string ---- */

static bool take_text(const char **at, const char *text)
{
    size_t n = strlen(text);

    if (strncmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* Digits of a base (10 or 16), at least one, value at most max. */
static bool take_number(const char **at, unsigned base, unsigned max, unsigned *value)
{
    const char *p = *at;
    unsigned v = 0;

    for (;; p++) {
        unsigned digit;

        if (*p >= '0' && *p <= '9')
            digit = (unsigned)(*p - '0');
        else if (base == 16 && ((*p >= 'a' && *p <= 'f') || (*p >= 'A' && *p <= 'F')))
            digit = (unsigned)((*p | 0x20) - 'a') + 10;
        else
            break;
        v = v * base + digit;
        if (v > max)
            return false;
    }
    if (p == *at)
        return false;
    *at = p;
    *value = v;
    return true;
}

/* After a number that ends what is known: the end, or a tail that is not ours. "7x" is no number. */
static bool at_tail(const char *at)
{
    return *at == '\0' || *at == ':' || *at == '/';
}

/* "<interface>:/dev/bus/usb/BBB/DDD"; an empty interface is not told. */
static bool parse_udev(const char *at, struct usb_address *a)
{
    unsigned interface;

    if (*at != ':') {
        if (!take_number(&at, 10, 255, &interface))
            return false;
        a->interface = (int)interface;
    }
    return take_text(&at, ":/dev/bus/usb/") && take_number(&at, 10, 255, &a->bus) && take_text(&at, "/") &&
           take_number(&at, 10, 255, &a->device) && at_tail(at);
}

/* "<bus>:<address>:<interface>"; the interface may be missing. */
static bool parse_libusb(const char *at, struct usb_address *a)
{
    unsigned interface;

    if (!take_number(&at, 10, 255, &a->bus) || !take_text(&at, ":") || !take_number(&at, 10, 255, &a->device) ||
        !at_tail(at))
        return false;
    if (take_text(&at, ":") && take_number(&at, 10, 255, &interface) && at_tail(at))
        a->interface = (int)interface;
    return true;
}

bool usb_parse_address(const char *name, struct usb_address *a)
{
    struct usb_address found = {.interface = -1};
    const char *at = name;
    unsigned vid, pid;
    bool ok;

    if (!take_text(&at, "usb:") || !take_number(&at, 16, 0xffff, &vid) || !take_text(&at, "/") ||
        !take_number(&at, 16, 0xffff, &pid))
        return false;
    found.vid = (uint16_t)vid;
    found.pid = (uint16_t)pid;
    if (take_text(&at, ":libudev:"))
        ok = parse_udev(at, &found);
    else if (take_text(&at, ":libusb-1.0:"))
        ok = parse_libusb(at, &found);
    else
        ok = false;
    if (!ok || found.device == 0) /* 0 is the address of a device that has none yet */
        return false;
    *a = found;
    return true;
}
