/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ISO 15693: any command as the client gives it, and plain blocks (FF B0, FF D6).
 *
 * What changes a card is sent once. If its answer is lost (the card was silent, the answer broken, the reader's frame
 * gone), the card is asked what became of it: a block, AFI or DSFID is read back and compared, a lock is looked for in
 * the block's security status. Only what is seen there is reported as done; the rest is 65 81. What changes nothing is
 * asked again, a few times.
 *
 * A silent card may have left. So before "no answer" (64 01) is told, the card is asked for block 0, which every card
 * in the field answers, also a quiet one: if it does not, the call fails as it does for any card that left.
 */
#include <string.h>

#include "card/iso15693.h"
#include "pseudo/decode.h"
#include "pseudo/job.h"

enum {
    TRIES = 3,
    READ_BYTES_MAX = 128, /* of one answer: readers' buffers for the air are small */
    WRITE_BLOCKS_MAX = 4, /* the most that chips with Write multiple are known to take */
    ADDRESSED = ISO15693_HIGH_RATE | ISO15693_ADDRESSED
};

/* What came back. */
struct heard {
    enum iso15693_air air;
    enum result lost;             /* the reader's own answer was lost: R_TIMEOUT, R_COMM; else R_SUCCESS */
    struct iso15693_response a;   /* AIR_ANSWER: into bytes */
    uint8_t bytes[ISO15693_RESPONSE_MAX];
};

/* ---- the card as the session knows it -------------------------------------------------------------------------- */

static struct iso15693_card *card_of(struct job *j)
{
    struct iso15693_card *c = &j->session->vicinity;
    const struct storage_facts *f = &j->facts;

    if (c->block_size == 0 || memcmp(c->uid, f->uid, sizeof c->uid) != 0)
        iso15693_card_init(c, f->uid);
    c->blocks = f->block_count;
    if (f->block_size > 0)
        c->block_size = f->block_size;
    return c;
}

/* Block size for judging requests and answers: 0 if it is only assumed. */
static unsigned known_block(const struct iso15693_card *c)
{
    return c->blocks > 0 ? c->block_size : 0;
}

static bool fits_card(const struct job *j)
{
    return j->facts.kind == STORAGE_VICINITY && j->facts.uid_len == ISO15693_UID_SIZE;
}

static bool field_is_off(const struct job *j)
{
    return j->session->transparent.field_off;
}

void vicinity_heard(struct job *j, const struct storage_exchange *x, enum result r)
{
    struct iso15693_response a;
    bool answered = r == R_SUCCESS && iso15693_parse_response(x->rx, x->rx_len, false, &a) == R_SUCCESS;

    if (fits_card(j) && (x->protocol == STORAGE_OF_SLOT || x->protocol == STORAGE_ISO15693))
        iso15693_card_track(card_of(j), x->tx, x->tx_len, answered ? &a : NULL);
}

/* ---- one command ----------------------------------------------------------------------------------------------- */

static enum iso15693_air air_of(enum result r, const struct storage_exchange *x)
{
    switch (r) {
    case R_SUCCESS:
        return x->rx_len > 0 ? AIR_ANSWER : AIR_SILENCE;
    case R_NO_CARD:
        return AIR_SILENCE;
    case R_CARD:
        return x->rf_errors & RF_COLLISION ? AIR_COLLISION : AIR_BROKEN;
    default:
        return AIR_BROKEN;
    }
}

/* Sends a frame once. R_SUCCESS with what was heard, be it nothing; anything else ends the client's command. */
static enum result send_frame(struct job *j, const uint8_t *frame, size_t n, const struct iso15693_command *c,
                              struct heard *h)
{
    struct storage_exchange x = {.protocol = STORAGE_ISO15693, .tx = frame, .tx_len = n, .tx_crc = true, .rx_crc = true,
                                 .answer = c->answer != ANSWER_NEVER, .timeout_us = c->wait_us, .rx = h->bytes,
                                 .rx_cap = sizeof h->bytes};
    enum result r = j->ops->exchange(j->reader, j->index, &x, j->until);

