/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every call that the driver makes of libusb, of libserialport, for memory, threads and descriptors fails in turn: the
 * first, the second ... of each function, over opening a reader, a session with its card, and closing. It has to hold:
 *
 *   - nothing crashes, and no call of the driver's waits much longer than its cap
 *   - each call ends with a code of the interface; one that says success has the right answer
 *   - in the same opening, if there is one, a session works afterwards (not where the failure told that the reader is
 *     gone)
 *   - after closing, memory, descriptors and threads are what they were before
 *   - the next opening and session work
 *
 * One process goes through all cases of a reader; when it dies another one goes on behind the case that killed it. No
 * list of calls is kept anywhere: n is counted up until a run had no n-th call.
 *
 *   nth_failure                          all
 *   nth_failure READER [FUNCTION [N]]    a part: aet63 libusb_submit_transfer 7
 */
#include "nth_calls.h"
#include "nth_rig.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LUN = 0,
    CALL_MS = 20000, /* more than any call may take here: its cap and much for a busy machine */
    CARD_MS = 15000,
    N_MAX = 2000,
    DATA_MAX = 300,
    FAILURES_MAX = 20, /* of a reader; more would not tell more */
    EXIT_FAILED = 3
};

/* APDU, the answer that is right, and the one that is right if the APDU before it had no effect (may be NULL). */
struct exchange {
    const char *apdu, *answer, *otherwise;
};

static const struct exchange ECHO[] = {
    {"00 84 00 00 08", "11 22 33 44 55 66 77 88 90 00", NULL},
    {"00 E0 00 00 28 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F "
     "00 01 02 03 04 05 06 07 28",
     "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F "
     "00 01 02 03 04 05 06 07 90 00",
     NULL},
    {NULL, NULL, NULL}};
static const struct exchange MIFARE[] = {
    {"FF CA 00 00 00", "01 02 03 04 90 00", NULL},
    {"FF 82 00 00 06 FF FF FF FF FF FF", "90 00", NULL},
    {"FF 86 00 00 05 01 00 04 60 00", "90 00", NULL},
    {"FF D6 00 04 10 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F", "90 00", NULL},
    {"FF B0 00 04 10", "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 90 00",
     "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 90 00"},
    {NULL, NULL, NULL}};

static const struct target {
    const char *name, *so, *model, *card;
    unsigned vid, pid; /* 0: serial */
    const struct exchange *exchanges;
} TARGETS[] = {
    {"aet63", "libifdpurse.so", "aet63:name=aet63", "echo-t1", 0x072F, 0x8002, ECHO},
    {"hid", "libifdpurse.so", "neo:link=hid,name=hid", "mifare1k", 0x0ACD, 0x3530, MIFARE},
    {"serial", "libifdpurse-serial.so", "neo:tty=ttyUSB0,name=serial", "iso:echo-t1", 0, 0, ECHO},
};
enum { TARGET_COUNT = sizeof TARGETS / sizeof TARGETS[0] };

/* A lost answer costs little, and what is not lost comes in time on a busy machine, too. */
static const char SETTINGS[] = "apdu_cap = 5000\npower_cap = 6000\nreader_cap = 5000\nframe_gap = 400\n"
                               "resync_quiet = 10\nopen_quiet = 10\nopen_drain = 100\ncommand_wait = 1000\n"
                               "presence_retry = 50\n";
static const char VIVO_SETTINGS[] = "ping_wait = 500\npoll_time = 30\nbaud = 115200\n"
                                    "reopen_min = 10\nreopen_max = 50\n";

/* What the processes share: where they are, so that a case that kills is known, and what was seen. */
struct progress {
    volatile size_t kind;
    volatile unsigned n;
    volatile unsigned long cases, failures, refused, harmless;
};
static struct progress *progress;

static const struct target *target;
static struct rig_driver driver;
static char device[RIG_NAME_MAX];

/* ---- verdicts --------------------------------------------------------------------------------------------------- */

static void failed(const char *what, long number)
{
    progress->failures++;
    printf("FAIL %s, %s call %u: %s (%ld); again by: tests/driver/nth_failure %s %s %u\n",
           target->name, nth_kind_name(progress->kind), progress->n, what, number, target->name,
           nth_kind_name(progress->kind), progress->n);
    fflush(stdout);
}

/* Looks at one call of the driver's. */
static RESPONSECODE judged(const char *call, RESPONSECODE rc, int64_t began)
{
    int64_t took = rig_now_ms() - began;

    if (rc != IFD_SUCCESS && (rc < IFD_ERROR_TAG || rc > IFD_ERROR_INSUFFICIENT_BUFFER))
        failed("not a code of the interface", rc);
    if (took > CALL_MS)
        failed(call, (long)took);
    return rc;
}
#define JUDGED(call) judged(#call, driver.call, rig_now_ms())

