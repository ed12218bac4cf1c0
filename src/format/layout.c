// SPDX-License-Identifier: Apache-2.0
/* Packing tensors into files, and the index. What a container's file looks like inside is its own business:
 * safetensors_write.c, torch_write.c. */
#include "format/layout.h"

#include "base/json.h"
#include "format/gguf_write.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_SHARD UINT64_C(10000000000)

struct container {
    const char *stem, *suffix, *index;
    bool wants_crc;
    int (*place)(struct pc_layout *, struct pc_out_file *, struct paco_error *);
    int (*seal)(
        const struct pc_layout *, const struct pc_out_file *, int fd, const char *path, struct paco_error *);
};

static const struct container g_containers[] = {
    [PC_SAFETENSORS] = {"model", "safetensors", "model.safetensors.index.json", false, pc_safetensors_place,
        pc_safetensors_seal},
    [PC_TORCH_BIN] = {"pytorch_model", "bin", "pytorch_model.bin.index.json", true, pc_torch_place,
        pc_torch_seal},
    [PC_GGUF] = {NULL, NULL, NULL, false, NULL, pc_gguf_seal},
    [PC_META] = {NULL, NULL, NULL, true, pc_torch_place, pc_torch_seal},
};

static int copy_tensors(
    struct pc_layout *l, const struct pc_out_tensor *tensors, uint32_t n, struct paco_error *err)
{
    l->tensors = pc_arena_alloc(&l->arena, n ? n : 1, sizeof *l->tensors);
    // One file per tensor at most, and one when there are none.
    l->files = pc_arena_alloc(&l->arena, (size_t)n + 1, sizeof *l->files);
    if (!l->tensors || !l->files)
        return pc_error_mem(err, (uint64_t)n * sizeof *l->tensors, "the plan of the output files");
    for (uint32_t i = 0; i < n; i++) {
        struct pc_out_tensor *t = &l->tensors[i];
        *t = tensors[i];
        uint64_t n_elements = 1;
        bool fits = true;
        for (int d = 0; d < t->n_dims; d++)
            fits = fits && pc_mul_u64(n_elements, t->shape[d], &n_elements);
        if (!fits || !pc_dtype_size(t->dtype, n_elements, &t->size) ||
            !pc_add_u64(l->total_size, t->size, &l->total_size) || l->total_size > INT64_MAX / 2)
            return pc_error_set(
                err, PACO_ELIMIT, "tensor '%s': the output would be of no possible size", t->name);
        t->name = pc_arena_strndup(&l->arena, t->name, strlen(t->name));
        if (!t->name)
            return pc_error_mem(err, PC_MAX_NAME, "a tensor's name");
        t->in_file = t->name;
        t->crc32 = 0;
    }
    l->n_tensors = n;
    return 0;
}

/* Upstream closes a file when the next tensor does not fit, but never leaves one empty as its first version
 * did. */
static void pack(struct pc_layout *l, uint64_t max_shard)
{
    uint64_t used = 0;
    l->n_files = 1;
    for (uint32_t i = 0; i < l->n_tensors; i++) {
        struct pc_out_file *f = &l->files[l->n_files - 1];
        uint64_t size = l->tensors[i].size;
        if (f->n > 0 && (used > max_shard || size > max_shard - used)) {
            f = &l->files[l->n_files++];
            f->first = i;
            used = 0;
        }
        l->tensors[i].i_file = l->n_files - 1;
        f->n++;
        used += size;
    }
}

static int name_files(struct pc_layout *l, const struct container *c, struct paco_error *err)
{
    for (uint32_t i = 0; i < l->n_files; i++) {
        char name[64];
        if (l->n_files == 1)
            snprintf(name, sizeof name, "%s.%s", c->stem, c->suffix);
        else
            snprintf(name, sizeof name, "%s-%05" PRIu32 "-of-%05" PRIu32 ".%s", c->stem, i + 1, l->n_files,
                c->suffix);
        l->files[i].name = pc_arena_strndup(&l->arena, name, strlen(name));
        if (!l->files[i].name)
            return pc_error_mem(err, sizeof name, "a file name");
    }
    return 0;
}

