/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * pcscd's part in the storm, as spec and source have it (pcsc-lite 1.9.9 and 2.5.1): which thread calls what, under
 * which mutex, and in which order a reader is opened and removed. What pcscd does with the answers is left out, but for
 * its idea of each slot (a card, powered or not), on which its next call depends.
 *
 * Nothing in here may order two threads that pcscd would not order: ThreadSanitizer would take a lock of ours for one
 * of the driver's and see no race. So flags are relaxed atomics, and the log is a counter.
 */
#include "storm.h"

#include <PCSC/reader.h>
#include <debuglog.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WATCHES = 128, HANG_SECONDS = 60, NEVER_MS = 600000, POLL_RETRY_US = 400000, MUTEX_TRIES = 5 };

#define peek(x)    atomic_load_explicit(&(x), memory_order_relaxed)
#define poke(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)

atomic_ulong closes_in_transmit;
atomic_int pcscd_grace = PCSCD_GRACE_MS;

/* ---- pcscd's log ---- */

#define EXPORT __attribute__((visibility("default")))

static bool log_shown(void)
{
    static _Thread_local int shown = -1;

    if (shown < 0)
        shown = getenv("STORM_LOG") != NULL;
    return shown;
}

EXPORT void log_msg(const int priority, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap); /* a formatted line, as pcscd makes it: a bad argument shows */
    va_end(ap);
    if (!log_shown() || n <= 0)
        return;
    n = n < (int)sizeof line - 1 ? n : (int)sizeof line - 2;
    line[n] = '\n';
    (void)!write(STDERR_FILENO, line, (size_t)n + 1);
    (void)priority;
}

EXPORT void log_xxd(const int priority, const char *msg, const unsigned char *buffer, const int size)
{
    unsigned sum = 0;

    for (int i = 0; i < size; i++)
        sum += buffer[i];
    log_msg(priority, "%s (%d bytes, sum %u)", msg, size, sum);
}

static void *symbol(void *lib, const char *name)
{
    void *p = dlsym(lib, name);

    if (!p) {
        fprintf(stderr, "storm: %s\n", dlerror());
        exit(2);
    }
    return p;
}

/* ---- libusb's own leak ----
 *
 * libusb 1.0.26 never frees a device that goes away while libusb_init() lists what is there: before the context is
 * ready for hotplug events, usbi_hotplug_notification() drops the one that would free it. LeakSanitizer finds that.
 * Nothing is suppressed here; readers go at every moment but that one, by a mutex around libusb_init, which this
 * program's definition of the name catches.
 */

static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER;

struct libusb_context;
EXPORT int libusb_init(struct libusb_context **context);

EXPORT int libusb_init(struct libusb_context **context)
{
    static int (*real)(struct libusb_context **);
    int rc;

    pthread_mutex_lock(&listing);
    if (!real) /* the driver brought the library with it, out of this program's sight */
        *(void **)&real = symbol(dlopen("libusb-1.0.so.0", RTLD_NOW | RTLD_NOLOAD), "libusb_init");
    rc = real(context);
    pthread_mutex_unlock(&listing);
    return rc;
}

void bus_hold(void)
{
    pthread_mutex_lock(&listing);
}

void bus_let_go(void)
{
    pthread_mutex_unlock(&listing);
}

/* ---- calls that do not come back ---- */

static struct watch {
    atomic_bool taken;
    atomic_uintptr_t call;
    atomic_ulong lun;
    atomic_long since; /* seconds; 0: no call */
} watches[WATCHES];
static _Thread_local struct watch *mine;

static long seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long)t.tv_sec + 1;
}

void watch_begin(const char *call, DWORD lun)
{
    for (unsigned i = 0; i < WATCHES && !mine; i++)
        if (!atomic_exchange_explicit(&watches[i].taken, true, memory_order_relaxed))
            mine = &watches[i];
    if (!mine) {
        fprintf(stderr, "storm: more than %d calls at a time\n", WATCHES);
        abort();
    }
    poke(mine->call, (uintptr_t)call);
    poke(mine->lun, lun);
    poke(mine->since, seconds());
}

void watch_end(void)
{
    poke(mine->since, 0);
    poke(mine->taken, false);
    mine = NULL;
}

