/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The storm's hand on the simulated readers, over the simulator's control socket (PURSE_SIM_CTL). Each thread has a
 * connection of its own, so requests of different threads do not wait for each other here.
 */
#include "storm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NODES "/dev/bus/usb/001"

static _Thread_local int ctl = -1;
static _Thread_local char reply[4096];

static pthread_mutex_t lives_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct slot *owners[LIVES];
static unsigned long lives;

static _Noreturn void no_simulator(const char *why)
{
    fprintf(stderr, "storm: the simulator: %s\n", why);
    exit(2);
}

static void dial(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("PURSE_SIM_CTL");

    if (!path || strlen(path) >= sizeof to.sun_path)
        no_simulator("PURSE_SIM_CTL does not name its socket");
    strcpy(to.sun_path, path);
    ctl = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ctl < 0 || connect(ctl, (struct sockaddr *)&to, sizeof to) != 0)
        no_simulator("it does not listen");
}

/* One line out, one line back into `reply`. */
static bool ask(const char *line, size_t n)
{
    size_t used = 0;

    if (ctl < 0)
        dial();
    if (write(ctl, line, n) != (ssize_t)n)
        no_simulator("it has gone");
    while (used == 0 || reply[used - 1] != '\n') {
        ssize_t k = used < sizeof reply ? read(ctl, reply + used, sizeof reply - used) : 0;

        if (k <= 0)
            no_simulator("no reply");
        used += (size_t)k;
    }
    reply[used - 1] = '\0';
    return strncmp(reply, "ok", 2) == 0;
}

bool sim(const char *fmt, ...)
{
    char line[256];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    return ask(line, (size_t)n);
}

void sim_hang_up(void)
{
    if (ctl >= 0)
        close(ctl);
    ctl = -1;
}

/* ---- cards ---- */

static unsigned long new_life(struct slot *s)
{
    unsigned long life;

    pthread_mutex_lock(&lives_mutex);
    life = ++lives;
    if (life >= LIVES)
        no_simulator("too many cards");
    owners[life] = s;
    pthread_mutex_unlock(&lives_mutex);
    return life;
}

struct slot *life_owner(unsigned long life)
{
    struct slot *s;

    pthread_mutex_lock(&lives_mutex);
    s = life < LIVES ? owners[life] : NULL;
    pthread_mutex_unlock(&lives_mutex);
    return s;
}

/* "INDEX VERB", or "INDEX icc VERB" for the contact slot beside a field. */
static void card_verb(struct slot *s, const char *verb, bool card)
{
    const char *icc = s->index == 1 ? "icc " : "";
    const char *iso = s->reader->kind != KIND_AET63 && s->index == 0 ? "iso:" : "";

    if (!card)
        (void)sim("%u %s%s", s->reader->sim, icc, verb);
    else if (s->reader->kind == KIND_AET63 && s->reader->sim % 2 == 0)
        (void)sim("%u %s echo-t0,start=%lu", s->reader->sim, verb, new_life(s) << LIFE_SHIFT);
    else
        (void)sim("%u %s%s %secho-t1,start=%lu", s->reader->sim, icc, verb, iso, new_life(s) << LIFE_SHIFT);
}

void card_insert(struct slot *s)
{
    card_verb(s, "insert", true);
}

void card_remove(struct slot *s)
{
    card_verb(s, "remove", false);
}

void card_swap(struct slot *s)
{
    if (s->index == 0) {
        card_verb(s, "swap", true);
        return;
    }
    card_remove(s);
    card_insert(s);
}

/* ---- readers ---- */

/* The device number in /sys, where a reader's place is its number in the simulator. */
static unsigned node_of(const struct reader *r)
{
    char path[64], text[16] = "";
    FILE *f;

    snprintf(path, sizeof path, "/sys/bus/usb/devices/1-%u/devnum", r->sim + 1);
    f = fopen(path, "re");
    if (f && !fgets(text, sizeof text, f))
        text[0] = '\0';
    if (f)
        fclose(f);
    return (unsigned)strtoul(text, NULL, 10);
}

void reader_plug(struct reader *r)
{
    if (!sim("%u plug", r->sim))
        no_simulator(reply);
    if (r->kind == KIND_SERIAL)
        return;
    unsigned node = node_of(r);
    if (node == 0)
        no_simulator("a plugged reader has no node");
    snprintf(r->name, sizeof r->name, "usb:%s:libudev:0:%s/%03u", r->kind == KIND_AET63 ? "072f/8002" : "0acd/3530",
             NODES, node);
}

void reader_unplug(struct reader *r)
{
    bus_hold();
    (void)sim("%u unplug", r->sim);
    bus_let_go();
}
