// SPDX-License-Identifier: Apache-2.0
#include "model/llama_forward.h"

/* The embeddings of rows, each with what its fine-tune adds. */
static int embed(const struct pc_compute *compute, struct pc_llama *model, const int32_t *token,
    const struct pc_llama_rows *rows, float *x, struct paco_error *err)
{
    size_t width = (size_t)model->config.hidden_size, i = 0;
    const struct pc_delta_span *spans = rows->delta ? rows->delta->spans : NULL;
    int rc = pc_llama_fill_embedding(model, compute->pool, err);
    for (size_t t = 0; t < rows->n && rc == 0; t++) {
        while (spans && spans[i].first + spans[i].n <= t)
            i++;
        const struct pc_llama_delta *delta = spans ? spans[i].delta : NULL;
        if (token[t] < model->config.vocab_size)
            rc = pc_llama_embed(model, token[t], x + t * width, err);
        if (delta && rc == 0)
            pc_delta_embed(model->kernels, delta, token[t], model->config.vocab_size, x + t * width);
    }
    return rc;
}

int pc_llama_forward(const struct pc_compute *compute, struct pc_llama *model, const int32_t *token,
    const struct pc_llama_rows *rows, float *x, const struct pc_llama_activations *scratch,
    struct paco_error *err)
{
    int rc = embed(compute, model, token, rows, x, err);
    struct pc_llama_weights weights = pc_llama_weights(model);
    for (int32_t i = 0; i < model->config.n_layers && rc == 0; i++) {
        rc = pc_llama_fill_layer(model, i, compute->pool, err);
        if (rc == 0)
            pc_llama_block_forward(compute, &model->config, &weights, i, rows, x, scratch, NULL);
    }
    return rc;
}

struct norm {
    const struct pc_compute *compute;
    const struct pc_llama *model;
    const struct pc_delta_rows *delta;
    const struct pc_input *in;
    float *x;
};

static void final_norm(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct norm *n = arg;
    size_t width = n->in->n_in;
    for (size_t t = (size_t)first, n_rows; t < (size_t)end; t += n_rows) {
        n_rows = (size_t)end - t;
        const float *weight =
            pc_delta_norm(n->delta, 0, PC_DELTA_FINAL_NORM, n->model->final_norm, t, &n_rows);
        n->compute->kernels->rmsnorm.forward(
            n->x + t * width, n->x + t * width, weight, n_rows, width, n->model->config.rms_norm_eps);
    }
    pc_input_prepare(n->in, n->compute->kernels, (size_t)first, (size_t)end);
}

int pc_llama_logits(const struct pc_compute *compute, struct pc_llama *model,
    const struct pc_delta_rows *delta, float *x, size_t n_rows, float *logits,
    const struct pc_llama_activations *scratch, struct paco_error *err)
{
    int rc = pc_llama_fill_head(model, compute->pool, err);
    if (rc < 0)
        return rc;
    const struct pc_input in = {.x = x,
        .forms = scratch->forms,
        .needs = pc_input_needs(&model->head),
        .n_rows = n_rows,
        .n_in = (size_t)model->config.hidden_size};
    struct norm n = {compute, model, delta, &in, x};
    pc_pool_share(compute->pool, (int64_t)n_rows, pc_compute_workers(compute, (double)(n_rows * in.n_in)),
        final_norm, &n);
    const struct pc_linear head = {&model->head, logits};
    pc_linear_forward(compute, &head, 1, &in);
    pc_delta_forward(compute, delta, PC_DELTA_HEAD, 0, 1, &in, &logits);
    return 0;
}
