// SPDX-License-Identifier: Apache-2.0
/* HumanEval (Chen et al. 2021): functions to be completed, run against their tests.
 *
 * Upstream: eval/codex_humaneval. Twenty samples of each of 164 functions, drawn with top-p 0.95 and, though
 * nobody asks for it, the library's top-k 50, from a generator that is not seeded; ours is (--seed). Prompts
 * are the data's own, in the plain format also for chat models. An answer ends where one of five sequences of
 * ids begins: those of "\nclass" and others behind a space, without the first id. The share of samples that
 * pass gives the unbiased estimate of pass@k.
 *
 * --temperature 0 takes the likeliest token and, as all samples would be the same, asks for one of them
 * unless told otherwise. Programs are run by judge, one for each sample (sandbox.h). */
#include "base/memory.h"
#include "eval/eval_data.h"
#include "eval/sandbox.h"
#include "eval/subset.h"
#include "eval/task_out.h"
#include "eval/tasks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOW, HIGH };
enum { USUAL_SAMPLES = 20, MAX_SAMPLES = 10000, MAX_KS = 32, MAX_NEW_TOKENS = 512, TOP_K = 50, SEED = 42 };
enum { N_STOPS = 5, MAX_PROGRAM = 16 << 20 };
static const double TOP_P = 0.95;
static const char *const stops[N_STOPS] = {"\nclass", "\ndef", "\n#", "\nif", "\nprint"};

struct problem {
    struct pc_text id, prompt, entry_point, test; /* views into lines */
};

struct pc_task_data {
    bool chat, by_text;
    double temperature;
    int32_t n_samples;
    int64_t ks[MAX_KS], k_score; /* of pass@k: reported; the score */
    size_t n_ks;
    struct pc_jsonl lines;
    struct problem *problems; /* those that are asked, in order */
    size_t n_problems;
    struct pc_ids stop_ids[N_STOPS];
    struct pc_sandbox *sandbox;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "HumanEval");
}

/* ---- the data ---- */

static int read_problem(const struct pc_jsonl *lines, size_t i, struct problem *out, struct paco_error *err)
{
    int rc = pc_jsonl_text(lines, i, "task_id", &out->id, err);
    if (rc == 0)
        rc = pc_jsonl_text(lines, i, "prompt", &out->prompt, err);
    if (rc == 0)
        rc = pc_jsonl_text(lines, i, "entry_point", &out->entry_point, err);
    return rc < 0 ? rc : pc_jsonl_text(lines, i, "test", &out->test, err);
}

static int read_problems(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    static const char *const names[] = {"codex_humaneval/HumanEval.jsonl.gz", "human_eval/HumanEval.jsonl.gz",
        "codex_eval/HumanEval.jsonl.gz", "codex_humaneval/HumanEval.jsonl", "human_eval/HumanEval.jsonl",
        NULL};
    char *path;
    struct pc_py_random random;
    struct pc_subset subset = {0};
    int rc = pc_eval_find(env->data_dir, "HumanEval", names, &path, err);
    if (rc < 0)
        return rc;
    rc = pc_jsonl_read(env, path, &d->lines, err);
    pc_free(path);
    if (rc < 0)
        return rc;
    pc_py_seed(&random, SEED);
    rc = pc_subset_draw(&random, d->lines.n, pc_subset_size(env->flags->max_num_examples, 0), false,
        env->flags->limit, &subset, err);
    d->problems = rc == 0 ? pc_alloc_zero(subset.n, sizeof *d->problems) : NULL;
    if (rc == 0 && !d->problems)
        rc = out_of_memory(err);
    for (size_t i = 0; i < subset.n && rc == 0; i++)
        rc = read_problem(&d->lines, subset.v[i], &d->problems[d->n_problems++], err);
    pc_subset_release(&subset);
    return rc;
}

/* ---- how it is asked ---- */

/* The numbers of --eval_pass_at_ks, which may stand in one word: "1 5" or "1,5". */
static int read_ks(struct pc_task_data *d, const struct pc_strings *words, struct paco_error *err)
{
    for (size_t i = 0; i < words->n; i++)
        for (const char *at = words->v[i]; *at;) {
            char *end;
            errno = 0;
            long long k = strtoll(at, &end, 10);
            if (end == at || errno || k < 1 || k > MAX_SAMPLES || (*end && *end != ' ' && *end != ','))
                return pc_error_set(err, PACO_EINVAL,
                    "--eval_pass_at_ks '%.100s': whole numbers from 1 to %d are expected", words->v[i],
                    MAX_SAMPLES);
            if (k > d->n_samples)
                return pc_error_set(err, PACO_EINVAL,
                    "pass@%lld cannot be estimated from %d samples (--unbiased_sampling_size_n)", k,
                    d->n_samples);
            if (d->n_ks == MAX_KS)
                return pc_error_set(err, PACO_ELIMIT, "--eval_pass_at_ks: at most %d numbers", MAX_KS);
            d->ks[d->n_ks++] = k;
            at = end + (*end != '\0');
        }
    return 0;
}

