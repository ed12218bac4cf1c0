// SPDX-License-Identifier: Apache-2.0
#include "report/page.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <libdeflate.h>
#include <string.h>

/* Made of page.css and page.js by tools/embed. */
extern const char pc_page_css[], pc_page_js[];

#define GENERATOR "<meta name=\"generator\" content=\"paco\">"

enum { LEVEL = 9, MAX_PACKED = 1 << 28 };

void pc_page_begin(struct pc_buf *page, const char *title)
{
    pc_buf_puts(page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" GENERATOR "\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>");
    pc_page_text(page, title);
    pc_buf_puts(page, "</title>\n<style>\n");
    pc_buf_puts(page, pc_page_css);
    pc_buf_puts(page, "</style>\n</head>\n<body>\n<main>\n<h1>");
    pc_page_text(page, title);
    pc_buf_puts(page, "</h1>\n");
}

void pc_page_begin_of(struct pc_buf *page, const char *what, const char *const *names, size_t n)
{
    struct pc_buf title;
    pc_buf_init(&title, 1 << 16);
    pc_buf_printf(&title, "%s of ", what);
    for (size_t i = 0; i < n; i++)
        pc_buf_printf(&title, "%s%s", i ? (i + 1 < n ? ", " : " and ") : "", names[i]);
    pc_page_begin(page, pc_buf_check(&title, what, NULL) == 0 ? title.data : what);
    pc_buf_release(&title);
}

void pc_page_end(struct pc_buf *page)
{
    pc_buf_puts(page, "</main>\n<script>\n");
    pc_buf_puts(page, pc_page_js);
    pc_buf_puts(page, "</script>\n</body>\n</html>\n");
}

bool pc_page_is_ours(const char *path)
{
    char head[1024] = "";
    struct pc_file f = {.fd = -1};
    if (pc_file_open(&f, path, NULL) == 0)
        (void)pc_file_read(&f, 0, head, f.size < sizeof head - 1 ? (size_t)f.size : sizeof head - 1, NULL);
    pc_file_close(&f);
    return strstr(head, GENERATOR) != NULL;
}

static const char *entity(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

void pc_page_text(struct pc_buf *page, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp;
        n = pc_utf8_decode((const uint8_t *)text + i, len - i, &cp);
        const char *name = entity(text[i]);
        if (n == 0) {
            n = pc_utf8_broken((const uint8_t *)text + i, len - i);
            pc_buf_puts(page, "\xef\xbf\xbd");
        } else if (name)
            pc_buf_puts(page, name);
        else
            pc_buf_add(page, text + i, n);
    }
}

void pc_page_json(struct pc_buf *page, const char *id, const json_t *v)
{
    struct pc_buf b;
    pc_buf_init(&b, page->max);
    pc_json_write(&b, v, PC_JSON_COMPACT);
    pc_buf_printf(page, "<script type=\"application/json\" id=\"%s\">", id);
    // Inside a string, where alone it can be, a < is spelt so that no </script> can come about.
    for (const char *s = b.data, *lt; s && *s; s = lt ? lt + 1 : s + strlen(s)) {
        lt = strchr(s, '<');
        pc_buf_add(page, s, lt ? (size_t)(lt - s) : strlen(s));
        if (lt)
            pc_buf_puts(page, "\\u003c");
    }
    pc_buf_puts(page, "</script>\n");
    page->failed |= b.failed;
    pc_buf_release(&b);
}

static void put_base64(struct pc_buf *page, const unsigned char *s, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = pc_buf_reserve(page, (n + 2) / 3 * 4);
    if (!out)
        return;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v =
            (uint32_t)s[i] << 16 | (i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0) | (i + 2 < n ? s[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            *out++ = i + (size_t)k > n ? '=' : digits[v >> (18 - 6 * k) & 63];
    }
    page->len += (n + 2) / 3 * 4;
    page->data[page->len] = '\0';
}

int pc_page_pack(struct pc_buf *page, const char *id, const json_t *v, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_PACKED);
    pc_json_write(&b, v, PC_JSON_COMPACT);
    int rc = pc_buf_check(&b, "a part of a report", err);
    struct libdeflate_compressor *c = rc == 0 ? libdeflate_alloc_compressor(LEVEL) : NULL;
    size_t bound = c ? libdeflate_zlib_compress_bound(c, b.len) : 0;
    unsigned char *packed = c ? pc_alloc(bound, 1) : NULL;
    if (rc == 0 && !packed)
        rc = pc_error_mem(err, bound, "a part of a report");
    if (rc == 0) {
        size_t n = libdeflate_zlib_compress(c, b.data, b.len, packed, bound);
        pc_buf_printf(page, "<script type=\"text/plain\" id=\"%s\">", id);
        put_base64(page, packed, n);
        pc_buf_puts(page, "</script>\n");
    }
    pc_free(packed);
    libdeflate_free_compressor(c);
    pc_buf_release(&b);
    return rc;
}
