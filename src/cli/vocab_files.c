// SPDX-License-Identifier: Apache-2.0
#include "cli/vocab_files.h"

#include "base/file.h"
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
    out->n_files = 0;
    const struct {
        const char *name;
        const struct pc_buf *text;
    } made[PC_VOCAB_FILES] = {{"tokenizer.json", &out->texts.tokenizer},
        {"tokenizer_config.json", &out->texts.config}, {"special_tokens_map.json", &out->texts.special_map},
        {"tokenizer.model", &out->model}};
    for (size_t i = 0; i < PC_VOCAB_FILES; i++)
        if (made[i].text->len)
            out->files[out->n_files++] =
                (struct paco_file){made[i].name, made[i].text->data, made[i].text->len};
}

static int make_of_meta(const struct pc_source *src, struct making *m, struct paco_error *err)
{
    if (src->vocabulary == src->dir)
        return 0;
    int rc = 0;
    if (pc_vocab_is_tiktoken(src->vocabulary)) {
        rc = pc_vocab_tiktoken_read(src->vocabulary, use, m, err);
    } else {
        rc = pc_vocab_spm_read(src->vocabulary, NULL, use, m, err);
        if (rc == 0)
            rc = pc_file_slurp(src->vocabulary, PC_VOCAB_MAX_MODEL, &m->out->model, err);
    }
    if (rc == 0)
        list_files(m->out);
    return rc;
}

int pc_vocab_output_make(const char *name, struct pc_vocab_output *out, struct paco_error *err)
{
    struct pc_source src;
    if (pc_source_open(name, &src, NULL) < 0)
        return 0;
    int rc = 0;
    struct making m = {out, src.config.max_positions};
    if (src.kind == PC_SOURCE_META) {
        rc = make_of_meta(&src, &m, err);
    } else if (src.gguf && pc_gguf_find(src.gguf, "tokenizer.ggml.model")) {
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
    pc_buf_release(&out->model);
    pc_free(out->chat_template);
    *out = (struct pc_vocab_output){.n_files = 0};
}
