// SPDX-License-Identifier: Apache-2.0
/* config.json and generation_config.json. Both eras are one reader: what Transformers 5 moved into
 * rope_parameters, or renamed to dtype, is looked up there first and where it used to be second. */
#include "format/config.h"

#include "base/file.h"
#include "base/json.h"
#include "format/config_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 20 };

const char *pc_rope_scaling_name(enum pc_rope_scaling scaling)
{
    static const char *const names[] = {"default", "linear", "llama3", "yarn"};
    return names[scaling];
}

void pc_config_defaults(struct pc_config *c)
{
    *c = (struct pc_config){.max_positions = 2048,
        .rms_norm_eps = 1e-6f,
        .rope_theta = 10000,
        .rope_factor = 1,
        .rope_low_freq_factor = 1,
        .rope_high_freq_factor = 4,
        .rope_beta_fast = 32,
        .rope_beta_slow = 1,
        .rope_attention_factor = 1,
        .rope_truncate = true,
        .bos_id = -1,
        .pad_id = -1};
    snprintf(c->architecture, sizeof c->architecture, "LlamaForCausalLM");
}

/* A count between 1 and max. */
static int count(
    const json_t *o, const char *key, bool required, int64_t max, int32_t *out, struct paco_error *err)
{
    int64_t v = *out;
    int rc = required ? pc_json_get_i64(o, key, 1, max, &v, err) : pc_json_opt_i64(o, key, 1, max, &v, err);
    *out = (int32_t)v;
    return rc;
}

/* A finite number above 0. */
static int positive(const json_t *o, const char *key, float *out, struct paco_error *err)
{
    double v = (double)*out;
    int rc = pc_json_opt_f64(o, key, &v, err);
    if (rc < 0)
        return rc;
    if (!((float)v > 0 && isfinite((float)v)))
        return pc_error_set(err, PACO_EFORMAT, "\"%s\" is %g; a finite number above 0 is expected", key, v);
    *out = (float)v;
    return 0;
}

/* A token id; null and -1 mean none. */
static int token(const json_t *o, const char *key, int32_t *out, struct paco_error *err)
{
    int64_t v = *out;
    int rc = pc_json_opt_i64(o, key, -1, PC_CONFIG_MAX_VOCAB, &v, err);
    *out = (int32_t)v;
    return rc;
}

static int tokens(const json_t *o, const char *key, int32_t ids[PC_MAX_EOS], int *n, struct paco_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_array(v)) {
        int32_t id = -1;
        int rc = token(o, key, &id, err);
        *n = id >= 0;
        ids[0] = id;
        return rc;
    }
    *n = 0;
    if (json_array_size(v) > PC_MAX_EOS)
        return pc_error_set(err, PACO_ELIMIT, "\"%s\" lists %zu ids; at most %d are read", key,
            json_array_size(v), PC_MAX_EOS);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > PC_CONFIG_MAX_VOCAB)
            return pc_error_set(err, PACO_EFORMAT, "\"%s\"[%zu] is no token id", key, i);
        ids[(*n)++] = (int32_t)json_integer_value(id);
    }
    return 0;
}

/* What the file is a model of: only LLaMA's family. */
static int read_kind(const json_t *o, struct pc_config *c, struct paco_error *err)
{
    const char *type = NULL, *method = "an unnamed method";
    const char *architecture = json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
    int rc = pc_json_opt_str(o, "model_type", &type, err);
    if (rc < 0)
        return rc;
    if (architecture && strlen(architecture) >= sizeof c->architecture)
        return pc_error_set(err, PACO_EFORMAT, "the name in \"architectures\" is longer than %zu bytes",
            sizeof c->architecture - 1);
    if (architecture)
        memcpy(c->architecture, architecture, strlen(architecture) + 1);
    if (!type && !architecture)
        return pc_error_set(
            err, PACO_EFORMAT, "neither \"model_type\" nor \"architectures\" says what model this is");
    bool mistral = strcmp(type ? type : architecture, type ? "mistral" : "MistralForCausalLM") == 0;
    if (!mistral && (type ? strcmp(type, "llama") != 0 : strcasecmp(architecture, "LlamaForCausalLM") != 0))
        return pc_error_set(err, PACO_EUNSUPPORTED, "is a model of type '%s'; paco reads llama and mistral",
            type ? type : architecture);
    if (mistral && !architecture)
        snprintf(c->architecture, sizeof c->architecture, "MistralForCausalLM");
    const json_t *quantised = json_object_get(o, "quantization_config");
    if (!json_is_object(quantised))
        return 0;
    rc = pc_json_opt_str(quantised, "quant_method", &method, err);
    return rc < 0 ? rc
                  : pc_error_set(err, PACO_EUNSUPPORTED,
                        "its weights are quantised (quantization_config: %s); paco reads unquantised weights "
                        "and GGUF",
                        method);
}

