// SPDX-License-Identifier: Apache-2.0
/* The model card's table: eleven settings of six benchmarks, the card's own numbers beside ours, and the
 * average, which is the mean over the benchmarks of the mean over each one's settings (the reference's
 * section 8). */
#ifndef PC_EVAL_CARD_H
#define PC_EVAL_CARD_H

#include "eval/run.h"

enum { PC_CARD_SETTINGS = 11 };

/** A column. The first members say what the card measured. */
struct pc_card_setting {
    const char *task, *benchmark, *setting; /* as the table's head has them: "MMLU", "0-shot" */
    double score;                           /* the card's */
    int n;                                  /* questions it was measured on */
    bool drawn; /* the card's own questions were drawn in an order nobody knows: ours are as many others */
};
extern const struct pc_card_setting pc_card_settings[PC_CARD_SETTINGS];

/** The card's standard error is nowhere stated. What it is at most: an answer's score lies in [0, 1], so that
 * its variance is at most p (1 - p). 0 to 100, as all numbers here. */
double pc_card_error(const struct pc_card_setting *s);

struct pc_card_cell {
    bool measured; /* score is a number */
    double score, se;
    bool judged;        /* by a judge, who may not have given a usable reply */
    bool is_perplexity; /* score is no share of 100; in no column */
    size_t n_items, n_failed;
    /** Why the number is not to be held against the card's (static, or a view into the results), or NULL. */
    const char *differs;
};

/** Columns as pc_card_settings. Start from zero. */
struct pc_card {
    struct pc_card_cell v[PC_CARD_SETTINGS];
};

/** Put a result in its column, if it has one: a judge's of AlpacaFarm's answers in that column. What
 * cell.differs points to lives as long as the result. */
void pc_card_add(struct pc_card *card, const struct pc_eval_result *result);

/** The average of eleven numbers in the columns' order, NAN while one is missing; and that of the card's own.
 * Unrounded. */
double pc_card_average(const double scores[PC_CARD_SETTINGS]);

double pc_card_own_average(void);

/** x with one decimal, half up: 23.25 is "23.3", as the card has it, where printf gives 23.2. "-" for NAN.
 * Returns out. */
char *pc_card_round(double x, char out[16]);

/** What card.json holds; *owned*, NULL when memory is out. */
json_t *pc_card_json(const struct pc_card *card);

#endif
