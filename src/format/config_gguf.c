// SPDX-License-Identifier: Apache-2.0
/* A struct pc_config from GGUF metadata. Only the scaling of LLaMA 3 is not there: its converter writes the
 * factor each frequency is divided by into the tensor rope_freqs.weight instead, and the parameters are found
 * again from those. */
#include "format/config.h"

#include "format/config_check.h"
#include "format/gguf.h"

#include <math.h>
#include <string.h>

static int count(const struct pc_checkpoint *ck, const char *key, bool required, int64_t max, int32_t *out,
    struct paco_error *err)
{
    int64_t v = *out;
    int rc = required ? pc_gguf_get_i64(ck, key, 1, max, &v, err) : pc_gguf_opt_i64(ck, key, 1, max, &v, err);
    *out = (int32_t)v;
    return rc;
}

static int positive(
    const struct pc_checkpoint *ck, const char *key, bool required, float *out, struct paco_error *err)
{
    double v = (double)*out;
    int rc = required ? pc_gguf_get_f64(ck, key, &v, err) : pc_gguf_opt_f64(ck, key, &v, err);
    if (rc < 0)
        return rc;
    if (!((float)v > 0 && isfinite((float)v)))
        return pc_error_file(err, PACO_EFORMAT, ck->path, pc_gguf_find(ck, key)->offset,
            "metadata '%s' is %g; a finite number above 0 is expected", key, v);
    *out = (float)v;
    return 0;
}

static bool text_is(const char *s, size_t len, const char *expected)
{
    return len == strlen(expected) && memcmp(s, expected, len) == 0;
}

static int read_kind(const struct pc_checkpoint *ck, struct paco_error *err)
{
    const char *s;
    size_t len;
    int64_t n_experts = 0;
    int rc = pc_gguf_get_str(ck, "general.architecture", &s, &len, err);
    if (rc < 0)
        return rc;
    if (!text_is(s, len, "llama"))
        return pc_error_file(err, PACO_EUNSUPPORTED, ck->path,
            pc_gguf_find(ck, "general.architecture")->offset,
            "is a model of the architecture '%.*s'; paco reads llama", (int)(len < 64 ? len : 64), s);
    rc = pc_gguf_opt_i64(ck, "llama.expert_count", 0, INT32_MAX, &n_experts, err);
    if (rc == 0 && n_experts > 0)
        return pc_error_file(err, PACO_EUNSUPPORTED, ck->path, pc_gguf_find(ck, "llama.expert_count")->offset,
            "is a mixture of %d experts, which paco does not run", (int)n_experts);
    return rc;
}

static int read_sizes(const struct pc_checkpoint *ck, struct pc_config *c, struct paco_error *err)
{
    int32_t window = 0, value_length = 0;
    int rc = count(ck, "llama.block_count", true, PC_CONFIG_MAX_LAYERS, &c->n_layers, err);
    if (rc == 0)
        rc = count(ck, "llama.embedding_length", true, PC_CONFIG_MAX_WIDTH, &c->hidden_size, err);
    if (rc == 0)
        rc = count(ck, "llama.feed_forward_length", true, PC_CONFIG_MAX_WIDTH, &c->intermediate_size, err);
    if (rc == 0)
        rc = count(ck, "llama.attention.head_count", true, PC_CONFIG_MAX_HEADS, &c->n_heads, err);
    if (rc == 0)
        rc = count(ck, "llama.attention.head_count_kv", false, PC_CONFIG_MAX_HEADS, &c->n_kv_heads, err);
    if (rc == 0)
        rc = count(ck, "llama.attention.key_length", false, PC_CONFIG_MAX_HEAD_DIM, &c->head_dim, err);
    if (rc == 0)
        rc = count(ck, "llama.attention.value_length", false, PC_CONFIG_MAX_HEAD_DIM, &value_length, err);
    if (rc == 0 && value_length && value_length != (c->head_dim ? c->head_dim : c->hidden_size / c->n_heads))
        return pc_error_file(err, PACO_EUNSUPPORTED, ck->path,
            pc_gguf_find(ck, "llama.attention.value_length")->offset,
            "'llama.attention.value_length' is %d, another size than that of keys", value_length);
    if (rc == 0)
        rc = count(ck, "llama.context_length", false, PC_CONFIG_MAX_POSITIONS, &c->max_positions, err);
    if (rc == 0)
        rc = count(ck, "llama.vocab_size", false, PC_CONFIG_MAX_VOCAB, &c->vocab_size, err);
    if (rc == 0)
        rc = count(ck, "llama.attention.sliding_window", false, PC_CONFIG_MAX_POSITIONS, &window, err);
    if (rc == 0)
        rc = positive(ck, "llama.attention.layer_norm_rms_epsilon", true, &c->rms_norm_eps, err);
    if (rc == 0 && window > 0 && window < c->max_positions)
        c->max_positions = window;
    return rc;
}

