// SPDX-License-Identifier: Apache-2.0
#include "tokens.h"

#include "gguf_builder.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocabulary.h"
#include "scratch.h"

#define MARK "\xe2\x96\x81"

static struct blob g_blob;

/* ---- tokenizer.json ---- */

static int parse_json(
    const char *text, const struct pc_vocab_side *side, struct pc_tokenizer **tok, struct paco_error *err)
{
    *err = (struct paco_error){0};
    *tok = NULL;
    int rc = pc_vocab_json_parse(text, strlen(text), "tokenizer.json", side, tok, err);
    assert_int_equal(rc, err->code);
    assert_true((rc == 0) == (*tok != NULL));
    return rc;
}

static struct pc_tokenizer *json_tokenizer(const char *text)
{
    struct pc_tokenizer *tok;
    struct paco_error err;
    if (parse_json(text, NULL, &tok, &err) < 0)
        fail_msg("%s", err.message);
    return tok;
}

#define MODEL(vocab, merges)                                                                                 \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define ABC                                                                                                  \
    MODEL("\"u\":0,\"a\":1,\"b\":2,\"ab\":3,\"" MARK "\":4,\"" MARK "ab\":5,\"s\":6",                        \
        "\"a b\",[\"" MARK "\",\"ab\"]")

static void reads_both_spellings_of_merges(void **state)
{
    (void)state;
    struct pc_tokenizer *tok = json_tokenizer("{" ABC "}");
    assert_ids(tok, "ab" MARK "ab", 0, 3, 5);
    assert_ids(tok, "axb", 0, 1, 0, 2);
    pc_tokenizer_free(tok);
}

static void normalisers_and_metaspace(void **state)
{
    (void)state;
    struct pc_tokenizer *tok = json_tokenizer(
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" MARK
        "\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]}," ABC "}");
    assert_ids(tok, "ab ab", 0, 5, 5);
    assert_ids(tok, " ab", 0, 4, 5);
    pc_tokenizer_free(tok);
    // Metaspace does not put a second mark in front; "first" only at the very start of the text.
    tok = json_tokenizer(
        "{\"added_tokens\":[{\"id\":6,\"content\":\"s\"}],\"pre_tokenizer\":{\"type\":\"Metaspace\","
        "\"replacement\":\"" MARK "\",\"prepend_scheme\":\"first\",\"split\":false}," ABC "}");
    assert_ids(tok, " ab", 0, 5);
    assert_ids(tok, "absab", 0, 5, 6, 3);
    pc_tokenizer_free(tok);
    tok = json_tokenizer("{\"added_tokens\":[{\"id\":6,\"content\":\"s\"}],\"pre_tokenizer\":{\"type\":"
                         "\"Metaspace\",\"replacement\":\"" MARK "\",\"add_prefix_space\":true}," ABC "}");
    assert_ids(tok, "absab", 0, 5, 6, 5);
    pc_tokenizer_free(tok);
}

static void templates_and_settings_put_tokens_around(void **state)
{
    (void)state;
#define TEMPLATE                                                                                             \
    "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":"          \
    "\"TemplateProcessing\",\"single\":["                                                                    \
    "{\"SpecialToken\":{\"id\":\"B\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{"      \
    "\"id\":\"E\"}}],"                                                                                       \
    "\"special_tokens\":{\"B\":{\"id\":\"B\",\"ids\":[4],\"tokens\":[\"B\"]},\"E\":{\"id\":\"E\",\"ids\":["  \
    "6,4]}}}]},"
    struct pc_tokenizer *tok = json_tokenizer("{" TEMPLATE ABC "}");
    assert_ids(tok, "ab", PC_ENCODE_SPECIAL, 4, 3, 6, 4);
    assert_ids(tok, "ab", 0, 3);
    pc_tokenizer_free(tok);
    // tokenizer_config.json wins: no BOS, and a single EOS.
    struct pc_vocab_side side = {.era_2023 = true};
    side.config = json_loads("{\"add_bos_token\":false,\"add_eos_token\":true,\"eos_token\":{\"content\":"
                             "\"s\"},\"bos_token\":\"\"}",
        0, NULL);
    struct paco_error err;
    assert_int_equal(parse_json("{" TEMPLATE ABC "}", &side, &tok, &err), 0);
    assert_ids(tok, "ab", PC_ENCODE_SPECIAL, 3, 6);
    assert_int_equal(pc_tokenizer_eos(tok), 6);
    assert_int_equal(pc_tokenizer_bos(tok), -1);
    assert_true(pc_tokenizer_is_special(tok, 6));
    assert_false(pc_tokenizer_adds_bos(tok));
    pc_tokenizer_free(tok);
    pc_vocab_side_release(&side);
    tok = json_tokenizer(
        "{\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"a\",1],\"sep\":[\"b\",2]}," ABC "}");
    assert_ids(tok, "u", PC_ENCODE_SPECIAL, 1, 0, 2);
    pc_tokenizer_free(tok);
}

