// SPDX-License-Identifier: Apache-2.0
/* A small random LLaMA in memory, and its forward pass written once more, in double and without a cache: what
 * the engine's tests compare with. */
#ifndef PC_TESTS_TINY_MODEL_H
#define PC_TESTS_TINY_MODEL_H

#include "base/memory.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "kernels/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tiny {
    struct pc_config config;
    enum pc_dtype dtype; /* of the matrices */
    bool mapped;         /* whether the checkpoint can be mapped */
    struct pc_checkpoint *ck;
    unsigned char **bytes; /* per tensor */
    size_t n;
    uint64_t random;
    _Atomic int *reads_left; /* that succeed; NULL: all */
};

static int tiny_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct tiny *m = t->owner->impl;
    if (m->reads_left && (*m->reads_left)-- <= 0)
        return pc_error_set(err, PACO_EIO, "cannot be read");
    memcpy(buf, m->bytes[t->index] + row0 * t->row_size, (size_t)(n_rows * t->row_size));
    return 0;
}

static const void *tiny_map(const struct pc_tensor *t)
{
    const struct tiny *m = t->owner->impl;
    return m->mapped ? m->bytes[t->index] : NULL;
}

static const struct pc_checkpoint_ops tiny_ops = {.read = tiny_read, .map = tiny_map};

static inline float tiny_random(struct tiny *m)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (float)((int64_t)(m->random >> 40) - (1 << 23)) * 0x1p-23f;
}

/* Add a tensor of uniform numbers in [offset - scale, offset + scale]; an F32 value rounded to its type. The
 * bytes start at an odd address when they are mapped, as a file's may. */
static inline void tiny_add(struct tiny *m, const char *name, enum pc_dtype dtype, int64_t n_out,
    int64_t n_in, float offset, float scale)
{
    struct paco_error err = {0};
    uint64_t shape[2] = {(uint64_t)n_out, (uint64_t)n_in};
    if (pc_checkpoint_add_tensor(m->ck, name, strlen(name), dtype, n_in ? 2 : 1, shape, &err) < 0)
        abort();
    struct pc_convert convert;
    pc_convert_init(&convert, 0);
    size_t n = (size_t)(n_out * (n_in ? n_in : 1));
    float *values = malloc(n * sizeof *values);
    const struct pc_tensor *t = pc_checkpoint_find(m->ck, name);
    m->bytes = realloc(m->bytes, (m->n + 1) * sizeof *m->bytes);
    unsigned char *bytes = malloc((size_t)t->size + 3);
    if (!values || !m->bytes || !bytes)
        abort();
    for (size_t i = 0; i < n; i++)
        values[i] = offset + scale * tiny_random(m);
    m->bytes[m->n++] = bytes + 3;
    if (dtype == PC_Q8_0) /* scale 1/256 and random quants */
        for (size_t i = 0; i < n / 32; i++) {
            unsigned char *block = bytes + 3 + i * 34;
            block[0] = 0x00, block[1] = 0x1c;
            for (int j = 0; j < 32; j++)
                block[2 + j] = (unsigned char)(int)(values[i * 32 + (size_t)j] * 100);
        }
    else
        convert.from_f32[dtype](bytes + 3, values, n);
    free(values);
}

static inline void tiny_make(struct tiny *m)
{
    const struct pc_config *c = &m->config;
    struct paco_error err = {0};
    m->ck = pc_checkpoint_new("memory", &tiny_ops, "tiny", &err);
    m->ck->impl = m;
    char name[128];
    int64_t width = c->hidden_size, inner = c->intermediate_size, q = (int64_t)c->n_heads * c->head_dim,
            kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct {
        const char *name;
        int64_t n_out, n_in;
        bool bias;
    } rows[] = {{"self_attn.q_proj", q, width, c->attention_bias},
        {"self_attn.k_proj", kv, width, c->attention_bias},
        {"self_attn.v_proj", kv, width, c->attention_bias}, {"self_attn.o_proj", width, q, c->attention_bias},
        {"mlp.gate_proj", inner, width, c->mlp_bias}, {"mlp.up_proj", inner, width, c->mlp_bias},
        {"mlp.down_proj", width, inner, c->mlp_bias}};
    tiny_add(m, "model.embed_tokens.weight", m->dtype, c->vocab_size, width, 0, 1);
    for (int32_t l = 0; l < c->n_layers; l++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, rows[i].name);
            tiny_add(m, name, m->dtype, rows[i].n_out, rows[i].n_in, 0, 0.4f);
            snprintf(name, sizeof name, "model.layers.%d.%s.bias", l, rows[i].name);
            if (rows[i].bias)
                tiny_add(m, name, PC_F32, rows[i].n_out, 0, 0, 0.5f);
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", l);
        tiny_add(m, name, PC_F32, width, 0, 1, 0.3f);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", l);
        tiny_add(m, name, PC_BF16, width, 0, 1, 0.3f);
        snprintf(name, sizeof name, "model.layers.%d.self_attn.rotary_emb.inv_freq", l); /* ignored */
        tiny_add(m, name, PC_F32, c->head_dim / 2, 0, 7, 0);
    }
    tiny_add(m, "model.norm.weight", PC_F32, width, 0, 1, 0.3f);
    if (!c->tied)
        tiny_add(m, "lm_head.weight", m->dtype, c->vocab_size, width, 0, 0.4f);
}

static inline void tiny_release(struct tiny *m)
{
    pc_checkpoint_close(m->ck);
    for (size_t i = 0; i < m->n; i++)
        free(m->bytes[i] - 3);
    free(m->bytes);
}

