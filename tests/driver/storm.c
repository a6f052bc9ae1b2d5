/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The storm's clients and cases; storm.h tells what it is.
 *
 *   storm DIRECTORY [CASE…]     as the program inside of purse-sim, with the readers that storm.sh gives it; DIRECTORY
 * holds the built handlers. Prints PASS or FAIL for each case.
 *
 * STORM_SEED names the sequence of random numbers (printed, so that a run can be had again: the threads' order cannot),
 * STORM_ROUNDS how much is done, in percent. STORM_LOG=1 shows the driver's log.
 *
 * What a client can tell of right and wrong: its command adds 1 to the card's counter and returns it. Every card that
 * is ever put in counts from a number of its own, so each answer says which card gave it and how often it has executed
 * the command. An answer of another slot's card, an earlier answer, and a counter that went on by more than the number
 * of commands sent are all failures, whatever was pulled out meanwhile. An error is none: a storm is full of them. But
 * after it every slot must work again, without an error.
 */
#include "storm.h"

#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE_SECONDS = 30, SETTLED = 5, SLOW_MS = 200, CLOSED_MS = 600 };

#define peek(x)    atomic_load_explicit(&(x), memory_order_relaxed)
#define poke(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)

struct reader readers[READERS];

static struct slot *slots[SLOTS];
static atomic_bool calm; /* clients end */
static atomic_ulong failures;
static unsigned long seed, percent = 100;
static pthread_t clients[SLOTS];

struct slot *slot_at(unsigned number)
{
    return slots[number];
}

void fail(const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed) < 20)
        printf("  %s\n", text);
    fflush(stdout);
}

/* xorshift64*, one sequence for each thread. */
unsigned dice(unsigned n)
{
    static _Thread_local uint64_t x;
    static atomic_uint threads;

    if (x == 0)
        x = (seed + 1) * 0x9E3779B97F4A7C15u +
            atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) * 0x632BE59Bu;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return n == 0 ? 0 : (unsigned)((x * 0x2545F4914F6CDD1Du >> 33) % n);
}

void pause_us(unsigned us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

    if (us > 0)
        nanosleep(&t, NULL);
}

static unsigned rounds(unsigned n)
{
    unsigned scaled = (unsigned)(n * percent / 100);

    return scaled > 0 ? scaled : 1;
}

/* ---- what a client does ---- */

static bool may_fail_with(RESPONSECODE rc)
{
    return rc == IFD_ICC_NOT_PRESENT || rc == IFD_COMMUNICATION_ERROR || rc == IFD_RESPONSE_TIMEOUT ||
           rc == IFD_NO_SUCH_DEVICE;
}

/* Mutex held. */
static void judge_count(struct slot *s, const uint8_t *answer, size_t n)
{
    unsigned long value = 0, life, count, before;

    if (n != 6 || answer[4] != 0x90 || answer[5] != 0x00) {
        fail("slot %u: %zu bytes as an answer, SW %02X%02X", s->number, n, n > 1 ? answer[n - 2] : 0,
             n ? answer[n - 1] : 0);
        return;
    }
    for (unsigned i = 0; i < 4; i++)
        value = value << 8 | answer[i];
    life = value >> LIFE_SHIFT;
    count = value & ((1ul << LIFE_SHIFT) - 1);
    before = life == s->life ? s->count : 0;
    if (life_owner(life) != s)
        fail("slot %u: the answer of a card that is not its own (%08lX)", s->number, value);
    else if (count <= before || count > before + s->sent)
        fail("slot %u: the card has executed %lu commands, %lu when it was asked last, and %lu were sent since",
             s->number, count, before, s->sent);
    s->life = life;
    s->count = count;
    s->sent = 0;
    s->done++;
}

