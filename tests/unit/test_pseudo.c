/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Class FF, the part that every reader has: each form as scripts send it, each form that is one byte off, Le in all its
 * sizes, and what a reader's answer becomes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_device.h"
#include "pseudo/decode.h"
#include "pseudo/pseudo.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static int setup(void **state)
{
    (void)state;
    fake_reset();
    return 0;
}

static uint8_t response[FAKE_BYTES_MAX];
static size_t received;

/* Sends a command that lies in memory of exactly its size. */
static enum result send(const void *command, size_t n, size_t room)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    enum result r;

    assert_non_null(copy);
    memcpy(copy, command, n);
    received = 99;
    r = pseudo_transmit(fake_slot(), copy, n, response, room, &received);
    free(copy);
    return r;
}

static unsigned sw(void)
{
    assert_true(received >= 2);
    return (unsigned)(response[received - 2] << 8 | response[received - 1]);
}

static void expect_sw(const void *command, size_t n, unsigned want)
{
    assert_int_equal(send(command, n, sizeof response), R_SUCCESS);
    assert_int_equal(received, 2);
    assert_int_equal(sw(), want);
}

static void expect_data(const void *command, size_t n, const void *data, size_t len, unsigned want)
{
    assert_int_equal(send(command, n, sizeof response), R_SUCCESS);
    assert_int_equal(received, len + 2);
    assert_memory_equal(response, data, len);
    assert_int_equal(sw(), want);
}

static void the_reader_answers(size_t n)
{
    for (size_t i = 0; i < n; i++)
        fake.command.answer[i] = (uint8_t)(i * 5 + 1);
    fake.command.answer_len = n;
}

/* ---- what is no command ------------------------------------------------------------------------------------- */

static const struct {
    const char *what;
    uint8_t bytes[12];
    size_t n;
    unsigned sw;
} wrong[] = {
    {"FF alone", {0xFF}, 1, 0x6700},
    {"two bytes", {0xFF, 0xCA}, 2, 0x6700},
    {"three bytes", {0xFF, 0xCA, 0x00}, 3, 0x6700},
    {"unknown INS", {0xFF, 0x01, 0, 0, 0}, 5, 0x6D00},
    {"unknown INS, two bytes", {0xFF, 0x01}, 2, 0x6D00},
    {"unknown INS, Lc too long", {0xFF, 0x01, 0, 0, 9, 1}, 6, 0x6D00},
    {"FF F0: C0 means one thing here and another there", {0xFF, 0xF0, 0, 4, 1, 0xC0}, 6, 0x6D00},
    {"GET DATA without Le", {0xFF, 0xCA, 0xFA, 0}, 4, 0x6700},
    {"GET DATA with data", {0xFF, 0xCA, 0xFA, 0, 1, 0}, 6, 0x6700},
    {"GET DATA with data and Le", {0xFF, 0xCA, 0xFA, 0, 1, 0, 0}, 7, 0x6700},
    {"GET DATA, P1 unknown", {0xFF, 0xCA, 0x04, 0, 0}, 5, 0x6B00},
    {"GET DATA, P2 not 0", {0xFF, 0xCA, 0xFA, 1, 0}, 5, 0x6B00},
    {"firmware, P2 not 0", {0xFF, 0x00, 0x48, 1, 0}, 5, 0x6B00},
    {"firmware without Le", {0xFF, 0x00, 0x48, 0}, 4, 0x6700},
    {"firmware with data", {0xFF, 0x00, 0x48, 0, 1, 0}, 6, 0x6700},
    {"ACS direct transmit", {0xFF, 0x00, 0x00, 0, 2, 0xD4, 0x02}, 7, 0x6B00},
    {"LED, three bytes", {0xFF, 0x00, 0x40, 0x50, 3, 1, 1, 1}, 8, 0x6700},
    {"LED without data", {0xFF, 0x00, 0x40, 0x50}, 4, 0x6700},
    {"LED, Lc too long", {0xFF, 0x00, 0x40, 0x50, 4, 1, 1, 1}, 8, 0x6700},
    {"buzzer with data", {0xFF, 0x00, 0x52, 0xFF, 1, 0}, 6, 0x6700},
    {"reader command without a code", {0xFF, 0x70, 0x07, 0x2F, 0}, 5, 0x6700},
    {"reader command, header only", {0xFF, 0x70, 0x07, 0x2F}, 4, 0x6700},
    {"reader command, Lc too long", {0xFF, 0x70, 0x07, 0x2F, 3, 1}, 6, 0x6700},
    {"reader command, extended Lc 0000", {0xFF, 0x70, 0x07, 0x2F, 0, 0, 0, 1}, 8, 0x6700},
    {"obsolete authenticate, no key type", {0xFF, 0x88, 0, 4, 0x62, 0}, 6, 0x6A80},
    {"obsolete authenticate, five bytes", {0xFF, 0x88, 0, 4, 0x60}, 5, 0x6700},
    {"obsolete authenticate, seven bytes", {0xFF, 0x88, 0, 4, 0x60, 0, 0}, 7, 0x6700},
    {"FF 88 as an APDU", {0xFF, 0x88, 0, 4, 2, 0x60, 0}, 7, 0x6700},
    {"FF 88, header only", {0xFF, 0x88, 0, 4}, 4, 0x6700},
};

