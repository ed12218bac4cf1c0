// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include "base/cpu.h"
#include "base/host.h"
#include "base/memory.h"
#include "kernels/rope.h"
#include "model/llama_forward.h"

#include <assert.h>
#include <string.h>

enum {
    DEFAULT_ROWS = 128,
    DEFAULT_LOGITS = 16,
    MAX_ROWS = 4096,
    MAX_LOGITS = 65536,
    MAX_POSITION = 1 << 24, /* float32 counts no further */
    ALIGN = 64,
};

struct pc_engine {
    struct pc_llama *model;
    struct pc_kernels kernels;
    struct pc_pool *pool;
    struct pc_compute compute;
    struct pc_engine_plan plan;
    uint64_t memory_limit;
    size_t max_rows, max_logits;
    enum pc_dtype kv_type;

    void *memory; /* holds all that follows */
    struct pc_llama_activations activations;
    float *x, *hidden, *logits, *cos_sin; /* (max_rows, C), (max_logits, C), (max_logits, V), (max_rows, D) */
    void **seq;                           /* (max_rows) */
    int32_t *pos, *token;                 /* (max_rows) */
    struct pc_llama_piece *pieces;        /* (max_rows) */
    size_t *logits_row;                   /* (max_logits) which row of the step has them */
    size_t n_logits;
};

struct pc_seq {
    struct pc_engine *engine;
    int32_t capacity, length;
    int32_t staged; /* the last position a step under validation gives it, -1 none */
    size_t block_size;
    void *memory;
    unsigned char *blocks;
};

/* The engine's scratch, laid out one thing after another: with base NULL only measured. */
static size_t lay_out(struct pc_engine *e, unsigned char *base)
{
    const struct pc_config *c = &e->model->config;
    size_t rows = e->max_rows, width = (size_t)c->hidden_size, d = (size_t)c->head_dim;
    size_t activations = pc_llama_activations_size(c, rows, false);
    size_t form_rows = rows > e->max_logits ? rows : e->max_logits;
    float *memory;
    const struct {
        void *field;
        size_t n, size;
    } parts[] = {
        {&e->compute.scratch, e->compute.n_scratch * (size_t)pc_pool_size(e->pool), sizeof(float)},
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
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = base ? base + at : NULL;
        memcpy(parts[i].field, &p, sizeof p);
        at += (parts[i].n * parts[i].size + ALIGN - 1) / ALIGN * ALIGN;
    }
    if (base)
        pc_llama_activations_place(&e->activations, c, rows, false, memory);
    return at;
}

static double gigabytes(uint64_t bytes)
{
    return (double)bytes * 1e-9;
}

static int check_memory(const struct pc_engine *e, const struct pc_engine_options *o, struct paco_error *err)
{
    const struct pc_engine_plan *p = &e->plan;
    uint64_t need, left = e->memory_limit ? e->memory_limit : pc_host_memory_available();
    if (!pc_add_u64(p->weights, p->scratch, &need) || !pc_add_u64(need, p->kv, &need))
        need = UINT64_MAX;
    if (need <= left)
        return 0;
    return pc_error_set(err, PACO_EMEM,
        "needs %.3f GB: weights %.3f, keys and values of %lld tokens %.3f, scratch %.3f; %.3f GB are "
        "available "
        "(a smaller context or a quantised model takes less)",
        gigabytes(need), gigabytes(p->weights), (long long)o->plan_tokens, gigabytes(p->kv),
        gigabytes(p->scratch), gigabytes(left));
}

static int plan(struct pc_engine *e, const struct pc_engine_options *o, struct paco_error *err)
{
    const struct pc_config *c = &e->model->config;
    size_t attention = pc_llama_attention_scratch(c);
    e->compute.n_scratch = e->model->n_scratch > attention ? e->model->n_scratch : attention;
    e->compute.n_scratch = (e->compute.n_scratch + 15) / 16 * 16;
    e->plan.weights = e->model->weights_size;
    e->plan.scratch = lay_out(e, NULL);
    e->plan.kv_token = pc_kv_block_size(c, e->kv_type) / PC_KV_BLOCK;
    uint64_t blocks = ((uint64_t)o->plan_tokens + PC_KV_BLOCK - 1) / PC_KV_BLOCK;
    if (!pc_mul_u64(blocks, pc_kv_block_size(c, e->kv_type), &e->plan.kv))
        e->plan.kv = UINT64_MAX;
    return check_memory(e, o, err);
}

