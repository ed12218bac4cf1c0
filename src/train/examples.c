// SPDX-License-Identifier: Apache-2.0
#include "train/examples.h"

#include "base/memory.h"

#include <assert.h>

void pc_examples_release(struct pc_examples *set)
{
    pc_free(set->examples);
    pc_free(set->ids);
    pc_free(set->mask);
    *set = (struct pc_examples){0};
}

static bool bit(const uint8_t *mask, uint64_t i)
{
    return mask[i / 8] >> i % 8 & 1;
}

bool pc_examples_is_trained(const struct pc_examples *set, size_t i, uint32_t t)
{
    assert(i < set->n && t < set->examples[i].n_ids);
    return bit(set->mask, set->examples[i].at + t);
}

void pc_examples_get(const struct pc_examples *set, size_t i, int32_t *ids, int32_t *labels)
{
    assert(i < set->n);
    const struct pc_example *e = &set->examples[i];
    const int32_t *wide = set->ids;
    const uint16_t *narrow = set->ids;
    for (uint32_t t = 0; t < e->n_ids; t++)
        ids[t] = set->wide ? wide[e->at + t] : narrow[e->at + t];
    for (uint32_t t = 0; labels && t < e->n_ids; t++)
        labels[t] = t + 1 < e->n_ids && bit(set->mask, e->at + t + 1) ? ids[t + 1] : PC_LABEL_NONE;
}

/* Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators". */
static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Lemire 2019, "Fast random integer generation in an interval". */
static uint32_t below(uint64_t *state, uint32_t k)
{
    uint64_t product = (splitmix64(state) >> 32) * k;
    if ((uint32_t)product < k)
        for (const uint32_t least = -k % k; (uint32_t)product < least;)
            product = (splitmix64(state) >> 32) * k;
    return (uint32_t)(product >> 32);
}

void pc_examples_order(uint64_t seed, uint64_t i_epoch, bool shuffle, uint32_t *order, size_t n)
{
    assert(n <= PC_EXAMPLES_MAX);
    uint64_t state = seed + 0x9e3779b97f4a7c15u * (i_epoch + 1);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; shuffle && i-- > 1;) {
        uint32_t j = below(&state, (uint32_t)i + 1), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}
