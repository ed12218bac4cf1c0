// SPDX-License-Identifier: Apache-2.0
/* Requests wait in order; lanes are the sequences being computed. A step begins what it can
 * (scheduler_admit.c), gives every answer its row and prompts what is left of the step, then tells callbacks,
 * chooses tokens and takes off what is done.
 *
 * Keys and values are planned as one number of pages that sequences reserve from; their memory stays with the
 * pool until the scheduler goes, so that a sequence costs no more than its table. */
#include "engine/scheduler.h"

#include "base/memory.h"
#include "engine/prefix.h"
#include "engine/scheduler_parts.h"

#include <assert.h>
#include <string.h>

enum {
    MAX_OPEN = 1 << 20,
    MAX_TOKENS = 1 << 24, /* a sequence can hold no more */
    MAX_SAMPLES = 65536,
    DEFAULT_TOKENS = 512,
};

/* ---- making one ---- */

static int plan_pages(struct pc_scheduler *s, int64_t n_tokens, struct paco_error *err)
{
    struct pc_engine *e = s->engine;
    if (n_tokens == 0)
        n_tokens = e->plan_tokens ? e->plan_tokens : (int64_t)s->max_running * DEFAULT_TOKENS;
    s->max_pages = ((uint64_t)n_tokens + PC_KV_BLOCK - 1) / PC_KV_BLOCK;
    uint64_t size = pc_kv_reserve_size(&e->pages, s->max_pages), left = pc_engine_memory_left(e);
    if (size > left)
        return pc_error_set(err, PACO_EMEM,
            "keys and values of %lld tokens need %.3f GB; %.3f GB are available, enough for %llu tokens",
            (long long)n_tokens, (double)size * 1e-9, (double)left * 1e-9,
            (unsigned long long)(left / e->plan.kv_token));
    int rc = pc_kv_reserve(&e->pages, s->max_pages, err);
    if (rc < 0)
        return rc;
    s->has_floor = true;
    s->floor_before = e->pages.n_floor;
    e->pages.n_floor = e->pages.n_reserved;
    pc_kv_unreserve(&e->pages, s->max_pages);
    return 0;
}

static int plan(struct pc_scheduler *s, const struct pc_scheduler_options *o, struct paco_error *err)
{
    const struct pc_engine *e = s->engine;
    s->max_running = o->max_running ? (size_t)o->max_running : e->max_logits;
    s->max_rows = o->max_rows ? (size_t)o->max_rows : e->max_rows;
    s->max_rows = s->max_rows > s->max_running ? s->max_rows : s->max_running;
    s->max_prompt_rows = s->max_rows;
    s->max_open = o->max_open ? (size_t)o->max_open : 2 * s->max_running;
    s->shares_lanes = o->shares_lanes;
    s->open = pc_alloc_zero(s->max_open, sizeof *s->open);
    s->waiting = pc_alloc(s->max_open, sizeof(void *));
    s->lanes = pc_alloc_zero(s->max_running, sizeof *s->lanes);
    s->running = pc_alloc(s->max_running, sizeof(void *));
    s->rows = pc_alloc(s->max_rows, sizeof *s->rows);
    s->hidden = pc_alloc((size_t)e->model->config.hidden_size, sizeof *s->hidden);
    if (!s->open || !s->waiting || !s->lanes || !s->running || !s->rows || !s->hidden)
        return pc_error_mem(err,
            s->max_open * sizeof *s->open + s->max_running * sizeof *s->lanes + s->max_rows * sizeof *s->rows,
            "a scheduler");
    for (size_t i = 0; i < s->max_running; i++)
        s->running[i] = &s->lanes[i];
    return plan_pages(s, o->kv_tokens, err);
}

