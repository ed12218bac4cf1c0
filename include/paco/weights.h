// SPDX-License-Identifier: Apache-2.0
/* Jobs on whole models: recover a fine-tune from its weight diff, make such a diff, merge an adapter,
 * convert.
 *
 *     struct paco_recover_options o = paco_recover_options_default();
 *     struct paco_job_result r;
 *     struct paco_error err = {0};
 *     o.raw = "llama-7b";
 *     o.diff = "open-instruct-stanford-alpaca-7b-diff";
 *     o.job.out = "tuned";
 *     if (paco_recover(&o, &r, &err) < 0)
 *         fprintf(stderr, "%s%s%s\n", err.path, *err.path ? ": " : "", err.message);
 *     else
 *         printf("%u tensors, %s\n", r.n_tensors, r.content_sha256);
 *     paco_job_result_release(&r);
 *
 * A model is named by its directory, by a file, or by its name in the Hugging Face cache. Jobs stream:
 * resident memory stays below 64 MiB whatever the model. Outputs appear under their name when they are whole;
 * an interrupted job, called again in the same way, goes on where it was. Everything wrong with the inputs is
 * found before the first byte is written, as far as their headers tell, and leaves nothing behind. */
#ifndef PACO_WEIGHTS_H
#define PACO_WEIGHTS_H

#include "paco/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Element types of an output. */
enum paco_dtype {
    PACO_DTYPE_F32, /* upstream's result, bit for bit */
    PACO_DTYPE_F16,
    PACO_DTYPE_BF16,
    PACO_DTYPE_KEEP, /* each tensor as it is in the diff (recover) or in the tuned model (diff) */
    PACO_DTYPE_AUTO, /* each tensor in the narrowest type that loses nothing; reads the inputs twice */
    /* Block types, for GGUF outputs: of the matrices. Norms and biases stay F32. As llama.cpp has it, the
     * head (or the embedding, where it is tied) is Q6_K but for Q8_0; Q4_K and Q5_K take Q6_K for some of the
     * value and down projections (its "M" mixes); and rows that are no multiple of 256 take Q5_0, Q5_1 and
     * Q8_0 for the K types. */
    PACO_DTYPE_Q8_0,
    PACO_DTYPE_Q4_0,
    PACO_DTYPE_Q4_1,
    PACO_DTYPE_Q5_0,
    PACO_DTYPE_Q5_1,
    PACO_DTYPE_Q4_K,
    PACO_DTYPE_Q5_K,
    PACO_DTYPE_Q6_K,
};

enum paco_container {
    PACO_CONTAINER_SAFETENSORS,
    PACO_CONTAINER_BIN, /* pytorch_model.bin */
    /** One GGUF file, which llama.cpp reads too, called `out`; its manifest is `out`.paco-manifest.json. */
    PACO_CONTAINER_GGUF,
    /** paco_convert alone: Meta's consolidated.NN.pth and params.json, paco_convert_options.n_shards of them.
     */
    PACO_CONTAINER_META,
};

/** How a diff was made, which decides what is known of the rows that the base lacks. */
enum paco_recipe {
    PACO_RECIPE_AUTO,
    PACO_RECIPE_OPEN_INSTRUCT, /* random rows were subtracted: they cannot be recovered */
    PACO_RECIPE_ALPACA,        /* the mean of the base's rows, on both sides: exact */
};

/** What stands for the base in rows that it lacks. */
enum paco_pad_row {
    PACO_PAD_ROW_DEFAULT, /* the mean, if the base's tokenizer has no pad token; else more rows are an error
                           */
    PACO_PAD_ROW_MEAN,    /* the mean of the base's rows, as the published scripts do */
    PACO_PAD_ROW_ZERO,    /* the recovered row is zero */
    PACO_PAD_ROW_DIFF,    /* the recovered row is the diff's */
};

/** Where a job is. */
struct paco_progress_event {
    const char *phase;    /* "recovering" */
    const char *item;     /* the tensor at hand, or NULL */
    uint64_t done, total; /* in unit; total 0 = unknown */
    const char *unit;     /* "B" for bytes, else a noun */
};

/** What every job takes. Zero is the default of all members. */
struct paco_job_options {
    const char *out; /* the directory to make, or the file */
    enum paco_dtype dtype;
    enum paco_container container;
    uint64_t max_shard; /* bytes of tensors per file; 0: 10 * 10^9 as upstream */
    int n_threads;      /* 0: all processors */
    bool force;         /* replace out once the new one is complete */
    bool no_repair;     /* copy configuration and tokenizer files with their faults */
    bool dry_run;       /* check and plan only */
    /** For PACO_CONTAINER_GGUF: the tokenizer as GGUF metadata, which this library's weights part cannot
     * make: the number of entries, eight bytes, and the entries as the file will hold them. NULL when the
     * model whose configuration the output gets is a GGUF file: its entries are copied. */
    const void *vocabulary;
    size_t vocabulary_size;
    /** Called from one thread at a time. Nonzero stops the job with PACO_ECANCELLED. May be NULL. */
    int (*on_progress)(void *ctx, const struct paco_progress_event *event);
    /** A remark, at the moment it is made. May be NULL. */
    void (*on_note)(void *ctx, const char *text);
    void *ctx;
};

/** Rows [first, first + n) of a tensor. */
struct paco_rows {
    char *tensor;
    uint64_t first, n;
};

