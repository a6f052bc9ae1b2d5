/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The serial transport over libserialport; serial.h says why its threading works.
 *
 * Only cancel() may come from another thread. It touches nothing but an atomic flag and an eventfd, which is never
 * read: once written it stays readable, so a poll() that begins later ends at once, too. The flag saves write(), whose
 * bytes nearly always fit into the kernel's buffer, a poll() of its own. `gone` belongs to the thread that reads and
 * writes.
 *
 * No call spins: whatever poll() calls ready and then gives or takes nothing is asked again a few times only, and
 * counts as a hang-up after that. What is left in the kernel's buffers when a write ends too early is discarded, or
 * half a command would leave at some later time, in front of another one.
 */
#include "transport/serial.h"

#include <errno.h>
#include <libserialport.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    SERIAL_MESSAGE_MAX = 1 << 20, /* far above any frame; the library counts in int */
    SERIAL_LINKS_MAX = 16,        /* symbolic links behind one another */
    SERIAL_BARREN_MAX = 8,        /* ready, but nothing moved: so often in a row */
    SERIAL_REASON_MAX = 100
};

struct serial {
    struct transport t; /* first: a struct transport pointer is a struct serial pointer */
    struct sp_port *port;
    int fd; /* the port's, for poll(); -1: not open */
    int cancel_fd;
    atomic_bool cancelled;
    bool gone;
    bool exclusive; /* TIOCEXCL is ours to take back */
    unsigned baud;
};

static struct serial *serial_of(struct transport *t)
{
    return (struct serial *)t;
}

/* The node, as the log shows it. */
static const char *node_of(const struct serial *s)
{
    return sp_get_port_name(s->port);
}

/* ---- errors ---- */

/* Why a call of the library failed, in words, and as errno (0: not an error of the system's). To be asked at once. */
static int sp_reason(enum sp_return rc, char reason[SERIAL_REASON_MAX])
{
    int error = rc == SP_ERR_FAIL ? sp_last_error_code() : 0;
    char *text = rc == SP_ERR_FAIL ? sp_last_error_message() : NULL;

    if (text)
        snprintf(reason, SERIAL_REASON_MAX, "%s", text);
    else
        snprintf(reason, SERIAL_REASON_MAX, "%s",
                 rc == SP_ERR_MEM    ? "no memory"
                 : rc == SP_ERR_SUPP ? "the port cannot do this"
                                     : "refused by libserialport");
    sp_free_error_message(text);
    return error;
}

/* What a node answers that has just been taken away. */
static bool means_gone(int error)
{
    return error == ENOENT || error == ENXIO || error == ENODEV;
}

/* The line is of no use any more. */
static enum result lose(struct serial *s, const char *why)
{
    if (!s->gone)
        log_line(s->t.log, PLOG_INFO, "%s hung up (%s)", node_of(s), why);
    s->gone = true;
    return R_GONE;
}

/* A read or write failed. There is no error of a tty after which going on would help; opening it again may. */
static enum result lose_by(struct serial *s, enum sp_return rc)
{
    char reason[SERIAL_REASON_MAX];

    (void)sp_reason(rc, reason);
    return lose(s, reason);
}

/* ---- finding ---- */

/* Makes the folder part of path (PATH_MAX bytes) absolute and free of links. 0 or errno. */
static int resolve_folder(char *path)
{
    char *slash = strrchr(path, '/');
    char *folder, joined[PATH_MAX];
    int n;

    if (slash)
        *slash = '\0';
    folder = realpath(!slash ? "." : *path ? path : "/", NULL);
    if (!folder)
        return errno;
    n = snprintf(joined, sizeof joined, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, slash ? slash + 1 : path);
    free(folder);
    if (n < 0 || (size_t)n >= sizeof joined)
        return ENAMETOOLONG;
    memcpy(path, joined, (size_t)n + 1);
    return 0;
}

