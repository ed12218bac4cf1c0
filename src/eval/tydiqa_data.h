// SPDX-License-Identifier: Apache-2.0
/* TyDi QA's files: SQuAD's layout, upstream's one file of all languages or one file for each. */
#ifndef PC_EVAL_TYDIQA_DATA_H
#define PC_EVAL_TYDIQA_DATA_H

#include "eval/eval_data.h"

enum { PC_TYDIQA_LANGUAGES = 9 };

/** The words a language's prompts are made of, sorted by name. Upstream's, byte for byte. */
struct pc_tydiqa_language {
    const char *name, *with_context, *without, *passage, *question, *answer;
};
extern const struct pc_tydiqa_language pc_tydiqa_languages[PC_TYDIQA_LANGUAGES];

/** A question: views into its file's JSON. */
struct pc_tydiqa_question {
    struct pc_text id, context, text;
    const json_t *answers; /* at least one, each with "text" */
    size_t i_language;
    char *cut; /* owned: what context shows, once it was shortened */
};

/** The questions of the files of one kind, in their order. Start from zero. */
struct pc_tydiqa_questions {
    json_t *roots[PC_TYDIQA_LANGUAGES]; /* owned */
    size_t n_roots;
    struct pc_tydiqa_question *v;
    size_t n, capacity;
    size_t n_unknown; /* in languages without a prompt, the first of which is: */
    char unknown[32];
};

/** Read the files of a kind, "dev" or "train": tydiqa-goldp-v1.1-KIND.json, or else what there is of
 * LANGUAGE_tydiqa_KIND.json. Questions in other than the nine languages are left out and noted. What is not
 * as expected is PACO_EFORMAT with the file and the place in it ("data[3]: paragraphs[0]: qas[1]: ..."). */
int pc_tydiqa_read(
    const struct pc_task_env *env, const char *kind, struct pc_tydiqa_questions *q, struct paco_error *err);
void pc_tydiqa_release(struct pc_tydiqa_questions *q);

/** The indices of one language's questions, in order: an *owned* array of *n. */
int pc_tydiqa_list(
    const struct pc_tydiqa_questions *q, size_t i_language, size_t **out, size_t *n, struct paco_error *err);

#endif
