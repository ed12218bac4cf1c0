// SPDX-License-Identifier: Apache-2.0
/* paco eval: the card's benchmarks, asked of a model on this machine or behind an endpoint. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/eval_files.h"
#include "cli/eval_judge.h"
#include "cli/eval_party.h"
#include "cli/eval_ranks.h"
#include "cli/output.h"
#include "eval/card.h"
#include "eval/results.h"
#include "eval/table.h"
#include "eval/tasks.h"
#include "eval/win_rate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDE = 1000 };

struct job {
    const struct pc_command *self;
    const struct pc_eval_values *v;
    bool is_card;
    char *data;            /* the folder */
    const char *data_file; /* what --data names, where that is a file */
    char *outputs;         /* what the judge judges */
    struct pc_eval_values judge_values;
    struct pc_comm *comm;
    struct pc_party party, judge;
    struct pc_eval_result results[2 * PC_MAX_TASKS]; /* the party's, then the judge's */
    size_t n_results;
    json_t *annotated; /* results of AlpacaFarm with --annotations */
    struct paco_error err;
};

static bool has_judge(const struct pc_eval_values *v)
{
    return v->judge || v->judge_api;
}

/* ---- which tasks ---- */

static int add_task(struct job *j, const char *name)
{
    const struct pc_task *task = pc_task_find(name, &j->err);
    if (!task)
        return j->err.code;
    for (size_t i = 0; i < j->party.n_tasks; i++)
        if (j->party.tasks[i] == task)
            return 0;
    if (j->party.n_tasks == PC_MAX_TASKS)
        return pc_error_set(&j->err, PACO_ELIMIT, "more than %d tasks", PC_MAX_TASKS);
    j->party.tasks[j->party.n_tasks++] = task;
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
    if (rc == 0 && j->party.n_tasks == 0 && !(j->v->outputs && has_judge(j->v)))
        rc = pc_error_set(&j->err, PACO_EINVAL, "which task? --list shows them; card is all of the card's");
    for (size_t i = 0; i < j->party.n_tasks && rc == 0 && !j->is_card; i++) {
        const char *flag;
        for (size_t k = 0; (flag = pc_task_flags_misfit(&j->v->flags, j->party.tasks[i], k)); k++)
            pc_command_note(j->self, "--%s means nothing to %s", flag, j->party.tasks[i]->name);
    }
    return rc;
}

static int list_tasks(struct job *j)
{
    char card[16];
    int rc = 0;
    for (const struct pc_task *const *t = pc_tasks; *t && rc == 0; t++) {
        if (j->v->json) {
            json_t *o = json_pack("{s:s, s:s, s:s?, s:s?, s:o}", "task", (*t)->name, "summary", (*t)->summary,
                "benchmark", (*t)->benchmark, "setting", (*t)->setting, "card_score",
                pc_json_number((*t)->card_score));
            rc = pc_print_json(o, &j->err);
        } else {
            printf("%-22s %5s  %s\n", (*t)->name,
                isnan((*t)->card_score) ? "" : pc_card_round((*t)->card_score, card), (*t)->summary);
        }
    }
    if (!j->v->json)
        printf("%-22s %5s  %s\n", "card", pc_card_round(pc_card_own_average(), card),
            "all eleven of the card, and their average");
    return rc;
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
    j->data_file = pc_path_is_dir(given) ? NULL : given;
    size_t n = pc_path_is_dir(given) || base == given ? strlen(given) : (size_t)(base - given);
    while (j->data_file && n > 1 && given[n - 1] == '/')
        n--;
    j->data = pc_path_is_dir(given) || base != given ? pc_strndup(given, n) : pc_strdup(".");
    return j->data ? 0 : pc_error_mem(&j->err, n, "a path");
}

/* The results go to folders in --out, which is made: what stands in their way is said before anything is
 * read. */
