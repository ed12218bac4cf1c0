// SPDX-License-Identifier: Apache-2.0
/* A vocabulary as GGUF's metadata, read back from a file that holds nothing else. That texts get the same ids
 * is tests/integration/convert_gguf.py's to show. */
#include "unit.h"

#include "base/file.h"
#include "base/memory.h"
#include "prompt/vocab_gguf_write.h"
#include "prompt/vocab_sources.h"
#include "scratch.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define S(text)                                                                                              \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }
#define MARK "\xe2\x96\x81"

static const struct pc_piece g_spm[] = {{S("<unk>"), 0, PC_PIECE_UNKNOWN}, {S("<s>"), 0, PC_PIECE_CONTROL},
    {S("<0x0A>"), 0, PC_PIECE_BYTE}, {S(MARK "a"), -1, PC_PIECE_NORMAL}, {S(MARK), -5, PC_PIECE_NORMAL},
    {S("a"), -6, PC_PIECE_NORMAL}};
static const struct pc_added g_added[] = {{S("<unk>"), 0, .special = true}, {S("<pad>"), 6, .special = true},
    {S("[X]"), 7, .special = false}, {S("gone"), 20, .special = true}};
static const int32_t g_bos = 1;

static struct pc_vocab spm(void)
{
    return (struct pc_vocab){.model = PC_VOCAB_SPM_BPE,
        .pieces = g_spm,
        .n_pieces = sizeof g_spm / sizeof *g_spm,
        .added = g_added,
        .n_added = sizeof g_added / sizeof *g_added,
        .byte_fallback = true,
        .spm = {.add_dummy_prefix = true, .escape_whitespaces = true},
        .bos = 1,
        .eos = -1,
        .unk = 0,
        .pad = 6,
        .prefix = &g_bos,
        .n_prefix = 1};
}

/* The same as LLaMA's tokenizer.json has it: merges, and no scores. */
static const struct pc_piece g_chars[] = {{S("<unk>"), 0, 0}, {S("<s>"), 0, 0}, {S("<0x0A>"), 0, 0},
    {S("ab"), 0, 0}, {S("abc"), 0, 0}, {S("a"), 0, 0}, {S("b"), 0, 0}, {S("c"), 0, 0}, {S("bc"), 0, 0}};
static const struct pc_merge g_merges[] = {
    {S("a"), S("b")}, {S("b"), S("c")}, {S("ab"), S("c")}, {S("a"), S("bc")}};

static struct pc_vocab chars(size_t n_merges)
{
    static const struct pc_normal_step prepend = {PC_NORMAL_PREPEND, S(MARK), {0}};
    static const struct pc_added special[] = {
        {S("<unk>"), 0, .special = true}, {S("<s>"), 1, .special = true}};
    return (struct pc_vocab){.model = PC_VOCAB_MERGES,
        .pieces = g_chars,
        .n_pieces = sizeof g_chars / sizeof *g_chars,
        .merges = g_merges,
        .n_merges = n_merges,
        .added = special,
        .n_added = 2,
        .segments = PC_SEGMENTS_FAST,
        .normal = &prepend,
        .n_normal = 1,
        .byte_fallback = true,
        .bos = 1,
        .eos = -1,
        .unk = 0,
        .pad = -1};
}

/* head as a file, opened. */
static struct pc_checkpoint *reopen(struct scratch *s, const struct pc_gguf_head *head)
{
    struct pc_out_tensor t = {.name = "x", .dtype = PC_F32, .n_dims = 1, .shape = {1}};
    struct pc_layout *l;
    struct pc_checkpoint *ck;
    char path[600];
    scratch_open(s);
    snprintf(path, sizeof path, "%s/f.gguf", s->dir);
    assert_int_equal(pc_layout_new_gguf(head, "f.gguf", &t, 1, &l, NULL), 0);
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    assert_int_equal(ftruncate(fd, (off_t)l->files[0].size), 0);
    assert_int_equal(pc_layout_seal(l, 0, fd, path, NULL), 0);
    close(fd);
    pc_layout_free(l);
    assert_int_equal(pc_gguf_open(path, &ck, NULL), 0);
    return ck;
}

static int64_t number(const struct pc_checkpoint *ck, const char *key)
{
    int64_t v = -1;
    assert_int_equal(pc_gguf_opt_i64(ck, key, INT64_MIN, INT64_MAX, &v, NULL), 0);
    return v;
}

