// SPDX-License-Identifier: Apache-2.0
#include "weights/meta_layout.h"

#include "algebra/join.h"
#include "algebra/order.h"
#include "algebra/permute.h"
#include "algebra/rename.h"
#include "base/file.h"
#include "base/memory.h"
#include "format/hf_dir.h"
#include "format/torch.h"
#include "weights/meta_names.h"

#include <stdio.h>
#include <string.h>

enum { SAME_PIECE = 1 << 20 };

struct pc_meta {
    struct pc_checkpoint *shards[PC_META_MAX_SHARDS];
    size_t n_shards;
    struct pc_checkpoint *joined, *ordered, *permuted; /* each made of the one before */
    struct pc_checkpoint *stored;
};

/* ---- files ---- */

/* The number in "consolidated.NN.pth", or -1. */
static int shard_number(const char *name)
{
    unsigned n = 0;
    int end = 0;
    return sscanf(name, "consolidated.%2u.pth%n", &n, &end) == 1 && end > 0 && !name[end] &&
                   strlen(name) == 19
               ? (int)n
               : -1;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = pc_path_join(dir, name);
    bool there = path && pc_path_exists(path);
    pc_free(path);
    return there;
}

bool pc_meta_is(const char *dir)
{
    char **names = NULL;
    size_t n = 0;
    bool found = false;
    if (!pc_path_is_dir(dir) || !has_file(dir, "params.json") || pc_hf_weights_name(dir) ||
        pc_dir_list(dir, &names, &n, NULL) < 0)
        return false;
    for (size_t i = 0; i < n && !found; i++)
        found = shard_number(names[i]) >= 0;
    pc_names_free(names, n);
    return found;
}

char *pc_meta_vocabulary(const char *dir)
{
    static const char *const names[] = {"tokenizer.model", "../tokenizer.model"};
    for (size_t i = 0; i < 2; i++) {
        char *path = pc_path_join(dir, names[i]);
        if (path && pc_path_exists(path))
            return path;
        pc_free(path);
    }
    return NULL;
}

/* How many shards dir has: 00 to n - 1, all of them. */
static int count_shards(const char *dir, size_t *n_shards, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    bool there[100] = {false};
    int rc = pc_dir_list(dir, &names, &n, err), last = -1;
    for (size_t i = 0; i < n && rc == 0; i++) {
        int number = shard_number(names[i]);
        if (number >= 0)
            there[number] = true;
        last = number > last ? number : last;
    }
    pc_names_free(names, n);
    for (int i = 0; i <= last && rc == 0; i++)
        if (!there[i])
            rc = pc_error_set(err, PACO_ENOENT,
                "consolidated.%02d.pth is missing, though consolidated.%02d.pth is here: is the download "
                "complete?",
                i, last);
    if (rc == 0 && last >= PC_META_MAX_SHARDS)
        rc = pc_error_set(
            err, PACO_ELIMIT, "has %d shards; at most %d are read", last + 1, PC_META_MAX_SHARDS);
    *n_shards = (size_t)(last + 1);
    return rc;
}

static int open_shards(struct pc_meta *m, const char *dir, struct paco_error *err)
{
    size_t n;
    int rc = count_shards(dir, &n, err);
    while (rc == 0 && m->n_shards < n) {
        char name[32];
        snprintf(name, sizeof name, "consolidated.%02zu.pth", m->n_shards);
        char *path = pc_path_join(dir, name);
        rc = path ? pc_torch_open(path, &m->shards[m->n_shards], err)
                  : pc_error_mem(err, strlen(dir), "a path");
        pc_free(path);
        if (rc == 0)
            m->n_shards++;
    }
    return rc;
}

/* ---- names ---- */

/* The rotary frequencies, which every reader computes. */
static bool is_ignored(const char *name)
{
    return pc_ends_with(name, "rope.freqs");
}

/* ---- joining ---- */

/* The same tensor of every shard, which must be of one shape and type. */
static int find_parts(const struct pc_meta *m, const struct pc_tensor *first, const struct pc_tensor **parts,
    struct paco_error *err)
{
    for (size_t i = 0; i < m->n_shards; i++) {
        char a[160], b[160];
        const struct pc_tensor *t = parts[i] = pc_checkpoint_find(m->shards[i], first->name);
        if (!t)
            pc_error_set(err, PACO_EMISMATCH, "has no tensor '%s', which %s has", first->name,
                pc_path_base(m->shards[0]->path));
        else if (t->dtype != first->dtype || !pc_tensor_same_shape(t, first))
            pc_error_set(err, PACO_EMISMATCH, "tensor '%s' is %s %s, in %s it is %s %s: parts of two models?",
                t->name, pc_dtype_name(t->dtype), pc_tensor_shape(t, a, sizeof a),
                pc_path_base(m->shards[0]->path), pc_dtype_name(first->dtype),
                pc_tensor_shape(first, b, sizeof b));
        else
            continue;
        pc_error_path(err, m->shards[i]->path);
        return PACO_EMISMATCH;
    }
    return 0;
}

