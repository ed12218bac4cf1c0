// SPDX-License-Identifier: Apache-2.0
/* Fine-tunes beside their base: the tuned model's numbers, the same bytes alone and in any company, and keys
 * and values that never change hands. */
#include "unit.h"

#include "algebra/combine.h"
#include "algebra/read_f32.h"
#include "base/memory.h"
#include "engine/prefix.h"
#include "engine/scheduler.h"
#include "engine/variant.h"
#include "scratch.h"
#include "tiny_model.h"
#include "weights/adapter.h"
#include "weights/packed_diff.h"
#include "weights/pair.h"

enum { VOCAB = 50, WIDTH = 32, INNER = 64, KV = 16, N_LAYERS = 2, N = 40, MAX_VOCAB = 60 };

static const struct pc_config g_config = {.architecture = "LlamaForCausalLM",
    .n_layers = N_LAYERS,
    .hidden_size = WIDTH,
    .intermediate_size = INNER,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 8,
    .vocab_size = VOCAB,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = -1,
    .pad_id = -1};

/* ---- files ---- */

/* A folder's weights: every tensor of ck, as it is. */
static void write_weights(struct scratch *s, const char *name, const struct pc_checkpoint *ck)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 24);
    uint64_t at = 0;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        char shape[160], type[8];
        snprintf(type, sizeof type, "%s", pc_dtype_name(t->dtype));
        for (char *p = type; *p; p++)
            *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        pc_buf_printf(&b, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}",
            i ? "," : "{", t->name, type, pc_tensor_shape(t, shape, sizeof shape), (unsigned long long)at,
            (unsigned long long)(at + t->size));
        at += t->size;
    }
    pc_buf_printf(&b, "}");
    while (b.len % 8) // tensors are read to where numbers may lie
        pc_buf_putc(&b, ' ');
    size_t header = b.len;
    unsigned char *bytes = malloc(8 + header + (size_t)at);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(header >> (8 * i));
    memcpy(bytes + 8, b.data, header);
    uint64_t to = 8 + header;
    for (size_t i = 0; i < ck->n_tensors; to += ck->tensors[i++].size) {
        struct paco_error err = {0};
        if (pc_tensor_read(&ck->tensors[i], 0, ck->tensors[i].n_rows, bytes + to, &err) < 0)
            fail_msg("%s", err.message);
    }
    scratch_write(s, name, bytes, (size_t)to);
    free(bytes);
    pc_buf_release(&b);
}

/* ---- models ---- */

static void make(struct tiny *m, struct pc_config config, enum pc_dtype dtype)
{
    *m = (struct tiny){.config = config, .dtype = dtype, .mapped = true, .random = 7};
    tiny_make(m);
}

static float *values_of(struct tiny *m, const char *name, size_t *n)
{
    const struct pc_tensor *t = pc_checkpoint_find(m->ck, name);
    assert_non_null(t);
    assert_int_equal(t->dtype, PC_F32);
    *n = (size_t)pc_tensor_n_elements(t);
    return (float *)(void *)m->bytes[t->index]; /* on an odd address: by memcpy alone */
}

/* Add to every step-th element of a tensor of m, from the first on. */
static void change(struct tiny *m, const char *name, size_t first, size_t step, float scale)
{
    size_t n;
    float *v = values_of(m, name, &n), x;
    for (size_t i = first; i < n; i += step) {
        memcpy(&x, (char *)v + i * sizeof x, sizeof x);
        x += scale * tiny_random(m);
        memcpy((char *)v + i * sizeof x, &x, sizeof x);
    }
}

struct base {
    struct scratch s;
    struct tiny m;
    struct pc_source source; /* of m */
};

static void open_base(struct base *b, struct pc_config config, enum pc_dtype dtype)
{
    scratch_open(&b->s);
    make(&b->m, config, dtype);
    b->source =
        (struct pc_source){.ck = b->m.ck, .config = b->m.config, .has_config = true, .path = b->s.dir};
}

static void close_base(struct base *b)
{
    tiny_release(&b->m);
    scratch_close(&b->s);
}

static void write_folder(
    struct base *b, const struct pc_checkpoint *ck, const struct pc_config *config, const char *name)
{
    char file[64];
    snprintf(file, sizeof file, "%s/model.safetensors", name);
    write_weights(&b->s, file, ck);
    char *text = pc_config_write(config);
    snprintf(file, sizeof file, "%s/config.json", name);
    scratch_text(&b->s, file, text);
    pc_free(text);
}

/* A folder with the diff of tuned against the base. */
static const char *write_diff(struct base *b, const struct tiny *tuned, const char *name)
{
    struct pc_combine_options o = {.tied = tuned->config.tied, .base_tied = b->m.config.tied};
    struct pc_checkpoint *diff = NULL;
    struct paco_error err = {0};
    if (pc_checkpoint_subtract(b->m.ck, tuned->ck, &o, &diff, NULL, &err) < 0)
        fail_msg("%s", err.message);
    write_folder(b, diff, &tuned->config, name);
    pc_checkpoint_close(diff);
    return scratch_path(&b->s, name);
}

/* A checkpoint for an adapter's tensors, of random numbers. */
static void begin_adapter(struct tiny *a, uint64_t seed)
{
    *a = (struct tiny){.random = seed};
    a->ck = pc_checkpoint_new("memory", &tiny_ops, "adapter", NULL);
    assert_non_null(a->ck);
    a->ck->impl = a;
}

