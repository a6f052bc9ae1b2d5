/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The doctor at reader.conf.d (doctor.h). pcscd's reader of these files has traps, and it tells nobody when one
 * springs: a record is complete as soon as FRIENDLYNAME, LIBPATH and DEVICENAME (or CHANNELID) were seen, and whatever
 * follows belongs to the next one; quotes are for FRIENDLYNAME alone; a character that is not allowed ends the reading
 * of the file; a DEVICENAME without an option whose node is not there ends it, too, and in the last file it may end
 * pcscd; two handlers are told apart by the text of their LIBPATH. So the files are read here the way pcscd reads them.
 */
#include "probe/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/settings.h"
#include "probe/hostlog.h"

struct reading { /* of one file */
    struct doctor *d;
    char path[RECORD_TEXT];
    unsigned line;
    struct serial_record now; /* what is gathered for the next record */
    unsigned channel_line;    /* a CHANNELID that begins a record; 0: none */
    bool after_record, ours;
};

static bool allowed(const char *word)
{
    return word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789=\\/-._@:")] == '\0';
}

static bool is_ours(const char *library)
{
    return strstr(library, "ifdpurse") != NULL;
}

static void copy_text(char out[RECORD_TEXT], const char *text)
{
    size_t n = strnlen(text, RECORD_TEXT - 1);

    memcpy(out, text, n);
    out[n] = '\0';
}

/* ---- a record ---------------------------------------------------------------------------------------------------- */

static void check_library(struct reading *f, const struct serial_record *r)
{
    struct doctor *d = f->d;
    char path[PATH_MAX], wanted[2 * PATH_MAX];
    const char *file = strrchr(r->library, '/');
    struct stat st;

    (void)snprintf(wanted, sizeof wanted, "%s/serial/libifdpurse-serial.so", d->dropdir);
    if (!system_path(d->root, r->library, path) || stat(path, &st) != 0) {
        doctor_finding(d, NULL, "%s:%u: LIBPATH %s is not there", r->file, r->line, r->library);
        doctor_mend("write: LIBPATH %s", wanted);
    } else if (file && strcmp(file, "/libifdpurse.so") == 0) {
        doctor_finding(d, NULL,
                       "%s:%u: LIBPATH names the handler of the USB readers; serial readers have one of "
                       "their own",
                       r->file, r->line);
        doctor_mend("write: LIBPATH %s", wanted);
    } else if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        doctor_finding(d, NULL, "%s:%u: LIBPATH is a symbolic link: two readers could get the same number from pcscd",
                       r->file, r->line);
        doctor_mend("write the file itself: LIBPATH %s", wanted);
    }
}

/* The options of the DEVICENAME, judged by the driver itself. */
static void check_options(struct reading *f, const struct serial_record *r, const char *node, const char *options)
{
    struct settings_subject who = {.device = node, .options = options, .family = 'v'};
    const char *conf = getenv("IFD_PURSE_CONF"), *line;
    char *kept = conf ? strdup(conf) : NULL;
    struct settings s;

    setenv("IFD_PURSE_CONF", "/dev/null", 1); /* its own lines are another step's business */
    hostlog_clear();
    settings_load(&s, &who, f->d->log);
    for (size_t i = 0; (line = hostlog_line(i)) != NULL; i++)
        doctor_finding(f->d, "correct the option; ifd-purse.conf(5) lists them", "%s:%u: %s", r->file, r->line, line);
    hostlog_clear();
    if (kept)
        setenv("IFD_PURSE_CONF", kept, 1);
    else
        unsetenv("IFD_PURSE_CONF");
    free(kept);
}

