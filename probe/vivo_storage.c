/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows of a ViVOpay reader about MIFARE and Ultralight cards. Most need a key: with --keys the factory key is tried, on
 * sectors that a new card has open; it is never written anywhere, but the reader remembers the last key that it was
 * given until it loses its power. Nothing is written to a card.
 */
#include "probe/vivo_rows.h"

#include <string.h>

#include "card/mifare.h"

enum {
    KEY_A = 1,
    LOAD_KEY = 0x06,
    READ = 0x07,
    PURSE = 0x0A,
    TRAILER_0 = 3,
    TRAILER_1 = 7,
    IDLE_READS = 100,
    PAGES_LAST = 15
};

static struct vivo_heard h;

static const uint8_t factory[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
static const uint8_t nonsense[6] = {0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC};

static bool load_key(struct probe *p, uint8_t block, const uint8_t key[6])
{
    uint8_t data[8] = {block, KEY_A};

    memcpy(data + 2, key, 6);
    return vivo_do(p, VIVO_CMD_PASS_THROUGH, LOAD_KEY, data, sizeof data, 0, &h) && vivo_ok(&h);
}

static bool read_blocks(struct probe *p, unsigned nibble, uint8_t first, unsigned count)
{
    const uint8_t data[] = {(uint8_t)(nibble << 4 | count), first};

    return vivo_do(p, VIVO_CMD_PASS_THROUGH, READ, data, sizeof data, 0, &h) && vivo_ok(&h);
}

static unsigned nibble(const struct probe *p)
{
    return p->v->card.type & 0x0F;
}

static bool poll(struct probe *p)
{
    if (vivo_poll_by(p, VIVO_SUB_POLL, &h))
        return true;
    not_tried(p, "the card is not found any more");
    return false;
}

/* The card polled, and the factory key loaded and proven for a sector. False: it said so as the verdict. */
static bool open_sector(struct probe *p, uint8_t trailer)
{
    if (!p->o->keys) {
        not_tried(p, "it needs a key: --keys tries the factory key");
        return false;
    }
    if (!poll(p))
        return false;
    if (load_key(p, trailer, factory) && read_blocks(p, nibble(p), trailer, 1))
        return true;
    not_tried(p, "the sector of block %u does not open with the factory key (status %02X)", trailer, h.status);
    return false;
}

void row_v31(struct probe *p)
{
    bool stored;

    if (!open_sector(p, TRAILER_0) || !poll(p))
        return;
    stored = load_key(p, TRAILER_0, nonsense);
    if (!stored)
        contradicted(p, NULL, "2C-06 refuses a wrong key at once (status %02X): it asks the card", h.status);
    else if (read_blocks(p, nibble(p), TRAILER_0, 1))
        contradicted(p, NULL, "with a wrong key the trailer was read all the same");
    else
        confirmed(p, "2C-06 takes a wrong key, and reading the trailer shows it (status %02X)", h.status);
    if (poll(p))
        load_key(p, TRAILER_0, factory); /* what it has to forget is better a key that everybody knows */
}

void row_v32(struct probe *p)
{
    static const unsigned others[] = {3, 4, 0x0C, 7};
    uint8_t block = p->need == NEED_ULTRALIGHT ? 4 : TRAILER_0;

    if (p->need == NEED_ULTRALIGHT ? !poll(p) : !open_sector(p, TRAILER_0))
        return;
    if (read_blocks(p, nibble(p), block, 1)) {
        confirmed(p, "a card of type %02X is read with type %X", p->v->card.type, nibble(p));
        return;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        unsigned usual = nibble(p);

        if (others[i] == usual || !poll(p) || !read_blocks(p, others[i], block, 1))
            continue;
        contradicted(p, NULL, "a card of type %02X is read with type %X, not %X", p->v->card.type, others[i], usual);
        return;
    }
    not_tried(p, "the card cannot be read with any type (status %02X)", h.status);
}

void row_v33(struct probe *p)
{
    uint8_t across[5 * MIFARE_BLOCK_SIZE], block_4[MIFARE_BLOCK_SIZE];

    if (!open_sector(p, TRAILER_1) || !read_blocks(p, nibble(p), 4, 1))
        return;
    memcpy(block_4, h.data, sizeof block_4);
    if (!open_sector(p, TRAILER_0))
        return;
    if (!read_blocks(p, nibble(p), 0, 5) || h.n != sizeof across) {
        not_tried(p, "a read across a trailer brings status %02X and %zu bytes", h.status, h.n);
        return;
    }
    memcpy(across, h.data, sizeof across);
    if (memcmp(across + 3 * MIFARE_BLOCK_SIZE, block_4, sizeof block_4) == 0)
        confirmed(p, "five blocks from block 0 on are 0, 1, 2, 4, 5");
    else
        contradicted(p, NULL, "the fourth of five blocks from block 0 on is not block 4 (the driver never reads so)");
}

void row_v34(struct probe *p)
{
    static const uint8_t raw_read[] = {0x30, PAGES_LAST};
    uint8_t by_command[MIFARE_BLOCK_SIZE], pcd;

    if (!poll(p))
        return;
    if (!read_blocks(p, nibble(p), PAGES_LAST, 1) || h.n != sizeof by_command) {
        not_tried(p, "2C-07 of page %d brings status %02X and %zu bytes", PAGES_LAST, h.status, h.n);
        return;
    }
    memcpy(by_command, h.data, sizeof by_command);
    if (!vivo_raw(p, 0x01, VIVO_RAW_A, raw_read, sizeof raw_read, &pcd, &h) || pcd != PCD_OK ||
        h.n < 5 + sizeof by_command)
        not_tried(p, "the card's own READ is not passed on (status %02X)", h.status);
    else if (memcmp(h.data + 5, by_command, sizeof by_command) != 0)
        contradicted(p, NULL, "2C-07 of page %d brings other bytes than the card's own READ", PAGES_LAST);
    else
        confirmed(p, "2C-07 of page %d brings what the card's own READ brings", PAGES_LAST);
}

/* A block of sector 0 that is no value block; 0: there is none. */
static uint8_t plain_block(struct probe *p)
{
    struct mifare_value value;

    for (uint8_t block = 2; block >= 1; block--)
        if (read_blocks(p, nibble(p), block, 1) && h.n == MIFARE_BLOCK_SIZE && !mifare_parse_value(h.data, &value))
            return block;
    return 0;
}

void row_v36(struct probe *p)
{
    uint8_t request[] = {0x31, 0, 0x04, 0, 0, 0, 0}; /* take nothing from it */

    if (!open_sector(p, TRAILER_0))
        return;
    request[1] = plain_block(p);
    if (request[1] == 0) {
        not_tried(p, "the card has no block to try it with");
        return;
    }
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, PURSE, request, sizeof request, 0, &h))
        contradicted(p, NULL, "2C-0A of a block that is no value block brings no answer");
    else if (h.status == VIVO_OK)
        contradicted(p, NULL, "2C-0A of a block that is no value block is answered with status 00");
    else if (h.n != 2)
        contradicted(p, NULL, "behind status %02X come %zu bytes, not two", h.status, h.n);
    else if (h.data[0] != request[1])
        contradicted(p, NULL, "the first byte behind status %02X is %02X; the block was %02X", h.status, h.data[0],
                     request[1]);
    else
        confirmed(p, "behind status %02X come the block and error %02X", h.status, h.data[1]);
}

