// SPDX-License-Identifier: Apache-2.0
/* The loop: one thread asks and hears, the judges' threads judge. */
#include "eval/run_parts.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_UNJUDGED = 64 };

/* ---- asking ---- */

static int64_t seed_of(struct pc_eval *e, const char *key)
{
    uint8_t digest[PC_SHA256_SIZE];
    char both[128];
    snprintf(both, sizeof both, "%lld %s", (long long)e->o.flags->seed, key);
    pc_sha256_reset(e->hash);
    pc_sha256_update(e->hash, both, strlen(both));
    pc_sha256_final(e->hash, digest);
    int64_t seed = digest[0] & 0x7f;
    for (int i = 1; i < 4; i++)
        seed = seed << 8 | digest[i];
    return seed;
}

static const char *sha_of(struct pc_eval *e, const struct pc_buf *b)
{
    uint8_t digest[PC_SHA256_SIZE];
    pc_sha256_reset(e->hash);
    pc_sha256_update(e->hash, b->data ? b->data : "", b->len);
    pc_sha256_final(e->hash, digest);
    return pc_sha256_hex(digest, e->sha);
}

static json_t *text_value(const char *text, size_t len)
{
    json_t *v = json_stringn(text ? text : "", len);
    return v ? v : json_stringn_nocheck(text, len); // the writer mends it
}

static int begin_record(struct pc_eval *e, json_t **out, struct paco_error *err)
{
    json_t *r = json_object();
    int bad = json_object_set_new(r, "key", json_string_nocheck(e->key));
    bad |= json_object_set_new(r, "group", e->group ? json_string_nocheck(e->group) : json_null());
    bad |= json_object_set_new(r, "prompt", text_value(e->prompt.data, e->prompt.len));
    bad |= json_object_set_new(r, "prompt_sha256", json_string(sha_of(e, &e->prompt)));
    if (bad) {
        json_decref(r);
        return pc_eval_no_memory(err);
    }
    *out = r;
    return 0;
}

/* What no item is to blame for ends the run. */
static bool is_fatal(int rc)
{
    return rc == PACO_EMEM || rc == PACO_ECANCELLED || rc == PACO_ENOSPC;
}

int pc_eval_question(struct pc_eval *e, size_t i, struct pc_question *out, struct paco_error *err)
{
    if (i >= e->n_items)
        return pc_error_set(err, PACO_EINVAL, "%s has no item %zu", e->o.task->name, i);
    if (!e->hash && !(e->hash = pc_sha256_new(err)))
        return PACO_EMEM;
    e->ask = (struct pc_ask){.prompt = &e->prompt};
    e->key[0] = '\0';
    e->group = NULL;
    pc_buf_clear(&e->prompt);
    e->o.task->name_item(e->data, i, e->key, &e->group);
    int rc = e->o.task->ask(e->data, i, &e->ask, err);
    if (rc == 0)
        rc = pc_buf_check(&e->prompt, "a prompt", err);
    if (e->o.bos >= 0)
        e->ask.bos = e->o.bos == 1;
    *out = (struct pc_question){.i_item = i, .key = e->key, .seed = seed_of(e, e->key), .ask = &e->ask};
    return rc;
}

static int submit(struct pc_eval *e, size_t i, struct paco_error *err)
{
    struct pc_question q;
    struct paco_error own = {0};
    int rc = pc_eval_question(e, i, &q, &own);
    if (is_fatal(rc)) {
        if (err)
            *err = own;
        return rc;
    }
    json_t *record = NULL;
    int built = begin_record(e, &record, err);
    if (built < 0)
        return built;
    if (rc < 0)
        return pc_eval_keep_failed(e, i, record, &own, err);
    e->drafts[i] = record;
    e->n_asked++;
    return e->answerer->ops->submit(e->answerer, &q, err);
}

static struct pc_nats read_nats(const json_t *record)
{
    const json_t *sum = json_object_get(record, "nats"), *n = json_object_get(record, "n_scored"),
                 *bytes = json_object_get(record, "n_scored_bytes");
    if (!json_is_number(sum) || !json_is_integer(n) || !json_is_integer(bytes))
        return (struct pc_nats){0};
    return (struct pc_nats){json_number_value(sum), json_integer_value(n), json_integer_value(bytes)};
}

