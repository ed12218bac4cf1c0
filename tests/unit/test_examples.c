// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "prompt/vocabulary.h"
#include "scratch.h"
#include "train/examples.h"
#include "train/show.h"
#include "unit.h"

/* Numbers of the same definition written in Python. */
static void test_order_as_defined(void **state)
{
    (void)state;
    static const uint32_t want[3][10] = {
        {6, 7, 4, 3, 9, 5, 0, 8, 2, 1}, {9, 7, 8, 5, 4, 1, 6, 0, 3, 2}, {1, 3, 2, 6, 4, 9, 5, 8, 0, 7}};
    uint32_t order[10];
    pc_examples_order(42, 0, true, order, 10);
    assert_memory_equal(order, want[0], sizeof order);
    pc_examples_order(42, 1, true, order, 10);
    assert_memory_equal(order, want[1], sizeof order);
    pc_examples_order(UINT64_MAX, 7, true, order, 10);
    assert_memory_equal(order, want[2], sizeof order);
}

static void test_order(void **state)
{
    (void)state;
    uint32_t order[1000], again[1000];
    bool seen[1000] = {false};
    pc_examples_order(42, 0, false, order, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(order[i], i);
    pc_examples_order(42, 0, true, order, 1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(order[i] < 1000 && !seen[order[i]]);
        seen[order[i]] = true;
    }
    pc_examples_order(42, 1, true, again, 1000);
    assert_memory_not_equal(order, again, sizeof order);
    pc_examples_order(42, 0, true, again, 1000);
    assert_memory_equal(order, again, sizeof order);
    pc_examples_order(0, 0, true, order, 1);
    assert_int_equal(order[0], 0);
    pc_examples_order(0, 0, true, NULL, 0);
}

/* ---- reading ---- */

struct reading {
    struct scratch dir;
    struct pc_tokenizer *tok;
    struct pc_examples_options o;
    struct pc_examples set;
    struct paco_error err;
};

static void reading_open(struct reading *r)
{
    *r = (struct reading){.o = {.max_seq_length = 512}};
    scratch_open(&r->dir);
    assert_int_equal(pc_vocabulary_open("tests/fixtures/tokenizer/bpe_plain.model", &r->tok, &r->err), 0);
    r->o.tokenizer = r->tok;
}

static void reading_close(struct reading *r)
{
    pc_examples_release(&r->set);
    pc_tokenizer_free(r->tok);
    scratch_close(&r->dir);
}

static int read_text(struct reading *r, const char *text)
{
    pc_examples_release(&r->set);
    r->err = (struct paco_error){0};
    return pc_examples_read(scratch_text(&r->dir, "data.jsonl", text), &r->o, &r->set, &r->err);
}

#define CHAT(question, answer)                                                                               \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"" question                                              \
    "\"},{\"role\":\"assistant\",\"content\":\"" answer "\"}]}\n"

static void test_read(void **state)
{
    (void)state;
    struct reading r;
    int32_t ids[512], labels[512];
    reading_open(&r);
    assert_int_equal(read_text(&r, CHAT("a", "b") "\n" CHAT("c", "") CHAT("d", "e f g")), 0);
    assert_int_equal(r.set.encoding, PC_ENCODING_MESSAGES);
    assert_int_equal(r.set.n, 3);
    assert_int_equal(r.set.n_read, 3);
    assert_int_equal(r.set.n_empty, 1);
    assert_int_equal(pc_example_at(&r.set, 1)->line, 3);
    assert_int_equal(pc_example_at(&r.set, 1)->at, pc_example_at(&r.set, 0)->n_ids);
    for (size_t i = 0; i < r.set.n; i++) {
        const struct pc_example *e = pc_example_at(&r.set, i);
        uint32_t n_trained = 0;
        pc_examples_get(&r.set, i, ids, labels);
        assert_int_equal(ids[0], pc_tokenizer_bos(r.tok));
        assert_int_equal(ids[e->n_ids - 1], pc_tokenizer_eos(r.tok));
        assert_int_equal(labels[e->n_ids - 1], PC_LABEL_NONE);
        assert_int_equal(labels[e->n_ids - 2], pc_tokenizer_eos(r.tok));
        for (uint32_t t = 0; t + 1 < e->n_ids; t++) {
            assert_true(labels[t] == PC_LABEL_NONE || labels[t] == ids[t + 1]);
            assert_int_equal(labels[t] != PC_LABEL_NONE, pc_examples_is_trained(&r.set, i, t + 1));
            n_trained += labels[t] != PC_LABEL_NONE;
        }
        assert_int_equal(n_trained, e->n_trained);
    }
    assert_int_equal(pc_example_at(&r.set, 1)->n_trained, 1);
    reading_close(&r);
}

static void test_dropped_and_limit(void **state)
{
    (void)state;
    struct reading r;
    reading_open(&r);
    const char *text =
        CHAT("a", "b") "{\"messages\":[{\"role\":\"user\",\"content\":\"alone\"}]}\n" CHAT("c", "d");
    assert_int_equal(read_text(&r, text), 0);
    assert_int_equal(r.set.n_read, 3);
    assert_int_equal(r.set.n, 2);
    assert_int_equal(r.set.n_dropped, 1);
    assert_int_equal(r.set.n_masked, 1);
    assert_int_equal(pc_example_at(&r.set, 1)->line, 3);
    uint8_t file_digest[PC_SHA256_SIZE], digest[PC_SHA256_SIZE];
    memcpy(file_digest, r.set.file_digest, sizeof file_digest);
    memcpy(digest, r.set.digest, sizeof digest);
    r.o.limit = 2;
    assert_int_equal(read_text(&r, text), 0);
    assert_int_equal(r.set.n_read, 2);
    assert_int_equal(r.set.n, 1);
    assert_memory_equal(file_digest, r.set.file_digest, sizeof file_digest);
    assert_memory_not_equal(digest, r.set.digest, sizeof digest);
    reading_close(&r);
}

static void expect_error(struct reading *r, const char *text, int code, const char *message)
{
    assert_int_equal(read_text(r, text), code);
    assert_string_equal(r->err.message, message);
    assert_contains(r->err.path, "data.jsonl");
    assert_null(r->set.examples);
}

static void test_errors(void **state)
{
    (void)state;
    struct reading r;
    reading_open(&r);
    expect_error(&r, CHAT("a", "b") "\n{\"messages\":[]}\n{\"messages\":3}\n", PACO_EFORMAT,
        "line 3: messages field is empty.");
    expect_error(&r, CHAT("a", "b") "{\"messages\":\n", PACO_EFORMAT,
        "line 2: JSON: unexpected token near end of the line");
    expect_error(&r, CHAT("a", "b") "{\"prompt\":\"a\",\"completion\":\"b\"}\n", PACO_EFORMAT,
        "line 2: 'messages' is missing");
    expect_error(&r, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n", PACO_EFORMAT,
        "none of its 1 examples has anything to learn");
    assert_int_equal(read_text(&r, "{\"text\":\"a\"}\n"), PACO_EFORMAT);
    assert_contains(r.err.message, "line 1: You need to have either 'prompt'&'completion' or 'messages'");
    assert_contains(r.err.message, "here are '");
    expect_error(&r, "[]", PACO_EFORMAT, "none of its 0 examples has anything to learn");
    reading_close(&r);
}

/* Many records, so that tasks and batches are cut: with several threads the same as with one. */
static void test_threads(void **state)
{
    (void)state;
    struct reading r;
    uint8_t digest[PC_SHA256_SIZE];
    reading_open(&r);
    const size_t n = 20000;
    char *text = malloc(n * 256), *at = text;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, CHAT("question %zu", "answer %.*s"), i, (int)(i % 97),
            "words words words words words words words words words words words words words words words words "
            "words");
    assert_int_equal(read_text(&r, text), 0);
    memcpy(digest, r.set.digest, sizeof digest);
    uint64_t n_ids = r.set.n_ids, n_trained = r.set.n_trained;
    for (int threads = 1; threads <= 3; threads += 2) {
        struct pc_pool *pool = pc_pool_new(threads, &r.err);
        assert_non_null(pool);
        r.o.pool = pool;
        assert_int_equal(read_text(&r, text), 0);
        assert_int_equal(r.set.n, n);
        assert_int_equal(r.set.n_ids, n_ids);
        assert_int_equal(r.set.n_trained, n_trained);
        assert_memory_equal(digest, r.set.digest, sizeof digest);
        assert_int_equal(pc_example_at(&r.set, n - 1)->line, n);
        pc_pool_free(pool);
        r.o.pool = NULL;
    }
    free(text);
    reading_close(&r);
}

