// SPDX-License-Identifier: Apache-2.0
/* A fine-tune made small: what it changes, cut down to a PEFT adapter of some rank.
 *
 *     struct pc_compressed c = {.base = raw.ck, .tuned = tuned.ck, .difference = d, .rank = 16, .tied =
 * tied}; if (pc_compress_lora(&c, pool, progress, &ck, &err) < 0) ...
 *     ... ck is what adapter_model.safetensors holds, c.config the text beside it ...
 *     pc_checkpoint_close(ck);
 *     pc_compressed_release(&c); */
#ifndef PC_WEIGHTS_COMPRESS_H
#define PC_WEIGHTS_COMPRESS_H

#include "base/buf.h"
#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"
#include "weights/truncate.h"

struct pc_compressed {
    const struct pc_checkpoint *tuned;
    const struct pc_checkpoint *difference; /* tuned - base: pc_checkpoint_subtract */
    const char *base_name;                  /* for base_model_name_or_path */
    uint64_t rank;
    bool tied; /* the tuned model's head is its embedding */
    /* What came of it: */
    struct pc_truncated sums; /* over all matrices that were truncated */
    uint32_t n_whole;         /* tensors that go along whole */
    struct pc_buf config;     /* adapter_config.json */
};

/** Every matrix of a layer as a pair of factors (weights/truncate.h), of rank c->rank, or what its sides
 * allow with zeros behind; every other tensor that changed at all (norms, embedding, head, biases) whole, as
 * the tuned model has it. *out is *owned*, and closed before what c names. Reads the difference once, with as
 * many matrices in memory as there are workers. Errors: those of reading; PACO_EMISMATCH when nothing
 * changed. */
int pc_compress_lora(struct pc_compressed *c, struct pc_pool *pool, const struct pc_progress *progress,
    struct pc_checkpoint **out, struct paco_error *err);
void pc_compressed_release(struct pc_compressed *c);

#endif
