/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The doctor's round (doctor.h): pcscd, the bundle in its driver directory, the readers that are plugged in, the serial
 * readers that reader.conf.d names, and this driver's own configuration file. In this order, because each step needs
 * what the one before has found out.
 */
#include "probe/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/settings.h"
#include "probe/hostlog.h"
#include "reader/reader.h"

#ifndef PROBE_USBDROPDIR
#define PROBE_USBDROPDIR "/usr/lib/pcsc/drivers"
#endif

enum { VERSION_TEXT = 4096, OLDEST_MAJOR = 1, OLDEST_MINOR = 9 };

/* ---- what is printed --------------------------------------------------------------------------------------------- */

static bool silent; /* doctor_records: only the records are wanted */

void doctor_title(const char *text)
{
    if (!silent)
        printf("\n%s\n", text);
}

static void say(const char *mark, const char *fmt, va_list ap)
{
    if (silent)
        return;
    printf("  %-6s ", mark);
    vprintf(fmt, ap);
    putchar('\n');
}

void doctor_ok(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("ok", fmt, ap);
    va_end(ap);
}

void doctor_note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("note", fmt, ap);
    va_end(ap);
}

void doctor_finding(struct doctor *d, const char *mend, const char *fmt, ...)
{
    va_list ap;

    d->findings++;
    va_start(ap, fmt);
    say("WRONG", fmt, ap);
    va_end(ap);
    if (mend)
        doctor_mend("%s", mend);
}

void doctor_mend(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
}

/* ---- pcscd ------------------------------------------------------------------------------------------------------- */

static bool find_pcscd(const char *root, char out[PATH_MAX])
{
    static const char *const places[] = {"/usr/sbin/pcscd", "/usr/local/sbin/pcscd", "/sbin/pcscd", "/usr/bin/pcscd"};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (system_path(root, places[i], out) && access(out, X_OK) == 0)
            return true;
    return false;
}

/* The word behind "key=" in pcscd's list of features. */
static void take_feature(const char *text, const char *key, char out[PATH_MAX])
{
    const char *p = strstr(text, key);
    size_t n;

    if (!p)
        return;
    p += strlen(key);
    n = strcspn(p, " \t\r\n");
    if (n > 0 && n < PATH_MAX) {
        memcpy(out, p, n);
        out[n] = '\0';
    }
}

static void check_version(struct doctor *d, const char *program)
{
    char text[VERSION_TEXT];
    unsigned major = 0, minor = 0, patch = 0;
    const char *p;

    if (!system_version_text(program, text, sizeof text)) {
        doctor_finding(d, "apt-get install --reinstall pcscd", "%s cannot be run", program);
        return;
    }
    p = strstr(text, "version ");
    if (!p || sscanf(p + 8, "%u.%u.%u", &major, &minor, &patch) < 2)
        doctor_note("%s does not tell its version", program);
    else if (major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR))
        doctor_finding(d, "apt-get install pcscd (of a newer release of your system)",
                       "pcscd is version %u.%u.%u; the driver needs %d.%d.0 or later", major, minor, patch,
                       OLDEST_MAJOR, OLDEST_MINOR);
    else
        doctor_ok("pcscd %u.%u.%u: %s", major, minor, patch, program);
    take_feature(text, "usbdropdir=", d->dropdir);
    take_feature(text, "configdir=", d->confdir);
    take_feature(text, "serialconfigdir=", d->confdir);
}