/* One command that counts. */
static RESPONSECODE count_once(struct slot *s)
{
    static const uint8_t add[] = {0x00, 0xEA, 0x00, 0x00, 0x04};
    uint8_t answer[300];
    size_t n = sizeof answer;
    RESPONSECODE rc;

    pthread_mutex_lock(s->mutex);
    s->sent++;
    rc = client_transmit(s, add, sizeof add, answer, &n);
    if (rc == IFD_SUCCESS) {
        judge_count(s, answer, n);
    } else {
        s->failed++;
        if (!may_fail_with(rc))
            fail("slot %u: transmit returned %ld", s->number, rc);
    }
    pthread_mutex_unlock(s->mutex);
    return rc;
}

/* A command for which the card takes its time. */
static RESPONSECODE slow_once(struct slot *s, unsigned ms)
{
    const uint8_t slow[] = {0x00, 0xE8, (uint8_t)(ms >> 8), (uint8_t)ms};
    uint8_t answer[300];
    size_t n = sizeof answer;
    RESPONSECODE rc;

    pthread_mutex_lock(s->mutex);
    rc = client_transmit(s, slow, sizeof slow, answer, &n);
    if (rc == IFD_SUCCESS && (n != 2 || answer[0] != 0x90))
        fail("slot %u: %zu bytes as the answer to a slow command", s->number, n);
    if (rc != IFD_SUCCESS && !may_fail_with(rc))
        fail("slot %u: a slow transmit returned %ld", s->number, rc);
    pthread_mutex_unlock(s->mutex);
    return rc;
}

static void session(struct slot *s)
{
    static const DWORD ends[] = {IFD_POWER_UP, IFD_POWER_UP, IFD_POWER_DOWN, IFD_RESET};
    RESPONSECODE rc = IFD_SUCCESS;

    for (unsigned n = 1 + dice(10); n > 0 && rc == IFD_SUCCESS && !peek(calm); n--) {
        switch (dice(16)) {
        case 0:
            rc = client_reset(s);
            break;
        case 1:
            client_ask(s);
            break;
        case 2:
            rc = slow_once(s, dice(30));
            break;
        default:
            rc = count_once(s);
        }
    }
    client_disconnect(s, ends[dice(4)]);
}

static void *run_client(void *arg)
{
    struct slot *s = arg;

    while (!peek(calm)) {
        if (client_connect(s))
            session(s);
        else
            pause_us(1000 + dice(4000)); /* it tries again: a program that waits for a card */
    }
    return NULL;
}

static void start_clients(void)
{
    poke(calm, false);
    for (unsigned i = 0; i < SLOTS; i++)
        if (pthread_create(&clients[i], NULL, run_client, slots[i]) != 0)
            abort();
}

static void stop_clients(void)
{
    poke(calm, true);
    for (unsigned i = 0; i < SLOTS; i++) {
        watch_begin("a client", slots[i]->lun);
        pthread_join(clients[i], NULL);
        watch_end();
    }
}

/* ---- after the storm ---- */

/* A new card: it must come to be known, and then answer without a single error. */
static void settle(struct slot *s)
{
    time_t end = time(NULL) + SETTLE_SECONDS;
    unsigned good = 0;

    card_remove(s);
    card_insert(s);
    while (good < SETTLED && time(NULL) < end) {
        if (!client_connect(s)) {
            pause_us(2000);
            continue;
        }
        RESPONSECODE rc = IFD_SUCCESS;
        for (good = 0; good < SETTLED && rc == IFD_SUCCESS;) {
            rc = count_once(s);
            good += rc == IFD_SUCCESS;
        }
        if (good > 0 && good < SETTLED)
            fail("slot %u: result %ld after %u good answers in a calm", s->number, rc, good);
        client_disconnect(s, IFD_POWER_UP);
    }
    if (good < SETTLED)
        fail("slot %u does not work any more (%s, %s)", s->number, s->present ? "a card" : "no card",
             peek(s->reader->open) ? "open" : "closed");
}

static void settle_all(void)
{
    poke(calm, true);
    for (unsigned i = 0; i < SLOTS; i++)
        settle(slots[i]);
}

static unsigned long answered(void)
{
    unsigned long n = 0;

    for (unsigned i = 0; i < SLOTS; i++)
        n += slots[i]->done;
    return n;
}

