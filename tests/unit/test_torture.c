// SPDX-License-Identifier: Apache-2.0
/* Memory runs out at every possible moment, in turn: each attempt ends with PACO_EMEM, says so, and leaves no
 * descriptor open (and, under the address sanitizer, no memory behind). To torture one more thing, write a
 * function that does it from opening to closing and add it below. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/options.h"
#include "format/gguf.h"
#include "format/layout.h"
#include "format/safetensors.h"
#include "format/torch.h"
#include "unit.h"
#include "weights/source.h"

#include "gguf_builder.h"
#include "scratch.h"

#include <fcntl.h>

static struct scratch g_dir;
static bool g_jansson_failed;

/* jansson's allocations fail too; but it may call that a syntax error. */
static void *allocate(size_t size)
{
    void *p = pc_alloc(size, 1);
    g_jansson_failed |= !p;
    return p;
}

static int n_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Run attempt with 0, 1, 2 ... allocations allowed until it succeeds. */
static void torture(int (*attempt)(struct paco_error *err))
{
    int before = n_descriptors(), rc = -1;
    for (int64_t n = 0; rc != 0; n++) {
        struct paco_error err = {0};
        assert_true(n < 100000);
        g_jansson_failed = false;
        pc_alloc_fail_after(n);
        rc = attempt(&err);
        pc_alloc_fail_after(-1);
        if (rc != 0) {
            if (rc != PACO_EMEM && !g_jansson_failed)
                print_message("%d allocations: %d %s\n", (int)n, rc, err.message);
            assert_int_equal(rc, err.code);
            if (!g_jansson_failed) {
                assert_int_equal(rc, PACO_EMEM);
                assert_contains(err.message, "out of memory");
            }
        } else {
            assert_true(n > 0);
        }
        assert_int_equal(n_descriptors(), before);
    }
}

static int json(struct paco_error *err)
{
    json_t *v;
    static const char text[] = "{\"a\": [1, 2.5, {\"b\": \"text\"}], \"c\": null}";
    int rc = pc_json_parse(text, sizeof text - 1, "x.json", 0, &v, err);
    if (rc < 0)
        return rc;
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_json_write(&b, v, PC_JSON_PRETTY);
    rc = pc_buf_check(&b, "JSON", err);
    pc_buf_release(&b);
    json_decref(v);
    return rc;
}

static int options(struct paco_error *err)
{
    static const struct pc_option table[] = {{.name = "device", .type = PC_OPT_IGNORED, .help = "ignored"},
        {.name = "add", .type = PC_OPT_LIST}, {0}};
    char words[5][16] = {"a", "--add=x", "--device", "cpu", "b"};
    char *argv[5] = {words[0], words[1], words[2], words[3], words[4]};
    struct pc_strings add = {0};
    struct pc_args args;
    int rc = pc_options_parse(table, NULL, 5, argv, &add, &args, err);
    pc_args_release(&args);
    return rc;
}

static int folder(struct paco_error *err)
{
    char **names;
    size_t n;
    int rc = pc_dir_list(g_dir.dir, &names, &n, err);
    if (rc == 0)
        pc_names_free(names, n);
    return rc;
}

static int read_all(struct pc_checkpoint *ck, struct paco_error *err)
{
    unsigned char bytes[4096];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ck->n_tensors; i++)
        rc = pc_tensor_read(&ck->tensors[i], 0, ck->tensors[i].n_rows, bytes, err);
    pc_checkpoint_close(ck);
    return rc;
}

static int safetensors(struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    int rc = pc_safetensors_open(scratch_path(&g_dir, "model.safetensors"), &ck, err);
    return rc < 0 ? rc : read_all(ck, err);
}

static int gguf(struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    int rc = pc_gguf_open(scratch_path(&g_dir, "model.gguf"), &ck, err);
    return rc < 0 ? rc : read_all(ck, err);
}

static int torch_zip(struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    int rc = pc_torch_open("tests/fixtures/torch/era_zip_views.bin", &ck, err);
    return rc < 0 ? rc : read_all(ck, err);
}

