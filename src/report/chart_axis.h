// SPDX-License-Identifier: Apache-2.0
/* One axis of a chart: which numbers stand beside it, and where a value lies. */
#ifndef PC_REPORT_CHART_AXIS_H
#define PC_REPORT_CHART_AXIS_H

#include <stdbool.h>

enum { PC_AXIS_MAX_TICKS = 16 };

/** What is beyond this is no value of a chart: differences of larger ones would overflow. */
#define PC_AXIS_MOST 1e30
/** What differs by less is one; nothing below it is on a logarithmic axis. */
#define PC_AXIS_LEAST 1e-30

struct pc_axis {
    double lo, hi; /* the values at its two ends, lo < hi; on a logarithmic axis their log10 */
    bool log;
    double from, to; /* where those ends are drawn; set by the caller */
    double ticks[PC_AXIS_MAX_TICKS];
    int n_ticks;
    double step; /* between neighbouring ticks; 0 where they are powers of ten */
};

/** Fit the axis around values from lo to hi, lo <= hi, both within PC_AXIS_MOST, lo >= PC_AXIS_LEAST
 * if log. Ticks are
 * multiples of 1, 2 or 5 times a power of ten, at least 2 and about as many as most. whole: ticks are
 * integers, and the axis ends with the values; otherwise at a tick. */
void pc_axis_fit(struct pc_axis *a, double lo, double hi, int most, bool log, bool whole);

/** Where v is drawn. On a logarithmic axis v > 0. */
double pc_axis_at(const struct pc_axis *a, double v);

/** A value as the axis writes it, no digit more than its ticks need: "0.25", "2e-5". Returns out. */
char *pc_axis_text(const struct pc_axis *a, double v, char out[32]);

/** A value on its own, to four digits: "1.234", "2e-5", "51200". Returns out. */
char *pc_axis_number(double v, char out[32]);

#endif
