/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The driver's AET63 codec against all 79 vectors of the protocol description: the 12 that manuals print (M), the 59
 * computed ones (C) and the 8 that a receiver must reject or survive (N). Commands go through the encoder and the
 * command parser, responses through the decoder and the response parser, whole and byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "aet63/frame.h"
#include "unhex.h"

enum direction { OUT, IN };
enum { COUNTING = -1, RAW_MAX = 400, TEXT_BUF = 2 * RAW_MAX + 2 };

/* A raw message: head, `fill` bytes of value `with` (COUNTING: 00, 01, 02 …), tail; then its length in bytes, as text, and
 * in 8-byte packets. */
struct vector {
    const char *name;
    enum direction direction;
    const char *head;
    int fill, with;
    const char *tail;
    size_t raw, text, packets;
};

static const struct vector vectors[] = {
    {"M01", OUT, "01910311223393", 0, 0, "", 7, 16, 2},
    {"M02", IN, "0190000311223392", 0, 0, "", 8, 18, 3},
    {"M03", OUT, "01A2013D9F", 0, 0, "", 5, 12, 2},
    {"M08", IN, "01FF0100FF", 0, 0, "", 5, 12, 2},
    {"M09", IN, "01FF0200FC", 0, 0, "", 5, 12, 2},
    {"C01", OUT, "01010000", 0, 0x00, "", 4, 10, 2},
    {"C02", OUT, "0102010002", 0, 0x00, "", 5, 12, 2},
    {"C03", OUT, "0102010C0E", 0, 0x00, "", 5, 12, 2},
    {"C04", OUT, "0102010D0F", 0, 0x00, "", 5, 12, 2},
    {"C05", OUT, "0106010107", 0, 0x00, "", 5, 12, 2},
    {"C06", OUT, "0106010204", 0, 0x00, "", 5, 12, 2},
    {"C07", OUT, "0107010007", 0, 0x00, "", 5, 12, 2},
    {"C08", OUT, "0107010106", 0, 0x00, "", 5, 12, 2},
    {"C09", OUT, "0107011017", 0, 0x00, "", 5, 12, 2},
    {"C10", OUT, "01800081", 0, 0x00, "", 4, 10, 2},
    {"C11", OUT, "01810080", 0, 0x00, "", 4, 10, 2},
    {"C12", OUT, "0188010088", 0, 0x00, "", 5, 12, 2},
    {"C13", OUT, "01890088", 0, 0x00, "", 4, 10, 2},
    {"C14", OUT, "019A0300001088", 0, 0x00, "", 7, 16, 2},
    {"C15", OUT, "019A0301404099", 0, 0x00, "", 7, 16, 2},
    {"C16", OUT, "019B060100DEADBEEFBF", 0, 0x00, "", 10, 22, 3},
    {"C17", OUT, "019C030102039E", 0, 0x00, "", 7, 16, 2},
    {"C18", OUT, "019D009C", 0, 0x00, "", 4, 10, 2},
    {"C19", OUT, "019F18000102030405060708090A0B0C0D0E0F101112131415161786", 0, 0x00, "", 28, 58, 8},
    {"C20", OUT, "01A00600A40000000003", 0, 0x00, "", 10, 22, 3},
    {"C21", OUT, "01A0060084000000082B", 0, 0x00, "", 10, 22, 3},
    {"C22", OUT, "01A00800A40000023F000030", 0, 0x00, "", 12, 26, 4},
    {"C23", OUT, "01A00600C00000001275", 0, 0x00, "", 10, 22, 3},
    {"C24", OUT, "01A0FF010500D60000FF", 255, 0xAA, "00D9", 267, 536, 67},
    {"C25", OUT, "01A10500C101FE3EA5", 0, 0x00, "", 9, 20, 3},
    {"C26", OUT, "01A109000005008400000889A9", 0, 0x00, "", 13, 28, 4},
    {"C27", OUT, "01B0060084000000083B", 0, 0x00, "", 10, 22, 3},
    {"C28", OUT, "01B10500C101FE3EB5", 0, 0x00, "", 9, 20, 3},
    {"C29", OUT, "019CFE", 254, 0x00, "63", 258, 518, 65},
    {"C30", OUT, "019CFF00FF", 255, 0x00, "9D", 261, 524, 66},
    {"C31", OUT, "0191FF00031122336C", 0, 0x00, "", 9, 20, 3},
    {"C32", OUT, "029C03A1B2C34D", 0, 0x00, "", 7, 16, 2},
    {"C33", IN, "0190000091", 0, 0x00, "", 5, 12, 2},
    {"C34", IN, "0160010060", 0, 0x00, "", 5, 12, 2},
    {"C35", IN, "0160020063", 0, 0x00, "", 5, 12, 2},
    {"C36", IN, "0160030062", 0, 0x00, "", 5, 12, 2},
    {"C37", IN, "0160040065", 0, 0x00, "", 5, 12, 2},
    {"C38", IN, "0160050064", 0, 0x00, "", 5, 12, 2},
    {"C39", IN, "0160200041", 0, 0x00, "", 5, 12, 2},
    {"C40", IN, "0160220043", 0, 0x00, "", 5, 12, 2},
    {"C41", IN, "0167010067", 0, 0x00, "", 5, 12, 2},
    {"C42", IN, "0167030065", 0, 0x00, "", 5, 12, 2},
    {"C43", IN, "0167120074", 0, 0x00, "", 5, 12, 2},
    {"C44", IN, "0190001041455436332D302E3637FFFF30000000D6", 0, 0x00, "", 21, 44, 6},
    {"C45", IN, "0190001041455436332D302E3637FFFF30000001D7", 0, 0x00, "", 21, 44, 6},
    {"C46", IN, "0190001041455436332D302E3637FFFF30000C03D9", 0, 0x00, "", 21, 44, 6},
    {"C47", IN, "019000043B021450E8", 0, 0x00, "", 9, 20, 3},
    {"C48", IN, "019001043B800181AF", 0, 0x00, "", 9, 20, 3},
    {"C49", IN, "01900002900003", 0, 0x00, "", 7, 16, 2},
    {"C50", IN, "019000026112E0", 0, 0x00, "", 7, 16, 2},
    {"C51", IN, "019000026A827B", 0, 0x00, "", 7, 16, 2},
    {"C52", IN, "0190000A1122334455667788900083", 0, 0x00, "", 15, 32, 4},
    {"C53", IN, "019000FF0102", 256, COUNTING, "9000FD", 265, 532, 67},
    {"C54", IN, "0190000500E101FE1E94", 0, 0x00, "", 10, 22, 3},
    {"C55", IN, "019000FE", 254, 0x00, "6F", 259, 520, 65},
    {"C56", IN, "019000FF00FF", 255, 0x00, "91", 262, 526, 66},
    {"C57", IN, "019000FF00031122336D", 0, 0x00, "", 10, 22, 3},
    {"C58", IN, "02900003A1B2C341", 0, 0x00, "", 8, 18, 3},
    {"C59", IN, "01FF000112ED", 0, 0x00, "", 6, 14, 2},
};
enum { VECTORS = sizeof vectors / sizeof vectors[0] };

