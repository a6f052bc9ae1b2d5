/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Faults of one byte of one message, on its way between a model and its host: sim_message.c.
 */
#ifndef PURSE_SIM_MESSAGE_H
#define PURSE_SIM_MESSAGE_H

#include "sim.h"

/* What a message has become; called never, once or twice for each message. */
typedef void (*sim_message_emit)(void *arg, const uint8_t *data, size_t n);

/* One message that a model sends. */
void sim_message_in(struct sim_reader *r, const uint8_t *data, size_t n, sim_message_emit emit, void *arg);

/* What a model got from its host: a whole message, or bytes of a stream. */
void sim_message_out(struct sim_reader *r, const uint8_t *data, size_t n, bool whole, sim_message_emit emit, void *arg);

/* The model has found the end of a message of n bytes in what it got. */
void sim_message_end(struct sim_reader *r, size_t n);

/* A request "message ARGS". yank: ends a reader's connection, called with the lock held. */
bool sim_message_control(struct sim_reader *r, const char *args, void (*yank)(struct sim_reader *r), FILE *reply);

#endif