static void check_device(struct reading *f, const struct serial_record *r)
{
    struct doctor *d = f->d;
    char node[PATH_MAX], path[PATH_MAX];
    const char *options;
    struct stat st;

    if (!r->has_device) {
        doctor_finding(d, "write a line before LIBPATH: DEVICENAME /dev/ttyUSB0:slots=cl (your port)",
                       "%s:%u: a CHANNELID, and no DEVICENAME: this driver needs the port's name", r->file, r->line);
        return;
    }
    if (r->device_quoted) {
        doctor_finding(d, NULL, "%s:%u: DEVICENAME is in quotes, which pcscd takes for a part of the name", r->file,
                       r->line);
        doctor_mend("write without quotes: DEVICENAME %s", r->device);
        return;
    }
    if (strncmp(r->device, "usb:", 4) == 0) {
        doctor_finding(d, "delete the record", "%s:%u: USB readers are found by pcscd itself", r->file, r->line);
        return;
    }
    if (!devicename_split(r->device, node, sizeof node, &options))
        return;
    if (!strchr(r->device, ':') && (!system_path(d->root, node, path) || stat(path, &st) != 0)) {
        doctor_finding(d, NULL, "%s:%u: %s is not there, and without an option pcscd skips the record or ends", r->file,
                       r->line, node);
        doctor_mend("write: DEVICENAME %s:slots=cl (the driver opens the port when it comes)", node);
    }
    if (options)
        check_options(f, r, node, options);
}

static bool same_node(const struct doctor *d, const char *a, const char *b)
{
    char x[PATH_MAX], y[PATH_MAX], px[PATH_MAX], py[PATH_MAX];
    const char *options;
    struct stat sx, sy;

    if (!devicename_split(a, x, sizeof x, &options) || !devicename_split(b, y, sizeof y, &options))
        return false;
    if (strcmp(x, y) == 0)
        return true;
    return system_path(d->root, x, px) && system_path(d->root, y, py) && stat(px, &sx) == 0 && stat(py, &sy) == 0 &&
           sx.st_dev == sy.st_dev && sx.st_ino == sy.st_ino;
}

static bool same_library(const struct doctor *d, const char *a, const char *b)
{
    char x[PATH_MAX], y[PATH_MAX];
    struct stat sx, sy;

    return strcmp(a, b) != 0 && system_path(d->root, a, x) && system_path(d->root, b, y) && stat(x, &sx) == 0 &&
           stat(y, &sy) == 0 && sx.st_dev == sy.st_dev && sx.st_ino == sy.st_ino;
}

static void compare(struct doctor *d, const struct serial_record *r, const struct serial_record *other)
{
    bool ours = is_ours(r->library) || is_ours(other->library);

    if (!ours)
        return;
    if (r->has_name && other->has_name && strcmp(r->name, other->name) == 0)
        doctor_finding(d, "give each record a FRIENDLYNAME of its own",
                       "%s:%u: FRIENDLYNAME \"%s\" stands in %s, too: pcscd tells serial readers apart by it", r->file,
                       r->line, r->name, other->file);
    if (r->has_device && other->has_device && same_node(d, r->device, other->device))
        doctor_finding(d, "delete one of the two records", "%s:%u: the port %s is given to two readers (%s)", r->file,
                       r->line, r->device, other->file);
    if (same_library(d, r->library, other->library)) {
        doctor_finding(d, NULL, "%s:%u: LIBPATH %s and %s are one file: two readers get the same number from pcscd",
                       r->file, r->line, r->library, other->library);
        doctor_mend("write the same path in both: LIBPATH %s", other->library);
    }
}

static void finish_record(struct reading *f)
{
    struct doctor *d = f->d;
    struct serial_record *r = &f->now;

    copy_text(r->file, f->path);
    r->line = f->line;
    if (is_ours(r->library)) {
        if (f->channel_line != 0)
            doctor_finding(d, "move CHANNELID up, or delete it: LIBPATH is the last line of its record",
                           "%s:%u: CHANNELID stands behind LIBPATH and goes to the next reader", f->path,
                           f->channel_line);
        check_device(f, r);
        check_library(f, r);
        doctor_note("%s:%u: \"%s\" at %s", r->file, r->line, r->name, r->has_device ? r->device : "(no port)");
    }
    for (size_t i = 0; i < d->record_count; i++)
        compare(d, r, &d->records[i]);
    if (d->record_count < DOCTOR_RECORDS)
        d->records[d->record_count++] = *r;
    memset(r, 0, sizeof *r);
    f->channel_line = 0;
    f->after_record = true;
}

