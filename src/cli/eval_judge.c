// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_judge.h"

#include "base/file.h"
#include "base/memory.h"
#include "cli/output.h"
#include "eval/alpaca_data.h"

#include <stdio.h>

int pc_eval_print_annotations(const struct pc_command *self, const struct pc_eval_values *v)
{
    struct paco_error err = {0};
    struct pc_win_rate r;
    int rc = v->outputs ? pc_win_rate_of_answers(NULL, v->annotations, v->outputs, &r, &err)
                        : pc_win_rate_of_file(NULL, v->annotations, &r, &err);
    if (rc == 0 && v->json) {
        json_t *o = json_pack(
            "{s:s, s:o}", "task", "alpaca_farm", "annotations", json_string_nocheck(v->annotations));
        rc = o ? pc_win_rate_put(&r, o, &err) : pc_error_mem(&err, 64, "the result");
        rc = rc == 0 ? pc_print_json(o, &err) : rc;
    } else if (rc == 0) {
        printf("%10s %14s %7s %11s %8s %8s\n", "win_rate", "standard_error", "n_wins", "n_wins_base",
            "n_draws", "n_total");
        printf("%10.6f %14.6f %7zu %11zu %8zu %8zu\n", r.win_rate, r.standard_error, r.n_wins, r.n_wins_base,
            r.n_draws, r.n_total);
        if (r.n_missing)
            pc_command_note(self, "%zu were not judged, and are left out", r.n_missing);
    }
    return rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
}

char *pc_eval_outputs_path(const struct pc_eval_values *v, const char *model_name)
{
    char name[256];
    char *dir = pc_path_join(v->out, "alpaca_farm");
    char *path = dir ? pc_path_join(dir, pc_alpaca_outputs_name(model_name, name)) : NULL;
    pc_free(dir);
    return path;
}

int pc_eval_judge_values(
    const struct pc_eval_values *v, const char *outputs, struct pc_eval_values *out, struct paco_error *err)
{
    if (v->judge && v->judge_api)
        return pc_error_set(err, PACO_EINVAL, "--judge and --judge-api: one judge at a time");
    if (v->judge_api && !v->judge_model)
        return pc_error_set(
            err, PACO_EINVAL, "--judge-model NAME is missing: which model behind --judge-api?");
    if (!outputs)
        return pc_error_set(
            err, PACO_EINVAL, "whose answers are to be judged? Name the task alpaca_farm, or --outputs FILE");
    *out = *v;
    out->model.model = v->judge_api ? v->judge_model : v->judge;
    out->model.diff = out->model.adapter = NULL;
    out->model.load_in_8bit = false;
    out->api = v->judge_api;
    out->api_key_env = v->judge_key_env;
    out->outputs = outputs;
    out->bos = "auto";
    out->flags = pc_task_flags_default();
    out->flags.limit = v->flags.limit;
    return 0;
}
