// SPDX-License-Identifier: Apache-2.0
#include "report/chart.h"

#include "report/page.h"

#include <math.h>

/* In SVG units, which are pixels unless the page is narrower. */
enum { ROW = 20, LABELS = 260, PLOT = 460, NUMBERS = 150, TOP = 8, AXIS = 24 };

static double x_of(double v, double max)
{
    double share = max > 0 ? v / max : 0;
    return LABELS + PLOT * (share < 0 ? 0 : share > 1 ? 1 : share);
}

static void grid(struct pc_buf *page, double max, int height)
{
    for (int i = 0; i <= 4; i++) {
        double x = x_of(max * i / 4, max);
        pc_buf_printf(
            page, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, TOP, x, height);
        pc_buf_printf(
            page, "<text class=\"tick\" x=\"%.1f\" y=\"%d\">%g</text>\n", x, height + 16, max * i / 4);
    }
}

static void bar(struct pc_buf *page, const struct pc_bar *b, int y, double max)
{
    double end = x_of(b->value, max), middle = y + ROW / 2.0;
    pc_buf_printf(page, "<text class=\"label\" x=\"%d\" y=\"%.1f\">", LABELS - 8, middle + 4);
    pc_page_text(page, b->label);
    pc_buf_printf(page, "</text><rect class=\"bar\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>", LABELS,
        y + 3, end - LABELS, ROW - 6);
    bool spans = isnan(b->error) && b->high > b->low;
    double low = spans ? b->low : b->value - b->error, high = spans ? b->high : b->value + b->error;
    if (spans || !isnan(b->error))
        pc_buf_printf(page, "<line class=\"whisker\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
            x_of(low, max), middle, x_of(high, max), middle);
    pc_buf_printf(
        page, "<text class=\"value\" x=\"%d\" y=\"%.1f\">%.1f", LABELS + PLOT + 10, middle + 4, b->value);
    if (!isnan(b->error))
        pc_buf_printf(page, " \xc2\xb1 %.1f", b->error);
    else if (spans)
        pc_buf_printf(page, " (%.0f\xe2\x80\x93%.0f)", low, high);
    if (b->n)
        pc_buf_printf(page, " of %zu", b->n);
    pc_buf_puts(page, "</text>\n");
}

void pc_chart_bars(struct pc_buf *page, const char *title, const struct pc_bar *bars, size_t n, double max,
    double mark, const char *mark_name)
{
    size_t n_drawn = 0;
    for (size_t i = 0; i < n; i++)
        n_drawn += !isnan(bars[i].value);
    int height = TOP + (int)n_drawn * ROW, y = TOP;
    pc_buf_printf(page, "<figure><figcaption>");
    pc_page_text(page, title);
    pc_buf_printf(page, "</figcaption><svg class=\"bars\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
        LABELS + PLOT + NUMBERS, height + AXIS);
    pc_page_text(page, title);
    pc_buf_puts(page, "\">\n");
    grid(page, max, height);
    for (size_t i = 0; i < n; i++) {
        if (isnan(bars[i].value))
            continue;
        bar(page, &bars[i], y, max);
        y += ROW;
    }
    if (!isnan(mark)) {
        pc_buf_printf(page, "<line class=\"mark\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"><title>",
            x_of(mark, max), TOP, x_of(mark, max), height);
        pc_page_text(page, mark_name);
        pc_buf_printf(page, ": %.1f</title></line>\n", mark);
    }
    pc_buf_puts(page, "</svg></figure>\n");
}
