// SPDX-License-Identifier: Apache-2.0
/* Questions and answers over a model that is known: what ends an answer, what its text is, and what fails. */
#include "letters_model.h"

#include "engine/scheduler.h"
#include "eval/answer_engine.h"

struct rig {
    struct tiny m;
    struct pc_engine *e;
    struct pc_tokenizer *tok;
    struct pc_answerer *a;
};

static void setup(struct rig *r, const int32_t *next, struct pc_answer_engine_options o)
{
    struct paco_error err = {0};
    struct pc_engine_options eo = {.n_threads = 1, .memory_limit = 1 << 22};
    letters_model(&r->m, next);
    r->tok = letters_tokenizer();
    pc_answer_engine_plan(&eo, &r->m.config, 4);
    assert_int_equal(eo.max_logits, 4);
    if (pc_engine_open(r->m.ck, &r->m.config, &eo, &r->e, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(pc_answer_engine_open(r->e, r->tok, &o, &r->a, &err), 0);
}

static void teardown(struct rig *r)
{
    r->a->ops->close(r->a);
    pc_engine_close(r->e);
    pc_tokenizer_free(r->tok);
    tiny_release(&r->m);
}

static void submit(struct rig *r, size_t i_item, const char *prompt, struct pc_ask ask)
{
    struct paco_error err = {0};
    struct pc_buf text;
    pc_buf_init(&text, 1000);
    pc_buf_puts(&text, prompt);
    ask.prompt = &text;
    const struct pc_question q = {.i_item = i_item, .key = "x", .seed = 1, .ask = &ask};
    if (r->a->ops->submit(r->a, &q, &err) < 0)
        fail_msg("%s", err.message);
    pc_buf_release(&text);
}

static struct pc_reply poll_one(struct rig *r)
{
    struct paco_error err = {0};
    struct pc_reply reply = {0};
    int rc = 0;
    for (int i = 0; i < 1000 && rc == 0; i++)
        rc = r->a->ops->poll(r->a, &reply, &err);
    assert_int_equal(rc, 1);
    return reply;
}

static void expect_text(
    struct rig *r, const char *prompt, struct pc_ask ask, const char *text, int64_t n_output)
{
    ask.kind = PC_ASK_TEXT;
    submit(r, 3, prompt, ask);
    struct pc_reply reply = poll_one(r);
    if (reply.error.code)
        fail_msg("%s", reply.error.message);
    assert_int_equal(reply.i_item, 3);
    assert_int_equal(reply.n_texts, 1);
    assert_string_equal(reply.texts[0], text);
    assert_int_equal(reply.lens[0], strlen(text));
    assert_int_equal(reply.n_output_tokens, n_output);
    assert_int_equal(reply.n_prompt_tokens, strlen(prompt));
    pc_reply_release(&reply);
}

static const int32_t g_eos[] = {EOS};
static const struct pc_answer_engine_options g_options = {.bos = -1, .eos_ids = g_eos, .n_eos = 1};

static void test_texts(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, NULL, g_options);
    expect_text(&r, "ab", (struct pc_ask){.max_tokens = 3}, "cde", 3);
    expect_text(&r, "ab", (struct pc_ask){.max_tokens = 3, .new_only = true}, "cde", 3);
    /* To the end of sequence, which is no part of it. */
    expect_text(&r, "x", (struct pc_ask){.max_tokens = 40}, "yz \u00e9the\n", 8);
    expect_text(&r, "x", (struct pc_ask){.max_tokens = 0}, "", 0);
    /* Sequences of ids; texts are looked for only where it is said. */
    int32_t fg[] = {5, 6}, q[] = {16};
    const struct pc_ids stop_fg = {.v = fg, .n = 2}, stop_q = {.v = q, .n = 1};
    struct pc_ask ask = {.max_tokens = 40,
        .stop_ids = {&stop_q, &stop_fg},
        .n_stop_ids = 2,
        .stop_texts = {"z", "de"},
        .n_stop_texts = 2};
    expect_text(&r, "ab", ask, "cde", 5);
    expect_text(&r, "g", ask, "hijklmnop", 10);
    ask.texts_only = true;
    expect_text(&r, "ab", ask, "c", 3);
    expect_text(&r, "g", ask, "hijklmnopqrstuvwxy", 19);
    teardown(&r);
}

/* Half a character in the prompt counts as one, and what completes it is no part of the answer. */
static void test_characters_are_counted(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, NULL, g_options);
    expect_text(&r, "z", (struct pc_ask){.max_tokens = 2}, " \ufffd", 2);
    expect_text(&r, "z", (struct pc_ask){.max_tokens = 3}, " \u00e9", 3);
    teardown(&r);
}

