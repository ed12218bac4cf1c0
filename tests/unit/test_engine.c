// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cpu.h"
#include "engine/engine.h"
#include "model/llama_forward.h"
#include "tiny_model.h"

enum { N = 80, VOCAB = 50 }; /* tokens: into the third block of keys */

static const struct pc_config g_gqa = {.architecture = "LlamaForCausalLM",
    .n_layers = 2,
    .hidden_size = 32,
    .intermediate_size = 64,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 6,
    .vocab_size = VOCAB,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = -1,
    .pad_id = -1};

static struct tiny tiny(struct pc_config c, enum pc_dtype dtype)
{
    return (struct tiny){.config = c, .dtype = dtype, .mapped = true, .random = 42};
}

static void tokens(int32_t *token)
{
    for (int i = 0; i < N; i++)
        token[i] = (i * i * 7 + 3 * i + 1) % VOCAB;
}

static struct pc_engine *open_engine(const struct tiny *m, struct pc_engine_options o)
{
    struct paco_error err = {0};
    struct pc_engine *e = NULL;
    if (pc_engine_open(m->ck, &m->config, &o, &e, &err) < 0)
        fail_msg("%s", err.message);
    return e;
}

static struct pc_seq *new_seq(struct pc_engine *e, int32_t n)
{
    struct paco_error err = {0};
    struct pc_seq *s = NULL;
    if (pc_seq_new(e, n, &s, &err) < 0)
        fail_msg("%s", err.message);
    return s;
}

static void step(struct pc_engine *e, const struct pc_row *rows, size_t n)
{
    struct paco_error err = {0};
    if (pc_engine_step(e, rows, n, &err) < 0)
        fail_msg("%s", err.message);
}

/* logits (N, VOCAB) of all positions, in pieces of `piece` tokens. */
static float *run(const struct tiny *m, struct pc_engine_options o, size_t piece)
{
    int32_t token[N];
    tokens(token);
    o.max_logits = N;
    struct pc_engine *e = open_engine(m, o);
    struct pc_seq *s = new_seq(e, N);
    float *all = malloc(sizeof(float) * N * VOCAB);
    struct pc_row rows[N];
    for (size_t at = 0; at < N; at += piece) {
        size_t n = N - at < piece ? N - at : piece;
        for (size_t i = 0; i < n; i++)
            rows[i] = (struct pc_row){
                .seq = s, .pos = (int32_t)(at + i), .token = token[at + i], .want_logits = true};
        step(e, rows, n);
        for (size_t i = 0; i < n; i++)
            memcpy(all + (at + i) * VOCAB, pc_engine_logits(e, i), sizeof(float) * VOCAB);
    }
    assert_int_equal(pc_seq_length(s), N);
    pc_seq_free(s);
    pc_engine_close(e);
    return all;
}

static void check_exact(const struct tiny *m, const float *logits, double tolerance)
{
    static const int at[] = {1, 2, 31, 32, 33, 65, N};
    int32_t token[N];
    double want[VOCAB];
    tokens(token);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        tiny_forward(m, token, at[i], want);
        for (int v = 0; v < VOCAB; v++)
            if (!(fabs((double)logits[(at[i] - 1) * VOCAB + v] - want[v]) <= tolerance))
                fail_msg("%d tokens, logit %d: %.7g, not %.7g", at[i], v,
                    (double)logits[(at[i] - 1) * VOCAB + v], want[v]);
    }
}

/* Whole prompt = any pieces = one by one; any number of threads; in F32 scalar = native: the same bytes. */
static void check_way(struct tiny m, bool f32, double tolerance)
{
    tiny_make(&m);
    float *want = run(&m, (struct pc_engine_options){.n_threads = 1, .f32 = f32}, N);
    check_exact(&m, want, tolerance);
    const struct {
        struct pc_engine_options o;
        size_t piece;
    } ways[] = {{{.n_threads = 1}, 1}, {{.n_threads = 3}, N}, {{.n_threads = 2}, 7},
        {{.n_threads = 2, .max_rows = 5}, N}, {{.n_threads = 1, .scalar = true}, N},
        {{.n_threads = 2, .scalar = true, .max_rows = 33}, 64}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct pc_engine_options o = ways[i].o;
        o.f32 = f32;
        if (!f32 && o.scalar)
            continue;
        float *got = run(&m, o, ways[i].piece);
        if (memcmp(want, got, sizeof(float) * N * VOCAB) != 0)
            fail_msg("way %zu gives other bytes", i);
        free(got);
    }
    m.mapped = false;
    float *got = run(&m, (struct pc_engine_options){.n_threads = 1, .f32 = f32}, N);
    assert_memory_equal(want, got, sizeof(float) * N * VOCAB);
    free(got);
    free(want);
    tiny_release(&m);
}

