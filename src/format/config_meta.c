// SPDX-License-Identifier: Apache-2.0
/* params.json, the arguments of Meta's model class. Half of what a configuration needs is not in it: the
 * inner width follows from a formula, the vocabulary comes from the tokenizer (-1), context and special
 * tokens are constants of each release's code. What is written is read back at once, so that what a reader
 * will make of it is known, and can be said. */
#include "base/file.h"
#include "base/json.h"
#include "format/config.h"
#include "format/config_check.h"

#include <math.h>

enum {
    MAX_FILE = 1 << 20,
    LLAMA3_VOCAB = 128256,
    LLAMA3_BASE = 128000, /* ranks; special tokens follow */
    SMALL_WIDTH = 4096, /* LLaMA 3.2's 1B and 3B, narrower than any other with scaled RoPE, stretch it more */
};

static int count(
    const json_t *o, const char *key, bool required, int64_t max, int32_t *out, struct paco_error *err)
{
    int64_t v = *out;
    int rc = required ? pc_json_get_i64(o, key, 1, max, &v, err) : pc_json_opt_i64(o, key, 1, max, &v, err);
    *out = (int32_t)v;
    return rc;
}

static int positive(const json_t *o, const char *key, double *out, struct paco_error *err)
{
    int rc = pc_json_opt_f64(o, key, out, err);
    if (rc == 0 && !((float)*out > 0 && isfinite((float)*out)))
        return pc_error_set(
            err, PACO_EFORMAT, "\"%s\" is %g; a finite number above 0 is expected", key, *out);
    return rc;
}

static int read_sizes(const json_t *o, struct pc_config *c, struct paco_error *err)
{
    int rc = count(o, "dim", true, PC_CONFIG_MAX_WIDTH, &c->hidden_size, err);
    if (rc == 0)
        rc = count(o, "n_layers", true, PC_CONFIG_MAX_LAYERS, &c->n_layers, err);
    if (rc == 0)
        rc = count(o, "n_heads", true, PC_CONFIG_MAX_HEADS, &c->n_heads, err);
    if (rc == 0)
        rc = count(o, "n_kv_heads", false, PC_CONFIG_MAX_HEADS, &c->n_kv_heads, err);
    return rc == 0 ? count(o, "head_dim", false, PC_CONFIG_MAX_HEAD_DIM, &c->head_dim, err) : rc;
}

static double unrounded_inner(const struct pc_config *c, double multiplier)
{
    int64_t two_thirds = 8 * (int64_t)c->hidden_size / 3; // of four times the width, whole as in Meta's code
    return floor(multiplier * (double)two_thirds);
}

static int64_t round_up(int64_t n, int64_t multiple_of)
{
    return (n + multiple_of - 1) / multiple_of * multiple_of;
}

/* multiple_of * ceil(int(multiplier * int(8 dim / 3)) / multiple_of), as the feed-forward's constructor has
 * it; 0 when the file does not say. Mistral's files have it plainly as hidden_dim. */
static int inner_of_formula(
    const json_t *o, const struct pc_config *c, int64_t *inner, struct paco_error *err)
{
    int64_t multiple_of = 0;
    double multiplier = 1;
    int rc = pc_json_opt_i64(o, "hidden_dim", 1, PC_CONFIG_MAX_WIDTH, inner, err);
    if (rc == 0)
        rc = pc_json_opt_i64(o, "multiple_of", 1, PC_CONFIG_MAX_WIDTH, &multiple_of, err);
    if (rc == 0)
        rc = positive(o, "ffn_dim_multiplier", &multiplier, err);
    if (rc < 0 || *inner || !multiple_of)
        return rc;
    double width = unrounded_inner(c, multiplier);
    if (!(width >= 1 && width <= PC_CONFIG_MAX_WIDTH))
        return pc_error_set(
            err, PACO_EFORMAT, "\"ffn_dim_multiplier\" is %g: a width of %g", multiplier, width);
    *inner = round_up((int64_t)width, multiple_of);
    return 0;
}

static int read_inner(const json_t *o, int64_t found, struct pc_config *c, struct paco_error *err)
{
    int64_t inner = 0;
    int rc = inner_of_formula(o, c, &inner, err);
    if (rc < 0)
        return rc;
    inner = inner ? inner : found;
    if (inner < 1 || inner > PC_CONFIG_MAX_WIDTH)
        return pc_error_set(err, PACO_EFORMAT, "the feed-forward's width is %lld; 1 to %d is expected",
            (long long)inner, PC_CONFIG_MAX_WIDTH);
    c->intermediate_size = (int32_t)inner;
    return 0;
}

