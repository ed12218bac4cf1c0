// SPDX-License-Identifier: Apache-2.0
/* Questions answered by an engine on this machine, many at once (engine/scheduler.h).
 *
 *     struct pc_engine_options o = {.n_threads = 2};
 *     pc_answer_engine_plan(&o, config, 0);            how many at once, and memory for them
 *     pc_engine_open(weights, config, &o, &engine, &err);
 *     pc_answer_engine_open(engine, tok, &options, &answerer, &err);
 *
 * A prompt is encoded with what special tokens are written in it and, unless its task says so, no others. A
 * choice is the softmax of the candidates' logits behind the prompt, in float32 as PyTorch gives it
 * (reference 1.4). A text is what the decoding of prompt and answer has more than that of the prompt, counted
 * in characters, special tokens left out of both (1.3, step 5), or the decoding of the new ids alone.
 * How likely a text is is read from its ids, as engine/perplexity.h reads a window, to the last bit.
 *
 * A prompt may be longer than the positions the model was trained for, as upstream's may: rotations go on.
 * What memory cannot hold is that item's error; nothing is cut. */
#ifndef PC_EVAL_ANSWER_ENGINE_H
#define PC_EVAL_ANSWER_ENGINE_H

#include "engine/engine.h"
#include "eval/answerer.h"

struct pc_answer_engine_options {
    int bos;                /* -1: as the task's question says; 0 never, 1 always */
    const int32_t *eos_ids; /* what ends an answer besides its question's stops; copied */
    size_t n_eos;
};

/** Let o plan for n_at_once sequences (0: 32) and kept beginnings: no more than a part of the memory there
 * is, as far as o does not say otherwise. */
void pc_answer_engine_plan(struct pc_engine_options *o, const struct pc_config *config, int32_t n_at_once);

/** engine and tok are borrowed until close, and the engine is nobody else's meanwhile. Errors: no memory for
 * what the engine was to plan PACO_EMEM. */
int pc_answer_engine_open(struct pc_engine *engine, const struct pc_tokenizer *tok,
    const struct pc_answer_engine_options *options, struct pc_answerer **out, struct paco_error *err);

/** What was computed, and what was not. */
struct pc_scheduler_stats pc_answer_engine_stats(const struct pc_answerer *a);

#endif
