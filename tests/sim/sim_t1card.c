/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The card's end of T=1; sim_t1card.h says what it does.
 *
 * How it holds together. Two one-bit counters carry the whole protocol: nr is the number of the next I-block expected
 * from the host, ns that of the next I-block to send. Accepting a host's I-block flips nr, so a repetition of it no
 * longer fits and is answered by an R-block, never executed: this is what makes "at most once" hold. An I-block of
 * ours stays "out" until the host's next I-block (or, within a chain, an R-block with the other number) acknowledges
 * it; while it is out, an R-block with its own number means "once more".
 *
 * An R-block while nothing of ours is out means that the host missed an R-block of ours or that its I-block never
 * came: both are answered by R(nr), and that answer is the host's proof that the I-block may be sent again.
 *
 * Faults are taken when the host's block arrives and act either on its way in or on the next block out. The block kept
 * for repetition is always the sound one.
 */
#include "sim_t1card.h"

#include <stdlib.h>
#include <string.h>

enum {
    PCB_M = 0x20,
    PCB_NS = 0x40,
    PCB_R = 0x80,
    PCB_NR = 0x10,
    PCB_S = 0xC0,
    S_RESYNCH = 0xC0,
    S_IFS = 0xC1,
    S_ABORT = 0xC2,
    S_WTX = 0xC3,
    S_RESPONSE = 0x20,
    R_EDC_ERROR = 1,
    R_OTHER_ERROR = 2,
    IFS_DEFAULT = 32,
    FAULTS = 16
};

enum state {
    OFF,      /* no power */
    DEAD,     /* the card fell silent: nothing until the next reset */
    IDLE,     /* waiting for the host's block */
    RUNNING,  /* the card has an APDU */
    WTX_OUT,  /* it has, and S(WTX request) was sent */
    ABORT_OUT /* S(ABORT request) was sent */
};

struct sim_t1card {
    struct sim_t1card_calls calls;
    void *arg;
    enum state state;
    enum sim_t1_edc edc;
    unsigned ifsc, ifsd, bwt_ms, timer;
    uint8_t nr, ns; /* 0 or 1 */
    bool i_out;     /* our I-block (kept in i_block) is not acknowledged yet */
    bool i_more;    /* it had the M bit */
    size_t i_n, last_n;
    uint8_t i_block[SIM_T1_BLOCK_MAX], last[SIM_T1_BLOCK_MAX];
    size_t in_n, out_n, out_at;
    bool have_answer;
    uint8_t wtx_value;
    bool wtx_endless;
    unsigned wtx_left;
    bool endless_chain;
    bool abort_after;        /* the answer to this APDU is to be replaced by S(ABORT request) */
    struct sim_t1_fault now; /* fault that acts on the next block out */
    bool have_now;
    struct sim_t1_fault faults[FAULTS];
    unsigned n_faults;
    struct sim_t1card_counts counts;
    uint8_t in[SIM_T1_APDU_MAX], out[SIM_RAPDU_MAX];
};

/* ---- error detection code --------------------------------------------------------------------------------- */

static unsigned crc16(const uint8_t *p, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x8408 : crc >> 1;
    }
    return crc;
}

size_t sim_t1_edc(enum sim_t1_edc kind, const uint8_t *p, size_t n, uint8_t out[2])
{
    uint8_t lrc = 0;
    unsigned crc;

    switch (kind) {
    case SIM_T1_CRC:
        crc = crc16(p, n) ^ 0xFFFF;
        out[0] = (uint8_t)crc;
        out[1] = (uint8_t)(crc >> 8);
        return 2;
    case SIM_T1_CRC_PLAIN:
        crc = crc16(p, n);
        out[0] = (uint8_t)(crc >> 8);
        out[1] = (uint8_t)crc;
        return 2;
    case SIM_T1_LRC:
    default:
        for (size_t i = 0; i < n; i++)
            lrc = (uint8_t)(lrc ^ p[i]);
        out[0] = lrc;
        return 1;
    }
}

static size_t edc_size(const struct sim_t1card *t)
{
    return t->edc == SIM_T1_LRC ? 1 : 2;
}

/* ---- faults ----------------------------------------------------------------------------------------------- */