static void assert_token(
    const struct pc_checkpoint *ck, uint64_t i, const char *text, float score, int64_t type)
{
    struct pc_gguf_array tokens, scores, types;
    size_t len;
    assert_int_equal(pc_gguf_get_array(ck, "tokenizer.ggml.tokens", PC_GGUF_STRING, &tokens, NULL), 0);
    assert_int_equal(pc_gguf_get_array(ck, "tokenizer.ggml.scores", PC_GGUF_F64, &scores, NULL), 0);
    assert_int_equal(pc_gguf_get_array(ck, "tokenizer.ggml.token_type", PC_GGUF_I64, &types, NULL), 0);
    const char *found = pc_gguf_array_str(&tokens, i, &len);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(found, text, len);
    assert_true((float)pc_gguf_array_f64(&scores, i) == score);
    assert_int_equal(pc_gguf_array_i64(&types, i), type);
}

static void a_sentencepiece_vocabulary(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_gguf_head head;
    struct pc_vocab_gguf_report report;
    struct pc_vocab v = spm();
    const int32_t eos[] = {7};
    const struct pc_vocab_gguf_options o = {
        .n_rows = 10, .chat_template = "{{ x }}", .eos_ids = eos, .n_eos = 1};
    pc_gguf_head_init(&head);
    assert_int_equal(pc_vocab_gguf_write(&v, &o, &head, &report, NULL), 0);
    assert_int_equal(report.n_dropped, 1); // "gone"
    assert_false(report.no_normalising);
    struct pc_checkpoint *ck = reopen(&s, &head);
    assert_token(ck, 0, "<unk>", 0, PC_PIECE_UNKNOWN);
    assert_token(ck, 2, "<0x0A>", 0, PC_PIECE_BYTE);
    assert_token(ck, 3, MARK "a", -1, PC_PIECE_NORMAL);
    assert_token(ck, 6, "<pad>", -1000, PC_PIECE_CONTROL);
    assert_token(ck, 7, "[X]", -1000, PC_PIECE_USER_DEFINED);
    assert_token(ck, 9, "[PAD9]", -1000, PC_PIECE_UNUSED);
    assert_int_equal(number(ck, "tokenizer.ggml.bos_token_id"), 1);
    assert_int_equal(number(ck, "tokenizer.ggml.eos_token_id"), -1);
    assert_int_equal(number(ck, "tokenizer.ggml.eot_token_id"), 7);
    assert_int_equal(number(ck, "tokenizer.ggml.padding_token_id"), 6);
    bool bos = false, eos_too = true, prefix = false;
    assert_int_equal(pc_gguf_opt_bool(ck, "tokenizer.ggml.add_bos_token", &bos, NULL), 0);
    assert_int_equal(pc_gguf_opt_bool(ck, "tokenizer.ggml.add_eos_token", &eos_too, NULL), 0);
    assert_int_equal(pc_gguf_opt_bool(ck, "tokenizer.ggml.add_space_prefix", &prefix, NULL), 0);
    assert_true(bos && !eos_too && prefix);
    pc_checkpoint_close(ck);
    pc_gguf_head_release(&head);
    scratch_close(&s);
}

static void merges_become_scores(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_gguf_head head;
    struct pc_vocab_gguf_report report;
    struct pc_vocab v = chars(4);
    const struct pc_vocab_gguf_options o = {.n_rows = 9};
    pc_gguf_head_init(&head);
    assert_int_equal(pc_vocab_gguf_write(&v, &o, &head, &report, NULL), 0);
    struct pc_checkpoint *ck = reopen(&s, &head);
    assert_token(ck, 0, "<unk>", -1000, PC_PIECE_CONTROL);
    assert_token(ck, 2, "<0x0A>", 0, PC_PIECE_BYTE);
    assert_token(ck, 3, "ab", -1, PC_PIECE_NORMAL);
    assert_token(ck, 8, "bc", -2, PC_PIECE_NORMAL);
    assert_token(ck, 4, "abc", -3, PC_PIECE_NORMAL);
    assert_token(ck, 5, "a", -4, PC_PIECE_NORMAL);
    pc_checkpoint_close(ck);
    pc_gguf_head_release(&head);
    scratch_close(&s);
}