static void check_model(struct tiny m)
{
    check_way(m, true, 2e-4);
    check_way(m, false, m.dtype == PC_F32 ? 2e-4 : m.dtype == PC_F16 ? 5e-3 : 0.2);
}

/* As with load_in_8bit: the same bytes in any company, near the exact ones, and not those of F32. */
static void test_llm_int8(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F16);
    tiny_make(&m);
    float *wide = run(&m, (struct pc_engine_options){.n_threads = 1, .f32 = true}, N);
    float *want = run(&m, (struct pc_engine_options){.n_threads = 1, .llm_int8 = true}, N);
    check_exact(&m, want, 0.3);
    assert_memory_not_equal(wide, want, sizeof(float) * N * VOCAB);
    static const struct pc_engine_options ways[] = {{.n_threads = 3}, {.n_threads = 2, .max_rows = 5}};
    for (size_t i = 0; i < 4; i++) {
        struct pc_engine_options o = ways[i % 2];
        o.llm_int8 = true;
        float *got = run(&m, o, i < 2 ? N : 7);
        assert_memory_equal(want, got, sizeof(float) * N * VOCAB);
        free(got);
    }
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 1, .llm_int8 = true});
    char text[256];
    pc_engine_describe(e, text, sizeof text);
    assert_contains(text, "llm.int8 products of f16");
    pc_engine_close(e);
    free(want);
    free(wide);
    tiny_release(&m);
}

static void test_grouped_heads(void **state)
{
    (void)state;
    check_model(tiny(g_gqa, PC_F32));
}

static void test_full_heads_f16_biases(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.n_kv_heads = 4;
    c.attention_bias = c.mlp_bias = true;
    check_model(tiny(c, PC_F16));
}

static void test_one_kv_head_tied_bf16(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.n_kv_heads = 1;
    c.tied = true;
    c.n_layers = 1;
    c.head_dim = 10; /* not width / heads */
    check_model(tiny(c, PC_BF16));
}

static void test_blocks_of_weights(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.head_dim = 8;
    check_model(tiny(c, PC_Q8_0));
}

/* Three sequences at different places, prefilling and decoding in one step, are what they are alone. */
static void test_mixed_batch(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    float *alone = run(&m, (struct pc_engine_options){.n_threads = 1}, N);
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 2, .max_rows = 16});
    struct pc_seq *s[3] = {new_seq(e, N), new_seq(e, N), new_seq(e, N)};
    int32_t token[N];
    tokens(token);
    size_t at[3] = {0, 0, 0};
    for (int round = 0; at[2] < N; round++) {
        struct pc_row rows[64];
        size_t n = 0, want[3] = {3, (size_t)round % 4, round > 2 ? 9 : 0};
        for (int i = 0; i < 3; i++)
            if (want[i] > N - at[i])
                want[i] = N - at[i];
        /* rows of the sequences interleaved */
        for (size_t k = 0; k < 9; k++)
            for (int i = 0; i < 3; i++)
                if (k < want[i]) {
                    rows[n++] = (struct pc_row){.seq = s[i], .pos = (int32_t)at[i], .token = token[at[i]]};
                    at[i]++;
                    rows[n - 1].want_logits = k + 1 == want[i];
                }
        step(e, rows, n);
        for (size_t i = 0; i < n; i++) {
            const float *logits = pc_engine_logits(e, i);
            assert_int_equal(logits != NULL, rows[i].want_logits);
            if (logits)
                assert_memory_equal(logits, alone + (size_t)rows[i].pos * VOCAB, sizeof(float) * VOCAB);
        }
    }
    for (int i = 0; i < 3; i++)
        pc_seq_free(s[i]);
    pc_engine_close(e);
    free(alone);
    tiny_release(&m);
}

