// SPDX-License-Identifier: Apache-2.0
/* torch_copy IN OUT: read a PyTorch checkpoint, write its tensors as a new one. For torch_files.py. */
#include "base/crc32.h"
#include "base/file.h"
#include "format/layout.h"
#include "format/torch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int copy_tensor(
    const struct pc_tensor *t, struct pc_out_tensor *to, int fd, const char *path, struct paco_error *err)
{
    void *bytes = pc_alloc(t->size, 1);
    if (!bytes)
        return pc_error_mem(err, t->size, t->name);
    int rc = pc_tensor_read(t, 0, t->n_rows, bytes, err);
    to->crc32 = pc_crc32(0, bytes, t->size);
    if (rc == 0)
        rc = pc_fd_write(fd, path, to->offset, bytes, t->size, err);
    pc_free(bytes);
    return rc;
}

static int copy(const struct pc_checkpoint *ck, const char *path, struct paco_error *err)
{
    struct pc_layout *l = NULL;
    struct pc_out_tensor *plan = pc_alloc_zero(ck->n_tensors, sizeof *plan);
    if (!plan)
        return pc_error_mem(err, ck->n_tensors * sizeof *plan, "the plan");
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        plan[i] = (struct pc_out_tensor){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims};
        memcpy(plan[i].shape, t->shape, sizeof t->shape);
    }
    int rc = pc_layout_new(PC_TORCH_BIN, plan, (uint32_t)ck->n_tensors, UINT64_MAX, &l, err);
    pc_free(plan);
    if (rc < 0)
        return rc;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        rc = pc_error_set(err, PACO_EIO, "cannot create %s", path);
    for (size_t i = 0; rc == 0 && i < ck->n_tensors; i++)
        rc = copy_tensor(&ck->tensors[i], &l->tensors[i], fd, path, err);
    if (rc == 0)
        rc = pc_layout_seal(l, 0, fd, path, err);
    if (fd >= 0)
        close(fd);
    pc_layout_free(l);
    return rc;
}

int main(int argc, char **argv)
{
    struct pc_checkpoint *ck = NULL;
    struct paco_error err = {0};
    char text[2048];
    if (argc != 3)
        return 2;
    int rc = pc_torch_open(argv[1], &ck, &err);
    if (rc == 0)
        rc = copy(ck, argv[2], &err);
    if (rc < 0)
        fprintf(stderr, "torch_copy: %s\n", pc_error_format(&err, text, sizeof text));
    pc_checkpoint_close(ck);
    return rc < 0;
}
