// SPDX-License-Identifier: Apache-2.0
/* A data file to encoded examples. One thread reads, hashes and finds records; the pool parses and encodes
 * runs of them, each into its own lists; then the reader appends these in the file's order. */
#include "base/json_records.h"
#include "base/memory.h"
#include "train/encode_example.h"

#include <inttypes.h>
#include <string.h>

enum { TASK_BYTES = 64 << 10 }; /* of records that one task takes */

/* A run of records of the batch at hand, and what became of them. */
struct task {
    size_t first, end;
    struct pc_example *examples; /* at: in ids below */
    size_t n, capacity;
    struct pc_ids ids;
    uint8_t *trained; /* one each */
    size_t trained_capacity;
    size_t n_dropped;
    unsigned n_flag[4]; /* of those dropped too, by bit */
    int rc;
    struct paco_error err;
};

struct reader {
    struct pc_json_records records;
    const struct pc_examples_options *options;
    struct pc_encode_rules rules;
    struct task *tasks;
    size_t n_tasks, tasks_capacity;
    struct pc_encoded *work; /* one per worker */
    int n_workers;
    struct pc_examples *set;
    size_t ids_capacity; /* of the set */
    size_t examples_capacity;
    struct pc_sha256 *sha;
    struct paco_error *err;
};

/* ---- workers ---- */

static int keep(struct task *t, const struct pc_encoded *e, uint64_t line)
{
    size_t n = e->ids.n;
    if (pc_grow(&t->examples, &t->capacity, t->n, sizeof *t->examples, "examples", &t->err) < 0)
        return PACO_EMEM;
    if (t->trained_capacity < t->ids.n + n) {
        size_t capacity = 2 * (t->ids.n + n);
        uint8_t *trained = pc_realloc(t->trained, capacity, 1);
        if (!trained)
            return pc_error_mem(&t->err, capacity, "masks");
        t->trained = trained;
        t->trained_capacity = capacity;
    }
    memcpy(t->trained + t->ids.n, e->trained, n);
    t->examples[t->n++] = (struct pc_example){.at = t->ids.n,
        .n_ids = (uint32_t)n,
        .n_trained = e->n_trained,
        .line = line < UINT32_MAX ? (uint32_t)line : UINT32_MAX,
        .flags = e->flags};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = pc_ids_add(&t->ids, e->ids.v[i], &t->err);
    return rc;
}

static int encode_one(struct reader *r, struct task *t, size_t i, struct pc_encoded *e)
{
    json_t *record;
    const uint64_t line = r->records.v[i].line;
    int rc = pc_json_record_parse(r->records.file.path, &r->records.v[i], &record, &t->err);
    if (rc < 0)
        return rc;
    rc = pc_encode_record(&r->rules, record, e, &t->err);
    json_decref(record);
    if (rc < 0) {
        pc_json_record_error(r->records.file.path, line, &t->err);
        return rc;
    }
    for (unsigned bit = 0; bit < 4; bit++)
        t->n_flag[bit] += e->flags >> bit & 1;
    bool stays = e->ids.n && (e->n_trained || r->rules.encoding == PC_ENCODING_STANFORD);
    t->n_dropped += !stays;
    return stays ? keep(t, e, line) : 0;
}

static void encode_task(void *arg, int64_t i_task, int i_worker)
{
    struct reader *r = arg;
    struct task *t = &r->tasks[i_task];
    t->n = t->n_dropped = t->ids.n = 0;
    t->rc = 0;
    t->err = (struct paco_error){0};
    memset(t->n_flag, 0, sizeof t->n_flag);
    for (size_t i = t->first; i < t->end && t->rc == 0; i++)
        t->rc = encode_one(r, t, i, &r->work[i_worker]);
}

/* ---- appending ---- */

static int reserve(struct reader *r, size_t n_examples, size_t n_ids)
{
    struct pc_examples *s = r->set;
    const size_t size = s->wide ? sizeof(int32_t) : sizeof(uint16_t);
    if (s->n + n_examples > r->examples_capacity) {
        size_t capacity = (s->n + n_examples) / 2 * 3 + 16;
        struct pc_example *examples = pc_realloc(s->examples, capacity, sizeof *examples);
        if (!examples)
            return pc_error_mem(r->err, capacity * sizeof *examples, "the examples");
        s->examples = examples;
        r->examples_capacity = capacity;
    }
    if (s->n_ids + n_ids <= r->ids_capacity)
        return 0;
    size_t capacity = (s->n_ids + n_ids) / 2 * 3 + 64, was = r->ids_capacity / 8;
    void *ids = pc_realloc(s->ids, capacity, size);
    if (!ids)
        return pc_error_mem(r->err, capacity * size, "the examples' ids");
    s->ids = ids;
    capacity &= ~(size_t)7;
    uint8_t *mask = pc_realloc(s->mask, capacity / 8, 1);
    if (!mask)
        return pc_error_mem(r->err, capacity / 8, "the examples' masks");
    memset(mask + was, 0, capacity / 8 - was);
    s->mask = mask;
    r->ids_capacity = capacity;
    return 0;
}

