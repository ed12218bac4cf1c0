// SPDX-License-Identifier: Apache-2.0
#include "train/validate.h"

#include "base/host.h"
#include "base/memory.h"

/* Lay out the pass from example i on. Returns where the one after it begins. */
static size_t fill_pass(struct pc_trainer *t, size_t i)
{
    const struct pc_examples *set = t->setup.validation;
    size_t rows = 0;
    pc_pass_begin(t->pass);
    for (; i < set->n; i++) {
        size_t n = pc_example_at(set, i)->n_ids;
        if (rows && (!t->options.bf16 || rows + n > PC_TRAIN_ROWS || !pc_pass_fits(t->pass, n)))
            break;
        struct pc_pass_rows to = pc_pass_add(t->pass, n);
        pc_examples_get(set, i, to.id, to.label);
        for (size_t k = 0; k < n; k++)
            to.weight[k] = 0;
        rows += n;
    }
    return i;
}

static int measure(struct pc_trainer *t, const struct pc_progress *progress, double *loss, double *sum,
    struct paco_error *err)
{
    const struct pc_examples *set = t->setup.validation;
    for (size_t i = 0, next;; i = next) {
        const struct pc_progress_event event = {
            .phase = "validating", .done = i, .total = set->n, .unit = "examples"};
        if (pc_progress(progress, &event))
            return pc_error_set(err, PACO_ECANCELLED, "stopped while validating");
        if (i == set->n)
            return 0;
        next = fill_pass(t, i);
        pc_pass_measure(t->pass, loss);
        for (size_t k = 0; k < next - i; k++)
            *sum += loss[k];
    }
}

int pc_trainer_validate(struct pc_trainer *t, const struct pc_progress *progress, struct pc_validation *out,
    struct paco_error *err)
{
    const struct pc_examples *set = t->setup.validation;
    double sum = 0, from = pc_seconds(), *loss = pc_alloc(PC_TRAIN_ROWS, sizeof *loss);
    if (!loss)
        return pc_error_mem(err, PC_TRAIN_ROWS * sizeof *loss, "losses");
    int rc = measure(t, progress, loss, &sum, err);
    pc_free(loss);
    if (rc == 0)
        *out = (struct pc_validation){.loss = set->n_trained ? sum / (double)set->n_trained : 0,
            .n_tokens = set->n_ids,
            .n_trained = set->n_trained,
            .seconds = pc_seconds() - from};
    return rc;
}
