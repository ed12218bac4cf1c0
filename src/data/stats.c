// SPDX-License-Identifier: Apache-2.0
/* Records are tokenised by the pool, each run of them into lists of its own; the lists are joined in the
 * file's order and then described. Sums are NumPy's, which adds in pairs of blocks: the deviation depends on
 * it. */
#include "data/stats.h"

#include "base/json_records.h"
#include "base/memory.h"
#include "base/numpy_sum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN = 64, N_LONGEST = 100 };

/* What is listed, by kind of data. */
enum list {
    TURNS,  /* of an instance */
    FIRST,  /* tokens of a user's message; of a prompt */
    SECOND, /* of an answer; of a completion */
    TOTAL,  /* of an instance */
    N_LISTS,
};

struct numbers {
    uint32_t *v;
    size_t n, capacity;
};

struct run {
    struct numbers lists[N_LISTS];
    struct pc_ids ids;
    int rc;
    struct paco_error err;
};

struct stats {
    const struct pc_stats_options *o;
    struct pc_json_records records;
    bool messages; /* else prompts and completions */
    struct run *runs;
    size_t n_runs;
    struct numbers lists[N_LISTS];
    json_t **ids; /* of instances; owned */
    size_t n_ids, ids_capacity;
    json_t **batch_ids; /* of the batch at hand, by record */
    struct paco_error *err;
};

static int add(struct numbers *list, size_t x, struct paco_error *err)
{
    int rc = pc_grow(&list->v, &list->capacity, list->n, sizeof *list->v, "lengths", err);
    if (rc == 0)
        list->v[list->n++] = x < UINT32_MAX ? (uint32_t)x : UINT32_MAX;
    return rc;
}

/* ---- counting, in any thread ---- */

static int count_member(
    struct stats *s, struct run *run, const json_t *record, const char *key, enum list list, size_t *total)
{
    const char *text = NULL;
    size_t len = 0;
    int rc = pc_json_get_text(record, key, &text, &len, &run->err);
    run->ids.n = 0;
    if (rc == 0)
        rc = pc_tokenizer_encode(s->o->tokenizer, text, len, PC_ENCODE_PARSE, &run->ids, &run->err);
    if (rc == 0)
        rc = add(&run->lists[list], run->ids.n, &run->err);
    *total += run->ids.n;
    return rc;
}

static int count_messages(struct stats *s, struct run *run, const json_t *record)
{
    const json_t *list = json_object_get(record, "messages");
    size_t total = 0;
    int rc = 0;
    if (!json_is_array(list))
        return pc_error_set(
            &run->err, PACO_EFORMAT, "'messages' is %s where an array is expected", pc_json_kind(list));
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        const json_t *message = json_array_get(list, i);
        const char *role = NULL;
        size_t len = 0;
        rc = pc_json_get_text(message, "role", &role, &len, &run->err);
        if (rc == 0 && (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0))
            rc = count_member(s, run, message, "content", *role == 'u' ? FIRST : SECOND, &total);
        if (rc < 0)
            pc_error_prefix(&run->err, "message %zu", i + 1);
    }
    if (rc == 0)
        rc = add(&run->lists[TURNS], json_array_size(list), &run->err);
    return rc == 0 ? add(&run->lists[TOTAL], total, &run->err) : rc;
}

static int count_pair(struct stats *s, struct run *run, const json_t *record)
{
    size_t total = 0;
    int rc = count_member(s, run, record, "prompt", FIRST, &total);
    if (rc == 0)
        rc = count_member(s, run, record, "completion", SECOND, &total);
    return rc == 0 ? add(&run->lists[TOTAL], total, &run->err) : rc;
}

static int count_record(struct stats *s, struct run *run, size_t i)
{
    json_t *record;
    const struct pc_json_record *at = &s->records.v[i];
    int rc = pc_json_record_parse(s->records.file.path, at, &record, &run->err);
    if (rc < 0)
        return rc;
    rc = s->messages ? count_messages(s, run, record) : count_pair(s, run, record);
    if (rc < 0)
        pc_json_record_error(s->records.file.path, at->line, &run->err);
    json_t *id = json_object_get(record, "id");
    s->batch_ids[i] = id && !json_is_null(id) ? json_incref(id) : json_integer((json_int_t)at->line);
    json_decref(record);
    return rc;
}

static void count_run(void *arg, int64_t i_run, int i_worker)
{
    (void)i_worker;
    struct stats *s = arg;
    struct run *run = &s->runs[i_run];
    for (int k = 0; k < N_LISTS; k++)
        run->lists[k].n = 0;
    run->rc = 0;
    for (size_t i = (size_t)i_run * RUN; i < s->records.n && i < ((size_t)i_run + 1) * RUN && run->rc == 0;
         i++)
        run->rc = count_record(s, run, i);
}

/* ---- joining ---- */