/* ---- cases ---- */

static void trouble_a_card(void)
{
    struct slot *s = slots[dice(SLOTS)];

    switch (dice(4)) {
    case 0:
        card_remove(s);
        break;
    case 1:
        card_insert(s);
        break;
    case 2:
        card_swap(s);
        break;
    default:
        card_remove(s);
        pause_us(dice(2000));
        card_insert(s);
    }
}

/* A storm in which nobody gets an answer shows nothing. */
static void want_answers(unsigned long before)
{
    if (answered() - before < SLOTS)
        fail("only %lu commands were answered", answered() - before);
}

static void case_cards(void)
{
    unsigned long before = answered();

    start_clients();
    for (unsigned i = rounds(250); i > 0; i--) {
        trouble_a_card();
        pause_us(dice(20000));
    }
    stop_clients();
    want_answers(before);
    settle_all();
}

struct slow {
    struct slot *slot;
    unsigned ms;
    atomic_bool ended;
};

static void *run_slow(void *arg)
{
    struct slow *w = arg;

    if (client_connect(w->slot)) {
        (void)slow_once(w->slot, w->ms);
        client_disconnect(w->slot, IFD_POWER_UP);
    }
    poke(w->ended, true);
    return NULL;
}

/* Closes a reader while slot s works on an APDU of ms milliseconds, `after` microseconds after that began. */
static void close_while(struct slot *s, unsigned ms, unsigned after)
{
    struct slow w = {.slot = s, .ms = ms};
    struct reader *r = s->reader;
    pthread_t thread;

    if (pthread_create(&thread, NULL, run_slow, &w) != 0)
        abort();
    while (!peek(s->in_transmit) && !peek(w.ended))
        pause_us(50);
    pause_us(after);
    pcscd_close(r, false, 0);
    pthread_join(thread, NULL);
    if (!pcscd_open(r))
        fail("%s cannot be opened again", r->name);
}

/* A presence thread that waits for the mutex is waited for by pcscd before it closes, until the APDU is over. So every
 * second time the presence threads end before the APDU begins: then the close does come into it. */
static void case_close(void)
{
    static const unsigned after[] = {0, 100, 300, 1000, 3000, 10000, 50000, 150000};
    unsigned long before = peek(closes_in_transmit), sure = 0;

    for (unsigned i = 0; i < READERS; i++) {
        struct reader *r = &readers[i];

        for (unsigned k = 0; k < 2 * rounds(2); k++) {
            struct slot *s = &r->slots[k / 2 % r->slot_count];

            settle(s);
            for (unsigned n = 0; n < r->slot_count && k % 2 == 0; n++)
                pcscd_end_poller(&r->slots[n]);
            close_while(s, k % 2 == 0 ? CLOSED_MS : SLOW_MS, after[(3 * k + i) % 8]);
            sure += k % 2 == 0;
        }
        for (unsigned k = 0; k < r->slot_count; k++)
            settle(&r->slots[k]);
    }
    if (peek(closes_in_transmit) - before < sure * 3 / 4)
        fail("%lu closes came during a transmit, of %lu that should have", peek(closes_in_transmit) - before, sure);
}

struct sweep {
    struct slot *slot;
    unsigned turns;
    sem_t go, back;
};

/* pcscd's presence thread, one turn at a time. */
static void *run_turns(void *arg)
{
    struct sweep *w = arg;

    for (unsigned i = 0; i < w->turns; i++) {
        while (sem_wait(&w->go) != 0)
            ;
        pthread_mutex_lock(w->slot->mutex);
        (void)w->slot->reader->handler->presence(w->slot->lun);
        pthread_mutex_unlock(w->slot->mutex);
        if (w->slot->poll(w->slot->lun, 600000) != IFD_SUCCESS)
            fail("slot %u: the polling function failed", w->slot->number);
        sem_post(&w->back);
    }
    return NULL;
}

