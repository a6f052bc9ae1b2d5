/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay tables, and what is decided by them: which commands may be sent twice, which a client may send, what a
 * status means, what a log may show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "vivo_rig.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static int setup(void **state)
{
    (void)state;
    rig_reset();
    return 0;
}

/* The list of design rule "at most once", as far as it names ViVOpay commands: nothing else may be repeatable. */
static bool on_the_list(unsigned command, unsigned sub)
{
    static const uint16_t list[] = {0x1801, 0x1201, 0x2C01, 0x2C05, 0x2C07, 0x2801,
                                    0x0101, 0x2C02, 0x2C0C, 0x2C0E, 0x2C12};

    if (command == 0x29 || command == 0x09)
        return true;
    for (size_t i = 0; i < COUNT(list); i++)
        if (list[i] == (command << 8 | sub))
            return true;
    return false;
}

static void only_what_changes_nothing_may_be_repeated(void **state)
{
    (void)state;
    for (unsigned command = 0; command < 256; command++)
        for (unsigned sub = 0; sub < 256; sub++)
            assert_int_equal(vivo_command((uint8_t)command, (uint8_t)sub)->repeatable, on_the_list(command, sub));
}

static void the_pass_through_family_carries_its_crc_high_byte_first(void **state)
{
    (void)state;
    for (unsigned command = 0; command < 256; command++) {
        for (unsigned sub = 0; sub < 256; sub++) {
            bool family = command == 0x2C || (command == 0x28 && sub == 1) ||
                          (command == 0x0A && (sub == 2 || sub == 3)) || (command == 0x0B && (sub == 1 || sub == 2));
            assert_int_equal(vivo_command((uint8_t)command, (uint8_t)sub)->pass_through, family);
        }
    }
}

/* pseudo-APDU contract: the whitelist. */
static bool whitelisted(unsigned command, unsigned sub)
{
    static const uint16_t list[] = {0x1801, 0x2900, 0x2901, 0x2904, 0x2906, 0x1201,
                                    0x2C05, 0x0A02, 0x0A03, 0x0B01, 0x0B02};

    if (command == 0x09)
        return true;
    for (size_t i = 0; i < COUNT(list); i++)
        if (list[i] == (command << 8 | sub))
            return true;
    return false;
}

static void clients_may_send_what_is_harmless(void **state)
{
    enum result e;
    struct reader *r = rig_open(false, &e);
    uint8_t q[3] = {0};

    (void)state;
    assert_non_null(r);
    for (unsigned command = 0; command < 256; command++) {
        for (unsigned sub = 0; sub < 256; sub++) {
            q[0] = (uint8_t)command;
            q[1] = (uint8_t)sub;
            assert_int_equal(r->ops->classify(r, q, 2) == COMMAND_SAFE, whitelisted(command, sub));
            assert_int_equal(r->ops->classify(r, q, 1), COMMAND_UNKNOWN);
        }
    }
    for (unsigned first = 0; first < 256; first++) { /* of these the first data byte decides */
        uint8_t nfc[] = {0x2C, 0x40, (uint8_t)first}, felica[] = {0x2C, 0x41, (uint8_t)first};
        assert_int_equal(r->ops->classify(r, nfc, 3) == COMMAND_SAFE, first == 0x11 || first == 0x21);
        assert_int_equal(r->ops->classify(r, felica, 3) == COMMAND_SAFE, first == 0x06);
    }
    assert_int_equal(r->ops->classify(r, (const uint8_t[]){0x30, 0x01, 0x01}, 3), COMMAND_UNKNOWN);
    assert_int_equal(r->ops->classify(r, (const uint8_t[]){0x2C, 0x08, 0x31}, 3), COMMAND_DANGEROUS);
    rig_close(r);
}

static void no_row_stands_in_the_way_of_another(void **state)
{
    (void)state;
    for (unsigned command = 0; command < 256; command++) {
        for (unsigned sub = 0; sub < 256; sub++) {
            const struct vivo_command *row = vivo_command((uint8_t)command, (uint8_t)sub);
            assert_true(vivo_command_index(row) < VIVO_COMMANDS_MAX);
            assert_true(row->sub == sub || row->sub == VIVO_ANY_SUB);
            if (row->crc_like)
                assert_true(vivo_command(row->command, row->crc_like)->sub == row->crc_like);
        }
    }
    assert_int_equal(vivo_command(0x2C, 0x13)->crc_like, 0x12);
    assert_int_equal(vivo_command(0x2C, 0x18)->crc_like, 0x12);
}

