/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ISO/IEC 15693-3 frames; iso15693.h says what they are. The table of commands is the one place that knows how a
 * command is made up: what may follow the UID, what comes back, how long the card may work. Requests are judged against
 * it before they are sent, answers when they come, so a count byte that contradicts the data never reaches a card.
 */
#include "card/iso15693.h"

#include <string.h>
#include "base/buf.h"
#include "base/checksum.h"

/* A card begins to answer after a third of a millisecond; the rest is for the reader. Writing takes a card up to
 * 20 ms, and custom commands may write. */
enum { READ_US = 10000, WRITE_US = 100000 };

static const struct iso15693_command commands[] = {
    {ISO15693_INVENTORY_CARDS, SHAPE_MASK, ANSWER_TAG, false, true, false, false, READ_US, "Inventory"},
    {ISO15693_STAY_QUIET, SHAPE_NONE, ANSWER_NEVER, true, false, false, false, READ_US, "Stay quiet"},
    {ISO15693_READ_BLOCK, SHAPE_BLOCK, ANSWER_BLOCKS, false, true, false, false, READ_US, "Read single block"},
    {ISO15693_WRITE_BLOCK, SHAPE_BLOCK_DATA, ANSWER_EMPTY, false, false, true, false, WRITE_US, "Write single block"},
    {ISO15693_LOCK_BLOCK, SHAPE_BLOCK, ANSWER_EMPTY, false, false, true, true, WRITE_US, "Lock block"},
    {ISO15693_READ_BLOCKS, SHAPE_RANGE, ANSWER_BLOCKS, false, true, false, false, READ_US, "Read multiple blocks"},
    {ISO15693_WRITE_BLOCKS, SHAPE_RANGE_DATA, ANSWER_EMPTY, false, false, true, false, WRITE_US,
     "Write multiple blocks"},
    {ISO15693_SELECT, SHAPE_NONE, ANSWER_EMPTY, true, false, false, false, READ_US, "Select"},
    {ISO15693_RESET_TO_READY, SHAPE_NONE, ANSWER_EMPTY, false, false, false, false, READ_US, "Reset to ready"},
    {ISO15693_WRITE_AFI, SHAPE_BYTE, ANSWER_EMPTY, false, false, true, false, WRITE_US, "Write AFI"},
    {ISO15693_LOCK_AFI, SHAPE_NONE, ANSWER_EMPTY, false, false, true, true, WRITE_US, "Lock AFI"},
    {ISO15693_WRITE_DSFID, SHAPE_BYTE, ANSWER_EMPTY, false, false, true, false, WRITE_US, "Write DSFID"},
    {ISO15693_LOCK_DSFID, SHAPE_NONE, ANSWER_EMPTY, false, false, true, true, WRITE_US, "Lock DSFID"},
    {ISO15693_SYSTEM_INFORMATION, SHAPE_NONE, ANSWER_SYSTEM, false, true, false, false, READ_US,
     "Get system information"},
    {ISO15693_SECURITY_STATUS, SHAPE_RANGE, ANSWER_STATUSES, false, true, false, false, READ_US, "Get security status"},
};

static const struct iso15693_command custom = {ISO15693_CUSTOM_FIRST, SHAPE_ANY, ANSWER_ANY, false, false, true, false,
                                               WRITE_US, "custom command"};

static bool is_custom(uint8_t code)
{
    return code >= ISO15693_CUSTOM_FIRST && code <= ISO15693_CUSTOM_LAST;
}

const struct iso15693_command *iso15693_command(uint8_t code)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (commands[i].code == code)
            return &commands[i];
    return is_custom(code) ? &custom : NULL;
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static bool is_inventory(const struct iso15693_request *q)
{
    return (q->flags & ISO15693_INVENTORY) != 0;
}

static bool is_addressed(const struct iso15693_request *q)
{
    return !is_inventory(q) && (q->flags & ISO15693_ADDRESSED) != 0;
}

static bool fits_block(size_t n, unsigned block_size)
{
    return block_size > 0 ? n == block_size : n >= 1 && n <= ISO15693_BLOCK_MAX;
}

