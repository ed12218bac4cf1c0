// SPDX-License-Identifier: Apache-2.0
#include "cli/chat_answer.h"

#include "base/host.h"
#include "base/memory.h"
#include "net/openai_stream.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ROWS = 512, DEFAULT_CONTEXT = 8192 };

struct pc_chat_answerer {
    struct pc_chat_wishes w;
    struct pc_chat_figures figures;
    char ended[32];
    /* Here. */
    struct pc_answering a;
    struct pc_engine *engine;
    struct pc_seq *seq;
    struct pc_sampler *sampler;
    struct pc_speculator *speculator;
    struct pc_ids held; /* the tokens that seq holds keys and values of, and maybe one more */
    int32_t context;
    /* The answer under way. */
    pc_chat_on_text *on_text;
    void *ctx;
    double start;
};

/* ---- a model here ---- */

static int open_engine(struct pc_chat_answerer *a, struct paco_error *err)
{
    int32_t own = a->a.model.config->max_positions;
    a->context = a->w.context                       ? (int32_t)a->w.context
                 : own > 0 && own < DEFAULT_CONTEXT ? own
                                                    : DEFAULT_CONTEXT;
    pc_model_remark_context(a->w.self, &a->a.model, a->context);
    struct pc_engine_options o = pc_model_engine_options(&a->w.model);
    o.max_rows = a->context < MAX_ROWS ? a->context : MAX_ROWS;
    o.max_rows = o.max_rows > PC_MAX_DRAFT ? o.max_rows : PC_MAX_DRAFT + 1;
    o.max_logits = 1 + PC_MAX_DRAFT;
    o.plan_tokens = a->context;
    int rc = pc_sampler_new(a->a.model.config->vocab_size, &a->a.sampling, &a->sampler, err);
    if (rc == 0)
        rc = pc_engine_open(a->a.model.weights, a->a.model.config, &o, &a->engine, err);
    if (rc == 0)
        rc = pc_seq_new(a->engine, a->context, &a->seq, err);
    return rc == 0 ? pc_speculator_new((size_t)a->context, 0, &a->speculator, err) : rc;
}

static int open_model(struct pc_chat_answerer *a, struct paco_error *err)
{
    const struct pc_chat_settings *s = &a->w.settings;
    const struct pc_wishes wishes = {.model = &a->w.model,
        .format = a->w.format,
        .bos = a->w.bos,
        .stops = a->w.stops,
        .temperature = s->temperature,
        .top_p = s->top_p,
        .min_p = s->min_p,
        .repetition_penalty = s->repetition_penalty,
        .top_k = s->top_k,
        .seed = s->seed};
    int rc = pc_answering_open(a->w.self, &wishes, &a->a, err);
    return rc == 0 ? open_engine(a, err) : rc;
}