/* Keys stand behind byte 2 of 2C-06, anywhere in 2C-0A; PINs in APDUs behind their header; card data in all answers. */
static void the_log_shows_no_secrets(void **state)
{
    (void)state;
    assert_true(vivo_command(0x2C, 0x06)->visible <= 2);
    assert_true(vivo_command(0x2C, 0x0A)->visible <= 1);
    assert_true(vivo_command(0x2C, 0x03)->visible <= 4);
    assert_true(vivo_command(0x2C, 0x13)->visible <= 5);
    assert_int_equal(vivo_command(0x2C, 0x03)->visible_answer, 0);
    assert_int_equal(vivo_command(0x2C, 0x07)->visible_answer, 0);
    assert_int_equal(vivo_command(0x2C, 0x13)->visible_answer, 0);
    assert_int_equal(vivo_command(0x2C, 0x42)->visible, 0); /* FeliCa key */
    assert_int_equal(vivo_command(0x77, 0x77)->visible, 0);
    assert_int_equal(vivo_command(0x77, 0x77)->visible_answer, 0);
}

static void statuses_mean_what_the_manual_says(void **state)
{
    static const struct {
        uint8_t code;
        enum vivo_outcome outcome;
    } cases[] = {
        {0x00, OUTCOME_DONE},       {0x02, OUTCOME_ABSENT},     {0x03, OUTCOME_ABSENT},    {0x05, OUTCOME_WRONG},
        {0x06, OUTCOME_BLOCKED},    {0x07, OUTCOME_WRONG},      {0x08, OUTCOME_NO_ANSWER}, {0x0A, OUTCOME_FAILED},
        {0x0B, OUTCOME_WRONG_MODE}, {0x0C, OUTCOME_WRONG_MODE}, {0x0D, OUTCOME_TOO_LONG},  {0x19, OUTCOME_TOO_LONG},
        {0x90, OUTCOME_BLOCKED},    {0x91, OUTCOME_BLOCKED},    {0x70, OUTCOME_BROKEN},    {0x04, OUTCOME_BROKEN},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(vivo_status(cases[i].code)->outcome, cases[i].outcome);
        assert_int_equal(vivo_status(cases[i].code)->code, cases[i].code);
    }
    for (unsigned code = 1; code < 256; code++)
        assert_int_not_equal(vivo_status((uint8_t)code)->outcome, OUTCOME_DONE);
    assert_int_equal(vivo_status(0xEE)->outcome, OUTCOME_BROKEN);
}

static void card_types(void **state)
{
    static const struct {
        uint8_t type;
        enum vivo_card_kind kind;
        uint8_t ss;
        uint16_t nn;
    } cases[] = {
        {0x01, CARD_APDU, 0, 0},
        {0x02, CARD_APDU, 0, 0},
        {0x03, CARD_STORAGE, 0x03, 0x0001},
        {0x04, CARD_STORAGE, 0x03, 0x0003},
        {0x05, CARD_STORAGE, 0x03, 0x0000},
        {0x06, CARD_STORAGE, 0x07, 0x0000},
        {0x07, CARD_BOTH, 0x03, 0x0001},
        {0x0A, CARD_STORAGE, 0x03, 0x0030},
        {0x0B, CARD_STORAGE, 0x03, 0x0003},
        {0x0C, CARD_STORAGE, 0x11, 0x003B},
        {0x0D, CARD_APDU, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct vivo_card_type *t = vivo_card_type(cases[i].type);
        assert_non_null(t);
        assert_int_equal(t->kind, cases[i].kind);
        assert_int_equal(t->ss, cases[i].ss);
        assert_int_equal(t->nn, cases[i].nn);
    }
    assert_null(vivo_card_type(0x00));
    assert_null(vivo_card_type(0x08));
    assert_true(vivo_card_type(0x02)->type_b);
    assert_true(vivo_card_type(0x06)->type_b);
    assert_false(vivo_card_type(0x07)->type_b);
}

static void other_devices_of_the_maker_are_refused(void **state)
{
    static const uint16_t refused[] = {0x3531, 0x4451, 0x4650, 0x2030, 0x2010, 0x2610, 0x2620,
                                       0x2810, 0x2820, 0x3810, 0x3820, 0x3910, 0x3920};
    static const uint16_t served[] = {0x3530, 0x3710, 0x4440, 0x4450};

    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++)
        assert_non_null(vivo_refused_pid(0x0ACD, refused[i]));
    for (size_t i = 0; i < COUNT(served); i++)
        assert_null(vivo_refused_pid(0x0ACD, served[i]));
    assert_null(vivo_refused_pid(0x1D5F, 0x3531));
}

