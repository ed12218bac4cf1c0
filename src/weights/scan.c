// SPDX-License-Identifier: Apache-2.0
#include "weights/scan.h"

#include "base/buf.h"
#include "kernels/convert.h"
#include "weights/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1024 * 1024, LANES = 8, WIDEN = 4096 };

/* Adds the finite ones of n floats in LANES interleaved sums, which are joined per call: a fixed order, since
 * calls cover fixed ranges of rows. */
static void add_values(struct pc_scan *scan, const float *x, size_t n)
{
    double lanes[LANES] = {0};
    size_t n_bad = pc_convert()->count_nonfinite(x, n);
    if (n_bad == 0) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
            for (size_t j = 0; j < LANES; j++)
                lanes[j] += (double)x[i + j];
        for (size_t j = 0; i + j < n; j++)
            lanes[j] += (double)x[i + j];
    } else {
        for (size_t i = 0; i < n; i++) {
            scan->n_nan += isnan(x[i]) != 0;
            scan->n_inf += isinf(x[i]) != 0;
            if (isfinite(x[i]))
                lanes[i % LANES] += (double)x[i];
        }
    }
    for (size_t j = 0; j < LANES; j++)
        scan->sum += lanes[j];
}

static void add_native(
    struct pc_scan *scan, const struct pc_tensor *t, const unsigned char *bytes, uint64_t n_elements)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(t->dtype);
    float wide[WIDEN]; // a multiple of every type's block
    for (uint64_t done = 0; done < n_elements; done += WIDEN) {
        size_t n = n_elements - done < WIDEN ? (size_t)(n_elements - done) : WIDEN;
        pc_convert()->to_f32[t->dtype](wide, bytes + done / traits->n_block * traits->block_size, n);
        add_values(scan, wide, n);
    }
}

struct scanning {
    const struct pc_checkpoint *ck;
    unsigned flags;
    struct pc_scan *out;
};

static int scan_rows(const struct scanning *s, size_t i, struct pc_sweep *job, unsigned char *buf,
    uint64_t step, struct pc_sha256 *hash, struct paco_error *err)
{
    const struct pc_tensor *t = &s->ck->tensors[i];
    struct pc_scan *scan = &s->out[i];
    for (uint64_t row = 0; row < t->n_rows && t->row_size; row += step) {
        uint64_t n = t->n_rows - row < step ? t->n_rows - row : step;
        int rc = pc_tensor_read(t, row, n, buf, err);
        if (rc < 0)
            return rc;
        if (hash)
            pc_sha256_update(hash, buf, (size_t)(n * t->row_size));
        if (scan->has_values)
            add_native(scan, t, buf, n * t->row_elems);
        if ((rc = pc_sweep_step(job, t->name, n * t->row_size, err)) < 0)
            return rc;
    }
    if (hash)
        pc_sha256_final(hash, scan->sha256);
    return 0;
}

static int scan_tensor(void *ctx, size_t i, struct pc_sweep *job, struct paco_error *err)
{
    const struct scanning *s = ctx;
    const struct pc_tensor *t = &s->ck->tensors[i];
    s->out[i] = (struct pc_scan){.has_values = (s->flags & PC_SCAN_VALUES) && pc_convert()->to_f32[t->dtype]};
    uint64_t step = t->row_size ? PIECE / t->row_size : 1;
    step = step < 1 ? 1 : step > t->n_rows ? t->n_rows : step;
    struct pc_sha256 *hash = s->flags & PC_SCAN_SHA256 ? pc_sha256_new(err) : NULL;
    if ((s->flags & PC_SCAN_SHA256) && !hash)
        return PACO_EMEM;
    unsigned char *buf = pc_alloc((size_t)step, (size_t)t->row_size);
    int rc =
        buf ? scan_rows(s, i, job, buf, step, hash, err) : pc_error_mem(err, step * t->row_size, t->name);
    pc_free(buf);
    pc_sha256_free(hash);
    return rc;
}

int pc_scan_checkpoint(const struct pc_checkpoint *ck, unsigned flags, struct pc_pool *pool,
    const struct pc_progress *progress, const char *phase, struct pc_scan *out, struct paco_error *err)
{
    struct scanning s = {ck, flags, out};
    uint64_t *sizes = pc_alloc(ck->n_tensors, sizeof *sizes);
    if (!sizes)
        return pc_error_mem(err, ck->n_tensors * sizeof *sizes, "the sizes of tensors");
    for (size_t i = 0; i < ck->n_tensors; i++)
        sizes[i] = ck->tensors[i].size;
    const struct pc_sweep_options options = {scan_tensor, &s, ck->n_tensors, sizes, pool, progress, phase};
    int rc = pc_sweep_run(&options, err);
    pc_free(sizes);
    return rc;
}

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *content_line(const struct pc_tensor *t, const struct pc_scan *scan)
{
    struct pc_buf b;
    char hex[PC_SHA256_HEX];
    pc_buf_init(&b, PC_MAX_NAME + 512);
    pc_buf_printf(&b, "%s %s ", t->name, pc_dtype_name(t->dtype));
    for (int i = 0; i < t->n_dims; i++)
        pc_buf_printf(&b, "%s%llu", i ? "x" : "", (unsigned long long)t->shape[i]);
    pc_buf_printf(&b, " %s\n", pc_sha256_hex(scan->sha256, hex));
    return pc_buf_detach(&b);
}

int pc_content_digest(const struct pc_checkpoint *ck, const struct pc_scan *scans, char hex[PC_SHA256_HEX],
    struct paco_error *err)
{
    char **lines = pc_alloc_zero(ck->n_tensors, sizeof *lines);
    struct pc_sha256 *hash = pc_sha256_new(err);
    int rc = lines && hash ? 0 : pc_error_mem(err, ck->n_tensors * sizeof *lines, "a content digest");
    for (size_t i = 0; i < ck->n_tensors && rc == 0; i++)
        if (!(lines[i] = content_line(&ck->tensors[i], &scans[i])))
            rc = pc_error_mem(err, PC_MAX_NAME, "a content digest");
    if (rc == 0) {
        uint8_t digest[PC_SHA256_SIZE];
        qsort(lines, ck->n_tensors, sizeof *lines, by_line);
        for (size_t i = 0; i < ck->n_tensors; i++)
            pc_sha256_update(hash, lines[i], strlen(lines[i]));
        pc_sha256_final(hash, digest);
        pc_sha256_hex(digest, hex);
    }
    for (size_t i = 0; lines && i < ck->n_tensors; i++)
        pc_free(lines[i]);
    pc_free(lines);
    pc_sha256_free(hash);
    return rc;
}
