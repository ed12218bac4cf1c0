// SPDX-License-Identifier: Apache-2.0
#include "serve/call.h"

#include "base/memory.h"
#include "engine/grammar.h"
#include "serve/call_parts.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    MAX_TOKENS = 1 << 24,
    MAX_CHOICES = 1024,  /* of one request */
    MAX_NOTED = 1 << 19, /* log-probabilities that one answer may hold: some 50 MB of text */
    TEXT_TOKENS = 16,    /* of a completion that does not say, as OpenAI has it */
};

void pc_call_release(struct pc_call *c)
{
    for (size_t i = 0; i < c->n_prompts; i++) {
        pc_ids_release(&c->prompts[i].ids);
        pc_free(c->prompts[i].text);
    }
    for (size_t i = 0; i < c->n_own_stops; i++)
        pc_free(c->stops[i]);
    pc_free(c->prompts);
    pc_free(c->stops);
    pc_free(c->bias);
    pc_grammar_unref(c->sampler.grammar);
    *c = (struct pc_call){0};
}

int32_t pc_call_tokens(const struct pc_call *c, const struct pc_call_limits *l, size_t i)
{
    int64_t room = (int64_t)l->context - (int64_t)c->prompts[i].ids.n;
    int64_t wanted = c->max_tokens >= 0 ? c->max_tokens : l->default_tokens;
    return (int32_t)(wanted < room ? wanted : room);
}

int pc_call_model(
    const json_t *root, const struct pc_house *house, const struct pc_served **out, struct pc_fault *fault)
{
    const char *name = NULL;
    size_t len = 0;
    const struct pc_fields f = {root, "", fault};
    int rc = pc_field_text(&f, "model", &name, &len);
    if (rc < 0)
        return rc;
    *out = name ? pc_served_find(house, name, len) : &house->models[0];
    return *out ? 0
                : pc_fault_set(fault, 404, "model_not_found", "model",
                      "The model '%.200s' does not exist; GET /v1/models lists those that do.", name);
}

/* ---- what would change the answer, and is not there ---- */

static int refuse_others(const struct pc_call *c, const struct pc_fields *f)
{
    const json_t *tools = pc_field(f, "tools"), *choice = pc_field(f, "tool_choice");
    bool none = json_is_string(choice) && strcmp(json_string_value(choice), "none") == 0;
    if (json_array_size(tools) > 0 && !none)
        return pc_fault_set(f->fault, 400, "unsupported_parameter", "tools",
            "Unsupported parameter: 'tools' cannot be called here.");
    const json_t *suffix = pc_field(f, "suffix");
    if (c->kind == PC_CALL_TEXT && json_is_string(suffix) && json_string_length(suffix) > 0)
        return pc_fault_set(f->fault, 400, "unsupported_parameter", "suffix",
            "Unsupported parameter: 'suffix' (text behind the completion) cannot be taken into account.");
    int64_t best_of = c->n;
    int rc = pc_field_int(f, "best_of", 1, PC_CALL_MAX_N, &best_of);
    if (rc == 0 && best_of != c->n)
        return pc_fault_set(f->fault, 400, "unsupported_value", "best_of",
            "Unsupported value: 'best_of' can only be as large as 'n' here.");
    return rc;
}

/* ---- sampling ---- */

static int read_bias(struct pc_call *c, const struct pc_fields *f)
{
    const json_t *o = pc_field(f, "logit_bias");
    if (!o)
        return 0;
    if (!json_is_object(o))
        return pc_field_wrong_type(f->fault, "logit_bias", "an object", o);
    size_t n = json_object_size(o);
    if (n > PC_CALL_MAX_BIAS)
        return pc_fault_set(f->fault, 400, "invalid_value", "logit_bias",
            "Invalid value for 'logit_bias': %zu tokens; at most %d are supported.", n, PC_CALL_MAX_BIAS);
    c->bias = pc_alloc(n, sizeof *c->bias);
    if (!c->bias)
        return pc_fault_set(f->fault, 503, NULL, NULL, "out of memory");
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v)
    {
        char *end;
        long id = strtol(key, &end, 10);
        double bias = json_number_value(v);
        if (*key < '0' || *key > '9' || *end || id < 0 || id >= c->model->n_vocab)
            return pc_fault_set(f->fault, 400, "invalid_value", "logit_bias",
                "Invalid key in 'logit_bias': '%.40s' is no token id below %d.", key, c->model->n_vocab);
        if (!json_is_number(v))
            return pc_field_wrong_type(f->fault, "logit_bias", "numbers", v);
        if (!(bias >= -100 && bias <= 100))
            return pc_fault_set(f->fault, 400, "invalid_value", "logit_bias",
                "Invalid value in 'logit_bias': %g for token %ld; -100 to 100 is expected.", bias, id);
        c->bias[c->sampler.n_bias++] = (struct pc_logit_bias){(int32_t)id, (float)bias};
    }
    c->sampler.bias = c->bias;
    return 0;
}

