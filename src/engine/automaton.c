// SPDX-License-Identifier: Apache-2.0
#include "engine/automaton.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char WHAT[] = "an automaton";
static const uint32_t NONE = UINT32_MAX;

/* ---- keys and numbers ---- */

void pc_interner_release(struct pc_interner *t)
{
    pc_free(t->bytes);
    pc_free(t->starts);
    pc_free(t->slots);
    *t = (struct pc_interner){0};
}

static uint64_t hash_of(const void *key, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); // FNV-1a
    for (size_t i = 0; i < len; i++)
        h = (h ^ ((const uint8_t *)key)[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static uint32_t *slot_of(const struct pc_interner *t, const void *key, size_t len)
{
    for (uint64_t i = hash_of(key, len);; i++) {
        uint32_t *slot = &t->slots[i % t->n_slots];
        if (!*slot)
            return slot;
        size_t at = t->starts[*slot - 1];
        if (t->starts[*slot] - at == len && memcmp(t->bytes + at, key, len) == 0)
            return slot;
    }
}

static int grow_slots(struct pc_interner *t, struct paco_error *err)
{
    size_t n = t->n_slots ? t->n_slots * 2 : 64;
    uint32_t *slots = pc_alloc_zero(n, sizeof *slots);
    if (!slots)
        return pc_error_mem(err, n * sizeof *slots, WHAT);
    pc_free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    for (size_t i = 0; i < t->n; i++)
        *slot_of(t, t->bytes + t->starts[i], t->starts[i + 1] - t->starts[i]) = (uint32_t)i + 1;
    return 0;
}

int pc_intern(struct pc_interner *t, const void *key, size_t len, uint32_t *number, struct paco_error *err)
{
    if (t->n * 2 >= t->n_slots && grow_slots(t, err) < 0)
        return PACO_EMEM;
    uint32_t *slot = slot_of(t, key, len);
    if (*slot) {
        *number = *slot - 1;
        return 0;
    }
    if (pc_grow(&t->starts, &t->starts_capacity, t->n + 1, sizeof *t->starts, WHAT, err) < 0)
        return PACO_EMEM;
    if (t->len + len > t->bytes_capacity || !t->bytes) {
        size_t capacity = (t->len + len + 64) * 2;
        char *bytes = pc_realloc(t->bytes, capacity, 1);
        if (!bytes)
            return pc_error_mem(err, capacity, WHAT);
        t->bytes = bytes;
        t->bytes_capacity = capacity;
    }
    memcpy(t->bytes + t->len, key, len);
    t->starts[t->n] = t->len;
    t->len += len;
    t->starts[t->n + 1] = t->len;
    *number = (uint32_t)t->n++;
    *slot = *number + 1;
    return 0;
}

/* ---- automata ---- */

void pc_automaton_release(struct pc_automaton *a)
{
    pc_free(a->states);
    pc_free(a->edges);
    *a = (struct pc_automaton){0};
}

int pc_automaton_count(uint64_t *work, uint64_t n, struct paco_error *err)
{
    if (*work < n)
        return pc_error_set(err, PACO_ELIMIT, "what it allows takes too much work to find");
    *work -= n;
    return 0;
}

int pc_automaton_add_state(struct pc_automaton *a, bool accepts, struct paco_error *err)
{
    if (a->n_states == PC_AUTOMATON_MAX_STATES)
        return pc_error_set(err, PACO_ELIMIT, "what a string or number may be takes more than %d states",
            PC_AUTOMATON_MAX_STATES);
    if (pc_grow(&a->states, &a->states_capacity, a->n_states, sizeof *a->states, WHAT, err) < 0)
        return PACO_EMEM;
    a->states[a->n_states++] = (struct pc_auto_state){(uint32_t)a->n_edges, 0, accepts};
    return 0;
}

int pc_automaton_add_edge(
    struct pc_automaton *a, uint32_t first, uint32_t last, uint32_t to, struct paco_error *err)
{
    struct pc_auto_state *s = &a->states[a->n_states - 1];
    struct pc_auto_edge *before = s->n_edges ? &a->edges[a->n_edges - 1] : NULL;
    if (before && before->to == to && before->last + 1 == first) {
        before->last = last;
        return 0;
    }
    if (a->n_edges == PC_AUTOMATON_MAX_EDGES)
        return pc_error_set(err, PACO_ELIMIT, "what a string or number may be takes more than %d edges",
            PC_AUTOMATON_MAX_EDGES);
    if (pc_grow(&a->edges, &a->edges_capacity, a->n_edges, sizeof *a->edges, WHAT, err) < 0)
        return PACO_EMEM;
    a->edges[a->n_edges++] = (struct pc_auto_edge){first, last, to};
    s->n_edges++;
    return 0;
}

/* Mark the states that lead to the end, from the end on. came: for each state the edges that lead there, one
 * list behind the other. */
static void mark_live(
    const struct pc_automaton *a, uint32_t *live, uint32_t *starts, uint32_t *came, uint32_t *stack)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_edges; i++)
        starts[a->edges[i].to + 1]++;
    for (size_t i = 0; i < a->n_states; i++)
        starts[i + 1] += starts[i];
    for (size_t i = 0; i < a->n_states; i++)
        for (uint32_t k = 0; k < a->states[i].n_edges; k++)
            came[starts[a->edges[a->states[i].edge + k].to]++] = (uint32_t)i;
    // Each start has moved on to where the next list began.
    for (size_t i = 0; i < a->n_states; i++)
        if (a->states[i].accepts) {
            live[i] = 1;
            stack[n++] = (uint32_t)i;
        }
    while (n > 0) {
        uint32_t s = stack[--n];
        for (uint32_t k = s ? starts[s - 1] : 0; k < starts[s]; k++)
            if (!live[came[k]]) {
                live[came[k]] = 1;
                stack[n++] = came[k];
            }
    }
}

