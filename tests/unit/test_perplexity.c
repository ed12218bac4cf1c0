// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "engine/perplexity.h"
#include "tiny_model.h"

enum { N = 53, VOCAB = 40, BOS = 1 };

static const struct pc_config g_config = {.architecture = "LlamaForCausalLM",
    .n_layers = 1,
    .hidden_size = 16,
    .intermediate_size = 24,
    .n_heads = 2,
    .n_kv_heads = 1,
    .head_dim = 8,
    .vocab_size = VOCAB,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = BOS,
    .pad_id = -1};

struct side {
    struct tiny m;
    struct pc_engine *engine;
};

static void open_side(struct side *s, uint64_t seed, int32_t n_vocab, int n_threads)
{
    *s = (struct side){.m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = seed}};
    s->m.config.vocab_size = n_vocab;
    tiny_make(&s->m);
    struct paco_error err = {0};
    const struct pc_engine_options o = {.n_threads = n_threads, .max_logits = PC_PERPLEXITY_LOGITS};
    if (pc_engine_open(s->m.ck, &s->m.config, &o, &s->engine, &err) < 0)
        fail_msg("%s", err.message);
}

static void close_side(struct side *s)
{
    pc_engine_close(s->engine);
    tiny_release(&s->m);
}

static void tokens(int32_t *token)
{
    for (int i = 0; i < N; i++)
        token[i] = (i * i * 7 + 3 * i + 2) % VOCAB;
}

/* log p of every token after these n, in double. */
static void log_p(const struct tiny *m, const int32_t *token, int n, double out[VOCAB])
{
    double sum = 0;
    tiny_forward(m, token, n, out);
    for (int i = 0; i < VOCAB; i++)
        sum += exp(out[i]);
    for (int i = 0; i < VOCAB; i++)
        out[i] -= log(sum);
}

static int best(const double *x)
{
    int b = 0;
    for (int i = 1; i < VOCAB; i++)
        b = x[i] > x[b] ? i : b;
    return b;
}

struct expected {
    double nll, reference_nll, kl, kl_max;
    int n, same;
};

/* Add the predictions of tokens [first, end) of a window that begins at start. */
static void add_window(struct expected *e, const struct tiny *m, const struct tiny *ref, const int32_t *token,
    int start, int first, int end, bool bos)
{
    int32_t window[N];
    memcpy(window, token + start, sizeof *token * (size_t)(end - start));
    if (bos)
        window[0] = BOS;
    for (int i = first; i < end; i++) {
        double p[VOCAB], q[VOCAB], kl = 0;
        log_p(m, window, i - start, p);
        log_p(ref, window, i - start, q);
        for (int v = 0; v < VOCAB; v++)
            kl += exp(q[v]) * (q[v] - p[v]);
        e->nll -= p[token[i]];
        e->reference_nll -= q[token[i]];
        e->kl += kl;
        e->kl_max = kl > e->kl_max ? kl : e->kl_max;
        e->same += best(p) == best(q);
        e->n++;
    }
}

static void near(const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-5 * (1 + fabs(want))))
        fail_msg("%s: %.9g, not %.9g", what, got, want);
}