static void side_files_add_tokens(void **state)
{
    (void)state;
    struct pc_vocab_side side = {0};
    struct pc_tokenizer *tok;
    struct paco_error err;
    side.config = json_loads(
        "{\"added_tokens_decoder\":{\"9\":{\"content\":\"[PAD]\",\"special\":true}},\"pad_token\":\"[PAD]\","
        "\"additional_special_tokens\":[\"<x>\",{\"content\":\"<y>\"},7,\"\"]}",
        0, NULL);
    side.added = json_loads("{\"<z>\":12}", 0, NULL);
    assert_int_equal(parse_json("{" ABC "}", &side, &tok, &err), 0);
    assert_int_equal(pc_tokenizer_pad(tok), 9);
    assert_ids(tok, "a[PAD]b<z><x><y>", PC_ENCODE_PARSE, 1, 9, 2, 12, 13, 14);
    assert_int_equal(pc_tokenizer_n_tokens(tok), 15);
    assert_null(pc_tokenizer_piece(tok, 10, NULL));
    pc_tokenizer_free(tok);
    pc_vocab_side_release(&side);
}

static void refuses_json_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *message;
    } cases[] = {
        {"[]", PACO_EFORMAT, "is not a JSON object"},
        {"{", PACO_EFORMAT, ""},
        {"{}", PACO_EFORMAT, "has no model: not a tokenizer.json"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", PACO_EUNSUPPORTED,
            "the model 'Unigram' is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", PACO_EFORMAT,
            "model.vocab is not an object"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", PACO_EFORMAT, "model.merges is not a list"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", PACO_EFORMAT,
            "'a' has no id below 4098"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":5000},\"merges\":[]}}", PACO_EFORMAT,
            "'a' has no id below 4098"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", PACO_EFORMAT,
            "has id 0, as another piece has"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", PACO_EFORMAT,
            "merge 0 is not two pieces"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]}}", PACO_EFORMAT,
            "merge 0 is not two pieces"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", PACO_EFORMAT,
            "merge 0, 'a' and 'b', is not of pieces"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}", PACO_EFORMAT,
            "unk_token is not a piece"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
            PACO_EUNSUPPORTED, "'end_of_word_suffix'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}",
            PACO_EUNSUPPORTED, "'dropout'"},
        {"{\"normalizer\":{\"type\":\"BertNormalizer\"}," ABC "}", PACO_EUNSUPPORTED,
            "the normalizer 'BertNormalizer'"},
        {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"\"}," ABC "}",
            PACO_EUNSUPPORTED, "Replace with a regular expression"},
        {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}," ABC "}",
            PACO_EFORMAT, "replaces nothing"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," ABC "}", PACO_EUNSUPPORTED,
            "the pre_tokenizer 'BertPreTokenizer'"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}"
         "," ABC "}",
            PACO_EFORMAT, "pre-tokenizer step 0: regular expression"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Odd\"}," ABC
         "}",
            PACO_EFORMAT, "known behavior"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}," ABC "}", PACO_EUNSUPPORTED,
            "Metaspace replacement '_'"},
        {"{\"added_tokens\":[{\"content\":\"x\"}]," ABC "}", PACO_EFORMAT, "added_tokens: entry 0"},
        {"{\"added_tokens\":[{\"id\":2000000000,\"content\":\"x\"}]," ABC "}", PACO_EFORMAT,
            "an added token has id 2000000000"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}}]"
         "}," ABC "}",
            PACO_EFORMAT, "a special token it does not define"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\"}}]"
         ",\"special_tokens\":{\"B\":"
         "{\"ids\":[99]}}}," ABC "}",
            PACO_EFORMAT, "a token in front of a text is id 99"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_tokenizer *tok;
        struct paco_error err;
        assert_int_equal(parse_json(cases[i].text, NULL, &tok, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        assert_string_equal(err.path, "tokenizer.json");
    }
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[4096] = "{\"normalizer\":";
    struct pc_tokenizer *tok;
    struct paco_error err;
    for (int i = 0; i < 12; i++)
        strcat(text, "{\"type\":\"Sequence\",\"normalizers\":[");
    strcat(text, "{\"type\":\"NFC\"}");
    for (int i = 0; i < 12; i++)
        strcat(text, "]}");
    strcat(text, "," ABC "}");
    assert_int_equal(parse_json(text, NULL, &tok, &err), PACO_EUNSUPPORTED);
}

/* ---- tokenizer.model, message by message ---- */