static void test_blank_line(void **state)
{
    (void)state;
    struct rig r;
    int32_t next[V];
    for (int i = 0; i < V; i++)
        next[i] = i + 1 < V ? i + 1 : 0;
    next[2] = NEWLINE, next[NEWLINE] = NEWLINE; /* a b c, then nothing but newlines */
    setup(&r, next, g_options);
    struct pc_ask ask = {.max_tokens = 9, .until_blank_line = true};
    expect_text(&r, "a", ask, "bc", 4);
    expect_text(&r, "c", ask, "\n\n\n\n\n\n\n\n\n", 9); /* nothing was said */
    ask.until_blank_line = false;
    expect_text(&r, "a", ask, "bc\n\n\n\n\n\n\n", 9);
    teardown(&r);
}

/* Softmax of three logits behind a prompt, in double. */
static void softmax_of(struct rig *r, const char *prompt, const int32_t ids[3], double p[3])
{
    struct paco_error err = {0};
    struct pc_seq *seq = NULL;
    struct pc_row rows[8];
    size_t n = strlen(prompt);
    assert_int_equal(pc_seq_new(r->e, 8, &seq, &err), 0);
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct pc_row){
            .seq = seq, .pos = (int32_t)i, .token = prompt[i] - 'a', .want_logits = i + 1 == n};
    assert_int_equal(pc_engine_step(r->e, rows, n, &err), 0);
    const float *logits = pc_engine_logits(r->e, n - 1);
    double sum = 0;
    for (int i = 0; i < 3; i++)
        sum += p[i] = exp((double)logits[ids[i]]);
    for (int i = 0; i < 3; i++)
        p[i] /= sum;
    pc_seq_free(seq);
}

static void test_choices(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, NULL, g_options);
    const struct pc_ask ask = {.kind = PC_ASK_CHOICE, .choices = {"c", "de", "the"}, .n_choices = 3};
    static const int32_t ids[] = {2, 3, THE};
    static const char *const prompts[] = {"ab", "abc", "xyz"};
    static const int best[] = {0, 1, -1};
    for (size_t i = 0; i < 3; i++)
        submit(&r, i, prompts[i], ask);
    for (int k = 0; k < 3; k++) {
        struct pc_reply reply = poll_one(&r);
        assert_int_equal(reply.error.code, 0);
        assert_int_equal(reply.n_probs, 3);
        assert_int_equal(reply.n_output_tokens, 0);
        double want[3];
        softmax_of(&r, prompts[reply.i_item], ids, want);
        for (int i = 0; i < 3; i++) {
            assert_true(fabs(reply.probs[i] - want[i]) < 1e-6);
            assert_true(reply.probs[i] == (double)(float)reply.probs[i]);
            assert_true((reply.probs[i] > 0.9) == (i == best[reply.i_item]));
        }
        pc_reply_release(&reply);
    }
    teardown(&r);
}

/* -log p of ids[first + 1] and on, in double. */
static double nats_of(struct rig *r, const int32_t *ids, size_t n, size_t first)
{
    struct paco_error err = {0};
    struct pc_seq *seq = NULL;
    double nats = 0;
    assert_int_equal(pc_seq_new(r->e, 16, &seq, &err), 0);
    for (size_t i = 0; i + 1 < n; i++) {
        const struct pc_row row = {.seq = seq, .pos = (int32_t)i, .token = ids[i], .want_logits = true};
        assert_int_equal(pc_engine_step(r->e, &row, 1, &err), 0);
        const float *logits = pc_engine_logits(r->e, 0);
        double sum = 0;
        for (int k = 0; k < V; k++)
            sum += exp((double)logits[k]);
        nats += i < first ? 0 : log(sum) - (double)logits[ids[i + 1]];
    }
    pc_seq_free(seq);
    return nats;
}

