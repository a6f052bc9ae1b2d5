/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cards at frame level, as the reader's raw exchange sees them: ISO 14443-3 type A with its cascade of selections,
 * the MIFARE and Ultralight commands, type B's REQB/ATTRIB/HLTB, and the block protocol of ISO 14443-4.
 *
 * A frame whose modulation side (parity, CRC kind, CRC value) is not the card's gets no answer, as in the field. The
 * block protocol keeps the card's block number and last block, so that an R(NAK) can be asked without harm.
 */
#include "neo_cards.h"

#include "neo_frame.h"

#include <string.h>

enum { ACK = 0x0A, NAK = 0x04, CASCADE_TAG = 0x88 };

uint16_t neo_crc_a(const uint8_t *data, size_t n)
{
    unsigned crc = 0x6363;

    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x8408U : crc >> 1;
    }
    return (uint16_t)crc;
}

static bool is_type_b(const struct neo_card *c)
{
    return c->kind == NEO_PLAIN_B || c->kind == NEO_ISO_B;
}

static bool answer(struct neo_air_rx *rx, const uint8_t *data, size_t n, bool crc)
{
    memcpy(rx->data, data, n);
    rx->n = n;
    rx->has_crc = crc;
    rx->bits = (unsigned)n * 8;
    return true;
}

/* A 4-bit answer; the reader shows it as a byte of 8 bits. */
static bool answer_nibble(struct neo_air_rx *rx, uint8_t nibble)
{
    rx->crypto_nak = nibble != ACK;
    return answer(rx, &nibble, 1, false);
}

static bool from_result(struct neo_air_rx *rx, enum neo_result r)
{
    if (r == NEO_MUTE)
        return false;
    return answer_nibble(rx, r == NEO_OK ? ACK : NAK);
}

/* ---- ISO 14443-3 type A ------------------------------------------------------------------------------------ */

static bool short_frame(struct neo_card *c, uint8_t command, struct neo_air_rx *rx)
{
    uint8_t atqa[2] = {(uint8_t)(c->atqa & 0xFF), (uint8_t)(c->atqa >> 8)};

    if (command != 0x26 && command != 0x52)
        return false;
    if (c->air == NEO_PROTOCOL)
        return false;
    if (c->air == NEO_ACTIVE || c->air == NEO_READY || (c->air == NEO_HALT && command == 0x26)) {
        if (c->air != NEO_HALT)
            c->air = NEO_IDLE; /* out of sequence: back to where a second request finds it */
        return false;
    }
    c->air = NEO_READY;
    c->cascade = 0;
    c->auth = false;
    return answer(rx, atqa, 2, false);
}

/* UID CLn of one cascade level; returns whether it is the last level. */
static bool cascade_uid(const struct neo_card *c, unsigned level, uint8_t cl[5])
{
    size_t levels = c->uid_len == 4 ? 1 : c->uid_len == 7 ? 2 : 3;

    if (level + 1 < levels) {
        cl[0] = CASCADE_TAG;
        memcpy(cl + 1, c->uid + 3 * level, 3);
    } else {
        memcpy(cl, c->uid + 3 * level, 4);
    }
    cl[4] = (uint8_t)(cl[0] ^ cl[1] ^ cl[2] ^ cl[3]);
    return level + 1 >= levels;
}

static bool anticollision(struct neo_card *c, const uint8_t *f, size_t n, bool crc_ok, struct neo_air_rx *rx)
{
    static const uint8_t codes[] = {0x93, 0x95, 0x97};
    uint8_t cl[5], sak;
    bool last;

    if (c->cascade > 2 || f[0] != codes[c->cascade])
        return false;
    last = cascade_uid(c, c->cascade, cl);
    if (n == 2 && f[1] == 0x20)
        return answer(rx, cl, 5, false);
    if (n != 9 || f[1] != 0x70 || memcmp(f + 2, cl, 5) != 0 || !crc_ok)
        return false;
    c->cascade++;
    if (last)
        c->air = NEO_ACTIVE;
    sak = last ? c->sak : 0x04;
    return answer(rx, &sak, 1, true);
}

/* ---- MIFARE commands --------------------------------------------------------------------------------------- */

