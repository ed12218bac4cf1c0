// SPDX-License-Identifier: Apache-2.0
#include "prompt/vocab_steps.h"

#include <string.h>

enum { MAX_DEPTH = 8 };

const char *pc_vocab_type_of(const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    return type ? type : "";
}

int pc_vocab_unsupported(const char *part, const char *type, struct paco_error *err)
{
    char shown[64];
    return pc_error_set(err, PACO_EUNSUPPORTED, "the %s '%s' is not supported", part,
        pc_printable(type, shown, sizeof shown));
}

static bool is_true(const json_t *v, const char *key)
{
    return json_is_true(json_object_get(v, key));
}

static struct pc_span text_of(const json_t *v)
{
    return (struct pc_span){json_string_value(v), json_string_length(v)};
}

/* ---- normaliser ---- */

static int add_normal(struct pc_vocab_steps *r, enum pc_normal_kind kind, struct pc_span a, struct pc_span b)
{
    if (r->n_normal == PC_VOCAB_MAX_STEPS)
        return pc_error_set(r->err, PACO_ELIMIT, "a normalizer of more than %d steps", PC_VOCAB_MAX_STEPS);
    r->normal[r->n_normal++] = (struct pc_normal_step){kind, a, b};
    return 0;
}

static int read_replace(struct pc_vocab_steps *r, const json_t *v)
{
    struct pc_span from = text_of(json_object_get(json_object_get(v, "pattern"), "String"));
    struct pc_span to = text_of(json_object_get(v, "content"));
    if (!from.text || !to.text)
        return pc_vocab_unsupported("normalizer", "Replace with a regular expression", r->err);
    return add_normal(r, PC_NORMAL_REPLACE, from, to);
}

static int read_normalizer(struct pc_vocab_steps *r, const json_t *v, int depth)
{
    static const struct {
        const char *name;
        enum pc_normal_kind kind;
    } forms[] = {
        {"NFC", PC_NORMAL_NFC}, {"NFD", PC_NORMAL_NFD}, {"NFKC", PC_NORMAL_NFKC}, {"NFKD", PC_NORMAL_NFKD}};
    const struct pc_span nothing = {"", 0};
    const char *type = pc_vocab_type_of(v);
    if (!v || json_is_null(v))
        return 0;
    for (size_t i = 0; i < 4; i++)
        if (strcmp(type, forms[i].name) == 0)
            return add_normal(r, forms[i].kind, nothing, nothing);
    if (strcmp(type, "Replace") == 0)
        return read_replace(r, v);
    if (strcmp(type, "Prepend") == 0 && json_is_string(json_object_get(v, "prepend")))
        return add_normal(r, PC_NORMAL_PREPEND, text_of(json_object_get(v, "prepend")), nothing);
    const json_t *list = json_object_get(v, "normalizers");
    if (strcmp(type, "Sequence") != 0 || !json_is_array(list) || depth == MAX_DEPTH)
        return pc_vocab_unsupported("normalizer", type, r->err);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = read_normalizer(r, json_array_get(list, i), depth + 1);
    return rc;
}

/* ---- pre-tokenizer ---- */

static int add_pre(struct pc_vocab_steps *r, const struct pc_pre_step *step)
{
    if (r->n_pre == PC_VOCAB_MAX_STEPS)
        return pc_error_set(r->err, PACO_ELIMIT, "a pre_tokenizer of more than %d steps", PC_VOCAB_MAX_STEPS);
    r->pre[r->n_pre++] = *step;
    return 0;
}

static int read_split(struct pc_vocab_steps *r, const json_t *v)
{
    static const struct {
        const char *name;
        enum pc_split_behavior behavior;
    } known[] = {{"Isolated", PC_SPLIT_ISOLATED}, {"Removed", PC_SPLIT_REMOVED},
        {"Contiguous", PC_SPLIT_CONTIGUOUS}, {"MergedWithPrevious", PC_SPLIT_MERGED_WITH_PREVIOUS},
        {"MergedWithNext", PC_SPLIT_MERGED_WITH_NEXT}};
    const json_t *pattern = json_object_get(v, "pattern");
    const char *behavior = json_string_value(json_object_get(v, "behavior"));
    struct pc_pre_step step = {.kind = PC_PRE_SPLIT, .invert = is_true(v, "invert")};
    step.pattern = text_of(json_object_get(pattern, "Regex"));
    if (!step.pattern.text) {
        step.pattern = text_of(json_object_get(pattern, "String"));
        step.literal = true;
    }
    for (size_t i = 0; behavior && i < sizeof known / sizeof *known; i++)
        if (strcmp(behavior, known[i].name) == 0)
            step.behavior = known[i].behavior;
    if (!step.pattern.text || !step.behavior)
        return pc_error_set(
            r->err, PACO_EFORMAT, "a Split in pre_tokenizer without a pattern or a known behavior");
    return add_pre(r, &step);
}