/* Leave the live states out of nothing but dead ones; live becomes their new numbers. */
static void drop_dead(struct pc_automaton *a, uint32_t *live)
{
    uint32_t n = 0, n_edges = 0;
    for (size_t i = 0; i < a->n_states; i++)
        live[i] = live[i] ? n++ : NONE;
    if (live[0] == NONE)
        n = 0;
    for (size_t i = 0; i < a->n_states && n > 0; i++) {
        struct pc_auto_state s = a->states[i];
        uint32_t begin = n_edges;
        if (live[i] == NONE)
            continue;
        for (uint32_t k = 0; k < s.n_edges; k++) {
            struct pc_auto_edge e = a->edges[s.edge + k];
            if (live[e.to] != NONE)
                a->edges[n_edges++] = (struct pc_auto_edge){e.first, e.last, live[e.to]};
        }
        a->states[live[i]] = (struct pc_auto_state){begin, n_edges - begin, s.accepts};
    }
    a->n_states = n;
    a->n_edges = n_edges;
}

int pc_automaton_trim(struct pc_automaton *a, struct paco_error *err)
{
    if (a->n_states == 0)
        return 0;
    uint32_t *live = pc_alloc_zero(a->n_states, sizeof *live),
             *starts = pc_alloc_zero(a->n_states + 1, sizeof *starts),
             *came = pc_alloc(a->n_edges, sizeof *came), *stack = pc_alloc(a->n_states, sizeof *stack);
    int rc = live && starts && came && stack ? 0 : pc_error_mem(err, a->n_edges, WHAT);
    if (rc == 0) {
        mark_live(a, live, starts, came, stack);
        drop_dead(a, live);
    }
    pc_free(live);
    pc_free(starts);
    pc_free(came);
    pc_free(stack);
    return rc;
}

