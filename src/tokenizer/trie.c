// SPDX-License-Identifier: Apache-2.0
/* Added tokens are few and unigram pieces a few ten thousand, so a hash table of edges is as quick as a
 * double array and has no construction to get wrong. The hash is seeded: a file cannot choose its collisions.
 */
#include "tokenizer/trie.h"

#include "base/map.h"
#include "base/memory.h"

static uint64_t slot_of(const struct pc_trie *t, uint64_t key)
{
    return pc_hash_u64(key, t->seed) & (t->capacity - 1);
}

static struct pc_trie_edge *find(const struct pc_trie *t, uint64_t key)
{
    for (uint64_t i = slot_of(t, key);; i = (i + 1) & (t->capacity - 1))
        if (t->edges[i].key == 0 || t->edges[i].key == key)
            return &t->edges[i];
}

static bool grow_edges(struct pc_trie *t)
{
    struct pc_trie grown = *t;
    grown.capacity = t->capacity ? t->capacity * 2 : 64;
    grown.edges = pc_alloc_zero(grown.capacity, sizeof *grown.edges);
    if (!grown.edges)
        return false;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->edges[i].key)
            *find(&grown, t->edges[i].key) = t->edges[i];
    pc_free(t->edges);
    *t = grown;
    return true;
}

static bool new_node(struct pc_trie *t)
{
    if (t->n_nodes > INT32_MAX / 2 ||
        pc_grow(&t->values, &t->nodes_capacity, t->n_nodes, sizeof *t->values, "a trie", NULL) < 0)
        return false;
    t->values[t->n_nodes++] = -1;
    return true;
}

bool pc_trie_add(struct pc_trie *t, const char *text, size_t len, int32_t value)
{
    if (t->n_nodes == 0 && !new_node(t))
        return false;
    t->seed = pc_hash_seed();
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        if (t->n_edges + 1 > t->capacity / 2 && !grow_edges(t))
            return false;
        uint64_t key = ((uint64_t)node << 8 | (uint8_t)text[i]) + 1;
        struct pc_trie_edge *e = find(t, key);
        if (!e->key) {
            if (!new_node(t))
                return false;
            *e = (struct pc_trie_edge){key, (uint32_t)(t->n_nodes - 1)};
            t->n_edges++;
        }
        node = e->child;
    }
    if (len)
        t->starts[(uint8_t)text[0]] = true;
    if (t->values[node] < 0)
        t->values[node] = value;
    return true;
}

void pc_trie_release(struct pc_trie *t)
{
    pc_free(t->edges);
    pc_free(t->values);
    *t = (struct pc_trie){0};
}

int64_t pc_trie_step(const struct pc_trie *t, uint32_t node, uint8_t byte)
{
    if (!t->capacity)
        return -1;
    const struct pc_trie_edge *e = find(t, ((uint64_t)node << 8 | byte) + 1);
    return e->key ? (int64_t)e->child : -1;
}

size_t pc_trie_longest(const struct pc_trie *t, const char *text, size_t len, int32_t *value)
{
    size_t best = 0;
    if (!len || !t->starts[(uint8_t)text[0]])
        return 0;
    int64_t node = 0;
    for (size_t i = 0; i < len; i++) {
        node = pc_trie_step(t, (uint32_t)node, (uint8_t)text[i]);
        if (node < 0)
            break;
        if (t->values[node] >= 0) {
            best = i + 1;
            *value = t->values[node];
        }
    }
    return best;
}
