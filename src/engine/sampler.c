// SPDX-License-Identifier: Apache-2.0
/* Candidates sit in a heap ordered by logit, so that only as many are sorted as the cuts let through: making
 * the heap is linear in the vocabulary, and an answer seldom needs more than some hundred of them. */
#include "engine/sampler.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/splitmix.h"
#include "engine/constraint.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct pc_sampler {
    struct pc_sampler_options o;
    struct pc_softmax softmax;
    size_t n_vocab;
    int32_t *suppressed;
    struct pc_logit_bias *bias;
    struct pc_constraint *constraint; /* NULL: none */
    uint64_t n_draws;
    bool *seen;       /* (V) occurred */
    int32_t *count;   /* (V) how often each was chosen */
    int32_t *history; /* (V) the ids that occurred, once each */
    size_t n_history;
    float *score, *p; /* (V) */
    int32_t *heap;    /* (V) */
};

static double draw(struct pc_sampler *s)
{
    uint64_t start = pc_splitmix(s->o.seed) + pc_splitmix(s->o.stream + ((uint64_t)1 << 63));
    return (double)(pc_splitmix(start + s->n_draws++ * PC_SPLITMIX_STEP) >> 11) * 0x1p-53;
}

int pc_sampler_check(const struct pc_sampler_options *o, struct paco_error *err)
{
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return pc_error_set(
            err, PACO_EINVAL, "temperature %g; 0 (greedy) or more is expected", o->temperature);
    if (o->top_k < 0)
        return pc_error_set(err, PACO_EINVAL, "top-k %d; 0 (off) or more is expected", o->top_k);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return pc_error_set(err, PACO_EINVAL, "top-p %g; 0 (off) to 1 is expected", o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return pc_error_set(err, PACO_EINVAL, "min-p %g; 0 (off) to 1 is expected", o->min_p);
    if (!(o->repetition_penalty >= 0 && isfinite(o->repetition_penalty)))
        return pc_error_set(
            err, PACO_EINVAL, "repetition penalty %g; 0 (off) or more is expected", o->repetition_penalty);
    if (!isfinite(o->presence_penalty) || !isfinite(o->frequency_penalty))
        return pc_error_set(err, PACO_EINVAL, "penalties of %g for presence and %g for frequency",
            o->presence_penalty, o->frequency_penalty);
    for (size_t i = 0; i < o->n_bias; i++)
        if (!isfinite(o->bias[i].bias))
            return pc_error_set(
                err, PACO_EINVAL, "a bias of %g for id %d", (double)o->bias[i].bias, o->bias[i].id);
    return 0;
}

bool pc_sampler_is_greedy(const struct pc_sampler_options *o)
{
    bool penalises = (o->repetition_penalty != 0 && o->repetition_penalty != 1) || o->presence_penalty != 0 ||
                     o->frequency_penalty != 0;
    return o->temperature == 0 && o->n_suppressed == 0 && o->n_bias == 0 && !penalises && !o->grammar;
}

int pc_sampler_new(int32_t vocab_size, const struct pc_sampler_options *options, struct pc_sampler **out,
    struct paco_error *err)
{
    int rc = pc_sampler_check(options, err);
    if (rc < 0)
        return rc;
    size_t n = (size_t)vocab_size;
    struct pc_sampler *s = pc_alloc_zero(1, sizeof *s);
    if (!s)
        return pc_error_mem(err, sizeof *s, "a sampler");
    s->o = *options;
    s->n_vocab = n;
    pc_softmax_init(&s->softmax, pc_cpu_flags());
    s->suppressed = pc_alloc(options->n_suppressed, sizeof *s->suppressed);
    s->bias = pc_alloc(options->n_bias, sizeof *s->bias);
    s->seen = pc_alloc_zero(n, sizeof *s->seen);
    s->count = pc_alloc_zero(n, sizeof *s->count);
    s->history = pc_alloc(n, sizeof *s->history);
    s->score = pc_alloc(n, sizeof *s->score);
    s->p = pc_alloc(n, sizeof *s->p);
    s->heap = pc_alloc(n, sizeof *s->heap);
    if (!s->suppressed || !s->bias || !s->seen || !s->count || !s->history || !s->score || !s->p ||
        !s->heap) {
        pc_sampler_free(s);
        return pc_error_mem(err, n * 21, "a sampler");
    }
    if (options->n_suppressed)
        memcpy(s->suppressed, options->suppressed, options->n_suppressed * sizeof *s->suppressed);
    if (options->n_bias)
        memcpy(s->bias, options->bias, options->n_bias * sizeof *s->bias);
    s->o.suppressed = s->suppressed;
    s->o.bias = s->bias;
    if (options->grammar)
        rc = pc_constraint_new(
            options->spelling, options->grammar, options->end_ids, options->n_end_ids, &s->constraint, err);
    if (rc < 0)
        pc_sampler_free(s);
    else
        *out = s;
    return rc;
}

void pc_sampler_free(struct pc_sampler *s)
{
    if (!s)
        return;
    pc_constraint_free(s->constraint);
    pc_free(s->suppressed);
    pc_free(s->bias);
    pc_free(s->seen);
    pc_free(s->count);
    pc_free(s->history);
    pc_free(s->score);
    pc_free(s->p);
    pc_free(s->heap);
    pc_free(s);
}

void pc_sampler_reset(struct pc_sampler *s, uint64_t stream)
{
    for (size_t i = 0; i < s->n_history; i++) {
        s->seen[s->history[i]] = false;
        s->count[s->history[i]] = 0;
    }
    s->n_history = 0;
    s->n_draws = 0;
    s->o.stream = stream;
    if (s->constraint)
        pc_constraint_reset(s->constraint);
}

void pc_sampler_accept_prompt(struct pc_sampler *s, int32_t id)
{
    if (id < 0 || (size_t)id >= s->n_vocab || s->seen[id])
        return;
    s->seen[id] = true;
    s->history[s->n_history++] = id;
}

void pc_sampler_accept(struct pc_sampler *s, int32_t id)
{
    pc_sampler_accept_prompt(s, id);
    if (id >= 0 && (size_t)id < s->n_vocab && s->count[id] < INT32_MAX)
        s->count[id]++;
    if (s->constraint)
        pc_constraint_accept(s->constraint, id);
}

static void add_bias(struct pc_sampler *s)
{
    for (size_t i = 0; i < s->o.n_bias; i++)
        if (s->bias[i].id >= 0 && (size_t)s->bias[i].id < s->n_vocab)
            s->score[s->bias[i].id] += s->bias[i].bias;
}

static void penalise(struct pc_sampler *s)
{
    float repetition = (float)s->o.repetition_penalty, presence = (float)s->o.presence_penalty,
          frequency = (float)s->o.frequency_penalty;
    bool repeats = repetition > 0 && repetition != 1.0f;
    if (!repeats && presence == 0.0f && frequency == 0.0f)
        return;
    for (size_t i = 0; i < s->n_history; i++) {
        float *x = &s->score[s->history[i]], n = (float)s->count[s->history[i]];
        if (repeats)
            *x = *x < 0 ? *x * repetition : *x / repetition;
        if (n > 0) {
            *x -= frequency * n;
            *x -= presence;
        }
    }
}

/* Logits with NaN, bias, penalties and suppression settled. */
static void make_scores(struct pc_sampler *s, const float *logits)
{
    for (size_t i = 0; i < s->n_vocab; i++)
        s->score[i] = isnan(logits[i]) ? -INFINITY : logits[i];
    add_bias(s);
    penalise(s);
    for (size_t i = 0; i < s->o.n_suppressed; i++)
        if (s->suppressed[i] >= 0 && (size_t)s->suppressed[i] < s->n_vocab)
            s->score[s->suppressed[i]] = -INFINITY;
}

static bool better(const float *score, int32_t a, int32_t b)
{
    return score[a] > score[b] || (score[a] == score[b] && a < b);
}

static void sift(const float *score, int32_t *heap, size_t n, size_t at)
{
    int32_t id = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && better(score, heap[child + 1], heap[child]))
            child++;
        if (!better(score, heap[child], id))
            break;
        heap[at] = heap[child];
    }
    heap[at] = id;
}