/* Norms are held by every machine whole. Where they differ, the shards are not of one model. */
static int check_same(const struct pc_tensor *const *parts, size_t n, struct paco_error *err)
{
    const struct pc_tensor *first = parts[0];
    if (first->size > SAME_PIECE)
        return pc_error_set(err, PACO_ELIMIT, "tensor '%s' has %llu bytes where a norm is expected",
            first->name, (unsigned long long)first->size);
    char *a = pc_alloc(2, (size_t)first->size);
    if (!a)
        return pc_error_mem(err, 2 * first->size, "norms to be compared");
    char *b = a + first->size;
    int rc = pc_tensor_read(first, 0, first->n_rows, a, err);
    for (size_t i = 1; i < n && rc == 0; i++) {
        rc = pc_tensor_read(parts[i], 0, first->n_rows, b, err);
        if (rc == 0 && memcmp(a, b, (size_t)first->size) != 0) {
            rc = pc_error_set(err, PACO_EMISMATCH,
                "tensor '%s' should be the same in every shard, and differs from the one in %s: parts of two "
                "models?",
                first->name, pc_path_base(first->owner->path));
            pc_error_path(err, parts[i]->owner->path);
        }
    }
    pc_free(a);
    return rc;
}

/* LLaMA cuts the embedding's columns, LLaMA 3 its rows; the norms have the width. */
static int axis_of(const struct pc_meta *m, const struct pc_meta_kind *k, const struct pc_tensor *t)
{
    const struct pc_tensor *norm = pc_checkpoint_find(m->shards[0], "norm.weight");
    if (k->cut == PC_META_EMBEDDING)
        return norm && t->n_dims == 2 && t->shape[1] == norm->shape[0] ? 0 : 1;
    return k->cut == PC_META_COLUMNS ? 1 : 0;
}

/* Lists under construction, sized for shard 0's tensors. */
struct lists {
    struct pc_join *rows;
    const struct pc_tensor **parts;
    char (*names)[PC_META_NAME_ROOM];
    size_t n, n_skipped;
    const char *skipped; /* the first tensor that is none of LLaMA's */
};

static int add_row(
    const struct pc_meta *m, const struct pc_tensor *t, struct lists *l, struct paco_error *err)
{
    if (is_ignored(t->name))
        return 0;
    const struct pc_meta_kind *k = pc_meta_kind_of(t->name, l->names[l->n]);
    if (!k) {
        l->skipped = l->n_skipped++ ? l->skipped : t->name;
        return 0;
    }
    const struct pc_tensor **parts = l->parts + l->n * m->n_shards;
    int rc = find_parts(m, t, parts, err);
    if (rc == 0 && k->cut == PC_META_WHOLE)
        rc = check_same(parts, m->n_shards, err);
    uint32_t n = k->cut == PC_META_WHOLE ? 1 : (uint32_t)m->n_shards;
    l->rows[l->n] = (struct pc_join){l->names[l->n], n == 1 ? 0 : axis_of(m, k, t), n, parts};
    l->n++;
    return rc;
}

/* Only tensors that LLaMA has are looked for in the other shards, so those must not have more of them. */
static int check_counts(const struct pc_meta *m, size_t n, struct paco_error *err)
{
    char name[PC_META_NAME_ROOM];
    for (size_t i = 1; i < m->n_shards; i++)
        for (size_t j = 0; j < m->shards[i]->n_tensors; j++) {
            const char *found = m->shards[i]->tensors[j].name;
            if (!pc_meta_kind_of(found, name) || pc_checkpoint_find(m->shards[0], found))
                continue;
            pc_error_set(err, PACO_EMISMATCH, "has no tensor '%s', which %s has", found,
                pc_path_base(m->shards[i]->path));
            pc_error_path(err, m->shards[0]->path);
            return PACO_EMISMATCH;
        }
    if (n > 0)
        return 0;
    pc_error_set(err, PACO_EFORMAT, "holds no tensor of a LLaMA in Meta's names");
    pc_error_path(err, m->shards[0]->path);
    return PACO_EFORMAT;
}

