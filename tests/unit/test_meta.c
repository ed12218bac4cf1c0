// SPDX-License-Identifier: Apache-2.0
/* Meta's files, cut from a small model here and read back whole. */
#include "torch_builder.h"

#include "base/memory.h"
#include "weights/meta_layout.h"
#include "weights/source.h"

enum { DIM = 16, HEADS = 4, KV = 2, HEAD = 4, INNER = 44, VOCAB = 12, LAYERS = 2, PER_LAYER = 9 };
enum { MAX = 32, MAX_SIZE = VOCAB * DIM > INNER *DIM ? VOCAB *DIM : INNER *DIM };

static struct scratch g_dir;
static const char PARAMS[] = "{\"dim\":16,\"n_layers\":2,\"n_heads\":4,\"n_kv_heads\":2,\"multiple_of\":4,"
                             "\"norm_eps\":1e-06,\"vocab_size\":-1}";

/* What each tensor is, by place; `axis` is the cut's, -1 for none. */
static const struct {
    const char *meta, *hf;
    uint64_t rows, columns;
    int axis, heads;
} g_kinds[] = {
    {"attention.wq.weight", "self_attn.q_proj.weight", DIM, DIM, 0, HEADS},
    {"attention.wk.weight", "self_attn.k_proj.weight", KV *HEAD, DIM, 0, KV},
    {"attention.wv.weight", "self_attn.v_proj.weight", KV *HEAD, DIM, 0, 0},
    {"attention.wo.weight", "self_attn.o_proj.weight", DIM, DIM, 1, 0},
    {"feed_forward.w1.weight", "mlp.gate_proj.weight", INNER, DIM, 0, 0},
    {"feed_forward.w2.weight", "mlp.down_proj.weight", DIM, INNER, 1, 0},
    {"feed_forward.w3.weight", "mlp.up_proj.weight", INNER, DIM, 0, 0},
    {"attention_norm.weight", "input_layernorm.weight", DIM, 0, -1, 0},
    {"ffn_norm.weight", "post_attention_layernorm.weight", DIM, 0, -1, 0},
    {"tok_embeddings.weight", "model.embed_tokens.weight", VOCAB, DIM, 1, 0},
    {"norm.weight", "model.norm.weight", DIM, 0, -1, 0},
    {"output.weight", "lm_head.weight", VOCAB, DIM, 0, 0},
};

/* Element (r, c) of tensor k of layer l, in Hugging Face's layout. */
static float value(int l, int k, uint64_t r, uint64_t c)
{
    return (float)(l * 200000 + k * 10000 + (int)r * 100 + (int)c);
}

/* The row of Hugging Face's matrix that stands at row r of Meta's: pairs come from halves. */
static uint64_t row_of_meta(uint64_t r, int heads)
{
    uint64_t in = r % HEAD;
    return heads ? r / HEAD * HEAD + in % 2 * (HEAD / 2) + in / 2 : r;
}

struct shard {
    struct torch_tensor tensors[MAX];
    float bytes[MAX][MAX_SIZE];
    uint32_t n;
};

static void cut(struct shard *s, int l, int k, int i, int n, bool rows_of_embedding)
{
    struct torch_tensor *t = &s->tensors[s->n];
    float *to = s->bytes[s->n++];
    int axis = k == 9 && rows_of_embedding ? 0 : g_kinds[k].axis;
    uint64_t rows = g_kinds[k].rows / (axis == 0 ? (uint64_t)n : 1),
             columns = g_kinds[k].columns / (axis == 1 ? (uint64_t)n : 1), wide = columns ? columns : 1;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < wide; c++)
            to[r * wide + c] =
                value(l, k, row_of_meta(r + (axis == 0 ? (uint64_t)i * rows : 0), g_kinds[k].heads),
                    c + (axis == 1 ? (uint64_t)i * columns : 0));
    *t = (struct torch_tensor){.dtype = PC_F32, .rows = rows, .columns = columns, .bytes = to};
    if (k < PER_LAYER)
        snprintf(t->name, sizeof t->name, "layers.%d.%s", l, g_kinds[k].meta);
    else
        snprintf(t->name, sizeof t->name, "%s", g_kinds[k].meta);
}

