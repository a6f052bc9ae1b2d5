/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A turn of a slot's poller, as src/reader/device.c gives it to a family, for tests that have no device around it.
 */
#ifndef PURSE_POLLER_TURN_H
#define PURSE_POLLER_TURN_H

#include "base/clock.h"
#include "reader/reader.h"

static inline enum result poller_turn(struct reader *r, unsigned slot, unsigned *again_ms)
{
    return r->ops->watch(r, slot, deadline_in(r->settings->reader_cap), again_ms);
}

#endif
