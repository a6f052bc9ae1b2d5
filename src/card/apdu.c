/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Takes command APDUs apart. The length alone decides the case (ISO/IEC 7816-4, 5.1): a fifth byte that is not 0 is a
 * short Lc (or Le when it is the last byte), a fifth byte of 0 with more behind it opens the extended form. Each form
 * has exactly one length for a given Lc, so every comparison below is "equal", never "at least": a command with a
 * surplus or a missing byte fits no case and is not guessed at.
 */
#include "card/apdu.h"

enum { HEADER = 4 };

static size_t be16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static enum result set_data(struct apdu *a, const uint8_t *data, size_t lc)
{
    a->data = data;
    a->lc = lc;
    return R_SUCCESS;
}

static void set_le(struct apdu *a, size_t coded, size_t if_zero)
{
    a->has_le = true;
    a->le = coded != 0 ? coded : if_zero;
}

/* Cases 3 and 4: p[4] is an Lc of 1 … 255. n is at least 6. */
static enum result parse_short(struct apdu *a, const uint8_t *p, size_t n)
{
    size_t lc = p[4];

    if (n == HEADER + 1 + lc + 1)
        set_le(a, p[n - 1], 256);
    else if (n != HEADER + 1 + lc)
        return R_INVALID;
    return set_data(a, p + HEADER + 1, lc);
}

/* p[4] is 00 and more follows. n is at least 6. */
static enum result parse_extended(struct apdu *a, const uint8_t *p, size_t n)
{
    size_t lc;

    a->extended = true;
    if (n < HEADER + 3)
        return R_INVALID;
    if (n == HEADER + 3) {
        set_le(a, be16(p + HEADER + 1), 65536);
        return R_SUCCESS;
    }
    lc = be16(p + HEADER + 1);
    if (lc == 0)
        return R_INVALID;
    if (n == HEADER + 3 + lc + 2)
        set_le(a, be16(p + n - 2), 65536);
    else if (n != HEADER + 3 + lc)
        return R_INVALID;
    return set_data(a, p + HEADER + 3, lc);
}

enum result apdu_parse(struct apdu *a, const uint8_t *p, size_t n)
{
    *a = (struct apdu){0};
    if (n < HEADER)
        return R_INVALID;
    a->cla = p[0];
    a->ins = p[1];
    a->p1 = p[2];
    a->p2 = p[3];
    if (n == HEADER)
        return R_SUCCESS;
    if (n == HEADER + 1) {
        set_le(a, p[4], 256);
        return R_SUCCESS;
    }
    return p[4] != 0 ? parse_short(a, p, n) : parse_extended(a, p, n);
}

enum result t0_from_apdu(struct t0_command *t, const uint8_t *p, size_t n)
{
    struct apdu a;
    enum result r = apdu_parse(&a, p, n);

    *t = (struct t0_command){0};
    if (r != R_SUCCESS)
        return r;
    if (a.extended)
        return R_INVALID;
    t->header[0] = a.cla;
    t->header[1] = a.ins;
    t->header[2] = a.p1;
    t->header[3] = a.p2;
    t->data = a.data;
    t->lc = (uint8_t)a.lc;
    /* P3 is one byte: with data it is Lc and Le has no place; 256 expected bytes are written 00 again. */
    if (a.lc == 0 && a.has_le)
        t->le = (uint8_t)(a.le & 0xFF);
    return R_SUCCESS;
}
