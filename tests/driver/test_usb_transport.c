/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The USB transport over real libusb, against readers that are nothing but endpoints (transport_model.c).
 *
 * Run without PURSE_SIM_CTL it starts the simulator (PURSE_SIM names a purse-sim with the model "loop") with itself as
 * the program inside. A reader is found by its PID: FIRST_PID plus the place of its shape in SHAPES, as in the model.
 * The simulator is asked over its control socket; what has to happen first is waited for, by an event of the transport
 * or by the simulator's "until".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#undef R_SUCCESS /* the access() mode */
#include <cmocka.h>
#include <libusb.h>

#include "stub_log.h"
#include "transport/usb.h"

enum shape { A, B, C, HID, HIDSET, TWO, CCID, NONE, SHAPE_COUNT };
enum { VID = 0x072f, FIRST_PID = 0x9f00, REPLY_MAX = 4096 };

static const char *const SHAPES[SHAPE_COUNT] = {"a", "b", "c", "hid", "hidset", "two", "ccid", "none"};

/* Long enough that only a fault lets it pass. */
static deadline_t soon(void)
{
    return deadline_in(20000);
}

/* ---- the simulator ---------------------------------------------------------------------------------------------- */

static char reply[REPLY_MAX];

/* Sends one request and returns what follows "ok " in the reply. */
static const char *sim(const char *fmt, ...)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char line[REPLY_MAX];
    size_t used = 0;
    va_list ap;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n;

    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("PURSE_SIM_CTL"));
    assert_int_equal(connect(s, (struct sockaddr *)&to, sizeof to), 0);
    va_start(ap, fmt);
    n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    assert_int_equal(write(s, line, (size_t)n), n);
    while (used == 0 || reply[used - 1] != '\n') {
        ssize_t k = read(s, reply + used, sizeof reply - used);

        assert_true(k > 0);
        used += (size_t)k;
    }
    reply[used - 1] = '\0';
    close(s);
    if (strncmp(reply, "ok", 2) != 0)
        fail_msg("%.*s: %s", n - 1, line, reply);
    return reply + 2;
}

/* Packets that the host has taken from a reader so far. */
static unsigned long packets_in(const char *name)
{
    const char *at = strstr(sim("%s stats", name), " in=");

    assert_non_null(at);
    return strtoul(at + 4, NULL, 10);
}

/* ---- a transport under test ------------------------------------------------------------------------------------- */

struct bed {
    struct log log;
    struct transport *t;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned notified; /* guarded */
};

/* What a test that failed leaves open; the next one needs the reader. */
static struct transport *left_open;

static int close_leftover(void **state)
{
    (void)state;
    if (left_open)
        left_open->ops->close(left_open);
    left_open = NULL;
    return 0;
}

static void on_notify(void *arg)
{
    struct bed *bed = arg;

    pthread_mutex_lock(&bed->lock);
    bed->notified++;
    pthread_cond_broadcast(&bed->changed);
    pthread_mutex_unlock(&bed->lock);
}

/* Waits until notify was called at least `times` times; returns how often it was. */
static unsigned await_notified(struct bed *bed, unsigned times)
{
    struct timespec until = deadline_timespec(soon());
    unsigned n;
    int rc = 0;

    pthread_mutex_lock(&bed->lock);
    while (bed->notified < times && rc == 0)
        rc = pthread_cond_timedwait(&bed->changed, &bed->lock, &until);
    n = bed->notified;
    pthread_mutex_unlock(&bed->lock);
    if (n < times)
        fail_msg("notify was called %u times, not %u", n, times);
    return n;
}

static unsigned notified(struct bed *bed)
{
    unsigned n;

    pthread_mutex_lock(&bed->lock);
    n = bed->notified;
    pthread_mutex_unlock(&bed->lock);
    return n;
}

/* Waits until there is something to come for. Whatever makes pending() true is followed by a call of notify. */
static void await_pending(struct bed *bed)
{
    struct timespec until = deadline_timespec(soon());
    bool pending;
    int rc = 0;

    pthread_mutex_lock(&bed->lock);
    while (!(pending = bed->t->ops->pending(bed->t)) && rc == 0)
        rc = pthread_cond_timedwait(&bed->changed, &bed->lock, &until);
    pthread_mutex_unlock(&bed->lock);
    assert_true(pending);
}