/* Drafted tokens that were wrong are taken back by standing at an earlier position. */
static void test_rewind(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    float *alone = run(&m, (struct pc_engine_options){.n_threads = 1}, N);
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 1});
    struct pc_seq *s = new_seq(e, N);
    int32_t token[N];
    tokens(token);
    struct pc_row rows[N];
    for (int i = 0; i < 40; i++)
        rows[i] = (struct pc_row){.seq = s, .pos = i, .token = i < 30 ? token[i] : 0};
    step(e, rows, 40);
    assert_int_equal(pc_seq_length(s), 40);
    for (int i = 0; i < 5; i++)
        rows[i] = (struct pc_row){.seq = s, .pos = 30 + i, .token = token[30 + i], .want_logits = i == 4};
    step(e, rows, 5);
    assert_int_equal(pc_seq_length(s), 35);
    assert_memory_equal(pc_engine_logits(e, 4), alone + 34 * VOCAB, sizeof(float) * VOCAB);
    assert_null(pc_engine_logits(e, 3));
    pc_seq_free(s);
    pc_engine_close(e);
    free(alone);
    tiny_release(&m);
}

/* A key stored at position p is column p % 32 of block p / 32; a value its row. */
static void test_kv_blocks(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 1});
    struct pc_seq *a = new_seq(e, 64), *b = new_seq(e, 64);
    assert_int_equal(pc_kv_block_size(&m.config, PC_F32), 2 * 2 * 2 * 32 * 6 * 4);
    struct pc_row rows[34];
    for (int i = 0; i < 34; i++)
        rows[i] = (struct pc_row){.seq = a, .pos = i, .token = i};
    step(e, rows, 34);
    rows[0].seq = b;
    step(e, rows, 1);
    struct pc_kv_tile first = pc_kv_tiles(&m.config, PC_F32, pc_kv_block(a, 0), 0, 1);
    struct pc_kv_tile other = pc_kv_tiles(&m.config, PC_F32, pc_kv_block(b, 0), 0, 1);
    struct pc_kv_tile second = pc_kv_tiles(&m.config, PC_F32, pc_kv_block(a, 1), 0, 1);
    const float *k1 = first.k, *v1 = first.v, *k2 = second.k, *v2 = second.v;
    const float *k_other = other.k, *v_other = other.v;
    for (int d = 0; d < 6; d++) {
        assert_true(k1[d * 32] == k_other[d * 32] && v1[d] == v_other[d]);
        assert_true(k1[d * 32] != 0.0f && k1[d * 32 + 31] != 0.0f);
        assert_true(k2[d * 32 + 1] != 0.0f && k2[d * 32 + 2] == 0.0f);
        assert_true(v2[6 + d] != 0.0f && v2[12 + d] == 0.0f);
    }
    pc_seq_free(a);
    pc_seq_free(b);
    pc_engine_close(e);
    tiny_release(&m);
}

static void test_refusals(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 1, .max_logits = 2});
    struct pc_seq *s = new_seq(e, 8);
    const struct {
        struct pc_row rows[3];
        size_t n;
        int code;
        const char *message;
    } bad[] = {
        {{{.seq = s, .pos = 0, .token = VOCAB}}, 1, PACO_EINVAL, "row 0: token 50, the vocabulary has 50"},
        {{{.seq = s, .pos = 0, .token = -1}}, 1, PACO_EINVAL, "token -1"},
        {{{.seq = s, .pos = 1, .token = 0}}, 1, PACO_EINVAL, "position 1 does not follow -1"},
        {{{.seq = s, .pos = -1, .token = 0}}, 1, PACO_EINVAL, "position -1"},
        {{{.seq = s, .pos = 0}, {.seq = s, .pos = 2}}, 2, PACO_EINVAL, "row 1: position 2 does not follow 0"},
        {{{.seq = s, .pos = 0}, {.seq = s, .pos = 0}}, 2, PACO_EINVAL, "row 1: position 0 does not follow 0"},
        {{{.seq = s, .pos = 8}}, 1, PACO_ELIMIT, "position 8, the sequence has room for 8 tokens"},
        {{{.seq = s, .pos = 0, .want_logits = true}, {.seq = s, .pos = 1, .want_logits = true},
             {.seq = s, .pos = 2, .want_logits = true}},
            3, PACO_ELIMIT, "3 rows want logits; the engine was opened for 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct paco_error err = {0};
        assert_int_equal(pc_engine_step(e, bad[i].rows, bad[i].n, &err), bad[i].code);
        assert_contains(err.message, bad[i].message);
        assert_int_equal(pc_seq_length(s), 0);
    }
    step(e, NULL, 0);
    struct paco_error err = {0};
    assert_int_equal(pc_seq_new(e, 0, &s, &err), PACO_EINVAL);
    assert_int_equal(pc_seq_new(e, (1 << 24) + 1, &s, &err), PACO_EINVAL);
    pc_seq_free(s);
    pc_engine_close(e);
    tiny_release(&m);
}

