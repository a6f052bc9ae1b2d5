/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The fronts of a serial reader on a real kernel. The name of its port decides which (tty=NAME):
 *
 * ttyACM0 and the like: a USB-serial adapter (CDC ACM) on vhci_hcd, with the reader at its far end. The kernel's
 * cdc-acm driver makes the port of it; pulling the adapter out hangs the port up. The adapter is a USB device of its
 * own, with a reader's place in sim_usb.c (struct sim_reader) but no reader's model: its "model" is the adapter, which
 * hands on what comes on the bulk endpoints and remembers the line settings. What the tests ask for (cards, faults,
 * counts) goes to the reader behind it.
 *
 * ttyS2 and the like: the far end of a null modem cable. The reader speaks on this port, the driver on the one at the
 * cable's other end. Both are ports of the machine, with the kernel's own driver.
 */
#include "front_vhci.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
    EP_OUT = 0x02,
    EP_IN = 0x81,
    EP_NOTIFY = 0x83,
    PACKET = 64,
    CHUNK = PACKET - 1, /* shorter than a packet, so that each one ends a transfer */
    SET_LINE_CODING = 0x20,
    GET_LINE_CODING = 0x21,
    LINE_CODING = 7
};

static const uint8_t descriptors[] = {
    18, 1, 0x00, 0x02, 2, 0, 0, PACKET, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 1, 2, 3, 1, /* device 1209:0001 */
    9, 2, 67, 0, 2, 1, 0, 0x80, 50,                                                     /* configuration */
    9, 4, 0, 0, 1, 2, 2, 1, 0,                                                          /* interface: ACM control */
    5, 0x24, 0x00, 0x10, 0x01,                                                          /* CDC header */
    5, 0x24, 0x01, 0x00, 1,                                                             /* call management: none */
    4, 0x24, 0x02, 0x02,                                                                /* ACM: line coding */
    5, 0x24, 0x06, 0, 1,                                                                /* union of 0 and 1 */
    7, 5, EP_NOTIFY, 3, 8, 0, 16,                                                       /* notifications */
    9, 4, 1, 0, 2, 0x0A, 0, 0, 0,                                                       /* interface: data */
    7, 5, EP_OUT, 2, PACKET, 0, 0,                                                      /* to the reader */
    7, 5, EP_IN, 2, PACKET, 0, 0,                                                       /* from the reader */
};

static const struct sim_usb_identity identity = {.vid = 0x1209,
                                                 .pid = 0x0001,
                                                 .descriptors = descriptors,
                                                 .descriptors_len = sizeof descriptors,
                                                 .manufacturer = "Simulated",
                                                 .product = "Serial adapter",
                                                 .serial = "SIM1",
                                                 .kernel_driver = "cdc_acm",
                                                 .speed = "12"};

/* ---- behind an adapter ---- */

struct sim_model { /* the adapter */
    struct sim_reader *behind;
    struct sim_reader self;
    struct usb_dev *dev;
    struct vhci_port *port;
    uint8_t coding[LINE_CODING];
};

static bool adapter_receive(struct sim_model *a, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data,
                            size_t n)
{
    struct sim_reader *r = a->behind;

    if (pipe == SIM_PIPE_BULK_OUT)
        return r->ops->receive(r->model, SIM_PIPE_SERIAL, NULL, data, n);
    if (setup && setup[1] == GET_LINE_CODING)
        usb_dev_send(a->dev, SIM_PIPE_CONTROL, a->coding, LINE_CODING);
    if (setup && setup[1] == SET_LINE_CODING && n == LINE_CODING)
        memcpy(a->coding, data, n);
    return true; /* the modem lines and a break lead nowhere */
}

static const struct sim_model_ops adapter_ops = {.name = "adapter", .receive = adapter_receive};

static bool acm_create(struct sim_reader *r)
{
    struct sim_model *a = g_new0(struct sim_model, 1);

    a->behind = r;
    a->self = (struct sim_reader){.index = r->index, .ops = &adapter_ops, .model = a, .trace_last = -1};
    g_snprintf(a->self.name, sizeof a->self.name, "%s.adapter", r->name);
    a->self.breaks = g_ptr_array_new_with_free_func(g_free);
    a->dev = usb_dev_new(&a->self, &identity);
    if (!a->dev)
        return false;
    a->port = vhci_port_new(a->dev, r->index);
    r->front = a;
    return true;
}

static bool acm_plug(struct sim_reader *r)
{
    struct sim_model *a = r->front;

    return vhci_port_plug(a->port, r);
}

static void acm_cut(struct sim_reader *r)
{
    struct sim_model *a = r->front;

    vhci_port_cut(a->port);
}

