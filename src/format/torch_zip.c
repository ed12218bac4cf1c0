// SPDX-License-Identifier: Apache-2.0
/* The zip form: PREFIX/data.pkl is the state dict, PREFIX/data/KEY a storage; PREFIX is any one folder, or
 * none. */
#include "format/torch_file.h"
#include "format/zip.h"

#include <stdio.h>
#include <string.h>

struct archive {
    struct pc_zip zip;
    int prefix_len; /* of every entry of ours, its slash included */
    const char *prefix;
    uint32_t *slots; /* storage of each entry, plus one; 0 when it has none yet */
};

static int fail_at(const struct pc_torch_file *tf, uint64_t at, int code, struct paco_error *err)
{
    pc_error_at(err, tf->file.path, at);
    return code;
}

#define FAIL(tf, at, code, err, ...)                                                                         \
    (pc_error_set((err), (code), __VA_ARGS__), fail_at((tf), (at), (code), (err)))

static const struct pc_zip_entry *find(const struct archive *a, const char *name)
{
    char full[PC_ZIP_MAX_NAME * 2 + 1];
    snprintf(full, sizeof full, "%.*s%s", a->prefix_len, a->prefix, name);
    return pc_zip_find(&a->zip, full);
}

static bool is_pickle_name(const char *name)
{
    const char *slash = strchr(name, '/');
    return strcmp(slash ? slash + 1 : name, "data.pkl") == 0;
}

static int find_prefix(const struct pc_torch_file *tf, struct archive *a, struct paco_error *err)
{
    const struct pc_zip_entry *found = NULL;
    for (size_t i = 0; i < a->zip.n_entries; i++) {
        const struct pc_zip_entry *e = &a->zip.entries[i];
        if (!is_pickle_name(e->name))
            continue;
        if (found)
            return FAIL(tf, e->central_at, PACO_EFORMAT, err,
                "the archive has two state dicts, '%s' and '%s'", found->name, e->name);
        found = e;
    }
    if (!found)
        return FAIL(tf, 0, PACO_EFORMAT, err,
            "is a zip archive, but not a PyTorch checkpoint: none of its %zu entries is a data.pkl",
            a->zip.n_entries);
    a->prefix = found->name;
    a->prefix_len = (int)(strlen(found->name) - strlen("data.pkl"));
    const struct pc_zip_entry *constants = find(a, "constants.pkl");
    if (constants)
        return FAIL(tf, constants->header_at, PACO_EUNSUPPORTED, err,
            "is a TorchScript program, not a checkpoint; ask the publisher for the weights as safetensors");
    return 0;
}

static struct pc_torch_storage storage_of(const struct pc_zip_entry *e)
{
    // torch.serialization.set_crc32_options(False) writes zeros.
    bool has_crc = e->crc32 != 0;
    return (struct pc_torch_storage){.name = e->name,
        .offset = e->data_at,
        .size = e->size,
        .packed_size = e->packed_size,
        .deflated = e->deflated,
        .has_crc = has_crc,
        .crc32 = e->crc32};
}

/* A whole entry of at most max bytes, its CRC checked. *bytes is owned. */
static int read_entry(struct pc_torch_file *tf, const struct pc_zip_entry *e, size_t max, uint8_t **bytes,
    struct paco_error *err)
{
    if (e->size > max)
        return FAIL(tf, e->central_at, PACO_ELIMIT, err,
            "zip entry '%s' is %llu bytes; at most %zu are supported", e->name, (unsigned long long)e->size,
            max);
    if (e->deflated && !tf->inflate && !(tf->inflate = pc_inflate_new(&tf->file)))
        return pc_error_mem(err, 1024, "inflating");
    struct pc_torch_storage s = storage_of(e);
    *bytes = pc_alloc((size_t)e->size, 1);
    if (!*bytes)
        return pc_error_mem(err, e->size, e->name);
    int rc = pc_torch_storage_read(tf, &s, 0, *bytes, (size_t)e->size, err);
    pc_free(s.pieces);
    if (rc < 0) {
        pc_free(*bytes);
        *bytes = NULL;
    }
    return rc;
}

