/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows of a ViVOpay reader about contactless cards. The APDUs are SELECT commands; what they bring is not looked at but
 * for its status word.
 */
#include "probe/vivo_rows.h"

#include <string.h>

enum { TAPS = 20, SLOW_POLL = 500, ATS_MAX = 20, TYPE_OF_B = 0x02 };

static struct vivo_heard h;

const uint8_t vivo_select_ppse[] = {0x00, 0xA4, 0x04, 0x00, 0x0E, '2', 'P', 'A', 'Y', '.',
                                    'S',  'Y',  'S',  '.',  'D',  'D', 'F', '0', '1', 0x00};
const size_t vivo_select_ppse_size = sizeof vivo_select_ppse;

static bool select_ppse(struct probe *p)
{
    return vivo_apdu(p, vivo_select_ppse, vivo_select_ppse_size, &h);
}

bool vivo_open_apdu(struct probe *p, struct vivo_heard *answer)
{
    if (vivo_poll_by(p, VIVO_SUB_ENHANCED_POLL, answer) || vivo_poll_by(p, VIVO_SUB_POLL, answer))
        return true;
    not_tried(p, "the card is not found any more");
    return false;
}

static bool is_absent(void)
{
    return h.status == VIVO_UNKNOWN_COMMAND || h.status == VIVO_UNKNOWN_SUB_COMMAND;
}

/* ---- polls ------------------------------------------------------------------------------------------------------- */

void row_v16(struct probe *p)
{
    static const uint8_t fifth[] = {0, 20};

    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_POLL, fifth, sizeof fifth, 200, &h))
        contradicted(p, NULL, "a poll of an empty field brings no answer");
    else if (h.status == VIVO_TIMEOUT)
        confirmed(p, "a poll of an empty field is answered with status 08");
    else if (h.status == VIVO_OK && (h.n == 0 || (h.n == 1 && h.data[0] == 0)))
        confirmed(p, "a poll of an empty field is answered with status 00 and %s", h.n ? "type 00" : "no data");
    else
        contradicted(p, NULL, "a poll of an empty field is answered with status %02X and %zu bytes", h.status, h.n);
}

void row_v17(struct probe *p)
{
    enum vivo_layout layout = LAYOUT_UNKNOWN;
    struct vivo_card plain, full;

    if (!vivo_poll_by(p, VIVO_SUB_POLL, &h)) {
        not_tried(p, "the card is not found any more");
        return;
    }
    plain = p->v->card;
    (void)vivo_poll_by(p, VIVO_SUB_POLL_ATS, &h); /* its parser is for 2C-02 */
    if (h.kind != VIVO_ANSWER || is_absent())
        not_tried(p, "this reader has no 2C-0E (status %02X)", h.status);
    else if (h.status != VIVO_OK || !vivo_parse_poll_ats(h.data, h.n, &layout, &full))
        contradicted(p, NULL, "an answer to 2C-0E (status %02X, %zu bytes) has neither layout", h.status, h.n);
    else if (!vivo_same_card(&plain, &full))
        contradicted(p, NULL, "2C-0E, read as assumed, tells another serial number than 2C-02");
    else if (full.ats_len == 0)
        contradicted(p, NULL, "an answer to 2C-0E of %zu bytes cannot be read in one way", h.n);
    else
        confirmed(p, "layout %s, an ATS of %zu bytes",
                  layout == LAYOUT_A   ? "with lengths"
                  : layout == LAYOUT_B ? "without lengths"
                                       : "?",
                  full.ats_len);
}