static int read_seed(struct pc_call *c, const struct pc_fields *f)
{
    int64_t seed = 0;
    if (!pc_field(f, "seed")) {
        c->sampler.seed = 0;
        return getrandom(&c->sampler.seed, sizeof c->sampler.seed, 0) == sizeof c->sampler.seed
                   ? 0
                   : pc_fault_set(f->fault, 500, NULL, "seed", "The system has no random seed to give.");
    }
    int rc = pc_field_int(f, "seed", INT64_MIN, INT64_MAX, &seed);
    c->sampler.seed = (uint64_t)seed;
    return rc;
}

static int read_sampling(struct pc_call *c, const struct pc_fields *f)
{
    struct pc_sampler_options *s = &c->sampler;
    *s = c->model->sampling;
    int64_t top_k = s->top_k;
    int rc = pc_field_double(f, "temperature", 0, 2, &s->temperature);
    if (rc == 0)
        rc = pc_field_double(f, "top_p", 0, 1, &s->top_p);
    if (rc == 0)
        rc = pc_field_double(f, "min_p", 0, 1, &s->min_p);
    if (rc == 0)
        rc = pc_field_int(f, "top_k", -1, MAX_TOKENS, &top_k);
    if (rc == 0)
        rc = pc_field_double(f, "repetition_penalty", 1e-3, 1e3, &s->repetition_penalty);
    if (rc == 0)
        rc = pc_field_double(f, "presence_penalty", -2, 2, &s->presence_penalty);
    if (rc == 0)
        rc = pc_field_double(f, "frequency_penalty", -2, 2, &s->frequency_penalty);
    if (rc == 0)
        rc = read_bias(c, f);
    s->top_k = top_k > 0 ? (int32_t)top_k : 0;
    return rc < 0 ? rc : read_seed(c, f);
}

/* ---- where answers end ---- */

static int read_stop(
    struct pc_call *c, const json_t *v, const char *param, const char *expected, struct pc_fault *fault)
{
    if (!json_is_string(v))
        return pc_field_wrong_type(fault, param, expected, v);
    size_t len = json_string_length(v);
    if (len == 0 || len > PC_CALL_MAX_STOP_SIZE)
        return pc_fault_set(fault, 400, "invalid_value", param,
            "Invalid value for '%s': a text of %zu bytes; 1 to %d are expected.", param, len,
            PC_CALL_MAX_STOP_SIZE);
    const char *text;
    int rc = pc_field_c_string(fault, param, v, &text);
    if (rc < 0)
        return rc;
    char *copy = pc_strdup(text);
    if (!copy)
        return pc_fault_set(fault, 503, NULL, NULL, "out of memory");
    c->stops[c->n_own_stops++] = copy;
    return 0;
}

static int read_stops(struct pc_call *c, const struct pc_fields *f)
{
    const json_t *v = pc_field(f, "stop");
    size_t n = json_is_array(v) ? json_array_size(v) : v != NULL;
    size_t n_model = c->kind == PC_CALL_CHAT ? c->model->n_stops : 0;
    if (n > PC_CALL_MAX_STOPS)
        return pc_fault_set(f->fault, 400, "invalid_value", "stop",
            "Invalid value for 'stop': %zu texts; at most %d are supported.", n, PC_CALL_MAX_STOPS);
    c->stops = pc_alloc_zero(n + n_model, sizeof *c->stops);
    if (!c->stops)
        return pc_fault_set(f->fault, 503, NULL, NULL, "out of memory");
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = json_is_array(v)
                 ? read_stop(c, json_array_get(v, i), pc_item_name("stop", i).text, "a string", f->fault)
                 : read_stop(c, v, "stop", "a string or a list of strings", f->fault);
    c->n_stops = c->n_own_stops;
    for (size_t i = 0; i < n_model && rc == 0; i++)
        c->stops[c->n_stops++] = (char *)(uintptr_t)c->model->stops[i];
    return rc;
}

