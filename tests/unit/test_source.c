// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "format/gguf.h"
#include "gguf_builder.h"
#include "st_builder.h"
#include "weights/gguf_names.h"
#include "weights/hub_cache.h"
#include "weights/source.h"

static const struct st_tensor g_tensors[] = {{"model.norm.weight", 4, 0, 1}};
static const char g_config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":4,\"intermediate_size\":8,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"vocab_size\":3}";

/* A home of its own, so that the person's cache plays no part. */
static void isolate(struct scratch *s)
{
    scratch_open(s);
    setenv("HOME", s->dir, 1);
    unsetenv("HF_HOME");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HUGGINGFACE_HUB_CACHE");
    unsetenv("XDG_CACHE_HOME");
}

static void opens_a_directory(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src;
    struct paco_error err = {0};
    isolate(&s);
    st_write(&s, "model.safetensors", g_tensors, 1);
    assert_int_equal(pc_source_open(s.dir, &src, &err), 0);
    assert_false(src.has_config);
    assert_int_equal(src.kind, PC_SOURCE_DIR);
    pc_source_close(&src);
    scratch_text(&s, "config.json", g_config);
    assert_int_equal(pc_source_open(s.dir, &src, &err), 0);
    assert_true(src.has_config);
    assert_int_equal(src.config.vocab_size, 3);
    assert_string_equal(src.vocabulary, s.dir);
    assert_null(src.gguf);
    assert_int_equal(src.ck->n_tensors, 1);
    pc_source_close(&src);
    scratch_text(&s, "config.json", "{\"model_type\":\"llama\"}");
    assert_int_equal(pc_source_open(s.dir, &src, &err), PACO_EFORMAT);
    assert_contains(err.path, "config.json");
    assert_null(src.ck);
    pc_source_close(&src);
    assert_int_equal(pc_source_open_tensors(s.dir, &src, &err), 0);
    assert_false(src.has_config);
    pc_source_close(&src);
    scratch_close(&s);
}

static void opens_a_lone_file(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src;
    struct paco_error err = {0};
    isolate(&s);
    scratch_text(&s, "config.json", g_config);
    const char *path = st_write(&s, "any.safetensors", g_tensors, 1);
    assert_int_equal(pc_source_open(path, &src, &err), 0);
    assert_int_equal(src.kind, PC_SOURCE_FILE);
    assert_true(src.has_config);
    assert_string_equal(src.path, path);
    assert_string_equal(src.dir, s.dir);
    pc_source_close(&src);
    assert_int_equal(chdir(s.dir), 0);
    assert_int_equal(pc_source_open("any.safetensors", &src, &err), 0);
    assert_string_equal(src.dir, ".");
    pc_source_close(&src);
    scratch_close(&s);
}

static void gguf_names_are_translated(void **state)
{
    (void)state;
    static const char *const all[][2] = {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"output_norm.weight", "model.norm.weight"},
        {"output.weight", "lm_head.weight"},
        {"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"},
        {"blk.12.attn_k.bias", "model.layers.12.self_attn.k_proj.bias"},
        {"blk.12.attn_v.weight", "model.layers.12.self_attn.v_proj.weight"},
        {"blk.12.attn_output.weight", "model.layers.12.self_attn.o_proj.weight"},
        {"blk.12.ffn_gate.weight", "model.layers.12.mlp.gate_proj.weight"},
        {"blk.12.ffn_down.weight", "model.layers.12.mlp.down_proj.weight"},
        {"blk.12.ffn_up.weight", "model.layers.12.mlp.up_proj.weight"},
        {"blk.12.attn_norm.weight", "model.layers.12.input_layernorm.weight"},
        {"blk.12.ffn_norm.weight", "model.layers.12.post_attention_layernorm.weight"},
    };
    char out[128];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_true(pc_gguf_hf_name(all[i][0], out, sizeof out));
        assert_string_equal(out, all[i][1]);
    }
    static const char *const foreign[] = {
        "blk.x.attn_q.weight", "blk.0.attn_q.scale", "blk.0.attn_sub_norm.weight", "blk.0", "output"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        assert_false(pc_gguf_hf_name(foreign[i], out, sizeof out));
        assert_string_equal(out, foreign[i]);
    }
}

static struct blob g_blob;

