/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay link when things go wrong: late answers, wrong CRC order, restarts, frames that nobody asked for, frames
 * that break off, lines that hang up. In each the same two questions: does the client ever get another command's
 * answer, and was anything sent twice that must not be?
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "stub_log.h"
#include "vivo_rig.h"

static const uint8_t select_apdu[] = {0x00, 0xA4, 0x04, 0x00, 0x00};
static uint8_t response[2000];
static size_t length;
static unsigned step; /* of a test's handler */

static int setup(void **state)
{
    (void)state;
    rig_reset();
    stub_log_clear();
    step = 0;
    return 0;
}

static enum result transmit(struct reader *r, unsigned slot)
{
    return r->ops->transmit(r, slot, select_apdu, sizeof select_apdu, response, sizeof response, &length,
                            deadline_in(60000));
}

static void expect_answer(struct reader *r, unsigned slot, const char *bytes, size_t n)
{
    assert_int_equal(transmit(r, slot), R_SUCCESS);
    assert_int_equal(length, n);
    assert_memory_equal(response, bytes, n);
}

static bool is(const struct rig_sent *q, unsigned command, unsigned sub)
{
    return q->command == command && q->sub == sub;
}

/* ---- opening --------------------------------------------------------------------------------------------------------
 */

static void opening_asks_in_this_order(void **state)
{
    static const uint16_t expected[] = {0x1801, 0x2900, 0x1201, 0x2C01, 0x0101, 0x2901, 0x2901, 0x2904,
                                        0x2906, 0x0901, 0x0902, 0x0903, 0x0914, 0x0920, 0x2C01};
    enum result r;
    struct reader *reader;

    (void)state;
    for (int hid = 0; hid < 2; hid++) {
        rig_reset();
        rig.hid = hid;
        reader = rig_open(false, &r);
        assert_non_null(reader);
        assert_int_equal(rig.sent_count, sizeof expected / sizeof expected[0]);
        for (size_t i = 0; i < rig.sent_count; i++) {
            assert_int_equal(rig.sent[i].command << 8 | rig.sent[i].sub, expected[i]);
            if (expected[i] != 0x0901) /* whose CRC reads the same both ways */
                assert_int_equal(rig.sent[i].order, rig.sent[i].command == 0x2C ? VIVO_MSB_FIRST : VIVO_LSB_FIRST);
        }
        assert_int_equal(rig.sent[3].data[0], 0);
        assert_int_equal(rig.sent[14].data[0], 1);
        assert_string_equal(reader->identity.firmware, "VP3300 USB v1.01.107");
        assert_string_equal(reader->identity.type, "VP3300 USB");
        assert_string_equal(reader->identity.serial, "630Z000001");
        assert_int_equal(reader->identity.version, 0x0101006B);
        rig_close(reader);
        assert_int_equal(rig.sent[rig.sent_count - 1].data[0], 0); /* 2C-01 00 at the end */
        assert_int_equal(rig.closed, 1);
    }
}

static void a_mute_port_is_refused_or_waited_for(void **state)
{
    enum result r;

    (void)state;
    rig.mute = true;
    assert_null(rig_open(false, &r));
    assert_int_equal(r, R_TIMEOUT);
    assert_int_equal(rig.closed, rig.opened);
    assert_true(stub_log_has("no ViVOpay reader answers", NULL));
    struct reader *reader = rig_open(true, &r);
    assert_non_null(reader);
    assert_string_equal(reader_identity(reader)->serial, "");
    rig.mute = false;
    vivo_of(reader)->next_try = 0; /* time passes */
    assert_int_equal(vivo_bring_up(vivo_of(reader), deadline_in(5000)), R_SUCCESS);
    assert_string_equal(reader_identity(reader)->serial, "630Z000001");
    rig_close(reader);
}