/* Each stop ends one polling call that would last ten minutes, whenever it comes: before, at its beginning, in it. */
static void sweep_stops(struct slot *s, unsigned step_us)
{
    struct sweep w = {.slot = s, .turns = rounds(120)};
    pthread_t thread;

    pcscd_end_poller(s);
    sem_init(&w.go, 0, 0);
    sem_init(&w.back, 0, 0);
    if (pthread_create(&thread, NULL, run_turns, &w) != 0)
        abort();
    for (unsigned i = 0; i < w.turns; i++) {
        sem_post(&w.go);
        pause_us(i * step_us);
        (void)s->stop(s->lun);
        watch_begin("a polling call that was stopped", s->lun);
        while (sem_wait(&w.back) != 0)
            ;
        watch_end();
    }
    pthread_join(thread, NULL);
    sem_destroy(&w.go);
    sem_destroy(&w.back);
}

static void case_stop(void)
{
    static const unsigned which[] = {0, 4, 7}; /* one of each kind */

    for (unsigned i = 0; i < 3; i++) {
        struct reader *r = &readers[which[i]];

        sweep_stops(&r->slots[0], 20);
        card_remove(&r->slots[0]);
        sweep_stops(&r->slots[0], 100);
        pcscd_close(r, false, 1000);
        if (!pcscd_open(r))
            fail("%s cannot be opened again", r->name);
        settle(&r->slots[0]);
    }
}

static void *run_hand(void *arg)
{
    while (!peek(calm)) {
        trouble_a_card();
        pause_us(dice(60000));
    }
    sim_hang_up();
    return arg;
}

static void *run_yank(void *arg)
{
    struct reader *r = arg;

    pause_us(dice(40000));
    reader_unplug(r);
    sim_hang_up();
    return NULL;
}

/* Plugs a USB reader and opens it; sometimes it is pulled out again while it is opened. */
static void plug_and_open(struct reader *r)
{
    pthread_t thread;
    bool yank = dice(3) == 0, open;

    reader_plug(r);
    if (yank && pthread_create(&thread, NULL, run_yank, r) != 0)
        abort();
    open = pcscd_open(r);
    if (!yank) {
        if (!open)
            fail("%s cannot be opened", r->name);
        return;
    }
    pthread_join(thread, NULL);
    if (open)
        pcscd_close(r, true, 0);
    reader_plug(r);
    if (!pcscd_open(r))
        fail("%s cannot be opened, after it was pulled out and plugged in", r->name);
}

static void trouble_a_usb_reader(struct reader *r)
{
    bool pulled = dice(4) > 0;

    if (pulled)
        reader_unplug(r);
    pause_us(dice(5000));
    pcscd_close(r, pulled && dice(2) == 0, dice(2) == 0 ? 0 : 5000);
    if (pulled)
        plug_and_open(r);
    else if (!pcscd_open(r))
        fail("%s cannot be opened again", r->name);
}

/* A port that hangs up keeps its slots; the driver opens it again by itself. */
static void trouble_a_serial_reader(struct reader *r)
{
    bool reopen = dice(3) == 0;

    reader_unplug(r);
    pause_us(dice(8000));
    if (reopen)
        pcscd_close(r, false, dice(2) == 0 ? 0 : 5000);
    if (reopen && dice(2) == 0 && !pcscd_open(r)) /* the port is not there yet: it comes later */
        fail("%s cannot be opened before it is there", r->name);
    reader_plug(r);
    if (!peek(r->open) && !pcscd_open(r))
        fail("%s cannot be opened again", r->name);
}

static void case_unplug(void)
{
    unsigned long before = answered();
    pthread_t hand;

    start_clients();
    if (pthread_create(&hand, NULL, run_hand, NULL) != 0)
        abort();
    for (unsigned i = rounds(60); i > 0; i--) {
        struct reader *r = &readers[dice(READERS)];

        if (r->kind == KIND_SERIAL)
            trouble_a_serial_reader(r);
        else
            trouble_a_usb_reader(r);
        pause_us(dice(20000));
    }
    stop_clients();
    pthread_join(hand, NULL);
    want_answers(before);
    settle_all();
}

