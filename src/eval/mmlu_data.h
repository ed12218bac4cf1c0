// SPDX-License-Identifier: Apache-2.0
/* MMLU's tables: which subjects are asked, the examples in front of their questions, and which questions. */
#ifndef PC_EVAL_MMLU_DATA_H
#define PC_EVAL_MMLU_DATA_H

#include "eval/csv.h"

enum {
    PC_MMLU_CHOICES = 4,
    PC_MMLU_COLUMNS = PC_MMLU_CHOICES + 2, /* the question, the choices, the letter of the right one */
    PC_MMLU_ANSWER = PC_MMLU_COLUMNS - 1,
    PC_MMLU_MAX_NAME = 80, /* bytes of a subject's name */
};

struct pc_mmlu_subject {
    char *name;      /* "abstract_algebra"; owned */
    int subcategory; /* of mmlu_categories.h, or -1 */
    struct pc_csv test;
    struct pc_buf prefix; /* the header and all shots */
    size_t *shot_end;     /* (n_shots + 1) where the prefix of so many shots ends; owned */
    size_t *rows, n_rows; /* of test, those to ask in their order; owned */
};

/** `{0}` is valid and empty. Immutable once read. */
struct pc_mmlu {
    struct pc_mmlu_subject *subjects; /* in the order they are asked in; owned */
    size_t n_subjects, n_shots;
};

/** Read what env->flags ask for, with n_shots examples before each question. Errors: PACO_ENOENT without
 * data; PACO_EFORMAT for a table that is damaged or answers with no letter from A to D; PACO_EINVAL for a
 * subject that is not there and more shots than a table has. What metrics.json will lack goes to env->notes.
 */
int pc_mmlu_read(struct pc_mmlu *m, const struct pc_task_env *env, size_t n_shots, struct paco_error *err);
void pc_mmlu_release(struct pc_mmlu *m);

/** Append a table's question and its choices, up to "Answer:". */
void pc_mmlu_put_question(struct pc_buf *out, const struct pc_csv *t, size_t row);

#endif
