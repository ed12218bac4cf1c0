// SPDX-License-Identifier: Apache-2.0
/* A few threads that judge: running an answer's programs takes seconds, and the engine need not wait.
 *
 *     pc_judges_new(task, data, n, &judges, &err);
 *     pc_judges_give(judges, reply, record);
 *     while (pc_judges_take(judges, &verdict)) ...
 *     pc_judges_free(judges);
 *
 * Verdicts come in any order. Which thread gave one has no part in it. */
#ifndef PC_EVAL_JUDGES_H
#define PC_EVAL_JUDGES_H

#include "eval/answerer.h"

struct pc_judges;

/** One item, judged. Owned: json_decref(record). */
struct pc_judgement {
    size_t i_item;
    json_t *record;
    int rc; /* of judge, with the error */
    struct paco_error err;
};

/** n threads (0: processors, at most 8). data and task are borrowed until the end. *owned*: pc_judges_free.
 */
int pc_judges_new(const struct pc_task *task, const struct pc_task_data *data, int n, struct pc_judges **out,
    struct paco_error *err);
/** Judge no more, and wait for what is being judged, which the task is asked to end soon: what was not judged
 * is there to be taken all the same, as PACO_ECANCELLED. Nothing can be given afterwards. */
void pc_judges_stop(struct pc_judges *j);
/** Stops, and drops what was not taken. NULL is fine. */
void pc_judges_free(struct pc_judges *j);

/** Judge reply, which had no error, into record. Both are taken over, whatever happens. PACO_EMEM. */
int pc_judges_give(struct pc_judges *j, struct pc_reply *reply, json_t *record, struct paco_error *err);
/** A verdict, if there is one. */
bool pc_judges_take(struct pc_judges *j, struct pc_judgement *out);
/** Wait for a verdict, at most a tenth of a second. */
void pc_judges_wait(struct pc_judges *j);
/** Replies given whose verdicts were not taken. */
size_t pc_judges_n_open(const struct pc_judges *j);

#endif
