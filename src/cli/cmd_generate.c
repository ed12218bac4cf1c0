// SPDX-License-Identifier: Apache-2.0
/* paco generate: an answer to a prompt, or to each line of a file. */
#include "base/json.h"
#include "base/memory.h"
#include "cli/answering.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/prompts.h"
#include "engine/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INPUT = 1 << 30, DEFAULT_TOKENS = 512, N_TOP = 20, MAX_ROWS = 512 };

struct values {
    struct pc_model_args model;
    const char *prompt, *file, *ids, *format, *system, *bos, *speculate;
    struct pc_strings stops;
    int64_t n, top_k, seed, context;
    double temp, top_p, min_p, repeat_penalty;
    bool json, logits_json;
};

static const struct pc_option g_options[] = {
    PC_MODEL_ROWS(struct values, model, true),
    PC_ADAPTER_ROW(struct values, model),
    {.name = "prompt",
        .short_name = 'p',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, prompt),
        .arg = "TEXT",
        .help = "what the user says (-: standard input)"},
    {.name = "file",
        .short_name = 'f',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, file),
        .arg = "FILE",
        .help = "answer each line of a JSONL file (-: standard input)"},
    {.name = "ids",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, ids),
        .arg = "IDS",
        .help = "a prompt of token ids, \"1 2 3\", used as they are"},
    {.name = "format",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, format),
        .choices = "auto|raw|tulu|alpaca|vicuna|chatml|chatml-plain|llama2|llama3",
        .help = "how the prompt is wrapped; auto: as the model was tuned"},
    {.name = "system",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, system),
        .arg = "TEXT",
        .help = "a system message"},
    PC_BOS_ROW(struct values, bos),
    {.name = "tokens",
        .aliases = "max-new-tokens",
        .short_name = 'n',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, n),
        .arg = "N",
        .min = 0,
        .max = 1 << 24,
        .help = "most tokens of an answer (512)"},
    PC_SAMPLING_ROWS(struct values, temp, top_k, top_p, min_p, repeat_penalty, 1e6,
        "sample at T; 0 takes the best token", ""),
    {.name = "seed",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, seed),
        .arg = "N",
        .min = 0,
        .max = 9007199254740992.0,
        .help = "make sampling repeatable"},
    {.name = "stop",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, stops),
        .arg = "TEXT",
        .help = "end the answer before this text; may be given several times"},
    {.name = "context",
        .aliases = "ctx-size",
        .short_name = 'c',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, context),
        .arg = "N",
        .min = 1,
        .max = 1 << 24,
        .help = "prompt and answer together (the model's own length)"},
    {.name = "speculate",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, speculate),
        .arg = "auto|off|N",
        .help =
            "guess tokens from the text so far and compute them with the next one: as far as it pays (auto, "
            "the default), not at all, or always N; the answer is the same"},
    PC_RUN_ROWS(struct values, model),
    {.name = "json",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, json),
        .help = "print an object per answer: text, ids, counts, speeds"},
    {.name = "logits-json",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, logits_json),
        .help = "print the prompt's ids and the 20 likeliest next tokens instead of an answer"},
    {0},
};

/* Everything one run holds. */
struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_answering a;
    struct pc_prompts prompts;
    int32_t context;
    struct pc_engine *engine;
    struct pc_seq *seq;
    struct pc_sampler *sampler;
    struct pc_speculator *speculator; /* NULL: off */
    int n_guesses;                    /* a fixed number, 0: as many as pay, -1: none */
    const struct pc_progress *bar;
    bool streaming, wrote, ends_in_newline;
    struct paco_error err;
};

/* ---- prompts and room for them ---- */

static int read_prompts(struct job *j)
{
    struct pc_prompter *how = &j->a.prompter;
    if (j->v->ids)
        return pc_prompts_add_ids(&j->prompts, j->v->ids, &j->err);
    const char *path = j->v->file ? j->v->file : strcmp(j->v->prompt, "-") == 0 ? "-" : NULL;
    if (!path)
        return pc_prompts_add_text(&j->prompts, how, j->v->prompt, strlen(j->v->prompt), &j->err);
    struct pc_buf text;
    pc_buf_init(&text, MAX_INPUT);
    int rc = pc_read_input(path, &text, &j->err);
    const char *data = text.data ? text.data : "";
    if (rc == 0 && j->v->file)
        rc = pc_prompts_add_jsonl(&j->prompts, how, path, data, text.len, &j->err);
    else if (rc == 0)
        rc = pc_prompts_add_text(&j->prompts, how, data, text.len, &j->err);
    pc_buf_release(&text);
    return rc;
}

