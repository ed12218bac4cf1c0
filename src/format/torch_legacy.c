// SPDX-License-Identifier: Apache-2.0
/* The form before PyTorch 1.6: five pickles one after the other (a magic number, the version 1001, a dict
 * about the machine, the state dict, the list of storage keys), then each storage in the list's order: its
 * count of elements as a 64-bit integer, and the elements. The size of an element is known only from the
 * state dict. */
#include "format/torch_file.h"

#include <stdio.h>
#include <string.h>

static const char g_magic[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
                  g_magic_digits[] = "119547037146038801333356";

enum { VERSION = 1001 };

/* What the state dict says of a storage, and where it turned out to be. */
struct slot {
    const struct pc_pickle_storage *ref; /* the first */
    uint64_t size;
    uint32_t i_storage;
    bool found;
};

struct legacy {
    uint64_t pos; /* of the next pickle or storage */
    struct pc_map by_key;
    struct slot *slots;
    uint32_t n_slots;
};

static int fail_at(const struct pc_torch_file *tf, uint64_t at, int code, struct paco_error *err)
{
    pc_error_at(err, tf->file.path, at);
    return code;
}

#define FAIL(tf, at, code, err, ...)                                                                         \
    (pc_error_set((err), (code), __VA_ARGS__), fail_at((tf), (at), (code), (err)))

static int next_pickle(
    const struct pc_torch_file *tf, struct legacy *l, struct pc_pickle *p, struct paco_error *err)
{
    struct pc_pickle_input in = {
        .file = &tf->file, .start = l->pos, .end = tf->file.size, .path = tf->file.path};
    int rc = pc_pickle_read(&in, p, err);
    if (rc == 0)
        l->pos = p->end;
    return rc;
}

static bool is_magic(const struct pc_value *v)
{
    if (v->kind != PC_VALUE_LONG)
        return false;
    return (v->text.len == sizeof g_magic - 1 && memcmp(v->text.s, g_magic, sizeof g_magic - 1) == 0) ||
           strcmp(v->text.s, g_magic_digits) == 0;
}

static int check_header(
    const struct pc_torch_file *tf, int i, const struct pc_value *v, struct paco_error *err)
{
    if (i == 0 && !is_magic(v))
        return FAIL(tf, 0, PACO_EFORMAT, err,
            "is a Python pickle of %s, but not a PyTorch checkpoint: PyTorch's magic number is missing",
            pc_value_describe(v));
    if (i == 1 && (v->kind != PC_VALUE_INT || v->i != VERSION))
        return FAIL(
            tf, v->at, PACO_EUNSUPPORTED, err, "is not of version %d of PyTorch's old format", VERSION);
    const struct pc_value *little = i == 2 ? pc_value_get(v, "little_endian") : NULL;
    if (little && little->kind == PC_VALUE_BOOL && !little->b)
        return FAIL(tf, v->at, PACO_EUNSUPPORTED, err,
            "was written on a big-endian machine; only little-endian files are supported");
    return 0;
}

static int read_header(const struct pc_torch_file *tf, struct legacy *l, struct paco_error *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < 3; i++) {
        struct pc_pickle p;
        rc = next_pickle(tf, l, &p, err);
        if (rc == 0) {
            rc = check_header(tf, i, p.root, err);
            pc_pickle_release(&p);
        }
    }
    return rc;
}

/* One slot for each key; every mention must mean the same bytes. */
static int collect_slots(
    const struct pc_torch_file *tf, struct legacy *l, const struct pc_pickle *p, struct paco_error *err)
{
    uint32_t n = 0;
    for (const struct pc_pickle_storage *s = p->storages; s; s = s->next)
        n++;
    l->slots = pc_alloc_zero(n, sizeof *l->slots);
    if (!l->slots || !pc_map_reserve(&l->by_key, n))
        return pc_error_mem(err, n * sizeof *l->slots, "the table of storages");
    for (const struct pc_pickle_storage *s = p->storages; s; s = s->next) {
        uint64_t size = 0;
        uint32_t i = l->n_slots;
        if (s->n_elements < 0 || !pc_dtype_size(s->dtype, (uint64_t)s->n_elements, &size))
            return FAIL(tf, s->at, PACO_EFORMAT, err, "storage '%s' has %lld elements", s->key,
                (long long)s->n_elements);
        int added = pc_map_add(&l->by_key, s->key, s->key_len, i);
        if (added < 0)
            return pc_error_mem(err, sizeof *s, "the table of storages");
        if (added == 0)
            pc_map_get(&l->by_key, s->key, s->key_len, &i);
        else
            l->slots[l->n_slots++].size = size;
        if (l->slots[i].size != size)
            return FAIL(tf, s->at, PACO_EFORMAT, err, "storage '%s' is %llu bytes here and %llu elsewhere",
                s->key, (unsigned long long)size, (unsigned long long)l->slots[i].size);
        l->slots[i].ref = s; // the list runs backwards: the first mention stays
    }
    return 0;
}

