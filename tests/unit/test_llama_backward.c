// SPDX-License-Identifier: Apache-2.0
/* Gradients of whole models against finite differences of a forward pass in double; the same bytes whatever
 * the threads, with recomputation or without, whatever is frozen; and forward's bytes are the engine's. */
#include "unit.h"

#include "base/cpu.h"
#include "double_model.h"
#include "engine/engine.h"
#include "model/llama_backward.h"
#include "model/llama_batch.h"
#include "model/llama_forward.h"

static const struct pc_config g_gqa = {.architecture = "LlamaForCausalLM",
    .n_layers = 2,
    .hidden_size = 20,
    .intermediate_size = 28,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 6,
    .vocab_size = 37,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = -1,
    .pad_id = -1};

/* Lengths around a tile of keys; tokens that come again and again; some rows not trained. */
static struct double_batch make_batch(const struct pc_config *c)
{
    struct double_batch b = {.lengths = {35, 1, 7}, .n = 3, .n_rows = 43};
    for (size_t t = 0; t < b.n_rows; t++) {
        b.token[t] = (int32_t)(t * t + 3 * t) % (c->vocab_size - 5);
        b.label[t] = t % 4 == 1 ? -100 : (int32_t)(t * 7 + 2) % c->vocab_size;
        b.weight[t] = 1.0f / (float)(3 + t % 5);
    }
    return b;
}

/* ---- adapters ---- */

enum { RANK = 3 };

/* Beside some of the matrices; in the first layer beside one only. */
struct adapter {
    struct tiny t;
    float dropout;
    uint64_t key[DOUBLE_ROWS];
};

static bool is_adapted(int layer, int k)
{
    return layer ? k != PC_LLAMA_K : k == PC_LLAMA_UP;
}

static void make_adapter(struct adapter *a, const struct tiny *base, float dropout, uint64_t seed)
{
    struct paco_error err = {0};
    *a = (struct adapter){.t = {.dtype = PC_F32, .mapped = true, .random = seed}, .dropout = dropout};
    a->t.ck = pc_checkpoint_new("memory", &tiny_ops, "adapter", &err);
    a->t.ck->impl = &a->t;
    for (int l = 0; l < base->config.n_layers; l++)
        for (int k = 0; k < 7; k++) {
            char name[160];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, double_parts[k]);
            const struct pc_tensor *w = pc_checkpoint_find(base->ck, name);
            if (!is_adapted(l, k))
                continue;
            snprintf(
                name, sizeof name, "base_model.model.model.layers.%d.%s.lora_A.weight", l, double_parts[k]);
            tiny_add(&a->t, name, PC_F32, RANK, (int64_t)w->shape[1], 0, 0.5f);
            snprintf(
                name, sizeof name, "base_model.model.model.layers.%d.%s.lora_B.weight", l, double_parts[k]);
            tiny_add(&a->t, name, PC_F32, (int64_t)w->shape[0], RANK, 0, 0.5f);
        }
    for (size_t t = 0; t < DOUBLE_ROWS; t++)
        a->key[t] = 1000 + t / 7; /* as if of examples */
}

static const float g_scale = 0.75f;

/* ---- a pass ---- */

struct way {
    int n_threads;
    bool scalar, recompute, bf16;
    size_t n_loss_rows; /* 0: all */
};

struct result {
    float **gradient; /* by tensor, of what is trained */
    float **adapter;  /* likewise; NULL: there is none */
    float *dx;        /* of the embedded rows */
    double loss[DOUBLE_ROWS];
};

struct rig {
    struct tiny *t;
    const struct adapter *adapter; /* or NULL */
    struct double_batch batch;
    struct way way;
    struct pc_kernels kernels;
    struct pc_llama *model;
    struct pc_compute compute;
    struct pc_llama_batch *rows;
    struct pc_llama_tape tape[DOUBLE_LAYERS];
    struct pc_llama_scratch scratch;
    float *tapes;
    unsigned char *memory, *lora_memory;
    struct pc_lora *lora;
    struct pc_lora_scratch lora_scratch;
    struct pc_lora_span span;
    struct pc_lora_rows lora_rows;
    struct pc_llama_rows pass; /* the batch's, with adapters */
};