/* Replaces path (PATH_MAX bytes) by what the link there points to. 0 or errno, EINVAL: it is no link. */
static int follow_link(char *path)
{
    char link[PATH_MAX], joined[PATH_MAX];
    ssize_t length = readlink(path, link, sizeof link - 1);
    char *slash = strrchr(path, '/');
    int n;

    if (length < 0)
        return errno;
    link[length] = '\0';
    *slash = '\0'; /* there is one: resolve_folder() made the path absolute */
    n = snprintf(joined, sizeof joined, "%s%s%s", link[0] == '/' ? "" : path, link[0] == '/' ? "" : "/", link);
    if (n < 0 || (size_t)n >= sizeof joined)
        return ENAMETOOLONG;
    memcpy(path, joined, (size_t)n + 1);
    return 0;
}

/* Links are followed one by one until the library knows the name, not to their end: in a container the node that the
 * system knows as a serial port may itself be a link. */
static enum result find_port(struct serial *s, const char *path)
{
    struct log *log = s->t.log;
    char name[PATH_MAX];
    int error = strlen(path) < sizeof name ? 0 : ENAMETOOLONG;

    if (error == 0)
        memcpy(name, path, strlen(path) + 1);
    for (int i = 0; i <= SERIAL_LINKS_MAX && error == 0; i++) {
        error = resolve_folder(name);
        if (error != 0)
            break;
        enum sp_return rc = sp_get_port_by_name(name, &s->port);

        if (rc == SP_OK)
            return R_SUCCESS;
        if (rc == SP_ERR_MEM)
            return R_NO_MEMORY;
        error = i < SERIAL_LINKS_MAX ? follow_link(name) : ELOOP;
    }
    if (means_gone(error))
        return R_GONE;
    if (error == EINVAL)
        log_line(log, PLOG_CRITICAL, "%.80s is not a serial port: see dmesg or ls /dev/serial/by-id for its name",
                 path);
    else
        log_line(log, PLOG_CRITICAL, "%.80s: %s", path, strerror(error));
    return R_SYSTEM;
}

bool serial_node_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* ---- opening ---- */

static enum result say_in_use(struct serial *s)
{
    log_line(s->t.log, PLOG_CRITICAL, "%s is in use by another program or reader; fuser -v %s shows by which",
             node_of(s), node_of(s));
    return R_SYSTEM;
}

/* The port cannot be opened, or not be set. */
static enum result refuse(struct serial *s, const char *what, enum sp_return rc)
{
    char reason[SERIAL_REASON_MAX];
    int error = sp_reason(rc, reason);
    const char *node = node_of(s);

    if (rc == SP_ERR_MEM)
        return R_NO_MEMORY;
    if (means_gone(error) || (error == EIO && !serial_node_exists(node)))
        return R_GONE;
    if (error == EBUSY)
        return say_in_use(s);
    if (error == EACCES || error == EPERM)
        log_line(s->t.log, PLOG_CRITICAL,
                 "no permission for %s: its group must be pcscd. The udev rule of ifd-purse sees to it if a file in "
                 "reader.conf.d names the port; run: udevadm trigger %s",
                 node, node);
    else
        log_line(s->t.log, PLOG_CRITICAL, "%s: %s: %s%s", node, what, reason,
                 error == EIO ? " (is there a port behind this name?)" : "");
    return R_SYSTEM;
}

/* Nobody else shall read our answers away. TIOCEXCL keeps out whoever is not root and comes later; the lock is what
 * other well-behaved programs look at, and it also keeps a second reader of ours from the same port. */
static enum result take_alone(struct serial *s)
{
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return say_in_use(s);
    s->exclusive = ioctl(s->fd, TIOCEXCL) == 0; /* not every driver knows it: then without */
    return R_SUCCESS;
}

/* Everything in one call: each costs the same dozen ioctls. */
static enum sp_return set_line(struct serial *s)
{
    struct sp_port_config *c;
    enum sp_return rc = sp_new_config(&c);

