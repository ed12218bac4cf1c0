// SPDX-License-Identifier: Apache-2.0
/* Words are short, so the usual case is a scan for the lowest rank over small arrays on the stack. A long one
 * (a megabyte without a space) goes through a linked list and an agenda of (rank, position): an entry is
 * stale when its position no longer has that rank to its right, which needs no other bookkeeping. */
#include "tokenizer/bpe.h"

#include "base/memory.h"

#include <string.h>

enum { SHORT = 48, NONE = UINT32_MAX };

/* ---- the table ---- */

bool pc_pairs_reserve(struct pc_pairs *p, size_t n)
{
    size_t capacity = p->capacity ? p->capacity : 16;
    if (n > SIZE_MAX / 4)
        return false;
    while (capacity / 2 < n)
        capacity *= 2;
    if (capacity == p->capacity)
        return true;
    struct pc_pairs grown = {pc_alloc_zero(capacity, sizeof *p->slots), 0, capacity, pc_hash_seed()};
    if (!grown.slots)
        return false;
    for (size_t i = 0; i < p->capacity; i++) {
        const struct pc_pair *s = &p->slots[i];
        if (s->key)
            pc_pairs_set(
                &grown, (int32_t)((s->key - 1) >> 32), (int32_t)(uint32_t)(s->key - 1), s->rank, s->id);
    }
    pc_free(p->slots);
    *p = grown;
    return true;
}

bool pc_pairs_set(struct pc_pairs *p, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    if (!pc_pairs_reserve(p, p->n + 1))
        return false;
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
    uint64_t i = pc_hash_u64(key, p->seed) & (p->capacity - 1);
    while (p->slots[i].key && p->slots[i].key != key)
        i = (i + 1) & (p->capacity - 1);
    p->n += p->slots[i].key == 0;
    p->slots[i] = (struct pc_pair){key, rank, id};
    return true;
}

void pc_pairs_release(struct pc_pairs *p)
{
    pc_free(p->slots);
    *p = (struct pc_pairs){0};
}

/* ---- one pair ---- */

struct pair {
    uint32_t rank;
    int32_t id;
};

static struct pair by_text(const struct pc_merger *m, const char *text, size_t len)
{
    uint32_t id;
    if (!m->by_text || !pc_map_get(m->by_text, text, len, &id) || m->ranks[id] == PC_NO_RANK)
        return (struct pair){PC_NO_RANK, -1};
    return (struct pair){m->ranks[id], (int32_t)id};
}

/* What left, which begins at byte start, and right, which ends before byte end, merge into. */
static inline struct pair look(const struct pc_merger *m, const char *text, int32_t left, int32_t right,
    uint32_t start, uint32_t middle, uint32_t end)
{
    struct pair found = {PC_NO_RANK, -1};
    if (left >= 0 && right >= 0) {
        const struct pc_pair *p = pc_pairs_get(m->pairs, left, right);
        if (p)
            found = (struct pair){p->rank, p->id};
    } else {
        found = by_text(m, text + start, end - start);
    }
    if (m->last_left && found.id >= 0)
        m->last_left[found.id] = middle - start;
    return found;
}

/* ---- short words ---- */

static size_t merge_short(
    const struct pc_merger *m, const char *text, uint32_t len, struct pc_part *parts, size_t n)
{
    struct pair pairs[SHORT];
#define START(i) ((i) < n ? parts[i].start : len)
    for (size_t i = 0; i + 1 < n; i++)
        pairs[i] = look(m, text, parts[i].id, parts[i + 1].id, START(i), START(i + 1), START(i + 2));
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (pairs[i].rank < pairs[best].rank)
                best = i;
        if (pairs[best].rank == PC_NO_RANK)
            break;
        parts[best].id = pairs[best].id;
        memmove(&parts[best + 1], &parts[best + 2], (n - best - 2) * sizeof *parts);
        if (n - best > 2)
            memmove(&pairs[best], &pairs[best + 1], (n - best - 2) * sizeof *pairs);
        n--;
        if (best > 0)
            pairs[best - 1] = look(
                m, text, parts[best - 1].id, parts[best].id, START(best - 1), START(best), START(best + 1));
        if (best + 1 < n)
            pairs[best] = look(
                m, text, parts[best].id, parts[best + 1].id, START(best), START(best + 1), START(best + 2));
    }
#undef START
    return n;
}

/* ---- long words ---- */

struct node {
    int32_t id;
    uint32_t start, prev, next;
    struct pair pair; /* with the next one */
};

/* What may merge, as rank << 32 | position: the order wanted is the order of numbers. Most of it is known at
 * the start and is sorted once; what merges add goes to a heap, which stays small and so in the cache. */
struct agenda {
    uint64_t *sorted;
    size_t at, n_sorted;
    uint64_t *heap;
    size_t n_heap, capacity;
};

static uint64_t pop_heap(struct agenda *g)
{
    uint64_t top = g->heap[0], v = g->heap[--g->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= g->n_heap)
            break;
        child += child + 1 < g->n_heap && g->heap[child + 1] < g->heap[child];
        if (g->heap[child] >= v)
            break;
        g->heap[i] = g->heap[child];
        i = child;
    }
    g->heap[i] = v;
    return top;
}