/* "prepend_scheme" since 0.19; "add_prefix_space" before. */
static int read_prefix(struct pc_vocab_steps *r, const json_t *v, enum pc_prefix *out)
{
    const char *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
    if (!scheme)
        *out = json_is_false(json_object_get(v, "add_prefix_space")) ? PC_PREFIX_NEVER : PC_PREFIX_ALWAYS;
    else if (strcmp(scheme, "always") == 0)
        *out = PC_PREFIX_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        *out = PC_PREFIX_FIRST;
    else if (strcmp(scheme, "never") == 0)
        *out = PC_PREFIX_NEVER;
    else
        return pc_vocab_unsupported("prepend_scheme", scheme, r->err);
    return 0;
}

static int read_metaspace(struct pc_vocab_steps *r, const json_t *v)
{
    const char *mark = json_string_value(json_object_get(v, "replacement"));
    struct pc_pre_step step = {.kind = PC_PRE_METASPACE, .cut = !json_is_false(json_object_get(v, "split"))};
    if (!mark || strcmp(mark, "\xe2\x96\x81") != 0)
        return pc_vocab_unsupported("Metaspace replacement", mark ? mark : "", r->err);
    int rc = read_prefix(r, v, &step.prefix);
    return rc == 0 ? add_pre(r, &step) : rc;
}

static int read_digits(struct pc_vocab_steps *r, const json_t *v)
{
    struct pc_pre_step step = {
        .kind = PC_PRE_SPLIT, .pattern = {"\\p{N}+", 6}, .behavior = PC_SPLIT_ISOLATED};
    if (is_true(v, "individual_digits"))
        step.pattern.len = 5;
    return add_pre(r, &step);
}

static int read_pre_tokenizer(struct pc_vocab_steps *r, const json_t *v, int depth)
{
    const char *type = pc_vocab_type_of(v);
    if (!v || json_is_null(v))
        return 0;
    if (strcmp(type, "Split") == 0)
        return read_split(r, v);
    if (strcmp(type, "Digits") == 0)
        return read_digits(r, v);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(r, v);
    if (strcmp(type, "ByteLevel") == 0) {
        const struct pc_pre_step step = {.kind = PC_PRE_BYTE_LEVEL,
            .add_prefix_space = is_true(v, "add_prefix_space"),
            .gpt2_split = !json_is_false(json_object_get(v, "use_regex"))};
        return add_pre(r, &step);
    }
    const json_t *list = json_object_get(v, "pretokenizers");
    if (strcmp(type, "Sequence") != 0 || !json_is_array(list) || depth == MAX_DEPTH)
        return pc_vocab_unsupported("pre_tokenizer", type, r->err);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = read_pre_tokenizer(r, json_array_get(list, i), depth + 1);
    return rc;
}

/* ---- decoder: only what it takes from the front matters, the rest follows from the model ---- */

static int read_decoder(struct pc_vocab_steps *r, const json_t *v, int depth)
{
    const char *type = pc_vocab_type_of(v);
    if (strcmp(type, "Strip") == 0 && json_integer_value(json_object_get(v, "start")) > 0)
        r->strip = PC_STRIP_SPACE;
    if (strcmp(type, "Metaspace") == 0) {
        enum pc_prefix prefix;
        int rc = read_prefix(r, v, &prefix);
        if (rc < 0)
            return rc;
        r->strip = prefix == PC_PREFIX_NEVER ? PC_STRIP_NONE : PC_STRIP_PIECE;
    }
    const json_t *list = json_object_get(v, "decoders");
    for (size_t i = 0; i < json_array_size(list) && depth < MAX_DEPTH; i++) {
        int rc = read_decoder(r, json_array_get(list, i), depth + 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pc_vocab_steps_read(const json_t *root, struct pc_vocab_steps *out, struct paco_error *err)
{
    *out = (struct pc_vocab_steps){.err = err};
    int rc = read_normalizer(out, json_object_get(root, "normalizer"), 0);
    if (rc == 0)
        rc = read_pre_tokenizer(out, json_object_get(root, "pre_tokenizer"), 0);
    return rc == 0 ? read_decoder(out, json_object_get(root, "decoder"), 0) : rc;
}
