/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cards without APDUs, by the reader's own commands (IDG p285-289, p304-318).
 *
 *   2C-06 authenticate, 2C-07 read blocks, 2C-08 write blocks, 2C-0A ePurse: MIFARE Classic, and 07 / 08 Ultralight
 *   2C-04 raw exchange, 2C-44 raw FeliCa frame, 2C-03 APDU: the transparent session
 *
 * Presence. A card in session may not be polled, but a MIFARE card whose sector is open can be read: that changes
 * nothing. So an idle session is asked by its trailer once a second, and a card that twice does not answer is gone. A
 * card that was asked once in vain and is still there has forgotten its authentication, whatever was the matter.
 *
 * 2C-06 only stores a key; whether the card accepts it shows at the next read or write, so the proof is a read of the
 * sector's trailer, which any key that is good for anything may read. The reader's commands for several blocks leave
 * trailers out without counting them, so none is ever sent that would cross one: trailers go singly, in their place.
 *
 * Every command here belongs to the session of the powered card (only_while): if the session is lost meanwhile, the
 * link does not send it. Results are those of reader/storage.h: the link's R_NO_CARD (session lost, the device knows)
 * becomes R_PROTOCOL; a status that says that the card was silent becomes R_NO_CARD, and nothing more is done about it
 * here.
 */
#include "vivopay/storage.h"

#include <string.h>
#include "base/buf.h"
#include "card/mifare.h"
#include "reader/device.h"
#include "vivopay/internal.h"

enum {
    SUB_AUTHENTICATE = 0x06,
    SUB_READ = 0x07,
    SUB_WRITE = 0x08,
    SUB_PURSE = 0x0A,
    SUB_FELICA_RAW = 0x44,
    COUNT_MAX = 15, /* blocks of one command */
    PAGE = 4,
    HEAD_INCREMENT = 0x80,
    HEAD_MIFARE = 0x30,
    FUNCTION_BACKUP = 0x01,
    FUNCTION_VALUE = 0x04,
    TYPE_MIFARE = 0x03,
    TYPE_BOTH = 0x07,
    TYPE_TAG2 = 0x0B,
    TYPE_ULTRALIGHT = 0x04,
    TYPE_FELICA = 0x0C,
    SAK_4K = 0x18,
    SAK_MINI = 0x09,
    AFTER_REFUSAL_MS = 100,
    PARAMETERS = 15, /* bytes */
    VICINITY_WAIT_US = 20000, /* a write may take that long */
    CHECK_EVERY_MS = 1000,
    CHECK_AGAIN_MS = 250,
    MISSES_GONE = 2
};

/* ---- one command ---------------------------------------------------------------------------------------------------
 */

static const struct {
    enum vivo_outcome outcome;
    enum result result;
} results[] = {
    {OUTCOME_DONE, R_SUCCESS},        {OUTCOME_ABSENT, R_NOT_SUPPORTED}, {OUTCOME_WRONG, R_INVALID},
    {OUTCOME_BLOCKED, R_DENIED},      {OUTCOME_NO_ANSWER, R_NO_CARD},    {OUTCOME_FAILED, R_CARD},
    {OUTCOME_WRONG_MODE, R_PROTOCOL}, {OUTCOME_TOO_LONG, R_SPACE},       {OUTCOME_BROKEN, R_COMM},
};

static enum result result_of(struct vivo *v, uint8_t status)
{
    const struct vivo_status *s = vivo_status(status);
    enum result r = R_COMM;

    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i].outcome == s->outcome)
            r = results[i].result;
    if (r == R_DENIED)
        vivo_explain_blocked(v, status);
    if (r == R_COMM)
        log_fault(v->reader.log, "storage card: status %02X, %s", status, s->meaning);
    if (r == R_PROTOCOL) {
        log_fault(v->reader.log, "the reader has left pass-through mode: the cards have lost their sessions");
        v->up = false;
        vivo_sessions_lost(v);
    }
    return r;
}

/* *f is empty unless the reader answered. */
static enum result exchange(struct vivo *v, unsigned slot, struct vivo_request *q, struct vivo_frame *f,
                            deadline_t until)
{
    struct vivo_slot *s = &v->slot[slot];
    enum result r;

    if (!q->command)
        q->command = VIVO_CMD_PASS_THROUGH;
    q->only_while = &s->powered;
    s->session = true;
    r = vivo_exchange(v, q, f, until);
    s->traffic = clock_now();
    if (r == R_SUCCESS)
        return result_of(v, f->status);
    f->n = 0;
    return r == R_NO_CARD ? R_PROTOCOL : r;
}