/* The table has the last word on the vocabulary's size, on biases and on whether the head is tied. */
static int read_tensors(const struct pc_checkpoint *ck, struct pc_config *c, struct paco_error *err)
{
    const struct pc_tensor *embedding = pc_checkpoint_find(ck, "token_embd.weight");
    c->tied = !pc_checkpoint_find(ck, "output.weight");
    c->attention_bias = pc_checkpoint_find(ck, "blk.0.attn_q.bias") != NULL;
    c->mlp_bias = pc_checkpoint_find(ck, "blk.0.ffn_gate.bias") != NULL;
    if (embedding && embedding->n_dims == 2 && embedding->shape[0] > 0 &&
        embedding->shape[0] <= PC_CONFIG_MAX_VOCAB) {
        c->vocab_size = (int32_t)embedding->shape[0];
        c->has_dtype = pc_dtype_traits(embedding->dtype)->is_float;
        c->dtype = embedding->dtype;
    }
    if (c->vocab_size)
        return 0;
    pc_error_set(err, PACO_EFORMAT,
        "neither 'llama.vocab_size' nor a tensor token_embd.weight gives the vocabulary's size");
    pc_error_path(err, ck->path);
    return PACO_EFORMAT;
}

/* llama.cpp multiplies what it computes itself, 0.1 ln(factor) + 1, by attn_factor. */
static int read_yarn(const struct pc_checkpoint *ck, struct pc_config *c, struct paco_error *err)
{
    static const char extent[] = "llama.rope.scaling.yarn_ext_factor";
    float times = 1, more = 1, blended = 1;
    c->rope_scaling = PC_ROPE_YARN;
    c->rope_original_positions = c->max_positions;
    int rc = count(ck, "llama.rope.scaling.original_context_length", false, PC_CONFIG_MAX_POSITIONS,
        &c->rope_original_positions, err);
    if (rc == 0)
        rc = positive(ck, "llama.rope.scaling.attn_factor", false, &times, err);
    if (rc == 0)
        rc = positive(ck, "llama.rope.scaling.yarn_attn_factor", false, &more, err);
    if (rc == 0)
        rc = positive(ck, "llama.rope.scaling.yarn_beta_fast", false, &c->rope_beta_fast, err);
    if (rc == 0)
        rc = positive(ck, "llama.rope.scaling.yarn_beta_slow", false, &c->rope_beta_slow, err);
    if (rc == 0)
        rc = positive(ck, extent, false, &blended, err);
    if (rc == 0 && blended != 1)
        return pc_error_file(err, PACO_EUNSUPPORTED, ck->path, pc_gguf_find(ck, extent)->offset,
            "'%s' is %g; paco knows 1, YaRN's own blend", extent, (double)blended);
    c->rope_attention_factor = pc_config_yarn_attention((double)c->rope_factor) * times * more;
    return rc;
}

static int read_scaling(const struct pc_checkpoint *ck, struct pc_config *c, struct paco_error *err)
{
    const char *type = "none";
    size_t len = 4;
    int32_t n_rotated = 0;
    int rc = positive(ck, "llama.rope.freq_base", false, &c->rope_theta, err);
    if (rc == 0)
        rc = count(ck, "llama.rope.dimension_count", false, PC_CONFIG_MAX_HEAD_DIM, &n_rotated, err);
    if (rc == 0 && n_rotated && n_rotated != c->head_dim)
        return pc_error_file(err, PACO_EUNSUPPORTED, ck->path,
            pc_gguf_find(ck, "llama.rope.dimension_count")->offset,
            "'llama.rope.dimension_count' is %d of %d elements of a head; paco rotates whole heads",
            n_rotated, c->head_dim);
    if (rc == 0)
        rc = pc_gguf_opt_str(ck, "llama.rope.scaling.type", &type, &len, err);
    if (rc == 0)
        rc = positive(ck, "llama.rope.scaling.factor", false, &c->rope_factor, err);
    if (rc == 0)
        rc = positive(ck, "llama.rope.scale_linear", false, &c->rope_factor, err);
    if (rc < 0)
        return rc;
    if (text_is(type, len, "linear") || pc_gguf_find(ck, "llama.rope.scale_linear"))
        c->rope_scaling = c->rope_factor == 1 ? PC_ROPE_DEFAULT : PC_ROPE_LINEAR;
    else if (text_is(type, len, "yarn"))
        rc = read_yarn(ck, c, err);
    else if (!text_is(type, len, "none") && !text_is(type, len, "llama3"))
        rc = pc_error_file(err, PACO_EUNSUPPORTED, ck->path,
            pc_gguf_find(ck, "llama.rope.scaling.type")->offset,
            "RoPE scaling of type '%.*s'; paco knows none, linear, llama3 and yarn",
            (int)(len < 64 ? len : 64), type);
    return rc;
}

/* The factor by which LLaMA 3's scaling divides a frequency: 1 for short waves, `factor` for long ones, a
 * blend between. Source: Transformers' _compute_llama3_parameters. */
