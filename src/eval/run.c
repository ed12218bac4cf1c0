// SPDX-License-Identifier: Apache-2.0
/* One thread asks, hears, journals; the judges' threads judge. The journal's records are {"i": item,
 * "record": its line}; those with an error are kept in memory only, so that the next attempt asks again. */
#include "eval/run.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/host.h"
#include "base/journal.h"
#include "base/memory.h"
#include "eval/flags.h"
#include "eval/judges.h"
#include "eval/results.h"
#include "paco/paco.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PROMPT = 1 << 26, MAX_PENDING = 256, MAX_UNJUDGED = 64 };
static const double SYNC_SECONDS = 1.0;

struct pc_eval {
    struct pc_eval_options o;
    struct pc_task_data *data;
    size_t n_items;
    json_t *files, *identity, *results;
    char *dir; /* OUT/TASK */
    struct pc_eval_result result;
    bool is_done;

    /* While items are asked: */
    struct pc_journal *journal;
    struct pc_answerer *answerer;
    struct pc_judges *judges;
    json_t **drafts;  /* by item: what the record begins with, while it is being answered */
    json_t **records; /* by item: NULL until it is judged */
    json_t **pending; /* journal lines not yet on the disk */
    size_t n_pending;
    size_t i_next, n_asked, n_done, n_failed, n_resumed;
    double score_sum, n_scored, last_sync, start;
    struct pc_buf prompt;
    char sha[PC_SHA256_HEX];
    struct pc_sha256 *hash;
};

static int memory(struct paco_error *err)
{
    return pc_error_mem(err, 64, "an evaluation's records");
}

/* ---- what is asked, of whom ---- */

static int open_data(struct pc_eval *e, struct paco_error *err)
{
    const struct pc_eval_options *o = &e->o;
    const struct pc_task_env env = {.flags = o->flags,
        .data_dir = o->data_dir,
        .tok = o->tok,
        .tulu = o->tulu,
        .notes = o->notes,
        .files = e->files};
    int rc = o->task->open(o->task, &env, &e->data, err);
    if (rc < 0) {
        pc_error_prefix(err, "%s", o->task->name);
        return rc;
    }
    e->n_items = o->task->n_items(e->data);
    if (e->n_items == 0)
        return pc_error_set(err, PACO_ELIMIT, "%s: there is nothing to ask", o->task->name);
    return 0;
}

static json_t *make_identity(const struct pc_eval *e, const json_t *model)
{
    static const char *const bos[] = {"auto", "never", "always"};
    json_t *flags = pc_task_flags_json(e->o.flags);
    return json_pack("{s:s, s:s, s:O, s:o, s:b, s:s, s:O}", "paco_version", paco_version(), "task",
        e->o.task->name, "model", model, "flags", flags, "tulu", e->o.tulu, "bos", bos[e->o.bos + 1], "data",
        e->files);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* From what results.json holds. */
static void settle_result(struct pc_eval *e)
{
    struct pc_eval_result *r = &e->result;
    r->task = e->o.task;
    r->results = e->results;
    r->score = number(e->results, "score");
    r->se = number(e->results, "standard_error");
    r->n_items = e->n_items;
    r->n_failed = (size_t)json_integer_value(json_object_get(e->results, "n_failed"));
}

/* A run that was killed between its rename and its last step left its journal behind. */
static int tidy_journal(struct pc_eval *e, struct paco_error *err)
{
    struct pc_journal *j = NULL;
    int rc = pc_journal_open(e->dir, e->identity, 0, e->o.notes, &j, err);
    if (rc == 0 && pc_journal_is_complete(j))
        rc = pc_journal_commit(j, err);
    pc_journal_close(j, false);
    return rc;
}

static bool has_journal(const struct pc_eval *e)
{
    char *path = pc_path_join(e->dir, PC_JOURNAL_NAME);
    bool there = path && pc_path_exists(path);
    pc_free(path);
    return there;
}

/* OUT/TASK may hold this very run's results: complete, or with items that failed. */
static int look_at_out(struct pc_eval *e, struct paco_error *err)
{
    if (!e->o.force) {
        int rc = pc_results_read(e->dir, e->identity, &e->results, err);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            settle_result(e);
            e->is_done = e->result.was_done = e->result.n_failed == 0;
            return has_journal(e) ? tidy_journal(e, err) : 0;
        }
    }
    return pc_journal_check(e->dir, e->o.force ? PC_JOURNAL_FORCE : 0, err);
}

int pc_eval_open(const struct pc_eval_options *options, struct pc_eval **out, struct paco_error *err)
{
    struct pc_eval *e = pc_alloc_zero(1, sizeof *e);
    if (!e)
        return memory(err);
    e->o = *options;
    pc_buf_init(&e->prompt, MAX_PROMPT);
    e->files = json_object();
    e->dir = pc_path_join(options->out, options->task->name);
    int rc = e->files && e->dir ? open_data(e, err) : memory(err);
    if (rc < 0)
        pc_eval_close(e);
    else
        *out = e;
    return rc;
}

