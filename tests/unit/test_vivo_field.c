/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The contactless and contact slots: what polls answer, how often they go out, which card is which, and what the device
 * is told of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "reader/device.h"
#include "unhex.h"
#include "vivo_rig.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct atr atr;
static int protocol;

static int setup(void **state)
{
    (void)state;
    rig_reset();
    return 0;
}

/* ---- poll answers
 * ------------------------------------------------------------------------------------------------------ */

/* hex of the answer → "type uid ats" in hex; NULL: not readable. */
struct poll_case {
    const char *answer;
    int type;
    const char *uid, *ats;
};

static void check_case(const struct poll_case *c, bool (*parse)(const uint8_t *, size_t, struct vivo_card *))
{
    uint8_t p[300], uid[16], ats[260];
    struct vivo_card card;
    size_t n = unhex(c->answer, p);

    if (c->type < 0) {
        assert_false(parse(p, n, &card));
        return;
    }
    assert_true(parse(p, n, &card));
    assert_int_equal(card.type, c->type);
    assert_int_equal(card.uid_len, unhex(c->uid, uid));
    assert_memory_equal(card.uid, uid, card.uid_len);
    assert_int_equal(card.ats_len, unhex(c->ats, ats));
    assert_memory_equal(card.ats, ats, card.ats_len);
}

