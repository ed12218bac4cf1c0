// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_files.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "format/gguf.h"
#include "weights/narrow.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 1 << 20 };

static void put_generation_config(struct pc_buf *b, const struct pc_config *config)
{
    pc_buf_puts(b, "{\n");
    if (config->bos_id >= 0)
        pc_buf_printf(b, "  \"bos_token_id\": %d,\n", (int)config->bos_id);
    if (config->n_eos == 1)
        pc_buf_printf(b, "  \"eos_token_id\": %d,\n", (int)config->eos_ids[0]);
    for (int i = 0; i < config->n_eos && config->n_eos > 1; i++)
        pc_buf_printf(b, "%s%d%s", i ? ", " : "  \"eos_token_id\": [", (int)config->eos_ids[i],
            i == config->n_eos - 1 ? "],\n" : "");
    if (config->pad_id >= 0)
        pc_buf_printf(b, "  \"pad_token_id\": %d,\n", (int)config->pad_id);
    pc_buf_puts(b, "  \"transformers_version\": \"4.28.1\"\n}\n");
}

/* Append "KEY: VALUE" with a string of the metadata, on one line, if it has it. */
static void put_metadata(
    struct pc_buf *b, const struct pc_checkpoint *gguf, const char *key, const char *label)
{
    const char *text = NULL;
    size_t len = 0;
    char line[256], shown[256];
    if (pc_gguf_opt_str(gguf, key, &text, &len, NULL) < 0 || !text || len == 0)
        return;
    snprintf(line, sizeof line, "%.*s", (int)(len < 200 ? len : 200), text);
    pc_printable(line, shown, sizeof shown);
    pc_buf_printf(b, "%s: ", label);
    // A quoted JSON string is a YAML string, whatever it holds.
    pc_json_write_string(b, shown, strlen(shown), false);
    pc_buf_putc(b, '\n');
}

static void put_card(struct pc_buf *b, const struct pc_source *src, const char *job)
{
    static const char *const members[][2] = {{"general.license", "license"},
        {"general.license.name", "license_name"}, {"general.license.link", "license_link"},
        {"general.name", "model_name"}, {"general.author", "author"},
        {"general.organization", "organization"}};
    char name[256];
    pc_buf_puts(b, "---\n");
    for (size_t i = 0; i < sizeof members / sizeof *members && src->gguf; i++)
        put_metadata(b, src->gguf, members[i][0], members[i][1]);
    pc_printable(pc_path_base(src->path), name, sizeof name);
    pc_buf_printf(b, "---\n\nMade from `%s` by `paco %s`.\n", name, job);
}

int pc_gguf_files_make(const struct pc_source *src, const struct pc_checkpoint *out, const char *job,
    struct pc_gguf_files *made, struct paco_error *err)
{
    struct pc_config config = src->config;
    const struct pc_tensor *embedding = pc_checkpoint_find(out, "model.embed_tokens.weight");
    pc_buf_init(&made->generation, MAX_TEXT);
    pc_buf_init(&made->card, MAX_TEXT);
    config.has_dtype = true;
    config.dtype = pc_widest_float(out);
    if (embedding)
        config.vocab_size = (int32_t)embedding->shape[0];
    made->config = pc_config_write(&config);
    if (!made->config)
        return pc_error_mem(err, MAX_TEXT, "config.json");
    put_generation_config(&made->generation, &config);
    put_card(&made->card, src, job);
    int rc = pc_buf_check(&made->generation, "generation_config.json", err);
    if (rc == 0)
        rc = pc_buf_check(&made->card, "README.md", err);
    if (rc < 0)
        return rc;
    made->files[0] = (struct pc_write_file){"config.json", made->config, strlen(made->config)};
    made->files[1] =
        (struct pc_write_file){"generation_config.json", made->generation.data, made->generation.len};
    made->files[2] = (struct pc_write_file){"README.md", made->card.data, made->card.len};
    made->n_files = PC_GGUF_FILES;
    return 0;
}

void pc_gguf_files_release(struct pc_gguf_files *f)
{
    pc_free(f->config);
    pc_buf_release(&f->generation);
    pc_buf_release(&f->card);
    *f = (struct pc_gguf_files){0};
}

int pc_job_files(const struct pc_gguf_files *made, const struct paco_file *more, size_t n,
    struct pc_write_file **out, size_t *n_out, struct paco_error *err)
{
    struct pc_write_file *v = pc_alloc(made->n_files + n, sizeof *v);
    if (!v)
        return pc_error_mem(err, (made->n_files + n) * sizeof *v, "a list of files");
    size_t w = 0;
    for (size_t i = 0; i < made->n_files; i++)
        v[w++] = made->files[i];
    for (size_t i = 0; i < n; i++)
        v[w++] = (struct pc_write_file){more[i].name, more[i].bytes, more[i].len};
    *out = v;
    *n_out = w;
    return 0;
}
