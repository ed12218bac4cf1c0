// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "weights/inspect.h"

#include <stdio.h>

static const struct pc_config g_config = {.n_layers = 2,
    .hidden_size = 8,
    .intermediate_size = 16,
    .n_heads = 2,
    .n_kv_heads = 1,
    .head_dim = 4,
    .vocab_size = 10};

static void add_layer(struct pc_checkpoint *ck, int layer)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } tensors[] = {{"self_attn.q_proj", 8, 8}, {"self_attn.k_proj", 4, 8}, {"self_attn.v_proj", 4, 8},
        {"self_attn.o_proj", 8, 8}, {"mlp.gate_proj", 16, 8}, {"mlp.up_proj", 16, 8},
        {"mlp.down_proj", 8, 16}, {"input_layernorm", 8, 0}, {"post_attention_layernorm", 8, 0}};
    char name[100];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, tensors[i].name);
        memory_add(ck, name, PC_F16, tensors[i].rows, tensors[i].cols, NULL);
    }
    snprintf(name, sizeof name, "model.layers.%d.self_attn.rotary_emb.inv_freq", layer);
    memory_add(ck, name, PC_F32, 2, 0, NULL);
}

static struct pc_checkpoint *model(uint64_t vocab, int n_layers)
{
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "model.embed_tokens.weight", PC_F16, vocab, 8, NULL);
    for (int i = 0; i < n_layers; i++)
        add_layer(ck, i);
    memory_add(ck, "model.norm.weight", PC_F16, 8, 0, NULL);
    return ck;
}

static void a_whole_model_has_no_problems(void **state)
{
    (void)state;
    struct pc_config config = g_config;
    struct pc_notes problems = {0};
    struct pc_checkpoint *ck = model(10, 2);
    config.tied = true;
    assert_int_equal(pc_inspect_layout(ck, &config, &problems, NULL), 0);
    memory_add(ck, "lm_head.weight", PC_F16, 10, 8, NULL);
    assert_int_equal(pc_inspect_layout(ck, &config, &problems, NULL), 0);
    config.tied = false;
    assert_int_equal(pc_inspect_layout(ck, &config, &problems, NULL), 0);
    assert_int_equal(problems.n, 0);
    struct pc_census census;
    pc_inspect_census(ck, &census);
    // Per layer 2*64 + 2*32 + 3*128 + 2*8; two embeddings of 80, a norm of 8.
    assert_int_equal(census.n_params, 2 * (2 * 64 + 2 * 32 + 3 * 128 + 16) + 2 * 80 + 8);
    assert_int_equal(census.by_dtype[PC_F32].n_tensors, 2);
    assert_int_equal(census.by_dtype[PC_F16].size, 2 * census.n_params);
    assert_int_equal(census.size, 2 * census.n_params + 16);
    pc_checkpoint_close(ck);
}

static void each_kind_of_fault_is_said_once(void **state)
{
    (void)state;
    struct pc_config config = g_config;
    config.attention_bias = true; // eight biases are missing
    config.intermediate_size = 12;
    struct pc_notes problems = {0};
    struct pc_checkpoint *ck = model(11, 2);
    memory_add(ck, "mm_projector.weight", PC_F16, 2, 2, NULL);
    assert_int_equal(pc_inspect_layout(ck, &config, &problems, NULL), 4);
    assert_int_equal(problems.n, 4);
    assert_string_equal(
        problems.v[0], "the configuration says vocab_size 10, but 'model.embed_tokens.weight' has 11 rows");
    assert_string_equal(problems.v[1],
        "'model.layers.0.mlp.gate_proj.weight' is [16,8], the configuration wants [12,8] (and 5 more)");
    assert_string_equal(problems.v[2], "missing tensor 'model.layers.0.self_attn.q_proj.bias' (and 8 more)");
    assert_string_equal(problems.v[3], "tensor 'mm_projector.weight' has no place in this architecture");
    pc_notes_release(&problems);
    pc_checkpoint_close(ck);
}

static void values_that_are_no_numbers_are_counted(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "a", PC_F32, 2, 0, NULL);
    memory_add(ck, "b", PC_F32, 2, 0, NULL);
    static const struct pc_scan scans[2] = {{.sum = 1}, {.n_nan = 3, .n_inf = 1}};
    struct pc_notes problems = {0};
    pc_inspect_values(ck, scans, &problems);
    assert_int_equal(problems.n, 1);
    assert_string_equal(problems.v[0], "tensor 'b' holds 3 NaN and 1 infinite values");
    pc_notes_release(&problems);
    pc_checkpoint_close(ck);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_model_has_no_problems),
        cmocka_unit_test(each_kind_of_fault_is_said_once),
        cmocka_unit_test(values_that_are_no_numbers_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