/* The second half of a two-phase write or value command. Value operands have no answer. */
static bool second_phase(struct neo_card *c, const uint8_t *f, size_t n, struct neo_air_rx *rx)
{
    uint8_t cmd = c->pending_cmd;
    unsigned block = c->pending_block;
    uint32_t amount;

    c->pending_cmd = 0;
    if (cmd == 0xA0) {
        if (n != 16)
            return from_result(rx, neo_card_refuse(c));
        return from_result(rx, neo_card_is_classic(c) ? neo_mf_write(c, block, f) : neo_ul_write(c, block, f));
    }
    if (n != 4)
        return from_result(rx, neo_card_refuse(c));
    amount = (uint32_t)f[0] | (uint32_t)f[1] << 8 | (uint32_t)f[2] << 16 | (uint32_t)f[3] << 24;
    if (neo_mf_load(c, cmd, block, amount) == NEO_NAK)
        return answer_nibble(rx, NAK);
    return false;
}

static bool version_command(struct neo_card *c, const uint8_t *f, size_t n, struct neo_air_rx *rx)
{
    static const uint8_t version[8] = {0x00, 0x04, 0x04, 0x02, 0x01, 0x00, 0x0F, 0x03};
    size_t first, count;

    if (!c->has_version)
        return answer_nibble(rx, (uint8_t)(neo_card_refuse(c) == NEO_NAK ? 0x00 : NAK));
    if (f[0] == 0x60 && n == 1)
        return answer(rx, version, sizeof version, true);
    if (f[0] != 0x3A || n != 3 || f[1] > f[2] || (size_t)(f[2] + 1) * NEO_UL_PAGE > c->mem_len)
        return from_result(rx, neo_card_refuse(c));
    first = (size_t)f[1] * NEO_UL_PAGE;
    count = (size_t)(f[2] - f[1] + 1) * NEO_UL_PAGE;
    return answer(rx, c->mem + first, count, true);
}

static bool storage_command(struct neo_card *c, const uint8_t *f, size_t n, struct neo_air_rx *rx)
{
    bool classic = neo_card_is_classic(c);
    uint8_t block[16];
    enum neo_result r;

    if (f[0] == 0x30 && n == 2) {
        r = classic ? neo_mf_read(c, f[1], block) : neo_ul_read(c, f[1], block);
        return r == NEO_OK ? answer(rx, block, sizeof block, true) : from_result(rx, r);
    }
    if (f[0] == 0xA2 && n == 6 && !classic)
        return from_result(rx, neo_ul_write(c, f[1], f + 2));
    if (f[0] == 0xB0 && n == 2 && classic)
        return from_result(rx, neo_mf_transfer(c, f[1]));
    if (n == 2 && (f[0] == 0xA0 || (classic && f[0] >= 0xC0 && f[0] <= 0xC2))) {
        if (classic && (!c->auth || c->auth_sector != neo_mf_sector(f[1])))
            return from_result(rx, neo_card_refuse(c));
        c->pending_cmd = f[0];
        c->pending_block = f[1];
        return answer_nibble(rx, ACK);
    }
    if (!classic)
        return version_command(c, f, n, rx);
    return from_result(rx, neo_card_refuse(c));
}

/* ---- ISO 14443-4 ------------------------------------------------------------------------------------------- */

static bool iblock(struct neo_card *c, uint8_t pcb, const uint8_t *inf, size_t n, struct neo_air_rx *rx)
{
    static uint8_t rapdu[SIM_RAPDU_MAX]; /* too big for the stack; the simulator has one lock for everything */
    size_t len;

    c->block_number = pcb & 1;
    len = neo_card_apdu(c, inf, n, rapdu, &rx->ms);
    if (len == 0 || len > NEO_AIR_MAX - 1)
        return false;
    c->last[0] = (uint8_t)(0x02 | c->block_number);
    memcpy(c->last + 1, rapdu, len);
    c->last_len = 1 + len;
    return answer(rx, c->last, c->last_len, true);
}

/* Blocks without CID and NAD, not chained: what a raw exchange of a driver may try. */
static bool protocol_block(struct neo_card *c, const uint8_t *f, size_t n, struct neo_air_rx *rx)
{
    uint8_t r_ack = (uint8_t)(0xA2 | c->block_number);

    if ((f[0] & 0xFE) == 0x02 && n > 1)
        return iblock(c, f[0], f + 1, n - 1, rx);
    if ((f[0] & 0xFE) == 0xB2 && n == 1) { /* R(NAK) */
        if ((f[0] & 1) == c->block_number && c->last_len > 0)
            return answer(rx, c->last, c->last_len, true);
        return answer(rx, &r_ack, 1, true);
    }
    if (f[0] == 0xC2 && n == 1) { /* S(DESELECT) */
        c->air = NEO_HALT;
        return answer(rx, f, 1, true);
    }
    return false;
}

