// SPDX-License-Identifier: Apache-2.0
/* SentencePiece's normaliser: user-defined symbols pass untouched, the charsmap rewrites the longest rule
 * that matches, broken bytes become U+FFFD one by one; then white space is trimmed, marked, and given its
 * prefix.
 *
 * The charsmap is a Darts double array. It comes from a file, so every index is checked against the array's
 * size, and a replacement must start and end inside its blob. Source: sentencepiece 0.2, src/normalizer.cc;
 * darts-clone for the layout of a unit. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

struct charsmap {
    const uint8_t *units; /* little-endian u32 each */
    size_t n_units;
    const char *blob;
    size_t blob_size;
};

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static struct charsmap charsmap_of(const struct pc_spm_rules *rules)
{
    if (!rules->charsmap_size)
        return (struct charsmap){0};
    const uint8_t *p = rules->charsmap;
    size_t trie_size = read_u32(p);
    return (struct charsmap){
        p + 4, trie_size / 4, (const char *)p + 4 + trie_size, rules->charsmap_size - 4 - trie_size};
}

int pc_spm_check_charsmap(const void *charsmap, size_t size, struct paco_error *err)
{
    if (size == 0)
        return 0;
    if (size <= 4)
        return pc_error_set(
            err, PACO_EFORMAT, "precompiled_charsmap has %zu bytes, too few for its header", size);
    uint32_t trie_size = read_u32(charsmap);
    if (trie_size >= size - 4 || trie_size < 4 || trie_size % 4)
        return pc_error_set(err, PACO_EFORMAT,
            "precompiled_charsmap has %zu bytes, but says its trie takes %u: it is truncated or damaged",
            size, trie_size);
    const char *blob = (const char *)charsmap + 4 + trie_size;
    size_t blob_size = size - 4 - trie_size, bad;
    if (blob[blob_size - 1] != '\0' || !pc_utf8_valid((const uint8_t *)blob, blob_size, &bad))
        return pc_error_set(
            err, PACO_EFORMAT, "precompiled_charsmap: its replacements are not NUL-terminated UTF-8");
    return 0;
}

static bool unit_at(const struct charsmap *c, uint32_t i, uint32_t *unit)
{
    if (i >= c->n_units)
        return false;
    *unit = read_u32(c->units + 4 * (size_t)i);
    return true;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The longest rule at the start of s: bytes it takes (0: none) and its replacement. */
static size_t find_rule(const struct charsmap *c, const char *s, size_t len, struct pc_span *to)
{
    uint32_t unit, at = 0, leaf;
    size_t best = 0;
    if (!unit_at(c, 0, &unit))
        return 0;
    at ^= offset_of(unit);
    for (size_t i = 0; i < len; i++) {
        at ^= (uint8_t)s[i];
        if (!unit_at(c, at, &unit) || (unit & (1u << 31 | 0xff)) != (uint8_t)s[i])
            break;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (!unit_at(c, at, &leaf) || (leaf & 0x7fffffffu) >= c->blob_size)
            break;
        best = i + 1;
        to->text = c->blob + (leaf & 0x7fffffffu);
    }
    if (best)
        to->len = strlen(to->text); // ends inside the blob, whose last byte is NUL
    return best;
}

/* What the next character or rule at s becomes; returns the bytes it takes. */
static size_t next_part(
    const struct pc_tokenizer *tok, const struct charsmap *c, const char *s, size_t len, struct pc_span *to)
{
    int32_t id;
    uint32_t cp;
    size_t n = tok->user_defined.n_nodes ? pc_trie_longest(&tok->user_defined, s, len, &id) : 0;
    if (!n && c->n_units && (n = find_rule(c, s, len, to)))
        return n;
    if (!n)
        n = (uint8_t)*s < 0x80 ? 1 : pc_utf8_decode((const uint8_t *)s, len, &cp);
    if (!n) {
        *to = (struct pc_span){REPLACEMENT, 3};
        return 1;
    }
    *to = (struct pc_span){s, n};
    return n;
}

static void put(const struct pc_spm_rules *rules, struct pc_span part, struct pc_buf *work)
{
    for (size_t i = 0; i < part.len; i++) {
        if (part.text[i] == ' ' && rules->escape_whitespaces)
            pc_buf_add(work, PC_SPACE_MARK, 3);
        else
            pc_buf_putc(work, part.text[i]);
    }
}

static void trim_end(const struct pc_spm_rules *rules, size_t from, struct pc_buf *work)
{
    const char *space = rules->escape_whitespaces ? PC_SPACE_MARK : " ";
    size_t n = strlen(space);
    while (work->len - from >= n && memcmp(work->data + work->len - n, space, n) == 0)
        work->len -= n;
}

int pc_spm_normalize(const struct pc_tokenizer *tok, const char *text, size_t len, bool prefix,
    struct pc_buf *work, struct paco_error *err)
{
    const struct pc_spm_rules *rules = &tok->spm;
    const struct charsmap c = charsmap_of(rules);
    const char *p = text, *end = text + len;
    const size_t from = work->len;
    struct pc_span part;
    while (rules->remove_extra_whitespaces && p < end) {
        size_t n = next_part(tok, &c, p, (size_t)(end - p), &part);
        if (part.len != 1 || *part.text != ' ')
            break;
        p += n;
    }
    if (p == end)
        return 0;
    const struct pc_span space = {" ", 1};
    prefix = prefix && rules->add_dummy_prefix;
    if (prefix && !rules->whitespace_as_suffix)
        put(rules, space, work);
    bool after_space = rules->remove_extra_whitespaces;
    while (p < end) {
        p += next_part(tok, &c, p, (size_t)(end - p), &part);
        for (; after_space && part.len && *part.text == ' '; part.len--)
            part.text++;
        if (!part.len)
            continue;
        put(rules, part, work);
        after_space = rules->remove_extra_whitespaces && part.text[part.len - 1] == ' ';
    }
    if (rules->remove_extra_whitespaces && !work->failed)
        trim_end(rules, from, work);
    if (prefix && rules->whitespace_as_suffix)
        put(rules, space, work);
    return pc_buf_check(work, "normalised text", err);
}
