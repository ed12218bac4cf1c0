// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

/* Length and the range of the second byte for each lead byte: Unicode 15, table 3-7. */
static size_t sequence(uint8_t lead, uint8_t *lo, uint8_t *hi)
{
    *lo = 0x80;
    *hi = 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0)
            *lo = 0xa0;
        if (lead == 0xed)
            *hi = 0x9f;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0)
            *lo = 0x90;
        if (lead == 0xf4)
            *hi = 0x8f;
        return 4;
    }
    return 0;
}

size_t pc_utf8_decode(const uint8_t *s, size_t len, uint32_t *cp)
{
    *cp = 0xfffd;
    if (len == 0)
        return 0;
    uint8_t lo, hi;
    size_t n = sequence(s[0], &lo, &hi);
    if (n == 0 || n > len)
        return 0;
    if (n == 1) {
        *cp = s[0];
        return 1;
    }
    if (s[1] < lo || s[1] > hi)
        return 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    *cp = c;
    return n;
}

size_t pc_utf8_encode(uint32_t cp, uint8_t out[4])
{
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xc0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp <= 0xdfff)
            return 0;
        out[0] = (uint8_t)(0xe0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff)
        return 0;
    out[0] = (uint8_t)(0xf0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

bool pc_utf8_valid(const uint8_t *s, size_t len, size_t *bad)
{
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = s[i] < 0x80 ? 1 : pc_utf8_decode(s + i, len - i, &cp);
        if (n == 0) {
            if (bad)
                *bad = i;
            return false;
        }
        i += n;
    }
    return true;
}

size_t pc_utf8_incomplete_tail(const uint8_t *s, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        const uint8_t *p = s + len - back;
        if ((*p & 0xc0) == 0x80)
            continue;
        uint8_t lo, hi;
        size_t n = sequence(*p, &lo, &hi);
        if (n <= back)
            return 0;
        return back >= 2 && (p[1] < lo || p[1] > hi) ? 0 : back;
    }
    return 0;
}

size_t pc_utf8_broken(const uint8_t *s, size_t len)
{
    uint8_t lo, hi;
    size_t want = sequence(s[0], &lo, &hi), n = 1;
    if (want < 2 || len < 2 || s[1] < lo || s[1] > hi)
        return 1;
    while (n < want && n < len && (s[n] & 0xc0) == 0x80)
        n++;
    return n;
}

bool pc_is_harmless(uint32_t cp)
{
    return cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0) && cp != 0x2028 && cp != 0x2029 &&
           !(cp >= 0x202a && cp <= 0x202e) && !(cp >= 0x2066 && cp <= 0x2069);
}

bool pc_is_white_space(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= 9 && cp <= 13) || cp == ' ';
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool pc_is_python_space(uint32_t cp)
{
    return (cp >= 0x1c && cp <= 0x1f) || pc_is_white_space(cp);
}

static size_t last_char(const char *s, size_t len, uint32_t *cp)
{
    for (size_t n = 1; n <= 4 && n <= len; n++)
        if (pc_utf8_decode((const uint8_t *)s + len - n, n, cp) == n)
            return n;
    return 0;
}

void pc_utf8_lstrip(const char **s, size_t *len)
{
    uint32_t cp;
    for (size_t n; (n = pc_utf8_decode((const uint8_t *)*s, *len, &cp)) && pc_is_python_space(cp); *len -= n)
        *s += n;
}

void pc_utf8_rstrip(const char **s, size_t *len)
{
    uint32_t cp;
    for (size_t n; (n = last_char(*s, *len, &cp)) && pc_is_python_space(cp);)
        *len -= n;
}

void pc_utf8_strip(const char **s, size_t *len)
{
    pc_utf8_lstrip(s, len);
    pc_utf8_rstrip(s, len);
}
