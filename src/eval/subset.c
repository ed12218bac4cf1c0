// SPDX-License-Identifier: Apache-2.0
#include "eval/subset.h"

#include "base/memory.h"

size_t pc_subset_size(int64_t flag, size_t usual)
{
    if (flag == 0)
        return usual;
    return flag < 0 ? 0 : (size_t)flag;
}

int pc_subset_draw(struct pc_py_random *r, size_t n, size_t max, bool even, int64_t limit,
    struct pc_subset *out, struct paco_error *err)
{
    bool drawn = max > 0 && (n > max || (even && n == max));
    *out = (struct pc_subset){.n = drawn ? max : n};
    out->v = pc_alloc(out->n, sizeof *out->v);
    int rc = out->v ? 0 : pc_error_mem(err, (uint64_t)out->n * sizeof *out->v, "the items to ask");
    if (rc == 0 && drawn)
        rc = pc_py_sample(r, n, max, out->v, err);
    if (rc < 0) {
        pc_subset_release(out);
        return rc;
    }
    for (size_t i = 0; i < n && !drawn; i++)
        out->v[i] = i;
    if (limit > 0 && (size_t)limit < out->n)
        out->n = (size_t)limit;
    return 0;
}

void pc_subset_release(struct pc_subset *s)
{
    pc_free(s->v);
    *s = (struct pc_subset){0};
}
