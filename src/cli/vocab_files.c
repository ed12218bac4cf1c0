// SPDX-License-Identifier: Apache-2.0
#include "cli/vocab_files.h"

#include "base/memory.h"
#include "format/gguf.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocabulary.h"
#include "weights/source.h"

#include <string.h>

struct making {
    struct pc_vocab_output *out;
    int64_t max_length;
};

static int use(void *ctx, const struct pc_vocab *vocab, struct paco_error *err)
{
    struct making *m = ctx;
    const struct pc_vocab_write_options o = {
        .chat_template = m->out->chat_template, .max_length = m->max_length};
    return pc_vocab_write(vocab, &o, &m->out->texts, err);
}

static void list_files(struct pc_vocab_output *out)
{
    const struct {
        const char *name;
        const struct pc_buf *text;
    } made[PC_VOCAB_FILES] = {{"tokenizer.json", &out->texts.tokenizer},
        {"tokenizer_config.json", &out->texts.config}, {"special_tokens_map.json", &out->texts.special_map}};
    for (size_t i = 0; i < PC_VOCAB_FILES; i++)
        out->files[i] = (struct paco_file){made[i].name, made[i].text->data, made[i].text->len};
    out->n_files = PC_VOCAB_FILES;
}

int pc_vocab_output_make(const char *name, struct pc_vocab_output *out, struct paco_error *err)
{
    struct pc_source src;
    if (pc_source_open(name, &src, NULL) < 0)
        return 0;
    int rc = 0;
    if (src.gguf && pc_gguf_find(src.gguf, "tokenizer.ggml.model")) {
        struct making m = {out, src.config.max_positions};
        rc = pc_vocabulary_chat_template(src.path, &out->chat_template, err);
        if (rc == 0)
            rc = pc_vocab_gguf_read(src.path, use, &m, err);
        if (rc == 0)
            list_files(out);
    }
    pc_source_close(&src);
    return rc;
}

void pc_vocab_output_release(struct pc_vocab_output *out)
{
    pc_vocab_files_release(&out->texts);
    pc_free(out->chat_template);
    *out = (struct pc_vocab_output){.n_files = 0};
}
