// SPDX-License-Identifier: Apache-2.0
/* Small PyTorch files by hand, for tests of what stands above the reader. */
#ifndef PC_TESTS_TORCH_BUILDER_H
#define PC_TESTS_TORCH_BUILDER_H

#include "base/crc32.h"
#include "base/file.h"
#include "format/layout.h"
#include "scratch.h"

#include <fcntl.h>

struct torch_tensor {
    char name[64];
    enum pc_dtype dtype;
    uint64_t rows, columns; /* columns 0: a vector */
    const void *bytes;
};

/** Write n tensors as torch.save would into name in s. Returns its path, valid until the next call. */
static inline const char *torch_write(
    struct scratch *s, const char *name, const struct torch_tensor *tensors, uint32_t n)
{
    struct pc_out_tensor out[64] = {{0}};
    struct pc_layout *l;
    struct paco_error err = {0};
    assert_true(n <= 64);
    for (uint32_t i = 0; i < n; i++) {
        const struct torch_tensor *t = &tensors[i];
        out[i] = (struct pc_out_tensor){
            .name = t->name, .dtype = t->dtype, .n_dims = t->columns ? 2 : 1, .shape = {t->rows, t->columns}};
    }
    assert_int_equal(pc_layout_new(PC_TORCH_BIN, out, n, 0, &l, &err), 0);
    assert_int_equal(l->n_files, 1);
    const char *path = scratch_path(s, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (uint32_t i = 0; i < n; i++) {
        struct pc_out_tensor *t = &l->tensors[i];
        t->crc32 = pc_crc32(0, tensors[i].bytes, t->size);
        assert_int_equal(pc_fd_write(fd, path, t->offset, tensors[i].bytes, t->size, &err), 0);
    }
    assert_int_equal(pc_layout_seal(l, 0, fd, path, &err), 0);
    close(fd);
    pc_layout_free(l);
    return path;
}

#endif
