/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the ViVOpay frame codec. The input is a small script that writes a stream: bytes as they are, sound frames with
 * their CRC in either order, spoilt and cut ones. What the decoder finds in it, in which order, with what it drops, must
 * be what a plain search from the left finds (written here, with a CRC computed bit by bit), whether the stream comes
 * whole, byte by byte or in chunks; every byte fed is in a frame, counted as dropped, or still held; and what is encoded
 * is decoded as the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vivopay/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAM_MAX = 6000, FOUND_MAX = 1000 };

static const uint8_t head[VIVO_HEADER_SIZE] = "ViVOtech2";
static struct {
    uint8_t bytes[STREAM_MAX];
    size_t n;
} stream;

struct found {
    enum vivo_input what;
    enum vivo_order order;
    size_t at, n; /* n: of its data */
};

static struct found expected[FOUND_MAX];
static struct vivo_decoder decoder;

static void check(int ok)
{
    if (!ok)
        abort();
}

static unsigned crc_of(const uint8_t *p, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t i = 0; i < 8 * n; i++) {
        unsigned bit = p[i / 8] >> (7 - i % 8) & 1;

        crc = (crc >> 15 ^ bit) & 1 ? (crc << 1 ^ 0x1021) & 0xFFFF : crc << 1 & 0xFFFF;
    }
    return crc;
}

/* ---- the stream ---- */

static void put(const uint8_t *p, size_t n)
{
    n = n < STREAM_MAX - stream.n ? n : STREAM_MAX - stream.n;
    memcpy(stream.bytes + stream.n, p, n);
    stream.n += n;
}

/* The form bits: CRC order, a fault in it, a cut end, a long frame, a length beyond what is there. */
static void put_frame(unsigned form, const uint8_t *p, size_t n)
{
    uint8_t frame[VIVO_FRAME_MAX];
    size_t len = form & 8 ? VIVO_DATA_MAX - n : n;
    unsigned crc;

    memset(frame, (int)form, sizeof frame);
    memcpy(frame, head, sizeof head);
    frame[10] = 0x2C;
    frame[11] = form & 1 ? 0x04 : 0x00;
    frame[12] = (uint8_t)(len >> 8 ^ (form & 0x40));
    frame[13] = (uint8_t)len;
    memcpy(frame + 14, p, n);
    crc = crc_of(frame, 14 + len);
    if (form & 2)
        crc ^= 0x0100;
    frame[14 + len] = (uint8_t)(form & 1 ? crc >> 8 : crc);
    frame[15 + len] = (uint8_t)(form & 1 ? crc : crc >> 8);
    put(frame, form & 4 ? 14 + len / 2 : 16 + len);
}

static void write_stream(const uint8_t *p, size_t n)
{
    stream.n = 0;
    while (n > 0) {
        unsigned op = *p++;
        size_t now = op >> 1;

        n--;
        now = now < n ? now : n;
        if (op & 1 && now > 0)
            put_frame(p[0], p + 1, now - 1);
        else if (op == 0) /* a header alone */
            put(head, sizeof head);
        else
            put(p, now);
        p += now;
        n -= now;
    }
}

/* ---- the plain search; returns how many, *held: bytes from the first frame that is not complete ---- */

static bool begins_frame(size_t at, size_t *len)
{
    size_t left = stream.n - at, known = left < sizeof head ? left : sizeof head;

    *len = 0;
    if (memcmp(stream.bytes + at, head, known) != 0)
        return false;
    if (left >= 14)
        *len = stream.bytes[at + 12] * 256u + stream.bytes[at + 13];
    return *len <= 1500 - 16;
}

