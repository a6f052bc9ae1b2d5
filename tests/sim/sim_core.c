/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The simulator's core: the one lock, the timers and the list of readers.
 *
 * Timers are GLib sources on the I/O thread's context. A timer that another thread cancels may already have fired and
 * be waiting for the lock, so whether it is still wanted is decided by a table that only changes under the lock: a
 * cancelled timer is not in the table any more and its function is not called.
 *
 * The list of readers is filled before the first thread starts and does not change afterwards; only what a reader
 * contains needs the lock.
 */
#include "sim_front.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static GMainContext *io_context;
static GMainLoop *io_loop;
static GThread *io_thread;

static GHashTable *timers; /* id -> struct timer; guarded by the lock */
static unsigned last_timer;

static GPtrArray *readers;

void sim_lock(void)
{
    pthread_mutex_lock(&lock);
}

void sim_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

gint64 sim_now(void)
{
    return g_get_monotonic_time();
}

GMainContext *sim_io_context(void)
{
    return io_context;
}

/* ---- timers ---- */

struct timer {
    unsigned id;
    sim_timer_fn fn;
    void *arg;
    GSource *source;
};

static gboolean timer_fired(gpointer data)
{
    unsigned id = GPOINTER_TO_UINT(data);

    sim_lock();
    struct timer *t = g_hash_table_lookup(timers, GUINT_TO_POINTER(id));
    if (t) {
        sim_timer_fn fn = t->fn;
        void *arg = t->arg;
        g_hash_table_remove(timers, GUINT_TO_POINTER(id));
        fn(arg);
    }
    sim_unlock();
    return G_SOURCE_REMOVE;
}

static void timer_free(gpointer data)
{
    struct timer *t = data;

    g_source_destroy(t->source);
    g_source_unref(t->source);
    g_free(t);
}

unsigned sim_timer_add(unsigned ms, sim_timer_fn fn, void *arg)
{
    struct timer *t = g_new0(struct timer, 1);

    do
        t->id = ++last_timer;
    while (t->id == 0 || g_hash_table_contains(timers, GUINT_TO_POINTER(t->id)));
    t->fn = fn;
    t->arg = arg;
    t->source = g_timeout_source_new(ms);
    g_source_set_callback(t->source, timer_fired, GUINT_TO_POINTER(t->id), NULL);
    g_hash_table_insert(timers, GUINT_TO_POINTER(t->id), t);
    g_source_attach(t->source, io_context);
    return t->id;
}

void sim_timer_cancel(unsigned id)
{
    g_hash_table_remove(timers, GUINT_TO_POINTER(id));
}

static gpointer io_main(gpointer data)
{
    (void)data;
    g_main_context_push_thread_default(io_context);
    g_main_loop_run(io_loop);
    g_main_context_pop_thread_default(io_context);
    return NULL;
}

static gboolean io_quit(gpointer data)
{
    (void)data;
    g_main_loop_quit(io_loop);
    return G_SOURCE_REMOVE;
}

bool sim_core_start(void)
{
    timers = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, timer_free);
    readers = g_ptr_array_new();
    io_context = g_main_context_new();
    io_loop = g_main_loop_new(io_context, FALSE);
    io_thread = g_thread_new("io", io_main, NULL);
    return true;
}

static void cut(struct sim_reader *r)
{
    r->plugged = false;
    r->front_ops->cut(r);
}

/* The readers themselves are not freed: umockdev's worker still runs and may have an ioctl in hand. It finds a reader
 * that is cut off, and asks no model any more. */
void sim_core_stop(void)
{
    /* A source, not a direct quit: the loop may not even run yet, and would then miss it. */
    GSource *quit = g_idle_source_new();
    g_source_set_callback(quit, io_quit, NULL, NULL);
    g_source_attach(quit, io_context);
    g_source_unref(quit);
    g_thread_join(io_thread);
    sim_lock();
    for (guint i = 0; i < readers->len; i++) {
        struct sim_reader *r = readers->pdata[i];
        if (r->plugged)
            cut(r);
        r->ops->destroy(r->model);
        r->model = NULL;
    }
    sim_unlock();
}

/* ---- readers ---- */

static const struct sim_model_ops *find_model(const char *name)
{
    for (size_t i = 0; i < sim_models_count; i++)
        if (sim_models[i] && strcmp(sim_models[i]->name, name) == 0)
            return sim_models[i];
    return NULL;
}

/* Takes the options that belong to the core; false: not one of them. */
static bool take_option(struct sim_reader *r, const char *option, bool *usb)
{
    if (strcmp(option, "unplugged") == 0)
        r->start_unplugged = true;
    else if (strcmp(option, "usb") == 0)
        *usb = true;
    else if (g_str_has_prefix(option, "tty=")) {
        g_free(r->tty);
        r->tty = g_strdup(option + 4);
    } else if (g_str_has_prefix(option, "name="))
        g_strlcpy(r->name, option + 5, sizeof r->name);
    else if (g_str_has_prefix(option, "pace="))
        r->pace = (unsigned)g_ascii_strtoull(option + 5, NULL, 10);
    else if (strcmp(option, "interval=real") == 0)
        r->real_interval = true;
    else if (strcmp(option, "interval=none") != 0)
        return false;
    return true;
}

