/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay reader model against its specification: every recorded frame, every rule of the simulator's chapter.
 * The driver's tests stand on this model, so what it does is pinned here byte for byte.
 */
#include "neo_rig.h"
#include "neo_vectors.h"

#include "../sim/neo_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OK                    "00:"
#define PASS_ON()             assert_string_equal(rig_ask("2C01", "01"), OK)
#define ASK(code, data, want) assert_string_equal(rig_ask(code, data), want)
#define CTL(verb, args, want) assert_string_equal(rig_control(verb, args), want)

#define FF_KEY "FFFFFFFFFFFF"

static int stop(void **state)
{
    (void)state;
    rig_stop();
    return 0;
}

static void start_pass(const char *options)
{
    rig_start(options);
    PASS_ON();
}

static void feed_frame(const char *rest)
{
    rig_feed(RIG_HEADER);
    rig_feed(rest);
}

static void expect_frame(const char *rest)
{
    char want[4096];

    snprintf(want, sizeof want, "%s%s", RIG_HEADER, rest);
    assert_string_equal(rig_out(), want);
}

/* ---- codec ----------------------------------------------------------------------------------------------------- */

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(neo_crc((const uint8_t *)"123456789", 9), 0x29B1);
    assert_int_equal(rig_crc((const uint8_t *)"123456789", 9), 0x29B1);
    rig_start("");
}

/* Feeds a recorded command; it must pass the CRC check, and must not with its CRC the other way round. */
static void check_command(const struct vector *v, bool pass)
{
    uint8_t bytes[512];
    size_t n = rig_unhex(v->hex, bytes, sizeof bytes);
    unsigned long before;
    uint8_t swap;

    rig_start("");
    if (pass)
        PASS_ON();
    before = rig_count("crc_errors");
    feed_frame(v->hex);
    assert_int_equal(rig_count("crc_errors"), before);
    assert_int_equal(rig_count("commands"), pass ? 2 : 1);
    rig_wait(5000);
    rig_out();
    if (bytes[n - 1] != bytes[n - 2]) {
        swap = bytes[n - 1];
        bytes[n - 1] = bytes[n - 2];
        bytes[n - 2] = swap;
        rig_feed(RIG_HEADER);
        rig_feed_bytes(bytes, n);
        assert_int_equal(rig_count("crc_errors"), before + 1);
        rig_out();
    }
    rig_stop();
}

static void test_command_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        check_command(&commands[i], strncmp(commands[i].hex, "2C", 2) == 0);
    for (size_t i = 0; i < sizeof derived_commands / sizeof derived_commands[0]; i++)
        check_command(&derived_commands[i], true);
    rig_start("");
}

static bool check_answer(const struct vector *v)
{
    uint8_t bytes[512], frame[NEO_FRAME_MAX];
    size_t n = rig_unhex(v->hex, bytes, sizeof bytes), len;

    len = neo_frame_build(bytes[0], bytes[1], bytes + 4, n - 6, frame);
    assert_int_equal(len, n + NEO_HEADER_LEN);
    return memcmp(frame + NEO_HEADER_LEN, bytes, n) == 0;
}

static void test_answer_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        assert_int_equal(check_answer(&answers[i]), answers[i].number != 7); /* the misprint */
    for (size_t i = 0; i < sizeof derived_answers / sizeof derived_answers[0]; i++)
        assert_true(check_answer(&derived_answers[i]));
    rig_start("");
}

/* The frame of an answer vector, as the model must send it. */
static const char *answer(int number)
{
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (answers[i].number == number)
            return answers[i].hex;
    }
    fail();
    return "";
}

/* ---- identity and service ---------------------------------------------------------------------------------------- */

static void test_identity(void **state)
{
    (void)state;
    rig_start("");
    feed_frame("18010000B3CD");
    expect_frame(answer(2));
    feed_frame("1201000018A5");
    expect_frame(answer(5));
    feed_frame("09020000F0F9");
    expect_frame(answer(9));
    feed_frame("0101000101D734");
    expect_frame(answer(12));
    feed_frame("092000005611");
    expect_frame(answer(47));
    ASK("0900", "", rig_ask("0920", ""));
    feed_frame("09010000A0A0");
    expect_frame("09000006DF60034336008933");
    CTL("option", "product=433500", "ok");
    feed_frame("09010000A0A0");
    expect_frame("09000006DF6003433500DC60");
    ASK("2900", "", "00:56503333303020555342204E454F2076312E30312E313037");
    CTL("option", "model=VP5300 FW v1.00.S", "ok");
    ASK("2900", "", "00:5650353330302046572076312E30302E53");
    CTL("option", "serial=none", "ok");
    feed_frame("1201000018A5");
    expect_frame("120B000062D9");
    assert_string_equal(rig_ask("2901", "00") + 3, "010749464D20312E3002064857"
                                                   "20322E31030753572031"
                                                   "2E3034");
    ASK("2901", "02", "05:");
    assert_memory_equal(rig_ask("2904", ""), "00:4E454F", 9);
    assert_memory_equal(rig_ask("2906", ""), "00:454D56", 9);
    assert_int_equal(strlen(rig_ask("2917", "")), 3 + 32);
    assert_memory_equal(rig_ask("0914", ""), "00:4857", 7);
    assert_memory_equal(rig_ask("0903", ""), "00:DF62", 7);
    ASK("0501", "", OK);
    ASK("0501", "01", OK);
    ASK("0930", "", "03:");
    ASK("3001", "05", "0B:");
    assert_int_equal(rig_count("forbidden"), 1);
    CTL("option", "baud=allow", "ok");
    ASK("3001", "05", OK);
    ASK("3002", "06", "05:");
    CTL("option", "generation=neo1", "ok");
    ASK("2904", "", "03:");
}

static void test_order_of_checks(void **state)
{
    (void)state;
    rig_start("");
    feed_frame("18010000CDB3");
    expect_frame("180400002643");
    feed_frame("2C010001011919");
    expect_frame("2C040000C05B");
    ASK("7777", "", "02:"); /* unknown command */
    ASK("2C77", "", "03:"); /* unknown sub-command, before the mode */
    ASK("2C02", "", "0C:"); /* the mode, before the length */
    ASK("2801", "01", "0C:");
    ASK("0B01", "01", "0C:");
    ASK("2C01", "02", "05:");
    PASS_ON();
    ASK("2C02", "", "05:");
    ASK("2C02", "0000", "05:");
    ASK("2C06", "0401", "05:");
    ASK("0101", "01", "0C:");
    ASK("0501", "", "0C:");
    ASK("0920", "", "0C:");
    ASK("2901", "00", "0C:");
    ASK("1801", "", OK);
    ASK("1201", "", "00:3633305A3030303030310000000000");
    assert_memory_equal(rig_ask("2900", ""), "00:56", 5);
    assert_int_equal(rig_count("mode_errors"), 7);
    assert_int_equal(rig_count("2C02"), 3);
    ASK("0B01", "01", OK);
    ASK("0B01", "05", "05:");
    ASK("0B02", "03", OK);
    ASK("0A02", "FF00", OK);
    ASK("0A02", "0405", "05:");
    ASK("2801", "01", OK);
    ASK("2801", "02", "05:");
    ASK("2C01", "00", OK);
    CTL("option", "secondstop=0B", "ok");
    ASK("2C01", "00", "0B:");
}

static void test_crc_options(void **state)
{
    (void)state;
    rig_start("crc=swapped,boot=none");
    PASS_ON();
    ASK("2C18", "", "04:");
    ASK("2C0B", "05000000000100", "04:");
    feed_frame("2C18000059F6");
    expect_frame(answer(32));
    CTL("option", "crc=swapped-all", "ok");
    ASK("2C05", "", "04:");
    feed_frame("2C0100010138"
               "0D"); /* neither order */
    expect_frame("2C040000C05B");
    feed_frame("2C01000101191D");
    expect_frame(answer(32));
    CTL("option", "crc=lenient", "ok");
    feed_frame("2C01000101191D");
    expect_frame(answer(32));
    feed_frame("2C010001011D19");
    expect_frame(answer(32));
    feed_frame("18010000CDB3");
    expect_frame(answer(2));
    assert_int_equal(rig_count("crc_errors"), 4);
}

/* ---- link -------------------------------------------------------------------------------------------------------- */

static void test_hunt(void **state)
{
    (void)state;
    rig_start("");
    rig_feed("5656695669"); /* what may begin a header and does not */
    feed_frame("18010000B3CD");
    expect_frame(answer(2));
    feed_frame("2C0305CC"); /* 1484 is allowed: the reader waits */
    assert_int_equal(rig_out_len(), 0);
    rig_wait(100000);
    assert_int_equal(rig_out_len(), 0);
    feed_frame("18010000B3CD"); /* and begins anew with the next header */
    expect_frame(answer(2));
    feed_frame("2C0305CD");
    assert_memory_equal(rig_out() + 20, "2C0D0000", 8);
    feed_frame("18010000B3CD");
    expect_frame(answer(2));
    feed_frame("1801"); /* "Vi" of the next header is taken for a length, yet that frame is not lost */
    feed_frame("18010000B3CD");
    assert_string_equal(rig_next(0), "18:0D:");
    assert_string_equal(rig_next(0), "18:00:");
    feed_frame("180100");
    feed_frame("180100");
    rig_feed("00B3CD");
    assert_string_equal(rig_next(0), "18:00:");
    assert_int_equal(rig_out_len(), 0);
    rig_feed("FF56"); /* noise between frames */
    feed_frame("18010000B3CD");
    expect_frame(answer(2));
    assert_int_equal(rig_count("too_long"), 2);
    assert_string_equal(rig_control("last", ""), RIG_HEADER "18010000B3CD");
}

