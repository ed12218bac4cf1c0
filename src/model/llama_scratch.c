// SPDX-License-Identifier: Apache-2.0
/* The memory of a backward pass, planned once. */
#include "model/llama_backward.h"

#include <string.h>

enum { ALIGN = 64, LOSS_ROWS = 256 };

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Bytes of the forms of n rows of so many elements, on a line of their own. */
static size_t forms_size(unsigned needs, size_t n_rows, size_t n_in)
{
    return (n_rows * pc_input_form_size(needs, n_in) + ALIGN - 1) / ALIGN * ALIGN;
}

/* Each round of products has the forms of the gradients that it begins with, and of its input. */
static size_t all_forms(const struct pc_llama *m, size_t n_rows, size_t n_loss_rows)
{
    size_t size = 0;
    for (int32_t i = 0; i < m->config.n_layers; i++) {
        const struct pc_weight *w = m->layers[i].matrix;
        for (int first = PC_LLAMA_Q, end; first < PC_LLAMA_N_MATRICES; first = end) {
            end = first == PC_LLAMA_Q ? PC_LLAMA_O : first == PC_LLAMA_GATE ? PC_LLAMA_DOWN : first + 1;
            unsigned needs = 0;
            size_t round = 0;
            for (int k = first; k < end; k++) {
                needs |= pc_input_needs(&w[k]);
                round += forms_size(pc_input_needs(&w[k]), n_rows, w[k].n_out);
            }
            size = larger(size, round + forms_size(needs, n_rows, w[first].n_in));
        }
    }
    unsigned needs = pc_input_needs(&m->head);
    return larger(
        size, forms_size(needs, n_loss_rows, m->head.n_out) + forms_size(needs, n_loss_rows, m->head.n_in));
}

static size_t all_panels(const struct pc_llama *m, size_t n_rows, size_t n_loss_rows)
{
    size_t size = pc_linear_panels_size(&m->head, n_loss_rows);
    for (int32_t i = 0; i < m->config.n_layers; i++)
        for (int k = 0; k < PC_LLAMA_N_MATRICES; k++)
            size = larger(size, pc_linear_panels_size(&m->layers[i].matrix[k], n_rows));
    return size;
}

/* Cut everything out of memory; with NULL only count. */
static size_t lay_out(struct pc_llama_scratch *s, const struct pc_llama *m, size_t n_rows, bool recompute,
    unsigned char *memory)
{
    const struct pc_config *c = &m->config;
    size_t width = (size_t)c->hidden_size, inner = (size_t)c->intermediate_size, heads = (size_t)c->n_heads,
           q = heads * (size_t)c->head_dim, n_loss = s->n_loss_rows;
    float *forward, *spare;
    const struct {
        void *field;
        size_t n, size;
    } parts[] = {
        {&forward, pc_llama_activations_size(c, n_rows), sizeof(float)},
        {&s->forward.forms, larger(n_rows, n_loss), m->form_size},
        {&spare, recompute ? pc_llama_tape_size(c, n_rows, false) : 0, sizeof(float)},
        {&s->stream, recompute ? n_rows * width : 0, sizeof(float)},
        {&s->norm, n_rows * width, sizeof(float)},
        {&s->d_norm, n_rows * width, sizeof(float)},
        {&s->act, n_rows * inner, sizeof(float)},
        {&s->d_act, n_rows * inner, sizeof(float)},
        {&s->d_mix, n_rows * q, sizeof(float)},
        {&s->d_q, n_rows * q, sizeof(float)},
        {&s->d_k_heads, n_rows * q, sizeof(float)},
        {&s->d_v_heads, n_rows * q, sizeof(float)},
        {&s->dot, n_rows * heads, sizeof(float)},
        {&s->scale, larger(n_rows, n_loss), sizeof(float)},
        {&s->starts, n_rows + 1, sizeof(size_t)},
        {&s->stream_rows, n_loss * width, sizeof(float)},
        {&s->hidden, n_loss * width, sizeof(float)},
        {&s->d_hidden, n_loss * width, sizeof(float)},
        {&s->d_logits, n_loss * (size_t)c->vocab_size, sizeof(float)},
        {&s->forms, all_forms(m, n_rows, n_loss), 1},
        {&s->panels, all_panels(m, n_rows, n_loss), 1},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = memory ? memory + at : NULL;
        memcpy(parts[i].field, &p, sizeof p);
        at += (parts[i].n * parts[i].size + ALIGN - 1) / ALIGN * ALIGN;
    }
    if (memory) {
        pc_llama_activations_place(&s->forward, c, n_rows, forward);
        if (recompute)
            pc_llama_tape_place(&s->spare, c, n_rows, false, spare);
    }
    return at;
}

size_t pc_llama_scratch_size(const struct pc_llama *model, size_t n_rows, size_t n_loss_rows, bool recompute)
{
    struct pc_llama_scratch s = {.n_loss_rows = n_loss_rows};
    return lay_out(&s, model, n_rows, recompute, NULL);
}

void pc_llama_scratch_place(struct pc_llama_scratch *s, const struct pc_llama *model, size_t n_rows,
    size_t n_loss_rows, bool recompute, void *memory)
{
    *s = (struct pc_llama_scratch){.n_loss_rows = n_loss_rows};
    lay_out(s, model, n_rows, recompute, memory);
}

size_t pc_llama_loss_rows(size_t n_rows)
{
    return n_rows < LOSS_ROWS ? n_rows : LOSS_ROWS;
}

size_t pc_llama_training_scratch(const struct pc_llama *model, size_t n_rows)
{
    size_t size = larger(model->n_scratch, pc_llama_attention_scratch(&model->config));
    size = larger(size, pc_attention_backward_scratch((size_t)model->config.head_dim));
    size = larger(size, pc_attention_backward_bf16_scratch((size_t)model->config.head_dim, n_rows));
    size = larger(size, pc_linear_backward_scratch());
    return (size + 15) / 16 * 16;
}