/* Returns the options that are the model's, joined again; g_free. */
static char *split_options(struct sim_reader *r, const char *options, bool *usb)
{
    char **list = g_strsplit(options, ",", -1);
    GString *rest = g_string_new(NULL);

    for (char **o = list; *o; o++) {
        if (**o == '\0' || take_option(r, *o, usb))
            continue;
        if (rest->len)
            g_string_append_c(rest, ',');
        g_string_append(rest, *o);
    }
    g_strfreev(list);
    return g_string_free(rest, FALSE);
}

/* A reader that could not be built; nothing else knows it yet. */
static void reader_free(struct sim_reader *r)
{
    if (r->model)
        r->ops->destroy(r->model);
    g_ptr_array_free(r->breaks, TRUE);
    g_free(r->tty);
    g_free(r);
}

static bool reader_build(struct sim_reader *r, const char *options)
{
    bool usb = false;
    char *rest = split_options(r, options, &usb);

    if (r->tty && (usb || r->tty[0] == '\0' || strchr(r->tty, '/'))) {
        fprintf(stderr, "purse-sim: %s: tty=NAME wants a plain name and no usb\n", r->name);
        g_free(rest);
        return false;
    }
    r->front_ops = r->tty ? &sim_front_serial : &sim_front_usb;
    sim_lock();
    r->model = r->ops->create(r, rest);
    sim_unlock();
    g_free(rest);
    return r->model && r->front_ops->create(r);
}

struct sim_reader *sim_reader_new(const char *spec)
{
    char *model = g_strndup(spec, strcspn(spec, ":"));
    const struct sim_model_ops *ops = find_model(model);
    struct sim_reader *r = NULL;

    if (!ops) {
        fprintf(stderr, "purse-sim: no model \"%s\"\n", model);
    } else {
        r = g_new0(struct sim_reader, 1);
        r->index = readers->len;
        r->ops = ops;
        r->breaks = g_ptr_array_new_with_free_func(g_free);
        r->trace_last = -1;
        g_snprintf(r->name, sizeof r->name, "%s%u", model, r->index);
        if (reader_build(r, spec[strlen(model)] == ':' ? spec + strlen(model) + 1 : "")) {
            g_ptr_array_add(readers, r);
        } else {
            reader_free(r);
            r = NULL;
        }
    }
    g_free(model);
    return r;
}

struct sim_reader *sim_reader_at(unsigned index)
{
    return index < readers->len ? readers->pdata[index] : NULL;
}

struct sim_reader *sim_reader_find(const char *text)
{
    char *end;
    guint64 index = g_ascii_strtoull(text, &end, 10);

    if (g_ascii_isdigit(text[0]) && *end == '\0')
        return index < readers->len ? readers->pdata[index] : NULL;
    for (guint i = 0; i < readers->len; i++) {
        struct sim_reader *r = readers->pdata[i];
        if (strcmp(r->name, text) == 0)
            return r;
    }
    return NULL;
}

/* ---- plug and unplug ---- */

void sim_reader_power_on(struct sim_reader *r)
{
    r->plugged = r->powered = true;
    r->stats.plugs++;
    if (r->ops->power)
        r->ops->power(r->model, true);
}

/* Main thread: the slow half of an unplugging, for a reader that was cut off. The model learns of it only here: the
 * cut may have come from inside one of its own functions. */
static void reader_vanish(struct sim_reader *r)
{
    sim_lock();
    bool alive = r->plugged;
    if (!alive && r->powered) {
        r->powered = false;
        if (r->ops->power)
            r->ops->power(r->model, false);
    }
    sim_unlock();
    if (!alive && r->in_testbed) {
        r->in_testbed = false;
        r->front_ops->vanish(r);
    }
}

bool sim_reader_plug(struct sim_reader *r)
{
    reader_vanish(r); /* it may have been yanked a moment ago */
    if (r->in_testbed)
        return false;
    r->in_testbed = true; /* before plug(): the host may use, and a test yank, the reader before plug() returns */
    if (!r->front_ops->plug(r)) {
        r->in_testbed = false;
        return false;
    }
    return true;
}

bool sim_reader_unplug(struct sim_reader *r)
{
    sim_lock();
    bool was = r->plugged;
    if (was)
        cut(r);
    sim_unlock();
    reader_vanish(r);
    return was;
}

static gboolean vanish_idle(gpointer data)
{
    reader_vanish(data);
    return G_SOURCE_REMOVE;
}

void sim_reader_yank(struct sim_reader *r)
{
    if (!r->plugged)
        return;
    cut(r);
    g_idle_add_full(G_PRIORITY_HIGH, vanish_idle, r, NULL);
}

/* ---- what models call ---- */

void sim_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    if (r->plugged)
        r->front_ops->send(r, pipe, data, n);
}

void sim_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    if (r->plugged)
        r->front_ops->stall(r, pipe);
}

unsigned sim_line_speed(struct sim_reader *r)
{
    return r->front_ops->line_speed ? r->front_ops->line_speed(r) : 0;
}

void sim_log(struct sim_reader *r, const char *fmt, ...)
{
    va_list ap;

    flockfile(stderr);
    fprintf(stderr, "purse-sim: %s: ", r->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    funlockfile(stderr);
}
