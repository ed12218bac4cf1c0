// SPDX-License-Identifier: Apache-2.0
/* A list of what may travel rather than of what may not: a folder may hold anything, and what a stranger's
 * folder holds beyond these is not wanted in a model that will be passed on. */
#include "weights/sidecar.h"

#include "base/file.h"
#include "base/memory.h"
#include "weights/repair.h"
#include "weights/special_tokens.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_REPAIRED = 4 << 20,
    MAX_SIZE = 256 << 20,
    MAX_CARD = 256 << 10,
    COPY = 256 << 10,
    MAX_FILES = 256
};

enum group { GROUP_NONE = 0, GROUP_TOKENIZER = 1, GROUP_CONFIG = 2, GROUP_PAPERS = 4 };
enum { GROUPS_OTHER = GROUP_CONFIG | GROUP_PAPERS, GROUPS_ALL = GROUP_TOKENIZER | GROUPS_OTHER };

static const struct {
    const char *name;
    enum group group;
} g_travel[] = {{"config.json", GROUP_CONFIG}, {"generation_config.json", GROUP_CONFIG},
    {"tokenizer.json", GROUP_TOKENIZER}, {"tokenizer.model", GROUP_TOKENIZER},
    {"tokenizer_config.json", GROUP_TOKENIZER}, {"special_tokens_map.json", GROUP_TOKENIZER},
    {"added_tokens.json", GROUP_TOKENIZER}, {"vocab.json", GROUP_TOKENIZER}, {"vocab.txt", GROUP_TOKENIZER},
    {"merges.txt", GROUP_TOKENIZER}, {"chat_template.jinja", GROUP_TOKENIZER},
    {"chat_template.json", GROUP_TOKENIZER}, {"spiece.model", GROUP_TOKENIZER},
    {"sentencepiece.bpe.model", GROUP_TOKENIZER}, {"*.tiktoken", GROUP_TOKENIZER}, {"license*", GROUP_PAPERS},
    {"licence*", GROUP_PAPERS}, {"copying*", GROUP_PAPERS}, {"notice*", GROUP_PAPERS},
    {"use_policy*", GROUP_PAPERS}, {"readme*", GROUP_PAPERS}, {"model_card*", GROUP_PAPERS},
    {"modelcard*", GROUP_PAPERS}};

static enum group group_of(const char *name)
{
    for (size_t i = 0; i < sizeof g_travel / sizeof *g_travel; i++)
        if (fnmatch(g_travel[i].name, name, FNM_CASEFOLD | FNM_PERIOD) == 0)
            return g_travel[i].group;
    return GROUP_NONE;
}

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

/* The directory whose files a link in dir may mean: dir itself, or for a snapshot in the Hugging Face cache
 * (.../models--org--name/snapshots/REVISION) all of the model's. */
static void home_of(const char *dir, char home[PATH_MAX])
{
    if (!realpath(dir, home))
        home[0] = '\0';
    char *rev = strrchr(home, '/');
    if (!rev || rev == home)
        return;
    *rev = '\0';
    char *snapshots = strrchr(home, '/');
    if (snapshots && strcmp(snapshots, "/snapshots") == 0 && strstr(home, "/models--"))
        *snapshots = '\0';
    else
        *rev = '/';
}

/* Why a file stays behind, or NULL; *size of what the name leads to. */
static const char *unfit(const char *path, const char *home, uint64_t *size)
{
    struct stat st;
    char real[PATH_MAX];
    if (stat(path, &st) < 0)
        return errno == ELOOP ? "its link leads round in a loop" : "its link leads nowhere";
    if (S_ISDIR(st.st_mode))
        return "it is a directory";
    if (!S_ISREG(st.st_mode))
        return "it is no regular file";
    if (!realpath(path, real) || !below(real, home))
        return "its link leads out of the folder";
    if ((uint64_t)st.st_size > MAX_SIZE)
        return "it is too large for such a file";
    *size = (uint64_t)st.st_size;
    return NULL;
}

static struct pc_sidecar *append(struct pc_sidecars *s, const char *name, struct paco_error *err)
{
    if (pc_grow(&s->v, &s->capacity, s->n, sizeof *s->v, "the list of files", err) < 0)
        return NULL;
    struct pc_sidecar *f = &s->v[s->n];
    *f = (struct pc_sidecar){.name = pc_strdup(name)};
    if (!f->name) {
        pc_error_mem(err, strlen(name), "a file name");
        return NULL;
    }
    s->n++;
    return f;
}

