/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the T=1 engine with an arbitrary card: the input says, block by block, what the card answers (well-formed
 * blocks of any kind, raw bytes, silence, fatal results). When the input is used up the card repeats one kind of answer
 * for ever, under no deadline: the engine must come to an end by its own bounds.
 *
 * A checker of its own watches what the engine sends and knows what the card has said:
 *   - every block sent is well formed;
 *   - I-blocks carry the command in order, cut by IFSC; one leaves a second time only right after an R-block that asks
 *     for it, and none after a resynchronisation;
 *   - the response is what was in the card's I-blocks, each once (checked with LRC, where there is no form of the EDC
 * to be learnt); nothing is written past its buffer (it is exactly as large).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "card/apdu.h"
#include "card/t1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { APDU_MAX = 600, RESPONSE_MAX = 700, EXCHANGES_MAX = 2000000, FORMS = 4 };

struct card {
    const uint8_t *in;
    size_t left;
    uint8_t endless; /* what is said when the input is used up */
    bool crc;
    unsigned form; /* of the CRC that the card writes */
    /* the checker */
    const uint8_t *apdu;
    size_t n, offset, chunk; /* chunk bytes at offset are in flight */
    bool started, resynched, fatal;
    unsigned ns, repeats, turn;
    uint8_t answer[T1_BLOCK_MAX];
    size_t answer_len; /* 0: no valid block was the last answer */
    unsigned long exchanges;
    unsigned nr;     /* N(S) of the card's next I-block */
    size_t said_len; /* bytes of said[] */
};

static uint8_t said[RAPDU_MAX + 254]; /* not in struct card: that is cleared for each input */

static void check(int ok)
{
    if (!ok)
        abort();
}

static uint8_t next(struct card *c)
{
    if (c->left == 0)
        return 0;
    c->left--;
    return *c->in++;
}

static size_t edc(const struct card *c, unsigned form, const uint8_t *p, size_t n, uint8_t out[2])
{
    unsigned crc;

    if (!c->crc) {
        out[0] = xor_sum(p, n);
        return 1;
    }
    crc = crc16_x25(p, n) ^ (form & 1 ? 0xFFFFu : 0);
    out[form & 2 ? 1 : 0] = (uint8_t)(crc & 0xFF);
    out[form & 2 ? 0 : 1] = (uint8_t)(crc >> 8);
    return 2;
}

static bool edc_in_any_form(const struct card *c, const uint8_t *p, size_t n, size_t len)
{
    for (unsigned form = 0; form < FORMS; form++) {
        uint8_t want[2];

        if (len == n + edc(c, form, p, n, want) && memcmp(want, p + n, len - n) == 0)
            return true;
    }
    return false;
}

/* The last answer was a valid R-block: 1 if it asks for N(S) ns, 0 if for the other, -1 if it was none. */
static int asked(const struct card *c, unsigned ns)
{
    unsigned pcb;

    if (c->answer_len == 0)
        return -1;
    pcb = c->answer[1];
    if ((pcb & 0xE0) != 0x80 || (pcb & 0x0F) > 2 || c->answer[2] != 0)
        return -1;
    return (pcb >> 4 & 1) == ns;
}

static void check_i(struct card *c, const uint8_t *block)
{
    unsigned ns = block[1] >> 6 & 1;
    bool more = block[1] & 0x20;

    check((block[1] & 0x1F) == 0 && block[2] > 0 && !c->resynched);
    if (c->started && asked(c, c->ns) == 1) {
        check(ns == c->ns && ++c->repeats < T1_TRIES);
    } else if (c->started) { /* the one before was acknowledged, and it was not the last */
        check(asked(c, c->ns) == 0 && ns != c->ns);
        c->offset += c->chunk;
        c->repeats = 0;
    }
    c->started = true;
    c->ns = ns;
    c->chunk = block[2];
    check(c->offset + c->chunk <= c->n && more == (c->offset + c->chunk < c->n));
    check(memcmp(block + 3, c->apdu + c->offset, c->chunk) == 0);
}

