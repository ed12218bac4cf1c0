// SPDX-License-Identifier: Apache-2.0
/* paco eval under mpirun: rank 0 evaluates, the others answer a share of its items (eval/answer_ranks.h). */
#ifndef PC_CLI_EVAL_RANKS_H
#define PC_CLI_EVAL_RANKS_H

#include "base/comm.h"
#include "eval/run.h"

/** Join the other ranks, if there are any. On all but rank 0 nothing is printed from here on, and signals
 * that ask to stop are left to rank 0. */
int pc_eval_ranks_join(struct pc_comm **out, struct paco_error *err);

/** Whether all ranks are ready (rc and *err are this one's state so far) to evaluate the same: the evals'
 * identities are compared. Everyone comes here; everyone gets an error when one has it, and rank 0 that very
 * one. */
int pc_eval_ranks_agree(
    struct pc_comm *comm, int rc, struct pc_eval *const *evals, size_t n, struct paco_error *err);

#endif
