// SPDX-License-Identifier: Apache-2.0
/* Shared by the tests of tokenizers and prompts: ids compared with both lists shown, and the test data. */
#ifndef PC_TESTS_TOKENS_H
#define PC_TESTS_TOKENS_H

#include "unit.h"

#include "base/file.h"
#include "base/memory.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static inline void show_ids(char *out, size_t size, const int32_t *ids, size_t n)
{
    size_t at = 0;
    *out = '\0';
    for (size_t i = 0; i < n && at + 16 < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%d ", ids[i]);
}

static inline void expect_ids(const char *what, const struct pc_ids *got, const int32_t *want, size_t n)
{
    char a[600], b[600];
    if (got->n == n && (n == 0 || memcmp(got->v, want, n * sizeof *want) == 0))
        return;
    show_ids(a, sizeof a, got->v, got->n);
    show_ids(b, sizeof b, want, n);
    fail_msg("%s: got %zu ids: %s; expected %zu: %s", what, got->n, a, n, b);
}

/** Encode text with flags and compare. */
#define assert_ids(tok, text, flags, ...)                                                                    \
    do {                                                                                                     \
        const int32_t want_[] = {__VA_ARGS__};                                                               \
        assert_encodes((tok), (text), strlen(text), (flags), want_, sizeof want_ / sizeof *want_);           \
    } while (0)

static inline void assert_encodes(const struct pc_tokenizer *tok, const char *text, size_t len,
    unsigned flags, const int32_t *want, size_t n)
{
    struct pc_ids ids = {0};
    struct paco_error err = {0};
    if (pc_tokenizer_encode(tok, text, len, flags, &ids, &err) < 0)
        fail_msg("'%s': %s", text, err.message);
    expect_ids(text, &ids, want, n);
    pc_ids_release(&ids);
}

/** Decode at once and as a stream, which must agree, and compare. */
static inline void assert_decodes(const struct pc_tokenizer *tok, const int32_t *ids, size_t n,
    bool skip_special, const char *want, size_t want_len)
{
    struct pc_buf all, stream;
    struct paco_error err = {0};
    struct pc_decoder d;
    pc_buf_init(&all, 1 << 24);
    pc_buf_init(&stream, 1 << 24);
    assert_int_equal(pc_tokenizer_decode(tok, ids, n, skip_special, &all, &err), 0);
    if (all.len != want_len || (want_len && memcmp(all.data, want, want_len) != 0))
        fail_msg("decoded '%s', expected '%s'", all.data ? all.data : "", want);
    pc_decoder_init(&d, tok, skip_special);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pc_decoder_push(&d, ids[i], &stream, &err), 0);
        // What has been shown so far is always whole characters.
        assert_int_equal(stream.len == 0 || memcmp(stream.data, all.data, stream.len) == 0, 1);
        assert_false(stream.len < all.len && ((unsigned char)all.data[stream.len] & 0xc0) == 0x80);
    }
    assert_int_equal(pc_decoder_flush(&d, &stream, &err), 0);
    assert_int_equal(stream.len, all.len);
    pc_buf_release(&all);
    pc_buf_release(&stream);
}

/** The path of name in the test data, owned, or NULL when it is not there. */
static inline char *test_data(const char *name)
{
    const char *home = getenv("PACO_DATA");
    char *path = pc_path_join(home ? home : "../shared/data", name);
    if (path && pc_path_exists(path))
        return path;
    pc_free(path);
    return NULL;
}

#endif
