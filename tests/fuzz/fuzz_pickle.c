// SPDX-License-Identifier: Apache-2.0
/* One pickle in memory, without the archive and its checksums around it; memory stays in proportion. */
#include "format/pickle.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_pickle pickle;
    struct paco_error err = {0};
    // A copy of just this size: one byte too far is seen.
    uint8_t *bytes = pc_alloc(size, 1);
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    struct pc_pickle_input in = {.bytes = bytes, .end = size};
    int rc = pc_pickle_read(&in, &pickle, &err);
    if (rc < 0) {
        fuzz_check_error(rc, &err);
        if (err.has_offset && err.offset > size)
            abort();
    } else {
        if (pickle.end > size || pickle.arena.used > (1u << 20) + 64 * size)
            abort();
        pc_value_describe(pickle.root);
        pc_value_get(pickle.root, "state_dict");
        pc_pickle_release(&pickle);
    }
    pc_free(bytes);
    return 0;
}
