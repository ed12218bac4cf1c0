// SPDX-License-Identifier: Apache-2.0
/* The loss of a ragged batch in double, written for finite differences: no tiles, no sharing, no order that
 * matters. */
#ifndef PC_TESTS_DOUBLE_MODEL_H
#define PC_TESTS_DOUBLE_MODEL_H

#include "kernels/dropout.h"
#include "tiny_model.h"

enum { DOUBLE_LAYERS = 4, DOUBLE_ROWS = 64, DOUBLE_VOCAB = 64 };

/* The rows of a pass. */
struct double_batch {
    size_t lengths[8], n; /* of the examples */
    size_t n_rows;
    int32_t token[DOUBLE_ROWS], label[DOUBLE_ROWS]; /* label < 0: not trained */
    float weight[DOUBLE_ROWS];
};

struct double_model {
    const struct pc_config *c;
    size_t n_tensors;
    double **tensor; /* in the checkpoint's order */
    double *embedding, *final_norm, *head;
    struct {
        double *norm[2], *w[7], *b[7], *lora_a[7], *lora_b[7];
    } layer[DOUBLE_LAYERS];
    /* Adapters, if there are any: their rank and scale, dropout and what it follows from. */
    size_t rank;
    double scale, dropout;
    uint64_t key[DOUBLE_ROWS];
    size_t first; /* row of the example at work */
};

static inline double *double_find(
    const struct double_model *m, const struct tiny *t, const char *fmt, int i, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, fmt, i, part);
    const struct pc_tensor *tensor = pc_checkpoint_find(t->ck, name);
    return tensor ? m->tensor[tensor->index] : NULL;
}

static const char *const double_parts[7] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};

static inline struct double_model double_model(const struct tiny *t)
{
    struct double_model m = {.c = &t->config, .n_tensors = t->n};
    m.tensor = malloc(t->n * sizeof *m.tensor);
    for (size_t i = 0; i < t->n; i++)
        m.tensor[i] = tiny_values(t, t->ck->tensors[i].name, 0, "");
    m.embedding = double_find(&m, t, "model.embed_tokens.weight", 0, "");
    m.final_norm = double_find(&m, t, "model.norm.weight", 0, "");
    m.head = t->config.tied ? m.embedding : double_find(&m, t, "lm_head.weight", 0, "");
    for (int i = 0; i < t->config.n_layers; i++) {
        m.layer[i].norm[0] = double_find(&m, t, "model.layers.%d.%s.weight", i, "input_layernorm");
        m.layer[i].norm[1] = double_find(&m, t, "model.layers.%d.%s.weight", i, "post_attention_layernorm");
        for (int k = 0; k < 7; k++) {
            m.layer[i].w[k] = double_find(&m, t, "model.layers.%d.%s.weight", i, double_parts[k]);
            m.layer[i].b[k] = double_find(&m, t, "model.layers.%d.%s.bias", i, double_parts[k]);
        }
    }
    return m;
}

static inline void double_release(struct double_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        free(m->tensor[i]);
    free(m->tensor);
}

/* What adapters of matrix k add to y. */
static inline void double_lora(const struct double_model *m, int layer, int k, double *y, const double *x,
    size_t n_rows, size_t n_out, size_t n_in)
{
    const double *a = m->layer[layer].lora_a[k], *b = m->layer[layer].lora_b[k];
    struct pc_dropout kernel;
    pc_dropout_init(&kernel, 0);
    float *mask = malloc(n_in * sizeof *mask);
    for (size_t t = 0; t < n_rows; t++) {
        uint64_t key =
            pc_dropout_key(pc_dropout_key(m->key[m->first + t], t), (uint64_t)layer * 7 + (uint64_t)k);
        for (size_t i = 0; i < n_in; i++)
            mask[i] = 1;
        kernel.apply(mask, mask, n_in, key, (uint32_t)(m->dropout * 0x1p32), 1);
        for (size_t r = 0; r < m->rank; r++) {
            double low = 0;
            for (size_t i = 0; i < n_in; i++)
                low += a[r * n_in + i] * x[t * n_in + i] * (double)mask[i] / (1 - m->dropout);
            for (size_t j = 0; j < n_out; j++)
                y[t * n_out + j] += m->scale * low * b[j * m->rank + r];
        }
    }
    free(mask);
}

/* y (n_rows, n_out), added to. */
static inline void double_linear(const struct double_model *m, int layer, int k, double *y, const double *x,
    size_t n_rows, size_t n_out, size_t n_in)
{
    const double *w = m->layer[layer].w[k], *b = m->layer[layer].b[k];
    for (size_t t = 0; t < n_rows; t++)
        for (size_t j = 0; j < n_out; j++) {
            double sum = b ? b[j] : 0;
            for (size_t i = 0; i < n_in; i++)
                sum += w[j * n_in + i] * x[t * n_in + i];
            y[t * n_out + j] += sum;
        }
    if (m->layer[layer].lora_a[k])
        double_lora(m, layer, k, y, x, n_rows, n_out, n_in);
}

