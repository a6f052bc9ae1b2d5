/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ISO 15693 cards in the field, by raw exchange (2C-04).
 *
 * No manual page of these readers mentions such cards; whether a firmware lets 2C-04 reach one is an assumption
 * (doc/ASSUMPTIONS.md), and the setting iso15693 chooses: off, nothing of this file is ever sent; on, every poll of an
 * empty field is followed by one inventory; auto, at most one a second, and none any more once the reader has refused
 * three running.
 *
 * The checksum of such a card is that of ISO 3309, which the front end can make and check by itself (redundancy 2C). If
 * answers fail that check, the driver makes and checks it instead (redundancy 00). What worked is kept for the reader.
 * Only requests that change nothing are used to find out.
 *
 * Presence. The polls of ISO 14443 do not see these cards, and a quiet one answers no inventory; but every card answers
 * a read of block 0 with its UID, if only by an error. That changes nothing, so it serves for a fresh card and, unlike
 * a poll of other cards, for one in session too.
 */
#include "vivopay/internal.h"

#include <string.h>
#include "base/buf.h"
#include "base/checksum.h"
#include "reader/device.h"

enum {
    RED_NONE = 0x00,
    RED_TX_CRC = 0x04,
    RED_RX_CRC = 0x08,
    RED_ISO3309 = 0x20,
    FLAGS = 0x01,       /* the end of an answer is the end of the frame, errors or not */
    PCD_COLLISION = 0xE8,
    REFUSALS = 3,
    AUTO_EVERY_MS = 1000,
    IDLE_STEPS = 100,   /* frames to find one card among colliding ones */
    CHECK_EVERY_MS = 1000,
    CHECK_AGAIN_MS = 250,
    MISSES_GONE = 2,
    TRIES = 2
};

bool vivo_is_vicinity(const struct vivo *v)
{
    return v->field.card.type == VIVO_TYPE_VICINITY;
}

/* ---- one frame over the air ------------------------------------------------------------------------------------ */

/* The reader refuses raw exchange as such, or the front end does. */
static enum vivo_air_verdict judge_refusal(const struct vivo_raw_answer *a)
{
    switch (a->reader) {
    case VIVO_TIMEOUT:
        return VERDICT_SILENCE;
    case VIVO_SUB_NOT_ALLOWED:
        return VERDICT_WRONG_MODE;
    case VIVO_TOO_LONG:
    case VIVO_FRAME_TOO_LARGE:
        return VERDICT_TOO_LONG;
    case VIVO_FAILED:
        return VERDICT_ODD;
    default:
        return VERDICT_REFUSED;
    }
}

static enum vivo_air_verdict judge(const struct vivo_raw_answer *a)
{
    if (!a->judged)
        return judge_refusal(a);
    switch (a->pcd) {
    case PCD_OK:
        return a->n == 0 ? VERDICT_SILENCE : a->bits == 8 * a->n ? VERDICT_ANSWER : VERDICT_BROKEN;
    case PCD_NO_TAG:
    case PCD_TIMEOUT:
        return VERDICT_SILENCE;
    case PCD_COLLISION:
        return VERDICT_COLLISION;
    case PCD_CRC:
        return VERDICT_BROKEN;
    default:
        return VERDICT_ODD;
    }
}

/* Sends a frame, its CRC made by `driver_crc` ? this driver : the front end, and brings the answer without CRC. */
static enum result send_once(struct vivo *v, const struct vivo_air *q, bool driver_crc, struct vivo_air_answer *out,
                             deadline_t until)
{
    uint8_t frame[VIVO_DATA_MAX];
    struct vivo_raw raw = {.etu = vivo_etu(q->wait_us), .flags = FLAGS, .data = q->frame, .n = q->n,
                           .periodic = q->periodic};
    struct vivo_raw_answer a;
    bool check = q->rx_crc && driver_crc;
    enum result r;

    memset(out, 0, sizeof *out);
    if (driver_crc && q->tx_crc) {
        if (q->n > sizeof frame - ISO15693_CRC_SIZE)
            return R_SPACE;
        memcpy(frame, q->frame, q->n);
        raw.n = iso15693_add_crc(frame, q->n, sizeof frame);
        raw.data = frame;
    }
    raw.redundancy = driver_crc || !(q->tx_crc || q->rx_crc)
                         ? RED_NONE
                         : (uint8_t)(RED_ISO3309 | (q->tx_crc ? RED_TX_CRC : 0) | (q->rx_crc ? RED_RX_CRC : 0));
    r = vivo_raw_exchange(v, &raw, q->only_while, &a, until);
    if (r != R_SUCCESS)
        return r;
    out->verdict = judge(&a);
    out->status = a.judged ? a.pcd : a.reader;
    out->data = a.data;
    out->n = a.n;
    if (out->verdict == VERDICT_ANSWER && check) {
        if (a.n <= ISO15693_CRC_SIZE || crc16_x25(a.data, a.n - 2) != (a.data[a.n - 2] | a.data[a.n - 1] << 8))
            out->verdict = VERDICT_BROKEN;
        else
            out->n -= ISO15693_CRC_SIZE;
    }
    return R_SUCCESS;
}

