// SPDX-License-Identifier: Apache-2.0
#include "format/pickle_machine.h"

#include "format/pickle_torch.h"

#include <string.h>

int pc_pm_bad(struct pc_pickle_machine *m, const char *what)
{
    return PC_PM_FAIL(m, PACO_EFORMAT, "malformed pickle: %s", what);
}

int pc_pm_no_room(struct pc_pickle_machine *m, uint64_t size)
{
    return pc_pm_place(m, pc_pickle_no_room(m->arena, size, m->err));
}

int pc_pm_take(struct pc_pickle_machine *m, size_t n, const uint8_t **p)
{
    if (n > m->end - m->pos) {
        if (m->end < m->in->end)
            return PC_PM_FAIL(m, PACO_ELIMIT, "the pickle is larger than %d bytes", PC_PICKLE_MAX_SIZE);
        return PC_PM_FAIL(m, PACO_EFORMAT, "the pickle ends in the middle (truncated?)");
    }
    if (m->pos + n > m->window_at + m->window_len) {
        m->window_at = m->pos;
        m->window_len = m->end - m->pos < PC_PICKLE_WINDOW ? (size_t)(m->end - m->pos) : PC_PICKLE_WINDOW;
        m->window = m->buffer;
        int rc = pc_file_read(m->in->file, m->pos, m->buffer, m->window_len, m->err);
        if (rc < 0)
            return rc;
    }
    *p = m->window + (m->pos - m->window_at);
    m->pos += n;
    return 0;
}

int pc_pm_take_uint(struct pc_pickle_machine *m, unsigned n_bytes, uint64_t *out)
{
    const uint8_t *p;
    int rc = pc_pm_take(m, n_bytes, &p);
    if (rc < 0)
        return rc;
    *out = 0;
    for (unsigned i = 0; i < n_bytes; i++)
        *out |= (uint64_t)p[i] << (8 * i);
    return 0;
}

int pc_pm_check_left(struct pc_pickle_machine *m, uint64_t n)
{
    if (n <= m->end - m->pos)
        return 0;
    return PC_PM_FAIL(m, PACO_EFORMAT,
        "malformed pickle: a string of %llu bytes where %llu are left (truncated?)", (unsigned long long)n,
        (unsigned long long)(m->end - m->pos));
}

int pc_pm_skip(struct pc_pickle_machine *m, uint64_t n)
{
    int rc = pc_pm_check_left(m, n);
    if (rc == 0)
        m->pos += n;
    return rc;
}

int pc_pm_take_string(struct pc_pickle_machine *m, uint64_t n, const char **out)
{
    int rc = pc_pm_check_left(m, n);
    if (rc < 0)
        return rc;
    char *copy = pc_arena_alloc(m->arena, (size_t)n + 1, 1);
    if (!copy)
        return pc_pm_no_room(m, n + 1);
    for (uint64_t done = 0; done < n;) {
        size_t piece = n - done < PC_PICKLE_WINDOW ? (size_t)(n - done) : PC_PICKLE_WINDOW;
        const uint8_t *p;
        rc = pc_pm_take(m, piece, &p);
        if (rc < 0)
            return rc;
        memcpy(copy + done, p, piece);
        done += piece;
    }
    *out = copy;
    return 0;
}

int pc_pm_take_line(struct pc_pickle_machine *m, char *line, size_t max)
{
    for (size_t n = 0; n <= max; n++) {
        const uint8_t *p;
        int rc = pc_pm_take(m, 1, &p);
        if (rc < 0)
            return rc;
        if (*p == '\n') {
            line[n] = '\0';
            return 0;
        }
        if (*p == '\0' || n == max)
            break;
        line[n] = (char)*p;
    }
    return pc_pm_bad(m, "a name or number is overlong or holds a NUL");
}

/* A growing array of pointers: room for one more at index n. */
static int grow(struct pc_pickle_machine *m, struct pc_value ***array, size_t *capacity, size_t n)
{
    if (n < *capacity)
        return 0;
    size_t larger = *capacity ? *capacity : 256;
    while (larger <= n)
        larger *= 2;
    struct pc_value **grown = pc_realloc(*array, larger, sizeof **array);
    if (!grown)
        return pc_pm_place(m, pc_error_mem(m->err, larger * sizeof **array, "reading a pickle"));
    memset(grown + *capacity, 0, (larger - *capacity) * sizeof *grown);
    *array = grown;
    *capacity = larger;
    return 0;
}

