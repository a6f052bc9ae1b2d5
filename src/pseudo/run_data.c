/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is known of the card, authentication, and plain blocks.
 *
 * Which block a length reaches differs by card: on MIFARE Classic a read or write ends with its sector, for the next
 * one takes another authentication; an NFC Forum type 2 tag gives four pages at a time and does not tell how many it
 * has; an ISO 15693 tag is one stretch of blocks. Everything is judged before anything is sent, so a refusal changes
 * nothing.
 */
#include <string.h>

#include "pseudo/decode.h"
#include "pseudo/job.h"

enum { BLOCK_MAX = 64, READ_MAX = 65536, PAGES_AT_ONCE = 4, PAGE = 4, TYPE2_MOST = 256 };

/* ---- card facts ------------------------------------------------------------------------------------------------- */

static enum result give(struct job *j, bool known, const void *p, size_t n)
{
    if (!known)
        return job_answer(j, SW_NOT_SUPPORTED);
    wbuf_bytes(&j->a->data, p, n);
    return job_answer(j, SW_DONE);
}

enum result run_get_data(struct job *j)
{
    const struct storage_facts *f = &j->facts;
    const uint8_t type[] = {f->ss, (uint8_t)(f->nn >> 8), (uint8_t)f->nn};

    switch (j->op->item) {
    case ITEM_UID:
        return give(j, f->uid_len > 0, f->uid, f->uid_len);
    case ITEM_ATS:
        return give(j, f->ats_len > 0, f->ats, f->ats_len);
    case ITEM_SAK:
        return give(j, f->sak_known, &f->sak, 1);
    case ITEM_ATQA:
        return give(j, f->atqa_known, f->atqa, sizeof f->atqa);
    case ITEM_CARD_TYPE:
        return give(j, f->kind != STORAGE_APDU && f->kind != STORAGE_NONE, type, sizeof type);
    }
    return job_answer(j, SW_NOT_SUPPORTED);
}

/* ---- authentication ------------------------------------------------------------------------------------------------
 */

static unsigned blocks_of_card(const struct job *j)
{
    return j->facts.block_count > 0 ? j->facts.block_count : MIFARE_BLOCKS_MAX;
}

/* Identiv's manuals load the keys of their examples as numbers 60 and 61 and authenticate with number 01. */
static bool find_key(const struct job *j, uint8_t key[STORAGE_KEY_SIZE])
{
    struct device *d = j->slot->device;

    return device_key(d, j->op->key_number, key) || (j->op->key_number == 1 && device_key(d, j->op->key_type, key));
}

enum result run_authenticate(struct job *j)
{
    uint8_t key[STORAGE_KEY_SIZE];
    enum result r;

    if (!find_key(j, key))
        return job_answer(j, SW_KEY_NUMBER);
    if (j->op->block >= blocks_of_card(j)) {
        explicit_bzero(key, sizeof key);
        return job_answer(j, SW_NO_BLOCK);
    }
    r = job_authenticate(j, j->op->block, j->op->key_type, key);
    explicit_bzero(key, sizeof key);
    if (r == R_SUCCESS)
        return job_answer(j, SW_DONE);
    if (r != R_CARD)
        return job_result(j, r);
    r = job_result(j, r);
    return r == R_SUCCESS ? job_answer(j, SW_AUTH_REFUSED) : r;
}

/* ---- reading -------------------------------------------------------------------------------------------------------
 */

/* The block behind the last one that a read or write from `block` on can reach; 0: not known. */
static unsigned end_of_reach(const struct job *j, unsigned block)
{
    switch (j->facts.kind) {
    case STORAGE_MIFARE:
        return block < blocks_of_card(j) ? mifare_trailer(block) + 1 : blocks_of_card(j);
    case STORAGE_ULTRALIGHT:
        return j->session->pages > 0 ? j->session->pages : j->facts.block_count;
    default:
        return j->facts.block_count;
    }
}

