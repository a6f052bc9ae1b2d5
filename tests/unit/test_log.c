/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a user finds in pcscd's log: which lines the mask lets through, how they look, what of a frame is hidden, and
 * that a reader that fails without end does not fill the disk.
 */
#include <debuglog.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "stub_log.h"

#define HOUR (3600 * INT64_C(1000000000))

static struct log reader;

static int start(void **state)
{
    (void)state;
    stub_log_clear();
    log_init(&reader, 15, "AET63 1:2");
    return 0;
}

static int end(void **state)
{
    (void)state;
    log_done(&reader);
    return 0;
}

static void a_line_names_the_reader(void **state)
{
    struct log nameless;

    (void)state;
    log_line(&reader, PLOG_INFO, "firmware %s, slot %d", "AET63BIO", 2);
    assert_string_equal(stub_log_line(0), "AET63 1:2: firmware AET63BIO, slot 2");
    log_init(&nameless, 15, NULL);
    log_line(&nameless, PLOG_INFO, "text");
    assert_string_equal(stub_log_line(1), "text");
    log_done(&nameless);
}

static void a_long_name_is_cut(void **state)
{
    char name[200];
    struct log log;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    log_init(&log, 15, name);
    assert_int_equal(strlen(log.name), LOG_NAME_MAX - 1);
    log_done(&log);
}

static void the_mask_chooses_each_level_by_itself(void **state)
{
    static const enum log_level levels[] = {PLOG_CRITICAL, PLOG_INFO, PLOG_FRAME, PLOG_PERIODIC};
    static const int priority[] = {PCSC_LOG_CRITICAL, PCSC_LOG_INFO, PCSC_LOG_DEBUG, PCSC_LOG_DEBUG};

    (void)state;
    for (unsigned mask = 0; mask < 16; mask++) {
        reader.mask = mask;
        for (size_t i = 0; i < 4; i++) {
            stub_log_clear();
            log_line(&reader, levels[i], "x");
            log_bytes_masked(&reader, levels[i], "x", (const uint8_t *)"x", 1, 1, 0);
            assert_int_equal(stub_log_count(), mask >> i & 1 ? 2 : 0);
            assert_int_equal(stub_log_priority(0), mask >> i & 1 ? priority[i] : -1);
            assert_int_equal(stub_log_priority(1), mask >> i & 1 ? priority[i] : -1);
        }
        stub_log_clear();
        log_fault(&reader, "x");
        assert_int_equal(stub_log_count(), mask & 1);
        reader.limit_used = 0;
    }
}

static void a_line_ends_at_200_characters(void **state)
{
    char text[300];
    const size_t prefix = strlen("AET63 1:2: ");

    (void)state;
    memset(text, 'x', sizeof text);
    text[200] = '\0';
    log_line(&reader, PLOG_INFO, "%s", text);
    assert_int_equal(strlen(stub_log_line(0)), prefix + 200);
    assert_null(strstr(stub_log_line(0), "..."));
    text[200] = 'x';
    text[201] = '\0';
    log_line(&reader, PLOG_INFO, "%s", text);
    assert_int_equal(strlen(stub_log_line(1)), prefix + 200);
    assert_string_equal(stub_log_line(1) + prefix + 196, "x...");
}

static void a_device_cannot_forge_a_line(void **state)
{
    (void)state;
    log_line(&reader, PLOG_INFO, "model %s", "VP\n3300\x1B[2J\x7F \xC3\xA4");
    assert_string_equal(stub_log_line(0), "AET63 1:2: model VP?3300?[2J? \xC3\xA4");
}

static void a_flood_of_faults_is_cut_and_counted(void **state)
{
    (void)state;
    reader.limit_since = clock_now() + HOUR; /* the ten seconds do not end while the test runs */
    for (unsigned i = 0; i < LOG_FAULT_BURST + 7; i++)
        log_fault(&reader, "broken answer %u", i);
    assert_int_equal(stub_log_count(), LOG_FAULT_BURST);
    assert_string_equal(stub_log_line(LOG_FAULT_BURST - 1), "AET63 1:2: broken answer 19");
    assert_int_equal(stub_log_priority(0), PCSC_LOG_CRITICAL);

    reader.limit_since -= 2 * HOUR; /* now they have ended */
    log_fault(&reader, "one more");
    assert_int_equal(stub_log_count(), LOG_FAULT_BURST + 2);
    assert_non_null(strstr(stub_log_line(LOG_FAULT_BURST), "7 further faults left out"));
    assert_string_equal(stub_log_line(LOG_FAULT_BURST + 1), "AET63 1:2: one more");

    log_fault(&reader, "and another");
    reader.limit_since -= HOUR; /* nor again in the next ten seconds */
    log_fault(&reader, "and one later");
    assert_int_equal(stub_log_matches("left out"), 1); /* said once */
}

