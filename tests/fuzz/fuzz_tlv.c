/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the data objects of the transparent session. What is handed out must lie inside the data, in order, and add up
 * with its tags and lengths to all of it, unless the reader says that it failed; written again and read again it must be
 * the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pseudo/tlv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_again(const struct tlv *t)
{
    size_t room = t->len + 5;
    uint8_t *copy = malloc(room);
    struct wbuf w = wbuf_over(copy, room);
    struct rbuf r;
    struct tlv again;

    check(copy != NULL);
    tlv_put(&w, t->tag, t->value, t->len);
    check(!w.failed);
    r = rbuf_over(copy, w.len);
    check(tlv_next(&r, &again) && r.left == 0);
    check(again.tag == t->tag && again.len == t->len && (t->len == 0 || memcmp(again.value, t->value, t->len) == 0));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(size ? size : 1);
    struct rbuf r = rbuf_over(p, size);
    const uint8_t *at = p;
    struct tlv t;

    check(p != NULL);
    if (size > 0)
        memcpy(p, data, size);
    while (tlv_next(&r, &t)) {
        const uint8_t *end = p + size - r.left;

        check(end >= at + 2 + t.len);
        check(t.len == 0 ? t.value == NULL : t.value + t.len == end);
        check((size_t)(end - at) <= 5 + t.len);
        check_again(&t);
        at = end;
    }
    check(r.failed || at == p + size);
    free(p);
    return 0;
}
