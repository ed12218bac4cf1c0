// SPDX-License-Identifier: Apache-2.0
#include "algebra/column_mean.h"

#include "algebra/trace.h"

#include <string.h>

enum { LEVELS = 4 };

struct cascade {
    float *sums[LEVELS]; /* n_cols each */
    size_t n_cols;
    uint64_t n_rows, step, consumed;
};

/* As PyTorch's CeilLog2: 1 for 0, 1 and 2. */
static unsigned ceil_log2(uint64_t n)
{
    unsigned bits = 1;
    while (bits < 63 && (UINT64_C(1) << bits) < n)
        bits++;
    return bits;
}

static struct cascade start(float *sums, size_t n_cols, uint64_t n_rows)
{
    unsigned shift = ceil_log2(n_rows) / LEVELS;
    struct cascade c = {.n_cols = n_cols, .n_rows = n_rows, .step = UINT64_C(1) << (shift < 4 ? 4 : shift)};
    for (int i = 0; i < LEVELS; i++) {
        c.sums[i] = sums + (size_t)i * n_cols;
        memset(c.sums[i], 0, n_cols * sizeof *sums);
    }
    return c;
}

static void add_into(float *restrict to, const float *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
}

/* Each level that is full is emptied into the next. */
static void carry(struct cascade *c)
{
    uint64_t full = c->step;
    for (int i = 0; i + 1 < LEVELS; i++) {
        add_into(c->sums[i + 1], c->sums[i], c->n_cols);
        memset(c->sums[i], 0, c->n_cols * sizeof **c->sums);
        if (c->consumed % (full *= c->step) != 0)
            return;
    }
}

static void consume(struct cascade *c, const float *rows, uint64_t n)
{
    for (uint64_t r = 0; r < n; r++) {
        add_into(c->sums[0], rows + r * c->n_cols, c->n_cols);
        if (++c->consumed % c->step == 0)
            carry(c);
    }
}

static void finish(const struct cascade *c, float *mean)
{
    for (size_t i = 0; i < c->n_cols; i++)
        mean[i] = (((c->sums[0][i] + c->sums[1][i]) + c->sums[2][i]) + c->sums[3][i]) / (float)c->n_rows;
}

int pc_column_mean(const struct pc_tensor *t, uint64_t n_rows, float *mean, struct paco_error *err)
{
    size_t n_cols = (size_t)t->row_elems;
    float *sums = pc_alloc(n_cols, LEVELS * sizeof *sums);
    if (!sums)
        return pc_error_mem(err, (uint64_t)n_cols * LEVELS * sizeof *sums, "the sums of columns");
    struct cascade c = start(sums, n_cols, n_rows);
    struct pc_trace tr = {0};
    int rc = 0;
    for (uint64_t n; c.consumed < n_rows && rc == 0;) {
        const float *rows;
        n = pc_trace_rows(t, n_rows - c.consumed);
        pc_trace_reset(&tr);
        rc = pc_trace_read_f32(t, c.consumed, n, NULL, &rows, &tr, err);
        if (rc == 0)
            consume(&c, rows, n);
    }
    if (rc == 0)
        finish(&c, mean);
    pc_trace_release(&tr);
    pc_free(sums);
    return rc;
}