/* The storage at l->pos, which belongs to key. */
static int locate_storage(
    struct pc_checkpoint *ck, struct legacy *l, const struct pc_value *key, struct paco_error *err)
{
    struct pc_torch_file *tf = ck->impl;
    uint32_t i;
    uint8_t bytes[8];
    char name[64];
    if (key->kind != PC_VALUE_STR || !pc_map_get(&l->by_key, key->text.s, key->text.len, &i))
        return FAIL(
            tf, key->at, PACO_EFORMAT, err, "the list of storages names one that the state dict does not");
    struct slot *slot = &l->slots[i];
    if (slot->found)
        return FAIL(tf, key->at, PACO_EFORMAT, err, "storage '%s' is listed twice", slot->ref->key);
    int rc = pc_file_read(&tf->file, l->pos, bytes, sizeof bytes, err);
    if (rc < 0) {
        pc_error_prefix(err, "storage '%s'", slot->ref->key);
        return rc;
    }
    uint64_t n = 0;
    for (int k = 7; k >= 0; k--)
        n = n << 8 | bytes[k];
    if (n != (uint64_t)slot->ref->n_elements)
        return FAIL(tf, l->pos, PACO_EFORMAT, err,
            "storage '%s' has %lld elements here and %lld in the state dict", slot->ref->key, (long long)n,
            (long long)slot->ref->n_elements);
    l->pos += sizeof bytes;
    if (slot->size > tf->file.size - l->pos)
        return FAIL(tf, l->pos, PACO_EFORMAT, err,
            "storage '%s' is %llu bytes, but the file ends %llu bytes after its start (truncated?); download "
            "it again",
            slot->ref->key, (unsigned long long)slot->size, (unsigned long long)(tf->file.size - l->pos));
    snprintf(name, sizeof name, "storage '%.40s'", slot->ref->key);
    struct pc_torch_storage s = {
        .name = name, .offset = l->pos, .size = slot->size, .packed_size = slot->size};
    l->pos += slot->size;
    slot->found = true;
    return pc_torch_add_storage(ck, &s, &slot->i_storage, err);
}

static int locate_storages(struct pc_checkpoint *ck, struct legacy *l, struct paco_error *err)
{
    struct pc_pickle keys;
    int rc = next_pickle(ck->impl, l, &keys, err);
    if (rc < 0)
        return rc;
    if (keys.root->kind != PC_VALUE_LIST)
        rc = FAIL((struct pc_torch_file *)ck->impl, keys.root->at, PACO_EFORMAT, err,
            "the list of storages is %s", pc_value_describe(keys.root));
    for (size_t i = 0; rc == 0 && i < keys.root->seq.n; i++)
        rc = locate_storage(ck, l, keys.root->seq.items[i], err);
    pc_pickle_release(&keys);
    return rc;
}

/* pc_torch_resolve over the slots. */
static int resolve(void *ctx, struct pc_checkpoint *ck, const struct pc_pickle_storage *ref,
    uint32_t *i_storage, uint64_t *offset, uint64_t *size, struct paco_error *err)
{
    (void)ck;
    const struct legacy *l = ctx;
    uint32_t i;
    if (!pc_map_get(&l->by_key, ref->key, ref->key_len, &i) || !l->slots[i].found)
        return pc_error_set(err, PACO_EFORMAT, "storage '%s' is not in the file's list", ref->key);
    const struct slot *slot = &l->slots[i];
    const uint64_t element = pc_dtype_traits(ref->dtype)->block_size, n = slot->size / element;
    *i_storage = slot->i_storage;
    *offset = 0;
    *size = slot->size;
    if (!ref->is_view)
        return 0;
    if (ref->view_offset < 0 || ref->view_n < 0 || (uint64_t)ref->view_offset > n ||
        (uint64_t)ref->view_n > n - (uint64_t)ref->view_offset)
        return pc_error_set(err, PACO_EFORMAT,
            "a view of %lld elements from %lld of storage '%s', which has %llu", (long long)ref->view_n,
            (long long)ref->view_offset, ref->key, (unsigned long long)n);
    *offset = (uint64_t)ref->view_offset * element;
    *size = (uint64_t)ref->view_n * element;
    return 0;
}

int pc_torch_legacy_load(struct pc_checkpoint *ck, struct paco_error *err)
{
    struct pc_torch_file *tf = ck->impl;
    struct legacy l = {0};
    struct pc_pickle dict = {0};
    int rc = read_header(tf, &l, err);
    if (rc == 0)
        rc = next_pickle(tf, &l, &dict, err);
    if (rc != 0)
        return rc;
    rc = collect_slots(tf, &l, &dict, err);
    if (rc == 0)
        rc = locate_storages(ck, &l, err);
    if (rc == 0)
        rc = pc_torch_fill(ck, dict.root, resolve, &l, err);
    pc_map_release(&l.by_key);
    pc_free(l.slots);
    pc_pickle_release(&dict);
    return rc;
}
