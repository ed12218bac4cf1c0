// SPDX-License-Identifier: Apache-2.0
/* model.safetensors.index.json beside two good shards, "a" and "b": opened, and every tensor read. */
#include "base/file.h"
#include "format/hf_dir.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char g_dir[] = "/tmp/paco-fuzz-index-XXXXXX";

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", g_dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f) != 0)
        abort();
}

static void write_shard(const char *name, const char *header)
{
    char bytes[256] = {(char)strlen(header)};
    memcpy(bytes + 8, header, strlen(header));
    write_file(name, bytes, 8 + strlen(header) + 4);
}

static void clean(void)
{
    static const char *const names[] = {"a", "b", "model.safetensors.index.json"};
    char path[128];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", g_dir, names[i]);
        unlink(path);
    }
    rmdir(g_dir);
}

static void prepare(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    if (!mkdtemp(g_dir) || atexit(clean) != 0)
        abort();
    write_shard("a", "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    write_shard("b", "{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"y\":{\"dtype\":"
                     "\"F16\",\"shape\":[],"
                     "\"data_offsets\":[2,4]}}");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_checkpoint *ck = NULL;
    struct paco_error err = {0};
    prepare();
    write_file("model.safetensors.index.json", data, size);
    int rc = pc_hf_open(g_dir, &ck, &err);
    if (rc < 0)
        fuzz_check_error(rc, &err);
    else
        fuzz_read_all(ck);
    return 0;
}
