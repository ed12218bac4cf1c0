// SPDX-License-Identifier: Apache-2.0
/* From data to results. The journal's records are {"i": item, "record": its line}, and {"i": item,
 * "unjudged": what its line begins with} of an answer whose judgement was cut short; those with an error are
 * kept in memory only, so that the next attempt asks again. */
#include "eval/run_parts.h"

#include "base/file.h"
#include "base/host.h"
#include "base/journal.h"
#include "base/memory.h"
#include "eval/flags.h"
#include "eval/results.h"
#include "paco/paco.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PROMPT = 1 << 26, MAX_PENDING = 256 };
static const double SYNC_SECONDS = 1.0;

int pc_eval_no_memory(struct paco_error *err)
{
    return pc_error_mem(err, 64, "an evaluation's records");
}

/* ---- what is asked, of whom ---- */

/* Several settings of a benchmark say the same of its data. */
static void pass_notes_on(struct pc_eval *e)
{
    struct pc_notes *all = e->o.notes;
    for (size_t i = 0; i < e->data_notes.n && all; i++) {
        bool said = false;
        for (size_t k = 0; k < all->n; k++)
            said |= strcmp(all->v[k], e->data_notes.v[i]) == 0;
        if (!said)
            pc_note(all, "%s", e->data_notes.v[i]);
    }
}