static void say_lines(struct pc_sidecars *s, struct pc_notes *notes, char *lines)
{
    for (char *line = lines, *nl; line && (nl = strchr(line, '\n')); line = nl + 1) {
        *nl = '\0';
        pc_note(&s->repairs, "%s", line);
        pc_note(notes, "repaired %s", line);
    }
}

/* Replaces f->source by text when something in it was repaired. */
static int repair_file(struct pc_sidecars *s, struct pc_sidecar *f, const struct pc_repair_options *opt,
    struct pc_notes *notes, struct paco_error *err)
{
    struct pc_buf text, said;
    pc_buf_init(&said, 64 << 10);
    int rc = pc_file_slurp(f->source, MAX_REPAIRED, &text, err);
    if (rc == 0) {
        pc_repair(f->name, opt, &text, &said);
        rc = pc_buf_check(&text, f->name, err);
    }
    if (rc == 0 && said.len) {
        pc_free(f->source);
        f->source = NULL;
        f->size = text.len;
        f->text = pc_buf_detach(&text);
        say_lines(s, notes, said.data);
    }
    pc_buf_release(&text);
    pc_buf_release(&said);
    return rc;
}

static int plan_one(struct pc_sidecars *s, const char *dir, const char *home, const char *name,
    const struct pc_repair_options *repair, struct pc_notes *notes, struct paco_error *err)
{
    char *path = pc_path_join(dir, name);
    uint64_t size;
    if (!path)
        return pc_error_mem(err, strlen(dir), "a path");
    const char *why = unfit(path, home, &size);
    if (why) {
        pc_note(notes, "%s is not copied: %s", name, why);
        pc_free(path);
        return 0;
    }
    struct pc_sidecar *f = append(s, name, err);
    if (!f) {
        pc_free(path);
        return PACO_EMEM;
    }
    f->source = path;
    f->size = size;
    return repair && pc_repair_knows(name) && size <= MAX_REPAIRED ? repair_file(s, f, repair, notes, err)
                                                                   : 0;
}

/* ---- licence ---- */

/* Copy the line that starts at text, without white space and quotes around it. */
static void copy_line(const char *text, size_t len, char *out, size_t out_size)
{
    const char *nl = memchr(text, '\n', len);
    size_t n = nl ? (size_t)(nl - text) : len;
    while (n && (isspace((unsigned char)*text) || strchr("\"'", *text))) {
        text++;
        n--;
    }
    while (n && (isspace((unsigned char)text[n - 1]) || strchr("\"'", text[n - 1])))
        n--;
    char line[256];
    n = n < sizeof line ? n : sizeof line - 1;
    memcpy(line, text, n);
    line[n] = '\0';
    pc_printable(line, out, out_size);
}

/* The member `license` of the YAML between two lines "---". */
static void licence_of_card(const char *text, size_t len, char *out, size_t out_size)
{
    const char *end =
        len > 4 && strncmp(text, "---\n", 4) == 0 ? memmem(text + 3, len - 3, "\n---", 4) : NULL;
    for (const char *line = end ? text + 4 : NULL; line && line < end;) {
        if ((size_t)(end - line) > 8 && strncmp(line, "license:", 8) == 0)
            copy_line(line + 8, (size_t)(end - line) - 8, out, out_size);
        line = memchr(line, '\n', (size_t)(end - line));
        line = line ? line + 1 : NULL;
    }
}

static void first_line(const char *text, size_t len, char *out, size_t out_size)
{
    size_t at = 0;
    while (at < len && isspace((unsigned char)text[at]))
        at++;
    copy_line(text + at, len - at, out, out_size);
}

static void read_licence(const struct pc_sidecar *f, char out[128])
{
    bool card = fnmatch("readme.md", f->name, FNM_CASEFOLD) == 0;
    bool licence = fnmatch("licen[cs]e*", f->name, FNM_CASEFOLD) == 0;
    struct pc_buf b;
    if ((!card && (!licence || *out)) || f->size > MAX_CARD)
        return;
    char found[128] = "";
    pc_buf_init(&b, MAX_CARD);
    if (f->text)
        pc_buf_add(&b, f->text, (size_t)f->size);
    if ((f->text || pc_file_slurp(f->source, MAX_CARD, &b, NULL) == 0) && b.len)
        (card ? licence_of_card : first_line)(b.data, b.len, found, sizeof found);
    pc_buf_release(&b);
    if (*found)
        memcpy(out, found, sizeof found);
}

/* ---- all ---- */