static void begin_adapter(struct rig *r, enum pc_products products)
{
    struct paco_error err = {0};
    const struct adapter *a = r->adapter;
    if (pc_lora_bind(a->t.ck, &r->t->config, &r->kernels, products, g_scale, &r->lora, &err) < 0)
        fail_msg("%s", err.message);
    r->lora_memory = pc_alloc_pages(pc_lora_scratch_size(r->lora, r->batch.n_rows));
    pc_lora_scratch_place(&r->lora_scratch, r->lora, r->batch.n_rows, r->lora_memory);
    r->span = (struct pc_lora_span){0, r->batch.n_rows, r->lora};
    r->lora_rows = (struct pc_lora_rows){&r->span, 1, a->dropout, a->key, &r->lora_scratch};
    r->pass.lora = &r->lora_rows;
}

static void begin(struct rig *r)
{
    struct paco_error err = {0};
    size_t n = r->batch.n_rows, n_loss = r->way.n_loss_rows ? r->way.n_loss_rows : pc_llama_loss_rows(n);
    enum pc_dtype kv_type = r->way.bf16 ? PC_BF16 : PC_F32;
    enum pc_products products = r->way.bf16 ? PC_PRODUCTS_TRAIN_BF16 : PC_PRODUCTS_F32;
    pc_kernels_init(&r->kernels, r->way.scalar ? 0 : pc_cpu_flags());
    if (pc_llama_bind(r->t->ck, &r->t->config, &r->kernels, products, &r->model, &err) < 0 ||
        pc_llama_load(r->model, &err) < 0 ||
        pc_llama_batch_new(r->model, n, r->batch.n, kv_type, &r->rows, &err) < 0)
        fail_msg("%s", err.message);
    r->compute = (struct pc_compute){.kernels = &r->kernels, .pool = pc_pool_new(r->way.n_threads, &err)};
    r->compute.n_scratch = pc_llama_training_scratch(r->model, n);
    r->compute.scratch = pc_alloc_pages((size_t)r->way.n_threads * r->compute.n_scratch * sizeof(float));
    size_t tape = pc_llama_tape_size(&r->t->config, n, r->way.recompute);
    r->tapes = pc_alloc_pages((size_t)r->t->config.n_layers * tape * sizeof(float));
    for (int32_t i = 0; i < r->t->config.n_layers; i++)
        pc_llama_tape_place(&r->tape[i], &r->t->config, n, r->way.recompute, r->tapes + (size_t)i * tape);
    r->memory = pc_alloc_pages(pc_llama_scratch_size(r->model, n, n_loss, r->way.recompute));
    pc_llama_scratch_place(&r->scratch, r->model, n, n_loss, r->way.recompute, r->memory);
    pc_llama_batch_set(r->rows, r->batch.lengths, r->batch.n);
    r->pass = *pc_llama_batch_rows(r->rows);
    if (r->adapter)
        begin_adapter(r, products);
}

static void finish(struct rig *r)
{
    pc_lora_free(r->lora);
    pc_free(r->lora_memory);
    pc_free(r->memory);
    pc_free(r->tapes);
    pc_free(r->compute.scratch);
    pc_pool_free(r->compute.pool);
    pc_llama_batch_free(r->rows);
    pc_llama_free(r->model);
}

/* Where the gradient of a tensor goes. */
static float *gradient(const struct rig *r, const struct result *to, const char *fmt, int i, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, fmt, i, part);
    const struct pc_tensor *t = pc_checkpoint_find(r->t->ck, name);
    return t ? to->gradient[t->index] : NULL;
}

static float *adapter_gradient(const struct rig *r, const struct result *to, int i, int k, char factor)
{
    char name[160];
    snprintf(
        name, sizeof name, "base_model.model.model.layers.%d.%s.lora_%c.weight", i, double_parts[k], factor);
    const struct pc_tensor *t = r->adapter ? pc_checkpoint_find(r->adapter->t.ck, name) : NULL;
    return t ? to->adapter[t->index] : NULL;
}

