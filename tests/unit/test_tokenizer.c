// SPDX-License-Identifier: Apache-2.0
#include "tokens.h"

#include "base/json.h"
#include "base/utf8.h"
#include "prompt/vocabulary.h"
#include "tokenizer/bpe.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer_parts.h"
#include "tokenizer/trie.h"
#include "tokenizer/vocab.h"

#include <math.h>

#define FIXTURES "tests/fixtures/tokenizer/"
#define SPAN(s) ((struct pc_span){(s), sizeof(s) - 1})
#define MARK "\xe2\x96\x81"

/* ---- the references' own answers ---- */

static void read_ids(const json_t *list, struct pc_ids *ids)
{
    ids->n = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        assert_int_equal(pc_ids_add(ids, (int32_t)json_integer_value(json_array_get(list, i)), NULL), 0);
}

static void hold_model(const char *name, const json_t *expected, const json_t *texts)
{
    char path[256];
    struct pc_tokenizer *tok;
    struct paco_error err = {0};
    struct pc_ids want = {0};
    snprintf(path, sizeof path, FIXTURES "%s", name);
    if (pc_vocabulary_open(path, &tok, &err) < 0)
        fail_msg("%s: %s", name, err.message);
    // SentencePiece adds nothing around a text and finds no special tokens in it.
    unsigned flags = pc_ends_with(name, ".json") ? PC_ENCODE_SPECIAL | PC_ENCODE_PARSE : 0;
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        read_ids(json_array_get(json_object_get(expected, "ids"), i), &want);
        assert_encodes(tok, json_string_value(text), json_string_length(text), flags, want.v, want.n);
        const json_t *decoded = json_array_get(json_object_get(expected, "decoded"), i);
        assert_decodes(tok, want.v, want.n, false, json_string_value(decoded), json_string_length(decoded));
    }
    pc_ids_release(&want);
    pc_tokenizer_free(tok);
}

static void agrees_with_the_references(void **state)
{
    (void)state;
    json_t *root = json_load_file(FIXTURES "expected.json", JSON_ALLOW_NUL, NULL);
    const char *name;
    json_t *expected;
    assert_non_null(root);
    assert_true(json_object_size(json_object_get(root, "models")) >= 11);
    json_object_foreach(json_object_get(root, "models"), name, expected)
        hold_model(name, expected, json_object_get(root, "texts"));
    json_decref(root);
}

/* ---- a vocabulary small enough to reason about ---- */

enum { A, B, C, AB, BC, ABC, AA, UNK, DOT, SPACE, SEP, END, N_PIECES };

struct small {
    struct pc_piece pieces[N_PIECES];
    struct pc_merge merges[8];
    struct pc_added added[4];
    struct pc_vocab v;
};

static void small_vocab(struct small *s)
{
    static const char *const texts[N_PIECES] = {
        "a", "b", "c", "ab", "bc", "abc", "aa", "?", ".", " ", "[S]", "</s>"};
    *s = (struct small){.v = {.model = PC_VOCAB_MERGES,
                            .segments = PC_SEGMENTS_FAST,
                            .bos = END,
                            .eos = END,
                            .unk = UNK,
                            .pad = -1}};
    for (size_t i = 0; i < N_PIECES; i++)
        s->pieces[i] = (struct pc_piece){{texts[i], strlen(texts[i])}, 0, PC_PIECE_NORMAL};
    s->merges[0] = (struct pc_merge){SPAN("b"), SPAN("c")};
    s->merges[1] = (struct pc_merge){SPAN("a"), SPAN("b")};
    s->merges[2] = (struct pc_merge){SPAN("a"), SPAN("bc")};
    s->merges[3] = (struct pc_merge){SPAN("a"), SPAN("a")};
    s->added[0] = (struct pc_added){.span = SPAN("[S]"), .id = SEP};
    s->added[1] = (struct pc_added){.span = SPAN("</s>"), .id = END, .special = true};
    s->v.pieces = s->pieces;
    s->v.n_pieces = N_PIECES;
    s->v.merges = s->merges;
    s->v.n_merges = 4;
    s->v.added = s->added;
    s->v.n_added = 2;
}

