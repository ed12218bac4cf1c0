// SPDX-License-Identifier: Apache-2.0
/* tokenizer.json, the tokenizers library's own file: a BPE model with its normaliser, pre-tokenizer,
 * post-processor and decoder. The file is taken at its word; tokenizer_config.json beside it adds names for
 * special tokens, tokens the file lacks, and add_bos_token / add_eos_token, which win over the
 * post-processor. A part of the library that the LLaMA family does not use is refused by its name. Source:
 * tokenizers 0.23, the serialised forms of its modules. */
#include "base/file.h"
#include "base/memory.h"
#include "format/sniff.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocab_steps.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 8, MAX_AROUND = 16 };

struct reader {
    const struct pc_vocab_side *side;
    const json_t *root, *model;
    struct pc_vocab vocab;
    struct pc_piece *pieces;
    struct pc_merge *merges;
    struct pc_added_list added;
    struct pc_vocab_steps steps;
    int32_t prefix[MAX_AROUND], suffix[MAX_AROUND];
    int32_t model_unk;
    struct paco_error *err;
};

static int bad(struct reader *r, const char *what)
{
    return pc_error_set(r->err, PACO_EFORMAT, "%s", what);
}

static bool is_true(const json_t *v, const char *key)
{
    return json_is_true(json_object_get(v, key));
}

static struct pc_span text_of(const json_t *v)
{
    return (struct pc_span){json_string_value(v), json_string_length(v)};
}

/* ---- the model ---- */

static int read_vocab(struct reader *r)
{
    const char *key;
    json_t *v, *vocab = json_object_get(r->model, "vocab");
    if (!json_is_object(vocab))
        return bad(r, "model.vocab is not an object of pieces and ids");
    // Ids may have gaps, but not such that a small file asks for a large table.
    size_t n = json_object_size(vocab), most = 2 * n + 4096, n_ids = 0;
    r->pieces = pc_alloc_zero(most, sizeof *r->pieces);
    if (!r->pieces)
        return pc_error_mem(r->err, most * sizeof *r->pieces, "the vocabulary");
    for (size_t i = 0; i < most; i++)
        r->pieces[i].type = PC_PIECE_NORMAL;
    json_object_foreach(vocab, key, v)
    {
        json_int_t id = json_integer_value(v);
        char shown[64];
        if (!json_is_integer(v) || id < 0 || (uint64_t)id >= most)
            return pc_error_set(r->err, PACO_EFORMAT, "model.vocab: '%s' has no id below %zu",
                pc_printable(key, shown, sizeof shown), most);
        if (r->pieces[id].span.len)
            return pc_error_set(r->err, PACO_EFORMAT, "model.vocab: '%s' has id %lld, as another piece has",
                pc_printable(key, shown, sizeof shown), (long long)id);
        r->pieces[id].span = (struct pc_span){key, strlen(key)};
        if ((size_t)id >= n_ids)
            n_ids = (size_t)id + 1;
    }
    r->vocab.pieces = r->pieces;
    r->vocab.n_pieces = n_ids;
    return 0;
}

/* "left right" or ["left", "right"]. */
static bool read_merge(const json_t *v, struct pc_merge *out)
{
    if (json_is_array(v) && json_array_size(v) == 2) {
        out->left = text_of(json_array_get(v, 0));
        out->right = text_of(json_array_get(v, 1));
        return out->left.text && out->right.text;
    }
    struct pc_span text = text_of(v);
    const char *space = text.len > 1 ? memchr(text.text + 1, ' ', text.len - 1) : NULL;
    if (!space)
        return false;
    out->left = (struct pc_span){text.text, (size_t)(space - text.text)};
    out->right = (struct pc_span){space + 1, text.len - out->left.len - 1};
    return true;
}

static int read_merges(struct reader *r)
{
    const json_t *list = json_object_get(r->model, "merges");
    if (!json_is_array(list))
        return bad(r, "model.merges is not a list");
    size_t n = json_array_size(list);
    r->merges = pc_alloc(n, sizeof *r->merges);
    if (!r->merges)
        return pc_error_mem(r->err, n * sizeof *r->merges, "merges");
    for (size_t i = 0; i < n; i++)
        if (!read_merge(json_array_get(list, i), &r->merges[i]))
            return pc_error_set(r->err, PACO_EFORMAT, "model.merges: merge %zu is not two pieces", i);
    r->vocab.merges = r->merges;
    r->vocab.n_merges = n;
    return 0;
}

