// SPDX-License-Identifier: Apache-2.0
/* PCRE2 stands in for Oniguruma, whose dialect tokenizer.json speaks. The two differ in what their classes
 * hold, so the classes are written out: \s is White_Space (PCRE2 adds U+180E), \w has marks and connectors,
 * and \p{L}, \p{M}, \p{N}, \p{P} get the characters of Unicode 15 and 16. What cannot be said in PCRE2
 * (nested classes, &&, \h) is refused.
 *
 * Work is bounded twice. A single search has a match limit that starts low and grows tenfold when hit, up to
 * what is left of a budget of steps for the whole text: honest expressions never notice, and a hostile one
 * ends in an error after a time in proportion to the text. Depth and heap of the interpreter are bounded as
 * well; the JIT code is used when there is one, and a search that needs more than its small stack is done
 * again by the interpreter. */
#include "tokenizer/regex.h"

#include "base/buf.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/regex_unicode.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    MAX_PATTERN = 32 * 1024,
    FIRST_LIMIT = 1000,   /* steps of a search nobody needs to account for */
    HEAP_KIB = 64 * 1024, /* of the interpreter */
    DEPTH = 100000,
};
static const uint64_t BUDGET_BASE = 2 * 1000 * 1000, BUDGET_PER_BYTE = 128;

struct pc_regex {
    pcre2_code *code;
};

struct pc_regex_run {
    const struct pc_regex *re; /* borrowed */
    pcre2_match_data *match;
    pcre2_match_context *context;
    uint64_t budget;
};

/* ---- dialect ---- */

#define SPACES                                                                                               \
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACES                                                                                           \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}" \
    "-\\x{2027}"                                                                                             \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define LETTERS "\\p{L}" PC_UNICODE_NEW_L
#define MARKS "\\p{M}" PC_UNICODE_NEW_M
#define DIGITS "\\p{Nd}" PC_UNICODE_NEW_Nd
#define WORD LETTERS MARKS DIGITS "\\p{Pc}"

struct dialect {
    const char *p, *begin, *end;
    struct pc_buf *out;
    bool in_class;
    struct paco_error *err;
};

static int refuse(struct dialect *d, const char *what)
{
    return pc_error_set(d->err, PACO_EUNSUPPORTED, "regular expression: %s at byte %zu is not supported",
        what, (size_t)(d->p - d->begin));
}

/* A set of characters, given as the inside of a class. */
static void put_set(struct dialect *d, const char *inside, bool negated)
{
    if (!d->in_class)
        pc_buf_puts(d->out, negated ? "[^" : "[");
    pc_buf_puts(d->out, inside);
    if (!d->in_class)
        pc_buf_putc(d->out, ']');
}

/* \p{L}, \pL, \P{L}, \p{^L}: the four general categories in use get their new members; others go as they are.
 */
static int put_property(struct dialect *d)
{
    static const struct {
        const char *name, *inside;
    } known[] = {
        {"L", LETTERS},
        {"Lu", "\\p{Lu}" PC_UNICODE_NEW_Lu},
        {"Ll", "\\p{Ll}" PC_UNICODE_NEW_Ll},
        {"Lm", "\\p{Lm}" PC_UNICODE_NEW_Lm},
        {"Lo", "\\p{Lo}" PC_UNICODE_NEW_Lo},
        {"M", MARKS},
        {"Mn", "\\p{Mn}" PC_UNICODE_NEW_Mn},
        {"Mc", "\\p{Mc}" PC_UNICODE_NEW_Mc},
        {"N", "\\p{N}" PC_UNICODE_NEW_N},
        {"Nd", DIGITS},
        {"No", "\\p{No}" PC_UNICODE_NEW_No},
        {"P", "\\p{P}" PC_UNICODE_NEW_P},
        {"Pd", "\\p{Pd}" PC_UNICODE_NEW_Pd},
        {"Po", "\\p{Po}" PC_UNICODE_NEW_Po},
        {"S", "\\p{S}" PC_UNICODE_NEW_S},
        {"Sm", "\\p{Sm}" PC_UNICODE_NEW_Sm},
        {"So", "\\p{So}" PC_UNICODE_NEW_So},
    };
    const char *q = d->p + 2;
    bool negated = d->p[1] == 'P', braces = q < d->end && *q == '{';
    q += braces;
    if (braces && q < d->end && *q == '^') {
        negated = !negated;
        q++;
    }
    const char *name = q, *stop = braces ? memchr(q, '}', (size_t)(d->end - q)) : q + 1;
    if (!stop || q >= d->end)
        return refuse(d, "an unfinished \\p");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == (size_t)(stop - name) &&
            memcmp(name, known[i].name, (size_t)(stop - name)) == 0 && !(negated && d->in_class)) {
            put_set(d, known[i].inside, negated);
            d->p = stop + braces;
            return 0;
        }
    pc_buf_printf(d->out, "\\%c{%.*s}", negated ? 'P' : 'p', (int)(stop - name), name);
    d->p = stop + braces;
    return 0;
}

