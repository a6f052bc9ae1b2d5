/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * AET63 frames: STX, the raw message in hexadecimal text, ETX (AET63 manual 6.1-6.5). Pure: bytes in, messages out.
 *
 * Raw messages: a command is header, instruction, length, data, checksum; a response has SW1 SW2 in place of the
 * instruction. Length is one byte (0 … 254) or FF and two bytes, high byte first. The checksum is the XOR of all bytes
 * before it, so the XOR over a whole message is 0. The decoder accepts the long form for any length; the encoder uses it
 * from 255 on.
 */
#ifndef PURSE_AET63_FRAME_H
#define PURSE_AET63_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/result.h"

enum {
    AET63_STX = 0x02,
    AET63_ETX = 0x03,
    AET63_NAK = 0x05,
    AET63_HEADER = 0x01,           /* standard message */
    AET63_HEADER_ENCRYPTED = 0x02, /* fingerprint secure session; its payload is opaque */
    AET63_LONG_FORM = 0xFF,         /* the length byte of the extended form, and the shortest data that needs it */
    AET63_DATA_MAX = 65535,
    AET63_RAW_MAX = 7 + AET63_DATA_MAX,
    AET63_TEXT_MAX = 2 * AET63_RAW_MAX + 2
};

struct aet63_command {
    uint8_t header, instruction;
    const uint8_t *data;
    size_t n;
};

struct aet63_response {
    uint8_t header, sw1, sw2;
    const uint8_t *data; /* n bytes inside the decoder's buffer, valid until the next feed */
    size_t n;
};

/* Writes the text frame of a command made of up to two data parts (either may be NULL with length 0) into text.
 * Returns its length, or 0 if it does not fit or the data is longer than AET63_DATA_MAX. */
size_t aet63_encode(uint8_t header, uint8_t instruction, const uint8_t *part1, size_t n1, const uint8_t *part2, size_t n2,
                    uint8_t *text, size_t cap);

/* Checks and takes apart a raw message. R_COMM: too short, header neither 01 nor 02, length that does not match, or
 * checksum wrong. */
enum result aet63_parse_response(const uint8_t *raw, size_t n, struct aet63_response *out);
enum result aet63_parse_command(const uint8_t *raw, size_t n, struct aet63_command *out);

enum aet63_input {
    AET63_MORE,   /* all bytes were taken, no message is complete */
    AET63_RAW,    /* a complete raw message stands in raw[0 … raw_len) */
    AET63_NAKED,  /* NAK, in either form */
    AET63_BROKEN  /* something that is no frame: odd digits, a byte that is no hex digit, too long */
};

/* One decoder for each input pipe. Embedded; no allocation. */
struct aet63_decoder {
    enum { AET63_HUNT, AET63_BODY } state;
    bool half;       /* one digit of a byte was read */
    bool too_long;
    bool last_nak;   /* the byte before, in HUNT, was a raw 05 */
    bool stray;      /* an ETX was met in HUNT: perhaps the end of a frame whose STX was lost */
    size_t raw_len;
    uint8_t raw[AET63_RAW_MAX];
};

void aet63_decoder_reset(struct aet63_decoder *d);

/* Takes bytes of one chunk, moving *p and *n on, up to and including the end of one message. When it returns anything but
 * AET63_MORE, bytes may be left: in an 8-byte interrupt packet they are padding, in a larger packet another frame may
 * stand there; see aet63_decode_rest. */
enum aet63_input aet63_decode(struct aet63_decoder *d, const uint8_t **p, size_t *n);

/* The rest of a chunk after a message: true if another complete and correct frame stands in it (then it is in raw). What
 * is no such frame is padding and is dropped. *p and *n are moved on. */
bool aet63_decode_rest(struct aet63_decoder *d, const uint8_t **p, size_t *n);

#endif
