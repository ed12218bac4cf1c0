// SPDX-License-Identifier: Apache-2.0
/* GGUF's vocabulary: "llama" is SentencePiece BPE in its legacy form, "gpt2" byte-level BPE whose
 * pre-tokenizer the file only names. The names are llama.cpp's; each stands for the expressions the model was
 * trained with. A name not known here is refused: guessing splits would give ids that are wrong only now and
 * then. Source: ggml docs/gguf.md; llama.cpp's list of pre-tokenizers. */
#include "base/memory.h"
#include "format/gguf.h"
#include "prompt/vocab_sources.h"

#include <string.h>

/* ---- pre-tokenizers by name ---- */

#define CONTRACTIONS_ANY_CASE "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define AFTER_NUMBERS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct pre {
    const char *names; /* between bars */
    const char *patterns[5];
    bool ignore_merges, adds_bos;
} known_pre[] = {
    {"|default|", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {"|gpt-2|gpt2|olmo|phi-2|jina-es|jina-de|jina-v2-es|jina-v2-de|gigachat|mpt|", {GPT2}, false, false},
    {"|smollm|starcoder|refact|command-r|codeshell|exaone|minerva-7b|", {"\\p{N}", GPT2}, false, false},
    {"|llama-bpe|llama3|llama-v3|falcon3|",
        {CONTRACTIONS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" AFTER_NUMBERS}, true, true},
    {"|dbrx|smaug-bpe|", {CONTRACTIONS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" AFTER_NUMBERS},
        false, false},
    {"|qwen2|stablelm2|deepseek-r1-qwen|megrez|hunyuan|",
        {CONTRACTIONS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" AFTER_NUMBERS}, false, false},
    {"|tekken|",
        {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
         "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
        true, true},
};

static const struct pre *find_pre(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof known_pre / sizeof *known_pre; i++)
        for (const char *p = known_pre[i].names; *p == '|' && p[1];) {
            size_t n = strcspn(p + 1, "|");
            if (n == len && memcmp(p + 1, name, len) == 0)
                return &known_pre[i];
            p += n + 1;
        }
    return NULL;
}

const char *pc_vocab_llama3_pattern(void)
{
    return find_pre("llama3", 6)->patterns[0];
}

/* tokenizer.json files spell the contractions with a flag. */
static bool same_pattern(const char *known, struct pc_span found)
{
    static const char flagged[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", spelt[] = CONTRACTIONS_ANY_CASE;
    size_t n = sizeof flagged - 1, m = sizeof spelt - 1;
    if (found.len >= n && memcmp(found.text, flagged, n) == 0 && strncmp(known, spelt, m) == 0) {
        known += m;
        found.text += n;
        found.len -= n;
    }
    return strlen(known) == found.len && memcmp(known, found.text, found.len) == 0;
}

static bool same_steps(const struct pre *pre, const struct pc_vocab *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n_pre; i++) {
        const struct pc_pre_step *step = &v->pre[i];
        bool last = i == v->n_pre - 1;
        if (last != (step->kind == PC_PRE_BYTE_LEVEL))
            return false;
        struct pc_span found = last ? (struct pc_span){GPT2, sizeof GPT2 - 1} : step->pattern;
        if (last && !step->gpt2_split)
            break;
        if (!last && (step->kind != PC_PRE_SPLIT || step->literal || step->invert ||
                         step->behavior != PC_SPLIT_ISOLATED))
            return false;
        if (n == sizeof pre->patterns / sizeof *pre->patterns || !pre->patterns[n] ||
            !same_pattern(pre->patterns[n++], found))
            return false;
    }
    return v->n_pre > 0 && v->n_normal == 0 && !pre->patterns[n] && pre->ignore_merges == v->ignore_merges;
}

const char *pc_vocab_gguf_pre_name(const struct pc_vocab *v, size_t *len)
{
    for (size_t i = 0; i < sizeof known_pre / sizeof *known_pre; i++)
        if (same_steps(&known_pre[i], v)) {
            *len = strcspn(known_pre[i].names + 1, "|");
            return known_pre[i].names + 1;
        }
    return NULL;
}

/* ---- the arrays ---- */

struct source {
    struct pc_checkpoint *ck;
    const char *path;
    struct pc_vocab vocab;
    struct pc_piece *pieces;
    struct pc_merge *merges;
    struct pc_added *added;
    struct pc_pre_step steps[6];
    int32_t around[2];
    const struct pre *pre;
    struct paco_error *err;
};

static int check_length(const struct source *s, const char *key, uint64_t n, uint64_t want)
{
    return n == want ? 0
                     : pc_error_set(s->err, PACO_EFORMAT, "%s has %llu elements, the vocabulary %llu", key,
                           (unsigned long long)n, (unsigned long long)want);
}

static int read_pieces(struct source *s, bool needs_scores)
{
    struct pc_gguf_array tokens, scores = {0}, types = {0};
    int rc = pc_gguf_get_array(s->ck, "tokenizer.ggml.tokens", PC_GGUF_STRING, &tokens, s->err);
    if (rc == 0)
        rc = (needs_scores ? pc_gguf_get_array : pc_gguf_opt_array)(
            s->ck, "tokenizer.ggml.scores", PC_GGUF_F64, &scores, s->err);
    if (rc == 0)
        rc = pc_gguf_opt_array(s->ck, "tokenizer.ggml.token_type", PC_GGUF_I64, &types, s->err);
    if (rc == 0 && scores.n)
        rc = check_length(s, "tokenizer.ggml.scores", scores.n, tokens.n);
    if (rc == 0 && types.n)
        rc = check_length(s, "tokenizer.ggml.token_type", types.n, tokens.n);
    if (rc < 0)
        return rc;
    s->pieces = pc_alloc_zero((size_t)tokens.n, sizeof *s->pieces);
    s->added = pc_alloc_zero((size_t)tokens.n, sizeof *s->added);
    if (!s->pieces || !s->added)
        return pc_error_mem(s->err, tokens.n * sizeof *s->added, "the vocabulary");
    for (uint64_t i = 0; i < tokens.n; i++) {
        struct pc_piece *p = &s->pieces[i];
        p->span.text = pc_gguf_array_str(&tokens, i, &p->span.len);
        p->score = needs_scores ? (float)pc_gguf_array_f64(&scores, i) : 0;
        int64_t type = types.n ? pc_gguf_array_i64(&types, i) : PC_PIECE_NORMAL;
        // Type 0 is llama.cpp's "undefined", which some converters leave in padding.
        p->type = type == 0 ? PC_PIECE_UNUSED : type > 0 && type < 100 ? (enum pc_piece_type)type : 100;
        bool special = type == PC_PIECE_CONTROL || type == PC_PIECE_UNKNOWN;
        if (p->span.len && (special || type == PC_PIECE_USER_DEFINED))
            s->added[s->vocab.n_added++] =
                (struct pc_added){.span = p->span, .id = (int32_t)i, .special = special};
    }
    s->vocab.pieces = s->pieces;
    s->vocab.n_pieces = (size_t)tokens.n;
    s->vocab.added = s->added;
    return 0;
}

static int read_merges(struct source *s)
{
    struct pc_gguf_array merges;
    int rc = pc_gguf_get_array(s->ck, "tokenizer.ggml.merges", PC_GGUF_STRING, &merges, s->err);
    if (rc < 0)
        return rc;
    s->merges = pc_alloc((size_t)merges.n, sizeof *s->merges);
    if (!s->merges)
        return pc_error_mem(s->err, merges.n * sizeof *s->merges, "merges");
    for (uint64_t i = 0; i < merges.n; i++) {
        size_t len;
        const char *text = pc_gguf_array_str(&merges, i, &len);
        const char *space = len > 1 ? memchr(text + 1, ' ', len - 1) : NULL;
        if (!space)
            return pc_error_set(s->err, PACO_EFORMAT,
                "tokenizer.ggml.merges: merge %llu is not two pieces and a space", (unsigned long long)i);
        size_t left = (size_t)(space - text);
        s->merges[i] = (struct pc_merge){{text, left}, {space + 1, len - left - 1}};
    }
    s->vocab.merges = s->merges;
    s->vocab.n_merges = (size_t)merges.n;
    return 0;
}

/* ---- the two models ---- */

static int read_llama(struct source *s)
{
    bool prefix = true, trims = false;
    int rc = read_pieces(s, true);
    if (rc == 0)
        rc = pc_gguf_opt_bool(s->ck, "tokenizer.ggml.add_space_prefix", &prefix, s->err);
    if (rc == 0)
        rc = pc_gguf_opt_bool(s->ck, "tokenizer.ggml.remove_extra_whitespaces", &trims, s->err);
    if (rc < 0)
        return rc;
    struct pc_vocab *v = &s->vocab;
    v->model = PC_VOCAB_SPM_BPE;
    v->segments = PC_SEGMENTS_LEGACY;
    v->spm = (struct pc_spm_rules){
        .add_dummy_prefix = prefix, .remove_extra_whitespaces = trims, .escape_whitespaces = true};
    v->strip = prefix || trims ? PC_STRIP_PIECE : PC_STRIP_NONE;
    for (size_t i = 0; i < v->n_pieces; i++)
        v->byte_fallback |= s->pieces[i].type == PC_PIECE_BYTE;
    return 0;
}

static int read_gpt2(struct source *s)
{
    const char *name = "default";
    size_t len = strlen(name);
    int rc = pc_gguf_opt_str(s->ck, "tokenizer.ggml.pre", &name, &len, s->err);
    if (rc < 0)
        return rc;
    s->pre = find_pre(name, len);
    if (!s->pre)
        return pc_error_set(s->err, PACO_EUNSUPPORTED,
            "tokenizer.ggml.pre is '%.*s', a pre-tokenizer paco does not know: use the model's Hugging Face "
            "folder with its tokenizer.json",
            (int)(len < 60 ? len : 60), name);
    size_t n = 0;
    for (; n < 5 && s->pre->patterns[n]; n++)
        s->steps[n] = (struct pc_pre_step){.kind = PC_PRE_SPLIT,
            .pattern = {s->pre->patterns[n], strlen(s->pre->patterns[n])},
            .behavior = PC_SPLIT_ISOLATED};
    s->steps[n++] = (struct pc_pre_step){.kind = PC_PRE_BYTE_LEVEL};
    s->vocab.model = PC_VOCAB_MERGES;
    s->vocab.segments = PC_SEGMENTS_FAST;
    s->vocab.pre = s->steps;
    s->vocab.n_pre = n;
    s->vocab.ignore_merges = s->pre->ignore_merges;
    s->vocab.drops_unknown = true;
    rc = read_pieces(s, false);
    return rc == 0 ? read_merges(s) : rc;
}

static int read_id(struct source *s, const char *key, int64_t fallback, int32_t *out)
{
    int64_t id = fallback;
    int rc = pc_gguf_opt_i64(s->ck, key, -1, UINT32_MAX, &id, s->err);
    // Converters write 2^32 - 1 for "none".
    *out = id == UINT32_MAX ? -1 : (int32_t)(id > INT32_MAX ? INT32_MAX : id);
    return rc;
}

static int read_special(struct source *s, bool llama)
{
    struct pc_vocab *v = &s->vocab;
    bool bos = llama || s->pre->adds_bos, eos = false;
    int rc = read_id(s, "tokenizer.ggml.bos_token_id", llama ? 1 : -1, &v->bos);
    if (rc == 0)
        rc = read_id(s, "tokenizer.ggml.eos_token_id", llama ? 2 : -1, &v->eos);
    if (rc == 0)
        rc = read_id(s, "tokenizer.ggml.unknown_token_id", llama ? 0 : -1, &v->unk);
    if (rc == 0)
        rc = read_id(s, "tokenizer.ggml.padding_token_id", -1, &v->pad);
    if (rc == 0)
        rc = pc_gguf_opt_bool(s->ck, "tokenizer.ggml.add_bos_token", &bos, s->err);
    if (rc == 0)
        rc = pc_gguf_opt_bool(s->ck, "tokenizer.ggml.add_eos_token", &eos, s->err);
    s->around[0] = v->bos;
    s->around[1] = v->eos;
    v->prefix = &s->around[0];
    v->n_prefix = bos && v->bos >= 0;
    v->suffix = &s->around[1];
    v->n_suffix = eos && v->eos >= 0;
    return rc;
}

static int read_all(struct source *s)
{
    const char *model;
    size_t len;
    int rc = pc_gguf_get_str(s->ck, "tokenizer.ggml.model", &model, &len, s->err);
    if (rc < 0)
        return rc;
    bool llama = len == 5 && memcmp(model, "llama", 5) == 0, gpt2 = len == 4 && memcmp(model, "gpt2", 4) == 0;
    if (!llama && !gpt2)
        return pc_error_set(s->err, PACO_EUNSUPPORTED,
            "tokenizer.ggml.model is '%.*s'; paco reads 'llama' and 'gpt2'", (int)(len < 60 ? len : 60),
            model);
    rc = llama ? read_llama(s) : read_gpt2(s);
    return rc == 0 ? read_special(s, llama) : rc;
}

int pc_vocab_gguf_read(const char *path, pc_vocab_use use, void *ctx, struct paco_error *err)
{
    struct paco_error local = {0};
    struct source s = {.path = path, .err = err ? err : &local};
    int rc = pc_gguf_open(path, &s.ck, s.err);
    if (rc == 0) {
        rc = read_all(&s);
        if (rc == 0)
            rc = use(ctx, &s.vocab, s.err);
        if (rc < 0)
            pc_error_path(s.err, path);
    }
    pc_free(s.pieces);
    pc_free(s.merges);
    pc_free(s.added);
    pc_checkpoint_close(s.ck);
    return rc;
}

int pc_vocab_gguf_chat_template(const char *path, char **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = NULL;
    const char *text = NULL;
    size_t len = 0;
    int rc = pc_gguf_open(path, &ck, err);
    if (rc < 0)
        return rc;
    rc = pc_gguf_opt_str(ck, "tokenizer.chat_template", &text, &len, err);
    if (rc == 0 && text && !(*out = pc_strndup(text, len)))
        rc = pc_error_mem(err, len, "a chat template");
    pc_checkpoint_close(ck);
    return rc;
}
