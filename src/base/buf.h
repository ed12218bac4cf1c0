// SPDX-License-Identifier: Apache-2.0
/* A byte buffer that grows up to a bound it is born with. */
#ifndef PC_BASE_BUF_H
#define PC_BASE_BUF_H

#include "base/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/** data is always followed by a NUL that len does not count, or NULL while empty. After a failure (memory, or
 * max reached) `failed` stays set and further appends do nothing: check it once at the end. */
struct pc_buf {
    char *data;
    size_t len, capacity, max;
    bool failed, too_large; /* too_large: it failed for max, not for memory */
};

/** An empty buffer that may hold up to max bytes. */
void pc_buf_init(struct pc_buf *b, size_t max);
void pc_buf_release(struct pc_buf *b);
/** Forget the contents, keep the memory, clear the failure. */
void pc_buf_clear(struct pc_buf *b);
void pc_buf_add(struct pc_buf *b, const void *bytes, size_t len);
void pc_buf_puts(struct pc_buf *b, const char *s);
void pc_buf_putc(struct pc_buf *b, char c);
void pc_buf_printf(struct pc_buf *b, const char *fmt, ...) PC_PRINTF(2, 3);
/** Make room for len more bytes and return where they go, or NULL; raise b->len by what was written. */
char *pc_buf_reserve(struct pc_buf *b, size_t len);
/** The contents as an owned string (pc_free), leaving b empty; NULL if b failed. */
char *pc_buf_detach(struct pc_buf *b);
/** 0, or the error that made b fail: PACO_EMEM or PACO_ELIMIT, naming what. */
int pc_buf_check(const struct pc_buf *b, const char *what, struct paco_error *err);

#endif