/* ---- the whole ---- */

static unsigned entries(const char *directory)
{
    DIR *d = opendir(directory);
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void make_readers(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < READERS; i++) {
        struct reader *r = &readers[i];

        r->sim = i;
        r->kind = i < 4 ? KIND_AET63 : i < 7 ? KIND_HID : KIND_SERIAL;
        r->slot_count = r->kind == KIND_AET63 ? 1 : 2;
        if (r->kind == KIND_SERIAL)
            snprintf(r->name, sizeof r->name, "/dev/ttyUSB%u:slots=cl.icc", i - 7);
        for (unsigned k = 0; k < r->slot_count; k++) {
            struct slot *s = &r->slots[k];

            pthread_mutex_init(&r->mutexes[k], NULL);
            *s = (struct slot){.reader = r, .index = k, .number = n, .lun = (DWORD)i << 16 | k};
            slots[n++] = s;
        }
        r->slots[0].mutex = &r->mutexes[0];
    }
}

static void open_all(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        reader_plug(&readers[i]);
        if (!pcscd_open(&readers[i])) {
            printf("FAIL open %s cannot be opened\n", readers[i].name);
            exit(1);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++)
        settle(slots[i]);
}

static void case_open(void)
{
    for (unsigned i = 0; i < READERS; i++)
        pcscd_close(&readers[i], false, 5000);
    for (unsigned i = 0; i < READERS; i++)
        if (!pcscd_open(&readers[i]))
            fail("%s cannot be opened again", readers[i].name);
    settle_all();
}

static const struct {
    const char *name, *what;
    void (*run)(void);
} cases[] = {
    {"open", "sixteen slots opened, closed and opened again; each has its own card", case_open},
    {"cards", "clients on all slots while cards come and go", case_cards},
    {"close", "CloseChannel during Transmit, early and late", case_close},
    {"stop", "a stop of the poller at every moment ends the polling call", case_stop},
    {"unplug", "readers and ports pulled out at any moment, cards and clients on all slots", case_unplug},
};

static bool run_case(unsigned i)
{
    unsigned long before = peek(failures), done = answered();
    time_t begin = time(NULL);

    cases[i].run();
    unsigned long bad = peek(failures) - before;
    printf("%s %s: %s (%lu commands answered, %lu wrong, %ld s)\n", bad ? "FAIL" : "PASS", cases[i].name, cases[i].what,
           answered() - done, bad, (long)(time(NULL) - begin));
    fflush(stdout);
    return bad == 0;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc == 2;
}

/* Everything closed: descriptors and threads must be what they were before the first reader was opened. */
static bool close_all(unsigned fds, unsigned threads)
{
    for (unsigned i = 0; i < READERS; i++)
        pcscd_close(&readers[i], false, 5000);
    unsigned fds_left = entries("/proc/self/fd"), threads_left = entries("/proc/self/task");
    bool good = fds_left == fds && threads_left == threads;

    printf("%s level: descriptors %u before and %u after, threads %u and %u\n", good ? "PASS" : "FAIL", fds, fds_left,
           threads, threads_left);
    fflush(stdout);
    return good;
}

int main(int argc, char **argv)
{
    const char *seed_text = getenv("STORM_SEED"), *rounds_text = getenv("STORM_ROUNDS");
    bool good = true;

    if (argc < 2) {
        fputs("usage: storm DIRECTORY [CASE...]\n", stderr);
        return 2;
    }
    seed = seed_text ? strtoul(seed_text, NULL, 10) : (unsigned long)time(NULL);
    percent = rounds_text ? strtoul(rounds_text, NULL, 10) : 100;
    printf("  STORM_SEED=%lu\n", seed);
    make_readers();
    pcscd_load(argv[1]);
    watch_start();
    if (!sim("readers"))
        return 2;
    unsigned fds = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    open_all();
    good = peek(failures) == 0;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (wanted(cases[i].name, argc, argv))
            good = run_case(i) && good;
    good = close_all(fds, threads) && good;
    return good ? 0 : 1;
}
