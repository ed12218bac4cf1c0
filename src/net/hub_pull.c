// SPDX-License-Identifier: Apache-2.0
#include "net/hub_pull.h"

#include "base/file.h"
#include "base/memory.h"
#include "net/hub_blob.h"
#include "weights/hub_cache.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { N_AT_ONCE = 8, MAX_AT_ONCE = 64, SPARE = 16 << 20, WAIT_MS = 100 };

struct pull {
    const struct pc_pull_options *o;
    struct pc_pull_result *result;
    struct pc_hub hub;
    struct pc_http *http;
    struct pc_hub_repo repo;
    bool *keep;
    struct pc_hub_store store;
    struct pc_blob *v;
    size_t n, first; /* all before first are there */
    size_t n_coming;
    uint64_t total, shown; /* bytes for the bar, which never goes back */
};

/* ---- what there is to do ---- */

static int open_http(struct pull *p, struct paco_error *err)
{
    int n = p->o->n_at_once > 0 ? p->o->n_at_once : N_AT_ONCE;
    const struct pc_http_options http = {.max_in_flight = n < MAX_AT_ONCE ? n : MAX_AT_ONCE,
        .max_tries = 4, // without a network, say so soon
        .timeout = -1,  // large files take their time
        .stall_timeout = p->hub.stall_timeout,
        .first_delay = p->o->first_delay};
    return pc_http_open(&http, &p->http, err);
}

static int choose(struct pull *p, struct paco_error *err)
{
    p->keep = pc_alloc_zero(p->repo.n_files + 1, sizeof *p->keep);
    if (!p->keep)
        return pc_error_mem(err, p->repo.n_files, "the choice of files");
    return pc_hub_choose(&p->repo, &p->o->wishes, p->keep, p->o->notes, err);
}

/* Look at what is there of each file that is wanted. */
static int look(struct pull *p, struct paco_error *err)
{
    int rc = 0;
    p->v = pc_alloc_zero(p->repo.n_files + 1, sizeof *p->v);
    if (!p->v)
        return pc_error_mem(err, p->repo.n_files * sizeof *p->v, "the list of files");
    for (size_t i = 0; i < p->repo.n_files && rc == 0; i++) {
        if (!p->keep[i])
            continue;
        struct pc_blob *b = &p->v[p->n++];
        const struct pc_progress_event e = {.phase = "looking at what is there",
            .item = p->repo.files[i].name,
            .done = p->n,
            .total = p->repo.n_files,
            .unit = "files"};
        rc = pc_blob_init(b, &p->store, &p->repo.files[i], p->o->verify, err);
        p->result->size += b->file->size;
        p->total += b->state == PC_BLOB_THERE ? 0 : b->file->size;
        p->result->n_there += b->state == PC_BLOB_THERE;
        p->result->bytes += b->state == PC_BLOB_THERE ? 0 : b->file->size - b->len;
        if (rc == 0 && p->o->verify && pc_progress(p->o->progress, &e))
            rc = pc_error_set(err, PACO_ECANCELLED, "stopped");
    }
    p->result->n_files = p->n;
    return rc;
}

static int check_space(const struct pull *p, struct paco_error *err)
{
    uint64_t need = p->result->bytes, left = pc_hub_store_free_bytes(&p->store);
    if (need == 0 || left == UINT64_MAX || need + SPARE <= left)
        return 0;
    const double unit = need < 1000000000 ? 1e6 : 1e9;
    const char *name = unit == 1e6 ? "MB" : "GB";
    pc_error_set(err, PACO_ENOSPC,
        "%.2f %s are to come, but %.2f %s are free there, and %.2f %s stay free: %.2f %s short",
        (double)need / unit, name, (double)left / unit, name, SPARE / unit, name,
        (double)(need + SPARE - left) / unit, name);
    pc_error_path(err, p->store.hub);
    return PACO_ENOSPC;
}

/* ---- the files ---- */

/* Whether a fault may be passed over for another try: bytes came since the last, or none was wrong before. */
static bool may_try_again(struct pc_blob *b, int rc)
{
    if (rc == PACO_EVERIFY) {
        bool first = !b->again;
        b->again = true;
        return first;
    }
    return rc == PACO_EIO && b->len > b->asked_from;
}