/* An answer of a length that its command has not is another command's, for answers do not tell what they answer: from
 * here on each would be taken for the next one's. The link gets in step before the next command. */
static enum result out_of_step(struct vivo *v, size_t n, size_t due)
{
    log_fault(v->reader.log, "storage card: an answer of %zu bytes where %zu were due; not believed", n, due);
    v->in_sync = false;
    return R_COMM;
}

/* A command whose answer, if it was done, has no data. */
static enum result command(struct vivo *v, unsigned slot, struct vivo_request *q, struct vivo_frame *f,
                           deadline_t until)
{
    enum result r = exchange(v, slot, q, f, until);

    if (r == R_SUCCESS && f->n > 0) {
        r = out_of_step(v, f->n, 0);
        f->n = 0;
    }
    return r;
}

/* ---- what is known of the card ---------------------------------------------------------------------------------- */

static enum storage_kind kind_of(const struct vivo *v)
{
    if (vivo_field_takes_apdus(v))
        return STORAGE_APDU;
    switch (v->field.card.type) {
    case TYPE_MIFARE:
    case TYPE_BOTH:
        return STORAGE_MIFARE;
    case TYPE_ULTRALIGHT:
    case TYPE_TAG2:
        return STORAGE_ULTRALIGHT;
    case TYPE_FELICA:
        return STORAGE_FELICA;
    case VIVO_TYPE_VICINITY:
        return STORAGE_VICINITY;
    default:
        return STORAGE_OTHER;
    }
}

static void mifare_facts(const struct vivo *v, struct storage_facts *f)
{
    f->block_size = MIFARE_BLOCK_SIZE;
    if (!f->sak_known)
        return;
    f->block_count = mifare_blocks_by_sak(f->sak);
    if (v->field.card.type == TYPE_MIFARE && f->sak == SAK_4K)
        f->nn = 0x0002;
    if (v->field.card.type == TYPE_MIFARE && f->sak == SAK_MINI)
        f->nn = 0x0026;
}

static enum result get_facts(struct reader *r, unsigned slot, struct storage_facts *f)
{
    const struct vivo *v = vivo_of(r);
    const struct vivo_card *c = &v->field.card;
    const struct vivo_card_type *t = vivo_card_type(c->type);

