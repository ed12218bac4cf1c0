// SPDX-License-Identifier: Apache-2.0
/* What stands around the layers: the loss and its gradient, and the embedding's.
 *
 * Rows that are not trained have no loss, so neither norm nor head is computed for them. The others are
 * gathered, some at a time, so that (tokens x vocabulary) never exists whole. */
#include "model/llama_backward.h"

#include <string.h>

enum { ALIGN = 64 };

/* As in llama_block.c: nanoseconds. */
static const double NORM_NS = 1, LOGIT_NS = 0.5, COLUMN_NS = 0.2;

struct loss {
    const struct pc_compute *compute;
    const struct pc_llama *model;
    const struct pc_llama_targets *targets;
    const struct pc_llama_scratch *s;
    const float *from; /* (T, C) */
    float *to;         /* (T, C) gradients; the same memory, or NULL: none are wanted */
    double *loss;
    float *d_norm;
    const size_t *row; /* of each row at work */
    size_t n, width;
    struct pc_input in, dy;
};

static struct loss loss_of(const struct pc_compute *compute, const struct pc_llama *model,
    const struct pc_llama_targets *targets, const struct pc_llama_scratch *s)
{
    struct loss l = {.compute = compute, .model = model, .targets = targets, .s = s};
    l.width = (size_t)model->config.hidden_size;
    return l;
}

static void share(
    struct loss *l, size_t n, double ns_each, void (*fn)(void *arg, int64_t first, int64_t end, int i_worker))
{
    pc_pool_share(l->compute->pool, (int64_t)n, pc_compute_workers(l->compute, ns_each * (double)n), fn, l);
}

static void gather_and_norm(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct loss *l = arg;
    size_t n = l->width;
    for (size_t i = (size_t)first; i < (size_t)end; i++)
        memcpy(l->s->stream_rows + i * n, l->from + l->row[i] * n, n * sizeof *l->from);
    l->compute->kernels->rmsnorm.forward(l->s->hidden + (size_t)first * n,
        l->s->stream_rows + (size_t)first * n, l->model->final_norm, (size_t)(end - first), n,
        l->model->config.rms_norm_eps);
    pc_input_prepare(&l->in, l->compute->kernels, (size_t)first, (size_t)end);
}

static void cross_entropy(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct loss *l = arg;
    const struct pc_cross_entropy *kernels = &l->compute->kernels->cross_entropy;
    size_t vocab = l->model->head.n_out;
    for (size_t i = (size_t)first; i < (size_t)end; i++) {
        size_t t = l->row[i], label = (size_t)l->targets->label[t];
        float *z = l->s->d_logits + i * vocab;
        if (l->to)
            l->loss[t] =
                kernels->backward(z, vocab, label, l->targets->weight ? l->targets->weight[t] : 1.0f);
        else
            l->loss[t] = kernels->forward(z, vocab, label);
    }
    if (l->to)
        pc_input_prepare(&l->dy, l->compute->kernels, (size_t)first, (size_t)end);
}

static void norm_backward(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct loss *l = arg;
    size_t n = l->width;
    for (size_t i = (size_t)first; i < (size_t)end; i++) {
        float *dx = l->to + l->row[i] * n;
        memset(dx, 0, n * sizeof *dx);
        l->compute->kernels->rmsnorm.backward(dx, l->s->scale + i, l->s->d_hidden + i * n,
            l->s->stream_rows + i * n, l->model->final_norm, 1, n, l->model->config.rms_norm_eps);
    }
}

static void norm_weight_backward(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct loss *l = arg;
    size_t to = (size_t)end * ALIGN;
    l->compute->kernels->rmsnorm.backward_weight(l->d_norm, l->s->d_hidden, l->s->stream_rows, l->s->scale,
        l->n, l->width, (size_t)first * ALIGN, to < l->width ? to : l->width);
}

