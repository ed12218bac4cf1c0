// SPDX-License-Identifier: Apache-2.0
/* Which of a repository's files are wanted. Repositories hold the same weights several times, for this
 * program and for others; a download takes them once.
 *
 * Without patterns: every file but the weights that are there in a better form (safetensors before PyTorch's
 * .bin before GGUF before Meta's .pth; a model's and an adapter's each for itself), weights in folders when
 * there are some beside the configuration (original/, onnx/, checkpoint-500/), the formats of other programs
 * (TensorFlow, Flax, ONNX, Core ML, OpenVINO, rust), and the state that a training needs to go on. */
#ifndef PC_NET_HUB_CHOICE_H
#define PC_NET_HUB_CHOICE_H

#include "base/notes.h"
#include "base/options.h"
#include "net/hub.h"

/** Patterns are as huggingface_hub's: fnmatch's, where * matches slashes, too, and "folder/" all in it.
 * include (n = 0: as above) stands for the rules; what exclude matches is left out in any case. */
struct pc_hub_wishes {
    struct pc_strings include, exclude;
};

/** Set keep[i] for each file of repo; a note says of each kind what was left out, and what would take it.
 *  PACO_ENOENT: nothing is left, or a pattern of include matches nothing. PACO_EINVAL: several GGUF models
 * and no word about which, with their names. */
int pc_hub_choose(const struct pc_hub_repo *repo, const struct pc_hub_wishes *wishes, bool *keep,
    struct pc_notes *notes, struct paco_error *err);

#endif