    *f = (struct storage_facts){.kind = STORAGE_NONE};
    if (v->slot[slot].kind != SLOT_CL)
        return R_NOT_SUPPORTED;
    if (!v->slot[slot].powered || !t)
        return R_NO_CARD;
    f->kind = kind_of(v);
    f->uid_len = c->uid_len < sizeof f->uid ? c->uid_len : sizeof f->uid;
    memcpy(f->uid, c->uid, f->uid_len);
    f->uid_fixed = vivo_uid_is_fixed(c);
    f->ats_len = c->ats_len < sizeof f->ats ? c->ats_len : sizeof f->ats;
    memcpy(f->ats, c->ats, f->ats_len);
    f->sak_known = f->atqa_known = v->field.sak_known;
    f->sak = v->field.sak;
    memcpy(f->atqa, v->field.atqa, sizeof f->atqa);
    f->ss = t->ss;
    f->nn = t->nn;
    f->selection = v->field.seen;
    if (f->kind == STORAGE_MIFARE)
        mifare_facts(v, f);
    if (f->kind == STORAGE_ULTRALIGHT)
        f->block_size = PAGE;
    if (f->kind == STORAGE_VICINITY) {
        f->nn = iso15693_card_name(f->uid);
        f->block_size = v->vicinity.card.block_size;
        f->block_count = v->vicinity.card.blocks;
    }
    return R_SUCCESS;
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

/* The first byte of 2C-07 and 2C-08: the card's type as the poll told it, also 07, and how many blocks. */
static uint8_t type_and_count(const struct vivo *v, unsigned count)
{
    unsigned type = v->field.card.type == TYPE_TAG2 ? TYPE_ULTRALIGHT : v->field.card.type & 0x0FU;

    return (uint8_t)(type << 4 | count);
}

/* One 2C-07: n bytes, a multiple of 16, which one count stands for with all cards. An answer that is not its own is
 * no reason to fail: a read may be sent twice. */
static enum result read_once(struct vivo *v, unsigned slot, unsigned first, size_t n, uint8_t *out, size_t wanted,
                             deadline_t until)
{
    const uint8_t head[] = {type_and_count(v, (unsigned)(n / MIFARE_BLOCK_SIZE)), (uint8_t)first};
    struct vivo_request q = {.sub = SUB_READ, .part1 = head, .n1 = sizeof head};
    struct vivo_frame f;
    enum result r = exchange(v, slot, &q, &f, until);

    if (r == R_SUCCESS && f.n != n && !vivo_is_encrypted(f.data, f.n)) {
        (void)out_of_step(v, f.n, n);
        r = exchange(v, slot, &q, &f, until);
    }
    if (r != R_SUCCESS)
        return r;
    if (f.n != n) {
        if (!vivo_is_encrypted(f.data, f.n))
            return out_of_step(v, f.n, n);
        vivo_explain_encrypted(v);
        return R_DENIED;
    }
    memcpy(out, f.data, wanted);
    return R_SUCCESS;
}

static enum result read_mifare(struct vivo *v, unsigned slot, unsigned first, unsigned count, uint8_t *out,
                               deadline_t until)
{
    enum result r = R_SUCCESS;

    while (count > 0 && r == R_SUCCESS) {
        unsigned data_blocks = mifare_trailer(first) - first, now = data_blocks == 0 ? 1 : data_blocks;
        size_t n;

        now = now < count ? now : count;
        n = (size_t)now * MIFARE_BLOCK_SIZE;
        r = read_once(v, slot, first, n, out, n, until);
        first += now;
        count -= now;
        out += n;
    }
    return r;
}

static enum result read_blocks(struct reader *reader, unsigned slot, unsigned first, unsigned count, uint8_t *out,
                               deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    size_t n = (size_t)count * PAGE;

    if (first > 0xFF)
        return R_INVALID;
    switch (kind_of(v)) {
    case STORAGE_MIFARE:
        return read_mifare(v, slot, first, count, out, until);
    case STORAGE_ULTRALIGHT:
        if (n > COUNT_MAX * MIFARE_BLOCK_SIZE)
            return R_INVALID;
        return read_once(v, slot, first, (n + MIFARE_BLOCK_SIZE - 1) / MIFARE_BLOCK_SIZE * MIFARE_BLOCK_SIZE, out, n,
                         until);
    default:
        return R_NOT_SUPPORTED;
    }
}

static enum result write_blocks(struct reader *reader, unsigned slot, unsigned first, unsigned count,
                                const uint8_t *data, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    enum storage_kind kind = kind_of(v);
    const uint8_t head[] = {type_and_count(v, count), (uint8_t)first};
    struct vivo_request q = {.sub = SUB_WRITE, .part1 = head, .n1 = sizeof head, .part2 = data};
    struct vivo_frame f;

    if (kind != STORAGE_MIFARE && kind != STORAGE_ULTRALIGHT)
        return R_NOT_SUPPORTED;
    if (first > 0xFF || count > COUNT_MAX)
        return R_INVALID;
    q.n2 = (size_t)count * (kind == STORAGE_MIFARE ? MIFARE_BLOCK_SIZE : PAGE);
    return command(v, slot, &q, &f, until);
}

static enum result authenticate(struct reader *reader, unsigned slot, unsigned block, uint8_t key_type,
                                const uint8_t key[STORAGE_KEY_SIZE], uint8_t access[3], deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    const uint8_t head[] = {(uint8_t)block, key_type == 0x60 ? 1 : 2};
    struct vivo_request q = {
        .sub = SUB_AUTHENTICATE, .part1 = head, .n1 = sizeof head, .part2 = key, .n2 = STORAGE_KEY_SIZE};
    uint8_t trailer[MIFARE_BLOCK_SIZE];
    struct vivo_frame f;
    enum result r;

    if (kind_of(v) != STORAGE_MIFARE)
        return R_NOT_SUPPORTED;
    r = command(v, slot, &q, &f, until);
    if (r == R_SUCCESS)
        r = read_once(v, slot, mifare_trailer(block), sizeof trailer, trailer, sizeof trailer, until);
    if (r == R_SUCCESS)
        memcpy(access, trailer + MIFARE_ACCESS_AT, 3);
    return r == R_NO_CARD ? R_CARD : r; /* a wrong key shows by either status: a card that refuses a key is mute */
}

/* ---- presence in session -------------------------------------------------------------------------------------------
 */

/* Only what a client has just been shown to be allowed: the trailer of the sector that is open. A session without that,
 * or one in which the client alone talks to the card, is left alone. */
static bool may_ask(const struct vivo *v, const struct storage_session *s)
{
    return kind_of(v) == STORAGE_MIFARE && s->auth.valid && !s->auth.elsewhere &&
           s->auth.selection == v->field.seen && !s->transparent.open;
}

static enum result ask_trailer(struct vivo *v, unsigned slot, unsigned trailer, deadline_t until, bool *there)
{
    const uint8_t head[] = {type_and_count(v, 1), (uint8_t)trailer};
    struct vivo_request q = {.sub = SUB_READ, .part1 = head, .n1 = sizeof head, .periodic = true};
    struct vivo_frame f;
    enum result r = exchange(v, slot, &q, &f, until);