    h->lost = r == R_TIMEOUT || r == R_COMM ? r : R_SUCCESS;
    if (r != R_SUCCESS && r != R_NO_CARD && r != R_CARD && h->lost == R_SUCCESS)
        return r;
    h->air = air_of(r, &x);
    if (h->air == AIR_ANSWER && iso15693_parse_response(h->bytes, x.rx_len, false, &h->a) != R_SUCCESS)
        h->air = AIR_BROKEN;
    vicinity_heard(j, &x, r);
    return R_SUCCESS;
}

/* Sends a request: once, or, if it changes nothing, until an answer comes that it can have. */
static enum result send(struct job *j, const struct iso15693_request *q, struct heard *h)
{
    const struct iso15693_command *c = iso15693_command(q->code);
    unsigned block = known_block(card_of(j));
    uint8_t frame[ISO15693_REQUEST_MAX];
    size_t n = iso15693_build(q, false, frame, sizeof frame);
    unsigned tries = c->repeatable ? TRIES : 1;
    enum result r;

    if (n == 0)
        return R_SPACE;
    do {
        r = send_frame(j, frame, n, c, h);
        if (r != R_SUCCESS)
            return r;
        if (h->air == AIR_ANSWER && !iso15693_answers(q, &h->a, block))
            h->air = AIR_BROKEN;
    } while (h->air != AIR_ANSWER && --tries > 0 && !deadline_passed(j->until));
    return R_SUCCESS;
}

/* The same, to the slot's card or to whom `like` is addressed. */
static enum result ask(struct job *j, uint8_t like, uint8_t code, const uint8_t *params, size_t n, struct heard *h)
{
    struct iso15693_request q = {.flags = like, .code = code, .uid = j->facts.uid, .params = params, .n = n};

    return send(j, &q, h);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static uint16_t sw_of(uint8_t error)
{
    switch (error) {
    case ISO15693_NOT_SUPPORTED:
    case ISO15693_NOT_RECOGNISED:
    case ISO15693_NO_OPTION:
        return SW_NOT_SUPPORTED;
    case ISO15693_NO_SUCH_BLOCK:
        return SW_NO_BLOCK;
    case ISO15693_LOCKED_ALREADY:
    case ISO15693_LOCKED:
        return SW_NOT_ALLOWED;
    case ISO15693_NOT_PROGRAMMED:
    case ISO15693_NOT_LOCKED:
        return SW_NOT_CONFIRMED;
    default:
        return error >= ISO15693_CUSTOM_FIRST && error <= ISO15693_CUSTOM_LAST ? (uint16_t)(SW_FAILED | error)
                                                                               : SW_FAILED;
    }
}

/* No answer came. R_SUCCESS: the card is there all the same; else what the call comes to. */
static enum result still_there(struct job *j)
{
    static const uint8_t block = 0;
    struct heard h;
    enum result r = ask(j, ADDRESSED, ISO15693_READ_BLOCK, &block, 1, &h);

    if (r == R_SUCCESS && h.lost != R_SUCCESS)
        return h.lost;
    if (r == R_SUCCESS && h.air != AIR_SILENCE)
        return R_SUCCESS;
    r = job_result(j, r == R_SUCCESS ? R_NO_CARD : r); /* tells the device */
    return r == R_SUCCESS ? R_NO_CARD : r;
}

/* A command without an outcome, that no read-back can settle. */
static enum result give_nothing(struct job *j, const struct heard *h)
{
    enum result r;