static void refuse(const struct pc_vocab *v, uint64_t n_rows, int code, const char *message)
{
    struct pc_gguf_head head;
    struct pc_vocab_gguf_report report;
    struct paco_error err = {0};
    const struct pc_vocab_gguf_options o = {.n_rows = n_rows};
    pc_gguf_head_init(&head);
    assert_int_equal(pc_vocab_gguf_write(v, &o, &head, &report, &err), code);
    assert_contains(err.message, message);
    pc_gguf_head_release(&head);
}

static void what_gguf_cannot_say_is_refused(void **state)
{
    (void)state;
    struct pc_vocab v = chars(3); // "abc" could also be a and bc
    refuse(&v, 9, PACO_EUNSUPPORTED, "in no order that scores of pieces could say");
    static const struct pc_merge mixed[] = {
        {S("a"), S("b")}, {S("ab"), S("c")}, {S("b"), S("c")}, {S("a"), S("bc")}};
    v = chars(4);
    v.merges = mixed; // those of "abc" do not follow one another
    refuse(&v, 9, PACO_EUNSUPPORTED, "in no order that scores of pieces could say");
    v = chars(4);
    refuse(&v, 8, PACO_EMISMATCH, "the tokenizer has 9 pieces, the embedding 8 rows");
    v.byte_fallback = false;
    refuse(&v, 9, PACO_EUNSUPPORTED, "a character-level BPE vocabulary has no place");
    v = spm();
    v.model = PC_VOCAB_SPM_UNIGRAM;
    refuse(&v, 9, PACO_EUNSUPPORTED, "a unigram vocabulary has no place");
    static const struct pc_pre_step strange[] = {
        {.kind = PC_PRE_SPLIT, .pattern = S("x+"), .behavior = PC_SPLIT_ISOLATED},
        {.kind = PC_PRE_BYTE_LEVEL}};
    v = chars(4);
    v.pre = strange;
    v.n_pre = 2;
    v.n_normal = 0;
    refuse(&v, 9, PACO_EUNSUPPORTED, "GGUF has no name for (tokenizer.ggml.pre)");
}

static void ways_to_cut_have_names(void **state)
{
    (void)state;
    static const struct pc_pre_step digits[] = {
        {.kind = PC_PRE_SPLIT, .pattern = S("\\p{N}"), .behavior = PC_SPLIT_ISOLATED},
        {.kind = PC_PRE_BYTE_LEVEL, .gpt2_split = true}};
    static const struct pc_pre_step llama3[] = {
        {.kind = PC_PRE_SPLIT,
            .pattern = S("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
            .behavior = PC_SPLIT_ISOLATED},
        {.kind = PC_PRE_BYTE_LEVEL}};
    struct pc_vocab v = {.model = PC_VOCAB_MERGES, .pre = digits, .n_pre = 2};
    size_t len;
    assert_memory_equal(pc_vocab_gguf_pre_name(&v, &len), "smollm", 6);
    assert_int_equal(len, 6);
    v.pre = digits + 1;
    v.n_pre = 1;
    assert_memory_equal(pc_vocab_gguf_pre_name(&v, &len), "gpt-2", 5);
    v.pre = llama3;
    v.n_pre = 2;
    v.ignore_merges = true;
    assert_memory_equal(pc_vocab_gguf_pre_name(&v, &len), "llama-bpe", 9);
    v.ignore_merges = false;
    assert_memory_equal(pc_vocab_gguf_pre_name(&v, &len), "dbrx", 4);
    v.n_pre = 1;
    assert_null(pc_vocab_gguf_pre_name(&v, &len));
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    struct pc_vocab v = chars(4);
    const struct pc_vocab_gguf_options o = {.n_rows = 12};
    int rc = -1;
    for (int64_t n = 0; rc != 0; n++) {
        struct pc_gguf_head head;
        struct pc_vocab_gguf_report report;
        struct paco_error err = {0};
        assert_true(n < 1000);
        pc_gguf_head_init(&head);
        pc_alloc_fail_after(n);
        rc = pc_vocab_gguf_write(&v, &o, &head, &report, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 || rc == PACO_EMEM);
        assert_int_equal(rc, err.code);
        pc_gguf_head_release(&head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sentencepiece_vocabulary),
        cmocka_unit_test(merges_become_scores),
        cmocka_unit_test(what_gguf_cannot_say_is_refused),
        cmocka_unit_test(ways_to_cut_have_names),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