int pc_pm_push(struct pc_pickle_machine *m, struct pc_value *v)
{
    if (m->n_stack == PC_PICKLE_MAX_STACK)
        return PC_PM_FAIL(m, PACO_ELIMIT, "the pickle stacks more than %d values", PC_PICKLE_MAX_STACK);
    int rc = grow(m, &m->stack, &m->stack_capacity, m->n_stack);
    if (rc == 0)
        m->stack[m->n_stack++] = v;
    return rc;
}

struct pc_value *pc_pm_make(struct pc_pickle_machine *m, enum pc_value_kind kind)
{
    struct pc_value *v = pc_arena_alloc(m->arena, 1, sizeof *v);
    if (!v) {
        pc_pm_no_room(m, sizeof *v);
        return NULL;
    }
    v->kind = kind;
    v->at = m->at + m->in->origin;
    return v;
}

int pc_pm_push_new(struct pc_pickle_machine *m, enum pc_value_kind kind, struct pc_value **out)
{
    struct pc_value *v = pc_pm_make(m, kind);
    if (!v)
        return m->err->code;
    if (out)
        *out = v;
    return pc_pm_push(m, v);
}

struct pc_value **pc_pm_top(struct pc_pickle_machine *m, size_t n)
{
    size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->n_stack - floor < n) {
        pc_pm_bad(m, "it takes a value from an empty stack");
        return NULL;
    }
    return m->stack + (m->n_stack - n);
}

int pc_pm_mark(struct pc_pickle_machine *m)
{
    if (m->n_marks == PC_PICKLE_MAX_DEPTH)
        return PC_PM_FAIL(m, PACO_ELIMIT, "the pickle nests deeper than %d", PC_PICKLE_MAX_DEPTH);
    m->marks[m->n_marks++] = m->n_stack;
    return 0;
}

int pc_pm_close_mark(struct pc_pickle_machine *m, struct pc_value ***items, size_t *n)
{
    if (m->n_marks == 0)
        return pc_pm_bad(m, "it closes a MARK that is not there");
    size_t at = m->marks[--m->n_marks];
    *n = m->n_stack - at;
    *items = *n ? m->stack + at : NULL;
    m->n_stack = at;
    return 0;
}

int pc_pm_put(struct pc_pickle_machine *m, uint64_t i)
{
    struct pc_value **v = pc_pm_top(m, 1);
    if (!v)
        return PACO_EFORMAT;
    // Picklers number from zero and spend at least two bytes on each: a larger index is an attack on memory.
    if (i >= PC_PICKLE_MAX_MEMO || i > m->pos - m->in->start)
        return PC_PM_FAIL(m, PACO_ELIMIT, "memo index %llu is out of proportion", (unsigned long long)i);
    int rc = grow(m, &m->memo, &m->memo_capacity, (size_t)i);
    if (rc < 0)
        return rc;
    m->n_memo += !m->memo[i];
    m->memo[i] = *v;
    return 0;
}

int pc_pm_get(struct pc_pickle_machine *m, uint64_t i)
{
    if (i >= m->memo_capacity || !m->memo[i])
        return PC_PM_FAIL(
            m, PACO_EFORMAT, "malformed pickle: memo %llu was never put", (unsigned long long)i);
    return pc_pm_push(m, m->memo[i]);
}

int pc_pm_append(struct pc_pickle_machine *m, struct pc_value *to, struct pc_value *const *items, size_t n)
{
    if (n > to->seq.capacity - to->seq.n) {
        size_t need = to->seq.n + n, capacity = to->seq.capacity * 2;
        capacity = capacity > need ? capacity : need;
        struct pc_value **grown = pc_arena_alloc(m->arena, capacity, sizeof *grown);
        if (!grown)
            return pc_pm_no_room(m, capacity * sizeof *grown);
        if (to->seq.n)
            memcpy(grown, to->seq.items, to->seq.n * sizeof *grown);
        to->seq.items = grown;
        to->seq.capacity = capacity;
    }
    if (n)
        memcpy(to->seq.items + to->seq.n, items, n * sizeof *items);
    to->seq.n += n;
    return 0;
}