int pc_automaton_of_length(uint32_t min, uint32_t max, struct pc_automaton *out, struct paco_error *err)
{
    uint32_t last = max == UINT32_MAX ? min : max;
    for (uint32_t i = 0; i <= last; i++) {
        int rc = pc_automaton_add_state(out, i >= min, err);
        if (rc == 0 && (i < last || max == UINT32_MAX))
            rc = pc_automaton_add_edge(out, 0, PC_LAST_CODE_POINT, i < last ? i + 1 : i, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- words ---- */

/* Words [first, end) have their first `depth` bytes in common. */
struct shared {
    size_t first, end, depth;
};

static int by_bytes(const void *a, const void *b)
{
    const struct pc_word *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* The state of shared: words that end here come first. */
static int add_shared(struct pc_automaton *a, struct shared **queue, size_t *n, size_t *capacity, size_t at,
    const struct pc_word *words, struct paco_error *err)
{
    struct shared s = (*queue)[at];
    bool accepts = false;
    for (; s.first < s.end && words[s.first].len == s.depth; s.first++)
        accepts = true;
    int rc = pc_automaton_add_state(a, accepts, err);
    while (rc == 0 && s.first < s.end) {
        const uint8_t *text = (const uint8_t *)words[s.first].text + s.depth;
        uint32_t cp;
        size_t len = pc_utf8_decode(text, words[s.first].len - s.depth, &cp), end = s.first;
        len = len ? len : 1;
        while (end < s.end && words[end].len >= s.depth + len &&
               memcmp(words[end].text + s.depth, text, len) == 0)
            end++;
        rc = pc_grow(queue, capacity, *n, sizeof **queue, WHAT, err);
        if (rc == 0)
            rc = pc_automaton_add_edge(a, cp, cp, (uint32_t)*n, err);
        if (rc == 0)
            (*queue)[(*n)++] = (struct shared){s.first, end, s.depth + len};
        s.first = end;
    }
    return rc;
}

int pc_automaton_of_words(
    struct pc_word *words, size_t n, uint64_t *work, struct pc_automaton *out, struct paco_error *err)
{
    struct shared *queue = NULL;
    size_t n_queue = 0, capacity = 0;
    if (n == 0)
        return 0;
    qsort(words, n, sizeof *words, by_bytes);
    int rc = pc_grow(&queue, &capacity, 0, sizeof *queue, WHAT, err);
    if (rc == 0)
        queue[n_queue++] = (struct shared){0, n, 0};
    for (size_t i = 0; rc == 0 && i < n_queue; i++) {
        rc = pc_automaton_count(work, 1 + queue[i].end - queue[i].first, err);
        if (rc == 0)
            rc = add_shared(out, &queue, &n_queue, &capacity, i, words, err);
    }
    pc_free(queue);
    return rc;
}

/* ---- two at once ---- */

/* Places in two automata; b NONE: the second does not go on. */
struct pair {
    uint32_t a, b;
};

struct product {
    const struct pc_automaton *a, *b;
    bool without;
    struct pc_interner pairs;
    struct pc_automaton *out;
    uint64_t *work;
    struct paco_error *err;
};

static int add_pair_edge(struct product *p, uint32_t first, uint32_t last, struct pair to)
{
    uint32_t number;
    int rc = pc_intern(&p->pairs, &to, sizeof to, &number, p->err);
    return rc < 0 ? rc : pc_automaton_add_edge(p->out, first, last, number, p->err);
}

/* One edge of a, cut where b's edges begin and end. */
static int cut_edge(struct product *p, const struct pc_auto_edge *e, uint32_t b)
{
    uint32_t at = e->first;
    const struct pc_auto_state *s = b == NONE ? NULL : &p->b->states[b];
    int rc = 0;
    for (uint32_t k = 0; rc == 0 && s && k < s->n_edges && at <= e->last; k++) {
        const struct pc_auto_edge *other = &p->b->edges[s->edge + k];
        rc = pc_automaton_count(p->work, 1, p->err);
        if (rc < 0 || other->last < at || other->first > e->last)
            continue;
        if (other->first > at && p->without)
            rc = add_pair_edge(p, at, other->first - 1, (struct pair){e->to, NONE});
        uint32_t first = other->first > at ? other->first : at,
                 last = other->last < e->last ? other->last : e->last;
        if (rc == 0)
            rc = add_pair_edge(p, first, last, (struct pair){e->to, other->to});
        at = last + 1;
    }
    if (rc == 0 && at <= e->last && p->without)
        rc = add_pair_edge(p, at, e->last, (struct pair){e->to, NONE});
    return rc;
}

static int explore(struct product *p)
{
    struct pair pair = {0, p->b->n_states ? 0 : NONE};
    uint32_t number;
    int rc = pc_intern(&p->pairs, &pair, sizeof pair, &number, p->err);
    for (size_t i = 0; rc == 0 && i < p->pairs.n; i++) {
        memcpy(&pair, p->pairs.bytes + i * sizeof pair, sizeof pair);
        const struct pc_auto_state *s = &p->a->states[pair.a];
        bool b_accepts = pair.b != NONE && p->b->states[pair.b].accepts;
        rc = pc_automaton_count(p->work, 1 + s->n_edges, p->err);
        if (rc == 0)
            rc = pc_automaton_add_state(p->out, s->accepts && b_accepts != p->without, p->err);
        for (uint32_t k = 0; rc == 0 && k < s->n_edges; k++)
            rc = cut_edge(p, &p->a->edges[s->edge + k], pair.b);
    }
    return rc;
}

static int combine(struct pc_automaton *a, const struct pc_automaton *b, bool without, uint64_t *work,
    struct paco_error *err)
{
    struct pc_automaton out = {0};
    struct product p = {.a = a, .b = b, .without = without, .out = &out, .work = work, .err = err};
    if (a->n_states == 0 || (without && b->n_states == 0))
        return 0;
    int rc = !without && b->n_states == 0 ? 0 : explore(&p);
    pc_interner_release(&p.pairs);
    if (rc == 0)
        rc = pc_automaton_trim(&out, err);
    if (rc < 0) {
        pc_automaton_release(&out);
        return rc;
    }
    pc_automaton_release(a);
    *a = out;
    return 0;
}

int pc_automaton_both(
    struct pc_automaton *a, const struct pc_automaton *b, uint64_t *work, struct paco_error *err)
{
    return combine(a, b, false, work, err);
}

int pc_automaton_without(
    struct pc_automaton *a, const struct pc_automaton *b, uint64_t *work, struct paco_error *err)
{
    return combine(a, b, true, work, err);
}

bool pc_automaton_accepts(const struct pc_automaton *a, const char *text, size_t len)
{
    uint32_t state = a->n_states ? 0 : NONE;
    for (size_t i = 0; i < len && state != NONE;) {
        uint32_t cp, to = NONE;
        size_t n = pc_utf8_decode((const uint8_t *)text + i, len - i, &cp);
        const struct pc_auto_state *s = &a->states[state];
        uint32_t first = s->edge, end = n ? s->edge + s->n_edges : first;
        while (first < end) {
            uint32_t middle = first + (end - first) / 2;
            if (a->edges[middle].last < cp)
                first = middle + 1;
            else
                end = middle;
        }
        if (n && first < s->edge + s->n_edges && a->edges[first].first <= cp)
            to = a->edges[first].to;
        state = to;
        i += n;
    }
    return state != NONE && a->states[state].accepts;
}