static int check_out(struct job *j)
{
    char *path = pc_strdup(j->v->out);
    int rc = path ? 0 : pc_error_mem(&j->err, strlen(j->v->out), "a path");
    // The nearest that exists is a folder; where it is not --out itself, one can be made in it.
    const char *place = path;
    while (rc == 0 && !pc_path_exists(place)) {
        char *slash = strrchr(path, '/');
        place = !slash ? "." : slash == path ? "/" : path;
        if (slash)
            *slash = '\0';
    }
    if (rc == 0 && !pc_path_is_dir(place))
        rc = pc_error_set(
            &j->err, PACO_EEXIST, "is a file: --out names a folder, and each task gets one in it");
    else if (rc == 0 && access(place, W_OK | X_OK) < 0 && !pc_path_exists(j->v->out))
        rc = pc_error_os(&j->err, errno, "no folder can be made here for the results");
    if (rc < 0)
        pc_error_path(&j->err, place);
    pc_free(path);
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

/* AlpacaFarm's answers are there; what recorded preferences say of these very answers is their score. */
static int annotate(struct job *j, struct pc_eval_result *r)
{
    struct pc_win_rate rate = {0};
    char *path = pc_eval_outputs_path(j->v, j->party.name);
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
    const struct pc_party *const parties[] = {&j->party, &j->judge};
    int rc = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < parties[k]->n_tasks && rc == 0; i++) {
            struct pc_eval_result *r = &j->results[j->n_results++];
            *r = *pc_eval_result(parties[k]->evals[i]);
            if (j->v->annotations && parties[k]->tasks[i] == &pc_task_alpaca_farm)
                rc = annotate(j, r);
        }
    return rc;
}

static int print_json(struct job *j, const struct pc_card *card)
{
    int rc = 0;
    for (size_t i = 0; i < j->n_results && rc == 0; i++) {
        const struct pc_eval_result *r = &j->results[i];
        json_t *o = json_copy((json_t *)(uintptr_t)r->results);
        int bad = json_object_set_new(o, "n_resumed", json_integer((json_int_t)r->n_resumed));
        bad |= json_object_set_new(o, "seconds", pc_json_number(r->seconds));
        if (bad) {
            json_decref(o);
            o = NULL; // pc_print_json says what that means
        }
        rc = pc_print_json(o, &j->err);
    }
    return rc == 0 && j->is_card ? pc_print_json(pc_card_json(card), &j->err) : rc;
}

static int print_tables(struct job *j, const struct pc_card *card)
{
    const struct pc_eval_result *list[2 * PC_MAX_TASKS];
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < j->n_results; i++)
        list[i] = &j->results[i];
    if (j->is_card)
        pc_table_card(&b, card, terminal_width());
    else
        pc_table_results(&b, list, j->n_results);
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

/* How many items failed is the exit code's business too: not all was done that was asked for. */
static int report(struct job *j)
{
    struct pc_card card = {0};
    size_t n_failed = 0, n_done = 0;
    int rc = collect(j);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < j->n_results; i++) {
        pc_card_add(&card, &j->results[i]);
        n_failed += j->results[i].n_failed;
        n_done += j->results[i].was_done;
    }
    rc = j->is_card ? write_card(j, &card) : 0;
    if (rc == 0)
        rc = j->v->json ? print_json(j, &card) : print_tables(j, &card);
    if (rc == 0 && n_done)
        pc_command_note(
            j->self, "%zu of %zu tasks were done already, by an earlier run", n_done, j->n_results);
    if (rc == 0 && n_failed)
        return pc_error_set(&j->err, PACO_EVERIFY,
            "%zu items failed and are part of no score; the same command asks them again", n_failed);
    return rc;
}

/* ---- the judge ---- */

/* Before anything is asked: there is such a model, and something for it to judge. */
static int look_for_judge(struct job *j)
{
    bool answered = j->v->outputs != NULL;
    for (size_t i = 0; i < j->party.n_tasks; i++)
        answered |= j->party.tasks[i] == &pc_task_alpaca_farm;
    int rc = pc_eval_judge_values(j->v, answered ? "" : NULL, &j->judge_values, &j->err);
    char *path = rc == 0 && j->v->judge ? pc_source_find(j->v->judge, &j->err) : NULL;
    if (rc == 0 && j->v->judge && !path)
        rc = j->err.code;
    pc_free(path);
    return rc;
}