/* Ten tokens of which more count than the engine gives logits at once; and what is no token of the model. */
static void test_nats(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, NULL, g_options);
    static const int32_t ids[] = {0, 1, 2, 9, 10, 3, 3, 4, 5, THE}, beyond[] = {0, 1, V, 2};
    static const size_t firsts[] = {0, 3, 8};
    for (size_t i = 0; i < 3; i++)
        submit(&r, i, "shown only",
            (struct pc_ask){
                .kind = PC_ASK_NATS, .ids = ids, .n_ids = 10, .first = firsts[i], .tail_len = 5 + i});
    submit(&r, 3, "", (struct pc_ask){.kind = PC_ASK_NATS, .ids = beyond, .n_ids = 4, .first = 1});
    for (int k = 0; k < 4; k++) {
        struct pc_reply reply = poll_one(&r);
        size_t i = reply.i_item;
        if (i == 3) {
            assert_int_equal(reply.error.code, PACO_EMISMATCH);
            assert_string_equal(reply.error.message, "token 2 is 32, the model's vocabulary has 32");
            assert_int_equal(reply.nats.n_tokens, 0);
            continue;
        }
        assert_int_equal(reply.error.code, 0);
        assert_int_equal(reply.nats.n_tokens, 9 - firsts[i]);
        assert_int_equal(reply.nats.n_bytes, 5 + i);
        assert_int_equal(reply.n_prompt_tokens, 10);
        assert_int_equal(reply.n_output_tokens, 0);
        assert_true(fabs(reply.nats.sum - nats_of(&r, ids, 10, firsts[i])) < 1e-5);
        assert_true(reply.nats.sum > 1);
        pc_reply_release(&reply);
    }
    teardown(&r);
}

/* Samples have streams of their own, and are the same however many are asked for at once. */
static void test_samples(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, NULL, g_options);
    struct pc_ask ask = {.kind = PC_ASK_TEXT, .max_tokens = 12, .temperature = 8, .n_samples = 6};
    submit(&r, 0, "abc", ask);
    struct pc_reply six = poll_one(&r), two;
    assert_int_equal(six.n_texts, 6);
    assert_string_not_equal(six.texts[0], six.texts[1]);
    ask.n_samples = 2;
    submit(&r, 0, "abc", ask);
    two = poll_one(&r);
    assert_int_equal(two.n_texts, 2);
    for (int i = 0; i < 2; i++)
        assert_string_equal(two.texts[i], six.texts[i]);
    /* The prompt was computed once, but for its last token. */
    struct pc_scheduler_stats stats = pc_answer_engine_stats(r.a);
    assert_int_equal(stats.n_prompt, 6);
    assert_int_equal(stats.n_computed, 2);
    pc_reply_release(&six);
    pc_reply_release(&two);
    teardown(&r);
}

/* What cannot be asked is its item's error, and the others are answered. */
static void test_failures(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, NULL, g_options);
    submit(&r, 0, "", (struct pc_ask){.kind = PC_ASK_TEXT, .max_tokens = 3});
    submit(&r, 1, "ab", (struct pc_ask){.kind = PC_ASK_TEXT, .max_tokens = 1 << 22});
    submit(&r, 2, "ab", (struct pc_ask){.kind = PC_ASK_CHOICE, .choices = {"a", ""}, .n_choices = 2});
    submit(&r, 3, "ab", (struct pc_ask){.kind = PC_ASK_TEXT, .max_tokens = 3});
    static const int codes[] = {PACO_EINVAL, PACO_ELIMIT, PACO_EMISMATCH, 0};
    static const char *const messages[] = {
        "the prompt has no tokens", "keys and values of", "the choice '' has no token", ""};
    size_t room = r.a->ops->room(r.a);
    for (int k = 0; k < 4; k++) {
        struct pc_reply reply = poll_one(&r);
        assert_int_equal(reply.error.code, codes[reply.i_item]);
        assert_contains(reply.error.message, messages[reply.i_item]);
        assert_int_equal(reply.n_texts, reply.i_item == 3);
        assert_null(reply.probs);
        pc_reply_release(&reply);
    }
    assert_int_equal(r.a->ops->room(r.a), room + 4);
    assert_contains(r.a->description, "f32 products of f32; keys and values in f32");
    /* Closed with something under way. */
    submit(&r, 0, "ab", (struct pc_ask){.kind = PC_ASK_TEXT, .max_tokens = 3, .until_blank_line = true});
    teardown(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_characters_are_counted),
        cmocka_unit_test(test_blank_line),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_nats),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