static int note_skipped(struct pc_checkpoint *ck, const struct lists *l, struct paco_error *err)
{
    char note[PC_MAX_NAME + 128];
    if (l->n_skipped == 0)
        return 0;
    snprintf(note, sizeof note, "skipped %zu tensor%s that LLaMA does not have: '%s'%s", l->n_skipped,
        l->n_skipped > 1 ? "s" : "", l->skipped, l->n_skipped > 1 ? " ..." : "");
    ck->note = pc_arena_strndup(&ck->arena, note, strlen(note));
    return ck->note ? 0 : pc_error_mem(err, strlen(note), "a note");
}

static int join_shards(struct pc_meta *m, const char *dir, struct paco_error *err)
{
    const struct pc_checkpoint *first = m->shards[0];
    struct lists l = {.rows = pc_alloc(first->n_tensors, sizeof *l.rows),
        .parts = pc_alloc(first->n_tensors, m->n_shards * sizeof *l.parts),
        .names = pc_alloc(first->n_tensors, PC_META_NAME_ROOM)};
    int rc =
        l.rows && l.parts && l.names ? 0 : pc_error_mem(err, first->n_tensors * 128, "a table of tensors");
    for (size_t i = 0; i < first->n_tensors && rc == 0; i++)
        rc = add_row(m, &first->tensors[i], &l, err);
    if (rc == 0)
        rc = check_counts(m, l.n, err);
    if (rc == 0)
        rc = pc_checkpoint_join(l.rows, l.n, dir, &m->joined, err);
    if (rc == 0)
        rc = note_skipped(m->joined, &l, err);
    pc_free(l.rows);
    pc_free(l.parts);
    pc_free(l.names);
    return rc;
}

/* ---- against params.json ---- */

/* One tensor the configuration wants. Where the cut dimension is too small by whole shards, those are
 * missing. */
static int check_tensor(const struct pc_meta *m, const struct pc_config *c, const struct pc_meta_kind *k,
    const char *name, struct paco_error *err)
{
    char shape[160], other[160];
    const struct pc_tensor *t = pc_checkpoint_find(m->joined, name);
    if (!t && strcmp(k->meta, "output.weight") == 0)
        return 0;
    if (!t)
        return pc_error_set(err, PACO_EMISMATCH, "there is no tensor '%s', though params.json has %d layers",
            name, (int)c->n_layers);
    uint64_t rows = pc_meta_extent(c, k->rows), columns = pc_meta_extent(c, k->columns);
    if (t->n_dims == (k->columns ? 2 : 1) && t->shape[0] == rows && (!k->columns || t->shape[1] == columns))
        return 0;
    uint64_t wanted = k->cut == PC_META_COLUMNS ? columns : rows,
             has = t->shape[k->cut == PC_META_COLUMNS && t->n_dims > 1];
    uint64_t part = has / m->n_shards;
    if (k->cut != PC_META_WHOLE && has < wanted && part > 0 && wanted % part == 0)
        return pc_error_set(err, PACO_ENOENT,
            "there %s %zu of %llu shards: consolidated.%02zu.pth is missing (is the download complete?)",
            m->n_shards == 1 ? "is" : "are", m->n_shards, (unsigned long long)(wanted / part), m->n_shards);
    const uint64_t expected[] = {rows, columns};
    return pc_error_set(err, PACO_EMISMATCH, "tensor '%s' of all shards is %s, params.json makes it %s", name,
        pc_tensor_shape(t, shape, sizeof shape),
        pc_shape_format(k->columns ? 2 : 1, expected, other, sizeof other));
}

static int check_shapes(const struct pc_meta *m, const struct pc_config *c, struct paco_error *err)
{
    int rc = 0;
    for (int32_t l = 0; l < c->n_layers && rc == 0; l++)
        for (size_t i = 0; i < PC_META_LAYER_KINDS && rc == 0; i++) {
            char name[PC_META_NAME_ROOM];
            snprintf(name, sizeof name, "model.layers.%d.%s", (int)l, pc_meta_layer[i].hf);
            rc = check_tensor(m, c, &pc_meta_layer[i], name, err);
        }
    for (size_t i = 0; i < PC_META_GLOBAL_KINDS && rc == 0; i++)
        rc = check_tensor(m, c, &pc_meta_global[i], pc_meta_global[i].hf, err);
    return rc;
}

