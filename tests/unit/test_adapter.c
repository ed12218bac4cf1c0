// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "weights/adapter.h"

#include <math.h>
#include <stdio.h>

#define LORA "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16"

static int parse(const char *text, struct pc_adapter_config *c, struct paco_error *err)
{
    *err = (struct paco_error){0};
    return pc_adapter_config_parse(text, strlen(text), "dir/adapter_config.json", c, err);
}

static void refusals_name_the_option(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *message;
    } cases[] = {
        {"[]", PACO_EFORMAT, "expected an object"},
        {"{}", PACO_EFORMAT, "\"peft_type\""},
        {"{\"peft_type\": \"IA3\"}", PACO_EUNSUPPORTED,
            "\"peft_type\" is \"IA3\"; only LORA adapters can be merged"},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": 16}", PACO_EFORMAT, "\"r\""},
        {"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 16}", PACO_EFORMAT,
            "\"r\" is 0, outside 1 to 65536"},
        {"{\"peft_type\": \"LORA\", \"r\": 8}", PACO_EFORMAT, "\"lora_alpha\""},
        {LORA ", \"use_dora\": true}", PACO_EUNSUPPORTED, "\"use_dora\": DoRA"},
        {LORA ", \"lora_bias\": true}", PACO_EUNSUPPORTED, "\"lora_bias\""},
        {LORA ", \"layer_replication\": [[0, 2]]}", PACO_EUNSUPPORTED, "repeated layers"},
        {LORA ", \"init_lora_weights\": \"pissa_niter_16\"}", PACO_EUNSUPPORTED,
            "\"init_lora_weights\" is \"pissa\""},
        {LORA ", \"rank_pattern\": [1]}", PACO_EFORMAT, "\"rank_pattern\" is an array, expected an object"},
        {LORA ", \"use_rslora\": 3}", PACO_EFORMAT, "\"use_rslora\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_adapter_config c;
        struct paco_error err;
        assert_int_equal(parse(cases[i].text, &c, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        assert_string_equal(err.path, "dir/adapter_config.json");
        pc_adapter_config_release(&c);
    }
}

static void options_that_are_off_are_no_obstacle(void **state)
{
    (void)state;
    struct pc_adapter_config c;
    struct paco_error err;
    assert_int_equal(
        parse(LORA
            ", \"use_dora\": false, \"layer_replication\": null, \"trainable_token_indices\": null, "
            "\"init_lora_weights\": true, \"rank_pattern\": {}, \"base_model_name_or_path\": \"org/base\"}",
            &c, &err),
        0);
    assert_string_equal(c.base, "org/base");
    assert_null(c.rank_pattern);
    pc_adapter_config_release(&c);
}

static void patterns_match_as_in_peft(void **state)
{
    (void)state;
    struct pc_adapter_config c;
    struct paco_error err;
    assert_int_equal(
        parse(LORA
            ", \"rank_pattern\": {\"q_proj\": 4, \"model.layers.1.self_attn.v_proj\": 2, \"^k_proj\": 3, "
            "\"layers\\\\.[23]\\\\..*o_proj\": 32, \"up\": 5}, "
            "\"alpha_pattern\": {\"v_proj|o_proj\": 1, \"self_attn.q_proj\": 2.5}}",
            &c, &err),
        0);
    static const struct {
        const char *module;
        int64_t r;
        double scale;
    } cases[] = {
        {"model.layers.0.self_attn.q_proj", 4, 2.5 / 4},
        {"model.layers.1.self_attn.v_proj", 2, 0.5},
        {"model.layers.11.self_attn.v_proj", 8, 1.0 / 8},
        {"model.layers.0.self_attn.k_proj", 8, 2}, // "^" holds only at the very start
        {"k_proj", 3, 16.0 / 3},
        {"model.layers.2.self_attn.o_proj", 32, 1.0 / 32},
        {"model.layers.0.mlp.up_proj", 8, 2}, // "up" is no whole part
        {"model.layers.0.mlp.xq_proj", 8, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t r;
        float scale;
        assert_int_equal(pc_adapter_config_module(&c, cases[i].module, &r, &scale, &err), 0);
        assert_int_equal(r, cases[i].r);
        assert_true(scale == (float)cases[i].scale);
    }
    c.rslora = true;
    int64_t r;
    float scale;
    assert_int_equal(pc_adapter_config_module(&c, "gate_proj", &r, &scale, &err), 0);
    assert_true(scale == (float)(16 / sqrt(8)));
    pc_adapter_config_release(&c);
}

static void hostile_patterns_end_in_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LORA ", \"rank_pattern\": {\"q[\": 4}}",
        LORA ", \"rank_pattern\": {\"(a+)+[^a]\": 4}}",
        LORA ", \"rank_pattern\": {\"a+\": \"4\"}}",
        LORA ", \"rank_pattern\": {\"a+\": 0}}",
        LORA ", \"alpha_pattern\": {\"a+\": [1]}}",
    };
    static const char *const messages[] = {"pattern \"q[\" is no regular expression: missing terminating ]",
        "takes too long to match", "is no rank of 1 to 65536", "is no rank of 1 to 65536",
        "or its alpha no number"};
    char module[400];
    memset(module, 'a', sizeof module);
    module[sizeof module - 1] = '\0';
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct pc_adapter_config c;
        struct paco_error err;
        int64_t r;
        float scale;
        assert_int_equal(parse(texts[i], &c, &err), 0);
        assert_int_equal(pc_adapter_config_module(&c, module, &r, &scale, &err), PACO_EFORMAT);
        assert_contains(err.message, messages[i]);
        assert_string_equal(err.path, "dir/adapter_config.json");
        pc_adapter_config_release(&c);
    }
}

