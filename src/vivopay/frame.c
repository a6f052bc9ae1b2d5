/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ViVOpay frame codec; frame.h tells the format. The decoder keeps the beginning of what may be a frame in its buffer
 * and moves it up whenever that beginning turns out to be none, so the buffer always starts with as much of a header as
 * there is, and a frame is recognised wherever it begins.
 */
#include "vivopay/frame.h"

#include <string.h>
#include "base/checksum.h"

enum { LENGTH_AT = 12, REPORT_WHOLE = 1, REPORT_FIRST = 2, REPORT_MIDDLE = 3, REPORT_LAST = 4 };

static const uint8_t header[VIVO_HEADER_SIZE] = {'V', 'i', 'V', 'O', 't', 'e', 'c', 'h', '2', 0};

/* The CRC of a frame whose header is the one above, over its first n bytes: that of the header is always the same. */
static uint16_t frame_crc(const uint8_t *frame, size_t n)
{
    enum { CRC_OF_HEADER = 0xB8DC };

    return crc16_ccitt_more(CRC_OF_HEADER, frame + sizeof header, n - sizeof header);
}

size_t vivo_encode(uint8_t command, uint8_t sub, const uint8_t *part1, size_t n1, const uint8_t *part2, size_t n2,
                   enum vivo_order order, uint8_t *frame, size_t cap)
{
    size_t n = n1 + n2, crc_at = LENGTH_AT + 2 + n;
    uint16_t crc;

    if (n1 > VIVO_DATA_MAX || n2 > VIVO_DATA_MAX - n1 || cap < n + VIVO_OVERHEAD)
        return 0;
    memcpy(frame, header, sizeof header);
    frame[10] = command;
    frame[11] = sub;
    frame[LENGTH_AT] = (uint8_t)(n >> 8);
    frame[LENGTH_AT + 1] = (uint8_t)n;
    if (n1 > 0)
        memcpy(frame + LENGTH_AT + 2, part1, n1);
    if (n2 > 0)
        memcpy(frame + LENGTH_AT + 2 + n1, part2, n2);
    crc = frame_crc(frame, crc_at);
    frame[crc_at] = (uint8_t)(order == VIVO_MSB_FIRST ? crc >> 8 : crc);
    frame[crc_at + 1] = (uint8_t)(order == VIVO_MSB_FIRST ? crc : crc >> 8);
    return crc_at + 2;
}

void vivo_decoder_reset(struct vivo_decoder *d)
{
    d->len = d->taken = d->dropped = 0;
}

static void drop(struct vivo_decoder *d, size_t n)
{
    d->len -= n;
    memmove(d->bytes, d->bytes + n, d->len);
}

static size_t data_length(const struct vivo_decoder *d)
{
    return (size_t)d->bytes[LENGTH_AT] << 8 | d->bytes[LENGTH_AT + 1];
}

/* Could the buffer be the beginning of a frame? */
static bool plausible(const struct vivo_decoder *d)
{
    size_t known = d->len < sizeof header ? d->len : sizeof header;

    return memcmp(d->bytes, header, known) == 0 && (d->len < LENGTH_AT + 2 || data_length(d) <= VIVO_DATA_MAX);
}

/* Moves up to the first byte that may begin a frame. */
static void hunt(struct vivo_decoder *d)
{
    while (d->len > 0 && !plausible(d)) {
        drop(d, 1);
        d->dropped++;
    }
}

/* How many bytes the buffer has to hold before more can be told: up to the length, then the whole frame. More may stand
 * behind it already: what a broken frame had swallowed. */
static size_t wanted(const struct vivo_decoder *d)
{
    return d->len < LENGTH_AT + 2 ? LENGTH_AT + 2 : data_length(d) + VIVO_OVERHEAD;
}

static enum vivo_input judge(struct vivo_decoder *d, struct vivo_frame *f)
{
    size_t n = data_length(d), crc_at = LENGTH_AT + 2 + n;
    uint16_t crc = frame_crc(d->bytes, crc_at);
    uint8_t hi = (uint8_t)(crc >> 8), lo = (uint8_t)crc;
    const uint8_t *sent = d->bytes + crc_at;

    d->taken = crc_at + 2;
    if (sent[0] == hi && sent[1] == lo)
        f->order = VIVO_MSB_FIRST;
    else if (sent[0] == lo && sent[1] == hi)
        f->order = VIVO_LSB_FIRST;
    else {
        /* Perhaps bytes were lost and the next frame's header stands inside: hunt on behind this one's first byte. */
        d->taken = 0;
        drop(d, 1);
        d->dropped++;
        hunt(d);
        return VIVO_BROKEN;
    }
    f->command = d->bytes[10];
    f->status = d->bytes[11];
    f->data = d->bytes + LENGTH_AT + 2;
    f->n = n;
    return VIVO_FRAME;
}

enum vivo_input vivo_decode(struct vivo_decoder *d, const uint8_t **p, size_t *n, struct vivo_frame *f)
{
    if (d->taken > 0) {
        drop(d, d->taken);
        d->taken = 0;
        if (d->len > 0)
            hunt(d);
    }
    for (;;) {
        bool in_header = d->len < LENGTH_AT + 2;
        size_t want = wanted(d), now = want - d->len;

        if (d->len >= want)
            return judge(d, f);
        if (*n == 0)
            return VIVO_MORE;
        if (now > *n)
            now = *n;
        memcpy(d->bytes + d->len, *p, now);
        d->len += now;
        *p += now;
        *n -= now;
        if (in_header && !plausible(d))
            hunt(d);
    }
}

/* ---- HID reports ---------------------------------------------------------------------------------------------- */

bool vivo_next_report(const uint8_t *frame, size_t n, size_t *at, uint8_t report[VIVO_REPORT_SIZE])
{
    size_t left = n - *at, now = left < VIVO_REPORT_PAYLOAD ? left : VIVO_REPORT_PAYLOAD;

    if (left == 0)
        return false;
    if (n <= VIVO_REPORT_PAYLOAD)
        report[0] = REPORT_WHOLE;
    else if (*at == 0)
        report[0] = REPORT_FIRST;
    else
        report[0] = left <= VIVO_REPORT_PAYLOAD ? REPORT_LAST : REPORT_MIDDLE;
    memset(report + 1, 0, VIVO_REPORT_PAYLOAD);
    memcpy(report + 1, frame + *at, now);
    *at += now;
    return true;
}

void vivo_assembly_reset(struct vivo_assembly *a)
{
    a->open = false;
    a->len = 0;
}

static bool append(struct vivo_assembly *a, const uint8_t *p, size_t n)
{
    if (n > sizeof a->bytes - a->len)
        return false;
    memmove(a->bytes + a->len, p, n); /* memcpy, where n is known to be small, is written out as a slow loop */
    a->len += n;
    return true;
}

bool vivo_assemble(struct vivo_assembly *a, const uint8_t *report, size_t n)
{
    uint8_t id = n > 1 ? report[0] : 0;

    if (id == REPORT_WHOLE || id == REPORT_FIRST)
        vivo_assembly_reset(a);
    else if ((id != REPORT_MIDDLE && id != REPORT_LAST) || !a->open)
        return false;
    if (!append(a, report + 1, n - 1 < VIVO_REPORT_PAYLOAD ? n - 1 : VIVO_REPORT_PAYLOAD)) {
        vivo_assembly_reset(a);
        return false;
    }
    a->open = id == REPORT_FIRST || id == REPORT_MIDDLE;
    return !a->open;
}
