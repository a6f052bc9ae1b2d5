/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Finding a reader by the bus and address of pcscd's device string, opening it, choosing its interface and form, and
 * freeing all of it. Nothing here is remembered from earlier: each opening reads the descriptors afresh in a libusb
 * context of its own, so a number that another device has taken since cannot be mistaken for the reader.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "transport/usb_internal.h"

extern const struct transport_ops usb_transport_ops; /* usb.c */

enum { INTERFACES_MAX = 32 };

static enum result result_of(int rc)
{
    switch (rc) {
    case LIBUSB_SUCCESS:
        return R_SUCCESS;
    case LIBUSB_ERROR_NO_DEVICE:
    case LIBUSB_ERROR_NOT_FOUND:
        return R_GONE;
    case LIBUSB_ERROR_NO_MEM:
        return R_NO_MEMORY;
    default:
        return R_SYSTEM;
    }
}

/* ---- a session ---- */

static void close_session(struct usb_session *s)
{
    if (s->handle)
        libusb_close(s->handle);
    if (s->context)
        libusb_exit(s->context);
    s->handle = NULL;
    s->context = NULL;
}

static enum result open_context(libusb_context **context, struct log *log)
{
    sigset_t all, before;
    int rc;

    /* The first context of a process starts libusb's hotplug thread: it shall not take pcscd's signals either. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = libusb_init(context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != LIBUSB_SUCCESS) {
        *context = NULL;
        log_line(log, PLOG_CRITICAL, "libusb does not start: %s", libusb_error_name(rc));
    }
    return rc == LIBUSB_SUCCESS ? R_SUCCESS : rc == LIBUSB_ERROR_NO_MEM ? R_NO_MEMORY : R_SYSTEM;
}

static bool is_device(libusb_device *device, const struct usb_address *a, struct libusb_device_descriptor *d)
{
    return libusb_get_bus_number(device) == a->bus && libusb_get_device_address(device) == a->device &&
           libusb_get_device_descriptor(device, d) == LIBUSB_SUCCESS && d->idVendor == a->vid && d->idProduct == a->pid;
}

static void log_open_error(int rc, const struct usb_address *a, struct log *log)
{
    if (rc == LIBUSB_ERROR_ACCESS)
        log_line(log, PLOG_CRITICAL,
                 "no permission for /dev/bus/usb/%03u/%03u: install the udev rule of ifd-purse (it gives %04x:%04x to "
                 "the group pcscd), then plug the reader in again",
                 a->bus, a->device, (unsigned)a->vid, (unsigned)a->pid);
    else
        log_line(log, PLOG_CRITICAL, "cannot open /dev/bus/usb/%03u/%03u: %s", a->bus, a->device,
                 libusb_error_name(rc));
}

/* On failure nothing is left open. */
static enum result open_session(struct usb_session *s, const struct usb_address *a, struct log *log)
{
    libusb_device **list;
    ssize_t count;
    int rc = LIBUSB_ERROR_NO_DEVICE;
    enum result r = open_context(&s->context, log);

    if (r != R_SUCCESS)
        return r;
    count = libusb_get_device_list(s->context, &list);
    if (count < 0) {
        rc = (int)count;
    } else {
        for (ssize_t i = 0; i < count; i++)
            if (is_device(list[i], a, &s->descriptor)) {
                rc = libusb_open(list[i], &s->handle);
                break;
            }
        libusb_free_device_list(list, 1);
    }
    if (rc == LIBUSB_SUCCESS)
        return R_SUCCESS;
    s->handle = NULL;
    r = result_of(rc);
    if (r == R_SYSTEM)
        log_open_error(rc, a, log);
    close_session(s);
    return r;
}

/* ---- facts ---- */

/* One string of the device, printable ASCII only and without spaces at its ends; empty when there is none. False: the
 * reader did not answer, further strings would only cost more time. */
static bool read_text(libusb_device_handle *handle, uint8_t index, char text[TRANSPORT_TEXT_MAX])
{
    unsigned char raw[TRANSPORT_TEXT_MAX];
    size_t used = 0;
    int n;

    text[0] = '\0';
    if (index == 0)
        return true;
    n = libusb_get_string_descriptor_ascii(handle, index, raw, (int)sizeof raw);
    for (int i = 0; i < n && used < TRANSPORT_TEXT_MAX - 1u; i++)
        if (raw[i] > ' ' ? raw[i] < 0x7f : raw[i] == ' ' && used > 0)
            text[used++] = (char)raw[i];
    while (used > 0 && text[used - 1] == ' ')
        used--;
    text[used] = '\0';
    return n != LIBUSB_ERROR_TIMEOUT && n != LIBUSB_ERROR_NO_DEVICE;
}

/* Each string costs at most two control requests of libusb's one second each. */
static void fill_facts(struct transport_facts *facts, const struct usb_session *s, const struct usb_address *a)
{
    const struct libusb_device_descriptor *d = &s->descriptor;

    facts->vid = d->idVendor;
    facts->pid = d->idProduct;
    facts->release = d->bcdDevice;
    facts->bus = a->bus;
    facts->address = a->device;
    if (read_text(s->handle, d->iSerialNumber, facts->serial) && read_text(s->handle, d->iProduct, facts->product))
        read_text(s->handle, d->iManufacturer, facts->manufacturer);
}

enum result usb_read_facts(const struct usb_address *a, struct transport_facts *facts, struct log *log)
{
    struct usb_session s = {0};
    enum result r;