bool sim_t1card_fault(struct sim_t1card *t, const struct sim_t1_fault *f)
{
    if (t->n_faults == FAULTS)
        return false;
    t->faults[t->n_faults++] = *f;
    return true;
}

void sim_t1card_clear_faults(struct sim_t1card *t)
{
    t->n_faults = 0;
    t->have_now = false;
    t->endless_chain = t->abort_after = t->wtx_endless = false;
    t->wtx_left = 0;
}

unsigned sim_t1card_armed(const struct sim_t1card *t)
{
    return t->n_faults;
}

static bool fault_fits(const struct sim_t1_fault *f, uint8_t pcb)
{
    char type = (pcb & 0x80) == 0 ? 'I' : (pcb & 0xC0) == PCB_R ? 'R' : 'S';
    bool last_i = type == 'I' && (pcb & PCB_M) == 0;

    switch (f->kind) {
    case SIM_T1_WTX:
    case SIM_T1_ABORT:
    case SIM_T1_CHAIN:
        return last_i;
    case SIM_T1_RLOOP:
        return type != 'S';
    case SIM_T1_NOIFS:
        return pcb == S_IFS;
    case SIM_T1_NORESYNCH:
        return pcb == S_RESYNCH;
    default:
        return f->at == 0 || f->at == type;
    }
}

/* Takes the first armed fault that fits this block. */
static bool take_fault(struct sim_t1card *t, uint8_t pcb, struct sim_t1_fault *out)
{
    for (unsigned i = 0; i < t->n_faults; i++) {
        struct sim_t1_fault *f = &t->faults[i];
        if (!fault_fits(f, pcb))
            continue;
        if (f->skip > 0) {
            f->skip--;
            return false;
        }
        *out = *f;
        if (f->times == 1)
            memmove(f, f + 1, (--t->n_faults - i) * sizeof *f);
        else if (f->times > 0)
            f->times--;
        return true;
    }
    return false;
}

/* ---- blocks out ------------------------------------------------------------------------------------------- */

static void put_edc(const struct sim_t1card *t, uint8_t *b, size_t *n)
{
    *n += sim_t1_edc(t->edc, b, *n, b + *n);
}

/* Sends a block, damaged if a fault is waiting for it. before: the block sent before this one. */
static void send_block(struct sim_t1card *t, const uint8_t *block, size_t n, const uint8_t *before, size_t before_n)
{
    struct sim_t1_fault f = t->now;
    uint8_t b[SIM_T1_BLOCK_MAX];
    size_t edc = edc_size(t);

    if (!t->have_now) {
        t->calls.send(t->arg, block, n);
        return;
    }
    t->have_now = false;
    memcpy(b, block, n);
    n -= edc;
    switch (f.kind) {
    case SIM_T1_MUTE:
        return;
    case SIM_T1_NR:
        b[1] = (uint8_t)(b[1] ^ ((b[1] & 0x80) == 0 ? PCB_NS : PCB_NR));
        break;
    case SIM_T1_NAD:
        b[0] = (uint8_t)f.value;
        break;
    case SIM_T1_LEN:
        b[2] = (uint8_t)f.value;
        break;
    case SIM_T1_DUP:
        if (before_n > 0)
            t->calls.send(t->arg, before, before_n);
        else
            t->calls.send(t->arg, block, n + edc);
        return;
    default:
        break;
    }
    put_edc(t, b, &n);
    if (f.kind == SIM_T1_EDC)
        b[n - 1] = (uint8_t)(b[n - 1] ^ 0x01);
    t->calls.send(t->arg, b, n);
}

static void emit(struct sim_t1card *t, uint8_t pcb, const uint8_t *inf, size_t inf_n)
{
    uint8_t before[SIM_T1_BLOCK_MAX];
    size_t before_n = t->last_n, n = 3 + inf_n;

    memcpy(before, t->last, before_n);
    t->last[0] = 0x00;
    t->last[1] = pcb;
    t->last[2] = (uint8_t)inf_n;
    if (inf_n > 0)
        memcpy(t->last + 3, inf, inf_n);
    put_edc(t, t->last, &n);
    t->last_n = n;
    send_block(t, t->last, n, before, before_n);
}

