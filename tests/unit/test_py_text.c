// SPDX-License-Identifier: Apache-2.0
/* Strings as Python has them, and the two metrics made of them. Expected values: CPython 3.11, except where
 * they follow from the rule the test is named after. */
#include "unit.h"

#include "base/py_text.h"
#include "eval/text_match.h"

#include <math.h>

static void check_lower(const char *from, const char *to)
{
    struct pc_buf b;
    pc_buf_init(&b, 1000);
    pc_py_lower(&b, from, strlen(from));
    assert_string_equal(b.data, to);
    pc_buf_release(&b);
}

static void lower_case(void **state)
{
    (void)state;
    check_lower("AbC xyz 12-ÄÖÜ ÑÇ", "abc xyz 12-äöü ñç");
    check_lower("İSTANBUL", "i̇stanbul");
    check_lower("ΟΔΟΣ", "οδος");
    check_lower("ΟΔΟΣ ΣΑΣ Σ", "οδος σας σ");
    check_lower("ΑΣ'Α ΑΣ'", "ασ'α ας'");
    check_lower("МОСКВА ǅ Ⅷ Ⓐ", "москва ǆ ⅷ ⓐ");
    check_lower("A\xff"
                "B\xc3",
        "a\xff"
        "b\xc3");
}

static void digits_and_words(void **state)
{
    (void)state;
    static const uint32_t digits[] = {'0', '9', 0x0660, 0x09e6, 0x0c66, 0xff15, 0x1d7ce},
                          no_digits[] = {'a', 0xb2, 0x2460, 0x2167, 0x4e00, 0xffffffff};
    for (size_t i = 0; i < 7; i++)
        assert_true(pc_py_is_digit(digits[i]));
    for (size_t i = 0; i < 6; i++)
        assert_false(pc_py_is_digit(no_digits[i]));
    static const uint32_t word[] = {'a', 'Z', '_', '7', 0xe9, 0xb2, 0x2167, 0x2460, 0x4e00, 0x0c95},
                          no_word[] = {' ', '-', '\'', 0x301, 0x09be, 0x3002, 0x2014, 0xffffffff};
    for (size_t i = 0; i < 10; i++)
        assert_true(pc_py_is_word(word[i]));
    for (size_t i = 0; i < 8; i++)
        assert_false(pc_py_is_word(no_word[i]));
}

static void fields_between_any_white_space(void **state)
{
    (void)state;
    static const char text[] = " \x1c"
                               "one\xc2\xa0two\xe3\x80\x80\n three\x85";
    static const char *const expected[] = {"one", "two", "three\x85"};
    const char *s = text, *field;
    size_t len = sizeof text - 1, n, i = 0;
    for (; pc_py_next_field(&s, &len, &field, &n); i++) {
        assert_true(i < 3);
        assert_int_equal(n, strlen(expected[i]));
        assert_memory_equal(field, expected[i], n);
    }
    assert_int_equal(i, 3);
}

static void floats_print_as_repr(void **state)
{
    (void)state;
    static const struct {
        double x;
        const char *text;
    } cases[] = {{0.1, "0.1"}, {1, "1.0"}, {1e-5, "1e-05"}, {1e16, "1e+16"},
        {123456789012345680, "1.2345678901234568e+17"}, {-2.5, "-2.5"}, {NAN, "nan"}, {-INFINITY, "-inf"},
        {INFINITY, "inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_buf b;
        pc_buf_init(&b, 100);
        pc_py_float(&b, cases[i].x);
        assert_string_equal(b.data, cases[i].text);
        pc_buf_release(&b);
    }
}

#define TEXT(s) ((struct pc_text){(s), sizeof(s) - 1})

static bool matches(struct pc_text a, struct pc_text b)
{
    bool equal;
    assert_int_equal(pc_exact_match(a, b, &equal, NULL), 0);
    return equal;
}

static void exact_match_ignores_case_and_ascii_punctuation(void **state)
{
    (void)state;
    assert_true(matches(TEXT("(A)."), TEXT("a")));
    assert_true(matches(TEXT("3.5"), TEXT("35")));
    assert_true(matches(TEXT("-10"), TEXT("10")));
    assert_true(matches(TEXT("$1,000"), TEXT("1000")));
    assert_true(matches(TEXT("18"), TEXT("18\0\0")));
    assert_false(matches(TEXT("18.00"), TEXT("18")));
    assert_false(matches(TEXT(" 18"), TEXT("18")));
    assert_false(matches(TEXT("18\n"), TEXT("18")));
    assert_false(matches(TEXT("18。"), TEXT("18")));
    assert_false(matches(TEXT("1\0008"), TEXT("18")));
}

static void exact_match_of_brackets_counts_spaces(void **state)
{
    (void)state;
    assert_true(matches(TEXT("] ]"), TEXT(") )")));
    assert_true(matches(TEXT("."), TEXT("]")));
    assert_false(matches(TEXT("] ] ]"), TEXT(") )")));
}

static void check_form(const char *from, const char *to)
{
    struct pc_buf b;
    pc_buf_init(&b, 1000);
    pc_buf_puts(&b, "");
    pc_squad_form(&b, (struct pc_text){from, strlen(from)});
    assert_string_equal(b.data ? b.data : "", to);
    pc_buf_release(&b);
}

static void squad_forms(void **state)
{
    (void)state;
    check_form("The  Cat, an APPLE & a dog!", "cat apple dog");
    check_form("a", "");
    check_form("A.The an_a theé the", "athe ana theé"); // punctuation goes before words are told apart
    check_form("the-end a/b", "theend ab");
    check_form("L\xe2\x80\x99"
               "a b",
        "l\xe2\x80\x99 b");                  // a mark that is not ASCII stays, and ends a word
    check_form("a\xcc\x81 x", "\xcc\x81 x"); // a combining mark is no part of a word
    check_form("ÉCOLE\xc2\xa0THE 学校。", "école 学校。");
}

static void check_squad(const char *prediction, const char *first, const char *second, double em, double f1)
{
    double got_em = -1, got_f1 = -1;
    const struct pc_text answers[] = {{first, strlen(first)}, {second, second ? strlen(second) : 0}};
    assert_int_equal(pc_squad_score((struct pc_text){prediction, strlen(prediction)}, answers, second ? 2 : 1,
                         &got_em, &got_f1, NULL),
        0);
    assert_true(got_em == em);
    assert_true(got_f1 == f1);
}

static void squad_scores(void **state)
{
    (void)state;
    check_squad("The Cat.", "cat", NULL, 1, 1);
    check_squad("black cat", "white cat", NULL, 0, 0.5);
    check_squad("black cat", "white dog", "the black cat", 1, 1);
    check_squad("a b b c", "b b d", NULL, 0, 2 * (2.0 / 3) * (2.0 / 3) / (2.0 / 3 + 2.0 / 3));
    check_squad("", "", NULL, 1, 0); // trap 19 of the specification
    check_squad("the", "a", NULL, 1, 0);
    check_squad("x", "", NULL, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_case),
        cmocka_unit_test(digits_and_words),
        cmocka_unit_test(fields_between_any_white_space),
        cmocka_unit_test(floats_print_as_repr),
        cmocka_unit_test(exact_match_ignores_case_and_ascii_punctuation),
        cmocka_unit_test(exact_match_of_brackets_counts_spaces),
        cmocka_unit_test(squad_forms),
        cmocka_unit_test(squad_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