static void the_speed_is_found(void **state)
{
    enum result r;

    (void)state;
    rig.deaf_to_baud = 38400;
    struct reader *reader = rig_open(false, &r);
    assert_non_null(reader);
    assert_int_equal(rig.baud, 19200);
    rig_close(reader);
    rig_settings.baud = 57600; /* given: no other is tried */
    assert_null(rig_open(false, &r));
    assert_int_equal(rig.baud, 57600);
}

static void a_keyboard_is_refused(void **state)
{
    struct reader_target target = {.name = "keyboard"};
    struct reader *reader = NULL;
    struct log log;
    int device;

    (void)state;
    log_init(&log, PLOG_CRITICAL, "test");
    assert_int_equal(
        vivopay_family.open(&reader, (struct device *)&device, &target, &rig_settings, &log, deadline_in(1000)),
        R_NOT_SUPPORTED);
    assert_int_equal(rig.opened, 0);
    assert_true(stub_log_has("keyboard mode", NULL));
    log_done(&log);
}

/* ---- late and broken answers ----------------------------------------------------------------------------------------
 */

static unsigned late_by;

/* The first APDU is answered too late, by `late_by` time-outs; Pings are answered behind it. */
static bool answers_late(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03) || step++ > 0)
        return false;
    rig_say_late(late_by, 0x2C, VIVO_OK, "DEAD9000");
    return true;
}

static void a_late_answer_is_never_the_next_ones(void **state)
{
    (void)state;
    for (late_by = 1; late_by < 4; late_by++) {
        rig_reset();
        step = 0;
        struct reader *r = rig_open_powered();
        rig.handler = answers_late;
        assert_int_equal(transmit(r, 0), R_TIMEOUT);
        assert_int_equal(length, 0);
        assert_int_equal(rig_count(0x2C, 0x03), 1); /* an APDU is not repeated */
        expect_answer(r, 0, "\x01\x02\x90\x00", 4);
        assert_true(rig_find(0x18, 0x01, 0) < rig_find(0x2C, 0x03, 1));
        assert_int_equal(rig_count(0x2C, 0x03), 2);
        assert_int_equal(rig.lost[0], 0);
        rig_close(r);
    }
}

/* The first APDU is not answered, the first Ping is, and the APDU's answer comes before the second Ping's. */
static bool holds_it_back(const struct rig_sent *q)
{
    if (is(q, 0x2C, 0x03))
        return step++ == 0;
    if (is(q, 0x18, 0x01) && step++ == 2)
        rig_say(0x2C, VIVO_OK, "DEAD9000");
    return false;
}

static void an_answer_that_passes_the_first_ping_by_is_not_the_next_one(void **state)
{
    (void)state;
    for (int hid = 0; hid < 2; hid++) {
        rig_reset();
        rig.hid = hid;
        step = 0;
        struct reader *r = rig_open_powered();
        rig.handler = holds_it_back;
        assert_int_equal(transmit(r, 0), R_TIMEOUT);
        expect_answer(r, 0, "\x01\x02\x90\x00", 4);
        assert_int_equal(rig_count(0x2C, 0x03), 2);
        assert_int_equal(rig_count(0x18, 0x01), 2);
        rig_close(r);
    }
}

static bool says_it_twice(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03) || step++ > 0)
        return false;
    rig_say_twice(0x2C, VIVO_OK, "DEAD9000");
    return true;
}

static void a_second_copy_is_not_the_next_answer(void **state)
{
    (void)state;
    for (int hid = 0; hid < 2; hid++) {
        rig_reset();
        rig.hid = hid;
        step = 0;
        struct reader *r = rig_open_powered();
        rig.handler = says_it_twice;
        expect_answer(r, 0, "\xDE\xAD\x90\x00", 4);
        expect_answer(r, 0, "\x01\x02\x90\x00", 4);
        expect_answer(r, 0, "\x01\x02\x90\x00", 4);
        assert_int_equal(rig.sent_count, 3);
        rig_close(r);
    }
}

