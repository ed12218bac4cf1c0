// SPDX-License-Identifier: Apache-2.0
/* Somebody who is asked, and what they are asked: a model on this machine or behind an endpoint, and tasks.
 * An evaluation has one party; a judge of its answers is another.
 *
 *     struct pc_party p = {.self = self, .v = &v, .comm = comm, .data = dir, .n_tasks = 1, ...};
 *     pc_party_run(&p, 0, &err);
 *     pc_party_rest(&p);              lets go of the weights; results stay
 *     pc_party_close(&p); */
#ifndef PC_CLI_EVAL_PARTY_H
#define PC_CLI_EVAL_PARTY_H

#include "base/comm.h"
#include "cli/answering.h"
#include "cli/eval_options.h"
#include "eval/run.h"

enum { PC_MAX_TASKS = 64 };

struct pc_party {
    /* Borrowed, set by the caller: */
    const struct pc_command *self;
    const struct pc_eval_values *v; /* the model, or the endpoint; --outputs for judges */
    struct pc_comm *comm;           /* the ranks that share the questions out; NULL: this process alone */
    bool chat;                      /* the endpoint is spoken to by chat */
    const char *data, *data_file;   /* folder; the file in it that --data names, or NULL */
    const struct pc_task *tasks[PC_MAX_TASKS];
    size_t n_tasks;
    bool
        given; /* a and name are the caller's, open already, and stay so; v->model's model is not looked at */
    /* Owned: */
    struct pc_eval *evals[PC_MAX_TASKS]; /* by task */
    struct pc_answering a;
    char name[256]; /* the model's, for people */
    json_t *identity;
    struct pc_engine *engine;
    struct pc_answerer *answerer; /* over the ranks, if there are several */
    bool over_ranks;              /* it is: closing it sends the other ranks home */
    bool awaited;                 /* the other ranks wait for what this one, rank 0, sends */
    struct pc_notes notes;
};

/** Open the model's files and the tasks' data, see what is in OUT (no error of the user's comes later), and
 * ask what is not answered yet; nothing is loaded when nothing is left. On another rank than 0: answer what
 * rank 0 hands out. rc and *err are how far this rank has come: with an error it tells the others, and
 * returns it. */
int pc_party_run(struct pc_party *p, int rc, struct paco_error *err);
void pc_party_rest(struct pc_party *p);
/** A zeroed one is fine. */
void pc_party_close(struct pc_party *p);

#endif