static int check_byteorder(struct pc_torch_file *tf, const struct archive *a, struct paco_error *err)
{
    const struct pc_zip_entry *e = find(a, "byteorder");
    uint8_t *bytes;
    if (!e)
        return 0;
    int rc = read_entry(tf, e, 16, &bytes, err);
    if (rc < 0)
        return rc;
    if (e->size != 6 || memcmp(bytes, "little", 6) != 0)
        rc = FAIL(tf, e->data_at, PACO_EUNSUPPORTED, err,
            "was written on a big-endian machine (zip entry '%s'); only little-endian files are supported",
            e->name);
    pc_free(bytes);
    return rc;
}

/* pc_torch_resolve over an archive. */
static int resolve(void *ctx, struct pc_checkpoint *ck, const struct pc_pickle_storage *ref,
    uint32_t *i_storage, uint64_t *offset, uint64_t *size, struct paco_error *err)
{
    struct archive *a = ctx;
    char name[PC_ZIP_MAX_NAME + 1];
    if (ref->key_len >= PC_ZIP_MAX_NAME - 16 || ref->is_view)
        return pc_error_set(err, PACO_EFORMAT, "its storage is no entry of a zip archive");
    snprintf(name, sizeof name, "data/%s", ref->key);
    const struct pc_zip_entry *e = find(a, name);
    uint64_t expected;
    if (!e)
        return pc_error_set(err, PACO_EFORMAT, "zip entry '%.*s%s', its storage, is not in the archive",
            a->prefix_len, a->prefix, name);
    if (ref->n_elements < 0 || !pc_dtype_size(ref->dtype, (uint64_t)ref->n_elements, &expected) ||
        expected != e->size)
        return pc_error_set(err, PACO_EFORMAT,
            "zip entry '%s' has %llu bytes, but its storage is %lld elements of %s", e->name,
            (unsigned long long)e->size, (long long)ref->n_elements, pc_dtype_name(ref->dtype));
    uint32_t *slot = &a->slots[e - a->zip.entries];
    if (*slot == 0) {
        struct pc_torch_storage s = storage_of(e);
        int rc = pc_torch_add_storage(ck, &s, slot, err);
        if (rc < 0)
            return rc;
        ++*slot;
    }
    *i_storage = *slot - 1;
    *offset = 0;
    *size = e->size;
    return 0;
}

static int load_pickle(struct pc_checkpoint *ck, struct archive *a, struct paco_error *err)
{
    struct pc_torch_file *tf = ck->impl;
    const struct pc_zip_entry *e = find(a, "data.pkl");
    struct pc_pickle pickle;
    uint8_t *bytes;
    int rc = read_entry(tf, e, PC_PICKLE_MAX_SIZE, &bytes, err);
    if (rc < 0)
        return rc;
    struct pc_pickle_input in = {
        .bytes = bytes, .end = e->size, .origin = e->deflated ? 0 : e->data_at, .path = tf->file.path};
    rc = pc_pickle_read(&in, &pickle, err);
    pc_free(bytes);
    if (rc == 0) {
        rc = pc_torch_fill(ck, pickle.root, resolve, a, err);
        pc_pickle_release(&pickle);
    }
    if (rc < 0 && e->deflated)
        pc_error_prefix(err, "in the unpacked bytes of zip entry '%s'", e->name);
    return rc;
}

int pc_torch_zip_load(struct pc_checkpoint *ck, struct paco_error *err)
{
    struct pc_torch_file *tf = ck->impl;
    struct archive a = {0};
    int rc = pc_zip_read(&tf->file, &a.zip, err);
    if (rc < 0)
        return rc;
    a.slots = pc_alloc_zero(a.zip.n_entries, sizeof *a.slots);
    rc = a.slots ? find_prefix(tf, &a, err)
                 : pc_error_mem(err, a.zip.n_entries * sizeof *a.slots, "the table of storages");
    if (rc == 0)
        rc = check_byteorder(tf, &a, err);
    if (rc == 0)
        rc = load_pickle(ck, &a, err);
    pc_free(a.slots);
    pc_zip_release(&a.zip);
    return rc;
}