static void add_pair(struct tiny *a, int layer, const char *module, int64_t n_out, int64_t n_in, int64_t rank,
    enum pc_dtype dtype)
{
    char name[128];
    snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_A.weight", layer, module);
    tiny_add(a, name, dtype, rank, n_in, 0, 0.5f);
    snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_B.weight", layer, module);
    tiny_add(a, name, dtype, n_out, rank, 0, 0.5f);
}

static void add_all_pairs(struct tiny *a, int64_t rank, enum pc_dtype dtype)
{
    for (int l = 0; l < N_LAYERS; l++) {
        add_pair(a, l, "self_attn.q_proj", WIDTH, WIDTH, rank, dtype);
        add_pair(a, l, "self_attn.k_proj", KV, WIDTH, rank, dtype);
        add_pair(a, l, "self_attn.v_proj", KV, WIDTH, rank, dtype);
        add_pair(a, l, "self_attn.o_proj", WIDTH, WIDTH, rank, dtype);
        add_pair(a, l, "mlp.gate_proj", INNER, WIDTH, rank, dtype);
        add_pair(a, l, "mlp.up_proj", INNER, WIDTH, rank, dtype);
        add_pair(a, l, "mlp.down_proj", WIDTH, INNER, rank, dtype);
    }
}

static const char *write_adapter(struct base *b, struct tiny *a, const char *name, int rank)
{
    char file[64], config[128];
    snprintf(file, sizeof file, "%s/adapter_model.safetensors", name);
    write_weights(&b->s, file, a->ck);
    snprintf(file, sizeof file, "%s/adapter_config.json", name);
    snprintf(config, sizeof config, "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": 6}", rank);
    scratch_text(&b->s, file, config);
    tiny_release(a);
    return scratch_path(&b->s, name);
}

/* ---- engines ---- */

static struct pc_engine *open_engine(
    const struct pc_checkpoint *ck, const struct pc_config *config, struct pc_engine_options o)
{
    struct paco_error err = {0};
    struct pc_engine *e = NULL;
    o.max_logits = o.max_logits ? o.max_logits : 4 * N;
    if (pc_engine_open(ck, config, &o, &e, &err) < 0)
        fail_msg("%s", err.message);
    return e;
}

static struct pc_variant *open_variant(
    struct pc_engine *e, const struct pc_source *base, enum pc_variant_kind kind, const char *path)
{
    struct paco_error err = {0};
    struct pc_variant *v = NULL;
    if (pc_variant_open(e, base, &(struct pc_variant_options){kind, path}, &v, &err) < 0 ||
        pc_engine_admit(e, v, &err) < 0)
        fail_msg("%s", err.message);
    return v;
}

static int32_t token_at(int which, int i)
{
    return (i * i * 7 + (3 + which) * i + 1 + which) % VOCAB;
}

/* logits (N, vocab) of N tokens, number `which` of such prompts. */
static void run_alone(struct pc_engine *e, const struct pc_variant *v, int which, float *out)
{
    struct paco_error err = {0};
    struct pc_seq *s = NULL;
    size_t vocab = (size_t)pc_variant_vocab(e, v);
    struct pc_row rows[N];
    assert_int_equal(pc_seq_new(e, N, &s, &err), 0);
    for (int i = 0; i < N; i++)
        rows[i] = (struct pc_row){
            .seq = s, .pos = i, .token = token_at(which, i), .variant = v, .want_logits = true};
    if (pc_engine_step(e, rows, N, &err) < 0)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < N; i++)
        memcpy(out + i * vocab, pc_engine_logits(e, i), vocab * sizeof *out);
    pc_seq_free(s);
}

/* The variant's numbers are those of the tuned model run alone. */
static void check_variant(const struct base *b, enum pc_variant_kind kind, const char *path,
    const struct pc_checkpoint *tuned, const struct pc_config *config, double tolerance)
{
    static float want[N * MAX_VOCAB], got[N * MAX_VOCAB];
    struct pc_engine_options o = {.n_threads = 2, .f32 = true};
    struct pc_engine *e = open_engine(tuned, config, o);
    run_alone(e, NULL, 0, want);
    pc_engine_close(e);
    e = open_engine(b->m.ck, &b->m.config, o);
    struct pc_variant *v = open_variant(e, &b->source, kind, path);
    assert_int_equal(pc_variant_vocab(e, v), config->vocab_size);
    run_alone(e, v, 0, got);
    double most = 0;
    for (int i = 0; i < N * config->vocab_size; i++) {
        double apart = fabs((double)want[i] - (double)got[i]);
        if (!(apart <= tolerance))
            fail_msg("%s: logit %d of row %d is %.8g, not %.8g", path, i % config->vocab_size,
                i / config->vocab_size, (double)got[i], (double)want[i]);
        most = apart > most ? apart : most;
    }
    if (tolerance > 0 && most == 0)
        fail_msg("%s: to the bit: was the base compared with itself?", path);
    pc_variant_release(v);
    pc_engine_close(e);
}

static void check_adapter(struct base *b, const char *path, double tolerance)
{
    struct paco_error err = {0};
    struct pc_adapter *a = NULL;
    struct pc_checkpoint *tuned = NULL;
    struct pc_adapter_report report;
    struct pc_config config = b->m.config;
    if (pc_adapter_open(path, &a, &err) < 0 || pc_adapter_apply(a, b->m.ck, &tuned, &report, &err) < 0)
        fail_msg("%s", err.message);
    config.vocab_size = (int32_t)report.vocab;
    check_variant(b, PC_VARIANT_ADAPTER, path, tuned, &config, tolerance);
    pc_checkpoint_close(tuned);
    pc_adapter_close(a);
}

