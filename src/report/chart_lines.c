// SPDX-License-Identifier: Apache-2.0
/* Curves as SVG paths. Nothing here needs a script: a small `<title>` gives a lone point's numbers to who
 * points at it, and the table behind the chart gives everybody's. Colours are classes, so that the page's
 * style decides them for light and dark; a dash pattern tells more curves apart than colours can, and helps
 * who does not see them. */
#include "base/memory.h"
#include "report/chart.h"
#include "report/chart_axis.h"
#include "report/page.h"

#include <math.h>
#include <stdio.h>

/* In SVG units, pixels when the page is wide enough. */
enum { WIDE = 870, HALF = 520, HEIGHT = 300, LEFT = 64, RIGHT = 24, TOP = 30, BOTTOM = 46 };
/* MANY points are smoothed, FEW are marked one by one; ROWS of the table. */
enum { MANY = 100, FEW = 64, ROWS = 25, SMOOTH_SHARE = 50 };

struct plot {
    struct pc_buf *page;
    const struct pc_line_chart *c;
    struct pc_axis x, y;
    int width;
};

static bool is_drawn(const struct pc_line_chart *c, const struct pc_line *l, size_t i)
{
    return fabs(l->x[i]) <= PC_AXIS_MOST && fabs(l->y[i]) <= PC_AXIS_MOST &&
           (!c->log_scale || l->y[i] >= PC_AXIS_LEAST);
}

/* ---- what a curve's values span ---- */

struct extent {
    size_t n, first, last, least, most; /* points that are drawn; indices of some */
};

static struct extent extent_of(const struct pc_line_chart *c, const struct pc_line *l)
{
    struct extent e = {0};
    for (size_t i = 0; i < l->n; i++) {
        if (!is_drawn(c, l, i))
            continue;
        if (e.n++ == 0)
            e.first = e.least = e.most = i;
        e.last = i;
        if (l->y[i] < l->y[e.least])
            e.least = i;
        if (l->y[i] > l->y[e.most])
            e.most = i;
    }
    return e;
}

/* False when there is nothing to draw. */
static bool fit(struct plot *p)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (size_t k = 0; k < p->c->n_lines; k++) {
        const struct pc_line *l = &p->c->lines[k];
        struct extent e = extent_of(p->c, l);
        if (e.n == 0)
            continue;
        x0 = fmin(x0, l->x[e.first]);
        x1 = fmax(x1, l->x[e.last]);
        y0 = fmin(y0, l->y[e.least]);
        y1 = fmax(y1, l->y[e.most]);
    }
    if (!(x0 <= x1))
        return false;
    p->width = p->c->half ? HALF : WIDE;
    pc_axis_fit(&p->x, x0, x1, p->c->half ? 6 : 9, false, true);
    pc_axis_fit(&p->y, y0, y1, 6, p->c->log_scale, false);
    p->x.from = LEFT;
    p->x.to = p->width - RIGHT;
    p->y.from = HEIGHT - BOTTOM;
    p->y.to = TOP;
    return true;
}

/* ---- axes ---- */

static void put_axes(struct plot *p)
{
    struct pc_buf *b = p->page;
    char text[32];
    for (int i = 0; i < p->y.n_ticks; i++) {
        double y = pc_axis_at(&p->y, p->y.ticks[i]);
        pc_buf_printf(b, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", LEFT, y,
            p->width - RIGHT, y);
        pc_buf_printf(b, "<text class=\"tick end\" x=\"%d\" y=\"%.1f\">%s</text>\n", LEFT - 8, y + 4,
            pc_axis_text(&p->y, p->y.ticks[i], text));
    }
    for (int i = 0; i < p->x.n_ticks; i++) {
        double x = pc_axis_at(&p->x, p->x.ticks[i]);
        pc_buf_printf(b, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x,
            HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 5);
        pc_buf_printf(b, "<text class=\"tick\" x=\"%.1f\" y=\"%d\">%s</text>\n", x, HEIGHT - BOTTOM + 20,
            pc_axis_text(&p->x, p->x.ticks[i], text));
    }
    pc_buf_printf(b, "<text class=\"tick start\" x=\"0\" y=\"16\">");
    pc_page_text(b, p->c->y_name);
    pc_buf_printf(b, "</text><text class=\"tick end\" x=\"%d\" y=\"%d\">", p->width - RIGHT, HEIGHT - 6);
    pc_page_text(b, p->c->x_name);
    pc_buf_puts(b, "</text>\n");
}

/* ---- curves ---- */

/* A path under way: pairs that follow each other are joined, until a gap. */
struct path {
    struct plot *p;
    size_t n; /* pairs since the last gap */
};

static void gap(struct path *path)
{
    // A lone point is a line of no length, which round ends make visible.
    if (path->n == 1)
        pc_buf_puts(path->p->page, "h0");
    path->n = 0;
}

