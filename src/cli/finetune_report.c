// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"
#include "base/memory.h"
#include "cli/finetune_watch.h"
#include "train/train_report.h"

#include <stdio.h>

/* FILE, DIR/report.html for a folder, or into the first run's. *owned*. */
static char *page_path(const struct pc_finetune_values *v, const struct pc_strings *dirs)
{
    if (v->out && !pc_path_is_dir(v->out))
        return pc_strdup(v->out);
    return pc_path_join(v->out ? v->out : dirs->v[0], PC_WATCH_REPORT);
}

int pc_finetune_report(
    const struct pc_command *self, const struct pc_finetune_values *v, const struct pc_strings *dirs)
{
    if (dirs->n == 0)
        return pc_command_misuse(
            self, "--report of what? Name the folders that paco finetune --output_dir left");
    struct paco_error err = {0};
    char *path = page_path(v, dirs);
    int rc = path ? 0 : pc_error_mem(&err, 4096, "a path");
    // One run's own page is made anew without being asked; others might be of other runs.
    if (rc == 0 && (v->out || dirs->n > 1) && pc_path_exists(path) && !v->force) {
        rc = pc_error_set(&err, PACO_EEXIST, "exists: another --output_dir FILE, or --force to replace it");
        pc_error_path(&err, path);
    }
    if (rc == 0)
        rc = pc_train_report(dirs->v, dirs->n, path, &err);
    if (rc == 0)
        printf("%s\n", path);
    pc_free(path);
    return rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
}
