// SPDX-License-Identifier: Apache-2.0
#include "engine/selftest.h"

#include "base/memory.h"
#include "engine/prefix.h"
#include "model/llama_block.h"

#include <stdio.h>
#include <string.h>

enum {
    PROMPT = 70, /* into the third block of keys */
    MORE = 6,    /* tokens that follow, one by one */
    ROWS = MORE + 1,
    TOKENS = PROMPT + MORE,
    BATCH = 32,
    COMPANION = 17, /* companions have up to so many tokens */
    FORK = 45,      /* inside a block */
    MAX_STEP = PROMPT + (BATCH - 1) * COMPANION,
};

static const int g_threads[] = {1, 2, 3};

struct trial {
    struct pc_engine *engine;
    const struct pc_progress *progress;
    struct pc_selftest *out;
    int32_t n_vocab, n_threads;
    int32_t ids[TOKENS]; /* the prompt, and what the plain way chose */
    float *want;         /* (ROWS, V): behind the prompt, and behind each token that followed */
    struct pc_seq *seq[BATCH];
    int32_t next[BATCH]; /* each companion's next token */
    struct pc_row rows[MAX_STEP];
    bool plain; /* this is the plain way: keep its logits */
};

static int32_t some_token(const struct trial *t, int64_t i)
{
    return (int32_t)((i * i * 31 + i * 7919 + 11) % t->n_vocab);
}

static int32_t best(const float *logits, int32_t n)
{
    int32_t at = 0;
    for (int32_t i = 1; i < n; i++)
        at = logits[i] > logits[at] ? i : at;
    return at;
}

/* Row number i of those compared is in row i_row of the last step. */
static void compare(struct trial *t, int i, size_t i_row, const char *way)
{
    size_t n = (size_t)t->n_vocab;
    const float *logits = pc_engine_logits(t->engine, i_row);
    if (t->plain) {
        memcpy(t->want + (size_t)i * n, logits, n * sizeof *logits);
        for (size_t k = 0; k < n; k++) {
            uint32_t bits;
            memcpy(&bits, &logits[k], sizeof bits);
            t->out->digest = (t->out->digest ^ bits) * 0x100000001b3u; /* FNV-1a, by words */
        }
        if (i < MORE)
            t->ids[PROMPT + i] = best(logits, t->n_vocab);
        return;
    }
    t->out->n_rows++;
    if (memcmp(t->want + (size_t)i * n, logits, n * sizeof *logits) == 0)
        return;
    if (t->out->n_different++ == 0)
        snprintf(t->out->first, sizeof t->out->first, "%d threads, %s, row %d", t->n_threads, way, i);
}

/* Positions [from, PROMPT) of seq in pieces, then what follows. */
static int run_alone(
    struct trial *t, struct pc_seq *seq, int32_t from, int32_t piece, const char *way, struct paco_error *err)
{
    for (int32_t at = from, n; at < TOKENS; at += n) {
        n = at >= PROMPT ? 1 : PROMPT - at < piece ? PROMPT - at : piece;
        for (int32_t i = 0; i < n; i++)
            t->rows[i] = (struct pc_row){
                .seq = seq, .pos = at + i, .token = t->ids[at + i], .want_logits = at + i >= PROMPT - 1};
        int rc = pc_engine_step(t->engine, t->rows, (size_t)n, err);
        if (rc < 0)
            return rc;
        if (at + n >= PROMPT)
            compare(t, at + n - PROMPT, (size_t)n - 1, way);
    }
    return 0;
}

/* ---- the ways ---- */

static int try_pieces(struct trial *t, int piece, struct paco_error *err)
{
    char way[32];
    snprintf(way, sizeof way, "pieces of %d", piece);
    pc_seq_truncate(t->seq[0], 0);
    return run_alone(t, t->seq[0], 0, piece, way, err);
}

static int32_t companion_tokens(int i)
{
    return 1 + i * 5 % COMPANION;
}

/* All prompts in one step, their rows one after the other; ours is in the middle. */
static int prefill_batch(struct trial *t, int n, const char *way, struct paco_error *err)
{
    size_t n_rows = 0, ours = 0;
    for (int i = 0; i < n; i++) {
        int32_t n_tokens = i == n / 2 ? PROMPT : companion_tokens(i);
        for (int32_t k = 0; k < n_tokens; k++)
            t->rows[n_rows++] = (struct pc_row){.seq = t->seq[i],
                .pos = k,
                .token = i == n / 2 ? t->ids[k] : some_token(t, 1000 * i + k),
                .want_logits = k + 1 == n_tokens};
        ours = i == n / 2 ? n_rows - 1 : ours;
    }
    int rc = pc_engine_step(t->engine, t->rows, n_rows, err);
    if (rc == 0)
        compare(t, 0, ours, way);
    return rc;
}