static struct pc_tokenizer *make(const struct small *s)
{
    struct paco_error err = {0};
    struct pc_tokenizer *tok = pc_tokenizer_new(&s->v, &err);
    if (!tok)
        fail_msg("%s", err.message);
    return tok;
}

static void merges_by_rank_then_from_the_left(void **state)
{
    (void)state;
    struct small s;
    small_vocab(&s);
    struct pc_tokenizer *tok = make(&s);
    assert_ids(tok, "abc", 0, ABC);
    assert_ids(tok, "abab", 0, AB, AB);
    assert_ids(tok, "aaa", 0, AA, A);
    assert_ids(tok, "aaaaa", 0, AA, AA, A);
    assert_ids(tok, "aab", 0, A, AB);
    assert_ids(tok, "", 0);
    pc_tokenizer_free(tok);
}

static void unknown_characters(void **state)
{
    (void)state;
    struct small s;
    small_vocab(&s);
    struct pc_tokenizer *tok = make(&s);
    assert_ids(tok, "xya", 0, UNK, UNK, A);
    pc_tokenizer_free(tok);
    s.v.fuse_unk = true;
    tok = make(&s);
    assert_ids(tok,
        "xy\xf0\x9f\xa6\x99"
        "axb",
        0, UNK, A, UNK, B);
    pc_tokenizer_free(tok);
    s.v.drops_unknown = true;
    tok = make(&s);
    // What is left out leaves no gap: its neighbours merge.
    assert_ids(tok, "axb", 0, AB);
    pc_tokenizer_free(tok);
}

static void added_tokens_take_what_their_flags_say(void **state)
{
    (void)state;
    struct small s;
    small_vocab(&s);
    struct pc_tokenizer *tok = make(&s);
    const unsigned parse = PC_ENCODE_PARSE;
    assert_ids(tok, "a [S] b</s>c", parse, A, SPACE, SEP, SPACE, B, END, C);
    // Special ones are text when not asked for; others always count.
    assert_ids(tok, "[S]</s>", 0, SEP, UNK, UNK, UNK, UNK);
    pc_tokenizer_free(tok);
    s.added[0].lstrip = true;
    s.added[1].rstrip = true;
    tok = make(&s);
    assert_ids(tok, "a \t\n[S] b", parse, A, SEP, SPACE, B);
    assert_ids(tok, "</s>\xc2\xa0 [S]", parse, END, SEP);
    assert_ids(tok, " [S]", parse, SEP);
    pc_tokenizer_free(tok);
    s.added[0] = (struct pc_added){.span = SPAN("ab"), .id = AB, .single_word = true};
    tok = make(&s);
    assert_ids(tok, "ab.ab cabab", parse, AB, DOT, AB, SPACE, C, AB, AB);
    s.v.n_merges = 0;
    pc_tokenizer_free(tok);
    tok = make(&s);
    assert_ids(tok, "ab.ab cab", parse, AB, DOT, AB, SPACE, C, A, B);
    pc_tokenizer_free(tok);
}

static void settings_put_tokens_around(void **state)
{
    (void)state;
    struct small s;
    small_vocab(&s);
    s.v.prefix = &(int32_t){END};
    s.v.n_prefix = 1;
    s.v.suffix = (const int32_t[]){SEP, END};
    s.v.n_suffix = 2;
    struct pc_tokenizer *tok = make(&s);
    assert_true(pc_tokenizer_adds_bos(tok));
    assert_ids(tok, "a", PC_ENCODE_SPECIAL, END, A, SEP, END);
    assert_ids(tok, "", PC_ENCODE_SPECIAL, END, SEP, END);
    assert_ids(tok, "a", 0, A);
    pc_tokenizer_free(tok);
}