/* The tensor's elements as doubles; free them. NULL when it is not there. */
static inline double *tiny_values(const struct tiny *m, const char *fmt, int layer, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, fmt, layer, part);
    const struct pc_tensor *t = pc_checkpoint_find(m->ck, name);
    if (!t)
        return NULL;
    struct pc_convert convert;
    pc_convert_init(&convert, 0);
    size_t n = (size_t)pc_tensor_n_elements(t);
    float *f = malloc(n * sizeof *f);
    double *d = malloc(n * sizeof *d);
    if (!f || !d)
        abort();
    convert.to_f32[t->dtype](f, m->bytes[t->index], n);
    for (size_t i = 0; i < n; i++)
        d[i] = (double)f[i];
    free(f);
    return d;
}

static inline void tiny_linear(
    const struct tiny *m, int layer, const char *part, double *y, const double *x, int n_out, int n_in)
{
    double *w = tiny_values(m, "model.layers.%d.%s.weight", layer, part);
    double *b = tiny_values(m, "model.layers.%d.%s.bias", layer, part);
    for (int j = 0; j < n_out; j++) {
        y[j] = b ? b[j] : 0;
        for (int k = 0; k < n_in; k++)
            y[j] += w[j * n_in + k] * x[k];
    }
    free(w);
    free(b);
}

static inline void tiny_norm(const double *w, double *y, const double *x, int n, double eps)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        y[i] = w[i] * x[i] / sqrt(sum / n + eps);
}

static inline void tiny_rotate(double *x, int n_heads, int d, int pos, double theta)
{
    for (int h = 0; h < n_heads; h++, x += d)
        for (int i = 0; i < d / 2; i++) {
            double angle = pos * pow(theta, -2.0 * i / d), a = x[i], b = x[i + d / 2];
            x[i] = a * cos(angle) - b * sin(angle);
            x[i + d / 2] = b * cos(angle) + a * sin(angle);
        }
}

enum { TINY_MAX = 256 };

/* logits (vocab) behind the last of n tokens. */
static inline void tiny_forward(const struct tiny *m, const int32_t *token, int n, double *logits)
{
    const struct pc_config *c = &m->config;
    int width = c->hidden_size, inner = c->intermediate_size, d = c->head_dim, heads = c->n_heads,
        kv_heads = c->n_kv_heads;
    double *embedding = tiny_values(m, "model.embed_tokens.weight", 0, "");
    double *x = malloc((size_t)(n * width) * sizeof *x), *k = malloc((size_t)(n * kv_heads * d) * sizeof *k),
           *v = malloc((size_t)(n * kv_heads * d) * sizeof *v);
    double y[TINY_MAX], q[TINY_MAX], mix[TINY_MAX], gate[TINY_MAX], up[TINY_MAX];
    if (!x || !k || !v)
        abort();
    for (int t = 0; t < n; t++)
        memcpy(x + t * width, embedding + token[t] * width, (size_t)width * sizeof *x);
    for (int l = 0; l < c->n_layers; l++) {
        double *norm1 = tiny_values(m, "model.layers.%d.%s.weight", l, "input_layernorm");
        double *norm2 = tiny_values(m, "model.layers.%d.%s.weight", l, "post_attention_layernorm");
        for (int t = 0; t < n; t++) {
            double *row = x + t * width, *key = k + t * kv_heads * d, *value = v + t * kv_heads * d;
            tiny_norm(norm1, y, row, width, (double)c->rms_norm_eps);
            tiny_linear(m, l, "self_attn.q_proj", q, y, heads * d, width);
            tiny_linear(m, l, "self_attn.k_proj", key, y, kv_heads * d, width);
            tiny_linear(m, l, "self_attn.v_proj", value, y, kv_heads * d, width);
            tiny_rotate(q, heads, d, t, (double)c->rope_theta);
            tiny_rotate(key, kv_heads, d, t, (double)c->rope_theta);
            for (int h = 0; h < heads; h++) {
                int g = h / (heads / kv_heads);
                double s[TINY_MAX], sum = 0, max = -INFINITY;
                for (int j = 0; j <= t; j++) {
                    s[j] = 0;
                    for (int i = 0; i < d; i++)
                        s[j] += q[h * d + i] * k[(j * kv_heads + g) * d + i] / sqrt(d);
                    max = fmax(max, s[j]);
                }
                for (int j = 0; j <= t; j++)
                    sum += s[j] = exp(s[j] - max);
                for (int i = 0; i < d; i++) {
                    mix[h * d + i] = 0;
                    for (int j = 0; j <= t; j++)
                        mix[h * d + i] += s[j] / sum * v[(j * kv_heads + g) * d + i];
                }
            }
            tiny_linear(m, l, "self_attn.o_proj", y, mix, width, heads * d);
            for (int i = 0; i < width; i++)
                row[i] += y[i];
            tiny_norm(norm2, y, row, width, (double)c->rms_norm_eps);
            tiny_linear(m, l, "mlp.gate_proj", gate, y, inner, width);
            tiny_linear(m, l, "mlp.up_proj", up, y, inner, width);
            for (int i = 0; i < inner; i++)
                gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            tiny_linear(m, l, "mlp.down_proj", y, gate, width, inner);
            for (int i = 0; i < width; i++)
                row[i] += y[i];
        }
        free(norm1);
        free(norm2);
    }
    double *norm = tiny_values(m, "model.norm.weight", 0, "");
    double *head = tiny_values(m, c->tied ? "model.embed_tokens.weight" : "lm_head.weight", 0, "");
    tiny_norm(norm, y, x + (n - 1) * width, width, (double)c->rms_norm_eps);
    for (int j = 0; j < c->vocab_size; j++) {
        logits[j] = 0;
        for (int i = 0; i < width; i++)
            logits[j] += head[j * width + i] * y[i];
    }
    free(embedding);
    free(norm);
    free(head);
    free(x);
    free(k);
    free(v);
}

#endif
