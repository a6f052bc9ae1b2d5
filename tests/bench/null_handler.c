/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An IFD handler without a reader: there is always a card, and it answers every APDU 90 00 at once. What a client sees of
 * it is the cost of pcscd and of the client library; what a driver adds is counted from there.
 *
 * Its polling function sleeps on an eventfd, so that pcscd does not poll it: an idle null handler wakes nobody.
 */
#include <PCSC/ifdhandler.h>
#include <PCSC/reader.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#define EXPORT __attribute__((visibility("default")))

enum { SLOTS = 1, ATR_LEN = 4 };

static const unsigned char atr[ATR_LEN] = {0x3B, 0x02, 0x14, 0x50};
static int wake = -1;

static RESPONSECODE wait_for_change(DWORD lun, int timeout_ms)
{
    struct pollfd p = {.fd = wake, .events = POLLIN};
    eventfd_t n;

    (void)lun;
    if (poll(&p, 1, timeout_ms) > 0)
        (void)eventfd_read(wake, &n);
    return IFD_SUCCESS;
}

static RESPONSECODE stop_waiting(DWORD lun)
{
    (void)lun;
    (void)eventfd_write(wake, 1);
    return IFD_SUCCESS;
}

EXPORT RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName)
{
    (void)Lun;
    (void)DeviceName;
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return wake < 0 ? IFD_COMMUNICATION_ERROR : IFD_SUCCESS;
}

EXPORT RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel)
{
    (void)Channel;
    return IFDHCreateChannelByName(Lun, NULL);
}

EXPORT RESPONSECODE IFDHCloseChannel(DWORD Lun)
{
    (void)Lun;
    return IFD_SUCCESS; /* the eventfd goes with the process: pcscd may still be waiting on it */
}

static RESPONSECODE put(PDWORD Length, PUCHAR Value, const void *bytes, size_t n)
{
    if (*Length < n)
        return IFD_ERROR_INSUFFICIENT_BUFFER;
    memcpy(Value, bytes, n);
    *Length = n;
    return IFD_SUCCESS;
}

EXPORT RESPONSECODE IFDHGetCapabilities(DWORD Lun, DWORD Tag, PDWORD Length, PUCHAR Value)
{
    static const unsigned char one = 1, many = 16;
    RESPONSECODE (*poll_fn)(DWORD, int) = wait_for_change;
    RESPONSECODE (*stop_fn)(DWORD) = stop_waiting;

    (void)Lun;
    switch (Tag) {
    case TAG_IFD_ATR:
    case SCARD_ATTR_ATR_STRING:
        return put(Length, Value, atr, sizeof atr);
    case TAG_IFD_SIMULTANEOUS_ACCESS:
        return put(Length, Value, &many, 1);
    case TAG_IFD_THREAD_SAFE:
    case TAG_IFD_SLOTS_NUMBER:
        return put(Length, Value, &one, 1);
    case TAG_IFD_POLLING_THREAD_WITH_TIMEOUT:
        return put(Length, Value, &poll_fn, sizeof poll_fn);
    case TAG_IFD_STOP_POLLING_THREAD:
        return put(Length, Value, &stop_fn, sizeof stop_fn);
    default:
        return IFD_ERROR_TAG;
    }
}

EXPORT RESPONSECODE IFDHSetCapabilities(DWORD Lun, DWORD Tag, DWORD Length, PUCHAR Value)
{
    (void)Lun;
    (void)Tag;
    (void)Length;
    (void)Value;
    return IFD_ERROR_TAG;
}

EXPORT RESPONSECODE IFDHSetProtocolParameters(DWORD Lun, DWORD Protocol, UCHAR Flags, UCHAR PTS1, UCHAR PTS2, UCHAR PTS3)
{
    (void)Lun;
    (void)Protocol;
    (void)Flags;
    (void)PTS1;
    (void)PTS2;
    (void)PTS3;
    return IFD_SUCCESS;
}

EXPORT RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength)
{
    (void)Lun;
    *AtrLength = 0;
    if (Action == IFD_POWER_DOWN)
        return IFD_SUCCESS;
    memcpy(Atr, atr, sizeof atr);
    *AtrLength = sizeof atr;
    return IFD_SUCCESS;
}

EXPORT RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer, DWORD TxLength, PUCHAR RxBuffer,
                                      PDWORD RxLength, PSCARD_IO_HEADER RecvPci)
{
    (void)Lun;
    (void)SendPci;
    (void)TxBuffer;
    (void)TxLength;
    (void)RecvPci;
    if (*RxLength < 2)
        return IFD_ERROR_INSUFFICIENT_BUFFER;
    RxBuffer[0] = 0x90;
    RxBuffer[1] = 0x00;
    *RxLength = 2;
    return IFD_SUCCESS;
}

EXPORT RESPONSECODE IFDHICCPresence(DWORD Lun)
{
    (void)Lun;
    return IFD_ICC_PRESENT;
}

EXPORT RESPONSECODE IFDHControl(DWORD Lun, DWORD dwControlCode, PUCHAR TxBuffer, DWORD TxLength, PUCHAR RxBuffer,
                                DWORD RxLength, LPDWORD pdwBytesReturned)
{
    (void)Lun;
    (void)dwControlCode;
    (void)TxBuffer;
    (void)TxLength;
    (void)RxBuffer;
    (void)RxLength;
    *pdwBytesReturned = 0;
    return IFD_ERROR_NOT_SUPPORTED;
}
