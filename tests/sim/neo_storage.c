/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reader's own MIFARE and Ultralight commands. The reader keeps one key, whatever poll comes in between, and
 * authenticates by itself whenever a command reaches a sector; so a wrong key shows up at the first access, unless
 * the option "auth=eager" makes 2C-06 try it at once. The e-purse command is checked as a whole before its first
 * function block runs, and stops at the first one that fails: what ran before stays done.
 */
#include "neo_model.h"

#include <string.h>

enum { CLASSIC_NIBBLE = 3, ULTRALIGHT_NIBBLE = 4, UNITS_MAX = 15, PCD_AUTH_ERROR = 0xFC, PCD_ACCESS_TIMEOUT = 0xE5 };
enum { KEY_FIELDS = 7, OP_DECREMENT = 0xC0, OP_INCREMENT = 0xC1, OP_RESTORE = 0xC2 };

static void answer_failure(struct sim_model *m, enum neo_result r)
{
    if (r == NEO_MUTE)
        neo_answer_later(m, m->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    else
        neo_answer_status(m, NEO_ST_FAILED);
}

/* The card a storage command with this type nibble goes to; NULL: answered. */
static struct neo_card *storage_card(struct sim_model *m, unsigned nibble)
{
    struct neo_card *c = m->session.card;

    if (!m->session.open) {
        neo_answer_status(m, NEO_ST_FAILED);
        return NULL;
    }
    if (c == NULL) {
        answer_failure(m, NEO_MUTE);
        return NULL;
    }
    if ((nibble != (m->session.type & 0x0FU) && !m->opt.nibble_any) ||
        (!neo_card_is_classic(c) && c->kind != NEO_ULTRALIGHT)) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return NULL;
    }
    if (c->air == NEO_PROTOCOL) { /* opened for APDUs */
        neo_answer_status(m, NEO_ST_FAILED);
        return NULL;
    }
    return c;
}

static void keep_key(struct sim_model *m, uint8_t type, const uint8_t key[6])
{
    m->key_known = true;
    m->key_b = type == 2;
    memcpy(m->key, key, sizeof m->key);
}

/* Authenticates for a block unless the command has already done so for its sector. */
static enum neo_result authenticate(struct sim_model *m, struct neo_card *c, unsigned block, unsigned *sector)
{
    if (!m->key_known)
        return neo_card_refuse(c);
    if (*sector == neo_mf_sector(block) && c->auth)
        return NEO_OK;
    *sector = neo_mf_sector(block);
    return neo_mf_auth(c, block, m->key_b, m->key);
}

void neo_mifare_auth(struct sim_model *m, const struct neo_cmd *c)
{
    struct neo_card *card = m->session.card;
    unsigned sector = NEO_NO_BLOCK;
    enum neo_result r;

    if ((c->data[1] != 1 && c->data[1] != 2) || (card != NULL && !neo_card_is_classic(card))) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    keep_key(m, c->data[1], c->data + 2);
    if (!m->opt.eager_auth) {
        neo_answer_status(m, NEO_ST_OK);
        return;
    }
    r = card == NULL ? NEO_MUTE : authenticate(m, card, c->data[0], &sector);
    if (r == NEO_OK)
        neo_answer_status(m, NEO_ST_OK);
    else
        answer_failure(m, r);
}

/* The block after this one that a command over several blocks touches: trailers are passed over. */
static unsigned skip_trailer(unsigned block, unsigned count)
{
    return count > 1 && block == neo_mf_trailer(block) ? block + 1 : block;
}

void neo_mifare_read(struct sim_model *m, const struct neo_cmd *c)
{
    unsigned count = c->data[0] & 0x0F, nibble = c->data[0] >> 4, block = c->data[1], sector = NEO_NO_BLOCK;
    uint8_t out[UNITS_MAX * NEO_MF_BLOCK];
    struct neo_card *card;
    enum neo_result r = NEO_OK;

    if (count == 0) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    card = storage_card(m, nibble);
    if (card == NULL)
        return;
    for (unsigned i = 0; i < count && r == NEO_OK; i++) {
        if (card->kind == NEO_ULTRALIGHT) {
            r = neo_ul_read(card, block, out + (size_t)i * 16);
            block += 4;
            continue;
        }
        block = skip_trailer(block, count);
        r = authenticate(m, card, block, &sector);
        if (r == NEO_OK)
            r = neo_mf_read(card, block, out + (size_t)i * 16);
        block++;
    }
    if (r == NEO_OK)
        neo_answer_card(m, 0, out, (size_t)count * 16, false);
    else
        answer_failure(m, r);
}