static void check_running(struct doctor *d)
{
    char path[PATH_MAX];
    struct stat st;

    d->runs = system_find_process(d->root, "pcscd", &d->pcscd);
    if (d->runs) {
        doctor_ok("it runs, process %d, user %u", (int)d->pcscd.pid, (unsigned)d->pcscd.uid);
        return;
    }
    /* As whom it will run: versions from 2.4 on have a user of their own. */
    if (!system_find_user(d->root, "pcscd", &d->pcscd))
        memset(&d->pcscd, 0, sizeof d->pcscd);
    if (system_path(d->root, "/run/pcscd/pcscd.comm", path) && stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        doctor_ok("it does not run now; systemd starts it for the first program that asks");
    else
        doctor_finding(d, "systemctl enable --now pcscd.socket", "pcscd does not run, and nothing will start it");
}

static void check_pcscd(struct doctor *d)
{
    char program[PATH_MAX];

    doctor_title("pcscd, the service that programs ask for readers");
    d->has_pcscd = find_pcscd(d->root, program);
    if (!d->has_pcscd)
        doctor_finding(d, "apt-get install pcscd", "pcscd is not installed");
    else
        check_version(d, program);
    check_running(d);
}

/* ---- the bundle -------------------------------------------------------------------------------------------------- */

/* The n-th <string> of the array behind a key of a plist, as a number; false: there is none. */
static bool plist_number(const char *text, const char *key, size_t n, unsigned long *out)
{
    const char *p = strstr(text, key), *end;

    if (!p || !(p = strstr(p, "<array>")) || !(end = strstr(p, "</array>")))
        return false;
    for (size_t i = 0; (p = strstr(p, "<string>")) != NULL && p < end; i++) {
        p += strlen("<string>");
        if (i == n) {
            *out = strtoul(p, NULL, 16);
            return true;
        }
    }
    return false;
}

/* Takes <!-- comments --> out. */
static void drop_comments(char *text)
{
    char *begin, *end;

    while ((begin = strstr(text, "<!--")) != NULL) {
        end = strstr(begin, "-->");
        if (!end) {
            *begin = '\0';
            return;
        }
        memmove(begin, end + 3, strlen(end + 3) + 1);
    }
}

static bool plist_claims(const char *text, uint16_t vid, uint16_t pid)
{
    unsigned long v, p;

    for (size_t i = 0; plist_number(text, "ifdVendorID", i, &v); i++)
        if (v == vid && plist_number(text, "ifdProductID", i, &p) && p == pid)
            return true;
    return false;
}

static char *read_plist(const struct doctor *d, const char *bundle)
{
    char path[2 * PATH_MAX];
    char *text;

    (void)snprintf(path, sizeof path, "%s/%s/Contents/Info.plist", d->dropdir, bundle);
    text = system_read_file(d->root, path);
    if (text)
        drop_comments(text);
    return text;
}

/* Does another bundle claim the ids of u? */
static void check_rivals(struct doctor *d, const struct usb_seen *u)
{
    char path[PATH_MAX];
    struct dirent *e;
    DIR *dir;

    if (!system_path(d->root, d->dropdir, path) || !(dir = opendir(path)))
        return;
    while ((e = readdir(dir)) != NULL) {
        size_t n = strlen(e->d_name);
        char *text;

        if (n < 8 || strcmp(e->d_name + n - 7, ".bundle") != 0 || strcmp(e->d_name, "ifd-purse.bundle") == 0)
            continue;
        text = read_plist(d, e->d_name);
        if (text && plist_claims(text, u->vid, u->pid)) {
            doctor_finding(d, NULL, "%s claims %04X:%04X, too: pcscd takes whichever it finds first", e->d_name, u->vid,
                           u->pid);
            doctor_mend("mv %s/%s %s/%s.off", d->dropdir, e->d_name, d->dropdir, e->d_name);
        }
        free(text);
    }
    closedir(dir);
}

static void check_claims(struct doctor *d, const char *plist)
{
    for (size_t i = 0; i < d->usb_count; i++) {
        const struct usb_seen *u = &d->usb[i];

        if (!plist_claims(plist, u->vid, u->pid)) {
            doctor_finding(d, NULL, "%04X:%04X is plugged in and is not in the bundle's Info.plist: pcscd ignores it",
                           u->vid, u->pid);
            doctor_mend("add 0x%04X, 0x%04X and a name to the three lists in %s/ifd-purse.bundle/Contents/Info.plist, "
                        "then: systemctl restart pcscd",
                        u->vid, u->pid, d->dropdir);
        }
        check_rivals(d, u);
    }
}

static void check_bundle(struct doctor *d)
{
    char path[PATH_MAX], name[2 * PATH_MAX];
    char *plist = read_plist(d, "ifd-purse.bundle");

    doctor_title("The driver in pcscd's directory");
    (void)snprintf(name, sizeof name, "%s/ifd-purse.bundle/Contents/Linux/libifdpurse.so", d->dropdir);
    if (!plist) {
        doctor_finding(d, NULL, "there is no ifd-purse.bundle in %s, where this pcscd looks for drivers", d->dropdir);
        if (strcmp(d->dropdir, PROBE_USBDROPDIR) != 0)
            doctor_mend("this ifd-purse was built for %s: ./configure --with-usbdropdir=%s && make && make install",
                        PROBE_USBDROPDIR, d->dropdir);
        else
            doctor_mend("make install (or install the package ifd-purse again)");
        return;
    }
    if (!system_path(d->root, name, path) || access(path, R_OK) != 0)
        doctor_finding(d, "make install (or install the package ifd-purse again)", "%s cannot be read: %s", name,
                       strerror(errno));
    else
        doctor_ok("%s", name);
    check_claims(d, plist);
    free(plist);
}

/* ---- the configuration file -------------------------------------------------------------------------------------- */

/* Asks the driver for the settings of one section's reader: what it says is what is wrong there. */
static void load_section(struct doctor *d, const char *section)
{
    struct settings_subject who = {0};
    const struct reader_family *family = NULL;
    struct settings s;
    unsigned vid, pid;
    int n = 0;

    if (section[0] == '/') {
        who.device = section;
        who.family = 'v';
    } else if (sscanf(section, "%4x:%4x%n", &vid, &pid, &n) >= 2) {
        who.vid = (uint16_t)vid;
        who.pid = (uint16_t)pid;
        who.serial = section[n] == ':' ? section + n + 1 : NULL;
        family = reader_family_for_usb(who.vid, who.pid, d->log);
        who.family = family ? family->id : 0;
    }
    settings_load(&s, &who, d->log);
}

static bool said_before(char said[][SEEN_TEXT * 4], size_t n, const char *line)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(said[i], line, sizeof said[i] - 1) == 0)
            return true;
    return false;
}

