// SPDX-License-Identifier: Apache-2.0
/* The loop, on a model that counts: behind token t it prefers t + 1, so that every answer is known
 * beforehand. */
#include "unit.h"

#include "engine/generate.h"
#include "letters_model.h"

struct rig {
    struct tiny m;
    struct pc_engine *e;
    struct pc_seq *seq;
    struct pc_sampler *sampler;
    struct pc_tokenizer *tok;
    struct pc_generation g;
    char streamed[256];
    size_t n_streamed, n_calls, stop_after;
};

static int collect(void *ctx, const char *text, size_t len)
{
    struct rig *r = ctx;
    assert_true(len > 0 && r->n_streamed + len < sizeof r->streamed);
    memcpy(r->streamed + r->n_streamed, text, len);
    r->n_streamed += len;
    return ++r->n_calls == r->stop_after;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct paco_error err = {0};
    letters_model(&r->m, NULL);
    assert_int_equal(
        pc_engine_open(r->m.ck, &r->m.config, &(struct pc_engine_options){.n_threads = 1}, &r->e, &err), 0);
    assert_int_equal(pc_seq_new(r->e, 40, &r->seq, &err), 0);
    assert_int_equal(pc_sampler_new(V, &(struct pc_sampler_options){0}, &r->sampler, &err), 0);
    r->tok = letters_tokenizer();
    pc_generation_init(&r->g);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    pc_generation_release(&r->g);
    pc_tokenizer_free(r->tok);
    pc_sampler_free(r->sampler);
    pc_seq_free(r->seq);
    pc_engine_close(r->e);
    tiny_release(&r->m);
    free(r);
    return 0;
}

/* Answer the prompt of letters from scratch. */
static int answer(struct rig *r, const char *prompt, struct pc_generate_options o, struct paco_error *err)
{
    int32_t ids[64];
    size_t n = strlen(prompt);
    for (size_t i = 0; i < n; i++)
        ids[i] = prompt[i] - 'a';
    pc_generation_release(&r->g);
    pc_generation_init(&r->g);
    pc_seq_truncate(r->seq, 0);
    pc_sampler_reset(r->sampler, 0);
    memset(r->streamed, 0, sizeof r->streamed);
    r->n_streamed = r->n_calls = 0;
    o.on_text = collect;
    o.ctx = r;
    return pc_generate(r->e, r->tok, r->seq, ids, n, r->sampler, &o, &r->g, err);
}