static void test_show(void **state)
{
    (void)state;
    struct reading r;
    struct pc_buf b;
    const uint32_t which[] = {1, 0};
    reading_open(&r);
    pc_tokenizer_free(r.tok);
    assert_int_equal(pc_vocabulary_open("tests/fixtures/tokenizer/uni_bytes.model", &r.tok, &r.err), 0);
    r.o.tokenizer = r.tok;
    r.o.gets_pad = true;
    assert_int_equal(read_text(&r, CHAT("a\\tb <pad>", "c\\nd") CHAT("e", "f")), 0);
    pc_buf_init(&b, 1 << 16);
    assert_int_equal(pc_examples_show(&r.set, r.tok, which, 2, false, &b, &r.err), 0);
    char want[512];
    snprintf(want, sizeof want,
        "--- line 2: %u tokens, %u trained\n<s><|user|>\\n\ne\\n\n<|assistant|>\\n\n{+f</s>+}\n"
        "--- line 1: %u tokens, %u "
        "trained\n<s><|user|>\\n\na\\tb<%d><|assistant|>\\n\n{+c\\n\nd</s>+}\n",
        pc_example_at(&r.set, 1)->n_ids, pc_example_at(&r.set, 1)->n_trained, pc_example_at(&r.set, 0)->n_ids,
        pc_example_at(&r.set, 0)->n_trained, (int)pc_tokenizer_n_tokens(r.tok));
    assert_string_equal(b.data, want);
    pc_buf_clear(&b);
    assert_int_equal(pc_examples_show(&r.set, r.tok, which, 1, true, &b, &r.err), 0);
    assert_contains(b.data, "\\n\x1b[0m\n\x1b[2m");
    assert_contains(b.data, "\x1b[1;32mf</s>\x1b[0m\n");
    /* What would rule a terminal is shown by its number. */
    assert_int_equal(read_text(&r, CHAT("a\\u009b2J\\u202e\\u007f\\u001b", "\\u00e4")), 0);
    pc_buf_clear(&b);
    assert_int_equal(pc_examples_show(&r.set, r.tok, (const uint32_t[]){0}, 1, false, &b, &r.err), 0);
    assert_contains(b.data, "a\\u009b2J\\u202e\\x7f\\x1b\\n");
    assert_contains(b.data, "{+\xc3\xa4</s>+}");
    pc_buf_release(&b);
    reading_close(&r);
}

