// SPDX-License-Identifier: Apache-2.0
/* What Meta's files call LLaMA's tensors, and along what they are cut among the machines: what the reader
 * (meta_layout.h) and the writer (meta_out.h) share. docs/formats/meta.md. */
#ifndef PC_WEIGHTS_META_NAMES_H
#define PC_WEIGHTS_META_NAMES_H

#include "format/config.h"

/** How a tensor is cut. LLaMA cuts the embedding's columns, LLaMA 3 its rows. */
enum pc_meta_cut { PC_META_WHOLE, PC_META_ROWS, PC_META_COLUMNS, PC_META_EMBEDDING };
/** What its whole has rows and columns of: LLaMA's widths. */
enum pc_meta_extent {
    PC_META_NONE,
    PC_META_WIDTH,
    PC_META_INNER,
    PC_META_QUERIES,
    PC_META_KEYS,
    PC_META_VOCAB
};

/** One of each layer's tensors, or of those outside: names without "layers.N." and "model.layers.N.". */
struct pc_meta_kind {
    const char *meta, *hf;
    enum pc_meta_cut cut;
    enum pc_meta_extent rows, columns;
};

enum { PC_META_GLOBAL_KINDS = 3, PC_META_LAYER_KINDS = 9, PC_META_NAME_ROOM = 64 };

extern const struct pc_meta_kind pc_meta_global[PC_META_GLOBAL_KINDS];
extern const struct pc_meta_kind pc_meta_layer[PC_META_LAYER_KINDS];

/** What Meta calls name, and Hugging Face's name for it in out; NULL for what LLaMA does not have. */
const struct pc_meta_kind *pc_meta_kind_of(const char *name, char out[PC_META_NAME_ROOM]);
/** The same the other way: name is Hugging Face's, out gets Meta's. */
const struct pc_meta_kind *pc_meta_kind_of_hf(const char *name, char out[PC_META_NAME_ROOM]);

/** The size in a model of config; 0 for PC_META_NONE. */
uint64_t pc_meta_extent(const struct pc_config *config, enum pc_meta_extent e);

#endif
