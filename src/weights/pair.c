// SPDX-License-Identifier: Apache-2.0
#include "weights/pair.h"

#include "algebra/read_f32.h"
#include "base/file.h"
#include "weights/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char HEAD[] = "lm_head.weight";

static bool same_place(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int open_one(const char *name, const char *role, struct pc_source *src, struct paco_error *err)
{
    if (!name || !*name)
        return pc_error_set(err, PACO_EINVAL, "no %s was named", role);
    int rc = pc_source_open(name, src, err);
    if (rc < 0)
        pc_error_prefix(err, "the %s", role);
    return rc;
}

int pc_pair_open(const char *name_a, const char *role_a, const char *name_b, const char *role_b,
    struct pc_source *a, struct pc_source *b, struct paco_error *err)
{
    int rc = open_one(name_a, role_a, a, err);
    if (rc == 0)
        rc = open_one(name_b, role_b, b, err);
    if (rc == 0 && same_place(a->path, b->path)) {
        rc = pc_error_set(err, PACO_EMISMATCH, "was given both as the %s and as the %s", role_a, role_b);
        pc_error_path(err, a->path);
    }
    return rc;
}

struct pc_write_input pc_pair_input(const char *role, const struct pc_source *src)
{
    return (struct pc_write_input){.role = role, .path = src->path, .ck = src->gguf ? src->gguf : src->ck};
}

bool pc_pair_tied(const struct pc_source *src)
{
    return src->has_config ? src->config.tied : !pc_checkpoint_find(src->ck, HEAD);
}

void pc_pair_explain(const struct pc_checkpoint *base, const char *role_base,
    const struct pc_checkpoint *lead, const char *role_lead, struct paco_error *err)
{
    char text[512];
    pc_diagnose_mismatch(base, role_base, lead, role_lead, text, sizeof text);
    size_t len = err ? strlen(err->message) : 0;
    if (len && *text)
        snprintf(err->message + len, sizeof err->message - len, " (%s)", text);
}

/* True for the weights that every model of the family has; not for buffers, biases and what only some have.
 */
static bool is_essential(const char *name)
{
    static const char *const parts[] = {".self_attn.q_proj.weight", ".self_attn.k_proj.weight",
        ".self_attn.v_proj.weight", ".self_attn.o_proj.weight", ".mlp.gate_proj.weight",
        ".mlp.down_proj.weight", ".mlp.up_proj.weight", ".input_layernorm.weight",
        ".post_attention_layernorm.weight"};
    if (strcmp(name, "model.embed_tokens.weight") == 0 || strcmp(name, "model.norm.weight") == 0 ||
        strcmp(name, HEAD) == 0)
        return true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strncmp(name, "model.layers.", 13) == 0 && pc_ends_with(name, parts[i]))
            return true;
    return false;
}

int pc_pair_check_missing(const struct pc_checkpoint *base, const struct pc_checkpoint *lead,
    const char *role_lead, bool tied, struct pc_notes *notes, struct paco_error *err)
{
    const char *first = NULL, *first_other = NULL;
    size_t n = 0, n_others = 0;
    for (size_t i = 0; i < base->n_tensors; i++) {
        const char *name = base->tensors[i].name;
        if (pc_checkpoint_find(lead, name) || pc_ends_with(name, "rotary_emb.inv_freq") ||
            (tied && strcmp(name, HEAD) == 0))
            continue;
        if (is_essential(name) && n++ == 0)
            first = name;
        if (!is_essential(name) && n_others++ == 0)
            first_other = name;
    }
    if (n_others)
        pc_note(notes, "the base has %zu tensor%s that the %s lacks; left out: '%s'%s", n_others,
            n_others == 1 ? "" : "s", role_lead, first_other, n_others == 1 ? "" : " ...");
    if (n == 0)
        return 0;
    pc_error_set(err, PACO_EMISMATCH,
        "the %s lacks %zu tensor%s that the base has, the first being '%s': is its download complete?",
        role_lead, n, n == 1 ? "" : "s", first);
    pc_pair_explain(base, "base", lead, role_lead, err);
    pc_error_path(err, lead->path);
    return PACO_EMISMATCH;
}

/* ---- what the weights look like ---- */

enum { SAMPLED_NORMS = 16, MAX_NORM = 65536 };

/* The cosine between the norm weights of two checkpoints: near 1 between models, whose norms are all
 * positive, near 0 between a model and a diff. */
