// SPDX-License-Identifier: Apache-2.0
#include "format/torch.h"

#include "base/buf.h"
#include "format/sniff.h"
#include "format/torch_file.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_NOTE = 1024, MAX_NOTED = 5 };

/* A view whose elements are repeated (stride 0) may be this much larger than what is stored, once it is large
 * at all. */
#define MAX_EXPANSION UINT64_C(1024)
#define LARGE_TENSOR (UINT64_C(1) << 30)

/* ---- the four operations ---- */

static int torch_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    struct pc_torch_file *tf = t->owner->impl;
    const struct pc_torch_view *view = &tf->views[t->index];
    if (!view->contiguous)
        return pc_torch_gather(tf, t, row0, n_rows, buf, err);
    struct pc_torch_storage *s = &tf->storages[view->i_storage];
    // Bytes that no view reaches would leave the sum open for ever.
    int rc = s->viewed < s->size ? pc_torch_storage_check(tf, s, err) : 0;
    if (rc < 0)
        return rc;
    return pc_torch_storage_read(
        tf, s, view->offset + row0 * t->row_size, buf, (size_t)(n_rows * t->row_size), err);
}

static const char *map_file(struct pc_torch_file *tf)
{
    pthread_mutex_lock(&tf->lock);
    if (!tf->map && !tf->map_failed) {
        void *p = mmap(NULL, (size_t)tf->file.size, PROT_READ, MAP_PRIVATE, tf->file.fd, 0);
        tf->map = p == MAP_FAILED ? NULL : p;
        tf->map_failed = !tf->map;
    }
    const char *map = tf->map;
    pthread_mutex_unlock(&tf->lock);
    return map;
}

/* True if t's bytes are one run of the file, and where. */
static bool is_run(const struct pc_tensor *t, uint64_t *at)
{
    const struct pc_torch_file *tf = t->owner->impl;
    const struct pc_torch_view *view = &tf->views[t->index];
    const struct pc_torch_storage *s = &tf->storages[view->i_storage];
    *at = s->offset + view->offset;
    return view->contiguous && !s->deflated;
}

static const void *torch_map(const struct pc_tensor *t)
{
    uint64_t at;
    // Legacy files align nothing.
    if (t->size == 0 || !is_run(t, &at) || at % pc_dtype_traits(t->dtype)->block_size != 0)
        return NULL;
    const char *map = map_file(t->owner->impl);
    return map ? map + at : NULL;
}

static int torch_check(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, struct paco_error *err)
{
    struct pc_torch_file *tf = t->owner->impl;
    const struct pc_torch_view *view = &tf->views[t->index];
    struct pc_torch_storage *s = &tf->storages[view->i_storage];
    const char *bytes = torch_map(t);
    if (!bytes || !s->has_crc)
        return 0;
    if (s->viewed < s->size)
        return pc_torch_storage_check(tf, s, err);
    uint64_t at = row0 * t->row_size;
    return pc_torch_storage_sum(tf, s, view->offset + at, bytes + at, (size_t)(n_rows * t->row_size), err);
}

static bool torch_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_torch_file *tf = t->owner->impl;
    *path = tf->file.path;
    return is_run(t, offset);
}

static void torch_close(struct pc_checkpoint *ck)
{
    struct pc_torch_file *tf = ck->impl;
    if (tf->map)
        munmap(tf->map, (size_t)tf->file.size);
    for (uint32_t i = 0; i < tf->n_storages; i++)
        pc_free(tf->storages[i].pieces);
    pc_free(tf->storages);
    pc_free(tf->views);
    pc_inflate_free(tf->inflate);
    pthread_mutex_destroy(&tf->lock);
    pthread_mutex_destroy(&tf->check_lock);
    pc_torch_forget_panels(tf);
    pc_file_close(&tf->file);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = torch_read, .map = torch_map, .check = torch_check, .where = torch_where, .close = torch_close};

/* ---- from values to tensors ---- */

static int fail_at(struct pc_checkpoint *ck, uint64_t at, int code, struct paco_error *err)
{
    const struct pc_torch_file *tf = ck->impl;
    pc_error_at(err, tf->file.path, at);
    return code;
}