/* n bytes are `count` blocks. */
static bool fits_blocks(size_t n, size_t count, unsigned block_size)
{
    return count > 0 && n % count == 0 && fits_block(n / count, block_size);
}

static bool fits_mask(const struct iso15693_request *q)
{
    size_t at = q->flags & ISO15693_HAS_AFI ? 1 : 0;

    return q->n > at && q->params[at] <= 8 * ISO15693_UID_SIZE && q->n - at - 1 == (q->params[at] + 7u) / 8;
}

static bool fits_shape(const struct iso15693_request *q, uint8_t shape, unsigned block_size)
{
    switch (shape) {
    case SHAPE_NONE:
        return q->n == 0;
    case SHAPE_MASK:
        return fits_mask(q);
    case SHAPE_BLOCK:
    case SHAPE_BYTE:
        return q->n == 1;
    case SHAPE_BLOCK_DATA:
        return q->n > 1 && fits_block(q->n - 1, block_size);
    case SHAPE_RANGE:
        return q->n == 2 && q->params[0] + q->params[1] < ISO15693_BLOCKS_MAX;
    case SHAPE_RANGE_DATA:
        return q->n > 2 && q->params[0] + q->params[1] < ISO15693_BLOCKS_MAX &&
               fits_blocks(q->n - 2, q->params[1] + 1u, block_size);
    default:
        return q->n >= 1;
    }
}

enum result iso15693_check(const struct iso15693_request *q, unsigned block_size)
{
    const struct iso15693_command *c = iso15693_command(q->code);

    if (!c || q->flags & ISO15693_EXTENSION)
        return R_NOT_SUPPORTED;
    if (is_inventory(q) != (c->shape == SHAPE_MASK) || (c->addressed && !is_addressed(q)))
        return R_PROTOCOL;
    if (is_addressed(q) && q->flags & ISO15693_SELECTED)
        return R_PROTOCOL;
    return fits_shape(q, c->shape, block_size) ? R_SUCCESS : R_INVALID;
}

size_t iso15693_add_crc(uint8_t *frame, size_t n, size_t cap)
{
    struct wbuf w = wbuf_over(frame, cap);
    uint16_t crc = crc16_x25(frame, n);

    w.len = n;
    if (n > cap)
        return 0;
    wbuf_le16(&w, crc);
    return w.failed ? 0 : w.len;
}

size_t iso15693_build(const struct iso15693_request *q, bool with_crc, uint8_t *frame, size_t cap)
{
    struct wbuf w = wbuf_over(frame, cap);
    const uint8_t *params = q->params;
    size_t n = q->n;

    wbuf_u8(&w, q->flags);
    wbuf_u8(&w, q->code);
    if (is_custom(q->code) && !is_inventory(q)) {
        if (n == 0)
            return 0;
        wbuf_u8(&w, *params++);
        n--;
    }
    if (is_addressed(q)) {
        if (!q->uid)
            return 0;
        wbuf_bytes(&w, q->uid, ISO15693_UID_SIZE);
    }
    wbuf_bytes(&w, params, n);
    if (w.failed)
        return 0;
    return with_crc ? iso15693_add_crc(frame, w.len, cap) : w.len;
}

enum result iso15693_parse_request(const uint8_t *frame, size_t n, struct iso15693_request *q)
{
    struct rbuf r = rbuf_over(frame, n);

    *q = (struct iso15693_request){0};
    q->flags = rbuf_u8(&r);
    q->code = rbuf_u8(&r);
    if (is_addressed(q)) {
        if (is_custom(q->code))
            (void)rbuf_u8(&r); /* the manufacturer */
        q->uid = rbuf_bytes(&r, ISO15693_UID_SIZE);
    }
    if (r.failed)
        return R_INVALID;
    q->n = r.left;
    q->params = r.left > 0 ? r.data : NULL;
    return R_SUCCESS;
}

/* ---- responses ------------------------------------------------------------------------------------------------- */

enum { ERROR_FLAG = 0x01 };

