/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * In place of aet63.c in the handler for serial readers: the family by name, without its code, for an AET63 has no serial
 * port. Its name is all that is asked for: usb_none.c refuses every USB reader before it is opened.
 */
#include "reader/reader.h"

static enum result not_here(struct reader **out, struct device *device, const struct reader_target *target,
                            const struct settings *settings, struct log *log, deadline_t until)
{
    (void)device;
    (void)target;
    (void)settings;
    (void)log;
    (void)until;
    *out = NULL;
    return R_NOT_SUPPORTED;
}

const struct reader_family aet63_family = {.id = 'a', .name = "AET63", .open = not_here};
