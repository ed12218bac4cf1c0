// SPDX-License-Identifier: Apache-2.0
/* paco verify: is a model what its manifest says, or the same as another one? */
#include "base/file.h"
#include "base/host.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/output.h"
#include "format/gguf_write.h"
#include "weights/source.h"
#include "weights/verify.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct values {
    const char *model, *against;
    bool strict, json;
    int64_t threads;
};

static struct values g_values;

static const struct pc_option g_options[] = {
    {.name = "model",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, model),
        .arg = "MODEL",
        .help = "the model to check; may also stand without -m"},
    {.name = "against",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, against),
        .arg = "MODEL|FILE",
        .help = "compare with this model, tensor by tensor, or with this paco-manifest.json"},
    {.name = "strict",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, strict),
        .help = "also fail for rows the recipe leaves undefined and for rotary buffers on one side only"},
    PC_THREADS_ROW(struct values, threads),
    PC_JSON_ROW(struct values, json),
    {0},
};

/* Everything one run holds. */
struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_source model, other;
    struct pc_manifest manifest, other_manifest;
    bool has_manifest, has_other_manifest;
    struct pc_pool *pool;
    const struct pc_progress *progress;
    struct pc_scan *scans;
    struct pc_comparisons found;
    bool passed;
    char content[PC_SHA256_HEX];
    double stanford, started;
    bool has_stanford;
    json_t *files; /* changed files: array of objects */
};

/* Open the manifest beside src's tensors, if there is one: in its directory, or FILE.paco-manifest.json. */
static int open_manifest(
    const struct pc_source *src, struct pc_manifest *m, bool *has, struct paco_error *err)
{
    *has = false;
    if (src->kind == PC_SOURCE_FILE)
        return 0;
    char beside[PATH_MAX];
    snprintf(beside, sizeof beside, "%s." PC_MANIFEST_NAME, src->path);
    char *path = src->gguf ? pc_strdup(beside) : pc_path_join(src->dir, PC_MANIFEST_NAME);
    if (!path)
        return pc_error_mem(err, strlen(src->dir), "a path");
    int rc = 0;
    if (pc_path_exists(path)) {
        rc = pc_manifest_read(path, m, err);
        *has = rc == 0;
    }
    pc_free(path);
    return rc;
}

static bool names_manifest(const char *path)
{
    return pc_ends_with(path, ".json") && !pc_path_is_dir(path);
}

/* What is held against a manifest: the tensors as they lie in a GGUF file or Meta's, when the manifest speaks
 * of those. */
static const struct pc_checkpoint *checked(const struct job *j)
{
    const struct pc_checkpoint *stored = j->model.stored;
    if (!stored || !j->has_manifest || j->other.ck)
        return j->model.ck;
    for (size_t i = 0; i < j->manifest.n_tensors; i++)
        if (pc_checkpoint_find(stored, j->manifest.tensors[i].name))
            return stored;
    return j->model.ck;
}

static int scan(struct job *j, const char *phase, struct paco_error *err)
{
    const struct pc_checkpoint *ck = checked(j);
    j->scans = pc_alloc_zero(ck->n_tensors, sizeof *j->scans);
    if (!j->scans)
        return pc_error_mem(err, ck->n_tensors * sizeof *j->scans, "digests");
    int rc =
        pc_scan_checkpoint(ck, PC_SCAN_SHA256 | PC_SCAN_VALUES, j->pool, j->progress, phase, j->scans, err);
    if (rc == 0)
        rc = pc_content_digest(ck, j->scans, j->content, err);
    if (rc == 0 && j->model.has_config && ck == j->model.ck) {
        j->stanford = pc_stanford_sum(ck, j->scans, j->model.config.head_dim);
        j->has_stanford = true;
    }
    return rc;
}

static int add_file(struct job *j, const char *name, const char *what)
{
    json_t *o = json_pack("{s:s, s:s}", "name", name, "verdict", what);
    if (!j->files)
        j->files = json_array();
    return o && j->files && json_array_append_new(j->files, o) == 0 ? 0 : PACO_EMEM;
}

