/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The T=1 engine. Three layers:
 *
 *   blocks   build() writes a block into t->tx, read_block() judges what is in t->rx: a block is either wholly well
 *            formed (NAD, PCB, LEN, INF and EDC all as ISO/IEC 7816-3, 11.3 wants them) or it is invalid; nothing of an
 *            invalid block but the kind of its fault is ever looked at.
 *   talk()   one block out, one answer in: the only place that calls exchange and looks at the deadline.
 *   run()    one APDU: what came back decides which block goes out next. Each on_…() leaves that block in t->tx.
 *
 * Why it ends. Every turn of run() is one exchange, and each kind of answer that moves no data has a counter that only
 * progress (a block of ours acknowledged, data of the card's received) sets back: invalid answers and fruitless
 * R-blocks `invalid`, repetitions asked of us `asked`, WTX `wtx`, other S-blocks and empty chained blocks `idle`.
 * (`invalid` counts those in a row, so a repetition or a WTX sets it back too; these have their own bounds.) Progress
 * itself is bounded by the length of the command and by RAPDU_MAX. The deadline bounds all of it once more.
 *
 * Why it is at most once. build_i() is called in three places: for the first block, when the block before it was
 * acknowledged (a new block), and in on_r() for a card that asks for this very block and has not yet shown to have it.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* explicit_bzero */
#endif
#include "card/t1.h"

#include <string.h>

#include "base/checksum.h"
#include "card/apdu.h"

enum { IFS_DEFAULT = 32, IFS_MAX = 254, HEADER = 3 };

enum pcb {
    I_NS = 0x40,
    I_MORE = 0x20,
    I_RESERVED = 0x1F,
    R_BLOCK = 0x80,
    R_NR = 0x10,
    R_ERROR_MASK = 0x0F,
    R_NO_ERROR = 0,
    R_EDC_ERROR = 1,
    R_OTHER_ERROR = 2,
    S_RESYNCH = 0xC0,
    S_IFS = 0xC1,
    S_ABORT = 0xC2,
    S_WTX = 0xC3,
    S_RESPONSE = 0x20
};

/* What is borne between two pieces of progress. A slow card may ask for WTX many times a second for as long as the
 * caller waits; of the other S-blocks no sane card needs more than one or two. */
enum { WTX_MAX = 4096, IDLE_MAX = 16 };

static const int64_t CHAINED_BLOCK_NS = CLOCK_NS_PER_S; /* what a chained block that moved data adds to the deadline */

/* The forms of the CRC, the likeliest first; see t1.h. */
static const struct crc_form {
    bool complement, high_first;
} crc_forms[] = {{true, false}, {false, true}, {true, true}, {false, false}};
enum { CRC_FORMS = sizeof crc_forms / sizeof crc_forms[0] };

enum kind { BLOCK_INVALID, BLOCK_I, BLOCK_R, BLOCK_REQUEST, BLOCK_RESPONSE };

/* A received block; inf points into t->rx. */
struct block {
    enum kind kind;
    uint8_t pcb;
    uint8_t seq; /* N(S) of an I-block, N(R) of an R-block */
    bool more;
    const uint8_t *inf;
    size_t len;
    enum pcb error;  /* what an R-block says of it when it brings nothing */
    enum result why; /* what it makes of the APDU then, when it was one too many */
    bool silent;     /* nothing came at all */
};

/* One APDU under way. */
struct job {
    const uint8_t *apdu; /* what the card has not acknowledged, left bytes; the first chunk of them is in flight */
    size_t left, chunk;
    bool sending; /* false once the card has begun to respond */
    bool taken;   /* the card has shown that it has the block in flight: it may not ask for it any more */
    uint8_t *response;
    size_t cap, total; /* total counts what does not fit, too */
    unsigned invalid, asked, wtx, idle;
    enum result why;
    deadline_t until;
};

enum step { STEP_NEXT, STEP_DONE, STEP_GIVE_UP };

/* ---- blocks ----------------------------------------------------------------------------------------------- */

static size_t edc_len(const struct t1 *t)
{
    return t->crc ? 2 : 1;
}

/* The EDC of the n bytes at p, written behind them by the caller. */
static void compute_edc(const struct t1 *t, size_t form, const uint8_t *p, size_t n, uint8_t edc[2])
{
    unsigned crc;

    if (!t->crc) {
        edc[0] = xor_sum(p, n);
        return;
    }
    crc = crc16_x25(p, n);
    if (!crc_forms[form].complement)
        crc ^= 0xFFFF;
    edc[0] = (uint8_t)(crc_forms[form].high_first ? crc >> 8 : crc & 0xFF);
    edc[1] = (uint8_t)(crc_forms[form].high_first ? crc & 0xFF : crc >> 8);
}

static void build(struct t1 *t, unsigned pcb, const uint8_t *inf, size_t n)
{
    t->tx[0] = 0x00; /* NAD */
    t->tx[1] = (uint8_t)pcb;
    t->tx[2] = (uint8_t)n;
    if (n > 0)
        memcpy(t->tx + HEADER, inf, n);
    compute_edc(t, t->crc_form, t->tx, HEADER + n, t->tx + HEADER + n);
    t->tx_len = HEADER + n + edc_len(t);
}

/* The block in flight, cut anew each time: a card that found it too long may have lowered IFSC before it asks again. */
static void build_i(struct t1 *t, struct job *j)
{
    bool more = j->left > t->ifsc;

    j->chunk = more ? t->ifsc : j->left;
    build(t, (t->ns ? (unsigned)I_NS : 0) | (more ? (unsigned)I_MORE : 0), j->apdu, j->chunk);
}

static void build_r(struct t1 *t, enum pcb error)
{
    build(t, R_BLOCK | (t->nr ? (unsigned)R_NR : 0) | error, NULL, 0);
}

static bool edc_matches(const struct t1 *t, size_t form, size_t body)
{
    uint8_t edc[2];

    compute_edc(t, form, t->rx, body, edc);
    return memcmp(edc, t->rx + body, edc_len(t)) == 0;
}

/* Checks the EDC behind the body. While the form is open any form will do, and the one that fits is adopted unless two
 * fit (some contents have such a CRC). */
static bool check_edc(struct t1 *t, size_t body)
{
    size_t form, fits = 0, last = 0;

    if (t->edc_known)
        return edc_matches(t, t->crc_form, body);
    for (form = 0; form < CRC_FORMS; form++) {
        if (!edc_matches(t, form, body))
            continue;
        fits++;
        last = form;
    }
    if (fits == 1) {
        t->crc_form = (uint8_t)last;
        t->edc_known = true;
    }
    return fits > 0;
}

/* The kind of an S-block, BLOCK_INVALID for one that the card may not send. S(RESYNCH request) is the interface
 * device's privilege (11.6.3.2); IFS 00 and FF and a multiplier of 0 are no values. */
static enum kind s_kind(const struct block *b)
{
    enum kind kind = b->pcb & S_RESPONSE ? BLOCK_RESPONSE : BLOCK_REQUEST;

    switch (b->pcb & ~(unsigned)S_RESPONSE) {
    case S_RESYNCH:
        return b->len == 0 && kind == BLOCK_RESPONSE ? kind : BLOCK_INVALID;
    case S_ABORT:
        return b->len == 0 ? kind : BLOCK_INVALID;
    case S_IFS:
        return b->len == 1 && b->inf[0] != 0x00 && b->inf[0] != 0xFF ? kind : BLOCK_INVALID;
    case S_WTX:
        return b->len == 1 && b->inf[0] != 0x00 ? kind : BLOCK_INVALID;
    default:
        return BLOCK_INVALID;
    }
}

static enum kind block_kind(const struct block *b)
{
    unsigned error = b->pcb & R_ERROR_MASK;

    if ((b->pcb & 0x80) == 0)
        return b->pcb & I_RESERVED ? BLOCK_INVALID : BLOCK_I;
    if ((b->pcb & 0xC0) == 0xC0)
        return s_kind(b);
    return b->len == 0 && (b->pcb & 0x20) == 0 && error <= R_OTHER_ERROR ? BLOCK_R : BLOCK_INVALID;
}

/* Judges the n bytes in t->rx. IFSD is not enforced: a card whose S(IFS response) was lost on the way is right to send
 * more than the 32 that we then believe in. */
static void read_block(struct t1 *t, size_t n, struct block *b)
{
    *b = (struct block){.kind = BLOCK_INVALID, .error = R_OTHER_ERROR, .why = R_COMM};
    if (n < HEADER + edc_len(t) || t->rx[2] > IFS_MAX || n != HEADER + t->rx[2] + edc_len(t))
        return;
    if (!check_edc(t, n - edc_len(t))) {
        b->error = R_EDC_ERROR;
        return;
    }
    if (t->rx[0] != 0x00)
        return;
    b->pcb = t->rx[1];
    b->inf = t->rx + HEADER;
    b->len = t->rx[2];
    b->kind = block_kind(b);
    if (b->kind == BLOCK_I) {
        b->seq = b->pcb & I_NS ? 1 : 0;
        b->more = b->pcb & I_MORE;
    } else if (b->kind == BLOCK_R) {
        b->seq = b->pcb & R_NR ? 1 : 0;
    }
}

/* ---- one exchange ----------------------------------------------------------------------------------------- */

/* Sends t->tx and judges the answer. R_SUCCESS with a block that may be BLOCK_INVALID; anything else ends the APDU at
 * once and leaves the card in a state that we do not know. */
static enum result talk(struct t1 *t, unsigned wtx, deadline_t until, struct block *b)
{
    size_t got = 0;
    enum result r;

    if (deadline_passed(until)) {
        t->lost = true;
        return R_TIMEOUT;
    }
    r = t->exchange(t->arg, t->tx, t->tx_len, t->rx, sizeof t->rx, &got, wtx, until);
    if (r == R_SUCCESS && got <= sizeof t->rx) {
        read_block(t, got, b);
        b->silent = got == 0;
    } else if (r == R_SUCCESS || r == R_TIMEOUT || r == R_COMM) {
        *b = (struct block){.kind = BLOCK_INVALID, .error = R_OTHER_ERROR, .why = r == R_TIMEOUT ? r : R_COMM};
        b->silent = r == R_TIMEOUT;
    } else {
        t->lost = true;
        return r;
    }
    if (b->kind == BLOCK_INVALID && !t->edc_known)
        t->crc_form = (uint8_t)((t->crc_form + 1u) % CRC_FORMS);
    return R_SUCCESS;
}

/* Answers an S-block request of the card's: the same type and value (11.4.2). Returns what the wait after it is to be
 * multiplied by. */
static unsigned answer_request(struct t1 *t, const struct block *b)
{
    uint8_t value = b->len > 0 ? b->inf[0] : 0;

    if (b->pcb == S_IFS)
        t->ifsc = value;
    build(t, b->pcb | (unsigned)S_RESPONSE, &value, b->len);
    return b->pcb == S_WTX ? value : 1;
}

/* Brings the card back to the state after its reset. No answer in T1_TRIES: it is dead. When the time runs out before,
 * the next APDU tries again with its own time, and if that does not do either the card is dead, too. Returns R_SUCCESS,
 * the fatal result of exchange, R_COMM for a dead card or R_TIMEOUT. */
static enum result resync(struct t1 *t, deadline_t until)
{
    bool second = t->lost;
    unsigned i;

    for (i = 0; i < T1_TRIES; i++) {
        struct block b;
        enum result r;

        build(t, S_RESYNCH, NULL, 0);
        r = talk(t, 1, until, &b);
        if (r != R_SUCCESS) {
            t->dead = second && r == R_TIMEOUT && i > 0;
            return r;
        }
        if (b.kind == BLOCK_RESPONSE && b.pcb == (S_RESYNCH | S_RESPONSE)) {
            t->ns = t->nr = 0;
            t->ifsd = IFS_DEFAULT; /* the initial values again, but for an IFSC that the card lowered: that is safe */
            if (t->ifsc > t->ifsc_of_atr)
                t->ifsc = t->ifsc_of_atr;
            t->ifsd_done = false;
            t->lost = false;
            return R_SUCCESS;
        }
    }
    t->dead = true;
    return R_COMM;
}

/* ---- before the first APDU -------------------------------------------------------------------------------- */

/* One S(IFS 254) and its answer; a request that the card puts first is answered, and what follows is taken for the
 * answer. */
static enum result ask_ifsd(struct t1 *t, deadline_t until, struct block *b)
{
    uint8_t ifsd = T1_IFSD;
    unsigned wtx = 1, requests;
    enum result r;

    build(t, S_IFS, &ifsd, 1);
    r = talk(t, wtx, until, b);
    for (requests = 0; r == R_SUCCESS && b->kind == BLOCK_REQUEST && requests < IDLE_MAX; requests++) {
        wtx = answer_request(t, b);
        r = talk(t, wtx, until, b);
    }
    return r;
}

/* Tells the card how much we take. Whatever it says to that but yes leaves 32. Only a card that says nothing at all
 * (or, with CRC, nothing that is valid in any form) has to show by S(RESYNCH) that it is alive. */
static enum result negotiate_ifsd(struct t1 *t, deadline_t until)
{
    unsigned tries = t->edc_known ? (unsigned)T1_TRIES : (unsigned)CRC_FORMS;
    bool heard = false;
    enum result r;

    t->ifsd_done = true;
    while (tries-- > 0) {
        bool known = t->edc_known;
        struct block b;

        r = ask_ifsd(t, until, &b);
        if (r != R_SUCCESS)
            return r;
        if (b.kind == BLOCK_RESPONSE && b.pcb == (S_IFS | S_RESPONSE)) {
            if (b.inf[0] == T1_IFSD)
                t->ifsd = T1_IFSD;
            if (t->edc_known)
                return R_SUCCESS;
        }
        heard = heard || !b.silent;
        if (t->edc_known && !known)
            tries = T1_TRIES; /* it answers in a form of its own: what went before was not understood */
    }
    if (heard && t->edc_known)
        return R_SUCCESS;
    r = resync(t, until);
    t->ifsd_done = true;
    return r; /* success means that the form is known, too: the CRC of S(RESYNCH response) fits no two */
}

/* ---- one APDU --------------------------------------------------------------------------------------------- */

static void progress(struct job *j)
{
    j->invalid = j->asked = j->wtx = j->idle = 0;
    if (j->until < DEADLINE_NEVER - CHAINED_BLOCK_NS)
        j->until += CHAINED_BLOCK_NS;
}

/* An answer that brings nothing: ask for the block that we expect (11.6.3.2, rules 7.1 and 7.2). */
static enum step on_invalid(struct t1 *t, struct job *j, enum pcb error, enum result why)
{
    j->why = why;
    if (++j->invalid >= T1_TRIES)
        return STEP_GIVE_UP;
    build_r(t, error);
    return STEP_NEXT;
}

static void take_inf(struct job *j, const struct block *b)
{
    if (b->len > 0 && j->total + b->len <= j->cap)
        memcpy(j->response + j->total, b->inf, b->len);
    j->total += b->len;
}

static enum step on_i(struct t1 *t, struct job *j, const struct block *b)
{
    /* A repetition of what we have, or an answer to a command that is not complete. */
    if (b->seq != t->nr || (j->sending && j->chunk < j->left))
        return on_invalid(t, j, R_OTHER_ERROR, R_COMM);
    if (j->sending) {
        j->sending = false; /* its I-block acknowledges our last one */
        t->ns ^= 1;
    }
    t->nr ^= 1;
    j->invalid = 0;
    take_inf(j, b);
    if (j->total > RAPDU_MAX)
        return STEP_GIVE_UP;
    if (!b->more)
        return STEP_DONE;
    if (b->len > 0)
        progress(j);
    else if (++j->idle > IDLE_MAX)
        return STEP_GIVE_UP;
    build_r(t, R_NO_ERROR);
    return STEP_NEXT;
}

/* The card's error code does not matter: N(R) says which block it waits for. */
static enum step on_r(struct t1 *t, struct job *j, const struct block *b)
{
    if (!j->sending) /* our acknowledgement did not arrive: again */
        return on_invalid(t, j, R_NO_ERROR, R_COMM);
    if (b->seq == t->ns) {
        if (j->taken)
            return on_invalid(t, j, R_OTHER_ERROR, R_COMM);
        j->why = R_COMM;
        j->invalid = 0;
        if (++j->asked >= T1_TRIES)
            return STEP_GIVE_UP;
        build_i(t, j);
        return STEP_NEXT;
    }
    if (j->chunk == j->left) { /* it has the whole command, so its response got lost */
        j->taken = true;
        return on_invalid(t, j, R_OTHER_ERROR, R_COMM);
    }
    j->apdu += j->chunk;
    j->left -= j->chunk;
    t->ns ^= 1;
    j->taken = false;
    progress(j);
    build_i(t, j);
    return STEP_NEXT;
}

/* *wtx: the multiplier of the wait that follows. */
static enum step on_request(struct t1 *t, struct job *j, const struct block *b, unsigned *wtx)
{
    bool is_wtx = b->pcb == S_WTX;

    j->why = R_COMM;
    j->invalid = 0;
    if (is_wtx)
        j->taken = true; /* one does not ask for time to work on what one does not have */
    if (is_wtx ? ++j->wtx > WTX_MAX : ++j->idle > IDLE_MAX)
        return STEP_GIVE_UP;
    *wtx = answer_request(t, b);
    return STEP_NEXT;
}

/* The end of an APDU that failed in the middle: answer the card's S(ABORT) if that was the reason, then bring the card
 * back. A fatal result of exchange (the card or the reader is gone) says more than why the APDU failed. */
static enum result give_up(struct t1 *t, struct job *j, bool aborted)
{
    enum result r = R_SUCCESS;
    struct block ignored;

    if (aborted)
        r = talk(t, 1, j->until, &ignored);
    if (r == R_SUCCESS)
        r = resync(t, j->until);
    return r == R_SUCCESS || r == R_COMM || r == R_TIMEOUT ? j->why : r;
}

static enum result run(struct t1 *t, struct job *j)
{
    enum step step = STEP_NEXT;
    unsigned wtx = 1;
    struct block b;

    build_i(t, j);
    while (step == STEP_NEXT) {
        enum result r = talk(t, wtx, j->until, &b);

        if (r != R_SUCCESS)
            return r;
        wtx = 1;
        if (b.kind == BLOCK_I)
            step = on_i(t, j, &b);
        else if (b.kind == BLOCK_R)
            step = on_r(t, j, &b);
        else if (b.kind == BLOCK_REQUEST)
            step = on_request(t, j, &b, &wtx);
        else
            step = on_invalid(t, j, b.error, b.why);
        if (step == STEP_NEXT && b.kind == BLOCK_REQUEST && b.pcb == S_ABORT)
            return give_up(t, j, true);
    }
    return step == STEP_DONE ? R_SUCCESS : give_up(t, j, false);
}

static enum result prepare(struct t1 *t, deadline_t until)
{
    enum result r = R_SUCCESS;

    if (t->lost)
        r = resync(t, until);
    if (r == R_SUCCESS && !t->ifsd_done)
        r = negotiate_ifsd(t, until);
    return r;
}

void t1_reset(struct t1 *t, const struct atr_info *atr, t1_exchange_fn exchange, void *arg)
{
    *t = (struct t1){.exchange = exchange, .arg = arg, .ifsd = IFS_DEFAULT, .crc = atr->t1_crc};
    t->ifsc_of_atr = atr->t1_ifsc == 0x00 || atr->t1_ifsc == 0xFF ? (uint8_t)IFS_DEFAULT : atr->t1_ifsc;
    t->ifsc = t->ifsc_of_atr;
    t->edc_known = !t->crc;
}

enum result t1_transmit(struct t1 *t, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap, size_t *len,
                        deadline_t until)
{
    struct job j = {.apdu = apdu, .left = n, .sending = true, .response = response, .cap = cap, .why = R_COMM};
    enum result r;

    *len = 0;
    if (n == 0)
        return R_INVALID;
    if (t->dead)
        return R_COMM;
    if (deadline_passed(until))
        return R_TIMEOUT;
    j.until = until;
    r = prepare(t, until);
    if (r == R_SUCCESS)
        r = run(t, &j);
    explicit_bzero(t->tx, sizeof t->tx); /* a PIN or a key may have passed */
    explicit_bzero(t->rx, sizeof t->rx);
    if (r != R_SUCCESS)
        return r;
    if (j.total < 2)
        return R_COMM;
    if (j.total > cap)
        return R_SPACE;
    *len = j.total;
    return R_SUCCESS;
}