    if (rc != SP_OK)
        return rc;
    if ((rc = sp_set_config_baudrate(c, (int)s->baud)) == SP_OK && (rc = sp_set_config_bits(c, 8)) == SP_OK &&
        (rc = sp_set_config_parity(c, SP_PARITY_NONE)) == SP_OK && (rc = sp_set_config_stopbits(c, 1)) == SP_OK &&
        (rc = sp_set_config_flowcontrol(c, SP_FLOWCONTROL_NONE)) == SP_OK &&
        (rc = sp_set_config_rts(c, SP_RTS_OFF)) == SP_OK && (rc = sp_set_config_dtr(c, SP_DTR_OFF)) == SP_OK)
        rc = sp_set_config(s->port, c);

    int error = errno; /* the caller asks why */

    sp_free_config(c);
    errno = error;
    return rc;
}

static void close_port(struct serial *s)
{
    char reason[SERIAL_REASON_MAX];
    enum sp_return rc;

    if (s->fd < 0)
        return;
    /* Or the kernel waits up to half a minute until a stuck port has sent the rest. Fails on a port that is gone. */
    (void)sp_flush(s->port, SP_BUF_BOTH);
    if (s->exclusive)
        (void)ioctl(s->fd, TIOCNXCL); /* a pty lives on and would keep it */
    s->exclusive = false;
    s->fd = -1;
    rc = sp_close(s->port);
    if (rc != SP_OK && !s->gone) {
        (void)sp_reason(rc, reason);
        log_line(s->t.log, PLOG_INFO, "closing %s: %s", node_of(s), reason);
    }
}

static enum result open_port(struct serial *s)
{
    const char *what = "cannot be opened";
    enum sp_return rc = sp_open(s->port, SP_MODE_READ_WRITE);
    enum result r;

    if (rc != SP_OK)
        return refuse(s, what, rc);
    rc = sp_get_port_handle(s->port, &s->fd);
    if (rc != SP_OK) {
        (void)sp_close(s->port);
        return refuse(s, "has no descriptor", rc);
    }
    r = take_alone(s);
    if (r == R_SUCCESS) {
        what = "cannot be set to 8 data bits, no parity, no flow control at the speed asked for";
        rc = set_line(s);
        if (rc == SP_OK) {
            what = "old input cannot be discarded";
            rc = sp_flush(s->port, SP_BUF_BOTH);
        }
        if (rc != SP_OK)
            r = refuse(s, what, rc);
    }
    if (r != R_SUCCESS)
        close_port(s);
    return r;
}

/* What of a USB adapter's texts can be shown and compared: printable ASCII, no blanks around it. */
static void copy_text(char to[TRANSPORT_TEXT_MAX], const char *from)
{
    size_t n = 0;

    for (; from && *from && n < TRANSPORT_TEXT_MAX - 1; from++)
        if (*from >= 0x20 && *from < 0x7f && (n > 0 || *from != ' '))
            to[n++] = *from;
    while (n > 0 && to[n - 1] == ' ')
        n--;
    to[n] = '\0';
}

static void fill_facts(struct serial *s)
{
    struct transport_facts *f = &s->t.facts;
    int vid, pid;

    f->form = "serial";
    if (sp_get_port_transport(s->port) != SP_TRANSPORT_USB)
        return;
    if (sp_get_port_usb_vid_pid(s->port, &vid, &pid) == SP_OK) {
        f->adapter.vid = (uint16_t)vid;
        f->adapter.pid = (uint16_t)pid;
    }
    copy_text(f->adapter.serial, sp_get_port_usb_serial(s->port));
    copy_text(f->adapter.product, sp_get_port_usb_product(s->port));
}

/* ---- moving bytes ---- */

/* Is it worth trying again? A full buffer is an error to some versions of the library, 0 bytes to others. */
static bool means_later(int moved)
{
    return moved < 0 && (errno == EINTR || errno == EAGAIN);
}

