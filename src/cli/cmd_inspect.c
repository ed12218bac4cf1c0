// SPDX-License-Identifier: Apache-2.0
/* paco inspect: what is in a model, a diff or an adapter, and what about it looks wrong. */
#include "base/file.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/output.h"
#include "format/gguf.h"
#include "prompt/format.h"
#include "prompt/vocabulary.h"
#include "weights/adapter.h"
#include "weights/diagnose.h"
#include "weights/inspect.h"
#include "weights/sidecar.h"
#include "weights/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct values {
    const char *model;
    bool tensors, hash, scan, json;
    int64_t threads;
};

static struct values g_values;

static const struct pc_option g_options[] = {
    {.name = "model",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, model),
        .arg = "PATH",
        .help = "what to look at; may also stand without -m"},
    {.name = "tensors",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, tensors),
        .help = "list every tensor"},
    {.name = "hash",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, hash),
        .help = "read everything for the SHA-256 of each tensor and of the whole"},
    {.name = "scan",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, scan),
        .help = "read everything for NaN and infinities"},
    PC_THREADS_ROW(struct values, threads),
    PC_JSON_ROW(struct values, json),
    {0},
};

struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_source source;
    struct pc_adapter *adapter;     /* instead of source */
    const struct pc_checkpoint *ck; /* of whichever it is */
    const char *kind;               /* "model", "diff", "adapter", "unsure" */
    struct pc_diagnosis diagnosis;
    struct pc_outline outline;
    struct pc_census census;
    struct pc_scan *scans; /* with --hash or --scan */
    char content[PC_SHA256_HEX];
    struct pc_tokenizer *tokenizer; /* NULL: there is none */
    char *chat_template;            /* or NULL */
    enum pc_format format;
    bool format_certain;
    struct pc_notes problems;
};

static bool is_adapter(const char *path)
{
    char *config = pc_path_join(path, "adapter_config.json");
    bool there = config && pc_path_is_dir(path) && pc_path_exists(config);
    pc_free(config);
    return there;
}

static int open_model(struct job *j, struct paco_error *err)
{
    struct paco_error first = {0};
    int rc = pc_source_open(j->v->model, &j->source, &first);
    // An architecture paco does not run can still be looked at.
    if (rc == PACO_EUNSUPPORTED && pc_source_open_tensors(j->v->model, &j->source, NULL) == 0) {
        pc_note(&j->problems, "%s", first.message);
        rc = 0;
    } else if (rc < 0) {
        *err = first;
    }
    j->ck = j->source.ck;
    return rc;
}

static int look_at_model(struct job *j, struct paco_error *err)
{
    int rc = pc_diagnose_kind(j->ck, &j->diagnosis, err);
    if (rc < 0)
        return rc;
    j->kind = pc_kind_name(j->diagnosis.kind);
    if (j->diagnosis.kind == PC_KIND_DIFF)
        pc_note(&j->problems,
            "this looks like a weight diff, not a model: %s; recover it with its base before use",
            j->diagnosis.evidence);
    if (j->ck->note)
        pc_note(&j->problems, "%s", j->ck->note);
    if (j->source.has_config) {
        rc = pc_inspect_layout(j->ck, &j->source.config, &j->problems, err);
        return rc < 0 ? rc : 0;
    }
    if (j->problems.n == 0)
        pc_note(&j->problems, "there is no config.json");
    return 0;
}

static bool has_tokenizer(const struct pc_source *src)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    bool found = src->gguf && pc_gguf_find(src->gguf, "tokenizer.ggml.model");
    if (src->kind == PC_SOURCE_META)
        return src->vocabulary != src->dir;
    for (size_t i = 0; i < sizeof names / sizeof *names && !src->gguf && !found; i++) {
        char *path = pc_path_join(src->dir, names[i]);
        found = path && pc_path_exists(path);
        pc_free(path);
    }
    return found;
}

static void compare_ids(struct job *j, const char *what, int32_t config, int32_t tokenizer)
{
    if (config >= 0 && tokenizer >= 0 && config != tokenizer)
        pc_note(&j->problems, "the configuration's %s id is %d, the tokenizer's %d", what, (int)config,
            (int)tokenizer);
}

