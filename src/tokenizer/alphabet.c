// SPDX-License-Identifier: Apache-2.0
/* GPT-2's alphabet, in which byte-level vocabularies spell bytes: printable ones are themselves, the others
 * U+0100 and up in order. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

static bool is_printable_byte(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

uint32_t pc_alphabet_char(unsigned byte)
{
    uint32_t n = 0;
    if (is_printable_byte(byte))
        return byte;
    for (unsigned b = 0; b < byte; b++)
        n += !is_printable_byte(b);
    return 0x100 + n;
}

size_t pc_alphabet_encode(const uint8_t *bytes, size_t n, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += pc_utf8_encode(pc_alphabet_char(bytes[i]), (uint8_t *)out + len);
    return len;
}

static int alphabet_byte(uint32_t cp)
{
    if (cp < 0x100)
        return is_printable_byte(cp) ? (int)cp : -1;
    uint32_t n = cp - 0x100;
    for (unsigned b = 0; b < 0x100; b++)
        if (!is_printable_byte(b) && n-- == 0)
            return (int)b;
    return -1;
}

bool pc_alphabet_decode(const char *text, size_t len, char *out, size_t *n_out)
{
    size_t n = 0;
    uint32_t cp;
    for (size_t i = 0, k; i < len; i += k) {
        k = pc_utf8_decode((const uint8_t *)text + i, len - i, &cp);
        int byte = k ? alphabet_byte(cp) : -1;
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
    }
    *n_out = n;
    return true;
}
