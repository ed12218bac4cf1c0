// SPDX-License-Identifier: Apache-2.0
#include "data/self_instruct.h"

#include "base/file.h"
#include "base/json_records.h"
#include "base/memory.h"
#include "base/numpy_sum.h"
#include "base/out_file.h"
#include "base/py_random.h"
#include "data/new_tasks.h"
#include "data/rouge.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_PROMPT = 16,
    MAX_BATCH = 64,
    MAX_FILE = 1 << 30,
    N_SIMILAR = 10,
    N_TRIAL = 1000,
    SAVE_EVERY = 30,
    MAX_BARREN = 50
};
static const double TOO_SIMILAR = 0.7;

struct generate {
    const struct pc_generate_options *o;
    struct pc_generate_result *result;
    json_t *seeds; /* [[instruction, input, output]] */
    struct pc_buf preamble;
    char *list_path, *log_path; /* regen.json, regen.jsonl */
    int log;                    /* its descriptor */
    uint64_t log_size;
    struct pc_buf list;   /* records as they stand in regen.json */
    json_t *instructions; /* all texts, seeds first */
    struct pc_rouge *rouge;
    double *scores;
    size_t scores_capacity;
    struct pc_py_random random;
    uint64_t n_requests; /* batches so far, of earlier runs too */
    int n_barren;        /* batches in a row of which nothing was kept */
    struct timespec saved;
    struct pc_openai *api;
    struct pc_openai_reply replies[MAX_BATCH];
    struct pc_buf prompts[MAX_BATCH];
    int32_t asked_tokens[MAX_BATCH]; /* of a reply to each, at most */
    json_t *accepted;                /* records of the batch at hand */
    size_t n_found;
    struct paco_error *err;
};

static double seconds_since(const struct timespec *from)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - from->tv_sec) + 1e-9 * (double)(now.tv_nsec - from->tv_nsec);
}

/* ---- what was there ---- */

static int know(struct generate *g, const char *text, size_t len)
{
    if (json_array_append_new(g->instructions, json_stringn(text, len)) < 0)
        return pc_error_mem(g->err, len, "an instruction");
    return pc_rouge_add(g->rouge, text, len, g->err);
}

static int read_seed(struct generate *g, const json_t *record)
{
    const char *text[3] = {NULL};
    size_t len[3] = {0};
    const json_t *first = json_array_get(json_object_get(record, "instances"), 0);
    int rc = pc_json_get_text(record, "instruction", &text[0], &len[0], g->err);
    if (rc == 0 && !json_is_object(first))
        rc = pc_error_set(g->err, PACO_EFORMAT, "'instances' holds none");
    if (rc == 0)
        rc = pc_json_get_text(first, "input", &text[1], &len[1], g->err);
    if (rc == 0)
        rc = pc_json_get_text(first, "output", &text[2], &len[2], g->err);
    if (rc == 0)
        rc = know(g, text[0], len[0]);
    if (rc < 0)
        return rc;
    json_t *seed = json_array();
    for (int i = 0; i < 3; i++)
        json_array_append_new(seed, json_stringn(text[i], len[i]));
    return json_array_append_new(g->seeds, seed) < 0 ? pc_error_mem(g->err, len[0], "a seed") : 0;
}

static int keep_record(struct generate *g, const json_t *record)
{
    const char *text;
    size_t len;
    int rc = pc_json_get_text(record, "instruction", &text, &len, g->err);
    if (rc == 0)
        rc = know(g, text, len);
    pc_buf_puts(&g->list, g->list.len ? ",\n    " : "\n    ");
    pc_json_write_at(&g->list, record, PC_JSON_PRETTY_4, 1);
    g->result->n_total++;
    return rc == 0 ? pc_buf_check(&g->list, "regen.json", g->err) : rc;
}

static int keep_logged(struct generate *g, const json_t *entry)
{
    const json_t *records = json_object_get(entry, "records");
    int rc = 0;
    for (size_t i = 0; i < json_array_size(records) && rc == 0; i++)
        rc = keep_record(g, json_array_get(records, i));
    g->n_requests += json_integer_value(json_object_get(entry, "request")) > 0;
    return rc;
}

static int read_records(
    struct generate *g, const char *path, int (*each)(struct generate *g, const json_t *record))
{
    struct pc_json_records r;
    int rc = pc_json_records_open(&r, path, g->err);
    while (rc == 0 && (rc = pc_json_records_batch(&r, g->err)) == 0 && r.n > 0)
        for (size_t i = 0; i < r.n && rc == 0; i++) {
            json_t *record;
            rc = pc_json_record_parse(path, &r.v[i], &record, g->err);
            if (rc < 0)
                break;
            rc = each(g, record);
            json_decref(record);
            if (rc < 0)
                pc_json_record_error(path, r.v[i].line, g->err);
        }
    pc_json_records_close(&r);
    return rc;
}

