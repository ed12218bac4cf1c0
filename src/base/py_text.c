// SPDX-License-Identifier: Apache-2.0
#include "base/py_text.h"

#include "base/json.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#define NO_CHARACTER 0xffffffffu

uint32_t pc_py_take(const char **s, size_t *len)
{
    uint32_t cp;
    size_t n = pc_utf8_decode((const uint8_t *)*s, *len, &cp);
    if (n == 0) {
        n = 1;
        cp = NO_CHARACTER;
    }
    *s += n;
    *len -= n;
    return cp;
}

static utf8proc_category_t category(uint32_t cp)
{
    return cp > 0x10ffff ? UTF8PROC_CATEGORY_CN : utf8proc_category((utf8proc_int32_t)cp);
}

bool pc_py_is_digit(uint32_t cp)
{
    return cp < 0x80 ? cp >= '0' && cp <= '9' : category(cp) == UTF8PROC_CATEGORY_ND;
}

bool pc_py_is_word(uint32_t cp)
{
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return true;
    default: return cp == '_';
    }
}

bool pc_py_is_punctuation(uint32_t cp)
{
    return cp > ' ' && cp < 0x7f && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", (int)cp);
}

/* Unicode's Cased and Case_Ignorable, which utf8proc does not tell: general categories, and these. */
struct range {
    uint32_t first, last;
};
static const struct range other_cased[] = {/* Other_Lowercase and Other_Uppercase */
    {0xaa, 0xaa}, {0xba, 0xba}, {0x2b0, 0x2b8}, {0x2c0, 0x2c1}, {0x2e0, 0x2e4}, {0x345, 0x345},
    {0x37a, 0x37a}, {0x1d2c, 0x1d6a}, {0x1d78, 0x1d78}, {0x1d9b, 0x1dbf}, {0x2071, 0x2071}, {0x207f, 0x207f},
    {0x2090, 0x209c}, {0x2160, 0x217f}, {0x24b6, 0x24e9}, {0x2c7c, 0x2c7d}, {0xa69c, 0xa69d},
    {0xa770, 0xa770}, {0xa7f8, 0xa7f9}, {0xab5c, 0xab5f}, {0x10780, 0x10780}, {0x10783, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
static const struct range other_ignorable[] = {/* Word_Break of MidLetter, MidNumLet, Single_Quote */
    {'\'', '\''}, {'.', '.'}, {':', ':'}, {0xb7, 0xb7}, {0x387, 0x387}, {0x55f, 0x55f}, {0x5f4, 0x5f4},
    {0x2018, 0x2019}, {0x2024, 0x2024}, {0x2027, 0x2027}, {0xfe13, 0xfe13}, {0xfe52, 0xfe52},
    {0xfe55, 0xfe55}, {0xff07, 0xff07}, {0xff0e, 0xff0e}, {0xff1a, 0xff1a}};

static bool in_ranges(uint32_t cp, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n && cp >= r[i].first; i++)
        if (cp <= r[i].last)
            return true;
    return false;
}

static bool is_cased(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           in_ranges(cp, other_cased, sizeof other_cased / sizeof *other_cased);
}

static bool is_ignorable(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK ||
           in_ranges(cp, other_ignorable, sizeof other_ignorable / sizeof *other_ignorable);
}

/* Whether a letter follows, marks and the like passed over. */
static bool letter_follows(const char *s, size_t len)
{
    while (len > 0) {
        uint32_t cp = pc_py_take(&s, &len);
        if (!is_ignorable(cp))
            return is_cased(cp);
    }
    return false;
}

static void add_char(struct pc_buf *out, uint32_t cp)
{
    uint8_t bytes[4];
    pc_buf_add(out, bytes, pc_utf8_encode(cp, bytes));
}

void pc_py_lower(struct pc_buf *out, const char *s, size_t len)
{
    bool after_letter = false; // the last character that is not ignorable was cased
    while (len > 0) {
        const char *at = s;
        uint32_t cp = pc_py_take(&s, &len);
        if (cp == 0x130) {
            add_char(out, 'i');
            add_char(out, 0x307);
        } else if (cp == 0x3a3) {
            add_char(out, after_letter && !letter_follows(s, len) ? 0x3c2 : 0x3c3);
        } else if (cp > 0x10ffff) {
            pc_buf_putc(out, *at);
        } else {
            add_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
        }
        if (!is_ignorable(cp))
            after_letter = is_cased(cp);
    }
}

bool pc_py_next_field(const char **s, size_t *len, const char **field, size_t *field_len)
{
    pc_utf8_lstrip(s, len);
    *field = *s;
    while (*len > 0) {
        const char *rest = *s;
        size_t n_rest = *len;
        if (pc_is_python_space(pc_py_take(&rest, &n_rest)))
            break;
        *s = rest;
        *len = n_rest;
    }
    *field_len = (size_t)(*s - *field);
    return *field_len > 0;
}

void pc_py_float(struct pc_buf *out, double x)
{
    if (isnan(x))
        pc_buf_puts(out, "nan");
    else if (isinf(x))
        pc_buf_puts(out, x < 0 ? "-inf" : "inf");
    else
        pc_json_write_double(out, x);
}