enum result iso15693_parse_response(const uint8_t *frame, size_t n, bool with_crc, struct iso15693_response *out)
{
    struct rbuf r = rbuf_over(frame, n);

    *out = (struct iso15693_response){0};
    if (with_crc) {
        if (n < ISO15693_CRC_SIZE + 1)
            return R_COMM;
        r.left -= ISO15693_CRC_SIZE;
        if (crc16_x25(frame, r.left) != (frame[n - 2] | frame[n - 1] << 8))
            return R_COMM;
    }
    out->flags = rbuf_u8(&r);
    if (r.failed)
        return R_COMM;
    if (out->flags & ERROR_FLAG) {
        out->error = rbuf_u8(&r);
        /* A card that gives 00 for a reason gives none. */
        if (!r.failed && out->error == 0)
            out->error = ISO15693_NO_REASON;
    }
    out->data = r.left > 0 ? r.data : NULL;
    out->n = r.left;
    return r.failed ? R_COMM : R_SUCCESS;
}

static bool answers_blocks(const struct iso15693_request *q, size_t n, unsigned block_size)
{
    size_t count = q->code == ISO15693_READ_BLOCKS ? q->params[1] + 1u : 1;
    size_t status = q->flags & ISO15693_OPTION ? count : 0;

    return n > status && fits_blocks(n - status, count, block_size);
}

bool iso15693_answers(const struct iso15693_request *q, const struct iso15693_response *a, unsigned block_size)
{
    const struct iso15693_command *c = iso15693_command(q->code);
    struct iso15693_system s;

    if (a->error != 0 || !c)
        return true;
    switch (c->answer) {
    case ANSWER_NEVER:
        return false;
    case ANSWER_EMPTY:
        return a->n == 0;
    case ANSWER_TAG:
        return a->n == 1 + ISO15693_UID_SIZE;
    case ANSWER_BLOCKS:
        return answers_blocks(q, a->n, block_size);
    case ANSWER_SYSTEM:
        return iso15693_parse_system(a->data, a->n, &s) == R_SUCCESS &&
               (!is_addressed(q) || memcmp(s.uid, q->uid, sizeof s.uid) == 0);
    case ANSWER_STATUSES:
        return a->n == q->params[1] + 1u;
    default:
        return true;
    }
}

enum result iso15693_parse_system(const uint8_t *data, size_t n, struct iso15693_system *s)
{
    struct rbuf r = rbuf_over(data, n);
    uint8_t flags = rbuf_u8(&r);
    const uint8_t *uid = rbuf_bytes(&r, ISO15693_UID_SIZE);

    *s = (struct iso15693_system){.has_dsfid = (flags & 0x01) != 0,
                                  .has_afi = (flags & 0x02) != 0,
                                  .has_memory = (flags & 0x04) != 0,
                                  .has_reference = (flags & 0x08) != 0};
    if (uid)
        memcpy(s->uid, uid, sizeof s->uid);
    if (s->has_dsfid)
        s->dsfid = rbuf_u8(&r);
    if (s->has_afi)
        s->afi = rbuf_u8(&r);
    if (s->has_memory) {
        s->blocks = rbuf_u8(&r) + 1u;
        s->block_size = (rbuf_u8(&r) & 0x1F) + 1u;
    }
    if (s->has_reference)
        s->reference = rbuf_u8(&r);
    return r.failed ? R_COMM : R_SUCCESS;
}

/* ---- one card -------------------------------------------------------------------------------------------------- */

void iso15693_card_init(struct iso15693_card *card, const uint8_t uid[ISO15693_UID_SIZE])
{
    *card = (struct iso15693_card){.block_size = ISO15693_DEFAULT_BLOCK};
    memcpy(card->uid, uid, sizeof card->uid);
}

void iso15693_card_learn(struct iso15693_card *card, const struct iso15693_system *s)
{
    if (!s->has_memory)
        return;
    card->blocks = s->blocks;
    card->block_size = s->block_size;
}

