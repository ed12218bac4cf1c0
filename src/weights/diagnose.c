// SPDX-License-Identifier: Apache-2.0
#include "weights/diagnose.h"

#include "algebra/read_f32.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NORMS = 64, MAX_MATRICES = 16, ROWS_PER_MATRIX = 8, SAMPLE_FLOATS = 262144, NAMED_LAYERS = 1000 };

/* Norm weights of published models have medians from 0.3 up; of published diffs below 0.01. */
static const double MODEL_NORM = 0.1, DIFF_NORM = 0.03;
/* Matrices of models spread by 0.01 to 0.05, of diffs by 0.003 at most. */
static const double DIFF_STD = 0.003;

static bool is_norm(const struct pc_tensor *t)
{
    return t->n_dims == 1 && t->shape[0] >= 1 && t->shape[0] <= SAMPLE_FLOATS &&
           pc_ends_with(t->name, "norm.weight") && pc_tensor_has_f32(t);
}

static bool is_matrix(const struct pc_tensor *t)
{
    return t->n_dims == 2 && t->n_rows >= 1 && t->row_elems >= 1 && t->row_elems <= SAMPLE_FLOATS &&
           pc_ends_with(t->name, ".weight") && pc_tensor_has_f32(t);
}

static double mean_abs(const float *x, uint64_t n)
{
    double sum = 0;
    uint64_t n_finite = 0;
    for (uint64_t i = 0; i < n; i++)
        if (isfinite(x[i])) {
            sum += fabs((double)x[i]);
            n_finite++;
        }
    return n_finite ? sum / (double)n_finite : 0;
}

static int norm_level(const struct pc_tensor *t, float *buf, double *out, struct paco_error *err)
{
    int rc = pc_tensor_read_f32(t, 0, t->n_rows, buf, err);
    if (rc == 0)
        *out = mean_abs(buf, t->shape[0]);
    return rc;
}

