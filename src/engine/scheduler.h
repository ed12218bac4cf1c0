// SPDX-License-Identifier: Apache-2.0
/* Many prompts at once: requests in, answers out, over one engine.
 *
 *     pc_scheduler_new(engine, NULL, &s, &err);
 *     while (more to ask || pc_scheduler_n_open(s)) {
 *         while (more to ask && pc_scheduler_room(s))
 *             pc_scheduler_submit(s, &request, NULL, &err);
 *         pc_scheduler_step(s, &err);              callbacks are called from here
 *     }
 *     pc_scheduler_free(s);
 *
 * A step puts the next token of every running answer and the rows of as many prompts as fit, long ones in
 * pieces, into one step of the engine. Nothing is padded. Answers are the same bytes alone and in company, in
 * any order, at any number of threads and whatever was computed before: rows are (engine.h), and draws are
 * counted for each sample (sampler.h).
 *
 * What prompts have in common from their beginning is computed once. A prompt starts from the longest
 * beginning there is: of a prompt being answered, of one answered lately, or of the engine's prefix cache;
 * and where one that is being read right now is going to have PC_KV_BLOCK tokens more of it, it waits for
 * those. The samples of a request start from its prompt, which is computed once.
 *
 * A scheduler and its engine belong to one thread; nobody else steps the engine meanwhile. */
#ifndef PC_ENGINE_SCHEDULER_H
#define PC_ENGINE_SCHEDULER_H

#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/sampler.h"

struct pc_scheduler;

/** Zero means the default in every field. */
struct pc_scheduler_options {
    int32_t max_open;    /* requests taken at once, waiting ones included: 2 max_running */
    int32_t max_running; /* sequences computed at once: the engine's max_logits, which is also the most */
    int32_t max_rows;    /* rows of a step: the engine's */
    int64_t kv_tokens;   /* positions all sequences may come to hold together, planned now: the engine's
                            plan_tokens, or else 512 for each of max_running. One that is larger runs alone */
    bool shares_lanes;   /* a request of many samples starts no more while it has its part of max_running and
                            others wait. Without it each starts all of its own before the next: it takes less
                            memory where nobody hurries */
};

/** How a sample ended. Borrowed for the call. */
struct pc_answer {
    const int32_t *ids; /* what was chosen, without the end-of-sequence token or the stop that ended it */
    size_t n, n_chosen; /* n_chosen: that too */
    size_t n_known;     /* of the prompt's tokens: not computed for this request, but known from others */
    enum pc_stop stop;  /* unless error */
    int32_t eos;        /* the end-of-sequence token that was chosen, or -1 */
    const struct paco_error
        *error; /* NULL: all is well. Else the request failed, and ids are what there was */
};

/** One prompt and how to go on from it. Everything pointed to is copied by pc_scheduler_submit. */
struct pc_request {
    const int32_t *prompt;
    size_t n_prompt;
    struct pc_variant *variant; /* whose answer; NULL: the base's. Held until the request is closed */
    int32_t max_tokens;         /* of an answer; 0: only the prompt is read */
    int32_t n_samples;          /* answers; 0 is 1. Without max_tokens there is one, and it is empty */
    /** Of the first sample; the next has stream + 1, and so on. end_ids are eos_ids; grammar and spelling
     * are held until the request is closed. */
    struct pc_sampler_options sampler;
    const int32_t *eos_ids;
    size_t n_eos;
    const struct pc_ids *const *stops; /* an answer ends as soon as its last ids are one of these */
    size_t n_stops;

    void *ctx; /* of the callbacks, each of which may be NULL */
    /** A token was taken, neither the end of sequence nor the last of a stop: ids (n) is the answer so far.
     * Nonzero ends it with PC_STOP_TEXT, that token included. */
    int (*is_over)(void *ctx, int32_t i_sample, const int32_t *ids, size_t n);
    /** The logits (vocab_size of the variant) behind position pos of the prompt (i_sample -1), in order; and,
     * if answer_logits, those that a sample's token at position pos + 1 was then chosen from: what is_over or
     * on_done get next. Those behind the prompt's last token are given for each way they are asked. */
    void (*on_logits)(void *ctx, int32_t i_sample, int32_t pos, const float *logits);
    size_t n_logits; /* of how many of the prompt's last positions; n_prompt: all. Those are computed anew,
                        whatever is known of them */
    bool answer_logits;
    /** The last hidden state (hidden_size, behind the final norm) of position pos of the prompt, in order. */
    void (*on_hidden)(void *ctx, int32_t pos, const float *hidden);
    size_t n_hidden; /* of how many of its last positions; as n_logits */
    /** Called once for each sample, whatever becomes of it; after the last, or after any with an error, the
     * request is closed. */
    void (*on_done)(void *ctx, int32_t i_sample, const struct pc_answer *answer);
};

/** All memory is planned here but what a request brings with it: its ids, and samplers for drawn answers.
 *
 *  Errors: options out of range PACO_EINVAL, no room for kv_tokens PACO_EMEM in numbers. *owned*:
 * pc_scheduler_free, before the engine is closed. */
int pc_scheduler_new(struct pc_engine *engine, const struct pc_scheduler_options *options,
    struct pc_scheduler **out, struct paco_error *err);
/** Open requests are dropped without a word. */
void pc_scheduler_free(struct pc_scheduler *s);

/** Take a request; *handle (may be NULL) is for pc_scheduler_cancel. May be called from a callback.
 *
 *  Errors: an empty prompt, a token outside the vocabulary, counts or sampler options out of range
 * PACO_EINVAL; no room PACO_ELIMIT; PACO_EMEM. What shows only when its turn comes, as that memory does not
 * hold it, is told to its on_done and ends nobody else. */
int pc_scheduler_submit(
    struct pc_scheduler *s, const struct pc_request *request, uint64_t *handle, struct paco_error *err);

/** How many more requests can be taken now. */
size_t pc_scheduler_room(const struct pc_scheduler *s);

/** Requests taken and not closed. */
size_t pc_scheduler_n_open(const struct pc_scheduler *s);

/** End a request: its samples are done with PC_STOP_CANCELLED, in the next step. A closed one is no error. */
void pc_scheduler_cancel(struct pc_scheduler *s, uint64_t handle);

/** Let a request's sequences rest where they are, or go on: what they have stays as it is, and so does the
 * room they take. A step gives them no rows; without any other it does nothing. */
void pc_scheduler_pause(struct pc_scheduler *s, uint64_t handle, bool paused);

/** At most n_rows of prompts in a step that has an answer's row, so that a long prompt does not hold up those
 * who are being answered; 0: all that fit. Results do not depend on it. */
void pc_scheduler_limit_prompts(struct pc_scheduler *s, int32_t n_rows);

/** One step of the engine, and what follows from it. Does nothing without open requests. An error is the
 * engine's (weights that cannot be read): nothing is lost, and the step may be tried again. */
int pc_scheduler_step(struct pc_scheduler *s, struct paco_error *err);

struct pc_scheduler_stats {
    uint64_t n_steps, n_rows;
    uint64_t n_prompt, n_computed; /* tokens of prompts that were begun; those of them that were computed */
    uint64_t n_decoded;            /* rows of answers */
    uint64_t n_done, n_failed;     /* samples */
};
struct pc_scheduler_stats pc_scheduler_stats(const struct pc_scheduler *s);

#endif
