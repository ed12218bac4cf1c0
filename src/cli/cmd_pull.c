// SPDX-License-Identifier: Apache-2.0
/* paco pull: a model, diff or adapter from the Hugging Face hub, into its cache. */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/output.h"
#include "net/hub_pull.h"

#include <stdio.h>
#include <string.h>

struct values {
    struct pc_hub_wishes wishes;
    int64_t n_at_once;
    bool dry_run, verify, json;
};

static const struct pc_option g_options[] = {
    {.name = "include",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, wishes.include),
        .arg = "PATTERN",
        .help = "only files whose names match ('*.safetensors', 'folder/'); may be given several times"},
    {.name = "exclude",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, wishes.exclude),
        .arg = "PATTERN",
        .help = "no files whose names match; may be given several times"},
    {.name = "jobs",
        .aliases = "max-workers",
        .short_name = 'j',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, n_at_once),
        .arg = "N",
        .min = 1,
        .max = 64,
        .help = "files at once (8)"},
    {.name = "verify",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, verify),
        .help = "hash what is there already, too, and fetch again what is damaged"},
    {.name = "dry-run",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, dry_run),
        .help = "say what would be downloaded, and end"},
    PC_JSON_ROW(struct values, json),
    {0},
};

static int print_result(const struct pc_command *self, const struct values *v, const char *name,
    const struct pc_pull_result *r, const struct pc_notes *notes, struct paco_error *err)
{
    char size[32], bytes[32];
    if (v->json) {
        json_t *remarks = json_array();
        for (size_t i = 0; i < notes->n; i++)
            json_array_append_new(remarks, json_string(notes->v[i]));
        return pc_print_json(
            json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "name", name, "commit", r->commit,
                "path", json_string_nocheck(r->path), "n_files", (json_int_t)r->n_files, "n_there",
                (json_int_t)r->n_there, "n_fetched", (json_int_t)r->n_fetched, "size", (json_int_t)r->size,
                "bytes", (json_int_t)r->bytes, "dry_run", v->dry_run, "notes", remarks),
            err);
    }
    pc_human_bytes(r->size, size);
    pc_human_bytes(r->bytes, bytes);
    if (v->dry_run)
        pc_command_note(self, "%zu files (%s), of which %zu are there; %s are to come", r->n_files, size,
            r->n_there, bytes);
    else
        pc_command_note(self, "%zu files (%s): %zu fetched (%s came), %zu were there", r->n_files, size,
            r->n_fetched, bytes, r->n_there);
    pc_print_text(r->path, 0);
    putchar('\n');
    return 0;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.n_at_once = 0};
    struct pc_args args;
    struct paco_error err = {0};
    struct pc_pull_result result = {.path = NULL};
    struct pc_notes notes = {0};
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    if (args.positional.n != 1) {
        code = pc_command_misuse(self, args.positional.n ? "one model at a time" : "which model? org/model");
    } else {
        const char *name = args.positional.v[0];
        const struct pc_pull_options o = {.name = name,
            .wishes = v.wishes,
            .n_at_once = (int)v.n_at_once,
            .dry_run = v.dry_run,
            .verify = v.verify,
            .progress = pc_progress_bar(self),
            .notes = &notes};
        notes.progress = o.progress;
        int rc = pc_hub_pull(&o, &result, &err);
        pc_progress_bar_end();
        if (rc == 0)
            rc = print_result(self, &v, name, &result, &notes, &err);
        code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    }
    pc_free(result.path);
    pc_notes_release(&notes);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_pull = {
    .name = "pull",
    .summary = "download a model, diff or adapter from the Hugging Face hub",
    .usage = "ORG/MODEL[@REVISION] [options]",
    .description =
        "Into the Hugging Face cache (HF_HOME and friends), where -m ORG/MODEL finds it afterwards and "
        "other\n"
        "programs do, too. Files come several at once; what broke off goes on where it ended, the next "
        "time,\n"
        "too; every file is held against its SHA-256 (or git's name for it). The model appears when all of "
        "it\n"
        "is there. Its folder is printed on stdout.\n"
        "\n"
        "Weights that are there in several forms are taken once, safetensors before PyTorch's .bin, and "
        "what\n"
        "is for other programs is left out; each is said. --include names files instead of these rules.\n"
        "\n"
        "HF_TOKEN, or what `hf auth login` left, is sent to the hub and to nobody else. HF_ENDPOINT is "
        "another\n"
        "hub; with HF_HUB_OFFLINE=1 nothing is asked for, and what is in the cache is the answer.",
    .examples = "$ paco pull HuggingFaceTB/SmolLM2-135M-Instruct\n"
                "$ paco chat -m HuggingFaceTB/SmolLM2-135M-Instruct\n"
                "$ paco pull allenai/open-instruct-stanford-alpaca-7b --dry-run\n"
                "$ paco pull org/model@v1.0 --include '*.gguf' --exclude '*Q2*'",
    .options = g_options,
    .run = run,
};
