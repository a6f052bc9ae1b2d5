/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every form of every dialect, byte for byte as scripts send it, in its short and its extended shape; and each form
 * made wrong in length, P1 P2 or content.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pseudo/decode.h"
#include "pseudo/purse.h"
#include "pseudo/tlv.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

enum { BYTES_MAX = 64 };

struct bytes {
    uint8_t b[BYTES_MAX];
    size_t n;
};

static struct bytes hex(const char *text)
{
    struct bytes out = {.n = 0};

    for (; *text; text++) {
        unsigned v;

        if (*text == ' ')
            continue;
        v = (unsigned)strtoul((const char[]){text[0], text[1], 0}, NULL, 16);
        assert_true(out.n < BYTES_MAX);
        out.b[out.n++] = (uint8_t)v;
        text++;
    }
    return out;
}

/* The same APDU with lengths in their extended form. */
static struct bytes extend(const struct bytes *s)
{
    struct bytes e = {.n = 4};
    size_t lc = s->n > 5 ? s->b[4] : 0, le_at = lc > 0 ? 5 + lc : 4;

    memcpy(e.b, s->b, 4);
    e.b[e.n++] = 0;
    if (lc > 0) {
        e.b[e.n++] = 0;
        e.b[e.n++] = (uint8_t)lc;
        memcpy(e.b + e.n, s->b + 5, lc);
        e.n += lc;
    }
    if (le_at < s->n) {
        e.b[e.n++] = 0;
        e.b[e.n++] = s->b[le_at];
    }
    return e;
}

static uint16_t decode(const struct bytes *s, struct operation *op)
{
    uint8_t *exact = malloc(s->n);
    uint16_t sw;

    assert_non_null(exact);
    memcpy(exact, s->b, s->n);
    sw = pseudo_decode(exact, s->n, op);
    if (sw == DECODED && op->data_len > 0) /* it points into what is freed now */
        assert_true(op->data >= exact && op->data + op->data_len <= exact + s->n);
    free(exact);
    return sw;
}

/* ---- what decodes into what ------------------------------------------------------------------------------------- */

