/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * In place of serial.c in the handler for USB readers, and everywhere when the driver is configured without serial
 * readers (--disable-serial): the same functions, which say so. libserialport is not loaded where it has no use.
 */
#include "transport/serial.h"

enum result serial_open(struct transport **out, const char *path, unsigned baud, struct log *log)
{
    (void)baud;
    *out = NULL;
    log_fault(log, "%s: this file drives USB readers. In reader.conf, LIBPATH of a serial reader ends in "
              "serial/libifdpurse-serial.so (not there? configured with --disable-serial)", path);
    return R_NOT_SUPPORTED;
}

enum result serial_set_baud(struct transport *t, unsigned baud)
{
    (void)t;
    (void)baud;
    return R_NOT_SUPPORTED;
}

bool serial_node_exists(const char *path)
{
    (void)path;
    return false;
}