static void check_sent(struct card *c, const uint8_t *block, size_t n)
{
    check(!c->fatal && ++c->exchanges < EXCHANGES_MAX);
    check(n >= 4 && n <= T1_BLOCK_MAX && block[0] == 0 && block[2] <= 254);
    check(n == 3u + block[2] + (c->crc ? 2 : 1));
    check(edc_in_any_form(c, block, 3u + block[2], n));
    if (block[1] < 0x80) {
        check_i(c, block);
        return;
    }
    switch (block[1]) {
    case 0xC0: /* S(RESYNCH request) */
        check(block[2] == 0);
        c->resynched = c->started;
        return;
    case 0xC1: /* S(IFS request) */
        check(block[2] == 1 && block[3] == T1_IFSD && !c->started);
        return;
    case 0xE1: /* responses: to what the card asked for, with the same value */
    case 0xE2:
    case 0xE3:
        check(c->answer_len > 0 && c->answer[1] == (block[1] & ~0x20u) && c->answer[2] == block[2]);
        check(memcmp(c->answer + 3, block + 3, block[2]) == 0);
        return;
    default:
        check((block[1] & 0xEC) == 0x80 && (block[1] & 3) <= 2 && block[2] == 0 && c->started && !c->resynched);
    }
}

static size_t put(struct card *c, uint8_t *out, unsigned pcb, size_t len, bool from_input)
{
    out[0] = 0;
    out[1] = (uint8_t)pcb;
    out[2] = (uint8_t)len;
    for (size_t i = 0; i < len; i++)
        out[3 + i] = from_input ? next(c) : (uint8_t)(i + 1);
    return 3 + len + edc(c, c->form, out, 3 + len, out + 3 + len);
}

/* One kind of answer without end. */
static enum result say_for_ever(struct card *c, const uint8_t *block, uint8_t *out, size_t *n)
{
    c->turn ^= 1;
    switch (c->endless % 12) {
    case 0:
        return R_TIMEOUT;
    case 1:
        *n = put(c, out, 0xC3, 1, false);
        return R_SUCCESS;
    case 2:
        *n = put(c, out, 0xC1, 1, false);
        return R_SUCCESS;
    case 3: /* asks for whatever comes */
        *n = put(c, out, 0x80 | (block[1] & 0x40u) >> 2, 0, false);
        return R_SUCCESS;
    case 4: /* acknowledges whatever comes */
        *n = put(c, out, 0x90 ^ (block[1] & 0x40u) >> 2, 0, false);
        return R_SUCCESS;
    case 5: /* a chain */
    case 6: /* … of empty blocks */
        *n = put(c, out, 0x20u | (block[1] & 0x10u) << 2, c->endless % 12 == 5 ? 200 : 0, false);
        return R_SUCCESS;
    case 7: /* the same I-block */
        *n = put(c, out, 0x20, 2, false);
        return R_SUCCESS;
    case 8: /* answers S-blocks, nothing else */
        if (block[1] < 0xC0)
            return R_COMM;
        *n = put(c, out, block[1] | 0x20, block[2], false);
        memcpy(out + 3, block + 3, block[2]);
        edc(c, c->form, out, 3u + block[2], out + 3 + block[2]);
        return R_SUCCESS;
    case 9: /* WTX and requests for repetition in turn */
        *n = put(c, out, c->turn ? 0xC3 : 0x80 | c->ns << 4, c->turn ? 1 : 0, false);
        return R_SUCCESS;
    case 10: /* R-blocks in turn */
        *n = put(c, out, c->turn ? 0x80 : 0x90, 0, false);
        return R_SUCCESS;
    default: /* a whole answer to all */
        *n = put(c, out, block[1] & 0x40, 2, false);
        return R_SUCCESS;
    }
}

static enum result say(struct card *c, const uint8_t *block, uint8_t *out, size_t *n)
{
    unsigned what = next(c);

    switch (what % 16) {
    case 0:
        return R_TIMEOUT;
    case 1:
        return R_COMM;
    case 2: /* rare enough to let most inputs go on */
        if (what != 2)
            return R_SUCCESS;
        c->fatal = true;
        return R_GONE;
    case 3: /* raw bytes */
        *n = next(c);
        for (size_t i = 0; i < *n; i++)
            out[i] = next(c);
        return R_SUCCESS;
    case 4: /* more than there is room for */
        *n = T1_BLOCK_MAX + 1 + (what >> 4);
        return R_SUCCESS;
    case 5: /* well-formed, anything */
    case 6: {
        unsigned pcb = next(c), len = next(c);

        *n = put(c, out, pcb, len % 255, true);
        return R_SUCCESS;
    }
    case 7: /* the right acknowledgement or response: lets the input get far */
    case 8:
        *n = put(c, out, 0x80 | (c->ns ^ 1) << 4, 0, false);
        return R_SUCCESS;
    case 9:
        *n = put(c, out, 0x80 | c->ns << 4 | (what >> 4 & 1), 0, false);
        return R_SUCCESS;
    case 10:
    case 11:
        *n = put(c, out, (what & 0x20) | (what & 0x40), next(c) % 255, true);
        return R_SUCCESS;
    case 12:
        *n = put(c, out, 0xC1 + (what >> 4) % 3, (what >> 4) % 3 == 1 ? 0 : 1, true);
        return R_SUCCESS;
    case 13: /* the answer to an S-block */
    default:
        if (block[1] < 0xC0) {
            *n = put(c, out, (block[1] & 0x10u) << 2 | (what & 0x20), next(c) % 255, true);
            return R_SUCCESS;
        }
        *n = put(c, out, block[1] | 0x20, block[2], false);
        memcpy(out + 3, block + 3, block[2]);
        edc(c, c->form, out, 3u + block[2], out + 3 + block[2]);
        return R_SUCCESS;
    }
}