static void check_tokenizer(struct job *j)
{
    int64_t n = pc_tokenizer_n_tokens(j->tokenizer);
    if (j->outline.vocab && (uint64_t)n > j->outline.vocab)
        pc_note(&j->problems, "the tokenizer has %lld tokens, the embedding only %llu rows", (long long)n,
            (unsigned long long)j->outline.vocab);
    if (!j->source.has_config)
        return;
    const struct pc_config *c = &j->source.config;
    compare_ids(j, "BOS", c->bos_id, pc_tokenizer_bos(j->tokenizer));
    compare_ids(j, "pad", c->pad_id, pc_tokenizer_pad(j->tokenizer));
    bool eos_known = c->n_eos == 0 || pc_tokenizer_eos(j->tokenizer) < 0;
    for (int i = 0; i < c->n_eos; i++)
        eos_known |= c->eos_ids[i] == pc_tokenizer_eos(j->tokenizer);
    if (!eos_known)
        compare_ids(j, "EOS", c->eos_ids[0], pc_tokenizer_eos(j->tokenizer));
}

/* Known faults of the small files: those a job would repair. Pad ids are compared above; torch_dtype says how
 * to load, and a block type's name, which it cannot hold, keeps it out. */
static int check_faults(struct job *j, struct paco_error *err)
{
    const struct pc_sidecar_options options = {.dir = j->source.dir, .repair = true, .dtype = PC_Q4_0};
    struct pc_sidecars files;
    int rc = pc_sidecars_plan(&options, NULL, &files, err);
    for (size_t i = 0; i < files.repairs.n && rc == 0; i++)
        if (!strstr(files.repairs.v[i], "pad_token_id"))
            pc_note(&j->problems, "an old fault, which a job would repair: %s", files.repairs.v[i]);
    pc_sidecars_release(&files);
    return rc;
}

static int look_at_tokenizer(struct job *j, struct paco_error *err)
{
    if (!has_tokenizer(&j->source))
        return 0;
    struct paco_error first = {0};
    int rc = pc_vocabulary_open(j->source.vocabulary, &j->tokenizer, &first);
    if (rc == PACO_EUNSUPPORTED) {
        pc_note(&j->problems, "tokenizer: %s", first.message);
        return 0;
    }
    if (rc == 0)
        rc = pc_vocabulary_chat_template(j->source.vocabulary, &j->chat_template, &first);
    if (rc < 0) {
        *err = first;
        return rc;
    }
    j->format = pc_format_detect(j->tokenizer, j->chat_template, &j->format_certain);
    check_tokenizer(j);
    return 0;
}

static int look(struct job *j, struct paco_error *err)
{
    int rc;
    if (is_adapter(j->v->model)) {
        rc = pc_adapter_open(j->v->model, &j->adapter, err);
        j->ck = rc == 0 ? j->adapter->ck : NULL;
        j->kind = "adapter";
    } else {
        rc = open_model(j, err);
        if (rc == 0)
            rc = look_at_model(j, err);
    }
    if (rc < 0)
        return rc;
    pc_inspect_census(j->ck, &j->census);
    pc_diagnose_outline(j->ck, &j->outline);
    if (j->adapter)
        return 0;
    rc = look_at_tokenizer(j, err);
    return rc == 0 && j->source.kind == PC_SOURCE_DIR ? check_faults(j, err) : rc;
}

static int read_all(struct job *j, struct paco_error *err)
{
    unsigned flags = (j->v->hash ? PC_SCAN_SHA256 : 0) | (j->v->scan ? PC_SCAN_VALUES : 0);
    if (flags == 0)
        return 0;
    struct pc_pool *pool = pc_pool_new((int)j->v->threads, err);
    j->scans = pc_alloc_zero(j->ck->n_tensors, sizeof *j->scans);
    int rc = pool && j->scans ? 0
             : pool           ? pc_error_mem(err, j->ck->n_tensors * sizeof *j->scans, "digests")
                              : PACO_EMEM;
    if (rc == 0)
        rc = pc_scan_checkpoint(j->ck, flags, pool, pc_progress_bar(j->self), "reading", j->scans, err);
    if (rc == 0 && j->v->hash)
        rc = pc_content_digest(j->ck, j->scans, j->content, err);
    if (rc == 0 && j->v->scan)
        pc_inspect_values(j->ck, j->scans, &j->problems);
    pc_pool_free(pool);
    return rc;
}

