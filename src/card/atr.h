/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Answers to reset: reading one (ISO/IEC 7816-3, 8.2) and building those of contactless cards (PC/SC part 3,
 * 3.1.3.2.3). Pure. A builder never invents data: what the reader does not hand over is left out.
 */
#ifndef PURSE_ATR_H
#define PURSE_ATR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/result.h"

enum { ATR_MAX = 33 };

struct atr {
    uint8_t bytes[ATR_MAX];
    size_t len;
};

struct atr_info {
    uint16_t protocols;     /* bit t set: protocol T=t offered */
    uint8_t first;          /* the first offered protocol (used when nothing is negotiated) */
    bool specific;          /* TA2 present: specific mode */
    uint8_t specific_t;     /* its protocol */
    uint8_t t1_ifsc;        /* first TA for T=1 (TA3 usually), else 32; 0 and FF (reserved) read as 32 */
    uint8_t t1_bwi, t1_cwi; /* first TB for T=1, else 4 and 13 */
    bool t1_crc;            /* first TC for T=1, bit 0: CRC, else LRC */
    uint8_t historical[15];
    size_t historical_len;
    bool tck_wrong; /* a TCK was due and is missing or wrong (reported, not fatal) */
};

/* Reads an ATR. R_INVALID when it is cut, longer than 33 bytes or begins with neither 3B nor 3F. */
enum result atr_parse(struct atr_info *info, const uint8_t *p, size_t n);

/* 3B 8n 80 01 hist TCK; n is cut at 15. hist may be NULL with n 0 (gives 3B 80 80 01 01). */
void atr_from_historical(struct atr *atr, const uint8_t *hist, size_t n);

/* From an ATS (TL first): the historical bytes are what follows the interface bytes that T0 announces. A cut or
 * contradictory ATS gives no historical bytes. */
void atr_from_ats(struct atr *atr, const uint8_t *ats, size_t n);

/* Type B: application data (4), protocol info (3), MBLI in the high nibble of the last byte. */
void atr_from_atqb(struct atr *atr, const uint8_t app[4], const uint8_t prot[3], uint8_t mbli);

/* Storage card: 3B 8F 80 01 80 4F 0C A0 00 00 03 06 SS NNNN 00 00 00 00 TCK. */
void atr_storage(struct atr *atr, uint8_t ss, uint16_t nn);

#endif