static void acm_vanish(struct sim_reader *r)
{
    struct sim_model *a = r->front;

    vhci_port_vanish(a->port);
}

static void acm_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    struct sim_model *a = r->front;

    (void)pipe;
    for (size_t at = 0; at < n; at += CHUNK)
        usb_dev_send(a->dev, SIM_PIPE_BULK_IN, data + at, MIN((size_t)CHUNK, n - at));
}

static void serial_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    (void)pipe;
    sim_log(r, "a serial line cannot stall");
}

static unsigned acm_line_speed(struct sim_reader *r)
{
    const uint8_t *c = ((struct sim_model *)r->front)->coding;

    return c[0] | (unsigned)c[1] << 8 | (unsigned)c[2] << 16 | (unsigned)c[3] << 24;
}

/* "lines": the line settings that the adapter was given. */
static int acm_control(struct sim_reader *r, const char *verb, const char *args, FILE *reply)
{
    const uint8_t *c = ((struct sim_model *)r->front)->coding;

    (void)args;
    if (strcmp(verb, "lines") != 0)
        return -1;
    fprintf(reply, "baud=%u bits=%u parity=%u stop=%u", acm_line_speed(r), c[6], c[5], c[4] == 2 ? 2 : 1);
    return 1;
}

static const struct sim_front_ops acm = {
    .create = acm_create,
    .plug = acm_plug,
    .cut = acm_cut,
    .vanish = acm_vanish,
    .send = acm_send,
    .stall = serial_stall,
    .control = acm_control,
    .line_speed = acm_line_speed,
};

/* ---- at the end of a cable ---- */

enum { WRITE_MS = 5000 };

struct cable {
    char *path;
    int fd;
    GSource *source;
};

static gboolean cable_readable(gint fd, GIOCondition condition, gpointer data)
{
    struct sim_reader *r = data;
    uint8_t buf[512];

    (void)condition;
    sim_lock();
    ssize_t n = ((struct cable *)r->front)->fd == fd ? read(fd, buf, sizeof buf) : 0;
    if (n > 0)
        r->ops->receive(r->model, SIM_PIPE_SERIAL, NULL, buf, (size_t)n);
    sim_unlock();
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static bool cable_create(struct sim_reader *r)
{
    struct cable *c = g_new0(struct cable, 1);

    c->path = g_strconcat("/dev/", r->tty, NULL);
    c->fd = -1;
    r->front = c;
    return true;
}

static bool cable_plug(struct sim_reader *r)
{
    struct cable *c = r->front;
    struct termios t;
    int fd = open(c->path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || tcgetattr(fd, &t) != 0) {
        fprintf(stderr, "purse-sim: %s: %s\n", c->path, strerror(errno));
        return false;
    }
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&t, B115200);
    tcsetattr(fd, TCSANOW, &t);
    tcflush(fd, TCIOFLUSH);
    sim_lock();
    c->fd = fd;
    c->source = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(c->source, (GSourceFunc)(void (*)(void))cable_readable, r, NULL);
    g_source_attach(c->source, sim_io_context());
    sim_reader_power_on(r);
    sim_unlock();
    return true;
}

static void cable_cut(struct sim_reader *r)
{
    struct cable *c = r->front;

    g_source_destroy(c->source);
    g_clear_pointer(&c->source, g_source_unref);
    close(c->fd);
    c->fd = -1;
}

static void cable_vanish(struct sim_reader *r)
{
    (void)r; /* the port stays */
}

static void cable_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    struct cable *c = r->front;

    (void)pipe;
    while (n > 0) {
        struct pollfd room = {.fd = c->fd, .events = POLLOUT};
        ssize_t k = poll(&room, 1, WRITE_MS) == 1 ? write(c->fd, data, n) : 0;
        if (k < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (k <= 0) {
            sim_log(r, "%s takes no more bytes", c->path);
            return;
        }
        data += k;
        n -= (size_t)k;
    }
}

static int cable_control(struct sim_reader *r, const char *verb, const char *args, FILE *reply)
{
    (void)r;
    (void)verb;
    (void)args;
    (void)reply;
    return -1;
}

static const struct sim_front_ops cable = {
    .create = cable_create,
    .plug = cable_plug,
    .cut = cable_cut,
    .vanish = cable_vanish,
    .send = cable_send,
    .stall = serial_stall,
    .control = cable_control,
};

/* ---- which of them ---- */

static bool serial_create(struct sim_reader *r)
{
    r->front_ops = g_str_has_prefix(r->tty, "ttyACM") ? &acm : &cable;
    return r->front_ops->create(r);
}

const struct sim_front_ops sim_front_serial = {.create = serial_create};
