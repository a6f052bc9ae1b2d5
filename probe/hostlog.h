/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The log of the driver's files, which in pcscd goes to pcscd's log: here the last lines are kept, so that whoever
 * called the driver can show what it had to say.
 */
#ifndef PROBE_HOSTLOG_H
#define PROBE_HOSTLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

void hostlog_clear(void);
/* Line i since the last clear; NULL: there are no more. */
const char *hostlog_line(size_t i);
/* Every line is also written here at once; NULL: not. */
void hostlog_echo(FILE *to);

#endif
