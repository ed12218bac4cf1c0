// SPDX-License-Identifier: Apache-2.0
#include "train/samples.h"

#include "base/memory.h"
#include "engine/scheduler.h"

enum { MAX_TEXT = 1 << 26, AT_ONCE = 16 };

/* A prompt that is being answered. */
struct asked {
    const struct pc_samples_options *o;
    struct pc_sample *to;
    size_t *n_done;
    int *rc; /* of the first that failed, and */
    struct paco_error *err;
};

static void on_done(void *ctx, int32_t i_sample, const struct pc_answer *a)
{
    (void)i_sample;
    struct asked *asked = ctx;
    struct pc_buf text;
    pc_buf_init(&text, MAX_TEXT);
    ++*asked->n_done;
    int rc = a->error ? a->error->code : 0;
    if (rc < 0 && *asked->rc == 0 && asked->err)
        *asked->err = *a->error;
    else if (rc == 0)
        rc = pc_tokenizer_decode(asked->o->tok, a->ids, a->n, true, &text, asked->err);
    if (rc == 0) {
        asked->to->text = text.data ? pc_buf_detach(&text) : pc_strdup("");
        asked->to->stop = a->stop;
        asked->to->n_tokens = (int32_t)a->n_chosen;
        if (!asked->to->text)
            rc = pc_error_mem(asked->err, text.len, "an answer");
    }
    pc_buf_release(&text);
    if (*asked->rc == 0)
        *asked->rc = rc;
}

static int submit(struct pc_scheduler *s, struct asked *asked, size_t i, struct paco_error *err)
{
    const struct pc_samples_options *o = asked->o;
    const struct pc_request request = {.prompt = o->prompts[i].v,
        .n_prompt = o->prompts[i].n,
        .max_tokens = o->max_tokens,
        .sampler = {.suppressed = o->suppressed, .n_suppressed = o->n_suppressed},
        .eos_ids = o->eos_ids,
        .n_eos = o->n_eos,
        .ctx = asked,
        .on_done = on_done};
    return pc_scheduler_submit(s, &request, NULL, err);
}

static int run(
    struct pc_scheduler *s, struct asked *asked, size_t n, const size_t *n_done, struct paco_error *err)
{
    int rc = 0;
    for (size_t next = 0; rc == 0;) {
        const struct pc_progress_event event = {
            .phase = "answering", .done = *n_done, .total = n, .unit = "prompts"};
        if (pc_progress(asked->o->progress, &event))
            return pc_error_set(err, PACO_ECANCELLED, "stopped while answering");
        if (next == n && pc_scheduler_n_open(s) == 0)
            break;
        while (rc == 0 && next < n && pc_scheduler_room(s)) {
            rc = submit(s, &asked[next], next, err);
            next++;
        }
        if (rc == 0)
            rc = pc_scheduler_step(s, err);
        if (rc == 0)
            rc = *asked->rc;
    }
    return rc;
}

int pc_samples_ask(const struct pc_samples_options *o, struct pc_sample *out, struct paco_error *err)
{
    const struct pc_engine_options engine_options = {.n_threads = o->n_threads, .max_logits = AT_ONCE};
    struct pc_engine *engine = NULL;
    struct pc_scheduler *s = NULL;
    size_t n_done = 0;
    int failed = 0, rc = 0;
    struct asked *asked = pc_alloc_zero(o->n, sizeof *asked);
    if (!asked)
        return pc_error_mem(err, o->n * sizeof *asked, "prompts");
    for (size_t i = 0; i < o->n; i++)
        asked[i] = (struct asked){.o = o, .to = &out[i], .n_done = &n_done, .rc = &failed, .err = err};
    rc = pc_engine_open(o->weights, o->config, &engine_options, &engine, err);
    if (rc == 0)
        rc = pc_scheduler_new(engine, NULL, &s, err);
    if (rc == 0)
        rc = run(s, asked, o->n, &n_done, err);
    pc_scheduler_free(s);
    pc_engine_close(engine);
    pc_free(asked);
    return rc;
}
