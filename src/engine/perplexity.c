// SPDX-License-Identifier: Apache-2.0
/* Both models read a piece of a window, then the rows of logits are scored, a row a task: nothing of size
 * (tokens x vocabulary) outlives a piece of PC_PERPLEXITY_LOGITS rows. */
#include "engine/perplexity.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"
#include "kernels/softmax.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What one prediction was worth. */
struct score {
    double nll, reference_nll, kl;
    bool same_top;
};

struct reader {
    const struct pc_perplexity_options *o;
    const int32_t *tokens;
    size_t n_tokens, n_vocab;
    struct pc_engine *engine[2]; /* the model's; the reference's or NULL */
    struct pc_seq *seq[2];
    struct pc_row rows[PC_PERPLEXITY_LOGITS];
    struct pc_softmax softmax;
    struct pc_pool *pool;
    float *p; /* (workers, 2, V) */
    struct score *scores;
    int64_t n_scores, max_scores;
    /* the piece being scored: predictions of positions [from, ...) of a window */
    struct pc_window window;
    int32_t from;
};

/* ---- windows ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

int64_t pc_perplexity_windows(const struct pc_perplexity_options *o, size_t n)
{
    size_t context = (size_t)o->context, stride = (size_t)o->stride, all;
    if (stride == 0)
        all = n / context;
    else if (n < 2)
        all = 0;
    else
        all = n <= context ? 1 : 1 + (n - context + stride - 1) / stride;
    return o->max_windows > 0 && (uint64_t)o->max_windows < all ? o->max_windows : (int64_t)all;
}

struct pc_window pc_perplexity_window(const struct pc_perplexity_options *o, size_t n_tokens, int64_t i)
{
    size_t context = (size_t)o->context, index = (size_t)i;
    if (o->stride == 0)
        return (struct pc_window){index * context, o->context, o->context / 2};
    size_t stride = (size_t)o->stride, start = index * stride, end = smaller(start + context, n_tokens);
    size_t done =
        index ? smaller(start - stride + context, n_tokens) : start + 1; /* tokens already predicted */
    int32_t known = (int32_t)(done - start); /* of this window; none where windows do not overlap */
    return (struct pc_window){start, (int32_t)(end - start), known > 0 ? known - 1 : 0};
}

static int32_t token_at(const struct reader *r, const struct pc_window *w, int32_t pos)
{
    bool replaced = pos == 0 && r->o->stride == 0 && r->o->bos >= 0;
    return replaced ? r->o->bos : r->tokens[w->start + (size_t)pos];
}

/* ---- scores ---- */

/* -log p of target, and what the divergence needs: p scaled by *sum, and log of all e^x. */
static double negative_log(
    const struct reader *r, const float *x, int32_t target, float *p, double *sum, double *log_sum)
{
    *log_sum = pc_softmax_log_sum(&r->softmax, p, x, r->n_vocab, sum);
    return *log_sum - (double)x[target];
}

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static void score_row(void *arg, int64_t i_task, int i_worker)
{
    struct reader *r = arg;
    int32_t pos = r->from + (int32_t)i_task, target = r->tokens[r->window.start + (size_t)pos + 1];
    const float *x = pc_engine_logits(r->engine[0], (size_t)i_task);
    float *p = r->p + (size_t)i_worker * 2 * r->n_vocab, *p_ref = p + r->n_vocab;
    double sum, log_sum;
    struct score s = {.nll = negative_log(r, x, target, p, &sum, &log_sum)};
    if (r->engine[1]) {
        const float *y = pc_engine_logits(r->engine[1], (size_t)i_task);
        double sum_ref, log_sum_ref, total = 0;
        s.reference_nll = negative_log(r, y, target, p_ref, &sum_ref, &log_sum_ref);
        for (size_t i = 0; i < r->n_vocab; i++)
            if (p_ref[i] > 0)
                total += (double)p_ref[i] * ((double)y[i] - (double)x[i]);
        s.kl = total / sum_ref - (log_sum_ref - log_sum);
        s.kl = s.kl < 0 ? 0 : s.kl; /* the roundings of two equal distributions */
        s.same_top = argmax(x, r->n_vocab) == argmax(y, r->n_vocab);
    }
    r->scores[r->n_scores + i_task] = s;
}