    if (r == R_SUCCESS && f.n != MIFARE_BLOCK_SIZE && !vivo_is_encrypted(f.data, f.n))
        (void)out_of_step(v, f.n, MIFARE_BLOCK_SIZE);
    *there = r != R_CARD && r != R_NO_CARD; /* a card that was taken away shows by either */
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}

enum result vivo_storage_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms)
{
    const struct storage_session *s = &v->reader.device->slots[slot].storage;
    struct vivo_field *f = &v->field;
    bool there = true, worked = v->slot[slot].traffic > f->trailer_at;
    enum result r;

    *again_ms = READER_WATCH_NEVER;
    if (kind_of(v) != STORAGE_MIFARE)
        return R_SUCCESS;
    if (worked || !may_ask(v, s))
        f->trailer_misses = 0;
    *again_ms = (unsigned)deadline_left_ms((worked ? v->slot[slot].traffic : f->trailer_at) +
                                           (f->trailer_misses ? CHECK_AGAIN_MS : CHECK_EVERY_MS) * CLOCK_NS_PER_MS);
    if (*again_ms > 0)
        return R_SUCCESS;
    *again_ms = CHECK_EVERY_MS; /* it may be authenticated by then */
    if (!may_ask(v, s))
        return R_SUCCESS;
    r = ask_trailer(v, slot, mifare_sector_trailer(s->auth.sector), until, &there);
    f->trailer_at = clock_now();
    f->trailer_misses = there ? 0 : f->trailer_misses + 1;
    *again_ms = there ? CHECK_EVERY_MS : CHECK_AGAIN_MS;
    if (f->trailer_misses >= MISSES_GONE)
        vivo_field_gone(v, slot);
    return r;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static enum result purse_command(struct reader *reader, unsigned slot, const uint8_t *data, size_t n,
                                 uint8_t error[STORAGE_ERROR_MAX], size_t *error_len, deadline_t until)
{
    struct vivo_request q = {.sub = SUB_PURSE, .part1 = data, .n1 = n};
    struct vivo_frame f;
    enum result r = command(vivo_of(reader), slot, &q, &f, until);

    *error_len = r != R_SUCCESS && f.n == STORAGE_ERROR_MAX ? f.n : 0; /* any other number of bytes tells nothing */
    if (*error_len > 0)
        memcpy(error, f.data, *error_len);
    return r;
}

/* The reader's value function changes a block in place; a result that goes to another block is a copy there and a
 * change of the copy, in one command, in this order. */
static enum result change_value(struct reader *reader, unsigned slot, const struct storage_value *value,
                                deadline_t until)
{
    bool copy = value->target != value->block || value->op == VALUE_COPY, change = value->op != VALUE_COPY;
    uint8_t data[16], error[STORAGE_ERROR_MAX];
    struct wbuf w = wbuf_over(data, sizeof data);
    size_t error_len;
    enum result r;

    wbuf_u8(&w,
            (value->op == VALUE_INCREMENT ? HEAD_INCREMENT : 0U) | HEAD_MIFARE | ((unsigned)copy + (unsigned)change));
    if (copy) {
        wbuf_u8(&w, value->target);
        wbuf_u8(&w, FUNCTION_BACKUP);
        wbuf_u8(&w, value->block);
    }
    if (change) {
        wbuf_u8(&w, value->target);
        wbuf_u8(&w, FUNCTION_VALUE);
        wbuf_le32(&w, value->amount);
    }
    r = purse_command(reader, slot, w.data, w.len, error, &error_len, until);
    if (error_len > 0)
        log_fault(reader->log, "value operation failed at block %u, reader's code %02X", error[0], error[1]);
    return r;
}

/* ---- raw frames ------------------------------------------------------------------------------------------------- */

enum {
    NO_FILTER = 0x01,
    TX_BITS_SHIFT = 2,
    RED_PARITY = 0x01,
    RED_ODD = 0x02,
    RED_TX_CRC = 0x04,
    RED_RX_CRC = 0x08,
    RED_ISO3309 = 0x20,
    PCD_ACCESS = 0xEA
};

/* What the reader's front end says of an answer (IDG p288-289). */
static const struct {
    uint8_t pcd;
    enum result result;
    uint8_t rf_errors;
} pcd_results[] = {
    {PCD_OK, R_SUCCESS, 0},     {PCD_NO_TAG, R_NO_CARD, 0}, {PCD_TIMEOUT, R_NO_CARD, 0},
    {PCD_ACCESS, R_SUCCESS, 0}, /* a refusal of four bits, which is an answer */
    {PCD_CRC, R_CARD, RF_CRC},  {0xFB, R_CARD, RF_PARITY},  {0xE8, R_CARD, RF_COLLISION},
    {0xEB, R_CARD, RF_FRAMING}, {0xF4, R_CARD, RF_FRAMING}, /* byte count */
    {0xF5, R_CARD, RF_FRAMING},                             /* bit count */
};

static enum result judge_raw(struct vivo *v, const struct vivo_raw_answer *a, struct storage_exchange *x)
{
    enum result r = R_CARD;

