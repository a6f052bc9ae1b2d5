/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The NFC Forum commands 2C-40 and the FeliCa commands 2C-41 to 2C-44. The first byte of 2C-40 is a command of its
 * own, sorted by tag type; FeliCa reads and writes come with or without the IDm, and both end in one frame for the
 * card.
 */
#include "neo_model.h"

#include <string.h>

enum { FELICA_HEAD = 9, /* response code and IDm */ POLL = 0xFF, APDU = 0x81, LITE_BLOCKS = 3 };

static void answer_parameter(struct sim_model *m)
{
    m->count.bad_params++;
    neo_answer_status(m, NEO_ST_PARAMETER);
}

static void answer_mute(struct sim_model *m)
{
    neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
}

/* The card the last poll found, if it is of this kind; NULL: answered. */
static struct neo_card *polled(struct sim_model *m, enum neo_kind kind)
{
    struct neo_card *c = m->session.card;

    if (!m->session.open || (c != NULL && c->kind != kind)) {
        neo_answer_status(m, NEO_ST_FAILED);
        return NULL;
    }
    if (c == NULL)
        answer_mute(m);
    return c;
}

static void topaz(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t out[NEO_AIR_MAX];
    struct neo_card *card = polled(m, NEO_TOPAZ);
    size_t n;

    if (card == NULL)
        return;
    n = neo_topaz(card, c->data, c->n, out);
    if (n == 0)
        neo_answer_status(m, NEO_ST_FAILED);
    else
        neo_answer_card(m, 0, out, n, false);
}

static void tag2(struct sim_model *m, const struct neo_cmd *c)
{
    size_t want = c->data[0] == 0x22 ? 6 : 2;
    struct neo_card *card;
    enum neo_result r;
    uint8_t out[16];

    if (c->n != want) {
        answer_parameter(m);
        return;
    }
    card = polled(m, NEO_ULTRALIGHT);
    if (card == NULL)
        return;
    if (c->data[0] == 0x23) { /* these tags have one sector only */
        neo_answer_status(m, c->data[1] == 0 ? NEO_ST_OK : NEO_ST_FAILED);
        return;
    }
    r = c->data[0] == 0x21 ? neo_ul_read(card, c->data[1], out) : neo_ul_write(card, c->data[1], c->data + 2);
    if (r == NEO_MUTE)
        answer_mute(m);
    else if (r == NEO_NAK)
        neo_answer_status(m, NEO_ST_FAILED);
    else
        neo_answer_card(m, 0, out, c->data[0] == 0x21 ? sizeof out : 0, false);
}

/* list: what follows the IDm in the card's command, service list first. Answers with what follows the IDm in the
 * card's response, or with nothing after a write if bare. */
static void felica_list(struct sim_model *m, uint8_t code, const uint8_t *list, size_t n, bool bare)
{
    struct neo_card *c = polled(m, NEO_FELICA);
    uint8_t command[FELICA_HEAD + NEO_DATA_MAX], out[NEO_AIR_MAX];
    size_t len;

    if (c == NULL)
        return;
    command[0] = code;
    memcpy(command + 1, c->uid, 8);
    memcpy(command + FELICA_HEAD, list, n);
    len = neo_felica(c, command, FELICA_HEAD + n, out);
    if (len <= FELICA_HEAD)
        answer_mute(m);
    else if (bare && out[FELICA_HEAD] != 0)
        neo_answer_status(m, NEO_ST_FAILED);
    else
        neo_answer_card(m, 0, out + FELICA_HEAD, bare ? 0 : len - FELICA_HEAD, false);
}

void neo_nfc(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t first = c->data[0];

    if (first == POLL && c->n == 2)
        neo_poll_start(m, c->data[1] * 1000U, false, false, true);
    else if (first >= 0x11 && first <= 0x18)
        topaz(m, c);
    else if (first >= 0x21 && first <= 0x23)
        tag2(m, c);
    else if ((first == 0x41 || first == 0x42) && c->n > 1)
        felica_list(m, first == 0x41 ? 0x06 : 0x08, c->data + 1, c->n - 1, first == 0x42);
    else if (first == APDU && c->n > 1)
        neo_exchange_iso(m, c->data + 1, c->n - 1);
    else
        answer_parameter(m);
}

void neo_felica_access(struct sim_model *m, const struct neo_cmd *c)
{
    if ((c->data[0] != 0x06 && c->data[0] != 0x08) || c->n < 2)
        answer_parameter(m);
    else
        felica_list(m, c->data[0], c->data + 1, c->n - 1, false);
}

void neo_felica_auth(struct sim_model *m, const struct neo_cmd *c)
{
    struct neo_card *card = polled(m, NEO_FELICA);

    if (card == NULL)
        return;
    card->lite_auth = memcmp(c->data, card->lite_key, sizeof card->lite_key) == 0;
    neo_answer_status(m, card->lite_auth ? NEO_ST_OK : NEO_ST_FAILED);
}

/* The block numbers of 2C-43: plain bytes, or two-byte block list elements; false if neither fits. */
static bool mac_blocks(const struct neo_cmd *c, size_t tail, uint8_t blocks[LITE_BLOCKS])
{
    size_t count = c->data[1], step;

    if (count == 0 || count > LITE_BLOCKS || c->n < 2 + tail)
        return false;
    step = (c->n - 2 - tail) / count;
    if ((step != 1 && step != 2) || step * count != c->n - 2 - tail)
        return false;
    for (size_t i = 0; i < count; i++)
        blocks[i] = c->data[2 + i * step + step - 1];
    return true;
}

void neo_felica_mac(struct sim_model *m, const struct neo_cmd *c)
{
    bool write = c->data[0] == 0x08;
    uint8_t blocks[LITE_BLOCKS], out[LITE_BLOCKS * 16];
    struct neo_card *card;

    if ((c->data[0] != 0x06 && !write) || !mac_blocks(c, write ? 16 : 0, blocks) || (write && c->data[1] != 1)) {
        answer_parameter(m);
        return;
    }
    card = polled(m, NEO_FELICA);
    if (card == NULL)
        return;
    for (size_t i = 0; i < c->data[1]; i++) {
        size_t at = (size_t)blocks[i] * 16;

        if (!card->lite_auth || at + 16 > card->mem_len) {
            neo_answer_status(m, NEO_ST_FAILED);
            return;
        }
        if (write)
            memcpy(card->mem + at, c->data + c->n - 16, 16);
        memcpy(out + i * 16, card->mem + at, 16);
    }
    card->writes += write ? 1 : 0;
    neo_answer_card(m, 0, out, write ? 0 : c->data[1] * (size_t)16, false);
}

/* 2C-44 finds its card by itself: it needs no poll before. */
void neo_felica_raw(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t out[NEO_AIR_MAX];
    size_t n = 0;

    if (c->data[0] != c->n - 1) {
        answer_parameter(m);
        return;
    }
    m->rf = true;
    for (size_t i = 0; i < m->cards && n == 0; i++) {
        if (m->field[i]->kind == NEO_FELICA)
            n = neo_felica(m->field[i], c->data + 1, c->n - 1, out);
    }
    if (n == 0)
        answer_mute(m);
    else
        neo_answer_card(m, 0, out, n, false);
}