static bool says_half(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03) || step++ > 0)
        return false;
    rig_say_cut(0x2C, VIVO_OK, "DEAD9000", late_by);
    return true;
}

static void half_a_frame_and_silence(void **state)
{
    (void)state;
    for (late_by = 1; late_by < 20; late_by++) {
        rig_reset();
        step = 0;
        struct reader *r = rig_open_powered();
        rig.handler = says_half;
        assert_int_equal(transmit(r, 0), R_COMM);
        assert_int_equal(rig_count(0x2C, 0x03), 1);
        expect_answer(r, 0, "\x01\x02\x90\x00", 4);
        assert_true(rig_find(0x18, 0x01, 0) < rig_find(0x2C, 0x03, 1));
        rig_close(r);
    }
}

static bool says_rubbish(const struct rig_sent *q)
{
    static const uint8_t noise[VIVO_REPORT_SIZE] = "\x01no frame, only noise";

    if (!is(q, 0x2C, 0x03) || step++ > 0)
        return false;
    rig_say_raw(noise, sizeof noise);
    return true;
}

static void noise_in_place_of_an_answer_does_not_take_the_whole_cap(void **state)
{
    (void)state;
    for (int hid = 0; hid < 2; hid++) {
        rig_reset();
        rig.hid = hid;
        step = 0;
        struct reader *r = rig_open_powered();
        rig.handler = says_rubbish;
        assert_int_equal(transmit(r, 0), R_COMM);
        expect_answer(r, 0, "\x01\x02\x90\x00", 4);
        rig_close(r);
    }
}

static bool poll_is_lost_once(const struct rig_sent *q)
{
    return is(q, 0x2C, 0x0E) && step++ == 0; /* silence */
}

static void what_changes_nothing_is_repeated_once(void **state)
{
    enum result r;
    unsigned again;

    (void)state;
    struct reader *reader = rig_open(false, &r);
    rig_forget();
    rig.handler = poll_is_lost_once;
    rig.card_type = 1;
    rig.uid_len = 4;
    assert_int_equal(poller_turn(reader, 0, &again), R_SUCCESS);
    assert_true(rig.present[0]);
    assert_int_equal(rig_count(0x2C, 0x0E), 2);
    assert_int_equal(rig_count(0x18, 0x01), 2);
    rig_close(reader);
}

/* ---- CRC order
 * ------------------------------------------------------------------------------------------------------- */

static unsigned picky_sub;
static enum vivo_order wanted;
static bool silently;

/* Takes one command (or all with 2C) in one order only. */
static bool picky(const struct rig_sent *q)
{
    if (q->command != 0x2C || q->order == wanted || (picky_sub != RIG_ANY && q->sub != picky_sub))
        return false;
    if (!silently)
        rig_say(0x2C, VIVO_CRC_ERROR, "");
    return true;
}

static void status_04_turns_the_order_once(void **state)
{
    (void)state;
    picky_sub = 0x03;
    wanted = VIVO_LSB_FIRST;
    silently = false;
    struct reader *r = rig_open_powered();
    rig.handler = picky;
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    assert_int_equal(rig_count(0x2C, 0x03), 2);
    assert_int_equal(rig.sent[0].order, VIVO_MSB_FIRST);
    assert_int_equal(rig.sent[1].order, VIVO_LSB_FIRST);
    assert_memory_equal(rig.sent[0].data, rig.sent[1].data, sizeof select_apdu);
    expect_answer(r, 0, "\x01\x02\x90\x00", 4); /* remembered */
    assert_int_equal(rig_count(0x2C, 0x03), 3);
    assert_int_equal(rig.sent[2].order, VIVO_LSB_FIRST);
    rig_close(r);
}

static bool refuses_any_order(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03))
        return false;
    rig_say(0x2C, VIVO_CRC_ERROR, "");
    return true;
}

static bool noise;

