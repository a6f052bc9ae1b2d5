/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The wire between host and reader: counters, an optional record of every transfer, and faults.
 *
 * Both fronts call this file at the one moment when a packet (on a serial line: a byte) passes, not when it is queued.
 * So "the third packet from now" means the third that really goes over the wire, the record shows what the receiving
 * side got (after the fault), and a packet that was lost is in no record.
 *
 * A break is armed for the K-th packet of one direction and pipe, strikes once and is gone; any number can be armed,
 * and each counts for itself from the moment it was armed. If two are due at the same packet the one armed first
 * strikes.
 */
#include "sim_front.h"

#include <string.h>

/* A test that forgets to switch the record off must not eat the machine's memory. */
enum { TRACE_MAX = 4 * 1024 * 1024 };

static const char *pipe_name(enum sim_pipe pipe)
{
    switch (pipe) {
    case SIM_PIPE_CONTROL:
        return "control";
    case SIM_PIPE_INT_OUT:
    case SIM_PIPE_INT_IN:
        return "int";
    case SIM_PIPE_BULK_OUT:
    case SIM_PIPE_BULK_IN:
        return "bulk";
    case SIM_PIPE_SERIAL:
        return "serial";
    }
    return "?";
}

/* ---- breaks ---- */

static const struct {
    const char *name;
    enum sim_break_what what;
    unsigned long arg[2]; /* what is taken for arguments that are not given */
} BREAKS[] = {
    {"lose", SIM_BREAK_LOSE, {0, 0}},     {"flip", SIM_BREAK_FLIP, {0, 1}},   {"dup", SIM_BREAK_DUP, {0, 0}},
    {"trunc", SIM_BREAK_TRUNC, {1, 0}},   {"delay", SIM_BREAK_DELAY, {0, 0}}, {"stall", SIM_BREAK_STALL, {0, 0}},
    {"unplug", SIM_BREAK_UNPLUG, {0, 0}},
};

struct sim_break *sim_wire_strike(struct sim_reader *r, enum sim_dir dir, enum sim_pipe pipe)
{
    struct sim_break *due = NULL;

    for (guint i = 0; i < r->breaks->len; i++) {
        struct sim_break *b = r->breaks->pdata[i];
        if (b->dir != dir || (b->pipe != '*' && b->pipe != pipe_name(pipe)[0]))
            continue;
        if (b->countdown > 1)
            b->countdown--;
        else if (!due)
            due = b;
    }
    if (due) {
        guint at;
        g_ptr_array_find(r->breaks, due, &at);
        g_ptr_array_steal_index(r->breaks, at);
        r->stats.breaks++;
    }
    return due;
}

size_t sim_break_alter(const struct sim_break *b, uint8_t *data, size_t n)
{
    if (b->what == SIM_BREAK_FLIP && b->arg[0] < n)
        data[b->arg[0]] ^= (uint8_t)b->arg[1];
    if (b->what == SIM_BREAK_TRUNC && b->arg[0] < n)
        return b->arg[0];
    return n;
}

/* "DIR PIPE WHAT K [ARG [ARG]]", already cut at the spaces. */
static bool break_parse(struct sim_break *b, char **word, guint n, FILE *reply)
{
    size_t w;

    if (n < 4 || n > 6 || (strcmp(word[0], "in") != 0 && strcmp(word[0], "out") != 0) || !strchr("cibs*", word[1][0])) {
        fputs("usage: break in|out control|int|bulk|serial|* WHAT K [ARG [ARG]]", reply);
        return false;
    }
    for (w = 0; w < G_N_ELEMENTS(BREAKS) && strcmp(BREAKS[w].name, word[2]) != 0; w++)
        ;
    if (w == G_N_ELEMENTS(BREAKS)) {
        fprintf(reply, "no break called %s", word[2]);
        return false;
    }
    b->dir = strcmp(word[0], "in") == 0 ? SIM_IN : SIM_OUT;
    b->pipe = word[1][0];
    b->what = BREAKS[w].what;
    memcpy(b->arg, BREAKS[w].arg, sizeof b->arg);
    b->countdown = strtoul(word[3], NULL, 0);
    for (guint i = 4; i < n; i++)
        b->arg[i - 4] = strtoul(word[i], NULL, 0);
    if (b->countdown == 0)
        fputs("K counts from 1", reply);
    return b->countdown != 0;
}

