/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reading sysfs, /proc and device nodes (system.h). A node is recognised by its inode and not by its name: a reader may
 * be opened by any of several names, and what /proc shows for one is the last of them.
 */
#include "probe/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reader/reader.h"

enum { FILE_LIMIT = 256 * 1024, LINE = 256 };

extern char **environ;

bool system_path(const char *root, const char *path, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s%s", root, path);

    return n > 0 && n < PATH_MAX;
}

char *system_read_file(const char *root, const char *path)
{
    char full[PATH_MAX], *text;
    size_t n;
    FILE *f;

    if (!system_path(root, path, full) || !(f = fopen(full, "re")))
        return NULL;
    text = malloc(FILE_LIMIT + 1);
    if (text) {
        n = fread(text, 1, FILE_LIMIT, f);
        text[n] = '\0';
    }
    fclose(f);
    return text;
}

bool system_read_line(const char *root, const char *path, char *out, size_t cap)
{
    char full[PATH_MAX];
    FILE *f;
    bool ok;

    if (!system_path(root, path, full) || !(f = fopen(full, "re")))
        return false;
    ok = fgets(out, (int)cap, f) != NULL;
    fclose(f);
    if (!ok)
        return false;
    out[strcspn(out, "\n")] = '\0';
    return true;
}

/* ---- USB --------------------------------------------------------------------------------------------------------- */

static bool read_number(const char *root, const char *sysname, const char *attribute, int base, unsigned long *out)
{
    char path[PATH_MAX], text[LINE], *end;
    int n = snprintf(path, sizeof path, "/sys/bus/usb/devices/%s/%s", sysname, attribute);

    if (n < 0 || n >= (int)sizeof path || !system_read_line(root, path, text, sizeof text))
        return false;
    *out = strtoul(text, &end, base);
    return end != text;
}

static void read_text(const char *root, const char *sysname, const char *attribute, char out[SEEN_TEXT])
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "/sys/bus/usb/devices/%s/%s", sysname, attribute);

    if (n < 0 || n >= (int)sizeof path || !system_read_line(root, path, out, SEEN_TEXT))
        out[0] = '\0';
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7E)
            *p = '?';
}

/* False: no device, or none of ours. */
static bool look_at_device(const char *root, const char *sysname, struct usb_seen *u, struct log *log)
{
    unsigned long vid, pid, bus, device;
    const struct reader_family *family;

    if (strchr(sysname, ':') || strlen(sysname) >= sizeof u->sysname ||
        !read_number(root, sysname, "idVendor", 16, &vid) || !read_number(root, sysname, "idProduct", 16, &pid) ||
        !read_number(root, sysname, "busnum", 10, &bus) || !read_number(root, sysname, "devnum", 10, &device))
        return false;
    family = reader_family_for_usb((uint16_t)vid, (uint16_t)pid, log);
    if (!family)
        return false;
    *u = (struct usb_seen){.vid = (uint16_t)vid,
                           .pid = (uint16_t)pid,
                           .bus = (unsigned)bus,
                           .device = (unsigned)device,
                           .family = family->id};
    memcpy(u->sysname, sysname, strlen(sysname) + 1);
    (void)snprintf(u->node, sizeof u->node, "/dev/bus/usb/%03u/%03u", u->bus, u->device);
    read_text(root, sysname, "serial", u->serial);
    read_text(root, sysname, "product", u->product);
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct usb_seen *x = a, *y = b;

    return x->bus != y->bus ? (x->bus < y->bus ? -1 : 1) : x->device < y->device ? -1 : x->device > y->device;
}

size_t system_usb_readers(const char *root, struct usb_seen *out, size_t cap, struct log *log)
{
    char path[PATH_MAX];
    struct dirent *e;
    size_t n = 0;
    DIR *d;

    if (!system_path(root, "/sys/bus/usb/devices", path) || !(d = opendir(path)))
        return 0;
    while (n < cap && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && look_at_device(root, e->d_name, &out[n], log))
            n++;
    closedir(d);
    if (n > 0)
        qsort(out, n, sizeof *out, by_place);
    return n;
}

bool system_interface_driver(const char *root, const struct usb_seen *u, unsigned interface, char *out, size_t cap)
{
    char name[PATH_MAX], path[PATH_MAX], link[PATH_MAX], *last;
    ssize_t n;

    (void)snprintf(name, sizeof name, "/sys/bus/usb/devices/%s:1.%u/driver", u->sysname, interface);
    if (!system_path(root, name, path))
        return false;
    n = readlink(path, link, sizeof link - 1);
    if (n < 0)
        return false;
    link[n] = '\0';
    last = strrchr(link, '/');
    (void)snprintf(out, cap, "%s", last ? last + 1 : link);
    return true;
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* "Groups:\t1 2 3" behind what is there already. */
static void take_groups(struct process *p, const char *text)
{
    while (p->gid_count < GROUPS_MAX) {
        char *end;
        unsigned long gid = strtoul(text, &end, 10);

        if (end == text)
            return;
        p->gids[p->gid_count++] = (gid_t)gid;
        text = end;
    }
}

static bool read_process(const char *root, pid_t pid, struct process *p)
{
    char path[64], *text, *uid, *gid, *groups;

    memset(p, 0, sizeof *p);
    p->pid = pid;
    (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    if (!system_read_line(root, path, p->name, sizeof p->name))
        return false;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    text = system_read_file(root, path);
    if (!text)
        return true;
    uid = strstr(text, "\nUid:");
    gid = strstr(text, "\nGid:");
    groups = strstr(text, "\nGroups:");
    if (uid)
        p->uid = (uid_t)strtoul(uid + 5, NULL, 10);
    if (gid)
        p->gids[p->gid_count++] = (gid_t)strtoul(gid + 5, NULL, 10);
    if (groups) {
        char *end = strchr(groups + 1, '\n');

        if (end)
            *end = '\0';
        take_groups(p, groups + 8);
    }
    free(text);
    return true;
}

/* Calls test for each process until it says true. */
static bool each_process(const char *root, struct process *p,
                         bool (*test)(const char *, pid_t, struct process *, void *), void *arg)
{
    char path[PATH_MAX];
    struct dirent *e;
    bool found = false;
    DIR *d;

    if (!system_path(root, "/proc", path) || !(d = opendir(path)))
        return false;
    while (!found && (e = readdir(d)) != NULL) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);

        if (pid > 0 && *end == '\0' && pid != getpid())
            found = test(root, (pid_t)pid, p, arg);
    }
    closedir(d);
    return found;
}

