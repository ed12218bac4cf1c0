// SPDX-License-Identifier: Apache-2.0
/* Fetching what the next call of gemm.h wants, a few lines every STRETCH steps of a block. */
#ifndef PC_KERNELS_GEMM_FETCH_H
#define PC_KERNELS_GEMM_FETCH_H

#include "kernels/gemm.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 64, STRETCH = 16 };

/* What is to be fetched: the next line, where its row ends, the rows from that one on, and how many lines
 * every STRETCH steps of a block are its share. */
struct fetching {
    const char *at, *end;
    size_t n, size, stride, share;
};

INLINE struct fetching begin_fetching(const struct pc_gemm_fetch *f, size_t n_stretches)
{
    return (struct fetching){.at = f->rows,
        .end = (const char *)f->rows + f->size,
        .n = f->n,
        .size = f->size,
        .stride = f->stride,
        .share = n_stretches ? f->n * (f->size / LINE + 1) / n_stretches + 1 : 0};
}

INLINE void fetch_lines(struct fetching *f)
{
    for (size_t n = f->share; n > 0 && f->n > 0; n--) {
        _mm_prefetch(f->at, _MM_HINT_T1);
        f->at += LINE;
        if (f->at >= f->end) {
            f->n--;
            f->at = f->end - f->size + f->stride;
            f->end = f->at + f->size;
        }
    }
}

#endif
