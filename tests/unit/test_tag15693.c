/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ISO 15693 tag against the recorded frames I01 to I30 and the rules of its state machine.
 */
#include "../sim/tag15693.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UID_5F "5F021F9E500104E0"
#define UID_AA "AA9C3759500104E0"
#define UID_1D "1D9F3759500104E0"
#define UID_C7 "C7C23759500104E0"
#define DONE   "0078F0"

static struct tag15693 tag;
static unsigned slot, took;

static size_t unhex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = strlen(hex) / 2;

    assert_true(strlen(hex) % 2 == 0 && n <= max);
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static void set(const char *key, const char *value)
{
    assert_true(tag15693_set(&tag, key, value));
}

static void make(const char *uid)
{
    uint8_t bytes[TAG15693_UID];

    unhex(uid, bytes, sizeof bytes);
    tag15693_init(&tag, bytes);
}

/* A whole frame in, a whole frame out, both as hex; "" is silence. */
static const char *air(const char *hex)
{
    static char text[2 * TAG15693_RSP_MAX + 1];
    static uint8_t rsp[TAG15693_RSP_MAX];
    uint8_t req[512];
    size_t n = tag15693_air(&tag, req, unhex(hex, req, sizeof req), rsp, &took, &slot);

    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02X", rsp[i]);
    return text;
}

/* The same without CRC: it is added to the request, checked on the response (by another algorithm) and cut off. */
static const char *ask(const char *hex)
{
    static char text[2 * TAG15693_RSP_MAX + 1];
    uint8_t bytes[TAG15693_RSP_MAX];
    char frame[1024];
    unsigned crc = 0xFFFF;
    size_t n = unhex(hex, bytes, sizeof bytes);

    for (size_t i = 0; i < 8 * n; i++) {
        unsigned bit = ((unsigned)bytes[i / 8] >> (i % 8) ^ crc) & 1U;
        crc = crc >> 1 ^ (bit != 0 ? 0x8408U : 0U);
    }
    crc ^= 0xFFFF;
    snprintf(frame, sizeof frame, "%s%02X%02X", hex, crc & 0xFF, crc >> 8);
    snprintf(text, sizeof text, "%s", air(frame));
    if (text[0] == '\0')
        return text;
    n = unhex(text, bytes, sizeof bytes);
    assert_int_equal(tag15693_crc(bytes, n - 2), bytes[n - 2] | bytes[n - 1] << 8);
    text[2 * (n - 2)] = '\0';
    return text;
}

#define AIR(request, response) assert_string_equal(air(request), response)
#define ASK(request, response) assert_string_equal(ask(request), response)

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(tag15693_crc((const uint8_t *)"123456789", 9), 0x906E);
    make(UID_5F);
    AIR("070100"
        "1154",
        ""); /* a wrong CRC is not answered */
    AIR("0701", "");
}

static void test_recorded_inventory(void **state)
{
    (void)state;
    make(UID_5F);
    AIR("170100008232", "00005F021F9E500104E0C8F4"); /* I01, I03 */
    AIR("0701001153", "00005F021F9E500104E0C8F4");   /* I02, I03 */
    assert_int_equal(slot, 0x0F);
    make(UID_AA);
    set("dsfid", "11");
    AIR("0701001153", "0011AA9C3759500104E03DF8"); /* I04 */
    assert_int_equal(slot, 0x0A);
}

static void test_recorded_blocks(void **state)
{
    (void)state;
    make(UID_1D);
    AIR("63201D9F3759500104E00A0899", "0000000000008FF7");             /* I05, I06 */
    AIR("23211D9F3759500104E00A112233444A18", DONE);                   /* I08, I11 */
    AIR("63201D9F3759500104E00A0899", "000011223344FC06");             /* I07 */
    AIR("23211D9F3759500104E00B55667788243F", DONE);                   /* I09 */
    AIR("23211D9F3759500104E00C99AABBCC066B", DONE);                   /* I10 */
    AIR("63231D9F3759500104E00A019393", "000011223344005566778822B1"); /* I13, I15 */
    AIR("63231D9F3759500104E00A0208A1", "000011223344005566778800"
                                        "99AABBCCEE7D"); /* I14, I30 */
    assert_int_equal(tag.writes, 3);
    AIR("23241D9F3759500104E009050101010102020202030303030404040405050505B381", "010F68EE"); /* I16, I17 */
    assert_int_equal(tag.writes, 3);
    AIR("232C1D9F3759500104E009066886", "00000000000000007383"); /* I25, I26 */
}

