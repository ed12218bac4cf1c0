// SPDX-License-Identifier: Apache-2.0
/* A whole PyTorch file, zip or legacy: opened, and every tensor read. */
#include "format/torch.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_checkpoint *ck = NULL;
    struct paco_error err = {0};
    int rc = pc_torch_open(fuzz_file(data, size), &ck, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    else
        fuzz_read_all(ck);
    return 0;
}