    if (!a->judged)
        return result_of(v, a->reader);
    for (size_t i = 0; i < sizeof pcd_results / sizeof pcd_results[0]; i++) {
        if (pcd_results[i].pcd == a->pcd) {
            r = pcd_results[i].result;
            x->rf_errors = pcd_results[i].rf_errors;
        }
    }
    if (r == R_SUCCESS && a->n == 0 && x->answer)
        r = R_NO_CARD;
    if (r != R_SUCCESS)
        return r;
    if (a->n > x->rx_cap)
        return R_SPACE;
    if (a->n > 0)
        memcpy(x->rx, a->data, a->n);
    x->rx_len = a->n;
    x->rx_bits = a->bits & 7;
    return R_SUCCESS;
}

static enum result exchange_raw(struct vivo *v, unsigned slot, struct storage_exchange *x, bool type_b,
                                deadline_t until)
{
    unsigned redundancy = (x->tx_crc ? RED_TX_CRC : 0U) | (x->rx_crc ? RED_RX_CRC : 0U);
    struct vivo_raw raw = {.etu = x->timeout_us > 0 ? vivo_etu(x->timeout_us) : VIVO_USUAL_ETU,
                           .flags = (uint8_t)(NO_FILTER | x->tx_bits << TX_BITS_SHIFT),
                           .data = x->tx,
                           .n = x->tx_len};
    struct vivo_raw_answer a;
    enum result r;

    if (x->tx_parity != x->rx_parity || x->tx_len > VIVO_DATA_MAX - 7)
        return x->tx_parity != x->rx_parity ? R_NOT_SUPPORTED : R_SPACE;
    redundancy |= type_b ? RED_ISO3309 : x->tx_parity ? RED_PARITY | RED_ODD : 0U;
    raw.redundancy = (uint8_t)redundancy;
    v->slot[slot].session = true;
    r = vivo_raw_exchange(v, &raw, &v->slot[slot].powered, &a, until);
    v->slot[slot].traffic = clock_now();
    if (r == R_SUCCESS)
        r = judge_raw(v, &a, x);
    else if (r == R_NO_CARD)
        r = R_PROTOCOL;
    return r == R_NO_CARD && !x->answer ? R_SUCCESS : r;
}

static enum result exchange_vicinity(struct vivo *v, unsigned slot, struct storage_exchange *x, deadline_t until)
{
    static const enum result verdicts[] = {
        [VERDICT_SILENCE] = R_NO_CARD,     [VERDICT_ANSWER] = R_SUCCESS, [VERDICT_COLLISION] = R_CARD,
        [VERDICT_BROKEN] = R_CARD,         [VERDICT_ODD] = R_CARD,       [VERDICT_REFUSED] = R_NOT_SUPPORTED,
        [VERDICT_WRONG_MODE] = R_PROTOCOL, [VERDICT_TOO_LONG] = R_SPACE,
    };
    struct vivo_air q = {.frame = x->tx,
                         .n = x->tx_len,
                         .wait_us = x->timeout_us > 0 ? x->timeout_us : VICINITY_WAIT_US,
                         .tx_crc = x->tx_crc,
                         .rx_crc = x->rx_crc,
                         .only_while = &v->slot[slot].powered};
    struct vivo_air_answer a;
    enum result r;

