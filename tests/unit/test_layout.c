// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "format/layout.h"

#include <stdio.h>

struct list {
    struct pc_out_tensor t[1000];
    char names[1000][96];
    uint32_t n;
};

static void add(struct list *l, const char *name, uint64_t rows, uint64_t cols)
{
    struct pc_out_tensor *t = &l->t[l->n];
    snprintf(l->names[l->n], sizeof l->names[0], "%s", name);
    *t = (struct pc_out_tensor){
        .name = l->names[l->n], .dtype = PC_F32, .n_dims = cols ? 2 : 1, .shape = {rows, cols}};
    l->n++;
}

/* LLaMA with a pad token as Transformers 4.28 walks it. */
static void llama(struct list *l, int n_layers, uint64_t width, uint64_t wide)
{
    static const struct {
        const char *name;
        int rows, cols; /* 0 none, 1 width, 2 wide, 3 inv_freq */
    } parts[] = {{"self_attn.q_proj.weight", 1, 1}, {"self_attn.k_proj.weight", 1, 1},
        {"self_attn.v_proj.weight", 1, 1}, {"self_attn.o_proj.weight", 1, 1},
        {"self_attn.rotary_emb.inv_freq", 3, 0}, {"mlp.gate_proj.weight", 2, 1},
        {"mlp.down_proj.weight", 1, 2}, {"mlp.up_proj.weight", 2, 1}, {"input_layernorm.weight", 1, 0},
        {"post_attention_layernorm.weight", 1, 0}};
    const uint64_t sizes[] = {0, width, wide, 64};
    add(l, "model.embed_tokens.weight", 32001, width);
    for (int i = 0; i < n_layers; i++)
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%d.%s", i, parts[p].name);
            add(l, name, sizes[parts[p].rows], sizes[parts[p].cols]);
        }
    add(l, "model.norm.weight", width, 0);
    add(l, "lm_head.weight", 32001, width);
}

static const char *last_of_first(const struct pc_layout *l)
{
    return l->tensors[l->files[0].first + l->files[0].n - 1].name;
}

/* The figures of Transformers 4.28.1's own shards. */
static void packs_as_upstream_does(void **state)
{
    (void)state;
    static const struct {
        int layers;
        uint64_t width, wide, total;
        uint32_t keys, shards;
        const char *last;
    } cases[] = {
        {32, 4096, 11008, 26953703424, 323, 3, "model.layers.11.mlp.gate_proj.weight"},
        {40, 5120, 13824, 52063508480, 403, 6, "model.layers.7.self_attn.rotary_emb.inv_freq"},
        {60, 6656, 17920, 130115843072, 603, 14, "model.layers.4.self_attn.v_proj.weight"},
        {80, 8192, 22016, 261142728704, 803, 27, "model.layers.2.mlp.gate_proj.weight"},
    };
    static struct list list;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        list.n = 0;
        llama(&list, cases[i].layers, cases[i].width, cases[i].wide);
        assert_int_equal(list.n, cases[i].keys);
        struct pc_layout *l;
        assert_int_equal(pc_layout_new(PC_SAFETENSORS, list.t, list.n, 0, &l, NULL), 0);
        assert_int_equal(l->total_size, cases[i].total);
        assert_int_equal(l->n_files, cases[i].shards);
        assert_string_equal(last_of_first(l), cases[i].last);
        assert_string_equal(pc_layout_index_name(l), "model.safetensors.index.json");
        pc_layout_free(l);
    }
}

static void a_tensor_above_the_limit_gets_a_file_of_its_own(void **state)
{
    (void)state;
    static struct list list = {.n = 0};
    add(&list, "a", 100, 10);
    add(&list, "b", 1, 10);
    add(&list, "c", 1, 10);
    add(&list, "d", 2, 10);
    struct pc_layout *l;
    assert_int_equal(pc_layout_new(PC_SAFETENSORS, list.t, list.n, 80, &l, NULL), 0);
    assert_int_equal(l->n_files, 3);
    assert_int_equal(l->files[0].n, 1);
    assert_int_equal(l->files[1].n, 2);
    assert_int_equal(l->tensors[3].i_file, 2);
    assert_string_equal(l->files[2].name, "model-00003-of-00003.safetensors");
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_layout_index(l, &b);
    assert_string_equal(b.data, "{\n  \"metadata\": {\n    \"total_size\": 4160\n  },\n  \"weight_map\": {\n"
                                "    \"a\": \"model-00001-of-00003.safetensors\",\n"
                                "    \"b\": \"model-00002-of-00003.safetensors\",\n"
                                "    \"c\": \"model-00002-of-00003.safetensors\",\n"
                                "    \"d\": \"model-00003-of-00003.safetensors\"\n  }\n}\n");
    pc_buf_release(&b);
    pc_layout_free(l);
}

static void one_file_has_no_index(void **state)
{
    (void)state;
    static struct list list = {.n = 0};
    add(&list, "a", 3, 5);
    struct pc_layout *l;
    assert_int_equal(pc_layout_new(PC_SAFETENSORS, list.t, list.n, 0, &l, NULL), 0);
    assert_int_equal(l->n_files, 1);
    assert_string_equal(l->files[0].name, "model.safetensors");
    assert_null(pc_layout_index_name(l));
    assert_int_equal(l->tensors[0].offset, l->files[0].data_start);
    assert_int_equal(l->files[0].size, l->files[0].data_start + 60);
    pc_layout_free(l);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    static struct list list = {.n = 0};
    add(&list, "huge", UINT64_C(1) << 40, UINT64_C(1) << 40);
    struct pc_layout *l;
    struct paco_error err = {0};
    assert_int_equal(pc_layout_new(PC_SAFETENSORS, list.t, list.n, 0, &l, &err), PACO_ELIMIT);
    assert_string_equal(err.message, "tensor 'huge': the output would be of no possible size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_as_upstream_does),
        cmocka_unit_test(a_tensor_above_the_limit_gets_a_file_of_its_own),
        cmocka_unit_test(one_file_has_no_index),
        cmocka_unit_test(absurd_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
