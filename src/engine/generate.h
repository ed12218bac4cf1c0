// SPDX-License-Identifier: Apache-2.0
/* The loop around the engine: a prompt in, tokens out until something ends the answer. generate, chat and the
 * evaluations share it.
 *
 *     struct pc_generation g;
 *     pc_generation_init(&g);
 *     pc_generate(engine, tok, seq, ids, n_ids, &options, &g, &err);
 *     printf("%s\n", g.text.data);
 *     pc_generation_release(&g);
 *
 * The sequence keeps the keys and values: called again with a longer prompt that begins with the same tokens,
 * only the new ones are computed. */
#ifndef PC_ENGINE_GENERATE_H
#define PC_ENGINE_GENERATE_H

#include "base/buf.h"
#include "base/progress.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/speculate.h"
#include "tokenizer/tokenizer.h"

enum pc_stop {
    PC_STOP_EOS,       /* one of eos_ids */
    PC_STOP_TEXT,      /* one of stops */
    PC_STOP_LENGTH,    /* max_tokens, or the sequence is full */
    PC_STOP_CANCELLED, /* a callback asked to stop */
};

/** "eos", "stop", "length", "cancelled". Static. */
const char *pc_stop_name(enum pc_stop stop);

struct pc_generate_options {
    int32_t max_tokens; /* of the answer */
    const int32_t *eos_ids;
    size_t n_eos;
    const char *const *stops; /* texts; the answer ends before the first of them */
    size_t n_stops;
    /** Called with each piece of text as soon as it can no longer become part of a stop; whole characters,
     * never empty. Nonzero ends the answer. May be NULL. */
    int (*on_text)(void *ctx, const char *text, size_t len);
    void *ctx;
    /** Guesses tokens, or NULL. The engine must have been opened for 1 + PC_MAX_DRAFT logits. The answer is
     * the same with it and without. */
    struct pc_speculator *speculator;
    const struct pc_progress
        *progress; /* told of the prompt's progress and asked whether to stop; may be NULL */
};

/** An answer. ids holds every token chosen, an end-of-sequence token included; text leaves out special
 * tokens, the stop and what followed. Kept when generation was cancelled or failed on the way. */
struct pc_generation {
    struct pc_ids ids;
    struct pc_buf text;
    enum pc_stop stop;
    int32_t n_prompt, n_computed; /* tokens of the prompt; those not already in the sequence */
    double prefill_seconds, decode_seconds;
    int32_t n_decoded;             /* tokens of the answer after the first, which the prompt gave */
    int32_t n_drafted, n_accepted; /* tokens guessed, and those of them that were right */
};
void pc_generation_init(struct pc_generation *g);
void pc_generation_release(struct pc_generation *g);

/** Answer n_prompt ids with sampler's choices. tok may be NULL: there is no text then, and no stop by text;
 * nor is there for a token it has no piece for. seq may hold a beginning of the prompt already: its first
 *  pc_seq_length positions must be those of prompt's tokens (the last token is computed again if all are
 * there).
 *
 *  Errors: an empty prompt PACO_EINVAL; one that leaves no room in the sequence PACO_ELIMIT with both
 * numbers; logits without a number PACO_EFORMAT; a progress callback that asks to stop during the prompt is
 * no error, but PC_STOP_CANCELLED. */
int pc_generate(struct pc_engine *engine, const struct pc_tokenizer *tok, struct pc_seq *seq,
    const int32_t *prompt, size_t n_prompt, struct pc_sampler *sampler,
    const struct pc_generate_options *options, struct pc_generation *out, struct paco_error *err);

/** Compute a prompt, so that pc_engine_logits(engine, *i_row) are those behind its last token; as pc_generate
 * does first. Returns 1 when progress asked to stop. */
int pc_prefill(struct pc_engine *engine, struct pc_seq *seq, const int32_t *prompt, size_t n_prompt,
    const struct pc_progress *progress, size_t *i_row, struct paco_error *err);

#endif