    memset(facts, 0, sizeof *facts);
    r = open_session(&s, a, log);
    if (r != R_SUCCESS)
        return r;
    fill_facts(facts, &s, a);
    close_session(&s);
    return R_SUCCESS;
}

/* ---- interface and form ---- */

static void copy_interface(struct usb_interface *to, const struct libusb_interface_descriptor *from)
{
    *to = (struct usb_interface){.number = from->bInterfaceNumber, .class_code = from->bInterfaceClass};
    for (unsigned i = 0; i < from->bNumEndpoints && to->endpoint_count < USB_ENDPOINTS_MAX; i++) {
        const struct libusb_endpoint_descriptor *e = &from->endpoint[i];

        to->endpoints[to->endpoint_count++] = (struct usb_endpoint){
            .address = e->bEndpointAddress,
            .type = e->bmAttributes & 3,
            .packet = e->wMaxPacketSize & 0x7ff, /* bits 12..11: further transactions in a microframe */
        };
    }
}

/* Reads the interfaces (alternate setting 0) of the active configuration; one is made active if there is none. */
static enum result read_interfaces(struct usb_session *s, struct usb_interface *ifcs, size_t *count)
{
    libusb_device *device = libusb_get_device(s->handle);
    struct libusb_config_descriptor *config;
    int rc = libusb_get_active_config_descriptor(device, &config);
    enum result r = R_SUCCESS;

    *count = 0;
    if (rc == LIBUSB_ERROR_NOT_FOUND) {
        rc = libusb_get_config_descriptor(device, 0, &config);
        if (rc == LIBUSB_SUCCESS)
            r = result_of(libusb_set_configuration(s->handle, config->bConfigurationValue));
    }
    if (rc != LIBUSB_SUCCESS)
        return rc == LIBUSB_ERROR_NOT_FOUND ? R_SYSTEM : result_of(rc);
    for (unsigned i = 0; i < config->bNumInterfaces && *count < INTERFACES_MAX; i++)
        if (config->interface[i].num_altsetting > 0)
            copy_interface(&ifcs[(*count)++], &config->interface[i].altsetting[0]);
    libusb_free_config_descriptor(config);
    return r;
}

static const char *form_text(const struct usb_pipes *pipes)
{
    switch (pipes->form) {
    case USB_FORM_A:
        return "A (control and interrupt)";
    case USB_FORM_B:
        return pipes->in2.address ? "B (bulk, and interrupt in)" : "B (bulk)";
    case USB_FORM_C:
        return "C (interrupt both ways)";
    case USB_FORM_HID:
        return pipes->out.address ? "HID (interrupt both ways)" : "HID (SET_REPORT and interrupt)";
    case USB_FORM_AUTO:
    default:
        return "none";
    }
}

static enum result choose(struct usb *u, const struct usb_open_options *o)
{
    struct usb_interface ifcs[INTERFACES_MAX];
    size_t count;
    int chosen;
    enum result r = read_interfaces(&u->session, ifcs, &count);

    if (r != R_SUCCESS) {
        if (r != R_GONE)
            log_line(o->log, PLOG_CRITICAL, "the reader's USB configuration cannot be read");
        return r;
    }
    chosen = usb_choose_interface(ifcs, count, o->form);
    if (chosen < 0) {
        log_line(o->log, PLOG_CRITICAL, "none of the %zu USB interfaces has the endpoints of %s", count,
                 o->form == USB_FORM_AUTO ? "a reader" : "the form that is wanted (setting `transport')");
        return R_NOT_SUPPORTED;
    }
    u->interface = ifcs[chosen].number;
    if (o->address.interface >= 0 && o->address.interface != u->interface)
        return R_NOT_SUPPORTED; /* quiet: pcscd offers each interface of a composite device */
    if (o->refuse_class != 0 && ifcs[chosen].class_code == o->refuse_class) {
        log_line(o->log, PLOG_CRITICAL, "interface %u has class %02X%s: this is not a reader for ifd-purse",
                 (unsigned)u->interface, (unsigned)o->refuse_class,
                 o->refuse_class == LIBUSB_CLASS_SMART_CARD ? " (CCID; the CCID driver serves it)" : "");
        return R_NOT_SUPPORTED;
    }
    r = usb_choose_form(&ifcs[chosen], o->form, &u->pipes);
    u->t.facts.form = form_text(&u->pipes);
    return r;
}

static enum result claim(struct usb *u)
{
    int rc;

