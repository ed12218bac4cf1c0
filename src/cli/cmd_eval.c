// SPDX-License-Identifier: Apache-2.0
/* paco eval: the card's benchmarks, asked of a model on this machine or behind an endpoint. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/eval_files.h"
#include "cli/eval_judge.h"
#include "cli/eval_model.h"
#include "cli/eval_options.h"
#include "cli/output.h"
#include "eval/answer_api.h"
#include "eval/answer_engine.h"
#include "eval/card.h"
#include "eval/results.h"
#include "eval/table.h"
#include "eval/tasks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_TASKS = 64, WIDE = 1000 };

struct job {
    const struct pc_command *self;
    const struct pc_eval_values *v;
    const struct pc_task *tasks[MAX_TASKS];
    struct pc_eval *evals[MAX_TASKS]; /* by task */
    size_t n_tasks;
    bool is_card, is_judging;
    struct pc_eval_result results[MAX_TASKS];
    json_t *annotated; /* results of AlpacaFarm with --annotations */
    char *data;        /* the folder */
    struct pc_answering a;
    char name[256]; /* the model's */
    json_t *model;
    struct pc_engine *engine;
    struct pc_answerer *answerer;
    struct pc_notes notes;
    struct paco_error err;
};

static bool wants_judge(const struct pc_eval_values *v)
{
    return v->judge || v->judge_api;
}

/* ---- which tasks ---- */

static int add_task(struct job *j, const char *name)
{
    const struct pc_task *task = pc_task_find(name, &j->err);
    if (!task)
        return j->err.code;
    for (size_t i = 0; i < j->n_tasks; i++)
        if (j->tasks[i] == task)
            return 0;
    if (j->n_tasks == MAX_TASKS)
        return pc_error_set(&j->err, PACO_ELIMIT, "more than %d tasks", MAX_TASKS);
    j->tasks[j->n_tasks++] = task;
    return 0;
}

static int add_name(struct job *j, const char *name)
{
    int rc = 0;
    if (strcmp(name, "card") != 0)
        return add_task(j, name);
    j->is_card = true;
    for (int i = 0; i < PC_CARD_SETTINGS && rc == 0; i++)
        rc = add_task(j, pc_card_settings[i].task);
    return rc;
}

/* "a,b" and its like. */
static int add_names(struct job *j, const char *list)
{
    int rc = 0;
    for (const char *s = list; *s && rc == 0;) {
        size_t n = strcspn(s, ",");
        char *name = pc_strndup(s, n);
        rc = name ? (n ? add_name(j, name) : 0) : pc_error_mem(&j->err, n, "a name");
        pc_free(name);
        s += n + (s[n] == ',');
    }
    return rc;
}

static int choose_tasks(struct job *j, const struct pc_strings *words)
{
    int rc = 0;
    for (size_t i = 0; i < words->n && rc == 0; i++)
        rc = add_names(j, words->v[i]);
    for (size_t i = 0; i < j->v->tasks.n && rc == 0; i++)
        rc = add_names(j, j->v->tasks.v[i]);
    if (rc == 0 && j->n_tasks == 0 && !(j->v->outputs && wants_judge(j->v)))
        rc = pc_error_set(&j->err, PACO_EINVAL, "which task? --list shows them; card is all of the card's");
    for (size_t i = 0; i < j->n_tasks && rc == 0 && !j->is_card; i++) {
        const char *flag;
        for (size_t k = 0; (flag = pc_task_flags_misfit(&j->v->flags, j->tasks[i], k)); k++)
            pc_command_note(j->self, "--%s means nothing to %s", flag, j->tasks[i]->name);
    }
    return rc;
}

static void list_tasks(const struct job *j)
{
    char card[16];
    for (const struct pc_task *const *t = pc_tasks; *t; t++) {
        if (j->v->json) {
            json_t *o = json_pack("{s:s, s:s, s:s?, s:s?, s:o}", "task", (*t)->name, "summary", (*t)->summary,
                "benchmark", (*t)->benchmark, "setting", (*t)->setting, "card_score",
                pc_json_number((*t)->card_score));
            (void)pc_print_json(o, NULL);
        } else {
            printf("%-22s %5s  %s\n", (*t)->name,
                isnan((*t)->card_score) ? "" : pc_card_round((*t)->card_score, card), (*t)->summary);
        }
    }
    if (!j->v->json)
        printf("%-22s %5s  %s\n", "card", pc_card_round(pc_card_own_average(), card),
            "all eleven of the card, and their average");
}

