// SPDX-License-Identifier: Apache-2.0
/* paco finetune under mpirun: joining, agreeing before the first step, and ending together. */
#ifndef PC_CLI_FINETUNE_RANKS_H
#define PC_CLI_FINETUNE_RANKS_H

#include "base/collect.h"
#include "cli/command.h"
#include "train/training_run.h"

/** Who trains with us. `{0}`: nobody. */
struct pc_finetune_party {
    struct pc_comm *comm;
    struct pc_collect *collect;      /* NULL: alone */
    int rank, size;                  /* 0 and 1 alone */
    int n_local;                     /* ranks on this machine */
    int errors;                      /* the standard error there was before all ranks but 0 fell silent */
    char latest[PC_TRAINING_LATEST]; /* the checkpoint to go on from, or empty: for those who say how the job
                                        ended */
};

/** How to go on after the end: the first and p->latest and the second, or that there is no way. */
#define PC_FINETUNE_WAY_ON "The same command with --resume goes on from "
#define PC_FINETUNE_WAY_ON_END ", with any number of ranks that can train this"
#define PC_FINETUNE_NO_WAY_ON "There is no checkpoint yet (--checkpointing_steps N makes some)"

/** Join the other ranks, if mpirun started any. All but rank 0 fall silent, and leave signals to it; SIGUSR1,
 * which mpirun hands on, asks to save and stop (pc_finetune_stop_asked). *owned*: pc_finetune_leave. */
int pc_finetune_join(struct pc_finetune_party *p, struct paco_error *err);

/** Whether all ranks are ready, rc and *err being this one's state: everyone comes here, and when one has an
 * error everyone gets it, prefixed by who it was unless it was rank 0. */
int pc_finetune_agree(struct pc_finetune_party *p, int rc, struct paco_error *err);

/** Whether an error is one that all ranks have and know of: then they leave together. */
bool pc_finetune_is_alike(const struct pc_finetune_party *p, int rc);

/** Leave, all ranks together: after success, and after errors that all of them have. */
void pc_finetune_leave(struct pc_finetune_party *p);

/** After an error that this rank met and others may not have: say it (rank 0 has the first word, others where
 * it is gone) and end the job. Returns, with the exit code, only where there is one process. */
int pc_finetune_fail(
    const struct pc_command *self, struct pc_finetune_party *p, const struct paco_error *err);

#endif
