/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the decoders of class FF. The input is a command behind its FF. Whatever comes out must be a status word of
 * the list or a whole operation of a known kind whose data lies inside the command; the same bytes must come out the
 * same; and no command without a Le or an extended form may be given one.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pseudo/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int is_refusal(uint16_t sw)
{
    static const uint16_t refusals[] = {SW_LENGTH,     SW_CONDITIONS,    SW_NOT_ALLOWED, SW_KEY_NUMBER, SW_KEY_LENGTH,
                                        SW_WRONG_DATA, SW_NOT_SUPPORTED, SW_P1P2,        SW_INS};

    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (refusals[i] == sw)
            return 1;
    }
    return 0;
}

static void check_operation(const struct operation *op, const uint8_t *p, size_t n)
{
    check((unsigned)op->kind < OP_COUNT);
    check((op->data_len == 0) == (op->data == NULL));
    if (op->data_len > 0)
        check(op->data >= p + 2 && op->data_len <= n - (size_t)(op->data - p));
    if (op->has_le)
        check(n >= 5 && op->le >= 1 && op->le <= (op->extended ? 65536U : 256U));
    if (op->extended)
        check(n >= 7 && p[4] == 0);
    if (op->kind == OP_AUTHENTICATE)
        check(op->key_type == 0x60 || op->key_type == 0x61);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct operation op, again;
    size_t n = size + 1;
    uint8_t *p = malloc(n);
    uint16_t sw;

    if (!p)
        return 0;
    p[0] = 0xFF;
    if (size > 0)
        memcpy(p + 1, data, size);
    sw = pseudo_decode(p, n, &op);
    if (sw == DECODED)
        check_operation(&op, p, n);
    else
        check(is_refusal(sw));
    check(pseudo_decode(p, n, &again) == sw);
    if (sw == DECODED)
        check(again.kind == op.kind && again.data == op.data && again.data_len == op.data_len && again.le == op.le);
    free(p);
    return 0;
}
