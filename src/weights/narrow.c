// SPDX-License-Identifier: Apache-2.0
#include "weights/narrow.h"

#include "algebra/cast.h"
#include "algebra/read_f32.h"
#include "algebra/trace.h"
#include "weights/sweep.h"

struct fit {
    bool f16, bf16; /* nothing is lost */
};

struct scan {
    const struct pc_checkpoint *ck;
    struct fit *fits;
};

static bool is_float(const struct pc_tensor *t)
{
    return pc_dtype_traits(t->dtype)->is_float || pc_dtype_traits(t->dtype)->is_quant;
}

static void look(struct fit *fit, const float *rows, size_t n)
{
    double max_error = 0;
    uint64_t lossy = 0;
    if (fit->bf16)
        pc_cast_narrow(PC_BF16, NULL, rows, n, &lossy, &max_error);
    fit->bf16 = fit->bf16 && lossy == 0;
    lossy = 0;
    if (fit->f16)
        pc_cast_narrow(PC_F16, NULL, rows, n, &lossy, &max_error);
    fit->f16 = fit->f16 && lossy == 0;
}

static int scan_tensor(void *ctx, size_t i, struct pc_sweep *sweep, struct paco_error *err)
{
    struct scan *s = ctx;
    const struct pc_tensor *t = &s->ck->tensors[i];
    struct fit *fit = &s->fits[i];
    struct pc_trace tr = {0};
    int rc = 0;
    *fit = (struct fit){is_float(t), is_float(t)};
    for (uint64_t row = 0, n; rc == 0 && row < t->n_rows && (fit->f16 || fit->bf16); row += n) {
        const float *rows;
        n = pc_trace_rows(t, t->n_rows - row);
        pc_trace_reset(&tr);
        rc = pc_trace_read_f32(t, row, n, NULL, &rows, &tr, err);
        if (rc == 0) {
            look(fit, rows, (size_t)(n * t->row_elems));
            rc = pc_sweep_step(sweep, t->name, n * t->row_size, err);
        }
    }
    pc_trace_release(&tr);
    return rc;
}

static void choose(const struct scan *s, enum pc_dtype *dtypes)
{
    uint64_t f16_only = 0, bf16_only = 0;
    for (size_t i = 0; i < s->ck->n_tensors; i++) {
        f16_only += s->fits[i].f16 && !s->fits[i].bf16 ? s->ck->tensors[i].size : 0;
        bf16_only += s->fits[i].bf16 && !s->fits[i].f16 ? s->ck->tensors[i].size : 0;
    }
    for (size_t i = 0; i < s->ck->n_tensors; i++) {
        const struct fit *fit = &s->fits[i];
        if (fit->f16 && (!fit->bf16 || f16_only > bf16_only))
            dtypes[i] = PC_F16;
        else if (fit->bf16)
            dtypes[i] = PC_BF16;
    }
}

static int scan_all(const struct pc_checkpoint *ck, struct pc_pool *pool, const struct pc_progress *progress,
    enum pc_dtype *dtypes, struct paco_error *err)
{
    struct scan s = {.ck = ck, .fits = pc_alloc_zero(ck->n_tensors, sizeof *s.fits)};
    uint64_t *sizes = pc_alloc(ck->n_tensors, sizeof *sizes);
    int rc = s.fits && sizes ? 0 : pc_error_mem(err, ck->n_tensors * sizeof *sizes, "a scan of the tensors");
    if (rc == 0) {
        for (size_t i = 0; i < ck->n_tensors; i++)
            sizes[i] = ck->tensors[i].size;
        struct pc_sweep_options o = {.task = scan_tensor,
            .ctx = &s,
            .n = ck->n_tensors,
            .sizes = sizes,
            .pool = pool,
            .progress = progress,
            .phase = "choosing types"};
        rc = pc_sweep_run(&o, err);
    }
    if (rc == 0)
        choose(&s, dtypes);
    pc_free(s.fits);
    pc_free(sizes);
    return rc;
}

static void set_plain(const struct pc_checkpoint *ck, enum paco_dtype choice,
    const struct pc_checkpoint *keep, enum pc_dtype *dtypes)
{
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i], *kept = keep ? pc_checkpoint_find(keep, t->name) : NULL;
        dtypes[i] = t->dtype;
        if (!is_float(t))
            continue;
        dtypes[i] = choice == PACO_DTYPE_F16 ? PC_F16 : choice == PACO_DTYPE_BF16 ? PC_BF16 : PC_F32;
        if (choice == PACO_DTYPE_KEEP && kept && pc_dtype_traits(kept->dtype)->is_float)
            dtypes[i] = kept->dtype;
    }
}

int pc_narrow(const struct pc_checkpoint *ck, enum paco_dtype choice, const struct pc_checkpoint *keep,
    struct pc_pool *pool, const struct pc_progress *progress, struct pc_checkpoint **out,
    struct paco_error *err)
{
    enum pc_dtype *dtypes = pc_alloc(ck->n_tensors, sizeof *dtypes);
    if (!dtypes)
        return pc_error_mem(err, ck->n_tensors * sizeof *dtypes, "the types of tensors");
    set_plain(ck, choice, keep, dtypes);
    int rc = choice == PACO_DTYPE_AUTO ? scan_all(ck, pool, progress, dtypes, err) : 0;
    if (rc == 0)
        rc = pc_checkpoint_cast(ck, dtypes, out, err);
    pc_free(dtypes);
    return rc;
}

const char *pc_dtype_choice_name(enum paco_dtype choice)
{
    static const char *const names[] = {
        "f32", "f16", "bf16", "keep", "auto", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"};
    return names[choice];
}

enum pc_dtype pc_widest_float(const struct pc_checkpoint *ck)
{
    enum pc_dtype best = PC_N_DTYPES;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_dtype_traits *t = pc_dtype_traits(ck->tensors[i].dtype);
        if (t->is_float && (best == PC_N_DTYPES || t->block_size > pc_dtype_traits(best)->block_size))
            best = ck->tensors[i].dtype;
    }
    return best == PC_N_DTYPES ? PC_F32 : best;
}
