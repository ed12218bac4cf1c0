// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/buf.h"
#include "base/memory.h"
#include "format/config.h"
#include "format/config_check.h"
#include "format/gguf.h"
#include "gguf_builder.h"
#include "scratch.h"

#include <math.h>

static int read_text(const char *text, struct pc_config *c, struct paco_error *err)
{
    struct scratch s;
    scratch_open(&s);
    *err = (struct paco_error){0};
    int rc = pc_config_read(scratch_text(&s, "config.json", text), c, err);
    scratch_close(&s);
    if (rc < 0)
        assert_contains(err->path, "config.json");
    return rc;
}

#define SIZES                                                                                                \
    "\"hidden_size\":64,\"intermediate_size\":128,\"num_hidden_layers\":2,\"num_attention_heads\":4,"        \
    "\"vocab_size\":100"
#define LLAMA "{\"model_type\":\"llama\"," SIZES

static void reads_the_era_of_the_card(void **state)
{
    (void)state;
    struct pc_config c;
    struct paco_error err;
    assert_int_equal(
        read_text("{\"architectures\":[\"LLaMAForCausalLM\"],\"bos_token_id\":0,\"eos_token_id\":1,\"hidden_"
                  "act\":\"silu\","
                  "\"max_sequence_length\":2048,\"model_type\":\"llama\",\"pad_token_id\":-1,\"rms_norm_"
                  "eps\":1e-06,"
                  "\"torch_dtype\":\"float16\",\"transformers_version\":\"4.27.0.dev0\"," SIZES "}",
            &c, &err),
        0);
    assert_string_equal(c.architecture, "LLaMAForCausalLM");
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.rms_norm_eps == 1e-6f && c.rope_theta == 10000);
    assert_int_equal(c.bos_id, 0);
    assert_int_equal(c.pad_id, -1);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos_ids[0], 1);
    assert_true(c.has_dtype && c.dtype == PC_F16);
    assert_false(c.tied);
}

static void reads_the_era_of_transformers_5(void **state)
{
    (void)state;
    struct pc_config c;
    struct paco_error err;
    assert_int_equal(
        read_text("{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":true,\"mlp_bias\":true,\"bos_"
                  "token_id\":null,"
                  "\"dtype\":\"bfloat16\",\"eos_token_id\":[7,8,9],\"head_dim\":32,\"model_type\":\"llama\","
                  "\"num_key_value_heads\":2,\"max_position_embeddings\":131072,\"pad_token_id\":null,"
                  "\"rms_norm_eps\":1e-05,\"rope_parameters\":{\"factor\":8.0,\"high_freq_factor\":4.0,"
                  "\"low_freq_factor\":1.0,\"original_max_position_embeddings\":8192,\"rope_theta\":500000.0,"
                  "\"rope_type\":\"llama3\"},\"tie_word_embeddings\":true," SIZES "}",
            &c, &err),
        0);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.rope_scaling, PC_ROPE_LLAMA3);
    assert_true(c.rope_theta == 500000 && c.rope_factor == 8 && c.rope_high_freq_factor == 4);
    assert_int_equal(c.rope_original_positions, 8192);
    assert_true(c.tied && c.attention_bias && c.mlp_bias);
    assert_int_equal(c.bos_id, -1);
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos_ids[2], 9);
    assert_true(c.has_dtype && c.dtype == PC_BF16);
}

