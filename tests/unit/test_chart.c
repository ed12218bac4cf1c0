// SPDX-License-Identifier: Apache-2.0
/* Axes and curves: which numbers stand beside them, and that no point that matters is left out. */
#include "unit.h"

#include "base/memory.h"
#include "report/chart.h"
#include "report/chart_axis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct pc_buf g_page;

static int open_page(void **state)
{
    (void)state;
    pc_buf_init(&g_page, 1 << 24);
    return 0;
}

static int close_page(void **state)
{
    (void)state;
    pc_buf_release(&g_page);
    return 0;
}

/* ---- axes ---- */

static const char *ticks_of(double lo, double hi, int most, bool log, bool whole)
{
    static char out[512];
    struct pc_axis a;
    char text[32];
    pc_axis_fit(&a, lo, hi, most, log, whole);
    int len = 0;
    for (int i = 0; i < a.n_ticks; i++)
        len += snprintf(
            out + len, sizeof out - (size_t)len, "%s%s", i ? " " : "", pc_axis_text(&a, a.ticks[i], text));
    return out;
}

static void test_ticks(void **state)
{
    (void)state;
    assert_string_equal(ticks_of(0.9, 2.31, 6, false, false), "0.5 1.0 1.5 2.0 2.5");
    assert_string_equal(ticks_of(0, 2e-5, 6, false, false), "0 5e-6 1e-5 1.5e-5 2e-5");
    assert_string_equal(ticks_of(-3, 7, 6, false, false), "-4 -2 0 2 4 6 8");
    assert_string_equal(ticks_of(0.1, 0.3, 2, false, false), "0.1 0.2 0.3");
    assert_string_equal(ticks_of(1, 500, 6, false, true), "100 200 300 400 500");
    assert_string_equal(ticks_of(1, 3, 6, false, true), "1 2 3"); // there is no step one and a half
    assert_string_equal(ticks_of(0, 5e6, 6, false, true), "0 1e6 2e6 3e6 4e6 5e6");
    assert_string_equal(ticks_of(0.01, 2000, 6, true, false), "0.01 0.1 1 10 100 1000");
    assert_string_equal(ticks_of(1, 50, 6, true, false), "1 2 5 10 20 50");
    assert_string_equal(ticks_of(2, 4, 6, true, false), "2.0 2.5 3.0 3.5 4.0");
}

/* Whatever a file may say, there are ticks, they are within the axis, and places are finite. */
static void test_any_range_has_an_axis(void **state)
{
    (void)state;
    static const double v[] = {-1e30, -1, -1e-300, 0, 5e-324, 1e-300, 0.1, 0.1 + 1e-12, 1, 1 + 1e-15, 12345,
        9007199254740992.0, 1e30};
    size_t n = sizeof v / sizeof *v;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i; k < n; k++)
            for (int how = 0; how < 3; how++) {
                struct pc_axis a = {.from = 0, .to = 100};
                if (how == 1 && v[i] < PC_AXIS_LEAST)
                    continue;
                pc_axis_fit(&a, v[i], v[k], 6, how == 1, how == 2);
                if (!(a.lo < a.hi) || a.n_ticks > PC_AXIS_MAX_TICKS || (how == 0 && a.n_ticks < 2))
                    fail_msg("%g to %g, %d: %g to %g with %d ticks", v[i], v[k], how, a.lo, a.hi, a.n_ticks);
                for (int t = 0; t < a.n_ticks; t++) {
                    double at = pc_axis_at(&a, a.ticks[t]);
                    if (!(at >= -1e-6 && at <= 100.000001))
                        fail_msg("%g to %g, %d: tick %g at %g", v[i], v[k], how, a.ticks[t], at);
                }
                double at = pc_axis_at(&a, v[i]), end = pc_axis_at(&a, v[k]);
                if (!(at >= -1e-6 && at <= end && end <= 100.000001))
                    fail_msg("%g to %g, %d: from %g to %g", v[i], v[k], how, at, end);
            }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0"}, {1.23456, "1.235"}, {51200, "51200"}, {2e-5, "2e-5"}, {1.25e-5, "1.25e-5"},
        {1e6, "1000000"}, {1e9, "1e9"}, {123456.5, "1.235e5"}, {-0.5, "-0.5"}, {1e-10, "1e-10"},
        {1e20, "1e20"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(pc_axis_number(cases[i].v, text), cases[i].text);
}

/* ---- curves ---- */

static struct pc_line_chart chart_of(const struct pc_line *lines, size_t n)
{
    return (struct pc_line_chart){.id = "a",
        .title = "Loss <1>",
        .x_name = "step",
        .y_name = "nats & more",
        .lines = lines,
        .n_lines = n};
}

/* How often part is in the page. */
static int count(const char *part)
{
    int n = 0;
    for (const char *s = g_page.data; (s = strstr(s, part)); s += strlen(part))
        n++;
    return n;
}