#if defined(__x86_64__)
static const unsigned g_flushing[] = {0x40, 0x8000}; /* MXCSR: denormals as operands, as results */

static unsigned float_control(void)
{
    return __builtin_ia32_stmxcsr();
}

static void set_float_control(unsigned control)
{
    __builtin_ia32_ldmxcsr(control);
}
#elif defined(__aarch64__)
static const unsigned g_flushing[] = {1u << 24}; /* FPCR.FZ: both */

static unsigned float_control(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return (unsigned)control;
}

static void set_float_control(unsigned control)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)control));
}
#endif

/* Numbers below 2^-126 are numbers. */
static void test_denormals(void **state)
{
    (void)state;
    assert_true(pc_cpu_keeps_denormals());
#if defined(__x86_64__) || defined(__aarch64__)
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    for (size_t i = 0; i < sizeof g_flushing / sizeof *g_flushing; i++) {
        struct paco_error err = {0};
        struct pc_engine *e = NULL;
        unsigned before = float_control();
        set_float_control(before | g_flushing[i]);
        int rc = pc_engine_open(m.ck, &m.config, NULL, &e, &err);
        set_float_control(before);
        assert_int_equal(rc, PACO_EUNSUPPORTED);
        assert_contains(err.message, "flushes denormal numbers to zero");
    }
    tiny_release(&m);
#endif
}

/* Weights are read on first use, by any worker: whichever read fails, the step says so, and the next one goes
 * on from there. */
static void test_reads_that_fail(void **state)
{
    (void)state;
    struct pc_config c = g_gqa;
    c.head_dim = 8;
    struct tiny m = tiny(c, PC_Q8_0);
    m.mapped = false;
    tiny_make(&m);
    float *want = run(&m, (struct pc_engine_options){.n_threads = 1}, N);
    int32_t token[N];
    tokens(token);
    int n_failed = 0;
    for (int n = 0;; n++) {
        struct paco_error err = {0};
        struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 3});
        struct pc_seq *s = new_seq(e, N);
        struct pc_row rows[5];
        for (int i = 0; i < 5; i++)
            rows[i] = (struct pc_row){.seq = s, .pos = i, .token = token[i], .want_logits = i == 4};
        _Atomic int left = n;
        m.reads_left = &left;
        int rc = pc_engine_step(e, rows, 5, &err);
        m.reads_left = NULL;
        if (rc < 0) {
            n_failed++;
            assert_int_equal(rc, PACO_EIO);
            assert_int_equal(err.code, PACO_EIO);
            assert_contains(err.message, "tensor '");
            assert_contains(err.message, "cannot be read");
            assert_int_equal(pc_seq_length(s), 0);
            assert_null(pc_engine_logits(e, 4));
            step(e, rows, 5);
        }
        assert_memory_equal(pc_engine_logits(e, 4), want + 4 * VOCAB, sizeof(float) * VOCAB);
        pc_seq_free(s);
        pc_engine_close(e);
        if (rc == 0)
            break;
    }
    assert_true(n_failed > 10);
    free(want);
    tiny_release(&m);
}

/* Single rows far into a sequence: its segments are shared by workers there, in several goes. */
static void test_long_sequence(void **state)
{
    (void)state;
    enum { LONG = 2600, LAST = 8 };
    struct pc_config c = g_gqa;
    c.n_layers = 1;
    c.n_heads = 8;
    c.n_kv_heads = 1;
    c.head_dim = 64;
    c.max_positions = LONG;
    struct tiny m = tiny(c, PC_F32);
    tiny_make(&m);
    float *logits[3];
    struct pc_row *rows = malloc(LONG * sizeof *rows);
    for (int way = 0; way < 3;
         way++) { /* 1 thread at once, 3 threads at once, 3 threads one by one at last */
        struct pc_engine *e =
            open_engine(&m, (struct pc_engine_options){.n_threads = way ? 3 : 1, .max_logits = LAST});
        struct pc_seq *s = new_seq(e, LONG);
        logits[way] = malloc(sizeof(float) * LAST * VOCAB);
        for (int i = 0; i < LONG; i++)
            rows[i] =
                (struct pc_row){.seq = s, .pos = i, .token = i * 7 % VOCAB, .want_logits = i >= LONG - LAST};
        size_t n = way == 2 ? LONG - LAST : LONG;
        step(e, rows, n);
        for (int i = 0; i < LAST; i++) {
            if (way == 2)
                step(e, &rows[LONG - LAST + i], 1);
            const float *row = pc_engine_logits(e, way == 2 ? 0 : (size_t)(LONG - LAST + i));
            memcpy(logits[way] + i * VOCAB, row, sizeof(float) * VOCAB);
        }
        pc_seq_free(s);
        pc_engine_close(e);
    }
    for (int way = 1; way < 3; way++)
        assert_memory_equal(logits[0], logits[way], sizeof(float) * LAST * VOCAB);
    for (int way = 0; way < 3; way++)
        free(logits[way]);
    free(rows);
    tiny_release(&m);
}

