// SPDX-License-Identifier: Apache-2.0
/* Fine-tunes of the engine's model that run beside it: what they change is kept, the base is there once.
 *
 *     pc_variant_open(engine, &base, &(struct pc_variant_options){.kind = PC_VARIANT_DIFF, .path = dir}, &v,
 * &err) pc_engine_admit(engine, v, &err) rows[i].variant = v                      or request.variant = v
 *     ...
 *     pc_variant_release(v)
 *
 * Rows of the base and of any variants share a step: each product with the base's weights is computed once
 * for all rows, and what a variant adds is added to its own:
 *
 *     y = W x + scale B (A x)      an adapter's pair of factors, as they are
 *     y = W x + D x                a weight diff, or a matrix that an adapter holds whole; D = W' - W
 *
 * D is kept sparse or dense, narrowed where that loses nothing, whichever is smallest; rows without a change
 * and matrices without one cost nothing. Norms are the variant's own; so are biases, rows of the embedding
 * and rows of the head, which may be more or fewer than the base's: pc_variant_vocab.
 *
 * W is the engine's, in whatever type it runs; D is relative to the exact weights of `base`. With weights in
 * F32, or in BF16 with plain F32 arithmetic, a variant's numbers are the tuned model's up to the order of
 * summation. With quantised weights only the base's part is quantised: W_q x + D x, which is nearer to the
 * tuned model than its own quantisation, since D is not rounded to W's steps.
 *
 * A row's logits are the same bytes alone and in any company, as everywhere (engine.h). A sequence belongs to
 * the variant its first row named. */
#ifndef PC_ENGINE_VARIANT_H
#define PC_ENGINE_VARIANT_H

#include "engine/engine.h"
#include "weights/source.h"

enum pc_variant_kind {
    PC_VARIANT_ADAPTER, /* a PEFT LoRA folder (weights/adapter.h) */
    PC_VARIANT_DIFF,    /* a weight diff against the base (algebra/combine.h) */
};

struct pc_variant_options {
    enum pc_variant_kind kind;
    const char *path; /* a folder, or whatever else pc_source_open takes for a diff */
};

/** Read a fine-tune of the engine's model. base is what the engine's weights came from, with its
 * configuration: the engine may run them in another type. Files are closed when this returns; base is not
 * needed any more then. *owned*: pc_variant_release.
 *
 *  May run on any thread, beside steps of the engine, but one at a time.
 *
 *  Errors: those of opening and of fitting together (adapter.h, pair.h); another shape, or other numbers of
 * the configuration that the arithmetic depends on, PACO_EMISMATCH; more memory than is left PACO_EMEM in
 * numbers. */
int pc_variant_open(struct pc_engine *engine, const struct pc_source *base,
    const struct pc_variant_options *options, struct pc_variant **out, struct paco_error *err);

/** Make room in the engine's scratch for rows of the variant: once, on the engine's thread, between steps.
 * Logits of the last step are gone. PACO_EMEM. */
int pc_engine_admit(struct pc_engine *engine, const struct pc_variant *variant, struct paco_error *err);

/** One more holder, and one less: the last one frees it. The caller of pc_variant_open is the first; open
 * requests of a scheduler are others, so that a variant may be taken out of service at any time. NULL is
 * fine. Thread-safe. All are released before the engine is closed. */
struct pc_variant *pc_variant_share(struct pc_variant *variant);
void pc_variant_release(struct pc_variant *variant);

/** Bytes it holds: part of the engine's plan while it is there. 0 for NULL. */
uint64_t pc_variant_size(const struct pc_variant *variant);

/** How many logits a row of it has; of the base for NULL. */
int32_t pc_variant_vocab(const struct pc_engine *engine, const struct pc_variant *variant);

/** The configuration: the fine-tune's own, or the base's with its vocabulary. The base's for NULL. */
const struct pc_config *pc_variant_config(const struct pc_engine *engine, const struct pc_variant *variant);

/** What it consists of, for people: "210 adapters of rank 16, 6.2 MB". Returns out; 160 bytes are enough. */
char *pc_variant_describe(const struct pc_variant *variant, char *out, size_t out_size);

#endif
