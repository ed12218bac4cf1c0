// SPDX-License-Identifier: Apache-2.0
/* GSM8K (Cobbe et al. 2021): school mathematics in words, behind eight worked examples with their reasoning
 * (cot) or without (direct).
 *
 * Upstream: eval/gsm/run_eval.py. 200 of the 1319 questions are drawn by Python's random.sample; fewer than
 * eight examples are drawn from the same generator afterwards. Its examples are a Python list, here a file of
 * the data folder. Quirks that are kept: direct examples say "Quesion" (--fix gsm-quesion), integers lose
 * their sign and numbers are compared as texts without punctuation (--fix gsm-sign). */
#include "base/memory.h"
#include "base/utf8.h"
#include "eval/eval_data.h"
#include "eval/math_answer.h"
#include "eval/number_text.h"
#include "eval/subset.h"
#include "eval/task_out.h"
#include "eval/tasks.h"
#include "eval/wrap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DIRECT, COT };
enum { USUAL_EXAMPLES = 200, USUAL_SHOTS = 8, MAX_PREFIX = 16 << 20, SEED = 42 };

struct pc_task_data {
    bool cot;
    enum pc_format format; /* around prompts */
    unsigned fixes;
    struct pc_jsonl lines;
    char **targets; /* of each line, the number that is expected; owned */
    struct pc_subset subset;
    struct pc_buf prefix; /* the instruction and the worked examples */
    struct pc_ids newline;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "GSM8K");
}

static int bad_line(const struct pc_jsonl *lines, size_t i, struct paco_error *err, const char *text)
{
    return pc_data_error(err, PACO_EFORMAT, lines->path, "line %zu: %s", lines->line[i], text);
}

/* ---- the data ---- */

/* What stands behind the first "####", up to a next, stripped. */
static bool find_target(struct pc_text answer, struct pc_text *out)
{
    const char *end = answer.v + answer.len, *from = memmem(answer.v, answer.len, "####", 4);
    if (!from)
        return false;
    from += 4;
    const char *next = memmem(from, (size_t)(end - from), "####", 4);
    *out = (struct pc_text){from, (size_t)((next ? next : end) - from)};
    pc_utf8_strip(&out->v, &out->len);
    return true;
}

static int read_target(const struct pc_jsonl *lines, size_t i, char **out, struct paco_error *err)
{
    struct pc_text answer, target;
    struct pc_buf plain;
    double value;
    int rc = pc_jsonl_text(lines, i, "answer", &answer, err);
    if (rc < 0)
        return rc;
    if (!find_target(answer, &target))
        return bad_line(lines, i, err, "\"answer\" has no \"####\", behind which a number is expected");
    pc_buf_init(&plain, answer.len + 1);
    pc_drop_commas(&plain, target);
    rc = pc_buf_check(&plain, "an expected number", err);
    if (rc == 0 && !pc_number_value((struct pc_text){plain.data, plain.len}, &value))
        rc = bad_line(lines, i, err, "what stands behind \"####\" in \"answer\" is no number");
    if (rc == 0 && !(*out = pc_buf_detach(&plain)))
        rc = out_of_memory(err);
    pc_buf_release(&plain);
    return rc;
}

static int read_questions(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    static const char *const at[] = {"gsm/test.jsonl", NULL};
    char *path;
    struct pc_text question;
    int rc = pc_eval_find(env->data_dir, "GSM8K", at, &path, err);
    if (rc == 0)
        rc = pc_jsonl_read(env, path, &d->lines, err);
    pc_free(path);
    if (rc < 0)
        return rc;
    d->targets = pc_alloc_zero(d->lines.n, sizeof *d->targets);
    if (!d->targets)
        return out_of_memory(err);
    for (size_t i = 0; i < d->lines.n && rc == 0; i++) {
        rc = pc_jsonl_text(&d->lines, i, "question", &question, err);
        if (rc == 0)
            rc = read_target(&d->lines, i, &d->targets[i], err);
    }
    return rc;
}

/* ---- worked examples ---- */

static int add_example(struct pc_task_data *d, const struct pc_jsonl *lines, size_t i, struct paco_error *err)
{
    bool misspelt = !d->cot && !(d->fixes & PC_FIX_GSM_QUESION);
    struct pc_text question = {0}, answer = {0};
    int rc = pc_jsonl_text(lines, i, "question", &question, err);
    if (rc == 0)
        rc = pc_jsonl_text(lines, i, d->cot ? "cot_answer" : "short_answer", &answer, err);
    if (rc < 0)
        return rc;
    pc_buf_puts(&d->prefix, misspelt ? "Quesion: " : "Question: ");
    pc_buf_add(&d->prefix, question.v, question.len);
    pc_buf_puts(&d->prefix, "\nAnswer: ");
    pc_buf_add(&d->prefix, answer.v, answer.len);
    pc_buf_puts(&d->prefix, "\n\n");
    return 0;
}

static int add_examples(struct pc_task_data *d, const struct pc_jsonl *lines, size_t n_shots,
    struct pc_py_random *random, struct paco_error *err)
{
    struct pc_subset chosen;
    if (n_shots > lines->n)
        return pc_data_error(
            err, PACO_EINVAL, lines->path, "has %zu examples, but --n_shot asks for %zu", lines->n, n_shots);
    int rc = pc_subset_draw(random, lines->n, n_shots, false, 0, &chosen, err);
    if (rc < 0)
        return rc;
    pc_buf_puts(&d->prefix, "Answer the following questions.\n\n");
    for (size_t i = 0; i < chosen.n && rc == 0; i++)
        rc = add_example(d, lines, chosen.v[i], err);
    pc_subset_release(&chosen);
    return rc;
}

