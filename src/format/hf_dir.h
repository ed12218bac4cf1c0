// SPDX-License-Identifier: Apache-2.0
/* Model files as Hugging Face lays them out: one weights file, or shards named by an index.
 * docs/formats/shards.md. */
#ifndef PC_FORMAT_HF_DIR_H
#define PC_FORMAT_HF_DIR_H

#include "format/checkpoint.h"

enum {
    PC_HF_MAX_INDEX = 64 * 1024 * 1024, /* bytes of an index file */
    PC_HF_MAX_SHARDS = 4096,
};

/** Open one weights file, whichever kind its content says it is: safetensors, PyTorch, GGUF. *owned*. What it
 * is instead is named, as by pc_sniff_refuse. */
int pc_file_open_checkpoint(const char *path, struct pc_checkpoint **out, struct paco_error *err);

/** Open the weights in dir. In Transformers' order of preference: model.safetensors,
 * model.safetensors.index.json with its shards, pytorch_model.bin, pytorch_model.bin.index.json with its
 * shards. *owned*.
 *
 *  Of shards: files in the order of their names, in each the file's own order. The index decides which shard
 * a tensor comes from; a tensor no index mentions is taken as well, as Transformers does. A shard name that
 * is no plain file name, an entry whose shard lacks the tensor, and missing shards (the message counts them)
 * are errors; PACO_ENOENT when there are no weights at all, saying what is there instead. */
int pc_hf_open(const char *dir, struct pc_checkpoint **out, struct paco_error *err);

/** pc_hf_open for a directory, pc_file_open_checkpoint for a file. */
int pc_checkpoint_open(const char *path, struct pc_checkpoint **out, struct paco_error *err);

/** The name (static) of the file pc_hf_open would open in dir ("model.safetensors.index.json"), or NULL. */
const char *pc_hf_weights_name(const char *dir);

#endif
