/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reader model's own codec of the AET63 text protocol, written from the protocol description alone and shared with
 * nobody but the tests: a mistake common to driver and model could not show.
 *
 *   raw message   header … XOR checksum
 *   frame         02, two hex digits for each raw byte, 03
 */
#ifndef PURSE_SIM_AET63_FRAME_H
#define PURSE_SIM_AET63_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AET63S_DATA_MAX = 65535,
    AET63S_RAW_MAX = AET63S_DATA_MAX + 7, /* extended response: header, SW1, SW2, FF, two length bytes, checksum */
    AET63S_FRAME_MAX = 2 * AET63S_RAW_MAX + 2
};

/* A message taken apart. In a command code[0] is the instruction; in a response code[] is SW1 SW2. */
struct aet63s_msg {
    uint8_t header;
    uint8_t code[2];
    const uint8_t *data;
    size_t n;
};

enum aet63s_dir { AET63S_COMMAND, AET63S_RESPONSE };
enum aet63s_length { AET63S_LENGTH_NORMAL, AET63S_LENGTH_EXTENDED }; /* as short as it goes; always extended */

/* Builds a raw message (m->n at most AET63S_DATA_MAX); raw holds AET63S_RAW_MAX bytes. Returns its length. */
size_t aet63s_build(uint8_t *raw, enum aet63s_dir dir, const struct aet63s_msg *m, enum aet63s_length length);

/* Takes a raw message apart. False if its header, length or checksum is wrong. m->data points into raw. */
bool aet63s_parse(const uint8_t *raw, size_t n, enum aet63s_dir dir, struct aet63s_msg *m);

/* Writes the frame of n raw bytes (2n + 2 bytes). */
size_t aet63s_frame(uint8_t *out, const uint8_t *raw, size_t n, bool lower_case);

/* ---- receiver: bytes in, raw messages out ----------------------------------------------------------------- */

enum aet63s_event {
    AET63S_NOTHING,
    AET63S_MESSAGE, /* rx->raw holds rx->n bytes, not checked yet */
    AET63S_BAD,     /* a frame ended that cannot be decoded: bad digit, odd number of digits, too long, empty */
    AET63S_NAK      /* 05 05, raw or framed */
};

struct aet63s_rx {
    enum { AET63S_HUNT, AET63S_BODY, AET63S_SPOILT } state;
    bool five;     /* hunting, and the byte before was 05 */
    size_t digits; /* hex digits collected */
    size_t n;
    uint8_t raw[AET63S_RAW_MAX];
};

void aet63s_rx_reset(struct aet63s_rx *rx);

/* Takes one byte. After any event but AET63S_NOTHING the receiver hunts for the next frame; the caller drops what
 * remains of the packet. */
enum aet63s_event aet63s_rx_byte(struct aet63s_rx *rx, uint8_t b);

/* True in the middle of a frame. */
bool aet63s_rx_inside(const struct aet63s_rx *rx);

#endif
