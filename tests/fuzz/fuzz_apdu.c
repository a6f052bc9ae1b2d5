/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the APDU parser: what it accepts must be a command that, put together again from its parts in the same form,
 * has the same bytes; what it hands out must lie inside the command; T=0 takes exactly the accepted short ones.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "card/apdu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static size_t rebuild(const struct apdu *a, uint8_t *out, size_t cap)
{
    struct wbuf w = wbuf_over(out, cap);

    wbuf_u8(&w, a->cla);
    wbuf_u8(&w, a->ins);
    wbuf_u8(&w, a->p1);
    wbuf_u8(&w, a->p2);
    if (a->extended)
        wbuf_u8(&w, 0);
    if (a->lc > 0) {
        if (a->extended)
            wbuf_be16(&w, (unsigned)a->lc);
        else
            wbuf_u8(&w, (unsigned)a->lc);
        wbuf_bytes(&w, a->data, a->lc);
    }
    if (a->has_le && a->extended)
        wbuf_be16(&w, (unsigned)a->le & 0xFFFF);
    else if (a->has_le)
        wbuf_u8(&w, (unsigned)a->le & 0xFF);
    check(!w.failed);
    return w.len;
}

static void check_command(const struct apdu *a, const uint8_t *p, size_t n)
{
    static uint8_t again[APDU_EXTENDED_MAX];

    check(a->lc <= 65535 && (a->lc == 0) == (a->data == NULL));
    if (a->lc > 0)
        check(a->data > p && a->data + a->lc <= p + n);
    if (a->has_le)
        check(a->le >= 1 && a->le <= (a->extended ? 65536u : 256u));
    check(rebuild(a, again, sizeof again) == n && memcmp(again, p, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(size > 0 ? size : 1); /* exactly as large, so that a read past it is seen */
    struct apdu a;
    struct t0_command t;
    enum result r, r0;

    if (!p)
        return 0;
    if (size > 0)
        memcpy(p, data, size);
    r = apdu_parse(&a, p, size);
    r0 = t0_from_apdu(&t, p, size);
    check(r == R_SUCCESS || r == R_INVALID);
    check(r0 == (r == R_SUCCESS && !a.extended ? R_SUCCESS : R_INVALID));
    if (r == R_SUCCESS)
        check_command(&a, p, size);
    if (r0 == R_SUCCESS)
        check(memcmp(t.header, p, 4) == 0 && t.lc == a.lc && t.data == a.data && (t.lc == 0 || t.le == 0));
    free(p);
    return 0;
}