/* ---- the tuned model's numbers ---- */

static void test_adapters(void **state)
{
    (void)state;
    static const enum pc_dtype types[] = {PC_F32, PC_BF16, PC_F16, PC_Q8_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct base b;
        struct tiny a;
        open_base(&b, g_config, types[i]);
        begin_adapter(&a, 5);
        add_all_pairs(&a, 3, i % 2 ? PC_BF16 : PC_F32);
        check_adapter(&b, write_adapter(&b, &a, "all", 3), 2e-3);
        begin_adapter(&a, 6);
        add_pair(&a, 1, "mlp.up_proj", INNER, WIDTH, 17, PC_F32);
        check_adapter(&b, write_adapter(&b, &a, "one", 17), 2e-3);
        close_base(&b);
    }
}

static void test_adapters_with_whole_tensors(void **state)
{
    (void)state;
    struct base b;
    struct tiny a;
    open_base(&b, g_config, PC_F32);
    begin_adapter(&a, 5);
    add_pair(&a, 0, "self_attn.q_proj", WIDTH, WIDTH, 2, PC_F32);
    tiny_add(&a, "base_model.model.model.embed_tokens.weight", PC_F32, VOCAB + 3, WIDTH, 0, 1);
    tiny_add(&a, "base_model.model.lm_head.weight", PC_BF16, VOCAB + 3, WIDTH, 0, 0.4f);
    tiny_add(&a, "base_model.model.model.layers.1.mlp.gate_proj.weight", PC_F16, INNER, WIDTH, 0, 0.4f);
    tiny_add(&a, "base_model.model.model.norm.weight", PC_F32, WIDTH, 0, 1, 0.3f);
    check_adapter(&b, write_adapter(&b, &a, "grown", 2), 2e-3);
    begin_adapter(&a, 8);
    tiny_add(&a, "base_model.model.lm_head.lora_A.weight", PC_F32, 2, WIDTH, 0, 0.5f);
    tiny_add(&a, "base_model.model.lm_head.lora_B.weight", PC_F32, VOCAB, 2, 0, 0.5f);
    tiny_add(&a, "base_model.model.model.embed_tokens.lora_embedding_A", PC_F32, 2, VOCAB, 0, 0.5f);
    tiny_add(&a, "base_model.model.model.embed_tokens.lora_embedding_B", PC_F32, WIDTH, 2, 0, 0.5f);
    check_adapter(&b, write_adapter(&b, &a, "ends", 2), 2e-3);
    begin_adapter(&a, 9); /* numbers of 23 bits: W' - W is exact, and no product has a change */
    tiny_add(&a, "base_model.model.model.embed_tokens.weight", PC_F32, VOCAB, WIDTH, 0, 1);
    check_adapter(&b, write_adapter(&b, &a, "embedding", 2), 0);
    close_base(&b);
}

static void test_diffs(void **state)
{
    (void)state;
    struct pc_config biased = g_config, tied = g_config;
    biased.attention_bias = biased.mlp_bias = true;
    tied.tied = true;
    const struct pc_config configs[] = {g_config, biased, tied};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct base b;
        open_base(&b, configs[i], PC_F32);
        struct tiny tuned;
        make(&tuned, configs[i], PC_F32);
        change(&tuned, "model.layers.0.self_attn.q_proj.weight", 5, 97, 0.3f); /* sparse */
        change(&tuned, "model.layers.0.mlp.down_proj.weight", 0, 1, 0.01f);
        change(&tuned, "model.layers.1.self_attn.v_proj.weight", 0, 2, 0.01f);
        change(&tuned, "model.embed_tokens.weight", 6 * WIDTH, 3, 0.2f); /* rows */
        if (configs[i].attention_bias) {
            change(&tuned, "model.layers.1.self_attn.o_proj.bias", 0, 1, 0.3f);
            change(&tuned, "model.layers.0.mlp.up_proj.bias", 3, 5, 0.3f);
        }
        check_variant(&b, PC_VARIANT_DIFF, write_diff(&b, &tuned, "diff"), tuned.ck, &tuned.config, 1e-4);
        tiny_release(&tuned);
        close_base(&b);
    }
}

static void test_a_grown_vocabulary(void **state)
{
    (void)state;
    for (int is_tied = 0; is_tied < 2; is_tied++) {
        struct pc_config small = g_config, large = g_config;
        small.tied = large.tied = is_tied;
        large.vocab_size = VOCAB + 7;
        struct base b;
        open_base(&b, small, PC_F32);
        struct tiny tuned;
        make(&tuned, large, PC_F32); /* other numbers in everything behind the embedding */
        check_variant(&b, PC_VARIANT_DIFF, write_diff(&b, &tuned, "diff"), tuned.ck, &tuned.config, 2e-3);
        tiny_release(&tuned);
        close_base(&b);
    }
}