static void plain_polls(void **state)
{
    static const struct poll_case cases[] = {
        {"", 0, "", ""},
        {"00", 0, "", ""},
        {"0301020304", 3, "01020304", ""},
        {"0404112233445566", 4, "04112233445566", ""},
        {"0C0102030405060708", 0x0C, "0102030405060708", ""},
        {"01", 1, "", ""},
        {"0100010203040506070809", 1, "00010203040506070809", ""},
        {"010001020304050607080910", -1, "", ""}, /* longer than any serial number */
        {"0011", -1, "", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_case(&cases[i], vivo_parse_poll);
}

static bool parse_ats(const uint8_t *p, size_t n, struct vivo_card *card)
{
    enum vivo_layout layout = LAYOUT_UNKNOWN;

    return vivo_parse_poll_ats(p, n, &layout, card);
}

static void polls_with_ats(void **state)
{
    static const struct poll_case cases[] = {
        {"", 0, "", ""},
        {"00", 0, "", ""},
        /* (a) length, serial number, length, ATS */
        {"010411223344057877910280", -1, "", ""}, /* the ATS's own length does not agree */
        {"010411223344050578809102", 1, "11223344", "0578809102"},
        {"0104112233440678809102"
         "41",
         1, "11223344", "067880910241"},        /* its own length is all there is */
        {"0104112233440578809102", -1, "", ""}, /* this, or a serial number of ten bytes */
        {"01070411223344556606757791028000", -1, "", ""},
        {"01070411223344556606067577910280", 1, "04112233445566", "067577910280"},
        {"0704112233440101", -1, "", ""}, /* an ATS of one byte, or a serial number of seven */
        {"03040102030400", 3, "01020304", ""},
        {"030401020304", 3, "01020304", ""},
        /* (b) serial number, ATS */
        {"01112233440578809102", 1, "11223344", "0578809102"},
        {"0108A1B2C30578809102", 1, "08A1B2C3", "0578809102"},
        {"0104112233445566067577910280", 1, "04112233445566", "067577910280"},
        {"0104112233445566778899067577910280", 1, "04112233445566778899", "067577910280"},
        /* without ATS, as a plain poll */
        {"0111223344", 1, "11223344", ""},
        {"0404112233445566", 4, "04112233445566", ""},
        {"0301020304", 3, "01020304", ""},
        {"0201020304", 2, "01020304", ""},
        /* storage cards and type B have none */
        {"03112233440578809102", -1, "", ""},
        {"02112233440578809102", -1, "", ""},
        /* an ATS that announces interface bytes it does not have */
        {"011122334403F500", 1, "1122334403F500", ""}, /* seven bytes of serial number, then */
        {"0111223344027F", -1, "", ""},
        /* reads in two ways with two serial numbers: 04112203 + ATS 035566 is broken by T0, but 7 bytes fit */
        {"0104112233035566", 1, "04112233035566", ""},
        {"0104112233030044", -1, "", ""}, /* 4 bytes and an ATS 03 00 44, or 7 bytes: nobody can tell */
        {"01", -1, "", ""},
        {"0112", -1, "", ""},
        {"00112233445566", -1, "", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_case(&cases[i], parse_ats);
}

/* A random serial number may make an answer readable in two ways. Which one is meant is known from any other answer. */
static void a_layout_once_seen_decides(void **state)
{
    static const uint8_t clear_a[] = {0x01, 0x04, 0x08, 0x11, 0x22, 0x33, 0x05, 0x05, 0x78, 0x80, 0x70, 0x02};
    static const uint8_t both[] = {0x01, 0x04, 0x08, 0x11, 0x22, 0x07, 0x05, 0x05, 0x78, 0x80, 0x70, 0x02};
    static const uint8_t clear_b[] = {0x03, 0x01, 0x02, 0x03, 0x04};
    enum vivo_layout layout = LAYOUT_UNKNOWN;
    struct vivo_card card;

    (void)state;
    assert_false(vivo_parse_poll_ats(both, sizeof both, &layout, &card));
    assert_int_equal(layout, LAYOUT_UNKNOWN);
    assert_true(vivo_parse_poll_ats(clear_a, sizeof clear_a, &layout, &card));
    assert_int_equal(layout, LAYOUT_A);
    assert_true(vivo_parse_poll_ats(both, sizeof both, &layout, &card));
    assert_memory_equal(card.uid, "\x08\x11\x22\x07", 4);
    assert_int_equal(card.ats_len, 5);
    assert_true(vivo_parse_poll_ats(clear_b, sizeof clear_b, &layout, &card)); /* a reader of two minds */
    assert_int_equal(layout, LAYOUT_B);
    assert_true(vivo_parse_poll_ats(both, sizeof both, &layout, &card));
    assert_memory_equal(card.uid, "\x04\x08\x11\x22", 4);
    assert_int_equal(card.ats_len, 7);
}

/* Any bytes at all: no result reaches beyond what was given (the sanitizers watch). */
static void no_answer_is_read_past_its_end(void **state)
{
    uint32_t seed = 1;
    struct vivo_card card;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint8_t p[24];
        size_t n = (seed >> 8) % (sizeof p + 1);
        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525u + 1013904223u;
            p[k] = (uint8_t)(seed >> 24 & (k < 2 ? 0x0F : 0x1F));
        }
        seed = seed * 1664525u + 1013904223u;
        if (parse_ats(p, n, &card)) {
            assert_true(card.uid_len <= VIVO_UID_MAX);
            assert_true(card.type == 0 ? card.uid_len == 0 : 1 + card.uid_len + card.ats_len <= n);
        }
        if (vivo_parse_poll(p, n, &card))
            assert_true(card.uid_len <= VIVO_UID_MAX);
    }
}

static struct vivo_card card_of(uint8_t type, const char *uid, const char *ats)
{
    struct vivo_card c = {.type = type};

    c.uid_len = unhex(uid, c.uid);
    c.ats_len = unhex(ats, c.ats);
    return c;
}

static void which_card_is_which(void **state)
{
    static const struct {
        uint8_t t1;
        const char *u1, *a1;
        uint8_t t2;
        const char *u2, *a2;
        bool same;
    } cases[] = {
        {1, "11223344", "", 1, "11223344", "", true},
        {1, "11223344", "", 1, "11223345", "", false},
        {1, "11223344", "", 7, "11223344", "", false},
        {1, "08112233", "", 1, "08445566", "", true},  /* random: tells nothing */
        {1, "08112233", "", 1, "11445566", "", false}, /* random and fixed */
        {1, "08112233", "0578809102", 1, "08445566", "0578809103", false},
        {1, "08112233", "0578809102", 1, "08445566", "", true},
        {2, "11223344", "", 2, "99887766", "", true},              /* PUPI */
        {4, "08112233445566", "", 4, "08112233445567", "", false}, /* only 4-byte ones are random */
        {3, "01020304", "", 3, "01020304050607", "", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct vivo_card x = card_of(cases[i].t1, cases[i].u1, cases[i].a1);
        struct vivo_card y = card_of(cases[i].t2, cases[i].u2, cases[i].a2);
        assert_int_equal(vivo_same_card(&x, &y), cases[i].same);
        assert_int_equal(vivo_same_card(&y, &x), cases[i].same);
    }
}

/* Answers in which the ATS is no ATS, or longer than any, or two readings agree on the number and not on the rest. */
static void what_is_left_when_an_answer_can_be_read_in_two_ways(void **state)
{
    static const struct poll_case cases[] = {
        {"01112233440580000000", -1, "", ""},       /* T0 has a bit that none has */
        {"01112233440270", -1, "", ""},             /* T0 announces more than there is */
        {"010404040404030000", 1, "04040404", ""},  /* (a) and (b) give the same number: the ATS stays out */
    };
    enum vivo_layout layout = LAYOUT_UNKNOWN;
    uint8_t longest[6 + 255] = {0x01, 0x04, 0x11, 0x22, 0x33, 0x44, 0xFF};
    struct vivo_card card;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        check_case(&cases[i], parse_ats);
    assert_true(vivo_parse_poll_ats(longest, sizeof longest, &layout, &card));
    assert_int_equal(card.uid_len, 4);
    assert_int_equal(card.ats_len, 0); /* more than ISO 14443-4 knows */
}

static void numbers_that_are_none(void **state)
{
    struct vivo_card none = {.type = 0x01}, unknown = {.type = 0x55, .uid_len = 4, .uid = {1, 2, 3, 4}};
    struct vivo_card x = {.type = 0x01, .uid_len = 4, .uid = {8, 2, 3, 4}, .ats_len = 2, .ats = {2, 0}}, y = x;

    (void)state;
    assert_false(vivo_uid_is_fixed(&none));
    assert_true(vivo_uid_is_fixed(&unknown));
    y.ats_len = 1;
    assert_false(vivo_same_card(&x, &y));
}

static void four_frames_a_second(void **state)
{
    const int64_t ms = 1000000, second = 1000 * ms;
    struct vivo_pace p = {0};
    int64_t now = 12345;
    unsigned frames = 0;

    (void)state;
    assert_int_equal(vivo_pace_left(&p, now), 0);
    for (int64_t end = now + 10 * second; now < end; now += ms) {
        if (vivo_pace_left(&p, now) == 0) {
            vivo_pace_take(&p, now);
            frames++;
        }
    }
    assert_int_equal(frames, 40);
    vivo_pace_take(&p, now);
    assert_int_equal(vivo_pace_left(&p, now), 250);
    assert_int_equal(vivo_pace_left(&p, now + 1), 250); /* rounded up: no early wake-up */
    assert_int_equal(vivo_pace_left(&p, now + 249 * ms), 1);
    assert_int_equal(vivo_pace_left(&p, now + 250 * ms), 0);
}

/* ---- the slot
 * ------------------------------------------------------------------------------------------------------------ */

static void lay_card(uint8_t type, const char *uid)
{
    rig.card_type = type;
    rig.uid_len = unhex(uid, rig.uid);
}

/* One turn of the poller, its pause being over. */
static unsigned turn(struct reader *r, unsigned slot)
{
    struct vivo *v = vivo_of(r);
    unsigned again;

    v->pace.any = false;
    v->field.off_until = 0;
    v->slot[slot].asked = 0;
    assert_int_equal(poller_turn(r, slot, &again), R_SUCCESS);
    return again;
}

static struct reader *open_reader(void)
{
    enum result e;
    struct reader *r = rig_open(false, &e);

    assert_non_null(r);
    rig_forget();
    return r;
}

static void power_up(struct reader *r, unsigned slot)
{
    assert_int_equal(r->ops->power_up(r, slot, false, deadline_in(5000), &atr, &protocol), R_SUCCESS);
}

static void expect_atr(const char *hex)
{
    uint8_t p[64];
    size_t n = unhex(hex, p);

    assert_int_equal(atr.len, n);
    assert_memory_equal(atr.bytes, p, n);
}

static bool answers_0e(const struct rig_sent *q)
{
    if (q->command != 0x2C || q->sub != VIVO_SUB_POLL_ATS || rig.card_type == 0)
        return false;
    rig_say(0x2C, VIVO_OK,
            "010411223344"
            "0C"
            "0C788091024A434F50343156");
    return true;
}

static void a_tap_needs_one_frame_and_power_up_none(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    assert_in_range(turn(r, 0), 2, 250);
    assert_false(rig.present[0]);
    lay_card(1, "11223344");
    rig.handler = answers_0e;
    rig_forget();
    (void)turn(r, 0);
    assert_true(rig.present[0]);
    power_up(r, 0);
    assert_int_equal(rig.sent_count, 1);
    assert_int_equal(protocol, 1);
    expect_atr("3B8780014A434F5034315643");
    rig_close(r);
}

/* What the reader does not know is asked once; then the next best is used. */
static bool old_reader(const struct rig_sent *q)
{
    if (q->command != 0x2C || (q->sub != VIVO_SUB_POLL_ATS && q->sub != VIVO_SUB_ENHANCED_POLL))
        return false;
    rig_say(0x2C, VIVO_UNKNOWN_SUB_COMMAND, "");
    return true;
}

static void an_old_reader_is_polled_by_what_it_knows(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    rig.handler = old_reader;
    for (int i = 0; i < 5; i++)
        (void)turn(r, 0);
    assert_int_equal(rig_count(0x2C, 0x0E), 1);
    assert_int_equal(rig_count(0x2C, 0x0C), 1);
    assert_int_equal(rig_count(0x2C, 0x02), 5);
    lay_card(7, "11223344");
    (void)turn(r, 0);
    assert_true(rig.present[0]); /* type 07 is served all the same */
    power_up(r, 0);
    expect_atr("3B80800101");
    rig_close(r);
}

static void a_card_of_both_kinds_is_opened_as_configured(void **state)
{
    (void)state;
    for (int mifare = 0; mifare < 2; mifare++) {
        rig_reset();
        rig_settings.prefer = mifare ? PREFER_MIFARE : PREFER_ISO;
        struct reader *r = open_reader();
        lay_card(7, "11223344");
        (void)turn(r, 0);
        assert_int_equal(rig_count(0x2C, 0x0E), 1);
        assert_int_equal(rig_count(0x2C, mifare ? 0x02 : 0x0C), 1);
        if (!mifare)
            assert_memory_equal(rig.sent[1].data, "\x00\x19\x00\x01", 4);
        power_up(r, 0);
        assert_int_equal(rig.sent_count, 2);
        expect_atr(mifare ? "3B8F8001804F0CA000000306030001000000006A" : "3B80800101");
        (void)turn(r, 0); /* fresh: polled again by what opened it */
        assert_int_equal(rig_count(0x2C, mifare ? 0x02 : 0x0C), 2);
        rig_close(r);
    }
}

static void storage_cards_have_their_atr(void **state)
{
    static const struct {
        uint8_t type;
        const char *uid, *atr;
    } cases[] = {
        {3, "01020304", "3B8F8001804F0CA000000306030001000000006A"},
        {4, "04112233445566", "3B8F8001804F0CA0000003060300030000000068"},
        {5, "04112233445566", "3B8F8001804F0CA000000306030000000000006B"},
        {6, "11223344", "3B8F8001804F0CA000000306070000000000006F"},
        {2, "11223344", "3B80800101"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        rig_reset();
        struct reader *r = open_reader();
        lay_card(cases[i].type, cases[i].uid);
        (void)turn(r, 0);
        power_up(r, 0);
        expect_atr(cases[i].atr);
        rig_close(r);
    }
}

static void two_misses_are_a_removal(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    lay_card(1, "11223344");
    (void)turn(r, 0);
    power_up(r, 0);
    lay_card(0, "");
    (void)turn(r, 0);
    assert_true(rig.present[0]);
    lay_card(1, "11223344"); /* back in time */
    (void)turn(r, 0);
    lay_card(0, "");
    (void)turn(r, 0);
    assert_true(rig.present[0]);
    (void)turn(r, 0);
    assert_false(rig.present[0]);
    rig_close(r);
}

static void another_card_is_a_removal_and_an_insertion(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    lay_card(1, "11223344");
    (void)turn(r, 0);
    lay_card(1, "55667788");
    (void)turn(r, 0);
    assert_int_equal(rig.observed[0], 3); /* there, gone, there: told in this order */
    assert_true(rig.present[0]);
    power_up(r, 0);
    rig_close(r);
}

/* A card that another command opened than that which finds cards best is found anew. */
static void another_card_of_both_kinds_is_found_by_the_next_poll(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    lay_card(7, "11223344");
    (void)turn(r, 0);
    lay_card(1, "55667788");
    (void)turn(r, 0);
    assert_false(rig.present[0]);
    (void)turn(r, 0);
    assert_true(rig.present[0]);
    assert_int_equal(rig.sent[rig.sent_count - 1].sub, 0x0E);
    rig_close(r);
}

static void a_random_uid_is_no_storm(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    for (int i = 0; i < 40; i++) {
        lay_card(1, "08000000");
        rig.uid[3] = (uint8_t)i;
        (void)turn(r, 0);
        assert_true(rig.present[0]);
    }
    assert_int_equal(rig.observed[0], 1);
    assert_int_equal(rig.lost[0], 0);
    rig_close(r);
}

/* A random serial number that makes the answer unreadable by itself; 2C-0C tells that the card is there. */
static bool answers_unreadably(const struct rig_sent *q)
{
    if (q->command != 0x2C || q->sub != VIVO_SUB_POLL_ATS)
        return false;
    rig_say(0x2C, VIVO_OK,
            "01"
            "04081122"
            "07"
            "050578807002");
    return true;
}

static void an_unreadable_answer_is_no_removal(void **state)
{
    (void)state;
    struct reader *r = open_reader();
    lay_card(1, "08000000");
    (void)turn(r, 0);
    assert_true(rig.present[0]);
    vivo_of(r)->field.layout = LAYOUT_UNKNOWN;
    rig.handler = answers_unreadably;
    for (int i = 0; i < 5; i++)
        (void)turn(r, 0);
    assert_int_equal(rig.observed[0], 1);
    assert_int_equal(rig_count(0x2C, 0x0C), 5);
    rig_close(r);
}

static void a_session_is_left_alone(void **state)
{
    static const uint8_t apdu[] = {0x00, 0xA4, 0x00, 0x00};
    uint8_t response[300];
    size_t n;

    (void)state;
    struct reader *r = rig_open_powered();
    assert_int_equal(r->ops->transmit(r, 0, apdu, 4, response, sizeof response, &n, deadline_in(1000)), R_SUCCESS);
    rig_forget();
    for (int i = 0; i < 10; i++)
        assert_int_equal(turn(r, 0), READER_WATCH_NEVER);
    assert_int_equal(rig.sent_count, 0);
    power_up(r, 0); /* a reset that the client asks for: field off, then a poll */
    assert_int_equal(rig.sent_count, 2);
    assert_int_equal(rig.sent[0].command, 0x28);
    assert_int_equal(rig.sent[0].data[0], 0);
    assert_int_equal(rig.sent[1].sub, 0x0E);
    assert_int_equal(rig.lost[0], 0);
    rig_close(r);
}

static const char *parameters, *raw_answer;
static uint8_t raw_status;

static bool answers_raw(const struct rig_sent *q)
{
    if (q->command != 0x2C || (q->sub != VIVO_SUB_PARAMETERS && q->sub != VIVO_SUB_RAW))
        return false;
    if (q->sub == VIVO_SUB_PARAMETERS)
        rig_say(0x2C, VIVO_OK, parameters);
    else
        rig_say(0x2C, raw_status, raw_answer);
    return true;
}

/* Two seconds have passed without an APDU. */
static unsigned idle_turn(struct reader *r)
{
    vivo_of(r)->slot[0].traffic = vivo_of(r)->field.rnak_at = 0;
    return turn(r, 0);
}

static void the_presence_check_asks_by_an_r_block(void **state)
{
    static const uint8_t apdu[] = {0x00, 0xA4, 0x00, 0x00};
    uint8_t response[300];
    size_t n;

    (void)state;
    rig_settings.presence_check = PRESENCE_RNAK;
    struct reader *r = rig_open_powered();
    rig.handler = answers_raw;
    assert_int_equal(r->ops->transmit(r, 0, apdu, 4, response, sizeof response, &n, deadline_in(1000)), R_SUCCESS);
    rig_forget();
    assert_true(turn(r, 0) > 1000); /* a client works: not yet */
    assert_int_equal(rig.sent_count, 0);
    parameters = "010001000301010000100000000180"; /* CID 3 in use, block 1 */
    raw_status = VIVO_OK;
    raw_answer = "0000000008A2";
    assert_true(idle_turn(r) > 1000);
    assert_int_equal(rig.sent_count, 2);
    assert_memory_equal(rig.sent[1].data, "\x1E\x00\x00\x29\x68\x01\x0F\xBB\x03", 9);
    parameters = "010001000000010000100000000180"; /* CID 0: left out */
    (void)idle_turn(r);
    assert_int_equal(rig.sent[3].n, 8);
    assert_int_equal(rig.sent[3].data[7], 0xB2);
    raw_status = VIVO_FAILED; /* spoilt, but something is there */
    raw_answer = "FE00000000";
    assert_true(idle_turn(r) > 1000);
    raw_status = VIVO_TIMEOUT;
    raw_answer = "E500000000";
    assert_true(idle_turn(r) <= 251);
    assert_true(rig.present[0]);
    (void)idle_turn(r);
    assert_false(rig.present[0]);
    rig_close(r);
}

static void a_reader_without_raw_exchange_is_not_asked_for_ever(void **state)
{
    (void)state;
    rig_settings.presence_check = PRESENCE_RNAK;
    struct reader *r = rig_open_powered(); /* answers 03 to it */
    vivo_of(r)->slot[0].session = true;
    assert_int_equal(idle_turn(r), READER_WATCH_NEVER);
    rig_forget();
    assert_int_equal(idle_turn(r), READER_WATCH_NEVER);
    assert_int_equal(rig.sent_count, 0);
    assert_true(rig.present[0]);
    rig_close(r);
}

/* ---- a MIFARE card in session ---------------------------------------------------------------------------------- */

static uint8_t trailer_status;

static bool answers_reads(const struct rig_sent *q)
{
    if (q->command != 0x2C || (q->sub != 0x06 && q->sub != 0x07))
        return false;
    if (q->sub == 0x06 || trailer_status != VIVO_OK)
        rig_say(0x2C, q->sub == 0x06 ? VIVO_OK : trailer_status, "");
    else
        rig_say(0x2C, VIVO_OK, "000000000000FF078069FFFFFFFFFFFF");
    return true;
}

static struct device device;

/* A MIFARE card in session, block 20 of which is authenticated; nobody has worked with it for a while. */
static struct reader *open_mifare(void)
{
    struct storage_session *s = &device.slots[0].storage;

    lay_card(0x03, "01020304");
    struct reader *r = open_reader();
    memset(&device, 0, sizeof device);
    r->device = &device;
    (void)turn(r, 0);
    power_up(r, 0);
    rig.handler = answers_reads;
    trailer_status = VIVO_OK;
    vivo_of(r)->slot[0].session = true;
    s->auth.valid = true;
    s->auth.sector = 5;
    s->auth.selection = vivo_of(r)->field.seen;
    rig_forget();
    return r;
}

static unsigned idle_mifare(struct reader *r)
{
    vivo_of(r)->slot[0].traffic = vivo_of(r)->field.trailer_at = 0;
    return turn(r, 0);
}

static void an_open_sector_is_asked_by_its_trailer(void **state)
{
    (void)state;
    struct reader *r = open_mifare();
    vivo_of(r)->slot[0].traffic = clock_now();
    assert_true(turn(r, 0) > 500); /* a client works: not yet */
    assert_int_equal(rig.sent_count, 0);
    assert_in_range(idle_mifare(r), 500, 1001);
    assert_int_equal(rig.sent_count, 1);
    assert_int_equal(rig.sent[0].sub, 0x07);
    assert_memory_equal(rig.sent[0].data, "\x31\x17", 2);
    assert_true(turn(r, 0) > 500);
    trailer_status = VIVO_FAILED;
    assert_true(idle_mifare(r) <= 250);
    assert_true(rig.present[0]);
    trailer_status = VIVO_OK; /* it was a fluke */
    assert_true(idle_mifare(r) > 500);
    trailer_status = VIVO_TIMEOUT;
    assert_true(idle_mifare(r) <= 250);
    vivo_of(r)->field.trailer_at = clock_now() - 1000000000;
    vivo_of(r)->slot[0].traffic = vivo_of(r)->field.trailer_at + 1; /* a client's command in between counts anew */
    (void)turn(r, 0);
    assert_true(rig.present[0]);
    (void)idle_mifare(r);
    assert_false(rig.present[0]);
    assert_int_equal(rig.lost[0], 0);
    assert_int_equal(rig.sent_count, rig_count(0x2C, 0x07)); /* never polled */
    rig_close(r);
}

static void any_other_answer_is_presence(void **state)
{
    static const uint8_t others[] = {0x05, 0x06, 0x70, 0x0D};

    (void)state;
    struct reader *r = open_mifare();
    for (size_t i = 0; i < 2 * sizeof others; i++) {
        trailer_status = others[i / 2];
        assert_true(idle_mifare(r) > 500);
    }
    assert_true(rig.present[0]);
    rig_close(r);
}

static void what_is_not_open_is_not_asked(void **state)
{
    struct storage_session *s = &device.slots[0].storage;

    (void)state;
    struct reader *r = open_mifare();
    s->auth.selection++; /* selected anew since */
    assert_int_equal(idle_mifare(r), 1000);
    s->auth.selection--;
    s->auth.elsewhere = true;
    assert_int_equal(idle_mifare(r), 1000);
    s->auth.elsewhere = false;
    s->transparent.open = true; /* the client alone talks to the card */
    assert_int_equal(idle_mifare(r), 1000);
    s->transparent.open = false;
    s->auth.valid = false;
    assert_int_equal(idle_mifare(r), 1000);
    assert_int_equal(rig.sent_count, 0);
    s->auth.valid = true;
    (void)idle_mifare(r);
    assert_int_equal(rig.sent_count, 1);
    rig_close(r);
}

static void an_ultralight_in_session_is_left_alone(void **state)
{
    (void)state;
    lay_card(0x04, "04112233445566");
    struct reader *r = open_reader();
    memset(&device, 0, sizeof device);
    r->device = &device;
    (void)turn(r, 0);
    power_up(r, 0);
    vivo_of(r)->slot[0].session = true;
    rig_forget();
    assert_int_equal(idle_mifare(r), READER_WATCH_NEVER);
    assert_int_equal(rig.sent_count, 0);
    rig_close(r);
}

static void power_down_takes_the_field_away_for_a_while(void **state)
{
    int64_t before;

    (void)state;
    rig_settings.rf_off = 30;
    struct reader *r = rig_open_powered();
    before = clock_now();
    assert_int_equal(r->ops->power_down(r, 0, deadline_in(1000)), R_SUCCESS);
    assert_int_equal(rig_count(0x28, 0x01), 1);
    power_up(r, 0);
    assert_true(clock_now() - before >= 30 * 1000000);
    assert_int_equal(rig_count(0x2C, 0x0E), 1);
    assert_int_equal(rig.lost[0], 0);
    assert_int_equal(r->ops->power_down(r, 0, deadline_in(1000)), R_SUCCESS);
    rig_forget();
    assert_int_equal(r->ops->power_down(r, 0, deadline_in(1000)), R_SUCCESS);
    assert_int_equal(rig.sent_count, 0); /* off already */
    (void)turn(r, 0);
    assert_int_equal(rig_count(0x2C, 0x0E), 1); /* polling resumes */
    assert_int_equal(rig.observed[0], 0);
    rig_close(r);
}

static void a_card_that_left_while_unpowered_is_found_out_by_power_up(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    assert_int_equal(r->ops->power_down(r, 0, deadline_in(1000)), R_SUCCESS);
    lay_card(0, "");
    assert_int_equal(r->ops->power_up(r, 0, false, deadline_in(5000), &atr, &protocol), R_NO_CARD);
    assert_false(rig.present[0]);
    rig_close(r);
}

static void protocols_of_a_contactless_card(void **state)
{
    (void)state;
    struct reader *r = rig_open_powered();
    assert_int_equal(r->ops->set_protocol(r, 0, 1, deadline_in(1000), &protocol), R_SUCCESS);
    assert_int_equal(protocol, 1);
    assert_int_equal(r->ops->set_protocol(r, 0, 0, deadline_in(1000), &protocol), R_PROTOCOL);
    assert_int_equal(protocol, 1);
    rig_settings.contactless_t0 = SWITCH_ON;
    assert_int_equal(r->ops->set_protocol(r, 0, 0, deadline_in(1000), &protocol), R_SUCCESS);
    assert_int_equal(protocol, 0);
    rig_close(r);
}

static bool finds_felica(const struct rig_sent *q)
{
    if (q->command != 0x2C || q->sub != 0x40)
        return false;
    rig_say(0x2C, VIVO_OK, "0C0102030405060708");
    return true;
}

static void felica_has_its_turn(void **state)
{
    (void)state;
    rig_settings.felica = SWITCH_ON;
    struct reader *r = open_reader();
    rig.handler = finds_felica;
    for (int i = 0; i < 3; i++)
        (void)turn(r, 0);
    assert_int_equal(rig_count(0x2C, 0x40), 0);
    (void)turn(r, 0);
    assert_int_equal(rig_count(0x2C, 0x40), 1);
    assert_memory_equal(rig.sent[rig_find(0x2C, 0x40, 0)].data, "\xFF\x01", 2);
    assert_true(rig.present[0]);
    power_up(r, 0);
    expect_atr("3B8F8001804F0CA00000030611003B0000000042");
    (void)turn(r, 0); /* polled again by what found it */
    assert_int_equal(rig_count(0x2C, 0x40), 2);
    rig_close(r);
}

static bool usual_too;

static bool finds_tag_4(const struct rig_sent *q)
{
    if (q->command != 0x2C || (q->sub != 0x40 && q->sub != 0x0E))
        return false;
    if (q->sub == 0x40)
        rig_say(0x2C, VIVO_OK, "0D11223344");
    else if (usual_too && rig_count(0x2C, 0x40) > 0) /* it came while 2C-40 had its turn */
        rig_say(0x2C, VIVO_OK, "0111223344");
    else
        rig_say(0x2C, VIVO_TIMEOUT, "");
    return true;
}

/* The turn of 2C-40 finds a card that is no FeliCa: it is the usual poll's, if that can find it. */
static void the_turn_for_felica_takes_no_other_card_away(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig_reset();
        usual_too = i;
        rig_settings.felica = SWITCH_ON;
        struct reader *r = open_reader();
        rig.handler = finds_tag_4;
        for (int k = 0; k < 4; k++)
            (void)turn(r, 0);
        assert_true(rig.present[0]);
        assert_int_equal(vivo_of(r)->field.card.type, usual_too ? 0x01 : 0x0D);
        assert_int_equal(vivo_of(r)->field.opener, usual_too ? OPEN_BY_0E : OPEN_BY_40);
        power_up(r, 0);
        expect_atr("3B80800101");
        rig_close(r);
    }
}

/* ---- contact slots
 * ---------------------------------------------------------------------------------------------------- */

static struct reader *open_slots(enum slot_kind first, enum slot_kind second)
{
    rig_settings.slots[0] = first;
    rig_settings.slots[1] = second;
    rig_settings.slot_count = second == SLOT_NONE ? 1 : 2;
    return open_reader();
}

static void a_contact_card_is_asked_for_by_its_atr(void **state)
{
    (void)state;
    struct reader *r = open_slots(SLOT_ICC, SLOT_NONE);
    (void)turn(r, 0);
    assert_false(rig.present[0]);
    assert_memory_equal(rig.sent[0].data, "\x20", 1);
    rig.contact_atr = "3B9F018081";
    assert_in_range(turn(r, 0), 500, 1001); /* once a second */
    assert_true(rig.present[0]);
    rig_forget();
    power_up(r, 0);
    assert_int_equal(rig.sent_count, 0); /* it has just been powered up */
    expect_atr("3B9F018081");
    assert_int_equal(protocol, 0);
    rig.contact_atr = "3B9F018082";
    (void)turn(r, 0);
    assert_int_equal(rig.lost[0], 1);
    rig.contact_atr = NULL;
    (void)turn(r, 0);
    assert_false(rig.present[0]);
    rig_close(r);
}

static bool contact_fails(const struct rig_sent *q)
{
    if (q->command != 0x2C || q->sub != VIVO_SUB_CONTACT_APDU)
        return false;
    rig_say(0x2C, VIVO_FAILED, "");
    return true;
}

static void a_failed_contact_exchange_ends_the_session(void **state)
{
    static const uint8_t apdu[] = {0x00, 0xA4, 0x00, 0x00};
    uint8_t response[300];
    size_t n;

    (void)state;
    for (int there = 0; there < 2; there++) {
        rig_reset();
        rig.contact_atr = "3B9F018081";
        struct reader *r = open_slots(SLOT_ICC, SLOT_NONE);
        power_up(r, 0);
        rig_forget();
        rig.handler = contact_fails;
        rig.contact_atr = there ? "3B9F018081" : NULL;
        assert_int_equal(r->ops->transmit(r, 0, apdu, 4, response, sizeof response, &n, deadline_in(1000)), R_NO_CARD);
        assert_int_equal(rig_count(0x2C, 0x13), 1);
        assert_int_equal(rig_count(0x2C, 0x12), 1);
        assert_memory_equal(rig.sent[0].data, "\x20\x00\xA4\x00\x00", 5);
        if (there)
            assert_int_equal(rig.lost[0], 1);
        else
            assert_false(rig.present[0]);
        rig_close(r);
    }
}

static void a_sam_is_asked_once(void **state)
{
    (void)state;
    rig.contact_atr = "3B9F018081";
    struct reader *r = open_slots(SLOT_SAM1 + 2, SLOT_NONE);
    assert_true(rig.present[0]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(turn(r, 0), READER_WATCH_NEVER);
    assert_int_equal(rig.sent_count, 0);
    power_up(r, 0);
    assert_int_equal(r->ops->power_down(r, 0, deadline_in(1000)), R_SUCCESS);
    power_up(r, 0);
    assert_memory_equal(rig.sent[rig_find(0x2C, 0x12, 0)].data, "\x23", 1);
    rig_close(r);
}

/* While a card in the contact slot is worked with, the field is polled 20 ms once a second. */
static void slots_share_the_reader(void **state)
{
    static const uint8_t apdu[] = {0x00, 0xA4, 0x00, 0x00};
    uint8_t response[300];
    size_t n;
    unsigned again;

    (void)state;
    rig.contact_atr = "3B9F018081";
    struct reader *r = open_slots(SLOT_CL, SLOT_ICC);
    power_up(r, 1);
    assert_int_equal(r->ops->transmit(r, 1, apdu, 4, response, sizeof response, &n, deadline_in(1000)), R_SUCCESS);
    rig_forget();
    again = turn(r, 0);
    assert_true(again > 500 && again <= 1000);
    assert_memory_equal(rig.sent[0].data, "\x00\x02", 2); /* 20 ms */
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_int_equal(rig.sent_count, 1);
    assert_int_equal(turn(r, 1), READER_WATCH_NEVER);
    rig_close(r);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        CASE(plain_polls),
        CASE(polls_with_ats),
        CASE(a_layout_once_seen_decides),
        CASE(no_answer_is_read_past_its_end),
        CASE(which_card_is_which),
        CASE(what_is_left_when_an_answer_can_be_read_in_two_ways),
        CASE(numbers_that_are_none),
        CASE(four_frames_a_second),
        CASE(a_tap_needs_one_frame_and_power_up_none),
        CASE(an_old_reader_is_polled_by_what_it_knows),
        CASE(a_card_of_both_kinds_is_opened_as_configured),
        CASE(storage_cards_have_their_atr),
        CASE(two_misses_are_a_removal),
        CASE(another_card_is_a_removal_and_an_insertion),
        CASE(another_card_of_both_kinds_is_found_by_the_next_poll),
        CASE(a_random_uid_is_no_storm),
        CASE(an_unreadable_answer_is_no_removal),
        CASE(a_session_is_left_alone),
        CASE(the_presence_check_asks_by_an_r_block),
        CASE(a_reader_without_raw_exchange_is_not_asked_for_ever),
        CASE(an_open_sector_is_asked_by_its_trailer),
        CASE(any_other_answer_is_presence),
        CASE(what_is_not_open_is_not_asked),
        CASE(an_ultralight_in_session_is_left_alone),
        CASE(power_down_takes_the_field_away_for_a_while),
        CASE(a_card_that_left_while_unpowered_is_found_out_by_power_up),
        CASE(protocols_of_a_contactless_card),
        CASE(felica_has_its_turn),
        CASE(the_turn_for_felica_takes_no_other_card_away),
        CASE(a_contact_card_is_asked_for_by_its_atr),
        CASE(a_failed_contact_exchange_ends_the_session),
        CASE(a_sam_is_asked_once),
        CASE(slots_share_the_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
