// SPDX-License-Identifier: Apache-2.0
/* The tables of several checkpoints as one: the shards of a model. */
#ifndef PC_FORMAT_MERGE_H
#define PC_FORMAT_MERGE_H

#include "format/checkpoint.h"

/** Put the tensors of n parts behind each other in *out, parts in the given order, each in its own. take,
 * unless NULL, says whether a tensor of part i is wanted; a name wanted twice is PACO_EFORMAT.
 *
 *  Whatever happens the parts become *out's, or are closed; the array stays the caller's. kind is static,
 * path the directory or index for messages. A read, map or `where` of the result is that of the part. */
int pc_checkpoint_merge(const char *kind, const char *path, struct pc_checkpoint **parts, size_t n,
    bool (*take)(void *ctx, size_t i_part, const struct pc_tensor *t), void *ctx, struct pc_checkpoint **out,
    struct paco_error *err);

#endif
