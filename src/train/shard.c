// SPDX-License-Identifier: Apache-2.0
#include "train/shard.h"

#include "base/memory.h"
#include "train/params.h"

#include <assert.h>

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The first chunk of rank in a group. Where chunks do not divide evenly some ranks have one more; whose turn
 * that is goes on from group to group, so that in the end nobody has more than one above another. */
static uint64_t first_chunk(const struct pc_shard *s, size_t i_group, int rank)
{
    uint64_t begin = s->group[i_group], n = s->group[i_group + 1] - begin, size = (uint64_t)s->size,
             r = (uint64_t)rank, turn = begin % size, stop = turn + n % size;
    uint64_t more = smaller(larger(r, turn), stop) - turn;
    if (stop > size)
        more += smaller(r, stop - size);
    return begin + n / size * r + more;
}

static void chunks_of(const struct pc_shard *s, size_t i_group, int rank, uint64_t *first, uint64_t *end)
{
    *first = first_chunk(s, i_group, rank);
    *end = first_chunk(s, i_group, rank + 1);
}

void pc_shard_range(const struct pc_shard *s, size_t i_group, int rank, uint64_t *first, uint64_t *end)
{
    chunks_of(s, i_group, rank, first, end);
    *first = smaller(*first * PC_PARAM_CHUNK, s->n_flat);
    *end = smaller(*end * PC_PARAM_CHUNK, s->n_flat);
}

int pc_shard_init(struct pc_shard *s, uint64_t n_flat, const uint64_t *begin, size_t n_groups, int rank,
    int size, struct paco_error *err)
{
    assert(n_groups && begin[0] == 0 && rank >= 0 && rank < size);
    *s = (struct pc_shard){.rank = rank, .size = size, .n_flat = n_flat, .n_groups = n_groups};
    s->n_chunks = n_flat / PC_PARAM_CHUNK + (n_flat % PC_PARAM_CHUNK != 0);
    s->group = pc_alloc(n_groups + 1, sizeof *s->group);
    s->local = pc_alloc(n_groups + 1, sizeof *s->local);
    if (!s->group || !s->local) {
        pc_shard_release(s);
        return pc_error_mem(err, 2 * (n_groups + 1) * sizeof *s->group, "the plan of ranks");
    }
    for (size_t i = 0; i < n_groups; i++)
        s->group[i] = begin[i] / PC_PARAM_CHUNK + (begin[i] % PC_PARAM_CHUNK != 0);
    s->group[n_groups] = s->n_chunks;
    s->local[0] = 0;
    for (size_t i = 0; i < n_groups; i++) {
        uint64_t first, end;
        pc_shard_range(s, i, rank, &first, &end);
        s->local[i + 1] = s->local[i] + (end - first);
    }
    return 0;
}

void pc_shard_release(struct pc_shard *s)
{
    pc_free(s->group);
    pc_free(s->local);
    *s = (struct pc_shard){0};
}

void pc_shard_bounds(const struct pc_shard *s, size_t i_group, int64_t *bounds)
{
    for (int r = 0; r < s->size; r++) {
        uint64_t first, end;
        pc_shard_range(s, i_group, r, &first, &end);
        bounds[r] = (int64_t)first;
        bounds[r + 1] = (int64_t)end;
    }
}

size_t pc_shard_group_of(const struct pc_shard *s, uint64_t i_chunk)
{
    size_t low = 0, high = s->n_groups;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->group[middle] <= i_chunk)
            low = middle;
        else
            high = middle;
    }
    return low;
}

bool pc_shard_owns(const struct pc_shard *s, uint64_t i_chunk, uint64_t *local)
{
    uint64_t first, end;
    size_t i = pc_shard_group_of(s, i_chunk);
    chunks_of(s, i, s->rank, &first, &end);
    if (i_chunk < first || i_chunk >= end)
        return false;
    if (local)
        *local = s->local[i] + (i_chunk - first) * PC_PARAM_CHUNK;
    return true;
}

uint64_t pc_shard_n_own(const struct pc_shard *s, int rank)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->n_groups; i++) {
        uint64_t first, end;
        pc_shard_range(s, i, rank, &first, &end);
        n += end - first;
    }
    return n;
}

uint64_t pc_shard_most_own(const struct pc_shard *s)
{
    uint64_t most = 0;
    for (int r = 0; r < s->size; r++)
        most = larger(most, pc_shard_n_own(s, r));
    return most;
}

int pc_shard_slots(int rank, int size, int *first, int *end, struct paco_error *err)
{
    if (PC_SLOTS % size != 0)
        return pc_error_set(err, PACO_EINVAL,
            "%d ranks: with --dtype f32 a step is added up in %d slots, which 1, 2 or 4 ranks can share so "
            "that the result is the same; start as many, or train in bf16",
            size, PC_SLOTS);
    *first = PC_SLOTS / size * rank;
    *end = *first + PC_SLOTS / size;
    return 0;
}

void pc_shard_slot(uint64_t n, int n_slots, int i, uint64_t *first, uint64_t *end)
{
    uint64_t each = n / (uint64_t)n_slots, more = n % (uint64_t)n_slots, at = (uint64_t)i;
    *first = each * at + smaller(at, more);
    *end = *first + each + (at < more);
}

void pc_shard_deal(const uint32_t *n_rows, uint64_t n, int size, uint64_t *bounds)
{
    uint64_t total = 0, before = 0, at = 0;
    for (uint64_t i = 0; i < n; i++)
        total += n_rows[i];
    bounds[0] = 0;
    for (int r = 1; r < size; r++) {
        // An example goes to the rank in whose share of the rows its middle lies.
        for (; at < n && (2 * before + n_rows[at]) * (uint64_t)size < 2 * total * (uint64_t)r; at++)
            before += n_rows[at];
        bounds[r] = at;
    }
    bounds[size] = n;
}

uint64_t pc_shard_n_passing(const struct pc_shard *s)
{
    uint64_t group = 0;
    for (size_t i = 0; i < s->n_groups; i++) {
        uint64_t end = smaller(s->group[i + 1] * PC_PARAM_CHUNK, s->n_flat),
                 begin = s->group[i] * PC_PARAM_CHUNK;
        group = larger(group, end > begin ? end - begin : 0);
    }
    return smaller(pc_shard_most_own(s) + 3 * group, s->n_flat);
}
