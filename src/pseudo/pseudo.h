/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Class FF: commands that the driver answers itself. Storage cards have no APDUs of their own, and readers have
 * commands that no card knows; the field has put both into class FF, in many dialects. None of them ever reaches a card
 * as an APDU.
 *
 * The way of a command: a decoder of its dialect (decode_*.c, pure) turns the bytes into one struct operation or a
 * status word (decode.h); the operation table (pseudo.c) says who carries it out (run_*.c); the answer gets its status
 * word and obeys Le here. What an operation is, and how a new one or a new dialect comes in, stands in operation.h.
 */
#ifndef PURSE_PSEUDO_H
#define PURSE_PSEUDO_H

#include <stddef.h>
#include <stdint.h>

#include "base/result.h"

struct slot;

/* Carries out a class-FF command (n ≥ 1 bytes, the first is FF). R_SUCCESS: *len bytes of response, at least its status
 * word: whatever is wrong with the command or its target is said by one. Any other result is one of the reader (R_GONE,
 * R_TIMEOUT, R_COMM, R_CANCELLED …), of the card (R_NO_CARD) or of the caller's buffer (R_SPACE); *len is 0 then. */
enum result pseudo_transmit(struct slot *slot, const uint8_t *command, size_t n, uint8_t *response, size_t cap,
                            size_t *len);

#endif