static int read_sizes(const json_t *o, struct pc_config *c, struct paco_error *err)
{
    int32_t window = 0;
    int rc = count(o, "num_hidden_layers", true, PC_CONFIG_MAX_LAYERS, &c->n_layers, err);
    if (rc == 0)
        rc = count(o, "hidden_size", true, PC_CONFIG_MAX_WIDTH, &c->hidden_size, err);
    if (rc == 0)
        rc = count(o, "intermediate_size", true, PC_CONFIG_MAX_WIDTH, &c->intermediate_size, err);
    if (rc == 0)
        rc = count(o, "num_attention_heads", true, PC_CONFIG_MAX_HEADS, &c->n_heads, err);
    if (rc == 0)
        rc = count(o, "num_key_value_heads", false, PC_CONFIG_MAX_HEADS, &c->n_kv_heads, err);
    if (rc == 0)
        rc = count(o, "head_dim", false, PC_CONFIG_MAX_HEAD_DIM, &c->head_dim, err);
    if (rc == 0)
        rc = count(o, "vocab_size", true, PC_CONFIG_MAX_VOCAB, &c->vocab_size, err);
    if (rc == 0)
        rc = count(o, "max_position_embeddings", false, PC_CONFIG_MAX_POSITIONS, &c->max_positions, err);
    if (rc == 0)
        rc = count(o, "sliding_window", false, PC_CONFIG_MAX_POSITIONS, &window, err);
    if (rc == 0 && window > 0 && window < c->max_positions)
        c->max_positions = window;
    return rc;
}

static double yarn_magnitude(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

float pc_config_yarn_attention(double factor)
{
    return (float)yarn_magnitude(factor, 1);
}

static int real(const json_t *o, const char *key, double *out, struct paco_error *err)
{
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v) ? pc_json_opt_f64(o, key, out, err) : 0;
}

/* A number or null, which like 0 stands for what is usual. */
static int turns(const json_t *o, const char *key, float *out, struct paco_error *err)
{
    double v = 0;
    int rc = real(o, key, &v, err);
    if (rc == 0 && v != 0 && !(v > 0 && v < 1e6))
        return pc_error_set(err, PACO_EFORMAT, "\"%s\" is %g; a number of turns above 0 is expected", key, v);
    *out = v != 0 ? (float)v : *out;
    return rc;
}

/* Source: Transformers' _compute_yarn_parameters. */
static int read_yarn(const json_t *scaling, struct pc_config *c, struct paco_error *err)
{
    double factor = (double)c->max_positions / c->rope_original_positions, attention = 0, m = 0, m_all = 0;
    int rc = real(scaling, "factor", &factor, err);
    if (rc == 0 && !(factor > 0 && factor < 1e6))
        return pc_error_set(
            err, PACO_EFORMAT, "\"factor\" is %g; a finite number above 0 is expected", factor);
    if (rc == 0)
        rc = turns(scaling, "beta_fast", &c->rope_beta_fast, err);
    if (rc == 0)
        rc = turns(scaling, "beta_slow", &c->rope_beta_slow, err);
    if (rc == 0)
        rc = pc_json_opt_bool(scaling, "truncate", &c->rope_truncate, err);
    if (rc == 0)
        rc = real(scaling, "attention_factor", &attention, err);
    if (rc == 0)
        rc = real(scaling, "mscale", &m, err);
    if (rc == 0)
        rc = real(scaling, "mscale_all_dim", &m_all, err);
    if (rc < 0)
        return rc;
    if (attention == 0)
        attention = m != 0 && m_all != 0 ? yarn_magnitude(factor, m) / yarn_magnitude(factor, m_all)
                                         : yarn_magnitude(factor, 1);
    c->rope_factor = (float)factor;
    c->rope_attention_factor = (float)attention;
    if (!(attention > 0 && attention < 1e6))
        return pc_error_set(err, PACO_EFORMAT, "YaRN's cosines are to be multiplied by %g", attention);
    return 0;
}

