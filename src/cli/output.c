// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include "base/buf.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LINE = 256 * 1024 * 1024, MAX_TEXT = 4096 };

int pc_print_json(json_t *v, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_LINE);
    if (v) {
        pc_json_write(&b, v, PC_JSON_COMPACT);
        pc_buf_putc(&b, '\n');
    }
    int rc = v ? pc_buf_check(&b, "a line of JSON", err) : pc_error_mem(err, MAX_TEXT, "a line of JSON");
    if (rc == 0)
        fwrite(b.data, 1, b.len, stdout);
    pc_buf_release(&b);
    json_decref(v);
    return rc;
}

void pc_print_text(const char *text, int width)
{
    char shown[MAX_TEXT];
    printf("%-*s", width, pc_printable(text, shown, sizeof shown));
}

char *pc_human_count(uint64_t n, char out[32])
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), w = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[w++] = ',';
        out[w++] = digits[i];
    }
    out[w] = '\0';
    return out;
}
