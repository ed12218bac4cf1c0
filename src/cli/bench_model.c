// SPDX-License-Identifier: Apache-2.0
/* Tokens are seeded random ids: no product depends on what they are. A sequence is filled once and begun
 * again at the depth a run needs, which forgets what came after. */
#include "cli/bench_model.h"

#include "base/host.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Runs of a millisecond are repeated until they say something. */
#define LEAST_SECONDS 0.2

enum { WARM_TOKENS = 64, WARM_STEPS = 4, FILL_ROWS = 512 };

struct bench {
    const struct pc_bench_plan *plan;
    struct pc_engine *engine;
    struct pc_seq **seq; /* (n_seqs) */
    struct pc_row *rows; /* (n_row_room) */
    struct pc_variant **beside;
    size_t n_beside; /* of those, how many the rows being measured take in turn */
    size_t n_seqs, n_row_room, n_rows_planned;
    int32_t n_vocab;
    uint64_t random;
    struct pc_bench_result *out;
};

static int32_t largest(const struct pc_bench_list *l)
{
    int32_t most = 0;
    for (size_t i = 0; i < l->n; i++)
        most = l->v[i] > most ? l->v[i] : most;
    return most;
}

int32_t pc_bench_longest(const struct pc_bench_plan *plan)
{
    int32_t prompt = largest(&plan->prefill),
            answer = plan->decode ? largest(&plan->depth) + plan->decode : 0;
    int32_t most = prompt > answer ? prompt : answer;
    return most > WARM_TOKENS ? most : WARM_TOKENS;
}

static int32_t random_token(struct bench *b)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((b->random >> 33) % (uint64_t)b->n_vocab);
}

/* ---- steps ---- */

static const struct pc_variant *variant_of(const struct bench *b, size_t i_seq)
{
    return b->n_beside ? b->beside[i_seq % b->n_beside] : NULL;
}

/* n rows of a sequence from pos on, logits for the last if wanted. */
static int read_rows(
    struct bench *b, size_t i_seq, int32_t pos, int32_t n, bool logits, struct paco_error *err)
{
    for (int32_t i = 0; i < n; i++)
        b->rows[i] = (struct pc_row){.seq = b->seq[i_seq],
            .pos = pos + i,
            .token = random_token(b),
            .variant = variant_of(b, i_seq),
            .want_logits = logits && i == n - 1};
    return pc_engine_step(b->engine, b->rows, (size_t)n, err);
}

/* One row and its logits for each of `batch` sequences. */
static int decode_step(struct bench *b, int32_t batch, int32_t pos, struct paco_error *err)
{
    for (int32_t i = 0; i < batch; i++)
        b->rows[i] = (struct pc_row){.seq = b->seq[i],
            .pos = pos,
            .token = random_token(b),
            .variant = variant_of(b, (size_t)i),
            .want_logits = true};
    return pc_engine_step(b->engine, b->rows, (size_t)batch, err);
}

static int check_stop(const struct bench *b, const char *what, struct paco_error *err)
{
    const struct pc_progress_event event = {
        .phase = what, .done = b->out->n_rows, .total = b->n_rows_planned, .unit = "speeds"};
    return pc_progress(b->plan->progress, &event) ? pc_error_set(err, PACO_ECANCELLED, "stopped") : 0;
}

static int fill(struct bench *b, int32_t batch, int32_t depth, struct paco_error *err)
{
    int rc = 0;
    for (int32_t s = 0; s < batch; s++)
        for (int32_t at; rc == 0 && (at = pc_seq_length(b->seq[s])) < depth;) {
            int32_t n = depth - at < FILL_ROWS ? depth - at : FILL_ROWS;
            rc = read_rows(b, (size_t)s, at, n, false, err);
            if (rc == 0)
                rc = check_stop(b, "filling", err);
        }
    return rc;
}

/* ---- runs ---- */

static int run_prefill(struct bench *b, const struct pc_bench_row *r, struct paco_error *err)
{
    return read_rows(b, 0, 0, r->tokens, true, err);
}

static int run_decode(struct bench *b, const struct pc_bench_row *r, struct paco_error *err)
{
    int rc = 0;
    for (int32_t i = 0; i < r->tokens && rc == 0; i++)
        rc = decode_step(b, r->batch, r->depth + i, err);
    return rc;
}

