/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Finding the readers that are to be probed, and seeing to it that nobody else has them.
 */
#ifndef PROBE_FIND_H
#define PROBE_FIND_H

#include "probe/probe.h"

/* Probes the readers named, or all that there are; `list`: only tells of them. The exit status: 0 all as assumed, 1
 * something is not, or a reader could not be probed, 2 a name makes no sense. */
int find_and_probe(const struct options *o, char *const *names, size_t count, bool list);

#endif