static int check_scores(const struct reader *r, int64_t n, struct paco_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        const struct score *s = &r->scores[r->n_scores + i];
        if (!isfinite(s->nll) || !isfinite(s->reference_nll) || !isfinite(s->kl))
            return pc_error_set(err, PACO_EFORMAT,
                "token %zu of the text: the %s gives no probabilities there (its weights may be damaged)",
                r->window.start + (size_t)r->from + (size_t)i + 1,
                isfinite(s->nll) && !isfinite(s->reference_nll) ? "reference" : "model");
    }
    return 0;
}

/* ---- reading ---- */

/* Positions [from, from + n) of the window through both models. */
static int step(struct reader *r, const struct pc_window *w, int32_t from, int32_t n, bool want_logits,
    struct paco_error *err)
{
    int rc = 0;
    for (int m = 0; m < 2 && r->engine[m] && rc == 0; m++) {
        for (int32_t i = 0; i < n; i++)
            r->rows[i] = (struct pc_row){.seq = r->seq[m],
                .pos = from + i,
                .token = token_at(r, w, from + i),
                .want_logits = want_logits};
        rc = pc_engine_step(r->engine[m], r->rows, (size_t)n, err);
        if (rc < 0 && m == 1)
            pc_error_prefix(err, "reference");
    }
    return rc;
}

static int read_piece(
    struct reader *r, const struct pc_window *w, int32_t from, int32_t n, bool counts, struct paco_error *err)
{
    int rc = step(r, w, from, n, counts, err);
    if (rc < 0 || !counts)
        return rc;
    r->window = *w;
    r->from = from;
    pc_pool_run(r->pool, n, score_row, r);
    rc = check_scores(r, n, err);
    r->n_scores += n;
    return rc;
}

static int read_window(
    struct reader *r, const struct pc_window *w, uint64_t done, uint64_t total, struct paco_error *err)
{
    for (int32_t at = 0; at < w->n - 1;) {
        bool counts = at >= w->first;
        int32_t end = counts ? w->n - 1 : w->first, n = end - at;
        n = n < PC_PERPLEXITY_LOGITS ? n : PC_PERPLEXITY_LOGITS;
        int rc = read_piece(r, w, at, n, counts, err);
        if (rc < 0)
            return rc;
        at += n;
        const struct pc_progress_event event = {
            .phase = "reading", .done = done + (uint64_t)at, .total = total, .unit = "tokens"};
        if (pc_progress(r->o->progress, &event))
            return pc_error_set(err, PACO_ECANCELLED, "stopped");
    }
    return 0;
}

/* ---- sums ---- */

static struct pc_mean mean_of(const struct reader *r, int64_t n_windows, size_t field)
{
    const char *at = (const char *)r->scores + field;
    double sum = 0, squares = 0, n = (double)r->n_scores;
    for (int64_t w = 0; w < n_windows; w++) {
        struct pc_window window = pc_perplexity_window(r->o, r->n_tokens, w);
        double of_window = 0;
        for (int32_t i = window.first; i < window.n - 1; i++, at += sizeof *r->scores) {
            double x;
            memcpy(&x, at, sizeof x);
            of_window += x;
            squares += x * x;
        }
        sum += of_window;
    }
    double mean = sum / n, variance = squares / n - mean * mean;
    return (struct pc_mean){mean, n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0};
}

static int by_kl(const void *a, const void *b)
{
    double x = ((const struct score *)a)->kl, y = ((const struct score *)b)->kl;
    return (x > y) - (x < y);
}

static void add_up(struct reader *r, int64_t n_windows, struct pc_perplexity *out)
{
    int64_t n = r->n_scores, same = 0;
    out->n_scored = n;
    out->nll = mean_of(r, n_windows, offsetof(struct score, nll));
    if (!r->engine[1])
        return;
    for (int64_t i = 0; i < n; i++)
        same += r->scores[i].same_top;
    out->same_top = (double)same / (double)n;
    out->reference_nll = mean_of(r, n_windows, offsetof(struct score, reference_nll));
    out->kl = mean_of(r, n_windows, offsetof(struct score, kl));
    qsort(r->scores, (size_t)n, sizeof *r->scores, by_kl);
    out->kl_median = r->scores[n / 2].kl;
    out->kl_p99 = r->scores[(n * 99) / 100].kl;
    out->kl_max = r->scores[n - 1].kl;
}

/* ---- all of it ---- */

