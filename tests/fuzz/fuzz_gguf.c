// SPDX-License-Identifier: Apache-2.0
/* A whole gguf file: opened, its metadata looked at, turned into a configuration and into Hugging Face's
 * layout, and every tensor read in both. */
#include "format/config.h"
#include "format/gguf.h"
#include "fuzz_file.h"
#include "weights/gguf_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double g_sink;

static void look_at(const struct pc_gguf_entry *e)
{
    const struct pc_gguf_array *a = &e->value;
    for (uint64_t i = 0; i < a->n && i < 4096; i++) {
        size_t len = 0;
        const char *s = a->type == PC_GGUF_STRING ? pc_gguf_array_str(a, i, &len) : NULL;
        for (size_t j = 0; j < len; j++)
            g_sink += s[j];
        if (a->type == PC_GGUF_F32 || a->type == PC_GGUF_F64)
            g_sink = pc_gguf_array_f64(a, i);
        else if (!s)
            g_sink += (double)pc_gguf_array_i64(a, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_checkpoint *ck = NULL, *renamed = NULL, *hf = NULL;
    struct pc_config config;
    struct paco_error err = {0};
    int rc = pc_gguf_open(fuzz_file(data, size), &ck, &err);
    if (rc < 0) {
        fuzz_check_error(rc, &err);
        return 0;
    }
    size_t n;
    const struct pc_gguf_entry *entries = pc_gguf_entries(ck, &n);
    for (size_t i = 0; i < n; i++)
        look_at(&entries[i]);
    rc = pc_config_from_gguf(ck, &config, &err);
    if (rc == 0)
        rc = pc_gguf_as_hf(ck, &config, &renamed, &hf, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    else
        fuzz_read_all(hf);
    pc_checkpoint_close(renamed);
    fuzz_read_all(ck);
    return 0;
}