static int make_prefix(struct pc_task_data *d, const struct pc_task_env *env, struct pc_py_random *random,
    struct paco_error *err)
{
    static const char *const at[] = {"gsm/exemplars.jsonl", NULL};
    int64_t n_shots = env->flags->n_shot < 0 ? USUAL_SHOTS : env->flags->n_shot;
    struct pc_jsonl lines = {0};
    char *path;
    if (n_shots == 0) {
        pc_buf_puts(&d->prefix, "Answer the following question.\n\n");
        return pc_buf_check(&d->prefix, "an instruction", err);
    }
    int rc = pc_eval_find(env->data_dir, "the worked examples of GSM8K", at, &path, err);
    if (rc == 0)
        rc = pc_jsonl_read(env, path, &lines, err);
    if (rc == 0)
        rc = add_examples(d, &lines, (size_t)n_shots, random, err);
    if (rc == 0)
        rc = pc_buf_check(&d->prefix, "worked examples", err);
    pc_jsonl_release(&lines);
    pc_free(path);
    return rc;
}

/* ---- the door ---- */

static void gsm_close(struct pc_task_data *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->targets && i < d->lines.n; i++)
        pc_free(d->targets[i]);
    pc_free(d->targets);
    pc_jsonl_release(&d->lines);
    pc_subset_release(&d->subset);
    pc_buf_release(&d->prefix);
    pc_ids_release(&d->newline);
    pc_free(d);
}

static int gsm_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    const struct pc_task_flags *flags = env->flags;
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    struct pc_py_random random;
    if (!d)
        return out_of_memory(err);
    d->cot = flags->no_cot < 0 ? task->variant == COT : !flags->no_cot;
    d->format = pc_wrap_format(env);
    d->fixes = flags->fixes;
    pc_buf_init(&d->prefix, MAX_PREFIX);
    pc_py_seed(&random, SEED);
    int rc = read_questions(d, env, err);
    if (rc == 0)
        rc = pc_subset_draw(&random, d->lines.n, pc_subset_size(flags->max_num_examples, USUAL_EXAMPLES),
            false, flags->limit, &d->subset, err);
    if (rc == 0)
        rc = make_prefix(d, env, &random, err);
    if (rc == 0)
        rc = pc_newline_stop(env->tok, &d->newline, err);
    if (rc < 0)
        gsm_close(d);
    else
        *out = d;
    return rc;
}

static size_t gsm_n_items(const struct pc_task_data *d)
{
    return d->subset.n;
}

static void gsm_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    *group = NULL;
    snprintf(out, 96, "gsm/%zu", d->subset.v[i]);
}

static struct pc_text question_of(const struct pc_task_data *d, size_t i)
{
    struct pc_text question = {"", 0};
    (void)pc_jsonl_text(&d->lines, d->subset.v[i], "question", &question, NULL); // open saw that it is there
    return question;
}

static int gsm_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    struct pc_text question = question_of(d, i);
    pc_utf8_strip(&question.v, &question.len);
    pc_buf_add(ask->prompt, d->prefix.data, d->prefix.len);
    pc_buf_puts(ask->prompt, "Question: ");
    pc_buf_add(ask->prompt, question.v, question.len);
    pc_math_ask(ask, &d->newline);
    return pc_wrap(d->format, ask->prompt, d->format == PC_FORMAT_RAW ? "\nAnswer:" : "Answer:", err);
}

static int gsm_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers, json_t *record,
    struct paco_error *err)
{
    const char *target = d->targets[d->subset.v[i]];
    return pc_math_judge(
        question_of(d, i), (struct pc_text){target, strlen(target)}, answers, true, d->fixes, record, err);
}

static int gsm_finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    struct pc_buf lines;
    size_t n = 0, n_correct = 0;
    int rc = 0;
    pc_lines_init(&lines);
    for (size_t i = 0; i < d->subset.n && rc == 0; i++) {
        const json_t *record = json_array_get(records, i);
        n += pc_record_is_good(record);
        n_correct += pc_record_is_good(record) && json_is_true(json_object_get(record, "correct"));
        rc = pc_math_line(&lines, record, err);
    }
    rc = pc_lines_write(&lines, rc, dir, "predictions.jsonl", err);
    double share = n ? (double)n_correct / (double)n : (double)NAN;
    *score = 100 * share;
    *se = 100 * pc_share_error(n_correct, n);
    return rc == 0 ? pc_object_put(metrics, "exact_match", n ? json_real(share) : json_null(), err) : rc;
}

#define GSM_TASK(name_, setting_, how, card, variant_)                                                       \
    {                                                                                                        \
        .name = (name_),                                                                                     \
        .summary = "GSM8K, 200 questions behind 8 examples " how ": the answer's last number",               \
        .benchmark = "GSM", .setting = (setting_), .card_score = (card), .variant = (variant_),              \
        .metrics_style = PC_JSON_PRETTY_4, .open = gsm_open, .close = gsm_close, .n_items = gsm_n_items,     \
        .name_item = gsm_name_item, .ask = gsm_ask, .judge = gsm_judge, .finish = gsm_finish,                \
    }

const struct pc_task pc_task_gsm_direct = GSM_TASK("gsm_direct", "Direct", "without reasoning", 7.0, DIRECT);
const struct pc_task pc_task_gsm_cot = GSM_TASK("gsm_cot", "CoT", "with their reasoning", 10.0, COT);