/* The judge is a model like the one that answered, and judging a task. */
static int run_judge(struct job *j, int rc)
{
    struct pc_party *p = &j->judge;
    const struct pc_eval_values *v = &j->judge_values;
    if (rc == 0 && !j->v->outputs && !(j->outputs = pc_eval_outputs_path(j->v, j->party.name)))
        rc = pc_error_mem(&j->err, 0, "a path");
    if (rc == 0)
        rc =
            pc_eval_judge_values(j->v, j->v->outputs ? j->v->outputs : j->outputs, &j->judge_values, &j->err);
    bool own = rc == 0;
    *p = (struct pc_party){.self = j->self,
        .v = v,
        .comm = j->comm,
        .chat = v->api != NULL,
        .data = j->data,
        .data_file = j->data_file,
        .tasks = {v->api ? &pc_task_alpaca_judge_text : &pc_task_alpaca_judge},
        .n_tasks = 1};
    rc = pc_party_run(p, rc, &j->err);
    if (rc < 0 && own)
        pc_error_prefix(&j->err, "the judge");
    return rc;
}

/* ---- the whole of it ---- */

static int run_job(struct job *j)
{
    int rc = pc_eval_ranks_join(&j->comm, &j->err);
    if (rc < 0)
        return rc;
    rc = find_data(j);
    if (rc == 0)
        rc = check_out(j);
    j->party.comm = j->comm;
    j->party.self = j->self;
    j->party.v = j->v;
    j->party.data = j->data;
    j->party.data_file = j->data_file;
    if (rc == 0 && has_judge(j->v))
        rc = look_for_judge(j);
    // With an error too: other ranks wait to hear of it.
    if (j->party.n_tasks)
        rc = pc_party_run(&j->party, rc, &j->err);
    pc_party_rest(&j->party);
    if (has_judge(j->v))
        rc = run_judge(j, rc);
    return rc == 0 && pc_comm_rank(j->comm) == 0 ? report(j) : rc;
}

/* What upstream has and paco has not, or something is missing: an exit code, or -1. */
static int refuse(const struct pc_command *self, const struct pc_eval_values *v)
{
    if (v->model.load_in_8bit && v->model.dtype)
        return pc_command_misuse(
            self, "--load_in_8bit and --dtype %s: products are one or the other", v->model.dtype);
    if (v->model.load_in_8bit && v->api)
        return pc_command_misuse(self, "--load_in_8bit is of a model on this machine, not behind --api");
    if (v->api && (v->model.diff || v->model.adapter))
        return pc_command_misuse(
            self, "--%s is for models here, not behind --api", v->model.diff ? "diff" : "adapter");
    if (v->gptq)
        return pc_command_misuse(
            self, "--gptq: GPTQ files are not read; --type q4_k quantises to as many bits");
    if (v->openai_engine)
        return pc_command_misuse(self,
            "--openai_engine: that service's models of then are gone; --api URL --model NAME asks any "
            "OpenAI-compatible endpoint");
    if (!v->model.model && !v->api && !(v->outputs && has_judge(v)))
        return pc_command_misuse(self, "-m MODEL is missing: which model?");
    if (!v->data)
        return pc_command_misuse(
            self, "--data DIR is missing: where are the benchmarks' data? (paco data fetch eval gets them)");
    if (!v->out)
        return pc_command_misuse(self, "--out DIR is missing: where do the results go?");
    return -1;
}