static void expect(struct rig *r, const char *prompt, struct pc_generate_options o, const char *text,
    enum pc_stop stop, size_t n_ids)
{
    struct paco_error err = {0};
    if (answer(r, prompt, o, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(r->g.text.data ? r->g.text.data : "", text);
    assert_string_equal(r->streamed, text);
    assert_string_equal(pc_stop_name(r->g.stop), pc_stop_name(stop));
    assert_int_equal(r->g.ids.n, n_ids);
    assert_int_equal(r->g.n_prompt, strlen(prompt));
    for (size_t i = 0; i < n_ids; i++)
        assert_int_equal(r->g.ids.v[i], (prompt[strlen(prompt) - 1] - 'a' + 1 + (int)i) % V);
}

static void test_length(void **state)
{
    struct rig *r = *state;
    expect(r, "xa", (struct pc_generate_options){.max_tokens = 5}, "bcdef", PC_STOP_LENGTH, 5);
    expect(r, "a", (struct pc_generate_options){.max_tokens = 1}, "b", PC_STOP_LENGTH, 1);
    assert_int_equal(r->g.n_decoded, 0);
    expect(r, "a", (struct pc_generate_options){.max_tokens = 0}, "", PC_STOP_LENGTH, 0);
    /* 40 positions: the last of them is computed for a token nobody asks behind */
    expect(r, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaah", (struct pc_generate_options){.max_tokens = 9}, "ijk",
        PC_STOP_LENGTH, 3);
}

static void test_eos(void **state)
{
    struct rig *r = *state;
    const int32_t eos[] = {9, EOS};
    expect(r, "a", (struct pc_generate_options){.max_tokens = 20, .eos_ids = eos, .n_eos = 2}, "bcdefghi",
        PC_STOP_EOS, 9);
    expect(r, "xy", (struct pc_generate_options){.max_tokens = 20, .eos_ids = eos + 1, .n_eos = 1},
        "z \u00e9the\n", PC_STOP_EOS, 7);
    /* without it the special token has no text, and the count starts again */
    expect(r, "y", (struct pc_generate_options){.max_tokens = 9}, "z \u00e9the\nab", PC_STOP_LENGTH, 9);
}

static void test_stops(void **state)
{
    struct rig *r = *state;
    const char *const stops[] = {"efg", "nomatch"}, *const late[] = {"fgx"}, *const spaced[] = {"z \u00e9t"};
    expect(r, "a", (struct pc_generate_options){.max_tokens = 20, .stops = stops, .n_stops = 2}, "bcd",
        PC_STOP_TEXT, 6);
    /* withheld while "fg" might have become "fgx" */
    expect(r, "a", (struct pc_generate_options){.max_tokens = 20, .stops = late, .n_stops = 1},
        "bcdefghijklmnopqrstu", PC_STOP_LENGTH, 20);
    /* withheld to the end, and released there */
    expect(r, "a", (struct pc_generate_options){.max_tokens = 6, .stops = late, .n_stops = 1}, "bcdefg",
        PC_STOP_LENGTH, 6);
    assert_int_equal(r->n_calls, 5);
    /* in the middle of a token, across several */
    expect(r, "w", (struct pc_generate_options){.max_tokens = 20, .stops = spaced, .n_stops = 1}, "xy",
        PC_STOP_TEXT, 7);
}

/* Half a character is never shown. */
static void test_characters(void **state)
{
    struct rig *r = *state;
    expect(r, "y", (struct pc_generate_options){.max_tokens = 4}, "z \u00e9", PC_STOP_LENGTH, 4);
    assert_int_equal(r->n_calls, 3);
    expect(r, "y", (struct pc_generate_options){.max_tokens = 3}, "z \ufffd", PC_STOP_LENGTH, 3);
}

static int stop_behind(void *ctx, const struct pc_progress_event *event)
{
    const uint64_t *n = ctx;
    return event->done >= *n;
}

static void test_cancel(void **state)
{
    struct rig *r = *state;
    r->stop_after = 3;
    expect(r, "a", (struct pc_generate_options){.max_tokens = 20}, "bcd", PC_STOP_CANCELLED, 3);
    r->stop_after = 0;
    const char *const stops[] = {"cx"};
    uint64_t n = 2;
    struct pc_progress progress = {.update = stop_behind, .ctx = &n};
    /* asked between tokens; what was withheld is shown */
    expect(r, "a",
        (struct pc_generate_options){.max_tokens = 20, .stops = stops, .n_stops = 1, .progress = &progress},
        "bc", PC_STOP_CANCELLED, 2);
    /* half a character, of which more would have come, is not */
    n = 3;
    expect(r, "y", (struct pc_generate_options){.max_tokens = 20, .progress = &progress}, "z ",
        PC_STOP_CANCELLED, 3);
}

/* A longer prompt that begins the same computes only what is new, and answers the same. */
static void test_continuation(void **state)
{
    struct rig *r = *state;
    struct pc_generate_options o = {.max_tokens = 3};
    expect(r, "ab", o, "cde", PC_STOP_LENGTH, 3);
    assert_int_equal(r->g.n_computed, 2);
    assert_int_equal(pc_seq_length(r->seq), 4);
    const int32_t longer[] = {0, 1, 2, 3, 4, 5};
    struct paco_error err = {0};
    pc_generation_release(&r->g);
    pc_generation_init(&r->g);
    assert_int_equal(pc_generate(r->e, r->tok, r->seq, longer, 6, r->sampler, &o, &r->g, &err), 0);
    assert_int_equal(r->g.n_computed, 2);
    assert_string_equal(r->g.text.data, "ghi");
    /* all of it there already: the last token is computed again for its logits */
    pc_generation_release(&r->g);
    pc_generation_init(&r->g);
    assert_int_equal(pc_generate(r->e, r->tok, r->seq, longer, 6, r->sampler, &o, &r->g, &err), 0);
    assert_int_equal(r->g.n_computed, 1);
    assert_string_equal(r->g.text.data, "ghi");
}

static void test_without_tokenizer(void **state)
{
    struct rig *r = *state;
    struct pc_tokenizer *tok = r->tok;
    r->tok = NULL;
    expect(r, "a", (struct pc_generate_options){.max_tokens = 4}, "", PC_STOP_LENGTH, 4);
    r->tok = tok;
}

/* Memory runs out at every moment in turn: an error each time, until there is enough. */
static void test_out_of_memory(void **state)
{
    struct rig *r = *state;
    const char *const stops[] = {"mnx"};
    struct pc_generate_options o = {.max_tokens = 20, .stops = stops, .n_stops = 1};
    int n = 0;
    for (int rc = -1; rc < 0; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        rc = answer(r, "a", o, &err);
        pc_alloc_fail_after(-1);
        if (rc < 0) {
            assert_int_equal(rc, PACO_EMEM);
            assert_int_equal(err.code, PACO_EMEM);
        }
    }
    assert_in_range(n, 3, 100);
    assert_string_equal(r->g.text.data, "bcdefghijklmnopqrstu");
}

static void test_refusals(void **state)
{
    struct rig *r = *state;
    struct paco_error err = {0};
    assert_int_equal(answer(r, "", (struct pc_generate_options){.max_tokens = 1}, &err), PACO_EINVAL);
    assert_string_equal(err.message, "the prompt has no tokens");
    assert_int_equal(answer(r, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                         (struct pc_generate_options){.max_tokens = 1}, &err),
        PACO_ELIMIT);
    assert_string_equal(err.message, "the prompt has 41 tokens, the context holds 40");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eos, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_characters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_continuation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_tokenizer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
