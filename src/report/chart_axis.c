// SPDX-License-Identifier: Apache-2.0
#include "report/chart_axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The least of 1, 2, 5, 10 times a power of ten that is not below x > 0. */
static double nice(double x)
{
    double power = pow(10, floor(log10(x)));
    double digit = x / power;
    // Not to be one step too far because 3 x 0.1 is not 0.3.
    const double slack = 1 + 1e-9;
    return power * (digit <= slack ? 1 : digit <= 2 * slack ? 2 : digit <= 5 * slack ? 5 : 10);
}

static void add_tick(struct pc_axis *a, double v)
{
    if (a->n_ticks < PC_AXIS_MAX_TICKS)
        a->ticks[a->n_ticks++] = v;
}

/* Ticks at multiples of a nice step from the one at or above lo (inside) or at or below it. */
static void linear_ticks(struct pc_axis *a, double lo, double hi, int most, bool inside)
{
    double first = inside ? ceil(lo / a->step - 1e-9) : floor(lo / a->step + 1e-9);
    double last = inside ? floor(hi / a->step + 1e-9) : ceil(hi / a->step - 1e-9);
    for (int i = 0; first + i <= last && i <= most + 2; i++)
        add_tick(a, first + i == 0 ? 0 : (first + i) * a->step);
}

static void fit_linear(struct pc_axis *a, double lo, double hi, int most, bool whole)
{
    a->step = nice((hi - lo) / most);
    if (whole && a->step < 1)
        a->step = 1;
    linear_ticks(a, lo, hi, most, whole);
    a->lo = whole ? lo : a->ticks[0];
    a->hi = whole ? hi : a->ticks[a->n_ticks - 1];
}

/* Powers of ten; with 2 and 5 times them where there are few; where there is hardly one, what a linear axis
 * would have. */
static void fit_log(struct pc_axis *a, double lo, double hi, int most)
{
    double from = log10(lo), to = log10(hi), pad = 0.03 * (to - from);
    a->lo = from - pad;
    a->hi = to + pad;
    if (to - from < 1) {
        a->step = nice((hi - lo) / most);
        linear_ticks(a, lo, hi, most, true);
        return;
    }
    int stride = (int)ceil((to - from) / most);
    bool dense = to - from < 2.5;
    for (int k = (int)floor(from), end = (int)ceil(to); k <= end; k += stride)
        for (int i = 0; i < (dense ? 3 : 1); i++) {
            double v = pow(10, k) * (i == 0 ? 1 : i == 1 ? 2 : 5);
            if (log10(v) >= a->lo && log10(v) <= a->hi)
                add_tick(a, v);
        }
}

void pc_axis_fit(struct pc_axis *a, double lo, double hi, int most, bool log, bool whole)
{
    a->log = log;
    a->n_ticks = 0;
    a->step = 0;
    // What does not change still has an axis around it.
    double least = fmax(PC_AXIS_LEAST, fmax(fabs(lo), fabs(hi)) * 1e-6);
    if (hi - lo <= least) {
        double room = fabs(lo) <= PC_AXIS_LEAST && !log ? 1 : fabs(lo) * 0.1;
        hi += whole ? fmax(1, room * 1e-3) : room;
        lo -= whole ? 0 : log ? room / 2 : room;
    }
    if (log)
        fit_log(a, lo, hi, most);
    else
        fit_linear(a, lo, hi, most, whole);
}

double pc_axis_at(const struct pc_axis *a, double v)
{
    double share = ((a->log ? log10(v) : v) - a->lo) / (a->hi - a->lo);
    return a->from + (a->to - a->from) * share;
}

/* "2e-05" and "1e+06" as people write them. */
static void tidy_exponent(char *text)
{
    char *e = strchr(text, 'e'), *to;
    if (!e)
        return;
    to = e + 1;
    char *from = to;
    if (*from == '-')
        to++;
    from++;
    while (*from == '0' && from[1])
        from++;
    memmove(to, from, strlen(from) + 1);
}

char *pc_axis_number(double v, char out[32])
{
    if (v == floor(v) && fabs(v) < 1e9)
        snprintf(out, 32, "%.0f", v);
    else
        snprintf(out, 32, "%.4g", v);
    tidy_exponent(out);
    return out;
}

char *pc_axis_text(const struct pc_axis *a, double v, char out[32])
{
    double size = fmax(fabs(a->ticks[0]), fabs(a->ticks[a->n_ticks ? a->n_ticks - 1 : 0]));
    if (a->step == 0 || a->step < 5e-5 || size >= 1e6) {
        snprintf(out, 32, "%.6g", v);
        tidy_exponent(out);
        return out;
    }
    int digits = 0;
    while (digits < 6 && a->step < pow(10, -digits) * 0.999)
        digits++;
    snprintf(out, 32, "%.*f", digits, v);
    return out;
}
