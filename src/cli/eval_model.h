// SPDX-License-Identifier: Apache-2.0
/* Who is evaluated: a model on this machine, opened as far as its questions need it, and what tells it from
 * every other. */
#ifndef PC_CLI_EVAL_MODEL_H
#define PC_CLI_EVAL_MODEL_H

#include "base/json.h"
#include "cli/answering.h"

/** All that decides what the model answers: SHA-256 of the tensors as they are stored (of base and diff, if
 * it is their sum), of the configuration and of the tokenizer and its ways; the ids that end an answer, the
 * format it was tuned on; the type the weights are narrowed to, the arithmetic, the type of keys and values,
 * the instruction set. An *owned* object.
 *
 *  Every tensor is read once, by n_threads threads; nothing is kept for the next time, for files may change.
 * PACO_ECANCELLED when progress asks to stop. */
int pc_eval_fingerprint(const struct pc_answering *a, const struct pc_model_args *args,
    const struct pc_progress *progress, json_t **out, struct paco_error *err);

#endif
