// SPDX-License-Identifier: Apache-2.0
#include "train/whole.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFER = 16 << 20, PAGE = 4096 };

/* ---- gathering ---- */

/* An array of which every rank has its pieces. */
struct pieces {
    const unsigned char *own;
    size_t size;       /* of an entry */
    uint64_t per_unit; /* elements of the flat space an entry stands for */
    bool flat;         /* own is laid out like the flat space, else as pc_shard_local says */
    uint64_t at;       /* in the file */
};

struct gathering {
    struct pc_ranks *ranks;
    int fd; /* -1: not rank 0, or it has failed */
    unsigned char *buffer;
    int64_t *bounds; /* (ranks + 1) entries of the buffer */
    int rc;          /* of writing */
    struct paco_error *err;
};

static void write_at(struct gathering *g, const unsigned char *bytes, size_t n, uint64_t at)
{
    while (n && g->rc == 0 && g->fd >= 0) {
        ssize_t done = pwrite(g->fd, bytes, n, (off_t)at);
        if (done < 0 && errno != EINTR)
            g->rc = pc_error_os(g->err, errno, "gathering what ranks keep shares of");
        size_t step = done > 0 ? (size_t)done : 0;
        bytes += step;
        n -= step;
        at += step;
    }
}

static uint64_t entries(
    const struct pieces *p, const struct pc_shard *s, size_t i_group, int rank, uint64_t *first)
{
    uint64_t end;
    pc_shard_range(s, i_group, rank, first, &end);
    uint64_t n = (end - *first) / p->per_unit;
    *first /= p->per_unit;
    return n;
}

/* Entries [at, at + stretch) of every rank's piece of a group. */
static int gather_stretch(struct gathering *g, const struct pieces *p, size_t i_group, uint64_t at,
    uint64_t stretch, struct paco_error *err)
{
    const struct pc_shard *s = &g->ranks->shard;
    uint64_t first;
    int64_t ticket;
    for (int k = 0; k < s->size; k++) {
        uint64_t n = entries(p, s, i_group, k, &first), left = n > at ? n - at : 0;
        g->bounds[k] = k ? g->bounds[k] : 0;
        g->bounds[k + 1] = g->bounds[k] + (int64_t)(left < stretch ? left : stretch);
        uint64_t from = p->flat ? first : s->local[i_group] / p->per_unit;
        if (k == s->rank)
            memcpy(g->buffer + (size_t)g->bounds[k] * p->size, p->own + (from + at) * p->size,
                (size_t)(g->bounds[k + 1] - g->bounds[k]) * p->size);
    }
    int rc = pc_collect_gather_to(g->ranks->collect, 0, g->buffer, g->bounds, p->size, &ticket, err);
    if (rc == 0)
        rc = pc_collect_wait(g->ranks->collect, ticket, err);
    for (int k = 0; k < s->size && rc == 0; k++) {
        entries(p, s, i_group, k, &first);
        write_at(g, g->buffer + (size_t)g->bounds[k] * p->size,
            (size_t)(g->bounds[k + 1] - g->bounds[k]) * p->size, p->at + (first + at) * p->size);
    }
    return rc;
}

static int gather_pieces(struct gathering *g, const struct pieces *p, struct paco_error *err)
{
    const struct pc_shard *s = &g->ranks->shard;
    uint64_t stretch = BUFFER / p->size / (uint64_t)s->size, first;
    int rc = 0;
    for (size_t i = 0; i < s->n_groups; i++) {
        uint64_t most = 0;
        for (int k = 0; k < s->size; k++) {
            uint64_t n = entries(p, s, i, k, &first);
            most = n > most ? n : most;
        }
        for (uint64_t at = 0; at < most && rc == 0; at += stretch)
            rc = gather_stretch(g, p, i, at, stretch, err);
    }
    return rc;
}

static int open_file(const char *dir, uint64_t size, struct paco_error *err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        int rc = posix_fallocate(fd, 0, (off_t)size);
        if (rc == 0)
            return fd;
        close(fd);
        errno = rc;
    }
    pc_error_os(err, errno, "a file of %llu bytes for what ranks keep shares of cannot be made",
        (unsigned long long)size);
    pc_error_path(err, dir);
    return -1;
}

static uint64_t place(uint64_t *at, uint64_t size)
{
    uint64_t here = *at;
    *at += (size + PAGE - 1) / PAGE * PAGE;
    return here;
}

enum { M, V, M_SCALE, V_SCALE, W, N_ARRAYS };

/* What of t is shared: size 0 for what is not. Returns bytes of the file. */
static uint64_t lay_out(const struct pc_trainer *t, bool moments, struct pieces p[N_ARRAYS])
{
    uint64_t n = t->setup.params->n_flat, size = 0, blocks = n / PC_PARAM_ALIGN;
    const struct pc_optimizer *o = t->optimizer;
    size_t bytes = pc_optim_states_size(o->options.states);
    memset(p, 0, N_ARRAYS * sizeof *p);
    if (moments) {
        p[M] = (struct pieces){.own = o->m.data, .size = bytes, .per_unit = 1, .at = place(&size, n * bytes)};
        p[V] = (struct pieces){.own = o->v.data, .size = bytes, .per_unit = 1, .at = place(&size, n * bytes)};
    }
    if (moments && o->m.scale) {
        const struct pieces scale = {.size = sizeof(float), .per_unit = PC_PARAM_ALIGN};
        p[M_SCALE] = p[V_SCALE] = scale;
        p[M_SCALE].own = (const unsigned char *)o->m.scale;
        p[V_SCALE].own = (const unsigned char *)o->v.scale;
        p[M_SCALE].at = place(&size, blocks * sizeof(float));
        p[V_SCALE].at = place(&size, blocks * sizeof(float));
    }
    if (t->setup.ranks->zero >= 3)
        p[W] = (struct pieces){.own = (const unsigned char *)t->setup.params->w,
            .size = sizeof(float),
            .per_unit = 1,
            .flat = true,
            .at = place(&size, n * sizeof(float))};
    return size;
}

