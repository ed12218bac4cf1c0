// SPDX-License-Identifier: Apache-2.0
#include "train/state.h"

#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "train/whole.h"
#include "weights/manifest_read.h"
#include "weights/scan.h"
#include "weights/source.h"
#include "weights/sweep.h"
#include "weights/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OLD_SUFFIX ".paco-old" /* a state that is being removed */

enum { MAX_STATE_FILE = 1 << 20, TENSORS_EACH = 5 /* of a parameter: itself, two moments, their scales */ };

/* ---- weights and states as one checkpoint ---- */

/* Where a tensor lies: in memory, or in the file of the optimiser's states. */
struct home {
    unsigned char *data;
    struct pc_states_file *file;
    uint64_t at;
};

static const struct home *home_of(const struct pc_tensor *t)
{
    return (const struct home *)t->owner->impl + t->index;
}

static const void *map(const struct pc_tensor *t)
{
    return home_of(t)->data;
}

static int read_rows(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct home *home = home_of(t);
    size_t size = (size_t)(n_rows * t->row_size);
    if (!home->data)
        return pc_states_file_read(home->file, home->at + row0 * t->row_size, buf, size, err);
    memcpy(buf, home->data + row0 * t->row_size, size);
    return 0;
}

static const struct pc_checkpoint_ops g_ops = {.read = read_rows, .map = map};

static int add(struct pc_checkpoint *ck, const char *name, enum pc_dtype dtype, int n_dims,
    const uint64_t *shape, struct home home, struct paco_error *err)
{
    int rc = pc_checkpoint_add_tensor(ck, name, strlen(name), dtype, n_dims, shape, err);
    if (rc == 0)
        ((struct home *)ck->impl)[ck->n_tensors - 1] = home;
    return rc;
}

/* The home of one of the states' arrays, whose entries for p begin at byte `at` of data. */
static struct home home_in(
    const struct pc_trainer *t, const struct pc_param *p, enum pc_states_array array, void *data, uint64_t at)
{
    struct pc_states_file *file = t->optimizer->file;
    if (file)
        return (struct home){.file = file, .at = pc_states_file_at(file, p, array)};
    return (struct home){.data = (unsigned char *)data + at};
}

static int add_moment(struct pc_checkpoint *ck, const struct pc_trainer *t, enum pc_states_array array,
    const struct pc_optim_moment *m, const struct pc_param *p, const struct pc_tensor *like,
    struct paco_error *err)
{
    static const enum pc_dtype types[] = {
        [PC_STATES_F32] = PC_F32, [PC_STATES_BF16] = PC_BF16, [PC_STATES_8BIT] = PC_U8};
    bool is_m = array == PC_STATES_M;
    enum pc_optim_states states = t->options.optimizer.states;
    char name[PC_MAX_NAME];
    uint64_t n_scales = (p->n + PC_PARAM_ALIGN - 1) / PC_PARAM_ALIGN;
    struct home home = home_in(t, p, array, m->data, p->offset * pc_optim_states_size(states));
    snprintf(name, sizeof name, "%s.%s", p->name, is_m ? "exp_avg" : "exp_avg_sq");
    int rc = add(ck, name, types[states], like->n_dims, like->shape, home, err);
    if (rc < 0 || states != PC_STATES_8BIT)
        return rc;
    home = home_in(t, p, is_m ? PC_STATES_M_SCALE : PC_STATES_V_SCALE, m->scale,
        p->offset / PC_PARAM_ALIGN * sizeof *m->scale);
    snprintf(name, sizeof name, "%s.%s_scale", p->name, is_m ? "exp_avg" : "exp_avg_sq");
    return add(ck, name, PC_F32, 1, &n_scales, home, err);
}

