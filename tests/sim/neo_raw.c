/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The raw exchange 2C-04: load key, authenticate, transceive. The answer carries the front end's own status and the
 * number of bits; on an error the reader reports 0A or 08 and still sends those five bytes.
 *
 * With no ISO 14443 card selected, a frame without parity can reach ISO 15693 tags, if the option says that this
 * firmware can do that at all: "crc3309" for a front end whose own CRC fits them, "drivercrc" for one that cannot
 * check their CRC, so that only a host that makes and checks the CRC itself gets through.
 */
#include "neo_model.h"

#include <string.h>

enum { PCD_LOAD_KEY = 0x19, PCD_AUTHENTICATE = 0x0C, PCD_TRANSCEIVE = 0x1E };
enum {
    PCD_OK = 0x00,
    PCD_CRC_ERROR = 0xFE,
    PCD_AUTH_ERROR = 0xFC,
    PCD_KEY_ERROR = 0xF7,
    PCD_ACCESS_ERROR = 0xEA,
    PCD_UNKNOWN_COMMAND = 0xE9,
    PCD_COLLISION = 0xE8,
    PCD_ACCESS_TIMEOUT = 0xE5,
    PCD_OVERFLOW = 0x90
};
enum { RED_PARITY = 0x01, RED_ODD = 0x02, RED_TX_CRC = 0x04, RED_RX_CRC = 0x08, RED_CRC8 = 0x10, RED_3309 = 0x20 };
enum { RESULT_HEAD = 5, RAW_AT = 7, TIMEOUT_MAX_MS = 60000 };

struct raw {
    uint8_t command, flags, redundancy;
    unsigned timeout_ms;
    const uint8_t *data;
    size_t n;
};

static void answer_pcd(struct sim_model *m, unsigned ms, uint8_t pcd, unsigned bits, const uint8_t *data, size_t n)
{
    uint8_t out[RESULT_HEAD + TAG15693_RSP_MAX];

    if (n > NEO_DATA_MAX - RESULT_HEAD) {
        pcd = PCD_OVERFLOW;
        n = bits = 0;
    }
    out[0] = pcd;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (uint8_t)(bits >> (24 - 8 * i) & 0xFF);
    if (n > 0)
        memcpy(out + RESULT_HEAD, data, n);
    if (pcd == PCD_OK)
        neo_answer_card(m, ms, out, RESULT_HEAD + n, false);
    else
        neo_answer_later(m, ms, pcd == PCD_ACCESS_TIMEOUT ? NEO_ST_TIMEOUT : NEO_ST_FAILED, out, RESULT_HEAD + n);
}

static void answer_silence(struct sim_model *m, const struct raw *r)
{
    answer_pcd(m, r->timeout_ms, PCD_ACCESS_TIMEOUT, 0, NULL, 0);
}

/* Each key byte comes as two, high nibble first, each nibble preceded by its complement. */
static void load_key(struct sim_model *m, const struct raw *r)
{
    uint8_t key[6] = {0};

    if (r->n != 12) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    for (size_t i = 0; i < 12; i++) {
        if (r->data[i] >> 4 != (~r->data[i] & 0x0F)) {
            answer_pcd(m, 0, PCD_KEY_ERROR, 0, NULL, 0);
            return;
        }
        key[i / 2] = (uint8_t)(key[i / 2] << 4 | (r->data[i] & 0x0F));
    }
    memcpy(m->pcd_key, key, sizeof key);
    m->pcd_key_known = true;
    answer_pcd(m, 0, PCD_OK, 0, NULL, 0);
}

/* 60|61, block, the four UID bytes of the last cascade level. */
static void authenticate(struct sim_model *m, const struct raw *r)
{
    struct neo_card *c = m->session.card;
    bool good;

    if (r->n != 6 || (r->data[0] != 0x60 && r->data[0] != 0x61)) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    if (c == NULL || !neo_card_is_classic(c) || c->air != NEO_ACTIVE) {
        answer_silence(m, r);
        return;
    }
    good = m->pcd_key_known && memcmp(r->data + 2, c->uid + c->uid_len - 4, 4) == 0;
    if (good)
        good = neo_mf_auth(c, r->data[1], r->data[0] == 0x61, m->pcd_key) == NEO_OK;
    else
        neo_card_refuse(c);
    answer_pcd(m, 0, good ? PCD_OK : PCD_AUTH_ERROR, 0, NULL, 0);
}

/* ---- one card of ISO 14443 ------------------------------------------------------------------------------------ */

static void answer_frame(struct sim_model *m, const struct raw *r, const struct neo_card *c, struct neo_air_rx *rx)
{
    bool type_b = c->kind == NEO_PLAIN_B || c->kind == NEO_ISO_B;
    bool check = (r->redundancy & RED_RX_CRC) != 0;
    uint16_t crc;

    if (rx->crypto_nak) {
        answer_pcd(m, rx->ms, PCD_ACCESS_ERROR, rx->bits, rx->data, rx->n);
        return;
    }
    if (check && (!rx->has_crc || type_b != ((r->redundancy & RED_3309) != 0))) {
        answer_pcd(m, rx->ms, PCD_CRC_ERROR, rx->bits, rx->data, rx->n);
        return;
    }
    if (!check && rx->has_crc) {
        crc = type_b ? tag15693_crc(rx->data, rx->n) : neo_crc_a(rx->data, rx->n);
        rx->data[rx->n++] = (uint8_t)(crc & 0xFF);
        rx->data[rx->n++] = (uint8_t)(crc >> 8);
        rx->bits += 16;
    }
    answer_pcd(m, rx->ms, PCD_OK, rx->bits, rx->data, rx->n);
}