/* ---- the log ---- */

static int log_error(struct generate *g, const char *what)
{
    int rc = pc_error_os(g->err, errno, "%s", what);
    pc_error_path(g->err, g->log_path);
    return rc;
}

/* A line that a crash tore has no end: it is cut off. */
static int open_log(struct generate *g)
{
    struct pc_buf b;
    g->log = open(g->log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (g->log < 0)
        return log_error(g, "cannot open");
    int rc = pc_file_slurp(g->log_path, MAX_FILE, &b, g->err);
    if (rc == 0) {
        const char *end = b.len ? memrchr(b.data, '\n', b.len) : NULL;
        g->log_size = end ? (uint64_t)(end - b.data) + 1 : 0;
        if (ftruncate(g->log, (off_t)g->log_size) < 0)
            rc = log_error(g, "cannot cut off a torn line");
    }
    pc_buf_release(&b);
    return rc;
}

/* What a batch gave, on the disk before the next one is asked. */
static int add_to_log(struct generate *g, json_t *entry)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_FILE);
    if (entry)
        pc_json_write(&b, entry, PC_JSON_COMPACT);
    pc_buf_putc(&b, '\n');
    int rc = entry ? pc_buf_check(&b, "what came", g->err) : pc_error_mem(g->err, 0, "what came");
    if (rc == 0)
        rc = pc_fd_write(g->log, g->log_path, g->log_size, b.data, b.len, g->err);
    if (rc == 0 && fsync(g->log) < 0)
        rc = log_error(g, "cannot sync");
    g->log_size += rc == 0 ? b.len : 0;
    pc_buf_release(&b);
    json_decref(entry);
    return rc;
}

static int save_list(struct generate *g)
{
    struct pc_out_file f;
    clock_gettime(CLOCK_MONOTONIC, &g->saved);
    int rc = pc_out_file_open(&f, g->list_path, true, g->err);
    pc_buf_putc(&f.buf, '[');
    if (rc == 0)
        rc = pc_out_file_flush(&f, true, g->err);
    if (rc == 0 && g->list.len)
        rc = pc_fd_write(f.fd, g->list_path, f.size, g->list.data, g->list.len, g->err);
    f.size += g->list.len;
    pc_buf_puts(&f.buf, g->list.len ? "\n]" : "]");
    if (rc == 0)
        rc = pc_out_file_commit(&f, g->err);
    pc_out_file_close(&f);
    return rc;
}

/* ---- prompts ---- */

static struct pc_task_text text_of(const json_t *v)
{
    return (struct pc_task_text){json_string_value(v), json_string_length(v)};
}

static int draw_prompt(struct generate *g, struct pc_buf *out)
{
    size_t picked[MAX_PROMPT];
    struct pc_new_task tasks[MAX_PROMPT];
    int rc = pc_py_sample(&g->random, json_array_size(g->seeds), g->o->n_prompt, picked, g->err);
    for (size_t i = 0; i < g->o->n_prompt && rc == 0; i++) {
        const json_t *seed = json_array_get(g->seeds, picked[i]);
        tasks[i] = (struct pc_new_task){text_of(json_array_get(seed, 0)), text_of(json_array_get(seed, 1)),
            text_of(json_array_get(seed, 2))};
    }
    pc_buf_clear(out);
    if (rc == 0)
        pc_new_tasks_prompt(
            out, (struct pc_task_text){g->preamble.data, g->preamble.len}, tasks, g->o->n_prompt);
    return rc == 0 ? pc_buf_check(out, "a prompt", g->err) : rc;
}

/* ---- asking ---- */

static int start(struct generate *g, size_t i, int32_t max_tokens)
{
    g->asked_tokens[i] = max_tokens;
    static const char *const stops[] = {"\n20", "20.", "20."};
    const struct pc_openai_request request = {.chat = g->o->chat,
        .prompt = g->prompts[i].data,
        .prompt_len = g->prompts[i].len,
        .max_tokens = max_tokens,
        .temperature = g->o->temperature,
        .top_p = g->o->top_p,
        .stops = stops,
        .n_stops = 3,
        .logit_bias = g->o->no_logit_bias ? NULL : "{\"50256\":-100}",
        .tag = i};
    return pc_openai_start(g->api, &request, g->err);
}

