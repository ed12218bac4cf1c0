// SPDX-License-Identifier: Apache-2.0
/* Meta's own files (consolidated.00.pth ..., params.json) as a checkpoint in Hugging Face's names, order and
 * row layout. docs/formats/meta.md.
 *
 * A model trained by n machines is n files of equal tables, each holding a piece of every matrix: rows of
 * those that a machine computed outputs of, columns of those that it computed inputs of, and whole norms.
 * They are joined while they are read, by rows; nothing is written or held. */
#ifndef PC_WEIGHTS_META_LAYOUT_H
#define PC_WEIGHTS_META_LAYOUT_H

#include "format/checkpoint.h"
#include "format/config.h"

enum { PC_META_MAX_SHARDS = 16 };

struct pc_meta;

/** Whether dir holds consolidated.NN.pth files and params.json, and no weights of Hugging Face's. */
bool pc_meta_is(const char *dir);

/** Open dir. *owned*: pc_meta_close. *ck is the model, borrowed from *out; its tensors count as a file's: the
 * digests that a job notes of its inputs are those of the converted tensors, as they would be of a Hugging
 * Face folder. config is filled in.
 *
 *  Errors, each naming the file: a number left out, and too few shards for params.json, PACO_ENOENT; a tensor
 * that one shard lacks, shards whose tensors differ in shape or type, norms that differ from shard to shard,
 * shapes that params.json contradicts PACO_EMISMATCH; those of pc_torch_open and pc_config_from_meta. */
int pc_meta_open(const char *dir, struct pc_config *config, struct pc_meta **out, struct pc_checkpoint **ck,
    struct paco_error *err);
void pc_meta_close(struct pc_meta *meta);
/** The tensors as they lie in the files, called "consolidated.NN/NAME", as the manifest of a folder that paco
 * wrote has them. *Borrowed* from meta. */
const struct pc_checkpoint *pc_meta_stored(const struct pc_meta *meta);

/** The file with dir's vocabulary: tokenizer.model in it, or in the folder above, where LLaMA's and LLaMA 2's
 * downloads have it. *owned* (pc_free); NULL when there is none, or memory is out. */
char *pc_meta_vocabulary(const char *dir);

#endif
