// SPDX-License-Identifier: Apache-2.0
/* tokenizer.model, read as the slow LLaMA tokenizer reads it: SentencePiece for the text, the side files for
 * what is special.
 *
 * Which special tokens are found in a text, and with which white space, follows the Transformers that wrote
 * the folder (vocab_side.c). A model file alone knows `<unk>`, `<s>` and `</s>`, as LLaMA's class does by
 * default. */
#include "base/file.h"
#include "base/memory.h"
#include "format/sniff.h"
#include "prompt/sentencepiece.pb-c.h"
#include "prompt/vocab_sources.h"

#include <stdlib.h>
#include <string.h>

struct spm {
    const struct pc_vocab_side *side; /* never NULL */
    bool alone;                       /* no side files at all */
    const PcSpm__Model *model;
    struct pc_vocab vocab;
    struct pc_piece *pieces;
    struct pc_map ids; /* text of every piece to its id */
    struct pc_added_list added;
    int32_t next_id; /* for special tokens that have none */
    int32_t around[2];
    struct paco_error *err;
};

/* ---- unpacking within bounds ---- */

struct budget {
    size_t left;
};

/* protobuf-c turns small messages into larger structs; a file of empty messages must not become gigabytes. */
static void *take(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left)
        return NULL;
    b->left -= size;
    return pc_alloc(size, 1);
}

static void give(void *data, void *p)
{
    (void)data;
    pc_free(p);
}

/* ---- pieces ---- */

static int read_pieces(struct spm *s)
{
    const PcSpm__Model *m = s->model;
    s->pieces = pc_alloc(m->n_pieces, sizeof *s->pieces);
    if (!s->pieces || !pc_map_reserve(&s->ids, m->n_pieces))
        return pc_error_mem(s->err, m->n_pieces * sizeof *s->pieces, "the vocabulary");
    for (size_t i = 0; i < m->n_pieces; i++) {
        const PcSpm__Piece *p = m->pieces[i];
        struct pc_span span = {
            p->has_piece ? (const char *)p->piece.data : "", p->has_piece ? p->piece.len : 0};
        s->pieces[i] = (struct pc_piece){span, p->score, (enum pc_piece_type)p->type};
        if (pc_map_add(&s->ids, span.len ? span.text : "", span.len, (uint32_t)i) < 0)
            return pc_error_mem(s->err, span.len, "the vocabulary");
        if (p->type == PC_PIECE_UNKNOWN && s->vocab.unk >= 0)
            return pc_error_set(
                s->err, PACO_EFORMAT, "pieces %d and %zu are both the unknown piece", s->vocab.unk, i);
        if (p->type == PC_PIECE_UNKNOWN)
            s->vocab.unk = (int32_t)i;
    }
    s->vocab.pieces = s->pieces;
    s->vocab.n_pieces = m->n_pieces;
    s->next_id = (int32_t)m->n_pieces;
    return 0;
}

static int read_rules(struct spm *s)
{
    static const PcSpm__Trainer no_trainer = PC_SPM__TRAINER__INIT;
    static const PcSpm__Normalizer no_normalizer = PC_SPM__NORMALIZER__INIT;
    const PcSpm__Trainer *t = s->model->trainer ? s->model->trainer : &no_trainer;
    const PcSpm__Normalizer *n = s->model->normalizer ? s->model->normalizer : &no_normalizer;
    struct pc_vocab *v = &s->vocab;
    if (t->model_type != 1 && t->model_type != 2)
        return pc_error_set(s->err, PACO_EUNSUPPORTED,
            "a SentencePiece model of type %d (%s); unigram and BPE are supported", t->model_type,
            t->model_type == 3   ? "word"
            : t->model_type == 4 ? "character"
                                 : "unknown");
    if (s->model->denormalizer && s->model->denormalizer->precompiled_charsmap.len)
        return pc_error_set(s->err, PACO_EUNSUPPORTED, "a SentencePiece model with a denormalizer");
    v->model = t->model_type == 1 ? PC_VOCAB_SPM_UNIGRAM : PC_VOCAB_SPM_BPE;
    v->byte_fallback = t->byte_fallback;
    v->spm = (struct pc_spm_rules){
        .add_dummy_prefix = n->add_dummy_prefix,
        .remove_extra_whitespaces = n->remove_extra_whitespaces,
        .escape_whitespaces = n->escape_whitespaces,
        .whitespace_as_suffix = t->treat_whitespace_as_suffix,
        .charsmap = n->precompiled_charsmap.data,
        .charsmap_size = n->has_precompiled_charsmap ? n->precompiled_charsmap.len : 0,
    };
    v->segments = pc_vocab_side_flag(s->side, "legacy") == 0 ? PC_SEGMENTS_MODERN : PC_SEGMENTS_LEGACY;
    if (v->segments == PC_SEGMENTS_MODERN && pc_vocab_side_flag(s->side, "add_prefix_space") == 0)
        v->spm.add_dummy_prefix = false;
    v->strip = v->spm.add_dummy_prefix || v->spm.remove_extra_whitespaces ? PC_STRIP_PIECE : PC_STRIP_NONE;
    // Alone, unk reads as SentencePiece's own surface; among side files it is a special token.
    if (s->alone)
        v->unk_surface = t->has_unk_surface
                             ? (struct pc_span){(const char *)t->unk_surface.data, t->unk_surface.len}
                             : (struct pc_span){" \xe2\x81\x87 ", 5};
    return 0;
}