static bool has_name(const char *root, pid_t pid, struct process *p, void *name)
{
    return read_process(root, pid, p) && strcmp(p->name, name) == 0;
}

bool system_find_process(const char *root, const char *name, struct process *p)
{
    char copy[SEEN_TEXT];

    (void)snprintf(copy, sizeof copy, "%s", name);
    return each_process(root, p, has_name, copy);
}

struct held {
    struct stat node;
    bool pcscd;
};

static bool holds_node(const char *root, pid_t pid, struct process *p, void *wanted)
{
    const struct held *h = wanted;
    char name[64], path[PATH_MAX];
    struct dirent *e;
    bool held = false;
    DIR *d;

    (void)snprintf(name, sizeof name, "/proc/%d/fd", (int)pid);
    if (!system_path(root, name, path) || !(d = opendir(path)))
        return false;
    while (!held && (e = readdir(d)) != NULL) {
        struct stat st;

        held = e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_dev == h->node.st_dev &&
               st.st_ino == h->node.st_ino;
    }
    closedir(d);
    return held && read_process(root, pid, p) && (strcmp(p->name, "pcscd") == 0) == h->pcscd;
}

bool system_node_holder(const char *root, const char *node, bool pcscd, struct process *p)
{
    char path[PATH_MAX];
    struct held h = {.pcscd = pcscd};

    return system_path(root, node, path) && stat(path, &h.node) == 0 && each_process(root, p, holds_node, &h);
}

/* ---- users and permissions --------------------------------------------------------------------------------------- */

/* The colon-separated field `at` of a line. */
static const char *field(const char *line, unsigned at)
{
    while (at > 0 && *line && *line != '\n')
        at -= *line++ == ':';
    return line;
}

static bool names_user(const char *members, const char *user)
{
    size_t n = strlen(user);

    while (*members && *members != '\n') {
        size_t word = strcspn(members, ",\n");

        if (word == n && strncmp(members, user, n) == 0)
            return true;
        members += word;
        members += *members == ',';
    }
    return false;
}

static void add_groups_of(const char *root, const char *user, struct process *p)
{
    char *text = system_read_file(root, "/etc/group");

    for (const char *line = text; line && *line && p->gid_count < GROUPS_MAX;) {
        if (names_user(field(line, 3), user))
            p->gids[p->gid_count++] = (gid_t)strtoul(field(line, 2), NULL, 10);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    free(text);
}

bool system_find_user(const char *root, const char *name, struct process *p)
{
    char *text = system_read_file(root, "/etc/passwd");
    size_t n = strlen(name);
    bool found = false;

    memset(p, 0, sizeof *p);
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    for (const char *line = text; line && *line && !found;) {
        found = strncmp(line, name, n) == 0 && line[n] == ':';
        if (found) {
            p->uid = (uid_t)strtoul(field(line, 2), NULL, 10);
            p->gids[p->gid_count++] = (gid_t)strtoul(field(line, 3), NULL, 10);
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    free(text);
    if (found)
        add_groups_of(root, name, p);
    return found;
}

bool system_may_use(const char *root, const char *node, const struct process *p)
{
    char path[PATH_MAX];
    struct stat st;
    bool member = false;

    if (!system_path(root, node, path) || stat(path, &st) != 0)
        return false;
    errno = 0;
    for (size_t i = 0; i < p->gid_count; i++)
        member = member || p->gids[i] == st.st_gid;
    if (p->uid == 0)
        return true;
    if (p->uid == st.st_uid)
        return (st.st_mode & 0600) == 0600;
    return member ? (st.st_mode & 0060) == 0060 : (st.st_mode & 0006) == 0006;
}

/* ---- a program --------------------------------------------------------------------------------------------------- */

static void read_all(int fd, char *out, size_t cap)
{
    size_t at = 0;

    while (at + 1 < cap) {
        ssize_t n = read(fd, out + at, cap - 1 - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    out[at] = '\0';
}

bool system_version_text(const char *program, char *out, size_t cap)
{
    char *argv[] = {(char *)(uintptr_t)program, (char[]){"--version"}, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], status = -1;
    pid_t pid;
    int rc;

    out[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    rc = posix_spawn(&pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (rc == 0) {
        read_all(ends[0], out, cap);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    return rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
