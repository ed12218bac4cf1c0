// SPDX-License-Identifier: Apache-2.0
/* Using a tokenizer as a fuzz target does: encode, decode at once and as a stream, and hold the two together.
 */
#ifndef PC_TESTS_FUZZ_TOKENS_H
#define PC_TESTS_FUZZ_TOKENS_H

#include "base/utf8.h"
#include "fuzz_file.h"
#include "tokenizer/tokenizer.h"

#define FUZZ_TEXT                                                                                            \
    "The  alpaca's\t12 \xc3\xa9\xcc\x81\xef\xac\x81 \xe2\x96\x81x </s>\n[SEP] <pad>\xff\xf0\x9f\xa6\x99 "    \
    "aaaaaaaaaaaaaaaabababab"

static inline void fuzz_decode(const struct pc_tokenizer *tok, const struct pc_ids *ids)
{
    struct pc_buf all, stream;
    struct pc_decoder d;
    pc_buf_init(&all, 1 << 26);
    pc_buf_init(&stream, 1 << 26);
    pc_decoder_init(&d, tok, false);
    int rc = pc_tokenizer_decode(tok, ids->v, ids->n, false, &all, NULL);
    for (size_t i = 0; i < ids->n; i++) {
        size_t shown = stream.len;
        int pushed = pc_decoder_push(&d, ids->v[i], &stream, NULL);
        if (rc == 0 && stream.data &&
            (pushed < 0 || !pc_utf8_valid((const uint8_t *)stream.data + shown, stream.len - shown, NULL)))
            abort();
    }
    if (rc == 0 && (pc_decoder_flush(&d, &stream, NULL) < 0 || stream.len != all.len ||
                       (all.len && memcmp(stream.data, all.data, all.len) != 0)))
        abort();
    pc_buf_release(&all);
    pc_buf_release(&stream);
}

/** Encode text in every way; each id must be one of the vocabulary. */
static inline void fuzz_use(const struct pc_tokenizer *tok, const char *text, size_t len)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        struct pc_ids ids = {0};
        struct paco_error err = {0};
        int rc = pc_tokenizer_encode(tok, text, len, flags, &ids, &err);
        if (rc < 0) {
            fuzz_check_error(rc, &err);
            if (ids.n)
                abort();
        }
        for (size_t i = 0; i < ids.n; i++)
            if (ids.v[i] < 0 || ids.v[i] >= pc_tokenizer_n_tokens(tok))
                abort();
        if (rc == 0)
            fuzz_decode(tok, &ids);
        pc_ids_release(&ids);
    }
}

#endif
