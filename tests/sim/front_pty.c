/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The front of a serial reader: a pty behind a umockdev tty.
 *
 * The program under test opens /dev/NAME, which in the testbed is a link to the pty's slave; read, write, poll and
 * termios go straight to it. Only what a pty cannot do is answered here: the modem lines. The I/O thread reads the
 * master. We keep the slave open ourselves, or the master would report an error whenever no client has it open;
 * unplugging closes both, which is a real hang-up for whoever still has the slave.
 *
 * A direction of the line is a queue that lets its bytes pass at once or at the pace of a baud rate (ten bits a byte,
 * in portions of about a millisecond). Faults strike byte by byte as they pass. A pty has no speed of its own, so a
 * wrong baud rate is invisible on the wire; the model can ask which rate the host has set.
 */
#include "sim_front.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <pty.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <umockdev.h>
#include <unistd.h>

enum {
    BITS_PER_BYTE = 10,
    RETRY_MS = 5, /* the host does not read and the pty is full */
    LINES_OF_HOST = TIOCM_DTR | TIOCM_RTS,
    LINES_OF_READER = TIOCM_CTS | TIOCM_DSR | TIOCM_CAR | TIOCM_RNG
};

struct line { /* one direction */
    struct sim_reader *reader;
    enum sim_dir dir;
    GByteArray *queue;
    gint64 free_at;     /* when the byte before has passed */
    unsigned timer;     /* runs line_run again; 0: none */
    unsigned long skip; /* bytes still to be lost to a truncation */
};

struct pty {
    struct sim_reader *reader;
    UMockdevIoctlBase *base;
    int master, slave;
    GSource *source;     /* reads the master */
    unsigned generation; /* counts the plugs */
    int modem;           /* TIOCM_* */
    struct line line[2]; /* by enum sim_dir */
    char *sys_parent, *sys_tty, *node;
};

struct handle {
    struct pty *p;
    unsigned generation;
    bool counted;
};

static void line_run(void *arg);

/* ---- the line ---- */

static void line_wait(struct line *l, unsigned ms)
{
    if (l->timer == 0)
        l->timer = sim_timer_add(ms, line_run, l);
}

/* How many of the queued bytes have passed by now. */
static size_t line_due(struct line *l)
{
    gint64 now = sim_now();
    unsigned pace = l->reader->pace;

    if (now < l->free_at) {
        line_wait(l, (unsigned)((l->free_at - now + 999) / 1000));
        return 0;
    }
    if (pace == 0)
        return l->queue->len;
    /* At most a millisecond's worth, and the clock goes on from where it stood, so that rounding does not add up. */
    size_t n = MAX(1u, pace / BITS_PER_BYTE / 1000);
    return MIN(n, l->queue->len);
}

/* Bytes leave the line. Returns how many were taken. */
static size_t line_sink(struct line *l, const uint8_t *data, size_t n)
{
    struct sim_reader *r = l->reader;
    struct pty *p = r->front;
    ssize_t taken = (ssize_t)n;

    if (n == 0)
        return 0;
    if (l->dir == SIM_IN) {
        taken = write(p->master, data, n);
        if (taken < 0)
            taken = 0;
    }
    if (taken > 0)
        sim_wire_passed(r, l->dir, SIM_PIPE_SERIAL, NULL, data, (size_t)taken);
    if (l->dir == SIM_OUT)
        r->ops->receive(r->model, SIM_PIPE_SERIAL, NULL, data, n);
    return (size_t)taken;
}

/* Puts one byte through the faults into out. False: the line is interrupted behind out; *keep tells whether this byte
 * stays queued. */
static bool line_byte(struct line *l, uint8_t byte, GByteArray *out, bool *keep, bool *unplug)
{
    struct sim_break *b = sim_wire_strike(l->reader, l->dir, SIM_PIPE_SERIAL);
    bool go_on = true;

    *keep = false;
    if (l->skip > 0) {
        l->skip--;
        g_free(b);
        return true;
    }
    if (b && b->what == SIM_BREAK_FLIP)
        byte ^= (uint8_t)b->arg[1];
    if (b && b->what == SIM_BREAK_TRUNC) {
        l->skip = b->arg[0] > 0 ? b->arg[0] - 1 : 0;
    } else if (b && b->what == SIM_BREAK_DELAY) {
        l->free_at = sim_now() + (gint64)b->arg[0] * 1000;
        *keep = true;
        go_on = false;
    } else if (b && b->what == SIM_BREAK_UNPLUG) {
        *unplug = true;
        go_on = false;
    } else if (!b || b->what != SIM_BREAK_LOSE) {
        g_byte_array_append(out, &byte, 1);
        if (b && b->what == SIM_BREAK_DUP)
            g_byte_array_append(out, &byte, 1);
    }
    g_free(b);
    return go_on;
}