/* Asked again with fewer tokens when there is no room for so many; the lesser number holds for the batch, and
 * is made less by one that was asked with it, not by each of those that were under way with the old one. */
static int take_reply(struct generate *g, struct pc_openai_reply *reply, int32_t *max_tokens, size_t *n_open)
{
    if (reply->err.code && strstr(reply->err.message, "Please reduce your prompt") && *max_tokens > 16) {
        size_t i = (size_t)reply->tag;
        pc_openai_reply_release(reply);
        if (g->asked_tokens[i] == *max_tokens) {
            *max_tokens = (int32_t)(*max_tokens * 0.8);
            pc_note(g->o->notes, "Reducing target length to %d, Retrying...", (int)*max_tokens);
        }
        return start(g, i, *max_tokens);
    }
    --*n_open;
    if (reply->err.code) {
        int code = reply->err.code;
        if (g->err)
            *g->err = reply->err;
        pc_openai_reply_release(reply);
        return code;
    }
    g->replies[reply->tag] = *reply;
    return 0;
}

static int ask(struct generate *g)
{
    int32_t max_tokens = g->o->max_tokens;
    size_t n_open = 0;
    int rc = 0;
    for (size_t i = 0; i < g->o->batch && rc == 0; i++) {
        rc = draw_prompt(g, &g->prompts[i]);
        if (rc == 0)
            rc = start(g, i, max_tokens);
        n_open += rc == 0;
    }
    const struct pc_progress_event event = {
        .phase = "generating", .done = g->result->n_total, .total = g->o->n_wanted, .unit = "instructions"};
    while (rc == 0 && n_open > 0) {
        struct pc_openai_reply reply;
        rc = pc_openai_wait(g->api, 200, &reply, g->err);
        if (rc > 0)
            rc = take_reply(g, &reply, &max_tokens, &n_open);
        if (rc == 0 && pc_progress(g->o->progress, &event))
            rc = pc_error_set(
                g->err, PACO_ECANCELLED, "stopped; what was accepted is kept, and the same command goes on");
    }
    return rc;
}

/* ---- accepting ---- */

struct ranked {
    double score;
    size_t i;
};

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->i < y->i ? 1 : -1;
}

/* The ten most similar, best first; of equal ones the later. */
static json_t *most_similar(const struct generate *g, size_t n)
{
    struct ranked best[N_SIMILAR + 1];
    size_t n_best = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_best == N_SIMILAR && g->scores[i] < best[N_SIMILAR - 1].score)
            continue;
        best[n_best] = (struct ranked){g->scores[i], i};
        n_best++;
        qsort(best, n_best, sizeof *best, by_score);
        n_best = n_best > N_SIMILAR ? N_SIMILAR : n_best;
    }
    json_t *out = json_object();
    for (size_t i = 0; i < n_best; i++)
        json_object_set_new(
            out, json_string_value(json_array_get(g->instructions, best[i].i)), json_real(best[i].score));
    return out;
}

static int reserve_scores(struct generate *g, size_t n)
{
    if (n <= g->scores_capacity)
        return 0;
    double *scores = pc_realloc(g->scores, 2 * n, sizeof *scores);
    if (!scores)
        return pc_error_mem(g->err, 2 * n * sizeof *scores, "scores");
    g->scores = scores;
    g->scores_capacity = 2 * n;
    return 0;
}

static int consider(void *ctx, const struct pc_new_task *task)
{
    struct generate *g = ctx;
    const struct pc_task_text t = task->instruction;
    size_t n = pc_rouge_n(g->rouge);
    int rc = reserve_scores(g, n);
    if (rc == 0)
        rc = pc_rouge_scores(g->rouge, t.s, t.len, g->scores, g->err);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (g->scores[i] > TOO_SIMILAR)
            return 0;
    if (rc < 0)
        return rc;
    json_t *record = json_pack("{s:o, s:o, s:o, s:o, s:f}", "instruction", json_stringn(t.s, t.len), "input",
        json_stringn(task->input.s, task->input.len), "output",
        json_stringn(task->output.s, task->output.len), "most_similar_instructions", most_similar(g, n),
        "avg_similarity_score", pc_numpy_sum(g->scores, n) / (double)n);
    // Text that is no UTF-8 is refused by jansson; endpoints' replies are UTF-8.
    if (!record || json_array_append(g->accepted, record) < 0)
        rc = pc_error_mem(g->err, t.len, "an instruction");
    if (rc == 0)
        rc = keep_record(g, record);
    json_decref(record);
    return rc;
}

