/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Value blocks: money.
 *
 * A value command is executed at most once, and never reported as done unless it was. The block is read first: a block
 * that is no value block, and a result beyond the range, are refused before anything changes, and what the block must
 * hold afterwards is known. If then the answer of the command does not come, or says that the card refused, the card is
 * asked: the new value means done, the old one unchanged, and anything else, or no answer, is said to be unknown. So it
 * is when the reader calls the command wrong: that says nothing of what it did before it found out. A card that refused
 * forgets its selection, so the question takes a new selection and the same key once more; the client's authentication
 * ends with that.
 *
 * A purse command of several operations cannot be settled so, for it names blocks of any sector with any keys. Either
 * the reader names the block at which it stopped, or what was done is unknown.
 */
#include <string.h>

#include "card/mifare.h"
#include "pseudo/decode.h"
#include "pseudo/job.h"
#include "pseudo/purse.h"

/* What a command does: which block it is called by, which one gets the result, and what that held and must hold. */
struct change {
    const char *name;
    unsigned block, target;
    uint8_t before[MIFARE_BLOCK_SIZE], after[MIFARE_BLOCK_SIZE];
};

enum outcome { OUTCOME_DONE, OUTCOME_UNCHANGED, OUTCOME_UNKNOWN };

static const char *name_of(enum storage_value_op op)
{
    static const char *const names[] = {"increment", "decrement", "copy"};

    return names[op];
}

/* ---- checks --------------------------------------------------------------------------------------------------------
 */

static uint16_t check_block(const struct job *j, unsigned block)
{
    unsigned blocks = j->facts.block_count > 0 ? j->facts.block_count : MIFARE_BLOCKS_MAX;

    if (block >= blocks)
        return SW_NO_BLOCK;
    return block == 0 || mifare_is_trailer(block) ? SW_NOT_ALLOWED : DECODED;
}

static uint16_t check_change(const struct job *j)
{
    const struct operation *op = j->op;
    uint16_t sw = op->amount > INT32_MAX ? SW_WRONG_DATA : check_block(j, op->block);

    if (sw == DECODED)
        sw = check_block(j, op->target);
    if (sw == DECODED && mifare_sector(op->block) != mifare_sector(op->target))
        sw = SW_NOT_ALLOWED;
    if (sw == DECODED)
        sw = job_may(j, op->block, MIFARE_READ);
    if (sw == DECODED)
        sw = job_may(j, op->block, op->value_op == VALUE_INCREMENT ? MIFARE_INCREMENT : MIFARE_DECREMENT);
    if (sw == DECODED) /* the transfer */
        sw = job_may(j, op->target, MIFARE_DECREMENT);
    if (sw == DECODED && op->target != op->block) { /* the reader copies first, and then changes the copy */
        sw = job_may(j, op->block, MIFARE_DECREMENT);
        if (sw == DECODED && op->value_op == VALUE_INCREMENT)
            sw = job_may(j, op->target, MIFARE_INCREMENT);
    }
    return sw;
}

static enum result read_block(struct job *j, unsigned block, uint8_t data[MIFARE_BLOCK_SIZE])
{
    return j->ops->read(j->reader, j->index, block, 1, data, j->until);
}

/* Reads what is to be changed, and says what it has to become. *sw: DECODED, or why nothing may be done. */
static enum result prepare(struct job *j, struct change *c, uint16_t *sw)
{
    const struct operation *op = j->op;
    uint8_t source[MIFARE_BLOCK_SIZE];
    struct mifare_value v;
    enum result r = read_block(j, c->block, source);

    memcpy(c->before, source, sizeof source);
    if (r == R_SUCCESS && c->target != c->block)
        r = read_block(j, c->target, c->before);
    if (r != R_SUCCESS)
        return r;
    *sw = DECODED;
    if (!mifare_parse_value(source, &v))
        *sw = SW_NOT_ALLOWED;
    else if (!mifare_change(v.value, op->amount, op->value_op == VALUE_DECREMENT, &v.value))
        *sw = SW_CONDITIONS;
    else
        mifare_build_value(c->after, &v); /* the address bytes come along from the source */
    return R_SUCCESS;
}