static void make_heap(const float *score, int32_t *heap, size_t n)
{
    for (size_t i = n / 2; i > 0; i--)
        sift(score, heap, n, i - 1);
}

/* Take the best of n; it stays behind the remaining n - 1, so that what was taken stands sorted from the end.
 */
static int32_t pop(const float *score, int32_t *heap, size_t n)
{
    int32_t best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift(score, heap, n - 1, 0);
    return best;
}

int32_t pc_sampler_greedy(const float *logits, size_t n)
{
    float top = -INFINITY;
    int32_t best = -1;
    for (size_t i = 0; i < n; i++)
        if (logits[i] > top) {
            top = logits[i];
            best = (int32_t)i;
        }
    return best;
}

/* Draw from all of the vocabulary, by id. */
static int32_t draw_any(struct pc_sampler *s, double sum)
{
    double target = draw(s) * sum, reached = 0;
    int32_t last = -1;
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (s->p[i] == 0.0f)
            continue;
        reached += (double)s->p[i];
        last = (int32_t)i;
        if (target < reached)
            break;
    }
    return last;
}

/* Draw among what top-k, top-p and min-p leave. p is relative to the best one's, which is 1. */
static int32_t draw_filtered(struct pc_sampler *s, double sum)
{
    double top_p = s->o.top_p > 0 ? s->o.top_p : 1;
    size_t k = s->o.top_k ? (size_t)s->o.top_k : s->n_vocab, n = 0, n_taken = 0, n_kept = 0;
    /* Too improbable even all together to be inside top_p: no need to sort those. */
    double hopeless = s->o.top_k ? 0 : (1 - top_p) * sum / (double)s->n_vocab;
    for (size_t i = 0; i < s->n_vocab; i++)
        if ((double)s->p[i] > hopeless)
            s->heap[n++] = (int32_t)i;
    make_heap(s->score, s->heap, n);
    if (s->o.top_k) {
        sum = 0;
        while (n_taken < n) {
            if (n_taken >= k && s->score[s->heap[0]] < s->score[s->heap[n - n_taken]])
                break;
            sum += (double)s->p[pop(s->score, s->heap, n - n_taken)];
            n_taken++;
        }
    }
    double kept = 0;
    for (; n_kept < (s->o.top_k ? n_taken : n); n_kept++) {
        if (n_taken == n_kept) {
            if (kept >= top_p * sum)
                break;
            pop(s->score, s->heap, n - n_taken++);
        }
        float p = s->p[s->heap[n - 1 - n_kept]];
        if (n_kept > 0 && (kept >= top_p * sum || (double)p < s->o.min_p))
            break;
        kept += (double)p;
    }
    double target = draw(s) * kept, reached = 0;
    size_t i = 0;
    for (; i + 1 < n_kept; i++) {
        reached += (double)s->p[s->heap[n - 1 - i]];
        if (target < reached)
            break;
    }
    return s->heap[n - 1 - i];
}

