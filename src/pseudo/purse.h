/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The data of FF F5 2C 0A: several purse operations in one command of the reader (ID TECH NEO 2 Interface Developer's
 * Guide, p310-315; 2C 0A is that command's code, and a reader of another family that has such a command takes this
 * format too). Pure.
 *
 *   head                 bit 7: increment (credit), else decrement (debit); bits 6-4: 3, MIFARE; bits 3-0: 1 … 15,
 *                        the number of function blocks
 *   value, default key   block 04 amount(4, low byte first)
 *   value, own key       block 0B amount(4) 01|02 key(6)
 *   backup, default key  destination 01 source
 *   backup, own key      destination 08 source 01|02 key(6)
 */
#ifndef PURSE_PURSE_H
#define PURSE_PURSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct purse_facts {
    bool needs_key; /* its first block uses the default key, so the reader must have one */
    bool own_keys;  /* some block brings its own, which becomes the default key */
    unsigned sector; /* of its first block */
    bool several;    /* and others lie elsewhere */
};

/* DECODED (0), or the status word that the data gets: SW_WRONG_DATA for its form and amounts, SW_NOT_ALLOWED for a
 * trailer, for block 0 (the manufacturer's), and for a backup into another sector, SW_NO_BLOCK for a block that a card
 * of `blocks` blocks has not (0: not known), SW_WRONG_CARD for another card type. */
uint16_t purse_check(const uint8_t *p, size_t n, unsigned blocks, struct purse_facts *f);

#endif
