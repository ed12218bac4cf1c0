// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_party.h"

#include "base/file.h"
#include "base/memory.h"
#include "cli/eval_model.h"
#include "cli/eval_ranks.h"
#include "cli/launch.h"
#include "cli/output.h"
#include "cli/vocab_files.h"
#include "engine/scheduler.h"
#include "eval/answer_api.h"
#include "eval/answer_engine.h"
#include "eval/answer_ranks.h"
#include "eval/tasks.h"
#include "net/http.h"
#include "net/reply_cache.h"
#include "prompt/vocabulary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- who, and what they are asked ---- */

/* The tokenizer of a model that is elsewhere, and its format where nobody told. */
static int open_tokenizer(struct pc_party *p, struct paco_error *err)
{
    char *path = pc_vocabulary_find(p->v->tokenizer, err), *chat_template = NULL;
    bool certain;
    int rc = path ? pc_vocabulary_open(path, &p->a.tok, err) : err->code;
    if (rc == 0 && p->a.prompter.tuned == PC_FORMAT_AUTO && !p->chat && !p->v->api_chat) {
        rc = pc_vocabulary_chat_template(path, &chat_template, err);
        if (rc == 0)
            p->a.prompter.tuned = pc_format_detect(p->a.tok, chat_template, &certain);
        pc_free(chat_template);
    }
    pc_free(path);
    return rc;
}

/* The endpoint is asked what it can before anything else. */
static int open_endpoint(struct pc_party *p, struct paco_error *err)
{
    const char *key = p->v->api_key_env ? getenv(p->v->api_key_env) : NULL;
    if (p->v->api_key_env && !key)
        return pc_error_set(err, PACO_EINVAL, "--api-key-env: the environment has no %s", p->v->api_key_env);
    char *cache = p->chat ? pc_reply_cache_dir("judge") : NULL; // a judge's replies are paid for once
    const struct pc_answer_api_options o = {.url = p->v->api,
        .model = p->v->model.model,
        .key = key,
        .chat = p->chat || p->v->api_chat,
        .cache_dir = cache,
        .http.max_in_flight = (int)p->v->batch,
        .progress = pc_progress_bar(p->self),
        .notes = &p->notes};
    if (p->v->model.model)
        snprintf(p->name, sizeof p->name, "%s", p->v->model.model);
    else
        pc_http_shown_url(p->v->api, p->name, sizeof p->name);
    int rc = pc_answer_api_open(&o, &p->answerer, err);
    pc_free(cache);
    if (rc == 0)
        p->a.prompter.tuned = pc_answer_api_format(p->answerer);
    return rc < 0 || !p->v->tokenizer ? rc : open_tokenizer(p, err);
}

static int open_model(struct pc_party *p, struct paco_error *err)
{
    const struct pc_wishes wishes = pc_wishes_plain(&p->v->model, "auto");
    int rc = pc_answering_open(p->self, &wishes, &p->a, err);
    if (rc == 0)
        pc_source_name(p->a.model.lead, p->name, sizeof p->name);
    return rc;
}

static int open_tasks(struct pc_party *p, struct paco_error *err)
{
    int rc = 0, bos = pc_bos_wish(p->v->bos);
    for (size_t i = 0; i < p->n_tasks && rc == 0; i++) {
        const struct pc_eval_options o = {.task = p->tasks[i],
            .flags = &p->v->flags,
            .data_dir = p->data,
            .data_file = p->data_file,
            .out = p->v->out,
            .tok = p->a.tok,
            .format = p->a.prompter.tuned,
            .bos = bos,
            .model_name = p->name,
            .outputs = p->v->outputs,
            .force = p->v->force,
            .n_judges = (int)p->v->judges,
            .place = i + 1,
            .n_tasks = p->n_tasks,
            .notes = &p->notes};
        rc = pc_eval_open(&o, &p->evals[i], err);
        if (rc == 0 && p->v->api)
            rc = pc_eval_can(p->evals[i], p->answerer, pc_answer_api_can, err);
    }
    return rc;
}

