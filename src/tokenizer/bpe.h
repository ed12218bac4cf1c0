// SPDX-License-Identifier: Apache-2.0
/* Byte-pair encoding proper: which two ids merge into what and how early, and the loop that merges them. */
#ifndef PC_TOKENIZER_BPE_H
#define PC_TOKENIZER_BPE_H

#include "base/error.h"
#include "base/map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PC_NO_RANK UINT32_MAX

struct pc_pair {
    uint64_t key; /* left << 32 | right, plus one; 0 is an empty slot */
    uint32_t rank;
    int32_t id; /* what the two become */
};

/** `{0}` is a valid empty table. */
struct pc_pairs {
    struct pc_pair *slots;
    size_t n, capacity;
    uint64_t seed;
};

/** Make room for n pairs at once; false when memory is out. */
bool pc_pairs_reserve(struct pc_pairs *p, size_t n);
/** Set what left and right become, replacing an earlier rule. False when memory is out. */
bool pc_pairs_set(struct pc_pairs *p, int32_t left, int32_t right, uint32_t rank, int32_t id);
void pc_pairs_release(struct pc_pairs *p);

static inline const struct pc_pair *pc_pairs_get(const struct pc_pairs *p, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
    for (uint64_t i = pc_hash_u64(key, p->seed);; i++) {
        const struct pc_pair *s = &p->slots[i & (p->capacity - 1)];
        if (s->key == key)
            return s;
        if (s->key == 0)
            return NULL;
    }
}

/** One part of a word: bytes [start, start of the next) and its id, -1 for a character without a piece. */
struct pc_part {
    int32_t id;
    uint32_t start;
};

/** How the parts of one kind of vocabulary merge. */
struct pc_merger {
    const struct pc_pairs *pairs;
    /* SentencePiece looks at text, so a part without an id may still become one of a piece. NULL when that
     * cannot be. */
    const struct pc_map *by_text; /* text to id */
    const uint32_t *ranks;        /* by id, for by_text; PC_NO_RANK: not a merge result */
    /* When not NULL, by id: the bytes of the left half of the last merge seen into a piece. SentencePiece
     * needs it to take unused pieces apart again. */
    uint32_t *last_left;
};

/** Merge parts[0..n) of text[0..len) in place, the lowest rank first and of equal ranks the leftmost, in
 *  O(n log n). Returns how many are left, or PACO_EMEM. */
int64_t pc_merge(const struct pc_merger *m, const char *text, size_t len, struct pc_part *parts, size_t n,
    struct paco_error *err);

#endif
