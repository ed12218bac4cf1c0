// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"
#include "base/memory.h"
#include "engine/variant_parts.h"
#include "kernels/rope.h"

#include <assert.h>
#include <string.h>

enum {
    DEFAULT_ROWS = 512,
    DEFAULT_LOGITS = 16,
    MAX_ROWS = 4096,
    MAX_LOGITS = 65536,
    ALIGN = 64,
};

size_t pc_engine_lay_out(struct pc_engine *e, unsigned char *base)
{
    const struct pc_config *c = &e->model->config;
    size_t rows = e->max_rows, width = (size_t)c->hidden_size, d = (size_t)c->head_dim;
    size_t activations = pc_llama_activations_size(c, rows);
    size_t n_parts = pc_llama_attention_parts(c, pc_pool_size(e->pool));
    size_t form_rows = rows > e->max_logits ? rows : e->max_logits;
    float *memory;
    const struct {
        void *field;
        size_t n, size;
    } parts[] = {
        {&e->compute.scratch, e->compute.n_scratch * (size_t)pc_pool_size(e->pool), sizeof(float)},
        {&e->compute.parts, n_parts, sizeof(float)},
        {&memory, activations, sizeof(float)},
        {&e->activations.forms, form_rows * e->model->form_size, 1},
        {&e->x, rows * width, sizeof(float)},
        {&e->hidden, e->max_logits * width, sizeof(float)},
        {&e->logits, e->max_logits * (size_t)c->vocab_size, sizeof(float)},
        {&e->cos_sin, rows * d, sizeof(float)},
        {&e->seq, rows, sizeof *e->seq},
        {&e->pos, rows, sizeof *e->pos},
        {&e->token, rows, sizeof *e->token},
        {&e->pieces, rows, sizeof *e->pieces},
        {&e->logits_row, e->max_logits, sizeof *e->logits_row},
        {&e->logits_at, e->max_logits, sizeof *e->logits_at},
        {&e->logits_delta, e->max_logits, sizeof *e->logits_delta},
        {&e->order, rows, sizeof *e->order},
        {&e->spans, form_rows, sizeof *e->spans},
        {&e->jobs, PC_DELTA_JOBS * form_rows, sizeof *e->jobs},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = base ? base + at : NULL;
        memcpy(parts[i].field, &p, sizeof p);
        at += (parts[i].n * parts[i].size + ALIGN - 1) / ALIGN * ALIGN;
    }
    if (base)
        pc_llama_activations_place(&e->activations, c, rows, memory);
    return at;
}

static int open_engine(struct pc_engine *e, const struct pc_checkpoint *weights,
    const struct pc_config *config, const struct pc_engine_options *o, struct paco_error *err)
{
    pc_kernels_init(&e->kernels, o->scalar ? 0 : pc_cpu_flags());
    e->memory_limit = o->memory_limit;
    e->scalar = o->scalar;
    e->plan_tokens = o->plan_tokens;
    e->max_rows = (size_t)(o->max_rows ? o->max_rows : DEFAULT_ROWS);
    e->max_logits = (size_t)(o->max_logits ? o->max_logits : DEFAULT_LOGITS);
    enum pc_products products = o->llm_int8 ? PC_PRODUCTS_LLM_INT8
                                : o->f32    ? PC_PRODUCTS_F32
                                            : PC_PRODUCTS_FAST;
    int rc = pc_llama_bind(weights, config, &e->kernels, products, &e->model, err);
    if (rc < 0)
        return rc;
    bool wide = o->f32 || e->model->layers[0].matrix[PC_LLAMA_K].dtype == PC_F32;
    e->kv_type = o->has_kv_type || o->kv_type != PC_F32 || wide ? o->kv_type : PC_F16;
    e->pool = pc_pool_new(o->n_threads, err);
    if (!e->pool)
        return err && err->code ? err->code : PACO_EMEM;
    rc = pc_engine_plan_memory(e, o, err);
    if (rc < 0)
        return rc;
    e->memory = pc_alloc_pages(e->plan.scratch);
    if (!e->memory)
        return pc_error_mem(err, e->plan.scratch, "scratch");
    pc_engine_lay_out(e, e->memory);
    e->compute.kernels = &e->kernels;
    e->compute.pool = e->pool;
    rc = pc_llama_load(e->model, err);
    return rc < 0 ? rc : pc_prefix_new(&e->pages, o->prefix_size, &e->prefix, err);
}