    /* Where the system knows no kernel drivers there is none to be detached. */
    libusb_set_auto_detach_kernel_driver(u->session.handle, 1);
    rc = libusb_claim_interface(u->session.handle, u->interface);
    if (rc == LIBUSB_SUCCESS) {
        u->claimed = true;
        return R_SUCCESS;
    }
    if (rc == LIBUSB_ERROR_BUSY)
        log_line(u->t.log, PLOG_CRITICAL, "interface %u is in use by another program or driver: end that one",
                 (unsigned)u->interface);
    else if (result_of(rc) != R_GONE)
        log_line(u->t.log, PLOG_CRITICAL, "interface %u cannot be claimed: %s", (unsigned)u->interface,
                 libusb_error_name(rc));
    return result_of(rc);
}

/* ---- opening and freeing ---- */

static struct usb *new_usb(const struct usb_open_options *o)
{
    struct usb *u = calloc(1, sizeof *u);
    pthread_condattr_t attr;
    bool ok;

    if (!u || pthread_condattr_init(&attr) != 0) {
        free(u);
        return NULL;
    }
    ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&u->changed, &attr) == 0;
    pthread_condattr_destroy(&attr);
    if (!ok || pthread_mutex_init(&u->lock, NULL) != 0) {
        if (ok)
            pthread_cond_destroy(&u->changed);
        free(u);
        return NULL;
    }
    u->t.ops = &usb_transport_ops;
    u->t.notify = o->notify;
    u->t.notify_arg = o->notify_arg;
    u->t.log = o->log;
    return u;
}

void usb_free(struct usb *u)
{
    bool all_back = usb_stop_transfers(u);

    usb_end_thread(u);
    if (!all_back) {
        /* The kernel may still write into the transfers. The thread is gone, so nothing of ours runs any more. */
        log_line(u->t.log, PLOG_CRITICAL, "a USB transfer has not come back; its memory is left as it is");
        return;
    }
    for (unsigned i = 0; i < u->in_count; i++)
        libusb_free_transfer(u->in[i].transfer);
    libusb_free_transfer(u->out.transfer);
    if (u->claimed)
        libusb_release_interface(u->session.handle, u->interface); /* gives it back to the kernel's driver */
    close_session(&u->session);
    pthread_cond_destroy(&u->changed);
    pthread_mutex_destroy(&u->lock);
    explicit_bzero(u, sizeof *u);
    free(u);
}

static enum result set_up(struct usb *u, const struct usb_open_options *o)
{
    enum result r = open_session(&u->session, &o->address, o->log);

    if (r == R_SUCCESS)
        r = choose(u, o);
    if (r == R_SUCCESS)
        r = claim(u);
    if (r != R_SUCCESS)
        return r;
    fill_facts(&u->t.facts, &u->session, &o->address); /* while no other thread handles events */
    r = usb_prepare_transfers(u);
    if (r == R_SUCCESS)
        r = usb_start_thread(u);
    if (r != R_SUCCESS)
        return r;
    usb_start_input(u);
    pthread_mutex_lock(&u->lock);
    r = u->ended;
    pthread_mutex_unlock(&u->lock);
    return r;
}

enum result usb_open(struct transport **out, const struct usb_open_options *o)
{
    struct usb *u = new_usb(o);
    enum result r;

    *out = NULL;
    if (!u)
        return R_NO_MEMORY;
    r = set_up(u, o);
    if (r != R_SUCCESS) {
        usb_free(u);
        return r;
    }
    log_line(o->log, PLOG_INFO, "USB %04x:%04x release %x.%02x, interface %u, form %s", (unsigned)u->t.facts.vid,
             (unsigned)u->t.facts.pid, (unsigned)u->t.facts.release >> 8, (unsigned)u->t.facts.release & 0xff,
             (unsigned)u->interface, u->t.facts.form);
    *out = &u->t;
    return R_SUCCESS;
}
