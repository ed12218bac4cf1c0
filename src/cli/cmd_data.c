// SPDX-License-Identifier: Apache-2.0
/* paco data: what models are scored with and tuned on, from where its authors keep it. The parts that make
 * training data of it are in cmd_data_*.c. */
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/data_parts.h"
#include "cli/output.h"
#include "data/fetch.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SETS = 32 };

struct values {
    const char *out, *from;
    bool list, urls, force, json;
};

static const struct pc_option g_options[] = {
    {.name = "out",
        .short_name = 'o',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, out),
        .arg = "DIR",
        .help = "the data folder (data/eval, what eval takes as --data; data/raw_train for what is "
                "tuned on, which data reformat takes)"},
    {.name = "from",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, from),
        .arg = "URL|DIR",
        .help = "a mirror, or a folder, that holds each file at HOST/PATH of its address"},
    {.name = "list",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, list),
        .help = "list the data sets, and end"},
    {.name = "urls",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, urls),
        .help = "print the addresses of the sets' files, one a line, and end"},
    {.name = "force",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, force),
        .help = "fetch what is there already, and replace it"},
    {.name = "json", .type = PC_OPT_FLAG, .offset = offsetof(struct values, json), .help = "print JSON"},
    {0},
};

static uint64_t size_of(const struct pc_data_set *s)
{
    uint64_t size = 0;
    for (size_t i = 0; i < s->n_files; i++)
        size += s->files[i].size;
    return size;
}

static const char *digest(const struct pc_data_file *file, size_t n_digits)
{
    return file->digest && strlen(file->digest) == n_digits ? file->digest : NULL;
}

static void list_sets(bool json)
{
    char size[32];
    for (const struct pc_data_set *s = pc_data_sets; s->name; s++) {
        if (json) {
            json_t *files = json_array();
            for (size_t i = 0; i < s->n_files; i++)
                json_array_append_new(
                    files, json_pack("{s:s, s:s, s:I, s:s?, s:s?}", "path", s->files[i].path, "url",
                               s->files[i].url, "size", (json_int_t)s->files[i].size, "sha256",
                               digest(&s->files[i], 64), "git_blob", digest(&s->files[i], 40)));
            (void)pc_print_json(
                json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "set", s->name, "summary", s->summary, "licence",
                    s->licence, "eval", s->card, "train", s->training, "files", files),
                NULL);
            continue;
        }
        printf("%-22s %c %9s  %s (%s)\n", s->name,
            s->card       ? '*'
            : s->training ? '+'
                          : ' ',
            size_of(s) ? pc_human_bytes(size_of(s), size) : "", s->summary, s->licence);
    }
    if (!json)
        printf("eval fetches those marked *, train those marked +, all all but these\n");
}

/* What a mistyped name may have meant, or NULL. */
static const char *nearest_to(const char *name)
{
    const char *nearest = NULL, *const words[] = {"eval", "train", "all"};
    int best = 1 + (int)strlen(name) / 3;
    for (size_t i = 0; i < 3 || pc_data_sets[i - 3].name; i++) {
        const char *word = i < 3 ? words[i] : pc_data_sets[i - 3].name;
        bool part = strlen(name) >= 3 && strcasestr(word, name);
        int d = part ? 0 : pc_edit_distance(word, name);
        if (d < best) {
            best = d;
            nearest = word;
        }
    }
    return nearest;
}

/* By its name, or as one of many. */
static bool is_meant(const struct pc_data_set *s, const char *word)
{
    return strcmp(word, s->name) == 0 || (!s->training && strcmp(word, "all") == 0) ||
           (s->card && strcmp(word, "eval") == 0) || (s->training && strcmp(word, "train") == 0);
}

static bool is_known(const char *word)
{
    for (const struct pc_data_set *s = pc_data_sets; s->name; s++)
        if (is_meant(s, word))
            return true;
    return false;
}