/* ---- a session -------------------------------------------------------------------------------------------------- */

static bool open_reader(void)
{
    return JUDGED(create(LUN, device)) == IFD_SUCCESS;
}

static bool answers(const char *text, const uint8_t *got, size_t n)
{
    uint8_t want[DATA_MAX];

    return rig_hex(text, want, sizeof want) == n && memcmp(got, want, n) == 0;
}

static RESPONSECODE exchange(const struct exchange *e, bool well)
{
    uint8_t apdu[DATA_MAX], got[DATA_MAX];
    size_t n = rig_hex(e->apdu, apdu, sizeof apdu), room = sizeof got;
    int64_t began = rig_now_ms();
    RESPONSECODE rc = judged("transmit", rig_apdu(&driver, LUN, 1, apdu, n, got, &room), began);

    if (rc != IFD_SUCCESS || answers(e->answer, got, room))
        return rc;
    /* a refusal by the card or the driver is an answer, too, but it has to be one */
    if ((room != 2 || got[0] >> 4 != 6) && (well || !e->otherwise || !answers(e->otherwise, got, room)))
        failed("success with a wrong answer; length", (long)room);
    return IFD_COMMUNICATION_ERROR;
}

/* Presence, power, protocol, exchanges, attributes, a control, power again. True: all of it went well. */
static bool session(void)
{
    static uint8_t features[] = {0};
    uint8_t atr[MAX_ATR_SIZE], out[DATA_MAX];
    DWORD n = sizeof atr;
    bool well = rig_await_card(&driver, LUN, CARD_MS);

    well &= JUDGED(power(LUN, IFD_POWER_UP, atr, &n)) == IFD_SUCCESS && n > 1;
    well &= JUDGED(protocol(LUN, SCARD_PROTOCOL_T1, 0, 0, 0, 0)) == IFD_SUCCESS;
    for (const struct exchange *e = target->exchanges; e->apdu; e++)
        well &= exchange(e, well) == IFD_SUCCESS;
    n = sizeof out;
    well &= JUDGED(get(LUN, TAG_IFD_SLOTS_NUMBER, &n, out)) == IFD_SUCCESS;
    well &= JUDGED(control(LUN, 0x42000D48, features, 0, out, sizeof out, &n)) == IFD_SUCCESS && n == 12;
    well &= JUDGED(presence(LUN)) == IFD_ICC_PRESENT;
    well &= JUDGED(power(LUN, IFD_POWER_DOWN, atr, &n)) == IFD_SUCCESS;
    return well;
}

static void close_reader(void)
{
    if (JUDGED(close(LUN)) != IFD_SUCCESS)
        failed("closing failed", 0);
}

/* ---- levels ----------------------------------------------------------------------------------------------------- */

struct levels {
    unsigned long blocks;
    unsigned descriptors, threads;
};

/* What a library without memory does with what it has got already is its own business. */
static bool in_library(void)
{
    return strstr(nth_kind_name(progress->kind), "_allocates") != NULL;
}

static struct levels levels(void)
{
    return (struct levels){nth_blocks(in_library()), rig_entries("/proc/self/fd"), rig_entries("/proc/self/task")};
}

/* A thread that was joined shows in /proc for a moment still. */
static void compare(struct levels before)
{
    struct levels now = levels();

    for (int64_t end = rig_now_ms() + CALL_MS; now.threads > before.threads && rig_now_ms() < end; now = levels())
        usleep(1000);
    if (now.blocks != before.blocks)
        failed("blocks of memory are left", (long)(now.blocks - before.blocks));
    if (now.descriptors != before.descriptors)
        failed("descriptors are left", (long)now.descriptors - (long)before.descriptors);
    if (now.threads != before.threads)
        failed("threads are left", (long)now.threads - (long)before.threads);
}

/* ---- one case --------------------------------------------------------------------------------------------------- */

static void fresh_card(void)
{
    (void)rig_sim("%s remove", target->name);
    rig_must("%s insert %s", target->name, target->card);
}

/* Does this failure tell the driver that the reader is gone for good? */
static bool means_gone(size_t kind)
{
    return strstr(nth_kind_name(kind), "_gone") != NULL;
}

/* Returns whether there was an n-th call. */
static bool run(size_t kind, unsigned n)
{
    struct levels before;
    bool opened, well = false, hit;

    progress->kind = kind;
    progress->n = n;
    before = levels();
    fresh_card();
    nth_arm(kind, n);
    opened = open_reader();
    if (opened)
        well = session();
    hit = nth_disarm();
    if (opened && hit && !well && !means_gone(kind) && !session())
        failed("no session works any more after it", 0);
    if (opened && !hit)
        nth_arm(kind, n - nth_count(kind)); /* closing is part of the run; the calls so far are done */
    if (opened)
        close_reader();
    hit |= nth_disarm();
    compare(before);
    if (!hit)
        return false;
    progress->cases++;
    progress->refused += !opened || !well;
    progress->harmless += opened && well;
    fresh_card();
    if (!open_reader())
        failed("the next opening fails", 0);
    else if (!session())
        failed("the next session fails", 0);
    if (driver.close(LUN) != IFD_SUCCESS)
        failed("the next closing fails", 0);
    compare(before);
    return true;
}

