// SPDX-License-Identifier: Apache-2.0
#include "net/hub_choice.h"

#include "base/buf.h"
#include "base/file.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LISTED = 12 };

/* Forms that weights come in, the best first; then what is left out and why. */
enum kind { SAFETENSORS, PYTORCH, GGUF, META, N_FORMS, FOREIGN = N_FORMS, TRAINING, NESTED, PLAIN, N_KINDS };
enum family { MODEL, ADAPTER, N_FAMILIES };

static const struct {
    const char *what, *why;
} g_kinds[N_KINDS] = {
    [PYTORCH] = {"PyTorch's files", "the same weights are there in a better form"},
    [GGUF] = {"GGUF files", "weights in a better form are there"},
    [META] = {".pth files", "weights in a better form are there"},
    [FOREIGN] = {"other programs' files", "paco does not read them"},
    [TRAINING] = {"a training's files", "they are for going on with it"},
    [NESTED] = {"files in folders", "the weights beside the configuration are taken"},
};

static bool matches_any(const char *name, const char *const *patterns)
{
    for (; *patterns; patterns++)
        if (fnmatch(*patterns, name, 0) == 0)
            return true;
    return false;
}

/* By its name alone, folders before it left away. */
static enum kind kind_of_base(const char *name)
{
    static const char *const training[] = {"optimizer*.pt", "optimizer*.bin", "scheduler*.pt", "scaler*.pt",
        "rng_state*.pth", "training_args.bin", "random_states_*.pkl", "events.out.tfevents.*", NULL};
    static const char *const foreign[] = {"*.h5", "*.msgpack", "*.onnx", "*.onnx_data*", "*.ot", "*.tflite",
        "*.mlmodel", "*.pb", "*.npz", "openvino_*", "*.llamafile", NULL};
    static const char *const pytorch[] = {"pytorch_model*.bin", "adapter_model*.bin", "model*.bin",
        "*.bin.index.json", "non_lora_trainables.bin", NULL};
    static const char *const meta[] = {"*.pth", "*.pt", "*.ckpt", NULL};
    static const char *const tensors[] = {"*.safetensors", "*.safetensors.index.json", NULL};
    return matches_any(name, training)       ? TRAINING
           : matches_any(name, foreign)      ? FOREIGN
           : matches_any(name, tensors)      ? SAFETENSORS
           : matches_any(name, pytorch)      ? PYTORCH
           : matches_any(name, meta)         ? META
           : fnmatch("*.gguf", name, 0) == 0 ? GGUF
                                             : PLAIN;
}

static bool in_foreign_folder(const char *name)
{
    static const char *const folders[] = {"onnx/*", "coreml/*", "openvino/*", "tf/*", "flax/*",
        "*.mlpackage/*", "*.mlmodelc/*", "*/onnx/*", NULL};
    return matches_any(name, folders);
}

static bool in_training_folder(const char *name)
{
    static const char *const folders[] = {"runs/*", "global_step*/*", "checkpoint-*/*", "wandb/*", NULL};
    return matches_any(name, folders);
}

static enum family family_of(const char *name)
{
    return strncmp(pc_path_base(name), "adapter_model", 13) == 0 ? ADAPTER : MODEL;
}

/* What decides for the whole repository. */
struct survey {
    bool top[N_FAMILIES][N_FORMS]; /* weights of a form beside the configuration */
    bool any[N_FAMILIES][N_FORMS];
    bool has_top;
};

static struct survey look(const struct pc_hub_repo *repo)
{
    struct survey s = {0};
    for (size_t i = 0; i < repo->n_files; i++) {
        const char *name = repo->files[i].name;
        enum kind k = kind_of_base(pc_path_base(name));
        if (k >= N_FORMS || in_foreign_folder(name) || in_training_folder(name))
            continue;
        s.any[family_of(name)][k] = true;
        if (!strchr(name, '/'))
            s.top[family_of(name)][k] = s.has_top = true;
    }
    return s;
}

