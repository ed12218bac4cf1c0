// SPDX-License-Identifier: Apache-2.0
/* The lines that --logging_steps asks for: "  Step: 20, LR: 1.5e-05, Loss: 1.2345". */
#ifndef PC_TRAIN_STEP_LINES_H
#define PC_TRAIN_STEP_LINES_H

#include "train/loop.h"

struct pc_step_lines {
    uint64_t every; /* steps; 0: no lines */
    uint64_t per_epoch;
    /** As upstream prints them: the sum of losses begins anew with an epoch, and is divided by every all the
     * same; the learning rate is read when its schedule has ticked, so it is the next step's. Else both are
     * of the steps since the last line. */
    bool quirks;
    const struct pc_schedule *schedule; /* *borrowed* */
    double sum;                         /* of losses, and of how many steps */
    uint64_t n;
};

void pc_step_lines_init(struct pc_step_lines *lines, const struct pc_trainer *t, uint64_t every);

/** The run goes on from step: what was summed up by then is in dir's log. */
int pc_step_lines_begin(struct pc_step_lines *lines, const char *dir, uint64_t step, struct paco_error *err);

/** A step is done. Whether a line is due, then in line. */
bool pc_step_lines_add(struct pc_step_lines *lines, const struct pc_train_report *report, char line[160]);

#endif
