// SPDX-License-Identifier: Apache-2.0
/* Inputs for readers that want a path: the bytes in a file that lives in memory, and reading a whole
 * checkpoint. */
#ifndef PC_TESTS_FUZZ_FILE_H
#define PC_TESTS_FUZZ_FILE_H

#include "base/memory.h"
#include "format/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/** A path to a file holding size bytes; static, valid until the next call. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("fuzz", 0);
    if (fd < 0 || ftruncate(fd, 0) != 0 || (size && pwrite(fd, data, size, 0) != (ssize_t)size))
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/** A failure must say so: a negative code, the same in err, and words. */
static inline void fuzz_check_error(int rc, const struct paco_error *err)
{
    if (rc >= 0 || err->code != rc || !err->message[0])
        abort();
}

/** Read every tensor of ck in pieces, as the commands do, and close it. */
static inline void fuzz_read_all(struct pc_checkpoint *ck)
{
    enum { PIECE = 1 << 16, MOST = 64 << 20 };
    uint64_t budget = MOST;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        uint64_t step = t->row_size && t->row_size < PIECE ? PIECE / t->row_size : 1;
        for (uint64_t row = 0; row < t->n_rows && t->row_size <= budget; row += step) {
            uint64_t n = t->n_rows - row < step ? t->n_rows - row : step;
            void *buf = pc_alloc(n, t->row_size);
            struct paco_error err = {0};
            int rc = buf ? pc_tensor_read(t, row, n, buf, &err) : -1;
            pc_free(buf);
            budget -= n * t->row_size < budget ? n * t->row_size : budget;
            if (rc < 0)
                break;
        }
        pc_tensor_map(t);
    }
    pc_checkpoint_close(ck);
}

#endif
