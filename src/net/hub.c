// SPDX-License-Identifier: Apache-2.0
#include "net/hub.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Bytes: a URL, a token, a file's name. MAX_VALUES: in the hub's answer, about 100 bytes of memory each. */
enum { MAX_URL = 8192, MAX_TOKEN = 4096, MAX_NAME = 1024, MAX_VALUES = 1 << 20 };

/* ---- what the environment says ---- */

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static bool env_is_true(const char *name)
{
    static const char *const words[] = {"1", "on", "yes", "true"};
    const char *v = env(name);
    for (size_t i = 0; v && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(v, words[i]) == 0)
            return true;
    return false;
}

static char *token_path(void)
{
    const char *path = env("HF_TOKEN_PATH"), *home;
    if (path)
        return pc_strdup(path);
    if ((home = env("HF_HOME")))
        return pc_path_join(home, "token");
    if ((home = env("XDG_CACHE_HOME")))
        return pc_path_join(home, "huggingface/token");
    return (home = env("HOME")) ? pc_path_join(home, ".cache/huggingface/token") : NULL;
}

/* The one word of text, as pasted with white space around it; NULL for none. */
static int take_token(const char *text, size_t len, char **out, struct paco_error *err)
{
    pc_utf8_strip(&text, &len);
    if (len == 0)
        return 0;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return pc_error_set(err, PACO_EFORMAT, "the token of the hub has characters that no token has");
    *out = pc_strndup(text, len);
    return *out ? 0 : pc_error_mem(err, len, "a token");
}

static int read_token_file(char **out, struct paco_error *err)
{
    char *path = token_path();
    struct pc_buf b = {0};
    int rc = 0;
    if (path && pc_path_exists(path)) {
        rc = pc_file_slurp(path, MAX_TOKEN, &b, err);
        if (rc == 0)
            rc = take_token(b.data ? b.data : "", b.len, out, err);
        if (rc < 0)
            pc_error_path(err, path);
    }
    pc_buf_release(&b);
    pc_free(path);
    return rc;
}

static int find_token(char **out, struct paco_error *err)
{
    const char *token = env("HF_TOKEN");
    if (!token)
        token = env("HUGGING_FACE_HUB_TOKEN");
    if (token)
        return take_token(token, strlen(token), out, err);
    return env_is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? 0 : read_token_file(out, err);
}

int pc_hub_init(struct pc_hub *hub, struct paco_error *err)
{
    const char *endpoint = env("HF_ENDPOINT"), *timeout = env("HF_HUB_DOWNLOAD_TIMEOUT");
    double seconds = timeout ? strtod(timeout, NULL) : 0;
    *hub = (struct pc_hub){0};
    if (endpoint && strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
        return pc_error_set(
            err, PACO_EINVAL, "HF_ENDPOINT is '%s', no URL of the kind https://HOST", endpoint);
    *hub = (struct pc_hub){.offline = env_is_true("HF_HUB_OFFLINE") || env_is_true("TRANSFORMERS_OFFLINE"),
        .stall_timeout = seconds > 0 && seconds < 1e6 ? seconds : 60};
    hub->endpoint = pc_strdup(endpoint ? endpoint : "https://huggingface.co");
    if (!hub->endpoint)
        return pc_error_mem(err, 64, "a URL");
    for (size_t n = strlen(hub->endpoint); n > 0 && hub->endpoint[n - 1] == '/'; n--)
        hub->endpoint[n - 1] = '\0';
    pc_http_shown_url(hub->endpoint, hub->shown, sizeof hub->shown);
    int rc = find_token(&hub->token, err);
    if (rc < 0)
        pc_hub_release(hub);
    return rc;
}

void pc_hub_release(struct pc_hub *hub)
{
    pc_free(hub->endpoint);
    pc_free(hub->token);
    *hub = (struct pc_hub){0};
}

/* ---- addresses ---- */

/* Percent-encoded, but for letters, digits, "-._~" and, where they part folders, slashes. */
static void put_quoted(struct pc_buf *b, const char *s, size_t len, bool slashes)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < len; i++) {
        if (strchr(plain, s[i]) || (slashes && s[i] == '/'))
            pc_buf_putc(b, s[i]);
        else
            pc_buf_printf(b, "%%%02X", (unsigned char)s[i]);
    }
}

