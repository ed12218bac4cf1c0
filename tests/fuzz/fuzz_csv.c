// SPDX-License-Identifier: Apache-2.0
/* Tables: what is accepted is written with every cell quoted, read again and the same, before and after types
 * are inferred. The first byte says how many columns, which delimiter, and whether None is missing. */
#include "eval/csv.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_table(const struct pc_csv *t, char delimiter, struct pc_buf *out)
{
    for (size_t row = 0; row < t->n_rows; row++)
        for (size_t i = 0; i < t->n_columns; i++) {
            const char *text = pc_csv_cell(t, row, i)->text;
            pc_buf_putc(out, '"');
            for (; *text; text++) {
                if (*text == '"')
                    pc_buf_putc(out, '"');
                pc_buf_putc(out, *text);
            }
            pc_buf_putc(out, '"');
            pc_buf_putc(out, i + 1 < t->n_columns ? delimiter : '\n');
        }
}

static void check_same(const struct pc_csv *a, const struct pc_csv *b)
{
    if (a->n_rows != b->n_rows)
        abort();
    for (size_t i = 0; i < a->n_rows * a->n_columns; i++)
        if (strcmp(a->cells[i].text, b->cells[i].text) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_csv t, again;
    struct paco_error err = {0};
    if (size == 0)
        return 0;
    size_t n_columns = 1 + (data[0] & 7);
    char delimiter = data[0] & 8 ? '\t' : ',';
    if (pc_csv_parse((const char *)data + 1, size - 1, "fuzz", delimiter, n_columns, &t, &err) < 0) {
        if (!err.message[0])
            abort();
        return 0;
    }
    struct pc_buf b;
    pc_buf_init(&b, 64 << 20);
    write_table(&t, delimiter, &b);
    if (b.failed || pc_csv_parse(b.data, b.len, "fuzz", delimiter, n_columns, &again, &err) < 0)
        abort();
    check_same(&t, &again);
    if (pc_csv_infer(&t, data[0] & 16, &err) < 0 || pc_csv_infer(&again, data[0] & 16, &err) < 0)
        abort();
    check_same(&t, &again);
    pc_buf_clear(&b);
    for (size_t i = 0; i < t.n_rows * n_columns; i++)
        pc_csv_put(&b, t.cells[i].text);
    pc_csv_release(&again);
    pc_csv_release(&t);
    pc_buf_release(&b);
    return 0;
}
