/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Codec of the reader model. Building and parsing are symmetric: two or three fixed bytes (header and instruction, or
 * header, SW1, SW2), the length in its one-byte or escaped form, the data, and a checksum that makes the XOR over all
 * raw bytes 00. The receiver is a three-state machine; a frame gone wrong is reported at its end, because the reader
 * answers NAK only when the faulty transmission has ended.
 */
#include "aet63_frame.h"

#include <string.h>

enum { STX = 0x02, ETX = 0x03, NAK = 0x05, ESCAPE = 0xFF };

static uint8_t xor_of(const uint8_t *p, size_t n)
{
    uint8_t x = 0;
    while (n-- > 0)
        x = (uint8_t)(x ^ *p++);
    return x;
}

size_t aet63s_build(uint8_t *raw, enum aet63s_dir dir, const struct aet63s_msg *m, enum aet63s_length length)
{
    size_t at = 0;

    raw[at++] = m->header;
    raw[at++] = m->code[0];
    if (dir == AET63S_RESPONSE)
        raw[at++] = m->code[1];
    if (m->n >= ESCAPE || length == AET63S_LENGTH_EXTENDED) {
        raw[at++] = ESCAPE;
        raw[at++] = (uint8_t)(m->n >> 8);
    }
    raw[at++] = (uint8_t)m->n;
    if (m->n > 0)
        memcpy(raw + at, m->data, m->n);
    at += m->n;
    raw[at] = xor_of(raw, at);
    return at + 1;
}

bool aet63s_parse(const uint8_t *raw, size_t n, enum aet63s_dir dir, struct aet63s_msg *m)
{
    size_t fixed = dir == AET63S_RESPONSE ? 3 : 2;

    if (n < fixed + 2 || (raw[0] != 0x01 && raw[0] != 0x02) || xor_of(raw, n) != 0)
        return false;
    m->header = raw[0];
    m->code[0] = raw[1];
    m->code[1] = dir == AET63S_RESPONSE ? raw[2] : 0;
    if (raw[fixed] != ESCAPE) {
        m->n = raw[fixed];
        m->data = raw + fixed + 1;
        return n == fixed + 1 + m->n + 1;
    }
    if (n < fixed + 4)
        return false;
    m->n = (size_t)raw[fixed + 1] << 8 | raw[fixed + 2];
    m->data = raw + fixed + 3;
    return n == fixed + 3 + m->n + 1;
}

size_t aet63s_frame(uint8_t *out, const uint8_t *raw, size_t n, bool lower_case)
{
    const char *digits = lower_case ? "0123456789abcdef" : "0123456789ABCDEF";
    size_t at = 0;

    out[at++] = STX;
    for (size_t i = 0; i < n; i++) {
        out[at++] = (uint8_t)digits[raw[i] >> 4];
        out[at++] = (uint8_t)digits[raw[i] & 15];
    }
    out[at++] = ETX;
    return at;
}

void aet63s_rx_reset(struct aet63s_rx *rx)
{
    rx->state = AET63S_HUNT;
    rx->five = false;
    rx->digits = 0;
    rx->n = 0;
}

bool aet63s_rx_inside(const struct aet63s_rx *rx)
{
    return rx->state != AET63S_HUNT;
}

static enum aet63s_event hunt(struct aet63s_rx *rx, uint8_t b)
{
    if (b == STX) {
        aet63s_rx_reset(rx);
        rx->state = AET63S_BODY;
    } else if (b == NAK && rx->five) {
        rx->five = false;
        return AET63S_NAK;
    } else {
        rx->five = b == NAK;
    }
    return AET63S_NOTHING;
}

static enum aet63s_event end_of_frame(struct aet63s_rx *rx)
{
    bool spoilt = rx->state == AET63S_SPOILT || rx->digits % 2 != 0 || rx->digits == 0;

    rx->state = AET63S_HUNT;
    rx->n = rx->digits / 2;
    if (spoilt)
        return AET63S_BAD;
    if (rx->n == 2 && rx->raw[0] == NAK && rx->raw[1] == NAK)
        return AET63S_NAK;
    return AET63S_MESSAGE;
}

static int value(uint8_t b)
{
    if (b >= '0' && b <= '9')
        return b - '0';
    if ((b >= 'A' && b <= 'F') || (b >= 'a' && b <= 'f'))
        return (b & 0x0F) + 9;
    return -1;
}

enum aet63s_event aet63s_rx_byte(struct aet63s_rx *rx, uint8_t b)
{
    if (rx->state == AET63S_HUNT)
        return hunt(rx, b);
    if (b == STX) { /* what was collected is dropped without a word */
        aet63s_rx_reset(rx);
        rx->state = AET63S_BODY;
        return AET63S_NOTHING;
    }
    if (b == ETX)
        return end_of_frame(rx);
    int v = value(b);
    if (v < 0 || rx->digits == 2 * (size_t)AET63S_RAW_MAX) {
        rx->state = AET63S_SPOILT;
        return AET63S_NOTHING;
    }
    size_t i = rx->digits++ / 2;
    rx->raw[i] = (uint8_t)(rx->digits % 2 != 0 ? v << 4 : rx->raw[i] | v);
    return AET63S_NOTHING;
}