static bool pop(struct agenda *g, uint64_t *out)
{
    bool sorted = g->at < g->n_sorted;
    if (g->n_heap && (!sorted || g->heap[0] < g->sorted[g->at]))
        *out = pop_heap(g);
    else if (sorted)
        *out = g->sorted[g->at++];
    else
        return false;
    return true;
}

static bool push(struct agenda *g, uint64_t v)
{
    if (g->n_heap == g->capacity) {
        uint64_t *heap = pc_realloc(g->heap, g->capacity * 2, sizeof *heap);
        if (!heap)
            return false;
        g->heap = heap;
        g->capacity *= 2;
    }
    size_t i = g->n_heap++;
    for (; i && g->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
        g->heap[i] = g->heap[(i - 1) / 2];
    g->heap[i] = v;
    return true;
}

/* By rank only: positions are in order already, and each pass keeps the order of equals. The heap's memory,
 * empty yet, is the second place. */
static void sort_by_rank(struct agenda *g)
{
    enum { BITS = 11, BUCKETS = 1 << BITS };
    uint64_t highest = 0;
    for (size_t i = 0; i < g->n_sorted; i++)
        highest = g->sorted[i] > highest ? g->sorted[i] : highest;
    for (unsigned shift = 32; shift < 64 && highest >> shift; shift += BITS) {
        size_t starts[BUCKETS + 1] = {0};
        for (size_t i = 0; i < g->n_sorted; i++)
            starts[(g->sorted[i] >> shift) % BUCKETS + 1]++;
        for (size_t i = 0; i < BUCKETS; i++)
            starts[i + 1] += starts[i];
        for (size_t i = 0; i < g->n_sorted; i++)
            g->heap[starts[(g->sorted[i] >> shift) % BUCKETS]++] = g->sorted[i];
        uint64_t *swap = g->sorted;
        g->sorted = g->heap;
        g->heap = swap;
    }
}

struct work {
    const struct pc_merger *m;
    const char *text;
    uint32_t len;
    struct node *nodes;
    struct agenda agenda;
};

static uint32_t end_of(const struct work *w, uint32_t i)
{
    uint32_t next = w->nodes[i].next;
    return next == NONE ? w->len : w->nodes[next].start;
}

static void pair_up(struct work *w, uint32_t i)
{
    struct node *a = &w->nodes[i];
    a->pair = (struct pair){PC_NO_RANK, -1};
    if (a->next == NONE)
        return;
    const struct node *b = &w->nodes[a->next];
    a->pair = look(w->m, w->text, a->id, b->id, a->start, b->start, end_of(w, a->next));
}

static bool push_pair(struct work *w, uint32_t i)
{
    pair_up(w, i);
    const uint32_t rank = w->nodes[i].pair.rank;
    return rank == PC_NO_RANK || push(&w->agenda, (uint64_t)rank << 32 | i);
}

static bool run(struct work *w)
{
    uint64_t top;
    while (pop(&w->agenda, &top)) {
        uint32_t i = (uint32_t)top;
        struct node *a = &w->nodes[i];
        if (a->pair.rank != top >> 32)
            continue;
        struct node *b = &w->nodes[a->next];
        a->id = a->pair.id;
        a->next = b->next;
        b->pair.rank = PC_NO_RANK;
        if (a->next != NONE)
            w->nodes[a->next].prev = i;
        if ((a->prev != NONE && !push_pair(w, a->prev)) || !push_pair(w, i))
            return false;
    }
    return true;
}

static void fill(struct work *w, const struct pc_part *parts, size_t n)
{
    struct agenda *g = &w->agenda;
    for (uint32_t i = 0; i < n; i++)
        w->nodes[i] =
            (struct node){parts[i].id, parts[i].start, i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE, {0, 0}};
    for (uint32_t i = 0; i < n; i++) {
        pair_up(w, i);
        if (w->nodes[i].pair.rank != PC_NO_RANK)
            g->sorted[g->n_sorted++] = (uint64_t)w->nodes[i].pair.rank << 32 | i;
    }
    sort_by_rank(g);
}

static int64_t merge_long(const struct pc_merger *m, const char *text, uint32_t len, struct pc_part *parts,
    size_t n, struct paco_error *err)
{
    struct work w = {m, text, len, pc_alloc(n, sizeof *w.nodes),
        {.sorted = pc_alloc(n, sizeof *w.agenda.sorted),
            .heap = pc_alloc(n, sizeof *w.agenda.heap),
            .capacity = n}};
    int64_t left = PACO_EMEM;
    if (w.nodes && w.agenda.sorted && w.agenda.heap) {
        fill(&w, parts, n);
        left = run(&w) ? 0 : PACO_EMEM;
    }
    for (uint32_t i = 0; left >= 0 && i != NONE; i = w.nodes[i].next)
        parts[left++] = (struct pc_part){w.nodes[i].id, w.nodes[i].start};
    if (left < 0)
        pc_error_mem(err, n * sizeof *w.nodes, "a long word");
    pc_free(w.nodes);
    pc_free(w.agenda.sorted);
    pc_free(w.agenda.heap);
    return left;
}

int64_t pc_merge(const struct pc_merger *m, const char *text, size_t len, struct pc_part *parts, size_t n,
    struct paco_error *err)
{
    if (n < 2)
        return (int64_t)n;
    if (n <= SHORT)
        return (int64_t)merge_short(m, text, (uint32_t)len, parts, n);
    return merge_long(m, text, (uint32_t)len, parts, n, err);
}
