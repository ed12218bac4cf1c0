// SPDX-License-Identifier: Apache-2.0
/* The inside of a tokenizer, shared by the files of this folder and nobody else.
 *
 * Encoding is a pipeline over one growing buffer of bytes, `work`: a text is cut at added tokens (added.c),
 * each piece of text is normalised into work (normalize.c, spm_normalize.c), split into words
 * (pretokenize.c), and each word becomes ids (words.c, unigram.c). Positions are offsets into work, which
 * only grows, so that the cache of words may refer back to any earlier place. */
#ifndef PC_TOKENIZER_PARTS_H
#define PC_TOKENIZER_PARTS_H

#include "base/map.h"
#include "base/memory.h"
#include "tokenizer/bpe.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"
#include "tokenizer/vocab.h"

enum {
    PC_MAX_TOKENS = 1 << 24,
    PC_MAX_MATCHED = 1024, /* bytes of an added token, a user-defined or a unigram piece: what tries walk */
    PC_MAX_STEPS = 16,     /* of a pre-tokenizer or normaliser */
    PC_MAX_TEXT = 1 << 30, /* bytes of a text to encode, and of what normalisation makes of it */
    PC_MAX_AROUND = 16,    /* ids put in front of or behind a text */
};

/* U+2581, the visible space of SentencePiece. */
#define PC_SPACE_MARK "\xe2\x96\x81"

struct pc_token {
    const char *piece, *bytes; /* as stored; as decoded */
    uint32_t piece_len, bytes_len;
    uint8_t type; /* enum pc_piece_type, 0 for a hole */
    bool special;
    bool added;
};

struct pc_pre {
    struct pc_pre_step step;
    struct pc_regex *regex; /* owned; NULL where none is needed */
};

struct pc_tokenizer {
    struct pc_arena arena; /* strings and small tables */
    enum pc_vocab_model model;
    enum pc_segments segments;
    enum pc_strip strip;
    bool byte_level, byte_fallback, drops_unknown, fuse_unk, ignore_merges;
    bool has_unused;    /* SentencePiece: merges may have to be undone */
    bool looks_up_text; /* SentencePiece BPE: some piece holds a character that is no piece */
    bool can_cut;       /* no piece holds a U+2581 behind another character: words are independent there */
    int32_t bos, eos, unk, pad;
    int32_t prefix[PC_MAX_AROUND], suffix[PC_MAX_AROUND];
    size_t n_prefix, n_suffix;

    struct pc_token *tokens;
    int32_t n_tokens;
    struct pc_map pieces;   /* what the model may produce: text to id */
    struct pc_map reserved; /* SentencePiece's control, unknown and byte pieces */
    struct pc_map words;    /* ignore_merges: decoded bytes to id */
    int32_t byte_ids[256];  /* byte level: the id of each byte; else its fallback piece; -1: none */
    int32_t ascii_ids[128]; /* the piece of one ASCII character, -1: none */

    struct pc_pairs pairs;
    uint32_t *ranks; /* SentencePiece BPE: the rank of a score, by id */

    float *scores; /* unigram, by id */
    float min_score, max_score;
    struct pc_trie trie;         /* unigram: all pieces */
    struct pc_trie user_defined; /* SentencePiece: pieces matched before anything else */
    struct pc_spm_rules spm;     /* charsmap points into the arena */

    struct pc_added *added;
    size_t n_added;
    struct pc_trie before, after; /* added tokens looked for before and after normalisation, by index */

    struct pc_normal_step *normal;
    size_t n_normal;
    struct pc_pre pre[PC_MAX_STEPS];
    size_t n_pre;
};

/* A word met before in this text: where it stood in work, and where its ids are in the output. */
struct pc_cached {
    uint32_t at, len, ids, n_ids;
};
enum { PC_CACHE_SLOTS = 8192, PC_CACHE_MAX_WORD = 40 };