/* SHA-256 of a small file of dir. A missing or changed one is noted, not an error. */
static int check_file(struct job *j, const struct pc_manifest_file *f, struct paco_error *err)
{
    enum { PIECE = 1 << 20 };
    char *path = pc_path_join(j->model.dir, f->name);
    struct pc_sha256 *hash = pc_sha256_new(err);
    char *buf = pc_alloc(PIECE, 1);
    struct pc_file file = {.fd = -1};
    int rc = path && hash && buf ? 0 : pc_error_mem(err, PIECE, "checking a file");
    if (rc == 0 && (!pc_path_exists(path) || pc_file_open(&file, path, err) < 0)) {
        rc = add_file(j, f->name, "missing");
    } else if (rc == 0 && file.size != f->bytes) {
        rc = add_file(j, f->name, "different");
    } else if (rc == 0) {
        uint8_t digest[PC_SHA256_SIZE];
        char hex[PC_SHA256_HEX];
        for (uint64_t at = 0; at < file.size && rc == 0; at += PIECE) {
            size_t n = file.size - at < PIECE ? (size_t)(file.size - at) : PIECE;
            rc = pc_file_read(&file, at, buf, n, err);
            if (rc == 0)
                pc_sha256_update(hash, buf, n);
        }
        pc_sha256_final(hash, digest);
        if (rc == 0 && strcmp(pc_sha256_hex(digest, hex), f->sha256) != 0)
            rc = add_file(j, f->name, "different");
    }
    pc_file_close(&file);
    pc_free(buf);
    pc_sha256_free(hash);
    pc_free(path);
    return rc;
}

/* The digest of all metadata, tokenizer and chat template among it. */
static int check_metadata(struct job *j, struct paco_error *err)
{
    const char *want = j->manifest.metadata_sha256;
    if (!want || checked(j) != j->model.gguf)
        return 0;
    struct pc_gguf_head head;
    size_t n;
    const struct pc_gguf_entry *entries = pc_gguf_entries(j->model.gguf, &n);
    pc_gguf_head_init(&head);
    for (size_t i = 0; i < n; i++)
        pc_gguf_put_entry(&head, &entries[i]);
    char hex[PC_SHA256_HEX];
    int rc = pc_gguf_head_digest(&head, hex, err);
    if (rc == 0 && strcmp(hex, want) != 0)
        rc = add_file(j, "(metadata)", "different");
    pc_gguf_head_release(&head);
    return rc;
}

static int check_files(struct job *j, struct paco_error *err)
{
    int rc = check_metadata(j, err);
    for (size_t i = 0; i < j->manifest.n_files && rc == 0; i++)
        rc = check_file(j, &j->manifest.files[i], err);
    return rc;
}

/* Rows either side's recipe leaves undefined. */
static int join_ranges(const struct job *j, struct pc_row_ranges *out, struct paco_error *err)
{
    size_t n = j->manifest.undefined.n + j->other_manifest.undefined.n;
    out->v = pc_alloc(n, sizeof *out->v);
    if (!out->v)
        return pc_error_mem(err, n * sizeof *out->v, "undefined rows");
    for (size_t i = 0; i < j->manifest.undefined.n; i++)
        out->v[out->n++] = j->manifest.undefined.v[i];
    for (size_t i = 0; i < j->other_manifest.undefined.n; i++)
        out->v[out->n++] = j->other_manifest.undefined.v[i];
    return 0;
}

static int compare_models(struct job *j, struct paco_error *err)
{
    struct pc_row_ranges rows = {0};
    int rc = pc_source_open_tensors(j->v->against, &j->other, err);
    if (rc == 0)
        rc = open_manifest(&j->other, &j->other_manifest, &j->has_other_manifest, err);
    if (rc == 0)
        rc = join_ranges(j, &rows, err);
    if (rc == 0)
        rc = pc_compare(j->model.ck, j->other.ck, &rows, j->pool, j->progress, &j->found, err);
    pc_free(rows.v);
    return rc;
}

/* The configuration is only of use to Stanford's checksum: a broken one is said, and the tensors are checked
 * all the same. */
static int open_model(struct job *j, struct paco_error *err)
{
    int rc = pc_source_open(j->v->model, &j->model, err);
    if (rc == 0 || !pc_ends_with(err->path, "config.json"))
        return rc;
    char text[2048];
    pc_command_note(
        j->self, "%s; the tensors are checked all the same", pc_error_format(err, text, sizeof text));
    *err = (struct paco_error){0};
    return pc_source_open_tensors(j->v->model, &j->model, err);
}

