/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * MIFARE Classic: how its memory is laid out, what its access bits allow, and what a value block is (NXP MF1S50/MF1S70
 * data sheets, chapter 8). Pure: no I/O, no state.
 */
#ifndef PURSE_MIFARE_H
#define PURSE_MIFARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MIFARE_BLOCK_SIZE = 16, MIFARE_BLOCKS_MAX = 256, MIFARE_ACCESS_AT = 6 };

/* Sectors 0 … 31 have four blocks, 32 … 39 (4K only) sixteen. The last block of a sector is its trailer: key A, access
 * bytes, key B. */
unsigned mifare_sector(unsigned block);
unsigned mifare_sector_first(unsigned block); /* first block of the sector that `block` lies in */
unsigned mifare_trailer(unsigned block);      /* its trailer */
bool mifare_is_trailer(unsigned block);
unsigned mifare_sector_trailer(unsigned sector);

/* Blocks of a card by its SAK (AN10833); 0: this SAK does not tell. */
unsigned mifare_blocks_by_sak(uint8_t sak);

/* ---- access bits ------------------------------------------------------------------------------------------------ */

enum mifare_use { MIFARE_READ, MIFARE_WRITE, MIFARE_INCREMENT, MIFARE_DECREMENT /* and transfer, and restore */ };
enum { MIFARE_BY_A = 1, MIFARE_BY_B = 2 };

/* Does each access bit contradict no complement of its own? A trailer of which this is not true blocks its sector for
 * ever. */
bool mifare_access_valid(const uint8_t access[3]);

/* Which keys may do that with a data block, by the (valid) access bytes of its sector: MIFARE_BY_A | MIFARE_BY_B, or 0:
 * none ever. */
unsigned mifare_allowed(const uint8_t access[3], unsigned block, enum mifare_use use);

/* ---- value blocks ----------------------------------------------------------------------------------------------- */

struct mifare_value {
    int32_t value;
    uint8_t address; /* free for the application; by custom the number of the block */
};

/* False: the block has not the layout value, ~value, value, address, ~address, address, ~address. */
bool mifare_parse_value(const uint8_t block[MIFARE_BLOCK_SIZE], struct mifare_value *v);
void mifare_build_value(uint8_t block[MIFARE_BLOCK_SIZE], const struct mifare_value *v);

/* value + amount, or value - amount. False: beyond the range of a signed 32-bit number. */
bool mifare_change(int32_t value, uint32_t amount, bool decrement, int32_t *result);

#endif
