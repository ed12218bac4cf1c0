// SPDX-License-Identifier: Apache-2.0
/* What config.json, a GGUF file's metadata or Meta's params.json says of a LLaMA-family model: a plain struct
 * with checked numbers. */
#ifndef PC_FORMAT_CONFIG_H
#define PC_FORMAT_CONFIG_H

#include "base/dtype.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct pc_checkpoint;
struct pc_buf;

enum pc_rope_scaling { PC_ROPE_DEFAULT, PC_ROPE_LINEAR, PC_ROPE_LLAMA3, PC_ROPE_YARN };

/** "default", "linear", "llama3", "yarn": as config.json has it. Static storage. */
const char *pc_rope_scaling_name(enum pc_rope_scaling scaling);

enum { PC_MAX_EOS = 8 };

/** All counts are checked against sane bounds when read (layers <= 1000, widths <= 2^20, vocabulary <= 2^24
 * ...), and against each other (heads divide by key/value heads). */
struct pc_config {
    char architecture[64]; /* "LlamaForCausalLM" */
    int32_t n_layers, hidden_size, intermediate_size;
    int32_t n_heads, n_kv_heads, head_dim;
    int32_t vocab_size, max_positions; /* rows of the embedding; tokens */
    float rms_norm_eps;
    float rope_theta;
    enum pc_rope_scaling rope_scaling;
    float rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int32_t rope_original_positions;
    /* YaRN's: how often a wave turns, and what cosines and sines are multiplied by. */
    float rope_beta_fast, rope_beta_slow, rope_attention_factor;
    bool rope_truncate;
    bool tied, attention_bias, mlp_bias;
    int32_t bos_id, pad_id; /* -1: none */
    int32_t eos_ids[PC_MAX_EOS];
    int n_eos;
    bool has_dtype;
    enum pc_dtype dtype; /* torch_dtype, if has_dtype */
};

/** generation_config.json; absent fields keep Transformers' defaults, which the init function sets. */
struct pc_generation_config {
    bool do_sample;
    double temperature, top_p, repetition_penalty;
    int32_t top_k, bos_id, pad_id;
    int32_t eos_ids[PC_MAX_EOS];
    int n_eos;
};

/** Read DIR/config.json. Model types other than llama (and mistral, which is llama to us when no sliding
 * window is in reach) are PACO_EUNSUPPORTED by name. Understands both `rope_theta`/`rope_scaling` and
 * `rope_parameters`, both `torch_dtype` and `dtype`. */
int pc_config_read(const char *path, struct pc_config *out, struct paco_error *err);

/** The same from the metadata and tensor table of a GGUF checkpoint (pc_gguf_open). LLaMA 3's RoPE scaling,
 * which GGUF keeps only as the tensor rope_freqs.weight, comes back as PC_ROPE_LLAMA3: that tensor needs no
 * use after this. */
int pc_config_from_gguf(const struct pc_checkpoint *gguf, struct pc_config *out, struct paco_error *err);

/** The same from Meta's params.json. What it leaves to its readers comes from the tensors: vocab_size is the
 * number of rows their embedding has, intermediate_size the feed-forward's inner width (0: not known; then
 * the file must say it). What the file does say goes; whether the tensors agree is for the caller to see.
 *
 *  The file knows neither the trained context nor the token ids, which Meta's code has by release: 2048 for
 * LLaMA, 4096 for LLaMA 2, 16384 for Code Llama, 8192 for LLaMA 3, 131072 from 3.1 on, told apart by
 * vocabulary, rope_theta, norm_eps and use_scaled_rope. */
int pc_config_from_meta(const char *path, int64_t vocab_size, int64_t intermediate_size,
    struct pc_config *out, struct paco_error *err);

/** Append the text of a params.json for config. What readers make of it, context and special tokens of the
 * release it looks like among it, comes back in heard: where that differs from config, the file cannot say
 * it. PACO_EUNSUPPORTED for what it has no words for at all: other RoPE scalings than LLaMA 3's. */
int pc_config_to_meta(
    const struct pc_config *config, struct pc_buf *text, struct pc_config *heard, struct paco_error *err);

/** By what LLaMA 3's scaling divides each of the head_dim / 2 frequencies, as GGUF's rope_freqs.weight holds
 * it. */
void pc_config_llama3_factors(const struct pc_config *config, float *factors);

/** Read generation_config.json; a missing file leaves the defaults and returns 0. */
int pc_generation_config_read(const char *path, struct pc_generation_config *out, struct paco_error *err);

/** What YaRN multiplies cosines and sines by where a file says nothing else: 0.1 ln(factor) + 1, or 1. */
float pc_config_yarn_attention(double factor);

/** The config.json text for a model (GGUF to Hugging Face): sorted keys, indent 2, trailing newline, the
 * fields Transformers 4.28 to 5 need. Owned (pc_free); NULL when memory is out. */
char *pc_config_write(const struct pc_config *config);

#endif