static double llama3_factor(const struct pc_config *c, double frequency)
{
    double waves = c->rope_original_positions * frequency / (2 * 3.14159265358979323846);
    double low = (double)c->rope_low_freq_factor, high = (double)c->rope_high_freq_factor,
           factor = (double)c->rope_factor;
    if (waves > high)
        return 1;
    if (waves < low)
        return factor;
    double blend = (waves - low) / (high - low);
    return 1 / ((1 - blend) / factor + blend);
}

void pc_config_llama3_factors(const struct pc_config *config, float *factors)
{
    for (int i = 0; i < config->head_dim / 2; i++)
        factors[i] =
            (float)llama3_factor(config, pow((double)config->rope_theta, -2.0 * i / config->head_dim));
}

static bool explains(const struct pc_config *c, const float *factors, int n)
{
    for (int i = 0; i < n; i++) {
        double want = llama3_factor(c, pow((double)c->rope_theta, -2.0 * i / c->head_dim));
        if (!(fabs((double)factors[i] - want) <= 1e-4 * want))
            return false;
    }
    return true;
}

/* The three parameters may be scaled alike without effect, and published models use few values. */
static bool find_llama3(struct pc_config *c, const float *factors, int n)
{
    static const int positions[] = {
        8192, 4096, 2048, 16384, 32768, 65536, 131072, 262144, 1024, 512, 256, 128, 64, 32};
    static const float highs[] = {4, 2, 8, 16, 32};
    c->rope_scaling = PC_ROPE_LLAMA3;
    c->rope_factor = factors[n - 1];
    c->rope_low_freq_factor = 1;
    for (size_t p = 0; p < sizeof positions / sizeof *positions; p++)
        for (size_t h = 0; h < sizeof highs / sizeof *highs; h++) {
            c->rope_high_freq_factor = highs[h];
            c->rope_original_positions = positions[p];
            if (explains(c, factors, n))
                return true;
        }
    return false;
}

static int read_factors(const struct pc_checkpoint *ck, struct pc_config *c, struct paco_error *err)
{
    const struct pc_tensor *t = pc_checkpoint_find(ck, "rope_freqs.weight");
    if (!t)
        return 0;
    const char *path = ck->path;
    uint64_t offset = 0;
    ck->ops->where(t, &path, &offset);
    if (t->dtype != PC_F32 || t->n_dims != 1 || t->shape[0] != (uint64_t)c->head_dim / 2)
        return pc_error_file(err, PACO_EFORMAT, path, offset,
            "tensor 'rope_freqs.weight' is no vector of %d F32", c->head_dim / 2);
    float factors[PC_CONFIG_MAX_HEAD_DIM / 2];
    int n = c->head_dim / 2, n_ones = 0;
    int rc = pc_tensor_read(t, 0, t->n_rows, factors, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < n; i++)
        n_ones += factors[i] == 1;
    if (n_ones == n)
        return 0;
    if (c->rope_scaling == PC_ROPE_DEFAULT && find_llama3(c, factors, n))
        return 0;
    return pc_error_file(err, PACO_EUNSUPPORTED, path, offset,
        "the RoPE factors in 'rope_freqs.weight' are not those of LLaMA 3's scaling, the only one paco "
        "knows");
}

static int read_tokens(const struct pc_checkpoint *ck, struct pc_config *c, struct paco_error *err)
{
    int64_t bos = -1, pad = -1, eos = -1, eot = -1;
    const int64_t max = PC_CONFIG_MAX_VOCAB;
    int rc = pc_gguf_opt_i64(ck, "tokenizer.ggml.bos_token_id", 0, max, &bos, err);
    if (rc == 0)
        rc = pc_gguf_opt_i64(ck, "tokenizer.ggml.padding_token_id", 0, max, &pad, err);
    if (rc == 0)
        rc = pc_gguf_opt_i64(ck, "tokenizer.ggml.eos_token_id", 0, max, &eos, err);
    if (rc == 0)
        rc = pc_gguf_opt_i64(ck, "tokenizer.ggml.eot_token_id", 0, max, &eot, err);
    c->bos_id = (int32_t)bos;
    c->pad_id = (int32_t)pad;
    if (eos >= 0)
        c->eos_ids[c->n_eos++] = (int32_t)eos;
    if (eot >= 0 && eot != eos)
        c->eos_ids[c->n_eos++] = (int32_t)eot;
    return rc;
}

int pc_config_from_gguf(const struct pc_checkpoint *gguf, struct pc_config *out, struct paco_error *err)
{
    struct pc_config c;
    pc_config_defaults(&c);
    int rc = read_kind(gguf, err);
    if (rc == 0)
        rc = read_sizes(gguf, &c, err);
    if (rc == 0)
        rc = read_tensors(gguf, &c, err);
    if (rc == 0 && (rc = pc_config_check(&c, err)) < 0)
        pc_error_path(err, gguf->path);
    if (rc == 0)
        rc = read_scaling(gguf, &c, err);
    if (rc == 0)
        rc = read_factors(gguf, &c, err);
    if (rc == 0)
        rc = read_tokens(gguf, &c, err);
    if (rc == 0)
        *out = c;
    return rc;
}