static int warm_up(struct bench *b, const struct pc_bench_row *r, struct paco_error *err)
{
    if (r->phase == PC_BENCH_PREFILL)
        return read_rows(b, 0, 0, r->tokens < WARM_TOKENS ? r->tokens : WARM_TOKENS, true, err);
    int rc = fill(b, r->batch, r->depth, err);
    for (int32_t i = 0; i < WARM_STEPS && i < r->tokens && rc == 0; i++)
        rc = decode_step(b, r->batch, r->depth + i, err);
    return rc;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void settle(struct pc_bench_row *r, double *seconds)
{
    size_t n = (size_t)r->n_runs;
    qsort(seconds, n, sizeof *seconds, ascending);
    r->seconds = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
    r->tok_s = (double)r->tokens * r->batch / r->seconds;
    r->spread = (seconds[n - 1 - n / 4] - seconds[n / 4]) / 2 / r->seconds;
}

/* What a sequence holds was computed with one variant: another begins anew. */
static void begin_with(struct bench *b, size_t n_beside)
{
    for (size_t i = 0; i < b->n_seqs && n_beside != b->n_beside; i++)
        pc_seq_truncate(b->seq[i], 0);
    b->n_beside = n_beside;
}

static int measure(struct bench *b, struct pc_bench_row r, struct paco_error *err)
{
    enum { MAX_RUNS = 1000 };
    double seconds[MAX_RUNS], total = 0;
    bool prompt = r.phase == PC_BENCH_PREFILL;
    begin_with(b, r.n_beside);
    int rc = warm_up(b, &r, err);
    while (rc == 0 && r.n_runs < MAX_RUNS && total <= b->plan->seconds &&
           (r.n_runs < b->plan->repeat || total < LEAST_SECONDS)) {
        double start = pc_seconds();
        rc = prompt ? run_prefill(b, &r, err) : run_decode(b, &r, err);
        total += seconds[r.n_runs++] = pc_seconds() - start;
        if (rc == 0)
            rc = check_stop(b, prompt ? "reading" : "writing", err);
    }
    if (rc < 0)
        return rc;
    settle(&r, seconds);
    r.work = prompt ? pc_prefill_work(&b->out->work, r.tokens)
                    : pc_decode_work(&b->out->work, r.batch, r.depth, r.tokens);
    b->out->row[b->out->n_rows++] = r;
    return 0;
}

static bool has_one(const struct pc_bench_list *batch)
{
    for (size_t i = 0; i < batch->n; i++)
        if (batch->v[i] == 1)
            return true;
    return false;
}

/* A batch, and once more with the fine-tunes in it. */
static int measure_batch(struct bench *b, int32_t batch, struct paco_error *err)
{
    const struct pc_bench_plan *p = b->plan;
    struct pc_bench_row r = {
        .phase = PC_BENCH_DECODE, .tokens = p->decode, .depth = p->depth.v[0], .batch = batch};
    int rc = measure(b, r, err);
    r.n_beside = p->n_beside;
    return rc == 0 && p->n_beside ? measure(b, r, err) : rc;
}

static int measure_all(struct bench *b, struct paco_error *err)
{
    const struct pc_bench_plan *p = b->plan;
    int rc = 0;
    b->n_rows_planned = p->prefill.n + (p->decode && has_one(&p->batch) ? p->depth.n : 0);
    for (size_t i = 0; i < p->batch.n && p->decode; i++)
        b->n_rows_planned += p->batch.v[i] > 1 ? 1 + (p->n_beside > 0) : 0;
    for (size_t i = 0; i < p->prefill.n && rc == 0; i++)
        rc = measure(
            b, (struct pc_bench_row){.phase = PC_BENCH_PREFILL, .tokens = p->prefill.v[i], .batch = 1}, err);
    if (p->decode == 0)
        return rc;
    for (size_t i = 0; i < p->depth.n && rc == 0 && has_one(&p->batch); i++)
        rc = measure(b,
            (struct pc_bench_row){
                .phase = PC_BENCH_DECODE, .tokens = p->decode, .depth = p->depth.v[i], .batch = 1},
            err);
    for (size_t i = 0; i < p->batch.n && rc == 0; i++)
        if (p->batch.v[i] > 1)
            rc = measure_batch(b, p->batch.v[i], err);
    return rc;
}

/* ---- room ---- */

static int32_t length_of(const struct bench *b, size_t i_seq)
{
    return i_seq == 0 ? pc_bench_longest(b->plan) : b->plan->depth.v[0] + b->plan->decode;
}

static int open_engine(struct bench *b, const struct pc_checkpoint *weights, const struct pc_config *config,
    struct paco_error *err)
{
    int32_t batch = b->plan->decode ? largest(&b->plan->batch) : 1;
    b->n_seqs = batch > 1 ? (size_t)batch : 1;
    b->n_vocab = config->vocab_size;
    int32_t prompt = largest(&b->plan->prefill), rows = prompt > FILL_ROWS ? FILL_ROWS : prompt;
    struct pc_engine_options o = b->plan->engine;
    rows = rows > batch ? rows : batch;
    o.max_rows = rows > WARM_TOKENS ? rows : WARM_TOKENS;
    o.max_logits = (int32_t)b->n_seqs;
    for (size_t i = 0; i < b->n_seqs; i++)
        o.plan_tokens += length_of(b, i);
    double start = pc_seconds();
    int rc = pc_engine_open(weights, config, &o, &b->engine, err);
    b->out->open_seconds = pc_seconds() - start;
    if (rc < 0)
        return rc;
    b->out->planned = pc_engine_plan_total(b->engine);
    b->out->n_threads = pc_engine_n_threads(b->engine);
    b->out->work = pc_model_work(weights, config, pc_engine_plan(b->engine).kv_token, false);
    return 0;
}

static int make_room(struct bench *b, struct paco_error *err)
{
    int32_t rows = largest(&b->plan->prefill);
    b->n_row_room = (size_t)(rows > FILL_ROWS ? rows : FILL_ROWS) + b->n_seqs;
    b->seq = pc_alloc_zero(b->n_seqs, sizeof(struct pc_seq *));
    b->rows = pc_alloc(b->n_row_room, sizeof *b->rows);
    if (!b->seq || !b->rows)
        return pc_error_mem(err, b->n_row_room * sizeof *b->rows, "rows");
    int rc = 0;
    for (size_t i = 0; i < b->n_seqs && rc == 0; i++)
        rc = pc_seq_new(b->engine, length_of(b, i), &b->seq[i], err);
    return rc;
}

static int open_beside(struct bench *b, struct paco_error *err)
{
    const struct pc_bench_plan *p = b->plan;
    int rc = 0;
    b->beside = pc_alloc_zero(p->n_beside ? p->n_beside : 1, sizeof(struct pc_variant *));
    if (!b->beside)
        return pc_error_mem(err, p->n_beside * sizeof(struct pc_variant *), "fine-tunes");
    for (size_t i = 0; i < p->n_beside && rc == 0; i++) {
        rc = pc_variant_open(b->engine, p->base, &p->beside[i], &b->beside[i], err);
        if (rc == 0)
            rc = pc_engine_admit(b->engine, b->beside[i], err);
        b->out->beside += pc_variant_size(b->beside[i]);
        if (rc == 0 && i == 0)
            pc_variant_describe(b->beside[i], b->out->first, sizeof b->out->first);
    }
    return rc;
}

static int first_steps(struct bench *b, struct paco_error *err)
{
    double start = pc_seconds();
    int rc = decode_step(b, 1, 0, err);
    b->out->ready_seconds = pc_engine_first_filled(b->engine) - start;
    double middle = pc_seconds();
    if (rc == 0)
        rc = decode_step(b, 1, 0, err);
    b->out->first_seconds = middle - start;
    b->out->step_seconds = pc_seconds() - middle;
    return rc;
}

int pc_bench_model(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_bench_plan *plan, struct pc_bench_result *out, struct paco_error *err)
{
    struct bench b = {.plan = plan, .out = out, .random = 42};
    *out = (struct pc_bench_result){0};
    int rc = open_engine(&b, weights, config, err);
    if (rc == 0)
        rc = make_room(&b, err);
    if (rc == 0)
        rc = open_beside(&b, err);
    if (rc == 0)
        rc = first_steps(&b, err);
    if (rc == 0)
        rc = measure_all(&b, err);
    for (size_t i = 0; b.seq && i < b.n_seqs; i++)
        pc_seq_free(b.seq[i]);
    for (size_t i = 0; b.beside && i < plan->n_beside; i++)
        pc_variant_release(b.beside[i]);
    pc_free(b.beside);
    pc_free(b.seq);
    pc_free(b.rows);
    pc_engine_close(b.engine);
    return rc;
}
