// SPDX-License-Identifier: Apache-2.0
/* Lengths of a training file's texts in tokens: what Open-Instruct's get_statistics.py (June 2023) counts,
 * and the same JSON. */
#ifndef PC_DATA_STATS_H
#define PC_DATA_STATS_H

#include "base/json.h"
#include "base/progress.h"
#include "base/threads.h"
#include "tokenizer/tokenizer.h"

/** All borrowed. */
struct pc_stats_options {
    const struct pc_tokenizer *tokenizer;
    struct pc_pool *pool; /* NULL: the caller's thread alone */
    const struct pc_progress *progress;
};

/** Count path (JSON lines or an array; `prompt` and `completion`, or `messages`, as its first record has) and
 * make upstream's object, *owned*, in upstream's order: written with PC_JSON_PRETTY_4 it is what upstream
 * prints, but for numbers that do not exist (the deviation of one length), which are null here and NaN there
 * (pc_stats_write). Summaries are count, mean, std, min, 25%, 50%, 75%, max as pandas describes a series, bit
 * for bit.
 *
 * Of the longest instances with equal lengths the later comes first; one without "id" is given by its line.
 * Errors name file and line: PACO_EFORMAT where upstream says `Invalid data format - the data should be
 * either prompt completion data or messages data.`, or a member is missing; PACO_ECANCELLED. */
int pc_data_stats(
    const char *path, const struct pc_stats_options *options, json_t **out, struct paco_error *err);

/** Append it as upstream prints it, indent 4 and NaN. */
void pc_stats_write(struct pc_buf *b, const json_t *stats);

#endif