static int run_job(struct job *j, struct paco_error *err)
{
    j->pool = pc_pool_new((int)j->v->threads, err);
    if (!j->pool)
        return PACO_EMEM;
    j->progress = pc_progress_bar(j->self);
    int rc = j->v->against ? pc_source_open_tensors(j->v->model, &j->model, err) : open_model(j, err);
    if (rc == 0)
        rc = open_manifest(&j->model, &j->manifest, &j->has_manifest, err);
    if (rc == 0 && j->v->against && !names_manifest(j->v->against))
        return compare_models(j, err);
    if (rc == 0 && j->v->against) {
        pc_manifest_release(&j->manifest);
        rc = pc_manifest_read(j->v->against, &j->manifest, err);
        j->has_manifest = rc == 0;
    }
    if (rc == 0)
        rc = scan(j, j->has_manifest ? "verifying" : "hashing", err);
    if (rc == 0 && j->has_manifest)
        rc = pc_compare_manifest(checked(j), j->scans, &j->manifest, &j->found, err);
    if (rc == 0 && j->has_manifest && !j->v->against)
        rc = check_files(j, err);
    return rc;
}

static size_t count(const struct pc_comparisons *c, enum pc_verdict verdict)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->v[i].verdict == verdict;
    return n;
}

static bool judge(const struct job *j)
{
    for (size_t i = 0; i < j->found.n; i++)
        if (!pc_verdict_passes(j->found.v[i].verdict, j->v->strict))
            return false;
    return json_array_size(j->files) == 0;
}

static void print_values(const struct pc_comparison *c)
{
    char n[32], all[32];
    printf("%s of %s values differ, by at most %.3g", pc_human_count(c->n_values, n),
        pc_human_count(c->n_elements, all), c->max_abs);
    if (c->n_nonfinite)
        printf(" (%llu of them NaN or infinite on one side)", (unsigned long long)c->n_nonfinite);
    printf("; first at row %llu, column %llu: %.9g here, %.9g there", (unsigned long long)c->first_row,
        (unsigned long long)c->first_col, (double)c->first_a, (double)c->first_b);
}

/* What is to be said of one tensor besides its name. */
static void print_finding(const struct job *j, const struct pc_comparison *c)
{
    char a[160], b[160];
    switch (c->verdict) {
    case PC_DIFFERENT:
        if (c->b)
            print_values(c);
        else
            printf("its SHA-256 is not the manifest's");
        break;
    case PC_UNDEFINED:
        printf("%llu values differ, by at most %.3g, all in rows that the recipe leaves undefined",
            (unsigned long long)c->n_undefined_values, c->max_abs_undefined);
        break;
    case PC_OTHER_SHAPE:
        if (c->b)
            printf(
                "%s here, %s there", pc_tensor_shape(c->a, a, sizeof a), pc_tensor_shape(c->b, b, sizeof b));
        else
            printf("%s, which is not the manifest's shape", pc_tensor_shape(c->a, a, sizeof a));
        break;
    case PC_OTHER_TYPE: printf("%s, which is not the manifest's type", pc_dtype_name(c->a->dtype)); break;
    case PC_ONLY_HERE: printf(j->has_manifest && !j->other.ck ? "not in the manifest" : "only here"); break;
    case PC_ONLY_THERE:
        printf(j->has_manifest && !j->other.ck ? "missing; the manifest has it" : "only there");
        break;
    case PC_BUFFER: printf("a rotary buffer on one side only: computed, not compared"); break;
    case PC_TIED: printf("on one side only, equal to the other's embedding"); break;
    case PC_SAME:
    case PC_EQUAL: printf("%s", c->verdict == PC_SAME ? "identical" : "equal in value"); break;
    }
}

enum { MAX_SHOWN = 20 };

