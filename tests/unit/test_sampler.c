// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/json.h"
#include "base/memory.h"
#include "engine/sampler.h"
#include "engine/stops.h"

#include <math.h>
#include <stdlib.h>

enum { V = 10 };

static struct pc_sampler *make(int32_t n, struct pc_sampler_options o)
{
    struct paco_error err = {0};
    struct pc_sampler *s = NULL;
    if (pc_sampler_new(n, &o, &s, &err) < 0)
        fail_msg("%s", err.message);
    return s;
}

static int32_t next(struct pc_sampler *s, const float *logits)
{
    struct paco_error err = {0};
    int32_t id = -1;
    pc_alloc_forbid(true);
    if (pc_sampler_next(s, logits, &id, &err) < 0)
        fail_msg("%s", err.message);
    pc_alloc_forbid(false);
    return id;
}

/* How often each id comes in 20,000 draws, divided by that. */
static void frequencies(struct pc_sampler_options o, const float *logits, double *f)
{
    enum { DRAWS = 20000 };
    struct pc_sampler *s = make(V, o);
    memset(f, 0, V * sizeof *f);
    for (int i = 0; i < DRAWS; i++)
        f[next(s, logits)] += 1.0 / DRAWS;
    pc_sampler_free(s);
}

static const float g_logits[V] = {0.5f, 2.0f, -1.0f, 2.0f, 1.0f, -3.0f, 0.0f, 1.5f, -INFINITY, 0.25f};

static void expect(struct pc_sampler_options o, const float *logits, const bool *kept)
{
    double f[V], p[V], sum = 0, t = o.temperature;
    frequencies(o, logits, f);
    for (int i = 0; i < V; i++)
        sum += p[i] = kept[i] ? exp((double)logits[i] / t) : 0;
    for (int i = 0; i < V; i++)
        if (!(fabs(f[i] - p[i] / sum) < 0.015) || (p[i] == 0 && f[i] != 0))
            fail_msg("id %d came with frequency %.4f, not %.4f", i, f[i], p[i] / sum);
}

static void test_greedy(void **state)
{
    (void)state;
    struct pc_sampler *s = make(V, (struct pc_sampler_options){0});
    float x[V];
    memcpy(x, g_logits, sizeof x);
    assert_int_equal(next(s, x), 1); /* the lower id of two equals */
    x[1] = NAN;
    assert_int_equal(next(s, x), 3);
    x[8] = INFINITY;
    assert_int_equal(next(s, x), 8);
    for (int i = 0; i < V; i++)
        x[i] = i % 2 ? NAN : -INFINITY;
    struct paco_error err = {0};
    int32_t id;
    assert_int_equal(pc_sampler_next(s, x, &id, &err), PACO_EFORMAT);
    assert_contains(err.message, "every logit is NaN or minus infinity");
    pc_sampler_free(s);
}

static void test_suppressed(void **state)
{
    (void)state;
    const int32_t none[] = {1, 3, -1, V, 7};
    struct pc_sampler_options o = {.suppressed = none, .n_suppressed = 5};
    struct pc_sampler *s = make(V, o);
    assert_int_equal(next(s, g_logits), 4);
    pc_sampler_free(s);
    o.temperature = 1;
    o.repetition_penalty = 0.1; /* not even what was seen comes back */
    double f[V];
    frequencies(o, g_logits, f);
    assert_true(f[1] == 0 && f[3] == 0 && f[7] == 0 && f[4] > 0);
}

static void test_temperature(void **state)
{
    (void)state;
    static const bool all[V] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 1};
    expect((struct pc_sampler_options){.temperature = 1, .seed = 1}, g_logits, all);
    expect((struct pc_sampler_options){.temperature = 0.5, .seed = 2}, g_logits, all);
    expect((struct pc_sampler_options){.temperature = 3, .seed = 3}, g_logits, all);
    double f[V];
    frequencies((struct pc_sampler_options){.temperature = 1e-300}, g_logits, f); /* scores overflow */
    assert_true(fabs(f[1] + f[3] - 1) < 1e-9 || fabs(f[1] - 1) < 1e-9);
}

