/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The card of fake_card.h. Sectors and value blocks are worked out here once more, by shifts and by hand: a mistake in
 * card/mifare.c must not be repeated.
 */
#include "fake_card.h"

#include <string.h>

struct fake_card card;

static const uint8_t uid[] = {0x04, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66};

static unsigned sector_of(unsigned block)
{
    return block < 128 ? block >> 2 : 32 + ((block - 128) >> 4);
}

static unsigned trailer_of(unsigned block)
{
    return block < 128 ? block | 3 : block | 15;
}

/* The fault, if it is this call's turn. */
static enum result begin(enum fake_op op, bool *run)
{
    card.calls[op]++;
    *run = true;
    if (card.fault == op && card.skip-- == 0) {
        card.fault = ON_NOTHING;
        *run = card.runs;
        if (card.result == R_CARD || card.result == R_NO_CARD)
            card.silent = true;
        if (card.dies)
            card.silent = true;
        return card.result;
    }
    if (card.silent && op != ON_RESELECT && op != ON_INDICATE && op != ON_FIELD) {
        *run = false;
        return R_NO_CARD;
    }
    return R_SUCCESS;
}

static enum result refuse(void)
{
    card.silent = true;
    card.sector = -1;
    return R_CARD;
}

static enum result facts(struct reader *r, unsigned slot, struct storage_facts *f)
{
    (void)r;
    (void)slot;
    *f = card.facts;
    return card.facts_result;
}

static enum result authenticate(struct reader *r, unsigned slot, unsigned block, uint8_t key_type,
                                const uint8_t key[STORAGE_KEY_SIZE], uint8_t access[3], deadline_t until)
{
    const uint8_t *t = card.block[trailer_of(block)];
    bool run;
    enum result fault = begin(ON_AUTHENTICATE, &run);

    (void)r, (void)slot, (void)until;
    if (!run || fault != R_SUCCESS)
        return fault;
    if (memcmp(key, t + (key_type == 0x60 ? 0 : 10), 6) != 0)
        return refuse();
    card.sector = (int)sector_of(block);
    memcpy(access, t + 6, 3);
    card.executed[ON_AUTHENTICATE]++;
    return R_SUCCESS;
}

static enum result read_pages(unsigned first, unsigned count, uint8_t *out)
{
    if (first >= card.pages)
        return refuse();
    for (unsigned i = 0; i < count; i++)
        memcpy(out + 4 * (size_t)i, card.page[(first + i) % card.pages], 4);
    return R_SUCCESS;
}

static enum result do_read(unsigned first, unsigned count, uint8_t *out)
{
    if (card.facts.kind == STORAGE_ULTRALIGHT)
        return read_pages(first, count, out);
    if (card.facts.kind == STORAGE_VICINITY) {
        for (unsigned i = 0; i < count; i++)
            memcpy(out + 4 * (size_t)i, card.page[(first + i) & 255], 4);
        return R_SUCCESS;
    }
    if (card.sector != (int)sector_of(first))
        return refuse();
    for (unsigned i = 0; i < count; i++, out += 16) {
        memcpy(out, card.block[first + i], 16);
        if (first + i == trailer_of(first))
            memset(out, 0, 6);
    }
    return R_SUCCESS;
}

static enum result read_blocks(struct reader *r, unsigned slot, unsigned first, unsigned count, uint8_t *out,
                               deadline_t until)
{
    bool run;
    enum result fault = begin(ON_READ, &run);

    (void)r, (void)slot, (void)until;
    if (fault != R_SUCCESS || !run)
        return fault;
    card.executed[ON_READ]++;
    return do_read(first, count, out);
}

static void do_write(unsigned first, unsigned count, const uint8_t *data)
{
    size_t size = card.facts.block_size;

    for (unsigned i = 0; i < count; i++)
        memcpy(size == 16 ? card.block[first + i] : card.page[first + i], data + i * size, size);
    card.executed[ON_WRITE]++;
}

static enum result write_blocks(struct reader *r, unsigned slot, unsigned first, unsigned count, const uint8_t *data,
                                deadline_t until)
{
    unsigned partly = card.partly;
    bool run;
    enum result fault = begin(ON_WRITE, &run);

    (void)r, (void)slot, (void)until;
    if (card.facts.kind == STORAGE_MIFARE && card.sector != (int)sector_of(first))
        return refuse();
    if (run)
        do_write(first, fault != R_SUCCESS && partly ? partly : count, data);
    return fault;
}

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void do_value(const struct storage_value *v)
{
    uint8_t *to = card.block[v->target];
    uint32_t n = get32(card.block[v->block]);

    memmove(to, card.block[v->block], 16);
    n = v->op == VALUE_INCREMENT ? n + v->amount : v->op == VALUE_DECREMENT ? n - v->amount : n;
    for (int i = 0; i < 4; i++) {
        to[i] = to[8 + i] = (uint8_t)(n >> 8 * i);
        to[4 + i] = (uint8_t)~to[i];
    }
}