static bool find(enum shape shape, struct usb_address *a)
{
    libusb_context *context;
    libusb_device **list;
    bool found = false;

    assert_int_equal(libusb_init(&context), 0);
    ssize_t n = libusb_get_device_list(context, &list);
    for (ssize_t i = 0; i < n; i++) {
        struct libusb_device_descriptor d;

        if (libusb_get_device_descriptor(list[i], &d) != 0 || d.idProduct != FIRST_PID + (unsigned)shape)
            continue;
        *a = (struct usb_address){.vid = VID,
                                  .pid = d.idProduct,
                                  .bus = libusb_get_bus_number(list[i]),
                                  .device = libusb_get_device_address(list[i]),
                                  .interface = -1};
        found = true;
    }
    libusb_free_device_list(list, 1);
    libusb_exit(context);
    return found;
}

static void open_bed(struct bed *bed)
{
    pthread_condattr_t attr;

    memset(bed, 0, sizeof *bed);
    log_init(&bed->log, PLOG_CRITICAL | PLOG_INFO, "test");
    pthread_mutex_init(&bed->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&bed->changed, &attr);
    pthread_condattr_destroy(&attr);
    stub_log_clear();
}

static struct usb_open_options options(struct bed *bed, enum shape shape)
{
    struct usb_open_options o = {.form = shape == HID || shape == HIDSET ? USB_FORM_HID : USB_FORM_AUTO,
                                 .notify = on_notify,
                                 .notify_arg = bed,
                                 .log = &bed->log};

    assert_true(find(shape, &o.address));
    return o;
}

static void open_reader(struct bed *bed, enum shape shape)
{
    struct usb_open_options o;

    open_bed(bed);
    o = options(bed, shape);
    assert_int_equal(usb_open(&bed->t, &o), R_SUCCESS);
    left_open = bed->t;
}

static void close_reader(struct bed *bed)
{
    if (bed->t == left_open)
        left_open = NULL;
    if (bed->t)
        bed->t->ops->close(bed->t);
    pthread_cond_destroy(&bed->changed);
    pthread_mutex_destroy(&bed->lock);
    log_done(&bed->log);
}

static enum result put(struct bed *bed, const uint8_t *data, size_t n)
{
    return bed->t->ops->write(bed->t, data, n, soon());
}

static enum result get(struct bed *bed, uint8_t *chunk, size_t *n, unsigned *pipe, deadline_t until)
{
    return bed->t->ops->read(bed->t, chunk, TRANSPORT_CHUNK_MAX, n, pipe, until);
}

static enum result get_any(struct bed *bed, deadline_t until)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    unsigned pipe;
    size_t n;

    return get(bed, chunk, &n, &pipe, until);
}

