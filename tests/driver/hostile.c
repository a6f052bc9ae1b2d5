/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Neither side is trusted. The reader and its card answer anything (hostile_model.c makes it up: wrong and huge
 * lengths, random bytes, events and answers without an end, T=1 that never comes to one), while a client calls
 * anything: random APDUs, control codes, attributes and lengths, none among them. The built handler is called as pcscd
 * calls it; the fuzzer of the whole handler (tests/fuzz/fuzz_reader.c) has seen more bytes, but neither a clock nor the
 * transports.
 *
 * For each mode of the reader:
 *   - every call returns: within its cap and, because the machine may be busy, MARGIN_MS. A thread watches that, for a
 *     call that does not return cannot judge itself;
 *   - no more is written than there was room for, and an error brings no answer;
 *   - the log grows by no more than so many lines in ten seconds, however much goes wrong;
 *   - afterwards the reader, good again, works: a card is found and answers exactly. A USB reader that was given up may
 *     be closed and opened in between, as pcscd does it; a serial one is not;
 * and over all of them, gone through ROUNDS times: the memory of the process stays at one level.
 *
 *   hostile aet63|aet63-t1|serial|hid [MODE]     MODE: only this one, with the driver's log
 */
#include "nth_rig.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LUN = 0,
    ROUNDS = 2,
    MODE_MS = 300,
    RECOVER_MS = 60000,
    MARGIN_MS = 20000,
    CHAIN_MS = 259000,
    CAP_MS = 800,
    POLL_MS = 20,
    BUFFER = 70000,
    GUARD = 64,
    LOG_LINES_MAX = 125, /* in ten seconds: 20 faults, 100 other lines, what was left out */
    GROWN_MAX_KB = 512
};

static const char *const waits = "apdu_cap = 600\npower_cap = 800\nreader_cap = 800\ntfm_cap = 600\nreset_wait = 400\n"
                                 "frame_gap = 100\ncommand_wait = 200\nopen_quiet = 10\nopen_drain = 100\n"
                                 "resync_quiet = 15\npresence_retry = 20\n";

static const struct link {
    const char *name, *reader, *insert, *handler;
    unsigned vid, pid;
    int protocol;
} LINKS[] = {
    {"aet63", "hostile:of=aet63,interval=none,card=echo-t0", NULL, "libifdpurse.so", 0x072f, 0x8002, 0},
    {"aet63-t1", "hostile:of=aet63,interval=none,card=echo-t1", NULL, "libifdpurse.so", 0x072f, 0x8002, 1},
    {"serial", "hostile:of=neo,tty=ttyUSB0", "insert iso:echo-t1", "libifdpurse-serial.so", 0, 0, 1},
    {"hid", "hostile:of=neo,link=hid,interval=none", "insert iso:echo-t1", "libifdpurse.so", 0x0acd, 0x3530, 1},
};

static const char *const MODES[] = {"off",    "silent", "noise",   "status", "huge",    "long",
                                    "mixed",  "events", "answers", "flood",  "trickle", "t1-wtx",
                                    "t1-ifs", "t1-again", "t1-chain", "t1-sync", "t1-any"};
enum { MODES_COUNT = sizeof MODES / sizeof MODES[0] };

static const struct link *where;
static struct rig_driver driver;
static bool opened, powered;
static unsigned failures;

/* ---- chance ----------------------------------------------------------------------------------------------------- */

static uint32_t seed = 20260701;

static uint32_t roll(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % n;
}

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)roll(256);
}

/* ---- the watch -------------------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    const char *call; /* NULL: none is running */
    int64_t began, longest;
    const char *longest_call;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void begin(const char *call)
{
    pthread_mutex_lock(&watch.lock);
    watch.call = call;
    watch.began = rig_now_ms();
    pthread_mutex_unlock(&watch.lock);
}

static void end(void)
{
    pthread_mutex_lock(&watch.lock);
    int64_t took = rig_now_ms() - watch.began;
    if (took > watch.longest) {
        watch.longest = took;
        watch.longest_call = watch.call;
    }
    watch.call = NULL;
    pthread_mutex_unlock(&watch.lock);
}

static const char *mode_now;