static void test_recorded_locks_and_states(void **state)
{
    (void)state;
    make(UID_AA);
    AIR("2322AA9C3759500104E00A0BA3", DONE); /* I12 */
    assert_true(tag.locked[0x0A]);
    AIR("2302AA9C3759500104E07209", ""); /* I27 */
    assert_int_equal(tag.state, TAG15693_QUIET);
    make(UID_1D);
    AIR("23251D9F3759500104E0A305", DONE); /* I18 */
    assert_int_equal(tag.state, TAG15693_SELECTED);
    AIR("23261D9F3759500104E0A4D3", DONE); /* I19 */
    assert_int_equal(tag.state, TAG15693_READY);
    AIR("23271D9F3759500104E000A23F", DONE); /* I20 */
    AIR("23281D9F3759500104E07108", DONE);   /* I21 */
    AIR("23291D9F3759500104E01151BF", DONE); /* I22 */
    AIR("232A1D9F3759500104E08B93", DONE);   /* I23 */
    assert_true(tag.afi_locked && tag.dsfid_locked);
    AIR("232B1D9F3759500104E076DE", "000F1D9F3759500104E011001B0301515C"); /* I24, I28 */
    make(UID_C7);
    ASK("232B" UID_C7, "000FC7C23759500104E000001B0301");
    AIR("022B3F"
        "2F",
        ""); /* whatever this is, its CRC is wrong */
}

static void test_recorded_information(void **state)
{
    uint8_t frame[16];
    size_t n = unhex("000FC7C23759500104E000001B0301", frame, sizeof frame);

    (void)state;
    assert_int_equal(tag15693_crc(frame, n), 0xF233); /* I29, which was recorded cut */
    make(UID_C7);
    ASK("022B", "000FC7C23759500104E000001B0301");
    set("blocks", "80");
    set("blocksize", "8");
    set("ic", "A2");
    set("afi", "05");
    ASK("022B", "000FC7C23759500104E000054F07A2");
    ASK("422B", "0103");
    set("sysinfo", "0");
    ASK("022B", "0101");
}

/* What each state answers to. */
static void test_states(void **state)
{
    (void)state;
    make(UID_1D);
    ASK("022000", "0000000000");
    ASK("122000", ""); /* select flag, not selected */
    ASK("2220" UID_1D "00", "0000000000");
    ASK("2220" UID_AA "00", "");
    ASK("3220" UID_1D "00", ""); /* select and address together */
    ASK("0202", "");             /* stay quiet exists addressed only */
    ASK("022000", "0000000000");
    ASK("2202" UID_1D, "");
    ASK("022000", "");
    ASK("260100", "");
    ASK("2220" UID_1D "00", "0000000000");
    ASK("0225", "");
    ASK("2225" UID_1D, "00");
    ASK("122000", "0000000000");
    ASK("022000", "");
    ASK("260100", "");
    ASK("2220" UID_1D "00", "0000000000");
    set("select", "1");
    ASK("2220" UID_1D "00", "");
    ASK("2225" UID_AA, ""); /* another tag is selected: this one is ready again */
    ASK("022000", "0000000000");
    ASK("0225", "0102");
    ASK("2225" UID_1D, "00");
    ASK("1226", "00");
    assert_int_equal(tag.state, TAG15693_READY);
    ASK("2202" UID_1D, "");
    ASK("2226" UID_1D, "00");
    ASK("022000", "0000000000");
    ASK("2202" UID_1D, "");
    tag15693_power(&tag);
    ASK("022000", "0000000000");
}

static void test_inventory(void **state)
{
    (void)state;
    make(UID_1D);
    ASK("260100", "00001D9F3759500104E0");
    assert_int_equal(slot, 0);
    ASK("2601040D", "00001D9F3759500104E0");
    ASK("2601040E", "");
    ASK("26010A1D03", "00001D9F3759500104E0");
    ASK("26010A1D02", "");
    ASK("2601401D9F3759500104E0", "00001D9F3759500104E0");
    ASK("2601401D9F3759500104E1", "");
    ASK("26010A1D", ""); /* the mask is cut */
    ASK("260141" UID_1D "00", "");
    ASK("0601040D", "00001D9F3759500104E0");
    assert_int_equal(slot, 1);
    ASK("0601081D", "00001D9F3759500104E0");
    assert_int_equal(slot, 0x0F);
    ASK("2602", "");
    set("afi", "35");
    ASK("36010000", "00001D9F3759500104E0");
    ASK("36013000", "00001D9F3759500104E0");
    ASK("36013500", "00001D9F3759500104E0");
    ASK("36013600", "");
    ASK("36014000", "");
    ASK("3601", "");
}