/* Is the block there for the taking, with the factory key? */
static bool read_as_mifare(struct probe *p)
{
    static const uint8_t key[] = {0x03, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, read[] = {0x71, 0x03};

    return vivo_poll_by(p, VIVO_SUB_POLL, &h) && vivo_do(p, VIVO_CMD_PASS_THROUGH, 0x06, key, sizeof key, 0, &h) &&
           vivo_ok(&h) && vivo_do(p, VIVO_CMD_PASS_THROUGH, 0x07, read, sizeof read, 0, &h) && vivo_ok(&h);
}

void row_v18(struct probe *p)
{
    if (!vivo_poll_by(p, VIVO_SUB_ENHANCED_POLL, &h))
        contradicted(p, NULL, "2C-0C 0001 does not find the card (status %02X)", h.status);
    else if (!select_ppse(p))
        contradicted(p, "prefer = mifare", "after 2C-0C 0001 an APDU is answered with status %02X", h.status);
    else if (!p->o->keys)
        confirmed(p, "after 2C-0C 0001 APDUs are answered (2C-02 for MIFARE was not tried: --keys)");
    else if (!read_as_mifare(p))
        contradicted(p, NULL, "after 2C-02 block 3 cannot be read with the factory key (status %02X)", h.status);
    else
        confirmed(p, "after 2C-0C 0001 APDUs are answered, after 2C-02 MIFARE commands");
}

static bool is_random(const struct vivo_card *c)
{
    return !vivo_uid_is_fixed(c);
}

/* Polls twice, with the field off between if `off`. False: the card went away. */
static bool poll_twice(struct probe *p, bool off, struct vivo_card *first, struct vivo_card *second)
{
    if (!vivo_poll_by(p, VIVO_SUB_POLL, &h))
        return false;
    *first = p->v->card;
    if (off)
        vivo_field_off(p, p->settings.rf_off);
    if (!vivo_poll_by(p, VIVO_SUB_POLL, &h))
        return false;
    *second = p->v->card;
    return true;
}

static bool same_uid(const struct vivo_card *a, const struct vivo_card *b)
{
    return a->uid_len == b->uid_len && memcmp(a->uid, b->uid, a->uid_len) == 0;
}

void row_v19(struct probe *p)
{
    struct vivo_card first, second, third;

    if (!poll_twice(p, true, &first, &second))
        not_tried(p, "the card is not found any more");
    else if (same_uid(&first, &second))
        not_tried(p, "this card's serial number does not show whether it was reset; one with a random number does");
    else if (!poll_twice(p, false, &second, &third))
        not_tried(p, "the card is not found any more");
    else if (same_uid(&second, &third))
        contradicted(p, NULL, "a second poll brings the same random number: the card was not activated anew");
    else
        confirmed(p, "a second poll brings another random number: the card was activated anew");
}

static unsigned taps(struct probe *p)
{
    unsigned found = 0;

    for (unsigned i = 0; i < TAPS && !p->gone; i++) {
        size_t mark = p->trace_len;

        vivo_field_off(p, p->settings.rf_off);
        found += vivo_poll_by(p, VIVO_SUB_POLL, &h);
        if (i > 0)
            p->trace_len = mark;
        vivo_settle(p);
    }
    return found;
}

void row_v20(struct probe *p)
{
    unsigned usual = p->settings.poll_time, found = taps(p), slow;

    if (found == TAPS) {
        confirmed(p, "%u polls of %u ms, each with a fresh field, found the card", found, usual);
        return;
    }
    p->settings.poll_time = SLOW_POLL;
    slow = taps(p);
    p->settings.poll_time = usual;
    contradicted(p, slow > found ? "poll_time = 500" : NULL, "%u of %d polls of %u ms found the card; of %d ms, %u",
                 found, TAPS, usual, SLOW_POLL, slow);
}

void row_v21(struct probe *p)
{
    const struct vivo_wire *v = p->v;
    char all[64];
    size_t n = 0;

    all[0] = '\0';
    for (size_t i = 0; i < v->type_count; i++) {
        if (!vivo_card_type(v->types[i]))
            contradicted(p, NULL, "a card has type %02X, which is in no list", v->types[i]);
        n += (size_t)snprintf(all + n, sizeof all - n, " %02X", v->types[i]);
    }
    if (v->type_count == 0)
        not_tried(p, "no contactless card was seen");
    else
        confirmed(p, "types seen:%s", all);
}

void row_v22(struct probe *p)
{
    struct vivo_card first, second;

    if (!poll_twice(p, true, &first, &second))
        not_tried(p, "the card is not found any more");
    else if (is_random(&first) && same_uid(&first, &second))
        contradicted(p, NULL,
                     "a serial number that should be random stays the same (no harm: it tells no cards apart)");
    else if (!is_random(&first) && !same_uid(&first, &second))
        contradicted(p, NULL, "a serial number that should be fixed changes");
    else
        confirmed(p, "the serial number of this card is %s, as its form says", is_random(&first) ? "random" : "fixed");
}

/* The ATS of a card of type A, past a reader that does not tell it: the card is put to sleep (DESELECT for one that
 * speaks ISO 14443-4 already, HLTA for one that does not), selected by hand and asked by RATS. 0: it could not be had.
 */
static size_t ats_by_hand(struct probe *p, uint8_t ats[ATS_MAX])
{
    static const uint8_t deselect[] = {0xC2}, rats[] = {0xE0, 0x50};
    uint8_t atqa[2], sak, pcd = PCD_TIMEOUT;
    size_t n = 0;

    if (!vivo_poll_by(p, VIVO_SUB_POLL, &h) || p->v->card.type == TYPE_OF_B)
        return 0;
    vivo_raw(p, 0x01, VIVO_RAW_A, deselect, sizeof deselect, &pcd, &h);
    if (vivo_select_by_hand(p, atqa, &sak) && vivo_raw(p, 0x01, VIVO_RAW_A, rats, sizeof rats, &pcd, &h) &&
        pcd == PCD_OK && h.n > 5 && h.n - 5 <= ATS_MAX && h.data[5] == h.n - 5) {
        n = h.n - 5;
        memcpy(ats, h.data + 5, n);
    }
    vivo_field_off(p, p->settings.rf_off); /* it is in a state that the reader knows nothing of */
    return n;
}

static void judge_without_ats(struct probe *p)
{
    uint8_t ats[ATS_MAX];
    size_t n = ats_by_hand(p, ats);
    struct atr atr;

    if (n == 0) {
        not_tried(p, "this reader gives no ATS, and none could be had by raw exchanges (status %02X)", h.status);
        return;
    }
    atr_from_ats(&atr, ats, n);
    if (atr.len == 5)
        confirmed(p, "this card's ATS, had by raw exchanges, has no historical bytes: its ATR is just that");
    else
        contradicted(p, NULL, "this card's ATS, had by raw exchanges, has %zu historical bytes that its ATR leaves out",
                     atr.len - 5);
}

void row_v23(struct probe *p)
{
    enum vivo_layout layout = LAYOUT_UNKNOWN;
    struct vivo_card card;
    struct atr atr;

    (void)vivo_poll_by(p, VIVO_SUB_POLL_ATS, &h);
    if (!vivo_ok(&h) || !vivo_parse_poll_ats(h.data, h.n, &layout, &card) || card.ats_len == 0) {
        judge_without_ats(p);
        return;
    }
    atr_from_ats(&atr, card.ats, card.ats_len);
    if (atr.len == 5)
        confirmed(p, "this card's ATS has no historical bytes, so its ATR is just that");
    else
        not_tried(p, "this reader gives the ATS, with %zu historical bytes: the assumption is not used", atr.len - 5);
}

/* ---- APDUs ------------------------------------------------------------------------------------------------------- */

/* SELECT of a name of zeros that no card has, `n` bytes in all. */
static void select_of_length(uint8_t *apdu, size_t n)
{
    memset(apdu, 0, n);
    apdu[1] = 0xA4;
    apdu[2] = 0x04;
    if (n <= 5 + 255) {
        apdu[4] = (uint8_t)(n - 5);
    } else {
        apdu[5] = (uint8_t)((n - 7) >> 8);
        apdu[6] = (uint8_t)(n - 7);
    }
}

void row_v24(struct probe *p)
{
    static const size_t lengths[] = {250, 260, 300, 1000, VIVO_DATA_MAX};
    static uint8_t apdu[VIVO_DATA_MAX];
    size_t passed = 0;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        if (!vivo_open_apdu(p, &h))
            return;
        select_of_length(apdu, lengths[i]);
        if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_APDU, apdu, lengths[i], 0, &h)) {
            contradicted(p, NULL, "an APDU of %zu bytes brings no answer", lengths[i]);
            return;
        }
        if (h.status == VIVO_TOO_LONG || h.status == VIVO_FRAME_TOO_LARGE || h.status == VIVO_BAD_PARAMETER ||
            h.status == VIVO_MALFORMED) {
            contradicted(p, NULL, "an APDU of %zu bytes is refused by the reader (status %02X); %zu pass", lengths[i],
                         h.status, passed);
            return;
        }
        if (h.status != VIVO_OK)
            break; /* the card does not bear it */
        passed = lengths[i];
    }
    if (passed == VIVO_DATA_MAX)
        confirmed(p, "APDUs of 250 to %d bytes pass", VIVO_DATA_MAX);
    else
        not_tried(p, "this card answers APDUs of up to %zu bytes only (status %02X beyond)", passed, h.status);
}