/* Writes n bytes and reads them back in chunks of at most `packet`. */
static void round_trip(struct bed *bed, size_t n, size_t packet)
{
    uint8_t data[4096] = {0}, chunk[TRANSPORT_CHUNK_MAX];
    unsigned pipe;
    size_t got;

    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(i * 3 + n);
    assert_int_equal(put(bed, data, n), R_SUCCESS);
    for (size_t at = 0; at < n; at += got) {
        assert_int_equal(get(bed, chunk, &got, &pipe, soon()), R_SUCCESS);
        assert_int_equal(got, n - at < packet ? n - at : packet);
        assert_int_equal(pipe, 0);
        assert_memory_equal(chunk, data + at, got);
    }
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void test_facts(void **state)
{
    static const char *const FORMS[] = {"A (", "B (bulk, and interrupt", "C (", "HID (interrupt", "HID (SET_REPORT"};

    (void)state;
    for (enum shape shape = A; shape <= HIDSET; shape++) {
        struct transport_facts facts;
        struct usb_address a;
        static struct bed bed;

        open_reader(&bed, shape);
        assert_int_equal(bed.t->facts.vid, VID);
        assert_int_equal(bed.t->facts.pid, FIRST_PID + (unsigned)shape);
        assert_int_equal(bed.t->facts.release, 0x1234);
        assert_string_equal(bed.t->facts.serial, "S/N 0815");
        assert_string_equal(bed.t->facts.product, "Loop reader"); /* trimmed, without the control character */
        assert_string_equal(bed.t->facts.manufacturer, "Maker");
        assert_ptr_equal(strstr(bed.t->facts.form, FORMS[shape]), bed.t->facts.form);
        close_reader(&bed);
        open_bed(&bed);
        assert_true(find(shape, &a));
        assert_int_equal(usb_read_facts(&a, &facts, &bed.log), R_SUCCESS);
        assert_int_equal(facts.bus, a.bus);
        assert_int_equal(facts.address, a.device);
        assert_string_equal(facts.serial, "S/N 0815");
        assert_int_equal(stub_log_count(), 0);
        close_reader(&bed);
    }
}

static void test_refusals(void **state)
{
    static struct bed bed;
    struct usb_open_options o;

    (void)state;
    open_bed(&bed);
    o = options(&bed, TWO);
    o.address.interface = 0;
    assert_int_equal(usb_open(&bed.t, &o), R_NOT_SUPPORTED);
    assert_null(bed.t);
    assert_int_equal(stub_log_count(), 0); /* quiet: interface 1 is the reader */
    o.address.interface = 1;
    assert_int_equal(usb_open(&bed.t, &o), R_SUCCESS);
    close_reader(&bed);

    open_bed(&bed);
    o = options(&bed, NONE);
    assert_int_equal(usb_open(&bed.t, &o), R_NOT_SUPPORTED);
    assert_int_equal(stub_log_matches("none of the 1 USB interfaces"), 1);
    o = options(&bed, CCID);
    o.refuse_class = 0x0b;
    assert_int_equal(usb_open(&bed.t, &o), R_NOT_SUPPORTED);
    assert_int_equal(stub_log_matches("CCID"), 1);
    o.refuse_class = 0;
    assert_int_equal(usb_open(&bed.t, &o), R_SUCCESS);
    close_reader(&bed);
}

static void test_not_there(void **state)
{
    struct transport_facts facts;
    static struct bed bed;
    struct usb_open_options o;

    (void)state;
    open_bed(&bed);
    o = options(&bed, A);
    o.address.device += 100;
    assert_int_equal(usb_open(&bed.t, &o), R_GONE);
    assert_int_equal(usb_read_facts(&o.address, &facts, &bed.log), R_GONE);
    o.address.device -= 100;
    o.address.pid ^= 1; /* another device has got the number */
    assert_int_equal(usb_open(&bed.t, &o), R_GONE);
    assert_int_equal(stub_log_count(), 0);
    close_reader(&bed);
}

static void test_in_use(void **state)
{
    static struct bed one, two;
    struct usb_open_options o;

    (void)state;
    open_reader(&one, A);
    open_bed(&two);
    o = options(&two, A);
    assert_int_equal(usb_open(&two.t, &o), R_SYSTEM);
    assert_int_equal(stub_log_matches("in use by another program"), 1);
    close_reader(&two);
    round_trip(&one, 8, 8);
    close_reader(&one);
}

/* Gives root's right to read and write everything away, or takes it back. */
static void set_override(bool on)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    const uint32_t bits = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;

    assert_int_equal(syscall(SYS_capget, &header, data), 0);
    data[0].effective = on ? data[0].effective | bits : data[0].effective & ~bits;
    assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static void test_no_permission(void **state)
{
    static struct bed bed;
    char node[256];
    struct usb_open_options o;
    enum result r;

    (void)state;
    if (geteuid() != 0)
        skip(); /* the node would be ours, and we could not take the right from us */
    open_bed(&bed);
    o = options(&bed, A);
    snprintf(node, sizeof node, "%s/dev/bus/usb/%03u/%03u", getenv("UMOCKDEV_DIR"), o.address.bus, o.address.device);
    assert_int_equal(chmod(node, 0), 0);
    set_override(false);
    r = usb_open(&bed.t, &o);
    set_override(true);
    assert_int_equal(chmod(node, 0600), 0);
    assert_int_equal(r, R_SYSTEM);
    assert_int_equal(stub_log_count(), 1);
    assert_true(stub_log_has("/dev/bus/usb/001/", "udev rule", "pcscd", NULL));
    close_reader(&bed);
}

static void test_kernel_driver(void **state)
{
    static struct bed bed;

    (void)state;
    assert_non_null(strstr(sim("hid kdriver"), "usbhid"));
    open_reader(&bed, HID);
    assert_null(strstr(sim("hid kdriver"), "usbhid"));
    close_reader(&bed);
    assert_non_null(strstr(sim("hid kdriver"), "usbhid"));
}

static unsigned entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void test_open_close_100(void **state)
{
    static struct bed bed;
    unsigned fds = 0, threads = 0;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        open_reader(&bed, (enum shape)(i % 5));
        if (i % 3 == 0)
            round_trip(&bed, 8, 8);
        close_reader(&bed);
        if (i == 4) {
            fds = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
        }
    }
    assert_int_equal(entries("/proc/self/fd"), fds);
    assert_int_equal(entries("/proc/self/task"), threads);
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static void test_messages(void **state)
{
    static const struct {
        enum shape shape;
        size_t packet, most;
    } ROWS[] = {{A, 8, 4096}, {B, 64, 4096}, {C, 16, 4096}, {HID, 64, 64}, {HIDSET, 64, 64}};

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const size_t lengths[] = {1, ROWS[i].packet - 1, ROWS[i].packet, ROWS[i].most};
        uint8_t data[4097] = {0};
        char before[REPLY_MAX];
        static struct bed bed;

        open_reader(&bed, ROWS[i].shape);
        for (size_t k = 0; k < 4; k++)
            round_trip(&bed, lengths[k], ROWS[i].packet);
        if (ROWS[i].most > 64)
            round_trip(&bed, ROWS[i].packet + 1, ROWS[i].packet);
        snprintf(before, sizeof before, "%s", sim("%s seen", SHAPES[ROWS[i].shape]));
        assert_int_equal(put(&bed, data, 0), R_INVALID);
        assert_int_equal(put(&bed, data, ROWS[i].most + 1), R_INVALID);
        assert_string_equal(sim("%s seen", SHAPES[ROWS[i].shape]), before); /* nothing was sent */
        close_reader(&bed);
    }
}