static int read_lengths(struct pc_call *c, const struct pc_fields *f)
{
    c->max_tokens = -1;
    /* Completions with echo may want nothing but the prompt's log-probabilities. */
    int64_t least = c->kind == PC_CALL_TEXT ? 0 : 1;
    int rc = pc_field_int(f, "max_tokens", least, INT32_MAX, &c->max_tokens);
    if (rc == 0 && c->kind == PC_CALL_CHAT)
        rc = pc_field_int(f, "max_completion_tokens", least, INT32_MAX, &c->max_tokens);
    if (c->kind == PC_CALL_TEXT && c->max_tokens < 0)
        c->max_tokens = TEXT_TOKENS;
    int64_t n = 1;
    if (rc == 0)
        rc = pc_field_int(f, "n", 1, PC_CALL_MAX_N, &n);
    c->n = (int32_t)n;
    return rc < 0 ? rc : pc_field_bool(f, "ignore_eos", &c->ignore_eos);
}

/* ---- streams and log-probabilities ---- */

static int read_stream(struct pc_call *c, const struct pc_fields *f)
{
    int rc = pc_field_bool(f, "stream", &c->stream);
    const json_t *o = pc_field(f, "stream_options");
    if (rc < 0 || !o)
        return rc;
    if (!json_is_object(o))
        return pc_field_wrong_type(f->fault, "stream_options", "an object", o);
    const struct pc_fields inner = {o, "stream_options.", f->fault};
    return pc_field_bool(&inner, "include_usage", &c->include_usage);
}

static int read_logprobs(struct pc_call *c, const struct pc_fields *f)
{
    bool on = false;
    int64_t n = -1;
    if (c->kind == PC_CALL_TEXT) {
        int rc = pc_field_int(f, "logprobs", 0, PC_CALL_MAX_LOGPROBS, &n);
        c->n_logprobs = (int32_t)n;
        return rc;
    }
    int rc = pc_field_bool(f, "logprobs", &on);
    if (rc == 0)
        rc = pc_field_int(f, "top_logprobs", 0, PC_CALL_MAX_LOGPROBS, &n);
    if (rc == 0 && n > 0 && !on)
        return pc_fault_set(
            f->fault, 400, "invalid_value", "top_logprobs", "'top_logprobs' needs 'logprobs' to be true.");
    c->n_logprobs = !on ? -1 : n < 0 ? 0 : (int32_t)n;
    return rc;
}

/* ---- what fits ---- */

static int check_prompt(
    const struct pc_call *c, const struct pc_call_limits *l, size_t i, struct pc_fault *fault)
{
    size_t n = c->prompts[i].ids.n;
    int64_t answer = c->kind == PC_CALL_EMBEDDING ? 0 : c->max_tokens >= 0 ? c->max_tokens : 1;
    const char *whole = c->kind == PC_CALL_CHAT ? "messages" : c->kind == PC_CALL_TEXT ? "prompt" : "input";
    const struct pc_item_name item = pc_item_name(whole, i);
    const char *param = c->n_prompts > 1 ? item.text : whole;
    if (n == 0)
        return pc_fault_set(fault, 400, "invalid_value", param, "'%s' has no tokens.", param);
    if ((int64_t)n + answer <= l->context)
        return 0;
    if (c->max_tokens > 0 && (int64_t)n < l->context)
        return pc_fault_set(fault, 400, "context_length_exceeded", param,
            "This model's maximum context length is %d tokens. However, you requested %lld tokens (%zu in "
            "the %s, %lld in the completion). Please reduce the length of either.",
            l->context, (long long)((int64_t)n + answer), n, param, (long long)answer);
    return pc_fault_set(fault, 400, "context_length_exceeded", param,
        "This model's maximum context length is %d tokens. However, your %s resulted in %zu tokens. Please "
        "reduce its length.",
        l->context, param, n);
}