/* How many blocks a read wants: Le 00 is one block, or four pages. 0: no whole number of blocks, and *sw says which
 * length would do. */
static unsigned blocks_wanted(const struct job *j, uint16_t *sw)
{
    unsigned size = j->facts.block_size;
    size_t le = j->op->le;
    bool tag = j->facts.kind == STORAGE_ULTRALIGHT;

    if (le == (j->op->extended ? 65536U : 256U))
        return tag ? PAGES_AT_ONCE : 1;
    *sw = (uint16_t)(SW_EXACT_LE | size);
    if (le % size != 0)
        return 0;
    *sw = SW_EXACT_LE | PAGES_AT_ONCE * PAGE;
    return tag && le > PAGES_AT_ONCE * PAGE ? 0 : (unsigned)(le / size);
}

static uint16_t may_read(const struct job *j, unsigned first, unsigned count)
{
    uint16_t sw = DECODED;

    if (j->facts.kind != STORAGE_MIFARE)
        return DECODED;
    for (unsigned b = first; b < first + count && sw == DECODED; b++)
        sw = job_may(j, b, MIFARE_READ);
    return sw;
}

/* A type 2 tag that is read across its end begins again with page 0. Page 0 is known from the UID (three bytes and
 * their check byte), so the end shows in the data. How many of the four pages lie before it; 4: no end in sight. */
static unsigned pages_before_wrap(const struct job *j, const uint8_t *data)
{
    const uint8_t *u = j->facts.uid;
    const uint8_t page0[PAGE] = {u[0], u[1], u[2], (uint8_t)(0x88 ^ u[0] ^ u[1] ^ u[2])};
    unsigned n = PAGES_AT_ONCE;

    if (j->facts.uid_len == 7)
        for (n = 1; n < PAGES_AT_ONCE && memcmp(data + n * PAGE, page0, PAGE) != 0; n++)
            ;
    return n;
}

/* Is there such a page? A tag that refuses is selected again, for it stops listening. */
static enum result page_exists(struct job *j, unsigned page, bool *exists)
{
    uint8_t data[PAGES_AT_ONCE * PAGE];
    enum result r = page < TYPE2_MOST ? j->ops->read(j->reader, j->index, page, PAGES_AT_ONCE, data, j->until) : R_CARD;

    *exists = r == R_SUCCESS;
    if (r == R_CARD || r == R_NO_CARD)
        r = job_reselect(j);
    return r;
}

/* The end that the data shows is believed only if the page behind it does not exist: any page may hold a copy of page
 * 0. */
static enum result find_end(struct job *j, unsigned first, const uint8_t *data)
{
    unsigned n = pages_before_wrap(j, data);
    bool exists;
    enum result r;

    if (n == PAGES_AT_ONCE || end_of_reach(j, first) > 0)
        return R_SUCCESS;
    r = page_exists(j, first + n, &exists);
    if (r == R_SUCCESS && !exists)
        j->session->pages = first + n;
    return r;
}

/* A page was refused: because the tag ends before it? It does if its last page before is the last of all. */
static enum result judge_refusal(struct job *j, unsigned page)
{
    static const uint8_t sizes[] = {16, 20, 41, 44, 45, 48, 135, 231}; /* of the tags that there are */
    uint8_t data[PAGES_AT_ONCE * PAGE];
    enum result r = job_reselect(j);

    for (size_t i = 0; i < sizeof sizes && sizes[i] <= page && r == R_SUCCESS; i++) {
        r = j->ops->read(j->reader, j->index, sizes[i] - 1U, PAGES_AT_ONCE, data, j->until);
        if (r == R_SUCCESS && pages_before_wrap(j, data) == 1) {
            r = find_end(j, sizes[i] - 1U, data);
            if (r == R_SUCCESS && j->session->pages == sizes[i])
                return job_answer(j, SW_NO_BLOCK);
        }
    }
    return r == R_SUCCESS ? job_answer(j, SW_FAILED) : job_result(j, r);
}