/* Takes what is due off the queue, through the faults. */
static void line_take(struct line *l, GByteArray *out, bool *unplug)
{
    size_t due = line_due(l), used = 0;
    bool keep = false;

    while (used < due && line_byte(l, l->queue->data[used], out, &keep, unplug))
        used++;
    if (l->reader->pace > 0 && used > 0) {
        gint64 start = MAX(l->free_at, sim_now() - 2000);
        l->free_at = start + (gint64)used * BITS_PER_BYTE * G_USEC_PER_SEC / l->reader->pace;
    }
    if (used < due && !keep)
        used++; /* the byte at which the line was interrupted is gone as well */
    g_byte_array_remove_range(l->queue, 0, (guint)used);
}

static void line_run(void *arg)
{
    struct line *l = arg;
    bool unplug = false;

    l->timer = 0;
    while (l->reader->plugged && l->queue->len > 0 && l->timer == 0 && !unplug) {
        GByteArray *out = g_byte_array_new();
        line_take(l, out, &unplug);
        size_t taken = line_sink(l, out->data, out->len);
        if (l->reader->plugged && taken < out->len) { /* only towards a host that does not read */
            g_byte_array_prepend(l->queue, out->data + taken, (guint)(out->len - taken));
            line_wait(l, RETRY_MS);
        }
        g_byte_array_unref(out);
    }
    if (unplug)
        sim_reader_yank(l->reader);
}

static void line_put(struct line *l, const uint8_t *data, size_t n)
{
    bool idle = l->queue->len == 0;

    g_byte_array_append(l->queue, data, (guint)n);
    if (idle && l->reader->pace > 0) { /* the first byte has to pass, too */
        gint64 first = sim_now() + (gint64)BITS_PER_BYTE * G_USEC_PER_SEC / l->reader->pace;
        l->free_at = MAX(l->free_at, first);
    }
    if (l->timer == 0)
        line_run(l);
}

static void line_clear(struct line *l)
{
    if (l->timer)
        sim_timer_cancel(l->timer);
    l->timer = 0;
    l->skip = 0;
    l->free_at = 0;
    g_byte_array_set_size(l->queue, 0);
}

