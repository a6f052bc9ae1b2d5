/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * AET63 frame codec. The decoder is the receiver algorithm of the protocol description: hunt for STX, collect hex digits,
 * start anew at another STX, end at ETX; two bytes 05 outside a frame are a NAK, and so is a frame that holds just them.
 */
#include "aet63/frame.h"

#include <string.h>
#include "base/checksum.h"

enum { RESPONSE_MIN = 5, COMMAND_MIN = 4 };

/* The 256 bytes as two digits each, one after the other. */
#define SIXTEEN(h) h "0" h "1" h "2" h "3" h "4" h "5" h "6" h "7" h "8" h "9" h "A" h "B" h "C" h "D" h "E" h "F"
static const char hex_pairs[] = SIXTEEN("0") SIXTEEN("1") SIXTEEN("2") SIXTEEN("3") SIXTEEN("4") SIXTEEN("5")
    SIXTEEN("6") SIXTEEN("7") SIXTEEN("8") SIXTEEN("9") SIXTEEN("A") SIXTEEN("B") SIXTEEN("C") SIXTEEN("D")
    SIXTEEN("E") SIXTEEN("F");

/* Writes n bytes as text; returns where the next one goes. The caller has made sure that there is room. */
static uint8_t *put_hex(uint8_t *text, const uint8_t *p, size_t n, uint8_t *sum)
{
    uint8_t all = *sum;

    for (const uint8_t *end = p + n; p < end; p++, text += 2) {
        memcpy(text, hex_pairs + 2 * *p, 2);
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
    memcpy(at, hex_pairs + 2 * sum, 2);
    at[2] = AET63_ETX;
    return (size_t)(at + 3 - text);
}

/* Is raw a message of the right header and checksum whose data field begins at `at` with its length and fills the rest
 * exactly? at is at most n - 2. */
static enum result parse(const uint8_t *raw, size_t n, size_t at, const uint8_t **data, size_t *data_n)
{
    size_t len = raw[at++];

    if ((raw[0] != AET63_HEADER && raw[0] != AET63_HEADER_ENCRYPTED) || xor_sum(raw, n) != 0)
        return R_COMM;
    if (len == AET63_LONG_FORM && n - at > 2) {
        len = (size_t)raw[at] << 8 | raw[at + 1];
        at += 2;
    }
    if (n - at != len + 1)
        return R_COMM;
    *data = raw + at;
    *data_n = len;
    return R_SUCCESS;
}

enum result aet63_parse_response(const uint8_t *raw, size_t n, struct aet63_response *out)
{
    if (n < RESPONSE_MIN)
        return R_COMM;
    out->header = raw[0];
    out->sw1 = raw[1];
    out->sw2 = raw[2];
    return parse(raw, n, 3, &out->data, &out->n);
}

enum result aet63_parse_command(const uint8_t *raw, size_t n, struct aet63_command *out)
{
    if (n < COMMAND_MIN)
        return R_COMM;
    out->header = raw[0];
    out->instruction = raw[1];
    return parse(raw, n, 2, &out->data, &out->n);
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

/* Whole bytes of a body, two digits at a time: what nearly every chunk is made of. Returns where they end. */
static const uint8_t *take_pairs(struct aet63_decoder *d, const uint8_t *at, const uint8_t *end)
{
    size_t len = d->raw_len;

    for (; end - at >= 2 && len < sizeof d->raw; at += 2) {
        unsigned high = hex_digit[at[0]], low = hex_digit[at[1]];

        if (high == 0 || low == 0)
            break;
        d->raw[len++] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    d->raw_len = len;
    return at;
}

enum aet63_input aet63_decode(struct aet63_decoder *d, const uint8_t **p, size_t *n)
{
    const uint8_t *at = *p, *end = at + *n;
    enum aet63_input in = AET63_MORE;

    while (at < end && in == AET63_MORE) {
        if (d->state == AET63_HUNT)
            in = hunt(d, *at++);
        else if (d->half || (at = take_pairs(d, at, end)) < end)
            in = body(d, *at++);
    }
    *p = at;
    *n = (size_t)(end - at);
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