static enum result read_pages(struct job *j, unsigned first, unsigned count)
{
    uint8_t data[PAGES_AT_ONCE * PAGE];
    enum result r = j->ops->read(j->reader, j->index, first, PAGES_AT_ONCE, data, j->until);
    unsigned end;

    if (r == R_CARD && end_of_reach(j, first) == 0)
        return judge_refusal(j, first);
    if (r == R_SUCCESS)
        r = find_end(j, first, data);
    if (r != R_SUCCESS)
        return job_result(j, r);
    end = end_of_reach(j, first);
    j->a->sw = SW_DONE;
    if (end > 0 && first + count > end) {
        count = end - first;
        j->a->sw = SW_END_OF_DATA;
    }
    wbuf_bytes(&j->a->data, data, (size_t)count * PAGE);
    return R_SUCCESS;
}

static enum result read_blocks(struct job *j, unsigned first, unsigned count)
{
    struct wbuf *w = &j->a->data;
    size_t n = (size_t)count * j->facts.block_size;
    enum result r;

    if (n > w->cap - w->len)
        return R_SPACE;
    r = j->ops->read(j->reader, j->index, first, count, w->data + w->len, j->until);
    if (r != R_SUCCESS)
        return job_result(j, r);
    w->len += n;
    return R_SUCCESS;
}

enum result run_read(struct job *j)
{
    unsigned first = j->op->block, end, count;
    uint16_t sw = SW_WRONG_CARD;

    if (j->facts.kind == STORAGE_VICINITY)
        return run_vicinity_read(j);
    if (!j->ops->read || j->facts.block_size == 0)
        return job_answer(j, j->ops->read ? sw : SW_NOT_SUPPORTED);
    count = blocks_wanted(j, &sw);
    if (count == 0)
        return job_answer(j, sw);
    end = end_of_reach(j, first);
    if ((end > 0 && first >= end) || first + count > READ_MAX)
        return job_answer(j, SW_NO_BLOCK);
    if (j->facts.kind == STORAGE_ULTRALIGHT)
        return read_pages(j, first, count);
    j->a->sw = SW_DONE;
    if (end > 0 && count > end - first) {
        count = end - first;
        j->a->sw = SW_END_OF_DATA;
    }
    sw = may_read(j, first, count);
    return sw == DECODED ? read_blocks(j, first, count) : job_answer(j, sw);
}

/* ---- writing -------------------------------------------------------------------------------------------------------
 */

/* How many of the blocks hold the data, from the first on. */
static enum result blocks_written(struct job *j, unsigned first, unsigned count, const uint8_t *data, unsigned *written)
{
    unsigned size = j->facts.block_size;
    uint8_t block[BLOCK_MAX];
    enum result r = R_SUCCESS;

    for (*written = 0; *written < count; ++*written) {
        /* a type 2 tag gives four pages whatever is asked */
        r = j->ops->read(j->reader, j->index, first + *written, j->facts.kind == STORAGE_ULTRALIGHT ? PAGES_AT_ONCE : 1,
                         block, j->until);
        if (r != R_SUCCESS || memcmp(block, data + (size_t)*written * size, size) != 0)
            break;
    }
    return r;
}

static enum result stopped_at(struct job *j, unsigned block, unsigned count, uint16_t sw)
{
    if (count > 1)
        wbuf_be16(&j->a->data, block);
    return job_answer(j, sw);
}

/* The answer was lost, the card still has its session: it is asked. */
static enum result settle_lost_write(struct job *j, unsigned first, unsigned count, const uint8_t *data)
{
    unsigned written;
    enum result r = blocks_written(j, first, count, data, &written);

    if (r == R_SUCCESS && written == count)
        return job_answer(j, SW_DONE);
    log_fault(&j->slot->device->log, "write of block %u: not confirmed, its answer was lost", first + written);
    if (r != R_SUCCESS && (r = job_result(j, r)) != R_SUCCESS)
        return r;
    return stopped_at(j, first + written, count, SW_NOT_CONFIRMED);
}