/* All of t that changes, tensor by tensor, in the arrays it lies in. */
static int state_checkpoint(const struct pc_trainer *t, const struct pc_whole *arrays,
    struct pc_checkpoint **out, struct paco_error *err)
{
    const struct pc_params *p = t->setup.params;
    struct pc_checkpoint *ck = pc_checkpoint_new("training state", &g_ops, NULL, err);
    if (!ck)
        return PACO_EMEM;
    ck->impl = pc_arena_alloc(&ck->arena, TENSORS_EACH * p->n, sizeof(struct home));
    int rc =
        ck->impl ? 0 : pc_error_mem(err, TENSORS_EACH * p->n * sizeof(struct home), "a table of tensors");
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        const struct pc_tensor *w = &p->ck->tensors[i];
        void *data = arrays->w ? arrays->w + p->v[i].offset : pc_params_weights(p, &p->v[i]);
        rc = add(ck, w->name, w->dtype, w->n_dims, w->shape, (struct home){.data = data}, err);
    }
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        const struct pc_tensor *w = &p->ck->tensors[i];
        rc = add_moment(ck, t, PC_STATES_M, &arrays->m, &p->v[i], w, err);
        if (rc == 0)
            rc = add_moment(ck, t, PC_STATES_V, &arrays->v, &p->v[i], w, err);
    }
    if (rc < 0)
        return pc_checkpoint_close(ck), rc;
    *out = ck;
    return 0;
}

uint64_t pc_train_state_size(const struct pc_params *params, enum pc_optim_states states, uint64_t beside)
{
    return pc_params_size(params) + pc_optimizer_size(params->n_flat, states) +
           pc_write_spare(TENSORS_EACH * params->n) + beside;
}

uint64_t pc_train_saving_size(const struct pc_trainer *t, uint64_t beside)
{
    const struct pc_train_setup *s = &t->setup;
    enum pc_optim_states states = t->options.optimizer.states;
    return pc_train_state_size(s->params, states, beside) + pc_whole_file_size(s->ranks, s->params, states);
}

/* ---- saving ---- */

static json_t *state_json(const struct pc_trainer *t, const json_t *identity)
{
    return json_pack("{s:s,s:i,s:I,s:I,s:O}", "kind", "paco-training", "format", PC_TRAIN_STATE_FORMAT,
        "step", (json_int_t)t->step, "updates", (json_int_t)t->optimizer->n_updates, "identity",
        (json_t *)identity);
}

static int write_state(const struct pc_trainer *t, const struct pc_train_saving *s, const char *dir,
    const struct pc_checkpoint *ck, const struct pc_write_file *files, size_t n_files, struct paco_error *err)
{
    json_t *settings = json_pack("{s:I,s:O}", "step", (json_int_t)t->step, "identity", (json_t *)s->identity);
    struct pc_write_options o = {.job = "finetune",
        .phase = "saving",
        .out_dir = dir,
        .settings = settings,
        .files_from = s->files_from,
        .tokenizer_from = s->tokenizer_from,
        .files = files,
        .n_files = n_files,
        .pool = t->setup.pool,
        .progress = s->progress,
        .notes = s->notes};
    struct pc_write_result written = {0};
    int rc = settings ? pc_write_checkpoint(ck, &o, &written, err) : pc_error_mem(err, 4096, "the state");
    json_decref(settings);
    return rc;
}

static int save_arrays(const struct pc_trainer *t, const struct pc_whole *arrays,
    const struct pc_train_saving *s, const char *dir, struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    struct pc_buf text;
    pc_buf_init(&text, MAX_STATE_FILE);
    struct pc_write_file *files = pc_alloc(s->n_files + 1, sizeof *files);
    json_t *state = state_json(t, s->identity);
    if (state)
        pc_json_write(&text, state, PC_JSON_PRETTY);
    pc_buf_putc(&text, '\n');
    int rc = files && state ? pc_buf_check(&text, "the state", err) : pc_error_mem(err, 4096, "the state");
    if (rc == 0) {
        if (s->n_files)
            memcpy(files, s->files, s->n_files * sizeof *files);
        files[s->n_files] = (struct pc_write_file){PC_TRAIN_STATE_NAME, text.data, text.len};
        rc = state_checkpoint(t, arrays, &ck, err);
    }
    if (rc == 0)
        rc = write_state(t, s, dir, ck, files, s->n_files + 1, err);
    pc_checkpoint_close(ck);
    pc_free(files);
    pc_buf_release(&text);
    json_decref(state);
    return rc;
}

