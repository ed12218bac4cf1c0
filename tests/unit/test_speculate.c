// SPDX-License-Identifier: Apache-2.0
/* Guessing: what is guessed, when, and that answers are the same with it. */
#include "unit.h"

#include "base/memory.h"
#include "engine/generate.h"
#include "tiny_model.h"
#include "tokenizer/vocab.h"

/* ---- the guesses ---- */

static struct pc_speculator *speculator(size_t capacity, int fixed)
{
    struct pc_speculator *s = NULL;
    struct paco_error err = {0};
    assert_int_equal(pc_speculator_new(capacity, fixed, &s, &err), 0);
    return s;
}

static void expect_draft(struct pc_speculator *s, size_t most, const int32_t *want, size_t n)
{
    int32_t got[PC_MAX_DRAFT];
    size_t n_got = pc_speculator_draft(s, most, got);
    if (n_got != n || (n > 0 && memcmp(got, want, n * sizeof *want) != 0))
        fail_msg(
            "%zu guesses (%d %d ...), %zu expected", n_got, n_got ? got[0] : -1, n_got > 1 ? got[1] : -1, n);
}

static void what_followed_before_is_guessed(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(100, 4);
    const int32_t text[] = {1, 2, 3, 4, 5, 6, 7, 9, 2, 3};
    pc_speculator_begin(s, text, 10);
    expect_draft(s, 15, (int32_t[]){4, 5, 6, 7}, 4);
    expect_draft(s, 2, (int32_t[]){4, 5}, 2);
    expect_draft(s, 0, NULL, 0);
    pc_speculator_add(s, 4); /* right: the guess goes on */
    expect_draft(s, 15, (int32_t[]){5, 6, 7, 9}, 4);
    pc_speculator_add(s, 50);
    expect_draft(s, 15, NULL, 0);
    pc_speculator_add(s, 6); /* one token is not enough */
    expect_draft(s, 15, NULL, 0);
    pc_speculator_free(s);
}

static void the_longest_agreement_goes_first(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(100, 1);
    const int32_t text[] = {5, 1, 2, 3, 70, 6, 2, 3, 80, 5, 1, 2, 3};
    pc_speculator_begin(s, text, 13);
    expect_draft(s, 15, (int32_t[]){70}, 1);
    pc_speculator_add(s, 6);
    pc_speculator_add(s, 2);
    pc_speculator_add(s, 3); /* 6 2 3: three agree there */
    expect_draft(s, 15, (int32_t[]){80}, 1);
    pc_speculator_free(s);
}

/* Behind the end of the text the guess repeats itself. */
static void a_loop_is_guessed_round_and_round(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(100, PC_MAX_DRAFT);
    const int32_t text[] = {9, 1, 2, 3, 1, 2, 3};
    pc_speculator_begin(s, text, 7);
    expect_draft(s, 15, (int32_t[]){1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3}, 15);
    const int32_t same[] = {4, 4, 4};
    pc_speculator_begin(s, same, 3);
    expect_draft(s, 5, (int32_t[]){4, 4, 4, 4, 4}, 5);
    pc_speculator_free(s);
}

static void short_and_full_texts(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(4, 3);
    pc_speculator_begin(s, NULL, 0);
    expect_draft(s, 15, NULL, 0);
    for (int i = 0; i < 10; i++) { /* beyond its capacity nothing is kept, or written */
        pc_speculator_add(s, 7);
        expect_draft(s, 15, (int32_t[]){7, 7, 7}, i < 2 ? 0 : 3);
    }
    const int32_t six[] = {1, 2, 3, 4, 5, 6};
    pc_speculator_begin(s, six, 6);
    expect_draft(s, 15, NULL, 0);
    pc_speculator_free(s);
    s = speculator(0, 3);
    pc_speculator_add(s, 1);
    expect_draft(s, 15, NULL, 0);
    pc_speculator_free(s);
}

static void memory_that_runs_out(void **state)
{
    (void)state;
    for (int n = 0; n < 5; n++) {
        struct pc_speculator *s = NULL;
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        int rc = pc_speculator_new(100, 0, &s, &err);
        pc_alloc_fail_after(-1);
        assert_int_equal(rc, PACO_EMEM);
        assert_null(s);
    }
}

/* ---- when ---- */

/* A text of period n, with every k-th token another; steps priced as price says. Returns how many of its
 * tokens were computed for nothing, in shares of all steps. */
struct play {
    size_t n_plain, n_steps, n_drafted, n_right;
    double seconds;
};

