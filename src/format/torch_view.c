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
#include "base/cpu.h"
#include "format/torch_file.h"

#include <string.h>

enum {
    SCRATCH = 64 * 1024,
    GAP = 4096,                /* reading this many useless bytes costs less than another call */
    PANELS = 16 * 1024 * 1024, /* bytes of all panels, however many files are open */
    MIN_PANELS = 4,
    MAX_PANELS = 24,
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

/* The box of n indices of dimension `first` and all of those behind it; n of the first one when it is no
 * dimension (a scalar). */
static struct gather plan(
    struct pc_torch_file *tf, const struct pc_tensor *t, int first, uint64_t n_first, struct paco_error *err)
{
    const struct pc_torch_view *view = &tf->views[t->index];
    struct gather g = {.tf = tf, .storage = &tf->storages[view->i_storage], .err = err};
    g.element = pc_dtype_traits(t->dtype)->block_size;
    uint64_t to = g.element;
    for (int i = t->n_dims - 1; i >= first; i--) {
        uint64_t n = i == first ? n_first : t->shape[i];
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

/* What is wanted of a tensor: elements [begin, end) of the box of dimensions from `first` on, which begins at
 * byte `from` of the storage. */
struct range {
    int first;
    uint64_t begin, end, from;
};

static uint64_t elements_of_slice(const struct pc_tensor *t, int dim)
{
    uint64_t n = 1;
    for (int i = dim + 1; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

static int gather_slices(struct pc_torch_file *tf, const struct pc_tensor *t, const struct range *r,
    uint64_t n, uint8_t *scratch, uint8_t *to, struct paco_error *err)
{
    struct gather g = plan(tf, t, r->first, n, err);
    g.scratch = scratch;
    return gather_box(&g, 0, r->from, to);
}

/* Slices along the first dimension that are wanted whole are a box; of the one before them, and the one
 * behind, a part is wanted, which is a range of one dimension less. */
static int gather_range(struct pc_torch_file *tf, const struct pc_tensor *t, struct range r, uint8_t *scratch,
    uint8_t *to, struct paco_error *err)
{
    const struct pc_torch_view *view = &tf->views[t->index];
    const uint64_t element = pc_dtype_traits(t->dtype)->block_size;
    if (r.first >= t->n_dims)
        return gather_slices(tf, t, &r, 1, scratch, to, err);
    const uint64_t slice = elements_of_slice(t, r.first), step = view->stride[r.first] * element;
    int rc = 0;
    while (rc == 0 && r.begin < r.end) {
        uint64_t i = r.begin / slice, skip = r.begin % slice, n = (r.end - r.begin) / slice, taken;
        struct range in = {r.first, 0, 0, r.from + i * step};
        if (skip == 0 && n > 0) {
            taken = n * slice;
            rc = gather_slices(tf, t, &in, n, scratch, to, err);
        } else {
            taken = slice - skip < r.end - r.begin ? slice - skip : r.end - r.begin;
            in = (struct range){r.first + 1, skip, skip + taken, in.from};
            rc = gather_range(tf, t, in, scratch, to, err);
        }
        r.begin += taken;
        to += taken * element;
    }
    return rc;
}

static int gather_rows(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    void *buf, struct paco_error *err)
{
    const struct range r = {
        0, row0 * t->row_elems, (row0 + n_rows) * t->row_elems, tf->views[t->index].offset};
    uint8_t *scratch = pc_alloc(SCRATCH, 1);
    if (!scratch)
        return pc_error_mem(err, SCRATCH, "gathering a tensor");
    int rc = gather_range(tf, t, r, scratch, buf, err);
    pc_free(scratch);
    return rc;
}

/* ---- panels ---- */

/* Rows of one view, gathered ahead. All files of the process share the memory of a few. */
struct panel {
    pthread_mutex_t lock;           /* of what it holds, while it is filled and read */
    const struct pc_torch_file *tf; /* whose it is; NULL: nobody's */
    uint32_t i_tensor;
    int n_users;
    uint64_t last_use;
    uint8_t *bytes;        /* NULL until needed */
    uint64_t row0, n_rows; /* n_rows is 0 while there are none */
};

static struct {
    pthread_mutex_t lock; /* of the choice */
    uint64_t clock;
    struct panel panels[MAX_PANELS];
} g_pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t g_counted = PTHREAD_ONCE_INIT;
static int g_n_panels;

/* One for each tensor that is likely to be read at a time: base and diff, by every worker. */
static void count_panels(void)
{
    int n = 2 * pc_cpu_count();
    g_n_panels = n < MIN_PANELS ? MIN_PANELS : n > MAX_PANELS ? MAX_PANELS : n;
}

static int n_panels(void)
{
    pthread_once(&g_counted, count_panels);
    return g_n_panels;
}

static size_t panel_size(void)
{
    return PANELS / (size_t)n_panels();
}

/* t's panel, or the one unused longest; NULL when all are in use. Lock it, and give it back. */
static struct panel *take_panel(const struct pc_torch_file *tf, const struct pc_tensor *t)
{
    struct panel *its = NULL, *oldest = NULL;
    pthread_mutex_lock(&g_pool.lock);
    for (int i = 0; i < n_panels() && !its; i++) {
        struct panel *p = &g_pool.panels[i];
        if (p->tf == tf && p->i_tensor == t->index)
            its = p;
        else if (p->n_users == 0 && (!oldest || p->last_use < oldest->last_use))
            oldest = p;
    }
    if (!its && oldest) {
        if (oldest->last_use == 0)
            pthread_mutex_init(&oldest->lock, NULL);
        its = oldest;
        its->tf = tf;
        its->i_tensor = t->index;
        its->n_rows = 0;
    }
    if (its) {
        its->n_users++;
        its->last_use = ++g_pool.clock;
    }
    pthread_mutex_unlock(&g_pool.lock);
    return its;
}

static void give_back(struct panel *p)
{
    pthread_mutex_lock(&g_pool.lock);
    p->n_users--;
    pthread_mutex_unlock(&g_pool.lock);
}

void pc_torch_forget_panels(const struct pc_torch_file *tf)
{
    pthread_mutex_lock(&g_pool.lock);
    for (int i = 0; i < MAX_PANELS; i++) {
        struct panel *p = &g_pool.panels[i];
        if (p->tf != tf)
            continue;
        pc_free(p->bytes);
        p->bytes = NULL;
        p->tf = NULL;
    }
    pthread_mutex_unlock(&g_pool.lock);
}

/* Make the panel hold t's rows from row0 on. Called with its lock. */
static int fill_panel(struct panel *p, struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0,
    struct paco_error *err)
{
    uint64_t n = panel_size() / t->row_size, left = t->n_rows - row0;
    if (!p->bytes && !(p->bytes = pc_alloc(panel_size(), 1)))
        return pc_error_mem(err, panel_size(), "gathering a tensor");
    n = n < left ? n : left;
    int rc = gather_rows(tf, t, row0, n, p->bytes, err);
    p->row0 = row0;
    p->n_rows = rc < 0 ? 0 : n;
    return rc;
}

static int read_panel(struct panel *p, struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0,
    uint64_t n_rows, uint8_t *buf, struct paco_error *err)
{
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    while (n_rows) {
        if (row0 < p->row0 || row0 - p->row0 >= p->n_rows)
            rc = fill_panel(p, tf, t, row0, err);
        if (rc < 0)
            break;
        uint64_t skip = row0 - p->row0, n = p->n_rows - skip;
        n = n < n_rows ? n : n_rows;
        memcpy(buf, p->bytes + skip * t->row_size, (size_t)(n * t->row_size));
        buf += n * t->row_size;
        row0 += n;
        n_rows -= n;
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* Runs of the storage shorter than a page gain from more rows; at least twice as many must fit the panel. */
static bool wants_panel(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t n_rows)
{
    if (n_rows == t->n_rows || n_rows * t->row_size > panel_size() / 2 || !pc_tensor_has_slices(t))
        return false;
    struct gather g = plan(tf, t, 0, n_rows, NULL);
    return g.n_dims > 0 && g.dims[g.n_dims - 1].n * g.dims[g.n_dims - 1].from < GAP;
}

int pc_torch_gather(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    void *buf, struct paco_error *err)
{
    // Jumping about, the reads would never add up to a checked CRC.
    int rc = pc_torch_storage_check(tf, &tf->storages[tf->views[t->index].i_storage], err);
    if (rc < 0)
        return rc;
    struct panel *panel = wants_panel(tf, t, n_rows) ? take_panel(tf, t) : NULL;
    if (!panel)
        return gather_rows(tf, t, row0, n_rows, buf, err);
    rc = read_panel(panel, tf, t, row0, n_rows, buf, err);
    give_back(panel);
    return rc;
}
