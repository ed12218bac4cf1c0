// SPDX-License-Identifier: Apache-2.0
/* A whole tokenizer.model, read alone and among side files, and used. */
#include "fuzz_tokens.h"
#include "prompt/vocab_sources.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_vocab_side side = {.era_2023 = true};
    for (int i = 0; i < 2; i++) {
        struct pc_tokenizer *tok = NULL;
        struct paco_error err = {0};
        int rc = pc_vocab_spm_parse(data, size, "fuzz", i ? &side : NULL, &tok, &err);
        if (rc < 0)
            fuzz_check_error(rc, &err);
        else
            fuzz_use(tok, FUZZ_TEXT, sizeof FUZZ_TEXT - 1);
        pc_tokenizer_free(tok);
    }
    return 0;
}