static int check(const struct reader *r, int64_t n_windows, struct paco_error *err)
{
    const struct pc_perplexity_options *o = r->o;
    if (n_windows == 0)
        return pc_error_set(err, PACO_ELIMIT,
            "the text has %zu tokens; %s (a smaller context or a longer text)", r->n_tokens,
            o->stride ? "at least 2 are needed" : "one window has more");
    int32_t n_vocab = (int32_t)r->n_vocab;
    if (r->engine[1] && pc_engine_config(r->engine[1])->vocab_size != n_vocab)
        return pc_error_set(err, PACO_EMISMATCH,
            "the model has a vocabulary of %d tokens, the reference one of %d: their predictions cannot be "
            "compared",
            n_vocab, pc_engine_config(r->engine[1])->vocab_size);
    return 0;
}

static int prepare(struct reader *r, int64_t n_windows, struct paco_error *err)
{
    struct pc_window last = pc_perplexity_window(r->o, r->n_tokens, n_windows - 1);
    r->max_scores = n_windows * (int64_t)(r->o->stride ? 0 : last.n - 1 - last.first);
    if (r->o->stride)
        r->max_scores = (int64_t)(last.start + (size_t)last.n) - 1;
    int rc = 0;
    for (int m = 0; m < 2 && r->engine[m] && rc == 0; m++)
        rc = pc_seq_new(r->engine[m], r->o->context, &r->seq[m], err);
    if (rc < 0)
        return rc;
    r->pool = pc_pool_new(pc_engine_n_threads(r->engine[0]), err);
    if (!r->pool)
        return err && err->code ? err->code : PACO_EMEM;
    size_t n_workers = (size_t)pc_pool_size(r->pool);
    r->p = pc_alloc(n_workers * 2 * r->n_vocab, sizeof *r->p);
    r->scores = pc_alloc((size_t)r->max_scores, sizeof *r->scores);
    if (!r->p || !r->scores)
        return pc_error_mem(err, (uint64_t)r->max_scores * sizeof *r->scores, "scores");
    return 0;
}

static int read_all(struct reader *r, int64_t n_windows, struct pc_perplexity *out, struct paco_error *err)
{
    uint64_t total = 0, done = 0;
    for (int64_t i = 0; i < n_windows; i++)
        total += (uint64_t)pc_perplexity_window(r->o, r->n_tokens, i).n - 1;
    int rc = 0;
    for (int64_t i = 0; i < n_windows && rc == 0; i++) {
        struct pc_window w = pc_perplexity_window(r->o, r->n_tokens, i);
        rc = read_window(r, &w, done, total, err);
        done += (uint64_t)w.n - 1;
    }
    if (rc < 0)
        return rc;
    out->n_windows = n_windows;
    out->n_computed = (int64_t)done;
    add_up(r, n_windows, out);
    return 0;
}

int pc_perplexity(struct pc_engine *engine, struct pc_engine *reference, const int32_t *tokens, size_t n,
    const struct pc_perplexity_options *o, struct pc_perplexity *out, struct paco_error *err)
{
    if (o->context < PC_PERPLEXITY_LEAST || o->stride < 0 || o->stride > o->context)
        return pc_error_set(err, PACO_EINVAL,
            "windows of %d tokens every %d; at least %d, and a stride of at most a window, are expected",
            o->context, o->stride, PC_PERPLEXITY_LEAST);
    struct reader *r = pc_alloc_zero(1, sizeof *r);
    if (!r)
        return pc_error_mem(err, sizeof *r, "a reader");
    *out = (struct pc_perplexity){0};
    r->o = o;
    r->tokens = tokens;
    r->n_tokens = n;
    r->n_vocab = (size_t)pc_engine_config(engine)->vocab_size;
    r->engine[0] = engine;
    r->engine[1] = reference;
    pc_softmax_init(&r->softmax, pc_cpu_flags());
    int64_t n_windows = pc_perplexity_windows(o, n);
    int rc = check(r, n_windows, err);
    if (rc == 0)
        rc = prepare(r, n_windows, err);
    if (rc == 0)
        rc = read_all(r, n_windows, out, err);
    pc_seq_free(r->seq[0]);
    pc_seq_free(r->seq[1]);
    pc_pool_free(r->pool);
    pc_free(r->p);
    pc_free(r->scores);
    pc_free(r);
    return rc;
}