static void questions(void **state)
{
    (void)state;
    struct small s;
    small_vocab(&s);
    struct pc_tokenizer *tok = make(&s);
    size_t len;
    assert_int_equal(pc_tokenizer_n_tokens(tok), N_PIECES);
    assert_string_equal(pc_tokenizer_piece(tok, ABC, &len), "abc");
    assert_int_equal(len, 3);
    assert_null(pc_tokenizer_piece(tok, N_PIECES, &len));
    assert_null(pc_tokenizer_piece(tok, -1, NULL));
    assert_int_equal(pc_tokenizer_find(tok, "abc", 3), ABC);
    assert_int_equal(pc_tokenizer_find(tok, "</s>", 4), END);
    assert_int_equal(pc_tokenizer_find(tok, "nope", 4), -1);
    assert_true(pc_tokenizer_is_special(tok, END));
    assert_false(pc_tokenizer_is_special(tok, SEP));
    assert_false(pc_tokenizer_is_special(tok, 1000));
    assert_int_equal(pc_tokenizer_eos(tok), END);
    assert_int_equal(pc_tokenizer_pad(tok), -1);
    assert_int_equal(pc_tokenizer_unk(tok), UNK);
    assert_false(pc_tokenizer_adds_bos(tok));
    assert_false(pc_tokenizer_marks_spaces(tok));
    pc_tokenizer_free(tok);
}

/* ---- decoding ---- */

static void decoding_names_an_id_it_does_not_know(void **state)
{
    (void)state;
    struct small s;
    struct paco_error err = {0};
    struct pc_buf out;
    small_vocab(&s);
    struct pc_tokenizer *tok = make(&s);
    pc_buf_init(&out, 100);
    assert_int_equal(
        pc_tokenizer_decode(tok, (const int32_t[]){A, B, 999}, 3, false, &out, &err), PACO_EINVAL);
    assert_string_equal(err.message, "position 2: token id 999 is not in the vocabulary of 12");
    assert_int_equal(pc_tokenizer_decode(tok, (const int32_t[]){-1}, 1, false, &out, &err), PACO_EINVAL);
    pc_buf_release(&out);
    pc_buf_init(&out, 3);
    assert_int_equal(pc_tokenizer_decode(tok, (const int32_t[]){ABC, A}, 2, false, &out, &err), PACO_ELIMIT);
    pc_buf_release(&out);
    assert_decodes(tok, (const int32_t[]){A, END, SEP, END, B}, 5, true, "a[S]b", 5);
    assert_decodes(tok, (const int32_t[]){A, END, B}, 3, false, "a</s>b", 6);
    pc_tokenizer_free(tok);
}

/* 256 byte pieces behind <unk>, U+2581 and "▁x": the shape of LLaMA's vocabulary. */
struct spm {
    struct pc_piece pieces[3 + 256 + 4];
    char bytes[256][8];
    struct pc_vocab v;
};
enum { SPM_UNK, SPM_MARK, SPM_MARK_X, SPM_BYTES, SPM_X = SPM_BYTES + 256 };

static void spm_vocab(struct spm *s)
{
    *s = (struct spm){.v = {.model = PC_VOCAB_SPM_BPE,
                          .segments = PC_SEGMENTS_LEGACY,
                          .strip = PC_STRIP_PIECE,
                          .byte_fallback = true,
                          .bos = -1,
                          .eos = -1,
                          .pad = -1,
                          .spm = {.add_dummy_prefix = true, .escape_whitespaces = true}}};
    s->pieces[SPM_UNK] = (struct pc_piece){SPAN("<unk>"), 0, PC_PIECE_UNKNOWN};
    s->pieces[SPM_MARK] = (struct pc_piece){SPAN(MARK), -3, PC_PIECE_NORMAL};
    s->pieces[SPM_MARK_X] = (struct pc_piece){SPAN(MARK "x"), -1, PC_PIECE_NORMAL};
    s->pieces[SPM_X] = (struct pc_piece){SPAN("x"), -2, PC_PIECE_NORMAL};
    for (unsigned b = 0; b < 256; b++) {
        snprintf(s->bytes[b], sizeof s->bytes[b], "<0x%02X>", b);
        s->pieces[SPM_BYTES + b] = (struct pc_piece){{s->bytes[b], 6}, 0, PC_PIECE_BYTE};
    }
    s->v.pieces = s->pieces;
    s->v.n_pieces = SPM_X + 1;
}

