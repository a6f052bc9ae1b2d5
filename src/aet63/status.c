/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The status table. status.h says where it comes from.
 */
#include "aet63/status.h"

#include <stddef.h>

static const struct aet63_status table[] = {
    {0x90, 0x00, R_SUCCESS, "done"},
    {0x90, 0x01, R_SUCCESS, "done, the card runs T=1"},
    {0x90, 0x10, R_SUCCESS, "done, synchronous card"},
    {0x60, 0x01, R_COMM, "no card type selected"},
    {0x60, 0x02, R_NO_CARD, "no card in the reader"},
    {0x60, 0x03, R_COMM, "wrong card type"},
    {0x60, 0x04, R_NO_CARD, "card not powered, or removed for a moment"},
    {0x60, 0x05, R_NOT_SUPPORTED, "unknown instruction"},
    {0x60, 0x20, R_CARD, "card failure"},
    {0x60, 0x22, R_CARD, "short circuit at the card's contacts"},
    {0x62, 0x01, R_COMM, "secret code refused"},
    {0x67, 0x01, R_COMM, "command does not fit the card type"},
    {0x67, 0x02, R_COMM, "wrong address"},
    {0x67, 0x03, R_COMM, "wrong data length"},
    {0x67, 0x04, R_COMM, "wrong response length"},
    {0x67, 0x05, R_COMM, "secret code locked"},
    {0x67, 0x12, R_CARD, "APDU aborted (T=1)"},
};

static const struct aet63_status unknown_done = {0x90, 0xFF, R_SUCCESS, "done, status unknown"};
static const struct aet63_status unknown = {0, 0, R_COMM, "status unknown"};

const struct aet63_status *aet63_status(uint8_t sw1, uint8_t sw2)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].sw1 == sw1 && table[i].sw2 == sw2)
            return &table[i];
    return sw1 == AET63_SW1_DONE ? &unknown_done : &unknown;
}