static int settle_sampling(
    struct pc_task_data *d, const struct pc_task *task, const struct pc_task_env *env, struct paco_error *err)
{
    static const int64_t usual_ks[] = {1, 5, 10, 20};
    const struct pc_task_flags *flags = env->flags;
    d->temperature = isnan(flags->temperature) ? task->variant == LOW ? 0.1 : 0.8 : flags->temperature;
    int64_t n = flags->unbiased_sampling_size_n;
    if (n <= 0)
        n = d->temperature > 0 ? USUAL_SAMPLES : 1;
    if (n > MAX_SAMPLES || d->temperature < 0)
        return pc_error_set(err, PACO_EINVAL,
            n > MAX_SAMPLES ? "--unbiased_sampling_size_n: at most 10000 samples"
                            : "--temperature below 0 has no meaning");
    d->n_samples = (int32_t)n;
    int rc = read_ks(d, &flags->eval_pass_at_ks, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; flags->eval_pass_at_ks.n == 0 && i < sizeof usual_ks / sizeof *usual_ks; i++)
        if (usual_ks[i] <= n)
            d->ks[d->n_ks++] = usual_ks[i];
    d->k_score = task->variant == LOW ? 1 : 10;
    if (d->k_score > n) {
        pc_note(env->notes, "the card's pass@%d cannot be estimated from %d samples: the score is pass@%d",
            (int)d->k_score, (int)n, (int)n);
        d->k_score = n;
    }
    return 0;
}

/* A space goes in front, so that no tokenizer puts one between, and its id away. */
static int find_stop_ids(struct pc_task_data *d, const struct pc_tokenizer *tok, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < N_STOPS && tok && rc == 0; i++) {
        struct pc_ids *ids = &d->stop_ids[i];
        char text[16];
        int len = snprintf(text, sizeof text, " %s", stops[i]);
        rc = pc_tokenizer_encode(tok, text, (size_t)len, PC_ENCODE_PARSE, ids, err);
        if (rc == 0 && ids->n > 0)
            memmove(ids->v, ids->v + 1, --ids->n * sizeof *ids->v);
    }
    return rc;
}

/* ---- the door ---- */

static void codex_close(struct pc_task_data *d)
{
    if (!d)
        return;
    pc_sandbox_close(d->sandbox);
    pc_jsonl_release(&d->lines);
    for (size_t i = 0; i < N_STOPS; i++)
        pc_ids_release(&d->stop_ids[i]);
    pc_free(d->problems);
    pc_free(d);
}

static int codex_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    const struct pc_task_flags *flags = env->flags;
    const struct pc_sandbox_options options = {.unsafe = flags->unsafe_exec};
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    if (!d)
        return out_of_memory(err);
    d->chat = flags->use_chat_format > 0;
    d->by_text = flags->fixes & PC_FIX_CODEX_STOP;
    int rc = settle_sampling(d, task, env, err);
    if (rc == 0)
        rc = read_problems(d, env, err);
    if (rc == 0)
        rc = find_stop_ids(d, env->tok, err);
    if (rc == 0)
        rc = pc_sandbox_open(&options, &d->sandbox, err);
    if (rc < 0) {
        codex_close(d);
        return rc;
    }
    if (env->tools &&
        json_object_set_new(env->tools, "python", json_string(pc_sandbox_python(d->sandbox))) < 0) {
        codex_close(d);
        return out_of_memory(err);
    }
    pc_note(env->notes, "programs are run by %s", pc_sandbox_describe(d->sandbox));
    *out = d;
    return 0;
}

static size_t codex_n_items(const struct pc_task_data *d)
{
    return d->n_problems;
}

static void codex_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    snprintf(out, 96, "%s", d->problems[i].id.v);
    *group = NULL;
}

static void add_text(struct pc_buf *b, struct pc_text t)
{
    pc_buf_add(b, t.v, t.len);
}