static void bytes_make_characters_or_replacements(void **state)
{
    (void)state;
    struct spm s;
    struct paco_error err = {0};
    spm_vocab(&s);
    struct pc_tokenizer *tok = pc_tokenizer_new(&s.v, &err);
    assert_non_null(tok);
#define BYTE(b) (SPM_BYTES + (b))
    assert_ids(tok, "x \xc3\xa9", 0, SPM_MARK_X, SPM_MARK, BYTE(0xc3), BYTE(0xa9));
    assert_ids(tok, "\xff", 0, SPM_MARK, BYTE(0xef), BYTE(0xbf), BYTE(0xbd));
    const int32_t llama[] = {BYTE(0xf0), BYTE(0x9f), BYTE(0xa6), BYTE(0x99), SPM_X};
    assert_decodes(tok, llama, 5, false, "\xf0\x9f\xa6\x99x", 5);
    // SentencePiece shows one U+FFFD for each byte that is no character.
    assert_decodes(tok, llama, 3, false, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9);
    assert_decodes(
        tok, (const int32_t[]){BYTE(0xe2), BYTE(0x96), SPM_X}, 3, false, "\xef\xbf\xbd\xef\xbf\xbdx", 7);
    assert_decodes(tok, (const int32_t[]){SPM_MARK_X, SPM_MARK_X}, 2, false, "x x", 3);
    assert_decodes(tok, (const int32_t[]){SPM_MARK, SPM_MARK_X}, 2, false, " x", 2);
    assert_decodes(tok, (const int32_t[]){SPM_X, SPM_MARK_X}, 2, false, "x x", 3);
    assert_decodes(tok, (const int32_t[]){SPM_UNK, SPM_MARK_X}, 2, false, "<unk> x", 7);
#undef BYTE
    pc_tokenizer_free(tok);
}

/* ---- what contradicts itself is refused by name ---- */

static void refuse_small(struct small *s, int code, const char *message)
{
    struct paco_error err = {0};
    assert_null(pc_tokenizer_new(&s->v, &err));
    assert_int_equal(err.code, code);
    assert_contains(err.message, message);
    small_vocab(s);
}

static void refuses_contradictions(void **state)
{
    (void)state;
    struct small s;
    small_vocab(&s);
    s.merges[2].right = SPAN("xyz");
    refuse_small(&s, PACO_EFORMAT, "merge 2, 'a' and 'xyz', is not of pieces of the vocabulary");
    s.v.eos = N_PIECES;
    refuse_small(&s, PACO_EFORMAT, "EOS is id 12, but the vocabulary has 12");
    s.added[1].id = -1;
    refuse_small(&s, PACO_EFORMAT, "an added token has id -1 in a vocabulary of 12");
    s.added[1].id = 1 << 30;
    refuse_small(&s, PACO_EFORMAT, "an added token has id 1073741824");
    s.added[1].span.len = 0;
    refuse_small(&s, PACO_EFORMAT, "added token 11 has 0 bytes");
    s.pieces[3].type = 9;
    refuse_small(&s, PACO_EFORMAT, "piece 3 'ab' has type 9");
    s.pieces[3].score = NAN;
    refuse_small(&s, PACO_EFORMAT, "piece 3 'ab' has no finite score");
    s.v.n_pieces = 0;
    s.v.n_added = 0;
    refuse_small(&s, PACO_EFORMAT, "an empty vocabulary");
    struct pc_pre_step split = {.kind = PC_PRE_SPLIT, .pattern = SPAN("a(b"), .behavior = PC_SPLIT_ISOLATED};
    s.v.pre = &split;
    s.v.n_pre = 1;
    refuse_small(&s, PACO_EFORMAT, "pre-tokenizer step 0: regular expression: missing closing parenthesis");
    struct pc_pre_step steps[2] = {{.kind = PC_PRE_BYTE_LEVEL}, split};
    steps[1].pattern = SPAN("x");
    s.v.pre = steps;
    s.v.n_pre = 2;
    refuse_small(&s, PACO_EUNSUPPORTED, "a step behind ByteLevel");
}

static void refuse_spm(struct spm *s, int code, const char *message)
{
    struct paco_error err = {0};
    assert_null(pc_tokenizer_new(&s->v, &err));
    assert_int_equal(err.code, code);
    assert_contains(err.message, message);
    spm_vocab(s);
}

