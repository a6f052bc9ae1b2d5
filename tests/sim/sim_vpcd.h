/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A card outside the simulator, behind the vpcd wire protocol: see sim_vpcd.c.
 */
#ifndef PURSE_SIM_VPCD_H
#define PURSE_SIM_VPCD_H

#include "sim.h"

extern const struct sim_card_ops sim_card_vpcd;

/* The TCP port on 127.0.0.1 that the card listens on ("vpcd:0" lets the system choose one). */
unsigned sim_vpcd_port(const struct sim_card *c);

#endif