static void test_requests(void **state)
{
    uint8_t report[64] = {0x02, 0x55};
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    round_trip(&bed, 0x123, 8);
    assert_non_null(strstr(sim("a seen"), "bytes=291 setup=4000000000002301"));
    close_reader(&bed);
    open_reader(&bed, HIDSET);
    assert_int_equal(put(&bed, report, sizeof report), R_SUCCESS);
    assert_non_null(strstr(sim("hidset seen"), "bytes=64 setup=2109020200004000")); /* report ID 2, interface 0 */
    close_reader(&bed);
    open_reader(&bed, C);
    round_trip(&bed, 16 * 3 + 1, 16);
    assert_non_null(strstr(sim("c seen"), " bytes=1 ")); /* the last of four pieces */
    close_reader(&bed);
}

static void test_report_descriptor(void **state)
{
    uint8_t buf[100];
    static struct bed bed;
    size_t n;

    (void)state;
    open_reader(&bed, HID);
    assert_int_equal(usb_hid_report_descriptor(bed.t, buf, sizeof buf, &n, soon()), R_SUCCESS);
    assert_int_equal(n, 22);
    assert_int_equal(buf[0], 0x06);
    assert_int_equal(buf[21], 0xc0);
    assert_int_equal(usb_hid_report_descriptor(bed.t, buf, 5, &n, soon()), R_SUCCESS);
    assert_int_equal(n, 5);
    round_trip(&bed, 64, 64);
    close_reader(&bed);
    open_reader(&bed, A);
    assert_int_equal(usb_hid_report_descriptor(bed.t, buf, sizeof buf, &n, soon()), R_NOT_SUPPORTED);
    close_reader(&bed);
}

