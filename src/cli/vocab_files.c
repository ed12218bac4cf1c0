// SPDX-License-Identifier: Apache-2.0
#include "cli/vocab_files.h"

#include "base/file.h"
#include "base/memory.h"
#include "format/gguf.h"
#include "prompt/vocab_gguf_write.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocabulary.h"
#include "weights/meta_layout.h"
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

/* ---- as GGUF's metadata ---- */

struct filling {
    struct pc_vocab_gguf_options options;
    struct pc_gguf_head head;
    struct pc_vocab_gguf_report report;
};

static int fill(void *ctx, const struct pc_vocab *vocab, struct paco_error *err)
{
    struct filling *f = ctx;
    return pc_vocab_gguf_write(vocab, &f->options, &f->head, &f->report, err);
}

static void join(const struct filling *f, struct pc_buf *out)
{
    pc_buf_init(out, f->head.bytes.len + 8);
    for (int i = 0; i < 8; i++)
        pc_buf_putc(out, (char)(f->head.n >> (8 * i)));
    pc_buf_add(out, f->head.bytes.data, f->head.bytes.len);
}

static int fill_from(const struct pc_command *self, const char *path, struct filling *f,
    struct pc_vocab_output *out, struct paco_error *err)
{
    pc_gguf_head_init(&f->head);
    int rc = pc_vocabulary_chat_template(path, &out->chat_template, err);
    f->options.chat_template = out->chat_template;
    if (rc == 0)
        rc = pc_vocab_read(path, true, fill, f, err);
    if (rc == 0) {
        join(f, &out->gguf);
        rc = pc_buf_check(&out->gguf, "the vocabulary", err);
    }
    if (rc == 0 && f->report.n_dropped)
        pc_command_note(self, "%llu token%s of the tokenizer left out: the embedding has %llu rows",
            (unsigned long long)f->report.n_dropped, f->report.n_dropped == 1 ? "" : "s",
            (unsigned long long)f->options.n_rows);
    if (rc == 0 && f->report.no_normalising)
        pc_command_note(self,
            "the tokenizer replaces characters before it cuts text (compatibility forms, tabs), for "
            "which GGUF has no place: such texts get other ids from the GGUF file");
    pc_gguf_head_release(&f->head);
    return rc;
}

int pc_vocab_output_gguf(const struct pc_command *self, const char *model, const char *tokenizer,
    uint64_t n_rows, struct pc_vocab_output *out, struct paco_error *err)
{
    struct pc_source src;
    struct filling f = {.report = {0}};
    if (pc_source_open(model, &src, NULL) < 0)
        return 0;
    const struct pc_tensor *embedding = pc_checkpoint_find(src.ck, "model.embed_tokens.weight");
    f.options.n_rows = embedding && embedding->n_rows > n_rows ? embedding->n_rows : n_rows;
    f.options.eos_ids = src.config.eos_ids;
    f.options.n_eos = src.has_config ? src.config.n_eos : 0;
    int rc = 0;
    if (f.options.n_rows && (!src.gguf || tokenizer))
        rc = fill_from(self, tokenizer ? tokenizer : src.vocabulary, &f, out, err);
    pc_source_close(&src);
    return rc;
}

void pc_vocab_output_release(struct pc_vocab_output *out)
{
    pc_vocab_files_release(&out->texts);
    pc_buf_release(&out->model);
    pc_buf_release(&out->gguf);
    pc_free(out->chat_template);
    *out = (struct pc_vocab_output){.n_files = 0};
}

char *pc_vocabulary_find(const char *model, struct paco_error *err)
{
    static const char *const suffixes[] = {".safetensors", ".bin", ".pth", ".pt"};
    char *path = pc_source_find(model, err);
    for (size_t i = 0; path && i < sizeof suffixes / sizeof *suffixes; i++)
        if (pc_ends_with(path, suffixes[i]) && !pc_path_is_dir(path)) {
            size_t n = (size_t)(pc_path_base(path) - path);
            memcpy(path, n ? path : ".", n ? n : 1);
            path[n ? n : 1] = '\0';
        }
    char *of_meta = path && pc_meta_is(path) ? pc_meta_vocabulary(path) : NULL;
    if (of_meta) {
        pc_free(path);
        path = of_meta;
    }
    return path;
}
