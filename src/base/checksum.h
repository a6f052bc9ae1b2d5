/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The checksums of the protocols this driver speaks. Pure functions.
 */
#ifndef PURSE_CHECKSUM_H
#define PURSE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* XOR of n bytes: the AET63 frame checksum, the ATR's TCK, the LRC of T=1 (ISO/IEC 7816-3). 0 for n = 0. */
uint8_t xor_sum(const uint8_t *p, size_t n);

/* CRC-16, polynomial 1021, not reflected, initial value FFFF, no final XOR: ViVOpay frames. "123456789" gives 29B1. */
uint16_t crc16_ccitt_false(const uint8_t *p, size_t n);
/* The same, going on from the CRC of what stands before p. */
uint16_t crc16_ccitt_more(uint16_t crc, const uint8_t *p, size_t n);

/* CRC-16/X-25: polynomial 1021 reflected, initial value FFFF, final inversion (ISO/IEC 13239): ISO/IEC 15693 frames
 * and the CRC of T=1 blocks. "123456789" gives 906E. */
uint16_t crc16_x25(const uint8_t *p, size_t n);

#endif
