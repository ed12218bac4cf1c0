// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "weights/adapter_config.h"

#include <math.h>
#include <pcre2.h>
#include <string.h>

enum { MAX_RANK = 65536, MAX_PATTERN = 1024, MATCH_LIMIT = 100000, HEAP_LIMIT_KIB = 1024 };

/* True for values that turn an option off: absent, null, false, 0, "", [] and {}. */
static bool is_off(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_NULL:
    case JSON_FALSE: return true;
    case JSON_INTEGER: return json_integer_value(v) == 0;
    case JSON_STRING: return json_string_length(v) == 0;
    case JSON_ARRAY: return json_array_size(v) == 0;
    case JSON_OBJECT: return json_object_size(v) == 0;
    default: return false;
    }
}

static int check_options(const json_t *root, struct paco_error *err)
{
    static const struct {
        const char *key, *what;
    } refused[] = {
        {"use_dora", "DoRA (weights are rescaled by a trained magnitude)"},
        {"use_qalora", "QALoRA (inputs are pooled in groups)"},
        {"lora_bias", "biases inside the update"},
        {"layer_replication", "repeated layers"},
        {"trainable_token_indices", "trained single tokens"},
        {"target_parameters", "updates of bare parameters"},
        {"alora_invocation_tokens", "activated LoRA (it applies to part of the text only)"},
        {"use_bdlora", "block-diagonal LoRA"},
        {"arrow_config", "Arrow routing between adapters"},
        {"kasa_config", "KaSA (trained singular values)"},
        {"velora_config", "VeLoRA"},
        {"monteclora_config", "MonteCLoRA"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!is_off(json_object_get(root, refused[i].key)))
            return pc_error_set(err, PACO_EUNSUPPORTED, "\"%s\": %s cannot be merged by this version",
                refused[i].key, refused[i].what);
    // These start from a base whose own weights were changed too, so adding B A to the published base is
    // wrong.
    static const char *const moved[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *init = json_string_value(json_object_get(root, "init_lora_weights"));
    for (size_t i = 0; init && i < sizeof moved / sizeof *moved; i++)
        if (strncmp(init, moved[i], strlen(moved[i])) == 0)
            return pc_error_set(err, PACO_EUNSUPPORTED,
                "\"init_lora_weights\" is \"%s\": this adapter belongs to a base whose weights were changed "
                "when training began; "
                "save it with PEFT's path_initial_model_for_weight_conversion to get one for the published "
                "base",
                moved[i]);
    return 0;
}

/* An object of numbers under key, or NULL. */
static int get_pattern(const json_t *root, const char *key, const json_t **out, struct paco_error *err)
{
    const json_t *v = json_object_get(root, key);
    *out = is_off(v) ? NULL : v;
    if (*out && !json_is_object(v))
        return pc_error_set(err, PACO_EFORMAT, "\"%s\" is %s, expected an object", key, pc_json_kind(v));
    return 0;
}

static int read_members(struct pc_adapter_config *c, struct paco_error *err)
{
    const char *type = NULL;
    int rc = pc_json_get_str(c->root, "peft_type", &type, err);
    if (rc == 0 && strcmp(type, "LORA") != 0)
        rc = pc_error_set(
            err, PACO_EUNSUPPORTED, "\"peft_type\" is \"%.40s\"; only LORA adapters can be merged", type);
    if (rc == 0)
        rc = check_options(c->root, err);
    if (rc == 0)
        rc = pc_json_get_i64(c->root, "r", 1, MAX_RANK, &c->r, err);
    if (rc == 0)
        rc = pc_json_get_f64(c->root, "lora_alpha", &c->alpha, err);
    if (rc == 0)
        rc = pc_json_opt_bool(c->root, "use_rslora", &c->rslora, err);
    if (rc == 0)
        rc = pc_json_opt_bool(c->root, "fan_in_fan_out", &c->fan_in_fan_out, err);
    if (rc == 0)
        rc = pc_json_opt_str(c->root, "base_model_name_or_path", &c->base, err);
    if (rc == 0)
        rc = get_pattern(c->root, "rank_pattern", &c->rank_pattern, err);
    if (rc == 0)
        rc = get_pattern(c->root, "alpha_pattern", &c->alpha_pattern, err);
    return rc;
}

int pc_adapter_config_parse(
    const char *text, size_t len, const char *path, struct pc_adapter_config *out, struct paco_error *err)
{
    *out = (struct pc_adapter_config){.path = path};
    int rc = pc_json_parse(text, len, path, 0, &out->root, err);
    if (rc < 0)
        return rc;
    if (!json_is_object(out->root))
        rc = pc_error_set(err, PACO_EFORMAT, "expected an object, found %s", pc_json_kind(out->root));
    if (rc == 0)
        rc = read_members(out, err);
    if (rc < 0)
        pc_error_path(err, path);
    return rc;
}

void pc_adapter_config_release(struct pc_adapter_config *c)
{
    json_decref(c->root);
    *c = (struct pc_adapter_config){0};
}

/* Whether PEFT's (.*\.)?(KEY)$, anchored at the start, matches name: 1, 0 or a negative code. */
static int matches(const char *key, const char *name, struct paco_error *err)
{
    char pattern[MAX_PATTERN + 16];
    if (strlen(key) > MAX_PATTERN)
        return pc_error_set(err, PACO_ELIMIT, "a pattern is longer than %d bytes", MAX_PATTERN);
    snprintf(pattern, sizeof pattern, "(.*\\.)?(%s)$", key);
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(code, text, sizeof text);
        return pc_error_set(
            err, PACO_EFORMAT, "pattern \"%.100s\" is no regular expression: %s", key, (const char *)text);
    }
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int rc = PCRE2_ERROR_NOMEMORY;
    if (data && limits) {
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        pcre2_set_heap_limit(limits, HEAP_LIMIT_KIB);
        rc = pcre2_match(re, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, limits);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
        return rc >= 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return pc_error_mem(err, sizeof pattern, "a regular expression");
    return pc_error_set(err, PACO_EFORMAT, "pattern \"%.100s\" takes too long to match '%.200s'", key, name);
}

/* The value of the first key in patterns (may be NULL) that matches name, or NULL in *out. */
static int find(const json_t *patterns, const char *name, const json_t **out, struct paco_error *err)
{
    *out = NULL;
    // jansson's iterators take a non-const object and change nothing.
    json_t *object = (json_t *)(uintptr_t)patterns;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        int rc = matches(json_object_iter_key(it), name, err);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            *out = json_object_iter_value(it);
            return 0;
        }
    }
    return 0;
}

