/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Loading the driver, talking to the simulator, writing a configuration; see nth_rig.h.
 *
 * log_msg and log_xxd are found by the driver in the program that loads it, as they are in pcscd.
 */
#include "nth_rig.h"

#include <debuglog.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <reader.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

enum { ARGUMENTS_MAX = 32, POLL_STEP_MS = 20 };

static void die(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    fflush(stdout);
    _exit(1);
}

/* ---- pcscd's log ------------------------------------------------------------------------------------------------ */

void (*rig_on_log)(const char *line);
unsigned long rig_log_lines, rig_log_bytes;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

EXPORTED void log_msg(const int priority, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    (void)pthread_mutex_lock(&log_lock);
    rig_log_lines++;
    rig_log_bytes += strlen(line) + 1;
    if (rig_on_log)
        rig_on_log(line);
    if (getenv("PURSE_TEST_LOG"))
        (void)fprintf(stderr, "log %d: %s\n", priority, line);
    (void)pthread_mutex_unlock(&log_lock);
    explicit_bzero(line, sizeof line);
}

EXPORTED void log_xxd(const int priority, const char *msg, const unsigned char *buffer, const int size)
{
    (void)buffer;
    log_msg(priority, "%s (%d bytes)", msg, size);
}

/* ---- the driver ------------------------------------------------------------------------------------------------- */

const char *rig_build(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    if (n <= 0)
        die("start", "/proc/self/exe cannot be read");
    path[n] = '\0';
    return dirname(dirname(dirname(path))); /* BUILD/tests/driver/program */
}

static void find(struct rig_driver *d, const char *name, void *function)
{
    void *at = dlsym(d->handle, name);

    if (!at)
        die("load", dlerror());
    memcpy(function, &at, sizeof at);
}

void rig_load(struct rig_driver *d, const char *so)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/%s", rig_build(), so);
    d->handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL); /* as pcscd does it */
    if (!d->handle)
        die("load", dlerror());
    find(d, "IFDHCreateChannelByName", &d->create);
    find(d, "IFDHCloseChannel", &d->close);
    find(d, "IFDHGetCapabilities", &d->get);
    find(d, "IFDHSetCapabilities", &d->set);
    find(d, "IFDHSetProtocolParameters", &d->protocol);
    find(d, "IFDHPowerICC", &d->power);
    find(d, "IFDHTransmitToICC", &d->transmit);
    find(d, "IFDHICCPresence", &d->presence);
    find(d, "IFDHControl", &d->control);

    DWORD n = sizeof d->poll;
    if (d->get(0, TAG_IFD_POLLING_THREAD_WITH_TIMEOUT, &n, (PUCHAR)&d->poll) != IFD_SUCCESS || n != sizeof d->poll)
        die("load", "the driver offers no polling function");
}

/* ---- the simulator ---------------------------------------------------------------------------------------------- */

int rig_enter(const char *simulator, const char *const *readers, char **argv)
{
    char folder[] = "/tmp/purse-rig-XXXXXX", path[64], program[PATH_MAX + 64];
    const char *out[ARGUMENTS_MAX];
    size_t n = 0;

    snprintf(program, sizeof program, "%s/tests/%s", rig_build(), simulator);
    if (!mkdtemp(folder))
        die("start", strerror(errno));
    snprintf(path, sizeof path, "%s/ctl", folder);
    setenv("PURSE_RIG_FOLDER", folder, 1);
    setenv("LD_BIND_NOW", "1", 1); /* a function that is looked up at its first call leaves registers on the stack */
    out[n++] = program;
    out[n++] = "--ctl";
    out[n++] = path;
    for (; *readers && n + 2 < ARGUMENTS_MAX; readers++) {
        out[n++] = "--reader";
        out[n++] = *readers;
    }
    out[n++] = "--";
    for (; *argv && n + 1 < ARGUMENTS_MAX; argv++)
        out[n++] = *argv;
    out[n] = NULL;
    execv(program, (char *const *)(uintptr_t)out);
    die(program, strerror(errno));
    return 1;
}

