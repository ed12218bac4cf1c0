// SPDX-License-Identifier: Apache-2.0
/* The keys of the objects that are open while JSON is read token by token: whether one comes twice. */
#ifndef PC_BASE_JSON_KEYS_H
#define PC_BASE_JSON_KEYS_H

#include "base/buf.h"
#include "base/json.h"

/** One object's keys: a run of `names`, and once they are many a table of where each begins there. */
struct pc_json_level {
    size_t first; /* in names */
    uint32_t n, capacity;
    uint32_t *slots; /* offset in names + 1, 0: free; NULL while the keys are few */
};

struct pc_json_keys {
    struct pc_buf names; /* of every key that counts, outermost object first: its length, its bytes */
    struct pc_json_level levels[PC_JSON_MAX_DEPTH];
    int depth;
};

/** No object open; names may grow to max bytes, at most 2 GiB. */
void pc_json_keys_init(struct pc_json_keys *k, size_t max);
void pc_json_keys_release(struct pc_json_keys *k);

/** An object begins (PC_JSON_MAX_DEPTH of them at most, the caller sees to it), or the innermost ends. */
void pc_json_keys_open(struct pc_json_keys *k);
void pc_json_keys_close(struct pc_json_keys *k);

/** Add a key to the innermost object. 1, or 0 if it was there, or -1 when memory or max is exhausted. */
int pc_json_keys_add(struct pc_json_keys *k, const char *key, size_t len);

#endif
