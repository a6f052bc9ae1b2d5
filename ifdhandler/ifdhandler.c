/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ten entry points of the IFD handler interface, version 3: all that pcscd sees of the driver. Each one checks what
 * pcscd handed over, takes a hold of the Lun, makes one call of reader/device.h (or attributes.c, control.c, pseudo/),
 * and turns the result into a code (results.c). No decision about readers or cards is made here.
 *
 * pcscd logs buffers by the lengths that a call leaves behind, even of a call that failed; so every length that goes
 * out is set to 0 first.
 */
#include <PCSC/ifdhandler.h>
#include <pthread.h>
#include <string.h>

#include "attributes.h"
#include "card/apdu.h"
#include "control.h"
#include "lun.h"
#include "pseudo/pseudo.h"
#include "reader/device.h"
#include "results.h"

#define EXPORT __attribute__((visibility("default")))

/* The code of a call on a Lun, and the end of that call. */
static RESPONSECODE finish(struct lun *lun, enum ifd_call call, enum result r)
{
    bool told = r == R_GONE && !slot_gone_first(lun->slot, (unsigned)call);

    lun_drop(lun);
    return ifd_code(r, call, told);
}

/* ---- opening and closing ---------------------------------------------------------------------------------- */

EXPORT RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName)
{
    if (!DeviceName || !DeviceName[0] || strnlen(DeviceName, DEVICE_NAME_MAX) == DEVICE_NAME_MAX) {
        log_line(handler_log(), PLOG_CRITICAL, "Lun %lx has a device name that is empty or longer than %d characters",
                 Lun, DEVICE_NAME_MAX - 1);
        return IFD_COMMUNICATION_ERROR;
    }
    return ifd_code(lun_open(Lun, DeviceName), CALL_OPEN, false);
}

/* pcscd calls this for a reader.conf entry without a DEVICENAME. A channel number says nothing about where a reader is.
 */
EXPORT RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel)
{
    log_line(
        handler_log(), PLOG_CRITICAL,
        "Lun %lx: a reader cannot be found by its channel number (%lx): write a line like \"DEVICENAME /dev/ttyUSB0\" "
        "into its entry in reader.conf, above the LIBPATH line",
        Lun, Channel);
    return IFD_COMMUNICATION_ERROR;
}

EXPORT RESPONSECODE IFDHCloseChannel(DWORD Lun)
{
    return ifd_code(lun_close(Lun), CALL_CLOSE, false);
}

/* ---- attributes ------------------------------------------------------------------------------------------- */

EXPORT RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value)
{
    struct lun *lun;
    enum result r;
    size_t n;

    if (!Length)
        return IFD_COMMUNICATION_ERROR;
    lun = lun_hold(Lun);
    n = *Length;
    r = attribute_get(lun ? lun->slot : NULL, Tag, Value, &n);
    if (r == R_SUCCESS || r == R_SPACE)
        *Length = n;
    return lun ? finish(lun, CALL_ATTRIBUTE, r) : ifd_code(r, CALL_ATTRIBUTE, true);
}

EXPORT RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, DWORD Length, PUCHAR Value)
{
    struct lun *lun = lun_hold(Lun);

    if (!lun)
        return IFD_COMMUNICATION_ERROR;
    return finish(lun, CALL_ATTRIBUTE, attribute_set(lun->slot, Tag, Value, Length));
}

/* ---- presence --------------------------------------------------------------------------------------------- */

EXPORT RESPONSECODE IFDHICCPresence(DWORD Lun)
{
    struct lun *lun = lun_hold(Lun);
    bool present = false;
    enum result r;

    if (!lun)
        return IFD_COMMUNICATION_ERROR;
    r = slot_presence(lun->slot, (uintptr_t)pthread_self(), &present);
    return finish(lun, CALL_PRESENCE, r == R_SUCCESS && !present ? R_NO_CARD : r);
}

/* pcscd takes the address of this as an attribute and calls it without its reader mutex, in parallel with everything
 * else. IFD_SUCCESS whatever ended it, for anything else costs 400 ms before presence is asked; but not for a Lun that
 * is closed: pcscd's thread would come back at once, and again. */
RESPONSECODE ifd_poll(DWORD Lun, int timeout)
{
    struct lun *lun = lun_hold(Lun);

    if (!lun)
        return IFD_NO_SUCH_DEVICE;
    slot_poll(lun->slot, (uintptr_t)pthread_self(), timeout > 0 ? (unsigned)timeout : 0);
    lun_drop(lun);
    return IFD_SUCCESS;
}

RESPONSECODE ifd_stop_poll(DWORD Lun)
{
    struct lun *lun = lun_hold(Lun);

    if (!lun)
        return IFD_NO_SUCH_DEVICE;
    slot_stop_poll(lun->slot);
    lun_drop(lun);
    return IFD_SUCCESS;
}

/* ---- the card --------------------------------------------------------------------------------------------- */

static enum result power(struct slot *s, DWORD action, struct atr *atr)
{
    switch (action) {
    case IFD_POWER_UP:
        return slot_power_up(s, false, atr);
    case IFD_RESET:
        return slot_power_up(s, true, atr);
    case IFD_POWER_DOWN:
        return slot_power_down(s);
    default:
        return R_NOT_SUPPORTED;
    }
}