static const char *architecture(const struct job *j)
{
    return j->source.has_config && j->source.config.architecture[0] ? j->source.config.architecture : NULL;
}

static void print_row(const char *name)
{
    printf("  %-13s", name);
}

static void print_config(const struct pc_config *c)
{
    print_row("layers");
    printf("%d of width %d, feed-forward %d\n", (int)c->n_layers, (int)c->hidden_size,
        (int)c->intermediate_size);
    print_row("heads");
    printf("%d of size %d", (int)c->n_heads, (int)c->head_dim);
    if (c->n_kv_heads != c->n_heads)
        printf(", %d for keys and values", (int)c->n_kv_heads);
    printf("\n");
    print_row("vocabulary");
    printf("%d, output %s the embedding\n", (int)c->vocab_size, c->tied ? "tied to" : "apart from");
    print_row("context");
    printf("%d tokens, RoPE base %g", (int)c->max_positions, (double)c->rope_theta);
    if (c->rope_scaling != PC_ROPE_DEFAULT)
        printf(", %s scaling by %g", pc_rope_scaling_name(c->rope_scaling), (double)c->rope_factor);
    printf("\n");
}

/* "byte-level BPE" or "SentencePiece", by the pieces that stand for a space. */
static const char *tokenizer_kind(const struct pc_tokenizer *tok)
{
    static const char byte_level[] = "\xc4\xa0", sentencepiece[] = "\xe2\x96\x81";
    // LLaMA's pieces have both characters; bytes in GPT-2's alphabet never give the second.
    if (pc_tokenizer_find(tok, sentencepiece, sizeof sentencepiece - 1) >= 0)
        return "SentencePiece";
    return pc_tokenizer_find(tok, byte_level, sizeof byte_level - 1) >= 0 ? "byte-level BPE" : "other";
}

static void print_special(const struct pc_tokenizer *tok, const char *name, int32_t id)
{
    size_t len;
    const char *piece = id >= 0 ? pc_tokenizer_piece(tok, id, &len) : NULL;
    char text[64];
    if (!piece)
        return;
    snprintf(text, sizeof text, "%.*s", (int)(len < 60 ? len : 60), piece);
    printf(", %s %d ", name, (int)id);
    pc_print_text(text, 0);
}

static void print_tokenizer(const struct job *j)
{
    const struct pc_tokenizer *tok = j->tokenizer;
    print_row("tokenizer");
    if (!tok) {
        printf("none\n");
        return;
    }
    printf("%s, %d tokens", tokenizer_kind(tok), (int)pc_tokenizer_n_tokens(tok));
    print_special(tok, "BOS", pc_tokenizer_bos(tok));
    print_special(tok, "EOS", pc_tokenizer_eos(tok));
    print_special(tok, "pad", pc_tokenizer_pad(tok));
    print_special(tok, "unk", pc_tokenizer_unk(tok));
    printf("%s\n", pc_tokenizer_adds_bos(tok) ? "; BOS is put in front" : "");
    print_row("format");
    printf("%s%s, %s chat template\n", pc_format_name(j->format), j->format_certain ? "" : " (a guess)",
        j->chat_template ? "has a" : "no");
}

static json_t *tokenizer_json(const struct job *j)
{
    const struct pc_tokenizer *tok = j->tokenizer;
    if (!tok)
        return json_null();
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:s, s:b}", "kind", tokenizer_kind(tok),
        "vocab_size", (int)pc_tokenizer_n_tokens(tok), "bos_id", (int)pc_tokenizer_bos(tok), "eos_id",
        (int)pc_tokenizer_eos(tok), "pad_id", (int)pc_tokenizer_pad(tok), "unk_id",
        (int)pc_tokenizer_unk(tok), "adds_bos", pc_tokenizer_adds_bos(tok), "chat_template",
        j->chat_template != NULL, "format", pc_format_name(j->format), "format_certain", j->format_certain);
}