#define FAIL(ck, at, code, err, ...)                                                                         \
    (pc_error_set((err), (code), __VA_ARGS__), fail_at((ck), (at), (code), (err)))

struct bounds {
    uint64_t n_elements;
    uint64_t last; /* index of the element furthest into the storage */
};

/* Check shape and stride and copy them out. */
static int read_shape(struct pc_checkpoint *ck, const char *name, const struct pc_value *v, uint64_t *shape,
    uint64_t *stride, struct bounds *out, struct paco_error *err)
{
    const struct pc_pickle_tensor *t = v->tensor;
    size_t n_dims = t->shape->seq.n;
    bool fits = true;
    if (n_dims > PC_MAX_DIMS)
        return FAIL(ck, v->at, PACO_ELIMIT, err, "tensor '%s' has %zu dimensions; at most %d are supported",
            name, n_dims, PC_MAX_DIMS);
    if (t->offset < 0)
        return FAIL(ck, v->at, PACO_EFORMAT, err, "tensor '%s' begins at element %lld of its storage", name,
            (long long)t->offset);
    uint64_t n_elements = 1, last = (uint64_t)t->offset;
    for (size_t i = 0; i < n_dims; i++) {
        int64_t n = t->shape->seq.items[i]->i, step = t->stride->seq.items[i]->i;
        if (n < 0 || step < 0)
            return FAIL(ck, v->at, PACO_EFORMAT, err,
                "tensor '%s': dimension %zu has size %lld and stride %lld; neither may be negative", name, i,
                (long long)n, (long long)step);
        shape[i] = (uint64_t)n;
        stride[i] = (uint64_t)step;
        uint64_t reach = 0;
        fits = fits && pc_mul_u64(n_elements, shape[i], &n_elements);
        fits =
            fits && (n == 0 || pc_mul_u64(shape[i] - 1, stride[i], &reach)) && pc_add_u64(last, reach, &last);
    }
    *out = (struct bounds){n_elements, last};
    for (size_t i = 0; i < n_dims; i++)
        if (shape[i] == 0) {
            // It reaches nowhere, whatever its strides.
            *out = (struct bounds){0};
            return 0;
        }
    if (!fits)
        return FAIL(
            ck, v->at, PACO_EFORMAT, err, "tensor '%s': its shape and strides are of no possible size", name);
    return 0;
}

static bool is_contiguous(int n_dims, const uint64_t *shape, const uint64_t *stride)
{
    uint64_t step = 1;
    for (int i = n_dims - 1; i >= 0; i--) {
        if (shape[i] > 1 && stride[i] != step)
            return false;
        step *= shape[i];
    }
    return true;
}

/* The view must lie inside `size` bytes of storage. */
static int check_bounds(struct pc_checkpoint *ck, const char *name, const struct pc_value *v,
    const struct bounds *b, uint64_t size, struct paco_error *err)
{
    uint64_t end = 0, bytes = 0;
    if (b->n_elements == 0)
        return 0;
    if (!pc_add_u64(b->last, 1, &end) || !pc_dtype_size(v->tensor->dtype, end, &end) || end > size)
        return FAIL(ck, v->at, PACO_EFORMAT, err,
            "tensor '%s' reaches to element %llu of %s, beyond its storage of %llu bytes", name,
            (unsigned long long)b->last, pc_dtype_name(v->tensor->dtype), (unsigned long long)size);
    if (!pc_dtype_size(v->tensor->dtype, b->n_elements, &bytes) ||
        (bytes > LARGE_TENSOR && bytes / MAX_EXPANSION > size))
        return FAIL(ck, v->at, PACO_ELIMIT, err,
            "tensor '%s' would expand %llu bytes of storage to %llu elements", name, (unsigned long long)size,
            (unsigned long long)b->n_elements);
    return 0;
}

static int add_view(
    struct pc_torch_file *tf, const struct pc_torch_view *view, size_t i, struct paco_error *err)
{
    if (pc_grow(&tf->views, &tf->views_capacity, i, sizeof *tf->views, "the table of tensors", err) < 0)
        return PACO_EMEM;
    tf->views[i] = *view;
    return 0;
}