/* The best that the form allows. Most often it is the best of all, or nearly: those are asked for before
 * everything is tried. */
static int32_t best_allowed(struct pc_sampler *s)
{
    enum { TRIES = 4 };
    for (int i = 0; s->constraint && s->o.temperature == 0 && i < TRIES; i++) {
        int32_t best = pc_sampler_greedy(s->score, s->n_vocab);
        if (best < 0 || pc_constraint_allows(s->constraint, best))
            return best;
        s->score[best] = -INFINITY;
    }
    if (s->constraint)
        pc_constraint_limit(s->constraint, s->score, s->n_vocab);
    return pc_sampler_greedy(s->score, s->n_vocab);
}

int pc_sampler_next(struct pc_sampler *s, const float *logits, int32_t *id, struct paco_error *err)
{
    make_scores(s, logits);
    int32_t best = best_allowed(s);
    if (best < 0 && s->constraint)
        return pc_error_set(
            err, PACO_EFORMAT, "no token of the vocabulary goes on with the answer's form from here");
    if (best < 0)
        return pc_error_set(err, PACO_EFORMAT,
            "no token can be chosen: every logit is NaN or minus infinity (are the weights damaged?)");
    if (s->o.temperature == 0) {
        *id = best;
        return 0;
    }
    /* Relative to the best, so that no temperature can overflow what matters. */
    float temperature = fmaxf((float)s->o.temperature, FLT_MIN), top = s->score[best], max;
    for (size_t i = 0; i < s->n_vocab && isfinite(top); i++)
        s->score[i] = (s->score[i] - top) / temperature;
    double sum = pc_softmax_forward(&s->softmax, s->p, s->score, s->n_vocab, &max);
    bool filtered = s->o.top_k > 0 || (s->o.top_p > 0 && s->o.top_p < 1) || s->o.min_p > 0;
    *id = filtered ? draw_filtered(s, sum) : draw_any(s, sum);
    return 0;
}

size_t pc_sampler_rank(struct pc_sampler *s, const float *logits, struct pc_ranked *out, size_t n)
{
    float max;
    double sum = pc_softmax_forward(&s->softmax, s->p, logits, s->n_vocab, &max), log_sum = pc_log(sum);
    size_t n_heap = 0, i = 0;
    for (size_t v = 0; v < s->n_vocab; v++)
        if (!isnan(logits[v]))
            s->heap[n_heap++] = (int32_t)v;
    make_heap(logits, s->heap, n_heap);
    for (; i < n && i < n_heap; i++) {
        int32_t id = pop(logits, s->heap, n_heap - i);
        out[i] = (struct pc_ranked){id, (double)logits[id] - (double)max - log_sum, logits[id]};
    }
    return i;
}
