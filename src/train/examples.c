// SPDX-License-Identifier: Apache-2.0
#include "train/examples.h"

#include "base/memory.h"
#include "base/splitmix.h"

#include <assert.h>

void pc_examples_release(struct pc_examples *set)
{
    pc_free(set->examples);
    if (!set->is_part) {
        pc_free(set->ids);
        pc_free(set->mask);
    }
    *set = (struct pc_examples){0};
}

const char *pc_encoding_new_pad(enum pc_encoding encoding)
{
    return encoding == PC_ENCODING_STANFORD ? "[PAD]" : "<pad>";
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

/* Lemire 2019, "Fast random integer generation in an interval". */
static uint32_t below(uint64_t *state, uint32_t k)
{
    uint64_t product = (pc_splitmix_next(state) >> 32) * k;
    if ((uint32_t)product < k)
        for (const uint32_t least = -k % k; (uint32_t)product < least;)
            product = (pc_splitmix_next(state) >> 32) * k;
    return (uint32_t)(product >> 32);
}

void pc_examples_order(uint64_t seed, uint64_t i_epoch, bool shuffle, uint32_t *order, size_t n)
{
    assert(n <= PC_EXAMPLES_MAX);
    uint64_t state = seed + PC_SPLITMIX_STEP * (i_epoch + 1);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; shuffle && i-- > 1;) {
        uint32_t j = below(&state, (uint32_t)i + 1), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

/* ---- held out ---- */

static void count(struct pc_examples *set)
{
    set->n_ids = set->n_trained = 0;
    set->longest = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct pc_example *e = &set->examples[i];
        set->n_ids += e->n_ids;
        set->n_trained += e->n_trained;
        if (e->n_ids > set->longest)
            set->longest = e->n_ids;
    }
}

int pc_examples_hold_out(
    struct pc_examples *set, size_t n, uint64_t seed, struct pc_examples *part, struct paco_error *err)
{
    if (n == 0 || n >= set->n)
        return pc_error_set(err, PACO_EINVAL,
            "%zu of %zu examples cannot be held out: one at least must be, and one be left", n, set->n);
    uint32_t *order = pc_alloc(set->n, sizeof *order);
    bool *held = pc_alloc_zero(set->n, sizeof *held);
    struct pc_example *examples = pc_alloc(n, sizeof *examples);
    int rc = order && held && examples ? 0 : pc_error_mem(err, set->n * sizeof *order, "held-out examples");
    if (rc == 0) {
        // An epoch that training never reaches.
        pc_examples_order(seed, UINT64_MAX - 1, true, order, set->n);
        for (size_t i = 0; i < n; i++)
            held[order[i]] = true;
        *part = *set;
        part->examples = examples;
        part->is_part = true;
        part->n = n;
        part->n_read = part->n_dropped = part->n_truncated = 0;
        part->n_no_eos = part->n_masked = part->n_empty = 0;
        size_t n_held = 0, n_left = 0;
        for (size_t i = 0; i < set->n; i++)
            *(held[i] ? &examples[n_held++] : &set->examples[n_left++]) = set->examples[i];
        set->n = n_left;
        count(set);
        count(part);
    } else {
        pc_free(examples);
    }
    pc_free(order);
    pc_free(held);
    return rc;
}
