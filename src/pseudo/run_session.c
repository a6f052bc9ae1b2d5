/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The transparent session: frames to the card as the client makes them. Steps are carried out one after the other until
 * one fails; the answer says which.
 *
 *   C0 03 nn SW1 SW2   nn: the step that failed, counted from 1; 00: none
 *   FF6D Lc objects    parameters that were asked for
 *   92 01 bits         valid bits of the last byte received, 00: all
 *   96 02 flags 00     what was wrong with the answer on air
 *   97 Lc data         the answer
 *
 * A reader sends and listens in one go. So "transmit" that is followed by "receive" waits for it, and both are one
 * exchange; a "receive" without a frame before it in the same command cannot be had (6A 81).
 *
 * Of the parameters a client may set its waiting time, which holds until the session ends where no timer object says
 * otherwise. What reader and card have agreed on when the card was activated can only be asked for.
 */
#include <string.h>

#include "pseudo/decode.h"
#include "pseudo/job.h"
#include "pseudo/tlv.h"

enum { RX_MAX = 1536, VERSION_MAJOR = 1, VERSION_MINOR = 0, VERSION_REVISION = 0 };
enum parameter { READER_FRAME = 0x01, CARD_FRAME = 0x02, WAITING_TIME = 0x03, CID = 0x08 };
enum { WAITING_TIME_MAX = 14, WAITING_TIME_UNIT = 32, ETU_10NS = 944, FRAME_UNKNOWN = 0xFF };

/* What the steps of one command add up to. */
struct transcript {
    struct storage_exchange x;
    uint8_t rx[RX_MAX];
    bool exchanged; /* x holds an answer */
    bool version;
    const struct step *held; /* a frame that goes out with the "receive" to come */
    struct storage_exchange held_x;
};

/* A step gives R_SUCCESS and a status word in *sw, or a result that ends the call. */
typedef enum result (*step_fn)(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw);

/* ---- steps of "manage session" ---------------------------------------------------------------------------------- */

static enum result done(uint16_t *sw, uint16_t value)
{
    *sw = value;
    return R_SUCCESS;
}

static bool is_open(const struct job *j)
{
    return j->session->transparent.open;
}

/* Where no timer object says otherwise; 0: the reader's. */
static uint32_t usual_timeout(const struct job *j)
{
    uint64_t etu = (uint64_t)WAITING_TIME_UNIT << j->session->transparent.fwti;

    return j->session->transparent.fwti_set ? (uint32_t)(etu * ETU_10NS / 100 + 1) : 0;
}

/* For errors that are an object's own affair. */
static enum result step_result(struct job *j, enum result r, uint16_t *sw)
{
    r = job_result(j, r);
    if (r == R_SUCCESS)
        *sw = j->a->sw;
    return r;
}

static enum result do_bad(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)j;
    (void)t;
    return done(sw, (uint16_t)s->number);
}

static enum result do_version(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)j;
    (void)s;
    t->version = true;
    return done(sw, SW_DONE);
}

static enum result do_start(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)s;
    (void)t;
    if (is_open(j))
        return done(sw, SW_CONDITIONS);
    memset(&j->session->transparent, 0, sizeof j->session->transparent);
    j->session->transparent.open = true;
    return done(sw, SW_DONE);
}

static enum result set_field(struct job *j, bool on, uint16_t *sw)
{
    enum result r;

    if (!is_open(j))
        return done(sw, SW_CONDITIONS);
    if (!j->ops->field)
        return done(sw, SW_NOT_SUPPORTED);
    r = j->ops->field(j->reader, j->index, on, j->until);
    if (r != R_SUCCESS)
        return step_result(j, r, sw);
    job_forget_authentication(j);
    j->session->transparent.field_off = !on;
    return done(sw, SW_DONE);
}

static enum result do_rf_off(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)s;
    (void)t;
    return set_field(j, false, sw);
}

static enum result do_rf_on(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)s;
    (void)t;
    return set_field(j, true, sw);
}

/* The end of a session leaves the card as other commands expect it: if the client has had it deselected, or may have, it
 * is selected again. */
static enum result do_end(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    bool off = j->session->transparent.field_off, again = off || j->session->transparent.reselect;
    enum result r = R_SUCCESS;

    (void)s;
    (void)t;
    if (!is_open(j))
        return done(sw, SW_CONDITIONS);
    memset(&j->session->transparent, 0, sizeof j->session->transparent);
    if (off)
        r = j->ops->field(j->reader, j->index, true, j->until);
    if (r != R_SUCCESS)
        return step_result(j, r, sw);
    if (again)
        r = job_reselect(j);
    if (r == R_SUCCESS || r == R_NOT_SUPPORTED)
        return done(sw, SW_DONE);
    return r == R_GONE || r == R_CANCELLED ? r : R_NO_CARD;
}