#define Q "model.layers.0.self_attn.q_proj"

static float g_embedding[4 * 2] = {1, 2, 3, 4, 5, 6, 7, 8}, g_q[2 * 2] = {1, 2, 3, 4},
                             g_head[4 * 2] = {8, 7, 6, 5, 4, 3, 2, 1}, g_bias[2] = {1, 2}, g_a[16] = {1, 10},
                             g_b[16] = {2, 3, 1, 1, 1, 1};

static struct pc_checkpoint *small_base(bool tied)
{
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "model.embed_tokens.weight", PC_F32, 4, 2, g_embedding);
    memory_add(ck, Q ".weight", PC_F32, 2, 2, g_q);
    memory_add(ck, Q ".bias", PC_F32, 2, 0, g_bias);
    if (!tied)
        memory_add(ck, "lm_head.weight", PC_F32, 4, 2, g_head);
    return ck;
}

/* A rank-1 adapter without tensors; scale 0.5. */
static struct pc_adapter small_adapter(struct pc_checkpoint *ck, const char *extra)
{
    static char text[256];
    struct pc_adapter a = {.ck = ck};
    struct paco_error err;
    snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 0.5%s}", extra);
    assert_int_equal(parse(text, &a.config, &err), 0);
    return a;
}

static void check_q(const char *name_a, const char *name_b)
{
    struct pc_checkpoint *base = small_base(false), *ck = memory_checkpoint(), *out;
    memory_add(ck, name_a, PC_F32, 1, 2, g_a);
    memory_add(ck, name_b, PC_F32, 2, 1, g_b);
    struct pc_adapter adapter = small_adapter(ck, "");
    struct pc_adapter_report report;
    assert_int_equal(pc_adapter_apply(&adapter, base, &out, &report, NULL), 0);
    assert_int_equal(report.n_updated, 1);
    assert_int_equal(report.n_replaced, 0);
    assert_int_equal(report.vocab, 4);
    float got[4];
    assert_int_equal(pc_tensor_read(pc_checkpoint_find(out, Q ".weight"), 0, 2, got, NULL), 0);
    static const float want[4] = {1 + 1, 2 + 10, 3 + 1.5f, 4 + 15};
    assert_memory_equal(got, want, sizeof want);
    pc_checkpoint_close(out);
    pc_checkpoint_close(ck);
    pc_checkpoint_close(base);
    pc_adapter_config_release(&adapter.config);
}

static void all_spellings_of_a_factor_are_known(void **state)
{
    (void)state;
    check_q("base_model.model." Q ".lora_A.weight", "base_model.model." Q ".lora_B.weight");
    check_q("base_model.model." Q ".lora_A.default.weight", "base_model.model." Q ".lora_B.default.weight");
    check_q(Q ".lora_A.weight", Q ".lora_B.weight");
}