static size_t vector_raw(const struct vector *v, uint8_t *raw)
{
    size_t n = unhex(v->head, raw);

    for (int i = 0; i < v->fill; i++)
        raw[n++] = (uint8_t)(v->with == COUNTING ? i : v->with);
    return n + unhex(v->tail, raw + n);
}

static size_t to_text(const uint8_t *raw, size_t n, char *text, const char *format)
{
    size_t len = 0;

    text[len++] = AET63_STX;
    for (size_t i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, format, raw[i]);
    text[len++] = AET63_ETX;
    return len;
}

static struct aet63_decoder decoder;

/* Feeds text in chunks of `chunk` bytes; what came out last. */
static enum aet63_input feed(const void *text, size_t len, size_t chunk)
{
    enum aet63_input in = AET63_MORE;

    aet63_decoder_reset(&decoder);
    for (size_t at = 0; at < len && in == AET63_MORE; at += chunk) {
        const uint8_t *p = (const uint8_t *)text + at;
        size_t n = len - at < chunk ? len - at : chunk;
        in = aet63_decode(&decoder, &p, &n);
    }
    return in;
}

static void check_command(const struct vector *v, const uint8_t *raw, size_t n, const char *text, size_t len)
{
    struct aet63_command c;
    uint8_t made[TEXT_BUF];
    bool long_form_of_short = raw[2] == 0xFF && v->fill == 0; /* C31: legal to receive, never sent */

    assert_int_equal(aet63_parse_command(raw, n, &c), R_SUCCESS);
    assert_int_equal(c.header, raw[0]);
    assert_int_equal(c.instruction, raw[1]);
    if (long_form_of_short)
        return;
    assert_int_equal(aet63_encode(c.header, c.instruction, c.data, c.n, NULL, 0, made, sizeof made), len);
    assert_memory_equal(made, text, len);
    if (c.n > 1) { /* the same in two parts */
        assert_int_equal(aet63_encode(c.header, c.instruction, c.data, 1, c.data + 1, c.n - 1, made, sizeof made), len);
        assert_memory_equal(made, text, len);
    }
    assert_int_equal(aet63_encode(c.header, c.instruction, c.data, c.n, NULL, 0, made, len - 1), 0);
}

