// SPDX-License-Identifier: Apache-2.0
/* LLaMA 3's tokenizer.model: what is accepted is used, and written as the files Transformers reads. */
#include "fuzz_tokens.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocab_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int use(void *ctx, const struct pc_vocab *vocab, struct paco_error *err)
{
    struct pc_tokenizer **out = ctx;
    struct pc_vocab_files files = {.tokenizer = {0}};
    const struct pc_vocab_write_options o = {.max_length = 8192};
    int rc = pc_vocab_write(vocab, &o, &files, err);
    pc_vocab_files_release(&files);
    if (rc < 0)
        return rc;
    *out = pc_tokenizer_new(vocab, err);
    return *out ? 0 : err->code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_tokenizer *tok = NULL;
    struct paco_error err = {0};
    int rc = pc_vocab_tiktoken_parse((const char *)data, size, "fuzz", size % 2, use, &tok, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    else
        fuzz_use(tok, FUZZ_TEXT, sizeof FUZZ_TEXT - 1);
    pc_tokenizer_free(tok);
    return 0;
}
