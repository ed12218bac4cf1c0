// SPDX-License-Identifier: Apache-2.0
#include "eval/results.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILE = 1 << 30, MAX_RESULTS = 1 << 26, MAX_DEPTH = 8 };

/* ---- small things ---- */

double pc_record_score(const json_t *record)
{
    const json_t *v = json_object_get(record, "score");
    if (json_is_number(v))
        return json_number_value(v);
    v = json_object_get(record, "correct");
    if (json_is_boolean(v))
        return json_is_true(v);
    size_t n = json_array_size(v), n_true = 0;
    for (size_t i = 0; i < n; i++)
        n_true += json_is_true(json_array_get(v, i));
    return n ? (double)n_true / (double)n : (double)NAN;
}

int pc_results_put(const char *dir, const char *name, const json_t *v, enum pc_json_style style, bool newline,
    struct paco_error *err)
{
    struct pc_buf b;
    char *path = pc_path_join(dir, name);
    pc_buf_init(&b, MAX_FILE);
    pc_json_write(&b, v, style);
    if (newline)
        pc_buf_putc(&b, '\n');
    int rc = path ? pc_buf_check(&b, name, err) : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0)
        rc = pc_file_write_atomic(path, b.data, b.len, err);
    pc_buf_release(&b);
    pc_free(path);
    return rc;
}

/* ---- onto the disk ---- */

/* Upstream's files are written by the tasks, some of them in folders. */
static int sync_below(const char *path, int depth, struct paco_error *err)
{
    bool is_dir = pc_path_is_dir(path);
    char **names = NULL;
    size_t n = 0;
    int rc = is_dir && depth < MAX_DEPTH ? pc_dir_list(path, &names, &n, err) : 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *below = pc_path_join(path, names[i]);
        rc = below ? sync_below(below, depth + 1, err) : pc_error_mem(err, strlen(path), "a path");
        pc_free(below);
    }
    pc_names_free(names, n);
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        rc = pc_error_os(err, errno, "cannot sync");
        pc_error_path(err, path);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

static int write_items(const char *dir, const json_t *records, struct paco_error *err)
{
    struct pc_buf b;
    char *path = pc_path_join(dir, "items.jsonl");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    int rc = !path ? pc_error_mem(err, strlen(dir), "a path") : 0;
    if (path && fd < 0) {
        rc = pc_error_os(err, errno, "cannot create");
        pc_error_path(err, path);
    }
    pc_buf_init(&b, MAX_FILE);
    uint64_t at = 0;
    for (size_t i = 0; i < json_array_size(records) && rc == 0; i++) {
        pc_json_write(&b, json_array_get(records, i), PC_JSON_COMPACT);
        pc_buf_putc(&b, '\n');
        rc = pc_buf_check(&b, "an item", err);
        if (rc == 0 && (b.len >= 1 << 20 || i + 1 == json_array_size(records))) {
            rc = pc_fd_write(fd, path, at, b.data, b.len, err);
            at += b.len;
            pc_buf_clear(&b);
        }
    }
    pc_buf_release(&b);
    if (fd >= 0)
        close(fd);
    pc_free(path);
    return rc;
}

/* One hash for all prompts: of their hashes in hex, a line each, in item order. */
static int hash_prompts(const json_t *records, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return PACO_EMEM;
    for (size_t i = 0; i < json_array_size(records); i++) {
        const char *one = json_string_value(json_object_get(json_array_get(records, i), "prompt_sha256"));
        if (one)
            pc_sha256_update(h, one, strlen(one));
        pc_sha256_update(h, "\n", 1);
    }
    pc_sha256_final(h, digest);
    pc_sha256_hex(digest, hex);
    pc_sha256_free(h);
    return 0;
}

static size_t count_failed(const json_t *records)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(records); i++)
        n += json_object_get(json_array_get(records, i), "error") != NULL;
    return n;
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string_nocheck(text) : json_null();
}