static size_t repo_len(const char *name)
{
    return strcspn(name, "@");
}

static const char *revision_of(const char *name)
{
    size_t n = repo_len(name);
    return name[n] == '@' ? name + n + 1 : "main";
}

static char *info_url(const struct pc_hub *hub, const char *name)
{
    struct pc_buf b;
    const char *revision = revision_of(name);
    pc_buf_init(&b, MAX_URL);
    pc_buf_printf(&b, "%s/api/models/", hub->endpoint);
    put_quoted(&b, name, repo_len(name), true);
    pc_buf_puts(&b, "/revision/");
    put_quoted(&b, revision, strlen(revision), false);
    pc_buf_puts(&b, "?blobs=true");
    return pc_buf_detach(&b);
}

char *pc_hub_file_url(
    const struct pc_hub *hub, const char *name, const struct pc_hub_repo *repo, size_t i_file)
{
    struct pc_buf b;
    const char *file = repo->files[i_file].name;
    pc_buf_init(&b, MAX_URL);
    pc_buf_printf(&b, "%s/", hub->endpoint);
    put_quoted(&b, name, repo_len(name), true);
    pc_buf_printf(&b, "/resolve/%s/", repo->commit);
    put_quoted(&b, file, strlen(file), true);
    return pc_buf_detach(&b);
}

/* ---- the answer ---- */

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static bool is_safe_name(const char *name, size_t len)
{
    if (len == 0 || len > MAX_NAME || strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '\\')
            return false;
    for (const char *part = name;; part++) {
        char one[256];
        size_t n = strcspn(part, "/");
        if (n >= sizeof one)
            return false;
        memcpy(one, part, n);
        one[n] = '\0';
        if (!pc_path_is_plain(one))
            return false;
        part += n;
        if (!*part)
            return true;
    }
}

/* The SHA-256 and size of what git-lfs keeps apart, else git's own name for the file. */
static int take_file(const json_t *sibling, struct pc_hub_file *f, struct paco_error *err)
{
    const char *name, *digest = NULL;
    size_t len;
    char shown[200];
    int64_t size = 0;
    if (!json_is_object(sibling))
        return pc_error_set(err, PACO_EFORMAT, "its list of files holds %s", pc_json_kind(sibling));
    int rc = pc_json_get_text(sibling, "rfilename", &name, &len, err);
    if (rc < 0)
        return rc;
    pc_printable(name, shown, sizeof shown);
    if (!is_safe_name(name, len))
        return pc_error_set(
            err, PACO_EFORMAT, "a file called '%s': no name that is safe to write; nothing was", shown);
    const json_t *lfs = json_object_get(sibling, "lfs"), *from = json_is_object(lfs) ? lfs : sibling;
    bool is_lfs = from == lfs;
    rc = pc_json_get_str(from, is_lfs ? "sha256" : "blobId", &digest, err);
    if (rc == 0)
        rc = pc_json_get_i64(from, "size", 0, (int64_t)1 << 50, &size, err);
    if (rc == 0 && !is_hex(digest, is_lfs ? 64 : 40))
        rc = pc_error_set(err, PACO_EFORMAT, "its digest is none");
    if (rc < 0) {
        pc_error_prefix(err, "file '%s'", shown);
        return rc;
    }
    f->name = name;
    f->size = (uint64_t)size;
    memcpy(f->digest, digest, strlen(digest) + 1);
    return 0;
}