/* A chained block that moved data adds a second to an APDU's cap, and 65 538 bytes are 259 blocks of 254. */
static int longest_ms(void)
{
    return CAP_MS + MARGIN_MS + (strcmp(where->name, "aet63-t1") == 0 ? CHAIN_MS : 0);
}

static void *watcher(void *arg)
{
    (void)arg;
    for (;;) {
        usleep(100000);
        pthread_mutex_lock(&watch.lock);
        if (watch.call && rig_now_ms() - watch.began > longest_ms()) {
            printf("FAIL %s: %s: %s has not returned after %d ms\n", where->name, mode_now, watch.call, longest_ms());
            fflush(stdout);
            _exit(1);
        }
        pthread_mutex_unlock(&watch.lock);
    }
    return NULL;
}

static void fail(const char *what, long value)
{
    printf("FAIL %s: %s: %s (%ld)\n", where->name, mode_now, what, value);
    fflush(stdout);
    failures++;
}

/* ---- pcscd's part ----------------------------------------------------------------------------------------------- */

static bool open_reader(void)
{
    char name[RIG_NAME_MAX] = "/dev/ttyUSB0";

    if (opened)
        return true;
    if (where->vid && !rig_usb_name(where->vid, where->pid, name))
        return false;
    begin("open");
    opened = driver.create(LUN, name) == IFD_SUCCESS;
    end();
    return opened;
}

static void close_reader(void)
{
    begin("close");
    if (opened)
        driver.close(LUN);
    end();
    opened = powered = false;
}

static RESPONSECODE present(void)
{
    begin("presence");
    RESPONSECODE rc = driver.presence(LUN);
    end();
    if (rc != IFD_ICC_PRESENT)
        powered = false;
    return rc;
}

static void poll_once(int ms)
{
    begin("poll");
    driver.poll(LUN, ms);
    end();
}

static void power(DWORD action)
{
    uint8_t atr[MAX_ATR_SIZE + GUARD];
    DWORD n = MAX_ATR_SIZE;

    memset(atr, 0xA5, sizeof atr);
    begin("power");
    RESPONSECODE rc = driver.power(LUN, action, atr, &n);
    end();
    for (size_t i = MAX_ATR_SIZE; i < sizeof atr; i++)
        if (atr[i] != 0xA5)
            fail("an ATR is longer than its buffer", (long)n);
    powered = rc == IFD_SUCCESS && action != IFD_POWER_DOWN;
    if (!powered)
        return;
    begin("protocol");
    powered = driver.protocol(LUN, where->protocol ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0, 0, 0, 0, 0) == IFD_SUCCESS;
    end();
}

/* ---- the client's part ------------------------------------------------------------------------------------------ */

static uint8_t sent[BUFFER], received[BUFFER + GUARD];

/* Room for an answer, of which the rest is guarded. */
static DWORD room(void)
{
    static const DWORD rooms[] = {0, 1, 2, 3, 10, 258, 264, 65538};
    DWORD cap = rooms[roll(sizeof rooms / sizeof rooms[0])];

    memset(received, 0xA5, cap + GUARD);
    return cap;
}

static void check_answer(const char *what, RESPONSECODE rc, DWORD cap, DWORD n)
{
    if (n > cap || (rc != IFD_SUCCESS && n != 0))
        fail(what, (long)n);
    for (size_t i = 0; i < GUARD; i++)
        if (received[cap + i] != 0xA5)
            fail("written beyond the room for an answer", (long)cap);
}

static size_t any_length(void)
{
    static const size_t lengths[] = {0, 1, 3, 4, 5, 6, 255, 256, 260, 261, 262, 263, 264, 265,
                                     300, 65535, 65544, 65545};

    return roll(2) ? lengths[roll(sizeof lengths / sizeof lengths[0])] : roll(40);
}

