// SPDX-License-Identifier: Apache-2.0
#include "algebra/read_f32.h"

#include "kernels/convert.h"

enum { SCRATCH_SIZE = 256 * 1024 };

bool pc_tensor_has_f32(const struct pc_tensor *t)
{
    return pc_convert()->to_f32[t->dtype] != NULL;
}

int pc_tensor_read_f32(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, float *buf, struct paco_error *err)
{
    if (t->dtype == PC_F32)
        return pc_tensor_read(t, row0, n_rows, buf, err);
    void (*widen)(float *, const void *, size_t) = pc_convert()->to_f32[t->dtype];
    if (!widen)
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s' has type %s, which cannot be computed with",
            t->name, pc_dtype_name(t->dtype));
    if (n_rows == 0 || t->row_size == 0)
        return pc_tensor_read(t, row0, n_rows, buf, err);
    uint64_t step = SCRATCH_SIZE / t->row_size;
    step = step < 1 ? 1 : step > n_rows ? n_rows : step;
    void *scratch = pc_alloc((size_t)step, (size_t)t->row_size);
    if (!scratch)
        return pc_error_mem(err, step * t->row_size, t->name);
    int rc = 0;
    for (uint64_t done = 0; done < n_rows && rc == 0; done += step) {
        uint64_t n = n_rows - done < step ? n_rows - done : step;
        rc = pc_tensor_read(t, row0 + done, n, scratch, err);
        if (rc == 0)
            widen(buf + done * t->row_elems, scratch, (size_t)(n * t->row_elems));
    }
    pc_free(scratch);
    return rc;
}