static int join(struct stats *s, const struct run *run)
{
    int rc = run->rc;
    if (rc < 0 && s->err)
        *s->err = run->err;
    for (int k = 0; k < N_LISTS; k++)
        for (size_t i = 0; i < run->lists[k].n && rc == 0; i++)
            rc = add(&s->lists[k], run->lists[k].v[i], s->err);
    return rc;
}

static int reserve_runs(struct stats *s, size_t n)
{
    if (n <= s->n_runs)
        return 0;
    struct run *runs = pc_realloc(s->runs, n, sizeof *runs);
    if (!runs)
        return pc_error_mem(s->err, n * sizeof *runs, "counting");
    memset(runs + s->n_runs, 0, (n - s->n_runs) * sizeof *runs);
    s->runs = runs;
    s->n_runs = n;
    return 0;
}

static int keep_ids(struct stats *s)
{
    int rc = 0;
    for (size_t i = 0; i < s->records.n; i++) {
        if (rc == 0)
            rc = pc_grow(&s->ids, &s->ids_capacity, s->n_ids, sizeof *s->ids, "names", s->err);
        if (rc == 0)
            s->ids[s->n_ids++] = s->batch_ids[i];
        else
            json_decref(s->batch_ids[i]);
    }
    pc_free(s->batch_ids);
    s->batch_ids = NULL;
    return rc;
}

static int count_batch(struct stats *s)
{
    size_t n = (s->records.n + RUN - 1) / RUN;
    int rc = reserve_runs(s, n);
    if (rc == 0 && !(s->batch_ids = pc_alloc_zero(s->records.n, sizeof *s->batch_ids)))
        rc = pc_error_mem(s->err, s->records.n * sizeof *s->batch_ids, "names");
    if (rc < 0)
        return rc;
    if (s->o->pool)
        pc_pool_run(s->o->pool, (int64_t)n, count_run, s);
    else
        for (size_t i = 0; i < n; i++)
            count_run(s, (int64_t)i, 0);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = join(s, &s->runs[i]);
    int kept = keep_ids(s);
    const struct pc_progress_event event = {.phase = "counting",
        .done = pc_json_records_done(&s->records),
        .total = s->records.file.size,
        .unit = "B"};
    if (rc == 0 && kept == 0 && pc_progress(s->o->progress, &event))
        rc = pc_error_set(s->err, PACO_ECANCELLED, "interrupted");
    return rc < 0 ? rc : kept;
}

/* ---- describing ---- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(const uint32_t *sorted, size_t n, double q)
{
    if (n == 0)
        return (double)NAN;
    double at = q * (double)(n - 1), below = floor(at), t = at - below;
    double a = sorted[(size_t)below], b = sorted[(size_t)below + (t > 0)];
    return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
}

static double deviation(const struct numbers *list, double mean, double *work)
{
    for (size_t i = 0; i < list->n; i++) {
        double d = mean - list->v[i];
        work[i] = d * d;
    }
    return list->n > 1 ? sqrt(pc_numpy_sum(work, list->n) / (double)(list->n - 1)) : (double)NAN;
}

/* As pandas describes a series; NULL when memory is out. */
static json_t *describe(const struct numbers *list)
{
    size_t n = list->n;
    uint64_t sum = 0;
    double *work = pc_alloc(n, sizeof *work);
    uint32_t *sorted = pc_alloc(n, sizeof *sorted);
    json_t *out = NULL;
    if (work && sorted) {
        for (size_t i = 0; i < n; i++)
            sum += sorted[i] = list->v[i];
        double mean = n ? (double)sum / (double)n : (double)NAN;
        qsort(sorted, n, sizeof *sorted, by_value);
        out = json_pack("{s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "count", (double)n, "mean",
            pc_json_number(mean), "std", pc_json_number(deviation(list, mean, work)), "min",
            pc_json_number(quantile(sorted, n, 0)), "25%", pc_json_number(quantile(sorted, n, 0.25)), "50%",
            pc_json_number(quantile(sorted, n, 0.5)), "75%", pc_json_number(quantile(sorted, n, 0.75)), "max",
            pc_json_number(quantile(sorted, n, 1)));
    }
    pc_free(work);
    pc_free(sorted);
    return out;
}

static json_t *n_above(const struct numbers *list, uint32_t bound)
{
    json_int_t n = 0;
    for (size_t i = 0; i < list->n; i++)
        n += list->v[i] > bound;
    return json_integer(n);
}

struct instance {
    uint32_t length;
    size_t i;
};

/* Longest first, of equal ones the later. */
static int by_length(const void *a, const void *b)
{
    const struct instance *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? 1 : -1;
    return x->i < y->i ? 1 : -1;
}

static json_t *longest(const struct stats *s)
{
    size_t n = s->lists[TOTAL].n;
    struct instance *v = pc_alloc(n, sizeof *v);
    json_t *out = v ? json_array() : NULL;
    for (size_t i = 0; out && i < n; i++)
        v[i] = (struct instance){s->lists[TOTAL].v[i], i};
    if (out)
        qsort(v, n, sizeof *v, by_length);
    for (size_t i = 0; out && i < n && i < N_LONGEST; i++)
        json_array_append(out, s->ids[v[i].i]);
    pc_free(v);
    return out;
}

