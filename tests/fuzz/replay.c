// SPDX-License-Identifier: Apache-2.0
/* Runs files through a fuzz target without libFuzzer: each argument is a file, or a folder of files. */
#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT = 64 << 20 };

static int run_file(const char *path)
{
    struct pc_buf b;
    struct paco_error err = {0};
    int rc = pc_file_slurp(path, MAX_INPUT, &b, &err);
    // An exact copy on the heap, so that the sanitizer sees a read one byte past the end.
    uint8_t *copy = rc == 0 ? malloc(b.len ? b.len : 1) : NULL;
    if (copy) {
        for (size_t i = 0; i < b.len; i++)
            copy[i] = (uint8_t)b.data[i];
        LLVMFuzzerTestOneInput(copy, b.len);
    } else {
        fprintf(stderr, "%s: %s\n", path, err.message);
    }
    free(copy);
    pc_buf_release(&b);
    return copy ? 0 : 1;
}

static int run_folder(const char *path, int *n)
{
    char **names;
    size_t n_names;
    struct paco_error err = {0};
    if (pc_dir_list(path, &names, &n_names, &err) < 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return 1;
    }
    int failed = 0;
    for (size_t i = 0; i < n_names; i++) {
        char *file = pc_path_join(path, names[i]);
        failed |= !file || run_file(file);
        pc_free(file);
        ++*n;
    }
    pc_names_free(names, n_names);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0, n = 0;
    for (int i = 1; i < argc; i++) {
        if (pc_path_is_dir(argv[i])) {
            failed |= run_folder(argv[i], &n);
        } else {
            failed |= run_file(argv[i]);
            n++;
        }
    }
    printf("# %d inputs\n%s - corpus\n", n, failed || n == 0 ? "not ok" : "ok");
    return failed || n == 0;
}
