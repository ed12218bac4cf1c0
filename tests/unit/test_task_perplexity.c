// SPDX-License-Identifier: Apache-2.0
/* Windows over texts, with tokens that are letters (letters_model.h), and what becomes of their numbers. */
#include "letters_model.h"
#include "task_harness.h"

static void open_texts(struct harness *h, struct pc_tokenizer **tok)
{
    harness_init(h, &pc_task_perplexity);
    *tok = letters_tokenizer();
    h->env.tok = *tok;
    h->env.bos = -1;
    h->flags.max_context_length = 8;
    /* e acute is two tokens, the last of one window and the first of the next. */
    scratch_text(&h->s, "perplexity/b.txt",
        "abcdefg\xc3\xa9"
        "bcdefghklxyz");
    scratch_text(&h->s, "perplexity/a.txt", "zyxwvutsr");
    scratch_text(&h->s, "perplexity/short.txt", "abcdefg");
    scratch_text(&h->s, "perplexity/notes.md", "abcdefghabcdefgh");
}

static void close_texts(struct harness *h, struct pc_tokenizer *tok)
{
    harness_close(h);
    pc_tokenizer_free(tok);
}

static void windows_of_texts_in_the_order_of_their_names(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    open_texts(&h, &tok);
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 3);
    assert_string_equal(harness_name(&h, 0), "a.txt/0");
    assert_string_equal(harness_name(&h, 1), "b.txt/0");
    assert_string_equal(harness_name(&h, 2), "b.txt/1");
    assert_string_equal(harness_prompt(&h, 0), "zyxwvuts");
    assert_int_equal(h.ask.kind, PC_ASK_NATS);
    assert_int_equal(h.ask.n_ids, 8);
    assert_int_equal(h.ask.first, 4);
    assert_int_equal(h.ask.ids[0], 25);
    assert_int_equal(h.ask.ids[7], 's' - 'a');
    assert_int_equal(h.ask.tail_len, 3);
    assert_string_equal(harness_prompt(&h, 1), "abcdefg");
    assert_int_equal(h.ask.ids[7], E_ACUTE);
    assert_int_equal(h.ask.tail_len, 2);
    assert_string_equal(harness_prompt(&h, 2), "\xc3\xa9"
                                               "bcdefgh");
    assert_int_equal(h.ask.ids[0], E_ACUTE + 1);
    assert_int_equal(h.ask.tail_len, 3);
    assert_int_equal(h.notes.n, 1);
    assert_contains(h.notes.v[0], "short.txt has 7 tokens, a window 8: it is left out");
    assert_int_equal(json_object_size(h.files), 3);
    assert_non_null(json_object_get(h.files, "perplexity/a.txt"));
    close_texts(&h, tok);
}

static void of_one_text_and_the_first_of_them(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    open_texts(&h, &tok);
    char file[1024];
    snprintf(file, sizeof file, "%s", scratch_path(&h.s, "perplexity/notes.md"));
    h.env.data_file = file;
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    assert_string_equal(harness_name(&h, 0), "notes.md/0");
    close_texts(&h, tok);
    /* Of several it is the first of each; and the folder may be the texts' own. */
    open_texts(&h, &tok);
    h.flags.limit = 1;
    harness_open(&h, scratch_path(&h.s, "perplexity"));
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(harness_name(&h, 1), "b.txt/0");
    close_texts(&h, tok);
}

