// SPDX-License-Identifier: Apache-2.0
/* paco data generate: new instructions from a model behind an endpoint. */
#include "base/memory.h"
#include "cli/data_parts.h"
#include "cli/output.h"
#include "data/self_instruct.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct values {
    const char *output_dir, *seed_tasks, *prompt, *model, *api, *key_env;
    int64_t n_wanted, n_prompt, batch, max_tokens, threads, seed;
    double temperature, top_p, prompt_price, completion_price;
    bool chat, no_logit_bias, plan, json;
};

#define ROW_OF(member) .offset = offsetof(struct values, member)

static const struct pc_option g_options[] = {
    {.name = "api",
        .type = PC_OPT_STRING,
        ROW_OF(api),
        .arg = "URL",
        .help = "an OpenAI-compatible endpoint, http://host:8000/v1"},
    {.name = "api-key-env",
        .type = PC_OPT_STRING,
        ROW_OF(key_env),
        .arg = "NAME",
        .help = "the environment variable that holds its key"},
    {.name = "api-chat", .type = PC_OPT_FLAG, ROW_OF(chat), .help = "ask chat/completions, not completions"},
    {.name = "model_name",
        .aliases = "model",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        ROW_OF(model),
        .arg = "NAME",
        .help = "the model's name there"},
    {.name = "output_dir",
        .aliases = "out",
        .short_name = 'o',
        .type = PC_OPT_STRING,
        ROW_OF(output_dir),
        .arg = "DIR",
        .help = "where regen.json goes (./)"},
    {.name = "seed_tasks_path",
        .type = PC_OPT_STRING,
        ROW_OF(seed_tasks),
        .arg = "FILE",
        .help = "the tasks to begin with (./seed_tasks.jsonl)"},
    {.name = "prompt_path",
        .type = PC_OPT_STRING,
        ROW_OF(prompt),
        .arg = "FILE",
        .help = "what stands before them in a prompt (./prompt.txt)"},
    {.name = "num_instructions_to_generate",
        .aliases = "n",
        .short_name = 'n',
        .type = PC_OPT_INT,
        ROW_OF(n_wanted),
        .arg = "N",
        .min = 1,
        .max = 1e9,
        .help = "how many there are to be in the end (100)"},
    {.name = "num_prompt_instructions",
        .type = PC_OPT_INT,
        ROW_OF(n_prompt),
        .arg = "N",
        .min = 1,
        .max = 16,
        .help = "tasks in a prompt (3)"},
    {.name = "request_batch_size",
        .type = PC_OPT_INT,
        ROW_OF(batch),
        .arg = "N",
        .min = 1,
        .max = 64,
        .help = "prompts asked at once (5)"},
    {.name = "max_tokens",
        .type = PC_OPT_INT,
        ROW_OF(max_tokens),
        .arg = "N",
        .min = 16,
        .max = 1 << 20,
        .help = "of a reply at most (3072)"},
    {.name = "temperature",
        .aliases = "temp",
        .type = PC_OPT_FLOAT,
        ROW_OF(temperature),
        .arg = "T",
        .min = 0,
        .max = 10,
        .help = "of sampling (1)"},
    {.name = "top_p",
        .type = PC_OPT_FLOAT,
        ROW_OF(top_p),
        .arg = "P",
        .min = 0,
        .max = 1,
        .help = "share of probability sampled from (1)"},
    {.name = "no_logit_bias",
        .type = PC_OPT_FLAG,
        ROW_OF(no_logit_bias),
        .help = "do not forbid token 50256, which is GPT-3's end of text and may be anything elsewhere"},
    {.name = "seed",
        .type = PC_OPT_INT,
        ROW_OF(seed),
        .arg = "N",
        .min = 0,
        .max = 9007199254740991.0,
        .help = "of which tasks are in a prompt (42)"},
    {.name = "prompt-price",
        .type = PC_OPT_FLOAT,
        ROW_OF(prompt_price),
        .arg = "X",
        .min = 0,
        .max = 1e9,
        .help = "what a million prompt tokens cost"},
    {.name = "completion-price",
        .type = PC_OPT_FLOAT,
        ROW_OF(completion_price),
        .arg = "X",
        .min = 0,
        .max = 1e9,
        .help = "what a million tokens of replies cost"},
    {.name = "plan", .type = PC_OPT_FLAG, ROW_OF(plan), .help = "say what it will take, and ask nothing"},
    {.name = "num_cpus",
        .aliases = "threads",
        .short_name = 't',
        .type = PC_OPT_INT,
        ROW_OF(threads),
        .arg = "N",
        .min = 0,
        .max = 512,
        .help = "threads that compare texts (0: all processors)"},
    PC_JSON_ROW(struct values, json),
    {0},
};