static int read_scaling(const json_t *o, const json_t *scaling, struct pc_config *c, struct paco_error *err)
{
    const char *type = "default";
    int32_t original = c->max_positions;
    float partial = 1;
    int rc = pc_json_opt_str(scaling, "type", &type, err);
    if (rc == 0)
        rc = pc_json_opt_str(scaling, "rope_type", &type, err);
    if (rc < 0)
        return rc;
    if (strcmp(type, "default") == 0)
        c->rope_scaling = PC_ROPE_DEFAULT;
    else if (strcmp(type, "linear") == 0)
        c->rope_scaling = PC_ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        c->rope_scaling = PC_ROPE_LLAMA3;
    else if (strcmp(type, "yarn") == 0)
        c->rope_scaling = PC_ROPE_YARN;
    else if (strcmp(type, "dynamic") == 0)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "RoPE scaling of type 'dynamic' turns a token by how long the text behind it has become: what is "
            "cached would depend on when it was computed. paco knows default, linear, llama3 and yarn; up to "
            "%d tokens the model is the same with \"rope_scaling\": null",
            (int)c->max_positions);
    else
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "RoPE scaling of type '%s'; paco knows default, linear, llama3 and yarn", type);
    if (c->rope_scaling != PC_ROPE_DEFAULT && c->rope_scaling != PC_ROPE_YARN &&
        !json_object_get(scaling, "factor"))
        return pc_error_set(err, PACO_EFORMAT, "RoPE scaling of type '%s' has no \"factor\"", type);
    rc = c->rope_scaling == PC_ROPE_YARN ? 0 : positive(scaling, "factor", &c->rope_factor, err);
    if (rc == 0)
        rc = positive(scaling, "low_freq_factor", &c->rope_low_freq_factor, err);
    if (rc == 0)
        rc = positive(scaling, "high_freq_factor", &c->rope_high_freq_factor, err);
    if (rc == 0)
        rc = positive(scaling, "partial_rotary_factor", &partial, err);
    if (rc == 0)
        rc = count(o, "original_max_position_embeddings", false, PC_CONFIG_MAX_POSITIONS, &original, err);
    if (rc == 0)
        rc = count(
            scaling, "original_max_position_embeddings", false, PC_CONFIG_MAX_POSITIONS, &original, err);
    c->rope_original_positions = original;
    if (rc == 0 && c->rope_scaling == PC_ROPE_YARN)
        rc = read_yarn(scaling, c, err);
    if (rc == 0 && partial != 1)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "\"partial_rotary_factor\" is %g; paco rotates whole heads", (double)partial);
    return rc;
}

static int read_rope(const json_t *o, struct pc_config *c, struct paco_error *err)
{
    const char *key = "rope_parameters";
    const json_t *scaling = json_object_get(o, key);
    if (!scaling || json_is_null(scaling))
        scaling = json_object_get(o, key = "rope_scaling");
    int rc = positive(o, "rope_theta", &c->rope_theta, err);
    if (rc < 0 || !scaling || json_is_null(scaling))
        return rc;
    if (!json_is_object(scaling))
        return pc_error_set(
            err, PACO_EFORMAT, "\"%s\" is %s where an object is expected", key, pc_json_kind(scaling));
    rc = positive(scaling, "rope_theta", &c->rope_theta, err);
    if (rc == 0)
        rc = read_scaling(o, scaling, c, err);
    if (rc < 0)
        pc_error_prefix(err, "\"%s\"", key);
    return rc;
}

static void read_dtype(const json_t *o, struct pc_config *c)
{
    const char *name = json_string_value(json_object_get(o, "dtype"));
    if (!name)
        name = json_string_value(json_object_get(o, "torch_dtype"));
    if (name && strncmp(name, "torch.", 6) == 0)
        name += 6;
    for (int i = 0; name && i < PC_N_DTYPES; i++) {
        const struct pc_dtype_traits *t = pc_dtype_traits((enum pc_dtype)i);
        if (t->is_float && strcmp(t->torch_name, name) == 0) {
            c->has_dtype = true;
            c->dtype = (enum pc_dtype)i;
        }
    }
}