/* The logits of the rows at work, their losses, and the logits' gradients in their place. */
static void run_forward(struct loss *l)
{
    const struct pc_weight *head = &l->model->head;
    unsigned needs = pc_input_needs(head);
    unsigned char *forms = l->s->forms;
    l->in = (struct pc_input){l->s->hidden, forms, needs, l->n, l->width};
    forms += (l->n * pc_input_form_size(needs, l->width) + ALIGN - 1) / ALIGN * ALIGN;
    l->dy = (struct pc_input){l->s->d_logits, forms, needs, l->n, head->n_out};
    share(l, l->n, NORM_NS * (double)l->width, gather_and_norm);
    const struct pc_linear product = {head, l->s->d_logits};
    pc_linear_forward(l->compute, &product, 1, &l->in);
    share(l, l->n, LOGIT_NS * (double)head->n_out, cross_entropy);
}

static void run_backward(struct loss *l, const struct pc_llama_end_gradients *gradients)
{
    const struct pc_linear_dw dw = {&l->model->head, &l->dy, gradients->head, NULL};
    if (gradients->head)
        pc_linear_backward_weight(l->compute, &dw, 1, &l->in, l->s->panels);
    const struct pc_linear_dx dx = {&l->model->head, &l->dy};
    pc_linear_backward_input(l->compute, &dx, 1, l->s->d_hidden, false);
    share(l, l->n, NORM_NS * (double)l->width, norm_backward);
    l->d_norm = gradients->final_norm;
    if (l->d_norm)
        share(l, (l->width + ALIGN - 1) / ALIGN, COLUMN_NS * ALIGN * (double)l->n, norm_weight_backward);
}

/* Set the losses of rows that are not trained, and list the others. */
static size_t find_trained(const struct loss *l, size_t n_rows)
{
    size_t n = 0;
    for (size_t t = 0; t < n_rows; t++) {
        l->loss[t] = 0;
        if (l->targets->label[t] >= 0)
            l->s->starts[n++] = t;
        else if (l->to)
            memset(l->to + t * l->width, 0, l->width * sizeof *l->to);
    }
    return n;
}

static void run(struct loss *l, size_t n_rows, const struct pc_llama_end_gradients *gradients)
{
    size_t n_trained = find_trained(l, n_rows);
    for (size_t first = 0; first < n_trained; first += l->n) {
        l->row = l->s->starts + first;
        l->n = n_trained - first < l->s->n_loss_rows ? n_trained - first : l->s->n_loss_rows;
        run_forward(l);
        if (gradients)
            run_backward(l, gradients);
    }
}

void pc_llama_loss_backward(const struct pc_compute *compute, const struct pc_llama *model, size_t n_rows,
    float *x, const struct pc_llama_targets *targets, const struct pc_llama_end_gradients *gradients,
    double *loss, const struct pc_llama_scratch *s)
{
    struct loss l = loss_of(compute, model, targets, s);
    l.from = l.to = x;
    l.loss = loss;
    run(&l, n_rows, gradients);
}

void pc_llama_loss(const struct pc_compute *compute, const struct pc_llama *model, size_t n_rows,
    const float *x, const struct pc_llama_targets *targets, double *loss, const struct pc_llama_scratch *s)
{
    struct loss l = loss_of(compute, model, targets, s);
    l.from = x;
    l.loss = loss;
    run(&l, n_rows, NULL);
}

/* ---- embedding ---- */

struct embedding {
    size_t n_rows, width;
    const int32_t *token;
    const float *dx;
    float *to;
};

static void add_columns(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct embedding *e = arg;
    size_t from = (size_t)first * ALIGN, to = (size_t)end * ALIGN < e->width ? (size_t)end * ALIGN : e->width;
    for (size_t t = 0; t < e->n_rows; t++) {
        const float *dx = e->dx + t * e->width;
        float *row = e->to + (size_t)e->token[t] * e->width;
        for (size_t c = from; c < to; c++)
            row[c] += dx[c];
    }
}

void pc_llama_embed_backward(const struct pc_compute *compute, const struct pc_config *config, size_t n_rows,
    const int32_t *token, const float *dx, float *d_embedding)
{
    struct embedding e = {n_rows, (size_t)config->hidden_size, token, dx, d_embedding};
    int workers = pc_compute_workers(compute, COLUMN_NS * (double)(n_rows * e.width));
    pc_pool_share(compute->pool, (int64_t)((e.width + ALIGN - 1) / ALIGN), workers, add_columns, &e);
}