int pc_scheduler_new(struct pc_engine *engine, const struct pc_scheduler_options *options,
    struct pc_scheduler **out, struct paco_error *err)
{
    struct pc_scheduler_options o = options ? *options : (struct pc_scheduler_options){0};
    if (o.max_open < 0 || o.max_open > MAX_OPEN || o.max_running < 0 ||
        (size_t)o.max_running > engine->max_logits || o.max_rows < 0 || o.max_rows > MAX_TOKENS ||
        o.kv_tokens < 0 || o.kv_tokens > (int64_t)1 << 40)
        return pc_error_set(err, PACO_EINVAL,
            "scheduler: %d requests, %d sequences (the engine gives %zu rows logits), %d rows, %lld tokens: "
            "out of range",
            o.max_open, o.max_running, engine->max_logits, o.max_rows, (long long)o.kv_tokens);
    struct pc_scheduler *s = pc_alloc_zero(1, sizeof *s);
    if (!s)
        return pc_error_mem(err, sizeof *s, "a scheduler");
    s->engine = engine;
    int rc = plan(s, &o, err);
    if (rc < 0) {
        pc_scheduler_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void pc_scheduler_free(struct pc_scheduler *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_running; i++) {
        pc_seq_free(s->running[i]->seq);
        pc_sampler_free(s->running[i]->sampler);
        pc_free(s->running[i]->ids);
    }
    for (size_t i = 0; s->open && i < s->max_open; i++) {
        pc_seq_free(s->open[i].stem);
        pc_variant_release(s->open[i].r.variant);
        pc_free(s->open[i].memory);
    }
    while (pc_scheduler_drop_donor(s)) {
    }
    if (s->has_floor) {
        s->engine->pages.n_floor = s->floor_before;
        pc_kv_unreserve(&s->engine->pages, 0);
    }
    pc_free(s->open);
    pc_free(s->waiting);
    pc_free(s->lanes);
    pc_free(s->running);
    pc_free(s->rows);
    pc_free(s->hidden);
    pc_free(s);
}

/* ---- requests ---- */

static int check_request(const struct pc_scheduler *s, const struct pc_request *r, struct paco_error *err)
{
    int32_t vocab = pc_variant_vocab(s->engine, r->variant);
    if (r->n_prompt == 0)
        return pc_error_set(err, PACO_EINVAL, "the prompt has no tokens");
    if (r->n_prompt > MAX_TOKENS || r->max_tokens < 0 || r->max_tokens > MAX_TOKENS || r->n_samples < 0 ||
        r->n_samples > MAX_SAMPLES || r->n_logits > r->n_prompt || r->n_hidden > r->n_prompt)
        return pc_error_set(err, PACO_EINVAL,
            "a prompt of %zu tokens, %d samples of %d, logits of the last %zu, hidden states of the last "
            "%zu: out of range",
            r->n_prompt, r->n_samples, r->max_tokens, r->n_logits, r->n_hidden);
    if (r->n_hidden && s->max_rows > s->engine->max_rows)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "hidden states in steps of %zu rows; the engine computes %zu at once", s->max_rows,
            s->engine->max_rows);
    for (size_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || r->prompt[i] >= vocab)
            return pc_error_set(err, PACO_EINVAL, "token %zu of the prompt is %d, the vocabulary has %d", i,
                r->prompt[i], vocab);
    if (r->variant && !pc_variant_is_admitted(s->engine, r->variant))
        return pc_error_set(err, PACO_EINVAL, "the variant was not admitted to this engine");
    return pc_sampler_check(&r->sampler, err);
}

/* Copy n elements behind what memory holds already. */
static void *put(unsigned char **at, const void *from, size_t n, size_t size)
{
    unsigned char *to = *at;
    if (n)
        memcpy(to, from, n * size);
    *at = to + (n * size + 15) / 16 * 16;
    return to;
}

static size_t put_size(size_t n, size_t size)
{
    return (n * size + 15) / 16 * 16;
}

/* A copy of everything r points to. */
static int copy_request(struct pc_open *o, const struct pc_request *r, struct paco_error *err)
{
    size_t n_samples = r->max_tokens && r->n_samples ? (size_t)r->n_samples : 1;
    size_t size = put_size(r->n_prompt, sizeof *r->prompt) + put_size(r->n_eos, sizeof *r->eos_ids) +
                  put_size(r->sampler.n_suppressed, sizeof(int32_t)) +
                  put_size(r->sampler.n_bias, sizeof *r->sampler.bias) +
                  put_size(n_samples, sizeof *o->done) + put_size(r->n_stops, sizeof(void *));
    for (size_t i = 0; i < r->n_stops; i++)
        size += put_size(1, sizeof **r->stops) + put_size(r->stops[i]->n, sizeof(int32_t));
    unsigned char *at = pc_alloc_zero(size, 1);
    if (!at)
        return pc_error_mem(err, size, "a request");
    *o = (struct pc_open){.r = *r, .memory = at, .n_samples = (int32_t)n_samples};
    o->r.prompt = put(&at, r->prompt, r->n_prompt, sizeof *r->prompt);
    o->r.eos_ids = put(&at, r->eos_ids, r->n_eos, sizeof *r->eos_ids);
    o->r.sampler.suppressed = put(&at, r->sampler.suppressed, r->sampler.n_suppressed, sizeof(int32_t));
    o->r.sampler.bias = put(&at, r->sampler.bias, r->sampler.n_bias, sizeof *r->sampler.bias);
    const struct pc_ids **stops = put(&at, r->stops, r->n_stops, sizeof(void *));
    o->r.stops = stops;
    for (size_t i = 0; i < r->n_stops; i++) {
        struct pc_ids *stop = put(&at, r->stops[i], 1, sizeof **r->stops);
        stop->v = put(&at, r->stops[i]->v, r->stops[i]->n, sizeof(int32_t));
        stops[i] = stop;
    }
    o->done = put(&at, NULL, 0, 0);
    pc_variant_share(o->r.variant);
    return 0;
}