static void check_response(const uint8_t *raw, size_t n, const char *text, size_t len)
{
    static const size_t chunks[] = {1, 3, 8, 64, 1000};
    struct aet63_response m;

    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        assert_int_equal(feed(text, len, chunks[i]), AET63_RAW);
        assert_int_equal(decoder.raw_len, n);
        assert_memory_equal(decoder.raw, raw, n);
    }
    assert_int_equal(aet63_parse_response(decoder.raw, decoder.raw_len, &m), R_SUCCESS);
    assert_int_equal(m.header, raw[0]);
    assert_int_equal(m.sw1, raw[1]);
    assert_int_equal(m.sw2, raw[2]);
    assert_int_equal(m.n, raw[3] == 0xFF ? raw[4] * 256 + raw[5] : raw[3]);
    assert_memory_equal(m.data, raw + (raw[3] == 0xFF ? 6 : 4), m.n);
}

static void test_vectors(void **state)
{
    uint8_t raw[RAW_MAX];
    char text[TEXT_BUF + 1];

    (void)state;
    assert_int_equal(VECTORS, 5 + 59);
    for (size_t i = 0; i < VECTORS; i++) {
        const struct vector *v = &vectors[i];
        size_t n = vector_raw(v, raw), len = to_text(raw, n, text, "%02X");
        assert_int_equal(n, v->raw);
        assert_int_equal(len, v->text);
        assert_int_equal((len + 7) / 8, v->packets);
        if (v->direction == OUT)
            check_command(v, raw, n, text, len);
        else
            check_response(raw, n, text, len);
    }
}

/* M04, M05: a printed command in upper and lower case; M06: byte 3A is 33 41. */
static void test_printed_text(void **state)
{
    static const uint8_t upper[] = {0x02, 0x30, 0x31, 0x41, 0x32, 0x30, 0x31, 0x33, 0x44, 0x39, 0x46, 0x03};
    static const uint8_t lower[] = {0x02, 0x30, 0x31, 0x61, 0x32, 0x30, 0x31, 0x33, 0x64, 0x39, 0x66, 0x03};
    static const uint8_t m03[] = {0x01, 0xA2, 0x01, 0x3D, 0x9F}, data = 0x3D, byte = 0x3A;
    uint8_t text[32];

    (void)state;
    assert_int_equal(aet63_encode(1, 0xA2, &data, 1, NULL, 0, text, sizeof text), sizeof upper);
    assert_memory_equal(text, upper, sizeof upper);
    assert_int_equal(feed(lower, sizeof lower, 8), AET63_RAW);
    assert_memory_equal(decoder.raw, m03, sizeof m03);
    assert_int_equal(aet63_encode(1, 0x00, &byte, 1, NULL, 0, text, sizeof text), 12);
    assert_memory_equal(text + 7, "\x33\x41", 2);
}

/* M07: NAK, raw and framed. M10 to M12 are beginnings: of C59, C01 and C19. */
static void test_nak_and_beginnings(void **state)
{
    static const uint8_t framed[] = {0x02, 0x30, 0x35, 0x30, 0x35, 0x03}, raw[] = {0x05, 0x05};
    uint8_t bytes[RAW_MAX];

    (void)state;
    assert_int_equal(feed(raw, 2, 2), AET63_NAKED);
    assert_int_equal(feed(raw, 2, 1), AET63_NAKED);
    assert_int_equal(feed(framed, sizeof framed, 8), AET63_NAKED);
    assert_int_equal(feed(framed, sizeof framed, 1), AET63_NAKED);
    assert_int_equal(feed("\x05x\x05", 3, 8), AET63_MORE);
    (void)vector_raw(&vectors[VECTORS - 1], bytes);
    assert_memory_equal(bytes, "\x01\xFF\x00\x01\x12", 5);
    (void)vector_raw(&vectors[5], bytes);
    assert_memory_equal(bytes, "\x01\x01\x00", 3);
    (void)vector_raw(&vectors[5 + 18], bytes);
    assert_memory_equal(bytes, "\x01\x9F\x18", 3);
}

/* N01 … N06: what a receiver must reject, as a command and as a response. */
static void test_rejected(void **state)
{
    static const struct {
        const char *text;
        enum aet63_input input;
    } bad[] = {{"\x02" "01010001\x03", AET63_RAW}, {"\x02" "0102020C0D\x03", AET63_RAW}, {"\x02" "0101000\x03", AET63_BROKEN},
               {"\x02" "01G10000\x03", AET63_BROKEN}, {"\x02" "03010002\x03", AET63_RAW}, {"\x02" "0190000090\x03", AET63_RAW},
               {"\x02\x03", AET63_BROKEN}};
    struct aet63_command c;
    struct aet63_response m;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(feed(bad[i].text, strlen(bad[i].text), 8), bad[i].input);
        if (bad[i].input != AET63_RAW)
            continue;
        assert_int_equal(aet63_parse_command(decoder.raw, decoder.raw_len, &c), R_COMM);
        assert_int_equal(aet63_parse_response(decoder.raw, decoder.raw_len, &m), R_COMM);
    }
}