/* The digest is of numbers, so that it does not depend on how they are held: each example's n_ids and then
 * (id << 1 | trained), 32 bits each, little-endian. */
static void hash_example(struct reader *r, const int32_t *ids, const uint8_t *trained, uint32_t n)
{
    uint8_t bytes[4 * 256];
    size_t k = 0;
    for (uint32_t i = 0; i <= n; i++) {
        uint32_t x = i == 0 ? n : (uint32_t)ids[i - 1] << 1 | trained[i - 1];
        for (int b = 0; b < 4; b++)
            bytes[k++] = (uint8_t)(x >> 8 * b);
        if (k == sizeof bytes || i == n) {
            pc_sha256_update(r->sha, bytes, k);
            k = 0;
        }
    }
}

static void append_example(struct reader *r, const struct task *t, const struct pc_example *e)
{
    struct pc_examples *s = r->set;
    const int32_t *ids = t->ids.v + e->at;
    const uint8_t *trained = t->trained + e->at;
    hash_example(r, ids, trained, e->n_ids);
    for (uint32_t i = 0; i < e->n_ids; i++) {
        uint64_t at = s->n_ids + i;
        if (s->wide)
            ((int32_t *)s->ids)[at] = ids[i];
        else
            ((uint16_t *)s->ids)[at] = (uint16_t)ids[i];
        s->mask[at / 8] |= (uint8_t)(trained[i] << at % 8);
    }
    s->examples[s->n] = *e;
    s->examples[s->n++].at = s->n_ids;
    s->n_ids += e->n_ids;
    s->n_trained += e->n_trained;
    s->longest = e->n_ids > s->longest ? e->n_ids : s->longest;
}

static int append_task(struct reader *r, struct task *t)
{
    struct pc_examples *s = r->set;
    if (t->rc < 0) {
        if (r->err)
            *r->err = t->err;
        return t->rc;
    }
    if (s->n + t->n > PC_EXAMPLES_MAX)
        return pc_error_set(r->err, PACO_ELIMIT, "more than %d examples", PC_EXAMPLES_MAX);
    int rc = reserve(r, t->n, t->ids.n);
    for (size_t i = 0; i < t->n && rc == 0; i++)
        append_example(r, t, &t->examples[i]);
    s->n_read += t->end - t->first;
    s->n_dropped += t->n_dropped;
    s->n_truncated += t->n_flag[0];
    s->n_no_eos += t->n_flag[1];
    s->n_masked += t->n_flag[2];
    s->n_empty += t->n_flag[3];
    return rc;
}

/* Give back what growing took too much. */
static void fit(struct pc_examples *s)
{
    void *ids = pc_realloc(s->ids, s->n_ids, s->wide ? sizeof(int32_t) : sizeof(uint16_t));
    void *mask = pc_realloc(s->mask, s->n_ids / 8 + 1, 1);
    void *examples = pc_realloc(s->examples, s->n, sizeof *s->examples);
    s->ids = ids ? ids : s->ids;
    s->mask = mask ? mask : s->mask;
    s->examples = examples ? examples : s->examples;
}

/* ---- batches ---- */

static int add_task(struct reader *r, size_t first, size_t end)
{
    size_t had = r->tasks_capacity;
    if (pc_grow(&r->tasks, &r->tasks_capacity, r->n_tasks, sizeof *r->tasks, "tasks", r->err) < 0)
        return PACO_EMEM;
    memset(r->tasks + had, 0, (r->tasks_capacity - had) * sizeof *r->tasks);
    r->tasks[r->n_tasks].first = first;
    r->tasks[r->n_tasks++].end = end;
    return 0;
}

static int cut_batch(struct reader *r, size_t n)
{
    int rc = 0;
    r->n_tasks = 0;
    for (size_t i = 0, first = 0, bytes = 0; i < n && rc == 0; i++) {
        bytes += r->records.v[i].len;
        if (bytes < TASK_BYTES && i + 1 < n)
            continue;
        rc = add_task(r, first, i + 1);
        first = i + 1;
        bytes = 0;
    }
    return rc;
}

