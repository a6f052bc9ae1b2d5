/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hexadecimal text in a test's tables, with or without spaces, into bytes. What is neither fails the test. The caller has
 * room for all of it.
 */
#ifndef PURSE_UNHEX_H
#define PURSE_UNHEX_H

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static inline size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;

    while (*hex) {
        if (*hex == ' ') {
            hex++;
            continue;
        }
        if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]))
            fail_msg("bad hexadecimal text: %s", hex);
        out[n++] = (uint8_t)strtoul((const char[]){hex[0], hex[1], '\0'}, NULL, 16);
        hex += 2;
    }
    return n;
}

#endif
