// SPDX-License-Identifier: Apache-2.0
/* Fast kernels against scalar ones.
 *
 * A family's file check_OP.c defines `void check_OP(void)` and has a row in checkasm.c. It fills one table
 * with flags 0 and, for each level this processor has, another with that level's flags, and calls both on the
 * same inputs:
 *
 *     void check_convert(void)
 *     {
 *         struct pc_convert plain, fast;
 *         pc_convert_init(&plain, 0);
 *         for (const struct check_level *l = check_levels(); l->name; l++) {
 *             pc_convert_init(&fast, l->flags);
 *             check_case("add", l);                    // counted as one test; failures name it
 *             for (size_t n = 0; n < 200; n++) {
 *                 float *a = check_floats(n), *want = check_buffer(n * 4, 0), *got = check_buffer(n * 4, 4);
 *                 plain.add(want, a, a, n);
 *                 fast.add(got, a, a, n);
 *                 check_same(want, got, n * 4, "n=%zu", n);
 *                 check_release();                     // frees the case's buffers after looking at their
 * guards
 *             }
 *             if (check_bench())
 *                 check_time("add", l, n_bytes, fn, arg);
 *         }
 *     }
 *
 * Inputs come from a seeded generator; the seed is printed, and --seed N repeats a run. */
#ifndef PC_TESTS_CHECKASM_H
#define PC_TESTS_CHECKASM_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct check_level {
    const char *name;
    unsigned flags; /* enum pc_cpu_flag: this level and those below it */
};

/** Levels above scalar that this processor has, ascending, then a row of zeros. What it lacks was reported as
 * skipped. */
const struct check_level *check_levels(void);

/** Begin a case: a function at a level. */
void check_case(const char *function, const struct check_level *level);
/** The case failed: say how. Later failures of the same case are counted but not printed. */
void check_fail(const char *fmt, ...) PC_PRINTF(1, 2);
/** Fail unless both hold the same bytes, naming the first that differ. fmt describes the call. */
void check_same(const void *want, const void *got, size_t size, const char *fmt, ...) PC_PRINTF(4, 5);
/** Fail unless |want - got| <= bound(i) for each i; NaN must meet NaN. bound has n entries. */
void check_near(const float *want, const float *got, const float *bound, size_t n, const char *fmt, ...)
    PC_PRINTF(5, 6);

/** size random bytes that end pad bytes (0 to 63: misalignment) before a page that faults. check_release
 * verifies the pad, and 64 bytes in front. At most 64 at once; valid until check_release. */
void *check_buffer(size_t size, size_t pad);
/** n floats in a check_buffer: mostly ordinary, some zeros, denormals, huge; NaN and infinities with
 * check_floats_all. */
float *check_floats(size_t n);
float *check_floats_all(size_t n);
/** Verify guards of all buffers and free them. */
void check_release(void);

uint64_t check_random(void);

/** True with --bench. */
bool check_bench(void);
/** Run fn(arg) for a quarter of a second and print the best rate for n_bytes per call. */
void check_time(const char *function, const struct check_level *level, uint64_t n_bytes,
    void (*fn)(void *arg), void *arg);

/* The families, sorted. */
void check_adamw(void);
void check_attention(void);
void check_attention_backward(void);
void check_beside(void);
void check_bf16(void);
void check_convert(void);
void check_cross_entropy(void);
void check_dropout(void);
void check_gemm(void);
void check_limits(void);
void check_llm_int8(void);
void check_matmul(void);
void check_packed(void);
void check_quantisers(void);
void check_rmsnorm(void);
void check_rope(void);
void check_signs(void);
void check_silu(void);
void check_softmax(void);

#endif
