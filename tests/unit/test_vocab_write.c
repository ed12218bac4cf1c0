// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/json.h"
#include "base/memory.h"
#include "prompt/vocab_write.h"

#define S(text)                                                                                              \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }
#define MARK "\xe2\x96\x81"

static const struct pc_piece g_spm[] = {{S("<unk>"), 0, PC_PIECE_UNKNOWN}, {S("<s>"), 0, PC_PIECE_CONTROL},
    {S("<0x0A>"), 0, PC_PIECE_BYTE}, {S(MARK "ab"), -0.5f, PC_PIECE_NORMAL}, {S("ab"), -1, PC_PIECE_NORMAL},
    {S(MARK "a"), -1, PC_PIECE_NORMAL}, {S(MARK), -5, PC_PIECE_NORMAL}, {S("a"), -6, PC_PIECE_NORMAL},
    {S("b"), -7, PC_PIECE_NORMAL}, {S("<pad>"), 0, PC_PIECE_USER_DEFINED}};

static struct pc_vocab spm(void)
{
    static const int32_t bos = 1;
    return (struct pc_vocab){.model = PC_VOCAB_SPM_BPE,
        .pieces = g_spm,
        .n_pieces = sizeof g_spm / sizeof *g_spm,
        .byte_fallback = true,
        .strip = PC_STRIP_PIECE,
        .spm = {.add_dummy_prefix = true, .escape_whitespaces = true},
        .bos = 1,
        .eos = -1,
        .unk = 0,
        .pad = 9,
        .prefix = &bos,
        .n_prefix = 1};
}

static void merges_fall_by_score_then_length(void **state)
{
    (void)state;
    struct pc_vocab v = spm();
    struct pc_merge *m;
    size_t n;
    assert_int_equal(pc_vocab_merges(&v, &m, &n, NULL), 0);
    static const char *const want[][2] = {{MARK "a", "b"}, {MARK, "ab"}, {"a", "b"}, {MARK, "a"}};
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(m[i].left.len, strlen(want[i][0]));
        assert_memory_equal(m[i].left.text, want[i][0], m[i].left.len);
        assert_int_equal(m[i].right.len, strlen(want[i][1]));
        assert_memory_equal(m[i].right.text, want[i][1], m[i].right.len);
    }
    pc_free(m);
}

static json_t *parse(const struct pc_buf *b)
{
    struct paco_error err = {0};
    json_t *v;
    if (pc_json_parse(b->data, b->len, "x", 0, &v, &err) < 0)
        fail_msg("%s", err.message);
    return v;
}

static void a_sentencepiece_vocabulary(void **state)
{
    (void)state;
    struct pc_vocab v = spm();
    struct pc_vocab_files f = {0};
    const struct pc_vocab_write_options o = {.chat_template = "{{ \"x\" }}\n", .max_length = 2048};
    assert_int_equal(pc_vocab_write(&v, &o, &f, NULL), 0);
    json_t *t = parse(&f.tokenizer), *c = parse(&f.config), *m = parse(&f.special_map),
           *model = json_object_get(t, "model");
    assert_int_equal(json_array_size(json_object_get(t, "added_tokens")), 3);
    const json_t *pad = json_array_get(json_object_get(t, "added_tokens"), 2);
    assert_int_equal(json_integer_value(json_object_get(pad, "id")), 9);
    assert_true(json_is_false(json_object_get(pad, "special")));
    assert_true(
        json_is_true(json_object_get(json_array_get(json_object_get(t, "added_tokens"), 1), "special")));
    assert_int_equal(json_array_size(json_object_get(json_object_get(t, "normalizer"), "normalizers")), 2);
    assert_true(json_is_null(json_object_get(t, "pre_tokenizer")));
    assert_int_equal(json_array_size(json_object_get(json_object_get(t, "decoder"), "decoders")), 4);
    assert_true(json_is_true(json_object_get(model, "byte_fallback")));
    assert_string_equal(json_string_value(json_object_get(model, "unk_token")), "<unk>");
    assert_int_equal(json_object_size(json_object_get(model, "vocab")), 10);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(model, "vocab"), MARK "a")), 5);
    assert_string_equal(json_string_value(json_array_get(json_object_get(model, "merges"), 0)), MARK "a b");
    const json_t *post = json_object_get(t, "post_processor");
    assert_int_equal(json_array_size(json_object_get(post, "single")), 2);
    assert_int_equal(json_array_size(json_object_get(post, "pair")), 4);
    assert_non_null(json_object_get(json_object_get(post, "special_tokens"), "<s>"));
    assert_string_equal(json_string_value(json_object_get(c, "chat_template")), "{{ \"x\" }}\n");
    assert_string_equal(json_string_value(json_object_get(c, "pad_token")), "<pad>");
    assert_null(json_object_get(c, "eos_token"));
    assert_int_equal(json_integer_value(json_object_get(c, "model_max_length")), 2048);
    assert_int_equal(json_object_size(m), 3);
    json_decref(t);
    json_decref(c);
    json_decref(m);
    pc_vocab_files_release(&f);
}

