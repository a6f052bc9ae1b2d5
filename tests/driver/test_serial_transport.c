/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The serial transport over real libserialport.
 *
 * Run without PURSE_SIM_CTL it starts the simulator (PURSE_SIM_READERS names it) with itself as the program inside. Two
 * kinds of port are used there. /dev/ttyUSB0 is a simulated ViVOpay reader: what the simulator sees of the port's
 * settings is checked on it, and that a reader that was pulled answers again when it is back. All else needs a line
 * whose other end does exactly what the test says: /dev/ttyUSB5 is a pty of this program's own, put into the testbed
 * beside the other as the port of a USB adapter; the modem lines, which a pty has not, are those of a second simulated
 * reader.
 *
 * The functions of libc by which the transport and the library reach the kernel are replaced by ones that count, for
 * the thread that asks for it, and fail where a test wants it. So a test can say what an exchange costs, and no test
 * has to bring about a signal at the right moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "stub_log.h"
#include "transport/serial.h"

enum { REPLY_MAX = 4096, BAUD = 115200 };

#define LINE   "/dev/ttyUSB5"
#define READER "/dev/ttyUSB0"

/* Long enough that only a fault lets it pass. */
static deadline_t soon(void)
{
    return deadline_in(20000);
}

/* ---- calls to the kernel ---------------------------------------------------------------------------------------- */

enum call { WRITE, READ, POLL, IOCTL, SELECT, TCGETATTR, TCSETATTR, TCFLUSH, FLOCK, EVENTFD, CALLS };

/* Per thread, so that helpers of a test are not counted. */
static _Thread_local struct {
    bool on;
    unsigned count[CALLS], total;
    unsigned fail_mask;              /* of 1 << enum call: which may fail */
    unsigned fail_after, fail_times; /* so many pass first, so many fail then */
    int error;                       /* errno; 0: the call returns 0 and does nothing */
    unsigned long request;           /* of ioctl: the only one that may fail; 0: any */
    short pretend;                   /* what poll() reports for the port, without looking; 0: the truth */
    int timeout;                     /* of the last poll() */
} calls;

static void watch(void)
{
    memset(&calls, 0, sizeof calls);
    calls.on = true;
}

static void unwatch(void)
{
    calls.on = false;
}

/* From now on, counted calls of the kinds in mask: `after` pass, then `times` fail with error. */
static void fail_calls(unsigned mask, unsigned after, unsigned times, int error)
{
    watch();
    calls.fail_mask = mask;
    calls.fail_after = after;
    calls.fail_times = times;
    calls.error = error;
}

/* True: the call is not to be made. */
static bool struck(enum call call)
{
    if (!calls.on)
        return false;
    calls.count[call]++;
    calls.total++;
    if (!(calls.fail_mask & 1u << call) || calls.fail_times == 0)
        return false;
    if (calls.fail_after > 0) {
        calls.fail_after--;
        return false;
    }
    calls.fail_times--;
    errno = calls.error;
    return true;
}

static int struck_result(void)
{
    return calls.error ? -1 : 0;
}

/* The function that this program's own one hides. */
#define HIDDEN(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n)
{
    return struck(WRITE) ? struck_result() : HIDDEN(write)(fd, data, n);
}

ssize_t read(int fd, void *data, size_t n)
{
    return struck(READ) ? struck_result() : HIDDEN(read)(fd, data, n);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if ((calls.request == 0 || calls.request == request) && struck(IOCTL))
        return struck_result();
    return HIDDEN(ioctl)(fd, request, arg);
}

int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *t)
{
    return struck(SELECT) ? struck_result() : HIDDEN(select)(n, r, w, e, t);
}

int tcgetattr(int fd, struct termios *t)
{
    return struck(TCGETATTR) ? struck_result() : HIDDEN(tcgetattr)(fd, t);
}

int tcsetattr(int fd, int when, const struct termios *t)
{
    return struck(TCSETATTR) ? struck_result() : HIDDEN(tcsetattr)(fd, when, t);
}

int tcflush(int fd, int queue)
{
    return struck(TCFLUSH) ? struck_result() : HIDDEN(tcflush)(fd, queue);
}

int flock(int fd, int operation)
{
    return struck(FLOCK) ? struck_result() : HIDDEN(flock)(fd, operation);
}

int eventfd(unsigned value, int flags)
{
    return struck(EVENTFD) ? struck_result() : HIDDEN(eventfd)(value, flags);
}

static pthread_mutex_t polls_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t polls_changed = PTHREAD_COND_INITIALIZER;
static unsigned polls_begun; /* by threads that are counted */

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    bool fails = struck(POLL);

    if (calls.on) {
        calls.timeout = timeout;
        pthread_mutex_lock(&polls_lock);
        polls_begun++;
        pthread_cond_broadcast(&polls_changed);
        pthread_mutex_unlock(&polls_lock);
    }
    if (fails)
        return struck_result();
    if (!calls.on || calls.pretend == 0)
        return HIDDEN(poll)(fds, n, timeout);
    fds[0].revents = calls.pretend;
    fds[1].revents = 0;
    return 1;
}

