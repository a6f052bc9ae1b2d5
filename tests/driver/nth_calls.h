/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Calls that fail when they are told to. nth_calls.c defines functions with the names of those that the driver calls
 * (libusb, libserialport, memory, threads, descriptors); being the program's own they are found first. Each passes the
 * call on, but for the one that nth_arm() named. Only calls made by the driver itself count (the return address
 * tells), and, as kinds of their own, the allocations inside libusb and libserialport.
 */
#ifndef PURSE_NTH_CALLS_H
#define PURSE_NTH_CALLS_H

#include <stdbool.h>
#include <stddef.h>

/* Learns where the driver and its libraries lie; handle: what dlopen() gave. Before anything of it is called. */
void nth_know(void *handle);

size_t nth_kinds(void);
const char *nth_kind_name(size_t kind);
bool nth_find_kind(const char *name, size_t *kind);

/* Counts from zero on; the n-th (1 …) call of this kind fails. n = 0: none, the calls are counted only. */
void nth_arm(size_t kind, unsigned n);
/* No call fails any more. Returns whether one did. */
bool nth_disarm(void);
unsigned nth_count(size_t kind);

/* Blocks of memory that the driver and its libraries (or the driver alone) asked for and nobody has freed. */
unsigned long nth_blocks(bool driver_alone);

/* From now on a block that somebody else frees (the simulator's preload library copies what goes through it) is wiped
 * first, so that what is found in freed memory was left there by the driver or its libraries. */
void nth_wipe_others(void);

#endif
