// SPDX-License-Identifier: Apache-2.0
/* TensorBoard's event files: what training measures, for who watches many runs at once.
 *
 *     struct pc_tensorboard *tb;
 *     pc_tensorboard_open("out/tensorboard", first_step, &tb, &err);
 *     const struct pc_tensorboard_value v[] = {{.tag = "train/loss", .scalar = 1.25}};
 *     pc_tensorboard_add(tb, step, v, 1, &err);
 *     pc_tensorboard_close(tb);
 *
 * Each start makes a file of its own, which begins by saying from which step on earlier files are void: a run
 * that was killed and goes on from its last checkpoint shows as one curve. What was added is with the system
 * when the call returns, and is read while the run goes on. One thread at a time. */
#ifndef PC_REPORT_TENSORBOARD_H
#define PC_REPORT_TENSORBOARD_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct pc_tensorboard;

/** A value of a step: a scalar, or with text a text (Markdown, UTF-8; pc_tensorboard_quote shows it as it
 * is). Tags with a slash are grouped by what is before it. */
struct pc_tensorboard_value {
    const char *tag;
    double scalar; /* kept as F32; NaN and infinities are shown as such */
    const char *text;
};

/** Begin a file in dir, which is made if missing (what is above it is there). It sorts behind those that lie
 * there, whatever the clock says. What they hold of first_step and later steps is void; 0: all of it. *out is
 * *owned*: pc_tensorboard_close. */
int pc_tensorboard_open(
    const char *dir, int64_t first_step, struct pc_tensorboard **out, struct paco_error *err);

/** One event with n values. A failure (a full disk) leaves the file as it was before: adding may go on. */
int pc_tensorboard_add(struct pc_tensorboard *tb, int64_t step, const struct pc_tensorboard_value *values,
    size_t n, struct paco_error *err);

/** Where the file is; a view. */
const char *pc_tensorboard_path(const struct pc_tensorboard *tb);

/** NULL is fine. */
void pc_tensorboard_close(struct pc_tensorboard *tb);

/** text as a block of code in Markdown, line by line; what is no UTF-8 becomes U+FFFD. *owned*,
 * NULL when memory is out. */
char *pc_tensorboard_quote(const char *text);

#endif
