// SPDX-License-Identifier: Apache-2.0
/* LLaMA 3's tokenizer.model: a list of byte strings, in base64, in the order of their ranks, as tiktoken
 * reads. Two neighbours merge when their concatenation is in the list, the lowest rank first; so every cut of
 * a string into two others is a merge. What the file does not say (the expression that cuts words, the
 * special tokens behind the last rank) is in Meta's code. Source: llama3 llama/tokenizer.py, llama-models
 * models/llama3/tokenizer.py; order of merges as Transformers' convert_slow_tokenizer.py, TikTokenConverter.
 */
#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocab_write.h"

#include <stdio.h>
#include <string.h>

enum { N_SPECIAL = 256, MAX_SPECIAL = 40, MAX_BYTES = 256, PROBE = 64, MAX_PARAMS = 1 << 20 };

struct ranks {
    struct pc_vocab vocab;
    struct pc_piece *pieces;
    struct pc_added added[N_SPECIAL];
    struct pc_merge *merges;
    struct pc_pre_step steps[2];
    struct pc_arena arena; /* the pieces' texts */
    int32_t around[2];
};

/* ---- lines ---- */

static int digit64(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Decode the len characters of text, whole groups of four with at most two '=' in the last; 0 for what is no
 * base64 or more than MAX_BYTES bytes. */
static size_t decode64(const char *text, size_t len, uint8_t out[MAX_BYTES])
{
    size_t n = 0, n_pad = len > 0 && text[len - 1] == '=' ? 1 + (len > 1 && text[len - 2] == '=') : 0;
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > MAX_BYTES)
        return 0;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            int digit = i + k >= len - n_pad ? 0 : digit64(text[i + k]);
            if (digit < 0)
                return 0;
            group = group << 6 | (uint32_t)digit;
        }
        out[n++] = (uint8_t)(group >> 16);
        out[n++] = (uint8_t)(group >> 8);
        out[n++] = (uint8_t)group;
    }
    return n - n_pad;
}

/* One line, "BASE64 RANK", without its end: the number of bytes, or 0 when it is no such line. */
static size_t parse_line(const char *line, size_t len, size_t rank, uint8_t bytes[MAX_BYTES])
{
    char expected[24];
    const char *space = memchr(line, ' ', len);
    if (!space)
        return 0;
    size_t n_digits = (size_t)snprintf(expected, sizeof expected, "%zu", rank);
    size_t rest = len - (size_t)(space + 1 - line);
    if (rest != n_digits || memcmp(space + 1, expected, n_digits) != 0)
        return 0;
    return decode64(line, (size_t)(space - line), bytes);
}

bool pc_vocab_is_tiktoken(const char *path)
{
    char start[PROBE];
    uint8_t bytes[MAX_BYTES];
    struct pc_file f = {.fd = -1};
    if (pc_file_open(&f, path, NULL) < 0)
        return false;
    size_t len = f.size < PROBE ? (size_t)f.size : PROBE;
    bool read = pc_file_read(&f, 0, start, len, NULL) == 0;
    pc_file_close(&f);
    const char *end = read ? memchr(start, '\n', len) : NULL;
    return end && parse_line(start, (size_t)(end - start), 0, bytes) > 0;
}

/* ---- the vocabulary ---- */

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 0;
    for (const char *p = text, *end = text + len; p < end; n++) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        p = line_end ? line_end + 1 : end;
    }
    return n;
}

static int add_piece(
    struct ranks *r, const char *text, size_t len, enum pc_piece_type type, struct paco_error *err)
{
    char *copy = pc_arena_strndup(&r->arena, text, len);
    if (!copy)
        return pc_error_mem(err, len, "the vocabulary");
    r->pieces[r->vocab.n_pieces++] = (struct pc_piece){.span = {copy, len}, .type = type};
    return 0;
}

static int read_pieces(struct ranks *r, const char *text, size_t len, struct paco_error *err)
{
    size_t n = count_lines(text, len);
    r->pieces = pc_alloc(n + N_SPECIAL, sizeof *r->pieces);
    if (!r->pieces)
        return pc_error_mem(err, n * sizeof *r->pieces, "the vocabulary");
    for (const char *p = text, *end = text + len; p < end;) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        size_t line = (size_t)((line_end ? line_end : end) - p);
        uint8_t bytes[MAX_BYTES];
        char spelt[2 * MAX_BYTES];
        size_t n_bytes = parse_line(p, line, r->vocab.n_pieces, bytes);
        if (n_bytes == 0)
            return pc_error_file(err, PACO_EFORMAT, NULL, (uint64_t)(p - text),
                "line %zu is not a piece of 1 to %d bytes in base64, a space and the rank %zu",
                r->vocab.n_pieces + 1, MAX_BYTES, r->vocab.n_pieces);
        int rc = add_piece(r, spelt, pc_alphabet_encode(bytes, n_bytes, spelt), PC_PIECE_NORMAL, err);
        if (rc < 0)
            return rc;
        p = line_end ? line_end + 1 : end;
    }
    return 0;
}