static void learn_crc(struct vivo *v, bool driver_crc)
{
    struct vivo_vicinity *c = &v->vicinity;

    if (!c->crc_known && driver_crc) {
        log_line(v->reader.log, PLOG_INFO,
                 "ISO 15693: the front end's CRC does not fit, the driver makes it from now on");
        vivo_contradicted(v, 44, "the front end's CRC is not that of ISO 15693");
    }
    c->crc_known = true;
    c->driver_crc = driver_crc;
}

/* As send_once, in the form that is known to work. If none is, and the request may be sent twice, one is looked for. */
static enum result send_frame(struct vivo *v, const struct vivo_air *q, struct vivo_air_answer *out, deadline_t until)
{
    struct vivo_vicinity *c = &v->vicinity;
    enum result r = send_once(v, q, c->driver_crc, out, until);
    struct vivo_air_answer other;

    if (r != R_SUCCESS || c->crc_known || !q->repeatable || !q->tx_crc || !q->rx_crc)
        return r;
    if (out->verdict == VERDICT_ANSWER) {
        learn_crc(v, false);
    } else if (out->verdict == VERDICT_BROKEN) {
        enum vivo_air_verdict first = out->verdict;

        r = send_once(v, q, true, &other, until);
        *out = other;
        if (r == R_SUCCESS && other.verdict == VERDICT_ANSWER)
            learn_crc(v, true);
        else if (r == R_SUCCESS)
            out->verdict = first; /* two cards at once look the same */
    }
    return r;
}

enum result vivo_vicinity_send(struct vivo *v, const struct vivo_air *q, struct vivo_air_answer *out, deadline_t until)
{
    struct iso15693_response a;
    enum result r = send_frame(v, q, out, until);

    if (r != R_SUCCESS)
        return r;
    if (out->verdict == VERDICT_WRONG_MODE) {
        v->up = false;
        vivo_sessions_lost(v);
        return R_PROTOCOL;
    }
    if (out->verdict == VERDICT_ANSWER && q->rx_crc &&
        iso15693_parse_response(out->data, out->n, false, &a) != R_SUCCESS)
        out->verdict = VERDICT_BROKEN;
    return R_SUCCESS;
}

/* ---- the empty field ------------------------------------------------------------------------------------------- */

bool vivo_vicinity_turn(struct vivo *v)
{
    struct vivo_vicinity *c = &v->vicinity;
    unsigned how = v->reader.settings->iso15693;

    if (how == SWITCH_OFF || c->given_up || !c->due)
        return false;
    /* The field is off until something polls it. */
    return how == SWITCH_ON || clock_now() - c->asked >= AUTO_EVERY_MS * CLOCK_NS_PER_MS;
}

/* How many inventories running did the reader, or its front end, refuse? */
static void count_refusals(struct vivo *v, bool refused, uint8_t status)
{
    struct vivo_vicinity *c = &v->vicinity;

    c->refused = refused ? c->refused + 1 : 0;
    if (c->refused < REFUSALS || v->reader.settings->iso15693 != SWITCH_AUTO)
        return;
    c->given_up = true;
    log_line(v->reader.log, PLOG_INFO,
             "ISO 15693: this reader refuses raw exchange (status %02X); it is not asked for such cards again", status);
    vivo_contradicted(v, 44, "raw exchange was refused");
}

struct looking {
    struct vivo *v;
    deadline_t until;
    bool periodic, refused;
    uint8_t status;
};

