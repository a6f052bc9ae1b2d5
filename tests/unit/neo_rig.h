/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A front for the ViVOpay reader model made for tests: bytes go straight in, what comes out is kept, and time is a
 * number that moves only when the test says so. It holds its own frame builder and CRC, so that the model's are
 * checked and not merely repeated.
 */
#ifndef PURSE_NEO_RIG_H
#define PURSE_NEO_RIG_H

#include "../sim/sim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RIG_OUT = 65536, RIG_TEXT = 8192 };

#define RIG_HEADER "5669564F746563683200"

/* Makes a powered reader; the one of the test before must be gone. */
void rig_start(const char *options);
void rig_stop(void);
struct sim_model *rig_model(void);

unsigned rig_crc(const uint8_t *data, size_t n);
size_t rig_unhex(const char *hex, uint8_t *out, size_t max);

/* Raw bytes to the model: on a serial line, or as one report on HID. */
void rig_feed(const char *hex);
void rig_feed_bytes(const uint8_t *data, size_t n);
bool rig_control_transfer(const char *setup_hex, const char *data_hex);

/* Everything the model sent since last asked, as hex; on HID the reports as they are. */
const char *rig_out(void);
size_t rig_out_len(void);

/* Moves time on, timers run in their order. */
void rig_wait(unsigned ms);
unsigned long rig_now(void);
/* Moves time on to the next timer; false if none is set. */
bool rig_step(void);

/* Sends the command "CCSS" with data in the CRC order of its family. */
void rig_send(const char *code, const char *data_hex);
/* Sends it, moves time on until the answer is there, checks header, length and CRC, and returns "SS:DATA". Fails the
 * test if no answer or more than one frame comes. */
const char *rig_ask(const char *code, const char *data_hex);
/* The next answer already (or soon) there, in the same form but with the command byte before: "CC:SS:DATA"; "" if
 * nothing comes within ms. */
const char *rig_next(unsigned ms);

/* One control request; the reply is returned, preceded by "!" if it was refused. */
const char *rig_control(const char *verb, const char *args);
unsigned long rig_count(const char *key);

/* The card "fake-async", made last: it comes, goes and answers when the test says so. */
void rig_async_present(bool present);
/* Answers the APDU begun; false if none is (or it was cancelled). */
bool rig_async_answer(const char *rapdu_hex);

#endif