/* The directory that dir is in. */
static char *above(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    if (!slash)
        return pc_strdup(".");
    return slash == dir ? pc_strdup("/") : pc_strndup(dir, (size_t)(slash - dir));
}

/* Ranks put together what they share, and rank 0 writes it. */
static int save_shared(
    const struct pc_trainer *t, const struct pc_train_saving *s, const char *dir, struct paco_error *err)
{
    struct pc_ranks *ranks = t->setup.ranks;
    struct pc_whole arrays;
    char *parent = above(dir);
    int rc = parent ? 0 : pc_error_mem(err, strlen(dir), "a path");
    rc = pc_ranks_agree(ranks, rc, err);
    if (rc == 0 && (rc = pc_whole_gather(&arrays, t, parent, err)) == 0) {
        if (ranks->rank == 0)
            rc = save_arrays(t, &arrays, s, dir, err);
        pc_whole_release(&arrays);
        rc = pc_ranks_agree(ranks, rc, err);
    }
    pc_free(parent);
    return rc;
}

int pc_train_state_save(
    const struct pc_trainer *t, const struct pc_train_saving *s, const char *dir, struct paco_error *err)
{
    uint64_t step;
    bool there =
        pc_path_exists(dir) && pc_train_state_peek(dir, s->identity, &step, NULL) == 0 && step == t->step;
    if (t->setup.ranks) {
        int rc = pc_collect_tell(t->setup.ranks->collect, &there, sizeof there, err);
        return rc < 0 || there ? rc : save_shared(t, s, dir, err);
    }
    struct pc_whole arrays;
    int rc = there ? 0 : pc_whole_gather(&arrays, t, dir, err);
    if (rc == 0 && !there && t->optimizer->file)
        rc = pc_states_file_wait(t->optimizer->file, err);
    return rc < 0 || there ? rc : save_arrays(t, &arrays, s, dir, err);
}

int pc_train_state_remove(const char *dir, struct paco_error *err)
{
    struct pc_buf old;
    pc_buf_init(&old, 1 << 16);
    pc_buf_printf(&old, "%s" OLD_SUFFIX, dir);
    int rc = pc_buf_check(&old, "a path", err);
    if (rc == 0)
        rc = pc_dir_remove(old.data, err);
    if (rc == 0 && rename(dir, old.data) < 0 && errno != ENOENT) {
        rc = pc_error_os(err, errno, "an old checkpoint cannot be moved away");
        pc_error_path(err, dir);
    }
    if (rc == 0)
        rc = pc_dir_remove(old.data, err);
    pc_buf_release(&old);
    return rc;
}

/* ---- finding ---- */

bool pc_train_state_is_name(const char *name)
{
    static const char *const begins[] = {"step_", "epoch_"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        size_t n = strlen(begins[i]);
        if (strncmp(name, begins[i], n) == 0)
            return name[n] && name[n + strspn(name + n, "0123456789")] == '\0';
    }
    return false;
}

static int latest_first(const void *a, const void *b)
{
    const struct pc_train_state *x = a, *y = b;
    return x->step == y->step ? strcmp(x->dir, y->dir) : x->step < y->step ? 1 : -1;
}

static int look(const char *dir, struct pc_train_states *out, struct paco_error *err)
{
    uint64_t step = 0;
    struct paco_error why = {0};
    char *file = pc_path_join(dir, PC_TRAIN_STATE_NAME);
    bool is_state = file && pc_path_exists(file);
    pc_free(file);
    if (!is_state)
        return 0;
    int rc = pc_train_state_peek(dir, NULL, &step, &why);
    if (rc < 0 && rc != PACO_EFORMAT)
        return err ? *err = why, rc : rc;
    if (pc_grow(&out->v, &out->capacity, out->n, sizeof *out->v, "a list of checkpoints", err) < 0)
        return PACO_EMEM;
    char *name = pc_strdup(dir);
    if (!name)
        return pc_error_mem(err, strlen(dir), "a list of checkpoints");
    out->v[out->n++] = (struct pc_train_state){name, step};
    return 0;
}