/* Tokens the answer to a prompt may have. */
static int32_t answer_tokens(const struct job *j, size_t n_prompt)
{
    int64_t room = (int64_t)j->context - (int64_t)n_prompt;
    if (j->v->logits_json)
        return 0;
    return (int32_t)(j->v->n >= 0 ? j->v->n : room < DEFAULT_TOKENS ? room : DEFAULT_TOKENS);
}

static int check_prompt(struct job *j, const struct pc_ids *prompt)
{
    size_t n = prompt->n, room = (size_t)j->context;
    int32_t answer = answer_tokens(j, n), n_vocab = j->a.model.config->vocab_size;
    if (n == 0)
        return pc_error_set(&j->err, PACO_EINVAL, "the prompt has no tokens");
    for (size_t i = 0; i < n; i++)
        if (prompt->v[i] >= n_vocab)
            return pc_error_set(&j->err, j->v->ids ? PACO_EINVAL : PACO_EMISMATCH,
                "token %d of the prompt is %d, the model's vocabulary has %d", (int)i, prompt->v[i], n_vocab);
    if (n > room || (n == room && j->v->n < 0 && !j->v->logits_json))
        return pc_error_set(
            &j->err, PACO_ELIMIT, "the prompt has %zu tokens, the context holds %d", n, j->context);
    if (n + (size_t)answer > room)
        return pc_error_set(&j->err, PACO_ELIMIT,
            "the prompt has %zu tokens and -n asks for %d more, the context holds %d", n, answer, j->context);
    return 0;
}

/* Refuse what does not fit before anything is loaded; *most is what the longest takes. */
static int check_room(struct job *j, int32_t *most)
{
    int32_t own = j->a.model.config->max_positions;
    j->context = j->v->context ? (int32_t)j->v->context : own > 0 ? own : 1 << 24;
    pc_model_remark_context(j->self, &j->a.model, j->context);
    *most = 1;
    for (size_t i = 0; i < j->prompts.n; i++) {
        int rc = check_prompt(j, &j->prompts.v[i]);
        if (rc < 0 && j->v->file)
            pc_error_prefix(&j->err, "prompt %zu", i + 1);
        if (rc < 0)
            return rc;
        int32_t n = (int32_t)j->prompts.v[i].n + answer_tokens(j, j->prompts.v[i].n);
        *most = n > *most ? n : *most;
    }
    return 0;
}

/* ---- answers ---- */

/* The bar shows a long prompt being read; once words come, it only listens for Ctrl-C. */
static int on_progress(void *ctx, const struct pc_progress_event *event)
{
    struct job *j = ctx;
    return event->total ? pc_progress(j->bar, event) : pc_progress_stopped() != 0;
}

static int on_text(void *ctx, const char *text, size_t len)
{
    struct job *j = ctx;
    if (j->streaming) {
        if (!j->wrote) {
            pc_progress_bar_end();
            j->bar = pc_progress_bar(j->self);
        }
        j->wrote = true;
        j->ends_in_newline = text[len - 1] == '\n';
        if (fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0)
            return 1;
    }
    return pc_progress_stopped() != 0;
}

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

static json_t *id_list(const struct pc_ids *ids)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->v[i]));
    return list;
}

static int print_answer(struct job *j, const struct pc_generation *g)
{
    json_t *o = json_object();
    json_object_set_new(o, "text", json_stringn(g->text.data ? g->text.data : "", g->text.len));
    json_object_set_new(o, "ids", id_list(&g->ids));
    json_object_set_new(o, "n_prompt", json_integer(g->n_prompt));
    json_object_set_new(o, "n_output", json_integer((json_int_t)g->ids.n));
    json_object_set_new(o, "stop", json_string(pc_stop_name(g->stop)));
    json_object_set_new(o, "prefill_tok_s", json_real(rate(g->n_computed, g->prefill_seconds)));
    json_object_set_new(o, "decode_tok_s", json_real(rate(g->n_decoded, g->decode_seconds)));
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)pc_peak_rss()));
    json_object_set_new(o, "planned_bytes", json_integer((json_int_t)pc_engine_plan_total(j->engine)));
    if (j->speculator) {
        json_object_set_new(o, "n_drafted", json_integer(g->n_drafted));
        json_object_set_new(o, "n_accepted", json_integer(g->n_accepted));
    }
    json_object_set_new(o, "format", json_string(pc_format_name(j->a.prompter.format)));
    if (j->a.sampling.temperature > 0)
        json_object_set_new(o, "seed", json_integer((json_int_t)j->a.sampling.seed));
    int rc = pc_print_json(o, &j->err);
    fflush(stdout);
    return rc;
}