int pc_scheduler_submit(
    struct pc_scheduler *s, const struct pc_request *request, uint64_t *handle, struct paco_error *err)
{
    int rc = check_request(s, request, err);
    if (rc < 0)
        return rc;
    if (s->n_open == s->max_open)
        return pc_error_set(err, PACO_ELIMIT, "%zu requests are open already", s->n_open);
    struct pc_open *o = s->open;
    while (o->handle)
        o++;
    rc = copy_request(o, request, err);
    if (rc < 0)
        return rc;
    o->handle = ++s->last_handle;
    s->n_open++;
    s->waiting[s->n_waiting++] = o;
    if (handle)
        *handle = o->handle;
    return 0;
}

size_t pc_scheduler_room(const struct pc_scheduler *s)
{
    return s->max_open - s->n_open;
}

size_t pc_scheduler_n_open(const struct pc_scheduler *s)
{
    return s->n_open;
}

void pc_scheduler_pause(struct pc_scheduler *s, uint64_t handle, bool paused)
{
    for (size_t i = 0; i < s->max_open && handle; i++)
        if (s->open[i].handle == handle)
            s->open[i].paused = paused;
}

void pc_scheduler_limit_prompts(struct pc_scheduler *s, int32_t n_rows)
{
    s->max_prompt_rows = n_rows > 0 ? (size_t)n_rows : s->max_rows;
}

void pc_scheduler_cancel(struct pc_scheduler *s, uint64_t handle)
{
    for (size_t i = 0; i < s->max_open && handle; i++)
        if (s->open[i].handle == handle)
            s->open[i].cancelled = true;
}

/* ---- the end of samples and requests ---- */

/* Tell of a sample; the last one closes the request first, so that its callback finds room for another. */
static void finish_sample(
    struct pc_scheduler *s, struct pc_open *o, int32_t i_sample, const struct pc_answer *answer)
{
    void (*on_done)(void *, int32_t, const struct pc_answer *) = o->r.on_done;
    void *ctx = o->r.ctx;
    struct pc_answer told = *answer;
    told.n_known = o->n_known;
    assert(!o->done[i_sample]);
    o->done[i_sample] = true;
    s->stats.n_done++;
    s->stats.n_failed += answer->error != NULL;
    if (++o->n_done == o->n_samples) {
        pc_variant_release(o->r.variant);
        pc_free(o->memory);
        *o = (struct pc_open){0};
        s->n_open--;
    }
    if (on_done)
        on_done(ctx, i_sample, &told);
}

static struct pc_lane *lane_of(struct pc_scheduler *s, const struct pc_open *o)
{
    for (size_t i = 0; i < s->n_running; i++)
        if (s->running[i]->of == o)
            return s->running[i];
    return NULL;
}

void pc_scheduler_end(struct pc_scheduler *s, struct pc_open *o, const struct paco_error *error)
{
    size_t i = 0;
    while (i < s->n_waiting && s->waiting[i] != o)
        i++;
    if (i < s->n_waiting) {
        s->n_waiting--;
        memmove(s->waiting + i, s->waiting + i + 1, (s->n_waiting - i) * sizeof(void *));
    }
    pc_scheduler_drop_seq(s, o->stem);
    o->stem = NULL;
    /* A lane goes before its sample is told of: what it had chosen is not told. */
    for (struct pc_lane *lane; (lane = lane_of(s, o)) != NULL;)
        pc_scheduler_retire(s, lane, false);
    int32_t n_samples = o->n_samples, n_left = n_samples - o->n_done;
    for (int32_t k = 0; n_left > 0; k++) {
        assert(o->done); /* it goes with the last of them */
        if (!o->done[k]) {
            n_left--;
            finish_sample(s, o, k, &(struct pc_answer){.stop = PC_STOP_CANCELLED, .eos = -1, .error = error});
        }
    }
}