static void print_adapter(const struct pc_adapter_config *c)
{
    print_row("LoRA");
    printf("rank %lld, alpha %g%s\n", (long long)c->r, c->alpha, c->rslora ? ", rank-stabilised" : "");
    if (c->base) {
        print_row("base");
        pc_print_text(c->base, 0);
        printf("\n");
    }
}

static void print_types(const struct pc_census *census)
{
    char n[32], size[32];
    for (int d = 0; d < PC_N_DTYPES; d++) {
        const struct pc_dtype_share *share = &census->by_dtype[d];
        if (!share->n_tensors)
            continue;
        print_row(pc_dtype_name((enum pc_dtype)d));
        printf("%llu tensor%s, %s elements, %s\n", (unsigned long long)share->n_tensors,
            share->n_tensors == 1 ? "" : "s", pc_human_count(share->n_elements, n),
            pc_human_bytes(share->size, size));
    }
}

static void print_tensors(const struct job *j)
{
    size_t width = 0;
    for (size_t i = 0; i < j->ck->n_tensors; i++)
        width = strlen(j->ck->tensors[i].name) > width ? strlen(j->ck->tensors[i].name) : width;
    width = width > 80 ? 80 : width;
    printf("tensors:\n");
    for (size_t i = 0; i < j->ck->n_tensors; i++) {
        const struct pc_tensor *t = &j->ck->tensors[i];
        char shape[160], size[32], hex[PC_SHA256_HEX];
        printf("  ");
        pc_print_text(t->name, (int)width);
        printf("  %-5s %-16s %10s", pc_dtype_name(t->dtype), pc_tensor_shape(t, shape, sizeof shape),
            pc_human_bytes(t->size, size));
        if (j->v->hash)
            printf("  %s", pc_sha256_hex(j->scans[i].sha256, hex));
        printf("\n");
    }
}

static void print_people(const struct job *j)
{
    char n[32], size[32];
    const char *known = pc_diagnose_known(&j->outline);
    const char *kind = strcmp(j->kind, "unsure") == 0 ? "tensors" : j->kind;
    pc_print_text(j->v->model, 0);
    printf(": %s", strcmp(kind, "adapter") == 0 ? "a LoRA adapter"
                   : strcmp(kind, "diff") == 0  ? "a weight diff"
                   : strcmp(kind, "model") == 0 ? "a model"
                                                : "tensors of unknown kind");
    if (architecture(j))
        printf(", %s", architecture(j));
    if (known)
        printf(", shaped like %s", known);
    printf("\n");
    print_row("parameters");
    printf("%s in %zu tensors, %s (%s)\n", pc_human_count(j->census.n_params, n), j->ck->n_tensors,
        pc_human_bytes(j->census.size, size), j->source.gguf ? j->source.gguf->kind : j->ck->kind);
    print_types(&j->census);
    if (j->adapter)
        print_adapter(&j->adapter->config);
    if (j->source.has_config)
        print_config(&j->source.config);
    if (!j->adapter)
        print_tokenizer(j);
    if (j->v->hash) {
        print_row("content");
        printf("%s\n", j->content);
    }
    if (j->v->tensors)
        print_tensors(j);
    if (j->problems.n)
        printf("problems:\n");
    for (size_t i = 0; i < j->problems.n; i++)
        printf("  - %s\n", j->problems.v[i]);
}

static json_t *tensor_json(const struct job *j, size_t i)
{
    const struct pc_tensor *t = &j->ck->tensors[i];
    json_t *shape = json_array();
    for (int d = 0; d < t->n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    json_t *o = json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "dtype", pc_dtype_name(t->dtype), "shape",
        shape, "bytes", (json_int_t)t->size);
    char hex[PC_SHA256_HEX];
    if (o && j->v->hash)
        json_object_set_new(o, "sha256", json_string(pc_sha256_hex(j->scans[i].sha256, hex)));
    return o;
}

static json_t *dtypes_json(const struct pc_census *census)
{
    json_t *o = json_object();
    for (int d = 0; d < PC_N_DTYPES; d++) {
        const struct pc_dtype_share *s = &census->by_dtype[d];
        if (s->n_tensors)
            json_object_set_new(o, pc_dtype_name((enum pc_dtype)d),
                json_pack("{s:I, s:I, s:I}", "n_tensors", (json_int_t)s->n_tensors, "n_elements",
                    (json_int_t)s->n_elements, "bytes", (json_int_t)s->size));
    }
    return o;
}