int pc_train_states_find(const char *out_dir, struct pc_train_states *out, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    *out = (struct pc_train_states){.v = NULL};
    if (!pc_path_is_dir(out_dir))
        return 0;
    int rc = pc_dir_list(out_dir, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *dir = pc_path_join(out_dir, names[i]);
        rc = dir ? 0 : pc_error_mem(err, strlen(out_dir), "a path");
        if (rc == 0 && pc_ends_with(names[i], OLD_SUFFIX))
            rc = pc_dir_remove(dir, err);
        else if (rc == 0 && pc_train_state_is_name(names[i]))
            rc = look(dir, out, err);
        pc_free(dir);
    }
    pc_names_free(names, n);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, latest_first);
    return rc;
}

void pc_train_states_release(struct pc_train_states *s)
{
    for (size_t i = 0; i < s->n; i++)
        pc_free(s->v[i].dir);
    pc_free(s->v);
    *s = (struct pc_train_states){.v = NULL};
}

/* ---- identity ---- */

static void put_value(const char *says, const json_t *value, struct pc_buf *out)
{
    pc_buf_puts(out, says);
    if (value)
        pc_json_write(out, value, PC_JSON_COMPACT);
    else
        pc_buf_puts(out, "not given");
}

void pc_train_differences(
    const json_t *a, const json_t *b, const char *a_says, const char *b_says, struct pc_buf *out)
{
    enum { DIGEST = 40 }; // a text this long says nothing to a reader
    const char *key;
    json_t *value;
    const json_t *sides[] = {a, b};
    for (int side = 0; side < 2; side++)
        json_object_foreach((json_t *)sides[side], key, value)
        {
            const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
            if ((side == 1 && x) || json_equal(x, y))
                continue;
            pc_buf_printf(out, "%s%s", out->len ? ", " : "", key);
            if (json_string_length(x) >= DIGEST || json_string_length(y) >= DIGEST)
                continue;
            put_value(a_says, x, out);
            put_value(b_says, y, out);
            pc_buf_putc(out, ')');
        }
}

static int check_identity(const json_t *was, const json_t *is, struct paco_error *err)
{
    if (!is || json_equal(was, is))
        return 0;
    struct pc_buf text;
    pc_buf_init(&text, 900);
    pc_train_differences(was, is, " (was ", ", is ", &text);
    int rc = pc_error_set(err, PACO_EMISMATCH,
        "this is the checkpoint of another run; what differs: %s. Give the same again to go on, or begin "
        "anew "
        "elsewhere",
        text.data && !text.failed ? text.data : "much");
    pc_buf_release(&text);
    return rc;
}

static int parse(const json_t *root, const json_t *identity, uint64_t *step, struct paco_error *err)
{
    const int64_t most = INT64_C(1) << 53;
    int64_t format, at;
    const char *kind;
    int rc = pc_json_get_str(root, "kind", &kind, err);
    if (rc == 0 && strcmp(kind, "paco-training") != 0)
        return pc_error_set(err, PACO_EFORMAT, "kind is '%.40s', not paco-training", kind);
    if (rc == 0)
        rc = pc_json_get_i64(root, "format", 0, INT64_MAX, &format, err);
    if (rc == 0 && format != PC_TRAIN_STATE_FORMAT)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "the checkpoint has format %lld, this program reads %d: go on with the version that wrote it",
            (long long)format, PC_TRAIN_STATE_FORMAT);
    if (rc == 0)
        rc = pc_json_get_i64(root, "step", 0, most, &at, err);
    const json_t *was = json_object_get(root, "identity");
    if (rc == 0 && !json_is_object(was))
        return pc_error_set(err, PACO_EFORMAT, "identity is %s, not an object", pc_json_kind(was));
    if (rc == 0)
        rc = check_identity(was, identity, err);
    if (rc == 0)
        *step = (uint64_t)at;
    return rc;
}