static void sweep(struct pc_scheduler *s)
{
    for (size_t i = 0; i < s->max_open; i++)
        if (s->open[i].cancelled)
            pc_scheduler_end(s, &s->open[i], NULL);
}

/* ---- a step ---- */

static bool wants_logits(const struct pc_lane *lane, size_t pos)
{
    return (lane->chooses && pos + 1 == lane->n) || (pos >= lane->tells_from && pos < lane->n_prompt);
}

static void add_rows(
    struct pc_scheduler *s, struct pc_lane *lane, size_t max_rows, size_t *n, size_t *n_logits)
{
    lane->first_row = *n;
    size_t pos = (size_t)pc_seq_length(lane->seq);
    for (; pos < lane->n && *n < max_rows && !lane->of->paused; pos++, ++*n) {
        bool want = wants_logits(lane, pos);
        if (want && *n_logits == s->engine->max_logits)
            break;
        *n_logits += want;
        s->rows[*n] = (struct pc_row){.seq = lane->seq,
            .pos = (int32_t)pos,
            .token = lane->ids[pos],
            .variant = lane->of->r.variant,
            .want_logits = want};
    }
    lane->n_rows = *n - lane->first_row;
}

/* Answers first, one row each, for which there is always room; then prompts in the order they were begun,
 * of which no more than what answers are to wait for. */
static size_t fill_rows(struct pc_scheduler *s)
{
    size_t n = 0, n_logits = 0, max_rows = s->max_rows;
    for (int answers = 1; answers >= 0; answers--) {
        for (size_t i = 0; i < s->n_running; i++)
            if ((s->running[i]->n > s->running[i]->n_prompt) == answers)
                add_rows(s, s->running[i], max_rows, &n, &n_logits);
        if (n > 0 && s->max_prompt_rows < max_rows - n)
            max_rows = n + s->max_prompt_rows;
    }
    return n;
}

static const float *last_logits(const struct pc_scheduler *s, const struct pc_lane *lane)
{
    return pc_engine_logits(s->engine, lane->first_row + lane->n_rows - 1);
}

static bool is_whole(const struct pc_lane *lane)
{
    return (size_t)pc_seq_length(lane->seq) == lane->n;
}

static void choose(struct pc_scheduler *s, struct pc_lane *lane)
{
    const float *logits = last_logits(s, lane);
    if (!lane->sampler) {
        lane->chosen = pc_sampler_greedy(logits, (size_t)pc_variant_vocab(s->engine, lane->of->r.variant));
        if (lane->chosen < 0)
            pc_error_set(&lane->error, PACO_EFORMAT,
                "no token can be chosen: every logit is NaN or minus infinity (are the weights damaged?)");
        return;
    }
    if (pc_sampler_next(lane->sampler, logits, &lane->chosen, &lane->error) < 0)
        lane->chosen = -1;
    else
        pc_sampler_accept(lane->sampler, lane->chosen);
}

static void choose_some(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    struct pc_scheduler *s = arg;
    pc_alloc_forbid(true);
    for (int64_t i = first; i < end; i++)
        if (s->running[i]->chooses && is_whole(s->running[i]))
            choose(s, s->running[i]);
    pc_alloc_forbid(false);
}

/* Drawing from a large vocabulary takes as long as a row of a small model: lanes are shared by all workers.
 */
static void choose_all(struct pc_scheduler *s)
{
    bool draws = false;
    for (size_t i = 0; i < s->n_running; i++)
        draws = draws || s->running[i]->sampler;
    pc_pool_share(s->engine->pool, (int64_t)s->n_running, draws ? 0 : 1, choose_some, s);
}

static void show_hidden(struct pc_scheduler *s, const struct pc_lane *lane)
{
    const struct pc_request *r = &lane->of->r;
    for (size_t i = lane->first_row; r->on_hidden && i < lane->first_row + lane->n_rows; i++) {
        size_t pos = (size_t)s->rows[i].pos;
        if (pos < lane->shows_from || pos >= lane->n_prompt)
            continue;
        pc_engine_hidden(s->engine, i, r->variant, s->hidden);
        r->on_hidden(r->ctx, s->rows[i].pos, s->hidden);
    }
}

