/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the AET63 frame codec. The input is a small script that writes a stream: bytes as they are, sound and spoilt
 * frames, endless digits. What must hold of any stream:
 *   - it reads the same whole, byte by byte, and in chunks of any size;
 *   - each message stands in it as STX, digits, ETX, and every such frame of a possible length is found, whatever stands
 *     before it: no noise can hide a frame;
 *   - a message is accepted if and only if its header, checksum and length are right, and its data lies inside it;
 *   - a command that is taken apart, and put together again, is the same command.
 * Frames are found and judged a second time here, in another way: backwards from each ETX.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aet63/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAM_MAX = 150000, FOUND_MAX = 2000 };

static struct {
    uint8_t bytes[STREAM_MAX];
    size_t n;
} stream;

/* What the decoder said, and behind how many bytes of the stream. */
struct found {
    enum aet63_input what;
    size_t end, raw_len;
    uint32_t sum; /* of the raw bytes */
};

static struct found once[FOUND_MAX], again[FOUND_MAX];
static struct aet63_decoder decoder;

static void check(int ok)
{
    if (!ok)
        abort();
}

/* ---- the stream ---- */

static void put(uint8_t c)
{
    if (stream.n < STREAM_MAX)
        stream.bytes[stream.n++] = c;
}

static void put_text(const uint8_t *p, size_t n, const char *digits)
{
    put(AET63_STX);
    for (size_t i = 0; i < n; i++) {
        put((uint8_t)digits[p[i] >> 4]);
        put((uint8_t)digits[p[i] & 15]);
    }
    put(AET63_ETX);
}

/* A frame of the payload given: the form bits choose response or command, short or long length, letters, a fault. */
static void put_frame(unsigned form, const uint8_t *p, size_t n)
{
    uint8_t raw[300], sum = 0;
    size_t len = 0;

    raw[len++] = form & 0x80 ? 2 : 1;
    raw[len++] = form & 1 ? 0x90 : 0xA0;
    if (form & 1)
        raw[len++] = form & 2 ? 0x00 : 0x01;
    if (form & 4 || n >= 0xFF) {
        raw[len++] = 0xFF;
        raw[len++] = (uint8_t)(n >> 8);
    }
    raw[len++] = (uint8_t)n;
    memcpy(raw + len, p, n);
    len += n;
    for (size_t i = 0; i < len; i++)
        sum ^= raw[i];
    raw[len++] = form & 8 ? sum ^ 0x10 : sum;
    put_text(raw, len, form & 16 ? "0123456789abcdef" : "0123456789ABCDEF");
    if (form & 32)
        stream.n--; /* the end is lost */
}

static void write_stream(const uint8_t *p, size_t n)
{
    stream.n = 0;
    while (n > 0) {
        unsigned op = *p++;
        size_t now = op >> 2;

        n--;
        now = now < n ? now : n;
        switch (op & 3) {
        case 0: /* as they are */
            for (size_t i = 0; i < now; i++)
                put(p[i]);
            break;
        case 1:
        case 2:
            if (now > 0)
                put_frame(p[0], p + 1, now - 1);
            break;
        default: /* digits; behind FF A5 as many as the longest frame has */
            now = op == 0xFF && n > 0 && p[0] == 0xA5;
            for (size_t i = now ? 2 * AET63_RAW_MAX : op >> 2; i > 0; i--)
                put('7');
        }
        p += now;
        n -= now;
    }
}

/* ---- the same, judged here ---- */

static int digit(uint8_t c)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    const char *at = c ? strchr(digits, c) : NULL;

    if (!at)
        return -1;
    return (int)(at - digits) < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

/* The digits before an ETX that stands at `at`, back to their STX: their number, or -1 if there is none. */
static long digits_before(size_t from, size_t at)
{
    size_t i = at;

    while (i > from && digit(stream.bytes[i - 1]) >= 0)
        i--;
    return i > from && stream.bytes[i - 1] == AET63_STX ? (long)(at - i) : -1;
}

static uint8_t raw_at(size_t etx, size_t raw_len, size_t i)
{
    const uint8_t *p = stream.bytes + etx - 2 * raw_len + 2 * i;

    return (uint8_t)(digit(p[0]) << 4 | digit(p[1]));
}

/* Is the raw message sound? `fixed` bytes stand before its length. */
static bool sound(const uint8_t *raw, size_t n, size_t fixed, size_t *data_at)
{
    size_t len;
    uint8_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum ^= raw[i];
    if (n < fixed + 2 || (raw[0] != 1 && raw[0] != 2) || sum != 0)
        return false;
    len = raw[fixed];
    *data_at = fixed + 1;
    if (len == 0xFF) {
        if (n < fixed + 4)
            return false;
        len = raw[fixed + 1] * 256u + raw[fixed + 2];
        *data_at = fixed + 3;
    }
    return n == *data_at + len + 1;
}

