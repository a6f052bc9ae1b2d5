/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Storage tags without a cipher: Ultralight and NTAG pages, FeliCa blocks, Topaz bytes. Each is the memory plus the
 * few rules a driver can trip over: reads that wrap at the end, lock bits, bits that can only be set, blocks and
 * services that do not exist.
 */
#include "neo_cards.h"

#include <string.h>

/* ---- Ultralight and NTAG ----------------------------------------------------------------------------------- */

static unsigned pages(const struct neo_card *c)
{
    return (unsigned)(c->mem_len / NEO_UL_PAGE);
}

enum neo_result neo_ul_read(struct neo_card *c, unsigned page, uint8_t out[16])
{
    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    if (page >= pages(c) || page == c->bad_block)
        return neo_card_refuse(c);
    for (unsigned i = 0; i < 4; i++)
        memcpy(out + (size_t)i * NEO_UL_PAGE, c->mem + (size_t)((page + i) % pages(c)) * NEO_UL_PAGE, NEO_UL_PAGE);
    return NEO_OK;
}

/* The static lock bits of page 2: one for each page from 3 to 15. */
static bool page_locked(const struct neo_card *c, unsigned page)
{
    unsigned locks = (unsigned)c->mem[10] | (unsigned)c->mem[11] << 8;

    return page >= 3 && page < 16 && ((locks >> page) & 1) != 0;
}

enum neo_result neo_ul_write(struct neo_card *c, unsigned page, const uint8_t in[NEO_UL_PAGE])
{
    uint8_t *p = c->mem + (size_t)page * NEO_UL_PAGE;

    if (c->air != NEO_ACTIVE)
        return NEO_MUTE;
    if (page < 2 || page >= pages(c) || page == c->bad_block || page_locked(c, page))
        return neo_card_refuse(c);
    if (page == 2) {
        p[2] |= in[2]; /* lock bits can only be set */
        p[3] |= in[3];
    } else if (page == 3) {
        for (int i = 0; i < NEO_UL_PAGE; i++)
            p[i] |= in[i]; /* one time programmable */
    } else {
        memcpy(p, in, NEO_UL_PAGE);
    }
    c->writes++;
    return NEO_OK;
}

/* ---- FeliCa ------------------------------------------------------------------------------------------------ */

enum {
    FELICA_POLLING = 0x00,
    FELICA_READ = 0x06,
    FELICA_WRITE = 0x08,
    FELICA_RW = 0x0009,
    FELICA_RO = 0x000B,
    FELICA_SYSTEM = 0x88B4,
    FELICA_READ_MAX = 4
};

static const uint8_t felica_pmm[8] = {0x00, 0xF1, 0x00, 0x00, 0x00, 0x01, 0x43, 0x00};

static size_t felica_polling(const struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t *out)
{
    size_t len = 0;

    if (n != 5)
        return 0;
    if ((cmd[1] != 0xFF && cmd[1] != FELICA_SYSTEM >> 8) || (cmd[2] != 0xFF && cmd[2] != (FELICA_SYSTEM & 0xFF)))
        return 0;
    out[len++] = 0x01;
    memcpy(out + len, c->uid, 8);
    memcpy(out + len + 8, felica_pmm, sizeof felica_pmm);
    len += 8 + sizeof felica_pmm;
    if (cmd[3] == 0x01) {
        out[len++] = FELICA_SYSTEM >> 8;
        out[len++] = FELICA_SYSTEM & 0xFF;
    }
    return len;
}

/* Reads the service list and the block list (two- or three-byte elements) of a read or write. Returns the number of
 * blocks, the offsets of their memory in at[], and moves *used behind the lists; -1 if malformed; -2 if a service or
 * block does not exist. */
static int felica_lists(const struct neo_card *c, const uint8_t *p, size_t n, size_t *used, size_t at[FELICA_READ_MAX])
{
    size_t i = 0, services, blocks;
    bool found = true;

    if (n < 1 || (services = p[i++]) == 0 || services > 16 || n < i + 2 * services + 1)
        return -1;
    for (size_t s = 0; s < services; s++, i += 2) {
        unsigned code = (unsigned)p[i] | (unsigned)p[i + 1] << 8;
        found = found && (code == FELICA_RW || code == FELICA_RO);
    }
    blocks = p[i++];
    if (blocks == 0 || blocks > FELICA_READ_MAX)
        return -2;
    for (size_t b = 0; b < blocks; b++) {
        size_t size = i < n && (p[i] & 0x80) != 0 ? 2 : 3;
        unsigned number;

        if (n < i + size)
            return -1;
        number = size == 2 ? p[i + 1] : (unsigned)p[i + 1] | (unsigned)p[i + 2] << 8;
        at[b] = (size_t)number * 16;
        found = found && at[b] + 16 <= c->mem_len && number != c->bad_block;
        i += size;
    }
    *used = i;
    return found ? (int)blocks : -2;
}