/* ---- what became of it ---------------------------------------------------------------------------------------------
 */

static enum outcome judge(const struct change *c, const uint8_t now[MIFARE_BLOCK_SIZE])
{
    struct mifare_value v, after;

    if (memcmp(now, c->after, MIFARE_BLOCK_SIZE) == 0)
        return OUTCOME_DONE;
    if (memcmp(now, c->before, MIFARE_BLOCK_SIZE) == 0)
        return OUTCOME_UNCHANGED;
    /* the value is what counts, should a card see to the address bytes in its own way */
    (void)mifare_parse_value(c->after, &after);
    return mifare_parse_value(now, &v) && v.value == after.value ? OUTCOME_DONE : OUTCOME_UNKNOWN;
}

/* Asks the card. `selected`: it has been neither refusing nor silent, so it may be asked as it is. */
static enum outcome ask_card(struct job *j, const struct change *c, bool selected)
{
    uint8_t now[MIFARE_BLOCK_SIZE];
    enum result r = selected ? read_block(j, c->target, now) : R_CARD;

    if (r != R_SUCCESS) {
        r = job_recover(j, c->target);
        if (r == R_SUCCESS)
            r = read_block(j, c->target, now);
        job_forget_authentication(j);
    }
    return r == R_SUCCESS ? judge(c, now) : OUTCOME_UNKNOWN;
}

/* Not through the limiter of faults: money is at stake each time. */
static void log_unknown(struct job *j, const struct change *c)
{
    log_outcome(&j->slot->device->log, "%s of block %u: outcome unknown", c->name, c->block);
}

/* Nothing was changed, as the card says: the status word for what the reader said. */
static enum result unchanged(struct job *j, enum result r)
{
    if (r == R_CARD)
        return job_answer(j, SW_FAILED); /* it has been selected again */
    if (r == R_NO_CARD || r == R_TIMEOUT || r == R_COMM)
        return job_answer(j, SW_NOT_CONFIRMED);
    return job_result(j, r);
}

/* The command did not simply succeed. */
static enum result settle(struct job *j, const struct change *c, enum result r)
{
    enum outcome outcome;

    if (r == R_GONE || r == R_CANCELLED || r == R_PROTOCOL) {
        log_unknown(j, c);
        return r == R_PROTOCOL ? job_answer(j, SW_NOT_CONFIRMED) : r;
    }
    outcome = ask_card(j, c, r != R_CARD && r != R_NO_CARD);
    if (outcome == OUTCOME_UNKNOWN)
        log_unknown(j, c);
    if (r == R_NO_CARD) /* the card was away for a moment: whatever it says now, its session is over */
        slot_lost(j->slot->device, j->index);
    if (outcome == OUTCOME_UNCHANGED)
        return unchanged(j, r);
    return job_answer(j, outcome == OUTCOME_DONE ? SW_DONE : SW_NOT_CONFIRMED);
}

enum result run_value(struct job *j)
{
    const struct operation *op = j->op;
    const struct storage_value v = {op->value_op, (uint8_t)op->block, op->target, op->amount};
    struct change c = {.name = name_of(op->value_op), .block = op->block, .target = op->target};
    uint16_t sw = check_change(j);
    enum result r;

    if (!j->ops->value || !j->ops->read)
        return job_answer(j, SW_NOT_SUPPORTED);
    if (sw != DECODED)
        return job_answer(j, sw);
    r = prepare(j, &c, &sw);
    if (r != R_SUCCESS)
        return job_result(j, r);
    if (sw != DECODED)
        return job_answer(j, sw);
    r = j->ops->value(j->reader, j->index, &v, j->until);
    return r == R_SUCCESS ? job_answer(j, SW_DONE) : settle(j, &c, r);
}

/* What the block held is read first here, too: else nobody could tell "unchanged" from "spoilt" afterwards. */
enum result run_value_store(struct job *j)
{
    const unsigned block = j->op->block;
    const struct mifare_value v = {(int32_t)j->op->amount, (uint8_t)block};
    struct change c = {.name = "store", .block = block, .target = block};
    uint16_t sw = check_block(j, block);
    enum result r;