static struct shard g_shards[8];

/* Shard i of n in g_shards[i]. */
static struct shard *make_shard(int i, int n, bool rows_of_embedding)
{
    static const float freqs[HEAD / 2] = {1, 1};
    struct shard *s = &g_shards[i];
    s->n = 0;
    for (int k = PER_LAYER; k < PER_LAYER + 3; k++)
        cut(s, 0, k, i, n, rows_of_embedding);
    for (int l = 0; l < LAYERS; l++)
        for (int k = 0; k < PER_LAYER; k++)
            cut(s, l, k, i, n, rows_of_embedding);
    s->tensors[s->n++] = (struct torch_tensor){"rope.freqs", PC_F32, HEAD / 2, 0, freqs};
    return s;
}

static void save_shard(int i, const struct shard *s)
{
    char name[32];
    snprintf(name, sizeof name, "consolidated.%02d.pth", i);
    torch_write(&g_dir, name, s->tensors, s->n);
}

static void save_all(int n, bool rows_of_embedding)
{
    scratch_open(&g_dir);
    scratch_text(&g_dir, "params.json", PARAMS);
    for (int i = 0; i < n; i++)
        save_shard(i, make_shard(i, n, rows_of_embedding));
}

static void expect_tensor(const struct pc_checkpoint *ck, int l, int k)
{
    char name[64];
    float got[MAX_SIZE];
    struct paco_error err = {0};
    snprintf(name, sizeof name, k < PER_LAYER ? "model.layers.%d.%s" : "%.0d%s", k < PER_LAYER ? l : 0,
        g_kinds[k].hf);
    const struct pc_tensor *t = pc_checkpoint_find(ck, name);
    assert_non_null(t);
    assert_int_equal(t->shape[0], g_kinds[k].rows);
    assert_int_equal(t->n_dims, g_kinds[k].columns ? 2 : 1);
    uint64_t wide = t->row_elems;
    assert_int_equal(wide, g_kinds[k].columns ? g_kinds[k].columns : 1);
    for (uint64_t n = 1; n <= t->n_rows; n += 3)
        for (uint64_t row0 = 0; row0 + n <= t->n_rows; row0 += n) {
            assert_int_equal(pc_tensor_read(t, row0, n, got, &err), 0);
            for (uint64_t i = 0; i < n * wide; i++)
                assert_true(got[i] == value(k < PER_LAYER ? l : 0, k, row0 + i / wide, i % wide));
        }
}

static void any_number_of_shards(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n *= 2)
        for (int rows = 0; rows < 2; rows++) {
            struct pc_source src;
            struct paco_error err = {0};
            save_all(n, rows != 0);
            assert_true(pc_meta_is(g_dir.dir));
            if (pc_source_open(g_dir.dir, &src, &err) < 0)
                fail_msg("%s: %s", err.path, err.message);
            assert_int_equal(src.kind, PC_SOURCE_META);
            assert_true(src.has_config && pc_source_makes_files(&src));
            assert_int_equal(src.config.intermediate_size, INNER);
            assert_int_equal(src.config.vocab_size, VOCAB);
            assert_int_equal(src.config.max_positions, 2048);
            assert_false(src.config.tied);
            assert_true(src.config.has_dtype && src.config.dtype == PC_F32);
            assert_int_equal(src.ck->n_tensors, LAYERS * PER_LAYER + 3);
            assert_null(src.ck->note);
            assert_string_equal(src.ck->tensors[0].name, "model.embed_tokens.weight");
            assert_string_equal(src.ck->tensors[1].name, "model.layers.0.self_attn.q_proj.weight");
            for (int k = 0; k < PER_LAYER + 3; k++)
                for (int l = 0; l < LAYERS; l++)
                    expect_tensor(src.ck, l, k);
            pc_source_close(&src);
            scratch_close(&g_dir);
        }
}