/* Where no product has a change, nothing is summed in another order: the same bytes. */
static void test_norms_and_embeddings_are_exact(void **state)
{
    (void)state;
    struct base b;
    open_base(&b, g_config, PC_F32);
    struct tiny tuned;
    make(&tuned, g_config, PC_F32);
    change(&tuned, "model.layers.1.input_layernorm.weight", 0, 1, 0.25f);
    change(&tuned, "model.norm.weight", 3, 2, 0.25f);
    size_t n;
    char *e = (char *)values_of(&tuned, "model.embed_tokens.weight", &n);
    for (size_t i = 3 * WIDTH; i < n; i += 5) { /* twice as large: exact in any case */
        float x;
        memcpy(&x, e + i * sizeof x, sizeof x);
        x *= 2;
        memcpy(e + i * sizeof x, &x, sizeof x);
    }
    check_variant(&b, PC_VARIANT_DIFF, write_diff(&b, &tuned, "diff"), tuned.ck, &tuned.config, 0);
    tiny_release(&tuned);
    make(&tuned, g_config, PC_F32);
    struct pc_engine *engine = open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1});
    struct pc_variant *v =
        open_variant(engine, &b.source, PC_VARIANT_DIFF, write_diff(&b, &tuned, "nothing"));
    assert_int_equal(pc_variant_size(v), 0); /* no change costs nothing */
    static float want[N * VOCAB], got[N * VOCAB];
    run_alone(engine, NULL, 2, want);
    run_alone(engine, v, 2, got);
    assert_memory_equal(want, got, sizeof want);
    pc_variant_release(v);
    pc_engine_close(engine);
    tiny_release(&tuned);
    close_base(&b);
}

/* Bytes of a change of every step-th element of one matrix. */
static uint64_t size_of_change(struct base *b, size_t step, float scale)
{
    struct tiny tuned;
    make(&tuned, g_config, PC_F32);
    change(&tuned, "model.layers.0.mlp.up_proj.weight", 0, step, scale);
    struct pc_engine *e = open_engine(b->m.ck, &b->m.config, (struct pc_engine_options){.n_threads = 1});
    struct pc_variant *v = open_variant(e, &b->source, PC_VARIANT_DIFF, write_diff(b, &tuned, "size"));
    uint64_t size = pc_variant_size(v);
    assert_int_equal(pc_engine_plan(e).variants, size);
    pc_variant_release(v);
    assert_int_equal(pc_engine_plan(e).variants, 0);
    pc_engine_close(e);
    tiny_release(&tuned);
    return size;
}

static void test_the_smallest_form(void **state)
{
    (void)state;
    struct base b;
    open_base(&b, g_config, PC_F32);
    assert_int_equal(size_of_change(&b, 100, 0.1f), 21 * 8 + (INNER + 1) * 8); /* single elements */
    assert_int_equal(size_of_change(&b, 1, 0.1f), INNER * WIDTH * 4);          /* F32: no other is exact */
    assert_int_equal(size_of_change(&b, WIDTH * 8, 0.1f), 8 * 8 + (INNER + 1) * 8);
    close_base(&b);
}

/* ---- packed diffs ---- */

static const char *write_packed(
    struct base *b, const struct tiny *tuned, enum pc_packing packing, const char *name)
{
    struct pc_combine_options o = {.tied = tuned->config.tied, .base_tied = b->m.config.tied};
    struct pc_checkpoint *diff = NULL, *packed = NULL;
    struct paco_error err = {0};
    if (pc_checkpoint_subtract(b->m.ck, tuned->ck, &o, &diff, NULL, &err) < 0 ||
        pc_diff_pack(diff, packing, &packed, &err) < 0)
        fail_msg("%s", err.message);
    write_folder(b, packed, &tuned->config, name);
    pc_checkpoint_close(packed);
    pc_checkpoint_close(diff);
    return scratch_path(&b->s, name);
}

/* A packed diff is what its unpacking says, and stays small. */
static void test_packed_diffs(void **state)
{
    (void)state;
    struct base b;
    struct paco_error err = {0};
    open_base(&b, g_config, PC_F32);
    for (int packing = PC_PACKING_SIGNS; packing <= PC_PACKING_INT4; packing++) {
        struct tiny tuned;
        make(&tuned, g_config, PC_F32);
        for (int l = 0; l < N_LAYERS; l++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.self_attn.v_proj.weight", l);
            change(&tuned, name, 0, 1, 0.05f);
            snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", l);
            change(&tuned, name, 0, 1, 0.05f);
        }
        const char *path = write_packed(&b, &tuned, (enum pc_packing)packing, packing ? "int4" : "signs");
        struct pc_source diff;
        struct pc_checkpoint *sum = NULL;
        assert_int_equal(pc_source_open(path, &diff, &err), 0);
        if (pc_pair_sum(&b.source, &diff, &sum, &err) < 0)
            fail_msg("%s", err.message);
        check_variant(&b, PC_VARIANT_DIFF, path, sum, &tuned.config, 1e-4);
        struct pc_engine *e = open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1});
        struct pc_variant *v = open_variant(e, &b.source, PC_VARIANT_DIFF, path);
        uint64_t elements = N_LAYERS * (2 * WIDTH * WIDTH + 2 * KV * WIDTH + 3 * INNER * WIDTH);
        uint64_t rows = N_LAYERS * (2 * WIDTH + 2 * KV + 2 * INNER + WIDTH);
        assert_int_equal(pc_variant_size(v), packing ? elements / 32 * 18 : elements / 8 + rows * 4);
        pc_variant_release(v);
        pc_engine_close(e);
        pc_checkpoint_close(sum);
        pc_source_close(&diff);
        tiny_release(&tuned);
    }
    close_base(&b);
}