static void test_longest_frame(void **state)
{
    static char data[2 * 1484 + 1];

    (void)state;
    start_pass("");
    CTL("insert", "iso:fake", "ok");
    ASK("2C02", "0019", "00:0104A1B2C3D4E5F6");
    memset(data, '0', 2 * 1484);
    ASK("2C03", data, "0D:"); /* the card's answer would be two bytes longer */
    assert_int_equal(rig_count("executions"), 1);
    data[2 * 1482] = '\0';
    assert_int_equal(strlen(rig_ask("2C03", data)), 3 + 2 * 1484);
}

static void test_bytewise_equals_whole(void **state)
{
    uint8_t frame[64];
    size_t n = rig_unhex(RIG_HEADER "18010000B3CD", frame, sizeof frame);

    (void)state;
    rig_start("");
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rig_out_len(), 0);
        rig_feed_bytes(frame + i, 1);
    }
    expect_frame(answer(2));
}

static void test_hid_ping(void **state)
{
    char report[2 * 64 + 1];

    (void)state;
    rig_start("link=hid");
    snprintf(report, sizeof report, "01%s18010000B3CD%094d", RIG_HEADER, 0);
    rig_feed(report);
    snprintf(report, sizeof report, "01%s18000000FA83%094d", RIG_HEADER, 0);
    assert_string_equal(rig_out(), report);
    rig_feed("03"); /* not 64 bytes */
    assert_int_equal(rig_out_len(), 0);
    assert_int_equal(rig_count("hid_ignored"), 1);
}

static void test_hid_long_answer(void **state)
{
    static const int ids[] = {2, 3, 3, 3, 4};
    uint8_t out[5 * 64], vector[314];
    const char *text;

    (void)state;
    rig_start("link=hid");
    rig_send("0920", "");
    text = rig_out();
    assert_int_equal(strlen(text), 2 * sizeof out);
    rig_unhex(text, out, sizeof out);
    rig_unhex(RIG_HEADER, vector, 10);
    rig_unhex(answer(47), vector + 10, sizeof vector - 10);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(out[64 * i], ids[i]);
        assert_memory_equal(out + 64 * i + 1, vector + 63 * i, i < 4 ? 63 : 62);
    }
    assert_int_equal(out[sizeof out - 1], 0); /* the one byte of padding */
}

static void test_hid_reassembly(void **state)
{
    uint8_t frame[140] = {0}, report[64];
    size_t n = rig_unhex(RIG_HEADER "18010000B3CD", frame + 20, 32) + 20; /* padding around the command is legal */

    (void)state;
    rig_start("link=hid");
    for (int id = 2; id <= 4; id++) {
        memset(report, 0, sizeof report);
        report[0] = (uint8_t)id;
        memcpy(report + 1, frame + 12 * (id - 2), 12); /* cut anywhere: what counts is the bytes' order */
        if (id == 4)
            memcpy(report + 1, frame + 24, n - 24);
        rig_feed_bytes(report, sizeof report);
    }
    assert_int_equal(rig_out_len(), 0); /* zeros inside the header: no command in it */
    report[0] = 3;
    rig_feed_bytes(report, sizeof report);
    report[0] = 4;
    rig_feed_bytes(report, sizeof report);
    report[0] = 9;
    rig_feed_bytes(report, sizeof report);
    assert_int_equal(rig_count("hid_ignored"), 3);
    memset(report, 0, sizeof report);
    report[0] = 2;
    rig_feed_bytes(report, sizeof report); /* only padding, then the frame in the second report */
    report[0] = 4;
    memcpy(report + 1, frame + 20, n - 20);
    rig_feed_bytes(report, sizeof report);
    assert_string_equal(rig_next(0), "18:00:");
    assert_int_equal(rig_count("commands"), 1);
}

static void test_hid_long_command(void **state)
{
    char data[2 * 400 + 1], want[2 * 402 + 8];

    (void)state;
    start_pass("link=hid");
    CTL("insert", "iso:fake", "ok");
    assert_memory_equal(rig_ask("2C02", "0019"), OK, 3);
    memset(data, '5', sizeof data - 1);
    data[sizeof data - 1] = '\0';
    snprintf(want, sizeof want, "00:%s9000", data);
    ASK("2C03", data, want);
}

static void test_hid_set_report(void **state)
{
    char report[2 * 64 + 1];
    const struct sim_usb_identity *usb;

    (void)state;
    rig_start("link=hid,out=setreport,pid=3531,vid=0ACD,serial=ABC");
    usb = sim_neo.usb(rig_model());
    assert_int_equal(usb->pid, 0x3531);
    assert_string_equal(usb->serial, "ABC");
    assert_int_equal(usb->descriptors_len, 18 + 9 + 9 + 9 + 7);
    assert_int_equal(usb->descriptors[18 + 2], 9 + 9 + 9 + 7);
    snprintf(report, sizeof report, "01%s18010000B3CD%094d", RIG_HEADER, 0);
    assert_true(rig_control_transfer("2109010200004000", report));
    assert_string_equal(rig_next(0), "18:00:");
    assert_false(rig_control_transfer("2109020200004000", report)); /* wValue and report disagree */
    assert_false(rig_control_transfer("2109010300004000", report)); /* a feature report: not in this mode */
    assert_true(rig_control_transfer("210A000000000000", ""));
    assert_false(rig_control_transfer("A109010200004000", report));
    rig_feed(report);
    assert_int_equal(rig_count("commands"), 1); /* there is no OUT endpoint to send to */
}

static void test_hid_keyboard(void **state)
{
    (void)state;
    rig_start("link=hid,keyboard=1,pid=3531");
    assert_int_equal(sim_neo.usb(rig_model())->descriptors[18 + 9 + 6], 1);
    assert_true(rig_control_transfer("2109010300000900", "0156"
                                                         "69564F74656368"));
    assert_true(rig_control_transfer("2109010300000900", "013200180100"
                                                         "00B3CD"));
    assert_int_equal(rig_count("commands"), 1);
    assert_int_equal(rig_out_len(), 0);
}

static void test_usb_identity(void **state)
{
    const struct sim_usb_identity *usb;

    (void)state;
    rig_start("link=hid");
    usb = sim_neo.usb(rig_model());
    assert_int_equal(usb->vid, 0x0ACD);
    assert_int_equal(usb->pid, 0x3530);
    assert_int_equal(usb->descriptors_len, 18 + 9 + 9 + 9 + 7 + 7);
    assert_int_equal(usb->descriptors[18 + 2], 9 + 9 + 9 + 7 + 7);
    assert_int_equal(usb->descriptors[8] | usb->descriptors[9] << 8, 0x0ACD);
    assert_int_equal(usb->descriptors[18 + 9 + 9 + 7], usb->report_descriptor_len);
    assert_int_equal(usb->report_descriptor[usb->report_descriptor_len - 1], 0xC0);
    rig_stop();
    rig_start("link=serial");
    assert_null(sim_neo.usb(rig_model()));
}

/* ---- polls ------------------------------------------------------------------------------------------------------- */

static void test_poll_waits(void **state)
{
    unsigned long begin;

    (void)state;
    start_pass("");
    begin = rig_now();
    rig_send("2C02", "0119");
    assert_string_equal(rig_next(1249), "");
    rig_wait(1);
    assert_int_equal(rig_now() - begin, 1250);
    expect_frame("2C080000B53A");
    CTL("option", "nocard=00", "ok");
    rig_send("2C02", "0014");
    rig_wait(200);
    expect_frame("2C000001007B8C");
    rig_send("2C02", "0014");
    rig_wait(100);
    CTL("insert", "mifare1k", "ok"); /* a card that comes during the poll ends it */
    expect_frame("2C0000050301020304F721");
    assert_int_equal(rig_count("polls"), 3);
    assert_int_equal(rig_count("activations"), 1);
}