    if (h->lost != R_SUCCESS)
        return h->lost;
    if (h->air != AIR_SILENCE)
        return job_answer(j, SW_FAILED);
    r = still_there(j);
    return r == R_SUCCESS ? job_answer(j, SW_CARD_SILENT) : r;
}

static enum result give_error(struct job *j, uint8_t error)
{
    if (j->op->vicinity.tell_error)
        wbuf_u8(&j->a->data, error);
    return job_answer(j, sw_of(error));
}

static enum result give(struct job *j, const struct heard *h)
{
    if (h->air != AIR_ANSWER)
        return give_nothing(j, h);
    if (h->a.error != 0)
        return give_error(j, h->a.error);
    wbuf_bytes(&j->a->data, h->a.data, h->a.n);
    return job_answer(j, SW_DONE);
}

/* ---- what became of a command whose answer was lost ------------------------------------------------------------ */

enum proof { PROOF_NONE, PROOF_OTHER, PROOF_DONE }; /* nothing could be seen; it is not done; it is */

static uint8_t like(const struct iso15693_request *q)
{
    return (uint8_t)(q->flags & ~ISO15693_OPTION);
}

/* Does block `block` hold these n bytes? */
static enum result block_holds(struct job *j, uint8_t flags, uint8_t block, const uint8_t *data, size_t n,
                               enum proof *p)
{
    struct heard h;
    enum result r = ask(j, flags, ISO15693_READ_BLOCK, &block, 1, &h);

    *p = PROOF_NONE;
    if (r == R_SUCCESS && h.air == AIR_ANSWER && h.a.error == 0)
        *p = h.a.n == n && memcmp(h.a.data, data, n) == 0 ? PROOF_DONE : PROOF_OTHER;
    return r;
}

static enum result blocks_hold(struct job *j, const struct iso15693_request *q, enum proof *p)
{
    size_t count = q->params[1] + 1u, size = (q->n - 2) / count;
    enum result r = R_SUCCESS;

    *p = PROOF_DONE;
    for (size_t i = 0; i < count && r == R_SUCCESS && *p == PROOF_DONE; i++)
        r = block_holds(j, like(q), (uint8_t)(q->params[0] + i), q->params + 2 + i * size, size, p);
    return r;
}

static enum result byte_holds(struct job *j, const struct iso15693_request *q, enum proof *p)
{
    struct heard h;
    struct iso15693_system s;
    enum result r = ask(j, like(q), ISO15693_SYSTEM_INFORMATION, NULL, 0, &h);
    bool afi = q->code == ISO15693_WRITE_AFI;

    *p = PROOF_NONE;
    if (r != R_SUCCESS || h.air != AIR_ANSWER || h.a.error != 0 ||
        iso15693_parse_system(h.a.data, h.a.n, &s) != R_SUCCESS || !(afi ? s.has_afi : s.has_dsfid))
        return r;
    *p = (afi ? s.afi : s.dsfid) == q->params[0] ? PROOF_DONE : PROOF_OTHER;
    return r;
}

/* By the command made for it, or, where the card has not got that, by a read that tells it too. */
static enum result block_locked(struct job *j, const struct iso15693_request *q, enum proof *p)
{
    const uint8_t range[] = {q->params[0], 0};
    struct heard h;
    enum result r = ask(j, like(q), ISO15693_SECURITY_STATUS, range, sizeof range, &h);

    if (r == R_SUCCESS && h.air == AIR_ANSWER && h.a.error != 0)
        r = ask(j, like(q) | ISO15693_OPTION, ISO15693_READ_BLOCK, range, 1, &h);
    *p = PROOF_NONE;
    if (r == R_SUCCESS && h.air == AIR_ANSWER && h.a.error == 0)
        *p = h.a.data[0] & 1 ? PROOF_DONE : PROOF_OTHER;
    return r;
}

static enum result find_proof(struct job *j, const struct iso15693_request *q, enum proof *p)
{
    *p = PROOF_NONE;
    switch (q->code) {
    case ISO15693_WRITE_BLOCK:
        return block_holds(j, like(q), q->params[0], q->params + 1, q->n - 1, p);
    case ISO15693_WRITE_BLOCKS:
        return blocks_hold(j, q, p);
    case ISO15693_WRITE_AFI:
    case ISO15693_WRITE_DSFID:
        return byte_holds(j, q, p);
    case ISO15693_LOCK_BLOCK:
        return block_locked(j, q, p);
    default:
        return R_SUCCESS; /* no card tells whether its AFI or DSFID is locked, or what a custom command did */
    }
}

/* R_SUCCESS with the status word: 90 00 if the card was seen to have done it, else 65 81. */
static enum result settle(struct job *j, const struct iso15693_request *q, uint16_t *sw)
{
    struct log *log = &j->slot->device->log;
    enum proof proof;
    enum result r = find_proof(j, q, &proof);

