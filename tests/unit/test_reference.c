// SPDX-License-Identifier: Apache-2.0
/* The reference's own logits and greedy tokens for small models, without the reference: tests/fixtures/models
 * was made by tests/parity/logits.py with Transformers in float32. */
#include "unit.h"

#include "base/json.h"
#include "engine/generate.h"
#include "weights/source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const g_models[] = {"gqa-f32", "tied-biases-f16", "llama3-bf16", "linear-mqa-f16"};

struct expected {
    json_t *root;
    int32_t ids[64], greedy[64];
    size_t n_ids, n_greedy;
};

static size_t read_ids(const json_t *list, int32_t *ids)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 1, 64);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void check_model(const char *name, const struct pc_engine_options *options)
{
    struct paco_error err = {0};
    struct pc_source source;
    char path[256];
    struct expected want = {0};
    snprintf(path, sizeof path, "tests/fixtures/models/%s/expected.json", name);
    if (pc_json_read(path, 1 << 20, &want.root, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);
    want.n_ids = read_ids(json_object_get(want.root, "ids"), want.ids);
    want.n_greedy = read_ids(json_object_get(want.root, "greedy"), want.greedy);
    snprintf(path, sizeof path, "tests/fixtures/models/%s", name);
    struct pc_engine *e = NULL;
    struct pc_seq *seq = NULL;
    struct pc_sampler *sampler = NULL;
    if (pc_source_open(path, &source, &err) < 0 ||
        pc_engine_open(source.ck, &source.config, options, &e, &err) < 0 ||
        pc_seq_new(e, 128, &seq, &err) < 0 ||
        pc_sampler_new(source.config.vocab_size, &(struct pc_sampler_options){0}, &sampler, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);

    size_t i_row;
    assert_int_equal(pc_prefill(e, seq, want.ids, want.n_ids, NULL, &i_row, &err), 0);
    const float *logits = pc_engine_logits(e, i_row);
    const json_t *list = json_object_get(want.root, "logits");
    assert_int_equal(json_array_size(list), source.config.vocab_size);
    for (int32_t v = 0; v < source.config.vocab_size; v++) {
        double off = fabs((double)logits[v] - json_number_value(json_array_get(list, (size_t)v)));
        if (!(off < 1e-3))
            fail_msg("%s: logit %d is off by %g", name, v, off);
    }

    struct pc_generation g;
    pc_generation_init(&g);
    pc_seq_truncate(seq, 0);
    struct pc_generate_options o = {
        .max_tokens = 64, .eos_ids = source.config.eos_ids, .n_eos = (size_t)source.config.n_eos};
    assert_int_equal(pc_generate(e, NULL, seq, want.ids, want.n_ids, sampler, &o, &g, &err), 0);
    assert_int_equal(g.ids.n, want.n_greedy);
    assert_memory_equal(g.ids.v, want.greedy, want.n_greedy * sizeof *want.greedy);

    pc_generation_release(&g);
    pc_sampler_free(sampler);
    pc_seq_free(seq);
    pc_engine_close(e);
    pc_source_close(&source);
    json_decref(want.root);
}

static void test_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof g_models / sizeof *g_models; i++) {
        check_model(g_models[i], &(struct pc_engine_options){.n_threads = 2, .f32 = true});
        check_model(g_models[i], &(struct pc_engine_options){.n_threads = 1, .f32 = true, .scalar = true});
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