static gboolean master_readable(gint fd, GIOCondition condition, gpointer data)
{
    struct pty *p = data;
    uint8_t buf[4096];
    ssize_t n = 0;

    (void)condition;
    sim_lock();
    if (p->master == fd)
        n = read(fd, buf, sizeof buf);
    if (n > 0)
        line_put(&p->line[SIM_OUT], buf, (size_t)n);
    sim_unlock();
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* ---- ioctls ---- */

static bool is_modem_request(gulong request)
{
    return request == TIOCMGET || request == TIOCMSET || request == TIOCMBIS || request == TIOCMBIC;
}

static int modem_request(struct handle *h, gulong request, int *value)
{
    struct pty *p = h->p;
    int bits = *value & LINES_OF_HOST;

    if (!p->reader->plugged || h->generation != p->generation)
        return -EIO;
    if (request == TIOCMGET)
        *value = p->modem;
    else if (request == TIOCMSET)
        p->modem = (p->modem & LINES_OF_READER) | bits;
    else if (request == TIOCMBIS)
        p->modem |= bits;
    else
        p->modem &= ~bits;
    return 0;
}

static int run_modem(struct handle *h, gulong request, UMockdevIoctlData *arg)
{
    UMockdevIoctlData *d = umockdev_ioctl_data_resolve(arg, 0, sizeof(int), NULL);

    if (!d)
        return -EFAULT;
    sim_lock();
    int rc = modem_request(h, request, (int *)(void *)d->data);
    sim_unlock();
    g_object_unref(d);
    return rc;
}

static gboolean on_ioctl(UMockdevIoctlBase *base, UMockdevIoctlClient *client, gpointer data)
{
    struct pty *p = data;
    struct handle *h = g_object_get_data(G_OBJECT(client), "handle");
    gulong request = umockdev_ioctl_client_get_request(client);
    int rc, error = 0;

    (void)base;
    sim_lock();
    p->reader->stats.ioctls++;
    sim_unlock();
    if (is_modem_request(request)) {
        rc = run_modem(h, request, umockdev_ioctl_client_get_arg(client));
        error = rc < 0 ? -rc : 0;
        rc = rc < 0 ? -1 : 0;
    } else if (request == 0x5432 || request == 0x5433) { /* TCGETX, TCSETX: most serial drivers have none */
        rc = -1;
        error = EINVAL;
    } else {
        rc = umockdev_ioctl_client_execute(client, &error, NULL); /* the client does it itself, on the pty */
    }
    umockdev_ioctl_client_complete(client, rc, error);
    return TRUE;
}

static void handle_gone(gpointer data, GObject *client)
{
    struct handle *h = data;
    struct sim_stats *s = &h->p->reader->stats;

    (void)client;
    sim_lock();
    if (h->counted && --s->open == 0)
        h->p->modem &= ~LINES_OF_HOST; /* the last close drops DTR and RTS (HUPCL) */
    sim_unlock();
    g_free(h);
}

static void on_connected(UMockdevIoctlBase *base, UMockdevIoctlClient *client, gpointer data)
{
    struct pty *p = data;
    struct handle *h = g_new0(struct handle, 1);

    (void)base;
    sim_lock();
    h->p = p;
    h->generation = p->generation;
    h->counted = p->reader->plugged; /* the preload library also connects for an open() that fails */
    if (h->counted) {
        p->reader->stats.opens++;
        p->reader->stats.open++;
        p->modem |= LINES_OF_HOST;
    }
    sim_unlock();
    g_object_set_data(G_OBJECT(client), "handle", h);
    g_object_weak_ref(G_OBJECT(client), handle_gone, h);
}

/* ---- the front ---- */

static bool pty_create(struct sim_reader *r)
{
    sim_lock();
    bool usb = r->ops->usb && r->ops->usb(r->model);
    sim_unlock();
    if (usb) {
        fprintf(stderr, "purse-sim: %s: a USB reader with these options, tty= is of no use to it\n", r->name);
        return false;
    }
    struct pty *p = g_new0(struct pty, 1);
    p->reader = r;
    p->master = p->slave = -1;
    p->modem = TIOCM_CTS | TIOCM_DSR;
    p->node = g_strconcat("/dev/", r->tty, NULL);
    for (int dir = SIM_OUT; dir <= SIM_IN; dir++)
        p->line[dir] = (struct line){.reader = r, .dir = (enum sim_dir)dir, .queue = g_byte_array_new()};
    p->base = umockdev_ioctl_base_new();
    g_signal_connect(p->base, "handle-ioctl", G_CALLBACK(on_ioctl), p);
    g_signal_connect(p->base, "client-connected", G_CALLBACK(on_connected), p);
    r->front = p;
    return true;
}

static bool open_pty(struct pty *p, char *name, int *master, int *slave)
{
    struct termios t;
    char *full = sim_testbed_path(p->node);

    bool ok = openpty(master, slave, name, NULL, NULL) == 0;
    if (ok) {
        fcntl(*master, F_SETFD, FD_CLOEXEC);
        fcntl(*slave, F_SETFD, FD_CLOEXEC);
        fcntl(*master, F_SETFL, O_RDWR | O_NONBLOCK);
        tcgetattr(*slave, &t);
        cfmakeraw(&t);
        cfsetspeed(&t, B9600); /* as a port comes up */
        tcsetattr(*slave, TCSANOW, &t);
        unlink(full);
        ok = symlink(name, full) == 0;
        if (!ok) {
            close(*master);
            close(*slave);
        }
    }
    if (!ok)
        fprintf(stderr, "purse-sim: %s: %s\n", full, strerror(errno));
    g_free(full);
    return ok;
}

static void add_to_sysfs(struct pty *p)
{
    char *dev = g_strdup_printf("188:%u\n", p->reader->index);
    char *parent = g_strconcat("platform-", p->reader->tty, NULL);
    char *attrs[] = {"dev", dev, NULL};
    char *props[] = {"DEVNAME", p->node, NULL};
    char *none[] = {NULL};

    p->sys_parent = sim_testbed_add("platform", parent, NULL, none, none);
    p->sys_tty = sim_testbed_add("tty", p->reader->tty, p->sys_parent, attrs, props);
    sim_testbed_uevent("add", p->sys_tty, "tty", props);
    g_free(parent);
    g_free(dev);
}

static bool pty_plug(struct sim_reader *r)
{
    struct pty *p = r->front;
    char name[128];
    int master, slave;

    if (!sim_testbed_attach(p->node, p->base) || !open_pty(p, name, &master, &slave))
        return false;
    sim_lock();
    p->master = master;
    p->slave = slave;
    p->generation++;
    p->source = g_unix_fd_source_new(master, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(p->source, (GSourceFunc)(void (*)(void))master_readable, p, NULL);
    g_source_attach(p->source, sim_io_context());
    sim_reader_power_on(r);
    sim_unlock();
    add_to_sysfs(p);
    return true;
}

static void pty_cut(struct sim_reader *r)
{
    struct pty *p = r->front;

    g_source_destroy(p->source);
    g_clear_pointer(&p->source, g_source_unref);
    line_clear(&p->line[SIM_OUT]);
    line_clear(&p->line[SIM_IN]);
    close(p->slave);
    close(p->master); /* the hang-up */
    p->master = p->slave = -1;
    p->modem &= ~LINES_OF_HOST;
}

static void pty_vanish(struct sim_reader *r)
{
    struct pty *p = r->front;
    char *full = sim_testbed_path(p->node);
    char *props[] = {"DEVNAME", p->node, NULL};

    unlink(full);
    g_free(full);
    sim_testbed_uevent("remove", p->sys_tty, "tty", props);
    sim_testbed_remove(p->sys_tty, p->node);
    sim_testbed_detach_later(p->node, p->base);
    sim_testbed_remove(p->sys_parent, NULL);
    g_clear_pointer(&p->sys_tty, g_free);
    g_clear_pointer(&p->sys_parent, g_free);
}

static void pty_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    struct pty *p = r->front;

    (void)pipe;
    line_put(&p->line[SIM_IN], data, n);
}

static void pty_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    (void)pipe;
    sim_log(r, "a serial line cannot stall");
}

