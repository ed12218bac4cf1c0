// SPDX-License-Identifier: Apache-2.0
/* Server-sent events, as they come: bytes in any pieces in, whole events out. Source: WHATWG HTML,
 * "Server-sent events"; only the data of events is kept, for streams of answers use nothing else. */
#ifndef PC_NET_SSE_H
#define PC_NET_SSE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>

/** on_data gets the data of each event, NUL-terminated; a negative answer ends the feeding. */
struct pc_sse {
    int (*on_data)(void *ctx, const char *data, size_t len, struct paco_error *err);
    void *ctx;
    struct pc_buf line, data;
    bool after_cr, has_data;
};

void pc_sse_init(struct pc_sse *s,
    int (*on_data)(void *ctx, const char *data, size_t len, struct paco_error *err), void *ctx);
void pc_sse_release(struct pc_sse *s);
/** PACO_ELIMIT for an event above 16 MiB, PACO_EMEM, or what on_data said. */
int pc_sse_feed(struct pc_sse *s, const char *bytes, size_t len, struct paco_error *err);

#endif
