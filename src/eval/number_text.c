// SPDX-License-Identifier: Apache-2.0
#include "eval/number_text.h"

#include "base/py_text.h"
#include "base/utf8.h"

#include <stdlib.h>

/* The bytes of the digit that text begins with, or 0. */
static size_t digit_at(struct pc_text text)
{
    size_t left = text.len;
    return text.len > 0 && pc_py_is_digit(pc_py_take(&text.v, &left)) ? text.len - left : 0;
}

static struct pc_text after(struct pc_text text, size_t n)
{
    return (struct pc_text){text.v + n, text.len - n};
}

/* The bytes of all digits that text begins with. */
static size_t digits_at(struct pc_text text)
{
    size_t n = 0;
    for (size_t d; (d = digit_at(after(text, n))); n += d)
        ;
    return n;
}

void pc_drop_commas(struct pc_buf *out, struct pc_text text)
{
    while (text.len > 0) {
        size_t n = digit_at(text);
        size_t next = n && n < text.len && text.v[n] == ',' ? digit_at(after(text, n + 1)) : 0;
        if (next) {
            pc_buf_add(out, text.v, n);
            pc_buf_add(out, text.v + n + 1, next);
            text = after(text, n + 1 + next);
        } else {
            pc_buf_add(out, text.v, n ? n : 1);
            text = after(text, n ? n : 1);
        }
    }
}

/* The bytes of the match that begins here, or 0. */
static size_t number_at(struct pc_text text, bool sign_fits)
{
    bool sign = text.v[0] == '-' || text.v[0] == '+';
    size_t whole = sign + digits_at(after(text, sign));
    if (whole < text.len && text.v[whole] == '.') {
        size_t decimals = digits_at(after(text, whole + 1));
        if (decimals)
            return whole + 1 + decimals;
    }
    return sign && !sign_fits ? 0 : whole > sign ? whole : 0;
}

struct pc_text pc_last_number(struct pc_text text, bool signs)
{
    struct pc_text last = {NULL, 0};
    bool behind_word = false;
    while (text.len > 0) {
        size_t n = number_at(text, signs && !behind_word);
        if (n) {
            last = (struct pc_text){text.v, n};
            text = after(text, n);
            behind_word = true;
        } else {
            behind_word = pc_py_is_word(pc_py_take(&text.v, &text.len));
        }
    }
    return last;
}

/* 0 to 9. Digits come in runs of ten, in Unicode: the place in one tells the value. */
static int digit_value(uint32_t cp)
{
    uint32_t first = cp;
    while (first > 0 && pc_py_is_digit(first - 1))
        first--;
    return (int)((cp - first) % 10);
}

bool pc_number_value(struct pc_text text, double *out)
{
    enum { MAX_NUMBER = 1000 };
    char plain[MAX_NUMBER + 1], *end;
    size_t n = 0;
    pc_utf8_strip(&text.v, &text.len);
    while (text.len > 0 && n < MAX_NUMBER) {
        uint32_t cp = pc_py_take(&text.v, &text.len);
        if (pc_py_is_digit(cp))
            plain[n++] = (char)('0' + digit_value(cp));
        else if (cp == '.' || ((cp == '-' || cp == '+') && n == 0))
            plain[n++] = (char)cp;
        else
            return false;
    }
    plain[n] = '\0';
    *out = strtod(plain, &end);
    return n > 0 && text.len == 0 && end == plain + n;
}