/* Turns the driver's complaints into findings, each once: a wrong section is met again for each other section. */
static void take_complaints(struct doctor *d, char said[][SEEN_TEXT * 4], size_t *n, size_t cap)
{
    const char *line;

    for (size_t i = 0; (line = hostlog_line(i)) != NULL; i++) {
        if (*n == cap || said_before(said, *n, line))
            continue;
        (void)snprintf(said[(*n)++], SEEN_TEXT * 4, "%s", line);
        doctor_finding(d, "correct that line; ifd-purse.conf(5) tells what may stand there", "%s", line);
    }
    hostlog_clear();
}

static void check_configuration(struct doctor *d)
{
    char path[PATH_MAX], said[32][SEEN_TEXT * 4];
    const char *named = getenv("IFD_PURSE_CONF");
    char *text;
    size_t n = 0;

    doctor_title("This driver's configuration file");
    (void)snprintf(path, sizeof path, "%s", named && *named ? named : IFD_PURSE_SYSCONFDIR "/ifd-purse.conf");
    text = system_read_file("", path);
    if (!text && errno == ENOENT && !named) {
        doctor_ok("there is no %s: the defaults are used", path);
        return;
    }
    hostlog_clear();
    load_section(d, "");
    take_complaints(d, said, &n, 32);
    for (char *p = text; p && *p;) {
        size_t length = strcspn(p, "\n");
        char *line = p;

        p += length + (p[length] == '\n');
        line[length] = '\0';
        line += strspn(line, " \t");
        if (*line == '[' && strchr(line, ']')) {
            *strchr(line, ']') = '\0';
            load_section(d, line + 1 + strspn(line + 1, " \t"));
            take_complaints(d, said, &n, 32);
        }
    }
    free(text);
    if (n == 0)
        doctor_ok("%s", path);
}

/* ---- the round --------------------------------------------------------------------------------------------------- */

static void list_readers(struct doctor *d)
{
    doctor_title("Readers on the USB bus");
    for (size_t i = 0; i < d->usb_count; i++) {
        const struct usb_seen *u = &d->usb[i];

        doctor_ok("%04X:%04X (%s) at %s", u->vid, u->pid, u->family == 'a' ? "AET63" : "ViVOpay", u->node);
    }
    if (d->usb_count == 0)
        doctor_note("none. A reader on a serial port is no USB reader; for one with ids that this driver does not know "
                    "see usb_id in ifd-purse.conf(5)");
}

/* Below another root the configuration is that root's, unless the environment names one. */
static void use_root(const char *root)
{
    char path[PATH_MAX];

    if (*root && !getenv("IFD_PURSE_CONF") && system_path(root, "/etc/ifd-purse.conf", path) && access(path, F_OK) == 0)
        setenv("IFD_PURSE_CONF", path, 1);
    else if (*root && !getenv("IFD_PURSE_CONF"))
        setenv("IFD_PURSE_CONF", "/dev/null", 1);
}

void doctor_records(struct doctor *d, const char *root, struct log *log)
{
    *d = (struct doctor){.root = root, .log = log, .dropdir = PROBE_USBDROPDIR, .confdir = "/etc/reader.conf.d"};
    silent = true;
    doctor_serial_conf(d);
    silent = false;
    hostlog_clear();
}

int doctor_run(const char *root)
{
    static struct doctor d; /* large, and of one use */
    struct log log;

    use_root(root);
    log_init(&log, PLOG_CRITICAL, "");
    d = (struct doctor){.root = root, .log = &log, .dropdir = PROBE_USBDROPDIR, .confdir = "/etc/reader.conf.d"};
    d.usb_count = system_usb_readers(root, d.usb, SEEN_MAX, &log);
    check_pcscd(&d);
    check_bundle(&d);
    list_readers(&d);
    doctor_usb_nodes(&d);
    doctor_serial_conf(&d);
    doctor_serial_nodes(&d);
    check_configuration(&d);
    if (d.findings == 0)
        printf("\nNothing is wrong here. If programs do not see the reader all the same, run ifd-purse-probe with "
               "pcscd stopped: it asks the reader itself.\n");
    else
        printf("\n%u thing%s to mend, the first one first.\n", d.findings, d.findings == 1 ? "" : "s");
    log_done(&log);
    return d.findings > 0;
}
