/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Deadlines, at exact times: this program defines clock_gettime() itself, so a test sets what the clocks show and
 * nothing depends on how fast the machine is.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"

#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)

static int64_t monotonic, asleep; /* what the clocks show */
static int64_t delays[8];         /* what passes during the n-th reading from now */
static unsigned readings;

int clock_gettime(clockid_t id, struct timespec *t)
{
    int64_t now = monotonic + (id == CLOCK_BOOTTIME ? asleep : 0);

    t->tv_sec = (time_t)(now / S);
    t->tv_nsec = (long)(now % S);
    if (readings < sizeof delays / sizeof delays[0])
        monotonic += delays[readings];
    readings++;
    return 0;
}

static int start(void **state)
{
    (void)state;
    monotonic = 1000 * S + 1;
    asleep = 0;
    readings = 0;
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++)
        delays[i] = 0;
    return 0;
}

static void now_is_in_nanoseconds(void **state)
{
    (void)state;
    monotonic = 12 * S + 345678901;
    assert_true(clock_now() == 12345678901);
}

static void a_deadline_is_a_point(void **state)
{
    (void)state;
    assert_true(deadline_in(0) == monotonic);
    assert_true(deadline_in(250) == monotonic + 250 * MS);
    assert_true(deadline_in(UINT_MAX) == monotonic + UINT_MAX * MS);
}

static void a_deadline_saturates_and_never_becomes_never(void **state)
{
    (void)state;
    monotonic = INT64_MAX - 5 * MS;
    assert_true(deadline_in(4) == INT64_MAX - MS);
    assert_true(deadline_in(5) == DEADLINE_NEVER - 1);
    assert_true(deadline_in(6) == DEADLINE_NEVER - 1);
    assert_true(deadline_in(UINT_MAX) == DEADLINE_NEVER - 1);
}

static void the_earlier_of_two(void **state)
{
    (void)state;
    assert_true(deadline_min(3, 4) == 3);
    assert_true(deadline_min(4, 3) == 3);
    assert_true(deadline_min(DEADLINE_NEVER, 4) == 4);
    assert_true(deadline_min(DEADLINE_NEVER, DEADLINE_NEVER) == DEADLINE_NEVER);
}

static void passed_at_its_point_and_after(void **state)
{
    (void)state;
    assert_false(deadline_passed(monotonic + 1));
    assert_true(deadline_passed(monotonic));
    assert_true(deadline_passed(monotonic - 1));
    assert_true(deadline_passed(INT64_MIN));
    monotonic = INT64_MAX;
    assert_false(deadline_passed(DEADLINE_NEVER));
}

static void milliseconds_left_are_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(deadline_left_ms(DEADLINE_NEVER), -1);
    assert_int_equal(deadline_left_ms(INT64_MIN), 0);
    assert_int_equal(deadline_left_ms(monotonic - 1), 0);
    assert_int_equal(deadline_left_ms(monotonic), 0);
    assert_int_equal(deadline_left_ms(monotonic + 1), 1);
    assert_int_equal(deadline_left_ms(monotonic + MS), 1);
    assert_int_equal(deadline_left_ms(monotonic + MS + 1), 2);
    assert_int_equal(deadline_left_ms(monotonic + 5000 * MS), 5000);
}

static void milliseconds_left_fit_an_int(void **state)
{
    (void)state;
    assert_int_equal(deadline_left_ms(monotonic + (int64_t)INT_MAX * MS), INT_MAX);
    assert_int_equal(deadline_left_ms(monotonic + (int64_t)INT_MAX * MS + 1), INT_MAX);
    assert_int_equal(deadline_left_ms(DEADLINE_NEVER - 1), INT_MAX);
}

static void as_a_timespec(void **state)
{
    struct timespec t = deadline_timespec(12345678901);

    (void)state;
    assert_int_equal(t.tv_sec, 12);
    assert_int_equal(t.tv_nsec, 345678901);
    t = deadline_timespec(-1); /* pthread_cond_timedwait refuses negative nanoseconds */
    assert_int_equal(t.tv_sec, 0);
    assert_int_equal(t.tv_nsec, 0);
    t = deadline_timespec(DEADLINE_NEVER);
    assert_int_equal(t.tv_sec, INT32_MAX); /* decades away, and it fits every time_t */
    assert_in_range(t.tv_nsec, 0, 999999999);
}

static void suspended_time_grows_only_by_a_suspend(void **state)
{
    int64_t before;

    (void)state;
    assert_true(clock_suspended() == 0);
    asleep = 3600 * S + 4 * MS;
    before = clock_suspended();
    assert_true(before >= 3600 * S && before <= 3600 * S + 10 * MS);
    for (int i = 0; i < 100; i++) { /* the readings lie some time apart, each time another */
        readings = 0;
        delays[0] = 400 * i;
        delays[1] = 39000 - 300 * i;
        assert_true(clock_suspended() == before);
    }
    asleep += S;
    assert_true(clock_suspended() == before + S);
    asleep = 60 * S; /* an even number, with readings that fall on both sides of it */
    for (int i = 0; i < 100; i++) {
        readings = 0;
        delays[0] = 400 * i;
        delays[1] = 20000;
        assert_true(clock_suspended() == 60 * S);
    }
}

static void a_thread_held_up_between_two_readings_asks_again(void **state)
{
    (void)state;
    asleep = 60 * S;
    delays[0] = 30 * MS; /* between the first two clocks */
    assert_true(clock_suspended() == 60 * S);
    readings = 0;
    delays[0] = 0;
    delays[1] = 30 * MS; /* and between the second and the third */
    assert_true(clock_suspended() == 60 * S);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(now_is_in_nanoseconds, start),
        cmocka_unit_test_setup(a_deadline_is_a_point, start),
        cmocka_unit_test_setup(a_deadline_saturates_and_never_becomes_never, start),
        cmocka_unit_test_setup(the_earlier_of_two, start),
        cmocka_unit_test_setup(passed_at_its_point_and_after, start),
        cmocka_unit_test_setup(milliseconds_left_are_rounded_up, start),
        cmocka_unit_test_setup(milliseconds_left_fit_an_int, start),
        cmocka_unit_test_setup(as_a_timespec, start),
        cmocka_unit_test_setup(suspended_time_grows_only_by_a_suspend, start),
        cmocka_unit_test_setup(a_thread_held_up_between_two_readings_asks_again, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
