// SPDX-License-Identifier: Apache-2.0
/* Added tokens in a text: leftmost first, the longest of those that start at one place, taking white space
 * with them as their flags say. Transformers' slow tokenizers strip the neighbours instead, which comes to
 * the same cuts. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

#include <utf8proc.h>

/* \w of Rust's regular expressions: Alphabetic, marks, decimal digits, connectors, joiners. Alphabetic is
 * letters, letter numbers, most marks, and circled, squared and parenthesised Latin letters. */
static bool is_word(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC ||
           (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) ||
           (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189) || cp == 0x200c ||
           cp == 0x200d;
}

/* The character before text[at]; 0 bytes at the start. Broken UTF-8 counts as single bytes. */
static size_t char_before(const char *text, size_t at, uint32_t *cp)
{
    for (size_t n = 1; n <= 4 && n <= at; n++)
        if (pc_utf8_decode((const uint8_t *)text + at - n, n, cp) == n)
            return n;
    *cp = 0xfffd;
    return at ? 1 : 0;
}

static size_t char_after(const char *text, size_t len, size_t at, uint32_t *cp)
{
    size_t n = at < len ? pc_utf8_decode((const uint8_t *)text + at, len - at, cp) : 0;
    return n || at >= len ? n : 1;
}

static bool is_single_word(const char *text, size_t len, size_t at, size_t end)
{
    uint32_t cp;
    if (char_before(text, at, &cp) && is_word(cp))
        return false;
    return !(char_after(text, len, end, &cp) && is_word(cp));
}

static int add(
    struct pc_stretches *out, size_t at, size_t len, const struct pc_added *added, struct paco_error *err)
{
    if (pc_grow(&out->v, &out->capacity, out->n, sizeof *out->v, "the parts of a text", err) < 0)
        return PACO_EMEM;
    out->v[out->n++] = (struct pc_stretch){at, len, added};
    return 0;
}

int pc_added_split(const struct pc_tokenizer *tok, const struct pc_trie *trie, bool parse, bool python,
    const char *text, size_t len, struct pc_stretches *out, struct paco_error *err)
{
    size_t done = 0; // everything before it is in out
    bool (*const is_space)(uint32_t) = python ? pc_is_python_space : pc_is_white_space;
    uint32_t cp;
    for (size_t i = 0, n; i < len && trie->n_nodes; i += n) {
        int32_t which;
        n = pc_trie_longest(trie, text + i, len - i, &which);
        if (!n) {
            n = 1;
            continue;
        }
        const struct pc_added *a = &tok->added[which];
        size_t start = i, end = i + n;
        if ((a->special && !parse) || (a->single_word && !is_single_word(text, len, start, end)))
            continue;
        for (size_t k; a->lstrip && start > done && (k = char_before(text, start, &cp)) && is_space(cp);)
            start -= k;
        for (size_t k; a->rstrip && (k = char_after(text, len, end, &cp)) && is_space(cp);)
            end += k;
        // White space taken by the token before may itself have been one: nothing is left of it.
        if (start < done)
            start = done;
        if (end < start)
            continue;
        if ((start > done && add(out, done, start - done, NULL, err) < 0) ||
            add(out, start, end - start, a, err) < 0)
            return PACO_EMEM;
        done = end;
    }
    return done < len ? add(out, done, len - done, NULL, err) : 0;
}
