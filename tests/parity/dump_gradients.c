// SPDX-License-Identifier: Apache-2.0
/* dump_gradients MODEL BATCH THREADS DTYPE OUT: one pass over the examples of BATCH, JSON's "examples" of
 * {"ids", "labels", "weights"}, a label being the token to come next or negative. Writes the gradients to
 * OUT, F32 one after the other, and prints a line of JSON: the examples' losses, and each tensor's name and
 * place. For gradients.py. */
#include "base/cpu.h"
#include "base/json.h"
#include "train/pass.h"
#include "weights/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dump {
    struct pc_source source;
    struct pc_params *params;
    struct pc_kernels kernels;
    struct pc_llama *model;
    struct pc_pass *pass;
    struct pc_pool *pool;
    json_t *root, *batch; /* batch: a view */
    float *gradients;
    double *loss;
};

static int load(struct dump *d, const char *model, bool f32, struct paco_error *err)
{
    int rc = pc_source_open(model, &d->source, err);
    const struct pc_config *c = &d->source.config;
    pc_kernels_init(&d->kernels, pc_cpu_flags());
    if (rc == 0)
        rc = pc_params_new(&d->params, err);
    if (rc == 0)
        rc = pc_params_add_llama(d->params, c, err);
    if (rc == 0)
        rc = pc_params_allocate(d->params, err);
    if (rc == 0)
        rc = pc_params_read(d->params, d->source.ck, d->pool, NULL, err);
    if (rc == 0)
        rc = pc_llama_bind(
            d->params->ck, c, &d->kernels, f32 ? PC_PRODUCTS_F32 : PC_PRODUCTS_TRAIN_BF16, &d->model, err);
    if (rc == 0)
        rc = pc_llama_load(d->model, err);
    if (rc == 0)
        pc_params_attach(d->params, d->model);
    return rc;
}

static size_t count_rows(const json_t *batch)
{
    size_t i, n = 0;
    json_t *example;
    json_array_foreach(batch, i, example) n += json_array_size(json_object_get(example, "ids"));
    return n;
}

static int run(struct dump *d, bool f32, struct paco_error *err)
{
    size_t i, n_rows = count_rows(d->batch), n = json_array_size(d->batch);
    const struct pc_pass_options o = {.kernels = &d->kernels,
        .pool = d->pool,
        .max_rows = n_rows,
        .max_examples = n,
        .kv_type = f32 ? PC_F32 : PC_BF16};
    int rc = pc_pass_new(d->model, d->params, &o, &d->pass, err);
    if (rc < 0)
        return rc;
    pc_pass_begin(d->pass);
    json_t *example;
    json_array_foreach(d->batch, i, example)
    {
        const json_t *ids = json_object_get(example, "ids"), *labels = json_object_get(example, "labels"),
                     *weights = json_object_get(example, "weights");
        struct pc_pass_rows rows = pc_pass_add(d->pass, json_array_size(ids));
        for (size_t t = 0; t < json_array_size(ids); t++) {
            rows.id[t] = (int32_t)json_integer_value(json_array_get(ids, t));
            rows.label[t] = (int32_t)json_integer_value(json_array_get(labels, t));
            rows.weight[t] = (float)json_number_value(json_array_get(weights, t));
        }
    }
    d->gradients = pc_alloc_zero((size_t)d->params->n_flat, sizeof *d->gradients);
    d->loss = pc_alloc_zero(n, sizeof *d->loss);
    if (!d->gradients || !d->loss)
        return pc_error_mem(err, d->params->n_flat * sizeof *d->gradients, "gradients");
    pc_pass_run(d->pass, d->gradients, d->loss);
    return 0;
}

static int report(const struct dump *d, const char *path, struct paco_error *err)
{
    FILE *f = fopen(path, "wb");
    size_t n = (size_t)d->params->n_flat;
    bool written = f && fwrite(d->gradients, sizeof *d->gradients, n, f) == n;
    if ((f && fclose(f) != 0) || !written)
        return pc_error_set(err, PACO_EIO, "cannot write %s", path);
    printf("{\"losses\": [");
    for (size_t i = 0; i < json_array_size(d->batch); i++)
        printf("%s%.17g", i ? ", " : "", d->loss[i]);
    printf("], \"tensors\": {");
    for (size_t i = 0; i < d->params->n; i++)
        printf("%s\"%s\": [%llu, %llu]", i ? ", " : "", d->params->v[i].name,
            (unsigned long long)d->params->v[i].offset, (unsigned long long)d->params->v[i].n);
    printf("}}\n");
    return 0;
}

int main(int argc, char **argv)
{
    struct dump d = {0};
    struct paco_error err = {0};
    if (argc != 6)
        return fprintf(stderr, "dump_gradients MODEL BATCH THREADS f32|bf16 OUT\n"), 2;
    bool f32 = strcmp(argv[4], "f32") == 0;
    d.pool = pc_pool_new(atoi(argv[3]), &err);
    int rc = d.pool ? pc_json_read(argv[2], 1 << 26, &d.root, &err) : PACO_EMEM;
    d.batch = json_object_get(d.root, "examples");
    if (rc == 0)
        rc = load(&d, argv[1], f32, &err);
    if (rc == 0)
        rc = run(&d, f32, &err);
    if (rc == 0)
        rc = report(&d, argv[5], &err);
    if (rc < 0)
        fprintf(stderr, "dump_gradients: %s\n", err.message);
    pc_free(d.gradients);
    pc_free(d.loss);
    pc_pass_free(d.pass);
    pc_llama_free(d.model);
    pc_params_free(d.params);
    pc_source_close(&d.source);
    pc_pool_free(d.pool);
    json_decref(d.root);
    return rc < 0;
}
