/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the machine itself tells of readers and of pcscd: sysfs, /proc, device nodes. Nothing here opens a reader, so
 * it can be asked at any time, also while pcscd works with it.
 *
 * Every path is looked up below a root, "" for the machine as it is. The tests put a machine of their own there.
 */
#ifndef PROBE_SYSTEM_H
#define PROBE_SYSTEM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/log.h"

enum { SEEN_MAX = 32, SEEN_TEXT = 64, GROUPS_MAX = 32 };

/* A reader of ours on the USB bus. */
struct usb_seen {
    char sysname[SEEN_TEXT]; /* "1-4.2": below /sys/bus/usb/devices */
    uint16_t vid, pid;
    unsigned bus, device;
    char node[SEEN_TEXT]; /* "/dev/bus/usb/001/004" */
    char serial[SEEN_TEXT], product[SEEN_TEXT];
    char family; /* 'a', 'v' */
};

/* The root before the path; false if that is too long. */
bool system_path(const char *root, const char *path, char out[PATH_MAX]);

/* The first line of a small file, without its end; false: it cannot be read. */
bool system_read_line(const char *root, const char *path, char *out, size_t cap);

/* A whole file of at most 256 kB with a NUL behind it, to be freed; NULL: it cannot be read. */
char *system_read_file(const char *root, const char *path);

/* Finds the readers whose ids are in the driver's list or in usb_id lines. Returns how many. */
size_t system_usb_readers(const char *root, struct usb_seen *out, size_t cap, struct log *log);

/* The kernel driver of an interface ("usbhid"; "usbfs" is a program that has claimed it); false: none. */
bool system_interface_driver(const char *root, const struct usb_seen *u, unsigned interface, char *out, size_t cap);

/* A process and whom it runs as. */
struct process {
    pid_t pid;
    char name[SEEN_TEXT];
    uid_t uid;
    gid_t gids[GROUPS_MAX]; /* the first is its own, the others its further groups */
    size_t gid_count;
};

/* The first process of that name; false: none. */
bool system_find_process(const char *root, const char *name, struct process *p);

/* The user of that name, with its groups, as a process of it would have them; false: no such user. */
bool system_find_user(const char *root, const char *name, struct process *p);

/* Who has the node open, apart from this process? Asked for pcscd it is pcscd, else the first other one. False: nobody
 * of whom we can know. */
bool system_node_holder(const char *root, const char *node, bool pcscd, struct process *p);

/* May it read and write the node? False with errno ENOENT: it is not there. */
bool system_may_use(const char *root, const char *node, const struct process *p);

/* Runs `program --version` and takes what it prints; false: it cannot be run. */
bool system_version_text(const char *program, char *out, size_t cap);

#endif