static json_t *describe_messages(const struct stats *s)
{
    const struct numbers *total = &s->lists[TOTAL];
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "num_instances",
        (json_int_t)total->n, "turns_summary", describe(&s->lists[TURNS]), "user_prompt_lengths_summary",
        describe(&s->lists[FIRST]), "assistant_response_lengths_summary", describe(&s->lists[SECOND]),
        "total_lengths_summary", describe(total), "num_instances_with_total_length_gt_512",
        n_above(total, 512), "num_instances_with_total_length_gt_768", n_above(total, 768),
        "num_instances_with_total_length_gt_1024", n_above(total, 1024),
        "num_instances_with_total_length_gt_1536", n_above(total, 1536),
        "num_instances_with_total_length_gt_2048", n_above(total, 2048),
        "num_instances_with_total_length_gt_4096", n_above(total, 4096), "top_100_longest_instances",
        longest(s));
}

static json_t *describe_pairs(const struct stats *s)
{
    const struct numbers *prompts = &s->lists[FIRST], *completions = &s->lists[SECOND],
                         *total = &s->lists[TOTAL];
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "num_instances", (json_int_t)total->n,
        "prompt_lengths_summary", describe(prompts), "completion_lengths_summary", describe(completions),
        "prompt_completion_lengths_summary", describe(total), "num_instances_with_prompt_length_gt_512",
        n_above(prompts, 512), "num_instances_with_completion_length_gt_512", n_above(completions, 512),
        "num_instances_with_prompt_completion_length_gt_512", n_above(total, 512),
        "num_instances_with_completion_length_gt_768", n_above(completions, 768),
        "num_instances_with_prompt_completion_length_gt_1024", n_above(total, 1024));
}

/* ---- the call ---- */

/* "prompt" goes before "messages". */
static int choose_kind(struct stats *s)
{
    json_t *record;
    if (s->records.n == 0)
        return 0;
    int rc = pc_json_record_parse(s->records.file.path, &s->records.v[0], &record, s->err);
    if (rc < 0)
        return rc;
    s->messages = !json_object_get(record, "prompt");
    if (s->messages && !json_object_get(record, "messages")) {
        rc = pc_error_set(s->err, PACO_EFORMAT,
            "Invalid data format - the data should be either prompt completion data or messages data.");
        pc_json_record_error(s->records.file.path, s->records.v[0].line, s->err);
    }
    json_decref(record);
    return rc;
}

static void release(struct stats *s)
{
    for (size_t i = 0; i < s->n_runs; i++) {
        for (int k = 0; k < N_LISTS; k++)
            pc_free(s->runs[i].lists[k].v);
        pc_ids_release(&s->runs[i].ids);
    }
    for (int k = 0; k < N_LISTS; k++)
        pc_free(s->lists[k].v);
    for (size_t i = 0; i < s->n_ids; i++)
        json_decref(s->ids[i]);
    pc_free(s->ids);
    pc_free(s->runs);
    pc_json_records_close(&s->records);
}

int pc_data_stats(
    const char *path, const struct pc_stats_options *options, json_t **out, struct paco_error *err)
{
    struct stats s = {.o = options, .records = {.file = {.fd = -1}}, .err = err};
    *out = NULL;
    int rc = pc_json_records_open(&s.records, path, err);
    if (rc == 0)
        rc = pc_json_records_batch(&s.records, err);
    if (rc == 0)
        rc = choose_kind(&s);
    while (rc == 0 && s.records.n > 0) {
        rc = count_batch(&s);
        if (rc == 0)
            rc = pc_json_records_batch(&s.records, err);
    }
    if (rc == 0 && !(*out = s.messages ? describe_messages(&s) : describe_pairs(&s)))
        rc = pc_error_mem(err, s.n_ids * sizeof(double), "statistics");
    release(&s);
    return rc;
}

/* Python writes a number that is none as NaN, and no other null is among these but in "id"s. */
void pc_stats_write(struct pc_buf *b, const json_t *stats)
{
    const char *key, *name;
    json_t *value, *x;
    pc_buf_puts(b, "{");
    bool first = true, inner;
    json_object_foreach((json_t *)(uintptr_t)stats, key, value)
    {
        pc_buf_printf(b, "%s\n    \"%s\": ", first ? "" : ",", key);
        first = false;
        if (!json_is_object(value)) {
            pc_json_write_at(b, value, PC_JSON_PRETTY_4, 1);
            continue;
        }
        inner = true;
        json_object_foreach(value, name, x)
        {
            pc_buf_printf(b, "%s\n        \"%s\": ", inner ? "{" : ",", name);
            inner = false;
            if (json_is_null(x))
                pc_buf_puts(b, "NaN");
            else
                pc_json_write(b, x, PC_JSON_PYTHON);
        }
        pc_buf_puts(b, "\n    }");
    }
    pc_buf_puts(b, "\n}");
}
