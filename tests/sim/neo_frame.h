/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frames of the ViVOpay protocol 2 as a reader sees them: the CRC, a byte-wise parser for commands, a builder for
 * answers, and the cutting and joining of 64-byte HID reports. Nothing here knows what a command means.
 */
#ifndef PURSE_NEO_FRAME_H
#define PURSE_NEO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NEO_HEADER_LEN = 10,
    NEO_CMD_AT = 10, /* command byte; the sub-command (commands) or the status (answers) follows */
    NEO_LEN_AT = 12, /* data length, big-endian */
    NEO_DATA_AT = 14,
    NEO_FRAME_MAX = 1500,
    NEO_DATA_MAX = NEO_FRAME_MAX - NEO_DATA_AT - 2,
    NEO_REPORT = 64,   /* report ID and 63 bytes */
    NEO_HID_MAX = 4096 /* a message with legal padding around the frame */
};

extern const uint8_t neo_header[NEO_HEADER_LEN];

/* CRC-16, polynomial 1021, start value FFFF, neither reflected nor inverted. */
uint16_t neo_crc(const uint8_t *data, size_t n);

/* Writes an answer (or a frame nobody asked for) with its CRC, most significant byte first; returns its length. n is
 * at most NEO_DATA_MAX. */
size_t neo_frame_build(uint8_t cmd, uint8_t status, const uint8_t *data, size_t n, uint8_t out[NEO_FRAME_MAX]);

enum neo_parse { NEO_PARSE_MORE, NEO_PARSE_FRAME, NEO_PARSE_TOO_LONG };

/* Zero-initialised is empty. */
struct neo_parser {
    uint8_t buf[NEO_FRAME_MAX];
    size_t len;
    bool done;     /* buf holds a finished frame; the next byte starts over */
    bool too_long; /* likewise a head with too large a length */
};

/* Takes one byte. NEO_PARSE_FRAME: buf/len hold a whole frame, CRC unchecked. NEO_PARSE_TOO_LONG: the length field
 * exceeds what the reader can take; buf[NEO_CMD_AT] tells the command; the parser has gone back to hunting. */
enum neo_parse neo_parser_byte(struct neo_parser *p, uint8_t byte);

/* Zero-initialised is empty. */
struct neo_hid_in {
    uint8_t buf[NEO_HID_MAX];
    size_t len;
    bool open;
    unsigned long ignored; /* reports without effect: unknown ID, part without a start, too long a message */
};

/* Takes one report, ID first. Returns true if a message is complete in buf/len. */
bool neo_hid_report(struct neo_hid_in *h, const uint8_t *report, size_t n);

/* Writes the index-th report of a frame of n bytes; returns false when there is none. */
bool neo_hid_cut(const uint8_t *frame, size_t n, size_t index, uint8_t report[NEO_REPORT]);

#endif
