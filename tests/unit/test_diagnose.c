// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "weights/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { HIDDEN = 64, LAYERS = 2 };

static float g_norm[3][HIDDEN], g_matrix[4][HIDDEN * HIDDEN];

/* Pseudo-random numbers in [-1, 1), the same in every run. */
static float noise(void)
{
    static uint32_t s = 1;
    s = s * 1664525u + 1013904223u;
    return (float)(int32_t)s / 2147483648.0f;
}

static struct pc_checkpoint *llama_like(float norm, float norm_noise, float spread)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < HIDDEN; j++)
            g_norm[i][j] = norm + norm_noise * noise();
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < HIDDEN * HIDDEN; j++)
            g_matrix[i][j] = spread * sqrtf(3) * noise();
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "model.embed_tokens.weight", PC_F32, HIDDEN, HIDDEN, g_matrix[0]);
    for (int l = 0; l < LAYERS; l++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.k_proj.weight", l);
        memory_add(ck, name, PC_F32, HIDDEN, HIDDEN, g_matrix[1]);
        snprintf(name, sizeof name, "model.layers.%d.mlp.gate_proj.weight", l);
        memory_add(ck, name, PC_F32, HIDDEN, HIDDEN, g_matrix[2]);
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", l);
        memory_add(ck, name, PC_F32, HIDDEN, 0, g_norm[l]);
    }
    memory_add(ck, "model.norm.weight", PC_F32, HIDDEN, 0, g_norm[2]);
    memory_add(ck, "lm_head.weight", PC_F32, HIDDEN, HIDDEN, g_matrix[3]);
    return ck;
}

static void norms_tell_a_diff_from_a_model(void **state)
{
    (void)state;
    static const struct {
        float norm, norm_noise, spread;
        enum pc_kind kind;
    } cases[] = {
        {1, 0, 0.02f, PC_KIND_MODEL},        // freshly initialised
        {0.35f, 0.2f, 0.02f, PC_KIND_MODEL}, // trained
        {2, 1, 0.0005f, PC_KIND_MODEL},      // odd matrices do not outvote norms
        {0, 0.002f, 0.001f, PC_KIND_DIFF},   // fine-tuned
        {0, 0, 0.0001f, PC_KIND_DIFF},       // frozen norms
        {0, 0, 0, PC_KIND_DIFF},             // nothing was tuned at all
        {0, 0.002f, 0.02f, PC_KIND_DIFF},    // a far-away fine-tune, or a tied diff made twice
        {0.05f, 0.01f, 0.02f, PC_KIND_UNSURE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_checkpoint *ck = llama_like(cases[i].norm, cases[i].norm_noise, cases[i].spread);
        struct pc_diagnosis d;
        assert_int_equal(pc_diagnose_kind(ck, &d, NULL), 0);
        assert_string_equal(pc_kind_name(d.kind), pc_kind_name(cases[i].kind));
        assert_int_equal(d.n_norms, 3);
        assert_int_equal(d.n_matrices, 6);
        assert_true(fabs(d.matrix_std - (double)cases[i].spread) <= 0.1 * (double)cases[i].spread);
        pc_checkpoint_close(ck);
    }
}

static void one_bad_value_changes_nothing(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = llama_like(0, 0.002f, 0.001f);
    g_norm[0][3] = NAN;
    g_norm[1][5] = INFINITY;
    g_matrix[1][0] = -INFINITY;
    struct pc_diagnosis d;
    assert_int_equal(pc_diagnose_kind(ck, &d, NULL), 0);
    assert_int_equal(d.kind, PC_KIND_DIFF);
    assert_contains(d.evidence, "its norm weights average 0.00");
    assert_contains(d.evidence, "its matrices have standard deviation 0.001");
    pc_checkpoint_close(ck);
}

static void without_norms_only_tiny_matrices_speak(void **state)
{
    (void)state;
    float tiny[HIDDEN];
    struct pc_diagnosis d;
    for (int j = 0; j < HIDDEN; j++)
        tiny[j] = j % 2 ? 1e-4f : -1e-4f;
    struct pc_checkpoint *ck = memory_checkpoint();
    assert_int_equal(pc_diagnose_kind(ck, &d, NULL), 0);
    assert_int_equal(d.kind, PC_KIND_UNSURE);
    assert_string_equal(d.evidence, "it has no norm weights and no matrices");
    memory_add(ck, "a.weight", PC_F32, 2, HIDDEN / 2, tiny);
    assert_int_equal(pc_diagnose_kind(ck, &d, NULL), 0);
    assert_int_equal(d.kind, PC_KIND_DIFF);
    pc_checkpoint_close(ck);
}

static void a_read_error_is_passed_on(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "model.norm.weight", PC_F32, 8, 0, NULL);
    struct pc_diagnosis d;
    struct paco_error err = {0};
    assert_int_equal(pc_diagnose_kind(ck, &d, &err), PACO_EIO);
    assert_string_equal(err.message, "tensor 'model.norm.weight': the disk is on fire");
    pc_checkpoint_close(ck);
}

