/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * AET63 frame codec. The decoder is the receiver algorithm of the protocol description: hunt for STX, collect hex digits,
 * start anew at another STX, end at ETX; two bytes 05 outside a frame are a NAK, and so is a frame that holds just them.
 */
#include "aet63/frame.h"

#include "base/buf.h"
#include "base/checksum.h"

enum { RESPONSE_MIN = 5, COMMAND_MIN = 4 };

/* Writes n bytes as text; returns where the next one goes. The caller has made sure that there is room. */
static uint8_t *put_hex(uint8_t *text, const uint8_t *p, size_t n, uint8_t *sum)
{
    static const uint8_t digits[] = "0123456789ABCDEF";
    uint8_t all = *sum;

    for (const uint8_t *end = p + n; p < end; p++) {
        *text++ = digits[*p >> 4];
        *text++ = digits[*p & 15];
        all ^= *p;
    }
    *sum = all;
    return text;
}

size_t aet63_encode(uint8_t header, uint8_t instruction, const uint8_t *part1, size_t n1, const uint8_t *part2, size_t n2,
                    uint8_t *text, size_t cap)
{
    size_t n = n1 + n2, head_size = n >= AET63_LONG_FORM ? 5 : 3;
    uint8_t head[5] = {header, instruction, (uint8_t)n};
    uint8_t sum = 0, *at = text;

    if (n1 > AET63_DATA_MAX || n2 > AET63_DATA_MAX - n1 || cap < 2 * (head_size + n + 1) + 2)
        return 0;
    if (n >= AET63_LONG_FORM) {
        head[2] = AET63_LONG_FORM;
        head[3] = (uint8_t)(n >> 8);
        head[4] = (uint8_t)n;
    }
    *at++ = AET63_STX;
    at = put_hex(at, head, head_size, &sum);
    if (n1 > 0)
        at = put_hex(at, part1, n1, &sum);
    if (n2 > 0)
        at = put_hex(at, part2, n2, &sum);
    at = put_hex(at, &(uint8_t){sum}, 1, &(uint8_t){0});
    *at++ = AET63_ETX;
    return (size_t)(at - text);
}

/* The data field that begins with its length, up to the checksum; R_COMM unless it fills the message exactly. */
static enum result parse_data(struct rbuf *r, const uint8_t **data, size_t *n)
{
    size_t len = rbuf_u8(r);

    if (len == AET63_LONG_FORM)
        len = rbuf_be16(r);
    if (r->failed || r->left != len + 1)
        return R_COMM;
    *data = rbuf_bytes(r, len);
    *n = len;
    return R_SUCCESS;
}

static bool frame_sound(const uint8_t *raw, size_t n, size_t min)
{
    return n >= min && (raw[0] == AET63_HEADER || raw[0] == AET63_HEADER_ENCRYPTED) && xor_sum(raw, n) == 0;
}

enum result aet63_parse_response(const uint8_t *raw, size_t n, struct aet63_response *out)
{
    struct rbuf r = rbuf_over(raw, n);

    if (!frame_sound(raw, n, RESPONSE_MIN))
        return R_COMM;
    out->header = rbuf_u8(&r);
    out->sw1 = rbuf_u8(&r);
    out->sw2 = rbuf_u8(&r);
    return parse_data(&r, &out->data, &out->n);
}

enum result aet63_parse_command(const uint8_t *raw, size_t n, struct aet63_command *out)
{
    struct rbuf r = rbuf_over(raw, n);

    if (!frame_sound(raw, n, COMMAND_MIN))
        return R_COMM;
    out->header = rbuf_u8(&r);
    out->instruction = rbuf_u8(&r);
    return parse_data(&r, &out->data, &out->n);
}

void aet63_decoder_reset(struct aet63_decoder *d)
{
    d->state = AET63_HUNT;
    d->half = d->too_long = d->last_nak = d->stray = false;
    d->raw_len = 0;
}

/* 1 + the value of a hex digit; 0 for what is none. */
static const uint8_t hex_digit[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
    ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

static void begin_body(struct aet63_decoder *d)
{
    aet63_decoder_reset(d);
    d->state = AET63_BODY;
}

static void put_digit(struct aet63_decoder *d, unsigned v)
{
    if (d->half) {
        d->raw[d->raw_len] = (uint8_t)((unsigned)d->raw[d->raw_len] << 4 | v);
        d->raw_len++;
    } else if (d->raw_len == sizeof d->raw) {
        d->too_long = true;
        return;
    } else {
        d->raw[d->raw_len] = (uint8_t)v;
    }
    d->half = !d->half;
}

/* ETX: what the body amounts to. */
static enum aet63_input end_body(struct aet63_decoder *d)
{
    bool bad = d->half || d->too_long || d->raw_len == 0;

    d->state = AET63_HUNT;
    d->half = d->too_long = d->last_nak = false;
    if (bad)
        return AET63_BROKEN;
    if (d->raw_len == 2 && d->raw[0] == AET63_NAK && d->raw[1] == AET63_NAK)
        return AET63_NAKED;
    return AET63_RAW;
}

static enum aet63_input hunt(struct aet63_decoder *d, uint8_t c)
{
    if (c == AET63_STX) {
        begin_body(d);
    } else if (c == AET63_NAK && d->last_nak && !d->stray) { /* behind a stray ETX it would be padding */
        d->last_nak = false;
        return AET63_NAKED;
    } else {
        d->last_nak = c == AET63_NAK;
        d->stray |= c == AET63_ETX;
    }
    return AET63_MORE;
}

static enum aet63_input body(struct aet63_decoder *d, uint8_t c)
{
    unsigned v = hex_digit[c];

    if (v > 0) {
        put_digit(d, v - 1);
    } else if (c == AET63_STX) {
        begin_body(d);
    } else if (c == AET63_ETX) {
        return end_body(d);
    } else {
        aet63_decoder_reset(d);
        return AET63_BROKEN;
    }
    return AET63_MORE;
}

/* Whole bytes of a body, two digits at a time: what nearly every chunk is made of. */
static void take_pairs(struct aet63_decoder *d, const uint8_t **p, size_t *n)
{
    const uint8_t *at = *p, *end = at + *n;
    size_t len = d->raw_len;

    for (; end - at >= 2 && len < sizeof d->raw; at += 2) {
        unsigned high = hex_digit[at[0]], low = hex_digit[at[1]];

        if (high == 0 || low == 0)
            break;
        d->raw[len++] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    d->raw_len = len;
    *n -= (size_t)(at - *p);
    *p = at;
}

enum aet63_input aet63_decode(struct aet63_decoder *d, const uint8_t **p, size_t *n)
{
    enum aet63_input in = AET63_MORE;

    while (*n > 0 && in == AET63_MORE) {
        if (d->state == AET63_BODY && !d->half)
            take_pairs(d, p, n);
        if (*n == 0)
            break;
        uint8_t c = *(*p)++;
        (*n)--;
        in = d->state == AET63_HUNT ? hunt(d, c) : body(d, c);
    }
    return in;
}

bool aet63_decode_rest(struct aet63_decoder *d, const uint8_t **p, size_t *n)
{
    while (*n > 0) {
        struct aet63_response ignored;
        if (aet63_decode(d, p, n) == AET63_RAW && aet63_parse_response(d->raw, d->raw_len, &ignored) == R_SUCCESS)
            return true;
    }
    aet63_decoder_reset(d);
    return false;
}