static struct pc_llama_gradients layer_gradients(const struct rig *r, const struct result *to, int i)
{
    struct pc_llama_gradients g = {
        .attention_norm = gradient(r, to, "model.layers.%d.%s.weight", i, "input_layernorm"),
        .mlp_norm = gradient(r, to, "model.layers.%d.%s.weight", i, "post_attention_layernorm")};
    for (int k = 0; k < PC_LLAMA_N_MATRICES; k++) {
        g.matrix[k] = gradient(r, to, "model.layers.%d.%s.weight", i, double_parts[k]);
        g.bias[k] = gradient(r, to, "model.layers.%d.%s.bias", i, double_parts[k]);
        g.lora_a[k] = adapter_gradient(r, to, i, k, 'A');
        g.lora_b[k] = adapter_gradient(r, to, i, k, 'B');
    }
    return g;
}

static float *forward(struct rig *r)
{
    struct paco_error err = {0};
    const struct pc_llama_rows *rows = &r->pass;
    size_t width = (size_t)r->t->config.hidden_size;
    float *x = malloc(rows->n * width * sizeof *x);
    struct pc_llama_weights weights = pc_llama_weights(r->model);
    assert_int_equal(pc_llama_fill_head(r->model, r->compute.pool, &err), 0);
    for (size_t t = 0; t < rows->n; t++)
        assert_int_equal(pc_llama_embed(r->model, r->batch.token[t], x + t * width, &err), 0);
    for (int32_t i = 0; i < r->t->config.n_layers; i++) {
        assert_int_equal(pc_llama_fill_layer(r->model, i, r->compute.pool, &err), 0);
        pc_llama_block_forward(
            &r->compute, &r->t->config, &weights, i, rows, x, &r->scratch.forward, &r->tape[i]);
    }
    return x;
}

/* Gradients are added to what `to` holds. */
static void run(struct rig *r, struct result *to)
{
    const struct pc_llama_rows *rows = &r->pass;
    struct pc_llama_weights weights = pc_llama_weights(r->model);
    float *x = forward(r);
    double loss[DOUBLE_ROWS];
    const struct pc_llama_targets targets = {r->batch.label, r->batch.weight};
    struct pc_llama_end_gradients ends = {.embedding = gradient(r, to, "model.embed_tokens.weight", 0, ""),
        .final_norm = gradient(r, to, "model.norm.weight", 0, ""),
        .head = gradient(r, to, r->t->config.tied ? "model.embed_tokens.weight" : "lm_head.weight", 0, "")};
    pc_llama_loss(&r->compute, r->model, rows->n, x, &targets, loss, &r->scratch);
    pc_llama_loss_backward(&r->compute, r->model, rows->n, x, &targets, &ends, to->loss, &r->scratch);
    assert_memory_equal(loss, to->loss, rows->n * sizeof *loss);
    for (int32_t i = r->t->config.n_layers - 1; i >= 0; i--) {
        struct pc_llama_gradients g = layer_gradients(r, to, i);
        pc_llama_block_backward(
            &r->compute, &r->t->config, &weights, i, rows, &r->tape[i], x, &g, &r->scratch);
    }
    if (ends.embedding)
        pc_llama_embed_backward(&r->compute, &r->t->config, rows->n, r->batch.token, x, ends.embedding);
    to->dx = x;
}

static float **new_buffers(const struct tiny *t)
{
    float **buffers = calloc(t->n, sizeof *buffers);
    for (size_t i = 0; i < t->n; i++)
        buffers[i] = calloc((size_t)pc_tensor_n_elements(&t->ck->tensors[i]), sizeof(float));
    return buffers;
}

static void free_buffers(float **buffers, const struct tiny *t)
{
    for (size_t i = 0; i < t->n && buffers; i++)
        free(buffers[i]);
    free(buffers);
}

