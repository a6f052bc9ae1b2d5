/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * purse-sim: simulated readers, and a program that sees them as real.
 *
 *   purse-sim [--ctl PATH] [--ready FD] --reader MODEL[:key=value,...] [--reader ...] -- COMMAND ARGS...
 *   purse-sim [--ctl PATH] [--ready FD] --hold --reader ...
 *
 * COMMAND runs inside the testbed (environment UMOCKDEV_DIR and LD_PRELOAD; PURSE_SIM_CTL names the control socket) and
 * the simulator ends with its status. SIGTERM and SIGINT go on to it. With --hold and no COMMAND the environment is
 * printed, one NAME=VALUE a line, and the simulator runs until a signal or "quit". --ready: a line is written to that
 * descriptor, and the descriptor closed, when all readers are there and the control socket listens.
 *
 * Options of every reader: unplugged (start so), name=NAME, tty=NAME (a serial reader at /dev/NAME), usb (the default),
 * pace=BAUD (serial), interval=real|none (interrupt endpoints); everything else is the model's.
 *
 * The simulator must not live in its own testbed. If it was started with the preload library (by umockdev-wrapper, out
 * of habit) it starts itself again without.
 */
#include "sim_front.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRELOAD "libumockdev-preload.so.0"

enum { EXIT_USAGE = 2, EXIT_NO_COMMAND = 127, EXIT_SIGNAL = 128 };

struct options {
    const char *ctl;
    int ready_fd;
    bool hold;
    GPtrArray *readers; /* const char *, as given */
    char **command;
};

static GMainLoop *loop;
static GPid child;
static int exit_status;

static int usage(void)
{
    fputs("usage: purse-sim [--ctl PATH] [--ready FD] --reader MODEL[:key=value,...] [--reader ...] "
          "-- COMMAND ARGS... | --hold\nmodels:",
          stderr);
    for (size_t i = 0; i < sim_models_count; i++)
        if (sim_models[i])
            fprintf(stderr, " %s", sim_models[i]->name);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

static bool parse(struct options *o, int argc, char **argv)
{
    int i;

    o->ready_fd = -1;
    o->readers = g_ptr_array_new();
    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--hold") == 0)
            o->hold = true;
        else if (strcmp(argv[i], "--ctl") == 0 && more)
            o->ctl = argv[++i];
        else if (strcmp(argv[i], "--ready") == 0 && more)
            o->ready_fd = (int)g_ascii_strtoll(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--reader") == 0 && more)
            g_ptr_array_add(o->readers, argv[++i]);
        else
            return false;
    }
    if (i + 1 < argc)
        o->command = argv + i + 1;
    return o->readers->len > 0 && (o->command != NULL) != o->hold;
}

/* ---- the preload library: not for us, but for the child ---- */

static void leave_testbed(char **argv)
{
    const char *preload = g_getenv("LD_PRELOAD");

    if (!preload || !strstr(preload, PRELOAD))
        return;
    GString *rest = g_string_new(NULL);
    char **libs = g_strsplit_set(preload, ": ", -1);
    for (char **l = libs; *l; l++)
        if (**l && !strstr(*l, PRELOAD))
            g_string_append_printf(rest, "%s%s", rest->len ? ":" : "", *l);
    g_setenv("LD_PRELOAD", rest->str, TRUE);
    execv("/proc/self/exe", argv);
    fprintf(stderr, "purse-sim: starting again: %s\n", strerror(errno));
    exit(EXIT_NO_COMMAND);
}

/* Behind what is there already: a sanitizer's library wants to be the first. */
static char *preload_for_child(void)
{
    const char *preload = g_getenv("LD_PRELOAD");

    return preload && *preload ? g_strconcat(preload, ":" PRELOAD, NULL) : g_strdup(PRELOAD);
}

/* ---- the child ---- */

static void prepare_child(gpointer parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != GPOINTER_TO_INT(parent))
        _exit(EXIT_SIGNAL + SIGTERM); /* it was too late for the death signal */
}

static void child_ended(GPid pid, gint status, gpointer data)
{
    (void)data;
    g_spawn_close_pid(pid);
    child = 0;
    exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL + WTERMSIG(status);
    g_main_loop_quit(loop);
}

static bool spawn(const struct options *o)
{
    char *preload = preload_for_child();
    char **env = g_environ_setenv(g_get_environ(), "LD_PRELOAD", preload, TRUE);
    GError *error = NULL;

    env = g_environ_setenv(env, "UMOCKDEV_DIR", sim_testbed_root(), TRUE);
    if (o->ctl)
        env = g_environ_setenv(env, "PURSE_SIM_CTL", o->ctl, TRUE);
    const GSpawnFlags flags = G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CHILD_INHERITS_STDIN |
                              G_SPAWN_LEAVE_DESCRIPTORS_OPEN;
    bool ok = g_spawn_async(NULL, o->command, env, flags, prepare_child, GINT_TO_POINTER(getpid()), &child, &error);
    if (ok) {
        g_child_watch_add(child, child_ended, NULL);
    } else {
        fprintf(stderr, "purse-sim: %s\n", error->message);
        g_error_free(error);
    }
    g_strfreev(env);
    g_free(preload);
    return ok;
}

static void stop(int sig)
{
    if (child)
        kill(child, sig);
    else
        g_main_loop_quit(loop);
}

static void quit_requested(void)
{
    stop(SIGTERM);
}

static gboolean on_signal(gpointer sig)
{
    stop(GPOINTER_TO_INT(sig));
    return G_SOURCE_CONTINUE;
}

/* ---- start and end ---- */

static bool make_readers(const struct options *o)
{
    for (guint i = 0; i < o->readers->len; i++) {
        struct sim_reader *r = sim_reader_new(o->readers->pdata[i]);
        if (!r)
            return false;
        if (!r->start_unplugged && !sim_reader_plug(r))
            return false;
    }
    return true;
}

static void tell_ready(const struct options *o)
{
    if (o->hold) {
        char *preload = preload_for_child();
        printf("UMOCKDEV_DIR=%s\nLD_PRELOAD=%s\n", sim_testbed_root(), preload);
        fflush(stdout);
        g_free(preload);
    }
    if (o->ready_fd >= 0) {
        if (write(o->ready_fd, "ready\n", 6) != 6)
            fprintf(stderr, "purse-sim: --ready: %s\n", strerror(errno));
        close(o->ready_fd);
    }
}

static int run(const struct options *o)
{
    if (!make_readers(o) || !sim_ctl_listen(o->ctl, quit_requested))
        return EXIT_USAGE;
    tell_ready(o);
    if (o->command && !spawn(o))
        return EXIT_NO_COMMAND;
    g_main_loop_run(loop);
    return exit_status;
}

int main(int argc, char **argv)
{
    struct options o = {0};

    if (!parse(&o, argc, argv))
        return usage();
    leave_testbed(argv);
    signal(SIGPIPE, SIG_IGN);
    loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_signal, GINT_TO_POINTER(SIGTERM));
    g_unix_signal_add(SIGINT, on_signal, GINT_TO_POINTER(SIGINT));
    if (!sim_testbed_open() || !sim_core_start())
        return EXIT_USAGE;
    int status = run(&o);
    sim_ctl_close();
    sim_core_stop();
    sim_testbed_close();
    g_main_loop_unref(loop);
    g_ptr_array_unref(o.readers);
    return status;
}