int pc_adapter_config_module(
    const struct pc_adapter_config *c, const char *name, int64_t *r, float *scale, struct paco_error *err)
{
    const json_t *rank = NULL, *alpha = NULL;
    int rc = find(c->rank_pattern, name, &rank, err);
    if (rc == 0)
        rc = find(c->alpha_pattern, name, &alpha, err);
    if (rc < 0) {
        pc_error_path(err, c->path);
        return rc;
    }
    json_int_t found = rank ? json_integer_value(rank) : c->r;
    if ((rank && !json_is_integer(rank)) || found < 1 || found > MAX_RANK ||
        (alpha && !json_is_number(alpha))) {
        rc = pc_error_set(err, PACO_EFORMAT,
            "the pattern for '%.200s' is no rank of 1 to %d, or its alpha no number", name, MAX_RANK);
        pc_error_path(err, c->path);
        return rc;
    }
    *r = found;
    double a = alpha ? json_number_value(alpha) : c->alpha;
    *scale = (float)(a / (c->rslora ? sqrt((double)found) : (double)found));
    return 0;
}

static void write_names(struct pc_buf *out, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pc_buf_printf(out, "%s\n    \"%s\"", i ? "," : "[", names[i]);
    pc_buf_puts(out, n ? "\n  ]" : "null");
}

void pc_adapter_config_write(const struct pc_adapter_made *m, struct pc_buf *out)
{
    pc_buf_puts(out, "{\n  \"base_model_name_or_path\": ");
    pc_json_write_string(out, m->base, strlen(m->base), true);
    pc_buf_puts(out, ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n  \"inference_mode\": true,\n"
                     "  \"init_lora_weights\": true,\n  \"lora_alpha\": ");
    pc_json_write_double(out, m->alpha);
    pc_buf_puts(out, ",\n  \"lora_dropout\": ");
    pc_json_write_double(out, m->dropout);
    pc_buf_puts(out, ",\n  \"modules_to_save\": ");
    write_names(out, m->saved, m->n_saved);
    pc_buf_printf(out,
        ",\n  \"peft_type\": \"LORA\",\n  \"r\": %llu,\n  \"target_modules\": ", (unsigned long long)m->rank);
    write_names(out, m->targets, m->n_targets);
    pc_buf_printf(
        out, ",\n  \"task_type\": \"CAUSAL_LM\",\n  \"use_rslora\": %s\n}\n", m->rslora ? "true" : "false");
}
