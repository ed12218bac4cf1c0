// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_models.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"
#include "engine/constraint.h"
#include "weights/pair.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 128, MAX_TOKENIZER = 1 << 28 };

static const char NAME_CHARS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:";

/* ---- what the options say ---- */

/* The length of NAME in NAME=DIR, or -1: a path. "./a=b" is one, for no name has a slash. */
static ptrdiff_t name_length(const char *text)
{
    size_t n = strcspn(text, "=/");
    return text[n] == '=' ? (ptrdiff_t)n : -1;
}

static int add_tune(struct pc_tunes *tunes, enum pc_variant_kind kind, const char *option, const char *text,
    size_t len, struct paco_error *err)
{
    struct pc_tune_wish *t = &tunes->v[tunes->n];
    if (len == 0 || len > MAX_NAME || strspn(text, NAME_CHARS) < len)
        return pc_error_set(err, PACO_EINVAL,
            "--%s %.200s: a name has 1 to %d letters, digits and . _ - : (a folder with '=' in its name is "
            "written ./FOLDER)",
            option, text, MAX_NAME);
    if (!text[len + 1])
        return pc_error_set(err, PACO_EINVAL, "--%s %.200s: no folder follows the name", option, text);
    t->name = pc_alloc(len + 1, 1);
    if (!t->name)
        return pc_error_mem(err, len + 1, "a name");
    memcpy(t->name, text, len);
    t->name[len] = '\0';
    t->options = (struct pc_variant_options){kind, text + len + 1};
    tunes->n++;
    return 0;
}

static int add_list(struct pc_tunes *tunes, enum pc_variant_kind kind, const struct pc_strings *list,
    const char **alone, struct paco_error *err)
{
    const char *option = kind == PC_VARIANT_DIFF ? "diff" : "adapter";
    for (size_t i = 0; i < list->n; i++) {
        ptrdiff_t len = name_length(list->v[i]);
        if (len >= 0) {
            int rc = add_tune(tunes, kind, option, list->v[i], (size_t)len, err);
            if (rc < 0)
                return rc;
        } else if (*alone) {
            return pc_error_set(err, PACO_EINVAL,
                "--%s %.200s and --%s %.200s: only one becomes part of the model; others need names "
                "(--%s NAME=DIR)",
                option, *alone, option, list->v[i], option);
        } else {
            *alone = list->v[i];
        }
    }
    return 0;
}

static int check_names(const struct pc_tunes *tunes, const char *base, struct paco_error *err)
{
    for (size_t i = 0; i < tunes->n; i++) {
        if (strcmp(tunes->v[i].name, base) == 0)
            return pc_error_set(err, PACO_EINVAL,
                "'%s' is the name of the model itself: call the fine-tune or, with --alias, the model "
                "something else",
                base);
        for (size_t k = 0; k < i; k++)
            if (strcmp(tunes->v[i].name, tunes->v[k].name) == 0)
                return pc_error_set(err, PACO_EINVAL, "two fine-tunes are called '%s'", tunes->v[i].name);
    }
    return 0;
}

int pc_tunes_parse(const struct pc_strings *diffs, const struct pc_strings *adapters, const char *base,
    struct pc_model_args *args, struct pc_tunes *out, struct paco_error *err)
{
    char name[256];
    *out = (struct pc_tunes){.v = pc_alloc_zero(diffs->n + adapters->n + 1, sizeof *out->v)};
    if (!out->v)
        return pc_error_mem(err, (diffs->n + adapters->n) * sizeof *out->v, "fine-tunes");
    int rc = add_list(out, PC_VARIANT_DIFF, diffs, &args->diff, err);
    if (rc == 0)
        rc = add_list(out, PC_VARIANT_ADAPTER, adapters, &args->adapter, err);
    if (rc == 0 && out->n && (args->diff || args->adapter))
        rc = pc_error_set(err, PACO_EINVAL,
            "--%s without a name becomes part of the model, which '%s' can then not run beside: give both "
            "names, or recover the model first",
            args->diff ? "diff" : "adapter", out->v[0].name);
    return rc < 0 ? rc : check_names(out, base ? base : pc_served_base_name(args, name, sizeof name), err);
}

/* ---- before anything is loaded ---- */