static void emit_r(struct sim_t1card *t, uint8_t error)
{
    emit(t, (uint8_t)(PCB_R | (t->nr != 0 ? PCB_NR : 0) | error), NULL, 0);
}

static void emit_s(struct sim_t1card *t, uint8_t pcb, const uint8_t *inf, size_t n)
{
    emit(t, pcb, inf, n);
}

/* Sends the next I-block of the response. A chain without end is made of filler once the response is used up. */
static void emit_next_i(struct sim_t1card *t)
{
    uint8_t filler[254];
    size_t left = t->out_n - t->out_at, n = left < t->ifsd ? left : t->ifsd;
    const uint8_t *inf = t->out + t->out_at;
    bool more = n < left;

    if (t->endless_chain) {
        memset(filler, 0xEE, sizeof filler);
        inf = filler;
        n = t->ifsd;
        more = true;
    } else {
        t->out_at += n;
    }
    t->i_out = true;
    t->i_more = more;
    uint8_t pcb = (uint8_t)((t->ns != 0 ? PCB_NS : 0) | (more ? PCB_M : 0));
    t->ns ^= 1;
    t->state = IDLE;
    t->i_n = 3 + n;
    t->i_block[0] = 0x00;
    t->i_block[1] = pcb;
    t->i_block[2] = (uint8_t)n;
    memcpy(t->i_block + 3, inf, n);
    put_edc(t, t->i_block, &t->i_n);
    emit(t, pcb, inf, n);
}

/* ---- the APDU --------------------------------------------------------------------------------------------- */

static void stop_timer(struct sim_t1card *t)
{
    if (t->timer != 0)
        sim_timer_cancel(t->timer);
    t->timer = 0;
}

static void ask_for_time(struct sim_t1card *t)
{
    stop_timer(t);
    t->state = WTX_OUT;
    t->counts.wtx++;
    emit_s(t, S_WTX, &t->wtx_value, 1);
}

static void time_is_short(void *arg)
{
    struct sim_t1card *t = arg;

    t->timer = 0;
    if (t->state == RUNNING)
        ask_for_time(t);
}

static void forget_apdu(struct sim_t1card *t)
{
    stop_timer(t);
    if ((t->state == RUNNING || t->state == WTX_OUT) && !t->have_answer)
        t->calls.cancel(t->arg);
    if (t->state != OFF && t->state != DEAD)
        t->state = IDLE;
    t->in_n = t->out_n = t->out_at = 0;
    t->i_out = t->i_more = t->have_answer = false;
    t->endless_chain = t->abort_after = t->wtx_endless = false;
    t->wtx_left = 0;
    t->wtx_value = 1;
}

/* RUNNING: the next thing to say is a faulty S(WTX), an S(ABORT), the answer, or nothing yet. */
static void go_on(struct sim_t1card *t)
{
    if (t->wtx_endless || t->wtx_left > 0) {
        t->wtx_left -= t->wtx_left > 0 ? 1 : 0;
        ask_for_time(t);
    } else if (!t->have_answer) {
        stop_timer(t);
        t->timer = sim_timer_add(t->bwt_ms * 3 / 4, time_is_short, t);
    } else if (t->abort_after) {
        forget_apdu(t);
        t->state = ABORT_OUT;
        emit_s(t, S_ABORT, NULL, 0);
    } else {
        stop_timer(t);
        t->have_answer = false;
        t->out_at = 0;
        emit_next_i(t);
    }
}

void sim_t1card_answer(struct sim_t1card *t, const uint8_t *rapdu, size_t n)
{
    if ((t->state != RUNNING && t->state != WTX_OUT) || t->have_answer)
        return;
    if (n == 0 || n > sizeof t->out) {
        stop_timer(t);
        t->state = DEAD;
        return;
    }
    memcpy(t->out, rapdu, n);
    t->out_n = n;
    t->have_answer = true;
    if (t->timer != 0) /* otherwise begin_apdu or the S(WTX response) goes on */
        go_on(t);
}

