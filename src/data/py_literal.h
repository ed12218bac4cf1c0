// SPDX-License-Identifier: Apache-2.0
/* Values written as Python literals, read without running anything: lists, tuples, dicts with text keys,
 * texts in all spellings but f and b, numbers, True, False, None, comments. Whatever else a Python file holds
 * is passed over, as long as the name that is looked for stands at the beginning of a line. */
#ifndef PC_DATA_PY_LITERAL_H
#define PC_DATA_PY_LITERAL_H

#include "base/json.h"

/** The value of `name = ...` in len bytes of Python, UTF-8; *out is *owned*, tuples are arrays. PACO_ENOENT
 * without such a line, PACO_EFORMAT with the byte for what is no literal. path may be NULL. */
int pc_py_literal(
    const char *text, size_t len, const char *name, const char *path, json_t **out, struct paco_error *err);

#endif
