/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes ISO 15693: the same bytes are taken as a request, as an answer, as system information, as the parameters of an
 * inventory, and as what a field of cards answers to one. Nothing may be read outside them; what is taken apart and put
 * together again is the same; what passes the check of a write has as many blocks as its count byte says; and the
 * search for cards ends.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "card/iso15693.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void try_request(const uint8_t *p, size_t n, struct iso15693_request *q)
{
    uint8_t frame[ISO15693_REQUEST_MAX];
    size_t len;

    if (iso15693_parse_request(p, n, q) != R_SUCCESS)
        return;
    check(q->n == 0 || (q->params >= p && q->params + q->n == p + n));
    /* A custom command that is addressed keeps its manufacturer's byte apart. */
    if (q->code < ISO15693_CUSTOM_FIRST || q->code > ISO15693_CUSTOM_LAST || !q->uid) {
        len = iso15693_build(q, false, frame, sizeof frame);
        if (len > 0)
            check(len == n && memcmp(frame, p, n) == 0);
    }
    for (unsigned block = 0; block <= ISO15693_BLOCK_MAX; block++) {
        if (iso15693_check(q, block) != R_SUCCESS || q->code != ISO15693_WRITE_BLOCKS)
            continue;
        check((q->n - 2) % (q->params[1] + 1u) == 0);
        check(block == 0 || q->n - 2 == (q->params[1] + 1u) * block);
    }
}

static void try_answer(const uint8_t *p, size_t n, const struct iso15693_request *q)
{
    struct iso15693_response a;
    struct iso15693_card card;

    for (int crc = 0; crc < 2; crc++) {
        if (iso15693_parse_response(p, n, crc, &a) != R_SUCCESS)
            continue;
        check(n >= 1 && ((p[0] & 1) != 0) == (a.error != 0));
        check(a.n == 0 || (a.data > p && a.data + a.n <= p + n));
        if (iso15693_check(q, 4) == R_SUCCESS)
            (void)iso15693_answers(q, &a, 4);
        iso15693_card_init(&card, (const uint8_t *)"UIDUIDU\xE0");
        iso15693_card_track(&card, p, n, &a);
        iso15693_card_track(&card, p, n, NULL);
        check(!(card.selected && card.quiet));
    }
}

static void try_system(const uint8_t *p, size_t n)
{
    struct iso15693_system s;

    if (iso15693_parse_system(p, n, &s) != R_SUCCESS)
        return;
    check(!s.has_memory || (s.blocks >= 1 && s.blocks <= 256 && s.block_size >= 1 && s.block_size <= 32));
    (void)iso15693_card_name(s.uid);
}

struct air {
    const uint8_t *p;
    size_t n;
    unsigned frames;
};

/* What is heard comes from the input: a byte that says which kind, then the answer. */
static enum result hear(void *context, const uint8_t *frame, size_t n, enum iso15693_air *air, uint8_t *answer,
                        size_t cap, size_t *len)
{
    struct air *a = context;

    check(++a->frames <= ISO15693_INVENTORY_STEPS && n >= 3 && frame[1] == 1);
    if (a->n == 0)
        return R_SUCCESS; /* silence */
    *air = (enum iso15693_air)(a->p[0] & 3);
    *len = (a->p[0] >> 2) % (a->n < cap ? a->n : cap);
    memcpy(answer, a->p + 1, *len < a->n ? *len : a->n - 1);
    *len = *len < a->n ? *len : a->n - 1;
    a->p += 1 + *len;
    a->n -= 1 + *len;
    return R_SUCCESS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(size > 0 ? size : 1);
    struct iso15693_request q = {0};
    struct iso15693_search s = {.wanted = ISO15693_TAGS_MAX, .has_afi = size % 2};
    struct iso15693_found found;
    struct air air;

    if (!p)
        return 0;
    if (size > 0)
        memcpy(p, data, size);
    try_request(p, size, &q);
    try_answer(p, size, &q);
    try_system(p, size);
    if (iso15693_parse_mask(&s, p, size) != R_SUCCESS)
        s = (struct iso15693_search){.wanted = ISO15693_TAGS_MAX, .bits = size % 65, .mask = size};
    air = (struct air){p, size, 0};
    check(iso15693_inventory(&s, hear, &air, &found) == R_SUCCESS);
    check(found.count <= ISO15693_TAGS_MAX && found.steps == air.frames);
    free(p);
    return 0;
}
