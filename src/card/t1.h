/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The T=1 block protocol (ISO/IEC 7816-3, clause 11), interface-device side. The engine does no I/O of its own: it
 * gives a block to `exchange` and judges what comes back. It keeps nothing but sequence numbers and sizes, so an APDU
 * of any length passes without a copy: blocks are cut from the command and appended to the response in place.
 *
 * At most once. An I-block leaves a second time only when the card's own R-block asks for it (N(R) equal to its
 * number): that is the card's word that it has not taken it. A broken or missing answer is an invalid block and gets an
 * R-block. When two R-blocks bring nothing, S(RESYNCH) brings the card back to a known state, and the APDU ends in
 * error: after a resynchronisation it is never sent again. A card that does not even answer that is dead until it is
 * reset: from then on every APDU ends in R_COMM with nothing sent.
 *
 * A WTX request, too, is the card's word that it has the block; an R-block asking for it after that proves nothing and
 * is answered with an R-block.
 *
 * An error leaves the card's state unknown only until the resynchronisation that ends it. Where there was no time for
 * that (the deadline, a fatal result of exchange), the next APDU begins with S(RESYNCH): a late answer is never taken
 * for its own.
 *
 * CRC. ISO/IEC 13239 computes CRC-16/X-25 and transmits the highest term first, in octets whose lowest bit goes first:
 * that is the reflected register with its final complement, low byte first. A driver in wide use sends it without
 * complement and high byte first, and cards are made to work with drivers. So the first S(IFS), which executes nothing,
 * finds out: it goes out in the standard's form, a valid answer in any form (with or without complement, either byte
 * order) settles the form, and where none comes S(IFS) is tried in the next one. From then on only that form is valid.
 * No I-block leaves before the form is known.
 *
 * Budgets. `until` is the caller's cap; each chained block that moved new data adds one second to it, S(WTX) adds
 * nothing. Besides, no more than T1_TRIES invalid blocks in a row and a bounded number of S-blocks without progress are
 * borne, so a card that answers for ever ends in an error, too.
 */
#ifndef PURSE_T1_H
#define PURSE_T1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/result.h"
#include "card/atr.h"

enum { T1_BLOCK_MAX = 3 + 254 + 2, T1_IFSD = 254, T1_TRIES = 3 };

/* Sends one block to the card and brings back what it answered.
 * wtx: the multiplier that the card asked for with the last S(WTX), else 1 (a reader may have to wait longer by it).
 * Returns R_SUCCESS with *got bytes (0 is an empty answer: an invalid block to the engine), R_TIMEOUT or R_COMM when the
 * answer is missing or broken (an invalid block), anything else to end the APDU with that result at once. */
typedef enum result (*t1_exchange_fn)(void *arg, const uint8_t *block, size_t n, uint8_t *answer, size_t cap,
                                      size_t *got, unsigned wtx, deadline_t until);

struct t1 {
    t1_exchange_fn exchange;
    void *arg;
    uint8_t ns;   /* N(S) of our next I-block, 0 or 1 */
    uint8_t nr;   /* N(S) expected of the card's next I-block */
    uint8_t ifsc; /* largest INF the card takes */
    uint8_t ifsc_of_atr;
    uint8_t ifsd; /* largest INF that we said we take: 32 until S(IFS) was answered (up to 254 are always borne) */
    bool crc;
    uint8_t crc_form; /* how CRCs are written: an index into t1.c's table of forms */
    bool edc_known;   /* LRC, or the card's form of the CRC was seen */
    bool ifsd_done;   /* S(IFS) was tried since the last reset */
    bool lost;        /* the last APDU ended with the card in an unknown state: S(RESYNCH) comes first */
    bool dead;        /* nothing more is sent until t1_reset */
    uint8_t tx[T1_BLOCK_MAX], rx[T1_BLOCK_MAX];
    size_t tx_len;
};

/* After each reset of the card: sequence numbers 0, IFSC and EDC from its ATR. */
void t1_reset(struct t1 *t, const struct atr_info *atr, t1_exchange_fn exchange, void *arg);

/* One APDU. The first after a reset is preceded by S(IFS 254); a card that refuses it keeps 32.
 * R_SUCCESS: *len bytes of response (at least 2). R_SPACE: the response is larger than cap (it was taken from the card
 * completely, nothing was written past cap and *len is 0). R_INVALID: empty command. R_COMM, R_TIMEOUT: see above.
 * Whatever exchange returned as fatal. On any error *len is 0. */
enum result t1_transmit(struct t1 *t, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap, size_t *len,
                        deadline_t until);

#endif