static int matrix_spread(const struct pc_tensor *t, float *buf, double *out, struct paco_error *err)
{
    double sum = 0, sum_squares = 0;
    uint64_t n = 0, n_rows = t->n_rows < ROWS_PER_MATRIX ? t->n_rows : ROWS_PER_MATRIX;
    for (uint64_t r = 0; r < n_rows; r++) {
        int rc = pc_tensor_read_f32(t, r * t->n_rows / n_rows, 1, buf, err);
        if (rc < 0)
            return rc;
        for (uint64_t i = 0; i < t->row_elems; i++)
            if (isfinite(buf[i])) {
                sum += (double)buf[i];
                sum_squares += (double)buf[i] * (double)buf[i];
                n++;
            }
    }
    double mean = n ? sum / (double)n : 0, variance = n ? sum_squares / (double)n - mean * mean : 0;
    *out = variance > 0 ? sqrt(variance) : 0;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    if (n == 0)
        return 0;
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

struct sampling {
    bool (*wanted)(const struct pc_tensor *t);
    int (*measure)(const struct pc_tensor *t, float *buf, double *out, struct paco_error *err);
    int max;
};

/* Measure up to s->max tensors, evenly spread over those wanted; *n of them, their median in *out. */
static int sample(const struct pc_checkpoint *ck, const struct sampling *s, float *buf, int *n, double *out,
    struct paco_error *err)
{
    double values[MAX_NORMS];
    size_t n_wanted = 0, seen = 0;
    for (size_t i = 0; i < ck->n_tensors; i++)
        n_wanted += s->wanted(&ck->tensors[i]);
    size_t n_take = n_wanted < (size_t)s->max ? n_wanted : (size_t)s->max, taken = 0;
    for (size_t i = 0; i < ck->n_tensors && taken < n_take; i++) {
        if (!s->wanted(&ck->tensors[i]) || seen++ != taken * n_wanted / n_take)
            continue;
        int rc = s->measure(&ck->tensors[i], buf, &values[taken++], err);
        if (rc < 0)
            return rc;
    }
    *n = (int)taken;
    *out = median(values, (int)taken);
    return 0;
}

static void judge(struct pc_diagnosis *d)
{
    if (d->n_norms)
        d->kind = d->norm_level >= MODEL_NORM ? PC_KIND_MODEL
                  : d->norm_level < DIFF_NORM ? PC_KIND_DIFF
                                              : PC_KIND_UNSURE;
    else
        d->kind = d->n_matrices && d->matrix_std < DIFF_STD ? PC_KIND_DIFF : PC_KIND_UNSURE;
    int w = 0;
    if (d->n_norms)
        w = snprintf(d->evidence, sizeof d->evidence,
            "its norm weights average %.2g (a model's are near 1, a diff's near 0)%s", d->norm_level,
            d->n_matrices ? ", " : "");
    if (d->n_matrices)
        snprintf(d->evidence + w, sizeof d->evidence - (size_t)w, "its matrices have standard deviation %.2g",
            d->matrix_std);
    if (!d->n_norms && !d->n_matrices)
        snprintf(d->evidence, sizeof d->evidence, "it has no norm weights and no matrices");
}

int pc_diagnose_kind(const struct pc_checkpoint *ck, struct pc_diagnosis *out, struct paco_error *err)
{
    static const struct sampling norms = {is_norm, norm_level, MAX_NORMS},
                                 matrices = {is_matrix, matrix_spread, MAX_MATRICES};
    struct pc_diagnosis d = {0};
    float *buf = pc_alloc(SAMPLE_FLOATS, sizeof *buf);
    if (!buf)
        return pc_error_mem(err, SAMPLE_FLOATS * sizeof *buf, "sampled weights");
    int rc = sample(ck, &norms, buf, &d.n_norms, &d.norm_level, err);
    if (rc == 0)
        rc = sample(ck, &matrices, buf, &d.n_matrices, &d.matrix_std, err);
    pc_free(buf);
    if (rc < 0)
        return rc;
    judge(&d);
    *out = d;
    return 0;
}

const char *pc_kind_name(enum pc_kind kind)
{
    static const char *const names[] = {"unsure", "model", "diff"};
    return names[kind];
}

/* Layer number of "model.layers.N.", or -1. */
static int layer_of(const char *name)
{
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return -1;
    char *end;
    long n = strtol(name + sizeof prefix - 1, &end, 10);
    return end != name + sizeof prefix - 1 && *end == '.' && n >= 0 && n < NAMED_LAYERS ? (int)n : -1;
}

static uint64_t dim(const struct pc_checkpoint *ck, const char *name, int i)
{
    const struct pc_tensor *t = pc_checkpoint_find(ck, name);
    return t && i < t->n_dims ? t->shape[i] : 0;
}

void pc_diagnose_outline(const struct pc_checkpoint *ck, struct pc_outline *out)
{
    *out = (struct pc_outline){0};
    for (size_t i = 0; i < ck->n_tensors; i++) {
        int layer = layer_of(ck->tensors[i].name);
        if (layer >= out->n_layers)
            out->n_layers = layer + 1;
    }
    out->vocab = dim(ck, "model.embed_tokens.weight", 0);
    out->hidden = dim(ck, "model.embed_tokens.weight", 1);
    if (!out->hidden)
        out->hidden = dim(ck, "model.norm.weight", 0);
    out->intermediate = dim(ck, "model.layers.0.mlp.gate_proj.weight", 0);
    out->kv_width = dim(ck, "model.layers.0.self_attn.k_proj.weight", 0);
    out->has_head = pc_checkpoint_find(ck, "lm_head.weight") != NULL;
}

/* A vocabulary may be this much larger than published: added tokens, rounding up to a multiple of 64. */
enum { VOCAB_SLACK = 256 };

const char *pc_diagnose_known(const struct pc_outline *o)
{
    static const struct {
        const char *name;
        struct pc_outline o;
    } known[] = {
        {"LLaMA-7B or LLaMA-2-7B", {32, 4096, 11008, 4096, 32000, true}},
        {"LLaMA-13B or LLaMA-2-13B", {40, 5120, 13824, 5120, 32000, true}},
        {"LLaMA-30B", {60, 6656, 17920, 6656, 32000, true}},
        {"LLaMA-65B", {80, 8192, 22016, 8192, 32000, true}},
        {"LLaMA-2-70B", {80, 8192, 28672, 1024, 32000, true}},
        {"CodeLlama-34B", {48, 8192, 22016, 1024, 32000, true}},
        {"LLaMA-3-8B", {32, 4096, 14336, 1024, 128256, true}},
        {"LLaMA-3-70B", {80, 8192, 28672, 1024, 128256, true}},
        {"LLaMA-3.1-405B", {126, 16384, 53248, 1024, 128256, true}},
        {"LLaMA-3.2-1B", {16, 2048, 8192, 512, 128256, false}},
        {"LLaMA-3.2-3B", {28, 3072, 8192, 1024, 128256, false}},
        {"Mistral-7B", {32, 4096, 14336, 1024, 32000, true}},
        {"OpenLLaMA-3B", {26, 3200, 8640, 3200, 32000, true}},
        {"TinyLlama-1.1B", {22, 2048, 5632, 256, 32000, true}},
        {"SmolLM2-135M", {30, 576, 1536, 192, 49152, false}},
        {"SmolLM2-360M", {32, 960, 2560, 320, 49152, false}},
        {"SmolLM2-1.7B", {24, 2048, 8192, 2048, 49152, false}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct pc_outline *k = &known[i].o;
        if (o->n_layers == k->n_layers && o->hidden == k->hidden && o->intermediate == k->intermediate &&
            o->kv_width == k->kv_width && o->vocab >= k->vocab && o->vocab <= k->vocab + VOCAB_SLACK)
            return known[i].name;
    }
    return NULL;
}

char *pc_diagnose_describe(const struct pc_outline *o, char *out, size_t out_size)
{
    const char *known = pc_diagnose_known(o);
    char sizes[96];
    snprintf(sizes, sizeof sizes, "%d layer%s of width %llu, vocabulary %llu", (int)o->n_layers,
        o->n_layers == 1 ? "" : "s", (unsigned long long)o->hidden, (unsigned long long)o->vocab);
    if (known)
        snprintf(out, out_size, "looks like %s (%s)", known, sizes);
    else
        snprintf(out, out_size, "has %s", sizes);
    return out;
}

char *pc_diagnose_mismatch(const struct pc_checkpoint *a, const char *what_a, const struct pc_checkpoint *b,
    const char *what_b, char *out, size_t out_size)
{
    struct pc_outline oa, ob;
    pc_diagnose_outline(a, &oa);
    pc_diagnose_outline(b, &ob);
    out[0] = '\0';
    if (oa.n_layers == ob.n_layers && oa.hidden == ob.hidden && oa.intermediate == ob.intermediate &&
        oa.kv_width == ob.kv_width)
        return out;
    char text_a[160], text_b[160];
    pc_diagnose_describe(&oa, text_a, sizeof text_a);
    pc_diagnose_describe(&ob, text_b, sizeof text_b);
    const char *known = pc_diagnose_known(&ob);
    int w = snprintf(out, out_size, "the %s %s, the %s %s", what_a, text_a, what_b, text_b);
    if (known && w > 0 && (size_t)w < out_size)
        snprintf(out + w, out_size - (size_t)w, ": it needs %s as its %s", known, what_a);
    return out;
}
