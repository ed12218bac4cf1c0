// SPDX-License-Identifier: Apache-2.0
/* What tasks leave behind: upstream's prediction files, line by line, and the numbers over their items, with
 * the roundings upstream's libraries have.
 *
 *     struct pc_buf lines;
 *     pc_lines_init(&lines);
 *     for each item: rc = pc_lines_add(&lines, json_pack(...), &err);
 *     rc = pc_lines_write(&lines, rc, dir, "predictions.jsonl", &err); */
#ifndef PC_EVAL_TASK_OUT_H
#define PC_EVAL_TASK_OUT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "eval/text_match.h"

#include <stdbool.h>
#include <stddef.h>

/** A JSON string of text that is meant to be UTF-8 and may hold NULs; *owned*, NULL when memory is out. */
json_t *pc_text_value(struct pc_text text);
/** Put value, taken over and NULL when memory was out, into object. PACO_EMEM. */
int pc_object_put(json_t *object, const char *key, json_t *value, struct paco_error *err);
/** A record's member key as a text, empty where it is none; a view. */
struct pc_text pc_record_text(const json_t *record, const char *key);
/** Whether the record is of an item that was answered and judged. */
bool pc_record_is_good(const json_t *record);

void pc_lines_init(struct pc_buf *lines);
/** Append line, as Python's json.dumps() writes it, and a newline. line is taken over; NULL is PACO_EMEM. */
int pc_lines_add(struct pc_buf *lines, json_t *line, struct paco_error *err);
/** Write the lines to DIR/NAME if rc is 0, and release them in any case. Returns rc, or what went wrong. */
int pc_lines_write(struct pc_buf *lines, int rc, const char *dir, const char *name, struct paco_error *err);

/** numpy.mean of n float64 numbers, to the last bit: NumPy adds in pairs of halves, down to 128 numbers,
 * which go into eight sums. NAN when n is 0. */
double pc_numpy_mean(const double *v, size_t n);

/** The standard error of the mean of v: the sample's standard deviation (n - 1) over the root of n. NAN below
 * two numbers. */
double pc_mean_error(const double *v, size_t n);

/** The same where n_true of n numbers are 1 and the others 0. */
double pc_share_error(size_t n_true, size_t n);

#endif