static size_t felica_access(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t *out)
{
    bool write = cmd[0] == FELICA_WRITE;
    size_t used = 0, at[FELICA_READ_MAX], len = 0;
    int blocks;

    if (n < 9 || memcmp(cmd + 1, c->uid, 8) != 0)
        return 0;
    blocks = felica_lists(c, cmd + 9, n - 9, &used, at);
    if (blocks == -1 || (blocks > 0 && n - 9 - used != (write ? (size_t)blocks * 16 : 0)))
        return 0;
    out[len++] = (uint8_t)(cmd[0] + 1);
    memcpy(out + len, c->uid, 8);
    len += 8;
    out[len++] = blocks > 0 ? 0x00 : 0x01;
    out[len++] = blocks > 0 ? 0x00 : 0xA8;
    if (blocks < 0)
        return len;
    if (!write)
        out[len++] = (uint8_t)blocks;
    for (int b = 0; b < blocks; b++) {
        if (write) {
            memcpy(c->mem + at[b], cmd + 9 + used + (size_t)b * 16, 16);
            c->writes++;
        } else {
            memcpy(out + len, c->mem + at[b], 16);
            len += 16;
        }
    }
    return len;
}

size_t neo_felica(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t out[NEO_AIR_MAX])
{
    if (n == 0)
        return 0;
    if (cmd[0] == FELICA_POLLING)
        return felica_polling(c, cmd, n, out);
    if (cmd[0] == FELICA_READ || cmd[0] == FELICA_WRITE)
        return felica_access(c, cmd, n, out);
    return 0;
}

/* ---- Topaz ------------------------------------------------------------------------------------------------- */

enum { TOPAZ_STATIC = 120, TOPAZ_SEGMENT = 128 };

static size_t topaz_byte(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t *out)
{
    if (n != (cmd[0] == 0x12 ? 2U : 3U) || cmd[1] >= TOPAZ_STATIC || cmd[1] / 8U == c->bad_block)
        return 0;
    if (cmd[0] == 0x13)
        c->mem[cmd[1]] = cmd[2];
    else if (cmd[0] == 0x14)
        c->mem[cmd[1]] |= cmd[2];
    if (cmd[0] != 0x12)
        c->writes++;
    out[0] = cmd[1];
    out[1] = c->mem[cmd[1]];
    return 2;
}

static size_t topaz_eight(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t *out)
{
    size_t at = n > 1 ? (size_t)cmd[1] * 8 : 0;

    if (n != (cmd[0] == 0x16 ? 2U : 10U) || at + 8 > c->mem_len || cmd[1] == c->bad_block)
        return 0;
    for (size_t i = 0; i < 8 && cmd[0] != 0x16; i++)
        c->mem[at + i] = cmd[0] == 0x17 ? cmd[2 + i] : (uint8_t)(c->mem[at + i] | cmd[2 + i]);
    if (cmd[0] != 0x16)
        c->writes++;
    out[0] = cmd[1];
    memcpy(out + 1, c->mem + at, 8);
    return 9;
}

size_t neo_topaz(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t out[NEO_AIR_MAX])
{
    if (n == 0)
        return 0;
    switch (cmd[0]) {
    case 0x11:
        out[0] = c->mem_len > TOPAZ_STATIC ? 0x12 : 0x11; /* HR0: dynamic or static memory */
        out[1] = 0x4C;
        memcpy(out + 2, c->mem, TOPAZ_STATIC);
        return n == 1 ? 2 + TOPAZ_STATIC : 0;
    case 0x12:
    case 0x13:
    case 0x14:
        return topaz_byte(c, cmd, n, out);
    case 0x15:
        if (n != 2 || ((size_t)cmd[1] + 1) * TOPAZ_SEGMENT > c->mem_len)
            return 0;
        out[0] = cmd[1];
        memcpy(out + 1, c->mem + (size_t)cmd[1] * TOPAZ_SEGMENT, TOPAZ_SEGMENT);
        return 1 + TOPAZ_SEGMENT;
    case 0x16:
    case 0x17:
    case 0x18:
        return topaz_eight(c, cmd, n, out);
    default:
        return 0;
    }
}