/* Waits for `events` at the port. R_SUCCESS: *happened says what poll() saw of them, POLLHUP and POLLERR included;
 * R_TIMEOUT, R_CANCELLED, R_GONE. One system call, unless a signal comes between. */
static enum result await(struct serial *s, short events, deadline_t until, short *happened)
{
    struct pollfd fds[2] = {{.fd = s->fd, .events = events}, {.fd = s->cancel_fd, .events = POLLIN}};
    int n;

    do
        n = poll(fds, 2, deadline_left_ms(until));
    while ((n < 0 && errno == EINTR) || (n == 0 && !deadline_passed(until)));
    if (n < 0) {
        log_fault(s->t.log, "poll on %s: %s", node_of(s), strerror(errno));
        return lose(s, "it cannot be waited for");
    }
    if (fds[1].revents != 0)
        return R_CANCELLED;
    if (fds[0].revents & POLLNVAL)
        return lose(s, "its descriptor was closed");
    *happened = fds[0].revents;
    return n == 0 ? R_TIMEOUT : R_SUCCESS;
}

/* Sends n bytes; on any other result than R_SUCCESS some of them may have been. */
static enum result send_bytes(struct serial *s, const uint8_t *data, size_t n, deadline_t until)
{
    unsigned barren = 0;

    for (;;) {
        int sent = (int)sp_nonblocking_write(s->port, data, n);
        short happened;
        enum result r;

        if (sent < 0 && !means_later(sent))
            return lose_by(s, (enum sp_return)sent);
        if (sent > 0) {
            barren = 0;
            data += sent;
            n -= (size_t)sent;
        } else if (++barren > SERIAL_BARREN_MAX) {
            return lose(s, "it is ready but takes nothing");
        }
        if (n == 0)
            return R_SUCCESS;
        r = await(s, POLLOUT, until, &happened);
        if (r != R_SUCCESS)
            return r;
        if (happened & (POLLHUP | POLLERR))
            return lose(s, "the other end closed");
    }
}

static enum result serial_write(struct transport *t, const uint8_t *data, size_t n, deadline_t until)
{
    struct serial *s = serial_of(t);
    enum result r;

    if (n == 0 || n > SERIAL_MESSAGE_MAX)
        return R_INVALID;
    if (s->gone)
        return R_GONE;
    if (atomic_load(&s->cancelled))
        return R_CANCELLED;
    if (deadline_passed(until))
        return R_TIMEOUT;
    r = send_bytes(s, data, n, until);
    if (r == R_TIMEOUT || r == R_CANCELLED) {
        log_fault(t->log, "%s takes no more bytes; the rest of a message is discarded", node_of(s));
        if (sp_flush(s->port, SP_BUF_OUTPUT) != SP_OK)
            return lose(s, "what was not sent cannot be taken back");
    }
    return r;
}

static enum result serial_read(struct transport *t, uint8_t *chunk, size_t cap, size_t *n, unsigned *pipe,
                               deadline_t until)
{
    struct serial *s = serial_of(t);

    if (cap < TRANSPORT_CHUNK_MAX)
        return R_INVALID;
    if (s->gone)
        return R_GONE;
    for (unsigned barren = 0; barren < SERIAL_BARREN_MAX; barren++) {
        short happened;
        enum result r = await(s, POLLIN, until, &happened);
        int got;

        if (r != R_SUCCESS)
            return r;
        got = (int)sp_nonblocking_read(s->port, chunk, TRANSPORT_CHUNK_MAX);
        if (got > 0) { /* also after a hang-up: what came before it did come */
            *n = (size_t)got;
            *pipe = 0;
            return R_SUCCESS;
        }
        if (got < 0 && !means_later(got))
            return lose_by(s, (enum sp_return)got);
        if (got == 0 && (happened & (POLLHUP | POLLERR)))
            return lose(s, "the other end closed");
        /* Nothing, though it was ready: a hang-up that only this call tells, or another program took the bytes. */
        if (got == 0 && (got = (int)sp_input_waiting(s->port)) < 0)
            return lose_by(s, (enum sp_return)got);
    }
    return lose(s, "it is ready but gives nothing; does another program read it, too?");
}

