// SPDX-License-Identifier: Apache-2.0
#include "model/llama_batch.h"

#include "kernels/rope.h"

#include <assert.h>
#include <string.h>

enum { ALIGN = 64 };

/* An example: where the blocks of its keys and values begin. */
struct example {
    char *blocks;
    size_t block_size;
};

struct pc_llama_batch {
    const struct pc_llama *model;
    struct pc_llama_rows rows;
    size_t max_rows, max_examples, block_size;
    void **seq;
    int32_t *pos;
    float *cos_sin;
    struct pc_llama_piece *pieces;
    struct example *examples;
    char *blocks;
    unsigned char *memory;
};

/* Bytes of a block of one layer. */
static uint64_t block_size(const struct pc_config *config, enum pc_dtype kv_type)
{
    struct pc_config one = *config;
    one.n_layers = 1;
    return pc_kv_block_size(&one, kv_type);
}

/* Cut everything out of memory; with NULL only count. */
static uint64_t lay_out(struct pc_llama_batch *b, const struct pc_config *c, unsigned char *memory)
{
    size_t blocks = b->max_rows / PC_KV_BLOCK + b->max_examples;
    const struct {
        void *field;
        size_t n, size;
    } parts[] = {
        {&b->seq, b->max_rows, sizeof *b->seq},
        {&b->pos, b->max_rows, sizeof *b->pos},
        {&b->cos_sin, b->max_rows * (size_t)c->head_dim, sizeof *b->cos_sin},
        {&b->pieces, b->max_rows, sizeof *b->pieces},
        {&b->examples, b->max_examples, sizeof *b->examples},
        {&b->blocks, blocks, b->block_size},
    };
    uint64_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = memory ? memory + at : NULL;
        memcpy(parts[i].field, &p, sizeof p);
        at += (parts[i].n * parts[i].size + ALIGN - 1) / ALIGN * ALIGN;
    }
    return at;
}

uint64_t pc_llama_batch_size(
    const struct pc_config *config, size_t max_rows, size_t max_examples, enum pc_dtype kv_type)
{
    struct pc_llama_batch b = {.max_rows = max_rows,
        .max_examples = max_examples,
        .block_size = (size_t)block_size(config, kv_type)};
    return lay_out(&b, config, NULL);
}

static void *kv_block(void *seq, int32_t i_block)
{
    const struct example *e = seq;
    return e->blocks + (size_t)i_block * e->block_size;
}

int pc_llama_batch_new(const struct pc_llama *model, size_t max_rows, size_t max_examples,
    enum pc_dtype kv_type, struct pc_llama_batch **out, struct paco_error *err)
{
    const struct pc_config *c = &model->config;
    uint64_t size = pc_llama_batch_size(c, max_rows, max_examples, kv_type);
    struct pc_llama_batch *b = pc_alloc_zero(1, sizeof *b);
    unsigned char *memory = pc_alloc_pages((size_t)size);
    if (!b || !memory) {
        pc_free(b);
        pc_free(memory);
        return pc_error_mem(err, size, "the rows of a pass");
    }
    *b = (struct pc_llama_batch){.model = model,
        .max_rows = max_rows,
        .max_examples = max_examples,
        .block_size = (size_t)block_size(c, kv_type),
        .memory = memory};
    lay_out(b, c, memory);
    b->rows = (struct pc_llama_rows){.seq = b->seq,
        .pos = b->pos,
        .cos_sin = b->cos_sin,
        .kv_block = kv_block,
        .pieces = b->pieces,
        .kv_type = kv_type,
        .one_layer = true};
    *out = b;
    return 0;
}

void pc_llama_batch_free(struct pc_llama_batch *b)
{
    if (!b)
        return;
    pc_free(b->memory);
    pc_free(b);
}

void pc_llama_batch_set(struct pc_llama_batch *b, const size_t *lengths, size_t n)
{
    size_t d = (size_t)b->model->config.head_dim, row = 0;
    char *blocks = b->blocks;
    assert(n <= b->max_examples);
    for (size_t i = 0; i < n; i++) {
        assert(lengths[i] >= 1 && lengths[i] <= b->max_rows - row);
        b->examples[i] = (struct example){blocks, b->block_size};
        blocks += (lengths[i] + PC_KV_BLOCK - 1) / PC_KV_BLOCK * b->block_size;
        for (size_t t = 0; t < lengths[i]; t++, row++) {
            b->seq[row] = &b->examples[i];
            b->pos[row] = (int32_t)t;
            pc_rope_angles(b->cos_sin + row * d, b->model->inv_freq, b->model->rope_scale, (int32_t)t, d);
        }
    }
    b->rows.n = row;
    b->rows.n_pieces = pc_llama_cut(&b->model->config, b->seq, b->pos, row, b->pieces);
}

const struct pc_llama_rows *pc_llama_batch_rows(const struct pc_llama_batch *b)
{
    return &b->rows;
}
