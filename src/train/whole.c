// SPDX-License-Identifier: Apache-2.0
#include "train/whole.h"

#include "base/disk.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFER = 16 << 20, PAGE = 4096 };

/* ---- what is shared ---- */

/* An array of which every rank has its pieces. */
struct pieces {
    enum pc_whole_array array;
    unsigned char *own;
    size_t size;       /* of an entry */
    uint64_t per_unit; /* elements of the flat space an entry stands for */
    bool flat;         /* own is laid out like the flat space, else as pc_shard_local says */
    uint64_t at;       /* in the file */
};

/* Pieces on their way from or to rank 0, a stretch of every rank's at a time. */
struct moving {
    struct pc_ranks *ranks;
    unsigned char *buffer;
    int64_t *bounds; /* (ranks + 1) entries of the buffer */
    int rc;          /* of rank 0's reading or writing, and err: the others go on until it is agreed upon */
    struct paco_error *err;

    int fd; /* gathering: rank 0's file */

    pc_whole_find *find; /* dealing */
    void *ctx;
    const struct pc_params *params;
};

static uint64_t entries(
    const struct pieces *p, const struct pc_shard *s, size_t i_group, int rank, uint64_t *first)
{
    uint64_t end;
    pc_shard_range(s, i_group, rank, first, &end);
    uint64_t n = (end - *first) / p->per_unit;
    *first /= p->per_unit;
    return n;
}

/* Where this rank's entries of a group lie in own. */
static uint64_t own_place(const struct pieces *p, const struct pc_shard *s, size_t i_group, uint64_t first)
{
    return p->flat ? first : s->local[i_group] / p->per_unit;
}

static uint64_t place(uint64_t *at, uint64_t size)
{
    uint64_t here = *at;
    *at += (size + PAGE - 1) / PAGE * PAGE;
    return here;
}

/* An array of n_flat elements, per_unit to an entry of size bytes. */
static struct pieces pieces_of(void *own, size_t size, uint64_t per_unit, uint64_t n_flat, uint64_t *file)
{
    return (struct pieces){
        .own = own, .size = size, .per_unit = per_unit, .at = place(file, n_flat / per_unit * size)};
}

/* The moments, if asked for, and the weights, if asked for; size 0 for what there is not. Returns bytes of
 * all. */
static uint64_t lay_out(
    const struct pc_trainer *t, bool moments, bool weights, struct pieces p[PC_WHOLE_ARRAYS])
{
    uint64_t n = t->setup.params->n_flat, size = 0;
    const struct pc_optimizer *o = t->optimizer;
    size_t bytes = pc_optim_states_size(o->options.states);
    bool flat = !pc_ranks_shard(t->setup.ranks);
    memset(p, 0, PC_WHOLE_ARRAYS * sizeof *p);
    if (moments) {
        p[PC_WHOLE_M] = pieces_of(o->m.data, bytes, 1, n, &size);
        p[PC_WHOLE_V] = pieces_of(o->v.data, bytes, 1, n, &size);
    }
    if (moments && o->m.scale) {
        p[PC_WHOLE_M_SCALE] = pieces_of(o->m.scale, sizeof(float), PC_PARAM_ALIGN, n, &size);
        p[PC_WHOLE_V_SCALE] = pieces_of(o->v.scale, sizeof(float), PC_PARAM_ALIGN, n, &size);
    }
    if (weights)
        p[PC_WHOLE_W] = pieces_of(t->setup.params->w, sizeof(float), 1, n, &size);
    for (int i = 0; i < PC_WHOLE_ARRAYS; i++) {
        p[i].array = (enum pc_whole_array)i;
        p[i].flat = flat || i == PC_WHOLE_W;
    }
    return size;
}

uint64_t pc_whole_file_size(
    const struct pc_ranks *ranks, const struct pc_params *params, enum pc_optim_states states)
{
    uint64_t n = params->n_flat;
    if (!pc_ranks_shard(ranks))
        return 0;
    return pc_optimizer_size(n, states) + (ranks->zero >= 3 ? n * sizeof(float) : 0) +
           (uint64_t)PC_WHOLE_ARRAYS * PAGE;
}

static int make_buffer(struct moving *g, struct paco_error *err)
{
    g->buffer = pc_alloc_pages(BUFFER);
    g->bounds = pc_alloc((size_t)g->ranks->size + 1, sizeof *g->bounds);
    int rc = g->buffer && g->bounds ? 0 : pc_error_mem(err, BUFFER, "what ranks keep shares of");
    return pc_ranks_agree(g->ranks, rc, err);
}

