// SPDX-License-Identifier: Apache-2.0
/* An open PyTorch file: storages, and tensors as views of them. Internal to the torch_*.c files.
 *
 * torch.c opens and builds the table of tensors, torch_zip.c and torch_legacy.c say where storages lie,
 * torch_storage.c reads their bytes (in place or inflated) and sums them, torch_view.c gathers strided views.
 */
#ifndef PC_FORMAT_TORCH_FILE_H
#define PC_FORMAT_TORCH_FILE_H

#include "base/file.h"
#include "format/checkpoint.h"
#include "format/pickle.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct pc_inflate;

/* Bytes [start, end) of a storage that have been read, and their CRC-32. */
struct pc_torch_piece {
    uint64_t start, end;
    uint32_t crc32;
};

enum pc_torch_sum { PC_SUM_PENDING, PC_SUM_GOOD, PC_SUM_BAD };

struct pc_torch_storage {
    const char *name;     /* for messages: "archive/data/3", "storage '94...'"; in the checkpoint's arena */
    uint64_t offset;      /* of its bytes in the file */
    uint64_t size;        /* bytes, unpacked */
    uint64_t packed_size; /* bytes in the file */
    bool deflated;
    bool has_crc;
    uint32_t crc32;                /* as the archive states it, if has_crc */
    uint64_t viewed;               /* bytes from the first on that contiguous views will read */
    enum pc_torch_sum sum;         /* of a stored entry */
    struct pc_torch_piece *pieces; /* sorted, apart; owned */
    size_t n_pieces, capacity;
};

/* The tensor with the same index in the checkpoint, as a view of a storage. */
struct pc_torch_view {
    uint32_t i_storage;
    bool contiguous;
    uint64_t offset;              /* bytes into the storage */
    uint64_t stride[PC_MAX_DIMS]; /* in elements */
};

struct pc_torch_file {
    struct pc_file file;
    struct pc_torch_storage *storages; /* owned */
    uint32_t n_storages;
    size_t storages_capacity;
    struct pc_torch_view *views; /* owned; one for each tensor */
    size_t views_capacity;
    pthread_mutex_t lock;       /* over map, inflate, and every storage's sum and pieces */
    pthread_mutex_t check_lock; /* held while one storage is summed whole */
    void *map;
    bool map_failed;
    struct pc_inflate *inflate; /* cursors in deflated storages, or NULL while there are none */
};

/** Append a storage and return its index in *i. name is copied into the checkpoint's arena. */
int pc_torch_add_storage(
    struct pc_checkpoint *ck, const struct pc_torch_storage *s, uint32_t *i, struct paco_error *err);

/** Finds the storage that a pickle's storage means: its index, and the bytes of it that belong to `ref`. */
typedef int pc_torch_resolve(void *ctx, struct pc_checkpoint *ck, const struct pc_pickle_storage *ref,
    uint32_t *i_storage, uint64_t *offset, uint64_t *size, struct paco_error *err);

/** Fill the table of tensors from the pickled value. Errors have the offset of the value at fault. */
int pc_torch_fill(struct pc_checkpoint *ck, const struct pc_value *root, pc_torch_resolve *resolve, void *ctx,
    struct paco_error *err);

/** The two forms. On success the table is filled. */
int pc_torch_zip_load(struct pc_checkpoint *ck, struct paco_error *err);
int pc_torch_legacy_load(struct pc_checkpoint *ck, struct paco_error *err);

/** Bytes [offset, offset + len) of a storage into buf; the range is inside. Sums the CRC. Thread-safe. */
int pc_torch_storage_read(struct pc_torch_file *tf, struct pc_torch_storage *s, uint64_t offset, void *buf,
    size_t len, struct paco_error *err);

/** The same for bytes that are mapped: only sums. Thread-safe. */
int pc_torch_storage_sum(struct pc_torch_file *tf, struct pc_torch_storage *s, uint64_t offset,
    const void *bytes, size_t len, struct paco_error *err);

/** For readers that jump about, or will not come to the end: compare the CRC of the whole storage now, unless
 * that is done. Thread-safe. */
int pc_torch_storage_check(struct pc_torch_file *tf, struct pc_torch_storage *s, struct paco_error *err);

/** Bytes of a deflated storage, through one of a few inflating cursors: quick when reads go forward, from the
 * start again when they do not. Compares the CRC when the end is reached. Thread-safe. */
int pc_inflate_read(struct pc_inflate *inflate, const struct pc_torch_storage *s, uint64_t offset, void *buf,
    size_t len, struct paco_error *err);
/** Cursors over f, which is borrowed. *owned*: pc_inflate_free, which accepts NULL. NULL when memory is out.
 */
struct pc_inflate *pc_inflate_new(const struct pc_file *f);
void pc_inflate_free(struct pc_inflate *inflate);

/** Before the file is closed: no rows gathered ahead are its any more. */
void pc_torch_forget_panels(const struct pc_torch_file *tf);

/** Rows [row0, row0 + n_rows) of a tensor that is not contiguous, row-major, into buf. Thread-safe. */
int pc_torch_gather(struct pc_torch_file *tf, const struct pc_tensor *t, uint64_t row0, uint64_t n_rows,
    void *buf, struct paco_error *err);

#endif
