// SPDX-License-Identifier: Apache-2.0
/* The Hugging Face cache, read in place: HUB/models--ORG--NAME/{refs,snapshots}. */
#ifndef PC_WEIGHTS_HUB_CACHE_H
#define PC_WEIGHTS_HUB_CACHE_H

#include "base/error.h"

#include <stdbool.h>

/** True if name could be a model's on the hub: "name", "org/name", either with "@revision",
 * which may be a ref with slashes. */
bool pc_hub_is_name(const char *name);

/** The cache's directory as huggingface_hub finds it, owned (pc_free): HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE,
 * HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, HOME/.cache/huggingface/hub. NULL when none is set or memory
 * is out. */
char *pc_hub_cache_dir(void);

/** HUB/models--ORG--NAME, whether it is there or not, and the revision that name asks for ("main" by default;
 * a view). Owned (pc_free); NULL when memory is out. */
char *pc_hub_cache_model_dir(const char *hub, const char *name, const char **revision);

/** The snapshot directory of name, owned (pc_free). The revision is looked up in refs (default "main"), or is
 * a snapshot's own name; a cache with a single snapshot needs no ref. NULL with err set: PACO_ENOENT, saying
 * what was looked for. */
char *pc_hub_cache_find(const char *name, struct paco_error *err);

#endif