static int put_escape(struct dialect *d)
{
    if (d->p + 1 >= d->end)
        return refuse(d, "a lone backslash");
    switch (d->p[1]) {
    case 'p':
    case 'P': return put_property(d);
    case 's': put_set(d, SPACES, false); break;
    case 'S': put_set(d, NOT_SPACES, false); break;
    case 'w': put_set(d, WORD, false); break;
    case 'd': put_set(d, DIGITS, false); break;
    case 'D':
    case 'W':
        if (d->in_class)
            return refuse(d, "\\D or \\W in a class");
        put_set(d, d->p[1] == 'D' ? DIGITS : WORD, true);
        break;
    case 'u':
        if (d->end - d->p < 6)
            return refuse(d, "an unfinished \\u");
        pc_buf_printf(d->out, "\\x{%.4s}", d->p + 2);
        d->p += 6;
        return 0;
    case 'h':
    case 'H':
    case 'R':
    case 'X':
    case 'K':
    case 'C': return refuse(d, "this escape");
    default: pc_buf_add(d->out, d->p, 2);
    }
    d->p += 2;
    return 0;
}

static int put_class_char(struct dialect *d)
{
    if (*d->p == '[' && !(d->p + 1 < d->end && d->p[1] == ':'))
        return refuse(d, "a class in a class");
    if (*d->p == '[') {
        const char *stop = memchr(d->p, ']', (size_t)(d->end - d->p));
        if (!stop)
            return refuse(d, "an unfinished class");
        pc_buf_add(d->out, d->p, (size_t)(stop + 1 - d->p));
        d->p = stop + 1;
        return 0;
    }
    if (d->end - d->p >= 2 && memcmp(d->p, "&&", 2) == 0)
        return refuse(d, "&& in a class");
    d->in_class = *d->p != ']';
    pc_buf_putc(d->out, *d->p++);
    return 0;
}

