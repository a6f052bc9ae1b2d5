/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes what a ViVOpay reader may answer to a field poll: serial number and ATS of the card. The first byte chooses the
 * layout that is known already, the rest is the answer. What is taken must be of a length that can be, stand in the
 * answer, in order, and not depend on what was in memory; what is refused teaches no layout; a card is the same as itself.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vivopay/poll.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

/* Where n bytes of `what` stand in p from `from` on, or SIZE_MAX. */
static size_t place(const uint8_t *p, size_t len, size_t from, const uint8_t *what, size_t n)
{
    for (size_t at = from; at + n <= len; at++)
        if (memcmp(p + at, what, n) == 0)
            return at;
    return SIZE_MAX;
}

static void check_card(const struct vivo_card *c, const uint8_t *p, size_t n)
{
    size_t at;

    check(c->uid_len <= VIVO_UID_MAX && c->ats_len <= VIVO_ATS_MAX);
    if (n == 0) {
        check(c->type == 0 && c->uid_len == 0 && c->ats_len == 0);
        return;
    }
    check(c->type == p[0] && c->uid_len + c->ats_len < n);
    at = place(p, n, 1, c->uid, c->uid_len);
    check(at != SIZE_MAX && place(p, n, at + c->uid_len, c->ats, c->ats_len) != SIZE_MAX);
    check(vivo_same_card(c, c) || c->type == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum vivo_layout known, layout;
    struct vivo_card plain, card, again;
    uint8_t *p;
    size_t n;
    bool ok, with_ats;

    if (size < 1)
        return 0;
    n = size - 1;
    p = malloc(n > 0 ? n : 1); /* exactly as large, so that a read past it is seen */
    check(p != NULL);
    memcpy(p, data + 1, n);
    known = layout = (enum vivo_layout)(data[0] % 3);
    memset(&plain, 0xAA, sizeof plain);
    memset(&card, 0xAA, sizeof card);
    memset(&again, 0x55, sizeof again);
    ok = vivo_parse_poll(p, n, &plain);
    if (ok)
        check_card(&plain, p, n);
    with_ats = vivo_parse_poll_ats(p, n, &layout, &card);
    check(known == LAYOUT_UNKNOWN || layout != LAYOUT_UNKNOWN);
    check(with_ats || layout == known);
    if (with_ats) {
        enum vivo_layout same = layout;

        check_card(&card, p, n);
        check(vivo_parse_poll_ats(p, n, &same, &again) && same == layout && again.uid_len == card.uid_len);
        check(memcmp(again.uid, card.uid, card.uid_len) == 0);
    }
    if (ok && with_ats)
        check(vivo_same_card(&plain, &card) == vivo_same_card(&card, &plain));
    free(p);
    return 0;
}