/* Behind an endpoint: eight times four bytes, cut before spaces; a word without any where it must be. */
static void windows_without_a_tokenizer(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_perplexity);
    h.flags.max_context_length = 8;
    scratch_text(&h.s, "perplexity/a.txt",
        "four words and some more of them in a row\n"
        "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
        "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(harness_prompt(&h, 0), "four words and some more of them");
    assert_null(h.ask.ids);
    assert_string_equal(h.prompt.data + 32 - h.ask.tail_len, " some more of them");
    assert_string_equal(harness_prompt(&h, 1),
        " in a "
        "row\n\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
    assert_string_equal(h.prompt.data + h.prompt.len - h.ask.tail_len,
        "\n\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
    harness_close(&h);
}

static void judge(struct harness *h, double nats, int n, int n_bytes)
{
    struct pc_answers answers = {.nats = {nats, n, n_bytes}};
    json_t *record = json_pack("{s:f, s:i, s:i}", "nats", nats, "n_scored", n, "n_scored_bytes", n_bytes);
    size_t i = json_array_size(h->records);
    if (h->task->judge(h->data, i, &answers, record, &h->err) < 0)
        fail_msg("item %zu: %s", i, h->err.message);
    assert_true(pc_json_double(record, "perplexity") == exp(nats / n));
    json_array_append_new(h->records, record);
}

static double metric(const struct harness *h, const char *text, const char *name)
{
    const json_t *m = h->metrics;
    return pc_json_double(text ? json_object_get(json_object_get(m, "texts"), text) : m, name);
}

static void assert_near(double x, double want)
{
    if (!(fabs(x - want) <= 1e-12 * fabs(want)))
        fail_msg("%.17g, not %.17g", x, want);
}

static void numbers(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    open_texts(&h, &tok);
    harness_open(&h, h.s.dir);
    judge(&h, 3.0, 3, 3);
    judge(&h, 4.5, 3, 5);
    judge(&h, 9.0, 3, 4);
    harness_finish(&h);
    /* Means of windows 1, 1.5 and 3: their standard error is the sample's deviation over the root of 3. */
    double mean = 5.5 / 3, squares = 1 + 1.5 * 1.5 + 9 - 3 * mean * mean, error = sqrt(squares / 2 / 3);
    assert_near(metric(&h, NULL, "nats_per_token"), mean);
    assert_near(metric(&h, NULL, "nats_per_token_standard_error"), error);
    assert_near(h.score, exp(mean));
    assert_near(h.se, exp(mean) * error);
    assert_near(metric(&h, NULL, "bits_per_byte"), 16.5 / 12 / log(2));
    /* Of a ratio: nats left over at the whole's nats a byte. */
    double ratio = 16.5 / 12, left[3] = {3 - 3 * ratio, 4.5 - 5 * ratio, 9 - 4 * ratio};
    assert_near(metric(&h, NULL, "bits_per_byte_standard_error"),
        sqrt((left[0] * left[0] + left[1] * left[1] + left[2] * left[2]) * 3 / 2) / 12 / log(2));
    assert_near(metric(&h, NULL, "n_scored"), 9);
    assert_near(metric(&h, NULL, "context"), 8);
    assert_near(metric(&h, "a.txt", "perplexity"), exp(1));
    assert_true(isnan(metric(&h, "a.txt", "nats_per_token_standard_error")));
    assert_near(metric(&h, "b.txt", "nats_per_token"), 13.5 / 6);
    close_texts(&h, tok);
}

static void what_failed_is_no_part(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    open_texts(&h, &tok);
    harness_open(&h, h.s.dir);
    judge(&h, 3.0, 3, 3);
    harness_fail_item(&h);
    judge(&h, 4.5, 3, 3);
    harness_finish(&h);
    assert_near(h.score, exp(1.25));
    assert_near(metric(&h, NULL, "n_windows"), 2);
    json_t *record = json_object();
    const double bad[][2] = {{1, 0}, {(double)NAN, 3}, {(double)INFINITY, 3}};
    for (size_t i = 0; i < 3; i++) {
        const struct pc_answers answers = {.nats = {bad[i][0], (int64_t)bad[i][1], 3}};
        assert_int_equal(h.task->judge(h.data, 0, &answers, record, &h.err), PACO_EFORMAT);
    }
    json_decref(record);
    close_texts(&h, tok);
}

static void refused(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    static const int64_t contexts[] = {-1, 3, (1 << 24) + 1};
    for (size_t i = 0; i < 3; i++) {
        open_texts(&h, &tok);
        h.flags.max_context_length = contexts[i];
        harness_refused(&h, h.s.dir, PACO_EINVAL, "(-c): 4 to 16777216 are expected");
        close_texts(&h, tok);
    }
    open_texts(&h, &tok);
    h.flags.max_context_length = 0; // 512
    harness_refused(&h, h.s.dir, PACO_ELIMIT, "no text is as long as a window of 512 tokens");
    assert_string_equal(h.err.path, h.s.dir);
    close_texts(&h, tok);
    harness_init(&h, &pc_task_perplexity);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "no folder `perplexity`, and no file whose name ends in .txt");
    harness_close(&h);
}

static void without_memory(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    open_texts(&h, &tok);
    harness_torture(&h, h.s.dir, "");
    close_texts(&h, tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_of_texts_in_the_order_of_their_names),
        cmocka_unit_test(of_one_text_and_the_first_of_them),
        cmocka_unit_test(windows_without_a_tokenizer),
        cmocka_unit_test(numbers),
        cmocka_unit_test(what_failed_is_no_part),
        cmocka_unit_test(refused),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