/* Cut the buffer for entries [at, at + stretch) of every rank's piece of a group. Returns where, in own, this
 * rank's are. */
static uint64_t cut(struct moving *g, const struct pieces *p, size_t i_group, uint64_t at, uint64_t stretch)
{
    const struct pc_shard *s = &g->ranks->shard;
    uint64_t first, own = 0;
    g->bounds[0] = 0;
    for (int k = 0; k < s->size; k++) {
        uint64_t n = entries(p, s, i_group, k, &first), left = n > at ? n - at : 0;
        g->bounds[k + 1] = g->bounds[k] + (int64_t)(left < stretch ? left : stretch);
        if (k == s->rank)
            own = own_place(p, s, i_group, first) + at;
    }
    return own;
}

static unsigned char *piece_in_buffer(const struct moving *g, const struct pieces *p, int rank, size_t *n)
{
    *n = (size_t)(g->bounds[rank + 1] - g->bounds[rank]);
    return g->buffer + (size_t)g->bounds[rank] * p->size;
}

typedef int move_fn(struct moving *g, const struct pieces *p, size_t i_group, uint64_t at, uint64_t own,
    struct paco_error *err);

/* All stretches of all groups. */
static int move_pieces(struct moving *g, const struct pieces *p, move_fn *move, struct paco_error *err)
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
            rc = move(g, p, i, at, cut(g, p, i, at, stretch), err);
    }
    return rc;
}

/* ---- gathering ---- */

static int gather_stretch(struct moving *g, const struct pieces *p, size_t i_group, uint64_t at, uint64_t own,
    struct paco_error *err)
{
    const struct pc_shard *s = &g->ranks->shard;
    uint64_t first;
    int64_t ticket;
    size_t n;
    unsigned char *to = piece_in_buffer(g, p, s->rank, &n);
    memcpy(to, p->own + own * p->size, n * p->size);
    int rc = pc_collect_gather_to(g->ranks->collect, 0, g->buffer, g->bounds, p->size, &ticket, err);
    if (rc == 0)
        rc = pc_collect_wait(g->ranks->collect, ticket, err);
    for (int k = 0; k < s->size && rc == 0 && g->fd >= 0 && g->rc == 0; k++) {
        entries(p, s, i_group, k, &first);
        const unsigned char *from = piece_in_buffer(g, p, k, &n);
        g->rc = pc_fd_write(g->fd, "", p->at + (first + at) * p->size, from, n * p->size, g->err);
    }
    return rc;
}

/* A file without a name; of file systems that know none, one whose name is gone at once. */
static int open_nameless(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOSYS))
        return fd;
    char *path = pc_path_join(dir, ".paco-gather-XXXXXX");
    fd = path ? mkostemp(path, O_CLOEXEC) : -1;
    if (fd >= 0)
        unlink(path);
    pc_free(path);
    return fd;
}

