// SPDX-License-Identifier: Apache-2.0
/* A model on its way into Meta's files: consolidated.NN.pth, a piece of every matrix in each, and
 * params.json. docs/formats/meta.md. */
#ifndef PC_WEIGHTS_META_OUT_H
#define PC_WEIGHTS_META_OUT_H

#include "base/buf.h"
#include "base/notes.h"
#include "weights/source.h"
#include "weights/write.h"

enum { PC_META_OUT_SHARDS = 8, PC_META_OUT_FILES = 2 };

/** All *borrowed* until pc_meta_out_release. */
struct pc_meta_request {
    const struct pc_checkpoint *ck; /* Hugging Face's names and row order */
    const struct pc_source *like;   /* whose configuration and tokenizer.model the output gets */
    bool tied;                      /* a head that ck may have counts for nothing */
    uint32_t n_shards;              /* 1 to PC_META_OUT_SHARDS */
    struct pc_notes *notes;
};

/** Zero before first use; release in any case. */
struct pc_meta_out {
    struct pc_checkpoint *ck;                      /* what to write, with container PC_META */
    struct pc_write_file files[PC_META_OUT_FILES]; /* params.json, and tokenizer.model if there is one */
    size_t n_files;
    struct pc_checkpoint *permuted; /* what ck is made of */
    struct pc_buf params, tokenizer;
};

/** Errors: PACO_ENOENT without a configuration; PACO_EMISMATCH for a number of shards that heads or widths
 * cannot be dealt to, with the division and the numbers that would do; PACO_EMISMATCH for tensors that are
 * not what the configuration says; PACO_EUNSUPPORTED for a tensor (biases) or a RoPE scaling Meta's files
 * have no place for. What they cannot say is remarked on. */
int pc_meta_out_make(const struct pc_meta_request *q, struct pc_meta_out *out, struct paco_error *err);
void pc_meta_out_release(struct pc_meta_out *out);

#endif