static void a_byte_level_vocabulary(void **state)
{
    (void)state;
    static const struct pc_piece pieces[] = {{S("<|end|>"), 0, PC_PIECE_CONTROL},
        {S("a"), 0, PC_PIECE_NORMAL}, {S("b c"), 0, PC_PIECE_NORMAL}, {S("ab c"), 0, PC_PIECE_NORMAL},
        {{NULL, 0}, 0, PC_PIECE_UNUSED}};
    static const struct pc_merge merges[] = {{S("a"), S("b c")}};
    static const struct pc_pre_step pre[] = {
        {.kind = PC_PRE_SPLIT, .pattern = S("\\p{N}\""), .behavior = PC_SPLIT_ISOLATED},
        {.kind = PC_PRE_BYTE_LEVEL}};
    const struct pc_vocab v = {.model = PC_VOCAB_MERGES,
        .pieces = pieces,
        .n_pieces = 5,
        .merges = merges,
        .n_merges = 1,
        .pre = pre,
        .n_pre = 2,
        .ignore_merges = true,
        .bos = -1,
        .eos = 0,
        .unk = -1,
        .pad = -1};
    struct pc_vocab_files f = {0};
    assert_int_equal(pc_vocab_write(&v, &(struct pc_vocab_write_options){0}, &f, NULL), 0);
    json_t *t = parse(&f.tokenizer), *model = json_object_get(t, "model");
    const json_t *steps = json_object_get(json_object_get(t, "pre_tokenizer"), "pretokenizers");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json_array_get(steps, 0), "pattern"), "Regex")),
        "\\p{N}\"");
    assert_string_equal(json_string_value(json_object_get(json_array_get(steps, 1), "type")), "ByteLevel");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(t, "decoder"), "type")), "ByteLevel");
    assert_true(json_is_null(json_object_get(model, "unk_token")) &&
                json_is_null(json_object_get(t, "post_processor")));
    assert_true(json_is_true(json_object_get(model, "ignore_merges")));
    assert_int_equal(json_object_size(json_object_get(model, "vocab")), 4);
    // A space inside a piece asks for the pair form.
    assert_string_equal(
        json_string_value(json_array_get(json_array_get(json_object_get(model, "merges"), 0), 1)), "b c");
    json_decref(t);
    assert_contains(f.special_map.data, "{\n  \"eos_token\": \"<|end|>\"\n}\n");
    assert_null(strstr(f.config.data, "chat_template"));
    pc_vocab_files_release(&f);
}

static void what_cannot_be_written_is_refused(void **state)
{
    (void)state;
    static const struct pc_piece twice[] = {{S("a"), 0, PC_PIECE_NORMAL}, {S("b"), 0, PC_PIECE_NORMAL},
        {S("a"), 0, PC_PIECE_NORMAL}},
                                 broken[] = {{S("a"), 0, PC_PIECE_NORMAL}, {S("\xff"), 0, PC_PIECE_NORMAL}};
    static char huge[600];
    memset(huge, 'a', sizeof huge);
    const struct pc_piece too_long[] = {{{huge, sizeof huge}, 0, PC_PIECE_NORMAL}};
    const struct {
        struct pc_vocab v;
        int code;
        const char *message;
    } cases[] = {
        {{.model = PC_VOCAB_SPM_UNIGRAM}, PACO_EUNSUPPORTED, "unigram"},
        {{.model = PC_VOCAB_MERGES, .pieces = twice, .n_pieces = 3}, PACO_EFORMAT,
            "pieces 0 and 2 of the vocabulary are both 'a'"},
        {{.model = PC_VOCAB_MERGES, .pieces = broken, .n_pieces = 2}, PACO_EFORMAT,
            "piece 1 of the vocabulary is no text"},
        {{.model = PC_VOCAB_SPM_BPE, .pieces = too_long, .n_pieces = 1}, PACO_ELIMIT,
            "piece 0 is 600 bytes long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_vocab_files f = {0};
        struct paco_error err = {0};
        assert_int_equal(
            pc_vocab_write(&cases[i].v, &(struct pc_vocab_write_options){0}, &f, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        pc_vocab_files_release(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_fall_by_score_then_length),
        cmocka_unit_test(a_sentencepiece_vocabulary),
        cmocka_unit_test(a_byte_level_vocabulary),
        cmocka_unit_test(what_cannot_be_written_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
