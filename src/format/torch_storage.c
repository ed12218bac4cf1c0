// SPDX-License-Identifier: Apache-2.0
/* Bytes of storages, and their CRCs summed on the way.
 *
 * Each read of a stored entry sums what no read before it has summed, outside the lock, and leaves a piece
 * (start, end, CRC); neighbouring pieces join by crc32_combine. When one piece spans the entry it is compared
 * with the archive's sum. So the order of reads and the number of threads do not matter, and rows that were
 * sampled first leave no holes. With too many loose pieces (random access) the shortest is forgotten, and
 * summed again by whoever reads it next. */
#include "format/torch_file.h"

#include "base/crc32.h"

#include <string.h>

enum { MAX_PIECES = 256, CHUNK = 256 * 1024 };

int pc_torch_add_storage(
    struct pc_checkpoint *ck, const struct pc_torch_storage *s, uint32_t *i, struct paco_error *err)
{
    struct pc_torch_file *tf = ck->impl;
    if (tf->n_storages == 2 * PC_MAX_TENSORS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d storages", 2 * PC_MAX_TENSORS);
    if (pc_grow(&tf->storages, &tf->storages_capacity, tf->n_storages, sizeof *tf->storages,
            "the table of storages", err) < 0)
        return PACO_EMEM;
    struct pc_torch_storage *to = &tf->storages[tf->n_storages];
    *to = *s;
    to->name = pc_arena_strndup(&ck->arena, s->name, strlen(s->name));
    if (!to->name)
        return pc_error_mem(err, strlen(s->name), "a storage's name");
    if (s->deflated && !tf->inflate && !(tf->inflate = pc_inflate_new(&tf->file)))
        return pc_error_mem(err, 1024, "inflating");
    *i = tf->n_storages++;
    return 0;
}

static int damaged(const struct pc_torch_file *tf, const struct pc_torch_storage *s, struct paco_error *err)
{
    pc_error_set(err, PACO_EFORMAT,
        "zip entry '%s' is damaged: the CRC-32 of its bytes is not %08x as the archive says; download the "
        "file again",
        s->name, s->crc32);
    pc_error_at(err, tf->file.path, s->offset);
    return PACO_EFORMAT;
}

/* Where a piece that starts at `start` belongs; reads mostly go forward, so look from the end. */
static uint32_t position(const struct pc_torch_storage *s, uint64_t start)
{
    uint32_t i = s->n_pieces;
    while (i > 0 && s->pieces[i - 1].start > start)
        i--;
    return i;
}

/* The first stretch of [start, end) that lies in no piece; false when there is none. Pieces that touch are
 * joined, so behind a piece there is always a gap. */
static bool next_gap(
    const struct pc_torch_storage *s, uint64_t start, uint64_t end, struct pc_torch_piece *gap)
{
    uint32_t i = position(s, start);
    if (i > 0 && s->pieces[i - 1].end > start)
        start = s->pieces[i - 1].end;
    if (i < s->n_pieces && s->pieces[i].start < end)
        end = s->pieces[i].start;
    *gap = (struct pc_torch_piece){start, end, 0};
    return start < end;
}

static void settle(struct pc_torch_storage *s, uint32_t crc32)
{
    s->sum = crc32 == s->crc32 ? PC_SUM_GOOD : PC_SUM_BAD;
    pc_free(s->pieces);
    s->pieces = NULL;
    s->n_pieces = s->capacity = 0;
}

static bool make_room(struct pc_torch_storage *s)
{
    return pc_grow(&s->pieces, &s->capacity, s->n_pieces, sizeof *s->pieces, "checked bytes", NULL) == 0;
}

/* Join b to a if they touch. */
static bool join(struct pc_torch_piece *a, const struct pc_torch_piece *b)
{
    if (a->end != b->start)
        return false;
    a->crc32 = pc_crc32_combine(a->crc32, b->crc32, b->end - b->start);
    a->end = b->end;
    return true;
}

/* Of one stream of reads only what lies ahead of it can be the shortest, and that it will read. */
static void forget_shortest(struct pc_torch_storage *s)
{
    uint32_t shortest = 0;
    for (uint32_t i = 1; i < s->n_pieces; i++)
        if (s->pieces[i].end - s->pieces[i].start < s->pieces[shortest].end - s->pieces[shortest].start)
            shortest = i;
    s->n_pieces--;
    memmove(&s->pieces[shortest], &s->pieces[shortest + 1], (s->n_pieces - shortest) * sizeof *s->pieces);
}

/* Add a piece that overlaps none. False when memory is out. Called with the lock. */
static bool add_piece(struct pc_torch_storage *s, const struct pc_torch_piece *piece)
{
    if (s->n_pieces == MAX_PIECES)
        forget_shortest(s);
    uint32_t i = position(s, piece->start);
    if (i > 0 && join(&s->pieces[i - 1], piece)) {
        i--;
    } else {
        if (!make_room(s))
            return false;
        memmove(&s->pieces[i + 1], &s->pieces[i], (s->n_pieces - i) * sizeof *s->pieces);
        s->pieces[i] = *piece;
        s->n_pieces++;
    }
    if (i + 1 < s->n_pieces && join(&s->pieces[i], &s->pieces[i + 1])) {
        s->n_pieces--;
        memmove(&s->pieces[i + 1], &s->pieces[i + 2], (s->n_pieces - i - 1) * sizeof *s->pieces);
    }
    if (s->pieces[i].start == 0 && s->pieces[i].end == s->size)
        settle(s, s->pieces[i].crc32);
    return true;
}

int pc_torch_storage_sum(struct pc_torch_file *tf, struct pc_torch_storage *s, uint64_t offset,
    const void *bytes, size_t len, struct paco_error *err)
{
    struct pc_torch_piece gap, again;
    uint64_t at = offset, end = offset + len;
    bool have_memory = true;
    pthread_mutex_lock(&tf->lock);
    while (have_memory && s->sum == PC_SUM_PENDING && next_gap(s, at, end, &gap)) {
        pthread_mutex_unlock(&tf->lock);
        gap.crc32 = pc_crc32(0, (const char *)bytes + (gap.start - offset), (size_t)(gap.end - gap.start));
        pthread_mutex_lock(&tf->lock);
        // Another thread may have filled some of it meanwhile: then the rest is found anew.
        bool still = s->sum == PC_SUM_PENDING && next_gap(s, gap.start, gap.end, &again) &&
                     again.start == gap.start && again.end == gap.end;
        if (still)
            have_memory = add_piece(s, &gap);
        at = still ? gap.end : gap.start;
    }
    enum pc_torch_sum state = s->sum;
    pthread_mutex_unlock(&tf->lock);
    if (!have_memory)
        return pc_error_mem(err, sizeof gap, "checking a CRC");
    return state == PC_SUM_BAD ? damaged(tf, s, err) : 0;
}

int pc_torch_storage_read(struct pc_torch_file *tf, struct pc_torch_storage *s, uint64_t offset, void *buf,
    size_t len, struct paco_error *err)
{
    if (s->deflated)
        return pc_inflate_read(tf->inflate, s, offset, buf, len, err);
    int rc = pc_file_read(&tf->file, s->offset + offset, buf, len, err);
    if (rc < 0 || !s->has_crc || len == 0)
        return rc;
    return pc_torch_storage_sum(tf, s, offset, buf, len, err);
}

/* The CRC of a whole stored entry, read in bounded pieces; *crc32 comes in as 0. */
static int sum_whole(
    struct pc_torch_file *tf, const struct pc_torch_storage *s, uint32_t *crc32, struct paco_error *err)
{
    uint8_t *buf = pc_alloc(CHUNK, 1);
    if (!buf)
        return pc_error_mem(err, CHUNK, "checking a CRC");
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < s->size;) {
        size_t n = s->size - at < CHUNK ? (size_t)(s->size - at) : CHUNK;
        rc = pc_file_read(&tf->file, s->offset + at, buf, n, err);
        if (rc == 0)
            *crc32 = pc_crc32(*crc32, buf, n);
        at += n;
    }
    pc_free(buf);
    return rc;
}

