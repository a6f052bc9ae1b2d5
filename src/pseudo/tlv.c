/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Data objects; tlv.h says which. The indefinite length and lengths above FFFF have no use in a command of this size
 * and are refused like any other malformed object.
 */
#include "pseudo/tlv.h"

static uint16_t get_tag(struct rbuf *r)
{
    uint16_t tag = rbuf_u8(r);

    if ((tag & 0x1F) != 0x1F)
        return tag;
    tag = (uint16_t)(tag << 8 | rbuf_u8(r));
    if (tag & 0x80)
        r->failed = true; /* a third byte follows */
    return tag;
}

static size_t get_length(struct rbuf *r)
{
    uint8_t first = rbuf_u8(r);

    if (first < 0x80)
        return first;
    if (first == 0x81)
        return rbuf_u8(r);
    if (first == 0x82)
        return rbuf_be16(r);
    r->failed = true;
    return 0;
}

bool tlv_next(struct rbuf *r, struct tlv *t)
{
    *t = (struct tlv){0};
    if (r->failed || r->left == 0)
        return false;
    t->tag = get_tag(r);
    t->len = get_length(r);
    if (r->failed)
        return false;
    if (t->len > 0)
        t->value = rbuf_bytes(r, t->len);
    return !r->failed;
}

void tlv_put(struct wbuf *w, uint16_t tag, const void *value, size_t len)
{
    if (tag > 0xFF)
        wbuf_u8(w, tag >> 8);
    wbuf_u8(w, tag & 0xFF);
    if (len > 0xFF) {
        wbuf_u8(w, 0x82);
        wbuf_be16(w, (unsigned)len);
    } else {
        if (len >= 0x80)
            wbuf_u8(w, 0x81);
        wbuf_u8(w, (unsigned)len);
    }
    if (len > 0)
        wbuf_bytes(w, value, len);
}
