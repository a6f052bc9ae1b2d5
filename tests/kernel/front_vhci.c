/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The front of a USB reader on a real kernel: vhci_hcd, a host controller whose bus is a socket.
 *
 * The kernel is handed one end of a socket pair and asks on it, in the messages of USB/IP, what a device would be asked
 * on the bus; the other end is served here by the same endpoints, queues and models as under umockdev (sim_usb.c). So
 * the kernel enumerates the reader by itself, binds its own drivers, makes the device node and tells udev: nothing of
 * that is pretended. Closing the socket is pulling the plug.
 *
 * Messages come in on the I/O thread. A message is 48 bytes and, towards the device, the data of an OUT transfer; the
 * lengths in it are the kernel's, and are still checked. Answers are written with the lock held: the kernel reads them
 * in a thread that does nothing else, so the socket is never full for long.
 */
#include "front_vhci.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define VHCI "/sys/devices/platform/vhci_hcd.0/"

enum {
    CMD_SUBMIT = 1,
    CMD_UNLINK = 2,
    RET_SUBMIT = 3,
    RET_UNLINK = 4,
    HEADER = 48,
    TRANSFER_MAX = 1 << 20,
    PORT_FREE = 4, /* VDEV_ST_NULL, as the file "status" tells it */
    SPEED_LOW = 1,
    SPEED_FULL = 2,
    SPEED_HIGH = 3,
    PATIENCE_MS = 10000,
    STEP_MS = 5,
    SEND_SECONDS = 5
};

/* Words of a message, all in network order. */
enum { W_COMMAND, W_SEQUENCE, W_DEVICE, W_DIRECTION, W_ENDPOINT, W_REST, W_COUNT = HEADER / 4 };
enum { SUBMIT_LENGTH = W_REST + 1, UNLINK_SEQUENCE = W_REST, SETUP_AT = 40 };
enum { RET_STATUS = W_REST, RET_LENGTH };

struct vhci_port {
    struct usb_dev *dev;
    unsigned number;
    int fd; /* -1: not plugged */
    GSource *source;
    GByteArray *in;
    GQueue pending; /* struct urb */
    uint32_t newest; /* the sequence number of the last transfer that came */
    GQueue withdrawn; /* those of transfers that are still to come, and not wanted any more */
};

struct urb {
    struct usb_xfer xfer; /* first: xfer.done gets its address */
    struct vhci_port *port;
    uint32_t sequence;
    bool to_host;
    uint8_t bytes[];
};

/* ---- towards the kernel ---- */

