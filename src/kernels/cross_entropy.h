// SPDX-License-Identifier: Apache-2.0
/* Softmax and cross entropy of one row of logits, forward and back. docs/math/cross_entropy.md.
 *
 * With m the largest logit, e_v = e^(z_v - m) by pc_expf and S their sum in double (lane v mod 16, v
 * ascending, lanes joined by halves):
 *
 *     loss = log S - (z_label - m)           in double, nats
 *     d z  = (e_v / S - [v = label]) * weight    e_v times 1/S rounded to F32, then each operation
 *
 * The same bits at every level. Logits that are not finite give a loss that is not. */
#ifndef PC_KERNELS_CROSS_ENTROPY_H
#define PC_KERNELS_CROSS_ENTROPY_H

#include "kernels/vmath.h"

#include <stddef.h>

struct pc_cross_entropy {
    /** The loss of z (n logits). */
    double (*forward)(const float *z, size_t n, size_t label);
    /** The same, and z becomes weight times the loss's gradient. */
    double (*backward)(float *z, size_t n, size_t label, float weight);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_cross_entropy_init(struct pc_cross_entropy *table, unsigned cpu_flags);

void pc_cross_entropy_init_avx2(struct pc_cross_entropy *table);
void pc_cross_entropy_init_avx512(struct pc_cross_entropy *table);

#endif