static void test_errors(void **state)
{
    (void)state;
    make(UID_1D);
    ASK("0230", "0101");
    ASK("02A0", "0101");
    ASK("0A2000", "0102"); /* protocol extension */
    ASK("0220", "0102");
    ASK("02200000", "0102");
    ASK("02201C", "0110");
    ASK("022300", "0102");
    ASK("02231A02", "0110");
    ASK("02231A01", "000000000000000000");
    ASK("022C1C00", "0110");
    ASK("422C0000", "0103");
    ASK("0221000102", "0102");
    ASK("02211C01020304", "0110");
    ASK("02221C", "0110");
    ASK("0222", "0102");
    ASK("0227", "0102");
    ASK("022800", "0102");
    ASK("022A00", "0102");
    ASK("022600", "0102");
    assert_int_equal(tag.writes, 0);
}

static void test_locks(void **state)
{
    (void)state;
    make(UID_1D);
    ASK("022205", "00");
    ASK("022205", "0111");
    ASK("02210501020304", "0112");
    ASK("42230402", "00000000000001000000000000000000");
    ASK("022C0402", "00000100");
    ASK("02240401"
        "0102030405060708",
        "0112"); /* nothing of it is written */
    ASK("022004", "0000000000");
    ASK("0228", "00");
    ASK("0228", "0111");
    ASK("022711", "0112");
    ASK("022A", "00");
    ASK("022A", "0111");
    ASK("022911", "0112");
    set("program", "13");
    ASK("02210601020304", "0113");
    ASK("022206", "0114");
    ASK("022006", "0000000000");
    assert_int_equal(tag.locks, 3);
    assert_int_equal(tag.writes, 0);
}

static void test_write_multiple(void **state)
{
    (void)state;
    make(UID_1D);
    set("writems", "7");
    ASK("2324" UID_1D "0904"
        "0101010102020202030303030404040405050505",
        "00");
    assert_int_equal(took, 35);
    assert_int_equal(tag.writes, 5);
    ASK("02200D", "0005050505");
    ASK("02241B01"
        "0101010102020202",
        "0110");
    set("wm", "01");
    ASK("02240000"
        "01010101",
        "0101");
    set("wm", "0F");
    ASK("02240000"
        "01010101",
        "010F");
    assert_int_equal(tag.writes, 5);
}

/* With the option flag a write is done, but answered only after a second EOF, which nobody sends here. */
static void test_write_with_option(void **state)
{
    (void)state;
    make(UID_1D);
    ASK("42210301020304", "");
    assert_int_equal(tag.writes, 1);
    ASK("022003", "0001020304");
    ASK("42211C01020304", "0110");
    ASK("02210301020305", "00");
    assert_int_equal(took, 5);
}

static void test_settings(void **state)
{
    (void)state;
    make(UID_1D);
    set("uid", "E0040150599F3711"); /* the other way round */
    ASK("260100", "000011379F59500104E0");
    assert_false(tag15693_set(&tag, "uid", "E004"));
    assert_false(tag15693_set(&tag, "uid", "E0040150599F37ZZ"));
    assert_false(tag15693_set(&tag, "blocks", "257"));
    assert_false(tag15693_set(&tag, "blocks", "0"));
    assert_false(tag15693_set(&tag, "blocksize", "33"));
    assert_false(tag15693_set(&tag, "afi", "100"));
    assert_false(tag15693_set(&tag, "nonsense", "1"));
    set("blocks", "256");
    set("blocksize", "32");
    assert_int_equal(strlen(ask("422300FF")), 2 * (1 + 256 * 33));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_recorded_inventory),
        cmocka_unit_test(test_recorded_blocks),
        cmocka_unit_test(test_recorded_locks_and_states),
        cmocka_unit_test(test_recorded_information),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_inventory),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_write_multiple),
        cmocka_unit_test(test_write_with_option),
        cmocka_unit_test(test_settings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