/* A slash comes before everything else, so that what is in a folder follows right behind its name. */
static int by_name(const void *a, const void *b)
{
    const char *x = ((const struct pc_hub_file *)a)->name, *y = ((const struct pc_hub_file *)b)->name;
    while (*x && *x == *y) {
        x++;
        y++;
    }
    int cx = *x == '/' ? 1 : (unsigned char)*x, cy = *y == '/' ? 1 : (unsigned char)*y;
    return cx - cy;
}

static int check_names(const struct pc_hub_repo *repo, struct paco_error *err)
{
    char shown[200];
    for (size_t i = 1; i < repo->n_files; i++) {
        const char *before = repo->files[i - 1].name, *name = repo->files[i].name;
        size_t n = strlen(before);
        if (strncmp(name, before, n) == 0 && (name[n] == '\0' || name[n] == '/'))
            return pc_error_set(err, PACO_EFORMAT, "two files called '%s', or one that is a folder, too",
                pc_printable(before, shown, sizeof shown));
    }
    return 0;
}

/* The names, moved out of the JSON they were read from. */
static int keep_names(struct pc_hub_repo *repo, struct paco_error *err)
{
    size_t size = 1;
    for (size_t i = 0; i < repo->n_files; i++)
        size += strlen(repo->files[i].name) + 1;
    char *at = repo->names = pc_alloc(size, 1);
    if (!at)
        return pc_error_mem(err, size, "names of files");
    for (size_t i = 0; i < repo->n_files; i++) {
        size_t n = strlen(repo->files[i].name) + 1;
        memcpy(at, repo->files[i].name, n);
        repo->files[i].name = at;
        at += n;
    }
    return 0;
}

static int take_repo(const json_t *root, struct pc_hub_repo *repo, struct paco_error *err)
{
    const char *commit;
    const json_t *files = json_object_get(root, "siblings");
    size_t n = json_array_size(files);
    int rc = pc_json_get_str(root, "sha", &commit, err);
    if (rc < 0)
        return rc;
    if (!is_hex(commit, PC_HUB_COMMIT - 1))
        return pc_error_set(err, PACO_EFORMAT, "'sha' is no commit");
    if (!json_is_array(files))
        return pc_error_set(err, PACO_EFORMAT, "'siblings' is %s, a list is expected",
            files ? pc_json_kind(files) : "missing");
    if (n >= PC_HUB_MAX_FILES)
        return pc_error_set(
            err, PACO_ELIMIT, "%zu files or more: repositories of that size are not for this", n);
    repo->files = pc_alloc_zero(n ? n : 1, sizeof *repo->files);
    if (!repo->files)
        return pc_error_mem(err, n * sizeof *repo->files, "the list of files");
    memcpy(repo->commit, commit, PC_HUB_COMMIT);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = take_file(json_array_get(files, i), &repo->files[repo->n_files++], err);
    if (rc < 0)
        return rc;
    qsort(repo->files, n, sizeof *repo->files, by_name);
    rc = check_names(repo, err);
    return rc < 0 ? rc : keep_names(repo, err);
}

int pc_hub_parse(
    const char *body, size_t len, const char *from, struct pc_hub_repo *out, struct paco_error *err)
{
    json_t *root = NULL;
    char shown[200];
    *out = (struct pc_hub_repo){0};
    int rc = 0;
    if (pc_json_count_values(body, len) > MAX_VALUES)
        rc = pc_error_set(err, PACO_ELIMIT, "an answer of more than %d values", MAX_VALUES);
    else if (pc_json_parse(body, len, NULL, 0, &root, err) < 0 || !json_is_object(root))
        rc = pc_error_set(err, PACO_EFORMAT, "is no answer of a hub: %s",
            pc_http_excerpt(body, len, NULL, shown, sizeof shown));
    else
        rc = take_repo(root, out, err);
    json_decref(root);
    if (rc < 0) {
        pc_error_prefix(err, "%s", from);
        pc_hub_repo_release(out);
    }
    return rc;
}

