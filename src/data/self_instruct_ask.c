// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "data/self_instruct_parts.h"

#include <string.h>

/* ---- prompts ---- */

static struct pc_task_text text_of(const json_t *v)
{
    return (struct pc_task_text){json_string_value(v), json_string_length(v)};
}

int pc_generate_draw(struct pc_generating *g, struct pc_buf *out)
{
    size_t picked[PC_GENERATE_MAX_PROMPT];
    struct pc_new_task tasks[PC_GENERATE_MAX_PROMPT];
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

int pc_generate_catch_up(struct pc_generating *g)
{
    size_t picked[PC_GENERATE_MAX_PROMPT];
    int rc = 0;
    pc_py_seed(&g->random, g->o->seed);
    for (uint64_t i = 0; i < g->n_requests * g->o->batch && rc == 0; i++)
        rc = pc_py_sample(&g->random, json_array_size(g->seeds), g->o->n_prompt, picked, g->err);
    return rc;
}

/* ---- asking ---- */

static int start(struct pc_generating *g, size_t i, int32_t max_tokens)
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
static int take_reply(
    struct pc_generating *g, struct pc_openai_reply *reply, int32_t *max_tokens, size_t *n_open)
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

int pc_generate_ask(struct pc_generating *g)
{
    int32_t max_tokens = g->o->max_tokens;
    size_t n_open = 0;
    int rc = 0;
    for (size_t i = 0; i < g->o->batch && rc == 0; i++) {
        rc = pc_generate_draw(g, &g->prompts[i]);
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
