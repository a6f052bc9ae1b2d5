/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time on CLOCK_MONOTONIC. A deadline is a plain number, so comparing and passing it costs nothing; the only arithmetic
 * that could overflow is done here, once, and saturates.
 */
#include "base/clock.h"

#include <limits.h>

/* The kernel keeps the difference of the two clocks constant between suspends, but they can be read only one after the
 * other. So CLOCK_BOOTTIME is read between two readings of CLOCK_MONOTONIC, again if the thread was held up meanwhile,
 * and the difference is rounded to a step far above what is left of that error: equal sleeps give equal numbers. */
int64_t clock_suspended(void)
{
    const int64_t step = 10 * (int64_t)CLOCK_NS_PER_MS, narrow = CLOCK_NS_PER_MS / 20;
    int64_t best = 0, width = INT64_MAX;

    for (int i = 0; i < 8 && width > narrow; i++) {
        int64_t before = clock_now();
        int64_t boot = clock_read(CLOCK_BOOTTIME);
        int64_t after = clock_now();

        if (after - before < width) {
            width = after - before;
            best = boot - (before + width / 2);
        }
    }
    return best <= 0 ? 0 : (best + step / 2) / step * step;
}

deadline_t deadline_in(unsigned ms)
{
    int64_t now = clock_now();
    int64_t span = (int64_t)ms * CLOCK_NS_PER_MS; /* at most 2^32 ms: far from overflow */

    return now >= DEADLINE_NEVER - span ? DEADLINE_NEVER - 1 : now + span;
}

int deadline_left_ms(deadline_t d)
{
    int64_t now, left;

    if (d == DEADLINE_NEVER)
        return -1;
    now = clock_now(); /* never negative, so d - now cannot overflow once d is the later one */
    if (d <= now)
        return 0;
    left = d - now;
    /* Rounded up: a poll() that returns a fraction too early would spin until the deadline. */
    left = left / CLOCK_NS_PER_MS + (left % CLOCK_NS_PER_MS != 0);
    return left > INT_MAX ? INT_MAX : (int)left;
}

struct timespec deadline_timespec(deadline_t d)
{
    /* The latest second that every time_t holds; on a 64-bit time_t it is as good as never too (the year 2038 counted
     * from the machine's start). */
    const int64_t last = INT32_MAX;
    int64_t s = d / CLOCK_NS_PER_S;
    struct timespec t = {0};

    if (d <= 0)
        return t;
    t.tv_sec = (time_t)(s > last ? last : s);
    t.tv_nsec = (long)(d % CLOCK_NS_PER_S);
    return t;
}
