// SPDX-License-Identifier: Apache-2.0
/* The report and the comparison of runs, from files as paco eval leaves them. */
#include "unit.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "eval/compare.h"
#include "eval/report.h"
#include "report/chart.h"
#include "report/page.h"
#include "scratch_group.h"

#include <libdeflate.h>
#include <math.h>

/* A run's folder of one task with n items, item i of them right where bit i of right is set. */
static void make_run(const char *run, const char *task, const char *model, int n, unsigned right)
{
    char name[256], text[16384];
    int len = snprintf(text, sizeof text,
        "{\"task\": \"%s\", \"score\": 12.34, \"standard_error\": 1.5, \"card_score\": null, \"n_items\": "
        "%d, \"n_failed\": 0,"
        " \"metrics\": {\"subcat_acc\": {\"math & <more>\": 0.25}}, \"model_name\": \"%s\", \"flags\": {}}",
        task, n, model);
    snprintf(name, sizeof name, "%s/%s/results.json", run, task);
    scratch_write(&g_s, name, text, (size_t)len);
    len = 0;
    for (int i = 0; i < n; i++)
        len += snprintf(text + len, sizeof text - (size_t)len,
            "{\"key\":\"g%d/%d\",\"group\":\"g%d\",\"prompt\":\"2+2 </script><b>\",\"prompt_sha256\":\"00\","
            "\"output\":\"\\u00e4\\n4\",\"extraction\":\"four\",\"correct\":%s}\n",
            i % 2, i, i % 2, right >> i & 1 ? "true" : "false");
    snprintf(name, sizeof name, "%s/%s/items.jsonl", run, task);
    scratch_write(&g_s, name, text, (size_t)len);
}

/* ---- pages ---- */