void pc_hub_repo_release(struct pc_hub_repo *repo)
{
    pc_free(repo->files);
    pc_free(repo->names);
    *repo = (struct pc_hub_repo){0};
}

/* ---- errors ---- */

/* The hub answers 401 for what does not exist as for what is private, lest strangers learn names. */
static int set_refused(const struct pc_hub *hub, const char *name, int status, struct paco_error *err)
{
    if (!hub->token)
        return pc_error_set(err, status == 404 ? PACO_ENOENT : PACO_EINVAL,
            "there is no model '%.*s', or it is private: check the name; for a private model set HF_TOKEN "
            "(%s/settings/tokens)",
            (int)repo_len(name), name, hub->shown);
    if (status == 401)
        return pc_error_set(err, PACO_EINVAL,
            "the hub does not take your token: it is wrong or has expired; make one at %s/settings/tokens "
            "and "
            "set HF_TOKEN",
            hub->shown);
    return pc_error_set(err, status == 404 ? PACO_ENOENT : PACO_EINVAL,
        "there is no model '%.*s', or your token may not see it: check the name, and what the token may "
        "read (%s/settings/tokens)",
        (int)repo_len(name), name, hub->shown);
}

static int set_gated(const struct pc_hub *hub, const char *name, struct paco_error *err)
{
    int n = (int)repo_len(name);
    if (!hub->token)
        return pc_error_set(err, PACO_EINVAL,
            "%.*s is gated: accept its terms at %s/%.*s, make a token at %s/settings/tokens, set HF_TOKEN, "
            "and try again",
            n, name, hub->shown, n, name, hub->shown);
    return pc_error_set(err, PACO_EINVAL,
        "%.*s is gated, and your token may not read it yet: ask for access at %s/%.*s, and try again when "
        "it is granted",
        n, name, hub->shown, n, name);
}

int pc_hub_explain(
    const struct pc_hub *hub, const char *name, const struct pc_http_reply *reply, struct paco_error *err)
{
    const char *what = reply->error_name;
    if (strcmp(what, "GatedRepo") == 0 || (reply->status == 403 && strcasestr(reply->body, "gated")))
        return set_gated(hub, name, err);
    if (strcmp(what, "RevisionNotFound") == 0)
        return pc_error_set(err, PACO_ENOENT, "%.*s has no revision '%s': %s/%.*s shows its branches",
            (int)repo_len(name), name, revision_of(name), hub->shown, (int)repo_len(name), name);
    if (reply->status == 401 || reply->status == 403 || reply->status == 404)
        return set_refused(hub, name, reply->status, err);
    if (err)
        *err = reply->err;
    return reply->err.code;
}

int pc_hub_ask(const struct pc_hub *hub, struct pc_http *http, const char *name,
    const struct pc_progress *progress, struct pc_hub_repo *out, struct paco_error *err)
{
    const struct pc_progress_event asking = {.phase = "asking the hub", .unit = "B"};
    struct pc_http_reply reply;
    char *url = info_url(hub, name), shown[300];
    *out = (struct pc_hub_repo){0};
    if (!url)
        return pc_error_set(err, PACO_ELIMIT, "HF_ENDPOINT is too long");
    int rc = pc_http_start(http, &(struct pc_http_request){.url = url, .bearer = hub->token}, err);
    while (rc == 0) {
        rc = pc_http_wait(http, 100, &reply, err);
        if (rc == 0 && pc_progress(progress, &asking))
            rc = pc_error_set(err, PACO_ECANCELLED, "stopped");
    }
    if (rc > 0)
        rc = reply.err.code < 0
                 ? pc_hub_explain(hub, name, &reply, err)
                 : pc_hub_parse(reply.body, reply.len, pc_http_shown_url(url, shown, sizeof shown), out, err);
    pc_free(url);
    return rc;
}