static void *watch_all(void *arg)
{
    for (;;) {
        sleep(1);
        for (unsigned i = 0; i < WATCHES; i++) {
            long since = peek(watches[i].since);

            if (since == 0 || seconds() - since < HANG_SECONDS)
                continue;
            printf("FAIL hang %s of Lun %lx has not come back after %d s\n", (const char *)peek(watches[i].call),
                   peek(watches[i].lun), HANG_SECONDS);
            fflush(stdout);
            abort();
        }
    }
    return arg;
}

void watch_start(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, watch_all, NULL) == 0)
        pthread_detach(thread);
}

#define CALL(slot, name, ...) call_((slot), #name, (slot)->reader->handler->name, __VA_ARGS__)
#define call_(slot, text, fn, ...)                                                                                     \
    __extension__({                                                                                                    \
        watch_begin(text, (slot)->lun);                                                                                \
        RESPONSECODE rc_ = fn((slot)->lun, __VA_ARGS__);                                                               \
        watch_end();                                                                                                   \
        rc_;                                                                                                           \
    })

static RESPONSECODE call_presence(struct slot *s)
{
    RESPONSECODE rc;

    watch_begin("IFDHICCPresence", s->lun);
    rc = s->reader->handler->presence(s->lun);
    watch_end();
    return rc;
}

/* ---- loading ---- */

static void load(struct handler *h, const char *directory, const char *file)
{
    char path[4096];
    void *lib;

    snprintf(path, sizeof path, "%s/%s", directory, file);
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        fprintf(stderr, "storm: %s\n", dlerror());
        exit(2);
    }
    *(void **)&h->create = symbol(lib, "IFDHCreateChannelByName");
    *(void **)&h->close = symbol(lib, "IFDHCloseChannel");
    *(void **)&h->get = symbol(lib, "IFDHGetCapabilities");
    *(void **)&h->set = symbol(lib, "IFDHSetCapabilities");
    *(void **)&h->protocol = symbol(lib, "IFDHSetProtocolParameters");
    *(void **)&h->power = symbol(lib, "IFDHPowerICC");
    *(void **)&h->transmit = symbol(lib, "IFDHTransmitToICC");
    *(void **)&h->presence = symbol(lib, "IFDHICCPresence");
    *(void **)&h->control = symbol(lib, "IFDHControl");
}

void pcscd_load(const char *directory)
{
    static struct handler usb, serial;

    load(&usb, directory, "libifdpurse.so");
    load(&serial, directory, "libifdpurse-serial.so");
    for (unsigned i = 0; i < READERS; i++)
        readers[i].handler = readers[i].kind == KIND_SERIAL ? &serial : &usb;
}

/* ---- power, with the mutex held ---- */

static void forget_card(struct slot *s)
{
    s->present = s->powered = s->linked = false;
}

static bool power(struct slot *s, DWORD action)
{
    UCHAR atr[MAX_ATR_SIZE];
    DWORD n = sizeof atr;
    RESPONSECODE rc = CALL(s, power, action, atr, &n);

    s->linked = false;
    s->powered = rc == IFD_SUCCESS && action != IFD_POWER_DOWN;
    if (s->powered && (n < 2 || n > MAX_ATR_SIZE))
        fail("slot %u: an ATR of %lu bytes", s->number, n);
    if (s->powered) /* T=0 only for the echo-t0 cards, whose ATR has no interface bytes */
        s->protocol = atr[1] >> 4 ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0;
    return s->powered;
}

static bool look(struct slot *s)
{
    bool there = call_presence(s) == IFD_ICC_PRESENT;

    if (!there)
        forget_card(s);
    return there;
}

/* ---- the presence thread of a slot ---- */

/* What it does between two polls. */
static void see_to(struct slot *s)
{
    pthread_mutex_lock(s->mutex);
    bool there = look(s);
    if (there && !s->present) {
        s->present = true;
        (void)power(s, IFD_POWER_UP);
    }
    pthread_mutex_unlock(s->mutex);
}

/* After the grace period of a card that nobody uses. */
static void power_down_unused(struct slot *s)
{
    pthread_mutex_lock(s->mutex);
    if (s->powered && peek(s->sessions) == 0)
        (void)power(s, IFD_POWER_DOWN);
    pthread_mutex_unlock(s->mutex);
}

