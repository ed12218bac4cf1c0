// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_weights.h"

#include "algebra/lowrank.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/narrow.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "base_model.model."
#define A_SUFFIX ".lora_A.weight"
#define B_SUFFIX ".lora_B.weight"

/* The term of factor A, which is tensor i of the adapter; its tensor's name goes to name. */
static int make_term(const struct pc_finetune *f, size_t i, char name[256], struct pc_lowrank_term *out,
    struct paco_error *err)
{
    const struct pc_tensor *a = &f->params->ck->tensors[i];
    char partner[256];
    int n = (int)(strlen(a->name) - strlen(A_SUFFIX));
    snprintf(partner, sizeof partner, "%.*s" B_SUFFIX, n, a->name);
    snprintf(name, 256, "%.*s.weight", n - (int)strlen(PREFIX), a->name + strlen(PREFIX));
    *out = (struct pc_lowrank_term){.name = name,
        .a = a,
        .b = pc_checkpoint_find(f->params->ck, partner),
        .scale = pc_lora_scale(&f->lora_options)};
    return out->b ? 0 : pc_error_set(err, PACO_ENOENT, "there is no '%s'", partner);
}

static int fold(const struct pc_finetune *f, struct pc_checkpoint **out, struct paco_error *err)
{
    size_t n = f->params->n, n_terms = 0;
    struct pc_lowrank_term *terms = pc_alloc(n, sizeof *terms);
    char(*names)[256] = pc_alloc(n, sizeof *names);
    int rc = terms && names ? 0 : pc_error_mem(err, n * sizeof *names, "the adapter's factors");
    for (size_t i = 0; i < n && rc == 0; i++)
        if (strncmp(f->params->v[i].name, PREFIX, strlen(PREFIX)) == 0 &&
            pc_ends_with(f->params->v[i].name, A_SUFFIX)) {
            rc = make_term(f, i, names[n_terms], &terms[n_terms], err);
            n_terms++;
        }
    if (rc == 0)
        rc = pc_checkpoint_lowrank(f->model.weights, terms, n_terms, out, err);
    pc_free(terms);
    pc_free(names);
    return rc;
}

int pc_finetune_weights_open(
    const struct pc_finetune *f, struct pc_finetune_weights *out, struct paco_error *err)
{
    if (!f->is_lora)
        return pc_finetune_narrow(f, &out->ck, err);
    int rc = fold(f, &out->sum, err);
    if (rc == 0)
        rc = pc_narrow(out->sum, PACO_DTYPE_KEEP, f->model.weights, f->pool, NULL, &out->ck, err);
    return rc;
}

void pc_finetune_weights_close(struct pc_finetune_weights *w)
{
    pc_checkpoint_close(w->ck);
    pc_checkpoint_close(w->sum);
    *w = (struct pc_finetune_weights){.ck = NULL};
}