/* ---- the simulator ---------------------------------------------------------------------------------------------- */

static char reply[REPLY_MAX];

/* Sends one request and returns what follows "ok " in the reply. */
static const char *sim(const char *request)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t used = 0;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("PURSE_SIM_CTL"));
    assert_int_equal(connect(s, (struct sockaddr *)&to, sizeof to), 0);
    assert_true(dprintf(s, "%s\n", request) > 0);
    while (used == 0 || reply[used - 1] != '\n') {
        ssize_t k = read(s, reply + used, sizeof reply - used);

        assert_true(k > 0);
        used += (size_t)k;
    }
    reply[used - 1] = '\0';
    close(s);
    if (strncmp(reply, "ok", 2) != 0)
        fail_msg("%s: %s", request, reply);
    return reply + 2 + (reply[2] == ' ');
}

/* ---- the testbed ------------------------------------------------------------------------------------------------ */

/* Where the testbed keeps what the program sees as path. */
static const char *real_path(const char *path)
{
    static char full[512];

    snprintf(full, sizeof full, "%s%s", getenv("UMOCKDEV_DIR"), path);
    return full;
}

/* A path outside the testbed: there the kernel follows a link to /dev/... out of it, but the transport does not. */
static const char *scratch_path(const char *name)
{
    static char full[512];
    const char *ctl = getenv("PURSE_SIM_CTL");

    snprintf(full, sizeof full, "%.*s/%s", (int)(strrchr(ctl, '/') - ctl), ctl, name);
    return full;
}

/* The simulator does not miss its socket. */
static void remove_scratch(void)
{
    unlink(scratch_path("absolute"));
    unlink(scratch_path("round"));
    unlink(getenv("PURSE_SIM_CTL"));
    rmdir(scratch_path(""));
}

static void make_folder(const char *path)
{
    char full[512];

    snprintf(full, sizeof full, "%s", real_path(path));
    for (char *p = full + strlen(getenv("UMOCKDEV_DIR")) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
}

static void make_link(const char *path, const char *to)
{
    unlink(real_path(path));
    assert_int_equal(symlink(to, real_path(path)), 0);
}

static void make_file(const char *path, const char *text)
{
    FILE *f = fopen(real_path(path), "w");

    assert_non_null(f);
    assert_true(fprintf(f, "%s\n", text) > 0);
    assert_int_equal(fclose(f), 0);
}

/* What the kernel shows of a USB adapter with the port ttyUSB5. */
static void describe_adapter(void)
{
    make_folder("/sys/devices/usb1/1-7/1-7:1.0/ttyUSB5/tty/ttyUSB5");
    make_folder("/sys/class/tty");
    make_link("/sys/class/tty/ttyUSB5", "../../devices/usb1/1-7/1-7:1.0/ttyUSB5/tty/ttyUSB5");
    make_link("/sys/devices/usb1/1-7/1-7:1.0/ttyUSB5/tty/ttyUSB5/device", "../../../ttyUSB5");
    make_file("/sys/devices/usb1/1-7/busnum", "1");
    make_file("/sys/devices/usb1/1-7/devnum", "12");
    make_file("/sys/devices/usb1/1-7/idVendor", "0403");
    make_file("/sys/devices/usb1/1-7/idProduct", "6001");
    make_file("/sys/devices/usb1/1-7/manufacturer", "Maker");
    make_file("/sys/devices/usb1/1-7/product", "  Cable\x01 \xc3\xa9t 3 ");
    make_file("/sys/devices/usb1/1-7/serial", "A10X");
    make_link("/ioctl/dev/ttyUSB5", "ttyUSB9");
}

/* ---- a line and a transport on it ------------------------------------------------------------------------------- */

static struct bed {
    struct log log;
    struct transport *t;
    int master, slave; /* -1: closed */
} bed;

/* A new line at LINE; the transport is not opened yet. */
static int set_up(void **state)
{
    char name[64];

    (void)state;
    bed = (struct bed){.master = -1, .slave = -1};
    log_init(&bed.log, PLOG_CRITICAL | PLOG_INFO, "test");
    if (openpty(&bed.master, &bed.slave, name, NULL, NULL) != 0)
        return -1;
    struct termios raw;

    tcgetattr(bed.slave, &raw);
    cfmakeraw(&raw); /* no echo before the transport has opened it */
    tcsetattr(bed.slave, TCSANOW, &raw);
    fcntl(bed.master, F_SETFD, FD_CLOEXEC);
    fcntl(bed.slave, F_SETFD, FD_CLOEXEC);
    fcntl(bed.master, F_SETFL, O_RDWR | O_NONBLOCK);
    make_link(LINE, name);
    stub_log_clear();
    return 0;
}

static void hang_up(void)
{
    close(bed.slave);
    close(bed.master);
    bed.master = bed.slave = -1;
}

static void close_transport(void)
{
    if (bed.t)
        bed.t->ops->close(bed.t);
    bed.t = NULL;
}

static int tear_down(void **state)
{
    (void)state;
    unwatch();
    close_transport();
    if (bed.master >= 0)
        hang_up();
    unlink(real_path(LINE));
    log_done(&bed.log);
    return 0;
}

static enum result open_at(const char *path)
{
    return serial_open(&bed.t, path, BAUD, &bed.log);
}

static void open_line(void)
{
    assert_int_equal(open_at(LINE), R_SUCCESS);
    assert_non_null(bed.t);
}

static enum result put(const void *data, size_t n, deadline_t until)
{
    return bed.t->ops->write(bed.t, data, n, until);
}

static enum result get(uint8_t *chunk, size_t *n, deadline_t until)
{
    unsigned pipe = 77;
    enum result r = bed.t->ops->read(bed.t, chunk, TRANSPORT_CHUNK_MAX, n, &pipe, until);

    if (r == R_SUCCESS) {
        assert_int_equal(pipe, 0);
        assert_in_range(*n, 1, TRANSPORT_CHUNK_MAX);
    }
    return r;
}

static enum result get_any(deadline_t until)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    size_t n;

    return get(chunk, &n, until);
}