static int translate(struct dialect *d)
{
    while (d->p < d->end) {
        int rc = 0;
        if (*d->p == '\\') {
            rc = put_escape(d);
        } else if (d->in_class) {
            rc = put_class_char(d);
        } else if (*d->p == '(' && d->end - d->p >= 2 && d->p[1] == '*') {
            rc = refuse(d, "(*");
        } else {
            d->in_class = *d->p == '[';
            pc_buf_putc(d->out, *d->p++);
            // A ']' right behind the opening is a member, as is one behind '^'.
            if (d->in_class && d->p < d->end && *d->p == '^')
                pc_buf_putc(d->out, *d->p++);
            if (d->in_class && d->p < d->end && *d->p == ']') {
                pc_buf_puts(d->out, "\\]");
                d->p++;
            }
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* \Q...\E would end early at a literal "\E", so every ASCII character that is not of a word is escaped
 * instead. */
static void put_literal(struct pc_buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool word = c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (c < 0x20)
            pc_buf_printf(out, "\\x{%x}", c);
        else if (word)
            pc_buf_putc(out, text[i]);
        else
            pc_buf_printf(out, "\\%c", c);
    }
}

/* ---- compiling ---- */

static void *take(size_t size, void *ctx)
{
    (void)ctx;
    return pc_alloc(size, 1);
}

static void give(void *p, void *ctx)
{
    (void)ctx;
    pc_free(p);
}

static int compile(struct pc_regex *re, const char *pattern, size_t len, struct paco_error *err)
{
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    int code = 0;
    size_t at = 0;
    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(context, 100);
        re->code = pcre2_compile((PCRE2_SPTR)pattern, len,
            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY, &code,
            &at, context);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (re->code) {
        // Without JIT (a platform that has none, or forbids it) the interpreter gives the same matches.
        (void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
        return 0;
    }
    if (!code || code == PCRE2_ERROR_HEAP_FAILED)
        return pc_error_mem(err, len, "a regular expression");
    PCRE2_UCHAR why[128] = "";
    pcre2_get_error_message(code, why, sizeof why);
    return pc_error_set(err, PACO_EFORMAT, "regular expression: %s", (const char *)why);
}

struct pc_regex *pc_regex_new(const char *pattern, size_t len, bool literal, struct paco_error *err)
{
    size_t bad;
    if (len > MAX_PATTERN || len == 0) {
        pc_error_set(
            err, PACO_ELIMIT, "regular expression of %zu bytes: 1 to %d are allowed", len, MAX_PATTERN);
        return NULL;
    }
    if (!pc_utf8_valid((const uint8_t *)pattern, len, &bad)) {
        pc_error_set(err, PACO_EFORMAT, "regular expression: invalid UTF-8 at byte %zu", bad);
        return NULL;
    }
    struct pc_buf out;
    pc_buf_init(&out, 64 << 20);
    struct dialect d = {pattern, pattern, pattern + len, &out, false, err};
    struct pc_regex *re = pc_alloc_zero(1, sizeof *re);
    int rc = re ? 0 : pc_error_mem(err, sizeof *re, "a regular expression");
    if (rc == 0 && literal)
        put_literal(&out, pattern, len);
    else if (rc == 0)
        rc = translate(&d);
    if (rc == 0)
        rc = pc_buf_check(&out, "regular expression", err);
    if (rc == 0)
        rc = compile(re, out.data, out.len, err);
    if (rc < 0) {
        pc_free(re);
        re = NULL;
    }
    pc_buf_release(&out);
    return re;
}

void pc_regex_free(struct pc_regex *re)
{
    if (re)
        pcre2_code_free(re->code);
    pc_free(re);
}

/* ---- searching ---- */

struct pc_regex_run *pc_regex_run_new(const struct pc_regex *re, size_t total_len, struct paco_error *err)
{
    struct pc_regex_run *run = pc_alloc_zero(1, sizeof *run);
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    if (run && general) {
        run->re = re;
        run->budget = BUDGET_BASE + BUDGET_PER_BYTE * total_len;
        run->match = pcre2_match_data_create(1, general);
        run->context = pcre2_match_context_create(general);
    }
    pcre2_general_context_free(general);
    if (!run || !run->match || !run->context) {
        pc_regex_run_free(run);
        pc_error_mem(err, sizeof *run, "a search");
        return NULL;
    }
    pcre2_set_depth_limit(run->context, DEPTH);
    pcre2_set_heap_limit(run->context, HEAP_KIB);
    return run;
}

void pc_regex_run_free(struct pc_regex_run *run)
{
    if (!run)
        return;
    pcre2_match_data_free(run->match);
    pcre2_match_context_free(run->context);
    pc_free(run);
}

static bool limited(int rc)
{
    return rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT;
}

static int search(struct pc_regex_run *run, const char *text, size_t len, size_t from, uint32_t limit)
{
    pcre2_set_match_limit(run->context, limit);
    int rc =
        pcre2_match(run->re->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, run->match, run->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(run->re->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
            run->match, run->context);
    return rc;
}

int pc_regex_next(struct pc_regex_run *run, const char *text, size_t len, size_t from, size_t *start,
    size_t *end, struct paco_error *err)
{
    uint64_t limit = FIRST_LIMIT;
    int rc = search(run, text, len, from, FIRST_LIMIT);
    while (rc == PCRE2_ERROR_MATCHLIMIT && run->budget > limit) {
        limit = limit * 10 < run->budget ? limit * 10 : run->budget;
        if (limit > UINT32_MAX)
            limit = UINT32_MAX;
        run->budget -= limit;
        rc = search(run, text, len, from, (uint32_t)limit);
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (limited(rc))
        return pc_error_set(err, PACO_ELIMIT,
            "a regular expression of this tokenizer takes too long on this text (stopped %zu bytes into a "
            "part of %zu)",
            from, len);
    if (rc < 0)
        return rc == PCRE2_ERROR_NOMEMORY
                   ? pc_error_mem(err, len, "a search")
                   : pc_error_set(err, PACO_EFORMAT,
                         "a regular expression of this tokenizer fails with PCRE2's error %d", rc);
    const size_t *found = pcre2_get_ovector_pointer(run->match);
    *start = found[0];
    *end = found[1];
    // A look-around that puts the start behind the end, as \K can, is not a match to split at.
    return found[0] <= found[1] && found[0] >= from ? 1 : 0;
}