/* ---- data, model, place ---- */

/* Upstream's --data_file names a file: its folder. */
static int find_data(struct job *j)
{
    const char *given = j->v->data, *base = pc_path_base(given);
    if (!pc_path_exists(given)) {
        pc_error_set(&j->err, PACO_ENOENT, "there is no such folder of data");
        pc_error_path(&j->err, given);
        return PACO_ENOENT;
    }
    size_t n = pc_path_is_dir(given) || base == given ? strlen(given) : (size_t)(base - given);
    j->data = pc_path_is_dir(given) || base != given ? pc_strndup(given, n) : pc_strdup(".");
    return j->data ? 0 : pc_error_mem(&j->err, n, "a path");
}

/* The endpoint is asked what it can before anything else. */
static int open_endpoint(struct job *j)
{
    const struct pc_eval_values *v = j->v;
    const char *key = v->api_key_env ? getenv(v->api_key_env) : NULL;
    if (v->api_key_env && !key)
        return pc_error_set(&j->err, PACO_EINVAL, "--api-key-env: the environment has no %s", v->api_key_env);
    const struct pc_answer_api_options o = {.url = v->api,
        .model = v->model.model,
        .key = key,
        .chat = j->is_judging,
        .http.max_in_flight = (int)v->batch,
        .progress = pc_progress_bar(j->self),
        .notes = &j->notes};
    snprintf(j->name, sizeof j->name, "%s", v->model.model ? v->model.model : v->api);
    return pc_answer_api_open(&o, &j->answerer, &j->err);
}

static int open_model(struct job *j)
{
    static const struct pc_strings no_stops = {0};
    const struct pc_wishes wishes = {.model = &j->v->model,
        .format = "raw",
        .bos = "auto",
        .stops = &no_stops,
        .temperature = 0,
        .top_p = NAN,
        .min_p = NAN,
        .repetition_penalty = NAN,
        .top_k = -1,
        .seed = 0};
    int rc = pc_answering_open(j->self, &wishes, &j->a, &j->err);
    if (rc == 0)
        pc_source_name(j->a.model.lead, j->name, sizeof j->name);
    return rc;
}

static int open_tasks(struct job *j)
{
    int rc = 0, bos = strcmp(j->v->bos, "auto") == 0 ? -1 : strcmp(j->v->bos, "always") == 0;
    for (size_t i = 0; i < j->n_tasks && rc == 0; i++) {
        const struct pc_eval_options o = {.task = j->tasks[i],
            .flags = &j->v->flags,
            .data_dir = j->data,
            .out = j->v->out,
            .tok = j->a.tok,
            .tulu = j->a.prompter.tuned == PC_FORMAT_TULU,
            .format = j->a.prompter.tuned,
            .bos = bos,
            .model_name = j->name,
            .outputs = j->v->outputs,
            .force = j->v->force,
            .n_judges = (int)j->v->judges,
            .notes = &j->notes};
        rc = pc_eval_open(&o, &j->evals[i], &j->err);
        if (rc == 0 && j->v->api)
            rc = pc_eval_can(j->evals[i], j->answerer, pc_answer_api_can, &j->err);
    }
    return rc;
}

/* An endpoint shows nothing of its model but the name. */
static int describe_endpoint(struct job *j)
{
    j->model = json_pack("{s:s, s:s?}", "api", j->v->api, "name", j->v->model.model);
    return j->model ? 0 : pc_error_mem(&j->err, 64, "an endpoint's description");
}

static int look_at_out(struct job *j)
{
    int rc = j->v->api ? describe_endpoint(j)
                       : pc_eval_fingerprint(&j->a.model, &j->v->model, j->a.tok, pc_progress_bar(j->self),
                             &j->model, &j->err);
    pc_progress_bar_end();
    for (size_t i = 0; i < j->n_tasks && rc == 0; i++)
        rc = pc_eval_look(j->evals[i], j->model, &j->err);
    return rc;
}

/* ---- asking ---- */