/* Notes what a valid answer to block brings: data, or the state after reset. */
static void note_answer(struct card *c, const uint8_t *block)
{
    const uint8_t *a = c->answer;

    if (block[1] == 0xC0 && a[1] == 0xE0 && a[2] == 0)
        c->nr = 0;
    if (block[1] >= 0xC0 && (block[1] & 0x20) == 0)
        return;
    if (a[1] >= 0x80 || a[1] & 0x1F || (a[1] >> 6 & 1) != (uint8_t)c->nr)
        return;
    if (!c->started || block[1] == 0xE2 || c->offset + c->chunk < c->n)
        return;
    c->nr ^= 1;
    check(c->said_len + a[2] <= sizeof said);
    memcpy(said + c->said_len, a + 3, a[2]);
    c->said_len += a[2];
}

static enum result exchange(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap, size_t *got,
                            unsigned wtx, deadline_t until)
{
    struct card *c = arg;
    uint8_t out[300];
    size_t len = 0;
    enum result r;

    (void)until;
    check_sent(c, block, n);
    check(wtx == (block[1] == 0xE3 ? block[3] : 1u) && cap == T1_BLOCK_MAX);
    r = c->left > 0 ? say(c, block, out, &len) : say_for_ever(c, block, out, &len);
    c->answer_len = 0;
    *got = len;
    if (r != R_SUCCESS || len > cap)
        return r;
    memcpy(answer, out, len);
    if (len >= 4 && out[0] == 0 && out[2] != 0xFF && len == 3u + out[2] + (c->crc ? 2 : 1) &&
        edc_in_any_form(c, out, 3u + out[2], len)) {
        memcpy(c->answer, out, len);
        c->answer_len = len;
        note_answer(c, block);
    }
    return r;
}

static void one_apdu(struct card *c, struct t1 *t)
{
    size_t cap = next(c) * (size_t)next(c) % RESPONSE_MAX, len = 12345;
    uint8_t *apdu, *response = malloc(cap > 0 ? cap : 1);
    bool was_dead = t->dead;
    enum result r;

    c->n = 1 + ((size_t)next(c) << 8 | next(c)) % APDU_MAX;
    apdu = malloc(c->n);
    if (!apdu || !response)
        abort();
    for (size_t i = 0; i < c->n; i++)
        apdu[i] = (uint8_t)(i * 31 + c->n);
    c->apdu = apdu;
    c->offset = c->chunk = c->answer_len = 0;
    c->repeats = 0;
    c->said_len = 0;
    c->exchanges = 0;
    c->started = c->resynched = c->fatal = false;
    r = t1_transmit(t, apdu, c->n, response, cap, &len, DEADLINE_NEVER);
    if (!c->crc && r == R_SUCCESS)
        check(len == c->said_len && memcmp(response, said, len) == 0);
    if (!c->crc && r == R_SPACE)
        check(c->said_len > cap);
    if (!c->crc && r == R_COMM && c->started && !c->resynched)
        check(c->said_len < 2); /* the one failure after which card and engine are still in step */
    check(len <= cap && (r == R_SUCCESS ? len >= 2 : len == 0));
    check(r != R_SUCCESS || (c->started && !c->resynched && c->offset + c->chunk == c->n));
    check(!was_dead || (c->exchanges == 0 && r == R_COMM));
    check(r == R_SUCCESS || r == R_COMM || r == R_TIMEOUT || r == R_SPACE || (r == R_GONE && c->fatal));
    free(apdu);
    free(response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct card c;
    struct atr_info atr = {0};
    struct t1 t;
    unsigned flags;

    if (size < 4)
        return 0;
    c = (struct card){.in = data, .left = size};
    flags = next(&c);
    c.crc = atr.t1_crc = flags & 1;
    c.form = flags >> 1 & 3;
    c.endless = next(&c);
    atr.t1_ifsc = next(&c);
    t1_reset(&t, &atr, exchange, &c);
    t.ifsd_done = (flags & 8) && !c.crc;
    for (unsigned i = 0; i < 3; i++)
        one_apdu(&c, &t);
    return 0;
}