static void put_varint(struct blob *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        blob_uint(b, (v & 0x7f) | 0x80, 1);
    blob_uint(b, v, 1);
}

static void put_piece(struct blob *b, const char *text, float score, int type)
{
    size_t len = strlen(text);
    put_varint(b, 1 << 3 | 2);
    put_varint(b, 2 + len + 5 + 2);
    put_varint(b, 1 << 3 | 2);
    put_varint(b, len);
    blob_bytes(b, text, len);
    put_varint(b, 2 << 3 | 5);
    blob_bytes(b, &score, 4);
    put_varint(b, 3 << 3);
    put_varint(b, (uint64_t)type);
}

/* A trainer of model_type, no dummy-prefix changes; and a field of the future, which is skipped. */
static void put_trainer(struct blob *b, int model_type)
{
    put_varint(b, 2 << 3 | 2);
    put_varint(b, 2);
    put_varint(b, 3 << 3);
    put_varint(b, (uint64_t)model_type);
    put_varint(b, 99 << 3 | 2);
    put_varint(b, 3);
    blob_bytes(b, "new", 3);
}

static void spm_blob(struct blob *b, int model_type)
{
    b->len = 0;
    put_piece(b, "<unk>", 0, 2);
    put_piece(b, "<s>", 0, 3);
    put_piece(b, "</s>", 0, 3);
    put_piece(b, MARK, -3, 1);
    put_piece(b, "a", -2, 1);
    put_piece(b, MARK "a", -1, 1);
    put_trainer(b, model_type);
}

static int parse_spm(
    const struct blob *b, const struct pc_vocab_side *side, struct pc_tokenizer **tok, struct paco_error *err)
{
    *err = (struct paco_error){0};
    *tok = NULL;
    int rc = pc_vocab_spm_parse(b->bytes, b->len, "tokenizer.model", side, tok, err);
    assert_int_equal(rc, err->code);
    assert_true((rc == 0) == (*tok != NULL));
    return rc;
}

static void a_model_alone(void **state)
{
    (void)state;
    struct pc_tokenizer *tok;
    struct paco_error err;
    spm_blob(&g_blob, 2);
    assert_int_equal(parse_spm(&g_blob, NULL, &tok, &err), 0);
    // Normaliser defaults: a dummy prefix, extra white space removed.
    assert_ids(tok, "a  a ", PC_ENCODE_SPECIAL | PC_ENCODE_PARSE, 1, 5, 5);
    assert_ids(tok, "a</s>a", PC_ENCODE_PARSE, 5, 2, 5);
    assert_ids(tok, "xyz a", 0, 3, 0, 5);
    assert_decodes(tok, (const int32_t[]){1, 5, 0, 5}, 4, true, "a a", 3);
    assert_decodes(tok, (const int32_t[]){5, 0}, 2, false, "a \xe2\x81\x87 ", 6);
    assert_true(pc_tokenizer_adds_bos(tok));
    assert_true(pc_tokenizer_marks_spaces(tok));
    assert_int_equal(pc_tokenizer_eos(tok), 2);
    assert_int_equal(pc_tokenizer_pad(tok), -1);
    pc_tokenizer_free(tok);
}

static void old_folders(void **state)
{
    (void)state;
    struct pc_tokenizer *tok;
    struct paco_error err;
    // The first conversions: the class's old name, and special tokens that are empty strings.
    struct pc_vocab_side side = {.era_2023 = true};
    side.config = json_loads(
        "{\"tokenizer_class\":\"LLaMATokenizer\",\"bos_token\":\"\",\"eos_token\":\"\",\"unk_token\":\"\","
        "\"model_max_length\":1000000000}",
        0, NULL);
    spm_blob(&g_blob, 2);
    assert_int_equal(parse_spm(&g_blob, &side, &tok, &err), 0);
    assert_int_equal(pc_tokenizer_bos(tok), 1);
    assert_int_equal(pc_tokenizer_eos(tok), 2);
    assert_int_equal(pc_tokenizer_unk(tok), 0);
    // Their defaults take no white space with them; "a " loses its own to remove_extra_whitespaces.
    assert_ids(tok, "a </s>", PC_ENCODE_PARSE, 5, 2);
    pc_tokenizer_free(tok);
    pc_vocab_side_release(&side);

    // A tuned folder: a pad token behind the vocabulary, all spelt as plain strings.
    side = (struct pc_vocab_side){.era_2023 = true};
    side.config = json_loads("{\"add_bos_token\":false,\"add_eos_token\":true}", 0, NULL);
    side.map = json_loads("{\"eos_token\":\"</s>\",\"pad_token\":\"<pad>\"}", 0, NULL);
    side.added = json_loads("{\"<pad>\":6}", 0, NULL);
    assert_int_equal(parse_spm(&g_blob, &side, &tok, &err), 0);
    assert_int_equal(pc_tokenizer_pad(tok), 6);
    assert_ids(tok, "a \n</s> <pad>", PC_ENCODE_PARSE | PC_ENCODE_SPECIAL, 5, 2, 6, 2);
    assert_true(pc_tokenizer_is_special(tok, 6));
    pc_tokenizer_free(tok);
    pc_vocab_side_release(&side);
}