static enum result look(void *context, const uint8_t *frame, size_t n, enum iso15693_air *air, uint8_t *answer,
                        size_t cap, size_t *len)
{
    struct looking *l = context;
    struct vivo_air q = {.frame = frame, .n = n, .wait_us = iso15693_command(ISO15693_INVENTORY_CARDS)->wait_us,
                         .tx_crc = true, .rx_crc = true, .repeatable = true, .periodic = l->periodic};
    struct vivo_air_answer a;
    enum result r = vivo_vicinity_send(l->v, &q, &a, l->until);

    if (r != R_SUCCESS)
        return r;
    l->periodic = false; /* what follows a collision is worth a line */
    switch (a.verdict) {
    case VERDICT_ANSWER:
        if (a.n > cap) {
            *air = AIR_BROKEN;
            return R_SUCCESS;
        }
        *air = AIR_ANSWER;
        memcpy(answer, a.data, a.n);
        *len = a.n;
        return R_SUCCESS;
    case VERDICT_COLLISION:
        *air = AIR_COLLISION;
        return R_SUCCESS;
    case VERDICT_BROKEN:
        *air = AIR_BROKEN;
        return R_SUCCESS;
    case VERDICT_SILENCE:
        *air = AIR_SILENCE;
        return R_SUCCESS;
    default:
        l->refused = true;
        l->status = a.status;
        return R_NOT_SUPPORTED;
    }
}

static void become(struct vivo_card *card, const uint8_t uid[ISO15693_UID_SIZE])
{
    memset(card, 0, sizeof *card);
    card->type = VIVO_TYPE_VICINITY;
    card->uid_len = ISO15693_UID_SIZE;
    memcpy(card->uid, uid, ISO15693_UID_SIZE);
}

static enum result inventory(struct vivo *v, bool periodic, struct vivo_card *card, deadline_t until)
{
    struct iso15693_search s = {.wanted = 1, .steps = IDLE_STEPS};
    struct looking l = {.v = v, .until = until, .periodic = periodic};
    struct iso15693_found found;
    enum result r;

    v->vicinity.asked = clock_now();
    r = iso15693_inventory(&s, look, &l, &found);
    if (r == R_SUCCESS || l.refused)
        count_refusals(v, l.refused, l.status);
    if (l.refused)
        return R_SUCCESS; /* nobody there */
    if (r == R_SUCCESS && found.count > 0)
        become(card, found.tags[0].uid);
    return r;
}

bool vivo_vicinity_adopt(const struct vivo *v, struct vivo_card *card)
{
    uint8_t uid[ISO15693_UID_SIZE];

    if (v->reader.settings->iso15693 == SWITCH_OFF || card->uid_len != sizeof uid ||
        (card->uid[0] != 0xE0 && card->uid[7] != 0xE0))
        return false;
    for (size_t i = 0; i < sizeof uid; i++)
        uid[i] = card->uid[7] == 0xE0 ? card->uid[i] : card->uid[sizeof uid - 1 - i];
    become(card, uid);
    return true;
}

/* ---- the card that is there ------------------------------------------------------------------------------------ */

static enum result field_on(struct vivo *v, deadline_t until)
{
    static const uint8_t on = 1;
    struct vivo_request q = {.command = VIVO_CMD_ANTENNA, .sub = 0x01, .part1 = &on, .n1 = 1, .periodic = true};
    struct vivo_frame f;

    return vivo_exchange(v, &q, &f, until);
}

/* A request that changes nothing, with the card's UID. R_NO_CARD: no answer in TRIES. R_SUCCESS also for an error. */
static enum result ask_card(struct vivo *v, uint8_t code, const uint8_t *params, size_t n, bool periodic,
                            const bool *only_while, struct iso15693_response *a, deadline_t until)
{
    struct iso15693_request q = {.flags = ISO15693_HIGH_RATE | ISO15693_ADDRESSED,
                                 .code = code,
                                 .uid = v->field.card.uid,
                                 .params = params,
                                 .n = n};
    uint8_t frame[32];
    struct vivo_air air = {.frame = frame, .n = iso15693_build(&q, false, frame, sizeof frame),
                           .wait_us = iso15693_command(code)->wait_us, .tx_crc = true, .rx_crc = true,
                           .repeatable = true, .periodic = periodic, .only_while = only_while};
    struct vivo_air_answer out;
    enum result r = R_NO_CARD;

    memset(a, 0, sizeof *a);
    for (unsigned i = 0; i < TRIES; i++) {
        r = vivo_vicinity_send(v, &air, &out, until);
        if (r == R_SUCCESS && out.verdict == VERDICT_ANSWER)
            return iso15693_parse_response(out.data, out.n, false, a);
        if (r == R_SUCCESS)
            r = out.verdict == VERDICT_BROKEN || out.verdict == VERDICT_COLLISION ? R_CARD : R_NO_CARD;
        else if (r != R_TIMEOUT && r != R_COMM)
            break;
    }
    return r;
}