/* The end of a try; fault is what ended it, or without a code. */
static int settle(struct pull *p, struct pc_blob *b, struct paco_error fault, struct paco_error *err)
{
    int rc = fault.code;
    if (rc == 0)
        rc = pc_blob_settle(b, &fault);
    if (rc == 0)
        p->result->n_fetched++;
    bool again = rc < 0 && may_try_again(b, rc);
    if (again && rc == PACO_EVERIFY)
        pc_note(p->o->notes, "%s; once more from its beginning", fault.message);
    pc_blob_end(b);
    if (rc == 0 || again)
        return 0;
    if (err)
        *err = fault;
    return rc;
}

static int ask_for(struct pull *p, struct pc_blob *b, struct paco_error *err)
{
    char *url = pc_hub_file_url(&p->hub, p->o->name, &p->repo, (size_t)(b->file - p->repo.files));
    if (!url)
        return pc_error_mem(err, 0, "a URL");
    b->asked_from = b->len;
    int rc = pc_http_start(p->http,
        &(struct pc_http_request){.url = url,
            .bearer = p->hub.token,
            .tag = (uint64_t)(b - p->v),
            .sink = &b->sink,
            .offset = b->len,
            .is_verified = true},
        err);
    p->n_coming += rc == 0;
    pc_free(url);
    return rc;
}

/* Begin with one file; what an earlier run left may be the whole of it. */
static int begin(struct pull *p, struct pc_blob *b, struct paco_error *err)
{
    char shown[200];
    int rc = pc_blob_begin(b, &p->store, err);
    if (rc == 0 && !b->waited) {
        b->waited = true;
        pc_note(p->o->notes, "%s: another process is downloading it; waiting for that",
            pc_printable(b->file->name, shown, sizeof shown));
    }
    if (rc <= 0)
        return rc;
    if (b->state == PC_BLOB_THERE)
        p->result->n_there++;
    else if (b->len > 0 && b->len == b->file->size)
        return settle(p, b, (struct paco_error){0}, err);
    return b->state == PC_BLOB_THERE ? 0 : ask_for(p, b, err);
}

static int begin_some(struct pull *p, struct paco_error *err)
{
    size_t most = (size_t)(p->o->n_at_once > 0 ? p->o->n_at_once : N_AT_ONCE);
    int rc = 0;
    while (p->first < p->n && p->v[p->first].state == PC_BLOB_THERE)
        p->first++;
    for (size_t i = p->first; i < p->n && p->n_coming < most && rc == 0; i++)
        if (p->v[i].state == PC_BLOB_WANTED)
            rc = begin(p, &p->v[i], err);
    return rc;
}

static int show(struct pull *p)
{
    const char *item = NULL;
    uint64_t done = 0, size = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct pc_blob *b = &p->v[i];
        done += b->state == PC_BLOB_THERE ? b->file->size : b->len;
        size += b->file->size;
        if (b->state == PC_BLOB_COMING && !item)
            item = b->file->name;
    }
    done -= size - p->total; // what was there at the beginning
    p->shown = done > p->shown ? done : p->shown;
    const struct pc_progress_event e = {
        .phase = "downloading", .item = item, .done = p->shown, .total = p->total, .unit = "B"};
    return pc_progress(p->o->progress, &e);
}

/* One answer, or a tenth of a second. */
static int wait_some(struct pull *p, struct paco_error *err)
{
    struct pc_http_reply reply;
    if (p->n_coming == 0) { // all that is left is with other processes
        nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
        return 0;
    }
    int rc = pc_http_wait(p->http, WAIT_MS, &reply, err);
    if (rc <= 0)
        return rc;
    struct paco_error own = reply.err;
    struct pc_blob *b = &p->v[reply.tag];
    p->n_coming--;
    if (own.code < 0 && reply.status >= 400)
        (void)pc_hub_explain(&p->hub, p->o->name, &reply, &own);
    return settle(p, b, own, err);
}