static bool spoils_one(const struct rig_sent *q)
{
    bool now = noise && is(q, 0x2C, 0x03);

    noise = noise && !now;
    if (now)
        rig_say(0x2C, VIVO_CRC_ERROR, "");
    return now || picky(q);
}

/* The order was understood before: it was the line. The other one would only be refused, and the APDU fail. */
static void status_04_to_a_known_order_keeps_it(void **state)
{
    (void)state;
    picky_sub = 0x03;
    wanted = VIVO_MSB_FIRST;
    silently = noise = false;
    struct reader *r = rig_open_powered();
    rig.handler = spoils_one;
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    noise = true;
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    assert_int_equal(rig_count(0x2C, 0x03), 3);
    assert_int_equal(rig.sent[2].order, VIVO_MSB_FIRST);
    wanted = VIVO_LSB_FIRST; /* and if it is not true any more: refused twice, then found again */
    assert_int_equal(transmit(r, 0), R_COMM);
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    rig_close(r);
}

static void status_04_for_ever_is_an_error(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    rig.handler = refuses_any_order;
    assert_int_equal(transmit(r, 0), R_COMM);
    assert_int_equal(rig_count(0x2C, 0x03), 2); /* each order once */
    rig.handler = NULL;
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    assert_int_equal(rig_count(0x18, 0x01), 2);
    rig_close(r);
}

static void an_order_that_is_set_is_kept(void **state)
{
    enum result r;

    (void)state;
    rig_settings.crc_order = CRC_LSB;
    picky_sub = RIG_ANY;
    wanted = VIVO_MSB_FIRST;
    silently = false;
    rig.handler = picky;
    assert_null(rig_open(false, &r));
    for (size_t i = 0; i < rig.sent_count; i++)
        assert_int_equal(rig.sent[i].order, VIVO_LSB_FIRST);
    wanted = VIVO_LSB_FIRST;
    struct reader *reader = rig_open(false, &r);
    assert_non_null(reader);
    rig_close(reader);
}

static void silence_turns_the_order_of_what_may_be_repeated(void **state)
{
    enum result r;
    unsigned again;

    (void)state;
    struct reader *reader = rig_open(false, &r);
    picky_sub = 0x0E;
    wanted = VIVO_LSB_FIRST;
    silently = true;
    rig.handler = picky;
    rig.card_type = 1;
    rig.uid_len = 4;
    rig_forget();
    assert_int_equal(poller_turn(reader, 0, &again), R_SUCCESS);
    assert_true(rig.present[0]);
    assert_int_equal(rig.sent[rig_find(0x2C, 0x0E, 1)].order, VIVO_LSB_FIRST);
    rig_close(reader);
}

static void silence_does_not_repeat_an_apdu(void **state)
{
    (void)state;
    picky_sub = 0x03;
    wanted = VIVO_LSB_FIRST;
    silently = true;
    struct reader *r = rig_open_powered();
    rig.handler = picky;
    assert_int_equal(transmit(r, 0), R_TIMEOUT);
    assert_int_equal(rig_count(0x2C, 0x03), 1);
    rig_close(r);
}

/* What Get ATR taught is the first guess for the contact APDU. */
static void one_command_teaches_another(void **state)
{
    enum result r;
    struct atr atr;
    int protocol;

    (void)state;
    rig_settings.slots[0] = SLOT_ICC;
    rig_settings.slot_count = 1;
    rig.contact_atr = "3B9F018081";
    picky_sub = 0x12;
    wanted = VIVO_LSB_FIRST;
    silently = false;
    rig.handler = picky;
    struct reader *reader = rig_open(false, &r);
    assert_non_null(reader);
    assert_true(rig.present[0]);
    assert_int_equal(reader->ops->power_up(reader, 0, false, deadline_in(1000), &atr, &protocol), R_SUCCESS);
    rig_forget();
    expect_answer(reader, 0, "\x01\x02\x90\x00", 4);
    assert_int_equal(rig.sent_count, 1);
    assert_int_equal(rig.sent[0].order, VIVO_LSB_FIRST);
    assert_int_equal(rig.sent[0].data[0], 0x20);
    rig_close(reader);
}

