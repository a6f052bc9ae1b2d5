/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The names of results, for log lines. A switch without a default, so that the compiler names a result that was added
 * to result.h and forgotten here.
 */
#include "base/result.h"

const char *result_name(enum result r)
{
    switch (r) {
    case R_SUCCESS:
        return "ok";
    case R_TIMEOUT:
        return "timeout";
    case R_COMM:
        return "broken answer";
    case R_NO_CARD:
        return "no card";
    case R_GONE:
        return "reader gone";
    case R_CANCELLED:
        return "cancelled";
    case R_NOT_SUPPORTED:
        return "not supported";
    case R_PROTOCOL:
        return "wrong card protocol";
    case R_POWER:
        return "no answer to reset";
    case R_SPACE:
        return "buffer too small";
    case R_INVALID:
        return "invalid request";
    case R_DENIED:
        return "denied by configuration";
    case R_NO_MEMORY:
        return "out of memory";
    case R_SYSTEM:
        return "system error";
    case R_CARD:
        return "card failed";
    case R_NOT_NOW:
        return "not now";
    }
    return "unknown result"; /* a number that came in by a cast */
}