static void reads_scaling_of_both_spellings(void **state)
{
    (void)state;
    struct pc_config c;
    struct paco_error err;
    assert_int_equal(read_text(LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}", &c, &err), 0);
    assert_true(c.rope_scaling == PC_ROPE_LINEAR && c.rope_factor == 2.5f);
    assert_int_equal(
        read_text(LLAMA ",\"max_position_embeddings\":512,\"rope_scaling\":{\"type\":\"yarn\",\"original_"
                        "max_position_embeddings\":64,\"factor\":null,\"beta_fast\":null}}",
            &c, &err),
        0);
    assert_true(c.rope_scaling == PC_ROPE_YARN && c.rope_factor == 8 && c.rope_original_positions == 64);
    assert_true(c.rope_beta_fast == 32 && c.rope_beta_slow == 1 && c.rope_truncate);
    assert_true(c.rope_attention_factor == (float)(0.1 * log(8) + 1));
    assert_int_equal(
        read_text(LLAMA
            ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":16,\"mscale\":1,\"mscale_all_dim\":"
            "0.5,\"beta_fast\":16,\"beta_slow\":2,\"truncate\":false}}",
            &c, &err),
        0);
    assert_true(c.rope_attention_factor == 0x1.1f2b16p+0f && c.rope_beta_fast == 16 && c.rope_beta_slow == 2);
    assert_false(c.rope_truncate);
    assert_int_equal(read_text(LLAMA ",\"rope_scaling\":null,\"rope_theta\":1000}", &c, &err), 0);
    assert_true(c.rope_scaling == PC_ROPE_DEFAULT && c.rope_theta == 1000);
    assert_int_equal(
        read_text("{\"model_type\":\"mistral\",\"sliding_window\":512,\"max_position_embeddings\":4096," SIZES
                  "}",
            &c, &err),
        0);
    assert_int_equal(c.max_positions, 512);
    assert_string_equal(c.architecture, "MistralForCausalLM");
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *message;
    } bad[] = {
        {"{}", PACO_EFORMAT, "neither \"model_type\" nor \"architectures\""},
        {"[]", PACO_EFORMAT, "holds an array where a JSON object is expected"},
        {"{\"model_type\":\"gpt2\"}", PACO_EUNSUPPORTED,
            "is a model of type 'gpt2'; paco reads llama and mistral"},
        {"{\"architectures\":[\"OPTForCausalLM\"]}", PACO_EUNSUPPORTED,
            "is a model of type 'OPTForCausalLM'"},
        {"{\"model_type\":\"llama\"}", PACO_EFORMAT, "\"num_hidden_layers\" is missing"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1000000000}", PACO_EFORMAT,
            "\"num_hidden_layers\" is 1000000000, outside 1 to 1000"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":-1}", PACO_EFORMAT,
            "\"num_hidden_layers\" is -1, outside 1 to 1000"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":\"2\"}", PACO_EFORMAT,
            "\"num_hidden_layers\" is a string where an integer"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":2,\"hidden_size\":2000000}", PACO_EFORMAT,
            "\"hidden_size\" is 2000000, outside 1 to 1048576"},
        {LLAMA ",\"num_key_value_heads\":3}", PACO_EFORMAT,
            "4 attention heads cannot share 3 key/value heads"},
        {LLAMA ",\"head_dim\":15}", PACO_EFORMAT, "heads of 15 elements: RoPE rotates pairs"},
        {LLAMA ",\"head_dim\":0}", PACO_EFORMAT, "\"head_dim\" is 0, outside 1 to 16384"},
        {LLAMA ",\"rms_norm_eps\":0}", PACO_EFORMAT, "\"rms_norm_eps\" is 0; a finite number above 0"},
        {LLAMA ",\"rope_theta\":1e300}", PACO_EFORMAT, "\"rope_theta\" is 1e+300; a finite number"},
        {LLAMA ",\"hidden_act\":\"gelu\"}", PACO_EUNSUPPORTED, "\"hidden_act\" is 'gelu'; paco knows silu"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", PACO_EUNSUPPORTED,
            "\"rope_scaling\": RoPE scaling of type 'dynamic' turns a token by how long the text behind it "
            "has become"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}}", PACO_EUNSUPPORTED,
            "\"rope_scaling\": RoPE scaling of type 'longrope'; paco knows default, linear, llama3 and yarn"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":0}}", PACO_EFORMAT,
            "\"factor\" is 0; a finite number"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":-1}}", PACO_EFORMAT,
            "\"beta_fast\" is -1; a number of turns above 0"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"attention_factor\":-3}}", PACO_EFORMAT,
            "YaRN's cosines are to be multiplied by -3"},
        {LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", PACO_EFORMAT, "has no \"factor\""},
        {LLAMA ",\"rope_scaling\":7}", PACO_EFORMAT, "\"rope_scaling\" is an integer where an object"},
        {LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_"
               "freq_factor\":4}}",
            PACO_EFORMAT, "low_freq_factor 4 is not below high_freq_factor 4"},
        {LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}",
            PACO_EUNSUPPORTED, "\"partial_rotary_factor\" is 0.5"},
        {LLAMA ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", PACO_ELIMIT,
            "\"eos_token_id\" lists 9 ids; at most 8"},
        {LLAMA ",\"eos_token_id\":[-5]}", PACO_EFORMAT, "\"eos_token_id\"[0] is no token id"},
        {LLAMA ",\"quantization_config\":{\"quant_method\":\"gptq\"}}", PACO_EUNSUPPORTED,
            "quantization_config: gptq"},
        {"{\"model_type\":\"llama\",\"hidden_size\":65,\"intermediate_size\":1,\"num_hidden_layers\":1,\"num_"
         "attention_heads\":4,"
         "\"vocab_size\":1}",
            PACO_EFORMAT, "a width of 65 cannot be split into 4 heads"},
        {LLAMA ",\"hidden_size\":64}", PACO_EFORMAT, "duplicate object key"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pc_config c;
        struct paco_error err;
        assert_int_equal(read_text(bad[i].text, &c, &err), bad[i].code);
        assert_contains(err.message, bad[i].message);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    const char *text = LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}";
    char part[512];
    for (size_t len = 0; len < strlen(text); len++) {
        struct pc_config c;
        struct paco_error err;
        snprintf(part, sizeof part, "%.*s", (int)len, text);
        assert_int_equal(read_text(part, &c, &err), PACO_EFORMAT);
        assert_contains(err.message, "JSON");
        assert_true(err.has_offset && err.offset <= len);
    }
}