static struct result new_result(const struct tiny *t)
{
    return (struct result){.gradient = new_buffers(t)};
}

static void release(struct result *r, const struct tiny *t)
{
    free_buffers(r->gradient, t);
    free(r->dx);
}

/* With an adapter the base is frozen. */
static struct result adapter_gradients(
    struct tiny *t, const struct adapter *a, struct double_batch batch, struct way way)
{
    struct rig r = {.t = t, .adapter = a, .batch = batch, .way = way};
    struct result result = {.gradient = calloc(t->n, sizeof *result.gradient), .adapter = new_buffers(&a->t)};
    begin(&r);
    run(&r, &result);
    finish(&r);
    return result;
}

static struct result gradients(struct tiny *t, struct double_batch batch, struct way way)
{
    struct rig r = {.t = t, .batch = batch, .way = way};
    struct result result = new_result(t);
    begin(&r);
    run(&r, &result);
    finish(&r);
    return result;
}

/* ---- against finite differences ---- */

static bool is_parameter(const char *name)
{
    return !strstr(name, "inv_freq");
}

/* The gradients of t's tensors, by differences of the model whose values are these: every element of small
 * tensors, and some of large ones. */
static void check_tensors(const struct tiny *t, double **values, float *const *got, struct double_model *m,
    const struct double_batch *batch)
{
    enum { MOST = 40 };
    const double step = 1e-5;
    for (size_t i = 0; i < t->n; i++) {
        const char *name = t->ck->tensors[i].name;
        size_t n = (size_t)pc_tensor_n_elements(&t->ck->tensors[i]), stride = n / MOST + 1;
        double off = 0, size = 0;
        for (size_t k = i % stride; k < n && is_parameter(name); k += stride) {
            double *at = &values[i][k], kept = *at;
            *at = kept + step;
            double above = double_loss(m, batch, NULL);
            *at = kept - step;
            double want = (above - double_loss(m, batch, NULL)) / (2 * step);
            *at = kept;
            off += (want - (double)got[i][k]) * (want - (double)got[i][k]);
            size += want * want;
        }
        if (is_parameter(name) && !(size > 0 && sqrt(off / size) < 2e-5))
            fail_msg("%s: off by %.3g of %.3g", name, sqrt(off), sqrt(size));
    }
}

static void check_losses(struct double_model *m, const struct double_batch *batch, const double *got)
{
    double want[DOUBLE_ROWS];
    double_loss(m, batch, want);
    for (size_t i = 0; i < batch->n_rows; i++)
        assert_true(fabs(want[i] - got[i]) <= 1e-5 * (1 + want[i]));
}

static void check_differences(struct tiny *t, const struct double_batch *batch)
{
    struct result got = gradients(t, *batch, (struct way){.n_threads = 1});
    struct double_model m = double_model(t);
    check_losses(&m, batch, got.loss);
    check_tensors(t, m.tensor, got.gradient, &m, batch);
    double_release(&m);
    release(&got, t);
}

/* ---- the same bytes ---- */

static void assert_same(const struct tiny *t, const struct result *a, const struct result *b, size_t n_rows)
{
    assert_memory_equal(a->loss, b->loss, n_rows * sizeof *a->loss);
    assert_memory_equal(a->dx, b->dx, n_rows * (size_t)t->config.hidden_size * sizeof *a->dx);
    for (size_t i = 0; i < t->n; i++)
        if (memcmp(a->gradient[i], b->gradient[i],
                (size_t)pc_tensor_n_elements(&t->ck->tensors[i]) * sizeof(float)) != 0)
            fail_msg("%s has other bytes", t->ck->tensors[i].name);
}

static void check_ways(struct tiny *t, const struct double_batch *batch)
{
    static const struct way ways[] = {{.n_threads = 2}, {.n_threads = 3}, {.n_threads = 1, .recompute = true},
        {.n_threads = 3, .recompute = true}, {.n_threads = 2, .scalar = true}};
    struct result want = gradients(t, *batch, (struct way){.n_threads = 1});
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct result got = gradients(t, *batch, ways[i]);
        assert_same(t, &want, &got, batch->n_rows);
        release(&got, t);
    }
    release(&want, t);
}