static void check_command(const uint8_t *raw, size_t n)
{
    static uint8_t text[AET63_TEXT_MAX];
    struct aet63_command c, same;
    size_t data_at, len;
    const uint8_t *p = text;
    enum result r = aet63_parse_command(raw, n, &c);

    check((r == R_SUCCESS) == sound(raw, n, 2, &data_at) && (r == R_SUCCESS || r == R_COMM));
    if (r != R_SUCCESS)
        return;
    check(c.header == raw[0] && c.instruction == raw[1] && c.data == raw + data_at && c.n == n - data_at - 1);
    len = aet63_encode(c.header, c.instruction, c.data, c.n / 2, c.data + c.n / 2, c.n - c.n / 2, text, sizeof text);
    check(len > 0 && text[0] == AET63_STX && text[len - 1] == AET63_ETX);
    check(aet63_encode(c.header, c.instruction, c.data, c.n, NULL, 0, text, len - 1) == 0);
    check(aet63_encode(c.header, c.instruction, c.data, c.n, NULL, 0, text, len) == len);
    aet63_decoder_reset(&decoder);
    check(aet63_decode(&decoder, &p, &len) == AET63_RAW && len == 0);
    check(aet63_parse_command(decoder.raw, decoder.raw_len, &same) == R_SUCCESS);
    check(same.header == c.header && same.instruction == c.instruction && same.n == c.n);
    check(memcmp(same.data, c.data, c.n) == 0);
}

/* A copy as large as the message, so that a read past it is seen. */
static void check_message(size_t etx, size_t n)
{
    uint8_t *raw = malloc(n);
    struct aet63_response m;
    size_t data_at;
    enum result r;

    check(raw != NULL);
    for (size_t i = 0; i < n; i++)
        raw[i] = raw_at(etx, n, i);
    r = aet63_parse_response(raw, n, &m);
    check((r == R_SUCCESS) == sound(raw, n, 3, &data_at) && (r == R_SUCCESS || r == R_COMM));
    if (r == R_SUCCESS)
        check(m.header == raw[0] && m.sw1 == raw[1] && m.sw2 == raw[2] && m.data == raw + data_at &&
              m.n == n - data_at - 1);
    check_command(raw, n);
    free(raw);
}

/* Each thing found is there, and each frame there is found. */
static void check_found(const struct found *f, size_t count)
{
    size_t at = 0;

    for (size_t i = 0; i < stream.n && at < FOUND_MAX; i++) {
        long digits = stream.bytes[i] == AET63_ETX ? digits_before(0, i) : -1;
        bool frame = digits > 0 && digits % 2 == 0 && digits <= 2 * AET63_RAW_MAX;
        bool told = at < count && f[at].end == i + 1;

        if (frame) {
            bool nak = digits == 4 && raw_at(i, 2, 0) == 5 && raw_at(i, 2, 1) == 5;

            check(told && f[at].what == (nak ? AET63_NAKED : AET63_RAW));
            check(nak || f[at].raw_len == (size_t)digits / 2);
            if (!nak)
                check_message(i, f[at].raw_len);
        } else if (told) {
            check(f[at].what != AET63_RAW);
            check(f[at].what != AET63_NAKED || (i > 0 && stream.bytes[i] == 5 && stream.bytes[i - 1] == 5));
        }
        at += told;
    }
    check(at == count);
}

/* ---- reading ---- */

static size_t read_stream(struct found *f, size_t step)
{
    struct aet63_decoder *d = &decoder;
    size_t count = 0;

    aet63_decoder_reset(d);
    for (size_t at = 0; at < stream.n && count < FOUND_MAX;) {
        size_t n = stream.n - at < step ? stream.n - at : step, end = at + n;
        const uint8_t *p = stream.bytes + at;

        while (n > 0 && count < FOUND_MAX) {
            enum aet63_input in = aet63_decode(d, &p, &n);

            check(p + n == stream.bytes + end && d->raw_len <= AET63_RAW_MAX);
            check(in != AET63_MORE || n == 0);
            if (in == AET63_MORE)
                break;
            f[count] = (struct found){in, (size_t)(p - stream.bytes), d->raw_len, 0};
            for (size_t i = 0; in == AET63_RAW && i < d->raw_len; i++)
                f[count].sum = f[count].sum * 31 + d->raw[i];
            if (in != AET63_RAW)
                f[count].raw_len = 0;
            count++;
        }
        at = end;
    }
    return count;
}

/* Behind a message, the next sound response of the chunk is found, and nothing else. */
static void check_rest(size_t from)
{
    const uint8_t *p = stream.bytes + from;
    size_t n = stream.n - from, etx, len = 0;
    bool got;

    for (etx = from; etx < stream.n; etx++) {
        long digits = stream.bytes[etx] == AET63_ETX ? digits_before(from, etx) : -1;
        uint8_t raw[300];
        size_t ignored;

        len = (size_t)digits / 2;
        if (digits <= 0 || digits % 2 != 0 || len > sizeof raw)
            continue;
        for (size_t i = 0; i < len; i++)
            raw[i] = raw_at(etx, len, i);
        if (sound(raw, len, 3, &ignored))
            break;
    }
    aet63_decoder_reset(&decoder);
    got = aet63_decode_rest(&decoder, &p, &n);
    check(p + n == stream.bytes + stream.n);
    if (got && decoder.raw_len <= 300)
        check(etx < stream.n && p == stream.bytes + etx + 1 && decoder.raw_len == len);
    if (!got)
        check(etx == stream.n && n == 0 && decoder.state == AET63_HUNT && !decoder.last_nak);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count, step;

    if (size < 1)
        return 0;
    step = 2 + data[0] % 64u;
    write_stream(data + 1, size - 1);
    count = read_stream(once, STREAM_MAX);
    check_found(once, count);
    check(read_stream(again, 1) == count && memcmp(once, again, count * sizeof once[0]) == 0);
    check(read_stream(again, step) == count && memcmp(once, again, count * sizeof once[0]) == 0);
    for (size_t i = 0; i < count && i < 4; i++)
        check_rest(once[i].end);
    return 0;
}