static int open_data(struct pc_eval *e, struct paco_error *err)
{
    const struct pc_eval_options *o = &e->o;
    const struct pc_task_env env = {.flags = o->flags,
        .data_dir = o->data_dir,
        .data_file = o->data_file,
        .bos = o->bos,
        .tok = o->tok,
        .format = o->format,
        .model_name = o->model_name,
        .outputs = o->outputs,
        .notes = &e->data_notes,
        .files = e->files,
        .tools = e->tools};
    int rc = o->task->open(o->task, &env, &e->data, err);
    if (rc < 0) {
        pass_notes_on(e);
        if (err && !err->path[0]) // a file says enough
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
    json_t *flags = pc_task_flags_for(e->o.flags, e->o.task);
    json_t *tools = json_object_size(e->tools) ? e->tools : NULL;
    return json_pack("{s:s, s:s, s:O, s:o, s:s, s:s, s:O, s:O*}", "paco_version", paco_version(), "task",
        e->o.task->name, "model", model, "flags", flags, "tuned_on", pc_format_name(e->o.format), "bos",
        bos[e->o.bos + 1], "data", e->files, "tools", tools);
}

/* From what results.json holds. */
static void settle_result(struct pc_eval *e)
{
    struct pc_eval_result *r = &e->result;
    r->task = e->o.task;
    r->results = e->results;
    r->score = pc_json_double(e->results, "score");
    r->se = pc_json_double(e->results, "standard_error");
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
        return pc_eval_no_memory(err);
    e->o = *options;
    pc_buf_init(&e->prompt, MAX_PROMPT);
    e->files = json_object();
    e->tools = json_object();
    e->dir = pc_path_join(options->out, options->task->name);
    int rc = e->files && e->tools && e->dir ? open_data(e, err) : pc_eval_no_memory(err);
    if (rc < 0)
        pc_eval_close(e);
    else
        *out = e;
    return rc;
}

int pc_eval_identify(struct pc_eval *e, const json_t *model, struct paco_error *err)
{
    if (!e->identity)
        e->identity = make_identity(e, model);
    return e->identity ? 0 : pc_eval_no_memory(err);
}

const json_t *pc_eval_identity(const struct pc_eval *e)
{
    return e->identity;
}

int pc_eval_look(struct pc_eval *e, const json_t *model, struct paco_error *err)
{
    int rc = pc_eval_identify(e, model, err);
    if (rc == 0)
        rc = look_at_out(e, err);
    if (!e->is_done)
        pass_notes_on(e);
    return rc;
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
    json_decref(e->tools);
    pc_notes_release(&e->data_notes);
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
    double score = pc_record_score(record), n_scored = pc_json_double(record, "n_scored");
    e->n_done++;
    e->n_failed += json_object_get(record, "error") != NULL;
    if (e->o.task->is_perplexity && n_scored > 0) {
        e->score_sum += pc_json_double(record, "nats");
        e->n_scored += n_scored;
    }
    if (!isnan(score)) {
        e->score_sum += score;
        e->n_scored++;
    }
}

/* Whether record is an earlier attempt's of item i, and of use. */
static bool is_of_item(const struct pc_eval *e, size_t i, const json_t *record)
{
    char key[96] = "";
    const char *group, *was = json_string_value(json_object_get(record, "key"));
    if (i >= e->n_items || e->records[i] || !was || json_object_get(record, "error"))
        return false;
    e->o.task->name_item(e->data, i, key, &group);
    return strcmp(key, was) == 0;
}

static void restore(struct pc_eval *e, size_t i, const json_t *record)
{
    if (!is_of_item(e, i, record))
        return;
    e->records[i] = json_incref((json_t *)(uintptr_t)record);
    e->n_resumed++;
    e->n_kept++;
    count_record(e, record);
}

/* The journal's own copy stays as it is: a judge adds to the record. */
static int restore_unjudged(struct pc_eval *e, size_t i, const json_t *record, struct paco_error *err)
{
    if (!is_of_item(e, i, record) || e->drafts[i])
        return 0;
    e->drafts[i] = json_copy((json_t *)(uintptr_t)record);
    return e->drafts[i] ? 0 : pc_eval_no_memory(err);
}

static int restore_line(struct pc_eval *e, const json_t *line, struct paco_error *err)
{
    const json_t *at = json_object_get(line, "i");
    if (!json_is_integer(at) || json_integer_value(at) < 0)
        return 0;
    size_t i = (size_t)json_integer_value(at);
    restore(e, i, json_object_get(line, "record"));
    return restore_unjudged(e, i, json_object_get(line, "unjudged"), err);
}

/* Answers that were judged after all, by an attempt in between, have their verdicts in a later line. */
static void count_unjudged(struct pc_eval *e)
{
    for (size_t i = 0; i < e->n_items; i++) {
        if (e->records[i]) {
            json_decref(e->drafts[i]);
            e->drafts[i] = NULL;
        }
        e->n_unjudged += e->drafts[i] != NULL;
    }
    e->n_resumed += e->n_unjudged;
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
    unsigned flags = (e->o.force || again ? PC_JOURNAL_FORCE : 0) | (e->o.force ? 0 : PC_JOURNAL_KEEP);
    int rc = pc_journal_open(e->dir, e->identity, flags, e->o.notes, &e->journal, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < pc_journal_n_records(e->journal) && rc == 0; i++)
        rc = restore_line(e, pc_journal_record(e->journal, i), err);
    if (rc == 0 && again)
        rc = restore_finished(e, err);
    if (rc == 0)
        count_unjudged(e);
    return rc;
}

int pc_eval_flush(struct pc_eval *e, struct paco_error *err)
{
    e->last_sync = pc_seconds();
    if (e->n_pending == 0)
        return 0;
    int rc = pc_journal_add(e->journal, e->pending, e->n_pending, err);
    size_t n = rc == 0 ? e->n_pending : 0;
    while (rc == PACO_ENOSPC && n < e->n_pending && pc_journal_add(e->journal, &e->pending[n], 1, NULL) == 0)
        n++; // as many as there is room for
    e->n_kept += n;
    for (size_t i = 0; i < e->n_pending; i++)
        json_decref(e->pending[i]);
    e->n_pending = 0;
    return rc;
}

static int journal(struct pc_eval *e, size_t i, const char *what, json_t *record, struct paco_error *err)
{
    json_t *line = json_pack("{s:I, s:O}", "i", (json_int_t)i, what, record);
    if (!line)
        return pc_eval_no_memory(err);
    e->pending[e->n_pending++] = line;
    return e->n_pending == MAX_PENDING || pc_seconds() - e->last_sync >= SYNC_SECONDS ? pc_eval_flush(e, err)
                                                                                      : 0;
}

/* The record of item i is whole; it is taken over. */
int pc_eval_keep(struct pc_eval *e, size_t i, json_t *record, struct paco_error *err)
{
    e->records[i] = record;
    count_record(e, record);
    return json_object_get(record, "error") ? 0 : journal(e, i, "record", record, err);
}

int pc_eval_keep_unjudged(struct pc_eval *e, size_t i, json_t *record, struct paco_error *err)
{
    int rc = journal(e, i, "unjudged", record, err);
    e->n_unjudged += rc == 0;
    json_decref(record);
    return rc;
}

int pc_eval_keep_failed(
    struct pc_eval *e, size_t i, json_t *record, const struct paco_error *why, struct paco_error *err)
{
    char text[sizeof why->message + sizeof why->path + 64];
    pc_error_format(why, text, sizeof text);
    if (json_object_set_new(record, "error", json_string_nocheck(text)) < 0) {
        json_decref(record);
        return pc_eval_no_memory(err);
    }
    if (e->n_failed == 0)
        pc_note(e->o.notes, "%s: %s failed: %s", e->o.task->name,
            json_string_value(json_object_get(record, "key")), text);
    return pc_eval_keep(e, i, record, err);
}

/* ---- the whole of it ---- */

static int begin_asking(struct pc_eval *e, struct pc_answerer *a, struct paco_error *err)
{
    e->answerer = a;
    e->i_next = e->n_asked = e->n_done = e->n_failed = e->n_resumed = e->n_unjudged = e->n_kept = 0;
    e->score_sum = e->n_scored = 0;
    e->start = e->last_sync = pc_seconds();
    e->drafts = pc_alloc_zero(e->n_items, sizeof *e->drafts);
    e->records = pc_alloc_zero(e->n_items, sizeof *e->records);
    e->pending = pc_alloc_zero(MAX_PENDING, sizeof *e->pending);
    if (!e->drafts || !e->records || !e->pending)
        return pc_eval_no_memory(err);
    int rc = pc_judges_new(e->o.task, e->data, e->o.n_judges, &e->judges, err);
    return rc < 0 ? rc : open_journal(e, err);
}

static int write_timing(const struct pc_eval *e, const char *dir, struct paco_error *err)
{
    double seconds = pc_seconds() - e->start;
    size_t n = e->n_items - e->n_resumed;
    json_t *o = json_pack("{s:f, s:I, s:I, s:f}", "seconds", seconds, "n_items", (json_int_t)n, "n_resumed",
        (json_int_t)e->n_resumed, "items_per_second", seconds > 0 ? (double)n / seconds : 0);
    int rc = o ? pc_results_put(dir, "timing.json", o, PC_JSON_PRETTY, true, err) : pc_eval_no_memory(err);
    json_decref(o);
    return rc;
}

static int write_results(struct pc_eval *e, struct paco_error *err)
{
    const char *dir = pc_journal_dir(e->journal);
    json_t *list = json_array(), *results = NULL;
    const struct pc_results_about about = {
        e->identity, e->o.model_name, e->answerer->description, &e->data_notes};
    int rc = list ? pc_journal_clear(e->journal, err) : pc_eval_no_memory(err);
    for (size_t i = 0; i < e->n_items && rc == 0; i++)
        if (json_array_append(list, e->records[i]) < 0)
            rc = pc_eval_no_memory(err);
    if (rc == 0)
        rc = write_timing(e, dir, err);
    if (rc == 0)
        rc = pc_results_write(dir, e->o.task, e->data, &about, list, &results, err);
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

/* A full disk, weights that went away: what was answered before is not lost with it. */
static void say_what_is_kept(const struct pc_eval *e, int rc, struct paco_error *err)
{
    if (rc < 0 && rc != PACO_ECANCELLED && e->n_kept > 0)
        pc_error_prefix(err,
            "%s: stopped with %zu of %zu items answered, which are kept: %s, the same command goes on from "
            "there",
            e->o.task->name, e->n_kept, e->n_items,
            rc == PACO_ENOSPC ? "when there is room" : "when this is mended");
}

int pc_eval_ask(
    struct pc_eval *e, struct pc_answerer *a, const struct pc_progress *progress, struct paco_error *err)
{
    int rc = begin_asking(e, a, err);
    if (rc == 0 && pc_journal_is_complete(e->journal)) {
        rc = give_name(e, err); // the last attempt was stopped one step before its end
    } else {
        if (rc == 0)
            rc = pc_eval_ask_items(e, progress, err);
        if (rc == 0)
            rc = write_results(e, err);
    }
    if (rc == 0) {
        settle_result(e);
        e->result.n_resumed = e->n_resumed;
        e->result.seconds = pc_seconds() - e->start;
        e->is_done = e->result.n_failed == 0;
    }
    say_what_is_kept(e, rc, err);
    end_asking(e, rc < 0 && e->n_done == e->n_failed && e->n_unjudged == 0);
    return rc;
}
