// SPDX-License-Identifier: Apache-2.0
/* What a checkpoint looks like: a model or a weight diff, and of which known family.
 *
 * The sign of a diff is its norm weights. RMSNorm multiplies by them, so in a model they are positive and of
 * order one (the first layers of LLaMA go down to 0.03, the median is 0.3 and more, the last norm above 1);
 * fine-tuning moves them by a hundredth at most, so in a diff they sit around zero. The spread of the
 * matrices is reported as evidence and decides only when there are no norms. */
#ifndef PC_WEIGHTS_DIAGNOSE_H
#define PC_WEIGHTS_DIAGNOSE_H

#include "format/checkpoint.h"

enum pc_kind {
    PC_KIND_UNSURE,
    PC_KIND_MODEL,
    PC_KIND_DIFF,
};

struct pc_diagnosis {
    enum pc_kind kind;
    int n_norms, n_matrices; /* tensors looked at */
    double norm_level;       /* median over norm tensors of mean |w| */
    double matrix_std;       /* median over matrices of the sampled rows' standard deviation */
    char evidence[200]; /* "its 65 norm tensors average 0.0004 (a model's are near 1), its matrices spread by
                           0.0011" */
};

/** Sample at most 64 norm tensors and 16 matrices (some rows of each; a few MB of reading) and judge. Tensors
 * that cannot be widened or sampled within 1 MiB are left out. Errors come from reading only. */
int pc_diagnose_kind(const struct pc_checkpoint *ck, struct pc_diagnosis *out, struct paco_error *err);

/** "model", "diff", "unsure". Static storage. */
const char *pc_kind_name(enum pc_kind kind);

/** Sizes read off the tensors' names and shapes; 0 where a tensor is missing. */
struct pc_outline {
    int32_t n_layers;
    uint64_t hidden, intermediate, kv_width, vocab;
    bool has_head; /* lm_head.weight is there */
};

void pc_diagnose_outline(const struct pc_checkpoint *ck, struct pc_outline *out);

/** The published model with these sizes, tokens added to the vocabulary allowed: "LLaMA-13B"; NULL if none is
 * known. Models of equal shapes share a name ("LLaMA-7B or LLaMA-2-7B"). Static storage. */
const char *pc_diagnose_known(const struct pc_outline *o);

/** "looks like LLaMA-13B (40 layers of width 5120, vocabulary 32000)", or without a name "has 2 layers of
 * width 64 ...". Returns out; 160 bytes are always enough. */
char *pc_diagnose_describe(const struct pc_outline *o, char *out, size_t out_size);

/** Why two checkpoints' shapes do not agree, and what would help: "the base looks like LLaMA-13B (...), the
 * diff like LLaMA-7B (...): it needs the LLaMA-7B base". what_a and what_b name them in the text ("base",
 * "diff"). Returns out, empty when their outlines agree apart from the vocabulary; 512 bytes are always
 * enough. */
char *pc_diagnose_mismatch(const struct pc_checkpoint *a, const char *what_a, const struct pc_checkpoint *b,
    const char *what_b, char *out, size_t out_size);

#endif