static void check_model(struct pc_config c)
{
    struct tiny t = {.config = c, .dtype = PC_F32, .mapped = true, .random = 42};
    tiny_make(&t);
    struct double_batch batch = make_batch(&c);
    check_differences(&t, &batch);
    check_ways(&t, &batch);
    tiny_release(&t);
}

static void test_grouped_heads(void **state)
{
    (void)state;
    check_model(g_gqa);
}

static void test_full_heads_tied_biases(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.n_heads = c.n_kv_heads = 2;
    c.head_dim = 34;
    c.tied = c.attention_bias = c.mlp_bias = true;
    check_model(c);
}

static void test_one_kv_head(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.n_layers = 1;
    c.n_heads = 3;
    c.n_kv_heads = 1;
    c.head_dim = 2;
    c.hidden_size = 33;
    c.intermediate_size = 7;
    check_model(c);
}

/* ---- adapters ---- */

static void check_adapter(struct tiny *t, const struct double_batch *batch, float dropout)
{
    static const struct way ways[] = {
        {.n_threads = 2}, {.n_threads = 3, .recompute = true}, {.n_threads = 2, .scalar = true}};
    struct adapter a;
    make_adapter(&a, t, dropout, 77);
    struct result want = adapter_gradients(t, &a, *batch, (struct way){.n_threads = 1});
    struct double_model m = double_model(t);
    double **values = malloc(a.t.n * sizeof *values);
    for (size_t i = 0; i < a.t.n; i++)
        values[i] = tiny_values(&a.t, a.t.ck->tensors[i].name, 0, "");
    m.rank = RANK;
    m.scale = (double)g_scale;
    m.dropout = (double)dropout;
    memcpy(m.key, a.key, sizeof m.key);
    size_t n = 0;
    for (int l = 0; l < t->config.n_layers; l++)
        for (int k = 0; k < 7; k++)
            if (is_adapted(l, k)) {
                m.layer[l].lora_a[k] = values[n++];
                m.layer[l].lora_b[k] = values[n++];
            }
    check_losses(&m, batch, want.loss);
    check_tensors(&a.t, values, want.adapter, &m, batch);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct result got = adapter_gradients(t, &a, *batch, ways[w]);
        assert_memory_equal(want.loss, got.loss, batch->n_rows * sizeof *got.loss);
        assert_memory_equal(want.dx, got.dx, batch->n_rows * (size_t)t->config.hidden_size * sizeof *got.dx);
        for (size_t i = 0; i < a.t.n; i++)
            assert_memory_equal(want.adapter[i], got.adapter[i],
                (size_t)pc_tensor_n_elements(&a.t.ck->tensors[i]) * sizeof(float));
        free_buffers(got.adapter, &a.t);
        free(got.gradient);
        free(got.dx);
    }
    free_buffers(want.adapter, &a.t);
    free(want.gradient);
    free(want.dx);
    for (size_t i = 0; i < a.t.n; i++)
        free(values[i]);
    free(values);
    double_release(&m);
    tiny_release(&a.t);
}

static void test_adapters(void **state)
{
    (void)state;
    struct tiny t = {.config = g_gqa, .dtype = PC_F32, .mapped = true, .random = 12};
    tiny_make(&t);
    struct double_batch batch = make_batch(&g_gqa);
    check_adapter(&t, &batch, 0);
    check_adapter(&t, &batch, 0.3f);
    tiny_release(&t);
}