/* Whoever reads the last byte of a deflated entry has summed all before it. */
static int inflate_whole(
    struct pc_torch_file *tf, const struct pc_torch_storage *s, uint32_t *crc32, struct paco_error *err)
{
    uint8_t last;
    *crc32 = s->crc32;
    return pc_inflate_read(tf->inflate, s, s->size - 1, &last, 1, err);
}

static enum pc_torch_sum state_of(struct pc_torch_file *tf, const struct pc_torch_storage *s)
{
    pthread_mutex_lock(&tf->lock);
    enum pc_torch_sum state = s->sum;
    pthread_mutex_unlock(&tf->lock);
    return state;
}

int pc_torch_storage_check(struct pc_torch_file *tf, struct pc_torch_storage *s, struct paco_error *err)
{
    int rc = 0;
    if (s->size == 0 || (!s->has_crc && !s->deflated))
        return 0;
    pthread_mutex_lock(&tf->check_lock);
    if (state_of(tf, s) == PC_SUM_PENDING) {
        uint32_t crc32 = 0;
        rc = s->deflated ? inflate_whole(tf, s, &crc32, err) : sum_whole(tf, s, &crc32, err);
        pthread_mutex_lock(&tf->lock);
        if (rc == 0 && s->sum == PC_SUM_PENDING)
            settle(s, crc32);
        pthread_mutex_unlock(&tf->lock);
    }
    if (rc == 0 && state_of(tf, s) == PC_SUM_BAD)
        rc = damaged(tf, s, err);
    pthread_mutex_unlock(&tf->check_lock);
    return rc;
}