static int process(struct generate *g, struct pc_generate_step *step)
{
    int rc = 0;
    size_t n_found = 0;
    for (size_t i = 0; i < g->o->batch && rc == 0; i++) {
        const struct pc_openai_choice *c = &g->replies[i].choices[0];
        rc = pc_new_tasks_parse((struct pc_task_text){c->text, c->len}, g->o->n_prompt,
            strcmp(c->finish_reason, "length") == 0, g->o->chat, consider, g, &n_found, g->err);
        bool said = g->replies[i].prompt_tokens >= 0 && step->prompt_tokens >= 0;
        step->prompt_tokens = said ? step->prompt_tokens + g->replies[i].prompt_tokens : -1;
        step->completion_tokens = said ? step->completion_tokens + g->replies[i].completion_tokens : -1;
    }
    step->n_found = n_found;
    step->n_kept = json_array_size(g->accepted);
    step->n_total = g->result->n_total;
    return rc;
}

static void forget_replies(struct generate *g)
{
    for (size_t i = 0; i < MAX_BATCH; i++) {
        pc_openai_reply_release(&g->replies[i]);
        g->replies[i] = (struct pc_openai_reply){0};
    }
    json_decref(g->accepted);
    g->accepted = NULL;
}

static int one_batch(struct generate *g)
{
    struct pc_generate_step step = {.request = g->n_requests + 1};
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    g->accepted = json_array();
    int rc = g->accepted ? ask(g) : pc_error_mem(g->err, 0, "what came");
    step.request_seconds = seconds_since(&began);
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (rc == 0)
        rc = process(g, &step);
    if (rc == 0)
        rc = add_to_log(
            g, json_pack("{s:I, s:I, s:I, s:I, s:O}", "request", (json_int_t)step.request, "found",
                   (json_int_t)step.n_found, "prompt_tokens", (json_int_t)step.prompt_tokens,
                   "completion_tokens", (json_int_t)step.completion_tokens, "records", g->accepted));
    step.process_seconds = seconds_since(&began);
    forget_replies(g);
    if (rc < 0)
        return rc;
    g->n_requests++;
    g->result->n_requests++;
    g->result->n_new += step.n_kept;
    g->result->prompt_tokens += step.prompt_tokens > 0 ? step.prompt_tokens : 0;
    g->result->completion_tokens += step.completion_tokens > 0 ? step.completion_tokens : 0;
    if (g->o->on_step)
        g->o->on_step(g->o->ctx, &step);
    g->n_barren = step.n_kept ? 0 : g->n_barren + 1;
    if (g->n_barren == MAX_BARREN)
        return pc_error_set(g->err, PACO_ELIMIT,
            "the last %d batches brought nothing that is new; what was accepted before is kept", MAX_BARREN);
    return seconds_since(&g->saved) > SAVE_EVERY ? save_list(g) : 0;
}

/* ---- beginning and end ---- */

static int check_options(const struct pc_generate_options *o, struct paco_error *err)
{
    if (o->n_prompt < 1 || o->n_prompt > MAX_PROMPT)
        return pc_error_set(
            err, PACO_EINVAL, "%" PRIu32 " tasks in a prompt: 1 to %d can be", o->n_prompt, MAX_PROMPT);
    if (o->batch < 1 || o->batch > MAX_BATCH)
        return pc_error_set(
            err, PACO_EINVAL, "%" PRIu32 " prompts at once: 1 to %d can be", o->batch, MAX_BATCH);
    return 0;
}

static int read_inputs(struct generate *g)
{
    g->rouge = pc_rouge_new(g->o->pool, g->err);
    g->seeds = json_array();
    g->instructions = json_array();
    g->list_path = pc_path_join(g->o->output_dir, "regen.json");
    g->log_path = pc_path_join(g->o->output_dir, "regen.jsonl");
    if (!g->rouge || !g->seeds || !g->instructions || !g->list_path || !g->log_path)
        return pc_error_mem(g->err, 0, "the seeds");
    int rc = pc_file_slurp(g->o->prompt, 1 << 20, &g->preamble, g->err);
    if (rc == 0)
        rc = read_records(g, g->o->seed_tasks, read_seed);
    g->result->n_seeds = json_array_size(g->seeds);
    if (rc == 0 && g->result->n_seeds < g->o->n_prompt) {
        rc = pc_error_set(g->err, PACO_EFORMAT, "holds %zu seeds, fewer than a prompt's %" PRIu32,
            g->result->n_seeds, g->o->n_prompt);
        pc_error_path(g->err, g->o->seed_tasks);
    }
    return rc;
}