static double linear(size_t rows, double further)
{
    return 1e-3 * (1 + further * (double)(rows - 1));
}

static struct play play(
    struct pc_speculator *s, const int32_t *text, size_t n_prompt, size_t n, double further)
{
    struct play p = {.n_plain = n - n_prompt};
    pc_speculator_begin(s, text, n_prompt);
    for (size_t at = n_prompt; at < n;) {
        int32_t draft[PC_MAX_DRAFT];
        pc_speculator_add(s, text[at++]);
        size_t n_draft = pc_speculator_draft(s, n - at, draft);
        double took = linear(1 + n_draft, further);
        pc_speculator_measured(s, 1 + n_draft, took);
        p.seconds += took;
        p.n_steps++;
        p.n_drafted += n_draft;
        for (size_t i = 0; i < n_draft && at < n && draft[i] == text[at]; i++) {
            p.n_right++;
            pc_speculator_add(s, text[at++]);
        }
    }
    return p;
}

enum { LONG = 4000 };
static int32_t g_text[LONG];

static uint32_t next_random(uint64_t *r)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*r >> 40);
}

/* Quotes of 20 to 60 tokens from the first thousand, between them n_new tokens of its own. */
static void make_quotes(size_t n_new)
{
    uint64_t r = 7;
    size_t at = 0;
    while (at < 1000)
        g_text[at++] = (int32_t)(next_random(&r) % 500);
    while (at < LONG) {
        size_t from = next_random(&r) % 900, n = 20 + next_random(&r) % 40;
        for (size_t i = 0; i < n && at < LONG; i++)
            g_text[at++] = g_text[from + i];
        for (size_t i = 0; i < n_new && at < LONG; i++)
            g_text[at++] = (int32_t)(next_random(&r) % 500);
    }
}

/* Two letters: any two tokens have occurred, and tell nothing. */
static void make_noise(void)
{
    uint64_t r = 5;
    for (size_t i = 0; i < LONG; i++)
        g_text[i] = (int32_t)(next_random(&r) % 4);
}

static void guesses_that_pay(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(LONG, 0);
    make_quotes(5);
    struct play p = play(s, g_text, 1000, LONG, 0.1);
    double plain = 1e-3 * (double)p.n_plain;
    print_message("quotes: %.2f x, %zu of %zu guesses right\n", plain / p.seconds, p.n_right, p.n_drafted);
    assert_true(plain / p.seconds > 2);
    pc_speculator_free(s);
}

static void guesses_that_do_not(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(LONG, 0);
    make_noise();
    struct play p = play(s, g_text, 100, LONG, 0.3);
    double plain = 1e-3 * (double)p.n_plain;
    print_message("noise: %.3f x, %zu guesses\n", plain / p.seconds, p.n_drafted);
    assert_true(plain / p.seconds > 0.99);
    pc_speculator_free(s);
    /* However right, rows that cost as much as steps are not worth it. */
    s = speculator(LONG, 0);
    make_quotes(0);
    p = play(s, g_text, 1000, LONG, 1.0);
    print_message("dear rows: %.3f x, %zu guesses\n", 1e-3 * (double)p.n_plain / p.seconds, p.n_drafted);
    assert_true(1e-3 * (double)p.n_plain / p.seconds > 0.99);
    pc_speculator_free(s);
}

/* It was off for long, and comes back by itself where the text begins to repeat. */
static void guessing_comes_back(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(2 * LONG, 0);
    make_noise();
    play(s, g_text, 100, LONG, 0.15);
    make_quotes(5);
    struct play p = play(s, g_text, 1000, LONG, 0.15);
    assert_true(1e-3 * (double)p.n_plain / p.seconds > 1.5);
    pc_speculator_free(s);
}

/* A price noted while the machine was busy is forgotten. */
static void a_wrong_price_is_forgotten(void **state)
{
    (void)state;
    struct pc_speculator *s = speculator(LONG, 0);
    pc_speculator_measured(s, 1, 1e-3);
    for (size_t rows = 2; rows <= 16; rows++)
        for (int i = 0; i < 10; i++)
            pc_speculator_measured(s, rows, 1);
    make_quotes(5);
    struct play p = play(s, g_text, 1000, LONG, 0.1);
    assert_true(1e-3 * (double)p.n_plain / p.seconds > 1.2);
    pc_speculator_measured(s, 0, 1);
    pc_speculator_measured(s, 17, 1);
    pc_speculator_measured(s, 1, 0);
    pc_speculator_free(s);
}

