// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "base/out_file.h"
#include "data/self_instruct_parts.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { N_TRIAL = 1000, SAVE_EVERY = 30, MAX_BARREN = 50 };

static double seconds_since(const struct timespec *from)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - from->tv_sec) + 1e-9 * (double)(now.tv_nsec - from->tv_nsec);
}

/* ---- a batch ---- */

static int process(struct pc_generating *g, struct pc_generate_step *step)
{
    int rc = 0;
    size_t n_found = 0;
    for (size_t i = 0; i < g->o->batch && rc == 0; i++) {
        const struct pc_openai_choice *c = &g->replies[i].choices[0];
        rc = pc_new_tasks_parse((struct pc_task_text){c->text, c->len}, g->o->n_prompt,
            strcmp(c->finish_reason, "length") == 0, g->o->chat, pc_generate_consider, g, &n_found, g->err);
        bool said = g->replies[i].prompt_tokens >= 0 && step->prompt_tokens >= 0;
        step->prompt_tokens = said ? step->prompt_tokens + g->replies[i].prompt_tokens : -1;
        step->completion_tokens = said ? step->completion_tokens + g->replies[i].completion_tokens : -1;
    }
    step->n_found = n_found;
    step->n_kept = json_array_size(g->accepted);
    step->n_total = g->result->n_total;
    return rc;
}

static void forget_replies(struct pc_generating *g)
{
    for (size_t i = 0; i < PC_GENERATE_MAX_BATCH; i++) {
        pc_openai_reply_release(&g->replies[i]);
        g->replies[i] = (struct pc_openai_reply){0};
    }
    json_decref(g->accepted);
    g->accepted = NULL;
}

static int one_batch(struct pc_generating *g)
{
    struct pc_generate_step step = {.request = g->n_requests + 1};
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    g->accepted = json_array();
    int rc = g->accepted ? pc_generate_ask(g) : pc_error_mem(g->err, 0, "what came");
    step.request_seconds = seconds_since(&began);
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (rc == 0)
        rc = process(g, &step);
    if (rc == 0)
        rc = pc_generate_log(
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
    return seconds_since(&g->saved) > SAVE_EVERY ? pc_generate_save(g) : 0;
}

/* ---- beginning and end ---- */

static int check_options(const struct pc_generate_options *o, struct paco_error *err)
{
    if (o->n_prompt < 1 || o->n_prompt > PC_GENERATE_MAX_PROMPT)
        return pc_error_set(err, PACO_EINVAL, "%" PRIu32 " tasks in a prompt: 1 to %d can be", o->n_prompt,
            PC_GENERATE_MAX_PROMPT);
    if (o->batch < 1 || o->batch > PC_GENERATE_MAX_BATCH)
        return pc_error_set(
            err, PACO_EINVAL, "%" PRIu32 " prompts at once: 1 to %d can be", o->batch, PC_GENERATE_MAX_BATCH);
    return 0;
}

static int prepare(struct pc_generating *g, bool writes)
{
    int rc = check_options(g->o, g->err);
    if (rc == 0)
        rc = pc_generate_read_inputs(g);
    if (rc == 0 && writes)
        rc = pc_dir_make(g->o->output_dir, g->err);
    if (rc == 0 && writes)
        rc = pc_generate_open_log(g);
    if (rc == 0)
        rc = pc_generate_read_earlier(g);
    if (rc == 0 && writes)
        rc = pc_generate_import(g);
    return rc == 0 ? pc_generate_catch_up(g) : rc;
}

static void open_generate(struct pc_generating *g, const struct pc_generate_options *options,
    struct pc_generate_result *result, struct paco_error *err)
{
    *result = (struct pc_generate_result){0};
    *g = (struct pc_generating){.o = options, .result = result, .log = -1, .err = err};
    pc_buf_init(&g->preamble, 1);
    pc_buf_init(&g->list, PC_GENERATE_MAX_FILE);
    for (size_t i = 0; i < PC_GENERATE_MAX_BATCH; i++)
        pc_buf_init(&g->prompts[i], 1 << 26);
    clock_gettime(CLOCK_MONOTONIC, &g->saved);
}

static void release(struct pc_generating *g)
{
    forget_replies(g);
    for (size_t i = 0; i < PC_GENERATE_MAX_BATCH; i++)
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
    struct pc_generating *g = pc_alloc(1, sizeof *g);
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
        int saved = pc_generate_save(g);
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
    struct pc_generating *g = pc_alloc(1, sizeof *g);
    if (!g)
        return pc_error_mem(err, sizeof *g, "generating");
    open_generate(g, options, result, err);
    int rc = prepare(g, false);
    size_t sum = 0;
    for (int i = 0; i < N_TRIAL && rc == 0; i++) {
        rc = pc_generate_draw(g, &g->prompts[0]);
        sum += g->prompts[0].len;
    }
    result->prompt_bytes = sum / N_TRIAL;
    release(g);
    return rc;
}