static void test_second_pipe(void **state)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    static struct bed bed;
    unsigned pipe;
    size_t n;

    (void)state;
    open_reader(&bed, B);
    sim("b send i 0102");
    assert_int_equal(get(&bed, chunk, &n, &pipe, soon()), R_SUCCESS);
    assert_int_equal(pipe, 1);
    assert_int_equal(n, 2);
    round_trip(&bed, 65, 64);
    close_reader(&bed);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void test_read_deadline(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    int64_t start = clock_now();
    assert_int_equal(get_any(&bed, deadline_in(200)), R_TIMEOUT);
    assert_true(clock_now() - start >= 200 * INT64_C(1000000));
    assert_int_equal(get_any(&bed, 0), R_TIMEOUT);
    sim("a send i 01");
    await_notified(&bed, 1);
    assert_int_equal(get_any(&bed, 0), R_SUCCESS); /* what is there is given, however late it is */
    close_reader(&bed);
}

static void test_write_deadline(void **state)
{
    static const struct {
        enum shape shape;
        char pipe;
    } ROWS[] = {{A, 'c'}, {B, 'b'}, {C, 'i'}, {HID, 'i'}};
    uint8_t data[64] = {1};

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const char *name = SHAPES[ROWS[i].shape];
        static struct bed bed;

        open_reader(&bed, ROWS[i].shape);
        sim("%s break out %c delay 1 600", name, ROWS[i].pipe);
        int64_t start = clock_now();
        assert_int_equal(bed.t->ops->write(bed.t, data, 16, deadline_in(100)), R_TIMEOUT);
        assert_true(clock_now() - start >= 100 * INT64_C(1000000));
        assert_int_equal(bed.t->ops->write(bed.t, data, 16, 0), R_TIMEOUT);
        round_trip(&bed, 16, ROWS[i].shape == A ? 8 : 64); /* the taken-back message is not sent any more */
        close_reader(&bed);
    }
}

struct late {
    struct bed *bed;
    const char *request; /* NULL: cancel */
};

/* Acts once the main thread waits in the transport: that is when it sleeps. */
static void *act_late(void *arg)
{
    struct late *late = arg;
    char path[64], stat[512];

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
    do {
        FILE *f = fopen(path, "r");

        if (f) {
            if (!fgets(stat, sizeof stat, f))
                stat[0] = '\0';
            fclose(f);
        }
    } while (!strstr(stat, ") S "));
    if (late->request)
        sim("%s", late->request);
    else
        late->bed->t->ops->cancel(late->bed->t);
    return NULL;
}

static pthread_t start_late(struct late *late)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, act_late, late), 0);
    return thread;
}

static void test_cancel(void **state)
{
    uint8_t data[8] = {1};

    (void)state;
    for (unsigned writing = 0; writing < 2; writing++) {
        static struct bed bed;
        struct late late = {.bed = &bed};

        open_reader(&bed, A);
        if (writing)
            sim("a break out c delay 1 600");
        pthread_t thread = start_late(&late);
        if (writing)
            assert_int_equal(bed.t->ops->write(bed.t, data, 8, DEADLINE_NEVER), R_CANCELLED);
        else
            assert_int_equal(get_any(&bed, DEADLINE_NEVER), R_CANCELLED);
        pthread_join(thread, NULL);
        assert_int_equal(get_any(&bed, DEADLINE_NEVER), R_CANCELLED);
        assert_int_equal(bed.t->ops->write(bed.t, data, 8, DEADLINE_NEVER), R_CANCELLED);
        assert_int_equal(bed.t->ops->reset(bed.t), R_CANCELLED);
        assert_int_equal(transport_drain(bed.t, 10, soon()), R_CANCELLED);
        close_reader(&bed);
    }
}

/* ---- input that nobody waits for -------------------------------------------------------------------------------- */

static void test_notify_once(void **state)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    static struct bed bed;
    unsigned pipe;
    size_t n;

    (void)state;
    open_reader(&bed, A);
    assert_false(bed.t->ops->pending(bed.t));
    for (unsigned round = 1; round <= 2; round++) {
        unsigned long in = packets_in("a");

        sim("a send i 00 20");
        sim("a until 10000 *in=%lu?out=* stats", in + 20);
        assert_int_equal(await_notified(&bed, round), round);
        assert_true(bed.t->ops->pending(bed.t));
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(get(&bed, chunk, &n, &pipe, i == 0 ? 0 : soon()), R_SUCCESS);
            assert_int_equal(n, 1);
            assert_int_equal(chunk[0], i);
        }
        assert_int_equal(get_any(&bed, 0), R_TIMEOUT);
        assert_false(bed.t->ops->pending(bed.t));
        if (notified(&bed) != round)
            break; /* the last of the twenty came while we read: rightly told of, and no more to be learnt here */
    }
    close_reader(&bed);
}