    if (!j->ops->write || !j->ops->read)
        return job_answer(j, SW_NOT_SUPPORTED);
    if (sw == DECODED)
        sw = job_may(j, block, MIFARE_READ);
    if (sw == DECODED)
        sw = job_may(j, block, MIFARE_WRITE);
    if (sw != DECODED)
        return job_answer(j, sw);
    mifare_build_value(c.after, &v);
    r = read_block(j, block, c.before);
    if (r != R_SUCCESS)
        return job_result(j, r);
    r = j->ops->write(j->reader, j->index, block, 1, c.after, j->until);
    return r == R_SUCCESS ? job_answer(j, SW_DONE) : settle(j, &c, r);
}

enum result run_value_read(struct job *j)
{
    uint8_t block[MIFARE_BLOCK_SIZE];
    struct mifare_value v;
    uint16_t sw = check_block(j, j->op->block);
    enum result r;

    if (!j->ops->read)
        return job_answer(j, SW_NOT_SUPPORTED);
    if (sw == DECODED)
        sw = job_may(j, j->op->block, MIFARE_READ);
    if (sw != DECODED)
        return job_answer(j, sw);
    r = read_block(j, j->op->block, block);
    if (r != R_SUCCESS)
        return job_result(j, r);
    if (!mifare_parse_value(block, &v))
        return job_answer(j, SW_NOT_ALLOWED);
    wbuf_be32(&j->a->data, (uint32_t)v.value);
    return job_answer(j, SW_DONE);
}

/* ---- several at once -----------------------------------------------------------------------------------------------
 */

/* The keys in the data have replaced the reader's, whether all of it was carried out or not. */
static void take_own_keys(struct job *j, bool succeeded)
{
    job_forget_authentication(j);
    j->session->purse_key.valid = succeeded;
    j->session->purse_key.selection = j->facts.selection;
}

/* A failure that names no block does not tell how far the reader came: that is as unknown as a lost answer. */
static enum result batch_failed(struct job *j, enum result r, const uint8_t *error, size_t error_len)
{
    bool named = error_len == STORAGE_ERROR_MAX;

    if (named)
        log_fault(&j->slot->device->log, "purse command failed at block %u, reader's code %02X", error[0], error[1]);
    else
        log_outcome(&j->slot->device->log, "purse command: outcome unknown");
    if (r == R_GONE || r == R_CANCELLED)
        return r;
    if (named || r == R_CARD || r == R_NO_CARD) /* the slot is empty if it fails; this answer is due all the same */
        (void)job_result(j, r == R_NO_CARD ? r : R_CARD);
    if (named)
        wbuf_bytes(&j->a->data, error, error_len);
    return job_answer(j, named ? SW_FAILED : SW_NOT_CONFIRMED);
}

/* The reader has no such command, or no room for it: it has not begun. */
static bool never_begun(enum result r, size_t error_len)
{
    return error_len == 0 && (r == R_NOT_SUPPORTED || r == R_SPACE);
}

/* No block is read before: that would take the reader's default key away from the client. */
enum result run_purse(struct job *j)
{
    uint8_t error[STORAGE_ERROR_MAX];
    size_t error_len = 0;
    struct purse_facts f;
    uint16_t sw = purse_check(j->op->data, j->op->data_len, j->facts.block_count, &f);
    enum result r;

    if (!j->ops->purse)
        return job_answer(j, SW_NOT_SUPPORTED);
    if (sw != DECODED)
        return job_answer(j, sw);
    if (f.needs_key && (!j->session->purse_key.valid || j->session->purse_key.selection != j->facts.selection))
        return job_answer(j, SW_SECURITY);
    r = j->ops->purse(j->reader, j->index, j->op->data, j->op->data_len, error, &error_len, j->until);
    if (never_begun(r, error_len))
        return job_result(j, r);
    if (f.own_keys)
        take_own_keys(j, r == R_SUCCESS);
    j->session->auth.elsewhere |= f.several || f.sector != j->session->auth.sector;
    return r == R_SUCCESS ? job_answer(j, SW_DONE) : batch_failed(j, r, error, error_len);
}
