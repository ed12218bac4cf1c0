// SPDX-License-Identifier: Apache-2.0
/* What scheduler.c and scheduler_admit.c share. */
#ifndef PC_ENGINE_SCHEDULER_PARTS_H
#define PC_ENGINE_SCHEDULER_PARTS_H

#include "engine/engine_parts.h"
#include "engine/scheduler.h"
#include "engine/variant_parts.h"

enum { PC_N_DONORS = 4 };

/** A request taken, until its last sample is done. */
struct pc_open {
    uint64_t handle;     /* 0: this place is free */
    struct pc_request r; /* what it points to lies in memory */
    void *memory;
    int32_t n_samples, n_started, n_done;
    size_t n_known;      /* of the prompt's tokens, when it was begun */
    bool *done;          /* (n_samples) */
    bool reading;        /* a lane computes the prompt for all samples */
    struct pc_seq *stem; /* the prompt, once it is computed; samples fork from it */
    bool cancelled, paused;
};

/** A sequence being computed: a sample, or a prompt that several samples will start from. Its ids are known
 * up to n; those from the sequence's length on are still to be computed. */
struct pc_lane {
    struct pc_open *of;
    struct pc_seq *seq;
    int32_t *ids; /* *owned*: the prompt, then the answer */
    size_t n, n_prompt;
    size_t tells_from;          /* logits of the prompt's positions from here on are asked for */
    size_t shows_from;          /* and their hidden states from here on */
    int32_t i_sample;           /* -1: only the prompt is computed */
    bool chooses;               /* the last known id's logits are wanted for the next */
    struct pc_sampler *sampler; /* NULL: greedy */
    size_t first_row, n_rows;   /* in this step */
    bool unsettled;             /* what this step gave it is still to be looked at */
    int32_t chosen;             /* -1: error says why there is none */
    struct paco_error error;
};

/** A sequence that was done lately, kept for those that begin like it until its room is needed. */
struct pc_donor {
    struct pc_seq *seq;
    int32_t *ids;
};

struct pc_scheduler {
    struct pc_engine *engine;
    size_t max_open, max_running, max_rows;
    bool shares_lanes;
    size_t max_prompt_rows;      /* rows of prompts in a step that answers are waiting for */
    uint64_t max_pages, n_pages; /* of keys and values: planned, and reserved by sequences of ours */
    bool has_floor;
    uint64_t floor_before; /* of the pool */
    struct pc_open *open;  /* (max_open) */
    size_t n_open;
    struct pc_open **waiting; /* (max_open) in the order they came: those with samples yet to start */
    size_t n_waiting;
    struct pc_lane *lanes;    /* (max_running) */
    struct pc_lane **running; /* (max_running) n_running in the order they were begun, then the free ones */
    size_t n_running;
    struct pc_donor donors[PC_N_DONORS]; /* the latest first; seq NULL: none */
    struct pc_row *rows;                 /* (max_rows) */
    float *hidden;                       /* (hidden_size) */
    uint64_t last_handle;
    struct pc_scheduler_stats stats;
};

/** Begin what there is room for. */
void pc_scheduler_admit(struct pc_scheduler *s);

/** Release a sequence made by this scheduler and the room it had. */
void pc_scheduler_drop_seq(struct pc_scheduler *s, struct pc_seq *seq);

/** Forget the donor kept longest. Returns whether there was one. */
bool pc_scheduler_drop_donor(struct pc_scheduler *s);

/** Take a lane off; its sequence becomes a donor, or of->stem with as_stem. */
void pc_scheduler_retire(struct pc_scheduler *s, struct pc_lane *lane, bool as_stem);

/** End all of a request's samples that are not done, with error, or with PC_STOP_CANCELLED if it is NULL. */
void pc_scheduler_end(struct pc_scheduler *s, struct pc_open *o, const struct paco_error *error);

#endif
