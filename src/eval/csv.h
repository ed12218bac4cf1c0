// SPDX-License-Identifier: Apache-2.0
/* Comma-separated values as pandas.read_csv(header=None) has them: RFC 4180 with quoted newlines and doubled
 * quotes, CR, LF and CRLF, blank lines passed over, quotes inside an unquoted cell kept.
 *
 *     struct pc_csv t;
 *     rc = pc_csv_read(env, path, ',', 6, &t, &err);
 *     rc = pc_csv_infer(&t, true, &err);           cells get the spelling a prompt would print them in
 *     pc_csv_cell(&t, row, column)->text
 *     pc_csv_release(&t);
 *
 * Unlike pandas, which fills short rows up with missing values, a row of another length than expected is an
 * error: here it means a damaged file. A table is immutable once read. */
#ifndef PC_EVAL_CSV_H
#define PC_EVAL_CSV_H

#include "base/memory.h"
#include "eval/task.h"

#include <stdbool.h>
#include <stddef.h>

struct pc_csv_cell {
    const char *text; /* UTF-8, NUL-terminated, no NUL inside; a view into the table */
    bool missing;     /* pandas has NaN here; text is then "nan" */
};

struct pc_csv {
    size_t n_rows, n_columns;
    struct pc_csv_cell *cells; /* (n_rows, n_columns); owned */
    size_t *line;              /* of each row's start, counted from 1; owned */
    char *path, *bytes;        /* owned */
    size_t cell_capacity, line_capacity;
    struct pc_arena spelled; /* cells that infer spelt anew */
};

enum { PC_CSV_MAX_COLUMNS = 64 };

/** Parse len bytes, whose rows all have n_columns cells (1 to PC_CSV_MAX_COLUMNS). Another number, a quote
 * that is never closed, a NUL, invalid UTF-8 and a file without rows are PACO_EFORMAT: the message says the
 * line, the offset is that of the row or the byte. */
int pc_csv_parse(const char *text, size_t len, const char *path, char delimiter, size_t n_columns,
    struct pc_csv *out, struct paco_error *err);
/** The same of a file, which goes into env->files (eval_data.h). */
int pc_csv_read(const struct pc_task_env *env, const char *path, char delimiter, size_t n_columns,
    struct pc_csv *out, struct paco_error *err);
void pc_csv_release(struct pc_csv *t);

static inline const struct pc_csv_cell *pc_csv_cell(const struct pc_csv *t, size_t row, size_t column)
{
    return &t->cells[row * t->n_columns + column];
}

/** What pandas' type inference makes of the cells: the spellings it takes for a missing value (with none_too
 * "None", as of pandas 2.0) become "nan"; columns of integers, numbers or truth values are spelt as Python
 * prints those ("0.10" becomes "0.1", and "4" among decimals "4.0"). A column is judged whole, where pandas
 * judges files above some 10,000 rows in pieces; columns with an integer beyond 64 bits stay as they are,
 * where it prints their other cells anew. */
int pc_csv_infer(struct pc_csv *t, bool none_too, struct paco_error *err);

/** Append a cell as DataFrame.to_csv writes a text, quoted where it must be. */
void pc_csv_put(struct pc_buf *out, const char *text);

#endif
