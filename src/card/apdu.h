/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Command APDUs (ISO/IEC 7816-4, 5.1): which case one is, where its parts lie, and how T=0 carries it. Pure.
 */
#ifndef PURSE_APDU_H
#define PURSE_APDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/result.h"

enum { APDU_SHORT_MAX = 261, APDU_EXTENDED_MAX = 65544, RAPDU_MAX = 65538 };

struct apdu {
    uint8_t cla, ins, p1, p2;
    const uint8_t *data; /* lc bytes inside the command; NULL if lc is 0 */
    size_t lc;           /* 0 … 65535 */
    bool has_le;
    size_t le;     /* 1 … 65536 when has_le (00 read as 256, extended 0000 as 65536) */
    bool extended; /* an extended-length form */
};

/* Takes a command apart without copying. R_INVALID when its length fits no case (fewer than 4 bytes, Lc that does not
 * match, extended Lc of 0000 before data). */
enum result apdu_parse(struct apdu *a, const uint8_t *p, size_t n);

/* How a short command goes over T=0: header, data and the P3 that the card sees (ISO/IEC 7816-3, 12.2). Case 4 drops
 * its Le: the client fetches with GET RESPONSE. Fails with R_INVALID for an extended command or a wrong length. */
struct t0_command {
    uint8_t header[4];
    const uint8_t *data; /* lc bytes */
    uint8_t lc, le;      /* at most one of them is not 0; le 0 with lc 0: case 1, or 256 expected */
};
enum result t0_from_apdu(struct t0_command *t, const uint8_t *p, size_t n);

#endif
