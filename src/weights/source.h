// SPDX-License-Identifier: Apache-2.0
/* What a user names with -m MODEL, opened: tensors under Hugging Face's names and in its layout, and a
 * config.
 *
 *     struct pc_source src;
 *     if (pc_source_open(name, &src, &err) < 0) ...
 *     const struct pc_tensor *t = pc_checkpoint_find(src.ck, "model.embed_tokens.weight");
 *     pc_vocabulary_open(src.vocabulary, &tok, &err);
 *     pc_source_close(&src);
 *
 * A name is tried, in this order, as: a directory, Hugging Face's or Meta's; a file, by its content and
 * suffix (.gguf, .safetensors, .bin, .pth, .pt); "org/model", optionally "org/model@revision", in the Hugging
 * Face cache, read in place.
 */
#ifndef PC_WEIGHTS_SOURCE_H
#define PC_WEIGHTS_SOURCE_H

#include "format/checkpoint.h"
#include "format/config.h"

enum pc_source_kind {
    PC_SOURCE_DIR,  /* a Hugging Face directory, in the cache or not */
    PC_SOURCE_GGUF, /* one .gguf file */
    PC_SOURCE_FILE, /* one .safetensors, .bin or .pth file */
    PC_SOURCE_META, /* a folder of Meta's: consolidated.NN.pth and params.json */
};

/** An open model. Everything it points to is *owned* and ends with pc_source_close. */
struct pc_source {
    enum pc_source_kind kind;
    /** Hugging Face names and row order whatever the file's; lm_head.weight is absent when a GGUF file ties
     * it. */
    struct pc_checkpoint *ck;
    /** The .gguf file itself, for its metadata (format/gguf.h) and its own names; else NULL. */
    const struct pc_checkpoint *gguf;
    /** The tensors as they are stored, under their files' own names, where ck shows others: a GGUF file's,
     * Meta's pieces (pc_meta_stored), a packed diff's bits (weights/packed_diff.h); else NULL. */
    const struct pc_checkpoint *stored;
    struct pc_config config; /* when has_config */
    bool has_config;         /* config.json or params.json in dir, or GGUF metadata */
    char *path;              /* the directory or file that was opened */
    char *dir;               /* the directory with config and tokenizer files; the folder of a lone file */
    struct pc_source_parts *parts; /* what ck is made of */
    const char *vocabulary;        /* what pc_vocabulary_open takes: dir, or the path of a .gguf or Meta's
                                      tokenizer.model; a view */
};

/** Open name. A directory without config.json opens with has_config false; one that is malformed is an error.
 * A name that leads nowhere is PACO_ENOENT with the places that were tried. out is zeroed on failure. */
int pc_source_open(const char *name, struct pc_source *out, struct paco_error *err);

/** Like pc_source_open for callers that only need the tensors: config.json is not read. GGUF metadata is, for
 * the layout depends on it; of an architecture paco does not know, the tensors keep their own names and rows.
 */
int pc_source_open_tensors(const char *name, struct pc_source *out, struct paco_error *err);

/** Whether configuration and tokenizer are in no form that Transformers reads beside weights: jobs make those
 * files instead of copying them (a GGUF file's metadata, Meta's params.json). */
bool pc_source_makes_files(const struct pc_source *src);

/** The path name leads to (directory or file), owned (pc_free): the first half of pc_source_open, for callers
 * that copy files. NULL with err set when there is none. */
char *pc_source_find(const char *name, struct paco_error *err);

/** What to call it: the last part of its path, for a snapshot in the cache the model's name there. Returns
 * out. */
char *pc_source_name(const struct pc_source *src, char *out, size_t out_size);

/** Release everything; a zeroed source is fine. */
void pc_source_close(struct pc_source *src);

#endif