/* The other end says n bytes. */
static void say(const void *data, size_t n)
{
    assert_int_equal(write(bed.master, data, n), n);
}

/* The other end hears exactly n bytes, within soon(). */
static void hear(void *data, size_t n)
{
    struct pollfd p = {.fd = bed.master, .events = POLLIN};

    for (size_t at = 0; at < n;) {
        ssize_t k;

        assert_int_equal(poll(&p, 1, 20000), 1);
        k = read(bed.master, (char *)data + at, n - at);
        assert_true(k > 0);
        at += (size_t)k;
    }
}

/* Reads n bytes by however many chunks they come in. */
static void get_all(uint8_t *data, size_t n)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    size_t got;

    for (size_t at = 0; at < n; at += got) {
        assert_int_equal(get(chunk, &got, soon()), R_SUCCESS);
        assert_true(got <= n - at);
        memcpy(data + at, chunk, got);
    }
}

static void exchange(void)
{
    uint8_t buf[8];

    assert_int_equal(put("question", 8, soon()), R_SUCCESS);
    hear(buf, 8);
    assert_memory_equal(buf, "question", 8);
    say("answer", 6);
    get_all(buf, 6);
    assert_memory_equal(buf, "answer", 6);
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void test_settings(void **state)
{
    (void)state;
    assert_int_equal(open_at(READER), R_SUCCESS);
    assert_string_equal(bed.t->facts.form, "serial");
    assert_int_equal(bed.t->facts.vid, 0);
    assert_int_equal(bed.t->facts.adapter.vid, 0);
    assert_int_equal(stub_log_matches("/dev/ttyUSB0 at 115200 baud"), 1);
    assert_non_null(strstr(sim("reader lines"), "dtr=0 rts=0 "));
    assert_non_null(strstr(reply, "baud=115200 bits=8 parity=n stop=1 flow=none raw=1"));
    assert_int_equal(serial_set_baud(bed.t, 9600), R_SUCCESS);
    assert_non_null(strstr(sim("reader lines"), "dtr=0 rts=0 "));
    assert_non_null(strstr(reply, "baud=9600 bits=8 parity=n stop=1 flow=none raw=1"));
}

static void test_usb_facts(void **state)
{
    (void)state;
    open_line();
    assert_int_equal(bed.t->facts.adapter.vid, 0x0403);
    assert_int_equal(bed.t->facts.adapter.pid, 0x6001);
    assert_string_equal(bed.t->facts.adapter.serial, "A10X");
    assert_string_equal(bed.t->facts.adapter.product, "Cable t 3");
    assert_int_equal(stub_log_matches("at 115200 baud, adapter 0403:6001 Cable t 3"), 1);
    /* the cable is not the reader */
    assert_int_equal(bed.t->facts.vid, 0);
    assert_int_equal(bed.t->facts.pid, 0);
    assert_string_equal(bed.t->facts.serial, "");
    assert_string_equal(bed.t->facts.product, "");
}

static void test_links(void **state)
{
    static const char *const PATHS[] = {"/dev/serial/by-id/usb-Maker_Cable+3,1-if00", "/dev/ifd-purse/desk",
                                        "/dev/reader-folder/desk", "/dev/serial/../ttyUSB5"};

    (void)state;
    make_folder("/dev/serial/by-id");
    make_folder("/dev/ifd-purse");
    make_link("/dev/serial/by-id/usb-Maker_Cable+3,1-if00", "../../ttyUSB5");
    make_link("/dev/ifd-purse/desk", "../serial/by-id/usb-Maker_Cable+3,1-if00");
    make_link("/dev/reader-folder", "ifd-purse");
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++) {
        assert_true(serial_node_exists(PATHS[i]));
        assert_int_equal(open_at(PATHS[i]), R_SUCCESS);
        exchange();
        close_transport();
    }
    assert_int_equal(symlink("/dev/ifd-purse/desk", scratch_path("absolute")), 0);
    assert_int_equal(open_at(scratch_path("absolute")), R_SUCCESS);
    exchange();
}