static int run_parsed(struct job *j, struct pc_eval_values *v, const struct pc_strings *words)
{
    if (v->list)
        return list_tasks(j) < 0 ? pc_command_fail(j->self, &j->err) : PC_EXIT_OK;
    if (v->report)
        return pc_eval_files_report(j->self, v, words);
    if (v->compare)
        return pc_eval_files_compare(j->self, v, words);
    if (v->annotations && !v->model.model && !v->api)
        return pc_eval_print_annotations(j->self, v);
    if (pc_eval_settle(v, &j->err) < 0 || choose_tasks(j, words) < 0)
        return pc_command_fail(j->self, &j->err);
    int code = refuse(j->self, v);
    if (code < 0 && v->tokenizer && !v->api)
        pc_command_note(j->self, "--tokenizer: the model's own is used");
    if (code < 0)
        code = run_job(j) < 0 ? pc_command_fail(j->self, &j->err) : PC_EXIT_OK;
    pc_progress_bar_end();
    return code;
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
    pc_party_close(&j.judge);
    pc_party_close(&j.party);
    (void)pc_comm_close(j.comm, NULL);
    json_decref(j.annotated);
    pc_free(j.outputs);
    pc_free(j.data);
    pc_args_release(&args);
    pc_free(expanded);
    return code;
}

static void put_tasks(struct pc_buf *out)
{
    pc_buf_puts(out, " card");
    for (const struct pc_task *const *t = pc_tasks; *t; t++)
        pc_buf_printf(out, " %s", (*t)->name);
}

const struct pc_command pc_cmd_eval = {
    .name = "eval",
    .summary = "score a model on the card's benchmarks",
    .usage = "TASK... -m MODEL [--diff DIR] [--adapter DIR] --data DIR --out DIR [options]",
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
        "Under mpirun -n R the ranks share the questions out and rank 0 writes the results, the same bytes "
        "as\n"
        "one process alone.\n"
        "\n"
        "--report makes one page of folders of results that opens in any browser without a network: the\n"
        "table, charts, and every item. --compare tells whether two models differ: for each task the\n"
        "difference with its 95 % interval (bootstrap over items), McNemar's exact test, and which items\n"
        "came out otherwise.\n"
        "\n"
        "AlpacaFarm's answers are compared with text-davinci-003's: by --annotations FILE (AlpacaEval's\n"
        "annotations.json; without -m, only its win rate is printed), by --judge MODEL, or by\n"
        "--judge-api URL --judge-model NAME. Judges leave OUT/alpaca_judge or OUT/alpaca_judge_text, whose\n"
        "annotations.json is such a file. Their scores are not to be compared with the card's, which is\n"
        "GPT-4's.\n"
        "\n"
        "perplexity tells how well texts are predicted (DIR/perplexity/*.txt, or the text that --data "
        "names),\n"
        "in windows of -c tokens, as paco perplexity does.\n"
        "\n"
        "Upstream's quirks are kept. --fix undoes one: mmlu-none, gsm-quesion, gsm-sign, bbh-stop,\n"
        "bbh-match, tydiqa-bos, codex-stop.",
    .examples =
        "$ paco eval card -m tulu-7b --data data/eval --out results\n"
        "$ paco eval mmlu_0shot gsm_cot -m tuned-q4_k.gguf --data data/eval --out results --limit 20\n"
        "$ paco eval mmlu_5shot -m llama-7b --diff alpaca-diff --data data/eval --out alpaca\n"
        "$ paco eval mmlu_0shot --subjects anatomy virology -m tulu-7b --data data/eval --out two\n"
        "$ mpirun -n 4 paco eval card -m tulu-7b --data data/eval --out results\n"
        "$ paco eval --report results alpaca --out report.html\n"
        "$ paco eval --compare results alpaca\n"
        "$ paco eval alpaca_farm -m tulu-7b --judge vicuna-13b.gguf --data data/eval --out results\n"
        "$ paco eval --annotations alpaca-7b/annotations.json\n"
        "$ paco eval perplexity -m tuned-q4_k.gguf --data wiki.test.raw --out results\n"
        "$ paco eval --list",
    .options = pc_eval_rows,
    .put_words = put_tasks,
    .run = run,
};