static void test_poll_types(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "ultralight,uid=04112233445566", "ok");
    rig_send("2C02", "0014");
    expect_frame("2C0000080404112233445566849B");
    CTL("insert", "mifare1k", "!the field is taken");
    CTL("swap", "iso:fake,uid=08010203", "ok");
    rig_send("2C02", "0014");
    expect_frame("2C00000501080102035A53");
    CTL("swap", "isob:fake,uid=11223344", "ok");
    ASK("2C02", "0014", "00:0211223344");
    CTL("swap", "typea", "ok");
    ASK("2C0C", "00140000", "00:0504A1B2C3D4E5F6");
    CTL("swap", "typeb", "ok");
    ASK("2C0C", "00140001", "00:0611223344");
    ASK("2C0C", "00140004", "05:");
    CTL("swap", "felica", "ok");
    ASK("2C02", "0014", "08:");
    CTL("swap", "iso:fake,uid=01020304050607080910,type=21", "ok");
    ASK("2C02", "0014", "00:2101020304050607080910");
    CTL("swap", "iso:fake-mute", "ok");
    ASK("2C02", "0014", "08:");
    CTL("swap", "nonsense", "!unknown card");
    CTL("swap", "iso:nonsense", "!unknown card nonsense");
    CTL("swap", "iso:fake,bad=1", "!card iso:fake does not take \"bad=1\"");
    CTL("swap", "mifare1k,uid=0102", "!bad option uid");
}

static void test_poll_single_shot(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "mifare1k", "ok");
    ASK("2C0B", "05000000001F00", "00:0301020304");
    ASK("2C0B", "02000000000000", OK);
    assert_non_null(strstr(rig_control("state", ""), "rf=0"));
    ASK("2C0B", "01000000000000", OK);
    assert_non_null(strstr(rig_control("state", ""), "rf=1"));
    ASK("2C0B", "04000900000100", "05:");
    CTL("sam", "1 insert fake", "ok");
    ASK("2C0B", "2100000000000021", "00:3B828001AABB10");
}

static void test_poll_ats(void **state)
{
    (void)state;
    start_pass("2c0e=a");
    CTL("insert", "iso:fake", "ok");
    ASK("2C0E", "0014", "00:010704A1B2C3D4E5F6070778807002AABB");
    CTL("option", "2c0e=b", "ok");
    ASK("2C0E", "0014", "00:0104A1B2C3D4E5F60778807002AABB");
    CTL("swap", "iso:fake,ats=067577810280", "ok");
    ASK("2C0E", "0014", "00:0104A1B2C3D4E5F6067577810280");
    CTL("swap", "mifare1k", "ok");
    ASK("2C0E", "0014", "00:0301020304");
    CTL("option", "2c0e=a", "ok");
    ASK("2C0E", "0014", "00:03040102030400");
    CTL("option", "2c0e=off", "ok");
    ASK("2C0E", "0014", "03:");
    CTL("swap", "iso:fake,ats=0475", "!bad option ats");
}

static void test_random_uid(void **state)
{
    char first[64];

    (void)state;
    start_pass("");
    CTL("insert", "iso:fake,random=1", "ok");
    snprintf(first, sizeof first, "%s", rig_ask("2C02", "0014"));
    assert_memory_equal(first, "00:0108", 7);
    assert_int_equal(strlen(first), 3 + 10);
    assert_string_not_equal(rig_ask("2C02", "0014"), first);
    assert_int_equal(rig_count("activations"), 2);
}

static void test_dual_card(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "dual:fake", "ok");
    ASK("2C02", "0014", "00:0701020304");
    ASK("2C03", "00B0000000", "0A:"); /* opened as MIFARE */
    ASK("2C06", "0401" FF_KEY, OK);
    ASK("2C07", "7104", "00:00000000000000000000000000000000");
    ASK("2C07", "3104", "05:");
    ASK("2C0C", "00140001", "00:0701020304");
    ASK("2C03", "00B0000000", "00:00B00000009000");
    ASK("2C07", "7104", "0A:"); /* opened for APDUs */
    CTL("option", "dual=loose", "ok");
    ASK("2C02", "0014", "00:0701020304");
    ASK("2C07", "7104", "00:00000000000000000000000000000000");
    ASK("2C13", "0000B0000000", "00:00B00000009000");
}

/* ---- APDUs ------------------------------------------------------------------------------------------------------- */

static void test_apdu_vectors(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "iso:fake", "ok");
    ASK("2C02", "0014", "00:0104A1B2C3D4E5F6");
    rig_send("2C13", "0000A404000E325041592E5359532E444446303100");
    expect_frame(answer(44));
    feed_frame("2C03001400A404000E325041592E5359532E444446303100726F");
    expect_frame(answer(44));
    rig_send("2C13", "0000A4040007A000000004101000");
    expect_frame(answer(45));
    rig_send("2C13", "0080A8000002830000");
    expect_frame(answer(46));
    assert_int_equal(rig_count("executions"), 4);
    assert_int_equal(rig_count("activations"), 1);
}

