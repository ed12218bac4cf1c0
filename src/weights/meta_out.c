// SPDX-License-Identifier: Apache-2.0
#include "weights/meta_out.h"

#include "algebra/cut.h"
#include "algebra/permute.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/meta_names.h"

#include <stdio.h>
#include <string.h>

enum {
    ROOM = PC_META_NAME_ROOM + 24,
    LLAMA3_VOCAB = 128256,
    MAX_TOKENIZER = 64 << 20,
    MAX_PARAMS = 64 << 10
};

/* ---- how many shards ---- */

struct dealt {
    const char *what;
    uint64_t n;
};
enum { N_DEALT = 4 };

/* What every shard gets an equal part of. Queries, keys and values are dealt by whole heads; the embedding's
 * columns follow, for a head's size times the heads is the width of what they are dealt with. */
static void list_dealt(const struct pc_config *c, struct dealt list[N_DEALT + 1])
{
    bool rows = c->vocab_size >= LLAMA3_VOCAB;
    list[0] = (struct dealt){"attention heads", (uint64_t)c->n_heads};
    list[1] = (struct dealt){"key/value heads", (uint64_t)c->n_kv_heads};
    list[2] = (struct dealt){"inner elements of the feed-forward", (uint64_t)c->intermediate_size};
    list[3] = (struct dealt){"rows of the output matrix", (uint64_t)c->vocab_size};
    list[4] = rows || c->hidden_size % c->n_heads == 0
                  ? (struct dealt){NULL, 0}
                  : (struct dealt){"columns of the embedding", (uint64_t)c->hidden_size};
}

static const struct dealt *first_left_over(const struct dealt *list, size_t n_list, uint32_t n)
{
    for (size_t i = 0; i < n_list && list[i].what; i++)
        if (list[i].n % n)
            return &list[i];
    return NULL;
}

static int check_shards(const struct pc_config *c, uint32_t n, struct paco_error *err)
{
    struct dealt list[N_DEALT + 1];
    char fit[64] = "";
    list_dealt(c, list);
    const struct dealt *d = first_left_over(list, N_DEALT + 1, n);
    if (!d)
        return 0;
    for (uint32_t i = 1; i <= PC_META_OUT_SHARDS; i++)
        if (!first_left_over(list, N_DEALT + 1, i))
            snprintf(fit + strlen(fit), sizeof fit - strlen(fit), "%s%u", i > 1 ? ", " : "", i);
    return pc_error_set(err, PACO_EMISMATCH,
        "%llu %s cannot be dealt to %u shards equally: %llu = %u x %llu + %llu (possible: %s)",
        (unsigned long long)d->n, d->what, n, (unsigned long long)d->n, n, (unsigned long long)(d->n / n),
        (unsigned long long)(d->n % n), fit);
}

/* ---- tensors ---- */

struct table {
    struct pc_cut *cuts;
    char (*names)[ROOM];
    size_t n;
};

static int check_shape(const struct pc_tensor *t, const struct pc_meta_kind *k, const struct pc_config *c,
    struct paco_error *err)
{
    char found[160], expected[160];
    const uint64_t shape[] = {pc_meta_extent(c, k->rows), pc_meta_extent(c, k->columns)};
    int n_dims = k->columns ? 2 : 1;
    if (t->n_dims == n_dims && t->shape[0] == shape[0] && (n_dims == 1 || t->shape[1] == shape[1]))
        return 0;
    return pc_error_set(err, PACO_EMISMATCH, "tensor '%s' is %s, the configuration makes it %s", t->name,
        pc_tensor_shape(t, found, sizeof found), pc_shape_format(n_dims, shape, expected, sizeof expected));
}