static void refuses_sentencepiece_contradictions(void **state)
{
    (void)state;
    struct spm s;
    spm_vocab(&s);
    s.v.unk = -1;
    refuse_spm(&s, PACO_EFORMAT, "without an unknown piece");
    s.pieces[SPM_X].span = SPAN(MARK);
    refuse_spm(&s, PACO_EFORMAT, "piece 259 '" MARK "' was there before");
    s.pieces[SPM_X].span.len = 0;
    refuse_spm(&s, PACO_EFORMAT, "piece 259 is empty");
    s.pieces[SPM_BYTES + 7].span = SPAN("<0x7>");
    refuse_spm(&s, PACO_EFORMAT, "piece 10 '<0x7>' is a byte piece, but not of the form <0x0A>");
    s.pieces[SPM_BYTES + 7].type = PC_PIECE_CONTROL;
    s.pieces[SPM_BYTES + 7].span = SPAN("<ctl>");
    refuse_spm(&s, PACO_EFORMAT, "byte fallback is on, but there is no piece <0x07>");
    s.v.spm.charsmap = "\x10\0\0\0abc";
    s.v.spm.charsmap_size = 7;
    refuse_spm(&s, PACO_EFORMAT, "precompiled_charsmap has 7 bytes, but says its trie takes 16");
    s.v.spm.charsmap = "\x04\0\0\0\0\0\0\0abc";
    s.v.spm.charsmap_size = 11;
    refuse_spm(&s, PACO_EFORMAT, "not NUL-terminated UTF-8");
    s.v.model = PC_VOCAB_SPM_UNIGRAM;
    for (size_t i = 0; i < s.v.n_pieces; i++)
        if (s.pieces[i].type == PC_PIECE_NORMAL)
            s.pieces[i].type = PC_PIECE_CONTROL;
    refuse_spm(&s, PACO_EFORMAT, "a unigram model without a normal piece");
    char *long_piece = calloc(1, 2000);
    memset(long_piece, 'x', 2000);
    s.pieces[SPM_X].span = (struct pc_span){long_piece, 2000};
    refuse_spm(&s, PACO_ELIMIT, "piece 259 has 2000 bytes");
    free(long_piece);
}

/* A charsmap whose double array points out of itself must be harmless. */
static void hostile_charsmaps_stay_inside(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        struct spm s;
        unsigned char map[4 + 256 + 4] = {0, 1};
        for (size_t i = 4; i < 260; i++)
            map[i] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
        // Labels and leaves often enough for the walk to go on.
        for (size_t i = 4; i < 260; i += 4) {
            map[i] = (unsigned char)"x y\xc3"[seed >> 8 & 3];
            map[i + 3] &= 0x0f;
            seed = seed * 1664525u + 1013904223u;
        }
        memcpy(map + 260, "ab", 3);
        spm_vocab(&s);
        s.v.spm.charsmap = map;
        s.v.spm.charsmap_size = sizeof map;
        struct pc_tokenizer *tok = pc_tokenizer_new(&s.v, NULL);
        struct pc_ids ids = {0};
        assert_non_null(tok);
        assert_int_equal(pc_tokenizer_encode(tok, "x y\xc3\xa9xx yy", 10, 0, &ids, NULL), 0);
        pc_ids_release(&ids);
        pc_tokenizer_free(tok);
    }
}

/* ---- long words: the agenda against the definition ---- */

