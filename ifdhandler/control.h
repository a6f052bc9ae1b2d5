/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * SCardControl: what the reader can do (PC/SC part 10) and raw commands to it.
 */
#ifndef PURSE_CONTROL_H
#define PURSE_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "base/result.h"

struct slot;

/* One control call. R_SUCCESS: *len bytes in out. On an error *len is 0 and nothing was written to out.
 * R_NOT_SUPPORTED: no such code. R_DENIED: a raw command that the configuration does not allow. R_SPACE: out is too
 * small. R_INVALID: an empty raw command. Else as slot_command and pseudo_transmit. */
enum result control_call(struct slot *slot, unsigned long code, const uint8_t *in, size_t n, uint8_t *out, size_t cap,
                         size_t *len);

#endif
