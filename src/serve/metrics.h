// SPDX-License-Identifier: Apache-2.0
/* What a server has done, in Prometheus' text format. Under the server's lock. */
#ifndef PC_SERVE_METRICS_H
#define PC_SERVE_METRICS_H

#include "base/buf.h"
#include "serve/served.h"

#include <stddef.h>
#include <stdint.h>

enum { PC_METRICS_BUCKETS = 12 };

/** A histogram of seconds. */
struct pc_seconds_seen {
    uint64_t n[PC_METRICS_BUCKETS + 1]; /* the last: beyond all bounds */
    double sum;
};

struct pc_metrics {
    uint64_t n_requests[6]; /* by the first digit of the status */
    uint64_t n_cancelled;   /* by clients that went away */
    uint64_t n_prompt_tokens, n_computed_tokens, n_answer_tokens;
    uint64_t n_steps;
    uint64_t n_reloads, n_failed_reloads;
    struct pc_seconds_seen first_token, whole;
};

void pc_seconds_add(struct pc_seconds_seen *h, double seconds);

/** What is the case right now. */
struct pc_gauges {
    size_t n_running, n_waiting, n_connections;
    uint64_t kv_tokens;
};
void pc_metrics_write(struct pc_buf *b, const struct pc_metrics *m, const struct pc_gauges *now);

/** And what the models beside the first one take. Their names need no escapes. */
void pc_metrics_write_tunes(struct pc_buf *b, const struct pc_house *house);

#endif
