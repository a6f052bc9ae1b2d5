/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Class FF on cards, over a family that is nothing but memory (fake_card.h). Three things are looked at in every test:
 * the answer, what the card holds afterwards, and how often something was carried out. The lost answers are the heart
 * of it: before or after execution, one call or another, and the report must fit the card.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_card.h"
#include "fake_device.h"
#include "pseudo/pseudo.h"
#include "stub_log.h"
#include "unhex.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static struct slot *slot;
static uint8_t response[2000];
static size_t received;

static enum result send(const char *text)
{
    uint8_t command[300];
    size_t n = unhex(text, command);

    return pseudo_transmit(slot, command, n, response, sizeof response, &received);
}

static void expect_at(const char *text, const char *answer, int line)
{
    uint8_t want[300];
    size_t n = unhex(answer, want);
    char got[64] = "";
    enum result r = send(text);

    if (r != R_SUCCESS)
        fail_msg("line %d: %s: %s", line, text, result_name(r));
    for (size_t i = 0; i < received && i < 20; i++)
        (void)snprintf(got + 3 * i, sizeof got - 3 * i, "%02X ", response[i]);
    if (received != n || memcmp(response, want, n) != 0)
        fail_msg("line %d: %s: %s, and not %s", line, text, got, answer);
}

#define expect(text, answer) expect_at(text, answer, __LINE__)

static void use(void)
{
    fake_reset();
    fake.storage = &fake_storage;
    stub_log_clear();
    slot = fake_slot();
}

/* A card of 1K with key 00 = FF…, authenticated in the sector of block 4, which holds 1000 as a value; 05 holds 7; 06
 * data. */
static int setup(void **state)
{
    (void)state;
    fake_mifare(64);
    use();
    unhex("E8030000 17FCFFFF E8030000 04FB04FB", card.block[4]);
    unhex("07000000 F8FFFFFF 07000000 05FA05FA", card.block[5]);
    memset(card.block[6], 0x66, 16);
    expect("FF 82 00 00 06 FFFFFFFFFFFF", "9000");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    memset(card.calls, 0, sizeof card.calls);
    memset(card.executed, 0, sizeof card.executed);
    return 0;
}

