/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The bed of the fault matrix: the handler is opened with dlopen and called as pcscd calls it, the log that it asks
 * pcscd for is kept here, and the simulator is asked over its control socket. What pcscd does between its calls is done
 * here too: presence until it has changed, power, protocol, and a reader that was unplugged is closed and opened again.
 */
#include "matrix.h"

#include <debuglog.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LUN = 0, LOG_LINES = 400, LOG_LINE = 200, CAP_MARGIN_MS = 1000, ESCAPE = 0x42000001 };

struct bed bed = {.scale = 1};
uint8_t bed_atr[ATR_SIZE_MAX];
size_t bed_atr_n;

static struct {
    RESPONSECODE (*create)(DWORD, LPSTR);
    RESPONSECODE (*close)(DWORD);
    RESPONSECODE (*get)(DWORD, DWORD, PDWORD, PUCHAR);
    RESPONSECODE (*set_protocol)(DWORD, DWORD, UCHAR, UCHAR, UCHAR, UCHAR);
    RESPONSECODE (*power)(DWORD, DWORD, PUCHAR, PDWORD);
    RESPONSECODE (*transmit)(DWORD, SCARD_IO_HEADER, PUCHAR, DWORD, PUCHAR, PDWORD, PSCARD_IO_HEADER);
    RESPONSECODE (*presence)(DWORD);
    RESPONSECODE (*control)(DWORD, DWORD, PUCHAR, DWORD, PUCHAR, DWORD, LPDWORD);
    RESPONSECODE (*poll)(DWORD, int);
} ifd;

/* What the configuration says, for the judgement of how long a call took. Opening a reader may be many exchanges. */
struct caps {
    long apdu, power, reader;
};

static struct caps caps(void)
{
    long scale = (long)bed.scale;

    if (bed.real)
        return (struct caps){60000, 30000, 5000};
    return (struct caps){30 * scale, 60 * scale, (bed.session->many ? 300 : 60) * scale};
}

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the log ---------------------------------------------------------------------------------------------------- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_lines[LOG_LINES][LOG_LINE];
static unsigned log_count;

static void keep(const char *fmt, va_list ap)
{
    pthread_mutex_lock(&log_lock);
    vsnprintf(log_lines[log_count++ % LOG_LINES], LOG_LINE, fmt, ap);
    pthread_mutex_unlock(&log_lock);
}

