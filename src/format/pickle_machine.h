// SPDX-License-Identifier: Apache-2.0
/* Bytes, stack, marks and memo of the pickle reader. Internal to it: pickle.c has the opcodes.
 *
 * Functions that can fail have put offset and path of the current opcode into m->err when they return less
 * than 0 (or NULL). Outputs are then set to zero. */
#ifndef PC_FORMAT_PICKLE_MACHINE_H
#define PC_FORMAT_PICKLE_MACHINE_H

#include "format/pickle.h"

enum { PC_PICKLE_WINDOW = 64 * 1024 };

struct pc_pickle_machine {
    const struct pc_pickle_input *in;
    uint64_t pos, end;     /* of the next byte; end is cut to PC_PICKLE_MAX_SIZE */
    uint64_t at;           /* of the current opcode */
    const uint8_t *window; /* bytes [window_at, window_at + window_len) of the input */
    uint64_t window_at;
    size_t window_len;
    uint8_t *buffer; /* PC_PICKLE_WINDOW bytes, when reading from a file */
    struct pc_arena *arena;
    const struct pc_pickle_storage *storages;
    struct pc_value **stack;
    size_t n_stack, stack_capacity;
    size_t marks[PC_PICKLE_MAX_DEPTH]; /* stack height at each open MARK */
    size_t n_marks;
    struct pc_value **memo; /* by index; NULL where nothing was put */
    size_t memo_capacity, n_memo;
    struct paco_error *err; /* never NULL */
};

/** Give the error in m->err the place of the current opcode. Returns code. */
static inline int pc_pm_place(struct pc_pickle_machine *m, int code)
{
    pc_error_at(m->err, m->in->path, m->at + m->in->origin);
    return code;
}

#define PC_PM_FAIL(m, code, ...) (pc_error_set((m)->err, (code), __VA_ARGS__), pc_pm_place((m), (code)))

/** Set the error "malformed pickle: WHAT"; returns PACO_EFORMAT. */
int pc_pm_bad(struct pc_pickle_machine *m, const char *what);
/** The arena gave no size bytes; returns PACO_ELIMIT or PACO_EMEM. */
int pc_pm_no_room(struct pc_pickle_machine *m, uint64_t size);

/** The next n bytes (n <= PC_PICKLE_WINDOW), valid until the next take. */
int pc_pm_take(struct pc_pickle_machine *m, size_t n, const uint8_t **p);
int pc_pm_take_uint(struct pc_pickle_machine *m, unsigned n_bytes, uint64_t *out);
/** n bytes copied into the arena, NUL-terminated. */
int pc_pm_take_string(struct pc_pickle_machine *m, uint64_t n, const char **out);
/** A line of at most max bytes, without its newline and NUL-terminated; line holds max + 1. */
int pc_pm_take_line(struct pc_pickle_machine *m, char *line, size_t max);
int pc_pm_skip(struct pc_pickle_machine *m, uint64_t n);
/** Are n bytes left? */
int pc_pm_check_left(struct pc_pickle_machine *m, uint64_t n);

/** A new value of the current opcode, not on the stack. */
struct pc_value *pc_pm_make(struct pc_pickle_machine *m, enum pc_value_kind kind);
int pc_pm_push(struct pc_pickle_machine *m, struct pc_value *v);
/** Both; out may be NULL. */
int pc_pm_push_new(struct pc_pickle_machine *m, enum pc_value_kind kind, struct pc_value **out);
/** The n topmost values, none of them below the last MARK, still on the stack. NULL if there are fewer. */
struct pc_value **pc_pm_top(struct pc_pickle_machine *m, size_t n);

int pc_pm_mark(struct pc_pickle_machine *m);
/** Close the last MARK: *items are the values above it, no longer on the stack but untouched until the next
 * push. */
int pc_pm_close_mark(struct pc_pickle_machine *m, struct pc_value ***items, size_t *n);

/** Remember the top of the stack as i; push what was remembered as i. */
int pc_pm_put(struct pc_pickle_machine *m, uint64_t i);
int pc_pm_get(struct pc_pickle_machine *m, uint64_t i);

/** Append n items to a TUPLE, LIST, DICT or SET. */
int pc_pm_append(struct pc_pickle_machine *m, struct pc_value *to, struct pc_value *const *items, size_t n);

#endif