/* The sets that words name, each once. -1 when one is none. */
static int choose(
    const struct pc_command *self, const struct pc_strings *words, const struct pc_data_set *sets[MAX_SETS])
{
    int n = 0;
    for (const struct pc_data_set *s = pc_data_sets; s->name; s++)
        for (size_t i = 1; i < words->n; i++)
            if (is_meant(s, words->v[i])) {
                sets[n++] = s;
                break;
            }
    for (size_t i = 1; i < words->n; i++)
        if (!is_known(words->v[i])) {
            const char *near = nearest_to(words->v[i]);
            pc_command_misuse(self, "there is no data set '%s'%s%s%s", words->v[i],
                near ? " (did you mean " : ": --list shows them", near ? near : "", near ? "?)" : "");
            return -1;
        }
    return n;
}

static int print_result(const struct values *v, const struct pc_fetch_result *r, struct paco_error *err)
{
    char bytes[32];
    if (v->json)
        return pc_print_json(
            json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "out", json_string_nocheck(v->out), "n_files",
                (json_int_t)r->n_files, "n_there", (json_int_t)r->n_there, "n_fetched",
                (json_int_t)r->n_fetched, "n_failed", (json_int_t)r->n_failed, "bytes", (json_int_t)r->bytes),
            err);
    pc_print_text(v->out, 0);
    printf(": %zu files fetched (%s), %zu were there\n", r->n_fetched, pc_human_bytes(r->bytes, bytes),
        r->n_there);
    return 0;
}

static void print_urls(const struct pc_data_set *const *sets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sets[i]->n_files; k++)
            printf("%s\n", sets[i]->files[k].url);
}

/* Where to, when it is not said: the two kinds go apart. NULL: sets are of both. */
static const char *default_folder(const struct pc_data_set *const *sets, int n)
{
    for (int i = 1; i < n; i++)
        if (sets[i]->training != sets[0]->training)
            return NULL;
    return sets[0]->training ? "data/raw_train" : "data/eval";
}

static int fetch(const struct pc_command *self, struct values *v, const struct pc_strings *words)
{
    const struct pc_data_set *sets[MAX_SETS];
    struct paco_error err = {0};
    struct pc_fetch_result result;
    struct pc_notes notes = {0};
    int n = choose(self, words, sets);
    if (n <= 0)
        return n < 0
                   ? PC_EXIT_MISUSED
                   : pc_command_misuse(self, "which data? --list shows the sets; eval is all of the card's");
    if (v->urls) {
        print_urls(sets, (size_t)n);
        return PC_EXIT_OK;
    }
    if (v->from && !strstr(v->from, "://") && !pc_path_is_dir(v->from)) {
        pc_error_set(&err, PACO_ENOENT, "there is no such folder (--from)");
        pc_error_path(&err, v->from);
        return pc_command_fail(self, &err);
    }
    if (!v->out && !(v->out = default_folder(sets, n)))
        return pc_command_misuse(self, "some of these are scored with and others tuned on: fetch them apart, "
                                       "or say where to with --out");
    const struct pc_fetch_options o = {.dir = v->out,
        .from = v->from,
        .force = v->force,
        .progress = pc_progress_bar(self),
        .notes = &notes};
    notes.progress = o.progress;
    int rc = pc_data_fetch(sets, (size_t)n, &o, &result, &err);
    pc_progress_bar_end();
    pc_notes_release(&notes);
    if (rc == 0)
        rc = print_result(v, &result, &err);
    if (rc == 0)
        return PC_EXIT_OK;
    if (result.n_failed)
        pc_command_warn(self,
            "%zu of %zu files could not be had; %zu were fetched, %zu were there. The first:",
            result.n_failed, result.n_files, result.n_fetched, result.n_there);
    int code = pc_command_fail(self, &err);
    if (result.n_failed && !v->from)
        pc_command_note(self, "without a network here: the same command with --urls lists the addresses, "
                              "`wget -x -i` of that list "
                              "fetches them elsewhere, and --from names the folder it leaves");
    return code;
}