static void a_keyboard_is_told_by_its_report_descriptor(void **state)
{
    static const uint8_t keyboard[] = {0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0x05, 0x07, 0xC0};
    static const uint8_t vendor[] = {0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0x05, 0x01, 0x09, 0x06, 0xC0};
    static const uint8_t own_page[] = {0x06, 0x00, 0xFF, 0x09, 0x06, 0xA1, 0x01, 0xC0};
    static const uint8_t mouse[] = {0x05, 0x01, 0x09, 0x02, 0xA1, 0x01, 0xC0};
    static const uint8_t wide[] = {0x07, 0x01, 0x00, 0x00, 0x00, 0x0A, 0x06, 0x00, 0xA1, 0x01, 0xC0};
    static const uint8_t cut[] = {0x05, 0x01, 0x09, 0x06, 0xA1};

    (void)state;
    assert_true(vivo_is_keyboard(keyboard, sizeof keyboard));
    assert_true(vivo_is_keyboard(wide, sizeof wide));
    assert_false(vivo_is_keyboard(vendor, sizeof vendor));
    assert_false(vivo_is_keyboard(own_page, sizeof own_page));
    assert_false(vivo_is_keyboard(mouse, sizeof mouse));
    assert_false(vivo_is_keyboard(cut, sizeof cut));
    assert_false(vivo_is_keyboard(keyboard, 3));
    assert_false(vivo_is_keyboard(NULL, 0));
}

/* The two lengths of the manual's examples, both forms, and everything near them. */
static void encryption_is_told_by_its_lengths(void **state)
{
    uint8_t p[0x52] = {0x00, 0x30};

    (void)state;
    memset(p + 2, 0x5A, sizeof p - 2);
    memcpy(p + 2 + 48, "\x90\x00\x00\x0A", 4);
    memcpy(p + 2 + 48 + 2 + 12, "\x00\x10", 2);
    assert_true(vivo_is_encrypted(p, 0x52));
    assert_false(vivo_is_encrypted(p, 0x51));
    p[2 + 48 + 3] = 0x0B;
    assert_false(vivo_is_encrypted(p, 0x52));
    p[2 + 48 + 3] = 0x0A;
    memcpy(p + 2 + 48 + 2 + 12, "\x00\x00", 2);
    assert_false(vivo_is_encrypted(p, 0x52));
    assert_true(vivo_is_encrypted(p, 0x52 - 16)); /* without MAC */
    memset(p, 0x5A, sizeof p);
    memcpy(p, "\x00\x20", 2);
    memcpy(p + 2 + 32, "\x00\x0A", 2);
    memcpy(p + 2 + 32 + 12, "\x00\x10", 2);
    assert_true(vivo_is_encrypted(p, 0x40)); /* without SW */
    for (size_t n = 0; n < 0x40; n++)
        assert_false(vivo_is_encrypted(p, n));
    memcpy(p, "\xFF\xFF", 2);
    assert_false(vivo_is_encrypted(p, sizeof p));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        CASE(only_what_changes_nothing_may_be_repeated),
        CASE(the_pass_through_family_carries_its_crc_high_byte_first),
        CASE(clients_may_send_what_is_harmless),
        CASE(no_row_stands_in_the_way_of_another),
        CASE(the_log_shows_no_secrets),
        CASE(statuses_mean_what_the_manual_says),
        CASE(card_types),
        CASE(other_devices_of_the_maker_are_refused),
        CASE(a_keyboard_is_told_by_its_report_descriptor),
        CASE(encryption_is_told_by_its_lengths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
