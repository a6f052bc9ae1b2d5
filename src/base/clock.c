/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time on CLOCK_MONOTONIC. A deadline is a plain number, so comparing and passing it costs nothing; arithmetic that
 * could overflow saturates.
 */
#include "base/clock.h"

#include <limits.h>

/* The kernel keeps the difference of the two clocks constant between suspends, but they can be read only one after the
 * other. So CLOCK_BOOTTIME is read between two readings of CLOCK_MONOTONIC, again if the thread was held up meanwhile,
 * and the difference is rounded to a step far above what is left of that error: equal sleeps give equal numbers. */
int64_t clock_suspended(void)
{
    const int64_t narrow = CLOCK_NS_PER_MS / 20;
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
    return best <= 0 ? 0 : (best + CLOCK_SUSPEND_STEP / 2) / CLOCK_SUSPEND_STEP * CLOCK_SUSPEND_STEP;
}

/* The difference of the two clocks, read one after the other, is what it is, or more if the thread was held up. */
bool clock_may_have_suspended(int64_t known)
{
    int64_t before = clock_now();

    return clock_read(CLOCK_BOOTTIME) - before >= known + CLOCK_SUSPEND_STEP / 2;
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