static enum result do_wait(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    deadline_t end = deadline_in(s->number / 1000 + (s->number % 1000 > 0));

    (void)t;
    if (end > j->until)
        return done(sw, SW_WRONG_DATA);
    *sw = SW_DONE;
    return device_pause(j->slot->device, end);
}

/* ---- parameters ------------------------------------------------------------------------------------------------- */


/* ISO 14443-4: FSDI, FSCI. */
static uint8_t frame_code(unsigned bytes)
{
    static const uint16_t sizes[] = {16, 24, 32, 40, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096};
    uint8_t code = FRAME_UNKNOWN;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && sizes[i] <= bytes; i++)
        code = (uint8_t)i;
    return code;
}

/* ISO 14443-4: FWI, rounded up. */
static uint8_t time_code(uint32_t waiting_time)
{
    uint8_t code = 0;

    while (code < WAITING_TIME_MAX && (uint32_t)WAITING_TIME_UNIT << code < waiting_time)
        code++;
    return code;
}

static bool parameter_value(const struct job *j, const struct storage_parameters *p, uint16_t tag, uint8_t *value)
{
    switch (tag) {
    case READER_FRAME:
        *value = frame_code(p->reader_frame);
        return *value != FRAME_UNKNOWN;
    case CARD_FRAME:
        *value = frame_code(p->card_frame);
        return *value != FRAME_UNKNOWN;
    case WAITING_TIME:
        *value = j->session->transparent.fwti_set ? j->session->transparent.fwti : time_code(p->waiting_time);
        return j->session->transparent.fwti_set || p->waiting_time > 0;
    case CID:
        *value = p->cid;
        return p->cid_known;
    default:
        return false; /* speeds, modulation, NAD …: no reader tells */
    }
}

static enum result do_get_parameters(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    struct rbuf r = rbuf_over(s->data, s->len);
    struct storage_parameters p = {0};
    uint8_t found[32];
    struct wbuf w = wbuf_over(found, sizeof found);
    struct tlv one;
    enum result res = j->ops->parameters ? j->ops->parameters(j->reader, j->index, &p, j->until) : R_SUCCESS;

    (void)t;
    if (res != R_SUCCESS && res != R_NOT_SUPPORTED)
        return step_result(j, res, sw);
    while (tlv_next(&r, &one)) {
        uint8_t value;

        if (one.len > 0)
            return done(sw, SW_LENGTH);
        if (!parameter_value(j, &p, one.tag, &value))
            return done(sw, SW_NOT_SUPPORTED);
        tlv_put(&w, one.tag, &value, 1);
    }
    if (r.failed || w.failed)
        return done(sw, SW_WRONG_DATA);
    tlv_put(&j->a->data, 0xFF6D, w.data, w.len);
    return done(sw, SW_DONE);
}

static enum result do_set_parameters(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    struct rbuf r = rbuf_over(s->data, s->len);
    uint8_t fwti = 0;
    struct tlv one;

    if (!is_open(j))
        return done(sw, SW_CONDITIONS);
    while (tlv_next(&r, &one)) {
        if (one.tag != WAITING_TIME)
            return done(sw, SW_NOT_SUPPORTED);
        if (one.len != 1)
            return done(sw, SW_LENGTH);
        fwti = one.value[0];
        if (fwti > WAITING_TIME_MAX)
            return done(sw, SW_WRONG_DATA);
    }
    if (r.failed)
        return done(sw, SW_WRONG_DATA);
    j->session->transparent.fwti_set = true;
    j->session->transparent.fwti = fwti;
    t->x.timeout_us = usual_timeout(j);
    return done(sw, SW_DONE);
}

/* ---- "switch protocol" ------------------------------------------------------------------------------------------ */