/* What prompts are wrapped in where no flag says so, unless it is what the card's were. */
static void remark_on_format(struct pc_party *p)
{
    enum pc_format own = p->a.prompter.tuned;
    bool any = false; // of the tasks has prompts to wrap
    for (size_t i = 0; i < p->n_tasks; i++)
        any |= !p->tasks[i]->is_perplexity;
    if (!any || p->v->flags.use_chat_format >= 0 || own == PC_FORMAT_TULU || p->v->outputs)
        return;
    if (own == PC_FORMAT_AUTO || own == PC_FORMAT_RAW)
        pc_note(&p->notes, "%s, so prompts are plain (--use_chat_format wraps them in the card's)",
            p->v->api ? "which format the model behind the endpoint was tuned on is not known"
                      : "no chat format is known for this model");
    else
        pc_note(&p->notes,
            "prompts are in the format this model was tuned on, %s (--no_chat_format: plain, as upstream "
            "asks models "
            "without the card's; --use_chat_format: the card's)",
            pc_format_name(own));
}

static int open_party(struct pc_party *p, struct paco_error *err)
{
    p->notes.progress = pc_progress_bar(p->self);
    int rc = p->given ? 0 : p->v->api ? open_endpoint(p, err) : open_model(p, err);
    if (rc == 0)
        rc = open_tasks(p, err);
    pc_progress_bar_end();
    return rc;
}

/* ---- what it depends on, and what is there ---- */

/* An endpoint shows nothing of its model but the name. Results are passed on: no password in them. */
static int describe_endpoint(struct pc_party *p, struct paco_error *err)
{
    char url[600];
    enum pc_format format = p->a.prompter.tuned;
    p->identity =
        json_pack("{s:s, s:s?, s:b, s:s?, s:s?}", "api", pc_http_shown_url(p->v->api, url, sizeof url),
            "name", p->v->model.model, "chat", p->chat || p->v->api_chat, "format",
            format == PC_FORMAT_AUTO ? NULL : pc_format_name(format), "tokenizer", p->v->tokenizer);
    return p->identity ? 0 : pc_error_mem(err, 64, "an endpoint's description");
}

/* All that decides the results; of all ranks the same. */
static int identify(struct pc_party *p, struct paco_error *err)
{
    int rc = p->v->api
                 ? describe_endpoint(p, err)
                 : pc_eval_fingerprint(&p->a, &p->v->model, pc_progress_bar(p->self), &p->identity, err);
    pc_progress_bar_end();
    for (size_t i = 0; i < p->n_tasks && rc == 0; i++)
        rc = pc_eval_identify(p->evals[i], p->identity, err);
    return rc;
}

static int look(struct pc_party *p, struct paco_error *err)
{
    int rc = 0;
    bool all_done = true;
    for (size_t i = 0; i < p->n_tasks && rc == 0; i++) {
        rc = pc_eval_look(p->evals[i], p->identity, err);
        all_done &= pc_eval_is_done(p->evals[i]);
    }
    if (rc == 0 && !all_done && pc_path_exists(p->v->out) && access(p->v->out, W_OK | X_OK) < 0) {
        rc = pc_error_os(err, errno, "the results cannot be written here");
        pc_error_path(err, p->v->out);
    }
    if (rc == 0 && !all_done && !p->given)
        remark_on_format(p);
    return rc;
}

/* ---- asking and answering ---- */

static int open_answerer(struct pc_party *p, struct paco_error *err)
{
    struct pc_engine_options o = pc_model_engine_options(&p->v->model);
    o.n_threads = pc_launch_threads(o.n_threads);
    pc_answer_engine_plan(&o, p->a.model.config, (int32_t)p->v->batch);
    int rc = pc_engine_open(p->a.model.weights, p->a.model.config, &o, &p->engine, err);
    if (rc < 0)
        return rc;
    const struct pc_answer_engine_options ends = {.bos = -1, .eos_ids = p->a.eos, .n_eos = p->a.n_eos};
    char what[256], bytes[32];
    if (pc_command_verbose())
        pc_command_note(p->self, "%s; %s of memory at most", pc_engine_describe(p->engine, what, sizeof what),
            pc_human_bytes(pc_engine_plan_total(p->engine), bytes));
    return pc_answer_engine_open(p->engine, p->a.tok, &ends, &p->answerer, err);
}