static void test_bad_packed_diffs(void **state)
{
    (void)state;
    struct tiny a;
    struct pc_checkpoint *out = NULL;
    struct paco_error err = {0};
    static const struct {
        enum pc_dtype scale;
        int64_t n_scale, columns;
        const char *ending, *message;
    } bad[] = {
        {PC_F32, 0, 4, "signs", "is there without 'model.layers.0.x_proj.weight.scale'"},
        {PC_F32, 5, 4, "signs",
            "tensor 'model.layers.0.x_proj.weight.scale' of shape [5] is no packed matrix"},
        {PC_U8, 6, 4, "signs", "x_proj.weight.scale' of shape [6] is no packed matrix"},
        {PC_F32, 0, 20, "q4_0",
            "tensor 'model.layers.0.x_proj.weight.q4_0' of shape [6,20] is no packed matrix"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[128];
        uint64_t shape[2] = {6, (uint64_t)bad[i].columns}, n = (uint64_t)bad[i].n_scale;
        a = (struct tiny){.random = 1};
        a.ck = pc_checkpoint_new("memory", &tiny_ops, "packed", NULL);
        snprintf(name, sizeof name, "model.layers.0.x_proj.weight.%s", bad[i].ending);
        assert_int_equal(pc_checkpoint_add_tensor(a.ck, name, strlen(name), PC_U8, 2, shape, NULL), 0);
        snprintf(name, sizeof name, "model.layers.0.x_proj.weight.scale");
        if (n)
            assert_int_equal(
                pc_checkpoint_add_tensor(a.ck, name, strlen(name), bad[i].scale, 1, &n, NULL), 0);
        assert_true(pc_diff_is_packed(a.ck));
        assert_int_equal(pc_diff_unpack(a.ck, &out, &err), PACO_EFORMAT);
        assert_contains(err.message, bad[i].message);
        pc_checkpoint_close(a.ck);
    }
}

/* ---- company ---- */

enum { N_VARIANTS = 7 };

/* NULL, two adapters, a diff, an adapter with more tokens, and packed diffs. */
static void open_variants(struct base *b, struct pc_engine *e, struct pc_variant *v[N_VARIANTS])
{
    struct tiny a, tuned;
    make(&tuned, g_config, PC_F32);
    v[0] = NULL;
    begin_adapter(&a, 5);
    add_all_pairs(&a, 3, PC_F32);
    v[1] = open_variant(e, &b->source, PC_VARIANT_ADAPTER, write_adapter(b, &a, "one", 3));
    begin_adapter(&a, 6);
    add_pair(&a, 0, "self_attn.v_proj", KV, WIDTH, 9, PC_BF16);
    add_pair(&a, 1, "mlp.down_proj", WIDTH, INNER, 9, PC_BF16);
    v[2] = open_variant(e, &b->source, PC_VARIANT_ADAPTER, write_adapter(b, &a, "two", 9));
    change(&tuned, "model.layers.0.self_attn.q_proj.weight", 5, 97, 0.3f);
    change(&tuned, "model.layers.0.mlp.gate_proj.weight", 0, 1, 0.1f);
    change(&tuned, "model.layers.1.input_layernorm.weight", 0, 1, 0.3f);
    change(&tuned, "model.norm.weight", 0, 1, 0.3f);
    change(&tuned, "model.embed_tokens.weight", 0, 3, 0.3f);
    change(&tuned, "lm_head.weight", 0, 7, 0.3f);
    v[3] = open_variant(e, &b->source, PC_VARIANT_DIFF, write_diff(b, &tuned, "diff"));
    v[5] = open_variant(e, &b->source, PC_VARIANT_DIFF, write_packed(b, &tuned, PC_PACKING_SIGNS, "signs"));
    v[6] = open_variant(e, &b->source, PC_VARIANT_DIFF, write_packed(b, &tuned, PC_PACKING_INT4, "int4"));
    tiny_release(&tuned);
    begin_adapter(&a, 11);
    tiny_add(&a, "base_model.model.model.embed_tokens.weight", PC_F32, VOCAB + 3, WIDTH, 0, 1);
    tiny_add(&a, "base_model.model.lm_head.weight", PC_BF16, VOCAB + 3, WIDTH, 0, 0.4f);
    v[4] = open_variant(e, &b->source, PC_VARIANT_ADAPTER, write_adapter(b, &a, "grown", 1));
}

static void release_all(struct pc_variant *v[N_VARIANTS])
{
    for (int i = 0; i < N_VARIANTS; i++)
        pc_variant_release(v[i]);
}

/* Rows of all of them in one step, taken from each in turns of changing length. */
static void run_together(
    struct pc_engine *e, struct pc_variant *const v[N_VARIANTS], float (*out)[N * MAX_VOCAB])
{
    struct paco_error err = {0};
    struct pc_seq *s[N_VARIANTS] = {NULL};
    int at[N_VARIANTS] = {0};
    struct pc_row rows[N_VARIANTS * N];
    int owner[N_VARIANTS * N], n = 0;
    for (int i = 0; i < N_VARIANTS; i++)
        assert_int_equal(pc_seq_new(e, N, &s[i], &err), 0);
    for (int turn = 0; n < N_VARIANTS * N; turn++) {
        int i = turn * 3 % N_VARIANTS;
        for (int k = 0; k <= turn % 4 && at[i] < N; k++, at[i]++, n++) {
            owner[n] = i;
            rows[n] = (struct pc_row){
                .seq = s[i], .pos = at[i], .token = token_at(i, at[i]), .variant = v[i], .want_logits = true};
        }
    }
    if (pc_engine_step(e, rows, (size_t)n, &err) < 0)
        fail_msg("%s", err.message);
    for (int r = 0; r < n; r++) {
        size_t vocab = (size_t)pc_variant_vocab(e, v[owner[r]]);
        memcpy(out[owner[r]] + (size_t)rows[r].pos * vocab, pc_engine_logits(e, (size_t)r),
            vocab * sizeof(float));
    }
    for (int i = 0; i < N_VARIANTS; i++)
        pc_seq_free(s[i]);
}

static void check_company(enum pc_dtype dtype)
{
    static float want[N_VARIANTS][N * MAX_VOCAB], got[N_VARIANTS][N * MAX_VOCAB];
    struct base b;
    open_base(&b, g_config, dtype);
    for (int n_threads = 1; n_threads <= 3; n_threads++)
        for (int rows = 0; rows <= 9; rows += 9) {
            struct pc_engine *e = open_engine(b.m.ck, &b.m.config,
                (struct pc_engine_options){
                    .n_threads = n_threads, .max_rows = rows, .max_logits = N_VARIANTS * N});
            struct pc_variant *v[N_VARIANTS];
            open_variants(&b, e, v);
            for (int i = 0; i < N_VARIANTS && n_threads == 1 && rows == 0; i++)
                run_alone(e, v[i], i, want[i]);
            run_together(e, v, got);
            for (int i = 0; i < N_VARIANTS; i++)
                if (memcmp(want[i], got[i], sizeof(float) * N * (size_t)pc_variant_vocab(e, v[i])) != 0)
                    fail_msg("%s, %d threads, %d rows: variant %d differs in company", pc_dtype_name(dtype),
                        n_threads, rows, i);
            release_all(v);
            pc_engine_close(e);
        }
    close_base(&b);
}

static void test_the_same_bytes_in_company(void **state)
{
    (void)state;
    check_company(PC_F32);
    check_company(PC_BF16);
    check_company(PC_Q8_0);
}

/* ---- who may use what ---- */

static int step_one(struct pc_engine *e, struct pc_row row, struct paco_error *err)
{
    *err = (struct paco_error){0};
    return pc_engine_step(e, &row, 1, err);
}

static void test_refusals(void **state)
{
    (void)state;
    struct base b;
    struct paco_error err = {0};
    struct tiny a;
    struct pc_variant *v[N_VARIANTS], *w = NULL;
    open_base(&b, g_config, PC_F32);
    struct pc_engine *e = open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1});
    struct pc_engine *other = open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1});
    open_variants(&b, e, v);
    struct pc_seq *s = NULL, *s2 = NULL;
    assert_int_equal(pc_seq_new(e, 8, &s, &err), 0);
    assert_int_equal(pc_seq_new(other, 8, &s2, &err), 0);
    assert_int_equal(step_one(other, (struct pc_row){.seq = s2, .variant = v[1]}, &err), PACO_EINVAL);
    assert_contains(err.message, "row 0: its variant was not admitted to this engine");
    assert_int_equal(
        step_one(e, (struct pc_row){.seq = s, .token = VOCAB, .variant = v[3]}, &err), PACO_EINVAL);
    assert_contains(err.message, "token 50, the vocabulary has 50");
    assert_int_equal(step_one(e, (struct pc_row){.seq = s, .token = VOCAB, .variant = v[4]}, &err), 0);
    assert_int_equal(step_one(e, (struct pc_row){.seq = s, .pos = 1, .variant = v[3]}, &err), PACO_EINVAL);
    assert_contains(err.message, "row 0: its sequence holds keys and values of another variant");
    assert_int_equal(pc_seq_length(s), 1);
    assert_int_equal(step_one(e, (struct pc_row){.seq = s, .pos = 1, .variant = NULL}, &err), PACO_EINVAL);
    const struct pc_row two[] = {{.seq = s, .variant = v[1]}, {.seq = s, .pos = 1, .variant = v[2]}};
    assert_int_equal(pc_engine_step(e, two, 2, &err), PACO_EINVAL);
    assert_contains(err.message, "row 1: its sequence holds keys and values of another variant");
    struct pc_seq *fork = NULL;
    assert_int_equal(pc_seq_fork(s, 1, 8, &fork, &err), 0);
    assert_int_equal(step_one(e, (struct pc_row){.seq = fork, .pos = 1, .variant = v[1]}, &err), PACO_EINVAL);
    assert_int_equal(step_one(e, (struct pc_row){.seq = fork, .pos = 1, .variant = v[4]}, &err), 0);
    pc_seq_free(fork);
    assert_int_equal(step_one(e, (struct pc_row){.seq = s, .pos = 0, .variant = v[1]}, &err), 0); /* anew */
    pc_seq_free(s);
    pc_seq_free(s2);
    release_all(v);
    struct pc_variant_options o = {PC_VARIANT_ADAPTER, scratch_path(&b.s, "nowhere")};
    assert_int_equal(pc_variant_open(e, &b.source, &o, &w, &err), PACO_ENOENT);
    assert_contains(err.path, "nowhere");
    begin_adapter(&a, 3);
    add_pair(&a, 7, "self_attn.q_proj", WIDTH, WIDTH, 2, PC_F32);
    o.path = write_adapter(&b, &a, "deep", 2);
    assert_int_equal(pc_variant_open(e, &b.source, &o, &w, &err), PACO_EMISMATCH);
    assert_contains(err.message, "has no place in the base");
    struct pc_config config = g_config;
    config.rope_theta = 5e5f;
    struct tiny tuned;
    make(&tuned, config, PC_F32);
    o = (struct pc_variant_options){PC_VARIANT_DIFF, write_diff(&b, &tuned, "theta")};
    assert_int_equal(pc_variant_open(e, &b.source, &o, &w, &err), PACO_EMISMATCH);
    assert_contains(err.message, "its configuration says rope_theta is 500000, the base's 10000");
    tiny_release(&tuned);
    assert_int_equal(pc_engine_plan(e).variants, 0);
    pc_engine_close(e);
    pc_engine_close(other);
    close_base(&b);
}