    v->slot[slot].session = true;
    r = vivo_vicinity_send(v, &q, &a, until);
    v->slot[slot].traffic = clock_now();
    if (r != R_SUCCESS)
        return r == R_NO_CARD ? R_PROTOCOL : r;
    r = verdicts[a.verdict];
    x->rf_errors = a.verdict == VERDICT_COLLISION ? RF_COLLISION : a.verdict == VERDICT_BROKEN ? RF_CRC : 0;
    if (r == R_SUCCESS && a.n > x->rx_cap)
        return R_SPACE;
    if (r == R_SUCCESS && a.n > 0)
        memcpy(x->rx, a.data, x->rx_len = a.n);
    return r == R_NO_CARD && !x->answer ? R_SUCCESS : r;
}

/* FeliCa frames begin with their length, itself included; the reader's LEN counts what follows. Clients send either. */
static enum result exchange_felica(struct vivo *v, unsigned slot, struct storage_exchange *x, deadline_t until)
{
    bool with_length = x->tx_len > 1 && x->tx[0] == x->tx_len;
    const uint8_t *p = x->tx + with_length;
    size_t n = x->tx_len - with_length;
    const uint8_t len = (uint8_t)n;
    struct vivo_request q = {.sub = SUB_FELICA_RAW, .part1 = &len, .n1 = 1, .part2 = p, .n2 = n};
    struct vivo_frame f;
    enum result r;

    if (n == 0 || n > 0xFF)
        return R_INVALID;
    r = exchange(v, slot, &q, &f, until);
    if (r == R_CARD)
        r = R_NO_CARD;
    if (r != R_SUCCESS)
        return r;
    if (f.n + with_length > x->rx_cap)
        return R_SPACE;
    if (with_length)
        x->rx[0] = (uint8_t)(f.n + 1);
    memcpy(x->rx + with_length, f.data, f.n);
    x->rx_len = f.n + with_length;
    return R_SUCCESS;
}

static enum result exchange_apdu(struct vivo *v, unsigned slot, struct storage_exchange *x, deadline_t until)
{
    struct vivo_request q = {.sub = VIVO_SUB_APDU, .part1 = x->tx, .n1 = x->tx_len};
    struct vivo_frame f;
    enum result r;

    if (!vivo_field_takes_apdus(v))
        return R_NOT_SUPPORTED;
    if (x->tx_len > VIVO_DATA_MAX)
        return R_SPACE;
    r = exchange(v, slot, &q, &f, until);
    if (r == R_CARD)
        r = R_NO_CARD;
    if (r != R_SUCCESS)
        return r;
    if (f.n < 2)
        return out_of_step(v, f.n, 2);
    if (f.n > x->rx_cap)
        return R_SPACE;
    memcpy(x->rx, f.data, f.n);
    x->rx_len = f.n;
    return R_SUCCESS;
}

static enum storage_protocol protocol_of_slot(const struct vivo *v)
{
    const struct vivo_card_type *t = vivo_card_type(v->field.card.type);

    if (vivo_field_takes_apdus(v))
        return STORAGE_ISO_DEP;
    if (v->field.card.type == TYPE_FELICA)
        return STORAGE_ISO18092;
    if (vivo_is_vicinity(v))
        return STORAGE_ISO15693;
    return t && t->type_b ? STORAGE_ISO14443B : STORAGE_ISO14443A;
}

static enum result exchange_frame(struct reader *reader, unsigned slot, struct storage_exchange *x, deadline_t until)
{
    struct vivo *v = vivo_of(reader);

