// SPDX-License-Identifier: Apache-2.0
#include "net/sse.h"

#include <string.h>

enum { MAX_EVENT = 16 << 20 };

void pc_sse_init(struct pc_sse *s,
    int (*on_data)(void *ctx, const char *data, size_t len, struct paco_error *err), void *ctx)
{
    *s = (struct pc_sse){.on_data = on_data, .ctx = ctx};
    pc_buf_init(&s->line, MAX_EVENT);
    pc_buf_init(&s->data, MAX_EVENT);
}

void pc_sse_release(struct pc_sse *s)
{
    pc_buf_release(&s->line);
    pc_buf_release(&s->data);
}

/* An empty line ends an event; "data: x" adds a line to it; the rest is comments and other fields. */
static int end_line(struct pc_sse *s, struct paco_error *err)
{
    const char *line = s->line.data ? s->line.data : "";
    size_t len = s->line.len;
    int rc = 0;
    if (len == 0 && s->has_data)
        rc = s->on_data(s->ctx, s->data.data ? s->data.data : "", s->data.len, err);
    if (len == 0) {
        pc_buf_clear(&s->data);
        s->has_data = false;
    } else if (strncmp(line, "data", 4) == 0 && (len == 4 || line[4] == ':')) {
        size_t at = len == 4 ? 4 : line[5] == ' ' ? 6 : 5;
        if (s->has_data)
            pc_buf_putc(&s->data, '\n');
        pc_buf_add(&s->data, line + at, len - at);
        s->has_data = true;
    }
    pc_buf_clear(&s->line);
    return rc;
}

int pc_sse_feed(struct pc_sse *s, const char *bytes, size_t len, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < len && rc == 0; i++) {
        bool second = s->after_cr && bytes[i] == '\n';
        s->after_cr = bytes[i] == '\r';
        if (second)
            continue;
        if (bytes[i] == '\n' || bytes[i] == '\r')
            rc = end_line(s, err);
        else
            pc_buf_putc(&s->line, bytes[i]);
    }
    if (rc == 0)
        rc = pc_buf_check(&s->line, "an event", err);
    return rc == 0 ? pc_buf_check(&s->data, "an event", err) : rc;
}
