// SPDX-License-Identifier: Apache-2.0
/* Instruction data as their authors publish them, to the messages that training takes: what Open-Instruct's
 * reformat_datasets.py of June 2023 writes, byte for byte.
 *
 * A folder for each data set, called as upstream calls it, becomes OUT/NAME/NAME_data.jsonl. Templates are
 * drawn from one stream of Python's random numbers that runs through all data sets, so what is drawn hangs on
 * their order: upstream's is the one in which its file system listed them, which nobody can know; ours is
 * sorted by name, or as the caller says. */
#ifndef PC_DATA_REFORMAT_H
#define PC_DATA_REFORMAT_H

#include "base/error.h"
#include "base/notes.h"
#include "base/progress.h"

#include <stdbool.h>
#include <stdint.h>

enum { PC_REFORMAT_MAX_SETS = 16 };

/** All borrowed. */
struct pc_reformat_options {
    const char *raw_data_dir, *output_dir;
    const char *order; /* "name,name": these sets, in this order; NULL: every one there is, sorted */
    uint64_t seed;
    bool force; /* replace files that are there */
    const struct pc_progress *progress;
    struct pc_notes *notes; /* upstream's remarks: folders that are no data set, and so on */
};

struct pc_reformat_result {
    size_t n;
    struct {
        const char *name; /* static */
        uint64_t n_examples, bytes;
    } sets[PC_REFORMAT_MAX_SETS];
};

/** Reformat. Each file appears when it is whole. Errors name file and line: PACO_EFORMAT for what is not as
 * its authors publish it, PACO_ENOENT for a missing file, PACO_EEXIST without force, before anything is done;
 * PACO_EINVAL for a name in order that is no data set; PACO_ECANCELLED. */
int pc_data_reformat(
    const struct pc_reformat_options *options, struct pc_reformat_result *result, struct paco_error *err);

#endif
