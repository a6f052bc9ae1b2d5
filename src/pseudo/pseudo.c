/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The operation table, and what is common to all operations: the way from command to response, and Le.
 *
 * The data of an answer is written straight into the response, with room kept for the status word, so an answer of any
 * length passes without a copy or a buffer of our own.
 */
#include "pseudo/pseudo.h"

#include "pseudo/decode.h"
#include "pseudo/operation.h"
#include "reader/device.h"

/* A row without a run function is an operation that no reader has yet. */
static const struct row {
    operation_fn run;
    bool storage; /* only where the reader has storage_ops */
    enum le_rule le;
} rows[OP_COUNT] = {
    [OP_READER_COMMAND] = {run_reader_command, false, LE_MOST},
    [OP_FIRMWARE] = {run_firmware, false, LE_MOST},
    [OP_LED] = {NULL, false, LE_MOST},
    [OP_BUZZER] = {NULL, false, LE_MOST},
    [OP_GET_ATR] = {run_get_atr, false, LE_WANT},
    [OP_GET_DATA] = {NULL, true, LE_WANT},
    [OP_AUTHENTICATE] = {NULL, true, LE_MOST},
};

static enum result run(struct slot *slot, const struct operation *op, struct answer *a)
{
    const struct row *row = &rows[op->kind];

    a->sw = SW_NOT_SUPPORTED;
    if (!row->run || (row->storage && !slot->device->reader->ops->storage))
        return R_SUCCESS;
    return row->run(slot, op, a);
}

/* Nothing is ever cut: an answer that Le does not let pass becomes a status word that says how to ask for it. Error
 * answers are left alone; what stands before their status word is part of the message. */
static void obey_le(const struct operation *op, enum le_rule rule, struct answer *a)
{
    size_t limit = op->extended ? 65536 : 256;
    size_t n = a->data.len;

    if (a->sw != SW_DONE && a->sw != SW_END_OF_DATA)
        return;
    if (op->has_le && op->le < limit) {
        if (n < op->le && rule == LE_WANT)
            a->sw = SW_END_OF_DATA;
        limit = op->le;
    }
    if (n <= limit)
        return;
    a->data.len = 0;
    a->sw = n > 256 ? SW_LENGTH : (uint16_t)(SW_EXACT_LE | (n & 0xFF));
}

enum result pseudo_transmit(struct slot *slot, const uint8_t *command, size_t n, uint8_t *response, size_t cap,
                            size_t *len)
{
    struct operation op;
    struct answer a;
    enum result r = R_SUCCESS;

    *len = 0;
    if (cap < 2)
        return R_SPACE;
    a.data = wbuf_over(response, cap - 2);
    a.sw = pseudo_decode(command, n, &op);
    if (a.sw == DECODED) {
        r = run(slot, &op, &a);
        if (r == R_SUCCESS && a.data.failed)
            r = R_SPACE;
        if (r != R_SUCCESS)
            return r;
        obey_le(&op, rows[op.kind].le, &a);
    }
    a.data.cap = cap;
    wbuf_be16(&a.data, a.sw);
    *len = a.data.len;
    return R_SUCCESS;
}