static void *run_poller(void *arg)
{
    struct slot *s = arg;

    while (!peek(s->leaving)) {
        see_to(s);
        pthread_mutex_lock(s->mutex);
        bool unused = s->powered && peek(s->sessions) == 0;
        pthread_mutex_unlock(s->mutex);
        if (peek(s->leaving))
            break;
        RESPONSECODE rc = s->poll(s->lun, unused ? peek(pcscd_grace) : NEVER_MS); /* watched by pcscd_end_poller() */
        if (rc != IFD_SUCCESS) {
            fail("slot %u: the polling function returned %ld", s->number, rc);
            usleep(POLL_RETRY_US);
        }
        if (unused && !peek(s->leaving))
            power_down_unused(s);
    }
    return NULL;
}

/* ---- opening and closing ---- */

static unsigned get_byte(struct slot *s, DWORD tag)
{
    UCHAR value = 0;
    DWORD n = 1;

    return CALL(s, get, tag, &n, &value) == IFD_SUCCESS && n == 1 ? value : 0;
}

static void *get_function(struct slot *s, DWORD tag)
{
    void *f = NULL;
    DWORD n = sizeof f;

    if (CALL(s, get, tag, &n, (PUCHAR)&f) != IFD_SUCCESS || n != sizeof f || !f) {
        fail("slot %u: no function behind tag %lx", s->number, tag);
        return NULL;
    }
    return f;
}

static bool open_slot(struct slot *s)
{
    RESPONSECODE rc = CALL(s, create, s->reader->name);
    void *f;

    if (rc != IFD_SUCCESS)
        return false;
    f = get_function(s, TAG_IFD_POLLING_THREAD_WITH_TIMEOUT);
    *(void **)&s->poll = f;
    f = get_function(s, TAG_IFD_STOP_POLLING_THREAD);
    *(void **)&s->stop = f;
    pthread_mutex_lock(s->mutex);
    forget_card(s);
    pthread_mutex_unlock(s->mutex);
    (void)call_presence(s); /* pcscd's main thread asks once, before there is a presence thread */
    poke(s->leaving, false);
    s->poller_runs = s->poll && s->stop && pthread_create(&s->poller, NULL, run_poller, s) == 0;
    return s->poller_runs;
}

bool pcscd_open(struct reader *r)
{
    struct slot *first = &r->slots[0];
    unsigned n;

    if (!open_slot(first))
        return false;
    n = get_byte(first, TAG_IFD_SLOTS_NUMBER);
    if (n != r->slot_count)
        fail("%s has %u slots, and not %u", r->name, n, r->slot_count);
    for (unsigned i = 1; i < r->slot_count && i < n; i++) {
        struct slot *s = &r->slots[i];

        if (!s->mutex) /* at the first opening, when there are no clients yet */
            s->mutex = &r->mutexes[get_byte(first, TAG_IFD_SLOT_THREAD_SAFE) ? i : 0];
        if (!open_slot(s)) { /* it may just have been pulled out: then the whole reader goes */
            pcscd_close(r, false, 0);
            return false;
        }
    }
    poke(r->open, true);
    return true;
}

void pcscd_end_poller(struct slot *s)
{
    if (!s->poller_runs)
        return;
    poke(s->leaving, true);
    s->stop(s->lun);
    watch_begin("the polling function, stopped,", s->lun);
    pthread_join(s->poller, NULL);
    watch_end();
    s->poller_runs = false;
}

static void close_slot(struct slot *s, bool removed, unsigned patience_us)
{
    UCHAR one = 1;
    bool locked = false;

    if (!s->poll)
        return;
    if (removed)
        (void)CALL(s, set, TAG_IFD_DEVICE_REMOVED, 1, &one);
    for (unsigned i = 0; i < MUTEX_TRIES && !locked; i++) {
        locked = pthread_mutex_trylock(s->mutex) == 0;
        if (!locked && patience_us > 0)
            usleep(patience_us / MUTEX_TRIES);
    }
    if (peek(s->in_transmit))
        atomic_fetch_add_explicit(&closes_in_transmit, 1, memory_order_relaxed);
    watch_begin("IFDHCloseChannel", s->lun);
    RESPONSECODE rc = s->reader->handler->close(s->lun);
    watch_end();
    if (rc != IFD_SUCCESS)
        fail("slot %u: CloseChannel returned %ld", s->number, rc);
    if (locked)
        pthread_mutex_unlock(s->mutex);
    s->poll = NULL;
}