static const char *write_gguf(struct scratch *s, const char *name)
{
    blob_head(&g_blob, 3, 5, 8);
    blob_key_str(&g_blob, "general.architecture", "llama");
    blob_key_u32(&g_blob, "llama.block_count", 1);
    blob_key_u32(&g_blob, "llama.embedding_length", 8);
    blob_key_u32(&g_blob, "llama.feed_forward_length", 16);
    blob_key_u32(&g_blob, "llama.attention.head_count", 2);
    blob_key_u32(&g_blob, "llama.attention.head_count_kv", 1);
    blob_key_u32(&g_blob, "llama.context_length", 64);
    blob_key_f32(&g_blob, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    blob_tensor(&g_blob, "blk.0.attn_q.weight", 0, 8, 8, 0);
    blob_tensor(&g_blob, "blk.0.attn_k.weight", 0, 8, 4, 256);
    blob_tensor(&g_blob, "rope_freqs.weight", 0, 2, 0, 384);
    blob_tensor(&g_blob, "token_embd.weight", 0, 8, 3, 416);
    blob_tensor(&g_blob, "output_norm.weight", 0, 8, 0, 512);
    blob_data(&g_blob, 32, 0);
    for (int i = 0; i < 64 + 32; i++)
        blob_bytes(&g_blob, &(float){(float)i}, 4);
    for (int i = 0; i < 2; i++)
        blob_bytes(&g_blob, &(float){1}, 4);
    blob_data(&g_blob, 32, 96 + 32);
    return scratch_write(s, name, g_blob.bytes, g_blob.len);
}

static void gguf_appears_in_hugging_face_layout(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src;
    struct paco_error err = {0};
    isolate(&s);
    const char *path = write_gguf(&s, "m.gguf");
    assert_int_equal(pc_source_open(path, &src, &err), 0);
    assert_int_equal(src.kind, PC_SOURCE_GGUF);
    assert_true(src.has_config && src.config.tied && pc_is_gguf(src.gguf));
    assert_string_equal(src.vocabulary, path);
    static const char *const names[] = {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.k_proj.weight", "model.norm.weight"};
    assert_int_equal(src.ck->n_tensors, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(src.ck->tensors[i].name, names[i]);
    assert_null(pc_checkpoint_find(src.ck, "lm_head.weight"));
    // Heads of four rows: 0 1 2 3 become 0 2 1 3, for q with its two heads and k with its one.
    static const int order[] = {0, 2, 1, 3, 4, 6, 5, 7};
    float x[8][8];
    assert_int_equal(pc_tensor_read(&src.ck->tensors[1], 0, 8, x, &err), 0);
    for (int i = 0; i < 8; i++)
        assert_true(x[i][0] == (float)(8 * order[i]));
    assert_int_equal(pc_tensor_read(&src.ck->tensors[2], 0, 4, x, &err), 0);
    for (int i = 0; i < 4; i++)
        assert_true(x[i][0] == (float)(64 + 8 * order[i]));
    pc_source_close(&src);
    assert_int_equal(pc_source_open_tensors(path, &src, &err), 0);
    assert_int_equal(src.ck->n_tensors, 4);
    pc_source_close(&src);
    scratch_close(&s);
}

static void foreign_gguf_can_be_looked_at(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src;
    struct paco_error err = {0};
    isolate(&s);
    blob_head(&g_blob, 3, 1, 1);
    blob_key_str(&g_blob, "general.architecture", "qwen2");
    blob_tensor(&g_blob, "blk.0.attn_q.weight", 0, 8, 8, 0);
    blob_data(&g_blob, 32, 256);
    const char *path = scratch_write(&s, "q.gguf", g_blob.bytes, g_blob.len);
    assert_int_equal(pc_source_open(path, &src, &err), PACO_EUNSUPPORTED);
    assert_int_equal(pc_source_open_tensors(path, &src, &err), 0);
    assert_false(src.has_config);
    assert_ptr_equal(src.gguf, src.ck);
    assert_non_null(pc_checkpoint_find(src.ck, "blk.0.attn_q.weight"));
    pc_source_close(&src);
    scratch_close(&s);
}

static void reads_the_hugging_face_cache(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src;
    struct paco_error err = {0};
    char name[256];
    isolate(&s);
    const char *hub = ".cache/huggingface/hub/models--org--model";
    snprintf(name, sizeof name, "%s/snapshots/abc/model.safetensors", hub);
    st_write(&s, name, g_tensors, 1);
    // One snapshot and no ref: that one. "@" names a snapshot or a ref.
    assert_int_equal(pc_source_open("org/model", &src, &err), 0);
    assert_contains(src.path, "models--org--model/snapshots/abc");
    pc_source_close(&src);
    assert_int_equal(pc_source_open("org/model@abc", &src, &err), 0);
    pc_source_close(&src);
    snprintf(name, sizeof name, "%s/snapshots/def/model.safetensors", hub);
    st_write(&s, name, g_tensors, 1);
    snprintf(name, sizeof name, "%s/refs/main", hub);
    scratch_text(&s, name, "def\n");
    assert_int_equal(pc_source_open("org/model", &src, &err), 0);
    assert_contains(src.path, "/snapshots/def");
    pc_source_close(&src);
    assert_int_equal(pc_source_open("org/model@v2", &src, &err), PACO_ENOENT);
    assert_contains(err.message, "'org/model@v2' is in the Hugging Face cache, but not its revision 'v2'");
    // Refs of pull requests and branches have slashes.
    snprintf(name, sizeof name, "%s/refs/refs/pr/1", hub);
    scratch_text(&s, name, "abc");
    assert_int_equal(pc_source_open("org/model@refs/pr/1", &src, &err), 0);
    assert_contains(src.path, "/snapshots/abc");
    pc_source_close(&src);
    assert_int_equal(pc_source_open("org/model@refs/pr/2", &src, &err), PACO_ENOENT);
    assert_contains(err.message, "but not its revision 'refs/pr/2'");
    // A ref that points elsewhere is not followed.
    snprintf(name, sizeof name, "%s/refs/main", hub);
    scratch_text(&s, name, "../../../../etc");
    assert_int_equal(pc_source_open("org/model", &src, &err), PACO_ENOENT);
    // A path that exists comes before a name in the cache.
    assert_int_equal(chdir(s.dir), 0);
    st_write(&s, "org/model/model.safetensors", g_tensors, 1);
    assert_int_equal(pc_source_open("org/model", &src, &err), 0);
    assert_string_equal(src.path, "org/model");
    pc_source_close(&src);
    scratch_close(&s);
}

static void the_environment_moves_the_cache(void **state)
{
    (void)state;
    struct scratch s;
    isolate(&s);
    static const char *const set[][2] = {{"XDG_CACHE_HOME", "/xdg/huggingface/hub"}, {"HF_HOME", "/home/hub"},
        {"HUGGINGFACE_HUB_CACHE", "/old"}, {"HF_HUB_CACHE", "/new"}};
    static const char *const values[] = {"/xdg", "/home", "/old", "/new"};
    for (int i = 0; i < 4; i++) {
        setenv(set[i][0], values[i], 1);
        char *dir = pc_hub_cache_dir();
        assert_string_equal(dir, set[i][1]);
        pc_free(dir);
    }
    isolate(&s);
    unsetenv("HOME");
    assert_null(pc_hub_cache_dir());
    scratch_close(&s);
}

static void names_on_the_hub(void **state)
{
    (void)state;
    assert_true(pc_hub_is_name("gpt2"));
    assert_true(pc_hub_is_name("org/name-1.0_x@main"));
    assert_true(pc_hub_is_name("org/name@refs/pr/1"));
    static const char *const not [] = {"", "/abs", "a/b/c", "./x", "../x", "a/..", "a/", "a b", "a@../x",
        "a@", "a@x/../y", "a@/x", "a@x/", "a@x//y"};
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        assert_false(pc_hub_is_name(not [i]));
}

static void what_is_not_there_is_said(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src;
    struct paco_error err = {0};
    char name[1100];
    isolate(&s);
    assert_int_equal(pc_source_open("org/absent", &src, &err), PACO_ENOENT);
    assert_contains(err.message, "no model 'org/absent': there is no such directory or file; 'org/absent' is "
                                 "not in the Hugging Face cache (");
    write_gguf(&s, "tulu.Q4_1.gguf");
    snprintf(name, sizeof name, "%s/tulu-Q4_1.gguf", s.dir);
    assert_int_equal(pc_source_open(name, &src, &err), PACO_ENOENT);
    assert_contains(err.message, "tulu.Q4_1.gguf'?)");
    snprintf(name, sizeof name, "%s/nothing/like/it", s.dir);
    assert_int_equal(pc_source_open(name, &src, &err), PACO_ENOENT);
    assert_null(strstr(err.message, "did you mean"));
    // The folder of weights that are elsewhere.
    scratch_text(&s, "README.md", "# x");
    assert_int_equal(pc_source_open(s.dir, &src, &err), PACO_ENOENT);
    assert_contains(err.message, "did you mean 'tulu.Q4_1.gguf' in it?");
    assert_int_equal(pc_source_open(scratch_path(&s, "README.md"), &src, &err), PACO_EFORMAT);
    assert_contains(err.message, "is a short text (\"# x\")");
    assert_int_equal(pc_source_open(scratch_path(&s, "README.md"), &src, NULL), PACO_EFORMAT);
    scratch_close(&s);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_source src = {0};
    isolate(&s);
    char path[1024];
    snprintf(path, sizeof path, "%s", write_gguf(&s, "m.gguf"));
    for (int64_t n = 0; !src.ck; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        int rc = pc_source_open(path, &src, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 || (rc == PACO_EMEM && err.code == PACO_EMEM && !src.ck && !src.path));
        assert_true(n < 200);
    }
    pc_source_close(&src);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_a_directory),
        cmocka_unit_test(opens_a_lone_file),
        cmocka_unit_test(gguf_names_are_translated),
        cmocka_unit_test(gguf_appears_in_hugging_face_layout),
        cmocka_unit_test(foreign_gguf_can_be_looked_at),
        cmocka_unit_test(reads_the_hugging_face_cache),
        cmocka_unit_test(the_environment_moves_the_cache),
        cmocka_unit_test(names_on_the_hub),
        cmocka_unit_test(what_is_not_there_is_said),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