static void test_text_is_escaped(void **state)
{
    (void)state;
    struct pc_buf b;
    pc_buf_init(&b, 1000);
    pc_page_text(&b, "<a href=\"x\">'&\xff\xc3\xa4");
    assert_string_equal(b.data, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\xef\xbf\xbd\xc3\xa4");
    pc_buf_release(&b);
}

static void test_json_cannot_end_its_script(void **state)
{
    (void)state;
    struct pc_buf b;
    json_t *v = json_pack("{s:s}", "a", "</script><!--");
    pc_buf_init(&b, 1000);
    pc_page_json(&b, "data", v);
    assert_string_equal(b.data,
        "<script type=\"application/json\" id=\"data\">{\"a\":\"\\u003c/script>\\u003c!--\"}</script>\n");
    json_decref(v);
    pc_buf_release(&b);
}

static size_t unbase64(const char *s, size_t n, unsigned char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = 0;
    for (size_t i = 0; i + 4 <= n; i += 4) {
        uint32_t v = 0;
        int n_bytes = 3;
        for (int k = 0; k < 4; k++) {
            if (s[i + (size_t)k] == '=')
                n_bytes--;
            else
                v |= (uint32_t)(strchr(digits, s[i + (size_t)k]) - digits) << (18 - 6 * k);
        }
        for (int k = 0; k < n_bytes; k++)
            out[len++] = (unsigned char)(v >> (16 - 8 * k));
    }
    return len;
}

/* Of every length modulo three, for the ends of base64. */
static void test_what_is_packed_comes_back(void **state)
{
    (void)state;
    for (int n = 0; n < 12; n++) {
        struct pc_buf b;
        char text[16] = "";
        memset(text, 'x' - n, (size_t)n);
        json_t *v = json_pack("[s]", text);
        pc_buf_init(&b, 1000);
        assert_int_equal(pc_page_pack(&b, "p", v, NULL), 0);
        const char *head = "<script type=\"text/plain\" id=\"p\">", *end = strstr(b.data, "</script>");
        assert_memory_equal(b.data, head, strlen(head));
        unsigned char packed[200], plain[200];
        size_t n_packed = unbase64(b.data + strlen(head), (size_t)(end - b.data) - strlen(head), packed),
               n_plain;
        struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
        assert_int_equal(libdeflate_zlib_decompress(d, packed, n_packed, plain, sizeof plain, &n_plain), 0);
        libdeflate_free_decompressor(d);
        char expected[32];
        assert_int_equal(n_plain, snprintf(expected, sizeof expected, "[\"%s\"]", text));
        assert_memory_equal(plain, expected, n_plain);
        json_decref(v);
        pc_buf_release(&b);
    }
}

static void test_bars(void **state)
{
    (void)state;
    struct pc_buf b;
    const struct pc_bar bars[] = {{.label = "one <1>", .value = 50, .error = 5, .n = 10},
        {.label = "none", .value = (double)NAN}, {.label = "two", .value = 200, .error = (double)NAN},
        {.label = "alike", .value = 100, .error = (double)NAN, .low = 34.2, .high = 100, .n = 2}};
    pc_buf_init(&b, 1 << 16);
    pc_chart_bars(&b, "T", bars, 4, 100, 25, "chance");
    assert_contains(b.data, "one &lt;1&gt;");
    assert_contains(b.data, "width=\"230.0\""); // half of the plot
    assert_contains(b.data, "50.0 \xc2\xb1 5.0 of 10</text>");
    assert_contains(b.data, "width=\"460.0\""); // no further than the plot
    assert_contains(b.data, "<title>chance: 25.0</title>");
    assert_null(strstr(b.data, "none"));
    assert_contains(b.data, "100.0 (34\xe2\x80\x93"
                            "100) of 2</text>");
    pc_buf_release(&b);
}

/* ---- reports ---- */

static void test_report(void **state)
{
    (void)state;
    make_run("a", "mmlu_0shot", "model <A>", 10, 0x3ff);
    make_run("b", "mmlu_0shot", "model B", 10, 0x00f);
    char a[1024], b[1024], path[1024];
    snprintf(a, sizeof a, "%s", scratch_path(&g_s, "a"));
    snprintf(b, sizeof b, "%s", scratch_path(&g_s, "b/mmlu_0shot")); // a task's own folder will do
    snprintf(path, sizeof path, "%s", scratch_path(&g_s, "report.html"));
    const char *dirs[] = {a, b};
    struct paco_error err = {0};
    if (pc_eval_report(dirs, 2, path, NULL, &err) < 0)
        fail_msg("%s", err.message);
    struct pc_buf page;
    assert_int_equal(pc_file_slurp(path, 1 << 24, &page, &err), 0);
    assert_contains(page.data, "<title>Evaluation of model &lt;A&gt; and model B</title>");
    assert_contains(page.data, "The card: Open-Instruct Stanford Alpaca 7B");
    assert_contains(page.data, "<td>23.3</td>"); // the card's average, half up
    assert_contains(page.data, "math &amp; &lt;more&gt;");
    assert_contains(page.data, "data-index=\"t0-1-index\"");
    assert_contains(page.data, "Measuring Massive Multitask Language Understanding");
    assert_null(strstr(page.data, "</script><b>")); // a prompt is packed, or escaped
    assert_null(strstr(page.data, "http-equiv=\"refresh\""));
    assert_contains(page.data, "<b>12.34</b><sup>*</sup> \xc2\xb1 1.50 (standard error), 10 items");
    assert_contains(page.data, "* Not comparable with the card: not as many questions as the card&#39;s</p>");
    assert_contains(page.data, "<li>model B, not as many questions as the card&#39;s: MMLU 0-shot</li>");
    assert_contains(page.data, "100.0 (57\xe2\x80\x93"
                               "100) of 5</text>"); // all of a group right
    pc_buf_release(&page);
    assert_true(pc_page_is_ours(path));
    assert_false(pc_page_is_ours(scratch_path(&g_s, "a/mmlu_0shot/results.json")));
    assert_false(pc_page_is_ours(scratch_path(&g_s, "nothing")));
}

/* Runs of one model are told apart by their folders. */
static void test_labels(void **state)
{
    (void)state;
    struct pc_run runs[4] = {{.dir = "x/one/"}, {.dir = "two"}, {.dir = "three"}, {.dir = "y/two"}};
    json_t *same = json_pack("{s:s}", "model_name", "M"), *other = json_pack("{s:s}", "model_name", "N");
    for (int i = 0; i < 4; i++) {
        runs[i].tasks[0].results = json_incref(i == 2 ? other : same);
        runs[i].n = 1;
    }
    assert_int_equal(pc_runs_label(runs, 4, NULL), 0);
    const char *labels[] = {"M (x/one/)", "M (two)", "N", "M (y/two)"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(runs[i].label, labels[i]);
        pc_run_release(&runs[i]);
    }
    json_decref(same);
    json_decref(other);
}

static void test_nothing_to_report(void **state)
{
    (void)state;
    char dir[1024], path[1024];
    scratch_text(&g_s, "empty/x", "");
    snprintf(dir, sizeof dir, "%s", scratch_path(&g_s, "empty"));
    snprintf(path, sizeof path, "%s", scratch_path(&g_s, "none.html"));
    const char *dirs[] = {dir};
    struct paco_error err = {0};
    assert_int_equal(pc_eval_report(dirs, 1, path, NULL, &err), PACO_ENOENT);
    assert_contains(err.message, "holds no results");
    assert_string_equal(err.path, dir);
    assert_false(pc_path_exists(path));
}

/* ---- comparisons ---- */

static void test_compare(void **state)
{
    (void)state;
    make_run("x", "gsm_cot", "X", 12, 0x00f); // items 0 to 3 right
    make_run("y", "gsm_cot", "Y", 10, 0x3fc); // 2 to 9
    scratch_text(
        &g_s, "x/gsm_cot.paco-partial/results.json", "{\"task\": \"gsm_cot\"}"); // under way: not looked at
    char x[1024], y[1024];
    snprintf(x, sizeof x, "%s", scratch_path(&g_s, "x"));
    snprintf(y, sizeof y, "%s", scratch_path(&g_s, "y"));
    struct paco_error err = {0};
    json_t *c = NULL;
    if (pc_eval_compare(x, y, &c, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(json_array_size(json_object_get(c, "tasks")), 1);
    json_t *t = json_array_get(json_object_get(c, "tasks"), 0);
    assert_int_equal(json_integer_value(json_object_get(t, "n_items")), 10);
    assert_int_equal(json_integer_value(json_object_get(t, "only_in_a")), 2);
    assert_int_equal(json_integer_value(json_object_get(t, "only_in_b")), 0);
    assert_true(json_number_value(json_object_get(t, "mean_a")) == 40);
    assert_true(json_number_value(json_object_get(t, "mean_b")) == 80);
    assert_int_equal(json_integer_value(json_object_get(t, "better_in_a")), 2);
    assert_int_equal(json_integer_value(json_object_get(t, "better_in_b")), 6);
    assert_true(fabs(json_number_value(json_object_get(t, "mcnemar_p")) - 0.2890625) < 1e-9);
    assert_int_equal(json_array_size(json_object_get(t, "flipped")), 8);
    struct pc_buf text;
    pc_buf_init(&text, 1 << 16);
    pc_compare_text(c, 1, &text);
    assert_contains(text.data, "gsm_cot                    10   40.00   80.00  +40.00  ");
    assert_contains(text.data, "0.2891");
    assert_contains(text.data, "gsm_cot, better in A:\n    g0/0\n    ... (--json lists all)\n");
    assert_contains(text.data, "left out: 2 items only A has, 0 only B");
    pc_buf_release(&text);
    json_decref(c);
}

/* Each allocation fails in turn, jansson's too: no memory, or the whole comparison. */
static void test_compare_without_memory(void **state)
{
    (void)state;
    struct paco_error err;
    char x[1024], y[1024];
    struct pc_buf whole;
    json_t *c = NULL;
    make_run("torn-x", "gsm_cot", "one", 3, 1);
    make_run("torn-x", "mmlu_0shot", "one", 2, 1);
    make_run("torn-y", "gsm_cot", "two", 3, 2);
    make_run("torn-y", "bbh_cot", "two", 2, 1);
    snprintf(x, sizeof x, "%s", scratch_path(&g_s, "torn-x"));
    snprintf(y, sizeof y, "%s", scratch_path(&g_s, "torn-y"));
    assert_int_equal(pc_eval_compare(x, y, &c, &err), 0);
    pc_buf_init(&whole, 1 << 16);
    pc_json_write(&whole, c, PC_JSON_COMPACT);
    assert_contains(whole.data, "\"only_in_a\":[\"mmlu_0shot\"],\"only_in_b\":[\"bbh_cot\"]");
    json_decref(c);
    int rc = PACO_EMEM;
    for (int64_t n = 0; rc < 0; n++) {
        struct pc_buf b;
        c = NULL;
        err = (struct paco_error){0};
        pc_alloc_fail_after(n);
        rc = pc_eval_compare(x, y, &c, &err);
        pc_alloc_fail_after(-1);
        // jansson takes a string it has no memory for to be bad syntax.
        if (rc < 0 && rc != PACO_EMEM && !(rc == PACO_EFORMAT && strstr(err.message, "JSON: ")))
            fail_msg("allocation %d: %s", (int)n, err.message);
        if (rc < 0)
            continue;
        pc_buf_init(&b, 1 << 16);
        pc_json_write(&b, c, PC_JSON_COMPACT);
        assert_string_equal(b.data, whole.data);
        pc_buf_release(&b);
        json_decref(c);
    }
    pc_buf_release(&whole);
}

static void test_compare_nothing_in_common(void **state)
{
    (void)state;
    make_run("p", "gsm_cot", "P", 2, 1);
    make_run("q", "gsm_direct", "Q", 2, 1);
    char p[1024], q[1024];
    snprintf(p, sizeof p, "%s", scratch_path(&g_s, "p"));
    snprintf(q, sizeof q, "%s", scratch_path(&g_s, "q"));
    struct paco_error err = {0};
    json_t *c = NULL;
    assert_int_equal(pc_eval_compare(p, q, &c, &err), PACO_EMISMATCH);
    assert_contains(err.message, "have no task in common");
    assert_null(c);
}

int main(void)
{
    pc_json_use_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_escaped),
        cmocka_unit_test(test_json_cannot_end_its_script),
        cmocka_unit_test(test_what_is_packed_comes_back),
        cmocka_unit_test(test_bars),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_nothing_to_report),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_nothing_in_common),
        cmocka_unit_test(test_compare_without_memory),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