/* Views that do not come in the storage's order leave it short: then it is summed by itself. */
static void count_viewed(struct pc_torch_storage *s, uint64_t offset, uint64_t size)
{
    if (offset <= s->viewed && offset + size > s->viewed)
        s->viewed = offset + size;
}

static int add_tensor(struct pc_checkpoint *ck, const struct pc_value *key, const struct pc_value *v,
    pc_torch_resolve *resolve, void *ctx, struct paco_error *err)
{
    const struct pc_pickle_tensor *t = v->tensor;
    const char *name = key->text.s;
    uint64_t shape[PC_MAX_DIMS], size = 0, storage_at = 0;
    struct pc_torch_view view = {0};
    struct bounds bounds;
    int rc = read_shape(ck, name, v, shape, view.stride, &bounds, err);
    if (rc < 0)
        return rc;
    rc = resolve(ctx, ck, t->storage, &view.i_storage, &storage_at, &size, err);
    if (rc < 0) {
        pc_error_prefix(err, "tensor '%s'", name);
        return fail_at(ck, t->storage->at, rc, err);
    }
    rc = check_bounds(ck, name, v, &bounds, size, err);
    if (rc < 0)
        return rc;
    int n_dims = (int)t->shape->seq.n;
    view.contiguous = bounds.n_elements == 0 || is_contiguous(n_dims, shape, view.stride);
    // Of an empty tensor no byte is read, so its offset may be anything.
    view.offset =
        bounds.n_elements ? storage_at + (uint64_t)t->offset * pc_dtype_traits(t->dtype)->block_size : 0;
    rc = add_view(ck->impl, &view, ck->n_tensors, err);
    if (rc == 0)
        rc = pc_checkpoint_add_tensor(ck, name, key->text.len, t->dtype, n_dims, shape, err);
    if (rc == 0 && view.contiguous)
        count_viewed(&((struct pc_torch_file *)ck->impl)->storages[view.i_storage], view.offset,
            ck->tensors[ck->n_tensors - 1].size);
    return rc < 0 ? fail_at(ck, v->at, rc, err) : 0;
}

/* ---- which dict is the state dict ---- */

static bool has_tensors(const struct pc_value *v)
{
    for (size_t i = 0; v->kind == PC_VALUE_DICT && i < v->seq.n; i += 2)
        if (v->seq.items[i + 1]->kind == PC_VALUE_TENSOR)
            return true;
    return false;
}

/* Trainers wrap it. *under is the key then. */
static const struct pc_value *find_state_dict(const struct pc_value *root, const char **under)
{
    static const char *const wrappers[] = {
        "state_dict", "model", "module", "model_state_dict", "model_state"};
    *under = NULL;
    if (has_tensors(root))
        return root;
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        const struct pc_value *v = pc_value_get(root, wrappers[i]);
        if (v && has_tensors(v)) {
            *under = wrappers[i];
            return v;
        }
    }
    return NULL;
}

/* "'epoch' (an integer), 'optimizer' (a dict)" of the items that are not tensors, `but` excepted. Returns how
 * many. */
static size_t list_others(struct pc_buf *b, const struct pc_value *dict, const char *but)
{
    size_t n = 0;
    for (size_t i = 0; i < dict->seq.n; i += 2) {
        const struct pc_value *key = dict->seq.items[i], *v = dict->seq.items[i + 1];
        bool is_name = key->kind == PC_VALUE_STR;
        if ((v->kind == PC_VALUE_TENSOR && is_name) || (but && pc_value_is_str(key, but)))
            continue;
        if (n++ >= MAX_NOTED)
            continue;
        char shown[64] = "...";
        if (is_name)
            pc_printable(key->text.s, shown, sizeof shown);
        pc_buf_printf(b, "%s'%s' (%s)", n > 1 ? ", " : "", shown, pc_value_describe(v));
    }
    if (n > MAX_NOTED)
        pc_buf_puts(b, ", ...");
    return n;
}

