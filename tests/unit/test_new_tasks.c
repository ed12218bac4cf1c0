// SPDX-License-Identifier: Apache-2.0
/* Self-instruct's texts and its test for duplicates. (tests/integration/data_generate.py holds the whole
 * against Python.) */
#include "unit.h"

#include "base/memory.h"
#include "data/new_tasks.h"
#include "data/rouge.h"

#include <stdio.h>
#include <stdlib.h>

static struct pc_task_text text(const char *s)
{
    return (struct pc_task_text){s, strlen(s)};
}

static void the_prompt(void **state)
{
    (void)state;
    struct pc_buf b;
    const struct pc_new_task tasks[] = {
        {text(" Say\n hi :: "), text(""), text("hi")}, {text("Add:"), text("1 2"), text("3")}};
    pc_buf_init(&b, 1 << 16);
    pc_new_tasks_prompt(&b, text("List of tasks:"), tasks, 2);
    assert_string_equal(b.data,
        "List of tasks:\n###\n1. Instruction: Say hi \n1. Input:\n<noinput>\n1. Output:\nhi\n"
        "###\n2. Instruction: Add\n2. Input:\n1 2\n2. Output:\n3\n###\n3. Instruction:");
    pc_buf_release(&b);
}

static void what_passes(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        bool passes;
    } cases[] = {
        {"Name two prime numbers.", true},
        {"Name two primes.", false},
        {"Describe what the IMAGE shows", false},
        {"Describe the imagery of it", true},
        {"Explain how to go to Rome", false},
        {"Explain how to go\tto Rome", true},
        {"List the map, then stop", false},
        {"List the maps_of it all", true},
        {"Write a program that adds", false},
        {"write a program that adds", true},
        {"\"Quote\" the words of him", false},
        {"\xc3\x89"
         "crire une lettre courte",
            false},
        {"Use the f\xc4\xb1le named so", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (pc_new_task_passes(text(cases[i].s)) != cases[i].passes)
            fail_msg("'%s'", cases[i].s);
}

struct found {
    char all[1024];
    size_t n;
};

static int collect(void *ctx, const struct pc_new_task *t)
{
    struct found *f = ctx;
    size_t at = strlen(f->all);
    snprintf(f->all + at, sizeof f->all - at, "[%.*s|%.*s|%.*s]", (int)t->instruction.len, t->instruction.s,
        (int)t->input.len, t->input.s, (int)t->output.len, t->output.s);
    return 0;
}

static void parse(const char *reply, bool was_cut, bool chat, const char *want)
{
    struct found f = {.n = 0};
    struct paco_error err = {0};
    assert_int_equal(pc_new_tasks_parse(text(reply), 3, was_cut, chat, collect, &f, &f.n, &err), 0);
    assert_string_equal(f.all, want);
}

static void what_a_reply_holds(void **state)
{
    (void)state;
    parse(" One two three four\n4. Input:\n<NoInput>\n4. Output: out\n###\n5. Instruction: Five six seven "
          "eight\n5.\n Input: in\n5. Output:\n o\n",
        false, false, "[One two three four||out][Five six seven eight|in|o]");
    parse(" One two three four\n4. Input:\nx\n4. Output: out\n###\n5. Instruction: Five six seven eight\n5. "
          "Input: in\n5. Output: o",
        true, false, "[One two three four|x|out]");
    parse(" One two three four\n4.Input:\nx\n4. Output: out\n", false, false, "");
    parse(" One two three four\n4. Input:\nx\n4. Output: a 14. Output: b\n", false, false, "");
    parse("4. Instruction: One two three four\n4. Input:\nx\n4. Output: o", false, true,
        "[One two three four|x|o]");
    parse("###\n4. Instruction: One two three four\n4. Input:\nx\n4. Output: o", false, true,
        "[One two three four|x|o]");
    parse("One two three four\n4. Input:\nx\n4. Output: o", false, true, "[One two three four|x|o]");
}

/* Word by word, as a book has it. */
static double plainly(const int *a, size_t n, const int *b, size_t m)
{
    uint32_t row[400] = {0};
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0, diagonal = 0; j < m; j++) {
            uint32_t above = row[j + 1];
            row[j + 1] = a[i] == b[j] ? (uint32_t)diagonal + 1 : above > row[j] ? above : row[j];
            diagonal = above;
        }
    double p = m ? row[m] / (double)m : 0, r = n ? row[m] / (double)n : 0;
    return p + r > 0 ? 2 * p * r / (p + r) : 0;
}

static size_t make_text(int *ids, char *out)
{
    size_t n = (size_t)rand() % 300;
    *out = '\0';
    for (size_t i = 0; i < n; i++) {
        ids[i] = rand() % 12;
        out += sprintf(out, "W%d%s", ids[i], rand() % 3 ? " " : ", ");
    }
    return n;
}

static void rouge_is_what_it_is_defined_as(void **state)
{
    (void)state;
    enum { N = 400 };
    static int ids[N][300];
    static size_t n[N];
    char words[3000];
    double scores[N];
    struct paco_error err = {0};
    struct pc_pool *pool = pc_pool_new(2, &err);
    struct pc_rouge *r = pc_rouge_new(pool, &err);
    assert_true(pool && r);
    srand(1);
    for (size_t i = 0; i < N; i++) {
        n[i] = make_text(ids[i], words);
        assert_int_equal(pc_rouge_add(r, words, strlen(words), &err), 0);
    }
    for (int k = 0; k < 20; k++) {
        int query[300];
        size_t m = make_text(query, words);
        assert_int_equal(pc_rouge_scores(r, words, strlen(words), scores, &err), 0);
        for (size_t i = 0; i < N; i++) {
            double want = plainly(query, m, ids[i], n[i]);
            if (memcmp(&want, &scores[i], sizeof want) != 0)
                fail_msg("text %zu: %.17g, expected %.17g", i, scores[i], want);
        }
    }
    char *many = malloc(2 * PC_ROUGE_MAX_WORDS + 2);
    assert_non_null(many);
    for (size_t i = 0; i < PC_ROUGE_MAX_WORDS + 1; i++)
        memcpy(many + 2 * i, "a ", 2);
    assert_int_equal(pc_rouge_scores(r, many, 2 * PC_ROUGE_MAX_WORDS, scores, &err), 0);
    assert_int_equal(pc_rouge_scores(r, many, 2 * PC_ROUGE_MAX_WORDS + 2, scores, &err), PACO_ELIMIT);
    assert_contains(err.message, "more than 16384 words");
    free(many);
    pc_rouge_free(r);
    pc_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prompt),
        cmocka_unit_test(what_passes),
        cmocka_unit_test(what_a_reply_holds),
        cmocka_unit_test(rouge_is_what_it_is_defined_as),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