static int check_adapter(const char *dir, const struct pc_source *base, struct paco_error *err)
{
    struct pc_adapter *adapter = NULL;
    struct pc_checkpoint *tuned = NULL;
    int rc = pc_adapter_open(dir, &adapter, err);
    if (rc == 0)
        rc = pc_adapter_apply(adapter, base->ck, &tuned, NULL, err);
    pc_checkpoint_close(tuned);
    pc_adapter_close(adapter);
    return rc;
}

static int check_diff(const char *dir, const struct pc_source *base, struct paco_error *err)
{
    struct pc_source diff = {0};
    struct pc_checkpoint *tuned = NULL;
    int rc = pc_source_open(dir, &diff, err);
    if (rc == 0)
        rc = pc_pair_sum(base, &diff, &tuned, err);
    pc_checkpoint_close(tuned);
    pc_source_close(&diff);
    return rc;
}

int pc_tunes_check(const struct pc_tunes *tunes, const char *model, struct paco_error *err)
{
    struct pc_source base = {0};
    int rc = tunes->n ? pc_source_open(model, &base, err) : 0;
    for (size_t i = 0; i < tunes->n && rc == 0; i++) {
        const struct pc_variant_options *o = &tunes->v[i].options;
        rc =
            o->kind == PC_VARIANT_DIFF ? check_diff(o->path, &base, err) : check_adapter(o->path, &base, err);
        if (rc < 0) {
            pc_error_path(err, o->path);
            pc_error_prefix(err, "fine-tune '%s'", tunes->v[i].name);
        }
    }
    pc_source_close(&base);
    return rc;
}

/* ---- beside the engine ---- */

static bool has_file(const char *dir, const char *name)
{
    char *path = pc_path_join(dir, name);
    bool has = path && pc_path_exists(path);
    pc_free(path);
    return has;
}

/* Whether both folders hold the same bytes under a name, or neither anything. */
static bool same_file(const char *dir_a, const char *dir_b, const char *name)
{
    const char *const dirs[] = {dir_a, dir_b};
    struct pc_buf text[2];
    int rc[2];
    for (int i = 0; i < 2; i++) {
        char *path = pc_path_join(dirs[i], name);
        pc_buf_init(&text[i], MAX_TOKENIZER);
        rc[i] = path ? pc_file_slurp(path, MAX_TOKENIZER, &text[i], NULL) : PACO_EMEM;
        pc_free(path);
    }
    bool same = rc[0] == rc[1] && (rc[0] == 0 || rc[0] == PACO_ENOENT) && text[0].len == text[1].len &&
                (!text[0].len || memcmp(text[0].data, text[1].data, text[0].len) == 0);
    pc_buf_release(&text[0]);
    pc_buf_release(&text[1]);
    return same;
}

static bool same_tokenizer(const char *dir_a, const char *dir_b)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "tokenizer.model", "tokenizer.json"};
    bool same = true;
    for (size_t i = 0; i < sizeof names / sizeof *names && same; i++)
        same = same_file(dir_a, dir_b, names[i]);
    return same;
}

/* Tokenizer, chat template and settings of generation are the fine-tune's where its folder has them, else the
 * base's. A tokenizer that is the base's, or made of the same bytes, is in memory once. */
static int settle(struct pc_tune *t, const struct pc_command *self, const struct pc_wishes *wishes,
    const struct pc_answering *base, const struct pc_config *config, struct paco_error *err)
{
    struct pc_source lead = *base->model.lead, own = {0};
    struct pc_wishes w = *wishes;
    char *dir = NULL;
    int rc = 0;
    if (t->options.kind == PC_VARIANT_DIFF)
        rc = pc_source_open(t->options.path, &own, err);
    else
        dir = pc_source_find(t->options.path, err);
    if (rc < 0 || (t->options.kind == PC_VARIANT_ADAPTER && !dir))
        return rc < 0 ? rc : PACO_ENOENT;
    const char *folder = dir ? dir : own.dir;
    bool in_file = own.kind == PC_SOURCE_GGUF || own.kind == PC_SOURCE_META;
    w.otherwise = base->model.lead->vocabulary;
    t->a.tok_is_shared = true;
    if (in_file || has_file(folder, "tokenizer.json") || has_file(folder, "tokenizer.model")) {
        t->a.tok_is_shared = !in_file && same_tokenizer(folder, lead.vocabulary);
        lead.vocabulary = dir ? dir : own.vocabulary;
    }
    if (has_file(folder, "generation_config.json")) {
        lead.dir = (char *)(uintptr_t)folder;
        lead.kind = dir ? PC_SOURCE_DIR : own.kind;
    }
    t->a.tok = t->a.tok_is_shared ? base->tok : NULL;
    t->a.model.lead = &lead;
    t->a.model.config = config;
    rc = pc_answering_settle(self, &w, &t->a, err);
    t->a.model.lead = NULL;
    pc_free(dir);
    pc_source_close(&own);
    return rc;
}

