// SPDX-License-Identifier: Apache-2.0
/* A model on its way into a GGUF file: tensors under GGUF's names, in its row order and in the types asked
 * for, and the metadata. What convert, recover and merge share.
 *
 *     struct pc_gguf_out g = {0};
 *     struct pc_gguf_request q = {.ck = sum, .config = &config, .name = "tuned", .choice = choice, ...};
 *     if (pc_gguf_out_make(&q, &g, &err) < 0) ...
 *     o.container = PC_GGUF, o.gguf = &g.head;
 *     pc_write_checkpoint(g.ck, &o, &written, &err);
 *     pc_gguf_out_release(&g); */
#ifndef PC_WEIGHTS_GGUF_OUT_H
#define PC_WEIGHTS_GGUF_OUT_H

#include "format/gguf_write.h"
#include "weights/job.h"
#include "weights/source.h"

/** All *borrowed* until pc_gguf_out_release. */
struct pc_gguf_request {
    const struct pc_checkpoint
        *ck; /* Hugging Face's names and row order; NULL: all of like->gguf as it stands */
    /** The model whose configuration, and if it is a GGUF file whose metadata, the output gets. */
    const struct pc_source *like;
    const struct pc_checkpoint *keep; /* PACO_DTYPE_KEEP: whose types (pc_narrow); NULL: ck's own */
    bool tied;                        /* ck has no head of its own, or none that counts */
    const char *name;                 /* general.name of what is no GGUF file yet */
    const struct paco_job_options *o; /* dtype and vocabulary are read */
    struct pc_pool *pool;
    const struct pc_progress *progress;
    struct pc_notes *notes;
};

/** Zero before first use; release in any case. */
struct pc_gguf_out {
    struct pc_checkpoint *ck; /* what to write */
    struct pc_gguf_head head;
    struct pc_checkpoint *narrowed, *factors, *permuted, *named; /* what ck is made of */
    struct pc_config config;
};

/** Errors: PACO_ENOENT without a configuration, PACO_EINVAL without a vocabulary, PACO_EUNSUPPORTED for a
 * tensor GGUF has no place for. */
int pc_gguf_out_make(const struct pc_gguf_request *q, struct pc_gguf_out *out, struct paco_error *err);
void pc_gguf_out_release(struct pc_gguf_out *out);

#endif