static int open_file(const char *dir, uint64_t size, struct paco_error *err)
{
    int fd = open_nameless(dir), failed = fd < 0 ? errno : pc_disk_reserve(fd, size);
    if (failed == 0 && ftruncate(fd, (off_t)size) < 0)
        failed = errno;
    if (failed == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    pc_error_os(err, failed, "a file of %llu bytes for what ranks keep shares of cannot be made",
        (unsigned long long)size);
    pc_error_path(err, dir);
    return -1;
}

static int map_file(
    struct pc_whole *out, const struct pieces *p, int fd, uint64_t size, struct paco_error *err)
{
    void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return pc_error_os(err, errno, "what ranks keep shares of cannot be mapped");
    void *at[PC_WHOLE_ARRAYS];
    for (int i = 0; i < PC_WHOLE_ARRAYS; i++)
        at[i] = p[i].size ? (unsigned char *)map + p[i].at : NULL;
    out->map = map;
    out->map_size = (size_t)size;
    out->m = (struct pc_optim_moment){.data = at[PC_WHOLE_M], .scale = at[PC_WHOLE_M_SCALE]};
    out->v = (struct pc_optim_moment){.data = at[PC_WHOLE_V], .scale = at[PC_WHOLE_V_SCALE]};
    if (at[PC_WHOLE_W])
        out->w = at[PC_WHOLE_W];
    return 0;
}

static int gather(
    struct pc_whole *out, const struct pc_trainer *t, bool moments, const char *dir, struct paco_error *err)
{
    struct pc_ranks *ranks = t->setup.ranks;
    struct pieces pieces[PC_WHOLE_ARRAYS];
    struct moving g = {.ranks = ranks, .fd = -1, .err = err};
    uint64_t size = lay_out(t, moments, ranks->zero >= 3, pieces);
    int rc = make_buffer(&g, err);
    if (rc == 0) {
        if (ranks->rank == 0 && (g.fd = open_file(dir, size, err)) < 0)
            rc = err && err->code ? err->code : PACO_EIO;
        rc = pc_ranks_agree(ranks, rc, err);
    }
    for (int i = 0; i < PC_WHOLE_ARRAYS && rc == 0; i++)
        if (pieces[i].size)
            rc = move_pieces(&g, &pieces[i], gather_stretch, err);
    if (rc == 0) {
        rc = g.rc;
        if (rc == 0 && g.fd >= 0)
            rc = map_file(out, pieces, g.fd, size, err);
        rc = pc_ranks_agree(ranks, rc, err);
    }
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

/* ---- dealing ---- */

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

/* Entries [first, first + n) of a whole array: those of tensors, and zeros between them. */
static int read_flat(const struct moving *g, const struct pieces *p, uint64_t first, uint64_t n,
    unsigned char *out, struct paco_error *err)
{
    int rc = 0;
    memset(out, 0, (size_t)n * p->size);
    for (size_t i = 0; i < g->params->n && rc == 0; i++) {
        const struct pc_param *v = &g->params->v[i];
        uint64_t begin = v->offset / p->per_unit, end = begin + (v->n + p->per_unit - 1) / p->per_unit,
                 a = begin > first ? begin : first, b = end < first + n ? end : first + n;
        if (a < b)
            rc = read_entries(
                g->find(g->ctx, i, p->array), p->size, a - begin, b - a, out + (a - first) * p->size, err);
    }
    return rc;
}

static int deal_stretch(struct moving *g, const struct pieces *p, size_t i_group, uint64_t at, uint64_t own,
    struct paco_error *err)
{
    const struct pc_shard *s = &g->ranks->shard;
    uint64_t first;
    int64_t ticket;
    size_t n;
    for (int k = 0; k < s->size && s->rank == 0 && g->rc == 0; k++) {
        entries(p, s, i_group, k, &first);
        unsigned char *to = piece_in_buffer(g, p, k, &n);
        g->rc = read_flat(g, p, first + at, n, to, g->err);
    }
    int rc = pc_collect_scatter(g->ranks->collect, 0, g->buffer, g->bounds, p->size, &ticket, err);
    if (rc == 0)
        rc = pc_collect_wait(g->ranks->collect, ticket, err);
    if (rc == 0) {
        const unsigned char *from = piece_in_buffer(g, p, s->rank, &n);
        memcpy(p->own + own * p->size, from, n * p->size);
    }
    return rc;
}

/* Everyone's pieces of an array that all have whole. */
static int spread_pieces(struct moving *g, const struct pieces *p, struct paco_error *err)
{
    const struct pc_shard *s = &g->ranks->shard;
    int64_t ticket = 0;
    int rc = 0;
    for (size_t i = 0; i < s->n_groups && rc == 0; i++) {
        pc_shard_bounds(s, i, g->bounds);
        for (int k = 0; k <= s->size; k++)
            g->bounds[k] /= (int64_t)p->per_unit;
        rc = pc_collect_gather(g->ranks->collect, p->own, g->bounds, p->size, &ticket, err);
    }
    return rc < 0 ? rc : pc_collect_wait(g->ranks->collect, ticket, err);
}

int pc_whole_deal(struct pc_trainer *t, pc_whole_find *find, void *ctx, struct paco_error *err)
{
    struct pc_ranks *ranks = t->setup.ranks;
    struct pieces pieces[PC_WHOLE_ARRAYS];
    struct moving g = {
        .ranks = ranks, .fd = -1, .err = err, .find = find, .ctx = ctx, .params = t->setup.params};
    lay_out(t, true, true, pieces);
    int rc = make_buffer(&g, err);
    for (int i = 0; i < PC_WHOLE_ARRAYS && rc == 0; i++) {
        if (!pieces[i].size)
            continue;
        rc = move_pieces(&g, &pieces[i], deal_stretch, err);
        if (rc == 0 && pieces[i].flat && (ranks->zero == 0 || i != PC_WHOLE_W))
            rc = spread_pieces(&g, &pieces[i], err);
    }
    if (rc == 0 && ranks->zero > 0)
        rc = pc_ranks_spread(ranks, t->setup.params->w, err);
    if (rc == 0)
        rc = pc_ranks_agree(ranks, g.rc, err);
    pc_free(g.buffer);
    pc_free(g.bounds);
    return rc;
}