/* N07: STX inside a frame starts it anew. */
static void test_stx_starts_anew(void **state)
{
    static const char text[] = "\x02" "0102" "\x02" "01010000\x03";
    struct aet63_command c;

    (void)state;
    assert_int_equal(feed(text, sizeof text - 1, 8), AET63_RAW);
    assert_int_equal(aet63_parse_command(decoder.raw, decoder.raw_len, &c), R_SUCCESS);
    assert_int_equal(c.instruction, 0x01);
}

/* N08: junk behind ETX in an 8-byte packet is dropped, whatever it looks like. */
static void test_junk_behind_etx(void **state)
{
    static const uint8_t first[] = {0x02, 0x30, 0x31, 0x39, 0x30, 0x30, 0x30, 0x30};
    static const uint8_t second[] = {0x30, 0x39, 0x31, 0x03, 0x02, 0x31, 0x03, 0xFF};
    const uint8_t *p = first;
    size_t n = sizeof first;
    struct aet63_response m;

    (void)state;
    aet63_decoder_reset(&decoder);
    assert_int_equal(aet63_decode(&decoder, &p, &n), AET63_MORE);
    p = second;
    n = sizeof second;
    assert_int_equal(aet63_decode(&decoder, &p, &n), AET63_RAW);
    assert_int_equal(aet63_parse_response(decoder.raw, decoder.raw_len, &m), R_SUCCESS);
    assert_int_equal(n, 4);
    assert_false(aet63_decode_rest(&decoder, &p, &n));
    assert_int_equal(n, 0);
    assert_int_equal(decoder.state, AET63_HUNT);
    assert_false(decoder.stray);
}

/* In a larger packet an answer may stand behind an event. */
static void test_two_frames_in_one_packet(void **state)
{
    static const char text[] = "\x02" "01FF0100FF\x03" "\x02" "0190000091\x03" "\x02" "0190";
    const uint8_t *p = (const uint8_t *)text;
    size_t n = sizeof text - 1;
    struct aet63_response m;

    (void)state;
    aet63_decoder_reset(&decoder);
    assert_int_equal(aet63_decode(&decoder, &p, &n), AET63_RAW);
    assert_true(aet63_decode_rest(&decoder, &p, &n));
    assert_int_equal(aet63_parse_response(decoder.raw, decoder.raw_len, &m), R_SUCCESS);
    assert_int_equal(m.sw1, 0x90);
    assert_false(aet63_decode_rest(&decoder, &p, &n));
}

/* The end of a frame whose beginning was lost is remembered, so that nobody waits a minute for it. */
static void test_lost_stx_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(feed("0190000091\x03", 11, 8), AET63_MORE);
    assert_true(decoder.stray);
}

static void test_longest(void **state)
{
    static uint8_t data[AET63_DATA_MAX + 1], text[AET63_TEXT_MAX + 2];
    struct aet63_response m;
    size_t n;

    (void)state;
    memset(data, 0x5A, sizeof data);
    n = aet63_encode(1, 0x9C, data, AET63_DATA_MAX, NULL, 0, text, sizeof text);
    assert_int_equal(n, 2 * (6 + AET63_DATA_MAX) + 2);
    assert_int_equal(aet63_encode(1, 0x9C, data, AET63_DATA_MAX, data, 1, text, sizeof text), 0);
    assert_int_equal(feed(text, n, 512), AET63_RAW);
    assert_int_equal(decoder.raw_len, 6 + AET63_DATA_MAX);
    memset(text + 1, '0', sizeof text - 1); /* longer than any frame: broken, and the next one is heard */
    text[sizeof text - 1] = AET63_ETX;
    assert_int_equal(feed(text, sizeof text, 512), AET63_BROKEN);
    assert_int_equal(feed("\x02" "0190000091\x03", 12, 8), AET63_RAW);
    assert_int_equal(aet63_parse_response(decoder.raw, decoder.raw_len, &m), R_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_printed_text),
        cmocka_unit_test(test_nak_and_beginnings),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_stx_starts_anew),
        cmocka_unit_test(test_junk_behind_etx),
        cmocka_unit_test(test_two_frames_in_one_packet),
        cmocka_unit_test(test_lost_stx_is_noticed),
        cmocka_unit_test(test_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
