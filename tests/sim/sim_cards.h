/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the simulated cards share: option strings, hex, command APDUs, and the way a T=0 card hands out its data.
 *
 * A card's application is written once, as a function from one parsed command to one whole response. The two wrappers
 * here turn that into what a T=0 card says (61xx, 6Cxx, GET RESPONSE) or what a card with whole APDUs says.
 */
#ifndef PURSE_SIM_CARDS_H
#define PURSE_SIM_CARDS_H

#include "sim.h"

/* Makes a card from "NAME[,key=value…]" as the control verbs give it. NULL, with the reason in why, if it cannot be
 * made. */
struct sim_card *sim_card_make(const char *spec, const struct sim_card_ops **ops, char *why, size_t why_size);

/* Copies the value of key out of "key=value,key=value". False if the key is not there or its value too long. */
bool sim_option(const char *options, const char *key, char *value, size_t size);

/* Reads a decimal option of at most max into *value, which stays as it is when the key is absent. False if malformed.
 */
bool sim_option_number(const char *options, const char *key, unsigned long max, unsigned long *value);

/* True if the string holds no other keys than those listed (NULL ends the list); else a message on stderr. */
bool sim_options_known(const char *card, const char *options, const char *const *keys);

/* Decodes hex digits, spaces allowed between bytes. Returns the number of bytes, or -1 if malformed or more than max.
 */
long sim_hex(const char *text, uint8_t *out, size_t max);

/* One command APDU, taken apart. */
struct sim_apdu {
    uint8_t cla, ins, p1, p2;
    const uint8_t *data;
    size_t nc;   /* length of data */
    size_t ne;   /* maximum length of the response data asked for; 256 or 65536 for the "all" codings */
    bool has_le; /* false: no Le field, so no response data wanted */
    bool t0;     /* came as T=0 header and data: nc and ne are never both above 0 */
};

/* A card's application: writes the whole response (data, SW1 SW2) as if Le had been right, returns its length; 0 = the
 * card stays silent. out holds SIM_RAPDU_MAX bytes. */
typedef size_t (*sim_apdu_fn)(struct sim_card *c, const struct sim_apdu *a, uint8_t *out, unsigned *delay_ms);

/* The data that a T=0 card keeps for GET RESPONSE. */
struct sim_t0 {
    size_t n, at;
    uint8_t held[SIM_RAPDU_MAX];
};

/* Runs one T=0 command (five-byte header, data) on an application. */
size_t sim_run_t0(struct sim_t0 *t0, sim_apdu_fn fn, struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *out,
                  unsigned *delay_ms);

enum sim_le { SIM_LE_STRICT, SIM_LE_LENIENT }; /* lenient: data is returned even where the command has no Le */

/* Runs one whole APDU, short or extended, on an application. */
size_t sim_run_whole(enum sim_le le, sim_apdu_fn fn, struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *out,
                     unsigned *delay_ms);

/* Writes SW1 SW2; returns 2. */
size_t sim_sw(uint8_t *out, unsigned sw);

/* XOR over bytes: TCK, LRC. */
uint8_t sim_xor(const uint8_t *p, size_t n);

extern const struct sim_card_ops sim_card_pboc_t0, sim_card_pboc_t1, sim_card_pboc_cl;
extern const struct sim_card_ops sim_card_echo_t0, sim_card_echo_t1, sim_card_mute, sim_card_badatr;

#endif
