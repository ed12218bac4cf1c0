// SPDX-License-Identifier: Apache-2.0
/* A tree of blocks under one root, its children found through a hash table and walked as a list.
 *
 * Whenever a block is used it moves to the front of the list of use, and then its parent, and so on to the
 * root: so a block is always behind its parent there, the last one never has children, and evicting the last
 * one never leaves a block without its beginning. */
#include "engine/prefix.h"

#include "base/map.h"
#include "base/memory.h"
#include "engine/variant_parts.h"

#include <assert.h>
#include <string.h>

struct node {
    struct pc_kv_page *page;
    struct node *parent, *child, *sibling; /* child: the first one; siblings in no order */
    struct node *newer, *older;            /* by last use */
    struct node *bucket;                   /* the next one of the same hash; free nodes too */
    uint64_t hash, variant;
    int32_t ids[PC_KV_BLOCK];
};

struct pc_prefix {
    struct pc_kv_pool *pages;
    struct node *nodes, **buckets, *unused;
    struct node root; /* holds no block */
    struct node *newest, *oldest;
    size_t n_buckets; /* a power of two */
    uint64_t seed;
    struct pc_prefix_stats stats;
};

int pc_prefix_new(struct pc_kv_pool *pages, uint64_t size, struct pc_prefix **out, struct paco_error *err)
{
    uint64_t n = size / pages->page_size;
    *out = NULL;
    if (n == 0)
        return 0;
    struct pc_prefix *p = pc_alloc_zero(1, sizeof *p);
    if (!p)
        return pc_error_mem(err, sizeof *p, "a cache of beginnings");
    p->n_buckets = 16;
    while (p->n_buckets < n)
        p->n_buckets *= 2;
    p->nodes = pc_alloc_zero(n, sizeof *p->nodes);
    p->buckets = pc_alloc_zero(p->n_buckets, sizeof *p->buckets);
    int rc = p->nodes && p->buckets ? pc_kv_reserve(pages, n, err)
                                    : pc_error_mem(err, n * sizeof *p->nodes, "a cache of beginnings");
    if (rc < 0) {
        pc_free(p->nodes);
        pc_free(p->buckets);
        pc_free(p);
        return rc;
    }
    p->pages = pages;
    p->seed = pc_hash_seed();
    p->stats.max_blocks = n;
    for (uint64_t i = n; i-- > 0; p->unused = &p->nodes[i])
        p->nodes[i].bucket = p->unused;
    *out = p;
    return 0;
}

void pc_prefix_free(struct pc_prefix *p)
{
    if (!p)
        return;
    for (struct node *n = p->newest; n; n = n->older)
        pc_kv_drop(p->pages, n->page);
    pc_kv_unreserve(p->pages, p->stats.max_blocks);
    pc_free(p->nodes);
    pc_free(p->buckets);
    pc_free(p);
}

/* ---- the order of use ---- */

static void unlink_use(struct pc_prefix *p, struct node *n)
{
    *(n->newer ? &n->newer->older : &p->newest) = n->older;
    *(n->older ? &n->older->newer : &p->oldest) = n->newer;
}

static void link_newest(struct pc_prefix *p, struct node *n)
{
    n->newer = NULL;
    n->older = p->newest;
    *(p->newest ? &p->newest->newer : &p->oldest) = n;
    p->newest = n;
}

static void use(struct pc_prefix *p, struct node *n)
{
    for (; n != &p->root; n = n->parent) {
        unlink_use(p, n);
        link_newest(p, n);
    }
}

/* ---- finding ---- */

static uint64_t hash_of(
    const struct pc_prefix *p, const struct node *parent, uint64_t variant, const int32_t *ids)
{
    uint64_t h = parent->hash + variant;
    for (int i = 0; i < PC_KV_BLOCK; i++)
        h = pc_hash_u64(h + (uint32_t)ids[i], p->seed);
    return h;
}

static struct node *find(
    const struct pc_prefix *p, const struct node *parent, uint64_t variant, const int32_t *ids, uint64_t hash)
{
    struct node *n = p->buckets[hash & (p->n_buckets - 1)];
    while (n && (n->hash != hash || n->parent != parent || n->variant != variant ||
                    memcmp(n->ids, ids, sizeof n->ids) != 0))
        n = n->bucket;
    return n;
}

/* The child that agrees longest with n ids, fewer than a block of which may be there; how long in *same. */
static struct node *find_part(
    const struct node *parent, uint64_t variant, const int32_t *ids, size_t n, size_t *same)
{
    struct node *best = NULL;
    *same = 0;
    n = n < PC_KV_BLOCK ? n : PC_KV_BLOCK;
    for (struct node *c = parent->child; c; c = c->sibling) {
        size_t k = 0;
        while (k < n && c->variant == variant && c->ids[k] == ids[k])
            k++;
        if (k > *same) {
            *same = k;
            best = c;
        }
    }
    return best;
}

