// SPDX-License-Identifier: Apache-2.0
/* What a generation begins with and what it keeps: seeds, earlier results, the log, the list. */
#include "base/file.h"
#include "base/json_records.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "data/self_instruct_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what was there ---- */

static int know(struct pc_generating *g, const char *text, size_t len)
{
    if (json_array_append_new(g->instructions, json_stringn(text, len)) < 0)
        return pc_error_mem(g->err, len, "an instruction");
    return pc_rouge_add(g->rouge, text, len, g->err);
}

static int read_seed(struct pc_generating *g, const json_t *record)
{
    const char *text[3] = {NULL};
    size_t len[3] = {0};
    const json_t *first = json_array_get(json_object_get(record, "instances"), 0);
    int rc = pc_json_get_text(record, "instruction", &text[0], &len[0], g->err);
    if (rc == 0 && !json_is_object(first))
        rc = pc_error_set(g->err, PACO_EFORMAT, "'instances' holds none");
    if (rc == 0)
        rc = pc_json_get_text(first, "input", &text[1], &len[1], g->err);
    if (rc == 0)
        rc = pc_json_get_text(first, "output", &text[2], &len[2], g->err);
    if (rc == 0)
        rc = know(g, text[0], len[0]);
    if (rc < 0)
        return rc;
    json_t *seed = json_array();
    for (int i = 0; i < 3; i++)
        json_array_append_new(seed, json_stringn(text[i], len[i]));
    return json_array_append_new(g->seeds, seed) < 0 ? pc_error_mem(g->err, len[0], "a seed") : 0;
}

int pc_generate_keep(struct pc_generating *g, const json_t *record)
{
    const char *text;
    size_t len;
    int rc = pc_json_get_text(record, "instruction", &text, &len, g->err);
    if (rc == 0)
        rc = know(g, text, len);
    pc_buf_puts(&g->list, g->list.len ? ",\n    " : "\n    ");
    pc_json_write_at(&g->list, record, PC_JSON_PRETTY_4, 1);
    g->result->n_total++;
    return rc == 0 ? pc_buf_check(&g->list, "regen.json", g->err) : rc;
}

static int keep_logged(struct pc_generating *g, const json_t *entry)
{
    const json_t *records = json_object_get(entry, "records");
    int rc = 0;
    for (size_t i = 0; i < json_array_size(records) && rc == 0; i++)
        rc = pc_generate_keep(g, json_array_get(records, i));
    g->n_requests += json_integer_value(json_object_get(entry, "request")) > 0;
    return rc;
}

static int read_records(
    struct pc_generating *g, const char *path, int (*each)(struct pc_generating *g, const json_t *record))
{
    struct pc_json_records r;
    int rc = pc_json_records_open(&r, path, g->err);
    while (rc == 0 && (rc = pc_json_records_batch(&r, g->err)) == 0 && r.n > 0)
        for (size_t i = 0; i < r.n && rc == 0; i++) {
            json_t *record;
            rc = pc_json_record_parse(path, &r.v[i], &record, g->err);
            if (rc < 0)
                break;
            rc = each(g, record);
            json_decref(record);
            if (rc < 0)
                pc_json_record_error(path, r.v[i].line, g->err);
        }
    pc_json_records_close(&r);
    return rc;
}

int pc_generate_read_inputs(struct pc_generating *g)
{
    g->rouge = pc_rouge_new(g->o->pool, g->err);
    g->seeds = json_array();
    g->instructions = json_array();
    g->list_path = pc_path_join(g->o->output_dir, "regen.json");
    g->log_path = pc_path_join(g->o->output_dir, "regen.jsonl");
    if (!g->rouge || !g->seeds || !g->instructions || !g->list_path || !g->log_path)
        return pc_error_mem(g->err, 0, "the seeds");
    int rc = pc_file_slurp(g->o->prompt, 1 << 20, &g->preamble, g->err);
    if (rc == 0)
        rc = read_records(g, g->o->seed_tasks, read_seed);
    g->result->n_seeds = json_array_size(g->seeds);
    if (rc == 0 && g->result->n_seeds < g->o->n_prompt) {
        rc = pc_error_set(g->err, PACO_EFORMAT, "holds %zu seeds, fewer than a prompt's %" PRIu32,
            g->result->n_seeds, g->o->n_prompt);
        pc_error_path(g->err, g->o->seed_tasks);
    }
    return rc;
}