static void send_all(struct vhci_port *p, const uint8_t *data, size_t n)
{
    while (n > 0 && p->fd >= 0) {
        ssize_t k = send(p->fd, data, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return; /* the kernel has let go: the socket's end tells the I/O thread */
        data += k;
        n -= (size_t)k;
    }
}

static void answer(struct vhci_port *p, uint32_t command, uint32_t sequence, int status, const uint8_t *data,
                   size_t actual, bool to_host)
{
    uint32_t word[W_COUNT] = {[W_COMMAND] = htonl(command),
                              [W_SEQUENCE] = htonl(sequence),
                              [RET_STATUS] = htonl((uint32_t)status),
                              [RET_LENGTH] = htonl((uint32_t)actual)};
    size_t n = to_host ? actual : 0;
    uint8_t *message = g_malloc(HEADER + n);

    memcpy(message, word, HEADER);
    if (n > 0)
        memcpy(message + HEADER, data, n);
    send_all(p, message, HEADER + n);
    g_free(message);
}

static void urb_done(struct usb_xfer *x)
{
    struct urb *urb = (struct urb *)x;
    struct vhci_port *p = urb->port;

    g_queue_remove(&p->pending, urb);
    answer(p, RET_SUBMIT, urb->sequence, x->status, x->data, x->actual, urb->to_host);
    g_free(urb);
}

/* ---- from the kernel ---- */

static void take_submit(struct vhci_port *p, const uint32_t *word, const uint8_t *message, size_t length)
{
    bool to_host = ntohl(word[W_DIRECTION]) != 0;
    uint32_t sequence = ntohl(word[W_SEQUENCE]), number = ntohl(word[W_ENDPOINT]);
    struct usb_ep *ep = number > 15 ? NULL : usb_dev_ep(p->dev, (uint8_t)(number | (number && to_host ? 0x80 : 0)));
    bool withdrawn = g_queue_remove(&p->withdrawn, GUINT_TO_POINTER(sequence));

    p->newest = sequence;
    if (!ep || withdrawn) {
        answer(p, RET_SUBMIT, sequence, withdrawn ? -ECONNRESET : -EPIPE, NULL, 0, to_host);
        return;
    }
    struct urb *urb = g_malloc0(sizeof *urb + length + 1);
    urb->port = p;
    urb->sequence = sequence;
    urb->to_host = to_host;
    urb->xfer.data = urb->bytes;
    urb->xfer.len = length;
    urb->xfer.done = urb_done;
    memcpy(urb->xfer.setup, message + SETUP_AT, USB_SETUP);
    if (!to_host)
        memcpy(urb->bytes, message + HEADER, length);
    g_queue_push_tail(&p->pending, urb);
    usb_submit(p->dev, ep, &urb->xfer);
}

/* The kernel does not want a transfer any more. One that is done already was answered, and that answer stands.
 *
 * One may also be still to come: vhci_hcd sends what was submitted and what was cancelled from two queues in turn. A
 * transfer that is cancelled at once, while the second is at work, comes behind its own cancellation, whose answer the
 * kernel takes for "was given back already", and whoever cancelled it would wait without an end. So it is given back
 * when it comes.
 */
static void take_unlink(struct vhci_port *p, const uint32_t *word)
{
    uint32_t sequence = ntohl(word[W_SEQUENCE]), wanted = ntohl(word[UNLINK_SEQUENCE]);
    int status = 0;

    for (GList *l = p->pending.head; l; l = l->next) {
        struct urb *urb = l->data;
        if (urb->sequence != wanted)
            continue;
        g_queue_delete_link(&p->pending, l);
        usb_cancel(&urb->xfer);
        g_free(urb);
        status = -ECONNRESET;
        break;
    }
    if ((int32_t)(wanted - p->newest) > 0) {
        sim_log(p->dev->reader, "transfer %u is cancelled before it comes", wanted);
        g_queue_push_tail(&p->withdrawn, GUINT_TO_POINTER(wanted));
    }
    answer(p, RET_UNLINK, sequence, status, NULL, 0, false);
}

/* Takes one message off what has come. False: it is not whole yet. */
static bool take_message(struct vhci_port *p)
{
    uint32_t word[W_COUNT];

    if (p->fd < 0 || p->in->len < HEADER)
        return false;
    memcpy(word, p->in->data, HEADER);
    bool submit = ntohl(word[W_COMMAND]) == CMD_SUBMIT;
    size_t length = submit ? ntohl(word[SUBMIT_LENGTH]) : 0;
    if ((!submit && ntohl(word[W_COMMAND]) != CMD_UNLINK) || length > TRANSFER_MAX) {
        sim_log(p->dev->reader, "a message of the kernel is not understood: command %u, length %zu",
                ntohl(word[W_COMMAND]), length);
        g_byte_array_set_size(p->in, 0);
        return false;
    }
    size_t whole = HEADER + (submit && !word[W_DIRECTION] ? length : 0);
    if (p->in->len < whole)
        return false;
    uint8_t *message = g_memdup2(p->in->data, whole);
    g_byte_array_remove_range(p->in, 0, (guint)whole);
    if (submit)
        take_submit(p, word, message, length);
    else
        take_unlink(p, word);
    g_free(message);
    return true;
}

static gboolean readable(gint fd, GIOCondition condition, gpointer data)
{
    struct vhci_port *p = data;
    uint8_t buf[4096];

    (void)condition;
    sim_lock();
    ssize_t n = p->fd == fd ? recv(fd, buf, sizeof buf, MSG_DONTWAIT) : 0;
    if (n > 0) {
        g_byte_array_append(p->in, buf, (guint)n);
        while (take_message(p))
            ;
    }
    sim_unlock();
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* ---- the port ---- */

/* What vhci_hcd says of our port; 0: nothing. */
static int port_status(const struct vhci_port *p)
{
    char line[256], hub[8];
    unsigned number;
    int status = 0, found;
    FILE *f = fopen(VHCI "status", "r");

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%7s %u %d", hub, &number, &found) == 3 && number == p->number)
            status = found;
    if (f)
        fclose(f);
    return status;
}

static bool wait_free(const struct vhci_port *p)
{
    for (gint64 end = sim_now() + PATIENCE_MS * 1000; port_status(p) != PORT_FREE; g_usleep(STEP_MS * 1000))
        if (sim_now() > end)
            return false;
    return true;
}

static bool attach(const struct vhci_port *p, int fd)
{
    int speed = strcmp(p->dev->id->speed, "480") == 0   ? SPEED_HIGH
                : strcmp(p->dev->id->speed, "1.5") == 0 ? SPEED_LOW
                                                        : SPEED_FULL;
    char text[64];
    int n = g_snprintf(text, sizeof text, "%u %d %u %d", p->number, fd, 1u << 16 | (p->number + 2), speed);
    int f = open(VHCI "attach", O_WRONLY | O_CLOEXEC);
    bool ok = f >= 0 && write(f, text, (size_t)n) == n;

    if (!ok)
        fprintf(stderr, "purse-sim: %sattach: %s\n", VHCI, strerror(errno));
    if (f >= 0)
        close(f);
    return ok;
}

struct vhci_port *vhci_port_new(struct usb_dev *dev, unsigned number)
{
    struct vhci_port *p = g_new0(struct vhci_port, 1);

    p->dev = dev;
    p->number = number;
    p->fd = -1;
    p->in = g_byte_array_new();
    g_queue_init(&p->pending);
    g_queue_init(&p->withdrawn);
    return p;
}

bool vhci_port_plug(struct vhci_port *p, struct sim_reader *power_on)
{
    const struct timeval patience = {.tv_sec = SEND_SECONDS};
    int pair[2];

    if (!wait_free(p) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        fprintf(stderr, "purse-sim: port %u of vhci_hcd is not free\n", p->number);
        return false;
    }
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    sim_lock();
    p->fd = pair[0];
    p->newest = 0;
    g_queue_clear(&p->withdrawn);
    g_byte_array_set_size(p->in, 0);
    usb_dev_connect(p->dev);
    p->source = g_unix_fd_source_new(p->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(p->source, (GSourceFunc)(void (*)(void))readable, p, NULL);
    g_source_attach(p->source, sim_io_context());
    sim_reader_power_on(power_on);
    sim_unlock();
    bool ok = attach(p, pair[1]);
    close(pair[1]); /* the kernel has its own reference */
    return ok;
}

void vhci_port_cut(struct vhci_port *p)
{
    int fd = p->fd;

    p->fd = -1; /* no answer goes out any more */
    p->dev->connected = false;
    usb_dev_flush(p->dev, -ESHUTDOWN);
    g_source_destroy(p->source);
    g_clear_pointer(&p->source, g_source_unref);
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

void vhci_port_vanish(struct vhci_port *p)
{
    if (!wait_free(p))
        fprintf(stderr, "purse-sim: port %u of vhci_hcd does not become free\n", p->number);
}

/* ---- the front of a USB reader ---- */

static bool usb_create(struct sim_reader *r)
{
    sim_lock();
    const struct sim_usb_identity *id = r->ops->usb ? r->ops->usb(r->model) : NULL;
    sim_unlock();
    struct usb_dev *dev = id ? usb_dev_new(r, id) : NULL;

    if (!dev) {
        fprintf(stderr, "purse-sim: %s: no USB reader with these options\n", r->name);
        return false;
    }
    r->front = vhci_port_new(dev, r->index);
    return true;
}

static bool usb_plug(struct sim_reader *r)
{
    return vhci_port_plug(r->front, r);
}

static void usb_cut(struct sim_reader *r)
{
    vhci_port_cut(r->front);
}

static void usb_vanish(struct sim_reader *r)
{
    vhci_port_vanish(r->front);
}

static void usb_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    usb_dev_send(((struct vhci_port *)r->front)->dev, pipe, data, n);
}

static void usb_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    usb_dev_stall(((struct vhci_port *)r->front)->dev, pipe);
}

/* Which driver an interface has is asked of the kernel itself. */
static int usb_control(struct sim_reader *r, const char *verb, const char *args, FILE *reply)
{
    (void)r;
    (void)verb;
    (void)args;
    (void)reply;
    return -1;
}

const struct sim_front_ops sim_front_usb = {
    .create = usb_create,
    .plug = usb_plug,
    .cut = usb_cut,
    .vanish = usb_vanish,
    .send = usb_send,
    .stall = usb_stall,
    .control = usb_control,
};

/* ---- in the place of the testbed: there is none, devices appear in the kernel ---- */

bool sim_testbed_open(void)
{
    if (access(VHCI "attach", W_OK) == 0)
        return true;
    fprintf(stderr, "purse-sim: %sattach: %s\n", VHCI, strerror(errno));
    return false;
}

void sim_testbed_close(void)
{
}

const char *sim_testbed_root(void)
{
    return "/";
}
