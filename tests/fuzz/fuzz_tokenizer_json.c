// SPDX-License-Identifier: Apache-2.0
/* A whole tokenizer.json, its expressions compiled, and used. A NUL parts it from a tokenizer_config.json
 * beside it. */
#include "fuzz_tokens.h"
#include "prompt/vocab_sources.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    struct pc_vocab_side side = {.era_2023 = true};
    struct pc_tokenizer *tok = NULL;
    struct paco_error err = {0};
    if (nul && pc_json_parse((const char *)nul + 1, size - n - 1, "config", 0, &side.config, &err) == 0)
        side.era_2023 = !json_object_get(side.config, "added_tokens_decoder");
    int rc = pc_vocab_json_parse((const char *)data, n, "fuzz", &side, &tok, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    else
        fuzz_use(tok, FUZZ_TEXT, sizeof FUZZ_TEXT - 1);
    pc_tokenizer_free(tok);
    pc_vocab_side_release(&side);
    return 0;
}
