// SPDX-License-Identifier: Apache-2.0
/* ROUGE-L of one text against many that are known: is it new? As the rouge_score package computes it, without
 * stemming: words are runs of a-z and 0-9 of the lower-cased text. The longest common subsequence is found 64
 * words at a time (Crochemore et al. 2001; Hyyrö 2004), by all threads. */
#ifndef PC_DATA_ROUGE_H
#define PC_DATA_ROUGE_H

#include "base/error.h"
#include "base/threads.h"

#include <stddef.h>

/** Words of a text: comparing one takes a bit for each pair of its different words and its words, 32 MiB. */
enum { PC_ROUGE_MAX_WORDS = 1 << 14 };

struct pc_rouge;

/** An empty collection. pool (may be NULL) is borrowed for its life. *owned*: pc_rouge_free. */
struct pc_rouge *pc_rouge_new(struct pc_pool *pool, struct paco_error *err);
void pc_rouge_free(struct pc_rouge *r);
/** Add a text; its number is how many were added before. PACO_ELIMIT above PC_ROUGE_MAX_WORDS. */
int pc_rouge_add(struct pc_rouge *r, const char *text, size_t len, struct paco_error *err);
size_t pc_rouge_n(const struct pc_rouge *r);
/** The F measure of text against each of those added, into scores (pc_rouge_n of them). PACO_ELIMIT likewise.
 */
int pc_rouge_scores(struct pc_rouge *r, const char *text, size_t len, double *scores, struct paco_error *err);

#endif
