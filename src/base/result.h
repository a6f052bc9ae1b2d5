/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a call of this driver can come to. Every layer below ifdhandler/ answers with one of these; each layer turns
 * what it meets (a libusb code, a reader's status word) into the result that its caller can act on, and one function
 * in ifdhandler/ maps results to the codes of the IFD handler interface. (Success is not called R_OK: <unistd.h> has a
 * macro of that name, with another value.)
 */
#ifndef PURSE_RESULT_H
#define PURSE_RESULT_H

enum result {
    R_SUCCESS = 0,
    R_TIMEOUT = -1,       /* no complete answer before the deadline; whether the command ran is not known */
    R_COMM = -2,          /* an answer came that is broken or makes no sense; whether the command ran is not known */
    R_NO_CARD = -3,       /* no card, or the card lost its session: the client must connect again */
    R_GONE = -4,          /* the reader is unplugged or its line hung up */
    R_CANCELLED = -5,     /* the slot is being closed */
    R_NOT_SUPPORTED = -6, /* the reader or this driver has no such thing; nothing was done */
    R_PROTOCOL = -7,      /* the card does not speak the protocol asked for */
    R_POWER = -8,         /* the card gives no usable answer to reset */
    R_SPACE = -9,         /* the caller's buffer is too small; nothing was written to it */
    R_INVALID = -10,      /* the request itself is wrong; nothing was sent */
    R_DENIED = -11,       /* not allowed by configuration (escape); nothing was sent */
    R_NO_MEMORY = -12,
    R_SYSTEM = -13,       /* an operating-system call failed */
    R_CARD = -14,         /* the reader says the card failed; it may be there still */
    R_NOT_NOW = -15       /* the reader cannot do it in the mode it is in; nothing was sent */
};

/* A short English name ("timeout", "no card" …) for log lines; never NULL. */
const char *result_name(enum result r);

#endif