int pc_eval_look(struct pc_eval *e, const json_t *model, struct paco_error *err)
{
    e->identity = make_identity(e, model);
    return e->identity ? look_at_out(e, err) : memory(err);
}

int pc_eval_can(struct pc_eval *e, const struct pc_answerer *a,
    int (*can)(const struct pc_answerer *a, const struct pc_ask *ask, struct paco_error *err),
    struct paco_error *err)
{
    struct pc_ask ask = {.prompt = &e->prompt};
    pc_buf_clear(&e->prompt);
    // What is wrong with one item is for later.
    if (e->o.task->ask(e->data, 0, &ask, NULL) < 0)
        return 0;
    int rc = can(a, &ask, err);
    if (rc < 0)
        pc_error_prefix(err, "%s", e->o.task->name);
    return rc;
}

static void release_records(json_t **v, size_t n)
{
    for (size_t i = 0; v && i < n; i++)
        json_decref(v[i]);
    pc_free(v);
}

/* What only asking needs. */
static void end_asking(struct pc_eval *e, bool discard)
{
    pc_judges_free(e->judges);
    e->judges = NULL;
    release_records(e->drafts, e->n_items);
    release_records(e->records, e->n_items);
    release_records(e->pending, e->n_pending);
    e->drafts = e->records = e->pending = NULL;
    e->n_pending = 0;
    pc_sha256_free(e->hash);
    e->hash = NULL;
    pc_journal_close(e->journal, discard);
    e->journal = NULL;
}

void pc_eval_close(struct pc_eval *e)
{
    if (!e)
        return;
    end_asking(e, false);
    e->o.task->close(e->data);
    json_decref(e->results);
    json_decref(e->identity);
    json_decref(e->files);
    pc_buf_release(&e->prompt);
    pc_free(e->dir);
    pc_free(e);
}

bool pc_eval_is_done(const struct pc_eval *e)
{
    return e->is_done;
}

const struct pc_eval_result *pc_eval_result(const struct pc_eval *e)
{
    return &e->result;
}

/* ---- records ---- */

static void count_record(struct pc_eval *e, const json_t *record)
{
    double score = pc_record_score(record);
    e->n_done++;
    e->n_failed += json_object_get(record, "error") != NULL;
    if (!isnan(score)) {
        e->score_sum += score;
        e->n_scored++;
    }
}

/* Take over an earlier attempt's record, if it is one of item i. */
static void restore(struct pc_eval *e, size_t i, const json_t *record)
{
    char key[96] = "";
    const char *group, *was = json_string_value(json_object_get(record, "key"));
    if (i >= e->n_items || e->records[i] || !was || json_object_get(record, "error"))
        return;
    e->o.task->name_item(e->data, i, key, &group);
    if (strcmp(key, was) != 0)
        return;
    e->records[i] = json_incref((json_t *)(uintptr_t)record);
    e->n_resumed++;
    count_record(e, record);
}

/* Of a finished run whose failed items are asked again, what did not fail. */
static int restore_finished(struct pc_eval *e, struct paco_error *err)
{
    json_t *items;
    int rc = pc_results_items(e->dir, &items, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < json_array_size(items); i++)
        restore(e, i, json_array_get(items, i));
    json_decref(items);
    return 0;
}

static int open_journal(struct pc_eval *e, struct paco_error *err)
{
    bool again = e->results != NULL; // ours, with failed items: what is there may be replaced
    unsigned flags = e->o.force || again ? PC_JOURNAL_FORCE : 0;
    int rc = pc_journal_open(e->dir, e->identity, flags, e->o.notes, &e->journal, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < pc_journal_n_records(e->journal); i++) {
        const json_t *line = pc_journal_record(e->journal, i), *at = json_object_get(line, "i");
        if (json_is_integer(at) && json_integer_value(at) >= 0)
            restore(e, (size_t)json_integer_value(at), json_object_get(line, "record"));
    }
    return again ? restore_finished(e, err) : 0;
}

static int flush(struct pc_eval *e, struct paco_error *err)
{
    e->last_sync = pc_seconds();
    if (e->n_pending == 0)
        return 0;
    int rc = pc_journal_add(e->journal, e->pending, e->n_pending, err);
    for (size_t i = 0; i < e->n_pending; i++)
        json_decref(e->pending[i]);
    e->n_pending = 0;
    return rc;
}

