// SPDX-License-Identifier: Apache-2.0
/* The only way to run a model: rows in, logits out.
 *
 * A row is one token at one position of one sequence. A step takes any mix of them: the rows of a prompt
 * (prefill), the next token of many conversations (decode), drafted tokens to be verified. One sequence is a
 * batch of one.
 *
 *     struct pc_engine *e;
 *     pc_engine_open(weights, &config, &(struct pc_engine_options){.n_threads = 2}, &e, &err);
 *     struct pc_seq *s;
 *     pc_seq_new(e, 512, &s, &err);
 *     struct pc_row row = {.seq = s, .pos = 0, .token = bos, .want_logits = true};
 *     pc_engine_step(e, &row, 1, &err);
 *     const float *logits = pc_engine_logits(e, 0);
 *     ...
 *     pc_seq_free(s);
 *     pc_engine_close(e);
 *
 * The logits of a row are the same bytes whatever else is in the step, however a prompt is cut into steps,
 * and at any number of threads. They depend on the tokens up to the row, the weights, and nothing else.
 *
 * Keys and values lie in blocks of PC_KV_BLOCK positions counted from the start of the sequence, which
 * sequences that begin alike can share. All memory is planned when the engine is opened and when a sequence
 * is made; a step allocates nothing, and a guard proves it (but for the first step, which loads the weights).
 * An engine belongs to one thread at a time. */
#ifndef PC_ENGINE_ENGINE_H
#define PC_ENGINE_ENGINE_H

#include "base/error.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "kernels/attention.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_engine;
struct pc_seq;
struct pc_variant; /* a row's delta or adapter: engine/variant.h */

/** Zero means the default in every field. */
struct pc_engine_options {
    int n_threads;      /* 0: all processors this process may use */
    int32_t max_rows;   /* rows computed at once, 512: longer steps are done in such pieces */
    int32_t max_logits; /* rows of a step that may want logits, 16 */
    int64_t
        plan_tokens; /* positions the caller is going to ask of its sequences together: part of the plan */
    uint64_t prefix_size;  /* bytes of keys and values kept of earlier beginnings (engine/prefix.h) */
    uint64_t memory_limit; /* bytes; 0: what the machine has available */
    enum pc_dtype kv_type; /* of keys and values: PC_F16, PC_BF16, PC_Q8_0, or PC_F32 with has_kv_type */
    bool has_kv_type;      /* else F32 is F16, but for f32 and for weights in F32 */
    bool f32;              /* plain F32 arithmetic, whatever the weights' type */
    bool llm_int8;         /* products of the layers as with load_in_8bit: kernels/llm_int8.h; not f32 */
    bool scalar;           /* the readable kernels only */
};

/** What a model takes, in bytes, before any of it is loaded. */
struct pc_engine_plan {
    uint64_t program;  /* resident before the engine was opened */
    uint64_t weights;  /* packed, copied, or multiplied where they are mapped */
    uint64_t loading;  /* buffers while they are read */
    uint64_t kv;       /* of plan_tokens, and of prefix_size */
    uint64_t scratch;  /* of max_rows and max_logits */
    uint64_t kv_token; /* of one position */
    uint64_t variants; /* of fine-tunes beside the model, as many as there are now (engine/variant.h) */
};

/** Bind the weights to the configuration, plan the memory, load. weights stays borrowed until
 * pc_engine_close.
 *
 *  Errors: a thread that flushes denormals PACO_EUNSUPPORTED, a missing tensor PACO_ENOENT, a shape that is
 * not config's PACO_EMISMATCH, what cannot be computed with PACO_EUNSUPPORTED, more memory than there is
 * PACO_EMEM with the sum spelt out. */
int pc_engine_open(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_engine_options *options, struct pc_engine **out, struct paco_error *err);
void pc_engine_close(struct pc_engine *engine);

const struct pc_config *pc_engine_config(const struct pc_engine *engine);
struct pc_engine_plan pc_engine_plan(const struct pc_engine *engine);
/** What the process is going to hold at most: the sum, of which kv_token is a part. */
uint64_t pc_engine_plan_total(const struct pc_engine *engine);
int pc_engine_n_threads(const struct pc_engine *engine);
/** pc_seconds() when the first layer's weights had been read and repacked; 0 before. */
double pc_engine_first_filled(const struct pc_engine *engine);

/** What computes, for people: "avx512, 2 threads: int8 products of q4_0 and q8_0; keys and values in f16".
 *  Returns out; 256 bytes are enough. */
char *pc_engine_describe(const struct pc_engine *engine, char *out, size_t out_size);

/** What of it decides results: "avx512: int8 products of q4_0 and q8_0; keys and values in f16". As above. */
char *pc_engine_arithmetic(const struct pc_engine *engine, char *out, size_t out_size);

/** An empty sequence with room for max_tokens positions. *owned*: pc_seq_free, before the engine is closed.
 * More than what the engine's bound on memory leaves is PACO_ELIMIT, in numbers: the sequence is too long for
 * it. PACO_EMEM when the system refuses what is within. */
int pc_seq_new(struct pc_engine *engine, int32_t max_tokens, struct pc_seq **out, struct paco_error *err);
void pc_seq_free(struct pc_seq *seq);

/** A sequence of its own that begins with the first n positions of another (n up to its length), sharing
 * their memory until either writes there. Errors as pc_seq_new. */
int pc_seq_fork(
    struct pc_seq *from, int32_t n, int32_t max_tokens, struct pc_seq **out, struct paco_error *err);

/** Positions that hold keys and values. */
int32_t pc_seq_length(const struct pc_seq *seq);
int32_t pc_seq_capacity(const struct pc_seq *seq);

/** Forget every position from n on (n up to the length). */
void pc_seq_truncate(struct pc_seq *seq, int32_t n);

/** The block of positions [32 i, 32 i + 32) of all layers (model/llama_block.h has its layout). Valid until
 * the sequence is written to or freed; other sequences may share it. i_block must be below the length in
 * blocks. */
void *pc_kv_block(struct pc_seq *seq, int32_t i_block);

struct pc_row {
    struct pc_seq *seq;
    int32_t pos;
    int32_t token;
    const struct pc_variant *variant; /* NULL: the base */
    bool want_logits;
};

/** Compute n rows. A sequence's first row of a call may stand at any position up to its length (standing
 * below it forgets what follows: how drafts are taken back); further rows follow one by one. Rows of several
 * sequences may be mixed in any order.
 *
 *  Errors, each found before anything is changed: a token outside the vocabulary, a position that leaves a
 * gap or comes twice PACO_EINVAL; a position beyond the capacity, too many logits PACO_ELIMIT; a variant
 * of another engine or one that was not admitted, a sequence that holds another variant's keys and values
 *  PACO_EINVAL. Where weights cannot be read on their first use, that error: the sequences then end
 * before their first row of the call, and the step may be tried again. */
int pc_engine_step(struct pc_engine *engine, const struct pc_row *rows, size_t n, struct paco_error *err);

/** The logits of row i of the last step, as many as its variant has tokens (pc_variant_vocab); NULL if it did
 * not want them. Valid until the next step. */
const float *pc_engine_logits(const struct pc_engine *engine, size_t i_row);

/** The last hidden state (hidden_size) of row i of the last step, behind the final norm, into out. variant is
 * the row's own. Steps of more than max_rows rows keep those of their last piece only: i_row must be one of
 * fewer. Thread-safe between two steps. */
void pc_engine_hidden(
    const struct pc_engine *engine, size_t i_row, const struct pc_variant *variant, float *out);

#endif
