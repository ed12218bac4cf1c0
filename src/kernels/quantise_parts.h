// SPDX-License-Identifier: Apache-2.0
/* What quantise.c, quantise_k.c and the instruction-set files share. */
#ifndef PC_KERNELS_QUANTISE_PARTS_H
#define PC_KERNELS_QUANTISE_PARTS_H

#include "kernels/quantise.h"

/* 1.5 * 2^23: added and subtracted again, it rounds |x| < 2^22 to the nearest integer, ties to even. */
#define PC_QUANTISE_ROUND 12582912.0f

/** What a run of elements is scored with. */
struct pc_quantise_run {
    const float *x, *w;
    size_t n;
    float lo, hi;
    float sum_w;
    bool negative; /* no offset above 0: what the K types can hold */
    bool half;     /* scale and offset are stored as F16 themselves */
};

/** The best candidate of a search. */
struct pc_quantise_fit {
    float scale, offset, error;
};

/** Fill w with the elements' weights, return their sum. */
float pc_quantise_weights(const float *x, size_t n, float *w);

/** Set the lanes' inverses, after rounding scales and offsets to F16 if half is set. */
void pc_quantise_settle(struct pc_quantise_lanes *c, bool half);

/** The least error there is; the first of equals. */
int pc_quantise_best(const struct pc_quantise_lanes *c);

/** Search for x ~ scale * q, with the largest magnitude taken for each of 16 levels first, then refined. */
struct pc_quantise_fit pc_quantise_fit_scaled(
    const struct pc_quantise *t, const struct pc_quantise_run *r, const float levels[PC_QUANTISE_LANES]);
/** Search for x ~ scale * q + offset, q from 0 to r->hi. */
struct pc_quantise_fit pc_quantise_fit_affine(const struct pc_quantise *t, const struct pc_quantise_run *r);

/** The levels of n elements. */
void pc_quantise_levels(
    const float *x, size_t n, float scale, float offset, float lo, float hi, int8_t *levels);

/* One superblock of 256 finite elements each. */
enum pc_quantise_result pc_quantise_q4_k(const struct pc_quantise *t, uint8_t *b, const float *x);
enum pc_quantise_result pc_quantise_q5_k(const struct pc_quantise *t, uint8_t *b, const float *x);
enum pc_quantise_result pc_quantise_q6_k(const struct pc_quantise *t, uint8_t *b, const float *x);

void pc_quantise_init_avx2(struct pc_quantise *table);
void pc_quantise_init_avx512(struct pc_quantise *table);

static inline void pc_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

#endif