int pc_engine_open(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_engine_options *options, struct pc_engine **out, struct paco_error *err)
{
    struct pc_engine_options o = options ? *options : (struct pc_engine_options){0};
    if (o.max_rows < 0 || o.max_rows > MAX_ROWS || o.max_logits < 0 || o.max_logits > MAX_LOGITS ||
        o.plan_tokens < 0 || o.n_threads < 0)
        return pc_error_set(err, PACO_EINVAL,
            "engine: %d rows, %d logits, %lld tokens, %d threads: out of range", o.max_rows, o.max_logits,
            (long long)o.plan_tokens, o.n_threads);
    if (pc_kv_tile_size(o.kv_type, 2) == 0)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "keys and values in %s; f32, f16, bf16 or q8_0 are possible", pc_dtype_name(o.kv_type));
    if (!pc_cpu_keeps_denormals())
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "this thread flushes denormal numbers to zero (a fast-math library turned that on): results "
            "would differ");
    struct pc_engine *e = pc_alloc_zero(1, sizeof *e);
    if (!e)
        return pc_error_mem(err, sizeof *e, "an engine");
    int rc = open_engine(e, weights, config, &o, err);
    if (rc < 0) {
        pc_engine_close(e);
        return rc;
    }
    *out = e;
    return 0;
}

void pc_engine_close(struct pc_engine *e)
{
    if (!e)
        return;
    pc_prefix_free(e->prefix);
    pc_kv_pool_release(&e->pages);
    pc_pool_free(e->pool);
    pc_llama_free(e->model);
    pc_free(e->memory);
    pc_free(e->low);
    pc_free(e->wide);
    pc_free(e);
}

const struct pc_config *pc_engine_config(const struct pc_engine *e)
{
    return &e->model->config;
}

struct pc_engine_plan pc_engine_plan(const struct pc_engine *e)
{
    struct pc_engine_plan plan = e->plan;
    plan.variants = atomic_load_explicit(&e->variants_size, memory_order_relaxed);
    return plan;
}

int pc_engine_n_threads(const struct pc_engine *e)
{
    return pc_pool_size(e->pool);
}

double pc_engine_first_filled(const struct pc_engine *e)
{
    return e->model->first_filled;
}

static void *kv_block(void *seq, int32_t i_block)
{
    return pc_kv_block(seq, i_block);
}

static int check_row(const struct pc_engine *e, const struct pc_row *r, size_t i, struct paco_error *err)
{
    const struct pc_seq *s = r->seq;
    int32_t vocab = pc_variant_vocab(e, r->variant);
    if (s->engine != e)
        return pc_error_set(err, PACO_EINVAL, "row %zu: its sequence belongs to another engine", i);
    if (r->variant && !pc_variant_is_admitted(e, r->variant))
        return pc_error_set(err, PACO_EINVAL, "row %zu: its variant was not admitted to this engine", i);
    if (r->token < 0 || r->token >= vocab)
        return pc_error_set(err, PACO_EINVAL, "row %zu: token %d, the vocabulary has %d", i, r->token, vocab);
    if (r->pos >= s->capacity)
        return pc_error_set(err, PACO_ELIMIT, "row %zu: position %d, the sequence has room for %d tokens", i,
            r->pos, s->capacity);
    if (s->staged >= 0 ? r->pos != s->staged + 1 : r->pos < 0 || r->pos > s->length)
        return pc_error_set(err, PACO_EINVAL, "row %zu: position %d does not follow %d", i, r->pos,
            s->staged >= 0 ? s->staged : s->length - 1);
    uint64_t variant = s->staged >= 0 ? s->staged_variant : s->variant;
    if (r->pos > 0 && pc_variant_id(r->variant) != variant)
        return pc_error_set(
            err, PACO_EINVAL, "row %zu: its sequence holds keys and values of another variant", i);
    return 0;
}