/* ---- what tests ask ---- */

static const struct {
    const char *name;
    int bit;
} MODEM[] = {{"dtr", TIOCM_DTR}, {"rts", TIOCM_RTS}, {"cts", TIOCM_CTS},
             {"dsr", TIOCM_DSR}, {"dcd", TIOCM_CAR}, {"ri", TIOCM_RNG}};

static const struct {
    speed_t code;
    unsigned baud;
} SPEEDS[] = {{B1200, 1200},   {B2400, 2400},   {B4800, 4800},     {B9600, 9600},     {B19200, 19200},
              {B38400, 38400}, {B57600, 57600}, {B115200, 115200}, {B230400, 230400}, {B460800, 460800}};

static unsigned pty_line_speed(struct sim_reader *r)
{
    struct pty *p = r->front;
    struct termios t;

    if (p->slave < 0 || tcgetattr(p->slave, &t) != 0)
        return 0;
    for (size_t i = 0; i < G_N_ELEMENTS(SPEEDS); i++)
        if (SPEEDS[i].code == cfgetospeed(&t))
            return SPEEDS[i].baud;
    return 0;
}

static void print_lines(struct sim_reader *r, FILE *reply)
{
    struct pty *p = r->front;
    struct termios t;

    for (size_t i = 0; i < G_N_ELEMENTS(MODEM); i++)
        fprintf(reply, "%s=%d ", MODEM[i].name, (p->modem & MODEM[i].bit) != 0);
    if (p->slave < 0 || tcgetattr(p->slave, &t) != 0)
        return;
    const char *flow = t.c_cflag & CRTSCTS ? "rtscts" : t.c_iflag & (IXON | IXOFF) ? "xonxoff" : "none";
    unsigned bits = (t.c_cflag & CSIZE) == CS8 ? 8 : (t.c_cflag & CSIZE) == CS7 ? 7 : 5;
    char parity = !(t.c_cflag & PARENB) ? 'n' : t.c_cflag & PARODD ? 'o' : 'e';
    fprintf(reply, "baud=%u bits=%u parity=%c stop=%d flow=%s raw=%d", pty_line_speed(r), bits, parity,
            t.c_cflag & CSTOPB ? 2 : 1, flow, !(t.c_lflag & (ICANON | ECHO | ISIG)));
}

/* "lines": all of them and the line's settings; "lines cts=0": sets one that is the reader's. */
static int pty_control(struct sim_reader *r, const char *verb, const char *args, FILE *reply)
{
    struct pty *p = r->front;

    if (strcmp(verb, "lines") != 0)
        return -1;
    if (*args == '\0') {
        print_lines(r, reply);
        return 1;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(MODEM); i++) {
        size_t n = strlen(MODEM[i].name);
        if (!(MODEM[i].bit & LINES_OF_READER) || strncmp(args, MODEM[i].name, n) != 0 || args[n] != '=')
            continue;
        p->modem = args[n + 1] == '1' ? p->modem | MODEM[i].bit : p->modem & ~MODEM[i].bit;
        return 1;
    }
    fputs("usage: lines [cts|dsr|dcd|ri=0|1]", reply);
    return 0;
}

const struct sim_front_ops sim_front_serial = {
    .create = pty_create,
    .plug = pty_plug,
    .cut = pty_cut,
    .vanish = pty_vanish,
    .send = pty_send,
    .stall = pty_stall,
    .control = pty_control,
    .line_speed = pty_line_speed,
};