static int fill_tune(struct pc_tune *t, const struct pc_command *self, const struct pc_wishes *wishes,
    const struct pc_answering *base, struct pc_engine *engine, struct paco_error *err)
{
    char what[160];
    int rc = pc_variant_open(engine, &base->model.source, &t->options, &t->variant, err);
    if (rc == 0)
        rc = settle(t, self, wishes, base, pc_variant_config(engine, t->variant), err);
    if (rc == 0 && !t->a.tok_is_shared)
        rc = pc_spelling_new(t->a.tok, &t->spelling, err);
    if (rc == 0)
        pc_command_note(self, "%s beside it: %s%s", t->name,
            pc_variant_describe(t->variant, what, sizeof what),
            t->a.tok_is_shared ? "" : ", and a tokenizer of its own");
    return rc;
}

int pc_tune_open(const struct pc_tune_wish *wish, const struct pc_command *self,
    const struct pc_wishes *wishes, const struct pc_answering *base, struct pc_engine *engine,
    struct pc_tune **out, struct paco_error *err)
{
    struct pc_tune *t = pc_alloc_zero(1, sizeof *t);
    if (!t)
        return pc_error_mem(err, sizeof *t, "a fine-tune");
    t->n_holders = 1;
    t->name = wish->name;
    t->options = wish->options;
    int rc = fill_tune(t, self, wishes, base, engine, err);
    if (rc < 0) {
        pc_error_prefix(err, "fine-tune '%s'", t->name);
        pc_tune_release(t);
        return rc;
    }
    *out = t;
    return 0;
}

struct pc_tune *pc_tune_share(struct pc_tune *t)
{
    atomic_fetch_add_explicit(&t->n_holders, 1, memory_order_relaxed);
    return t;
}

void pc_tune_release(struct pc_tune *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->n_holders, 1, memory_order_acq_rel) > 1)
        return;
    pc_variant_release(t->variant);
    pc_spelling_free(t->spelling);
    pc_answering_close(&t->a);
    pc_free(t);
}

void pc_tunes_close(struct pc_tunes *tunes)
{
    for (size_t i = 0; i < tunes->n; i++)
        pc_free(tunes->v[i].name);
    pc_free(tunes->v);
    *tunes = (struct pc_tunes){.n = 0};
}

/* ---- as the server sees them ---- */

const char *pc_served_base_name(const struct pc_model_args *args, char *out, size_t size)
{
    const char *path = args->adapter ? args->adapter : args->diff ? args->diff : args->model;
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t at = len;
    while (at > 0 && path[at - 1] != '/')
        at--;
    len -= at;
    if (len > 5 && strncmp(path + at + len - 5, ".gguf", 5) == 0)
        len -= 5;
    snprintf(out, size, "%.*s", (int)len, path + at);
    return out;
}

struct pc_served pc_served_of(const char *name, const struct pc_answering *a,
    const struct pc_spelling *spelling, double user_temperature)
{
    struct pc_served served = {.name = name,
        .n_vocab = a->model.config->vocab_size,
        .tok = a->tok,
        .spelling = spelling,
        .format = a->prompter.format,
        .system = a->prompter.system,
        .bos = a->prompter.bos,
        .eos = a->eos,
        .n_eos = a->n_eos,
        .n_own_eos = a->n_own_eos,
        .stops = a->stops,
        .n_stops = a->n_stops,
        .sampling = a->sampling};
    /* OpenAI's default, where neither the model's own settings nor the user want to sample in another way. */
    if (a->sampling.temperature == 0 && isnan(user_temperature))
        served.sampling.temperature = 1;
    return served;
}