/* The name of special token i: those of use stand at fixed places, all others are reserved and counted. */
static void special_name(size_t i, bool since_3_1, char out[MAX_SPECIAL])
{
    static const char *const first[] = {[0] = "begin_of_text",
        [1] = "end_of_text",
        [6] = "start_header_id",
        [7] = "end_header_id",
        [9] = "eot_id"};
    static const char *const later[] = {[4] = "finetune_right_pad_id", [8] = "eom_id", [10] = "python_tag"};
    size_t n_named = 0;
    for (size_t k = 0; k <= i && k <= 10; k++) {
        const char *name = k < sizeof first / sizeof *first ? first[k] : NULL;
        name = !name && since_3_1 ? later[k] : name;
        if (k == i && name) {
            snprintf(out, MAX_SPECIAL, "<|%s|>", name);
            return;
        }
        n_named += name != NULL;
    }
    snprintf(out, MAX_SPECIAL, "<|reserved_special_token_%zu|>", i - n_named);
}

static int add_specials(struct ranks *r, bool since_3_1, struct paco_error *err)
{
    size_t n_ranks = r->vocab.n_pieces;
    for (size_t i = 0; i < N_SPECIAL; i++) {
        char name[MAX_SPECIAL];
        special_name(i, since_3_1, name);
        int rc = add_piece(r, name, strlen(name), PC_PIECE_CONTROL, err);
        if (rc < 0)
            return rc;
        r->added[i] = (struct pc_added){
            .span = r->pieces[n_ranks + i].span, .id = (int32_t)(n_ranks + i), .special = true};
    }
    r->vocab.bos = (int32_t)n_ranks;
    r->vocab.eos = (int32_t)n_ranks + 1;
    return 0;
}

/* Merges are made of the ranks alone: special tokens are never parts. */
static int add_merges(struct ranks *r, struct paco_error *err)
{
    r->vocab.model = PC_VOCAB_MERGES;
    r->vocab.pieces = r->pieces;
    int rc = pc_vocab_merges(&r->vocab, &r->merges, &r->vocab.n_merges, err);
    r->vocab.merges = r->merges;
    return rc;
}

static void set_rules(struct ranks *r)
{
    struct pc_vocab *v = &r->vocab;
    const char *pattern = pc_vocab_llama3_pattern();
    r->steps[0] = (struct pc_pre_step){
        .kind = PC_PRE_SPLIT, .pattern = {pattern, strlen(pattern)}, .behavior = PC_SPLIT_ISOLATED};
    r->steps[1] = (struct pc_pre_step){.kind = PC_PRE_BYTE_LEVEL};
    v->pre = r->steps;
    v->n_pre = 2;
    v->segments = PC_SEGMENTS_FAST;
    v->ignore_merges = v->drops_unknown = true;
    v->added = r->added;
    v->n_added = N_SPECIAL;
    v->unk = v->pad = -1;
    r->around[0] = v->bos;
    v->prefix = r->around;
    v->n_prefix = 1;
}

int pc_vocab_tiktoken_parse(const char *text, size_t len, const char *path, bool since_3_1, pc_vocab_use use,
    void *ctx, struct paco_error *err)
{
    struct paco_error local = {0};
    struct ranks r = {.vocab.n_pieces = 0};
    err = err ? err : &local;
    int rc = read_pieces(&r, text, len, err);
    if (rc == 0)
        rc = add_specials(&r, since_3_1, err);
    if (rc == 0)
        rc = add_merges(&r, err);
    if (rc == 0) {
        set_rules(&r);
        rc = use(ctx, &r.vocab, err);
    }
    if (rc < 0)
        pc_error_path(err, path);
    pc_free(r.pieces);
    pc_free(r.merges);
    pc_arena_release(&r.arena);
    return rc;
}

/* ---- files ---- */

/* Whether params.json beside path is of a release that renamed special tokens. */
static bool is_since_3_1(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? pc_strndup(path, (size_t)(slash - path + 1)) : pc_strdup(".");
    char *params = dir ? pc_path_join(dir, "params.json") : NULL;
    json_t *o = NULL;
    bool scaled = false;
    if (params && pc_path_exists(params) && pc_json_read(params, MAX_PARAMS, &o, NULL) == 0)
        scaled = json_is_true(json_object_get(o, "use_scaled_rope")) ||
                 json_is_true(json_object_get(json_object_get(o, "model"), "use_scaled_rope"));
    json_decref(o);
    pc_free(params);
    pc_free(dir);
    return scaled;
}

int pc_vocab_tiktoken_read(const char *path, pc_vocab_use use, void *ctx, struct paco_error *err)
{
    struct pc_buf text;
    int rc = pc_file_slurp(path, PC_VOCAB_MAX_MODEL, &text, err);
    if (rc == 0)
        rc = pc_vocab_tiktoken_parse(
            text.data ? text.data : "", text.len, path, is_since_3_1(path), use, ctx, err);
    pc_buf_release(&text);
    return rc;
}