static void test_description(void **state)
{
    (void)state;
    static const struct {
        enum pc_dtype dtype;
        struct pc_engine_options o;
        const char *text;
    } cases[] = {
        {PC_F32, {.n_threads = 2, .scalar = true},
            "scalar, 2 threads: f32 products of f32; keys and values in f32"},
        {PC_F16, {.n_threads = 1, .scalar = true},
            "scalar, 1 thread: f32 products of f16; keys and values in f16"},
        {PC_Q8_0, {.n_threads = 1, .scalar = true, .kv_type = PC_Q8_0},
            "scalar, 1 thread: int8 products of q8_0; keys and values in q8_0"},
        {PC_Q8_0, {.n_threads = 1, .scalar = true, .f32 = true},
            "scalar, 1 thread: widened f32 products of q8_0; keys and values in f32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_config c = g_gqa;
        c.head_dim = 8;
        struct tiny m = tiny(c, cases[i].dtype);
        tiny_make(&m);
        struct pc_engine *e = open_engine(&m, cases[i].o);
        char text[256], cut[8];
        assert_string_equal(pc_engine_describe(e, text, sizeof text), cases[i].text);
        assert_string_equal(pc_engine_describe(e, cut, sizeof cut), "scalar,");
        pc_engine_close(e);
        tiny_release(&m);
    }
}

static void test_memory_plan(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 1, .plan_tokens = 100});
    struct pc_engine_plan p = pc_engine_plan(e);
    uint64_t weights = 0;
    for (size_t i = 0; i < m.ck->n_tensors; i++)
        if (!strstr(m.ck->tensors[i].name, "inv_freq") && !strstr(m.ck->tensors[i].name, "embed_tokens"))
            weights += m.ck->tensors[i].n_rows * m.ck->tensors[i].row_elems * 4;
    assert_int_equal(p.weights, weights);
    assert_int_equal(p.kv, 4 * pc_kv_block_size(&m.config, PC_F32));
    assert_int_equal(p.kv_token * 32, pc_kv_block_size(&m.config, PC_F32));
    assert_true(p.scratch > 0);
    pc_engine_close(e);

    struct paco_error err = {0};
    uint64_t need = p.weights + p.kv + p.scratch;
    struct pc_engine_options o = {.n_threads = 1, .plan_tokens = 100, .memory_limit = need};
    assert_int_equal(pc_engine_open(m.ck, &m.config, &o, &e, &err), 0);
    struct pc_seq *s;
    assert_int_equal(pc_seq_new(e, 1 << 20, &s, &err), PACO_ELIMIT);
    assert_contains(err.message, "keys and values of 1048576 tokens need 0.");
    pc_engine_close(e);
    o.memory_limit = need - 1;
    assert_int_equal(pc_engine_open(m.ck, &m.config, &o, &e, &err), PACO_EMEM);
    assert_contains(err.message,
        "keys and values of 100 tokens 0.000, scratch 0.001, loading 0.000; 0.001 GB are available "
        "(a context of 96 tokens would fit, 352 tokens with keys and values in q8_0)");
    o.plan_tokens = INT64_MAX;
    assert_int_equal(pc_engine_open(m.ck, &m.config, &o, &e, &err), PACO_EMEM);
    o.plan_tokens = 0;
    o.kv_type = PC_Q4_0;
    assert_int_equal(pc_engine_open(m.ck, &m.config, &o, &e, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "keys and values in q4_0; f32, f16, bf16 or q8_0 are possible");
    o.plan_tokens = -1;
    assert_int_equal(pc_engine_open(m.ck, &m.config, &o, &e, &err), PACO_EINVAL);
    tiny_release(&m);
}

