// SPDX-License-Identifier: Apache-2.0
#include "eval/answer_engine.h"

#include "base/cpu.h"
#include "base/host.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "engine/scheduler.h"
#include "kernels/softmax.h"
#include "model/llama_attention.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    AT_ONCE = 32,
    PLAN_TOKENS = 768,   /* for each at once: more than most questions with their answers */
    KEEP_TOKENS = 16384, /* of beginnings: headers of all subjects under way */
    MAX_TEXT = 1 << 26,
};

static const double POLL_SECONDS = 0.1;

/* A sample's text as it comes, for ends that are looked for in it. */
struct stream {
    struct pc_decoder decoder;
    struct pc_buf text;
};

/* A question under way. */
struct job {
    struct engine_answerer *owner;
    struct job *next; /* the next one answered */
    struct pc_ask ask;
    struct pc_ids prompt;
    struct pc_buf shown; /* the prompt, decoded */
    int32_t candidates[PC_MAX_CHOICES];
    struct stream *streams; /* (n_samples), or NULL: ends are in the ids */
    size_t n_samples, n_left, n_drawn;
    struct pc_reply reply;
};

struct engine_answerer {
    struct pc_answerer base;
    struct pc_scheduler *scheduler;
    const struct pc_tokenizer *tok;
    int bos;
    int32_t *eos_ids;
    size_t n_eos;
    size_t vocab_size;
    struct pc_softmax softmax;
    float *p;                      /* (vocab_size) room */
    struct job *done, **last_done; /* answered, not yet polled */
    struct job **jobs;             /* (max_jobs) all of them */
    size_t n_jobs, max_jobs;
};

static struct engine_answerer *own(struct pc_answerer *a)
{
    return (struct engine_answerer *)a;
}

/* ---- jobs ---- */

static void free_job(struct job *j)
{
    if (!j)
        return;
    for (size_t i = 0; j->streams && i < j->n_samples; i++)
        pc_buf_release(&j->streams[i].text);
    pc_free(j->streams);
    pc_ids_release(&j->prompt);
    pc_buf_release(&j->shown);
    pc_reply_release(&j->reply);
    pc_free(j);
}

static void forget_job(struct engine_answerer *a, const struct job *j)
{
    size_t i = 0;
    while (a->jobs[i] != j)
        i++;
    a->jobs[i] = a->jobs[--a->n_jobs];
}

static void finish_job(struct job *j)
{
    struct engine_answerer *a = j->owner;
    *a->last_done = j;
    a->last_done = &j->next;
}

static void fail_job(struct job *j, const struct paco_error *error)
{
    if (j->reply.error.code == 0)
        j->reply.error = *error;
}

/* ---- what comes back ---- */

/* A token that counts; they come in order. */
static void on_prediction(void *ctx, int32_t i_sample, int32_t pos, const float *logits)
{
    (void)i_sample;
    struct job *j = ctx;
    struct engine_answerer *a = j->owner;
    double sum, log_sum = pc_softmax_log_sum(&a->softmax, a->p, logits, a->vocab_size, &sum);
    double nats = log_sum - (double)logits[j->ask.ids[pos + 1]];
    struct paco_error error = {0};
    if (!isfinite(nats)) {
        pc_error_set(&error, PACO_EFORMAT,
            "token %d: the model gives no probabilities there (are the weights damaged?)", pos + 1);
        fail_job(j, &error);
    }
    j->reply.nats.sum += nats;
    j->reply.nats.n_tokens++;
}

/* Choices: softmax over the candidates alone, rounded to float32 where PyTorch rounds. */
static void on_choice(void *ctx, int32_t i_sample, int32_t pos, const float *logits)
{
    (void)i_sample, (void)pos;
    struct job *j = ctx;
    size_t n = j->ask.n_choices;
    float top = -INFINITY, below[PC_MAX_CHOICES];
    bool numbers = true;
    for (size_t i = 0; i < n; i++)
        top = fmaxf(top, logits[j->candidates[i]]);
    for (size_t i = 0; i < n; i++) {
        below[i] = logits[j->candidates[i]] - top;
        numbers = numbers && !isnan(below[i]);
    }
    struct paco_error error = {0};
    if (!numbers) {
        pc_error_set(&error, PACO_EFORMAT, "the choices' logits are no numbers (are the weights damaged?)");
        fail_job(j, &error);
        return;
    }
    pc_choice_probs(below, n, j->reply.probs);
}