static json_t *config_json(const struct pc_config *c)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b}", "n_layers", (int)c->n_layers,
        "hidden_size", (int)c->hidden_size, "intermediate_size", (int)c->intermediate_size, "n_heads",
        (int)c->n_heads, "n_kv_heads", (int)c->n_kv_heads, "head_dim", (int)c->head_dim, "vocab_size",
        (int)c->vocab_size, "max_positions", (int)c->max_positions, "rms_norm_eps", (double)c->rms_norm_eps,
        "rope_theta", (double)c->rope_theta, "tied", c->tied);
}

static int print_machine(const struct job *j, struct paco_error *err)
{
    json_t *tensors = json_array(), *problems = json_array();
    for (size_t i = 0; i < j->ck->n_tensors; i++)
        json_array_append_new(tensors, tensor_json(j, i));
    for (size_t i = 0; i < j->problems.n; i++)
        json_array_append_new(problems, json_string(j->problems.v[i]));
    json_t *o = json_pack("{s:o, s:s, s:s?, s:s?, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "path",
        json_string_nocheck(j->v->model), "kind", j->kind, "architecture", architecture(j), "known",
        pc_diagnose_known(&j->outline), "container", j->source.gguf ? j->source.gguf->kind : j->ck->kind,
        "n_params", (json_int_t)j->census.n_params, "n_tensors", (json_int_t)j->ck->n_tensors, "bytes",
        (json_int_t)j->census.size, "dtypes", dtypes_json(&j->census), "tensors", tensors, "tokenizer",
        tokenizer_json(j), "problems", problems);
    if (o && j->source.has_config)
        json_object_set_new(o, "config", config_json(&j->source.config));
    if (o && !j->adapter)
        json_object_set_new(o, "evidence", json_string(j->diagnosis.evidence));
    if (o && j->adapter)
        json_object_set_new(o, "adapter",
            json_pack("{s:I, s:f, s:s?}", "r", (json_int_t)j->adapter->config.r, "lora_alpha",
                j->adapter->config.alpha, "base", j->adapter->config.base));
    if (o && j->v->hash)
        json_object_set_new(o, "content_sha256", json_string(j->content));
    return pc_print_json(o, err);
}

static void job_release(struct job *j)
{
    pc_adapter_close(j->adapter);
    pc_tokenizer_free(j->tokenizer);
    pc_free(j->chat_template);
    pc_source_close(&j->source);
    pc_notes_release(&j->problems);
    pc_free(j->scans);
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values *v = &g_values;
    struct pc_args args;
    struct paco_error err = {0};
    int code = pc_command_parse(self, argc, argv, v, &args);
    if (code >= 0)
        return code;
    if (args.positional.n == 1)
        v->model = args.positional.v[0];
    if (args.positional.n > 1 || !v->model) {
        pc_args_release(&args);
        return pc_command_misuse(self, "give one directory or file to look at");
    }
    struct job j = {.self = self, .v = v};
    int rc = look(&j, &err);
    if (rc == 0)
        rc = read_all(&j, &err);
    pc_progress_bar_end();
    if (rc == 0 && v->json)
        rc = print_machine(&j, &err);
    else if (rc == 0)
        print_people(&j);
    code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    job_release(&j);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_inspect = {
    .name = "inspect",
    .summary = "show what a model, diff or adapter holds, and what looks wrong",
    .usage = "PATH [options]",
    .description =
        "PATH is a Hugging Face directory, a .safetensors, .bin or .gguf file, a name in the Hugging Face\n"
        "cache, or a PEFT adapter's folder. Only headers and samples are read unless --hash or --scan ask\n"
        "for everything.\n"
        "\n"
        "What cannot be read safely is one line naming the file, exit status 1. What can be read but looks\n"
        "wrong is listed under \"problems\", exit status 0: a weight diff in the place of a model, tensors\n"
        "that do not fit the configuration, special tokens that contradict each other, and the like.",
    .examples = "$ paco inspect alpaca-7b\n$ paco inspect --tensors --json model.gguf",
    .options = g_options,
    .run = run,
};
