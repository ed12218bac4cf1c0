// SPDX-License-Identifier: Apache-2.0
/* paco data reformat: published instruction data to messages. */
#include "base/json.h"
#include "cli/data_parts.h"
#include "cli/output.h"
#include "data/reformat.h"

#include <inttypes.h>
#include <stdio.h>

struct values {
    const char *raw_data_dir, *output_dir, *order;
    int64_t seed;
    bool force, json;
};

static const struct pc_option g_options[] = {
    {.name = "raw_data_dir",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, raw_data_dir),
        .arg = "DIR",
        .help = "a folder of data sets, each in a folder of its name (data/raw_train)"},
    {.name = "output_dir",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, output_dir),
        .arg = "DIR",
        .help = "where NAME/NAME_data.jsonl go (data/processed)"},
    {.name = "seed",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, seed),
        .arg = "N",
        .min = 0,
        .max = 9007199254740991.0,
        .help = "of Python's random numbers, which choose templates and samples (42)"},
    {.name = "order",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, order),
        .arg = "NAME,NAME",
        .help = "these data sets alone, in this order (default: all there are, sorted by name)"},
    {.name = "force",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, force),
        .help = "replace files that are there"},
    PC_JSON_ROW(struct values, json),
    {0},
};

static json_t *to_json(
    const struct values *v, const struct pc_reformat_result *r, const struct pc_notes *notes)
{
    json_t *sets = json_array(), *warnings = json_array();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(
            sets, json_pack("{s:s, s:I, s:I}", "set", r->sets[i].name, "examples",
                      (json_int_t)r->sets[i].n_examples, "bytes", (json_int_t)r->sets[i].bytes));
    for (size_t i = 0; i < notes->n; i++)
        json_array_append_new(warnings, json_string_nocheck(notes->v[i]));
    return json_pack(
        "{s:o, s:o, s:o}", "out", json_string_nocheck(v->output_dir), "sets", sets, "warnings", warnings);
}

static int print_result(const struct values *v, const struct pc_reformat_result *r,
    const struct pc_notes *notes, struct paco_error *err)
{
    char count[32];
    if (v->json)
        return pc_print_json(to_json(v, r, notes), err);
    for (size_t i = 0; i < r->n; i++) {
        pc_print_text(v->output_dir, 0);
        printf("/%s/%s_data.jsonl: %s examples\n", r->sets[i].name, r->sets[i].name,
            pc_human_count(r->sets[i].n_examples, count));
    }
    return 0;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.raw_data_dir = "data/raw_train", .output_dir = "data/processed", .seed = 42};
    struct paco_error err = {0};
    struct pc_reformat_result result;
    struct pc_args args;
    int code = pc_command_parse_options(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct pc_notes notes = {.progress = pc_progress_bar(self)};
    const struct pc_reformat_options o = {.raw_data_dir = v.raw_data_dir,
        .output_dir = v.output_dir,
        .order = v.order,
        .seed = (uint64_t)v.seed,
        .force = v.force,
        .progress = notes.progress,
        .notes = &notes};
    int rc = pc_data_reformat(&o, &result, &err);
    pc_progress_bar_end();
    if (rc == 0)
        rc = print_result(&v, &result, &notes, &err);
    pc_notes_release(&notes);
    pc_args_release(&args);
    return rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
}

const struct pc_command pc_cmd_data_reformat = {
    .name = "data reformat",
    .summary = "published instruction data, as the messages that training takes",
    .usage = "[--raw_data_dir DIR] [--output_dir DIR] [options]",
    .description =
        "Every folder of --raw_data_dir that is called as one of these data sets, and holds the files their\n"
        "authors publish, becomes a file of JSON lines, byte for byte what Open-Instruct's "
        "reformat_datasets.py\n"
        "writes: baize, code_alpaca, cot, dolly, flan_v2, gpt4_alpaca, oasst1, self_instruct, sharegpt,\n"
        "stanford_alpaca, super_ni, unnatural_instructions. Other folders are passed over with a warning.\n"
        "\n"
        "Templates are drawn from one stream of random numbers that runs through all data sets, so what is "
        "drawn\n"
        "depends on their order. Upstream takes the order in which its file system lists them; here it is "
        "by\n"
        "name, or as --order says.",
    .examples = "$ paco data reformat --raw_data_dir data/raw_train --output_dir data/processed\n"
                "$ paco data reformat --order stanford_alpaca,dolly --seed 1",
    .options = g_options,
    .run = run,
};