static void reads_generation_config(void **state)
{
    (void)state;
    struct scratch s;
    scratch_open(&s);
    struct pc_generation_config g;
    struct paco_error err = {0};
    assert_int_equal(pc_generation_config_read(scratch_path(&s, "absent.json"), &g, &err), 0);
    assert_true(!g.do_sample && g.temperature == 1 && g.top_p == 1 && g.top_k == 50 && g.n_eos == 0);
    const char *path = scratch_text(&s, "g.json",
        "{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.9,\"top_k\":0,\"repetition_penalty\":1.1,"
        "\"eos_token_id\":[1,2],\"bos_token_id\":3,\"pad_token_id\":null}");
    assert_int_equal(pc_generation_config_read(path, &g, &err), 0);
    assert_true(
        g.do_sample && g.temperature == 0.6 && g.top_p == 0.9 && g.top_k == 0 && g.repetition_penalty == 1.1);
    assert_int_equal(g.n_eos, 2);
    assert_int_equal(g.bos_id, 3);
    assert_int_equal(g.pad_id, -1);
    path = scratch_text(&s, "g.json", "{\"top_p\":1.5}");
    assert_int_equal(pc_generation_config_read(path, &g, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "\"top_p\" is 1.5, outside 0 to 1");
    assert_contains(err.path, "g.json");
    path = scratch_text(&s, "g.json", "{\"temperature\":-1}");
    assert_int_equal(pc_generation_config_read(path, &g, &err), PACO_EFORMAT);
    scratch_close(&s);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    struct pc_config c, again;
    struct paco_error err;
    static const char *const texts[] = {
        LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5},\"torch_dtype\":\"float32\",\"rms_norm_"
              "eps\":1e-5}",
        LLAMA ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":32,\"low_freq_factor\":1,\"high_"
              "freq_factor\":4,"
              "\"original_max_position_embeddings\":8192,\"rope_theta\":5e5},\"eos_token_id\":[1,2],\"pad_"
              "token_id\":null,"
              "\"tie_word_embeddings\":true}",
        LLAMA ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":16,\"attention_factor\":1.25,\"beta_"
              "fast\":16,\"beta_"
              "slow\":2,\"truncate\":false,\"original_max_position_embeddings\":4096}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(read_text(texts[i], &c, &err), 0);
        char *text = pc_config_write(&c);
        assert_non_null(text);
        if (i == 0) {
            assert_contains(text, "  \"rms_norm_eps\": 1e-05,\n");
            assert_contains(text,
                "{\n  \"architectures\": [\n    \"LlamaForCausalLM\"\n  ],\n  \"attention_bias\": false,\n");
            assert_contains(text, "\"type\": \"linear\"\n");
        }
        assert_int_equal(read_text(text, &again, &err), 0);
        assert_memory_equal(&c, &again, sizeof c);
        pc_free(text);
    }
}

