// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

void pc_buf_init(struct pc_buf *b, size_t max)
{
    *b = (struct pc_buf){.max = max};
}

void pc_buf_release(struct pc_buf *b)
{
    pc_free(b->data);
    *b = (struct pc_buf){.max = b->max};
}

void pc_buf_clear(struct pc_buf *b)
{
    b->len = 0;
    b->failed = b->too_large = false;
    if (b->data)
        b->data[0] = '\0';
}

char *pc_buf_reserve(struct pc_buf *b, size_t len)
{
    if (b->failed)
        return NULL;
    if (len > b->max || b->len > b->max - len) {
        b->failed = b->too_large = true;
        return NULL;
    }
    if (!b->data || b->capacity - b->len <= len) {
        size_t grown = b->capacity + b->capacity / 2;
        size_t need = b->len + len + 1;
        size_t capacity = need > grown ? need : grown;
        if (capacity < 64)
            capacity = 64;
        char *data = pc_realloc(b->data, capacity, 1);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->len;
}

void pc_buf_add(struct pc_buf *b, const void *bytes, size_t len)
{
    char *to = pc_buf_reserve(b, len);
    if (!to)
        return;
    if (len)
        memcpy(to, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void pc_buf_puts(struct pc_buf *b, const char *s)
{
    pc_buf_add(b, s, strlen(s));
}

void pc_buf_putc(struct pc_buf *b, char c)
{
    pc_buf_add(b, &c, 1);
}

void pc_buf_printf(struct pc_buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *to = n < 0 ? NULL : pc_buf_reserve(b, (size_t)n);
    if (to) {
        vsnprintf(to, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

char *pc_buf_detach(struct pc_buf *b)
{
    if (!b->data && !b->failed)
        pc_buf_add(b, "", 0);
    char *s = b->failed ? NULL : b->data;
    if (!s)
        pc_free(b->data);
    *b = (struct pc_buf){.max = b->max};
    return s;
}

int pc_buf_check(const struct pc_buf *b, const char *what, struct paco_error *err)
{
    if (!b->failed)
        return 0;
    if (!b->too_large)
        return pc_error_mem(err, b->len, what);
    return pc_error_set(err, PACO_ELIMIT, "%s needs more than its limit of %zu bytes", what, b->max);
}
