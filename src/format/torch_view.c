// SPDX-License-Identifier: Apache-2.0
/* Strided views read by rows without the storage ever being in memory whole.
 *
 * The rows wanted are a box of dimensions, each with a count, a step in the storage and a step in the output.
 * Sorted by the step in the storage, largest first, the box is cut along its first dimension into slabs whose
 * bytes in the storage lie close together; a slab that fits the scratch is read at once and scattered to the
 * output, a sparser one is cut along the next dimension. A transposed matrix thus costs one read for each
 * column and block of rows, an expanded one (step 0) reads each byte once.
 *
 * The fewer rows at a time, the shorter the runs of a transposed matrix. So when few are asked for, more are
 * gathered into a panel that serves the next ones, of any thread. */
#include "format/torch_file.h"

#include <string.h>

enum {
    SCRATCH = 64 * 1024,
    GAP = 4096, /* reading this many useless bytes costs less than another call */
    PANEL = 4 * 1024 * 1024,
};

struct dim {
    uint64_t n;
    uint64_t from, to; /* steps in bytes */
};

struct gather {
    struct pc_torch_file *tf;
    struct pc_torch_storage *storage;
    uint64_t element; /* bytes */
    int n_dims;
    struct dim dims[PC_MAX_DIMS];
    uint64_t span[PC_MAX_DIMS + 1]; /* bytes of storage from first to last of dims[i..], both included */
    uint8_t *scratch;
    struct paco_error *err;
};

/* The loop again for each size, so that the compiler sees a constant. */
static void copy_elements(
    uint64_t n, uint64_t size, const uint8_t *from, uint64_t from_step, uint8_t *to, uint64_t to_step)
{
    switch (size) {
    case 1:
        for (uint64_t i = 0; i < n; i++)
            to[i * to_step] = from[i * from_step];
        break;
    case 2:
        for (uint64_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, 2);
        break;
    case 4:
        for (uint64_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, 4);
        break;
    default:
        for (uint64_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, size);
    }
}

static bool is_straight(const struct gather *g, int level)
{
    return level == g->n_dims - 1 && g->dims[level].from == g->element && g->dims[level].to == g->element;
}

/* Copy the box dims[level..], whose first dimension has n indices, from memory to memory. */
static void scatter(const struct gather *g, int level, uint64_t n, const uint8_t *from, uint8_t *to)
{
    if (level == g->n_dims) {
        memcpy(to, from, g->element);
        return;
    }
    const struct dim *d = &g->dims[level];
    if (level < g->n_dims - 1) {
        for (uint64_t i = 0; i < n; i++)
            scatter(g, level + 1, g->dims[level + 1].n, from + i * d->from, to + i * d->to);
    } else if (is_straight(g, level)) {
        memcpy(to, from, n * g->element);
    } else {
        copy_elements(n, g->element, from, d->from, to, d->to);
    }
}

/* Indices [i, i + n) of dims[level] in one read. */
static int gather_slab(const struct gather *g, int level, uint64_t n, uint64_t from, uint8_t *to)
{
    const struct dim *d = &g->dims[level];
    uint64_t len = (n - 1) * d->from + g->span[level + 1];
    bool straight = is_straight(g, level);
    int rc = pc_torch_storage_read(g->tf, g->storage, from, straight ? to : g->scratch, (size_t)len, g->err);
    if (rc == 0 && !straight)
        scatter(g, level, n, g->scratch, to);
    return rc;
}

static int gather_box(const struct gather *g, int level, uint64_t from, uint8_t *to)
{
    if (level == g->n_dims)
        return pc_torch_storage_read(g->tf, g->storage, from, to, (size_t)g->element, g->err);
    const struct dim *d = &g->dims[level];
    const uint64_t inner = g->span[level + 1];
    // How many indices one read may cover: none when a single one is too long, one when they lie far apart.
    uint64_t most = inner > SCRATCH ? 0 : d->from == 0 ? d->n : (SCRATCH - inner) / d->from + 1;
    if (d->from > inner && d->from - inner > GAP)
        most = 0;
    if (is_straight(g, level))
        most = d->n;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < d->n;) {
        uint64_t n = most > d->n - i ? d->n - i : most;
        if (n)
            rc = gather_slab(g, level, n, from + i * d->from, to + i * d->to);
        else
            rc = gather_box(g, level + 1, from + i * d->from, to + i * d->to);
        i += n ? n : 1;
    }
    return rc;
}

