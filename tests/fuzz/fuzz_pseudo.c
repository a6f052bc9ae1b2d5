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
#include "pseudo/purse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int is_refusal(uint16_t sw)
{
    static const uint16_t refusals[] = {SW_LENGTH,     SW_CONDITIONS,    SW_NOT_ALLOWED, SW_KEY_NUMBER, SW_KEY_LENGTH,
                                        SW_WRONG_DATA, SW_NOT_SUPPORTED, SW_P1P2,        SW_INS,
                                        SW_NO_BLOCK};

    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (refusals[i] == sw)
            return 1;
    }
    return sw == (SW_EXACT_LE | 4); /* read value */
}

static int lies_inside(const uint8_t *data, size_t len, const uint8_t *p, size_t n)
{
    return len == 0 ? 1 : data >= p + 2 && len <= n - (size_t)(data - p);
}

static void check_steps(const struct operation *op, const uint8_t *p, size_t n)
{
    check(op->step_count <= STEPS_MAX);
    for (size_t i = 0; i < op->step_count; i++) {
        const struct step *s = &op->steps[i];

        check((unsigned)s->kind < STEP_COUNT);
        check((s->len == 0) == (s->data == NULL) && lies_inside(s->data, s->len, p, n));
        check(s->kind != STEP_SELECT || s->len == 2);
        check((s->kind != STEP_TRANSMIT && s->kind != STEP_TRANSCEIVE) || s->len > 0);
        check((s->kind != STEP_TX_BITS && s->kind != STEP_RX_BITS) || s->number < 8);
        check(s->kind != STEP_BAD || (s->number >= 0x6700 && s->number < 0x6F00));
    }
    check(op->step_count == 0 || op->kind == OP_SESSION || op->kind == OP_ENCAPSULATE);
}

static void check_purse(const uint8_t *p, size_t n)
{
    struct purse_facts f;

    if (purse_check(p, n, 64, &f) == DECODED)
        check(n >= 4 && (p[0] & 15) > 0 && (p[0] >> 4 & 7) == 3 && (f.needs_key || f.own_keys));
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
    check_steps(op, p, n);
    if (op->kind == OP_LOAD_KEY)
        check(op->data_len == STORAGE_KEY_SIZE);
    if (op->kind == OP_LED)
        check(op->data_len == 4);
    if (op->kind == OP_VALUE)
        check((unsigned)op->value_op <= VALUE_COPY && (op->value_op != VALUE_COPY || op->amount == 0));
    if (op->kind == OP_READ)
        check(op->has_le);
    if (op->kind == OP_WRITE || op->kind == OP_PURSE)
        check(op->data_len > 0);
    if (op->kind == OP_PURSE)
        check_purse(op->data, op->data_len);
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
