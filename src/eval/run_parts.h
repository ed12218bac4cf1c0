// SPDX-License-Identifier: Apache-2.0
/* What run.c and run_ask.c share. */
#ifndef PC_EVAL_RUN_PARTS_H
#define PC_EVAL_RUN_PARTS_H

#include "base/digest.h"
#include "eval/judges.h"
#include "eval/run.h"

struct pc_eval {
    struct pc_eval_options o;
    struct pc_task_data *data;
    size_t n_items;
    json_t *files, *tools, *identity, *results;
    struct pc_notes data_notes; /* what the task said of its data and flags: part of the results */
    char *dir;                  /* OUT/TASK */
    struct pc_eval_result result;
    bool is_done;

    /* While items are asked: */
    struct pc_journal *journal;
    struct pc_answerer *answerer;
    struct pc_judges *judges;
    /* By item: what the record begins with while it is being answered; or an answer of an earlier attempt
     * that was stopped before it was judged. */
    json_t **drafts;
    json_t **records; /* by item: NULL until it is judged */
    json_t **pending; /* journal lines not yet on the disk */
    size_t n_pending;
    size_t i_next, n_asked, n_done, n_failed, n_resumed;
    size_t n_unjudged;          /* answers that only the journal has */
    size_t n_kept;              /* records on the disk */
    size_t n_samples;           /* of each item */
    size_t n_shown;             /* samples that progress was told of */
    double score_sum, n_scored; /* nats and tokens of a perplexity */
    double last_sync, start;
    struct pc_buf prompt; /* of the question at hand, as are: */
    char key[96];
    const char *group;
    struct pc_ask ask;
    char sha[PC_SHA256_HEX];
    struct pc_sha256 *hash;
};

/** Out of memory. */
int pc_eval_no_memory(struct paco_error *err);

/** The record of item i is whole; it is taken over, and journalled unless it has an error. */
int pc_eval_keep(struct pc_eval *e, size_t i, json_t *record, struct paco_error *err);
/** The same, with why as its error. */
int pc_eval_keep_failed(
    struct pc_eval *e, size_t i, json_t *record, const struct paco_error *why, struct paco_error *err);
/** record has the answers of item i and no verdict: it is taken over and journalled, so that the next attempt
 * need not ask. */
int pc_eval_keep_unjudged(struct pc_eval *e, size_t i, json_t *record, struct paco_error *err);
/** What was kept goes to the disk. */
int pc_eval_flush(struct pc_eval *e, struct paco_error *err);

/** Ask every item that has no record, until each has one. After a failure, or when progress asks to stop,
 * what was judged by then is on the disk. */
int pc_eval_ask_items(struct pc_eval *e, const struct pc_progress *progress, struct paco_error *err);

#endif
