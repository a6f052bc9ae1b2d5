/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The table of results: for each kind of call the code of an ordinary failure, and the results that pcscd is to tell
 * from it. What pcscd makes of a code (read in pcscd 1.9.9) stands beside it.
 */
#include "results.h"

#include <stddef.h>

static const RESPONSECODE failure[CALL_COUNT] = {
    [CALL_OPEN] = IFD_COMMUNICATION_ERROR, /* logged as critical */
    [CALL_CLOSE] = IFD_COMMUNICATION_ERROR,
    [CALL_PRESENCE] = IFD_ICC_NOT_PRESENT, /* never a passing error: it would show as SCARD_UNKNOWN */
    [CALL_ATTRIBUTE] = IFD_COMMUNICATION_ERROR,
    [CALL_POWER] = IFD_COMMUNICATION_ERROR,    /* any error: "present, swallowed"; the code helps the log only */
    [CALL_PROTOCOL] = IFD_ERROR_PTS_FAILURE,   /* ends the connect: SCARD_W_UNRESPONSIVE_CARD */
    [CALL_TRANSMIT] = IFD_COMMUNICATION_ERROR, /* SCARD_E_NOT_TRANSACTED */
    [CALL_CONTROL] = IFD_COMMUNICATION_ERROR,
};

static const struct {
    enum ifd_call call;
    enum result result;
    RESPONSECODE code;
} exceptions[] = {
    /* pcscd calls us for each interface of a composite device; this code is the one that it takes quietly */
    {CALL_OPEN, R_NOT_SUPPORTED, IFD_NO_SUCH_DEVICE},

    /* A reader that is gone has no card, but it must not report a removal either: pcscd 1.9.9 asks its event thread to end
     * by a field that this thread clears when it reports one. As udev's word of the unplugging and the driver's own come at
     * the same time, the thread would often not end, and pcscd wait for it, deaf to all readers, for ever. Nor is it
     * NO_SUCH_DEVICE: pcscd would sleep a second in that thread while the removal waits for it. */
    {CALL_PRESENCE, R_GONE, IFD_COMMUNICATION_ERROR},

    {CALL_ATTRIBUTE, R_NOT_SUPPORTED, IFD_ERROR_TAG}, /* SCARD_E_UNSUPPORTED_FEATURE */
    {CALL_ATTRIBUTE, R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER},
    {CALL_ATTRIBUTE, R_INVALID, IFD_ERROR_SET_FAILURE},

    {CALL_POWER, R_NOT_SUPPORTED, IFD_NOT_SUPPORTED},
    {CALL_POWER, R_NO_CARD, IFD_ICC_NOT_PRESENT},
    {CALL_POWER, R_POWER, IFD_ERROR_POWER_ACTION},
    {CALL_POWER, R_CARD, IFD_ERROR_POWER_ACTION},
    {CALL_POWER, R_PROTOCOL, IFD_ERROR_POWER_ACTION},
    {CALL_POWER, R_TIMEOUT, IFD_ERROR_POWER_ACTION},
    {CALL_POWER, R_COMM, IFD_ERROR_POWER_ACTION},

    /* pcscd goes on with the card's default protocol if the client allows it */
    {CALL_PROTOCOL, R_PROTOCOL, IFD_PROTOCOL_NOT_SUPPORTED},
    {CALL_PROTOCOL, R_NOT_SUPPORTED, IFD_PROTOCOL_NOT_SUPPORTED},
    {CALL_PROTOCOL, R_NO_CARD, IFD_ICC_NOT_PRESENT},

    {CALL_TRANSMIT, R_NO_CARD, IFD_ICC_NOT_PRESENT}, /* SCARD_E_NO_SMARTCARD, and the slot is empty at once */
    {CALL_TRANSMIT, R_GONE, IFD_ICC_NOT_PRESENT},    /* the same, once IFD_NO_SUCH_DEVICE was said or pcscd knows */
    {CALL_TRANSMIT, R_TIMEOUT, IFD_RESPONSE_TIMEOUT},
    {CALL_TRANSMIT, R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER},
    {CALL_TRANSMIT, R_PROTOCOL, IFD_PROTOCOL_NOT_SUPPORTED},
    {CALL_TRANSMIT, R_NOT_SUPPORTED, IFD_ERROR_NOT_SUPPORTED},
    {CALL_TRANSMIT, R_DENIED, IFD_ERROR_NOT_SUPPORTED},

    {CALL_CONTROL, R_NO_CARD, IFD_ICC_NOT_PRESENT},
    {CALL_CONTROL, R_TIMEOUT, IFD_RESPONSE_TIMEOUT},
    {CALL_CONTROL, R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER},
    {CALL_CONTROL, R_NOT_SUPPORTED, IFD_ERROR_NOT_SUPPORTED}, /* SCARD_E_UNSUPPORTED_FEATURE */
    /* The same: nothing was sent, and nothing will be however often it is tried. SCARD_E_NOT_TRANSACTED would leave
     * open whether the reader has done it. The log names the setting that allows the command. */
    {CALL_CONTROL, R_DENIED, IFD_ERROR_NOT_SUPPORTED},
    {CALL_CONTROL, R_NOT_NOW, IFD_ERROR_NOT_SUPPORTED}, /* as long as the reader is open, that is */
};

RESPONSECODE ifd_code(enum result r, enum ifd_call call, bool gone_told)
{
    if (r == R_SUCCESS)
        return call == CALL_PRESENCE ? IFD_ICC_PRESENT : IFD_SUCCESS;
    if (r == R_GONE && call != CALL_PRESENCE && !gone_told)
        return IFD_NO_SUCH_DEVICE;
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
        if (exceptions[i].call == call && exceptions[i].result == r)
            return exceptions[i].code;
    }
    return failure[call];
}