static int32_t model_id(const struct reader *r, struct pc_span text)
{
    // A key with a NUL inside cannot come from jansson, so the C string is the text.
    const json_t *v = text.len ? json_object_get(json_object_get(r->model, "vocab"), text.text) : NULL;
    return json_is_integer(v) ? (int32_t)json_integer_value(v) : -1;
}

static bool is_set(const json_t *v)
{
    return v && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0) &&
           !(json_is_number(v) && json_number_value(v) == 0);
}

static int read_model(struct reader *r)
{
    r->model = json_object_get(r->root, "model");
    const char *type = pc_vocab_type_of(r->model);
    if (!json_is_object(r->model))
        return bad(r, "has no model: not a tokenizer.json");
    // Files from before the type was written down are BPE if they have merges.
    if (strcmp(type, "BPE") != 0 && !(*type == '\0' && json_object_get(r->model, "merges")))
        return pc_vocab_unsupported("model", *type ? type : "of no type", r->err);
    static const char *const must_be_empty[] = {"continuing_subword_prefix", "end_of_word_suffix", "dropout"};
    for (size_t i = 0; i < 3; i++)
        if (is_set(json_object_get(r->model, must_be_empty[i])))
            return pc_vocab_unsupported("model's", must_be_empty[i], r->err);
    struct pc_vocab *v = &r->vocab;
    v->model = PC_VOCAB_MERGES;
    v->segments = PC_SEGMENTS_FAST;
    v->byte_fallback = is_true(r->model, "byte_fallback");
    v->fuse_unk = is_true(r->model, "fuse_unk");
    v->ignore_merges = is_true(r->model, "ignore_merges");
    int rc = read_vocab(r);
    if (rc == 0)
        rc = read_merges(r);
    if (rc < 0)
        return rc;
    struct pc_span unk = text_of(json_object_get(r->model, "unk_token"));
    r->model_unk = unk.text ? model_id(r, unk) : -1;
    v->drops_unknown = !unk.text;
    if (unk.text && r->model_unk < 0)
        return bad(r, "model.unk_token is not a piece of the vocabulary");
    return 0;
}

/* ---- added tokens ---- */

static int add(struct reader *r, const struct pc_named_token *t, int32_t id)
{
    struct pc_added a = t->flags;
    a.span = t->span;
    // A piece of the model keeps its id, whatever the list says.
    int32_t own = model_id(r, t->span);
    a.id = own >= 0 ? own : id;
    return pc_added_add(&r->added, &a) ? 0 : pc_error_mem(r->err, sizeof a, "added tokens");
}

static int read_added(struct reader *r)
{
    const json_t *list = json_object_get(r->root, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        struct pc_named_token t;
        int64_t id;
        int rc = pc_json_get_i64(v, "id", 0, INT32_MAX, &id, r->err);
        if (rc == 0 && !pc_vocab_side_token(v, &t))
            rc = bad(r, "an added token without content");
        if (rc == 0)
            rc = add(r, &t, (int32_t)id);
        if (rc < 0) {
            pc_error_prefix(r->err, "added_tokens: entry %zu", i);
            return rc;
        }
    }
    return 0;
}

static int32_t next_id(const struct reader *r)
{
    int32_t next = (int32_t)r->vocab.n_pieces;
    for (size_t i = 0; i < r->added.n; i++)
        if (r->added.v[i].id >= next && r->added.v[i].id < INT32_MAX)
            next = r->added.v[i].id + 1;
    return next;
}

