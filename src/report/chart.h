// SPDX-License-Identifier: Apache-2.0
/* Charts as SVG inside a page: no script, readable without colour, with a table's meaning for those who do
 * not see them. */
#ifndef PC_REPORT_CHART_H
#define PC_REPORT_CHART_H

#include "base/buf.h"

struct pc_bar {
    const char *label;
    double value, error; /* in the chart's unit; error: a standard error, drawn as a whisker; NAN: none */
    size_t n;            /* of how many things this is the mean; 0: not said */
};

/** Horizontal bars from 0 to max, one below the other, each with its number. mark: a value to be drawn as a
 * line through all (a card's number, chance), or NAN. Bars whose value is NAN are left out. */
void pc_chart_bars(struct pc_buf *page, const char *title, const struct pc_bar *bars, size_t n, double max,
    double mark, const char *mark_name);

#endif
