// SPDX-License-Identifier: Apache-2.0
/* What a hub may say a repository holds: no name in it leads out of a folder, and no digest is a path. */
#include "net/hub_choice.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_file(const struct pc_hub_file *f)
{
    size_t n = strlen(f->digest);
    if (!*f->name || *f->name == '/' || strstr(f->name, "//") || strcmp(f->name, "..") == 0 ||
        strncmp(f->name, "../", 3) == 0 || strstr(f->name, "/../") || strchr(f->name, '\n') ||
        (strlen(f->name) > 2 && strcmp(f->name + strlen(f->name) - 3, "/..") == 0))
        abort();
    if ((n != 40 && n != 64) || strspn(f->digest, "0123456789abcdef") != n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_hub_repo repo;
    struct paco_error err = {0};
    const struct pc_hub_wishes wishes = {.include = {.n = 0}};
    if (pc_hub_parse((const char *)data, size, "http://h", &repo, &err) < 0) {
        if (!err.code || !err.message[0] || repo.files)
            abort();
        return 0;
    }
    bool *keep = pc_alloc_zero(repo.n_files + 1, sizeof *keep);
    for (size_t i = 0; i < repo.n_files; i++)
        check_file(&repo.files[i]);
    if (keep)
        (void)pc_hub_choose(&repo, &wishes, keep, NULL, &err);
    pc_free(keep);
    pc_hub_repo_release(&repo);
    return 0;
}
