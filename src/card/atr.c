/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Answers to reset. Reading follows the chain of TD bytes: each announces the next group of interface bytes and the
 * protocol that they belong to. Groups 1 and 2 are global (TA2 alone decides about specific mode); from group 3 on a
 * group belongs to the T of the TD before it, and only the first group of a protocol counts. T=15 is no protocol: its
 * group holds global bytes, which must not be mistaken for T=1's (ISO/IEC 7816-3, 8.2.3).
 *
 * Everything is read through struct rbuf, so a cut ATR cannot be read past its end, and since each turn of the loop
 * eats at least the TD that caused it, 33 bytes bound the loop.
 */
#include "card/atr.h"

#include <string.h>

#include "base/buf.h"
#include "base/checksum.h"

enum { HAS_TA = 0x10, HAS_TB = 0x20, HAS_TC = 0x40, HAS_TD = 0x80, T_GLOBAL = 15, IFSC_DEFAULT = 32 };

/* What reading an ATR knows from one group to the next. */
struct reading {
    struct rbuf r;
    unsigned group; /* 1 for TA1 … TD1 */
    uint8_t y;      /* which bytes the group has: the high nibble of T0 or of the TD before */
    uint8_t t;      /* the protocol named by the TD before */
    bool tck;       /* a T other than 0 was named: a TCK is due */
    bool any;       /* a protocol was named */
    bool t1_seen;   /* T=1's first specific group was read */
};

static void read_group(struct reading *rd, struct atr_info *info)
{
    bool t1 = rd->group >= 3 && rd->t == 1 && !rd->t1_seen;
    uint8_t ta = rd->y & HAS_TA ? rbuf_u8(&rd->r) : 0;
    uint8_t tb = rd->y & HAS_TB ? rbuf_u8(&rd->r) : 0;
    uint8_t tc = rd->y & HAS_TC ? rbuf_u8(&rd->r) : 0;

    if (rd->group == 2 && rd->y & HAS_TA) {
        info->specific = true;
        info->specific_t = ta & 0x0F;
    }
    if (!t1)
        return;
    rd->t1_seen = true;
    if (rd->y & HAS_TA && ta != 0x00 && ta != 0xFF)
        info->t1_ifsc = ta;
    if (rd->y & HAS_TB) {
        info->t1_bwi = tb >> 4;
        info->t1_cwi = tb & 0x0F;
    }
    if (rd->y & HAS_TC)
        info->t1_crc = tc & 1;
}

static void read_td(struct reading *rd, struct atr_info *info)
{
    uint8_t td = rbuf_u8(&rd->r);

    rd->t = td & 0x0F;
    rd->y = td & 0xF0;
    rd->group++;
    if (rd->t != 0)
        rd->tck = true;
    if (rd->t == T_GLOBAL)
        return;
    if (!rd->any)
        info->first = rd->t;
    rd->any = true;
    info->protocols = (uint16_t)(info->protocols | 1u << rd->t);
}

enum result atr_parse(struct atr_info *info, const uint8_t *p, size_t n)
{
    struct reading rd = {.r = rbuf_over(p, n), .group = 1};
    uint8_t ts = rbuf_u8(&rd.r), t0 = rbuf_u8(&rd.r);
    const uint8_t *hist;

    *info = (struct atr_info){.t1_ifsc = IFSC_DEFAULT, .t1_bwi = 4, .t1_cwi = 13};
    if (n > ATR_MAX || (ts != 0x3B && ts != 0x3F))
        return R_INVALID;
    rd.y = t0 & 0xF0;
    for (;;) {
        bool has_td = rd.y & HAS_TD;

        read_group(&rd, info);
        if (!has_td)
            break;
        read_td(&rd, info);
    }
    hist = rbuf_bytes(&rd.r, t0 & 0x0F);
    if (rd.r.failed)
        return R_INVALID;
    info->historical_len = t0 & 0x0F;
    if (info->historical_len > 0)
        memcpy(info->historical, hist, info->historical_len);
    if (!rd.any)
        info->protocols = 1; /* no TD1, or nothing but T=15: T=0 is what is left */
    /* The XOR of T0 … TCK is 0; bytes behind the TCK are none of the ATR's. */
    if (rd.tck)
        info->tck_wrong = rd.r.left == 0 || xor_sum(p + 1, n - rd.r.left) != 0;
    return R_SUCCESS;
}

void atr_from_historical(struct atr *atr, const uint8_t *hist, size_t n)
{
    struct wbuf w = wbuf_over(atr->bytes, sizeof atr->bytes);

    if (n > 15)
        n = 15;
    wbuf_u8(&w, 0x3B);
    wbuf_u8(&w, 0x80 | (unsigned)n);
    wbuf_u8(&w, 0x80);
    wbuf_u8(&w, 0x01);
    if (n > 0)
        wbuf_bytes(&w, hist, n);
    wbuf_u8(&w, xor_sum(atr->bytes + 1, w.len - 1));
    atr->len = w.len;
}

/* The historical bytes inside an ATS; *n is 0 when there are none or the ATS cannot be trusted. ISO/IEC 14443-4, 5.2:
 * TL counts itself and all that follows but the CRC; T0 is there when TL is above 1, its bits 5 … 7 say TA, TB, TC. */
static const uint8_t *ats_historical(const uint8_t *ats, size_t len, size_t *n)
{
    struct rbuf all = rbuf_over(ats, len), r;
    uint8_t tl = rbuf_u8(&all);
    const uint8_t *hist;
    uint8_t t0;

    *n = 0;
    if (tl < 2 || tl > len)
        return NULL;
    r = rbuf_over(all.data, (size_t)tl - 1);
    t0 = rbuf_u8(&r);
    rbuf_bytes(&r, (size_t)(t0 >> 4 & 1) + (size_t)(t0 >> 5 & 1) + (size_t)(t0 >> 6 & 1));
    if (r.failed)
        return NULL;
    *n = r.left;
    hist = rbuf_bytes(&r, r.left);
    return hist;
}

void atr_from_ats(struct atr *atr, const uint8_t *ats, size_t n)
{
    size_t hist_len;
    const uint8_t *hist = ats_historical(ats, n, &hist_len);

    atr_from_historical(atr, hist, hist_len);
}

void atr_from_atqb(struct atr *atr, const uint8_t app[4], const uint8_t prot[3], uint8_t mbli)
{
    uint8_t hist[8];

    memcpy(hist, app, 4);
    memcpy(hist + 4, prot, 3);
    hist[7] = (uint8_t)((mbli & 0x0F) << 4);
    atr_from_historical(atr, hist, sizeof hist);
}

void atr_storage(struct atr *atr, uint8_t ss, uint16_t nn)
{
    uint8_t hist[15] = {0x80, 0x4F, 0x0C, 0xA0, 0x00, 0x00, 0x03, 0x06};

    hist[8] = ss;
    hist[9] = (uint8_t)(nn >> 8);
    hist[10] = (uint8_t)(nn & 0xFF);
    atr_from_historical(atr, hist, sizeof hist);
}
