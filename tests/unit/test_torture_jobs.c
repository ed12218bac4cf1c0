// SPDX-License-Identifier: Apache-2.0
/* Memory runs out at every possible moment of a whole job, in turn: recover and diff end with PACO_EMEM,
 * leave no descriptor open and nothing on the disk (and, under the address sanitizer, no memory behind),
 * until there is enough. */
#include "unit.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "paco/weights.h"
#include "scratch.h"

#include <fcntl.h>

static struct scratch g_dir;
static char g_raw[1100], g_diff[1100], g_out[1100];
static bool g_jansson_failed;

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

/* A model of one embedding and one norm: rows of eight floats, all of value. */
static void write_model(const char *name, int rows, float value, float norm)
{
    static const char config[] =
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 5, "
        "\"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": "
        "16, "
        "\"rms_norm_eps\": 1e-6, \"torch_dtype\": \"float16\", \"pad_token_id\": 0}";
    static unsigned char bytes[4096];
    char header[256], path[256];
    int len = snprintf(header, sizeof header,
        "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[%d,8],\"data_offsets\":[0,%d]},"
        "\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[%d,%d]}}",
        rows, rows * 32, rows * 32, rows * 32 + 32);
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (unsigned char)len;
    memcpy(bytes + 8, header, (size_t)len);
    for (int i = 0; i < rows * 8 + 8; i++) {
        float v = i < rows * 8 ? value * (float)(i + 1) : norm;
        memcpy(bytes + 8 + len + 4 * i, &v, 4);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    scratch_write(&g_dir, path, bytes, (size_t)(8 + len + rows * 32 + 32));
    snprintf(path, sizeof path, "%s/config.json", name);
    scratch_text(&g_dir, path, config);
    snprintf(path, sizeof path, "%s/README.md", name);
    scratch_text(&g_dir, path, "---\nlicense: mit\n---\n");
    if (rows > 4) {
        snprintf(path, sizeof path, "%s/tokenizer_config.json", name);
        scratch_text(&g_dir, path, "{\"pad_token\": \"<pad>\", \"tokenizer_class\": \"LLaMATokenizer\"}");
        snprintf(path, sizeof path, "%s/added_tokens.json", name);
        scratch_text(&g_dir, path, "{\"<pad>\": 4}");
    }
}

static int setup(void **state)
{
    (void)state;
    json_set_alloc_funcs(allocate, pc_free);
    scratch_open(&g_dir);
    write_model("raw", 4, 0.01f, 1);
    write_model("diff", 5, 0.0001f, 0);
    write_model("tuned", 5, 0.011f, 1);
    snprintf(g_raw, sizeof g_raw, "%s", scratch_path(&g_dir, "raw"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_close(&g_dir);
    return 0;
}

static int n_names(void)
{
    char **names;
    size_t n;
    assert_int_equal(pc_dir_list(g_dir.dir, &names, &n, NULL), 0);
    pc_names_free(names, n);
    return (int)n;
}

static int recover(struct paco_job_result *r, struct paco_error *err)
{
    struct paco_recover_options o = paco_recover_options_default();
    o.raw = g_raw;
    o.diff = g_diff;
    o.job.out = g_out;
    o.job.n_threads = 1;
    o.job.dtype = PACO_DTYPE_AUTO;
    o.job.max_shard = 100;
    return paco_recover(&o, r, err);
}

static int make_diff(struct paco_job_result *r, struct paco_error *err)
{
    struct paco_diff_options o = paco_diff_options_default();
    o.raw = g_raw;
    o.tuned = g_diff;
    o.job.out = g_out;
    o.job.n_threads = 1;
    o.job.container = PACO_CONTAINER_BIN;
    return paco_diff(&o, r, err);
}

/* The vocabulary is of no entries. */
static int to_gguf(struct paco_job_result *r, struct paco_error *err)
{
    static const unsigned char vocabulary[8] = {0};
    struct paco_recover_options o = paco_recover_options_default();
    o.raw = g_raw;
    o.diff = g_diff;
    o.job.out = g_out;
    o.job.n_threads = 1;
    o.job.container = PACO_CONTAINER_GGUF;
    o.job.dtype = PACO_DTYPE_Q4_K;
    o.job.vocabulary = vocabulary;
    o.job.vocabulary_size = sizeof vocabulary;
    return paco_recover(&o, r, err);
}

static void torture(int (*attempt)(struct paco_job_result *, struct paco_error *), int n_made)
{
    int before = n_descriptors(), names = n_names(), rc = -1;
    for (int64_t n = 0; rc != 0; n++) {
        struct paco_job_result r = {0};
        struct paco_error err = {0};
        assert_true(n < 100000);
        g_jansson_failed = false;
        pc_alloc_fail_after(n);
        rc = attempt(&r, &err);
        pc_alloc_fail_after(-1);
        assert_int_equal(rc, err.code);
        if (rc != 0 && rc != PACO_EMEM && !g_jansson_failed)
            fail_msg("%d allocations: %d %s", (int)n, rc, err.message);
        assert_int_equal(n_descriptors(), before);
        // What was finished may stay for the next attempt, but nothing may have the name.
        assert_int_equal(pc_path_exists(g_out), rc == 0);
        assert_true(n_names() <= names + n_made);
        paco_job_result_release(&r);
    }
    assert_int_equal(n_names(), names + n_made);
}

static void torture_recover(void **state)
{
    (void)state;
    snprintf(g_diff, sizeof g_diff, "%s", scratch_path(&g_dir, "diff"));
    snprintf(g_out, sizeof g_out, "%s", scratch_path(&g_dir, "recovered"));
    torture(recover, 1);
}

static void torture_diff(void **state)
{
    (void)state;
    snprintf(g_diff, sizeof g_diff, "%s", scratch_path(&g_dir, "tuned"));
    snprintf(g_out, sizeof g_out, "%s", scratch_path(&g_dir, "made"));
    torture(make_diff, 1);
}

static void torture_gguf(void **state)
{
    (void)state;
    snprintf(g_diff, sizeof g_diff, "%s", scratch_path(&g_dir, "diff"));
    snprintf(g_out, sizeof g_out, "%s", scratch_path(&g_dir, "recovered.gguf"));
    torture(to_gguf, 2); // and its manifest
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torture_recover),
        cmocka_unit_test(torture_diff),
        cmocka_unit_test(torture_gguf),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