static int check_sizes(const struct pc_call *c, const struct pc_call_limits *l, struct pc_fault *fault)
{
    int64_t noted = 0;
    for (size_t i = 0; i < c->n_prompts; i++) {
        int rc = check_prompt(c, l, i, fault);
        if (rc < 0)
            return rc;
        noted += pc_call_tokens(c, l, i) * (int64_t)c->n + (c->echo ? (int64_t)c->prompts[i].ids.n : 0);
    }
    if ((int64_t)c->n_prompts * c->n > MAX_CHOICES)
        return pc_fault_set(fault, 400, "invalid_value", "n",
            "Invalid value for 'n': %zu prompts with %d answers each are more than the %d a request may "
            "have.",
            c->n_prompts, c->n, MAX_CHOICES);
    if (c->n_logprobs >= 0 && noted * (1 + c->n_logprobs) > MAX_NOTED)
        return pc_fault_set(fault, 400, "invalid_value",
            c->kind == PC_CALL_CHAT ? "top_logprobs" : "logprobs",
            "%lld tokens with %d log-probabilities each are more than the %d a request may have.",
            (long long)noted, 1 + c->n_logprobs, MAX_NOTED);
    return 0;
}

/* ---- all of it ---- */

static int read_embedding(struct pc_call *c, const struct pc_fields *f)
{
    const char *encoding = "float";
    size_t len = 5;
    c->n = 1;
    c->max_tokens = 0;
    c->n_logprobs = -1;
    int rc = pc_field_text(f, "encoding_format", &encoding, &len);
    c->base64 = pc_field_is(pc_field(f, "encoding_format"), "base64");
    if (rc == 0 && !c->base64 && (strcmp(encoding, "float") != 0 || len != 5))
        return pc_fault_set(f->fault, 400, "invalid_value", "encoding_format",
            "Invalid value for 'encoding_format': 'float' and 'base64' are supported.");
    if (rc == 0 && pc_field(f, "dimensions"))
        return pc_fault_set(f->fault, 400, "unsupported_parameter", "dimensions",
            "Unsupported parameter: 'dimensions' cannot be changed.");
    return rc < 0 ? rc : pc_call_read_prompts(c, f, "input");
}

int pc_call_read(struct pc_call *c, enum pc_call_kind kind, const json_t *root, const struct pc_house *house,
    const struct pc_call_limits *l, struct pc_fault *fault)
{
    *c = (struct pc_call){.kind = kind};
    const struct pc_fields f = {root, "", fault};
    if (!json_is_object(root))
        return pc_fault_set(fault, 400, "invalid_type", NULL, "The body must be a JSON object, but it is %s.",
            pc_json_kind(root));
    int rc = pc_call_model(root, house, &c->model, fault);
    if (rc < 0)
        return rc;
    if (kind == PC_CALL_EMBEDDING) {
        rc = read_embedding(c, &f);
        return rc < 0 ? rc : check_sizes(c, l, fault);
    }
    rc = read_lengths(c, &f);
    if (rc == 0)
        rc = refuse_others(c, &f);
    if (rc == 0)
        rc = read_sampling(c, &f);
    if (rc == 0)
        rc = pc_call_read_form(c, &f);
    if (rc == 0 && c->ignore_eos && c->sampler.grammar)
        rc = pc_fault_set(fault, 400, "unsupported_value", "ignore_eos",
            "Unsupported value: 'ignore_eos' beside a 'response_format', whose answers end where they are "
            "complete.");
    if (rc == 0)
        rc = read_stops(c, &f);
    if (rc == 0)
        rc = read_stream(c, &f);
    if (rc == 0)
        rc = read_logprobs(c, &f);
    if (rc == 0 && kind == PC_CALL_TEXT)
        rc = pc_field_bool(&f, "echo", &c->echo);
    bool specials = true;
    if (rc == 0 && kind == PC_CALL_TEXT)
        rc = pc_field_bool(&f, "add_special_tokens", &specials);
    c->no_specials = !specials;
    if (rc == 0)
        rc = kind == PC_CALL_CHAT ? pc_call_read_messages(c, &f) : pc_call_read_prompts(c, &f, "prompt");
    return rc < 0 ? rc : check_sizes(c, l, fault);
}
