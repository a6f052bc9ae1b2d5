/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reader's status codes (AET63 manual, Appendix B, as its siblings AET60, ADT60 and ACR30 print it). One const
 * table says what each means and what the driver makes of it. The two bytes belong to the reader: a card's own status
 * word stands in the data of an exchange.
 */
#ifndef PURSE_AET63_STATUS_H
#define PURSE_AET63_STATUS_H

#include <stdint.h>
#include "base/result.h"

enum {
    AET63_SW1_DONE = 0x90,
    AET63_SW1_EVENT = 0xFF,
    AET63_DONE_T1 = 0x01,       /* SW2 of RESET: the card runs T=1 */
    AET63_EVENT_RESET = 0x00,   /* SW2 of an event */
    AET63_EVENT_INSERTED = 0x01,
    AET63_EVENT_REMOVED = 0x02
};

struct aet63_status {
    uint8_t sw1, sw2;
    enum result result;
    const char *meaning;
};

/* The row of a status, or one that says "status unknown" with R_COMM. Never NULL. Any SW1 but 90 is a failure. */
const struct aet63_status *aet63_status(uint8_t sw1, uint8_t sw2);

#endif