/* The answers an earlier attempt had, from what the record says of them. False when they are not in it. */
static bool read_answers(const json_t *record, size_t i, struct pc_reply *out)
{
    const json_t *output = json_object_get(record, "output"), *probs = json_object_get(record, "probs");
    size_t n = json_is_array(output) ? json_array_size(output) : json_is_string(output);
    *out = (struct pc_reply){.i_item = i, .n_probs = json_array_size(probs)};
    out->probs = out->n_probs ? pc_alloc(out->n_probs, sizeof *out->probs) : NULL;
    out->texts = n ? pc_alloc_zero(n, sizeof *out->texts) : NULL;
    out->lens = n ? pc_alloc_zero(n, sizeof *out->lens) : NULL;
    out->nats = read_nats(record);
    bool good = (n || out->n_probs || out->nats.n_tokens > 0) && (!n || (out->texts && out->lens)) &&
                (!out->n_probs || out->probs);
    for (size_t k = 0; k < out->n_probs && good; k++) {
        good = json_is_number(json_array_get(probs, k));
        out->probs[k] = json_number_value(json_array_get(probs, k));
    }
    for (size_t k = 0; k < n && good; k++) {
        const json_t *text = json_is_array(output) ? json_array_get(output, k) : output;
        out->lens[k] = json_string_length(text);
        out->texts[k] = json_is_string(text) ? pc_strndup(json_string_value(text), out->lens[k]) : NULL;
        good = out->texts[k] != NULL;
        out->n_texts += good;
    }
    if (!good)
        pc_reply_release(out);
    return good;
}

/* Item i was answered by an earlier attempt, or is asked. */
static int begin_item(struct pc_eval *e, size_t i, struct paco_error *err)
{
    struct pc_reply reply;
    json_t *record = e->drafts[i];
    e->drafts[i] = NULL;
    if (record && read_answers(record, i, &reply))
        return pc_judges_give(e->judges, &reply, record, err);
    json_decref(record);
    return submit(e, i, err);
}

static int submit_more(struct pc_eval *e, struct paco_error *err)
{
    int rc = 0;
    while (rc == 0 && e->i_next < e->n_items && pc_judges_n_open(e->judges) < MAX_UNJUDGED &&
           (e->records[e->i_next] || e->answerer->ops->room(e->answerer) > 0)) {
        if (!e->records[e->i_next])
            rc = begin_item(e, e->i_next, err);
        e->i_next++;
    }
    return rc;
}

/* ---- hearing ---- */

static int set_counts(json_t *record, const struct pc_reply *r)
{
    int bad = 0;
    if (r->n_prompt_tokens >= 0)
        bad |= json_object_set_new(record, "n_prompt_tokens", json_integer(r->n_prompt_tokens));
    if (r->n_output_tokens >= 0)
        bad |= json_object_set_new(record, "n_output_tokens", json_integer(r->n_output_tokens));
    return bad;
}

static int set_answers(json_t *record, const struct pc_reply *r)
{
    int bad = 0;
    if (r->nats.n_tokens) {
        bad |= json_object_set_new(record, "nats", json_real(r->nats.sum));
        bad |= json_object_set_new(record, "n_scored", json_integer(r->nats.n_tokens));
        bad |= json_object_set_new(record, "n_scored_bytes", json_integer(r->nats.n_bytes));
    } else if (r->n_probs) {
        json_t *list = json_array();
        for (size_t i = 0; i < r->n_probs; i++)
            bad |= json_array_append_new(list, json_real(r->probs[i]));
        bad |= json_object_set_new(record, "probs", list);
    } else if (r->n_texts == 1) {
        bad |= json_object_set_new(record, "output", text_value(r->texts[0], r->lens[0]));
    } else {
        json_t *list = json_array();
        for (size_t i = 0; i < r->n_texts; i++)
            bad |= json_array_append_new(list, text_value(r->texts[i], r->lens[i]));
        bad |= json_object_set_new(record, "output", list);
    }
    return bad;
}

/* reply is taken over. */
static int hear(struct pc_eval *e, struct pc_reply *reply, struct paco_error *err)
{
    size_t i = reply->i_item;
    json_t *record = i < e->n_items ? e->drafts[i] : NULL;
    if (!record) {
        pc_reply_release(reply);
        return pc_error_set(err, PACO_EINVAL, "an answer came to item %zu, which was not asked", i);
    }
    e->drafts[i] = NULL;
    e->n_asked--;
    int rc = set_counts(record, reply) != 0 ? pc_eval_no_memory(err) : 0;
    if (rc == 0 && is_fatal(reply->error.code)) {
        rc = reply->error.code;
        if (err)
            *err = reply->error;
    }
    if (rc == 0 && reply->error.code < 0) {
        rc = pc_eval_keep_failed(e, i, record, &reply->error, err);
        pc_reply_release(reply);
        return rc;
    }
    if (rc == 0 && set_answers(record, reply) != 0)
        rc = pc_eval_no_memory(err);
    if (rc == 0)
        return pc_judges_give(e->judges, reply, record, err);
    json_decref(record);
    pc_reply_release(reply);
    return rc;
}

static int take_verdicts(struct pc_eval *e, struct paco_error *err)
{
    struct pc_judgement v;
    int rc = 0;
    while (rc == 0 && pc_judges_take(e->judges, &v)) {
        if (v.rc == 0) {
            rc = pc_eval_keep(e, v.i_item, v.record, err);
        } else if (is_fatal(v.rc)) {
            json_decref(v.record);
            if (err)
                *err = v.err;
            rc = v.rc;
        } else {
            rc = pc_eval_keep_failed(e, v.i_item, v.record, &v.err, err);
        }
    }
    return rc;
}

