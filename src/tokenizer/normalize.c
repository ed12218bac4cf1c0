// SPDX-License-Identifier: Apache-2.0
/* The normaliser of tokenizer.json, as far as the family uses it: prepend, replace, and Unicode's four forms.
 */
#include "base/utf8.h"
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

/* The tokenizers library normalises by Unicode 9, utf8proc 2.8 by Unicode 15. What came between combines with
 * nothing and stays in its place there, so it parts the text here. Found by comparing the two on every
 * character that decomposes or has a combining class. */
static const struct {
    uint32_t first, last;
} inert[] = {{0x7fd, 0x7fd}, {0x898, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xc3c, 0xc3c}, {0xd3b, 0xd3c},
    {0xeba, 0xeba}, {0x1715, 0x1715}, {0x1abf, 0x1ace}, {0x1df6, 0x1dfa}, {0x32ff, 0x32ff}, {0xa7f2, 0xa7f4},
    {0xa82c, 0xa82c}, {0xab69, 0xab69}, {0x10781, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba},
    {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930},
    {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9}};

static bool is_inert(uint32_t cp)
{
    for (size_t i = 0; i < sizeof inert / sizeof *inert && cp >= inert[i].first; i++)
        if (cp <= inert[i].last)
            return true;
    return false;
}

static int put_form(
    enum pc_normal_kind kind, const char *text, size_t len, struct pc_buf *out, struct paco_error *err)
{
    utf8proc_option_t options = UTF8PROC_STABLE;
    options |= kind == PC_NORMAL_NFC || kind == PC_NORMAL_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    options |= kind == PC_NORMAL_NFKC || kind == PC_NORMAL_NFKD ? UTF8PROC_COMPAT : 0;
    if (len == 0)
        return 0;
    // utf8proc allocates its result itself and hands it over to free().
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &form, options);
    if (n == UTF8PROC_ERROR_NOMEM)
        return pc_error_mem(err, len, "a normalised text");
    if (n < 0)
        return pc_error_set(err, PACO_EFORMAT, "normalising a text: %s", utf8proc_errmsg(n));
    pc_buf_add(out, form, (size_t)n);
    pc_free(form);
    return 0;
}

static int to_form(
    enum pc_normal_kind kind, const struct pc_buf *in, struct pc_buf *out, struct paco_error *err)
{
    size_t done = 0;
    int rc = 0;
    for (size_t i = 0, n; i < in->len && rc == 0; i += n) {
        uint32_t cp = (uint8_t)in->data[i];
        n = cp < 0x80 ? 1 : pc_utf8_decode((const uint8_t *)in->data + i, in->len - i, &cp);
        n = n ? n : 1;
        if (cp < inert[0].first || !is_inert(cp))
            continue;
        rc = put_form(kind, in->data + done, i - done, out, err);
        pc_buf_add(out, in->data + i, n);
        done = i + n;
    }
    return rc == 0 ? put_form(kind, in->data + done, in->len - done, out, err) : rc;
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
