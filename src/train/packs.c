// SPDX-License-Identifier: Apache-2.0
#include "train/packs.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define NONE UINT32_MAX

/* An epoch that training never reaches, and not the one that examples are held out in. */
#define PACKING_EPOCH (UINT64_MAX - 2)

/* Packs with room, in lists by how much: the latest first. */
struct rooms {
    uint32_t n;      /* lists */
    uint32_t *first; /* (n) of each, or NONE */
    uint32_t *next;  /* (examples) of a pack in its list */
    uint64_t *any;   /* bit i: list i has a pack */
};

static void put(struct rooms *r, uint32_t room, uint32_t i_pack)
{
    r->next[i_pack] = r->first[room];
    r->first[room] = i_pack;
    r->any[room / 64] |= UINT64_C(1) << room % 64;
}

/* Take out the pack with the least room that is at least this; its room in *room. NONE where none is. */
static uint32_t take(struct rooms *r, uint32_t least, uint32_t *room)
{
    uint32_t i = least / 64, i_last = (r->n - 1) / 64;
    uint64_t word = r->any[i] & ~UINT64_C(0) << least % 64;
    while (!word && i < i_last)
        word = r->any[++i];
    if (!word)
        return NONE;
    *room = i * 64 + (uint32_t)__builtin_ctzll(word);
    uint32_t i_pack = r->first[*room];
    r->first[*room] = r->next[i_pack];
    if (r->first[*room] == NONE)
        r->any[i] &= ~(UINT64_C(1) << *room % 64);
    return i_pack;
}

/* What packing works with: examples in the order they come, and the pack that each goes to. */
struct packing {
    uint32_t *order, *pack_of; /* (examples) */
    struct rooms rooms;
};

static int make_packing(struct packing *p, size_t n, uint32_t max_rows, struct paco_error *err)
{
    p->rooms.n = max_rows + 1;
    p->order = pc_alloc(n, sizeof *p->order);
    p->pack_of = pc_alloc(n, sizeof *p->pack_of);
    p->rooms.next = pc_alloc(n, sizeof *p->rooms.next);
    p->rooms.first = pc_alloc(p->rooms.n, sizeof *p->rooms.first);
    p->rooms.any = pc_alloc_zero(p->rooms.n / 64 + 1, sizeof *p->rooms.any);
    if (!p->order || !p->pack_of || !p->rooms.next || !p->rooms.first || !p->rooms.any)
        return pc_error_mem(err, n * 3 * sizeof *p->order, "packing the examples");
    memset(p->rooms.first, 0xff, p->rooms.n * sizeof *p->rooms.first);
    return 0;
}

static void release_packing(struct packing *p)
{
    pc_free(p->order);
    pc_free(p->pack_of);
    pc_free(p->rooms.next);
    pc_free(p->rooms.first);
    pc_free(p->rooms.any);
}

/* Choose a pack for each example. Returns how many there are. */
static size_t choose(struct packing *p, const struct pc_examples *set, uint32_t max_rows, bool shuffle)
{
    uint32_t n_packs = 0, latest = 0; /* latest: the room of the last pack, where only that one is open */
    for (size_t i = 0; i < set->n; i++) {
        uint32_t n = pc_example_at(set, p->order[i])->n_ids, room = latest, i_pack;
        if (shuffle)
            i_pack = take(&p->rooms, n, &room);
        else
            i_pack = n <= latest ? n_packs - 1 : NONE;
        if (i_pack == NONE) {
            i_pack = n_packs++;
            room = max_rows;
        }
        assert(n <= room);
        p->pack_of[i] = i_pack;
        latest = room - n;
        if (shuffle)
            put(&p->rooms, latest, i_pack);
    }
    return n_packs;
}

/* Examples pack after pack: at counts those of each, then those before it, then those placed. */
static int place(
    const struct packing *p, size_t n_examples, size_t n, struct pc_packs *out, struct paco_error *err)
{
    uint32_t sum = 0;
    out->at = pc_alloc_zero(n + 1, sizeof *out->at);
    out->example = pc_alloc(n_examples, sizeof *out->example);
    if (!out->at || !out->example)
        return pc_error_mem(err, (n + n_examples) * sizeof *out->at, "packs of examples");
    for (size_t i = 0; i < n_examples; i++)
        out->at[p->pack_of[i]]++;
    for (size_t k = 0; k <= n; k++) {
        uint32_t count = out->at[k];
        out->most = count > out->most ? count : out->most;
        out->at[k] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n_examples; i++)
        out->example[out->at[p->pack_of[i]]++] = p->order[i];
    memmove(out->at + 1, out->at, n * sizeof *out->at); // each has become where the next begins
    out->at[0] = 0;
    out->n = n;
    out->n_examples = n_examples;
    return 0;
}

int pc_packs_make(const struct pc_examples *set, uint32_t max_rows, uint64_t seed, bool shuffle,
    struct pc_packs *out, struct paco_error *err)
{
    struct packing p = {.order = NULL};
    assert(set->n && set->longest <= max_rows && max_rows <= PC_EXAMPLES_MAX_LENGTH);
    *out = (struct pc_packs){.room = max_rows};
    int rc = make_packing(&p, set->n, max_rows, err);
    if (rc == 0) {
        pc_examples_order(seed, PACKING_EPOCH, shuffle, p.order, set->n);
        rc = place(&p, set->n, choose(&p, set, max_rows, shuffle), out, err);
    }
    release_packing(&p);
    return rc;
}

void pc_packs_release(struct pc_packs *packs)
{
    pc_free(packs->example);
    pc_free(packs->at);
    *packs = (struct pc_packs){0};
}

void pc_packs_order(const struct pc_packs *packs, uint64_t seed, uint64_t i_epoch, bool shuffle,
    uint32_t *order, uint32_t *at)
{
    uint32_t n = 0;
    pc_examples_order(seed, i_epoch, shuffle, at, packs->n);
    for (size_t k = 0; k < packs->n; k++) {
        uint32_t first = packs->at[at[k]], end = packs->at[at[k] + 1];
        at[k] = n;
        memcpy(order + n, packs->example + first, (end - first) * sizeof *order);
        n += end - first;
    }
    at[packs->n] = n;
}
