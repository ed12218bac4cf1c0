// SPDX-License-Identifier: Apache-2.0
/* Answers of models and lines of data, whatever their bytes: extraction and the comparisons stay within them,
 * and a comparison of a text with itself holds. */
#include "base/py_text.h"
#include "eval/eval_data.h"
#include "eval/number_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(const char *text, size_t size)
{
    struct pc_jsonl lines;
    struct pc_text question;
    struct paco_error err = {0};
    if (pc_jsonl_parse(text, size, "fuzz", &lines, &err) < 0) {
        if (!err.message[0])
            abort();
        return;
    }
    for (size_t i = 0; i < lines.n; i++)
        if (!json_is_object(lines.v[i]) || lines.line[i] <= i ||
            (pc_jsonl_text(&lines, i, "question", &question, &err) == 0 && !question.v))
            abort();
    pc_jsonl_release(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = size ? (const char *)data : "";
    struct pc_text text = {bytes, size}, number;
    struct pc_buf plain;
    double exact, f1, value;
    bool equal;
    check_lines(bytes, size);
    pc_buf_init(&plain, 64 << 20);
    pc_drop_commas(&plain, text);
    if (plain.failed || plain.len > size)
        abort();
    for (int signs = 0; signs < 2; signs++) {
        number = pc_last_number(text, signs);
        if (number.v && (number.v < bytes || number.len == 0 || number.v + number.len > bytes + size))
            abort();
        if (number.v && number.len < 100 && !pc_number_value(number, &value))
            abort();
    }
    if (pc_exact_match(text, text, &equal, NULL) < 0 || !equal ||
        pc_squad_score(text, &text, 1, &exact, &f1, NULL) < 0 || exact != 1 || (f1 != 0 && f1 != 1))
        abort();
    pc_buf_release(&plain);
    return 0;
}