static int open_engine(struct pc_engine *e, const struct pc_checkpoint *weights,
    const struct pc_config *config, const struct pc_engine_options *o, struct paco_error *err)
{
    pc_kernels_init(&e->kernels, o->scalar ? 0 : pc_cpu_flags());
    e->memory_limit = o->memory_limit;
    e->kv_type = o->kv_type;
    e->max_rows = (size_t)(o->max_rows ? o->max_rows : DEFAULT_ROWS);
    e->max_logits = (size_t)(o->max_logits ? o->max_logits : DEFAULT_LOGITS);
    int rc = pc_llama_bind(weights, config, &e->kernels, o->f32, &e->model, err);
    if (rc < 0)
        return rc;
    e->pool = pc_pool_new(o->n_threads, err);
    if (!e->pool)
        return err && err->code ? err->code : PACO_EMEM;
    rc = plan(e, o, err);
    if (rc < 0)
        return rc;
    e->memory = pc_alloc_pages(e->plan.scratch);
    if (!e->memory)
        return pc_error_mem(err, e->plan.scratch, "scratch");
    lay_out(e, e->memory);
    e->compute.kernels = &e->kernels;
    e->compute.pool = e->pool;
    return pc_llama_load(e->model, err);
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
    pc_pool_free(e->pool);
    pc_llama_free(e->model);
    pc_free(e->memory);
    pc_free(e);
}

const struct pc_config *pc_engine_config(const struct pc_engine *e)
{
    return &e->model->config;
}

struct pc_engine_plan pc_engine_plan(const struct pc_engine *e)
{
    return e->plan;
}

int pc_engine_n_threads(const struct pc_engine *e)
{
    return pc_pool_size(e->pool);
}

int pc_seq_new(struct pc_engine *e, int32_t max_tokens, struct pc_seq **out, struct paco_error *err)
{
    if (max_tokens < 1 || max_tokens > MAX_POSITION)
        return pc_error_set(
            err, PACO_EINVAL, "a sequence of %d tokens; 1 to %d are possible", max_tokens, MAX_POSITION);
    uint64_t n_blocks = ((uint64_t)max_tokens + PC_KV_BLOCK - 1) / PC_KV_BLOCK;
    uint64_t block_size = pc_kv_block_size(&e->model->config, e->kv_type), size;
    uint64_t left = e->memory_limit ? e->memory_limit : pc_host_memory_available();
    if (!pc_mul_u64(n_blocks, block_size, &size) || size > left)
        return pc_error_set(err, PACO_EMEM,
            "keys and values of %d tokens need %.3f GB; %.3f GB are available (a smaller context takes less)",
            max_tokens, gigabytes(n_blocks * block_size), gigabytes(left));
    struct pc_seq *s = pc_alloc_zero(1, sizeof *s);
    void *memory =
        pc_alloc_zero((size_t)size + ALIGN, 1); /* zeroed memory is not touched before it is used */
    if (!s || !memory) {
        pc_free(s);
        pc_free(memory);
        return pc_error_mem(err, size, "keys and values");
    }
    *s = (struct pc_seq){
        .engine = e, .capacity = max_tokens, .block_size = (size_t)block_size, .memory = memory};
    s->blocks = (unsigned char *)(((uintptr_t)memory + ALIGN - 1) / ALIGN * ALIGN);
    *out = s;
    return 0;
}

void pc_seq_free(struct pc_seq *s)
{
    if (!s)
        return;
    pc_free(s->memory);
    pc_free(s);
}

int32_t pc_seq_length(const struct pc_seq *s)
{
    return s->length;
}

int32_t pc_seq_capacity(const struct pc_seq *s)
{
    return s->capacity;
}

void pc_seq_truncate(struct pc_seq *s, int32_t n)
{
    assert(n >= 0 && n <= s->length);
    s->length = n;
}

void *pc_kv_block(struct pc_seq *s, int32_t i_block)
{
    assert(i_block >= 0 && i_block <= (s->capacity - 1) / PC_KV_BLOCK);
    return s->blocks + (size_t)i_block * s->block_size;
}

