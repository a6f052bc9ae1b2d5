/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bounded writer and reader. Every put and get goes through one function that checks the room (wbuf_room, rbuf_bytes),
 * so there is one comparison to get right for each direction. A put is all or nothing: what does not fit whole is not
 * begun, and nothing follows it.
 */
#include "base/buf.h"

#include <string.h>

struct wbuf wbuf_over(uint8_t *data, size_t cap)
{
    return (struct wbuf){.data = data, .cap = cap};
}

/* Claims the next n bytes for the caller to write; NULL (and failed) if they do not fit, NULL for n = 0. len <= cap
 * always, so the subtraction cannot wrap. */
static uint8_t *wbuf_room(struct wbuf *w, size_t n)
{
    uint8_t *p;

    if (w->failed || n > w->cap - w->len) {
        w->failed = true;
        return NULL;
    }
    if (n == 0)
        return NULL; /* nothing to write, and data may be NULL */
    p = w->data + w->len;
    w->len += n;
    return p;
}

void wbuf_u8(struct wbuf *w, unsigned v)
{
    uint8_t *p = wbuf_room(w, 1);

    if (p)
        p[0] = (uint8_t)(v & 0xFF);
}

void wbuf_be16(struct wbuf *w, unsigned v)
{
    uint8_t *p = wbuf_room(w, 2);

    if (p) {
        p[0] = (uint8_t)(v >> 8 & 0xFF);
        p[1] = (uint8_t)(v & 0xFF);
    }
}

void wbuf_be32(struct wbuf *w, uint32_t v)
{
    uint8_t *p = wbuf_room(w, 4);

    for (unsigned i = 0; p && i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i) & 0xFF);
}

void wbuf_le16(struct wbuf *w, unsigned v)
{
    uint8_t *p = wbuf_room(w, 2);

    if (p) {
        p[0] = (uint8_t)(v & 0xFF);
        p[1] = (uint8_t)(v >> 8 & 0xFF);
    }
}

void wbuf_le32(struct wbuf *w, uint32_t v)
{
    uint8_t *p = wbuf_room(w, 4);

    for (unsigned i = 0; p && i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i & 0xFF);
}

void wbuf_bytes(struct wbuf *w, const void *src, size_t n)
{
    uint8_t *p = wbuf_room(w, n);

    if (p)
        memmove(p, src, n); /* a caller may build a frame in the buffer that holds its data */
}

void wbuf_fill(struct wbuf *w, uint8_t v, size_t n)
{
    uint8_t *p = wbuf_room(w, n);

    if (p)
        memset(p, v, n);
}

struct rbuf rbuf_over(const void *data, size_t n)
{
    return (struct rbuf){.data = data, .left = n};
}

const uint8_t *rbuf_bytes(struct rbuf *r, size_t n)
{
    const uint8_t *p = r->data;

    if (r->failed || n > r->left) {
        r->failed = true;
        return NULL;
    }
    if (n > 0) { /* data may be NULL when there is nothing */
        r->data += n;
        r->left -= n;
    }
    return p;
}

uint8_t rbuf_u8(struct rbuf *r)
{
    const uint8_t *p = rbuf_bytes(r, 1);

    return p ? p[0] : 0;
}

uint16_t rbuf_be16(struct rbuf *r)
{
    const uint8_t *p = rbuf_bytes(r, 2);

    if (!p)
        return 0;
    return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t rbuf_be32(struct rbuf *r)
{
    const uint8_t *p = rbuf_bytes(r, 4);

    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint16_t rbuf_le16(struct rbuf *r)
{
    const uint8_t *p = rbuf_bytes(r, 2);

    if (!p)
        return 0;
    return (uint16_t)(p[1] << 8 | p[0]);
}

uint32_t rbuf_le32(struct rbuf *r)
{
    const uint8_t *p = rbuf_bytes(r, 4);

    return p ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0] : 0;
}
