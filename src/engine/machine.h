// SPDX-License-Identifier: Apache-2.0
/* What this machine can do at most, measured, and the least time a step of a model could take on it: the
 * roofline (Williams, Waterman and Patterson 2009). A speed's share of its limit is that time over the time
 * it took. */
#ifndef PC_ENGINE_MACHINE_H
#define PC_ENGINE_MACHINE_H

#include "base/error.h"
#include "base/progress.h"
#include "format/checkpoint.h"
#include "format/config.h"

#include <stdbool.h>
#include <stdint.h>

/** The arithmetics a product can be computed in. */
enum pc_arithmetic { PC_ARITHMETIC_F32, PC_ARITHMETIC_BF16, PC_ARITHMETIC_INT8, PC_N_ARITHMETICS };

/** "F32", "BF16", "INT8". Static. */
const char *pc_arithmetic_name(enum pc_arithmetic a);

/** All threads together. */
struct pc_machine {
    int n_threads;
    double read_bytes_s;             /* memory far beyond the caches */
    double flop_s[PC_N_ARITHMETICS]; /* a multiply-add counts two; 0: no instruction for it */
};

struct pc_machine_options {
    int n_threads;      /* 0: all processors this process may use */
    uint64_t read_size; /* bytes to read through; 0: 512 MiB unless memory is short */
    double seconds;     /* for each of the limits; 0: a quarter */
    const struct pc_progress *progress;
};

/** Measure: the best of many short rounds, since whatever else runs here can only
 * slow them down. Errors: memory, threads, a wish to stop. */
int pc_machine_measure(
    const struct pc_machine_options *options, struct pc_machine *out, struct paco_error *err);

/** Keep the better of both for each limit: of measurements made before and after something. */
void pc_machine_join(struct pc_machine *into, const struct pc_machine *other);

/** What a model asks for. Matrices count in their file's type, vectors and the embedding's rows not at all.
 */
struct pc_model_work {
    uint64_t n_params;                   /* of all tensors */
    double layer_bytes, head_bytes;      /* read by a step, and once more when it wants logits */
    double layer_flop[PC_N_ARITHMETICS]; /* for each row */
    double head_flop[PC_N_ARITHMETICS];  /* for each row that wants logits */
    double attention_flop;               /* F32, for each row and position it sees */
    double kv_bytes;                     /* for each position a step's sequence holds */
};

/** Of the checkpoint and configuration an engine was opened with; kv_token is its plan's. plain: F32
 * arithmetic was asked for. */
struct pc_model_work pc_model_work(
    const struct pc_checkpoint *weights, const struct pc_config *config, uint64_t kv_token, bool plain);

/** What a step, or several, ask for together. */
struct pc_step_work {
    double bytes, flop[PC_N_ARITHMETICS];
};

/** A prompt of n tokens from an empty sequence, with logits for its last. */
struct pc_step_work pc_prefill_work(const struct pc_model_work *m, int32_t n);

/** n_steps steps of one row and its logits for each of `batch` sequences that hold `depth` positions at
 * first. */
struct pc_step_work pc_decode_work(
    const struct pc_model_work *m, int32_t batch, int32_t depth, int32_t n_steps);

/** The least seconds: what is read at the machine's bandwidth, or what is computed at its peaks, whichever
 * takes longer. An arithmetic the machine lacks is done in F32. *by_memory (may be NULL) says which. */
double pc_least_seconds(const struct pc_machine *machine, const struct pc_step_work *w, bool *by_memory);

#endif