/* ---- frames that nobody asked for
 * ------------------------------------------------------------------------------------ */

static bool chats(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03))
        return false;
    rig_say_raw("\x00\xFFnoise", 7);
    rig_say(0x2C, VIVO_AUTO_SWITCH, "0111223344");
    rig_say(0x2C, VIVO_UI_EVENT, "01");
    rig_say(0x02, VIVO_OK, "DEAD9000"); /* a burst of auto-poll mode */
    rig_say(0x61, 0x01, "");
    return false;
}

static void they_are_passed_over(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    rig.handler = chats;
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    assert_int_equal(rig.sent_count, 1);
    rig_close(r);
}

static bool boots(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03) || step++ > 0)
        return false;
    rig.pass_through = false;
    rig_say(0x14, 0x01, "4E454F20322E302076312E30300D");
    return true;
}

static void a_restart_ends_all_sessions_and_is_followed_by_initialisation(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    rig.handler = boots;
    assert_int_equal(transmit(r, 0), R_NO_CARD);
    assert_int_equal(rig.lost[0], 1);
    assert_int_equal(rig_count(0x2C, 0x03), 1);
    assert_int_equal(transmit(r, 0), R_NO_CARD); /* not powered up: nothing is sent */
    assert_int_equal(rig_count(0x2C, 0x03), 1);
    unsigned again;
    assert_int_equal(vivo_of(r)->up, false);
    vivo_of(r)->pace.any = false;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_true(vivo_of(r)->up);
    assert_int_equal(rig_count(0x2C, 0x01), 2);
    assert_int_equal(rig_count(0x09, RIG_ANY), 0); /* the same reader: what was asked once is not asked again */
    rig_close(r);
}

static bool forgot_the_mode(const struct rig_sent *q)
{
    if (is(q, 0x2C, 0x03) && step++ == 0)
        rig.pass_through = false; /* restarted without a word */
    return false;
}

static void status_0c_ends_the_session(void **state)
{
    struct atr atr;
    int protocol;

    (void)state;
    struct reader *r = rig_open_powered();
    rig.handler = forgot_the_mode;
    assert_int_equal(transmit(r, 0), R_NO_CARD);
    assert_int_equal(rig_count(0x2C, 0x03), 1);
    assert_int_equal(rig.lost[0], 1);
    assert_int_equal(r->ops->power_up(r, 0, false, deadline_in(5000), &atr, &protocol), R_SUCCESS);
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    rig_close(r);
}

/* ---- lost and found
 * --------------------------------------------------------------------------------------------------- */

static void watch_until_open(struct reader *r)
{
    unsigned again;

    for (int i = 0; i < 400 && !vivo_of(r)->up; i++) {
        vivo_of(r)->next_try = 0; /* time passes */
        vivo_of(r)->pace.any = false;
        assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
        assert_true(again > 0);
    }
    assert_true(vivo_of(r)->up);
}

static void a_hang_up_leaves_an_empty_slot_that_comes_back(void **state)
{
    unsigned again;

    (void)state;
    struct reader *r = rig_open_powered();
    rig.hang_up = true;
    rig.node = false;
    assert_int_equal(transmit(r, 0), R_NO_CARD);
    assert_int_equal(rig.closed, 1);
    assert_false(rig.present[0]);
    assert_false(deadline_passed(vivo_of(r)->next_try)); /* not at once */
    for (int i = 0; i < 5; i++) {
        vivo_of(r)->next_try = 0;
        assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
        assert_true(again >= 50 && again <= 2001); /* no busy loop, no sleep beyond reopen_max */
    }
    assert_int_equal(rig.opened, 1);
    assert_int_equal(r->ops->look(r, 0, deadline_in(1000)), R_SUCCESS);
    assert_int_equal(r->ops->power_down(r, 0, deadline_in(1000)), R_SUCCESS);
    rig.hang_up = false;
    rig.node = true;
    watch_until_open(r);
    assert_int_equal(rig.opened, 2);
    vivo_of(r)->pace.any = false;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_true(rig.present[0]);
    rig_close(r);
    assert_int_equal(rig.closed, 2);
}

