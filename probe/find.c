/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which readers are there (find.h). USB readers tell by their ids. A serial port tells nothing: it is written to only
 * if the user names it, or reader.conf.d gives it to this driver; the others are only offered.
 */
#include "probe/find.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probe/doctor.h"
#include "probe/hostlog.h"
#include "probe/ports.h"

enum { TARGETS_MAX = SEEN_MAX + DOCTOR_RECORDS, STATUS_FINDINGS = 1, STATUS_USAGE = 2 };

struct target {
    bool serial;
    struct usb_seen usb;
    char device[RECORD_TEXT]; /* serial: as in DEVICENAME */
};

struct targets {
    const struct options *o;
    struct target list[TARGETS_MAX];
    size_t count;
    struct usb_seen usb[SEEN_MAX];
    size_t usb_count;
    struct doctor conf; /* its records */
};

static void add_usb(struct targets *t, const struct usb_seen *u)
{
    if (t->count < TARGETS_MAX)
        t->list[t->count++] = (struct target){.usb = *u};
}

static void add_serial(struct targets *t, const char *device)
{
    if (t->count == TARGETS_MAX)
        return;
    t->list[t->count] = (struct target){.serial = true};
    (void)snprintf(t->list[t->count++].device, RECORD_TEXT, "%s", device);
}

/* A reader named on the command line. False: the name makes no sense, or there is no such reader. */
static bool add_named(struct targets *t, const char *name)
{
    char path[RECORD_TEXT];
    const char *options;
    unsigned vid, pid;
    int n = 0;
    bool found = false;

    if (name[0] == '/') {
        add_serial(t, name);
        found = !devicename_split(name, path, sizeof path, &options) || access(path, F_OK) == 0;
        if (!found)
            fprintf(stderr, "%s is not there\n", path);
        return found;
    }
    if (sscanf(name, "%4x:%4x%n", &vid, &pid, &n) < 2 || name[n]) {
        fprintf(stderr, "%s: a reader is VID:PID, or the path of a serial port\n", name);
        return false;
    }
    for (size_t i = 0; i < t->usb_count; i++)
        if (t->usb[i].vid == vid && t->usb[i].pid == pid) {
            add_usb(t, &t->usb[i]);
            found = true;
        }
    if (!found)
        fprintf(stderr, "%04X:%04X is not plugged in, or not a reader of this driver (setting usb_id)\n", vid, pid);
    return found;
}

static void add_all(struct targets *t)
{
    for (size_t i = 0; i < t->usb_count; i++)
        add_usb(t, &t->usb[i]);
    for (size_t i = 0; i < t->conf.record_count; i++)
        if (t->conf.records[i].has_device && !t->conf.records[i].device_quoted)
            add_serial(t, t->conf.records[i].device);
}

static void offer_ports(const struct targets *t)
{
    struct port ports[PORTS_MAX];
    size_t n = ports_list(ports, PORTS_MAX);

    (void)t;
    if (n > 0)
        printf("Serial ports of this machine. One with a ViVOpay reader on it has to be named, for example "
               "`ifd-purse-probe %s':\n",
               ports[0].path);
    for (size_t i = 0; i < n; i++)
        printf("  %s  %s\n", ports[i].path, ports[i].description);
}

static void list_targets(const struct targets *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct target *x = &t->list[i];

        if (x->serial)
            printf("  %s  ViVOpay, by reader.conf.d\n", x->device);
        else
            printf("  %04X:%04X  %s %s at %s\n", x->usb.vid, x->usb.pid, x->usb.family == 'a' ? "AET63" : "ViVOpay",
                   x->usb.product, x->usb.node);
    }
    if (t->count == 0)
        printf("There is no reader on the USB bus, and reader.conf.d names none. If one is plugged in, "
               "`ifd-purse-probe --doctor' says more.\n");
    offer_ports(t);
}

/* A node that cannot be opened says nothing about the reader behind it: no row may be judged by it. */
static bool can_open(const char *node)
{
    if (access(node, R_OK | W_OK) == 0)
        return true;
    if (errno == EACCES || errno == EPERM)
        fprintf(stderr, "%s: no permission; run this as root\n", node);
    else
        fprintf(stderr, "%s: %s\n", node, errno == ENOENT ? "is not there" : strerror(errno));
    return false;
}

/* ---- others ------------------------------------------------------------------------------------------------------ */

/* pcscd must not have the reader; another program that has its node open may do no harm, and is named. */
static bool is_free(const struct options *o, const char *node)
{
    struct process p;
    char line[16];

    while (system_node_holder(o->root, node, true, &p)) {
        printf("pcscd (process %d) works with the reader, and two cannot. Stop it until this is done:\n"
               "    systemctl stop pcscd.socket pcscd.service      (or: kill %d)\n"
               "and afterwards: systemctl start pcscd.socket\n",
               (int)p.pid, (int)p.pid);
        if (o->asking != ASK_USER)
            return false;
        printf("Press Enter when that is done, or q and Enter to give up: ");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin) || line[0] == 'q')
            return false;
    }
    if (system_node_holder(o->root, node, false, &p))
        printf("(%s, process %d, has %s open, too; if the reader does not answer, end that program)\n", p.name,
               (int)p.pid, node);
    return true;
}

/* ---- one after the other ----------------------------------------------------------------------------------------- */

/* -1: it could not be probed; else how many rows were contradicted. */
static int probe_one(const struct options *o, const struct target *x)
{
    struct probe *p = calloc(1, sizeof *p);
    int against = -1;

    if (!p)
        return -1;
    p->o = o;
    p->serial = x->serial;
    p->usb = x->usb;
    p->family = x->serial ? 'v' : x->usb.family;
    if (x->serial && !devicename_split(x->device, p->path, sizeof p->path, &p->conf_options))
        fprintf(stderr, "%s: too long\n", x->device);
    else if (can_open(x->serial ? p->path : x->usb.node) && is_free(o, x->serial ? p->path : x->usb.node))
        against = session_run(p);
    explicit_bzero(p, sizeof *p);
    free(p);
    return against;
}

static int probe_all(const struct targets *t)
{
    int status = t->count == 0 ? STATUS_FINDINGS : 0;

    if (t->o->asking == ASK_NOT)
        printf("No card will be asked for: rows that need one are not tried.\n");
    for (size_t i = 0; i < t->count; i++) {
        if (i > 0)
            putchar('\n');
        if (probe_one(t->o, &t->list[i]) != 0)
            status = STATUS_FINDINGS;
    }
    return status;
}

int find_and_probe(const struct options *o, char *const *names, size_t count, bool list)
{
    static struct targets t; /* large, and of one use */
    struct log log;
    int status = 0;

    t.o = o;
    log_init(&log, PLOG_CRITICAL, "");
    t.usb_count = system_usb_readers(o->root, t.usb, SEEN_MAX, &log);
    doctor_records(&t.conf, o->root, &log);
    for (size_t i = 0; i < count; i++)
        if (!add_named(&t, names[i]))
            status = STATUS_USAGE;
    if (count == 0)
        add_all(&t);
    if (status == 0 && (list || t.count == 0))
        list_targets(&t);
    if (status == 0 && !list)
        status = probe_all(&t);
    log_done(&log);
    return status;
}