static void test_apdu_failures(void **state)
{
    (void)state;
    start_pass("fwt=70");
    ASK("2C03", "00B0000000", "0A:"); /* no session */
    CTL("insert", "iso:fake", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    rig_send("2C03", "00FE0000");
    assert_string_equal(rig_next(69), "");
    assert_string_equal(rig_next(1), "2C:08:");
    rig_send("2C03", "00FD0000"); /* the card takes 50 ms */
    assert_string_equal(rig_next(49), "");
    assert_string_equal(rig_next(1), "2C:00:00FD00009000");
    CTL("remove", "", "ok");
    ASK("2C03", "00B0000000", "08:");
    CTL("insert", "same", "ok");
    ASK("2C03", "00B0000000", "08:"); /* there again, but not activated */
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C03", "00B0000000", "00:00B00000009000");
    ASK("2C16", "", OK);
    ASK("2C16", "", "01:");
    ASK("2C03", "00B0000000", "0A:");
    assert_int_equal(rig_count("executions"), 3);
    ASK("2C02", "0014", "00:0104A1B2C3D4E5F6");
    ASK("2C05", "", "00:010001000000010000100000000180");
    ASK("2C09", "03", "05:");
    ASK("2C09", "01", OK);
    ASK("2C05", "", "0A:");
    ASK("2801", "00", OK);
    ASK("2C09", "01", "0C:");
    CTL("remove", "", "ok");
    CTL("remove", "", "!no card");
}

static void test_sred_and_encryption(void **state)
{
    char want[512];

    (void)state;
    start_pass("sred=1");
    CTL("insert", "iso:fake", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    rig_send("2C03", "00B2010C00");
    expect_frame("2C060000AE3B");
    assert_int_equal(rig_count("executions"), 1);
    assert_memory_equal(rig_ask("2C13", "0080A8000002830000"), "00:77", 5);
    CTL("option", "sred=0", "ok");
    CTL("option", "enc=mac", "ok");
    snprintf(want, sizeof want, "%s", rig_ask("2C13", "0080A8000002830000")); /* 24 bytes and SW: 2 + 32 + 2 … */
    assert_int_equal(strlen(want), 3 + 2 * (2 + 32 + 2 + 2 + 10 + 2 + 16));
    assert_memory_equal(want, "00:0020", 7);
    assert_string_equal(want + 3 + 2 * 34, "9000000AF0F1F2F3F4F5F6F7F8F90010303132333435363738393A3B3C3D3E3F");
    CTL("option", "enc=nomac", "ok");
    snprintf(want, sizeof want, "%s", rig_ask("2C13", "0080A8000002830000"));
    assert_string_equal(want + 3 + 2 * 34, "9000000AF0F1F2F3F4F5F6F7F8FA0000"); /* the KSN counts */
    CTL("option", "ksn=stays", "ok");
    snprintf(want, sizeof want, "%s", rig_ask("2C13", "0080A8000002830000"));
    assert_string_equal(want + 3 + 2 * 34, "9000000AF0F1F2F3F4F5F6F7F8F90000");
    assert_non_null(strstr(rig_control("seen", ""), "2C13:00"));
    CTL("option", "enc=nokey", "ok");
    ASK("2C03", "00B2010C00", "90:");
    CTL("option", "enc=exhausted", "ok");
    ASK("2C03", "00B2010C00", "91:");
    CTL("option", "enc=mac", "ok");
    CTL("swap", "mifare1k", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C06", "0401" FF_KEY, OK);
    assert_int_equal(strlen(rig_ask("2C07", "3104")), 3 + 2 * 0x40);
}

static void test_desfire(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "desfire", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:01", 5);
    ASK("2C03", "9060000000", "00:0401010100180591AF");
    ASK("2C03", "90AF000000", "00:0401010104180591AF");
    ASK("2C03", "90AF000000",
        "00:04A1B2C3D4E5F6BA14641370231191"
        "00");
    ASK("2C03", "60", "00:AF04010101001805");
    ASK("2C03", "51", "00:1C");
}

/* The block protocol by raw exchange: RATS, I-blocks, the harmless R(NAK), DESELECT. */
static void test_raw_iso_dep(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "iso:fake", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:01", 5);
    ASK("2C04", "1E00002968010FB2", "00:0000000008A3");
    ASK("2C04", "1E00002968010FB3", "00:0000000008A3"); /* no block to repeat: acknowledged all the same */
    ASK("2C03", "00B0000000", "00:00B00000009000");
    ASK("2C04", "1E00002968010FB3", "00:0000000008A2");
    ASK("2C04", "1E00002968010F0300B0000000", "00:00000000400300B00000009000");
    ASK("2C04", "1E00002968010FB3", "00:00000000400300B00000009000"); /* the last block again */
    assert_int_equal(rig_count("executions"), 2);
    ASK("2C04", "1E00002968010FB2", "00:0000000008A3");
    ASK("2C04", "1E00002968010FC2", "00:0000000008C2");
    ASK("2C04", "1E00002968010FB2", "08:E500000000");
    ASK("2C03", "00B0000000", "08:");
    CTL("swap", "iso:fake,type=05", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:05", 5);
    ASK("2C03", "00B0000000", "0A:");
    ASK("2C04", "1E00002968010FE080", "00:00000000380778807002AABB");
    ASK("2C04", "1E00002968010F0200B0000000", "00:00000000400200B00000009000");
    CTL("swap", "isob:fake", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:02", 5);
    ASK("2C04", "1E00002968012CB2", "00:0000000008A3");
    ASK("2C04", "1E00002968010FB2", "08:E500000000");
}

/* ---- MIFARE ------------------------------------------------------------------------------------------------------ */

static void test_mifare_life(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "mifare1k", "ok");
    ASK("2C07", "3104", "0A:"); /* no session yet */
    ASK("2C02", "0014", "00:0301020304");
    ASK("2C07", "3104", "0A:"); /* no key yet */
    ASK("2C02", "0014", "00:0301020304");
    feed_frame("2C0600080401FFFFFFFFFFFF0376");
    expect_frame(answer(32));
    feed_frame("2C07000231040B58");
    expect_frame(answer(37));
    feed_frame("2C0800123104444444444444444444444444444444441C9C");
    expect_frame(answer(32));
    CTL("mem", "read 4", "44444444444444444444444444444444");
    CTL("mem", "write 4 00112233445566778899AABBCCDDEEFF", "ok");
    feed_frame("2C07000231040B58");
    expect_frame(answer(36));
    ASK("2C07", "3100", "00:01020304040804000000000000000000");
    ASK("2C07", "3103", "00:000000000000FF078069FFFFFFFFFFFF");
    ASK("2C02", "0014", "00:0301020304"); /* the stored key survives a poll */
    ASK("2C07", "3108", "00:00000000000000000000000000000000");
    ASK("2C07", "3140", "0A:"); /* no such block */
    ASK("2C07", "3104", "08:"); /* and the card has fallen silent */
    ASK("2C03", "00B0000000", "0A:");
    ASK("2C06", "0403" FF_KEY, "05:");
    ASK("2C02", "0014", "00:0301020304");
    ASK("2C06", "0401A0A1A2A3A4A5", OK); /* a wrong key is stored all the same */
    ASK("2C07", "3104", "0A:");
    CTL("option", "auth=eager", "ok");
    ASK("2C02", "0014", "00:0301020304");
    ASK("2C06", "0401A0A1A2A3A4A5", "0A:");
    assert_int_equal(rig_count("writes"), 1);
}

static void test_mifare_many_blocks(void **state)
{
    (void)state;
    start_pass("aftererror=stay");
    CTL("insert", "mifare1k,keyb=A0A1A2A3A4A5", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C06", "0401" FF_KEY, OK);
    ASK("2C08",
        "320611111111111111111111111111111111"
        "22222222222222222222222222222222",
        OK); /* 6 and 8: not 7 */
    CTL("mem", "read 8", "22222222222222222222222222222222");
    CTL("mem", "read 7", "FFFFFFFFFFFFFF078069A0A1A2A3A4A5");
    ASK("2C07", "3206", "00:1111111111111111111111111111111122222222222222222222222222222222");
    assert_int_equal(strlen(rig_ask("2C07", "3F01")), 3 + 2 * 15 * 16);
    ASK("2C07", "3306",
        "00:1111111111111111111111111111111122222222222222222222222222222222"
        "00000000000000000000000000000000");
    ASK("2C07", "3240", "0A:");
    ASK("2C07", "323E", "0A:"); /* the second block would be behind the end */
    ASK("2C08",
        "3206"
        "11111111111111111111111111111111",
        "05:");
    ASK("2C07", "3006", "05:");
    ASK("2C07", "4106", "05:");
    ASK("2C08", "310000000000000000000000000000000000", "0A:"); /* the manufacturer's block */
    assert_int_equal(rig_count("writes"), 2);
    CTL("swap", "mifare4k", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C08",
        "32EE11111111111111111111111111111111"
        "22222222222222222222222222222222",
        OK); /* 238 and 240 */
    CTL("mem", "read 240", "22222222222222222222222222222222");
    CTL("swap", "mini", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C07", "3114", "0A:");
}

static void test_access_bits(void **state)
{
    (void)state;
    start_pass("aftererror=stay");
    CTL("insert", "mifare1k,keyb=B0B1B2B3B4B5", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C06", "0402B0B1B2B3B4B5", OK);
    ASK("2C07", "3104", "0A:"); /* in the transport state key B is data, no key */
}

/* Access bytes from C1 C2 C3 of the four groups. */
static const char *access_bytes(const char *groups[4])
{
    static char text[9];
    unsigned c[3] = {0, 0, 0};

    for (unsigned g = 0; g < 4; g++) {
        for (unsigned i = 0; i < 3; i++)
            c[i] |= groups[g][i] == '1' ? 1U << g : 0U;
    }
    snprintf(text, sizeof text, "%02X%02X%02X69", (~c[1] & 0xF) << 4 | (~c[0] & 0xF), c[0] << 4 | (~c[2] & 0xF),
             c[2] << 4 | c[1]);
    return text;
}

static void test_access_rights(void **state)
{
    const char *groups[4] = {"100", "110", "111", "011"};
    char line[128];

    (void)state;
    start_pass("aftererror=stay");
    snprintf(line, sizeof line, "mifare1k,keya=A0A1A2A3A4A5,keyb=B0B1B2B3B4B5,access=%s", access_bytes(groups));
    CTL("insert", line, "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C06", "0401A0A1A2A3A4A5", OK);
    assert_memory_equal(rig_ask("2C07", "3104"), OK, 3);
    ASK("2C08", "310411111111111111111111111111111111", "0A:");
    ASK("2C07", "3106", "0A:");
    snprintf(line, sizeof line, "00:000000000000%s000000000000", access_bytes(groups));
    ASK("2C07", "3107", line);
    CTL("mem", "write 5 0A000000F5FFFFFF0A00000005FA05FA", "ok");
    ASK("2C0A",
        "B10504"
        "01000000",
        "0A:05FC"); /* 110: only key B may increment */
    ASK("2C0A",
        "310504"
        "01000000",
        OK);
    ASK("2C06", "0402B0B1B2B3B4B5", OK);
    ASK("2C0A",
        "B10504"
        "05000000",
        OK);
    CTL("value", "5", "value=14 addr=05 ops=2");
    ASK("2C08", "310411111111111111111111111111111111", OK);
    ASK("2C07", "3106", "0A:");
    ASK("2C08",
        "3107C0C1C2C3C4C5"
        "00000000"
        "D0D1D2D3D4D5",
        OK); /* 011 with key B: all parts, and a dead sector */
    ASK("2C06", "0402D0D1D2D3D4D5", OK);
    ASK("2C07", "3104", "0A:");
    CTL("mem", "read 7", "C0C1C2C3C4C500000000D0D1D2D3D4D5");
}

static void test_trailer_parts(void **state)
{
    const char *groups[4] = {"000", "000", "000", "101"};
    char line[128];

    (void)state;
    start_pass("aftererror=stay");
    snprintf(line, sizeof line, "mifare1k,keya=A0A1A2A3A4A5,keyb=B0B1B2B3B4B5,access=%s", access_bytes(groups));
    CTL("insert", line, "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C06", "0402B0B1B2B3B4B5", OK);
    ASK("2C08",
        "3107111111111111"
        "FF078069"
        "222222222222",
        OK); /* 101: only the access bits change */
    CTL("mem", "read 7", "A0A1A2A3A4A5FF078069B0B1B2B3B4B5");
    CTL("mem", "write 7 A0A1A2A3A4A57E178869B0B1B2B3B4B5", "ok"); /* trailer 100 */
    ASK("2C06", "0401A0A1A2A3A4A5", OK);
    ASK("2C08",
        "3107111111111111"
        "FF078069"
        "222222222222",
        "0A:");
}

#define VALUE_1987 "8719000078E6FFFF8719000000FF00FF"
#define VALUE_1AB7 "B71A000048E5FFFFB71A000000FF00FF"
#define VALUE_1988 "8819000077E6FFFF8819000000FF00FF"

static void purse_card(const char *options)
{
    start_pass(options);
    CTL("insert", "mifare1k", "ok");
    CTL("mem", "write 16 " VALUE_1987, "ok");
    CTL("mem", "write 17 " VALUE_1AB7, "ok");
    CTL("mem", "write 18 " VALUE_1988, "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C06", "1001" FF_KEY, OK);
}

static void test_purse(void **state)
{
    (void)state;
    purse_card("");
    rig_send("2C07", "3310");
    expect_frame(answer(33));
    ASK("2C0A", "31100401000000", OK);
    rig_send("2C07", "3310");
    expect_frame(answer(35));
    ASK("2C0A", "B1100401000000", OK);
    feed_frame("2C0A000A32100401000000120110835E"); /* debit 1, backup to 18 */
    expect_frame(answer(32));
    rig_send("2C07", "3310");
    expect_frame(answer(34));
    CTL("value", "16", "value=6534 addr=00 ops=3");
    CTL("value", "18", "value=6534 addr=00 ops=1");
    CTL("value", "20", "invalid ops=0");
    assert_int_equal(rig_count("value_ops"), 4);
    ASK("2C0A", "32100401000000110401000000", OK); /* two debits */
    CTL("value", "17", "value=6838 addr=00 ops=1");
}

static void test_purse_own_keys(void **state)
{
    (void)state;
    purse_card("aftererror=stay");
    CTL("mem", "write 19 112233445566FF078069FFFFFFFFFFFF", "ok");
    ASK("2C0A", "31100401000000", "0A:10FC"); /* the stored key is wrong now */
    ASK("2C0A",
        "32100B01000000"
        "01112233445566"
        "12081001112233445566",
        OK);
    CTL("value", "18", "value=6534 addr=00 ops=1");
    ASK("2C0A", "31100401000000", OK); /* the key of a function block has become the stored one */
    ASK("2C0A",
        "31120810"
        "03112233445566",
        "05:");
    ASK("2C0A",
        "31100B01000000"
        "01FFFFFFFFFFFF",
        "0A:10FC");
    CTL("value", "16", "value=6533 addr=00 ops=2");
}

static void test_purse_failures(void **state)
{
    (void)state;
    purse_card("aftererror=stay");
    ASK("2C0A",
        "32100401000000"
        "140110",
        "0A:14FC"); /* backup into another sector: the debit stays */
    CTL("value", "16", "value=6534 addr=00 ops=1");
    CTL("mem", "write 17 00000000000000000000000000000000", "ok");
    rig_send("2C0A", "33100401000000"
                     "110401000000"
                     "120401000000");
    assert_string_equal(rig_next(0), "2C:0A:11FC"); /* stops at the block that is no value */
    CTL("value", "16", "value=6533 addr=00 ops=2");
    CTL("value", "18", "value=6536 addr=00 ops=0");
    ASK("2C0A", "30", "05:");
    ASK("2C0A", "31100401", "05:");
    ASK("2C0A", "31100501000000FF", "05:");
    ASK("2C0A", "3110040100000000", "05:");
    ASK("2C0A", "41100401000000", "05:");
    ASK("2C0A", "B11004FFFFFFFF", "0A:10FC"); /* would overflow */
    CTL("remove", "", "ok");
    ASK("2C0A", "31100401000000", "08:");
    CTL("value", "16", "value=6533 addr=00 ops=2"); /* the removed card can still be looked at */
    assert_int_equal(rig_count("value_ops"), 2);
    CTL("insert", "same", "ok");
    ASK("2C02", "0014", "00:0301020304");
    ASK("2C0A", "31100401000000", OK);
    assert_int_equal(rig_count("value_ops"), 3);
    CTL("swap", "mifare1k,badblock=16", "ok");
    CTL("mem", "write 16 " VALUE_1987, "ok");
    ASK("2C02", "0014", "00:0301020304");
    rig_send("2C0A", "31100401000000");
    expect_frame("2C0A000210FC71E2");
    ASK("2C07", "3110", "0A:");
    assert_memory_equal(rig_ask("2C07", "3111"), OK, 3);
}

/* ---- Ultralight, FeliCa, Topaz ------------------------------------------------------------------------------------
 */

static void test_ultralight(void **state)
{
    (void)state;
    start_pass("aftererror=stay");
    CTL("insert", "ultralight", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:04", 5);
    feed_frame("2C080006410401020304F87D");
    expect_frame(answer(32));
    feed_frame("2C07000241040301");
    assert_memory_equal(rig_out() + 28, "01020304", 8);
    ASK("2C07", "410E", "00:0000000000000000041122BF33445566"); /* wraps to page 0 */
    ASK("2C08",
        "420E"
        "0A0B0C0D"
        "0E0F1011",
        OK);
    ASK("2C07", "410F", "00:0E0F1011041122BF3344556644480000");
    assert_int_equal(strlen(rig_ask("2C07", "4203")), 3 + 64);
    ASK("2C07", "4110", "0A:");
    ASK("2C07", "420D", "0A:"); /* the second read starts behind the end */
    ASK("2C08",
        "4104"
        "0102030405",
        "05:");
    ASK("2C08", "410001020304", "0A:");
    ASK("2C08", "410301000000", OK);
    ASK("2C08", "410302000000", OK);
    CTL("mem", "read 3", "03000000"); /* one time programmable: bits add up */
    ASK("2C08", "410200001001", OK);  /* locks pages 4 and 8 */
    ASK("2C08", "410200000002", OK);  /* 9 as well: lock bits add up */
    CTL("mem", "read 2", "44481003");
    ASK("2C08", "410401020304", "0A:");
    ASK("2C06", "0401" FF_KEY, "05:");
    ASK("2C04", "1E00002968010F3004",
        "00:0000000080010203040000000000000000000000"
        "00");
    ASK("2C04", "1E000029680103A20500000002", "08:E500000000"); /* no CRC in it: no answer */
    CTL("mem", "read 5", "00000000");
    ASK("2C04", "1E00002968010FA20500000001", "0A:FE000000080A"); /* the ACK has none to check */
    ASK("2C04", "1E000029680007A20500000001", "00:00000000080A");
    CTL("mem", "read 5", "00000001");
    ASK("2C04", "1E00002968010F60", "0A:EA0000000800"); /* no GET_VERSION here */
    CTL("swap", "ntag", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:04", 5);
    ASK("2C04", "1E00002968010F60", "00:00000000400004040201000F03");
    ASK("2C04", "1E00002968010F3A0001", "00:0000000040041122BF33445566");
    ASK("2C04", "1E00002968010F3A2C2C", "00:000000002000000000");
    ASK("2C04", "1E00002968010F3A2C2D", "0A:EA0000000804");
}

static void test_tag2_commands(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "ntag", "ok");
    ASK("2C40", "FF01", "00:0B04112233445566");
    ASK("2C40", "220501020304", OK);
    ASK("2C40", "2105", "00:01020304000000000000000000000000");
    ASK("2C40", "2300", OK);
    ASK("2C40", "2301", "0A:");
    ASK("2C40", "21", "05:");
    ASK("2C40", "FF00", "05:");
    ASK("2C40", "99", "05:");
    CTL("swap", "iso:fake", "ok");
    ASK("2C40", "FF01", "00:0D04A1B2C3D4E5F6");
    ASK("2C40", "8100B0000000", "00:00B00000009000");
    ASK("2C40", "2105", "0A:");
    CTL("remove", "", "ok");
    rig_send("2C40", "FF01");
    assert_string_equal(rig_next(999), "");
    assert_string_equal(rig_next(1), "2C:08:");
}

static void test_felica(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "felica", "ok");
    ASK("2C41", "06010900018001", "0A:"); /* not polled */
    feed_frame("2C4400060500FFFF01015DD0");
    assert_string_equal(rig_next(0), "2C:00:01012E3D4C5B6A798800F1000000014300"
                                     "88B4");
    ASK("2C44", "0600FFFF0101", "05:");
    ASK("2C44", "050012340101", "08:");
    ASK("2C44", "050088000101", "08:");
    ASK("2C44", "050000B40101", "08:");
    assert_int_equal(strlen(rig_ask("2C44", "050088B40001")), 3 + 2 * 17);
    ASK("2C40", "FF01", "00:0C012E3D4C5B6A7988");
    ASK("2C41",
        "08010900018001"
        "00112233445566778899AABBCCDDEEFF",
        "00:0000");
    ASK("2C41", "06010900018001", "00:00000100112233445566778899AABBCCDDEEFF");
    ASK("2C41", "0601090001000100", "00:00000100112233445566778899AABBCCDDEEFF");
    ASK("2C44", "0F06012E3D4C5B6A7988010900018001", "00:07012E3D4C5B6A798800000100112233445566778899AABBCCDDEEFF");
    ASK("2C41", "06010900018020", "00:01A8");
    ASK("2C40", "41010900018001", "00:00000100112233445566778899AABBCCDDEEFF");
    ASK("2C40",
        "42010900018001"
        "11111111111111111111111111111111",
        OK);
    CTL("mem", "read 1", "11111111111111111111111111111111");
    ASK("2C43", "060101", "0A:");
    ASK("2C42", "00112233445566778899AABBCCDDEEFF", "0A:");
    ASK("2C42", "00000000000000000000000000000000", OK);
    ASK("2C43", "060101", "00:11111111111111111111111111111111");
    ASK("2C43", "06018001", "00:11111111111111111111111111111111");
    CTL("option", "2c44=off", "ok");
    ASK("2C44", "0500FFFF0101", "03:");
}

static void test_topaz(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "topaz", "ok");
    ASK("2C40", "FF01", "00:0A01020304");
    assert_int_equal(strlen(rig_ask("2C40", "11")), 3 + 2 * 122);
    ASK("2C40", "130855", "00:0855");
    ASK("2C40", "14080A", "00:085F");
    ASK("2C40", "1208", "00:085F");
    ASK("2C40", "1601", "00:015F00000000000000");
    ASK("2C40", "17020102030405060708", "00:020102030405060708");
    ASK("2C40", "1500", "0A:");
    CTL("swap", "topaz512", "ok");
    ASK("2C40", "FF01", "00:0A01020304");
    assert_int_equal(strlen(rig_ask("2C40", "1500")), 3 + 2 * 129);
    assert_int_equal(strlen(rig_ask("2C40", "1503")), 3 + 2 * 129);
    ASK("2C40", "1504", "0A:");
    ASK("2C40", "17400102030405060708", "0A:");
    ASK("2C40", "173F0102030405060708", "00:3F0102030405060708");
    ASK("2C40", "183F1010101010101010", "00:3F1112131415161718");
    assert_int_equal(rig_count("writes"), 5);
}

/* ---- raw exchange --------------------------------------------------------------------------------------------------
 */

static void test_raw_mifare(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "mifare1k", "ok");
    CTL("mem", "write 4 00112233445566778899AABBCCDDEEFF", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    rig_send("2C04", "1900002968010F0F0F0F0F0F0F0F0F0F0F0F0F");
    expect_frame(answer(38));
    rig_send("2C04", "0C00002968010F600401020304");
    expect_frame(answer(38));
    rig_send("2C04", "1E00002968010F3004");
    expect_frame(answer(40));
    rig_send("2C04", "1E00002968010F3005");
    expect_frame(answer(41));
    ASK("2C04", "1E0000296801073005",
        "00:0000000090"
        "00000000000000000000000000000000"
        "3749"); /* CRC and all */
    rig_send("2C04", "1E000029680007A004");
    expect_frame(answer(39));
    rig_send("2C04", "1E000029680003"
                     "44444444444444444444444444444444");
    rig_wait(101);
    expect_frame(answer(43)); /* without a CRC the card hears nothing */
    rig_send("2C04", "1E00002968000F"
                     "44444444444444444444444444444444");
    assert_string_equal(rig_next(0), "2C:0A:FE000000080A");
    CTL("mem", "read 4", "44444444444444444444444444444444");
    rig_send("2C04", "1E00002968010F3008");
    assert_string_equal(rig_next(0), "2C:0A:EA0000000804"); /* another sector */
    rig_send("2C04", "1E00002968010F3004");
    rig_wait(101);
    expect_frame(answer(43)); /* fell silent */
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    rig_send("2C04", "0C00002968010F600401020305");
    expect_frame(answer(42)); /* not its UID */
}

static void test_raw_value(void **state)
{
    (void)state;
    purse_card("");
    ASK("2C04", "1900002968010F0F0F0F0F0F0F0F0F0F0F0F0F", "00:0000000000");
    ASK("2C04", "0C00002968010F601001020304", "00:0000000000");
    ASK("2C04", "1E000029680007B012", "0A:EA0000000804"); /* nothing loaded */
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C04", "0C00002968010F601001020304", "00:0000000000");
    ASK("2C04", "1E000029680007C010", "00:00000000080A");
    ASK("2C04", "1E00002968000F01000000", "08:E500000000"); /* the operand has no answer */
    ASK("2C04", "1E000029680007B012", "00:00000000080A");
    CTL("value", "18", "value=6534 addr=00 ops=1");
    CTL("value", "16", "value=6535 addr=00 ops=0");
}

static void test_raw_limits(void **state)
{
    (void)state;
    start_pass("");
    ASK("2C04", "1E000029680F", "05:");
    ASK("2C04", "1E00002968800F3004", "05:");
    ASK("2C04", "1E00002968004F3004", "05:");
    ASK("2C04", "5500002968000F3004", "0A:E900000000");
    ASK("2C04", "1900002968000FFF0F0F0F0F0F0F0F0F0F0F0F", "0A:F700000000");
    ASK("2C04", "1900002968000F0F", "05:");
    rig_send("2C04", "1E00002968010F3004");
    assert_string_equal(rig_next(100), "");
    assert_string_equal(rig_next(1), "2C:08:E500000000"); /* 10 600 ETU are 100.07 ms */
}

/* HALT, WUPA, anticollision, SELECT: the probe for SAK and ATQA. */
static void test_sak_probe(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "mifare4k", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C04", "1E00002968010330040000", "08:E500000000"); /* the host's own CRC, wrong */
    ASK("2C04",
        "1E00002968010350"
        "0057CD",
        "08:E500000000");                             /* HLTA with the CRC of ISO 14443-3 */
    ASK("2C04", "1E000002001D0326", "08:E500000000"); /* REQA does not wake it */
    ASK("2C04", "1E000002001D0352", "00:00000000100200");
    ASK("2C04", "1E0000020000039320", "00:00000000280102030404");
    ASK("2C04", "1E00000200000F93700102030404", "00:000000000818");
    ASK("2C06", "0401" FF_KEY, OK);
    assert_memory_equal(rig_ask("2C07", "3104"), OK, 3);
    CTL("swap", "ntag", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C04", "1E0000006A00075000", "08:E500000000");
    ASK("2C04", "1E000002001D0352", "00:00000000104400");
    ASK("2C04", "1E0000020000039320", "00:000000002888041122BF");
    ASK("2C04", "1E00000200000F937088041122BF", "00:000000000804");
    ASK("2C04", "1E0000020000039520", "00:00000000283344556644");
    ASK("2C04", "1E00000200000F95703344556644", "00:000000000800");
}

static void test_type_b_raw(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "typeb", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), "00:06", 5);
    ASK("2C04", "1E00002968012C050000", "00:0000000060501122334400000000718071");
    ASK("2C04", "1E00002968012C5011223344", "00:000000000800");
    ASK("2C04", "1E00002968012C050000", "08:E500000000");
    ASK("2C04", "1E00002968012C050008", "00:0000000060501122334400000000718071");
}

/* ---- ISO 15693 through the reader -----------------------------------------------------------------------------------
 */

static void test_vicinity(void **state)
{
    (void)state;
    start_pass("");
    CTL("insert", "tag15693", "ok");
    ASK("2C02", "0014", "08:");
    ASK("2C04", "1E00002968012C260100", "08:E500000000"); /* this firmware cannot */
    assert_int_equal(rig_count("tag_requests"), 0);
    CTL("option", "iso15693=crc3309", "ok");
    ASK("2C04", "1E00002968012C260100", "00:000000005000001D9F3759500104E0");
    CTL("swap", "tag15693,uid=5F021F9E500104E0", "ok");
    ASK("2C04", "1E000029680100260100F60A", "00:000000006000005F021F9E500104E0C8F4");
    CTL("swap", "tag15693", "ok");
    ASK("2C04", "1E00002968012F260100", "08:E500000000"); /* with parity it is no vicinity frame */
    ASK("2C04", "1E00002968012C22211D9F3759500104E00A11223344", "00:000000000800");
    ASK("2C04", "1E00000010012C22211D9F3759500104E00A55667788", "08:E500000000"); /* written, but too slow to say so */
    CTL("mem", "read 10", "55667788");
    assert_int_equal(rig_count("writes"), 2);
    CTL("insert", "tag15693,uid=2E9F3759500104E0", "ok");
    ASK("2C04", "1E00002968012C260100", "0A:E800000000"); /* two tags at once */
    ASK("2C04", "1E00002968012C2601040D", "00:000000005000001D9F3759500104E0");
    ASK("2C04", "1E00002968012C2601040E", "00:000000005000002E9F3759500104E0");
    ASK("2C04",
        "1E00002968012C260104"
        "01",
        "08:E500000000");
    CTL("option", "iso15693=drivercrc", "ok");
    ASK("2C04", "1E00002968012C2601040D", "0A:FE00000000");
    CTL("mem", "read 10 1", "00000000");
    ASK("2801", "00", OK);
    ASK("2C04", "1E000029680100260100F60A", "08:E500000000"); /* no field */
    CTL("insert", "mifare1k", "!the field is taken");
    CTL("option", "iso15693=crc3309", "ok");
    ASK("2801", "01", OK);
    ASK("2C04", "1E00002968012C22021D9F3759500104E0", "08:E500000000");
    ASK("2C04", "1E00002968012C22022E9F3759500104E0", "08:E500000000");
    ASK("2C04", "1E00002968012C260100", "08:E500000000"); /* both are quiet */
    ASK("2801", "00", OK);
    ASK("2801", "01", OK);
    ASK("2C04", "1E00002968012C260100", "0A:E800000000"); /* the field was off: both are ready again */
    CTL("swap", "mifare1k", "ok");
    CTL("insert", "tag15693", "!the field is taken");
    CTL("remove", "", "ok");
    CTL("option", "vicinitytype=0E", "ok");
    CTL("insert", "tag15693", "ok");
    ASK("2C02", "0014", "00:0E1D9F3759500104E0");
}

/* ---- contact -------------------------------------------------------------------------------------------------------
 */

static void test_contact(void **state)
{
    (void)state;
    start_pass("fwt=20");
    feed_frame("2C12000120A921");
    expect_frame("2C080000B53A");
    CTL("option", "nocontact=0A", "ok");
    ASK("2C12", "20", "0A:");
    CTL("icc", "insert fake", "ok");
    CTL("icc", "insert fake", "!the socket is taken");
    ASK("2C13", "2000B0000000", "0A:"); /* not powered */
    ASK("2C12", "20", "00:3B828001AABB10");
    ASK("2C13", "2000B0000000", "00:00B00000009000");
    ASK("2C13", "2000FE0000", "08:");
    ASK("2C18", "", OK);
    ASK("2C13", "2000B0000000", "0A:");
    ASK("2C12", "29", "05:");
    ASK("2C13", "2900B0000000", "05:");
    assert_int_equal(rig_count("icc_executions"), 2);
    ASK("2C12", "20", "00:3B828001AABB10");
    CTL("icc", "remove", "ok");
    ASK("2C13", "2000B0000000", "08:");
    CTL("icc", "insert fake-t0", "ok");
    ASK("2C12", "20", "00:3B651100000102030405");
    ASK("2C13", "2000A40000023F0000", "00:6105"); /* no GET RESPONSE by itself */
    CTL("option", "getresponse=auto", "ok");
    ASK("2C13", "2000A40000023F0000", "00:00C00000059000");
    CTL("icc", "remove", "ok");
    CTL("icc", "insert fake-t1", "ok");
    ASK("2C12", "20", "00:3B8101AA2A");
    ASK("2C13", "2000D6000002AABB00", "00:00D6000002AABB009000"); /* a T=1 card gets the whole APDU */
    CTL("sam", "2 insert fake", "ok");
    ASK("2C12", "22", "00:3B828001AABB10");
    ASK("2C13", "2200B0000000", "00:00B00000009000");
    assert_int_equal(rig_count("sam_executions"), 1);
    ASK("2C18", "22", OK);
    CTL("sam", "9 insert fake", "!sam 1 to 8");
    CTL("option", "icc=off", "ok");
    ASK("2C12", "20", "03:");
    ASK("2C13", "2000B0000000", "05:");
}

/* ---- cards behind a socket ------------------------------------------------------------------------------------------
 */

static void test_async_contactless(void **state)
{
    (void)state;
    start_pass("fwt=30");
    CTL("insert", "iso:fake-async", "ok");
    ASK("2C02", "0014", "08:"); /* nobody is connected */
    rig_send("2C02", "0114");
    rig_wait(500);
    rig_async_present(true);
    assert_string_equal(rig_next(0), "2C:00:0104A1B2C3D4E5F6");
    rig_send("2C03", "00B0000000");
    assert_string_equal(rig_next(5000), "");
    assert_true(rig_async_answer("01029000"));
    assert_string_equal(rig_next(0), "2C:00:01029000");
    rig_send("2C03", "00B0000000");
    assert_true(rig_async_answer("")); /* silence */
    assert_string_equal(rig_next(30), "2C:08:");
    rig_send("2C03", "00B0000000");
    CTL("remove", "", "ok");
    assert_false(rig_async_answer("9000")); /* cancelled */
    assert_string_equal(rig_next(30), "2C:08:");
    CTL("insert", "same", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    rig_async_present(false);
    ASK("2C03", "00B0000000", "08:");
    rig_async_present(true);
    ASK("2C03", "00B0000000", "08:"); /* there again, but the session is lost */
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    rig_send("2C03", "00B0000000");
    sim_neo.power(rig_model(), false);
    assert_false(rig_async_answer("9000"));
    assert_int_equal(rig_count("executions"), 4);
}

static void test_async_contact(void **state)
{
    (void)state;
    start_pass("fwt=30");
    CTL("icc", "insert fake-async", "ok");
    ASK("2C12", "20", "08:");
    rig_async_present(true);
    ASK("2C12", "20", "00:3B828001AABB10");
    rig_send("2C13", "2000B0000000");
    assert_true(rig_async_answer("9000"));
    assert_string_equal(rig_next(0), "2C:00:9000");
    rig_send("2C13", "2000B0000000");
    rig_async_present(false);
    assert_string_equal(rig_next(30), "2C:08:");
    assert_false(rig_async_answer("9000"));
    ASK("2C13", "2000B0000000", "08:");
    rig_async_present(true);
    ASK("2C13", "2000B0000000", "0A:"); /* another card for all the reader knows: not powered */
    ASK("2C12", "20", "00:3B828001AABB10");
    rig_send("2C13", "2000B0000000");
    CTL("icc", "remove", "ok");
    assert_string_equal(rig_next(30), "2C:08:");
    assert_int_equal(rig_count("icc_executions"), 3);
}

/* ---- faults and frames nobody asked for
 * ------------------------------------------------------------------------------ */

static void test_fault_bytes(void **state)
{
    (void)state;
    rig_start("");
    CTL("fault", "badcrc", "ok");
    feed_frame("18010000B3CD");
    expect_frame("18000000FA7C");
    CTL("fault", "flip=11 times=2", "ok");
    feed_frame("18010000B3CD");
    expect_frame("18010000FA83");
    feed_frame("18010000B3CD");
    expect_frame("18010000FA83");
    CTL("fault", "cut=12", "ok");
    feed_frame("18010000B3CD");
    expect_frame("1800");
    CTL("fault", "half", "ok");
    feed_frame("18010000B3CD");
    assert_string_equal(rig_out(), "5669564F74656368");
    CTL("fault", "lose=10", "ok");
    feed_frame("18010000B3CD");
    expect_frame("000000FA83");
    CTL("fault", "dup=10", "ok");
    feed_frame("18010000B3CD");
    expect_frame("1818000000FA83");
    CTL("fault", "noise=5669ABCD", "ok");
    feed_frame("18010000B3CD");
    assert_string_equal(rig_out(), "5669ABCD" RIG_HEADER "18000000FA83");
}

static void test_fault_wrong_command(void **state)
{
    (void)state;
    rig_start("");
    CTL("fault", "wrongcmd at=1801", "ok");
    assert_memory_equal(rig_ask("2900", ""), OK, 3); /* not hit */
    rig_send("1801", "");
    assert_string_equal(rig_next(0), "19:00:");
    CTL("fault", "unsolicited=2C5003AABBCCDD", "ok");
    rig_send("1801", "");
    assert_string_equal(rig_next(0), "2C:50:03AABBCCDD");
    assert_string_equal(rig_next(0), "18:00:");
    CTL("fault", "nonsense", "!bad fault");
    CTL("fault", "flip", "!bad fault");
    CTL("fault", "drop at=123", "!bad fault");
    CTL("fault", "noise=XY", "!bad fault");
    CTL("fault", "drop exec=2", "!bad fault");
    CTL("fault", "drop often", "!bad fault");
    assert_int_equal(rig_count("armed"), 0);
    assert_int_equal(rig_count("faults"), 2);
    for (int i = 0; i < 16; i++)
        CTL("fault", "badcrc at=99", "ok");
    CTL("fault", "badcrc", "!too many faults");
    assert_int_equal(rig_count("armed"), 16);
    CTL("fault", "clear", "ok");
    assert_int_equal(rig_count("armed"), 0);
}

static void test_fault_time(void **state)
{
    (void)state;
    rig_start("");
    CTL("fault", "drop", "ok");
    rig_send("1801", "");
    assert_string_equal(rig_next(10000), "");
    assert_int_equal(rig_count("busy"), 0);
    CTL("fault", "delay=300", "ok");
    rig_send("1801", "");
    assert_string_equal(rig_next(299), "");
    rig_send("2900", ""); /* the host must not do this */
    assert_int_equal(rig_count("busy"), 1);
    assert_string_equal(rig_next(1), "18:00:");
    assert_memory_equal(rig_next(0), "29:00:", 6);
    CTL("fault", "late at=1801 skip=1", "ok");
    ASK("1801", "", OK);
    rig_send("1801", "");
    assert_string_equal(rig_next(10000), "");
    rig_send("1201", "");
    assert_string_equal(rig_next(0), "18:00:");
    assert_memory_equal(rig_next(0), "12:00:", 6);
    CTL("fault", "late=5 at=1801", "ok");
    feed_frame("18010000B3CD");
    assert_string_equal(rig_out(), "5669564F74");
    feed_frame("18010000B3CD");
    assert_string_equal(rig_out(), "65636832" "0018000000FA83" RIG_HEADER "18000000FA83");
    CTL("fault", "again at=1801", "ok");
    ASK("1801", "", OK);
    feed_frame("18010000B3CD");
    assert_string_equal(rig_out(), RIG_HEADER "18000000FA83" RIG_HEADER "18000000FA83");
    CTL("fault", "drop times=0", "ok");
    for (int i = 0; i < 3; i++) {
        rig_send("1801", "");
        assert_string_equal(rig_next(1000), "");
    }
    CTL("fault", "clear", "ok");
    ASK("1801", "", OK);
}

static void test_fault_command(void **state)
{
    (void)state;
    purse_card("");
    CTL("fault", "cmdflip=16 at=2C0A", "ok");
    ASK("1801", "", OK); /* not hit */
    ASK("2C0A", "31100401000000", "04:");
    ASK("2C0A", "31100401000000", OK);
    CTL("value", "16", "value=6534 addr=00 ops=1");
    for (int i = 0; i < 23; i++) {
        char args[32];

        snprintf(args, sizeof args, "cmdcut=%d at=2C0A", i);
        CTL("fault", args, "ok");
        rig_send("2C0A", "31100401000000");
        assert_string_equal(rig_next(1000), "");
        CTL("value", "16", "value=6534 addr=00 ops=1");
        rig_send("1801", "");
        rig_out(); /* the end of the Ping is in step again, whatever its begin was taken for */
        ASK("1801", "", OK);
    }
    CTL("fault", "cmdflip=1000", "ok"); /* beyond the end */
    ASK("1801", "", OK);
    assert_int_equal(rig_count("armed"), 0);
}

/* A report is cut by zeros; a frame of two reports loses the second one. */
static void test_fault_command_hid(void **state)
{
    (void)state;
    rig_start("link=hid");
    CTL("fault", "cmdcut=15 at=1801", "ok");
    rig_send("1801", "");
    assert_string_equal(rig_next(0), "18:04:");
    CTL("fault", "cmdcut=8 at=1801", "ok");
    rig_send("1801", "");
    assert_string_equal(rig_next(1000), "");
    CTL("fault", "cmdcut=62 at=2C13", "ok");
    rig_send("2C13", "20"
                     "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
                     "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
    assert_string_equal(rig_next(1000), "");
    CTL("fault", "late=5 at=1801", "ok");
    rig_send("1801", "");
    assert_int_equal(rig_out_len(), 64);
    rig_out();
    rig_send("1801", "");
    assert_string_equal(rig_next(0), "18:00:");
    assert_string_equal(rig_next(0), "18:00:");
}

static void test_fault_execution(void **state)
{
    (void)state;
    purse_card("");
    CTL("fault", "status=04 at=2C0A", "ok");
    ASK("2C0A", "31100401000000", "04:");
    CTL("value", "16", "value=6535 addr=00 ops=0");
    CTL("fault", "status=0A at=2C0A exec=1", "ok");
    ASK("2C0A", "31100401000000", "0A:");
    CTL("value", "16", "value=6534 addr=00 ops=1");
    CTL("fault", "drop at=2C exec=0", "ok");
    rig_send("2C0A", "31100401000000");
    assert_string_equal(rig_next(1000), "");
    CTL("value", "16", "value=6534 addr=00 ops=1");
    CTL("fault", "remove at=2C0A exec=0", "ok");
    ASK("2C0A", "31100401000000", "08:");
    CTL("value", "16", "value=6534 addr=00 ops=1");
    CTL("insert", "same", "ok");
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    CTL("fault", "remove at=2C0A", "ok");
    ASK("2C0A", "31100401000000", "08:");
    CTL("value", "16", "value=6533 addr=00 ops=2");
    ASK("2C07", "3110", "08:");
}

static void test_fault_boot(void **state)
{
    (void)state;
    purse_card("");
    CTL("fault", "boot at=2C07", "ok");
    rig_send("2C07", "3110");
    assert_string_equal(rig_next(0), "14:01:4E454F20322E302076312E303000");
    assert_string_equal(rig_next(1000), "");
    ASK("2C07", "3110", "0C:"); /* pass-through mode is gone */
    PASS_ON();
    assert_memory_equal(rig_ask("2C02", "0014"), OK, 3);
    ASK("2C07", "3110", "0A:"); /* and the key */
}

static void test_hid_faults(void **state)
{
    (void)state;
    rig_start("link=hid");
    CTL("fault", "hidlose=1", "ok");
    rig_send("0920", "");
    assert_int_equal(rig_out_len(), 4 * 64);
    rig_out();
    CTL("fault", "hiddup=0", "ok");
    rig_send("1801", "");
    assert_int_equal(rig_out_len(), 2 * 64);
}

static void test_boot(void **state)
{
    (void)state;
    rig_start("boot=text,bootms=500");
    rig_send("1801", ""); /* nobody listens yet */
    rig_wait(499);
    assert_int_equal(rig_out_len(), 0);
    rig_wait(1);
    assert_string_equal(rig_out(), "4E454F20322E302076312E3030");
    ASK("1801", "", OK);
    assert_int_equal(rig_count("commands"), 1);
    CTL("option", "boot=frame", "ok");
    PASS_ON();
    sim_neo.power(rig_model(), false);
    rig_send("1801", "");
    assert_int_equal(rig_out_len(), 0);
    sim_neo.power(rig_model(), true);
    assert_string_equal(rig_next(500), "14:01:4E454F20322E302076312E303000");
    ASK("2C02", "0014", "0C:");
}

static void test_burst_and_auto_switch(void **state)
{
    (void)state;
    rig_start("burst=300");
    assert_memory_equal(rig_next(300), "02:00:", 6);
    assert_memory_equal(rig_next(300), "02:00:", 6);
    ASK("0101", "01", OK);
    assert_string_equal(rig_next(2000), "");
    ASK("0101", "00", OK);
    assert_memory_equal(rig_next(300), "02:00:", 6);
    ASK("0400", "DFEE7E0100", OK);
    assert_string_equal(rig_next(2000), "");
    assert_int_equal(rig_count("bursts"), 3);
    CTL("option", "burst=0", "ok");
    CTL("option", "autoswitch=1", "ok");
    CTL("insert", "mifare1k", "ok");
    assert_string_equal(rig_next(0), "2C:50:0301020304");
    ASK("2C06", "0401" FF_KEY, OK); /* the reader is in pass-through mode, the card active */
    assert_memory_equal(rig_ask("2C07", "3104"), OK, 3);
    CTL("send", "414243", "ok");
    assert_string_equal(rig_out(), "414243");
    CTL("unasked", "6101", "ok");
    assert_string_equal(rig_next(0), "61:01:");
}

static void test_options(void **state)
{
    (void)state;
    assert_null(sim_neo.create(NULL, "nonsense=1"));
    assert_null(sim_neo.create(NULL, "crc=often"));
    assert_null(sim_neo.create(NULL, "crc"));
    assert_null(sim_neo.create(NULL, "serial=0123456789ABCDEF"));
    rig_start("");
    CTL("option", "crc", "!option KEY=VALUE");
    CTL("option", "fwt=x", "!bad option fwt=x");
    CTL("nonsense", "", "!unknown verb");
    CTL("mem", "read 0", "!no card");
    CTL("last", "", "!no command yet");
    CTL("count", "1801", "0");
    ASK("1801", "", OK);
    CTL("count", "1801", "1");
    assert_non_null(strstr(rig_control("count", ""), "commands=1 answers=1 "));
    assert_non_null(strstr(rig_control("count", ""), " 1801=1"));
    CTL("count", "reset", "ok");
    CTL("count", "1801", "0");
}

#define TEST(name) cmocka_unit_test_teardown(name, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_crc),
        TEST(test_command_vectors),
        TEST(test_answer_vectors),
        TEST(test_identity),
        TEST(test_order_of_checks),
        TEST(test_crc_options),
        TEST(test_hunt),
        TEST(test_longest_frame),
        TEST(test_bytewise_equals_whole),
        TEST(test_hid_ping),
        TEST(test_hid_long_answer),
        TEST(test_hid_reassembly),
        TEST(test_hid_long_command),
        TEST(test_hid_set_report),
        TEST(test_hid_keyboard),
        TEST(test_usb_identity),
        TEST(test_poll_waits),
        TEST(test_poll_types),
        TEST(test_poll_single_shot),
        TEST(test_poll_ats),
        TEST(test_random_uid),
        TEST(test_dual_card),
        TEST(test_apdu_vectors),
        TEST(test_apdu_failures),
        TEST(test_sred_and_encryption),
        TEST(test_desfire),
        TEST(test_raw_iso_dep),
        TEST(test_mifare_life),
        TEST(test_mifare_many_blocks),
        TEST(test_access_bits),
        TEST(test_access_rights),
        TEST(test_trailer_parts),
        TEST(test_purse),
        TEST(test_purse_own_keys),
        TEST(test_purse_failures),
        TEST(test_ultralight),
        TEST(test_tag2_commands),
        TEST(test_felica),
        TEST(test_topaz),
        TEST(test_raw_mifare),
        TEST(test_raw_value),
        TEST(test_raw_limits),
        TEST(test_sak_probe),
        TEST(test_type_b_raw),
        TEST(test_vicinity),
        TEST(test_contact),
        TEST(test_async_contactless),
        TEST(test_async_contact),
        TEST(test_fault_bytes),
        TEST(test_fault_wrong_command),
        TEST(test_fault_time),
        TEST(test_fault_command),
        TEST(test_fault_command_hid),
        TEST(test_fault_execution),
        TEST(test_fault_boot),
        TEST(test_hid_faults),
        TEST(test_boot),
        TEST(test_burst_and_auto_switch),
        TEST(test_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