/* One answer; *stopped when the user wanted no more. */
static int generate(struct job *j, size_t i, bool *stopped)
{
    const struct pc_ids *prompt = &j->prompts.v[i];
    const struct pc_progress progress = {on_progress, NULL, j};
    struct pc_generate_options o = {.max_tokens = answer_tokens(j, prompt->n),
        .eos_ids = j->a.eos,
        .n_eos = j->a.n_eos,
        .stops = j->a.stops,
        .n_stops = j->a.n_stops,
        .on_text = on_text,
        .ctx = j,
        .speculator = j->speculator,
        .progress = &progress};
    struct pc_generation g;
    pc_generation_init(&g);
    pc_sampler_reset(j->sampler, i);
    int rc = pc_generate(j->engine, j->a.tok, j->seq, prompt->v, prompt->n, j->sampler, &o, &g, &j->err);
    if (j->streaming && j->wrote && !j->ends_in_newline)
        putchar('\n');
    if (rc == 0 && !j->streaming)
        rc = print_answer(j, &g);
    *stopped = g.stop == PC_STOP_CANCELLED;
    if (rc == 0 && pc_command_verbose())
        pc_command_note(j->self, "%d tokens read at %.0f/s, %zu written at %.1f/s, %s%s, seed %llu",
            g.n_computed, rate(g.n_computed, g.prefill_seconds), g.ids.n, rate(g.n_decoded, g.decode_seconds),
            "ended by ", pc_stop_name(g.stop), (unsigned long long)j->a.sampling.seed);
    pc_generation_release(&g);
    return rc;
}

static int print_logits(struct job *j, size_t i, bool *stopped)
{
    const struct pc_ids *prompt = &j->prompts.v[i];
    const struct pc_progress progress = {on_progress, NULL, j};
    size_t i_row = 0;
    int rc = pc_prefill(j->engine, j->seq, prompt->v, prompt->n, &progress, &i_row, &j->err);
    *stopped = rc > 0;
    if (rc != 0)
        return rc < 0 ? rc : 0;
    struct pc_ranked top[N_TOP];
    size_t n = pc_sampler_rank(j->sampler, pc_engine_logits(j->engine, i_row), top, N_TOP);
    json_t *o = json_object(), *list = json_array();
    for (size_t k = 0; k < n; k++) {
        json_t *row = json_array();
        json_array_append_new(row, json_integer(top[k].id));
        json_array_append_new(row, pc_json_number(top[k].log_probability));
        json_array_append_new(row, pc_json_number((double)top[k].logit));
        json_array_append_new(list, row);
    }
    json_object_set_new(o, "ids", id_list(prompt));
    json_object_set_new(o, "top", list);
    rc = pc_print_json(o, &j->err);
    fflush(stdout);
    return rc;
}

/* Keep what the sequence already holds of the next prompt: a shared beginning is computed once. */
static void keep_shared(struct job *j, size_t i)
{
    size_t n = 0, held = (size_t)pc_seq_length(j->seq);
    const struct pc_ids *before = i ? &j->prompts.v[i - 1] : NULL, *next = &j->prompts.v[i];
    while (before && n < held && n < before->n && n + 1 < next->n && before->v[n] == next->v[n])
        n++;
    pc_seq_truncate(j->seq, (int32_t)n);
}

/* The longest prompt, as far as it is read at once; and a token with its guesses. */
static int32_t rows_at_once(const struct job *j)
{
    size_t n = PC_MAX_DRAFT + 1;
    for (size_t i = 0; i < j->prompts.n; i++)
        n = j->prompts.v[i].n > n ? j->prompts.v[i].n : n;
    return (int32_t)(n < MAX_ROWS ? n : MAX_ROWS);
}

static int answer_all(struct job *j)
{
    int32_t most;
    int rc = check_room(j, &most);
    if (rc < 0)
        return rc;
    struct pc_engine_options o = pc_model_engine_options(&j->v->model);
    o.max_rows = rows_at_once(j);
    o.max_logits = 1;
    o.plan_tokens = most;
    if (j->n_guesses >= 0 && !j->v->logits_json)
        o.max_logits += PC_MAX_DRAFT;
    rc = pc_sampler_new(j->a.model.config->vocab_size, &j->a.sampling, &j->sampler, &j->err);
    if (rc == 0)
        rc = pc_engine_open(j->a.model.weights, j->a.model.config, &o, &j->engine, &j->err);
    if (rc == 0)
        rc = pc_seq_new(j->engine, most, &j->seq, &j->err);
    if (rc == 0 && o.max_logits > 1)
        rc = pc_speculator_new((size_t)most, j->n_guesses, &j->speculator, &j->err);
    j->bar = pc_progress_bar(j->self);
    bool stopped = false;
    for (size_t i = 0; i < j->prompts.n && rc == 0 && !stopped; i++) {
        keep_shared(j, i);
        rc = j->v->logits_json ? print_logits(j, i, &stopped) : generate(j, i, &stopped);
    }
    pc_progress_bar_end();
    return rc;
}