/* Which pad token is about to be is the encoding's to say, and that may be the file's: in Stanford's
 * "<pad>" is a word, elsewhere "[PAD]". */
static void test_new_pad(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"instruction\": \"a [PAD] <pad> b\", \"input\": \"\", \"output\": \"[PAD] <pad> <pad> c\"}\n",
        "{\"prompt\": \"a <pad> [PAD] b\", \"completion\": \"<pad> [PAD] [PAD] c\"}\n"};
    for (int i = 0; i < 2; i++) {
        struct reading r;
        reading_open(&r);
        pc_tokenizer_free(r.tok);
        assert_int_equal(pc_vocabulary_open("tests/fixtures/tokenizer/uni_bytes.model", &r.tok, &r.err), 0);
        r.o.tokenizer = r.tok;
        r.o.gets_pad = true;
        assert_int_equal(read_text(&r, texts[i]), 0);
        int32_t ids[4096], n_pads = 0;
        uint32_t n = pc_example_at(&r.set, 0)->n_ids;
        assert_in_range(n, 1, 4096);
        pc_examples_get(&r.set, 0, ids, NULL);
        for (uint32_t t = 0; t < n; t++)
            n_pads += ids[t] == pc_tokenizer_n_tokens(r.tok);
        assert_int_equal(n_pads, 2);
        reading_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_as_defined),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_dropped_and_limit),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_new_pad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
