// SPDX-License-Identifier: Apache-2.0
/* Which of a benchmark's items are asked, in which order. */
#ifndef PC_EVAL_SUBSET_H
#define PC_EVAL_SUBSET_H

#include "base/py_random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_subset {
    size_t *v; /* indices; owned */
    size_t n;
};

/** What a flag of struct pc_task_flags means: said, or usual where it is 0; 0 stands for all. */
size_t pc_subset_size(int64_t flag, size_t usual);

/** Of n items: max of them drawn from r (random.sample) where there are more than max, or, when even is set,
 * as many; else all in order and nothing is drawn, which is what max = 0 always means. Of these the first
 * limit (0: all). *out is *owned*: pc_subset_release. */
int pc_subset_draw(struct pc_py_random *r, size_t n, size_t max, bool even, int64_t limit,
    struct pc_subset *out, struct paco_error *err);
void pc_subset_release(struct pc_subset *s);

#endif