/* The stream of one example, alone with its adapter. */
static void check_alone(
    struct tiny *t, const struct adapter *a, const struct double_batch *batch, size_t i, const float *want)
{
    struct rig r = {.t = t, .adapter = a, .batch = {.n = 1}, .way = {.n_threads = 1}};
    size_t first = 0, n = r.batch.n_rows = r.batch.lengths[0] = batch->lengths[i],
           width = (size_t)t->config.hidden_size;
    for (size_t k = 0; k < i; k++)
        first += batch->lengths[k];
    memcpy(r.batch.token, batch->token + first, n * sizeof *batch->token);
    begin(&r);
    float *x = forward(&r);
    finish(&r);
    assert_memory_equal(x, want + first * width, n * width * sizeof *x);
    free(x);
}

/* Three examples in one pass: with an adapter, without, with another. */
static void test_adapters_in_company(void **state)
{
    (void)state;
    struct tiny t = {.config = g_gqa, .dtype = PC_F32, .mapped = true, .random = 13};
    struct adapter a, b;
    struct paco_error err = {0};
    tiny_make(&t);
    make_adapter(&a, &t, 0, 1);
    make_adapter(&b, &t, 0, 2);
    struct rig r = {.t = &t, .adapter = &a, .batch = make_batch(&g_gqa), .way = {.n_threads = 2}};
    begin(&r);
    struct pc_lora *other;
    assert_int_equal(pc_lora_bind(b.t.ck, &g_gqa, &r.kernels, PC_PRODUCTS_F32, g_scale, &other, &err), 0);
    size_t second = r.batch.lengths[0] + r.batch.lengths[1];
    const struct pc_lora_span spans[] = {
        {0, r.batch.lengths[0], r.lora}, {second, r.batch.lengths[2], other}};
    r.lora_rows.spans = spans;
    r.lora_rows.n_spans = 2;
    float *x = forward(&r);
    check_alone(&t, &a, &r.batch, 0, x);
    check_alone(&t, NULL, &r.batch, 1, x);
    check_alone(&t, &b, &r.batch, 2, x);
    free(x);
    pc_lora_free(other);
    finish(&r);
    tiny_release(&a.t);
    tiny_release(&b.t);
    tiny_release(&t);
}

/* Factors that do not fit, are half there, or not at all. */
static void test_adapter_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int64_t r, n_in, n_out, r_b;
        int code;
        const char *says;
    } cases[] = {
        {"lora_A", "lora_B", 3, 21, 24, 3, PACO_EMISMATCH, "do not make a matrix of [24,20]"},
        {"lora_A", "lora_B", 3, 20, 25, 3, PACO_EMISMATCH, "[3,20] and [25,3]"},
        {"lora_A", "lora_B", 3, 20, 24, 4, PACO_EMISMATCH, "[24,4]"},
        {"lora_A", "lora_C", 3, 20, 24, 3, PACO_ENOENT, "without its lora_B"},
        {"lora_C", "lora_B", 3, 20, 24, 3, PACO_ENOENT, "without its lora_A"},
        {"lora_C", "lora_D", 3, 20, 24, 3, PACO_ENOENT, "no adapter of a LLaMA"},
    };
    struct pc_kernels kernels;
    pc_kernels_init(&kernels, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct adapter a = {.t = {.dtype = PC_F32, .mapped = true, .random = 3}};
        struct paco_error err = {0};
        struct pc_lora *lora = NULL;
        char name[160];
        a.t.ck = pc_checkpoint_new("memory", &tiny_ops, "adapter", &err);
        a.t.ck->impl = &a.t;
        snprintf(name, sizeof name, "base_model.model.model.layers.1.self_attn.q_proj.%s.weight", cases[i].a);
        tiny_add(&a.t, name, PC_F32, cases[i].r, cases[i].n_in, 0, 1);
        snprintf(name, sizeof name, "base_model.model.model.layers.1.self_attn.q_proj.%s.weight", cases[i].b);
        tiny_add(&a.t, name, PC_F32, cases[i].n_out, cases[i].r_b, 0, 1);
        assert_int_equal(
            pc_lora_bind(a.t.ck, &g_gqa, &kernels, PC_PRODUCTS_F32, 1, &lora, &err), cases[i].code);
        assert_contains(err.message, cases[i].says);
        assert_null(lora);
        tiny_release(&a.t);
    }
}