static void test_overflow(void **state)
{
    enum { SENT = 3000, KEPT = 16384 / 11 };
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    static struct bed bed;
    unsigned pipe, first = 0, count = 0;
    size_t n;

    (void)state;
    open_reader(&bed, A);
    unsigned long in = packets_in("a");
    sim("a send i 0000000000000000 %d", SENT);
    sim("a send i aabb"); /* short: the mark of the end */
    sim("a until 20000 *in=%lu?out=* stats", in + SENT + 1);
    for (;; count++) {
        assert_int_equal(get(&bed, chunk, &n, &pipe, soon()), R_SUCCESS);
        if (n == 2)
            break;
        if (count == 0)
            first = chunk[7];
        assert_int_equal(chunk[7], (uint8_t)(first + count)); /* the latest, without a gap */
    }
    assert_in_range(count, KEPT - 1, KEPT);
    assert_int_equal(stub_log_matches("overflows"), 1);
    round_trip(&bed, 100, 8);
    close_reader(&bed);
}

static void test_drain(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    sim("a send i 01 50");
    assert_int_equal(transport_drain(bed.t, 100, soon()), R_SUCCESS);
    round_trip(&bed, 30, 8);
    sim("a stall i");
    assert_int_equal(transport_drain(bed.t, 100, soon()), R_SUCCESS);
    round_trip(&bed, 30, 8);
    unsigned long in = packets_in("a");
    sim("a send i 01 20");
    sim("a until 10000 *in=%lu?out=* stats", in + 20);
    await_pending(&bed);
    assert_int_equal(transport_drain(bed.t, 100, 0), R_SUCCESS);
    await_pending(&bed); /* no time at all: it stops although there is more */
    assert_int_equal(transport_drain(bed.t, 100, soon()), R_SUCCESS);
    round_trip(&bed, 30, 8);
    close_reader(&bed);
}

/* ---- faults ----------------------------------------------------------------------------------------------------- */

static void test_stall_in(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    sim("a stall i"); /* idle: somebody is called */
    await_notified(&bed, 1);
    await_pending(&bed);
    assert_int_equal(get_any(&bed, soon()), R_COMM);
    assert_false(bed.t->ops->pending(bed.t));
    round_trip(&bed, 20, 8);
    sim("a stall i"); /* idle, and the owner comes with a message */
    await_pending(&bed);
    round_trip(&bed, 20, 8);

    struct late late = {.bed = &bed, .request = "a stall i"}; /* while somebody waits */
    pthread_t thread = start_late(&late);
    assert_int_equal(get_any(&bed, soon()), R_COMM);
    pthread_join(thread, NULL);
    round_trip(&bed, 20, 8);
    close_reader(&bed);
}

static void test_stall_out(void **state)
{
    static const struct {
        enum shape shape;
        char pipe;
    } ROWS[] = {{A, 'c'}, {B, 'o'}, {C, 'o'}, {HID, 'o'}, {HIDSET, 'c'}};
    uint8_t data[8] = {1};

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        static struct bed bed;

        open_reader(&bed, ROWS[i].shape);
        sim("%s stall %c", SHAPES[ROWS[i].shape], ROWS[i].pipe);
        assert_int_equal(put(&bed, data, sizeof data), R_COMM);
        assert_int_equal(stub_log_matches("stall"), 1);
        round_trip(&bed, 8, 64);
        close_reader(&bed);
    }
}

/* A reader that only fails does not keep its owner busy: after three calls the next one waits. */
static void test_fails_always(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    for (unsigned i = 1; i <= 5; i++) {
        int64_t start = clock_now();

        sim("a stall i");
        await_notified(&bed, i);
        if (i > 3)
            assert_true(clock_now() - start >= 900 * INT64_C(1000000));
        assert_int_equal(get_any(&bed, soon()), R_COMM);
    }
    sim("a send i 01");
    assert_int_equal(get_any(&bed, soon()), R_SUCCESS); /* forgiven */
    sim("a stall i");
    await_pending(&bed);
    round_trip(&bed, 20, 8);
    close_reader(&bed);
}

