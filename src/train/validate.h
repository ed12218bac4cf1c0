// SPDX-License-Identifier: Apache-2.0
/* The loss on examples that are not trained. */
#ifndef PC_TRAIN_VALIDATE_H
#define PC_TRAIN_VALIDATE_H

#include "train/loop.h"

struct pc_validation {
    double loss; /* nats: the mean over all trained tokens of the set, as a step's loss without quirks is */
    uint64_t n_tokens, n_trained;
    double seconds;
};

/** Forward over every example of t's validation set, in their order, with the weights as they are. Losses are
 * added up in double, example by example: the same bytes for any number of threads and any other examples in
 * the same pass. PACO_ECANCELLED when progress says so. */
int pc_trainer_validate(struct pc_trainer *t, const struct pc_progress *progress, struct pc_validation *out,
    struct paco_error *err);

#endif
