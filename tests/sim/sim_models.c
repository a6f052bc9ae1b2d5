/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The models that `purse-sim --reader` knows.
 *
 * The references are weak, so that a program which links only some of the models (a self-test of one of them, for
 * instance) needs no table of its own: a model that is not there is a NULL address and is skipped by the look-up.
 */
#include "sim_front.h"

#pragma weak sim_aet63
#pragma weak sim_neo
#ifdef SIM_EXTRA_MODEL
extern const struct sim_model_ops SIM_EXTRA_MODEL;
#endif

const struct sim_model_ops *const sim_models[] = {
#ifdef SIM_EXTRA_MODEL
    &SIM_EXTRA_MODEL,
#endif
    &sim_aet63,
    &sim_neo,
};
const size_t sim_models_count = G_N_ELEMENTS(sim_models);