static int encode_batch(struct reader *r)
{
    size_t n = r->records.n, limit = r->options->limit;
    if (limit && n > limit - r->set->n_read)
        n = limit - r->set->n_read;
    int rc = cut_batch(r, n);
    if (rc < 0)
        return rc;
    if (r->options->pool)
        pc_pool_run(r->options->pool, (int64_t)r->n_tasks, encode_task, r);
    else
        for (size_t i = 0; i < r->n_tasks; i++)
            encode_task(r, (int64_t)i, 0);
    for (size_t i = 0; i < r->n_tasks && rc == 0; i++)
        rc = append_task(r, &r->tasks[i]);
    return rc;
}

static int report(struct reader *r)
{
    const struct pc_progress_event event = {.phase = "encoding",
        .done = pc_json_records_done(&r->records),
        .total = r->records.file.size,
        .unit = "B"};
    return pc_progress(r->options->progress, &event)
               ? pc_error_set(r->err, PACO_ECANCELLED, "interrupted while the examples were encoded")
               : 0;
}

/* ---- the call ---- */

/* The rules, for which the first record decides. */
static int make_rules(struct reader *r)
{
    struct pc_examples_options o = *r->options;
    json_t *record;
    int rc = 0;
    if (o.encoding == PC_ENCODING_AUTO && r->records.n > 0) {
        rc = pc_json_record_parse(r->records.file.path, &r->records.v[0], &record, r->err);
        if (rc < 0)
            return rc;
        rc = pc_encoding_of(record, &o.encoding, r->err);
        json_decref(record);
        if (rc < 0) {
            pc_json_record_error(r->records.file.path, r->records.v[0].line, r->err);
            return rc;
        }
    }
    if (o.encoding == PC_ENCODING_AUTO)
        o.encoding = PC_ENCODING_MESSAGES;
    r->set->encoding = o.encoding;
    return pc_encode_rules_init(&r->rules, &o, r->err);
}

static int prepare(struct reader *r, const char *path)
{
    r->n_workers = r->options->pool ? pc_pool_size(r->options->pool) : 1;
    r->set->wide = pc_tokenizer_n_tokens(r->options->tokenizer) >= UINT16_MAX;
    r->work = pc_alloc_zero((size_t)r->n_workers, sizeof *r->work);
    if (!r->work)
        return pc_error_mem(r->err, (size_t)r->n_workers * sizeof *r->work, "encoding");
    if (!(r->sha = pc_sha256_new(r->err)))
        return PACO_EMEM;
    int rc = pc_json_records_open(&r->records, path, r->err);
    if (rc == 0)
        rc = pc_json_records_batch(&r->records, r->err);
    return rc == 0 ? make_rules(r) : rc;
}

static int read_all(struct reader *r)
{
    const size_t limit = r->options->limit;
    int rc = 0;
    while (rc == 0 && r->records.n > 0) {
        // Behind the limit the file is only hashed.
        if (!limit || r->set->n_read < limit)
            rc = encode_batch(r);
        if (rc == 0)
            rc = report(r);
        if (rc == 0)
            rc = pc_json_records_batch(&r->records, r->err);
    }
    if (rc == 0 && r->set->n == 0) {
        rc = pc_error_set(
            r->err, PACO_EFORMAT, "none of its %zu examples has anything to learn", r->set->n_read);
        pc_error_path(r->err, r->records.file.path);
    }
    return rc;
}

static void release(struct reader *r)
{
    for (size_t i = 0; i < r->tasks_capacity; i++) {
        pc_free(r->tasks[i].examples);
        pc_free(r->tasks[i].trained);
        pc_ids_release(&r->tasks[i].ids);
    }
    for (int i = 0; r->work && i < r->n_workers; i++)
        pc_encoded_release(&r->work[i]);
    pc_free(r->tasks);
    pc_free(r->work);
    pc_sha256_free(r->sha);
    pc_encode_rules_release(&r->rules);
    pc_json_records_close(&r->records);
}

int pc_examples_read(const char *path, const struct pc_examples_options *options, struct pc_examples *out,
    struct paco_error *err)
{
    *out = (struct pc_examples){0};
    struct reader r = {.records = {.file = {.fd = -1}}, .options = options, .set = out, .err = err};
    int rc = prepare(&r, path);
    if (rc == 0)
        rc = read_all(&r);
    if (rc == 0) {
        memcpy(out->file_digest, r.records.digest, sizeof out->file_digest);
        pc_sha256_final(r.sha, out->digest);
        fit(out);
    }
    release(&r);
    if (rc < 0)
        pc_examples_release(out);
    return rc;
}