static int read_earlier(struct generate *g)
{
    struct stat st;
    if (g->log_size || (g->log < 0 && stat(g->log_path, &st) == 0 && st.st_size > 0))
        return read_records(g, g->log_path, keep_logged);
    return pc_path_exists(g->list_path) ? read_records(g, g->list_path, keep_record) : 0;
}

/* An earlier list that upstream made becomes the log's first line. */
static int import_list(struct generate *g)
{
    json_t *list = NULL;
    struct pc_buf b;
    if (g->log_size || !g->list.len)
        return 0;
    int rc = pc_file_slurp(g->list_path, MAX_FILE, &b, g->err);
    if (rc == 0)
        rc = pc_json_parse(b.data, b.len, g->list_path, 0, &list, g->err);
    pc_buf_release(&b);
    return rc == 0 ? add_to_log(g, json_pack("{s:i, s:o}", "request", 0, "records", list)) : rc;
}

/* Draw what earlier batches drew. */
static int catch_up(struct generate *g)
{
    size_t picked[MAX_PROMPT];
    int rc = 0;
    pc_py_seed(&g->random, g->o->seed);
    for (uint64_t i = 0; i < g->n_requests * g->o->batch && rc == 0; i++)
        rc = pc_py_sample(&g->random, json_array_size(g->seeds), g->o->n_prompt, picked, g->err);
    return rc;
}

static int prepare(struct generate *g, bool writes)
{
    int rc = check_options(g->o, g->err);
    if (rc == 0)
        rc = read_inputs(g);
    if (rc == 0 && writes)
        rc = pc_dir_make(g->o->output_dir, g->err);
    if (rc == 0 && writes)
        rc = open_log(g);
    if (rc == 0)
        rc = read_earlier(g);
    if (rc == 0 && writes)
        rc = import_list(g);
    return rc == 0 ? catch_up(g) : rc;
}

static void open_generate(struct generate *g, const struct pc_generate_options *options,
    struct pc_generate_result *result, struct paco_error *err)
{
    *result = (struct pc_generate_result){0};
    *g = (struct generate){.o = options, .result = result, .log = -1, .err = err};
    pc_buf_init(&g->preamble, 1);
    pc_buf_init(&g->list, MAX_FILE);
    for (size_t i = 0; i < MAX_BATCH; i++)
        pc_buf_init(&g->prompts[i], 1 << 26);
    clock_gettime(CLOCK_MONOTONIC, &g->saved);
}

static void release(struct generate *g)
{
    forget_replies(g);
    for (size_t i = 0; i < MAX_BATCH; i++)
        pc_buf_release(&g->prompts[i]);
    if (g->log >= 0)
        close(g->log);
    pc_openai_close(g->api);
    pc_rouge_free(g->rouge);
    json_decref(g->seeds);
    json_decref(g->instructions);
    pc_buf_release(&g->preamble);
    pc_buf_release(&g->list);
    pc_free(g->scores);
    pc_free(g->list_path);
    pc_free(g->log_path);
    pc_free(g);
}

int pc_data_generate(
    const struct pc_generate_options *options, struct pc_generate_result *result, struct paco_error *err)
{
    struct generate *g = pc_alloc(1, sizeof *g);
    if (!g)
        return pc_error_mem(err, sizeof *g, "generating");
    open_generate(g, options, result, err);
    int rc = prepare(g, true);
    if (rc == 0)
        rc = pc_openai_open(options->api, &g->api, err);
    bool ready = rc == 0;
    while (rc == 0 && result->n_total < options->n_wanted)
        rc = one_batch(g);
    if (ready) {
        struct paco_error first = err ? *err : (struct paco_error){0};
        int saved = save_list(g);
        if (rc < 0 && err)
            *err = first;
        rc = rc < 0 ? rc : saved;
    }
    release(g);
    return rc;
}

int pc_data_generate_plan(
    const struct pc_generate_options *options, struct pc_generate_result *result, struct paco_error *err)
{
    struct generate *g = pc_alloc(1, sizeof *g);
    if (!g)
        return pc_error_mem(err, sizeof *g, "generating");
    open_generate(g, options, result, err);
    int rc = prepare(g, false);
    size_t sum = 0;
    for (int i = 0; i < N_TRIAL && rc == 0; i++) {
        rc = draw_prompt(g, &g->prompts[0]);
        sum += g->prompts[0].len;
    }
    result->prompt_bytes = sum / N_TRIAL;
    release(g);
    return rc;
}