/* ---- all of a reader's ------------------------------------------------------------------------------------------ */

static void prepare(void)
{
    char lines[sizeof SETTINGS + sizeof VIVO_SETTINGS];

    snprintf(lines, sizeof lines, "%s%s", SETTINGS, target->vid == 0x072F ? "" : VIVO_SETTINGS);
    rig_settings(lines);
    if (target->vid == 0)
        snprintf(device, sizeof device, "/dev/ttyUSB0");
    else if (!rig_usb_name(target->vid, target->pid, device))
        failed("the simulated reader is not there", 0);
    rig_load(&driver, target->so);
    nth_know(driver.handle);
    /* Once for what libraries keep for ever: then the levels tell. */
    fresh_card();
    if (!open_reader() || !session())
        failed("not even a session without any failure works", 0);
    (void)driver.close(LUN);
}

/* The cases from where `progress` stands; in a process of its own. */
static void work(size_t only, unsigned only_n)
{
    unsigned long failures = progress->failures;
    size_t kind = progress->kind;
    unsigned n = progress->n;

    prepare();
    for (; kind < nth_kinds(); kind++, n = 1) {
        progress->kind = kind;
        if (only < nth_kinds() && kind != only)
            continue;
        if (only_n > 0) {
            if (!run(kind, only_n))
                printf("PASS %s has no such call in this run\n", target->name);
            continue;
        }
        while (n < N_MAX && run(kind, n)) {
            if (progress->failures > failures)
                _exit(EXIT_FAILED); /* whatever it has left behind is not the next case's */
            n++;
        }
        if (n == N_MAX)
            failed("there is no end of these calls", n);
    }
}

static bool all_of(const struct target *t, size_t only, unsigned only_n)
{
    int status;

    target = t;
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    progress->n = 1;
    for (;;) {
        fflush(stdout);
        pid_t child = fork();

        if (child == 0) {
            work(only, only_n);
            (void)dlclose(driver.handle); /* a build that counts branches writes down here what it counted */
            fflush(stdout);
            _exit(0); /* leaks were counted for each case; the sanitizer would count the loader's, too */
        }
        if (child < 0 || waitpid(child, &status, 0) != child || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
            break;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_FAILED)
            failed("the program died; signal or exit status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        if (only_n > 0 || progress->cases == 0 || progress->failures > FAILURES_MAX)
            break;
        progress->n++;
    }
    if (progress->cases == 0 && only_n == 0)
        failed("no call was made to fail", 0);
    if (progress->failures == 0)
        printf("PASS %s: %lu calls failed in turn: %lu were told as an error, %lu did no harm\n", t->name,
               progress->cases, progress->refused, progress->harmless);
    fflush(stdout);
    return progress->failures == 0;
}

/* All readers side by side, for most of the time is spent waiting; each in a simulator of its own, because two
 * processes in one testbed disturb each other's libudev. */
static bool each_reader(char *self)
{
    pid_t children[TARGET_COUNT];
    bool well = true;
    int status;

    for (size_t i = 0; i < TARGET_COUNT; i++) {
        const char *readers[] = {TARGETS[i].model, NULL};
        char name[16], *argv[] = {self, name, NULL};

        snprintf(name, sizeof name, "%s", TARGETS[i].name);
        children[i] = fork();
        if (children[i] == 0)
            _exit(rig_enter("sim/purse-sim", readers, argv));
    }
    for (size_t i = 0; i < TARGET_COUNT; i++)
        well &= waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return well;
}

int main(int argc, char **argv)
{
    size_t only = nth_kinds();
    const struct target *t = NULL;
    bool well;

    if (argc < 2)
        return !each_reader(argv[0]);
    for (size_t i = 0; i < TARGET_COUNT; i++)
        if (strcmp(argv[1], TARGETS[i].name) == 0)
            t = &TARGETS[i];
    if (!t || (argc > 2 && !nth_find_kind(argv[2], &only))) {
        printf("FAIL there is no reader or function of this name\n");
        return 1;
    }
    if (!getenv("PURSE_SIM_CTL"))
        return rig_enter("sim/purse-sim", (const char *[]){t->model, NULL}, argv);
    well = all_of(t, only, argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0);
    rig_leave();
    _exit(!well); /* without the leak sanitizer, which would count what the loader keeps */
}
