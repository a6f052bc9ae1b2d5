/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * pcscd's log for programs without pcscd: defines log_msg and log_xxd (declared in <debuglog.h>) and keeps what they
 * are given, so that a test can ask what a user would have read. Safe to be called from several threads.
 */
#ifndef PURSE_STUB_LOG_H
#define PURSE_STUB_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* Lines since the last clear, also those beyond what the stub can keep (STUB_LOG_KEPT). */
enum { STUB_LOG_KEPT = 256 };
size_t stub_log_count(void);

/* Line i as pcscd would print it, and its priority (PCSC_LOG_…); "" and -1 if there is none. Valid until the clear. */
const char *stub_log_line(size_t i);
int stub_log_priority(size_t i);

/* How many kept lines contain part. */
size_t stub_log_matches(const char *part);

/* Whether one kept line contains all the parts; the list ends with NULL. */
bool stub_log_has(const char *part, ...) __attribute__((sentinel));

void stub_log_clear(void);

/* Also print every line to stderr (a test that is being written). */
void stub_log_echo(bool on);

#endif
