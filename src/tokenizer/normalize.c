// SPDX-License-Identifier: Apache-2.0
/* The normaliser of tokenizer.json, as far as the family uses it: prepend, replace, and Unicode's four forms.
 */
#include "tokenizer/tokenizer_parts.h"

#include <string.h>
#include <utf8proc.h>

static void replace_all(const struct pc_normal_step *s, const struct pc_buf *in, struct pc_buf *out)
{
    const char *p = in->data, *end = in->data + in->len;
    while (p < end) {
        const char *hit = memmem(p, (size_t)(end - p), s->a.text, s->a.len);
        pc_buf_add(out, p, (size_t)((hit ? hit : end) - p));
        if (!hit)
            return;
        pc_buf_add(out, s->b.text, s->b.len);
        p = hit + s->a.len;
    }
}

static int to_form(
    enum pc_normal_kind kind, const struct pc_buf *in, struct pc_buf *out, struct paco_error *err)
{
    utf8proc_option_t options = UTF8PROC_STABLE;
    options |= kind == PC_NORMAL_NFC || kind == PC_NORMAL_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    options |= kind == PC_NORMAL_NFKC || kind == PC_NORMAL_NFKD ? UTF8PROC_COMPAT : 0;
    // utf8proc allocates its result itself and hands it over to free().
    utf8proc_uint8_t *text = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)in->data, (utf8proc_ssize_t)in->len, &text, options);
    if (n == UTF8PROC_ERROR_NOMEM)
        return pc_error_mem(err, in->len, "a normalised text");
    if (n < 0)
        return pc_error_set(err, PACO_EFORMAT, "normalising a text: %s", utf8proc_errmsg(n));
    pc_buf_add(out, text, (size_t)n);
    pc_free(text);
    return 0;
}

static int apply(
    const struct pc_normal_step *s, const struct pc_buf *in, struct pc_buf *out, struct paco_error *err)
{
    if (in->len == 0)
        return 0;
    switch (s->kind) {
    case PC_NORMAL_PREPEND:
        pc_buf_add(out, s->a.text, s->a.len);
        pc_buf_add(out, in->data, in->len);
        return 0;
    case PC_NORMAL_REPLACE: replace_all(s, in, out); return 0;
    default: return to_form(s->kind, in, out, err);
    }
}

int pc_normalize(const struct pc_normal_step *steps, size_t n_steps, const char *text, size_t len,
    struct pc_buf *work, struct paco_error *err)
{
    struct pc_buf now, then;
    pc_buf_init(&now, PC_MAX_TEXT);
    pc_buf_init(&then, PC_MAX_TEXT);
    pc_buf_add(&now, text, len);
    int rc = 0;
    for (size_t i = 0; i < n_steps && rc == 0; i++) {
        pc_buf_clear(&then);
        rc = apply(&steps[i], &now, &then, err);
        struct pc_buf swap = now;
        now = then;
        then = swap;
        if (rc == 0)
            rc = pc_buf_check(&now, "normalised text", err);
    }
    if (rc == 0)
        pc_buf_add(work, now.data, now.len);
    pc_buf_release(&now);
    pc_buf_release(&then);
    return rc;
}