/* ---- a file ------------------------------------------------------------------------------------------------------ */

/* Takes the value of a line: text in quotes, or one word. */
static bool take_value(char *p, char out[RECORD_TEXT], bool *quoted)
{
    size_t n;

    p += strspn(p, " \t");
    *quoted = *p == '"';
    if (*quoted)
        p++;
    n = *quoted ? strcspn(p, "\"") : strcspn(p, " \t#");
    if (n >= RECORD_TEXT)
        n = RECORD_TEXT - 1;
    memcpy(out, p, n);
    out[n] = '\0';
    return n > 0;
}

static void take_line(struct reading *f, char *line)
{
    static const char *const keys[] = {"FRIENDLYNAME", "DEVICENAME", "LIBPATH", "CHANNELID"};
    struct serial_record *r = &f->now;
    char value[RECORD_TEXT];
    size_t key = 0;
    bool quoted;

    line += strspn(line, " \t");
    while (key < 4 && strncmp(line, keys[key], strlen(keys[key])) != 0)
        key++;
    if (key == 4 || !take_value(line + strlen(keys[key]), value, &quoted))
        return;
    if (!quoted && !allowed(value) && f->ours) {
        doctor_finding(f->d, NULL,
                       "%s:%u: \"%s\" has a character that pcscd does not take; it reads this file no "
                       "further",
                       f->path, f->line, value);
        doctor_mend("use another name of the port: ls -l /dev/ifd-purse/ (letters, digits and = \\ / - . _ @ : only)");
    }
    if (key == 0) {
        copy_text(r->name, value);
        r->has_name = true;
    } else if (key == 1) {
        copy_text(r->device, value);
        r->has_device = true;
        r->device_quoted = quoted;
    } else if (key == 2) {
        copy_text(r->library, value);
        r->has_library = true;
    } else {
        if (f->after_record && !r->has_name && !r->has_device && !r->has_library)
            f->channel_line = f->line;
        r->has_channel = true;
    }
    if (r->has_name && r->has_library && (r->has_device || r->has_channel))
        finish_record(f);
}

static void end_file(struct reading *f)
{
    const struct serial_record *r = &f->now;

    if (!f->ours || !(r->has_name || r->has_device || r->has_library))
        return;
    doctor_finding(f->d, NULL, "%s: the last record has no %s, so pcscd does not use it", f->path,
                   !r->has_name      ? "FRIENDLYNAME"
                   : !r->has_library ? "LIBPATH"
                                     : "DEVICENAME");
    doctor_mend("write three lines: FRIENDLYNAME \"name\", DEVICENAME /dev/ttyUSB0:slots=cl, LIBPATH "
                "%s/serial/libifdpurse-serial.so",
                f->d->dropdir);
}

static void read_conf(struct doctor *d, const char *name)
{
    struct reading f = {.d = d};
    char path[2 * PATH_MAX];
    char *text;

    (void)snprintf(path, sizeof path, "%s/%s", d->confdir, name);
    text = system_read_file(d->root, path);
    if (!text)
        return;
    copy_text(f.path, path);
    f.ours = strstr(text, "ifdpurse") != NULL;
    for (char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        char *line = p;

        p += n + (p[n] == '\n');
        line[n] = '\0';
        f.line++;
        if (line[strspn(line, " \t")] != '#')
            take_line(&f, line);
    }
    end_file(&f);
    free(text);
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

void doctor_serial_conf(struct doctor *d)
{
    struct dirent **names = NULL;
    char path[PATH_MAX];
    unsigned before = d->findings;
    size_t ours = 0;
    int n;

    doctor_title("Readers on serial ports (reader.conf.d)");
    n = system_path(d->root, d->confdir, path) ? scandir(path, &names, visible, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        read_conf(d, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    for (size_t i = 0; i < d->record_count; i++)
        if (is_ours(d->records[i].library))
            d->records[ours++] = d->records[i];
    d->record_count = ours;
    if (ours == 0 && d->findings == before)
        doctor_note("no file in %s names this driver. For a reader on a serial port copy ifd-purse-serial there from "
                    "the examples",
                    d->confdir);
}
