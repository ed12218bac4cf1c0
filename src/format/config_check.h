// SPDX-License-Identifier: Apache-2.0
/* What the readers of a struct pc_config, config.json's, GGUF's and Meta's, share. */
#ifndef PC_FORMAT_CONFIG_CHECK_H
#define PC_FORMAT_CONFIG_CHECK_H

#include "format/config.h"

#include <jansson.h>

/* Far above any model there is, low enough that products of two fit 64 bits and sizes can be computed. */
enum {
    PC_CONFIG_MAX_LAYERS = 1000,
    PC_CONFIG_MAX_WIDTH = 1 << 20,
    PC_CONFIG_MAX_HEADS = 1 << 14,
    PC_CONFIG_MAX_HEAD_DIM = 1 << 14,
    PC_CONFIG_MAX_VOCAB = 1 << 24,
    PC_CONFIG_MAX_POSITIONS = 1 << 24,
};

/** LlamaConfig's defaults for what a file may leave out; the sizes are 0, token ids none. */
void pc_config_defaults(struct pc_config *c);

/** Derive what may be left out (key/value heads, head size) and check the sizes against each other. */
int pc_config_check(struct pc_config *c, struct paco_error *err);

/** The shortest decimal that reads back as the same float, as a double: 1e-5f is written 1e-05,
 * not 9.99999974e-06. NULL when memory is out. */
json_t *pc_json_short_real(float x);

#endif