static int read_rest(const json_t *o, struct pc_config *c, struct paco_error *err)
{
    const char *act = "silu";
    int rc = positive(o, "rms_norm_eps", &c->rms_norm_eps, err);
    if (rc == 0)
        rc = pc_json_opt_bool(o, "tie_word_embeddings", &c->tied, err);
    if (rc == 0)
        rc = pc_json_opt_bool(o, "attention_bias", &c->attention_bias, err);
    if (rc == 0)
        rc = pc_json_opt_bool(o, "mlp_bias", &c->mlp_bias, err);
    if (rc == 0)
        rc = token(o, "bos_token_id", &c->bos_id, err);
    if (rc == 0)
        rc = token(o, "pad_token_id", &c->pad_id, err);
    if (rc == 0)
        rc = tokens(o, "eos_token_id", c->eos_ids, &c->n_eos, err);
    if (rc == 0)
        rc = pc_json_opt_str(o, "hidden_act", &act, err);
    if (rc == 0 && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        rc = pc_error_set(err, PACO_EUNSUPPORTED, "\"hidden_act\" is '%s'; paco knows silu", act);
    return rc;
}

int pc_config_check(struct pc_config *c, struct paco_error *err)
{
    if (!c->n_kv_heads)
        c->n_kv_heads = c->n_heads;
    if (c->n_heads % c->n_kv_heads != 0)
        return pc_error_set(err, PACO_EFORMAT, "%d attention heads cannot share %d key/value heads evenly",
            c->n_heads, c->n_kv_heads);
    if (!c->head_dim && c->hidden_size % c->n_heads != 0)
        return pc_error_set(
            err, PACO_EFORMAT, "a width of %d cannot be split into %d heads", c->hidden_size, c->n_heads);
    if (!c->head_dim)
        c->head_dim = c->hidden_size / c->n_heads;
    if (c->head_dim > PC_CONFIG_MAX_HEAD_DIM || c->n_heads * c->head_dim > PC_CONFIG_MAX_WIDTH)
        return pc_error_set(err, PACO_EFORMAT, "%d heads of %d elements are more than %d and %d allow",
            c->n_heads, c->head_dim, PC_CONFIG_MAX_WIDTH, PC_CONFIG_MAX_HEAD_DIM);
    if (c->head_dim % 2 != 0)
        return pc_error_set(err, PACO_EFORMAT,
            "heads of %d elements: RoPE rotates pairs, so the number must be even", c->head_dim);
    if (c->rope_scaling == PC_ROPE_LLAMA3 && !(c->rope_low_freq_factor < c->rope_high_freq_factor))
        return pc_error_set(err, PACO_EFORMAT,
            "RoPE scaling: low_freq_factor %g is not below high_freq_factor %g",
            (double)c->rope_low_freq_factor, (double)c->rope_high_freq_factor);
    return 0;
}

int pc_config_read(const char *path, struct pc_config *out, struct paco_error *err)
{
    json_t *o = NULL;
    struct pc_config c;
    pc_config_defaults(&c);
    c.bos_id = 1;
    int rc = pc_json_read(path, MAX_FILE, &o, err);
    if (rc < 0)
        return rc;
    // LlamaConfig's defaults, which its files may leave out.
    if (json_is_null(json_object_get(o, "bos_token_id")))
        c.bos_id = -1;
    rc = read_kind(o, &c, err);
    if (rc == 0)
        rc = read_sizes(o, &c, err);
    if (rc == 0)
        rc = read_rope(o, &c, err);
    if (rc == 0)
        rc = read_rest(o, &c, err);
    if (rc == 0)
        rc = pc_config_check(&c, err);
    if (!json_object_get(o, "eos_token_id")) {
        c.eos_ids[0] = 2;
        c.n_eos = 1;
    }
    read_dtype(o, &c);
    json_decref(o);
    if (rc < 0) {
        pc_error_path(err, path);
        return rc;
    }
    *out = c;
    return 0;
}

static int real_between(
    const json_t *o, const char *key, double min, double max, double *out, struct paco_error *err)
{
    double v = *out;
    int rc = pc_json_opt_f64(o, key, &v, err);
    if (rc == 0 && !(v >= min && v <= max))
        return pc_error_set(err, PACO_EFORMAT, "\"%s\" is %g, outside %g to %g", key, v, min, max);
    *out = v;
    return rc;
}

int pc_generation_config_read(const char *path, struct pc_generation_config *out, struct paco_error *err)
{
    struct pc_generation_config g = {
        .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_k = 50, .bos_id = -1, .pad_id = -1};
    json_t *o = NULL;
    *out = g;
    if (!pc_path_exists(path))
        return 0;
    int rc = pc_json_read(path, MAX_FILE, &o, err);
    if (rc < 0)
        return rc;
    int64_t top_k = g.top_k;
    rc = pc_json_opt_bool(o, "do_sample", &g.do_sample, err);
    if (rc == 0)
        rc = real_between(o, "temperature", 0, 1e6, &g.temperature, err);
    if (rc == 0)
        rc = real_between(o, "top_p", 0, 1, &g.top_p, err);
    if (rc == 0)
        rc = real_between(o, "repetition_penalty", 1e-6, 1e6, &g.repetition_penalty, err);
    if (rc == 0)
        rc = pc_json_opt_i64(o, "top_k", 0, INT32_MAX, &top_k, err);
    g.top_k = (int32_t)top_k;
    if (rc == 0)
        rc = token(o, "bos_token_id", &g.bos_id, err);
    if (rc == 0)
        rc = token(o, "pad_token_id", &g.pad_id, err);
    if (rc == 0)
        rc = tokens(o, "eos_token_id", g.eos_ids, &g.n_eos, err);
    json_decref(o);
    if (rc < 0)
        pc_error_path(err, path);
    else
        *out = g;
    return rc;
}

json_t *pc_json_short_real(float x)
{
    char text[32];
    int digits = 1;
    do
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
    while (strtof(text, NULL) != x && ++digits <= 9);
    return json_real(strtod(text, NULL));
}

static json_t *id_or_null(int32_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

static json_t *eos_value(const struct pc_config *c)
{
    if (c->n_eos <= 1)
        return id_or_null(c->n_eos ? c->eos_ids[0] : -1);
    json_t *list = json_array();
    for (int i = 0; i < c->n_eos; i++)
        json_array_append_new(list, json_integer(c->eos_ids[i]));
    return list;
}

static json_t *scaling_value(const struct pc_config *c)
{
    if (c->rope_scaling == PC_ROPE_DEFAULT)
        return json_null();
    json_t *o = json_object();
    json_object_set_new(o, "factor", pc_json_short_real(c->rope_factor));
    // Releases that knew linear alone demanded exactly the keys "type" and "factor".
    if (c->rope_scaling == PC_ROPE_LINEAR) {
        json_object_set_new(o, "type", json_string("linear"));
        return o;
    }
    json_object_set_new(o, "rope_type", json_string(pc_rope_scaling_name(c->rope_scaling)));
    json_object_set_new(o, "original_max_position_embeddings", json_integer(c->rope_original_positions));
    if (c->rope_scaling == PC_ROPE_YARN) {
        json_object_set_new(o, "attention_factor", pc_json_short_real(c->rope_attention_factor));
        json_object_set_new(o, "beta_fast", pc_json_short_real(c->rope_beta_fast));
        json_object_set_new(o, "beta_slow", pc_json_short_real(c->rope_beta_slow));
        if (!c->rope_truncate)
            json_object_set_new(o, "truncate", json_false());
        return o;
    }
    json_object_set_new(o, "low_freq_factor", pc_json_short_real(c->rope_low_freq_factor));
    json_object_set_new(o, "high_freq_factor", pc_json_short_real(c->rope_high_freq_factor));
    return o;
}

static json_t *config_value(const struct pc_config *c)
{
    bool mistral = strncmp(c->architecture, "Mistral", 7) == 0;
    json_t *o = json_pack("{s:[s], s:b, s:o, s:o, s:i, s:s, s:i, s:f, s:i, s:i, s:b, s:s, s:i, s:i, s:i, "
                          "s:o, s:o, s:o, s:o, s:b, s:b, s:i}",
        "architectures", c->architecture, "attention_bias", c->attention_bias, "bos_token_id",
        id_or_null(c->bos_id), "eos_token_id", eos_value(c), "head_dim", c->head_dim, "hidden_act", "silu",
        "hidden_size", c->hidden_size, "initializer_range", 0.02, "intermediate_size", c->intermediate_size,
        "max_position_embeddings", c->max_positions, "mlp_bias", c->mlp_bias, "model_type",
        mistral ? "mistral" : "llama", "num_attention_heads", c->n_heads, "num_hidden_layers", c->n_layers,
        "num_key_value_heads", c->n_kv_heads, "pad_token_id", id_or_null(c->pad_id), "rms_norm_eps",
        pc_json_short_real(c->rms_norm_eps), "rope_scaling", scaling_value(c), "rope_theta",
        pc_json_short_real(c->rope_theta), "tie_word_embeddings", c->tied, "use_cache", 1, "vocab_size",
        c->vocab_size);
    if (o && c->has_dtype)
        json_object_set_new(o, "torch_dtype", json_string(pc_dtype_traits(c->dtype)->torch_name));
    if (o && mistral)
        json_object_set_new(o, "sliding_window", json_null());
    return o;
}

char *pc_config_write(const struct pc_config *config)
{
    json_t *o = config_value(config);
    if (!o)
        return NULL;
    struct pc_buf b;
    pc_buf_init(&b, MAX_FILE);
    pc_json_write(&b, o, PC_JSON_SORTED_PRETTY);
    pc_buf_putc(&b, '\n');
    json_decref(o);
    return pc_buf_detach(&b);
}