static int map_file(
    struct pc_whole *out, const struct pieces *p, int fd, uint64_t size, struct paco_error *err)
{
    void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return pc_error_os(err, errno, "what ranks keep shares of cannot be mapped");
    unsigned char *at = map;
    out->map = map;
    out->map_size = (size_t)size;
    out->m.data = p[M].size ? at + p[M].at : NULL;
    out->v.data = p[V].size ? at + p[V].at : NULL;
    out->m.scale = p[M_SCALE].size ? (float *)(void *)(at + p[M_SCALE].at) : NULL;
    out->v.scale = p[V_SCALE].size ? (float *)(void *)(at + p[V_SCALE].at) : NULL;
    if (p[W].size)
        out->w = (float *)(void *)(at + p[W].at);
    return 0;
}

static int gather(
    struct pc_whole *out, const struct pc_trainer *t, bool moments, const char *dir, struct paco_error *err)
{
    struct pc_ranks *ranks = t->setup.ranks;
    struct pieces pieces[N_ARRAYS];
    struct gathering g = {.ranks = ranks, .fd = -1, .err = err};
    uint64_t size = lay_out(t, moments, pieces);
    int rc = 0;
    g.buffer = pc_alloc_pages(BUFFER);
    g.bounds = pc_alloc((size_t)ranks->size + 1, sizeof *g.bounds);
    if (!g.buffer || !g.bounds)
        rc = pc_error_mem(err, BUFFER, "what ranks keep shares of");
    rc = pc_ranks_follow(ranks, rc, err);
    if (rc == 0 && ranks->rank == 0 && (g.fd = open_file(dir, size, err)) < 0)
        g.rc = err && err->code ? err->code : PACO_EIO;
    for (int i = 0; i < N_ARRAYS && rc == 0; i++)
        if (pieces[i].size)
            rc = gather_pieces(&g, &pieces[i], err);
    if (rc == 0)
        rc = g.rc;
    if (rc == 0 && g.fd >= 0)
        rc = map_file(out, pieces, g.fd, size, err);
    if (g.fd >= 0)
        close(g.fd);
    pc_free(g.buffer);
    pc_free(g.bounds);
    return rc;
}

int pc_whole_gather(struct pc_whole *out, const struct pc_trainer *t, const char *dir, struct paco_error *err)
{
    *out = (struct pc_whole){.w = t->setup.params->w, .m = t->optimizer->m, .v = t->optimizer->v};
    return pc_ranks_shard(t->setup.ranks) ? gather(out, t, true, dir, err) : 0;
}

int pc_whole_gather_weights(
    struct pc_whole *out, const struct pc_trainer *t, const char *dir, struct paco_error *err)
{
    *out = (struct pc_whole){.w = t->setup.params->w};
    return t->setup.ranks && t->setup.ranks->zero >= 3 ? gather(out, t, false, dir, err) : 0;
}

void pc_whole_release(struct pc_whole *whole)
{
    if (whole->map)
        munmap(whole->map, whole->map_size);
    *whole = (struct pc_whole){.map = NULL};
}

/* ---- loading ---- */

/* Entries [first, first + n) of a tensor, by way of the rows that hold them. */
static int read_entries(const struct pc_tensor *t, size_t size, uint64_t first, uint64_t n,
    unsigned char *out, struct paco_error *err)
{
    uint64_t row0 = first / t->row_elems, row_end = (first + n + t->row_elems - 1) / t->row_elems;
    unsigned char *rows = pc_alloc((size_t)(row_end - row0), (size_t)t->row_size);
    if (!rows)
        return pc_error_mem(err, (row_end - row0) * t->row_size, "rows of a checkpoint");
    int rc = pc_tensor_read(t, row0, row_end - row0, rows, err);
    if (rc == 0)
        memcpy(out, rows + (first - row0 * t->row_elems) * size, (size_t)n * size);
    pc_free(rows);
    return rc;
}

int pc_whole_read_share(struct pc_trainer *t, struct pc_optim_moment *moment, bool scale,
    const struct pc_param *param, const struct pc_tensor *from, struct paco_error *err)
{
    const struct pc_shard *s = pc_ranks_shard(t->setup.ranks);
    size_t size = scale ? sizeof(float) : pc_optim_states_size(t->optimizer->options.states);
    unsigned char *own = scale ? (unsigned char *)moment->scale : moment->data;
    uint64_t unit = scale ? PC_PARAM_ALIGN : 1, end = param->offset + param->n;
    int rc = 0;
    for (uint64_t c = param->offset / PC_PARAM_CHUNK; c * PC_PARAM_CHUNK < end && rc == 0; c++) {
        uint64_t local, begin = c * PC_PARAM_CHUNK, a = begin, b = begin + PC_PARAM_CHUNK;
        if (!pc_shard_owns(s, c, &local))
            continue;
        a = a > param->offset ? a : param->offset;
        b = b < end ? b : end;
        rc = read_entries(from, size, (a - param->offset) / unit, (b - a + unit - 1) / unit,
            own + (local + a - begin) / unit * size, err);
    }
    return rc;
}
