// SPDX-License-Identifier: Apache-2.0
/* llm_int8_product IN OUT: the product that --load_in_8bit computes, for llm_int8.py. IN holds n_x, n_out and
 * k as 64-bit integers, then x (n_x, k) and w (n_out, k) in float32; OUT gets x w^T (n_x, n_out) in float32.
 */
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "kernels/llm_int8.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FILE = 1 << 28 };

struct product {
    uint64_t n_x, n_out, k;
    const float *x, *w; /* views into the file */
};

static int read_product(const struct pc_buf *b, struct product *p, struct paco_error *err)
{
    const size_t head = 3 * sizeof(uint64_t);
    if (b->len >= head)
        memcpy(p, b->data, head);
    if (b->len < head || !p->n_x || !p->n_out || !p->k || p->n_x > 4096 || p->n_out > 65536 ||
        p->k > PC_LLM_MAX_K || b->len != head + (p->n_x + p->n_out) * p->k * sizeof(float))
        return pc_error_set(err, PACO_EFORMAT, "is no product");
    p->x = (const float *)(const void *)(b->data + head);
    p->w = p->x + p->n_x * p->k;
    return 0;
}

static void multiply(
    const struct product *p, char *rows, struct pc_llm_outlier *outliers, char *tiles, float *y)
{
    struct pc_llm_int8 table;
    size_t row = pc_llm_row_size(p->k);
    pc_llm_int8_init(&table, pc_cpu_flags());
    for (size_t r = 0; r < p->n_out; r++)
        pc_llm_int8_pack_row(tiles, r, p->w + r * p->k, p->k);
    for (size_t i = 0; i < p->n_x; i++)
        table.quantise(rows + i * row, outliers + i * p->k, p->x + i * p->k, p->k);
    table.multiply(y, p->n_out, rows, outliers, p->n_x, tiles, p->n_out, p->k);
}

static int run(const struct product *p, const char *path, struct paco_error *err)
{
    size_t n_tiles = (p->n_out + PC_LLM_TILE_ROWS - 1) / PC_LLM_TILE_ROWS,
           size = p->n_x * p->n_out * sizeof(float);
    char *rows = pc_alloc_pages(p->n_x * pc_llm_row_size(p->k));
    char *tiles = pc_alloc_pages(n_tiles * pc_llm_tile_size(p->k));
    struct pc_llm_outlier *outliers = pc_alloc(p->n_x * p->k, sizeof *outliers);
    float *y = pc_alloc_pages(size);
    int rc = rows && tiles && outliers && y ? 0 : pc_error_mem(err, size, "a product");
    if (rc == 0) {
        memset(tiles, 0, n_tiles * pc_llm_tile_size(p->k));
        multiply(p, rows, outliers, tiles, y);
        rc = pc_file_write_atomic(path, (const char *)y, size, err);
    }
    pc_free(y);
    pc_free(outliers);
    pc_free(tiles);
    pc_free(rows);
    return rc;
}

int main(int argc, char **argv)
{
    struct paco_error err = {0};
    struct product p;
    struct pc_buf b;
    if (argc != 3)
        return 2;
    int rc = pc_file_slurp(argv[1], MAX_FILE, &b, &err);
    if (rc == 0)
        rc = read_product(&b, &p, &err);
    if (rc == 0)
        rc = run(&p, argv[2], &err);
    if (rc < 0)
        fprintf(stderr, "llm_int8_product: %s: %s\n", argv[1], err.message);
    pc_buf_release(&b);
    return rc < 0;
}