/* The card refused, at which block is not known; or it wrote, and only its acknowledgement was spoilt. So it is asked. */
static enum result settle_refused_write(struct job *j, unsigned first, unsigned count, const uint8_t *data)
{
    unsigned written = 0;
    enum result r;

    r = j->facts.kind == STORAGE_MIFARE ? job_recover(j, first) : job_reselect(j);
    if (r == R_SUCCESS)
        r = blocks_written(j, first, count, data, &written);
    job_forget_authentication(j);
    if (r != R_SUCCESS) {
        log_fault(&j->slot->device->log, "write of block %u: not confirmed", first + written);
        if ((r = job_result(j, r)) != R_SUCCESS)
            return r;
        return stopped_at(j, first + written, count, SW_NOT_CONFIRMED);
    }
    if (written == count)
        return job_answer(j, SW_DONE);
    return written == 0 ? job_answer(j, SW_FAILED) : stopped_at(j, first + written, count, SW_FAILED);
}

static enum result write_blocks(struct job *j, unsigned first, unsigned count, const uint8_t *data)
{
    enum result r = j->ops->write(j->reader, j->index, first, count, data, j->until);

    if (r == R_SUCCESS)
        return job_answer(j, SW_DONE);
    if (r == R_CARD)
        return settle_refused_write(j, first, count, data);
    if (r == R_TIMEOUT || r == R_COMM)
        return settle_lost_write(j, first, count, data);
    return job_result(j, r);
}

/* Key A reads as zeros and key B mostly too, so a trailer cannot be compared with what was written. But whether the key
 * that is in use now is the new one, the card tells by accepting it, and the access bytes are readable. A trailer is
 * written in one go: if either of them differs from before and is as it should be, all of it was written. */
static bool trailer_proven(struct job *j, const uint8_t old_key[STORAGE_KEY_SIZE], const uint8_t old_access[3],
                           const uint8_t *data, const uint8_t *key)
{
    return memcmp(j->session->auth.access, data + MIFARE_ACCESS_AT, 3) == 0 &&
           (memcmp(old_access, data + MIFARE_ACCESS_AT, 3) != 0 || memcmp(old_key, key, STORAGE_KEY_SIZE) != 0);
}

static const uint8_t *key_of_trailer(const uint8_t *data, uint8_t key_type)
{
    return data + (key_type == 0x60 ? 0 : MIFARE_BLOCK_SIZE - STORAGE_KEY_SIZE);
}

/* The sector has new keys now: the client goes on with the one of the same type, which it has just written. */
static enum result settle_trailer(struct job *j, unsigned block, const uint8_t *data, bool lost)
{
    uint8_t key_type = j->session->auth.key_type;
    const uint8_t *key = key_of_trailer(data, key_type);
    uint8_t old_key[STORAGE_KEY_SIZE], old_access[3];
    bool proven;
    enum result r;

    memcpy(old_key, j->session->auth.key, sizeof old_key);
    memcpy(old_access, j->session->auth.access, sizeof old_access);
    r = job_authenticate(j, block, key_type, key);
    proven = r == R_SUCCESS && trailer_proven(j, old_key, old_access, data, key);
    explicit_bzero(old_key, sizeof old_key);
    if (lost && !proven)
        log_fault(&j->slot->device->log, "write of trailer %u: not confirmed, its answer was lost", block);
    if (r != R_SUCCESS && (r = job_result(j, r)) != R_SUCCESS)
        return r;
    return job_answer(j, lost && !proven ? SW_NOT_CONFIRMED : SW_DONE);
}

/* The card refused, or it wrote, and only its acknowledgement was spoilt. While the card takes the old key and shows the
 * old access bytes, and not both are the new ones, too, it has not written. */