static void test_not_there(void **state)
{
    char folder[512];

    (void)state;
    make_link("/dev/dangling", "ttyUSB44");
    assert_false(serial_node_exists("/dev/ttyUSB44"));
    assert_int_equal(open_at("/dev/ttyUSB44"), R_GONE);
    assert_null(bed.t);
    assert_int_equal(open_at("/dev/dangling"), R_GONE);
    assert_int_equal(open_at("/dev/serial/by-nothing/x"), R_GONE);
    /* the kernel knows the port still, or already, but there is no node */
    snprintf(folder, sizeof folder, "%s", real_path(LINE));
    assert_int_equal(unlink(folder), 0);
    assert_int_equal(open_at(LINE), R_GONE);
    assert_int_equal(stub_log_count(), 0); /* it is asked for again and again: quiet */
}

static void test_refusals(void **state)
{
    static char long_path[5000];

    (void)state;
    make_file("/dev/plain", "not a device");
    assert_int_equal(open_at("/dev/plain"), R_SYSTEM);
    assert_null(bed.t);
    assert_true(stub_log_has("/dev/plain", "not a serial port", NULL));
    assert_int_equal(symlink("round", scratch_path("round")), 0);
    assert_int_equal(open_at(scratch_path("round")), R_SYSTEM);
    assert_true(stub_log_has("/round: ", strerror(ELOOP), NULL));
    memset(long_path, 'x', sizeof long_path - 1);
    memcpy(long_path, "/dev/", 5);
    assert_int_equal(open_at(long_path), R_SYSTEM);
    assert_int_equal(stub_log_matches(strerror(ENAMETOOLONG)), 1);
    long_path[4090] = '\0'; /* fits, but not behind the name of a folder */
    assert_int_equal(open_at(long_path + 5), R_SYSTEM);
    assert_int_equal(stub_log_count(), 4);
    assert_int_equal(serial_open(&bed.t, LINE, 0, &bed.log), R_INVALID);
    assert_int_equal(serial_open(&bed.t, LINE, 0x80000000u, &bed.log), R_INVALID);
    assert_null(bed.t);
}

/* Takes this thread's right to do `capability` as root, or gives it back. */
static void set_capability(unsigned capability, bool on)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    uint32_t bit = 1u << capability;

    assert_int_equal(syscall(SYS_capget, &header, data), 0);
    data[0].effective = on ? data[0].effective | bit : data[0].effective & ~bit;
    assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static void test_no_permission(void **state)
{
    enum result r;

    (void)state;
    if (geteuid() != 0)
        skip(); /* the node would be ours, and we could not take the right from us */
    assert_int_equal(fchmod(bed.slave, 0), 0);
    set_capability(CAP_DAC_OVERRIDE, false);
    r = open_at(LINE);
    set_capability(CAP_DAC_OVERRIDE, true);
    assert_int_equal(r, R_SYSTEM);
    assert_int_equal(stub_log_count(), 1);
    assert_true(stub_log_has("no permission for /dev/ttyUSB5", "pcscd", "udev rule", "reader.conf.d", NULL));
    assert_null(strstr(stub_log_line(0), "...")); /* all of it fits */
}

static void test_in_use(void **state)
{
    struct transport *second;

    (void)state;
    open_line();
    stub_log_clear();
    assert_int_equal(serial_open(&second, LINE, BAUD, &bed.log), R_SYSTEM);
    assert_null(second);
    assert_int_equal(stub_log_count(), 1);
    assert_true(stub_log_has("/dev/ttyUSB5", "in use", "fuser", NULL));
    exchange(); /* the first is not harmed */
    close_transport();
    open_line();
    exchange();
}