static int set_note(struct pc_checkpoint *ck, const struct pc_value *root, const struct pc_value *dict,
    const char *under, struct paco_error *err)
{
    struct pc_buf list, note;
    pc_buf_init(&list, MAX_NOTE);
    pc_buf_init(&note, 3 * MAX_NOTE);
    size_t n = list_others(&list, dict, NULL);
    if (n)
        pc_buf_printf(&note, "skipped %zu value%s that %s not tensors: %s", n, n > 1 ? "s" : "",
            n > 1 ? "are" : "is", list.data);
    pc_buf_clear(&list);
    if (under) {
        n = list_others(&list, root, under);
        pc_buf_printf(&note, "%sthe tensors are under '%s'%s%s", note.len ? "; " : "", under,
            n ? ", beside " : "", n ? list.data : "");
    }
    int rc = list.failed || note.failed ? pc_error_mem(err, MAX_NOTE, "a note") : 0;
    if (rc == 0 && note.len && !(ck->note = pc_arena_strndup(&ck->arena, note.data, note.len)))
        rc = pc_error_mem(err, note.len, "a note");
    pc_buf_release(&list);
    pc_buf_release(&note);
    return rc;
}

static int no_state_dict(struct pc_checkpoint *ck, const struct pc_value *root, struct paco_error *err)
{
    struct pc_buf list;
    if (root->kind != PC_VALUE_DICT)
        return FAIL(ck, root->at, PACO_EFORMAT, err, "holds %s where a dict of named tensors is expected",
            pc_value_describe(root));
    pc_buf_init(&list, MAX_NOTE);
    size_t n = list_others(&list, root, NULL);
    pc_error_set(err, PACO_EFORMAT, "holds no named tensors, only %s%s", n ? "" : "an empty dict",
        n && list.data ? list.data : "");
    pc_buf_release(&list);
    return fail_at(ck, root->at, PACO_EFORMAT, err);
}

int pc_torch_fill(struct pc_checkpoint *ck, const struct pc_value *root, pc_torch_resolve *resolve, void *ctx,
    struct paco_error *err)
{
    const char *under;
    assert(root);
    const struct pc_value *dict = find_state_dict(root, &under);
    if (!dict)
        return no_state_dict(ck, root, err);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < dict->seq.n; i += 2) {
        const struct pc_value *key = dict->seq.items[i], *v = dict->seq.items[i + 1];
        if (key->kind == PC_VALUE_STR && v->kind == PC_VALUE_TENSOR)
            rc = add_tensor(ck, key, v, resolve, ctx, err);
    }
    return rc < 0 ? rc : set_note(ck, root, dict, under, err);
}

/* ---- opening ---- */

static int load(struct pc_checkpoint *ck, struct paco_error *err)
{
    const struct pc_torch_file *tf = ck->impl;
    enum pc_file_kind kind;
    int rc = pc_sniff(&tf->file, &kind, err);
    if (rc < 0)
        return rc;
    switch (kind) {
    case PC_FILE_ZIP: return pc_torch_zip_load(ck, err);
    case PC_FILE_PICKLE: return pc_torch_legacy_load(ck, err);
    default: return pc_sniff_refuse(&tf->file, kind, "a PyTorch checkpoint", err);
    }
}

int pc_torch_open(const char *path, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_file file;
    int rc = pc_file_open(&file, path, err);
    if (rc < 0)
        return rc;
    struct pc_checkpoint *ck = pc_checkpoint_new("torch", NULL, path, err);
    struct pc_torch_file *tf = ck ? pc_arena_alloc(&ck->arena, 1, sizeof *tf) : NULL;
    if (!tf) {
        pc_checkpoint_close(ck);
        pc_file_close(&file);
        return pc_error_mem(err, sizeof *tf, "a checkpoint");
    }
    tf->file = file;
    pthread_mutex_init(&tf->lock, NULL);
    pthread_mutex_init(&tf->check_lock, NULL);
    ck->impl = tf;
    ck->ops = &g_ops;
    rc = load(ck, err);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