/* The piece of one kind that shard i of n has; a head that is tied is none. */
static int add_piece(const struct pc_meta_request *q, const struct pc_checkpoint *ck,
    const struct pc_config *c, const struct pc_meta_kind *k, int32_t layer, uint32_t i, struct table *table,
    struct paco_error *err)
{
    char name[PC_META_NAME_ROOM], before[32] = "";
    if (q->tied && strcmp(k->meta, "output.weight") == 0)
        return 0;
    if (layer >= 0)
        snprintf(before, sizeof before, "layers.%d.", (int)layer);
    snprintf(name, sizeof name, "%s%s%s", layer >= 0 ? "model." : "", before, k->hf);
    const struct pc_tensor *t = pc_checkpoint_find(ck, name);
    if (!t)
        return pc_error_set(err, PACO_EMISMATCH,
            "there is no tensor '%s', which every LLaMA of %d layers has", name, (int)c->n_layers);
    int rc = check_shape(t, k, c, err);
    if (rc < 0)
        return rc;
    bool columns = k->cut == PC_META_COLUMNS || (k->cut == PC_META_EMBEDDING && c->vocab_size < LLAMA3_VOCAB);
    snprintf(table->names[table->n], ROOM, "consolidated.%02u/%s%s", i, before, k->meta);
    table->cuts[table->n] = (struct pc_cut){.name = table->names[table->n],
        .of = t,
        .axis = columns,
        .i = k->cut == PC_META_WHOLE ? 0 : i,
        .n = k->cut == PC_META_WHOLE ? 1 : q->n_shards};
    table->n++;
    return 0;
}

static int add_shard(const struct pc_meta_request *q, const struct pc_checkpoint *ck,
    const struct pc_config *c, uint32_t i, struct table *table, struct paco_error *err)
{
    int rc = 0;
    for (size_t k = 0; k < PC_META_GLOBAL_KINDS && rc == 0; k++)
        rc = add_piece(q, ck, c, &pc_meta_global[k], -1, i, table, err);
    for (int32_t l = 0; l < c->n_layers && rc == 0; l++)
        for (size_t k = 0; k < PC_META_LAYER_KINDS && rc == 0; k++)
            rc = add_piece(q, ck, c, &pc_meta_layer[k], l, i, table, err);
    return rc;
}

/* Tensors that would be lost without a word. Rotary frequencies every reader computes. */
static int check_rest(const struct pc_checkpoint *ck, struct paco_error *err)
{
    char name[PC_META_NAME_ROOM];
    for (size_t i = 0; i < ck->n_tensors; i++)
        if (!pc_meta_kind_of_hf(ck->tensors[i].name, name) &&
            !pc_ends_with(ck->tensors[i].name, "rotary_emb.inv_freq"))
            return pc_error_set(
                err, PACO_EUNSUPPORTED, "tensor '%s' has no place in Meta's files", ck->tensors[i].name);
    return 0;
}

static int cut_tensors(const struct pc_meta_request *q, const struct pc_config *c, struct pc_meta_out *out,
    struct paco_error *err)
{
    const struct pc_head_count heads[] = {{".self_attn.q_proj.weight", (uint32_t)c->n_heads},
        {".self_attn.k_proj.weight", (uint32_t)c->n_kv_heads}, {NULL, 0}};
    size_t n = q->n_shards * (PC_META_GLOBAL_KINDS + (size_t)c->n_layers * PC_META_LAYER_KINDS);
    int rc = check_rest(q->ck, err);
    if (rc == 0)
        rc = pc_checkpoint_permute(q->ck, heads, PC_HALVES_TO_PAIRS, &out->permuted, err);
    if (rc < 0)
        return rc;
    struct table table = {.cuts = pc_alloc(n, sizeof *table.cuts), .names = pc_alloc(n, ROOM)};
    if (!table.cuts || !table.names)
        rc = pc_error_mem(err, n * (ROOM + sizeof *table.cuts), "a table of tensors");
    for (uint32_t i = 0; i < q->n_shards && rc == 0; i++)
        rc = add_shard(q, out->permuted, c, i, &table, err);
    if (rc == 0)
        rc = pc_checkpoint_cut(table.cuts, table.n, q->ck->path, &out->ck, err);
    pc_free(table.cuts);
    pc_free(table.names);
    return rc;
}

