/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The serial ports of this machine, as libserialport lists them. They are only named to the user, never opened here.
 */
#ifndef PROBE_PORTS_H
#define PROBE_PORTS_H

#include <stddef.h>

enum { PORTS_MAX = 16, PORT_TEXT = 128 };

struct port {
    char path[PORT_TEXT], description[PORT_TEXT];
};

size_t ports_list(struct port *out, size_t cap);

#endif