/* Another program that keeps the port to itself, as terminals do. */
static void test_in_use_exclusively(void **state)
{
    enum result r;
    int value;

    (void)state;
    open_line();
    assert_int_equal(ioctl(bed.slave, TIOCGEXCL, &value), 0);
    assert_true(value); /* ours, so that nobody else can */
    close_transport();
    assert_int_equal(ioctl(bed.slave, TIOCGEXCL, &value), 0);
    assert_false(value);
    assert_int_equal(ioctl(bed.slave, TIOCEXCL), 0);
    if (geteuid() == 0)
        set_capability(CAP_SYS_ADMIN, false);
    r = open_at(LINE);
    if (geteuid() == 0)
        set_capability(CAP_SYS_ADMIN, true);
    assert_int_equal(r, R_SYSTEM);
    assert_true(stub_log_has("/dev/ttyUSB5", "in use", NULL));
}

static void test_stale_input(void **state)
{
    (void)state;
    say("old", 3);
    open_line();
    assert_int_equal(get_any(deadline_in(0)), R_TIMEOUT);
    say("older", 5);
    assert_int_equal(serial_set_baud(bed.t, 19200), R_SUCCESS);
    assert_int_equal(get_any(deadline_in(0)), R_TIMEOUT);
    exchange();
}

static void test_open_close_100(void **state)
{
    unsigned before;

    (void)state;
    open_line();
    close_transport();
    before = open_descriptors();
    for (unsigned i = 0; i < 100; i++) {
        open_line();
        if (i % 10 == 0)
            exchange();
        close_transport();
    }
    assert_int_equal(open_descriptors(), before);
}

/* Every call that open makes fails in turn, each in two ways: the port is refused, or works, and nothing stays open. */
static void test_open_failures(void **state)
{
    const unsigned mask = 1u << IOCTL | 1u << TCGETATTR | 1u << TCSETATTR | 1u << TCFLUSH | 1u << FLOCK | 1u << EVENTFD;
    unsigned before, refused = 0, n = 0;
    bool struck_one;

    (void)state;
    open_line();
    close_transport();
    before = open_descriptors();
    do {
        for (unsigned way = 0; way < 2; way++) {
            bool refuses;

            stub_log_clear();
            fail_calls(mask, n, 1, way ? ENXIO : EIO);
            enum result r = open_at(LINE);

            struck_one = calls.fail_times == 0;
            unwatch();
            refuses = r != R_SUCCESS;
            refused += refuses;
            if (refuses)
                assert_true(r == R_SYSTEM || (way == 1 && r == R_GONE));
            assert_true(r != R_SYSTEM || stub_log_count() == 1);
            assert_true(r == R_SUCCESS || !bed.t);
            if (r == R_SUCCESS)
                exchange();
            close_transport();
            assert_int_equal(open_descriptors(), before);
        }
        n++;
    } while (struck_one);
    assert_true(refused >= 12);
    assert_true(n > refused / 2); /* what may fail: the lock that the file system does not know, TIOCEXCL */
}

/* ---- exchanges -------------------------------------------------------------------------------------------------- */

/* Three calls to the kernel and nothing else. */
static void test_calls_per_exchange(void **state)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX], heard[20];
    size_t n;

    (void)state;
    open_line();
    for (unsigned i = 0; i < 5; i++) {
        watch();
        assert_int_equal(put("a command of 20 bytes", 20, soon()), R_SUCCESS);
        assert_int_equal(calls.total, 1);
        unwatch();
        hear(heard, sizeof heard);
        say("answer", 6);
        calls.on = true;
        assert_int_equal(get(chunk, &n, soon()), R_SUCCESS);
        unwatch();
        assert_int_equal(n, 6);
        assert_int_equal(calls.count[WRITE], 1);
        assert_int_equal(calls.count[POLL], 1);
        assert_int_equal(calls.count[READ], 1);
        assert_int_equal(calls.total, 3);
    }
}

/* Until n bytes are on this side of the line. */
static void await_input(int n)
{
    deadline_t until = soon();
    int there = 0;

    while (there < n && !deadline_passed(until)) {
        assert_int_equal(ioctl(bed.slave, TIOCINQ, &there), 0);
        sched_yield();
    }
    assert_int_equal(there, n);
}

static void test_chunks(void **state)
{
    uint8_t said[1500], got[1500];
    size_t n;
    unsigned pipe;

    (void)state;
    open_line();
    for (size_t i = 0; i < sizeof said; i++)
        said[i] = (uint8_t)(i * 7); /* every value: nothing is taken for a control character */
    say(said, sizeof said);
    get_all(got, sizeof got);
    assert_memory_equal(got, said, sizeof said);
    say(said, TRANSPORT_CHUNK_MAX);
    await_input(TRANSPORT_CHUNK_MAX);
    assert_int_equal(get(got, &n, soon()), R_SUCCESS);
    assert_int_equal(n, TRANSPORT_CHUNK_MAX); /* whatever is there comes at once */
    for (unsigned i = 0; i < 3; i++) {        /* byte by byte */
        say(said + i, 1);
        assert_int_equal(get(got, &n, soon()), R_SUCCESS);
        assert_int_equal(n, 1);
        assert_int_equal(got[0], said[i]);
    }
    assert_int_equal(bed.t->ops->read(bed.t, got, TRANSPORT_CHUNK_MAX - 1, &n, &pipe, soon()), R_INVALID);
    assert_int_equal(put(said, 256, soon()), R_SUCCESS);
    hear(got, 256);
    assert_memory_equal(got, said, 256);
    assert_int_equal(put(said, 0, soon()), R_INVALID);
    assert_int_equal(put(said, (1 << 20) + 1, soon()), R_INVALID);
    assert_null(bed.t->ops->pending);
}