static void print_findings(const struct job *j)
{
    size_t n_shown = 0, n_left = 0;
    for (size_t i = 0; i < j->found.n; i++) {
        const struct pc_comparison *c = &j->found.v[i];
        bool quiet = c->verdict == PC_SAME || c->verdict == PC_EQUAL || c->verdict == PC_BUFFER;
        if (quiet && !pc_command_verbose())
            continue;
        if (n_shown == MAX_SHOWN && !pc_command_verbose()) {
            n_left++;
            continue;
        }
        n_shown++;
        printf("  %-9s ", pc_verdict_name(c->verdict));
        pc_print_text(c->name, 0);
        printf(": ");
        print_finding(j, c);
        printf("\n");
    }
    if (n_left)
        printf("  ... and %zu more (--verbose lists all)\n", n_left);
    for (size_t i = 0; i < json_array_size(j->files); i++) {
        const json_t *o = json_array_get(j->files, i);
        printf("  %-9s ", json_string_value(json_object_get(o, "verdict")));
        pc_print_text(json_string_value(json_object_get(o, "name")), 0);
        printf(": a file the manifest knows\n");
    }
}

static void print_stanford(const struct job *j)
{
    double off = fabs(j->stanford - PC_STANFORD_SUM);
    if (!j->has_stanford)
        return;
    printf("Stanford's checksum: %.4f", j->stanford);
    if (off <= PC_STANFORD_TOLERANCE)
        printf(" (pass: Alpaca-7B has %.4f, and sums in another order agree within %.1f)\n", PC_STANFORD_SUM,
            PC_STANFORD_TOLERANCE);
    else if (off <= PC_STANFORD_SUM / 100)
        printf(" (fail, if this is meant to be Alpaca-7B: that has %.4f)\n", PC_STANFORD_SUM);
    else
        printf(" (says something of Alpaca-7B only, which has %.4f)\n", PC_STANFORD_SUM);
}

static uint64_t total_size(const struct pc_checkpoint *ck)
{
    uint64_t size = 0;
    for (size_t i = 0; i < ck->n_tensors; i++)
        size += ck->tensors[i].size;
    return size;
}

static void print_hashes(const struct job *j)
{
    char hex[PC_SHA256_HEX], shape[160];
    for (size_t i = 0; i < checked(j)->n_tensors && pc_command_verbose(); i++) {
        const struct pc_tensor *t = &checked(j)->tensors[i];
        printf("%s  %-4s %-14s ", pc_sha256_hex(j->scans[i].sha256, hex), pc_dtype_name(t->dtype),
            pc_tensor_shape(t, shape, sizeof shape));
        pc_print_text(t->name, 0);
        printf("\n");
    }
}

static void print_people(const struct job *j)
{
    char size[32], n[32];
    const struct pc_checkpoint *ck = checked(j);
    print_findings(j);
    pc_print_text(j->v->model, 0);
    printf(": %s tensors, %s", pc_human_count(ck->n_tensors, n), pc_human_bytes(total_size(ck), size));
    if (j->other.ck) {
        printf("; %zu identical, %zu equal in value", count(&j->found, PC_SAME), count(&j->found, PC_EQUAL));
        if (count(&j->found, PC_TIED))
            printf(", %zu tied", count(&j->found, PC_TIED));
        if (count(&j->found, PC_BUFFER))
            printf(", %zu rotary buffers on one side only", count(&j->found, PC_BUFFER));
        printf("\n%s ", j->passed ? "OK: the same model as" : "DIFFERENT: not the same model as");
        pc_print_text(j->v->against, 0);
        printf(count(&j->found, PC_UNDEFINED) && j->passed
                   ? ", but for rows that the recipe leaves undefined\n"
                   : "\n");
        return;
    }
    printf("\ncontent digest: %s\n", j->content);
    print_hashes(j);
    print_stanford(j);
    if (j->has_manifest)
        printf(j->passed ? "OK: every tensor and file is as the manifest says\n"
                         : "FAILED: not what the manifest says\n");
    else
        printf("There is no %s here, so nothing to check against%s.\n", PC_MANIFEST_NAME,
            pc_command_verbose() ? "" : "; --verbose lists the SHA-256 of each tensor");
}

static json_t *finding_json(const struct pc_comparison *c)
{
    json_t *o = json_pack("{s:s, s:s}", "name", c->name, "verdict", pc_verdict_name(c->verdict));
    if (o && c->a && c->b && c->n_values) {
        json_t *more = json_pack("{s:I, s:I, s:f, s:I, s:I, s:I}", "n_elements", (json_int_t)c->n_elements,
            "n_different", (json_int_t)c->n_values, "max_abs", c->max_abs, "row", (json_int_t)c->first_row,
            "column", (json_int_t)c->first_col, "n_nonfinite", (json_int_t)c->n_nonfinite);
        json_object_update(o, more);
        json_decref(more);
    }
    if (o && c->n_undefined_values)
        json_object_update_new(
            o, json_pack("{s:I, s:f}", "n_undefined_different", (json_int_t)c->n_undefined_values,
                   "max_abs_undefined", c->max_abs_undefined));
    return o;
}

