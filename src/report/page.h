// SPDX-License-Identifier: Apache-2.0
/* A report: one HTML file that needs nothing else, no server, no network. Style and script come from page.css
 * and page.js, built into the program.
 *
 *     pc_buf_init(&page, max);
 *     pc_page_begin(&page, "Evaluation of smollm2");
 *     pc_buf_puts(&page, "<h2>Scores</h2>");
 *     pc_page_end(&page);
 *     pc_file_write_atomic(path, page.data, page.len, &err);
 *
 * What is large is kept packed in the page (pc_page_pack) and unpacked by the script when somebody looks at
 * it, so that a report of many thousand items opens at once. Failures stay in the buffer (base/buf.h). */
#ifndef PC_REPORT_PAGE_H
#define PC_REPORT_PAGE_H

#include "base/buf.h"
#include "base/json.h"

#include <stdbool.h>

/** Everything up to the first heading, which is the title. */
void pc_page_begin(struct pc_buf *page, const char *title);
/** The same, titled "WHAT of A, B and C". */
void pc_page_begin_of(struct pc_buf *page, const char *what, const char *const *names, size_t n);
void pc_page_end(struct pc_buf *page);

/** Whether there is a page at path that was made here: it may be replaced by a newer one. */
bool pc_page_is_ours(const char *path);

/** Text, as text: & < > " and ' are escaped; invalid UTF-8 becomes U+FFFD. */
void pc_page_text(struct pc_buf *page, const char *text);

/** A value for the script, found by document.getElementById(id). */
void pc_page_json(struct pc_buf *page, const char *id, const json_t *v);

/** The same, packed (zlib, base64): the script's unpack(id) gives a promise of it. */
int pc_page_pack(struct pc_buf *page, const char *id, const json_t *v, struct paco_error *err);

#endif