    *sw = proof == PROOF_DONE ? SW_DONE : SW_NOT_CONFIRMED;
    if (r != R_SUCCESS)
        return job_result(j, r);
    if (proof == PROOF_DONE)
        return R_SUCCESS;
    log_fault(log, "ISO 15693 %s: its answer was lost, %s", iso15693_command(q->code)->name,
              proof == PROOF_OTHER ? "and the card shows that it was not carried out" : "outcome unknown");
    if (proof == PROOF_NONE)
        r = still_there(j);
    return r == R_TIMEOUT || r == R_COMM ? R_SUCCESS : r;
}

/* ---- commands as the client gives them ------------------------------------------------------------------------- */

/* Writes, locks and custom commands. */
static enum result run_change(struct job *j, const struct iso15693_request *q)
{
    struct heard h;
    uint16_t sw;
    enum result r = send(j, q, &h);

    if (r != R_SUCCESS)
        return job_result(j, r);
    if (h.air == AIR_ANSWER)
        return give(j, &h);
    if (iso15693_command(q->code)->shape == SHAPE_ANY && h.air == AIR_SILENCE)
        return give_nothing(j, &h); /* a card that has not got the command may well be silent */
    r = settle(j, q, &sw);
    return r == R_SUCCESS ? job_answer(j, sw) : r;
}

static enum result run_plain(struct job *j, const struct iso15693_request *q)
{
    struct heard h;
    enum result r = send(j, q, &h);

    return r == R_SUCCESS ? give(j, &h) : job_result(j, r);
}

/* Never answered, so nothing tells whether the card has heard it; the slot keeps its card. */
static enum result run_quiet(struct job *j, const struct iso15693_request *q)
{
    struct heard h;
    enum result r = send(j, q, &h);

    if (r != R_SUCCESS)
        return job_result(j, r);
    return h.lost != R_SUCCESS ? h.lost : job_answer(j, SW_DONE);
}

static enum result inventory_step(void *context, const uint8_t *frame, size_t n, enum iso15693_air *air,
                                  uint8_t *answer, size_t cap, size_t *len)
{
    struct job *j = context;
    struct heard h;
    enum result r;

    for (unsigned tries = TRIES; tries > 0; tries--) {
        r = send_frame(j, frame, n, iso15693_command(ISO15693_INVENTORY_CARDS), &h);
        if (r != R_SUCCESS || h.lost == R_SUCCESS)
            break;
    }
    if (r != R_SUCCESS || h.lost != R_SUCCESS)
        return r != R_SUCCESS ? r : h.lost;
    *air = h.air;
    if (h.air != AIR_ANSWER)
        return R_SUCCESS;
    if (h.a.error != 0 || h.a.n + 1 > cap) {
        *air = AIR_BROKEN;
        return R_SUCCESS;
    }
    answer[0] = h.a.flags;
    memcpy(answer + 1, h.a.data, h.a.n);
    *len = h.a.n + 1;
    return R_SUCCESS;
}

static enum result run_inventory(struct job *j)
{
    struct iso15693_search s = {.has_afi = (j->op->vicinity.flags & ISO15693_HAS_AFI) != 0,
                                .wanted = ISO15693_TAGS_MAX};
    struct iso15693_found found;
    enum result r = iso15693_parse_mask(&s, j->op->data, j->op->data_len);