static int print_machine(struct job *j, struct paco_error *err)
{
    json_t *list = json_array();
    if (!j->files)
        j->files = json_array();
    for (size_t i = 0; i < j->found.n; i++)
        if (j->found.v[i].verdict != PC_SAME && j->found.v[i].verdict != PC_EQUAL)
            json_array_append_new(list, finding_json(&j->found.v[i]));
    json_t *o =
        json_pack("{s:o, s:b, s:I, s:I, s:I, s:I, s:o, s:O}", "model", json_string_nocheck(j->v->model), "ok",
            j->passed, "n_tensors", (json_int_t)checked(j)->n_tensors, "n_identical",
            (json_int_t)count(&j->found, PC_SAME), "n_equal", (json_int_t)count(&j->found, PC_EQUAL),
            "n_undefined", (json_int_t)count(&j->found, PC_UNDEFINED), "findings", list, "files", j->files);
    if (o && j->content[0])
        json_object_set_new(o, "content_sha256", json_string(j->content));
    if (o && j->has_stanford)
        json_object_set_new(o, "stanford_sum", pc_json_number(j->stanford));
    if (o)
        json_object_update_new(
            o, json_pack("{s:o?, s:b, s:f, s:I}", "against", json_string_nocheck(j->v->against), "manifest",
                   j->has_manifest, "seconds", pc_seconds() - j->started, "peak_rss_bytes",
                   (json_int_t)pc_peak_rss()));
    return pc_print_json(o, err);
}

static void job_release(struct job *j)
{
    pc_comparisons_release(&j->found);
    pc_manifest_release(&j->manifest);
    pc_manifest_release(&j->other_manifest);
    pc_source_close(&j->model);
    pc_source_close(&j->other);
    pc_pool_free(j->pool);
    pc_free(j->scans);
    json_decref(j->files);
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values *v = &g_values;
    struct pc_args args;
    struct paco_error err = {0};
    int code = pc_command_parse(self, argc, argv, v, &args);
    if (code >= 0)
        return code;
    if (args.positional.n == 1)
        v->model = args.positional.v[0];
    if (args.positional.n > 1 || !v->model) {
        pc_args_release(&args);
        return pc_command_misuse(self, v->model ? "one model at a time: use --against for the other"
                                                : "which model? give its directory");
    }
    struct job j = {.self = self, .v = v, .started = pc_seconds()};
    int rc = run_job(&j, &err);
    pc_progress_bar_end();
    if (rc == 0) {
        j.passed = judge(&j);
        if (v->json)
            rc = print_machine(&j, &err);
        else
            print_people(&j);
    }
    code = rc < 0 ? pc_command_fail(self, &err) : j.passed ? PC_EXIT_OK : PC_EXIT_FAILED;
    job_release(&j);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_verify = {
    .name = "verify",
    .summary = "check a model against its manifest, or compare two models",
    .usage = "MODEL [--against MODEL|FILE] [options]",
    .description =
        "Reads every tensor of MODEL. With a paco-manifest.json beside it (every directory paco writes\n"
        "has one, and a GGUF file F has F.paco-manifest.json), the SHA-256 of each tensor and file, and of "
        "a\n"
        "GGUF's metadata, is compared with it; without, the digests are printed. Stanford Alpaca's checksum\n"
        "is printed too: it is a sum over all weights, and means something for Alpaca-7B only.\n"
        "\n"
        "--against compares with another model, tensor by tensor and by value: types may differ, +0\n"
        "equals -0 and NaN equals NaN. Rows that the published recipe leaves undefined (the manifest\n"
        "lists them) are reported apart and do not fail unless --strict.\n"
        "\n"
        "Exit status 1 when something differs.",
    .examples = "$ paco verify alpaca-7b\n$ paco verify recovered --against tuned",
    .options = g_options,
    .run = run,
};
