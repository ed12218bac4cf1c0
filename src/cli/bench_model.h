// SPDX-License-Identifier: Apache-2.0
/* The speeds of one model: loading, prompts of several lengths, answers at several depths and in batches. */
#ifndef PC_CLI_BENCH_MODEL_H
#define PC_CLI_BENCH_MODEL_H

#include "base/progress.h"
#include "engine/engine.h"
#include "engine/machine.h"
#include "engine/variant.h"

enum { PC_BENCH_MAX_LIST = 32, PC_BENCH_MAX_ROWS = 4 * PC_BENCH_MAX_LIST, PC_BENCH_MAX_BATCH = 4096 };

struct pc_bench_list {
    int32_t v[PC_BENCH_MAX_LIST];
    size_t n;
};

struct pc_bench_plan {
    struct pc_bench_list prefill; /* tokens of prompts */
    struct pc_bench_list depth;   /* positions held when decoding begins; batches use the first */
    struct pc_bench_list batch;   /* sequences at once */
    int32_t decode;               /* steps of a decode run; 0: none */
    int repeat; /* runs of each; fewer when they take longer than `seconds`, more when next to nothing */
    double seconds;
    struct pc_engine_options engine; /* threads, arithmetic, caches */
    /** Fine-tunes that run beside the model: batches are measured once more with their sequences taking these
     * in turn. */
    const struct pc_variant_options *beside;
    size_t n_beside;
    const struct pc_source *base; /* of those */
    const struct pc_progress *progress;
};

enum pc_bench_phase { PC_BENCH_PREFILL, PC_BENCH_DECODE };

/** One measured speed. */
struct pc_bench_row {
    enum pc_bench_phase phase;
    int32_t tokens; /* of the prompt, or steps */
    int32_t depth, batch;
    size_t n_beside;      /* fine-tunes among the sequences */
    double seconds;       /* of a run: the median */
    double tok_s, spread; /* of the median; half the distance of the quartiles, in parts of it */
    int n_runs;
    struct pc_step_work work; /* of a run */
};

struct pc_bench_result {
    struct pc_model_work work;
    uint64_t planned; /* bytes, before loading */
    uint64_t beside;  /* bytes of the fine-tunes */
    char first[160];  /* what the first of them is */
    int n_threads;
    double open_seconds;  /* tensors bound, memory planned: pc_engine_open */
    double ready_seconds; /* the first step's, until the first layer's weights were read and repacked */
    double first_seconds; /* the first token: weights are read and repacked */
    double step_seconds;  /* the same step again */
    struct pc_bench_row row[PC_BENCH_MAX_ROWS];
    size_t n_rows;
};

/** Tokens the longest sequence will hold: against the model's own context. */
int32_t pc_bench_longest(const struct pc_bench_plan *plan);

/** Open an engine on the weights and measure. Errors: those of the engine; a wish to stop. */
int pc_bench_model(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_bench_plan *plan, struct pc_bench_result *out, struct paco_error *err);

#endif
