// SPDX-License-Identifier: Apache-2.0
/* Charts as SVG inside a page: no script, readable without colour, with a table's meaning for those who do
 * not see them. */
#ifndef PC_REPORT_CHART_H
#define PC_REPORT_CHART_H

#include "base/buf.h"

#include <stdbool.h>

struct pc_bar {
    const char *label;
    double value, error; /* in the chart's unit; error: a standard error, drawn as a whisker; NAN: none */
    double low, high;    /* an interval instead, where error is NAN and high above low */
    size_t n;            /* of how many things this is the mean; 0: not said */
};

/** Horizontal bars from 0 to max, one below the other, each with its number. mark: a value to be drawn as a
 * line through all (a card's number, chance), or NAN. Bars whose value is NAN are left out. */
void pc_chart_bars(struct pc_buf *page, const char *title, const struct pc_bar *bars, size_t n, double max,
    double mark, const char *mark_name);

enum { PC_CHART_COLOURS = 6, PC_CHART_MAX_LINES = 40 };

/** One curve. What is no number, beyond 1e30, or below 1e-30 on a logarithmic scale, is a gap in it. */
struct pc_line {
    const char *name;
    const double *x, *y; /* (n), *borrowed*; x ascending */
    size_t n;
    int colour;  /* which of PC_CHART_COLOURS, modulo that; beyond, the stroke differs too */
    bool dashed; /* of a second kind: measured now and then, rather than at each step */
};

struct pc_line_chart {
    const char *id;              /* of letters and digits, unique in the page */
    const char *title;           /* "Loss" */
    const char *x_name, *y_name; /* with units: "step", "nats per token" */
    const struct pc_line *lines;
    size_t n_lines;
    bool log_scale;
    bool smooth; /* draw long curves faintly, and their running mean over them */
    bool half;   /* one of two beside each other, where the page is wide enough */
};

/** Curves over whole numbers (steps), with axes, a legend if there are several, and behind a <details> the
 * numbers as a table. Of thousands of points each column of pixels shows the first, least, largest and last:
 * no peak is lost. The running mean is exponential, over a fiftieth of the points, without bias at the start.
 * Nothing to draw: a sentence says so. At most PC_CHART_MAX_LINES; failures (memory) stay in the page. */
void pc_chart_lines(struct pc_buf *page, const struct pc_line_chart *chart);

#endif
