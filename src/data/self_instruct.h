// SPDX-License-Identifier: Apache-2.0
/* New instructions from a model, by the example of a few: Stanford Alpaca's generate_instruction.py, with
 * prompts, stop words, filters and the test for duplicates as there, against any OpenAI-compatible endpoint.
 *
 * OUT/regen.json is upstream's file. Beside it OUT/regen.jsonl keeps what every batch of requests gave,
 * written and synced before the next is asked: a run that is stopped or killed goes on from there, and what
 * was paid for is not lost. Seeds are drawn by Python's random numbers, batch after batch, so a run that goes
 * on draws what it would have drawn.
 *
 * Upstream sends the prompts of a batch as one request; here each is a request, all under way at once, since
 * few endpoints take lists. It tries again forever; here as often as http.h says, and then the run stops with
 * what it has. */
#ifndef PC_DATA_SELF_INSTRUCT_H
#define PC_DATA_SELF_INSTRUCT_H

#include "base/notes.h"
#include "base/threads.h"
#include "net/openai.h"

/** One batch of requests, when it is done. */
struct pc_generate_step {
    uint64_t request; /* from 1, those of earlier runs counted */
    size_t n_found, n_kept, n_total;
    double request_seconds, process_seconds;
    int64_t prompt_tokens, completion_tokens; /* of the batch; -1: the endpoint does not say */
};

/** All borrowed. */
struct pc_generate_options {
    const char *output_dir, *seed_tasks, *prompt;
    uint64_t n_wanted, seed;
    uint32_t n_prompt, batch; /* tasks in a prompt, at most 16; prompts in a batch, at most 64 */
    int32_t max_tokens;
    double temperature, top_p;
    const struct pc_openai_options *api;
    bool chat, no_logit_bias; /* upstream forbids GPT-3's end-of-text token, 50256 */
    struct pc_pool *pool;
    const struct pc_progress *progress;
    struct pc_notes *notes;
    void (*on_step)(void *ctx, const struct pc_generate_step *step); /* may be NULL */
    void *ctx;
};

struct pc_generate_result {
    size_t n_total, n_new; /* instructions in regen.json; of this run */
    uint64_t n_requests;   /* batches of this run */
    int64_t prompt_tokens, completion_tokens;
    size_t n_seeds, prompt_bytes; /* bytes of one prompt, on average over a thousand drawn */
};

/** Go on until there are n_wanted. PACO_EFORMAT for seeds and earlier results that are not such, with the
 * line; what the endpoint says when it does not answer; PACO_ECANCELLED. What was accepted is in OUT in any
 * case. */
int pc_data_generate(
    const struct pc_generate_options *options, struct pc_generate_result *result, struct paco_error *err);

/** Only n_seeds, prompt_bytes and n_total (what is there already): for an estimate before anything is asked.
 */
int pc_data_generate_plan(
    const struct pc_generate_options *options, struct pc_generate_result *result, struct paco_error *err);

#endif
