// SPDX-License-Identifier: Apache-2.0
/* Whether a model's tokenizer, template and size are what they should be. */
#ifndef PC_CLI_DOCTOR_MODEL_H
#define PC_CLI_DOCTOR_MODEL_H

#include "cli/model_args.h"
#include "prompt/format.h"

enum { PC_DOCTOR_MAX_PROBLEMS = 32, PC_DOCTOR_PROBLEM_SIZE = 640 };

struct pc_doctor_problems {
    char text[PC_DOCTOR_MAX_PROBLEMS][PC_DOCTOR_PROBLEM_SIZE];
    size_t n;
};

/** Remember one; beyond the bound they are dropped. */
void pc_doctor_problem(struct pc_doctor_problems *p, const char *fmt, ...) PC_PRINTF(2, 3);

struct pc_doctor_model {
    bool has_tokenizer, adds_bos, has_template, format_certain;
    int32_t n_tokens, bos, eos, pad;
    int n_round_trips, n_texts; /* texts that came back as they were; tried */
    enum pc_format format;      /* what prompts are wrapped in */
    bool planned;
    int32_t context; /* tokens the plan is for */
    struct pc_engine_plan plan;
    uint64_t plan_total;
    char computes[256]; /* pc_engine_describe */
};

/** Look at an open model; what is wrong goes to problems. context: tokens to plan for, 0 for the model's own
 * up to 4096. Never fails: what cannot be looked at is a problem. */
void pc_doctor_look(const struct pc_model *model, const struct pc_engine_options *options, int32_t context,
    struct pc_doctor_model *out, struct pc_doctor_problems *problems);

#endif
