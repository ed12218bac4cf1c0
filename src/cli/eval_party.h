// SPDX-License-Identifier: Apache-2.0
/* Somebody who is asked, and what they are asked: a model on this machine or behind an endpoint, and tasks.
 * An evaluation has one party; a judge of its answers is another.
 *
 *     struct pc_party p = {.self = self, .v = &v,   .data = dir, .n_tasks = 1, ...};
 *     pc_party_open(&p, &err);        the model's files and the tasks' data
 *     pc_party_look(&p, &err);        what it is, and what is in OUT: no error of the user's comes later
 *     pc_party_ask(&p, &err);
 *     pc_party_rest(&p);              lets go of the weights; results stay
 *     pc_party_close(&p); */
#ifndef PC_CLI_EVAL_PARTY_H
#define PC_CLI_EVAL_PARTY_H

#include "cli/answering.h"
#include "cli/eval_options.h"
#include "eval/run.h"

enum { PC_MAX_TASKS = 64 };

struct pc_party {
    /* Borrowed, set by the caller: */
    const struct pc_command *self;
    const struct pc_eval_values *v; /* the model, or the endpoint; --outputs for judges */
    bool chat;                      /* the endpoint is spoken to by chat */
    const char *data;               /* folder */
    const struct pc_task *tasks[PC_MAX_TASKS];
    size_t n_tasks;
    /* Owned: */
    struct pc_eval *evals[PC_MAX_TASKS]; /* by task */
    struct pc_answering a;
    char name[256]; /* the model's, for people */
    json_t *identity;
    struct pc_engine *engine;
    struct pc_answerer *answerer;
    struct pc_notes notes;
};

int pc_party_open(struct pc_party *p, struct paco_error *err);
int pc_party_look(struct pc_party *p, struct paco_error *err);
/** Ask what is not answered yet; nothing is loaded when nothing is left. */
int pc_party_ask(struct pc_party *p, struct paco_error *err);
void pc_party_rest(struct pc_party *p);
/** A zeroed one is fine. */
void pc_party_close(struct pc_party *p);

#endif