static int norms_agree(
    const struct pc_checkpoint *a, const struct pc_checkpoint *b, double *out, struct paco_error *err)
{
    double cross = 0, aa = 0, bb = 0;
    int n = 0, rc = 0;
    float *buf = pc_alloc(2 * MAX_NORM, sizeof *buf);
    if (!buf)
        return pc_error_mem(err, 2 * MAX_NORM * sizeof *buf, "sampled weights");
    for (size_t i = 0; i < b->n_tensors && n < SAMPLED_NORMS && rc == 0; i++) {
        const struct pc_tensor *y = &b->tensors[i], *x = pc_checkpoint_find(a, y->name);
        if (!x || !pc_ends_with(y->name, "norm.weight") || y->n_dims != 1 || y->shape[0] > MAX_NORM ||
            !pc_tensor_same_shape(x, y) || !pc_tensor_has_f32(x) || !pc_tensor_has_f32(y))
            continue;
        n++;
        rc = pc_tensor_read_f32(x, 0, x->n_rows, buf, err);
        if (rc == 0)
            rc = pc_tensor_read_f32(y, 0, y->n_rows, buf + MAX_NORM, err);
        for (uint64_t k = 0; k < y->shape[0] && rc == 0; k++) {
            double p = buf[k], q = buf[MAX_NORM + k];
            if (!isfinite(p) || !isfinite(q))
                continue;
            cross += p * q;
            aa += p * p;
            bb += q * q;
        }
    }
    pc_free(buf);
    *out = aa > 0 && bb > 0 ? cross / sqrt(aa * bb) : 0;
    return rc;
}

static int misfit(const struct pc_source *src, struct paco_error *err)
{
    pc_error_path(err, src->path);
    return PACO_EMISMATCH;
}

/* Certain enough to refuse: norms and matrices both say so. */
static bool surely_diff(const struct pc_diagnosis *d)
{
    return d->kind == PC_KIND_DIFF && d->n_norms > 0 && d->norm_level < 0.01 &&
           (d->n_matrices == 0 || d->matrix_std < 0.005);
}

int pc_pair_check_diff(const struct pc_source *base, const struct pc_source *diff, struct pc_notes *notes,
    struct paco_error *err)
{
    struct pc_diagnosis b = {0}, d = {0};
    double agreement = 0;
    int rc = pc_diagnose_kind(base->ck, &b, err);
    if (rc == 0)
        rc = pc_diagnose_kind(diff->ck, &d, err);
    if (rc == 0)
        rc = norms_agree(base->ck, diff->ck, &agreement, err);
    if (rc < 0)
        return rc;
    if (surely_diff(&b) && d.kind == PC_KIND_MODEL) {
        pc_error_set(err, PACO_EMISMATCH,
            "was given as the base, but looks like a diff, and the diff like a model: they seem to be "
            "exchanged");
        return misfit(base, err);
    }
    if (surely_diff(&b)) {
        pc_error_set(err, PACO_EMISMATCH, "was given as the base, but looks like a diff: %s", b.evidence);
        return misfit(base, err);
    }
    if (d.kind == PC_KIND_MODEL && b.kind == PC_KIND_MODEL && agreement > 0.5) {
        pc_error_set(err, PACO_EMISMATCH,
            "was given as the diff, but looks like a whole model: %s. If it is the tuned model, there is "
            "nothing to "
            "recover",
            d.evidence);
        return misfit(diff, err);
    }
    if (b.kind == PC_KIND_DIFF)
        pc_note(notes, "the base has unusual weights: %s", b.evidence);
    if (d.kind == PC_KIND_MODEL)
        pc_note(notes, "the diff has unusual weights: %s", d.evidence);
    return 0;
}

int pc_pair_check_tuned(const struct pc_source *base, const struct pc_source *tuned, struct pc_notes *notes,
    struct paco_error *err)
{
    const struct pc_source *both[] = {base, tuned};
    static const char *const roles[] = {"base", "tuned model"};
    for (int i = 0; i < 2; i++) {
        struct pc_diagnosis d;
        int rc = pc_diagnose_kind(both[i]->ck, &d, err);
        if (rc < 0)
            return rc;
        if (surely_diff(&d)) {
            pc_error_set(
                err, PACO_EMISMATCH, "was given as the %s, but looks like a diff: %s", roles[i], d.evidence);
            return misfit(both[i], err);
        }
        if (d.kind == PC_KIND_DIFF)
            pc_note(notes, "the %s has unusual weights: %s", roles[i], d.evidence);
    }
    return 0;
}

int pc_pair_sum(const struct pc_source *base, const struct pc_source *diff, struct pc_checkpoint **out,
    struct paco_error *err)
{
    struct pc_combine_options o = {.tied = pc_pair_tied(diff),
        .base_tied = pc_pair_tied(base),
        .rope_theta = diff->has_config ? (double)diff->config.rope_theta : 0};
    struct pc_checkpoint *sum = NULL;
    int rc = pc_checkpoint_add(base->ck, diff->ck, &o, &sum, NULL, err);
    if (rc == PACO_EMISMATCH)
        pc_pair_explain(base->ck, "base", diff->ck, "diff", err);
    if (rc == 0)
        rc = pc_pair_check_missing(base->ck, diff->ck, "diff", o.tied, NULL, err);
    if (rc == 0)
        rc = pc_pair_check_diff(base, diff, NULL, err);
    if (rc < 0) {
        pc_checkpoint_close(sum);
        return rc;
    }
    *out = sum;
    return 0;
}