/* What is frozen changes no bit of the rest; gradients are added to. */
static void test_frozen(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.tied = c.attention_bias = true;
    struct tiny t = {.config = c, .dtype = PC_F32, .mapped = true, .random = 7};
    tiny_make(&t);
    struct double_batch batch = make_batch(&c);
    struct result want = gradients(&t, batch, (struct way){.n_threads = 1});
    for (size_t k = 0; k < 3; k++) {
        struct rig r = {.t = &t, .batch = batch, .way = {.n_threads = 2}};
        struct result got = new_result(&t);
        for (size_t i = 0; i < t.n; i++) {
            size_t n = (size_t)pc_tensor_n_elements(&t.ck->tensors[i]);
            if (i % 3 == k) {
                free(got.gradient[i]);
                got.gradient[i] = NULL;
            } else {
                got.gradient[i][n - 1] = 1;
            }
        }
        begin(&r);
        run(&r, &got);
        finish(&r);
        assert_memory_equal(want.dx, got.dx, batch.n_rows * (size_t)c.hidden_size * sizeof(float));
        for (size_t i = 0; i < t.n; i++) {
            size_t n = (size_t)pc_tensor_n_elements(&t.ck->tensors[i]);
            if (!got.gradient[i] || !is_parameter(t.ck->tensors[i].name))
                continue;
            assert_memory_equal(want.gradient[i], got.gradient[i], (n - 1) * sizeof(float));
            assert_true(fabsf(want.gradient[i][n - 1] + 1 - got.gradient[i][n - 1]) < 1e-5f);
        }
        release(&got, &t);
    }
    release(&want, &t);
    tiny_release(&t);
}

/* Few rows of logits at once: another grouping of the head's sums alone. */
static void test_loss_rows(void **state)
{
    (void)state;
    struct tiny t = {.config = g_gqa, .dtype = PC_F32, .mapped = true, .random = 8};
    tiny_make(&t);
    struct double_batch batch = make_batch(&g_gqa);
    struct result all = gradients(&t, batch, (struct way){.n_threads = 1});
    struct result few = gradients(&t, batch, (struct way){.n_threads = 2, .n_loss_rows = 5});
    assert_memory_equal(all.loss, few.loss, batch.n_rows * sizeof *all.loss);
    assert_memory_equal(all.dx, few.dx, batch.n_rows * (size_t)g_gqa.hidden_size * sizeof *all.dx);
    const struct pc_tensor *head = pc_checkpoint_find(t.ck, "lm_head.weight");
    for (size_t i = 0; i < (size_t)pc_tensor_n_elements(head); i++)
        assert_true(fabsf(all.gradient[head->index][i] - few.gradient[head->index][i]) < 1e-5f);
    release(&all, &t);
    release(&few, &t);
    tiny_release(&t);
}