static void attach_page(struct pc_seq *seq, struct pc_kv_page *page, size_t n)
{
    seq->pages[seq->n_pages++] = pc_kv_share(page);
    seq->length += (int32_t)n;
}

/* The last block that n ids are known by, in part perhaps; how many of them in *known. Blocks found on the
 * way are given to seq, unless that is NULL. */
static struct node *walk(
    struct pc_prefix *p, struct pc_seq *seq, uint64_t variant, const int32_t *ids, size_t n, size_t *known)
{
    struct node *at = &p->root, *next;
    size_t done = 0, same;
    for (; n - done >= PC_KV_BLOCK; done += PC_KV_BLOCK, at = next) {
        next = find(p, at, variant, ids + done, hash_of(p, at, variant, ids + done));
        if (!next)
            break;
        if (seq)
            attach_page(seq, next->page, PC_KV_BLOCK);
    }
    next = find_part(at, variant, ids + done, n - done, &same);
    if (next && seq)
        attach_page(seq, next->page, same);
    *known = done + same;
    return next ? next : at;
}

int32_t pc_prefix_find(
    const struct pc_engine *engine, const struct pc_variant *variant, const int32_t *ids, size_t n)
{
    size_t known = 0;
    if (engine->prefix)
        walk(engine->prefix, NULL, pc_variant_id(variant), ids, n, &known);
    return (int32_t)known;
}

int32_t pc_prefix_attach(struct pc_seq *seq, const struct pc_variant *variant, const int32_t *ids, size_t n)
{
    struct pc_prefix *p = seq->engine->prefix;
    size_t known;
    pc_seq_truncate(seq, 0);
    if (!p)
        return 0;
    seq->variant = pc_variant_id(variant);
    p->stats.n_asked += n;
    use(p, walk(p, seq, seq->variant, ids, n < (size_t)seq->capacity ? n : (size_t)seq->capacity, &known));
    p->stats.n_attached += known;
    return seq->length;
}

/* ---- keeping ---- */

static void unlink_bucket(struct pc_prefix *p, const struct node *n)
{
    struct node **at = &p->buckets[n->hash & (p->n_buckets - 1)];
    while (*at != n)
        at = &(*at)->bucket;
    *at = n->bucket;
}

static void unlink_child(const struct node *n)
{
    struct node **at = &n->parent->child;
    while (*at != n)
        at = &(*at)->sibling;
    *at = n->sibling;
}

/* Take the block longest unused out of everything; NULL when that is keep. */
static struct node *evict(struct pc_prefix *p, const struct node *keep)
{
    struct node *n = p->oldest;
    if (n == keep)
        return NULL;
    assert(n && !n->child);
    unlink_bucket(p, n);
    unlink_child(n);
    unlink_use(p, n);
    pc_kv_drop(p->pages, n->page);
    p->stats.n_blocks--;
    p->stats.n_evicted++;
    return n;
}

static struct node *add(
    struct pc_prefix *p, struct node *parent, uint64_t variant, const int32_t *ids, uint64_t hash)
{
    struct node *n = p->unused;
    if (n)
        p->unused = n->bucket;
    else
        n = evict(p, parent);
    if (!n)
        return NULL;
    struct node **bucket = &p->buckets[hash & (p->n_buckets - 1)];
    *n = (struct node){
        .parent = parent, .sibling = parent->child, .bucket = *bucket, .hash = hash, .variant = variant};
    memcpy(n->ids, ids, sizeof n->ids);
    *bucket = parent->child = n;
    link_newest(p, n);
    p->stats.n_blocks++;
    return n;
}

void pc_prefix_keep(struct pc_seq *seq, const int32_t *ids, size_t n)
{
    struct pc_prefix *p = seq->engine->prefix;
    struct node *at = p ? &p->root : NULL;
    n = n < (size_t)seq->length ? n : (size_t)seq->length;
    for (size_t i = 0; p && i < n / PC_KV_BLOCK; i++, ids += PC_KV_BLOCK) {
        uint64_t hash = hash_of(p, at, seq->variant, ids);
        struct node *next = find(p, at, seq->variant, ids, hash);
        if (!next) {
            next = add(p, at, seq->variant, ids, hash);
            if (!next)
                return; /* the beginning alone fills the cache */
            next->page = pc_kv_share(seq->pages[i]);
        }
        at = next;
        use(p, at);
    }
}

struct pc_prefix_stats pc_prefix_stats(const struct pc_engine *engine)
{
    return engine->prefix ? engine->prefix->stats : (struct pc_prefix_stats){0};
}