static void newer_folders(void **state)
{
    (void)state;
    struct pc_tokenizer *tok;
    struct paco_error err;
    struct pc_vocab_side side = {0};
    // added_tokens_decoder has the flags, and legacy=false gives the dummy prefix to the start of the text
    // only.
    side.config = json_loads("{\"legacy\":false,\"eos_token\":\"</"
                             "s>\",\"added_tokens_decoder\":{\"2\":{\"content\":\"</s>\",\"rstrip\":true,"
                             "\"special\":true}}}",
        0, NULL);
    spm_blob(&g_blob, 2);
    assert_int_equal(parse_spm(&g_blob, &side, &tok, &err), 0);
    assert_ids(tok, "a</s>  a", PC_ENCODE_PARSE, 5, 2, 4);
    assert_ids(tok, "</s>a", PC_ENCODE_PARSE, 2, 4);
    // A mark in the text is a space like any other, also to a token that takes spaces.
    assert_ids(tok, "a</s>" MARK "a", PC_ENCODE_PARSE, 5, 2, 4);
    assert_ids(tok, "</s>a", 0, 3, 0, 4);
    pc_tokenizer_free(tok);
    json_object_set_new(side.config, "add_prefix_space", json_false());
    assert_int_equal(parse_spm(&g_blob, &side, &tok, &err), 0);
    assert_ids(tok, "a a", 0, 4, 5);
    pc_tokenizer_free(tok);
    json_object_set_new(
        side.config, "added_tokens_decoder", json_loads("{\"x\":{\"content\":\"y\"}}", 0, NULL));
    assert_int_equal(parse_spm(&g_blob, &side, &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "added_tokens_decoder has a bad entry 'x'");
    pc_vocab_side_release(&side);
    side.added = json_loads("{\"<pad>\":\"6\"}", 0, NULL);
    assert_int_equal(parse_spm(&g_blob, &side, &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "added_tokens.json: ");
    pc_vocab_side_release(&side);
}

static void refuse_spm(const struct blob *b, int code, const char *message)
{
    struct pc_tokenizer *tok;
    struct paco_error err;
    assert_int_equal(parse_spm(b, NULL, &tok, &err), code);
    assert_contains(err.message, message);
    assert_string_equal(err.path, "tokenizer.model");
}

static void refuses_models_by_name(void **state)
{
    (void)state;
    struct blob *b = &g_blob;
    b->len = 0;
    refuse_spm(b, PACO_EFORMAT, "has no pieces");
    blob_bytes(b, "\x0a\xff\xff\xff", 4);
    refuse_spm(b, PACO_EFORMAT, "is not a SentencePiece model (4 bytes that are no such message)");
    spm_blob(b, 2);
    b->len -= 2;
    refuse_spm(b, PACO_EFORMAT, "is not a SentencePiece model");
    spm_blob(b, 3);
    refuse_spm(b, PACO_EUNSUPPORTED, "a SentencePiece model of type 3 (word)");
    spm_blob(b, 4);
    refuse_spm(b, PACO_EUNSUPPORTED, "a SentencePiece model of type 4 (character)");
    spm_blob(b, 2);
    put_piece(b, "b", 0, 7);
    refuse_spm(b, PACO_EFORMAT, "piece 6 'b' has type 7");
    spm_blob(b, 2);
    put_piece(b, "<unk2>", 0, 2);
    refuse_spm(b, PACO_EFORMAT, "pieces 0 and 6 are both the unknown piece");
    spm_blob(b, 2);
    put_piece(b, "a", 0, 1);
    refuse_spm(b, PACO_EFORMAT, "piece 6 'a' was there before");
    b->len = 0;
    put_piece(b, "a", 0, 1);
    refuse_spm(b, PACO_EFORMAT, "without an unknown piece");
}

/* Millions of empty messages would unpack into gigabytes. */
static void unpacking_is_bounded(void **state)
{
    (void)state;
    enum { SIZE = 14 << 20 };
    struct pc_tokenizer *tok = NULL;
    struct paco_error err = {0};
    uint8_t *bytes = pc_alloc_zero(SIZE, 1);
    for (size_t i = 0; i < SIZE; i += 2)
        bytes[i] = 0x0a;
    assert_int_equal(pc_vocab_spm_parse(bytes, SIZE, "x", NULL, &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "is not a SentencePiece model");
    pc_free(bytes);
}

/* ---- GGUF ---- */

static void put_strings(struct blob *b, const char *key, const char *const *v, uint64_t n)
{
    blob_key(b, key, PC_GGUF_ARRAY);
    blob_uint(b, PC_GGUF_STRING, 4);
    blob_uint(b, n, 8);
    for (uint64_t i = 0; i < n; i++)
        blob_str(b, v[i]);
}

static void put_i32s(struct blob *b, const char *key, const int *v, uint64_t n)
{
    blob_key(b, key, PC_GGUF_ARRAY);
    blob_uint(b, PC_GGUF_I32, 4);
    blob_uint(b, n, 8);
    for (uint64_t i = 0; i < n; i++)
        blob_uint(b, (uint32_t)v[i], 4);
}

static void put_f32s(struct blob *b, const char *key, const float *v, uint64_t n)
{
    blob_key(b, key, PC_GGUF_ARRAY);
    blob_uint(b, PC_GGUF_F32, 4);
    blob_uint(b, n, 8);
    blob_bytes(b, v, n * sizeof *v);
}

static int open_gguf(const struct blob *b, struct pc_tokenizer **tok, struct paco_error *err)
{
    struct scratch s;
    scratch_open(&s);
    *err = (struct paco_error){0};
    int rc = pc_vocabulary_open(scratch_write(&s, "m.gguf", b->bytes, b->len), tok, err);
    if (rc < 0)
        assert_contains(err->path, "m.gguf");
    scratch_close(&s);
    return rc;
}

static const char *const g_bpe[] = {"<|end|>", "a", "b", "\xc4\xa0", "ab",
    "\xc4\xa0"
    "ab",
    "1", "12", "<tool>"};
static const int g_bpe_types[] = {3, 1, 1, 1, 1, 1, 1, 1, 4};

static void gpt2_blob(struct blob *b, const char *pre, const char *merge)
{
    const char *const merges[] = {"a b", "\xc4\xa0 ab", merge};
    blob_head(b, 3, 0, 7);
    blob_key_str(b, "tokenizer.ggml.model", "gpt2");
    blob_key_str(b, "tokenizer.ggml.pre", pre);
    put_strings(b, "tokenizer.ggml.tokens", g_bpe, 9);
    put_i32s(b, "tokenizer.ggml.token_type", g_bpe_types, 9);
    put_strings(b, "tokenizer.ggml.merges", merges, 3);
    blob_key_u32(b, "tokenizer.ggml.eos_token_id", 0);
    blob_key_str(b, "tokenizer.chat_template", "{{ x }}");
}

static void gguf_byte_level(void **state)
{
    (void)state;
    struct pc_tokenizer *tok;
    struct paco_error err;
    gpt2_blob(&g_blob, "gpt-2", "1 2");
    g_blob.bytes[g_blob.len] = 0;
    // "12" is a piece, "2" is not: a merge needs both halves.
    assert_int_equal(open_gguf(&g_blob, &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "merge 2, '1' and '2', is not of pieces");
    gpt2_blob(&g_blob, "gpt-2", "a b");
    assert_int_equal(open_gguf(&g_blob, &tok, &err), 0);
    assert_ids(tok, "ab ab<|end|>11<tool>", PC_ENCODE_PARSE, 4, 5, 0, 6, 6, 8);
    assert_ids(tok, "ab<|end|>", 0, 4);
    assert_int_equal(pc_tokenizer_eos(tok), 0);
    assert_int_equal(pc_tokenizer_bos(tok), -1);
    assert_true(pc_tokenizer_is_special(tok, 0));
    assert_false(pc_tokenizer_is_special(tok, 8));
    assert_decodes(tok, (const int32_t[]){4, 5, 0}, 3, true, "ab ab", 5);
    pc_tokenizer_free(tok);
    gpt2_blob(&g_blob, "no-such-pre", "a b");
    assert_int_equal(open_gguf(&g_blob, &tok, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "tokenizer.ggml.pre is 'no-such-pre'");
    gpt2_blob(&g_blob, "smollm", "ab");
    assert_int_equal(open_gguf(&g_blob, &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "merge 2 is not two pieces and a space");
}

static void gguf_pre_tokenizers(void **state)
{
    (void)state;
    static const char *const names[] = {"default", "gpt-2", "smollm", "starcoder", "llama-bpe", "llama-v3",
        "qwen2", "tekken", "falcon3", "olmo"};
    struct pc_tokenizer *tok;
    struct paco_error err;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gpt2_blob(&g_blob, names[i], "a b");
        if (open_gguf(&g_blob, &tok, &err) < 0)
            fail_msg("%s: %s", names[i], err.message);
        assert_ids(tok, "ab ab", 0, 4, 5);
        pc_tokenizer_free(tok);
    }
}

static void gguf_sentencepiece(void **state)
{
    (void)state;
    static const char *const pieces[] = {"<unk>", "<s>", "</s>", MARK, "a", MARK "a"};
    static const float scores[] = {0, 0, 0, -3, -2, -1};
    static const int types[] = {2, 3, 3, 1, 1, 1};
    struct pc_tokenizer *tok;
    struct paco_error err;
    blob_head(&g_blob, 3, 0, 4);
    blob_key_str(&g_blob, "tokenizer.ggml.model", "llama");
    put_strings(&g_blob, "tokenizer.ggml.tokens", pieces, 6);
    put_f32s(&g_blob, "tokenizer.ggml.scores", scores, 6);
    put_i32s(&g_blob, "tokenizer.ggml.token_type", types, 6);
    assert_int_equal(open_gguf(&g_blob, &tok, &err), 0);
    assert_ids(tok, "a  a</s>a", PC_ENCODE_PARSE | PC_ENCODE_SPECIAL, 1, 5, 3, 5, 2, 5);
    assert_decodes(tok, (const int32_t[]){1, 5, 5}, 3, true, "a a", 3);
    pc_tokenizer_free(tok);

    blob_head(&g_blob, 3, 0, 4);
    blob_key_str(&g_blob, "tokenizer.ggml.model", "llama");
    put_strings(&g_blob, "tokenizer.ggml.tokens", pieces, 6);
    put_f32s(&g_blob, "tokenizer.ggml.scores", scores, 5);
    put_i32s(&g_blob, "tokenizer.ggml.token_type", types, 6);
    assert_int_equal(open_gguf(&g_blob, &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "tokenizer.ggml.scores has 5 elements, the vocabulary 6");

    blob_head(&g_blob, 3, 0, 1);
    blob_key_str(&g_blob, "tokenizer.ggml.model", "bert");
    assert_int_equal(open_gguf(&g_blob, &tok, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "tokenizer.ggml.model is 'bert'");
}

/* ---- paths ---- */

static void folders(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_tokenizer *tok;
    struct paco_error err = {0};
    scratch_open(&s);
    assert_int_equal(pc_vocabulary_open(s.dir, &tok, &err), PACO_ENOENT);
    assert_contains(err.message, "neither tokenizer.json nor tokenizer.model");
    assert_null(tok);
    err = (struct paco_error){0};
    assert_int_equal(pc_vocabulary_open(scratch_path(&s, "none"), &tok, &err), PACO_ENOENT);

    spm_blob(&g_blob, 2);
    scratch_write(&s, "tokenizer.model", g_blob.bytes, g_blob.len);
    scratch_text(&s, "special_tokens_map.json", "{\"pad_token\":\"a\"}");
    assert_int_equal(pc_vocabulary_open(s.dir, &tok, &err), 0);
    assert_int_equal(pc_tokenizer_pad(tok), 4);
    pc_tokenizer_free(tok);
    // The file alone knows nothing of the folder.
    assert_int_equal(pc_vocabulary_open(scratch_path(&s, "tokenizer.model"), &tok, &err), 0);
    assert_int_equal(pc_tokenizer_pad(tok), -1);
    pc_tokenizer_free(tok);
    scratch_text(&s, "special_tokens_map.json", "{\"pad_token\":");
    err = (struct paco_error){0};
    assert_int_equal(pc_vocabulary_open(s.dir, &tok, &err), PACO_EFORMAT);
    assert_contains(err.path, "special_tokens_map.json");
    scratch_text(&s, "special_tokens_map.json", "{}");
    // tokenizer.json comes first.
    scratch_text(&s, "tokenizer.json", "{" ABC "}");
    assert_int_equal(pc_vocabulary_open(s.dir, &tok, &err), 0);
    assert_int_equal(pc_tokenizer_n_tokens(tok), 7);
    pc_tokenizer_free(tok);
    scratch_close(&s);
}

static void files_in_the_wrong_place(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_tokenizer *tok;
    struct paco_error err = {0};
    scratch_open(&s);
    assert_int_equal(pc_vocabulary_open(scratch_text(&s, "tokenizer.model",
                                            "version https://git-lfs.github.com/spec/v1\nsize 499723\n"),
                         &tok, &err),
        PACO_EFORMAT);
    assert_contains(err.message, "git-lfs pointer");
    err = (struct paco_error){0};
    assert_int_equal(
        pc_vocabulary_open(scratch_text(&s, "tokenizer.json", "<!DOCTYPE html><html>"), &tok, &err),
        PACO_EFORMAT);
    assert_contains(err.message, "HTML page");
    err = (struct paco_error){0};
    assert_int_equal(pc_vocabulary_open(scratch_text(&s, "tokenizer.model", ""), &tok, &err), PACO_EFORMAT);
    assert_contains(err.message, "is empty");
    scratch_close(&s);
}

static void chat_template_is(const char *path, const char *want)
{
    char *text = NULL;
    struct paco_error err = {0};
    if (pc_vocabulary_chat_template(path, &text, &err) < 0)
        fail_msg("%s", err.message);
    if (want)
        assert_string_equal(text, want);
    else
        assert_null(text);
    pc_free(text);
}

static void chat_templates(void **state)
{
    (void)state;
    struct scratch s;
    scratch_open(&s);
    chat_template_is(s.dir, NULL);
    scratch_text(&s, "tokenizer_config.json",
        "{\"chat_template\":\"one\",\"model_max_length\":1000000000000000019884624838656}");
    chat_template_is(s.dir, "one");
    scratch_text(&s, "tokenizer_config.json",
        "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"t\"},{\"name\":\"default\",\"template\":"
        "\"d\"}]}");
    chat_template_is(s.dir, "d");
    scratch_text(&s, "chat_template.jinja", "file");
    chat_template_is(s.dir, "file");
    gpt2_blob(&g_blob, "gpt-2", "a b");
    chat_template_is(scratch_write(&s, "m.gguf", g_blob.bytes, g_blob.len), "{{ x }}");
    scratch_close(&s);
}

static void runs_out_of_memory_quietly(void **state)
{
    (void)state;
    static const char *const names[] = {"bpe_user.model", "uni_bytes.model", "llama3.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        struct pc_tokenizer *tok = NULL;
        snprintf(path, sizeof path, "tests/fixtures/tokenizer/%s", names[i]);
        int rc = -1, n;
        for (n = 0; rc < 0; n++) {
            struct paco_error err = {0};
            pc_alloc_fail_after(n);
            rc = pc_vocabulary_open(path, &tok, &err);
            pc_alloc_fail_after(-1);
            assert_true((rc == 0) == (tok != NULL));
            assert_int_equal(err.code, rc);
        }
        assert_true(n > 20);
        pc_tokenizer_free(tok);
    }
}

/* ---- LLaMA's own file ---- */

static void llama(void **state)
{
    (void)state;
    char *path = test_data("tokenizer/tokenizer.model");
    struct pc_tokenizer *tok;
    struct paco_error err = {0};
    if (!path)
        skip_because("no LLaMA tokenizer.model in the test data (set PACO_DATA)");
    if (pc_vocabulary_open(path, &tok, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(pc_tokenizer_n_tokens(tok), 32000);
    const unsigned both = PC_ENCODE_SPECIAL | PC_ENCODE_PARSE;
    assert_ids(tok, "hello", both, 1, 22172);
    assert_ids(tok, " hello", both, 1, 29871, 22172);
    assert_ids(tok, "\n", 0, 29871, 13);
    assert_ids(tok, "<|user|>\n", 0, 529, 29989, 1792, 29989, 29958, 13);
    assert_ids(tok, "  ", 0, 1678);
    assert_ids(tok, " A", 0, 29871, 319);
    assert_ids(tok, "A", 0, 319);
    assert_ids(tok, "\xf0\x9f\xa6\x99", 0, 29871, 243, 162, 169, 156);
    assert_ids(tok, "a</s>b", 0, 263, 829, 29879, 29958, 29890);
    assert_decodes(tok, (const int32_t[]){1, 15043, 3186}, 3, true, "Hello world", 11);
    pc_tokenizer_free(tok);
    pc_free(path);
}

/* ---- tiktoken's list of ranks ---- */

/* a b c, space, the two bytes of an e with an accent; ab bc abc " a" and that e. */
#define RANKS "YQ== 0\nYg== 1\nYw== 2\nIA== 3\nww== 4\nqQ== 5\nYWI= 6\nYmM= 7\nYWJjYWI= 8\nIGE= 9\nw6k= 10\n"
enum { N_RANKS = 11 };

static void ranks_merge_lowest_first(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_tokenizer *tok;
    struct paco_error err = {0};
    scratch_open(&s);
    const char *path = scratch_text(&s, "tokenizer.model", RANKS);
    assert_true(pc_vocab_is_tiktoken(path));
    assert_int_equal(pc_vocabulary_open(s.dir, &tok, &err), 0);
    assert_int_equal(pc_tokenizer_n_tokens(tok), N_RANKS + 256);
    assert_ids(tok, "abc", 0, 6, 2);
    assert_ids(tok, "bcab", 0, 7, 6);
    assert_ids(tok, "abcab", 0, 8); /* a word that is a piece, though no merges lead there */
    assert_ids(tok, "b ab\xc3\xa9", 0, 1, 3, 6, 10);
    assert_ids(tok, "c a", 0, 2, 9);
    assert_ids(tok, "", PC_ENCODE_SPECIAL, N_RANKS);
    assert_ids(tok, "a<|eot_id|>", PC_ENCODE_SPECIAL | PC_ENCODE_PARSE, N_RANKS, 0, N_RANKS + 9);
    assert_int_equal(pc_tokenizer_eos(tok), N_RANKS + 1);
    assert_int_equal(pc_tokenizer_pad(tok), -1);
    pc_tokenizer_free(tok);
    scratch_close(&s);
}

static void special_tokens_go_by_release(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        int at;
        const char *name;
    } named[] = {
        {"{}", 0, "<|begin_of_text|>"},
        {"{}", 4, "<|reserved_special_token_2|>"},
        {"{}", 7, "<|end_header_id|>"},
        {"{}", 8, "<|reserved_special_token_4|>"},
        {"{}", 10, "<|reserved_special_token_5|>"},
        {"{}", 255, "<|reserved_special_token_250|>"},
        {"{\"use_scaled_rope\":true}", 4, "<|finetune_right_pad_id|>"},
        {"{\"use_scaled_rope\":true}", 5, "<|reserved_special_token_2|>"},
        {"{\"use_scaled_rope\":true}", 8, "<|eom_id|>"},
        {"{\"model\":{\"use_scaled_rope\":true}}", 10, "<|python_tag|>"},
        {"{\"use_scaled_rope\":true}", 11, "<|reserved_special_token_3|>"},
        {"{\"use_scaled_rope\":true}", 255, "<|reserved_special_token_247|>"},
    };
    struct scratch s;
    struct paco_error err = {0};
    scratch_open(&s);
    scratch_text(&s, "tokenizer.model", RANKS);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        struct pc_tokenizer *tok;
        scratch_text(&s, "params.json", named[i].params);
        assert_int_equal(pc_vocabulary_open(scratch_path(&s, "tokenizer.model"), &tok, &err), 0);
        assert_int_equal(pc_tokenizer_find(tok, named[i].name, strlen(named[i].name)), N_RANKS + named[i].at);
        pc_tokenizer_free(tok);
    }
    scratch_close(&s);
}

static int never(void *ctx, const struct pc_vocab *vocab, struct paco_error *err)
{
    (void)ctx, (void)vocab, (void)err;
    fail();
    return 0;
}

static void broken_ranks_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line, offset;
    } wrong[] = {
        {"YQ== 0\nYg== 2\n", 2, 7}, /* a rank left out */
        {"YQ== 0\nYg==  1\n", 2, 7},
        {"YQ== 00\n", 1, 0},
        {"YQ= 0\n", 1, 0},
        {"Y=== 0\n", 1, 0},
        {"Y*== 0\n", 1, 0},
        {"==== 0\n", 1, 0},
        {" 0\n", 1, 0},
        {"YQ==\n", 1, 0},
        {"YQ== 0\r\n", 1, 0},
        {"YQ== 0\n\nYg== 1\n", 2, 7},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct paco_error err = {0};
        char message[128];
        assert_int_equal(
            pc_vocab_tiktoken_parse(wrong[i].text, strlen(wrong[i].text), "ranks", false, never, NULL, &err),
            PACO_EFORMAT);
        snprintf(message, sizeof message,
            "line %d is not a piece of 1 to 256 bytes in base64, a space and the rank %d", wrong[i].line,
            wrong[i].line - 1);
        assert_string_equal(err.message, message);
        assert_int_equal(err.offset, wrong[i].offset);
        assert_string_equal(err.path, "ranks");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_merge_lowest_first),
        cmocka_unit_test(special_tokens_go_by_release),
        cmocka_unit_test(broken_ranks_are_refused),
        cmocka_unit_test(reads_both_spellings_of_merges),
        cmocka_unit_test(normalisers_and_metaspace),
        cmocka_unit_test(templates_and_settings_put_tokens_around),
        cmocka_unit_test(side_files_add_tokens),
        cmocka_unit_test(refuses_json_by_name),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(a_model_alone),
        cmocka_unit_test(old_folders),
        cmocka_unit_test(newer_folders),
        cmocka_unit_test(refuses_models_by_name),
        cmocka_unit_test(unpacking_is_bounded),
        cmocka_unit_test(gguf_byte_level),
        cmocka_unit_test(gguf_pre_tokenizers),
        cmocka_unit_test(gguf_sentencepiece),
        cmocka_unit_test(folders),
        cmocka_unit_test(files_in_the_wrong_place),
        cmocka_unit_test(chat_templates),
        cmocka_unit_test(runs_out_of_memory_quietly),
        cmocka_unit_test(llama),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