void neo_mifare_write(struct sim_model *m, const struct neo_cmd *c)
{
    unsigned count = c->data[0] & 0x0F, nibble = c->data[0] >> 4, block = c->data[1], sector = NEO_NO_BLOCK;
    size_t size = nibble == ULTRALIGHT_NIBBLE ? NEO_UL_PAGE : NEO_MF_BLOCK;
    const uint8_t *data = c->data + 2;
    struct neo_card *card;
    enum neo_result r = NEO_OK;

    if (count == 0 || c->n != 2 + count * size) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    card = storage_card(m, nibble);
    if (card == NULL)
        return;
    for (unsigned i = 0; i < count && r == NEO_OK; i++, data += size, block++) {
        if (card->kind == NEO_ULTRALIGHT) {
            r = neo_ul_write(card, block, data);
            continue;
        }
        block = skip_trailer(block, count);
        r = authenticate(m, card, block, &sector);
        if (r == NEO_OK)
            r = neo_mf_write(card, block, data);
    }
    if (r == NEO_OK)
        neo_answer_status(m, NEO_ST_OK);
    else
        answer_failure(m, r);
}

/* ---- e-purse -------------------------------------------------------------------------------------------------- */

/* One function block: n bytes follow the second one. */
struct function {
    uint8_t block, n;
    const uint8_t *data;
    bool backup, own_key;
};

/* Reads the function block at *at and moves behind it; false if it is malformed. */
static bool next_function(const struct neo_cmd *c, size_t *at, struct function *f)
{
    if (c->n < *at + 2)
        return false;
    f->block = c->data[*at];
    f->n = c->data[*at + 1];
    f->data = c->data + *at + 2;
    f->backup = f->n == 0x01 || f->n == 0x08;
    f->own_key = f->n == 0x08 || f->n == 0x0B;
    if ((!f->backup && f->n != 0x04 && f->n != 0x0B) || c->n < *at + 2 + f->n)
        return false;
    *at += 2U + f->n;
    if (!f->own_key)
        return true;
    return f->data[f->n - KEY_FIELDS] == 1 || f->data[f->n - KEY_FIELDS] == 2;
}

static bool well_formed(const struct neo_cmd *c)
{
    struct function f;
    size_t at = 1;
    unsigned count = c->data[0] & 0x0F;

    for (unsigned i = 0; i < count; i++) {
        if (!next_function(c, &at, &f))
            return false;
    }
    return count > 0 && at == c->n;
}

static enum neo_result run_function(struct sim_model *m, struct neo_card *card, const struct function *f, uint8_t op)
{
    unsigned source = f->backup ? f->data[0] : f->block, sector = NEO_NO_BLOCK;
    uint32_t amount = 0;
    enum neo_result r;

    if (f->own_key)
        keep_key(m, f->data[f->n - KEY_FIELDS], f->data + f->n - KEY_FIELDS + 1);
    for (int i = 0; i < 4 && !f->backup; i++)
        amount |= (uint32_t)f->data[i] << (8 * i);
    r = authenticate(m, card, source, &sector);
    if (r == NEO_OK)
        r = neo_mf_load(card, f->backup ? OP_RESTORE : op, source, amount);
    if (r == NEO_OK)
        r = neo_mf_transfer(card, f->block);
    return r;
}

void neo_epurse(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t op = (c->data[0] & 0x80) != 0 ? OP_INCREMENT : OP_DECREMENT, error[2];
    struct neo_card *card;
    struct function f;
    enum neo_result r;
    size_t at = 1;

    if (!well_formed(c)) {
        m->count.bad_params++;
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    card = storage_card(m, (c->data[0] >> 4) & 0x07);
    if (card == NULL)
        return;
    if (!neo_card_is_classic(card)) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    for (unsigned i = 0; i < (c->data[0] & 0x0FU); i++) {
        next_function(c, &at, &f);
        r = run_function(m, card, &f, op);
        if (r == NEO_OK)
            continue;
        error[0] = f.block;
        error[1] = r == NEO_MUTE ? PCD_ACCESS_TIMEOUT : PCD_AUTH_ERROR;
        neo_answer_later(m, r == NEO_MUTE ? m->opt.fwt : 0, r == NEO_MUTE ? NEO_ST_TIMEOUT : NEO_ST_FAILED, error, 2);
        return;
    }
    neo_answer_status(m, NEO_ST_OK);
}