static int codex_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    struct pc_text prompt = d->problems[i].prompt;
    (void)err;
    if (d->chat) {
        pc_buf_puts(ask->prompt, "<|user|>\nComplete the following python function.\n\n\n");
        add_text(ask->prompt, prompt);
        pc_buf_puts(ask->prompt, "\n<|assistant|>\nHere is the completed function:\n\n\n");
    }
    add_text(ask->prompt, prompt);
    ask->kind = PC_ASK_TEXT;
    ask->max_tokens = MAX_NEW_TOKENS;
    ask->n_samples = d->n_samples;
    ask->temperature = d->temperature;
    if (d->temperature > 0) {
        ask->top_p = TOP_P;
        ask->top_k = TOP_K;
    }
    for (size_t k = 0; k < N_STOPS; k++) {
        if (d->stop_ids[k].n > 0)
            ask->stop_ids[ask->n_stop_ids++] = &d->stop_ids[k];
        ask->stop_texts[ask->n_stop_texts++] = stops[k];
    }
    ask->texts_only = d->by_text;
    return 0;
}

/* ---- verdicts ---- */

/* The data's prompt also where the chat format asked. */
static void make_program(struct pc_buf *out, const struct problem *p, struct pc_text completion)
{
    add_text(out, p->prompt);
    add_text(out, completion);
    pc_buf_putc(out, '\n');
    add_text(out, p->test);
    pc_buf_puts(out, "\ncheck(");
    add_text(out, p->entry_point);
    pc_buf_putc(out, ')');
}

/* done[k] is of the program with answer k. */
static int run_programs(const struct pc_task_data *d, const struct problem *p,
    const struct pc_answers *answers, struct pc_execution *done, struct paco_error *err)
{
    size_t n = answers->n_texts;
    struct pc_program *programs = pc_alloc(n, sizeof *programs);
    struct pc_buf *texts = pc_alloc_zero(n, sizeof *texts);
    int rc = programs && texts ? 0 : out_of_memory(err);
    for (size_t k = 0; k < n && rc == 0; k++) {
        pc_buf_init(&texts[k], MAX_PROGRAM);
        make_program(&texts[k], p, (struct pc_text){answers->texts[k], answers->lens[k]});
        rc = pc_buf_check(&texts[k], "a program", err);
        programs[k] = (struct pc_program){texts[k].data, texts[k].len};
    }
    if (rc == 0)
        rc = pc_sandbox_run_all(d->sandbox, programs, n, done, err);
    for (size_t k = 0; texts && k < n; k++)
        pc_buf_release(&texts[k]);
    pc_free(texts);
    pc_free(programs);
    return rc;
}

/* One sample's verdict stands alone, those of several in a list. */
static int record_verdicts(json_t *record, const struct pc_execution *done, size_t n, struct paco_error *err)
{
    json_t *results = json_array(), *correct = json_array();
    int bad = !results || !correct;
    for (size_t k = 0; k < n && !bad; k++) {
        struct pc_text text = {done[k].text, done[k].text_len};
        bad |= json_array_append_new(results, pc_text_value(text));
        bad |= json_array_append_new(correct, json_boolean(done[k].verdict == PC_VERDICT_PASSED));
    }
    int rc = bad ? out_of_memory(err) : 0;
    const json_t *result = n == 1 ? json_array_get(results, 0) : results;
    const json_t *passed = n == 1 ? json_array_get(correct, 0) : correct;
    if (rc == 0)
        rc = pc_object_put(record, "extraction", json_incref((json_t *)(uintptr_t)result), err);
    if (rc == 0)
        rc = pc_object_put(record, "correct", json_incref((json_t *)(uintptr_t)passed), err);
    json_decref(results);
    json_decref(correct);
    return rc;
}

static int codex_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    size_t n = answers->n_texts;
    struct pc_execution *done = pc_alloc_zero(n, sizeof *done);
    if (!done)
        return out_of_memory(err);
    int rc = run_programs(d, &d->problems[i], answers, done, err);
    if (rc == 0)
        rc = record_verdicts(record, done, n, err);
    for (size_t k = 0; k < n; k++)
        pc_execution_release(&done[k]);
    pc_free(done);
    return rc;
}

static void codex_stop(const struct pc_task_data *d)
{
    pc_sandbox_stop(d->sandbox);
}

/* ---- results ---- */

/* The k-th of a record's values, which are a list when there are several samples. */
static const json_t *sample_of(const json_t *record, const char *key, size_t k)
{
    const json_t *v = json_object_get(record, key);
    return json_is_array(v) ? json_array_get(v, k) : v;
}

