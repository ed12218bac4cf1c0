// SPDX-License-Identifier: Apache-2.0
/* Who answers: the engine on this machine (answer_engine.h), or a model behind an endpoint (answer_api.h).
 * Questions go in as long as there is room, answers come out in any order:
 *
 *     while (n_open > 0 || more) {
 *         while (more && a->ops->room(a) > 0)
 *             a->ops->submit(a, &question, &err);
 *         a->ops->poll(a, &reply, &err);              1: reply is filled, and the caller's to release
 *     }
 *     a->ops->close(a);
 *
 * An implementation begins with a struct pc_answerer and is made by an open function of its own, which plans
 * its memory. Everything is called from one thread. What an item is answered depends on the question alone:
 * not on what else is under way, on the order, or on the number of sequences or requests at once.
 *
 * A question that cannot be answered (a prompt beyond the context, an endpoint that gives nonsense after all
 * retries) comes back as a reply with its error, so that it is counted; submit and poll themselves fail only
 * when nothing more can be asked (the weights cannot be read, the endpoint refuses the key). */
#ifndef PC_EVAL_ANSWERER_H
#define PC_EVAL_ANSWERER_H

#include "eval/task.h"

struct pc_answerer;

/** Probabilities among n candidates alone, of what each is below the best of them (its logit, or its
 * log-probability; 0 for the best, NAN for one of which nothing is known): in float32, as PyTorch has it. */
void pc_choice_probs(const float *below, size_t n, double *probs);

/** Where in an answer the first blank line behind something that is not blank begins, or len. */
size_t pc_blank_line(const char *text, size_t len);

/** One item. Valid for the call of submit only, but for what ask points to besides its prompt: that lives
 * until the answerer is closed. */
struct pc_question {
    size_t i_item;   /* comes back with the reply */
    const char *key; /* the item's name, for messages */
    int64_t seed; /* of the item's draws; 31 bits, which any endpoint takes. Sample k is drawn from its stream
                     k (engine/sampler.h) */
    const struct pc_ask *ask;
};

/** What came back. Start from zero; pc_reply_release. */
struct pc_reply {
    size_t i_item;
    struct paco_error error; /* code 0: answered. Else only the counts below may be set */
    int64_t n_prompt_tokens; /* -1: not known */
    int64_t n_output_tokens; /* of all samples, ends included; -1: not known */
    double *probs;           /* of the choices, summing to 1; owned */
    size_t n_probs;
    char **texts; /* n_samples; each owned and NUL-terminated, as both arrays are owned */
    size_t *lens;
    size_t n_texts;
    struct pc_nats nats; /* PC_ASK_NATS; n_tokens 0: not one */
};
void pc_reply_release(struct pc_reply *r);

struct pc_answerer_ops {
    /** How many more questions may be submitted now. At least 1 when none is under way. */
    size_t (*room)(const struct pc_answerer *a);
    int (*submit)(struct pc_answerer *a, const struct pc_question *q, struct paco_error *err);
    /** Go on answering for at most about a tenth of a second (an engine's step is not cut short). Returns 1
     * and *reply when an item is done, 0 when none is yet, or an error. With nothing under way: 0 at once. */
    int (*poll)(struct pc_answerer *a, struct pc_reply *reply, struct paco_error *err);
    /** Drops what is under way. NULL is fine. */
    void (*close)(struct pc_answerer *a);
};

struct pc_answerer {
    const struct pc_answerer_ops *ops;
    /** What computes, for people and for results.json ("avx512, int8 products of q4_1; keys and values in
     * f16"; the endpoint's URL), without what has no part in the result, like the number of threads. */
    char description[256];
    /** Samples drawn for questions whose replies were not handed out yet, for progress; 0 where that is not
     * known. */
    size_t n_drawn;
};

#endif