static void test_too_long_packet(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    sim("a send i 000102030405060708");
    assert_int_equal(get_any(&bed, soon()), R_COMM);
    round_trip(&bed, 20, 8);
    assert_int_equal(stub_log_matches("longer than the endpoint"), 1);
    close_reader(&bed);
}

static void test_empty_packets(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    sim("a send i - 900");
    sim("a send i 77");
    assert_int_equal(get_any(&bed, soon()), R_SUCCESS); /* they are nothing */
    sim("a send i - 900");
    assert_int_equal(get_any(&bed, deadline_in(100)), R_TIMEOUT);
    sim("a send i - 200");
    assert_int_equal(get_any(&bed, soon()), R_COMM); /* until there are too many */
    round_trip(&bed, 20, 8);
    close_reader(&bed);
}

static void test_reset(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, B);
    sim("b send b 01");
    await_pending(&bed);
    assert_int_equal(bed.t->ops->reset(bed.t), R_SUCCESS);
    assert_non_null(strstr(sim("b stats"), "resets=1"));
    assert_int_equal(get_any(&bed, 0), R_TIMEOUT); /* old input is gone */
    round_trip(&bed, 100, 64);
    sim("b stall b");
    assert_int_equal(bed.t->ops->reset(bed.t), R_SUCCESS);
    round_trip(&bed, 100, 64);
    close_reader(&bed);
}

static void check_gone(struct bed *bed)
{
    uint8_t data[8] = {1};

    assert_int_equal(put(bed, data, sizeof data), R_GONE);
    assert_int_equal(get_any(bed, DEADLINE_NEVER), R_GONE);
    assert_int_equal(bed->t->ops->reset(bed->t), R_GONE);
    assert_int_equal(transport_drain(bed->t, 10, soon()), R_GONE);
}

static void test_unplug(void **state)
{
    enum { IDLE, READING, WRITING, BETWEEN, CASES };
    uint8_t data[8] = {1};

    (void)state;
    for (unsigned i = 0; i < CASES * 2; i++) {
        enum shape shape = i < CASES ? A : B;
        const char *name = SHAPES[shape];
        char request[32];
        static struct bed bed;
        struct late late = {.bed = &bed, .request = request};
        pthread_t thread;

        snprintf(request, sizeof request, "%s unplug", name);
        open_reader(&bed, shape);
        switch (i % CASES) {
        case IDLE:
            sim("%s", request);
            await_notified(&bed, 1);
            break;
        case READING:
            thread = start_late(&late);
            assert_int_equal(get_any(&bed, DEADLINE_NEVER), R_GONE);
            pthread_join(thread, NULL);
            break;
        case WRITING:
            sim("%s break out * delay 1 600000", name);
            thread = start_late(&late);
            assert_int_equal(bed.t->ops->write(bed.t, data, 8, DEADLINE_NEVER), R_GONE);
            pthread_join(thread, NULL);
            break;
        default: /* at the second packet of an answer */
            sim("%s break in * unplug 2", name);
            put(&bed, (const uint8_t[100]){1}, 100); /* it is gone before the message's end is told, or after */
            while (get_any(&bed, soon()) == R_SUCCESS)
                ;
            break;
        }
        check_gone(&bed);
        assert_true(await_notified(&bed, 1) >= 1);
        close_reader(&bed);
        sim("%s break clear", name); /* it may have gone before the write began */
        sim("%s replug", name);
    }
}

/* ---- idle ------------------------------------------------------------------------------------------------------- */

/* Voluntary and other context switches of this process's event thread of a device. */
static unsigned long switches(unsigned device)
{
    char path[300], line[256], name[32];
    unsigned long sum = 0, n;
    bool found = false;
    DIR *dir = opendir("/proc/self/task");
    struct dirent *e;

    snprintf(name, sizeof name, "purse 1-%u\n", device);
    assert_non_null(dir);
    while (!found && (e = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "r");

        if (!f)
            continue;
        while (fgets(line, sizeof line, f)) {
            if (strncmp(line, "Name:\t", 6) == 0)
                found = strcmp(line + 6, name) == 0;
            else if (found && (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1 ||
                               sscanf(line, "nonvoluntary_ctxt_switches: %lu", &n) == 1))
                sum += n;
        }
        fclose(f);
    }
    closedir(dir);
    assert_true(found);
    return sum;
}

