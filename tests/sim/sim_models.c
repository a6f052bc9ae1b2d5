/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The models that `purse-sim --reader` knows.
 *
 * A test can add a model of its own with -DSIM_EXTRA_MODEL=name. With it, or with -DSIM_WEAK_MODELS, the references are
 * weak, so that a program links with only some of the models; a missing one is a NULL address and is skipped by the
 * look-up. That is not the default because a weak reference fetches nothing out of a library.
 */
#include "sim_front.h"

#if defined(SIM_WEAK_MODELS) || defined(SIM_EXTRA_MODEL)
#pragma weak sim_aet63
#pragma weak sim_neo
#endif
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