static int32_t value_of(unsigned block)
{
    const uint8_t *p = card.block[block];

    return (int32_t)(p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

static void nothing_was_sent(void)
{
    for (unsigned i = 0; i < FAKE_OPS; i++)
        assert_int_equal(card.calls[i], 0);
}

static void fault(enum fake_op op, enum result result, bool runs)
{
    card.fault = op;
    card.result = result;
    card.runs = runs;
    card.skip = 0;
}

/* ---- what is known of the card --------------------------------------------------------------------------------------
 */

static void the_card_is_described(void **state)
{
    (void)state;
    expect("FF CA 00 00 00", "04112233 9000");
    expect("FF CA 00 00 04", "04112233 9000");
    expect("FF CA 00 00 03", "6C04");
    expect("FF CA 00 00 07", "04112233 6282");
    expect("FF CA F1 00 00", "030001 9000");
    expect("FF CA 01 00 00", "6A81");
    expect("FF CA 02 00 00", "6A81");
    expect("FF CA 03 00 00", "6A81");
    card.facts.sak_known = card.facts.atqa_known = true;
    card.facts.sak = 0x18;
    card.facts.atqa[0] = 0x02;
    memcpy(card.facts.ats, "\x05\x78\x80\x70\x02", card.facts.ats_len = 5);
    expect("FF CA 01 00 00", "0578807002 9000");
    expect("FF CA 02 00 00", "18 9000");
    expect("FF CA 03 00 00", "0200 9000");
    card.facts.kind = STORAGE_APDU;
    expect("FF CA 00 00 00", "04112233 9000");
    expect("FF CA F1 00 00", "6A81");
    nothing_was_sent();
    assert_int_equal(fake.operated[OPERATE_CARD],
                     1); /* the authentication of setup: a card that was only asked stays fresh */
}

static void without_a_card_the_call_fails(void **state)
{
    (void)state;
    fake.status.powered = false;
    assert_int_equal(send("FF CA 00 00 00"), R_NO_CARD);
    assert_int_equal(send("FF B0 00 04 10"), R_NO_CARD);
    assert_int_equal(send("FF F5 2C 0A 07 31 04 04 01 00 00 00"), R_NO_CARD);
    expect("FF 82 00 07 06 A0A1A2A3A4A5", "9000"); /* the reader's own affair */
    assert_int_equal(fake.refused, 3);
    nothing_was_sent();
}

static void a_slot_for_other_cards_supports_none_of_it(void **state)
{
    (void)state;
    card.facts_result = R_NOT_SUPPORTED;
    expect("FF CA 00 00 00", "6A81");
    expect("FF B0 00 04 10", "6A81");
    card.facts_result = R_NO_CARD;
    assert_int_equal(send("FF CA 00 00 00"), R_NO_CARD);
    nothing_was_sent();
}

static void what_does_not_fit_the_card_is_refused(void **state)
{
    static const char *const commands[] = {
        "FF 86 00 00 05 01 00 04 60 00", "FF 88 00 04 60 00",          "FF B1 00 04 04",
        "FF D7 00 04 05 01 00 00 00 01", "FF D4 00 04 04 01 00 00 00", "FF F5 C2 04 04 00 00 00 00",
        "FF D7 00 04 05 00 00 00 00 01", "FF D7 00 04 02 03 05",       "FF F5 2C 0A 07 31 04 04 01 00 00 00",
    };

    (void)state;
    fake_tag(16);
    for (size_t i = 0; i < LEN(commands); i++)
        expect(commands[i], "6981");
    expect("FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00 00", "C003016981 9000");
    card.facts.kind = STORAGE_FELICA;
    expect("FF B0 00 04 10", "6981");
    expect("FF D6 00 04 04 01020304", "6981");
    nothing_was_sent();
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static void a_key_that_was_never_loaded_is_said(void **state)
{
    (void)state;
    expect("FF 86 00 00 05 01 00 04 60 05", "6988");
    expect("FF 88 00 04 61 FF", "6988");
    expect("FF 86 00 00 05 01 00 04 60 01", "6988");
    nothing_was_sent();
    assert_int_equal(send("FF B0 00 04 10"), R_SUCCESS); /* and the authentication that was there holds */
    assert_int_equal(received, 18);
}

static void each_number_holds_a_key_of_its_own(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 256; n++) {
        char text[40];

        (void)snprintf(text, sizeof text, "FF 82 %s %02X 06 %02X1122334455", n % 2 ? "20" : "00", n, n);
        expect(text, "9000");
    }
    for (unsigned n = 0; n < 256; n++) {
        char text[40];

        card.block[7][0] = (uint8_t)n;
        memcpy(card.block[7] + 1, "\x11\x22\x33\x44\x55", 5);
        (void)snprintf(text, sizeof text, "FF 88 00 04 60 %02X", n);
        expect(text, "9000");
    }
}

/* Key 01 that was never loaded is served by what was loaded as 60 for key A, 61 for key B. */
static void identivs_examples_work(void **state)
{
    (void)state;
    unhex("A0A1A2A3A4A5", card.block[7]);
    unhex("B0B1B2B3B4B5", card.block[7] + 10);
    expect("FF 82 20 60 06 A0A1A2A3A4A5", "9000");
    expect("FF 86 00 00 05 01 00 04 60 01", "9000");
    expect("FF 86 00 00 05 01 00 04 61 01", "6988");
    expect("FF 82 20 61 06 B0B1B2B3B4B5", "9000");
    expect("FF 86 00 00 05 01 00 04 61 01", "9000");
    expect("FF 86 00 00 05 01 00 04 60 02", "6988"); /* only number 01 */
    expect("FF 82 00 01 06 000000000000", "9000");
    expect("FF 86 00 00 05 01 00 04 60 01", "6300"); /* now it is a number like any other */
}

static void a_wrong_key_is_refused_and_the_next_attempt_works(void **state)
{
    (void)state;
    expect("FF 82 00 01 06 112233445566", "9000");
    expect("FF 86 00 00 05 01 00 04 60 01", "6300");
    assert_int_equal(card.calls[ON_RESELECT], 1);
    assert_int_equal(fake.lost, 0); /* the slot stays */
    expect("FF B0 00 04 10", "6982");
    assert_int_equal(card.calls[ON_READ], 0);
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    expect("FF B0 00 06 10", "66666666666666666666666666666666 9000");
}

static void a_card_that_is_another_after_a_refusal_ends_the_call(void **state)
{
    (void)state;
    expect("FF 82 00 01 06 112233445566", "9000");
    card.dies = true;
    assert_int_equal(send("FF 86 00 00 05 01 00 04 60 01"), R_NO_CARD);
}

static void an_authentication_is_good_for_its_sector_only(void **state)
{
    (void)state;
    expect("FF B0 00 08 10", "6982");
    expect("FF D6 00 08 10 00000000000000000000000000000000", "6982");
    expect("FF D7 00 08 05 01 00 00 00 01", "6982");
    nothing_was_sent();
    expect("FF 86 00 00 05 01 00 08 60 00", "9000");
    expect("FF B0 00 04 10", "6982"); /* the card has left that sector */
    expect("FF 86 00 00 05 01 00 40 60 00", "6A82");
    expect("FF 86 00 00 05 01 01 04 60 00", "6A82");
}

static void a_selection_in_between_ends_it(void **state)
{
    (void)state;
    card.facts.selection++;
    expect("FF B0 00 04 10", "6982");
    expect("FF D4 00 04 04 01000000", "6982");
    expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6982");
    nothing_was_sent();
}

static void a_lost_authentication_is_none(void **state)
{
    (void)state;
    fault(ON_AUTHENTICATE, R_TIMEOUT, true);
    assert_int_equal(send("FF 86 00 00 05 01 00 08 60 00"), R_TIMEOUT);
    expect("FF B0 00 08 10", "6982");
    expect("FF B0 00 04 10", "6982");
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static void a_sector_is_read_in_one_go_and_no_further(void **state)
{
    (void)state;
    memset(card.block[4], 0x44, 16);
    memset(card.block[5], 0x55, 16);
    expect("FF B0 00 05 00", "55555555555555555555555555555555 9000");
    expect("FF B0 00 04 20", "4444444444444444444444444444444455555555555555555555555555555555 9000");
    assert_int_equal(send("FF B0 00 04 40"), R_SUCCESS);
    assert_int_equal(received, 66);
    assert_memory_equal(response + 48, "\0\0\0\0\0\0\xFF\x07\x80\x69\xFF\xFF\xFF\xFF\xFF\xFF\x90\x00", 18);
    assert_int_equal(card.calls[ON_READ], 3);
    assert_int_equal(send("FF B0 00 05 40"), R_SUCCESS); /* three blocks are left */
    assert_int_equal(received, 50);
    assert_memory_equal(response + 48, "\x62\x82", 2);
    assert_int_equal(send("FF B0 00 04 00 01 00"), R_SUCCESS);
    assert_int_equal(received, 66);
    assert_memory_equal(response + 64, "\x62\x82", 2);
    assert_int_equal(send("FF B0 00 04 00 00 00"), R_SUCCESS); /* extended, "00": one block */
    assert_int_equal(received, 18);
}

static void odd_lengths_learn_the_block_size(void **state)
{
    (void)state;
    expect("FF B0 00 04 01", "6C10");
    expect("FF B0 00 04 0F", "6C10");
    expect("FF B0 00 04 11", "6C10");
    expect("FF B0 00 04 00 00 21", "6C10");
    expect("FF B0 00 40 10", "6A82");
    expect("FF B0 01 04 10", "6A82");
    nothing_was_sent();
}

static void large_sectors_are_read_whole(void **state)
{
    (void)state;
    fake_mifare(256);
    expect("FF 86 00 00 05 01 00 80 60 00", "9000");
    assert_int_equal(send("FF B0 00 80 00 01 00"), R_SUCCESS);
    assert_int_equal(received, 258);
    assert_memory_equal(response + 240, "\0\0\0\0\0\0\xFF\x07\x80\x69", 10);
    assert_memory_equal(response + 256, "\x90\x00", 2);
}

static void a_refused_read_is_said_and_the_card_selected_again(void **state)
{
    (void)state;
    fault(ON_READ, R_CARD, false);
    expect("FF B0 00 04 10", "6400");
    assert_int_equal(card.calls[ON_RESELECT], 1);
    expect("FF B0 00 04 10", "6982");
}

static void a_silent_card_has_lost_its_session(void **state)
{
    (void)state;
    fault(ON_READ, R_NO_CARD, false);
    assert_int_equal(send("FF B0 00 04 10"), R_NO_CARD);
    assert_int_equal(fake.lost, 1); /* though it answers again */
}

static void what_the_reader_says_is_passed_on(void **state)
{
    static const struct {
        enum result result;
        const char *sw;
    } rows[] = {{R_DENIED, "6982"}, {R_NOT_SUPPORTED, "6A81"}, {R_INVALID, "6A80"}, {R_SPACE, "6700"}};
    static const enum result ends[] = {R_TIMEOUT, R_COMM, R_GONE, R_CANCELLED};

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        fault(ON_READ, rows[i].result, false);
        expect("FF B0 00 04 10", rows[i].sw);
    }
    for (size_t i = 0; i < LEN(ends); i++) {
        fault(ON_READ, ends[i], false);
        assert_int_equal(send("FF B0 00 04 10"), ends[i]);
    }
    fault(ON_READ, R_PROTOCOL, false);
    assert_int_equal(send("FF B0 00 04 10"), R_NO_CARD);
}

/* Access bits of block 4 (group 0) as given, by a trailer that is read when key 00 is accepted again. */
static void set_access(const char *access)
{
    unhex(access, card.block[7] + 6);
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    memset(card.calls, 0, sizeof card.calls);
}

static void access_bits_forbid_before_the_card_does(void **state)
{
    (void)state;
    set_access("FF0780"); /* 000: everything */
    expect("FF D4 00 04 04 01000000", "9000");
    set_access("EF0781"); /* 010: read only */
    expect("FF B1 00 04 04", "000003E9 9000");
    memset(card.calls, 0, sizeof card.calls);
    expect("FF D4 00 04 04 01000000", "6986");
    expect("FF D8 00 04 04 01000000", "6986");
    expect("FF D6 00 04 10 00000000000000000000000000000000", "6986");
    nothing_was_sent();
    set_access("FE1780"); /* 100: write by B */
    expect("FF D6 00 04 10 00000000000000000000000000000000", "6982");
    expect("FF D4 00 04 04 01000000", "6986");
    nothing_was_sent();
    set_access("FF0690"); /* 001 on group 0: read and decrement, never increment; C3 = 1 */
    expect("FF D4 00 04 04 01000000", "6986");
    nothing_was_sent();
    expect("FF D8 00 04 04 01000000", "9000");
    assert_int_equal(value_of(4), 1000);
    set_access("EE1781"); /* 110: increment by B only */
    expect("FF D4 00 04 04 01000000", "6982");
    expect("FF D8 00 04 04 01000000", "9000");
    set_access("DF0782"); /* block 5 is read only: no result can go there */
    expect("FF F5 C1 04 05 01000000 05", "6986");
    expect("FF D7 00 04 02 03 05", "6986");
    assert_int_equal(card.calls[ON_VALUE], 0);
    set_access("DD2782"); /* block 5 110: the copy on it could not be incremented with key A */
    expect("FF F5 C1 04 05 01000000 05", "6982");
    assert_int_equal(card.calls[ON_VALUE], 0);
    expect("FF F5 C0 04 05 01000000 05", "9000");
    set_access("FF0780");
    expect("FF D6 00 05 10 07000000F8FFFFFF0700000005FA05FA", "9000");
    set_access("EE1691"); /* 111: nothing ever */
    memset(card.calls, 0, sizeof card.calls);
    expect("FF B0 00 04 10", "6986");
    expect("FF B0 00 04 40", "6986");
    expect("FF B1 00 04 04", "6986");
    nothing_was_sent();
    expect("FF B0 00 05 10", "07000000F8FFFFFF0700000005FA05FA 9000");
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

#define SIXTEEN "000102030405060708090A0B0C0D0E0F"

static void blocks_are_written(void **state)
{
    (void)state;
    expect("FF D6 00 06 10 " SIXTEEN, "9000");
    assert_int_equal(card.block[6][15], 15);
    expect("FF D6 00 04 30 " SIXTEEN SIXTEEN SIXTEEN, "9000");
    assert_int_equal(card.executed[ON_WRITE], 2);
    assert_memory_equal(card.block[4], card.block[6], 16);
}

static void what_must_not_be_written_is_not(void **state)
{
    (void)state;
    expect("FF D6 00 04 0F 000102030405060708090A0B0C0D0E", "6700");
    expect("FF D6 00 04 11 " SIXTEEN "00", "6700");
    expect("FF D6 00 05 30 " SIXTEEN SIXTEEN SIXTEEN, "6986"); /* the last one is the trailer */
    expect("FF D6 00 07 20 " SIXTEEN SIXTEEN, "6986");
    expect("FF D6 00 06 20 " SIXTEEN "FFFFFFFFFFFFFF078069FFFFFFFFFFFF", "6986");
    expect("FF D6 00 40 10 " SIXTEEN, "6A82");
    expect("FF D6 00 07 10 FFFFFFFFFFFFFF078169FFFFFFFFFFFF", "6A80"); /* a contradiction */
    expect("FF D6 00 07 10 FFFFFFFFFFFF000000FFFFFFFFFFFFFF", "6A80");
    expect("FF D6 00 0B 10 FFFFFFFFFFFFFF078069FFFFFFFFFFFF", "6982");
    nothing_was_sent();
}

static void a_trailer_brings_new_keys(void **state)
{
    (void)state;
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 B0B1B2B3B4B5", "9000");
    expect("FF B0 00 06 10", "66666666666666666666666666666666 9000"); /* the client goes on */
    expect("FF 86 00 00 05 01 00 04 60 00", "6300");
    expect("FF 82 00 02 06 B0B1B2B3B4B5", "9000");
    expect("FF 86 00 00 05 01 00 04 61 02", "9000");
}

static void a_lost_write_is_read_back(void **state)
{
    (void)state;
    fault(ON_WRITE, R_TIMEOUT, true);
    expect("FF D6 00 06 10 " SIXTEEN, "9000");
    fault(ON_WRITE, R_COMM, false);
    expect("FF D6 00 06 10 FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "6581");
    assert_int_equal(card.calls[ON_WRITE], 2);
    assert_int_equal(card.block[6][15], 15);
    assert_true(stub_log_matches("not confirmed") > 0);
    fault(ON_WRITE, R_TIMEOUT, true);
    card.partly = 2;
    expect("FF D6 00 04 30 " SIXTEEN SIXTEEN "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "0006 6581");
    assert_int_equal(card.calls[ON_WRITE], 3);
    expect("FF B0 00 04 10", SIXTEEN "9000"); /* still authenticated */
}

static void a_write_that_stopped_says_where(void **state)
{
    (void)state;
    fault(ON_WRITE, R_CARD, true);
    card.partly = 1;
    expect("FF D6 00 04 30 " SIXTEEN SIXTEEN SIXTEEN, "0005 6400");
    expect("FF B0 00 04 10", "6982");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    fault(ON_WRITE, R_CARD, false);
    expect("FF D6 00 05 20 " SIXTEEN SIXTEEN, "6400");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    fault(ON_WRITE, R_CARD, false);
    memset(card.calls, 0, sizeof card.calls);
    expect("FF D6 00 06 10 " SIXTEEN, "6400");
    assert_int_equal(card.calls[ON_WRITE], 1);
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    fault(ON_WRITE, R_CARD, true); /* it wrote, and only its acknowledgement was spoilt */
    expect("FF D6 00 06 10 " SIXTEEN, "9000");
    assert_int_equal(card.calls[ON_WRITE], 2);
}

static void a_lost_trailer_is_proven_by_its_key(void **state)
{
    (void)state;
    fault(ON_WRITE, R_TIMEOUT, true);
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 B0B1B2B3B4B5", "9000");
    fault(ON_WRITE, R_TIMEOUT, false);
    expect("FF D6 00 07 10 C0C1C2C3C4C5 FF078069 B0B1B2B3B4B5", "6581");
    expect("FF B0 00 06 10", "6982");
    expect("FF 82 00 03 06 A0A1A2A3A4A5", "9000");
    expect("FF 86 00 00 05 01 00 04 60 03", "9000");
    fault(ON_WRITE, R_COMM, true); /* only key B differs, which nobody can see */
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 D0D1D2D3D4D5", "6581");
    assert_int_equal(card.calls[ON_WRITE], 3);
}

static void a_refused_trailer_is_looked_at(void **state)
{
    (void)state;
    fault(ON_WRITE, R_CARD, false);
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 B0B1B2B3B4B5", "6400");
    expect("FF B0 00 06 10", "6982");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    fault(ON_WRITE, R_CARD, true); /* only the acknowledgement was spoilt */
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 B0B1B2B3B4B5", "9000");
    expect("FF 82 00 03 06 A0A1A2A3A4A5", "9000");
    expect("FF 86 00 00 05 01 00 04 60 03", "9000");
    fault(ON_WRITE, R_CARD, false); /* only key B differs, which nobody can see */
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 D0D1D2D3D4D5", "6581");
    expect("FF 86 00 00 05 01 00 04 60 03", "9000");
    fault(ON_WRITE, R_CARD, true); /* the access bytes differ */
    expect("FF D6 00 07 10 A0A1A2A3A4A5 EF078169 D0D1D2D3D4D5", "9000");
    assert_int_equal(card.calls[ON_WRITE], 4);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *answer;
    enum storage_value_op op;
    unsigned block, target;
    int32_t four, five;
} value_forms[] = {
    {"FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00", "C003009000 9000", VALUE_INCREMENT, 4, 4, 1001, 7},
    {"FF C2 00 03 0B A1 09 80 01 04 81 04 01 00 00 00 00", "C003009000 9000", VALUE_DECREMENT, 4, 4, 999, 7},
    {"FF D7 00 04 05 01 00 00 00 01", "9000", VALUE_INCREMENT, 4, 4, 1001, 7},
    {"FF D7 00 04 05 02 00 00 00 01", "9000", VALUE_DECREMENT, 4, 4, 999, 7},
    {"FF D4 00 04 04 01 00 00 00", "9000", VALUE_INCREMENT, 4, 4, 1001, 7},
    {"FF D8 00 04 04 01 00 00 00", "9000", VALUE_DECREMENT, 4, 4, 999, 7},
    {"FF F5 C1 04 04 01 00 00 00", "9000", VALUE_INCREMENT, 4, 4, 1001, 7},
    {"FF F5 C0 04 04 01 00 00 00", "9000", VALUE_DECREMENT, 4, 4, 999, 7},
    {"FF F5 C1 04 05 01 00 00 00 05", "9000", VALUE_INCREMENT, 4, 5, 1000, 1001},
    {"FF F5 C0 04 05 01 00 00 00 05", "9000", VALUE_DECREMENT, 4, 5, 1000, 999},
    {"FF D7 00 04 02 03 05", "9000", VALUE_COPY, 4, 5, 1000, 1000},
    {"FF F5 C2 04 05 00 00 00 00 05", "9000", VALUE_COPY, 4, 5, 1000, 1000},
    {"FF F5 C2 04 04 00 00 00 00", "9000", VALUE_COPY, 4, 4, 1000, 7},
};

static void each_dialect_changes_the_value_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(value_forms); i++) {
        setup(NULL);
        expect(value_forms[i].text, value_forms[i].answer);
        assert_int_equal(card.executed[ON_VALUE], 1);
        assert_int_equal(card.value.op, value_forms[i].op);
        assert_int_equal(card.value.block, value_forms[i].block);
        assert_int_equal(card.value.target, value_forms[i].target);
        assert_int_equal(value_of(4), value_forms[i].four);
        assert_int_equal(value_of(5), value_forms[i].five);
    }
}

/* The heart: every dialect, the answer lost or broken, before and after execution. */
static void a_lost_answer_is_settled_by_the_card(void **state)
{
    static const enum result losses[] = {R_TIMEOUT, R_COMM, R_CARD};

    (void)state;
    for (size_t i = 0; i < 6 * LEN(value_forms); i++) {
        size_t form = i / 6;
        enum result loss = losses[i % 6 / 2];
        bool runs = i % 2, objects = value_forms[form].answer[0] == 'C', itself = form == LEN(value_forms) - 1;
        char want[40];

        setup(NULL);
        fault(ON_VALUE, loss, runs);
        (void)snprintf(want, sizeof want, "%s%s%s", objects ? (runs ? "C00300" : "C00301") : "",
                       runs || itself   ? "9000"
                       : loss == R_CARD ? "6400"
                                        : "6581",
                       objects ? "9000" : "");
        expect(value_forms[form].text, want);
        assert_int_equal(card.calls[ON_VALUE], 1);
        assert_int_equal(value_of(4), runs ? value_forms[form].four : 1000);
        assert_int_equal(value_of(5), runs ? value_forms[form].five : 7);
        expect("FF B0 00 06 10", loss == R_CARD ? "6982" : "66666666666666666666666666666666 9000");
        assert_int_equal(fake.lost, 0);
    }
}

static void a_card_that_fell_silent_is_asked_and_then_let_go(void **state)
{
    (void)state;
    for (int runs = 0; runs < 2; runs++) {
        setup(NULL);
        fault(ON_VALUE, R_NO_CARD, runs);
        expect("FF D8 00 04 04 01 00 00 00", runs ? "9000" : "6581");
        assert_int_equal(value_of(4), runs ? 999 : 1000);
        assert_int_equal(card.calls[ON_VALUE], 1);
        assert_int_equal(fake.lost, 1);
        assert_int_equal(send("FF B0 00 04 10"), R_NO_CARD);
    }
}

static void what_cannot_be_found_out_is_said_to_be_unknown(void **state)
{
    static const enum result losses[] = {R_TIMEOUT, R_COMM, R_CARD, R_NO_CARD};

    (void)state;
    for (size_t i = 0; i < LEN(losses); i++) {
        setup(NULL);
        fault(ON_VALUE, losses[i], true);
        card.dies = true; /* nobody answers any more */
        expect("FF D8 00 04 04 01 00 00 00", "6581");
        assert_int_equal(card.calls[ON_VALUE], 1);
        assert_true(stub_log_matches("decrement of block 4: outcome unknown") > 0);
    }
    setup(NULL);
    fault(ON_VALUE, R_PROTOCOL, true);
    expect("FF D8 00 04 04 01 00 00 00", "6581");
    assert_true(stub_log_matches("outcome unknown") > 0);
    setup(NULL);
    fault(ON_VALUE, R_GONE, true);
    assert_int_equal(send("FF D8 00 04 04 01 00 00 00"), R_GONE);
    assert_true(stub_log_matches("outcome unknown") > 0);
}

/* Neither old nor new: someone else's doing, or half of ours. */
static void a_third_value_is_unknown(void **state)
{
    (void)state;
    fault(ON_VALUE, R_TIMEOUT, false);
    card.spoils = 5;
    expect("FF F5 C1 04 05 01 00 00 00 05", "6581");
    assert_int_equal(card.calls[ON_VALUE], 1);
    assert_true(stub_log_matches("increment of block 4: outcome unknown") > 0);
}

/* What the reader says of a command is one thing, what the card holds is another. */
static void a_reader_that_calls_the_command_wrong_is_not_believed(void **state)
{
    static const struct {
        enum result result;
        const char *sw;
    } rows[] = {{R_NOT_SUPPORTED, "6A81"}, {R_INVALID, "6A80"}, {R_DENIED, "6982"}, {R_SPACE, "6700"}};
    static const struct {
        enum fake_op op;
        const char *text;
        int32_t after;
    } forms[] = {{ON_VALUE, "FF D8 00 04 04 01 00 00 00", 999}, {ON_WRITE, "FF D7 00 04 05 00 00 00 00 07", 7}};

    (void)state;
    for (size_t i = 0; i < LEN(rows) * LEN(forms); i++) {
        size_t f = i / LEN(rows), row = i % LEN(rows);

        setup(NULL);
        fault(forms[f].op, rows[row].result, false);
        expect(forms[f].text, rows[row].sw); /* unchanged */
        assert_int_equal(value_of(4), 1000);
        fault(forms[f].op, rows[row].result, true);
        expect(forms[f].text, "9000"); /* done */
        assert_int_equal(value_of(4), forms[f].after);
        assert_int_equal(card.calls[ON_RESELECT], 0);
        expect("FF B0 00 06 10", "66666666666666666666666666666666 9000"); /* the card has its session */
        assert_int_equal(card.calls[forms[f].op], 2);
        fault(forms[f].op, rows[row].result, true);
        card.dies = true;
        expect(forms[f].text, "6581");
        assert_true(stub_log_matches("of block 4: outcome unknown") > 0);
    }
}

static void a_value_command_is_refused_before_anything_changes(void **state)
{
    static const struct {
        const char *text, *sw;
    } rows[] = {
        {"FF D7 00 04 05 01 80 00 00 00", "6A80"}, /* bit 31 */
        {"FF D7 00 04 05 02 FF FF FF FF", "6A80"},
        {"FF D4 00 04 04 00 00 00 80", "6A80"},
        {"FF F5 C1 04 04 FF FF FF FF", "6A80"},
        {"FF D7 00 07 05 01 00 00 00 01", "6986"}, /* a trailer */
        {"FF D7 00 00 05 01 00 00 00 01", "6986"}, /* the manufacturer's block */
        {"FF D7 00 04 02 03 08", "6986"},          /* another sector */
        {"FF D7 00 04 02 03 07", "6986"},
        {"FF D7 00 04 02 03 40", "6A82"},
        {"FF D7 00 40 05 01 00 00 00 01", "6A82"},
        {"FF D4 01 04 04 01 00 00 00", "6A82"},
        {"FF D7 00 08 05 01 00 00 00 01", "6982"}, /* not authenticated */
        {"FF D7 00 06 05 01 00 00 00 01", "6986"}, /* no value block */
        {"FF D7 00 06 05 02 00 00 00 00", "6986"},
        {"FF D7 00 06 02 03 05", "6986"},
        {"FF F5 C2 06 04 00 00 00 00", "6986"},
        {"FF B1 00 06 04", "6986"},
        {"FF B1 00 07 04", "6986"},
        {"FF B1 00 08 04", "6982"},
        {"FF D7 00 07 05 00 00 00 00 01", "6986"},
        {"FF D7 00 08 05 00 00 00 00 01", "6982"},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        expect(rows[i].text, rows[i].sw);
        assert_int_equal(card.calls[ON_VALUE] + card.calls[ON_WRITE] + card.calls[ON_RESELECT], 0);
    }
    expect("FF C2 00 03 0B A0 09 80 01 06 81 04 01 00 00 00 00", "C003016986 9000");
    expect("FF C2 00 03 0B A0 09 80 01 04 81 04 00 00 00 80 00", "C003016A80 9000");
    assert_int_equal(value_of(4), 1000);
}

static void values_are_signed_and_end_at_the_range(void **state)
{
    (void)state;
    expect("FF D7 00 04 05 00 00 00 00 01", "9000");
    expect("FF D7 00 04 05 02 00 00 00 03", "9000"); /* below zero */
    expect("FF B1 00 04 00", "FFFFFFFE 9000");
    expect("FF D7 00 04 05 02 7F FF FF FE", "9000");
    expect("FF B1 00 04 04", "80000000 9000");
    expect("FF D7 00 04 05 02 00 00 00 01", "6985");
    expect("FF D7 00 04 05 00 7F FF FF FF", "9000");
    expect("FF D7 00 04 05 01 00 00 00 00", "9000");
    expect("FF D7 00 04 05 01 00 00 00 01", "6985");
    expect("FF F5 C1 04 05 01 00 00 00 05", "6985");
    assert_int_equal(card.executed[ON_VALUE], 3);
    assert_int_equal(value_of(4), INT32_MAX);
    assert_int_equal(value_of(5), 7);
}

static void a_stored_value_has_the_layout_of_one(void **state)
{
    uint8_t want[16];

    (void)state;
    expect("FF D7 00 06 05 00 FF FF FF FE", "9000");
    unhex("FEFFFFFF 01000000 FEFFFFFF 06F906F9", want);
    assert_memory_equal(card.block[6], want, 16);
    fault(ON_WRITE, R_TIMEOUT, true);
    expect("FF D7 00 06 05 00 00 00 00 05", "9000");
    fault(ON_WRITE, R_TIMEOUT, false);
    expect("FF D7 00 06 05 00 00 00 00 06", "6581");
    assert_int_equal(card.calls[ON_WRITE], 3);
    assert_int_equal(stub_log_matches("outcome unknown"), 0);
}

/* As with the other value commands: the card is asked, and the answer is what it holds. */
static void a_store_that_was_not_answered_well_is_settled_by_the_card(void **state)
{
    static const struct {
        enum result result;
        bool runs;
        const char *sw;
        const char *next; /* what a read is answered afterwards; NULL: the session is over */
    } rows[] = {
        {R_CARD, true, "9000", "6982"},     {R_CARD, false, "6400", "6982"},
        {R_NO_CARD, true, "9000", NULL},    {R_NO_CARD, false, "6581", NULL},
        {R_COMM, true, "9000", "000000009000"}, {R_COMM, false, "6581", "000003E89000"},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        setup(NULL);
        fault(ON_WRITE, rows[i].result, rows[i].runs);
        expect("FF D7 00 04 05 00 00 00 00 00", rows[i].sw);
        assert_int_equal(value_of(4), rows[i].runs ? 0 : 1000);
        assert_int_equal(card.calls[ON_WRITE], 1);
        assert_int_equal(stub_log_matches("outcome unknown"), 0);
        assert_int_equal(fake.lost, !rows[i].next);
        if (rows[i].next)
            expect("FF B1 00 04 04", rows[i].next);
    }
}

static void a_store_that_cannot_be_settled_is_said_to_be_unknown(void **state)
{
    static const enum result losses[] = {R_TIMEOUT, R_COMM, R_CARD, R_NO_CARD, R_INVALID, R_PROTOCOL};

    (void)state;
    for (size_t i = 0; i < LEN(losses); i++) {
        setup(NULL);
        fault(ON_WRITE, losses[i], true);
        card.dies = true;
        expect("FF D7 00 04 05 00 00 00 00 07", "6581");
        assert_int_equal(card.calls[ON_WRITE], 1);
        assert_true(stub_log_matches("store of block 4: outcome unknown") > 0);
    }
    setup(NULL);
    fault(ON_READ, R_TIMEOUT, false);
    assert_int_equal(send("FF D7 00 04 05 00 00 00 00 07"), R_TIMEOUT); /* what it held could not be read */
    assert_int_equal(card.calls[ON_WRITE], 0);
}

/* ---- the purse command ------------------------------------------------------------------------------------------ */

static void a_batch_goes_down_as_it_is(void **state)
{
    (void)state;
    expect("FF F5 2C 0A 0A 32 04 04 01 00 00 00 06 01 04", "9000");
    assert_int_equal(card.sent_len, 10);
    assert_memory_equal(card.sent, "\x32\x04\x04\x01\x00\x00\x00\x06\x01\x04", 10);
    assert_int_equal(card.calls[ON_READ] + card.calls[ON_AUTHENTICATE],
                     0); /* the reader's default key is still the client's */
    expect("FF B0 00 06 10", "66666666666666666666666666666666 9000");
}

static void a_batch_that_fails_says_at_which_block(void **state)
{
    (void)state;
    fault(ON_PURSE, R_CARD, false);
    unhex("04FC", card.error);
    card.error_len = 2;
    expect("FF F5 2C 0A 0A 32 04 04 01 00 00 00 06 01 04", "04FC 6400");
    assert_int_equal(card.calls[ON_RESELECT], 1);
    expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6982");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    fault(ON_PURSE, R_CARD, false);
    card.error_len = 0;
    expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6581"); /* no block is named: nobody knows how far it came */
    assert_true(stub_log_matches("purse command: outcome unknown") > 0);
    assert_int_equal(card.calls[ON_PURSE], 2);
    assert_int_equal(card.calls[ON_RESELECT], 2);
    assert_int_equal(fake.lost, 0);
}

/* Whatever the status was, and though it was that of a card that fell silent. */
static void a_block_that_is_named_is_passed_on(void **state)
{
    static const enum result failures[] = {R_NO_CARD, R_INVALID, R_DENIED, R_COMM, R_NOT_SUPPORTED, R_PROTOCOL};

    (void)state;
    for (size_t i = 0; i < LEN(failures); i++) {
        setup(NULL);
        fault(ON_PURSE, failures[i], true);
        unhex("06E5", card.error);
        card.error_len = 2;
        expect("FF F5 2C 0A 0A 32 04 04 01 00 00 00 06 01 04", "06E5 6400");
        assert_int_equal(card.calls[ON_PURSE], 1);
        assert_int_equal(stub_log_matches("outcome unknown"), 0);
        assert_int_equal(fake.lost, failures[i] == R_NO_CARD);
        if (failures[i] != R_NO_CARD)
            expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6982"); /* where the card is now, nobody knows */
    }
}

static void a_batch_that_was_called_wrong_may_have_begun(void **state)
{
    static const struct {
        enum result result;
        const char *sw;
        bool known;
    } rows[] = {
        {R_INVALID, "6581", false}, {R_DENIED, "6581", false}, {R_NOT_SUPPORTED, "6A81", true}, {R_SPACE, "6700", true},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        setup(NULL);
        fault(ON_PURSE, rows[i].result, !rows[i].known);
        expect("FF F5 2C 0A 0A 32 04 04 01 00 00 00 06 01 04", rows[i].sw);
        assert_int_equal(card.calls[ON_PURSE], 1);
        assert_int_equal(stub_log_matches("purse command: outcome unknown"), !rows[i].known);
    }
}

static enum result send_with_room(const char *text, size_t room)
{
    uint8_t command[300];
    size_t n = unhex(text, command);

    return pseudo_transmit(slot, command, n, response, room, &received);
}

/* A client with a small buffer must not be told "error" of what was done, nor "done" of what was not. */
static void a_small_buffer_is_found_out_before_money_moves(void **state)
{
    (void)state;
    for (size_t room = 0; room < 7; room++)
        assert_int_equal(send_with_room("FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00", room), R_SPACE);
    assert_int_equal(card.calls[ON_VALUE], 0);
    assert_int_equal(value_of(4), 1000);
    assert_int_equal(send_with_room("FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00", 7), R_SUCCESS);
    assert_int_equal(value_of(4), 1001);
    assert_int_equal(send_with_room("FF D7 00 04 05 02 00 00 00 01", 2), R_SUCCESS);
    assert_int_equal(value_of(4), 1000);
    for (size_t room = 2; room <= 4; room++) {
        setup(NULL);
        fault(ON_PURSE, R_CARD, true);
        unhex("04FC", card.error);
        card.error_len = 2;
        assert_int_equal(send_with_room("FF F5 2C 0A 07 31 04 04 01 00 00 00", room), R_SUCCESS);
        assert_int_equal(received, room < 4 ? 2 : 4);
        assert_memory_equal(response + received - 2, "\x64\x00", 2);
    }
    setup(NULL);
    assert_int_equal(send_with_room("FF B0 00 06 10", 17), R_SPACE);
}

static void a_lost_batch_is_not_confirmed(void **state)
{
    static const enum result losses[] = {R_TIMEOUT, R_COMM, R_PROTOCOL, R_NO_CARD};

    (void)state;
    for (size_t i = 0; i < LEN(losses); i++) {
        setup(NULL);
        fault(ON_PURSE, losses[i], true);
        expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6581");
        assert_int_equal(card.calls[ON_PURSE], 1);
        assert_int_equal(card.calls[ON_READ], 0);
        assert_true(stub_log_matches("purse command: outcome unknown") > 0);
        assert_int_equal(fake.lost, losses[i] == R_NO_CARD);
    }
}

static void a_default_key_must_be_there(void **state)
{
    (void)state;
    setup(NULL);
    card.facts.selection++;
    expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6982");
    assert_int_equal(card.calls[ON_PURSE], 0);
    expect("FF F5 2C 0A 0E 31 04 0B 01 00 00 00 01 FFFFFFFFFFFF", "9000"); /* brings its own */
    expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "9000");                 /* which is the default now */
    expect("FF B0 00 04 10", "6982"); /* but the client has authenticated nothing */
    fault(ON_PURSE, R_CARD, false);
    expect("FF F5 2C 0A 0E 31 04 0B 01 00 00 00 01 EEEEEEEEEEEE", "6581");
    expect("FF F5 2C 0A 07 31 04 04 01 00 00 00", "6982");
}

static void a_batch_is_checked_first(void **state)
{
    (void)state;
    expect("FF F5 2C 0A 06 31 04 04 01 00 00", "6A80");
    expect("FF F5 2C 0A 07 31 07 04 01 00 00 00", "6986");
    expect("FF F5 2C 0A 07 31 40 04 01 00 00 00", "6A82");
    expect("FF F5 2C 0A 07 41 04 04 01 00 00 00", "6981");
    nothing_was_sent();
}

/* ---- tags of type 2 --------------------------------------------------------------------------------------------- */

static void pages_are_read_by_four(void **state)
{
    (void)state;
    fake_tag(45);
    expect("FF B0 00 04 00", "04040404050505050606060607070707 9000");
    expect("FF B0 00 04 10", "04040404050505050606060607070707 9000");
    expect("FF B0 00 04 04", "04040404 9000");
    expect("FF B0 00 04 08", "0404040405050505 9000");
    expect("FF B0 00 04 0C", "040404040505050506060606 9000");
    expect("FF B0 00 04 05", "6C04");
    expect("FF B0 00 04 14", "6C10");
    assert_int_equal(card.calls[ON_READ], 5);
}

static void reading_ends_with_the_tag(void **state)
{
    (void)state;
    fake_tag(16);
    expect("FF B0 00 0E 10", "0E0E0E0E0F0F0F0F 6282");
    assert_int_equal(card.calls[ON_RESELECT], 1); /* page 16 was asked for, to be sure */
    expect("FF B0 00 0F 10", "0F0F0F0F 6282");
    expect("FF B0 00 0E 08", "0E0E0E0E0F0F0F0F 9000");
    expect("FF B0 00 10 10", "6A82");
    expect("FF B0 01 00 10", "6A82");
    expect("FF D6 00 10 04 01020304", "6A82");
    assert_int_equal(card.calls[ON_RESELECT], 1); /* once is enough */
    assert_int_equal(fake.lost, 0);
}

static void a_page_behind_the_end_is_no_page(void **state)
{
    (void)state;
    fake_tag(45);
    expect("FF B0 00 2D 10", "6A82");
    expect("FF B0 00 2C 10", "2C2C2C2C 6282");
    fake_tag(30); /* of a size that nobody has heard of */
    use();
    expect("FF B0 00 20 10", "6400");
}

/* A page that holds what page 0 holds is data as any other. */
static void a_copy_of_page_0_is_not_the_end(void **state)
{
    (void)state;
    fake_tag(45);
    memcpy(card.page[10], card.page[0], 4);
    expect("FF B0 00 08 10", "0808080809090909041122BF0B0B0B0B 9000");
    expect("FF B0 00 28 10", "28282828292929292A2A2A2A2B2B2B2B 9000");
    assert_int_equal(card.calls[ON_RESELECT], 0);
}

static void pages_are_written_one_by_one(void **state)
{
    (void)state;
    fake_tag(16);
    expect("FF D6 00 05 04 01020304", "9000");
    assert_memory_equal(card.page[5], "\1\2\3\4", 4);
    expect("FF D6 00 06 10 05060708 000000000000000000000000", "9000");
    assert_memory_equal(card.page[6], "\5\6\7\x8", 4);
    assert_memory_equal(card.page[7], "\7\7\7\7", 4);
    expect("FF D6 00 05 08 0102030405060708", "6700");
    expect("FF D6 00 05 03 010203", "6700");
    fault(ON_WRITE, R_TIMEOUT, true);
    expect("FF D6 00 08 04 AABBCCDD", "9000");
    fault(ON_WRITE, R_TIMEOUT, false);
    expect("FF D6 00 09 04 AABBCCDD", "6581");
    fault(ON_WRITE, R_CARD, false);
    expect("FF D6 00 09 04 AABBCCDD", "6400");
    assert_int_equal(card.calls[ON_WRITE], 5);
}

/* ---- the transparent session ------------------------------------------------------------------------------------ */

static void the_recorded_session_is_reproduced(void **state)
{
    (void)state;
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 02 04 8F 02 02 03", "C003009000 8F0100 9000");
    assert_int_equal(card.protocol, STORAGE_ISO15693);
    assert_int_equal(card.layer, 3);
    card.answer_len = unhex("000F2E985C8A000104E000001B0301", card.answer);
    expect("FF C2 00 01 04 95 02 02 2B 00", "C003009000 920100 96020000 970F000F2E985C8A000104E000001B0301 9000");
    assert_memory_equal(card.sent, "\x02\x2B", 2);
    assert_int_equal(card.x.protocol, STORAGE_ISO15693);
    assert_true(card.x.tx_crc && card.x.rx_crc && card.x.answer);
    card.answer_len = 1;
    expect("FF C2 00 01 10 5F 46 04 40 42 0F 00 95 07 02 21 00 00 01 02 03 00",
           "C003009000 920100 96020000 970100 9000");
    assert_int_equal(card.x.timeout_us, 1000000);
    expect("FF C2 00 00 02 82 00 00", "C003009000 9000");
}

static void a_session_has_an_order(void **state)
{
    (void)state;
    expect("FF C2 00 01 04 95 02 30 04 00", "C003016985 9000");
    expect("FF C2 00 02 04 8F 02 00 03 00", "C003016985 9000");
    expect("FF C2 00 00 02 83 00 00", "C003016985 9000");
    expect("FF C2 00 00 02 82 00 00", "C003016985 9000");
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 00 02 81 00 00", "C003016985 9000");
    expect("FF C2 00 00 02 80 00 00", "C003009000 8003010000 9000");
    expect("FF C2 00 02 04 8F 02 04 03 00", "C003016A80 9000");
    expect("FF C2 00 02 04 8F 02 00 01 00", "C003016A80 9000");
    nothing_was_sent();
}

static void the_failing_object_is_named(void **state)
{
    (void)state;
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 01 0A 92 01 00 90 02 00 00 91 01 08 00", "C003036A80 9000");
    expect("FF C2 00 01 07 95 02 30 04 94 00 00 00", "6A80");
    fault(ON_EXCHANGE, R_NO_CARD, false);
    expect("FF C2 00 01 08 90 02 00 00 95 02 30 04 00", "C003026401 9000");
    fault(ON_EXCHANGE, R_CARD, false);
    card.rf_errors = RF_CRC;
    expect("FF C2 00 01 04 95 02 30 04 00", "C003016400 920100 96020100 9700 9000");
    expect("FF C2 00 01 08 95 02 30 04 95 02 30 08 00", "C003009000 920100 96020100 9700 9000");
    assert_int_equal(fake.lost, 0); /* that the card did not like it is the client's affair */
}

static void flags_and_bits_reach_the_reader(void **state)
{
    (void)state;
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    card.answer_len = unhex("0400", card.answer);
    card.rx_bits = 4;
    expect("FF C2 00 01 0A 90 02 00 03 91 01 07 95 01 52 00", "C003009000 920104 96020000 97020400 9000");
    assert_int_equal(card.x.tx_bits, 7);
    assert_false(card.x.tx_crc || card.x.rx_crc);
    assert_true(card.x.tx_parity && card.x.rx_parity);
    expect("FF C2 00 01 08 90 02 0C 00 93 02 50 00 00", "C003009000 9000");
    assert_false(card.x.answer || card.x.tx_parity || card.x.rx_parity);
    assert_true(card.x.tx_crc);
    expect("FF B0 00 04 10", "6982"); /* a raw frame may have been anything */
}

/* The reader listens only behind a frame: both are one exchange, and what stands between them is about the answer. */
static void a_frame_that_is_received_goes_out_once(void **state)
{
    (void)state;
    expect("FF C2 00 01 06 93 02 30 04 94 00 00", "C003016985 9000");
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    card.answer_len = unhex("0400", card.answer);
    expect("FF C2 00 01 06 93 02 30 04 94 00 00", "C003009000 920100 96020000 97020400 9000");
    assert_memory_equal(card.sent, "\x30\x04", 2);
    assert_true(card.x.answer);
    assert_int_equal(card.calls[ON_EXCHANGE], 1);
    expect("FF C2 00 01 16 91 01 07 93 01 52 91 01 00 90 02 03 00 5F 46 04 10 27 00 00 94 00 00",
           "C003009000 920100 96020000 97020400 9000");
    assert_int_equal(card.x.tx_bits, 7);
    assert_true(card.x.tx_crc && !card.x.rx_crc);
    assert_int_equal(card.x.timeout_us, 10000);
    assert_int_equal(card.calls[ON_EXCHANGE], 2);
    expect("FF C2 00 01 0A 93 02 50 00 93 02 30 04 94 00 00", "C003009000 920100 96020000 97020400 9000");
    assert_int_equal(card.calls[ON_EXCHANGE], 4); /* the first is not waited for */
    fault(ON_EXCHANGE, R_NO_CARD, false);
    expect("FF C2 00 01 06 93 02 30 04 94 00 00", "C003026401 9000");
}

static void nothing_is_received_without_a_frame(void **state)
{
    (void)state;
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 01 02 94 00 00", "C003016A81 9000");
    expect("FF C2 00 01 0B 93 02 50 00 92 01 00 95 02 30 04 00", "C003009000 920100 96020000 9700 9000");
    assert_int_equal(card.calls[ON_EXCHANGE], 2);
    expect("FF C2 00 01 08 95 02 30 04 94 00 91 00 00", "C003026A81 920100 96020000 9700 9000");
    assert_int_equal(card.calls[ON_EXCHANGE], 3);
    expect("FF C2 00 01 09 93 02 50 00 91 01 08 94 00 00", "C003026A80 9000"); /* it went out before that was found */
    assert_int_equal(card.calls[ON_EXCHANGE], 4);
    assert_false(card.x.answer);
}

static void parameters_are_told_and_the_waiting_time_is_the_clients(void **state)
{
    (void)state;
    card.parameters = (struct storage_parameters){.reader_frame = 300, .card_frame = 64, .waiting_time = 513,
                                                  .cid_known = true, .cid = 3};
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 00 05 FF 6D 02 01 00 00", "C003009000 FF6D03 010108 9000");
    expect("FF C2 00 01 0B FF 6D 08 01 00 02 00 03 00 08 00 00", "C003009000 FF6D0C 010108 020105 030105 080103 9000");
    expect("FF C2 00 00 05 FF 6D 02 04 00 00", "C003016A81 9000"); /* speeds: nobody tells */
    expect("FF C2 00 00 06 FF 6D 03 03 01 05 00", "C003016700 9000");
    expect("FF C2 00 00 04 FF 6D 01 03 00", "C003016A80 9000");
    expect("FF C2 00 01 04 95 02 30 04 00", "C003009000 920100 96020000 9700 9000");
    assert_int_equal(card.x.timeout_us, 0); /* the reader's */
    expect("FF C2 00 00 06 FF 6E 03 03 01 08 00", "C003009000 9000");
    expect("FF C2 00 00 05 FF 6D 02 03 00 00", "C003009000 FF6D03 030108 9000");
    expect("FF C2 00 01 04 95 02 30 04 00", "C003009000 920100 96020000 9700 9000");
    assert_in_range(card.x.timeout_us, 77300, 77400); /* 302 µs times 256 */
    expect("FF C2 00 01 0B 5F 46 04 10 27 00 00 95 02 30 04 00", "C003009000 920100 96020000 9700 9000");
    assert_int_equal(card.x.timeout_us, 10000);
    expect("FF C2 00 01 0A FF 6E 03 03 01 00 95 02 30 04 00", "C003009000 920100 96020000 9700 9000");
    assert_in_range(card.x.timeout_us, 302, 304);
    expect("FF C2 00 00 06 FF 6E 03 03 01 0F 00", "C003016A80 9000");
    expect("FF C2 00 00 06 FF 6E 03 08 01 01 00", "C003016A81 9000");
    expect("FF C2 00 00 05 FF 6E 02 03 00 00", "C003016700 9000");
    expect("FF C2 00 00 04 FF 6E 01 03 00", "C003016A80 9000");
    expect("FF C2 00 00 02 82 00 00", "C003009000 9000");
    expect("FF C2 00 00 06 FF 6E 03 03 01 08 00", "C003016985 9000");
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000"); /* a new session */
    expect("FF C2 00 01 04 95 02 30 04 00", "C003009000 920100 96020000 9700 9000");
    assert_int_equal(card.x.timeout_us, 0);
}

static void parameters_that_nobody_knows_are_not_made_up(void **state)
{
    static const char *const all[] = {"01", "02", "03", "08"};
    char text[40];

    (void)state;
    for (size_t i = 0; i < LEN(all); i++) {
        (void)snprintf(text, sizeof text, "FF C2 00 00 05 FF 6D 02 %s 00 00", all[i]);
        card.parameters = (struct storage_parameters){.reader_frame = 15};
        expect(text, "C003016A81 9000");
        card.parameters = (struct storage_parameters){.reader_frame = 256, .card_frame = 256, .waiting_time = 9,
                                                      .cid_known = true};
        fault(ON_PARAMETERS, R_NOT_SUPPORTED, false);
        card.parameters = (struct storage_parameters){0};
        expect(text, "C003016A81 9000");
    }
    fake_storage.parameters = NULL;
    expect("FF C2 00 00 05 FF 6D 02 03 00 00", "C003016A81 9000");
    assert_int_equal(card.calls[ON_EXCHANGE], 0);
}

static void the_field_is_the_clients(void **state)
{
    (void)state;
    expect("FF C2 00 00 0D 81 00 83 00 5F 46 04 10 27 00 00 84 00 00", "C003009000 9000");
    assert_int_equal(card.calls[ON_FIELD], 2);
    assert_int_equal(fake.pauses, 1);
    assert_true(card.field_on);
    expect("FF C2 00 00 02 83 00 00", "C003009000 9000");
    expect("FF B0 00 04 10", "6985");
    expect("FF C2 00 01 04 95 02 30 04 00", "C003016985 9000");
    expect("FF C2 00 02 04 8F 02 00 03 00", "C003016985 9000");
    expect("FF CA 00 00 00", "04112233 9000");
    expect("FF C2 00 00 07 5F 46 04 FF FF FF FF 00", "C003016A80 9000");
    expect("FF C2 00 00 02 82 00 00", "C003009000 9000");
    assert_true(card.field_on);
    assert_int_equal(card.calls[ON_RESELECT], 1);
    expect("FF B0 00 04 10", "6982");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
}

/* What was halted in a session is selected at its end, so that what comes then finds it. */
static void a_frame_without_an_answer_is_made_good_at_the_end(void **state)
{
    static const struct {
        const char *frame;
        enum result result;
        size_t answer;
        unsigned reselected;
    } rows[] = {
        {"FF C2 00 01 04 95 02 30 04 00", R_SUCCESS, 16, 0}, {"FF C2 00 01 04 93 02 50 00 00", R_SUCCESS, 0, 1},
        {"FF C2 00 01 04 95 02 30 FF 00", R_SUCCESS, 1, 1},  {"FF C2 00 01 04 95 02 30 FF 00", R_NO_CARD, 0, 1},
        {"FF C2 00 01 04 95 02 30 FF 00", R_CARD, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        setup(NULL);
        expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
        card.answer_len = rows[i].answer;
        if (rows[i].result != R_SUCCESS)
            fault(ON_EXCHANGE, rows[i].result, true);
        assert_int_equal(send(rows[i].frame), R_SUCCESS);
        expect("FF C2 00 00 02 82 00 00", "C003009000 9000");
        assert_int_equal(card.calls[ON_RESELECT], rows[i].reselected);
    }
}

static void a_switch_selects(void **state)
{
    (void)state;
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    card.sak = 8;
    expect("FF C2 00 02 04 8F 02 00 03 00", "C003009000 8F0108 9000");
    fault(ON_SELECT, R_CARD, false);
    expect("FF C2 00 02 04 8F 02 01 03 00", "C003016401 9000");
    card.silent = false;
    expect("FF C2 00 02 04 8F 02 00 04 00", "C003009000 8F0108 9000");
    assert_int_equal(card.layer, 4);
    expect("FF C2 00 01 04 95 02 00 A4 00", "C003009000 920100 96020000 9700 9000");
    assert_int_equal(card.x.protocol, STORAGE_ISO_DEP);
}

static void a_frame_in_an_envelope_needs_no_session(void **state)
{
    (void)state;
    card.answer_len = unhex("AABB", card.answer);
    expect("FF FE 01 05 02 30 04 00", "AABB 9000");
    assert_int_equal(card.x.protocol, STORAGE_ISO14443A);
    assert_int_equal(card.x.timeout_us, 27200);
    fault(ON_EXCHANGE, R_NO_CARD, false);
    expect("FF FE 04 00 02 02 2B 00", "6401");
    fault(ON_EXCHANGE, R_CARD, false);
    expect("FF FE 02 00 02 02 2B 00", "6400");
    fault(ON_EXCHANGE, R_NOT_SUPPORTED, false);
    expect("FF FE 00 00 02 02 2B 00", "6A81");
}

/* ---- lamps, and a family that has next to nothing --------------------------------------------------------------- */

static void lamps_and_buzzer(void **state)
{
    (void)state;
    fake.status = (struct slot_status){.present = false};
    expect("FF 00 40 0F 04 01 01 03 01", "9000");
    assert_int_equal(card.signal.red, 1);
    assert_int_equal(card.signal.green, 1);
    assert_int_equal(card.signal.beeps, 3);
    expect("FF 00 40 06 04 01 01 09 00", "9000");
    assert_int_equal(card.signal.red, 0);
    assert_int_equal(card.signal.green, -1);
    assert_int_equal(card.signal.beeps, 0);
    expect("FF 00 40 0A 04 01 01 09 03", "9000");
    assert_int_equal(card.signal.red, -1);
    assert_int_equal(card.signal.green, 1);
    assert_int_equal(card.signal.beeps, 4);
    expect("FF 00 40 0A 04 01 01 09 04", "6A80");
    fault(ON_INDICATE, R_NOT_SUPPORTED, false);
    expect("FF 00 40 0A 04 01 01 09 00", "6A81");
    assert_int_equal(fake.refused, 0);
    expect("FF 00 52 FF 00", "6A81"); /* to sound for each card is not in the reader */
    expect("FF 00 52 00 00", "9000"); /* not to, is what it does anyway */
    fake_storage.indicate = NULL;
    expect("FF 00 52 00 00", "6A81");
    expect("FF 00 40 0A 04 01 01 09 00", "6A81");
}

static void what_a_family_lacks_is_not_supported(void **state)
{
    static const char *const commands[] = {
        "FF 82 00 00 06 FFFFFFFFFFFF",
        "FF 86 00 00 05 01 00 04 60 00",
        "FF B0 00 04 10",
        ("FF D6 00 04 10 " SIXTEEN),
        "FF D7 00 04 05 01 00 00 00 01",
        "FF D7 00 04 05 00 00 00 00 01",
        "FF B1 00 04 04",
        "FF F5 2C 0A 07 31 04 04 01 00 00 00",
        "FF FE 01 00 02 30 04 00",
        "FF 00 40 0F 04 01 01 03 01",
    };
    enum result (*facts)(struct reader *, unsigned, struct storage_facts *) = fake_storage.facts;

    (void)state;
    fake_storage = (struct storage_ops){.facts = facts};
    for (size_t i = 0; i < LEN(commands); i++)
        expect(commands[i], "6A81");
    expect("FF CA 00 00 00", "04112233 9000");
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 00 02 83 00 00", "C003016A81 9000");
    expect("FF C2 00 02 04 8F 02 00 03 00", "C003016A81 9000");
    expect("FF C2 00 01 04 95 02 30 04 00", "C003016A81 9000");
}

/* Whatever was done and went wrong, no key is in the log, at any level. */
static void no_key_is_logged(void **state)
{
    (void)state;
    slot->device->log.mask = 15;
    expect("FF 82 00 01 06 DEADBEEF1234", "9000");
    expect("FF 86 00 00 05 01 00 04 60 01", "6300");
    expect("FF 86 00 00 05 01 00 04 60 00", "9000");
    fault(ON_WRITE, R_TIMEOUT, false);
    expect("FF D6 00 07 10 DEADBEEF1234 FF078069 DEADBEEF1234", "6581");
    fault(ON_PURSE, R_TIMEOUT, false);
    expect("FF F5 2C 0A 0E 31 04 0B 01 00 00 00 01 DEADBEEF1234", "6581");
    assert_true(stub_log_matches("outcome unknown") > 0);
    assert_int_equal(stub_log_matches("BEEF"), 0);
    assert_int_equal(stub_log_matches("BE EF"), 0);
    assert_int_equal(stub_log_matches("beef"), 0);
}

/* ---- cards of which little is known ----------------------------------------------------------------------------- */

static void what_a_reader_does_not_know_of_a_card_is_not_made_up(void **state)
{
    (void)state;
    card.facts.block_size = 0;
    expect("FF B0 00 04 10", "6981");
    expect("FF D6 00 04 10 " SIXTEEN, "6981");
    card.facts.kind = STORAGE_ULTRALIGHT;
    card.facts.block_size = 65; /* more than any card has */
    expect("FF D6 00 04 04 01020304", "6981");
    card.facts.kind = STORAGE_NONE;
    expect("FF CA F1 00 00", "6A81");
    card.facts.uid_len = 0;
    expect("FF CA 00 00 00", "6A81");
    nothing_was_sent();
    fake_tag(48);
    use();
    card.facts.block_count = 48;
    expect("FF D6 00 30 04 01020304", "6A82");
    expect("FF D6 00 2F 04 01020304", "9000");
    assert_int_equal(card.calls[ON_WRITE], 1);
}

static void a_trailer_is_proven_by_key_b_as_well(void **state)
{
    (void)state;
    expect("FF 82 00 01 06 FFFFFFFFFFFF", "9000");
    expect("FF 86 00 00 05 01 00 04 61 01", "9000");
    fault(ON_WRITE, R_TIMEOUT, true);
    expect("FF D6 00 07 10 A0A1A2A3A4A5 FF078069 B0B1B2B3B4B5", "9000");
    assert_int_equal(card.calls[ON_WRITE], 1);
    expect("FF B0 00 06 10", "66666666666666666666666666666666 9000"); /* the client goes on with its new key */
}

/* Without the serial number's seven bytes nobody knows what page 0 looks like, so the end is not looked for. */
static void a_tag_that_hides_its_number_is_read_as_it_answers(void **state)
{
    (void)state;
    fake_tag(48);
    use();
    card.facts.uid_len = 4;
    expect("FF B0 00 2F 10", "2F2F2F2F041122BF3344556602020202 9000");
    card.facts.block_count = 48;
    expect("FF B0 00 2F 10", "2F2F2F2F 6282");
    fault(ON_READ, R_CARD, false);
    expect("FF B0 00 10 10", "6400"); /* inside: no reason to look for the end */
    assert_int_equal(card.calls[ON_RESELECT], 1);
}

static void a_card_that_does_not_tell_its_size_has_64_sectors(void **state)
{
    (void)state;
    card.facts.block_count = 0;
    expect("FF D7 00 04 05 01 00 00 00 01", "9000");
    assert_int_equal(value_of(4), 1001);
}

static void odd_steps_of_a_session(void **state)
{
    (void)state;
    expect("FF C2 00 00 02 81 00 00", "C003009000 9000");
    expect("FF C2 00 02 04 8F 02 00 05 00", "C003016A80 9000"); /* no such layer */
    card.parameters = (struct storage_parameters){.reader_frame = 256, .card_frame = 4096, .waiting_time = 0xFFFFFFFF};
    expect("FF C2 00 00 05 FF 6D 02 02 00 00", "C003009000 FF6D03 02010C 9000");
    expect("FF C2 00 00 05 FF 6D 02 03 00 00", "C003009000 FF6D03 03010E 9000"); /* the longest there is */
    /* more answers than an object holds */
    expect("FF C2 00 00 1B FF 6D 18 010002000100020001000200010002000100020001000200 00", "C003016A80 9000");
    assert_int_equal(card.calls[ON_EXCHANGE], 0);
    assert_int_equal(send("FF 00 40 0A 04 01 01 00 01"), R_SUCCESS); /* a beep of no length is one */
    assert_int_equal(card.signal.beeps, 1);
}

#define CASE(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_card_is_described),
        CASE(without_a_card_the_call_fails),
        CASE(a_slot_for_other_cards_supports_none_of_it),
        CASE(what_does_not_fit_the_card_is_refused),
        CASE(a_key_that_was_never_loaded_is_said),
        CASE(each_number_holds_a_key_of_its_own),
        CASE(identivs_examples_work),
        CASE(a_wrong_key_is_refused_and_the_next_attempt_works),
        CASE(a_card_that_is_another_after_a_refusal_ends_the_call),
        CASE(an_authentication_is_good_for_its_sector_only),
        CASE(a_selection_in_between_ends_it),
        CASE(a_lost_authentication_is_none),
        CASE(a_sector_is_read_in_one_go_and_no_further),
        CASE(odd_lengths_learn_the_block_size),
        CASE(large_sectors_are_read_whole),
        CASE(a_refused_read_is_said_and_the_card_selected_again),
        CASE(a_silent_card_has_lost_its_session),
        CASE(what_the_reader_says_is_passed_on),
        CASE(access_bits_forbid_before_the_card_does),
        CASE(blocks_are_written),
        CASE(what_must_not_be_written_is_not),
        CASE(a_trailer_brings_new_keys),
        CASE(a_lost_write_is_read_back),
        CASE(a_write_that_stopped_says_where),
        CASE(a_lost_trailer_is_proven_by_its_key),
        CASE(a_refused_trailer_is_looked_at),
        CASE(each_dialect_changes_the_value_once),
        CASE(a_lost_answer_is_settled_by_the_card),
        CASE(a_card_that_fell_silent_is_asked_and_then_let_go),
        CASE(what_cannot_be_found_out_is_said_to_be_unknown),
        CASE(a_third_value_is_unknown),
        CASE(a_reader_that_calls_the_command_wrong_is_not_believed),
        CASE(a_value_command_is_refused_before_anything_changes),
        CASE(values_are_signed_and_end_at_the_range),
        CASE(a_stored_value_has_the_layout_of_one),
        CASE(a_store_that_was_not_answered_well_is_settled_by_the_card),
        CASE(a_store_that_cannot_be_settled_is_said_to_be_unknown),
        CASE(a_batch_goes_down_as_it_is),
        CASE(a_batch_that_fails_says_at_which_block),
        CASE(a_block_that_is_named_is_passed_on),
        CASE(a_batch_that_was_called_wrong_may_have_begun),
        CASE(a_small_buffer_is_found_out_before_money_moves),
        CASE(a_lost_batch_is_not_confirmed),
        CASE(a_default_key_must_be_there),
        CASE(a_batch_is_checked_first),
        CASE(pages_are_read_by_four),
        CASE(reading_ends_with_the_tag),
        CASE(a_page_behind_the_end_is_no_page),
        CASE(a_copy_of_page_0_is_not_the_end),
        CASE(pages_are_written_one_by_one),
        CASE(the_recorded_session_is_reproduced),
        CASE(a_session_has_an_order),
        CASE(the_failing_object_is_named),
        CASE(flags_and_bits_reach_the_reader),
        CASE(a_frame_that_is_received_goes_out_once),
        CASE(nothing_is_received_without_a_frame),
        CASE(parameters_are_told_and_the_waiting_time_is_the_clients),
        CASE(parameters_that_nobody_knows_are_not_made_up),
        CASE(the_field_is_the_clients),
        CASE(a_frame_without_an_answer_is_made_good_at_the_end),
        CASE(a_switch_selects),
        CASE(a_frame_in_an_envelope_needs_no_session),
        CASE(lamps_and_buzzer),
        CASE(what_a_family_lacks_is_not_supported),
        CASE(what_a_reader_does_not_know_of_a_card_is_not_made_up),
        CASE(a_trailer_is_proven_by_key_b_as_well),
        CASE(a_tag_that_hides_its_number_is_read_as_it_answers),
        CASE(a_card_that_does_not_tell_its_size_has_64_sectors),
        CASE(odd_steps_of_a_session),
        CASE(no_key_is_logged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