    if (r == R_SUCCESS)
        r = iso15693_inventory(&s, inventory_step, j, &found);
    if (r != R_SUCCESS)
        return job_result(j, r);
    if (found.count == 0 && !found.more) {
        r = still_there(j);
        return r == R_SUCCESS ? job_answer(j, SW_CARD_SILENT) : r;
    }
    for (size_t i = 0; i < found.count; i++) {
        wbuf_u8(&j->a->data, found.tags[i].dsfid);
        wbuf_bytes(&j->a->data, found.tags[i].uid, sizeof found.tags[i].uid);
    }
    if (found.more)
        log_fault(&j->slot->device->log,
                  "ISO 15693: there are more cards in the field than the %zu that were told apart", found.count);
    return job_answer(j, found.count > 0 ? SW_DONE : SW_FAILED);
}

/* DECODED (0), or why nothing is sent. */
static uint16_t not_now(const struct job *j)
{
    if (j->reader->settings->iso15693 == SWITCH_OFF || !j->ops->exchange)
        return SW_NOT_SUPPORTED;
    if (!fits_card(j))
        return SW_WRONG_CARD;
    return field_is_off(j) ? SW_CONDITIONS : DECODED;
}

enum result run_vicinity(struct job *j)
{
    const struct vicinity_operation *v = &j->op->vicinity;
    const struct iso15693_command *c = iso15693_command(v->code);
    struct iso15693_request q = {.flags = v->flags, .code = v->code, .uid = j->facts.uid};
    uint16_t sw = not_now(j);

    if (sw != DECODED)
        return job_answer(j, sw);
    q.params = v->params_len > 0 ? v->params : j->op->data;
    q.n = v->params_len > 0 ? v->params_len : j->op->data_len;
    if (c->shape == SHAPE_MASK)
        return run_inventory(j);
    if (q.flags & ISO15693_SELECTED && !card_of(j)->selected)
        return job_answer(j, SW_CONDITIONS);
    if (iso15693_check(&q, known_block(card_of(j))) != R_SUCCESS)
        return job_answer(j, c->shape == SHAPE_RANGE_DATA ? SW_WRONG_DATA : SW_LENGTH);
    if (c->answer == ANSWER_NEVER)
        return run_quiet(j, &q);
    if (!c->writes)
        return run_plain(j, &q);
    /* Some chips answer a write with the option flag only after another pulse, which a raw exchange cannot send. */
    if (c->shape != SHAPE_ANY)
        q.flags = like(&q);
    return run_change(j, &q);
}

enum result run_vicinity_item(struct job *j)
{
    struct iso15693_system s;
    struct heard h;
    uint16_t sw = not_now(j);
    enum result r;

    if (sw != DECODED)
        return job_answer(j, sw);
    r = ask(j, ADDRESSED, ISO15693_SYSTEM_INFORMATION, NULL, 0, &h);
    if (r != R_SUCCESS)
        return job_result(j, r);
    if (h.air != AIR_ANSWER || h.a.error != 0)
        return give(j, &h);
    if (iso15693_parse_system(h.a.data, h.a.n, &s) != R_SUCCESS)
        return job_answer(j, SW_FAILED);
    const struct {
        bool has;
        uint8_t bytes[2];
        size_t n;
    } items[] = {
        [VICINITY_AFI] = {s.has_afi, {s.afi, 0}, 1},
        [VICINITY_DSFID] = {s.has_dsfid, {s.dsfid, 0}, 1},
        [VICINITY_MEMORY] = {s.has_memory, {(uint8_t)(s.blocks - 1), (uint8_t)(s.block_size - 1)}, 2},
        [VICINITY_REFERENCE] = {s.has_reference, {s.reference, 0}, 1},
    };
    if (!items[j->op->vicinity.item].has)
        return job_answer(j, SW_NOT_SUPPORTED);
    wbuf_bytes(&j->a->data, items[j->op->vicinity.item].bytes, items[j->op->vicinity.item].n);
    return job_answer(j, SW_DONE);
}

/* ---- plain blocks ---------------------------------------------------------------------------------------------- */

/* Le 00 is one block. 0: no whole number of them. */
static size_t blocks_wanted(const struct job *j, unsigned size)
{
    if (j->op->le == (j->op->extended ? 65536U : 256U))
        return 1;
    return j->op->le % size == 0 ? j->op->le / size : 0;
}

/* Did a card refuse Read multiple because it has not got it? Its error code may not tell, or it may be silent; but the
 * end of its memory is told by a code of its own. */
static bool lacks_command(const struct heard *h)
{
    return h->air != AIR_ANSWER || h->a.error != ISO15693_NO_SUCH_BLOCK;
}

/* Reads up to `count` blocks in one frame, if the card knows Read multiple, else one. *got: how many; 0: what was heard
 * tells why. A card that refuses several blocks and gives the first alone is not asked for several again. */
static enum result read_some(struct job *j, unsigned first, size_t count, size_t *got, struct heard *h)
{
    struct iso15693_card *c = card_of(j);
    const uint8_t one = (uint8_t)first;
    size_t most = READ_BYTES_MAX / c->block_size;
    bool lacks = false;
    enum result r;