static void test_idle(void **state)
{
    static struct bed bed;

    (void)state;
    open_reader(&bed, A);
    round_trip(&bed, 100, 8);
    assert_int_equal(get_any(&bed, deadline_in(100)), R_TIMEOUT); /* whatever was still under way */
    unsigned long before = switches(bed.t->facts.address);
    assert_int_equal(get_any(&bed, deadline_in(3000)), R_TIMEOUT);
    assert_int_equal(switches(bed.t->facts.address), before);
    close_reader(&bed);
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

static int enter_simulator(char *self, char *filter)
{
    char ctl[] = "/tmp/purse-transport-XXXXXX", path[64];
    char readers[SHAPE_COUNT][48];
    const char *argv[10 + 2 * SHAPE_COUNT];
    const char *program = getenv("PURSE_SIM");
    size_t n = 0;

    if (!program || !mkdtemp(ctl)) {
        fprintf(stderr, "PURSE_SIM must name the simulator with the model \"loop\"\n");
        return 77; /* skipped */
    }
    snprintf(path, sizeof path, "%s/ctl", ctl);
    argv[n++] = program;
    argv[n++] = "--ctl";
    argv[n++] = path;
    for (unsigned i = 0; i < SHAPE_COUNT; i++) {
        snprintf(readers[i], sizeof readers[i], "loop:%s,name=%s", SHAPES[i], SHAPES[i]);
        argv[n++] = "--reader";
        argv[n++] = readers[i];
    }
    argv[n++] = "--";
    argv[n++] = self;
    argv[n++] = filter; /* may be the end */
    argv[n] = NULL;
    execvp(program, (char *const *)(uintptr_t)argv);
    perror(program);
    return 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_facts, close_leftover),
        cmocka_unit_test_teardown(test_refusals, close_leftover),
        cmocka_unit_test_teardown(test_not_there, close_leftover),
        cmocka_unit_test_teardown(test_in_use, close_leftover),
        cmocka_unit_test_teardown(test_no_permission, close_leftover),
        cmocka_unit_test_teardown(test_kernel_driver, close_leftover),
        cmocka_unit_test_teardown(test_open_close_100, close_leftover),
        cmocka_unit_test_teardown(test_messages, close_leftover),
        cmocka_unit_test_teardown(test_requests, close_leftover),
        cmocka_unit_test_teardown(test_report_descriptor, close_leftover),
        cmocka_unit_test_teardown(test_second_pipe, close_leftover),
        cmocka_unit_test_teardown(test_read_deadline, close_leftover),
        cmocka_unit_test_teardown(test_write_deadline, close_leftover),
        cmocka_unit_test_teardown(test_cancel, close_leftover),
        cmocka_unit_test_teardown(test_notify_once, close_leftover),
        cmocka_unit_test_teardown(test_overflow, close_leftover),
        cmocka_unit_test_teardown(test_drain, close_leftover),
        cmocka_unit_test_teardown(test_stall_in, close_leftover),
        cmocka_unit_test_teardown(test_stall_out, close_leftover),
        cmocka_unit_test_teardown(test_fails_always, close_leftover),
        cmocka_unit_test_teardown(test_too_long_packet, close_leftover),
        cmocka_unit_test_teardown(test_empty_packets, close_leftover),
        cmocka_unit_test_teardown(test_reset, close_leftover),
        cmocka_unit_test_teardown(test_unplug, close_leftover),
        cmocka_unit_test_teardown(test_idle, close_leftover),
    };

    if (!getenv("PURSE_SIM_CTL"))
        return enter_simulator(argv[0], argc > 1 ? argv[1] : NULL);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (getenv("PURSE_TEST_LOG"))
        stub_log_echo(true);
    return cmocka_run_group_tests_name("usb_transport", tests, NULL, NULL);
}