/** What a job did. Everything in it is *owned*: paco_job_result_release. */
struct paco_job_result {
    char *out;
    uint32_t n_tensors, n_files;
    uint32_t n_resumed;               /* tensors found finished from an interrupted attempt */
    uint64_t bytes_written;           /* of all files; after a dry run, what would be */
    double seconds;                   /* after a dry run, about how many it would take */
    char content_sha256[65];          /* of names, types, shapes and values; empty after a dry run */
    uint64_t n_changed;               /* elements that narrowing to dtype changed */
    double max_change;                /* the largest absolute change; may be infinite */
    uint64_t n_not_finite;            /* elements that are NaN or infinite */
    char licence[128];                /* what the copied files say of the licence, or empty */
    char recipe[32];                  /* "open-instruct", "alpaca", or empty when no rows were added */
    struct paco_rows *undefined_rows; /* rows whose values the recipe leaves open */
    size_t n_undefined_rows;
    char **warnings; /* remarks, in order */
    size_t n_warnings;
};

void paco_job_result_release(struct paco_job_result *result);

struct paco_recover_options {
    struct paco_job_options job;
    const char *raw;  /* the base */
    const char *diff; /* tuned minus base */
    enum paco_recipe recipe;
    enum paco_pad_row pad_row;
};

struct paco_recover_options paco_recover_options_default(void);

/** Base + diff = tuned: for each tensor of the diff, in F32, one sum per element, as `weight_diff.py recover`
 * of Open-Instruct and Stanford Alpaca. Tokenizer, configuration, licence and model card come from the diff.
 *
 *  Errors: PACO_ENOENT, PACO_EFORMAT, PACO_EUNSUPPORTED, PACO_ELIMIT for what cannot be read; PACO_EMISMATCH
 * when base and diff do not belong together; PACO_EEXIST when out exists or another process writes it;
 * PACO_EINVAL when out is an input; PACO_ENOSPC; PACO_EIO; PACO_ECANCELLED. */
int paco_recover(
    const struct paco_recover_options *options, struct paco_job_result *result, struct paco_error *err);

enum paco_packing {
    PACO_PACKING_NONE,
    PACO_PACKING_BITDELTA, /* one bit for an element, a scale for a row */
    PACO_PACKING_INT4,     /* four bits for an element, a scale for 32 */
};

struct paco_diff_options {
    struct paco_job_options job;
    const char *raw;           /* the base */
    const char *tuned;         /* the model to publish as a diff */
    enum paco_packing packing; /* of the layers' matrices: PACO_PACKING_NONE is exact */
    uint32_t lora_rank; /* 0: the diff. Else a PEFT adapter of this rank that is near it: the layers' matrices
                           truncated, all else that changed whole */
};

struct paco_diff_options paco_diff_options_default(void);

/** Tuned - base = diff, in F32: `weight_diff.py make_diff`, with the mean in rows that the base lacks, so
 * that recovering is exact. Files beside the weights come from the tuned model. Narrowing a diff loses what
 * makes it exact. Errors as paco_recover's. */
int paco_diff(
    const struct paco_diff_options *options, struct paco_job_result *result, struct paco_error *err);

/** A file that goes beside the weights: made by the caller, copied from memory. */
struct paco_file {
    const char *name;
    const char *bytes;
    size_t len;
};

struct paco_merge_options {
    struct paco_job_options job;
    const char *base;    /* NULL: what the adapter's configuration names */
    const char *adapter; /* a PEFT folder */
    /** Tokens that the adapter folder's tokenizer knows; 0: not looked at. When they are more than the
     * embedding has rows, pad_row says what the new rows hold: PACO_PAD_ROW_MEAN or PACO_PAD_ROW_ZERO; the
     * default is an error. */
    uint64_t n_tokens;
    enum paco_pad_row pad_row;
    const struct paco_file *files; /* more files; win over those of the base's and the adapter's folder */
    size_t n_files;
};

struct paco_merge_options paco_merge_options_default(void);

/** Base + adapter = tuned: W + (B A) * alpha / r in F32 for each tensor a LoRA adapter updates, the product
 * first; tensors it holds whole take the base's place. Configuration, licence and card come from the base,
 * the tokenizer from the adapter's folder if it has one. Errors as paco_recover's; an adapter that does not
 * fit the base is PACO_EMISMATCH, one that is no plain LoRA PACO_EUNSUPPORTED. */
int paco_merge(
    const struct paco_merge_options *options, struct paco_job_result *result, struct paco_error *err);

struct paco_convert_options {
    struct paco_job_options job; /* dtype PACO_DTYPE_KEEP: the source's own types, block types as F32 */
    const char *source;
    int n_shards; /* for PACO_CONTAINER_META, 1 to 8; 0: 1 */
    const struct paco_file
        *files; /* more files: a GGUF's tokenizer, which this library's weights part cannot write */
    size_t n_files;
};

struct paco_convert_options paco_convert_options_default(void);

/** The same model in other files: a Hugging Face folder with safetensors or .bin from either, or from a GGUF
 * file, whose tensors get Hugging Face's names and row order; or a GGUF file from any of them, quantised when
 * a block type is asked for; or Meta's files, where a number of shards that does not divide the model's heads
 * and widths is PACO_EMISMATCH. Errors as paco_recover's. */
int paco_convert(
    const struct paco_convert_options *options, struct paco_job_result *result, struct paco_error *err);

#ifdef __cplusplus
}
#endif
#endif
