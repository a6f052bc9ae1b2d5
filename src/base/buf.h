/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bounded bytes: a writer that cannot overrun its memory and a reader that cannot run past its end. Both remember a
 * failure, so a caller may put or get several items and ask once at the end.
 */
#ifndef PURSE_BUF_H
#define PURSE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writer over caller-owned memory. */
struct wbuf {
    uint8_t *data;
    size_t len; /* bytes written */
    size_t cap;
    bool failed; /* something did not fit; from then on nothing is written */
};

/* Reader over caller-owned memory. */
struct rbuf {
    const uint8_t *data;
    size_t left;
    bool failed; /* something was not there; from then on every get yields 0 */
};

struct wbuf wbuf_over(uint8_t *data, size_t cap);
void wbuf_u8(struct wbuf *w, unsigned v);          /* low 8 bits */
void wbuf_be16(struct wbuf *w, unsigned v);        /* high byte first */
void wbuf_be32(struct wbuf *w, uint32_t v);
void wbuf_le16(struct wbuf *w, unsigned v);        /* low byte first */
void wbuf_le32(struct wbuf *w, uint32_t v);
void wbuf_bytes(struct wbuf *w, const void *p, size_t n);
void wbuf_fill(struct wbuf *w, uint8_t v, size_t n);

struct rbuf rbuf_over(const void *data, size_t n);
uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_be16(struct rbuf *r);
uint32_t rbuf_be32(struct rbuf *r);
uint16_t rbuf_le16(struct rbuf *r);
uint32_t rbuf_le32(struct rbuf *r);
/* A pointer to the next n bytes inside the memory, and past them; NULL (and failed) if they are not there. */
const uint8_t *rbuf_bytes(struct rbuf *r, size_t n);

#endif