static int open_answerer(struct job *j)
{
    struct pc_engine_options o = pc_model_engine_options(&j->v->model);
    pc_answer_engine_plan(&o, j->a.model.config, (int32_t)j->v->batch);
    int rc = pc_engine_open(j->a.model.weights, j->a.model.config, &o, &j->engine, &j->err);
    if (rc < 0)
        return rc;
    const struct pc_answer_engine_options ends = {.bos = -1, .eos_ids = j->a.eos, .n_eos = j->a.n_eos};
    char what[256], bytes[32];
    if (pc_command_verbose())
        pc_command_note(j->self, "%s; %s of memory at most", pc_engine_describe(j->engine, what, sizeof what),
            pc_human_bytes(pc_engine_plan_total(j->engine), bytes));
    return pc_answer_engine_open(j->engine, j->a.tok, &ends, &j->answerer, &j->err);
}

static int ask_tasks(struct job *j)
{
    int rc = 0;
    for (size_t i = 0; i < j->n_tasks && rc == 0; i++) {
        if (pc_eval_is_done(j->evals[i]))
            continue;
        // Ctrl-C is heard from here on, be it only after the weights are loaded.
        const struct pc_progress *bar = pc_progress_bar(j->self);
        if (!j->answerer)
            rc = open_answerer(j);
        if (rc == 0)
            rc = pc_eval_ask(j->evals[i], j->answerer, bar, &j->err);
        pc_progress_bar_end();
    }
    return rc;
}

/* ---- results ---- */

static int terminal_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        return size.ws_col;
    return WIDE;
}

static int print_json(struct job *j, const struct pc_card *card)
{
    int rc = 0;
    for (size_t i = 0; i < j->n_tasks && rc == 0; i++) {
        const struct pc_eval_result *r = &j->results[i];
        json_t *o = json_copy((json_t *)(uintptr_t)r->results);
        json_object_set_new(o, "n_resumed", json_integer((json_int_t)r->n_resumed));
        json_object_set_new(o, "seconds", pc_json_number(r->seconds));
        rc = pc_print_json(o, &j->err);
    }
    return rc == 0 && j->is_card ? pc_print_json(pc_card_json(card), &j->err) : rc;
}

static int print_tables(struct job *j, const struct pc_card *card)
{
    const struct pc_eval_result *list[MAX_TASKS];
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < j->n_tasks; i++)
        list[i] = &j->results[i];
    if (j->is_card)
        pc_table_card(&b, card, terminal_width());
    else
        pc_table_results(&b, list, j->n_tasks);
    int rc = pc_buf_check(&b, "a table", &j->err);
    if (rc == 0)
        fputs(b.data, stdout);
    pc_buf_release(&b);
    return rc;
}

static int write_card(struct job *j, const struct pc_card *card)
{
    json_t *o = pc_card_json(card);
    int rc = o ? pc_results_put(j->v->out, "card.json", o, PC_JSON_PRETTY, true, &j->err)
               : pc_error_mem(&j->err, 4096, "the card");
    json_decref(o);
    return rc;
}

/* AlpacaFarm's answers are there; what recorded preferences say of these very answers is their score. */
static int annotate(struct job *j, struct pc_eval_result *r)
{
    struct pc_win_rate rate = {0};
    char *path = pc_eval_outputs_path(j->v, j->name);
    int rc = path ? pc_win_rate_of_answers(NULL, j->v->annotations, path, &rate, &j->err)
                  : pc_error_mem(&j->err, 0, "a path");
    pc_free(path);
    if (rc < 0)
        return rc;
    j->annotated = json_deep_copy(r->results);
    json_t *metrics = json_object_get(j->annotated, "metrics");
    rc = pc_win_rate_put(&rate, metrics, &j->err);
    if (json_object_set_new(metrics, "not_comparable", json_string("by recorded preferences")) < 0 ||
        json_object_set_new(j->annotated, "score", pc_json_number(rate.win_rate)) < 0 ||
        json_object_set_new(j->annotated, "standard_error", pc_json_number(rate.standard_error)) < 0)
        rc = pc_error_mem(&j->err, 64, "results");
    r->score = rate.win_rate;
    r->se = rate.standard_error;
    r->results = j->annotated;
    return rc;
}

static int collect(struct job *j)
{
    int rc = 0;
    for (size_t i = 0; i < j->n_tasks && rc == 0; i++) {
        j->results[i] = *pc_eval_result(j->evals[i]);
        if (j->v->annotations && j->tasks[i] == &pc_task_alpaca_farm)
            rc = annotate(j, &j->results[i]);
    }
    return rc;
}