/* ---- the rest ---- */

static void serial_cancel(struct transport *t)
{
    struct serial *s = serial_of(t);

    atomic_store(&s->cancelled, true);
    (void)eventfd_write(s->cancel_fd, 1); /* fails only if it is readable already, beyond counting */
}

static enum result serial_reset(struct transport *t)
{
    struct serial *s = serial_of(t);
    enum result r;

    if (s->gone)
        return R_GONE;
    if (atomic_load(&s->cancelled))
        return R_CANCELLED;
    close_port(s);
    r = open_port(s);
    if (r != R_SUCCESS)
        return lose(s, "it could not be opened again");
    log_line(t->log, PLOG_INFO, "%s closed and opened again", node_of(s));
    return R_SUCCESS;
}

static void serial_close(struct transport *t)
{
    struct serial *s = serial_of(t);

    close_port(s);
    sp_free_port(s->port);
    if (s->cancel_fd >= 0)
        close(s->cancel_fd);
    explicit_bzero(s, sizeof *s);
    free(s);
}

static const struct transport_ops SERIAL_OPS = {
    .write = serial_write,
    .read = serial_read,
    .pending = NULL, /* it would cost a system call; read() with a deadline in the past is the same */
    .cancel = serial_cancel,
    .reset = serial_reset,
    .close = serial_close,
};

enum result serial_set_baud(struct transport *t, unsigned baud)
{
    struct serial *s = serial_of(t);
    enum sp_return rc = SP_ERR_ARG;
    enum result r;

    if (s->gone)
        return R_GONE;
    if (baud > 0 && baud <= INT_MAX) /* 0 would mean to hang up */
        rc = sp_set_baudrate(s->port, (int)baud);
    if (rc == SP_OK) {
        s->baud = baud;
        rc = sp_flush(s->port, SP_BUF_BOTH);
    }
    if (rc == SP_OK)
        return R_SUCCESS;
    if (rc == SP_ERR_FAIL && errno == EIO)
        return lose_by(s, rc);
    r = refuse(s, "another speed", rc);
    return r == R_GONE ? lose(s, "the node is gone") : r;
}

static enum result set_up(struct serial *s, const char *path)
{
    enum result r;

    s->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->cancel_fd < 0) {
        log_line(s->t.log, PLOG_CRITICAL, "no eventfd: %s", strerror(errno));
        return R_SYSTEM;
    }
    r = find_port(s, path);
    return r == R_SUCCESS ? open_port(s) : r;
}

enum result serial_open(struct transport **out, const char *path, unsigned baud, struct log *log)
{
    struct serial *s = calloc(1, sizeof *s);
    enum result r;

    *out = NULL;
    if (!s)
        return R_NO_MEMORY;
    s->t.ops = &SERIAL_OPS;
    s->t.log = log;
    s->fd = s->cancel_fd = -1;
    s->baud = baud;
    atomic_init(&s->cancelled, false);
    r = baud > 0 && baud <= INT_MAX ? set_up(s, path) : R_INVALID;
    if (r != R_SUCCESS) {
        serial_close(&s->t);
        return r;
    }
    fill_facts(s);
    if (s->t.facts.adapter.vid != 0)
        log_line(log, PLOG_INFO, "%s at %u baud, adapter %04x:%04x %s", node_of(s), baud,
                 (unsigned)s->t.facts.adapter.vid, (unsigned)s->t.facts.adapter.pid, s->t.facts.adapter.product);
    else
        log_line(log, PLOG_INFO, "%s at %u baud", node_of(s), baud);
    *out = &s->t;
    return R_SUCCESS;
}