struct last_status {
    enum vivo_heard_kind kind;
    uint8_t status;
};

static bool gone_during_apdu(struct probe *p, void *arg)
{
    struct last_status *last = arg;
    size_t mark = p->trace_len;

    for (unsigned i = 0; i < 20 && !p->gone; i++) {
        p->trace_len = mark;
        select_ppse(p);
        *last = (struct last_status){h.kind, h.status};
        if (h.kind != VIVO_ANSWER || h.status != VIVO_OK)
            return true;
    }
    return false;
}

void row_v25(struct probe *p)
{
    struct last_status last = {VIVO_SILENCE, 0};

    if (!vivo_open_apdu(p, &h))
        return;
    if (!ask_to(p, "take the card away while it is spoken to", gone_during_apdu, &last))
        not_tried(p, "the card was not taken away");
    else if (last.kind != VIVO_ANSWER)
        contradicted(p, NULL, "the APDU during which the card left brought no answer");
    else if (last.status == VIVO_TIMEOUT || last.status == VIVO_FAILED)
        confirmed(p, "a card that leaves shows as status %02X", last.status);
    else
        contradicted(p, NULL, "a card that leaves shows as status %02X", last.status);
}

void row_v26(struct probe *p)
{
    static const uint8_t on = 1;

    if (!vivo_open_apdu(p, &h))
        return;
    if (!select_ppse(p)) {
        not_tried(p, "the card does not take APDUs (status %02X)", h.status);
        return;
    }
    vivo_field_off(p, p->settings.rf_off);
    vivo_do(p, VIVO_CMD_ANTENNA, 0x01, &on, 1, 0, &h);
    if (select_ppse(p))
        contradicted(p, "rf_off = 50", "after %u ms without field the card's session goes on", p->settings.rf_off);
    else
        confirmed(p, "after %u ms without field the card's session is over (status %02X)", p->settings.rf_off,
                  h.status);
}