static int try_batch(struct trial *t, int n, struct paco_error *err)
{
    char way[32];
    snprintf(way, sizeof way, "batch of %d", n);
    int rc = prefill_batch(t, n, way, err);
    for (int k = 0; k < MORE && rc == 0; k++) {
        for (int i = 0; i < n; i++)
            t->rows[i] = (struct pc_row){.seq = t->seq[i],
                .pos = pc_seq_length(t->seq[i]),
                .token = i == n / 2 ? t->ids[PROMPT + k] : some_token(t, 77 * i + k),
                .want_logits = true};
        rc = pc_engine_step(t->engine, t->rows, (size_t)n, err);
        if (rc == 0)
            compare(t, k + 1, (size_t)(n / 2), way);
    }
    return rc;
}

static int try_kept(struct trial *t, int unused, struct paco_error *err)
{
    (void)unused;
    pc_seq_truncate(t->seq[0], 0);
    int rc = run_alone(t, t->seq[0], 0, PROMPT, "before keeping", err);
    if (rc < 0)
        return rc;
    pc_prefix_keep(t->seq[0], t->ids, PROMPT);
    int32_t n = pc_prefix_attach(t->seq[1], NULL, t->ids, PROMPT);
    return run_alone(t, t->seq[1], n, PROMPT, "a kept beginning", err);
}

static int try_fork(struct trial *t, int unused, struct paco_error *err)
{
    (void)unused;
    struct pc_seq *fork = NULL;
    pc_seq_truncate(t->seq[0], 0);
    int rc = run_alone(t, t->seq[0], 0, PROMPT, "before a fork", err);
    if (rc == 0)
        rc = pc_seq_fork(t->seq[0], FORK, TOKENS, &fork, err);
    if (rc == 0)
        rc = run_alone(t, fork, FORK, PROMPT, "a fork", err);
    pc_seq_free(fork);
    return rc < 0 ? rc : run_alone(t, t->seq[0], FORK, PROMPT, "a position taken back", err);
}

static const struct {
    int (*run)(struct trial *t, int n, struct paco_error *err);
    int n;
} g_ways[] = {{try_pieces, PROMPT}, {try_pieces, 1}, {try_pieces, 33}, {try_batch, 1}, {try_batch, 7},
    {try_batch, BATCH}, {try_kept, 0}, {try_fork, 0}};

enum { N_WAYS = sizeof g_ways / sizeof *g_ways, N_THREADS = sizeof g_threads / sizeof *g_threads };

static int run_ways(struct trial *t, int i_threads, struct paco_error *err)
{
    int rc = 0;
    if (i_threads == 0) {
        t->plain = true;
        rc = try_pieces(t, PROMPT, err);
        t->plain = false;
    }
    for (int i = 0; i < N_WAYS && rc == 0; i++) {
        const struct pc_progress_event event = {.phase = "comparing",
            .done = (uint64_t)(i_threads * N_WAYS + i),
            .total = N_THREADS * N_WAYS,
            .unit = "ways"};
        if (pc_progress(t->progress, &event))
            return pc_error_set(err, PACO_ECANCELLED, "stopped");
        rc = g_ways[i].run(t, g_ways[i].n, err);
        t->out->n_ways += rc == 0;
    }
    return rc;
}

/* All ways with one number of threads, on an engine of their own. */
static int run_threads(struct trial *t, const struct pc_checkpoint *weights, const struct pc_config *config,
    struct pc_engine_options o, int i_threads, struct paco_error *err)
{
    enum { KEPT_BLOCKS = 4 };
    o.n_threads = t->n_threads = g_threads[i_threads];
    o.max_rows = 0;
    o.max_logits = BATCH;
    o.plan_tokens = TOKENS * BATCH;
    o.prefix_size = KEPT_BLOCKS * pc_kv_block_size(config, PC_F32); /* the widest */
    int rc = pc_engine_open(weights, config, &o, &t->engine, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < BATCH && rc == 0; i++)
        rc = pc_seq_new(t->engine, TOKENS, &t->seq[i], err);
    if (rc == 0)
        rc = run_ways(t, i_threads, err);
    for (int i = 0; i < BATCH; i++) {
        pc_seq_free(t->seq[i]);
        t->seq[i] = NULL;
    }
    pc_engine_close(t->engine);
    return rc;
}

int pc_selftest_determinism(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_engine_options *options, const struct pc_progress *progress, struct pc_selftest *out,
    struct paco_error *err)
{
    *out = (struct pc_selftest){.digest = 0xcbf29ce484222325u};
    struct trial *t = pc_alloc_zero(1, sizeof *t);
    float *want = pc_alloc((size_t)config->vocab_size, ROWS * sizeof *want);
    int rc = t && want ? 0 : pc_error_mem(err, (uint64_t)config->vocab_size * ROWS * sizeof *want, "logits");
    if (rc == 0) {
        t->progress = progress;
        t->out = out;
        t->n_vocab = config->vocab_size;
        t->want = want;
        for (int i = 0; i < PROMPT; i++)
            t->ids[i] = some_token(t, i);
    }
    for (int i = 0; i < N_THREADS && rc == 0; i++)
        rc = run_threads(t, weights, config, options ? *options : (struct pc_engine_options){0}, i, err);
    pc_free(want);
    pc_free(t);
    return rc;
}