static int torch_deflated(struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    int rc = pc_torch_open("tests/fixtures/torch/era_deflated_views.bin", &ck, err);
    return rc < 0 ? rc : read_all(ck, err);
}

static int torch_legacy(struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    int rc = pc_torch_open("tests/fixtures/torch/era_legacy_views.bin", &ck, err);
    return rc < 0 ? rc : read_all(ck, err);
}

static int torch_plan(struct paco_error *err)
{
    const struct pc_out_tensor t = {.name = "w", .dtype = PC_F16, .n_dims = 2, .shape = {3, 5}};
    struct pc_layout *l = NULL;
    int rc = pc_layout_new(PC_TORCH_BIN, &t, 1, 0, &l, err);
    if (rc < 0)
        return rc;
    int fd = open(scratch_path(&g_dir, "out.bin"), O_WRONLY | O_CREAT, 0600);
    rc = pc_layout_seal(l, 0, fd, g_dir.path, err);
    close(fd);
    pc_layout_free(l);
    return rc;
}

static int open_source(const char *name, struct paco_error *err)
{
    struct pc_source source;
    int rc = pc_source_open(scratch_path(&g_dir, name), &source, err);
    pc_source_close(&source);
    return rc;
}

static int directory(struct paco_error *err)
{
    return open_source("hf", err);
}

static int lone_gguf(struct paco_error *err)
{
    return open_source("model.gguf", err);
}

static void write_safetensors(void)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                                 "\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[16,24]}}";
    static struct blob b;
    blob_uint(&b, sizeof header - 1, 8);
    blob_bytes(&b, header, sizeof header - 1);
    for (int i = 0; i < 24; i++)
        blob_uint(&b, 0, 1);
    scratch_write(&g_dir, "model.safetensors", b.bytes, b.len);
    scratch_write(&g_dir, "hf/model.safetensors", b.bytes, b.len);
    scratch_text(&g_dir, "hf/config.json",
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 32, "
        "\"hidden_size\": 8,"
        " \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 16, \"rms_norm_eps\": "
        "1e-6}");
}

static void write_gguf(void)
{
    static struct blob b;
    blob_head(&b, 3, 1, 7);
    blob_key_str(&b, "general.architecture", "llama");
    blob_key_u32(&b, "llama.block_count", 1);
    blob_key_u32(&b, "llama.embedding_length", 8);
    blob_key_u32(&b, "llama.feed_forward_length", 16);
    blob_key_u32(&b, "llama.attention.head_count", 2);
    blob_key_u32(&b, "llama.vocab_size", 32);
    blob_key_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
    blob_tensor(&b, "output_norm.weight", 0, 8, 0, 0);
    blob_data(&b, 32, 32);
    scratch_write(&g_dir, "model.gguf", b.bytes, b.len);
}

static int setup(void **state)
{
    (void)state;
    json_set_alloc_funcs(allocate, pc_free);
    scratch_open(&g_dir);
    write_safetensors();
    write_gguf();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_close(&g_dir);
    return 0;
}

#define TORTURE(name)                                                                                        \
    static void torture_##name(void **state)                                                                 \
    {                                                                                                        \
        (void)state;                                                                                         \
        torture(name);                                                                                       \
    }
TORTURE(directory)
TORTURE(folder)
TORTURE(gguf)
TORTURE(json)
TORTURE(lone_gguf)
TORTURE(options)
TORTURE(safetensors)
TORTURE(torch_deflated)
TORTURE(torch_legacy)
TORTURE(torch_plan)
TORTURE(torch_zip)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torture_directory),
        cmocka_unit_test(torture_folder),
        cmocka_unit_test(torture_gguf),
        cmocka_unit_test(torture_json),
        cmocka_unit_test(torture_lone_gguf),
        cmocka_unit_test(torture_options),
        cmocka_unit_test(torture_safetensors),
        cmocka_unit_test(torture_torch_deflated),
        cmocka_unit_test(torture_torch_legacy),
        cmocka_unit_test(torture_torch_plan),
        cmocka_unit_test(torture_torch_zip),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