void row_v37(struct probe *p)
{
    static const uint8_t raw_read[] = {0x30, 0x04};
    uint8_t pcd;

    if (!poll(p))
        return;
    if (vivo_raw(p, 0x01, VIVO_RAW_A, raw_read, sizeof raw_read, &pcd, &h) && h.status != VIVO_OK)
        confirmed(p, "an error of a raw exchange (status %02X) has its bytes, PCD status %02X", h.status, pcd);
    else if (h.kind != VIVO_ANSWER)
        contradicted(p, NULL, "a raw exchange that fails brings no answer");
    else if (h.status == VIVO_OK)
        not_tried(p, "the card was read without a key");
    else
        contradicted(p, NULL, "an error of a raw exchange (status %02X) comes with %zu bytes", h.status, h.n);
}

/* ---- SAK --------------------------------------------------------------------------------------------------------- */

/* One step of the selection by hand: what comes must have `want` bytes. */
static bool step(struct probe *p, uint8_t flags, uint8_t redundancy, const uint8_t *data, size_t n, size_t want)
{
    uint8_t pcd;

    return vivo_raw(p, flags, redundancy, data, n, &pcd, &h) && pcd == PCD_OK && h.n >= 5 + want;
}

bool vivo_select_by_hand(struct probe *p, uint8_t atqa[2], uint8_t *sak)
{
    static const uint8_t hlta[] = {0x50, 0x00}, wupa[] = {0x52};
    uint8_t select[7], pcd;

    vivo_raw(p, 0, VIVO_RAW_A_TX_CRC, hlta, sizeof hlta, &pcd, &h); /* never answered */
    if (!step(p, 0x1D, VIVO_RAW_A_NO_CRC, wupa, sizeof wupa, 2))
        return false;
    memcpy(atqa, h.data + 5, 2);
    for (uint8_t level = 0; level < 3; level++) {
        select[0] = (uint8_t)(0x93 + 2 * level);
        select[1] = 0x20;
        if (!step(p, 0, VIVO_RAW_A_NO_CRC, select, 2, 5))
            return false;
        memcpy(select + 2, h.data + 5, 5);
        select[1] = 0x70;
        if (!step(p, 0, VIVO_RAW_A, select, sizeof select, 1))
            return false;
        *sak = h.data[5];
        if (!(*sak & 0x04))
            return true;
    }
    return false;
}

void row_v38(struct probe *p)
{
    uint8_t atqa[2] = {0}, sak = 0;

    if (!poll(p))
        return;
    if (!vivo_select_by_hand(p, atqa, &sak)) {
        contradicted(p, "sak_probe = off", "WUPA and select bring nothing (status %02X)", h.status);
        return;
    }
    confirmed(p, "a card of type %02X: ATQA %02X%02X, SAK %02X", p->v->card.type, atqa[1], atqa[0], sak);
    if (p->v->card.type == 0x03 && mifare_blocks_by_sak(sak) != 0 && sak != 0x08)
        suggest(p, "sak_probe = on");
}

void row_v47(struct probe *p)
{
    unsigned good = 0, tries = 0;
    uint8_t failed = 0;

    if (!open_sector(p, TRAILER_0))
        return;
    for (; tries < IDLE_READS && !p->gone; tries++) {
        size_t mark = p->trace_len;

        if (read_blocks(p, nibble(p), TRAILER_0, 1))
            good++;
        else
            failed = h.status;
        if (good == tries + 1)
            p->trace_len = mark;
    }
    if (good == tries)
        confirmed(p, "%u such reads, all answered", good);
    else
        contradicted(p, NULL, "%u of %u such reads failed with the card in place (status %02X)", tries - good, tries,
                     failed);
}
