/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a field poll answers, and how often the driver may send one. Pure.
 */
#ifndef PURSE_VIVO_POLL_H
#define PURSE_VIVO_POLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VIVO_UID_MAX = 10, VIVO_ATS_MAX = 254 };

struct vivo_card {
    uint8_t type; /* codes.h; 00: none */
    uint8_t uid[VIVO_UID_MAX];
    size_t uid_len;
    uint8_t ats[VIVO_ATS_MAX];
    size_t ats_len; /* 0: not told */
};

/* Takes the answer to 2C-02, 2C-0C and 2C-40 FF apart: type, serial number. An empty answer is "no card". False: it
 * makes no sense. */
bool vivo_parse_poll(const uint8_t *p, size_t n, struct vivo_card *card);

/* The answer to 2C-0E, whose layout no page shows: type, then either (a) length, serial number, length (or TL alone),
 * ATS, or (b) serial number of 4, 7 or 10 bytes, ATS whose first byte TL is what is left. Both are tried; what fits in
 * one way only is taken, and *layout remembers which it was: from then on an answer that fits in several ways, as one
 * with a random serial number does now and then, is read in that one. If none is known yet and all agree on the serial
 * number, the ATS is left out. False: it fits none, or the serial number cannot be told: another poll has to tell. */
enum vivo_layout { LAYOUT_UNKNOWN, LAYOUT_A, LAYOUT_B };
bool vivo_parse_poll_ats(const uint8_t *p, size_t n, enum vivo_layout *layout, struct vivo_card *card);

/* Can both be the same card? A serial number that is random at each activation (08 …, a PUPI) neither tells that it is,
 * nor that it is not. */
bool vivo_same_card(const struct vivo_card *x, const struct vivo_card *y);

/* Does its serial number tell which card it is? */
bool vivo_uid_is_fixed(const struct vivo_card *card);

/* ---- pacing: at most four command frames a second while no client works (design: 250 ms from start to start) ------
 */

struct vivo_pace {
    bool any;
    int64_t last; /* start of the last frame, nanoseconds of CLOCK_MONOTONIC */
};

enum { VIVO_PACE_MS = 250 };

/* Milliseconds, rounded up, until the next frame may start; 0: now. */
unsigned vivo_pace_left(const struct vivo_pace *p, int64_t now);
void vivo_pace_take(struct vivo_pace *p, int64_t now);

#endif
