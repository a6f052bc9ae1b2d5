/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the simulator's own files share behind sim.h: the reader, the front's operations, the wire between both.
 *
 * Threads. Three run: the main thread (control socket, plugging, the child), the I/O thread (timers, pty masters) and
 * umockdev's worker (ioctls). One lock guards every reader and model. Two things are never done with it held, because
 * they wait for another process: talking to the testbed (nodes, sysfs, uevents) and reading a client's memory. That
 * is why a reader goes in two steps: cut() under the lock makes the link dead at this very byte, vanish() on the main
 * thread then takes the device out of the testbed.
 *
 * A transfer passes the wire exactly once, and there it is counted, recorded and, if a test asked for it, broken.
 */
#ifndef PURSE_SIM_FRONT_H
#define PURSE_SIM_FRONT_H

#include "sim.h"

#include <glib.h>

enum sim_dir { SIM_OUT, SIM_IN }; /* as the host sees it */

struct sim_stats {
    unsigned long in, out, control;    /* transfers; serial: bursts */
    unsigned long bytes_in, bytes_out; /* of data, without setup bytes */
    unsigned long ioctls, opens, open; /* open: file handles open now */
    unsigned long plugs, resets, breaks;
};

enum sim_break_what {
    SIM_BREAK_LOSE,
    SIM_BREAK_FLIP,  /* arg[0]: offset in the packet (serial: not used), arg[1]: mask */
    SIM_BREAK_DUP,   /* the packet or byte comes twice */
    SIM_BREAK_TRUNC, /* arg[0]: USB: bytes that remain; serial: bytes lost beginning with this one */
    SIM_BREAK_DELAY, /* arg[0]: milliseconds */
    SIM_BREAK_STALL,
    SIM_BREAK_UNPLUG /* the packet or byte does not arrive any more */
};

struct sim_break {
    enum sim_dir dir;
    int pipe; /* as in a request: 'c', 'i', 'b', 's' or '*' */
    enum sim_break_what what;
    unsigned long countdown;
    unsigned long arg[2];
};

struct sim_front_ops;

struct sim_reader {
    unsigned index;
    char name[32];
    const struct sim_model_ops *ops;
    struct sim_model *model;
    const struct sim_front_ops *front_ops;
    void *front;

    /* from the command line */
    char *tty;          /* name below /dev; NULL: a USB reader */
    unsigned pace;      /* baud rate at which a serial line passes bytes; 0: at once */
    bool real_interval; /* interrupt endpoints pass one packet per bInterval */
    bool start_unplugged;

    bool plugged;    /* guarded by the lock: bytes can pass */
    bool powered;    /* guarded by the lock: the model was told that it has power */
    bool in_testbed; /* main thread only: node and sysfs entries exist */

    struct sim_stats stats;
    GPtrArray *breaks; /* struct sim_break, armed */
    GString *trace;    /* NULL: not recording */
    int trace_last;    /* direction of the last entry if it was a serial burst (the next is joined to it), else -1 */
};

struct sim_front_ops {
    bool (*create)(struct sim_reader *r); /* main thread, once; false after a message: no such reader */
    bool (*plug)(struct sim_reader *r);   /* main thread, lock not held */
    void (*cut)(struct sim_reader *r);    /* lock held: from now on no byte passes */
    void (*vanish)(struct sim_reader *r); /* main thread, lock not held: out of the testbed */
    void (*send)(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n);
    void (*stall)(struct sim_reader *r, enum sim_pipe pipe);
    /* A request that the front knows ("lines", "kdriver"). Lock held. Returns 1 done, 0 failed (reason in reply),
     * -1 not a verb of this front. */
    int (*control)(struct sim_reader *r, const char *verb, const char *args, FILE *reply);
    unsigned (*line_speed)(struct sim_reader *r); /* may be NULL */
};

extern const struct sim_front_ops sim_front_usb, sim_front_serial; /* who links another front decides which */
extern const struct sim_model_ops *const sim_models[]; /* a model that was not linked is NULL */
extern const size_t sim_models_count;

/* ---- sim_core.c: readers, timers ---- */

bool sim_core_start(void);
void sim_core_stop(void); /* cuts every reader, destroys the models, ends the I/O thread */
GMainContext *sim_io_context(void);
gint64 sim_now(void); /* microseconds, monotonic */

struct sim_reader *sim_reader_new(const char *spec); /* MODEL[:key=value,...]; NULL after a message on stderr */
struct sim_reader *sim_reader_find(const char *index_or_name);
struct sim_reader *sim_reader_at(unsigned index); /* NULL behind the last */

/* Main thread, lock not held. False: already so, or the testbed refused (message on stderr). */
bool sim_reader_plug(struct sim_reader *r);
bool sim_reader_unplug(struct sim_reader *r);
/* For a front's plug(), lock held, when its own queues are ready: bytes pass from here on. */
void sim_reader_power_on(struct sim_reader *r);
/* Any thread, lock held: dead at once, out of the testbed as soon as the main thread gets to it. */
void sim_reader_yank(struct sim_reader *r);

/* ---- sim_wire.c: count, record, break ---- */

/* Counts one packet (serial: one byte) towards the armed breaks. Returns the one that strikes now (the caller frees it
 * with g_free) or NULL. */
struct sim_break *sim_wire_strike(struct sim_reader *r, enum sim_dir dir, enum sim_pipe pipe);
/* One transfer passed: counts it and, when recording, notes it. setup: control requests only, else NULL. */
void sim_wire_passed(struct sim_reader *r, enum sim_dir dir, enum sim_pipe pipe, const uint8_t *setup,
                     const uint8_t *data, size_t n);
/* Applies FLIP and TRUNC to a packet; returns its new length. */
size_t sim_break_alter(const struct sim_break *b, uint8_t *data, size_t n);
/* "break ..." and "wire ..." requests: as sim_model_ops.control. */
bool sim_wire_break(struct sim_reader *r, const char *args, FILE *reply);
bool sim_wire_trace(struct sim_reader *r, const char *args, FILE *reply);
void sim_wire_stats(const struct sim_reader *r, FILE *reply);

/* ---- sim_testbed.c: umockdev ---- */

struct _UMockdevTestbed;
struct _UMockdevIoctlBase;

bool sim_testbed_open(void);
void sim_testbed_close(void);
const char *sim_testbed_root(void);
char *sim_testbed_path(const char *path); /* where PATH lies in the testbed; parent folders exist; g_free */
bool sim_testbed_attach(const char *node, struct _UMockdevIoctlBase *base);
/* Takes the node (if it is still there) and its socket away when no open() can be on its way any more. */
void sim_testbed_detach_later(const char *node, struct _UMockdevIoctlBase *base);
/* attrs: name, value, ..., NULL, with the newline that sysfs has; props likewise. Returns the sysfs path, g_free. */
char *sim_testbed_add(const char *subsystem, const char *name, const char *parent, char **attrs, char **props);
void sim_testbed_blob(const char *syspath, const char *attr, const uint8_t *data, size_t n);
void sim_testbed_uevent(const char *action, const char *syspath, const char *subsystem, char **props);
void sim_testbed_remove(const char *syspath, const char *node); /* node: its /dev name or NULL; the node itself stays */

/* ---- sim_ctl.c: the control socket ---- */

bool sim_ctl_listen(const char *path, void (*quit)(void));
void sim_ctl_close(void);

#endif
