// SPDX-License-Identifier: Apache-2.0
#include "algebra/trace.h"

#include "kernels/convert.h"

enum { PIECE = 16384 };

uint64_t pc_trace_rows(const struct pc_tensor *t, uint64_t n_left)
{
    uint64_t n = t->row_elems ? PIECE / t->row_elems : n_left;
    if (n < 1)
        n = 1;
    return n < n_left ? n : n_left;
}

void pc_trace_reset(struct pc_trace *tr)
{
    tr->n_views = 0;
    tr->n_slots = 0;
}

void pc_trace_release(struct pc_trace *tr)
{
    for (size_t i = 0; i < PC_TRACE_SLOTS; i++)
        pc_free(tr->slots[i].bytes);
    *tr = (struct pc_trace){0};
}

void *pc_trace_scratch(struct pc_trace *tr, uint64_t size, struct paco_error *err)
{
    if (tr->n_slots == PC_TRACE_SLOTS) {
        pc_error_set(err, PACO_ELIMIT, "checkpoints are nested too deep");
        return NULL;
    }
    size_t i = tr->n_slots;
    if (tr->slots[i].size < size) {
        pc_free(tr->slots[i].bytes);
        tr->slots[i].bytes = size <= SIZE_MAX ? pc_alloc_pages((size_t)size) : NULL;
        tr->slots[i].size = tr->slots[i].bytes ? (size_t)size : 0;
    }
    if (!tr->slots[i].bytes && size > 0) {
        pc_error_mem(err, size, "rows on their way");
        return NULL;
    }
    tr->n_slots++;
    return tr->slots[i].bytes;
}

static int add_view(struct pc_trace *tr, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    const void *bytes, struct paco_error *err)
{
    if (tr->n_views == PC_TRACE_VIEWS)
        return pc_error_set(err, PACO_ELIMIT, "a tensor is made of more than %d others", PC_TRACE_VIEWS);
    tr->views[tr->n_views++] = (struct pc_trace_view){t, row0, n_rows, bytes};
    return 0;
}

int pc_tensor_read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *tr, struct paco_error *err)
{
    if (!t->owner->read_traced) {
        int rc = pc_tensor_read(t, row0, n_rows, buf, err);
        return rc < 0 ? rc : add_view(tr, t, row0, n_rows, buf, err);
    }
    if (row0 > t->n_rows || n_rows > t->n_rows - row0)
        return pc_error_set(err, PACO_EINVAL, "tensor '%s': rows %llu to %llu of %llu", t->name,
            (unsigned long long)row0, (unsigned long long)(row0 + n_rows), (unsigned long long)t->n_rows);
    if (n_rows == 0 || t->row_size == 0)
        return 0;
    return t->owner->read_traced(t, row0, n_rows, buf, tr, err);
}

int pc_trace_read_f32(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, float *buf,
    const float **out, struct pc_trace *tr, struct paco_error *err)
{
    void (*widen)(float *, const void *, size_t) = pc_convert()->to_f32[t->dtype];
    if (!widen)
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s' has type %s, which cannot be computed with",
            t->name, pc_dtype_name(t->dtype));
    uint64_t n = n_rows * t->row_elems;
    if (!buf && !(buf = pc_trace_scratch(tr, n * sizeof *buf, err)))
        return err ? err->code : PACO_EMEM;
    void *raw = buf;
    if (t->dtype != PC_F32 && !(raw = pc_trace_scratch(tr, n_rows * t->row_size, err)))
        return err ? err->code : PACO_EMEM;
    int rc = pc_tensor_read_traced(t, row0, n_rows, raw, tr, err);
    if (rc < 0)
        return rc;
    if (raw != buf)
        widen(buf, raw, (size_t)n);
    *out = buf;
    return 0;
}

int pc_read_untraced(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    struct pc_trace tr = {0};
    int rc = 0;
    for (uint64_t done = 0, n; done < n_rows && rc == 0; done += n) {
        n = pc_trace_rows(t, n_rows - done);
        pc_trace_reset(&tr);
        rc = t->owner->read_traced(t, row0 + done, n, (char *)buf + done * t->row_size, &tr, err);
    }
    pc_trace_release(&tr);
    return rc;
}