static void test_read_deadline(void **state)
{
    deadline_t until;

    (void)state;
    open_line();
    until = deadline_in(80);
    watch();
    assert_int_equal(get_any(until), R_TIMEOUT);
    assert_true(clock_now() >= until);
    assert_in_range(calls.timeout, 0, 80);
    assert_in_range(calls.count[POLL], 1, 2); /* it slept */
    assert_int_equal(calls.count[READ], 0);
    watch();
    assert_int_equal(get_any(until), R_TIMEOUT); /* passed: takes what is there, which is nothing */
    assert_int_equal(calls.count[POLL], 1);
    assert_int_equal(calls.timeout, 0);
    unwatch();
    say("x", 1);
    assert_int_equal(get_any(until), R_SUCCESS);
    watch();
    say("x", 1);
    assert_int_equal(get_any(DEADLINE_NEVER), R_SUCCESS);
    assert_int_equal(calls.timeout, -1);
}

/* The other end takes nothing: what fits into the kernel's buffer leaves, the rest has to wait. */
static void test_write_deadline(void **state)
{
    static uint8_t much[1 << 20], heard[1 << 20];
    deadline_t until;
    ssize_t n;

    (void)state;
    open_line();
    until = deadline_in(80);
    assert_int_equal(put("x", 1, deadline_in(0)), R_TIMEOUT); /* too late: not sent */
    watch();
    assert_int_equal(put(much, sizeof much, until), R_TIMEOUT);
    assert_true(clock_now() >= until);
    assert_true(calls.count[WRITE] > 0);
    assert_in_range(calls.timeout, 0, 80);
    assert_in_range(calls.count[POLL], 1, 20);
    assert_int_equal(calls.count[TCFLUSH], 1); /* or the rest would leave at some later time */
    unwatch();
    assert_int_equal(stub_log_matches("takes no more bytes"), 1);
    n = read(bed.master, heard, sizeof heard);
    assert_true(n < (ssize_t)sizeof heard);
    while (n > 0)
        n = read(bed.master, heard, sizeof heard);
    exchange(); /* nothing of it is left in front of the next message */
}

/* ---- other threads ---------------------------------------------------------------------------------------------- */

static struct worker {
    pthread_t thread;
    bool writes;
    enum result r;
    uint8_t data[1 << 18];
} worker;

static void *work(void *arg)
{
    struct worker *w = arg;
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    unsigned pipe;
    size_t n;

    watch();
    w->r = w->writes ? bed.t->ops->write(bed.t, w->data, sizeof w->data, soon())
                     : bed.t->ops->read(bed.t, chunk, sizeof chunk, &n, &pipe, soon());
    return NULL;
}

/* Starts a read, or a write of more than fits, on another thread; returns when it has begun to wait. */
static void start_work(bool writes)
{
    unsigned before;

    worker.writes = writes;
    for (size_t i = 0; i < sizeof worker.data; i++)
        worker.data[i] = (uint8_t)(i % 251);
    pthread_mutex_lock(&polls_lock);
    before = polls_begun;
    assert_int_equal(pthread_create(&worker.thread, NULL, work, &worker), 0);
    while (polls_begun == before)
        pthread_cond_wait(&polls_changed, &polls_lock);
    pthread_mutex_unlock(&polls_lock);
}

static enum result end_work(void)
{
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
    return worker.r;
}

static void test_write_goes_on(void **state)
{
    static uint8_t heard[sizeof worker.data];

    (void)state;
    open_line();
    start_work(true);
    hear(heard, sizeof heard);
    assert_int_equal(end_work(), R_SUCCESS);
    assert_memory_equal(heard, worker.data, sizeof heard);
}

static void test_cancel(void **state)
{
    (void)state;
    for (unsigned writes = 0; writes < 2; writes++) {
        open_line();
        start_work(writes);
        bed.t->ops->cancel(bed.t);
        assert_int_equal(end_work(), R_CANCELLED);
        say("x", 1);
        assert_int_equal(get_any(soon()), R_CANCELLED); /* and from then on */
        assert_int_equal(get_any(deadline_in(0)), R_CANCELLED);
        assert_int_equal(put("x", 1, soon()), R_CANCELLED);
        assert_int_equal(bed.t->ops->reset(bed.t), R_CANCELLED);
        bed.t->ops->cancel(bed.t);
        assert_int_equal(transport_drain(bed.t, 10, soon()), R_CANCELLED);
        close_transport();
    }
}