static const struct {
    const char *text;
    enum operation_kind kind;
    unsigned block, target, amount, key_type, key_number, data_len;
    enum storage_value_op value_op;
    bool objects;
} forms[] = {
    {"FF 82 00 05 06 A0A1A2A3A4A5", OP_LOAD_KEY, 0, 0, 0, 0, 0x05, 6, 0, false},
    {"FF 82 20 FF 06 A0A1A2A3A4A5", OP_LOAD_KEY, 0, 0, 0, 0, 0xFF, 6, 0, false},
    {"FF 86 00 00 05 01 00 04 60 02", OP_AUTHENTICATE, 4, 0, 0, 0x60, 2, 0, 0, false},
    {"FF 86 00 00 05 01 01 3F 61 00", OP_AUTHENTICATE, 0x13F, 0, 0, 0x61, 0, 0, 0, false},
    {"FF B0 00 04 10", OP_READ, 4, 0, 0, 0, 0, 0, 0, false},
    {"FF B0 01 04 00", OP_READ, 0x104, 0, 0, 0, 0, 0, 0, false},
    {"FF D6 00 04 04 01020304", OP_WRITE, 4, 0, 0, 0, 0, 4, 0, false},
    {"FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_INCREMENT, true},
    {"FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_INCREMENT, true},
    {"FF C2 00 03 0B A1 09 80 01 04 81 04 01 00 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_DECREMENT, true},
    {"FF D7 00 04 05 01 00 00 00 01", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_INCREMENT, false},
    {"FF D7 00 04 05 02 00 00 00 01", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_DECREMENT, false},
    {"FF D7 00 04 05 02 12 34 56 78", OP_VALUE, 4, 4, 0x12345678, 0, 0, 0, VALUE_DECREMENT, false},
    {"FF D4 00 04 04 01 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_INCREMENT, false},
    {"FF D8 00 04 04 01 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_DECREMENT, false},
    {"FF D8 00 04 04 78 56 34 92", OP_VALUE, 4, 4, 0x92345678, 0, 0, 0, VALUE_DECREMENT, false},
    {"FF F5 C1 04 04 01 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_INCREMENT, false},
    {"FF F5 C0 04 04 01 00 00 00", OP_VALUE, 4, 4, 1, 0, 0, 0, VALUE_DECREMENT, false},
    {"FF F5 C1 04 05 01 00 00 00 05", OP_VALUE, 4, 5, 1, 0, 0, 0, VALUE_INCREMENT, false},
    {"FF F5 C0 04 05 01 00 00 00 06", OP_VALUE, 4, 6, 1, 0, 0, 0, VALUE_DECREMENT, false},
    {"FF D7 00 04 05 00 00 00 00 01", OP_VALUE_STORE, 4, 0, 1, 0, 0, 0, 0, false},
    {"FF D7 00 04 05 00 FF FF FF FE", OP_VALUE_STORE, 4, 0, 0xFFFFFFFE, 0, 0, 0, 0, false},
    {"FF B1 00 04 04", OP_VALUE_READ, 4, 0, 0, 0, 0, 0, 0, false},
    {"FF B1 00 04 00", OP_VALUE_READ, 4, 0, 0, 0, 0, 0, 0, false},
    {"FF D7 00 04 02 03 05", OP_VALUE, 4, 5, 0, 0, 0, 0, VALUE_COPY, false},
    {"FF F5 C2 04 05 00 00 00 00 05", OP_VALUE, 4, 5, 0, 0, 0, 0, VALUE_COPY, false},
    {"FF F5 C2 04 04 00 00 00 00", OP_VALUE, 4, 4, 0, 0, 0, 0, VALUE_COPY, false},
    {"FF F5 2C 0A 0A 32 10 04 01 00 00 00 12 01 10", OP_PURSE, 0, 0, 0, 0, 0, 10, 0, false},
    {"FF 00 40 0F 04 01 01 03 01", OP_LED, 0, 0x0F, 0, 0, 0, 4, 0, false},
};

static void each_form_becomes_its_operation(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * LEN(forms); i++) {
        const struct bytes s = hex(forms[i / 2].text), e = extend(&s);
        struct operation op;

        if (decode(i % 2 ? &e : &s, &op) != DECODED)
            fail_msg("%s: refused", forms[i / 2].text);
        assert_int_equal(op.extended, i % 2);
        assert_int_equal(op.kind, forms[i / 2].kind);
        assert_int_equal(op.block, forms[i / 2].block);
        assert_int_equal(op.target, forms[i / 2].target);
        assert_int_equal(op.amount, forms[i / 2].amount);
        assert_int_equal(op.key_type, forms[i / 2].key_type);
        assert_int_equal(op.key_number, forms[i / 2].key_number);
        assert_int_equal(op.data_len, forms[i / 2].data_len);
        assert_int_equal(op.objects, forms[i / 2].objects);
        if (op.kind == OP_VALUE)
            assert_int_equal(op.value_op, forms[i / 2].value_op);
    }
}

/* ---- the transparent session ---------------------------------------------------------------------------------------
 */

static const struct {
    const char *text;
    struct {
        enum step_kind kind;
        unsigned len, number;
    } steps[4];
    unsigned count;
} sessions[] = {
    {"FF C2 00 00 02 81 00 00", {{STEP_START, 0, 0}}, 1},
    {"FF C2 00 00 02 82 00", {{STEP_END, 0, 0}}, 1},
    {"FF C2 00 00 02 80 00 00", {{STEP_VERSION, 0, 0}}, 1},
    {"FF C2 00 00 0B 83 00 5F 46 04 10 27 00 00 84 00 00",
     {{STEP_RF_OFF, 0, 0}, {STEP_WAIT, 4, 10000}, {STEP_RF_ON, 0, 0}},
     3},
    {"FF C2 00 00 03 FF 6D 00 00", {{STEP_BAD, 0, 0x6700}}, 1},
    {"FF C2 00 00 05 FF 6D 02 03 00 00", {{STEP_GET_PARAMETERS, 2, 0}}, 1},
    {"FF C2 00 01 06 FF 6E 03 03 01 08 00", {{STEP_SET_PARAMETERS, 3, 0}}, 1},
    {"FF C2 00 00 03 81 01 00 00", {{STEP_BAD, 0, 0x6700}}, 1},
    {"FF C2 00 02 04 8F 02 02 03", {{STEP_SELECT, 2, 0}}, 1},
    {"FF C2 00 01 04 95 02 02 2B 00", {{STEP_TRANSCEIVE, 2, 0}}, 1},
    {"FF C2 00 01 10 5F 46 04 40 42 0F 00 95 07 02 21 00 00 01 02 03 00",
     {{STEP_TIMEOUT, 4, 1000000}, {STEP_TRANSCEIVE, 7, 0}},
     2},
    {"FF C2 00 01 0A 90 02 03 00 91 01 07 93 01 52 00",
     {{STEP_FLAGS, 2, 3}, {STEP_TX_BITS, 1, 7}, {STEP_TRANSMIT, 1, 0}},
     3},
    {"FF C2 00 01 07 90 02 00 0C 92 01 04 00", {{STEP_FLAGS, 2, 0x0C}, {STEP_RX_BITS, 1, 4}}, 2},
    {"FF C2 00 01 03 91 01 08 00", {{STEP_BAD, 0, 0x6A80}}, 1},
    {"FF C2 00 01 06 93 02 30 04 94 00 00", {{STEP_TRANSMIT, 2, 0}, {STEP_RECEIVE, 0, 0}}, 2},
    {"FF C2 00 01 03 94 01 00 00", {{STEP_BAD, 0, 0x6700}}, 1},
    {"FF C2 00 01 02 95 00 00", {{STEP_BAD, 0, 0x6700}}, 1},
    {"FF C2 00 02 02 81 00 00", {{STEP_BAD, 0, 0x6A81}}, 1}, /* belongs to another command */
};

static void each_object_becomes_a_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(sessions); i++) {
        const struct bytes s = hex(sessions[i].text);
        struct operation op;

        if (decode(&s, &op) != DECODED)
            fail_msg("%s: refused", sessions[i].text);
        assert_int_equal(op.kind, OP_SESSION);
        assert_true(op.objects);
        assert_int_equal(op.step_count, sessions[i].count);
        for (unsigned k = 0; k < sessions[i].count; k++) {
            assert_int_equal(op.steps[k].kind, sessions[i].steps[k].kind);
            assert_int_equal(op.steps[k].len, sessions[i].steps[k].len);
            assert_int_equal(op.steps[k].number, sessions[i].steps[k].number);
        }
    }
}

static void a_frame_in_an_envelope_is_two_steps(void **state)
{
    static const struct {
        const char *text;
        enum storage_protocol protocol;
        unsigned timeout;
    } rows[] = {
        {"FF FE 00 00 02 01 02 00", STORAGE_ISO_DEP, 0},     {"FF FE 01 01 02 01 02 00", STORAGE_ISO14443A, 106},
        {"FF FE 02 02 02 01 02 00", STORAGE_ISO14443B, 424}, {"FF FE 04 08 02 01 02 00", STORAGE_ISO15693, 1740000},
        {"FF FE 05 05 02 01 02", STORAGE_ISO15693, 27200},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        const struct bytes s = hex(rows[i].text);
        struct operation op;

        assert_int_equal(decode(&s, &op), DECODED);
        assert_int_equal(op.kind, OP_ENCAPSULATE);
        assert_false(op.objects);
        assert_int_equal(op.protocol, rows[i].protocol);
        assert_int_equal(op.step_count, 2);
        assert_int_equal(op.steps[0].kind, STEP_TIMEOUT);
        assert_int_equal(op.steps[0].number, rows[i].timeout);
        assert_int_equal(op.steps[1].kind, STEP_TRANSCEIVE);
        assert_int_equal(op.steps[1].len, 2);
    }
}

/* ---- what is refused -----------------------------------------------------------------------------------------------
 */

static const struct {
    const char *text;
    unsigned sw;
} refused[] = {
    {"FF 82 00 05", 0x6989},
    {"FF 82 00 05 05 A0A1A2A3A4", 0x6989},
    {"FF 82 00 05 07 A0A1A2A3A4A5A6", 0x6989},
    {"FF 82 00 05 06 A0A1A2A3A4", 0x6700},
    {"FF 82 01 05 06 A0A1A2A3A4A5", 0x6B00},
    {"FF 82 40 05 06 A0A1A2A3A4A5", 0x6B00},
    {"FF 86 00 00", 0x6700},
    {"FF 86 00 00 04 01 00 04 60", 0x6700},
    {"FF 86 00 00 06 01 00 04 60 02 00", 0x6700},
    {"FF 86 00 01 05 01 00 04 60 02", 0x6B00},
    {"FF 86 01 00 05 01 00 04 60 02", 0x6B00},
    {"FF 86 00 00 05 02 00 04 60 02", 0x6A80},
    {"FF 86 00 00 05 01 00 04 62 02", 0x6A80},
    {"FF 86 00 00 05 01 00 04 5F 02", 0x6A80},
    {"FF B0 00 04", 0x6700},
    {"FF B0 00 04 01 00", 0x6700},
    {"FF B0 00 04 01 00 00", 0x6700},
    {"FF D6 00 04", 0x6700},
    {"FF D6 00 04 00", 0x6700},
    {"FF D6 00 04 05 01020304", 0x6700},
    {"FF B1 00 04", 0x6700},
    {"FF B1 00 04 03", 0x6C04},
    {"FF B1 00 04 05", 0x6C04},
    {"FF B1 00 04 00 00 05", 0x6C04},
    {"FF B1 01 04 04", 0x6B00},
    {"FF B1 00 04 01 00 04", 0x6700},
    {"FF D7 01 04 05 01 00 00 00 01", 0x6B00},
    {"FF D7 00 04 05 03 00 00 00 01", 0x6A80},
    {"FF D7 00 04 05 04 00 00 00 01", 0x6A80},
    {"FF D7 00 04 04 01 00 00 00", 0x6700},
    {"FF D7 00 04 06 01 00 00 00 01 00", 0x6700},
    {"FF D7 00 04 02 00 05", 0x6A80},
    {"FF D7 00 04 02 01 05", 0x6A80},
    {"FF D7 00 04 01 03", 0x6700},
    {"FF D7 00 04 03 03 05 06", 0x6700},
    {"FF D7 00 04", 0x6700},
    {"FF D4 00 04 03 01 00 00", 0x6700},
    {"FF D4 00 04 05 01 00 00 00 00", 0x6700},
    {"FF D8 00 04", 0x6700},
    {"FF D8 00 04 05 01 00 00 00 00", 0x6700},
    {"FF F5 C1 04", 0x6700},
    {"FF F5 C1 04 03 01 00 00", 0x6700},
    {"FF F5 C1 04 06 01 00 00 00 05 00", 0x6700},
    {"FF F5 C3 04 04 01 00 00 00", 0x6B00},
    {"FF F5 BF 04 04 01 00 00 00", 0x6B00},
    {"FF F5 C2 04 04 01 00 00 00", 0x6A80},
    {"FF F5 C2 04 05 00 00 00 01 05", 0x6A80},
    {"FF F5 2C 0A", 0x6700},
    {"FF F5 2C 0A 00", 0x6700},
    {"FF F5 2C 0B 01 31", 0x6B00},
    {"FF F5 2D 0A 01 31", 0x6B00},
    {"FF F0 00 04 05 C0 01 00 00 00", 0x6D00},
    {"FF F0 00 04 06 C1 01 00 00 00 00", 0x6D00},
    {"FF C0 00 04 04 01 00 00 00", 0x6D00},
    {"FF C2 00 04 02 81 00 00", 0x6B00},
    {"FF C2 01 00 02 81 00 00", 0x6B00},
    {"FF C2 00 00", 0x6700},
    {"FF C2 00 00 00", 0x6700},
    {"FF C2 00 00 02 81 00 05", 0x6700},          /* the answer would be lost */
    {"FF C2 00 00 00 00 02 81 00 00 05", 0x6700}, /* so it would */
    {"FF C2 00 00 01 81 00", 0x6A80},             /* a tag without a length */
    {"FF C2 00 00 02 81 01 00", 0x6A80},          /* a value that is not there */
    {"FF C2 00 00 03 81 00 5F 00", 0x6A80},       /* half a tag behind a good object */
    {"FF C2 00 00 03 81 80 00 00", 0x6A80},       /* indefinite length */
    {"FF C2 00 00 05 81 83 00 00 00 00", 0x6A80},
    {"FF C2 00 00 04 5F 81 01 00 00", 0x6A80},                           /* a tag of three bytes */
    {"FF C2 00 00 12 80008000800080008000800080008000 8000 00", 0x6A80}, /* nine objects */
    {"FF C2 00 03 0B A2 09 80 01 04 81 04 01 00 00 00 00", 0x6A80},
    {"FF C2 00 03 0B A0 09 81 01 04 80 04 01 00 00 00 00", 0x6A80},
    {"FF C2 00 03 0B A0 08 80 01 04 81 04 01 00 00 00 00", 0x6A80},
    {"FF C2 00 03 0A A0 08 80 01 04 81 03 01 00 00 00", 0x6A80},
    {"FF C2 00 03 0C A0 0A 80 02 00 04 81 04 01 00 00 00 00", 0x6A80},
    {"FF C2 00 03 0D A0 0B 80 01 04 81 04 01 00 00 00 82 00 00", 0x6A80},
    {"FF C2 00 03 0D A0 09 80 01 04 81 04 01 00 00 00 80 00 00", 0x6A80},
    {"FF C2 00 03 05 A0 03 80 01 04 00", 0x6A80},
    {"FF C2 00 03 02 A0 00 00", 0x6A80},
    {"FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00 05", 0x6700},
    {"FF FE 03 00 02 01 02 00", 0x6B00},
    {"FF FE 06 00 02 01 02 00", 0x6B00},
    {"FF FE 00 09 02 01 02 00", 0x6B00},
    {"FF FE 00 00", 0x6700},
    {"FF FE 00 00 00", 0x6700},
    {"FF FE 00 00 02 01 02 08", 0x6700},
};

static void what_is_wrong_is_refused_with_its_word(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(refused); i++) {
        const struct bytes s = hex(refused[i].text);
        struct operation op;
        unsigned sw = decode(&s, &op);

        if (sw != refused[i].sw)
            fail_msg("%s: %04X, and not %04X", refused[i].text, sw, refused[i].sw);
    }
}

/* ---- the purse batch -----------------------------------------------------------------------------------------------
 */

static const struct {
    const char *text;
    unsigned blocks, sw;
    bool needs_key, own_keys;
} batches[] = {
    {"32 10 04 01000000 12 01 10", 64, 0, true, false},
    {"32 10 04 01000000 20 04 01000000", 64, 0, true, false},
    {"32 34 0B 01000000 01 112233445566 36 08 34 01 112233445566", 64, 0, false, true},
    {"31 1D 08 1C 02 C0C1C2C3C4C5", 64, 0, false, true},
    {"B1 10 04 FFFFFF7F", 64, 0, true, false},
    {"32 10 04 01000000 12 08 10 02 112233445566", 64, 0, true, true},
    {"31 04 01 04", 64, 0, true, false},
    {"", 64, 0x6A80, false, false},
    {"30", 64, 0x6A80, false, false},
    {"31", 64, 0x6A80, false, false},
    {"31 10", 64, 0x6A80, false, false},
    {"31 10 04 010000", 64, 0x6A80, false, false},
    {"31 10 04 01000000 00", 64, 0x6A80, false, false},
    {"32 10 04 01000000", 64, 0x6A80, false, false},
    {"31 10 05 0100000000", 64, 0x6A80, false, false},
    {"31 10 04 00000080", 64, 0x6A80, false, false}, /* bit 31 */
    {"31 10 0B 01000000 03 112233445566", 64, 0x6A80, false, false},
    {"31 10 0B 01000000 00 112233445566", 64, 0x6A80, false, false},
    {"31 10 0B 01000000 01 1122334455", 64, 0x6A80, false, false},
    {"31 12 08 10 03 112233445566", 64, 0x6A80, false, false},
    {"31 12 01", 64, 0x6A80, false, false},
    {"21 10 04 01000000", 64, 0x6981, false, false},
    {"41 10 04 01000000", 64, 0x6981, false, false},
    {"31 13 04 01000000", 64, 0x6986, false, false}, /* a trailer */
    {"31 00 04 01000000", 64, 0x6986, false, false},
    {"31 12 01 14", 64, 0x6986, false, false}, /* another sector */
    {"31 12 01 13", 64, 0x6986, false, false},
    {"31 13 01 12", 64, 0x6986, false, false},
    {"32 10 04 01000000 13 04 01000000", 64, 0x6986, false, false}, /* the second one */
    {"31 40 04 01000000", 64, 0x6A82, false, false},
    {"31 40 04 01000000", 0, 0, true, false},
    {"31 40 04 01000000", 256, 0, true, false},
    {"31 FF 04 01000000", 256, 0x6986, false, false},
    {"32 13 04 01000000 10 04 00000080", 64, 0x6A80, false, false}, /* form before place */
};

static void a_batch_is_judged_before_it_is_sent(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(batches); i++) {
        const struct bytes s = hex(batches[i].text);
        struct purse_facts f;
        unsigned sw = purse_check(s.b, s.n, batches[i].blocks, &f);

        if (sw != batches[i].sw)
            fail_msg("%s: %04X, and not %04X", batches[i].text, sw, batches[i].sw);
        if (sw == DECODED) {
            assert_int_equal(f.needs_key, batches[i].needs_key);
            assert_int_equal(f.own_keys, batches[i].own_keys);
        }
    }
}

static void fifteen_operations_fit_a_batch(void **state)
{
    uint8_t p[1 + 15 * 13] = {0x3F};
    struct purse_facts f;

    (void)state;
    for (unsigned i = 0; i < 15; i++)
        memcpy(p + 1 + 13 * i, "\x10\x0B\x01\x00\x00\x00\x01KEYKEY", 13);
    assert_int_equal(purse_check(p, sizeof p, 64, &f), DECODED);
    assert_int_equal(purse_check(p, sizeof p - 13, 64, &f), 0x6A80);
}

/* ---- data objects --------------------------------------------------------------------------------------------------
 */

static void objects_are_handed_out_whole_or_not_at_all(void **state)
{
    const struct bytes s = hex("95 03 01 02 03 5F46 01 09 FF6D 00 97 81 02 AA BB");
    struct tlv t;

    (void)state;
    for (size_t cut = 0; cut <= s.n; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1);
        struct rbuf r = rbuf_over(exact, cut);
        size_t good = 0;

        assert_non_null(exact);
        memcpy(exact, s.b, cut);
        while (tlv_next(&r, &t))
            good++;
        assert_int_equal(good, (cut >= 5) + (cut >= 9) + (cut >= 12) + (cut >= 17));
        assert_int_equal(r.failed, cut != 0 && cut != 5 && cut != 9 && cut != 12 && cut != 17);
        free(exact);
    }
}