static void begin_apdu(struct sim_t1card *t, const struct sim_t1_fault *f)
{
    size_t n = t->in_n;

    t->in_n = 0;
    t->state = RUNNING;
    t->have_answer = false;
    t->wtx_value = 1;
    if (f != NULL && f->kind == SIM_T1_WTX) {
        t->wtx_value = (uint8_t)f->value;
        t->wtx_left = f->n;
        t->wtx_endless = f->n == 0;
    }
    t->endless_chain = f != NULL && f->kind == SIM_T1_CHAIN;
    t->abort_after = f != NULL && f->kind == SIM_T1_ABORT;
    if (t->abort_after && !f->exec) {
        t->have_answer = true;
    } else {
        t->counts.apdus++;
        t->calls.execute(t->arg, t->in, n);
    }
    if (t->state == RUNNING)
        go_on(t);
}

/* ---- blocks in -------------------------------------------------------------------------------------------- */

static void on_i(struct sim_t1card *t, const uint8_t *b, const struct sim_t1_fault *f)
{
    uint8_t n_s = (b[1] & PCB_NS) != 0 ? 1 : 0;

    if (t->state == WTX_OUT || t->state == ABORT_OUT || (t->i_out && t->i_more)) {
        t->counts.bad++;
        emit_r(t, R_OTHER_ERROR);
        return;
    }
    if (n_s != t->nr) {
        t->counts.repeated++;
        emit_r(t, R_OTHER_ERROR);
        return;
    }
    t->nr ^= 1;
    t->i_out = false;
    if (t->in_n + b[2] > sizeof t->in) { /* no APDU is that long */
        t->in_n = 0;
        t->state = ABORT_OUT;
        emit_s(t, S_ABORT, NULL, 0);
        return;
    }
    memcpy(t->in + t->in_n, b + 3, b[2]);
    t->in_n += b[2];
    if ((b[1] & PCB_M) != 0)
        emit_r(t, 0);
    else
        begin_apdu(t, f);
}

static void repeat_last(struct sim_t1card *t)
{
    send_block(t, t->last, t->last_n, t->last, t->last_n);
}

static void on_r(struct sim_t1card *t, uint8_t pcb)
{
    uint8_t n_r = (pcb & PCB_NR) != 0 ? 1 : 0;
    uint8_t out_ns = (t->i_block[1] & PCB_NS) != 0 ? 1 : 0;

    if (t->state == WTX_OUT || t->state == ABORT_OUT) {
        repeat_last(t);
    } else if (!t->i_out) {
        emit_r(t, 0);
    } else if (n_r == out_ns) {
        memcpy(t->last, t->i_block, t->i_n);
        t->last_n = t->i_n;
        repeat_last(t);
    } else if (t->i_more) {
        emit_next_i(t);
    } else {
        emit_r(t, 0); /* the host has our last block; its own next one seems to be lost */
    }
}

static void resynch(struct sim_t1card *t)
{
    forget_apdu(t);
    t->counts.resynch++;
    t->nr = t->ns = 0;
    t->ifsd = IFS_DEFAULT;
    t->last_n = 0;
    emit_s(t, S_RESYNCH | S_RESPONSE, NULL, 0);
}

static void on_s_response(struct sim_t1card *t, const uint8_t *b)
{
    if (b[1] == (S_WTX | S_RESPONSE) && t->state == WTX_OUT && b[2] == 1 && b[3] == t->wtx_value) {
        t->state = RUNNING;
        if (!t->wtx_endless && t->wtx_left == 0)
            t->wtx_value = 1;
        go_on(t);
    } else if (b[1] == (S_ABORT | S_RESPONSE) && t->state == ABORT_OUT && b[2] == 0) {
        t->state = IDLE;
        emit_r(t, 0); /* gives the right to send back to the host */
    } else {
        t->counts.bad++;
        emit_r(t, R_OTHER_ERROR);
    }
}

static void on_s(struct sim_t1card *t, const uint8_t *b, const struct sim_t1_fault *f)
{
    if (b[1] == S_RESYNCH && b[2] == 0) {
        if (f == NULL || f->kind != SIM_T1_NORESYNCH)
            resynch(t);
    } else if (b[1] == S_IFS && b[2] == 1 && b[3] >= 1 && b[3] <= 254) {
        t->counts.ifs++;
        if (f != NULL && f->kind == SIM_T1_NOIFS) {
            emit_r(t, R_OTHER_ERROR);
            return;
        }
        t->ifsd = b[3];
        emit_s(t, S_IFS | S_RESPONSE, b + 3, 1);
    } else if (b[1] == S_ABORT && b[2] == 0) {
        forget_apdu(t);
        emit_s(t, S_ABORT | S_RESPONSE, NULL, 0);
    } else {
        on_s_response(t, b);
    }
}