/* The block that asks again, as the reader counts blocks and CID (2C-05). */
static size_t rnak_block(struct probe *p, uint8_t block[2])
{
    block[0] = 0xB2;
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PARAMETERS, NULL, 0, 0, &h) || !vivo_ok(&h) || h.n < 15)
        return 1;
    block[0] |= h.data[5] & 1;
    if (h.data[6] == 0 || (h.data[4] & 0x0F) == 0)
        return 1;
    block[0] |= 0x08;
    block[1] = h.data[4] & 0x0F;
    return 2;
}

void row_v27(struct probe *p)
{
    const struct vivo_card_type *type;
    uint8_t block[2], pcd = PCD_TIMEOUT;
    size_t n;

    if (!vivo_open_apdu(p, &h))
        return;
    type = vivo_card_type(p->v->card.type);
    if (!select_ppse(p)) {
        not_tried(p, "the card does not take APDUs (status %02X)", h.status);
        return;
    }
    n = rnak_block(p, block);
    if (!vivo_raw(p, 0x01, type && type->type_b ? VIVO_RAW_B : VIVO_RAW_A, block, n, &pcd, &h))
        contradicted(p, NULL, "a raw R(NAK) is refused (status %02X): leave presence_check off", h.status);
    else if (pcd == PCD_TIMEOUT || pcd == PCD_NO_TAG)
        contradicted(p, NULL, "the card does not answer R(NAK) (PCD status %02X): leave presence_check off", pcd);
    else if (!select_ppse(p))
        contradicted(p, NULL, "after R(NAK) the session is broken (status %02X): leave presence_check off", h.status);
    else
        confirmed(p, "R(NAK) is answered and the session goes on (presence_check = rnak would work)");
}

/* ---- FeliCa ------------------------------------------------------------------------------------------------------ */

void row_v29(struct probe *p)
{
    if (vivo_poll_by(p, VIVO_SUB_NFC, &h) && (p->v->card.type == 0x0A || p->v->card.type == 0x0C)) {
        confirmed(p, "2C-40 FF finds the card, type %02X", p->v->card.type);
        suggest(p, "felica = on");
    } else if (h.kind == VIVO_ANSWER && is_absent()) {
        contradicted(p, "felica = off", "this reader has no 2C-40 (status %02X)", h.status);
    } else {
        contradicted(p, "felica = off", "2C-40 FF does not find the card (status %02X)", h.status);
    }
}

void row_v30(struct probe *p)
{
    static const uint8_t polling[] = {0x05, 0x00, 0xFF, 0xFF, 0x01, 0x01};

    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, 0x44, polling, sizeof polling, 0, &h))
        contradicted(p, NULL, "2C-44 brings no answer");
    else if (vivo_ok(&h) && h.n >= 17 && h.data[0] == 0x01)
        confirmed(p, "2C-44 brings the card's answer, %zu bytes", h.n);
    else
        contradicted(p, NULL, "2C-44 is answered with status %02X and %zu bytes", h.status, h.n);
}
