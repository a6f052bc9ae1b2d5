/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Framing. The parser keeps one invariant: what it holds is always a prefix of a possible frame. While the header is
 * incomplete a byte that does not fit makes it slide to the next possible start; behind the header it looks at the
 * last ten bytes, for a header there means that the host gave up the frame before and began anew. It has no clock: a
 * reader never times out inside a frame.
 */
#include "neo_frame.h"

#include <string.h>

enum { REPORT_WHOLE = 1, REPORT_FIRST = 2, REPORT_MIDDLE = 3, REPORT_LAST = 4, REPORT_PAYLOAD = NEO_REPORT - 1 };

const uint8_t neo_header[NEO_HEADER_LEN] = {'V', 'i', 'V', 'O', 't', 'e', 'c', 'h', '2', 0};

uint16_t neo_crc(const uint8_t *data, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned)data[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
        crc &= 0xFFFF;
    }
    return (uint16_t)crc;
}

size_t neo_frame_build(uint8_t cmd, uint8_t status, const uint8_t *data, size_t n, uint8_t out[NEO_FRAME_MAX])
{
    uint16_t crc;

    memcpy(out, neo_header, NEO_HEADER_LEN);
    out[NEO_CMD_AT] = cmd;
    out[NEO_CMD_AT + 1] = status;
    out[NEO_LEN_AT] = (uint8_t)(n >> 8);
    out[NEO_LEN_AT + 1] = (uint8_t)(n & 0xFF);
    if (n > 0)
        memcpy(out + NEO_DATA_AT, data, n);
    crc = neo_crc(out, NEO_DATA_AT + n);
    out[NEO_DATA_AT + n] = (uint8_t)(crc >> 8);
    out[NEO_DATA_AT + n + 1] = (uint8_t)(crc & 0xFF);
    return NEO_DATA_AT + n + 2;
}

static void slide_to_header(struct neo_parser *p)
{
    while (p->len > 0 && memcmp(p->buf, neo_header, p->len) != 0)
        memmove(p->buf, p->buf + 1, --p->len);
}

enum neo_parse neo_parser_byte(struct neo_parser *p, uint8_t byte)
{
    size_t data_len;

    if (p->done) {
        p->done = false;
        p->len = 0;
    }
    if (p->too_long) { /* what was taken for a length may begin the next header */
        p->too_long = false;
        memmove(p->buf, p->buf + NEO_LEN_AT, 2);
        p->len = 2;
        slide_to_header(p);
    }
    p->buf[p->len++] = byte;
    if (p->len <= NEO_HEADER_LEN) {
        slide_to_header(p);
        return NEO_PARSE_MORE;
    }
    if (memcmp(p->buf + p->len - NEO_HEADER_LEN, neo_header, NEO_HEADER_LEN) == 0) {
        memcpy(p->buf, neo_header, NEO_HEADER_LEN);
        p->len = NEO_HEADER_LEN;
        return NEO_PARSE_MORE;
    }
    if (p->len < NEO_DATA_AT)
        return NEO_PARSE_MORE;
    data_len = (size_t)p->buf[NEO_LEN_AT] << 8 | p->buf[NEO_LEN_AT + 1];
    if (data_len > NEO_DATA_MAX) {
        p->too_long = true;
        return NEO_PARSE_TOO_LONG;
    }
    if (p->len < NEO_DATA_AT + data_len + 2)
        return NEO_PARSE_MORE;
    p->done = true;
    return NEO_PARSE_FRAME;
}

bool neo_hid_report(struct neo_hid_in *h, const uint8_t *report, size_t n)
{
    uint8_t id = n == NEO_REPORT ? report[0] : 0;

    if (id == REPORT_WHOLE || id == REPORT_FIRST) {
        h->len = 0;
        h->open = true;
    } else if ((id != REPORT_MIDDLE && id != REPORT_LAST) || !h->open || h->len + REPORT_PAYLOAD > sizeof h->buf) {
        h->ignored++;
        return false;
    }
    memcpy(h->buf + h->len, report + 1, REPORT_PAYLOAD);
    h->len += REPORT_PAYLOAD;
    if (id != REPORT_WHOLE && id != REPORT_LAST)
        return false;
    h->open = false;
    return true;
}

bool neo_hid_cut(const uint8_t *frame, size_t n, size_t index, uint8_t report[NEO_REPORT])
{
    size_t at = index * REPORT_PAYLOAD, left;

    if (at >= n)
        return false;
    left = n - at;
    memset(report, 0, NEO_REPORT);
    if (left > REPORT_PAYLOAD)
        report[0] = at == 0 ? REPORT_FIRST : REPORT_MIDDLE;
    else
        report[0] = at == 0 ? REPORT_WHOLE : REPORT_LAST;
    memcpy(report + 1, frame + at, left > REPORT_PAYLOAD ? REPORT_PAYLOAD : left);
    return true;
}