/* Atr has room for an ATR (33 bytes); AtrLength is not a length yet when the call comes. */
EXPORT RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength)
{
    struct atr atr = {.len = 0};
    struct lun *lun;
    enum result r;

    if (!Atr || !AtrLength)
        return IFD_COMMUNICATION_ERROR;
    *AtrLength = 0;
    lun = lun_hold(Lun);
    if (!lun)
        return IFD_COMMUNICATION_ERROR;
    r = power(lun->slot, Action, &atr);
    if (r == R_SUCCESS && atr.len <= ATR_MAX) {
        memcpy(Atr, atr.bytes, atr.len);
        *AtrLength = atr.len;
    }
    return finish(lun, CALL_POWER, r);
}

/* pcscd always passes flags 0 and leaves PPS to the driver. Somebody who wants PPS bytes of his own cannot have them
 * here, so he is told. */
EXPORT RESPONSECODE IFDHSetProtocolParameters(DWORD Lun, DWORD Protocol, UCHAR Flags, UCHAR PTS1, UCHAR PTS2,
                                              UCHAR PTS3)
{
    struct lun *lun;

    (void)PTS1;
    (void)PTS2;
    (void)PTS3;
    if (Flags != 0)
        return IFD_NOT_SUPPORTED;
    if (Protocol != SCARD_PROTOCOL_T0 && Protocol != SCARD_PROTOCOL_T1)
        return IFD_PROTOCOL_NOT_SUPPORTED;
    lun = lun_hold(Lun);
    if (!lun)
        return IFD_COMMUNICATION_ERROR;
    return finish(lun, CALL_PROTOCOL, slot_set_protocol(lun->slot, Protocol == SCARD_PROTOCOL_T1 ? 1 : 0));
}

/* A class-FF command of a connection that was made to the card before this one, see slot_transmit(); a RAW connection
 * (protocol 4) never sets a protocol, so nothing can be told of it. */
static bool is_late(struct slot *s, DWORD protocol)
{
    struct slot_status st;

    slot_status(s, &st);
    return protocol <= 1 && st.powered && !st.protocol_set;
}

static enum result transmit(struct slot *s, DWORD protocol, const uint8_t *apdu, size_t n, uint8_t *response,
                            size_t cap, size_t *len)
{
    enum result r;

    if (n == 0)
        return R_INVALID;
    if (apdu[0] == 0xFF) { /* the driver's own, whatever protocol the card runs */
        if (is_late(s, protocol))
            return slot_late(s);
        r = pseudo_transmit(s, apdu, n, response, cap, len);
        return r == R_NO_CARD ? slot_refuse(s) : r; /* pcscd takes the slot for empty now: so must its poller */
    }
    if (protocol > 1)
        return R_PROTOCOL;
    return slot_transmit(s, (int)protocol, apdu, n, response, cap, len);
}

EXPORT RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer, DWORD TxLength,
                                      PUCHAR RxBuffer, PDWORD RxLength, PSCARD_IO_HEADER RecvPci)
{
    struct lun *lun;
    size_t cap, len = 0;
    enum result r;

    if (!RxLength)
        return IFD_COMMUNICATION_ERROR;
    cap = *RxLength;
    *RxLength = 0;
    if ((!TxBuffer && TxLength > 0) || !RxBuffer)
        return IFD_COMMUNICATION_ERROR;
    lun = lun_hold(Lun);
    if (!lun)
        return IFD_COMMUNICATION_ERROR;
    r = transmit(lun->slot, SendPci.Protocol, TxBuffer, TxLength, RxBuffer, cap, &len);
    if (r == R_SUCCESS && len <= cap) {
        *RxLength = len;
        /* pcscd hands this to the client as it is, so it is in the client's numbers (1 and 2, not 0 and 1) */
        if (RecvPci && SendPci.Protocol <= 1) {
            RecvPci->Protocol = SendPci.Protocol == 1 ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0;
            RecvPci->Length = sizeof *RecvPci;
        }
    }
    return finish(lun, CALL_TRANSMIT, r);
}

EXPORT RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, PUCHAR TxBuffer, DWORD TxLength, PUCHAR RxBuffer,
                                DWORD RxLength, LPDWORD pdwBytesReturned)
{
    struct lun *lun;
    size_t len = 0;
    enum result r;

    if (!pdwBytesReturned)
        return IFD_COMMUNICATION_ERROR;
    *pdwBytesReturned = 0;
    if ((!TxBuffer && TxLength > 0) || (!RxBuffer && RxLength > 0))
        return IFD_COMMUNICATION_ERROR;
    lun = lun_hold(Lun);
    if (!lun)
        return IFD_COMMUNICATION_ERROR;
    r = control_call(lun->slot, dwControlCode, TxBuffer, TxLength, RxBuffer, RxLength, &len);
    if (r == R_SUCCESS && len <= RxLength)
        *pdwBytesReturned = len;
    return finish(lun, CALL_CONTROL, r);
}
