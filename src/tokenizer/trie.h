// SPDX-License-Identifier: Apache-2.0
/* A set of byte strings that answers "which of them start here": a trie whose edges live in one hash table.
 */
#ifndef PC_TOKENIZER_TRIE_H
#define PC_TOKENIZER_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_trie_edge {
    uint64_t key; /* node << 8 | byte, plus one; 0 is an empty slot */
    uint32_t child;
};

/** `{0}` is a valid empty trie. Node 0 is the root. */
struct pc_trie {
    struct pc_trie_edge *edges;
    size_t n_edges, capacity;
    uint64_t seed;
    int32_t *values; /* by node; -1 where no string ends */
    size_t n_nodes, nodes_capacity;
    bool starts[256]; /* bytes a string may begin with */
};

/** Add a string with a value >= 0; one that is there keeps its value. False when memory is out, or past 2^31
 * nodes. */
bool pc_trie_add(struct pc_trie *t, const char *text, size_t len, int32_t value);
void pc_trie_release(struct pc_trie *t);

/** The node behind byte, or -1. */
int64_t pc_trie_step(const struct pc_trie *t, uint32_t node, uint8_t byte);

/** The longest string of t at the start of text: its length (0 when there is none) and *value. */
size_t pc_trie_longest(const struct pc_trie *t, const char *text, size_t len, int32_t *value);

#endif
