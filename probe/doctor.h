/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The doctor: why does pcscd not offer my reader? It opens no reader and changes nothing; it looks, says what is wrong,
 * and names for each finding the command that mends it. doctor.c knows the order and pcscd itself, doctor_conf.c the
 * files of reader.conf.d, doctor_nodes.c the device nodes.
 */
#ifndef PROBE_DOCTOR_H
#define PROBE_DOCTOR_H

#include "probe/system.h"

enum { DOCTOR_RECORDS = 32, RECORD_TEXT = 256 };

/* A record of reader.conf.d that names the serial handler of this driver. */
struct serial_record {
    char file[RECORD_TEXT]; /* path without the root */
    unsigned line;          /* where it is complete */
    char name[RECORD_TEXT], device[RECORD_TEXT], library[RECORD_TEXT];
    bool has_name, has_device, has_library, has_channel, device_quoted;
};

struct doctor {
    const char *root;
    struct log *log;
    unsigned findings;
    bool runs; /* pcscd does */
    bool has_pcscd;
    struct process pcscd; /* whom it runs as, or would */
    char dropdir[PATH_MAX], confdir[PATH_MAX];
    struct usb_seen usb[SEEN_MAX];
    size_t usb_count;
    struct serial_record records[DOCTOR_RECORDS];
    size_t record_count;
};

void doctor_title(const char *text);
void doctor_ok(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void doctor_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One finding; `mend` is the command, or what is to be written where. */
void doctor_finding(struct doctor *d, const char *mend, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same, when the mending needs values of its own; call it after doctor_finding with NULL. */
void doctor_mend(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The files of reader.conf.d: fills d->records and tells what pcscd will make of them. */
void doctor_serial_conf(struct doctor *d);
/* The nodes of the readers: permissions, who holds them. */
void doctor_usb_nodes(struct doctor *d);
void doctor_serial_nodes(struct doctor *d);

/* The records of reader.conf.d alone, without a word: fills d->records. */
void doctor_records(struct doctor *d, const char *root, struct log *log);

/* Runs all of it. Returns the exit status: 0 nothing found, 1 findings. */
int doctor_run(const char *root);

#endif
