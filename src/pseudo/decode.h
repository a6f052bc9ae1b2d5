/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From the bytes of a class-FF command to an operation. Pure: no I/O, no state, no reader; the same bytes always give
 * the same operation. What depends on the reader or the card is judged later, when the operation is carried out.
 */
#ifndef PURSE_DECODE_H
#define PURSE_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "card/apdu.h"
#include "pseudo/operation.h"

enum {
    DECODED = 0, /* the operation is filled in */
    NOT_MINE = 1 /* another decoder of the same INS is asked */
};

/* DECODED, or the status word that the command gets. op->data points into p. */
uint16_t pseudo_decode(const uint8_t *p, size_t n, struct operation *op);

/* A decoder of a command with the shape of an APDU. DECODED, NOT_MINE or a status word. *op is empty but for Le. */
typedef uint16_t (*decode_fn)(const struct apdu *apdu, struct operation *op);
/* A decoder of a form that has not the shape of an APDU: it sees the bytes (n ≥ 2), before any other decoder. */
typedef uint16_t (*decode_raw_fn)(const uint8_t *p, size_t n, struct operation *op);

/* decode_reader.c */
uint16_t decode_reader_command(const struct apdu *apdu, struct operation *op);
uint16_t decode_acs_reader(const struct apdu *apdu, struct operation *op);

/* decode_data.c */
uint16_t decode_get_data(const struct apdu *apdu, struct operation *op);
uint16_t decode_authenticate_raw(const uint8_t *p, size_t n, struct operation *op);
uint16_t decode_authenticate_shape(const struct apdu *apdu, struct operation *op);
uint16_t decode_load_key(const struct apdu *apdu, struct operation *op);
uint16_t decode_authenticate(const struct apdu *apdu, struct operation *op);
uint16_t decode_read(const struct apdu *apdu, struct operation *op);
uint16_t decode_write(const struct apdu *apdu, struct operation *op);

/* decode_value.c */
uint16_t decode_value_read(const struct apdu *apdu, struct operation *op);
uint16_t decode_value_acs(const struct apdu *apdu, struct operation *op);
uint16_t decode_increment_omnikey(const struct apdu *apdu, struct operation *op);
uint16_t decode_decrement_omnikey(const struct apdu *apdu, struct operation *op);
uint16_t decode_value_springcard(const struct apdu *apdu, struct operation *op);
uint16_t decode_purse(const struct apdu *apdu, struct operation *op);

/* decode_session.c */
uint16_t decode_session(const struct apdu *apdu, struct operation *op);
uint16_t decode_encapsulate(const struct apdu *apdu, struct operation *op);

/* decode_vicinity.c */
uint16_t decode_vicinity_springcard(const struct apdu *apdu, struct operation *op);
uint16_t decode_vicinity_identiv(const struct apdu *apdu, struct operation *op);
uint16_t decode_vicinity_omnikey(const struct apdu *apdu, struct operation *op);

#endif
