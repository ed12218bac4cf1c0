// SPDX-License-Identifier: Apache-2.0
#include "prompt/vocab_write.h"

#include "base/json.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The largest tokenizer.json in use, of 256 K pieces, has 34 MB. */
enum { MAX_TEXT = 256 * 1024 * 1024 };

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

static void put_span(struct pc_buf *b, struct pc_span s)
{
    pc_json_write_string(b, s.text, s.len, false);
}

static void put_bool(struct pc_buf *b, const char *key, bool value, const char *after)
{
    pc_buf_printf(b, "\"%s\": %s%s", key, value ? "true" : "false", after);
}

/* What Transformers should look for in the text before the model: v->added, and the pieces that are no text.
 */
struct added_list {
    struct pc_added *v;
    size_t n;
};

static int by_id(const void *a, const void *b)
{
    const struct pc_added *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool is_no_text(enum pc_piece_type type)
{
    return type == PC_PIECE_CONTROL || type == PC_PIECE_UNKNOWN || type == PC_PIECE_USER_DEFINED;
}

static int collect_added(const struct pc_vocab *v, struct added_list *out, struct paco_error *err)
{
    size_t n = v->n_added;
    for (size_t i = 0; i < v->n_pieces; i++)
        n += is_no_text(v->pieces[i].type);
    bool *listed = pc_alloc_zero(v->n_pieces, sizeof *listed);
    out->v = pc_alloc(n, sizeof *out->v);
    if (!out->v || !listed) {
        pc_free(listed);
        return pc_error_mem(err, n * sizeof *out->v + v->n_pieces, "added tokens");
    }
    for (out->n = 0; out->n < v->n_added; out->n++) {
        out->v[out->n] = v->added[out->n];
        if (v->added[out->n].id >= 0 && (size_t)v->added[out->n].id < v->n_pieces)
            listed[v->added[out->n].id] = true;
    }
    for (size_t i = 0; i < v->n_pieces; i++) {
        const struct pc_piece *p = &v->pieces[i];
        if (is_no_text(p->type) && p->span.len && !listed[i])
            out->v[out->n++] = (struct pc_added){
                .span = p->span, .id = (int32_t)i, .special = p->type != PC_PIECE_USER_DEFINED};
    }
    qsort(out->v, out->n, sizeof *out->v, by_id);
    pc_free(listed);
    return 0;
}

static void put_added(struct pc_buf *b, const struct added_list *added)
{
    pc_buf_puts(b, "  \"added_tokens\": [");
    for (size_t i = 0; i < added->n; i++) {
        const struct pc_added *a = &added->v[i];
        pc_buf_printf(b, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", (int)a->id);
        put_span(b, a->span);
        pc_buf_puts(b, ", ");
        put_bool(b, "single_word", a->single_word, ", ");
        put_bool(b, "lstrip", a->lstrip, ", ");
        put_bool(b, "rstrip", a->rstrip, ", ");
        put_bool(b, "normalized", a->normalized, ", ");
        put_bool(b, "special", a->special, "}");
    }
    pc_buf_puts(b, added->n ? "\n  ],\n" : "],\n");
}

static bool is_spm(const struct pc_vocab *v)
{
    return v->model == PC_VOCAB_SPM_BPE;
}

static bool is_byte_level(const struct pc_vocab *v)
{
    for (size_t i = 0; i < v->n_pre; i++)
        if (v->pre[i].kind == PC_PRE_BYTE_LEVEL)
            return true;
    return false;
}

static void put_normal_step(struct pc_buf *b, const struct pc_normal_step *s)
{
    static const char *const forms[] = {[PC_NORMAL_NFC] = "NFC",
        [PC_NORMAL_NFD] = "NFD",
        [PC_NORMAL_NFKC] = "NFKC",
        [PC_NORMAL_NFKD] = "NFKD"};
    if (s->kind == PC_NORMAL_PREPEND) {
        pc_buf_puts(b, "{\"type\": \"Prepend\", \"prepend\": ");
        put_span(b, s->a);
    } else if (s->kind == PC_NORMAL_REPLACE) {
        pc_buf_puts(b, "{\"type\": \"Replace\", \"pattern\": {\"String\": ");
        put_span(b, s->a);
        pc_buf_puts(b, "}, \"content\": ");
        put_span(b, s->b);
    } else {
        pc_buf_printf(b, "{\"type\": \"%s\"", forms[s->kind]);
    }
    pc_buf_putc(b, '}');
}

static void put_normalizer(struct pc_buf *b, const struct pc_vocab *v)
{
    static const struct pc_normal_step prepend = {PC_NORMAL_PREPEND, {SPACE_MARK, 3}, {NULL, 0}},
                                       spaces = {PC_NORMAL_REPLACE, {" ", 1}, {SPACE_MARK, 3}};
    struct pc_normal_step spm[2];
    const struct pc_normal_step *steps = v->normal;
    size_t n = v->n_normal;
    if (is_spm(v)) {
        n = 0;
        if (v->spm.add_dummy_prefix)
            spm[n++] = prepend;
        if (v->spm.escape_whitespaces)
            spm[n++] = spaces;
        steps = spm;
    }
    pc_buf_puts(b, "  \"normalizer\": ");
    if (n == 0) {
        pc_buf_puts(b, "null,\n");
        return;
    }
    pc_buf_puts(b, "{\"type\": \"Sequence\", \"normalizers\": [");
    for (size_t i = 0; i < n; i++) {
        pc_buf_puts(b, i ? ", " : "");
        put_normal_step(b, &steps[i]);
    }
    pc_buf_puts(b, "]},\n");
}

static void put_pre_step(struct pc_buf *b, const struct pc_pre_step *s)
{
    static const char *const behaviors[] = {[PC_SPLIT_ISOLATED] = "Isolated",
        [PC_SPLIT_REMOVED] = "Removed",
        [PC_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PC_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [PC_SPLIT_CONTIGUOUS] = "Contiguous"};
    static const char *const schemes[] = {
        [PC_PREFIX_NEVER] = "never", [PC_PREFIX_FIRST] = "first", [PC_PREFIX_ALWAYS] = "always"};
    switch (s->kind) {
    case PC_PRE_SPLIT:
        pc_buf_printf(b, "{\"type\": \"Split\", \"pattern\": {\"%s\": ", s->literal ? "String" : "Regex");
        put_span(b, s->pattern);
        pc_buf_printf(b, "}, \"behavior\": \"%s\", ", behaviors[s->behavior]);
        put_bool(b, "invert", s->invert, "}");
        break;
    case PC_PRE_METASPACE:
        pc_buf_printf(b,
            "{\"type\": \"Metaspace\", \"replacement\": \"" SPACE_MARK "\", \"prepend_scheme\": \"%s\", ",
            schemes[s->prefix]);
        put_bool(b, "split", s->cut, "}");
        break;
    case PC_PRE_BYTE_LEVEL:
        pc_buf_puts(b, "{\"type\": \"ByteLevel\", ");
        put_bool(b, "add_prefix_space", s->add_prefix_space, ", \"trim_offsets\": true, ");
        put_bool(b, "use_regex", s->gpt2_split, "}");
        break;
    }
}

static void put_pre_tokenizer(struct pc_buf *b, const struct pc_vocab *v)
{
    pc_buf_puts(b, "  \"pre_tokenizer\": ");
    if (v->n_pre == 0 || is_spm(v)) {
        pc_buf_puts(b, "null,\n");
        return;
    }
    pc_buf_puts(b, "{\"type\": \"Sequence\", \"pretokenizers\": [");
    for (size_t i = 0; i < v->n_pre; i++) {
        pc_buf_puts(b, i ? ", " : "");
        put_pre_step(b, &v->pre[i]);
    }
    pc_buf_puts(b, "]},\n");
}

static struct pc_span piece_of(const struct pc_vocab *v, int32_t id)
{
    return id >= 0 && (size_t)id < v->n_pieces ? v->pieces[id].span : (struct pc_span){"", 0};
}

static void put_template_tokens(
    struct pc_buf *b, const struct pc_vocab *v, const int32_t *ids, size_t n, int type_id)
{
    for (size_t i = 0; i < n; i++) {
        pc_buf_puts(b, "{\"SpecialToken\": {\"id\": ");
        put_span(b, piece_of(v, ids[i]));
        pc_buf_printf(b, ", \"type_id\": %d}}, ", type_id);
    }
}

/* "PREFIX $A SUFFIX", for the pair form "PREFIX $A SUFFIX PREFIX $B SUFFIX". */
static void put_template(struct pc_buf *b, const struct pc_vocab *v, int n_sequences)
{
    for (int i = 0; i < n_sequences; i++) {
        put_template_tokens(b, v, v->prefix, v->n_prefix, i);
        pc_buf_printf(b, "{\"Sequence\": {\"id\": \"%c\", \"type_id\": %d}}, ", 'A' + i, i);
        put_template_tokens(b, v, v->suffix, v->n_suffix, i);
    }
    if (!b->failed)
        b->len -= 2; // the last ", "
}

static void put_template_ids(struct pc_buf *b, const struct pc_vocab *v, const int32_t *ids, size_t n,
    const int32_t *before, size_t n_before, bool *first)
{
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t j = 0; j < i; j++)
            seen |= ids[j] == ids[i];
        for (size_t j = 0; j < n_before; j++)
            seen |= before[j] == ids[i];
        if (seen)
            continue;
        struct pc_span s = piece_of(v, ids[i]);
        pc_buf_puts(b, *first ? "" : ", ");
        *first = false;
        put_span(b, s);
        pc_buf_puts(b, ": {\"id\": ");
        put_span(b, s);
        pc_buf_printf(b, ", \"ids\": [%d], \"tokens\": [", (int)ids[i]);
        put_span(b, s);
        pc_buf_puts(b, "]}");
    }
}

static void put_post_processor(struct pc_buf *b, const struct pc_vocab *v)
{
    pc_buf_puts(b, "  \"post_processor\": ");
    if (v->n_prefix + v->n_suffix == 0) {
        pc_buf_puts(b, "null,\n");
        return;
    }
    bool first = true;
    pc_buf_puts(b, "{\"type\": \"TemplateProcessing\", \"single\": [");
    put_template(b, v, 1);
    pc_buf_puts(b, "], \"pair\": [");
    put_template(b, v, 2);
    pc_buf_puts(b, "], \"special_tokens\": {");
    put_template_ids(b, v, v->prefix, v->n_prefix, NULL, 0, &first);
    put_template_ids(b, v, v->suffix, v->n_suffix, v->prefix, v->n_prefix, &first);
    pc_buf_puts(b, "}},\n");
}

static void put_decoder(struct pc_buf *b, const struct pc_vocab *v)
{
    if (is_byte_level(v)) {
        pc_buf_puts(b, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                       "\"trim_offsets\": true, \"use_regex\": true},\n");
        return;
    }
    pc_buf_puts(b, "  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
                   "\"pattern\": {\"String\": \"" SPACE_MARK
                   "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}");
    if (v->strip != PC_STRIP_NONE)
        pc_buf_puts(b, ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}");
    pc_buf_puts(b, "]},\n");
}

/* tokenizer.json spells a merge "LEFT RIGHT", or since 2024 as a pair, which texts with spaces need. */
static bool merges_have_spaces(const struct pc_merge *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memchr(m[i].left.text, ' ', m[i].left.len) || memchr(m[i].right.text, ' ', m[i].right.len))
            return true;
    return false;
}