static json_t *list_notes(const struct pc_notes *notes)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < notes->n; i++)
        if (json_array_append_new(list, json_string_nocheck(notes->v[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* What results.json says. A member that cannot be had is no smaller result but none. */
static json_t *describe(const struct pc_task *task, const struct pc_results_about *about,
    const json_t *records, const char *prompts_sha256, json_t *metrics, double score, double se)
{
    json_t *o = json_object();
    int bad = json_object_set_new(o, "task", text_or_null(task->name));
    bad |= json_object_set_new(o, "benchmark", text_or_null(task->benchmark));
    bad |= json_object_set_new(o, "setting", text_or_null(task->setting));
    bad |= json_object_set_new(o, "score", pc_json_number(score));
    bad |= json_object_set_new(o, "standard_error", pc_json_number(se));
    bad |= json_object_set_new(o, "card_score", pc_json_number(task->card_score));
    bad |= json_object_set_new(o, "n_items", json_integer((json_int_t)json_array_size(records)));
    bad |= json_object_set_new(o, "n_failed", json_integer((json_int_t)count_failed(records)));
    bad |= json_object_set(o, "metrics", metrics);
    bad |= json_object_set_new(o, "prompts_sha256", text_or_null(prompts_sha256));
    bad |= json_object_set_new(o, "model_name", text_or_null(about->model_name));
    bad |= json_object_set_new(o, "computed_by", text_or_null(about->computed_by));
    bad |= json_object_set_new(o, "notes", list_notes(about->notes));
    bad |= json_object_update_missing(o, (json_t *)(uintptr_t)about->identity);
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

int pc_results_write(const char *dir, const struct pc_task *task, const struct pc_task_data *data,
    const struct pc_results_about *about, json_t *records, json_t **out, struct paco_error *err)
{
    char prompts[PC_SHA256_HEX];
    double score = (double)NAN, se = (double)NAN;
    json_t *metrics = json_object(), *o = NULL;
    int rc = metrics ? 0 : pc_error_mem(err, 64, "results");
    if (rc == 0)
        rc = task->finish(data, records, dir, metrics, &score, &se, err);
    if (rc == 0)
        rc = pc_results_put(dir, "metrics.json", metrics, task->metrics_style, false, err);
    if (rc == 0)
        rc = write_items(dir, records, err);
    if (rc == 0)
        rc = hash_prompts(records, prompts, err);
    if (rc == 0 && !(o = describe(task, about, records, prompts, metrics, score, se)))
        rc = pc_error_mem(err, 4096, "results");
    if (rc == 0)
        rc = pc_results_put(dir, "results.json", o, PC_JSON_PRETTY, true, err);
    if (rc == 0)
        rc = sync_below(dir, 0, err);
    json_decref(metrics);
    if (rc < 0) {
        json_decref(o);
        return rc;
    }
    *out = o;
    return 0;
}

/* ---- back ---- */

/* What runs and judges an answer's programs: which of them, and its versions. */
static int refuse_tools(const char *dir, const json_t *now, const json_t *was, struct paco_error *err)
{
    const char *name, *old = NULL;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)now, name, v)
    {
        old = json_string_value(json_object_get(was, name));
        if (!old || strcmp(old, json_string_value(v)) != 0)
            break;
    }
    if (!name) // one that is not used any more
        return 0;
    pc_error_set(err, PACO_EEXIST,
        "holds the results of programs run with %s %s, and here it is %s: another --out, or --force to "
        "replace them",
        name, old ? old : "of a version that is not known", json_string_value(v));
    pc_error_path(err, dir);
    return PACO_EEXIST;
}

static int refuse_other(
    const char *dir, const char *key, const json_t *now, const json_t *was, struct paco_error *err)
{
    struct pc_buf a, b;
    if (strcmp(key, "tools") == 0 && refuse_tools(dir, now, was, err) < 0)
        return PACO_EEXIST;
    pc_buf_init(&a, 1 << 20);
    pc_buf_init(&b, 1 << 20);
    if (now)
        pc_json_write(&a, now, PC_JSON_PYTHON);
    if (was)
        pc_json_write(&b, was, PC_JSON_PYTHON);
    if (now && was && !a.failed && !b.failed && a.len < 200 && b.len < 200)
        pc_error_set(err, PACO_EEXIST,
            "holds the results of something else (%s was %s, is %s): another --out, or --force to replace it",
            key, b.data, a.data);
    else
        pc_error_set(err, PACO_EEXIST,
            "holds the results of something else (another %s): another --out, or --force to replace it", key);
    pc_buf_release(&a);
    pc_buf_release(&b);
    pc_error_path(err, dir);
    return PACO_EEXIST;
}

static int read_results(const char *path, json_t **out, struct paco_error *err)
{
    int rc = pc_json_read(path, MAX_RESULTS, out, err);
    if (rc < 0)
        pc_error_prefix(err, "the results that are there");
    return rc;
}

int pc_results_read(const char *dir, const json_t *identity, json_t **out, struct paco_error *err)
{
    char *path = pc_path_join(dir, "results.json");
    if (!path)
        return pc_error_mem(err, strlen(dir), "a path");
    json_t *o = NULL;
    int rc = pc_path_exists(path) ? read_results(path, &o, err) : 0;
    pc_free(path);
    if (rc < 0 || !o)
        return rc;
    const char *key;
    json_t *now;
    json_object_foreach((json_t *)(uintptr_t)identity, key, now)
    {
        const json_t *was = json_object_get(o, key);
        if (was && json_equal(now, was))
            continue;
        rc = refuse_other(dir, key, now, was, err);
        json_decref(o);
        return rc;
    }
    *out = o;
    return 1;
}

int pc_results_items(const char *dir, json_t **out, struct paco_error *err)
{
    char *path = pc_path_join(dir, "items.jsonl");
    json_t *records = json_array();
    if (!path || !records) {
        pc_free(path);
        json_decref(records);
        return pc_error_mem(err, strlen(dir), "items");
    }
    struct pc_buf b;
    int rc = pc_file_slurp(path, MAX_FILE, &b, err);
    size_t n_line = 0;
    for (size_t at = 0, len; at < b.len && rc == 0; at += len + 1) {
        const char *line = b.data + at, *end = memchr(line, '\n', b.len - at);
        len = end ? (size_t)(end - line) : b.len - at;
        n_line++;
        json_t *v = NULL;
        rc = pc_json_parse_line(line, len, path, at, &v, err);
        if (rc < 0)
            pc_error_prefix(err, "line %zu", n_line);
        else if (json_array_append_new(records, v) < 0)
            rc = pc_error_mem(err, 64, "items");
    }
    pc_buf_release(&b);
    pc_free(path);
    if (rc < 0)
        json_decref(records);
    else
        *out = records;
    return rc;
}
