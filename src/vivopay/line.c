/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The line to a ViVOpay reader: USB-HID, or a serial port that may not be there yet, may hang up, and comes back.
 *
 * A USB reader that is pulled out is gone, and pcscd opens a new one when it returns. A serial port has no such thing:
 * pcscd would keep a dead reader for ever. So the slot stays, empty, and the driver opens the port by itself as soon as
 * its node is there again, waiting longer from try to try (reopen_min to reopen_max).
 */
#include "vivopay/internal.h"

#include <string.h>
#include "transport/serial.h"

enum { PINGS_EACH_RATE = 2, PINGS = 3 };

static const unsigned rates[] = {115200, 57600, 38400, 19200, 9600};
enum { RATES = sizeof rates / sizeof rates[0] };

static unsigned rate_of(const struct vivo *v)
{
    return v->reader.settings->baud ? v->reader.settings->baud : rates[v->rate];
}

/* ---- the transport, shared with cancel() --------------------------------------------------------------------- */

void vivo_cancel(struct reader *reader)
{
    struct vivo *v = vivo_of(reader);

    pthread_mutex_lock(&v->gate);
    v->cancelled = true;
    if (v->line)
        v->line->ops->cancel(v->line);
    pthread_mutex_unlock(&v->gate);
}

static enum result install(struct vivo *v, struct transport *t)
{
    pthread_mutex_lock(&v->gate);
    bool cancelled = v->cancelled;
    if (!cancelled)
        v->line = t;
    pthread_mutex_unlock(&v->gate);
    if (cancelled) {
        t->ops->close(t);
        return R_CANCELLED;
    }
    vivo_link_reset(v);
    v->in_sync = v->up = v->restarted = false;
    v->silent = 0;
    v->suspended = clock_suspended();
    return R_SUCCESS;
}

void vivo_line_close(struct vivo *v)
{
    struct transport *t = v->line;

    pthread_mutex_lock(&v->gate);
    v->line = NULL;
    pthread_mutex_unlock(&v->gate);
    v->reader.transport = NULL;
    v->in_sync = v->up = false;
    if (t)
        t->ops->close(t);
}

/* ---- finding the reader on the line ---------------------------------------------------------------------------- */

static enum result ping_often(struct vivo *v, unsigned pings, deadline_t until)
{
    enum result r = vivo_drain(v, v->reader.settings->open_quiet, until);

    while (r == R_SUCCESS && !v->in_sync && pings-- > 0) {
        r = vivo_ping(v, until);
        if (r == R_TIMEOUT || r == R_COMM)
            r = pings > 0 && deadline_passed(until) ? R_TIMEOUT : R_SUCCESS;
    }
    if (r != R_SUCCESS)
        return r;
    return v->in_sync ? R_SUCCESS : R_TIMEOUT;
}

/* The speed in use first, then `others` more. */
static enum result probe_rates(struct vivo *v, unsigned others, deadline_t until)
{
    enum result r = ping_often(v, PINGS_EACH_RATE, until);

    while (r == R_TIMEOUT && others-- > 0 && !deadline_passed(until)) {
        v->rate = (v->rate + 1) % RATES;
        r = serial_set_baud(v->line, rate_of(v));
        if (r == R_SUCCESS)
            r = ping_often(v, PINGS_EACH_RATE, until);
    }
    return r;
}

static bool rate_is_free(const struct vivo *v)
{
    return v->reader.settings->baud == 0;
}

static enum result open_serial(struct vivo *v, unsigned others, deadline_t until)
{
    struct transport *t;
    enum result r = serial_open(&t, v->path, rate_of(v), v->reader.log);

    if (r == R_SUCCESS)
        r = install(v, t);
    if (r != R_SUCCESS)
        return r;
    r = rate_is_free(v) ? probe_rates(v, others, until) : ping_often(v, PINGS, until);
    if (r == R_SUCCESS)
        log_line(v->reader.log, PLOG_INFO, "a reader answers at %u baud", rate_of(v));
    else
        vivo_line_close(v);
    return r;
}

static enum result refuse_keyboard(struct vivo *v, deadline_t until)
{
    uint8_t descriptor[TRANSPORT_CHUNK_MAX];
    size_t n;
    enum result r = usb_hid_report_descriptor(v->line, descriptor, sizeof descriptor, &n, until);