    *got = 0;
    count = count < most ? count : most > 0 ? most : 1;
    if (count > 1 && !c->no_read_blocks) {
        const uint8_t range[] = {one, (uint8_t)(count - 1)};

        r = ask(j, ADDRESSED, ISO15693_READ_BLOCKS, range, sizeof range, h);
        if (r != R_SUCCESS || h->lost != R_SUCCESS)
            return r;
        *got = h->air == AIR_ANSWER && h->a.error == 0 ? count : 0;
        if (*got > 0)
            return R_SUCCESS;
        lacks = lacks_command(h);
    }
    r = ask(j, ADDRESSED, ISO15693_READ_BLOCK, &one, 1, h);
    *got = r == R_SUCCESS && h->air == AIR_ANSWER && h->a.error == 0;
    c->no_read_blocks |= lacks && *got == 1;
    return r;
}

enum result run_vicinity_read(struct job *j)
{
    struct iso15693_card *c = card_of(j);
    unsigned first = j->op->block;
    size_t left = blocks_wanted(j, c->block_size), got;
    struct heard h;
    uint16_t sw = not_now(j);

    if (sw != DECODED || left == 0)
        return job_answer(j, sw != DECODED ? sw : (uint16_t)(SW_EXACT_LE | c->block_size));
    for (; left > 0; left -= got, first += (unsigned)got) {
        enum result r = R_SUCCESS;

        got = 0;
        if (first >= (c->blocks > 0 ? c->blocks : ISO15693_BLOCKS_MAX))
            return job_answer(j, j->a->data.len > 0 ? SW_END_OF_DATA : SW_NO_BLOCK);
        if (c->blocks > 0 && left > c->blocks - first)
            r = read_some(j, first, c->blocks - first, &got, &h);
        else
            r = read_some(j, first, left, &got, &h);
        if (r != R_SUCCESS)
            return job_result(j, r);
        if (got == 0 && h.air == AIR_ANSWER && j->a->data.len > 0 && sw_of(h.a.error) == SW_NO_BLOCK)
            return job_answer(j, SW_END_OF_DATA);
        if (got == 0)
            return h.air == AIR_ANSWER ? job_answer(j, sw_of(h.a.error)) : give_nothing(j, &h);
        if (h.a.n != got * c->block_size)
            return job_answer(j, SW_FAILED); /* the block size was assumed, and is another */
        wbuf_bytes(&j->a->data, h.a.data, h.a.n);
    }
    return job_answer(j, SW_DONE);
}

static enum result not_sent(struct job *j, enum result r, uint16_t *sw)
{
    r = job_result(j, r);
    *sw = j->a->sw;
    return r;
}

/* Writes one block. R_SUCCESS with the status word. */
static enum result write_one(struct job *j, uint8_t block, const uint8_t *data, size_t size, uint16_t *sw)
{
    uint8_t params[1 + ISO15693_BLOCK_MAX];
    struct iso15693_request q = {
        .flags = ADDRESSED, .code = ISO15693_WRITE_BLOCK, .uid = j->facts.uid, .params = params, .n = 1 + size};
    struct heard h;
    enum result r;

