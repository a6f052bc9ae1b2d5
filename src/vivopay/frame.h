/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ViVOpay frames, "Protocol 2" (NEO 2 Interface Developer's Guide, p42-47). Pure: bytes in, frames out.
 *
 *   command    "ViVOtech2" NUL | command | sub-command | length (2, high byte first) | data | CRC (2)
 *   response   "ViVOtech2" NUL | command | status      | length (2, high byte first) | data | CRC (2)
 *
 * CRC-16/CCITT-FALSE over everything before it. A response carries it high byte first. A command carries it low byte
 * first, or, if it belongs to the pass-through family, high byte first (codes.h); which one is the caller's
 * knowledge. On USB-HID a frame travels in reports of 64 bytes: a report ID (01 the whole frame, 02 its first part, 03
 * middle, 04 last) and 63 bytes, padded with zeros at the end (p40-42).
 */
#ifndef PURSE_VIVO_FRAME_H
#define PURSE_VIVO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/result.h"

enum {
    VIVO_HEADER_SIZE = 10,
    VIVO_OVERHEAD = 16,    /* header, command, sub-command or status, length, CRC */
    VIVO_FRAME_MAX = 1500, /* p40: the size of the reader's command FIFO */
    VIVO_DATA_MAX = VIVO_FRAME_MAX - VIVO_OVERHEAD,
    VIVO_REPORT_SIZE = 64,
    VIVO_REPORT_PAYLOAD = 63
};

enum vivo_order { VIVO_LSB_FIRST, VIVO_MSB_FIRST };

/* Writes a command frame of up to two data parts. Returns its length; 0 if the data is longer than VIVO_DATA_MAX or does
 * not fit into cap. */
size_t vivo_encode(uint8_t command, uint8_t sub, const uint8_t *part1, size_t n1, const uint8_t *part2, size_t n2,
                   enum vivo_order order, uint8_t *frame, size_t cap);

struct vivo_frame {
    uint8_t command, status; /* of a response; of a command: the sub-command */
    const uint8_t *data;     /* n bytes inside the decoder, valid until it is fed again */
    size_t n;
    enum vivo_order order;   /* in which its CRC was right */
};

/* Takes one stream of bytes (serial) apart, or one frame's bytes (HID). Embedded; no allocation. */
struct vivo_decoder {
    size_t len;
    uint8_t bytes[VIVO_FRAME_MAX];
    size_t taken;   /* bytes of the frame handed out last; they go with the next call */
    size_t dropped; /* bytes that belonged to no frame, since the last reset */
};

enum vivo_input {
    VIVO_MORE,  /* no complete frame yet */
    VIVO_FRAME, /* *f holds one */
    VIVO_BROKEN /* a complete frame with a wrong CRC; dropped */
};

void vivo_decoder_reset(struct vivo_decoder *d);

/* Takes bytes, moving *p and *n on, until a frame is complete or all are taken. Everything that is no header is
 * skipped; a length above VIVO_DATA_MAX makes the hunt go on behind the first byte of that header. */
enum vivo_input vivo_decode(struct vivo_decoder *d, const uint8_t **p, size_t *n, struct vivo_frame *f);

/* Is the decoder inside a frame, so that silence means a broken one? */
static inline bool vivo_decoder_open(const struct vivo_decoder *d)
{
    return d->len > d->taken;
}

/* ---- HID reports ---------------------------------------------------------------------------------------------- */

/* The report that carries frame bytes from *at on; moves *at on. False when nothing is left. */
bool vivo_next_report(const uint8_t *frame, size_t n, size_t *at, uint8_t report[VIVO_REPORT_SIZE]);

/* Puts reports together again. A report that cannot follow the one before is ignored; 01 and 02 begin anew. */
struct vivo_assembly {
    bool open; /* 02 was seen, 04 not yet */
    size_t len;
    uint8_t bytes[VIVO_FRAME_MAX + VIVO_REPORT_PAYLOAD];
};

void vivo_assembly_reset(struct vivo_assembly *a);

/* True when a frame's last report came: bytes[0 … len) are the frame and its padding. */
bool vivo_assemble(struct vivo_assembly *a, const uint8_t *report, size_t n);

#endif
