/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Capabilities: what pcscd asks of the driver by tag (TAG_IFD_...), and what clients ask by SCardGetAttrib
 * (SCARD_ATTR_...), which pcscd passes through unchanged.
 */
#ifndef PURSE_ATTRIBUTES_H
#define PURSE_ATTRIBUTES_H

#include <PCSC/ifdhandler.h>
#include <stddef.h>
#include <stdint.h>

#include "base/result.h"

enum { ATTRIBUTE_MAX = 128 }; /* the longest value */

struct slot;

/* The entry points that pcscd takes as attributes. */
RESPONSECODE ifd_poll(DWORD Lun, int timeout);
RESPONSECODE ifd_stop_poll(DWORD Lun);

/* The value of a tag. slot may be NULL: then only what is true of every slot can be told. *length is the room at value;
 * R_SUCCESS and R_SPACE set it to the value's length. value may be NULL: only the length is wanted.
 * R_NOT_SUPPORTED: no such attribute, or not known of this reader. R_SPACE: nothing was written. */
enum result attribute_get(struct slot *slot, DWORD tag, uint8_t *value, size_t *length);

/* R_NOT_SUPPORTED: not a tag that can be set. R_INVALID: not a value that it can have. */
enum result attribute_set(struct slot *slot, DWORD tag, const uint8_t *value, size_t length);

#endif
