/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From this driver's results to the codes of the IFD handler interface: the only place where they meet.
 */
#ifndef PURSE_RESULTS_H
#define PURSE_RESULTS_H

#include <PCSC/ifdhandler.h>
#include <stdbool.h>

#include "base/result.h"

/* The kinds of calls that read a result differently. Also the call sites of slot_gone_first(). */
enum ifd_call {
    CALL_OPEN,
    CALL_CLOSE,
    CALL_PRESENCE, /* R_SUCCESS is a card, R_NO_CARD none */
    CALL_ATTRIBUTE,
    CALL_POWER,
    CALL_PROTOCOL,
    CALL_TRANSMIT,
    CALL_CONTROL,
    CALL_COUNT
};

/* gone_told: this call site has met R_GONE before. pcscd sends itself a signal and sleeps a second each time it hears
 * IFD_NO_SUCH_DEVICE, so it is said once, and from then on "no card" for an APDU and a failure for all else. */
RESPONSECODE ifd_code(enum result r, enum ifd_call call, bool gone_told);

#endif