static bool is_utf8(const json_t *text)
{
    return pc_utf8_valid((const uint8_t *)json_string_value(text), json_string_length(text), NULL);
}

/* Whether the journal would give back the very bytes that were answered: what is no UTF-8 is mended there. */
static bool is_kept_whole(const json_t *record)
{
    const json_t *output = json_object_get(record, "output");
    bool whole = !json_is_string(output) || is_utf8(output);
    for (size_t i = 0; i < json_array_size(output) && whole; i++)
        whole = is_utf8(json_array_get(output, i));
    return whole;
}

/* The run ends early: nothing that was computed is lost. Verdicts are kept, and answers whose judges were
 * stopped or had not begun; what failed is asked again. */
static int salvage(struct pc_eval *e, struct paco_error *err)
{
    struct pc_judgement v;
    int rc = 0;
    pc_judges_stop(e->judges);
    while (pc_judges_take(e->judges, &v)) {
        if (rc == 0 && v.rc == 0)
            rc = pc_eval_keep(e, v.i_item, v.record, err);
        else if (rc == 0 && v.rc == PACO_ECANCELLED && is_kept_whole(v.record))
            rc = pc_eval_keep_unjudged(e, v.i_item, v.record, err);
        else
            json_decref(v.record);
    }
    int flushed = pc_eval_flush(e, err);
    return rc < 0 ? rc : flushed;
}

/* Twenty samples of a problem take their time, so they are counted as they are drawn. Those of an answer that
 * waits for its verdict are neither under way nor done: the count stands still and does not step back. */
static struct pc_progress_event how_far(struct pc_eval *e)
{
    size_t n = e->n_samples, drawn = e->n_done * n + (n > 1 ? e->answerer->n_drawn : 0);
    e->n_shown = drawn > e->n_shown ? drawn : e->n_shown;
    return (struct pc_progress_event){
        .done = e->n_shown, .total = e->n_items * n, .unit = n > 1 ? "samples" : "items"};
}

static int show(struct pc_eval *e, const struct pc_progress *progress, struct paco_error *err)
{
    char score[64] = "", phase[64];
    struct pc_progress_event event = how_far(e);
    const char *failed = e->n_failed ? ", some failed" : "";
    if (e->n_scored > 0 && e->o.task->is_perplexity)
        snprintf(score, sizeof score, "perplexity %.2f%s", exp(e->score_sum / e->n_scored), failed);
    else if (e->n_scored > 0)
        snprintf(score, sizeof score, "score %.1f%s", 100 * e->score_sum / e->n_scored, failed);
    if (e->o.n_tasks > 1)
        snprintf(phase, sizeof phase, "%s (task %zu of %zu)", e->o.task->name, e->o.place, e->o.n_tasks);
    event.phase = e->o.n_tasks > 1 ? phase : e->o.task->name;
    event.item = *score ? score : NULL;
    if (pc_progress(progress, &event) == 0)
        return 0;
    return pc_error_set(err, PACO_ECANCELLED,
        "%s: stopped with %zu of %zu items answered; the same command goes on from there", e->o.task->name,
        e->n_done - e->n_failed, e->n_items);
}

/* All items of a task are alike in this. What is wrong with the first is for later. */
static int count_samples(struct pc_eval *e, struct paco_error *err)
{
    struct pc_question q;
    struct paco_error own = {0};
    int rc = pc_eval_question(e, 0, &q, &own);
    e->n_samples = rc == 0 && q.ask->n_samples > 1 ? (size_t)q.ask->n_samples : 1;
    if (!is_fatal(rc))
        return 0;
    if (err)
        *err = own;
    return rc;
}

int pc_eval_ask_items(struct pc_eval *e, const struct pc_progress *progress, struct paco_error *err)
{
    int rc = count_samples(e, err);
    e->n_shown = 0;
    if (rc == 0)
        rc = show(e, progress, err);
    while (rc == 0 && e->n_done < e->n_items) {
        struct pc_reply reply = {0};
        rc = submit_more(e, err);
        if (rc == 0 && e->n_asked > 0) {
            rc = e->answerer->ops->poll(e->answerer, &reply, err);
            if (rc == 1)
                rc = hear(e, &reply, err);
        } else if (rc == 0) {
            pc_judges_wait(e->judges);
        }
        if (rc == 0)
            rc = take_verdicts(e, err);
        if (rc == 0)
            rc = show(e, progress, err);
    }
    if (rc == 0)
        return pc_eval_flush(e, err);
    struct paco_error second = {0};
    (void)salvage(e, &second);
    return rc;
}