static size_t search(size_t *held, size_t *dropped)
{
    size_t count = 0, at = 0;

    *dropped = 0;
    while (at < stream.n && count < FOUND_MAX) {
        size_t len;

        if (begins_frame(at, &len)) {
            const uint8_t *p = stream.bytes + at;
            struct found *f = &expected[count];
            unsigned crc;

            if (stream.n - at < 14 || stream.n - at < len + 16)
                break;
            count++;
            crc = crc_of(p, len + 14);
            *f = (struct found){VIVO_FRAME, VIVO_MSB_FIRST, at, len};
            if (p[14 + len] == crc >> 8 && p[15 + len] == (crc & 0xFF)) {
                at += len + 16;
                continue;
            }
            f->order = VIVO_LSB_FIRST;
            if (p[14 + len] == (crc & 0xFF) && p[15 + len] == crc >> 8) {
                at += len + 16;
                continue;
            }
            f->what = VIVO_BROKEN;
        }
        at++;
        ++*dropped;
    }
    *held = stream.n - at;
    return count;
}

/* ---- reading ---- */

static void check_frame(const struct vivo_frame *f, const struct found *e)
{
    const uint8_t *p = stream.bytes + e->at;

    check(f->order == e->order && f->n == e->n && f->command == p[10] && f->status == p[11]);
    check(f->data >= decoder.bytes && f->data + f->n <= decoder.bytes + sizeof decoder.bytes);
    check(memcmp(f->data, p + 14, f->n) == 0);
}

static void read_stream(size_t step, size_t count, size_t held, size_t dropped)
{
    size_t found = 0;

    vivo_decoder_reset(&decoder);
    for (size_t at = 0; at < stream.n && found < FOUND_MAX;) {
        size_t n = stream.n - at < step ? stream.n - at : step, end = at + n;
        const uint8_t *p = stream.bytes + at;
        struct vivo_frame f;
        enum vivo_input in;

        while (found < FOUND_MAX && (in = vivo_decode(&decoder, &p, &n, &f)) != VIVO_MORE) {
            check(p + n == stream.bytes + end && decoder.len <= sizeof decoder.bytes);
            check(found < count && in == expected[found].what);
            if (in == VIVO_FRAME)
                check_frame(&f, &expected[found]);
            found++;
        }
        check(found == FOUND_MAX || n == 0);
        at = end;
    }
    check(found == count);
    if (count < FOUND_MAX)
        check(decoder.dropped == dropped && decoder.len - decoder.taken == held && vivo_decoder_open(&decoder) == (held > 0));
}

static void round_trip(const uint8_t *p, size_t n)
{
    uint8_t frame[VIVO_FRAME_MAX];
    enum vivo_order order = n % 2 ? VIVO_MSB_FIRST : VIVO_LSB_FIRST;
    uint8_t command = n > 0 ? p[0] : 0x2C;
    size_t len = vivo_encode(command, 0x03, p, n / 3, p + n / 3, n - n / 3, order, frame, sizeof frame);
    const uint8_t *at = frame;
    struct vivo_frame f;

    check((len == 0) == (n > VIVO_DATA_MAX));
    if (len == 0)
        return;
    check(len == n + VIVO_OVERHEAD);
    check(vivo_encode(command, 0x03, p, n, NULL, 0, order, frame, len - 1) == 0);
    check(vivo_encode(command, 0x03, p, n, NULL, 0, order, frame, len) == len);
    vivo_decoder_reset(&decoder);
    check(vivo_decode(&decoder, &at, &len, &f) == VIVO_FRAME && len == 0);
    check(f.command == command && f.status == 0x03 && f.n == n && memcmp(f.data, p, n) == 0);
    check(f.order == order || crc_of(frame, n + 14) % 257 == 0); /* or both bytes of the CRC are the same */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count, held, dropped;

    if (size < 1)
        return 0;
    write_stream(data + 1, size - 1);
    count = search(&held, &dropped);
    read_stream(STREAM_MAX, count, held, dropped);
    read_stream(1, count, held, dropped);
    read_stream(2 + data[0], count, held, dropped);
    round_trip(data + 1, size - 1);
    return 0;
}
