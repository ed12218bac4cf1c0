// SPDX-License-Identifier: Apache-2.0
/* Any text through each of the small vocabularies: the first byte says which. Byte-level ones give valid text
 * back. */
#include "fuzz_tokens.h"
#include "prompt/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const g_names[] = {"bpe_crossing.model", "bpe_identity.model", "bpe_plain.model",
    "bpe_suffix.model", "bpe_user.model", "uni_bytes.model", "uni_plain.model", "gpt2.json", "llama3.json",
    "o200k.json", "splits.json"};
enum { N_NAMES = sizeof g_names / sizeof *g_names, LLAMA3 = 8 };

static const struct pc_tokenizer *get(size_t i)
{
    static struct pc_tokenizer *tokenizers[N_NAMES];
    char path[1024];
    struct paco_error err = {0};
    snprintf(path, sizeof path, "%s/tokenizer/%s", PACO_FIXTURES, g_names[i]);
    if (!tokenizers[i] && pc_vocabulary_open(path, &tokenizers[i], &err) < 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        abort();
    }
    return tokenizers[i];
}

/* NFC changes text, so only what is in that form already comes back as it was. */
static void check_round_trip(const struct pc_tokenizer *tok, const char *text, size_t len)
{
    struct pc_ids ids = {0};
    struct pc_buf back;
    for (size_t i = 0; i < len; i++)
        if (text[i] & 0x80)
            return;
    pc_buf_init(&back, 1 << 26);
    if (pc_tokenizer_encode(tok, text, len, 0, &ids, NULL) < 0 ||
        pc_tokenizer_decode(tok, ids.v, ids.n, false, &back, NULL) < 0)
        abort();
    // [SEP] takes white space with it.
    if (!memmem(text, len, "[SEP]", 5) && (back.len != len || (len && memcmp(back.data, text, len) != 0)))
        abort();
    pc_ids_release(&ids);
    pc_buf_release(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t i = data[0] % N_NAMES;
    fuzz_use(get(i), (const char *)data + 1, size - 1);
    if (i == LLAMA3)
        check_round_trip(get(i), (const char *)data + 1, size - 1);
    return 0;
}