/* What an estimate rests on, before anything came: a reply goes on to the prompt's twentieth task; of what
 * comes some six in ten are kept; a token is four bytes; and a task some 90 tokens. */
enum { TASKS_ASKED_FOR = 20, KEPT_OF_TEN = 6, BYTES_OF_TOKEN = 4, TOKENS_OF_TASK = 90 };

struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_generate_result result;
    int64_t prompt_tokens, completion_tokens; /* of this run */
    size_t first_total;
    bool began;
};

static double price(const struct values *v, double prompt_tokens, double completion_tokens)
{
    return (prompt_tokens * v->prompt_price + completion_tokens * v->completion_price) / 1e6;
}

/* ---- while it goes ---- */

static void say_left(const struct job *j, const struct pc_generate_step *s)
{
    const struct values *v = j->v;
    size_t made = s->n_total - j->first_total, wanted = (size_t)v->n_wanted;
    if (!made || s->n_total >= wanted || s->prompt_tokens < 0)
        return;
    double more = (double)(wanted - s->n_total) / (double)made, prompts = more * (double)j->prompt_tokens,
           completions = more * (double)j->completion_tokens;
    char text[64] = "";
    if (v->prompt_price > 0 || v->completion_price > 0)
        snprintf(text, sizeof text, ", at your prices %.2f more", price(v, prompts, completions));
    pc_command_note(j->self, "%zu of %zu; some %.0f prompt and %.0f reply tokens to go%s", s->n_total, wanted,
        prompts, completions, text);
}

static void on_step(void *ctx, const struct pc_generate_step *s)
{
    struct job *j = ctx;
    if (!j->began)
        j->first_total = s->n_total - s->n_kept;
    j->began = true;
    j->prompt_tokens += s->prompt_tokens > 0 ? s->prompt_tokens : 0;
    j->completion_tokens += s->completion_tokens > 0 ? s->completion_tokens : 0;
    pc_command_note(j->self, "Request %" PRIu64 " took %.2fs, processing took %.2fs", s->request,
        s->request_seconds, s->process_seconds);
    pc_command_note(j->self, "Generated %zu instructions, kept %zu instructions", s->n_found, s->n_kept);
    say_left(j, s);
}

/* ---- the results ---- */

static int print_result(const struct job *j, struct paco_error *err)
{
    const struct pc_generate_result *r = &j->result;
    double cost = price(j->v, (double)r->prompt_tokens, (double)r->completion_tokens);
    if (j->v->json)
        return pc_print_json(
            json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:f}", "out", json_string_nocheck(j->v->output_dir),
                "instructions", (json_int_t)r->n_total, "new", (json_int_t)r->n_new, "requests",
                (json_int_t)r->n_requests, "prompt_tokens", (json_int_t)r->prompt_tokens, "completion_tokens",
                (json_int_t)r->completion_tokens, "cost", cost),
            err);
    pc_print_text(j->v->output_dir, 0);
    printf("/regen.json: %zu instructions, %zu of them new, from %" PRIu64 " requests", r->n_total, r->n_new,
        r->n_requests);
    if (cost > 0)
        printf(", for %.2f", cost);
    printf("\n");
    return 0;
}

