// SPDX-License-Identifier: Apache-2.0
/* What binding refuses, and what it says. */
#include "unit.h"

#include "model/llama.h"
#include "tiny_model.h"

static const struct pc_config g_config = {.n_layers = 4,
    .hidden_size = 32,
    .intermediate_size = 64,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 8,
    .vocab_size = 50,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f};

static const struct pc_kernels *scalar_kernels(void)
{
    static struct pc_kernels kernels;
    pc_kernels_init(&kernels, 0);
    return &kernels;
}

static void refused(const struct tiny *m, const struct pc_config *c, int code, const char *message)
{
    struct paco_error err = {0};
    struct pc_llama *model = NULL;
    assert_int_equal(pc_llama_bind(m->ck, c, scalar_kernels(), false, &model, &err), code);
    assert_null(model);
    assert_int_equal(err.code, code);
    assert_contains(err.message, message);
    assert_string_equal(err.path, "tiny");
}

static void test_shapes(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true};
    tiny_make(&m);
    struct pc_config c = g_config;
    c.intermediate_size = 72;
    refused(&m, &c, PACO_EMISMATCH,
        "tensor 'model.layers.0.mlp.gate_proj.weight': shape [64,32], config.json says [72,32]");
    c = g_config;
    c.n_kv_heads = 4;
    refused(&m, &c, PACO_EMISMATCH,
        "tensor 'model.layers.0.self_attn.k_proj.weight': shape [16,32], config.json says [32,32]");
    c = g_config;
    c.vocab_size = 51;
    refused(&m, &c, PACO_EMISMATCH,
        "tensor 'model.embed_tokens.weight': shape [50,32], config.json says [51,32]");
    c = g_config;
    c.n_layers = 5;
    refused(&m, &c, PACO_ENOENT, "tensor 'model.layers.4.self_attn.q_proj.weight' is missing");
    c = g_config;
    c.attention_bias = true;
    refused(&m, &c, PACO_ENOENT, "tensor 'model.layers.0.self_attn.q_proj.bias' is missing");
    tiny_release(&m);
}

static void test_heads(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_BF16};
    m.config.tied = true;
    m.config.mlp_bias = true;
    tiny_make(&m);
    struct pc_config c = m.config;
    c.tied = false;
    refused(
        &m, &c, PACO_ENOENT, "tensor 'lm_head.weight' is missing, and config.json says tie_word_embeddings");
    c.tied = true;
    c.mlp_bias = false;
    refused(&m, &c, PACO_EMISMATCH,
        "tensor 'model.layers.0.mlp.gate_proj.bias' is there, but config.json says mlp_bias is false");
    tiny_release(&m);
}

static void test_types_and_vectors(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config};
    struct paco_error err = {0};
    m.ck = pc_checkpoint_new("memory", &tiny_ops, "tiny", &err);
    m.ck->impl = &m;
    uint64_t shape[3] = {50, 32, 1};
    assert_int_equal(
        pc_checkpoint_add_tensor(m.ck, "model.embed_tokens.weight", 25, PC_I64, 2, shape, &err), 0);
    refused(&m, &g_config, PACO_EUNSUPPORTED,
        "tensor 'model.embed_tokens.weight' is of type i64, which holds no weights");
    pc_checkpoint_close(m.ck);
    m.ck = pc_checkpoint_new("memory", &tiny_ops, "tiny", &err);
    assert_int_equal(
        pc_checkpoint_add_tensor(m.ck, "model.embed_tokens.weight", 25, PC_F32, 3, shape, &err), 0);
    refused(&m, &g_config, PACO_EMISMATCH, "shape [50,32,1], config.json says [50,32]");
    pc_checkpoint_close(m.ck);
}

static void test_configs(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F32};
    tiny_make(&m);
    const struct {
        int32_t heads, kv_heads, head_dim, layers;
        int code;
        const char *message;
    } bad[] = {
        {4, 3, 8, 4, PACO_EFORMAT, "4 heads on 3 key/value heads"},
        {4, 0, 8, 4, PACO_EFORMAT, "no such model"},
        {4, 2, 7, 4, PACO_EUNSUPPORTED, "head_dim is 7; rotary positions need an even one"},
        {4, 2, 0, 4, PACO_EUNSUPPORTED, "head_dim is 0"},
        {4, 2, 8, 0, PACO_EFORMAT, "0 layers"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pc_config c = g_config;
        c.n_heads = bad[i].heads;
        c.n_kv_heads = bad[i].kv_heads;
        c.head_dim = bad[i].head_dim;
        c.n_layers = bad[i].layers;
        struct paco_error err = {0};
        struct pc_llama *model = NULL;
        assert_int_equal(pc_llama_bind(m.ck, &c, scalar_kernels(), false, &model, &err), bad[i].code);
        assert_contains(err.message, bad[i].message);
        assert_null(model);
    }
    tiny_release(&m);
}

static void test_tied_shares(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F16, .mapped = true};
    m.config.tied = true;
    tiny_make(&m);
    struct paco_error err = {0};
    struct pc_kernels kernels;
    pc_kernels_init(&kernels, 0);
    struct pc_llama *model = NULL;
    assert_int_equal(pc_llama_bind(m.ck, &m.config, &kernels, false, &model, &err), 0);
    assert_int_equal(pc_llama_load(model, &err), 0);
    assert_ptr_equal(model->head.data, model->embedding.data);
    assert_ptr_equal(model->head.data, m.bytes[0]); /* where the file put it */
    assert_int_equal(model->head.n_out, 50);
    pc_llama_free(model);
    tiny_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_types_and_vectors),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_tied_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