static void three_silent_pings_mean_lost(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    rig.mute = true;
    assert_int_equal(transmit(r, 0), R_TIMEOUT);
    assert_int_equal(transmit(r, 0), R_NO_CARD);
    assert_int_equal(rig_count(0x18, 0x01), 3);
    assert_int_equal(rig_count(0x2C, 0x03), 1);
    assert_false(rig.present[0]);
    assert_int_equal(rig.closed, 1);
    rig.mute = false;
    watch_until_open(r);
    rig_close(r);
}

static void a_silent_usb_reader_is_reset_once_then_gone(void **state)
{
    (void)state;
    rig.hid = true;
    struct reader *r = rig_open_powered();
    rig.mute = true;
    assert_int_equal(transmit(r, 0), R_TIMEOUT);
    assert_int_equal(transmit(r, 0), R_NO_CARD); /* reset: the session is over */
    assert_int_equal(rig.resets, 1);
    unsigned again;
    enum result e = R_SUCCESS;
    for (int i = 0; i < 10 && e == R_SUCCESS; i++) {
        vivo_of(r)->pace.any = false;
        e = poller_turn(r, 0, &again);
    }
    assert_int_equal(e, R_GONE);
    assert_int_equal(rig.resets, 1);
    rig_close(r);
}

static void cancel_ends_everything_also_while_the_port_is_away(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    rig.hang_up = true;
    rig.node = false;
    assert_int_equal(transmit(r, 0), R_NO_CARD);
    r->ops->cancel(r); /* finds no transport */
    rig.hang_up = false;
    rig.node = true;
    unsigned again;
    vivo_of(r)->next_try = 0;
    assert_int_equal(poller_turn(r, 0, &again), R_CANCELLED);
    assert_int_equal(rig.opened, rig.closed);
    rig_close(r);
}

static void sleep_makes_the_card_another(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    expect_answer(r, 0, "\x01\x02\x90\x00", 4);
    vivo_of(r)->suspended -= 1000000000; /* as if the machine had slept a second since */
    assert_int_equal(transmit(r, 0), R_NO_CARD);
    assert_int_equal(rig_count(0x2C, 0x03), 1);
    assert_int_equal(rig.lost[0], 1);
    rig_close(r);
}

/* ---- APDUs
 * -------------------------------------------------------------------------------------------------------------- */

static bool counts_bytes(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03))
        return false;
    rig_say(0x2C, VIVO_OK, "9000");
    return true;
}

static void every_length_up_to_the_limit_is_sent_whole(void **state)
{
    static uint8_t apdu[VIVO_DATA_MAX + 1];

    (void)state;
    for (int hid = 0; hid < 2; hid++) {
        rig_reset();
        rig.hid = hid;
        struct reader *r = rig_open_powered();
        rig.handler = counts_bytes;
        for (size_t n = 1; n <= VIVO_DATA_MAX; n++) {
            apdu[n - 1] = (uint8_t)(n * 7);
            rig_forget();
            assert_int_equal(r->ops->transmit(r, 0, apdu, n, response, sizeof response, &length, deadline_in(1000)),
                             R_SUCCESS);
            assert_int_equal(rig.sent_count, 1);
            assert_int_equal(rig.sent[0].n, n);
            assert_memory_equal(rig.sent[0].data, apdu, n);
        }
        rig_forget();
        assert_int_equal(
            r->ops->transmit(r, 0, apdu, sizeof apdu, response, sizeof response, &length, deadline_in(1000)),
            R_SUCCESS);
        assert_int_equal(rig.sent_count, 0);
        assert_memory_equal(response, "\x67\x00", 2);
        assert_int_equal(length, 2);
        rig_close(r);
    }
}