/* 0 for a valid block, else the error code of the R-block that answers it. */
static uint8_t check_block(struct sim_t1card *t, const uint8_t *b, size_t n)
{
    uint8_t edc[2];
    size_t k = edc_size(t);

    if (n < 3 + k)
        return R_OTHER_ERROR;
    (void)sim_t1_edc(t->edc, b, n - k, edc);
    if (memcmp(edc, b + n - k, k) != 0)
        return R_EDC_ERROR;
    if (b[0] != 0x00 || b[2] == 0xFF || n != 3 + (size_t)b[2] + k)
        return R_OTHER_ERROR;
    if ((b[1] & 0x80) == 0 && (b[1] & 0x1F) != 0)
        return R_OTHER_ERROR;
    if ((b[1] & 0xC0) == PCB_R && ((b[1] & 0x2C) != 0 || b[2] != 0))
        return R_OTHER_ERROR;
    if ((b[1] & 0x80) == 0 && b[2] > t->ifsc) {
        t->counts.too_long++;
        return R_OTHER_ERROR;
    }
    return 0;
}

/* True if the fault has done all there is to do. */
static bool fault_on_the_way_in(struct sim_t1card *t, const struct sim_t1_fault *f)
{
    switch (f->kind) {
    case SIM_T1_MUTE:
        if (!f->exec)
            return true;
        break;
    case SIM_T1_EDC:
        if (!f->exec) {
            emit_r(t, R_EDC_ERROR);
            return true;
        }
        break;
    case SIM_T1_RLOOP:
        emit_r(t, R_OTHER_ERROR);
        return true;
    case SIM_T1_WTX:
    case SIM_T1_ABORT:
    case SIM_T1_CHAIN:
    case SIM_T1_NOIFS:
    case SIM_T1_NORESYNCH:
        return false;
    default:
        break;
    }
    t->now = *f;
    t->have_now = true;
    return false;
}

void sim_t1card_block(struct sim_t1card *t, const uint8_t *block, size_t n)
{
    struct sim_t1_fault f;

    if (t->state == OFF || t->state == DEAD || t->state == RUNNING)
        return; /* a card that computes does not listen */
    t->counts.blocks++;
    t->have_now = false;
    bool faulty = n > 1 && take_fault(t, block[1], &f);
    if (faulty && fault_on_the_way_in(t, &f))
        return;
    uint8_t error = check_block(t, block, n);
    if (error != 0) {
        t->counts.bad++;
        emit_r(t, error);
    } else if ((block[1] & 0x80) == 0) {
        on_i(t, block, faulty ? &f : NULL);
    } else if ((block[1] & 0xC0) == PCB_R) {
        on_r(t, block[1]);
    } else {
        on_s(t, block, faulty ? &f : NULL);
    }
}

/* ---- life ------------------------------------------------------------------------------------------------- */

struct sim_t1card *sim_t1card_new(const struct sim_t1card_calls *calls, void *arg)
{
    struct sim_t1card *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->calls = *calls;
    t->arg = arg;
    t->state = OFF;
    return t;
}

void sim_t1card_free(struct sim_t1card *t)
{
    if (t == NULL)
        return;
    stop_timer(t);
    free(t);
}

void sim_t1card_start(struct sim_t1card *t, unsigned ifsc, enum sim_t1_edc edc, unsigned bwt_ms)
{
    forget_apdu(t);
    t->state = IDLE;
    t->ifsc = ifsc;
    t->ifsd = IFS_DEFAULT;
    t->edc = edc;
    t->bwt_ms = bwt_ms;
    t->nr = t->ns = 0;
    t->last_n = t->i_n = 0;
    t->have_now = false;
}

void sim_t1card_stop(struct sim_t1card *t)
{
    forget_apdu(t);
    t->have_now = false;
    t->state = OFF;
}

const struct sim_t1card_counts *sim_t1card_counts(const struct sim_t1card *t)
{
    return &t->counts;
}