/* Where what ends the text begins, or len. */
static size_t first_end(const struct pc_ask *ask, const char *text, size_t len)
{
    size_t first = ask->until_blank_line ? pc_blank_line(text, len) : len;
    for (size_t i = 0; i < ask->n_stop_texts && ask->texts_only; i++) {
        const char *stop = ask->stop_texts[i], *at = memmem(text, len, stop, strlen(stop));
        if (at && (size_t)(at - text) < first)
            first = (size_t)(at - text);
    }
    return first;
}

static int is_over(void *ctx, int32_t i_sample, const int32_t *ids, size_t n)
{
    struct job *j = ctx;
    struct stream *t = &j->streams[i_sample];
    struct paco_error error = {0};
    size_t len;
    if (!pc_tokenizer_piece(j->owner->tok, ids[n - 1], &len))
        return 0; /* a row of the model that its tokenizer does not know */
    if (pc_decoder_push(&t->decoder, ids[n - 1], &t->text, &error) < 0) {
        fail_job(j, &error);
        return 1;
    }
    return t->text.len > 0 && first_end(&j->ask, t->text.data, t->text.len) < t->text.len;
}

/* Bytes that n characters take at the start of a valid text, at most all. */
static size_t characters_size(const char *text, size_t len, size_t n)
{
    size_t at = 0;
    uint32_t cp;
    for (; n > 0 && at < len; n--)
        at += pc_utf8_decode((const uint8_t *)text + at, len - at, &cp);
    return at;
}

