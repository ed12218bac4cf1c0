// SPDX-License-Identifier: Apache-2.0
/* How fast paco recover goes, against writing the same bytes and nothing else. */
#ifndef PC_CLI_BENCH_RECOVER_H
#define PC_CLI_BENCH_RECOVER_H

#include "base/error.h"
#include "base/progress.h"

#include <stdint.h>

struct pc_bench_recover {
    uint64_t bytes;       /* of the recovered tensors */
    double seconds;       /* until they are on the disk */
    double write_seconds; /* until as many bytes from memory are */
};

/** Make a base in F16 and a diff in F32 of 64 M elements in a new folder of parent, recover them, remove it
 * all. Inputs are in the page cache; both times include fsync. Takes 900 MB of disk for some seconds. Errors:
 * what files can do; a wish to stop. */
int pc_bench_recover(const char *parent, int n_threads, const struct pc_progress *progress,
    struct pc_bench_recover *out, struct paco_error *err);

#endif