static void go(struct path *path, double x, double y)
{
    pc_buf_printf(path->p->page, "%s%.1f %.1f", path->n++ ? " " : "M", pc_axis_at(&path->p->x, x),
        pc_axis_at(&path->p->y, y));
}

/* The points of one column of pixels: at most four of them, in their order. */
struct column {
    int at;
    size_t n, v[4]; /* first, least, most, last */
};

static void put_column(struct path *path, const struct pc_line *l, const double *y, struct column *c)
{
    if (c->n == 0)
        return;
    size_t low = c->v[1] < c->v[2] ? c->v[1] : c->v[2], high = c->v[1] + c->v[2] - low;
    const size_t order[] = {c->v[0], low, high, c->v[3]};
    for (size_t i = 0; i < 4; i++)
        if (i == 0 || order[i] != order[i - 1])
            go(path, l->x[order[i]], y[order[i]]);
    c->n = 0;
}

static void add_point(struct column *c, const double *y, size_t i)
{
    if (c->n++ == 0)
        c->v[0] = c->v[1] = c->v[2] = i;
    c->v[3] = i;
    if (y[i] < y[c->v[1]])
        c->v[1] = i;
    if (y[i] > y[c->v[2]])
        c->v[2] = i;
}

static const char *class_of(const struct pc_line *l, char out[32])
{
    static const char *const strokes[] = {"", " d1", " d2"};
    int round = l->colour / PC_CHART_COLOURS;
    snprintf(out, 32, "line c%d%s", l->colour % PC_CHART_COLOURS, strokes[l->dashed ? 2 : round > 0]);
    return out;
}

/* y: the line's own values or smoothed ones, drawn wherever the line's own are. */
static void put_path(struct plot *p, const struct pc_line *l, const double *y, bool faint)
{
    struct path path = {.p = p};
    struct column c = {.n = 0};
    char name[32];
    pc_buf_printf(p->page, "<path class=\"%s%s\" d=\"", class_of(l, name), faint ? " faint" : "");
    for (size_t i = 0; i < l->n; i++) {
        bool drawn = is_drawn(p->c, l, i);
        int at = drawn ? (int)pc_axis_at(&p->x, l->x[i]) : -1;
        if (at != c.at)
            put_column(&path, l, y, &c);
        if (!drawn)
            gap(&path);
        else
            add_point(&c, y, i);
        c.at = at;
    }
    put_column(&path, l, y, &c);
    gap(&path);
    pc_buf_puts(p->page, "\"/>\n");
}

static void put_points(struct plot *p, const struct pc_line *l)
{
    char x[32], y[32];
    for (size_t i = 0; i < l->n; i++) {
        if (!is_drawn(p->c, l, i))
            continue;
        pc_buf_printf(p->page, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>",
            l->colour % PC_CHART_COLOURS, pc_axis_at(&p->x, l->x[i]), pc_axis_at(&p->y, l->y[i]));
        pc_page_text(p->page, l->name);
        pc_buf_puts(p->page, ", ");
        pc_page_text(p->page, p->c->x_name);
        pc_buf_printf(
            p->page, " %s: %s</title></circle>\n", pc_axis_number(l->x[i], x), pc_axis_number(l->y[i], y));
    }
}

/* The exponential running mean, corrected for having begun with nothing; on a logarithmic scale the geometric
 * one, which a single peak does not carry away. Gaps leave it as it was. */
static void smooth(const struct pc_line_chart *c, const struct pc_line *l, size_t n, double *out)
{
    double keep = 1 - 1.0 / ((double)n / SMOOTH_SHARE + 1), sum = 0, weight = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (is_drawn(c, l, i)) {
            sum = keep * sum + (1 - keep) * (c->log_scale ? log(l->y[i]) : l->y[i]);
            weight = keep * weight + (1 - keep);
        }
        double mean = weight > 0 ? sum / weight : 0;
        out[i] = c->log_scale ? exp(mean) : mean;
    }
}

static void put_line(struct plot *p, const struct pc_line *l)
{
    struct extent e = extent_of(p->c, l);
    if (e.n == 0)
        return;
    bool smoothed = p->c->smooth && e.n >= MANY && !l->dashed;
    put_path(p, l, l->y, smoothed);
    if (e.n <= FEW)
        put_points(p, l);
    double *mean = smoothed ? pc_alloc(l->n, sizeof *mean) : NULL;
    if (mean) {
        smooth(p->c, l, e.n, mean);
        put_path(p, l, mean, false);
    }
    p->page->failed |= smoothed && !mean;
    pc_free(mean);
}

/* ---- words ---- */