static void tell_logits(struct pc_scheduler *s, struct pc_lane *lane)
{
    const struct pc_request *r = &lane->of->r;
    if (!r->on_logits)
        return;
    for (size_t i = lane->first_row; i < lane->first_row + lane->n_rows; i++) {
        size_t pos = (size_t)s->rows[i].pos;
        if (pos >= lane->tells_from && pos < lane->n_prompt)
            r->on_logits(r->ctx, -1, s->rows[i].pos, pc_engine_logits(s->engine, i));
    }
    if (r->answer_logits && lane->chooses && is_whole(lane))
        r->on_logits(r->ctx, lane->i_sample, (int32_t)lane->n - 1, last_logits(s, lane));
}

static bool ends_with(const int32_t *ids, size_t n, const struct pc_ids *stop)
{
    return stop->n && stop->n <= n && memcmp(ids + n - stop->n, stop->v, stop->n * sizeof *ids) == 0;
}

/* Take the chosen token. Returns whether the answer ends, and how: answer->ids, n, stop. */
static bool take(struct pc_lane *lane, struct pc_answer *answer)
{
    const struct pc_request *r = &lane->of->r;
    size_t n = lane->n - lane->n_prompt;
    *answer =
        (struct pc_answer){.ids = lane->ids + lane->n_prompt, .n = n, .n_chosen = n + 1, .eos = lane->chosen};
    answer->stop = PC_STOP_EOS;
    for (size_t i = 0; i < r->n_eos; i++)
        if (r->eos_ids[i] == lane->chosen)
            return true;
    lane->ids[lane->n++] = lane->chosen;
    answer->eos = -1;
    answer->n++;
    answer->stop = PC_STOP_TEXT;
    for (size_t i = 0; i < r->n_stops; i++)
        if (ends_with(answer->ids, answer->n, r->stops[i])) {
            answer->n -= r->stops[i]->n;
            return true;
        }
    if (r->is_over && r->is_over(r->ctx, lane->i_sample, answer->ids, answer->n))
        return true;
    answer->stop = PC_STOP_LENGTH;
    return answer->n == (size_t)r->max_tokens;
}

/* What a step made of a lane; it may be gone afterwards. */
static void settle(struct pc_scheduler *s, struct pc_lane *lane)
{
    struct pc_open *o = lane->of;
    bool answering = lane->n > lane->n_prompt;
    s->stats.n_decoded += answering ? lane->n_rows : 0;
    tell_logits(s, lane);
    show_hidden(s, lane);
    if (!is_whole(lane))
        return;
    if (!answering)
        pc_prefix_keep(lane->seq, lane->ids, lane->n);
    struct pc_answer answer = {.stop = PC_STOP_LENGTH, .eos = -1};
    if (lane->chooses && lane->chosen < 0) {
        struct paco_error error = lane->error;
        pc_scheduler_end(s, o, &error);
        return;
    }
    if (lane->chooses && !take(lane, &answer))
        return;
    if (answering)
        pc_prefix_keep(lane->seq, lane->ids, (size_t)pc_seq_length(lane->seq));
    if (lane->i_sample < 0 && o->n_samples > 1) {
        o->reading = false;
        pc_scheduler_retire(s, lane, true);
        return;
    }
    int32_t i_sample = lane->chooses ? lane->i_sample : 0;
    finish_sample(s, o, i_sample, &answer);
    pc_scheduler_retire(s, lane, false);
}

/* Each lane once. A request that fails takes all its lanes off, those before this one too. */
static void settle_all(struct pc_scheduler *s)
{
    for (size_t i = 0; i < s->n_running; i++)
        s->running[i]->unsettled = true;
    for (size_t i = 0; i < s->n_running;) {
        struct pc_lane *lane = s->running[i];
        bool settles = lane->unsettled;
        lane->unsettled = false;
        if (settles)
            settle(s, lane);
        i = i < s->n_running && s->running[i] == lane ? i + 1 : 0;
    }
}

int pc_scheduler_step(struct pc_scheduler *s, struct paco_error *err)
{
    sweep(s);
    pc_scheduler_admit(s);
    size_t n = fill_rows(s);
    int rc = n ? pc_engine_step(s->engine, s->rows, n, err) : 0;
    if (rc < 0)
        return rc;
    s->stats.n_steps += n > 0;
    s->stats.n_rows += n;
    choose_all(s);
    settle_all(s);
    return 0;
}

struct pc_scheduler_stats pc_scheduler_stats(const struct pc_scheduler *s)
{
    return s->stats;
}