static void put_merges(struct pc_buf *b, const struct pc_merge *m, size_t n)
{
    bool pairs = merges_have_spaces(m, n);
    struct pc_buf one;
    pc_buf_init(&one, MAX_TEXT);
    pc_buf_puts(b, "    \"merges\": [");
    for (size_t i = 0; i < n; i++) {
        pc_buf_puts(b, i ? ",\n      " : "\n      ");
        if (pairs) {
            pc_buf_putc(b, '[');
            put_span(b, m[i].left);
            pc_buf_puts(b, ", ");
            put_span(b, m[i].right);
            pc_buf_putc(b, ']');
            continue;
        }
        pc_buf_clear(&one);
        pc_buf_add(&one, m[i].left.text, m[i].left.len);
        pc_buf_putc(&one, ' ');
        pc_buf_add(&one, m[i].right.text, m[i].right.len);
        b->failed |= one.failed;
        if (!one.failed)
            pc_json_write_string(b, one.data, one.len, false);
    }
    pc_buf_puts(b, n ? "\n    ]\n" : "]\n");
    pc_buf_release(&one);
}

static void put_model(
    struct pc_buf *b, const struct pc_vocab *v, const struct pc_merge *merges, size_t n_merges)
{
    pc_buf_puts(b, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ");
    if (is_spm(v) && v->unk >= 0)
        put_span(b, piece_of(v, v->unk));
    else
        pc_buf_puts(b, "null");
    pc_buf_puts(b, ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    ");
    put_bool(b, "fuse_unk", is_spm(v) || v->fuse_unk, ",\n    ");
    put_bool(b, "byte_fallback", v->byte_fallback, ",\n    ");
    put_bool(b, "ignore_merges", v->ignore_merges, ",\n    \"vocab\": {");
    bool first = true;
    for (size_t i = 0; i < v->n_pieces; i++) {
        if (v->pieces[i].span.len == 0)
            continue;
        pc_buf_puts(b, first ? "\n      " : ",\n      ");
        first = false;
        put_span(b, v->pieces[i].span);
        pc_buf_printf(b, ": %zu", i);
    }
    pc_buf_puts(b, first ? "},\n" : "\n    },\n");
    put_merges(b, merges, n_merges);
    pc_buf_puts(b, "  }\n}\n");
}

static int check_pieces(const struct pc_vocab *v, struct paco_error *err)
{
    struct pc_map seen = {0};
    int rc = pc_map_reserve(&seen, v->n_pieces)
                 ? 0
                 : pc_error_mem(err, v->n_pieces * 16, "the pieces of a vocabulary");
    for (size_t i = 0; i < v->n_pieces && rc == 0; i++) {
        struct pc_span s = v->pieces[i].span;
        char shown[128];
        if (s.len == 0)
            continue;
        if (!pc_utf8_valid((const uint8_t *)s.text, s.len, NULL) || memchr(s.text, 0, s.len)) {
            rc = pc_error_set(
                err, PACO_EFORMAT, "piece %zu of the vocabulary is no text: broken UTF-8, or a NUL in it", i);
            break;
        }
        int added = pc_map_add(&seen, s.text, s.len, (uint32_t)i);
        if (added == 0) {
            uint32_t other = 0;
            char text[64];
            snprintf(text, sizeof text, "%.*s", (int)(s.len < 60 ? s.len : 60), s.text);
            pc_map_get(&seen, s.text, s.len, &other);
            rc = pc_error_set(err, PACO_EFORMAT, "pieces %u and %zu of the vocabulary are both '%s'", other,
                i, pc_printable(text, shown, sizeof shown));
        } else if (added < 0) {
            rc = pc_error_mem(err, v->n_pieces * 16, "the pieces of a vocabulary");
        }
    }
    pc_map_release(&seen);
    return rc;
}

static int put_tokenizer(
    struct pc_buf *b, const struct pc_vocab *v, const struct added_list *added, struct paco_error *err)
{
    struct pc_merge *made = NULL;
    const struct pc_merge *merges = v->merges;
    size_t n_merges = v->n_merges;
    if (is_spm(v)) {
        int rc = pc_vocab_merges(v, &made, &n_merges, err);
        if (rc < 0)
            return rc;
        merges = made;
    }
    pc_buf_puts(b, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added(b, added);
    put_normalizer(b, v);
    put_pre_tokenizer(b, v);
    put_post_processor(b, v);
    put_decoder(b, v);
    put_model(b, v, merges, n_merges);
    pc_free(made);
    return pc_buf_check(b, "tokenizer.json", err);
}

/* "bos_token": "<s>" and the like, for those there are; each line ends in ",\n" but the last when `last`. */
static void put_specials(struct pc_buf *b, const struct pc_vocab *v, bool last)
{
    const struct {
        const char *key;
        int32_t id;
    } specials[] = {
        {"bos_token", v->bos}, {"eos_token", v->eos}, {"pad_token", v->pad}, {"unk_token", v->unk}};
    bool first = true;
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        struct pc_span s = piece_of(v, specials[i].id);
        if (s.len == 0)
            continue;
        if (last && !first)
            pc_buf_puts(b, ",\n");
        first = false;
        pc_buf_printf(b, "  \"%s\": ", specials[i].key);
        put_span(b, s);
        if (!last)
            pc_buf_puts(b, ",\n");
    }
    if (last && !first)
        pc_buf_putc(b, '\n');
}

static void put_config(struct pc_buf *b, const struct pc_vocab *v, const struct added_list *added,
    const struct pc_vocab_write_options *o)
{
    pc_buf_puts(b, "{\n  \"added_tokens_decoder\": {");
    for (size_t i = 0; i < added->n; i++) {
        const struct pc_added *a = &added->v[i];
        pc_buf_printf(b, "%s\n    \"%d\": {\"content\": ", i ? "," : "", (int)a->id);
        put_span(b, a->span);
        pc_buf_puts(b, ", ");
        put_bool(b, "lstrip", a->lstrip, ", ");
        put_bool(b, "normalized", a->normalized, ", ");
        put_bool(b, "rstrip", a->rstrip, ", ");
        put_bool(b, "single_word", a->single_word, ", ");
        put_bool(b, "special", a->special, "}");
    }
    pc_buf_puts(b, added->n ? "\n  },\n" : "},\n");
    put_specials(b, v, false);
    if (o->chat_template) {
        pc_buf_puts(b, "  \"chat_template\": ");
        pc_json_write_string(b, o->chat_template, strlen(o->chat_template), false);
        pc_buf_puts(b, ",\n");
    }
    pc_buf_puts(b, "  \"clean_up_tokenization_spaces\": false,\n  \"model_input_names\": [\"input_ids\", "
                   "\"attention_mask\"],\n");
    if (o->max_length > 0)
        pc_buf_printf(b, "  \"model_max_length\": %lld,\n", (long long)o->max_length);
    pc_buf_puts(b, "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
}

int pc_vocab_write(const struct pc_vocab *v, const struct pc_vocab_write_options *options,
    struct pc_vocab_files *out, struct paco_error *err)
{
    pc_buf_init(&out->tokenizer, MAX_TEXT);
    pc_buf_init(&out->config, MAX_TEXT);
    pc_buf_init(&out->special_map, MAX_TEXT);
    if (v->model == PC_VOCAB_SPM_UNIGRAM)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "a SentencePiece unigram vocabulary cannot be written as tokenizer.json by this version");
    struct added_list added = {0};
    int rc = check_pieces(v, err);
    if (rc == 0)
        rc = collect_added(v, &added, err);
    if (rc == 0)
        rc = put_tokenizer(&out->tokenizer, v, &added, err);
    if (rc == 0) {
        put_config(&out->config, v, &added, options);
        rc = pc_buf_check(&out->config, "tokenizer_config.json", err);
    }
    if (rc == 0) {
        pc_buf_puts(&out->special_map, "{\n");
        put_specials(&out->special_map, v, true);
        pc_buf_puts(&out->special_map, "}\n");
        rc = pc_buf_check(&out->special_map, "special_tokens_map.json", err);
    }
    pc_free(added.v);
    return rc;
}

void pc_vocab_files_release(struct pc_vocab_files *f)
{
    pc_buf_release(&f->tokenizer);
    pc_buf_release(&f->config);
    pc_buf_release(&f->special_map);
}