/* fetch, and the parts: the i-th job's name, or NULL behind the last. */
static const char *job_name(const struct pc_command *self, size_t i)
{
    const struct pc_command *part = i ? self->parts[i - 1] : NULL;
    return i == 0 ? "fetch" : part ? strrchr(part->name, ' ') + 1 : NULL;
}

/* `paco data mmlu` means to fetch it. */
static int misuse(const struct pc_command *self, const struct pc_strings *words)
{
    const char *job, *near = NULL, *word = words->n ? words->v[0] : NULL,
                     *set = word ? nearest_to(word) : NULL;
    struct pc_buf jobs;
    int best = 3;
    pc_buf_init(&jobs, 1024);
    for (size_t i = 0; (job = job_name(self, i)); i++) {
        int d = word ? pc_edit_distance(job, word) : best;
        pc_buf_printf(&jobs, "%s%s", i ? ", " : "", job);
        near = d < best ? job : near;
        best = d < best ? d : best;
    }
    int code;
    if (near)
        code = pc_command_misuse(self, "there is no job '%s' (did you mean %s?)", word, near);
    else if (set)
        code = pc_command_misuse(self, "there is no job '%s' (did you mean fetch %s?)", word, set);
    else
        code = pc_command_misuse(self, "which job? There are %s", jobs.data ? jobs.data : "none");
    pc_buf_release(&jobs);
    return code;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    const struct pc_command *part = argc > 0 ? pc_command_part(self, argv[0]) : NULL;
    if (part)
        return part->run(part, argc - 1, argv + 1);
    struct values v = {.out = NULL};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    if (v.list) {
        list_sets(v.json);
        code = PC_EXIT_OK;
    } else if (args.positional.n == 0 || strcmp(args.positional.v[0], "fetch") != 0) {
        code = misuse(self, &args.positional);
    } else {
        code = fetch(self, &v, &args.positional);
    }
    pc_args_release(&args);
    return code;
}

static const struct pc_command *const g_parts[] = {&pc_cmd_data_generate, &pc_cmd_data_reformat,
    &pc_cmd_data_resample, &pc_cmd_data_split, &pc_cmd_data_stats, NULL};

static void put_sets(struct pc_buf *out)
{
    pc_buf_puts(out, " fetch eval train all");
    for (const struct pc_data_set *s = pc_data_sets; s->name; s++)
        pc_buf_printf(out, " %s", s->name);
    for (const struct pc_command *const *p = g_parts; *p; p++)
        pc_buf_puts(out, strchr((*p)->name, ' '));
}

const struct pc_command pc_cmd_data = {
    .name = "data",
    .summary = "the data that models are scored with and tuned on",
    .usage = "fetch SET... [--out DIR] [options]",
    .description =
        "fetch downloads data sets from where their authors keep them into DIR, in the layout that eval's\n"
        "--data takes: eval for all that the card is measured on, all for every one, or single ones by name\n"
        "(--list). What models are tuned on (train for all of it) goes where data reformat looks for it.\n"
        "Sizes and digests are checked where they are known; a download that was interrupted goes on; what "
        "is\n"
        "there already is not asked for, so that nothing needs the network the second time.\n"
        "\n"
        "gsm/exemplars.jsonl is made from upstream's Python file, which is read, not run. On a machine\n"
        "without a network: --urls lists the addresses, `wget -x -i LIST` fetches them elsewhere, and\n"
        "--from DIR takes the folder that leaves.",
    .examples = "$ paco data fetch eval\n$ paco data fetch stanford_alpaca dolly\n$ paco data fetch mmlu gsm "
                "--out data/eval\n"
                "$ paco data fetch eval --urls >list   # elsewhere: wget -x -i list -P mirror\n"
                "$ paco data fetch eval --from mirror\n"
                "$ paco data fetch eval --from http://mirror.example.org/eval",
    .options = g_options,
    .parts = g_parts,
    .put_words = put_sets,
    .run = run,
};