/* Tokens that only the side files know: added_tokens_decoder and added_tokens.json, with their ids. */
static int read_side_added(struct reader *r)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(r->side->config, "added_tokens_decoder"), key, v)
    {
        struct pc_named_token t;
        long id = strtol(key, NULL, 10);
        if (pc_vocab_side_token(v, &t) && id >= 0 && id < INT32_MAX && add(r, &t, (int32_t)id) < 0)
            return PACO_EMEM;
    }
    json_object_foreach(r->side->added, key, v)
    {
        struct pc_named_token t = {.span = {key, strlen(key)}, .plain = true, .flags = {.normalized = true}};
        json_int_t id = json_integer_value(v);
        if (*key && json_is_integer(v) && id >= 0 && id < INT32_MAX && add(r, &t, (int32_t)id) < 0)
            return PACO_EMEM;
    }
    return 0;
}

static int add_special(struct reader *r, const struct pc_named_token *t, int32_t *out)
{
    struct pc_added *there = pc_added_find(&r->added, t->span);
    if (!there && add(r, t, next_id(r)) < 0)
        return PACO_EMEM;
    there = pc_added_find(&r->added, t->span);
    there->special = true;
    if (out)
        *out = there->id;
    return 0;
}

static int read_named(struct reader *r)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    struct pc_vocab *v = &r->vocab;
    int32_t unk = -1, *ids[] = {&v->bos, &v->eos, &unk, &v->pad};
    struct pc_named_token t;
    for (size_t i = 0; i < 4; i++)
        if (pc_vocab_side_named(r->side, keys[i], &t) && add_special(r, &t, ids[i]) < 0)
            return PACO_EMEM;
    const json_t *list = pc_vocab_side_additional(r->side);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (pc_vocab_side_token(json_array_get(list, i), &t) && add_special(r, &t, NULL) < 0)
            return PACO_EMEM;
    v->unk = r->model_unk >= 0 ? r->model_unk : unk;
    v->added = r->added.v;
    v->n_added = r->added.n;
    return 0;
}

/* ---- post-processor ---- */

static int put_around(struct reader *r, bool behind, int32_t id)
{
    size_t *n = behind ? &r->vocab.n_suffix : &r->vocab.n_prefix;
    if (id < 0)
        return bad(r, "post_processor: a special token without an id");
    if (*n == MAX_AROUND)
        return pc_error_set(
            r->err, PACO_ELIMIT, "post_processor puts more than %d tokens around a text", MAX_AROUND);
    (behind ? r->suffix : r->prefix)[(*n)++] = id;
    return 0;
}

static int read_template(struct reader *r, const json_t *v)
{
    const json_t *single = json_object_get(v, "single");
    bool behind = false;
    int rc = 0;
    for (size_t i = 0; i < json_array_size(single) && rc == 0; i++) {
        const json_t *item = json_array_get(single, i);
        behind = behind || json_object_get(item, "Sequence");
        const char *name = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        const json_t *ids =
            name ? json_object_get(json_object_get(json_object_get(v, "special_tokens"), name), "ids") : NULL;
        for (size_t k = 0; k < json_array_size(ids) && rc == 0; k++) {
            const json_t *id = json_array_get(ids, k);
            rc = put_around(r, behind,
                json_is_integer(id) && json_integer_value(id) <= INT32_MAX ? (int32_t)json_integer_value(id)
                                                                           : -1);
        }
        if (rc == 0 && name && !json_array_size(ids))
            rc = bad(r, "post_processor: a template with a special token it does not define");
    }
    return rc;
}

static int read_post_processor(struct reader *r, const json_t *v, int depth)
{
    const char *type = pc_vocab_type_of(v);
    if (!v || json_is_null(v) || strcmp(type, "ByteLevel") == 0)
        return 0;
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(r, v);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        // ["</s>", 2]
        const json_t *cls = json_array_get(json_object_get(v, "cls"), 1),
                     *sep = json_array_get(json_object_get(v, "sep"), 1);
        int rc = put_around(r, false, json_is_integer(cls) ? (int32_t)json_integer_value(cls) : -1);
        return rc == 0 ? put_around(r, true, json_is_integer(sep) ? (int32_t)json_integer_value(sep) : -1)
                       : rc;
    }
    const json_t *list = json_object_get(v, "processors");
    if (strcmp(type, "Sequence") != 0 || !json_is_array(list) || depth == MAX_DEPTH)
        return pc_vocab_unsupported("post_processor", type, r->err);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = read_post_processor(r, json_array_get(list, i), depth + 1);
    return rc;
}