static int open_ranks(struct pc_party *p, struct paco_error *err)
{
    int rc = open_answerer(p, err);
    if (rc < 0 || pc_comm_size(p->comm) == 1)
        return rc;
    rc = pc_answer_ranks_open(p->comm, p->answerer, &p->answerer, err);
    p->over_ranks = rc == 0;
    return rc;
}

static int ask(struct pc_party *p, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < p->n_tasks && rc == 0; i++) {
        if (pc_eval_is_done(p->evals[i]))
            continue;
        // Ctrl-C is heard from here on, be it only after the weights are loaded.
        const struct pc_progress *bar = pc_progress_bar(p->self);
        if (!p->answerer)
            rc = open_ranks(p, err);
        if (rc == 0 && p->over_ranks)
            pc_answer_ranks_begin(p->answerer, i);
        if (rc == 0)
            rc = pc_eval_ask(p->evals[i], p->answerer, bar, err);
        pc_progress_bar_end();
    }
    return rc;
}

static int make_question(
    void *ctx, size_t i_task, size_t i_item, struct pc_question *q, struct paco_error *err)
{
    struct pc_party *p = ctx;
    if (i_task >= p->n_tasks)
        return pc_error_set(err, PACO_EINVAL, "there are %zu tasks, %zu was asked for", p->n_tasks, i_task);
    return pc_eval_question(p->evals[i_task], i_item, q, err);
}

static int make_answerer(void *ctx, struct pc_answerer **out, struct paco_error *err)
{
    struct pc_party *p = ctx;
    int rc = open_answerer(p, err);
    *out = p->answerer;
    return rc;
}

int pc_party_run(struct pc_party *p, int rc, struct paco_error *err)
{
    if (rc == 0 && p->v->api && pc_comm_size(p->comm) > 1)
        rc = pc_error_set(err, PACO_EINVAL,
            "an endpoint is asked by one process, not by ranks: --batch says how many questions are under "
            "way");
    if (rc == 0)
        rc = open_party(p, err);
    if (rc == 0)
        rc = identify(p, err);
    rc = pc_eval_ranks_agree(p->comm, rc, p->evals, p->n_tasks, err);
    if (rc == 0 && pc_comm_rank(p->comm) > 0)
        return pc_answer_ranks_serve(
            p->comm, &(const struct pc_ranks_worker){make_question, make_answerer, p}, err);
    p->awaited = rc == 0;
    if (rc == 0)
        rc = look(p, err);
    return rc == 0 ? ask(p, err) : rc;
}

/* ---- the end ---- */

/* What was not paid for again. */
static void remark_on_kept(const struct pc_party *p)
{
    size_t n = p->answerer && p->v->api ? pc_answer_api_n_kept(p->answerer) : 0;
    if (n)
        pc_command_note(p->self,
            "%zu repl%s of %s had been kept by an earlier run ($XDG_CACHE_HOME/paco/judge) and %s not asked "
            "for "
            "again",
            n, n == 1 ? "y" : "ies", p->name, n == 1 ? "was" : "were");
}

/* How much of what was to be read had been read before. */
static void remark_on_work(const struct pc_party *p)
{
    char all[32], computed[32], written[32];
    if (!p->engine || !p->answerer || p->over_ranks || !pc_command_verbose())
        return;
    struct pc_scheduler_stats s = pc_answer_engine_stats(p->answerer);
    pc_command_note(p->self, "prompts had %s tokens, of which %s were computed; answers %s",
        pc_human_count(s.n_prompt, all), pc_human_count(s.n_computed, computed),
        pc_human_count(s.n_decoded, written));
}

void pc_party_rest(struct pc_party *p)
{
    remark_on_work(p);
    remark_on_kept(p);
    if (p->answerer)
        p->answerer->ops->close(p->answerer);
    if (p->awaited && !p->over_ranks)
        pc_answer_ranks_dismiss(p->comm);
    p->awaited = p->over_ranks = false;
    pc_engine_close(p->engine);
    p->answerer = NULL;
    p->engine = NULL;
}

void pc_party_close(struct pc_party *p)
{
    for (size_t i = 0; i < p->n_tasks; i++)
        pc_eval_close(p->evals[i]);
    pc_party_rest(p);
    json_decref(p->identity);
    if (!p->given)
        pc_answering_close(&p->a);
    pc_notes_release(&p->notes);
}