static void test_top_k(void **state)
{
    (void)state;
    static const bool three[V] = {0, 1, 0, 1, 0, 0, 0, 1, 0, 0}, two[V] = {0, 1, 0, 1, 0, 0, 0, 0, 0, 0},
                      all[V] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 1};
    expect((struct pc_sampler_options){.temperature = 1, .top_k = 3}, g_logits, three);
    expect((struct pc_sampler_options){.temperature = 1, .top_k = 1}, g_logits,
        two); /* equals of the last stay */
    expect((struct pc_sampler_options){.temperature = 1, .top_k = 1000}, g_logits, all);
}

static void test_top_p(void **state)
{
    (void)state;
    /* probabilities .4 .3 .2 .1 */
    float x[V];
    for (int i = 0; i < V; i++)
        x[i] = -INFINITY;
    x[5] = logf(0.4f), x[2] = logf(0.3f), x[7] = logf(0.2f), x[0] = logf(0.1f);
    static const bool two[V] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0}, three[V] = {0, 0, 1, 0, 0, 1, 0, 1, 0, 0},
                      one[V] = {0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    expect((struct pc_sampler_options){.temperature = 1, .top_p = 0.65}, x, two);
    expect((struct pc_sampler_options){.temperature = 1, .top_p = 0.75}, x, three);
    expect((struct pc_sampler_options){.temperature = 1, .top_p = 0.39}, x, one);
    expect((struct pc_sampler_options){.temperature = 1, .top_p = 1e-9}, x, one);
    /* After top-k 2 the first has 4/7 of what is left. */
    expect((struct pc_sampler_options){.temperature = 1, .top_k = 2, .top_p = 0.5}, x, one);
    expect((struct pc_sampler_options){.temperature = 1, .top_k = 2, .top_p = 0.6}, x, two);
}

static void test_min_p(void **state)
{
    (void)state;
    static const bool kept[V] = {0, 1, 0, 1, 1, 0, 0, 1, 0, 0};
    /* e^-1 = .37 of the best stays, e^-1.5 = .22 does not */
    expect((struct pc_sampler_options){.temperature = 1, .min_p = 0.3}, g_logits, kept);
}

static void test_repetition(void **state)
{
    (void)state;
    struct pc_sampler *s = make(V, (struct pc_sampler_options){.repetition_penalty = 2});
    float x[V] = {-1.0f, 4.0f, 3.0f, -1.5f, -9, -9, -9, -9, -9, -9};
    assert_int_equal(next(s, x), 1);
    pc_sampler_accept(s, 1);
    pc_sampler_accept(s, 1); /* once is enough */
    pc_sampler_accept(s, -1);
    pc_sampler_accept(s, V);
    assert_int_equal(next(s, x), 2); /* 4 / 2 < 3 */
    pc_sampler_accept(s, 2);
    assert_int_equal(next(s, x), 1); /* 2 > 1.5 */
    x[1] = x[2] = -20;
    pc_sampler_accept(s, 0);
    assert_int_equal(next(s, x), 3); /* -1 * 2 < -1.5 */
    pc_sampler_reset(s, 0);
    assert_int_equal(next(s, x), 0);
    pc_sampler_free(s);
}

/* Draws are a function of seed, stream and count; a large vocabulary cut to size gives what a full sort
 * would. */