/* Rows of a tensor of the model, 0 if it is not there: what params.json may leave out. */
static int64_t rows_of(const struct pc_meta *m, const char *name)
{
    const struct pc_tensor *t = pc_checkpoint_find(m->joined, name);
    return t && t->shape[0] <= INT32_MAX ? (int64_t)t->shape[0] : 0;
}

static int read_config(const struct pc_meta *m, const char *dir, struct pc_config *c, struct paco_error *err)
{
    char *path = pc_path_join(dir, "params.json");
    if (!path)
        return pc_error_mem(err, strlen(dir), "a path");
    int rc = pc_config_from_meta(path, rows_of(m, "model.embed_tokens.weight"),
        rows_of(m, "model.layers.0.mlp.gate_proj.weight"), c, err);
    pc_free(path);
    if (rc < 0)
        return rc;
    const struct pc_tensor *embedding = pc_checkpoint_find(m->joined, "model.embed_tokens.weight");
    c->tied = !pc_checkpoint_find(m->joined, "lm_head.weight");
    c->has_dtype = embedding && pc_dtype_traits(embedding->dtype)->is_float;
    c->dtype = embedding ? embedding->dtype : PC_F32;
    return check_shapes(m, c, err);
}

/* ---- all of it ---- */

static int list_stored(struct pc_meta *m, const char *dir, struct paco_error *err)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < m->n_shards; i++)
        n += m->shards[i]->n_tensors;
    struct pc_rename *table = pc_alloc(n, sizeof *table);
    struct pc_arena names = {0};
    int rc = table ? 0 : pc_error_mem(err, n * sizeof *table, "a table of tensors");
    for (size_t i = 0; i < m->n_shards && rc == 0; i++)
        for (size_t j = 0; j < m->shards[i]->n_tensors && rc == 0; j++) {
            char name[PC_MAX_NAME + 32];
            const struct pc_tensor *t = &m->shards[i]->tensors[j];
            snprintf(name, sizeof name, "consolidated.%02zu/%s", i, t->name);
            table[at] = (struct pc_rename){pc_arena_strndup(&names, name, strlen(name)), t};
            rc = table[at++].name ? 0 : pc_error_mem(err, sizeof name, "a tensor's name");
        }
    if (rc == 0)
        rc = pc_checkpoint_rename(table, n, dir, &m->stored, err);
    pc_arena_release(&names);
    pc_free(table);
    return rc;
}

const struct pc_checkpoint *pc_meta_stored(const struct pc_meta *m)
{
    return m->stored;
}

static int arrange(struct pc_meta *m, const struct pc_config *c, struct paco_error *err)
{
    const struct pc_head_count heads[] = {{".self_attn.q_proj.weight", (uint32_t)c->n_heads},
        {".self_attn.k_proj.weight", (uint32_t)c->n_kv_heads}, {NULL, 0}};
    int rc = pc_checkpoint_in_order(m->joined, &m->ordered, err);
    if (rc == 0)
        rc = pc_checkpoint_permute(m->ordered, heads, PC_PAIRS_TO_HALVES, &m->permuted, err);
    if (rc < 0)
        return rc;
    m->permuted->kind = "meta";
    m->permuted->note = m->joined->note;
    m->permuted->read_traced =
        NULL; /* as a file's: a digest of pieces of shards would say nothing to anyone */
    return 0;
}

int pc_meta_open(const char *dir, struct pc_config *config, struct pc_meta **out, struct pc_checkpoint **ck,
    struct paco_error *err)
{
    struct pc_meta *m = pc_alloc_zero(1, sizeof *m);
    if (!m)
        return pc_error_mem(err, sizeof *m, "a model");
    int rc = open_shards(m, dir, err);
    if (rc == 0)
        rc = join_shards(m, dir, err);
    if (rc == 0)
        rc = read_config(m, dir, config, err);
    if (rc == 0)
        rc = arrange(m, config, err);
    if (rc == 0)
        rc = list_stored(m, dir, err);
    if (rc < 0) {
        pc_error_path(err, dir);
        pc_meta_close(m);
        return rc;
    }
    *out = m;
    *ck = m->permuted;
    return 0;
}

void pc_meta_close(struct pc_meta *m)
{
    if (!m)
        return;
    pc_checkpoint_close(m->stored);
    pc_checkpoint_close(m->permuted);
    pc_checkpoint_close(m->ordered);
    pc_checkpoint_close(m->joined);
    for (size_t i = 0; i < m->n_shards; i++)
        pc_checkpoint_close(m->shards[i]);
    pc_free(m);
}