static void saved_and_embedding_tensors_find_their_place(void **state)
{
    (void)state;
    static const float bias[2] = {5, 6}, grown[10] = {1, 1, 2, 2, 3, 3, 4, 4, 5, 5};
    struct pc_checkpoint *base = small_base(false), *ck = memory_checkpoint(), *out;
    memory_add(ck, "base_model.model." Q ".bias", PC_F32, 2, 0, bias);
    memory_add(ck, "base_model.model.model.embed_tokens.base_layer.weight", PC_F32, 5, 2, grown);
    memory_add(ck, "base_model.model.model.embed_tokens.lora_embedding_A", PC_F32, 1, 5, g_a);
    memory_add(ck, "base_model.model.model.embed_tokens.lora_embedding_B", PC_F32, 2, 1, g_b);
    memory_add(ck, "base_model.model.lm_head.modules_to_save.default.weight", PC_F32, 5, 2, grown);
    memory_add(ck, "base_model.model.lm_head.original_module.weight", PC_F32, 4, 2, g_head);
    struct pc_adapter adapter = small_adapter(ck, "");
    struct pc_adapter_report report;
    assert_int_equal(pc_adapter_apply(&adapter, base, &out, &report, NULL), 0);
    assert_int_equal(report.n_updated, 1);
    assert_int_equal(report.n_replaced, 2);
    assert_int_equal(report.vocab, 5);
    float got[10];
    assert_int_equal(pc_tensor_read(&out->tensors[0], 0, 5, got, NULL), 0);
    static const float want[10] = {1 + 1, 1 + 1.5f, 2 + 10, 2 + 15, 3, 3, 4, 4, 5, 5};
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(pc_tensor_read(pc_checkpoint_find(out, Q ".bias"), 0, 2, got, NULL), 0);
    assert_memory_equal(got, bias, sizeof bias);
    assert_int_equal(pc_tensor_read(pc_checkpoint_find(out, "lm_head.weight"), 0, 5, got, NULL), 0);
    assert_memory_equal(got, grown, sizeof grown);
    pc_checkpoint_close(out);
    pc_checkpoint_close(ck);
    pc_checkpoint_close(base);
    pc_adapter_config_release(&adapter.config);
}

static void fan_in_fan_out_means_conv1d(void **state)
{
    (void)state;
    struct pc_checkpoint *base = memory_checkpoint(), *ck = memory_checkpoint(), *out;
    memory_add(base, "h.0.attn.c_attn.weight", PC_F32, 2, 2, g_q);
    memory_add(base, "h.0.attn.wide.weight", PC_F32, 2, 3, g_embedding);
    memory_add(base, "h.0.attn.q_proj.weight", PC_F32, 2, 2, g_q);
    static const char *const modules[] = {"c_attn", "wide", "q_proj"};
    for (int i = 0; i < 3; i++) {
        char name[80];
        snprintf(name, sizeof name, "h.0.attn.%s.lora_A.weight", modules[i]);
        memory_add(ck, name, PC_F32, 1, 2, g_a);
        snprintf(name, sizeof name, "h.0.attn.%s.lora_B.weight", modules[i]);
        memory_add(ck, name, PC_F32, i == 1 ? 3 : 2, 1, g_b);
    }
    struct pc_adapter adapter = small_adapter(ck, ", \"fan_in_fan_out\": true");
    struct pc_adapter_report report;
    assert_int_equal(pc_adapter_apply(&adapter, base, &out, &report, NULL), 0);
    assert_true(report.ignored_layout); // for q_proj, a plain linear layer
    float got[6];
    static const float turned[4] = {1 + 1, 2 + 1.5f, 3 + 10, 4 + 15},
                       wide[6] = {1 + 1, 2 + 1.5f, 3 + .5f, 4 + 10, 5 + 15, 6 + 5},
                       plain[4] = {1 + 1, 2 + 10, 3 + 1.5f, 4 + 15};
    assert_int_equal(pc_tensor_read(&out->tensors[0], 0, 2, got, NULL), 0);
    assert_memory_equal(got, turned, sizeof turned);
    assert_int_equal(pc_tensor_read(&out->tensors[1], 0, 2, got, NULL), 0);
    assert_memory_equal(got, wide, sizeof wide);
    assert_int_equal(pc_tensor_read(&out->tensors[2], 0, 2, got, NULL), 0);
    assert_memory_equal(got, plain, sizeof plain);
    pc_checkpoint_close(out);
    pc_checkpoint_close(ck);
    pc_checkpoint_close(base);
    pc_adapter_config_release(&adapter.config);
}

struct tensor {
    const char *name;
    uint64_t n_rows, n_cols;
    const float *data;
};