/* A reader that says "I restarted" a thousand times a second. Faults have a limit of their own beside it. */
static void a_flood_of_other_lines_is_cut_and_counted(void **state)
{
    (void)state;
    reader.limit_since = clock_now() + HOUR;
    for (int i = 0; i < LOG_LINE_BURST + 5; i++)
        log_line(&reader, i % 2 ? PLOG_CRITICAL : PLOG_INFO, "x");
    assert_int_equal(stub_log_count(), LOG_LINE_BURST);
    log_fault(&reader, "a fault");
    assert_int_equal(stub_log_count(), LOG_LINE_BURST + 1);

    reader.limit_since -= 2 * HOUR;
    log_line(&reader, PLOG_INFO, "one more");
    assert_int_equal(stub_log_count(), LOG_LINE_BURST + 3);
    assert_non_null(strstr(stub_log_line(LOG_LINE_BURST + 1), "5 further lines left out"));
}

static void what_a_user_asks_for_is_not_limited(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * LOG_LINE_BURST; i++)
        log_line(&reader, i % 2 ? PLOG_FRAME : PLOG_PERIODIC, "x");
    assert_int_equal(stub_log_count(), 2 * LOG_LINE_BURST);
}

/* What became of money is told however much else was. */
static void an_outcome_is_never_left_out(void **state)
{
    (void)state;
    reader.limit_since = clock_now() + HOUR;
    for (int i = 0; i < LOG_LINE_BURST + 5; i++) {
        log_line(&reader, PLOG_INFO, "x");
        log_fault(&reader, "x");
    }
    assert_int_equal(stub_log_count(), LOG_LINE_BURST + LOG_FAULT_BURST);
    for (int i = 0; i < LOG_LINE_BURST + 5; i++)
        log_outcome(&reader, "debit of block 4: outcome unknown");
    assert_int_equal(stub_log_count(), 2 * LOG_LINE_BURST + 5 + LOG_FAULT_BURST);
}

static void readers_are_limited_each_by_itself(void **state)
{
    struct log other;

    (void)state;
    reader.limit_since = clock_now() + HOUR;
    log_init(&other, 1, "other");
    for (int i = 0; i < 2 * LOG_FAULT_BURST; i++)
        log_fault(&reader, "x");
    log_fault(&other, "heard");
    assert_true(stub_log_has("other: heard", NULL));
    log_done(&other);
}

static void what_was_left_out_is_told_at_the_end(void **state)
{
    struct log log;

    (void)state;
    log_init(&log, 15, "r");
    log.limit_since = clock_now() + HOUR;
    for (int i = 0; i <= LOG_FAULT_BURST; i++)
        log_fault(&log, "x");
    assert_int_equal(stub_log_matches("left out"), 0);
    log_done(&log);
    assert_int_equal(stub_log_matches("r: 1 further fault left out"), 1);
}

enum { FLOOD = 1000 };

static void *flood(void *arg)
{
    (void)arg;
    for (int i = 0; i < FLOOD; i++)
        log_fault(&reader, "from a thread");
    return NULL;
}

static void two_threads_share_the_limit(void **state)
{
    pthread_t a, b;

    (void)state;
    reader.limit_since = clock_now() + HOUR;
    assert_int_equal(pthread_create(&a, NULL, flood, NULL), 0);
    assert_int_equal(pthread_create(&b, NULL, flood, NULL), 0);
    assert_int_equal(pthread_join(a, NULL), 0);
    assert_int_equal(pthread_join(b, NULL), 0);
    assert_int_equal(stub_log_count(), LOG_FAULT_BURST);
    assert_int_equal(reader.limit_dropped, 2 * FLOOD - LOG_FAULT_BURST);
}