/* ---- special tokens ---- */

static int32_t id_of(const struct spm *s, struct pc_span text)
{
    uint32_t id;
    if (pc_map_get(&s->ids, text.text, text.len, &id))
        return (int32_t)id;
    const struct pc_added *a = pc_added_find(&s->added, text);
    return a ? a->id : -1;
}

/* Before 4.34 every token the folder spells as a plain string takes the white space around it. */
static struct pc_added entry_of(const struct spm *s, const struct pc_named_token *t, int32_t id)
{
    struct pc_added a = t->flags;
    a.span = t->span;
    a.id = id;
    if (t->plain && s->side->era_2023)
        a.lstrip = a.rstrip = true;
    return a;
}

static int add(struct spm *s, const struct pc_added *entry)
{
    return pc_added_add(&s->added, entry) ? 0 : pc_error_mem(s->err, sizeof *entry, "added tokens");
}

/* {"id": {"content": ..., "special": ...}} */
static int add_decoder(struct spm *s)
{
    const char *key;
    json_t *v, *decoder = json_object_get(s->side->config, "added_tokens_decoder");
    json_object_foreach(decoder, key, v)
    {
        struct pc_named_token t;
        char *end;
        long id = strtol(key, &end, 10);
        if (*end || end == key || id < 0 || id > INT32_MAX || !pc_vocab_side_token(v, &t))
            return pc_error_set(s->err, PACO_EFORMAT,
                "tokenizer_config.json: added_tokens_decoder has a bad entry '%.40s'", key);
        struct pc_added a = entry_of(s, &t, (int32_t)id);
        if (add(s, &a) < 0)
            return PACO_EMEM;
    }
    return 0;
}

/* {"<pad>": 32000} */
static int add_listed(struct spm *s)
{
    const char *key;
    json_t *v;
    json_object_foreach(s->side->added, key, v)
    {
        int64_t id;
        (void)v;
        if (pc_json_get_i64(s->side->added, key, 0, INT32_MAX - 1, &id, s->err) < 0)
            return pc_error_prefix(s->err, "added_tokens.json");
        struct pc_named_token t = {.span = {key, strlen(key)}, .plain = true};
        struct pc_added a = entry_of(s, &t, (int32_t)id);
        if (add(s, &a) < 0)
            return PACO_EMEM;
        if (a.id >= s->next_id)
            s->next_id = a.id + 1;
    }
    return 0;
}

/* A token the folder calls special. One that has no id yet gets the next, as Transformers does. */
static int add_special(struct spm *s, const struct pc_named_token *t, int32_t *out)
{
    int32_t id = id_of(s, t->span);
    if (id < 0)
        id = s->next_id++;
    struct pc_added a = entry_of(s, t, id), *there = pc_added_find(&s->added, t->span);
    a.special = true;
    // added_tokens_decoder has the flags; before it, the name's own spelling decides.
    if (there && s->side->era_2023)
        *there = a;
    else if (there)
        there->special = true;
    else if (add(s, &a) < 0)
        return PACO_EMEM;
    if (out)
        *out = id;
    return 0;
}