static void apply_flags(struct reader *r)
{
    struct pc_vocab *v = &r->vocab;
    int bos = pc_vocab_side_flag(r->side, "add_bos_token"),
        eos = pc_vocab_side_flag(r->side, "add_eos_token");
    if (bos >= 0) {
        v->n_prefix = bos && v->bos >= 0;
        r->prefix[0] = v->bos;
    }
    if (eos >= 0) {
        v->n_suffix = eos && v->eos >= 0;
        r->suffix[0] = v->eos;
    }
    v->prefix = r->prefix;
    v->suffix = r->suffix;
}

/* ---- the doors ---- */

static int read_root(struct reader *r, pc_vocab_use use, void *ctx)
{
    r->vocab.bos = r->vocab.eos = r->vocab.unk = r->vocab.pad = -1;
    int rc = read_model(r);
    if (rc == 0)
        rc = pc_vocab_steps_read(r->root, &r->steps, r->err);
    if (rc == 0)
        rc = read_added(r);
    if (rc == 0)
        rc = read_side_added(r);
    if (rc == 0)
        rc = read_named(r);
    if (rc == 0)
        rc = read_post_processor(r, json_object_get(r->root, "post_processor"), 0);
    if (rc < 0)
        return rc;
    apply_flags(r);
    r->vocab.normal = r->steps.normal;
    r->vocab.n_normal = r->steps.n_normal;
    r->vocab.pre = r->steps.pre;
    r->vocab.n_pre = r->steps.n_pre;
    r->vocab.strip = r->steps.strip;
    return use(ctx, &r->vocab, r->err);
}

/* A value takes some 100 bytes once parsed, a character in the file. */
static int check_values(const char *text, size_t len, uint64_t most, struct paco_error *err)
{
    uint64_t n = pc_json_count_values(text, len);
    return n <= most ? 0
                     : pc_error_set(err, PACO_ELIMIT, "holds %llu JSON values; at most %llu are read",
                           (unsigned long long)n, (unsigned long long)most);
}

static int parse(const char *text, size_t len, const char *path, const struct pc_vocab_side *side,
    pc_vocab_use use, void *ctx, struct paco_error *err)
{
    static const struct pc_vocab_side none = {.era_2023 = true};
    struct paco_error local = {0};
    struct reader r = {.side = side ? side : &none, .model_unk = -1, .err = err ? err : &local};
    json_t *root = NULL;
    int rc = check_values(text, len, PC_VOCAB_MAX_VALUES, r.err);
    if (rc == 0)
        rc = pc_json_parse(text, len, path, 0, &root, r.err);
    r.root = root;
    if (rc == 0)
        rc = json_is_object(root) ? read_root(&r, use, ctx) : bad(&r, "is not a JSON object");
    if (rc < 0)
        pc_error_path(r.err, path);
    pc_added_release(&r.added);
    pc_free(r.pieces);
    pc_free(r.merges);
    json_decref(root);
    return rc;
}

int pc_vocab_json_parse(const char *text, size_t len, const char *path, const struct pc_vocab_side *side,
    struct pc_tokenizer **out, struct paco_error *err)
{
    return parse(text, len, path, side, pc_vocab_build, out, err);
}

int pc_vocab_json_read(
    const char *path, const struct pc_vocab_side *side, pc_vocab_use use, void *ctx, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    enum pc_file_kind kind;
    struct pc_buf text;
    pc_buf_init(&text, PC_VOCAB_MAX_FILE);
    int rc = pc_file_open(&f, path, err);
    if (rc == 0)
        rc = pc_sniff(&f, &kind, err);
    // Broken UTF-8 is of no known kind; the parser says where.
    if (rc == 0 && kind != PC_FILE_JSON && kind != PC_FILE_UNKNOWN)
        rc = pc_sniff_refuse(&f, kind, "a tokenizer.json", err);
    pc_file_close(&f);
    if (rc == 0)
        rc = pc_file_slurp(path, PC_VOCAB_MAX_FILE, &text, err);
    if (rc == 0)
        rc = parse(text.data ? text.data : "", text.len, path, side, use, ctx, err);
    pc_buf_release(&text);
    return rc;
}
