// SPDX-License-Identifier: Apache-2.0
/* Items shared out over the ranks of an MPI job. Rank 0 runs the evaluation as if it were alone, journal,
 * judges and results included; its answerer keeps some items for its own engine and hands the others to the
 * other ranks, which send back what they answered. An answer depends on its item alone, so the results are
 * the same bytes however many ranks there are and whoever answered.
 *
 *     rank 0                                            every other rank
 *     pc_answer_ranks_open(comm, own, &a, &err);        pc_answer_ranks_serve(comm, &worker, &err);
 *     pc_answer_ranks_begin(a, 0);
 *     pc_eval_ask(e, a, ...);
 *     a->ops->close(a);
 *
 * Items go out in runs to one rank after another, since neighbours share the beginnings of their prompts. All
 * ranks must run the same program on processors of the same byte order. */
#ifndef PC_EVAL_ANSWER_RANKS_H
#define PC_EVAL_ANSWER_RANKS_H

#include "base/comm.h"
#include "eval/answerer.h"

/** For rank 0. own answers its share; it is taken over when this succeeds. comm stays borrowed until
 * the answerer is closed, which tells the other ranks that all is done. */
int pc_answer_ranks_open(
    struct pc_comm *comm, struct pc_answerer *own, struct pc_answerer **out, struct paco_error *err);

/** The questions that follow are of task i_task, a number all ranks understand alike. */
void pc_answer_ranks_begin(struct pc_answerer *a, size_t i_task);

/** Tell the other ranks that all is done, where no answerer of this kind was opened to do so. */
void pc_answer_ranks_dismiss(struct pc_comm *comm);

/** What another rank needs to answer. */
struct pc_ranks_worker {
    /** Make the question of an item, as rank 0 has it; valid until the next call. */
    int (*question)(void *ctx, size_t i_task, size_t i_item, struct pc_question *out, struct paco_error *err);
    /** Make the answerer, when the first item comes; it stays ctx's. */
    int (*open)(void *ctx, struct pc_answerer **out, struct paco_error *err);
    void *ctx;
};

/** Answer what rank 0 sends until it says that all is done. An error is sent to rank 0, where it ends the
 * evaluation, and returned. */
int pc_answer_ranks_serve(struct pc_comm *comm, const struct pc_ranks_worker *worker, struct paco_error *err);

#endif