/* A command that a card knows, one of class FF, or any bytes. */
static void any_apdu(void)
{
    SCARD_IO_HEADER send = {.Protocol = roll(4) ? (DWORD)where->protocol : roll(100), .Length = sizeof send}, back;
    static const uint8_t heads[][4] = {{0x00, 0x84, 0, 0}, {0x00, 0xE0, 0, 0}, {0xFF, 0xCA, 0, 0}, {0xFF, 0xB0, 0, 4},
                                       {0xFF, 0x82, 0, 0}, {0xFF, 0xD7, 0, 4}, {0xFF, 0xC2, 0, 1}, {0xFF, 0x00, 0, 0}};
    size_t n = any_length();
    DWORD cap = room(), got = cap;

    fill(sent, n < 600 ? n : 600);
    if (roll(4) && n >= 4)
        memcpy(sent, heads[roll(sizeof heads / sizeof heads[0])], 4);
    if (n > 5 && roll(2))
        sent[4] = (uint8_t)(n - 5);
    begin("transmit");
    RESPONSECODE rc = driver.transmit(LUN, send, sent, n, received, &got, &back);
    end();
    check_answer("an APDU's answer", rc, cap, got);
    if (rc == IFD_ICC_NOT_PRESENT)
        powered = false;
}

static void any_control(void)
{
    static const DWORD codes[] = {0x42000001, 0x42000D48, 0x42000DAC, 0x00313520, 0x42330012, 0, 0xFFFFFFFF};
    DWORD code = roll(8) ? codes[roll(sizeof codes / sizeof codes[0])] : roll(0x7FFFFFFF), cap = room(), got = 0;
    size_t n = any_length();

    fill(sent, n < 600 ? n : 600);
    begin("control");
    RESPONSECODE rc = driver.control(LUN, code, n ? sent : NULL, n, cap ? received : NULL, cap, &got);
    end();
    check_answer("a control call's answer", rc, cap, got);
}

static void any_attribute(void)
{
    static const DWORD tags[] = {0x0FAE, 0x0FAF, 0x0FB0, 0x0FB1, 0x0FB2, 0x0FB3, 0x10100, 0x10102, 0x10103,
                                 0x90303, 0x90300, 0x7FFF0003, 0x80105, 0x7A000};
    DWORD tag = roll(4) ? tags[roll(sizeof tags / sizeof tags[0])] : roll(0x7FFFFFFF), cap = room(), n = cap;

    begin("attribute");
    if (roll(4)) {
        RESPONSECODE rc = driver.get(LUN, tag, &n, cap ? received : NULL);
        end();
        /* else n may be what it needs */
        check_answer("an attribute", IFD_SUCCESS, cap, rc == IFD_SUCCESS && cap ? n : 0);
    } else {
        fill(sent, 40);
        driver.set(LUN, tag, roll(40), sent);
        end();
    }
}

static void any_call(void)
{
    switch (roll(16)) {
    case 0:
        power(roll(4) ? IFD_POWER_UP : roll(2) ? IFD_RESET : roll(600));
        break;
    case 1:
        power(IFD_POWER_DOWN);
        break;
    case 2:
        begin("protocol");
        driver.protocol(LUN, roll(8), (UCHAR)roll(256), (UCHAR)roll(256), (UCHAR)roll(256), (UCHAR)roll(256));
        end();
        break;
    case 3:
    case 4:
        any_control();
        break;
    case 5:
        any_attribute();
        break;
    case 6:
    case 7:
        present();
        poll_once((int)roll(POLL_MS));
        break;
    default:
        if (!powered && present() == IFD_ICC_PRESENT)
            power(IFD_POWER_UP);
        any_apdu();
        break;
    }
}

/* ---- a mode ----------------------------------------------------------------------------------------------------- */

static bool challenge(uint8_t n)
{
    const uint8_t apdu[] = {0x00, 0x84, 0x00, 0x00, n};
    uint8_t right[10] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88}, answer[264];
    size_t len = sizeof answer;

    right[n] = 0x90;
    right[n + 1] = 0x00;
    begin("transmit");
    RESPONSECODE rc = rig_apdu(&driver, LUN, where->protocol, apdu, sizeof apdu, answer, &len);
    end();
    if (rc == IFD_ICC_NOT_PRESENT)
        powered = false;
    if (rc == IFD_SUCCESS && len == n + 2u && memcmp(answer, right, len) == 0)
        return true;
    /* What a client did may have left the card in the middle of something, and a T=1 card that did not let itself be
     * synchronised wants a reset, which is its client's to ask for. */
    if (rc != IFD_ICC_NOT_PRESENT)
        power(IFD_RESET);
    return false;
}