/* A quiet card obeys only requests with its UID (5.2, the state diagram). */
static bool reaches(const struct iso15693_card *card, const struct iso15693_request *q)
{
    if (is_addressed(q))
        return memcmp(card->uid, q->uid, sizeof card->uid) == 0;
    return q->flags & ISO15693_SELECTED ? card->selected : !card->quiet;
}

void iso15693_card_track(struct iso15693_card *card, const uint8_t *frame, size_t n, const struct iso15693_response *a)
{
    struct iso15693_request q;
    bool reached;

    if (iso15693_parse_request(frame, n, &q) != R_SUCCESS || is_inventory(&q))
        return;
    reached = reaches(card, &q);
    switch (q.code) {
    case ISO15693_STAY_QUIET:
        if (reached && is_addressed(&q)) {
            card->quiet = true;
            card->selected = false;
        }
        break;
    case ISO15693_SELECT:
        if (!is_addressed(&q) || (reached && a && a->error != 0))
            break;
        card->selected = reached; /* the selection of another card ends this one's */
        if (reached)
            card->quiet = false;
        break;
    case ISO15693_RESET_TO_READY:
        if (reached && a && a->error == 0)
            card->quiet = card->selected = false;
        break;
    default:
        break;
    }
}

/* UID: E0, manufacturer (ISO/IEC 7816-6), then what the manufacturer makes of it; NXP, ST and Infineon begin with the
 * product. Only products whose code a manual names are here: most old ST chips (LRI512, LRI12, LRI128) have none. NXP's
 * 02 and 03 (SLI-S, SLI-L) are in no list of names. */
static const struct {
    uint8_t manufacturer, mask, product;
    uint16_t name;
} chips[] = {
    {0x02, 0xFC, 0x14, 0x0021}, /* LRI64: product code 000101 in the upper six bits */
    {0x04, 0xFF, 0x01, 0x0014}, /* ICODE SLI, SLIX */
    {0x05, 0xFF, 0x00, 0x000E}, /* SRF 55V10P */
    {0x05, 0xFF, 0x40, 0x000F}, /* SRF 55V02P */
    {0x05, 0xFF, 0x10, 0x0010}, /* SRF 55V10S */
    {0x05, 0xFF, 0x50, 0x0011}, /* SRF 55V02S */
    {0x07, 0x00, 0x00, 0x0012}, /* Tag-it HF-I, all */
};

uint16_t iso15693_card_name(const uint8_t uid[ISO15693_UID_SIZE])
{
    if (uid[7] != 0xE0)
        return 0;
    for (size_t i = 0; i < sizeof chips / sizeof chips[0]; i++)
        if (chips[i].manufacturer == uid[6] && chips[i].product == (uid[5] & chips[i].mask))
            return chips[i].name;
    return 0;
}

/* ---- inventory ------------------------------------------------------------------------------------------------- */

static uint64_t uid_bits(const uint8_t uid[ISO15693_UID_SIZE])
{
    uint64_t v = 0;

    for (unsigned i = 0; i < ISO15693_UID_SIZE; i++)
        v |= (uint64_t)uid[i] << 8 * i;
    return v;
}

static uint64_t low_bits(uint64_t v, unsigned bits)
{
    return bits >= 64 ? v : v & ((UINT64_C(1) << bits) - 1);
}

enum result iso15693_parse_mask(struct iso15693_search *s, const uint8_t *params, size_t n)
{
    struct rbuf r = rbuf_over(params, n);
    size_t bytes;

    if (s->has_afi)
        s->afi = rbuf_u8(&r);
    s->bits = rbuf_u8(&r);
    bytes = (s->bits + 7) / 8;
    if (r.failed || s->bits > 8 * ISO15693_UID_SIZE || r.left != bytes)
        return R_INVALID;
    s->mask = 0;
    for (size_t i = 0; i < bytes; i++)
        s->mask |= (uint64_t)rbuf_u8(&r) << 8 * i;
    s->mask = low_bits(s->mask, s->bits);
    return R_SUCCESS;
}