static enum result do_select(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    static const enum storage_protocol protocols[] = {STORAGE_ISO14443A, STORAGE_ISO14443B, STORAGE_ISO15693,
                                                      STORAGE_ISO18092};
    uint8_t layer = s->data[1], sak = 0;
    enum result r;

    (void)t;
    if (!is_open(j) || j->session->transparent.field_off)
        return done(sw, SW_CONDITIONS);
    if (s->data[0] >= sizeof protocols / sizeof protocols[0] || layer > 4 || layer == 1)
        return done(sw, SW_WRONG_DATA);
    if (!j->ops->select)
        return done(sw, SW_NOT_SUPPORTED);
    r = j->ops->select(j->reader, j->index, protocols[s->data[0]], layer, &sak, j->until);
    if (r == R_CARD)
        return done(sw, SW_CARD_SILENT);
    if (r != R_SUCCESS)
        return step_result(j, r, sw);
    job_forget_authentication(j);
    j->session->transparent.protocol = layer == 4 ? STORAGE_ISO_DEP : protocols[s->data[0]];
    j->session->transparent.reselect = true;
    tlv_put(&j->a->data, 0x8F, &sak, 1);
    return done(sw, SW_DONE);
}

/* ---- "exchange" ------------------------------------------------------------------------------------------------- */

static enum result do_flags(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)j;
    t->x.tx_crc = !(s->number & FLAG_NO_TX_CRC);
    t->x.rx_crc = !(s->number & FLAG_NO_RX_CRC);
    t->x.tx_parity = !(s->number & FLAG_NO_TX_PARITY);
    t->x.rx_parity = !(s->number & FLAG_NO_RX_PARITY);
    return done(sw, SW_DONE);
}

static enum result do_tx_bits(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)j;
    t->x.tx_bits = (uint8_t)s->number;
    return done(sw, SW_DONE);
}

/* What the client expects; what came is in the answer. */
static enum result do_rx_bits(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)j;
    (void)s;
    (void)t;
    return done(sw, SW_DONE);
}

static enum result do_timeout(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    (void)j;
    t->x.timeout_us = s->number;
    return done(sw, SW_DONE);
}

/* A frame that was not answered, or not well, may have been HLTA or refused: then the card hears nothing but a
 * selection. One of ISO 15693 goes on listening. */
static bool may_have_halted(const struct job *j, const struct storage_exchange *x, enum result r)
{
    return (j->facts.kind == STORAGE_MIFARE || j->facts.kind == STORAGE_ULTRALIGHT || j->facts.kind == STORAGE_OTHER) &&
           (!x->answer || r != R_SUCCESS || x->rx_len < 2);
}

static enum result exchange(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    enum result r;

    if (j->session->transparent.field_off)
        return done(sw, SW_CONDITIONS);
    if (!j->ops->exchange)
        return done(sw, SW_NOT_SUPPORTED);
    if (deadline_in(t->x.timeout_us / 1000) > j->until)
        return done(sw, SW_WRONG_DATA); /* the reader would wait longer than the client may */
    t->x.tx = s->data;
    t->x.tx_len = s->len;
    t->x.rx = t->rx;
    t->x.rx_cap = sizeof t->rx;
    t->x.rx_len = 0;
    if (j->facts.kind == STORAGE_MIFARE)
        job_forget_authentication(j); /* the frame may be anything */
    r = j->ops->exchange(j->reader, j->index, &t->x, j->until);
    vicinity_heard(j, &t->x, r);
    if (may_have_halted(j, &t->x, r))
        j->session->transparent.reselect = true;
    if (r == R_NO_CARD)
        return done(sw, SW_CARD_SILENT);
    if (r == R_CARD)
        return done(sw, SW_FAILED);
    if (r == R_TIMEOUT || r == R_COMM)
        return r;
    return r == R_SUCCESS ? done(sw, SW_DONE) : step_result(j, r, sw);
}

/* Is the answer to this frame asked for by the next step that does not only say how? */
static bool is_received(const struct operation *op, const struct step *s)
{
    for (s++; s < op->steps + op->step_count; s++)
        if (s->kind != STEP_FLAGS && s->kind != STEP_TX_BITS && s->kind != STEP_RX_BITS && s->kind != STEP_TIMEOUT)
            return s->kind == STEP_RECEIVE;
    return false;
}

static enum result do_transmit(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    if (is_received(j->op, s)) {
        t->held = s;
        t->held_x = t->x;
        return done(sw, SW_DONE);
    }
    t->x.answer = false;
    return exchange(j, s, t, sw);
}

static enum result do_transceive(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    enum result r;

    t->x.answer = true;
    r = exchange(j, s, t, sw);
    t->exchanged = r == R_SUCCESS && (*sw == SW_DONE || t->x.rf_errors != 0);
    return r;
}

static enum result do_receive(struct job *j, const struct step *s, struct transcript *t, uint16_t *sw)
{
    const struct step *frame = t->held;
    struct storage_exchange now = t->x;
    enum result r;

