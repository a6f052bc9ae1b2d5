/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Listing serial ports (ports.h).
 */
#include "probe/ports.h"

#include <libserialport.h>
#include <stdio.h>

size_t ports_list(struct port *out, size_t cap)
{
    struct sp_port **list;
    size_t n = 0;

    if (sp_list_ports(&list) != SP_OK)
        return 0;
    for (size_t i = 0; list[i] && n < cap; i++, n++) {
        const char *name = sp_get_port_name(list[i]), *text = sp_get_port_description(list[i]);

        (void)snprintf(out[n].path, PORT_TEXT, "%s", name ? name : "");
        (void)snprintf(out[n].description, PORT_TEXT, "%s", text ? text : "");
    }
    sp_free_port_list(list);
    return n;
}
