/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The operation table, and what is common to all operations: the way from command to response, and Le.
 *
 * The data of an answer is written straight into the response, with room kept for the status word, so an answer of any
 * length passes without a copy or a buffer of our own.
 */
#include "pseudo/pseudo.h"

#include <string.h>

#include "pseudo/decode.h"
#include "pseudo/job.h"
#include "pseudo/operation.h"
#include "reader/device.h"

enum {
    MIFARE = 1U << STORAGE_MIFARE,
    BLOCKS = MIFARE | 1U << STORAGE_ULTRALIGHT | 1U << STORAGE_VICINITY,
    ANY = ~0U & 0xFF,
    OBJECT_ROOM = 5 /* C0 03 nn SW1 SW2 */
};

/* What carries an operation out: one of the two functions; with neither, no reader has it yet. */
static const struct row {
    operation_fn run;         /* every reader */
    job_fn job;               /* only where the reader has storage_ops */
    enum operate_level level; /* for a job: what it needs */
    unsigned cards;           /* for a job with a card: a bit for each enum storage_kind that it makes sense for */
    enum le_rule le;
} rows[OP_COUNT] = {
    [OP_READER_COMMAND] = {run_reader_command, NULL, 0, 0, LE_ALL},
    [OP_FIRMWARE] = {run_firmware, NULL, 0, 0, LE_MOST},
    [OP_LED] = {NULL, run_led, OPERATE_READER, 0, LE_MOST},
    [OP_BUZZER] = {NULL, run_buzzer, OPERATE_READER, 0, LE_MOST},
    [OP_LOAD_KEY] = {run_load_key, NULL, 0, 0, LE_MOST},
    [OP_GET_ATR] = {run_get_atr, NULL, 0, 0, LE_WANT},
    [OP_GET_DATA] = {NULL, run_get_data, OPERATE_FACTS, ANY, LE_WANT},
    [OP_AUTHENTICATE] = {NULL, run_authenticate, OPERATE_CARD, MIFARE, LE_MOST},
    [OP_READ] = {NULL, run_read, OPERATE_CARD, BLOCKS, LE_MOST},
    [OP_WRITE] = {NULL, run_write, OPERATE_CARD, BLOCKS, LE_MOST},
    [OP_VALUE] = {NULL, run_value, OPERATE_CARD, MIFARE, LE_MOST},
    [OP_VALUE_STORE] = {NULL, run_value_store, OPERATE_CARD, MIFARE, LE_MOST},
    [OP_VALUE_READ] = {NULL, run_value_read, OPERATE_CARD, MIFARE, LE_MOST},
    [OP_PURSE] = {NULL, run_purse, OPERATE_CARD, MIFARE, LE_MOST},
    [OP_VICINITY] = {NULL, run_vicinity, OPERATE_CARD, ANY, LE_MOST},
    [OP_VICINITY_ITEM] = {NULL, run_vicinity_item, OPERATE_CARD, ANY, LE_MOST},
    [OP_SESSION] = {NULL, run_session, OPERATE_CARD, ANY, LE_MOST},
    [OP_ENCAPSULATE] = {NULL, run_encapsulate, OPERATE_CARD, ANY, LE_MOST},
};

/* With the device acquired. */
static enum result run_job(struct slot *slot, void *arg, deadline_t until)
{
    struct job *j = arg;
    const struct row *row = &rows[j->op->kind];
    enum result r;

    j->slot = slot;
    j->index = slot->index;
    j->session = &slot->storage;
    j->until = until;
    if (row->level == OPERATE_READER)
        return row->job(j);
    r = job_facts(j);
    if (r != R_SUCCESS)
        return job_result(j, r == R_NO_CARD ? R_PROTOCOL : r); /* there is nothing to be selected again */
    if (!(row->cards >> j->facts.kind & 1))
        return job_answer(j, SW_WRONG_CARD);
    if (row->cards != ANY && j->session->transparent.field_off)
        return job_answer(j, SW_CONDITIONS); /* the client has switched the field off */
    return row->job(j);
}

static enum result run(struct slot *slot, const struct operation *op, struct answer *a)
{
    const struct row *row = &rows[op->kind];
    struct job j = {.reader = slot->device->reader, .op = op, .a = a};
    enum result r;

    a->sw = SW_NOT_SUPPORTED;
    if (row->run)
        return row->run(slot, op, a);
    j.ops = j.reader->ops->storage;
    if (!row->job || !j.ops)
        return R_SUCCESS;
    r = slot_operate(slot, row->level, run_job, &j);
    explicit_bzero(&j, sizeof j);
    return r;
}

/* The answer in objects: only the last status word is the command's own, that of the operation stands in front. */
static void put_into_objects(struct answer *a)
{
    bool good = a->sw == SW_DONE;

    if (a->data.len == 0) {
        wbuf_u8(&a->data, 0xC0);
        wbuf_u8(&a->data, 3);
        wbuf_u8(&a->data, good ? 0 : 1);
        wbuf_be16(&a->data, a->sw);
        a->sw = SW_DONE;
    }
}

/* Nothing is ever cut: an answer that Le does not let pass becomes a status word that says how to ask for it. Error
 * answers are left alone; what stands before their status word is part of the message. */
static void obey_le(const struct operation *op, enum le_rule rule, struct answer *a)
{
    size_t limit = op->extended ? 65536 : 256;
    size_t n = a->data.len;

    if ((a->sw != SW_DONE && a->sw != SW_END_OF_DATA) || rule == LE_ALL)
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

/* Is there room for the answer that tells what became of the operation? Asked before it is carried out, for afterwards
 * it would be too late. */
static bool has_room(const struct operation *op, size_t cap)
{
    return !op->objects || cap >= OBJECT_ROOM + 2;
}

/* What stands before an error's status word is told only if there is room; the status word always is. */
static void drop_what_did_not_fit(struct answer *a)
{
    if (a->data.failed && a->sw != SW_DONE && a->sw != SW_END_OF_DATA) {
        a->data.len = 0;
        a->data.failed = false;
    }
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
    if (a.sw == DECODED && !has_room(&op, cap))
        return R_SPACE;
    if (a.sw == DECODED) {
        r = run(slot, &op, &a);
        if (r == R_SUCCESS && op.objects)
            put_into_objects(&a);
        drop_what_did_not_fit(&a);
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