    if (r == R_GONE || r == R_CANCELLED)
        return r;
    if (r != R_SUCCESS) {
        log_line(v->reader.log, PLOG_INFO, "its HID report descriptor cannot be read (%s)", result_name(r));
        return R_SUCCESS;
    }
    if (!vivo_is_keyboard(descriptor, n))
        return R_SUCCESS;
    log_line(v->reader.log, PLOG_CRITICAL,
             "the reader is in keyboard mode, which cannot carry a card's answers: set it to "
             "HID mode with ID TECH's tool");
    return R_NOT_SUPPORTED;
}

static enum result open_hid(struct vivo *v, const char *name, deadline_t until)
{
    struct usb_open_options o = {
        .form = USB_FORM_HID, .notify = device_input, .notify_arg = v->reader.device, .log = v->reader.log};
    struct transport *t;
    const char *why;
    enum result r;

    if (!usb_parse_address(name, &o.address))
        return R_INVALID;
    why = vivo_refused_pid(o.address.vid, o.address.pid);
    if (why) {
        log_line(v->reader.log, PLOG_CRITICAL, "%04X:%04X is refused: %s", o.address.vid, o.address.pid, why);
        return R_NOT_SUPPORTED;
    }
    r = usb_open(&t, &o);
    if (r == R_SUCCESS)
        r = install(v, t);
    if (r != R_SUCCESS)
        return r;
    v->reader.transport = v->line;
    r = refuse_keyboard(v, until);
    if (r == R_SUCCESS)
        r = ping_often(v, PINGS, until);
    if (r != R_SUCCESS)
        vivo_line_close(v);
    return r;
}

enum result vivo_line_open(struct vivo *v, const struct reader_target *target, deadline_t until)
{
    v->hid = target->path == NULL;
    if (v->hid)
        return open_hid(v, target->name, until);
    if (strlen(target->path) >= sizeof v->path)
        return R_INVALID;
    memcpy(v->path, target->path, strlen(target->path) + 1);
    return open_serial(v, RATES - 1, until);
}

/* ---- lost and found ---------------------------------------------------------------------------------------------- */

void vivo_line_rest(struct vivo *v)
{
    const struct settings *s = v->reader.settings;

    if (v->back_off < s->reopen_min)
        v->back_off = s->reopen_min;
    v->next_try = deadline_in(v->back_off);
    v->back_off = v->back_off < s->reopen_max / 2 ? 2 * v->back_off : s->reopen_max;
}

void vivo_line_good(struct vivo *v)
{
    v->back_off = 0;
    v->next_try = 0;
    if (v->down_told)
        log_line(v->reader.log, PLOG_INFO, "the reader is there again");
    v->down_told = false;
}

enum result vivo_line_reopen(struct vivo *v, deadline_t until)
{
    enum result r;

    if (v->hid)
        return R_GONE;
    if (!deadline_passed(v->next_try))
        return R_NO_CARD;
    r = serial_node_exists(v->path) ? open_serial(v, 0, until) : R_GONE;
    if (r == R_SUCCESS || r == R_CANCELLED)
        return r;
    if (r == R_TIMEOUT && rate_is_free(v))
        v->rate = (v->rate + 1) % RATES; /* another speed the next time: one try shall not take all the time there is */
    vivo_line_rest(v);
    return R_NO_CARD;
}

enum result vivo_line_lost(struct vivo *v, enum result why)
{
    struct transport *t = v->line;
    enum result r = R_GONE;

    v->silent = 0;
    if (!v->hid) {
        if (!v->down_told)
            log_line(v->reader.log, PLOG_CRITICAL, "the reader is lost (%s): waiting for it",
                     why == R_GONE ? "the port hung up" : "it does not answer");
        v->down_told = true;
        vivo_line_close(v);
        vivo_slots_empty(v);
        vivo_line_rest(v);
        return R_NO_CARD;
    }
    vivo_slots_empty(v);
    if (why != R_GONE && t && !v->was_reset && t->ops->reset) {
        log_line(v->reader.log, PLOG_CRITICAL, "the reader does not answer: resetting it");
        v->was_reset = true;
        r = t->ops->reset(t);
        vivo_link_reset(v);
        v->in_sync = v->up = false;
    }
    return r == R_SUCCESS || r == R_CANCELLED ? r : R_GONE;
}
