// SPDX-License-Identifier: Apache-2.0
#include "data/split_chats.h"

#include "base/json_records.h"
#include "base/memory.h"
#include "base/out_file.h"

#include <string.h>

enum { RUN = 16, HEADING = 6 /* tokens that a message's heading is taken for */, MAX_RUN = 1 << 30 };

/* A run of conversations, and the pieces made of them as they will stand in the file. */
struct run {
    struct pc_buf text;
    uint64_t n;
    struct pc_ids ids;
    uint32_t *lengths;
    size_t lengths_capacity;
    int rc;
    struct paco_error err;
};

struct split {
    const struct pc_split_options *o;
    struct pc_json_records records;
    struct run *runs;
    size_t n_runs;
    uint64_t total, made;
    struct pc_out_file out;
    struct paco_error *err;
};

/* ---- one conversation, in any thread ---- */

static int measure(const struct split *s, struct run *run, const json_t *list, size_t n)
{
    if (n > run->lengths_capacity) {
        uint32_t *lengths = pc_realloc(run->lengths, n, sizeof *lengths);
        if (!lengths)
            return pc_error_mem(&run->err, n * sizeof *lengths, "a conversation");
        run->lengths = lengths;
        run->lengths_capacity = n;
    }
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *text = NULL;
        size_t len = 0;
        run->ids.n = 0;
        rc = pc_json_get_text(json_array_get(list, i), "value", &text, &len, &run->err);
        if (rc == 0)
            rc = pc_tokenizer_encode(
                s->o->tokenizer, text, len, PC_ENCODE_SPECIAL | PC_ENCODE_PARSE, &run->ids, &run->err);
        run->lengths[i] = (uint32_t)run->ids.n + HEADING;
    }
    return rc;
}

static bool takes_turns(const json_t *list, size_t start, size_t end)
{
    for (size_t i = start; i < end; i++) {
        const char *from = json_string_value(json_object_get(json_array_get(list, i), "from"));
        if (!from || strcmp(from, (i - start) % 2 ? "gpt" : "human") != 0)
            return false;
    }
    return end > start;
}

static int put_piece(struct run *run, const json_t *id, const json_t *list, size_t start, size_t end)
{
    struct pc_buf *b = &run->text, name;
    if (!takes_turns(list, start, end))
        return 0;
    pc_buf_init(&name, MAX_RUN);
    pc_buf_add(&name, json_string_value(id), json_string_length(id));
    pc_buf_printf(&name, "_%zu", start);
    pc_buf_puts(b, ",\n  {\n    \"id\": ");
    pc_json_write_string(b, name.data ? name.data : "", name.len, true);
    pc_buf_puts(b, ",\n    \"conversations\": [");
    for (size_t i = start; i < end; i++) {
        pc_buf_puts(b, i > start ? ",\n      " : "\n      ");
        pc_json_write_at(b, json_array_get(list, i), PC_JSON_PRETTY, 3);
    }
    pc_buf_puts(b, "\n    ]\n  }");
    b->failed |= name.failed;
    pc_buf_release(&name);
    run->n++;
    return pc_buf_check(b, "conversations", &run->err);
}

static int split_list(const struct split *s, struct run *run, const json_t *id, const json_t *list, size_t n)
{
    size_t start = 0;
    uint64_t length = 0;
    int rc = measure(s, run, list, n);
    for (size_t i = 0; i + 1 < n && rc == 0; i += 2) {
        uint64_t pair = (uint64_t)run->lengths[i] + run->lengths[i + 1];
        if (length + pair > s->o->max_length) {
            rc = put_piece(run, id, list, start, i);
            start = pair > s->o->max_length ? i + 2 : i;
            length = 0;
        } else if (i + 2 == n) {
            rc = put_piece(run, id, list, start, n);
        }
        length += pair;
    }
    return rc;
}

static int split_record(const struct split *s, struct run *run, size_t i)
{
    json_t *record;
    const struct pc_json_record *at = &s->records.v[i];
    int rc = pc_json_record_parse(s->records.file.path, at, &record, &run->err);
    if (rc < 0)
        return rc;
    const json_t *list = json_object_get(record, "conversations"), *id = json_object_get(record, "id");
    if (!json_is_array(list))
        rc = pc_error_set(
            &run->err, PACO_EFORMAT, "'conversations' is %s where an array is expected", pc_json_kind(list));
    else if (!json_is_string(id))
        rc = pc_error_set(&run->err, PACO_EFORMAT, "'id' is %s where a string is expected", pc_json_kind(id));
    else
        rc = split_list(s, run, id, list, json_array_size(list) / 2 * 2);
    json_decref(record);
    if (rc < 0)
        pc_json_record_error(s->records.file.path, at->line, &run->err);
    return rc;
}

