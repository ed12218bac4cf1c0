// SPDX-License-Identifier: Apache-2.0
/* What the public jobs (paco/weights.h) share around their own work: workers, progress, remarks, the result.
 */
#ifndef PC_WEIGHTS_JOB_H
#define PC_WEIGHTS_JOB_H

#include "base/notes.h"
#include "base/threads.h"
#include "weights/write.h"

#include "paco/weights.h"

struct pc_job {
    const struct paco_job_options *opt;
    struct pc_progress progress; /* calls opt's callbacks */
    struct pc_notes notes;
    struct pc_pool *pool;
    char *out; /* for the result: nothing may fail once the output stands */
};

/** Begin: everything is *owned* by job until pc_job_end, opt is *borrowed*. */
int pc_job_begin(struct pc_job *job, const struct paco_job_options *opt, struct paco_error *err);
void pc_job_end(struct pc_job *job);

/** Whether out may be written: before any other work. */
int pc_job_check_out(const struct pc_job *job, struct paco_error *err);

/** The options of pc_write_checkpoint that every job sets alike. */
struct pc_write_options pc_job_write_options(const struct pc_job *job);

/** Fill result from what was written and the remarks so far, which move into it. Cannot fail:
 * the output stands. */
void pc_job_result(struct pc_job *job, const struct pc_write_result *written, struct paco_job_result *result);

/** Say how much a narrowing lost, if any was asked for. */
void pc_job_note_narrowing(
    struct pc_job *job, const struct pc_checkpoint *ck, const struct pc_write_result *written);

#endif
