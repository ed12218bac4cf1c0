// SPDX-License-Identifier: Apache-2.0
/* The one writer of models: any checkpoint, streamed into files that appear whole or not at all.
 *
 *     struct pc_write_options o = {.job = "convert", .phase = "converting", .out_dir = out, .inputs = &in,
 *         .n_inputs = 1, .files_from = source_dir, .progress = progress};
 *     struct pc_write_result r;
 *     if (pc_write_checkpoint(node, &o, &r, &err) < 0) ...
 *     pc_write_result_release(&r);
 *
 * What is written is the checkpoint as it stands: cast it first (algebra/cast.h, weights/narrow.h) when
 * another dtype is wanted. In order:
 *   1. the layout is planned and the target checked: it does not exist (or `force`), is none of the inputs,
 * the disk has room. Nothing has been written when one of these fails;
 *   2. tensors stream into OUT's working directory beside it (base/journal.h), several at once, each hashed
 * on the way, its inputs too; finished ones are journaled, so that the same call goes on after a crash;
 *   3. tokenizer, config, licence and model card files are copied from files_from (weights/sidecar.h);
 *   4. paco-manifest.json is written (docs/formats/manifest.md), everything is synced, the directory renamed;
 * or the GGUF file F, and the manifest to F.paco-manifest.json. The bytes of the result depend on the
 * checkpoint and the options alone, not on threads or interruptions.
 *
 * When it fails for a reason in the input, nothing is left; after a full disk, an I/O error or
 * PACO_ECANCELLED the working directory stays for the next call. */
#ifndef PC_WEIGHTS_WRITE_H
#define PC_WEIGHTS_WRITE_H

#include "base/digest.h"
#include "base/json.h"
#include "base/notes.h"
#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"
#include "format/layout.h"

#include <stdbool.h>

/** A checkpoint that the output is made of: named in the manifest, hashed while it streams by. All
 * *borrowed*. */
struct pc_write_input {
    const char *role;               /* "base", "diff", "tuned", "adapter", "source" */
    const char *path;               /* as opened; its last component goes into the manifest */
    const struct pc_checkpoint *ck; /* the reader itself, not a node on it */
};

/** A file made by the job ("config.json" of a GGUF conversion); wins over files_from. */
struct pc_write_file {
    const char *name;
    const char *bytes;
    size_t len;
};

enum { PC_WRITE_MAX_INPUTS = 4 };

struct pc_write_options {
    const char *job;     /* "recover": manifest and journal */
    const char *phase;   /* "recovering": progress */
    const char *out_dir; /* with PC_GGUF the file to make; its manifest lies beside it */
    enum pc_container container;
    const struct pc_gguf_head *gguf; /* PC_GGUF: the metadata */
    uint64_t max_shard;              /* tensor bytes per file; 0 for 10 GB */
    const char *file_name; /* what to call the file of tensors, which is then one; NULL: as models are */
    const struct pc_write_input *inputs;
    size_t n_inputs;
    /** A JSON object of what else shapes the bytes ({"recipe": "alpaca"}): manifest "options", and a changed
     * value restarts an interrupted job. May be NULL. */
    const json_t *settings;
    /** Members added to the manifest ({"undefined_rows": [...]}). May be NULL. */
    const json_t *extra;
    const char *files_from; /* directory whose tokenizer, config and licence files travel along, or NULL */
    const char *tokenizer_from; /* the tokenizer files come from this directory instead, or NULL */
    const struct pc_write_file *files;
    size_t n_files;
    bool no_repair;       /* copy the files of files_from as they are, faults and all */
    bool force;           /* replace out_dir, once the new one is complete */
    bool dry_run;         /* plan and check only: result says what would be written */
    bool no_direct;       /* always write through the page cache */
    bool one_in_hand;     /* work on one tensor per worker: for nodes that need much memory for each */
    bool journal_each;    /* journal each tensor by itself: slower, for tests */
    struct pc_pool *pool; /* NULL: one is made for all processors */
    const struct pc_progress *progress;
    struct pc_notes *notes; /* where remarks go; NULL: nowhere */
};

/** What was done. */
struct pc_write_result {
    uint32_t n_tensors, n_files; /* n_files counts weight files */
    uint32_t n_resumed;          /* tensors found finished from an earlier attempt */
    uint64_t tensor_bytes;
    uint64_t bytes_written;             /* of all files of the output */
    double seconds;                     /* after a dry run, about how many it would be */
    uint64_t n_lossy;                   /* elements a cast changed */
    double max_error;                   /* largest absolute change by a cast */
    uint64_t n_special;                 /* elements of the output that are NaN or infinite */
    char content_sha256[PC_SHA256_HEX]; /* docs/formats/manifest.md: independent of container and sharding */
    char licence[128];                  /* what the files say of the licence, or empty */
    char input_sha256[PC_WRITE_MAX_INPUTS][PC_SHA256_HEX]; /* content digests; empty after a dry run */
};

/** Space that must be free beyond the bytes of tensors and small files: for directories, the journal, the
 * manifest, rounding to blocks. */
uint64_t pc_write_spare(uint64_t n_tensors);

/** Write ck. ck and all of opt are *borrowed* for the call. Errors: PACO_EEXIST (target, or another process
 * is at it), PACO_ENOSPC, PACO_EINVAL (target is an input), PACO_ECANCELLED, and whatever reading ck brings.
 */
int pc_write_checkpoint(const struct pc_checkpoint *ck, const struct pc_write_options *opt,
    struct pc_write_result *result, struct paco_error *err);

#endif