static size_t merge_by_definition(const struct pc_pairs *pairs, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best = n;
        uint32_t rank = PC_NO_RANK;
        for (size_t i = 0; i + 1 < n; i++) {
            const struct pc_pair *p = pc_pairs_get(pairs, ids[i], ids[i + 1]);
            if (p && p->rank < rank) {
                rank = p->rank;
                best = i;
            }
        }
        if (best == n)
            return n;
        ids[best] = pc_pairs_get(pairs, ids[best], ids[best + 1])->id;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void long_words_merge_by_definition(void **state)
{
    (void)state;
    enum { N = 700, N_IDS = 40 };
    uint32_t seed = 7;
    for (int round = 0; round < 60; round++) {
        struct pc_pairs pairs = {0};
        for (uint32_t i = 0; i < 300; i++) {
            int32_t left = (int32_t)(next_random(&seed) % N_IDS),
                    right = (int32_t)(next_random(&seed) % N_IDS);
            uint32_t rank = next_random(&seed) % 90;
            assert_true(pc_pairs_set(&pairs, left, right, rank, (int32_t)(next_random(&seed) % N_IDS)));
        }
        static struct pc_part parts[N];
        static int32_t want[N];
        size_t n = 2 + next_random(&seed) % (N - 2);
        for (uint32_t i = 0; i < n; i++) {
            want[i] = (int32_t)(next_random(&seed) % 6);
            parts[i] = (struct pc_part){want[i], i};
        }
        struct pc_merger merger = {.pairs = &pairs};
        static const char text[N];
        int64_t left = pc_merge(&merger, text, n, parts, n, NULL);
        assert_int_equal(left, merge_by_definition(&pairs, want, n));
        for (int64_t i = 0; i < left; i++)
            assert_int_equal(parts[i].id, want[i]);
        pc_pairs_release(&pairs);
    }
}

/* A long text is cut at spaces and its words are remembered. Neither may show: its ids are those of its
 * words, each encoded alone, whose dummy prefix stands for the space in front of it. */
static void cutting_changes_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {
        "taundistion", "shi", "la", "1234", "\xf0\x9f\xa6\x99", "tion", "mitarosoda", "x"};
    struct pc_tokenizer *tok;
    struct pc_ids whole = {0}, alone = {0};
    static char text[40000];
    uint32_t seed = 3;
    assert_int_equal(pc_vocabulary_open(FIXTURES "bpe_identity.model", &tok, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        const char *word = words[next_random(&seed) % 8];
        strcat(strcat(text, i ? " " : ""), word);
        assert_int_equal(pc_tokenizer_encode(tok, word, strlen(word), 0, &alone, NULL), 0);
    }
    assert_int_equal(pc_tokenizer_encode(tok, text, strlen(text), 0, &whole, NULL), 0);
    expect_ids("3000 words", &whole, alone.v, alone.n);
    pc_ids_release(&whole);
    pc_ids_release(&alone);
    pc_tokenizer_free(tok);
}

/* ---- expressions ---- */

static int first_match(const char *pattern, const char *text, size_t *start, size_t *end)
{
    struct paco_error err = {0};
    struct pc_regex *re = pc_regex_new(pattern, strlen(pattern), false, &err);
    if (!re)
        fail_msg("%s: %s", pattern, err.message);
    struct pc_regex_run *run = pc_regex_run_new(re, strlen(text), &err);
    int rc = pc_regex_next(run, text, strlen(text), 0, start, end, &err);
    pc_regex_run_free(run);
    pc_regex_free(re);
    return rc;
}

static void classes_are_onigurumas(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        size_t end; /* 0: no match */
    } cases[] = {
        {"^\\s", "\xc2\x85", 2},     // NEL is white space
        {"^\\s", "\xe1\xa0\x8e", 0}, // U+180E is not, though PCRE2 thinks so
        {"^\\S", "\xe1\xa0\x8e", 3},
        {"^[\\S]", "\xe1\xa0\x8e", 3},
        {"^[^\\s]", "\xe1\xa0\x8e", 3},
        {"^[^\\s]", "\xe3\x80\x80", 0},
        {"^\\p{L}", "\xf0\xb1\x8d\x90", 4}, // U+31350, a letter since Unicode 15
        {"^[^\\p{L}]", "\xf0\xb1\x8d\x90", 0},
        {"^\\P{L}", "\xf0\xb1\x8d\x90", 0},
        {"^\\p{^L}", "1", 1},
        {"^\\p{N}", "\xf0\x91\xbd\x90", 4}, // U+11F50, a digit since Unicode 15
        {"^\\w", "\xcc\x81", 2},            // marks are of words
        {"^\\d", "\xd9\xa3", 2},
        {"^\\d", "\xc2\xb2", 0},
        {"^\\d", "\xf0\x96\xb5\xb7", 4}, // U+16D77, since Unicode 16
        {"^\\D", "\xf0\x96\xb5\xb7", 0},
        {"^\\p{Ll}", "\xea\x9f\x8d", 3}, // U+A7CD, since Unicode 16
        {"^[\\p{Lu}\\p{Ll}]", "\xea\x9f\x8d", 3},
        {"^\\p{Latin}", "x", 1},
        {"^\\u00e9", "\xc3\xa9", 2},
        {"^[]a]+", "]a", 2},
        {"^[^]a]", "]", 0},
        {"^.", "\r", 1},
        {"^.", "\n", 0},
        {"^(?i:'s|'t)", "'S", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t start = 9, end = 0;
        int found = first_match(cases[i].pattern, cases[i].text, &start, &end);
        if (found != (cases[i].end > 0) || end != cases[i].end)
            fail_msg("%s on '%s': %d, end %zu", cases[i].pattern, cases[i].text, found, end);
    }
}

static void expressions_out_of_reach_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        int code;
        const char *message;
    } cases[] = {
        {"[a[bc]]", PACO_EUNSUPPORTED, "a class in a class at byte 2"},
        {"[a&&b]", PACO_EUNSUPPORTED, "&& in a class at byte 2"},
        {"x\\h", PACO_EUNSUPPORTED, "this escape at byte 1"},
        {"[\\W]", PACO_EUNSUPPORTED, "\\D or \\W in a class"},
        {"(*NO_JIT)a", PACO_EUNSUPPORTED, "(* at byte 0"},
        {"a\\", PACO_EUNSUPPORTED, "a lone backslash at byte 1"},
        {"\\p{L", PACO_EUNSUPPORTED, "an unfinished \\p"},
        {"\\u12", PACO_EUNSUPPORTED, "an unfinished \\u"},
        {"a\xff", PACO_EFORMAT, "invalid UTF-8 at byte 1"},
        {"", PACO_ELIMIT, "0 bytes"},
        {"(((", PACO_EFORMAT, "missing closing parenthesis"},
        {"(?:a{65535}){65535}", PACO_EFORMAT, "regular expression is too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct paco_error err = {0};
        assert_null(pc_regex_new(cases[i].pattern, strlen(cases[i].pattern), false, &err));
        assert_int_equal(err.code, cases[i].code);
        assert_contains(err.message, cases[i].message);
    }
}