/* ---- files beside them ---- */

static void note_unsaid(
    const struct pc_config *c, const struct pc_config *heard, bool tied, struct pc_notes *notes)
{
    if (heard->max_positions != c->max_positions)
        pc_note(notes,
            "params.json has no word for the context: its readers take %d tokens, as of the release it looks "
            "like, not %d",
            (int)heard->max_positions, (int)c->max_positions);
    if (heard->bos_id != c->bos_id || heard->eos_ids[0] != (c->n_eos ? c->eos_ids[0] : -1))
        pc_note(notes,
            "params.json has no word for special tokens: its readers take %d and %d for BOS and EOS",
            (int)heard->bos_id, (int)heard->eos_ids[0]);
    if (tied)
        pc_note(notes, "the head is the embedding: there is no output.weight, which some loaders miss");
}

static int put_params(const struct pc_meta_request *q, const struct pc_config *c, struct pc_meta_out *out,
    struct paco_error *err)
{
    struct pc_config heard;
    int rc = pc_config_to_meta(c, &out->params, &heard, err);
    if (rc < 0)
        return rc;
    note_unsaid(c, &heard, q->tied, q->notes);
    out->files[out->n_files++] = (struct pc_write_file){"params.json", out->params.data, out->params.len};
    return 0;
}

/* SentencePiece's file, or LLaMA 3's list of ranks: what Meta's code reads. */
static int put_tokenizer(const struct pc_meta_request *q, struct pc_meta_out *out, struct paco_error *err)
{
    const struct pc_source *src = q->like;
    char *beside = pc_path_join(src->dir, "tokenizer.model");
    if (!beside)
        return pc_error_mem(err, strlen(src->dir), "a path");
    const char *path = NULL;
    if (src->kind == PC_SOURCE_META && src->vocabulary != src->dir)
        path = src->vocabulary;
    else if (src->kind != PC_SOURCE_GGUF && pc_path_exists(beside))
        path = beside;
    int rc = path ? pc_file_slurp(path, MAX_TOKENIZER, &out->tokenizer, err) : 0;
    if (rc == 0 && path)
        out->files[out->n_files++] =
            (struct pc_write_file){"tokenizer.model", out->tokenizer.data, out->tokenizer.len};
    else if (rc == 0)
        pc_note(q->notes, "there is no tokenizer.model with the source: the output has no tokenizer");
    pc_free(beside);
    return rc;
}

int pc_meta_out_make(const struct pc_meta_request *q, struct pc_meta_out *out, struct paco_error *err)
{
    pc_buf_init(&out->params, MAX_PARAMS);
    const struct pc_tensor *embedding = pc_checkpoint_find(q->ck, "model.embed_tokens.weight");
    if (!q->like->has_config) {
        pc_error_set(err, PACO_ENOENT, "holds no config.json, which params.json is made from");
        pc_error_path(err, q->like->dir);
        return PACO_ENOENT;
    }
    struct pc_config c = q->like->config;
    if (embedding && embedding->n_dims == 2 && embedding->shape[0] <= INT32_MAX)
        c.vocab_size = (int32_t)embedding->shape[0];
    int rc = check_shards(&c, q->n_shards, err);
    if (rc == 0)
        rc = cut_tensors(q, &c, out, err);
    if (rc == 0)
        rc = put_params(q, &c, out, err);
    if (rc == 0)
        rc = put_tokenizer(q, out, err);
    if (rc < 0)
        pc_error_path(err, q->like->path);
    return rc;
}

void pc_meta_out_release(struct pc_meta_out *out)
{
    pc_checkpoint_close(out->ck);
    pc_checkpoint_close(out->permuted);
    pc_buf_release(&out->params);
    pc_buf_release(&out->tokenizer);
    *out = (struct pc_meta_out){.ck = NULL};
}