int pc_train_state_peek(const char *dir, const json_t *identity, uint64_t *step, struct paco_error *err)
{
    json_t *root = NULL;
    char *path = pc_path_join(dir, PC_TRAIN_STATE_NAME);
    int rc = path ? pc_json_read(path, MAX_STATE_FILE, &root, err) : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0) {
        rc = parse(root, identity, step, err);
        if (rc < 0)
            pc_error_path(err, path);
    }
    json_decref(root);
    pc_free(path);
    return rc;
}

/* ---- loading ---- */

/* Every digest of dir's tensors against its manifest. */
static int check_digests(
    const struct pc_checkpoint *ck, const char *dir, struct pc_pool *pool, struct paco_error *err)
{
    struct pc_manifest m = {0};
    struct pc_comparisons c = {0};
    struct pc_scan *scans = pc_alloc_zero(ck->n_tensors + 1, sizeof *scans);
    char *path = pc_path_join(dir, PC_MANIFEST_NAME);
    int rc = scans && path ? pc_manifest_read(path, &m, err) : pc_error_mem(err, ck->n_tensors, "digests");
    if (rc == 0)
        rc = pc_scan_checkpoint(ck, PC_SCAN_SHA256, pool, NULL, "checking", scans, err);
    if (rc == 0)
        rc = pc_compare_manifest(ck, scans, &m, &c, err);
    for (size_t i = 0; i < c.n && rc == 0; i++)
        if (c.v[i].verdict != PC_SAME) {
            rc = pc_error_set(err, PACO_EVERIFY, "the checkpoint is damaged: tensor '%s': %s", c.v[i].name,
                pc_verdict_name(c.v[i].verdict));
            pc_error_path(err, dir);
        }
    pc_comparisons_release(&c);
    pc_manifest_release(&m);
    pc_free(scans);
    pc_free(path);
    return rc;
}

struct loading {
    const struct pc_params *params;
    bool scales;                           /* moments have them */
    const struct pc_checkpoint *to, *from; /* from: NULL on ranks that are told */
};

static const struct pc_tensor *source_of(const struct loading *l, size_t i)
{
    return pc_checkpoint_find(l->from, l->to->tensors[i].name);
}

/* state_checkpoint's order, looked up in from. */
static const struct pc_tensor *find_tensor(void *ctx, size_t i, enum pc_whole_array array)
{
    const struct loading *l = ctx;
    bool second = array == PC_WHOLE_V || array == PC_WHOLE_V_SCALE,
         scale = array == PC_WHOLE_M_SCALE || array == PC_WHOLE_V_SCALE;
    if (array == PC_WHOLE_W)
        return source_of(l, i);
    return source_of(l, l->params->n + (2 * i + second) * (l->scales ? 2 : 1) + scale);
}

static int check_tensors(const struct loading *l, struct paco_error *err)
{
    for (size_t i = 0; i < l->to->n_tensors; i++) {
        const struct pc_tensor *to = &l->to->tensors[i], *from = source_of(l, i);
        if (!from)
            return pc_error_set(err, PACO_EFORMAT, "tensor '%s' is missing", to->name);
        if (from->dtype != to->dtype || !pc_tensor_same_shape(from, to))
            return pc_error_set(err, PACO_EFORMAT, "tensor '%s' has another type or shape", to->name);
    }
    return 0;
}

/* All of from into the file of states, some rows at a time. */
static int load_into_file(const struct home *home, const struct pc_tensor *from, struct paco_error *err)
{
    enum { PIECE = 1 << 22 }; /* bytes */
    uint64_t step = from->row_size < PIECE ? PIECE / from->row_size : 1;
    step = step < from->n_rows ? step : from->n_rows;
    unsigned char *rows = pc_alloc((size_t)step, (size_t)from->row_size);
    int rc = rows ? 0 : pc_error_mem(err, step * from->row_size, "rows of a checkpoint");
    for (uint64_t row = 0; row < from->n_rows && rc == 0; row += step) {
        uint64_t n = from->n_rows - row < step ? from->n_rows - row : step;
        rc = pc_tensor_read(from, row, n, rows, err);
        if (rc == 0)
            rc = pc_states_file_write(
                home->file, home->at + row * from->row_size, rows, (size_t)(n * from->row_size), err);
    }
    pc_free(rows);
    return rc;
}

