// SPDX-License-Identifier: Apache-2.0
/* What paco bench found, beside the machine's limits. */
#ifndef PC_CLI_BENCH_REPORT_H
#define PC_CLI_BENCH_REPORT_H

#include "cli/bench_model.h"
#include "cli/bench_recover.h"

struct pc_bench_report {
    const char *model; /* as the user named it */
    struct pc_machine machine;
    struct pc_bench_result *result;  /* of the model, or NULL */
    struct pc_bench_recover recover; /* without a model */
    double find_seconds;             /* opening the model's files */
    uint64_t peak_rss;               /* without what measuring the machine took */
    bool roofline;                   /* also bytes, operations and what binds */
};

/** On stdout: a table for people, or an object. */
void pc_bench_report_print(const struct pc_bench_report *r);
int pc_bench_report_json(const struct pc_bench_report *r, struct paco_error *err);

#endif