static void *kv_block(void *seq, int32_t i_block)
{
    return pc_kv_block(seq, i_block);
}

static int check_row(const struct pc_engine *e, const struct pc_row *r, size_t i, struct paco_error *err)
{
    const struct pc_seq *s = r->seq;
    if (s->engine != e)
        return pc_error_set(err, PACO_EINVAL, "row %zu: its sequence belongs to another engine", i);
    if (r->variant)
        return pc_error_set(err, PACO_EUNSUPPORTED, "row %zu: variants are not there yet", i);
    if (r->token < 0 || r->token >= e->model->config.vocab_size)
        return pc_error_set(err, PACO_EINVAL, "row %zu: token %d, the vocabulary has %d", i, r->token,
            e->model->config.vocab_size);
    if (r->pos >= s->capacity)
        return pc_error_set(err, PACO_ELIMIT, "row %zu: position %d, the sequence has room for %d tokens", i,
            r->pos, s->capacity);
    if (s->staged >= 0 ? r->pos != s->staged + 1 : r->pos < 0 || r->pos > s->length)
        return pc_error_set(err, PACO_EINVAL, "row %zu: position %d does not follow %d", i, r->pos,
            s->staged >= 0 ? s->staged : s->length - 1);
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
    }
    return 0;
}

/* At most max_rows rows, the first of them number `first` of the step. */
static int run_rows(
    struct pc_engine *e, const struct pc_row *rows, size_t n, size_t first, struct paco_error *err)
{
    size_t d = (size_t)e->model->config.head_dim, width = (size_t)e->model->config.hidden_size;
    for (size_t t = 0; t < n; t++) {
        e->seq[t] = rows[t].seq;
        e->pos[t] = rows[t].pos;
        e->token[t] = rows[t].token;
        pc_rope_angles(e->cos_sin + t * d, e->model->inv_freq, rows[t].pos, d);
    }
    struct pc_llama_rows r = {.n = n,
        .seq = e->seq,
        .pos = e->pos,
        .cos_sin = e->cos_sin,
        .kv_block = kv_block,
        .kv_type = e->kv_type};
    r.pieces = e->pieces;
    r.n_pieces = pc_llama_cut(&e->model->config, e->seq, e->pos, n, e->pieces);
    int rc = pc_llama_forward(&e->compute, e->model, e->token, &r, e->x, &e->activations, err);
    for (size_t t = 0; t < n; t++)
        if (rows[t].want_logits) {
            memcpy(e->hidden + e->n_logits * width, e->x + t * width, width * sizeof *e->x);
            e->logits_row[e->n_logits++] = first + t;
        }
    return rc;
}

static int run_all(struct pc_engine *e, const struct pc_row *rows, size_t n, struct paco_error *err)
{
    int rc = 0;
    e->n_logits = 0;
    for (size_t at = 0; at < n && rc == 0; at += e->max_rows)
        rc = run_rows(e, rows + at, n - at < e->max_rows ? n - at : e->max_rows, at, err);
    if (rc == 0 && e->n_logits)
        rc = pc_llama_logits(&e->compute, e->model, e->hidden, e->n_logits, e->logits, &e->activations, err);
    return rc;
}

int pc_engine_step(struct pc_engine *e, const struct pc_row *rows, size_t n, struct paco_error *err)
{
    int rc = check_rows(e, rows, n, err);
    if (rc < 0)
        return rc;
    bool guarded = pc_llama_is_filled(e->model); /* loading takes buffers */
    if (guarded)
        pc_alloc_forbid(true);
    rc = run_all(e, rows, n, err);
    if (guarded)
        pc_alloc_forbid(false);
    for (size_t i = 0; i < n && rc == 0; i++)
        rows[i].seq->length = rows[i].pos + 1;
    for (size_t i = 0; i < n && rc < 0; i++) /* what was there may be overwritten */
        if (rows[i].seq->length > rows[i].pos)
            rows[i].seq->length = rows[i].pos;
    if (rc < 0)
        e->n_logits = 0;
    return rc;
}

const float *pc_engine_logits(const struct pc_engine *e, size_t i_row)
{
    for (size_t i = 0; i < e->n_logits; i++)
        if (e->logits_row[i] == i_row)
            return e->logits + i * (size_t)e->model->config.vocab_size;
    return NULL;
}