static void what_has_no_place_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct tensor t[3];
        bool tied;
        int code;
        const char *message;
    } cases[] = {
        {{{"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", 1, 2, g_a}}, false,
            PACO_EMISMATCH,
            "'base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight' has no place in the base: "
            "there is no "
            "'model.layers.7.self_attn.q_proj.weight'; the base has 1 layer of width 2, vocabulary 4"},
        {{{Q ".lora_A.weight", 1, 2, g_a}}, false, PACO_EMISMATCH,
            "'" Q ".lora_A.weight' without its other factor"},
        {{{Q ".lora_A.weight", 2, 2, g_a}, {Q ".lora_B.weight", 2, 2, g_b}}, false, PACO_EMISMATCH,
            "'" Q ".lora_A.weight' is [2,2], but adapter_config.json gives its module rank 1"},
        {{{Q ".lora_A.weight", 1, 2, g_a}, {Q ".lora_B.weight", 2, 2, g_b}}, false, PACO_EMISMATCH,
            "'" Q ".lora_B.weight' is [2,2]"},
        {{{Q ".lora_A.weight", 1, 3, g_a}, {Q ".lora_B.weight", 2, 1, g_b}}, false, PACO_EMISMATCH,
            "cannot take an update of 2 x 3"},
        {{{Q ".lora_A.weight", 1, 2, g_a}, {"base_model.model." Q ".lora_A.default.weight", 1, 2, g_b}},
            false, PACO_EFORMAT, "mean the same, but differ"},
        {{{Q ".lora_magnitude_vector", 2, 0, g_a}}, false, PACO_EUNSUPPORTED,
            "is of a kind this version cannot merge"},
        {{{Q ".lora_B.bias", 2, 0, g_a}}, false, PACO_EUNSUPPORTED, "is of a kind this version cannot merge"},
        {{{Q ".bias", 3, 0, g_a}}, false, PACO_EMISMATCH,
            "'" Q ".bias' is [3], the base's '" Q ".bias' is [2]"},
        {{{"model.embed_tokens.weight", 5, 2, g_a}}, false, PACO_EMISMATCH,
            "'model.embed_tokens.weight' would have 5 rows and 'lm_head.weight' 4"},
        {{{"lm_head.lora_A.weight", 1, 2, g_a}}, true, PACO_EUNSUPPORTED,
            "which this base ties to its embedding"},
        {{{"lm_head.weight", 4, 2, g_head}}, true, PACO_EUNSUPPORTED,
            "'lm_head.weight' differs from the embedding"},
        {{{NULL, 0, 0, NULL}}, false, PACO_EMISMATCH, "the adapter holds no tensors"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_checkpoint *base = small_base(cases[i].tied), *ck = memory_checkpoint(), *out = NULL;
        for (const struct tensor *t = cases[i].t; t->name; t++)
            memory_add(ck, t->name, PC_F32, t->n_rows, t->n_cols, t->data);
        struct pc_adapter adapter = small_adapter(ck, "");
        struct paco_error err = {0};
        assert_int_equal(pc_adapter_apply(&adapter, base, &out, NULL, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        assert_null(out);
        pc_checkpoint_close(ck);
        pc_checkpoint_close(base);
        pc_adapter_config_release(&adapter.config);
    }
}

static void a_tied_head_saved_twice_is_no_loss(void **state)
{
    (void)state;
    struct pc_checkpoint *base = small_base(true), *ck = memory_checkpoint(), *out;
    memory_add(ck, "base_model.model.lm_head.weight", PC_F32, 4, 2, g_head);
    memory_add(ck, "base_model.model.model.embed_tokens.weight", PC_F32, 4, 2, g_head);
    struct pc_adapter adapter = small_adapter(ck, "");
    assert_int_equal(pc_adapter_apply(&adapter, base, &out, NULL, NULL), 0);
    assert_int_equal(out->n_tensors, 3);
    pc_checkpoint_close(out);
    pc_checkpoint_close(ck);
    pc_checkpoint_close(base);
    pc_adapter_config_release(&adapter.config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_the_option),
        cmocka_unit_test(options_that_are_off_are_no_obstacle),
        cmocka_unit_test(patterns_match_as_in_peft),
        cmocka_unit_test(hostile_patterns_end_in_an_error),
        cmocka_unit_test(all_spellings_of_a_factor_are_known),
        cmocka_unit_test(saved_and_embedding_tensors_find_their_place),
        cmocka_unit_test(fan_in_fan_out_means_conv1d),
        cmocka_unit_test(what_has_no_place_is_refused),
        cmocka_unit_test(a_tied_head_saved_twice_is_no_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