static void break_list(const struct sim_reader *r, FILE *reply)
{
    for (guint i = 0; i < r->breaks->len; i++) {
        const struct sim_break *b = r->breaks->pdata[i];
        fprintf(reply, "%s%s:%c:%s:%lu", i ? " " : "", b->dir == SIM_IN ? "in" : "out", b->pipe, BREAKS[b->what].name,
                b->countdown);
    }
}

bool sim_wire_break(struct sim_reader *r, const char *args, FILE *reply)
{
    bool ok = true;

    if (strcmp(args, "clear") == 0) {
        g_ptr_array_set_size(r->breaks, 0);
    } else if (strcmp(args, "list") == 0) {
        break_list(r, reply);
    } else {
        char **word = g_strsplit(args, " ", -1);
        struct sim_break *b = g_new0(struct sim_break, 1);
        ok = break_parse(b, word, g_strv_length(word), reply);
        if (ok)
            g_ptr_array_add(r->breaks, b);
        else
            g_free(b);
        g_strfreev(word);
    }
    return ok;
}

/* ---- the record ---- */

static void append_hex(GString *s, const uint8_t *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        g_string_append_c(s, digits[data[i] >> 4]);
        g_string_append_c(s, digits[data[i] & 15]);
    }
}

/* One entry is ">control:SETUP:DATA", ">int:DATA", "<bulk:DATA", ...; serial bursts of one direction are one entry,
 * because where one read ends and the next begins is chance. */
static void record(struct sim_reader *r, enum sim_dir dir, enum sim_pipe pipe, const uint8_t *setup,
                   const uint8_t *data, size_t n)
{
    GString *t = r->trace;

    if (t->len + 2 * n + 32 > TRACE_MAX)
        return;
    if (pipe != SIM_PIPE_SERIAL || r->trace_last != (int)dir) {
        g_string_append_printf(t, "%s%c%s:", t->len ? " " : "", dir == SIM_OUT ? '>' : '<', pipe_name(pipe));
        if (setup) {
            append_hex(t, setup, 8);
            g_string_append_c(t, ':');
        }
    }
    append_hex(t, data, n);
    r->trace_last = pipe == SIM_PIPE_SERIAL ? (int)dir : -1;
}

void sim_wire_passed(struct sim_reader *r, enum sim_dir dir, enum sim_pipe pipe, const uint8_t *setup,
                     const uint8_t *data, size_t n)
{
    if (pipe == SIM_PIPE_CONTROL)
        r->stats.control++;
    else if (dir == SIM_IN)
        r->stats.in++;
    else
        r->stats.out++;
    if (dir == SIM_IN)
        r->stats.bytes_in += n;
    else
        r->stats.bytes_out += n;
    if (r->trace)
        record(r, dir, pipe, setup, data, n);
}

bool sim_wire_trace(struct sim_reader *r, const char *args, FILE *reply)
{
    if (strcmp(args, "on") == 0) {
        if (!r->trace)
            r->trace = g_string_new(NULL);
        g_string_truncate(r->trace, 0);
        r->trace_last = -1;
    } else if (strcmp(args, "off") == 0) {
        if (r->trace)
            g_string_free(r->trace, TRUE);
        r->trace = NULL;
    } else if (strcmp(args, "dump") == 0 && r->trace) {
        fputs(r->trace->str, reply);
    } else {
        fputs(r->trace ? "usage: wire on|off|dump" : "the wire is not recorded: wire on", reply);
        return false;
    }
    return true;
}

void sim_wire_stats(const struct sim_reader *r, FILE *reply)
{
    const struct sim_stats *s = &r->stats;

    fprintf(reply,
            "plugged=%d plugs=%lu in=%lu out=%lu control=%lu bytes_in=%lu bytes_out=%lu ioctls=%lu opens=%lu "
            "open=%lu resets=%lu breaks=%lu armed=%u",
            r->plugged, s->plugs, s->in, s->out, s->control, s->bytes_in, s->bytes_out, s->ioctls, s->opens, s->open,
            s->resets, s->breaks, r->breaks->len);
}