static int check_rows(struct pc_engine *e, const struct pc_row *rows, size_t n, struct paco_error *err)
{
    size_t n_logits = 0;
    for (size_t i = 0; i < n; i++) {
        rows[i].seq->staged = -1;
        n_logits += rows[i].want_logits;
    }
    if (n_logits > e->max_logits)
        return pc_error_set(
            err, PACO_ELIMIT, "%zu rows want logits; the engine was opened for %zu", n_logits, e->max_logits);
    for (size_t i = 0; i < n; i++) {
        int rc = check_row(e, &rows[i], i, err);
        if (rc < 0)
            return rc;
        rows[i].seq->staged = rows[i].pos;
        rows[i].seq->staged_variant = pc_variant_id(rows[i].variant);
    }
    return 0;
}

static const struct pc_llama_delta *delta_of(const struct pc_row *row)
{
    return row->variant ? &row->variant->delta : NULL;
}

/* Put the rows of each variant together, in their order, and say where they are. Returns whether there are
 * any of a variant. */
static bool order_rows(struct pc_engine *e, const struct pc_row *rows, size_t n, struct pc_delta_rows *out)
{
    size_t n_spans = 0, at = 0;
    for (size_t i = 0; i < n && at < n; i++) {
        size_t k = 0;
        while (k < n_spans && e->spans[k].delta != delta_of(&rows[i]))
            k++;
        if (k < n_spans)
            continue;
        e->spans[n_spans] = (struct pc_delta_span){.first = at, .delta = delta_of(&rows[i])};
        for (size_t t = i; t < n; t++)
            if (delta_of(&rows[t]) == e->spans[n_spans].delta)
                e->order[at++] = t;
        e->spans[n_spans].n = at - e->spans[n_spans].first;
        n_spans++;
    }
    *out = (struct pc_delta_rows){.spans = e->spans, .n_spans = n_spans, .jobs = e->jobs, .low = e->low};
    return n_spans > 1 || (n_spans == 1 && e->spans->delta);
}

/* At most max_rows rows, the first of them number `first` of the step. */
static int run_rows(
    struct pc_engine *e, const struct pc_row *rows, size_t n, size_t first, struct paco_error *err)
{
    size_t d = (size_t)e->model->config.head_dim, width = (size_t)e->model->config.hidden_size;
    struct pc_delta_rows deltas;
    bool has_variants = order_rows(e, rows, n, &deltas);
    for (size_t t = 0; t < n; t++) {
        const struct pc_row *row = &rows[e->order[t]];
        e->seq[t] = row->seq;
        e->pos[t] = row->pos;
        e->token[t] = row->token;
        pc_rope_angles(e->cos_sin + t * d, e->model->inv_freq, e->model->rope_scale, row->pos, d);
    }
    struct pc_llama_rows r = {.n = n,
        .seq = e->seq,
        .pos = e->pos,
        .cos_sin = e->cos_sin,
        .kv_block = kv_block,
        .kv_type = e->kv_type,
        .delta = has_variants ? &deltas : NULL};
    r.pieces = e->pieces;
    r.n_pieces = pc_llama_cut(&e->model->config, e->seq, e->pos, n, e->pieces);
    int rc = pc_llama_forward(&e->compute, e->model, e->token, &r, e->x, &e->activations, err);
    for (size_t t = 0; t < n; t++)
        if (rows[e->order[t]].want_logits) {
            memcpy(e->hidden + e->n_logits * width, e->x + t * width, width * sizeof *e->x);
            e->logits_delta[e->n_logits] = delta_of(&rows[e->order[t]]);
            e->logits_row[e->n_logits++] = first + e->order[t];
        }
    return rc;
}

