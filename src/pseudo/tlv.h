/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Data objects (BER-TLV) of the transparent session. Pure and bounded: an object is handed out only if all of it is
 * there. Tags have one byte, or two (5F46, FF6D); lengths one to three (up to FFFF).
 */
#ifndef PURSE_TLV_H
#define PURSE_TLV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct tlv {
    uint16_t tag;
    const uint8_t *value; /* len bytes inside the data; NULL if len is 0 */
    size_t len;
};

/* Takes the next object. False at the end, and (then r->failed is set) where the data is no object. */
bool tlv_next(struct rbuf *r, struct tlv *t);

/* Writes an object. */
void tlv_put(struct wbuf *w, uint16_t tag, const void *value, size_t len);

#endif