/* What OpenAI defines: of what was chosen, not of the prompt; counts for frequency, once for presence. */
static void test_presence_and_frequency(void **state)
{
    (void)state;
    struct pc_sampler *s =
        make(V, (struct pc_sampler_options){.presence_penalty = 0.5, .frequency_penalty = 0.25});
    const float x[V] = {4.0f, 3.6f, 3.3f, 3.2f, -9, -9, -9, -9, -9, -9};
    pc_sampler_accept_prompt(s, 0);
    assert_int_equal(next(s, x), 0); /* the prompt does not count */
    pc_sampler_accept(s, 0);
    assert_int_equal(next(s, x), 1); /* 4 - .75 < 3.6 */
    pc_sampler_accept(s, 1);
    assert_int_equal(next(s, x), 2); /* 3.25, 2.85 < 3.3 */
    pc_sampler_accept(s, 2);
    assert_int_equal(next(s, x), 0); /* 3.25 > 3.2 */
    pc_sampler_accept(s, 0);
    assert_int_equal(next(s, x), 3); /* 4 - .5 - 2 * .25 = 3 */
    pc_sampler_reset(s, 0);
    assert_int_equal(next(s, x), 0);
    pc_sampler_free(s);
    s = make(V, (struct pc_sampler_options){.presence_penalty = -1});
    pc_sampler_accept(s, 2);
    assert_int_equal(next(s, x), 2); /* a reward */
    pc_sampler_free(s);
    s = make(V, (struct pc_sampler_options){.repetition_penalty = 2, .presence_penalty = 0.5});
    const float y[V] = {4.0f, 1.6f, -9, -9, -9, -9, -9, -9, -9, -9};
    pc_sampler_accept(s, 0);
    assert_int_equal(next(s, y), 1); /* 4 / 2 - .5 < 1.6, where (4 - .5) / 2 would be more */
    pc_sampler_free(s);
}

static void test_bias(void **state)
{
    (void)state;
    const struct pc_logit_bias bias[] = {{4, 1.5f}, {1, -100}, {-1, 100}, {V, 100}};
    struct pc_sampler_options o = {.bias = bias, .n_bias = 4};
    assert_false(pc_sampler_is_greedy(&o));
    struct pc_sampler *s = make(V, o);
    assert_int_equal(next(s, g_logits), 4); /* 1 + 1.5 > 2 */
    pc_sampler_free(s);
    o.repetition_penalty = 2;
    s = make(V, o);
    pc_sampler_accept(s, 4);
    assert_int_equal(next(s, g_logits), 3); /* (1 + 1.5) / 2 < 2: the bias comes first */
    pc_sampler_free(s);
    o = (struct pc_sampler_options){.temperature = 1, .bias = bias, .n_bias = 4};
    double f[V];
    frequencies(o, g_logits, f);
    assert_true(f[1] == 0 && f[4] > f[3]);
    assert_true(pc_sampler_is_greedy(&(struct pc_sampler_options){.repetition_penalty = 1, .top_p = 0.5}));
    assert_false(pc_sampler_is_greedy(&(struct pc_sampler_options){.frequency_penalty = 1}));
}

static void test_seed(void **state)
{
    (void)state;
    enum { N = 5000 };
    float *x = malloc(N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = sinf((float)i * 12.9898f) * 4;
    struct pc_sampler_options o = {.temperature = 0.9, .top_p = 0.8, .seed = 7};
    struct pc_sampler *a = make(N, o), *b = make(N, o),
                      *c = make(N, (struct pc_sampler_options){.temperature = 0.9, .top_p = 0.8, .seed = 8});
    int32_t first[50];
    int n_same = 0;
    for (int i = 0; i < 50; i++) {
        first[i] = next(a, x);
        assert_int_equal(next(b, x), first[i]);
        n_same += next(c, x) == first[i];
    }
    assert_true(n_same < 10);
    pc_sampler_reset(a, 0);
    pc_sampler_reset(b, 1);
    n_same = 0;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(next(a, x), first[i]);
        n_same += next(b, x) == first[i];
    }
    assert_true(n_same < 10);

    /* What top-p 0.8 leaves, by sorting everything in double. */
    double sum = 0, cut = 0, kept = 0;
    for (int i = 0; i < N; i++)
        sum += exp((double)x[i] / 0.9);
    for (double threshold = 4; threshold > -4; threshold -= 0.001) {
        kept = 0;
        for (int i = 0; i < N; i++)
            kept += (double)x[i] >= threshold ? exp((double)x[i] / 0.9) : 0;
        if (kept >= 0.8 * sum) {
            cut = threshold;
            break;
        }
    }
    for (int i = 0; i < 2000; i++)
        assert_true((double)x[next(a, x)] >= cut - 0.01);
    pc_sampler_free(a);
    pc_sampler_free(b);
    pc_sampler_free(c);
    free(x);
}