static int read_vocab(const json_t *o, int64_t found, struct pc_config *c, struct paco_error *err)
{
    int64_t said = -1;
    int rc = pc_json_opt_i64(o, "vocab_size", -1, PC_CONFIG_MAX_VOCAB, &said, err);
    if (rc < 0)
        return rc;
    said = said > 0 ? said : found;
    if (said < 1 || said > PC_CONFIG_MAX_VOCAB)
        return pc_error_set(err, PACO_EFORMAT, "\"vocab_size\" is %lld, and no tensor says what it should be",
            (long long)said);
    c->vocab_size = (int32_t)said;
    return 0;
}

static bool is_llama3(const struct pc_config *c)
{
    return c->vocab_size >= LLAMA3_VOCAB;
}

static int read_rope(const json_t *o, struct pc_config *c, struct paco_error *err)
{
    bool scaled = false;
    double theta = (double)c->rope_theta, factor = c->hidden_size < SMALL_WIDTH ? 32 : 8;
    int rc = positive(o, "rope_theta", &theta, err);
    if (rc == 0)
        rc = pc_json_opt_bool(o, "use_scaled_rope", &scaled, err);
    if (rc == 0)
        rc = positive(o, "rope_scaling_factor", &factor, err);
    if (rc < 0)
        return rc;
    c->rope_theta = (float)theta;
    if (scaled) {
        c->rope_scaling = PC_ROPE_LLAMA3;
        c->rope_factor = (float)factor;
        c->rope_original_positions = 8192;
    }
    return 0;
}

/* LLaMA's two smaller releases differ in the epsilon alone; its 65B has LLaMA 2's, but no grouped heads,
 * which LLaMA 2 has at that width. */
static int read_positions(const json_t *o, bool grouped, struct pc_config *c, struct paco_error *err)
{
    int32_t window = 0;
    bool first = c->rms_norm_eps < 5e-6f || (c->hidden_size == 8192 && !grouped);
    c->max_positions = c->rope_scaling == PC_ROPE_LLAMA3 ? 131072
                       : is_llama3(c)                    ? 8192
                       : c->rope_theta > 10000           ? 16384
                       : first                           ? 2048
                                                         : 4096;
    int rc = count(o, "max_seq_len", false, PC_CONFIG_MAX_POSITIONS, &c->max_positions, err);
    if (rc == 0)
        rc = count(o, "sliding_window", false, PC_CONFIG_MAX_POSITIONS, &window, err);
    if (rc == 0 && window > 0 && window < c->max_positions)
        c->max_positions = window;
    return rc;
}

/* Whether a model of LLaMA 3 is tuned for chat is written nowhere, so its turns' ends end an answer too: the
 * plain model never writes them. */
static void set_tokens(struct pc_config *c)
{
    c->bos_id = is_llama3(c) ? LLAMA3_BASE : 1;
    c->n_eos = 0;
    c->eos_ids[c->n_eos++] = is_llama3(c) ? LLAMA3_BASE + 1 : 2;
    if (c->rope_scaling == PC_ROPE_LLAMA3 && is_llama3(c))
        c->eos_ids[c->n_eos++] = LLAMA3_BASE + 8;
    if (is_llama3(c))
        c->eos_ids[c->n_eos++] = LLAMA3_BASE + 9;
}

static int read_all(
    const json_t *o, int64_t vocab_size, int64_t inner, struct pc_config *c, struct paco_error *err)
{
    // Some releases wrap the arguments.
    const json_t *wrapped = json_object_get(o, "model");
    o = json_is_object(wrapped) ? wrapped : o;
    double eps = 1e-5;
    const json_t *moe = json_object_get(o, "moe");
    if (moe && !json_is_null(moe))
        return pc_error_set(err, PACO_EUNSUPPORTED, "is a mixture of experts, which paco does not run");
    int rc = read_sizes(o, c, err);
    bool grouped = c->n_kv_heads > 0;
    if (rc == 0)
        rc = positive(o, "norm_eps", &eps, err);
    c->rms_norm_eps = (float)eps;
    if (rc == 0)
        rc = read_inner(o, inner, c, err);
    if (rc == 0)
        rc = read_vocab(o, vocab_size, c, err);
    if (rc == 0)
        rc = read_rope(o, c, err);
    if (rc == 0)
        rc = read_positions(o, grouped, c, err);
    if (rc == 0)
        set_tokens(c);
    return rc == 0 ? pc_config_check(c, err) : rc;
}

int pc_config_from_meta(const char *path, int64_t vocab_size, int64_t intermediate_size,
    struct pc_config *out, struct paco_error *err)
{
    struct pc_config c;
    json_t *o = NULL;
    pc_config_defaults(&c);
    int rc = pc_json_read(path, MAX_FILE, &o, err);
    if (rc < 0)
        return rc;
    rc = read_all(o, vocab_size, intermediate_size, &c, err);
    json_decref(o);
    if (rc < 0) {
        pc_error_path(err, path);
        return rc;
    }
    *out = c;
    return 0;
}

/* ---- writing ---- */