static void test_memory_is_counted_first(void **state)
{
    (void)state;
    struct base b;
    struct paco_error err = {0};
    struct pc_variant *v = NULL;
    open_base(&b, g_config, PC_F32);
    struct pc_engine *e = open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1});
    struct pc_engine_plan p = pc_engine_plan(e);
    pc_engine_close(e);
    struct tiny tuned;
    make(&tuned, g_config, PC_F32);
    change(&tuned, "model.layers.0.mlp.up_proj.weight", 0, 1, 0.1f);
    const char *path = write_diff(&b, &tuned, "diff");
    struct pc_variant_options o = {PC_VARIANT_DIFF, path};
    uint64_t needed = p.weights + p.loading + p.kv + p.scratch + INNER * WIDTH * 4;
    for (int enough = 0; enough < 2; enough++) {
        e = open_engine(b.m.ck, &b.m.config,
            (struct pc_engine_options){.n_threads = 1, .memory_limit = needed - !enough});
        int rc = pc_variant_open(e, &b.source, &o, &v, &err);
        assert_int_equal(rc, enough ? 0 : PACO_EMEM);
        if (enough)
            pc_variant_release(v);
        else
            assert_contains(err.message, "model.layers.0.mlp.up_proj.weight: 8192 bytes beside 0.000 GB");
        pc_engine_close(e);
    }
    tiny_release(&tuned);
    close_base(&b);
}

