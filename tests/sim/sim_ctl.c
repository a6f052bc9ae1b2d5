/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The control socket: a unix stream socket for any number of clients, one request a line, one reply a line.
 *
 *   readers                         all readers: "0:aet63:aet630:plugged ..."
 *   quit                            ends the program under test, then the simulator
 *   N plug|unplug|replug            N is a reader's index or name; the reply comes when the testbed has changed
 *   N stats                         key=value counters of the front
 *   N wire on|off|dump              record of every transfer (sim_wire.c says how an entry looks)
 *   N break DIR PIPE WHAT K [ARG]   a fault at the K-th coming packet; break list; break clear
 *   N message …                     a fault of one byte of one message (sim_message.c)
 *   N until MS GLOB REQUEST         repeats "N REQUEST" until its reply matches the pattern (error when MS are over):
 *                                   tests wait for what they want to see instead of sleeping
 *   N lines, N kdriver              what the front knows of its line or its kernel driver
 *   N anything else                 goes to the model
 *
 * Replies are "ok", "ok TEXT" or "error REASON". Everything here runs on the main thread, which takes the lock for each
 * request, except for plugging: that waits for other processes and takes the lock itself where it needs it.
 */
#include "sim_front.h"
#include "sim_message.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_LIMIT = 1 << 20, REPLY_SECONDS = 5, UNTIL_STEP_MS = 2 };

struct client {
    int fd;
    guint source;
    GString *in;
    /* an "until" that is still waiting; until_source is 0 when there is none */
    guint until_source;
    gint64 until_end;
    char *until_glob, *until_request;
};

static int listener = -1;
static guint listener_source;
static char *socket_path;
static void (*quit_program)(void);
static GPtrArray *clients;

/* ---- requests ---- */

static void list_readers(FILE *reply)
{
    struct sim_reader *r;

    for (unsigned i = 0; (r = sim_reader_at(i)) != NULL; i++)
        fprintf(reply, "%s%u:%s:%s:%s", i ? " " : "", i, r->ops->name, r->name, r->plugged ? "plugged" : "unplugged");
}

/* 1 done, 0 failed, -1 not one of these. Lock not held. */
static int plug_request(struct sim_reader *r, const char *verb, FILE *reply)
{
    bool ok = true;

    if (strcmp(verb, "plug") == 0) {
        ok = sim_reader_plug(r);
        if (!ok)
            fputs("it is plugged already, or the testbed refused", reply);
    } else if (strcmp(verb, "unplug") == 0) {
        ok = sim_reader_unplug(r);
        if (!ok)
            fputs("it is not plugged", reply);
    } else if (strcmp(verb, "replug") == 0) {
        sim_reader_unplug(r);
        ok = sim_reader_plug(r);
        if (!ok)
            fputs("the testbed refused", reply);
    } else {
        return -1;
    }
    return ok;
}

/* Lock held. */
static bool reader_request(struct sim_reader *r, const char *verb, const char *args, FILE *reply)
{
    if (strcmp(verb, "stats") == 0) {
        sim_wire_stats(r, reply);
        return true;
    }
    if (strcmp(verb, "break") == 0)
        return sim_wire_break(r, args, reply);
    if (strcmp(verb, "wire") == 0)
        return sim_wire_trace(r, args, reply);
    if (strcmp(verb, "message") == 0)
        return sim_message_control(r, args, sim_reader_yank, reply);
    int done = r->front_ops->control(r, verb, args, reply);
    return done >= 0 ? done : r->ops->control(r->model, verb, args, reply);
}

/* Cuts the first word off; returns what follows it. */
static char *next_word(char *text)
{
    char *rest = text + strcspn(text, " ");

    if (*rest)
        *rest++ = '\0';
    return rest + strspn(rest, " ");
}

static bool run_request(char *request, FILE *reply)
{
    char *verb = next_word(request), *args;
    struct sim_reader *r;

    if (strcmp(request, "readers") == 0) {
        sim_lock();
        list_readers(reply);
        sim_unlock();
        return true;
    }
    if (strcmp(request, "quit") == 0) {
        quit_program();
        return true;
    }
    args = next_word(verb);
    r = sim_reader_find(request);
    if (!r || *verb == '\0') {
        fputs(r ? "no request" : "no such reader", reply);
        return false;
    }
    int plugged = plug_request(r, verb, reply);
    if (plugged >= 0)
        return plugged;
    sim_lock();
    bool ok = reader_request(r, verb, args, reply);
    sim_unlock();
    return ok;
}

/* Runs a copy of the request; returns its whole reply without the newline. */
static char *reply_to(const char *request)
{
    char *copy = g_strdup(request), *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    bool ok = run_request(g_strstrip(copy), f);
    fclose(f);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n')
            text[i] = ' ';
    char *reply = g_strchomp(g_strconcat(ok ? "ok " : "error ", text, NULL));
    free(text);
    g_free(copy);
    return reply;
}

/* ---- clients ---- */