/* Insert by falling step, so that steps of zero come last. */
static void add_dim(struct gather *g, struct dim d)
{
    int i = g->n_dims++;
    for (; i > 0 && g->dims[i - 1].from < d.from; i--)
        g->dims[i] = g->dims[i - 1];
    g->dims[i] = d;
}

/* Dimensions that are one run both in the storage and in the output become one. */
static void merge_dims(struct gather *g)
{
    int w = 0;
    for (int i = 1; i < g->n_dims; i++) {
        struct dim *outer = &g->dims[w], *d = &g->dims[i];
        if (outer->from == d->n * d->from && outer->to == d->n * d->to)
            *outer = (struct dim){outer->n * d->n, d->from, d->to};
        else
            g->dims[++w] = *d;
    }
    g->n_dims = g->n_dims ? w + 1 : 0;
}

static struct gather plan(
    struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t n_rows, struct paco_error *err)
{
    const struct pc_torch_view *view = &tf->views[t->index];
    struct gather g = {.tf = tf, .storage = &tf->storages[view->i_storage], .err = err};
    g.element = pc_dtype_traits(t->dtype)->block_size;
    uint64_t to = g.element;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        uint64_t n = i == 0 ? n_rows : t->shape[i];
        if (n > 1)
            add_dim(&g, (struct dim){n, view->stride[i] * g.element, to});
        to *= n;
    }
    merge_dims(&g);
    g.span[g.n_dims] = g.element;
    for (int i = g.n_dims - 1; i >= 0; i--)
        g.span[i] = g.span[i + 1] + (g.dims[i].n - 1) * g.dims[i].from;
    return g;
}

static int gather_rows(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    void *buf, struct paco_error *err)
{
    const struct pc_torch_view *view = &tf->views[t->index];
    struct gather g = plan(tf, t, n_rows, err);
    g.scratch = pc_alloc(SCRATCH, 1);
    if (!g.scratch)
        return pc_error_mem(err, SCRATCH, "gathering a tensor");
    uint64_t from = view->offset + (t->n_dims ? row0 * view->stride[0] * g.element : 0);
    int rc = gather_box(&g, 0, from, buf);
    pc_free(g.scratch);
    return rc;
}

/* Make the panel hold t's rows from row0 on. Called with its lock. */
static int fill_panel(
    struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, struct paco_error *err)
{
    struct pc_torch_panel *panel = &tf->panel;
    uint64_t n = PANEL / t->row_size, left = t->n_rows - row0;
    if (!panel->bytes && !(panel->bytes = pc_alloc(PANEL, 1)))
        return pc_error_mem(err, PANEL, "gathering a tensor");
    n = n < left ? n : left;
    int rc = gather_rows(tf, t, row0, n, panel->bytes, err);
    *panel = (struct pc_torch_panel){panel->bytes, t->index, row0, rc < 0 ? 0 : n};
    return rc;
}

static int read_panel(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    uint8_t *buf, struct paco_error *err)
{
    const struct pc_torch_panel *panel = &tf->panel;
    int rc = 0;
    pthread_mutex_lock(&tf->panel_lock);
    while (n_rows) {
        if (panel->i_tensor != t->index || row0 < panel->row0 || row0 - panel->row0 >= panel->n_rows)
            rc = fill_panel(tf, t, row0, err);
        if (rc < 0)
            break;
        uint64_t skip = row0 - panel->row0, n = panel->n_rows - skip;
        n = n < n_rows ? n : n_rows;
        memcpy(buf, panel->bytes + skip * t->row_size, (size_t)(n * t->row_size));
        buf += n * t->row_size;
        row0 += n;
        n_rows -= n;
    }
    pthread_mutex_unlock(&tf->panel_lock);
    return rc;
}

/* Runs of the storage shorter than a page gain from more rows; at least twice as many must fit the panel. */
static bool wants_panel(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t n_rows)
{
    if (n_rows == t->n_rows || n_rows * t->row_size > PANEL / 2)
        return false;
    struct gather g = plan(tf, t, n_rows, NULL);
    return g.n_dims > 0 && g.dims[g.n_dims - 1].n * g.dims[g.n_dims - 1].from < GAP;
}

int pc_torch_gather(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    void *buf, struct paco_error *err)
{
    // Jumping about, the reads would never add up to a checked CRC.
    int rc = pc_torch_storage_check(tf, &tf->storages[tf->views[t->index].i_storage], err);
    if (rc < 0)
        return rc;
    if (wants_panel(tf, t, n_rows))
        return read_panel(tf, t, row0, n_rows, buf, err);
    return gather_rows(tf, t, row0, n_rows, buf, err);
}