void pcscd_close(struct reader *r, bool removed, unsigned patience_us)
{
    poke(r->open, false);
    for (unsigned i = 0; i < r->slot_count; i++)
        pcscd_end_poller(&r->slots[i]);
    for (unsigned i = 0; i < r->slot_count; i++)
        close_slot(&r->slots[i], removed, patience_us);
}

/* ---- a client's calls ---- */

/* Mutex held: powers up and sets the protocol, if that is needed. */
static bool link_up(struct slot *s)
{
    RESPONSECODE rc;

    if (!s->powered && (!look(s) || !power(s, IFD_POWER_UP)))
        return false;
    if (s->linked)
        return true;
    rc = CALL(s, protocol, s->protocol, 0, 0, 0, 0);
    s->linked = rc == IFD_SUCCESS;
    if (rc == IFD_ICC_NOT_PRESENT)
        forget_card(s);
    return s->linked;
}

bool client_connect(struct slot *s)
{
    bool good;

    if (!peek(s->reader->open))
        return false;
    atomic_fetch_add_explicit(&s->sessions, 1, memory_order_relaxed);
    pthread_mutex_lock(s->mutex);
    good = s->present && link_up(s);
    pthread_mutex_unlock(s->mutex);
    if (!good)
        atomic_fetch_sub_explicit(&s->sessions, 1, memory_order_relaxed);
    return good;
}

/* The last client's end stops the polling function, so that the presence thread takes the grace period up. */
void client_disconnect(struct slot *s, DWORD action)
{
    stop_fn stop = NULL;
    DWORD n = sizeof stop;

    pthread_mutex_lock(s->mutex);
    if (action != IFD_POWER_UP && s->powered)
        (void)power(s, action);
    bool open = CALL(s, get, TAG_IFD_STOP_POLLING_THREAD, &n, (PUCHAR)&stop) == IFD_SUCCESS && stop;
    pthread_mutex_unlock(s->mutex);
    if (atomic_fetch_sub_explicit(&s->sessions, 1, memory_order_relaxed) == 1 && open)
        (void)stop(s->lun);
}

RESPONSECODE client_reset(struct slot *s)
{
    pthread_mutex_lock(s->mutex);
    RESPONSECODE rc = look(s) && power(s, IFD_RESET) && link_up(s) ? IFD_SUCCESS : IFD_COMMUNICATION_ERROR;
    pthread_mutex_unlock(s->mutex);
    return rc;
}

RESPONSECODE client_transmit(struct slot *s, const uint8_t *apdu, size_t n, uint8_t *answer, size_t *len)
{
    SCARD_IO_HEADER pci = {.Protocol = s->protocol == SCARD_PROTOCOL_T1 ? 1 : 0, .Length = sizeof pci}, back;
    UCHAR command[300];
    DWORD got = *len;
    RESPONSECODE rc;

    memcpy(command, apdu, n);
    if (!s->linked && !link_up(s))
        return IFD_ICC_NOT_PRESENT;
    poke(s->in_transmit, true);
    rc = CALL(s, transmit, pci, command, n, answer, &got, &back);
    poke(s->in_transmit, false);
    if (rc == IFD_ICC_NOT_PRESENT)
        forget_card(s);
    if (rc != IFD_SUCCESS && got != 0)
        fail("slot %u: %lu bytes behind a failed transmit", s->number, got);
    *len = got;
    return rc;
}

/* What programs ask beside APDUs. */
void client_ask(struct slot *s)
{
    static const DWORD tags[] = {TAG_IFD_ATR,          SCARD_ATTR_VENDOR_IFD_SERIAL_NO, SCARD_ATTR_VENDOR_IFD_VERSION,
                                 SCARD_ATTR_MAXINPUT,  SCARD_ATTR_ICC_PRESENCE,         SCARD_ATTR_ICC_INTERFACE_STATUS,
                                 SCARD_ATTR_CHANNEL_ID};
    UCHAR value[256], feature[64];
    DWORD n = 0;

    pthread_mutex_lock(s->mutex);
    for (unsigned i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        n = sizeof value;
        (void)CALL(s, get, tags[i], &n, value);
    }
    (void)CALL(s, control, 0x42000D48, NULL, 0, feature, sizeof feature, &n);
    (void)CALL(s, control, 0x42330012, NULL, 0, feature, sizeof feature, &n);
    pthread_mutex_unlock(s->mutex);
}
