/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A reader on a serial line by libserialport: 8 data bits, no parity, 1 stop bit, no flow control, DTR and RTS off
 * (doc/ASSUMPTIONS.md, V04).
 *
 * Why its threading works. There is no thread: whoever owns the device reads and writes. A wait is one poll() on the
 * port's descriptor and on an eventfd that cancel() writes; the bytes then move by libserialport's non-blocking calls.
 * So a short exchange costs a write, a poll and a read. Input between commands stays in the tty until the next command
 * takes it; pending() is NULL and notify is never called.
 *
 * A hang-up (the adapter was pulled) does not show on read: libserialport then answers "nothing" for ever. It is
 * noticed by POLLHUP or POLLERR, or, when poll() says readable and read() brings nothing, by sp_input_waiting(), and is
 * R_GONE; nothing spins. A transport that is gone stays so: the family closes it and opens another when the node is
 * back.
 */
#ifndef PURSE_TRANSPORT_SERIAL_H
#define PURSE_TRANSPORT_SERIAL_H

#include "transport/transport.h"

/* Opens the port at `path`, a device node or a link to one (/dev/serial/by-id/…: resolved first, for libserialport
 * knows nodes only). What lay in its buffers is discarded, and the port is taken for this transport alone where the
 * system can do that. R_GONE: not there (quiet: it is asked again and again). R_SYSTEM: no permission, not a serial
 * port, in use (logged with the cure). R_NO_MEMORY. R_INVALID: no such speed. facts.form is "serial"; what is known of
 * a USB adapter is in facts.adapter; of the reader itself a serial line tells nothing.
 *
 * write() returns when the kernel has all bytes. If it ends before that (R_TIMEOUT, R_CANCELLED) the rest, and what has
 * not left yet, is discarded. reset() closes the port and opens it again; if that fails the transport is gone. */
enum result serial_open(struct transport **out, const char *path, unsigned baud, struct log *log);

/* Another speed, input and output discarded. R_SUCCESS, R_GONE, R_SYSTEM. */
enum result serial_set_baud(struct transport *t, unsigned baud);

/* Is the node there? (For a port that hung up: worth trying to open.) */
bool serial_node_exists(const char *path);

#endif
