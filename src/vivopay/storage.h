/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cards without APDUs behind a ViVOpay reader: its table of storage operations.
 */
#ifndef PURSE_VIVO_STORAGE_H
#define PURSE_VIVO_STORAGE_H

#include "reader/storage.h"

extern const struct storage_ops vivo_storage_ops;

#endif