int pc_layout_new(enum pc_container container, const struct pc_out_tensor *tensors, uint32_t n,
    uint64_t max_shard, struct pc_layout **out, struct paco_error *err)
{
    const struct container *c = &g_containers[container];
    struct pc_layout *l = pc_alloc_zero(1, sizeof *l);
    if (!l)
        return pc_error_mem(err, sizeof *l, "the plan of the output files");
    l->container = container;
    l->wants_crc = c->wants_crc;
    int rc = copy_tensors(l, tensors, n, err);
    if (rc == 0) {
        pack(l, max_shard ? max_shard : DEFAULT_MAX_SHARD);
        rc = name_files(l, c, err);
    }
    for (uint32_t i = 0; rc == 0 && i < l->n_files; i++)
        rc = c->place(l, &l->files[i], err);
    if (rc < 0) {
        pc_layout_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

int pc_layout_new_gguf(const struct pc_gguf_head *head, const char *file_name,
    const struct pc_out_tensor *tensors, uint32_t n, struct pc_layout **out, struct paco_error *err)
{
    struct pc_layout *l = pc_alloc_zero(1, sizeof *l);
    if (!l)
        return pc_error_mem(err, sizeof *l, "the plan of the output file");
    l->container = PC_GGUF;
    int rc = copy_tensors(l, tensors, n, err);
    if (rc == 0) {
        pack(l, UINT64_MAX);
        l->files[0].name = pc_arena_strndup(&l->arena, file_name, strlen(file_name));
        rc = l->files[0].name ? pc_gguf_place(l, head, err)
                              : pc_error_mem(err, strlen(file_name), "a file name");
    }
    if (rc < 0) {
        pc_layout_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

/* A new file whenever what stands before the slash changes; it is the file's name but for ".pth". */
static int pack_meta(struct pc_layout *l, struct paco_error *err)
{
    for (uint32_t i = 0; i < l->n_tensors; i++) {
        struct pc_out_tensor *t = &l->tensors[i];
        const char *slash = strchr(t->name, '/'), *before = i ? t[-1].name : "";
        assert(slash);
        size_t len = (size_t)(slash - t->name) + 1;
        if (i == 0 || strncmp(before, t->name, len) != 0) {
            char name[64];
            snprintf(name, sizeof name, "%.*s.pth", (int)len - 1, t->name);
            struct pc_out_file *f = &l->files[l->n_files++];
            f->first = i;
            if (!(f->name = pc_arena_strndup(&l->arena, name, strlen(name))))
                return pc_error_mem(err, sizeof name, "a file name");
        }
        t->i_file = l->n_files - 1;
        t->in_file = slash + 1;
        l->files[t->i_file].n++;
    }
    return 0;
}

int pc_layout_new_meta(
    const struct pc_out_tensor *tensors, uint32_t n, struct pc_layout **out, struct paco_error *err)
{
    struct pc_layout *l = pc_alloc_zero(1, sizeof *l);
    if (!l)
        return pc_error_mem(err, sizeof *l, "the plan of the output files");
    l->container = PC_META;
    l->wants_crc = true;
    int rc = copy_tensors(l, tensors, n, err);
    if (rc == 0)
        rc = pack_meta(l, err);
    for (uint32_t i = 0; rc == 0 && i < l->n_files; i++)
        rc = pc_torch_place(l, &l->files[i], err);
    if (rc < 0) {
        pc_layout_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void pc_layout_free(struct pc_layout *l)
{
    if (!l)
        return;
    pc_arena_release(&l->arena);
    pc_free(l);
}

int pc_layout_seal(
    const struct pc_layout *l, uint32_t i_file, int fd, const char *path, struct paco_error *err)
{
    return g_containers[l->container].seal(l, &l->files[i_file], fd, path, err);
}

const char *pc_layout_index_name(const struct pc_layout *l)
{
    return l->n_files > 1 ? g_containers[l->container].index : NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct pc_out_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

void pc_layout_index(const struct pc_layout *l, struct pc_buf *out)
{
    const struct pc_out_tensor **sorted = pc_alloc(l->n_tensors, sizeof *sorted);
    if (!sorted) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < l->n_tensors; i++)
        sorted[i] = &l->tensors[i];
    qsort(sorted, l->n_tensors, sizeof *sorted, by_name);
    pc_buf_printf(out, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
        l->total_size);
    for (uint32_t i = 0; i < l->n_tensors; i++) {
        pc_buf_puts(out, i ? ",\n    " : "\n    ");
        pc_json_write_string(out, sorted[i]->name, strlen(sorted[i]->name), true);
        pc_buf_printf(out, ": \"%s\"", l->files[sorted[i]->i_file].name);
    }
    pc_buf_puts(out, "\n  }\n}\n");
    pc_free(sorted);
}