static void hostile_expressions_end(void **state)
{
    (void)state;
    static const char *const patterns[] = {"(a+)+[bc]", "(a|a)*[bc]", "(?:a?){30}a{30}[bc]", "(a*)*\\1[bc]"};
    static char text[20001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 2] = '!';
    int n_stopped = 0;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct small s;
        struct pc_ids ids = {0};
        struct paco_error err = {0};
        small_vocab(&s);
        struct pc_pre_step split = {.kind = PC_PRE_SPLIT,
            .pattern = {patterns[i], strlen(patterns[i])},
            .behavior = PC_SPLIT_ISOLATED};
        s.v.pre = &split;
        s.v.n_pre = 1;
        struct pc_tokenizer *tok = make(&s);
        int rc = pc_tokenizer_encode(tok, text, sizeof text - 1, 0, &ids, &err);
        if (rc < 0) {
            assert_int_equal(rc, PACO_ELIMIT);
            assert_contains(err.message, "takes too long on this text");
            assert_int_equal(ids.n, 0);
            n_stopped++;
        }
        pc_ids_release(&ids);
        pc_tokenizer_free(tok);
    }
    assert_true(n_stopped >= 2);
}

/* ---- Unicode's forms, as the tokenizers library knows them ---- */

static void forms_are_the_librarys(void **state)
{
    (void)state;
    static const struct {
        enum pc_normal_kind kind;
        const char *in, *out;
    } cases[] = {
        {PC_NORMAL_NFC, "e\xcc\x81", "\xc3\xa9"}, {PC_NORMAL_NFD, "\xc3\xa9x", "e\xcc\x81x"},
        {PC_NORMAL_NFKC, "\xef\xac\x81", "fi"}, {PC_NORMAL_NFKD, "\xe2\x91\xa0", "1"},
        {PC_NORMAL_NFC, "\xcc\x81\xcc\xa7", "\xcc\xa7\xcc\x81"},         // marks in their order
        {PC_NORMAL_NFC, "\xcc\x9a\xe0\xa2\x9c", "\xcc\x9a\xe0\xa2\x9c"}, // U+089C is younger
        {PC_NORMAL_NFC, "a\xe0\xa2\x9c\xcc\x81\xcc\xa7", "a\xe0\xa2\x9c\xcc\xa7\xcc\x81"},
        {PC_NORMAL_NFKC, "\xe3\x8b\xbf", "\xe3\x8b\xbf"}, // the era of 2019
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct pc_normal_step step = {.kind = cases[i].kind};
        struct pc_buf out;
        pc_buf_init(&out, 100);
        assert_int_equal(pc_normalize(&step, 1, cases[i].in, strlen(cases[i].in), &out, NULL), 0);
        assert_string_equal(out.data, cases[i].out);
        pc_buf_release(&out);
    }
}