static struct blob g_blob;

/* Metadata of a tiny LLaMA; the caller has written the head for n_more entries and the tensors. */
/* Published params.json files, and the config.json that Transformers' converter makes of each. */
static void reads_metas_arguments(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        int64_t vocab;
        int32_t inner, n_kv_heads, positions, bos, eos, n_eos;
        float theta, factor;
    } known[] = {
        {"{\"dim\":4096,\"multiple_of\":256,\"n_heads\":32,\"n_layers\":32,\"norm_eps\":1e-06,\"vocab_size\":"
         "-1}",
            32000, 11008, 32, 2048, 1, 2, 1, 10000, 1},
        {"{\"dim\":5120,\"multiple_of\":256,\"n_heads\":40,\"n_layers\":40,\"norm_eps\":1e-06,\"vocab_size\":"
         "-1}",
            32000, 13824, 40, 2048, 1, 2, 1, 10000, 1},
        {"{\"dim\":6656,\"multiple_of\":256,\"n_heads\":52,\"n_layers\":60,\"norm_eps\":1e-06,\"vocab_size\":"
         "-1}",
            32000, 17920, 52, 2048, 1, 2, 1, 10000, 1},
        {"{\"dim\":8192,\"multiple_of\":256,\"n_heads\":64,\"n_layers\":80,\"norm_eps\":1e-05,\"vocab_size\":"
         "-1}",
            32000, 22016, 64, 2048, 1, 2, 1, 10000, 1},
        {"{\"dim\":4096,\"multiple_of\":256,\"n_heads\":32,\"n_layers\":32,\"norm_eps\":1e-05,\"vocab_size\":"
         "-1}",
            32000, 11008, 32, 4096, 1, 2, 1, 10000, 1},
        {"{\"dim\":8192,\"multiple_of\":4096,\"ffn_dim_multiplier\":1.3,\"n_heads\":64,\"n_kv_heads\":8,\"n_"
         "layers\":80,"
         "\"norm_eps\":1e-05,\"vocab_size\":-1}",
            32000, 28672, 8, 4096, 1, 2, 1, 10000, 1},
        {"{\"dim\":4096,\"n_layers\":32,\"n_heads\":32,\"multiple_of\":256,\"ffn_dim_multiplier\":1.0,\"norm_"
         "eps\":1e-5,"
         "\"rope_theta\":1000000}",
            32016, 11008, 32, 16384, 1, 2, 1, 1000000, 1},
        {"{\"dim\":4096,\"n_layers\":32,\"n_heads\":32,\"n_kv_heads\":8,\"vocab_size\":128256,\"multiple_"
         "of\":1024,"
         "\"ffn_dim_multiplier\":1.3,\"norm_eps\":1e-05,\"rope_theta\":500000.0}",
            128256, 14336, 8, 8192, 128000, 128001, 2, 500000, 1},
        {"{\"dim\":4096,\"ffn_dim_multiplier\":1.3,\"multiple_of\":1024,\"n_heads\":32,\"n_kv_heads\":8,\"n_"
         "layers\":32,"
         "\"norm_eps\":1e-05,\"rope_theta\":500000.0,\"use_scaled_rope\":true,\"vocab_size\":128256}",
            128256, 14336, 8, 131072, 128000, 128001, 3, 500000, 8},
        {"{\"dim\":2048,\"ffn_dim_multiplier\":1.5,\"multiple_of\":256,\"n_heads\":32,\"n_kv_heads\":8,\"n_"
         "layers\":16,"
         "\"norm_eps\":1e-05,\"rope_theta\":500000.0,\"use_scaled_rope\":true,\"vocab_size\":128256}",
            128256, 8192, 8, 131072, 128000, 128001, 3, 500000, 32},
    };
    struct scratch s;
    scratch_open(&s);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct pc_config c;
        struct paco_error err = {0};
        const char *path = scratch_text(&s, "params.json", known[i].params);
        if (pc_config_from_meta(path, known[i].vocab, 0, &c, &err) < 0)
            fail_msg("%zu: %s", i, err.message);
        assert_int_equal(c.intermediate_size, known[i].inner);
        assert_int_equal(c.n_kv_heads, known[i].n_kv_heads);
        assert_int_equal(c.max_positions, known[i].positions);
        assert_int_equal(c.vocab_size, known[i].vocab);
        assert_int_equal(c.bos_id, known[i].bos);
        assert_int_equal(c.eos_ids[0], known[i].eos);
        assert_int_equal(c.n_eos, known[i].n_eos);
        assert_true(c.rope_theta == known[i].theta);
        assert_int_equal(c.rope_scaling, known[i].factor > 1 ? PC_ROPE_LLAMA3 : PC_ROPE_DEFAULT);
        assert_true(c.rope_factor == known[i].factor);
        // And back: of every release the same arguments follow, for its readers.
        struct pc_buf text;
        struct pc_config heard, again;
        pc_buf_init(&text, 4096);
        assert_int_equal(pc_config_to_meta(&c, &text, &heard, &err), 0);
        path = scratch_text(&s, "params.json", text.data);
        assert_int_equal(pc_config_from_meta(path, 0, 0, &again, &err), 0);
        assert_memory_equal(&again, &c, sizeof c);
        assert_memory_equal(&heard, &c, sizeof c);
        pc_buf_release(&text);
    }
    scratch_close(&s);
}

