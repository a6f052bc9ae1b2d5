/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The benchmark's PC/SC client: an ordinary program over libpcsclite that takes times. READER is a part of the reader's
 * name. Results are one line of key=value, times in microseconds.
 *
 *   client loop READER N                  N short APDUs, nothing printed: for counting what happens meanwhile
 *   client compare A B ROUNDS BLOCK       BLOCK APDUs to A, BLOCK to B, and so on: the median of each. Taking turns lets
 *                                         whatever else the machine does fall on both
 *   client insert READER CTL N CARD CMD PAUSE   N times: CARD is put in (CMD sent to the simulator's control socket CTL)
 *                                         when the slot was empty for PAUSE milliseconds, until its ATR is there
 *   client remove READER CTL N CARD CMD   N times: the card is taken out while it works on an APDU, until the client hears of
 *                                         it; empty= how often the slot was empty at that moment
 * CMD is "INDEX insert": what stands before the card's name.
 */
#include <PCSC/winscard.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_MAX = 1000000, WAIT_MS = 10000 };

static SCARDCONTEXT context;

static _Noreturn void die(const char *what, long code)
{
    fprintf(stderr, "client: %s: %08lX\n", what, (unsigned long)code & 0xFFFFFFFFUL);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static unsigned long number(const char *text)
{
    unsigned long n = strtoul(text, NULL, 10);

    if (n == 0 || n > BLOCK_MAX) {
        fprintf(stderr, "client: %s is no number of times\n", text);
        exit(2);
    }
    return n;
}

/* ---- readers and cards ------------------------------------------------------------------------------------------- */

static char *find_reader(const char *part)
{
    static char names[4096];
    DWORD n = sizeof names;
    LONG rv = SCardListReaders(context, NULL, names, &n);

    if (rv != SCARD_S_SUCCESS)
        die("SCardListReaders", rv);
    for (char *p = names; *p; p += strlen(p) + 1)
        if (strstr(p, part))
            return strdup(p);
    fprintf(stderr, "client: no reader is called %s\n", part);
    exit(1);
}

/* Waits until the slot's state has all bits of `has` and none of `not`. */
static void wait_state(const char *reader, DWORD has, DWORD not)
{
    SCARD_READERSTATE s = {.szReader = reader, .dwCurrentState = SCARD_STATE_UNAWARE};
    double end = now_us() + WAIT_MS * 1e3;

    while (now_us() < end) {
        LONG rv = SCardGetStatusChange(context, WAIT_MS, &s, 1);

        if (rv != SCARD_S_SUCCESS)
            die("SCardGetStatusChange", rv);
        if ((s.dwEventState & has) == has && !(s.dwEventState & not))
            return;
        s.dwCurrentState = s.dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
    }
    die("the card's state did not come", 0);
}

static void wait_card(const char *reader)
{
    wait_state(reader, SCARD_STATE_PRESENT, SCARD_STATE_MUTE | SCARD_STATE_EMPTY);
}

struct link {
    SCARDHANDLE card;
    SCARD_IO_REQUEST pci;
};

static struct link connect_to(const char *reader)
{
    struct link l;
    DWORD protocol = 0;
    LONG rv;

    wait_card(reader);
    rv = SCardConnect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &l.card, &protocol);
    if (rv != SCARD_S_SUCCESS)
        die("SCardConnect", rv);
    l.pci = protocol == SCARD_PROTOCOL_T1 ? *SCARD_PCI_T1 : *SCARD_PCI_T0;
    return l;
}

/* One short APDU: SELECT without data, answered 90 00. */
static void select_once(const struct link *l)
{
    static const BYTE select[] = {0x00, 0xA4, 0x00, 0x00};
    BYTE answer[300];
    DWORD n = sizeof answer;
    LONG rv = SCardTransmit(l->card, &l->pci, select, sizeof select, NULL, answer, &n);

    if (rv != SCARD_S_SUCCESS)
        die("SCardTransmit", rv);
    if (n != 2 || answer[0] != 0x90 || answer[1] != 0x00)
        die("the card did not answer 90 00", (long)n);
}

/* ---- the simulator's control socket ------------------------------------------------------------------------------- */

static int dial(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd < 0 || strlen(path) >= sizeof a.sun_path)
        die("socket", 0);
    strcpy(a.sun_path, path);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("the simulator does not listen", 0);
    return fd;
}