static void transceive_card(struct sim_model *m, const struct raw *r, struct neo_card *c)
{
    struct neo_air_tx tx = {
        .data = r->data,
        .n = r->n,
        .last_bits = (r->flags >> 2) & 7,
        .parity = (r->redundancy & (RED_PARITY | RED_ODD)) == (RED_PARITY | RED_ODD),
        .crc = (r->redundancy & RED_TX_CRC) != 0,
        .crc_b = (r->redundancy & RED_3309) != 0,
    };
    struct neo_air_rx rx;

    if ((r->redundancy & RED_CRC8) != 0 || !neo_card_air(c, &tx, &rx) || rx.ms > r->timeout_ms ||
        rx.n + 2 > sizeof rx.data)
        answer_silence(m, r);
    else
        answer_frame(m, r, c, &rx);
}

/* ---- ISO 15693 tags ------------------------------------------------------------------------------------------- */

/* Lets every tag in the field hear the frame. Returns how many different answers came in the slot the reader listens
 * to; the last of them is in rsp. */
static unsigned ask_tags(struct sim_model *m, const uint8_t *frame, size_t n, uint8_t rsp[TAG15693_RSP_MAX],
                         size_t *len, unsigned *ms)
{
    static uint8_t heard[TAG15693_RSP_MAX]; /* too big for the stack; everything runs under one lock */
    unsigned answers = 0, slot = 0, took = 0;

    *len = 0;
    *ms = 0;
    for (size_t i = 0; i < m->cards; i++) {
        size_t got;

        if (m->field[i]->kind != NEO_VICINITY)
            continue;
        got = tag15693_air(&m->field[i]->tag, frame, n, heard, &took, &slot);
        *ms = took > *ms ? took : *ms;
        if (got == 0 || slot != 0 || (answers > 0 && got == *len && memcmp(heard, rsp, got) == 0))
            continue;
        memcpy(rsp, heard, got);
        *len = got;
        answers++;
    }
    return answers;
}

static void transceive_tags(struct sim_model *m, const struct raw *r)
{
    static uint8_t rsp[TAG15693_RSP_MAX];
    uint8_t frame[NEO_DATA_MAX + 2];
    bool front_crc = (r->redundancy & RED_TX_CRC) != 0, check = (r->redundancy & RED_RX_CRC) != 0;
    size_t n = r->n, len;
    unsigned answers, ms;
    uint16_t crc;

    memcpy(frame, r->data, n);
    if (front_crc) {
        crc = (r->redundancy & RED_3309) != 0 ? tag15693_crc(frame, n) : neo_crc_a(frame, n);
        frame[n++] = (uint8_t)(crc & 0xFF);
        frame[n++] = (uint8_t)(crc >> 8);
    }
    answers = ask_tags(m, frame, n, rsp, &len, &ms);
    if (answers == 0 || ms > r->timeout_ms)
        answer_silence(m, r);
    else if (answers > 1)
        answer_pcd(m, ms, PCD_COLLISION, 0, NULL, 0);
    else if (check && (m->opt.iso15693 == NEO_15693_DRIVERCRC || (r->redundancy & RED_3309) == 0))
        answer_pcd(m, ms, PCD_CRC_ERROR, 0, NULL, 0);
    else
        answer_pcd(m, ms, PCD_OK, (unsigned)(check ? len - 2 : len) * 8, rsp, check ? len - 2 : len);
}

static void transceive(struct sim_model *m, const struct raw *r)
{
    struct neo_card *c = m->session.card;
    bool plain = (r->redundancy & (RED_PARITY | RED_ODD | RED_CRC8)) == 0 && (r->flags & 0x1C) == 0;

    if (r->n == 0)
        neo_answer_status(m, NEO_ST_PARAMETER);
    else if (c != NULL && c->kind != NEO_VICINITY)
        transceive_card(m, r, c);
    else if (m->opt.iso15693 != NEO_15693_OFF && m->rf && plain)
        transceive_tags(m, r);
    else
        answer_silence(m, r);
}

void neo_raw_exchange(struct sim_model *m, const struct neo_cmd *c)
{
    struct raw r = {.command = c->data[0], .flags = c->data[5], .redundancy = c->data[6], .data = c->data + RAW_AT};
    uint64_t etu = 0;

    r.n = c->n - RAW_AT;
    for (int i = 1; i <= 4; i++)
        etu = etu << 8 | c->data[i];
    r.timeout_ms = (unsigned)((etu * 944 + 99999) / 100000); /* 9.44 µs each */
    if (etu > (uint64_t)TIMEOUT_MAX_MS * 100)
        r.timeout_ms = TIMEOUT_MAX_MS;
    if ((r.flags & 0xC0) != 0 || (r.redundancy & 0xC0) != 0) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    switch (r.command) {
    case PCD_LOAD_KEY:
        load_key(m, &r);
        break;
    case PCD_AUTHENTICATE:
        authenticate(m, &r);
        break;
    case PCD_TRANSCEIVE:
        transceive(m, &r);
        break;
    default:
        answer_pcd(m, 0, PCD_UNKNOWN_COMMAND, 0, NULL, 0);
        break;
    }
}