static int print_plan(const struct job *j, struct paco_error *err)
{
    const struct pc_generate_result *r = &j->result;
    const struct values *v = j->v;
    double left = v->n_wanted > (int64_t)r->n_total ? (double)(v->n_wanted - (int64_t)r->n_total) : 0;
    double tasks = TASKS_ASKED_FOR > v->n_prompt ? (double)(TASKS_ASKED_FOR - v->n_prompt) : 1;
    double prompts = left / (tasks * KEPT_OF_TEN / 10),
           prompt_tokens = prompts * (double)r->prompt_bytes / BYTES_OF_TOKEN,
           completion_tokens = prompts * tasks * TOKENS_OF_TASK;
    if (v->json)
        return pc_print_json(
            json_pack("{s:I, s:I, s:f, s:f, s:f, s:f}", "seeds", (json_int_t)r->n_seeds, "there",
                (json_int_t)r->n_total, "prompts", prompts, "prompt_tokens", prompt_tokens,
                "completion_tokens", completion_tokens, "cost", price(v, prompt_tokens, completion_tokens)),
            err);
    printf("%zu seeds; %zu instructions are there, %.0f to come\n", r->n_seeds, r->n_total, left);
    printf("some %.0f prompts of %zu bytes: %.0f tokens sent, %.0f received\n", prompts, r->prompt_bytes,
        prompt_tokens, completion_tokens);
    if (v->prompt_price > 0 || v->completion_price > 0)
        printf("at your prices: %.2f\n", price(v, prompt_tokens, completion_tokens));
    printf("(if %.0f tasks come back of each prompt, %d in ten are kept, a token is %d bytes, and a task %d "
           "tokens)\n",
        tasks, KEPT_OF_TEN, BYTES_OF_TOKEN, TOKENS_OF_TASK);
    return 0;
}

/* ---- the command ---- */

static int generate(struct job *j, struct paco_error *err)
{
    const struct values *v = j->v;
    const char *key = v->key_env ? getenv(v->key_env) : NULL;
    struct pc_notes notes = {.progress = pc_progress_bar(j->self)};
    const struct pc_openai_options api = {
        .url = v->api, .model = v->model, .key = key, .http.max_in_flight = (int)v->batch};
    struct pc_generate_options o = {.output_dir = v->output_dir,
        .seed_tasks = v->seed_tasks,
        .prompt = v->prompt,
        .n_wanted = (uint64_t)v->n_wanted,
        .seed = (uint64_t)v->seed,
        .n_prompt = (uint32_t)v->n_prompt,
        .batch = (uint32_t)v->batch,
        .max_tokens = (int32_t)v->max_tokens,
        .temperature = v->temperature,
        .top_p = v->top_p,
        .api = &api,
        .chat = v->chat,
        .no_logit_bias = v->no_logit_bias,
        .progress = notes.progress,
        .notes = &notes,
        .on_step = on_step,
        .ctx = j};
    if (v->key_env && !key)
        return pc_error_set(err, PACO_EINVAL, "--api-key-env: the environment has no %s", v->key_env);
    struct pc_pool *pool = pc_pool_new((int)v->threads, err);
    o.pool = pool;
    int rc = !pool     ? err->code
             : v->plan ? pc_data_generate_plan(&o, &j->result, err)
                       : pc_data_generate(&o, &j->result, err);
    pc_progress_bar_end();
    pc_pool_free(pool);
    pc_notes_release(&notes);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.output_dir = ".",
        .seed_tasks = "./seed_tasks.jsonl",
        .prompt = "./prompt.txt",
        .n_wanted = 100,
        .n_prompt = 3,
        .batch = 5,
        .max_tokens = 3072,
        .seed = 42,
        .temperature = 1,
        .top_p = 1};
    struct paco_error err = {0};
    struct pc_args args;
    int code = pc_command_parse_options(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v};
    if (!v.api && !v.plan) {
        code = pc_command_misuse(self, "which endpoint? --api URL, or --plan to ask none");
    } else {
        int rc = generate(&j, &err);
        if (rc == 0)
            rc = v.plan ? print_plan(&j, &err) : print_result(&j, &err);
        code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    }
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_data_generate = {
    .name = "data generate",
    .summary = "new instructions from a model, by the example of a few (self-instruct)",
    .usage = "--api URL -m NAME [--output_dir DIR] [options]",
    .description =
        "Asks a model for more tasks like three that are drawn from seed_tasks.jsonl, as Stanford Alpaca's\n"
        "generate_instruction.py does: with its prompt, stop words and filters; a task whose instruction is "
        "too\n"
        "much like one that is there (ROUGE-L above 0.7) is dropped. DIR/regen.json has what was kept.\n"
        "\n"
        "DIR/regen.jsonl keeps what each batch of requests gave, before the next is asked: the same command "
        "goes\n"
        "on after an interruption. seed_tasks.jsonl and prompt.txt come with paco data fetch "
        "stanford_alpaca.\n"
        "--plan says what it will take; prices are yours to name.",
    .examples = "$ paco data generate --plan -n 52000 --prompt-price 2 --completion-price 8\n"
                "$ paco data generate --api http://localhost:8000/v1 -m mymodel -n 1000 --output_dir new",
    .options = g_options,
    .run = run,
};