/* The logits of tokens that only a variant has go behind a copy of the others. */
static void widen_logits(struct pc_engine *e, const struct pc_delta_rows *deltas)
{
    size_t vocab = (size_t)e->model->config.vocab_size, width = (size_t)e->model->config.hidden_size;
    for (size_t i = 0; i < e->n_logits; i++)
        e->logits_at[i] = e->logits + i * vocab;
    for (size_t k = 0; k < deltas->n_spans; k++) {
        const struct pc_delta_span *s = &deltas->spans[k];
        if (!s->delta || s->delta->new_head.n == 0)
            continue;
        float *wide = e->wide + s->first * e->wide_stride;
        for (size_t i = 0; i < s->n; i++) {
            e->logits_at[s->first + i] = wide + i * e->wide_stride;
            memcpy(wide + i * e->wide_stride, e->logits + (s->first + i) * vocab, vocab * sizeof *wide);
        }
        pc_delta_new_logits(
            &e->compute, s->delta, e->hidden + s->first * width, width, s->n, wide + vocab, e->wide_stride);
    }
}

static int run_logits(struct pc_engine *e, struct paco_error *err)
{
    struct pc_delta_rows deltas = {.spans = e->spans, .jobs = e->jobs, .low = e->low};
    bool has_variants = false;
    for (size_t i = 0; i < e->n_logits; i++) {
        has_variants |= e->logits_delta[i] != NULL;
        if (i == 0 || e->logits_delta[i] != e->logits_delta[i - 1])
            e->spans[deltas.n_spans++] = (struct pc_delta_span){i, 0, e->logits_delta[i]};
        e->spans[deltas.n_spans - 1].n++;
    }
    int rc = pc_llama_logits(&e->compute, e->model, has_variants ? &deltas : NULL, e->hidden, e->n_logits,
        e->logits, &e->activations, err);
    if (rc == 0)
        widen_logits(e, &deltas);
    return rc;
}

static int run_all(struct pc_engine *e, const struct pc_row *rows, size_t n, struct paco_error *err)
{
    int rc = 0;
    e->n_logits = 0;
    for (size_t at = 0; at < n && rc == 0; at += e->max_rows)
        rc = run_rows(e, rows + at, n - at < e->max_rows ? n - at : e->max_rows, at, err);
    return rc == 0 && e->n_logits ? run_logits(e, err) : rc;
}

/* Pages for every row, none of them shared any more. */
static void prepare_rows(const struct pc_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rows[i].seq->staged = -1;
    for (size_t i = 0; i < n; i++) {
        struct pc_seq *s = rows[i].seq;
        if (s->staged < 0)
            pc_seq_truncate(s, rows[i].pos);
        s->staged = rows[i].pos;
        s->variant = pc_variant_id(rows[i].variant);
        pc_seq_prepare(s, rows[i].pos);
    }
}

int pc_engine_step(struct pc_engine *e, const struct pc_row *rows, size_t n, struct paco_error *err)
{
    int rc = check_rows(e, rows, n, err);
    if (rc < 0)
        return rc;
    prepare_rows(rows, n);
    bool guarded = pc_llama_is_filled(e->model); /* loading takes buffers */
    if (guarded)
        pc_alloc_forbid(true);
    rc = run_all(e, rows, n, err);
    if (guarded)
        pc_alloc_forbid(false);
    else if (pc_llama_is_filled(e->model))
        atomic_store_explicit(&e->is_filled, true, memory_order_relaxed);
    for (size_t i = 0; i < n && rc == 0; i++)
        rows[i].seq->length = rows[i].pos + 1;
    if (rc < 0)
        e->n_logits = 0;
    return rc;
}

const float *pc_engine_logits(const struct pc_engine *e, size_t i_row)
{
    for (size_t i = 0; i < e->n_logits; i++)
        if (e->logits_row[i] == i_row)
            return e->logits_at[i];
    return NULL;
}

void pc_engine_hidden(const struct pc_engine *e, size_t i_row, const struct pc_variant *variant, float *out)
{
    size_t width = (size_t)e->model->config.hidden_size, t = 0;
    while (e->order[t] != i_row)
        t++;
    assert(t < e->max_rows);
    const float *weight =
        variant && variant->delta.final_norm ? variant->delta.final_norm : e->model->final_norm;
    e->kernels.rmsnorm.forward(out, e->x + t * width, weight, 1, width, e->model->config.rms_norm_eps);
}
