// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_files.h"

#include "base/file.h"
#include "base/memory.h"
#include "cli/output.h"
#include "eval/compare.h"
#include "eval/report.h"
#include "report/page.h"

#include <stdio.h>
#include <string.h>

enum { N_FLIPPED = 10 }; /* shown of each task and direction; all with --verbose */

/* Where the page goes: FILE, DIR/report.html for a folder, or into the first folder of results. *owned*. */
static char *page_path(const struct pc_eval_values *v, const struct pc_strings *dirs)
{
    if (v->out && !pc_path_is_dir(v->out))
        return pc_strdup(v->out);
    return pc_path_join(v->out ? v->out : dirs->v[0], "report.html");
}

static int write_page(const struct pc_command *self, const struct pc_eval_values *v,
    const struct pc_strings *dirs, const char *path, struct paco_error *err)
{
    if (!path)
        return pc_error_mem(err, 4096, "a path");
    if (pc_path_exists(path) && !v->force && !pc_page_is_ours(path)) {
        pc_error_set(
            err, PACO_EEXIST, "exists, and is no report: another --out FILE, or --force to replace it");
        pc_error_path(err, path);
        return PACO_EEXIST;
    }
    int rc = pc_eval_report(dirs->v, dirs->n, path, pc_progress_bar(self), err);
    pc_progress_bar_end();
    return rc;
}

int pc_eval_files_report(
    const struct pc_command *self, const struct pc_eval_values *v, const struct pc_strings *dirs)
{
    if (dirs->n == 0)
        return pc_command_misuse(self, "--report of what? Name the folders that paco eval --out left");
    struct paco_error err = {0};
    char *path = page_path(v, dirs);
    int rc = write_page(self, v, dirs, path, &err);
    if (rc == 0)
        printf("%s\n", path);
    pc_free(path);
    return rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
}

int pc_eval_files_compare(
    const struct pc_command *self, const struct pc_eval_values *v, const struct pc_strings *dirs)
{
    if (dirs->n != 2)
        return pc_command_misuse(
            self, "--compare takes two folders that paco eval --out left, not %zu", dirs->n);
    struct paco_error err = {0};
    json_t *c = NULL;
    int rc = pc_eval_compare(dirs->v[0], dirs->v[1], &c, &err);
    if (rc == 0 && v->json) {
        rc = pc_print_json(c, &err);
    } else if (rc == 0) {
        struct pc_buf text;
        pc_buf_init(&text, 1 << 28);
        pc_compare_text(c, pc_command_verbose() ? SIZE_MAX - 1 : N_FLIPPED, &text);
        rc = pc_buf_check(&text, "a comparison", &err);
        if (rc == 0)
            fputs(text.data, stdout);
        pc_buf_release(&text);
        json_decref(c);
    }
    return rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
}
