/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What all transports share: the drain that puts an end to whatever a reader still sends of an older exchange.
 */
#include "transport/transport.h"

/* A pipe that fails this often while it is drained has nothing to give: going on would only spin. */
enum { DRAIN_FAILURES_MAX = 4 };

enum result transport_drain(struct transport *t, unsigned quiet_ms, deadline_t until)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    unsigned failures = 0;

    for (;;) {
        deadline_t quiet = deadline_min(deadline_in(quiet_ms), until);
        unsigned pipe;
        size_t n;
        enum result r = t->ops->read(t, chunk, sizeof chunk, &n, &pipe, quiet);

        if (r == R_GONE || r == R_CANCELLED)
            return r;
        if (r == R_TIMEOUT || (r != R_SUCCESS && ++failures == DRAIN_FAILURES_MAX))
            return R_SUCCESS;
        if (deadline_passed(until)) /* a reader that never stops: read() would go on giving what is there */
            return R_SUCCESS;
    }
}
