/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Answers to reset: the ATRs that contactless cards must get, byte for byte, and the traps in those that contact cards
 * send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "card/atr.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Hex text with or without spaces into memory of exactly its size (the caller frees it). */
static uint8_t *unhex(const char *text, size_t *n)
{
    uint8_t *p = malloc(strlen(text) / 2 + 1), *exact;

    assert_non_null(p);
    for (*n = 0; *text != '\0';) {
        unsigned v;

        if (*text == ' ') {
            text++;
            continue;
        }
        assert_int_equal(sscanf(text, "%2x", &v), 1);
        p[(*n)++] = (uint8_t)v;
        text += 2;
    }
    exact = malloc(*n > 0 ? *n : 1);
    assert_non_null(exact);
    memcpy(exact, p, *n);
    free(p);
    return exact;
}

static void assert_atr(const struct atr *atr, const char *what, const char *want)
{
    size_t n;
    uint8_t *p = unhex(want, &n);

    if (atr->len != n || memcmp(atr->bytes, p, n) != 0)
        fail_msg("%s: %zu bytes, last %02X, want %zu, last %02X", what, atr->len, atr->bytes[atr->len - 1], n,
                 p[n - 1]);
    free(p);
}

static void storage_cards(void **state)
{
    static const struct {
        const char *what;
        uint8_t ss;
        uint16_t nn;
        const char *atr;
    } rows[] = {
        {"Classic 1K", 0x03, 0x0001, "3B8F8001804F0CA000000306 03 0001 00000000 6A"},
        {"Classic 4K", 0x03, 0x0002, "3B8F8001804F0CA000000306 03 0002 00000000 69"},
        {"Ultralight", 0x03, 0x0003, "3B8F8001804F0CA000000306 03 0003 00000000 68"},
        {"Mini", 0x03, 0x0026, "3B8F8001804F0CA000000306 03 0026 00000000 4D"},
        {"Plus 2K SL1", 0x03, 0x0036, "3B8F8001804F0CA000000306 03 0036 00000000 5D"},
        {"Plus 4K SL1", 0x03, 0x0037, "3B8F8001804F0CA000000306 03 0037 00000000 5C"},
        {"Ultralight C", 0x03, 0x003A, "3B8F8001804F0CA000000306 03 003A 00000000 51"},
        {"14443A-3 unknown", 0x03, 0x0000, "3B8F8001804F0CA000000306 03 0000 00000000 6B"},
        {"14443B-3 unknown", 0x07, 0x0000, "3B8F8001804F0CA000000306 07 0000 00000000 6F"},
        {"SRIX4K", 0x07, 0x0007, "3B8F8001804F0CA000000306 07 0007 00000000 68"},
        {"Tag-it", 0x0B, 0x0012, "3B8F8001804F0CA000000306 0B 0012 00000000 71"},
        {"LRI512", 0x0B, 0x0013, "3B8F8001804F0CA000000306 0B 0013 00000000 70"},
        {"LRI64", 0x0B, 0x0021, "3B8F8001804F0CA000000306 0B 0021 00000000 42"},
        {"LRI12", 0x0B, 0x0024, "3B8F8001804F0CA000000306 0B 0024 00000000 47"},
        {"LRI128", 0x0B, 0x0025, "3B8F8001804F0CA000000306 0B 0025 00000000 46"},
        {"ICODE SLI", 0x0B, 0x0014, "3B8F8001804F0CA000000306 0B 0014 00000000 77"},
        {"I.CODE1", 0x0B, 0x0016, "3B8F8001804F0CA000000306 0B 0016 00000000 75"},
        {"I.CODE UID", 0x0B, 0x0022, "3B8F8001804F0CA000000306 0B 0022 00000000 41"},
        {"ICODE SL2", 0x0B, 0x0035, "3B8F8001804F0CA000000306 0B 0035 00000000 56"},
        {"15693 unknown", 0x0B, 0x0000, "3B8F8001804F0CA000000306 0B 0000 00000000 63"},
        {"vendor extension", 0x0B, 0xFFD0, "3B8F8001804F0CA000000306 0B FFD0 00000000 4C"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < LEN(rows); i++) {
        struct atr atr;

        atr_storage(&atr, rows[i].ss, rows[i].nn);
        assert_atr(&atr, rows[i].what, rows[i].atr);
    }
}

static void historical_bytes(void **state)
{
    static const struct {
        const char *hist, *atr;
    } rows[] = {
        {"", "3B 80 80 01 01"},
        {"80", "3B 81 80 01 80 80"},
        {"C1052F2F0035C7", "3B 87 80 01 C1 05 2F 2F 00 35 C7 30"},
        {"4A434F50343156 3231", "3B 89 80 01 4A 43 4F 50 34 31 56 32 31 4E"},
        {"000102030405060708090A0B0C0D0E", "3B 8F 80 01 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 01"},
        /* more than 15 are cut: T0 has four bits for them */
        {"000102030405060708090A0B0C0D0E0F10", "3B 8F 80 01 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 01"},
    };
    size_t i;
    struct atr atr;

    (void)state;
    for (i = 0; i < LEN(rows); i++) {
        size_t n;
        uint8_t *hist = unhex(rows[i].hist, &n);

        atr_from_historical(&atr, hist, n);
        assert_atr(&atr, rows[i].hist, rows[i].atr);
        free(hist);
    }
    atr_from_historical(&atr, NULL, 0);
    assert_atr(&atr, "none", "3B 80 80 01 01");
}

static void answer_to_select(void **state)
{
    static const struct {
        const char *what, *ats, *atr;
    } rows[] = {
        {"DESFire", "06 75 77 81 02 80", "3B 81 80 01 80 80"},
        {"MIFARE Plus S", "0C 75 77 80 02 C1052F2F0035C7", "3B 87 80 01 C1 05 2F 2F 00 35 C7 30"},
        {"JCOP", "0D 38 33 B1 4A434F503431563231", "3B 89 80 01 4A 43 4F 50 34 31 56 32 31 4E"},
        {"no interface bytes", "03 05 80", "3B 81 80 01 80 80"},
        {"TA only", "04 15 77 80", "3B 81 80 01 80 80"},
        {"TB only", "04 25 77 80", "3B 81 80 01 80 80"},
        {"TC only", "04 45 77 80", "3B 81 80 01 80 80"},
        {"bytes behind TL are not its own", "06 75 77 81 02 80 AA BB", "3B 81 80 01 80 80"},
        {"17 historical bytes are cut", "12 05 000102030405060708090A0B0C0D0E0F",
         "3B 8F 80 01 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 01"},
        {"interface bytes and nothing more", "05 75 77 81 02", "3B 80 80 01 01"},
        {"TL alone", "01", "3B 80 80 01 01"},
        {"T0 alone", "02 05", "3B 80 80 01 01"},
        {"none", "", "3B 80 80 01 01"},
        {"TL 0", "00 75 77 81 02 80", "3B 80 80 01 01"},
        {"cut", "07 75 77 81 02 80", "3B 80 80 01 01"},
        {"interface bytes beyond TL", "04 75 77 81", "3B 80 80 01 01"},
        {"interface bytes beyond TL, not beyond the buffer", "04 75 77 81 02 80", "3B 80 80 01 01"},
        {"TL FF", "FF 75 77 81 02 80", "3B 80 80 01 01"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < LEN(rows); i++) {
        size_t n;
        uint8_t *ats = unhex(rows[i].ats, &n);
        struct atr atr;

        atr_from_ats(&atr, ats, n);
        assert_atr(&atr, rows[i].what, rows[i].atr);
        free(ats);
    }
}

static void type_b(void **state)
{
    struct atr atr;

    (void)state;
    atr_from_atqb(&atr, (const uint8_t[4]){0}, (const uint8_t[3]){0x71, 0x81, 0x71}, 0);
    assert_atr(&atr, "empty application data", "3B 88 80 01 00 00 00 00 71 81 71 00 88");
    atr_from_atqb(&atr, (const uint8_t[4]){0x1C, 0x2D, 0x94, 0x11}, (const uint8_t[3]){0xF7, 0x71, 0x85}, 0);
    assert_atr(&atr, "application data", "3B 88 80 01 1C 2D 94 11 F7 71 85 00 BE");
    atr_from_atqb(&atr, (const uint8_t[4]){0}, (const uint8_t[3]){0x71, 0x81, 0x71}, 3);
    assert_atr(&atr, "MBLI 3", "3B 88 80 01 00 00 00 00 71 81 71 30 B8");
    atr_from_atqb(&atr, (const uint8_t[4]){0}, (const uint8_t[3]){0x71, 0x81, 0x71}, 0xF3);
    assert_atr(&atr, "MBLI is a nibble", "3B 88 80 01 00 00 00 00 71 81 71 30 B8");
}

static enum result parse(struct atr_info *info, const char *text)
{
    size_t n;
    uint8_t *p = unhex(text, &n);
    enum result r = atr_parse(info, p, n);

    free(p);
    return r;
}

struct read_row {
    const char *what, *atr;
    unsigned protocols;
    uint8_t first;
    int specific; /* -1: none, else TA2's protocol */
    uint8_t ifsc, bwi, cwi;
    bool crc, tck_wrong;
    const char *historical;
};

static const struct read_row read_rows[] = {
    {"PBoC debit card: T=0, no TCK", "3B 6D 00 00 80 65 08 49 04 86 53 00 00 00 00 00 00", 0x01, 0, -1, 32, 4, 13,
     false, false, "80650849048653000000000000"},
    {"the shortest", "3B 00", 0x01, 0, -1, 32, 4, 13, false, false, ""},
    {"inverse convention", "3F 00", 0x01, 0, -1, 32, 4, 13, false, false, ""},
    {"contactless", "3B 80 80 01 01", 0x03, 0, -1, 32, 4, 13, false, false, ""},
    {"JCOP 41: T=1, IFSC, BWI, CWI", "3B E9 00 00 81 31 FE 45 4A 43 4F 50 34 31 56 32 32 A7", 0x02, 1, -1, 254, 4, 5,
     false, false, "4A434F503431563232"},
    {"TC3 bit 0: CRC", "3B 80 81 71 20 75 01 24", 0x02, 1, -1, 32, 7, 5, true, false, ""},
    {"TC3 without bit 0: LRC", "3B 80 81 41 FE BE", 0x02, 1, -1, 32, 4, 13, false, false, ""},
    {"TA3 00 is reserved", "3B 80 81 11 00 10", 0x02, 1, -1, 32, 4, 13, false, false, ""},
    {"TA3 FF is reserved", "3B 80 81 11 FF EF", 0x02, 1, -1, 32, 4, 13, false, false, ""},
    {"T=0 and T=1", "3B 90 11 80 31 80 65 D5", 0x03, 0, -1, 0x80, 6, 5, false, false, ""},
    {"TA2: specific mode, T=1", "3B 90 96 91 01 31 FE 45 1C", 0x02, 1, 1, 254, 4, 5, false, false, ""},
    {"TA2 of T=0 with b5", "3B 80 10 10", 0x01, 0, 0, 32, 4, 13, false, false, ""},
    {"TA2, TB2 and TC2 are not T=1's", "3B 80 71 11 22 01 C3", 0x02, 1, 1, 32, 4, 13, false, false, ""},
    {"T=15 is no protocol, its TA is no IFSC", "3B 80 80 1F 03 1C", 0x01, 0, -1, 32, 4, 13, false, false, ""},
    {"T=1, then T=15", "3B 80 81 91 20 1F 05 AA", 0x02, 1, -1, 32, 4, 13, false, false, ""},
    {"T=1 only after T=15", "3B 80 80 9F 03 11 40 CD", 0x03, 0, -1, 0x40, 4, 13, false, false, ""},
    {"first TA of T=1 counts, not the second", "3B 80 81 91 40 11 80 41", 0x02, 1, -1, 0x40, 4, 13, false, false, ""},
    {"first group of T=1 has no TA, so 32", "3B 80 81 A1 75 11 80 44", 0x02, 1, -1, 32, 7, 5, false, false, ""},
    {"T=15 first, against the rules", "3B 80 0F 8F", 0x01, 0, -1, 32, 4, 13, false, false, ""},
    {"T=14", "3B 80 0E 8E", 0x4000, 14, -1, 32, 4, 13, false, false, ""},
    {"TCK wrong", "3B 80 80 01 02", 0x03, 0, -1, 32, 4, 13, false, true, ""},
    {"T=0 and T=15 only: TCK owed, and wrong", "3B 80 80 1F 03 1D", 0x01, 0, -1, 32, 4, 13, false, true, ""},
    {"TCK missing", "3B 80 80 01", 0x03, 0, -1, 32, 4, 13, false, true, ""},
    {"a TCK that T=0 does not owe", "3B 00 00", 0x01, 0, -1, 32, 4, 13, false, false, ""},
    {"a byte behind the TCK", "3B 80 80 01 01 90", 0x03, 0, -1, 32, 4, 13, false, false, ""},
};

static void reading(void **state)
{
    size_t i, n;

    (void)state;
    for (i = 0; i < LEN(read_rows); i++) {
        const struct read_row *w = &read_rows[i];
        struct atr_info info;
        uint8_t *hist = unhex(w->historical, &n);

        if (parse(&info, w->atr) != R_SUCCESS)
            fail_msg("%s: refused", w->what);
        if (info.protocols != w->protocols || info.first != w->first)
            fail_msg("%s: protocols %04X first %u", w->what, (unsigned)info.protocols, (unsigned)info.first);
        if (info.specific != (w->specific >= 0) || (info.specific && info.specific_t != w->specific))
            fail_msg("%s: specific %d T=%d", w->what, info.specific, info.specific_t);
        if (info.t1_ifsc != w->ifsc || info.t1_bwi != w->bwi || info.t1_cwi != w->cwi || info.t1_crc != w->crc)
            fail_msg("%s: IFSC %d BWI %d CWI %d CRC %d", w->what, info.t1_ifsc, info.t1_bwi, info.t1_cwi, info.t1_crc);
        if (info.tck_wrong != w->tck_wrong)
            fail_msg("%s: tck_wrong %d", w->what, info.tck_wrong);
        if (info.historical_len != n || memcmp(info.historical, hist, n) != 0)
            fail_msg("%s: %zu historical bytes", w->what, info.historical_len);
        free(hist);
    }
}

/* Every proper prefix of an ATR is refused, except where only the TCK is missing. */
static void cut_anywhere(void **state)
{
    size_t i, cut, n, owed;

    (void)state;
    for (i = 0; i < LEN(read_rows); i++) {
        uint8_t *p = unhex(read_rows[i].atr, &n);
        struct atr_info info;

        for (owed = 0; owed <= n; owed++) /* the length without TCK: the first prefix that is accepted */
            if (atr_parse(&info, p, owed) == R_SUCCESS)
                break;
        assert_true(owed + 2 >= n); /* a TCK and one surplus byte at most */
        for (cut = 0; cut < owed; cut++) {
            uint8_t *exact = malloc(cut > 0 ? cut : 1);

            assert_non_null(exact);
            memcpy(exact, p, cut);
            if (atr_parse(&info, exact, cut) != R_INVALID)
                fail_msg("%s: accepted when cut to %zu", read_rows[i].what, cut);
            free(exact);
        }
        free(p);
    }
}

static void refused(void **state)
{
    static const char *const rows[] = {
        "",      "3B",       "3C 00", "00 00",          "03 00", "3B 0F 01 02", /* historical bytes beyond the end */
        "3B 10", "3B F0 01", "3B 80", "3B 80 81 31 FE",
    };
    struct atr_info info;
    uint8_t loud[34] = {0x3B, 0x00};
    size_t i;

    (void)state;
    for (i = 0; i < LEN(rows); i++)
        if (parse(&info, rows[i]) != R_INVALID)
            fail_msg("\"%s\" was accepted", rows[i]);
    assert_int_equal(atr_parse(&info, loud, 33), R_SUCCESS);
    assert_int_equal(atr_parse(&info, loud, 34), R_INVALID);
    memset(loud + 1, 0xFF, 33); /* TDs without end */
    assert_int_equal(atr_parse(&info, loud, 33), R_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storage_cards), cmocka_unit_test(historical_bytes), cmocka_unit_test(answer_to_select),
        cmocka_unit_test(type_b),        cmocka_unit_test(reading),          cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests_name("atr", tests, NULL, NULL);
}