    x->rx_len = x->rx_bits = x->rf_errors = 0;
    switch (x->protocol == STORAGE_OF_SLOT ? protocol_of_slot(v) : x->protocol) {
    case STORAGE_ISO14443A:
        return exchange_raw(v, slot, x, false, until);
    case STORAGE_ISO14443B:
        return exchange_raw(v, slot, x, true, until);
    case STORAGE_ISO18092:
        return exchange_felica(v, slot, x, until);
    case STORAGE_ISO_DEP:
        return exchange_apdu(v, slot, x, until);
    case STORAGE_ISO15693:
        return exchange_vicinity(v, slot, x, until);
    case STORAGE_OF_SLOT:
        break;
    }
    return R_NOT_SUPPORTED;
}

/* ---- what reader and card have agreed on ------------------------------------------------------------------------ */

/* 2C-05 (IDG p286): buffer sizes, CID, block number, whether there is a CID, waiting times; all high byte first. */
static enum result get_parameters(struct reader *reader, unsigned slot, struct storage_parameters *p, deadline_t until)
{
    struct vivo_request q = {.sub = VIVO_SUB_PARAMETERS};
    struct vivo_frame f;
    struct rbuf b;
    enum result r = exchange(vivo_of(reader), slot, &q, &f, until);

    memset(p, 0, sizeof *p);
    if (r != R_SUCCESS || f.n < PARAMETERS)
        return r == R_SUCCESS || r == R_CARD || r == R_NO_CARD ? R_NOT_SUPPORTED : r;
    b = rbuf_over(f.data, f.n);
    p->reader_frame = rbuf_be16(&b);
    p->card_frame = rbuf_be16(&b);
    p->cid = rbuf_u8(&b);
    (void)rbuf_u8(&b);
    p->cid_known = rbuf_u8(&b) != 0;
    p->waiting_time = rbuf_be32(&b);
    return R_SUCCESS;
}

/* ---- the field and selection ---------------------------------------------------------------------------------------
 */

static enum result set_field(struct reader *reader, unsigned slot, bool on, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    const uint8_t state = on;
    struct vivo_request q = {.command = VIVO_CMD_ANTENNA, .sub = 0x01, .part1 = &state, .n1 = 1};
    struct vivo_frame f;

    return exchange(v, slot, &q, &f, until);
}

/* The card was selected: what the poll told of it now. */
static void take_selected(struct vivo *v, const struct vivo_card *card)
{
    struct vivo_field *f = &v->field;

    f->active = true;
    f->misses = 0;
    f->seen = clock_now();
    f->card.uid_len = card->uid_len;
    memcpy(f->card.uid, card->uid, sizeof f->card.uid);
}

/* Is it the slot's card? If not, the slot's card is gone. */
static enum result compare(struct vivo *v, unsigned slot, const struct vivo_card *card)
{
    if (!vivo_same_card(&v->field.card, card)) {
        log_line(v->reader.log, PLOG_INFO, "another card is in the field");
        vivo_field_gone(v, slot);
        return R_NO_CARD;
    }
    take_selected(v, card);
    return R_SUCCESS;
}

static enum result poll(struct vivo *v, enum vivo_opener opener, unsigned ms, struct vivo_card *card, deadline_t until)
{
    enum result r = vivo_poll(v, opener, ms, false, card, until);

    vivo_pace_take(&v->pace, clock_now());
    return r;
}

/* A card that does not answer the first poll gets its power taken away and given back: some are mute until then. */
static enum result poll_stubbornly(struct vivo *v, unsigned slot, struct vivo_card *card, deadline_t until)
{
    enum result r = poll(v, v->field.opener, AFTER_REFUSAL_MS, card, until);

