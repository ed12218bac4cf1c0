// SPDX-License-Identifier: Apache-2.0
#include "model/llama_forward.h"

#include "kernels/rmsnorm.h"

void pc_llama_forward(const struct pc_compute *compute, struct pc_llama *model, const int32_t *token,
    const struct pc_llama_rows *rows, float *x, const struct pc_llama_activations *scratch)
{
    const struct pc_weight *e = &model->embedding;
    for (size_t t = 0; t < rows->n; t++)
        compute->kernels->convert.to_f32[e->dtype](
            x + t * e->n_in, e->data + (size_t)token[t] * e->row_size, e->n_in);
    struct pc_llama_weights weights = pc_llama_weights(model);
    for (int32_t i = 0; i < model->config.n_layers; i++)
        pc_llama_block_forward(compute, &model->config, &weights, i, rows, x, scratch, NULL);
}

void pc_llama_logits(
    const struct pc_compute *compute, const struct pc_llama *model, float *x, size_t n_rows, float *logits)
{
    pc_rmsnorm_forward(&compute->kernels->matmul, x, x, model->final_norm, n_rows,
        (size_t)model->config.hidden_size, model->config.rms_norm_eps);
    const struct pc_linear head = {&model->head, x, logits};
    pc_linear_forward(compute, &head, 1, n_rows);
}