static size_t count_characters(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* The text of an answer, as the top of answer_engine.h has it. */
static int make_text(struct job *j, const int32_t *ids, size_t n, struct pc_buf *out, struct paco_error *err)
{
    struct pc_ids all = {0};
    int rc = 0;
    size_t len;
    for (size_t i = 0; i < j->prompt.n && rc == 0 && !j->ask.new_only; i++)
        rc = pc_ids_add(&all, j->prompt.v[i], err);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (pc_tokenizer_piece(j->owner->tok, ids[i], &len))
            rc = pc_ids_add(&all, ids[i], err);
    if (rc == 0)
        rc = pc_tokenizer_decode(j->owner->tok, all.v, all.n, true, out, err);
    pc_ids_release(&all);
    if (rc < 0 || out->len == 0)
        return rc;
    size_t skip = j->ask.new_only
                      ? 0
                      : characters_size(out->data, out->len, count_characters(j->shown.data, j->shown.len));
    out->len -= skip;
    memmove(out->data, out->data + skip, out->len);
    out->len = first_end(&j->ask, out->data, out->len);
    out->data[out->len] = '\0';
    return 0;
}

static int take_text(struct job *j, size_t i, const struct pc_answer *answer, struct paco_error *err)
{
    struct pc_buf text;
    pc_buf_init(&text, MAX_TEXT);
    int rc = make_text(j, answer->ids, answer->n, &text, err);
    j->reply.lens[i] = text.len;
    j->reply.texts[i] = text.data ? pc_buf_detach(&text) : pc_strdup("");
    if (rc == 0 && !j->reply.texts[i])
        rc = pc_error_mem(err, 1, "an answer's text");
    pc_buf_release(&text);
    return rc;
}

static void on_done(void *ctx, int32_t i_sample, const struct pc_answer *answer)
{
    struct job *j = ctx;
    struct paco_error error = {0};
    if (answer->error)
        fail_job(j, answer->error);
    else if (j->ask.kind == PC_ASK_TEXT && take_text(j, (size_t)i_sample, answer, &error) < 0)
        fail_job(j, &error);
    j->reply.n_output_tokens += (int64_t)answer->n_chosen;
    j->n_drawn++;
    j->owner->base.n_drawn++;
    if (--j->n_left == 0)
        finish_job(j);
}

/* ---- what is asked ---- */

static int encode_prompt(struct job *j, const struct pc_ask *ask, struct paco_error *err)
{
    const struct engine_answerer *a = j->owner;
    bool special = a->bos < 0 ? ask->bos : a->bos > 0;
    int32_t bos = pc_tokenizer_bos(a->tok);
    int rc = 0;
    if (a->bos > 0 && bos >= 0 && !pc_tokenizer_adds_bos(a->tok)) /* by its own settings it would not */
        rc = pc_ids_add(&j->prompt, bos, err);
    if (rc == 0)
        rc = pc_tokenizer_encode(a->tok, ask->prompt->data ? ask->prompt->data : "", ask->prompt->len,
            PC_ENCODE_PARSE | (special ? PC_ENCODE_SPECIAL : 0), &j->prompt, err);
    j->reply.n_prompt_tokens = (int64_t)j->prompt.n;
    return rc;
}

static int encode_choices(struct job *j, struct paco_error *err)
{
    assert(j->ask.n_choices > 0 && j->ask.n_choices <= PC_MAX_CHOICES);
    int rc = 0;
    for (size_t i = 0; i < j->ask.n_choices && rc == 0; i++) {
        struct pc_ids ids = {0};
        const char *choice = j->ask.choices[i];
        rc = pc_tokenizer_encode(j->owner->tok, choice, strlen(choice), PC_ENCODE_PARSE, &ids, err);
        if (rc == 0 && (ids.n == 0 || (size_t)ids.v[0] >= j->owner->vocab_size))
            rc = pc_error_set(
                err, PACO_EMISMATCH, "the choice '%s' has no token in the model's vocabulary", choice);
        if (rc == 0)
            j->candidates[i] = ids.v[0];
        pc_ids_release(&ids);
    }
    j->reply.probs = pc_alloc_zero(j->ask.n_choices, sizeof *j->reply.probs);
    j->reply.n_probs = j->ask.n_choices;
    return rc == 0 && !j->reply.probs ? pc_error_mem(err, sizeof *j->reply.probs, "probabilities") : rc;
}

static int check_ids(struct job *j, struct paco_error *err)
{
    const struct pc_ask *ask = &j->ask;
    assert(ask->first + 1 < ask->n_ids);
    for (size_t i = 0; i < ask->n_ids; i++)
        if (ask->ids[i] < 0 || (size_t)ask->ids[i] >= j->owner->vocab_size)
            return pc_error_set(err, PACO_EMISMATCH, "token %zu is %d, the model's vocabulary has %zu", i,
                ask->ids[i], j->owner->vocab_size);
    j->reply.n_prompt_tokens = (int64_t)ask->n_ids;
    j->reply.nats.n_bytes = (int64_t)ask->tail_len;
    return 0;
}

/* A decoder that has seen the prompt, where that decides how the answer is shown. */
static int start_stream(struct job *j, struct stream *t, struct paco_error *err)
{
    pc_buf_init(&t->text, MAX_TEXT);
    pc_decoder_init(&t->decoder, j->owner->tok, true);
    int rc = 0;
    for (size_t i = 0; i < j->prompt.n && rc == 0 && !j->ask.new_only; i++)
        rc = pc_decoder_push(&t->decoder, j->prompt.v[i], &t->text, err);
    pc_buf_clear(&t->text);
    return rc;
}

static int prepare_text(struct job *j, struct paco_error *err)
{
    size_t n = j->n_samples;
    j->reply.texts = pc_alloc_zero(n, sizeof *j->reply.texts);
    j->reply.lens = pc_alloc_zero(n, sizeof *j->reply.lens);
    if (!j->reply.texts || !j->reply.lens)
        return pc_error_mem(err, n * 2 * sizeof(void *), "an item's answers");
    j->reply.n_texts = n;
    int rc = 0;
    if (!j->ask.new_only)
        rc = pc_tokenizer_decode(j->owner->tok, j->prompt.v, j->prompt.n, true, &j->shown, err);
    if (!j->ask.until_blank_line && !j->ask.texts_only)
        return rc;
    j->streams = pc_alloc_zero(n, sizeof *j->streams);
    if (!j->streams)
        return pc_error_mem(err, n * sizeof *j->streams, "an item's answers");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = start_stream(j, &j->streams[i], err);
    return rc;
}

static int ask_scheduler(struct job *j, const struct pc_question *q, struct paco_error *err)
{
    const struct engine_answerer *a = j->owner;
    bool text = j->ask.kind == PC_ASK_TEXT, nats = j->ask.kind == PC_ASK_NATS;
    const struct pc_request r = {.prompt = nats ? j->ask.ids : j->prompt.v,
        .n_prompt = nats ? j->ask.n_ids - 1 : j->prompt.n, // what the last predicts is not asked
        .max_tokens = text ? j->ask.max_tokens : 0,
        .n_samples = (int32_t)j->n_samples,
        .sampler = {.temperature = j->ask.temperature,
            .top_p = j->ask.top_p,
            .top_k = j->ask.top_k,
            .seed = (uint64_t)q->seed},
        .eos_ids = a->eos_ids,
        .n_eos = a->n_eos,
        .stops = j->ask.stop_ids,
        .n_stops = j->ask.texts_only ? 0 : j->ask.n_stop_ids,
        .ctx = j,
        .is_over = j->streams ? is_over : NULL,
        .on_logits = text   ? NULL
                     : nats ? on_prediction
                            : on_choice,
        .n_logits = text   ? 0
                    : nats ? j->ask.n_ids - 1 - j->ask.first
                           : 1,
        .on_done = on_done};
    return pc_scheduler_submit(a->scheduler, &r, NULL, err);
}

static int prepare(struct job *j, const struct pc_question *q, struct paco_error *err)
{
    bool nats = j->ask.kind == PC_ASK_NATS;
    int rc = nats ? check_ids(j, err) : encode_prompt(j, q->ask, err);
    if (rc == 0 && !nats)
        rc = j->ask.kind == PC_ASK_CHOICE ? encode_choices(j, err) : prepare_text(j, err);
    return rc < 0 ? rc : ask_scheduler(j, q, err);
}

/* ---- the answerer ---- */

static size_t answerer_room(const struct pc_answerer *base)
{
    const struct engine_answerer *a = (const struct engine_answerer *)base;
    return a->max_jobs - a->n_jobs;
}

static int answerer_submit(struct pc_answerer *base, const struct pc_question *q, struct paco_error *err)
{
    struct engine_answerer *a = own(base);
    assert(a->n_jobs < a->max_jobs);
    struct job *j = pc_alloc_zero(1, sizeof *j);
    if (!j)
        return pc_error_mem(err, sizeof *j, "a question");
    a->jobs[a->n_jobs++] = j;
    j->owner = a;
    j->ask = *q->ask;
    j->ask.prompt = NULL;
    j->n_samples = j->ask.kind == PC_ASK_TEXT && j->ask.n_samples > 1 ? (size_t)j->ask.n_samples : 1;
    j->n_left = j->ask.kind == PC_ASK_TEXT && j->ask.max_tokens <= 0 ? 1 : j->n_samples;
    j->reply.i_item = q->i_item;
    pc_buf_init(&j->shown, MAX_TEXT);
    struct paco_error error = {0};
    if (prepare(j, q, &error) < 0) {
        fail_job(j, &error);
        finish_job(j);
    }
    return 0;
}

/* A failed reply has its counts and its error only. */
static void hand_out(struct engine_answerer *a, struct pc_reply *reply)
{
    struct job *j = a->done;
    a->done = j->next;
    if (!a->done)
        a->last_done = &a->done;
    *reply = j->reply;
    a->base.n_drawn -= j->n_drawn;
    j->reply = (struct pc_reply){0};
    if (reply->error.code != 0) {
        struct pc_reply failed = {.i_item = reply->i_item,
            .error = reply->error,
            .n_prompt_tokens = reply->n_prompt_tokens,
            .n_output_tokens = reply->n_output_tokens};
        pc_reply_release(reply);
        *reply = failed;
    }
    forget_job(a, j);
    free_job(j);
}

static int answerer_poll(struct pc_answerer *base, struct pc_reply *reply, struct paco_error *err)
{
    struct engine_answerer *a = own(base);
    double start = pc_seconds();
    while (!a->done && pc_scheduler_n_open(a->scheduler) > 0) {
        int rc = pc_scheduler_step(a->scheduler, err);
        if (rc < 0)
            return rc;
        if (pc_seconds() - start >= POLL_SECONDS)
            break;
    }
    if (!a->done)
        return 0;
    hand_out(a, reply);
    return 1;
}

static void answerer_close(struct pc_answerer *base)
{
    if (!base)
        return;
    struct engine_answerer *a = own(base);
    pc_scheduler_free(a->scheduler);
    for (size_t i = 0; i < a->n_jobs; i++)
        free_job(a->jobs[i]);
    pc_free(a->jobs);
    pc_free(a->eos_ids);
    pc_free(a->p);
    pc_free(a);
}

void pc_answer_engine_plan(struct pc_engine_options *o, const struct pc_config *c, int32_t n_at_once)
{
    uint64_t memory = o->memory_limit ? o->memory_limit : pc_host_memory_available();
    uint64_t block = pc_kv_block_size(c, o->has_kv_type || o->f32 ? o->kv_type : PC_F16);
    uint64_t most = block ? memory / 4 / block : 0; /* blocks: a quarter of the memory, for all of it */
    if (o->max_logits == 0)
        o->max_logits = n_at_once ? n_at_once : AT_ONCE;
    uint64_t kept = KEEP_TOKENS / PC_KV_BLOCK, open = (uint64_t)o->max_logits * PLAN_TOKENS / PC_KV_BLOCK;
    if (o->prefix_size == 0)
        o->prefix_size = (kept < most / 3 ? kept : most / 3) * block;
    if (o->plan_tokens == 0)
        o->plan_tokens = (int64_t)(open < most - most / 3 ? open : most - most / 3) * PC_KV_BLOCK;
}

static const struct pc_answerer_ops g_ops = {answerer_room, answerer_submit, answerer_poll, answerer_close};

static int open_all(struct engine_answerer *a, struct pc_engine *engine,
    const struct pc_answer_engine_options *o, struct paco_error *err)
{
    int rc = pc_scheduler_new(engine, NULL, &a->scheduler, err);
    if (rc < 0)
        return rc;
    a->max_jobs = pc_scheduler_room(a->scheduler);
    a->jobs = pc_alloc(a->max_jobs, sizeof(void *));
    a->eos_ids = pc_alloc(o->n_eos, sizeof *a->eos_ids);
    a->p = pc_alloc(a->vocab_size, sizeof *a->p);
    if (!a->jobs || !a->eos_ids || !a->p)
        return pc_error_mem(err, a->max_jobs * sizeof(void *), "the questions under way");
    pc_softmax_init(&a->softmax, pc_cpu_flags());
    if (o->n_eos)
        memcpy(a->eos_ids, o->eos_ids, o->n_eos * sizeof *a->eos_ids);
    a->n_eos = o->n_eos;
    pc_engine_arithmetic(engine, a->base.description, sizeof a->base.description);
    return 0;
}

int pc_answer_engine_open(struct pc_engine *engine, const struct pc_tokenizer *tok,
    const struct pc_answer_engine_options *options, struct pc_answerer **out, struct paco_error *err)
{
    struct engine_answerer *a = pc_alloc_zero(1, sizeof *a);
    if (!a)
        return pc_error_mem(err, sizeof *a, "an answerer");
    a->base.ops = &g_ops;
    a->tok = tok;
    a->bos = options->bos;
    a->vocab_size = (size_t)pc_engine_config(engine)->vocab_size;
    a->last_done = &a->done;
    int rc = open_all(a, engine, options, err);
    if (rc < 0) {
        answerer_close(&a->base);
        return rc;
    }
    *out = &a->base;
    return 0;
}

struct pc_scheduler_stats pc_answer_engine_stats(const struct pc_answerer *a)
{
    return pc_scheduler_stats(((const struct engine_answerer *)a)->scheduler);
}