static int add_named(struct spm *s)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    static const char *const defaults[] = {"<s>", "</s>", "<unk>", NULL};
    int32_t unk = -1;
    int32_t *ids[] = {&s->vocab.bos, &s->vocab.eos, &unk, &s->vocab.pad};
    for (size_t i = 0; i < 4; i++) {
        struct pc_named_token t;
        bool named = pc_vocab_side_named(s->side, keys[i], &t);
        if (!named && !defaults[i])
            continue;
        if (!named)
            t = (struct pc_named_token){.span = {defaults[i], strlen(defaults[i])}};
        // The class's defaults only count where the model has them.
        if (!named && id_of(s, t.span) < 0)
            continue;
        int rc = add_special(s, &t, ids[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_additional(struct spm *s)
{
    const json_t *list = pc_vocab_side_additional(s->side);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct pc_named_token t;
        if (pc_vocab_side_token(json_array_get(list, i), &t) && add_special(s, &t, NULL) < 0)
            return PACO_EMEM;
    }
    return 0;
}

static int read_special(struct spm *s)
{
    struct pc_vocab *v = &s->vocab;
    int rc = add_decoder(s);
    if (rc == 0)
        rc = add_listed(s);
    if (rc == 0)
        rc = add_named(s);
    if (rc == 0)
        rc = add_additional(s);
    s->around[0] = v->bos;
    s->around[1] = v->eos;
    v->prefix = &s->around[0];
    v->n_prefix = pc_vocab_side_flag(s->side, "add_bos_token") != 0 && v->bos >= 0;
    v->suffix = &s->around[1];
    v->n_suffix = pc_vocab_side_flag(s->side, "add_eos_token") == 1 && v->eos >= 0;
    v->added = s->added.v;
    v->n_added = s->added.n;
    return rc;
}

/* ---- the doors ---- */

static int read_model(struct spm *s, pc_vocab_use use, void *ctx)
{
    s->vocab.bos = s->vocab.eos = s->vocab.unk = s->vocab.pad = -1;
    int rc = read_pieces(s);
    if (rc == 0)
        rc = read_rules(s);
    if (rc == 0)
        rc = read_special(s);
    return rc < 0 ? rc : use(ctx, &s->vocab, s->err);
}

static int parse(const uint8_t *bytes, size_t len, const char *path, const struct pc_vocab_side *side,
    pc_vocab_use use, void *ctx, struct paco_error *err)
{
    static const struct pc_vocab_side none = {.era_2023 = true};
    struct paco_error local = {0};
    struct budget budget = {PC_VOCAB_MAX_MEMORY};
    ProtobufCAllocator allocator = {take, give, &budget};
    struct spm s = {.side = side ? side : &none, .alone = !side, .err = err ? err : &local};
    PcSpm__Model *model = pc_spm__model__unpack(&allocator, len, bytes);
    int rc = 0;
    if (!model)
        rc = pc_error_set(
            s.err, PACO_EFORMAT, "is not a SentencePiece model (%zu bytes that are no such message)", len);
    else if (!model->n_pieces)
        rc = pc_error_set(s.err, PACO_EFORMAT, "is not a SentencePiece model: it has no pieces");
    s.model = model;
    if (rc == 0)
        rc = read_model(&s, use, ctx);
    if (rc < 0)
        pc_error_path(s.err, path);
    pc_added_release(&s.added);
    pc_map_release(&s.ids);
    pc_free(s.pieces);
    if (model)
        pc_spm__model__free_unpacked(model, &allocator);
    return rc;
}

int pc_vocab_spm_parse(const uint8_t *bytes, size_t len, const char *path, const struct pc_vocab_side *side,
    struct pc_tokenizer **out, struct paco_error *err)
{
    return parse(bytes, len, path, side, pc_vocab_build, out, err);
}

int pc_vocab_spm_read(
    const char *path, const struct pc_vocab_side *side, pc_vocab_use use, void *ctx, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    enum pc_file_kind kind;
    struct pc_buf bytes;
    pc_buf_init(&bytes, PC_VOCAB_MAX_MODEL);
    int rc = pc_file_open(&f, path, err);
    if (rc == 0)
        rc = pc_sniff(&f, &kind, err);
    // Eight arbitrary bytes and a brace pass for safetensors; the message format decides about those.
    if (rc == 0 && kind != PC_FILE_UNKNOWN && kind != PC_FILE_SAFETENSORS)
        rc = pc_sniff_refuse(&f, kind, "a SentencePiece model", err);
    pc_file_close(&f);
    if (rc == 0)
        rc = pc_file_slurp(path, PC_VOCAB_MAX_MODEL, &bytes, err);
    if (rc == 0)
        rc = parse((const uint8_t *)bytes.data, bytes.len, path, side, use, ctx, err);
    pc_buf_release(&bytes);
    return rc;
}
