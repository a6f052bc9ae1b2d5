/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time. Every wait of this driver ends at a deadline on CLOCK_MONOTONIC; a deadline is a point in nanoseconds, so a
 * call passes it down unchanged and no layer adds its own time to the caller's.
 */
#ifndef PURSE_CLOCK_H
#define PURSE_CLOCK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef int64_t deadline_t; /* nanoseconds of CLOCK_MONOTONIC */

#define DEADLINE_NEVER INT64_MAX

#define CLOCK_NS_PER_MS INT64_C(1000000)
#define CLOCK_NS_PER_S INT64_C(1000000000)
#define CLOCK_SUSPEND_STEP (10 * CLOCK_NS_PER_MS) /* what clock_suspended() counts in */

/* The short ones stand here, in the header: each of them is asked a dozen times in an exchange. */

static inline int64_t clock_read(clockid_t id)
{
    struct timespec t = {0};

    /* Both clocks that are used exist on every Linux this driver can be built for; a failure would leave time at 0. */
    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * CLOCK_NS_PER_S + t.tv_nsec;
}

/* Now, in nanoseconds of CLOCK_MONOTONIC. */
static inline int64_t clock_now(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

/* Nanoseconds that the machine has spent suspended since it started (CLOCK_BOOTTIME less CLOCK_MONOTONIC). It grows
 * only by a suspend: a line that was open across a growth must be synchronised again. */
int64_t clock_suspended(void);

/* Can clock_suspended() have grown beyond `known`, an earlier answer of it? Quicker than to ask it: the difference of
 * the two clocks, read one after the other, is what it is, or more if the thread was held up. */
static inline bool clock_may_have_suspended(int64_t known)
{
    int64_t before = clock_now();

    return clock_read(CLOCK_BOOTTIME) - before >= known + CLOCK_SUSPEND_STEP / 2;
}

/* The point ms milliseconds from now; 0 is now. */
static inline deadline_t deadline_in(unsigned ms)
{
    int64_t now = clock_now();
    int64_t span = (int64_t)ms * CLOCK_NS_PER_MS; /* at most 2^32 ms: far from overflow */

    return now >= DEADLINE_NEVER - span ? DEADLINE_NEVER - 1 : now + span;
}

/* The earlier of two. */
static inline deadline_t deadline_min(deadline_t a, deadline_t b)
{
    return a < b ? a : b;
}

static inline bool deadline_passed(deadline_t d)
{
    return d != DEADLINE_NEVER && d <= clock_now();
}

/* Milliseconds left, rounded up, 0 when passed, at most INT_MAX; -1 for DEADLINE_NEVER: what poll() takes. */
static inline int deadline_left_ms(deadline_t d)
{
    int64_t now, left;

    if (d == DEADLINE_NEVER)
        return -1;
    now = clock_now(); /* never negative, so d - now cannot overflow once d is the later one */
    if (d <= now)
        return 0;
    /* Rounded up: a poll() that returns a fraction too early would spin until the deadline. */
    left = (d - now - 1) / CLOCK_NS_PER_MS + 1;
    return left > INT_MAX ? INT_MAX : (int)left;
}

/* The same point as a timespec for pthread_cond_timedwait on a CLOCK_MONOTONIC condition variable. */
static inline struct timespec deadline_timespec(deadline_t d)
{
    /* The latest second that every time_t holds; on a 64-bit time_t it is as good as never too (the year 2038 counted
     * from the machine's start). */
    const int64_t last = INT32_MAX;
    int64_t s = d / CLOCK_NS_PER_S;

    return d <= 0 ? (struct timespec){0}
                  : (struct timespec){.tv_sec = (time_t)(s > last ? last : s), .tv_nsec = (long)(d % CLOCK_NS_PER_S)};
}

#endif