static void put_description(struct plot *p)
{
    char a[32], b[32], c[32], d[32], at[32];
    for (size_t k = 0; k < p->c->n_lines; k++) {
        const struct pc_line *l = &p->c->lines[k];
        struct extent e = extent_of(p->c, l);
        if (e.n == 0)
            continue;
        pc_page_text(p->page, l->name);
        pc_buf_printf(p->page, ": from %s at %s to %s at %s, ", pc_axis_number(l->y[e.first], a),
            pc_axis_number(l->x[e.first], b), pc_axis_number(l->y[e.last], c),
            pc_axis_number(l->x[e.last], d));
        pc_buf_printf(
            p->page, "least %s at %s, ", pc_axis_number(l->y[e.least], a), pc_axis_number(l->x[e.least], at));
        pc_buf_printf(
            p->page, "largest %s at %s. ", pc_axis_number(l->y[e.most], a), pc_axis_number(l->x[e.most], at));
    }
}

static void put_legend(struct plot *p)
{
    char name[32];
    if (p->c->n_lines < 2)
        return;
    pc_buf_puts(p->page, "<ul class=\"legend\">");
    for (size_t k = 0; k < p->c->n_lines; k++) {
        pc_buf_printf(p->page,
            "<li><svg viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"%s\" d=\"M1 4h26\"/></svg>",
            class_of(&p->c->lines[k], name));
        pc_page_text(p->page, p->c->lines[k].name);
        pc_buf_puts(p->page, "</li>");
    }
    pc_buf_puts(p->page, "</ul>\n");
}

/* ---- the table ---- */

/* The index of the last point at or before x, or n. */
static size_t point_before(const struct pc_line *l, double x)
{
    size_t from = 0, to = l->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (l->x[middle] <= x)
            from = middle + 1;
        else
            to = middle;
    }
    return from ? from - 1 : l->n;
}

static void put_row(struct plot *p, double x, double after)
{
    char text[32];
    pc_buf_printf(p->page, "<tr><th scope=\"row\">%s</th>", pc_axis_number(x, text));
    for (size_t k = 0; k < p->c->n_lines; k++) {
        const struct pc_line *l = &p->c->lines[k];
        size_t i = point_before(l, x);
        bool there = i < l->n && l->x[i] > after && is_drawn(p->c, l, i);
        pc_buf_printf(p->page, "<td>%s", there ? pc_axis_number(l->y[i], text) : "");
        if (there && l->x[i] != x)
            pc_buf_printf(p->page, "<small>at %s</small>", pc_axis_number(l->x[i], text));
        pc_buf_puts(p->page, "</td>");
    }
    pc_buf_puts(p->page, "</tr>\n");
}

/* Rows are evenly spread over the points of the curve that has most; the others' points that lie between two
 * rows stand in the latter. */
static void put_table(struct plot *p)
{
    const struct pc_line *longest = &p->c->lines[0];
    for (size_t k = 1; k < p->c->n_lines; k++)
        if (p->c->lines[k].n > longest->n)
            longest = &p->c->lines[k];
    pc_buf_puts(p->page, "<details><summary>As a table</summary><div class=\"wide\"><table><thead><tr><th "
                         "scope=\"col\">");
    pc_page_text(p->page, p->c->x_name);
    for (size_t k = 0; k < p->c->n_lines; k++) {
        pc_buf_puts(p->page, "</th><th scope=\"col\">");
        pc_page_text(p->page, p->c->lines[k].name);
    }
    pc_buf_puts(p->page, "</th></tr></thead><tbody>\n");
    size_t n = longest->n < ROWS ? longest->n : ROWS;
    double after = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        size_t at = n > 1 ? (size_t)((double)i * (double)(longest->n - 1) / (double)(n - 1)) : 0;
        put_row(p, longest->x[at], after);
        after = longest->x[at];
    }
    pc_buf_puts(p->page, "</tbody></table></div></details>\n");
}

/* ---- the chart ---- */

static void put_svg(struct plot *p)
{
    const char *id = p->c->id;
    pc_buf_printf(p->page,
        "<div class=\"wide\"><svg class=\"lines%s\" viewBox=\"0 0 %d %d\" role=\"img\" "
        "aria-labelledby=\"%s-t %s-d\"><title id=\"%s-t\">",
        p->c->half ? " half" : "", p->width, HEIGHT, id, id, id);
    pc_page_text(p->page, p->c->title);
    pc_buf_printf(p->page, "</title><desc id=\"%s-d\">", id);
    put_description(p);
    pc_buf_puts(p->page, "</desc>\n");
    put_axes(p);
    for (size_t k = 0; k < p->c->n_lines; k++)
        put_line(p, &p->c->lines[k]);
    pc_buf_puts(p->page, "</svg></div>\n");
}

void pc_chart_lines(struct pc_buf *page, const struct pc_line_chart *chart)
{
    struct plot p = {.page = page, .c = chart};
    pc_buf_puts(page, "<figure><figcaption>");
    pc_page_text(page, chart->title);
    pc_buf_puts(page, "</figcaption>\n");
    if (fit(&p)) {
        put_legend(&p);
        put_svg(&p);
        put_table(&p);
    } else {
        pc_buf_puts(page, "<p class=\"soft\">No numbers.</p>\n");
    }
    pc_buf_puts(page, "</figure>\n");
}