static const uint8_t frame[] = {0x01, 0xA0, 0x0B, 0xF3, 0x44, 0x55, 0x90, 0x00};

static void secrets_are_shown_as_a_count(void **state)
{
    static const struct {
        size_t n, clear, tail;
        const char *text;
    } cases[] = {
        {8, 3, 2, "AET63 1:2: > [8] 01 A0 0B (3 not shown) 90 00"},
        {8, 0, 0, "AET63 1:2: > [8] (8 not shown)"},
        {8, 8, 0, "AET63 1:2: > [8] 01 A0 0B F3 44 55 90 00"},
        {8, 6, 2, "AET63 1:2: > [8] 01 A0 0B F3 44 55 90 00"},
        {8, 0, 8, "AET63 1:2: > [8] 01 A0 0B F3 44 55 90 00"},
        {8, 5, 5, "AET63 1:2: > [8] 01 A0 0B F3 44 55 90 00"}, /* overlapping: no byte twice */
        {8, SIZE_MAX, SIZE_MAX, "AET63 1:2: > [8] 01 A0 0B F3 44 55 90 00"},
        {8, 7, 0, "AET63 1:2: > [8] 01 A0 0B F3 44 55 90 (1 not shown)"},
        {8, 0, 1, "AET63 1:2: > [8] (7 not shown) 00"},
        {0, 4, 4, "AET63 1:2: > [0]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stub_log_clear();
        log_bytes_masked(&reader, PLOG_FRAME, ">", cases[i].n ? frame : NULL, cases[i].n, cases[i].clear,
                         cases[i].tail);
        assert_string_equal(stub_log_line(0), cases[i].text);
    }
}

static void a_long_frame_is_shortened_by_count(void **state)
{
    static uint8_t big[70000];
    char what[100];

    (void)state;
    memset(what, 'w', sizeof what - 1);
    what[sizeof what - 1] = '\0';
    log_bytes_masked(&reader, PLOG_FRAME, what, big, sizeof big, SIZE_MAX, SIZE_MAX);
    assert_true(stub_log_has("[70000]", "(69680 not shown)", NULL));
    stub_log_clear();
    log_bytes_masked(&reader, PLOG_FRAME, "<", big, sizeof big, 10, sizeof big);
    assert_true(stub_log_has("[70000]", "(69680 not shown)", NULL));
    stub_log_clear();
    log_bytes_masked(&reader, PLOG_FRAME, "<", big, sizeof big, 300, 100);
    assert_true(stub_log_has("[70000]", "(69680 not shown)", NULL));
    stub_log_clear();
    log_bytes_masked(&reader, PLOG_FRAME, "<", big, 320, 320, 0); /* a short APDU in its frame is shown whole */
    assert_int_equal(stub_log_matches("not shown"), 0);
}

static void every_result_has_its_own_name(void **state)
{
    (void)state;
    for (int a = R_CARD; a <= R_SUCCESS; a++) {
        assert_string_not_equal(result_name((enum result)a), "unknown result");
        for (int b = R_CARD; b < a; b++)
            assert_string_not_equal(result_name((enum result)a), result_name((enum result)b));
    }
    assert_string_equal(result_name((enum result)1), "unknown result");
    assert_string_equal(result_name(R_TIMEOUT), "timeout");
    assert_string_equal(result_name(R_NO_CARD), "no card");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(a_line_names_the_reader),
        CASE(a_long_name_is_cut),
        CASE(the_mask_chooses_each_level_by_itself),
        CASE(a_line_ends_at_200_characters),
        CASE(a_device_cannot_forge_a_line),
        CASE(a_flood_of_faults_is_cut_and_counted),
        CASE(a_flood_of_other_lines_is_cut_and_counted),
        CASE(what_a_user_asks_for_is_not_limited),
        CASE(an_outcome_is_never_left_out),
        CASE(readers_are_limited_each_by_itself),
        CASE(what_was_left_out_is_told_at_the_end),
        CASE(two_threads_share_the_limit),
        CASE(secrets_are_shown_as_a_count),
        CASE(a_long_frame_is_shortened_by_count),
        CASE(every_result_has_its_own_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
