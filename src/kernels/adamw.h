// SPDX-License-Identifier: Apache-2.0
/* AdamW's arithmetic on a run of elements: weights in F32 or BF16, its two means in F32, BF16 or 8 bits.
 * docs/math/adamw.md. train/optimizer.h says which runs there are and what is kept of them. */
#ifndef PC_KERNELS_ADAMW_H
#define PC_KERNELS_ADAMW_H

#include <stddef.h>
#include <stdint.h>

enum pc_optim_states { PC_STATES_F32, PC_STATES_BF16, PC_STATES_8BIT };

/** Bytes of a number of a mean, scales apart. */
static inline size_t pc_optim_states_size(enum pc_optim_states states)
{
    return states == PC_STATES_F32 ? 4 : states == PC_STATES_BF16 ? 2 : 1;
}

enum { PC_ADAMW_BLOCK = 256 }; /* elements that share the scales of 8-bit means */

/** What all elements of a tensor share in one update. */
struct pc_adamw_rule {
    float scale, keep;           /* of gradients; of weights: 1 - rate * decay */
    float fresh1, keep2, fresh2; /* 1 - b1; b2; 1 - b2 */
    float step, root, eps;       /* rate / (1 - b1^t); sqrt(1 - b2^t) */
};

/** n elements, a multiple of PC_ADAMW_BLOCK, and all there is of them. */
struct pc_adamw_run {
    size_t n;
    float *w;       /* or NULL: */
    uint16_t *w16;  /* BF16 */
    float *g;       /* become zeros */
    uint64_t key;   /* of this update's rounding, */
    uint64_t first; /* which is of element first + i for i */
    enum pc_optim_states states;
    unsigned char *m, *v;     /* (n) in the states' type */
    float *m_scale, *v_scale; /* (n / PC_ADAMW_BLOCK), of 8-bit states */
};

struct pc_adamw {
    /** One update, the same bits at every level. F32 weights and states need no random bits; else those of
     * element i are 64 that follow from key and first + i (base/splitmix.h): the upper ones round v, the
     * lower 16 a BF16 weight. What is not finite may become anything. Thread-safe on disjoint runs. */
    void (*update)(const struct pc_adamw_rule *rule, const struct pc_adamw_run *run);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_adamw_init(struct pc_adamw *table, unsigned cpu_flags);

void pc_adamw_init_avx2(struct pc_adamw *table);
void pc_adamw_init_avx512(struct pc_adamw *table);

#endif