static void what_is_wrong_with_a_command_is_said_by_its_status_word(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(wrong); i++) {
        struct operation op;

        if (pseudo_decode(wrong[i].bytes, wrong[i].n, &op) != wrong[i].sw)
            fail_msg("%s: %04X", wrong[i].what, pseudo_decode(wrong[i].bytes, wrong[i].n, &op));
        expect_sw(wrong[i].bytes, wrong[i].n, wrong[i].sw);
    }
    assert_int_equal(fake.command.calls, 0);
    assert_int_equal(fake.transmit.calls, 0);
}

static void another_class_is_none_of_ours(void **state)
{
    struct operation op;

    (void)state;
    assert_int_equal(pseudo_decode((const uint8_t *)"\x00\xCA\x00\x00\x00", 5, &op), 0x6E00);
    assert_int_equal(pseudo_decode(NULL, 0, &op), 0x6700);
}

/* ---- what decodes into what ----------------------------------------------------------------------------------- */

static void get_data_names_its_item(void **state)
{
    static const struct {
        uint8_t p1;
        enum operation_kind kind;
        enum data_item item;
    } items[] = {{0x00, OP_GET_DATA, ITEM_UID},  {0x01, OP_GET_DATA, ITEM_ATS},       {0x02, OP_GET_DATA, ITEM_SAK},
                 {0x03, OP_GET_DATA, ITEM_ATQA}, {0xF1, OP_GET_DATA, ITEM_CARD_TYPE}, {0xFA, OP_GET_ATR, ITEM_UID}};
    struct operation op;

    (void)state;
    for (size_t i = 0; i < LEN(items); i++) {
        const uint8_t short_form[] = {0xFF, 0xCA, items[i].p1, 0x00, 0x0A};
        const uint8_t extended[] = {0xFF, 0xCA, items[i].p1, 0x00, 0x00, 0x00, 0x00};

        assert_int_equal(pseudo_decode(short_form, sizeof short_form, &op), DECODED);
        assert_int_equal(op.kind, items[i].kind);
        assert_int_equal(op.item, items[i].item);
        assert_true(op.has_le);
        assert_int_equal(op.le, 10);
        assert_false(op.extended);
        assert_int_equal(pseudo_decode(extended, sizeof extended, &op), DECODED);
        assert_int_equal(op.kind, items[i].kind);
        assert_int_equal(op.le, 65536);
        assert_true(op.extended);
    }
}

static void the_obsolete_authenticate_is_matched_before_it_is_parsed(void **state)
{
    struct operation op;

    (void)state;
    assert_int_equal(pseudo_decode((const uint8_t *)"\xFF\x88\x01\x3F\x61\x0E", 6, &op), DECODED);
    assert_int_equal(op.kind, OP_AUTHENTICATE);
    assert_int_equal(op.block, 0x013F);
    assert_int_equal(op.key_type, 0x61);
    assert_int_equal(op.key_number, 0x0E);
    assert_false(op.has_le);
}

static void led_and_buzzer_decode(void **state)
{
    struct operation op;

    (void)state;
    assert_int_equal(pseudo_decode((const uint8_t *)"\xFF\x00\x40\x50\x04\x05\x05\x03\x01", 9, &op), DECODED);
    assert_int_equal(op.kind, OP_LED);
    assert_int_equal(op.data_len, 4);
    assert_memory_equal(op.data, "\x05\x05\x03\x01", 4);
    assert_int_equal(pseudo_decode((const uint8_t *)"\xFF\x00\x52\xFF\x00", 5, &op), DECODED);
    assert_int_equal(op.kind, OP_BUZZER);
    assert_int_equal(pseudo_decode((const uint8_t *)"\xFF\x00\x52\x00", 4, &op), DECODED);
    assert_int_equal(op.kind, OP_BUZZER);
}

/* What this reader lacks: the answer is about the reader, whether there is a card or not. */
static void what_the_reader_has_not_is_not_supported(void **state)
{
    (void)state;
    for (int with_card = 0; with_card < 2; with_card++) {
        fake.status = (struct slot_status){.present = with_card, .powered = with_card};
        expect_sw("\xFF\x00\x40\x50\x04\x05\x05\x03\x01", 9, 0x6A81);
        expect_sw("\xFF\x00\x52\xFF\x00", 5, 0x6A81);
        expect_sw("\xFF\xCA\x00\x00\x00", 5, 0x6A81);
        expect_sw("\xFF\xCA\xF1\x00\x00", 5, 0x6A81);
        expect_sw("\xFF\x88\x00\x04\x60\x00", 6, 0x6A81);
        expect_sw("\xFF\x00\x48\x00\x00", 5, 0x6A81); /* it did not tell its firmware */
    }
    assert_int_equal(fake.command.calls, 0);
}