static void without_an_output_it_is_tied(void **state)
{
    (void)state;
    struct pc_source src;
    struct paco_error err = {0};
    scratch_open(&g_dir);
    scratch_text(&g_dir, "params.json", PARAMS);
    struct shard *s = make_shard(0, 1, false);
    s->tensors[2] = (struct torch_tensor){"vision.weight", PC_F32, 2, 0, s->bytes[2]};
    save_shard(0, s);
    assert_int_equal(pc_source_open(g_dir.dir, &src, &err), 0);
    assert_true(src.config.tied);
    assert_string_equal(src.ck->note, "skipped 1 tensor that LLaMA does not have: 'vision.weight'");
    pc_source_close(&src);
    scratch_close(&g_dir);
}

static void expect_refusal(int code, const char *file, const char *message)
{
    struct pc_source src;
    struct paco_error err = {0};
    int rc = pc_source_open(g_dir.dir, &src, &err);
    assert_string_equal(err.message, message);
    assert_int_equal(rc, code);
    if (file)
        assert_string_equal(pc_path_base(err.path), file);
    assert_null(src.ck);
}

static void missing_shards(void **state)
{
    (void)state;
    save_all(4, false);
    remove(scratch_path(&g_dir, "consolidated.01.pth"));
    expect_refusal(PACO_ENOENT, NULL,
        "consolidated.01.pth is missing, though consolidated.03.pth is here: is the download complete?");
    save_shard(1, &g_shards[1]);
    remove(scratch_path(&g_dir, "consolidated.03.pth"));
    remove(scratch_path(&g_dir, "consolidated.02.pth"));
    expect_refusal(PACO_ENOENT, NULL,
        "there are 2 of 4 shards: consolidated.02.pth is missing (is the download complete?)");
    remove(scratch_path(&g_dir, "consolidated.01.pth"));
    expect_refusal(PACO_ENOENT, NULL,
        "there is 1 of 4 shards: consolidated.01.pth is missing (is the download complete?)");
    scratch_close(&g_dir);
}

static void shards_of_two_models(void **state)
{
    (void)state;
    save_all(2, false);
    /* Another number of columns, as of a model cut in four. */
    save_shard(1, make_shard(1, 4, false));
    expect_refusal(PACO_EMISMATCH, "consolidated.01.pth",
        "tensor 'tok_embeddings.weight' is f32 [12,4], in consolidated.00.pth it is f32 [12,8]: parts of two "
        "models?");
    /* Another type. */
    struct shard *s = make_shard(1, 2, false);
    s->tensors[4].dtype = PC_F16;
    save_shard(1, s);
    expect_refusal(PACO_EMISMATCH, "consolidated.01.pth",
        "tensor 'layers.0.attention.wk.weight' is f16 [4,16], in consolidated.00.pth it is f32 [4,16]: parts "
        "of two models?");
    /* A tensor too few. */
    s = make_shard(1, 2, false);
    strcpy(s->tensors[5].name, "layers.7.attention.wv.weight");
    save_shard(1, s);
    expect_refusal(PACO_EMISMATCH, "consolidated.01.pth",
        "has no tensor 'layers.0.attention.wv.weight', which consolidated.00.pth has");
    /* And one too many. */
    s = make_shard(1, 2, false);
    strcpy(s->tensors[s->n - 1].name, "layers.7.attention.wv.weight");
    save_shard(1, s);
    expect_refusal(PACO_EMISMATCH, "consolidated.00.pth",
        "has no tensor 'layers.7.attention.wv.weight', which consolidated.01.pth has");
    /* A norm of another model. */
    s = make_shard(1, 2, false);
    s->bytes[1][3] += 1;
    save_shard(1, s);
    expect_refusal(PACO_EMISMATCH, "consolidated.01.pth",
        "tensor 'norm.weight' should be the same in every shard, and differs from the one in "
        "consolidated.00.pth: parts of two models?");
    scratch_close(&g_dir);
}

