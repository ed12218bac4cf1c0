// SPDX-License-Identifier: Apache-2.0
#include "engine/variant.h"

#include "base/host.h"
#include "base/memory.h"
#include "engine/variant_parts.h"
#include "weights/adapter.h"
#include "weights/packed_diff.h"
#include "weights/pair.h"

#include <stdio.h>
#include <string.h>

/* ---- memory ---- */

static void count(struct pc_engine *e, uint64_t more, uint64_t less)
{
    atomic_fetch_add_explicit(&e->variants_size, more - less, memory_order_relaxed);
}

/* What there is for more variants: of a bound, what the engine's own plan leaves; else what the machine has,
 * less the weights that are still to be loaded. */
static uint64_t memory_left(const struct pc_engine *e)
{
    const struct pc_engine_plan *p = &e->plan;
    uint64_t used = p->weights + p->loading + p->kv + p->scratch +
                    atomic_load_explicit(&e->variants_size, memory_order_relaxed);
    uint64_t left = e->memory_limit, pending = 0;
    if (!left) {
        left = pc_host_memory_available();
        pending = atomic_load_explicit(&e->is_filled, memory_order_relaxed) ? 0 : e->model->own_size;
        used = pending;
    }
    return left > used ? left - used : 0;
}

static void *take(struct pc_variant *v, uint64_t bytes, const char *what, struct paco_error *err)
{
    uint64_t left = memory_left(v->engine);
    if (bytes > left) {
        pc_error_set(err, PACO_EMEM, "%s: %llu bytes beside %.3f GB of this fine-tune; %.3f GB are left",
            what, (unsigned long long)bytes, (double)v->size * 1e-9, (double)left * 1e-9);
        return NULL;
    }
    if (pc_grow(&v->blocks, &v->max_blocks, v->n_blocks, sizeof *v->blocks, what, err) < 0)
        return NULL;
    void *p = pc_alloc_huge((size_t)bytes);
    if (!p) {
        pc_error_mem(err, bytes, what);
        return NULL;
    }
    v->blocks[v->n_blocks++] = p;
    v->size += bytes;
    count(v->engine, bytes, 0);
    return p;
}

int pc_variant_take_run(struct pc_variant *v, uint64_t size, const char *what, struct paco_error *err)
{
    v->run = size ? take(v, size, what, err) : NULL;
    v->run_left = v->run ? size : 0;
    return v->run || !size ? 0 : PACO_EMEM;
}

void *pc_variant_take(
    struct pc_variant *v, uint64_t n, uint64_t size, const char *what, struct paco_error *err)
{
    uint64_t bytes;
    if (!pc_mul_u64(n, size, &bytes) || bytes > PTRDIFF_MAX) {
        pc_error_mem(err, UINT64_MAX, what);
        return NULL;
    }
    if (pc_variant_piece(n, size) > v->run_left)
        return take(v, bytes, what, err);
    void *p = v->run;
    v->run += pc_variant_piece(n, size);
    v->run_left -= pc_variant_piece(n, size);
    return p;
}

static void free_variant(struct pc_variant *v)
{
    count(v->engine, 0, v->size);
    while (v->n_blocks > 0)
        pc_free(v->blocks[--v->n_blocks]);
    pc_free(v->blocks);
    pc_arena_release(&v->arena);
    pc_free(v);
}

/* ---- opening ---- */

/* The numbers of two configurations that a row's arithmetic depends on. */
static int check_config(const struct pc_config *a, const struct pc_config *b, struct paco_error *err)
{
    bool scaled = a->rope_scaling != PC_ROPE_DEFAULT;
    bool by_parts = a->rope_scaling == PC_ROPE_LLAMA3, yarn = a->rope_scaling == PC_ROPE_YARN;
#define NUMBER(FIELD, COUNTS)                                                                                \
    {                                                                                                        \
#FIELD, (double)a->FIELD, (double)b->FIELD, COUNTS                                                   \
    }
    const struct {
        const char *name;
        double base, tuned;
        bool counts;
    } rows[] = {NUMBER(n_layers, true), NUMBER(hidden_size, true), NUMBER(intermediate_size, true),
        NUMBER(n_heads, true), NUMBER(n_kv_heads, true), NUMBER(head_dim, true), NUMBER(rms_norm_eps, true),
        NUMBER(attention_bias, true), NUMBER(mlp_bias, true), NUMBER(rope_theta, true),
        NUMBER(rope_scaling, true), NUMBER(rope_factor, scaled), NUMBER(rope_low_freq_factor, by_parts),
        NUMBER(rope_high_freq_factor, by_parts), NUMBER(rope_original_positions, by_parts || yarn),
        NUMBER(rope_beta_fast, yarn), NUMBER(rope_beta_slow, yarn), NUMBER(rope_attention_factor, yarn),
        NUMBER(rope_truncate, yarn)};
#undef NUMBER
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].counts && rows[i].base != rows[i].tuned)
            return pc_error_set(err, PACO_EMISMATCH,
                "its configuration says %s is %g, the base's %g: they cannot share the base's products",
                rows[i].name, rows[i].tuned, rows[i].base);
    return 0;
}

static int open_adapter(
    struct pc_variant *v, const struct pc_source *base, const char *path, struct paco_error *err)
{
    struct pc_adapter *adapter = NULL;
    struct pc_checkpoint *tuned = NULL;
    struct pc_lowrank_term *terms = pc_alloc(base->ck->n_tensors, sizeof *terms);
    int rc = terms ? pc_adapter_open(path, &adapter, err)
                   : pc_error_mem(err, base->ck->n_tensors * sizeof *terms, "an adapter's terms");
    if (rc == 0)
        rc = pc_adapter_terms(adapter, base->ck, terms, NULL, err);
    if (rc == 0)
        rc = pc_adapter_apply(adapter, base->ck, &tuned, NULL, err);
    const struct pc_variant_parts parts = {.base = base->ck,
        .tuned = tuned,
        .base_tied = v->config.tied,
        .tuned_tied = v->config.tied,
        .terms = terms};
    if (rc == 0)
        rc = pc_variant_make(v, &parts, err);
    pc_checkpoint_close(tuned);
    pc_adapter_close(adapter);
    pc_free(terms);
    return rc;
}