__attribute__((visibility("default"))) void log_msg(const int priority, const char *fmt, ...)
{
    va_list ap;

    (void)priority;
    va_start(ap, fmt);
    keep(fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    keep(fmt, ap);
    va_end(ap);
}

__attribute__((visibility("default"))) void log_xxd(const int priority, const char *msg, const unsigned char *buffer,
                                                    const int size)
{
    char text[LOG_LINE];
    int n = snprintf(text, sizeof text, "%.80s", msg);

    (void)priority;
    for (int i = 0; i < size && n + 4 < LOG_LINE; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%02X ", buffer[i]);
    note("%s", text);
}

void bed_log_clear(void)
{
    pthread_mutex_lock(&log_lock);
    log_count = 0;
    pthread_mutex_unlock(&log_lock);
}

void bed_log_print(void)
{
    pthread_mutex_lock(&log_lock);
    for (unsigned i = log_count > LOG_LINES ? log_count - LOG_LINES : 0; i < log_count; i++)
        printf("    %s\n", log_lines[i % LOG_LINES]);
    pthread_mutex_unlock(&log_lock);
}

/* ---- the simulator ---------------------------------------------------------------------------------------------- */

static char reply[REPLY_MAX];
static int sim_socket = -1;

static bool sim_connect(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("PURSE_SIM_CTL"));
    sim_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return sim_socket >= 0 && connect(sim_socket, (struct sockaddr *)&to, sizeof to) == 0;
}

const char *bed_sim(const char *fmt, ...)
{
    char line[512] = "0 ";
    size_t used = 0;
    va_list ap;

    va_start(ap, fmt);
    int n = 2 + vsnprintf(line + 2, sizeof line - 3, fmt, ap);
    va_end(ap);
    if (strstr(line, "message state") == NULL)
        note("-- %s", line);
    line[n++] = '\n';
    if (write(sim_socket, line, (size_t)n) != n)
        abort();
    while (used == 0 || reply[used - 1] != '\n') {
        ssize_t k = read(sim_socket, reply + used, sizeof reply - used);
        if (k <= 0)
            abort();
        used += (size_t)k;
    }
    reply[used - 1] = '\0';
    if (strncmp(reply, "ok", 2) == 0)
        return reply[2] == ' ' ? reply + 3 : reply + 2;
    note("-- %s", reply);
    return NULL;
}

unsigned long bed_count(const char *request, const char *key)
{
    const char *text = bed_sim("%s", request);
    size_t n = strlen(key);

    for (const char *at = text; at != NULL && (at = strstr(at, key)) != NULL; at++)
        if ((at == text || at[-1] == ' ') && at[n] == '=')
            return strtoul(at + n + 1, NULL, 10);
    fprintf(stderr, "matrix: %s: no %s in \"%s\"\n", request, key, text ? text : reply);
    abort();
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

static void write_settings(const char *path)
{
    const struct caps cap = caps();
    FILE *f = fopen(path, "w");

    if (!f)
        abort();
    fprintf(f, "%s\nlog = 15\n%s", bed.link->settings, bed.session->settings);
    if (!bed.real) {
        fprintf(f, "apdu_cap = %ld\npower_cap = %ld\nreader_cap = %ld\n", cap.apdu, cap.power, cap.reader);
        fprintf(f, "frame_gap = %u\ncommand_wait = %u\npresence_retry = 10\n", 8 * bed.scale, 12 * bed.scale);
        fprintf(f, "open_quiet = 2\nopen_drain = 10\nresync_quiet = 2\n");
        if (bed.link->aet63)
            fprintf(f, "reset_wait = %u\ntfm_cap = %u\n", 30 * bed.scale, 30 * bed.scale);
        else
            fprintf(f, "ping_wait = %u\npoll_time = 10\nrf_off = 1\nreopen_min = 1\nreopen_max = 5\n", 8 * bed.scale);
    }
    fclose(f);
}

void bed_waits(unsigned scale)
{
    if (bed.scale == scale || bed.real)
        return;
    bed_close();
    bed.scale = scale;
    write_settings(getenv("IFD_PURSE_CONF"));
}

int bed_enter(char **argv)
{
    const char *tmp = getenv("TMPDIR");
    char dir[128], ctl[160], conf[160], reader[512];
    const char *sim = getenv("PURSE_SIM_READERS");
    const char *words[32] = {sim, "--ctl", ctl, "--reader", reader, "--"};
    size_t n = 6;

    snprintf(dir, sizeof dir, "%.100s/m-XXXXXX", tmp ? tmp : "/tmp");
    if (!sim || !mkdtemp(dir)) {
        fprintf(stderr, "PURSE_SIM_READERS must name the simulator\n");
        return 2;
    }
    snprintf(ctl, sizeof ctl, "%s/ctl", dir);
    snprintf(conf, sizeof conf, "%s/conf", dir);
    snprintf(reader, sizeof reader, "%s%s", bed.link->reader, bed.session->reader);
    write_settings(conf);
    setenv("IFD_PURSE_CONF", conf, 1);
    for (; *argv && n < 31; argv++)
        words[n++] = *argv;
    execvp(sim, (char *const *)(uintptr_t)words);
    perror(sim);
    return 2;
}

static bool find(void *library, const char *name, void *function)
{
    void *p = dlsym(library, name);

    memcpy(function, &p, sizeof p);
    return p != NULL;
}

bool bed_start(const char *handler)
{
    void *library = dlopen(handler, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        fprintf(stderr, "matrix: %s\n", dlerror());
        return false;
    }
    return sim_connect() && find(library, "IFDHCreateChannelByName", &ifd.create) &&
           find(library, "IFDHCloseChannel", &ifd.close) && find(library, "IFDHGetCapabilities", &ifd.get) &&
           find(library, "IFDHSetProtocolParameters", &ifd.set_protocol) &&
           find(library, "IFDHPowerICC", &ifd.power) && find(library, "IFDHTransmitToICC", &ifd.transmit) &&
           find(library, "IFDHICCPresence", &ifd.presence) && find(library, "IFDHControl", &ifd.control);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

/* Ends a call that began at `from`: what it returned, and whether it kept to its cap. The margin is what a machine that
 * does many other things may take away from us. */
static bool ended(const char *what, int64_t from, long cap, RESPONSECODE rc, RESPONSECODE good)
{
    int64_t took = now_ms() - from;

    bed.last = rc;
    note("== %s: %ld, %lld ms", what, (long)rc, (long long)took);
    if (took > cap + (bed.real || bed.scale > 1 ? 3 * CAP_MARGIN_MS : CAP_MARGIN_MS)) {
        bed.late_calls++;
        snprintf(bed.late, sizeof bed.late, "%s took %lld ms, its cap is %ld", what, (long long)took, cap);
    }
    return rc == good;
}

static bool read_number(const char *device, const char *name, int base, unsigned *out)
{
    char path[512], text[16] = "";

    snprintf(path, sizeof path, "%s/sys/bus/usb/devices/%s/%s", getenv("UMOCKDEV_DIR"), device, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    bool ok = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    *out = (unsigned)strtoul(text, NULL, base);
    return ok;
}

/* As pcscd names it. */
static bool device_name(char *name, size_t cap)
{
    char path[512];
    bool found = false;

    if (bed.link->serial) {
        snprintf(name, cap, "/dev/ttyUSB0:escape=safe");
        return true;
    }
    snprintf(path, sizeof path, "%s/sys/bus/usb/devices", getenv("UMOCKDEV_DIR"));
    DIR *d = opendir(path);
    for (struct dirent *e = NULL; d && (e = readdir(d)) != NULL && !found;) {
        unsigned bus, device, vendor;
        found = read_number(e->d_name, "idVendor", 16, &vendor) && vendor == (bed.link->aet63 ? 0x072f : 0x0acd) &&
                read_number(e->d_name, "busnum", 10, &bus) && read_number(e->d_name, "devnum", 10, &device);
        if (found)
            snprintf(name, cap, "usb:%s:libudev:0:/dev/bus/usb/%03u/%03u", bed.link->aet63 ? "072f/8002" : "0acd/3530",
                     bus, device);
    }
    if (d)
        closedir(d);
    return found;
}

bool bed_open(void)
{
    char name[128];
    int64_t from = now_ms();
    DWORD n = sizeof ifd.poll;

    if (bed.open)
        return true;
    if (!device_name(name, sizeof name)) {
        usleep(2000); /* the testbed is a moment behind a plug */
        return false;
    }
    note("== %s", name);
    bed.open = ended("open", from, caps().reader, ifd.create(LUN, name), IFD_SUCCESS);
    if (bed.open && ifd.get(LUN, TAG_IFD_POLLING_THREAD_WITH_TIMEOUT, &n, (PUCHAR)(void *)&ifd.poll) != IFD_SUCCESS)
        abort();
    return bed.open;
}

void bed_close(void)
{
    int64_t from = now_ms();

    if (bed.open)
        ended("close", from, caps().reader, ifd.close(LUN), IFD_SUCCESS);
    bed.open = bed.powered = false;
}

bool bed_present(void)
{
    int64_t from = now_ms();

    if (ended("presence", from, caps().reader, ifd.presence(LUN), IFD_ICC_PRESENT))
        return true;
    bed.powered = false;
    return false;
}

void bed_poll(unsigned ms)
{
    int64_t from = now_ms();

    ended("poll", from, (long)ms + caps().reader, ifd.poll(LUN, (int)ms), IFD_SUCCESS);
}

static bool power(DWORD action)
{
    int64_t from = now_ms();
    DWORD n = sizeof bed_atr;
    bool ok = ended(action == IFD_POWER_DOWN ? "power down" : "power up", from, caps().power,
                    ifd.power(LUN, action, bed_atr, &n), IFD_SUCCESS);

    bed_atr_n = ok && n <= sizeof bed_atr ? n : 0;
    bed.powered = ok && action != IFD_POWER_DOWN;
    return ok;
}

bool bed_power_down(void)
{
    return power(IFD_POWER_DOWN);
}

bool bed_power_up(void)
{
    return power(IFD_POWER_UP);
}

bool bed_protocol(void)
{
    DWORD protocol = bed.session->protocol ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0;
    int64_t from = now_ms();

    bed.powered = ended("protocol", from, caps().power, ifd.set_protocol(LUN, protocol, 0, 0, 0, 0), IFD_SUCCESS);
    return bed.powered;
}

bool bed_ready(void)
{
    static unsigned absent;

    if (!bed_open())
        return false;
    if (bed.powered)
        return true;
    if (!bed_present()) {
        /* An event that got lost on a reader that sends events is noticed at the next command. */
        uint8_t status[] = {0x01}, answer[ANSWER_MAX];
        size_t n;
        if (bed.link->aet63 && ++absent % 8 == 0) {
            bed.nudges++;
            bed_control(status, 1, answer, &n);
        }
        bed_poll(bed.real ? 2000 : 60);
        return false;
    }
    absent = 0;
    return bed_power_up() && bed_protocol();
}

bool bed_transmit(const uint8_t *apdu, size_t n, uint8_t *answer, size_t *len)
{
    SCARD_IO_HEADER send = {.Protocol = bed.session->protocol, .Length = sizeof send}, back;
    int64_t from = now_ms();
    uint8_t copy[ANSWER_MAX];
    DWORD cap = ANSWER_MAX;

    memcpy(copy, apdu, n);
    bool ok = ended("transmit", from, caps().apdu, ifd.transmit(LUN, send, copy, n, answer, &cap, &back), IFD_SUCCESS);
    *len = ok ? cap : 0;
    if (bed.last == IFD_ICC_NOT_PRESENT)
        bed.powered = false;
    return ok;
}

bool bed_control(const uint8_t *command, size_t n, uint8_t *answer, size_t *len)
{
    int64_t from = now_ms();
    uint8_t copy[64];
    DWORD got = 0;

    memcpy(copy, command, n);
    bool ok = ended("control", from, caps().reader, ifd.control(LUN, ESCAPE, copy, n, answer, ANSWER_MAX, &got),
                    IFD_SUCCESS);
    *len = ok ? got : 0;
    return ok;
}

size_t bed_attribute(DWORD tag, uint8_t *value, size_t cap)
{
    DWORD n = cap;

    return ifd.get(LUN, tag, &n, value) == IFD_SUCCESS ? n : 0;
}

void bed_wrong(const uint8_t *answer, size_t n)
{
    size_t used = 0;

    for (size_t i = 0; i < n && used + 3 < sizeof bed.wrong; i++)
        used += (size_t)snprintf(bed.wrong + used, sizeof bed.wrong - used, "%02X ", answer[i]);
    bed.wrong[used] = '\0';
}