    if (r != R_SUCCESS || card->type != 0)
        return r;
    r = set_field(&v->reader, slot, false, until);
    if (r == R_SUCCESS)
        r = device_pause(v->reader.device, deadline_in(v->reader.settings->rf_off));
    if (r == R_SUCCESS)
        r = poll(v, v->field.opener, AFTER_REFUSAL_MS, card, until);
    return r;
}

static enum result reselect(struct reader *reader, unsigned slot, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    struct vivo_card card;
    enum result r;

    if (!v->slot[slot].powered || !v->field.present)
        return R_NO_CARD;
    v->field.active = false;
    r = poll_stubbornly(v, slot, &card, until);
    if (r != R_SUCCESS)
        return r == R_NOT_SUPPORTED ? R_NO_CARD : r;
    if (card.type == 0) {
        vivo_field_gone(v, slot);
        return R_NO_CARD;
    }
    r = compare(v, slot, &card);
    if (r == R_SUCCESS && !vivo_uid_is_fixed(&v->field.card)) { /* it may be another one with a random number */
        v->slot[slot].powered = v->slot[slot].session = false;
        slot_lost(reader->device, slot);
        r = R_NO_CARD;
    }
    return r;
}

static bool is_of(const struct vivo_card *card, enum storage_protocol protocol)
{
    const struct vivo_card_type *t = vivo_card_type(card->type);

    if (protocol == STORAGE_ISO18092)
        return card->type == TYPE_FELICA;
    return t && card->type != TYPE_FELICA && t->type_b == (protocol == STORAGE_ISO14443B);
}

static enum result select_card(struct reader *reader, unsigned slot, enum storage_protocol protocol, unsigned layer,
                               uint8_t *sak, deadline_t until)
{
    struct vivo *v = vivo_of(reader);
    enum vivo_opener opener = protocol == STORAGE_ISO18092 ? OPEN_BY_40 : layer == 4 ? OPEN_BY_0C : OPEN_BY_02;
    struct vivo_card card;
    enum result r;

    *sak = 0;
    if (protocol == STORAGE_ISO15693) /* nothing selects one but its own commands */
        return vivo_is_vicinity(v) || layer < 3 ? R_SUCCESS : R_CARD;
    if (layer < 3)
        return R_SUCCESS;
    r = poll(v, opener, AFTER_REFUSAL_MS, &card, until);
    if (r != R_SUCCESS)
        return r;
    if (card.type == 0 || !is_of(&card, protocol))
        return R_CARD;
    r = compare(v, slot, &card);
    if (r == R_SUCCESS && protocol == STORAGE_ISO14443A && layer == 3 && v->field.sak_known)
        *sak = v->field.sak;
    return r == R_NO_CARD ? R_PROTOCOL : r;
}

/* ---- lamps ------------------------------------------------------------------------------------------------------ */

/* Commands that any reader has, or has not, and that no card is needed for. */
static enum result show(struct vivo *v, uint8_t command, uint8_t sub, const uint8_t *data, size_t n, deadline_t until)
{
    struct vivo_request q = {.command = command, .sub = sub, .part1 = data, .n1 = n};
    struct vivo_frame f;
    enum result r = vivo_exchange(v, &q, &f, until);

    if (r == R_SUCCESS)
        r = result_of(v, f.status);
    else if (r == R_NO_CARD)
        r = R_TIMEOUT;
    return r == R_INVALID || r == R_DENIED ? R_NOT_SUPPORTED : r;
}

static enum result indicate(struct reader *reader, const struct storage_signal *s, deadline_t until)
{
    enum {
        LED = 0x0A,
        LED_SUB = 0x02,
        BEEP = 0x0B,
        BEEP_SUB = 0x01,
        ALL = 0xFF,
        OFF = 0,
        GREEN = 2,
        RED = 3,
        AMBER = 4
    };
    struct vivo *v = vivo_of(reader);
    bool red = s->red > 0, green = s->green > 0;
    const uint8_t led[] = {ALL, red && green ? AMBER : red ? RED : green ? GREEN : OFF}, beeps = (uint8_t)s->beeps;
    enum result r = R_SUCCESS;

    if (s->red >= 0 || s->green >= 0)
        r = show(v, LED, LED_SUB, led, sizeof led, until);
    if (r == R_SUCCESS && beeps > 0)
        r = show(v, BEEP, BEEP_SUB, &beeps, 1, until);
    return r;
}

const struct storage_ops vivo_storage_ops = {
    .facts = get_facts,
    .authenticate = authenticate,
    .read = read_blocks,
    .write = write_blocks,
    .value = change_value,
    .purse = purse_command,
    .exchange = exchange_frame,
    .parameters = get_parameters,
    .field = set_field,
    .select = select_card,
    .reselect = reselect,
    .indicate = indicate,
};