static void check(struct side *a, struct side *b, const struct pc_perplexity_options *o,
    const struct expected *e, int n_windows)
{
    int32_t token[N];
    tokens(token);
    struct paco_error err = {0};
    struct pc_perplexity p;
    if (pc_perplexity(a->engine, b->engine, token, N, o, &p, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(p.n_windows, n_windows);
    assert_int_equal(pc_perplexity_windows(o, N), n_windows);
    assert_int_equal(p.n_scored, e->n);
    near("nll", p.nll.mean, e->nll / e->n);
    near("reference", p.reference_nll.mean, e->reference_nll / e->n);
    near("divergence", p.kl.mean, e->kl / e->n);
    near("largest divergence", p.kl_max, e->kl_max);
    near("same likeliest", p.same_top, (double)e->same / e->n);
    assert_true(p.kl_median <= p.kl_p99 && p.kl_p99 <= p.kl_max && p.kl_median > 0);
    assert_true(p.nll.error > 0 && p.nll.error < p.nll.mean);
}

/* Three whole windows of 16 in 53 tokens: of each the tokens 9 to 15 count. */
static void test_end_to_end(void **state)
{
    (void)state;
    struct side a, b;
    open_side(&a, 42, VOCAB, 2);
    open_side(&b, 7, VOCAB, 1);
    int32_t token[N];
    tokens(token);
    for (int bos = -1; bos <= BOS; bos += 2) {
        struct expected e = {0}, first = {0};
        for (int i = 0; i < 3; i++)
            add_window(&e, &a.m, &b.m, token, i * 16, i * 16 + 9, i * 16 + 16, bos == BOS);
        check(&a, &b, &(struct pc_perplexity_options){.context = 16, .bos = bos}, &e, 3);
        add_window(&first, &a.m, &b.m, token, 0, 9, 16, bos == BOS);
        check(
            &a, &b, &(struct pc_perplexity_options){.context = 16, .bos = bos, .max_windows = 1}, &first, 1);
    }
    close_side(&a);
    close_side(&b);
}

/* Windows of 16 every 10: [0,16) [10,26) [20,36) [30,46) [40,53). Every token but the first counts once, with
 * what its window holds before it. */
static void test_stride(void **state)
{
    (void)state;
    struct side a, b;
    open_side(&a, 42, VOCAB, 3);
    open_side(&b, 7, VOCAB, 1);
    int32_t token[N];
    tokens(token);
    struct expected e = {0};
    add_window(&e, &a.m, &b.m, token, 0, 1, 16, false);
    for (int start = 10; start <= 30; start += 10)
        add_window(&e, &a.m, &b.m, token, start, start + 6, start + 16, false);
    add_window(&e, &a.m, &b.m, token, 40, 46, N, false);
    assert_int_equal(e.n, N - 1);
    check(&a, &b, &(struct pc_perplexity_options){.context = 16, .stride = 10, .bos = BOS}, &e, 5);
    /* a window that holds everything */
    e = (struct expected){0};
    add_window(&e, &a.m, &b.m, token, 0, 1, N, false);
    check(&a, &b, &(struct pc_perplexity_options){.context = 200, .stride = 100, .bos = -1}, &e, 1);
    /* no overlap: the first token of each window has nothing before it */
    e = (struct expected){0};
    for (int start = 0; start < N; start += 16)
        add_window(&e, &a.m, &b.m, token, start, start + 1, start + 16 < N ? start + 16 : N, false);
    check(&a, &b, &(struct pc_perplexity_options){.context = 16, .stride = 16, .bos = -1}, &e, 4);
    close_side(&a);
    close_side(&b);
}

/* A model is not far from itself, and threads change nothing. */
static void test_itself(void **state)
{
    (void)state;
    struct side a, b;
    open_side(&a, 42, VOCAB, 1);
    open_side(&b, 42, VOCAB, 3);
    int32_t token[N];
    tokens(token);
    struct paco_error err = {0};
    struct pc_perplexity p, alone;
    const struct pc_perplexity_options o = {.context = 32, .stride = 8, .bos = -1};
    assert_int_equal(pc_perplexity(a.engine, b.engine, token, N, &o, &p, &err), 0);
    assert_int_equal(pc_perplexity(b.engine, NULL, token, N, &o, &alone, &err), 0);
    assert_true(p.kl_max == 0 && p.kl.mean == 0 && p.kl.error == 0 && p.same_top == 1);
    assert_memory_equal(&p.nll, &p.reference_nll, sizeof p.nll);
    assert_memory_equal(&p.nll, &alone.nll, sizeof p.nll);
    close_side(&a);
    close_side(&b);
}

static int stop_at_40(void *ctx, const struct pc_progress_event *event)
{
    *(uint64_t *)ctx = event->total;
    return event->done >= 40;
}

static void test_refusals(void **state)
{
    (void)state;
    struct side a, wide;
    open_side(&a, 42, VOCAB, 1);
    open_side(&wide, 42, VOCAB + 1, 1);
    int32_t token[N];
    tokens(token);
    const struct {
        struct pc_perplexity_options o;
        size_t n;
        struct pc_engine *reference;
        int code;
        const char *message;
    } bad[] = {
        {{.context = 3}, N, NULL, PACO_EINVAL, "windows of 3 tokens every 0; at least 4"},
        {{.context = 8, .stride = 9}, N, NULL, PACO_EINVAL, "windows of 8 tokens every 9"},
        {{.context = 8, .stride = -1}, N, NULL, PACO_EINVAL, "every -1"},
        {{.context = 54}, N, NULL, PACO_ELIMIT, "the text has 53 tokens; one window has more"},
        {{.context = 54, .stride = 2}, 1, NULL, PACO_ELIMIT, "the text has 1 tokens; at least 2 are needed"},
        {{.context = 16}, N, wide.engine, PACO_EMISMATCH,
            "the model has a vocabulary of 40 tokens, the reference one of 41"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct paco_error err = {0};
        struct pc_perplexity p;
        assert_int_equal(
            pc_perplexity(a.engine, bad[i].reference, token, bad[i].n, &bad[i].o, &p, &err), bad[i].code);
        assert_contains(err.message, bad[i].message);
    }
    struct paco_error err = {0};
    struct pc_perplexity p;
    uint64_t total = 0;
    const struct pc_progress progress = {stop_at_40, NULL, &total};
    const struct pc_perplexity_options o = {.context = 16, .bos = -1, .progress = &progress};
    assert_int_equal(pc_perplexity(a.engine, NULL, token, N, &o, &p, &err), PACO_ECANCELLED);
    assert_int_equal(total, 45);
    close_side(&a);
    close_side(&wide);
}

/* Weights that are not numbers give no perplexity. */
static void test_no_numbers(void **state)
{
    (void)state;
    struct side a;
    open_side(&a, 42, VOCAB, 1);
    close_side(&a);
    a = (struct side){.m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 42}};
    tiny_make(&a.m);
    const struct pc_tensor *norm = pc_checkpoint_find(a.m.ck, "model.norm.weight");
    assert_non_null(norm);
    const float nan_value = NAN;
    memcpy(a.m.bytes[norm->index], &nan_value, sizeof nan_value);
    struct paco_error err = {0};
    const struct pc_engine_options eo = {.n_threads = 1, .max_logits = PC_PERPLEXITY_LOGITS};
    assert_int_equal(pc_engine_open(a.m.ck, &a.m.config, &eo, &a.engine, &err), 0);
    int32_t token[N];
    tokens(token);
    struct pc_perplexity p;
    const struct pc_perplexity_options o = {.context = 16, .bos = -1};
    assert_int_equal(pc_perplexity(a.engine, NULL, token, N, &o, &p, &err), PACO_EFORMAT);
    assert_contains(err.message, "token 9 of the text: the model gives no probabilities there");
    close_side(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_to_end),
        cmocka_unit_test(test_stride),
        cmocka_unit_test(test_itself),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