/* One call of pc_tokenizer_encode. */
struct pc_encoder {
    const struct pc_tokenizer *tok;
    struct pc_ids *out;
    struct paco_error *err;
    unsigned flags;
    struct pc_buf work;
    size_t total; /* bytes of the text, which bounds the work of expressions */
    struct pc_regex_run *runs[PC_MAX_STEPS];
    struct pc_cached *cache; /* PC_CACHE_SLOTS, or NULL for short texts */
    struct pc_part *parts;   /* room for the word at hand */
    size_t parts_capacity;
    uint32_t *last_left; /* by id, when the tokenizer has unused pieces */
    size_t unk_from;     /* neighbouring unknowns become one from this output position on */
    bool saw_unk;
};

/* A stretch of text between added tokens, or an added token. */
struct pc_stretch {
    size_t at, len;
    const struct pc_added *added; /* NULL: text */
};
struct pc_stretches {
    struct pc_stretch *v;
    size_t n, capacity;
};

/** Cut text into stretches at the tokens in trie. With python, white space is what str.strip() takes, else
 * White_Space. Release out->v with pc_free in any case. */
int pc_added_split(const struct pc_tokenizer *tok, const struct pc_trie *trie, bool parse, bool python,
    const char *text, size_t len, struct pc_stretches *out, struct paco_error *err);

/** Append what the tokenizer's normaliser makes of text (valid UTF-8, not inside work) to work. */
int pc_normalize(const struct pc_normal_step *steps, size_t n_steps, const char *text, size_t len,
    struct pc_buf *work, struct paco_error *err);

/** Append what SentencePiece makes of text (any bytes) to work; prefix: add_dummy_prefix applies. */
int pc_spm_normalize(const struct pc_tokenizer *tok, const char *text, size_t len, bool prefix,
    struct pc_buf *work, struct paco_error *err);
/** PACO_EFORMAT unless the charsmap's parts have the sizes it says. */
int pc_spm_check_charsmap(const void *charsmap, size_t size, struct paco_error *err);

/** Split work[at, at+len) by the steps from i_step on, and encode each word. first: nothing stood before it.
 */
int pc_pretokenize(struct pc_encoder *e, size_t i_step, size_t at, size_t len, bool first);

/** Append the ids of the word work[at, at+len). */
int pc_encode_word(struct pc_encoder *e, size_t at, size_t len);
/** Append the ids of a whole SentencePiece text in work. */
int pc_encode_spm(struct pc_encoder *e, size_t at, size_t len);
int pc_encode_unigram(struct pc_encoder *e, size_t at, size_t len);
/** Append unk for a character (or its bytes, with byte fallback), fusing neighbours. */
int pc_encode_unknown(struct pc_encoder *e, const char *text, size_t len);
/** Append a copy of ids[from, from + n). */
int pc_ids_add_n(struct pc_ids *ids, size_t from, size_t n, struct paco_error *err);

/** The bytes a character of valid or broken UTF-8 takes by its first byte, at most left. */
static inline size_t pc_char_len(const char *s, size_t left)
{
    unsigned char c = (unsigned char)*s;
    size_t n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return n < left ? n : left;
}

/** GPT-2's alphabet: the character of a byte; the bytes that text stands for, false if one of its characters
 * is none. */
uint32_t pc_alphabet_char(unsigned byte);
bool pc_alphabet_decode(const char *text, size_t len, char *out, size_t *n_out);

/** Text for a message, shortened: what a file says must not reach a terminal raw, nor fill it. Returns out.
 */
const char *pc_show_span(struct pc_span s, char out[64]);

static inline bool pc_is_spm(const struct pc_tokenizer *tok)
{
    return tok->model != PC_VOCAB_MERGES;
}

/** Pieces that SentencePiece may produce from text. */
static inline bool pc_is_normal(enum pc_piece_type type)
{
    return type == PC_PIECE_NORMAL || type == PC_PIECE_USER_DEFINED || type == PC_PIECE_UNUSED;
}

/** Fill everything behind the tokens: the last step of making a tokenizer. */
int pc_tokenizer_tables(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err);

#endif