static bool formula_gives(const struct pc_config *c, double multiplier, int64_t multiple_of)
{
    double width = unrounded_inner(c, multiplier);
    return width >= 1 && width <= PC_CONFIG_MAX_WIDTH &&
           round_up((int64_t)width, multiple_of) == c->intermediate_size;
}

/* The formula's two numbers for an inner width: of few digits, as the releases have them, where that is
 * possible. */
static bool find_formula(const struct pc_config *c, double *multiplier, int64_t *multiple_of)
{
    static const int64_t usual[] = {256, 1024, 4096};
    for (int tenths = 10; tenths != 9; tenths = tenths == 40 ? 1 : tenths + 1)
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
            *multiplier = tenths / 10.0;
            *multiple_of = usual[i];
            if (formula_gives(c, *multiplier, *multiple_of))
                return true;
        }
    int64_t step = c->intermediate_size & -(int64_t)c->intermediate_size;
    *multiple_of = step < 256 ? step : 256;
    int64_t third = 8 * (int64_t)c->hidden_size / 3;
    double middle = (double)c->intermediate_size + 1 - (double)*multiple_of / 2, scale = 1;
    for (int digits = 1; digits <= 15; digits++) {
        scale *= 10;
        *multiplier = round(middle / (double)third * scale) / scale;
        if (*multiplier > 0 && formula_gives(c, *multiplier, *multiple_of))
            return true;
    }
    return false;
}

static int check_scaling(const struct pc_config *c, struct paco_error *err)
{
    if (c->rope_scaling == PC_ROPE_DEFAULT)
        return 0;
    if (c->rope_scaling != PC_ROPE_LLAMA3)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "RoPE scaling of type '%s' has no place in Meta's params.json, which knows LLaMA 3's alone",
            pc_rope_scaling_name(c->rope_scaling));
    if (c->rope_low_freq_factor == 1 && c->rope_high_freq_factor == 4 && c->rope_original_positions == 8192)
        return 0;
    return pc_error_set(err, PACO_EUNSUPPORTED,
        "LLaMA 3's RoPE scaling with the factors %g and %g of %d positions has no place in Meta's "
        "params.json, "
        "which stands for 1 and 4 of 8192",
        (double)c->rope_low_freq_factor, (double)c->rope_high_freq_factor, (int)c->rope_original_positions);
}

/* Nothing but what Meta's model class takes: it refuses what it does not know. */
static json_t *make_params(const struct pc_config *c, double multiplier, int64_t multiple_of)
{
    json_t *o = json_pack("{s:i, s:I, s:i, s:i, s:o, s:i}", "dim", (int)c->hidden_size, "multiple_of",
        (json_int_t)multiple_of, "n_heads", (int)c->n_heads, "n_layers", (int)c->n_layers, "norm_eps",
        pc_json_short_real(c->rms_norm_eps), "vocab_size", (int)c->vocab_size);
    bool good = o != NULL;
    if (c->n_kv_heads != c->n_heads)
        good = json_object_set_new(o, "n_kv_heads", json_integer(c->n_kv_heads)) == 0 && good;
    if (c->n_heads * c->head_dim != c->hidden_size)
        good = json_object_set_new(o, "head_dim", json_integer(c->head_dim)) == 0 && good;
    if (multiplier != 1)
        good = json_object_set_new(o, "ffn_dim_multiplier", json_real(multiplier)) == 0 && good;
    if (c->rope_theta != 10000)
        good = json_object_set_new(o, "rope_theta", pc_json_short_real(c->rope_theta)) == 0 && good;
    if (c->rope_scaling == PC_ROPE_LLAMA3) {
        good = json_object_set_new(o, "use_scaled_rope", json_true()) == 0 && good;
        if (c->rope_factor != (c->hidden_size < SMALL_WIDTH ? 32 : 8))
            good = json_object_set_new(o, "rope_scaling_factor", pc_json_short_real(c->rope_factor)) == 0 &&
                   good;
    }
    if (good)
        return o;
    json_decref(o);
    return NULL;
}

int pc_config_to_meta(
    const struct pc_config *config, struct pc_buf *text, struct pc_config *heard, struct paco_error *err)
{
    double multiplier;
    int64_t multiple_of;
    int rc = check_scaling(config, err);
    if (rc < 0)
        return rc;
    if (!find_formula(config, &multiplier, &multiple_of))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "a feed-forward's width of %d is none that Meta's formula gives for a width of %d",
            (int)config->intermediate_size, (int)config->hidden_size);
    json_t *o = make_params(config, multiplier, multiple_of);
    if (!o)
        return pc_error_mem(err, 1024, "params.json");
    pc_json_write(text, o, PC_JSON_SORTED_PRETTY);
    pc_buf_putc(text, '\n');
    pc_config_defaults(heard);
    rc = pc_buf_check(text, "params.json", err);
    if (rc == 0)
        rc = read_all(o, 0, 0, heard, err);
    json_decref(o);
    return rc;
}