/* An example beside others: its rows' gradients are the bytes it has alone, and the engine has its logits. */
static void test_company(void **state)
{
    (void)state;
    struct tiny t = {.config = g_gqa, .dtype = PC_F32, .mapped = true, .random = 9};
    tiny_make(&t);
    struct double_batch batch = make_batch(&g_gqa), alone = batch;
    struct result all = gradients(&t, batch, (struct way){.n_threads = 2});
    size_t first = 0, width = (size_t)g_gqa.hidden_size, vocab = (size_t)g_gqa.vocab_size;
    struct rig r = {.t = &t, .batch = batch, .way = {.n_threads = 2}};
    begin(&r);
    float *x = forward(&r), *logits = malloc(batch.n_rows * vocab * sizeof *logits);
    struct paco_error err = {0};
    assert_int_equal(
        pc_llama_logits(&r.compute, r.model, NULL, x, batch.n_rows, logits, &r.scratch.forward, &err), 0);
    finish(&r);
    struct pc_engine *e = NULL;
    const struct pc_engine_options o = {.n_threads = 1, .f32 = true, .max_logits = DOUBLE_ROWS};
    assert_int_equal(pc_engine_open(t.ck, &g_gqa, &o, &e, &err), 0);
    for (size_t i = 0; i < batch.n; first += batch.lengths[i++]) {
        size_t n = alone.n_rows = alone.lengths[0] = batch.lengths[i];
        alone.n = 1;
        memcpy(alone.token, batch.token + first, n * sizeof *alone.token);
        memcpy(alone.label, batch.label + first, n * sizeof *alone.label);
        memcpy(alone.weight, batch.weight + first, n * sizeof *alone.weight);
        struct result one = gradients(&t, alone, (struct way){.n_threads = 1});
        assert_memory_equal(one.loss, all.loss + first, n * sizeof *one.loss);
        assert_memory_equal(one.dx, all.dx + first * width, n * width * sizeof *one.dx);
        release(&one, &t);

        struct pc_row rows[DOUBLE_ROWS];
        struct pc_seq *s = NULL;
        assert_int_equal(pc_seq_new(e, DOUBLE_ROWS, &s, &err), 0);
        for (size_t k = 0; k < n; k++)
            rows[k] =
                (struct pc_row){.seq = s, .pos = (int32_t)k, .token = alone.token[k], .want_logits = true};
        assert_int_equal(pc_engine_step(e, rows, n, &err), 0);
        for (size_t k = 0; k < n; k++)
            assert_memory_equal(pc_engine_logits(e, k), logits + (first + k) * vocab, vocab * sizeof *logits);
        pc_seq_free(s);
    }
    pc_engine_close(e);
    free(x);
    free(logits);
    release(&all, &t);
    tiny_release(&t);
}

/* What 512 rows of SmolLM2-135M take: 30 tapes, whole or to be computed again. */
static void test_memory(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.n_layers = 30;
    c.hidden_size = 576;
    c.intermediate_size = 1536;
    c.n_heads = 9;
    c.n_kv_heads = 3;
    c.head_dim = 64;
    size_t whole = pc_llama_tape_size(&c, 512, false), again = pc_llama_tape_size(&c, 512, true);
    assert_int_equal(whole, 512 * (2 * 576 + 2 * 576 + 2 * 192 + 2 * 1536 + 2 * 9));
    assert_true(30 * whole * sizeof(float) < 356 * 1000 * 1000);
    assert_int_equal(again, 512 * 576);
}

/* With BF16 operands: near the gradients of F32, and the same bytes whatever the threads. */
static void test_bf16(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.tied = c.attention_bias = c.mlp_bias = true;
    struct tiny t = {.config = c, .dtype = PC_F32, .mapped = true, .random = 10};
    tiny_make(&t);
    struct double_batch batch = make_batch(&c);
    struct result want = gradients(&t, batch, (struct way){.n_threads = 1});
    struct result got = gradients(&t, batch, (struct way){.n_threads = 1, .bf16 = true});
    for (size_t i = 0; i < t.n; i++) {
        double off = 0, size = 0;
        for (size_t k = 0; k < (size_t)pc_tensor_n_elements(&t.ck->tensors[i]); k++) {
            double delta = (double)got.gradient[i][k] - (double)want.gradient[i][k];
            off += delta * delta;
            size += (double)want.gradient[i][k] * (double)want.gradient[i][k];
        }
        if (!(off <= 0.05 * 0.05 * size))
            fail_msg("%s: off by %.3g of %.3g", t.ck->tensors[i].name, sqrt(off), sqrt(size));
    }
    for (int n = 2; n <= 3; n++) {
        struct result other =
            gradients(&t, batch, (struct way){.n_threads = n, .bf16 = true, .recompute = n == 3});
        assert_same(&t, &got, &other, batch.n_rows);
        release(&other, &t);
    }
    release(&want, &t);
    release(&got, &t);
    tiny_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grouped_heads),
        cmocka_unit_test(test_full_heads_tied_biases),
        cmocka_unit_test(test_one_kv_head),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_adapters_in_company),
        cmocka_unit_test(test_adapter_refusals),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_loss_rows),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