static int load_tensor(void *ctx, size_t i, struct pc_sweep *sweep, struct paco_error *err)
{
    const struct loading *l = ctx;
    const struct pc_tensor *to = &l->to->tensors[i], *from = source_of(l, i);
    const struct home *home = home_of(to);
    int rc =
        home->data ? pc_tensor_read(from, 0, from->n_rows, home->data, err) : load_into_file(home, from, err);
    return rc < 0 ? rc : pc_sweep_step(sweep, to->name, to->size, err);
}

static int load_tensors(struct loading *l, struct pc_pool *pool, struct paco_error *err)
{
    const struct pc_checkpoint *to = l->to;
    uint64_t *sizes = pc_alloc(to->n_tensors, sizeof *sizes);
    if (!sizes)
        return pc_error_mem(err, to->n_tensors * sizeof *sizes, "a table of tensors");
    for (size_t i = 0; i < to->n_tensors; i++)
        sizes[i] = to->tensors[i].size;
    const struct pc_sweep_options sweep = {
        .task = load_tensor, .ctx = l, .n = to->n_tensors, .sizes = sizes, .pool = pool, .phase = "loading"};
    int rc = pc_sweep_run(&sweep, err);
    pc_free(sizes);
    return rc;
}

/* Open dir and look whether it is whole and t's: nothing of t has changed. */
static int open_state(const struct pc_trainer *t, const char *dir, const json_t *identity,
    struct pc_source *source, struct loading *l, uint64_t *step, struct paco_error *err)
{
    int rc = pc_train_state_peek(dir, identity, step, err);
    if (rc < 0)
        return rc;
    if (*step > t->course.n_updates)
        rc = pc_error_set(err, PACO_EFORMAT, "the checkpoint is of step %llu, the run has %llu",
            (unsigned long long)*step, (unsigned long long)t->course.n_updates);
    if (rc == 0)
        rc = pc_source_open_tensors(dir, source, err);
    if (rc == 0)
        rc = check_digests(source->ck, dir, t->setup.pool, err);
    l->from = source->ck;
    if (rc == 0)
        rc = check_tensors(l, err);
    if (rc < 0)
        pc_error_path(err, dir);
    return rc;
}

/* Rank 0 has opened it, or rc says why not. */
static int load_shared(
    struct pc_trainer *t, struct loading *l, uint64_t *step, int rc, struct paco_error *err)
{
    struct pc_ranks *ranks = t->setup.ranks;
    rc = pc_ranks_agree(ranks, rc, err);
    if (rc == 0)
        rc = pc_collect_tell(ranks->collect, step, sizeof *step, err);
    return rc < 0 ? rc : pc_whole_deal(t, find_tensor, l, err);
}

int pc_train_state_load(struct pc_trainer *t, const char *dir, const json_t *identity, struct paco_error *err)
{
    uint64_t step = 0;
    struct pc_source source = {.ck = NULL};
    struct pc_checkpoint *to = NULL;
    struct pc_ranks *ranks = t->setup.ranks;
    const struct pc_whole arrays = {.w = t->setup.params->w, .m = t->optimizer->m, .v = t->optimizer->v};
    struct loading l = {.params = t->setup.params, .scales = t->optimizer->m.scale};
    int rc = t->optimizer->file ? pc_states_file_wait(t->optimizer->file, err) : 0;
    if (rc == 0)
        rc = state_checkpoint(t, &arrays, &to, err);
    l.to = to;
    if (rc == 0 && (!ranks || ranks->rank == 0))
        rc = open_state(t, dir, identity, &source, &l, &step, err);
    if (ranks)
        rc = load_shared(t, &l, &step, rc, err);
    else if (rc == 0 && (rc = load_tensors(&l, t->setup.pool, err)) < 0)
        pc_error_path(err, dir);
    if (rc == 0)
        t->step = t->optimizer->n_updates = step;
    pc_checkpoint_close(to);
    pc_source_close(&source);
    return rc;
}