/* How many items failed is the exit code's business too: not all was done that was asked for. */
static int report(struct job *j)
{
    struct pc_card card = {0};
    size_t n_failed = 0, n_done = 0;
    int rc = collect(j);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < j->n_tasks; i++) {
        const struct pc_eval_result *r = &j->results[i];
        pc_card_add(&card, r);
        n_failed += r->n_failed;
        n_done += r->was_done;
    }
    rc = j->is_card ? write_card(j, &card) : 0;
    if (rc == 0)
        rc = j->v->json ? print_json(j, &card) : print_tables(j, &card);
    if (rc == 0 && n_done)
        pc_command_note(j->self, "%zu of %zu tasks were done already, by an earlier run", n_done, j->n_tasks);
    if (rc == 0 && n_failed)
        return pc_error_set(&j->err, PACO_EVERIFY,
            "%zu items failed and are part of no score; the same command asks them again", n_failed);
    return rc;
}

/* ---- the whole of it ---- */

static int run_job(struct job *j)
{
    j->notes.progress = pc_progress_bar(j->self);
    int rc = find_data(j);
    if (rc == 0)
        rc = j->v->api ? open_endpoint(j) : open_model(j);
    if (rc == 0)
        rc = open_tasks(j);
    if (rc == 0)
        rc = look_at_out(j);
    if (rc == 0)
        rc = ask_tasks(j);
    return rc == 0 ? report(j) : rc;
}

static void close_model(struct job *j)
{
    if (j->answerer)
        j->answerer->ops->close(j->answerer);
    j->answerer = NULL;
    pc_engine_close(j->engine);
    j->engine = NULL;
    pc_answering_close(&j->a);
    j->a = (struct pc_answering){0};
}

static void close_job(struct job *j)
{
    for (size_t i = 0; i < j->n_tasks; i++)
        pc_eval_close(j->evals[i]);
    close_model(j);
    json_decref(j->model);
    json_decref(j->annotated);
    pc_notes_release(&j->notes);
    pc_free(j->data);
}

/* The judge is a model like the one that answered, and judging a task: the same run again, with other values.
 */
static int judge_answers(struct job *j)
{
    bool answered = false;
    struct pc_eval_values v;
    for (size_t i = 0; i < j->n_tasks; i++)
        answered |= j->tasks[i] == &pc_task_alpaca_farm;
    char *path = answered && !j->v->outputs ? pc_eval_outputs_path(j->v, j->name) : NULL;
    int rc = pc_eval_judge_values(j->v, j->v->outputs ? j->v->outputs : path, &v, &j->err);
    if (rc == 0) {
        struct job *judge = pc_alloc_zero(1, sizeof *judge);
        rc = judge ? 0 : pc_error_mem(&j->err, sizeof *judge, "a judge");
        if (judge) {
            close_model(j); // its memory is the judge's now
            *judge = (struct job){.self = j->self, .v = &v, .is_judging = true, .n_tasks = 1};
            judge->tasks[0] = v.api ? &pc_task_alpaca_judge_text : &pc_task_alpaca_judge;
            rc = run_job(judge);
            if (rc < 0)
                j->err = judge->err;
            close_job(judge);
            pc_free(judge);
        }
    }
    pc_free(path);
    return rc;
}

/* What upstream has and paco has not, or something is missing: an exit code, or -1. */
static int refuse(const struct pc_command *self, const struct pc_eval_values *v)
{
    if (v->load_in_8bit)
        return pc_command_misuse(self, "--load_in_8bit: LLM.int8 is not emulated; --type q8_0 is near it, "
                                       "with a scale for each 32 weights");
    if (v->gptq)
        return pc_command_misuse(
            self, "--gptq: GPTQ files are not read; --type q4_k quantises to as many bits");
    if (v->openai_engine)
        return pc_command_misuse(self,
            "--openai_engine: that service's models of then are gone; --api URL --model NAME asks any "
            "OpenAI-compatible endpoint");
    if (!v->model.model && !v->api && !(v->outputs && wants_judge(v)))
        return pc_command_misuse(self, "-m MODEL is missing: which model?");
    if (!v->data)
        return pc_command_misuse(self, "--data DIR is missing: where are the benchmarks' data?");
    if (!v->out)
        return pc_command_misuse(self, "--out DIR is missing: where do the results go?");
    return -1;
}

