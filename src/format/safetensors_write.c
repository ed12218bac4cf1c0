// SPDX-License-Identifier: Apache-2.0
/* The header is made when the file is placed, since it depends on names, types and shapes alone, and kept
 * until the file is sealed. Spaces pad it so that the data begins on a page: readers may map it, writers may
 * bypass the cache. */
#include "format/layout.h"

#include "base/file.h"
#include "base/json.h"
#include "format/safetensors.h"

#include <inttypes.h>
#include <string.h>

enum { PAGE = 4096 };

static int write_entry(
    struct pc_buf *b, const struct pc_out_tensor *t, uint64_t begin, struct paco_error *err)
{
    const char *dtype = pc_safetensors_dtype(t->dtype);
    if (!dtype)
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s': safetensors files cannot hold %s", t->name,
            pc_dtype_name(t->dtype));
    if (strcmp(t->name, "__metadata__") == 0)
        return pc_error_set(
            err, PACO_EUNSUPPORTED, "a tensor cannot be called '__metadata__' in a safetensors file");
    pc_buf_putc(b, ',');
    pc_json_write_string(b, t->name, strlen(t->name), false);
    pc_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", dtype);
    for (int i = 0; i < t->n_dims; i++)
        pc_buf_printf(b, "%s%" PRIu64, i ? "," : "", t->shape[i]);
    pc_buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + t->size);
    return 0;
}

int pc_safetensors_place(struct pc_layout *layout, struct pc_out_file *file, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, PC_SAFETENSORS_MAX_HEADER - PAGE);
    pc_buf_puts(&b, "{\"__metadata__\":{\"format\":\"pt\"}");
    struct pc_out_tensor *tensors = layout->tensors + file->first;
    uint64_t at = 0;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < file->n; i++) {
        tensors[i].offset = at;
        rc = write_entry(&b, &tensors[i], at, err);
        at += tensors[i].size;
    }
    pc_buf_putc(&b, '}');
    while ((8 + b.len) % PAGE != 0 && !b.failed)
        pc_buf_putc(&b, ' ');
    if (rc == 0)
        rc = pc_buf_check(&b, "a safetensors header", err);
    if (rc == 0) {
        file->data_start = 8 + b.len;
        file->size = file->data_start + at;
        file->impl = pc_arena_strndup(&layout->arena, b.data, b.len);
        if (!file->impl)
            rc = pc_error_mem(err, b.len, "a safetensors header");
    }
    for (uint32_t i = 0; rc == 0 && i < file->n; i++)
        tensors[i].offset += file->data_start;
    pc_buf_release(&b);
    return rc;
}

int pc_safetensors_seal(const struct pc_layout *layout, const struct pc_out_file *file, int fd,
    const char *path, struct paco_error *err)
{
    (void)layout;
    uint64_t size = file->data_start - 8;
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (uint8_t)(size >> (8 * i));
    int rc = pc_fd_write(fd, path, 0, prefix, sizeof prefix, err);
    return rc < 0 ? rc : pc_fd_write(fd, path, sizeof prefix, file->impl, (size_t)size, err);
}