/* ---- the ATR and the firmware --------------------------------------------------------------------------------- */

static void the_atr_is_the_powered_cards(void **state)
{
    (void)state;
    fake.atr = (struct atr){.bytes = {0x3B, 0x80, 0x80, 0x01, 0x01}, .len = 5};
    expect_data("\xFF\xCA\xFA\x00\x00", 5, fake.atr.bytes, 5, 0x9000);
    expect_data("\xFF\xCA\xFA\x00\x05", 5, fake.atr.bytes, 5, 0x9000);
    expect_data("\xFF\xCA\xFA\x00\x06", 5, fake.atr.bytes, 5, 0x6282); /* all there is, with a warning */
    expect_sw("\xFF\xCA\xFA\x00\x04", 5, 0x6C05);                      /* never cut */
    expect_data("\xFF\xCA\xFA\x00\x00\x00\x00", 7, fake.atr.bytes, 5, 0x9000);
    expect_data("\xFF\xCA\xFA\x00\x00\x00\x05", 7, fake.atr.bytes, 5, 0x9000);
    expect_data("\xFF\xCA\xFA\x00\x00\x01\x00", 7, fake.atr.bytes, 5, 0x6282);
    expect_sw("\xFF\xCA\xFA\x00\x00\x00\x01", 7, 0x6C05);
}

/* No status word: the client's connection is over, not just this command. */
static void without_a_card_there_is_no_answer_at_all(void **state)
{
    (void)state;
    fake.status.powered = false;
    assert_int_equal(send("\xFF\xCA\xFA\x00\x00", 5, 258), R_NO_CARD);
    assert_int_equal(received, 0);
    fake.status = (struct slot_status){.powered = true};
    assert_int_equal(send("\xFF\xCA\xFA\x00\x00", 5, 258), R_NO_CARD);
    fake.status = (struct slot_status){.gone = true};
    assert_int_equal(send("\xFF\xCA\xFA\x00\x00", 5, 258), R_GONE);
    assert_int_equal(received, 0);
}

static void the_firmware_is_text(void **state)
{
    (void)state;
    (void)strcpy(fake_reader.identity.firmware, "AET63-0.67");
    expect_data("\xFF\x00\x48\x00\x00", 5, "AET63-0.67", 10, 0x9000);
    expect_data("\xFF\x00\x48\x00\x0A", 5, "AET63-0.67", 10, 0x9000);
    expect_data("\xFF\x00\x48\x00\xFF", 5, "AET63-0.67", 10, 0x9000); /* at most 255: no warning */
    expect_sw("\xFF\x00\x48\x00\x09", 5, 0x6C0A);
    memset(fake_reader.identity.firmware, 'F', sizeof fake_reader.identity.firmware); /* not even a NUL byte */
    memset(fake_reader.identity.type, 'T', sizeof fake_reader.identity.type - 1);     /* which is what lies behind it */
    expect_data("\xFF\x00\x48\x00\x00", 5, fake_reader.identity.firmware, sizeof fake_reader.identity.firmware, 0x9000);
}

/* ---- reader commands ------------------------------------------------------------------------------------------ */

static void a_reader_command_goes_down_without_its_wrapping(void **state)
{
    (void)state;
    the_reader_answers(4);
    expect_data("\xFF\x70\x07\x2F\x02\x01\x05\x00", 8, fake.command.answer, 4, 0x9000);
    assert_int_equal(fake.command.asked_len, 2);
    assert_memory_equal(fake.command.asked, "\x01\x05", 2);
    expect_data("\xFF\x70\x0A\xCD\x00\x00\x02\x09\x20\x00\x00", 11, fake.command.answer, 4, 0x9000);
    assert_memory_equal(fake.command.asked, "\x09\x20", 2);
    expect_data("\xFF\x70\x07\x2F\x01\x01", 6, fake.command.answer, 4, 0x9000); /* without Le */
    assert_int_equal(fake.command.calls, 3);
    fake.status = (struct slot_status){0}; /* the slot's card does not matter */
    expect_data("\xFF\x70\x07\x2F\x01\x01\x00", 7, fake.command.answer, 4, 0x9000);
    assert_int_equal(fake.refused, 0);
}

