// SPDX-License-Identifier: Apache-2.0
/* The chat page: one HTML file with its style and script, built into the program from src/serve/chat by
 * tools/chat-page. It asks for nothing but the server's own routes (v1/models, v1/chat/completions), by
 * relative addresses, so that it works below a prefix too.
 *
 * Who serves it sends `headers` with either form, and with a 304 to an If-None-Match that has the etag. The
 * policy among them names style and script by their hashes: a page changed on its way, or a text that got
 * into it, runs nothing. The page may be seen by anybody; it is the API behind it that asks for the key. */
#ifndef PC_SERVE_CHAT_PAGE_H
#define PC_SERVE_CHAT_PAGE_H

#include <stddef.h>

struct pc_chat_page {
    const unsigned char *html; /* UTF-8, html_size bytes, no NUL after them */
    size_t html_size;
    const unsigned char *gzip; /* the same packed, for who accepts it: add "Content-Encoding: gzip" */
    size_t gzip_size;
    const char *const (*headers)[2]; /* name and value, up to a NULL name; Content-Type and ETag among them */
    const char *etag;                /* weak, with its quotes */
};
extern const struct pc_chat_page pc_chat_page;

#endif