static int open_diff(
    struct pc_variant *v, const struct pc_source *base, const char *path, struct paco_error *err)
{
    struct pc_source diff = {0};
    struct pc_checkpoint *tuned = NULL;
    int rc = pc_source_open(path, &diff, err);
    if (rc == 0 && diff.has_config) {
        rc = check_config(&v->config, &diff.config, err);
        v->config = diff.config;
    }
    if (rc == 0)
        rc = pc_pair_sum(base, &diff, &tuned, err);
    const struct pc_variant_parts parts = {.base = base->ck,
        .tuned = tuned,
        .packed = diff.stored && pc_diff_is_packed(diff.stored) ? diff.stored : NULL,
        .base_tied = pc_pair_tied(base),
        .tuned_tied = pc_pair_tied(&diff)};
    if (rc == 0)
        rc = pc_variant_make(v, &parts, err);
    pc_checkpoint_close(tuned);
    pc_source_close(&diff);
    return rc;
}

int pc_variant_open(struct pc_engine *engine, const struct pc_source *base,
    const struct pc_variant_options *options, struct pc_variant **out, struct paco_error *err)
{
    struct paco_error own = {0};
    struct pc_variant *v = pc_alloc_zero(1, sizeof *v);
    if (!v)
        return pc_error_mem(err, sizeof *v, "a fine-tune");
    err = err ? err : &own;
    v->n_holders = 1;
    v->engine = engine;
    v->id = 1 + atomic_fetch_add_explicit(&engine->last_variant, 1, memory_order_relaxed);
    v->config = engine->model->config;
    int rc = options->kind == PC_VARIANT_ADAPTER ? open_adapter(v, base, options->path, err)
                                                 : open_diff(v, base, options->path, err);
    if (rc < 0) {
        pc_error_path(err, options->path);
        free_variant(v);
        return rc;
    }
    *out = v;
    return 0;
}

/* ---- beside the engine ---- */

/* Grow *memory, which holds *n floats, to n_new. */
static int grow(float **memory, size_t *n, size_t n_new, struct paco_error *err)
{
    if (n_new <= *n)
        return 0;
    float *p = pc_alloc_pages(n_new * sizeof *p);
    if (!p)
        return pc_error_mem(err, n_new * sizeof *p, "scratch for fine-tunes");
    pc_free(*memory);
    *memory = p;
    *n = n_new;
    return 0;
}

int pc_engine_admit(struct pc_engine *e, const struct pc_variant *v, struct paco_error *err)
{
    size_t rows = e->max_rows > e->max_logits ? e->max_rows : e->max_logits,
           vocab = (size_t)v->config.vocab_size;
    size_t base_vocab = (size_t)e->model->config.vocab_size;
    e->n_logits = 0;
    int rc = grow(&e->low, &e->n_low, rows * v->low, err);
    if (rc == 0 && vocab > base_vocab && vocab > e->wide_stride) {
        rc = grow(&e->wide, &e->n_wide, e->max_logits * vocab, err);
        e->wide_stride = rc == 0 ? vocab : e->wide_stride;
    }
    return rc;
}

bool pc_variant_is_admitted(const struct pc_engine *e, const struct pc_variant *v)
{
    size_t rows = e->max_rows > e->max_logits ? e->max_rows : e->max_logits;
    return v->engine == e && rows * v->low <= e->n_low &&
           (v->config.vocab_size <= e->model->config.vocab_size ||
               (size_t)v->config.vocab_size <= e->wide_stride);
}

struct pc_variant *pc_variant_share(struct pc_variant *v)
{
    if (v)
        atomic_fetch_add_explicit(&v->n_holders, 1, memory_order_relaxed);
    return v;
}

void pc_variant_release(struct pc_variant *v)
{
    if (v && atomic_fetch_sub_explicit(&v->n_holders, 1, memory_order_acq_rel) == 1)
        free_variant(v);
}

uint64_t pc_variant_size(const struct pc_variant *v)
{
    return v ? v->size : 0;
}

const struct pc_config *pc_variant_config(const struct pc_engine *engine, const struct pc_variant *v)
{
    return v ? &v->config : &engine->model->config;
}

int32_t pc_variant_vocab(const struct pc_engine *engine, const struct pc_variant *v)
{
    return pc_variant_config(engine, v)->vocab_size;
}

char *pc_variant_describe(const struct pc_variant *v, char *out, size_t out_size)
{
    int n = 0;
    *out = '\0';
    if (v->n_factors)
        n += snprintf(out, out_size, "%zu pairs of factors of rank %zu, ", v->n_factors, v->largest_rank);
    if (v->n_dense)
        n += snprintf(out + n, out_size - (size_t)n, "%llu dense rows, ", (unsigned long long)v->n_dense);
    if (v->n_sparse)
        n += snprintf(
            out + n, out_size - (size_t)n, "%llu single elements, ", (unsigned long long)v->n_sparse);
    if (v->n_signs)
        n += snprintf(out + n, out_size - (size_t)n, "%llu rows of signs, ", (unsigned long long)v->n_signs);
    snprintf(out + n, out_size - (size_t)n, "%.1f MB", (double)v->size * 1e-6);
    return out;
}
