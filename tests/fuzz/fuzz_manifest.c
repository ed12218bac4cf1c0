// SPDX-License-Identifier: Apache-2.0
/* paco-manifest.json: what is accepted has whole digests, plain file names and names that are found again. */
#include "base/file.h"
#include "fuzz_file.h"
#include "weights/manifest_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_manifest m;
    struct paco_error err = {0};
    int rc = pc_manifest_read(fuzz_file(data, size), &m, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    for (size_t i = 0; i < m.n_tensors && rc == 0; i++) {
        uint32_t at;
        const char *name = m.tensors[i].name;
        if (strlen(m.tensors[i].sha256) != PC_SHA256_HEX - 1 ||
            !pc_map_get(&m.by_name, name, strlen(name), &at) || at != i)
            abort();
    }
    for (size_t i = 0; i < m.n_files && rc == 0; i++)
        if (!pc_path_is_plain(m.files[i].name))
            abort();
    pc_manifest_release(&m);
    return 0;
}