/* ---- the same answers ---- */

enum { V = 40, ROOM = 160 };

static struct pc_tokenizer *letters(void)
{
    static struct pc_piece pieces[V];
    static char text[V][3];
    for (int i = 0; i < V; i++) {
        snprintf(text[i], sizeof text[i], i < 26 ? "%c" : "%c%c", 'a' + i % 26, 'a' + i / 2);
        pieces[i] = (struct pc_piece){{text[i], strlen(text[i])}, 0, PC_PIECE_NORMAL};
    }
    static const struct pc_pre_step pre[] = {{.kind = PC_PRE_BYTE_LEVEL}};
    struct pc_vocab v = {.model = PC_VOCAB_MERGES,
        .pieces = pieces,
        .n_pieces = V,
        .segments = PC_SEGMENTS_FAST,
        .pre = pre,
        .n_pre = 1,
        .bos = -1,
        .eos = -1,
        .unk = -1,
        .pad = -1};
    struct paco_error err = {0};
    struct pc_tokenizer *tok = pc_tokenizer_new(&v, &err);
    if (!tok)
        fail_msg("%s", err.message);
    return tok;
}

struct rig {
    struct tiny m;
    struct pc_engine *e;
    struct pc_tokenizer *tok;
    size_t n_drafted, n_accepted;
};

static void open_rig(struct rig *r, enum pc_dtype dtype)
{
    struct paco_error err = {0};
    *r = (struct rig){.m = {.config = {.n_layers = 2,
                                .hidden_size = 64,
                                .intermediate_size = 96,
                                .n_heads = 4,
                                .n_kv_heads = 2,
                                .head_dim = 16,
                                .vocab_size = V,
                                .max_positions = 256,
                                .rms_norm_eps = 1e-5f,
                                .rope_theta = 10000.0f},
                          .dtype = dtype,
                          .mapped = true,
                          .random = 3}};
    tiny_make(&r->m);
    assert_int_equal(
        pc_engine_open(r->m.ck, &r->m.config, &(struct pc_engine_options){.n_threads = 2}, &r->e, &err), 0);
    r->tok = letters();
}

static void close_rig(struct rig *r)
{
    pc_tokenizer_free(r->tok);
    pc_engine_close(r->e);
    tiny_release(&r->m);
}

static void run(struct rig *r, const struct pc_sampler_options *sampling, struct pc_generate_options o,
    const int32_t *prompt, size_t n, int32_t room, struct pc_generation *g, int32_t *length)
{
    struct paco_error err = {0};
    struct pc_seq *seq;
    struct pc_sampler *sampler;
    pc_generation_init(g);
    assert_int_equal(pc_seq_new(r->e, room, &seq, &err), 0);
    assert_int_equal(pc_sampler_new(V, sampling, &sampler, &err), 0);
    if (pc_generate(r->e, r->tok, seq, prompt, n, sampler, &o, g, &err) < 0)
        fail_msg("%s", err.message);
    *length = pc_seq_length(seq);
    pc_sampler_free(sampler);
    pc_seq_free(seq);
}

static void compare(struct rig *r, const struct pc_sampler_options *sampling, struct pc_generate_options o,
    const int32_t *prompt, size_t n, int32_t room)
{
    struct pc_generation plain, guessed;
    int32_t plain_length, length;
    run(r, sampling, o, prompt, n, room, &plain, &plain_length);
    assert_int_equal(plain.n_drafted, 0);
    for (int fixed = 0; fixed <= PC_MAX_DRAFT; fixed += fixed < 3 ? 1 : 6) {
        o.speculator = speculator((size_t)room, fixed);
        run(r, sampling, o, prompt, n, room, &guessed, &length);
        assert_int_equal(guessed.ids.n, plain.ids.n);
        assert_memory_equal(guessed.ids.v, plain.ids.v, plain.ids.n * sizeof *plain.ids.v);
        assert_string_equal(
            guessed.text.data ? guessed.text.data : "", plain.text.data ? plain.text.data : "");
        assert_int_equal(guessed.stop, plain.stop);
        assert_int_equal(guessed.n_decoded, plain.n_decoded);
        assert_int_equal(length, plain_length);
        assert_true(guessed.n_accepted <= guessed.n_drafted);
        r->n_drafted += (size_t)guessed.n_drafted;
        r->n_accepted += (size_t)guessed.n_accepted;
        pc_speculator_free(o.speculator);
        pc_generation_release(&guessed);
    }
    pc_generation_release(&plain);
}

