// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "eval/csv.h"

/* Expected tables are what pandas 3.1 makes of the same text with header=None. */

static void check_cells(const char *text, size_t n_rows, size_t n_columns, const char *const *cells)
{
    struct pc_csv t;
    struct paco_error err = {0};
    if (pc_csv_parse(text, strlen(text), "t.csv", ',', n_columns, &t, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(t.n_rows, n_rows);
    for (size_t i = 0; i < n_rows * n_columns; i++)
        assert_string_equal(t.cells[i].text, cells[i]);
    pc_csv_release(&t);
}

static void quotes_newlines_and_doubled_quotes(void **state)
{
    (void)state;
    check_cells("a,b\nc,d", 2, 2, (const char *[]){"a", "b", "c", "d"});
    check_cells(
        "\"a\nb\",\"c,\"\"d\"\"\"\r\n\"\r\n\",\r\n", 2, 2, (const char *[]){"a\nb", "c,\"d\"", "\r\n", ""});
    check_cells("a \"b\" c,\"d\"e\"\n", 1, 2, (const char *[]){"a \"b\" c", "de\""});
    check_cells("a,b\rc,d\r\r\ne,f\n", 3, 2, (const char *[]){"a", "b", "c", "d", "e", "f"});
    check_cells("\xef\xbb\xbf a,  \n \n\n\xc3\xa9,b\n", 2, 2, (const char *[]){" a", "  ", "\xc3\xa9", "b"});
}

static void rows_know_their_lines(void **state)
{
    (void)state;
    static const char text[] = "a,b\r\n\"1\r\n2\n3\",c\n\nd,e\rf,g\n";
    struct pc_csv t;
    assert_int_equal(pc_csv_parse(text, sizeof text - 1, "t.csv", ',', 2, &t, NULL), 0);
    assert_int_equal(t.n_rows, 4);
    static const size_t lines[] = {1, 2, 6, 7};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(t.line[i], lines[i]);
    pc_csv_release(&t);
}

static void check_bad(const char *text, size_t len, uint64_t offset, const char *message)
{
    struct pc_csv t;
    struct paco_error err = {0};
    assert_int_equal(pc_csv_parse(text, len, "t.csv", ',', 2, &t, &err), PACO_EFORMAT);
    assert_string_equal(err.message, message);
    assert_string_equal(err.path, "t.csv");
    assert_int_equal(err.offset, offset);
    assert_null(t.cells);
}

#define BAD(text, offset, message) check_bad(text, sizeof(text) - 1, offset, message)

static void bad_tables_name_line_and_byte(void **state)
{
    (void)state;
    BAD("", 0, "is empty where a table is expected");
    BAD("\n \n", 0, "is empty where a table is expected");
    BAD("a,b\nc\nd,e\n", 4, "line 2: 1 column where 2 are expected");
    BAD("a,b\n\"x\ny\",c\nd", 12, "line 4: 1 column where 2 are expected (truncated?)");
    BAD("a,b\nc,d,e,f\n", 4, "line 2: 3 or more columns where 2 are expected");
    BAD("a,b\nc,\"d\ne,f\n", 6, "line 2: the file ends inside a quoted cell (truncated?)");
    BAD("a,b\nc,\xff\n", 6, "line 2: is not valid UTF-8");
    BAD("a,b\r\nc,\0d\n", 7, "line 2: a NUL byte in a table");
}

static void check_inferred(const char *text, size_t n_columns, bool none_too, const char *const *cells)
{
    struct pc_csv t;
    struct paco_error err = {0};
    assert_int_equal(pc_csv_parse(text, strlen(text), "t.csv", ',', n_columns, &t, &err), 0);
    assert_int_equal(pc_csv_infer(&t, none_too, &err), 0);
    for (size_t i = 0; i < t.n_rows * n_columns; i++)
        assert_string_equal(t.cells[i].text, cells[i]);
    pc_csv_release(&t);
}

static void missing_cells_are_nan(void **state)
{
    (void)state;
    check_inferred("None,a\nNA,\"\"\n#N/A,n/a\nnone,<NA>\n", 2, true,
        (const char *[]){"nan", "a", "nan", "nan", "nan", "nan", "none", "nan"});
    check_inferred("None,a\nNA,None\n", 2, false, (const char *[]){"None", "a", "nan", "None"});
    check_inferred("None,a\nNone,b\n", 2, true, (const char *[]){"nan", "a", "nan", "b"});
}

static void numbers_are_printed_as_their_column(void **state)
{
    (void)state;
    check_inferred("007,0.10,4,1e3,a\n+4,5,,.5,2\n -3 ,-0.0,6,7,3.0\n", 5, true,
        (const char *[]){"7", "0.1", "4.0", "1000.0", "a", "4", "5.0", "nan", "0.5", "2", "-3", "-0.0", "6.0",
            "7.0", "3.0"});
    check_inferred(
        "True,1,inf\nFALSE,x,2\n", 3, true, (const char *[]){"True", "1", "inf", "False", "x", "2.0"});
    check_inferred(
        "0x10,tRue,1e\n12,True,2\n", 3, true, (const char *[]){"0x10", "True", "1e", "12", "True", "2"});
}

static void the_missing_are_known_for_what_is_written(void **state)
{
    (void)state;
    struct pc_csv t;
    assert_int_equal(pc_csv_parse("nan,b\n", 6, "t.csv", ',', 2, &t, NULL), 0);
    assert_int_equal(pc_csv_infer(&t, true, NULL), 0);
    assert_true(pc_csv_cell(&t, 0, 0)->missing);
    assert_false(pc_csv_cell(&t, 0, 1)->missing);
    pc_csv_release(&t);
}

static void what_is_written_is_quoted_where_it_must_be(void **state)
{
    (void)state;
    struct pc_buf b;
    pc_buf_init(&b, 1000);
    static const char *const cells[] = {"plain  ", "a,b", "say \"x\"", "two\nlines", "cr\r", "'"};
    for (size_t i = 0; i < 6; i++) {
        pc_csv_put(&b, cells[i]);
        pc_buf_putc(&b, '|');
    }
    assert_string_equal(b.data, "plain  |\"a,b\"|\"say \"\"x\"\"\"|\"two\nlines\"|\"cr\r\"|'|");
    pc_buf_release(&b);
}

static void tabs_separate_too(void **state)
{
    (void)state;
    struct pc_csv t;
    static const char text[] = "a, \"b\" c\t5,600\n \t1\n";
    assert_int_equal(pc_csv_parse(text, sizeof text - 1, "t.tsv", '\t', 2, &t, NULL), 0);
    assert_int_equal(t.n_rows, 2);
    assert_string_equal(pc_csv_cell(&t, 0, 0)->text, "a, \"b\" c");
    assert_string_equal(pc_csv_cell(&t, 1, 0)->text, " ");
    pc_csv_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_newlines_and_doubled_quotes),
        cmocka_unit_test(rows_know_their_lines),
        cmocka_unit_test(bad_tables_name_line_and_byte),
        cmocka_unit_test(missing_cells_are_nan),
        cmocka_unit_test(numbers_are_printed_as_their_column),
        cmocka_unit_test(the_missing_are_known_for_what_is_written),
        cmocka_unit_test(what_is_written_is_quoted_where_it_must_be),
        cmocka_unit_test(tabs_separate_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