/* Why a file is left out, or PLAIN: it is taken. */
static enum kind judge(const struct survey *s, const char *name)
{
    enum kind k = kind_of_base(pc_path_base(name));
    enum family f = family_of(name);
    if (k == FOREIGN || in_foreign_folder(name))
        return FOREIGN;
    if (k == TRAINING || (in_training_folder(name) && s->has_top))
        return TRAINING;
    if (strncmp(name, "original/", 9) == 0 && s->has_top)
        return NESTED;
    if (k == PLAIN)
        return PLAIN;
    if (strchr(name, '/') && s->has_top)
        return NESTED;
    const bool *there = s->has_top ? s->top[f] : s->any[f];
    for (enum kind better = SAFETENSORS; better < k; better++)
        if (there[better])
            return k;
    return PLAIN;
}

/* "a.Q4_K-00001-of-00003.gguf" and its next are one model. */
static bool same_model(const char *a, const char *b)
{
    const char *piece = strstr(a, "-of-");
    size_t n = piece && piece - a > 6 ? (size_t)(piece - a) - 5 : 0;
    return n > 0 && strncmp(a, b, n) == 0 && strstr(b, "-of-");
}

static int check_gguf(const struct pc_hub_repo *repo, const bool *keep, struct paco_error *err)
{
    const char *first = NULL;
    size_t n = 0;
    struct pc_buf list;
    char shown[256];
    pc_buf_init(&list, 8192);
    for (size_t i = 0; i < repo->n_files; i++) {
        const char *name = repo->files[i].name;
        if (!keep[i] || !pc_ends_with(name, ".gguf") || (first && same_model(first, name)))
            continue;
        if (n++ < MAX_LISTED)
            pc_buf_printf(&list, "%s%s", n > 1 ? ", " : "", pc_printable(name, shown, sizeof shown));
        first = name;
    }
    int rc = 0;
    if (n > 1)
        rc = pc_error_set(err, PACO_EINVAL,
            "%zu GGUF models are there: say which with --include FILE (%.700s%s)", n,
            list.data ? list.data : "", n > MAX_LISTED ? ", ..." : "");
    pc_buf_release(&list);
    return rc;
}

static void keep_default(const struct pc_hub_repo *repo, bool *keep, struct pc_notes *notes)
{
    struct survey s = look(repo);
    size_t n[N_KINDS] = {0};
    double bytes[N_KINDS] = {0};
    for (size_t i = 0; i < repo->n_files; i++) {
        enum kind why = judge(&s, repo->files[i].name);
        keep[i] = why == PLAIN;
        n[why] += 1;
        bytes[why] += (double)repo->files[i].size;
    }
    for (enum kind k = PYTORCH; k < PLAIN; k++)
        if (n[k])
            pc_note(notes, "left out: %zu of %s (%.*f MB): %s", n[k], g_kinds[k].what, bytes[k] < 1e7 ? 2 : 0,
                bytes[k] / 1e6, g_kinds[k].why);
}

static bool matches(const char *pattern, const char *name)
{
    size_t n = strlen(pattern);
    if (n > 0 && pattern[n - 1] == '/')
        return strncmp(pattern, name, n) == 0;
    return fnmatch(pattern, name, 0) == 0;
}

static int keep_included(
    const struct pc_hub_repo *repo, const struct pc_strings *include, bool *keep, struct paco_error *err)
{
    for (size_t k = 0; k < include->n; k++) {
        bool found = false;
        for (size_t i = 0; i < repo->n_files; i++)
            if (matches(include->v[k], repo->files[i].name))
                keep[i] = found = true;
        if (!found)
            return pc_error_set(err, PACO_ENOENT, "--include '%s' matches none of the %zu files",
                include->v[k], repo->n_files);
    }
    return 0;
}

int pc_hub_choose(const struct pc_hub_repo *repo, const struct pc_hub_wishes *w, bool *keep,
    struct pc_notes *notes, struct paco_error *err)
{
    size_t n = 0;
    int rc = 0;
    memset(keep, 0, repo->n_files * sizeof *keep);
    if (w->include.n)
        rc = keep_included(repo, &w->include, keep, err);
    else
        keep_default(repo, keep, notes);
    for (size_t i = 0; i < repo->n_files; i++) {
        for (size_t k = 0; k < w->exclude.n; k++)
            keep[i] = keep[i] && !matches(w->exclude.v[k], repo->files[i].name);
        n += keep[i];
    }
    if (rc == 0 && n == 0)
        rc = pc_error_set(err, PACO_ENOENT, "of its %zu files none is left to download", repo->n_files);
    return rc == 0 && !w->include.n ? check_gguf(repo, keep, err) : rc;
}