static void ask(int fd, const char *request)
{
    char line[512];
    size_t n = 0;

    if (dprintf(fd, "%s\n", request) < 0)
        die("the simulator is gone", 0);
    while (n < sizeof line - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = '\0';
    if (strncmp(line, "ok", 2) != 0) {
        fprintf(stderr, "client: %s: %s\n", request, line);
        exit(1);
    }
}

/* "0 insert" becomes "0 remove" and so on. */
static void ask_verb(int fd, const char *insert, const char *verb)
{
    char request[512];

    snprintf(request, sizeof request, "%.*s %s", (int)strcspn(insert, " "), insert, verb);
    ask(fd, request);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static int run_loop(char **argv)
{
    char *reader = find_reader(argv[0]);
    struct link l = connect_to(reader);

    for (unsigned long n = number(argv[1]); n > 0; n--)
        select_once(&l);
    SCardDisconnect(l.card, SCARD_LEAVE_CARD);
    free(reader);
    return 0;
}

static void time_block(const struct link *l, double *v, unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) {
        double begin = now_us();

        select_once(l);
        v[i] = now_us() - begin;
    }
}

static int run_compare(char **argv)
{
    char *reader[2] = {find_reader(argv[0]), find_reader(argv[1])};
    struct link l[2] = {connect_to(reader[0]), connect_to(reader[1])};
    unsigned long rounds = number(argv[2]), block = number(argv[3]);
    double *v[2] = {calloc(rounds * block, sizeof(double)), calloc(rounds * block, sizeof(double))};

    if (!v[0] || !v[1])
        die("memory", 0);
    for (unsigned i = 0; i < 2; i++)
        time_block(&l[i], v[i], block); /* to get warm; overwritten */
    for (unsigned long r = 0; r < rounds; r++)
        for (unsigned i = 0; i < 2; i++)
            time_block(&l[i], v[i] + r * block, block);
    printf("a=%.1f b=%.1f\n", median(v[0], rounds * block), median(v[1], rounds * block));
    for (unsigned i = 0; i < 2; i++) {
        SCardDisconnect(l[i].card, SCARD_LEAVE_CARD);
        free(reader[i]);
        free(v[i]);
    }
    return 0;
}

static int run_insert(char **argv)
{
    char *reader = find_reader(argv[0]), request[512];
    int ctl = dial(argv[1]);
    unsigned long times = number(argv[2]), pause = strtoul(argv[5], NULL, 10);
    double *v = calloc(times, sizeof *v);

    if (!v)
        die("memory", 0);
    snprintf(request, sizeof request, "%s %s", argv[4], argv[3]);
    for (unsigned long i = 0; i < times; i++) {
        double begin;

        wait_state(reader, SCARD_STATE_EMPTY, SCARD_STATE_PRESENT);
        usleep((useconds_t)pause * 1000);
        begin = now_us();
        ask(ctl, request);
        wait_card(reader);
        v[i] = now_us() - begin;
        ask_verb(ctl, argv[4], "remove");
    }
    double middle = median(v, times); /* sorts */
    printf("median=%.1f max=%.1f\n", middle, v[times - 1]);
    free(reader);
    free(v);
    close(ctl);
    return 0;
}

struct long_apdu {
    struct link link;
    double end;
    LONG rv;
};

/* The echo card takes five seconds for it. */
static void *transmit_long(void *arg)
{
    static const BYTE wait[] = {0x00, 0xE8, 0x13, 0x88};
    struct long_apdu *a = arg;
    BYTE answer[300];
    DWORD n = sizeof answer;

    a->rv = SCardTransmit(a->link.card, &a->link.pci, wait, sizeof wait, NULL, answer, &n);
    a->end = now_us();
    return NULL;
}

static int run_remove(char **argv)
{
    char *reader = find_reader(argv[0]), request[512];
    int ctl = dial(argv[1]);
    unsigned long times = number(argv[2]), empty = 0;
    double *v = calloc(times, sizeof *v);
    LONG rv = 0;

    if (!v)
        die("memory", 0);
    snprintf(request, sizeof request, "%s %s", argv[4], argv[3]);
    for (unsigned long i = 0; i < times; i++) {
        SCARD_READERSTATE s = {.szReader = reader, .dwCurrentState = SCARD_STATE_UNAWARE};
        struct long_apdu a;
        pthread_t thread;
        double begin;

        wait_state(reader, SCARD_STATE_EMPTY, SCARD_STATE_PRESENT);
        ask(ctl, request);
        a.link = connect_to(reader);
        select_once(&a.link);
        if (pthread_create(&thread, NULL, transmit_long, &a) != 0)
            die("pthread_create", 0);
        usleep(100000); /* the card works on it for seconds: no need to know the moment */
        begin = now_us();
        ask_verb(ctl, argv[4], "remove");
        pthread_join(thread, NULL);
        v[i] = a.end - begin;
        rv = a.rv;
        if (SCardGetStatusChange(context, 0, &s, 1) == SCARD_S_SUCCESS && s.dwEventState & SCARD_STATE_EMPTY)
            empty++;
        SCardDisconnect(a.link.card, SCARD_LEAVE_CARD);
    }
    printf("median=%.1f empty=%lu of=%lu code=%08lX\n", median(v, times), empty, times, (unsigned long)rv & 0xFFFFFFFFUL);
    free(reader);
    free(v);
    close(ctl);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        int (*run)(char **argv);
    } commands[] = {
        {"loop", 2, run_loop}, {"compare", 4, run_compare}, {"insert", 6, run_insert}, {"remove", 5, run_remove}};
    LONG rv;

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (argc != commands[i].arguments + 2 || strcmp(argv[1], commands[i].name) != 0)
            continue;
        rv = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
        if (rv != SCARD_S_SUCCESS)
            die("SCardEstablishContext", rv);
        int status = commands[i].run(argv + 2);
        SCardReleaseContext(context);
        return status;
    }
    fputs("usage: client loop READER N | compare A B ROUNDS BLOCK | insert READER CTL N CARD CMD PAUSE | "
          "remove READER CTL N CARD CMD\n", stderr);
    return 2;
}