static void test_a_short_curve(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3}, y[] = {3, (double)NAN, 1};
    const struct pc_line line = {"tr<a>in", x, y, 3, 0, false};
    struct pc_line_chart c = chart_of(&line, 1);
    pc_chart_lines(&g_page, &c);
    assert_contains(g_page.data, "aria-labelledby=\"a-t a-d\"><title id=\"a-t\">Loss &lt;1&gt;</title>");
    assert_contains(g_page.data,
        "<desc id=\"a-d\">tr&lt;a&gt;in: from 3 at 1 to 1 at 3, least 1 at 3, largest 3 at 1. </desc>");
    assert_contains(g_page.data, "nats &amp; more</text>");
    // Two points with a gap between them, each visible.
    assert_contains(g_page.data, "<path class=\"line c0\" d=\"M64.0 30.0h0M846.0 254.0h0\"/>");
    assert_contains(g_page.data, "<title>tr&lt;a&gt;in, step 3: 1</title>");
    assert_int_equal(count("<circle"), 2);
    assert_contains(g_page.data, "<tr><th scope=\"row\">2</th><td></td></tr>"); // a gap in the table too
    assert_int_equal(count("class=\"legend\""), 0);
}

static void test_several_curves(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4}, y[] = {4, 3, 2, 1}, xe[] = {2, 3.5}, ye[] = {3.5, 2.5};
    const struct pc_line lines[] = {{"train", x, y, 4, 0, false}, {"validation", xe, ye, 2, 7, true}};
    struct pc_line_chart c = chart_of(lines, 2);
    pc_chart_lines(&g_page, &c);
    assert_int_equal(count("class=\"legend\""), 1);
    assert_contains(g_page.data, "<path class=\"line c1 d2\"");
    assert_contains(g_page.data, "<tr><th scope=\"row\">2</th><td>3</td><td>3.5</td></tr>");
    assert_contains(g_page.data, "<tr><th scope=\"row\">3</th><td>2</td><td></td></tr>");
    // A point between two rows stands in the latter, and says where it is.
    assert_contains(
        g_page.data, "<tr><th scope=\"row\">4</th><td>1</td><td>2.5<small>at 3.5</small></td></tr>");
}

static void test_nothing_to_draw(void **state)
{
    (void)state;
    const double x[] = {1, 2}, y[] = {(double)INFINITY, 1e31}, negative[] = {-1, 0};
    const struct pc_line line = {"train", x, y, 2, 0, false}, below = {"train", x, negative, 2, 0, false};
    struct pc_line_chart c = chart_of(&line, 1), log = chart_of(&below, 1);
    log.log_scale = true;
    pc_chart_lines(&g_page, &c);
    pc_chart_lines(&g_page, &log);
    assert_int_equal(count("No numbers."), 2);
    assert_int_equal(count("<svg"), 0);
}

/* A hundred thousand points take the room of a thousand, and the one that sticks out is there. */
static void test_many_points_are_thinned(void **state)
{
    (void)state;
    enum { N = 100000 };
    double *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    assert_non_null(x);
    assert_non_null(y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = 1 + 0.001 * (i * 7919 % 101);
    }
    y[54321] = 3;
    const struct pc_line line = {"train", x, y, N, 0, false};
    struct pc_line_chart c = chart_of(&line, 1);
    c.smooth = true;
    pc_chart_lines(&g_page, &c);
    assert_true(g_page.len < 80000);
    assert_contains(g_page.data, "largest 3 at 54321");
    char peak[32]; // the top of the plot, where the axis ends with 3
    snprintf(peak, sizeof peak, "%.1f 30.0", 64 + 782 * 54321.0 / (N - 1));
    assert_contains(g_page.data, peak);
    assert_int_equal(count("class=\"line c0 faint\""), 1);
    assert_int_equal(count("class=\"line c0\""), 1);
    free(x);
    free(y);
}

/* The running mean of what does not change is that, from the first point on. */
static void test_smoothing_has_no_bias(void **state)
{
    (void)state;
    enum { N = 200 };
    double x[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = 5;
    }
    const struct pc_line line = {"train", x, y, N, 0, false};
    struct pc_line_chart c = chart_of(&line, 1);
    c.smooth = true;
    pc_chart_lines(&g_page, &c);
    const char *faint = strstr(g_page.data, "c0 faint\" d=\""), *own = strstr(g_page.data, "c0\" d=\"");
    faint += strlen("c0 faint\" d=\"");
    own += strlen("c0\" d=\"");
    size_t n = strcspn(faint, "\"");
    assert_int_equal(strcspn(own, "\""), n);
    assert_memory_equal(own, faint, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_any_range_has_an_axis),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test_setup_teardown(test_a_short_curve, open_page, close_page),
        cmocka_unit_test_setup_teardown(test_several_curves, open_page, close_page),
        cmocka_unit_test_setup_teardown(test_nothing_to_draw, open_page, close_page),
        cmocka_unit_test_setup_teardown(test_many_points_are_thinned, open_page, close_page),
        cmocka_unit_test_setup_teardown(test_smoothing_has_no_bias, open_page, close_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
