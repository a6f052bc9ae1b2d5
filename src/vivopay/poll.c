/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Field polls; poll.h says what they are.
 */
#include "vivopay/poll.h"

#include <string.h>
#include "base/clock.h"
#include "vivopay/codes.h"

enum { RANDOM_UID = 0x08, SHORT_UID = 4 };

bool vivo_parse_poll(const uint8_t *p, size_t n, struct vivo_card *card)
{
    memset(card, 0, sizeof *card);
    if (n == 0 || (p[0] == 0 && n == 1))
        return true;
    if (p[0] == 0 || n - 1 > VIVO_UID_MAX)
        return false;
    card->type = p[0];
    card->uid_len = n - 1;
    memcpy(card->uid, p + 1, n - 1);
    return true;
}

static bool is_uid_length(size_t n)
{
    return n == 4 || n == 7 || n == 10;
}

/* Can this be an ATS: TL is its length, and the interface bytes that T0 announces are there? */
static bool is_ats(const uint8_t *p, size_t n)
{
    size_t need = 2;

    if (n == 0 || p[0] != n)
        return false;
    if (n == 1)
        return true;
    for (unsigned bit = 0x10; bit <= 0x40; bit <<= 1)
        need += (p[1] & bit) != 0;
    return need <= n && (p[1] & 0x80) == 0;
}

/* One way of reading the answer. */
struct reading {
    enum vivo_layout layout;
    const uint8_t *uid, *ats;
    size_t uid_len, ats_len;
};

/* (a) length, serial number [, length, ATS]; the ATS's own first byte may be that length. */
static bool read_a(const uint8_t *p, size_t n, struct reading *r)
{
    if (n < 1 || !is_uid_length(p[0]) || n - 1 < p[0])
        return false;
    *r = (struct reading){LAYOUT_A, p + 1, NULL, p[0], 0};
    p += 1 + r->uid_len;
    n -= 1 + r->uid_len;
    if (n == 0 || (n == 1 && p[0] == 0))
        return true;
    if (p[0] == n - 1) {
        p++;
        n--;
    }
    r->ats = p;
    r->ats_len = n;
    return is_ats(p, n);
}

/* (b) serial number of that length [, ATS]. */
static bool read_b(const uint8_t *p, size_t n, size_t uid_len, struct reading *r)
{
    if (n < uid_len)
        return false;
    *r = (struct reading){LAYOUT_B, p, p + uid_len, uid_len, n - uid_len};
    return r->ats_len == 0 || is_ats(r->ats, r->ats_len);
}

static bool may_have_ats(uint8_t type)
{
    const struct vivo_card_type *t = vivo_card_type(type);

    return t && t->kind != CARD_STORAGE && !t->type_b;
}

static bool same_uid(const struct reading *x, const struct reading *y)
{
    return x->uid_len == y->uid_len && memcmp(x->uid, y->uid, x->uid_len) == 0;
}

/* All the ways that make sense, at most four; those of the known layout alone if there are any. */
static size_t read_all(const uint8_t *p, size_t n, bool ats, enum vivo_layout known, struct reading r[4])
{
    static const size_t lengths[] = {4, 7, 10};
    size_t count = 0;

    if (read_a(p, n, &r[count]) && (ats || r[count].ats_len == 0))
        count++;
    if (count > 0 && known == LAYOUT_A)
        return count;
    if (known == LAYOUT_B)
        count = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        if (read_b(p, n, lengths[i], &r[count]) && (ats || r[count].ats_len == 0))
            count++;
    return count;
}

bool vivo_parse_poll_ats(const uint8_t *p, size_t n, enum vivo_layout *layout, struct vivo_card *card)
{
    struct reading r[4];
    size_t count;

    memset(card, 0, sizeof *card);
    if (n == 0 || (p[0] == 0 && n == 1))
        return true;
    if (p[0] == 0)
        return false;
    count = read_all(p + 1, n - 1, may_have_ats(p[0]), *layout, r);
    for (size_t i = 1; i < count; i++)
        if (!same_uid(&r[0], &r[i]))
            return false;
    if (count == 0)
        return false;
    card->type = p[0];
    card->uid_len = r[0].uid_len;
    memcpy(card->uid, r[0].uid, r[0].uid_len);
    if (count > 1)
        return true;
    *layout = r[0].layout;
    if (r[0].ats_len > 0 && r[0].ats_len <= sizeof card->ats) {
        card->ats_len = r[0].ats_len;
        memcpy(card->ats, r[0].ats, r[0].ats_len);
    }
    return true;
}

bool vivo_uid_is_fixed(const struct vivo_card *card)
{
    const struct vivo_card_type *t = vivo_card_type(card->type);

    if (card->uid_len == 0 || (t && t->type_b))
        return false;
    return card->uid_len != SHORT_UID || card->uid[0] != RANDOM_UID;
}

bool vivo_same_card(const struct vivo_card *x, const struct vivo_card *y)
{
    if (x->type != y->type || x->uid_len != y->uid_len)
        return false;
    if (x->ats_len > 0 && y->ats_len > 0 && (x->ats_len != y->ats_len || memcmp(x->ats, y->ats, x->ats_len) != 0))
        return false;
    if (!vivo_uid_is_fixed(x) && !vivo_uid_is_fixed(y))
        return true;
    return memcmp(x->uid, y->uid, x->uid_len) == 0;
}

unsigned vivo_pace_left(const struct vivo_pace *p, int64_t now)
{
    const int64_t step = (int64_t)VIVO_PACE_MS * CLOCK_NS_PER_MS;

    if (!p->any || now - p->last >= step)
        return 0;
    return (unsigned)((p->last + step - now + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS);
}

void vivo_pace_take(struct vivo_pace *p, int64_t now)
{
    p->any = true;
    p->last = now;
}