/* ---- hang-up ---------------------------------------------------------------------------------------------------- */

/* Every call says that the port is gone, and asks the kernel nothing. */
static void assert_gone(void)
{
    watch();
    assert_int_equal(get_any(soon()), R_GONE);
    assert_int_equal(get_any(deadline_in(0)), R_GONE);
    assert_int_equal(put("x", 1, soon()), R_GONE);
    assert_int_equal(serial_set_baud(bed.t, 9600), R_GONE);
    assert_int_equal(bed.t->ops->reset(bed.t), R_GONE);
    assert_int_equal(calls.total, 0);
    unwatch();
    assert_int_equal(transport_drain(bed.t, 10, soon()), R_GONE);
    assert_int_equal(stub_log_matches("hung up"), 1);
    stub_log_clear();
    close_transport();
    assert_int_equal(stub_log_count(), 0);
}

static void test_hang_up_while_waiting(void **state)
{
    for (unsigned writes = 0; writes < 2; writes++) {
        if (writes)
            set_up(state);
        open_line();
        start_work(writes);
        hang_up();
        assert_int_equal(end_work(), R_GONE);
        assert_gone();
        if (!writes)
            tear_down(state);
    }
}

/* Nobody waits when it happens; the next call, whichever it is, tells. */
static void test_hang_up_between(void **state)
{
    for (unsigned first = 0; first < 4; first++) {
        enum result r;

        if (first)
            set_up(state);
        open_line();
        hang_up();
        watch();
        if (first == 0)
            r = put("x", 1, soon());
        else if (first == 1)
            r = get_any(deadline_in(0));
        else if (first == 2)
            r = serial_set_baud(bed.t, 9600);
        else
            r = bed.t->ops->reset(bed.t);
        assert_int_equal(r, R_GONE);
        if (first < 2)
            assert_in_range(calls.total, 1, 3);
        assert_gone();
        if (first < 3)
            tear_down(state);
    }
}

static void test_pulled_and_back(void **state)
{
    static const uint8_t PING[] = "ViVOtech2\0\x18\x01\x00\x00\xb3\xcd";
    uint8_t answer[16];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(open_at(READER), R_SUCCESS);
        assert_int_equal(put(PING, sizeof PING - 1, soon()), R_SUCCESS);
        get_all(answer, sizeof answer);
        assert_memory_equal(answer, "ViVOtech2\0\x18\x00\x00\x00", 14);
        start_work(false);
        sim("reader unplug");
        assert_int_equal(end_work(), R_GONE);
        assert_gone();
        assert_false(serial_node_exists(READER));
        assert_int_equal(open_at(READER), R_GONE);
        assert_int_equal(stub_log_count(), 0);
        sim("reader plug");
        assert_true(serial_node_exists(READER));
    }
}

static void test_reset(void **state)
{
    (void)state;
    open_line();
    exchange();
    say("late answer", 11);
    assert_int_equal(bed.t->ops->reset(bed.t), R_SUCCESS);
    assert_int_equal(get_any(deadline_in(0)), R_TIMEOUT);
    exchange();
    assert_int_equal(unlink(real_path(LINE)), 0);
    assert_int_equal(bed.t->ops->reset(bed.t), R_GONE);
    stub_log_clear();
    assert_int_equal(get_any(soon()), R_GONE);
    assert_int_equal(put("x", 1, soon()), R_GONE);
}

/* ---- what cannot be brought about from outside ------------------------------------------------------------------ */

static void test_signals(void **state)
{
    uint8_t heard[1];

    (void)state;
    open_line();
    fail_calls(1u << WRITE, 0, 1, EINTR);
    assert_int_equal(put("x", 1, soon()), R_SUCCESS);
    unwatch();
    hear(heard, 1);
    assert_int_equal(heard[0], 'x');
    say("x", 1);
    fail_calls(1u << READ, 0, 1, EINTR);
    assert_int_equal(get_any(soon()), R_SUCCESS);
    unwatch();
    say("x", 1);
    fail_calls(1u << POLL, 0, 5, EINTR);
    assert_int_equal(get_any(soon()), R_SUCCESS);
    assert_int_equal(calls.count[POLL], 6);
    unwatch();
    say("x", 1);
    fail_calls(1u << POLL, 0, 1, 0); /* it says that time is over, but it is not */
    assert_int_equal(get_any(soon()), R_SUCCESS);
}