static uint8_t status_to_say;
static const char *data_to_say;

static bool says_status(const struct rig_sent *q)
{
    if (!is(q, 0x2C, 0x03))
        return false;
    rig_say(0x2C, status_to_say, data_to_say);
    return true;
}

static void statuses_become_status_words(void **state)
{
    static const struct {
        uint8_t status;
        enum result result;
        const char *sw;
    } cases[] = {
        {0x02, R_SUCCESS, "\x6A\x81"}, {0x03, R_SUCCESS, "\x6A\x81"}, {0x05, R_SUCCESS, "\x6A\x80"},
        {0x06, R_SUCCESS, "\x69\x82"}, {0x07, R_SUCCESS, "\x6A\x80"}, {0x0D, R_SUCCESS, "\x67\x00"},
        {0x19, R_SUCCESS, "\x67\x00"}, {0x90, R_SUCCESS, "\x69\x82"}, {0x91, R_SUCCESS, "\x69\x82"},
        {0x70, R_CARD, NULL},          {0x1D, R_CARD, NULL},          {0xEE, R_CARD, NULL},
    };

    (void)state;
    data_to_say = "";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rig_reset();
        struct reader *r = rig_open_powered();
        rig.handler = says_status;
        status_to_say = cases[i].status;
        assert_int_equal(transmit(r, 0), cases[i].result);
        assert_int_equal(length, cases[i].sw ? 2 : 0);
        if (cases[i].sw)
            assert_memory_equal(response, cases[i].sw, 2);
        assert_int_equal(rig.sent_count, 1);
        assert_int_equal(rig.lost[0], 0);
        rig_close(r);
    }
    assert_true(stub_log_has("SRED", "69 82", NULL));
}

static void a_mute_card_is_gone_in_the_same_call(void **state)
{
    (void)state;
    for (int present = 0; present < 2; present++) {
        for (int i = 0; i < 2; i++) {
            rig_reset();
            struct reader *r = rig_open_powered();
            rig.handler = says_status;
            status_to_say = i ? VIVO_FAILED : VIVO_TIMEOUT;
            data_to_say = "";
            rig.card_type = present ? 1 : 0;
            assert_int_equal(transmit(r, 0), R_NO_CARD);
            assert_int_equal(rig.sent_count, 2); /* the APDU, and one poll */
            assert_int_equal(rig.sent[1].sub, 0x0E);
            if (present)
                assert_int_equal(rig.lost[0], 1);
            else
                assert_false(rig.present[0]);
            rig_close(r);
        }
    }
}

/* LEN ciphertext SW KSNLEN KSN MACLEN MAC: never handed up. */
static void encrypted_answers_are_refused(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    rig.handler = says_status;
    status_to_say = VIVO_OK;
    data_to_say = "0008 1122334455667788 9000 000A FFFF9876543210E00001 0010 00112233445566778899AABBCCDDEEFF";
    assert_int_equal(transmit(r, 0), R_SUCCESS);
    assert_int_equal(length, 2);
    assert_memory_equal(response, "\x69\x82", 2);
    assert_true(stub_log_has("encrypted", NULL));
    data_to_say = "0008 1122334455667788 9000 000B FFFF9876543210E00001 0010 00112233445566778899AABBCCDD9000";
    assert_int_equal(transmit(r, 0), R_SUCCESS);
    assert_int_equal(length, 42); /* nearly so is a card's own answer */
    rig_close(r);
}