static void answers_are_the_same(void **state)
{
    (void)state;
    static const enum pc_dtype dtypes[] = {PC_F32, PC_BF16, PC_F16, PC_Q8_0};
    static const int32_t prompt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
    static const char *const stops[] = {"ab", "q"};
    static const int32_t eos[] = {5, 17};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        struct rig r;
        open_rig(&r, dtypes[d]);
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct pc_sampler_options sampling = {.temperature = seed % 3 == 0 ? 0 : 0.3 * (double)(seed % 3),
                .top_k = seed % 4 == 1 ? 5 : 0,
                .top_p = seed % 4 == 2 ? 0.8 : 0,
                .repetition_penalty = seed % 5 == 4 ? 1.3 : 1,
                .seed = seed};
            size_t n = 3 + (size_t)seed * 3 / 2;
            struct pc_generate_options o = {.max_tokens = 60};
            compare(&r, &sampling, o, prompt, n, ROOM);
            compare(&r, &sampling, o, prompt, n, (int32_t)n + 20); /* the context ends first */
            o.eos_ids = eos;
            o.n_eos = 2;
            compare(&r, &sampling, o, prompt, n, ROOM);
            o.n_eos = 0;
            o.stops = stops;
            o.n_stops = 2;
            compare(&r, &sampling, o, prompt, n, ROOM);
            o.max_tokens = 1 + (int32_t)seed;
            compare(&r, &sampling, o, prompt, n, ROOM);
        }
        print_message("%s: %zu of %zu guesses right\n", pc_dtype_name(dtypes[d]), r.n_accepted, r.n_drafted);
        assert_true(r.n_accepted > 50 && r.n_drafted > r.n_accepted);
        close_rig(&r);
    }
}

/* The next prompt goes on where the answer ended: what was guessed behind it is gone. */
static void a_conversation_goes_on(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3, 1, 2, 3, 1, 2};
    struct paco_error err = {0};
    struct rig r;
    open_rig(&r, PC_F32);
    int32_t first[2][64], second[2][64];
    for (int guess = 0; guess < 2; guess++) {
        struct pc_generate_options o = {
            .max_tokens = 20, .speculator = guess ? speculator(ROOM, PC_MAX_DRAFT) : NULL};
        struct pc_seq *seq;
        struct pc_sampler *sampler;
        struct pc_generation g;
        assert_int_equal(pc_seq_new(r.e, ROOM, &seq, &err), 0);
        assert_int_equal(pc_sampler_new(V, &(struct pc_sampler_options){0}, &sampler, &err), 0);
        pc_generation_init(&g);
        assert_int_equal(pc_generate(r.e, r.tok, seq, prompt, 8, sampler, &o, &g, &err), 0);
        assert_int_equal(pc_seq_length(seq), 27);
        memcpy(first[guess], g.ids.v, 20 * sizeof(int32_t));
        int32_t longer[30];
        memcpy(longer, prompt, sizeof prompt);
        memcpy(longer + 8, g.ids.v, 20 * sizeof(int32_t));
        longer[28] = 4, longer[29] = 2;
        pc_generation_release(&g);
        pc_generation_init(&g);
        assert_int_equal(pc_generate(r.e, r.tok, seq, longer, 30, sampler, &o, &g, &err), 0);
        assert_int_equal(g.n_computed, 3);
        memcpy(second[guess], g.ids.v, 20 * sizeof(int32_t));
        pc_generation_release(&g);
        pc_sampler_free(sampler);
        pc_seq_free(seq);
        pc_speculator_free(o.speculator);
    }
    assert_memory_equal(first[0], first[1], 20 * sizeof(int32_t));
    assert_memory_equal(second[0], second[1], 20 * sizeof(int32_t));
    close_rig(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_before_is_guessed),
        cmocka_unit_test(the_longest_agreement_goes_first),
        cmocka_unit_test(a_loop_is_guessed_round_and_round),
        cmocka_unit_test(short_and_full_texts),
        cmocka_unit_test(memory_that_runs_out),
        cmocka_unit_test(guesses_that_pay),
        cmocka_unit_test(guesses_that_do_not),
        cmocka_unit_test(guessing_comes_back),
        cmocka_unit_test(a_wrong_price_is_forgotten),
        cmocka_unit_test(answers_are_the_same),
        cmocka_unit_test(a_conversation_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
