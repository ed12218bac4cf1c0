// SPDX-License-Identifier: Apache-2.0
/* A call being answered: from the moment it is queued until both its client and the engine thread let go.
 *
 * The engine thread hears of tokens (the scheduler's callbacks), makes text of them and bytes of that; the
 * client's side takes the bytes. What both touch is under the server's lock and marked so; the rest belongs
 * to the engine thread from the queue on.
 *
 *     queued -> parts are submitted to the scheduler one by one -> each sample ends -> over
 *
 * Whoever wants to end it earlier sets `ends`: the engine thread sees that between two steps. */
#ifndef PC_SERVE_TURN_H
#define PC_SERVE_TURN_H

#include "base/buf.h"
#include "engine/scheduler.h"
#include "serve/call.h"
#include "serve/fault.h"
#include "serve/logprobs.h"
#include "serve/queue.h"

#include <pthread.h>

enum pc_turn_end { PC_TURN_GOES_ON, PC_TURN_GONE, PC_TURN_LATE, PC_TURN_CLOSED };

struct pc_turn;
struct pc_offer;

/** One answer. */
struct pc_sample {
    struct pc_decoder decoder;
    struct pc_buf text;  /* decoded */
    size_t n_out;        /* bytes of it that were let out: nothing in them can become a stop */
    const float *logits; /* that the token to come was chosen from; for the callback that tells it */
    struct pc_notebook notes;
    size_t n_notes_out, offset_out; /* of them, and characters of text: in a stream's chunks so far */
    bool stopped;                   /* by a text */
    bool began;                     /* a stream's first chunk is out */
    enum pc_stop stop;
    size_t n_tokens;
};

/** One prompt and its answers. */
struct pc_part {
    struct pc_turn *turn;
    size_t index;
    uint64_t handle; /* the scheduler's; 0: not submitted, or over */
    struct pc_sample *samples;
    int32_t n_left;
    struct pc_notebook echoed; /* the prompt's tokens */
    size_t n_cached;           /* of the prompt's tokens: known already */
    bool placed;               /* where they end is known */
    float *vector;             /* an embedding (n_wide) so far, or NULL */
    size_t n_shown;            /* hidden states that are in it */
};

struct pc_turn {
    struct pc_queued queued; /* first; under the lock */
    struct pc_server *server;
    struct pc_offer *offer; /* held: what call's model is of */
    struct pc_call call;
    struct pc_part *parts; /* (call.n_prompts) */
    size_t n_submitted, n_left;
    struct pc_turn *next, *prev; /* of those the engine thread has */
    char id[40];
    char client_name[80]; /* who asked, and where: for the log */
    const char *path;
    int64_t created;      /* seconds since 1970 */
    uint64_t fingerprint; /* 40 bits: what computes, and what of */
    double arrived, first_token, deadline;
    struct pc_fault fault; /* why it failed */
    bool paused, ending;

    /* Under the lock. */
    struct pc_buf out; /* what the client has not taken yet */
    size_t n_taken;    /* of out */
    bool lost;         /* there was no memory for bytes of it: what follows is not sent either */
    bool over;         /* nothing more comes */
    int status;        /* HTTP's, once over; of streams always 200 */
    enum pc_turn_end ends;
    bool has_client, has_engine, had_engine;
    double last_out;   /* when bytes were last put in */
    double held_since; /* of a stream: when the first bytes its client was not woken for were; 0: there are
                          none */
    bool woken;        /* of a stream: its client had bytes */
    /** Tell the client's side that there is something to take. */
    void (*wake)(void *client);
    void *client;
};

/** Tokens of a turn's prompts, of these known before it (not computed for it), and of its answers. */
struct pc_turn_tokens {
    size_t prompt, cached, answer;
};

struct pc_turn_tokens pc_turn_tokens(const struct pc_turn *t);

/** *owned*: pc_turn_free. The call, which was read by offer, moves into it. */
int pc_turn_new(struct pc_server *server, struct pc_offer *offer, struct pc_call *call, struct pc_turn **out,
    struct paco_error *err);
void pc_turn_free(struct pc_turn *t);

/** Ask its offer's scheduler about the next part. On the engine thread, like all that follow. */
int pc_turn_submit_next(struct pc_turn *t, struct paco_error *err);

/** End it now: whatever of it is with the scheduler is over already. fault (may be NULL) is what the client
 * gets, if there is one to get it. */
void pc_turn_fail(struct pc_turn *t, const struct pc_fault *fault);

#endif
