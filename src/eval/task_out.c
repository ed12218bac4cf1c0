// SPDX-License-Identifier: Apache-2.0
#include "eval/task_out.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { MAX_LINES = 1 << 30 };

/* ---- records and lines ---- */

json_t *pc_text_value(struct pc_text text)
{
    // What is no UTF-8 after all is replaced where it is written (base/json.h).
    return json_stringn_nocheck(text.len ? text.v : "", text.len);
}

int pc_object_put(json_t *object, const char *key, json_t *value, struct paco_error *err)
{
    return json_object_set_new_nocheck(object, key, value) < 0 ? pc_error_mem(err, 64, "a record") : 0;
}

struct pc_text pc_record_text(const json_t *record, const char *key)
{
    const json_t *v = json_object_get(record, key);
    if (!json_is_string(v))
        return (struct pc_text){"", 0};
    return (struct pc_text){json_string_value(v), json_string_length(v)};
}

bool pc_record_is_good(const json_t *record)
{
    return json_is_object(record) && !json_object_get(record, "error");
}

void pc_lines_init(struct pc_buf *lines)
{
    pc_buf_init(lines, MAX_LINES);
}

int pc_lines_add(struct pc_buf *lines, json_t *line, struct paco_error *err)
{
    if (!line)
        return pc_error_mem(err, 256, "a line of predictions");
    pc_json_write(lines, line, PC_JSON_PYTHON);
    pc_buf_putc(lines, '\n');
    json_decref(line);
    return pc_buf_check(lines, "predictions", err);
}

int pc_lines_write(struct pc_buf *lines, int rc, const char *dir, const char *name, struct paco_error *err)
{
    char *path = NULL;
    if (rc == 0) {
        path = pc_path_join(dir, name);
        rc = path ? pc_file_write_atomic(path, lines->data ? lines->data : "", lines->len, err)
                  : pc_error_mem(err, strlen(dir), "a path");
    }
    pc_free(path);
    pc_buf_release(lines);
    return rc;
}

/* ---- numbers ---- */

enum { N_SUMS = 8, BLOCK = 128 };

static double add_block(const double *v, size_t n)
{
    double sum[N_SUMS], all = 0;
    size_t i = 0;
    if (n >= N_SUMS) {
        memcpy(sum, v, sizeof sum);
        for (i = N_SUMS; i + N_SUMS <= n; i += N_SUMS)
            for (size_t k = 0; k < N_SUMS; k++)
                sum[k] += v[i + k];
        all = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    }
    for (; i < n; i++)
        all += v[i];
    return all;
}

/* Halves, the first a multiple of eight: as deep as n has bits. */
static double add_in_pairs(const double *v, size_t n)
{
    if (n <= BLOCK)
        return add_block(v, n);
    size_t half = n / 2;
    half -= half % N_SUMS;
    return add_in_pairs(v, half) + add_in_pairs(v + half, n - half);
}

double pc_numpy_mean(const double *v, size_t n)
{
    return n ? add_in_pairs(v, n) / (double)n : (double)NAN;
}

double pc_mean_error(const double *v, size_t n)
{
    if (n < 2)
        return (double)NAN;
    double mean = pc_numpy_mean(v, n), squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (v[i] - mean) * (v[i] - mean);
    return sqrt(squares / (double)(n - 1) / (double)n);
}

double pc_share_error(size_t n_true, size_t n)
{
    if (n < 2)
        return (double)NAN;
    double share = (double)n_true / (double)n;
    return sqrt(share * (1 - share) / (double)(n - 1));
}