static int fetch(struct pull *p, struct paco_error *err)
{
    int rc = pc_hub_store_make(&p->store, err);
    while (rc == 0) {
        rc = begin_some(p, err);
        if (rc < 0 || p->first == p->n)
            break;
        rc = wait_some(p, err);
        if (rc == 0 && show(p))
            rc = pc_error_set(
                err, PACO_ECANCELLED, "stopped; what came is kept, and the same command goes on");
    }
    for (size_t i = 0; i < p->n; i++)
        p->result->bytes += p->v[i].came;
    return rc;
}

static int publish(struct pull *p, struct paco_error *err)
{
    const char **names = pc_alloc_zero(2 * p->n + 1, sizeof *names), **digests = names + p->n;
    if (!names)
        return pc_error_mem(err, 2 * p->n * sizeof *names, "the list of files");
    for (size_t i = 0; i < p->n; i++) {
        names[i] = p->v[i].file->name;
        digests[i] = p->v[i].file->digest;
    }
    int rc = pc_hub_store_link(&p->store, p->repo.commit, names, digests, p->n, err);
    if (rc == 0)
        rc = pc_hub_store_set_ref(&p->store, p->repo.commit, err);
    pc_free(names);
    return rc;
}

/* ---- the whole of it ---- */

/* What the cache holds, if it is all there. */
static int from_cache(struct pull *p, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    p->result->path = pc_hub_cache_find(p->o->name, err);
    if (!p->result->path) {
        pc_error_prefix(err, "HF_HUB_OFFLINE is set");
        return PACO_ENOENT;
    }
    int rc = pc_dir_list(p->result->path, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct stat st;
        char *path = pc_path_join(p->result->path, names[i]);
        if (!path)
            rc = pc_error_mem(err, 0, "a path");
        else if (stat(path, &st) < 0)
            rc = pc_error_file(err, PACO_ENOENT, path, 0,
                "its blob is missing: pull again with a network (HF_HUB_OFFLINE is set)");
        else if (S_ISREG(st.st_mode))
            p->result->size += (uint64_t)st.st_size;
        pc_free(path);
    }
    pc_names_free(names, n);
    p->result->n_files = p->result->n_there = n;
    snprintf(p->result->commit, sizeof p->result->commit, "%.40s", pc_path_base(p->result->path));
    return rc;
}

static int from_hub(struct pull *p, struct paco_error *err)
{
    int rc = open_http(p, err);
    if (rc == 0)
        rc = pc_hub_ask(&p->hub, p->http, p->o->name, p->o->progress, &p->repo, err);
    if (rc < 0)
        return rc;
    memcpy(p->result->commit, p->repo.commit, sizeof p->result->commit);
    p->result->path = pc_hub_store_snapshot(&p->store, p->repo.commit);
    rc = p->result->path ? choose(p, err) : pc_error_mem(err, 0, "a path");
    if (rc == 0)
        rc = look(p, err);
    if (rc == 0)
        rc = check_space(p, err);
    if (rc < 0 || p->o->dry_run)
        return rc;
    p->result->bytes = 0;
    rc = fetch(p, err);
    return rc == 0 ? publish(p, err) : rc;
}

int pc_hub_pull(const struct pc_pull_options *options, struct pc_pull_result *result, struct paco_error *err)
{
    struct pull p = {.o = options, .result = result};
    *result = (struct pc_pull_result){0};
    int rc =
        pc_hub_is_name(options->name)
            ? pc_hub_init(&p.hub, err)
            : pc_error_set(err, PACO_EINVAL, "'%s' is no name of the kind org/model or org/model@revision%s",
                  options->name,
                  strstr(options->name, "://") ? ": of a page's address, it is what follows the host" : "");
    if (rc == 0)
        rc = pc_hub_store_open(&p.store, options->name, err);
    if (rc == 0)
        rc = p.hub.offline ? from_cache(&p, err) : from_hub(&p, err);
    pc_http_close(p.http);
    for (size_t i = 0; i < p.n; i++)
        pc_blob_close(&p.v[i]);
    pc_free(p.v);
    pc_free(p.keep);
    pc_hub_repo_release(&p.repo);
    pc_hub_store_release(&p.store);
    pc_hub_release(&p.hub);
    if (rc < 0) {
        pc_free(result->path);
        result->path = NULL;
    }
    return rc;
}