/* Is it there? A broken answer is one, too. */
static enum result is_there(struct vivo *v, bool periodic, const bool *only_while, bool *there, deadline_t until)
{
    static const uint8_t block = 0;
    struct iso15693_response a;
    enum result r = ask_card(v, ISO15693_READ_BLOCK, &block, 1, periodic, only_while, &a, until);

    *there = r == R_SUCCESS || r == R_CARD;
    if (only_while && !*only_while)
        return R_NO_CARD;
    return r == R_CARD || r == R_NO_CARD ? R_SUCCESS : r;
}

enum result vivo_vicinity_poll(struct vivo *v, bool periodic, struct vivo_card *card, deadline_t until)
{
    bool there = false;
    enum result r = R_SUCCESS;

    memset(card, 0, sizeof *card);
    if (!v->field.present || !vivo_is_vicinity(v))
        return inventory(v, periodic, card, until);
    if (!v->field.active)
        r = field_on(v, until);
    if (r == R_SUCCESS)
        r = is_there(v, periodic, NULL, &there, until);
    if (r == R_SUCCESS && there)
        *card = v->field.card;
    return r;
}

enum result vivo_vicinity_activate(struct vivo *v, unsigned slot, deadline_t until)
{
    struct iso15693_card *card = &v->vicinity.card;
    struct iso15693_response a;
    struct iso15693_system s;
    bool there = true;
    enum result r;

    iso15693_card_init(card, v->field.card.uid);
    r = ask_card(v, ISO15693_SYSTEM_INFORMATION, NULL, 0, false, NULL, &a, until);
    if (r == R_SUCCESS && a.error == 0 && iso15693_parse_system(a.data, a.n, &s) == R_SUCCESS &&
        memcmp(s.uid, card->uid, sizeof s.uid) == 0)
        iso15693_card_learn(card, &s);
    if (r == R_NO_CARD || r == R_CARD)
        r = is_there(v, false, NULL, &there, until);
    v->vicinity.misses = 0;
    v->vicinity.checked = clock_now();
    if (r == R_SUCCESS && !there)
        vivo_field_gone(v, slot);
    else if (r == R_SUCCESS && card->blocks > 0)
        log_line(v->reader.log, PLOG_INFO, "ISO 15693: %u blocks of %u bytes", card->blocks, card->block_size);
    else if (r == R_SUCCESS)
        log_line(v->reader.log, PLOG_INFO, "ISO 15693: the card does not tell its size; blocks of 4 bytes are assumed");
    return r;
}

enum result vivo_vicinity_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms)
{
    struct vivo_vicinity *c = &v->vicinity;
    int64_t since = v->slot[slot].traffic > c->checked ? v->slot[slot].traffic : c->checked;
    int64_t due = since + (c->misses ? CHECK_AGAIN_MS : CHECK_EVERY_MS) * CLOCK_NS_PER_MS;
    bool there;
    enum result r;

    *again_ms = (unsigned)deadline_left_ms(due);
    if (*again_ms > 0)
        return R_SUCCESS;
    if (v->reader.device->slots[slot].storage.transparent.open) { /* the client alone talks to the card */
        *again_ms = CHECK_EVERY_MS;
        return R_SUCCESS;
    }
    r = is_there(v, true, &v->slot[slot].powered, &there, until);
    if (r == R_GONE || r == R_CANCELLED)
        return r;
    c->checked = clock_now();
    c->misses = r == R_SUCCESS && !there ? c->misses + 1 : 0;
    *again_ms = c->misses ? CHECK_AGAIN_MS : CHECK_EVERY_MS;
    if (c->misses >= MISSES_GONE)
        vivo_field_gone(v, slot);
    return R_SUCCESS;
}
