/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Time on CLOCK_MONOTONIC. A deadline is a plain number, so comparing and passing it costs nothing; arithmetic that
 * could overflow saturates.
 */
#include "base/clock.h"

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