    params[0] = block;
    memcpy(params + 1, data, size);
    r = send(j, &q, &h);
    if (r != R_SUCCESS)
        return not_sent(j, r, sw);
    if (h.air != AIR_ANSWER)
        return settle(j, &q, sw);
    *sw = h.a.error ? sw_of(h.a.error) : SW_DONE;
    return R_SUCCESS;
}

/* Tries Write multiple. *done: it is written, or was sent without an outcome (*sw tells); else single writes may go on:
 * the card refused it, so it wrote nothing, or what it wrote is what they will write. */
static enum result write_several(struct job *j, unsigned first, size_t count, const uint8_t *data, size_t size,
                                 bool *done, uint16_t *sw)
{
    uint8_t params[2 + WRITE_BLOCKS_MAX * ISO15693_BLOCK_MAX];
    struct iso15693_request q = {.flags = ADDRESSED, .code = ISO15693_WRITE_BLOCKS, .uid = j->facts.uid,
                                 .params = params, .n = 2 + count * size};
    struct iso15693_card *c = card_of(j);
    struct heard h;
    enum result r;

    params[0] = (uint8_t)first;
    params[1] = (uint8_t)(count - 1);
    memcpy(params + 2, data, count * size);
    *done = true;
    r = send(j, &q, &h);
    if (r != R_SUCCESS)
        return not_sent(j, r, sw);
    if (h.air != AIR_ANSWER) {
        r = settle(j, &q, sw);
        c->no_write_blocks |= r == R_SUCCESS && *sw != SW_DONE; /* some chips are silent where they lack a command */
        return r;
    }
    *sw = SW_DONE;
    *done = h.a.error == 0;
    if (h.a.error == ISO15693_NOT_SUPPORTED || h.a.error == ISO15693_NOT_RECOGNISED || h.a.error == ISO15693_NO_REASON)
        c->no_write_blocks = true;
    return R_SUCCESS;
}

/* How far the blocks hold the data: where a write of several stopped. */
static enum result first_not_written(struct job *j, unsigned first, size_t count, const uint8_t *data, size_t size,
                                     size_t *written)
{
    enum proof p = PROOF_DONE;
    enum result r = R_SUCCESS;

    for (*written = 0; *written < count; ++*written) {
        r = block_holds(j, ADDRESSED, (uint8_t)(first + *written), data + *written * size, size, &p);
        if (r != R_SUCCESS || p != PROOF_DONE)
            break;
    }
    return r == R_SUCCESS ? r : job_result(j, r);
}

/* Writes up to `count` blocks. *written: how many surely are; *sw: 90 00, or why the next one is not. */
static enum result write_chunk(struct job *j, unsigned first, size_t count, const uint8_t *data, size_t size,
                               size_t *written, uint16_t *sw)
{
    bool done = false;
    enum result r = R_SUCCESS;

    *written = 0;
    if (count > 1 && !card_of(j)->no_write_blocks)
        r = write_several(j, first, count, data, size, &done, sw);
    if (r == R_SUCCESS && done) {
        *written = *sw == SW_DONE ? count : 0;
        return *sw == SW_DONE ? r : first_not_written(j, first, count, data, size, written);
    }
    for (; r == R_SUCCESS && *written < count; ++*written) {
        r = write_one(j, (uint8_t)(first + *written), data + *written * size, size, sw);
        if (r != R_SUCCESS || *sw != SW_DONE)
            break;
    }
    return r;
}

enum result run_vicinity_write(struct job *j)
{
    const struct iso15693_card *c = card_of(j);
    size_t size = c->block_size, count = j->op->data_len / size, at = 0, written;
    unsigned first = j->op->block;
    uint16_t sw = not_now(j);
    enum result r;

    if (sw == DECODED && j->op->data_len % size != 0)
        sw = SW_LENGTH;
    else if (sw == DECODED && first + count > (c->blocks > 0 ? c->blocks : ISO15693_BLOCKS_MAX))
        sw = SW_NO_BLOCK;
    if (sw != DECODED)
        return job_answer(j, sw);
    for (sw = SW_DONE; at < count && sw == SW_DONE; at += written) {
        size_t n = count - at < WRITE_BLOCKS_MAX ? count - at : WRITE_BLOCKS_MAX;

        r = write_chunk(j, first + (unsigned)at, n, j->op->data + at * size, size, &written, &sw);
        if (r != R_SUCCESS)
            return r;
    }
    /* Where it stopped half-way, or may have. */
    if (sw != SW_DONE && (at > 0 || (count > 1 && sw == SW_NOT_CONFIRMED)))
        wbuf_be16(&j->a->data, first + (unsigned)at);
    return job_answer(j, sw);
}