static int run_parsed(struct job *j, struct pc_eval_values *v, const struct pc_strings *words)
{
    if (v->list) {
        list_tasks(j);
        return PC_EXIT_OK;
    }
    if (v->report)
        return pc_eval_files_report(j->self, v, words);
    if (v->compare)
        return pc_eval_files_compare(j->self, v, words);
    if (v->annotations && !v->model.model && !v->api)
        return pc_eval_print_annotations(j->self, v);
    if (pc_eval_settle(v, &j->err) < 0 || choose_tasks(j, words) < 0)
        return pc_command_fail(j->self, &j->err);
    int code = refuse(j->self, v);
    if (code >= 0)
        return code;
    int rc = j->n_tasks ? run_job(j) : 0;
    if (rc == 0 && wants_judge(v))
        rc = judge_answers(j);
    pc_progress_bar_end();
    return rc < 0 ? pc_command_fail(j->self, &j->err) : PC_EXIT_OK;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct pc_eval_values v = pc_eval_values_default();
    struct pc_args args;
    int n;
    char **expanded = pc_eval_expand(argc, argv, &n);
    if (!expanded) {
        fprintf(stderr, "paco eval: out of memory\n");
        return PC_EXIT_FAILED;
    }
    int code = pc_command_parse(self, n, expanded, &v, &args);
    if (code >= 0) {
        pc_free(expanded);
        return code;
    }
    struct job j = {.self = self, .v = &v};
    code = run_parsed(&j, &v, &args.positional);
    close_job(&j);
    pc_args_release(&args);
    pc_free(expanded);
    return code;
}

const struct pc_command pc_cmd_eval = {
    .name = "eval",
    .summary = "score a model on the card's benchmarks",
    .usage = "TASK... -m MODEL [--diff DIR] --data DIR --out DIR [options]",
    .description =
        "Asks a model the questions of each TASK (--list names them; card is all eleven settings of the\n"
        "model card) with upstream's prompts, stops, extraction and metrics, byte for byte, and prints the\n"
        "scores beside the card's. A task's name stands for the settings the card's number was made with;\n"
        "upstream's options change them, by the names they have there.\n"
        "\n"
        "OUT/TASK gets upstream's files by name and schema, results.json with what the score depends on,\n"
        "and items.jsonl with each prompt, answer and verdict. A run that is stopped or killed goes on with\n"
        "the same command, and ends with the same bytes. A question that cannot be asked is counted, shown\n"
        "and part of no mean; the exit code is 1 then.\n"
        "\n"
        "--report makes one page of folders of results that opens in any browser without a network: the\n"
        "table, charts, and every item. --compare tells whether two models differ: for each task the\n"
        "difference with its 95 % interval (bootstrap over items), McNemar's exact test, and which items\n"
        "came out otherwise.\n"
        "\n"
        "AlpacaFarm's answers are compared with text-davinci-003's: by --annotations FILE (AlpacaEval's\n"
        "annotations.json; without -m, only its win rate is printed), by --judge MODEL, or by --judge-api "
        "URL\n"
        "--judge-model NAME. Judges leave OUT/alpaca_judge or OUT/alpaca_judge_text, whose annotations.json\n"
        "is such a file. Their scores are not to be compared with the card's, which is GPT-4's.\n"
        "\n"
        "Upstream's quirks are kept. --fix undoes one: mmlu-none, gsm-quesion, gsm-sign, bbh-stop,\n"
        "bbh-match, tydiqa-bos, codex-stop.",
    .examples =
        "$ paco eval card -m tulu-7b --data data/eval --out results\n"
        "$ paco eval mmlu_0shot gsm_cot -m tuned-q4_k.gguf --data data/eval --out results --limit 20\n"
        "$ paco eval mmlu_5shot -m llama-7b --diff alpaca-diff --data data/eval --out alpaca\n"
        "$ paco eval mmlu_0shot --subjects anatomy virology -m tulu-7b --data data/eval --out two\n"
        "$ paco eval --report results alpaca --out report.html\n"
        "$ paco eval --compare results alpaca\n"
        "$ paco eval alpaca_farm -m tulu-7b --judge vicuna-13b.gguf --data data/eval --out results\n"
        "$ paco eval --annotations alpaca-7b/annotations.json\n"
        "$ paco eval --list",
    .options = pc_eval_rows,
    .run = run,
};