static int run_job(struct job *j)
{
    const struct values *v = j->v;
    const struct pc_wishes wishes = {.model = &v->model,
        .format = v->format,
        .system = v->system,
        .bos = v->bos,
        .stops = &v->stops,
        .temperature = v->temp,
        .top_p = v->top_p,
        .min_p = v->min_p,
        .repetition_penalty = v->repeat_penalty,
        .top_k = v->top_k,
        .seed = v->seed,
        .ids_only = v->ids != NULL};
    int rc = pc_answering_open(j->self, &wishes, &j->a, &j->err);
    if (rc == 0)
        rc = read_prompts(j);
    if (rc == 0 && j->prompts.n == 0) {
        pc_command_note(j->self, "%s holds no prompts", v->file);
        return 0;
    }
    return rc == 0 ? answer_all(j) : rc;
}

static bool parse_guesses(const char *text, int *n)
{
    char *end;
    bool named = strcmp(text, "auto") == 0 || strcmp(text, "off") == 0;
    long number = strtol(text, &end, 10);
    *n = named ? (text[0] == 'a' ? 0 : -1) : number >= 1 && number <= PC_MAX_DRAFT ? (int)number : 0;
    return named || (*n > 0 && *end == '\0' && text[0] >= '1' && text[0] <= '9');
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {
        .format = "auto", .bos = "auto", .speculate = "auto", .n = -1, .top_k = -1, .seed = -1};
    v.temp = v.top_p = v.min_p = v.repeat_penalty = (double)NAN;
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v, .streaming = !v.json && !v.logits_json && !v.file};
    if (args.positional.n)
        code = pc_command_misuse(
            self, "'%s' belongs to no option: give the prompt as -p TEXT", args.positional.v[0]);
    else if ((v.prompt != NULL) + (v.file != NULL) + (v.ids != NULL) != 1)
        code = pc_command_misuse(self, "give the prompt as one of -p TEXT, -f FILE and --ids IDS");
    else if (!parse_guesses(v.speculate, &j.n_guesses))
        code = pc_command_misuse(
            self, "--speculate %s: auto, off or a number from 1 to %d", v.speculate, PC_MAX_DRAFT);
    else if (v.logits_json && v.n > 0)
        code = pc_command_misuse(self, "--logits-json looks at the prompt alone: leave -n out, or say -n 0");
    else
        code = run_job(&j) < 0 ? pc_command_fail(self, &j.err) : PC_EXIT_OK;
    if (code == PC_EXIT_OK && pc_progress_stopped())
        code = 128 + pc_progress_stopped();
    pc_seq_free(j.seq);
    pc_engine_close(j.engine);
    pc_sampler_free(j.sampler);
    pc_speculator_free(j.speculator);
    pc_prompts_release(&j.prompts);
    pc_answering_close(&j.a);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_generate = {
    .name = "generate",
    .summary = "answer a prompt, or each line of a file",
    .usage = "-m MODEL [--diff DIR] [--adapter DIR] (-p TEXT | -f FILE | --ids IDS) [options]",
    .description =
        "The prompt is wrapped in the format the model was tuned on, and only the new text is printed,\n"
        "as it comes. Tokens are chosen as generation_config.json says, else the best one each time;\n"
        "--temp, --top-k, --top-p and --min-p ask for sampling. The answer ends at an end-of-sequence\n"
        "token, at the format's own next turn, at a --stop text, or after -n tokens. A prompt that does\n"
        "not fit is refused.\n"
        "\n"
        "Each line of a FILE is an object with prompt, or messages (a list of {\"role\", \"content\"}), or\n"
        "instruction and maybe input; each answer is one line of JSON.",
    .examples = "$ paco generate -m model.gguf -p 'List three colours.'\n"
                "$ paco generate -m DIR -p 'Once upon a time' --format raw -n 100 --temp 0.8 --seed 1\n"
                "$ paco generate -m DIR -f questions.jsonl > answers.jsonl\n"
                "$ paco generate -m BASE --diff DIFF -p 'What is an alpaca?'\n"
                "$ paco generate -m DIR -p Hello --logits-json -n 0",
    .options = g_options,
    .run = run,
};
