// SPDX-License-Identifier: Apache-2.0
/* The body of a request, whatever its bytes: a call within its bounds, or a fault of 400 or 404 with words.
 * The first byte says which endpoint. Answers that must have a form get tokens chosen for them, and each may
 * be followed by another or end. */
#include "base/json.h"
#include "engine/constraint.h"
#include "fuzz_file.h"
#include "prompt/vocabulary.h"
#include "serve/call.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONTEXT = 4096, MOST_STEPS = 24 };

static struct pc_house g_house;
static struct pc_tokenizer *g_tok;

static void make_house(void)
{
    static struct pc_served models[2];
    static const char *const stops[] = {"\nHuman:"};
    static const int32_t eos[] = {0};
    static struct pc_spelling *spelling;
    struct paco_error err = {0};
    if (pc_vocabulary_open(PACO_FIXTURES "/tokenizer/llama3.json", &g_tok, &err) < 0 ||
        pc_spelling_new(g_tok, &spelling, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    models[0] = (struct pc_served){.name = "m",
        .n_vocab = pc_tokenizer_n_tokens(g_tok),
        .tok = g_tok,
        .spelling = spelling,
        .format = PC_FORMAT_CHATML,
        .bos = -1,
        .eos = eos,
        .n_eos = 1,
        .n_own_eos = 1,
        .stops = stops,
        .n_stops = 1,
        .sampling = {.temperature = 1}};
    models[1] = models[0];
    models[1].name = "other";
    models[1].system = "Be kind.";
    models[1].format = PC_FORMAT_TULU;
    g_house = (struct pc_house){.models = models, .n_models = 2, .context = CONTEXT};
}

static void check_call(const struct pc_call *c, const struct pc_call_limits *l)
{
    const struct pc_sampler_options *s = &c->sampler;
    if (!c->model || c->n_prompts == 0 || c->n_prompts > PC_CALL_MAX_PROMPTS || c->n < 1)
        abort();
    for (size_t i = 0; i < c->n_prompts; i++) {
        const struct pc_ids *ids = &c->prompts[i].ids;
        if (ids->n == 0 || ids->n > CONTEXT || pc_call_tokens(c, l, i) < 0 ||
            (size_t)pc_call_tokens(c, l, i) + ids->n > CONTEXT)
            abort();
        for (size_t k = 0; k < ids->n; k++)
            if (ids->v[k] < 0 || ids->v[k] >= c->model->n_vocab)
                abort();
    }
    if (c->kind != PC_CALL_EMBEDDING && pc_sampler_check(s, NULL) < 0)
        abort();
    for (size_t i = 0; i < s->n_bias; i++)
        if (!isfinite(s->bias[i].bias) || s->bias[i].id < 0 || s->bias[i].id >= c->model->n_vocab)
            abort();
    for (size_t i = 0; i < c->n_own_stops; i++)
        if (!*c->stops[i])
            abort();
}

/* What the request's own bytes choose, as long as the form goes on. */
static void follow_form(const struct pc_call *c, const uint8_t *data, size_t size)
{
    struct pc_constraint *form;
    float *score = pc_alloc((size_t)c->model->n_vocab, sizeof *score);
    struct paco_error err = {0};
    if (!score ||
        pc_constraint_new(c->sampler.spelling, c->sampler.grammar, c->model->eos, 1, &form, &err) < 0)
        abort();
    for (int step = 0; step < MOST_STEPS; step++) {
        size_t n = (size_t)c->model->n_vocab, n_left = 0;
        memset(score, 0, n * sizeof *score);
        pc_constraint_limit(form, score, n);
        for (size_t i = 0; i < n; i++)
            n_left += score[i] == 0;
        if (n_left == 0)
            break; // a form whose next step costs too much
        size_t wanted = data[(size_t)step * 7 % size] * (size_t)(step + 1) % n_left, id = 0;
        for (size_t seen = 0; id < n; id++)
            if (score[id] == 0 && seen++ == wanted)
                break;
        if (!pc_constraint_allows(form, (int32_t)id))
            abort();
        pc_constraint_accept(form, (int32_t)id);
    }
    pc_constraint_free(form);
    pc_free(score);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pc_call_limits limits = {.context = CONTEXT, .default_tokens = 256};
    json_t *root = NULL;
    struct pc_call call = {0};
    struct pc_fault fault = {0};
    if (!g_tok)
        make_house();
    if (size < 2 || pc_json_parse((const char *)data + 1, size - 1, NULL, 0, &root, NULL) < 0)
        return 0;
    int rc = pc_call_read(&call, (enum pc_call_kind)(data[0] % 3), root, &g_house, &limits, &fault);
    if (rc < 0 ? (fault.status != 400 && fault.status != 404) || !fault.message[0] || !fault.code
               : fault.status != 0)
        abort();
    if (rc == 0)
        check_call(&call, &limits);
    if (rc == 0 && call.sampler.grammar)
        follow_form(&call, data, size);
    pc_call_release(&call);
    json_decref(root);
    return 0;
}
