/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The Lun table: which slot pcscd means. pcscd chooses a Lun (reader << 16 | slot) when it opens a slot and says
 * nothing but this number afterwards, from several threads at once, and it closes a slot while another thread may still
 * be inside a call on it. So each call takes a hold of its Lun for as long as it runs (lun_hold … lun_drop), and
 * lun_close lets no new call in, makes the running ones end, waits for them, and only then lets go of the device.
 *
 * The slots of one reader share one device: the first one opened brings it up, the others attach to it, the last one
 * closed takes it down.
 */
#ifndef PURSE_LUN_H
#define PURSE_LUN_H

#include "base/log.h"
#include "base/result.h"

/* Slots in all. pcscd serves 16 (PCSCLITE_MAX_READERS_CONTEXTS); a build with more is still served. Also the answer to
 * TAG_IFD_SIMULTANEOUS_ACCESS: anything above 1 makes pcscd give each reader a number of its own. */
enum { LUN_TABLE_SIZE = 32 };

struct slot;

struct lun {
    struct slot *slot; /* constant between hold and drop */
    /* the table's own */
    unsigned long number;
    enum { LUN_FREE, LUN_OPENING, LUN_OPEN, LUN_CLOSING } state;
    unsigned users;
};

/* Opens slot `lun & 0xFFFF` of the reader behind pcscd's device string. Waits for a close of the same Lun that is under
 * way. R_INVALID: the Lun is open already, there is no such slot, or the reader that a further slot belongs to is not
 * open under this number and string (each logged); R_NO_MEMORY: table full; else as device_open. */
enum result lun_open(unsigned long number, const char *name);

/* Returns when no call on the Lun runs any more and its slot is given back. R_INVALID: not open. A call that runs is
 * made to end by device_cancel() if this is the reader's last slot; else (the other slots go on working) only its
 * poller is stopped, and the wait lasts as long as the call's own cap. */
enum result lun_close(unsigned long number);

/* The open Lun, or NULL. Not NULL: it stays until lun_drop(). */
struct lun *lun_hold(unsigned long number);
void lun_drop(struct lun *lun);

/* For what cannot be said in a reader's name, because there is none (yet). */
struct log *handler_log(void);

#endif