static void long_objects_come_back_as_they_went(void **state)
{
    static const size_t lengths[] = {0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x300};
    static uint8_t value[0x300], out[0x310];

    (void)state;
    memset(value, 0xA7, sizeof value);
    for (size_t i = 0; i < LEN(lengths); i++) {
        size_t n = lengths[i];
        struct wbuf w = wbuf_over(out, sizeof out);
        struct rbuf r;
        struct tlv t;

        tlv_put(&w, i % 2 ? 0x97 : 0x5F46, value, n);
        assert_false(w.failed);
        assert_int_equal(w.len, n + (i % 2 ? 1 : 2) + (n < 0x80 ? 1 : n < 0x100 ? 2 : 3));
        r = rbuf_over(out, w.len);
        assert_true(tlv_next(&r, &t));
        assert_int_equal(t.tag, i % 2 ? 0x97 : 0x5F46);
        assert_int_equal(t.len, n);
        assert_int_equal(r.left, 0);
        assert_false(tlv_next(&r, &t));
        assert_false(r.failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_becomes_its_operation),
        cmocka_unit_test(each_object_becomes_a_step),
        cmocka_unit_test(a_frame_in_an_envelope_is_two_steps),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_word),
        cmocka_unit_test(a_batch_is_judged_before_it_is_sent),
        cmocka_unit_test(fifteen_operations_fit_a_batch),
        cmocka_unit_test(objects_are_handed_out_whole_or_not_at_all),
        cmocka_unit_test(long_objects_come_back_as_they_went),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