/* Fail each allocation of opening in turn: an error, nothing leaks (under the address sanitizer), no crash.
 */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F16);
    m.mapped = false;
    tiny_make(&m);
    int n = 0;
    for (bool done = false; !done; n++) {
        struct paco_error err = {0};
        struct pc_engine *e = NULL;
        struct pc_seq *s = NULL;
        pc_alloc_fail_after(n);
        int rc = pc_engine_open(m.ck, &m.config, &(struct pc_engine_options){.n_threads = 2}, &e, &err);
        if (rc == 0)
            rc = pc_seq_new(e, 40, &s, &err);
        pc_alloc_fail_after(-1);
        done = rc == 0;
        if (!done) {
            assert_int_equal(rc, PACO_EMEM);
            assert_int_equal(err.code, PACO_EMEM);
        }
        pc_seq_free(s);
        pc_engine_close(e);
    }
    assert_true(n > 10);
    tiny_release(&m);
}

static void *only_block(void *seq, int32_t i_block)
{
    assert_int_equal(i_block, 0);
    return seq;
}

/* A block gives the same numbers with a tape as without, and the tape holds what went on. */
static void test_tape(void **state)
{
    (void)state;
    struct tiny m = tiny(g_gqa, PC_F32);
    tiny_make(&m);
    struct paco_error err = {0};
    struct pc_kernels kernels;
    pc_kernels_init(&kernels, pc_cpu_flags());
    struct pc_llama *model;
    assert_int_equal(pc_llama_bind(m.ck, &m.config, &kernels, true, &model, &err), 0);
    assert_int_equal(pc_llama_load(model, &err), 0);
    struct pc_pool *pool = pc_pool_new(1, &err);
    assert_int_equal(pc_llama_fill_layer(model, 1, pool, &err), 0);
    enum { T = 5, C = 32 };
    struct pc_compute compute = {.kernels = &kernels, .pool = pool};
    compute.n_scratch = pc_llama_attention_scratch(&m.config);
    compute.scratch = malloc(compute.n_scratch * sizeof(float));
    void *block = pc_alloc_pages((size_t)pc_kv_block_size(&m.config, PC_F32));

    size_t size = pc_llama_activations_size(&m.config, T), kept = pc_llama_tape_size(&m.config, T, false);
    assert_true(pc_llama_tape_size(&m.config, T, true) < kept);
    float *memory = malloc((size + kept) * sizeof *memory), x[2][T * C], cos_sin[T * 6];
    struct pc_llama_activations scratch = {0};
    struct pc_llama_tape tape;
    pc_llama_activations_place(&scratch, &m.config, T, memory);
    pc_llama_tape_place(&tape, &m.config, T, false, memory + size);
    int32_t pos[T] = {0, 1, 2, 3, 4};
    void *seq[T] = {block, block, block, block, block};
    struct pc_llama_piece pieces[T];
    struct pc_llama_rows rows = {.n = T,
        .seq = seq,
        .pos = pos,
        .cos_sin = cos_sin,
        .kv_block = only_block,
        .pieces = pieces,
        .n_pieces = pc_llama_cut(&m.config, seq, pos, T, pieces),
        .kv_type = PC_F32};
    memset(cos_sin, 0, sizeof cos_sin);
    for (int i = 0; i < T * C; i++)
        x[0][i] = x[1][i] = tiny_random(&m);
    float before[T * C];
    memcpy(before, x[0], sizeof before);
    struct pc_llama_weights weights = pc_llama_weights(model);
    pc_llama_block_forward(&compute, &m.config, &weights, 1, &rows, x[0], &scratch, NULL);
    pc_llama_block_forward(&compute, &m.config, &weights, 1, &rows, x[1], &scratch, &tape);
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    assert_memory_equal(tape.x_in, before, sizeof before);
    for (int i = 0; i < T * C; i++)
        assert_true(tape.x_mid[i] + scratch.delta[i] == x[1][i]);
    assert_ptr_not_equal(tape.gate, scratch.act);

    free(memory);
    free(compute.scratch);
    pc_pool_free(pool);
    pc_llama_free(model);
    pc_free(block);
    tiny_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llm_int8),
        cmocka_unit_test(test_grouped_heads),
        cmocka_unit_test(test_full_heads_f16_biases),
        cmocka_unit_test(test_one_kv_head_tied_bf16),
        cmocka_unit_test(test_blocks_of_weights),
        cmocka_unit_test(test_mixed_batch),
        cmocka_unit_test(test_rewind),
        cmocka_unit_test(test_kv_blocks),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_denormals),
        cmocka_unit_test(test_reads_that_fail),
        cmocka_unit_test(test_long_sequence),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_memory_plan),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
