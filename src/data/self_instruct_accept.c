// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "base/numpy_sum.h"
#include "data/self_instruct_parts.h"

#include <stdlib.h>
#include <string.h>

enum { N_SIMILAR = 10 };
static const double TOO_SIMILAR = 0.7;

struct ranked {
    double score;
    size_t i;
};

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->i < y->i ? 1 : -1;
}

/* The ten most similar, best first; of equal ones the later. */
static json_t *most_similar(const struct pc_generating *g, size_t n)
{
    struct ranked best[N_SIMILAR + 1];
    size_t n_best = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_best == N_SIMILAR && g->scores[i] < best[N_SIMILAR - 1].score)
            continue;
        best[n_best] = (struct ranked){g->scores[i], i};
        n_best++;
        qsort(best, n_best, sizeof *best, by_score);
        n_best = n_best > N_SIMILAR ? N_SIMILAR : n_best;
    }
    json_t *out = json_object();
    for (size_t i = 0; i < n_best; i++)
        json_object_set_new(
            out, json_string_value(json_array_get(g->instructions, best[i].i)), json_real(best[i].score));
    return out;
}

static int reserve_scores(struct pc_generating *g, size_t n)
{
    if (n <= g->scores_capacity)
        return 0;
    double *scores = pc_realloc(g->scores, 2 * n, sizeof *scores);
    if (!scores)
        return pc_error_mem(g->err, 2 * n * sizeof *scores, "scores");
    g->scores = scores;
    g->scores_capacity = 2 * n;
    return 0;
}

int pc_generate_consider(void *ctx, const struct pc_new_task *task)
{
    struct pc_generating *g = ctx;
    const struct pc_task_text t = task->instruction;
    size_t n = pc_rouge_n(g->rouge);
    int rc = reserve_scores(g, n);
    if (rc == 0)
        rc = pc_rouge_scores(g->rouge, t.s, t.len, g->scores, g->err);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (g->scores[i] > TOO_SIMILAR)
            return 0;
    if (rc < 0)
        return rc;
    json_t *record = json_pack("{s:o, s:o, s:o, s:o, s:f}", "instruction", json_stringn(t.s, t.len), "input",
        json_stringn(task->input.s, task->input.len), "output",
        json_stringn(task->output.s, task->output.len), "most_similar_instructions", most_similar(g, n),
        "avg_similarity_score", pc_numpy_sum(g->scores, n) / (double)n);
    // Text that is no UTF-8 is refused by jansson; endpoints' replies are UTF-8.
    if (!record || json_array_append(g->accepted, record) < 0)
        rc = pc_error_mem(g->err, t.len, "an instruction");
    if (rc == 0)
        rc = pc_generate_keep(g, record);
    json_decref(record);
    return rc;
}