static inline void double_norm(
    const struct double_model *m, const double *w, double *y, const double *x, size_t n_rows)
{
    size_t n = (size_t)m->c->hidden_size;
    for (size_t t = 0; t < n_rows; t++)
        tiny_norm(w, y + t * n, x + t * n, (int)n, (double)m->c->rms_norm_eps);
}

static inline void double_attention(
    const struct pc_config *c, double *mix, const double *q, const double *k, const double *v, size_t n)
{
    size_t heads = (size_t)c->n_heads, kv = (size_t)c->n_kv_heads, d = (size_t)c->head_dim;
    for (size_t t = 0; t < n; t++)
        for (size_t h = 0; h < heads; h++) {
            double p[DOUBLE_ROWS], sum = 0;
            size_t g = h / (heads / kv);
            for (size_t j = 0; j <= t; j++) {
                p[j] = 0;
                for (size_t i = 0; i < d; i++)
                    p[j] += q[(t * heads + h) * d + i] * k[(j * kv + g) * d + i] / sqrt((double)d);
                sum += p[j] = exp(p[j]);
            }
            for (size_t i = 0; i < d; i++)
                for (size_t j = 0; j <= t; j++)
                    mix[(t * heads + h) * d + i] += p[j] / sum * v[(j * kv + g) * d + i];
        }
}

static inline void double_block(const struct double_model *m, int l, double *x, size_t n)
{
    const struct pc_config *c = m->c;
    size_t width = (size_t)c->hidden_size, inner = (size_t)c->intermediate_size, d = (size_t)c->head_dim,
           nq = (size_t)c->n_heads * d, nkv = (size_t)c->n_kv_heads * d;
    double *y = calloc(n * (width + 2 * nq + 2 * nkv + 2 * inner), sizeof *y);
    if (!y)
        abort();
    double *q = y + n * width, *mix = q + n * nq, *k = mix + n * nq, *v = k + n * nkv, *gate = v + n * nkv,
           *up = gate + n * inner;
    double_norm(m, m->layer[l].norm[0], y, x, n);
    double_linear(m, l, 0, q, y, n, nq, width);
    double_linear(m, l, 1, k, y, n, nkv, width);
    double_linear(m, l, 2, v, y, n, nkv, width);
    for (size_t t = 0; t < n; t++) {
        tiny_rotate(q + t * nq, c->n_heads, (int)d, (int)t, (double)c->rope_theta);
        tiny_rotate(k + t * nkv, c->n_kv_heads, (int)d, (int)t, (double)c->rope_theta);
    }
    double_attention(c, mix, q, k, v, n);
    double_linear(m, l, 3, x, mix, n, width, nq);
    double_norm(m, m->layer[l].norm[1], y, x, n);
    double_linear(m, l, 4, gate, y, n, inner, width);
    double_linear(m, l, 5, up, y, n, inner, width);
    for (size_t i = 0; i < n * inner; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    double_linear(m, l, 6, x, gate, n, width, inner);
    free(y);
}

static inline double double_row_loss(const struct double_model *m, const double *x, int32_t label)
{
    double sum = 0, at_label = 0;
    for (int32_t v = 0; v < m->c->vocab_size; v++) {
        double z = 0;
        for (int32_t i = 0; i < m->c->hidden_size; i++)
            z += m->head[v * m->c->hidden_size + i] * x[i];
        sum += exp(z);
        at_label = v == label ? z : at_label;
    }
    return log(sum) - at_label;
}

/* sum over the trained rows of weight * loss; loss (T), unless NULL, each alone. */
static inline double double_loss(struct double_model *m, const struct double_batch *b, double *loss)
{
    size_t width = (size_t)m->c->hidden_size, first = 0;
    double *x = malloc(2 * DOUBLE_ROWS * width * sizeof *x), *y = x + DOUBLE_ROWS * width, total = 0;
    if (!x)
        abort();
    for (size_t i = 0; i < b->n; first += b->lengths[i++]) {
        size_t n = b->lengths[i];
        m->first = first;
        for (size_t t = 0; t < n; t++)
            memcpy(x + t * width, m->embedding + (size_t)b->token[first + t] * width, width * sizeof *x);
        for (int l = 0; l < m->c->n_layers; l++)
            double_block(m, l, x, n);
        double_norm(m, m->final_norm, y, x, n);
        for (size_t t = 0; t < n; t++) {
            bool trained = b->label[first + t] >= 0;
            double row = trained ? double_row_loss(m, y + t * width, b->label[first + t]) : 0;
            total += row * (double)b->weight[first + t];
            if (loss)
                loss[first + t] = row;
        }
    }
    free(x);
    return total;
}

#endif