/* Only names and shapes: nothing of it can be read. */
static struct pc_checkpoint *shapes_of(
    int n_layers, uint64_t hidden, uint64_t ff, uint64_t kv, uint64_t vocab)
{
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "model.embed_tokens.weight", PC_F16, vocab, hidden, NULL);
    memory_add(ck, "model.layers.0.self_attn.k_proj.weight", PC_F16, kv, hidden, NULL);
    memory_add(ck, "model.layers.0.mlp.gate_proj.weight", PC_F16, ff, hidden, NULL);
    char name[64];
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", n_layers - 1);
    memory_add(ck, name, PC_F16, hidden, 0, NULL);
    return ck;
}

static void known_models_by_their_shapes(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = shapes_of(40, 5120, 13824, 5120, 32001);
    struct pc_outline o;
    char text[160];
    pc_diagnose_outline(ck, &o);
    assert_string_equal(pc_diagnose_describe(&o, text, sizeof text),
        "looks like LLaMA-13B or LLaMA-2-13B (40 layers of width 5120, vocabulary 32001)");
    pc_checkpoint_close(ck);
    ck = shapes_of(1, 5120, 13824, 5120, 32001);
    pc_diagnose_outline(ck, &o);
    assert_string_equal(
        pc_diagnose_describe(&o, text, sizeof text), "has 1 layer of width 5120, vocabulary 32001");
    pc_checkpoint_close(ck);
}

static void a_mismatch_names_what_is_needed(void **state)
{
    (void)state;
    struct pc_checkpoint *base = shapes_of(40, 5120, 13824, 5120, 32000),
                         *diff = shapes_of(32, 4096, 11008, 4096, 32001),
                         *same = shapes_of(40, 5120, 13824, 5120, 32003),
                         *other = shapes_of(3, 64, 128, 64, 100);
    char text[512];
    assert_string_equal(pc_diagnose_mismatch(base, "base", diff, "diff", text, sizeof text),
        "the base looks like LLaMA-13B or LLaMA-2-13B (40 layers of width 5120, vocabulary 32000), the diff "
        "looks like LLaMA-7B or "
        "LLaMA-2-7B (32 layers of width 4096, vocabulary 32001): it needs LLaMA-7B or LLaMA-2-7B as its "
        "base");
    assert_string_equal(pc_diagnose_mismatch(base, "base", same, "diff", text, sizeof text), "");
    assert_string_equal(pc_diagnose_mismatch(base, "base", other, "diff", text, sizeof text),
        "the base looks like LLaMA-13B or LLaMA-2-13B (40 layers of width 5120, vocabulary 32000), the diff "
        "has 3 layers of width 64, "
        "vocabulary 100");
    pc_checkpoint_close(base);
    pc_checkpoint_close(diff);
    pc_checkpoint_close(same);
    pc_checkpoint_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_tell_a_diff_from_a_model),
        cmocka_unit_test(one_bad_value_changes_nothing),
        cmocka_unit_test(without_norms_only_tiny_matrices_speak),
        cmocka_unit_test(a_read_error_is_passed_on),
        cmocka_unit_test(known_models_by_their_shapes),
        cmocka_unit_test(a_mismatch_names_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