static void another_vendors_command_stays_up(void **state)
{
    (void)state;
    expect_sw("\xFF\x70\x1D\x5F\x02\x09\x20\x00", 8, 0x6A81);
    expect_sw("\xFF\x70\x2F\x07\x02\x09\x20\x00", 8, 0x6A81);
    expect_sw("\xFF\x70\x2F\x0A\x02\x09\x20\x00", 8, 0x6A81); /* the end of one id and the beginning of the next */
    assert_int_equal(fake.command.calls, 0);
}

static void a_refused_reader_command_has_a_status_word(void **state)
{
    (void)state;
    fake.command.result = R_DENIED;
    expect_sw("\xFF\x70\x07\x2F\x01\x9B\x00", 7, 0x6982);
    fake.command.result = R_NOT_SUPPORTED;
    expect_sw("\xFF\x70\x07\x2F\x01\x88\x00", 7, 0x6A81);
    fake.command.result = R_INVALID;
    expect_sw("\xFF\x70\x07\x2F\x01\x9F\x00", 7, 0x6700);
}

static void a_reader_that_fails_is_a_failed_call(void **state)
{
    static const enum result ends[] = {R_TIMEOUT, R_COMM, R_GONE, R_CANCELLED, R_SPACE};

    (void)state;
    for (size_t i = 0; i < LEN(ends); i++) {
        fake.command.result = ends[i];
        assert_int_equal(send("\xFF\x70\x07\x2F\x01\x01\x00", 7, 258), ends[i]);
        assert_int_equal(received, 0);
    }
}

/* 6C xx or 67 00 would have a command sent again that the reader has carried out. */
static void the_answer_of_a_reader_command_comes_whole_whatever_le_says(void **state)
{
    static const size_t lengths[] = {1, 256, 257, 65536};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t n = lengths[i];

        the_reader_answers(n);
        expect_data("\xFF\x70\x07\x2F\x01\x01\x00", 7, fake.command.answer, n, 0x9000);
        expect_data("\xFF\x70\x07\x2F\x01\x01", 6, fake.command.answer, n, 0x9000);
        expect_data("\xFF\x70\x07\x2F\x01\x01\x10", 7, fake.command.answer, n, 0x9000);
        expect_data("\xFF\x70\x07\x2F\x00\x00\x01\x01\x00\x00", 10, fake.command.answer, n, 0x9000);
        expect_data("\xFF\x70\x07\x2F\x00\x00\x01\x01\x00\x10", 10, fake.command.answer, n, 0x9000);
    }
}

static void a_long_command_goes_down_whole(void **state)
{
    static uint8_t command[7 + 65535 + 2] = {0xFF, 0x70, 0x07, 0x2F, 0x00, 0xFF, 0xFF};

    (void)state;
    memset(command + 7, 0x9C, 65535);
    command[7 + 65534] = 0x77;
    the_reader_answers(2);
    expect_data(command, sizeof command, fake.command.answer, 2, 0x9000);
    assert_int_equal(fake.command.asked_len, 65535);
    assert_memory_equal(fake.command.asked, command + 7, 65535);
}

static void a_buffer_that_is_too_small_gets_nothing(void **state)
{
    (void)state;
    the_reader_answers(4);
    memset(response, 0xEE, 16);
    for (size_t room = 0; room < 6; room++) {
        assert_int_equal(send("\xFF\x70\x07\x2F\x01\x01\x00", 7, room), R_SPACE);
        assert_int_equal(received, 0);
    }
    assert_int_equal(response[0], 0xEE);
    assert_int_equal(send("\xFF\x70\x07\x2F\x01\x01\x00", 7, 6), R_SUCCESS);
    assert_int_equal(received, 6);
    assert_int_equal(response[6], 0xEE);
    assert_int_equal(send("\xFF\x01\x00\x00", 4, 1), R_SPACE);
    assert_int_equal(send("\xFF\xCA\xFA\x00\x00", 5, 3), R_SPACE);
    assert_int_equal(received, 0);
}

#define CASE(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_wrong_with_a_command_is_said_by_its_status_word),
        CASE(another_class_is_none_of_ours),
        CASE(get_data_names_its_item),
        CASE(the_obsolete_authenticate_is_matched_before_it_is_parsed),
        CASE(led_and_buzzer_decode),
        CASE(what_the_reader_has_not_is_not_supported),
        CASE(the_atr_is_the_powered_cards),
        CASE(without_a_card_there_is_no_answer_at_all),
        CASE(the_firmware_is_text),
        CASE(a_reader_command_goes_down_without_its_wrapping),
        CASE(another_vendors_command_stays_up),
        CASE(a_refused_reader_command_has_a_status_word),
        CASE(a_reader_that_fails_is_a_failed_call),
        CASE(the_answer_of_a_reader_command_comes_whole_whatever_le_says),
        CASE(a_long_command_goes_down_whole),
        CASE(a_buffer_that_is_too_small_gets_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