/* A port that is called ready for ever but moves nothing must not keep a thread busy. */
static void test_barren(void **state)
{
    (void)state;
    open_line();
    watch();
    calls.pretend = POLLIN;
    assert_int_equal(get_any(soon()), R_GONE);
    assert_in_range(calls.count[POLL], 2, 20); /* once may happen: another program was quicker */
    unwatch();
    close_transport();
    open_line();
    fail_calls(1u << WRITE, 0, 1000, EAGAIN);
    calls.pretend = POLLOUT;
    assert_int_equal(put("x", 1, soon()), R_GONE);
    assert_in_range(calls.count[POLL], 2, 20);
    unwatch();
    close_transport();
    open_line();
    fail_calls(1u << IOCTL, 0, 1, EIO); /* only sp_input_waiting() tells of the hang-up */
    calls.request = TIOCINQ;
    calls.pretend = POLLIN;
    assert_int_equal(get_any(soon()), R_GONE);
    assert_int_equal(calls.count[POLL], 1);
}

static void test_broken_calls(void **state)
{
    (void)state;
    open_line();
    say("last words", 10);
    watch();
    calls.pretend = POLLIN | POLLHUP;
    assert_int_equal(get_any(soon()), R_SUCCESS); /* what came before the hang-up did come */
    assert_int_equal(get_any(soon()), R_GONE);
    assert_gone();
    open_line();
    fail_calls(1u << READ, 0, 1, 0); /* nothing comes, and TIOCINQ sees no fault */
    calls.pretend = POLLIN | POLLHUP;
    assert_int_equal(get_any(soon()), R_GONE);
    assert_int_equal(calls.count[POLL], 1);
    assert_gone();
    for (unsigned i = 0; i < 6; i++) {
        open_line();
        say("x", 1);
        fail_calls(1u << (i == 0 ? READ : i == 1 ? POLL : i == 2 ? TCFLUSH : WRITE), 0, 2, i > 2 ? EAGAIN : EIO);
        calls.pretend = i == 3 ? POLLHUP : i == 4 ? POLLERR : i == 5 ? POLLNVAL : 0;
        if (i < 2)
            assert_int_equal(get_any(soon()), R_GONE);
        else if (i == 2)
            assert_int_equal(put(worker.data, sizeof worker.data, deadline_in(20)), R_GONE);
        else
            assert_int_equal(put("x", 1, soon()), R_GONE);
        assert_gone();
    }
}

static void test_set_baud_failures(void **state)
{
    (void)state;
    open_line();
    assert_int_equal(serial_set_baud(bed.t, 0), R_SYSTEM);
    assert_int_equal(serial_set_baud(bed.t, 0xffffffffu), R_SYSTEM);
    fail_calls(1u << TCSETATTR, 0, 1, EINVAL);
    assert_int_equal(serial_set_baud(bed.t, 57600), R_SYSTEM);
    unwatch();
    assert_true(stub_log_has("/dev/ttyUSB5", "another speed", strerror(EINVAL), NULL));
    exchange(); /* as before */
    fail_calls(1u << TCSETATTR, 0, 1, ENODEV);
    assert_int_equal(serial_set_baud(bed.t, 57600), R_GONE);
    unwatch();
    assert_gone();
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

static int enter_simulator(char *self, char *filter)
{
    char folder[] = "/tmp/purse-serial-XXXXXX", ctl[64];
    char *program = getenv("PURSE_SIM_READERS");

    if (!program || !mkdtemp(folder)) {
        fprintf(stderr, "PURSE_SIM_READERS must name the simulator\n");
        return 77; /* skipped */
    }
    snprintf(ctl, sizeof ctl, "%s/ctl", folder);
    execl(program, program, "--ctl", ctl, "--reader", "neo:tty=ttyUSB0,name=reader", "--reader",
          "neo:tty=ttyUSB9,name=modem", "--", self, filter, (char *)NULL);
    perror(program);
    return 1;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_settings),
        CASE(test_usb_facts),
        CASE(test_links),
        CASE(test_not_there),
        CASE(test_refusals),
        CASE(test_no_permission),
        CASE(test_in_use),
        CASE(test_in_use_exclusively),
        CASE(test_stale_input),
        CASE(test_open_close_100),
        CASE(test_open_failures),
        CASE(test_calls_per_exchange),
        CASE(test_chunks),
        CASE(test_read_deadline),
        CASE(test_write_deadline),
        CASE(test_write_goes_on),
        CASE(test_cancel),
        CASE(test_hang_up_while_waiting),
        CASE(test_hang_up_between),
        CASE(test_pulled_and_back),
        CASE(test_reset),
        CASE(test_signals),
        CASE(test_barren),
        CASE(test_broken_calls),
        CASE(test_set_baud_failures),
    };

    if (!getenv("PURSE_SIM_CTL"))
        return enter_simulator(argv[0], argc > 1 ? argv[1] : NULL);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (getenv("PURSE_TEST_LOG"))
        stub_log_echo(true);
    describe_adapter();

    int failed = cmocka_run_group_tests_name("serial_transport", tests, NULL, NULL);

    remove_scratch();
    return failed;
}