static void test_rank(void **state)
{
    (void)state;
    struct pc_sampler *s = make(V, (struct pc_sampler_options){0});
    struct pc_ranked r[20];
    assert_int_equal(pc_sampler_rank(s, g_logits, r, 20), V);
    static const int32_t order[V] = {1, 3, 7, 4, 0, 9, 6, 2, 5, 8};
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += exp((double)g_logits[i]);
    for (int i = 0; i < V; i++) {
        assert_int_equal(r[i].id, order[i]);
        assert_true(r[i].logit == g_logits[order[i]]);
        if (isfinite(r[i].logit))
            assert_true(fabs(r[i].log_probability - ((double)r[i].logit - log(sum))) < 1e-6);
    }
    assert_int_equal(pc_sampler_rank(s, g_logits, r, 3), 3);
    pc_sampler_free(s);
}

static void test_options(void **state)
{
    static const struct pc_logit_bias no_number = {3, INFINITY};
    (void)state;
    const struct {
        struct pc_sampler_options o;
        const char *message;
    } bad[] = {
        {{.temperature = -1}, "temperature -1; 0 (greedy) or more"},
        {{.temperature = NAN}, "temperature nan"},
        {{.top_k = -1}, "top-k -1"},
        {{.top_p = 1.5}, "top-p 1.5"},
        {{.min_p = 2}, "min-p 2"},
        {{.repetition_penalty = -0.5}, "repetition penalty -0.5"},
        {{.presence_penalty = (double)NAN}, "penalties of nan for presence"},
        {{.frequency_penalty = (double)INFINITY}, "inf for frequency"},
        {{.bias = &no_number, .n_bias = 1}, "a bias of inf for id 3"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct paco_error err = {0};
        struct pc_sampler *s;
        assert_int_equal(pc_sampler_new(V, &bad[i].o, &s, &err), PACO_EINVAL);
        assert_contains(err.message, bad[i].message);
    }
    for (int n = 0; n < 9; n++) {
        struct paco_error err = {0};
        struct pc_sampler *s;
        pc_alloc_fail_after(n);
        int rc = pc_sampler_new(V, &(struct pc_sampler_options){0}, &s, &err);
        pc_alloc_fail_after(-1);
        assert_int_equal(rc, PACO_EMEM);
    }
}

/* ---- Transformers' filters, by tests/parity/sampling.py ---- */

enum { N_STREAMS = 1 << 20 };

/* The first draw of each stream of seed 0, and the streams in order of it. */
static double *g_draws;
static uint32_t *g_by_draw;

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int by_draw(const void *a, const void *b)
{
    double x = g_draws[*(const uint32_t *)a], y = g_draws[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

static void list_draws(void)
{
    g_draws = test_malloc(N_STREAMS * sizeof *g_draws);
    g_by_draw = test_malloc(N_STREAMS * sizeof *g_by_draw);
    assert_true(g_draws && g_by_draw);
    for (uint32_t i = 0; i < N_STREAMS; i++) {
        g_draws[i] = (double)(mix(mix(0) + mix(i + ((uint64_t)1 << 63))) >> 11) * 0x1p-53;
        g_by_draw[i] = i;
    }
    qsort(g_by_draw, N_STREAMS, sizeof *g_by_draw, by_draw);
}

/* The stream whose first draw is the least not below u. */
static uint32_t stream_at(double u)
{
    size_t lo = 0, hi = N_STREAMS - 1;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (g_draws[g_by_draw[mid]] < u)
            lo = mid + 1;
        else
            hi = mid;
    }
    return g_by_draw[lo];
}

static int32_t fixed_logits(const json_t *root, const char *name, float *out)
{
    if (strcmp(name, "smollm2") == 0) {
        const json_t *list = json_object_get(root, name);
        for (size_t i = 0; i < json_array_size(list); i++)
            out[i] = (float)json_real_value(json_array_get(list, i));
        return (int32_t)json_array_size(list);
    }
    for (uint32_t i = 0; i < 4096; i++) {
        double u = (double)(uint32_t)(i * 2654435761u) / 4294967296.0;
        out[i] = (float)((strcmp(name, "steep") == 0 ? 40 : 12) * (u * u * u * u) - 10);
    }
    return 4096;
}

/* Just behind the beginning and just before the end of each token's share of [0, 1), it is drawn: so the
 * probabilities are Transformers' to some millionths, and nothing else has any. */
static void check_chain(const json_t *root, const json_t *c, float *logits)
{
    const json_t *ids = json_object_get(c, "ids"), *p = json_object_get(c, "p");
    int32_t n_vocab = fixed_logits(root, json_string_value(json_object_get(c, "logits")), logits);
    struct pc_sampler *s = make(n_vocab,
        (struct pc_sampler_options){.temperature = json_number_value(json_object_get(c, "temperature")),
            .top_k = (int32_t)json_integer_value(json_object_get(c, "top_k")),
            .top_p = json_number_value(json_object_get(c, "top_p"))});
    const double margin = 3e-6;
    double from = 0;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        double to = from + json_number_value(json_array_get(p, i)), at[2] = {from + margin, to - margin};
        for (int end = 0; end < 2; end++) {
            uint32_t stream = stream_at(end ? at[1] - margin : at[0]);
            if (g_draws[stream] < at[0] || g_draws[stream] > at[1])
                continue; /* a share this small has no stream in it */
            pc_sampler_reset(s, stream);
            if (next(s, logits) != json_integer_value(json_array_get(ids, i)))
                fail_msg("%s: draw %.9f is not id %d, whose share is [%.9f, %.9f)",
                    json_string_value(json_object_get(c, "logits")), g_draws[stream],
                    (int)json_integer_value(json_array_get(ids, i)), from, to);
        }
        from = to;
    }
    assert_true(fabs(from - 1) < margin);
    pc_sampler_free(s);
}

static void test_chain(void **state)
{
    (void)state;
    static float logits[4096];
    json_t *root;
    struct paco_error err;
    if (pc_json_read("tests/fixtures/engine/sampling.json", 1 << 20, &root, &err) < 0)
        fail_msg("%s", err.message);
    const json_t *cases = json_object_get(root, "cases");
    assert_in_range(json_array_size(cases), 20, 100);
    list_draws();
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_chain(root, json_array_get(cases, i), logits);
    test_free(g_draws);
    test_free(g_by_draw);
    json_decref(root);
}

static void test_stops(void **state)
{
    (void)state;
    static const char *const stops[] = {"</s>", "", "\nUser:", "bc", "abcX"};
    const struct {
        const char *text;
        size_t n;
        bool found;
    } rows[] = {
        {"", 0, false},
        {"hello", 5, false},
        {"hello</s>", 5, true},
        {"hello</s", 5, false},
        {"hello<", 5, false},
        {"hello</p", 8, false},
        {"a</s>b\nUser:", 1, true},
        {"x\nUse", 1, false},
        {"x\n\nUser", 2, false},
        {"xabc", 2, true}, /* a whole stop ends the answer, even inside the beginning of another */
        {"xab", 1, false}, /* may become abcX, and bc */
        {"xb", 1, false},
        {"xbd", 3, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool found;
        size_t n = pc_stops_scan(rows[i].text, strlen(rows[i].text), stops, 5, &found);
        if (n != rows[i].n || found != rows[i].found)
            fail_msg("'%s': %zu bytes released, found %d", rows[i].text, n, found);
    }
    bool found;
    assert_int_equal(pc_stops_scan("abc", 3, NULL, 0, &found), 3);
    assert_false(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_suppressed),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_repetition),
        cmocka_unit_test(test_presence_and_frequency),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_rank),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