/* ---- memory ---- */

static void runs_out_of_memory_quietly(void **state)
{
    (void)state;
    static const char *const names[] = {"bpe_user.model", "uni_plain.model", "splits.json", "llama3.json"};
    static char text[1200];
    memset(text, 'a', sizeof text - 1);
    static const char start[] = "nation [SEP] \xf0\x9f\xa6\x99 [MASK]";
    memcpy(text, start, sizeof start - 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURES "%s", names[i]);
        struct pc_tokenizer *tok;
        assert_int_equal(pc_vocabulary_open(path, &tok, NULL), 0);
        int rc = PACO_EMEM, n;
        for (n = 0; rc < 0; n++) {
            struct pc_ids ids = {0};
            struct paco_error err = {0};
            pc_alloc_fail_after(n);
            rc = pc_tokenizer_encode(tok, text, sizeof text - 1, PC_ENCODE_PARSE, &ids, &err);
            pc_alloc_fail_after(-1);
            if (rc < 0)
                assert_int_equal(ids.n, 0);
            pc_ids_release(&ids);
        }
        assert_true(n > 3);
        pc_tokenizer_free(tok);
    }
}

static void tries(void **state)
{
    (void)state;
    struct pc_trie t = {0};
    int32_t value = -7;
    assert_int_equal(pc_trie_longest(&t, "abc", 3, &value), 0);
    assert_true(pc_trie_add(&t, "ab", 2, 1) && pc_trie_add(&t, "abcd", 4, 2) && pc_trie_add(&t, "ab", 2, 3));
    assert_int_equal(pc_trie_longest(&t, "abcx", 4, &value), 2);
    assert_int_equal(value, 1);
    assert_int_equal(pc_trie_longest(&t, "abcde", 5, &value), 4);
    assert_int_equal(value, 2);
    assert_int_equal(pc_trie_longest(&t, "abcd", 3, &value), 2);
    assert_int_equal(pc_trie_longest(&t, "b", 1, &value), 0);
    pc_trie_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_references),
        cmocka_unit_test(merges_by_rank_then_from_the_left),
        cmocka_unit_test(unknown_characters),
        cmocka_unit_test(added_tokens_take_what_their_flags_say),
        cmocka_unit_test(settings_put_tokens_around),
        cmocka_unit_test(questions),
        cmocka_unit_test(decoding_names_an_id_it_does_not_know),
        cmocka_unit_test(bytes_make_characters_or_replacements),
        cmocka_unit_test(refuses_contradictions),
        cmocka_unit_test(refuses_sentencepiece_contradictions),
        cmocka_unit_test(hostile_charsmaps_stay_inside),
        cmocka_unit_test(long_words_merge_by_definition),
        cmocka_unit_test(cutting_changes_nothing),
        cmocka_unit_test(classes_are_onigurumas),
        cmocka_unit_test(expressions_out_of_reach_are_named),
        cmocka_unit_test(hostile_expressions_end),
        cmocka_unit_test(forms_are_the_librarys),
        cmocka_unit_test(runs_out_of_memory_quietly),
        cmocka_unit_test(tries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