static json_t *sample_line(const struct problem *p, const json_t *record, size_t k)
{
    return json_pack("{s:o, s:o, s:O}", "task_id", pc_text_value(p->id), "prompt", pc_text_value(p->prompt),
        "completion", sample_of(record, "output", k));
}

static json_t *result_line(const struct problem *p, const json_t *record, size_t k)
{
    json_t *line = sample_line(p, record, k);
    const json_t *passed = sample_of(record, "correct", k);
    if (line &&
        (json_object_set(line, "result", (json_t *)(uintptr_t)sample_of(record, "extraction", k)) < 0 ||
            json_object_set(line, "passed", (json_t *)(uintptr_t)passed) < 0)) {
        json_decref(line);
        return NULL;
    }
    return line;
}

static int write_samples(const struct pc_task_data *d, const json_t *records, const char *dir,
    json_t *(*line)(const struct problem *p, const json_t *record, size_t k), const char *name,
    struct paco_error *err)
{
    struct pc_buf lines;
    int rc = 0;
    pc_lines_init(&lines);
    for (size_t i = 0; i < d->n_problems; i++) {
        const json_t *record = json_array_get(records, i);
        for (size_t k = 0; pc_record_is_good(record) && k < (size_t)d->n_samples && rc == 0; k++)
            rc = pc_lines_add(&lines, line(&d->problems[i], record, k), err);
    }
    return pc_lines_write(&lines, rc, dir, name, err);
}

static int64_t count_passed(const struct pc_task_data *d, const json_t *record)
{
    int64_t n = 0;
    for (size_t k = 0; k < (size_t)d->n_samples; k++) {
        const json_t *passed = sample_of(record, "correct", k);
        n += json_is_true(passed);
    }
    return n;
}

/* 1 - C(n - c, k) / C(n, k), multiplied out as upstream does: Chen et al. 2021, eq. 1. */
static double pass_at_k(int64_t n, int64_t c, int64_t k)
{
    double product = 1;
    if (n - c < k)
        return 1;
    for (int64_t i = n - c + 1; i <= n; i++)
        product *= 1 - (double)k / (double)i;
    return 1 - product;
}

/* Of all problems that were answered, into values, which has room for all; returns how many. */
static size_t estimate(const struct pc_task_data *d, const json_t *records, int64_t k, double *values)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_problems; i++) {
        const json_t *record = json_array_get(records, i);
        if (pc_record_is_good(record))
            values[n++] = pass_at_k(d->n_samples, count_passed(d, record), k);
    }
    return n;
}

static int codex_finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    static const char predictions[] = "codex_eval_predictions.jsonl";
    static const char results[] = "codex_eval_predictions.jsonl_results.jsonl";
    double *values = pc_alloc(d->n_problems, sizeof *values);
    int rc = values ? write_samples(d, records, dir, sample_line, predictions, err) : out_of_memory(err);
    if (rc == 0)
        rc = write_samples(d, records, dir, result_line, results, err);
    size_t n = rc == 0 ? estimate(d, records, d->k_score, values) : 0;
    if (rc == 0) {
        *score = 100 * pc_numpy_mean(values, n);
        *se = 100 * pc_mean_error(values, n);
    }
    for (size_t i = 0; i < d->n_ks && n > 0 && rc == 0; i++) {
        char name[32];
        snprintf(name, sizeof name, "pass@%d", (int)d->ks[i]);
        estimate(d, records, d->ks[i], values);
        rc = pc_object_put(metrics, name, json_real(pc_numpy_mean(values, n)), err);
    }
    pc_free(values);
    return rc;
}

#define CODEX_DOOR                                                                                           \
    .benchmark = "Codex-Eval", .metrics_style = PC_JSON_PYTHON, .open = codex_open, .close = codex_close,    \
    .n_items = codex_n_items, .name_item = codex_name_item, .ask = codex_ask, .judge = codex_judge,          \
    .stop = codex_stop, .finish = codex_finish

const struct pc_task pc_task_codex_low = {
    .name = "codex_eval_temp_0.1",
    .summary =
        "HumanEval: 164 Python functions, 20 samples each at temperature 0.1, run in a sandbox; pass@1",
    .setting = "P@1",
    .card_score = 13.2,
    .variant = LOW,
    CODEX_DOOR,
};

const struct pc_task pc_task_codex_high = {
    .name = "codex_eval_temp_0.8",
    .summary =
        "HumanEval: 164 Python functions, 20 samples each at temperature 0.8, run in a sandbox; pass@10",
    .setting = "P@10",
    .card_score = 22.0,
    .variant = HIGH,
    CODEX_DOOR,
};