    (void)s;
    t->held = NULL;
    if (!frame)
        return done(sw, SW_NOT_SUPPORTED);
    t->x.tx_bits = t->held_x.tx_bits; /* what was said in between is about the answer */
    t->x.tx_crc = t->held_x.tx_crc;
    t->x.tx_parity = t->held_x.tx_parity;
    r = do_transceive(j, frame, t, sw);
    t->x.tx_bits = now.tx_bits;
    t->x.tx_crc = now.tx_crc;
    t->x.tx_parity = now.tx_parity;
    return r;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static const step_fn steps[STEP_COUNT] = {
    [STEP_BAD] = do_bad,           [STEP_VERSION] = do_version,       [STEP_START] = do_start,
    [STEP_END] = do_end,           [STEP_RF_OFF] = do_rf_off,         [STEP_RF_ON] = do_rf_on,
    [STEP_WAIT] = do_wait,         [STEP_SELECT] = do_select,         [STEP_FLAGS] = do_flags,
    [STEP_TX_BITS] = do_tx_bits,   [STEP_RX_BITS] = do_rx_bits,       [STEP_TIMEOUT] = do_timeout,
    [STEP_TRANSMIT] = do_transmit, [STEP_TRANSCEIVE] = do_transceive, [STEP_RECEIVE] = do_receive,
    [STEP_GET_PARAMETERS] = do_get_parameters, [STEP_SET_PARAMETERS] = do_set_parameters,
};

static bool needs_session(enum step_kind kind)
{
    return kind == STEP_TRANSMIT || kind == STEP_TRANSCEIVE || kind == STEP_RECEIVE;
}

static void prepare(struct job *j, struct transcript *t)
{
    memset(&t->x, 0, sizeof t->x);
    t->x.protocol = j->op->protocol != STORAGE_OF_SLOT ? j->op->protocol : j->session->transparent.protocol;
    t->x.tx_crc = t->x.rx_crc = t->x.tx_parity = t->x.rx_parity = true;
    t->x.timeout_us = usual_timeout(j);
    t->exchanged = t->version = false;
    t->held = NULL;
}

/* Runs the steps; *failed is the one that failed, counted from 1, or 0. */
static enum result run_steps(struct job *j, struct transcript *t, uint16_t *sw, size_t *failed)
{
    const struct operation *op = j->op;

    *sw = SW_DONE;
    *failed = 0;
    for (size_t i = 0; i < op->step_count; i++) {
        const struct step *s = &op->steps[i];
        enum result r = R_SUCCESS;

        if (op->objects && needs_session(s->kind) && !is_open(j))
            *sw = SW_CONDITIONS;
        else
            r = steps[s->kind](j, s, t, sw);
        if (r != R_SUCCESS)
            return r;
        if (*sw != SW_DONE) {
            *failed = i + 1;
            break;
        }
    }
    return R_SUCCESS;
}

static void put_answer(struct job *j, const struct transcript *t)
{
    static const uint8_t version[] = {VERSION_MAJOR, VERSION_MINOR, VERSION_REVISION};
    const uint8_t errors[] = {t->x.rf_errors, 0};

    if (t->version)
        tlv_put(&j->a->data, 0x80, version, sizeof version);
    if (!t->exchanged)
        return;
    tlv_put(&j->a->data, 0x92, &t->x.rx_bits, 1);
    tlv_put(&j->a->data, 0x96, errors, sizeof errors);
    tlv_put(&j->a->data, 0x97, t->x.rx, t->x.rx_len);
}

enum result run_session(struct job *j)
{
    const uint8_t status_to_come[] = {0xC0, 3, 0, 0, 0};
    struct transcript t;
    uint8_t *status;
    size_t failed;
    uint16_t sw;
    enum result r;

    if (j->a->data.cap < sizeof status_to_come)
        return R_SPACE;
    prepare(j, &t);
    wbuf_bytes(&j->a->data, status_to_come, sizeof status_to_come);
    r = run_steps(j, &t, &sw, &failed);
    if (r != R_SUCCESS)
        return r;
    status = j->a->data.data;
    status[2] = (uint8_t)failed;
    status[3] = (uint8_t)(sw >> 8);
    status[4] = (uint8_t)sw;
    put_answer(j, &t);
    return job_answer(j, SW_DONE);
}

enum result run_encapsulate(struct job *j)
{
    struct transcript t;
    size_t failed;
    uint16_t sw;
    enum result r;

    prepare(j, &t);
    r = run_steps(j, &t, &sw, &failed);
    if (r != R_SUCCESS)
        return r;
    if (sw == SW_DONE)
        wbuf_bytes(&j->a->data, t.x.rx, t.x.rx_len);
    return job_answer(j, sw);
}