/* One single-slot inventory. */
static size_t inventory_frame(const struct iso15693_search *s, unsigned bits, uint64_t mask, uint8_t *frame, size_t cap)
{
    struct wbuf w = wbuf_over(frame, cap);

    wbuf_u8(&w, (unsigned)((s->flags ? s->flags : ISO15693_HIGH_RATE) | ISO15693_INVENTORY | ISO15693_ONE_SLOT |
                           (s->has_afi ? ISO15693_HAS_AFI : 0)));
    wbuf_u8(&w, ISO15693_INVENTORY_CARDS);
    if (s->has_afi)
        wbuf_u8(&w, s->afi);
    wbuf_u8(&w, bits);
    for (unsigned i = 0; i < bits; i += 8)
        wbuf_u8(&w, (unsigned)(mask >> i & 0xFF));
    return w.len;
}

/* Takes an answer over. False: it is none that this mask can have. */
static bool take_tag(const uint8_t *answer, size_t n, unsigned bits, uint64_t mask, struct iso15693_found *found)
{
    struct iso15693_response a;
    struct iso15693_tag tag;

    if (iso15693_parse_response(answer, n, false, &a) != R_SUCCESS || a.error != 0 || a.n != 1 + ISO15693_UID_SIZE)
        return false;
    tag.dsfid = a.data[0];
    memcpy(tag.uid, a.data + 1, sizeof tag.uid);
    if (low_bits(uid_bits(tag.uid), bits) != mask)
        return false;
    found->tags[found->count++] = tag;
    return true;
}

/* Where the walk stands: the mask, how many of its bits were given, and how many were put to each earlier level. */
struct walk {
    unsigned base, bits;
    uint64_t mask;
};

/* The next value at this level, or at the nearest one above that has one left. False: the field is searched. */
static bool next_mask(struct walk *w)
{
    while (w->bits > w->base) {
        unsigned step = (w->bits - w->base) % 4 ? (w->bits - w->base) % 4 : 4;
        unsigned low = w->bits - step;

        if (w->mask >> low < (UINT64_C(1) << step) - 1) {
            w->mask += UINT64_C(1) << low;
            return true;
        }
        w->mask = low_bits(w->mask, low);
        w->bits = low;
    }
    return false;
}

/* One step: what is heard with the mask as it stands, and where to go. */
static enum result search_step(const struct iso15693_search *s, struct walk *w, iso15693_exchange_fn exchange,
                               void *context, struct iso15693_found *found, bool *deeper)
{
    uint8_t frame[16], answer[32];
    size_t n = inventory_frame(s, w->bits, w->mask, frame, sizeof frame), len = 0;
    enum iso15693_air air = AIR_SILENCE;
    enum result r = exchange(context, frame, n, &air, answer, sizeof answer, &len);

    *deeper = false;
    found->steps++;
    if (r != R_SUCCESS || air == AIR_SILENCE)
        return r;
    if (air == AIR_ANSWER && take_tag(answer, len, w->bits, w->mask, found))
        return R_SUCCESS;
    if (w->bits >= 64)
        found->more = true; /* two cards with one UID, or noise */
    else
        *deeper = true;
    return R_SUCCESS;
}

enum result iso15693_inventory(const struct iso15693_search *s, iso15693_exchange_fn exchange, void *context,
                               struct iso15693_found *found)
{
    struct walk w = {.base = s->bits, .bits = s->bits, .mask = low_bits(s->mask, s->bits)};
    size_t wanted = s->wanted < ISO15693_TAGS_MAX ? s->wanted : ISO15693_TAGS_MAX;
    unsigned steps = s->steps > 0 ? s->steps : ISO15693_INVENTORY_STEPS;
    bool deeper;

    *found = (struct iso15693_found){0};
    if (s->bits > 64)
        return R_INVALID;
    do {
        enum result r = search_step(s, &w, exchange, context, found, &deeper);

        if (r != R_SUCCESS)
            return r;
        if (deeper)
            w.bits = w.bits + 4 <= 64 ? w.bits + 4 : 64; /* the value of the new bits is 0 */
        else if (!next_mask(&w))
            return R_SUCCESS;
    } while (found->count < wanted && found->steps < steps);
    found->more = true;
    return R_SUCCESS;
}