int pc_chat_answerer_open(
    const struct pc_chat_wishes *wishes, struct pc_chat_answerer **out, struct paco_error *err)
{
    struct pc_chat_answerer *a = pc_alloc_zero(1, sizeof *a);
    if (!a)
        return pc_error_mem(err, sizeof *a, "a conversation");
    a->w = *wishes;
    int rc = 0;
    if (wishes->model.model) {
        char *name = pc_strdup(wishes->model.model);
        a->w.model.model = name;
        rc = name ? 0 : pc_error_mem(err, 0, "a name");
    }
    if (rc == 0 && !wishes->api)
        rc = open_model(a, err);
    if (rc < 0) {
        pc_chat_answerer_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

void pc_chat_answerer_close(struct pc_chat_answerer *a)
{
    char *name;
    if (!a)
        return;
    pc_seq_free(a->seq);
    pc_engine_close(a->engine);
    pc_sampler_free(a->sampler);
    pc_speculator_free(a->speculator);
    pc_ids_release(&a->held);
    if (!a->w.api)
        pc_answering_close(&a->a);
    memcpy(&name, &a->w.model.model, sizeof name); // its own, unlike a command line's
    pc_free(name);
    pc_free(a);
}

/* Keep what the sequence holds of the prompt's beginning. */
static void keep_shared(struct pc_chat_answerer *a, const struct pc_ids *prompt)
{
    size_t n = 0, length = (size_t)pc_seq_length(a->seq);
    while (n < length && n < a->held.n && n < prompt->n && a->held.v[n] == prompt->v[n])
        n++;
    pc_seq_truncate(a->seq, (int32_t)n);
}

static int hold(
    struct pc_chat_answerer *a, struct pc_ids *prompt, const struct pc_ids *more, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < more->n && rc == 0; i++)
        rc = pc_ids_add(prompt, more->v[i], err);
    pc_ids_release(&a->held);
    a->held = *prompt;
    *prompt = (struct pc_ids){0};
    return rc;
}

static int on_progress(void *ctx, const struct pc_progress_event *event)
{
    struct pc_chat_answerer *a = ctx;
    (void)event;
    return a->on_text(a->ctx, "", 0);
}

static int on_piece(void *ctx, const char *text, size_t len)
{
    struct pc_chat_answerer *a = ctx;
    if (len && a->figures.first_seconds == 0)
        a->figures.first_seconds = pc_seconds() - a->start;
    return a->on_text(a->ctx, text, len);
}

static int check_room(const struct pc_chat_answerer *a, size_t n, struct paco_error *err)
{
    if (n < (size_t)a->context)
        return 0;
    return pc_error_set(err, PACO_ELIMIT,
        "the conversation has %zu tokens with this message, and the context holds %d with the answer: /undo "
        "takes back what was said last, /new begins again, -c allows more where the model does",
        n, a->context);
}

static int answer_here(
    struct pc_chat_answerer *a, const struct pc_ids *prompt, struct pc_generation *g, struct paco_error *err)
{
    const struct pc_progress progress = {on_progress, NULL, a};
    int32_t room = a->context - (int32_t)prompt->n;
    int64_t most = a->w.settings.tokens;
    bool limited = most >= 0 && most < room;
    const struct pc_generate_options o = {.max_tokens = limited ? (int32_t)most : room,
        .eos_ids = a->a.eos,
        .n_eos = a->a.n_eos,
        .stops = a->a.stops,
        .n_stops = a->a.n_stops,
        .on_text = on_piece,
        .ctx = a,
        .speculator = a->speculator,
        .progress = &progress};
    int rc = pc_generate(a->engine, a->a.tok, a->seq, prompt->v, prompt->n, a->sampler, &o, g, err);
    a->figures.n_prompt = g->n_prompt;
    a->figures.n_computed = g->n_computed;
    a->figures.n_output = (int64_t)g->ids.n;
    a->figures.prefill_seconds = g->prefill_seconds;
    a->figures.decode_seconds = g->decode_seconds;
    snprintf(a->ended, sizeof a->ended, "%s",
        g->stop == PC_STOP_LENGTH && !limited ? "context" : pc_stop_name(g->stop));
    return rc;
}

static int ask_model(struct pc_chat_answerer *a, const struct pc_talk *talk, uint64_t stream,
    struct pc_buf *text, struct paco_error *err)
{
    struct pc_ids prompt = {0};
    struct pc_generation g;
    const struct pc_prompter *p = &a->a.prompter;
    int rc = pc_format_encode(p->format, p->tok, talk->v, talk->n, p->bos, &prompt, err);
    if (rc == 0)
        rc = prompt.n ? check_room(a, prompt.n, err)
                      : pc_error_set(err, PACO_EINVAL, "the message has no tokens");
    if (rc == 0) {
        keep_shared(a, &prompt);
        pc_generation_init(&g);
        pc_sampler_reset(a->sampler, stream);
        rc = answer_here(a, &prompt, &g, err);
        if (g.text.len)
            pc_buf_add(text, g.text.data, g.text.len);
        int held = hold(a, &prompt, &g.ids, rc == 0 ? err : NULL);
        rc = rc < 0 ? rc : held;
        pc_generation_release(&g);
    }
    pc_ids_release(&prompt);
    return rc;
}

/* ---- behind an endpoint ---- */

static void hint_at_key(const struct pc_chat_answerer *a, struct paco_error *err)
{
    char said[sizeof err->message];
    snprintf(said, sizeof said, "%s", err->message);
    pc_error_set(err, err->code, "%s (%s)", said,
        a->w.key ? "is it the right key that --api-key-env names?"
                 : "--api-key-env NAME: the environment variable that holds the key");
}

static int ask_endpoint(
    struct pc_chat_answerer *a, const struct pc_talk *talk, struct pc_buf *text, struct paco_error *err)
{
    const struct pc_chat_settings *s = &a->w.settings;
    struct pc_openai_streamed out;
    struct pc_openai_turn *turns = pc_alloc_zero(talk->n + 1, sizeof *turns);
    if (!turns)
        return pc_error_mem(err, talk->n * sizeof *turns, "messages");
    for (size_t i = 0; i < talk->n; i++)
        turns[i] = (struct pc_openai_turn){talk->v[i].role, talk->v[i].content};
    const struct pc_openai_stream request = {.url = a->w.api,
        .model = a->w.model.model,
        .key = a->w.key,
        .turns = turns,
        .n_turns = talk->n,
        .max_tokens = s->tokens > 0 ? (int32_t)s->tokens : 0,
        .top_k = (int32_t)s->top_k,
        .temperature = s->temperature,
        .top_p = s->top_p,
        .min_p = s->min_p,
        .has_seed = s->seed >= 0,
        .seed = s->seed,
        .stops = a->w.stops->v,
        .n_stops = a->w.stops->n,
        .http = {.max_tries = 3, .timeout = -1, .stall_timeout = 300},
        .on_text = on_piece,
        .ctx = a};
    int rc = pc_openai_stream(&request, &out, err);
    if (rc < 0 && out.status == 401)
        hint_at_key(a, err);
    if (out.text.len)
        pc_buf_add(text, out.text.data, out.text.len);
    snprintf(a->ended, sizeof a->ended, "%s", out.finish_reason);
    a->figures.n_prompt = out.prompt_tokens;
    a->figures.n_output = out.completion_tokens;
    a->figures.n_computed = -1;
    a->figures.decode_seconds = pc_seconds() - a->start - a->figures.first_seconds;
    pc_openai_streamed_release(&out);
    pc_free(turns);
    return rc;
}

int pc_chat_answer(struct pc_chat_answerer *a, const struct pc_talk *talk, uint64_t stream,
    pc_chat_on_text *on_text, void *ctx, struct pc_buf *text, struct paco_error *err)
{
    a->on_text = on_text;
    a->ctx = ctx;
    a->start = pc_seconds();
    a->figures = (struct pc_chat_figures){0};
    a->ended[0] = '\0';
    int rc = a->w.api ? ask_endpoint(a, talk, text, err) : ask_model(a, talk, stream, text, err);
    return rc == 0 ? pc_buf_check(text, "the answer", err) : rc;
}

/* ---- what is said of it, and set ---- */

const char *pc_chat_ended(const struct pc_chat_answerer *a)
{
    return a->ended;
}

const struct pc_chat_figures *pc_chat_figures(const struct pc_chat_answerer *a)
{
    return &a->figures;
}

int32_t pc_chat_context(const struct pc_chat_answerer *a)
{
    return a->context;
}

void pc_chat_describe(const struct pc_chat_answerer *a, struct pc_buf *out)
{
    char name[600], shown[600];
    if (a->w.api) {
        pc_printable(a->w.model.model ? a->w.model.model : "the model", name, sizeof name);
        pc_buf_printf(out, "%s at %s", name, pc_http_shown_url(a->w.api, shown, sizeof shown));
        return;
    }
    pc_source_name(a->a.model.lead, name, sizeof name);
    pc_buf_printf(out, "%s, format %s, %d tokens of context", pc_printable(name, shown, sizeof shown),
        pc_format_name(a->a.prompter.format), a->context);
}

enum pc_format pc_chat_format(const struct pc_chat_answerer *a)
{
    return a->w.api ? PC_FORMAT_AUTO : a->a.prompter.format;
}

int pc_chat_set_format(struct pc_chat_answerer *a, enum pc_format format, struct paco_error *err)
{
    int rc = 0;
    for (const char *const *s = pc_format_stops(format); *s && rc == 0; s++)
        rc = pc_answering_add_stop(&a->a, *s, err);
    if (rc == 0)
        a->a.prompter.format = format;
    return rc;
}

static void overlay(struct pc_sampler_options *o, const struct pc_chat_settings *s)
{
    o->temperature = isnan(s->temperature) ? o->temperature : s->temperature;
    o->top_p = isnan(s->top_p) ? o->top_p : s->top_p;
    o->min_p = isnan(s->min_p) ? o->min_p : s->min_p;
    o->repetition_penalty = isnan(s->repetition_penalty) ? o->repetition_penalty : s->repetition_penalty;
    o->top_k = s->top_k < 0 ? o->top_k : (int32_t)s->top_k;
    o->seed = s->seed < 0 ? o->seed : (uint64_t)s->seed;
}

int pc_chat_set(struct pc_chat_answerer *a, const struct pc_chat_settings *settings, struct paco_error *err)
{
    struct pc_sampler *sampler = NULL;
    struct pc_sampler_options o = a->a.sampling;
    if (!a->w.api) {
        overlay(&o, settings);
        int rc = pc_sampler_new(a->a.model.config->vocab_size, &o, &sampler, err);
        if (rc < 0)
            return rc;
        pc_sampler_free(a->sampler);
        a->sampler = sampler;
        a->a.sampling = o;
    }
    a->w.settings = *settings;
    return 0;
}

bool pc_chat_is_greedy(const struct pc_chat_answerer *a)
{
    return !a->w.api && a->a.sampling.temperature == 0;
}