/* Every allocation in turn fails: an error, and nothing left behind. */
static void test_torture(void **state)
{
    (void)state;
    struct base b;
    struct tiny a;
    open_base(&b, g_config, PC_F32);
    begin_adapter(&a, 5);
    add_all_pairs(&a, 3, PC_F32);
    tiny_add(&a, "base_model.model.lm_head.weight", PC_F32, VOCAB, WIDTH, 0, 0.4f);
    struct pc_engine *e = open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1});
    struct pc_variant_options o = {PC_VARIANT_ADAPTER, write_adapter(&b, &a, "one", 3)};
    for (int64_t n = 0;; n++) {
        struct paco_error err = {0};
        struct pc_variant *v = NULL;
        pc_alloc_fail_after(n);
        int rc = pc_variant_open(e, &b.source, &o, &v, &err);
        if (rc == 0)
            rc = pc_engine_admit(e, v, &err);
        pc_alloc_fail_after(-1);
        pc_variant_release(v);
        assert_int_equal(pc_engine_plan(e).variants, 0);
        if (rc == 0)
            break;
        assert_int_equal(rc, PACO_EMEM);
    }
    pc_engine_close(e);
    close_base(&b);
}

/* ---- keys and values that are kept ---- */

enum { HEADER = 70, MAX_ANSWER = 12 };

struct answer {
    int32_t ids[3][MAX_ANSWER];
    size_t n[3];
    float last[MAX_VOCAB];
    int n_done;
};

static void on_done(void *ctx, int32_t i_sample, const struct pc_answer *answer)
{
    struct answer *a = ctx;
    assert_null(answer->error);
    a->n[i_sample] = answer->n;
    memcpy(a->ids[i_sample], answer->ids, answer->n * sizeof *answer->ids);
    a->n_done++;
}

static void on_logits(void *ctx, int32_t i_sample, int32_t pos, const float *logits)
{
    struct answer *a = ctx;
    (void)pos;
    if (i_sample < 0)
        memcpy(a->last, logits, VOCAB * sizeof *logits);
}

/* One prompt for all: what is kept of it for one variant must not be found by another. */
static void submit(struct pc_scheduler *s, struct pc_variant *v, int32_t n_samples, struct answer *a)
{
    struct paco_error err = {0};
    int32_t prompt[HEADER];
    *a = (struct answer){.n_done = 0};
    for (int i = 0; i < HEADER; i++)
        prompt[i] = token_at(0, i);
    struct pc_request r = {.prompt = prompt,
        .n_prompt = HEADER,
        .variant = v,
        .max_tokens = MAX_ANSWER,
        .n_samples = n_samples,
        .n_logits = 1,
        .ctx = a,
        .on_done = on_done,
        .on_logits = on_logits};
    if (pc_scheduler_submit(s, &r, NULL, &err) < 0)
        fail_msg("%s", err.message);
}

static void finish(struct pc_scheduler *s)
{
    struct paco_error err = {0};
    while (pc_scheduler_n_open(s))
        if (pc_scheduler_step(s, &err) < 0)
            fail_msg("%s", err.message);
}

static struct pc_scheduler *new_scheduler(struct pc_engine *e)
{
    struct paco_error err = {0};
    struct pc_scheduler *s = NULL;
    assert_int_equal(pc_scheduler_new(e, NULL, &s, &err), 0);
    return s;
}