int pc_sidecars_add(
    struct pc_sidecars *s, const char *name, const char *bytes, size_t len, struct paco_error *err)
{
    struct pc_sidecar *f = NULL;
    for (size_t i = 0; i < s->n && !f; i++)
        if (strcmp(s->v[i].name, name) == 0)
            f = &s->v[i];
    if (!f && !(f = append(s, name, err)))
        return PACO_EMEM;
    char *text = pc_strndup(bytes, len);
    if (!text)
        return pc_error_mem(err, len, name);
    pc_free(f->source);
    pc_free(f->text);
    f->source = NULL;
    f->text = text;
    f->size = len;
    read_licence(f, s->licence);
    return 0;
}

/* Plan the files of dir that belong to one of groups. */
static int plan_dir(struct pc_sidecars *s, const char *dir, unsigned groups,
    const struct pc_repair_options *repair, struct pc_notes *notes, struct paco_error *err)
{
    char home[PATH_MAX], **names = NULL;
    size_t n = 0;
    home_of(dir, home);
    int rc = pc_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!(group_of(names[i]) & groups))
            continue;
        rc = s->n == MAX_FILES
                 ? pc_error_set(err, PACO_ELIMIT, "more than %d files beside the weights", MAX_FILES)
                 : plan_one(s, dir, home, names[i], repair, notes, err);
    }
    pc_names_free(names, n);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pc_sidecar *)a)->name, ((const struct pc_sidecar *)b)->name);
}

int pc_sidecars_plan(const struct pc_sidecar_options *options, struct pc_notes *notes,
    struct pc_sidecars *out, struct paco_error *err)
{
    *out = (struct pc_sidecars){0};
    const char *split = options->tokenizer_dir;
    struct pc_special_tokens tokens;
    const struct pc_repair_options opt = {.tokens = &tokens,
                                       .dtype = options->dtype,
                                       .vocab = options->vocab},
                                   *repair = options->repair ? &opt : NULL;
    int rc = repair ? pc_special_tokens_read(split ? split : options->dir, &tokens, err) : 0;
    if (rc == 0 && options->dir)
        rc = plan_dir(out, options->dir,
            options->only_papers ? GROUP_PAPERS
            : split              ? GROUPS_OTHER
                                 : GROUPS_ALL,
            repair, notes, err);
    if (rc == 0 && split)
        rc = plan_dir(out, split, GROUP_TOKENIZER, repair, notes, err);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_name);
    for (size_t i = 0; i < out->n && rc == 0; i++)
        read_licence(&out->v[i], out->licence);
    return rc;
}

void pc_sidecars_release(struct pc_sidecars *s)
{
    for (size_t i = 0; i < s->n; i++) {
        pc_free(s->v[i].name);
        pc_free(s->v[i].source);
        pc_free(s->v[i].text);
    }
    pc_free(s->v);
    pc_notes_release(&s->repairs);
    *s = (struct pc_sidecars){0};
}

static int copy_file(
    const char *source, int to, const char *to_path, struct pc_sha256 *h, struct paco_error *err)
{
    struct pc_file from;
    int rc = pc_file_open(&from, source, err);
    void *buf = rc == 0 ? pc_alloc(COPY, 1) : NULL;
    if (rc == 0 && !buf)
        rc = pc_error_mem(err, COPY, "copying a file");
    for (uint64_t at = 0; rc == 0 && at < from.size;) {
        size_t n = from.size - at < COPY ? (size_t)(from.size - at) : COPY;
        rc = pc_file_read(&from, at, buf, n, err);
        if (rc == 0)
            rc = pc_fd_write(to, to_path, at, buf, n, err);
        if (rc == 0)
            pc_sha256_update(h, buf, n);
        at += n;
    }
    pc_free(buf);
    pc_file_close(&from);
    return rc;
}

int pc_sidecar_write(
    const struct pc_sidecar *f, const char *dir, uint8_t sha256[PC_SHA256_SIZE], struct paco_error *err)
{
    struct pc_sha256 *h = pc_sha256_new(err);
    char *path = pc_path_join(dir, f->name);
    int fd = -1, rc = h ? 0 : PACO_EMEM;
    if (rc == 0 && !path)
        rc = pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0) {
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0) {
            rc = pc_error_os(err, errno, "cannot create");
            pc_error_path(err, path);
        }
    }
    if (rc == 0 && f->source) {
        rc = copy_file(f->source, fd, path, h, err);
    } else if (rc == 0) {
        pc_sha256_update(h, f->text, (size_t)f->size);
        rc = pc_fd_write(fd, path, 0, f->text, (size_t)f->size, err);
    }
    if (rc == 0 && fsync(fd) < 0) {
        rc = pc_error_os(err, errno, "cannot sync");
        pc_error_path(err, path);
    }
    if (rc == 0)
        pc_sha256_final(h, sha256);
    if (fd >= 0)
        close(fd);
    pc_sha256_free(h);
    pc_free(path);
    return rc;
}
