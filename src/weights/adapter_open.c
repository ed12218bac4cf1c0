// SPDX-License-Identifier: Apache-2.0
#include "weights/adapter.h"

#include "base/file.h"
#include "base/memory.h"

#include <string.h>

enum { MAX_CONFIG = 1024 * 1024 };

static int open_config(struct pc_adapter *a, struct paco_error *err)
{
    a->config_path = pc_path_join(a->dir, "adapter_config.json");
    if (!a->config_path)
        return pc_error_mem(err, strlen(a->dir), "a path");
    if (!pc_path_exists(a->config_path)) {
        char *model = pc_path_join(a->dir, "config.json");
        bool is_model = model && pc_path_exists(model);
        pc_free(model);
        int rc = pc_error_set(err, PACO_ENOENT, "there is no adapter_config.json in this folder%s",
            is_model ? "; it holds a whole model, which needs no merging" : ": a PEFT adapter has one");
        pc_error_path(err, a->dir);
        return rc;
    }
    int rc = pc_file_slurp(a->config_path, MAX_CONFIG, &a->config_bytes, err);
    if (rc == 0)
        rc = pc_adapter_config_parse(a->config_bytes.data ? a->config_bytes.data : "", a->config_bytes.len,
            a->config_path, &a->config, err);
    return rc;
}

static int open_tensors(struct pc_adapter *a, struct paco_error *err)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = pc_path_join(a->dir, names[i]);
        if (!path)
            return pc_error_mem(err, strlen(a->dir), "a path");
        bool found = pc_path_exists(path);
        int rc = found ? pc_source_open_tensors(path, &a->source, err) : 0;
        pc_free(path);
        if (found) {
            a->ck = a->source.ck;
            return rc;
        }
    }
    int rc = pc_error_set(
        err, PACO_ENOENT, "there is neither adapter_model.safetensors nor adapter_model.bin in this folder");
    pc_error_path(err, a->dir);
    return rc;
}

int pc_adapter_open(const char *dir, struct pc_adapter **out, struct paco_error *err)
{
    struct pc_adapter *a = pc_alloc_zero(1, sizeof *a);
    if (a)
        a->dir = pc_strdup(dir);
    int rc = a && a->dir ? 0 : pc_error_mem(err, sizeof *a, "an adapter");
    if (rc == 0 && !pc_path_is_dir(dir)) {
        rc = pc_error_set(err, PACO_ENOENT,
            pc_path_exists(dir) ? "is a file; an adapter is a folder with adapter_config.json"
                                : "there is no such folder");
        pc_error_path(err, dir);
    }
    if (rc == 0)
        rc = open_config(a, err);
    if (rc == 0)
        rc = open_tensors(a, err);
    if (rc < 0) {
        pc_adapter_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

void pc_adapter_close(struct pc_adapter *a)
{
    if (!a)
        return;
    pc_source_close(&a->source);
    pc_adapter_config_release(&a->config);
    pc_buf_release(&a->config_bytes);
    pc_free(a->config_path);
    pc_free(a->dir);
    pc_free(a);
}