static enum result settle_refused_trailer(struct job *j, unsigned block, const uint8_t *data)
{
    uint8_t key_type = j->session->auth.key_type, old_access[3];
    const uint8_t *key = key_of_trailer(data, key_type);
    bool same_key = memcmp(j->session->auth.key, key, STORAGE_KEY_SIZE) == 0;
    uint16_t sw = SW_NOT_CONFIRMED;
    enum result r;

    memcpy(old_access, j->session->auth.access, sizeof old_access);
    r = job_recover(j, block);
    if (r == R_SUCCESS) {
        bool changes = memcmp(old_access, data + MIFARE_ACCESS_AT, sizeof old_access) != 0;
        bool changed = memcmp(old_access, j->session->auth.access, sizeof old_access) != 0;

        if (!changed && (!same_key || changes))
            sw = SW_FAILED;
        else if (changed && same_key)
            sw = SW_DONE;
    } else if (r == R_CARD && !same_key) { /* the old key is refused */
        r = job_reselect(j);
        if (r == R_SUCCESS)
            r = job_authenticate(j, block, key_type, key);
        if (r == R_SUCCESS)
            sw = SW_DONE;
    }
    job_forget_authentication(j);
    if (sw == SW_NOT_CONFIRMED)
        log_fault(&j->slot->device->log, "write of trailer %u: not confirmed", block);
    if (r != R_SUCCESS && (r = job_result(j, r)) != R_SUCCESS)
        return r;
    return job_answer(j, sw);
}

static enum result write_trailer(struct job *j, unsigned block, const uint8_t *data)
{
    enum result r;

    if (!job_authenticated(j, block))
        return job_answer(j, SW_SECURITY);
    if (!mifare_access_valid(data + MIFARE_ACCESS_AT))
        return job_answer(j, SW_WRONG_DATA);
    r = j->ops->write(j->reader, j->index, block, 1, data, j->until);
    if (r == R_SUCCESS || r == R_TIMEOUT || r == R_COMM)
        return settle_trailer(j, block, data, r != R_SUCCESS);
    return r == R_CARD ? settle_refused_trailer(j, block, data) : job_result(j, r);
}

static enum result write_mifare(struct job *j, unsigned first, unsigned count, const uint8_t *data)
{
    uint16_t sw = DECODED;

    if (first >= blocks_of_card(j))
        return job_answer(j, SW_NO_BLOCK);
    if (count == 1 && mifare_is_trailer(first))
        return write_trailer(j, first, data);
    if (count > mifare_trailer(first) - first)
        return job_answer(j, SW_NOT_ALLOWED); /* it would touch a trailer, and perhaps another sector */
    for (unsigned b = first; b < first + count && sw == DECODED; b++)
        sw = job_may(j, b, MIFARE_WRITE);
    return sw == DECODED ? write_blocks(j, first, count, data) : job_answer(j, sw);
}

enum result run_write(struct job *j)
{
    unsigned first = j->op->block, size = j->facts.block_size, end = end_of_reach(j, first);
    size_t n = j->op->data_len;

    if (j->facts.kind == STORAGE_VICINITY)
        return run_vicinity_write(j);
    if (!j->ops->write || size == 0 || size > BLOCK_MAX)
        return job_answer(j, j->ops->write ? SW_WRONG_CARD : SW_NOT_SUPPORTED);
    if (n % size != 0)
        return job_answer(j, SW_LENGTH);
    if (j->facts.kind == STORAGE_MIFARE)
        return write_mifare(j, first, (unsigned)(n / size), j->op->data);
    if (j->facts.kind == STORAGE_ULTRALIGHT) { /* 16 bytes: the compatibility write, of which four are written */
        if (n != PAGE && n != PAGES_AT_ONCE * PAGE)
            return job_answer(j, SW_LENGTH);
        n = PAGE;
    }
    if (end > 0 && (first >= end || n / size > end - first))
        return job_answer(j, SW_NO_BLOCK);
    return write_blocks(j, first, (unsigned)(n / size), j->op->data);
}