static bool enter_protocol(struct neo_card *c)
{
    c->air = NEO_PROTOCOL;
    c->block_number = 1;
    c->last_len = 0;
    return true;
}

static bool frame_a(struct neo_card *c, const uint8_t *f, size_t n, bool crc_ok, struct neo_air_rx *rx)
{
    if (c->air == NEO_READY && n >= 2)
        return anticollision(c, f, n, crc_ok, rx);
    if (!crc_ok || n < 3 || (c->air != NEO_ACTIVE && c->air != NEO_PROTOCOL))
        return false;
    n -= 2;
    if (c->air == NEO_PROTOCOL)
        return protocol_block(c, f, n, rx);
    if (c->pending_cmd != 0)
        return second_phase(c, f, n, rx);
    if (n == 2 && f[0] == 0x50 && f[1] == 0x00) {
        c->air = NEO_HALT;
        c->auth = false;
        return false;
    }
    if (n == 2 && f[0] == 0xE0 && neo_card_is_iso(c) && c->ats_len > 0)
        return enter_protocol(c) && answer(rx, c->ats, c->ats_len, true);
    if (neo_card_is_classic(c) || c->kind == NEO_ULTRALIGHT)
        return storage_command(c, f, n, rx);
    c->air = NEO_IDLE;
    return false;
}

/* ---- ISO 14443-3 type B ------------------------------------------------------------------------------------ */

static bool frame_b(struct neo_card *c, const uint8_t *f, size_t n, struct neo_air_rx *rx)
{
    uint8_t atqb[12] = {0x50, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x00, 0x71, 0x81, 0x71};
    uint8_t ok = 0x00;

    memcpy(atqb + 1, c->uid, 4);
    if (n == 3 && f[0] == 0x05) { /* REQB, WUPB: the third byte's bit 3 tells them apart */
        if (c->air == NEO_PROTOCOL || (c->air == NEO_HALT && (f[2] & 0x08) == 0))
            return false;
        c->air = NEO_READY;
        if (c->kind == NEO_PLAIN_B)
            atqb[10] = 0x80; /* protocol type: no ISO 14443-4 */
        return answer(rx, atqb, sizeof atqb, true);
    }
    if (n == 5 && f[0] == 0x50 && memcmp(f + 1, c->uid, 4) == 0 && c->air != NEO_PROTOCOL) {
        c->air = NEO_HALT;
        return answer(rx, &ok, 1, true);
    }
    if (n == 9 && f[0] == 0x1D && memcmp(f + 1, c->uid, 4) == 0 && c->kind == NEO_ISO_B)
        return enter_protocol(c) && answer(rx, &ok, 1, true);
    return c->air == NEO_PROTOCOL && protocol_block(c, f, n, rx);
}

bool neo_card_air(struct neo_card *c, const struct neo_air_tx *tx, struct neo_air_rx *rx)
{
    uint8_t frame[NEO_AIR_MAX];
    bool type_b = is_type_b(c);
    size_t n = tx->n;
    uint16_t crc;
    bool crc_ok;

    memset(rx, 0, sizeof *rx);
    if (n == 0 || n + 2 > sizeof frame || !c->powered || tx->parity == type_b)
        return false;
    memcpy(frame, tx->data, n);
    if (tx->last_bits != 0)
        return !type_b && n == 1 && tx->last_bits == 7 && !tx->crc && short_frame(c, frame[0], rx);
    if (tx->crc) {
        crc = tx->crc_b ? tag15693_crc(frame, n) : neo_crc_a(frame, n);
        frame[n++] = (uint8_t)(crc & 0xFF);
        frame[n++] = (uint8_t)(crc >> 8);
    }
    crc = n < 3 ? 0 : type_b ? tag15693_crc(frame, n - 2) : neo_crc_a(frame, n - 2);
    crc_ok = n >= 3 && frame[n - 2] == (crc & 0xFF) && frame[n - 1] == crc >> 8;
    if (!type_b)
        return frame_a(c, frame, n, crc_ok, rx);
    return crc_ok && frame_b(c, frame, n - 2, rx);
}