static void check_answers(const struct answer *want, const struct answer *got, const char *how)
{
    for (int i = 0; i < N_VARIANTS; i++) {
        if (memcmp(want[i].last, got[i].last, VOCAB * sizeof(float)) != 0)
            fail_msg("%s: variant %d: other logits behind the prompt", how, i);
        for (int k = 0; k < got[i].n_done; k++)
            if (got[i].n[k] != want[i].n[0] ||
                memcmp(want[i].ids[0], got[i].ids[k], want[i].n[0] * sizeof(int32_t)) != 0)
                fail_msg("%s: variant %d: another answer", how, i);
    }
}

static void test_nothing_changes_hands(void **state)
{
    (void)state;
    struct base b;
    open_base(&b, g_config, PC_F32);
    struct answer want[N_VARIANTS], got[N_VARIANTS];
    for (int i = 0; i < N_VARIANTS; i++) { /* each in an engine that has seen nothing else */
        struct pc_engine *e =
            open_engine(b.m.ck, &b.m.config, (struct pc_engine_options){.n_threads = 1, .max_logits = 8});
        struct pc_variant *v[N_VARIANTS];
        open_variants(&b, e, v);
        struct pc_scheduler *s = new_scheduler(e);
        submit(s, v[i], 1, &want[i]);
        finish(s);
        pc_scheduler_free(s);
        release_all(v);
        pc_engine_close(e);
    }
    assert_memory_not_equal(want[0].last, want[1].last, sizeof want[0].last);
    for (uint64_t kept = 0; kept < 2; kept++) {
        struct pc_engine *e = open_engine(b.m.ck, &b.m.config,
            (struct pc_engine_options){.n_threads = 2, .max_logits = 8, .prefix_size = kept << 20});
        struct pc_variant *v[N_VARIANTS];
        open_variants(&b, e, v);
        struct pc_scheduler *s = new_scheduler(e);
        for (int i = 0; i < N_VARIANTS; i++) /* one after the other: donors, and what is kept */
            submit(s, v[i], 1, &got[i]), finish(s);
        check_answers(want, got, "in turn");
        for (int i = N_VARIANTS; i-- > 0;) /* together, prompts being read */
            submit(s, v[i], 1 + i % 3, &got[i]);
        finish(s);
        check_answers(want, got, "together");
        if (kept) {
            uint64_t before = pc_scheduler_stats(s).n_computed;
            submit(s, v[3], 1, &got[3]);
            finish(s);
            check_answers(want, got, "again");
            assert_true(pc_scheduler_stats(s).n_computed - before < PC_KV_BLOCK); /* its own is found */
        }
        pc_scheduler_free(s);
        release_all(v);
        pc_engine_close(e);
    }
    close_base(&b);
}

/* Taken out of service while it answers, and another in its place. */
static void test_reload(void **state)
{
    (void)state;
    struct base b;
    struct tiny a;
    struct answer first, second, again;
    open_base(&b, g_config, PC_F32);
    struct pc_engine *e = open_engine(b.m.ck, &b.m.config,
        (struct pc_engine_options){.n_threads = 1, .max_logits = 8, .prefix_size = 1 << 20});
    struct pc_scheduler *s = new_scheduler(e);
    struct paco_error err = {0};
    begin_adapter(&a, 5);
    add_all_pairs(&a, 3, PC_F32);
    const char *path = write_adapter(&b, &a, "one", 3);
    struct pc_variant *v = open_variant(e, &b.source, PC_VARIANT_ADAPTER, path);
    submit(s, v, 1, &first);
    finish(s);
    submit(s, v, 1, &again);
    assert_int_equal(pc_scheduler_step(s, &err), 0);
    uint64_t size = pc_variant_size(v);
    pc_variant_release(v);
    assert_int_equal(pc_engine_plan(e).variants, size); /* a request still holds it */
    finish(s);
    assert_int_equal(pc_engine_plan(e).variants, 0);
    assert_memory_equal(first.ids, again.ids, sizeof first.ids);
    begin_adapter(&a, 99); /* the same sizes, most likely the same address */
    add_all_pairs(&a, 3, PC_F32);
    v = open_variant(e, &b.source, PC_VARIANT_ADAPTER, write_adapter(&b, &a, "one", 3));
    uint64_t before = pc_scheduler_stats(s).n_computed;
    submit(s, v, 1, &second);
    finish(s);
    assert_int_equal(pc_scheduler_stats(s).n_computed - before, HEADER); /* nothing was found */
    assert_memory_not_equal(first.last, second.last, sizeof first.last);
    submit(s, v, 1, &second); /* dropped with the scheduler */
    pc_variant_release(v);
    pc_scheduler_free(s);
    assert_int_equal(pc_engine_plan(e).variants, 0);
    pc_engine_close(e);
    close_base(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_adapters_with_whole_tensors),
        cmocka_unit_test(test_diffs),
        cmocka_unit_test(test_a_grown_vocabulary),
        cmocka_unit_test(test_norms_and_embeddings_are_exact),
        cmocka_unit_test(test_the_smallest_form),
        cmocka_unit_test(test_packed_diffs),
        cmocka_unit_test(test_bad_packed_diffs),
        cmocka_unit_test(test_the_same_bytes_in_company),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory_is_counted_first),
        cmocka_unit_test(test_torture),
        cmocka_unit_test(test_nothing_changes_hands),
        cmocka_unit_test(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