static void params_that_contradict(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        int code;
        const char *message;
    } wrong[] = {
        {"{\"dim\":16,\"n_layers\":3,\"n_heads\":4,\"n_kv_heads\":2,\"multiple_of\":4}", PACO_EMISMATCH,
            "there is no tensor 'model.layers.2.self_attn.q_proj.weight', though params.json has 3 layers"},
        {"{\"dim\":16,\"n_layers\":2,\"n_heads\":4,\"n_kv_heads\":2,\"multiple_of\":64}", PACO_EMISMATCH,
            "tensor 'model.layers.0.mlp.gate_proj.weight' of all shards is [44,16], params.json makes it "
            "[64,16]"},
        {"{\"dim\":16,\"n_layers\":2,\"n_heads\":4,\"n_kv_heads\":1}", PACO_EMISMATCH,
            "tensor 'model.layers.0.self_attn.k_proj.weight' of all shards is [8,16], params.json makes it "
            "[4,16]"},
        {"{\"dim\":16,\"n_layers\":2,\"n_heads\":4,\"n_kv_heads\":2,\"vocab_size\":11}", PACO_EMISMATCH,
            "tensor 'model.embed_tokens.weight' of all shards is [12,16], params.json makes it [11,16]"},
        {"{\"dim\":16,\"n_layers\":2,\"n_heads\":4,\"n_kv_heads\":2,\"moe\":{\"num_experts\":8}}",
            PACO_EUNSUPPORTED, "is a mixture of experts, which paco does not run"},
        {"{\"n_layers\":2,\"n_heads\":4}", PACO_EFORMAT, "\"dim\" is missing"},
    };
    save_all(1, false);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        scratch_text(&g_dir, "params.json", wrong[i].params);
        expect_refusal(wrong[i].code, NULL, wrong[i].message);
    }
    scratch_close(&g_dir);
}

/* Weights of Hugging Face's in the same folder go first: downloads have both. */
static void other_weights_win(void **state)
{
    (void)state;
    save_all(1, false);
    scratch_text(&g_dir, "model.safetensors", "x");
    assert_false(pc_meta_is(g_dir.dir));
    remove(scratch_path(&g_dir, "model.safetensors"));
    assert_true(pc_meta_is(g_dir.dir));
    remove(scratch_path(&g_dir, "params.json"));
    assert_false(pc_meta_is(g_dir.dir));
    scratch_close(&g_dir);
}

static void the_vocabulary_may_lie_above(void **state)
{
    (void)state;
    char dir[300];
    scratch_open(&g_dir);
    snprintf(dir, sizeof dir, "%s/7B", g_dir.dir);
    scratch_text(&g_dir, "7B/params.json", PARAMS);
    assert_null(pc_meta_vocabulary(dir));
    scratch_text(&g_dir, "tokenizer.model", "above");
    char *path = pc_meta_vocabulary(dir);
    assert_contains(path, "7B/../tokenizer.model");
    pc_free(path);
    scratch_text(&g_dir, "7B/tokenizer.model", "inside");
    path = pc_meta_vocabulary(dir);
    assert_contains(path, "7B/tokenizer.model");
    pc_free(path);
    scratch_close(&g_dir);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    save_all(2, false);
    int rc = -1;
    for (int64_t n = 0; rc < 0; n++) {
        struct pc_source src;
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        rc = pc_source_open(g_dir.dir, &src, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 || rc == PACO_EMEM);
        pc_source_close(&src);
    }
    scratch_close(&g_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_shards),
        cmocka_unit_test(without_an_output_it_is_tied),
        cmocka_unit_test(missing_shards),
        cmocka_unit_test(shards_of_two_models),
        cmocka_unit_test(params_that_contradict),
        cmocka_unit_test(other_weights_win),
        cmocka_unit_test(the_vocabulary_may_lie_above),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
