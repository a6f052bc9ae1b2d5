/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes ATR reading and building. The first byte chooses: read the rest as an ATR, or build one from the rest as
 * historical bytes, ATS, ATQB or storage card. Whatever is built must be read back as a card of T=0 and T=1 with a
 * right TCK and with those historical bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "card/atr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_read(const uint8_t *p, size_t n)
{
    struct atr_info i;
    enum result r = atr_parse(&i, p, n);

    check(r == R_SUCCESS || r == R_INVALID);
    if (r != R_SUCCESS)
        return;
    check(n >= 2 && n <= ATR_MAX && (p[0] == 0x3B || p[0] == 0x3F));
    check(i.protocols != 0 && i.first < 15 && (i.protocols >> i.first & 1));
    check((i.protocols & 0x8000) == 0);
    check(i.t1_ifsc >= 1 && i.t1_ifsc <= 254 && i.t1_bwi <= 15 && i.t1_cwi <= 15);
    check(!i.specific || i.specific_t <= 15);
    check(i.historical_len == (p[1] & 0x0F));
}

static void check_built(const struct atr *atr)
{
    struct atr_info i;

    check(atr->len >= 5 && atr->len <= 20);
    check(atr_parse(&i, atr->bytes, atr->len) == R_SUCCESS);
    check(i.protocols == 3 && i.first == 0 && !i.specific && !i.tck_wrong);
    check(atr->len == i.historical_len + 5 && memcmp(atr->bytes + 4, i.historical, i.historical_len) == 0);
}

static void build(unsigned what, const uint8_t *p, size_t n)
{
    struct atr atr;

    switch (what) {
    case 1:
        atr_from_historical(&atr, p, n);
        check(atr.len == 5 + (n < 15 ? n : 15) && memcmp(atr.bytes + 4, p, atr.len - 5) == 0);
        break;
    case 2:
        atr_from_ats(&atr, p, n);
        /* what it took is what the ATS ends with, unless it was cut at 15 */
        check(atr.len == 5 || (n >= p[0] && atr.len - 5 <= (size_t)p[0] - 2));
        check(atr.len == 5 || atr.len == 20 || memcmp(atr.bytes + 4, p + p[0] - (atr.len - 5), atr.len - 5) == 0);
        break;
    case 3:
        if (n < 8)
            return;
        atr_from_atqb(&atr, p, p + 4, p[7]);
        check(atr.len == 13 && memcmp(atr.bytes + 4, p, 7) == 0 && (atr.bytes[11] & 0x0F) == 0);
        break;
    default:
        if (n < 3)
            return;
        atr_storage(&atr, p[0], (uint16_t)(p[1] << 8 | p[2]));
        check(atr.len == 20 && memcmp(atr.bytes + 12, p, 3) == 0);
        break;
    }
    check_built(&atr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p;

    if (size < 1)
        return 0;
    p = malloc(size > 1 ? size - 1 : 1);
    if (!p)
        return 0;
    memcpy(p, data + 1, size - 1);
    if (data[0] % 5 == 0)
        check_read(p, size - 1);
    else
        build(data[0] % 5, p, size - 1);
    free(p);
    return 0;
}