static void a_storage_card_takes_no_apdu(void **state)
{
    enum result e;
    unsigned again;
    struct atr atr;
    int protocol;

    (void)state;
    struct reader *r = rig_open(false, &e);
    rig.card_type = 0x04;
    rig.uid_len = 7;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_int_equal(r->ops->power_up(r, 0, false, deadline_in(1000), &atr, &protocol), R_SUCCESS);
    assert_int_equal(atr.len, 20);
    assert_int_equal(r->ops->max_apdu_data(r, 0), 0);
    rig_forget();
    expect_answer(r, 0, "\x6E\x00", 2);
    assert_int_equal(rig.sent_count, 0);
    rig_close(r);
}

/* ---- raw commands
 * ---------------------------------------------------------------------------------------------------- */

static void what_pass_through_mode_refuses_comes_from_memory(void **state)
{
    static const uint8_t modules[] = {0x09, 0x20}, same[] = {0x09, 0x00}, unknown[] = {0x09, 0x30},
                         ping[] = {0x18, 0x01};
    enum result e;

    (void)state;
    struct reader *r = rig_open(false, &e);
    rig_forget();
    assert_int_equal(r->ops->command(r, 0, modules, 2, response, sizeof response, &length, deadline_in(1000)),
                     R_SUCCESS);
    assert_int_equal(length, 7);
    assert_memory_equal(response,
                        "\x00"
                        "FW,\r\n\x00",
                        7);
    assert_int_equal(r->ops->command(r, 0, same, 2, response, sizeof response, &length, deadline_in(1000)), R_SUCCESS);
    assert_int_equal(length, 7);
    assert_int_equal(r->ops->command(r, 0, modules, 2, response, 6, &length, deadline_in(1000)), R_SPACE);
    assert_int_equal(r->ops->command(r, 0, unknown, 2, response, sizeof response, &length, deadline_in(1000)),
                     R_NOT_NOW);
    assert_int_equal(rig.sent_count, 0);
    assert_int_equal(r->ops->command(r, 0, ping, 2, response, sizeof response, &length, deadline_in(1000)), R_SUCCESS);
    assert_int_equal(length, 1);
    assert_int_equal(rig.sent_count, 1);
    rig_close(r);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        CASE(opening_asks_in_this_order),
        CASE(a_mute_port_is_refused_or_waited_for),
        CASE(the_speed_is_found),
        CASE(a_keyboard_is_refused),
        CASE(a_late_answer_is_never_the_next_ones),
        CASE(an_answer_that_passes_the_first_ping_by_is_not_the_next_one),
        CASE(a_second_copy_is_not_the_next_answer),
        CASE(half_a_frame_and_silence),
        CASE(noise_in_place_of_an_answer_does_not_take_the_whole_cap),
        CASE(what_changes_nothing_is_repeated_once),
        CASE(status_04_turns_the_order_once),
        CASE(status_04_to_a_known_order_keeps_it),
        CASE(status_04_for_ever_is_an_error),
        CASE(an_order_that_is_set_is_kept),
        CASE(silence_turns_the_order_of_what_may_be_repeated),
        CASE(silence_does_not_repeat_an_apdu),
        CASE(one_command_teaches_another),
        CASE(they_are_passed_over),
        CASE(a_restart_ends_all_sessions_and_is_followed_by_initialisation),
        CASE(status_0c_ends_the_session),
        CASE(a_hang_up_leaves_an_empty_slot_that_comes_back),
        CASE(three_silent_pings_mean_lost),
        CASE(a_silent_usb_reader_is_reset_once_then_gone),
        CASE(cancel_ends_everything_also_while_the_port_is_away),
        CASE(sleep_makes_the_card_another),
        CASE(every_length_up_to_the_limit_is_sent_whole),
        CASE(statuses_become_status_words),
        CASE(a_mute_card_is_gone_in_the_same_call),
        CASE(encrypted_answers_are_refused),
        CASE(a_storage_card_takes_no_apdu),
        CASE(what_pass_through_mode_refuses_comes_from_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