/* ---- the log ---- */

static int log_error(struct pc_generating *g, const char *what)
{
    int rc = pc_error_os(g->err, errno, "%s", what);
    pc_error_path(g->err, g->log_path);
    return rc;
}

int pc_generate_open_log(struct pc_generating *g)
{
    struct pc_buf b;
    g->log = open(g->log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (g->log < 0)
        return log_error(g, "cannot open");
    int rc = pc_file_slurp(g->log_path, PC_GENERATE_MAX_FILE, &b, g->err);
    if (rc == 0) {
        const char *end = b.len ? memrchr(b.data, '\n', b.len) : NULL;
        g->log_size = end ? (uint64_t)(end - b.data) + 1 : 0;
        if (ftruncate(g->log, (off_t)g->log_size) < 0)
            rc = log_error(g, "cannot cut off a torn line");
    }
    pc_buf_release(&b);
    return rc;
}

int pc_generate_log(struct pc_generating *g, json_t *entry)
{
    struct pc_buf b;
    pc_buf_init(&b, PC_GENERATE_MAX_FILE);
    if (entry)
        pc_json_write(&b, entry, PC_JSON_COMPACT);
    pc_buf_putc(&b, '\n');
    int rc = entry ? pc_buf_check(&b, "what came", g->err) : pc_error_mem(g->err, 0, "what came");
    if (rc == 0)
        rc = pc_fd_write(g->log, g->log_path, g->log_size, b.data, b.len, g->err);
    if (rc == 0 && fsync(g->log) < 0)
        rc = log_error(g, "cannot sync");
    g->log_size += rc == 0 ? b.len : 0;
    pc_buf_release(&b);
    json_decref(entry);
    return rc;
}

int pc_generate_save(struct pc_generating *g)
{
    struct pc_out_file f;
    clock_gettime(CLOCK_MONOTONIC, &g->saved);
    int rc = pc_out_file_open(&f, g->list_path, true, g->err);
    pc_buf_putc(&f.buf, '[');
    if (rc == 0)
        rc = pc_out_file_flush(&f, true, g->err);
    if (rc == 0 && g->list.len)
        rc = pc_fd_write(f.fd, g->list_path, f.size, g->list.data, g->list.len, g->err);
    f.size += g->list.len;
    pc_buf_puts(&f.buf, g->list.len ? "\n]" : "]");
    if (rc == 0)
        rc = pc_out_file_commit(&f, g->err);
    pc_out_file_close(&f);
    return rc;
}

int pc_generate_read_earlier(struct pc_generating *g)
{
    struct stat st;
    if (g->log_size || (g->log < 0 && stat(g->log_path, &st) == 0 && st.st_size > 0))
        return read_records(g, g->log_path, keep_logged);
    return pc_path_exists(g->list_path) ? read_records(g, g->list_path, pc_generate_keep) : 0;
}

int pc_generate_import(struct pc_generating *g)
{
    json_t *list = NULL;
    struct pc_buf b;
    if (g->log_size || !g->list.len)
        return 0;
    int rc = pc_file_slurp(g->list_path, PC_GENERATE_MAX_FILE, &b, g->err);
    if (rc == 0)
        rc = pc_json_parse(b.data, b.len, g->list_path, 0, &list, g->err);
    pc_buf_release(&b);
    return rc == 0 ? pc_generate_log(g, json_pack("{s:i, s:o}", "request", 0, "records", list)) : rc;
}