/* Until three challenges in a row were answered rightly. */
static bool works(void)
{
    int64_t until = rig_now_ms() + RECOVER_MS;
    uint8_t good = 0;

    while (good < 3) {
        if (rig_now_ms() > until)
            return false;
        if (!open_reader())
            continue;
        RESPONSECODE rc = present();
        if (rc != IFD_ICC_PRESENT && rc != IFD_ICC_NOT_PRESENT && where->vid)
            close_reader(); /* pcscd does so when it is told that a reader is no more */
        else if (rc != IFD_ICC_PRESENT)
            poll_once(POLL_MS);
        else if (!powered)
            power(IFD_POWER_UP);
        else
            good = challenge((uint8_t)(3 + good)) ? (uint8_t)(good + 1) : 0;
    }
    return true;
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%*s %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* The driver's windows of ten seconds are not ours: one more is granted, and one for lines at open. */
static void check_log(void)
{
    static int64_t since;
    int64_t now = rig_now_ms();

    if (since == 0)
        since = now;
    if (rig_log_lines > (unsigned long)((now - since) / 10000 + 2) * LOG_LINES_MAX)
        fail("too many lines in the log", (long)rig_log_lines);
}

static unsigned long most_lines;

static void run_mode(const char *mode, unsigned round, bool alone)
{
    unsigned long calls = 0, lines;

    mode_now = mode;
    check_log();
    if (!works()) {
        fail("the reader does not work before this mode", 0);
        return;
    }
    lines = rig_log_lines;
    rig_must("0 hostile %s %u", mode, round + 1);
    for (int64_t until = rig_now_ms() + MODE_MS; rig_now_ms() < until; calls++) {
        if (!opened)
            open_reader();
        if (opened)
            any_call();
    }
    rig_must("0 hostile off");
    if (!works())
        fail("the reader does not work any more", (long)calls);
    lines = rig_log_lines - lines;
    most_lines = lines > most_lines ? lines : most_lines;
    check_log();
    if (alone || getenv("HOSTILE_VERBOSE"))
        printf("# %s %s: %lu calls, %lu lines, %ld kB\n", where->name, mode, calls, lines, resident_kb());
}

static void run_all(void)
{
    bool memory = getenv("HOSTILE_NO_MEMORY") == NULL;
    unsigned rounds = memory ? ROUNDS : 1;
    long first = 0, last = 0, heap = 0;

    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < MODES_COUNT; i++)
            if (strncmp(MODES[i], "t1", 2) != 0 || strcmp(where->name, "aet63-t1") == 0)
                run_mode(MODES[i], round, false);
        last = resident_kb();
        if (round == 0) {
            first = last;
            heap = (long)mallinfo2().uordblks;
        }
    }
    mode_now = "all modes";
    heap = (long)mallinfo2().uordblks - heap;
    if (memory && last - first > GROWN_MAX_KB)
        fail("kB more in memory than after the first round", last - first);
    printf("# %s: memory %+ld kB, heap %+ld bytes after %u rounds; at most %lu log lines a mode; longest call %lld ms "
           "(%s)\n",
           where->name, last - first, heap, rounds, most_lines, (long long)watch.longest, watch.longest_call);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof LINKS / sizeof LINKS[0]; i++)
        if (argc > 1 && strcmp(LINKS[i].name, argv[1]) == 0)
            where = &LINKS[i];
    if (!where) {
        fprintf(stderr, "usage: hostile aet63|aet63-t1|serial|hid [MODE]\n");
        return 2;
    }
    if (!getenv("PURSE_SIM_CTL"))
        return rig_enter("driver/purse-sim-hostile", (const char *const[]){where->reader, NULL}, argv);
    if (argc > 2)
        setenv("PURSE_TEST_LOG", "1", 1);
    rig_settings(waits);
    rig_load(&driver, where->handler);

    pthread_t thread;
    if (pthread_create(&thread, NULL, watcher, NULL) != 0)
        return 1;
    if (where->insert)
        rig_must("0 %s", where->insert);
    if (argc > 2)
        run_mode(argv[2], 0, true);
    else
        run_all();
    close_reader();
    rig_leave();
    if (failures == 0)
        printf("PASS %s: a hostile reader and a hostile client\n", where->name);
    fflush(stdout);
    _exit(failures > 0);
}