/* The record of item i is whole; it is taken over. */
static int keep(struct pc_eval *e, size_t i, json_t *record, struct paco_error *err)
{
    e->records[i] = record;
    count_record(e, record);
    if (json_object_get(record, "error"))
        return 0;
    json_t *line = json_pack("{s:I, s:O}", "i", (json_int_t)i, "record", record);
    if (!line)
        return memory(err);
    e->pending[e->n_pending++] = line;
    return e->n_pending == MAX_PENDING || pc_seconds() - e->last_sync >= SYNC_SECONDS ? flush(e, err) : 0;
}

static int keep_failed(
    struct pc_eval *e, size_t i, json_t *record, const struct paco_error *why, struct paco_error *err)
{
    char text[sizeof why->message + sizeof why->path + 64];
    pc_error_format(why, text, sizeof text);
    if (json_object_set_new(record, "error", json_string_nocheck(text)) < 0) {
        json_decref(record);
        return memory(err);
    }
    if (e->n_failed == 0)
        pc_note(e->o.notes, "%s: %s failed: %s", e->o.task->name,
            json_string_value(json_object_get(record, "key")), text);
    return keep(e, i, record, err);
}

/* ---- asking ---- */

static uint64_t stream_of(struct pc_eval *e, const char *key)
{
    uint8_t digest[PC_SHA256_SIZE];
    uint64_t stream = 0;
    pc_sha256_reset(e->hash);
    pc_sha256_update(e->hash, key, strlen(key));
    pc_sha256_final(e->hash, digest);
    for (int i = 0; i < 8; i++)
        stream = stream << 8 | digest[i];
    return stream;
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

static int begin_record(
    struct pc_eval *e, const char *key, const char *group, json_t **out, struct paco_error *err)
{
    json_t *r = json_object();
    int bad = json_object_set_new(r, "key", json_string_nocheck(key));
    bad |= json_object_set_new(r, "group", group ? json_string_nocheck(group) : json_null());
    bad |= json_object_set_new(r, "prompt", text_value(e->prompt.data, e->prompt.len));
    bad |= json_object_set_new(r, "prompt_sha256", json_string(sha_of(e, &e->prompt)));
    if (bad) {
        json_decref(r);
        return memory(err);
    }
    *out = r;
    return 0;
}

/* What no item is to blame for ends the run. */
static bool is_fatal(int rc)
{
    return rc == PACO_EMEM || rc == PACO_ECANCELLED || rc == PACO_ENOSPC;
}

static int submit(struct pc_eval *e, size_t i, struct paco_error *err)
{
    char key[96] = "";
    const char *group = NULL;
    struct pc_ask ask = {.prompt = &e->prompt};
    struct paco_error own = {0};
    pc_buf_clear(&e->prompt);
    e->o.task->name_item(e->data, i, key, &group);
    int rc = e->o.task->ask(e->data, i, &ask, &own);
    if (rc == 0)
        rc = pc_buf_check(&e->prompt, "a prompt", &own);
    if (is_fatal(rc)) {
        if (err)
            *err = own;
        return rc;
    }
    json_t *record = NULL;
    int built = begin_record(e, key, group, &record, err);
    if (built < 0)
        return built;
    if (rc < 0)
        return keep_failed(e, i, record, &own, err);
    if (e->o.bos >= 0)
        ask.bos = e->o.bos == 1;
    const struct pc_question q = {.i_item = i,
        .key = key,
        .seed = (uint64_t)e->o.flags->seed,
        .stream = stream_of(e, key),
        .ask = &ask};
    e->drafts[i] = record;
    e->n_asked++;
    return e->answerer->ops->submit(e->answerer, &q, err);
}

static int submit_more(struct pc_eval *e, struct paco_error *err)
{
    int rc = 0;
    while (rc == 0 && e->i_next < e->n_items && pc_judges_n_open(e->judges) < MAX_UNJUDGED &&
           (e->records[e->i_next] || e->answerer->ops->room(e->answerer) > 0)) {
        if (!e->records[e->i_next])
            rc = submit(e, e->i_next, err);
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
    if (r->n_probs) {
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
    int rc = set_counts(record, reply) != 0 ? memory(err) : 0;
    if (rc == 0 && reply->error.code < 0) {
        rc = keep_failed(e, i, record, &reply->error, err);
        pc_reply_release(reply);
        return rc;
    }
    if (rc == 0 && set_answers(record, reply) != 0)
        rc = memory(err);
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
            rc = keep(e, v.i_item, v.record, err);
        } else if (is_fatal(v.rc)) {
            json_decref(v.record);
            if (err)
                *err = v.err;
            rc = v.rc;
        } else {
            rc = keep_failed(e, v.i_item, v.record, &v.err, err);
        }
    }
    return rc;
}

static int show(const struct pc_eval *e, const struct pc_progress *progress, struct paco_error *err)
{
    char score[64] = "";
    if (e->n_scored > 0)
        snprintf(score, sizeof score, "score %.1f%s", 100 * e->score_sum / e->n_scored,
            e->n_failed ? ", some failed" : "");
    const struct pc_progress_event event = {.phase = e->o.task->name,
        .item = *score ? score : NULL,
        .done = e->n_done,
        .total = e->n_items,
        .unit = "items"};
    if (pc_progress(progress, &event) == 0)
        return 0;
    return pc_error_set(err, PACO_ECANCELLED,
        "%s: stopped with %zu of %zu items answered; the same command goes on from there", e->o.task->name,
        e->n_done - e->n_failed, e->n_items);
}

static int ask_all(struct pc_eval *e, const struct pc_progress *progress, struct paco_error *err)
{
    int rc = show(e, progress, err);
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
    // What is judged is kept, whatever happened: only what is under way is lost.
    struct paco_error second = {0};
    int kept = rc < 0 ? take_verdicts(e, &second) : 0;
    if (kept == 0)
        kept = flush(e, &second);
    if (rc == 0 && kept < 0 && err)
        *err = second;
    return rc < 0 ? rc : kept;
}

/* ---- the whole of it ---- */

static int begin_asking(struct pc_eval *e, struct pc_answerer *a, struct paco_error *err)
{
    e->answerer = a;
    e->i_next = e->n_asked = e->n_done = e->n_failed = e->n_resumed = 0;
    e->score_sum = e->n_scored = 0;
    e->start = e->last_sync = pc_seconds();
    e->drafts = pc_alloc_zero(e->n_items, sizeof *e->drafts);
    e->records = pc_alloc_zero(e->n_items, sizeof *e->records);
    e->pending = pc_alloc_zero(MAX_PENDING, sizeof *e->pending);
    e->hash = pc_sha256_new(err);
    if (!e->drafts || !e->records || !e->pending || !e->hash)
        return memory(err);
    int rc = pc_judges_new(e->o.task, e->data, e->o.n_judges, &e->judges, err);
    return rc < 0 ? rc : open_journal(e, err);
}

static int write_timing(const struct pc_eval *e, const char *dir, struct paco_error *err)
{
    double seconds = pc_seconds() - e->start;
    size_t n = e->n_items - e->n_resumed;
    json_t *o = json_pack("{s:f, s:I, s:I, s:f}", "seconds", seconds, "n_items", (json_int_t)n, "n_resumed",
        (json_int_t)e->n_resumed, "items_per_second", seconds > 0 ? (double)n / seconds : 0);
    int rc = o ? pc_results_put(dir, "timing.json", o, PC_JSON_PRETTY, true, err) : memory(err);
    json_decref(o);
    return rc;
}

static int write_results(struct pc_eval *e, struct paco_error *err)
{
    const char *dir = pc_journal_dir(e->journal);
    json_t *list = json_array(), *results = NULL;
    int rc = list ? 0 : memory(err);
    for (size_t i = 0; i < e->n_items && rc == 0; i++)
        if (json_array_append(list, e->records[i]) < 0)
            rc = memory(err);
    if (rc == 0)
        rc = write_timing(e, dir, err);
    if (rc == 0)
        rc = pc_results_write(dir, e->o.task, e->data, e->identity, e->o.model_name, e->answerer->description,
            list, &results, err);
    json_decref(list);
    if (rc == 0)
        rc = pc_journal_commit(e->journal, err);
    if (rc < 0) {
        json_decref(results);
        return rc;
    }
    json_decref(e->results);
    e->results = results;
    return 0;
}

static int give_name(struct pc_eval *e, struct paco_error *err)
{
    int rc = pc_journal_commit(e->journal, err);
    json_decref(e->results);
    e->results = NULL;
    if (rc == 0)
        rc = pc_results_read(e->dir, e->identity, &e->results, err);
    if (rc == 0) {
        rc = pc_error_set(err, PACO_ENOENT, "no results.json came out of it");
        pc_error_path(err, e->dir);
    }
    return rc < 0 ? rc : 0;
}

int pc_eval_ask(
    struct pc_eval *e, struct pc_answerer *a, const struct pc_progress *progress, struct paco_error *err)
{
    int rc = begin_asking(e, a, err);
    if (rc == 0 && pc_journal_is_complete(e->journal)) {
        rc = give_name(e, err); // the last attempt was stopped one step before its end
    } else {
        if (rc == 0)
            rc = ask_all(e, progress, err);
        if (rc == 0)
            rc = write_results(e, err);
    }
    if (rc == 0) {
        settle_result(e);
        e->result.n_resumed = e->n_resumed;
        e->result.seconds = pc_seconds() - e->start;
        e->is_done = e->result.n_failed == 0;
    }
    end_asking(e, rc < 0 && e->n_done == e->n_failed);
    return rc;
}