static void until_end(struct client *c)
{
    c->until_source = 0;
    g_clear_pointer(&c->until_glob, g_free);
    g_clear_pointer(&c->until_request, g_free);
}

static void client_free(struct client *c)
{
    if (c->until_source)
        g_source_remove(c->until_source);
    until_end(c);
    g_source_remove(c->source);
    close(c->fd);
    g_string_free(c->in, TRUE);
    g_ptr_array_remove(clients, c);
    g_free(c);
}

/* A client that does not read its reply within a few seconds loses it, and is not waited for any longer. */
static void client_write(struct client *c, const char *reply)
{
    char *line = g_strconcat(reply, "\n", NULL);
    size_t n = strlen(line);

    for (size_t at = 0; at < n;) {
        ssize_t k = send(c->fd, line + at, n - at, MSG_NOSIGNAL);
        if (k < 0 && errno != EINTR)
            break;
        at += k > 0 ? (size_t)k : 0;
    }
    g_free(line);
}

static void client_run(struct client *c);

static gboolean until_step(gpointer data)
{
    struct client *c = data;
    char *reply = reply_to(c->until_request);
    bool match = fnmatch(c->until_glob, reply, 0) == 0;

    if (!match && sim_now() < c->until_end) {
        g_free(reply);
        return G_SOURCE_CONTINUE;
    }
    until_end(c);
    if (match) {
        client_write(c, reply);
    } else {
        char *late = g_strconcat("error time is over, last reply: ", reply, NULL);
        client_write(c, late);
        g_free(late);
    }
    g_free(reply);
    client_run(c);
    return G_SOURCE_REMOVE;
}

/* "N until MS GLOB REQUEST". False: it is not one. */
static bool until_begin(struct client *c, const char *request)
{
    char **word = g_strsplit(request, " ", 5);
    bool is = g_strv_length(word) == 5 && strcmp(word[1], "until") == 0;

    if (is) {
        c->until_end = sim_now() + g_ascii_strtoll(word[2], NULL, 10) * 1000;
        c->until_glob = g_strdup(word[3]);
        c->until_request = g_strconcat(word[0], " ", word[4], NULL);
        c->until_source = g_timeout_add(UNTIL_STEP_MS, until_step, c);
    }
    g_strfreev(word);
    return is;
}

/* Answers every complete line, up to one that has to wait. */
static void client_run(struct client *c)
{
    char *end;

    while (c->until_source == 0 && (end = strchr(c->in->str, '\n')) != NULL) {
        char *request = g_strstrip(g_strndup(c->in->str, (gsize)(end - c->in->str)));
        g_string_erase(c->in, 0, end - c->in->str + 1);
        if (!until_begin(c, request)) {
            char *reply = reply_to(request);
            client_write(c, reply);
            g_free(reply);
        }
        g_free(request);
    }
}

static gboolean client_readable(gint fd, GIOCondition condition, gpointer data)
{
    struct client *c = data;
    char buf[4096];
    ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);

    (void)condition;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (n <= 0 || c->in->len > LINE_LIMIT || memchr(buf, '\0', (size_t)n)) {
        client_free(c);
        return G_SOURCE_CONTINUE; /* the source was removed above */
    }
    g_string_append_len(c->in, buf, n);
    client_run(c);
    return G_SOURCE_CONTINUE;
}

static gboolean client_accept(gint fd, GIOCondition condition, gpointer data)
{
    const struct timeval patience = {.tv_sec = REPLY_SECONDS};
    int s = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    (void)condition;
    (void)data;
    if (s < 0)
        return G_SOURCE_CONTINUE;
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct client *c = g_new0(struct client, 1);
    c->fd = s;
    c->in = g_string_new(NULL);
    c->source = g_unix_fd_add(s, G_IO_IN | G_IO_HUP | G_IO_ERR, client_readable, c);
    g_ptr_array_add(clients, c);
    return G_SOURCE_CONTINUE;
}

bool sim_ctl_listen(const char *path, void (*quit)(void))
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    quit_program = quit;
    clients = g_ptr_array_new();
    if (!path)
        return true;
    if (g_strlcpy(a.sun_path, path, sizeof a.sun_path) >= sizeof a.sun_path) {
        fprintf(stderr, "purse-sim: %s: too long for a socket\n", path);
        return false;
    }
    unlink(path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, SOMAXCONN) != 0) {
        fprintf(stderr, "purse-sim: %s: %s\n", path, strerror(errno));
        return false;
    }
    socket_path = g_strdup(path);
    listener_source = g_unix_fd_add(listener, G_IO_IN, client_accept, NULL);
    return true;
}

void sim_ctl_close(void)
{
    while (clients && clients->len > 0)
        client_free(clients->pdata[0]);
    g_clear_pointer(&clients, g_ptr_array_unref);
    if (listener_source)
        g_source_remove(listener_source);
    if (listener >= 0)
        close(listener);
    if (socket_path)
        unlink(socket_path);
    g_clear_pointer(&socket_path, g_free);
}