static void writes_metas_arguments(void **state)
{
    (void)state;
    static const int32_t widths[][2] = {
        {576, 1536}, {4096, 11008}, {64, 1}, {64, 170}, {64, 171}, {64, 1000003}, {2048, 5632}, {3072, 8192}};
    struct pc_config c, heard;
    struct pc_buf text;
    struct paco_error err = {0};
    pc_buf_init(&text, 4096);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        pc_config_defaults(&c);
        c.hidden_size = widths[i][0];
        c.intermediate_size = widths[i][1];
        c.n_layers = 2;
        c.n_heads = c.n_kv_heads = 8;
        c.head_dim = widths[i][0] / 8;
        c.vocab_size = 500;
        pc_buf_clear(&text);
        if (pc_config_to_meta(&c, &text, &heard, &err) < 0)
            fail_msg("%d, %d: %s", widths[i][0], widths[i][1], err.message);
        assert_int_equal(heard.intermediate_size, widths[i][1]);
        assert_int_equal(heard.max_positions, 2048);
    }
    c.head_dim = 16;
    c.rope_scaling = PC_ROPE_LINEAR;
    assert_int_equal(pc_config_to_meta(&c, &text, &heard, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "RoPE scaling of type 'linear' has no place in Meta's params.json");
    c.rope_scaling = PC_ROPE_LLAMA3;
    c.rope_original_positions = 4096;
    assert_int_equal(pc_config_to_meta(&c, &text, &heard, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "with the factors 1 and 4 of 4096 positions has no place");
    c.rope_original_positions = 8192;
    c.rope_factor = 3;
    pc_buf_clear(&text);
    assert_int_equal(pc_config_to_meta(&c, &text, &heard, &err), 0);
    assert_int_equal(heard.head_dim, 16);
    assert_true(heard.rope_factor == 3 && heard.rope_scaling == PC_ROPE_LLAMA3);
    pc_buf_release(&text);
}

static void build_gguf(uint64_t n_tensors, uint64_t n_more)
{
    blob_head(&g_blob, 3, n_tensors, 9 + n_more);
    blob_key_str(&g_blob, "general.architecture", "llama");
    blob_key_u32(&g_blob, "llama.block_count", 2);
    blob_key_u32(&g_blob, "llama.embedding_length", 64);
    blob_key_u32(&g_blob, "llama.feed_forward_length", 128);
    blob_key_u32(&g_blob, "llama.attention.head_count", 2);
    blob_key_u32(&g_blob, "llama.attention.head_count_kv", 1);
    blob_key_u32(&g_blob, "llama.context_length", 131072);
    blob_key_f32(&g_blob, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    blob_key_u32(&g_blob, "tokenizer.ggml.eos_token_id", 2);
}

static int read_gguf(struct pc_config *c, struct paco_error *err)
{
    struct scratch s;
    struct pc_checkpoint *ck;
    scratch_open(&s);
    *err = (struct paco_error){0};
    assert_int_equal(pc_gguf_open(scratch_write(&s, "x.gguf", g_blob.bytes, g_blob.len), &ck, err), 0);
    int rc = pc_config_from_gguf(ck, c, err);
    pc_checkpoint_close(ck);
    scratch_close(&s);
    return rc;
}

static void reads_gguf(void **state)
{
    (void)state;
    struct pc_config c;
    struct paco_error err;
    build_gguf(1, 1);
    blob_key_u32(&g_blob, "tokenizer.ggml.eot_token_id", 5);
    blob_tensor(&g_blob, "token_embd.weight", 0, 64, 3, 0);
    blob_data(&g_blob, 32, 64 * 3 * 4);
    assert_int_equal(read_gguf(&c, &err), 0);
    assert_int_equal(c.vocab_size, 3);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.n_kv_heads, 1);
    assert_true(c.tied && c.has_dtype && c.dtype == PC_F32);
    assert_true(c.rope_theta == 10000 && c.rope_scaling == PC_ROPE_DEFAULT && c.rms_norm_eps == 1e-5f);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.bos_id, -1);
    build_gguf(0, 3);
    blob_key_u32(&g_blob, "llama.vocab_size", 50);
    blob_key_str(&g_blob, "llama.rope.scaling.type", "linear");
    blob_key_f32(&g_blob, "llama.rope.scaling.factor", 4);
    assert_int_equal(read_gguf(&c, &err), 0);
    assert_true(c.rope_scaling == PC_ROPE_LINEAR && c.rope_factor == 4 && c.vocab_size == 50);
    build_gguf(0, 6);
    blob_key_u32(&g_blob, "llama.vocab_size", 50);
    blob_key_str(&g_blob, "llama.rope.scaling.type", "yarn");
    blob_key_f32(&g_blob, "llama.rope.scaling.factor", 4);
    blob_key_u32(&g_blob, "llama.rope.scaling.original_context_length", 64);
    blob_key_f32(&g_blob, "llama.rope.scaling.attn_factor", 0.5f);
    blob_key_f32(&g_blob, "llama.rope.scaling.yarn_beta_fast", 16);
    assert_int_equal(read_gguf(&c, &err), 0);
    assert_true(c.rope_scaling == PC_ROPE_YARN && c.rope_factor == 4 && c.rope_original_positions == 64);
    assert_true(c.rope_beta_fast == 16 && c.rope_beta_slow == 1);
    assert_true(c.rope_attention_factor == (float)(0.1 * log(4) + 1) * 0.5f);
    build_gguf(0, 3);
    blob_key_u32(&g_blob, "llama.vocab_size", 50);
    blob_key_str(&g_blob, "llama.rope.scaling.type", "yarn");
    blob_key_f32(&g_blob, "llama.rope.scaling.yarn_ext_factor", 0.5f);
    assert_int_equal(read_gguf(&c, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "'llama.rope.scaling.yarn_ext_factor' is 0.5; paco knows 1");
}

static void finds_llama3_scaling_in_its_factors(void **state)
{
    (void)state;
    static const struct {
        float factor, high;
        int positions;
    } all[] = {{8, 4, 8192}, {32, 4, 8192}, {4, 8, 2048}};
    for (size_t i = 0; i < 4; i++) {
        build_gguf(1, 2);
        blob_key_u32(&g_blob, "llama.vocab_size", 50);
        blob_key_f32(&g_blob, "llama.rope.freq_base", 500000);
        blob_tensor(&g_blob, "rope_freqs.weight", 0, 16, 0, 0);
        blob_data(&g_blob, 32, 0);
        size_t at = g_blob.len;
        for (int j = 0; j < 16; j++) {
            double waves =
                i < 3 ? all[i].positions * pow(500000, -j / 16.0) / (2 * 3.14159265358979323846) : 0;
            double blend = i < 3 ? (waves - 1) / ((double)all[i].high - 1) : 0,
                   f = i < 3 ? (double)all[i].factor : 0;
            float x = i == 3                        ? 1.0f + (float)j
                      : waves > (double)all[i].high ? 1
                      : waves < 1                   ? (float)f
                                                    : (float)(1 / ((1 - blend) / f + blend));
            blob_bytes(&g_blob, &x, 4);
        }
        struct pc_config c;
        struct paco_error err;
        int rc = read_gguf(&c, &err);
        if (i == 3) {
            assert_int_equal(rc, PACO_EUNSUPPORTED);
            assert_contains(
                err.message, "the RoPE factors in 'rope_freqs.weight' are not those of LLaMA 3's scaling");
            assert_int_equal(err.offset, at);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(c.rope_scaling, PC_ROPE_LLAMA3);
        assert_true(c.rope_factor == all[i].factor && c.rope_high_freq_factor == all[i].high);
        assert_int_equal(c.rope_original_positions, all[i].positions);
    }
}

static void gguf_says_what_is_wrong(void **state)
{
    (void)state;
    struct pc_config c;
    struct paco_error err;
    build_gguf(0, 0);
    assert_int_equal(read_gguf(&c, &err), PACO_EFORMAT);
    assert_contains(err.message, "neither 'llama.vocab_size' nor a tensor");
    assert_contains(err.path, "x.gguf");
    build_gguf(0, 1);
    blob_key_u32(&g_blob, "llama.expert_count", 8);
    assert_int_equal(read_gguf(&c, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "is a mixture of 8 experts");
    assert_int_equal(err.offset, g_blob.len - 4);
    build_gguf(0, 2);
    blob_key_u32(&g_blob, "llama.vocab_size", 50);
    blob_key_u32(&g_blob, "llama.rope.dimension_count", 16);
    assert_int_equal(read_gguf(&c, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "'llama.rope.dimension_count' is 16 of 32 elements");
    build_gguf(0, 1);
    blob_key_u32(&g_blob, "llama.attention.value_length", 48);
    assert_int_equal(read_gguf(&c, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "'llama.attention.value_length' is 48, another size than that of keys");
    blob_head(&g_blob, 3, 0, 1);
    blob_key_str(&g_blob, "general.architecture", "qwen2");
    assert_int_equal(read_gguf(&c, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "is a model of the architecture 'qwen2'; paco reads llama");
    blob_head(&g_blob, 3, 0, 2);
    blob_key_str(&g_blob, "general.architecture", "llama");
    blob_key_u32(&g_blob, "llama.block_count", 4000000000);
    assert_int_equal(read_gguf(&c, &err), PACO_EFORMAT);
    assert_contains(err.message, "metadata 'llama.block_count' is 4000000000, outside 1 to 1000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_era_of_the_card),
        cmocka_unit_test(reads_the_era_of_transformers_5),
        cmocka_unit_test(reads_scaling_of_both_spellings),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(reads_generation_config),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(reads_metas_arguments),
        cmocka_unit_test(writes_metas_arguments),
        cmocka_unit_test(reads_gguf),
        cmocka_unit_test(finds_llama3_scaling_in_its_factors),
        cmocka_unit_test(gguf_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