static enum result change_value(struct reader *r, unsigned slot, const struct storage_value *v, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_VALUE, &run);

    (void)r, (void)slot, (void)until;
    card.value = *v;
    if (card.sector != (int)sector_of(v->block))
        return refuse();
    if (run) {
        do_value(v);
        card.executed[ON_VALUE]++;
    }
    if (card.spoils)
        memset(card.block[card.spoils], 0, 16);
    return fault;
}

static void keep(const uint8_t *p, size_t n)
{
    card.sent_len = n;
    memcpy(card.sent, p, n < sizeof card.sent ? n : sizeof card.sent);
}

static enum result run_batch(struct reader *r, unsigned slot, const uint8_t *data, size_t n, uint8_t error[2],
                             size_t *error_len, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_PURSE, &run);

    (void)r, (void)slot, (void)until;
    keep(data, n);
    memcpy(error, card.error, 2);
    *error_len = card.error_len;
    card.executed[ON_PURSE] += run;
    return fault;
}

static enum result exchange(struct reader *r, unsigned slot, struct storage_exchange *x, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_EXCHANGE, &run);

    (void)r, (void)slot, (void)until;
    keep(x->tx, x->tx_len);
    card.x = *x;
    if (fault == R_NO_CARD || fault == R_CARD)
        card.silent = false; /* what the client makes of its card is its own affair */
    x->rf_errors = card.rf_errors;
    if (fault != R_SUCCESS)
        return fault;
    memcpy(x->rx, card.answer, card.answer_len);
    x->rx_len = card.answer_len;
    x->rx_bits = card.rx_bits;
    return R_SUCCESS;
}

static enum result set_field(struct reader *r, unsigned slot, bool on, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_FIELD, &run);

    (void)r, (void)slot, (void)until;
    card.field_on = on;
    card.silent = true;
    card.facts.selection++;
    return fault;
}

static enum result select_card(struct reader *r, unsigned slot, enum storage_protocol protocol, unsigned layer,
                               uint8_t *sak, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_SELECT, &run);

    (void)r, (void)slot, (void)until;
    card.protocol = protocol;
    card.layer = layer;
    card.facts.selection++;
    *sak = card.sak;
    return fault;
}

static enum result reselect(struct reader *r, unsigned slot, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_RESELECT, &run);

    (void)r, (void)slot, (void)until;
    card.facts.selection++;
    card.sector = -1;
    card.silent = fault != R_SUCCESS || card.dies;
    return card.dies ? R_NO_CARD : fault;
}

static enum result indicate(struct reader *r, const struct storage_signal *s, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_INDICATE, &run);

    (void)r, (void)until;
    card.signal = *s;
    return fault;
}

static enum result get_parameters(struct reader *r, unsigned slot, struct storage_parameters *p, deadline_t until)
{
    bool run;
    enum result fault = begin(ON_PARAMETERS, &run);

    (void)r, (void)slot, (void)until;
    *p = card.parameters;
    return fault;
}

struct storage_ops fake_storage;

static const struct storage_ops all = {
    .facts = facts,
    .authenticate = authenticate,
    .read = read_blocks,
    .write = write_blocks,
    .value = change_value,
    .purse = run_batch,
    .exchange = exchange,
    .field = set_field,
    .select = select_card,
    .reselect = reselect,
    .indicate = indicate,
    .parameters = get_parameters,
};

static void new_card(void)
{
    memset(&card, 0, sizeof card);
    fake_storage = all;
    card.sector = -1;
    card.facts.selection = 7;
    card.facts.uid_fixed = true;
    card.facts.ss = 3;
}

void fake_mifare(unsigned blocks)
{
    new_card();
    card.facts.kind = STORAGE_MIFARE;
    memcpy(card.facts.uid, uid, card.facts.uid_len = 4);
    card.facts.nn = 1;
    card.facts.block_size = 16;
    card.facts.block_count = blocks;
    for (unsigned b = 3; b < 256; b = trailer_of(b + 1)) {
        memset(card.block[b], 0xFF, 16);
        memcpy(card.block[b] + 6, "\xFF\x07\x80\x69", 4);
        if (b == 255)
            break;
    }
}

void fake_tag(unsigned pages)
{
    new_card();
    card.facts.kind = STORAGE_ULTRALIGHT;
    memcpy(card.facts.uid, uid, card.facts.uid_len = 7);
    card.facts.nn = 3;
    card.facts.block_size = 4;
    card.pages = pages;
    for (unsigned p = 0; p < pages; p++)
        memset(card.page[p], (int)p, 4);
    memcpy(card.page[0], "\x04\x11\x22\xBF", 4);
    memcpy(card.page[1], uid + 3, 4);
}
