// SPDX-License-Identifier: Apache-2.0
/* The bar of `paco finetune`: beside step and time left the loss, tokens a second, the learning rate, and how
 * much of the memory there is the process holds.
 *
 *     struct pc_finetune_bar bar;
 *     pc_finetune_bar_init(&bar, self);
 *     ... hand &bar.progress down; events of the phase "training" get the figures of the last step ...
 *     pc_finetune_bar_step(&bar, &report, n_steps);      after each step */
#ifndef PC_CLI_FINETUNE_BAR_H
#define PC_CLI_FINETUNE_BAR_H

#include "cli/command.h"
#include "train/loop.h"

struct pc_finetune_bar {
    struct pc_progress progress; /* of the command's own bar */
    const struct pc_progress *bar;
    uint64_t limit; /* bytes of memory the machine, or a control group, gives */
    char status[160];
};

/** bar stays where it is while its progress is in use. */
void pc_finetune_bar_init(struct pc_finetune_bar *bar, const struct pc_command *self);

/** A step of n_steps is done. */
void pc_finetune_bar_step(
    struct pc_finetune_bar *bar, const struct pc_train_report *report, uint64_t n_steps);

/** A remark above the bar, of a line. */
void pc_finetune_bar_note(struct pc_finetune_bar *bar, const char *fmt, ...) PC_PRINTF(2, 3);

#endif