static bool is_wanted(const struct split *s, uint64_t i)
{
    return i >= s->o->begin && (!s->o->end || i < s->o->end);
}

static void split_run(void *arg, int64_t i_run, int i_worker)
{
    (void)i_worker;
    const struct split *s = arg;
    struct run *run = &s->runs[i_run];
    pc_buf_clear(&run->text);
    run->n = 0;
    run->rc = 0;
    for (size_t i = (size_t)i_run * RUN; i < s->records.n && i < ((size_t)i_run + 1) * RUN && run->rc == 0;
         i++)
        if (is_wanted(s, s->total + i))
            run->rc = split_record(s, run, i);
}

/* ---- batches ---- */

static int reserve_runs(struct split *s, size_t n)
{
    if (n <= s->n_runs)
        return 0;
    struct run *runs = pc_realloc(s->runs, n, sizeof *runs);
    if (!runs)
        return pc_error_mem(s->err, n * sizeof *runs, "splitting");
    memset(runs + s->n_runs, 0, (n - s->n_runs) * sizeof *runs);
    for (size_t i = s->n_runs; i < n; i++)
        pc_buf_init(&runs[i].text, MAX_RUN);
    s->runs = runs;
    s->n_runs = n;
    return 0;
}

/* The first piece of all has no comma before it. */
static int append(struct split *s, const struct run *run)
{
    if (run->rc < 0) {
        if (s->err)
            *s->err = run->err;
        return run->rc;
    }
    size_t skip = s->made == 0 && run->text.len ? 1 : 0;
    pc_buf_add(&s->out.buf, run->text.len ? run->text.data + skip : "", run->text.len - skip);
    s->made += run->n;
    return pc_out_file_flush(&s->out, false, s->err);
}

static int split_batch(struct split *s)
{
    size_t n = (s->records.n + RUN - 1) / RUN;
    int rc = reserve_runs(s, n);
    if (rc < 0)
        return rc;
    if (s->o->pool)
        pc_pool_run(s->o->pool, (int64_t)n, split_run, s);
    else
        for (size_t i = 0; i < n; i++)
            split_run(s, (int64_t)i, 0);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = append(s, &s->runs[i]);
    s->total += s->records.n;
    const struct pc_progress_event event = {.phase = "splitting",
        .done = pc_json_records_done(&s->records),
        .total = s->records.file.size,
        .unit = "B"};
    if (rc == 0 && pc_progress(s->o->progress, &event))
        rc = pc_error_set(s->err, PACO_ECANCELLED, "interrupted");
    return rc;
}

static int split_file(struct split *s, const char *path)
{
    int rc = pc_json_records_open(&s->records, path, s->err);
    while (rc == 0 && (rc = pc_json_records_batch(&s->records, s->err)) == 0 && s->records.n > 0)
        rc = split_batch(s);
    pc_json_records_close(&s->records);
    return rc;
}

int pc_data_split(
    const struct pc_split_options *options, uint64_t *total, uint64_t *made, struct paco_error *err)
{
    struct split s = {.o = options, .records = {.file = {.fd = -1}}, .out = {.fd = -1}, .err = err};
    int rc = pc_out_file_open(&s.out, options->out, options->force, err);
    pc_buf_puts(&s.out.buf, "[");
    for (size_t i = 0; i < options->n_files && rc == 0; i++)
        rc = split_file(&s, options->files[i]);
    pc_buf_puts(&s.out.buf, s.made ? "\n]" : "]");
    if (rc == 0)
        rc = pc_out_file_commit(&s.out, err);
    pc_out_file_close(&s.out);
    for (size_t i = 0; i < s.n_runs; i++) {
        pc_buf_release(&s.runs[i].text);
        pc_ids_release(&s.runs[i].ids);
        pc_free(s.runs[i].lengths);
    }
    pc_free(s.runs);
    *total = s.total;
    *made = s.made;
    return rc;
}