void rig_leave(void)
{
    const char *folder = getenv("PURSE_RIG_FOLDER");
    DIR *dir = folder ? opendir(folder) : NULL;
    struct dirent *e;

    /* the control socket, too: the simulator, which is about to end, needs no further client */
    while (dir && (e = readdir(dir)))
        (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (!dir)
        return;
    closedir(dir);
    (void)rmdir(folder);
}

static char reply[RIG_REPLY_MAX];

static const char *ask(const char *fmt, va_list ap)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char line[RIG_REPLY_MAX];
    size_t used = 0;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);

    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("PURSE_SIM_CTL"));
    if (connect(s, (struct sockaddr *)&to, sizeof to) != 0)
        die("simulator", strerror(errno));
    line[n++] = '\n';
    if (write(s, line, (size_t)n) != n)
        die("simulator", strerror(errno));
    explicit_bzero(line, sizeof line); /* a test may look for what it had told */
    while (used == 0 || reply[used - 1] != '\n') {
        ssize_t k = read(s, reply + used, sizeof reply - used);

        if (k <= 0)
            die("simulator", "it does not answer");
        used += (size_t)k;
    }
    reply[used - 1] = '\0';
    close(s);
    return strncmp(reply, "ok", 2) == 0 ? reply + 2 : NULL;
}

const char *rig_sim(const char *fmt, ...)
{
    va_list ap;
    const char *text;

    va_start(ap, fmt);
    text = ask(fmt, ap);
    va_end(ap);
    return text;
}

const char *rig_must(const char *fmt, ...)
{
    va_list ap;
    const char *text;

    va_start(ap, fmt);
    text = ask(fmt, ap);
    va_end(ap);
    if (!text)
        die(fmt, reply);
    return text;
}

/* ---- around the driver ------------------------------------------------------------------------------------------ */

void rig_settings(const char *lines)
{
    static const char *const SECTIONS[] = {"072F:8002", "0ACD:3530", "/dev/ttyUSB0"};
    const char *folder = getenv("PURSE_RIG_FOLDER");
    char path[80];
    FILE *f;

    snprintf(path, sizeof path, "%s/conf-%d", folder ? folder : "/nowhere", (int)getpid());
    f = fopen(path, "w");
    if (!f)
        die("settings", strerror(errno));
    for (size_t i = 0; i < sizeof SECTIONS / sizeof SECTIONS[0]; i++)
        fprintf(f, "[%s]\n%s\n", SECTIONS[i], lines);
    fclose(f);
    setenv("IFD_PURSE_CONF", path, 1);
}

/* A number that a file of a USB device's folder holds. */
static unsigned fact(const char *device, const char *name, int base)
{
    char path[400], text[32] = "";
    FILE *f;

    snprintf(path, sizeof path, "/sys/bus/usb/devices/%s/%s", device, name);
    f = fopen(path, "r");
    if (!f)
        return 0;
    if (!fgets(text, sizeof text, f))
        text[0] = '\0';
    fclose(f);
    return (unsigned)strtoul(text, NULL, base);
}

bool rig_usb_name(unsigned vid, unsigned pid, char name[RIG_NAME_MAX])
{
    DIR *dir = opendir("/sys/bus/usb/devices");
    struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir))) {
        found = e->d_name[0] != '.' && fact(e->d_name, "idVendor", 16) == vid &&
                fact(e->d_name, "idProduct", 16) == pid;
        if (found)
            snprintf(name, RIG_NAME_MAX, "usb:%04x/%04x:libudev:0:/dev/bus/usb/%03u/%03u", vid, pid,
                     fact(e->d_name, "busnum", 10) % 1000, fact(e->d_name, "devnum", 10) % 1000);
    }
    if (dir)
        closedir(dir);
    return found;
}

unsigned rig_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

int64_t rig_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool rig_await_card(const struct rig_driver *d, DWORD lun, int ms)
{
    int64_t end = rig_now_ms() + ms;

    RESPONSECODE rc;

    while ((rc = d->presence(lun)) != IFD_ICC_PRESENT) {
        if (rc != IFD_ICC_NOT_PRESENT || rig_now_ms() >= end)
            return false; /* a reader that is gone has no card any more */
        (void)d->poll(lun, POLL_STEP_MS);
    }
    return true;
}

RESPONSECODE rig_apdu(const struct rig_driver *d, DWORD lun, int t, const uint8_t *apdu, size_t len, uint8_t *out,
                      size_t *n)
{
    SCARD_IO_HEADER send = {.Protocol = (DWORD)t, .Length = sizeof send}, receive = {0};
    DWORD length = *n;
    RESPONSECODE rc = d->transmit(lun, send, (PUCHAR)(uintptr_t)apdu, len, out, &length, &receive);

    *n = length;
    return rc;
}

size_t rig_hex(const char *text, uint8_t *out, size_t cap)
{
    size_t n = 0;
    unsigned byte;

    while (n < cap && sscanf(text, "%2x", &byte) == 1) {
        out[n++] = (uint8_t)byte;
        text += strspn(text, " ") + 2;
        text += strspn(text, " ");
    }
    return n;
}
